//! Moves that come to their end.

use std::fs;

use serde_json::Value;

use super::{KINDS, There, cluster, ended, fleet, raw, same, state, to};
use crate::cli::Home;

#[test]
fn everything_arrives_and_is_told_with_numbers() {
    let (home, there) = (fleet(), There::start());
    let before = state(&home, &["--embedded"]);
    assert!(before.len() > 8, "{:?}", before.keys());
    let none = home.run(&["move", "--embedded", "--status"]);
    ended(
        &home,
        &none,
        3,
        &["no move is known in context \"embedded\"", "hint:"],
    );
    let output = home.run(&to(&there.kubeconfig(), &[]));
    let number = format!("Moved {} objects from \"embedded\" to \"far\"", before.len());
    ended(&home, &output, 0, &[&number, "requests", "Comparing both places"]);
    assert!(output.stdout.is_empty());
    same(&there.state(), &before);
    assert_eq!(state(&home, &["--embedded"]).len(), 0);
    let status = home.run(&["move", "--embedded", "--status"]);
    ended(
        &home,
        &status,
        0,
        &["Phase:   Done", "From:   embedded", "To:   far", "Ended:"],
    );
    // The same command again finds its work done.
    let again = home.run(&to(&there.kubeconfig(), &[]));
    ended(&home, &again, 0, &["there is nothing left to do"]);
    let back = [
        "move",
        "--kubeconfig",
        &there.kubeconfig(),
        "--to-context",
        "embedded",
        "--yes",
    ];
    home.good(&back);
    same(&state(&home, &["--embedded"]), &before);
    assert_eq!(there.state().len(), 0);
}

#[test]
fn a_report_for_programs_has_every_number() {
    let (home, there) = (fleet(), There::start());
    let kubeconfig = there.kubeconfig();
    let count = state(&home, &["--embedded"]).len();
    let thought: Value =
        serde_json::from_str(&home.good(&to(&kubeconfig, &["--dry-run", "-o", "json"]))).unwrap();
    assert_eq!(thought["objects"], count);
    assert_eq!(thought["problems"], serde_json::json!([]));
    let report: Value = serde_json::from_str(&home.good(&to(&kubeconfig, &["-o", "json"]))).unwrap();
    assert_eq!(report["objects"], count);
    assert_eq!(report["kinds"]["machines.machine.crit.sh"], 2);
    assert_eq!(report["clusters"], serde_json::json!([["default", "demo"]]));
    for number in ["/seconds", "/requests/source", "/requests/target"] {
        assert!(
            report.pointer(number).unwrap().as_f64().unwrap() > 0.0,
            "{report}"
        );
    }
    for list in ["left", "notes", "copied"] {
        assert_eq!(report[list], serde_json::json!([]), "{report}");
    }
    let journal: Value =
        serde_json::from_str(&home.good(&["move", "--embedded", "--status", "-o", "json"])).unwrap();
    assert_eq!(
        (&journal["id"], &journal["phase"]),
        (&report["id"], &serde_json::json!("Done"))
    );
}

#[test]
fn a_dry_run_says_what_would_move_and_changes_nothing() {
    let (home, there) = (fleet(), There::start());
    let before = (raw(&home, &["--embedded"]), there.raw());
    let output = home.run(&to(&there.kubeconfig(), &["--dry-run"]));
    let told = format!(
        "{} objects can move from \"embedded\" to \"far\"",
        state(&home, &["--embedded"]).len()
    );
    ended(
        &home,
        &output,
        0,
        &[&told, "2  machines.machine.crit.sh", "1  secrets"],
    );
    assert_eq!((raw(&home, &["--embedded"]), there.raw()), before);
}

#[test]
fn one_cluster_of_several_goes_alone() {
    let (home, there) = (fleet(), There::start());
    cluster(&home, "other");
    let all = state(&home, &["--embedded"]);
    let wrong = home.run(&to(&there.kubeconfig(), &["--filter-cluster", "nope"]));
    ended(&home, &wrong, 3, &["nope", "demo", "other"]);
    home.good(&to(&there.kubeconfig(), &["--filter-cluster", "demo"]));
    let (gone, stayed) = (there.state(), state(&home, &["--embedded"]));
    assert!(gone.keys().all(|k| k.contains("demo")), "{:?}", gone.keys());
    assert!(stayed.keys().all(|k| k.contains("other")), "{:?}", stayed.keys());
    let both: std::collections::BTreeMap<_, _> = gone.into_iter().chain(stayed).collect();
    same(&both, &all);
}

/// What the context of the cluster says of its management.
fn extension(home: &Home) -> Value {
    let text = fs::read_to_string(home.path(".kube/config")).unwrap();
    let config: Value = serde_yaml::from_str(&text).unwrap();
    let contexts = config["contexts"].as_array().unwrap().iter();
    let mut own = contexts.filter(|c| c["name"] == "kubernetes-admin@demo");
    own.next().unwrap()["context"]["extensions"][0]["extension"].clone()
}

#[test]
fn the_context_of_a_cluster_says_where_its_objects_are() {
    let (home, there) = (fleet(), There::start());
    // A cluster that is reached by a context of the same kubeconfig.
    let far = fs::read_to_string(there.kubeconfig()).unwrap();
    let mut own: Value =
        serde_yaml::from_str(&fs::read_to_string(home.path(".kube/config")).unwrap()).unwrap();
    let far: Value = serde_yaml::from_str(&far).unwrap();
    for list in ["clusters", "users", "contexts"] {
        let more = far[list].as_array().unwrap().clone();
        own[list].as_array_mut().unwrap().extend(more);
    }
    home.write(".kube/config", &own.to_string());
    assert_eq!(extension(&home)["management"], "embedded");
    home.good(&["move", "--embedded", "--to-context", "far", "--yes"]);
    let now = extension(&home);
    assert_eq!(now["management"], "far", "{now}");
    assert_eq!(now["state"], Value::Null, "{now}");
    // Whoever speaks of the cluster finds its machines there.
    let found = home.good(&[
        "get",
        "machines",
        "-o",
        "name",
        "--context",
        "kubernetes-admin@demo",
    ]);
    assert_eq!(found.lines().count(), 2, "{found}");
    home.good(&["move", "--context", "far", "--to-context", "embedded", "--yes"]);
    let now = extension(&home);
    assert_eq!(now["management"], "embedded", "{now}");
    assert_eq!(now["state"], home.state().to_str().unwrap(), "{now}");
    let found = home.good(&["get", KINDS, "-o", "name", "--context", "kubernetes-admin@demo"]);
    assert!(found.contains("demo-worker-2"), "{found}");
}
