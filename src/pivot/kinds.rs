//! Which kinds move: those of this program, those whose definition says so by a label, Secrets, `ConfigMaps` and the Nodes of hollow machines.
//! Kinds of other software need no code here.

use std::{collections::BTreeMap, fmt};

use kube::{
    Client,
    core::{ApiResource, Version},
};
use serde::{Deserialize, Serialize};

use super::collect::{ReadError, each_page};
use crate::{
    api::{INFRASTRUCTURE_GROUP, MACHINE_GROUP},
    client::kinds as known,
};

/// Label on a definition or an object: it moves, whether or not it is linked to something. On an object the value `false` says: it stays.
pub const MOVE: &str = "machinectl.crit.sh/move";
/// Label on a definition or an object: it moves, and with it everything that belongs to it (Cluster API: `move-hierarchy`).
pub const MOVE_HIERARCHY: &str = "machinectl.crit.sh/move-hierarchy";
/// Annotation on an object, any value: no move begins while it is there (Cluster API: `block-move`).
pub const BLOCK_MOVE: &str = "machinectl.crit.sh/block-move";
/// Label on a definition: objects of this kind move when they are linked to something that does (Cluster API).
pub(super) const CLUSTER_API: &str = "clusterctl.cluster.x-k8s.io";
/// As [`MOVE`], for providers that are made for Cluster API.
pub(super) const CLUSTER_API_MOVE: &str = "clusterctl.cluster.x-k8s.io/move";
/// As [`MOVE_HIERARCHY`], for providers that are made for Cluster API.
pub(super) const CLUSTER_API_HIERARCHY: &str = "clusterctl.cluster.x-k8s.io/move-hierarchy";

/// As [`BLOCK_MOVE`], for providers that are made for Cluster API.
pub(super) const CLUSTER_API_BLOCK: &str = "clusterctl.cluster.x-k8s.io/block-move";

/// Definitions a page: they are large.
const PAGE: usize = 50;
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// When objects of a kind move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Always, and with them what belongs to them.
    Root,
    /// Always, unless they belong to something that stays.
    Forced,
    /// When something that moves owns them or refers to them.
    Linked,
}

/// A kind whose objects move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MovedKind {
    /// API group; empty for the core group.
    pub group: String,
    /// Version in which its objects are read and written.
    pub version: String,
    /// Name of the kind.
    pub kind: String,
    /// Name of the resource.
    pub plural: String,
    /// Whether its objects stand in namespaces.
    pub namespaced: bool,
    /// Whether its status is written through a subresource of its own.
    pub has_status: bool,
    /// When its objects move.
    pub role: Role,
    /// Whether it is a kind of this program.
    pub own: bool,
}

impl MovedKind {
    /// Secrets.
    pub fn secret() -> Self {
        Self::core("Secret", "secrets", true)
    }

    /// `ConfigMaps`.
    pub fn config_map() -> Self {
        Self::core("ConfigMap", "configmaps", true)
    }

    /// Nodes. Only those of hollow machines move: they are all that there is of such a machine.
    pub fn node() -> Self {
        Self {
            has_status: true,
            ..Self::core("Node", "nodes", false)
        }
    }

    fn core(kind: &str, plural: &str, namespaced: bool) -> Self {
        Self {
            group: String::new(),
            version: "v1".to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
            namespaced,
            has_status: false,
            role: Role::Linked,
            own: false,
        }
    }

    /// Whether it is a kind of the core group.
    pub fn is_core(&self, kind: &str) -> bool {
        self.group.is_empty() && self.kind == kind
    }

    /// Whether it is a kind of this program.
    pub fn is_own(&self, kind: &str) -> bool {
        self.own && self.kind == kind
    }

    /// `machine.crit.sh/v1alpha1`, or `v1` for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Name of its definition, and what RBAC and messages call it: `machines.machine.crit.sh`.
    pub fn full_name(&self) -> String {
        known::with_group(&self.plural, &self.group)
    }

    /// The kind as kube's dynamic objects want it.
    pub fn api_resource(&self) -> ApiResource {
        ApiResource {
            group: self.group.clone(),
            version: self.version.clone(),
            api_version: self.api_version(),
            kind: self.kind.clone(),
            plural: self.plural.clone(),
        }
    }

    /// Path of the list in a namespace, or of all of them, or of one object.
    pub fn path(&self, namespace: Option<&str>, name: Option<&str>) -> String {
        let namespace = namespace.filter(|_| self.namespaced);
        known::path(&self.group, &self.version, &self.plural, namespace, name)
    }
}

/// `Machine.machine.crit.sh`, or `Secret` for the core group.
impl fmt::Display for MovedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        Ok(())
    }
}

/// A kind whose objects stay where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StayingKind {
    /// Group; empty for the core group.
    pub group: String,
    /// Version in which it is read.
    pub version: String,
    /// Name in paths.
    pub plural: String,
    /// Whether its objects stand in namespaces.
    pub namespaced: bool,
    /// Whether it has a definition that can be labelled.
    pub is_custom: bool,
}

impl StayingKind {
    /// Built-in kinds of which objects are sometimes owned by those of management clusters: hosted control planes, for example.
    fn built_in() -> impl Iterator<Item = Self> {
        const KINDS: [(&str, &[&str]); 3] = [
            (
                "",
                &["services", "persistentvolumeclaims", "serviceaccounts", "pods"],
            ),
            ("apps", &["deployments", "statefulsets", "daemonsets"]),
            ("batch", &["jobs"]),
        ];
        KINDS.into_iter().flat_map(|(group, plurals)| {
            plurals.iter().map(move |plural| Self {
                group: group.to_owned(),
                version: "v1".to_owned(),
                plural: (*plural).to_owned(),
                namespaced: true,
                is_custom: false,
            })
        })
    }

    /// Name of its definition, and what RBAC and messages call it.
    pub fn full_name(&self) -> String {
        known::with_group(&self.plural, &self.group)
    }

    /// Path of the list in a namespace, or of all of them.
    pub fn path(&self, namespace: Option<&str>) -> String {
        let namespace = namespace.filter(|_| self.namespaced);
        known::path(&self.group, &self.version, &self.plural, namespace, None)
    }
}

/// The kinds of an API server.
#[derive(Debug, Clone, Default)]
pub struct Kinds {
    /// Those whose objects may move.
    pub moving: Vec<MovedKind>,
    /// Those whose objects stay, as far as they may be owned by what moves.
    pub staying: Vec<StayingKind>,
}

/// Asks an API server which kinds move: kinds of this program first, then others by name, then those of the core group.
/// One list of all definitions, page by page; nothing is kept of their schemas.
///
/// # Errors
/// Fails if the definitions can't be read.
pub async fn discover(client: &Client) -> Result<Kinds, ReadError> {
    let mut found: Kinds = each_page(client, DEFINITIONS, PAGE, |text, found: &mut Kinds| {
        let page: Page = serde_json::from_str(text).map_err(|e| e.to_string())?;
        for definition in page.items {
            match definition.moved() {
                Some(kind) => found.moving.push(kind),
                None => found.staying.extend(definition.staying()),
            }
        }
        Ok(page.metadata.next())
    })
    .await?;
    let place = |kind: &MovedKind| {
        let own = known::own().position(|k| k.group == kind.group && k.kind == kind.kind);
        (own.unwrap_or(usize::MAX), kind.full_name())
    };
    found.moving.sort_by_cached_key(place);
    found
        .moving
        .extend([MovedKind::secret(), MovedKind::config_map(), MovedKind::node()]);
    found.staying.extend(StayingKind::built_in());
    Ok(found)
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: super::collect::ListMeta,
    #[serde(default)]
    items: Vec<Definition>,
}

/// What is needed of a definition. Its schemas are skipped while it is read.
#[derive(Deserialize)]
struct Definition {
    metadata: DefinitionMeta,
    spec: DefinitionSpec,
}

#[derive(Deserialize)]
struct DefinitionMeta {
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct DefinitionSpec {
    group: String,
    names: Names,
    scope: String,
    #[serde(default)]
    versions: Vec<ServedVersion>,
}

#[derive(Deserialize)]
struct Names {
    kind: String,
    plural: String,
}

#[derive(Deserialize)]
struct ServedVersion {
    name: String,
    #[serde(default)]
    served: bool,
    #[serde(default)]
    storage: bool,
    #[serde(default)]
    subresources: Option<Subresources>,
}

#[derive(Deserialize)]
struct Subresources {
    #[serde(default)]
    status: Option<serde::de::IgnoredAny>,
}

impl Definition {
    /// The kind, if it moves and some version of it is served.
    fn moved(&self) -> Option<MovedKind> {
        let own = [MACHINE_GROUP, INFRASTRUCTURE_GROUP].contains(&self.spec.group.as_str());
        let kind = &self.spec.names.kind;
        let role = self.role(own, kind == "Cluster")?;
        let version = self.version()?;
        Some(MovedKind {
            version: version.name.clone(),
            has_status: version.subresources.as_ref().is_some_and(|s| s.status.is_some()),
            group: self.spec.group.clone(),
            kind: kind.clone(),
            plural: self.spec.names.plural.clone(),
            namespaced: self.is_namespaced(),
            role,
            own,
        })
    }

    fn staying(&self) -> Option<StayingKind> {
        Some(StayingKind {
            group: self.spec.group.clone(),
            version: self.version()?.name.clone(),
            plural: self.spec.names.plural.clone(),
            namespaced: self.is_namespaced(),
            is_custom: true,
        })
    }

    fn is_namespaced(&self) -> bool {
        self.spec.scope == "Namespaced"
    }

    /// The served version in which objects are stored, or else the newest.
    fn version(&self) -> Option<&ServedVersion> {
        let served = self.spec.versions.iter().filter(|v| v.served);
        served.max_by_key(|v| (v.storage, Version::parse(&v.name).priority()))
    }

    fn role(&self, own: bool, is_cluster: bool) -> Option<Role> {
        let label = |name: &str| {
            let value = self.metadata.labels.get(name).map(String::as_str);
            value.is_some_and(|value| value != "false")
        };
        if (own && is_cluster) || label(MOVE_HIERARCHY) || label(CLUSTER_API_HIERARCHY) {
            return Some(Role::Root);
        }
        // Definitions of older versions have no label.
        if own || label(MOVE) || label(CLUSTER_API_MOVE) {
            return Some(Role::Forced);
        }
        label(CLUSTER_API).then_some(Role::Linked)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn definition(group: &str, kind: &str, labels: &Value, versions: &Value) -> Value {
        json!({
            "metadata": { "name": "x", "labels": labels },
            "spec": {
                "group": group, "scope": "Namespaced", "versions": versions,
                "names": { "kind": kind, "plural": format!("{}s", kind.to_lowercase()) },
            },
        })
    }

    fn moved(value: Value) -> Option<MovedKind> {
        serde_json::from_value::<Definition>(value).unwrap().moved()
    }

    #[test]
    fn labels_say_when_objects_of_a_kind_move() {
        let versions = json!([{ "name": "v1", "served": true, "storage": true }]);
        for (group, kind, labels, role) in [
            ("machine.crit.sh", "Cluster", json!({}), Some(Role::Root)),
            (
                "infrastructure.crit.sh",
                "FooMachine",
                json!({}),
                Some(Role::Forced),
            ),
            ("example.com", "Foo", json!({}), None),
            (
                "example.com",
                "Foo",
                json!({ "machinectl.crit.sh/move": "" }),
                Some(Role::Forced),
            ),
            (
                "example.com",
                "Foo",
                json!({ "machinectl.crit.sh/move": "true" }),
                Some(Role::Forced),
            ),
            (
                "example.com",
                "Foo",
                json!({ "machinectl.crit.sh/move": "false" }),
                None,
            ),
            (
                "example.com",
                "Foo",
                json!({ "machinectl.crit.sh/move-hierarchy": "" }),
                Some(Role::Root),
            ),
            (
                "example.com",
                "Foo",
                json!({ "clusterctl.cluster.x-k8s.io": "" }),
                Some(Role::Linked),
            ),
            (
                "example.com",
                "Foo",
                json!({ "clusterctl.cluster.x-k8s.io/move": "" }),
                Some(Role::Forced),
            ),
            (
                "example.com",
                "Foo",
                json!({ "clusterctl.cluster.x-k8s.io": "", "clusterctl.cluster.x-k8s.io/move-hierarchy": "" }),
                Some(Role::Root),
            ),
            // Clusters of Cluster API belong to its controllers, which nothing here stops.
            (
                "cluster.x-k8s.io",
                "Cluster",
                json!({ "clusterctl.cluster.x-k8s.io": "" }),
                Some(Role::Linked),
            ),
        ] {
            let found = moved(definition(group, kind, &labels, &versions));
            assert_eq!(found.map(|k| k.role), role, "{group} {kind} {labels}");
        }
    }

    #[test]
    fn the_version_is_the_stored_one_if_it_is_served_else_the_newest_served() {
        let version = |versions: &Value| {
            moved(definition("machine.crit.sh", "Machine", &json!({}), versions)).map(|k| k.version)
        };
        let v = |name: &str, served: bool, storage: bool| json!({ "name": name, "served": served, "storage": storage });
        assert_eq!(
            version(&json!([v("v1", true, false), v("v1alpha1", true, true)])).as_deref(),
            Some("v1alpha1")
        );
        assert_eq!(
            version(&json!([
                v("v1beta2", true, false),
                v("v1beta10", true, false),
                v("v1", false, true)
            ]))
            .as_deref(),
            Some("v1beta10")
        );
        assert_eq!(version(&json!([v("v1", false, true)])), None);
    }

    #[test]
    fn a_status_of_its_own_is_seen_and_schemas_are_skipped() {
        let versions = json!([{ "name": "v1", "served": true, "storage": true, "subresources": { "status": {} },
            "schema": { "openAPIV3Schema": { "type": "object" } } }]);
        let kind = moved(definition("machine.crit.sh", "Machine", &json!({}), &versions)).unwrap();
        assert!(kind.has_status && kind.namespaced && kind.own);
        assert_eq!(kind.to_string(), "Machine.machine.crit.sh");
        assert_eq!(kind.full_name(), "machines.machine.crit.sh");
        assert_eq!(
            kind.path(Some("ns"), Some("m")),
            "/apis/machine.crit.sh/v1/namespaces/ns/machines/m"
        );
        assert_eq!(MovedKind::node().path(Some("ns"), Some("m")), "/api/v1/nodes/m");
    }
}
