//! Help of each command, version, and what is said about wrong command lines.

use super::{Home, snapshot};

/// Every command that has help of its own.
const COMMANDS: &[&[&str]] = &[
    &[],
    &["init"],
    &["upgrade"],
    &["upgrade", "plan"],
    &["upgrade", "apply"],
    &["uninstall"],
    &["create"],
    &["create", "cluster"],
    &["create", "machine"],
    &["create", "machineset"],
    &["create", "machinedeployment"],
    &["create", "machinehealthcheck"],
    &["apply"],
    &["get"],
    &["describe"],
    &["rollout"],
    &["rollout", "status"],
    &["rollout", "history"],
    &["rollout", "undo"],
    &["rollout", "pause"],
    &["rollout", "resume"],
    &["rollout", "restart"],
    &["scale"],
    &["delete"],
    &["drain"],
    &["move"],
    &["kubeconfig"],
    &["load"],
    &["load", "image"],
    &["run"],
    &["serve"],
    &["completion"],
    &["version"],
    &["util"],
    &["util", "crds"],
    &["util", "state"],
    &["util", "state", "check"],
    &["util", "state", "compact"],
    &["util", "state", "export"],
];

#[test]
fn each_command_has_help() {
    let home = Home::new();
    for command in COMMANDS {
        let mut arguments = command.to_vec();
        arguments.push("--help");
        let name = format!(
            "help_{}",
            if command.is_empty() {
                "all".to_owned()
            } else {
                command.join("_")
            }
        );
        snapshot!(home, name, home.run(&arguments));
    }
}

#[test]
fn no_command_is_left_out_here() {
    let home = Home::new();
    let help = home.good(&["--help"]);
    let listed = help
        .lines()
        .skip_while(|l| *l != "Commands:")
        .skip(1)
        .take_while(|l| !l.is_empty())
        // A description that goes on in the next line stands further in.
        .filter(|l| !l.starts_with("   "));
    for line in listed {
        let name = line.split_whitespace().next().unwrap();
        assert!(COMMANDS.iter().any(|c| c.first() == Some(&name)), "{name}");
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let home = Home::new();
    assert_eq!(
        home.good(&["version"]),
        concat!("machinectl v", env!("CARGO_PKG_VERSION"), "\n")
    );
    assert!(
        home.good(&["version", "-o", "json"])
            .contains("\"machine.crit.sh/v1alpha1\"")
    );
    assert!(
        !home.path("state").exists(),
        "looking at the version makes no state"
    );
}

#[test]
fn a_wrong_command_line_is_code_2_and_says_what_was_meant() {
    let home = Home::new();
    snapshot!(home, "usage_no_command", home.run(&[]));
    snapshot!(home, "usage_slip", home.run(&["creat"]));
    snapshot!(
        home,
        "usage_duration",
        home.run(&["create", "cluster", "--timeout", "soon"])
    );
    snapshot!(
        home,
        "usage_version",
        home.run(&["create", "cluster", "--kubernetes-version", "new"])
    );
    snapshot!(
        home,
        "usage_both",
        home.run(&["get", "nodes", "--embedded", "--context", "x"])
    );
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    use std::process::Stdio;
    let home = Home::new();
    let mut child = home
        .command(&["util", "crds"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", home.tell(&output));
    assert!(output.stderr.is_empty(), "{}", home.tell(&output));
}
