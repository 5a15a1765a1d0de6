//! Tables of what is observed about a Machine that goes and what follows.

use std::sync::Arc;

use k8s_openapi::{
    api::core::v1::{ObjectReference, Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::api::{ApiResource, DynamicObject};

use super::{super::observe::*, *};
use crate::api::v1alpha1::{HollowMachine, Machine, MachineSpec, MachineStatus};

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
        other_control_planes: 0,
        draining: Some(Draining { pods: Vec::new() }),
    }
}

fn pod(name: &str) -> Pod {
    serde_json::from_value(json!({ "metadata": { "name": name, "namespace": "apps" }, "spec": { "nodeName": "n-1", "containers": [] } }))
        .unwrap()
}

fn words(plan: &Plan) -> Vec<String> {
    plan.effects.iter().map(ToString::to_string).collect()
}

fn machine(o: &mut Observed) -> &mut Machine {
    Arc::make_mut(&mut o.machine)
}

/// Writes a plan's status into the Machine.
fn take_status(o: &mut Observed, plan: &Plan) {
    machine(o).status = serde_json::from_value(plan.status.clone().unwrap()).unwrap();
}

#[test]
fn a_machine_goes_in_the_order_that_users_rely_on() {
    let mut o = observed();
    machine(&mut o).status.as_mut().unwrap().phase = Some("Running".into());
    let mut told = Vec::new();
    // Each turn does what the effects ask for.
    for _ in 0..20 {
        let p = plan(&o, at(101));
        if p.effects.is_empty() {
            told.push(format!("status {}", ready_reason(&p)));
        }
        for effect in &p.effects {
            told.push(effect.to_string());
            match effect {
                Effect::Patch { .. } => {
                    Arc::make_mut(o.node.as_mut().unwrap())
                        .spec
                        .get_or_insert_default()
                        .unschedulable = Some(true);
                }
                Effect::Evict { .. } => o.draining = Some(Draining { pods: Vec::new() }),
                Effect::Delete { key, .. } if key.resource.kind == "HollowMachine" => {
                    o.infrastructure = InfrastructureView::Missing;
                }
                Effect::Delete { key, .. } if key.resource.kind == "Node" => o.node = None,
                _ => {}
            }
        }
        if told.last().unwrap().starts_with("remove finalizer") {
            break;
        }
        take_status(&mut o, &p);
        if told.len() == 1 {
            o.draining = Some(Draining {
                pods: vec![pod("web")],
            });
        }
    }
    assert_eq!(
        told,
        [
            "status Terminating",
            r#"patch Node n-1 in management cluster: {"spec":{"unschedulable":true}}"#,
            "evict Pod apps/web in management cluster",
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

fn ready_reason(plan: &Plan) -> String {
    let status = plan.status.as_ref().unwrap();
    let list = status["conditions"].as_array().unwrap();
    let ready = list.iter().find(|c| c["type"] == "Ready").unwrap();
    assert_eq!(ready["status"], "False");
    ready["reason"].as_str().unwrap().to_owned()
}

/// The first thing that a plan for a Machine does.
fn first(o: &Observed, now: i64) -> String {
    let p = plan(o, at(now));
    words(&p).into_iter().next().unwrap_or_else(|| ready_reason(&p))
}

const INFRASTRUCTURE: &str = "delete HollowMachine fleet/infra-1 in management cluster";

#[test]
fn nothing_is_drained_where_it_makes_no_sense() {
    let with_pods = |change: &dyn Fn(&mut Observed)| {
        let mut o = observed();
        o.draining = Some(Draining {
            pods: vec![pod("web")],
        });
        change(&mut o);
        first(&o, 101)
    };
    assert!(with_pods(&|_| {}).starts_with("patch Node"));
    let excluded = |o: &mut Observed| {
        machine(o).metadata.annotations =
            Some([(labels::EXCLUDE_NODE_DRAINING.to_owned(), String::new())].into());
    };
    assert_eq!(with_pods(&excluded), INFRASTRUCTURE);
    assert_eq!(
        with_pods(&|o| machine(o).status.as_mut().unwrap().node_ref = None),
        INFRASTRUCTURE
    );
    assert_eq!(with_pods(&|o| o.node = None), INFRASTRUCTURE);
    let gone = |o: &mut Observed| o.cluster = ClusterView::Missing("demo".into());
    assert_eq!(with_pods(&gone), INFRASTRUCTURE);
    let timed_out = |o: &mut Observed| machine(o).spec.node_drain_timeout = Some("1s".parse().unwrap());
    assert_eq!(with_pods(&timed_out), INFRASTRUCTURE);
}

#[test]
fn the_last_control_plane_is_neither_drained_nor_is_its_node_deleted() {
    let mut o = observed();
    machine(&mut o).metadata.labels = Some([(labels::MASTER_ROLE.to_owned(), String::new())].into());
    assert_eq!(first(&o, 101), INFRASTRUCTURE);
    o.infrastructure = InfrastructureView::Missing;
    assert_eq!(
        words(&plan(&o, at(101))).last().unwrap(),
        "remove finalizer machine.crit.sh"
    );
    assert!(
        !words(&plan(&o, at(101)))
            .iter()
            .any(|w| w.starts_with("delete Node"))
    );
    o.other_control_planes = 1;
    assert_eq!(
        first(&o, 101),
        "patch Node n-1 in management cluster: {\"spec\":{\"unschedulable\":true}}"
    );
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
    assert_eq!(first(&o, 101), "Unreachable");
    assert_eq!(first(&o, 200), INFRASTRUCTURE);
    o.control_plane.clear();
    assert_eq!(first(&o, 101), INFRASTRUCTURE, "nobody is left who could answer");
}

#[test]
fn pods_of_a_node_that_is_not_heard_of_are_not_waited_for() {
    let mut o = observed();
    let node = Arc::make_mut(o.node.as_mut().unwrap());
    node.status.as_mut().unwrap().conditions.as_mut().unwrap()[0].status = "Unknown".into();
    let mut leaving = pod("web");
    leaving.metadata.deletion_timestamp = Some(Time(at(90)));
    o.draining = Some(Draining { pods: vec![leaving] });
    assert!(
        words(&plan(&o, at(101)))
            .iter()
            .any(|w| w.starts_with("event SuccessfulDrainNode"))
    );
}

#[test]
fn hooks_hold_a_machine_up() {
    let mut o = observed();
    let hook = || {
        vec![LifecycleHook {
            name: "backup".into(),
            owner: "backup-operator".into(),
        }]
    };
    machine(&mut o).spec.lifecycle_hooks = Some(crate::api::v1alpha1::LifecycleHooks {
        pre_drain: hook(),
        pre_terminate: Vec::new(),
    });
    assert_eq!(first(&o, 101), "PreDrainHook");
    assert_eq!(node_to_drain(&o, at(101)), None);
    machine(&mut o).spec.lifecycle_hooks = Some(crate::api::v1alpha1::LifecycleHooks {
        pre_drain: Vec::new(),
        pre_terminate: hook(),
    });
    o.node = None;
    assert_eq!(first(&o, 101), "PreTerminateHook");
}

#[test]
fn a_node_that_does_not_go_is_left_after_the_time_out() {
    let mut o = observed();
    o.infrastructure = InfrastructureView::Missing;
    machine(&mut o).metadata.annotations =
        Some([(labels::EXCLUDE_NODE_DRAINING.to_owned(), String::new())].into());
    let p = plan(&o, at(200));
    assert_eq!(ready_reason(&p), "Deleted");
    take_status(&mut o, &p);
    assert_eq!(first(&o, 205), "delete Node n-1 in management cluster");
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
