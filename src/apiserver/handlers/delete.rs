//! Removing objects, one or many: preconditions, finalizers, grace. It must not look after dependents.

use std::collections::HashSet;

use serde_json::Value;

use super::super::admission;
use super::super::builtin::ResourceInfo;
use super::super::object::meta::{self, FOREGROUND, ORPHAN};
use super::super::status::ApiError;
use super::super::store::{Change, Expect, Stored};
use super::super::{CRDS, NAMESPACES, Server, crd, gc, namespaces};
use super::options::{DeleteOptions, Propagation};
use super::{Call, load, to_stored, write_error};

const PODS: &str = "pods";

/// What became of an object that was to be removed.
pub(crate) enum Removal {
    /// It is gone; this was its last state.
    Gone(Value),
    /// It waits for something: this is its state.
    Pending(Value),
}

/// Removes one object. If a client asks for it, webhooks and policies may have a say.
pub(crate) async fn remove(
    server: &Server,
    info: &ResourceInfo,
    namespace: &str,
    name: &str,
    options: &DeleteOptions,
    asked: Option<&Call>,
) -> Result<Removal, ApiError> {
    if info.storage_group_resource == NAMESPACES && namespaces::is_immortal(name) {
        return Err(ApiError::forbidden(
            info,
            name,
            "this namespace may not be deleted",
        ));
    }
    loop {
        let Some(stored) = server.store().get(&info.storage_group_resource, namespace, name) else {
            return Err(ApiError::not_found(info, name));
        };
        let stored = server.present(info, stored).await?;
        let object = load(info, &stored);
        check_preconditions(info, &object, options)?;
        if let Some(call) = asked {
            admission::remove(call, &options.to_value(), &object).await?;
        }
        let now = server.now();
        let (mut next, done) = next_state(info, &object, options, now);
        if options.dry_run {
            return Ok(if done {
                Removal::Gone(next)
            } else {
                Removal::Pending(next)
            });
        }
        if !done && meta::same_content(&object, &next) {
            return Ok(Removal::Pending(object));
        }
        // Who watches sees what goes as it was stored last.
        let change = if done {
            Change::Delete(to_stored(server, info, object).await?)
        } else {
            Change::Put(to_stored(server, info, next.clone()).await?)
        };
        match server
            .commit(stored.key.clone(), Expect::Version(stored.version), change)
            .await
        {
            Ok(stored) => {
                return Ok(if done {
                    meta::set(&mut next, "resourceVersion", &stored.version.to_string());
                    Removal::Gone(next)
                } else {
                    Removal::Pending(load(info, &*server.present(info, stored).await?))
                });
            }
            Err(error) => write_error(error)?,
        }
    }
}

fn check_preconditions(info: &ResourceInfo, object: &Value, options: &DeleteOptions) -> Result<(), ApiError> {
    let (uid, version) = (meta::text(object, "uid"), meta::text(object, "resourceVersion"));
    if let Some(wanted) = options.uid.as_deref().filter(|w| *w != uid) {
        let why = format!(
            "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
        );
        return Err(ApiError::delete_conflict(info, meta::name(object), &why));
    }
    if let Some(wanted) = options.version.as_deref().filter(|w| *w != version) {
        let why = format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({version}). The object might have been modified"
        );
        return Err(ApiError::delete_conflict(info, meta::name(object), &why));
    }
    Ok(())
}

/// Returns the object as it is after the request, and whether it is gone then.
fn next_state(
    info: &ResourceInfo,
    object: &Value,
    options: &DeleteOptions,
    now: crate::time::Timestamp,
) -> (Value, bool) {
    let mut next = object.clone();
    let grace = grace_seconds(info, object, options);
    if let Some(grace) = grace
        && meta::is_deleting(object)
    {
        // Only a shorter grace period changes anything.
        let current = meta::of(object)
            .get("deletionGracePeriodSeconds")
            .and_then(Value::as_i64)
            .unwrap_or(0);
        if options.grace_seconds.is_none() || grace >= current {
            let done = current == 0 && meta::finalizers(object).is_empty();
            return (next, done);
        }
        let metadata = meta::of_mut(&mut next);
        metadata.remove("deletionTimestamp");
    }
    adjust_finalizers(info, &mut next, options);
    let grace = grace.unwrap_or(0);
    let held = info.storage_group_resource == NAMESPACES && namespaces::is_held(&next);
    if held || !meta::finalizers(&next).is_empty() || grace > 0 {
        meta::mark_deleting(&mut next, now, grace);
        if held {
            namespaces::mark_terminating(&mut next);
        }
        if info.storage_group_resource == CRDS {
            crd::mark_terminating(&mut next, now);
        }
        return (next, false);
    }
    if info.storage_group_resource == PODS {
        // Who removes it is told that it had no time left.
        meta::mark_deleting(&mut next, now, 0);
    }
    (next, true)
}

/// Returns for how many seconds an object may go on living, if its kind knows such a thing.
fn grace_seconds(info: &ResourceInfo, object: &Value, options: &DeleteOptions) -> Option<i64> {
    if info.storage_group_resource != PODS {
        return None;
    }
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let own = object
        .pointer("/spec/terminationGracePeriodSeconds")
        .and_then(Value::as_i64);
    let asked = options.grace_seconds.or(own).unwrap_or(0);
    if text("/spec/nodeName").is_empty() || matches!(text("/status/phase"), "Failed" | "Succeeded") {
        return Some(0);
    }
    Some(if asked < 0 { 1 } else { asked })
}

/// Kinds whose dependents stay if nobody says what shall become of them: once that was so with all kinds
/// (kube-apiserver: `DefaultGarbageCollectionPolicy`).
const ORPHANING: [&str; 2] = ["jobs.batch", "replicationcontrollers"];

/// Adds and removes the finalizers that say what becomes of the dependents.
fn adjust_finalizers(info: &ResourceInfo, object: &mut Value, options: &DeleteOptions) {
    let had = meta::finalizers(object);
    let (mut orphan, mut foreground) = (had.contains(&ORPHAN), had.contains(&FOREGROUND));
    orphan |= !foreground && ORPHANING.contains(&&*info.storage_group_resource);
    if let Some(keep) = options.orphan_dependents {
        (orphan, foreground) = (keep, false);
    }
    if let Some(policy) = options.propagation {
        (orphan, foreground) = (policy == Propagation::Orphan, policy == Propagation::Foreground);
    }
    let mut wanted: Vec<String> = had
        .iter()
        .filter(|f| !matches!(**f, ORPHAN | FOREGROUND))
        .map(|f| (*f).to_owned())
        .collect();
    if orphan {
        wanted.push(ORPHAN.to_owned());
    }
    if foreground {
        wanted.push(FOREGROUND.to_owned());
    }
    // On the first request only: whoever takes the finalizer off afterwards wants the definition gone.
    let is_first = info.storage_group_resource == CRDS && !meta::is_deleting(object);
    if is_first && !wanted.iter().any(|f| f == gc::CRD_CLEANUP) {
        wanted.push(gc::CRD_CLEANUP.to_owned());
    }
    let known: HashSet<&str> = had.iter().copied().collect();
    let same = wanted.len() == had.len() && wanted.iter().all(|f| known.contains(f.as_str()));
    if !same {
        meta::set_finalizers(object, &wanted);
    }
}

/// Says whether an object that is being removed has nothing left to wait for.
pub(crate) fn is_done(object: &Value) -> bool {
    let grace = meta::of(object)
        .get("deletionGracePeriodSeconds")
        .and_then(Value::as_i64)
        .unwrap_or(0);
    let held = object.get("kind").and_then(Value::as_str) == Some("Namespace") && namespaces::is_held(object);
    meta::is_deleting(object) && meta::finalizers(object).is_empty() && grace == 0 && !held
}

/// Removes an object on the server's own behalf; its dependents go after it. Errors are only logged: whatever
/// changed meanwhile will lead here again.
pub(crate) async fn remove_in_background(server: &Server, stored: &Stored) {
    remove_quietly(server, stored, Propagation::Background, None).await;
}

/// The same with another propagation, if the object is still as it was. Returns false if it is not.
pub(crate) async fn remove_unchanged(server: &Server, stored: &Stored, propagation: Propagation) -> bool {
    let version = Some(stored.version.to_string());
    remove_quietly(server, stored, propagation, version).await != Some(409)
}

/// Returns the code of the error, if there was one.
async fn remove_quietly(
    server: &Server,
    stored: &Stored,
    propagation: Propagation,
    version: Option<String>,
) -> Option<u16> {
    let (info, object) = server.value_of(stored)?;
    let finalizers = meta::finalizers(&object);
    // What was asked for the object itself wins over what its owner asks for.
    let propagation = if finalizers.contains(&ORPHAN) || finalizers.contains(&FOREGROUND) {
        None
    } else {
        Some(propagation)
    };
    let options = DeleteOptions {
        uid: Some(meta::text(&object, "uid").to_owned()),
        version,
        propagation,
        ..DeleteOptions::default()
    };
    let (namespace, name) = (&stored.key.namespace, &stored.key.name);
    let outcome = remove(server, &info, namespace, name, &options, None).await;
    let error = outcome.err()?;
    tracing::debug!(resource = %stored.key.resource, %name, error = error.message(), "not removed");
    Some(error.code())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::super::super::builtin::Registry;
    use super::super::super::store::{Key, WriteError};
    use super::*;
    use crate::time::SystemClock;

    #[tokio::test]
    async fn what_nests_deeper_than_new_objects_may_can_be_removed_but_gets_no_deeper() {
        let server = Server::in_memory(Arc::new(SystemClock));
        let info = server.registry().find("", "v1", "configmaps").expect("served");
        let object = |levels: usize| {
            let data = (2..levels).fold(json!([]), |inner, _| json!([inner]));
            json!({"metadata": {"name": "a", "namespace": "default", "uid": "u", "finalizers": ["a.b/c"]}, "data": data})
        };
        let key = Key::new(&info.storage_group_resource, "default", "a");
        let put = |expect, levels| server.commit(key.clone(), expect, Change::Put(object(levels)));
        let refused = put(Expect::Absent, 121).await;
        assert!(matches!(refused, Err(WriteError::TooDeep)));
        let old = Change::Put(object(127));
        let old = server.store().write(key.clone(), Expect::Absent, old).await;
        let version = old.expect("as older releases did").version;
        let refused = put(Expect::Version(version), 128).await;
        assert!(matches!(refused, Err(WriteError::TooDeep)));
        let options = DeleteOptions::default();
        let removal = remove(&server, &info, "default", "a", &options, None).await;
        assert!(matches!(removal, Ok(Removal::Pending(object)) if meta::is_deleting(&object)));
    }

    #[test]
    fn finalizers_are_adjusted_however_many_there_are() {
        let info = Registry::builtin().find("", "v1", "configmaps").expect("served");
        let many: Vec<String> = (0..100_000).map(|n| format!("a.b/{n}")).collect();
        let mut object = json!({"metadata": {"finalizers": many}});
        let (before, began) = (object.clone(), std::time::Instant::now());
        adjust_finalizers(&info, &mut object, &DeleteOptions::default());
        assert!(began.elapsed().as_secs() < 5);
        assert_eq!(object, before);
        let orphans = DeleteOptions {
            propagation: Some(Propagation::Orphan),
            ..DeleteOptions::default()
        };
        adjust_finalizers(&info, &mut object, &orphans);
        assert_eq!(meta::finalizers(&object).last(), Some(&ORPHAN));
    }
}
