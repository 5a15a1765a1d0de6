//! A plain load generator: what an API server can take of the writes of a machine's life, if nobody watches and nobody decides.

use std::time::{Duration, Instant};

use futures::future::join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use machinectl::api::v1alpha1::{HollowMachine, Machine};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::place::{NAMESPACE, client_of, namespace};

/// Clients at once.
const CLIENTS: usize = 32;
/// How long they write.
const TIME: Duration = Duration::from_secs(5);
/// Bytes of content in a `ConfigMap`: about what a Machine has.
const CONTENT: usize = 1500;
/// Label of all that is made here.
const LABEL: &str = "bench=load";

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writes {
    /// Objects of the kinds of a machine: Machine, `HollowMachine` and Node are made and changed as often as the controllers do it, with as
    /// many bytes.
    Machines,
    /// A built-in kind, which costs an API server least: it is made and then changed seven times.
    ConfigMaps,
}

/// Writes by 32 clients, each with a connection of its own, and returns how many writes a second the server took.
pub(crate) async fn writes_a_second(file: &str, what: Writes) -> f64 {
    let plain = client_of(file).await;
    namespace(&plain).await;
    let began = Instant::now();
    let done: Vec<u64> = join_all((0..CLIENTS).map(|number| one(file, what, number, began))).await;
    let took = began.elapsed().as_secs_f64();
    clear(plain).await;
    done.iter().sum::<u64>() as f64 / took
}

async fn clear(client: Client) {
    let (params, all) = (DeleteParams::default(), ListParams::default().labels(LABEL));
    let machines: Api<Machine> = Api::namespaced(client.clone(), NAMESPACE);
    machines.delete_collection(&params, &all).await.unwrap();
    let hollow: Api<HollowMachine> = Api::namespaced(client.clone(), NAMESPACE);
    hollow.delete_collection(&params, &all).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    maps.delete_collection(&params, &all).await.unwrap();
    Api::<Node>::all(client)
        .delete_collection(&params, &all)
        .await
        .unwrap();
}

/// One client: the life of one object or machine after the other, until time is up. Returns how many writes it made.
async fn one(file: &str, what: Writes, number: usize, began: Instant) -> u64 {
    let client = client_of(file).await;
    let mut writes = 0;
    for round in 0.. {
        let name = format!("load-{number}-{round}-{}", std::process::id());
        let life = match what {
            Writes::Machines => machine(&client, &name).await,
            Writes::ConfigMaps => config_map(&client, &name).await,
        };
        writes += life;
        if began.elapsed() > TIME {
            break;
        }
    }
    writes
}

fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

async fn machine(client: &Client, name: &str) -> u64 {
    let machines: Api<Machine> = Api::namespaced(client.clone(), NAMESPACE);
    let hollow: Api<HollowMachine> = Api::namespaced(client.clone(), NAMESPACE);
    let nodes: Api<Node> = Api::all(client.clone());
    let (create, patch) = (PostParams::default(), PatchParams::default());
    let labels = json!({ "bench": "load", "machine.crit.sh/set-name": "bench" });
    let id = format!("hollow://{NAMESPACE}/{name}");
    let made = machines
        .create(
            &create,
            &object(json!({
                "apiVersion": "machine.crit.sh/v1alpha1", "kind": "Machine",
                "metadata": { "name": name, "labels": labels, "annotations": { "filler": "x".repeat(250) } },
                "spec": { "infrastructureRef": {
                    "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": "HollowMachine", "name": name } },
            })),
        )
        .await
        .unwrap();
    hollow
        .create(
            &create,
            &object(json!({
                "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": "HollowMachine",
                "metadata": { "name": name, "labels": labels, "ownerReferences": [{
                    "apiVersion": "machine.crit.sh/v1alpha1", "kind": "Machine", "name": name,
                    "uid": made.metadata.uid, "controller": true, "blockOwnerDeletion": true }] },
                "spec": { "kubernetesVersion": "v1.33.1", "providerID": id },
            })),
        )
        .await
        .unwrap();
    let condition = |type_: &str| {
        json!({ "type": type_, "status": "True", "reason": "Ready", "message": "",
            "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z" })
    };
    nodes
        .create(
            &create,
            &object(json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": { "name": name, "labels": labels, "annotations": { "filler": "x".repeat(700) } },
                "spec": { "providerID": id },
                "status": { "conditions": [condition("Ready"), condition("MemoryPressure"), condition("DiskPressure")] },
            })),
        )
        .await
        .unwrap();
    let address = json!([{ "type": "InternalIP", "address": "10.0.0.1" }]);
    let condition = |type_: &str| {
        json!({ "type": type_, "status": "True", "reason": "Ready", "message": "up", "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z" })
    };
    let ready =
        json!({ "status": { "ready": true, "addresses": address, "conditions": [condition("Ready")] } });
    hollow
        .patch_status(name, &patch, &Patch::Merge(&ready))
        .await
        .unwrap();
    let known = json!({ "spec": { "providerID": id } });
    machines.patch(name, &patch, &Patch::Merge(&known)).await.unwrap();
    let types = [
        "Ready",
        "InfrastructureReady",
        "BootstrapReady",
        "NodeHealthy",
        "ReportsVersion",
    ];
    let conditions = types.map(condition);
    let running = json!({ "status": {
        "phase": "Running", "infrastructureReady": true, "addresses": address,
        "nodeRef": { "apiVersion": "v1", "kind": "Node", "name": name, "uid": made.metadata.uid },
        "conditions": conditions,
    } });
    machines
        .patch_status(name, &patch, &Patch::Merge(&running))
        .await
        .unwrap();
    6
}

async fn config_map(client: &Client, name: &str) -> u64 {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let new = object(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": name, "labels": { "bench": "load" } },
        "data": { "content": "x".repeat(CONTENT) },
    }));
    maps.create(&PostParams::default(), &new).await.unwrap();
    for change in 0..7 {
        let patch = json!({ "data": { "change": change.to_string() } });
        maps.patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .unwrap();
    }
    8
}
