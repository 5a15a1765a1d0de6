//! Tables of what is observed about a set and what follows.

use std::sync::Arc;

use kube::ResourceExt;
use serde_json::{Value, json};

use super::{
    fixtures::*,
    observe::{ClusterView, TemplateView, Trouble},
    plan::{plan, tell},
};
use crate::{
    api::{
        labels,
        v1alpha1::{HollowMachine, MachineSet},
    },
    controllers::{
        effect::{Effect, Plan, Requeue},
        runtime::ReconcileError,
    },
    time::{SignedDuration, rfc3339},
};

#[test]
fn a_machine_is_made_complete_and_its_host_after_it() {
    let mut value = set(1);
    value["spec"]["clusterName"] = json!("dev");
    value["spec"]["template"]["spec"]["providerID"] = json!("hollow://copied/by-mistake");
    let mut o = observed(value);
    o.cluster = ClusterView::Found;
    o.template = template(&json!({ "template": {
        "metadata": { "labels": { "rack": "1" } },
        "spec": { "kubernetesVersion": "v1.33.1", "providerID": "hollow://x/y" },
    } }));
    let plan = plan(&o, now());
    let made = creates(&plan);
    let (machine, clone) = (&made[0]["machine"], &made[0]["owned"][0]);
    let name = machine["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("pool-") && name.len() == 10, "{name}");
    assert_eq!(
        machine["metadata"]["labels"],
        json!({ "pool": "a", "machine.crit.sh/set-name": "pool", "machine.crit.sh/cluster-name": "dev" })
    );
    assert_eq!(machine["metadata"]["annotations"]["team"], "x");
    assert_eq!(machine["metadata"]["finalizers"], json!(["machine.crit.sh"]));
    assert_eq!(
        machine["metadata"]["ownerReferences"],
        json!([{
            "apiVersion": "machine.crit.sh/v1alpha1", "kind": "MachineSet", "name": "pool", "uid": "s-uid",
            "controller": true, "blockOwnerDeletion": true
        }])
    );
    assert_eq!(
        machine["spec"],
        json!({
            "clusterName": "dev",
            "infrastructureRef": { "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": "HollowMachine", "name": name },
        })
    );
    assert_eq!(clone["kind"], "HollowMachine");
    assert_eq!(clone["metadata"]["name"], name);
    assert_eq!(
        clone["metadata"]["labels"],
        json!({ "rack": "1", "machine.crit.sh/set-name": "pool", "machine.crit.sh/cluster-name": "dev" })
    );
    assert_eq!(
        clone["metadata"]["annotations"],
        json!({
            "machine.crit.sh/cloned-from-name": "small",
            "machine.crit.sh/cloned-from-groupkind": "HollowMachineTemplate.infrastructure.crit.sh",
        })
    );
    assert_eq!(
        clone["metadata"]["finalizers"],
        json!([labels::HOLLOW_MACHINE_FINALIZER])
    );
    assert_eq!(
        clone["spec"],
        json!({ "kubernetesVersion": "v1.33.1", "providerID": format!("hollow://fleet/{name}") })
    );
    // The numbers do not lag behind.
    let s = status(&plan);
    assert_eq!(
        (s.replicas, s.fully_labeled_replicas, s.ready_replicas),
        (1, 1, 0)
    );
    assert_eq!(s.observed_generation, Some(3));
    assert_eq!(condition(&plan, "Ready").1, "WaitingForMachines");
    assert_eq!(
        events(&plan),
        [(
            "SuccessfulCreate".to_owned(),
            format!("created 1 machine: {name}")
        )]
    );
}

#[test]
fn a_long_name_leaves_room_for_chance() {
    let mut value = set(1);
    value["metadata"]["name"] = json!("x".repeat(56) + "-y.workers");
    let plan = plan(&observed(value), now());
    let name = creates(&plan)[0]["machine"]["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(name.rsplit_once('-').unwrap().0, "x".repeat(56));
    assert!(crate::api::names::dns_label(&name).is_ok(), "{name}");
}

#[test]
fn many_machines_are_made_in_batches_and_told_of_once() {
    let plan = plan(&observed(set(1200)), now());
    assert_eq!(creates(&plan).len(), 500);
    assert_eq!(plan.requeue, Requeue::After(SignedDuration::ZERO));
    assert_eq!(events(&plan).len(), 1);
    assert_eq!(condition(&plan, "ScalingUp").2, "500 of 1200 machines exist");
}

#[test]
fn s03_a_machine_that_nobody_controls_is_taken_and_counted() {
    let mut o = with(1, &[]);
    let mut orphan = member(
        &o,
        "lonely",
        &json!({ "metadata": {
        "labels": { labels::SET_NAME: null }, "annotations": { labels::FROM_TEMPLATE: null, "team": null },
        "ownerReferences": [{ "apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "c-uid" }],
    } }),
    );
    o.orphans = vec![orphan.clone()];
    let first = plan(&o, now());
    assert!(creates(&first).is_empty());
    let patch = &patches(&first)["lonely"];
    let owners = patch["metadata"]["ownerReferences"].as_array().unwrap();
    assert_eq!((owners.len(), &owners[1]["uid"]), (2, &json!("s-uid")));
    assert_eq!(patch["metadata"]["resourceVersion"], "5");
    assert_eq!(patch["metadata"]["labels"], json!({ labels::SET_NAME: "pool" }));
    assert_eq!(patch["metadata"]["annotations"]["team"], "x");
    assert_eq!(
        events(&first),
        [(
            "SuccessfulAdopt".to_owned(),
            "adopted 1 machine: lonely".to_owned()
        )]
    );
    let s = status(&first);
    assert_eq!((s.replicas, s.fully_labeled_replicas), (1, 1));
    // Until the watch tells of it, it is counted and not written again.
    orphan.stale = true;
    o.orphans = vec![orphan];
    let second = plan(&o, now());
    assert_eq!((second.effects.len(), status(&second).replicas), (0, 1));
}

/// Deviates from `OpenShift`: a Machine that no longer fits is let go, because otherwise the end of the set takes it along.
#[test]
fn s04_a_machine_that_no_longer_fits_is_let_go_and_replaced() {
    let o = with(
        1,
        &[(
            "m-1",
            json!({ "metadata": {
                "labels": { "pool": "quarantine" },
                "ownerReferences": [
                    { "apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "c-uid" },
                    { "apiVersion": "machine.crit.sh/v1alpha1", "kind": "MachineSet", "name": "pool", "uid": "s-uid", "controller": true },
                ],
            } }),
        )],
    );
    let plan = plan(&o, now());
    assert_eq!(creates(&plan).len(), 1);
    assert!(deletes(&plan).is_empty());
    let metadata = &patches(&plan)["m-1"]["metadata"];
    assert_eq!(metadata["ownerReferences"].as_array().unwrap().len(), 1);
    assert_eq!(metadata["ownerReferences"][0]["uid"], "c-uid");
    assert_eq!(metadata["labels"], json!({ labels::SET_NAME: null }));
    assert_eq!(metadata["resourceVersion"], "5");
    assert_eq!(status(&plan).replicas, 1);
}

#[test]
fn s05_a_set_that_goes_does_nothing() {
    let mut value = set(3);
    value["metadata"]["deletionTimestamp"] = json!(rfc3339(now()));
    value["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
    assert_eq!(plan(&observed(value), now()), Plan::nothing());
}

#[test]
fn s06_a_set_that_can_not_be_used_says_which_field_is_wrong_and_does_nothing_else() {
    let mismatch = json!({ "spec": { "selector": { "matchLabels": { "pool": "b" } } } });
    let empty = json!({ "spec": { "selector": { "matchLabels": null } } });
    let operator =
        json!({ "spec": { "selector": { "matchExpressions": [{ "key": "a", "operator": "Near" }] } } });
    let clusters = json!({ "spec": { "clusterName": "a", "template": { "spec": { "clusterName": "b" } } } });
    let policy = json!({ "spec": { "deletePolicy": "Foo" } });
    for (change, field) in [
        (mismatch, "spec.template.metadata.labels"),
        (empty, "spec.selector is empty"),
        (operator, "spec.selector can't be read"),
        (clusters, "spec.template.spec.clusterName"),
        (policy, "spec.deletePolicy"),
    ] {
        let mut value = set(5);
        json_patch::merge(&mut value, &change);
        let mut o = observed(value.clone());
        o.members = vec![member(&o, "m-1", &up(10))];
        let told = plan(&o, now());
        assert_eq!(told.effects.len(), 1, "{:?}", words(&told));
        let (reason, message) = events(&told).remove(0);
        assert_eq!(reason, "ReconcileError");
        assert!(message.contains(field), "{message}");
        assert_eq!(
            condition(&told, "Ready"),
            ("False".to_owned(), "InvalidConfiguration".to_owned(), message)
        );
        assert_eq!(status(&told).replicas, 1);
        // Once is enough.
        value["status"] = told.status.unwrap();
        o.set = Arc::new(serde_json::from_value(value).unwrap());
        assert!(plan(&o, now()).effects.is_empty());
    }
}

#[test]
fn a_template_that_can_not_be_copied_is_named_and_looked_for_again() {
    let bare = |spec: Value| template(&spec);
    for (view, reason, text) in [
        (
            TemplateView::Missing,
            "TemplateNotFound",
            "HollowMachineTemplate \"small\"",
        ),
        (
            TemplateView::UnknownKind("HollowMachineTemplate".to_owned()),
            "UnknownKind",
            "does not know the kind",
        ),
        (
            bare(json!({})),
            "InvalidConfiguration",
            "has no spec.template.spec",
        ),
    ] {
        let mut o = with(2, &[("m-1", up(10))]);
        o.template = view;
        let plan = plan(&o, now());
        assert!(creates(&plan).is_empty());
        let (told, because, message) = condition(&plan, "Ready");
        assert_eq!((told.as_str(), because.as_str()), ("False", reason));
        assert!(
            message.contains(text) && message.contains("spec.template.spec.infrastructureRef"),
            "{message}"
        );
        assert_eq!(plan.requeue, Requeue::After(seconds(1)));
        assert_eq!(events(&plan).len(), 1);
        assert_eq!(status(&plan).ready_replicas, 1);
        // What stays away is looked for ever more rarely.
        let mut value = set(2);
        value["status"] = plan.status.unwrap();
        o.set = Arc::new(serde_json::from_value(value).unwrap());
        for (waited, wait) in [(4, 4), (20, 20), (600, 30)] {
            let again = super::plan::plan(&o, now() + seconds(waited));
            assert_eq!(
                (again.requeue, again.effects.len()),
                (Requeue::After(seconds(wait)), 0)
            );
        }
    }
}

#[test]
fn an_infrastructure_object_itself_serves_one_machine() {
    let plain = |replicas: i32| {
        let mut value = set(replicas);
        value["spec"]["template"]["spec"]["infrastructureRef"]["kind"] = json!("HollowMachine");
        observed(value)
    };
    let one = plan(&plain(1), now());
    assert_eq!(
        creates(&one)[0]["machine"]["spec"]["infrastructureRef"]["name"],
        "small"
    );
    assert_eq!(creates(&one)[0]["owned"], json!([]));
    let two = plan(&plain(2), now());
    assert!(creates(&two).is_empty());
    assert!(condition(&two, "Ready").2.contains("HollowMachineTemplate"));
    // The next one waits until it is free.
    let mut o = plain(1);
    let leaving = json!({ "metadata": { "deletionTimestamp": rfc3339(now()) } });
    o.members = vec![member(&o, "m-1", &leaving)];
    let waiting = plan(&o, now());
    assert!(creates(&waiting).is_empty());
    assert_eq!(condition(&waiting, "Ready").1, "InfrastructureInUse");
}

#[test]
fn no_machine_is_made_without_its_cluster_or_against_somebodys_will() {
    let mut value = set(1);
    value["spec"]["clusterName"] = json!("dev");
    for (view, reason) in [
        (ClusterView::Missing, "ClusterNotFound"),
        (ClusterView::Deleting, "ClusterDeleting"),
    ] {
        let mut o = observed(value.clone());
        o.cluster = view;
        let plan = plan(&o, now());
        assert!(creates(&plan).is_empty());
        assert_eq!(condition(&plan, "Ready").1, reason);
    }
    let mut value = set(1);
    value["metadata"]["annotations"] = json!({ labels::DISABLE_MACHINE_CREATE: "true" });
    let quiet = plan(&observed(value), now());
    assert!(quiet.effects.is_empty());
    assert_eq!(condition(&quiet, "Ready").1, "CreateDisabled");
}

#[test]
fn s11_a_failed_machine_stays_and_counts() {
    let o = with(2, &[("a", failed()), ("b", up(5))]);
    let plan = plan(&o, now());
    assert!(plan.effects.is_empty(), "{:?}", words(&plan));
    assert_eq!((status(&plan).replicas, status(&plan).ready_replicas), (2, 1));
}

#[test]
fn failed_machines_are_replaced_if_asked_for_a_few_at_a_time_and_ever_more_slowly() {
    let mut value = set(10);
    value["spec"]["replaceFailed"] = json!(true);
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let fleet = |value: &Value, bad: usize| {
        let mut o = observed(value.clone());
        o.members = names
            .iter()
            .enumerate()
            .map(|(i, name)| member(&o, name, &if i < bad { failed() } else { up(500) }))
            .collect();
        o
    };
    let first = plan(&fleet(&value, 5), now());
    assert_eq!(deletes(&first), ["a", "b"]);
    assert_eq!(creates(&first).len(), 2);
    let s = status(&first);
    assert_eq!((s.replicas, s.failed_replacements), (10, Some(1)));
    assert_eq!(first.requeue, Requeue::After(seconds(10)));
    // Those on their way out count: no more than a fifth at a time.
    value["status"] = first.status.unwrap();
    let mut o = fleet(&value, 5);
    o.members[0].leaving = true;
    o.members[1].leaving = true;
    assert!(deletes(&plan(&o, now() + seconds(60))).is_empty());
    // Nothing came up since: the next time waits, and the one after it waits longer.
    let wait = plan(&fleet(&value, 3), now() + seconds(4));
    assert!(wait.effects.is_empty());
    assert_eq!(wait.requeue, Requeue::After(seconds(6)));
    assert_eq!(status(&wait).failed_replacements, Some(1));
    let second = plan(&fleet(&value, 3), now() + seconds(10));
    assert_eq!(
        (deletes(&second).len(), status(&second).failed_replacements),
        (2, Some(2))
    );
    assert_eq!(second.requeue, Requeue::After(seconds(10)));
    value["status"] = second.status.unwrap();
    let third = plan(&fleet(&value, 1), now() + seconds(12));
    assert_eq!(third.requeue, Requeue::After(seconds(18)));
    // A machine that came up begins the count anew.
    let mut o = fleet(&value, 1);
    o.members[9] = member(&o, "j", &up(-11));
    let again = plan(&o, now() + seconds(12));
    assert_eq!(
        (deletes(&again), status(&again).failed_replacements),
        (vec!["a".to_owned()], Some(1))
    );
}

#[test]
fn nothing_is_given_up_that_can_not_be_made_again() {
    let mut value = set(1);
    value["spec"]["replaceFailed"] = json!(true);
    let mut o = observed(value);
    o.members = vec![member(&o, "a", &failed())];
    o.template = TemplateView::Missing;
    assert!(plan(&o, now()).effects.is_empty());
}

#[test]
fn s12_numbers_follow_the_nodes_and_a_look_comes_when_the_next_is_available() {
    let mut value = set(4);
    value["spec"]["minReadySeconds"] = json!(30);
    let mut o = observed(value);
    let down = json!({ "status": {
        "nodeRef": { "kind": "Node", "name": "n" },
        "conditions": [{
            "type": "NodeHealthy", "status": "False", "reason": "NodeNotReady", "message": "",
            "lastTransitionTime": rfc3339(now() - seconds(500)),
        }],
    } });
    let mut young = up(12);
    young["metadata"]["labels"] = json!({ "pool": "a", labels::SET_NAME: "other" });
    o.members = vec![
        member(&o, "a", &up(30)),
        member(&o, "b", &young),
        member(&o, "c", &down),
        member(&o, "d", &json!({})),
    ];
    // It was written a moment ago: not yet again.
    o.members[1].stale = true;
    let plan = plan(&o, now());
    let s = status(&plan);
    assert_eq!(
        (
            s.replicas,
            s.ready_replicas,
            s.available_replicas,
            s.fully_labeled_replicas
        ),
        (4, 2, 1, 3)
    );
    assert_eq!(plan.requeue, Requeue::After(seconds(18)));
    assert_eq!(
        condition(&plan, "MachinesReady").2,
        "2 of 4 machines are ready; not yet: c, d"
    );
    assert_eq!(s.selector.as_deref(), Some("pool=a"));
}

#[test]
fn s14_failures_are_told_together_and_the_same_each_time() {
    let refused = |name: &str, why: &str| {
        let status = kube::core::Status::failure(why, "Forbidden").with_code(403);
        ReconcileError::api(
            format!("create Machine fleet/{name} in management cluster"),
            kube::Error::Api(Box::new(status)),
        )
    };
    let told = |a: &str, b: &str, c: &str| {
        let names = [a, b, c].map(str::to_owned);
        let errors = vec![
            refused(a, &format!("machines \"{a}\" is forbidden: exceeded quota")),
            refused(b, &format!("machines \"{b}\" is forbidden: exceeded quota")),
            refused(c, "denied by a webhook"),
        ];
        Trouble::of("ReconcileError", &ReconcileError::Several(errors), &names)
    };
    let first = told("pool-a1b2c", "pool-d3e4f", "pool-g5h6i");
    assert_eq!(
        first.message,
        "create Machine fleet/pool-… in management cluster: denied by a webhook; \
         create Machine fleet/pool-… in management cluster: machines \"pool-…\" is forbidden: exceeded quota (2 times)"
    );
    assert_eq!(first, told("pool-x1b2c", "pool-y3e4f", "pool-z5h6i"));
    let mut o = with(3, &[("m-1", up(1))]);
    o.trouble = Some(first);
    let plan = tell(&o, now());
    assert_eq!(events(&plan)[0].0, "ReconcileError");
    assert_eq!(status(&plan).replicas, 1);
    let mut value = set(3);
    value["status"] = plan.status.unwrap();
    o.set = Arc::new(serde_json::from_value::<MachineSet>(value).unwrap());
    assert!(tell(&o, now()).effects.is_empty());
}

#[test]
fn a_host_that_never_came_is_made_and_one_without_a_machine_goes() {
    let mut o = with(2, &[("a", json!({})), ("b", up(5))]);
    o.members[0].lacks_clone = true;
    let key = crate::controllers::effect::ObjectKey::of::<HollowMachine>(Some("fleet"), "gone");
    o.strays = vec![(key, Some("uid".to_owned()))];
    let plan = plan(&o, now());
    let lines = words(&plan);
    assert_eq!(
        lines,
        [
            "create HollowMachine fleet/a in management cluster",
            "delete HollowMachine fleet/gone in management cluster",
            "event SuccessfulDelete: deleted 1 HollowMachine without a Machine: gone",
        ]
    );
    let Effect::Create { object, .. } = all(&plan)[0] else {
        panic!("{lines:?}");
    };
    assert_eq!(object.owner_references()[0].uid, "a-uid");
}

#[test]
fn a_container_bears_the_name_of_its_machine() {
    let mut value = set(2);
    value["spec"]["clusterName"] = json!("dev");
    value["spec"]["template"]["spec"]["infrastructureRef"]["kind"] = json!("DockerMachineTemplate");
    let mut o = observed(value);
    o.cluster = ClusterView::Found;
    let TemplateView::Found { template, .. } = template(&json!({ "template": { "spec": {
        "image": "kindest/node:v1.33.1", "containerName": "one-for-all", "clusterName": ""
    } } })) else {
        panic!("a template");
    };
    o.template = TemplateView::Found {
        kind: kube::api::ApiResource::erase::<crate::api::v1alpha1::DockerMachine>(&()),
        template,
    };
    for made in creates(&plan(&o, now())) {
        let name = made["machine"]["metadata"]["name"].as_str().unwrap();
        let clone = &made["owned"][0];
        assert_eq!(
            clone["spec"],
            json!({
                "image": "kindest/node:v1.33.1", "clusterName": "dev", "containerName": name,
                "providerID": format!("docker://{name}"),
            })
        );
        assert_eq!(
            clone["metadata"]["finalizers"],
            json!([labels::DOCKER_MACHINE_FINALIZER])
        );
    }
}

#[test]
fn a_kind_of_somebody_else_is_copied_without_our_finalizer() {
    let mut value = set(1);
    value["spec"]["template"]["spec"]["infrastructureRef"] =
        json!({ "apiVersion": "example.com/v1", "kind": "RackMachineTemplate", "name": "small" });
    let mut o = observed(value);
    let TemplateView::Found { template, .. } = template(&json!({ "template": { "spec": { "slot": 4 } } }))
    else {
        panic!("a template");
    };
    let kind = kube::api::GroupVersionKind::gvk("example.com", "v1", "RackMachine");
    o.template = TemplateView::Found {
        kind: kube::api::ApiResource::from_gvk(&kind),
        template,
    };
    let made = creates(&plan(&o, now())).remove(0);
    let clone = &made["owned"][0];
    assert_eq!(
        (&clone["apiVersion"], &clone["kind"], &clone["spec"]),
        (
            &json!("example.com/v1"),
            &json!("RackMachine"),
            &json!({ "slot": 4 })
        )
    );
    assert!(clone["metadata"]["finalizers"].is_null());
    assert_eq!(
        clone["metadata"]["annotations"][labels::CLONED_FROM_GROUPKIND],
        "RackMachineTemplate.example.com"
    );
}
