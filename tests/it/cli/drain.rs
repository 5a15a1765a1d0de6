//! Draining the Node of a machine: what would be done, what is done, and what stands in the way.

use std::sync::Arc;

use k8s_openapi::api::{core::v1::Pod, policy::v1::PodDisruptionBudget};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use machinectl::{apiserver::Server, time::SystemClock};
use serde_json::{Value, json};

use super::{Home, cluster::CREATE, snapshot};

const PODS: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: default, labels: {app: web}}
spec: {nodeName: demo-worker-1, terminationGracePeriodSeconds: 0, containers: [{name: c, image: i}]}
---
apiVersion: v1
kind: Pod
metadata: {name: job-0, namespace: default}
spec: {nodeName: demo-worker-1, terminationGracePeriodSeconds: 0, containers: [{name: c, image: i}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: default}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
";

/// Does something on the server in the state of a home, while no command runs.
fn on_server(home: &Home, work: impl AsyncFnOnce(kube::Client)) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let server = Server::open(&home.state(), Arc::new(SystemClock)).await.unwrap();
        work(server.client()).await;
        server.close();
    });
}

/// What controllers of a real cluster would have written: the pod runs, and the budget allows so many to go.
fn allow(home: &Home, allowed: i32) {
    on_server(home, async |client| {
        let write = |status: Value| Patch::Merge(json!({ "status": status }));
        let running = json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] });
        let budget = json!({ "observedGeneration": 1, "disruptionsAllowed": allowed, "desiredHealthy": 1,
            "currentHealthy": 1 + allowed, "expectedPods": 1 });
        let params = PatchParams::default();
        let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
        pods.patch_status("web-0", &params, &write(running))
            .await
            .unwrap();
        let budgets: Api<PodDisruptionBudget> = Api::namespaced(client, "default");
        budgets
            .patch_status("web", &params, &write(budget))
            .await
            .unwrap();
    });
}

#[test]
fn a_node_is_drained_and_its_machine_stays() {
    let home = Home::new();
    home.good(CREATE);
    let made = home.run_with_input(&["apply", "-f", "-"], PODS);
    assert!(made.status.success(), "{}", home.tell(&made));
    allow(&home, 0);
    let drain = ["drain", "machine", "demo-worker-1"];
    let with =
        |more: &[&'static str]| -> Vec<&str> { drain.into_iter().chain(more.iter().copied()).collect() };
    snapshot!(home, "drain_dry_run", home.run(&with(&["--dry-run"])));
    snapshot!(
        home,
        "drain_dry_run_server",
        home.run(&with(&["--dry-run=server"]))
    );
    // A budget holds one pod; the other one goes.
    snapshot!(home, "drain_blocked", home.run(&with(&["--timeout", "12s"])));
    assert_eq!(
        home.good(&["get", "pods", "-n", "default", "-o", "name"]),
        "pod/web-0\n"
    );
    // A machine that is deleted waits for the same, and says so.
    let delete = ["delete", "machine", "demo-worker-1", "--timeout", "12s"];
    snapshot!(home, "delete_blocked", home.run(&delete));
    allow(&home, 1);
    // The machine is being deleted: its controller may ask the pod to go before this command does, and then says so alone.
    let drained = home.good(&with(&[]));
    assert!(drained.ends_with("node \"demo-worker-1\" drained\n"), "{drained}");
    assert_eq!(home.good(&["get", "pods", "-n", "default", "-o", "name"]), "");
    let other = ["drain", "machine/demo-worker-2", "-q"];
    assert_eq!(
        home.good(&other),
        "node \"demo-worker-2\" cordoned\nnode \"demo-worker-2\" drained\n"
    );
    assert_eq!(
        home.good(&["drain", "demo-worker-2", "-q"]),
        "node \"demo-worker-2\" drained\n",
        "twice is the same as once"
    );
}

#[test]
fn what_can_not_be_drained_is_said() {
    let home = Home::new();
    home.good(CREATE);
    snapshot!(
        home,
        "drain_no_machine",
        home.run(&["drain", "machine", "nobody"])
    );
    snapshot!(home, "drain_node", home.run(&["drain", "node", "demo-worker-1"]));
    snapshot!(home, "drain_nothing", home.run(&["drain", "machine"]));
}
