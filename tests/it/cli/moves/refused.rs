//! Moves that can't be: one message that says what is wrong and what to do, and nothing has changed.

use serde_json::{Value, json};

use super::{Proxied, There, ended, fleet, raw, to};
use crate::{
    cli::{Home, snapshot},
    proxy::{Asked, Fate},
};

#[test]
fn places_that_can_not_be_meant_are_refused() {
    let home = Home::new();
    home.good(&["init", "--embedded"]);
    home.good(&["kubeconfig", "--merge"]);
    let own = home.path(".kube/config");
    let before = raw(&home, &["--embedded"]);
    for (name, arguments) in [
        ("move_nowhere", vec![]),
        ("move_same", vec!["--to-context", "embedded"]),
        ("move_same_file", vec!["--to-kubeconfig", own.to_str().unwrap()]),
        ("move_no_context", vec!["--to-context", "nope"]),
        (
            "move_no_context_in_file",
            vec!["--to-kubeconfig", own.to_str().unwrap(), "--to-context", "nope"],
        ),
        ("move_no_kubeconfig", vec!["--to-kubeconfig", "nowhere"]),
        (
            "move_two_targets",
            vec!["--to-context", "a", "--to-directory", "b"],
        ),
        (
            "move_two_modes",
            vec!["--to-context", "a", "--abort", "--dry-run"],
        ),
        (
            "move_identity_alone",
            vec!["--to-context", "a", "--identity", "b"],
        ),
    ] {
        let arguments = [vec!["move", "--embedded", "--yes"], arguments].concat();
        snapshot!(home, name, home.run(&arguments));
    }
    home.write("empty", "apiVersion: v1\nkind: Config\n");
    snapshot!(home, "move_file_without_context", home.run(&to("empty", &[])));
    assert_eq!(raw(&home, &["--embedded"]), before);
}

#[test]
fn where_nothing_is_there_is_nothing_to_move() {
    let (home, there) = (Home::new(), There::start());
    home.good(&["init", "--embedded"]);
    let before = (raw(&home, &["--embedded"]), there.raw());
    let kubeconfig = there.kubeconfig();
    let output = home.run(&to(&kubeconfig, &[]));
    ended(
        &home,
        &output,
        3,
        &[
            "there is nothing to move in namespace default",
            "hint: look in another namespace",
        ],
    );
    for mode in [["--abort"], ["--dry-run"]] {
        let output = home.run(&to(&kubeconfig, &mode));
        ended(&home, &output, 3, &["error: "]);
    }
    assert_eq!((raw(&home, &["--embedded"]), there.raw()), before);
}

/// Asks for a move that is refused, thought through or not; nothing changes in either place.
fn refused(home: &Home, there: &There, kubeconfig: &str, code: i32, said: &[&str]) {
    let before = (raw(home, &["--embedded"]), there.raw());
    for more in [&["--dry-run"][..], &[]] {
        let output = home.run(&to(kubeconfig, more));
        ended(home, &output, code, said);
    }
    assert_eq!((raw(home, &["--embedded"]), there.raw()), before);
}

#[test]
fn a_target_without_the_kinds_is_told_to_be_prepared() {
    let (home, there) = (fleet(), There::start());
    let kubeconfig = there.kubeconfig();
    there.home.good(&[
        "delete",
        "customresourcedefinitions",
        "machines.machine.crit.sh",
        "--kubeconfig",
        &kubeconfig,
    ]);
    let said = [
        "the target does not serve machines.machine.crit.sh in version v1alpha1",
        "hint: install the kinds there: machinectl init",
    ];
    // Whoever looks there with machinectl would install the kinds again.
    let before = raw(&home, &["--embedded"]);
    for more in [&["--dry-run"][..], &[]] {
        ended(&home, &home.run(&to(&kubeconfig, more)), 4, &said);
    }
    assert_eq!(raw(&home, &["--embedded"]), before);
}

#[test]
fn an_object_that_the_schema_of_the_target_refuses_is_named() {
    let (home, there) = (fleet(), There::start());
    let kubeconfig = there.kubeconfig();
    let name = "hollowmachines.infrastructure.crit.sh";
    let text = there.home.good(&[
        "get",
        "customresourcedefinition",
        name,
        "-o",
        "json",
        "--kubeconfig",
        &kubeconfig,
    ]);
    let mut definition: Value = serde_json::from_str(&text).unwrap();
    definition["metadata"] = json!({ "name": name });
    let schema = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    schema["properties"]["spec"]["properties"]["providerID"]["maxLength"] = json!(3);
    there.home.write("crd.json", &definition.to_string());
    there.home.good(&[
        "apply",
        "-f",
        "crd.json",
        "--force-conflicts",
        "--kubeconfig",
        &kubeconfig,
    ]);
    let said = [
        "the target refuses HollowMachine.infrastructure.crit.sh default/demo-worker-1",
        "the target refuses HollowMachine.infrastructure.crit.sh default/demo-worker-2",
        "spec.providerID",
        "hint: correct the object, or what refuses it",
        "hint: nothing was changed",
    ];
    refused(&home, &there, &kubeconfig, 4, &said);
}

#[test]
fn names_that_are_taken_are_told_all_at_once() {
    let (home, there) = (fleet(), There::start());
    for name in ["demo-ca", "unconcerned"] {
        there.home.write(
            "taken.yaml",
            &format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: default}}\n"),
        );
        there.home.good(&["apply", "-f", "taken.yaml", "--embedded"]);
    }
    refused(
        &home,
        &there,
        &there.kubeconfig(),
        4,
        &[
            "Secret default/demo-ca exists in the target",
            "hint: rename or delete one of the two",
        ],
    );
}

/// A server that forbids one thing, and says so when it is asked.
fn forbids(asked: &Asked, verb: &str, resource: &str) -> Fate {
    if !asked.path.ends_with("/selfsubjectaccessreviews") {
        return Fate::Served;
    }
    let mut review: Value = serde_json::from_slice(&asked.body).unwrap();
    let what = &review["spec"]["resourceAttributes"];
    let allowed = what["verb"] != "*" && !(what["verb"] == verb && what["resource"] == resource);
    review["status"] = json!({ "allowed": allowed });
    Fate::Answered(201, review.to_string())
}

#[test]
fn a_right_that_is_missing_for_one_kind_is_named() {
    let (home, there) = (fleet(), There::start());
    let proxied = Proxied::start(&home, &there, |asked| {
        std::future::ready(forbids(&asked, "create", "hollowmachines"))
    });
    refused(
        &home,
        &there,
        proxied.kubeconfig(),
        5,
        &[
            "context \"far\" may not create hollowmachines.infrastructure.crit.sh in namespace default",
            "hint: use a context with more rights",
            "hint: nothing was changed",
        ],
    );
    proxied.stop();
}

#[test]
fn a_machine_that_still_comes_to_be_is_named() {
    let (home, there) = (fleet(), There::start());
    home.write(
        "slow.yaml",
        "apiVersion: infrastructure.crit.sh/v1alpha1\nkind: HollowMachine\nmetadata: {name: slow}\nspec: {startupDelay: 1h}\n---\n\
         apiVersion: machine.crit.sh/v1alpha1\nkind: Machine\nmetadata: {name: slow}\n\
         spec: {clusterName: demo, infrastructureRef: {apiVersion: infrastructure.crit.sh/v1alpha1, kind: HollowMachine, name: slow}}\n",
    );
    home.good(&["apply", "-f", "slow.yaml", "--wait=false", "--embedded"]);
    refused(
        &home,
        &there,
        &there.kubeconfig(),
        4,
        &["Machine.machine.crit.sh default/slow has no Node yet", "--wait"],
    );
    let output = home.run(&to(&there.kubeconfig(), &["--wait", "--timeout", "1s"]));
    ended(
        &home,
        &output,
        6,
        &[
            "and it is still so",
            "Machine.machine.crit.sh default/slow has no Node yet",
        ],
    );
}

#[test]
fn a_target_that_does_not_answer_is_told() {
    let (home, there) = (fleet(), There::start());
    let kubeconfig = there.kubeconfig();
    let text = std::fs::read_to_string(&kubeconfig).unwrap();
    drop(there);
    home.write("gone", &text);
    let before = raw(&home, &["--embedded"]);
    let output = home.run(&to("gone", &[]));
    ended(
        &home,
        &output,
        5,
        &[
            "can't ask context \"far\" which cluster it is",
            "hint: see whether the cluster is up",
        ],
    );
    assert_eq!(raw(&home, &["--embedded"]), before);
}
