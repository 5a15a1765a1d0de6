//! The embedded API server from the command line: its state, its objects, and two processes at once.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    process::{Child, Stdio},
};

use super::{Home, cluster::CREATE, snapshot};

const OBJECTS: &str = "\
apiVersion: infrastructure.crit.sh/v1alpha1
kind: HollowMachine
metadata: {name: a}
spec: {startupDelay: 1s}
---
apiVersion: machine.crit.sh/v1alpha1
kind: Machine
metadata: {name: a}
spec:
  infrastructureRef: {apiVersion: infrastructure.crit.sh/v1alpha1, kind: HollowMachine, name: a}
";

/// A server in a process of its own; it ends with this value.
pub(super) struct Serving(Child);

impl Serving {
    pub(super) fn start(home: &Home, command: &str) -> Self {
        Self::start_with(home, &[command])
    }

    pub(super) fn start_with(home: &Home, command: &[&str]) -> Self {
        let mut child = home
            .command(command)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = lines.any(|line| line.unwrap().contains("API server ready at"));
        assert!(ready, "{command:?} ended before it was ready");
        // Somebody has to go on reading, or the program could not write.
        std::thread::spawn(move || lines.for_each(drop));
        Self(child)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn init_installs_the_definitions_and_can_be_repeated() {
    let home = Home::new();
    snapshot!(home, "init_first", home.run(&["init", "--embedded"]));
    snapshot!(home, "init_again", home.run(&["init", "--embedded", "-q"]));
    let mode = fs::metadata(home.state()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn what_would_be_upgraded_or_taken_away_is_told_and_stays() {
    let home = Home::new();
    let nothing = home.run(&["uninstall", "--embedded", "--dry-run"]);
    snapshot!(home, "uninstall_dry_run_nothing", nothing);
    home.good(&["init", "--embedded"]);
    let before = home.good(&["init", "--embedded", "--dry-run=server"]);
    let removed = |more: &[&str]| home.run(&[&["uninstall", "--embedded", "--include-crds"], more].concat());
    snapshot!(home, "uninstall_dry_run", removed(&["--dry-run"]));
    snapshot!(home, "uninstall_dry_run_server", removed(&["--dry-run=server"]));
    let upgraded = home.run(&["upgrade", "apply", "--embedded", "--dry-run"]);
    snapshot!(home, "upgrade_dry_run", upgraded);
    assert_eq!(home.good(&["init", "--embedded", "--dry-run=server"]), before);
    assert!(!before.contains("created"), "{before}");
    home.write("a.yaml", OBJECTS);
    home.good(&["apply", "-f", "a.yaml", "--wait=false"]);
    // What would be refused is refused.
    snapshot!(home, "uninstall_dry_run_machines", removed(&["--dry-run"]));
}

#[test]
fn objects_are_applied_shown_and_deleted() {
    let home = Home::new();
    home.write("a.yaml", OBJECTS);
    snapshot!(
        home,
        "apply_created",
        home.run(&["apply", "-f", "a.yaml", "--wait=false"])
    );
    snapshot!(
        home,
        "apply_unchanged",
        home.run(&["apply", "-f", "a.yaml", "--wait=false", "-q"])
    );
    snapshot!(home, "get_table", home.run(&["get", "ma"]));
    snapshot!(home, "get_wide", home.run(&["get", "machine/a", "-o", "wide"]));
    snapshot!(
        home,
        "get_all_namespaces",
        home.run(&["get", "machine-api", "-A"])
    );
    assert_eq!(
        home.good(&["get", "ma,hollowmachines", "-o", "name"]),
        "machine.machine.crit.sh/a\nhollowmachine.infrastructure.crit.sh/a\n"
    );
    let one: serde_json::Value = serde_json::from_str(&home.good(&["get", "ma", "a", "-o", "json"])).unwrap();
    assert_eq!(one["spec"]["infrastructureRef"]["name"], "a");
    assert!(one.get("items").is_none(), "{one}");
    let many: serde_json::Value = serde_json::from_str(&home.good(&["get", "ma", "-o", "json"])).unwrap();
    assert_eq!(many["items"][0]["kind"], "Machine");
    snapshot!(home, "get_none", home.run(&["get", "machinesets"]));
    snapshot!(home, "get_missing", home.run(&["get", "machine", "b"]));
    snapshot!(
        home,
        "delete_all_unasked",
        home.run(&["delete", "configs,machines", "--all"])
    );
    snapshot!(home, "delete_by_file", home.run(&["delete", "-f", "a.yaml"]));
    assert_eq!(home.good(&["get", "machine-api", "-o", "name"]), "");
}

#[test]
fn a_dry_run_changes_nothing() {
    let home = Home::new();
    home.write("a.yaml", OBJECTS);
    home.good(&["init", "--embedded"]);
    snapshot!(
        home,
        "dry_run_client",
        home.run(&["apply", "-f", "a.yaml", "--dry-run"])
    );
    snapshot!(
        home,
        "dry_run_server",
        home.run(&["apply", "-f", "a.yaml", "--dry-run=server"])
    );
    assert_eq!(home.good(&["get", "machine-api", "-o", "name"]), "");
}

#[test]
fn others_go_to_the_process_that_serves() {
    let home = Home::new();
    let serving = Serving::start(&home, "serve");
    home.write("a.yaml", OBJECTS);
    home.good(&["apply", "-f", "a.yaml", "--wait=false"]);
    assert_eq!(
        home.good(&["get", "ma", "-o", "name"]),
        "machine.machine.crit.sh/a\n"
    );
    snapshot!(home, "serve_twice", home.run(&["serve"]));
    let config = fs::read_to_string(home.path(".kube/config")).unwrap();
    assert!(config.contains("current-context: embedded"), "{config}");
    let mode = fs::metadata(home.path(".kube/config"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    // What was acknowledged is still there after the server was killed.
    drop(serving);
    assert_eq!(
        home.good(&["get", "ma", "-o", "name"]),
        "machine.machine.crit.sh/a\n"
    );
}

#[test]
fn commands_at_the_same_time_wait_for_each_other() {
    let home = Home::new();
    home.good(&["init", "--embedded"]);
    let mut children: Vec<_> = (0..4)
        .map(|_| {
            home.command(&["get", "machines"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn the_embedded_kubeconfig_is_printed_and_merged() {
    let home = Home::new();
    snapshot!(home, "kubeconfig_unused", home.run(&["kubeconfig"]));
    home.good(&["init", "--embedded"]);
    let printed = home.good(&["kubeconfig"]);
    assert!(printed.contains("current-context: embedded"), "{printed}");
    assert!(!home.path(".kube/config").exists());
    home.good(&["kubeconfig", "--merge"]);
    assert!(home.path(".kube/config").exists());
    // Whoever serves later does so where it says.
    let _serving = Serving::start(&home, "serve");
    assert_eq!(home.good(&["kubeconfig"]), printed);
}

#[test]
fn a_watch_shows_each_object_in_its_columns() {
    let home = Home::new();
    home.good(CREATE);
    let mut watch = home
        .command(&["get", "machines", "-w"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let shown: Vec<String> = lines.take(4).map(Result::unwrap).collect();
    watch.kill().unwrap();
    watch.wait().unwrap();
    assert!(shown[0].starts_with("NAME"), "{shown:?}");
    for (number, line) in shown.iter().enumerate().skip(1) {
        assert!(
            line.starts_with(&format!("demo-worker-{number} ")) && line.contains("Running"),
            "{shown:?}"
        );
    }
}
