//! What `OpenShift`'s machine controller promises about a Machine that is to be, case by case.

use std::sync::Arc;

use super::{
    super::{super::observe::*, *},
    at, condition, infra, machine, node, observed, pair, with_image, words,
};
use crate::{
    api::v1alpha1::{LifecycleHook, LifecycleHooks, Machine, MachineSpec},
    controllers::effect::same_status,
};

/// A machine whose host is ready.
fn ready() -> Observed {
    let mut o = with_image(observed());
    infra(&mut o).data["status"] = json!({ "ready": true });
    machine(&mut o).spec.provider_id = Some("docker://m-1-box".into());
    o
}

fn phase(plan: &Plan) -> &str {
    plan.status.as_ref().unwrap()["phase"].as_str().unwrap()
}

/// Writes a plan's status into the Machine.
fn take(o: &mut Observed, plan: &Plan) {
    machine(o).status = serde_json::from_value(plan.status.clone().unwrap()).unwrap();
}

/// Deviates from `OpenShift`: a new machine whose instance needs no bootstrap data and is not there yet gets its first phase up to two
/// seconds later, because most such machines run by then and one write says both.
#[test]
fn m01_the_finalizer_and_a_phase_come_before_anything_is_created() {
    let p = plan(&observed(), at(1));
    assert_eq!(words(&p)[0], "add finalizer machine.crit.sh");
    assert_eq!(phase(&p), "Pending");
    let creates = |e: &Effect| matches!(e, Effect::CreateInstance(_));
    assert!(
        !p.effects.iter().any(creates),
        "the infrastructure controller creates"
    );
}

#[test]
fn m03_m04_a_host_makes_it_provisioned_and_its_node_makes_it_run() {
    let mut o = ready();
    let p = plan(&o, at(1));
    assert_eq!(phase(&p), "Provisioned");
    o.node = Some(Arc::new(node()));
    take(&mut o, &p);
    let p = plan(&o, at(2));
    assert_eq!((phase(&p), p.requeue), ("Running", Requeue::OnChange));
}

#[test]
fn m05_a_host_that_says_nothing_of_itself_leaves_the_phase() {
    let mut o = with_image(observed());
    let p = plan(&o, at(1));
    take(&mut o, &p);
    let before = phase(&p).to_owned();
    infra(&mut o).data["status"]["ready"] = json!(false);
    assert_eq!(phase(&plan(&o, at(2))), before);
}

/// Deviates from `OpenShift`: addresses alone do not make a machine provisioned, because its provider says in `status.ready` that it is, and
/// the Node is found by the provider id.
#[test]
fn m06_a_host_is_there_when_its_provider_says_so_and_names_it() {
    let mut o = with_image(observed());
    infra(&mut o).data["status"]["addresses"] = json!([{ "type": "InternalIP", "address": "172.18.0.3" }]);
    assert_eq!(phase(&plan(&o, at(1))), "Provisioning");
    infra(&mut o).data["status"]["ready"] = json!(true);
    infra(&mut o).data["spec"]["providerID"] = Value::Null;
    let p = plan(&o, at(1));
    assert_eq!(
        condition(&p, "InfrastructureReady"),
        pair("False", "NoProviderID")
    );
    assert_eq!(phase(&p), "Provisioning");
}

#[test]
fn m07_m08_a_host_that_is_lost_is_a_failure_and_stays_one() {
    let mut o = ready();
    let p = plan(&o, at(1));
    take(&mut o, &p);
    o.infrastructure = InfrastructureView::Missing;
    for now in 2..4 {
        let p = plan(&o, at(now));
        let status = p.status.as_ref().unwrap();
        assert_eq!(phase(&p), "Failed");
        let message = status["failureMessage"].as_str().unwrap();
        assert!(
            message.ends_with("has been deleted after being ready"),
            "{message}"
        );
        assert!(p.effects.is_empty(), "nothing is made again: {p:?}");
        take(&mut o, &p);
    }
}

/// Deviates from `OpenShift`: a Machine needs no label of a cluster and no provider spec, because it can join the cluster that holds it, and
/// one that says nothing waits instead of failing a validation. Its deletion depends on neither.
#[test]
fn m13_a_machine_that_says_nothing_waits() {
    let mut o = observed();
    let mut bare = Machine::new("m-1", MachineSpec::default());
    bare.metadata.finalizers = Some(vec![labels::MACHINE_FINALIZER.to_owned()]);
    o.machine = Arc::new(bare);
    o.infrastructure = InfrastructureView::NotNamed;
    let p = plan(&o, at(1));
    assert_eq!((phase(&p), p.effects.len()), ("Pending", 0));
}

#[test]
fn m15_a_status_that_says_the_same_is_not_written() {
    let mut o = ready();
    let p = plan(&o, at(1));
    take(&mut o, &p);
    let again = plan(&o, at(500)).status.unwrap();
    assert_ne!(p.status.as_ref().unwrap()["lastUpdated"], again["lastUpdated"]);
    assert!(same_status(p.status.as_ref().unwrap(), &again));
    infra(&mut o).data["status"]["addresses"] = json!([{ "type": "InternalIP", "address": "172.18.0.3" }]);
    let other = plan(&o, at(501)).status.unwrap();
    assert!(!same_status(p.status.as_ref().unwrap(), &other));
}

/// Deviates from `OpenShift`: there is no provider status in a Machine, because the provider has an object of its own, which a Machine that
/// fails leaves as it is.
#[test]
fn m16_a_failed_machine_leaves_what_its_provider_says() {
    let mut o = ready();
    infra(&mut o).data["status"]["failureReason"] = json!("CreateError");
    let p = plan(&o, at(1));
    assert_eq!(phase(&p), "Failed");
    assert!(!words(&p).iter().any(|w| w.contains("status")), "{p:?}");
}

#[test]
fn m17_hooks_are_told_before_they_matter_and_change_nothing_else() {
    let mut o = ready();
    o.node = Some(Arc::new(node()));
    let p = plan(&o, at(1));
    assert_eq!(condition(&p, "Drainable"), pair("True", "NoHooks"));
    assert_eq!(condition(&p, "Terminable"), pair("True", "NoHooks"));
    let hook = |name: &str| {
        vec![LifecycleHook {
            name: name.into(),
            owner: "backup-operator".into(),
        }]
    };
    machine(&mut o).spec.lifecycle_hooks = Some(LifecycleHooks {
        pre_drain: hook("backup"),
        pre_terminate: hook("snapshot"),
    });
    let p = plan(&o, at(1));
    assert_eq!(condition(&p, "Drainable"), pair("False", "HookPresent"));
    assert_eq!(condition(&p, "Terminable"), pair("False", "HookPresent"));
    assert_eq!(condition(&p, "Ready"), pair("True", "Ready"));
    let list = p.status.as_ref().unwrap()["conditions"].as_array().unwrap();
    let told = list.iter().find(|c| c["type"] == "Drainable").unwrap();
    assert_eq!(
        told["message"],
        "the drain waits for hook backup of backup-operator"
    );
}

#[test]
fn n02_a_conflict_is_told_once_and_links_nothing() {
    let mut o = ready();
    o.conflict = Some(Conflict {
        reason: "DuplicateProviderID",
        message: "Machines fleet/m-1, fleet/m-2 have the same provider id".into(),
    });
    let p = plan(&o, at(1));
    assert_eq!(
        words(&p),
        ["event DuplicateProviderID: Machines fleet/m-1, fleet/m-2 have the same provider id"]
    );
    assert_eq!(
        condition(&p, "NodeHealthy"),
        pair("Unknown", "DuplicateProviderID")
    );
    assert_eq!(p.status.as_ref().unwrap()["nodeRef"], Value::Null);
    take(&mut o, &p);
    assert!(plan(&o, at(2)).effects.is_empty());
}

#[test]
fn n06_the_uid_of_a_node_made_anew_is_taken_over() {
    let mut o = ready();
    o.node = Some(Arc::new(node()));
    let p = plan(&o, at(1));
    take(&mut o, &p);
    let mut anew = node();
    anew.metadata.uid = Some("other-uid".into());
    o.node = Some(Arc::new(anew));
    let p = plan(&o, at(2));
    assert_eq!(p.status.as_ref().unwrap()["nodeRef"]["uid"], "other-uid");
    // A Node that is gone for now is not forgotten.
    take(&mut o, &p);
    o.node = None;
    let p = plan(&o, at(3));
    assert_eq!(p.status.as_ref().unwrap()["nodeRef"]["uid"], "other-uid");
    assert_eq!(
        (phase(&p), condition(&p, "NodeHealthy")),
        ("Running", pair("False", "NodeNotFound"))
    );
}
