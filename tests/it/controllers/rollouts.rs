//! Deployments of hollow machines with the real loop: changes roll through, are stopped and taken back.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::api::core::v1::Event;
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use machinectl::api::v1alpha1::{HollowMachineTemplate, Machine, MachineDeployment, MachineSet};
use serde_json::{Value, json};

use super::{Place, holds, names, until, until_gone};

const WEB: &str = "web";

/// Makes a deployment of hollow machines of version v1.33.1.
async fn web(place: &Place, replicas: i32, change: Value) {
    place
        .create::<HollowMachineTemplate>(
            "web",
            &[],
            json!({ "template": { "spec": { "startupDelay": "20ms" } } }),
        )
        .await;
    let mut spec = json!({
        "replicas": replicas,
        "selector": { "matchLabels": { "pool": "web" } },
        "template": {
            "metadata": { "labels": { "pool": "web" } },
            "spec": {
                "version": "v1.33.1",
                "infrastructureRef": {
                    "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": "HollowMachineTemplate", "name": "web"
                },
            },
        },
    });
    json_patch::merge(&mut spec, &change);
    place.create::<MachineDeployment>(WEB, &[], spec).await;
}

async fn change(place: &Place, spec: Value) {
    let patch = json!({ "spec": spec });
    place
        .api::<MachineDeployment>()
        .patch(WEB, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
}

fn version(version: &str) -> Value {
    json!({ "template": { "spec": { "version": version } } })
}

fn is(deployment: &MachineDeployment, type_: &str, reason: &str) -> bool {
    deployment.status.as_ref().is_some_and(|s| {
        s.observed_generation == deployment.metadata.generation
            && s.conditions
                .iter()
                .any(|c| c.type_ == type_ && c.reason == reason)
    })
}

/// Waits until all machines are of the present template and available.
async fn until_done(place: &Place, replicas: i32) -> MachineDeployment {
    until(&place.api(), WEB, "rolled out", |d: &MachineDeployment| {
        let done = d.status.as_ref().is_some_and(|s| {
            (s.replicas, s.updated_replicas, s.available_replicas) == (replicas, replicas, replicas)
        });
        done && is(d, "Progressing", "NewMachineSetAvailable")
    })
    .await
}

/// Machines that are not on their way out.
async fn machines(place: &Place) -> Vec<Machine> {
    let list = place.api::<Machine>().list(&ListParams::default()).await.unwrap();
    let stays = |m: &Machine| m.metadata.deletion_timestamp.is_none();
    list.items.into_iter().filter(stays).collect()
}

async fn sets(place: &Place) -> Vec<MachineSet> {
    let mut sets = place
        .api::<MachineSet>()
        .list(&ListParams::default())
        .await
        .unwrap()
        .items;
    sets.sort_by_key(|set| set.annotations()["machine.crit.sh/revision"].clone());
    sets
}

fn versions(machines: &[Machine]) -> BTreeSet<String> {
    machines.iter().filter_map(|m| m.spec.version.clone()).collect()
}

/// Watches the fleet until it is told to stop; returns the fewest ready and the most wanted machines that it saw.
async fn watch_limits(place: &Place, mut stop: tokio::sync::oneshot::Receiver<()>) -> (usize, i32) {
    let (mut fewest, mut most) = (usize::MAX, 0);
    while stop.try_recv().is_err() {
        let ready = machines(place).await.iter().filter(|m| holds(m, "Ready")).count();
        let wanted = sets(place).await.iter().map(|s| s.spec.replicas).sum();
        fewest = fewest.min(ready);
        most = most.max(wanted);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (fewest, most)
}

#[tokio::test(flavor = "multi_thread")]
async fn six_machines_are_replaced_within_limits_taken_back_and_pruned() {
    let place = Place::new().await;
    let running = place.run();
    web(
        &place,
        6,
        json!({ "strategy": { "rollingUpdate": { "maxSurge": 2, "maxUnavailable": 1 } } }),
    )
    .await;
    until_done(&place, 6).await;
    let first = names(&machines(&place).await);

    let (stop, stopped) = tokio::sync::oneshot::channel();
    let (limits, done) = tokio::join!(watch_limits(&place, stopped), async {
        change(&place, version("v1.33.2")).await;
        let done = until_done(&place, 6).await;
        stop.send(()).unwrap();
        done
    });
    assert!(
        limits.0 >= 5 && limits.1 <= 8,
        "fewest ready and most wanted: {limits:?}"
    );
    assert_eq!(done.annotations()["machine.crit.sh/revision"], "2");
    let second = machines(&place).await;
    assert_eq!(versions(&second), ["v1.33.2".to_owned()].into());
    assert!(names(&second).iter().all(|name| !first.contains(name)));
    let old = sets(&place).await;
    assert_eq!(old.iter().map(|s| s.spec.replicas).collect::<Vec<_>>(), [0, 6]);

    // Taken back: the old set comes to life again, under a new number.
    change(&place, version("v1.33.1")).await;
    let done = until_done(&place, 6).await;
    assert_eq!(done.annotations()["machine.crit.sh/revision"], "3");
    let now = sets(&place).await;
    assert_eq!(names(&now), names(&old));
    assert_eq!(now[1].name_any(), old[0].name_any());
    assert_eq!(versions(&machines(&place).await), ["v1.33.1".to_owned()].into());

    // A third one: of the two old ones the lower number goes, when its last machine is gone.
    change(&place, version("v1.33.3")).await;
    until_done(&place, 6).await;
    until_gone(&place.api::<MachineSet>(), &old[1].name_any()).await;
    assert_eq!(sets(&place).await.len(), 2);

    let told = place.api::<Event>().list(&ListParams::default()).await.unwrap();
    let of = |reason: &str| told.iter().any(|e| e.reason.as_deref() == Some(reason));
    assert!(of("ScalingMachineSet"));
    assert!(!of("ProgressDeadlineExceeded") && !of("InvalidSpec"));

    place
        .api::<MachineDeployment>()
        .delete(WEB, &DeleteParams::default())
        .await
        .unwrap();
    for set in names(&now) {
        until_gone(&place.api::<MachineSet>(), &set).await;
    }
    for machine in machines(&place).await {
        until_gone(&place.api::<Machine>(), &machine.name_any()).await;
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_is_paused_it_is_scaled_and_nothing_else() {
    let place = Place::new().await;
    let running = place.run();
    web(&place, 2, json!({})).await;
    until_done(&place, 2).await;
    change(
        &place,
        json!({ "paused": true, "template": { "spec": { "version": "v1.33.2" } } }),
    )
    .await;
    until(&place.api(), WEB, "paused", |d: &MachineDeployment| {
        is(d, "Progressing", "DeploymentPaused")
    })
    .await;
    change(&place, json!({ "replicas": 4 })).await;
    until(&place.api(), WEB, "scaled", |d: &MachineDeployment| {
        is(d, "Progressing", "DeploymentPaused") && d.status.as_ref().unwrap().available_replicas == 4
    })
    .await;
    assert_eq!(versions(&machines(&place).await), ["v1.33.1".to_owned()].into());
    assert_eq!(sets(&place).await.len(), 1);
    change(&place, json!({ "paused": null })).await;
    until_done(&place, 4).await;
    assert_eq!(versions(&machines(&place).await), ["v1.33.2".to_owned()].into());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_delete_the_user_replaces_machines_one_by_one() {
    let place = Place::new().await;
    let running = place.run();
    web(&place, 3, json!({ "strategy": { "type": "OnDelete" } })).await;
    until_done(&place, 3).await;
    let old = names(&machines(&place).await);
    change(&place, version("v1.33.2")).await;
    until(&place.api(), WEB, "a word about it", |d: &MachineDeployment| {
        is(d, "RollingOut", "RollingOut") && is(d, "Ready", "Ready")
    })
    .await;
    assert_eq!(names(&machines(&place).await), old);
    for (count, name) in old.iter().enumerate() {
        place
            .api::<Machine>()
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
        let updated = i32::try_from(count).unwrap() + 1;
        until(&place.api(), WEB, "a new machine", |d: &MachineDeployment| {
            let status = d.status.as_ref().unwrap();
            (
                status.replicas,
                status.updated_replicas,
                status.available_replicas,
            ) == (3, updated, 3)
        })
        .await;
    }
    until_done(&place, 3).await;
    assert_eq!(versions(&machines(&place).await), ["v1.33.2".to_owned()].into());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_replaces_machines_and_labels_do_not() {
    let place = Place::new().await;
    let running = place.run();
    web(&place, 2, json!({})).await;
    until_done(&place, 2).await;
    let first = machines(&place).await;
    change(
        &place,
        json!({ "template": { "metadata": { "labels": { "tier": "b" } } } }),
    )
    .await;
    for machine in names(&first) {
        until(&place.api(), &machine, "its label", |m: &Machine| {
            m.labels().contains_key("tier")
        })
        .await;
    }
    let now = "2026-11-20T12:00:00Z";
    change(
        &place,
        json!({ "template": { "metadata": { "annotations": { "machine.crit.sh/restartedAt": now } } } }),
    )
    .await;
    until_done(&place, 2).await;
    let second = machines(&place).await;
    assert!(names(&second).iter().all(|name| !names(&first).contains(name)));
    assert!(second.iter().all(|m| m.labels()["tier"] == "b"));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_can_not_be_used_is_told_and_machines_stay() {
    let place = Place::new().await;
    let running = place.run();
    // No rule of the API server knows expressions.
    let not_x = json!([{ "key": "tier", "operator": "NotIn", "values": ["x"] }]);
    web(&place, 2, json!({ "selector": { "matchExpressions": not_x } })).await;
    until_done(&place, 2).await;
    let before = names(&machines(&place).await);
    let tier = |tier: &str| json!({ "template": { "metadata": { "labels": { "tier": tier } }, "spec": { "version": "v1.33.2" } } });
    change(&place, tier("x")).await;
    let told = until(&place.api(), WEB, "a word about it", |d: &MachineDeployment| {
        is(d, "Ready", "InvalidSpec")
    })
    .await;
    let status = told.status.unwrap();
    let ready = status.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
    assert_eq!(
        ready.message,
        "spec.selector: it does not match the labels in spec.template.metadata.labels"
    );
    assert_eq!(names(&machines(&place).await), before);
    change(&place, tier("y")).await;
    until_done(&place, 2).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_that_were_stopped_in_the_middle_go_on() {
    let place = Place::new().await;
    let running = place.run();
    web(&place, 4, json!({})).await;
    until_done(&place, 4).await;
    change(&place, version("v1.33.2")).await;
    until(&place.api(), WEB, "a first step", |d: &MachineDeployment| {
        d.status.as_ref().unwrap().updated_replicas > 0
    })
    .await;
    running.stop().await;
    let running = place.run();
    until_done(&place, 4).await;
    assert_eq!(sets(&place).await.len(), 2, "no set was made twice");
    running.stop().await;
}
