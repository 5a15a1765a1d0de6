//! What `run` tells of the controllers over HTTP.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::Home;

const MACHINE: &str = "\
apiVersion: infrastructure.crit.sh/v1alpha1
kind: HollowMachine
metadata: {name: a}
---
apiVersion: machine.crit.sh/v1alpha1
kind: Machine
metadata: {name: a}
spec:
  infrastructureRef: {apiVersion: infrastructure.crit.sh/v1alpha1, kind: HollowMachine, name: a}
";

const GROUPS: &str = "\
apiVersion: machine.crit.sh/v1alpha1
kind: MachineSet
metadata: {name: s}
spec: {replicas: 0, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}}}
---
apiVersion: machine.crit.sh/v1alpha1
kind: MachineHealthCheck
metadata: {name: h}
spec: {selector: {matchLabels: {a: b}}}
";

/// Controllers in a process of their own, and where they tell about themselves.
pub(crate) struct Run {
    child: Child,
    address: String,
}

impl Run {
    pub(crate) fn start(home: &Home, more: &[&str]) -> Self {
        let mut arguments = vec!["run", "--embedded", "--metrics-addr", "127.0.0.1:0"];
        arguments.extend(more);
        Self::of(home.command(&arguments))
    }

    /// One that is begun in another way; it says where it tells about itself.
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut address = None;
        for line in lines.by_ref() {
            let line = line.unwrap();
            if let Some(rest) = line.strip_prefix("Metrics at http://") {
                address = Some(rest.trim_end_matches("/metrics").to_owned());
            }
            if line.starts_with("Controllers ready") || line.starts_with("Standing by") {
                break;
            }
        }
        // Somebody has to go on reading, or the program could not write.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            address: address.expect("the address of the metrics"),
        }
    }

    /// The id of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> std::process::ExitStatus {
        self.child.wait().unwrap()
    }

    /// Status and body of an answer.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        (status, body.to_owned())
    }

    pub(crate) fn until(&self, path: &str, what: &str, good: impl Fn(u16, &str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let (status, body) = self.get(path);
            if good(status, &body) {
                return body;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "{path} never got {what}: {status} {body}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Names of families that stand in a page.
fn families(page: &str) -> Vec<&str> {
    let heads = page.lines().filter_map(|l| l.strip_prefix("# TYPE "));
    heads.map(|l| l.split(' ').next().unwrap()).collect()
}

#[test]
fn o03_metric_families_have_their_names_and_those_of_openshift_when_asked_for() {
    let home = Home::new();
    home.write("groups.yaml", GROUPS);
    home.good(&["apply", "-f", "groups.yaml", "--embedded", "--wait=false"]);
    let run = Run::start(&home, &["--compat-metrics"]);
    run.until("/readyz", "ready", |status, _| status == 200);
    assert_eq!(run.get("/healthz"), (200, "ok".to_owned()));
    assert_eq!(run.get("/livez").0, 200);
    assert_eq!(run.get("/").0, 404);
    home.write("a.yaml", MACHINE);
    home.good(&["apply", "-f", "a.yaml", "--embedded", "--wait=true"]);
    let page = run.until("/metrics", "a running machine", |_, page| {
        page.contains(r#"name="a",namespace="default",spec_provider_id="hollow://default/a",node="a",api_version="machine.crit.sh/v1alpha1",phase="Running""#)
    });
    let families = families(&page);
    for family in [
        "controller_runtime_reconcile_total",
        "controller_runtime_reconcile_errors_total",
        "controller_runtime_terminal_reconcile_errors_total",
        "controller_runtime_reconcile_panics_total",
        "controller_runtime_reconcile_time_seconds",
        "controller_runtime_max_concurrent_reconciles",
        "controller_runtime_active_workers",
        "workqueue_depth",
        "workqueue_adds_total",
        "workqueue_queue_duration_seconds",
        "workqueue_work_duration_seconds",
        "workqueue_unfinished_work_seconds",
        "workqueue_longest_running_processor_seconds",
        "workqueue_retries_total",
        "rest_client_requests_total",
        "leader_election_master_status",
    ] {
        assert!(families.contains(&family), "{family} is not in {families:?}");
    }
    for family in [
        "machine_items",
        "machine_created_timestamp_seconds",
        "machine_phase_transition_seconds",
        "machineset_items",
        "machineset_created_timestamp_seconds",
        "machine_set_status_replicas",
        "machine_set_status_replicas_ready",
        "machine_set_status_replicas_available",
        "machinehealthcheck_nodes_covered",
        "machinehealthcheck_remediation_success_total",
        "machinehealthcheck_short_circuit",
        "mao_collector_up",
    ] {
        for prefix in ["machinectl", "mapi"] {
            let family = format!("{prefix}_{family}");
            assert!(
                families.contains(&family.as_str()),
                "{family} is not in {families:?}"
            );
        }
    }
    assert!(page.contains("leader_election_master_status{name=\"machinectl-controller\"} 1\n"));
    assert!(page.contains("mapi_machine_items 1\n"), "{page}");
    assert!(
        page.contains(r#"rest_client_requests_total{code="200",host="embedded",method="GET"}"#),
        "{page}"
    );

    home.good(&["delete", "machine", "a", "--embedded", "-y"]);
    let page = run.until("/metrics", "no machine", |_, page| {
        page.contains("mapi_machine_items 0\n")
    });
    assert!(!page.contains("name=\"a\""), "{page}");
}

#[test]
fn o04_phase_transitions_have_no_series_of_the_end() {
    let home = Home::new();
    let run = Run::start(&home, &[]);
    home.write("a.yaml", MACHINE);
    home.good(&["apply", "-f", "a.yaml", "--embedded", "--wait=true"]);
    home.good(&["delete", "machine", "a", "--embedded", "-y"]);
    let page = run.until("/metrics", "no machine", |_, page| {
        page.contains("machinectl_machine_items 0\n")
    });
    let name = "machinectl_machine_phase_transition_seconds";
    let of = |phase: &str| format!("{name}_count{{phase=\"{phase}\"}} 1\n");
    assert!(page.contains(&of("Running")), "{page}");
    assert!(page.contains(&format!("{name}_bucket{{phase=\"Running\",le=\"5\"}}")));
    for end in ["Terminating", "Deleting"] {
        assert!(!page.contains(&format!("phase=\"{end}\"")), "{page}");
    }
    assert!(
        !families(&page).iter().any(|f| f.starts_with("mapi_")),
        "other names only when asked for"
    );
}

#[test]
fn nothing_listens_unless_it_is_told_to_and_a_bad_address_is_refused() {
    let home = Home::new();
    let output = home.run(&["run", "--embedded", "--metrics-addr", "8080"]);
    super::snapshot!(home, "metrics_address", output);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = home.run(&["run", "--embedded", "--metrics-addr", &address]);
    super::snapshot!(home, "metrics_address_taken", output);
}

/// O01: of two processes one leads; when it is killed the other one takes over.
#[test]
fn o01_of_two_controllers_one_leads_and_the_other_takes_over() {
    const LEADS: &str = "leader_election_master_status{name=\"machinectl-controller\"} ";
    let leads = |yes: u8| move |_: u16, page: &str| page.contains(&format!("{LEADS}{yes}\n"));
    let home = Home::new();
    let first = Run::start(&home, &[]);
    first.until("/metrics", "the Lease", leads(1));
    let second = Run::start(&home, &[]);
    // Whoever stands by is ready.
    second.until("/readyz", "ready", |status, _| status == 200);
    assert!(leads(0)(200, &second.get("/metrics").1));
    assert!(leads(1)(200, &first.get("/metrics").1));
    drop(first);
    second.until("/metrics", "the Lease", leads(1));
    second.until("/readyz", "ready", |status, _| status == 200);
    home.write("a.yaml", MACHINE);
    home.good(&["apply", "-f", "a.yaml", "--embedded", "--wait=true"]);
}
