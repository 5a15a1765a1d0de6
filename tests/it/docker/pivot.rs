//! A cluster that manages itself: made so by one command, grown by kubectl alone, and deleted by one command again.

use super::{
    commands::{self, succeed},
    docker, image, try_docker,
};
use crate::cli::Home;

const CLUSTER: &str = "pivot";
const WORKER: &str = "apiVersion: infrastructure.crit.sh/v1alpha1
kind: DockerMachine
metadata: {name: pivot-extra, labels: {machine.crit.sh/cluster-name: pivot}}
spec: {clusterName: pivot, containerName: pivot-extra, image: 'IMAGE'}
---
apiVersion: machine.crit.sh/v1alpha1
kind: Machine
metadata: {name: pivot-extra, labels: {machine.crit.sh/cluster-name: pivot}}
spec:
  clusterName: pivot
  configRef: {name: pivot-worker}
  infrastructureRef: {apiVersion: infrastructure.crit.sh/v1alpha1, kind: DockerMachine, name: pivot-extra}
";

/// Takes the containers along when a test fails in the middle.
struct Leftovers;

impl Drop for Leftovers {
    fn drop(&mut self) {
        for (name, _) in containers() {
            try_docker(&["rm", "--force", "--volumes", &name]);
        }
    }
}

/// Names and ids of the containers of the cluster.
fn containers() -> Vec<(String, String)> {
    let filter = format!("label=io.x-k8s.kind.cluster={CLUSTER}");
    let listed = try_docker(&["ps", "-a", "--filter", &filter, "--format", "{{.Names}} {{.ID}}"]).1;
    let mut all: Vec<_> = listed
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, id)| (name.to_owned(), id.to_owned()))
        .collect();
    all.sort();
    all
}

fn kubectl(arguments: &[&str]) -> String {
    commands::kubectl(CLUSTER, arguments).1
}

#[test]
fn a_cluster_that_manages_itself_grows_by_kubectl_alone_and_can_be_deleted() {
    let _leftovers = Leftovers;
    let home = Home::new();
    let image = image();
    let make = ["create", "cluster", CLUSTER, "--image", &image, "--workers", "1"];
    succeed(&home, &make);
    let before = containers();
    assert_eq!(before.len(), 2, "{before:?}");
    let told = succeed(&home, &[&make[..], &["--pivot"]].concat());
    assert!(told.contains("manages itself"), "{told}");
    // No machine was touched.
    assert_eq!(containers(), before);
    // Nothing is left of it in the embedded server, and commands go to the cluster itself.
    let embedded = succeed(
        &home,
        &[
            "get",
            "machines,clusters,machinesets,configs",
            "--embedded",
            "-o",
            "name",
        ],
    );
    assert!(!embedded.contains("pivot"), "{embedded}");
    let machines = succeed(&home, &["get", "machines", "-o", "name"]);
    assert!(machines.contains("pivot-worker-1"), "{machines}");
    // Typed again it has nothing to do.
    let again = succeed(&home, &[&make[..], &["--pivot"]].concat());
    assert!(again.contains("manages itself already"), "{again}");

    // The controllers run from the image that was put into the nodes.
    let path = "jsonpath={.items[*].status.containerStatuses[*].image}";
    let running = kubectl(&["get", "pods", "-n", "machinectl-system", "-o", path]);
    assert!(running.contains("machinectl:"), "{running}");
    // A worker comes by kubectl alone.
    let file = home.write("worker.yaml", &WORKER.replace("IMAGE", &image));
    docker(&[
        "cp",
        file.to_str().unwrap(),
        &format!("{CLUSTER}:/root/worker.yaml"),
    ]);
    let (ok, said) = commands::kubectl(CLUSTER, &["apply", "-f", "/root/worker.yaml"]);
    assert!(ok, "{said}");
    commands::until(CLUSTER, "the new worker is a Node", || {
        kubectl(&["get", "machine", "pivot-extra", "-o", "jsonpath={.status.phase}"]) == "Running"
    });
    let now = containers();
    assert!(before.iter().all(|one| now.contains(one)), "{before:?} {now:?}");

    succeed(&home, &["delete", "cluster", CLUSTER]);
    assert!(containers().is_empty(), "{:?}", containers());
    let left = succeed(
        &home,
        &["get", "machines,secrets", "-A", "--embedded", "-o", "name"],
    );
    assert!(!left.contains("pivot"), "{left}");
}
