//! How long it takes to choose what moves, and how much memory: `graph N...` does it for each number of objects. The first number is what the others
//! are compared with. `tests/bench/run` calls it and knows the bounds.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark that can not go on has failed, and what it found is printed"
)]

use std::time::Instant;

use machinectl::pivot::{
    collect::Namespaces,
    graph::{Purpose, Scope, choose},
    kinds::{MovedKind, Role},
    object::Object,
};
use serde_json::{Value, json};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Says to a process of this program that it measures one size.
const ALONE: &str = "MACHINECTL_BENCH_ALONE";
/// Machines of each cluster.
const MACHINES: usize = 300;

fn main() {
    // cargo itself adds `--bench`.
    let args = std::env::args().skip(1).filter(|a| a != "--bench");
    let mut sizes: Vec<usize> = args.map(|n| n.parse().unwrap()).collect();
    if std::env::var_os(ALONE).is_some() {
        let (seconds, bytes) = graph(sizes[0]);
        println!("{seconds} {bytes}");
        return;
    }
    if sizes.is_empty() {
        sizes = vec![10_000, 100_000];
    }
    let mut first: Option<(f64, f64)> = None;
    for n in sizes {
        let (seconds, bytes) = alone(n);
        let (base_seconds, base_bytes) = *first.get_or_insert((seconds / n as f64, bytes));
        figure(&format!("graph {n}: seconds"), seconds);
        figure(&format!("graph {n}: bytes an object"), bytes);
        figure(
            &format!("graph {n}: time an object / smallest"),
            seconds / n as f64 / base_seconds,
        );
        figure(
            &format!("graph {n}: bytes an object / smallest"),
            bytes / base_bytes,
        );
    }
}

/// Measures in a process of its own: memory that another size has left free would be used again.
fn alone(n: usize) -> (f64, f64) {
    let me = std::env::current_exe().unwrap();
    let output = std::process::Command::new(me)
        .arg(n.to_string())
        .env(ALONE, "1")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let (seconds, bytes) = text.trim().split_once(' ').unwrap();
    (seconds.parse().unwrap(), bytes.parse().unwrap())
}

/// One figure on a line of its own, for people and for scripts.
fn figure(name: &str, value: f64) {
    println!("{name}\t{value:.2}");
}

/// Chooses from `n` objects; returns the seconds that it took, the best of three, and the bytes that this process needs for each object at its peak:
/// its text, and what is known of it.
fn graph(n: usize) -> (f64, f64) {
    let kinds = kinds();
    let before = memory("VmHWM");
    let objects = objects(&kinds, n);
    let scope = Scope {
        namespaces: Namespaces::All,
        cluster: None,
        purpose: Purpose::Move,
    };
    let mut seconds = f64::MAX;
    for _ in 0..3 {
        let began = Instant::now();
        let choice = choose(&kinds, &objects, &scope).unwrap();
        seconds = seconds.min(began.elapsed().as_secs_f64());
        assert_eq!(
            choice.groups.iter().map(Vec::len).sum::<usize>(),
            n,
            "all of them move"
        );
        assert!(choice.notes.is_empty() && choice.left.is_empty());
    }
    (seconds, (memory("VmHWM") - before) / n as f64)
}

/// A figure of this process's memory, in bytes.
fn memory(name: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|l| l.starts_with(name)).unwrap();
    let kb: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kb * 1024.0
}

const KINDS: [(&str, &str, &str); 6] = [
    ("Cluster", "clusters", "machine.crit.sh"),
    ("Machine", "machines", "machine.crit.sh"),
    ("MachineSet", "machinesets", "machine.crit.sh"),
    ("MachineDeployment", "machinedeployments", "machine.crit.sh"),
    ("Config", "configs", "machine.crit.sh"),
    ("DockerMachine", "dockermachines", "infrastructure.crit.sh"),
];

fn kinds() -> Vec<MovedKind> {
    let own = KINDS.map(|(kind, plural, group)| MovedKind {
        group: group.to_owned(),
        version: "v1alpha1".to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
        has_status: true,
        role: if kind == "Cluster" {
            Role::Root
        } else {
            Role::Forced
        },
        own: true,
        ..MovedKind::secret()
    });
    own.into_iter().chain([MovedKind::secret()]).collect()
}

/// Clusters of machines, `n` objects in all, with status and managed fields as they are in use.
fn objects(kinds: &[MovedKind], n: usize) -> Vec<Object> {
    let mut all = Vec::with_capacity(n);
    let mut put = |kind: &str, name: &str, owner: Option<&str>, spec: Value| {
        let index = kinds.iter().position(|k| k.kind == kind).unwrap();
        let mut metadata = json!({
            "name": name, "namespace": "fleet", "uid": format!("{kind} {name}"), "resourceVersion": "123456",
            "labels": { "pool": "workers", "zone": "a" }, "managedFields": managed_fields(),
        });
        if let Some(owner) = owner {
            let (kind, name) = owner.split_once(' ').unwrap();
            metadata["ownerReferences"] = json!([{ "apiVersion": "machine.crit.sh/v1alpha1", "kind": kind, "name": name, "uid": owner,
                "controller": true, "blockOwnerDeletion": true }]);
        }
        let value = json!({ "metadata": metadata, "spec": spec, "status": status() });
        if all.len() < n {
            all.push(Object::new(index, &kinds[index], value).unwrap());
        }
    };
    for cluster in 0..=n / (MACHINES * 3) {
        let c = format!("c{cluster}");
        put("Cluster", &c, None, json!({}));
        put(
            "Secret",
            &format!("{c}-ca"),
            Some(&format!("Cluster {c}")),
            json!({}),
        );
        put(
            "Config",
            &c,
            None,
            json!({ "config": "apiVersion: crit.sh/v1alpha1\n".repeat(20) }),
        );
        put(
            "MachineDeployment",
            &c,
            None,
            json!({ "clusterName": c, "template": { "spec": machine(&c, &c) } }),
        );
        put(
            "MachineSet",
            &c,
            Some(&format!("MachineDeployment {c}")),
            json!({ "clusterName": c }),
        );
        for machine_number in 0..MACHINES {
            let m = format!("{c}-{machine_number}");
            put("Machine", &m, Some(&format!("MachineSet {c}")), machine(&c, &m));
            put(
                "DockerMachine",
                &m,
                Some(&format!("Machine {m}")),
                json!({ "clusterName": c, "containerName": m }),
            );
            put(
                "Secret",
                &format!("{m}-bootstrap"),
                Some(&format!("Machine {m}")),
                json!({}),
            );
        }
    }
    all
}

fn machine(cluster: &str, name: &str) -> Value {
    let reference = |kind: &str, group: &str, name: &str| json!({ "apiVersion": format!("{group}/v1alpha1"), "kind": kind, "name": name });
    json!({
        "clusterName": cluster,
        "configRef": reference("Config", "machine.crit.sh", cluster),
        "infrastructureRef": reference("DockerMachine", "infrastructure.crit.sh", name),
        "providerID": format!("docker:////{name}"), "version": "v1.33.1",
    })
}

fn status() -> Value {
    let condition = |type_: &str| {
        json!({ "type": type_, "status": "True", "reason": type_, "message": "it is so",
        "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1 })
    };
    let conditions = ["Ready", "InfrastructureReady", "BootstrapReady", "NodeHealthy"].map(condition);
    json!({
        "phase": "Running", "addresses": [{ "type": "InternalIP", "address": "10.0.0.1" }],
        "conditions": conditions,
    })
}

fn managed_fields() -> Value {
    let fields: Value = (0..12)
        .map(|n| {
            (
                format!("f:field{n}"),
                json!({ ".": {}, "f:name": {}, "f:kind": {} }),
            )
        })
        .collect();
    json!([{ "manager": "machinectl", "operation": "Apply", "apiVersion": "machine.crit.sh/v1alpha1", "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1", "fieldsV1": { "f:spec": fields } }])
}
