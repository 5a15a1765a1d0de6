//! Subresources that do something: binding pods, finalizing namespaces, approving certificates; evicting pods is in `eviction`,
//! making tokens in `token`.
//! It must not make up kinds: which subresources there are, the registry says.

use axum::response::Response;
use http::Method;
use serde_json::{Value, json};

use super::super::admission::{Asked, Operation};
use super::super::authorize::nodes::restriction::{self, Write};
use super::super::object::meta;
use super::super::schema::FieldError;
use super::super::status::{ApiError, success_status};
use super::options::{WriteKind, WriteOptions};
use super::write::{Target, check_name, guaranteed, track};
use super::{Call, body, render};
use crate::time::rfc3339;

/// Answers a request on a subresource other than `status` and `scale`.
pub(crate) async fn other(call: &Call, method: &Method) -> Result<Response, ApiError> {
    let resource = call.info.storage_group_resource.as_str();
    match (resource, call.path.subresource.as_str(), method) {
        ("pods", "binding", &Method::POST) => bind(call).await,
        ("pods", "eviction", &Method::POST) => super::eviction::evict(call).await,
        ("serviceaccounts", "token", &Method::POST) => super::token::token(call).await,
        ("namespaces", "finalize", &Method::PUT) => finalize(call).await,
        (super::write::SIGNING_REQUESTS, "approval", &Method::PUT) => super::update(call).await,
        (super::write::SIGNING_REQUESTS, "approval", &Method::PATCH) => super::patch(call).await,
        (_, "finalize" | "approval", &Method::GET) => super::get(call).await,
        _ => Err(ApiError::method_not_allowed()),
    }
}

/// Replaces the spec of a namespace by that of the body.
async fn finalize(call: &Call) -> Result<Response, ApiError> {
    let form = call.form()?;
    let options = WriteOptions::parse(&call.query, WriteKind::Update)?;
    let mut object = body::object(call, options.validation)?;
    check_name(call, &mut object)?;
    let written = guaranteed(
        call,
        Target::AS_IS,
        &options,
        false,
        meta::text(&object, "uid"),
        |live| {
            let live = live.ok_or_else(|| ApiError::not_found(&call.info, &call.path.name))?;
            let mut new = live.clone();
            new["spec"] = object["spec"].clone();
            let version = meta::text(&object, "resourceVersion");
            if !version.is_empty() {
                meta::set(&mut new, "resourceVersion", version);
            }
            track(call, Target::STATUS, &options.manager, Some(live), &mut new);
            Ok(new)
        },
    )
    .await?;
    Ok(render::answer_left(call, 200, &written.left, form))
}

/// Asks all that want to be asked about what is posted to a subresource of an object.
pub(super) async fn admitted(
    call: &Call,
    options: &WriteOptions,
    api_version: &str,
    kind: &str,
    mut posted: Value,
) -> Result<Value, ApiError> {
    if !posted.is_object() {
        return Ok(posted);
    }
    posted["apiVersion"] = api_version.into();
    posted["kind"] = kind.into();
    let asked = Asked {
        call,
        operation: Operation::Create,
        options,
        name: &call.path.name,
    };
    let posted = asked.mutate(posted, None).await?;
    asked.validate(&posted, None).await?;
    Ok(posted)
}

/// Puts a pod on a node.
async fn bind(call: &Call) -> Result<Response, ApiError> {
    let options = WriteOptions::parse(&call.query, WriteKind::Create)?;
    let binding = body::parse(call, "Binding")?;
    restriction::check(call, Write::Create(&binding))?;
    let binding = admitted(call, &options, "v1", "Binding", binding).await?;
    check_binding(call, &binding)?;
    let (uid, version) = (
        meta::text(&binding, "uid"),
        meta::text(&binding, "resourceVersion"),
    );
    guaranteed(call, Target::AS_IS, &options, false, uid, |live| {
        let live = live.ok_or_else(|| ApiError::not_found(&call.info, &call.path.name))?;
        if let Some(why) = unbindable(live) {
            let why = format!("pod {} {why}", call.path.name);
            return Err(ApiError::subresource_conflict(
                &call.info,
                "binding",
                &call.path.name,
                &why,
            ));
        }
        let mut new = live.clone();
        if !version.is_empty() {
            meta::set(&mut new, "resourceVersion", version);
        }
        put_on_node(&mut new, &binding, &rfc3339(call.server.now()));
        Ok(new)
    })
    .await?;
    Ok(render::plain(201, &success_status(201)))
}

/// Checks what a binding says, whatever pod it is for (kube-apiserver: `ValidatePodBinding`).
fn check_binding(call: &Call, binding: &Value) -> Result<(), ApiError> {
    if meta::name(binding) != call.path.name {
        let message = "name in URL does not match name in Binding object";
        return Err(ApiError::bad_request(message));
    }
    let text = |field: &str| binding["target"][field].as_str().unwrap_or_default();
    let mut errors = Vec::new();
    if !matches!(text("kind"), "" | "Node") {
        let supported = ["Node", "<empty>"].map(str::to_owned).to_vec();
        errors.push(FieldError::not_supported("target.kind", text("kind"), supported));
    }
    if text("name").is_empty() {
        errors.push(FieldError::required("target.name", ""));
    }
    // kube-apiserver tells them as an error of its own.
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    match texts.as_slice() {
        [] => Ok(()),
        [one] => Err(ApiError::plain_500(one)),
        many => Err(ApiError::plain_500(format!("[{}]", many.join(", ")))),
    }
}

/// Says why a pod can't be put on a node.
fn unbindable(pod: &Value) -> Option<String> {
    let spec = &pod["spec"];
    let bound = spec["nodeName"].as_str().unwrap_or_default();
    if meta::is_deleting(pod) {
        Some("is being deleted, cannot be assigned to a host".to_owned())
    } else if !bound.is_empty() {
        Some(format!("is already assigned to node {bound:?}"))
    } else {
        let gated = spec["schedulingGates"]
            .as_array()
            .is_some_and(|gates| !gates.is_empty());
        gated.then(|| "has non-empty .spec.schedulingGates".to_owned())
    }
}

/// Writes into a pod what a binding says.
fn put_on_node(pod: &mut Value, binding: &Value, now: &str) {
    pod["spec"]["nodeName"] = binding["target"]["name"].clone();
    if let Some(status) = pod["status"].as_object_mut() {
        status.remove("nominatedNodeName");
    }
    for field in ["annotations", "labels"] {
        let given = binding["metadata"][field].as_object().into_iter().flatten();
        for (key, value) in given.filter(|(_, value)| value.is_string()) {
            pod["metadata"][field][key] = value.clone();
        }
    }
    let scheduled =
        json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now});
    if !pod["status"]["conditions"].is_array() {
        pod["status"]["conditions"] = json!([]);
    }
    if let Some(conditions) = pod["status"]["conditions"].as_array_mut() {
        conditions.retain(|c| c["type"] != "PodScheduled");
        conditions.push(scheduled);
    }
}
