//! What moves, what stays and why, case by case, and for any objects at all.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::*;
use crate::pivot::fixtures::{Paper, to};

fn scope(purpose: Purpose) -> Scope {
    Scope {
        namespaces: Namespaces::All,
        cluster: None,
        purpose,
    }
}

fn only(cluster: &str) -> Scope {
    Scope {
        cluster: Some(cluster.to_owned()),
        ..scope(Purpose::Move)
    }
}

/// A choice in words.
struct Told {
    groups: Vec<Vec<String>>,
    kept: BTreeMap<String, String>,
    left: BTreeMap<String, String>,
    unrelated: Vec<String>,
    notes: Vec<(String, String)>,
}

impl Told {
    fn moves(&self) -> BTreeSet<&str> {
        self.groups.iter().flatten().map(String::as_str).collect()
    }

    fn depth(&self, key: &str) -> usize {
        let found = self.groups.iter().position(|g| g.iter().any(|k| k == key));
        found.unwrap_or_else(|| panic!("{key} does not move"))
    }

    fn note(&self, key: &str) -> &str {
        let found: Vec<_> = self.notes.iter().filter(|(k, _)| k == key).collect();
        assert_eq!(found.len(), 1, "{:?}", self.notes);
        &found[0].1
    }
}

fn tell(paper: &Paper, scope: &Scope) -> Told {
    let choice = choose(&paper.kinds, &paper.objects, scope).unwrap();
    let words = |index: &usize| paper.words(*index);
    Told {
        groups: choice
            .groups
            .iter()
            .map(|g| g.iter().map(words).collect())
            .collect(),
        kept: choice
            .kept
            .iter()
            .map(|k| (words(&k.object), k.reason.clone()))
            .collect(),
        left: choice
            .left
            .iter()
            .map(|l| (words(&l.object), l.reason.clone()))
            .collect(),
        unrelated: choice.unrelated.iter().map(words).collect(),
        notes: choice
            .notes
            .iter()
            .map(|n| (words(&n.object), n.text.clone()))
            .collect(),
    }
}

fn moved(paper: &Paper) -> Told {
    tell(paper, &scope(Purpose::Move))
}

/// A cluster with a control-plane machine, a deployment of workers, a check, Configs and Secrets.
fn add_cluster(paper: &mut Paper, cluster: &str) {
    let c = format!("Cluster fleet/{cluster}");
    let n = |kind: &str, name: &str| format!("{kind} fleet/{cluster}{name}");
    paper.add(&c, json!({}));
    for secret in ["-ca", "-etcd", "-proxy", "-sa", "-kubeconfig"] {
        paper.add(
            &n("Secret", secret),
            json!({ "labels": { "machine.crit.sh/cluster-name": cluster } }),
        );
    }
    paper.add(
        &n("Config", "-cp"),
        json!({ "labels": { "machine.crit.sh/cluster-name": cluster } }),
    );
    paper.add(
        &n("Config", "-workers"),
        json!({ "spec": { "secrets": [{ "dataSecretName": format!("{cluster}-registry") }] } }),
    );
    paper.add(&n("Secret", "-registry"), json!({}));
    paper.add(
        &n("Secret", "-workers-abcde"),
        json!({ "owners": [n("Config", "-workers")] }),
    );
    add_machine(
        paper,
        &n("Machine", "-cp-1"),
        &json!({ "spec": { "clusterName": cluster } }),
    );
    paper.add(&n("DockerMachineTemplate", "-workers"), json!({}));
    let template = json!({ "metadata": { "labels": { "pool": "a" } }, "spec": {
        "clusterName": cluster,
        "configRef": to(&format!("Config {cluster}-workers")),
        "infrastructureRef": to(&format!("DockerMachineTemplate {cluster}-workers")),
    } });
    paper.add(
        &n("MachineDeployment", ""),
        json!({ "spec": { "template": template } }),
    );
    paper.add(
        &n("MachineSet", "-x"),
        json!({ "owners": [n("MachineDeployment", "")], "spec": { "clusterName": cluster, "template": template } }),
    );
    add_machine(
        paper,
        &n("Machine", "-x-1"),
        &json!({ "owners": [n("MachineSet", "-x")], "spec": { "clusterName": cluster, "configRef": to(&format!("Config {cluster}-workers")) } }),
    );
    paper.add(
        &n("MachineHealthCheck", ""),
        json!({ "spec": { "clusterName": cluster } }),
    );
}

/// A Machine with a `DockerMachine` and bootstrap data.
fn add_machine(paper: &mut Paper, key: &str, more: &Value) {
    let name = key.rsplit('/').next().unwrap();
    let mut more = more.clone();
    more["spec"]["infrastructureRef"] = to(&format!("DockerMachine {name}"));
    paper.add(key, more);
    paper.add(&format!("DockerMachine fleet/{name}"), json!({ "owners": [key] }));
    paper.add(
        &format!("Secret fleet/{name}-bootstrap"),
        json!({ "owners": [key] }),
    );
}

#[test]
fn all_of_a_cluster_moves_and_owners_come_first() {
    let mut paper = Paper::new();
    add_cluster(&mut paper, "dev");
    paper.add("ConfigMap fleet/node-unhealthy-conditions", json!({}));
    paper.add("ConfigMap fleet/kube-root-ca.crt", json!({}));
    paper.add(
        "Secret fleet/default-token",
        json!({ "type": "kubernetes.io/service-account-token" }),
    );
    let told = moved(&paper);
    assert_eq!(
        told.unrelated,
        ["ConfigMap fleet/kube-root-ca.crt", "Secret fleet/default-token"]
    );
    assert!(
        told.left.is_empty() && told.kept.is_empty() && told.notes.is_empty(),
        "{:?}",
        told.left
    );
    assert_eq!(told.moves().len(), paper.objects.len() - 2);
    assert_eq!(
        told.groups[0],
        [
            "Cluster fleet/dev",
            "Config fleet/dev-workers",
            "Secret fleet/dev-registry",
            "DockerMachineTemplate fleet/dev-workers",
            "ConfigMap fleet/node-unhealthy-conditions",
        ]
    );
    assert_eq!(told.depth("MachineDeployment fleet/dev"), 1);
    assert_eq!(told.depth("MachineSet fleet/dev-x"), 2);
    assert_eq!(told.depth("Machine fleet/dev-x-1"), 3);
    assert_eq!(told.depth("DockerMachine fleet/dev-x-1"), 4);
    assert_eq!(told.depth("Secret fleet/dev-x-1-bootstrap"), 4);
    assert_eq!(told.depth("Secret fleet/dev-workers-abcde"), 1);
    let choice = choose(&paper.kinds, &paper.objects, &scope(Purpose::Move)).unwrap();
    assert_eq!(choice.roots, [0]);
}

#[test]
fn one_cluster_of_two_moves_and_what_both_use_is_copied() {
    let mut paper = Paper::new();
    add_cluster(&mut paper, "dev");
    add_cluster(&mut paper, "prod");
    paper.add(
        "Config fleet/common",
        json!({ "spec": { "secrets": [{ "dataSecretName": "common" }] } }),
    );
    paper.add("Secret fleet/common", json!({}));
    paper.add("Config fleet/unused", json!({}));
    paper.add("MachineHealthCheck fleet/all", json!({}));
    for cluster in ["dev", "prod"] {
        let spec = json!({ "clusterName": cluster, "configRef": to("Config common") });
        add_machine(
            &mut paper,
            &format!("Machine fleet/{cluster}-odd"),
            &json!({ "spec": spec }),
        );
    }
    let told = tell(&paper, &only("dev"));
    let moves = told.moves();
    for key in [
        "Cluster fleet/dev",
        "DockerMachine fleet/dev-x-1",
        "Secret fleet/dev-registry",
        "Config fleet/common",
    ] {
        assert!(moves.contains(key), "{key}");
    }
    assert!(moves.iter().all(|key| !key.contains("prod")), "{moves:?}");
    assert_eq!(
        told.kept,
        BTreeMap::from([
            (
                "Config fleet/common".to_owned(),
                "Machine.machine.crit.sh fleet/prod-odd needs it and stays".to_owned()
            ),
            (
                "Secret fleet/common".to_owned(),
                "Config.machine.crit.sh fleet/common needs it and stays".to_owned()
            ),
        ])
    );
    assert_eq!(told.left["Cluster fleet/prod"], "it does not hang on Cluster dev");
    assert_eq!(
        told.left["Machine fleet/prod-x-1"],
        "it belongs to Cluster.machine.crit.sh fleet/prod, which stays"
    );
    assert_eq!(
        told.left["DockerMachine fleet/prod-x-1"],
        "it belongs to Machine.machine.crit.sh fleet/prod-x-1, which stays"
    );
    assert_eq!(
        told.left["Config fleet/unused"],
        "it does not hang on Cluster dev"
    );
    assert_eq!(
        told.left["MachineHealthCheck fleet/all"],
        "it does not hang on Cluster dev"
    );
    assert_eq!(told.moves().len() + told.left.len(), paper.objects.len());
    let told = moved(&paper);
    assert_eq!(told.moves().len(), paper.objects.len());
    assert!(told.kept.is_empty(), "{:?}", told.kept);
}

#[test]
fn the_cluster_that_is_asked_for_must_be_one() {
    let mut paper = Paper::new();
    paper.add("Cluster a/dev", json!({}));
    paper.add("Cluster b/dev", json!({}));
    let refused = |name: &str| {
        choose(&paper.kinds, &paper.objects, &only(name))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refused("dev"),
        "there is a Cluster \"dev\" in each of the namespaces a, b"
    );
    assert_eq!(refused("x"), "there is no Cluster \"x\"");
}

#[test]
fn machines_that_name_no_cluster_stay_with_what_only_they_use() {
    let mut paper = Paper::new();
    add_cluster(&mut paper, "dev");
    paper.add("Config fleet/here", json!({}));
    paper.add("Config fleet/both", json!({}));
    paper.add(
        "MachineSet fleet/here",
        json!({ "spec": { "template": { "spec": { "configRef": to("Config here") } } } }),
    );
    add_machine(
        &mut paper,
        "Machine fleet/here-1",
        &json!({ "owners": ["MachineSet fleet/here"], "spec": { "configRef": to("Config both") } }),
    );
    add_machine(
        &mut paper,
        "Machine fleet/dev-2",
        &json!({ "spec": { "clusterName": "dev", "configRef": to("Config both") } }),
    );
    let told = moved(&paper);
    assert_eq!(
        told.left["Machine fleet/here-1"],
        "it names no Cluster (spec.clusterName), so its Node is in this cluster and can't go elsewhere"
    );
    assert_eq!(
        told.left["MachineSet fleet/here"],
        "it names no Cluster (spec.clusterName), so its machines join this cluster"
    );
    assert_eq!(
        told.left.keys().collect::<Vec<_>>(),
        [
            "Config fleet/here",
            "DockerMachine fleet/here-1",
            "Machine fleet/here-1",
            "MachineSet fleet/here",
            "Secret fleet/here-1-bootstrap",
        ]
    );
    assert_eq!(told.kept.keys().collect::<Vec<_>>(), ["Config fleet/both"]);
    let told = tell(&paper, &scope(Purpose::Backup));
    assert_eq!(told.moves().len(), paper.objects.len(), "a backup takes all");
}

#[test]
fn a_machine_whose_cluster_is_missing_moves() {
    let mut paper = Paper::new();
    add_machine(
        &mut paper,
        "Machine fleet/m",
        &json!({ "spec": { "clusterName": "gone" } }),
    );
    assert_eq!(moved(&paper).moves().len(), 3);
}

#[test]
fn hollow_machines_move_with_their_nodes_and_hosts_do_not() {
    let mut paper = Paper::new();
    paper.add(
        "Cluster fleet/paper",
        json!({ "spec": { "apiServer": "Management" } }),
    );
    for (name, cluster) in [("a", json!("paper")), ("b", Value::Null)] {
        let mut spec = json!({ "infrastructureRef": to(&format!("HollowMachine {name}")) });
        if cluster.is_string() {
            spec["clusterName"] = cluster;
        }
        paper.add(&format!("Machine fleet/{name}"), json!({ "spec": spec }));
        paper.add(
            &format!("HollowMachine fleet/{name}"),
            json!({ "owners": [format!("Machine fleet/{name}")] }),
        );
        paper.add(
            &format!("Node {name}"),
            json!({ "spec": { "providerID": format!("hollow://fleet/{name}") } }),
        );
    }
    let template = json!({ "spec": { "infrastructureRef": to("HollowMachineTemplate t") } });
    paper.add("HollowMachineTemplate fleet/t", json!({}));
    paper.add("MachineSet fleet/b", json!({ "spec": { "template": template } }));
    paper.add(
        "Node other",
        json!({ "spec": { "providerID": "hollow://fleet/other" } }),
    );
    paper.add(
        "Node host",
        json!({ "spec": { "providerID": "docker:////host" } }),
    );
    let told = moved(&paper);
    assert_eq!(told.unrelated, ["Node other", "Node host"]);
    assert_eq!(told.moves().len(), paper.objects.len() - 2, "{:?}", told.left);
    assert!(
        told.kept.is_empty(),
        "Nodes of hollow machines are deleted here: {:?}",
        told.kept
    );
    for name in ["a", "b"] {
        assert!(told.depth(&format!("HollowMachine fleet/{name}")) < told.depth(&format!("Node {name}")));
    }
    let told = tell(&paper, &only("paper"));
    assert_eq!(
        told.moves(),
        BTreeSet::from([
            "Cluster fleet/paper",
            "Machine fleet/a",
            "HollowMachine fleet/a",
            "Node a"
        ])
    );
}

#[test]
fn a_cluster_without_an_api_server_of_its_own_stays_if_it_has_hosts() {
    let mut paper = Paper::new();
    paper.add(
        "Cluster fleet/here",
        json!({ "spec": { "apiServer": "Management" } }),
    );
    add_machine(
        &mut paper,
        "Machine fleet/m",
        &json!({ "spec": { "clusterName": "here" } }),
    );
    let told = moved(&paper);
    assert!(told.moves().is_empty());
    assert!(told.left["Cluster fleet/here"].contains("Nodes of its machines are in this cluster"));
    assert_eq!(
        told.left["Machine fleet/m"],
        "it belongs to Cluster.machine.crit.sh fleet/here, which stays"
    );
    assert_eq!(tell(&paper, &scope(Purpose::Backup)).moves().len(), 4);
}

#[test]
fn checks_go_where_the_machines_go_that_they_watch() {
    let mut paper = Paper::new();
    add_cluster(&mut paper, "dev");
    add_machine(
        &mut paper,
        "Machine fleet/here",
        &json!({ "labels": { "pool": "here" }, "spec": {} }),
    );
    add_machine(
        &mut paper,
        "Machine fleet/dev-2",
        &json!({ "labels": { "pool": "dev" }, "spec": { "clusterName": "dev" } }),
    );
    for (name, selector) in [
        ("dev", json!({ "matchLabels": { "pool": "dev" } })),
        ("here", json!({ "matchLabels": { "pool": "here" } })),
        ("none", json!({ "matchLabels": { "pool": "none" } })),
        ("all", json!({})),
        (
            "bad",
            json!({ "matchExpressions": [{ "key": "a", "operator": "No" }] }),
        ),
    ] {
        paper.add(
            &format!("MachineHealthCheck fleet/of-{name}"),
            json!({ "spec": { "selector": selector } }),
        );
    }
    let told = moved(&paper);
    assert_eq!(
        told.left["MachineHealthCheck fleet/of-here"],
        "the machines that it watches stay"
    );
    for moves in ["dev", "none", "all", "bad"] {
        told.depth(&format!("MachineHealthCheck fleet/of-{moves}"));
    }
    assert_eq!(
        told.kept["MachineHealthCheck fleet/of-all"],
        "some of the machines that it watches stay"
    );
    assert_eq!(told.kept.len(), 1, "{:?}", told.kept);
}

#[test]
fn kinds_of_others_move_when_they_are_linked_or_when_they_say_so() {
    let mut paper = Paper::new();
    add_cluster(&mut paper, "dev");
    let spec = json!({ "clusterName": "dev", "infrastructureRef": { "apiVersion": "example.com/v1", "kind": "FooMachine", "name": "m" } });
    paper.add("Machine fleet/m", json!({ "spec": spec }));
    paper.add("FooMachine fleet/m", json!({ "spec": { "identityRef": { "kind": "Identity", "name": "id" }, "keySecretRef": { "name": "ssh" } } }));
    paper.add(
        "Identity id",
        json!({ "spec": { "secretRef": { "name": "cloud", "namespace": "provider" } } }),
    );
    paper.add("Secret provider/cloud", json!({}));
    paper.add("Secret fleet/ssh", json!({}));
    paper.add(
        "FooMachine fleet/labelled",
        json!({ "labels": { "machinectl.crit.sh/move": "" } }),
    );
    paper.add(
        "FooMachine fleet/alone",
        json!({ "spec": { "keySecretRef": { "name": "other" } } }),
    );
    paper.add("Secret fleet/other", json!({}));
    paper.add("Identity unused", json!({}));
    paper.add("Host fleet/h", json!({}));
    paper.add("Pool fleet/p", json!({}));
    paper.add("FooMachine fleet/below", json!({ "owners": ["Pool fleet/p"] }));
    let told = moved(&paper);
    for key in [
        "FooMachine fleet/m",
        "Secret fleet/ssh",
        "FooMachine fleet/labelled",
        "Host fleet/h",
        "FooMachine fleet/below",
    ] {
        assert!(
            told.moves().contains(key) && !told.kept.contains_key(key),
            "{key}"
        );
    }
    assert_eq!(
        told.kept["Identity id"],
        "it stands outside of namespaces: others may need it here"
    );
    assert_eq!(
        told.kept["Secret provider/cloud"],
        "Identity.example.com id needs it and stays"
    );
    let advice = "nothing that moves owns it or refers to it; label it machinectl.crit.sh/move= to move it all the same";
    assert_eq!(told.left["FooMachine fleet/alone"], advice);
    assert_eq!(told.left["Identity unused"], advice);
    assert_eq!(
        told.left["Secret fleet/other"],
        "it belongs to FooMachine.example.com fleet/alone, which stays"
    );
    assert_eq!(told.left.len(), 3);
    let told = tell(&paper, &only("dev"));
    for key in [
        "FooMachine fleet/labelled",
        "Host fleet/h",
        "Pool fleet/p",
        "FooMachine fleet/below",
    ] {
        assert!(told.left.contains_key(key), "{key}");
    }
    assert!(told.moves().contains("Identity id"));
}

#[test]
fn what_acts_goes_with_its_owner_whoever_else_refers_to_it() {
    let mut paper = Paper::new();
    add_cluster(&mut paper, "dev");
    add_machine(&mut paper, "Machine fleet/here", &json!({ "spec": {} }));
    let spec = json!({ "clusterName": "dev", "infrastructureRef": to("DockerMachine here") });
    paper.add("Machine fleet/thief", json!({ "spec": spec }));
    let told = moved(&paper);
    assert!(
        told.left.contains_key("DockerMachine fleet/here"),
        "{:?}",
        told.moves()
    );
}

#[test]
fn owners_of_kinds_that_do_not_move_are_told_with_what_to_do() {
    let mut paper = Paper::new();
    paper.add("Cluster fleet/dev", json!({ "owners": ["Composite fleet/x"] }));
    paper.add("Config fleet/c", json!({ "owners": ["Cluster fleet/gone"] }));
    paper.add(
        "Machine fleet/m",
        json!({ "spec": { "clusterName": "dev",
        "infrastructureRef": { "apiVersion": "cloud.example.org/v1", "kind": "Vm", "name": "m" } } }),
    );
    paper.add(
        "Secret fleet/dev-ca",
        json!({ "owners": ["ServiceAccount fleet/x"] }),
    );
    let told = moved(&paper);
    assert_eq!(told.moves().len(), 4);
    assert_eq!(
        told.note("Cluster fleet/dev"),
        "its owner Composite.unknown.example.com x is of a kind that does not move: it moves without that owner; if it should move, label the definition of Composite.unknown.example.com with machinectl.crit.sh/move="
    );
    assert_eq!(
        told.note("Config fleet/c"),
        "its owner Cluster.machine.crit.sh gone does not exist: it moves without that owner"
    );
    assert_eq!(
        told.note("Machine fleet/m"),
        "it refers to Vm.cloud.example.org m, of a kind that does not move; if it should move, label the definition of Vm.cloud.example.org with machinectl.crit.sh/move="
    );
    let choice = choose(&paper.kinds, &paper.objects, &scope(Purpose::Move)).unwrap();
    let owners: Vec<_> = choice.notes.iter().filter_map(|n| n.owner.as_deref()).collect();
    assert_eq!(
        owners,
        [
            "Composite fleet/x",
            "Cluster fleet/gone",
            "ServiceAccount fleet/x"
        ]
    );
}

#[test]
fn an_owner_that_stays_is_told_to_what_moves_without_it() {
    let mut paper = Paper::new();
    add_cluster(&mut paper, "dev");
    paper.add("MachineSet fleet/here", json!({}));
    add_machine(
        &mut paper,
        "Machine fleet/m",
        &json!({ "owners": ["MachineSet fleet/here"], "spec": { "clusterName": "dev" } }),
    );
    assert_eq!(
        moved(&paper).note("Machine fleet/m"),
        "its owner MachineSet.machine.crit.sh fleet/here stays: it moves without that owner"
    );
}

#[test]
fn owners_in_a_circle_end() {
    let mut paper = Paper::new();
    paper.add("Config fleet/a", json!({ "owners": ["Config fleet/b"] }));
    paper.add("Config fleet/b", json!({ "owners": ["Config fleet/a"] }));
    paper.add("Config fleet/self", json!({ "owners": ["Config fleet/self"] }));
    paper.add("Host fleet/a", json!({ "owners": ["Host fleet/b"] }));
    paper.add("Host fleet/b", json!({ "owners": ["Host fleet/a"] }));
    paper.add("FooMachine fleet/a", json!({ "owners": ["FooMachine fleet/b"] }));
    paper.add("FooMachine fleet/b", json!({ "owners": ["FooMachine fleet/a"] }));
    let told = moved(&paper);
    assert_eq!(told.moves().len(), 5);
    assert_eq!(told.left.len(), 2);
    assert_eq!(told.notes.len(), 3, "{:?}", told.notes);
    assert!(
        told.notes
            .iter()
            .all(|(_, text)| text.contains("itself owned by it"))
    );
}

#[test]
fn what_owns_a_cluster_comes_before_it_even_if_it_names_it() {
    let mut paper = Paper::new();
    paper.add("Cluster fleet/dev", json!({ "owners": ["Pool fleet/top"] }));
    paper.add(
        "Pool fleet/top",
        json!({ "labels": { "machine.crit.sh/cluster-name": "dev" } }),
    );
    let told = moved(&paper);
    assert!(told.depth("Pool fleet/top") < told.depth("Cluster fleet/dev"));
    assert!(told.notes.is_empty());
}

#[test]
fn providers_are_copied_with_what_belongs_to_them() {
    let mut paper = Paper::new();
    paper.add(
        "InfrastructureProvider docker",
        json!({ "spec": { "infrastructureRef":
        { "kind": "DockerInfrastructureProvider", "name": "docker", "namespace": "mapd-system" } } }),
    );
    paper.add(
        "DockerInfrastructureProvider mapd-system/docker",
        json!({ "owners": ["InfrastructureProvider docker"] }),
    );
    paper.add(
        "Secret mapd-system/config-schema",
        json!({ "owners": ["DockerInfrastructureProvider mapd-system/docker"] }),
    );
    let told = moved(&paper);
    assert_eq!((told.moves().len(), told.kept.len()), (3, 3));
    let one = Scope {
        namespaces: Namespaces::One("fleet".to_owned()),
        ..scope(Purpose::Move)
    };
    paper.objects.truncate(1);
    assert!(
        tell(&paper, &one)
            .left
            .contains_key("InfrastructureProvider docker")
    );
}

#[test]
fn labels_on_objects_let_them_move_or_stay() {
    let mut paper = Paper::new();
    add_cluster(&mut paper, "dev");
    paper.add(
        "Secret fleet/cloud",
        json!({ "labels": { "clusterctl.cluster.x-k8s.io/move": "" } }),
    );
    paper.add("Config fleet/mine", json!({ "labels": { "machinectl.crit.sh/move": "false" }, "spec": { "secrets": [{ "dataSecretName": "mine" }] } }));
    paper.add("Secret fleet/mine", json!({}));
    paper.add(
        "Cluster fleet/prod",
        json!({ "labels": { "machinectl.crit.sh/move": "false" } }),
    );
    paper.add("Secret fleet/prod-ca", json!({}));
    let told = moved(&paper);
    assert!(told.moves().contains("Secret fleet/cloud"));
    assert_eq!(
        told.left["Config fleet/mine"],
        "its label machinectl.crit.sh/move is \"false\""
    );
    assert_eq!(
        told.left["Secret fleet/prod-ca"],
        "it belongs to Cluster.machine.crit.sh fleet/prod, which stays"
    );
    assert_eq!(told.left.len(), 4);
    let told = tell(&paper, &only("dev"));
    assert_eq!(
        told.kept["Secret fleet/cloud"],
        "others than Cluster dev may need it here"
    );
}

#[test]
fn secrets_of_machines_that_are_linked_to_nothing_are_told() {
    let mut paper = Paper::new();
    paper.add(
        "Secret fleet/a",
        json!({ "labels": { "machine.crit.sh/cluster-name": "gone" } }),
    );
    paper.add(
        "Secret fleet/b",
        json!({ "annotations": { "machine.crit.sh/config-revision": "x" } }),
    );
    paper.add("Secret fleet/c", json!({ "type": "Opaque" }));
    let told = moved(&paper);
    assert_eq!(
        told.left.keys().collect::<Vec<_>>(),
        ["Secret fleet/a", "Secret fleet/b"]
    );
    assert_eq!(told.unrelated, ["Secret fleet/c"]);
}

#[test]
fn what_forbids_the_move_for_now_is_listed() {
    let mut paper = Paper::new();
    paper.add(
        "Cluster fleet/a",
        json!({ "annotations": { "machinectl.crit.sh/block-move": "" } }),
    );
    paper.add(
        "Config fleet/b",
        json!({ "annotations": { "clusterctl.cluster.x-k8s.io/block-move": "true" } }),
    );
    paper.add(
        "Secret fleet/c",
        json!({ "annotations": { "machinectl.crit.sh/block-move": "" } }),
    );
    let choice = choose(&paper.kinds, &paper.objects, &scope(Purpose::Move)).unwrap();
    assert_eq!(choice.blocked, [0, 1], "what does not move blocks nothing");
}

#[test]
fn references_into_namespaces_that_were_not_read_are_told() {
    let mut paper = Paper::new();
    paper.add(
        "Host fleet/h",
        json!({ "spec": { "secretRef": { "name": "s", "namespace": "other" } } }),
    );
    let one = Scope {
        namespaces: Namespaces::One("fleet".to_owned()),
        ..scope(Purpose::Move)
    };
    assert_eq!(
        tell(&paper, &one).note("Host fleet/h"),
        "it refers to Secret other/s, in a namespace that does not move (-A moves all of them)"
    );
    assert!(moved(&paper).notes.is_empty());
}

#[test]
fn an_object_that_can_not_be_read_is_named_and_its_content_is_not_shown() {
    let mut paper = Paper::new();
    paper.add(
        "Secret fleet/odd",
        json!({ "labels": { "a": 3 }, "data": { "x": "c2VjcmV0" } }),
    );
    let error = choose(&paper.kinds, &paper.objects, &scope(Purpose::Move))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("Secret fleet/odd can't be read") && !error.contains("c2VjcmV0"),
        "{error}"
    );
}

#[test]
fn a_chain_of_owners_may_be_long() {
    let mut paper = Paper::new();
    for index in 0..20_000 {
        let owner = format!("Host fleet/{}", index + 1);
        paper.add(&format!("Host fleet/{index}"), json!({ "owners": [owner] }));
    }
    paper.add("Host fleet/20000", json!({}));
    let choice = choose(&paper.kinds, &paper.objects, &scope(Purpose::Move)).unwrap();
    assert_eq!(choice.groups.len(), 20_001);
}

#[test]
fn nothing_is_chosen_from_nothing() {
    assert_eq!(
        choose(&[], &[], &scope(Purpose::Move)).unwrap(),
        Choice::default()
    );
}
