//! What a hollow machine's Node and Lease look like. Pure.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::{
            DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec, NodeStatus,
            NodeSystemInfo, Taint,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference, Time},
    },
};
use sha2::{Digest, Sha256};

use super::faults::{Health, Ready};
use crate::{
    api::{MACHINE_GROUP, VERSION, labels, v1alpha1::HollowMachineSpec},
    providers::{InstanceKey, InstanceSpec, Role},
    time::Timestamp,
};

/// Namespace of the Leases by which nodes show that they live.
pub(super) const NODE_LEASES: &str = "kube-node-lease";
/// Taint that an API server puts on a Node that registers.
pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// Returns the identity of a hollow machine: `hollow://<namespace>/<name>`.
pub fn provider_id(key: &InstanceKey) -> String {
    format!("hollow://{}/{}", key.namespace, key.name)
}

/// Returns an address of 10.0.0.0/8 that follows from the identity, so that it is the same each time.
pub(super) fn address(key: &InstanceKey) -> String {
    let digest = Sha256::digest(provider_id(key));
    // .0 and .255 look like networks and broadcasts.
    format!("10.{}.{}.{}", digest[0], digest[1], digest[2] % 254 + 1)
}

/// Writes a version as kubelets do: with a leading v.
pub(super) fn kubelet_version(version: &str) -> String {
    format!("v{}", version.trim_start_matches('v'))
}

/// Returns the Node of a hollow machine as its kubelet would register it.
pub(super) fn node(spec: &InstanceSpec, hollow: &HollowMachineSpec, version: &str, now: Timestamp) -> Node {
    let name = spec.machine.clone();
    let mut node_labels: BTreeMap<String, String> = [
        ("kubernetes.io/hostname", name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", "amd64"),
    ]
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .into();
    if let Some(cluster) = &spec.cluster {
        node_labels.insert(labels::CLUSTER_NAME.to_owned(), cluster.clone());
    }
    let mut taints = None;
    if spec.role == Role::ControlPlane {
        node_labels.insert(labels::CONTROL_PLANE_ROLE.to_owned(), String::new());
        node_labels.insert(labels::MASTER_ROLE.to_owned(), String::new());
        taints = Some(vec![Taint {
            key: labels::CONTROL_PLANE_ROLE.to_owned(),
            effect: "NoSchedule".to_owned(),
            ..Taint::default()
        }]);
    }
    // The controllers would add it: there at once, it saves a write for each machine.
    let machine = serde_json::json!({
        "kind": "Machine",
        "namespace": spec.key.namespace,
        "name": spec.machine,
        "apiVersion": format!("{MACHINE_GROUP}/{VERSION}"),
    });
    let capacity = capacity(hollow);
    Node {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some(node_labels),
            annotations: Some([(labels::NODE_MACHINE.to_owned(), machine.to_string())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            provider_id: Some(provider_id(&spec.key)),
            taints,
            ..NodeSpec::default()
        }),
        status: Some(NodeStatus {
            allocatable: Some(capacity.clone()),
            capacity: Some(capacity),
            addresses: Some(vec![
                node_address("InternalIP", address(&spec.key)),
                node_address("Hostname", name),
            ]),
            conditions: Some(conditions(
                Health {
                    ready: Ready::True,
                    since: now,
                },
                now,
            )),
            daemon_endpoints: Some(NodeDaemonEndpoints {
                kubelet_endpoint: Some(DaemonEndpoint { port: 10250 }),
            }),
            node_info: Some(node_info(&spec.key, version)),
            ..NodeStatus::default()
        }),
    }
}

fn node_address(type_: &str, address: String) -> NodeAddress {
    NodeAddress {
        type_: type_.to_owned(),
        address,
    }
}

fn capacity(hollow: &HollowMachineSpec) -> BTreeMap<String, Quantity> {
    let mut all: BTreeMap<String, Quantity> = [("cpu", "4"), ("memory", "16Gi"), ("pods", "110")]
        .map(|(k, v)| (k.to_owned(), Quantity(v.to_owned())))
        .into();
    all.extend(hollow.capacity.clone());
    all
}

/// Returns the conditions of a Node as its kubelet would write them, or as the cluster does for one that is silent.
pub(super) fn conditions(health: Health, now: Timestamp) -> Vec<NodeCondition> {
    let whole = |t: Timestamp| Time(Timestamp::from_second(t.as_second()).unwrap_or(t));
    let condition = |type_: &str, status: &str, reason: &str, message: &str| NodeCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_heartbeat_time: Some(whole(now)),
        last_transition_time: Some(whole(health.since)),
    };
    let (reason, message) = match health.ready {
        Ready::True => ("KubeletReady", "hollow node is posting ready status"),
        Ready::False => (
            "KubeletNotReady",
            "hollow node is not ready, as spec.faults of its HollowMachine asks",
        ),
        Ready::Unknown => (
            "NodeStatusUnknown",
            "hollow node is silent, as spec.faults of its HollowMachine asks",
        ),
    };
    vec![
        condition(
            "MemoryPressure",
            "False",
            "KubeletHasSufficientMemory",
            "hollow node has sufficient memory",
        ),
        condition(
            "DiskPressure",
            "False",
            "KubeletHasNoDiskPressure",
            "hollow node has no disk pressure",
        ),
        condition(
            "PIDPressure",
            "False",
            "KubeletHasSufficientPID",
            "hollow node has sufficient PIDs",
        ),
        condition("Ready", health.ready.as_str(), reason, message),
    ]
}

/// Returns a Node's `spec.providerID`.
pub(super) fn provider_id_of(node: &Node) -> Option<&str> {
    node.spec.as_ref()?.provider_id.as_deref()
}

/// Returns the status of a Node's condition Ready; nothing if it has none, or none that a kubelet writes.
pub(super) fn ready_of(node: &Node) -> Option<Ready> {
    let list = node.status.as_ref()?.conditions.as_ref()?;
    let said = &list.iter().find(|c| c.type_ == "Ready")?.status;
    [Ready::True, Ready::False, Ready::Unknown]
        .into_iter()
        .find(|ready| ready.as_str() == said)
}

/// Says which of a Node's taints is the one that it got because it was not ready when it registered.
pub(super) fn not_ready_taint(node: &Node) -> Option<usize> {
    let taints = node.spec.as_ref()?.taints.as_ref()?;
    taints
        .iter()
        .position(|t| t.key == NOT_READY && t.effect == "NoSchedule")
}

fn node_info(key: &InstanceKey, version: &str) -> NodeSystemInfo {
    let id = key.uid.clone();
    NodeSystemInfo {
        architecture: "amd64".to_owned(),
        boot_id: id.clone(),
        container_runtime_version: "hollow://1.0".to_owned(),
        kernel_version: "0.0.0-hollow".to_owned(),
        kube_proxy_version: kubelet_version(version),
        kubelet_version: kubelet_version(version),
        machine_id: id.replace('-', ""),
        operating_system: "linux".to_owned(),
        os_image: "Hollow".to_owned(),
        system_uuid: id,
        ..NodeSystemInfo::default()
    }
}

/// Returns the Lease by which a node shows that it lives. It holds for `seconds`.
pub(super) fn lease(node: &str, node_uid: &str, seconds: i32, now: Timestamp) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(node.to_owned()),
            namespace: Some(NODE_LEASES.to_owned()),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Node".to_owned(),
                name: node.to_owned(),
                uid: node_uid.to_owned(),
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(node.to_owned()),
            lease_duration_seconds: Some(seconds),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(role: Role) -> InstanceSpec {
        InstanceSpec {
            key: InstanceKey {
                namespace: "fleet".into(),
                name: "infra-1".into(),
                uid: "11111111-2222-3333-4444-555555555555".into(),
            },
            infrastructure: serde_json::json!({}),
            machine: "machine-1".into(),
            cluster: Some("demo".into()),
            role,
            version: None,
            bootstrap: None,
            attempt: 1,
            known: crate::providers::Known::default(),
        }
    }

    #[test]
    fn a_node_looks_like_one_that_a_kubelet_registered() {
        let hollow = HollowMachineSpec {
            capacity: [("cpu".to_owned(), Quantity("64".to_owned()))].into(),
            ..HollowMachineSpec::default()
        };
        let node = node(&spec(Role::Worker), &hollow, "1.33.1", Timestamp::UNIX_EPOCH);
        assert_eq!(node.metadata.name.as_deref(), Some("machine-1"));
        let node_spec = node.spec.unwrap();
        assert_eq!(node_spec.provider_id.as_deref(), Some("hollow://fleet/infra-1"));
        assert!(node_spec.taints.is_none());
        let status = node.status.unwrap();
        assert_eq!(status.node_info.unwrap().kubelet_version, "v1.33.1");
        let capacity = status.capacity.unwrap();
        assert_eq!(
            (capacity["cpu"].0.as_str(), capacity["memory"].0.as_str()),
            ("64", "16Gi")
        );
        assert!(
            status
                .conditions
                .unwrap()
                .iter()
                .any(|c| c.type_ == "Ready" && c.status == "True")
        );
    }

    #[test]
    fn a_control_plane_node_bears_the_role_and_its_taint() {
        let node = node(
            &spec(Role::ControlPlane),
            &HollowMachineSpec::default(),
            "v1.33.1",
            Timestamp::UNIX_EPOCH,
        );
        assert!(
            node.metadata
                .labels
                .unwrap()
                .contains_key(labels::CONTROL_PLANE_ROLE)
        );
        assert_eq!(node.spec.unwrap().taints.unwrap()[0].effect, "NoSchedule");
    }

    #[test]
    fn addresses_are_stable_and_differ() {
        let one = spec(Role::Worker).key;
        let other = InstanceKey {
            name: "infra-2".into(),
            ..one.clone()
        };
        assert_eq!(address(&one), address(&one));
        assert_ne!(address(&one), address(&other));
        assert!(address(&one).parse::<std::net::Ipv4Addr>().unwrap().is_private());
    }
}
