//! A hollow cluster from its making to its end.

use super::{Home, snapshot};

pub(super) const CREATE: &[&str] = &[
    "create",
    "cluster",
    "demo",
    "--infrastructure",
    "hollow",
    "--workers",
    "3",
];

#[test]
fn a_hollow_cluster_is_made_shown_and_deleted() {
    let home = Home::new();
    snapshot!(home, "create_hollow", home.run(CREATE));
    snapshot!(
        home,
        "describe_cluster",
        home.run(&["describe", "cluster", "demo"])
    );
    let nodes = home.good(&["get", "nodes", "-o", "name"]);
    assert_eq!(
        nodes,
        "node/demo-worker-1\nnode/demo-worker-2\nnode/demo-worker-3\n"
    );
    // Its context leads to the embedded server, where nothing runs pods.
    let installed = home.good(&["init", "-o", "yaml"]);
    assert!(!installed.contains("kind: Deployment"), "{installed}");
    let again = home.run(CREATE);
    assert!(again.status.success(), "{}", home.tell(&again));
    let other = [&CREATE[..6], &["2"]].concat();
    snapshot!(home, "create_different", home.run(&other));
    snapshot!(
        home,
        "create_machine",
        home.run(&["create", "machine", "demo-worker-4", "--cluster", "demo"])
    );
    snapshot!(
        home,
        "create_machine_taken",
        home.run(&["create", "machine", "demo-worker-4", "--cluster", "demo"])
    );
    snapshot!(
        home,
        "delete_machine",
        home.run(&["delete", "machine", "demo-worker-4"])
    );
    let config = std::fs::read_to_string(home.path(".kube/config")).unwrap();
    assert!(config.contains("name: kubernetes-admin@demo"), "{config}");
    snapshot!(home, "delete_hollow", home.run(&["delete", "cluster", "demo"]));
    assert_eq!(home.good(&["get", "machine-api,nodes", "-A", "-o", "name"]), "");
    let config = std::fs::read_to_string(home.path(".kube/config")).unwrap();
    assert!(!config.contains("demo"), "{config}");
}

#[test]
fn what_is_not_waited_for_is_left_to_run() {
    let home = Home::new();
    let create = [CREATE, &["--wait=false"]].concat();
    snapshot!(home, "create_no_wait", home.run(&create));
    // The same command goes on where the first one stood.
    home.good(CREATE);
}

#[test]
fn two_clusters_live_side_by_side() {
    let home = Home::new();
    home.good(&[
        "create",
        "cluster",
        "a",
        "--infrastructure",
        "hollow",
        "--workers",
        "1",
        "-n",
        "default",
    ]);
    home.good(&[
        "create",
        "cluster",
        "b",
        "--infrastructure",
        "hollow",
        "--workers",
        "1",
    ]);
    home.good(&["delete", "cluster", "a"]);
    assert_eq!(
        home.good(&["get", "machines", "-o", "name"]),
        "machine.machine.crit.sh/b-worker-1\n"
    );
}

#[test]
fn a_machine_is_shown_before_it_is_made() {
    let home = Home::new();
    let arguments = [
        "create",
        "machine",
        "w",
        "--infrastructure",
        "docker",
        "--image",
        "i",
        "--dry-run",
    ];
    snapshot!(home, "create_machine_dry_run", home.run(&arguments));
    assert_eq!(home.good(&["get", "machine-api", "-o", "name"]), "");
}

#[test]
fn a_killed_command_goes_on_when_it_is_typed_again() {
    let home = Home::new();
    for pause in [50, 400, 800] {
        let mut child = home
            .command(CREATE)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(pause));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    home.good(CREATE);
    let nodes = home.good(&["get", "nodes", "-o", "name"]);
    assert_eq!(nodes.lines().count(), 3, "{nodes}");
}
