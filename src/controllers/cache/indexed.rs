//! What each kind is found by and what of it is kept.

use k8s_openapi::api::core::v1::{ConfigMap, Node, NodeSystemInfo, Secret};
use kube::{
    Resource, ResourceExt,
    api::{DynamicObject, PartialObjectMeta},
};

use crate::api::{
    MACHINE_GROUP, labels,
    v1alpha1::{
        Cluster, Config, DockerInfrastructureProvider, InfrastructureProvider, Machine, MachineDeployment,
        MachineHealthCheck, MachineSet,
    },
};

/// When an object is kept as text. A tree of values takes several times the room, and reading the text again some microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packed {
    /// Never: there are few.
    Never,
    /// Once nothing has happened to it for a while: until then it is read often, together with many others.
    WhenQuiet,
    /// Always.
    AtOnce,
}

/// What an object can be found by, besides its name, and what of it need not be kept.
pub(crate) trait Indexed: Sized {
    /// When it is kept as text.
    const PACKED: Packed = Packed::Never;

    /// Its text, if it is ever kept so. Reading and writing each kind takes room in the program.
    fn text(&self) -> Option<Vec<u8>> {
        None
    }

    /// What was written by [`Indexed::text`].
    fn read(_text: &str) -> Option<Self> {
        None
    }

    /// Terms, each as `<what>:<value>`.
    fn terms(&self) -> Vec<String> {
        Vec::new()
    }

    /// Drops what no controller reads.
    fn trim(&mut self) {}

    /// Whether nothing has changed that a controller reads, though it was written.
    fn says_the_same(&self, _old: &Self) -> bool {
        false
    }

    /// Whether it is worth keeping. Its events are passed on in any case.
    fn keep(&self) -> bool {
        true
    }
}

/// The part of [`Indexed`] of a kind that is kept as text.
macro_rules! kept_as_text {
    ($when:ident) => {
        const PACKED: Packed = Packed::$when;

        fn text(&self) -> Option<Vec<u8>> {
            serde_json::to_vec(self).ok()
        }

        fn read(text: &str) -> Option<Self> {
            serde_json::from_str(text).ok()
        }
    };
}

impl Indexed for Machine {
    kept_as_text!(WhenQuiet);

    fn terms(&self) -> Vec<String> {
        let namespace = self.namespace().unwrap_or_default();
        let spec = &self.spec;
        let mut terms = vec![of_controller(self)];
        terms.extend(spec.cluster_name.iter().map(|c| term::cluster(&namespace, c)));
        if self.is_control_plane() {
            let cluster = spec.cluster_name.as_deref().unwrap_or_default();
            terms.push(term::control_plane(&namespace, cluster));
        }
        let status = self.status.as_ref();
        let inside = status
            .into_iter()
            .flat_map(|s| &s.addresses)
            .filter(|a| a.type_ == "InternalIP");
        terms.extend(inside.map(|a| term::address(&a.address)));
        let node = status.and_then(|s| s.node_ref.as_ref()?.name.as_ref());
        terms.extend(node.map(|name| term::node(name)));
        terms.extend(spec.provider_id.iter().map(|id| term::provider(id)));
        let name =
            |r: &Option<k8s_openapi::api::core::v1::ObjectReference>| r.as_ref().and_then(|r| r.name.clone());
        terms.extend(name(&spec.config_ref).map(|c| term::config(&namespace, &c)));
        if let Some(reference) = &spec.infrastructure_ref {
            let (kind, name) = (reference.kind.as_deref(), reference.name.as_deref());
            terms.push(term::infrastructure(
                kind.unwrap_or_default(),
                &namespace,
                name.unwrap_or_default(),
            ));
        }
        let data = spec.bootstrap.as_ref().and_then(|b| b.data_secret_name.as_ref());
        terms.extend(data.map(|secret| term::data_secret(&namespace, secret)));
        terms
    }
}

impl Indexed for MachineSet {
    fn terms(&self) -> Vec<String> {
        let mut terms = vec![of_controller(self)];
        terms.extend(of_cluster(self, self.cluster_name()));
        terms
    }
}

impl Indexed for MachineDeployment {
    fn terms(&self) -> Vec<String> {
        of_cluster(self, self.spec.cluster_name.as_deref())
            .into_iter()
            .collect()
    }
}

impl Indexed for MachineHealthCheck {
    fn terms(&self) -> Vec<String> {
        of_cluster(self, self.spec.cluster_name.as_deref())
            .into_iter()
            .collect()
    }
}

/// The Cluster that an object names.
fn of_cluster<K: Resource>(object: &K, cluster: Option<&str>) -> Option<String> {
    let namespace = object.meta().namespace.as_deref().unwrap_or_default();
    cluster.map(|cluster| term::cluster(namespace, cluster))
}

/// The controller of an object, or that it has none.
fn of_controller<K: Resource>(object: &K) -> String {
    let owners = object.meta().owner_references.as_deref().unwrap_or_default();
    match owners.iter().find(|r| r.controller == Some(true)) {
        Some(controller) => term::owner(&controller.uid),
        None => term::orphan(object.meta().namespace.as_deref().unwrap_or_default()),
    }
}

impl Indexed for Cluster {}
impl Indexed for Config {}
impl Indexed for InfrastructureProvider {}
impl Indexed for DockerInfrastructureProvider {}

impl Indexed for DynamicObject {
    kept_as_text!(AtOnce);

    fn terms(&self) -> Vec<String> {
        let mut terms = Vec::new();
        if let Some(id) = self.data.pointer("/spec/providerID").and_then(|id| id.as_str()) {
            let tail = id.rsplit('/').next().unwrap_or(id);
            terms = vec![term::provider(id), term::tail(tail)];
        }
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        let set = self
            .metadata
            .labels
            .as_ref()
            .and_then(|l| l.get(labels::SET_NAME));
        terms.extend(set.map(|set| term::set(namespace, set)));
        terms
    }
}

impl Indexed for Node {
    kept_as_text!(AtOnce);

    fn terms(&self) -> Vec<String> {
        let id = self.spec.as_ref().and_then(|s| s.provider_id.as_deref());
        let addresses = self.status.as_ref().and_then(|s| s.addresses.as_ref());
        let inside = addresses
            .into_iter()
            .flatten()
            .filter(|a| a.type_ == "InternalIP");
        id.filter(|id| !id.is_empty())
            .map(term::provider)
            .into_iter()
            .chain(inside.map(|a| term::address(&a.address)))
            .collect()
    }

    fn trim(&mut self) {
        if let Some(status) = &mut self.status {
            status.images = None;
            status.volumes_in_use = None;
            status.capacity = None;
            status.allocatable = None;
            status.daemon_endpoints = None;
            status.node_info = status.node_info.take().map(|info| NodeSystemInfo {
                kubelet_version: info.kubelet_version,
                ..NodeSystemInfo::default()
            });
            for volume in status.volumes_attached.iter_mut().flatten() {
                volume.device_path = String::new();
            }
            for condition in status.conditions.iter_mut().flatten() {
                condition.last_heartbeat_time = None;
            }
        }
    }

    fn says_the_same(&self, old: &Self) -> bool {
        // A heartbeat changes the resource version and nothing else that is kept.
        let mut new = self.clone();
        // Volumes come and go all the time; they are waited for on Nodes that take no pods.
        if self.spec.as_ref().and_then(|s| s.unschedulable) != Some(true)
            && let (Some(new), Some(old)) = (&mut new.status, &old.status)
        {
            new.volumes_attached.clone_from(&old.volumes_attached);
        }
        new.metadata
            .resource_version
            .clone_from(&old.metadata.resource_version);
        new == *old
    }
}

impl Indexed for ConfigMap {}

impl Indexed for PartialObjectMeta<Secret> {
    fn terms(&self) -> Vec<String> {
        self.owner_references()
            .iter()
            .map(|o| term::owner(&o.uid))
            .collect()
    }

    fn trim(&mut self) {
        if let Some(annotations) = &mut self.metadata.annotations {
            annotations.retain(|key, _| key.starts_with(MACHINE_GROUP));
        }
    }

    fn keep(&self) -> bool {
        self.owner_references()
            .iter()
            .any(|o| o.api_version.starts_with(MACHINE_GROUP))
    }
}

/// The terms, so that writer and reader spell them the same.
pub(crate) mod term {
    /// Everything of a Cluster.
    pub(crate) fn cluster(namespace: &str, name: &str) -> String {
        format!("cluster:{namespace}/{name}")
    }
    /// Control-plane machines of a Cluster; an empty name stands for machines without one.
    pub(crate) fn control_plane(namespace: &str, cluster: &str) -> String {
        format!("control-plane:{namespace}/{cluster}")
    }
    /// Everything with this internal address.
    pub(crate) fn address(address: &str) -> String {
        format!("address:{address}")
    }
    /// Machines whose Node bears this name.
    pub(crate) fn node(name: &str) -> String {
        format!("node:{name}")
    }
    /// Everything with this provider id.
    pub(crate) fn provider(id: &str) -> String {
        format!("provider:{id}")
    }
    /// Infrastructure whose provider id ends with this; for containers that is the Node's name.
    pub(crate) fn tail(name: &str) -> String {
        format!("tail:{name}")
    }
    /// Everything made from a Config.
    pub(crate) fn config(namespace: &str, name: &str) -> String {
        format!("config:{namespace}/{name}")
    }
    /// Everything that becomes a host by an infrastructure object.
    pub(crate) fn infrastructure(kind: &str, namespace: &str, name: &str) -> String {
        format!("infrastructure:{kind}/{namespace}/{name}")
    }
    /// Everything whose bootstrap data stands in a Secret of somebody else.
    pub(crate) fn data_secret(namespace: &str, name: &str) -> String {
        format!("data-secret:{namespace}/{name}")
    }
    /// Infrastructure that was made for the Machines of a set, by the value of its label.
    pub(crate) fn set(namespace: &str, label: &str) -> String {
        format!("set:{namespace}/{label}")
    }
    /// Everything in a namespace that no controller owns.
    pub(crate) fn orphan(namespace: &str) -> String {
        format!("orphan:{namespace}")
    }
    /// Everything owned by the object with this UID.
    pub(crate) fn owner(uid: &str) -> String {
        format!("owner:{uid}")
    }
}
