//! Hollow machines that go wrong as their spec asks.

use k8s_openapi::api::core::v1::{Event, Node};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use machinectl::api::v1alpha1::{HollowMachine, Machine};
use serde_json::{Value, json};

use super::{Place, holds, machine_spec, phase, until, until_gone};

impl Place {
    /// A Machine and its `HollowMachine` with this spec.
    async fn hollow(&self, name: &str, spec: Value) {
        self.create::<HollowMachine>(name, &[], spec).await;
        self.create::<Machine>(name, &[], machine_spec("HollowMachine", name))
            .await;
    }

    async fn change(&self, name: &str, spec: Value) {
        let patch = json!({ "spec": spec });
        self.api::<HollowMachine>()
            .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .unwrap();
    }
}

fn failure(machine: &Machine) -> Option<(String, String)> {
    let status = machine.status.clone()?;
    status.failure_reason.zip(status.failure_message)
}

fn ready(node: &Node) -> Option<String> {
    let list = node.status.as_ref()?.conditions.as_ref()?;
    list.iter().find(|c| c.type_ == "Ready").map(|c| c.status.clone())
}

async fn warnings(place: &Place, reason: &str) -> usize {
    let list = place.api::<Event>().list(&ListParams::default()).await.unwrap();
    list.iter()
        .filter(|e| e.reason.as_deref() == Some(reason))
        .map(|e| usize::try_from(e.series.as_ref().and_then(|s| s.count).unwrap_or(1)).unwrap())
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_that_contradict_each_other_are_refused() {
    let place = Place::new().await;
    let api: Api<HollowMachine> = place.api();
    for (faults, told) in [
        (json!({ "createFailureRate": 101 }), "createFailureRate"),
        (json!({ "createFailureRate": -1 }), "createFailureRate"),
        (json!({ "percentage": 101 }), "percentage"),
        (json!({ "vanishAfter": "5 minutes" }), "vanishAfter"),
        (
            json!({ "notReadyAfter": "1m", "notReadyStatus": "True" }),
            "notReadyStatus",
        ),
        (json!({ "notReadyStatus": "False" }), "notReadyStatus needs"),
        (json!({ "terminalError": { "reason": "two words" } }), "reason"),
        (
            json!({ "notReadyPeriodically": { "healthyFor": "1m" } }),
            "unhealthyFor",
        ),
        (
            json!({ "notReadyAfter": "1m", "notReadyPeriodically": { "healthyFor": "1m", "unhealthyFor": "1m" } }),
            "exclude each other",
        ),
        (
            json!({ "stuckDeleting": true, "deletionDelay": "1m" }),
            "exclude each other",
        ),
        (
            json!({ "terminalError": {}, "vanishAfter": "1m" }),
            "never exists",
        ),
        (
            json!({ "terminalError": {}, "createFailureRate": 5 }),
            "never exists",
        ),
    ] {
        let object: Value = json!({
            "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": "HollowMachine",
            "metadata": { "name": "m" }, "spec": { "faults": faults },
        });
        let raw: Api<kube::api::DynamicObject> = Api::namespaced_with(
            place.client.clone(),
            super::NAMESPACE,
            &kube::api::ApiResource::erase::<HollowMachine>(&()),
        );
        let object = serde_json::from_value(object).unwrap();
        match raw.create(&PostParams::default(), &object).await {
            Err(kube::Error::Api(status)) => {
                assert_eq!(status.code, 422, "{faults}");
                assert!(status.message.contains(told), "{faults}: {}", status.message);
            }
            other => panic!("{faults}: {other:?}"),
        }
    }
    for (name, faults) in [
        (
            "a",
            json!({ "stuckDeleting": false, "deletionDelay": "1m", "percentage": 0 }),
        ),
        ("b", json!({ "terminalError": {}, "stuckDeleting": true })),
        (
            "c",
            json!({ "vanishAfter": "1h30m", "notReadyAfter": "300ms", "notReadyStatus": "Unknown", "createFailureRate": 100 }),
        ),
    ] {
        place
            .create::<HollowMachine>(name, &[], json!({ "faults": faults }))
            .await;
    }
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_fails_now_and_then_succeeds_in_the_end() {
    let place = Place::new().await;
    let running = place.run();
    for n in 0..12 {
        let faults = json!({ "faults": { "createFailureRate": 20 }, "startupJitter": "200ms" });
        place.hollow(&format!("m-{n}"), faults).await;
    }
    place
        .hollow("never", json!({ "faults": { "createFailureRate": 100 } }))
        .await;
    let machines = place.api::<Machine>();
    for n in 0..12 {
        until(&machines, &format!("m-{n}"), "Running", |m: &Machine| {
            holds(m, "Ready")
        })
        .await;
    }
    let never = until(
        &place.api::<HollowMachine>(),
        "never",
        "its error",
        |m: &HollowMachine| {
            let list = m
                .status
                .as_ref()
                .map(|s| s.conditions.clone())
                .unwrap_or_default();
            list.iter()
                .any(|c| c.reason == "ProviderError" && c.message.contains("createFailureRate"))
        },
    )
    .await;
    assert!(never.status.unwrap().failure_reason.is_none());
    assert_eq!(failure(&machines.get("never").await.unwrap()), None);
    place.change("never", json!({ "faults": null })).await;
    until(&machines, "never", "Running", |m: &Machine| holds(m, "Ready")).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn m09_a_creation_that_fails_for_good_fails_the_machine_until_its_spec_changes() {
    let place = Place::new().await;
    let running = place.run();
    let error = json!({ "reason": "InsufficientResources", "message": "quota is used up" });
    place
        .hollow("m-1", json!({ "faults": { "terminalError": error } }))
        .await;
    let machines = place.api::<Machine>();
    let machine = until(&machines, "m-1", "Failed", |m: &Machine| phase(m) == "Failed").await;
    let (reason, message) = failure(&machine).unwrap();
    assert_eq!(reason, "InsufficientResources");
    assert!(message.contains("quota is used up"), "{message}");
    assert!(place.all::<Node>().get_opt("m-1").await.unwrap().is_none());
    place.change("m-1", json!({ "faults": null })).await;
    until(&machines, "m-1", "Running", |m: &Machine| holds(m, "Ready")).await;
    assert_eq!(warnings(&place, "FailedCreate").await, 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn m07_an_instance_that_vanishes_fails_the_machine_and_is_not_made_again() {
    let place = Place::new().await;
    let running = place.run();
    place
        .hollow("m-1", json!({ "faults": { "vanishAfter": "2s" } }))
        .await;
    let machines = place.api::<Machine>();
    until(&machines, "m-1", "a Node", |m: &Machine| {
        m.status.as_ref().is_some_and(|s| s.node_ref.is_some())
    })
    .await;
    let machine = until(&machines, "m-1", "Failed", |m: &Machine| phase(m) == "Failed").await;
    assert_eq!(failure(&machine).unwrap().0, "UpdateError");
    running.stop().await;

    // Who starts anew does not make it again either.
    let again = place.run();
    place.hollow("m-2", json!({})).await;
    until(&machines, "m-2", "Running", |m: &Machine| holds(m, "Ready")).await;
    assert_eq!(phase(&machines.get("m-1").await.unwrap()), "Failed");
    assert!(place.all::<Node>().get_opt("m-1").await.unwrap().is_none());
    assert_eq!(warnings(&place, "InstanceGone").await, 1);
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_somebody_deletes_is_made_again_before_it_is_to_vanish() {
    let place = Place::new().await;
    let running = place.run();
    place
        .hollow("m-1", json!({ "faults": { "vanishAfter": "1h" } }))
        .await;
    let machines = place.api::<Machine>();
    until(&machines, "m-1", "Running", |m: &Machine| holds(m, "Ready")).await;
    let nodes = place.all::<Node>();
    let uid = nodes.get("m-1").await.unwrap().metadata.uid;
    nodes.delete("m-1", &DeleteParams::default()).await.unwrap();
    until(&nodes, "m-1", "a new Node", |n: &Node| n.metadata.uid != uid).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_turns_unready_and_ready_whoever_looks_after_it() {
    let place = Place::new().await;
    let running = place.run();
    let turns = json!({ "healthyFor": "1500ms", "unhealthyFor": "1500ms" });
    place
        .hollow(
            "m-1",
            json!({ "faults": { "notReadyPeriodically": turns, "notReadyStatus": "False" } }),
        )
        .await;
    let machines = place.api::<Machine>();
    until(&machines, "m-1", "NodeHealthy", |m: &Machine| {
        holds(m, "NodeHealthy")
    })
    .await;
    let nodes = place.all::<Node>();
    let says = |wanted: &'static str| move |n: &Node| ready(n).as_deref() == Some(wanted);
    until(&nodes, "m-1", "unready", says("False")).await;
    until(&machines, "m-1", "unhealthy", |m: &Machine| {
        !holds(m, "NodeHealthy")
    })
    .await;
    running.stop().await;

    let again = place.run();
    until(&nodes, "m-1", "ready again", says("True")).await;
    until(&machines, "m-1", "healthy", |m: &Machine| holds(m, "NodeHealthy")).await;
    until(&nodes, "m-1", "unready again", says("False")).await;
    let machine = machines.get("m-1").await.unwrap();
    assert_eq!(phase(&machine), "Running");
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_takes_long_to_start_does_so_once_whoever_looks_after_it() {
    let place = Place::new().await;
    let running = place.run();
    place.hollow("m-1", json!({ "startupDelay": "2s" })).await;
    let infra = place.api::<HollowMachine>();
    let booting = until(&infra, "m-1", "Booting", |m: &HollowMachine| {
        let list = m
            .status
            .as_ref()
            .map(|s| s.conditions.clone())
            .unwrap_or_default();
        list.iter().any(|c| c.reason == "Booting")
    })
    .await;
    running.stop().await;
    assert!(place.all::<Node>().get_opt("m-1").await.unwrap().is_none());
    let again = place.run();
    let nodes = place.all::<Node>();
    let node = until(&nodes, "m-1", "a Node", |_: &Node| true).await;
    let began = booting.status.unwrap().conditions[0].last_transition_time.0;
    let took = node.metadata.creation_timestamp.unwrap().0.duration_since(began);
    assert!((2..=3).contains(&took.as_secs()), "{took:?}");
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_takes_its_time_and_can_be_stuck() {
    let place = Place::new().await;
    let running = place.run();
    place
        .hollow("slow", json!({ "faults": { "deletionDelay": "2s" } }))
        .await;
    place
        .hollow("stuck", json!({ "faults": { "stuckDeleting": true } }))
        .await;
    let machines = place.api::<Machine>();
    for name in ["slow", "stuck"] {
        until(&machines, name, "Running", |m: &Machine| holds(m, "Ready")).await;
        machines.delete(name, &DeleteParams::default()).await.unwrap();
    }
    let infra = place.api::<HollowMachine>();
    let leaving = until(&infra, "slow", "deleted", |m: &HollowMachine| {
        m.metadata.deletion_timestamp.is_some()
    })
    .await;
    assert!(place.all::<Node>().get_opt("slow").await.unwrap().is_some());
    until_gone(&machines, "slow").await;
    let took = std::time::SystemTime::now()
        .duration_since(leaving.metadata.deletion_timestamp.unwrap().0.into())
        .unwrap();
    assert!(took.as_millis() >= 2000, "{took:?}");

    assert!(infra.get_opt("stuck").await.unwrap().is_some());
    assert!(place.all::<Node>().get_opt("stuck").await.unwrap().is_some());
    place.change("stuck", json!({ "faults": null })).await;
    until_gone(&machines, "stuck").await;
    assert!(place.all::<Node>().get_opt("stuck").await.unwrap().is_none());
    running.stop().await;
}
