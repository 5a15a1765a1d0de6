//! The serial way: as `clusterctl move` goes about it, one request after the other. For each object two clients are made that know nothing yet and ask
//! what the server serves (two requests each), then the object is read, created and given the owners of its fields; later one more such client reads,
//! marks and deletes it, and takes its finalizers off. (Servers that do not answer for all groups at once are asked once a group and version
//! by clusterctl; that is left out here, to its advantage.)

use std::{collections::HashMap, time::Instant};

use kube::Client;
use serde_json::{Value, json};

use super::fill::{INFRA, MACHINE, place, send};

const JSON: &str = "application/json";

/// What each new client asks first.
async fn discover(client: &Client) {
    for path in ["/api", "/apis"] {
        send(client, "GET", path, JSON, &Value::Null).await;
    }
}

/// Moves so many objects of a namespace, about; returns how many, and the seconds that took.
pub(crate) async fn moves(from: &Client, to: &Client, namespace: &str, objects: usize) -> (usize, f64) {
    let list = place(MACHINE, "Machine", namespace);
    let list = send(
        from,
        "GET",
        &format!("{list}?limit={}", objects / 3),
        JSON,
        &Value::Null,
    )
    .await;
    let names: Vec<String> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    let mut all: Vec<(&str, &str, String)> = Vec::new();
    all.extend(names.iter().map(|n| (MACHINE, "Machine", n.clone())));
    for name in names {
        all.push(("v1", "Secret", format!("{name}-bootstrap")));
        all.push((INFRA, "DockerMachine", name));
    }
    let begun = Instant::now();
    let mut uids = HashMap::new();
    let mut known = false;
    for (version, kind, name) in &all {
        create(
            from,
            to,
            &place(version, kind, namespace),
            name,
            &mut uids,
            (&mut known, namespace),
        )
        .await;
    }
    for (version, kind, name) in all.iter().rev() {
        delete(from, &format!("{}/{name}", place(version, kind, namespace))).await;
    }
    (all.len(), begun.elapsed().as_secs_f64())
}

/// Copies one object.
async fn create(
    from: &Client,
    to: &Client,
    path: &str,
    name: &str,
    uids: &mut HashMap<String, String>,
    (known, namespace): (&mut bool, &str),
) {
    discover(from).await;
    let mut object = send(from, "GET", &format!("{path}/{name}"), JSON, &Value::Null).await;
    discover(to).await;
    if !std::mem::replace(known, true) {
        let namespaces = send(to, "GET", "/api/v1/namespaces", JSON, &Value::Null).await;
        let there = namespaces["items"].as_array().unwrap();
        if !there.iter().any(|n| n["metadata"]["name"] == namespace) {
            let object =
                json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
            send(to, "POST", "/api/v1/namespaces", JSON, &object).await;
        }
    }
    let metadata = object["metadata"].as_object_mut().unwrap();
    metadata.remove("resourceVersion");
    let managed = metadata.remove("managedFields");
    let uid = metadata.remove("uid").unwrap();
    for owner in metadata
        .get_mut("ownerReferences")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        owner["uid"] = json!(uids[owner["uid"].as_str().unwrap()]);
    }
    let made = send(to, "POST", path, JSON, &object).await;
    let new = made["metadata"]["uid"].as_str().unwrap().to_owned();
    uids.insert(uid.as_str().unwrap().to_owned(), new);
    let owners = json!({ "metadata": { "managedFields": managed } });
    send(
        to,
        "PATCH",
        &format!("{path}/{name}"),
        "application/merge-patch+json",
        &owners,
    )
    .await;
}

/// Takes one object out of the source.
async fn delete(from: &Client, path: &str) {
    discover(from).await;
    let object = send(from, "GET", path, JSON, &Value::Null).await;
    let mark = json!([{ "op": "add", "path": "/metadata/annotations", "value": { "clusterctl.cluster.x-k8s.io/delete-for-move": "" } }]);
    send(from, "PATCH", path, "application/json-patch+json", &mark).await;
    send(from, "DELETE", path, JSON, &Value::Null).await;
    if object["metadata"]["finalizers"].is_array() {
        let off = json!({ "metadata": { "finalizers": [] } });
        send(from, "PATCH", path, "application/merge-patch+json", &off).await;
    }
}
