//! The rows of kinds about the cluster itself: leases, definitions, storage, access.

use super::super::{NameRule, Subresource, hooks, schemas};
use super::{AGE, Row, Verbs};

/// Returns the rows of leases, definitions, storage, certificates, priorities, ingresses and runtimes.
pub(super) fn rows() -> Vec<Row> {
    use k8s_openapi::api::{certificates, coordination, networking, node, scheduling, storage::v1 as s};
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
            categories: &["api-extensions"],
            status: true,
            columns: &[
                "Service|string||0|The reference to the service that hosts this API endpoint.",
                "Available|string||0|Whether this service is available.",
                AGE,
            ],
            unconditional: false,
            ..Row::new(
                ("apiregistration.k8s.io", "v1", "APIService", "apiservices"),
                false,
                schemas::of::<k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService>,
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
            // Kubelets call theirs by a hash, in letters of both cases.
            name_rule: NameRule::PathSegment,
            hooks: Some(&hooks::signing::SigningRequest),
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
        Row {
            short: &["ing"],
            status: true,
            columns: &[
                "Class|string||0|.spec.ingressClassName",
                "Hosts|string||0|Hosts that incoming requests are matched against before the ingress rule",
                "Address|string||0|Address is a list containing ingress points for the load-balancer",
                "Ports|string||0|Ports of TLS configurations that open",
                AGE,
            ],
            generation: true,
            hooks: Some(&hooks::plain::Ingress),
            ..Row::new(
                ("networking.k8s.io", "v1", "Ingress", "ingresses"),
                true,
                schemas::of::<networking::v1::Ingress>,
            )
        },
        Row {
            columns: &["Handler|string||0|.handler", AGE],
            hooks: Some(&hooks::plain::RuntimeClass),
            ..Row::new(
                ("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses"),
                false,
                schemas::of::<node::v1::RuntimeClass>,
            )
        },
    ]
}

/// Returns the rows of webhooks and policies.
pub(super) fn admission() -> Vec<Row> {
    use k8s_openapi::api::admissionregistration::v1 as a;
    const GROUP: &str = "admissionregistration.k8s.io";
    const WEBHOOKS: &[&str] = &[
        "Webhooks|integer||0|Webhooks indicates the number of webhooks registered in this configuration",
        AGE,
    ];
    let row = |kind, plural, definition| Row {
        categories: &["api-extensions"],
        columns: WEBHOOKS,
        generation: true,
        unconditional: false,
        hooks: Some(&hooks::admission::Webhooks),
        ..Row::new((GROUP, "v1", kind, plural), false, definition)
    };
    vec![
        row(
            "MutatingWebhookConfiguration",
            "mutatingwebhookconfigurations",
            schemas::of::<a::MutatingWebhookConfiguration>,
        ),
        row(
            "ValidatingWebhookConfiguration",
            "validatingwebhookconfigurations",
            schemas::of::<a::ValidatingWebhookConfiguration>,
        ),
        Row {
            status: true,
            columns: &[
                "Validations|integer||0|Validations indicates the number of validation rules defined in this configuration",
                "ParamKind|string||0|ParamKind specifies the kind of resources used to parameterize this policy",
                AGE,
            ],
            hooks: Some(&hooks::admission::Policy),
            ..row(
                "ValidatingAdmissionPolicy",
                "validatingadmissionpolicies",
                schemas::of::<a::ValidatingAdmissionPolicy>,
            )
        },
        Row {
            columns: &[
                "PolicyName|string||0|PolicyName indicates the policy definition which the policy binding binded to",
                "ParamRef|string||0|ParamRef indicates the param resource which sets the configration param",
                AGE,
            ],
            hooks: Some(&hooks::admission::PolicyBinding),
            ..row(
                "ValidatingAdmissionPolicyBinding",
                "validatingadmissionpolicybindings",
                schemas::of::<a::ValidatingAdmissionPolicyBinding>,
            )
        },
    ]
}

/// Returns the rows of rights and reviews.
pub(super) fn access() -> Vec<Row> {
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
