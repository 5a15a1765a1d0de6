//! What each namespace has: the service account `default`, and the certificate of the CA in the config map `kube-root-ca.crt`. As
//! kube-controller-manager makes them, and makes them again when they go or change.

use std::sync::Arc;

use serde_json::{Value, json};

use super::builtin::{Registry, ResourceInfo};
use super::identity::Authority;
use super::object::meta;
use super::ssa::{self, Manager};
use super::store::{Change, Expect, Key, Stored, WriteError};
use super::{NAMESPACES, Server};
use crate::time::{Timestamp, rfc3339};

const ACCOUNTS: &str = "serviceaccounts";
const ACCOUNT: &str = "default";
const CONFIG_MAPS: &str = "configmaps";
const ROOT_CA: &str = "kube-root-ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";
/// What the annotation of that name says in every cluster.
const ROOT_CA_IS_FOR: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";
/// As whom the server acts when it does what controllers do.
const MANAGER: &str = "kube-controller-manager";

/// Records in an object that controllers have written it, or a subresource of it.
pub(super) fn track(
    info: &ResourceInfo,
    live: Option<&Value>,
    new: &mut Value,
    subresource: &str,
    now: Timestamp,
) {
    let api_version = info.api_version();
    let manager = Manager {
        name: MANAGER,
        api_version: &api_version,
        subresource,
    };
    let zero;
    let live = if let Some(live) = live {
        live
    } else {
        zero = info.zero_object();
        &zero
    };
    ssa::track_update(Some(live), new, &manager, info.schema(), &[], now);
}

fn object(info: &ResourceInfo, namespace: &str, name: &str, mut object: Value, now: Timestamp) -> Value {
    object["apiVersion"] = info.api_version().into();
    object["kind"] = info.kind.clone().into();
    meta::set(&mut object, "name", name);
    meta::set(&mut object, "namespace", namespace);
    track(info, None, &mut object, "", now);
    meta::set(&mut object, "uid", &uuid::Uuid::new_v4().to_string());
    meta::set(&mut object, "creationTimestamp", &rfc3339(now));
    object
}

/// Returns what a namespace has.
pub(super) fn furniture(namespace: &str, authority: Option<&Authority>, now: Timestamp) -> Vec<(Key, Value)> {
    let registry = Registry::builtin();
    let mut furniture = Vec::new();
    let mut add = |resource: &str, name: &str, content: Value| {
        if let Some(info) = registry.find("", "v1", resource) {
            let made = object(&info, namespace, name, content, now);
            furniture.push((Key::new(resource, namespace, name), made));
        }
    };
    add(ACCOUNTS, ACCOUNT, json!({"metadata": {}}));
    if let Some(authority) = authority {
        let content = json!({
            "metadata": {"annotations": {DESCRIPTION: ROOT_CA_IS_FOR}}, "data": {"ca.crt": authority.ca_cert},
        });
        add(CONFIG_MAPS, ROOT_CA, content);
    }
    furniture
}

impl Server {
    /// Makes what a namespace lacks.
    pub(super) async fn furnish(&self, namespace: &str) {
        let is_whole = [(ACCOUNTS, ACCOUNT), (CONFIG_MAPS, ROOT_CA)]
            .iter()
            .all(|(resource, name)| self.store().get(resource, namespace, name).is_some());
        if is_whole {
            return;
        }
        for (key, object) in furniture(namespace, self.0.authority.as_ref(), self.now()) {
            if !self.is_lived_in(namespace) {
                return;
            }
            // What is there already stays as it is.
            let Ok(stored) = self.store().write(key, Expect::Absent, Change::Put(object)).await else {
                continue;
            };
            self.follow_up(&stored, false);
        }
    }

    /// Says whether a namespace is there, and to stay.
    pub(super) fn is_lived_in(&self, namespace: &str) -> bool {
        self.store()
            .get(NAMESPACES, "", namespace)
            .is_some_and(|namespace| !namespace.deleting)
    }

    /// Sees to it that what a namespace has is there, and as it should be, after one of its objects was written or removed.
    pub(super) fn keep_furnished(&self, stored: &Arc<Stored>) {
        let (namespace, name) = (&stored.key.namespace, &*stored.key.name);
        match (&*stored.key.resource, name) {
            (ACCOUNTS, ACCOUNT) | (CONFIG_MAPS, ROOT_CA) if self.is_lived_in(namespace) => {}
            _ => return,
        }
        let (server, namespace) = (self.clone(), namespace.to_string());
        tokio::spawn(async move {
            server.restore_root_ca(&namespace).await;
            server.furnish(&namespace).await;
        });
    }

    /// Puts the CA's certificate back where somebody has changed it.
    async fn restore_root_ca(&self, namespace: &str) {
        let (Some(authority), Some(info)) = (&self.0.authority, self.registry().find("", "v1", CONFIG_MAPS))
        else {
            return;
        };
        let data = json!({"ca.crt": authority.ca_cert});
        while let Some(stored) = self.store().get(CONFIG_MAPS, namespace, ROOT_CA) {
            let live = stored.value("v1", "ConfigMap");
            if live["data"] == data || stored.deleting {
                return;
            }
            let mut new = live.clone();
            new["data"] = data.clone();
            track(&info, Some(&live), &mut new, "", self.now());
            let expect = Expect::Version(stored.version);
            let written = self.store().write(stored.key.clone(), expect, Change::Put(new));
            if !matches!(written.await, Err(WriteError::Conflict)) {
                return;
            }
        }
    }

    /// Furnishes all namespaces at once, when a state is opened. Mostly they are.
    pub(super) async fn furnish_all(&self) {
        if !self.0.options.controllers {
            return;
        }
        let (_, namespaces) = self.store().list(NAMESPACES, None);
        let all = namespaces.iter().map(|namespace| async {
            self.restore_root_ca(&namespace.key.name).await;
            self.furnish(&namespace.key.name).await;
        });
        futures::future::join_all(all).await;
    }
}
