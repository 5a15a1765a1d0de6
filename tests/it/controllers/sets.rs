//! Sets of hollow machines with the real loop: they grow, shrink, take and let go.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Event, Node};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use machinectl::{
    api::v1alpha1::{HollowMachine, HollowMachineTemplate, Machine, MachineSet},
    controllers::Context,
    time::{Clock, SignedDuration, SystemClock, Timestamp},
};
use serde_json::{Value, json};

use super::{Place, names, until};

/// A set of hollow machines that are copied from the template `pool`.
pub(crate) fn set_spec(replicas: i32) -> Value {
    json!({
        "replicas": replicas,
        "selector": { "matchLabels": { "pool": "a" } },
        "template": {
            "metadata": { "labels": { "pool": "a" } },
            "spec": { "infrastructureRef": {
                "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": "HollowMachineTemplate", "name": "pool"
            } }
        }
    })
}

/// Makes the template and a set of so many machines.
async fn pool(place: &Place, replicas: i32) {
    place
        .create::<HollowMachineTemplate>(
            "pool",
            &[],
            json!({ "template": { "spec": { "kubernetesVersion": "v1.33.1" } } }),
        )
        .await;
    place.create::<MachineSet>("pool", &[], set_spec(replicas)).await;
}

async fn scale(place: &Place, replicas: i32) {
    let sets = place.api::<MachineSet>();
    let patch = json!({ "spec": { "replicas": replicas } });
    sets.patch("pool", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
}

/// Waits until a set has so many machines, all of them available.
async fn until_available(place: &Place, replicas: i32) -> MachineSet {
    until(
        &place.api::<MachineSet>(),
        "pool",
        "its machines",
        |set: &MachineSet| {
            set.status.as_ref().is_some_and(|s| {
                s.available_replicas == replicas
                    && s.replicas == replicas
                    && s.observed_generation == set.metadata.generation
                    && s.conditions
                        .iter()
                        .any(|c| c.type_ == "Ready" && c.status == "True")
            })
        },
    )
    .await
}

async fn list(place: &Place) -> Vec<Machine> {
    place
        .api::<Machine>()
        .list(&ListParams::default())
        .await
        .unwrap()
        .items
}

/// Waits until only so many machines are left, those included that are on their way out.
async fn until_left(place: &Place, count: usize) -> Vec<Machine> {
    let begun = std::time::Instant::now();
    loop {
        let machines = list(place).await;
        if machines.len() == count {
            return machines;
        }
        assert!(
            begun.elapsed() < super::PATIENCE,
            "{:?} are left",
            names(&machines)
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s01_machines_follow_the_number_of_replicas() {
    let place = Place::new().await;
    let running = place.run();
    pool(&place, 0).await;
    let set = until_available(&place, 0).await;
    assert_eq!(set.status.unwrap().selector.as_deref(), Some("pool=a"));
    scale(&place, 3).await;
    let set = until_available(&place, 3).await;
    assert_eq!(set.status.unwrap().fully_labeled_replicas, 3);

    let machines = list(&place).await;
    let owner = place.api::<MachineSet>().get("pool").await.unwrap();
    for machine in &machines {
        let name = machine.name_any();
        assert!(name.starts_with("pool-") && name.len() == 10, "{name}");
        let reference = &machine.owner_references()[0];
        assert_eq!(
            (
                reference.kind.as_str(),
                Some(&reference.uid),
                reference.controller
            ),
            ("MachineSet", owner.metadata.uid.as_ref(), Some(true))
        );
        assert_eq!(machine.labels()["machine.crit.sh/set-name"], "pool");
        let infrastructure = machine.spec.infrastructure_ref.as_ref().unwrap();
        assert_eq!(
            (infrastructure.kind.as_deref(), infrastructure.name.as_ref()),
            (Some("HollowMachine"), Some(&name))
        );
        let clone = place.api::<HollowMachine>().get(&name).await.unwrap();
        assert_eq!(clone.annotations()["machine.crit.sh/cloned-from-name"], "pool");
        assert_eq!(
            clone.annotations()["machine.crit.sh/cloned-from-groupkind"],
            "HollowMachineTemplate.infrastructure.crit.sh"
        );
        assert_eq!(clone.labels()["machine.crit.sh/set-name"], "pool");
        assert_eq!(clone.spec.kubernetes_version.as_deref(), Some("v1.33.1"));
    }

    scale(&place, 1).await;
    until_available(&place, 1).await;
    let left = until_left(&place, 1).await;
    assert!(names(&machines).contains(&left[0].name_any()));
    scale(&place, 0).await;
    until_available(&place, 0).await;
    until_left(&place, 0).await;
    let clones: Api<HollowMachine> = place.api();
    assert!(
        clones
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    let nodes = place.all::<Node>().list(&ListParams::default()).await.unwrap();
    assert!(nodes.items.is_empty(), "{:?}", names(&nodes.items));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s02_a_machine_that_is_deleted_is_replaced_at_once() {
    let place = Place::new().await;
    let running = place.run();
    pool(&place, 2).await;
    until_available(&place, 2).await;
    let before = list(&place).await;
    // Somebody holds up its end: the replacement does not wait for that.
    let victim = before[0].name_any();
    let hold = json!({ "metadata": { "finalizers": ["machine.crit.sh", "example.com/hold"] } });
    let machines = place.api::<Machine>();
    machines
        .patch(&victim, &PatchParams::default(), &Patch::Merge(&hold))
        .await
        .unwrap();
    machines.delete(&victim, &DeleteParams::default()).await.unwrap();
    until(
        &place.api::<MachineSet>(),
        "pool",
        "a replacement",
        |set: &MachineSet| {
            set.status.as_ref().is_some_and(|s| {
                s.available_replicas == 2
                    && s.conditions
                        .iter()
                        .any(|c| c.type_ == "ScalingDown" && c.status == "True")
            })
        },
    )
    .await;
    assert_eq!(list(&place).await.len(), 3);
    let free = json!({ "metadata": { "finalizers": null } });
    machines
        .patch(&victim, &PatchParams::default(), &Patch::Merge(&free))
        .await
        .unwrap();
    let after = until_left(&place, 2).await;
    assert!(!names(&after).contains(&victim) && names(&after).contains(&before[1].name_any()));
    running.stop().await;
}

/// Merges a patch into the set, or into a Machine.
async fn patch<K>(place: &Place, name: &str, patch: Value)
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    place
        .api::<K>()
        .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
}

/// Reasons of the events about the set, with their messages.
async fn until_told(place: &Place, reason: &str) -> Vec<String> {
    let begun = std::time::Instant::now();
    loop {
        let list = place.api::<Event>().list(&ListParams::default()).await.unwrap();
        let about = list
            .items
            .into_iter()
            .filter(|e| e.involved_object.kind.as_deref() == Some("MachineSet"));
        let told: Vec<String> = about
            .filter(|e| e.reason.as_deref() == Some(reason))
            .filter_map(|e| e.message)
            .collect();
        if !told.is_empty() {
            return told;
        }
        assert!(begun.elapsed() < super::PATIENCE, "no event {reason}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

fn controller(machine: &Machine) -> Option<String> {
    let owners = machine.owner_references();
    owners
        .iter()
        .find(|r| r.controller == Some(true))
        .map(|r| r.name.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn s03_orphans_are_taken_and_the_machines_of_others_left() {
    let place = Place::new().await;
    place.create::<HollowMachine>("lonely", &[], json!({})).await;
    let labels = [("pool", "a")];
    place
        .create::<Machine>("lonely", &labels, super::machine_spec("HollowMachine", "lonely"))
        .await;
    let chief = place.create::<Machine>("chief", &[], json!({})).await;
    place.create::<Machine>("taken", &labels, json!({})).await;
    let owner = json!({ "metadata": { "ownerReferences": [{
        "apiVersion": "machine.crit.sh/v1alpha1", "kind": "Machine", "name": "chief", "uid": chief.uid(), "controller": true
    }] } });
    patch::<Machine>(&place, "taken", owner).await;
    let running = place.run();
    pool(&place, 2).await;
    until_available(&place, 2).await;
    let machines = place.api::<Machine>();
    let lonely = machines.get("lonely").await.unwrap();
    assert_eq!(controller(&lonely).as_deref(), Some("pool"));
    assert_eq!(lonely.labels()["machine.crit.sh/set-name"], "pool");
    let taken = machines.get("taken").await.unwrap();
    assert_eq!(controller(&taken).as_deref(), Some("chief"));
    assert!(!taken.labels().contains_key("machine.crit.sh/set-name"));
    assert_eq!(
        until_told(&place, "SuccessfulAdopt").await,
        ["adopted 1 machine: lonely"]
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s04_a_machine_that_is_labelled_anew_is_replaced_and_outlives_the_set() {
    let place = Place::new().await;
    let running = place.run();
    pool(&place, 1).await;
    until_available(&place, 1).await;
    let name = list(&place).await[0].name_any();
    patch::<Machine>(
        &place,
        &name,
        json!({ "metadata": { "labels": { "pool": "quarantine" } } }),
    )
    .await;
    let machines = place.api::<Machine>();
    let free = until(&machines, &name, "its freedom", |m: &Machine| {
        controller(m).is_none()
    })
    .await;
    assert!(!free.labels().contains_key("machine.crit.sh/set-name"));
    until_available(&place, 1).await;
    assert_eq!(until_left(&place, 2).await.len(), 2);
    // Whoever deletes the set deletes its machines, their hosts and their Nodes; the one that was let go stays.
    let sets = place.api::<MachineSet>();
    sets.delete("pool", &DeleteParams::default()).await.unwrap();
    super::until_gone(&sets, "pool").await;
    let left = until_left(&place, 1).await;
    assert_eq!(left[0].name_any(), name);
    assert!(super::holds(&left[0], "Ready"));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_comes_late_is_waited_for_and_other_sets_go_on() {
    let place = Place::new().await;
    let running = place.run();
    let mut spec = set_spec(1);
    spec["template"]["spec"]["infrastructureRef"]["name"] = json!("late");
    spec["selector"]["matchLabels"]["pool"] = json!("b");
    spec["template"]["metadata"]["labels"]["pool"] = json!("b");
    place.create::<MachineSet>("late", &[], spec).await;
    let sets = place.api::<MachineSet>();
    let ready = |set: &MachineSet| {
        let conditions = set
            .status
            .as_ref()
            .map(|s| s.conditions.clone())
            .unwrap_or_default();
        conditions.into_iter().find(|c| c.type_ == "Ready")
    };
    let told = until(&sets, "late", "a reason", |s: &MachineSet| ready(s).is_some()).await;
    let condition = ready(&told).unwrap();
    assert_eq!(
        (condition.status.as_str(), condition.reason.as_str()),
        ("False", "TemplateNotFound")
    );
    assert!(condition.message.contains("spec.template.spec.infrastructureRef"));
    pool(&place, 1).await;
    until_available(&place, 1).await;
    assert_eq!(until_told(&place, "ReconcileError").await.len(), 1);
    place
        .create::<HollowMachineTemplate>("late", &[], json!({ "template": {} }))
        .await;
    until(&sets, "late", "its machine", |s: &MachineSet| {
        s.status.as_ref().is_some_and(|s| s.available_replicas == 1)
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_change_in_place_reaches_machines_and_nothing_else_is_touched() {
    let place = Place::new().await;
    let running = place.run();
    pool(&place, 2).await;
    until_available(&place, 2).await;
    let before = list(&place).await;
    let name = before[0].name_any();
    patch::<Machine>(
        &place,
        &name,
        json!({ "metadata": { "labels": { "mine": "yes" } } }),
    )
    .await;
    let change = |labels: Value| {
        json!({ "spec": { "template": {
            "metadata": { "labels": labels },
            "spec": { "nodeDrainTimeout": "5m", "taints": [{ "key": "dedicated", "effect": "NoSchedule" }] }
        } } })
    };
    patch::<MachineSet>(&place, "pool", change(json!({ "tier": "front" }))).await;
    let machines = place.api::<Machine>();
    for machine in &before {
        let name = machine.name_any();
        let changed = until(&machines, &name, "the label", |m: &Machine| {
            m.labels().get("tier").is_some()
        })
        .await;
        assert_eq!(changed.spec.taints.len(), 1);
        assert_eq!(
            changed.spec.node_drain_timeout.map(|t| t.span().as_secs()),
            Some(300)
        );
        assert_eq!(changed.uid(), machine.uid());
    }
    patch::<MachineSet>(&place, "pool", change(json!({ "tier": null }))).await;
    for machine in &before {
        until(&machines, &machine.name_any(), "less", |m: &Machine| {
            !m.labels().contains_key("tier")
        })
        .await;
    }
    assert_eq!(machines.get(&name).await.unwrap().labels()["mine"], "yes");
    until_available(&place, 2).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c06_s15_the_api_server_scales_sets_and_refuses_what_can_not_be() {
    let place = Place::new().await;
    pool(&place, 1).await;
    let sets = place.api::<MachineSet>();
    let refused = |patch: Value| {
        let sets = sets.clone();
        async move {
            let answer = sets
                .patch("pool", &PatchParams::default(), &Patch::Merge(&patch))
                .await;
            answer.unwrap_err().to_string()
        }
    };
    let text = refused(json!({ "spec": { "selector": { "matchLabels": { "pool": "b" } } } })).await;
    assert!(text.contains("spec.selector is immutable"), "{text}");
    let text = refused(json!({ "spec": { "deletePolicy": "Foo" } })).await;
    assert!(text.contains("deletePolicy"), "{text}");
    let text = refused(json!({ "spec": { "replicas": -1 } })).await;
    assert!(text.contains("replicas"), "{text}");
    for policy in ["", "Random", "Newest", "Oldest"] {
        patch::<MachineSet>(&place, "pool", json!({ "spec": { "deletePolicy": policy } })).await;
    }
    let running = place.run();
    until_available(&place, 1).await;
    let scale = sets.get_scale("pool").await.unwrap();
    assert_eq!(scale.status.unwrap().selector.as_deref(), Some("pool=a"));
    let more = json!({ "spec": { "replicas": 2 } });
    sets.patch_scale("pool", &PatchParams::default(), &Patch::Merge(&more))
        .await
        .unwrap();
    let set = until_available(&place, 2).await;
    assert_eq!(set.spec.replicas, 2);
    running.stop().await;
}

/// Tells a time that lies ahead, so that nothing is young.
struct Ahead;

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now() + SignedDuration::from_secs(60)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_was_not_made_because_the_process_ended_is_made_later() {
    let place = Place::new().await;
    pool(&place, 1).await;
    let set = place.api::<MachineSet>().get("pool").await.unwrap();
    // What a process leaves behind that is killed between a Machine and its host.
    let reference = |kind: &str, name: &str, uid: Option<String>| {
        json!({ "metadata": { "ownerReferences": [{
            "apiVersion": "machine.crit.sh/v1alpha1", "kind": kind, "name": name, "uid": uid, "controller": true
        }] } })
    };
    let labels = [("pool", "a"), ("machine.crit.sh/set-name", "pool")];
    place
        .create::<Machine>(
            "pool-half",
            &labels,
            super::machine_spec("HollowMachine", "pool-half"),
        )
        .await;
    patch::<Machine>(&place, "pool-half", reference("MachineSet", "pool", set.uid())).await;
    let ctx = Context::new(place.client.clone(), place.actuators([]), Arc::new(Ahead));
    let running = super::Running::start(ctx);
    until_available(&place, 1).await;
    assert_eq!(names(&list(&place).await), ["pool-half"]);
    let clones = place.api::<HollowMachine>();
    let clone = clones.get("pool-half").await.unwrap();
    assert_eq!(clone.owner_references()[0].name, "pool-half");
    assert_eq!(clone.annotations()["machine.crit.sh/cloned-from-name"], "pool");
    running.stop().await;
}
