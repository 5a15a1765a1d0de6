//! Generated files are those that this program generates.

use super::{Home, project};

#[test]
fn generated_files_have_not_drifted() {
    let home = Home::new();
    for what in ["crds", "completions", "docs"] {
        let dir = project().join(what);
        let output = home.run(&["util", what, "--check", "--dir", dir.to_str().unwrap()]);
        assert!(output.status.success(), "{}", home.tell(&output));
    }
}

#[test]
fn drift_is_noticed_and_mended() {
    let home = Home::new();
    let dir = home.path("crds");
    let dir = dir.to_str().unwrap();
    let missing = home.run(&["util", "crds", "--check", "--dir", dir]);
    assert_eq!(missing.status.code(), Some(1), "{}", home.tell(&missing));
    home.good(&["util", "crds", "--dir", dir]);
    home.good(&["util", "crds", "--check", "--dir", dir]);
    home.write("crds/machine.crit.sh_machines.yaml", "a: 1\n");
    let changed = home.run(&["util", "crds", "--check", "--dir", dir]);
    assert!(home.tell(&changed).contains("machine.crit.sh_machines.yaml"));
}

#[test]
fn each_shell_has_its_script() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(
            home.good(&["completion", shell]).contains("machinectl"),
            "{shell}"
        );
    }
}

#[test]
fn each_command_has_a_manual_page() {
    let home = Home::new();
    let dir = home.path("man");
    home.good(&["util", "man", "--dir", dir.to_str().unwrap()]);
    for page in [
        "machinectl.1",
        "machinectl-create-cluster.1",
        "machinectl-apply.1",
    ] {
        assert!(dir.join(page).exists(), "{page}");
    }
}
