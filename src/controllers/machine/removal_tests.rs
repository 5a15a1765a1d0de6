//! Tables of what is observed about a Machine that goes and what follows.

use std::sync::Arc;

use k8s_openapi::{
    api::core::v1::{ObjectReference, Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::api::{ApiResource, DynamicObject};

use super::{super::observe::*, *};
use crate::api::v1alpha1::{
    Cluster, ClusterSpec, ClusterStatus, HollowMachine, LifecycleHook, LifecycleHooks, Machine, MachineSpec,
    MachineStatus,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn observed() -> Observed {
    let mut machine = Machine::new("m-1", MachineSpec::default());
    machine.metadata.namespace = Some("fleet".into());
    machine.metadata.uid = Some("m-uid".into());
    machine.metadata.deletion_timestamp = Some(Time(at(100)));
    machine.metadata.finalizers = Some(vec![labels::MACHINE_FINALIZER.to_owned()]);
    machine.status = Some(MachineStatus {
        node_ref: Some(ObjectReference {
            name: Some("n-1".into()),
            ..ObjectReference::default()
        }),
        phase: Some("Terminating".into()),
        ..MachineStatus::default()
    });
    let object: DynamicObject = serde_json::from_value(json!({
        "metadata": { "name": "infra-1", "namespace": "fleet", "uid": "i-uid",
            "ownerReferences": [{ "apiVersion": "machine.crit.sh/v1alpha1", "kind": "Machine", "name": "m-1", "uid": "m-uid" }] },
        "spec": {}
    }))
    .unwrap();
    let node: Node = serde_json::from_value(json!({
        "metadata": { "name": "n-1", "uid": "n-uid" },
        "status": { "conditions": [{ "type": "Ready", "status": "True" }] }
    }))
    .unwrap();
    Observed {
        machine: Arc::new(machine),
        cluster: ClusterView::NotNamed,
        infrastructure: InfrastructureView::Found(Infrastructure {
            resource: ApiResource::erase::<HollowMachine>(&()),
            object: Arc::new(object),
            needs_bootstrap: Some(false),
        }),
        target: Some(Target::Management),
        reachable: true,
        node: Some(Arc::new(node)),
        data: Some(DataSecret {
            revision: None,
            token_id: Some("abcdef".into()),
            token_expires: None,
        }),
        foreign_data: false,
        ingredients: None,
        control_plane: Vec::new(),
        peers: Vec::new(),
        turn: None,
        conflict: None,
        volumes: None,
        draining: Some(Draining::default()),
    }
}

fn pod(name: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": name, "namespace": "apps", "uid": format!("{name}-uid") },
        "spec": { "nodeName": "n-1", "containers": [] }
    }))
    .unwrap()
}

fn with_pods(o: &mut Observed, names: &[&str]) {
    o.draining = Some(Draining {
        pods: names.iter().map(|name| pod(name)).collect(),
        ..Draining::default()
    });
}

fn words(plan: &Plan) -> Vec<String> {
    plan.effects.iter().map(ToString::to_string).collect()
}

fn machine(o: &mut Observed) -> &mut Machine {
    Arc::make_mut(&mut o.machine)
}

fn set_condition(o: &mut Observed, type_: &str, so: Status, reason: &str, second: i64) {
    let status = machine(o).status.as_mut().unwrap();
    conditions::set(
        &mut status.conditions,
        condition(type_, so, reason, "before", None, at(second)),
    );
}

/// A machine whose drain is over.
fn drained() -> Observed {
    let mut o = observed();
    set_condition(&mut o, conditions::DRAINED, Status::True, "Drained", 100);
    o
}

fn annotate(o: &mut Observed, key: &str) {
    machine(o)
        .metadata
        .annotations
        .get_or_insert_default()
        .insert(key.to_owned(), String::new());
}

fn hook(name: &str) -> Vec<LifecycleHook> {
    vec![LifecycleHook {
        name: name.into(),
        owner: "backup-operator".into(),
    }]
}

fn with_hooks(o: &mut Observed, pre_drain: Vec<LifecycleHook>, pre_terminate: Vec<LifecycleHook>) {
    machine(o).spec.lifecycle_hooks = Some(LifecycleHooks {
        pre_drain,
        pre_terminate,
    });
}

/// Writes a plan's status into the Machine.
fn take_status(o: &mut Observed, plan: &Plan) {
    machine(o).status = serde_json::from_value(plan.status.clone().unwrap()).unwrap();
}

fn told(plan: &Plan, type_: &str) -> Option<Condition> {
    let status: MachineStatus = serde_json::from_value(plan.status.clone()?).unwrap();
    conditions::find(&status.conditions, type_).cloned()
}

fn ready_reason(plan: &Plan) -> String {
    let ready = told(plan, conditions::READY).unwrap();
    assert_eq!(ready.status, "False");
    ready.reason
}

/// The first thing that a plan for a Machine does besides telling.
fn first(o: &Observed, now: i64) -> String {
    let p = plan(o, at(now));
    let mut acts = words(&p).into_iter().filter(|w| !w.starts_with("event"));
    acts.next().unwrap_or_else(|| ready_reason(&p))
}

const INFRASTRUCTURE: &str = "delete HollowMachine fleet/infra-1 in management cluster";
const CORDON: &str = r#"patch Node n-1 in management cluster: {"spec":{"unschedulable":true}}"#;

#[test]
fn a_machine_goes_in_the_order_that_users_rely_on() {
    let mut o = observed();
    machine(&mut o).status.as_mut().unwrap().phase = Some("Running".into());
    let mut story = Vec::new();
    // Each turn does what the effects ask for.
    for _ in 0..20 {
        let p = plan(&o, at(101));
        if p.effects.is_empty() {
            story.push(format!("status {}", ready_reason(&p)));
        }
        for effect in &p.effects {
            story.push(effect.to_string());
            match effect {
                Effect::Patch { .. } => {
                    Arc::make_mut(o.node.as_mut().unwrap())
                        .spec
                        .get_or_insert_default()
                        .unschedulable = Some(true);
                }
                Effect::Evict { .. } => o.draining = Some(Draining::default()),
                Effect::Delete { key, .. } if key.resource.kind == "HollowMachine" => {
                    o.infrastructure = InfrastructureView::Missing;
                }
                Effect::Delete { key, .. } if key.resource.kind == "Node" => o.node = None,
                _ => {}
            }
        }
        if story.last().unwrap().starts_with("remove finalizer") {
            break;
        }
        take_status(&mut o, &p);
        o.volumes = node_with_volumes(&o).map(|_| Vec::new());
        if story.len() == 1 {
            with_pods(&mut o, &["web"]);
        }
    }
    assert_eq!(
        story,
        [
            "status Terminating",
            CORDON,
            "evict Pod apps/web in management cluster",
            "event DrainProceeds: 1 pod has to leave Node n-1",
            "event SuccessfulDrainNode: success draining Machine's node \"n-1\"",
            "delete HollowMachine fleet/infra-1 in management cluster",
            "status Deleted",
            "delete Node n-1 in management cluster",
            "delete Secret kube-system/bootstrap-token-abcdef in management cluster",
            "delete Secret fleet/m-1-bootstrap in management cluster",
            "remove finalizer machine.crit.sh",
        ]
    );
}

/// What comes of a machine whose Node has a pod, after a change.
fn after(change: impl Fn(&mut Observed)) -> (String, Option<String>) {
    let mut o = observed();
    with_pods(&mut o, &["web"]);
    change(&mut o);
    let p = plan(&o, at(200));
    let drained = told(&p, conditions::DRAINED).filter(|c| c.status == "True");
    (first(&o, 200), drained.map(|c| c.reason))
}

#[test]
fn d01_nothing_is_deleted_before_the_drain_is_over() {
    let (first, drained) = after(|_| {});
    assert_eq!((first.as_str(), drained), (CORDON, None));
    let mut o = observed();
    with_pods(&mut o, &["web"]);
    for now in [101, 1_000, 100_000] {
        let p = plan(&o, at(now));
        assert!(!words(&p).iter().any(|w| w.starts_with("delete")), "{p:?}");
        take_status(&mut o, &p);
    }
    assert_eq!(self::first(&self::drained(), 101), INFRASTRUCTURE);
}

#[test]
fn nothing_is_drained_where_it_makes_no_sense() {
    let skipped = |reason: &str| Some(reason.to_owned());
    // An Event is told first where somebody decided it; elsewhere it is part of the next write.
    assert_eq!(
        after(|o| annotate(o, labels::EXCLUDE_NODE_DRAINING)),
        ("DrainSkipped".to_owned(), skipped("DrainSkipped"))
    );
    let quiet = (INFRASTRUCTURE.to_owned(), skipped("DrainSkipped"));
    assert_eq!(
        after(|o| machine(o).status.as_mut().unwrap().node_ref = None),
        quiet
    );
    assert_eq!(after(|o| o.node = None), quiet);
    assert_eq!(after(|o| o.cluster = ClusterView::Missing("demo".into())), quiet);
}

#[test]
fn d04_a_node_that_is_gone_holds_nothing_up() {
    let mut o = observed();
    o.node = None;
    assert_eq!(first(&o, 101), INFRASTRUCTURE);
    o.infrastructure = InfrastructureView::Missing;
    assert_eq!(
        words(&plan(&o, at(101))).last().unwrap(),
        "remove finalizer machine.crit.sh"
    );
}

#[test]
fn a_drain_ends_with_its_time_out_which_begins_with_the_drain() {
    let mut o = observed();
    with_pods(&mut o, &["web"]);
    machine(&mut o).spec.node_drain_timeout = Some("60s".parse().unwrap());
    // However long ago it was deleted: hooks may have held it up.
    let p = plan(&o, at(5_000));
    assert_eq!(ready_reason(&p), "Draining");
    take_status(&mut o, &p);
    assert_eq!(ready_reason(&plan(&o, at(5_059))), "Draining");
    let p = plan(&o, at(5_060));
    assert_eq!(
        words(&p),
        ["event FailedDrainNode: nodeDrainTimeout is over; 1 pod has to leave Node n-1"]
    );
    take_status(&mut o, &p);
    assert_eq!(first(&o, 5_061), INFRASTRUCTURE);
    machine(&mut o).spec.node_drain_timeout = Some("0s".parse().unwrap());
    let mut forever = observed();
    with_pods(&mut forever, &["web"]);
    machine(&mut forever).spec.node_drain_timeout = Some("0s".parse().unwrap());
    set_condition(&mut forever, conditions::DRAINED, Status::False, "Draining", 100);
    assert_eq!(first(&forever, 1_000_000), CORDON);
}

/// A cluster with an API server of its own, whose control plane works.
fn own_cluster() -> ClusterView {
    let mut cluster = Cluster::new(
        "demo",
        ClusterSpec {
            api_server: ApiServerKind::Own,
            ..ClusterSpec::default()
        },
    );
    cluster.status = Some(ClusterStatus {
        control_plane_ready: true,
        ..ClusterStatus::default()
    });
    ClusterView::Found(Arc::new(cluster))
}

fn control_plane(name: &str, deleted: Option<i64>) -> Machine {
    let mut peer = observed().machine.as_ref().clone();
    peer.metadata.name = Some(name.into());
    peer.metadata.labels = Some([(labels::CONTROL_PLANE_ROLE.to_owned(), String::new())].into());
    peer.metadata.deletion_timestamp = deleted.map(|s| Time(at(s)));
    peer
}

#[test]
fn without_a_cluster_the_last_control_plane_is_neither_drained_nor_is_its_node_deleted() {
    let mut o = observed();
    o.machine = Arc::new(control_plane("m-1", Some(100)));
    assert_eq!(first(&o, 101), INFRASTRUCTURE);
    o.infrastructure = InfrastructureView::Missing;
    let all = words(&plan(&o, at(101)));
    assert_eq!(all.last().unwrap(), "remove finalizer machine.crit.sh");
    assert!(!all.iter().any(|w| w.starts_with("delete Node")));
    o.peers = vec![Arc::new(control_plane("m-2", None))];
    with_pods(&mut o, &["web"]);
    assert_eq!(first(&o, 101), CORDON);
}

#[test]
fn the_last_control_plane_of_a_cluster_that_stays_is_held() {
    let mut o = observed();
    o.machine = Arc::new(control_plane("m-1", Some(100)));
    o.cluster = own_cluster();
    let p = plan(&o, at(101));
    assert_eq!(ready_reason(&p), "LastControlPlane");
    assert_eq!(p.requeue, Requeue::OnChange);
    assert_eq!(
        words(&p),
        [
            "event DeletionBlocked: it is the last control-plane machine of Cluster demo; delete the Cluster, or, to lose it, \
          annotate the machine: machine.crit.sh/allow-last-control-plane-deletion=\"\""
        ]
    );
    take_status(&mut o, &p);
    assert_eq!(words(&plan(&o, at(102))), Vec::<String>::new(), "told once");
    assert_eq!(node_to_drain(&o, at(102)), None);
    let freed = |change: &dyn Fn(&mut Observed)| {
        let mut o = o.clone();
        change(&mut o);
        ready_reason(&plan(&o, at(102))) != "LastControlPlane"
    };
    assert!(freed(&|o| annotate(o, labels::ALLOW_LAST_CONTROL_PLANE_DELETION)));
    assert!(freed(&|o| o.peers = vec![Arc::new(control_plane("m-2", None))]));
    assert!(freed(&|o| o.cluster = ClusterView::Missing("demo".into())));
    let goes = |o: &mut Observed| {
        if let ClusterView::Found(cluster) = &mut o.cluster {
            Arc::make_mut(cluster).metadata.deletion_timestamp = Some(Time(at(101)));
        }
    };
    assert!(freed(&goes));
    // Of two that go at once the one deleted first may; the other one is the last.
    assert!(freed(
        &|o| o.peers = vec![Arc::new(control_plane("m-2", Some(101)))]
    ));
    assert!(!freed(
        &|o| o.peers = vec![Arc::new(control_plane("m-2", Some(99)))]
    ));
}

#[test]
fn a_machine_waits_while_another_control_plane_machine_is_drained() {
    let mut o = observed();
    o.machine = Arc::new(control_plane("m-1", Some(100)));
    o.peers = vec![Arc::new(control_plane("m-2", Some(99)))];
    o.turn = Some("m-2".into());
    let p = plan(&o, at(101));
    assert_eq!(
        words(&p),
        ["event DrainBlocked: waiting until control-plane machine m-2 is drained: one at a time"]
    );
    assert_eq!(told(&p, conditions::DRAINED).unwrap().status, "Unknown");
    assert_eq!(p.requeue, Requeue::OnChange, "the other one's event wakes it");
}

#[test]
fn a_cluster_that_does_not_answer_is_waited_for_but_not_for_ever() {
    let mut o = observed();
    o.reachable = false;
    o.target = Some(Target::Cluster(crate::controllers::effect::ClusterKey {
        namespace: "fleet".into(),
        name: "demo".into(),
    }));
    o.control_plane = vec!["demo".into()];
    let p = plan(&o, at(101));
    assert_eq!(ready_reason(&p), "Unreachable");
    take_status(&mut o, &p);
    assert_eq!(first(&o, 160), "Unreachable");
    let p = plan(&o, at(162));
    assert_eq!(
        words(&p),
        ["event DrainSkipped: the cluster's API server does not answer"]
    );
    take_status(&mut o, &p);
    assert_eq!(first(&o, 163), INFRASTRUCTURE);
    let mut alone = observed();
    alone.reachable = false;
    alone.target.clone_from(&o.target);
    let p = plan(&alone, at(101));
    assert_eq!(
        ready_reason(&p),
        "DrainSkipped",
        "nobody is left who could answer"
    );
}

#[test]
fn d06_a_pre_drain_hook_keeps_the_pods() {
    let mut o = observed();
    with_pods(&mut o, &["web"]);
    with_hooks(&mut o, hook("backup"), Vec::new());
    let p = plan(&o, at(101));
    assert_eq!(
        words(&p),
        ["event DrainBlocked: waiting for hook backup of backup-operator"]
    );
    let drainable = told(&p, conditions::DRAINABLE).unwrap();
    assert_eq!(
        (drainable.status.as_str(), drainable.reason.as_str()),
        ("False", "HookPresent")
    );
    assert_eq!(node_to_drain(&o, at(101)), None);
    take_status(&mut o, &p);
    assert!(plan(&o, at(102)).effects.is_empty(), "told once");
    with_hooks(&mut o, Vec::new(), Vec::new());
    let p = plan(&o, at(103));
    assert_eq!(first(&o, 103), CORDON);
    assert_eq!(told(&p, conditions::DRAINABLE).unwrap().status, "True");
}

/// Deviates from `OpenShift`: there the annotation bypasses preDrain hooks, because the hook's owner relies on it in any case.
#[test]
fn d08_hooks_hold_also_where_the_drain_is_skipped() {
    let mut o = observed();
    with_hooks(&mut o, hook("backup"), Vec::new());
    annotate(&mut o, labels::EXCLUDE_NODE_DRAINING);
    assert_eq!(first(&o, 101), "PreDrainHook");
    with_hooks(&mut o, Vec::new(), Vec::new());
    assert_eq!(
        words(&plan(&o, at(101))),
        ["event DrainSkipped: annotation machine.crit.sh/exclude-node-draining is set"]
    );
}

#[test]
fn d07_a_pre_terminate_hook_keeps_the_host() {
    let mut o = drained();
    with_hooks(&mut o, Vec::new(), hook("snapshot"));
    let p = plan(&o, at(101));
    assert_eq!(
        words(&p),
        ["event TerminationBlocked: waiting for hook snapshot of backup-operator"]
    );
    assert_eq!(told(&p, conditions::TERMINABLE).unwrap().reason, "HookPresent");
    with_hooks(&mut o, Vec::new(), Vec::new());
    assert_eq!(first(&o, 101), INFRASTRUCTURE);
}

#[test]
fn d09_without_a_node_there_is_nothing_to_drain() {
    let mut o = observed();
    machine(&mut o).status.as_mut().unwrap().node_ref = None;
    machine(&mut o).status.as_mut().unwrap().phase = Some("Provisioning".into());
    // It is said with the first word: that saves a write.
    let p = plan(&o, at(101));
    assert_eq!(ready_reason(&p), "Terminating");
    assert_eq!(told(&p, conditions::DRAINED).unwrap().reason, "DrainSkipped");
    take_status(&mut o, &p);
    assert_eq!(first(&o, 101), INFRASTRUCTURE);
}

#[test]
fn d15_a_machine_that_is_drained_is_not_drained_again() {
    let mut o = drained();
    with_pods(&mut o, &["web"]);
    assert_eq!(first(&o, 101), INFRASTRUCTURE);
    assert_eq!(node_to_drain(&o, at(101)), None);
    // A hook that comes afterwards comes too late.
    with_hooks(&mut o, hook("backup"), Vec::new());
    assert_eq!(first(&o, 101), INFRASTRUCTURE);
    // One that does not go is nobody's business here; one without our finalizer neither.
    machine(&mut o).metadata.finalizers = None;
    assert_eq!(plan(&o, at(101)), Plan::nothing());
}

#[test]
fn what_pods_are_answered_is_told_in_the_same_look() {
    let mut o = observed();
    with_pods(&mut o, &["web", "db"]);
    let p = plan(&o, at(101));
    assert_eq!(
        words(&p)[1],
        "evict Pod apps/db, Pod apps/web in management cluster"
    );
    let why = "The disruption budget web needs 1 healthy pods and has 1 currently";
    let key = |name: &str| PodKey::of(&pod(name));
    take_answers(
        &mut o,
        vec![
            (key("web"), Answer::Blocked(why.to_owned())),
            (key("db"), Answer::Leaves),
        ],
        at(101),
    );
    let p = plan(&o, at(101));
    let message = format!("2 pods have to leave Node n-1; blocked: apps/web: {why}; ending: apps/db");
    let drained = told(&p, conditions::DRAINED).unwrap();
    assert_eq!(
        (drained.reason.as_str(), &drained.message),
        ("EvictionBlocked", &message)
    );
    assert_eq!(
        words(&p).last().unwrap(),
        &format!("event FailedDrainNode: {message}")
    );
    take_status(&mut o, &p);
    // The next look in the same state tells nothing new and asks nobody.
    let quiet: Vec<_> = words(&plan(&o, at(102)));
    assert_eq!(quiet, [CORDON]);
    assert_eq!(
        plan(&o, at(102)).requeue,
        Requeue::After(SignedDuration::from_secs(2))
    );
}

#[test]
fn volumes_are_waited_for_until_they_are_detached() {
    let mut o = drained();
    o.volumes = Some(vec!["pvc-1".into(), "pvc-2".into()]);
    let p = plan(&o, at(101));
    assert_eq!(
        words(&p),
        ["event WaitingForVolumeDetach: 2 volumes are still attached to Node n-1: pvc-1, pvc-2"]
    );
    assert_eq!(told(&p, conditions::VOLUMES_DETACHED).unwrap().status, "False");
    take_status(&mut o, &p);
    assert!(plan(&o, at(102)).effects.is_empty());
    o.volumes = Some(Vec::new());
    let p = plan(&o, at(103));
    assert_eq!(
        words(&p),
        ["event NodeVolumesDetached: no volumes are attached to Node n-1"]
    );
    take_status(&mut o, &p);
    assert!(node_with_volumes(&o).is_none());
    assert_eq!(first(&o, 104), INFRASTRUCTURE);
    // Nothing attached from the first: not a word about it, and no write more.
    let mut o = drained();
    o.volumes = Some(Vec::new());
    let p = plan(&o, at(101));
    assert_eq!(words(&p), [INFRASTRUCTURE]);
    assert_eq!(told(&p, conditions::VOLUMES_DETACHED).unwrap().status, "True");
}

#[test]
fn volumes_are_not_waited_for_for_ever_nor_where_it_makes_no_sense() {
    let waits = |change: &dyn Fn(&mut Observed)| {
        let mut o = drained();
        change(&mut o);
        node_with_volumes(&o).is_some()
    };
    assert!(waits(&|_| {}));
    assert!(!waits(&|o| annotate(o, labels::EXCLUDE_VOLUME_DETACH)));
    assert!(!waits(&|o| set_ready(o, "Unknown")));
    assert!(waits(&|o| set_ready(o, "False")));
    assert!(!waits(&|o| o.reachable = false));
    // Pods that were left where they are keep their volumes.
    let left = |o: &mut Observed| set_condition(o, conditions::DRAINED, Status::True, "DrainTimedOut", 100);
    assert!(!waits(&left));

    let mut o = drained();
    o.volumes = Some(vec!["pvc-1".into()]);
    machine(&mut o).spec.node_volume_detach_timeout = Some("30s".parse().unwrap());
    let p = plan(&o, at(101));
    take_status(&mut o, &p);
    assert_eq!(
        plan(&o, at(130)).requeue,
        Requeue::After(SignedDuration::from_secs(1))
    );
    let p = plan(&o, at(131));
    assert_eq!(
        words(&p),
        [
            "event FailedWaitForVolumeDetach: nodeVolumeDetachTimeout is over; 1 volume is still attached to Node n-1: pvc-1"
        ]
    );
    take_status(&mut o, &p);
    assert_eq!(first(&o, 132), INFRASTRUCTURE);
}

fn set_ready(o: &mut Observed, status: &str) {
    let node = Arc::make_mut(o.node.as_mut().unwrap());
    status.clone_into(&mut node.status.as_mut().unwrap().conditions.as_mut().unwrap()[0].status);
}

#[test]
fn d11_pods_of_a_node_that_is_not_heard_of_are_not_waited_for() {
    let mut o = observed();
    let mut leaving = pod("web");
    leaving.metadata.deletion_timestamp = Some(Time(at(90)));
    o.draining = Some(Draining {
        pods: vec![leaving],
        ..Draining::default()
    });
    let done = |o: &Observed| told(&plan(o, at(101)), conditions::DRAINED).unwrap().status;
    assert_eq!(done(&o), "False");
    set_ready(&mut o, "False");
    assert_eq!(done(&o), "False", "d12: a kubelet that speaks is there");
    set_ready(&mut o, "Unknown");
    assert_eq!(done(&o), "True");
}

#[test]
fn m14_a_machine_that_goes_is_no_longer_failed() {
    let mut o = observed();
    let status = machine(&mut o).status.as_mut().unwrap();
    status.phase = Some("Failed".into());
    status.failure_reason = Some("CreateError".into());
    status.failure_message = Some("no space left".into());
    let p = plan(&o, at(101));
    let status: MachineStatus = serde_json::from_value(p.status.unwrap()).unwrap();
    assert_eq!(status.phase.as_deref(), Some("Terminating"));
    assert_eq!((status.failure_reason, status.failure_message), (None, None));
}

#[test]
fn d03_d17_the_node_of_that_uid_goes_after_the_instance_and_then_the_machine() {
    let mut o = drained();
    o.infrastructure = InfrastructureView::Missing;
    let p = plan(&o, at(101));
    take_status(&mut o, &p);
    // Deviates from OpenShift: the Node is deleted with its UID as a precondition, because another one may bear its name by now.
    let p = plan(&o, at(102));
    match p.effects.as_slice() {
        [Effect::Delete { key, uid, .. }] => {
            assert_eq!((key.name.as_str(), uid.as_deref()), ("n-1", Some("n-uid")));
        }
        other => panic!("{other:?}"),
    }
    o.node = None;
    assert_eq!(
        words(&plan(&o, at(103))).last().unwrap(),
        "remove finalizer machine.crit.sh"
    );
}

#[test]
fn a_node_that_does_not_go_is_left_after_the_time_out() {
    let mut o = drained();
    o.infrastructure = InfrastructureView::Missing;
    let p = plan(&o, at(200));
    assert_eq!(ready_reason(&p), "Deleted");
    take_status(&mut o, &p);
    assert_eq!(
        first(&o, 9999),
        "delete Node n-1 in management cluster",
        "tried once in any case"
    );
    let p = plan(&o, at(205));
    assert_eq!(words(&p), ["delete Node n-1 in management cluster"]);
    take_status(&mut o, &p);
    assert_eq!(first(&o, 210), "delete Node n-1 in management cluster");
    let over = words(&plan(&o, at(211)));
    assert_eq!(
        over[0],
        "event FailedDeleteNode: error deleting Machine's node \"n-1\": it is still there"
    );
    assert_eq!(over.last().unwrap(), "remove finalizer machine.crit.sh");
    machine(&mut o).spec.node_deletion_timeout = Some("0s".parse().unwrap());
    assert_eq!(first(&o, 9999), "delete Node n-1 in management cluster");
}

#[test]
fn infrastructure_of_somebody_else_stays() {
    let mut o = observed();
    o.node = None;
    if let InfrastructureView::Found(i) = &mut o.infrastructure {
        Arc::make_mut(&mut i.object).metadata.owner_references = None;
    }
    assert!(!words(&plan(&o, at(101))).contains(&INFRASTRUCTURE.to_owned()));
}
