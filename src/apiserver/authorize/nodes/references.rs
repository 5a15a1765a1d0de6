//! What a pod, or a volume, refers to by name. It must not look for it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::super::object::meta;

/// The annotation of pods that a kubelet made of files on its machine.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";
/// Sorts of volumes that name a secret in `secretRef`.
const WITH_SECRET: [&str; 7] = [
    "cephfs",
    "cinder",
    "flexVolume",
    "rbd",
    "scaleIO",
    "iscsi",
    "storageos",
];
/// The secrets of a driver that kubelets use; others are its controller's.
const OF_KUBELETS: [&str; 3] = [
    "nodePublishSecretRef",
    "nodeStageSecretRef",
    "nodeExpandSecretRef",
];

/// What a pod refers to in its namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct References {
    pub(crate) account: String,
    pub(crate) secrets: BTreeSet<String>,
    pub(crate) config_maps: BTreeSet<String>,
    pub(crate) claims: BTreeSet<String>,
}

fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value[field].as_array().into_iter().flatten()
}

fn add(names: &mut BTreeSet<String>, name: &Value) {
    if let Some(name) = name.as_str().filter(|name| !name.is_empty()) {
        names.insert(name.to_owned());
    }
}

impl References {
    /// Reads a pod.
    pub(crate) fn of(pod: &Value) -> Self {
        let spec = &pod["spec"];
        let mut found = Self {
            account: spec["serviceAccountName"].as_str().unwrap_or_default().to_owned(),
            ..Self::default()
        };
        for secret in items(spec, "imagePullSecrets") {
            add(&mut found.secrets, &secret["name"]);
        }
        for containers in ["containers", "initContainers", "ephemeralContainers"] {
            for container in items(spec, containers) {
                found.add_environment(container);
            }
        }
        for volume in items(spec, "volumes") {
            found.add_volume(volume, meta::name(pod));
        }
        found
    }

    fn add_environment(&mut self, container: &Value) {
        for source in items(container, "envFrom") {
            add(&mut self.secrets, &source["secretRef"]["name"]);
            add(&mut self.config_maps, &source["configMapRef"]["name"]);
        }
        for variable in items(container, "env") {
            add(&mut self.secrets, &variable["valueFrom"]["secretKeyRef"]["name"]);
            add(
                &mut self.config_maps,
                &variable["valueFrom"]["configMapKeyRef"]["name"],
            );
        }
    }

    fn add_volume(&mut self, volume: &Value, pod: &str) {
        add(&mut self.secrets, &volume["secret"]["secretName"]);
        add(&mut self.secrets, &volume["azureFile"]["secretName"]);
        add(&mut self.secrets, &volume["csi"]["nodePublishSecretRef"]["name"]);
        for sort in WITH_SECRET {
            add(&mut self.secrets, &volume[sort]["secretRef"]["name"]);
        }
        add(&mut self.config_maps, &volume["configMap"]["name"]);
        for source in items(&volume["projected"], "sources") {
            add(&mut self.secrets, &source["secret"]["name"]);
            add(&mut self.config_maps, &source["configMap"]["name"]);
        }
        add(&mut self.claims, &volume["persistentVolumeClaim"]["claimName"]);
        if volume["ephemeral"].is_object() {
            let name = volume["name"].as_str().unwrap_or_default();
            self.claims.insert(format!("{pod}-{name}"));
        }
    }
}

/// Says whether a kubelet that mounts a volume needs this secret for it.
pub(super) fn needs_secret(volume: &Value, namespace: &str, name: &str) -> bool {
    let spec = &volume["spec"];
    let claim = spec["claimRef"]["namespace"].as_str().unwrap_or_default();
    let is = |reference: &Value| {
        let own = reference["namespace"].as_str().filter(|n| !n.is_empty());
        reference["name"] == name && own.unwrap_or(claim) == namespace
    };
    let file = &spec["azureFile"];
    let own = file["secretNamespace"].as_str().filter(|n| !n.is_empty());
    (file["secretName"] == name && own.unwrap_or(claim) == namespace)
        || WITH_SECRET.iter().any(|sort| is(&spec[*sort]["secretRef"]))
        || OF_KUBELETS.iter().any(|field| is(&spec["csi"][*field]))
}

#[cfg(test)]
mod tests {
    use super::*;

    use serde_json::json;

    #[test]
    fn all_that_a_pod_names_is_found() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {
            "serviceAccountName": "robot",
            "imagePullSecrets": [{"name": "pull"}],
            "initContainers": [{"envFrom": [{"secretRef": {"name": "from"}}, {"configMapRef": {"name": "map-from"}}]}],
            "containers": [{"env": [
                {"name": "A", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}},
                {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "map-key", "key": "k"}}},
                {"name": "C", "value": "plain"},
            ]}],
            "volumes": [
                {"name": "a", "secret": {"secretName": "volume"}},
                {"name": "b", "configMap": {"name": "map"}},
                {"name": "c", "projected": {"sources": [
                    {"secret": {"name": "part"}}, {"configMap": {"name": "map-part"}}, {"serviceAccountToken": {"path": "t"}},
                ]}},
                {"name": "d", "csi": {"driver": "x", "nodePublishSecretRef": {"name": "publish"}}},
                {"name": "e", "rbd": {"secretRef": {"name": "rbd"}}},
                {"name": "f", "persistentVolumeClaim": {"claimName": "claim"}},
                {"name": "g", "ephemeral": {}},
            ],
        }});
        let found = References::of(&pod);
        let set = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(found.account, "robot");
        assert_eq!(
            found.secrets,
            set(&["from", "key", "part", "publish", "pull", "rbd", "volume"])
        );
        assert_eq!(
            found.config_maps,
            set(&["map", "map-from", "map-key", "map-part"])
        );
        assert_eq!(found.claims, set(&["claim", "p-g"]));
        assert_eq!(References::of(&json!({})), References::default());
    }
}
