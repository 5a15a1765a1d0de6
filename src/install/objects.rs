//! What is installed beside the definitions, as it is applied. Pure.

use std::{fmt, str::FromStr};

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    DIGEST, INVENTORY, NAME, NAMESPACE, definitions, hex,
    inventory::Inventory,
    rbac::{self, Place},
};
use crate::api::labels;

/// Image of the controllers when nobody says otherwise.
pub const IMAGE: &str = concat!("machinectl:v", env!("CARGO_PKG_VERSION"));
/// The Docker socket, where `create cluster` mounts it into control-plane nodes.
const SOCKET: &str = "/var/run/docker.sock";
/// Port of metrics and probes.
const PORT: u16 = 8080;
/// User and group of the controllers: nobody's, as in distroless images.
const USER: u32 = 65532;

/// Where machines come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Provider {
    /// Containers on the Docker host of the control-plane nodes.
    Docker,
    /// Nowhere: Node objects without hardware.
    Hollow,
}

impl Provider {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Docker, Self::Hollow];

    /// Returns the word for it on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Hollow => "hollow",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Provider {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|p| p.word() == text);
        found.ok_or_else(|| format!("there is no provider {text}; there are docker and hollow"))
    }
}

/// How much is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The definitions alone.
    Definitions,
    /// The definitions and the inventory: all that makes sense where nothing can run a pod, as on the embedded API server.
    Inventory,
    /// Everything.
    Controllers,
}

/// What is to be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// How much.
    pub scope: Scope,
    /// Providers that the controllers are set up for; in order, each once.
    pub providers: Vec<Provider>,
    /// Image of the controllers.
    pub image: String,
}

impl Request {
    /// Makes a request; providers may stand in any order, and twice.
    pub fn new(scope: Scope, mut providers: Vec<Provider>, image: impl Into<String>) -> Self {
        providers.sort_unstable();
        providers.dedup();
        Self {
            scope,
            providers,
            image: image.into(),
        }
    }
}

/// Returns everything that is applied, in the order of its dependencies, definitions first. `rules` says whether the API server knows
/// rules in definitions, which Kubernetes does since 1.25.
///
/// # Errors
/// Never does: all of it can be written as JSON.
pub fn everything(request: &Request, rules: bool) -> Result<Vec<Value>, serde_json::Error> {
    let mut all = Vec::new();
    for crd in definitions::wanted(rules) {
        let mut crd = serde_json::to_value(crd)?;
        if let Some(map) = crd.as_object_mut() {
            map.remove("status");
        }
        all.push(crd);
    }
    all.extend(objects(request));
    if request.scope != Scope::Definitions {
        all.push(Inventory::of(request).object());
    }
    Ok(all)
}

/// Returns the objects beside definitions and inventory, in the order of their dependencies.
pub(super) fn objects(request: &Request) -> Vec<Value> {
    let mut all = Vec::new();
    if request.scope == Scope::Definitions {
        return all;
    }
    all.push(object("v1", "Namespace", None, NAMESPACE, json!({})));
    if request.scope == Scope::Controllers {
        all.push(object("v1", "ServiceAccount", Some(NAMESPACE), NAME, json!({})));
        all.extend(roles(&request.providers));
        all.push(service());
        all.push(deployment(request));
    }
    all.into_iter().map(with_digest).collect()
}

/// An object that says whose it is.
pub(super) fn object(
    api_version: &str,
    kind: &str,
    namespace: Option<&str>,
    name: &str,
    rest: Value,
) -> Value {
    let mut metadata = json!({
        "name": name,
        "labels": { labels::APP_NAME: labels::APP, labels::APP_MANAGED_BY: labels::APP },
    });
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    let mut object = json!({ "apiVersion": api_version, "kind": kind, "metadata": metadata });
    if let (Some(object), Value::Object(rest)) = (object.as_object_mut(), rest) {
        object.extend(rest);
    }
    object
}

/// The object with a digest of itself.
pub(super) fn with_digest(mut object: Value) -> Value {
    let sum = Sha256::digest(object.to_string().as_bytes());
    object["metadata"]["annotations"][DIGEST] = json!(hex(&sum[..8]));
    object
}

fn roles(providers: &[Provider]) -> Vec<Value> {
    const API: &str = "rbac.authorization.k8s.io/v1";
    let subject = json!([{ "kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE }]);
    let to = |kind: &str| json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": NAME });
    let rules = rbac::at(Place::Everywhere, providers);
    let mut all = vec![
        object(API, "ClusterRole", None, NAME, json!({ "rules": rules })),
        object(
            API,
            "ClusterRoleBinding",
            None,
            NAME,
            json!({ "roleRef": to("ClusterRole"), "subjects": subject }),
        ),
    ];
    for namespace in rbac::namespaces(providers) {
        let rules = rbac::at(Place::Namespace(namespace), providers);
        all.push(object(
            API,
            "Role",
            Some(namespace),
            NAME,
            json!({ "rules": rules }),
        ));
        all.push(object(
            API,
            "RoleBinding",
            Some(namespace),
            NAME,
            json!({ "roleRef": to("Role"), "subjects": subject }),
        ));
    }
    all
}

/// Labels by which the pods are found.
fn pod_labels() -> Value {
    json!({ labels::APP_NAME: labels::APP, "app.kubernetes.io/component": "controller" })
}

fn service() -> Value {
    object(
        "v1",
        "Service",
        Some(NAMESPACE),
        &format!("{NAME}-metrics"),
        json!({ "spec": {
            "type": "ClusterIP",
            "selector": pod_labels(),
            "ports": [{ "name": "metrics", "port": PORT, "protocol": "TCP", "targetPort": "metrics" }],
        } }),
    )
}

fn deployment(request: &Request) -> Value {
    let probe = |path: &str, period: u8| {
        json!({
            "httpGet": { "path": path, "port": "metrics" },
            "periodSeconds": period,
            "timeoutSeconds": 3,
            "failureThreshold": 3,
        })
    };
    let docker = request.providers.contains(&Provider::Docker);
    let mut container = json!({
        "name": "controller",
        "image": request.image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["run", "-v", "--log-format", "json", "--metrics-addr", format!(":{PORT}")],
        "ports": [{ "name": "metrics", "containerPort": PORT, "protocol": "TCP" }],
        "livenessProbe": probe("/livez", 10),
        "readinessProbe": probe("/readyz", 2),
        "resources": { "requests": { "cpu": "100m", "memory": "64Mi" } },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
    });
    // Controllers that waited for a worker, which they have to make, would wait for ever.
    let tolerations = [labels::CONTROL_PLANE_ROLE, labels::MASTER_ROLE]
        .map(|key| json!({ "key": key, "operator": "Exists", "effect": "NoSchedule" }));
    let mut pod = json!({
        "serviceAccountName": NAME,
        "priorityClassName": "system-cluster-critical",
        "terminationGracePeriodSeconds": 15,
        "securityContext": security(docker),
        "tolerations": tolerations,
        "affinity": affinity(docker),
    });
    if docker {
        container["volumeMounts"] = json!([{ "name": "docker-socket", "mountPath": SOCKET }]);
        pod["volumes"] =
            json!([{ "name": "docker-socket", "hostPath": { "path": SOCKET, "type": "Socket" } }]);
    }
    pod["containers"] = json!([container]);
    object(
        "apps/v1",
        "Deployment",
        Some(NAMESPACE),
        NAME,
        json!({ "spec": {
            "replicas": 2,
            "revisionHistoryLimit": 3,
            "selector": { "matchLabels": pod_labels() },
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 1 } },
            "template": { "metadata": { "labels": pod_labels() }, "spec": pod },
        } }),
    )
}

/// The Docker socket is root's, and the group that may open it too has another number on each host: there the controllers are root, without
/// a single capability.
fn security(docker: bool) -> Value {
    let user = if docker { 0 } else { USER };
    json!({
        "runAsNonRoot": !docker,
        "runAsUser": user,
        "runAsGroup": user,
        "seccompProfile": { "type": "RuntimeDefault" },
    })
}

/// Not on one Node if that can be helped; on control-plane Nodes, for Docker without fail: only they have the socket.
fn affinity(docker: bool) -> Value {
    let terms = [labels::CONTROL_PLANE_ROLE, labels::MASTER_ROLE]
        .map(|role| json!({ "matchExpressions": [{ "key": role, "operator": "Exists" }] }));
    let node = if docker {
        json!({ "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms } })
    } else {
        let preferred = terms.map(|term| json!({ "weight": 100, "preference": term }));
        json!({ "preferredDuringSchedulingIgnoredDuringExecution": preferred })
    };
    let apart = json!({
        "weight": 100,
        "podAffinityTerm": {
            "labelSelector": { "matchLabels": pod_labels() },
            "topologyKey": "kubernetes.io/hostname",
        },
    });
    json!({
        "nodeAffinity": node,
        "podAntiAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [apart] },
    })
}

/// Names one installed object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ObjectName {
    /// `v1`, `apps/v1`.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace, if it has one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl ObjectName {
    /// Names an object that this program made.
    pub(super) fn of(object: &Value) -> Self {
        let text = |pointer: &str| {
            let found = object.pointer(pointer).and_then(Value::as_str);
            found.map(str::to_owned)
        };
        Self {
            api_version: text("/apiVersion").unwrap_or_default(),
            kind: text("/kind").unwrap_or_default(),
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name").unwrap_or_default(),
        }
    }

    /// The inventory.
    pub(super) fn inventory() -> Self {
        Self {
            api_version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
            namespace: Some(NAMESPACE.to_owned()),
            name: INVENTORY.to_owned(),
        }
    }

    /// Where objects of the kind are.
    pub(super) fn resource(&self) -> ApiResource {
        let (group, version) = self
            .api_version
            .split_once('/')
            .unwrap_or(("", &self.api_version));
        ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &self.kind))
    }

    pub(super) fn api(&self, client: &Client) -> Api<DynamicObject> {
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &self.resource()),
            None => Api::all_with(client.clone(), &self.resource()),
        }
    }

    /// How an inventory writes it: `apps/v1 Deployment namespace/name`.
    pub(super) fn line(&self) -> String {
        let Self {
            api_version,
            kind,
            namespace,
            name,
        } = self;
        match namespace {
            Some(namespace) => format!("{api_version} {kind} {namespace}/{name}"),
            None => format!("{api_version} {kind} {name}"),
        }
    }

    /// Reads what an inventory has written.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (api_version, kind, place) = (words.next()?, words.next()?, words.next()?);
        let (namespace, name) = match place.split_once('/') {
            Some((namespace, name)) => (Some(namespace.to_owned()), name),
            None => (None, place),
        };
        Some(Self {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace,
            name: name.to_owned(),
        })
    }
}

impl fmt::Display for ObjectName {
    /// `deployment.apps/name`, as kubectl writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.to_lowercase();
        match self.api_version.split_once('/') {
            Some((group, _)) => write!(f, "{kind}.{group}/{}", self.name),
            None => write!(f, "{kind}/{}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(providers: Vec<Provider>) -> Value {
        let all = objects(&Request::new(Scope::Controllers, providers, "i:v1"));
        all.into_iter().find(|o| o["kind"] == "Deployment").unwrap()
    }

    #[test]
    fn only_docker_gets_the_socket_and_root() {
        let hollow = made(vec![Provider::Hollow]);
        let pod = &hollow["spec"]["template"]["spec"];
        assert!(pod["volumes"].is_null() && pod["containers"][0]["volumeMounts"].is_null());
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert!(!hollow.to_string().contains("hostPath"));

        let docker = made(vec![Provider::Hollow, Provider::Docker]);
        let pod = &docker["spec"]["template"]["spec"];
        assert_eq!(
            pod["volumes"][0]["hostPath"],
            json!({ "path": SOCKET, "type": "Socket" })
        );
        assert_eq!(pod["securityContext"]["runAsUser"], 0);
        for deployment in [&hollow, &docker] {
            let container = &deployment["spec"]["template"]["spec"]["containers"][0];
            let security = &container["securityContext"];
            assert_eq!(security["capabilities"], json!({ "drop": ["ALL"] }));
            assert_eq!(
                (
                    &security["readOnlyRootFilesystem"],
                    &security["allowPrivilegeEscalation"]
                ),
                (&json!(true), &json!(false))
            );
            assert!(security["privileged"].is_null());
            assert_eq!(container["imagePullPolicy"], "IfNotPresent");
        }
    }

    #[test]
    fn everything_says_whose_it_is_and_is_the_same_each_time() {
        for scope in [Scope::Definitions, Scope::Inventory, Scope::Controllers] {
            let request = Request::new(scope, Provider::ALL.to_vec(), "i:v1");
            let all = everything(&request, true).unwrap();
            assert_eq!(all, everything(&request, true).unwrap());
            for object in &all {
                let metadata = &object["metadata"];
                assert_eq!(
                    metadata["labels"][labels::APP_MANAGED_BY],
                    "machinectl",
                    "{object}"
                );
                assert!(metadata["annotations"][DIGEST].is_string(), "{object}");
            }
        }
    }

    #[test]
    fn nothing_stands_before_what_it_needs() {
        let request = Request::new(Scope::Controllers, Provider::ALL.to_vec(), "i:v1");
        let kinds: Vec<_> = everything(&request, true)
            .unwrap()
            .iter()
            .map(|o| o["kind"].as_str().unwrap().to_owned())
            .collect();
        let at = |kind: &str| kinds.iter().position(|k| k == kind).unwrap();
        assert!(at("CustomResourceDefinition") < at("Namespace"));
        assert!(at("Namespace") < at("ServiceAccount") && at("ServiceAccount") < at("Deployment"));
        assert!(at("ClusterRole") < at("ClusterRoleBinding") && at("Role") < at("RoleBinding"));
        assert_eq!(
            kinds.last().unwrap(),
            "ConfigMap",
            "the inventory tells what is there"
        );
    }

    #[test]
    fn names_come_back_as_they_were_written() {
        for line in ["v1 Namespace machinectl-system", "apps/v1 Deployment a/b"] {
            assert_eq!(ObjectName::parse(line).unwrap().line(), line);
        }
        assert_eq!(ObjectName::parse("v1 Namespace"), None);
        assert_eq!(
            ObjectName::parse("apps/v1 Deployment a/b").unwrap().to_string(),
            "deployment.apps/b"
        );
    }
}
