//! A user's kubeadm documents, raised to the newest form. It must not add anything of its own.

use serde_json::{Map, Value, json};

use super::{ApiVersion, convert};
use crate::{
    bootstrap::BootstrapError,
    providers::Role,
    yaml::{self, YamlError},
};

/// kubeadm's documents in the form of `v1beta4`, without `apiVersion` and `kind`. Tokens may stand in them.
#[derive(Clone, Default, PartialEq)]
pub struct Documents {
    /// `InitConfiguration`.
    pub init: Option<Map<String, Value>>,
    /// `ClusterConfiguration`.
    pub cluster: Option<Map<String, Value>>,
    /// `JoinConfiguration`.
    pub join: Option<Map<String, Value>>,
    /// `KubeletConfiguration`, for all nodes.
    pub kubelet: Option<Map<String, Value>>,
    /// `KubeProxyConfiguration`.
    pub proxy: Option<Map<String, Value>>,
    /// What could not be taken over: kinds and paths.
    pub untranslated: Vec<String>,
    pub(crate) given: Vec<Value>,
}

impl std::fmt::Debug for Documents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Documents")
            .field("untranslated", &self.untranslated)
            .finish_non_exhaustive()
    }
}

impl Documents {
    /// Reads documents of kubeadm, kubelet and kube-proxy.
    ///
    /// # Errors
    /// Fails for other kinds, and for a kind that is there twice.
    pub fn parse(documents: &[Value]) -> Result<Self, BootstrapError> {
        let mut out = Self {
            given: documents.to_vec(),
            ..Self::default()
        };
        for document in documents {
            let text = |key: &str| document[key].as_str().unwrap_or_default();
            let (version, kind) = (text("apiVersion"), text("kind"));
            let unknown = || BootstrapError::UnknownKind {
                found: format!("{version}, {kind}").trim_start_matches(", ").to_owned(),
            };
            let Value::Object(map) = document else {
                return Err(unknown());
            };
            let mut map = map.clone();
            map.remove("apiVersion");
            map.remove("kind");
            let slot = match (version, kind) {
                ("kubelet.config.k8s.io/v1beta1", "KubeletConfiguration") => &mut out.kubelet,
                ("kubeproxy.config.k8s.io/v1alpha1", "KubeProxyConfiguration") => &mut out.proxy,
                _ => {
                    let api = ApiVersion::parse(version).ok_or_else(unknown)?;
                    convert::raise(api, kind, &mut map)?;
                    match kind {
                        "InitConfiguration" => &mut out.init,
                        "ClusterConfiguration" => &mut out.cluster,
                        "JoinConfiguration" => &mut out.join,
                        // Nothing of these concerns a machine that begins.
                        "ClusterStatus" | "ResetConfiguration" | "UpgradeConfiguration" => {
                            out.untranslated.push(kind.to_owned());
                            continue;
                        }
                        _ => return Err(unknown()),
                    }
                }
            };
            if slot.replace(map).is_some() {
                return Err(BootstrapError::Field {
                    field: kind.to_owned(),
                    reason: "is there twice".to_owned(),
                });
            }
        }
        Ok(out)
    }

    /// Says for which role the documents are. `None` if it can't be told.
    pub fn role(&self) -> Option<Role> {
        match (&self.init, &self.cluster, &self.join) {
            (None, None, Some(join)) if !join.contains_key("controlPlane") => Some(Role::Worker),
            (Some(_), _, None) | (None, Some(_), None) => Some(Role::ControlPlane),
            _ => None,
        }
    }

    /// Writes the documents as they were given.
    ///
    /// # Errors
    /// Fails when a document has no YAML form.
    pub fn as_given(&self) -> Result<String, YamlError> {
        let parts: Vec<String> = self.given.iter().map(yaml::to_string).collect::<Result<_, _>>()?;
        Ok(parts.join("---\n"))
    }
}

/// Puts `over` over `base`: objects are merged, all else is replaced.
pub(super) fn merge(base: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (_, Value::Null) => {}
            (Some(Value::Object(base)), Value::Object(over)) => merge(base, over),
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

/// Returns the object under a key, made if it is missing or something else.
pub(super) fn object<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let slot = map.entry(key).or_insert_with(|| json!({}));
    if !slot.is_object() {
        *slot = json!({});
    }
    slot.as_object_mut()
        .expect("invariant: made an object just above")
}

/// Returns the list under a key, made if it is missing or something else.
pub(super) fn list<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Vec<Value> {
    let slot = map.entry(key).or_insert_with(|| json!([]));
    if !slot.is_array() {
        *slot = json!([]);
    }
    slot.as_array_mut().expect("invariant: made a list just above")
}

/// Sets a flag in a list of `{name, value}`. Returns the value that it replaced, if that was another one.
pub(crate) fn set_arg(holder: &mut Map<String, Value>, key: &str, name: &str, value: &str) -> Option<String> {
    let before = remove_arg(holder, key, name);
    list(holder, key).push(json!({"name": name, "value": value}));
    before.filter(|b| b != value)
}

/// Takes a flag out of a list of `{name, value}` and returns its value.
pub(crate) fn remove_arg(holder: &mut Map<String, Value>, key: &str, name: &str) -> Option<String> {
    if !holder.contains_key(key) {
        return None;
    }
    let list = list(holder, key);
    let found = list
        .iter()
        .rfind(|a| a["name"] == name)
        .map(|a| a["value"].as_str().unwrap_or_default().to_owned());
    list.retain(|a| a["name"] != name);
    found
}
