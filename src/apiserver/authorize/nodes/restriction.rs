//! What kubelets may write: their own Node without the labels and taints that steer pods to it, their own Lease and `CSINode`, pods that
//! stand for files on their machine, the status of pods that are bound to it, tokens for those. As kube-apiserver's admission plugin
//! `NodeRestriction` decides, in its words.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::super::certificates;
use super::super::super::handlers::{Call, SIGNING_REQUESTS};
use super::super::super::object::meta;
use super::super::super::request::RequestInfo;
use super::super::super::status::ApiError;
use super::references::{MIRROR, References};
use super::{LEASES, name_of};

/// The labels of a Node that its kubelet may set, besides those of the two namespaces below and those that are not Kubernetes' own.
const KUBELET_LABELS: [&str; 12] = [
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "node.kubernetes.io/windows-build",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
];
const KUBELET_NAMESPACES: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
const RESTRICTED: &str = "node-restriction.kubernetes.io";

/// A write.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Write<'a> {
    /// Makes an object, or does something by a subresource.
    Create(&'a Value),
    /// New and old.
    Update(&'a Value, &'a Value),
    /// The object as it is.
    Delete(&'a Value),
}

impl Write<'_> {
    fn name(self) -> &'static str {
        match self {
            Write::Create(_) => "CREATE",
            Write::Update(..) => "UPDATE",
            Write::Delete(_) => "DELETE",
        }
    }
}

type Outcome = Result<(), ApiError>;

/// One write of one kubelet.
struct Asked<'a> {
    call: &'a Call,
    node: &'a str,
    /// The name of the object.
    name: &'a str,
}

/// Checks a write of a kubelet; those of others pass.
///
/// # Errors
/// The kubelet may not write that.
pub(crate) fn check(call: &Call, write: Write<'_>) -> Outcome {
    let Some(node) = name_of(&call.user) else {
        return Ok(());
    };
    let (Write::Create(object) | Write::Update(object, _) | Write::Delete(object)) = write;
    let name = match call.path.name.as_str() {
        "" => meta::name(object),
        name => name,
    };
    let asked = Asked { call, node, name };
    if node.is_empty() {
        return asked.refuse(format!("could not determine node from user {:?}", call.user.name));
    }
    match call.info.storage_group_resource.as_str() {
        "pods" => asked.pod(write),
        "nodes" => asked.node(write),
        "persistentvolumeclaims" => asked.claim(write),
        "serviceaccounts" => match write {
            Write::Create(request) if call.path.subresource == "token" => asked.token(request),
            _ => Ok(()),
        },
        "leases.coordination.k8s.io" => asked.lease(),
        "csinodes.storage.k8s.io" if name != node => {
            asked.refuse("can only access CSINode with the same name as the requesting node")
        }
        SIGNING_REQUESTS => match write {
            Write::Create(request) => asked.signing_request(request),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn is_on(pod: &Value, node: &str) -> bool {
    pod["spec"]["nodeName"] == node
}

/// Says whether two lists, or what else, are the same; one that is empty is like one that isn't there.
fn same(a: &Value, b: &Value) -> bool {
    let is_empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    a == b || (is_empty(a) && is_empty(b))
}

impl Asked<'_> {
    fn refuse(&self, why: impl AsRef<str>) -> Outcome {
        Err(ApiError::forbidden(&self.call.info, self.name, why.as_ref()))
    }

    fn stored(&self, resource: &str, namespace: &str, name: &str) -> Result<Value, ApiError> {
        let (server, registry) = (&self.call.server, self.call.server.registry());
        let info = registry
            .find("", "v1", resource)
            .ok_or_else(ApiError::no_such_path)?;
        let stored = server.store().get(resource, namespace, name);
        let stored = stored.ok_or_else(|| ApiError::not_found(&info, name))?;
        Ok(stored.value("v1", &info.kind))
    }

    fn pod(&self, write: Write<'_>) -> Outcome {
        let node = self.node;
        match (self.call.path.subresource.as_str(), write) {
            ("", Write::Create(pod)) => self.mirror(pod),
            ("", Write::Delete(pod)) if is_on(pod, node) => Ok(()),
            ("", Write::Delete(_)) => self.refuse(format!(
                "node {node:?} can only delete pods with spec.nodeName set to itself"
            )),
            ("", Write::Update(..)) => self.refuse(format!(
                "unexpected operation {:?}, node {node:?} can only create and delete mirror pods",
                write.name()
            )),
            ("status", Write::Update(new, old)) => self.pod_status(new, old),
            ("status", _) => self.refuse(format!("unexpected operation {:?}", write.name())),
            ("eviction", _) => {
                let pod = self.stored("pods", &self.call.path.namespace, self.name)?;
                if is_on(&pod, node) {
                    return Ok(());
                }
                self.refuse(format!(
                    "node {node} can only evict pods with spec.nodeName set to itself"
                ))
            }
            (other, _) => self.refuse(format!(
                "unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"
            )),
        }
    }

    /// A kubelet makes pods only to show what it runs from files of its machine.
    fn mirror(&self, pod: &Value) -> Outcome {
        let node = self.node;
        if meta::of(pod)
            .get("annotations")
            .is_none_or(|a| a.get(MIRROR).is_none())
        {
            return self.refuse(format!(
                "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
            ));
        }
        if !is_on(pod, node) {
            return self.refuse(format!(
                "node {node:?} can only create pods with spec.nodeName set to itself"
            ));
        }
        self.owners(pod)?;
        let refers = References::of(pod);
        let is_in_volume = |field: &str| {
            let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
            volumes.filter(|volume| !volume[field].is_null()).count() > 0
        };
        let what = if !refers.account.is_empty() {
            "a service account"
        } else if !refers.secrets.is_empty() {
            "secrets"
        } else if !refers.config_maps.is_empty() {
            "configmaps"
        } else if is_in_volume("persistentVolumeClaim") {
            "persistentvolumeclaims"
        } else {
            return Ok(());
        };
        self.refuse(format!("node {node:?} can not create pods that reference {what}"))
    }

    /// The only owner of such a pod is the node, and it is its controller.
    fn owners(&self, pod: &Value) -> Outcome {
        let node = self.node;
        let owner = match meta::owners(pod) {
            [] => {
                return self.refuse(format!(
                    "node {node:?} can only create pods with an owner reference set to itself"
                ));
            }
            [owner] => owner,
            _ => {
                return self.refuse(format!(
                    "node {node:?} can only create pods with a single owner reference set to itself"
                ));
            }
        };
        if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
            return self.refuse(format!(
                "node {node:?} can only create pods with an owner reference set to itself"
            ));
        }
        if owner["controller"] != true {
            return self.refuse(format!(
                "node {node:?} can only create pods with a controller owner reference set to itself"
            ));
        }
        if owner["blockOwnerDeletion"] == true {
            return self.refuse(format!(
                "node {node:?} must not set blockOwnerDeletion on an owner reference"
            ));
        }
        let stored = self.stored("nodes", "", node)?;
        let (own, given) = (
            meta::text(&stored, "uid"),
            owner["uid"].as_str().unwrap_or_default(),
        );
        if own == given {
            return Ok(());
        }
        self.refuse(format!("node {node} UID mismatch: expected {given} got {own}"))
    }

    fn pod_status(&self, new: &Value, old: &Value) -> Outcome {
        let node = self.node;
        if !is_on(old, node) {
            return self.refuse(format!(
                "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
            ));
        }
        if !changed_labels(new, old).is_empty() {
            return self.refuse(format!("node {node:?} cannot update labels through pod status"));
        }
        let claims = "resourceClaimStatuses";
        if !same(&new["status"][claims], &old["status"][claims]) {
            return self.refuse(format!("node {node:?} cannot update resource claim statues"));
        }
        Ok(())
    }

    fn node(&self, write: Write<'_>) -> Outcome {
        let node = self.node;
        if self.name != node {
            return self.refuse(format!(
                "node {node:?} is not allowed to modify node {:?}",
                self.name
            ));
        }
        match write {
            Write::Delete(_) => Ok(()),
            Write::Create(new) => {
                let forbidden = forbidden_labels(&changed_labels(new, &Value::Null));
                if forbidden.is_empty() {
                    return Ok(());
                }
                self.refuse(format!(
                    "node {node:?} is not allowed to set the following labels: {forbidden}"
                ))
            }
            Write::Update(new, old) => {
                if !same(&new["spec"]["taints"], &old["spec"]["taints"]) {
                    return self.refuse(format!("node {node:?} is not allowed to modify taints"));
                }
                let owners = |object: &Value| Value::from(meta::owners(object).to_vec());
                if owners(new) != owners(old) {
                    return self.refuse(format!("node {node:?} is not allowed to modify ownerReferences"));
                }
                let forbidden = forbidden_labels(&changed_labels(new, old));
                if forbidden.is_empty() {
                    return Ok(());
                }
                self.refuse(format!("is not allowed to modify labels: {forbidden}"))
            }
        }
    }

    fn claim(&self, write: Write<'_>) -> Outcome {
        match (self.call.path.subresource.as_str(), write) {
            ("status", Write::Update(new, old)) => {
                let bare = |object: &Value| {
                    let mut object = object.clone();
                    for field in ["resourceVersion", "managedFields"] {
                        meta::of_mut(&mut object).remove(field);
                    }
                    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
                        for field in [
                            "capacity",
                            "conditions",
                            "allocatedResourceStatuses",
                            "allocatedResources",
                        ] {
                            status.remove(field);
                        }
                    }
                    object
                };
                if bare(new) == bare(old) {
                    return Ok(());
                }
                self.refuse(format!(
                    "node {:?} is not allowed to update fields other than status.quantity and status.conditions",
                    self.node
                ))
            }
            ("status", _) => self.refuse(format!("unexpected operation {:?}", write.name())),
            _ => self.refuse("may only update PVC status"),
        }
    }

    /// A token is for a pod of the node, and for those to whom the pod shows it.
    fn token(&self, request: &Value) -> Outcome {
        let bound = &request["spec"]["boundObjectRef"];
        let text = |field: &str| bound[field].as_str().unwrap_or_default();
        let (name, uid) = (text("name"), text("uid"));
        if text("apiVersion") != "v1" || text("kind") != "Pod" || name.is_empty() {
            return self.refuse("node requested token not bound to a pod");
        }
        if uid.is_empty() {
            return self.refuse("node requested token with a pod binding without a uid");
        }
        let pod = self.stored("pods", &self.call.path.namespace, name)?;
        if meta::text(&pod, "uid") != uid {
            return self.refuse(format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
            ));
        }
        if !is_on(&pod, self.node) {
            return self.refuse("node requested token bound to a pod scheduled on a different node");
        }
        let audiences = request["spec"]["audiences"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        match audiences {
            [] => self.audience(&pod, ""),
            [one] => self.audience(&pod, one.as_str().unwrap_or_default()),
            _ => self.refuse("node may only request 0 or 1 audiences"),
        }
    }

    fn audience(&self, pod: &Value, audience: &str) -> Outcome {
        let call = self.call;
        let what = RequestInfo {
            is_resource: true,
            verb: "request-serviceaccounts-token-audience".to_owned(),
            namespace: call.path.namespace.clone(),
            resource: audience.to_owned(),
            name: self.name.to_owned(),
            ..RequestInfo::default()
        };
        if self.shows_token_to(pod, audience) || call.server.decide(&call.user, &what).allowed {
            return Ok(());
        }
        self.refuse(format!(
            "audience {audience:?} not found in pod spec volume, {} is not authorized to request tokens for this audience",
            call.user.name
        ))
    }

    /// Says whether a volume of a pod holds, or its driver gets, a token for somebody.
    fn shows_token_to(&self, pod: &Value, audience: &str) -> bool {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
        volumes.into_iter().any(|volume| {
            let sources = volume["projected"]["sources"].as_array().into_iter().flatten();
            let mut tokens = sources.map(|source| &source["serviceAccountToken"]);
            let claim = match &volume["ephemeral"] {
                Value::Null => text(&volume["persistentVolumeClaim"]["claimName"]),
                _ => format!("{}-{}", meta::name(pod), text(&volume["name"])),
            };
            tokens.any(|token| token.is_object() && text(&token["audience"]) == audience)
                || self.driver_gets(&text(&volume["csi"]["driver"]), audience)
                || self.driver_gets(&self.driver_of(&claim), audience)
        })
    }

    /// Returns the driver of the volume to which a claim of the namespace is bound; empty if there is none.
    fn driver_of(&self, claim: &str) -> String {
        let volume = self
            .stored("persistentvolumeclaims", &self.call.path.namespace, claim)
            .and_then(|claim| {
                let volume = claim["spec"]["volumeName"].as_str().unwrap_or_default();
                self.stored("persistentvolumes", "", volume)
            });
        let driver = volume
            .ok()
            .and_then(|v| v["spec"]["csi"]["driver"].as_str().map(str::to_owned));
        driver.unwrap_or_default()
    }

    fn driver_gets(&self, driver: &str, audience: &str) -> bool {
        let stored = self
            .call
            .server
            .store()
            .get("csidrivers.storage.k8s.io", "", driver);
        stored.is_some_and(|stored| {
            let driver = stored.value("storage.k8s.io/v1", "CSIDriver");
            let mut tokens = driver["spec"]["tokenRequests"].as_array().into_iter().flatten();
            tokens.any(|token| token["audience"].as_str().unwrap_or_default() == audience)
        })
    }

    fn lease(&self) -> Outcome {
        if self.call.path.namespace != LEASES {
            return self.refuse(format!(
                "can only access leases in the {LEASES:?} system namespace"
            ));
        }
        if self.name != self.node {
            return self.refuse("can only access node lease with the same name as the requesting node");
        }
        Ok(())
    }

    fn signing_request(&self, request: &Value) -> Outcome {
        let spec = &request["spec"];
        let of_kubelets = [certificates::KUBELET_SERVING, certificates::KUBELET_CLIENT];
        if !of_kubelets.iter().any(|signer| spec["signerName"] == *signer) {
            return Ok(());
        }
        let own = format!("system:node:{}", self.node);
        match certificates::Request::read(spec["request"].as_str().unwrap_or_default()) {
            Err(why) => self.refuse(format!("unable to parse csr: {why}")),
            Ok(read) if read.common_name != own => {
                self.refuse(format!("can only create a node CSR with CN={own}"))
            }
            Ok(_) => Ok(()),
        }
    }
}

/// Returns the keys of the labels that are not the same in both objects.
fn changed_labels(new: &Value, old: &Value) -> BTreeSet<String> {
    let labels = |object: &Value| {
        object["metadata"]["labels"]
            .as_object()
            .cloned()
            .unwrap_or_default()
    };
    let (new, old) = (labels(new), labels(old));
    let keys = new.keys().chain(old.keys());
    keys.filter(|key| new.get(*key) != old.get(*key))
        .cloned()
        .collect()
}

/// Returns those that a kubelet may not set, separated by commas.
fn forbidden_labels(keys: &BTreeSet<String>) -> String {
    let is_in = |namespace: &str, of: &str| {
        namespace
            .strip_suffix(of)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let forbidden = keys.iter().filter(|key| {
        let namespace = key.split_once('/').map_or("", |(namespace, _)| namespace);
        let is_kubernetes = is_in(namespace, "kubernetes.io") || is_in(namespace, "k8s.io");
        let is_allowed = KUBELET_LABELS.contains(&key.as_str())
            || KUBELET_NAMESPACES.iter().any(|allowed| is_in(namespace, allowed));
        is_in(namespace, RESTRICTED) || (is_kubernetes && !is_allowed)
    });
    forbidden.map(String::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    use serde_json::json;

    #[test]
    fn a_kubelet_sets_only_the_labels_that_are_its_own() {
        let labels = |keys: &[&str]| keys.iter().map(|&key| key.to_owned()).collect::<BTreeSet<_>>();
        let fine = [
            "kubernetes.io/hostname",
            "node.kubernetes.io/x",
            "a.node.kubernetes.io/x",
            "kubelet.kubernetes.io/y",
            "example.com/role",
            "plain",
            "nodekubernetes.io/x",
        ];
        assert_eq!(forbidden_labels(&labels(&fine)), "");
        let wrong = [
            "node-restriction.kubernetes.io/a",
            "x.node-restriction.kubernetes.io/a",
            "node-role.kubernetes.io/master",
            "k8s.io/a",
        ];
        assert_eq!(
            forbidden_labels(&labels(&wrong)),
            "k8s.io/a, node-restriction.kubernetes.io/a, node-role.kubernetes.io/master, x.node-restriction.kubernetes.io/a"
        );
    }

    #[test]
    fn labels_that_go_have_changed_too() {
        let object = |labels: Value| json!({"metadata": {"labels": labels}});
        let changed = changed_labels(
            &object(json!({"a": "1", "b": "2"})),
            &object(json!({"b": "3", "c": "4"})),
        );
        assert_eq!(changed.into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(changed_labels(&json!({}), &object(json!({}))).is_empty());
    }
}
