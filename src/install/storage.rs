//! Objects that are stored in a version which a definition gives up: they are written again, then the definition forgets the version.
//!
//! Kubernetes: "Upgrade existing objects to a new stored version". No version is dropped before no object is stored in it.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams},
};
use serde_json::json;

use super::{FIELD_MANAGER, InstallError, inventory::storage_version};

/// How many objects a page has.
const PAGE: u32 = 500;
/// How many objects are written at a time.
const AT_ONCE: usize = 32;
/// How often a write that crosses another one is tried again.
const TRIES: usize = 5;
/// How long API servers may go on to store objects in the version that they have just been told to give up: each of them hears of it from a
/// watch of its own.
const SETTLE: Duration = Duration::from_secs(2);

/// The versions in which objects may be stored beside the one in which they should be.
pub(super) fn left_over(live: &CustomResourceDefinition, storage: &str) -> Vec<String> {
    let stored = live
        .status
        .as_ref()
        .and_then(|s| s.stored_versions.clone())
        .unwrap_or_default();
    stored.into_iter().filter(|v| v != storage).collect()
}

/// The definition with the versions that objects are still stored in and that it does not have any more. The API server refuses to
/// lose them. Nothing, if it has all of them.
pub(super) fn transitional(
    wanted: &CustomResourceDefinition,
    live: &CustomResourceDefinition,
) -> Option<CustomResourceDefinition> {
    let storage = storage_version(wanted)?;
    let left = left_over(live, &storage);
    let has = |name: &str| wanted.spec.versions.iter().any(|v| v.name == name);
    let kept: Vec<_> = live
        .spec
        .versions
        .iter()
        .filter(|v| left.contains(&v.name) && !has(&v.name))
        .map(|version| {
            let mut version = version.clone();
            version.storage = false;
            version
        })
        .collect();
    if kept.is_empty() {
        return None;
    }
    let mut both = wanted.clone();
    both.spec.versions.extend(kept);
    // It is not the one that a later run would find nothing to do about.
    both.annotations_mut().remove(super::DIGEST);
    Some(both)
}

/// Writes all objects of a definition again, if some may be stored in another version than they should be, and has the definition forget those
/// versions. Returns how many objects were written.
pub(super) async fn migrate(
    client: &Client,
    crd: &CustomResourceDefinition,
    is_new: bool,
) -> Result<usize, InstallError> {
    let Some(storage) = storage_version(crd) else {
        return Ok(0);
    };
    if left_over(crd, &storage).is_empty() {
        return Ok(0);
    }
    if is_new {
        tokio::time::sleep(SETTLE).await;
    }
    let written = rewrite(client, crd, &storage, false).await?;
    forget(client, &crd.name_any(), &storage).await?;
    Ok(written)
}

/// Has the API server check that each object of a definition can be written again, in the version in which it stores them now; it keeps
/// nothing. Returns how many there are.
pub(super) async fn rehearse(
    client: &Client,
    live: &CustomResourceDefinition,
) -> Result<usize, InstallError> {
    match storage_version(live) {
        Some(storage) => rewrite(client, live, &storage, true).await,
        None => Ok(0),
    }
}

async fn rewrite(
    client: &Client,
    crd: &CustomResourceDefinition,
    storage: &str,
    dry_run: bool,
) -> Result<usize, InstallError> {
    let names = &crd.spec.names;
    let resource = ApiResource {
        group: crd.spec.group.clone(),
        version: storage.to_owned(),
        api_version: format!("{}/{storage}", crd.spec.group),
        kind: names.kind.clone(),
        plural: names.plural.clone(),
    };
    let all: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let mut page = ListParams::default().limit(PAGE);
    let mut written = 0;
    loop {
        let list = all
            .list_metadata(&page)
            .await
            .map_err(InstallError::refused(format!("can't list {}", crd.name_any())))?;
        let resource = &resource;
        written += stream::iter(list.items)
            .map(|object| async move {
                let api: Api<DynamicObject> = match object.namespace() {
                    Some(namespace) => Api::namespaced_with(client.clone(), &namespace, resource),
                    None => Api::all_with(client.clone(), resource),
                };
                again(&api, &object.name_any(), dry_run).await
            })
            .buffer_unordered(AT_ONCE)
            .try_fold(0, |sum, one| async move { Ok(sum + usize::from(one)) })
            .await?;
        match list.metadata.continue_.filter(|c| !c.is_empty()) {
            Some(next) => page = ListParams::default().limit(PAGE).continue_token(&next),
            None => return Ok(written),
        }
    }
}

/// Writes one object without a change: what differs is how it is stored. Returns whether it was there.
async fn again(api: &Api<DynamicObject>, name: &str, dry_run: bool) -> Result<bool, InstallError> {
    let nothing = Patch::Merge(json!({}));
    let params = PatchParams {
        dry_run,
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let mut tries = 0;
    loop {
        match api.patch(name, &params, &nothing).await {
            Ok(_) => return Ok(true),
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(false),
            Err(kube::Error::Api(status)) if status.is_conflict() && tries < TRIES => tries += 1,
            Err(error) => return Err(InstallError::refused(format!("can't write {name} again"))(error)),
        }
    }
}

/// Has a definition forget all stored versions but one.
async fn forget(client: &Client, name: &str, storage: &str) -> Result<(), InstallError> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let patch = json!({ "status": { "storedVersions": [storage] } });
    let done = api
        .patch_status(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await;
    done.map(|_| ()).map_err(InstallError::refused(format!(
        "can't write the stored versions of {name}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::definitions;

    fn live(stored: &[&str]) -> CustomResourceDefinition {
        let mut crd = definitions::wanted(true).remove(0);
        let mut old = crd.spec.versions[0].clone();
        old.name = "v1alpha0".into();
        crd.spec.versions[0].storage = false;
        crd.spec.versions.push(old);
        crd.status = serde_json::from_value(json!({ "storedVersions": stored })).unwrap();
        crd
    }

    #[test]
    fn versions_are_kept_as_long_as_objects_are_stored_in_them() {
        let wanted = definitions::wanted(true).remove(0);
        let both = transitional(&wanted, &live(&["v1alpha0"])).unwrap();
        let versions: Vec<_> = both
            .spec
            .versions
            .iter()
            .map(|v| (v.name.as_str(), v.storage))
            .collect();
        assert_eq!(versions, [("v1alpha1", true), ("v1alpha0", false)]);
        assert_eq!(
            left_over(&live(&["v1alpha0", "v1alpha1"]), "v1alpha1"),
            ["v1alpha0"]
        );
        assert_eq!(transitional(&wanted, &live(&["v1alpha1"])), None);
    }
}
