//! Kinds and where their objects are on the API server. Kinds of this program and the most common others need no question to it.

use kube::{
    Client,
    core::{ApiResource, gvk::GroupVersion},
};

use crate::api::{INFRASTRUCTURE_GROUP, MACHINE_GROUP, VERSION};

/// Category of all kinds of this program.
pub(crate) const CATEGORY: &str = "machine-api";

/// A kind and where its objects are.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "the API calls this field so too")]
pub(crate) struct Kind {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    pub(crate) namespaced: bool,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
}

struct Known(
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    bool,
    &'static [&'static str],
);

const MACHINE: &str = MACHINE_GROUP;
const INFRA: &str = INFRASTRUCTURE_GROUP;

/// The kinds of this program, in the order in which they are shown. A test holds them against the registry.
const OWN: &[Known] = &[
    Known(MACHINE, VERSION, "Cluster", "clusters", true, &[]),
    Known(MACHINE, VERSION, "Machine", "machines", true, &["ma"]),
    Known(MACHINE, VERSION, "MachineSet", "machinesets", true, &["ms"]),
    Known(
        MACHINE,
        VERSION,
        "MachineDeployment",
        "machinedeployments",
        true,
        &["md"],
    ),
    Known(
        MACHINE,
        VERSION,
        "MachineHealthCheck",
        "machinehealthchecks",
        true,
        &["mhc"],
    ),
    Known(MACHINE, VERSION, "Config", "configs", true, &[]),
    Known(
        MACHINE,
        VERSION,
        "InfrastructureProvider",
        "infrastructureproviders",
        false,
        &[],
    ),
    Known(INFRA, VERSION, "DockerMachine", "dockermachines", true, &[]),
    Known(
        INFRA,
        VERSION,
        "DockerMachineTemplate",
        "dockermachinetemplates",
        true,
        &[],
    ),
    Known(
        INFRA,
        VERSION,
        "DockerInfrastructureProvider",
        "dockerinfrastructureproviders",
        true,
        &[],
    ),
    Known(INFRA, VERSION, "HollowMachine", "hollowmachines", true, &[]),
    Known(
        INFRA,
        VERSION,
        "HollowMachineTemplate",
        "hollowmachinetemplates",
        true,
        &[],
    ),
    Known(INFRA, VERSION, "AWSMachine", "awsmachines", true, &[]),
    Known(
        INFRA,
        VERSION,
        "AWSInfrastructureProvider",
        "awsinfrastructureproviders",
        true,
        &[],
    ),
];

const COMMON: &[Known] = &[
    Known("", "v1", "Node", "nodes", false, &["no"]),
    Known("", "v1", "Pod", "pods", true, &["po"]),
    Known("", "v1", "Secret", "secrets", true, &[]),
    Known("", "v1", "ConfigMap", "configmaps", true, &["cm"]),
    Known("", "v1", "Namespace", "namespaces", false, &["ns"]),
    Known("", "v1", "Event", "events", true, &["ev"]),
    Known("", "v1", "ServiceAccount", "serviceaccounts", true, &["sa"]),
    Known("coordination.k8s.io", "v1", "Lease", "leases", true, &[]),
    Known(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        false,
        &["crd", "crds"],
    ),
];

impl Known {
    fn kind(&self, category: Option<&str>) -> Kind {
        let Self(group, version, kind, plural, namespaced, short_names) = self;
        Kind {
            group: (*group).to_owned(),
            version: (*version).to_owned(),
            kind: (*kind).to_owned(),
            plural: (*plural).to_owned(),
            namespaced: *namespaced,
            singular: kind.to_lowercase(),
            short_names: short_names.iter().map(|&s| s.to_owned()).collect(),
            categories: category.map(ToOwned::to_owned).into_iter().collect(),
        }
    }
}

pub(crate) fn known() -> impl Iterator<Item = Kind> {
    OWN.iter()
        .map(|k| k.kind(Some(CATEGORY)))
        .chain(COMMON.iter().map(|k| k.kind(None)))
}

impl Kind {
    /// Returns `machines.machine.crit.sh`, or `pods` for the core group.
    pub(crate) fn full_name(&self) -> String {
        with_group(&self.plural, &self.group)
    }

    /// Returns `machine.machine.crit.sh`, as `-o name` writes it before the name.
    pub(crate) fn singular_name(&self) -> String {
        with_group(&self.singular, &self.group)
    }

    /// Returns `machine.crit.sh/v1alpha1`, or `v1` for the core group.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Whether this is a kind of this program with the given name.
    pub(crate) fn is_own(&self, kind: &str) -> bool {
        self.kind == kind && (self.group == MACHINE || self.group == INFRA)
    }

    /// Returns the kind as kube's dynamic objects want it.
    pub(crate) fn api_resource(&self) -> ApiResource {
        ApiResource {
            group: self.group.clone(),
            version: self.version.clone(),
            api_version: self.api_version(),
            kind: self.kind.clone(),
            plural: self.plural.clone(),
        }
    }

    /// Returns the path of the list in a namespace, or in all of them, or of one object.
    pub(crate) fn path(&self, namespace: Option<&str>, name: Option<&str>) -> String {
        let namespace = namespace.filter(|_| self.namespaced);
        path(&self.group, &self.version, &self.plural, namespace, name)
    }

    /// Whether a word names this kind.
    pub(crate) fn answers_to(&self, word: &str) -> bool {
        let word = word.to_lowercase();
        let (name, group) = word.split_once('.').unwrap_or((&word, ""));
        // machines.v1alpha1.machine.crit.sh is a full address too.
        let group = group.strip_prefix(&format!("{}.", self.version)).unwrap_or(group);
        let named =
            name == self.plural || name == self.singular || self.short_names.iter().any(|s| *s == name);
        named && (group.is_empty() || group == self.group)
    }
}

/// Returns the path of a list, or of one object.
pub(crate) fn path(
    group: &str,
    version: &str,
    plural: &str,
    namespace: Option<&str>,
    name: Option<&str>,
) -> String {
    let mut path = if group.is_empty() {
        format!("/api/{version}")
    } else {
        format!("/apis/{group}/{version}")
    };
    if let Some(namespace) = namespace {
        path.push_str("/namespaces/");
        path.push_str(namespace);
    }
    path.push('/');
    path.push_str(plural);
    if let Some(name) = name {
        path.push('/');
        path.push_str(name);
    }
    path
}

/// `machines.machine.crit.sh`, or the name alone for the core group.
pub(crate) fn with_group(name: &str, group: &str) -> String {
    if group.is_empty() {
        name.to_owned()
    } else {
        format!("{name}.{group}")
    }
}

/// Finds the kind of an object; `None` if the API server does not know it.
pub(crate) async fn of_object(
    client: &Client,
    api_version: &str,
    kind: &str,
) -> Result<Option<Kind>, kube::Error> {
    if let Some(found) = known().find(|k| k.kind == kind && k.api_version() == api_version) {
        return Ok(Some(found));
    }
    let Ok(group_version) = api_version.parse::<GroupVersion>() else {
        return Ok(None);
    };
    match of_group_version(client, &group_version.group, &group_version.version).await {
        Ok(kinds) => Ok(kinds.into_iter().find(|k| k.kind == kind)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the kinds of a group and version that the API server serves.
pub(crate) async fn of_group_version(
    client: &Client,
    group: &str,
    version: &str,
) -> Result<Vec<Kind>, kube::Error> {
    let list = if group.is_empty() {
        client.list_core_api_resources(version).await?
    } else {
        client
            .list_api_group_resources(&format!("{group}/{version}"))
            .await?
    };
    let main = list.resources.into_iter().filter(|r| !r.name.contains('/'));
    Ok(main
        .map(|resource| Kind {
            group: group.to_owned(),
            version: version.to_owned(),
            singular: if resource.singular_name.is_empty() {
                resource.kind.to_lowercase()
            } else {
                resource.singular_name
            },
            kind: resource.kind,
            plural: resource.name,
            namespaced: resource.namespaced,
            short_names: resource.short_names.unwrap_or_default(),
            categories: resource.categories.unwrap_or_default(),
        })
        .collect())
}

/// Finds a kind of this program by the name of the kind, in any version and group.
pub(crate) fn own_by_kind(kind: &str) -> Option<Kind> {
    own().find(|k| k.kind == kind)
}

/// Whether a word stands for the kind Cluster.
pub(crate) fn is_cluster_word(word: &str) -> bool {
    own().next().is_some_and(|k| k.answers_to(word))
}

/// Returns the kinds of this program, in the order in which they are shown.
pub(crate) fn own() -> impl Iterator<Item = Kind> {
    OWN.iter().map(|k| k.kind(Some(CATEGORY)))
}

/// Returns the names of all kinds of this program.
pub(crate) fn own_names() -> Vec<&'static str> {
    OWN.iter().map(|k| k.2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::registry;

    #[test]
    fn the_table_of_own_kinds_is_that_of_the_registry() {
        let expected: Vec<_> = registry::crds()
            .into_iter()
            .map(|crd| Kind {
                group: crd.spec.group,
                version: crd.spec.versions[0].name.clone(),
                singular: crd.spec.names.singular.clone().unwrap_or_default(),
                kind: crd.spec.names.kind,
                plural: crd.spec.names.plural,
                namespaced: crd.spec.scope == "Namespaced",
                short_names: crd.spec.names.short_names.unwrap_or_default(),
                categories: crd.spec.names.categories.unwrap_or_default(),
            })
            .collect();
        let ours: Vec<_> = OWN.iter().map(|k| k.kind(Some(CATEGORY))).collect();
        assert_eq!(ours, expected);
    }

    #[test]
    fn a_kind_answers_to_all_its_names() {
        let machine = own_by_kind("Machine").unwrap();
        for word in [
            "ma",
            "machine",
            "Machines",
            "machines.machine.crit.sh",
            "machines.v1alpha1.machine.crit.sh",
        ] {
            assert!(machine.answers_to(word), "{word}");
        }
        assert!(!machine.answers_to("machines.other.group"));
        assert_eq!(
            machine.path(Some("ns"), Some("x")),
            "/apis/machine.crit.sh/v1alpha1/namespaces/ns/machines/x"
        );
    }
}
