//! A group of machines in a real cluster: drained under a disruption budget, healed when a kubelet dies, rolled from one image to
//! another.

use serde_json::Value;

use super::{
    commands::{self, Controllers, start, succeed},
    docker, exists, image, try_docker,
};
use crate::cli::Home;

const CLUSTER: &str = "fleet";
const ROLLED: &str = "machinectl-node-rolled:test";
/// The kubelets ask for serving certificates, which somebody has to approve.
const POOL: &str = "apiVersion: machine.crit.sh/v1alpha1
kind: Config
metadata: {name: pool, labels: {machine.crit.sh/cluster-name: fleet}}
spec:
  config: |
    apiVersion: crit.sh/v1alpha2
    kind: WorkerConfiguration
    clusterName: fleet
    node:
      kubelet: {serverTLSBootstrap: true}
---
apiVersion: infrastructure.crit.sh/v1alpha1
kind: DockerMachineTemplate
metadata: {name: TEMPLATE, labels: {machine.crit.sh/cluster-name: fleet}}
spec: {template: {spec: {clusterName: fleet, containerName: '', image: 'IMAGE'}}}
---
apiVersion: machine.crit.sh/v1alpha1
kind: MachineDeployment
metadata: {name: pool}
spec:
  clusterName: fleet
  replicas: 2
  selector: {matchLabels: {pool: a}}
  template:
    metadata: {labels: {pool: a}}
    spec:
      clusterName: fleet
      metadata: {labels: {pool: a}}
      configRef: {name: pool}
      infrastructureRef: {apiVersion: infrastructure.crit.sh/v1alpha1, kind: DockerMachineTemplate, name: TEMPLATE}
";
const HEALTH: &str = "apiVersion: machine.crit.sh/v1alpha1
kind: MachineHealthCheck
metadata: {name: pool}
spec:
  clusterName: fleet
  selector: {matchLabels: {pool: a}}
  maxUnhealthy: 1
  unhealthyConditions: [{type: Ready, status: Unknown, timeout: 2s}]
";
const WORKLOAD: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      nodeSelector: {pool: a}
      # Both pods may be on the Node that dies. Their budget then has nothing to spare, and what lets the machine go is this.
      tolerations:
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 5}
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: web}}}
      containers: [{name: pause, image: 'PAUSE', imagePullPolicy: Never}]
---
apiVersion: policy/v1beta1
kind: PodDisruptionBudget
metadata: {name: web-budget}
spec: {minAvailable: 2, selector: {matchLabels: {app: web}}}
";

/// Takes the containers along when a test fails in the middle.
struct Leftovers;

impl Drop for Leftovers {
    fn drop(&mut self) {
        for container in containers() {
            try_docker(&["rm", "--force", "--volumes", &container]);
        }
        try_docker(&["rmi", ROLLED]);
    }
}

/// All containers of the cluster.
fn containers() -> Vec<String> {
    let filter = format!("label=io.x-k8s.kind.cluster={CLUSTER}");
    let listed = try_docker(&["ps", "-a", "--filter", &filter, "--format", "{{.Names}}"]).1;
    listed.lines().map(str::to_owned).collect()
}

fn kubectl(arguments: &[&str]) -> String {
    commands::kubectl(CLUSTER, arguments).1
}

fn until(what: &str, done: impl Fn() -> bool) {
    commands::until(CLUSTER, what, done);
}

/// kubectl apply, from a file in the node.
fn apply_to_cluster(home: &Home, name: &str, text: &str) {
    let file = home.write(name, text);
    docker(&["cp", file.to_str().unwrap(), &format!("{CLUSTER}:/root/{name}")]);
    let (ok, said) = commands::kubectl(CLUSTER, &["apply", "-f", &format!("/root/{name}")]);
    assert!(ok, "{said}");
}

/// The Machines of the pool.
fn pool(home: &Home) -> Vec<Value> {
    let text = succeed_quietly(home, &["get", "machines", "-l", "pool=a", "-o", "json"]);
    let list: Value = serde_json::from_str(&text).unwrap();
    list["items"].as_array().cloned().unwrap_or_default()
}

/// Runs the program; returns standard output alone.
fn succeed_quietly(home: &Home, arguments: &[&str]) -> String {
    let output = home
        .command(arguments)
        .env_remove("DOCKER_HOST")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn name(machine: &Value) -> String {
    machine["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn is_leaving(machine: &Value) -> bool {
    !machine["metadata"]["deletionTimestamp"].is_null()
}

fn condition<'a>(machine: &'a Value, type_: &str) -> Option<&'a Value> {
    let all = machine["status"]["conditions"].as_array()?;
    all.iter().find(|c| c["type"] == type_)
}

/// Whether exactly so many Machines of the pool are there, and all have healthy Nodes.
fn pool_is_well(home: &Home, count: usize) -> bool {
    let all = pool(home);
    let well =
        |m: &Value| !is_leaving(m) && condition(m, "NodeHealthy").is_some_and(|c| c["status"] == "True");
    all.len() == count && all.iter().all(well)
}

fn web_is_available() -> bool {
    kubectl(&[
        "get",
        "deployment",
        "web",
        "-o",
        "jsonpath={.status.availableReplicas}",
    ]) == "2"
}

#[test]
fn a_fleet_is_drained_healed_and_rolled() {
    let _leftovers = Leftovers;
    let home = Home::new();
    let first = image();
    docker(&["tag", &first, ROLLED]);
    succeed(
        &home,
        &["create", "cluster", CLUSTER, "--image", &first, "--workers", "0"],
    );
    let _running = Controllers(start(&home, &["run", "--embedded"]));
    let objects = |template: &str, image: &str| POOL.replace("TEMPLATE", template).replace("IMAGE", image);
    home.write("pool.yaml", &objects("pool-first", &first));
    succeed(&home, &["apply", "-f", "pool.yaml"]);
    until("two machines with healthy Nodes", || pool_is_well(&home, 2));
    // The label of the template has come to the Nodes, or nothing would run there.
    let pause = docker(&["exec", CLUSTER, "ctr", "-n", "k8s.io", "images", "list", "-q"]);
    let pause = pause.lines().find(|i| i.contains("/pause:")).unwrap().to_owned();
    apply_to_cluster(&home, "workload.yaml", &WORKLOAD.replace("PAUSE", &pause));
    until("the workload is available", web_is_available);
    until("the serving certificates are issued", || {
        let all = kubectl(&[
            "get",
            "csr",
            "-o",
            "jsonpath={range .items[?(@.spec.signerName=='kubernetes.io/kubelet-serving')]}{.status.conditions[*].type}{.status.certificate}{\"\\n\"}{end}",
        ]);
        all.lines()
            .filter(|l| l.contains("Approved") && l.len() > 100)
            .count()
            >= 2
    });

    drained_under_a_budget(&home);
    healed(&home);

    // From one image to another.
    home.write("rolled.yaml", &objects("pool-second", ROLLED));
    succeed(&home, &["apply", "-f", "rolled.yaml"]);
    let told = succeed(
        &home,
        &["rollout", "status", "machinedeployment/pool", "--timeout", "3m"],
    );
    assert!(told.contains("successfully rolled out"), "{told}");
    until("only the new machines are left", || pool_is_well(&home, 2));
    for machine in pool(&home) {
        let image = docker(&["inspect", "-f", "{{.Config.Image}}", &name(&machine)]);
        assert_eq!(image, ROLLED);
    }
    until("the workload is available again", web_is_available);
    let history = succeed(&home, &["rollout", "history", "machinedeployment/pool"]);
    assert!(history.contains('2'), "{history}");

    succeed(&home, &["delete", "cluster", CLUSTER]);
    assert!(containers().is_empty(), "{:?}", containers());
}

/// A machine whose pods may not leave stays until they may; its replacement comes at once.
fn drained_under_a_budget(home: &Home) {
    let node = kubectl(&[
        "get",
        "pods",
        "-l",
        "app=web",
        "-o",
        "jsonpath={.items[0].spec.nodeName}",
    ]);
    let victim = pool(home)
        .iter()
        .map(name)
        .find(|n| *n == node)
        .expect("the Node is called as its Machine");
    succeed(home, &["delete", "machine", &victim, "--wait=false"]);
    until("the condition names the pod and the budget", || {
        pool(home).iter().filter(|m| name(m) == victim).any(|m| {
            let drained = condition(m, "Drained")
                .map(|c| c["message"].to_string())
                .unwrap_or_default();
            drained.contains("web-budget") && drained.contains("web-")
        })
    });
    let unschedulable = kubectl(&["get", "node", &victim, "-o", "jsonpath={.spec.unschedulable}"]);
    assert_eq!(unschedulable, "true");
    until("a replacement is there", || {
        pool(home).iter().filter(|m| !is_leaving(m)).count() == 2
    });
    assert!(exists(&victim), "the container went although its pods could not");
    kubectl(&[
        "patch",
        "pdb",
        "web-budget",
        "--type=merge",
        "-p",
        r#"{"spec":{"minAvailable":1}}"#,
    ]);
    until("the machine is gone", || {
        pool_is_well(home, 2) && !exists(&victim)
    });
    until("the workload is available again", web_is_available);
}

/// A Node whose kubelet dies is replaced, though the budget holds its pods. Of Kubernetes 1.20 such a Node gets its `NoExecute` taint at
/// most times, not always.
fn healed(home: &Home) {
    home.write("health.yaml", HEALTH);
    succeed(home, &["apply", "-f", "health.yaml"]);
    let victim = kubectl(&[
        "get",
        "pods",
        "-l",
        "app=web",
        "-o",
        "jsonpath={.items[0].spec.nodeName}",
    ]);
    docker(&["exec", &victim, "systemctl", "stop", "kubelet"]);
    until("the broken machine is replaced", || {
        pool_is_well(home, 2) && !exists(&victim)
    });
    until("the workload is available again", web_is_available);
    let checks = succeed_quietly(home, &["get", "machinehealthchecks", "pool", "-o", "json"]);
    let check: Value = serde_json::from_str(&checks).unwrap();
    assert_eq!(check["status"]["expectedMachines"], 2, "{check}");
}
