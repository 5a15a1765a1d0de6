//! Bad input: one clear message with what to do, nothing half done.

use std::fs;

use super::{Home, snapshot};

fn apply(home: &Home, text: &str, more: &[&str]) -> std::process::Output {
    home.write("a.yaml", text);
    let mut arguments = vec!["apply", "-f", "a.yaml", "--wait=false"];
    arguments.extend(more);
    home.run(&arguments)
}

const MACHINE: &str = "apiVersion: machine.crit.sh/v1alpha1\nkind: Machine\nmetadata:\n  name: a\n";

#[test]
fn files_that_are_wrong_are_told_with_file_line_and_column() {
    let home = Home::new();
    snapshot!(
        home,
        "yaml_error",
        apply(
            &home,
            "a: 1\n---\nkind: Machine\nspec:\n  x: [1, 2\n  y: 3\n",
            &[]
        )
    );
    snapshot!(home, "no_object", apply(&home, "- 1\n- 2\n", &[]));
    snapshot!(
        home,
        "no_kind",
        apply(&home, "apiVersion: v1\nmetadata:\n  name: a\n", &[])
    );
    snapshot!(home, "empty", apply(&home, "# nothing\n", &[]));
    snapshot!(home, "missing_file", home.run(&["apply", "-f", "nowhere.yaml"]));
    snapshot!(
        home,
        "an_address",
        home.run(&["apply", "-f", "https://example.com/a.yaml"])
    );
    assert!(
        !home.state().exists(),
        "nothing was opened for files that can't be used"
    );
}

#[test]
fn unknown_kinds_say_what_there_is() {
    let home = Home::new();
    snapshot!(
        home,
        "unknown_kind",
        apply(
            &home,
            "apiVersion: machine.crit.sh/v1alpha1\nkind: Machin\nmetadata: {name: a}\n",
            &[]
        )
    );
    snapshot!(
        home,
        "wrong_version",
        apply(
            &home,
            "apiVersion: machine.crit.sh/v1beta1\nkind: Machine\nmetadata: {name: a}\n",
            &[]
        )
    );
    snapshot!(home, "unknown_word", home.run(&["get", "machins"]));
}

#[test]
fn unknown_fields_are_a_warning_unless_strict() {
    let home = Home::new();
    let text = format!("{MACHINE}spec:\n  colour: red\n");
    let strict = apply(&home, &text, &["--validate=strict"]);
    snapshot!(home, "unknown_field_strict", strict);
    assert_eq!(home.good(&["get", "machines", "-o", "name"]), "");
    snapshot!(home, "unknown_field_warning", apply(&home, &text, &[]));
}

#[test]
fn values_that_the_kind_refuses_point_at_the_field() {
    let home = Home::new();
    let text = "apiVersion: machine.crit.sh/v1alpha1\nkind: MachineSet\nmetadata: {name: a}\nspec:\n  replicas: -1\n";
    snapshot!(home, "refused_value", apply(&home, text, &[]));
}

#[test]
fn namespaces_of_file_and_command_line_must_agree() {
    let home = Home::new();
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  namespace: x\n";
    snapshot!(home, "namespace_clash", apply(&home, text, &["-n", "y"]));
    snapshot!(home, "namespace_missing", apply(&home, text, &[]));
}

#[test]
fn without_docker_the_way_out_is_named() {
    let home = Home::new();
    snapshot!(home, "no_docker", home.run(&["create", "cluster", "dev"]));
    assert_eq!(
        home.good(&["get", "machine-api", "-o", "name"]),
        "",
        "nothing half done"
    );
}

#[test]
fn names_that_can_not_be_used_are_refused() {
    let home = Home::new();
    snapshot!(
        home,
        "bad_name",
        home.run(&["create", "cluster", "Dev_1", "--infrastructure", "hollow"])
    );
    snapshot!(
        home,
        "long_name",
        home.run(&[
            "create",
            "cluster",
            &"x".repeat(60),
            "--infrastructure",
            "hollow",
            "--workers",
            "1"
        ])
    );
    snapshot!(
        home,
        "bad_machine_name",
        home.run(&["create", "machine", "Worker", "--infrastructure", "hollow"])
    );
    snapshot!(
        home,
        "hollow_image",
        home.run(&[
            "create",
            "cluster",
            "a",
            "--infrastructure",
            "hollow",
            "--image",
            "i"
        ])
    );
}

#[test]
fn configuration_files_that_are_wrong_are_told() {
    let home = Home::new();
    home.write(
        "c.yaml",
        "apiVersion: cinder.crit.sh/v1alpha1\nkind: ClusterConfiguration\nfeatureGates: {Nope: true}\n",
    );
    snapshot!(
        home,
        "cinder_gate",
        home.run(&["create", "cluster", "-c", "c.yaml"])
    );
    home.write("c.yaml", "apiVersion: v1\nkind: Pod\n");
    snapshot!(
        home,
        "cinder_kind",
        home.run(&["create", "cluster", "-c", "c.yaml"])
    );
    home.write("c.yaml", "apiVersion: [\n");
    snapshot!(
        home,
        "cinder_yaml",
        home.run(&["create", "cluster", "-c", "c.yaml"])
    );
    let typed = home.run_with_input(
        &["create", "cluster", "-c", "-"],
        "apiVersion: v1\n---\nkind: Pod\n",
    );
    snapshot!(home, "cinder_two_documents", typed);
    snapshot!(
        home,
        "cinder_missing",
        home.run(&["create", "cluster", "-c", "none.yaml"])
    );
}

#[test]
fn kubeconfigs_that_can_not_be_used_are_told() {
    let home = Home::new();
    home.write("k", "kind: Config\ncurrent-context: gone\ncontexts:\n- name: far\n  context: {cluster: far, user: far}\nclusters:\n- name: far\n  cluster: {server: 'https://127.0.0.1:1'}\nusers:\n- name: far\n  user: {token: topsecret}\n");
    snapshot!(
        home,
        "kubeconfig_missing",
        home.run(&["get", "nodes", "--kubeconfig", "nowhere"])
    );
    snapshot!(
        home,
        "context_gone",
        home.run(&["get", "nodes", "--kubeconfig", "k"])
    );
    let far = home.run(&["get", "nodes", "--kubeconfig", "k", "--context", "far", "-vvv"]);
    assert_eq!(far.status.code(), Some(5), "{}", home.tell(&far));
    assert!(!home.tell(&far).contains("topsecret"));
    home.write("k", "a: [\n");
    snapshot!(
        home,
        "kubeconfig_syntax",
        home.run(&["get", "nodes", "--kubeconfig", "k"])
    );
}

#[test]
fn state_that_can_not_be_used_is_told() {
    let home = Home::new();
    home.good(&["init", "--embedded"]);
    let file = fs::read_dir(home.state())
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.extension().is_some_and(|e| e == "redb"))
        .unwrap();
    fs::write(&file, "this is no database").unwrap();
    snapshot!(home, "state_corrupt", home.run(&["get", "machines"]));
    fs::remove_dir_all(home.state()).unwrap();
    fs::write(home.state(), "a file where a folder should be").unwrap();
    snapshot!(home, "state_no_folder", home.run(&["get", "machines"]));
}

#[test]
fn a_lock_of_somebody_else_is_named() {
    let home = Home::new();
    home.good(&["init", "--embedded"]);
    let lock = fs::OpenOptions::new()
        .write(true)
        .open(home.state().join("lock"))
        .unwrap();
    lock.lock().unwrap();
    snapshot!(home, "state_held", home.run(&["get", "machines"]));
}

#[test]
fn clusters_that_do_not_exist_are_told() {
    let home = Home::new();
    snapshot!(
        home,
        "delete_no_cluster",
        home.run(&["delete", "cluster", "nope"])
    );
    snapshot!(
        home,
        "describe_no_cluster",
        home.run(&["describe", "cluster", "nope"])
    );
    snapshot!(home, "kubeconfig_no_cluster", home.run(&["kubeconfig", "nope"]));
    snapshot!(
        home,
        "machine_no_cluster",
        home.run(&["create", "machine", "a", "--cluster", "nope"])
    );
    snapshot!(home, "load_no_cluster", home.run(&["load", "image", "a"]));
    snapshot!(home, "delete_nothing_named", home.run(&["delete", "machines"]));
}
