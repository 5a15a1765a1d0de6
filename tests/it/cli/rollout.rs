//! Roll-outs from the command line, on the embedded server: followed, stopped, taken back.

use super::{Home, snapshot};

/// A deployment of so many hollow machines of a version.
fn web(replicas: i32, version: &str) -> String {
    format!(
        "\
apiVersion: infrastructure.crit.sh/v1alpha1
kind: HollowMachineTemplate
metadata: {{name: web}}
spec: {{template: {{spec: {{}}}}}}
---
apiVersion: machine.crit.sh/v1alpha1
kind: MachineDeployment
metadata:
  name: web
  annotations: {{kubernetes.io/change-cause: version {version}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{pool: web}}}}
  template:
    metadata: {{labels: {{pool: web}}}}
    spec:
      version: {version}
      infrastructureRef: {{apiVersion: infrastructure.crit.sh/v1alpha1, kind: HollowMachineTemplate, name: web}}
"
    )
}

impl Home {
    /// Applies the deployment and leaves it to others.
    fn apply_web(&self, replicas: i32, version: &str) {
        self.write("web.yaml", &web(replicas, version));
        self.good(&["apply", "-f", "web.yaml", "--wait=false"]);
    }

    fn versions(&self) -> Vec<String> {
        let list = self.good(&["get", "machines", "-o", "json"]);
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        let items = list["items"].as_array().unwrap();
        items
            .iter()
            .filter(|m| m["metadata"]["deletionTimestamp"].is_null())
            .map(|m| m["spec"]["version"].as_str().unwrap().to_owned())
            .collect()
    }
}

#[test]
fn a_roll_out_is_followed_shown_and_taken_back() {
    let home = Home::new();
    home.apply_web(2, "v1.33.1");
    snapshot!(
        home,
        "status_unseen",
        home.run(&["rollout", "status", "md/web", "--watch=false"])
    );
    let told = home.good(&["rollout", "status", "machinedeployment", "web"]);
    let lines: Vec<&str> = told.lines().collect();
    let (last, before) = lines.split_last().unwrap();
    assert_eq!(*last, "deployment \"web\" successfully rolled out");
    assert!(
        before
            .iter()
            .all(|line| line.starts_with("Waiting for deployment ")),
        "{told}"
    );
    snapshot!(home, "status_done", home.run(&["rollout", "status", "md", "web"]));

    home.apply_web(2, "v1.33.2");
    home.good(&["rollout", "status", "md/web", "--timeout", "2m"]);
    assert_eq!(home.versions(), ["v1.33.2", "v1.33.2"]);
    snapshot!(home, "history", home.run(&["rollout", "history", "md/web"]));
    snapshot!(
        home,
        "history_other",
        home.run(&["rollout", "status", "md/web", "--revision", "1"])
    );

    snapshot!(
        home,
        "undo_dry_run",
        home.run(&["rollout", "undo", "md/web", "--dry-run"])
    );
    snapshot!(
        home,
        "undo_dry_run_server",
        home.run(&["rollout", "undo", "md/web", "--dry-run=server"])
    );
    assert_eq!(home.versions(), ["v1.33.2", "v1.33.2"]);
    snapshot!(home, "undo", home.run(&["rollout", "undo", "md/web", "-q"]));
    assert_eq!(home.versions(), ["v1.33.1", "v1.33.1"]);
    snapshot!(
        home,
        "history_after",
        home.run(&["rollout", "history", "machinedeployments", "web"])
    );
    snapshot!(
        home,
        "undo_skipped",
        home.run(&["rollout", "undo", "md/web", "--to-revision", "3"])
    );
    snapshot!(
        home,
        "undo_unknown",
        home.run(&["rollout", "undo", "md/web", "--to-revision", "7"])
    );
    let shown = home.good(&["rollout", "history", "md/web", "--revision", "3"]);
    assert!(
        shown.starts_with("machinedeployment.machine.crit.sh/web with revision #3\nMachine Template:\n"),
        "{shown}"
    );
    assert!(shown.contains("    version: v1.33.1\n"), "{shown}");
}

#[test]
fn a_roll_out_is_paused_resumed_and_restarted() {
    let home = Home::new();
    home.apply_web(1, "v1.33.1");
    snapshot!(
        home,
        "resume_too_early",
        home.run(&["rollout", "resume", "md/web", "-q"])
    );
    snapshot!(home, "pause", home.run(&["rollout", "pause", "md/web"]));
    snapshot!(home, "pause_again", home.run(&["rollout", "pause", "md/web"]));
    snapshot!(
        home,
        "restart_paused",
        home.run(&["rollout", "restart", "md/web", "-q"])
    );
    snapshot!(
        home,
        "undo_paused",
        home.run(&["rollout", "undo", "md/web", "-q"])
    );
    snapshot!(
        home,
        "resume_dry_run",
        home.run(&["rollout", "resume", "md/web", "--dry-run"])
    );
    snapshot!(home, "resume", home.run(&["rollout", "resume", "md/web", "-q"]));
    snapshot!(
        home,
        "undo_nothing",
        home.run(&["rollout", "undo", "md/web", "-q"])
    );
    let before = home.good(&["get", "machines", "-o", "name"]);
    snapshot!(home, "restart", home.run(&["rollout", "restart", "md/web", "-q"]));
    assert_ne!(home.good(&["get", "machines", "-o", "name"]), before);
    // The moment of a restart is told in seconds.
    std::thread::sleep(std::time::Duration::from_secs(1));
    snapshot!(
        home,
        "restart_unwaited",
        home.run(&["rollout", "restart", "md/web", "--wait=false"])
    );
}

#[test]
fn what_can_not_be_rolled_out_is_told() {
    let home = Home::new();
    home.apply_web(1, "v1.33.1");
    snapshot!(home, "missing", home.run(&["rollout", "status", "md/api"]));
    snapshot!(home, "no_name", home.run(&["rollout", "status", "md"]));
    snapshot!(
        home,
        "other_kind",
        home.run(&["rollout", "history", "machinesets", "web"])
    );
    // The template is gone: no machine ever comes.
    home.good(&["delete", "hollowmachinetemplate", "web"]);
    let late = home.run(&["rollout", "status", "md/web", "--timeout", "1s"]);
    let told = home.tell(&late);
    assert_eq!(late.status.code(), Some(6), "{told}");
    assert!(
        told.contains("error: the roll-out of web took longer than 1s: Waiting for deployment"),
        "{told}"
    );
    assert!(
        told.contains("hint: see why: machinectl describe machinedeployment web"),
        "{told}"
    );
}
