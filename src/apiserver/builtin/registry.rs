//! The set of served resources at one moment. A change makes a new registry; the old one stays as it was.

use std::sync::{Arc, OnceLock};

use serde_json::Value;

use super::super::crd;
use super::documents::Documents;
use super::{ResourceInfo, kinds};

/// All served resources: built-in ones and those of established custom resource definitions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Registry {
    /// Sorted by group, version, plural.
    resources: Arc<Vec<Arc<ResourceInfo>>>,
    documents: Arc<Documents>,
}

impl Default for Registry {
    fn default() -> Self {
        Self::builtin()
    }
}

impl Registry {
    /// Returns the registry of the built-in kinds alone.
    pub fn builtin() -> Self {
        static BUILTIN: OnceLock<Registry> = OnceLock::new();
        BUILTIN
            .get_or_init(|| Self::from_resources(kinds::all().into_iter().map(Arc::new).collect()))
            .clone()
    }

    /// Returns what is known of requests for tokens, which come to a subresource.
    pub(crate) fn token_request() -> &'static ResourceInfo {
        static REQUEST: OnceLock<ResourceInfo> = OnceLock::new();
        REQUEST.get_or_init(kinds::token_request)
    }

    /// Returns what is known of scales, which come to a subresource.
    pub(crate) fn scale() -> &'static ResourceInfo {
        static SCALE: OnceLock<ResourceInfo> = OnceLock::new();
        SCALE.get_or_init(kinds::scale)
    }

    /// Returns what is known of a kind that comes to a subresource alone, and is read as the objects themselves are.
    pub(crate) fn of_subresource(group: &str, kind: &str) -> Option<&'static ResourceInfo> {
        [Self::token_request(), Self::scale()]
            .into_iter()
            .find(|info| info.group == group && info.kind == kind)
    }

    fn from_resources(mut resources: Vec<Arc<ResourceInfo>>) -> Self {
        resources.sort_by(|a, b| (&a.group, &a.version, &a.plural).cmp(&(&b.group, &b.version, &b.plural)));
        Self {
            resources: Arc::new(resources),
            documents: Arc::default(),
        }
    }

    /// Returns a registry that also serves the versions of `crd`, replacing what that definition served before.
    /// A definition that is not established or is being removed serves nothing new, but what it serves stays.
    #[must_use]
    pub fn with_crd(&self, definition: &Value) -> Self {
        let name = definition
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let mut resources: Vec<_> = self
            .resources
            .iter()
            .filter(|r| r.crd_name.as_deref() != Some(name))
            .cloned()
            .collect();
        let served = crd::served_resources(definition).into_iter();
        resources.extend(served.map(|resource| Arc::new(self.with_known_schema(resource))));
        Self::from_resources(resources)
    }

    /// Gives a resource the schema that has been compiled for it, if it is still the same.
    fn with_known_schema(&self, resource: ResourceInfo) -> ResourceInfo {
        let before = self.find(&resource.group, &resource.version, &resource.plural);
        match before {
            Some(before)
                if before.crd_name == resource.crd_name && before.source.is_same_as(&resource.source) =>
            {
                ResourceInfo {
                    source: before.source.clone(),
                    schema: Arc::clone(&before.schema),
                    ..resource
                }
            }
            _ => resource,
        }
    }

    /// Returns a registry without the resources of the definition called `name` (`plural.group`).
    #[must_use]
    pub fn without_crd(&self, name: &str) -> Self {
        Self::from_resources(
            self.resources
                .iter()
                .filter(|r| r.crd_name.as_deref() != Some(name))
                .cloned()
                .collect(),
        )
    }

    /// Returns what has been made of this registry.
    pub(crate) fn documents(&self) -> &Documents {
        &self.documents
    }

    /// Finds a resource by what a request path says. The core group is empty.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<ResourceInfo>> {
        let key = (group, version, plural);
        self.resources
            .binary_search_by(|r| (r.group.as_str(), r.version.as_str(), r.plural.as_str()).cmp(&key))
            .ok()
            .map(|at| Arc::clone(&self.resources[at]))
    }

    /// Finds a resource by kind.
    pub fn find_kind(&self, group: &str, version: &str, kind: &str) -> Option<Arc<ResourceInfo>> {
        self.resources
            .iter()
            .find(|r| r.group == group && r.version == version && r.kind == kind)
            .cloned()
    }

    /// Finds the resource that holds the objects under a store key, in the version they are stored in.
    pub fn find_stored(&self, storage_group_resource: &str) -> Option<Arc<ResourceInfo>> {
        let of_key = || {
            self.resources
                .iter()
                .filter(|r| r.storage_group_resource == storage_group_resource)
        };
        of_key()
            .find(|r| r.version == r.storage_version && r.storage_group_resource == r.group_resource())
            .or_else(|| of_key().next())
            .cloned()
    }

    /// Returns all resources, sorted by group, version and plural.
    pub fn all(&self) -> &[Arc<ResourceInfo>] {
        &self.resources
    }

    /// Returns the API groups with their versions in order of preference, the core group (empty) first.
    pub fn groups(&self) -> Vec<(String, Vec<String>)> {
        let mut groups: Vec<(String, Vec<String>)> = Vec::new();
        for resource in self.resources.iter() {
            match groups.last_mut() {
                Some((group, versions)) if *group == resource.group => {
                    if versions.last() != Some(&resource.version) {
                        versions.push(resource.version.clone());
                    }
                }
                _ => groups.push((resource.group.clone(), vec![resource.version.clone()])),
            }
        }
        for (_, versions) in &mut groups {
            versions.sort_by_key(|v| std::cmp::Reverse(version_rank(v)));
        }
        groups
    }

    /// Returns the resources of one group and version.
    pub fn in_version(&self, group: &str, version: &str) -> Vec<Arc<ResourceInfo>> {
        self.resources
            .iter()
            .filter(|r| r.group == group && r.version == version)
            .cloned()
            .collect()
    }
}

/// Ranks versions as Kubernetes does: `v2` before `v1` before `v1beta1` before `v1alpha1` before anything else.
pub(crate) fn version_rank(version: &str) -> (u8, u64, u64, std::cmp::Reverse<String>) {
    let parse = || {
        let rest = version.strip_prefix('v')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let major: u64 = rest[..digits].parse().ok()?;
        let (stage, minor) = match &rest[digits..] {
            "" => (3, 0),
            tail => match (tail.strip_prefix("beta"), tail.strip_prefix("alpha")) {
                (Some(n), _) => (2, n.parse().ok()?),
                (_, Some(n)) => (1, n.parse().ok()?),
                _ => return None,
            },
        };
        Some((stage, major, minor))
    };
    parse().map_or_else(
        || (0, 0, 0, std::cmp::Reverse(version.to_owned())),
        |(stage, major, minor)| (stage, major, minor, std::cmp::Reverse(String::new())),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ranked_as_kubernetes_does() {
        let mut versions = ["v1alpha1", "foo", "v1", "v10", "v1beta2", "v2", "bar", "v1beta10"];
        versions.sort_by_key(|v| std::cmp::Reverse(version_rank(v)));
        assert_eq!(
            versions,
            ["v10", "v2", "v1", "v1beta10", "v1beta2", "v1alpha1", "bar", "foo"]
        );
    }

    #[test]
    fn builtin_kinds_are_found_by_path_kind_and_store_key() {
        let registry = Registry::builtin();
        assert_eq!(
            registry.find("", "v1", "configmaps").expect("served").kind,
            "ConfigMap"
        );
        assert_eq!(
            registry
                .find_kind("apps", "v1", "Deployment")
                .expect("served")
                .plural,
            "deployments"
        );
        assert_eq!(registry.find_stored("events").expect("stored").group, "");
        assert!(registry.find("", "v1", "nothings").is_none());
    }

    #[test]
    fn a_schema_that_stays_the_same_is_compiled_once() {
        let definition = |kind: &str, short: &str| {
            serde_json::json!({"metadata": {"name": "xs.a.b"}, "spec": {"group": "a.b", "names": {"plural": "xs", "kind": "X", "shortNames": [short]},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": kind}}}]},
                "status": {"conditions": [{"type": "Established", "status": "True"}]}})
        };
        let schema =
            |registry: &Registry| Arc::clone(&registry.find("a.b", "v1", "xs").expect("served").schema);
        let first = Registry::builtin().with_crd(&definition("object", "x"));
        let same = first.with_crd(&definition("object", "y"));
        assert!(Arc::ptr_eq(&schema(&first), &schema(&same)));
        assert_eq!(same.find("a.b", "v1", "xs").expect("served").short_names, ["y"]);
        let other = first.with_crd(&definition("array", "x"));
        assert!(!Arc::ptr_eq(&schema(&first), &schema(&other)));
    }

    #[test]
    fn the_core_group_comes_first() {
        assert_eq!(
            Registry::builtin().groups()[0],
            (String::new(), vec!["v1".to_owned()])
        );
    }
}
