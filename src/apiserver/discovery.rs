//! What the server tells about what it serves: groups, versions, resources, its own version.
//! Pure functions from a [`Registry`] to JSON. It must not know HTTP beyond media types.

use base64::Engine as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::builtin::{Registry, ResourceInfo, group_version};

/// The Kubernetes version whose behaviour the server has.
pub const KUBERNETES_VERSION: &str = "v1.36.2";

/// Versions of the aggregated discovery form, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregated {
    /// `apidiscovery.k8s.io/v2`.
    V2,
    /// `apidiscovery.k8s.io/v2beta1`, for older clients.
    V2Beta1,
}

impl Aggregated {
    /// Returns the aggregated form that an `Accept` header asks for first, if it names one before plain JSON.
    pub fn wanted(accept: &str) -> Option<Self> {
        accept.split(',').find_map(|media| {
            let parameters: Vec<&str> = media.split(';').map(str::trim).collect();
            let has = |parameter: &str| parameters.contains(&parameter);
            if parameters.first() != Some(&"application/json")
                || !has("as=APIGroupDiscoveryList")
                || !has("g=apidiscovery.k8s.io")
            {
                return None;
            }
            if has("v=v2") {
                Some(Self::V2)
            } else if has("v=v2beta1") {
                Some(Self::V2Beta1)
            } else {
                None
            }
        })
    }

    fn version(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V2Beta1 => "v2beta1",
        }
    }

    /// Returns the content type of an answer in this form.
    pub fn content_type(self) -> String {
        format!(
            "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList",
            self.version()
        )
    }
}

/// Answers `/version`.
pub fn version() -> Value {
    let mut parts = KUBERNETES_VERSION.trim_start_matches('v').split('.');
    let platform = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    json!({
        "major": parts.next().unwrap_or_default(),
        "minor": parts.next().unwrap_or_default(),
        "gitVersion": format!("{KUBERNETES_VERSION}+machinectl"),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("{}/{platform}", std::env::consts::OS),
    })
}

/// Answers `/api`. `address` is where the client reached the server, `host:port`.
pub fn api_versions(address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// Answers `/apis`.
pub fn group_list(registry: &Registry) -> Value {
    let groups: Vec<Value> = named_groups(registry)
        .map(|(group, versions)| group_content(&group, &versions))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// Answers `/apis/GROUP`; `None` if there is no such group.
pub fn group(registry: &Registry, name: &str) -> Option<Value> {
    let (group, versions) = named_groups(registry).find(|(group, _)| group == name)?;
    let mut answer = group_content(&group, &versions);
    answer["kind"] = "APIGroup".into();
    answer["apiVersion"] = "v1".into();
    Some(answer)
}

fn named_groups(registry: &Registry) -> impl Iterator<Item = (String, Vec<String>)> {
    registry
        .groups()
        .into_iter()
        .filter(|(group, _)| !group.is_empty())
}

fn group_content(group: &str, versions: &[String]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|v| json!({"groupVersion": group_version(group, v), "version": v}))
        .collect();
    json!({"name": group, "preferredVersion": versions.first(), "versions": versions})
}

/// Answers `/api/v1` (empty group) and `/apis/GROUP/VERSION`; `None` if there is no such version.
pub fn resource_list(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let served = registry.in_version(group, version);
    if served.is_empty() {
        return None;
    }
    let mut resources = Vec::new();
    for info in &served {
        resources.push(resource(info));
        for part in subresources(info) {
            resources.push(part.in_list(info));
        }
    }
    let mut answer = json!({"kind": "APIResourceList", "groupVersion": group_version(group, version), "resources": resources});
    if !group.is_empty() {
        answer["apiVersion"] = "v1".into();
    }
    Some(answer)
}

fn resource(info: &ResourceInfo) -> Value {
    let mut resource = json!({
        "name": info.plural,
        "singularName": info.singular,
        "namespaced": info.namespaced,
        "kind": info.kind,
        "verbs": info.verbs,
    });
    if !info.short_names.is_empty() {
        resource["shortNames"] = json!(info.short_names);
    }
    if !info.categories.is_empty() {
        resource["categories"] = json!(info.categories);
    }
    if !info.virtual_only {
        resource["storageVersionHash"] = storage_version_hash(info).into();
    }
    resource
}

/// Tells clients whether the stored form changed between two servers.
fn storage_version_hash(info: &ResourceInfo) -> String {
    let group = if info.group == "events.k8s.io" {
        ""
    } else {
        &info.group
    };
    let digest = Sha256::digest(format!("{group}/{}/{}", info.storage_version, info.kind));
    base64::engine::general_purpose::STANDARD.encode(&digest[..8])
}

/// A subresource as both discovery forms need it.
struct Part<'a> {
    name: &'a str,
    group: &'a str,
    version: &'a str,
    kind: &'a str,
    verbs: &'a [&'a str],
    foreign: bool,
}

impl Part<'_> {
    fn in_list(&self, info: &ResourceInfo) -> Value {
        let mut resource = json!({
            "name": format!("{}/{}", info.plural, self.name),
            "singularName": "",
            "namespaced": info.namespaced,
            "kind": self.kind,
            "verbs": self.verbs,
        });
        if self.foreign {
            if !self.group.is_empty() {
                resource["group"] = self.group.into();
            }
            resource["version"] = self.version.into();
        }
        resource
    }
}

const GET_PATCH_UPDATE: &[&str] = &["get", "patch", "update"];

fn subresources(info: &ResourceInfo) -> Vec<Part<'_>> {
    let mut parts: Vec<Part<'_>> = info
        .subresources
        .iter()
        .map(|sub| Part {
            name: sub.name,
            group: sub.group,
            version: sub.version,
            kind: sub.kind,
            verbs: sub.verbs,
            foreign: sub.group != info.group,
        })
        .collect();
    let status = info.status.then_some(Part {
        name: "status",
        group: &info.group,
        version: &info.version,
        kind: &info.kind,
        verbs: GET_PATCH_UPDATE,
        foreign: false,
    });
    let scale = info.scale.as_ref().map(|_| Part {
        name: "scale",
        group: "autoscaling",
        version: "v1",
        kind: "Scale",
        verbs: GET_PATCH_UPDATE,
        foreign: true,
    });
    parts.extend(status);
    parts.extend(scale);
    if !info.custom {
        parts.sort_by_key(|part| part.name);
    }
    parts
}

/// Answers `/api` (`core` true) or `/apis` in the aggregated form.
pub fn aggregated(registry: &Registry, form: Aggregated, core: bool) -> Value {
    let items: Vec<Value> = registry
        .groups()
        .into_iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    let served = registry.in_version(&group, version);
                    let resources: Vec<Value> = served.iter().map(|info| aggregated_resource(info)).collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = if core {
                json!({"creationTimestamp": null})
            } else {
                json!({"name": group, "creationTimestamp": null})
            };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{}", form.version()),
        "metadata": {},
        "items": items,
    })
}

fn aggregated_resource(info: &ResourceInfo) -> Value {
    let kind =
        |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let mut resource = json!({
        "resource": info.plural,
        "responseKind": kind(&info.group, &info.version, &info.kind),
        "scope": if info.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": info.singular,
        "verbs": info.verbs,
    });
    if !info.short_names.is_empty() {
        resource["shortNames"] = json!(info.short_names);
    }
    if !info.categories.is_empty() {
        resource["categories"] = json!(info.categories);
    }
    let parts: Vec<Value> = subresources(info)
        .iter()
        .map(|part| {
            json!({
                "subresource": part.name,
                "responseKind": kind(part.group, part.version, part.kind),
                "verbs": part.verbs,
            })
        })
        .collect();
    if !parts.is_empty() {
        resource["subresources"] = parts.into();
    }
    resource
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_widgets() -> Registry {
        Registry::builtin().with_crd(&json!({
            "metadata": {"name": "widgets.differ.test"},
            "spec": {"group": "differ.test", "scope": "Namespaced",
                "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": ["wd"], "categories": ["all"]},
                "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {},
                    "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}}}]},
            "status": {"conditions": [{"type": "Established", "status": "True"}]}
        }))
    }

    #[test]
    fn a_custom_group_is_listed_as_the_real_server_does() {
        let registry = with_widgets();
        assert_eq!(
            group(&registry, "differ.test").expect("served"),
            json!({"apiVersion": "v1", "kind": "APIGroup", "name": "differ.test",
                "preferredVersion": {"groupVersion": "differ.test/v1", "version": "v1"},
                "versions": [{"groupVersion": "differ.test/v1", "version": "v1"}]})
        );
        assert_eq!(
            resource_list(&registry, "differ.test", "v1").expect("served"),
            json!({"apiVersion": "v1", "groupVersion": "differ.test/v1", "kind": "APIResourceList", "resources": [
                {"categories": ["all"], "kind": "Widget", "name": "widgets", "namespaced": true, "shortNames": ["wd"],
                 "singularName": "widget", "storageVersionHash": "4kX8W87F6Io=",
                 "verbs": ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]},
                {"kind": "Widget", "name": "widgets/status", "namespaced": true, "singularName": "", "verbs": ["get", "patch", "update"]},
                {"group": "autoscaling", "kind": "Scale", "name": "widgets/scale", "namespaced": true, "singularName": "",
                 "verbs": ["get", "patch", "update"], "version": "v1"}]})
        );
        assert!(group(&registry, "nope.test").is_none());
        assert!(resource_list(&registry, "differ.test", "v9").is_none());
    }

    #[test]
    fn the_aggregated_form_is_chosen_by_the_accept_header() {
        let kubectl = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        assert_eq!(Aggregated::wanted(kubectl), Some(Aggregated::V2));
        assert_eq!(Aggregated::wanted("application/json, */*"), None);
    }

    #[test]
    fn both_forms_know_the_same_resources() {
        let registry = with_widgets();
        let all = aggregated(&registry, Aggregated::V2, false);
        let groups: Vec<&str> = all["items"]
            .as_array()
            .expect("items")
            .iter()
            .filter_map(|i| i["metadata"]["name"].as_str())
            .collect();
        let plain = group_list(&registry);
        let named: Vec<&str> = plain["groups"]
            .as_array()
            .expect("groups")
            .iter()
            .filter_map(|g| g["name"].as_str())
            .collect();
        assert_eq!(groups, named);
        assert!(groups.contains(&"differ.test") && groups.contains(&"apps"));
        let core = aggregated(&registry, Aggregated::V2, true);
        let pods = core["items"][0]["versions"][0]["resources"]
            .as_array()
            .expect("resources");
        let pod = pods.iter().find(|r| r["resource"] == "pods").expect("pods");
        assert_eq!(pod["subresources"].as_array().expect("parts").len(), 3);
    }

    #[test]
    fn the_version_reads_as_kubernetes() {
        let version = version();
        assert_eq!(
            (&version["major"], &version["minor"]),
            (&json!("1"), &json!("36"))
        );
        assert!(
            version["gitVersion"]
                .as_str()
                .expect("text")
                .starts_with("v1.36.")
        );
    }
}
