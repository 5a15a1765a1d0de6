//! Server-side apply of everything in dependency order, as much at a time as the order allows. What stands there as it should is not written.

use futures::future::try_join_all;
use kube::{
    Client,
    api::{DynamicObject, Patch, PatchParams},
};
use serde_json::Value;

use super::{
    Change, DIGEST, FIELD_MANAGER, InstallError,
    checks::{self, Found, Leave},
    definitions,
    inventory::Inventory,
    objects::{ObjectName, Request, Scope},
};

/// How it is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// The API server checks everything and keeps nothing.
    pub dry_run: bool,
    /// Definitions that somebody else has installed are taken over.
    pub take_over: bool,
}

/// What became of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// `deployment.apps/machinectl-controller`.
    pub name: String,
    /// What was done.
    pub change: Change,
    /// The API server has not checked it: its namespace is not there yet.
    pub unchecked: bool,
}

/// Installs what is requested, after all checks. A second run writes nothing. Returns the objects in the order of their dependencies.
///
/// # Errors
/// Fails when a check does, before anything changed; or when the API server refuses something, or goes away. The same call goes on then.
pub async fn install(
    client: &Client,
    request: &Request,
    options: Options,
) -> Result<Vec<Applied>, InstallError> {
    let leave = Leave {
        foreign: options.take_over,
        version: false,
    };
    let mut found = checks::look(client, request, leave).await?;
    let problems = std::mem::take(&mut found.problems);
    if !problems.is_empty() {
        return Err(InstallError::Checks(problems));
    }
    let inventory = found.inventory.take();
    let homeless = options.dry_run && !checks::has_namespace(&found);
    let mut done = all(client, found, options.dry_run).await?;
    if request.scope != Scope::Definitions {
        let wanted = Inventory::of(request).object();
        done.push(one(client, &wanted, inventory.as_ref(), options.dry_run, homeless).await?);
    }
    Ok(done)
}

/// Applies what was found to be wanted, all but the inventory.
pub(super) async fn all(client: &Client, found: Found, dry_run: bool) -> Result<Vec<Applied>, InstallError> {
    let homeless = dry_run && !checks::has_namespace(&found);
    let Found {
        definitions, objects, ..
    } = found;
    let apply = |(object, live): (Value, Option<DynamicObject>)| async move {
        one(client, &object, live.as_ref(), dry_run, homeless).await
    };
    let (last, mut early): (Vec<_>, Vec<_>) =
        objects.into_iter().partition(|(o, _)| o["kind"] == "Deployment");
    let (first, then): (Vec<_>, Vec<_>) = early
        .drain(..)
        .partition(|(o, _)| matches!(o["kind"].as_str(), Some("Namespace" | "ClusterRole")));
    // While the API server gets ready to serve the definitions, everything that they are not needed for is made.
    let served = try_join_all(
        definitions
            .iter()
            .map(|(crd, live)| definitions::one(client, crd.clone(), live.as_ref(), dry_run)),
    );
    let others = async {
        let mut done = try_join_all(first.into_iter().map(apply)).await?;
        done.extend(try_join_all(then.into_iter().map(apply)).await?);
        Ok(done)
    };
    let (served, others) = tokio::try_join!(served, others)?;
    let mut done: Vec<_> = served
        .into_iter()
        .map(|(name, change)| of_definition(&name, change))
        .collect();
    done.extend(others);
    done.extend(try_join_all(last.into_iter().map(apply)).await?);
    Ok(done)
}

/// What became of a definition.
pub(super) fn of_definition(name: &str, change: Change) -> Applied {
    Applied {
        name: format!("customresourcedefinition.apiextensions.k8s.io/{name}"),
        change,
        unchecked: false,
    }
}

/// Applies an object, unless the live one is as wanted. `homeless`: the namespace of this program is not there, and nothing can be checked in it.
pub(super) async fn one(
    client: &Client,
    object: &Value,
    live: Option<&DynamicObject>,
    dry_run: bool,
    homeless: bool,
) -> Result<Applied, InstallError> {
    let name = ObjectName::of(object);
    let applied = |change| Applied {
        name: name.to_string(),
        change,
        unchecked: false,
    };
    let live_value = live.and_then(|live| serde_json::to_value(live).ok());
    if live_value.is_some_and(|live| is_as_wanted(&live, object)) {
        return Ok(applied(Change::Unchanged));
    }
    if homeless && name.namespace.as_deref() == Some(super::NAMESPACE) {
        return Ok(Applied {
            unchecked: true,
            ..applied(Change::Created)
        });
    }
    let mut params = PatchParams::apply(FIELD_MANAGER).force();
    params.dry_run = dry_run;
    let patched = name
        .api(client)
        .patch(&name.name, &params, &Patch::Apply(object))
        .await;
    match patched {
        Ok(_) => {}
        // Its role is not there yet, either: a dry run keeps none.
        Err(kube::Error::Api(status)) if dry_run && status.is_not_found() => {
            return Ok(Applied {
                unchecked: true,
                ..applied(Change::Created)
            });
        }
        Err(error) => return Err(InstallError::refused(format!("can't install {name}"))(error)),
    }
    Ok(applied(if live.is_some() {
        Change::Updated
    } else {
        Change::Created
    }))
}

/// Whether an object stands there as it was applied: nobody has changed what this program says about it.
pub(super) fn is_as_wanted(live: &Value, wanted: &Value) -> bool {
    let digest = |object: &Value| object["metadata"]["annotations"][DIGEST].clone();
    digest(live) == digest(wanted) && holds(live, wanted)
}

/// Whether all that is wanted stands there, beside what the API server or others have added. Lists have to be as long.
fn holds(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().all(|(key, value)| {
            live.get(key)
                .map_or_else(|| is_empty(value), |live| holds(live, value))
        }),
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| holds(live, wanted))
        }
        (live, wanted) => live == wanted,
    }
}

/// What API servers do not write: `false`, zero, and nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_i64() == Some(0),
        Value::String(value) => value.is_empty(),
        Value::Array(value) => value.is_empty(),
        Value::Object(value) => value.values().all(is_empty),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_add_is_theirs_and_what_they_change_is_not() {
        let wanted = json!({ "metadata": { "annotations": { DIGEST: "1" } }, "spec": { "replicas": 2, "list": [{ "a": 1 }], "flag": false } });
        let mut live = json!({
            "metadata": { "uid": "u", "annotations": { DIGEST: "1", "by": "somebody" } },
            "spec": { "replicas": 2, "list": [{ "a": 1, "default": true }], "more": 1 },
        });
        assert!(is_as_wanted(&live, &wanted));
        for (pointer, value) in [
            ("/spec/replicas", json!(0)),
            ("/spec/list", json!([{ "a": 1 }, { "a": 2 }])),
            ("/metadata/annotations", json!({ DIGEST: "2" })),
        ] {
            let mut changed = live.clone();
            *changed.pointer_mut(pointer).unwrap() = value;
            assert!(!is_as_wanted(&changed, &wanted), "{pointer}");
        }
        live["spec"].as_object_mut().unwrap().remove("replicas");
        assert!(!is_as_wanted(&live, &wanted));
    }
}
