//! The rows of the core group and of workloads.

use super::super::{NameRule, Subresource, hooks, schemas};
use super::{AGE, Row, Verbs};

const SCALE: Option<(&str, &str, &str)> = Some((".spec.replicas", ".status.replicas", ".spec.selector"));
const TEMPLATE_COLUMNS_CONTAINERS: &str = "Containers|string||1|Names of each container in the template.";
const TEMPLATE_COLUMNS_IMAGES: &str = "Images|string||1|Images referenced by each container in the template.";
const TEMPLATE_SELECTOR: &str = "Selector|string||1|.spec.selector";

/// Returns the rows of the core group and of events.
pub(super) fn rows() -> Vec<Row> {
    use k8s_openapi::api::core::v1 as c;
    vec![
        Row {
            short: &["ns"],
            verbs: Verbs::NoDeleteCollection,
            status: true,
            columns: &["Status|string||0|The status of the namespace", AGE],
            selectable: &["status.phase"],
            name_rule: NameRule::Label,
            hooks: Some(&hooks::namespace::Namespace),
            subresources: &[Subresource {
                name: "finalize",
                group: "",
                version: "v1",
                kind: "Namespace",
                verbs: &["update"],
            }],
            ..Row::new(
                ("", "v1", "Namespace", "namespaces"),
                false,
                schemas::of::<c::Namespace>,
            )
        },
        Row {
            columns: &["Type|string||0|.type", "Data|string||0|.data", AGE],
            selectable: &["type"],
            hooks: Some(&hooks::config::Secret),
            ..Row::new(("", "v1", "Secret", "secrets"), true, schemas::of::<c::Secret>)
        },
        Row {
            short: &["cm"],
            columns: &["Data|string||0|.data", AGE],
            hooks: Some(&hooks::config::ConfigMap),
            ..Row::new(
                ("", "v1", "ConfigMap", "configmaps"),
                true,
                schemas::of::<c::ConfigMap>,
            )
        },
        Row {
            short: &["no"],
            status: true,
            columns: &[
                "Status|string||0|The status of the node",
                "Roles|string||0|The roles of the node",
                AGE,
                "Version|string||0|.status.nodeInfo.kubeletVersion",
                "Internal-IP|string||1|.status.addresses",
                "External-IP|string||1|.status.addresses",
                "OS-Image|string||1|.status.nodeInfo.osImage",
                "Kernel-Version|string||1|.status.nodeInfo.kernelVersion",
                "Container-Runtime|string||1|.status.nodeInfo.containerRuntimeVersion",
            ],
            selectable: &["spec.unschedulable"],
            hooks: Some(&hooks::node::Node),
            ..Row::new(("", "v1", "Node", "nodes"), false, schemas::of::<c::Node>)
        },
        Row {
            short: &["ev"],
            columns: EVENT_COLUMNS,
            selectable: EVENT_FIELDS,
            create_on_update: true,
            hooks: Some(&hooks::event::Event),
            ..Row::new(("", "v1", "Event", "events"), true, schemas::of::<c::Event>)
        },
        Row {
            short: &["ev"],
            columns: EVENT_COLUMNS,
            selectable: EVENT_FIELDS,
            create_on_update: true,
            storage: Some(("events", "v1")),
            hooks: Some(&hooks::event::EventsEvent),
            ..Row::new(
                ("events.k8s.io", "v1", "Event", "events"),
                true,
                schemas::of::<k8s_openapi::api::events::v1::Event>,
            )
        },
        Row {
            short: &["sa"],
            subresources: &[Subresource {
                name: "token",
                group: "authentication.k8s.io",
                version: "v1",
                kind: "TokenRequest",
                verbs: &["create"],
            }],
            ..Row::new(
                ("", "v1", "ServiceAccount", "serviceaccounts"),
                true,
                schemas::of::<c::ServiceAccount>,
            )
        },
        Row {
            short: &["po"],
            categories: &["all"],
            status: true,
            subresources: &[
                Subresource {
                    name: "binding",
                    group: "",
                    version: "v1",
                    kind: "Binding",
                    verbs: &["create"],
                },
                Subresource {
                    name: "eviction",
                    group: "policy",
                    version: "v1",
                    kind: "Eviction",
                    verbs: &["create"],
                },
            ],
            columns: &[
                "Ready|string||0|The aggregate readiness state of this pod for accepting traffic.",
                "Status|string||0|The aggregate status of the containers in this pod.",
                "Restarts|string||0|The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
                AGE,
                "IP|string||1|.status.podIP",
                "Node|string||1|.spec.nodeName",
                "Nominated Node|string||1|.status.nominatedNodeName",
                "Readiness Gates|string||1|.spec.readinessGates",
            ],
            selectable: &[
                "spec.nodeName",
                "spec.restartPolicy",
                "spec.schedulerName",
                "spec.serviceAccountName",
                "spec.hostNetwork",
                "status.phase",
                "status.podIP",
                "status.nominatedNodeName",
            ],
            generation: true,
            hooks: Some(&hooks::pod::Pod),
            ..Row::new(("", "v1", "Pod", "pods"), true, schemas::of::<c::Pod>)
        },
        Row {
            short: &["svc"],
            categories: &["all"],
            status: true,
            columns: &[
                "Type|string||0|.spec.type",
                "Cluster-IP|string||0|.spec.clusterIP",
                "External-IP|string||0|.status.loadBalancer",
                "Port(s)|string||0|.spec.ports",
                AGE,
                TEMPLATE_SELECTOR,
            ],
            selectable: &["spec.clusterIP", "spec.type"],
            name_rule: NameRule::Dns1035Label,
            hooks: Some(&hooks::service::Service),
            ..Row::new(("", "v1", "Service", "services"), true, schemas::of::<c::Service>)
        },
        Row {
            short: &["ep"],
            columns: &["Endpoints|string||0|.subsets", AGE],
            ..Row::new(
                ("", "v1", "Endpoints", "endpoints"),
                true,
                schemas::of::<c::Endpoints>,
            )
        },
        Row {
            short: &["pvc"],
            status: true,
            columns: &[
                "Status|string||0|.status.phase",
                "Volume|string||0|.spec.volumeName",
                "Capacity|string||0|.status.capacity",
                "Access Modes|string||0|.status.accessModes",
                "StorageClass|string||0|.spec.storageClassName",
                "VolumeAttributesClass|string||0|.spec.volumeAttributesClassName",
                AGE,
                "VolumeMode|string||1|.spec.volumeMode",
            ],
            hooks: Some(&hooks::plain::Claim),
            ..Row::new(
                ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
                true,
                schemas::of::<c::PersistentVolumeClaim>,
            )
        },
        Row {
            short: &["pv"],
            status: true,
            hooks: Some(&hooks::plain::Volume),
            ..Row::new(
                ("", "v1", "PersistentVolume", "persistentvolumes"),
                false,
                schemas::of::<c::PersistentVolume>,
            )
        },
    ]
}

const EVENT_COLUMNS: &[&str] = &[
    "Last Seen|string||0|.lastTimestamp",
    "Type|string||0|.type",
    "Reason|string||0|.reason",
    "Object|string||0|.involvedObject",
    "Subobject|string||1|.involvedObject.fieldPath",
    "Source|string||1|.source",
    "Message|string||0|.message",
    "First Seen|string||1|.firstTimestamp",
    "Count|string||1|.count",
    "Name|string|name|1|.metadata.name",
];
const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

/// Returns the rows of what runs pods.
pub(super) fn workloads() -> Vec<Row> {
    use k8s_openapi::api::apps::v1 as a;
    use k8s_openapi::api::{batch::v1 as b, core::v1 as c};
    vec![
        Row {
            short: &["rc"],
            categories: &["all"],
            status: true,
            columns: &[
                "Desired|integer||0|.spec.replicas",
                "Current|integer||0|.status.replicas",
                "Ready|integer||0|.status.readyReplicas",
                AGE,
                TEMPLATE_COLUMNS_CONTAINERS,
                TEMPLATE_COLUMNS_IMAGES,
                TEMPLATE_SELECTOR,
            ],
            selectable: &["status.replicas"],
            generation: true,
            hooks: Some(&hooks::workload::ReplicationController),
            ..Row::new(
                ("", "v1", "ReplicationController", "replicationcontrollers"),
                true,
                schemas::of::<c::ReplicationController>,
            )
        },
        Row {
            categories: &["all"],
            status: true,
            columns: &[
                "Status|string||0|Status of the job.",
                "Completions|string||0|.status.succeeded",
                "Duration|string||0|Time required to complete the job.",
                AGE,
                TEMPLATE_COLUMNS_CONTAINERS,
                TEMPLATE_COLUMNS_IMAGES,
                TEMPLATE_SELECTOR,
            ],
            generation: true,
            hooks: Some(&hooks::job::Job),
            ..Row::new(("batch", "v1", "Job", "jobs"), true, schemas::of::<b::Job>)
        },
        Row {
            short: &["cj"],
            categories: &["all"],
            status: true,
            columns: &[
                "Schedule|string||0|.spec.schedule",
                "Timezone|string||0|.spec.timeZone",
                "Suspend|boolean||0|.spec.suspend",
                "Active|integer||0|.status.active",
                "Last Schedule|string||0|.status.lastScheduleTime",
                AGE,
                TEMPLATE_COLUMNS_CONTAINERS,
                TEMPLATE_COLUMNS_IMAGES,
                TEMPLATE_SELECTOR,
            ],
            generation: true,
            hooks: Some(&hooks::job::CronJob),
            ..Row::new(
                ("batch", "v1", "CronJob", "cronjobs"),
                true,
                schemas::of::<b::CronJob>,
            )
        },
        Row {
            short: &["deploy"],
            categories: &["all"],
            status: true,
            scale: SCALE,
            columns: &[
                "Ready|string||0|Number of the pod with ready state",
                "Up-to-date|string||0|.status.updatedReplicas",
                "Available|string||0|.status.availableReplicas",
                AGE,
                TEMPLATE_COLUMNS_CONTAINERS,
                TEMPLATE_COLUMNS_IMAGES,
                TEMPLATE_SELECTOR,
            ],
            generation: true,
            hooks: Some(&hooks::workload::Deployment),
            ..Row::new(
                ("apps", "v1", "Deployment", "deployments"),
                true,
                schemas::of::<a::Deployment>,
            )
        },
        Row {
            short: &["ds"],
            categories: &["all"],
            status: true,
            columns: &[
                "Desired|integer||0|.status.desiredNumberScheduled",
                "Current|integer||0|.status.currentNumberScheduled",
                "Ready|integer||0|.status.numberReady",
                "Up-to-date|integer||0|.status.updatedNumberScheduled",
                "Available|integer||0|.status.numberAvailable",
                "Node Selector|string||0|.spec.template.spec.nodeSelector",
                AGE,
                TEMPLATE_COLUMNS_CONTAINERS,
                TEMPLATE_COLUMNS_IMAGES,
                TEMPLATE_SELECTOR,
            ],
            generation: true,
            hooks: Some(&hooks::workload::DaemonSet),
            ..Row::new(
                ("apps", "v1", "DaemonSet", "daemonsets"),
                true,
                schemas::of::<a::DaemonSet>,
            )
        },
        Row {
            short: &["rs"],
            categories: &["all"],
            status: true,
            scale: SCALE,
            columns: &[
                "Desired|integer||0|.spec.replicas",
                "Current|integer||0|.status.replicas",
                "Ready|integer||0|.status.readyReplicas",
                AGE,
                TEMPLATE_COLUMNS_CONTAINERS,
                TEMPLATE_COLUMNS_IMAGES,
                TEMPLATE_SELECTOR,
            ],
            selectable: &["status.replicas"],
            generation: true,
            hooks: Some(&hooks::workload::ReplicaSet),
            ..Row::new(
                ("apps", "v1", "ReplicaSet", "replicasets"),
                true,
                schemas::of::<a::ReplicaSet>,
            )
        },
        Row {
            short: &["sts"],
            categories: &["all"],
            status: true,
            scale: SCALE,
            columns: &[
                "Ready|string||0|Number of the pod with ready state",
                AGE,
                TEMPLATE_COLUMNS_CONTAINERS,
                TEMPLATE_COLUMNS_IMAGES,
            ],
            generation: true,
            hooks: Some(&hooks::workload::StatefulSet),
            ..Row::new(
                ("apps", "v1", "StatefulSet", "statefulsets"),
                true,
                schemas::of::<a::StatefulSet>,
            )
        },
        Row {
            columns: &[
                "Controller|string||0|Controller of the object",
                "Revision|string||0|.revision",
                AGE,
            ],
            ..Row::new(
                ("apps", "v1", "ControllerRevision", "controllerrevisions"),
                true,
                schemas::of::<a::ControllerRevision>,
            )
        },
        Row {
            short: &["pdb"],
            status: true,
            columns: &[
                "Min Available|string||0|The minimum number of pods that must be available.",
                "Max Unavailable|string||0|The maximum number of pods that may be unavailable.",
                "Allowed Disruptions|integer||0|Calculated number of pods that may be disrupted at this time.",
                AGE,
            ],
            generation: true,
            unconditional: false,
            hooks: Some(&hooks::policy::PodDisruptionBudget),
            ..Row::new(
                ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
                true,
                schemas::of::<k8s_openapi::api::policy::v1::PodDisruptionBudget>,
            )
        },
        Row {
            columns: &[
                "AddressType|string||0|.addressType",
                "Ports|string||0|.ports",
                "Endpoints|string||0|.endpoints",
                AGE,
            ],
            generation: true,
            ..Row::new(
                ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
                true,
                schemas::of::<k8s_openapi::api::discovery::v1::EndpointSlice>,
            )
        },
    ]
}
