//! Fields of built-in kinds that Go writes or leaves out otherwise than their schema tells. It must not look at objects.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Optional fields whose value is a struct: Go writes them even if they are empty. `Type.field`.
const ALWAYS_STRUCTS: &[&str] = &[
    "Pod.spec",
    "Pod.status",
    "Node.spec",
    "Node.status",
    "Namespace.spec",
    "Namespace.status",
    "Service.spec",
    "Service.status",
    "ServiceStatus.loadBalancer",
    "Deployment.spec",
    "Deployment.status",
    "DeploymentSpec.strategy",
    "DaemonSet.spec",
    "DaemonSet.status",
    "DaemonSetSpec.updateStrategy",
    "ReplicaSet.spec",
    "ReplicaSet.status",
    "ReplicaSetSpec.template",
    "StatefulSet.spec",
    "StatefulSet.status",
    "StatefulSetSpec.updateStrategy",
    "PodTemplateSpec.metadata",
    "PodTemplateSpec.spec",
    "Container.resources",
    "EphemeralContainer.resources",
    "NodeStatus.daemonEndpoints",
    "NodeStatus.nodeInfo",
    "NodeDaemonEndpoints.kubeletEndpoint",
    "Event.source",
    "Event.deprecatedSource",
    "Event.regarding",
    "Lease.spec",
    "PodDisruptionBudget.spec",
    "PodDisruptionBudget.status",
    "ContainerStatus.state",
    "ContainerStatus.lastState",
    "PersistentVolumeClaim.spec",
    "PersistentVolumeClaim.status",
    "PersistentVolumeClaimSpec.resources",
    "PersistentVolume.spec",
    "PersistentVolume.status",
    "CertificateSigningRequest.status",
    "VolumeAttachment.status",
    "SelfSubjectAccessReview.status",
    "SubjectAccessReview.status",
    "LocalSubjectAccessReview.status",
    "SelfSubjectRulesReview.status",
    "TokenReview.status",
    "TokenReviewStatus.user",
    "SelfSubjectReview.status",
    "SelfSubjectReviewStatus.userInfo",
    "Endpoint.conditions",
    "Scale.spec",
    "Scale.status",
];

/// Optional fields that are written even if they are empty: times and lists as null, strings as "".
const ALWAYS_OTHERS: &[&str] = &[
    "Event.firstTimestamp",
    "Event.lastTimestamp",
    "Event.eventTime",
    "Event.reportingComponent",
    "Event.reportingInstance",
    "Event.deprecatedFirstTimestamp",
    "Event.deprecatedLastTimestamp",
    "NodeCondition.lastHeartbeatTime",
    "NodeCondition.lastTransitionTime",
    "PodCondition.lastProbeTime",
    "PodCondition.lastTransitionTime",
    "DeploymentCondition.lastUpdateTime",
    "DeploymentCondition.lastTransitionTime",
    "ReplicaSetCondition.lastTransitionTime",
    "DaemonSetCondition.lastTransitionTime",
    "StatefulSetCondition.lastTransitionTime",
    "PersistentVolumeClaimCondition.lastProbeTime",
    "PersistentVolumeClaimCondition.lastTransitionTime",
    "NamespaceCondition.lastTransitionTime",
    "CertificateSigningRequestCondition.lastUpdateTime",
    "CertificateSigningRequestCondition.lastTransitionTime",
    "ContainerStateRunning.startedAt",
    "ContainerStateTerminated.startedAt",
    "ContainerStateTerminated.finishedAt",
    "CustomResourceDefinitionCondition.lastTransitionTime",
    "Role.rules",
    "ClusterRole.rules",
    "EndpointSlice.ports",
    "StatefulSetStatus.availableReplicas",
];

/// Strings that are pointers in Go: an empty one is kept. The others are left out when empty.
const KEPT_STRINGS: &[&str] = &[
    "PersistentVolumeClaimSpec.storageClassName",
    "PersistentVolumeClaimSpec.volumeMode",
    "PersistentVolumeClaimSpec.volumeAttributesClassName",
    "PodSpec.runtimeClassName",
    "LeaseSpec.holderIdentity",
    "LeaseSpec.preferredHolder",
    "LeaseSpec.strategy",
    "ServicePort.appProtocol",
    "EndpointPort.name",
    "EndpointPort.protocol",
    "EndpointPort.appProtocol",
    "Endpoint.hostname",
    "Endpoint.nodeName",
    "Endpoint.zone",
    "HostPathVolumeSource.type",
    "PodSpec.hostnameOverride",
    "VolumeAttachmentSource.persistentVolumeName",
];

/// Booleans and numbers that are plain values in Go: false and 0 are left out. The others are pointers.
const DROPPED_ZEROS: &[&str] = &[
    "ObjectMeta.generation",
    "PodSpec.hostNetwork",
    "PodSpec.hostPID",
    "PodSpec.hostIPC",
    "Container.stdin",
    "Container.stdinOnce",
    "Container.tty",
    "EphemeralContainer.stdin",
    "EphemeralContainer.stdinOnce",
    "EphemeralContainer.tty",
    "NodeSpec.unschedulable",
    "ContainerPort.hostPort",
    "ServicePort.nodePort",
    "Probe.initialDelaySeconds",
    "Probe.timeoutSeconds",
    "Probe.periodSeconds",
    "Probe.successThreshold",
    "Probe.failureThreshold",
    "DeploymentSpec.minReadySeconds",
    "DeploymentSpec.paused",
    "DeploymentStatus.observedGeneration",
    "DeploymentStatus.replicas",
    "DeploymentStatus.updatedReplicas",
    "DeploymentStatus.readyReplicas",
    "DeploymentStatus.availableReplicas",
    "DeploymentStatus.unavailableReplicas",
    "DaemonSetSpec.minReadySeconds",
    "DaemonSetStatus.observedGeneration",
    "DaemonSetStatus.updatedNumberScheduled",
    "DaemonSetStatus.numberAvailable",
    "DaemonSetStatus.numberUnavailable",
    "ReplicaSetSpec.minReadySeconds",
    "ReplicaSetStatus.fullyLabeledReplicas",
    "ReplicaSetStatus.readyReplicas",
    "ReplicaSetStatus.availableReplicas",
    "ReplicaSetStatus.observedGeneration",
    "StatefulSetSpec.minReadySeconds",
    "StatefulSetStatus.observedGeneration",
    "StatefulSetStatus.readyReplicas",
    "StatefulSetStatus.currentReplicas",
    "StatefulSetStatus.updatedReplicas",
    "PodDisruptionBudgetStatus.observedGeneration",
    "PodStatus.observedGeneration",
    "PodCondition.observedGeneration",
    "Condition.observedGeneration",
    "Event.count",
    "EventSeries.count",
    "Event.deprecatedCount",
    "ServiceSpec.publishNotReadyAddresses",
    "ServiceSpec.healthCheckNodePort",
    "PriorityClass.globalDefault",
    "ScaleSpec.replicas",
    "ContainerStateTerminated.signal",
    "ContainerImage.sizeBytes",
    "SubjectAccessReviewStatus.denied",
    "TokenReviewStatus.authenticated",
    "GCEPersistentDiskVolumeSource.partition",
    "AWSElasticBlockStoreVolumeSource.partition",
    "ISCSIVolumeSource.chapAuthDiscovery",
    "ISCSIVolumeSource.chapAuthSession",
    "ISCSIPersistentVolumeSource.chapAuthDiscovery",
    "ISCSIPersistentVolumeSource.chapAuthSession",
    "ScaleIOVolumeSource.sslEnabled",
    "ScaleIOPersistentVolumeSource.sslEnabled",
];

/// What the tables say of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Habit {
    /// It is written even if it was never set.
    Always,
    /// An empty text is kept.
    KeptEmpty,
    /// False and 0 are left out.
    DroppedZero,
}

/// Returns what the tables say of the fields of a struct. Most structs are in none of them.
pub(super) fn habits(struct_name: &str) -> &'static [(&'static str, Habit)] {
    type Habits = HashMap<&'static str, Vec<(&'static str, Habit)>>;
    static ALL: LazyLock<Habits> = LazyLock::new(|| {
        let mut all = Habits::new();
        for (table, habit) in [
            (ALWAYS_STRUCTS, Habit::Always),
            (ALWAYS_OTHERS, Habit::Always),
            (KEPT_STRINGS, Habit::KeptEmpty),
            (DROPPED_ZEROS, Habit::DroppedZero),
        ] {
            for (of, field) in table.iter().filter_map(|path| path.split_once('.')) {
                all.entry(of).or_default().push((field, habit));
            }
        }
        all
    });
    ALL.get(struct_name).map_or(&[], Vec::as_slice)
}
