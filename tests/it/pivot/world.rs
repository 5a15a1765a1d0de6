//! What is moved: a Cluster with 3 control-plane machines and 20 workers in two sets, a deployment, a health check, Configs, Secrets and
//! objects of other software, with owners, finalizers, statuses and a pause that a user has set. And what is compared in the end.

use std::{collections::BTreeMap, sync::Arc};

use http::Request;
use kube::Client;
use machinectl::{apiserver::Server, install, time::SystemClock};
use serde_json::{Value, json};

/// The namespace of everything.
pub(super) const NAMESPACE: &str = "fleet";
const MACHINE: &str = "machine.crit.sh/v1alpha1";
const INFRA: &str = "infrastructure.crit.sh/v1alpha1";
const GADGET: &str = "example.com/v1";

/// Numbers of which a careless reader gets the last digit wrong.
pub(super) const RATIOS: [f64; 3] = [0.1 + 0.2, 90.422_252_909_423_83, 42.215_889_504_792_884];

/// How many machines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) control_plane: usize,
    pub(super) workers: usize,
}

/// An API server with all kinds, and nothing else.
pub(super) async fn empty() -> Server {
    let server = Server::in_memory(Arc::new(SystemClock));
    prepare(&server.client()).await;
    server
}

/// Installs the kinds, those of other software, too.
pub(super) async fn prepare(client: &Client) {
    install::definitions(client, false).await.unwrap();
    define(client, "Gadget", &json!({ "clusterctl.cluster.x-k8s.io": "" })).await;
}

/// Installs a kind of other software, and waits until it is served.
pub(super) async fn define(client: &Client, kind: &str, labels: &Value) {
    let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    let singular = kind.to_lowercase();
    let plural = format!("{singular}s");
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.example.com"), "labels": labels },
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": { "kind": kind, "plural": plural, "singular": singular, "listKind": format!("{kind}List") },
            "versions": [{ "name": "v1", "served": true, "storage": true, "subresources": { "status": {} },
                "schema": { "openAPIV3Schema": schema } }],
        },
    });
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    send(client, "POST", path, &crd).await;
    let list = format!("/apis/example.com/v1/{plural}");
    let done = async {
        while get(client, &list).await.is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(120), done)
        .await
        .expect("the kind is served");
}

/// An API server with everything.
pub(super) async fn full(size: Size) -> Server {
    let server = empty().await;
    fill(&server.client(), size).await;
    server
}

pub(super) async fn send(client: &Client, method: &str, path: &str, body: &Value) -> Value {
    let content = if method == "PATCH" {
        "application/merge-patch+json"
    } else {
        "application/json"
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("Content-Type", content)
        .body(body.to_string().into_bytes())
        .unwrap();
    client
        .request(request)
        .await
        .unwrap_or_else(|e| panic!("{method} {path}: {e}\n{body}"))
}

pub(super) async fn get(client: &Client, path: &str) -> Option<Value> {
    let request = Request::get(path).body(Vec::new()).unwrap();
    client.request(request).await.ok()
}

/// Makes an object, then its status, as controllers do: under their own names.
async fn make(client: &Client, object: Value, status: Option<Value>) -> Value {
    let version = object["apiVersion"].as_str().unwrap();
    let plural = format!("{}s", object["kind"].as_str().unwrap().to_lowercase());
    let root = if version.contains('/') { "apis" } else { "api" };
    let path = format!("/{root}/{version}/namespaces/{NAMESPACE}/{plural}");
    let mut made = send(client, "POST", &format!("{path}?fieldManager=maker"), &object).await;
    if let Some(status) = status {
        made["status"] = status;
        let path = format!(
            "{path}/{}/status?fieldManager=keeper",
            made["metadata"]["name"].as_str().unwrap()
        );
        made = send(client, "PUT", &path, &made).await;
    }
    made
}

fn owned(owner: &Value) -> Value {
    json!([{
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
    }])
}

async fn secret(client: &Client, name: &str, owner: &Value) {
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "machine.crit.sh/secret",
        "metadata": { "name": name, "namespace": NAMESPACE, "ownerReferences": owned(owner) },
        "data": { "value": "c2VjcmV0" },
    });
    make(client, object, None).await;
}

/// Fills a server.
pub(super) async fn fill(client: &Client, size: Size) {
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    send(client, "POST", "/api/v1/namespaces", &namespace).await;
    let of_cluster = json!({ "machine.crit.sh/cluster-name": "prod" });
    let cluster = json!({
        "apiVersion": MACHINE, "kind": "Cluster",
        "metadata": { "name": "prod", "namespace": NAMESPACE, "finalizers": ["cluster.machine.crit.sh"], "annotations": { "note": "yes" } },
        "spec": { "controlPlaneEndpoint": { "host": "10.0.0.1", "port": 6443 } },
    });
    let status = json!({ "phase": "Provisioned", "infrastructureReady": true, "controlPlaneReady": true });
    let cluster = make(client, cluster, Some(status)).await;
    for part in ["ca", "etcd", "proxy", "sa", "kubeconfig"] {
        secret(client, &format!("prod-{part}"), &cluster).await;
    }
    let gadget = |name: &str, annotations: Value| {
        json!({
            "apiVersion": GADGET, "kind": "Gadget",
            "metadata": { "name": name, "namespace": NAMESPACE, "ownerReferences": owned(&cluster), "finalizers": ["example.com/gadget"], "annotations": annotations },
            "spec": { "colour": "red", "sizes": [1, 2, 3], "ratios": RATIOS },
        })
    };
    make(client, gadget("first", json!({})), Some(json!({ "ready": true }))).await;
    make(
        client,
        gadget("paused", json!({ "cluster.x-k8s.io/paused": "by hand" })),
        None,
    )
    .await;
    for name in ["control-plane", "workers"] {
        let config = json!({
            "apiVersion": MACHINE, "kind": "Config", "metadata": { "name": name, "namespace": NAMESPACE, "labels": of_cluster },
            "spec": { "config": "apiVersion: crit.sh/v1alpha2\nkind: WorkerConfiguration\n" },
        });
        make(client, config, None).await;
    }
    let template = json!({
        "apiVersion": INFRA, "kind": "DockerMachineTemplate", "metadata": { "name": "workers", "namespace": NAMESPACE, "labels": of_cluster },
        "spec": { "template": { "spec": { "clusterName": "prod", "containerName": "any", "image": "x" } } },
    });
    make(client, template, None).await;
    for number in 0..size.control_plane {
        machine(client, &format!("prod-{number}"), "control-plane", None).await;
    }
    let deployment = group("MachineDeployment", "rolled", "a", size.workers / 2, None);
    let deployment = make(client, deployment, Some(json!({ "replicas": size.workers / 2 }))).await;
    let first = group("MachineSet", "rolled-1", "a", size.workers / 2, Some(&deployment));
    let first = make(client, first, Some(json!({ "replicas": size.workers / 2 }))).await;
    let second = group("MachineSet", "plain", "b", size.workers - size.workers / 2, None);
    let second = make(
        client,
        second,
        Some(json!({ "replicas": size.workers - size.workers / 2 })),
    )
    .await;
    for number in 0..size.workers {
        let (owner, pool) = if number < size.workers / 2 {
            (&first, "a")
        } else {
            (&second, "b")
        };
        machine(
            client,
            &format!("worker-{number}"),
            "workers",
            Some((owner, pool)),
        )
        .await;
    }
    let check = json!({
        "apiVersion": MACHINE, "kind": "MachineHealthCheck", "metadata": { "name": "workers", "namespace": NAMESPACE },
        "spec": { "clusterName": "prod", "selector": { "matchLabels": { "pool": "a" } },
            "unhealthyConditions": [{ "type": "Ready", "status": "Unknown", "timeout": "5m" }] },
    });
    make(
        client,
        check,
        Some(json!({ "expectedMachines": size.workers / 2, "remediations": [{
            "uid": first["metadata"]["uid"], "owner": "MachineSet/rolled-1", "failures": 2,
            "since": "2026-01-01T00:00:00Z", "last": "2026-01-01T00:10:00Z",
        }] })),
    )
    .await;
}

fn group(kind: &str, name: &str, pool: &str, replicas: usize, owner: Option<&Value>) -> Value {
    let mut object = json!({
        "apiVersion": MACHINE, "kind": kind, "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": {
            "clusterName": "prod", "replicas": replicas, "selector": { "matchLabels": { "pool": pool } },
            "template": { "metadata": { "labels": { "pool": pool } }, "spec": {
                "clusterName": "prod", "configRef": { "name": "workers" },
                "infrastructureRef": { "apiVersion": INFRA, "kind": "DockerMachineTemplate", "name": "workers" },
            } },
        },
    });
    if let Some(owner) = owner {
        object["metadata"]["ownerReferences"] = owned(owner);
    }
    object
}

async fn machine(client: &Client, name: &str, config: &str, group: Option<(&Value, &str)>) {
    let mut object = json!({
        "apiVersion": MACHINE, "kind": "Machine",
        "metadata": { "name": name, "namespace": NAMESPACE, "finalizers": ["machine.crit.sh"], "labels": { "machine.crit.sh/cluster-name": "prod" } },
        "spec": {
            "clusterName": "prod", "configRef": { "name": config }, "providerID": format!("docker://{name}"),
            "infrastructureRef": { "apiVersion": INFRA, "kind": "DockerMachine", "name": name },
        },
    });
    if let Some((owner, pool)) = group {
        object["metadata"]["ownerReferences"] = owned(owner);
        object["metadata"]["labels"]["pool"] = json!(pool);
    }
    let status = json!({
        "phase": "Running", "nodeRef": { "kind": "Node", "name": name }, "bootstrapReady": true, "infrastructureReady": true,
        "conditions": [{ "type": "Ready", "status": "True", "reason": "Running", "message": "up", "lastTransitionTime": "2026-01-01T00:00:00Z" }],
    });
    let made = make(client, object, Some(status)).await;
    let infrastructure = json!({
        "apiVersion": INFRA, "kind": "DockerMachine",
        "metadata": { "name": name, "namespace": NAMESPACE, "finalizers": ["dockermachine.infrastructure.crit.sh"], "ownerReferences": owned(&made) },
        "spec": { "clusterName": "prod", "containerName": name, "image": "x", "providerID": format!("docker://{name}") },
    });
    make(client, infrastructure, Some(json!({ "ready": true }))).await;
    secret(client, &format!("{name}-bootstrap"), &made).await;
}

/// The resources that are compared: everything that could hold something of a move.
const RESOURCES: [&str; 13] = [
    "/apis/machine.crit.sh/v1alpha1/clusters",
    "/apis/machine.crit.sh/v1alpha1/machines",
    "/apis/machine.crit.sh/v1alpha1/machinesets",
    "/apis/machine.crit.sh/v1alpha1/machinedeployments",
    "/apis/machine.crit.sh/v1alpha1/machinehealthchecks",
    "/apis/machine.crit.sh/v1alpha1/configs",
    "/apis/infrastructure.crit.sh/v1alpha1/dockermachines",
    "/apis/infrastructure.crit.sh/v1alpha1/dockermachinetemplates",
    "/apis/example.com/v1/gadgets",
    "/api/v1/secrets",
    "/api/v1/configmaps",
    "/api/v1/namespaces",
    "/apis/coordination.k8s.io/v1/leases",
];

/// Everything that a server holds, by resource, namespace and name, without what differs from run to run: UIDs are names of their objects,
/// times and versions are left out. With `owners` also who owns which field.
pub(super) async fn state(client: &Client) -> BTreeMap<String, Value> {
    let mut all = Vec::new();
    for path in RESOURCES {
        let list = get(client, path)
            .await
            .unwrap_or_else(|| panic!("can't list {path}"));
        for item in list["items"].as_array().unwrap() {
            let name = item["metadata"]["name"].as_str().unwrap().to_owned();
            if name == "kube-root-ca.crt" {
                // Each server puts its own certificate into each namespace.
                continue;
            }
            let namespace = item["metadata"]["namespace"].as_str().unwrap_or_default();
            all.push((format!("{path} {namespace}/{name}"), item.clone()));
        }
    }
    let uids: BTreeMap<String, String> = all
        .iter()
        .map(|(key, item)| (item["metadata"]["uid"].as_str().unwrap().to_owned(), key.clone()))
        .collect();
    all.into_iter()
        .filter(|(key, _)| !key.starts_with("/apis/coordination") || key.ends_with("machinectl-controller"))
        .map(|(key, item)| (key, still(item, &uids)))
        .collect()
}

/// An object without what differs from run to run.
pub(crate) fn still(mut item: Value, uids: &BTreeMap<String, String>) -> Value {
    let metadata = item["metadata"].as_object_mut().unwrap();
    for field in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "selfLink",
    ] {
        metadata.remove(field);
    }
    if let Some(entries) = metadata.get_mut("managedFields").and_then(Value::as_array_mut) {
        for entry in &mut *entries {
            entry.as_object_mut().unwrap().remove("time");
        }
        // They stand in the order of their times.
        entries.sort_by_key(ToString::to_string);
    }
    let mut text = item.to_string();
    for (uid, key) in uids {
        text = text.replace(uid, key);
    }
    serde_json::from_str(&text).unwrap()
}

/// What a server holds of the fleet: everything but the records of moves.
pub(super) fn of_fleet(state: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let fleet = state
        .iter()
        .filter(|(key, _)| key.contains(&format!(" {NAMESPACE}/")));
    fleet.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Says how two states differ; nothing if they don't.
pub(crate) fn difference(left: &BTreeMap<String, Value>, right: &BTreeMap<String, Value>) -> Option<String> {
    let keys: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    keys.into_iter()
        .find(|key| left.get(*key) != right.get(*key))
        .map(|key| format!("{key}:\n{}\n{}", told(left.get(key)), told(right.get(key))))
}

fn told(value: Option<&Value>) -> String {
    value.map_or_else(
        || "nothing".to_owned(),
        |v| serde_json::to_string_pretty(v).unwrap(),
    )
}

/// The state of a server that holds nothing.
pub(super) fn nothing() -> BTreeMap<String, Value> {
    BTreeMap::new()
}

/// After a move: makes the source as it was before anything was in it.
pub(super) async fn clear(client: &Client) {
    for namespace in [NAMESPACE, "machinectl-system"] {
        let path = format!("/api/v1/namespaces/{namespace}");
        send(client, "DELETE", &path, &json!({})).await;
        let gone = async {
            while get(client, &path).await.is_some() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(120), gone)
            .await
            .expect("namespaces go away");
    }
}

/// What has to hold once a move is over: the source is empty, no fence stands, nothing of the move is left but its record.
pub(super) fn is_over(
    source: &BTreeMap<String, Value>,
    target: &BTreeMap<String, Value>,
) -> Result<(), String> {
    let left: Vec<_> = of_fleet(source)
        .into_keys()
        .filter(|k| !k.contains("kube-root-ca"))
        .collect();
    if !left.is_empty() {
        return Err(format!("the source still holds {left:?}"));
    }
    for (side, state) in [("source", source), ("target", target)] {
        for (key, value) in state.iter().filter(|(key, _)| key.contains("machinectl-system/")) {
            let record = side == "source" && key.ends_with("configmaps machinectl-system/machinectl-move");
            let lease = key.ends_with("machinectl-controller");
            if lease
                && value["metadata"]["annotations"]
                    .get("machinectl.crit.sh/fenced-by")
                    .is_some()
            {
                return Err(format!("the {side} is still fenced"));
            }
            if !lease && !record && !key.contains("kube-root-ca") {
                return Err(format!("the {side} still holds {key}"));
            }
        }
    }
    Ok(())
}
