//! Tables of what is observed about an infrastructure object and what follows.

use std::sync::Arc;

use super::{super::observe::Failure, *};
use crate::{
    api::v1alpha1::{Flavour, Machine, MachineSpec},
    providers::BootstrapData,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn observed(kind: &str) -> Observed {
    let object = serde_json::from_value(json!({
        "metadata": {
            "name": "infra-1", "namespace": "fleet", "uid": "uid-1", "generation": 1, "resourceVersion": "7",
            "ownerReferences": [{ "apiVersion": "machine.crit.sh/v1alpha1", "kind": "Machine", "name": "m-1", "uid": "m-uid" }]
        },
        "spec": { "clusterName": "demo", "containerName": "m-1-box", "image": "node:v1" }
    }))
    .unwrap();
    Observed {
        kind: kind.to_owned(),
        object: Arc::new(object),
        machine: Some(Arc::new(Machine::new("m-1", MachineSpec::default()))),
        cluster: None,
        needs_bootstrap: kind == "DockerMachine",
        may_remake: kind != "DockerMachine",
        node: None,
        node_image: None,
        bootstrap: None,
        instance: None,
        created: false,
        prepared: false,
        changed_spec: false,
        deletion: None,
        failure: None,
    }
}

/// As it is after the first look.
fn prepared(kind: &str) -> Observed {
    let mut o = observed(kind);
    let object = Arc::make_mut(&mut o.object);
    object.metadata.finalizers = Some(vec![finalizer(kind).to_owned()]);
    object.data["spec"]["providerID"] = json!("docker://m-1-box");
    o
}

fn instance(state: InstanceState, attempt: i64) -> Instance {
    Instance {
        provider_id: "docker://m-1-box".into(),
        node_name: "m-1-box".into(),
        state,
        addresses: Vec::new(),
        api_endpoint: None,
        attempt,
        notes: vec![("Restricted".into(), "not all capabilities".into())],
        settled_for: None,
    }
}

fn failed() -> InstanceState {
    InstanceState::Failed {
        reason: "BootstrapFailed".into(),
        message: "kubeadm join: timed out".into(),
    }
}

fn words(plan: &Plan) -> Vec<String> {
    plan.effects.iter().map(ToString::to_string).collect()
}

/// Writes a plan's status into the object, as the API server would.
fn with_status(mut o: Observed, plan: &Plan) -> Observed {
    Arc::make_mut(&mut o.object).data["status"] = plan.status.clone().unwrap();
    o
}

fn ready(plan: &Plan) -> (Value, String) {
    let status = plan.status.as_ref().unwrap();
    let list = status["conditions"].as_array().unwrap();
    let ready = list.iter().find(|c| c["type"] == "Ready").unwrap();
    (
        status["ready"].clone(),
        ready["reason"].as_str().unwrap().to_owned(),
    )
}

#[test]
fn nothing_happens_without_an_owner() {
    let mut o = observed("DockerMachine");
    o.machine = None;
    assert_eq!(plan(&o, at(1)), Plan::nothing());
}

#[test]
fn the_finalizer_comes_before_anything_outside() {
    let p = plan(&observed("HollowMachine"), at(1));
    assert_eq!(
        words(&p),
        [
            r#"patch HollowMachine fleet/infra-1 in management cluster: {"metadata":{"finalizers":["hollowmachine.infrastructure.crit.sh"],"resourceVersion":"7"},"spec":{"providerID":"hollow://fleet/infra-1"}}"#,
            "create instance of infra-1 (try 1)",
        ]
    );
    assert_eq!(
        p.status, None,
        "the answer of the provider comes in the same look"
    );
}

#[test]
fn an_object_that_is_made_with_all_it_needs_is_not_patched() {
    for (kind, id) in [
        ("HollowMachine", "hollow://fleet/infra-1"),
        ("DockerMachine", "docker://m-1-box"),
    ] {
        let mut o = observed(kind);
        let (finalizers, provider_id) = born(kind, "fleet", "infra-1", &o.object.data["spec"]);
        assert_eq!(provider_id.as_deref(), Some(id));
        let object = Arc::make_mut(&mut o.object);
        object.metadata.finalizers = Some(finalizers);
        object.data["spec"]["providerID"] = json!(provider_id);
        assert!(
            !words(&plan(&o, at(1))).iter().any(|w| w.starts_with("patch")),
            "{kind}"
        );
    }
    let unnamed = json!({ "containerName": "" });
    assert_eq!(born("DockerMachine", "fleet", "a", &unnamed).1, None);
    let own = json!({ "providerID": "hollow://other/thing" });
    assert_eq!(
        born("HollowMachine", "fleet", "a", &own).1.as_deref(),
        Some("hollow://other/thing")
    );
}

#[test]
fn a_container_waits_for_its_bootstrap_data_and_says_what_its_image_is() {
    let mut o = prepared("DockerMachine");
    o.node_image = Some(NodeImage {
        flavour: Flavour::Kubeadm,
        kubernetes_version: "v1.33.1".into(),
    });
    let p = plan(&o, at(1));
    assert!(p.effects.is_empty());
    assert_eq!(ready(&p), (json!(false), "WaitingForBootstrapData".to_owned()));
    assert_eq!(p.status.unwrap()["nodeImage"]["kubernetesVersion"], "v1.33.1");
    o.bootstrap = Some(BootstrapData::new("#cloud-config"));
    assert_eq!(words(&plan(&o, at(1))), ["create instance of infra-1 (try 1)"]);
}

#[test]
fn an_instance_is_followed_until_it_runs_and_then_left_alone() {
    let mut o = prepared("DockerMachine");
    for (state, reason) in [
        (InstanceState::Booting, "Booting"),
        (InstanceState::Bootstrapping, "Bootstrapping"),
    ] {
        o.instance = Some(instance(state, 1));
        let p = plan(&o, at(1));
        assert_eq!(
            (p.requeue, ready(&p)),
            (Requeue::After(LOOK), (json!(false), reason.to_owned()))
        );
    }
    o.instance = Some(instance(InstanceState::Running, 1));
    let p = plan(&o, at(2));
    assert_eq!(ready(&p), (json!(true), "Running".to_owned()));
    let again = plan(&with_status(o, &p), at(3));
    assert_eq!((again.effects.len(), again.requeue), (0, Requeue::OnChange));
    assert!(crate::controllers::effect::same_status(
        &p.status.unwrap(),
        &again.status.unwrap()
    ));
}

#[test]
fn an_instance_that_says_how_long_it_takes_is_not_looked_at_before() {
    let mut o = prepared("HollowMachine");
    let minute = SignedDuration::from_mins(1);
    o.instance = Some(Instance {
        settled_for: Some(minute),
        ..instance(InstanceState::Booting, 1)
    });
    let p = plan(&o, at(30));
    assert_eq!(p.requeue, Requeue::After(minute));
    // Since when it starts is known from the status alone.
    o = with_status(o, &p);
    o.instance = None;
    assert_eq!(instance_spec(&o).known.booting_since, Some(at(30)));
    o.instance = Some(instance(InstanceState::Running, 1));
    let p = plan(&o, at(90));
    o = with_status(o, &p);
    let known = instance_spec(&o).known;
    assert_eq!((known.booting_since, known.ready_since), (None, Some(at(90))));
}

#[test]
fn what_the_provider_did_differently_is_told_once() {
    let mut o = prepared("DockerMachine");
    o.instance = Some(instance(InstanceState::Running, 1));
    assert!(plan(&o, at(1)).effects.is_empty());
    o.created = true;
    assert_eq!(
        words(&plan(&o, at(1))),
        ["event Restricted: not all capabilities"]
    );
}

#[test]
fn a_failed_try_is_followed_by_two_more() {
    let mut o = prepared("DockerMachine");
    o.bootstrap = Some(BootstrapData::new("#cloud-config"));
    o.instance = Some(instance(failed(), 1));
    let first = plan(&o, at(100));
    assert_eq!((words(&first).len(), first.requeue), (0, Requeue::After(RETRY)));
    o = with_status(o, &first);
    assert!(plan(&o, at(104)).effects.is_empty());
    assert_eq!(words(&plan(&o, at(105))), ["create instance of infra-1 (try 2)"]);
    o.instance = Some(instance(failed(), 2));
    assert!(
        plan(&o, at(109)).effects.is_empty(),
        "the third comes after twice as long"
    );
    assert_eq!(words(&plan(&o, at(110))), ["create instance of infra-1 (try 3)"]);
    o.instance = Some(instance(failed(), 3));
    let last = plan(&o, at(120));
    assert_eq!(words(&last), ["event FailedCreate: kubeadm join: timed out"]);
    let status = last.status.clone().unwrap();
    assert_eq!(
        (&status["failureReason"], &status["attempts"]),
        (&json!("CreateError"), &json!(3))
    );
    o = with_status(o, &last);
    assert_eq!(plan(&o, at(900)), Plan::nothing());
    Arc::make_mut(&mut o.object).metadata.generation = Some(2);
    assert_eq!(words(&plan(&o, at(901))), ["create instance of infra-1 (try 4)"]);
}

#[test]
fn a_changed_spec_gives_a_failed_machine_new_tries() {
    let mut o = prepared("DockerMachine");
    o.bootstrap = Some(BootstrapData::new("#cloud-config"));
    o.failure = Some(Failure {
        terminal: Some("InvalidConfiguration".into()),
        message: "no such image".into(),
    });
    let p = plan(&o, at(1));
    assert_eq!(
        p.status.as_ref().unwrap()["failureReason"],
        "InvalidConfiguration"
    );
    o = with_status(o, &p);
    o.failure = None;
    assert_eq!(plan(&o, at(2)), Plan::nothing());
    Arc::make_mut(&mut o.object).metadata.generation = Some(2);
    assert_eq!(words(&plan(&o, at(3))), ["create instance of infra-1 (try 1)"]);
}

#[test]
fn a_provider_that_does_not_answer_takes_nothing_back() {
    let mut o = prepared("DockerMachine");
    o.instance = Some(instance(InstanceState::Running, 1));
    let up = plan(&o, at(1));
    o = with_status(o, &up);
    o.instance = None;
    o.failure = Some(Failure {
        terminal: None,
        message: "connection refused".into(),
    });
    let p = plan(&o, at(2));
    assert_eq!(ready(&p), (json!(true), "ProviderError".to_owned()));
}

#[test]
fn a_container_that_vanishes_is_a_failure_and_a_hollow_node_is_made_again() {
    for (kind, expected) in [
        (
            "DockerMachine",
            "event InstanceGone: the instance is gone although it had been ready; delete the Machine and make a new one",
        ),
        ("HollowMachine", "create instance of infra-1 (try 1)"),
    ] {
        let mut o = prepared(kind);
        o.instance = Some(instance(InstanceState::Running, 1));
        let up = plan(&o, at(1));
        o = with_status(o, &up);
        o.instance = None;
        assert_eq!(words(&plan(&o, at(2))), [expected]);
    }
    // One that vanished is not.
    let mut o = prepared("HollowMachine");
    o.instance = Some(instance(InstanceState::Running, 1));
    let up = plan(&o, at(1));
    o = with_status(o, &up);
    (o.instance, o.may_remake) = (None, false);
    let p = plan(&o, at(2));
    assert_eq!(p.status.unwrap()["failureReason"], "UpdateError");
}

#[test]
fn an_instance_goes_before_the_finalizer() {
    let mut o = prepared("DockerMachine");
    Arc::make_mut(&mut o.object).metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(5)));
    // The Machine may be gone already: its name stands in the reference.
    o.machine = None;
    let p = plan(&o, at(6));
    assert_eq!(words(&p), ["delete instance of infra-1"]);
    assert!(matches!(&p.effects[0], Effect::DeleteInstance(spec) if spec.machine == "m-1"));
    o.deletion = Some(Deletion::InProgress);
    assert_eq!(plan(&o, at(7)).requeue, Requeue::After(LOOK_AWAY));
    o.deletion = Some(Deletion::Takes(SignedDuration::from_mins(5)));
    assert_eq!(
        plan(&o, at(7)).requeue,
        Requeue::After(SignedDuration::from_mins(5))
    );
    o.deletion = Some(Deletion::Gone);
    assert_eq!(
        words(&plan(&o, at(8))),
        ["remove finalizer dockermachine.infrastructure.crit.sh"]
    );
}

#[test]
fn bootstrap_data_is_not_shown() {
    let mut o = prepared("DockerMachine");
    o.bootstrap = Some(BootstrapData::new("token: abcdef"));
    assert!(!format!("{:?} {o:?}", plan(&o, at(1))).contains("abcdef"));
}

#[path = "conformance_tests.rs"]
mod conformance;
