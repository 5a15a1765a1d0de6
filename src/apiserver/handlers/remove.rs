//! DELETE of one object and of many, as requests ask for it.

use axum::response::Response;
use futures::{StreamExt as _, stream};
use serde_json::Value;

use super::super::authorize::nodes;
use super::super::authorize::nodes::restriction::{self, Write};
use super::super::object::meta;
use super::super::status::{ApiError, deleted_status};
use super::super::store::Stored;
use super::delete::{Removal, remove};
use super::options::{DeleteOptions, ListOptions, Query};
use super::{Call, body, load, read, render};

/// Objects of a collection that are removed at once: they share the waits for the disk. (kube-apiserver: `--delete-collection-workers`.)
const AT_ONCE: usize = 64;
/// Kinds whose removal answers with the object.
const SHOWN_WHEN_GONE: [&str; 5] = [
    "pods",
    "services",
    "serviceaccounts",
    "namespaces",
    "persistentvolumeclaims",
];

fn options(call: &Call) -> Result<DeleteOptions, ApiError> {
    let given = if call.body.is_empty() {
        None
    } else {
        let options: Value = body::parse(call, "DeleteOptions")?;
        Some(options)
    };
    if given.as_ref().is_some_and(|g| !g.is_object()) {
        return Err(ApiError::bad_request(
            "expected a DeleteOptions object in the body",
        ));
    }
    if let Some(given) = &given {
        check_kind(given)?;
    }
    DeleteOptions::parse(&call.query, given.as_ref())
}

/// Refuses what says that it is something else than options.
fn check_kind(given: &Value) -> Result<(), ApiError> {
    let text = |field: &str| given.get(field).and_then(Value::as_str).unwrap_or_default();
    let (kind, version) = (text("kind"), text("apiVersion"));
    if matches!(kind, "" | "DeleteOptions") {
        return Ok(());
    }
    let version = if version.is_empty() { "v1" } else { version };
    Err(ApiError::bad_request(format!(
        "no kind {kind:?} is registered for version {version:?} in scheme \"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27\""
    )))
}

/// DELETE on an object.
pub(crate) async fn delete_one(call: &Call) -> Result<Response, ApiError> {
    let form = call.form()?;
    let (info, path) = (&*call.info, &call.path);
    let options = options(call)?;
    if let Some(stored) = call
        .server
        .store()
        .get(&info.storage_group_resource, &path.namespace, &path.name)
    {
        check(call, &stored)?;
    }
    let removal = remove(
        &call.server,
        info,
        &path.namespace,
        &path.name,
        &options,
        Some(call),
    )
    .await?;
    Ok(match removal {
        Removal::Pending(object) => {
            let code = if options.orphan_dependents == Some(false) {
                202
            } else {
                200
            };
            render::answer(call, code, &object, form)
        }
        Removal::Gone(object) if SHOWN_WHEN_GONE.contains(&info.storage_group_resource.as_str()) => {
            render::answer(call, 200, &object, form)
        }
        Removal::Gone(object) => {
            render::plain(200, &deleted_status(info, &path.name, meta::text(&object, "uid")))
        }
    })
}

/// DELETE on a collection. Answers with the objects as they were.
pub(crate) async fn delete_collection(call: &Call) -> Result<Response, ApiError> {
    let form = call.form()?;
    let list = ListOptions::parse(&Query(call.query.0.clone()))?;
    let options = options(call)?;
    let page = read::page(call, &list).await?;
    // One that can't be removed stops none that is on its way: what a removal leads to must not be forgotten.
    let removals: Vec<_> = page
        .items
        .iter()
        .map(|stored| remove_listed(call, stored, &options))
        .collect();
    let outcomes: Vec<_> = stream::iter(removals).buffer_unordered(AT_ONCE).collect().await;
    outcomes.into_iter().collect::<Result<(), _>>()?;
    // As in kube-apiserver a form that lists don't have is refused when all is done.
    read::answer_page(call, &page, form)
}

/// Kubelets may not remove everything. For others the object isn't even read.
fn check(call: &Call, stored: &Stored) -> Result<(), ApiError> {
    if nodes::name_of(&call.user).is_none() {
        return Ok(());
    }
    restriction::check(call, Write::Delete(&load(&call.info, stored)))
}

async fn remove_listed(call: &Call, stored: &Stored, options: &DeleteOptions) -> Result<(), ApiError> {
    let key = &stored.key;
    check(call, stored)?;
    match remove(
        &call.server,
        &call.info,
        &key.namespace,
        &key.name,
        options,
        Some(call),
    )
    .await
    {
        // Somebody else removed it: so it is gone.
        Err(error) if error.code() == 404 => Ok(()),
        other => other.map(drop),
    }
}
