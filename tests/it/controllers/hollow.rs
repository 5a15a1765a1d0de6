//! Hollow machines from creation to their end.

use std::time::Instant;

use k8s_openapi::api::core::v1::{Event, Node, Secret};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
};
use machinectl::api::v1alpha1::{Cluster, HollowMachine, Machine};
use serde_json::json;

use super::{Place, holds, machine_spec, names, phase, until, until_gone};

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_becomes_a_node_and_goes_with_it() {
    let place = Place::new().await;
    let running = place.run();
    place
        .create::<HollowMachine>(
            "m-1",
            &[],
            json!({ "kubernetesVersion": "v1.33.1", "startupDelay": "50ms" }),
        )
        .await;
    let mut spec = machine_spec("HollowMachine", "m-1");
    spec["taints"] = json!([{ "key": "dedicated", "value": "gpu", "effect": "NoSchedule" }]);
    place.create::<Machine>("m-1", &[], spec).await;

    let machines = place.api::<Machine>();
    let machine = until(&machines, "m-1", "Running", |m: &Machine| holds(m, "Ready")).await;
    let status = machine.status.clone().unwrap();
    assert_eq!(phase(&machine), "Running");
    assert_eq!(status.version.as_deref(), Some("1.33.1"));
    assert!(status.infrastructure_ready && status.bootstrap_ready);
    assert_eq!(machine.spec.provider_id.as_deref(), Some("hollow://fleet/m-1"));
    let node_ref = status.node_ref.unwrap();
    assert_eq!(
        (node_ref.kind.as_deref(), node_ref.name.as_deref()),
        (Some("Node"), Some("m-1"))
    );
    assert_eq!(machine.finalizers(), ["machine.crit.sh"]);
    assert_eq!(status.addresses.len(), 2);

    let nodes = place.all::<Node>();
    let node = until(&nodes, "m-1", "its taint", |n: &Node| {
        let taints = n.spec.as_ref().and_then(|s| s.taints.as_ref());
        taints.is_some_and(|t| t.iter().any(|t| t.key == "dedicated"))
    })
    .await;
    assert!(node.annotations()["machine.crit.sh/machine"].contains("\"name\":\"m-1\""));
    let infra = place.api::<HollowMachine>().get("m-1").await.unwrap();
    assert_eq!(infra.owner_references()[0].kind, "Machine");
    assert_eq!(infra.finalizers(), ["hollowmachine.infrastructure.crit.sh"]);

    // Events are written in the background.
    let events = place.api::<Event>();
    let told = async {
        let reason = Some("SuccessfulSetNodeRef".to_owned());
        while events
            .list(&ListParams::default())
            .await
            .unwrap()
            .iter()
            .all(|e| e.reason != reason)
        {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(120), told).await;
    waited.expect("the event SuccessfulSetNodeRef");

    machines.delete("m-1", &DeleteParams::default()).await.unwrap();
    until_gone(&machines, "m-1").await;
    assert!(nodes.get_opt("m-1").await.unwrap().is_none());
    assert!(
        place
            .api::<HollowMachine>()
            .get_opt("m-1")
            .await
            .unwrap()
            .is_none()
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_machines_of_a_cluster_come_and_go() {
    let place = Place::new().await;
    let ctx = place.context();
    let metrics = std::sync::Arc::clone(&ctx.metrics);
    let running = super::Running::start(ctx);
    let begun = Instant::now();
    place
        .create::<Cluster>("demo", &[], json!({ "apiServer": "Management" }))
        .await;
    for number in 1..=100 {
        let name = format!("demo-worker-{number}");
        place.create::<HollowMachine>(&name, &[], json!({})).await;
        let mut spec = machine_spec("HollowMachine", &name);
        spec["clusterName"] = json!("demo");
        place.create::<Machine>(&name, &[], spec).await;
    }
    println!("created after {:?}", begun.elapsed());
    let machines = place.api::<Machine>();
    for number in 1..=100 {
        let name = format!("demo-worker-{number}");
        until(&machines, &name, "Running", |m: &Machine| holds(m, "Ready")).await;
    }
    let list = machines.list(&ListParams::default()).await.unwrap();
    println!(
        "100 hollow machines in {:?}, version {:?} {:#?}",
        begun.elapsed(),
        list.metadata.resource_version,
        metrics.snapshot()
    );
    let nodes = place.all::<Node>();
    assert_eq!(nodes.list(&ListParams::default()).await.unwrap().items.len(), 100);
    let clusters = place.api::<Cluster>();
    let cluster = until(&clusters, "demo", "Provisioned", |c: &Cluster| {
        c.status
            .as_ref()
            .is_some_and(|s| s.phase.as_deref() == Some("Provisioned"))
    })
    .await;
    assert!(cluster.status.unwrap().control_plane_ready);
    let secrets = place.api::<Secret>().list(&ListParams::default()).await.unwrap();
    assert!(secrets.items.is_empty(), "{:?}", names(&secrets.items));

    clusters.delete("demo", &DeleteParams::default()).await.unwrap();
    until_gone(&clusters, "demo").await;
    assert!(
        machines
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    assert!(nodes.list(&ListParams::default()).await.unwrap().items.is_empty());
    println!("and gone after {:?}", begun.elapsed());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_of_the_same_name_elsewhere_leaves_the_node_alone() {
    let place = Place::new().await;
    let running = place.run();
    place.create::<HollowMachine>("m-1", &[], json!({})).await;
    place
        .create::<Machine>("m-1", &[], machine_spec("HollowMachine", "m-1"))
        .await;
    let machines = place.api::<Machine>();
    until(&machines, "m-1", "Running", |m: &Machine| holds(m, "Ready")).await;
    let nodes = place.all::<Node>();
    let uid = nodes.get("m-1").await.unwrap().uid();

    let object = |kind: &str, api: &str, spec: serde_json::Value| {
        json!({ "apiVersion": format!("{api}/v1alpha1"), "kind": kind,
            "metadata": { "name": "m-1", "namespace": "default" }, "spec": spec })
    };
    let infra = object("HollowMachine", "infrastructure.crit.sh", json!({}));
    let others: Api<HollowMachine> = Api::namespaced(place.client.clone(), "default");
    let infra = serde_json::from_value(infra).unwrap();
    others.create(&PostParams::default(), &infra).await.unwrap();
    let machine = object("Machine", "machine.crit.sh", machine_spec("HollowMachine", "m-1"));
    let other_machines: Api<Machine> = Api::namespaced(place.client.clone(), "default");
    let machine = serde_json::from_value(machine).unwrap();
    other_machines
        .create(&PostParams::default(), &machine)
        .await
        .unwrap();

    let failed = until(&other_machines, "m-1", "Failed", |m: &Machine| {
        phase(m) == "Failed"
    })
    .await;
    let why = failed.status.unwrap().failure_message.unwrap();
    assert!(why.contains("belongs to something else"), "{why}");
    other_machines
        .delete("m-1", &DeleteParams::default())
        .await
        .unwrap();
    until_gone(&other_machines, "m-1").await;
    assert_eq!(nodes.get("m-1").await.unwrap().uid(), uid);
    running.stop().await;
}
