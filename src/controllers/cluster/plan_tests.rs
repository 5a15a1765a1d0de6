//! Tables of what is observed about a Cluster and what follows.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{super::observe::KubeconfigSecret, *};
use crate::{
    api::v1alpha1::{Cluster, ClusterSpec, MachineSet, MachineSpec},
    pki::KeyPair,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn key(text: &str) -> KeyPair {
    KeyPair {
        cert_pem: format!("{text} certificate"),
        key_pem: format!("{text} key").into(),
    }
}

fn machine(name: &str, created: i64) -> Arc<Machine> {
    let mut machine = Machine::new(
        name,
        MachineSpec {
            cluster_name: Some("demo".into()),
            ..MachineSpec::default()
        },
    );
    machine.metadata.namespace = Some("fleet".into());
    machine.metadata.uid = Some(format!("uid-{name}"));
    machine.metadata.creation_timestamp = Some(Time(at(created)));
    machine.metadata.labels = Some([(labels::CONTROL_PLANE_ROLE.to_owned(), String::new())].into());
    Arc::new(machine)
}

fn observed(api_server: ApiServerKind) -> Observed {
    let mut cluster = Cluster::new(
        "demo",
        ClusterSpec {
            api_server,
            ..ClusterSpec::default()
        },
    );
    cluster.metadata.namespace = Some("fleet".into());
    cluster.metadata.uid = Some("cluster-uid".into());
    Observed {
        cluster: Arc::new(cluster),
        machines: Vec::new(),
        groups: Vec::new(),
        control_plane: Vec::new(),
        keys: BTreeMap::new(),
        fresh_keys: ClusterKeyPair::ALL.map(|p| (p, key("fresh"))).into(),
        kubeconfig: None,
        fresh_kubeconfig: None,
        health: Health::Unknown,
    }
}

fn with_founder() -> Observed {
    let mut o = observed(ApiServerKind::Own);
    let founder = machine("demo", 5);
    o.machines = vec![Arc::clone(&founder)];
    o.control_plane = vec![ControlPlane {
        machine: founder,
        provider_id: Some("docker://demo-box".into()),
        api_endpoint: Some(ApiEndpoint {
            host: "127.0.0.1".into(),
            port: 32768,
        }),
    }];
    o.keys = std::mem::take(&mut o.fresh_keys);
    Arc::make_mut(&mut o.cluster).metadata.finalizers = Some(vec![labels::CLUSTER_FINALIZER.to_owned()]);
    o
}

fn words(plan: &Plan) -> Vec<String> {
    plan.effects.iter().map(ToString::to_string).collect()
}

#[test]
fn a_new_cluster_gets_its_keys() {
    let p = plan(&observed(ApiServerKind::Own), at(10));
    assert_eq!(
        words(&p),
        [
            "add finalizer cluster.machine.crit.sh",
            "create Secret fleet/demo-ca in management cluster",
            "create Secret fleet/demo-etcd in management cluster",
            "create Secret fleet/demo-proxy in management cluster",
            "create Secret fleet/demo-sa in management cluster",
        ]
    );
    assert_eq!(p.status.unwrap()["phase"], "Pending");
}

#[test]
fn a_cluster_on_the_management_api_server_needs_nothing() {
    let mut o = observed(ApiServerKind::Management);
    o.fresh_keys.clear();
    o.health = Health::Ready("v1.33.1".into());
    let p = plan(&o, at(10));
    assert_eq!(words(&p), ["add finalizer cluster.machine.crit.sh"]);
    let status = p.status.unwrap();
    assert_eq!(
        (
            &status["phase"],
            &status["version"],
            &status["infrastructureReady"]
        ),
        (&json!("Provisioned"), &json!("v1.33.1"), &json!(true))
    );
}

#[test]
fn the_endpoint_is_the_founders_container() {
    let p = plan(&with_founder(), at(10));
    assert_eq!(
        words(&p),
        [
            r#"patch Cluster fleet/demo in management cluster: {"spec":{"controlPlaneEndpoint":{"host":"demo-box","port":6443}}}"#
        ]
    );
}

#[test]
fn the_kubeconfig_is_due_when_there_is_none_or_the_port_moved() {
    let mut o = with_founder();
    assert!(kubeconfig_is_due(&o, at(10)));
    let ca = o.keys[&ClusterKeyPair::Ca].cert_pem.clone();
    let written = kubeconfig::write("demo", "https://127.0.0.1:32768", &ca, &key("admin")).unwrap();
    o.kubeconfig = Some(KubeconfigSecret {
        value: written.into(),
        renew_after: Some(at(1000)),
    });
    assert!(!kubeconfig_is_due(&o, at(10)));
    assert!(kubeconfig_is_due(&o, at(1001)), "its certificate runs out");
    o.control_plane[0].api_endpoint.as_mut().unwrap().port = 40000;
    assert!(kubeconfig_is_due(&o, at(10)));
    o.kubeconfig.as_mut().unwrap().renew_after = None;
    assert!(!kubeconfig_is_due(&o, at(10)), "somebody else's is left alone");
}

#[test]
fn the_founder_bears_the_clusters_name_or_is_the_oldest() {
    let names = |list: &[Arc<Machine>]| {
        control_plane_order("demo", list)
            .iter()
            .map(|m| m.name_any())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(&[machine("b", 1), machine("demo", 9), machine("a", 5)]),
        ["demo", "b", "a"]
    );
    let mut leaving = machine("b", 1);
    Arc::make_mut(&mut leaving).metadata.deletion_timestamp = Some(Time(at(20)));
    assert_eq!(names(&[leaving, machine("a", 5)]), ["a"]);
}

#[test]
fn an_api_server_that_comes_up_is_asked_often_and_one_that_was_lost_less() {
    let mut o = with_founder();
    o.health = Health::NotReady("connection refused".into());
    assert_eq!(plan(&o, at(10)).requeue, Requeue::After(LOOK));
    Arc::make_mut(&mut o.cluster).status = Some(crate::api::v1alpha1::ClusterStatus {
        control_plane_ready: true,
        ..Default::default()
    });
    let p = plan(&o, at(10));
    assert_eq!(p.requeue, Requeue::After(LOOK_LOST));
    assert_eq!(p.status.unwrap()["controlPlaneReady"], false);
    o.health = Health::Ready("v1.33.1".into());
    assert_eq!(plan(&o, at(10)).requeue, Requeue::OnChange);
}

#[test]
fn a_cluster_goes_after_its_machines() {
    let mut o = with_founder();
    Arc::make_mut(&mut o.cluster).metadata.deletion_timestamp = Some(Time(at(20)));
    let set = ObjectKey::of::<MachineSet>(Some("fleet"), "demo-workers");
    o.groups = vec![(set, Some("set-uid".to_owned()))];
    let p = plan(&o, at(30));
    assert_eq!(
        words(&p),
        [
            "delete MachineSet fleet/demo-workers in management cluster",
            "delete Machine fleet/demo in management cluster"
        ]
    );
    o.groups.clear();
    assert_eq!(p.status.unwrap()["phase"], "Deleting");
    Arc::make_mut(&mut o.machines[0]).metadata.deletion_timestamp = Some(Time(at(30)));
    assert!(plan(&o, at(31)).effects.is_empty());
    o.machines.clear();
    assert_eq!(
        words(&plan(&o, at(32))),
        ["remove finalizer cluster.machine.crit.sh"]
    );
}
