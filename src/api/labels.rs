//! Labels, annotations and finalizers that other software relies on. Names only.

/// Finalizer of a Machine (machine-api: `machine.crit.sh`).
pub const MACHINE_FINALIZER: &str = "machine.crit.sh";
/// Finalizer of a `DockerMachine` (mapd).
pub const DOCKER_MACHINE_FINALIZER: &str = "dockermachine.infrastructure.crit.sh";
/// Finalizer of a `HollowMachine`.
pub const HOLLOW_MACHINE_FINALIZER: &str = "hollowmachine.infrastructure.crit.sh";
/// Finalizer of a Cluster.
pub const CLUSTER_FINALIZER: &str = "cluster.machine.crit.sh";

/// Label on a Machine, any value: it is a control-plane machine (machine-api). On a Node: kubeadm up to 1.23.
pub const MASTER_ROLE: &str = "node-role.kubernetes.io/master";
/// Label on a Machine or Node, any value: it belongs to the control plane. Kubernetes since 1.20.
pub const CONTROL_PLANE_ROLE: &str = "node-role.kubernetes.io/control-plane";
/// Label on everything that belongs to a Cluster; its value is the Cluster's name.
pub const CLUSTER_NAME: &str = "machine.crit.sh/cluster-name";

/// Annotation on a Node: JSON object reference of its Machine (machine-api).
pub const NODE_MACHINE: &str = "machine.crit.sh/machine";
/// Annotation on a Node: JSON object reference of its `DockerMachine` (mapd).
pub const NODE_DOCKER_MACHINE: &str = "infrastructure.crit.sh/dockermachine";
/// Annotation on any object, any value: its controller leaves it alone.
pub const PAUSED: &str = "machine.crit.sh/paused";
/// Annotation on a Machine, any value: the Node is not drained before the machine goes.
pub const EXCLUDE_NODE_DRAINING: &str = "machine.crit.sh/exclude-node-draining";
/// Annotation on a Machine, not empty: a `MachineSet` that shrinks takes this machine first.
pub const DELETE_MACHINE: &str = "machine.crit.sh/delete-machine";
/// Annotation on a Secret with bootstrap data: a digest of what it was rendered from.
pub const CONFIG_REVISION: &str = "machine.crit.sh/config-revision";
