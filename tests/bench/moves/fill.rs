//! Machines with all that belongs to one: its infrastructure object and its bootstrap Secret, with owners, finalizers and statuses.

use futures::{StreamExt as _, stream};
use http::Request;
use kube::Client;
use serde_json::{Value, json};

pub(crate) const MACHINE: &str = "machine.crit.sh/v1alpha1";
pub(crate) const INFRA: &str = "infrastructure.crit.sh/v1alpha1";

/// Sends a request and reads the answer.
pub(crate) async fn send(client: &Client, method: &str, path: &str, content: &str, body: &Value) -> Value {
    let bytes = if body.is_null() {
        Vec::new()
    } else {
        body.to_string().into_bytes()
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("Content-Type", content)
        .header("Accept", "application/json")
        .body(bytes)
        .unwrap();
    client
        .request(request)
        .await
        .unwrap_or_else(|e| panic!("{method} {path}: {e}"))
}

/// Where objects of a kind are.
pub(crate) fn place(api_version: &str, kind: &str, namespace: &str) -> String {
    let root = if api_version.contains('/') { "apis" } else { "api" };
    format!(
        "/{root}/{api_version}/namespaces/{namespace}/{}s",
        kind.to_lowercase()
    )
}

async fn make(client: &Client, object: Value, status: Option<Value>) -> Value {
    let text = |pointer: &str| object.pointer(pointer).unwrap().as_str().unwrap().to_owned();
    let path = place(&text("/apiVersion"), &text("/kind"), &text("/metadata/namespace"));
    let mut made = send(client, "POST", &path, "application/json", &object).await;
    if let Some(status) = status {
        made["status"] = status;
        let path = format!("{path}/{}/status?fieldManager=keeper", text("/metadata/name"));
        made = send(client, "PUT", &path, "application/json", &made).await;
    }
    made
}

fn owned(owner: &Value) -> Value {
    json!([{
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
    }])
}

/// Makes a namespace with a Cluster and so many machines.
pub(crate) async fn fill(client: &Client, namespace: &str, machines: usize) {
    let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
    send(client, "POST", "/api/v1/namespaces", "application/json", &object).await;
    let cluster = json!({
        "apiVersion": MACHINE, "kind": "Cluster",
        "metadata": { "name": namespace, "namespace": namespace, "finalizers": ["cluster.machine.crit.sh"] },
        "spec": { "controlPlaneEndpoint": { "host": "10.0.0.1", "port": 6443 } },
    });
    let status = json!({ "phase": "Provisioned", "infrastructureReady": true, "controlPlaneReady": true });
    make(client, cluster, Some(status)).await;
    stream::iter(0..machines)
        .for_each_concurrent(16, |number| machine(client, namespace, number))
        .await;
}

async fn machine(client: &Client, namespace: &str, number: usize) {
    let name = format!("{namespace}-{number}");
    let object = json!({
        "apiVersion": MACHINE, "kind": "Machine",
        "metadata": {
            "name": name, "namespace": namespace, "finalizers": ["machine.crit.sh"],
            "labels": { "machine.crit.sh/cluster-name": namespace, "pool": "a" },
        },
        "spec": {
            "clusterName": namespace, "providerID": format!("docker://{name}"),
            "infrastructureRef": { "apiVersion": INFRA, "kind": "DockerMachine", "name": name },
        },
    });
    let status = json!({
        "phase": "Running", "nodeRef": { "kind": "Node", "name": name }, "bootstrapReady": true, "infrastructureReady": true,
        "conditions": [{ "type": "Ready", "status": "True", "reason": "Running", "message": "it runs", "lastTransitionTime": "2026-01-01T00:00:00Z" }],
    });
    let made = make(client, object, Some(status)).await;
    let infrastructure = json!({
        "apiVersion": INFRA, "kind": "DockerMachine",
        "metadata": {
            "name": name, "namespace": namespace, "ownerReferences": owned(&made),
            "finalizers": ["dockermachine.infrastructure.crit.sh"],
        },
        "spec": { "clusterName": namespace, "containerName": name, "image": "x", "providerID": format!("docker://{name}") },
    });
    make(client, infrastructure, Some(json!({ "ready": true }))).await;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "machine.crit.sh/secret",
        "metadata": { "name": format!("{name}-bootstrap"), "namespace": namespace, "ownerReferences": owned(&made) },
        "data": { "value": "c2VjcmV0".repeat(256) },
    });
    make(client, secret, None).await;
}
