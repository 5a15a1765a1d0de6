//! `run` as somebody operates it: two of them, signals, one namespace, some controllers, logs for programs.

use std::{
    io::Read as _,
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Home, metrics::Run, snapshot};

/// What the metrics of the run that acts say, and of one that waits.
pub(crate) const LEADS: &str = "leader_election_master_status{name=\"machinectl-controller\"} 1\n";
pub(crate) const WAITS: &str = "leader_election_master_status{name=\"machinectl-controller\"} 0\n";

/// A namespace, and in it a machine of the same name: Nodes of all namespaces need different ones.
fn machine(namespace: &str) -> String {
    format!(
        "apiVersion: v1
kind: Namespace
metadata: {{name: {namespace}}}
---
apiVersion: infrastructure.crit.sh/v1alpha1
kind: HollowMachine
metadata: {{name: {namespace}, namespace: {namespace}}}
---
apiVersion: machine.crit.sh/v1alpha1
kind: Machine
metadata: {{name: {namespace}, namespace: {namespace}}}
spec:
  infrastructureRef: {{apiVersion: infrastructure.crit.sh/v1alpha1, kind: HollowMachine, name: {namespace}}}
"
    )
}

pub(crate) fn signal(name: &str, process: u32) {
    let sent = Command::new("kill").args([name, &process.to_string()]).status();
    assert!(sent.unwrap().success());
}

fn phase(home: &Home, namespace: &str) -> Option<String> {
    let text = home.good(&[
        "get",
        "machine",
        namespace,
        "-n",
        namespace,
        "-o",
        "json",
        "--embedded",
    ]);
    let machine: Value = serde_json::from_str(&text).unwrap();
    machine["status"]["phase"].as_str().map(str::to_owned)
}

fn until_running(home: &Home, namespace: &str) {
    let begun = Instant::now();
    while phase(home, namespace).as_deref() != Some("Running") {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "{:?}",
            phase(home, namespace)
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The embedded API server alone, in a process of its own.
pub(super) struct Server(std::process::Child);

impl Server {
    pub(super) fn start(home: &Home) -> Self {
        let mut command = home.command(&["serve", "--embedded"]);
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while !home.path(".kube/config").exists() {
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "no kubeconfig was written"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Self(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn of_two_runs_one_acts_and_the_other_takes_over() {
    let home = Home::new();
    // The kinds have to be there before another process serves them.
    home.write("x.yaml", &machine("x"));
    home.good(&["apply", "-f", "x.yaml", "--embedded", "--wait=false"]);
    let _server = Server::start(&home);
    let first = Run::start(&home, &[]);
    first.until("/metrics", "the Lease", |_, page| page.contains(LEADS));
    until_running(&home, "x");
    let second = Run::start(&home, &[]);
    second.until("/metrics", "a leader", |_, page| page.contains(WAITS));

    // Killed, it could give nothing back; on the same machine that is noticed at once.
    signal("-KILL", first.id());
    second.until("/metrics", "the Lease", |_, page| page.contains(LEADS));
    home.write("y.yaml", &machine("y"));
    home.good(&["apply", "-f", "y.yaml", "--embedded", "--wait=false"]);
    until_running(&home, "y");

    // Whoever would take everything away hears of it.
    let told = home.run(&["uninstall", "--embedded", "--dry-run", "--leave-machines"]);
    let told = String::from_utf8(told.stderr).unwrap();
    assert!(told.contains("lets go of the Lease"), "{told}");

    // Asked to end, it gives the Lease back.
    let third = Run::start(&home, &[]);
    third.until("/metrics", "a leader", |_, page| page.contains(WAITS));
    signal("-TERM", second.id());
    assert_eq!(second.end().code(), Some(0));
    third.until("/metrics", "the Lease", |_, page| page.contains(LEADS));
}

#[test]
fn one_namespace_is_acted_on_and_no_other() {
    let home = Home::new();
    let run = Run::start(&home, &["--namespace", "x"]);
    for namespace in ["y", "x"] {
        home.write("a.yaml", &machine(namespace));
        home.good(&["apply", "-f", "a.yaml", "--embedded", "--wait=false"]);
    }
    until_running(&home, "x");
    assert_eq!(phase(&home, "y"), None);
    let page = run.get("/metrics").1;
    assert!(page.contains("machinectl_machine_items 1\n"), "{page}");
}

#[test]
fn controllers_that_are_left_out_do_nothing() {
    let home = Home::new();
    let _run = Run::start(&home, &["--controllers", "*,-infrastructure-machine"]);
    home.write("x.yaml", &machine("x"));
    home.good(&["apply", "-f", "x.yaml", "--embedded", "--wait=false"]);
    let begun = Instant::now();
    while phase(&home, "x").is_none() {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "nobody looked at the machine"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let text = home.good(&["get", "hollowmachine", "x", "-n", "x", "-o", "json", "--embedded"]);
    let object: Value = serde_json::from_str(&text).unwrap();
    assert!(object["status"].is_null(), "{object}");
    assert_ne!(phase(&home, "x").as_deref(), Some("Running"));
    let run = |list: &str| home.run(&["run", "--embedded", "--controllers", list]);
    snapshot!(home, "run_unknown_controller", run("machines"));
    snapshot!(home, "run_no_controller", run("-node"));
    let both = ["run", "--embedded", "-A", "-n", "x"];
    assert_eq!(home.run(&both).status.code(), Some(2));
}

/// Runs until it is ready, asks it to end, and returns how it ended and what it said.
fn run_and_end(home: &Home, arguments: &[&str]) -> (ExitStatus, String) {
    let said = home.path("said");
    let file = std::fs::File::create(&said).unwrap();
    let mut child = home.command(arguments).stderr(file).spawn().unwrap();
    let begun = Instant::now();
    let text = || std::fs::read_to_string(&said).unwrap();
    while !text().contains("Controllers ready") {
        assert!(begun.elapsed() < Duration::from_secs(120), "{}", text());
        std::thread::sleep(Duration::from_millis(20));
    }
    signal("-TERM", child.id());
    let status = child.wait().unwrap();
    let mut all = String::new();
    std::fs::File::open(&said)
        .unwrap()
        .read_to_string(&mut all)
        .unwrap();
    (status, all)
}

#[test]
fn logs_for_programs_are_one_object_a_line() {
    let home = Home::new();
    let (status, said) = run_and_end(&home, &["run", "--embedded", "--log-format", "json", "-vv"]);
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.lines().count() > 5, "{said}");
    for line in said.lines() {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        for key in ["timestamp", "level", "message"] {
            assert!(object[key].is_string(), "{key}: {line}");
        }
    }
    assert!(said.contains("\"target\":\""), "{said}");
    let wrong = home.run(&["run", "--context", "nope", "--log-format", "json"]);
    let said = String::from_utf8(wrong.stderr).unwrap();
    let object: Value = serde_json::from_str(said.trim()).unwrap();
    assert_eq!(
        (wrong.status.code(), &object["level"]),
        (Some(3), &"ERROR".into())
    );
    assert!(object["fields"]["hints"].is_array(), "{said}");
}
