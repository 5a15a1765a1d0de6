//! What the controllers may do in the management cluster, rule by rule with the reason. Pure.
//!
//! Workload clusters with an API server of their own are reached with the kubeconfig in their Secret: rights there are no part of this.

use serde_json::{Value, json};

use super::objects::Provider;
use crate::{
    api::{INFRASTRUCTURE_GROUP, MACHINE_GROUP},
    controllers::lease,
};

/// Where a rule holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In all namespaces, and for objects without one.
    Everywhere,
    /// In one namespace.
    Namespace(&'static str),
}

/// One thing that the controllers may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Where.
    pub place: Place,
    /// API group; empty for the core.
    pub group: &'static str,
    /// Plurals, with their subresources.
    pub resources: &'static [&'static str],
    /// Names of the objects; empty for all.
    pub names: &'static [&'static str],
    /// What they may do with them.
    pub verbs: &'static [&'static str],
    /// The provider that needs it; nothing: all do.
    pub provider: Option<Provider>,
    /// What it is for.
    pub why: &'static str,
}

const fn rule(
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    why: &'static str,
) -> Rule {
    Rule {
        place: Place::Everywhere,
        group,
        resources,
        names: &[],
        verbs,
        provider: None,
        why,
    }
}

impl Rule {
    const fn within(mut self, namespace: &'static str) -> Self {
        self.place = Place::Namespace(namespace);
        self
    }

    const fn named(mut self, names: &'static [&'static str]) -> Self {
        self.names = names;
        self
    }

    const fn of(mut self, provider: Provider) -> Self {
        self.provider = Some(provider);
        self
    }

    fn json(&self) -> Value {
        let mut rule = json!({
            "apiGroups": [self.group],
            "resources": self.resources,
            "verbs": self.verbs,
        });
        if !self.names.is_empty() {
            rule["resourceNames"] = json!(self.names);
        }
        rule
    }
}

/// All rules, in the order in which the documentation explains them.
pub const RULES: &[Rule] = &[
    rule(
        MACHINE_GROUP,
        &[
            "clusters",
            "configs",
            "infrastructureproviders",
            "machinedeployments",
            "machinehealthchecks",
            "machines",
            "machinesets",
        ],
        &["list", "watch"],
        "what machines there should be",
    ),
    rule(
        MACHINE_GROUP,
        &["machines"],
        &["get"],
        "whoever removes a machine, or what belongs to one, has a last look at it",
    ),
    rule(
        MACHINE_GROUP,
        &["machines", "machinesets"],
        &["create", "delete", "patch"],
        "sets make machines, deployments make sets; both replace and remove them",
    ),
    rule(
        MACHINE_GROUP,
        &["machinedeployments", "machinehealthchecks"],
        &["delete"],
        "a Cluster that is deleted takes its groups along",
    ),
    rule(
        MACHINE_GROUP,
        &["clusters", "machinedeployments"],
        &["patch"],
        "finalizer and endpoint of a Cluster; the revision of a deployment",
    ),
    rule(
        MACHINE_GROUP,
        &[
            "clusters/status",
            "configs/status",
            "infrastructureproviders/status",
            "machinedeployments/status",
            "machinehealthchecks/status",
            "machines/status",
            "machinesets/status",
        ],
        &["patch"],
        "what became of them",
    ),
    rule(
        MACHINE_GROUP,
        &[
            "clusters/finalizers",
            "configs/finalizers",
            "machinedeployments/finalizers",
            "machines/finalizers",
            "machinesets/finalizers",
        ],
        &["update"],
        "owner references that block deletion, where the API server has OwnerReferencesPermissionEnforcement on",
    ),
    rule(
        INFRASTRUCTURE_GROUP,
        &["awsmachines", "dockermachines", "hollowmachines"],
        &["delete", "list", "patch", "watch"],
        "where machines come from: an infrastructure object is owned by its machine, and goes with it",
    ),
    rule(
        INFRASTRUCTURE_GROUP,
        &["dockermachines", "hollowmachines"],
        &["create"],
        "each machine of a set gets an infrastructure object of its own",
    ),
    rule(
        INFRASTRUCTURE_GROUP,
        &["dockermachines/status", "hollowmachines/status"],
        &["patch"],
        "what became of them",
    ),
    rule(
        INFRASTRUCTURE_GROUP,
        &["dockermachinetemplates", "hollowmachinetemplates"],
        &["get"],
        "what the infrastructure objects of a set are copied from",
    ),
    rule(
        INFRASTRUCTURE_GROUP,
        &["awsinfrastructureproviders", "dockerinfrastructureproviders"],
        &["get", "patch"],
        "an infrastructure provider is owned by the InfrastructureProvider that names it",
    ),
    rule(
        INFRASTRUCTURE_GROUP,
        &["dockerinfrastructureproviders"],
        &["list", "watch"],
        "which forms user interfaces show",
    ),
    rule(
        INFRASTRUCTURE_GROUP,
        &["dockerinfrastructureproviders/status"],
        &["patch"],
        "whether the forms are there",
    ),
    rule(
        "",
        &["secrets"],
        &["create", "delete", "get", "list", "patch", "watch"],
        "keys and kubeconfigs of clusters, bootstrap data and tokens of machines, in the namespaces of their machines",
    ),
    rule(
        "",
        &["configmaps"],
        &["list", "watch"],
        "node-unhealthy-conditions, by which a namespace says which Nodes are broken",
    )
    .named(&["node-unhealthy-conditions"]),
    rule(
        "events.k8s.io",
        &["events"],
        &["create", "patch"],
        "Events of the objects",
    ),
    rule(
        "apiextensions.k8s.io",
        &["customresourcedefinitions"],
        &["get"],
        "whether the definitions are there, at the start",
    )
    .named(&["clusters.machine.crit.sh", "machines.machine.crit.sh"]),
    // Machines without a Cluster of their own join this cluster.
    rule(
        "",
        &["nodes"],
        &["delete", "get", "list", "patch", "watch"],
        "which Node a machine became; labels, taints and cordons of Nodes; Nodes go with their machines",
    ),
    rule("", &["pods"], &["list"], "draining: what runs on a Node"),
    rule(
        "",
        &["pods/eviction"],
        &["create"],
        "draining: pods are asked to leave",
    ),
    rule(
        "",
        &["persistentvolumeclaims", "persistentvolumes"],
        &["get"],
        "draining: which volumes have to be detached",
    ),
    rule(
        "storage.k8s.io",
        &["volumeattachments"],
        &["list"],
        "draining: which volumes are still attached",
    ),
    rule(
        "certificates.k8s.io",
        &["certificatesigningrequests"],
        &["list", "watch"],
        "serving certificates that kubelets of machines ask for",
    ),
    rule(
        "certificates.k8s.io",
        &["certificatesigningrequests/approval"],
        &["update"],
        "approving them, if the names in them are the machine's",
    ),
    rule(
        "certificates.k8s.io",
        &["signers"],
        &["approve"],
        "approving them: of this signer alone",
    )
    .named(&["kubernetes.io/kubelet-serving"]),
    rule(
        "authorization.k8s.io",
        &["subjectaccessreviews"],
        &["create"],
        "approving them: whether who asks may ask",
    ),
    rule(
        "",
        &["configmaps"],
        &["get"],
        "how machines join this cluster: its endpoint and CA",
    )
    .named(&["crit-config", "kube-root-ca.crt"])
    .within("kube-system"),
    rule(
        "",
        &["configmaps"],
        &["get"],
        "how machines join this cluster: its endpoint and CA",
    )
    .named(&["cluster-info"])
    .within("kube-public"),
    rule(
        "",
        &["nodes"],
        &["create"],
        "hollow machines register their Nodes",
    )
    .of(Provider::Hollow),
    rule(
        "",
        &["nodes/status"],
        &["patch"],
        "hollow machines tell how they are",
    )
    .of(Provider::Hollow),
    rule(
        "coordination.k8s.io",
        &["leases"],
        &["create", "patch"],
        "hollow machines show that they live",
    )
    .within("kube-node-lease")
    .of(Provider::Hollow),
    rule(
        "coordination.k8s.io",
        &["leases"],
        &["get"],
        "hollow machines see whether anybody reads that",
    )
    .named(&["kube-controller-manager"])
    .within("kube-system")
    .of(Provider::Hollow),
    rule(
        "coordination.k8s.io",
        &["leases"],
        &["create"],
        "one process acts at a time",
    )
    .within(lease::NAMESPACE),
    rule(
        "coordination.k8s.io",
        &["leases"],
        &["get", "list", "update", "watch"],
        "one process acts at a time, and none while a move has fenced the cluster",
    )
    .named(&[lease::NAME])
    .within(lease::NAMESPACE),
];

/// Returns the rules for these providers.
pub fn rules(providers: &[Provider]) -> impl Iterator<Item = &'static Rule> {
    RULES
        .iter()
        .filter(move |r| r.provider.is_none_or(|p| providers.contains(&p)))
}

/// Namespaces of the Roles, in the order of their rules.
pub(super) fn namespaces(providers: &[Provider]) -> Vec<&'static str> {
    let mut all = Vec::new();
    for rule in rules(providers) {
        if let Place::Namespace(namespace) = rule.place
            && !all.contains(&namespace)
        {
            all.push(namespace);
        }
    }
    all
}

/// Returns the rules of a place as a role has them.
pub(super) fn at(place: Place, providers: &[Provider]) -> Vec<Value> {
    rules(providers)
        .filter(|r| r.place == place)
        .map(Rule::json)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_granted_wholesale() {
        for rule in RULES {
            let words = rule.resources.iter().chain(rule.verbs).chain([&rule.group]);
            for word in words {
                assert!(!word.contains('*'), "{rule:?}");
            }
            assert!(!rule.why.is_empty() && !rule.verbs.is_empty());
            // Who may do these can do everything.
            for verb in ["escalate", "bind", "impersonate"] {
                assert!(!rule.verbs.contains(&verb), "{rule:?}");
            }
        }
    }

    #[test]
    fn each_provider_gets_what_it_needs_and_nothing_of_others() {
        let docker = at(Place::Everywhere, &[Provider::Docker]);
        let hollow = at(Place::Everywhere, &[Provider::Hollow]);
        let makes_nodes = |rules: &[Value]| rules.iter().any(|r| r["resources"] == json!(["nodes/status"]));
        assert!(!makes_nodes(&docker) && makes_nodes(&hollow));
        assert_eq!(
            namespaces(&[Provider::Docker]),
            ["kube-system", "kube-public", lease::NAMESPACE]
        );
        assert!(namespaces(&[Provider::Hollow]).contains(&"kube-node-lease"));
    }

    #[test]
    fn no_rule_says_twice_the_same() {
        let mut seen = std::collections::BTreeSet::new();
        for rule in RULES {
            for resource in rule.resources {
                for verb in rule.verbs {
                    let new = seen.insert((rule.place, rule.group, resource, verb, rule.names));
                    assert!(new, "{verb} {resource} is granted twice");
                }
            }
        }
    }
}
