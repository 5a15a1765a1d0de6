//! Namespaces: those that are always there, what may be made in them, and how they and all in them go away.
//! It must not know HTTP.

use serde_json::{Value, json};

use super::builtin::ResourceInfo;
use super::gc::{for_all, is_outrun};
use super::handlers::delete;
use super::object::meta;
use super::status::ApiError;
use super::store::{Change, Expect, Key, Stored};
use super::{DEFAULT_NAMESPACES, NAMESPACES, Server};
use crate::time::{Timestamp, rfc3339};

/// Finalizer in `spec.finalizers` that stands for the content of a namespace.
const CONTENT: &str = "kubernetes";

/// Returns the namespaces that are always there.
pub(super) fn seed(now: Timestamp) -> Vec<(Key, Value)> {
    let make = |name: &str| {
        let namespace = json!({
            "metadata": {
                "name": name, "uid": uuid::Uuid::new_v4().to_string(), "creationTimestamp": rfc3339(now),
                "labels": {"kubernetes.io/metadata.name": name},
            },
            "spec": {"finalizers": [CONTENT]},
            "status": {"phase": "Active"},
        });
        (Key::new(NAMESPACES, "", name), namespace)
    };
    DEFAULT_NAMESPACES.iter().map(|name| make(name)).collect()
}

impl Server {
    /// Says whether a new object may be made in a namespace.
    pub(super) fn admit_to_namespace(
        &self,
        info: &ResourceInfo,
        namespace: &str,
        name: &str,
    ) -> Result<(), ApiError> {
        if !info.namespaced {
            return Ok(());
        }
        match self.store().get(NAMESPACES, "", namespace) {
            None => Err(ApiError::no_namespace(namespace)),
            Some(found) if found.deleting => Err(ApiError::namespace_terminating(info, name, namespace)),
            Some(_) => Ok(()),
        }
    }

    /// Starts removing what is in a namespace that is being removed.
    pub(super) fn spawn_empty_namespace(&self, name: &str) {
        let (server, name) = (self.clone(), name.to_owned());
        tokio::spawn(async move { server.empty_namespace(&name).await });
    }

    async fn empty_namespace(&self, name: &str) {
        let going = || self.store().get(NAMESPACES, "", name).filter(|n| n.deleting);
        if going().is_none() {
            return;
        }
        let content = self.store().in_namespace(name).into_iter();
        for_all(content.filter(|o| !o.deleting), |object| async move {
            delete::remove_in_background(self, &object).await;
        })
        .await;
        // Objects that wait for finalizers bring us here again when they go.
        while let Some(stored) = going()
            && self.store().count_in_namespace(name) == 0
            && self.finalize_namespace(&stored).await
        {}
    }

    /// Takes the finalizer of the content off an empty namespace; the namespace goes if nothing else holds it. Returns whether
    /// somebody else came first.
    async fn finalize_namespace(&self, stored: &Stored) -> bool {
        let mut namespace = stored.value("v1", "Namespace");
        let finalizers = namespace
            .pointer_mut("/spec/finalizers")
            .and_then(Value::as_array_mut);
        let left = finalizers.map_or(0, |list| {
            list.retain(|f| f != CONTENT);
            list.len()
        });
        let change = if left == 0 && meta::finalizers(&namespace).is_empty() {
            Change::Delete(namespace)
        } else {
            Change::Put(namespace)
        };
        if unchanged(stored, &change) {
            return false;
        }
        let expect = Expect::Version(stored.version);
        is_outrun(&self.commit(stored.key.clone(), expect, change).await)
    }
}

fn unchanged(stored: &Stored, change: &Change) -> bool {
    let Change::Put(value) = change else { return false };
    meta::same_content(&stored.value("v1", "Namespace"), value)
}

/// Says whether a namespace must stay.
pub(super) fn is_immortal(name: &str) -> bool {
    matches!(name, "default" | "kube-system" | "kube-public")
}

/// Marks a namespace as being removed: its content goes first.
pub(super) fn mark_terminating(namespace: &mut Value) {
    namespace["status"]["phase"] = "Terminating".into();
}

/// Says whether content or another finalizer of the spec still holds a namespace.
pub(super) fn is_held(namespace: &Value) -> bool {
    namespace
        .pointer("/spec/finalizers")
        .and_then(Value::as_array)
        .is_some_and(|f| !f.is_empty())
}
