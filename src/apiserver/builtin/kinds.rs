//! The table of built-in kinds: names, verbs, subresources, columns.
//! It must hold no behaviour; that is in `hooks`.

use std::sync::{Arc, OnceLock};

use super::schemas::{self, Definition};
use super::{BuiltinHooks, Column, NameRule, ResourceInfo, ScalePaths, SchemaSource, Subresource, hooks};

/// One row of the table. Columns are `Heading|type|format|priority|description`, where a description that starts
/// with a dot names the field whose own description is taken.
#[expect(clippy::struct_excessive_bools, reason = "a row of a table, not a state")]
struct Row {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    categories: &'static [&'static str],
    namespaced: bool,
    verbs: Verbs,
    status: bool,
    scale: Option<(&'static str, &'static str, &'static str)>,
    subresources: &'static [Subresource],
    columns: &'static [&'static str],
    selectable: &'static [&'static str],
    name_rule: NameRule,
    generation: bool,
    create_on_update: bool,
    unconditional: bool,
    storage: Option<(&'static str, &'static str)>,
    hooks: Option<&'static dyn BuiltinHooks>,
    definition: Definition,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verbs {
    All,
    NoDeleteCollection,
    CreateOnly,
}

const ALL: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];
const NO_DELETE_COLLECTION: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
const AGE: &str = "Age|string||0|.metadata.creationTimestamp";

impl Row {
    fn new(
        (group, version, kind, plural): (&'static str, &'static str, &'static str, &'static str),
        namespaced: bool,
        definition: Definition,
    ) -> Self {
        Self {
            group,
            version,
            kind,
            plural,
            short: &[],
            categories: &[],
            namespaced,
            verbs: Verbs::All,
            status: false,
            scale: None,
            subresources: &[],
            columns: &[AGE],
            selectable: &[],
            name_rule: NameRule::Subdomain,
            generation: false,
            create_on_update: false,
            unconditional: true,
            storage: None,
            hooks: None,
            definition,
        }
    }

    fn info(self) -> ResourceInfo {
        let own = |texts: &[&str]| texts.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
        let storage_group_resource = match self.storage {
            Some((key, _)) => key.to_owned(),
            None if self.group.is_empty() => self.plural.to_owned(),
            None => format!("{}.{}", self.plural, self.group),
        };
        ResourceInfo {
            group: self.group.to_owned(),
            version: self.version.to_owned(),
            kind: self.kind.to_owned(),
            list_kind: format!("{}List", self.kind),
            plural: self.plural.to_owned(),
            singular: self.kind.to_lowercase(),
            short_names: own(self.short),
            categories: own(self.categories),
            namespaced: self.namespaced,
            storage_group_resource,
            storage_version: self
                .storage
                .map_or(self.version, |(_, version)| version)
                .to_owned(),
            verbs: match self.verbs {
                Verbs::All => own(ALL),
                Verbs::NoDeleteCollection => own(NO_DELETE_COLLECTION),
                Verbs::CreateOnly => own(&["create"]),
            },
            status: self.status,
            scale: self.scale.map(|(spec, status, selector)| ScalePaths {
                spec_replicas: spec.to_owned(),
                status_replicas: status.to_owned(),
                label_selector: Some(selector.to_owned()),
            }),
            subresources: self.subresources.to_vec(),
            columns: self.columns.iter().map(|text| column(text)).collect(),
            custom: false,
            selectable_fields: own(self.selectable),
            create_on_update: self.create_on_update,
            unconditional_update: self.unconditional,
            virtual_only: self.verbs == Verbs::CreateOnly,
            deprecation_warning: None,
            crd_name: None,
            hooks: self.hooks,
            name_rule: self.name_rule,
            has_generation: self.generation,
            source: SchemaSource::Builtin(self.definition),
            schema: Arc::new(OnceLock::new()),
        }
    }
}

fn column(text: &str) -> Column {
    let mut parts = text.splitn(5, '|').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    let (name, kind, format) = (next(), next(), next());
    let priority = next().parse().unwrap_or(0);
    Column {
        name,
        kind,
        format,
        priority,
        description: next(),
        json_path: String::new(),
    }
}

const SCALE: Option<(&str, &str, &str)> = Some((".spec.replicas", ".status.replicas", ".spec.selector"));
const TEMPLATE_COLUMNS_CONTAINERS: &str = "Containers|string||1|Names of each container in the template.";
const TEMPLATE_COLUMNS_IMAGES: &str = "Images|string||1|Images referenced by each container in the template.";
const TEMPLATE_SELECTOR: &str = "Selector|string||1|.spec.selector";

/// Returns every built-in resource.
pub(super) fn all() -> Vec<ResourceInfo> {
    core()
        .into_iter()
        .chain(workloads())
        .chain(cluster())
        .chain(access())
        .map(Row::info)
        .collect()
}

fn core() -> Vec<Row> {
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

fn workloads() -> Vec<Row> {
    use k8s_openapi::api::apps::v1 as a;
    vec![
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

fn cluster() -> Vec<Row> {
    use k8s_openapi::api::{certificates, coordination, scheduling, storage::v1 as s};
    vec![
        Row {
            columns: &["Holder|string||0|.spec.holderIdentity", AGE],
            create_on_update: true,
            unconditional: false,
            hooks: Some(&hooks::lease::Lease),
            ..Row::new(
                ("coordination.k8s.io", "v1", "Lease", "leases"),
                true,
                schemas::of::<coordination::v1::Lease>,
            )
        },
        Row {
            short: &["crd", "crds"],
            categories: &["api-extensions"],
            status: true,
            columns: &["Created At|date||0|.metadata.creationTimestamp"],
            generation: true,
            unconditional: false,
            hooks: Some(&hooks::definition::CustomResourceDefinition),
            ..Row::new(
                (
                    "apiextensions.k8s.io",
                    "v1",
                    "CustomResourceDefinition",
                    "customresourcedefinitions",
                ),
                false,
                schemas::definition_kind,
            )
        },
        Row {
            short: &["sc"],
            columns: &[
                "Provisioner|string||0|.provisioner",
                "ReclaimPolicy|string||0|.reclaimPolicy",
                "VolumeBindingMode|string||0|.volumeBindingMode",
                "AllowVolumeExpansion|string||0|.allowVolumeExpansion",
                AGE,
            ],
            hooks: Some(&hooks::plain::StorageClass),
            ..Row::new(
                ("storage.k8s.io", "v1", "StorageClass", "storageclasses"),
                false,
                schemas::of::<s::StorageClass>,
            )
        },
        Row {
            status: true,
            columns: &[
                "Attacher|string||0|.spec.attacher",
                "PV|string||0|.spec.source.persistentVolumeName",
                "Node|string||0|.spec.nodeName",
                "Attached|boolean||0|.status.attached",
                AGE,
            ],
            unconditional: false,
            ..Row::new(
                ("storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments"),
                false,
                schemas::of::<s::VolumeAttachment>,
            )
        },
        Row {
            columns: &["Drivers|integer||0|.spec.drivers", AGE],
            unconditional: false,
            ..Row::new(
                ("storage.k8s.io", "v1", "CSINode", "csinodes"),
                false,
                schemas::of::<s::CSINode>,
            )
        },
        Row {
            unconditional: false,
            ..Row::new(
                ("storage.k8s.io", "v1", "CSIDriver", "csidrivers"),
                false,
                schemas::of::<s::CSIDriver>,
            )
        },
        Row {
            short: &["csr"],
            status: true,
            columns: &[
                AGE,
                "SignerName|string||0|.spec.signerName",
                "Requestor|string||0|.spec.request",
                "RequestedDuration|string||0|.spec.expirationSeconds",
                "Condition|string||0|.status.conditions",
            ],
            selectable: &["spec.signerName"],
            subresources: &[Subresource {
                name: "approval",
                group: "certificates.k8s.io",
                version: "v1",
                kind: "CertificateSigningRequest",
                verbs: &["get", "patch", "update"],
            }],
            hooks: Some(&hooks::plain::SigningRequest),
            ..Row::new(
                (
                    "certificates.k8s.io",
                    "v1",
                    "CertificateSigningRequest",
                    "certificatesigningrequests",
                ),
                false,
                schemas::of::<certificates::v1::CertificateSigningRequest>,
            )
        },
        Row {
            short: &["pc"],
            columns: &[
                "Value|integer||0|.value",
                "Global-Default|boolean||0|.globalDefault",
                AGE,
                "PreemptionPolicy|string||0|.preemptionPolicy",
            ],
            generation: true,
            ..Row::new(
                ("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses"),
                false,
                schemas::of::<scheduling::v1::PriorityClass>,
            )
        },
    ]
}

fn access() -> Vec<Row> {
    use k8s_openapi::api::{authentication::v1 as n, authorization::v1 as z, rbac::v1 as r};
    const RBAC: &str = "rbac.authorization.k8s.io";
    const CREATED: &str = "Created At|date||0|.metadata.creationTimestamp";
    let bindings = &[
        "Role|string||0|.roleRef",
        AGE,
        "Users|string||1|Users in the roleBinding",
        "Groups|string||1|Groups in the roleBinding",
        "ServiceAccounts|string||1|ServiceAccounts in the roleBinding",
    ];
    let cluster_bindings = &[
        "Role|string||0|.roleRef",
        AGE,
        "Users|string||1|Users in the clusterRoleBinding",
        "Groups|string||1|Groups in the clusterRoleBinding",
        "ServiceAccounts|string||1|ServiceAccounts in the clusterRoleBinding",
    ];
    let rbac = |row: Row| Row {
        name_rule: NameRule::PathSegment,
        create_on_update: true,
        ..row
    };
    let review = |row: Row| Row {
        verbs: Verbs::CreateOnly,
        columns: &[],
        ..row
    };
    vec![
        rbac(Row {
            columns: &[CREATED],
            hooks: Some(&hooks::rbac::Role),
            ..Row::new((RBAC, "v1", "Role", "roles"), true, schemas::of::<r::Role>)
        }),
        rbac(Row {
            columns: &[CREATED],
            hooks: Some(&hooks::rbac::Role),
            ..Row::new(
                (RBAC, "v1", "ClusterRole", "clusterroles"),
                false,
                schemas::of::<r::ClusterRole>,
            )
        }),
        rbac(Row {
            columns: bindings,
            hooks: Some(&hooks::rbac::RoleBinding),
            ..Row::new(
                (RBAC, "v1", "RoleBinding", "rolebindings"),
                true,
                schemas::of::<r::RoleBinding>,
            )
        }),
        rbac(Row {
            columns: cluster_bindings,
            hooks: Some(&hooks::rbac::RoleBinding),
            ..Row::new(
                (RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings"),
                false,
                schemas::of::<r::ClusterRoleBinding>,
            )
        }),
        review(Row::new(
            (
                "authorization.k8s.io",
                "v1",
                "SelfSubjectAccessReview",
                "selfsubjectaccessreviews",
            ),
            false,
            schemas::of::<z::SelfSubjectAccessReview>,
        )),
        review(Row::new(
            (
                "authorization.k8s.io",
                "v1",
                "SelfSubjectRulesReview",
                "selfsubjectrulesreviews",
            ),
            false,
            schemas::of::<z::SelfSubjectRulesReview>,
        )),
        review(Row::new(
            (
                "authorization.k8s.io",
                "v1",
                "SubjectAccessReview",
                "subjectaccessreviews",
            ),
            false,
            schemas::of::<z::SubjectAccessReview>,
        )),
        review(Row::new(
            (
                "authorization.k8s.io",
                "v1",
                "LocalSubjectAccessReview",
                "localsubjectaccessreviews",
            ),
            true,
            schemas::of::<z::LocalSubjectAccessReview>,
        )),
        review(Row::new(
            ("authentication.k8s.io", "v1", "TokenReview", "tokenreviews"),
            false,
            schemas::of::<n::TokenReview>,
        )),
        review(Row::new(
            (
                "authentication.k8s.io",
                "v1",
                "SelfSubjectReview",
                "selfsubjectreviews",
            ),
            false,
            schemas::of::<n::SelfSubjectReview>,
        )),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_schema_of_its_own_name() {
        for info in all() {
            let SchemaSource::Builtin(definition) = &info.source else {
                panic!("built in")
            };
            let (name, _) = schemas::with_definitions(*definition);
            assert!(
                name.ends_with(&format!(".{}", info.kind)),
                "{name} for {}",
                info.kind
            );
        }
    }

    #[test]
    fn every_schema_compiles() {
        for info in all() {
            let SchemaSource::Builtin(definition) = &info.source else {
                panic!("built in")
            };
            let compiled = super::super::Structural::compile(&schemas::inlined(*definition));
            assert!(compiled.is_ok(), "{}: {:?}", info.kind, compiled.err());
        }
    }

    #[test]
    fn columns_are_read_from_their_short_form() {
        let made = column("Wide|string||1|.spec.mode");
        assert_eq!(
            (made.name.as_str(), made.priority, made.description.as_str()),
            ("Wide", 1, ".spec.mode")
        );
    }
}
