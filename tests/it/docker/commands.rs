//! The program and kubectl, as a user types them beside Docker.

use std::{
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use super::try_docker;
use crate::cli::Home;

/// A running `machinectl run`; it ends with the test.
pub(super) struct Controllers(pub(super) Child);

impl Drop for Controllers {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Starts the program and does not wait for it.
pub(super) fn start(home: &Home, arguments: &[&str]) -> Child {
    let mut command = home.command(arguments);
    command
        .env_remove("DOCKER_HOST")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Runs the program; returns all that it says.
pub(super) fn succeed(home: &Home, arguments: &[&str]) -> String {
    let (ok, text) = run(home, arguments);
    assert!(ok, "{arguments:?}\n{text}");
    text
}

/// Runs the program; returns whether it succeeded, and all that it says.
pub(super) fn run(home: &Home, arguments: &[&str]) -> (bool, String) {
    let output = home
        .command(arguments)
        .env_remove("DOCKER_HOST")
        .output()
        .unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (output.status.success(), text)
}

/// kubectl of a control-plane node.
pub(super) fn kubectl(node: &str, arguments: &[&str]) -> (bool, String) {
    let mut all = vec![
        "exec",
        node,
        "kubectl",
        "--kubeconfig",
        "/etc/kubernetes/admin.conf",
    ];
    all.extend(arguments);
    try_docker(&all)
}

/// Waits, at most three minutes, and shows what is there when that was not enough.
pub(super) fn until(node: &str, what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(
            begun.elapsed() < Duration::from_secs(180),
            "not within three minutes: {what}\n{}",
            kubectl(node, &["get", "nodes,pods", "-A", "-o", "wide"]).1
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}
