//! Tables of what is observed about a Machine and what follows.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, ObjectReference};

use super::{super::observe::*, *};
use crate::{
    api::v1alpha1::{
        ApiEndpoint, ApiServerKind, Cluster, ClusterSpec, ClusterStatus, Config, ConfigSpec, DockerMachine,
        Machine, MachineSpec,
    },
    controllers::{effect::ClusterKey, workload},
    pki,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A Machine with a Config and a container, joining the cluster that holds it.
fn observed() -> Observed {
    let mut machine = Machine::new(
        "m-1",
        MachineSpec {
            config_ref: Some(ObjectReference {
                name: Some("pool-a".into()),
                // As in 2020 it does not count.
                namespace: Some("elsewhere".into()),
                ..ObjectReference::default()
            }),
            infrastructure_ref: Some(ObjectReference {
                api_version: Some("infrastructure.crit.sh/v1alpha1".into()),
                kind: Some("DockerMachine".into()),
                name: Some("infra-1".into()),
                ..ObjectReference::default()
            }),
            ..MachineSpec::default()
        },
    );
    machine.metadata.namespace = Some("fleet".into());
    machine.metadata.uid = Some("m-uid".into());
    machine.metadata.generation = Some(1);
    let object: DynamicObject = serde_json::from_value(json!({
        "metadata": { "name": "infra-1", "namespace": "fleet", "uid": "i-uid", "resourceVersion": "9" },
        "spec": { "clusterName": "dev", "containerName": "m-1-box", "image": "node:v1" }
    }))
    .unwrap();
    Observed {
        machine: Arc::new(machine),
        cluster: ClusterView::NotNamed,
        infrastructure: InfrastructureView::Found(Infrastructure {
            resource: ApiResource::erase::<DockerMachine>(&()),
            object: Arc::new(object),
            needs_bootstrap: Some(true),
        }),
        target: Some(Target::Management),
        reachable: true,
        node: None,
        data: None,
        foreign_data: false,
        ingredients: Some(Ingredients {
            config: ConfigView::Found(Arc::new(config()), crate::bootstrap::SecretFiles::new()),
            pki: None,
            ca_pem: None,
            facts: Some(workload::Facts {
                endpoint: None,
                ca_pem: Some(pki::generate_ca("kubernetes", at(0)).unwrap().cert_pem),
                version: Some("v1.33.1".into()),
            }),
            fresh_token: ("abcdef".into(), "0123456789abcdef".into()),
        }),
        control_plane: Vec::new(),
        peers: Vec::new(),
        turn: None,
        conflict: None,
        volumes: None,
        draining: None,
    }
}

fn config() -> Config {
    Config::new(
        "pool-a",
        ConfigSpec {
            config: "apiVersion: crit.sh/v1alpha2\nkind: WorkerConfiguration\nclusterName: dev\n".into(),
            ..ConfigSpec::default()
        },
    )
}

fn machine(o: &mut Observed) -> &mut Machine {
    Arc::make_mut(&mut o.machine)
}

fn infra(o: &mut Observed) -> &mut DynamicObject {
    match &mut o.infrastructure {
        InfrastructureView::Found(i) => Arc::make_mut(&mut i.object),
        _ => panic!("no infrastructure"),
    }
}

/// The provider has looked into the image and claimed the object.
fn with_image(mut o: Observed) -> Observed {
    let object = infra(&mut o);
    object.data["spec"]["providerID"] = json!("docker://m-1-box");
    object.data["status"] =
        json!({ "ready": false, "nodeImage": { "flavour": "kubeadm", "kubernetesVersion": "v1.33.1" } });
    object.metadata.owner_references = Some(vec![
        serde_json::from_value(json!({
            "apiVersion": "machine.crit.sh/v1alpha1", "kind": "Machine", "name": "m-1", "uid": "m-uid", "controller": true
        }))
        .unwrap(),
    ]);
    machine(&mut o).metadata.finalizers = Some(vec![labels::MACHINE_FINALIZER.to_owned()]);
    o
}

fn words(plan: &Plan) -> Vec<String> {
    plan.effects.iter().map(ToString::to_string).collect()
}

fn condition(plan: &Plan, type_: &str) -> (String, String) {
    let status = plan.status.as_ref().unwrap();
    let list = status["conditions"].as_array().unwrap();
    let found = list.iter().find(|c| c["type"] == type_).unwrap();
    (
        found["status"].as_str().unwrap().to_owned(),
        found["reason"].as_str().unwrap().to_owned(),
    )
}

fn pair(a: &str, b: &str) -> (String, String) {
    (a.to_owned(), b.to_owned())
}

fn node() -> Node {
    serde_json::from_value(json!({
        "metadata": { "name": "m-1-box", "uid": "n-uid" },
        "spec": { "providerID": "docker://m-1-box" },
        "status": {
            "nodeInfo": { "kubeletVersion": "v1.33.1", "architecture": "", "bootID": "", "containerRuntimeVersion": "", "kernelVersion": "",
                "kubeProxyVersion": "", "machineID": "", "operatingSystem": "", "osImage": "", "systemUUID": "" },
            "conditions": [{ "type": "Ready", "status": "True" }]
        }
    }))
    .unwrap()
}

#[test]
fn the_first_look_claims_the_infrastructure() {
    let p = plan(&observed(), at(1));
    assert_eq!(
        words(&p),
        [
            "add finalizer machine.crit.sh",
            r#"patch DockerMachine fleet/infra-1 in management cluster: {"metadata":{"ownerReferences":[{"apiVersion":"machine.crit.sh/v1alpha1","blockOwnerDeletion":true,"controller":true,"kind":"Machine","name":"m-1","uid":"m-uid"}],"resourceVersion":"9"}}"#,
        ]
    );
    assert_eq!(p.status.as_ref().unwrap()["phase"], "Pending");
    assert_eq!(
        condition(&p, "BootstrapReady"),
        pair("False", "WaitingForNodeImage")
    );
}

#[test]
fn bootstrap_data_comes_with_a_token_that_is_there_before_it() {
    let o = with_image(observed());
    let p = plan(&o, at(1));
    assert_eq!(
        words(&p),
        [
            "apply Secret kube-system/bootstrap-token-abcdef in management cluster",
            "apply Secret fleet/m-1-bootstrap in management cluster",
        ]
    );
    assert_eq!(p.status.as_ref().unwrap()["phase"], "Provisioning");
    let Effect::Apply { object, .. } = &p.effects[1] else {
        panic!()
    };
    assert_eq!(object.annotations()[TOKEN_ID], "abcdef");
    assert_eq!(object.annotations()[TOKEN_EXPIRES], "1970-01-01T00:30:01Z");
    assert_eq!(object.owner_references()[0].kind, "Machine");
    assert!(
        !format!("{p:?}{:?}", o.ingredients).contains("0123456789abcdef"),
        "the token is shown"
    );
}

#[test]
fn data_that_is_there_is_kept_until_its_token_runs_out() {
    let mut o = with_image(observed());
    let made = plan(&o, at(0));
    let Effect::Apply { object, .. } = &made.effects[1] else {
        panic!()
    };
    o.data = Some(DataSecret {
        revision: Some(object.annotations()[labels::CONFIG_REVISION].clone()),
        token_id: Some("abcdef".into()),
        token_expires: Some(at(1800)),
    });
    let later = plan(&o, at(60));
    assert!(later.effects.is_empty(), "{later:?}");
    assert_eq!(condition(&later, "BootstrapReady"), pair("True", "Available"));
    assert_eq!(later.requeue, Requeue::After(LOOK_TOKEN));
    assert_eq!(plan(&o, at(1600)).effects.len(), 2, "the token runs out soon");
    o.data.as_mut().unwrap().revision = Some("older".into());
    assert_eq!(
        plan(&o, at(60)).effects.len(),
        2,
        "the Config has changed and nothing was made yet"
    );
    infra(&mut o).data["status"]["attempts"] = json!(1);
    assert!(plan(&o, at(60)).effects.is_empty(), "something was made from it");
}

#[test]
fn a_config_that_can_not_be_used_is_a_failure_until_it_can() {
    let mut o = with_image(observed());
    let mut bad = config();
    bad.spec.config = "kind: Nonsense\n".into();
    o.ingredients.as_mut().unwrap().config =
        ConfigView::Found(Arc::new(bad), crate::bootstrap::SecretFiles::new());
    let p = plan(&o, at(1));
    let status = p.status.unwrap();
    assert_eq!(
        (&status["phase"], &status["failureReason"]),
        (&json!("Failed"), &json!("InvalidConfiguration"))
    );
    let mut mended = with_image(observed());
    machine(&mut mended).status = serde_json::from_value(status).unwrap();
    let status = plan(&mended, at(2)).status.unwrap();
    assert_eq!(
        (&status["phase"], &status["failureReason"]),
        (&json!("Provisioning"), &Value::Null)
    );
}

#[test]
fn what_a_new_machine_lacks_is_not_told_before_it_could_be_there() {
    let mut o = observed();
    o.infrastructure = InfrastructureView::Missing;
    machine(&mut o).status = None;
    machine(&mut o).metadata.creation_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(10)));
    let p = plan(&o, at(11));
    assert_eq!(
        (p.status, p.requeue),
        (None, Requeue::After(SignedDuration::from_secs(2)))
    );
    assert_eq!(
        condition(&plan(&o, at(12)), "InfrastructureReady"),
        pair("False", "NotFound")
    );
    // What was there and is gone is told at once.
    machine(&mut o).status = Some(crate::api::v1alpha1::MachineStatus::default());
    assert!(plan(&o, at(11)).status.is_some());
}

#[test]
fn a_new_machine_that_only_waits_for_its_infrastructure_says_so_when_it_is_not_up_at_once() {
    let new = || {
        let mut o = observed();
        let InfrastructureView::Found(found) = &mut o.infrastructure else {
            unreachable!()
        };
        found.needs_bootstrap = Some(false);
        machine(&mut o).metadata.creation_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(10)));
        o
    };
    let o = new();
    let p = plan(&o, at(11));
    assert_eq!(p.status, None);
    assert_eq!(p.requeue, Requeue::After(SignedDuration::from_secs(2)));
    assert!(!p.effects.is_empty(), "what is to be done is done at once");
    assert_eq!(
        condition(&plan(&o, at(12)), "InfrastructureReady"),
        pair("False", "NotReady")
    );
    // What goes wrong is told at once, and so is what bootstrap data was made from.
    let mut o = new();
    infra(&mut o).data["status"] = json!({ "failureReason": "CreateError", "failureMessage": "no" });
    assert_eq!(
        condition(&plan(&o, at(11)), "InfrastructureReady"),
        pair("False", "CreateError")
    );
    let mut o = new();
    infra(&mut o).data["status"] = json!({ "conditions": [{ "type": "Ready", "status": "False", "reason": "QuotaExceeded", "message": "no more" }] });
    assert!(plan(&o, at(11)).status.is_some());
    let mut o = observed();
    machine(&mut o).metadata.creation_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(10)));
    assert!(plan(&o, at(11)).status.is_some());
}

#[test]
fn a_ready_container_gives_the_machine_its_identity_and_its_node() {
    let mut o = with_image(observed());
    infra(&mut o).data["status"] =
        json!({ "ready": true, "addresses": [{ "type": "InternalIP", "address": "172.18.0.3" }] });
    infra(&mut o).data["spec"]["failureDomain"] = json!("rack-7");
    let p = plan(&o, at(1));
    assert_eq!(
        words(&p),
        [
            r#"patch Machine fleet/m-1 in management cluster: {"spec":{"failureDomain":"rack-7","providerID":"docker://m-1-box"}}"#
        ]
    );
    // The Node may be there when the written spec leads to the next look: the status waits for that one.
    assert_eq!(p.status, None);

    machine(&mut o).spec.provider_id = Some("docker://m-1-box".into());
    machine(&mut o).spec.failure_domain = Some("rack-7".into());
    machine(&mut o).metadata.generation = Some(2);
    let p = plan(&o, at(1));
    assert!(p.effects.is_empty(), "{p:?}");
    let status = p.status.as_ref().unwrap();
    assert_eq!(
        (&status["phase"], &status["observedGeneration"]),
        (&json!("Provisioned"), &json!(2))
    );
    assert_eq!(status["addresses"][0]["address"], "172.18.0.3");

    o.node = Some(Arc::new(node()));
    o.data = Some(DataSecret {
        revision: None,
        token_id: Some("abcdef".into()),
        token_expires: None,
    });
    let p = plan(&o, at(2));
    assert_eq!(
        words(&p),
        [
            "delete Secret kube-system/bootstrap-token-abcdef in management cluster",
            "event SuccessfulSetNodeRef: m-1-box",
        ]
    );
    let status = p.status.clone().unwrap();
    assert_eq!(
        (&status["phase"], &status["version"]),
        (&json!("Running"), &json!("1.33.1"))
    );
    assert_eq!(
        status["nodeRef"],
        json!({ "apiVersion": "v1", "kind": "Node", "name": "m-1-box", "uid": "n-uid" })
    );
    assert_eq!(condition(&p, "Ready"), pair("True", "Ready"));

    machine(&mut o).status = serde_json::from_value(status.clone()).unwrap();
    let again = plan(&o, at(3));
    assert!(again.effects.is_empty(), "{again:?}");
    assert!(crate::controllers::effect::same_status(
        &status,
        &again.status.unwrap()
    ));
}

#[test]
fn failures_are_told_in_the_words_of_2020() {
    let mut o = with_image(observed());
    infra(&mut o).data["status"] = json!({ "ready": false, "failureReason": "CreateError", "failureMessage": "docker run error: exit status 125" });
    let status = plan(&o, at(1)).status.unwrap();
    assert_eq!(
        (
            &status["phase"],
            &status["failureReason"],
            &status["failureMessage"]
        ),
        (
            &json!("Failed"),
            &json!("CreateError"),
            &json!(
                "Failure detected from referenced resource infrastructure.crit.sh/v1alpha1, Kind=DockerMachine with name \"infra-1\": docker run error: exit status 125"
            )
        )
    );
}

#[test]
fn infrastructure_of_another_machine_is_not_taken() {
    let mut o = with_image(observed());
    infra(&mut o).metadata.owner_references.as_mut().unwrap()[0].uid = "another".into();
    let p = plan(&o, at(1));
    assert!(
        !words(&p).iter().any(|w| w.starts_with("patch DockerMachine")),
        "{p:?}"
    );
    assert_eq!(p.status.unwrap()["failureReason"], "InvalidConfiguration");
}

fn in_cluster(ready: bool) -> Observed {
    let mut o = with_image(observed());
    let mut cluster = Cluster::new(
        "demo",
        ClusterSpec {
            api_server: ApiServerKind::Own,
            control_plane_endpoint: Some(ApiEndpoint {
                host: "demo".into(),
                port: 6443,
            }),
            ..ClusterSpec::default()
        },
    );
    cluster.metadata.namespace = Some("fleet".into());
    cluster.status = Some(ClusterStatus {
        control_plane_ready: ready,
        ..ClusterStatus::default()
    });
    o.cluster = ClusterView::Found(Arc::new(cluster));
    machine(&mut o).spec.cluster_name = Some("demo".into());
    infra(&mut o).metadata.labels = Some([(labels::CLUSTER_NAME.to_owned(), "demo".to_owned())].into());
    o.target = Some(Target::Cluster(ClusterKey {
        namespace: "fleet".into(),
        name: "demo".into(),
    }));
    let keys = pki::generate_cluster(at(0)).unwrap();
    let ingredients = o.ingredients.as_mut().unwrap();
    ingredients.ca_pem = Some(keys.ca.cert_pem.clone());
    ingredients.facts = None;
    o
}

#[test]
fn workers_wait_for_the_control_plane() {
    let waiting = plan(&in_cluster(false), at(1));
    assert!(waiting.effects.is_empty());
    assert_eq!(
        condition(&waiting, "BootstrapReady"),
        pair("False", "WaitingForControlPlane")
    );
    assert_eq!(
        words(&plan(&in_cluster(true), at(1))),
        [
            "apply Secret kube-system/bootstrap-token-abcdef in cluster fleet/demo",
            "apply Secret fleet/m-1-bootstrap in management cluster",
        ]
    );
}

#[test]
fn one_control_plane_founds_the_cluster_and_the_others_join() {
    let mut o = in_cluster(false);
    machine(&mut o).metadata.labels = Some([(labels::CONTROL_PLANE_ROLE.to_owned(), String::new())].into());
    let ingredients = o.ingredients.as_mut().unwrap();
    ingredients.pki = Some(pki::generate_cluster(at(0)).unwrap());
    let mut control_plane = config();
    control_plane.spec.config = "apiVersion: crit.sh/v1alpha2\nkind: ControlPlaneConfiguration\n".into();
    ingredients.config = ConfigView::Found(Arc::new(control_plane), crate::bootstrap::SecretFiles::new());
    o.control_plane = vec!["m-1".into(), "m-2".into()];
    let p = plan(&o, at(1));
    assert_eq!(
        words(&p),
        ["apply Secret fleet/m-1-bootstrap in management cluster"],
        "no token is needed"
    );
    let Effect::Apply { object, .. } = &p.effects[0] else {
        panic!()
    };
    assert!(!object.annotations().contains_key(TOKEN_ID));
    o.control_plane = vec!["m-2".into(), "m-1".into()];
    assert_eq!(
        condition(&plan(&o, at(1)), "BootstrapReady"),
        pair("False", "WaitingForControlPlane")
    );
}

#[test]
fn what_is_missing_is_named() {
    let reason = |change: &dyn Fn(&mut Observed)| {
        let mut o = with_image(observed());
        change(&mut o);
        condition(&plan(&o, at(1)), "BootstrapReady").1
    };
    assert_eq!(
        reason(&|o| o.cluster = ClusterView::Missing("demo".into())),
        "WaitingForCluster"
    );
    let no_config =
        |o: &mut Observed| o.ingredients.as_mut().unwrap().config = ConfigView::Missing("pool-a".into());
    assert_eq!(reason(&no_config), "ConfigMissing");
    assert_eq!(reason(&|o| machine(o).spec.config_ref = None), "NoConfig");
    let foreign = |o: &mut Observed| {
        machine(o).spec.bootstrap = Some(crate::api::v1alpha1::Bootstrap {
            data_secret_name: Some("mine".into()),
        });
    };
    assert_eq!(reason(&foreign), "SecretMissing");
    let nowhere = |o: &mut Observed| o.ingredients.as_mut().unwrap().facts = Some(workload::Facts::default());
    assert_eq!(reason(&nowhere), "WaitingForEndpoint");
}

#[test]
fn an_adopted_node_needs_no_infrastructure() {
    let mut o = observed();
    o.infrastructure = InfrastructureView::NotNamed;
    machine(&mut o).spec.infrastructure_ref = None;
    machine(&mut o).spec.config_ref = None;
    machine(&mut o).spec.provider_id = Some("docker://m-1-box".into());
    assert_eq!(plan(&o, at(1)).status.unwrap()["phase"], "Provisioned");
    o.node = Some(Arc::new(node()));
    let p = plan(&o, at(1));
    assert_eq!(p.status.as_ref().unwrap()["phase"], "Running");
    assert_eq!(condition(&p, "Ready"), pair("True", "Ready"));
}

#[test]
fn a_node_that_is_not_well_is_seen() {
    let mut o = with_image(observed());
    infra(&mut o).data["status"] = json!({ "ready": true });
    machine(&mut o).spec.provider_id = Some("docker://m-1-box".into());
    let mut sick = node();
    sick.status.as_mut().unwrap().conditions.as_mut().unwrap()[0].status = "False".into();
    o.node = Some(Arc::new(sick));
    let p = plan(&o, at(1));
    assert_eq!(condition(&p, "NodeHealthy"), pair("False", "NodeNotReady"));
    machine(&mut o).status = serde_json::from_value(p.status.unwrap()).unwrap();
    o.node = None;
    assert_eq!(
        condition(&plan(&o, at(2)), "NodeHealthy"),
        pair("False", "NodeNotFound")
    );
    o.reachable = false;
    assert_eq!(
        condition(&plan(&o, at(2)), "NodeHealthy"),
        pair("Unknown", "Unreachable")
    );
}

#[path = "conformance_tests.rs"]
mod conformance;
