//! The groups and versions that are served, as objects of kind `APIService`: all of them are local, since requests are passed on to nobody.
//! As kube-apiserver registers them (`kube-aggregator/pkg/controllers/autoregister`): those of definitions come and go with them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Server;
use super::builtin::Registry;
use super::store::{Change, Expect, Key};
use crate::time::{Timestamp, rfc3339};

/// Where they are stored.
pub(super) const API_SERVICES: &str = "apiservices.apiregistration.k8s.io";
/// The group of the kind itself, which has no such object.
const OWN_GROUP: &str = "apiregistration.k8s.io";
/// Label that says that the server keeps an object: from its start on, or as long as there is a definition.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
const BY_DEFINITION: &str = "true";

/// In which order clients are told of groups (kube-apiserver: `apiVersionPriorities`); the others are those of definitions.
const PRIORITIES: [(&str, u32); 18] = [
    ("", 18_000),
    ("apps", 17_800),
    ("events.k8s.io", 17_750),
    ("authentication.k8s.io", 17_700),
    ("authorization.k8s.io", 17_600),
    ("autoscaling", 17_500),
    ("batch", 17_400),
    ("certificates.k8s.io", 17_300),
    ("networking.k8s.io", 17_200),
    ("policy", 17_100),
    ("rbac.authorization.k8s.io", 17_000),
    ("storage.k8s.io", 16_800),
    ("apiextensions.k8s.io", 16_700),
    ("admissionregistration.k8s.io", 16_700),
    ("scheduling.k8s.io", 16_600),
    ("coordination.k8s.io", 16_500),
    ("node.k8s.io", 16_300),
    ("discovery.k8s.io", 16_200),
];

/// The objects of all groups and versions that are served, by name.
fn wanted(registry: &Registry, now: Timestamp) -> BTreeMap<String, Value> {
    let groups = registry
        .groups()
        .into_iter()
        .filter(|(group, _)| group != OWN_GROUP);
    let versions = groups
        .flat_map(|(group, versions)| versions.into_iter().map(move |version| (group.clone(), version)));
    versions
        .map(|(group, version)| {
            let name = format!("{version}.{group}");
            let is_custom = registry
                .in_version(&group, &version)
                .iter()
                .any(|info| info.custom);
            let object = object(&name, &group, &version, is_custom, now);
            (name, object)
        })
        .collect()
}

fn object(name: &str, group: &str, version: &str, is_custom: bool, now: Timestamp) -> Value {
    let known = PRIORITIES.iter().find(|(known, _)| *known == group && !is_custom);
    let (of_group, of_version) = match known {
        Some(("", priority)) => (*priority, 1),
        Some((_, priority)) => (*priority, 15),
        None => (1000, 100),
    };
    let mut spec =
        json!({"version": version, "groupPriorityMinimum": of_group, "versionPriority": of_version});
    if !group.is_empty() {
        spec["group"] = group.into();
    }
    let now = rfc3339(now);
    json!({
        "metadata": {
            "name": name, "uid": uuid::Uuid::new_v4().to_string(), "creationTimestamp": now,
            "labels": {MANAGED: if is_custom { BY_DEFINITION } else { "onstart" }},
        },
        "spec": spec,
        "status": {"conditions": [{
            "type": "Available", "status": "True", "lastTransitionTime": now, "reason": "Local",
            "message": "Local APIServices are always available",
        }]},
    })
}

fn key(name: &str) -> Key {
    Key::new(API_SERVICES, "", name)
}

/// Returns those that are there from the start.
pub(super) fn seed(now: Timestamp) -> Vec<(Key, Value)> {
    let all = wanted(&Registry::builtin(), now).into_iter();
    all.map(|(name, object)| (key(&name), object)).collect()
}

impl Server {
    /// Adds what is missing, and removes what was there for a definition that is gone.
    pub(super) async fn keep_local_services(&self) {
        let mut missing = wanted(&self.registry(), self.now());
        for stored in self.store().list(API_SERVICES, None).1 {
            let object = stored.value("apiregistration.k8s.io/v1", "APIService");
            let is_wanted = missing.remove(&*stored.key.name).is_some();
            if !is_wanted && object["metadata"]["labels"][MANAGED] == BY_DEFINITION {
                let expect = Expect::Version(stored.version);
                self.keep(stored.key.clone(), expect, Change::Delete(object))
                    .await;
            }
        }
        for (name, object) in missing {
            self.keep(key(&name), Expect::Absent, Change::Put(object)).await;
        }
    }

    /// Whoever comes first at such a moment does the same, or knows what he does.
    async fn keep(&self, key: Key, expect: Expect, change: Change) {
        if let Err(error) = self.store().write(key, expect, change).await {
            tracing::debug!(%error, "a local APIService was not kept");
        }
    }

    /// Starts that beside what is under way.
    pub(super) fn spawn_keep_local_services(&self) {
        let server = self.clone();
        tokio::spawn(async move { server.keep_local_services().await });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_and_version_has_one() {
        let now = "2026-11-20T09:00:00Z".parse().expect("time");
        let all = wanted(&Registry::builtin(), now);
        assert_eq!(
            all["v1."]["spec"],
            json!({"version": "v1", "groupPriorityMinimum": 18_000, "versionPriority": 1})
        );
        assert_eq!(all["v1.apps"]["spec"]["group"], "apps");
        assert!(!all.contains_key("v1.apiregistration.k8s.io"));
        for (name, object) in &all {
            assert_ne!(object["spec"]["groupPriorityMinimum"], 1000, "{name} is built in");
        }
    }
}
