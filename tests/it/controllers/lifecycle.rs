//! What happens to machines when things go wrong, are missing, or belong to somebody else.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Node, Pod, Secret};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use machinectl::{
    api::v1alpha1::{
        Config, DockerInfrastructureProvider, DockerMachine, HollowMachine, InfrastructureProvider, Machine,
    },
    controllers::{Context, lease},
    providers::Actuator,
    time::SystemClock,
};
use serde_json::{Value, json};

use super::{
    NAMESPACE, Place, Running,
    fake::{Fake, Try},
    holds, machine_spec, phase, until, until_gone,
};

/// Controllers with a scripted actuator for `DockerMachine`.
pub(super) fn with_fake(place: &Place, fake: &Arc<Fake>) -> Running {
    let actuator: Arc<dyn Actuator> = Arc::clone(fake) as Arc<dyn Actuator>;
    let actuators = place.actuators([("DockerMachine", actuator)]);
    Running::start(Context::new(
        place.client.clone(),
        actuators,
        Arc::new(SystemClock),
    ))
}

pub(super) async fn docker_machine(place: &Place, name: &str) {
    let spec = json!({ "clusterName": "dev", "containerName": format!("{name}-box"), "image": "node:v1" });
    place.create::<DockerMachine>(name, &[], spec).await;
    place
        .create::<Machine>(name, &[], machine_spec("DockerMachine", name))
        .await;
}

pub(super) async fn node(place: &Place, name: &str, provider_id: Option<&str>) -> Node {
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } },
        "spec": { "providerID": provider_id },
        "status": {
            "nodeInfo": {
                "kubeletVersion": "v1.20.2", "architecture": "amd64", "bootID": "", "containerRuntimeVersion": "", "kernelVersion": "",
                "kubeProxyVersion": "", "machineID": "", "operatingSystem": "linux", "osImage": "", "systemUUID": ""
            },
            "conditions": [{ "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "" }]
        }
    });
    let node: Node = serde_json::from_value(node).unwrap();
    place
        .all::<Node>()
        .create(&PostParams::default(), &node)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_fails_is_tried_again_and_then_given_up() {
    let place = Place::new().await;
    let fake = Arc::new(Fake::with([
        Try::Error("the daemon restarts"),
        Try::Fails("one"),
        Try::Fails("two"),
        Try::Fails("no space left on device"),
    ]));
    let running = with_fake(&place, &fake);
    docker_machine(&place, "m-1").await;
    let machines = place.api::<Machine>();
    let machine = until(&machines, "m-1", "Failed", |m: &Machine| phase(m) == "Failed").await;
    let status = machine.status.unwrap();
    assert_eq!(status.failure_reason.as_deref(), Some("CreateError"));
    assert_eq!(
        status.failure_message.as_deref(),
        Some(
            "Failure detected from referenced resource infrastructure.crit.sh/v1alpha1, Kind=DockerMachine with name \"m-1\": no space left on device"
        )
    );
    assert_eq!(
        fake.calls(),
        ["create m-1 1", "create m-1 1", "create m-1 2", "create m-1 3"]
    );
    // A machine that failed goes like any other.
    machines.delete("m-1", &DeleteParams::default()).await.unwrap();
    until_gone(&machines, "m-1").await;
    assert_eq!(fake.calls().last().unwrap(), "delete m-1");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_refuses_fails_at_once() {
    let place = Place::new().await;
    let fake = Arc::new(Fake::with([Try::Refused("the name is taken")]));
    let running = with_fake(&place, &fake);
    docker_machine(&place, "m-1").await;
    let machines = place.api::<Machine>();
    let machine = until(&machines, "m-1", "Failed", |m: &Machine| phase(m) == "Failed").await;
    assert_eq!(
        machine.status.unwrap().failure_reason.as_deref(),
        Some("InvalidConfiguration")
    );
    assert_eq!(fake.calls(), ["create m-1 1"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_know_its_provider_id_is_told() {
    let place = Place::new().await;
    let fake = Arc::new(Fake::default());
    let running = with_fake(&place, &fake);
    node(&place, "m-1-box", None).await;
    docker_machine(&place, "m-1").await;
    let machines = place.api::<Machine>();
    let machine = until(&machines, "m-1", "its Node", |m: &Machine| {
        holds(m, "NodeHealthy")
    })
    .await;
    let status = machine.status.unwrap();
    assert_eq!(status.version.as_deref(), Some("1.20.2"));
    assert_eq!(status.addresses[0].address, "172.18.0.7");
    let nodes = place.all::<Node>();
    let node = until(&nodes, "m-1-box", "annotations", |n: &Node| {
        n.annotations()
            .contains_key("infrastructure.crit.sh/dockermachine")
    })
    .await;
    assert_eq!(
        node.spec.as_ref().unwrap().provider_id.as_deref(),
        Some("docker://m-1-box")
    );
    let says: Value =
        serde_json::from_str(&node.annotations()["infrastructure.crit.sh/dockermachine"]).unwrap();
    assert_eq!(
        says,
        json!({ "kind": "DockerMachine", "namespace": NAMESPACE, "name": "m-1", "apiVersion": "infrastructure.crit.sh/v1alpha1" })
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_goes_in_order() {
    let place = Place::new().await;
    let fake = Arc::new(Fake::default());
    *fake.slow_deletions.lock().unwrap() = 2;
    let running = with_fake(&place, &fake);
    node(&place, "m-1-box", Some("docker://m-1-box")).await;
    docker_machine(&place, "m-1").await;
    let machines = place.api::<Machine>();
    until(&machines, "m-1", "Running", |m: &Machine| phase(m) == "Running").await;
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": "web", "namespace": NAMESPACE },
        "spec": { "nodeName": "m-1-box", "containers": [{ "name": "c", "image": "i" }], "terminationGracePeriodSeconds": 0 }
    }))
    .unwrap();
    let pods: Api<Pod> = place.api();
    pods.create(&PostParams::default(), &pod).await.unwrap();

    machines.delete("m-1", &DeleteParams::default()).await.unwrap();
    until_gone(&pods, "web").await;
    let nodes = place.all::<Node>();
    until_gone(&machines, "m-1").await;
    assert!(nodes.get_opt("m-1-box").await.unwrap().is_none());
    assert!(
        place
            .api::<DockerMachine>()
            .get_opt("m-1")
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(fake.calls().iter().filter(|c| *c == "delete m-1").count(), 3);
    let events = place
        .api::<k8s_openapi::api::core::v1::Event>()
        .list(&ListParams::default())
        .await
        .unwrap();
    assert!(
        events
            .items
            .iter()
            .any(|e| e.reason.as_deref() == Some("SuccessfulDrainNode"))
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn infrastructure_that_vanishes_is_a_failure() {
    let place = Place::new().await;
    let running = place.run();
    place.create::<HollowMachine>("m-1", &[], json!({})).await;
    place
        .create::<Machine>("m-1", &[], machine_spec("HollowMachine", "m-1"))
        .await;
    let machines = place.api::<Machine>();
    until(&machines, "m-1", "Running", |m: &Machine| phase(m) == "Running").await;
    place
        .api::<HollowMachine>()
        .delete("m-1", &DeleteParams::default())
        .await
        .unwrap();
    let machine = until(&machines, "m-1", "Failed", |m: &Machine| phase(m) == "Failed").await;
    assert_eq!(
        machine.status.unwrap().failure_message.as_deref(),
        Some(
            "Machine infrastructure resource infrastructure.crit.sh/v1alpha1, Kind=HollowMachine with name \"m-1\" has been deleted after being ready"
        )
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_infrastructure_adopts_a_node() {
    let place = Place::new().await;
    let running = place.run();
    node(&place, "demo", Some("docker://demo")).await;
    place
        .create::<Machine>("demo", &[], json!({ "providerID": "docker://demo" }))
        .await;
    let machines = place.api::<Machine>();
    let machine = until(&machines, "demo", "Running", |m: &Machine| phase(m) == "Running").await;
    assert_eq!(
        machine.status.unwrap().node_ref.unwrap().name.as_deref(),
        Some("demo")
    );
    let nodes = place.all::<Node>();
    until(&nodes, "demo", "its annotation", |n: &Node| {
        n.annotations().contains_key("machine.crit.sh/machine")
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_machine_is_left_alone() {
    let place = Place::new().await;
    let running = place.run();
    place.create::<HollowMachine>("m-1", &[], json!({})).await;
    let machine: Machine = serde_json::from_value(json!({
        "apiVersion": "machine.crit.sh/v1alpha1", "kind": "Machine",
        "metadata": { "name": "m-1", "annotations": { "machine.crit.sh/paused": "" } },
        "spec": machine_spec("HollowMachine", "m-1")
    }))
    .unwrap();
    let machines = place.api::<Machine>();
    machines.create(&PostParams::default(), &machine).await.unwrap();
    // Another machine shows that the controllers work.
    place.create::<HollowMachine>("m-2", &[], json!({})).await;
    place
        .create::<Machine>("m-2", &[], machine_spec("HollowMachine", "m-2"))
        .await;
    until(&machines, "m-2", "Running", |m: &Machine| phase(m) == "Running").await;
    assert!(machines.get("m-1").await.unwrap().finalizers().is_empty());
    let patch = json!({ "metadata": { "annotations": { "machine.crit.sh/paused": null } } });
    machines
        .patch("m-1", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
    until(&machines, "m-1", "Running", |m: &Machine| phase(m) == "Running").await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_run_waits_for_the_other() {
    let place = Place::new().await;
    let first = place.run();
    place.create::<HollowMachine>("m-1", &[], json!({})).await;
    place
        .create::<Machine>("m-1", &[], machine_spec("HollowMachine", "m-1"))
        .await;
    let machines = place.api::<Machine>();
    until(&machines, "m-1", "Running", |m: &Machine| phase(m) == "Running").await;
    let holder = lease::holder(&place.client, machinectl::time::Timestamp::UNIX_EPOCH)
        .await
        .unwrap()
        .unwrap();
    let waiting = place.context();
    let identity = waiting.identity.clone();
    assert_ne!(holder, identity);
    let second = Running::start(waiting);
    tokio::time::sleep(Duration::from_millis(700)).await;
    let now = lease::holder(&place.client, machinectl::time::Timestamp::UNIX_EPOCH)
        .await
        .unwrap();
    assert_eq!(now.as_ref(), Some(&holder));
    first.stop().await;
    place.create::<HollowMachine>("m-2", &[], json!({})).await;
    place
        .create::<Machine>("m-2", &[], machine_spec("HollowMachine", "m-2"))
        .await;
    until(&machines, "m-2", "Running", |m: &Machine| phase(m) == "Running").await;
    let now = lease::holder(&place.client, machinectl::time::Timestamp::UNIX_EPOCH)
        .await
        .unwrap();
    assert_eq!(now, Some(identity));
    second.stop().await;
    let now = lease::holder(&place.client, machinectl::time::Timestamp::UNIX_EPOCH)
        .await
        .unwrap();
    assert_eq!(now, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn providers_tell_user_interfaces_what_they_offer() {
    let place = Place::new().await;
    let running = place.run();
    place
        .create::<DockerInfrastructureProvider>("local", &[], json!({ "defaultImage": "" }))
        .await;
    let provider: InfrastructureProvider = serde_json::from_value(json!({
        "apiVersion": "machine.crit.sh/v1alpha1", "kind": "InfrastructureProvider",
        "metadata": { "name": "local" },
        "spec": { "infrastructureRef": {
            "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": "DockerInfrastructureProvider", "name": "local", "namespace": NAMESPACE
        } }
    }))
    .unwrap();
    let providers = place.all::<InfrastructureProvider>();
    providers.create(&PostParams::default(), &provider).await.unwrap();
    until(&providers, "local", "ready", |p: &InfrastructureProvider| {
        p.status.as_ref().is_some_and(|s| s.ready)
    })
    .await;
    let secret = place.api::<Secret>().get("config-schema").await.unwrap();
    let schema: Value = serde_json::from_slice(&secret.data.unwrap()["schema"].0).unwrap();
    assert_eq!(schema["title"], "Docker Worker Config");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_can_not_be_read_says_so() {
    let place = Place::new().await;
    let running = place.run();
    place
        .create::<Config>("pool-a", &[], json!({ "config": "kind: Nonsense\n" }))
        .await;
    let configs = place.api::<Config>();
    let config = until(&configs, "pool-a", "a failure", |c: &Config| {
        c.status.as_ref().is_some_and(|s| s.failure_reason.is_some())
    })
    .await;
    let status = config.status.unwrap();
    assert!(!status.ready);
    assert_eq!(status.failure_reason.as_deref(), Some("InvalidConfiguration"));
    running.stop().await;
}
