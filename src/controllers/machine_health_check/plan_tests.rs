//! Tables of what is observed about machines and what follows for them. The names of cases follow those of `OpenShift`'s behaviour.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Node, apimachinery::pkg::apis::meta::v1::Time};
use kube::{ResourceExt, api::DynamicObject};
use serde_json::{Value, json};

use super::{
    observe::{External, NodeView, Observed, Requests, Template, Watched},
    plan::{Decision, Treatment, plan},
    rules,
};
use crate::{
    api::v1alpha1::{Machine, MachineHealthCheck, MachineHealthCheckStatus},
    controllers::effect::{Effect, Requeue},
    time::{SignedDuration, rfc3339},
};

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(super) fn text(second: i64) -> String {
    rfc3339(at(second))
}

/// The moment of most looks.
pub(super) const NOW: i64 = 100_000;

/// A check named `workers`; it looks at Ready for 300 s unless `spec` says otherwise.
pub(super) fn check(spec: Value) -> MachineHealthCheck {
    let mut object = json!({
        "apiVersion": "machine.crit.sh/v1alpha1", "kind": "MachineHealthCheck",
        "metadata": { "name": "workers", "namespace": "fleet", "generation": 1 },
    });
    object["spec"] = spec;
    serde_json::from_value(object).unwrap()
}

/// A Machine of the set `pool` that has been a Node for long.
pub(super) fn machine(name: &str) -> Machine {
    static LIKE: LazyLock<Machine> = LazyLock::new(|| {
        serde_json::from_value(json!({
            "apiVersion": "machine.crit.sh/v1alpha1", "kind": "Machine",
            "metadata": {
                "name": "m", "namespace": "fleet", "creationTimestamp": text(1000),
                "ownerReferences": [{
                    "apiVersion": "machine.crit.sh/v1alpha1", "kind": "MachineSet", "name": "pool", "uid": "set", "controller": true
                }],
            },
            "spec": {},
            "status": { "phase": "Running", "nodeRef": { "kind": "Node", "name": "m" }, "infrastructureReady": true, "bootstrapReady": true },
        }))
        .unwrap()
    });
    let mut machine = LIKE.clone();
    machine.metadata.name = Some(name.to_owned());
    machine.metadata.uid = Some(format!("uid-{name}"));
    let node = machine.status.as_mut().and_then(|s| s.node_ref.as_mut());
    node.unwrap().name = Some(name.to_owned());
    machine
}

/// Its Node, whose condition Ready has been so since a moment.
pub(super) fn node(ready: &str, since: i64) -> NodeView {
    static LIKE: LazyLock<Node> = LazyLock::new(|| {
        serde_json::from_value(json!({
            "metadata": { "name": "n", "creationTimestamp": text(1000) },
            "status": { "conditions": [{ "type": "Ready", "status": "Unknown" }] },
        }))
        .unwrap()
    });
    let mut node = LIKE.clone();
    let conditions = node.status.as_mut().and_then(|s| s.conditions.as_mut()).unwrap();
    conditions[0].status = ready.to_owned();
    conditions[0].last_transition_time = Some(Time(at(since)));
    NodeView::Found(Arc::new(node))
}

pub(super) fn watched(machine: Machine, node: NodeView) -> Watched {
    Watched {
        leaving: machine.metadata.deletion_timestamp.is_some(),
        machine: Arc::new(machine),
        node,
        confirmed: true,
        paused: false,
        cluster_since: None,
    }
}

pub(super) fn well(name: &str) -> Watched {
    watched(machine(name), node("True", 2000))
}

/// Not Ready for so many seconds.
pub(super) fn bad(name: &str, seconds: i64) -> Watched {
    watched(machine(name), node("False", NOW - seconds))
}

pub(super) fn without_node(name: &str, created: i64) -> Watched {
    let mut machine = machine(name);
    machine.metadata.creation_timestamp = serde_json::from_value(json!(text(created))).unwrap();
    machine.status.as_mut().unwrap().node_ref = None;
    machine.status.as_mut().unwrap().phase = Some("Provisioned".into());
    watched(machine, NodeView::None)
}

/// Five machines, `names[..broken]` of them not Ready for ten minutes.
pub(super) fn fleet(total: usize, broken: usize) -> Vec<Watched> {
    (0..total)
        .map(|i| {
            let name = format!("m-{i}");
            if i < broken { bad(&name, 600) } else { well(&name) }
        })
        .collect()
}

pub(super) fn observed(spec: Value, machines: Vec<Watched>) -> Observed {
    let check = check(spec);
    Observed {
        rules: rules::rules(&check.spec, None),
        check: Arc::new(check),
        machines,
        selector: None,
        owners: BTreeMap::new(),
        external: External::NotAsked,
        others: Vec::new(),
    }
}

pub(super) fn decide(o: &Observed) -> Decision {
    plan(o, at(NOW))
}

pub(super) fn status(d: &Decision) -> MachineHealthCheckStatus {
    serde_json::from_value(d.status.clone()).unwrap()
}

/// Puts the status of a decision into the check, as its write does.
pub(super) fn written(o: &mut Observed, d: &Decision) {
    Arc::make_mut(&mut o.check).status = Some(status(d));
}

/// Names of the machines that are deleted.
pub(super) fn deleted(o: &Observed, d: &Decision) -> Vec<String> {
    let mut names: Vec<_> = d
        .remedies
        .iter()
        .filter(|r| r.treatment == Treatment::Deleted)
        .map(|r| o.machines[r.machine].machine.name_any())
        .collect();
    names.sort();
    names
}

/// Reasons of all events, those about the check first.
pub(super) fn events(d: &Decision) -> Vec<String> {
    let of_machines = d.marks.iter().flat_map(|(_, effects)| effects);
    let all = d
        .events
        .iter()
        .chain(of_machines)
        .chain(d.remedies.iter().flat_map(|r| &r.effects));
    all.filter_map(|effect| match effect {
        Effect::Emit(notice) | Effect::EmitAbout(_, notice) => Some(notice.reason.clone()),
        _ => None,
    })
    .collect()
}

/// Status, reason and message of a condition.
fn condition(d: &Decision, type_: &str) -> (String, String, String) {
    let status = status(d);
    let c = status.conditions.iter().find(|c| c.type_ == type_);
    c.map(|c| (c.status.clone(), c.reason.clone(), c.message.clone()))
        .unwrap_or_default()
}

fn counts(d: &Decision) -> (i32, i32, i32) {
    let s = status(d);
    (s.expected_machines, s.current_healthy, s.remediations_allowed)
}

/// What is written into the status of each machine: name, status, reason, message. It is put there, too.
pub(super) fn mark(o: &mut Observed, d: &Decision) -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for (index, effects) in &d.marks {
        for effect in effects {
            let Effect::ApplyStatus { status, .. } = effect else {
                continue;
            };
            let condition = status["conditions"][0].clone();
            let of = |key: &str| condition[key].as_str().unwrap().to_owned();
            let machine = Arc::make_mut(&mut o.machines[*index].machine);
            all.push((machine.name_any(), of("status"), of("message")));
            let list = &mut machine.status.as_mut().unwrap().conditions;
            let new = serde_json::from_value(condition).unwrap();
            list.retain(|c| c.type_ != "HealthCheckSucceeded");
            list.push(new);
        }
    }
    all
}

pub(super) fn after(seconds: i64) -> Requeue {
    Requeue::After(SignedDuration::from_secs(seconds))
}

#[test]
fn h01_a_machine_that_was_broken_for_long_enough_is_deleted() {
    let o = observed(json!({}), vec![bad("m-0", 600)]);
    let d = decide(&o);
    assert_eq!(deleted(&o, &d), ["m-0"]);
    assert_eq!(events(&d), ["MachineDeleted"]);
    assert_eq!(counts(&d), (1, 0, 0));
    let Effect::Delete { uid, .. } = &d.remedies[0].effects[0] else {
        panic!("{:?}", d.remedies)
    };
    assert_eq!(uid.as_deref(), Some("uid-m-0"));
    let message = format!("{:?}", d.remedies[0].effects[1]);
    assert!(
        message.contains("its Node's condition Ready is False (limit 5m0s)"),
        "{message}"
    );
}

#[test]
fn h02_healthy_machines_are_counted_and_nothing_is_done() {
    let mut o = observed(json!({ "maxUnhealthy": "100%" }), vec![well("m-0")]);
    let d = decide(&o);
    assert_eq!(counts(&d), (1, 1, 1));
    assert!(d.remedies.is_empty() && d.marks.is_empty() && d.events.is_empty());
    assert_eq!(d.requeue, Requeue::OnChange);
    assert_eq!(condition(&d, "Ready").0, "True");
    assert_eq!(condition(&d, "RemediationAllowed").0, "True");
    // A second look says the same.
    written(&mut o, &d);
    assert_eq!(plan(&o, at(NOW + 5000)).status, d.status);
}

#[test]
fn h03_a_machine_that_broke_lately_is_watched_until_its_time_is_up() {
    let mut o = observed(json!({}), vec![bad("m-0", 0), well("m-1")]);
    let d = decide(&o);
    assert!(d.remedies.is_empty());
    assert_eq!(events(&d), ["DetectedUnhealthy"]);
    assert_eq!(d.requeue, after(300));
    assert_eq!(counts(&d), (2, 1, 1));
    let marks = mark(&mut o, &d);
    let expected = "workers: its Node's condition Ready is False (limit 5m0s)".to_owned();
    assert_eq!(marks, [("m-0".to_owned(), "Unknown".to_owned(), expected)]);
    // Told once.
    written(&mut o, &d);
    let again = plan(&o, at(NOW + 100));
    assert!(again.marks.is_empty() && again.events.is_empty());
    assert_eq!((again.requeue, again.status), (after(200), d.status));
    // On time, neither sooner nor later.
    assert!(plan(&o, at(NOW + 299)).remedies.is_empty());
    let d = plan(&o, at(NOW + 300));
    assert_eq!(deleted(&o, &d), ["m-0"]);
    assert_eq!(events(&d), ["MachineDeleted"]);
}

/// Deviates from `OpenShift`: a machine that starts as it should is not told of, because each start would cost an Event.
#[test]
fn h04_a_machine_that_becomes_no_node_in_time_is_deleted() {
    let spec = json!({ "nodeStartupTimeout": "15m" });
    let o = observed(spec, vec![without_node("m-0", NOW)]);
    let d = decide(&o);
    assert!(d.remedies.is_empty() && events(&d).is_empty() && d.marks.is_empty());
    assert_eq!(d.requeue, after(900));
    assert_eq!(counts(&d), (1, 0, 0));
    let d = plan(&o, at(NOW + 900));
    assert_eq!(deleted(&o, &d), ["m-0"]);
    assert!(format!("{:?}", d.remedies).contains("became no Node within 15m0s"));
}

/// Deviates from `OpenShift`: the clock is not `lastUpdated`, because every change of the status would start it anew.
#[test]
fn h04_the_start_counts_from_the_last_step_and_not_from_the_last_write() {
    let spec = json!({ "nodeStartupTimeout": "10m" });
    let with = |change: &dyn Fn(&mut Watched)| {
        let mut w = without_node("m-0", NOW - 900);
        change(&mut w);
        let d = decide(&observed(spec.clone(), vec![w]));
        (d.remedies.len(), d.requeue)
    };
    let set = |w: &mut Watched, key: &str, value: Value| {
        let machine = Arc::make_mut(&mut w.machine);
        let mut status = serde_json::to_value(machine.status.clone()).unwrap();
        status[key] = value;
        machine.status = serde_json::from_value(status).unwrap();
    };
    let ready = |type_: &str, status: &str| json!([{ "type": type_, "status": status, "reason": "R", "message": "", "lastTransitionTime": text(NOW - 100) }]);
    assert_eq!(with(&|_| {}), (1, Requeue::OnChange));
    assert_eq!(with(&|w| set(w, "lastUpdated", json!(text(NOW)))).0, 1);
    assert_eq!(
        with(&|w| set(w, "conditions", ready("InfrastructureReady", "True"))),
        (0, after(500))
    );
    assert_eq!(
        with(&|w| set(w, "conditions", ready("BootstrapReady", "True"))),
        (0, after(500))
    );
    assert_eq!(
        with(&|w| set(w, "conditions", ready("InfrastructureReady", "False"))).0,
        1
    );
    assert_eq!(with(&|w| set(w, "conditions", ready("NodeHealthy", "True"))).0, 1);
    assert_eq!(with(&|w| w.cluster_since = Some(at(NOW - 50))), (0, after(550)));
}

#[test]
fn h05_without_a_startup_timeout_a_machine_may_start_for_ever() {
    let o = observed(
        json!({ "nodeStartupTimeout": "0" }),
        vec![without_node("m-0", 1000)],
    );
    let d = decide(&o);
    assert!(d.remedies.is_empty() && d.marks.is_empty());
    assert_eq!(d.requeue, Requeue::OnChange);
    assert_eq!(counts(&d).1, 0);
}

/// Deviates from `OpenShift`: a missing Node is asked for once more before, because a watch may lag behind.
#[test]
fn h06_a_failed_machine_and_one_whose_node_is_gone_are_deleted_at_once() {
    let mut failed = machine("m-0");
    failed.status.as_mut().unwrap().phase = Some("Failed".into());
    failed.status.as_mut().unwrap().failure_message = Some("no quota".into());
    let o = observed(
        json!({}),
        vec![
            watched(failed, node("True", 0)),
            watched(machine("m-1"), NodeView::Missing("m-1".into())),
            well("m-2"),
        ],
    );
    let d = decide(&o);
    assert_eq!(deleted(&o, &d), ["m-0", "m-1"]);
    let words = format!("{:?}", d.remedies);
    assert!(words.contains("the machine has failed: no quota") && words.contains("its Node m-1 is gone"));
}

#[test]
fn what_a_node_says_is_asked_for_once_more_before_its_machine_is_deleted() {
    let mut o = observed(json!({}), fleet(3, 2));
    o.machines[0].confirmed = false;
    let d = decide(&o);
    assert_eq!(
        (d.confirm.as_slice(), deleted(&o, &d)),
        (&[0][..], vec!["m-1".to_owned()])
    );
    // Its Node is well again: the cache was late.
    o.machines[0].confirmed = true;
    o.machines[0].node = node("True", NOW);
    assert_eq!(deleted(&o, &decide(&o)), ["m-1"]);
}

#[test]
fn an_api_server_that_does_not_answer_makes_no_machine_broken() {
    let mut starting = without_node("m-1", 1000);
    starting.node = NodeView::Unseen { was_node: false };
    let unseen = watched(machine("m-0"), NodeView::Unseen { was_node: true });
    let o = observed(json!({ "maxUnhealthy": 1 }), vec![unseen, starting]);
    let d = decide(&o);
    assert!(d.remedies.is_empty() && d.marks.is_empty() && d.events.is_empty());
    assert_eq!((counts(&d), d.requeue), ((2, 1, 0), Requeue::OnChange));
    let (status, reason, message) = condition(&d, "Ready");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "Unreachable"));
    assert!(message.starts_with("2 machines can't be judged"), "{message}");
}

#[test]
fn h07_a_machine_that_nobody_would_replace_stays() {
    let mut alone = bad("m-0", 600);
    Arc::make_mut(&mut alone.machine).metadata.owner_references = None;
    let mut o = observed(json!({}), vec![alone]);
    let d = decide(&o);
    assert!(d.remedies.is_empty());
    assert_eq!(events(&d), ["DetectedUnhealthy", "SkippedNoController"]);
    mark(&mut o, &d);
    written(&mut o, &d);
    let again = plan(&o, at(NOW + 60));
    assert_eq!(events(&again), Vec::<String>::new());
    assert_eq!(again.requeue, Requeue::OnChange);
    // An owner that is no controller makes no difference.
    let owners = json!([{ "apiVersion": "v1", "kind": "X", "name": "x", "uid": "x" }]);
    Arc::make_mut(&mut o.machines[0].machine)
        .metadata
        .owner_references = serde_json::from_value(owners).unwrap();
    assert!(plan(&o, at(NOW + 60)).remedies.is_empty());
}

#[test]
fn h08_a_machine_that_leaves_already_is_left_alone() {
    let mut leaving = machine("m-0");
    leaving.metadata.deletion_timestamp = serde_json::from_value(json!(text(NOW))).unwrap();
    let o = observed(json!({}), vec![watched(leaving, node("False", 1000))]);
    let d = decide(&o);
    assert!(d.remedies.is_empty() && events(&d).is_empty() && d.marks.is_empty());
    assert_eq!(counts(&d), (1, 0, 0));
}

#[test]
fn h09_paused_machines_are_counted_and_left_alone() {
    let mut o = observed(json!({}), fleet(2, 1));
    o.machines[0].paused = true;
    let d = decide(&o);
    assert!(d.remedies.is_empty() && d.marks.is_empty());
    assert_eq!(counts(&d), (2, 1, 1));
}

#[test]
fn h10_nothing_is_replaced_when_more_are_broken_than_may_be() {
    for (max, total, broken, goes) in [
        (json!(2), 5, 2, true),
        (json!(2), 5, 3, false),
        (json!("40%"), 5, 2, true),
        (json!("40%"), 5, 3, false),
        (json!("60%"), 7, 4, true),
        (json!("60%"), 7, 5, false),
        (json!("2"), 5, 2, true),
        (json!(null), 5, 5, true),
        (json!("many"), 5, 1, false),
        (json!(-1), 5, 1, false),
        (json!(0), 5, 1, false),
    ] {
        let o = observed(
            json!({ "maxUnhealthy": max, "maxInFlight": 100 }),
            fleet(total, broken),
        );
        let d = decide(&o);
        let expected = if goes { broken } else { 0 };
        assert_eq!(d.remedies.len(), expected, "{max} of {total}, {broken} broken");
    }
    let healthy = decide(&observed(json!({ "maxUnhealthy": -1 }), fleet(3, 0)));
    assert_eq!(condition(&healthy, "RemediationAllowed").0, "True");
    let invalid = decide(&observed(json!({ "maxUnhealthy": "many" }), fleet(3, 1)));
    assert_eq!(condition(&invalid, "RemediationAllowed").1, "InvalidLimit");
    assert_eq!(events(&invalid), ["InvalidLimit", "DetectedUnhealthy"]);
}

#[test]
fn h11_too_many_broken_machines_are_told_once_and_none_is_deleted() {
    let mut o = observed(json!({ "maxUnhealthy": "40%" }), fleet(5, 3));
    let d = decide(&o);
    assert!(d.remedies.is_empty());
    let message = "Remediation is not allowed, the number of not started or unhealthy machines exceeds maxUnhealthy (total: 5, unhealthy: 3, maxUnhealthy: 40%)";
    assert_eq!(
        condition(&d, "RemediationAllowed"),
        (
            "False".to_owned(),
            "TooManyUnhealthy".to_owned(),
            message.to_owned()
        )
    );
    assert_eq!((counts(&d), d.requeue), ((5, 2, 0), Requeue::OnChange));
    assert_eq!(events(&d)[0], "RemediationRestricted");
    written(&mut o, &d);
    mark(&mut o, &d);
    let again = plan(&o, at(NOW + 60));
    assert!(events(&again).is_empty() && again.marks.is_empty());
    // One of them recovers: the others may be replaced.
    o.machines[0].node = node("True", NOW + 60);
    let d = plan(&o, at(NOW + 60));
    assert_eq!(condition(&d, "RemediationAllowed").0, "True");
    assert_eq!(deleted(&o, &d), ["m-1", "m-2"]);
    let marks = mark(&mut o, &d);
    assert_eq!(marks[0].0, "m-0");
    assert_eq!(marks[0].1, "True");
}

/// Deviates from `OpenShift` where more are broken at once: they are replaced in waves, because a storm of deletions takes a fleet down.
#[test]
fn h12_three_of_ten_are_deleted_in_one_look() {
    let o = observed(json!({}), fleet(10, 3));
    assert_eq!(deleted(&o, &decide(&o)), ["m-0", "m-1", "m-2"]);
}

#[test]
fn a_fleet_that_breaks_at_once_is_replaced_in_waves_even_without_limits() {
    let o = observed(json!({}), fleet(50, 50));
    assert_eq!(decide(&o).remedies.len(), 10);
    let o = observed(json!({ "maxInFlight": "50%" }), fleet(50, 50));
    assert_eq!(decide(&o).remedies.len(), 25);
    let o = observed(json!({ "maxInFlight": 0 }), fleet(50, 50));
    assert_eq!(decide(&o).remedies.len(), 0);
}

#[test]
fn h13_with_the_strategy_of_bare_metal_machines_are_annotated_and_failed_ones_deleted() {
    let mut failed = bad("m-1", 600);
    Arc::make_mut(&mut failed.machine).status.as_mut().unwrap().phase = Some("Failed".into());
    let mut alone = bad("m-0", 600);
    Arc::make_mut(&mut alone.machine).metadata.owner_references = None;
    let mut o = observed(json!({}), vec![alone, failed]);
    Arc::make_mut(&mut o.check).metadata.annotations = Some(
        [(
            "machine.openshift.io/remediation-strategy".to_owned(),
            "external-baremetal".to_owned(),
        )]
        .into(),
    );
    let d = decide(&o);
    assert_eq!(deleted(&o, &d), ["m-1"]);
    let annotated = d
        .remedies
        .iter()
        .find(|r| r.treatment == Treatment::Annotated)
        .unwrap();
    let words = format!("{:?}", annotated.effects);
    assert!(
        words.contains(r#"patch Machine fleet/m-0 in management cluster: {"metadata":{"annotations":{"host.metal3.io/external-remediation":""}}}"#),
        "{words}"
    );
    assert!(words.contains("ExternalAnnotationAdded"), "{words}");
    // Once, and it counts as broken until the annotation is gone, whatever its Node says.
    let machine = Arc::make_mut(&mut o.machines[0].machine);
    machine.metadata.annotations =
        Some([("host.metal3.io/external-remediation".to_owned(), String::new())].into());
    for node in [node("False", 1000), node("True", 1000)] {
        o.machines[0].node = node;
        let d = decide(&o);
        assert!(d.remedies.iter().all(|r| r.machine != 0));
        assert_eq!(counts(&d).1, 0);
    }
}

/// A check with a template of somebody else.
fn with_template(machines: Vec<Watched>) -> Observed {
    let spec = json!({ "remediationTemplate": { "apiVersion": "repair.example/v1", "kind": "RepairTemplate", "name": "fix" } });
    let mut o = observed(spec, machines);
    o.external = External::Known(Requests {
        resource: kube::api::ApiResource::from_gvk(&kube::api::GroupVersionKind::gvk(
            "repair.example",
            "v1",
            "Repair",
        )),
        existing: BTreeMap::new(),
        template: Template::Unread,
    });
    o
}

fn requests(o: &mut Observed) -> &mut Requests {
    match &mut o.external {
        External::Known(requests) => requests,
        other => panic!("{other:?}"),
    }
}

#[test]
fn h14_an_object_is_made_for_a_broken_machine_once_and_removed_when_it_is_well() {
    let mut o = with_template(vec![bad("m-0", 600), well("m-1")]);
    assert!(decide(&o).needs_template);
    requests(&mut o).template =
        Template::Found(json!({ "metadata": { "labels": { "a": "b" } }, "spec": { "how": "reboot" } }));
    let d = decide(&o);
    let [Effect::Create { object, .. }] = d.remedies[0].effects.as_slice() else {
        panic!("{:?}", d.remedies)
    };
    let made = serde_json::to_value(object).unwrap();
    assert_eq!(
        made,
        json!({
            "apiVersion": "repair.example/v1", "kind": "Repair",
            "metadata": {
                "name": "m-0", "namespace": "fleet", "labels": { "a": "b" },
                "annotations": {
                    "machine.crit.sh/cloned-from-name": "fix",
                    "machine.crit.sh/cloned-from-groupkind": "RepairTemplate.repair.example",
                },
                "ownerReferences": [{
                    "apiVersion": "machine.crit.sh/v1alpha1", "kind": "Machine", "name": "m-0", "uid": "uid-m-0"
                }],
            },
            "spec": { "how": "reboot" },
        })
    );
    assert_eq!(condition(&d, "ExternalRemediationTemplateAvailable").0, "True");
    assert_eq!(condition(&d, "ExternalRemediationRequestAvailable").0, "True");
    // It exists: nothing more is done, and nothing is read.
    let mut existing: DynamicObject = serde_json::from_value(made).unwrap();
    existing.metadata.uid = Some("r".into());
    requests(&mut o).existing = [("m-0".to_owned(), Arc::new(existing.clone()))].into();
    requests(&mut o).template = Template::Unread;
    let d = decide(&o);
    assert!(d.remedies.is_empty() && !d.needs_template);
    assert_eq!(d.in_flight, 1);
    // The machine is well again.
    o.machines[0].node = node("True", NOW);
    let d = decide(&o);
    assert_eq!(d.remedies[0].treatment, Treatment::Withdrawn);
    assert!(format!("{:?}", d.remedies).contains("delete Repair fleet/m-0"));
    // It goes already, or is somebody else's.
    existing.metadata.deletion_timestamp = serde_json::from_value(json!(text(NOW))).unwrap();
    requests(&mut o).existing = [("m-0".to_owned(), Arc::new(existing.clone()))].into();
    assert!(decide(&o).remedies.is_empty());
    existing.metadata.deletion_timestamp = None;
    existing.metadata.owner_references = None;
    requests(&mut o).existing = [("m-0".to_owned(), Arc::new(existing))].into();
    assert!(decide(&o).remedies.is_empty());
}

#[test]
fn h14_failed_machines_and_those_without_a_controller_are_handed_over_too() {
    let mut failed = bad("m-0", 600);
    let machine = Arc::make_mut(&mut failed.machine);
    machine.status.as_mut().unwrap().phase = Some("Failed".into());
    machine.metadata.owner_references = None;
    let mut o = with_template(vec![failed]);
    requests(&mut o).template = Template::Found(Value::Null);
    let d = decide(&o);
    assert_eq!(d.remedies[0].treatment, Treatment::Requested);
}

#[test]
fn h14_a_template_that_does_not_exist_is_told_once_and_looked_for_again() {
    let mut o = with_template(fleet(2, 1));
    requests(&mut o).template = Template::Missing;
    let d = decide(&o);
    assert!(d.remedies.is_empty());
    assert_eq!(d.requeue, after(30));
    let told = condition(&d, "ExternalRemediationTemplateAvailable");
    assert_eq!(
        (told.0.as_str(), told.1.as_str()),
        ("False", "ExternalRemediationTemplateNotFound")
    );
    assert!(told.2.contains("RepairTemplate fix"), "{}", told.2);
    assert!(events(&d).contains(&"ExternalRemediationTemplateNotFound".to_owned()));
    written(&mut o, &d);
    mark(&mut o, &d);
    assert!(events(&decide(&o)).is_empty());
    // Another kind of reference is refused without asking anybody.
    o.external = External::Unusable("spec.remediationTemplate needs a kind that ends with Template".into());
    assert_eq!(
        condition(&decide(&o), "Ready").1,
        "ExternalRemediationTemplateNotFound"
    );
    // Without a template the conditions about it go.
    o.external = External::NotAsked;
    assert_eq!(status(&decide(&o)).conditions.len(), 2);
}

/// Deviates from `OpenShift`: one at a time in each cluster, because two at once may cost etcd its quorum.
#[test]
fn h16_control_plane_machines_are_deleted_one_at_a_time_unless_they_are_to_be_left_alone() {
    let control_plane = |name: &str, node: NodeView| {
        let mut machine = machine(name);
        machine.metadata.labels =
            Some([("node-role.kubernetes.io/control-plane".to_owned(), String::new())].into());
        watched(machine, node)
    };
    let broken = || node("False", 1000);
    let one = observed(json!({}), vec![control_plane("cp-0", broken())]);
    assert_eq!(deleted(&one, &decide(&one)), ["cp-0"]);

    let mut three = observed(
        json!({}),
        vec![
            control_plane("cp-0", broken()),
            control_plane("cp-1", broken()),
            control_plane("cp-2", node("True", 1000)),
        ],
    );
    assert_eq!(deleted(&three, &decide(&three)), ["cp-0"]);
    // Not while another one leaves or starts.
    three.machines[0].leaving = true;
    assert!(decide(&three).remedies.is_empty());
    three.machines[0].leaving = false;
    three.machines[0].node = NodeView::None;
    Arc::make_mut(&mut three.machines[0].machine)
        .metadata
        .creation_timestamp = serde_json::from_value(json!(text(NOW))).unwrap();
    assert!(decide(&three).remedies.is_empty());
    // Machines of another cluster are another matter.
    let other = Arc::make_mut(&mut three.machines[1].machine);
    other.spec.cluster_name = Some("other".into());
    assert_eq!(deleted(&three, &decide(&three)), ["cp-1"]);

    let spared = observed(
        json!({ "skipControlPlane": true }),
        vec![control_plane("cp-0", broken()), bad("m-0", 600)],
    );
    assert_eq!(deleted(&spared, &decide(&spared)), ["m-0"]);
}

#[test]
fn a_wish_takes_a_healthy_machine_but_not_the_last_control_plane() {
    let asked = |labels: Value| {
        let mut w = well("m-0");
        let machine = Arc::make_mut(&mut w.machine);
        machine.metadata.labels = serde_json::from_value(labels).unwrap();
        machine.metadata.annotations =
            Some([("machine.crit.sh/remediate-machine".to_owned(), String::new())].into());
        w
    };
    let o = observed(json!({}), vec![asked(json!({}))]);
    assert_eq!(deleted(&o, &decide(&o)), ["m-0"]);
    let role = json!({ "node-role.kubernetes.io/master": "" });
    let mut o = observed(json!({}), vec![asked(role.clone()), well("m-1")]);
    assert!(decide(&o).remedies.is_empty());
    Arc::make_mut(&mut o.machines[1].machine).metadata.labels = serde_json::from_value(role).unwrap();
    assert_eq!(deleted(&o, &decide(&o)), ["m-0"]);
}

#[test]
fn a_machine_is_spared_that_is_annotated_so() {
    let mut o = observed(json!({}), fleet(2, 2));
    Arc::make_mut(&mut o.machines[0].machine).metadata.annotations =
        Some([("machine.crit.sh/skip-remediation".to_owned(), String::new())].into());
    let d = decide(&o);
    assert_eq!(deleted(&o, &d), ["m-1"]);
    assert_eq!(counts(&d), (2, 0, 0));
}

#[test]
fn h17_a_config_map_that_can_not_be_used_stops_replacement_and_is_told_once() {
    let mut o = observed(json!({}), fleet(2, 1));
    o.rules = Err("ConfigMap node-unhealthy-conditions has no key \"conditions\"".into());
    let d = decide(&o);
    assert!(d.remedies.is_empty());
    assert_eq!(events(&d), ["InvalidUnhealthyConditions"]);
    for type_ in ["RemediationAllowed", "Ready"] {
        let (status, reason, message) = condition(&d, type_);
        assert_eq!(
            (status.as_str(), reason.as_str()),
            ("False", "InvalidUnhealthyConditions")
        );
        assert!(message.contains("no key"), "{message}");
    }
    written(&mut o, &d);
    assert!(events(&decide(&o)).is_empty());
}

#[test]
fn conditions_of_the_machine_itself_count_but_not_what_only_means_silence() {
    let spec = json!({ "unhealthyMachineConditions": [{ "type": "NodeHealthy", "status": "unknown", "timeout": "60s" }] });
    let with = |reason: &str, since: i64| {
        let mut w = well("m-0");
        let status = Arc::make_mut(&mut w.machine).status.as_mut().unwrap();
        status.conditions = serde_json::from_value(json!([{
            "type": "NodeHealthy", "status": "Unknown", "reason": reason, "message": "", "lastTransitionTime": text(since)
        }]))
        .unwrap();
        let mut o = observed(spec.clone(), vec![w]);
        o.machines[0].confirmed = false;
        let d = decide(&o);
        (deleted(&o, &d).len(), d.requeue)
    };
    assert_eq!(with("NodeUnknown", NOW - 60), (1, Requeue::OnChange));
    assert_eq!(with("NodeUnknown", NOW - 59), (0, after(1)));
    assert_eq!(with("Unreachable", NOW - 600), (0, Requeue::OnChange));
}

#[test]
fn statuses_are_compared_whatever_their_case_and_missing_conditions_never_match() {
    let spec = json!({ "unhealthyConditions": [
        { "type": "Ready", "status": "false", "timeout": "1m" }, { "type": "Gone", "status": "Unknown" }
    ] });
    let o = observed(spec, fleet(2, 1));
    assert_eq!(deleted(&o, &decide(&o)), ["m-0"]);
}
