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
/// Annotation on a Machine, any value: volumes of the Node need not be detached before the machine goes (Cluster API:
/// `exclude-wait-for-node-volume-detach`).
pub const EXCLUDE_VOLUME_DETACH: &str = "machine.crit.sh/exclude-wait-for-node-volume-detach";
/// Annotation on a control-plane Machine, any value: it may be deleted though its Cluster has no other one and stays.
pub const ALLOW_LAST_CONTROL_PLANE_DELETION: &str = "machine.crit.sh/allow-last-control-plane-deletion";
/// Domains of Machine labels that the Node gets, each with its subdomains (Cluster API: those of `node-role.kubernetes.io`,
/// `node-restriction.kubernetes.io` and `node.cluster.x-k8s.io`).
pub const NODE_DOMAINS: [&str; 3] = [
    "node-role.kubernetes.io",
    "node-restriction.kubernetes.io",
    "node.machine.crit.sh",
];
/// Annotation on a Machine, not empty: a `MachineSet` that shrinks takes this machine first.
pub const DELETE_MACHINE: &str = "machine.crit.sh/delete-machine";
/// Annotation on a Secret with bootstrap data: a digest of what it was rendered from.
pub const CONFIG_REVISION: &str = "machine.crit.sh/config-revision";

/// Label on the Machines of a `MachineSet`; its value is the set's name (Cluster API: `set-name`).
pub const SET_NAME: &str = "machine.crit.sh/set-name";
/// Label on the `MachineSets` and Machines of a `MachineDeployment`; its value is the deployment's name (Cluster API: `deployment-name`).
pub const DEPLOYMENT_NAME: &str = "machine.crit.sh/deployment-name";
/// Label on the `MachineSets` of a `MachineDeployment` and on their Machines: which template they are of (Cluster API).
pub const TEMPLATE_HASH: &str = "machine-template-hash";
/// Annotation on an infrastructure object: the template that it was copied from (Cluster API: `cloned-from-name`).
pub const CLONED_FROM_NAME: &str = "machine.crit.sh/cloned-from-name";
/// Annotation on an infrastructure object: kind and group of that template, `<Kind>.<group>` (Cluster API: `cloned-from-groupkind`).
pub const CLONED_FROM_GROUPKIND: &str = "machine.crit.sh/cloned-from-groupkind";
/// Annotation on a `MachineSet`: JSON with what its controller told autoscalers of a machine's capacity. Other values are the user's.
pub const CAPACITY_FROM_TEMPLATE: &str = "machine.crit.sh/capacity-from-template";
/// Annotation on a Machine of a `MachineSet`: JSON with the keys of what the set has put there, so that it can take that away again.
pub const FROM_TEMPLATE: &str = "machine.crit.sh/from-template";
/// Annotation on a `MachineSet` and its `MachineDeployment`: number of the revision, from 1 (Deployment: `revision`).
pub const REVISION: &str = "machine.crit.sh/revision";
/// Annotation on a template's metadata: when all machines were last asked to be replaced (kubectl: `restartedAt`).
pub const RESTARTED_AT: &str = "machine.crit.sh/restartedAt";
/// Annotation on a `MachineSet`: how many machines its `MachineDeployment` wanted when it last sized the set (Deployment: `desired-replicas`).
pub const DESIRED_REPLICAS: &str = "machine.crit.sh/desired-replicas";
/// Annotation on a `MachineSet`: how many machines its `MachineDeployment` allowed then, surge included (Deployment: `max-replicas`).
pub const MAX_REPLICAS: &str = "machine.crit.sh/max-replicas";
/// Annotation on a `MachineSet`, `true`: it makes no machines; it may still delete some (Cluster API: `disable-machine-create`).
pub const DISABLE_MACHINE_CREATE: &str = "machine.crit.sh/disable-machine-create";
/// Annotation on a `MachineDeployment` and its `MachineSets`: what a revision was made for (kubectl).
pub const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";

/// Annotation on a Machine, any value: a `MachineHealthCheck` has it replaced, whatever it is like (Cluster API: `remediate-machine`).
pub const REMEDIATE_MACHINE: &str = "machine.crit.sh/remediate-machine";
/// Annotation on a Machine, any value: no `MachineHealthCheck` has it replaced (Cluster API: `skip-remediation`).
pub const SKIP_REMEDIATION: &str = "machine.crit.sh/skip-remediation";
/// Annotation on a `MachineHealthCheck`, any value: it does nothing. Cluster API and `OpenShift` use this name.
pub const CLUSTER_API_PAUSED: &str = "cluster.x-k8s.io/paused";
/// Annotation on a `MachineHealthCheck`: with the value `external-baremetal` machines are annotated in place of their deletion (`OpenShift`).
pub const REMEDIATION_STRATEGY: &str = "machine.openshift.io/remediation-strategy";
/// Annotation on a Machine: somebody outside repairs it; it counts as broken until the annotation is gone (Metal3).
pub const EXTERNAL_REMEDIATION: &str = "host.metal3.io/external-remediation";

/// Label on a custom resource definition, any value: `move` takes objects of the kind along (Cluster API: `clusterctl.cluster.x-k8s.io/move`).
pub const MOVE: &str = "machinectl.crit.sh/move";
/// Label on everything that is installed: what it is part of (Kubernetes: recommended labels).
pub const APP_NAME: &str = "app.kubernetes.io/name";
/// Label on everything that is installed: what looks after it (Kubernetes: recommended labels).
pub const APP_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`APP_NAME`] and [`APP_MANAGED_BY`].
pub const APP: &str = "machinectl";
