//! The whole way, as a user goes it: a cluster from a configuration file of cinder, a worker from objects that kubectl applies,
//! and the end of both. The first command is killed in the middle, since that happens to users.

use super::{
    commands::{self, Controllers, start, succeed},
    exists, image, try_docker,
};
use crate::cli::Home;

const CLUSTER: &str = "journey";
const WORKER: &str = "journey-worker-1";
const CONFIGURATION: &str = "apiVersion: cinder.crit.sh/v1alpha1
kind: ClusterConfiguration
featureGates: {MachineAPI: true}
postCritCommands: [touch /var/lib/journey]
";
/// As the documentation of 2020 has them; only the names and the image are others.
const OBJECTS: &str = "apiVersion: machine.crit.sh/v1alpha1
kind: Config
metadata: {name: worker-config, namespace: kube-system}
spec:
  config: |
    apiVersion: crit.sh/v1alpha2
    kind: WorkerConfiguration
    clusterName: journey
    node:
      kubelet: {maxPods: 60}
  files:
  - {path: /etc/journey, content: aGVsbG8K, encoding: base64}
---
apiVersion: machine.crit.sh/v1alpha1
kind: Machine
metadata: {name: journey-worker-1, namespace: kube-system}
spec:
  configRef: {name: worker-config}
  infrastructureRef: {apiVersion: infrastructure.crit.sh/v1alpha1, kind: DockerMachine, name: journey-worker-1}
---
apiVersion: infrastructure.crit.sh/v1alpha1
kind: DockerMachine
metadata: {name: journey-worker-1, namespace: kube-system}
spec: {clusterName: journey, containerName: journey-worker-1, image: IMAGE}
";

/// Takes the containers along when a test fails in the middle.
struct Leftovers;

impl Drop for Leftovers {
    fn drop(&mut self) {
        for container in [CLUSTER, WORKER] {
            try_docker(&["rm", "--force", "--volumes", container]);
        }
    }
}

fn kubectl(arguments: &[&str]) -> (bool, String) {
    commands::kubectl(CLUSTER, arguments)
}

fn until(what: &str, done: impl Fn() -> bool) {
    commands::until(CLUSTER, what, done);
}

#[test]
fn a_cluster_comes_to_be_and_its_worker_is_a_machine() {
    let _leftovers = Leftovers;
    let home = Home::new();
    home.write("cluster.yaml", CONFIGURATION);
    home.write("objects.yaml", &OBJECTS.replace("IMAGE", &image()));
    let image = image();
    let create = [
        "create",
        "cluster",
        CLUSTER,
        "-c",
        "cluster.yaml",
        "--image",
        &image,
    ];

    // Killed when its container has just appeared, the command goes on when it is typed again.
    let mut killed = start(&home, &create);
    until("the container exists", || exists(CLUSTER));
    killed.kill().unwrap();
    killed.wait().unwrap();
    let text = succeed(&home, &create);
    assert!(text.contains("Cluster \"journey\" is ready"), "{text}");
    assert!(try_docker(&["exec", CLUSTER, "test", "-e", "/var/lib/journey"]).0);
    // What controllers in the cluster run from is there without a registry.
    let images = try_docker(&["exec", CLUSTER, "ctr", "-n", "k8s.io", "images", "ls", "-q"]).1;
    assert!(
        images.contains("docker.io/library/machinectl:v"),
        "{images}\n{text}"
    );

    // The controllers act on the new cluster: its context says that it manages itself.
    let running = Controllers(start(&home, &["run"]));
    let copied = try_docker(&[
        "cp",
        home.path("objects.yaml").to_str().unwrap(),
        &format!("{CLUSTER}:/root/objects.yaml"),
    ]);
    assert!(copied.0, "{}", copied.1);
    let applied = kubectl(&["apply", "-f", "/root/objects.yaml"]);
    assert!(applied.0, "{}", applied.1);
    until("the worker is Ready", || {
        kubectl(&["get", "node", WORKER, "--no-headers"])
            .1
            .split_whitespace()
            .nth(1)
            == Some("Ready")
    });
    until("the Machine runs", || {
        let machine = kubectl(&["get", "machine", WORKER, "-n", "kube-system", "--no-headers"]).1;
        machine.split_whitespace().take(3).eq([WORKER, "Running", WORKER])
    });
    let capacity = kubectl(&["get", "node", WORKER, "-o", "jsonpath={.status.capacity.pods}"]).1;
    assert_eq!(capacity.trim(), "60");
    assert!(try_docker(&["exec", WORKER, "grep", "-q", "hello", "/etc/journey"]).0);

    let deleted = kubectl(&["delete", "machine", WORKER, "-n", "kube-system"]);
    assert!(deleted.0, "{}", deleted.1);
    assert!(!exists(WORKER), "the container outlives its Machine");
    assert!(
        !kubectl(&["get", "node", WORKER]).0,
        "the Node outlives its Machine"
    );
    drop(running);

    succeed(&home, &["delete", "cluster", CLUSTER]);
    assert!(!exists(CLUSTER));
    let kubeconfig = std::fs::read_to_string(home.path(".kube/config")).unwrap();
    assert!(!kubeconfig.contains("kubernetes-admin@journey"), "{kubeconfig}");
}
