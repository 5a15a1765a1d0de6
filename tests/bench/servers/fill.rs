//! What the servers are filled with: a custom kind, namespaces, and a fleet of machines.

use std::io::{Read as _, Write as _};

use futures::{StreamExt as _, stream};
use kube::Client;
use machinectl::install::{Provider, Request, Scope, everything};
use serde_json::{Value, json};

use super::{Server, send, send_json};

/// Where objects of the custom kind are.
pub(crate) const GADGETS: &str = "/apis/bench.example.com/v1/namespaces";
/// Machines of the fleet.
const MACHINES: usize = 10_000;
/// Clients that fill a server at once.
const CLIENTS: usize = 32;
/// Watches that are held open on a full server.
const WATCHES: usize = 10;

/// Makes the custom kind, and waits until it is served.
pub(crate) async fn definition(client: &Client) {
    let text = json!({ "type": "string" });
    let schema = json!({ "type": "object", "properties": { "spec": { "type": "object", "properties": {
        "at": text, "text": text, "parts": { "type": "array", "items": { "type": "object", "properties": {
            "name": text, "size": { "type": "integer", "minimum": 0 }, "open": { "type": "boolean" } } } },
    } } } });
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "gadgets.bench.example.com" },
        "spec": {
            "group": "bench.example.com", "scope": "Namespaced",
            "names": { "kind": "Gadget", "listKind": "GadgetList", "plural": "gadgets", "singular": "gadget" },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": schema } }],
        },
    });
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    send_json(client, "POST", path, &definition).await;
    namespace(client, "ready").await;
    let ready = http::Request::get(format!("{GADGETS}/ready/gadgets"));
    while client.request_text(ready_request(&ready)).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

fn ready_request(like: &http::request::Builder) -> http::Request<Vec<u8>> {
    http::Request::get(like.uri_ref().unwrap())
        .body(Vec::new())
        .unwrap()
}

pub(crate) async fn namespace(client: &Client, name: &str) {
    let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    send_json(client, "POST", "/api/v1/namespaces", &object).await;
}

/// An object of the custom kind with about so many bytes in all.
pub(crate) fn gadget(name: &str, bytes: usize) -> Value {
    let parts: Vec<Value> = (0..8)
        .map(|n| json!({ "name": format!("part-{n}"), "size": n * 1000, "open": n % 2 == 0 }))
        .collect();
    let mut object = json!({
        "apiVersion": "bench.example.com/v1", "kind": "Gadget",
        "metadata": { "name": name, "labels": { "bench": "servers" } }, "spec": { "parts": parts },
    });
    let filler = bytes.saturating_sub(object.to_string().len());
    object["spec"]["text"] = json!("x".repeat(filler));
    object
}

/// Fills a server with machines, their infrastructure and their Nodes; then holds watches open until the input ends.
pub(crate) async fn fleet(server: &Server) {
    let client = server.client().await;
    let request = Request::new(Scope::Definitions, vec![Provider::Hollow], "");
    for definition in everything(&request, false).unwrap() {
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let name = definition["metadata"]["name"].as_str().unwrap();
        let there = http::Request::get(format!("{path}/{name}"));
        // The embedded server brings its own along.
        if client.request_text(ready_request(&there)).await.is_err() {
            send_json(&client, "POST", path, &definition).await;
        }
    }
    namespace(&client, "fleet").await;
    let machines = "/apis/machine.crit.sh/v1alpha1/namespaces/fleet/machines";
    let hollow = "/apis/infrastructure.crit.sh/v1alpha1/namespaces/fleet/hollowmachines";
    let nodes = "/api/v1/nodes";
    for path in [machines, hollow] {
        let path = http::Request::get(path);
        while client.request_text(ready_request(&path)).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
    stream::iter(0..MACHINES)
        .for_each_concurrent(CLIENTS, |number| {
            let client = &client;
            async move {
                let name = format!("m-{number:05}");
                let made = send_json(client, "POST", machines, &machine(&name)).await;
                send_json(client, "POST", hollow, &hollow_machine(&name, &made)).await;
                send_json(client, "POST", nodes, &node(&name)).await;
                let mut running = made;
                running["status"] = status(&name);
                send_json(client, "PUT", &format!("{machines}/{name}/status"), &running).await;
            }
        })
        .await;
    let mut held = Vec::new();
    for number in 0..WATCHES {
        let client = server.client().await;
        let path = [machines, hollow, nodes][number % 3];
        send(&client, "GET", path, Vec::new()).await;
        let watch = http::Request::get(format!("{path}?watch=1"))
            .body(kube::client::Body::empty())
            .unwrap();
        let mut body = client.send(watch).await.unwrap().into_body();
        held.push(tokio::spawn(async move {
            use http_body_util::BodyExt as _;
            while let Some(Ok(_)) = body.frame().await {}
        }));
    }
    println!("full");
    std::io::stdout().flush().unwrap();
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()))
        .await
        .unwrap()
        .unwrap();
    for watch in held {
        watch.abort();
    }
}

fn machine(name: &str) -> Value {
    json!({
        "apiVersion": "machine.crit.sh/v1alpha1", "kind": "Machine",
        "metadata": { "name": name, "finalizers": ["machine.crit.sh"], "labels": { "pool": "a", "machine.crit.sh/set-name": "a" } },
        "spec": { "providerID": format!("hollow://fleet/{name}"), "infrastructureRef": {
            "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": "HollowMachine", "name": name } },
    })
}

fn hollow_machine(name: &str, owner: &Value) -> Value {
    json!({
        "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": "HollowMachine",
        "metadata": { "name": name, "labels": { "pool": "a" }, "ownerReferences": [{
            "apiVersion": "machine.crit.sh/v1alpha1", "kind": "Machine", "name": name,
            "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true }] },
        "spec": { "kubernetesVersion": "v1.33.1", "providerID": format!("hollow://fleet/{name}") },
    })
}

fn condition(type_: &str) -> Value {
    json!({ "type": type_, "status": "True", "reason": "Good", "message": "all is well", "lastTransitionTime": "2026-01-01T00:00:00Z" })
}

fn status(name: &str) -> Value {
    let conditions: Vec<Value> = ["Ready", "InfrastructureReady", "NodeHealthy", "Drainable"]
        .map(condition)
        .to_vec();
    json!({
        "phase": "Running", "infrastructureReady": true, "nodeRef": { "kind": "Node", "name": name },
        "addresses": [{ "type": "InternalIP", "address": "10.0.0.1" }], "conditions": conditions,
    })
}

fn node(name: &str) -> Value {
    let conditions: Vec<Value> = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"]
        .map(condition)
        .to_vec();
    let quantities = json!({ "cpu": "4", "memory": "16Gi", "pods": "110", "ephemeral-storage": "100Gi" });
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64" } },
        "spec": { "providerID": format!("hollow://fleet/{name}") },
        "status": { "capacity": quantities, "allocatable": quantities, "conditions": conditions,
            "addresses": [{ "type": "InternalIP", "address": "10.0.0.1" }, { "type": "Hostname", "address": name }] },
    })
}
