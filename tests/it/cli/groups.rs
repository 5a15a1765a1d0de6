//! Groups of machines from the command line: create, scale, show, describe.

use serde_json::Value;

use super::{Home, snapshot};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// What a user sees, with names that are made up replaced.
fn told(home: &Home, output: &std::process::Output) -> String {
    let text = home.tell(output);
    regex::Regex::new(r"\b(blue|green)(-[0-9a-z]{5,10})+\b")
        .unwrap()
        .replace_all(&text, "$1-NAME")
        .into_owned()
}

#[test]
fn a_set_is_made_shown_and_scaled() {
    let home = Home::new();
    let hollow = ["--infrastructure", "hollow", "--embedded"];
    let create = |name: &str, more: &[&str]| {
        let mut arguments = vec!["create", "machineset", name];
        arguments.extend(hollow);
        arguments.extend(more);
        home.run(&arguments)
    };
    snapshot!(
        home,
        "set_dry_run",
        create(
            "blue",
            &[
                "--replicas=2",
                "--dry-run",
                "--label=pool=blue",
                "--delete-policy=oldest",
                "--min-ready-seconds=1",
                "--version=v1.33.1"
            ]
        )
    );
    assert_eq!(home.good(&["get", "machine-api", "--embedded", "-o", "name"]), "");
    snapshot!(
        home,
        "set_dry_run_server",
        create("blue", &["--replicas=2", "--dry-run=server"])
    );
    assert_eq!(home.good(&["get", "machine-api", "--embedded", "-o", "name"]), "");

    snapshot!(home, "set_created", create("blue", &["--replicas=2"]));
    let set = json(&home.good(&["get", "ms", "blue", "-o", "json"]));
    let template = json(&home.good(&["get", "hollowmachinetemplates", "blue", "-o", "json"]));
    let owner = &template["metadata"]["ownerReferences"][0];
    assert_eq!(owner["uid"], set["metadata"]["uid"], "{template}");
    assert_eq!(set["status"]["readyReplicas"], 2);
    let output = home.run(&["get", "ms,ma,md,mhc"]);
    insta::assert_snapshot!("set_and_its_machines", told(&home, &output));

    let output = home.run(&["describe", "ms", "blue"]);
    let text = told(&home, &output);
    // Events are written in the background: which of them are there is chance.
    let text = text.split("Events:").next().unwrap();
    insta::assert_snapshot!("set_described", text);

    snapshot!(
        home,
        "set_scaled",
        home.run(&["scale", "ms/blue", "--replicas=3"])
    );
    let machines = home.good(&["get", "machines", "-o", "name"]);
    assert_eq!(machines.lines().count(), 3, "{machines}");
    snapshot!(
        home,
        "set_scaled_down",
        home.run(&[
            "scale",
            "machineset",
            "blue",
            "--replicas=0",
            "--current-replicas=3"
        ])
    );
    assert_eq!(home.good(&["get", "machines", "-o", "name"]), "");

    home.good(&["delete", "machineset", "blue", "-y"]);
    assert_eq!(
        home.good(&["get", "machine-api", "-o", "name"]),
        "",
        "the template went with its set"
    );
}

#[test]
fn a_set_of_a_known_template_leaves_that_alone() {
    let home = Home::new();
    home.write(
        "t.yaml",
        "apiVersion: infrastructure.crit.sh/v1alpha1\nkind: HollowMachineTemplate\nmetadata: {name: big}\nspec: {template: {spec: {}}}\n",
    );
    home.good(&["apply", "-f", "t.yaml", "--embedded"]);
    let create = |template: &str| {
        home.run(&[
            "create",
            "ms",
            "blue",
            "--infrastructure-template",
            template,
            "-o",
            "name",
        ])
    };
    snapshot!(home, "template_missing", create("hollowmachinetemplate/small"));
    snapshot!(home, "template_no_template", create("machine/a"));
    snapshot!(home, "template_form", create("big"));
    let good = create("hollowmachinetemplate/big");
    assert!(good.status.success(), "{}", home.tell(&good));
    assert_eq!(
        String::from_utf8(good.stdout).unwrap(),
        "machineset.machine.crit.sh/blue\n"
    );
    assert!(
        home.good(&["get", "ma", "-o", "name"])
            .starts_with("machine.machine.crit.sh/blue-")
    );
    home.good(&["delete", "ms", "blue", "-y"]);
    assert_eq!(
        home.good(&["get", "machine-api", "-o", "name"]),
        "hollowmachinetemplate.infrastructure.crit.sh/big\n"
    );
}

#[test]
fn the_same_command_goes_on_and_another_one_is_refused() {
    let home = Home::new();
    let create = |more: &str| {
        home.run(&[
            "create",
            "ms",
            "blue",
            "--infrastructure=hollow",
            "--embedded",
            "--wait=false",
            more,
        ])
    };
    assert!(create("--replicas=2").status.success());
    assert!(create("--replicas=2").status.success());
    snapshot!(home, "set_taken", create("--replicas=3"));
}

#[test]
fn scaling_is_refused_where_the_user_is_mistaken() {
    let home = Home::new();
    home.good(&[
        "create",
        "ms",
        "blue",
        "--infrastructure=hollow",
        "--embedded",
        "--wait=false",
    ]);
    let scale = |arguments: &[&str]| {
        let mut all = vec!["scale"];
        all.extend(arguments);
        all.push("--wait=false");
        home.run(&all)
    };
    snapshot!(
        home,
        "scale_other_number",
        scale(&["ms/blue", "--replicas=2", "--current-replicas=7"])
    );
    let other = scale(&["ms/blue", "--replicas=2", "--resource-version=1"]);
    assert_eq!(other.status.code(), Some(4), "{}", home.tell(&other));
    assert!(home.tell(&other).contains("expected resource version 1, found"));
    snapshot!(home, "scale_missing", scale(&["ms/green", "--replicas=2"]));
    snapshot!(home, "scale_negative", scale(&["ms/blue", "--replicas=-2"]));
    snapshot!(home, "scale_no_name", scale(&["ms", "--replicas=2"]));
    snapshot!(
        home,
        "scale_dry_run",
        scale(&["ms/blue", "--replicas=2", "--dry-run=server"])
    );
    let set = json(&home.good(&["get", "ms", "blue", "-o", "json"]));
    assert_eq!(set["spec"]["replicas"], 1, "nothing was changed");
}

#[test]
fn a_kind_that_can_not_be_scaled_is_told_so() {
    let home = Home::new();
    home.write(
        "a.yaml",
        "apiVersion: machine.crit.sh/v1alpha1\nkind: Machine\nmetadata: {name: a}\nspec: {}\n",
    );
    home.good(&["apply", "-f", "a.yaml", "--embedded", "--wait=false"]);
    snapshot!(
        home,
        "scale_no_scale",
        home.run(&["scale", "ma/a", "--replicas=2"])
    );
}

#[test]
fn deployments_and_health_checks_are_rendered() {
    let home = Home::new();
    let run = |arguments: &[&str]| {
        let mut all = vec!["create"];
        all.extend(arguments);
        all.push("--embedded");
        home.run(&all)
    };
    snapshot!(
        home,
        "deployment_dry_run",
        run(&[
            "md",
            "green",
            "--infrastructure=hollow",
            "--replicas=3",
            "--max-surge=50%",
            "--max-unavailable=0",
            "--delete-policy=Newest",
            "--dry-run",
        ])
    );
    snapshot!(
        home,
        "deployment_stuck",
        run(&[
            "md",
            "green",
            "--infrastructure=hollow",
            "--max-surge=0",
            "--max-unavailable=0%"
        ])
    );
    snapshot!(
        home,
        "deployment_on_delete",
        run(&["md", "green", "--strategy=ondelete", "--max-surge=1"])
    );
    snapshot!(
        home,
        "check_dry_run",
        run(&[
            "mhc",
            "green",
            "-l",
            "pool=green,zone in (a,b)",
            "--max-unhealthy=40%",
            "--max-in-flight=2",
            "--unhealthy-condition=Ready=Unknown:5m",
            "--unhealthy-condition=DiskPressure=True:1h",
            "--node-startup-timeout=20m",
            "--dry-run",
        ])
    );
    snapshot!(home, "check_created", run(&["mhc", "green"]));
    snapshot!(home, "check_again", run(&["mhc", "green"]));
    snapshot!(home, "check_shown", home.run(&["get", "mhc"]));
    for wrong in [
        "--unhealthy-condition=Ready",
        "--max-unhealthy=101%",
        "--node-startup-timeout=soon",
        "--selector=a=(",
    ] {
        let output = run(&["mhc", "red", wrong]);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn describe_says_what_a_set_and_its_machines_wait_for() {
    let home = Home::new();
    home.write(
        "a.yaml",
        "\
apiVersion: infrastructure.crit.sh/v1alpha1
kind: HollowMachineTemplate
metadata: {name: blue}
spec: {template: {spec: {startupDelay: 1h}}}
---
apiVersion: machine.crit.sh/v1alpha1
kind: MachineSet
metadata: {name: blue}
spec:
  replicas: 5
  selector: {matchLabels: {pool: blue}}
  template:
    metadata: {labels: {pool: blue}}
    spec:
      infrastructureRef: {apiVersion: infrastructure.crit.sh/v1alpha1, kind: HollowMachineTemplate, name: blue}
---
apiVersion: machine.crit.sh/v1alpha1
kind: MachineHealthCheck
metadata: {name: blue}
spec: {selector: {matchLabels: {pool: blue}}}
",
    );
    let output = home.run(&["apply", "-f", "a.yaml", "--embedded", "--timeout=12s"]);
    assert_eq!(output.status.code(), Some(6), "{}", home.tell(&output));
    assert!(
        home.tell(&output).contains("0 of 5 machines run; blue-"),
        "{}",
        home.tell(&output)
    );
    for (kind, first) in [("ms", "MachineSet/blue"), ("mhc", "MachineHealthCheck/blue")] {
        let text = home.good(&["describe", kind, "blue"]);
        let tree: Vec<_> = text
            .lines()
            .skip_while(|l| *l != "Machines:")
            .skip(1)
            .take_while(|l| l.starts_with(' '))
            .collect();
        assert!(tree[0].trim().starts_with(first), "{text}");
        assert!(
            tree[1].contains("5 Machines (blue-") && tree[1].contains("the instance starts"),
            "equal machines are one line: {text}"
        );
    }
    let machine = home.good(&["get", "ma", "-o", "name"]);
    let machine = machine.lines().next().unwrap().split('/').nth(1).unwrap();
    let text = home.good(&["describe", "machine", machine]);
    assert!(text.contains(&format!("└─ HollowMachine/{machine}")), "{text}");
}

/// O05: an autoscaler reads from a set without machines what one of them would have.
#[test]
fn o05_a_set_without_machines_says_what_one_would_have() {
    let home = Home::new();
    home.write(
        "t.yaml",
        "\
apiVersion: infrastructure.crit.sh/v1alpha1
kind: HollowMachineTemplate
metadata: {name: big}
spec: {template: {spec: {capacity: {cpu: 8, memory: 32Gi, pods: 60}}}}
",
    );
    home.good(&["apply", "-f", "t.yaml", "--embedded"]);
    home.good(&[
        "create",
        "ms",
        "blue",
        "--replicas=0",
        "--infrastructure-template=hollowmachinetemplate/big",
    ]);
    let set = json(&home.good(&["get", "ms", "blue", "-o", "json"]));
    let says = |what: &str| {
        let key = format!("capacity.cluster-autoscaler.kubernetes.io/{what}");
        set["metadata"]["annotations"][&key].as_str().map(str::to_owned)
    };
    assert_eq!(
        (
            says("cpu").as_deref(),
            says("memory").as_deref(),
            says("maxPods").as_deref()
        ),
        (Some("8"), Some("32Gi"), Some("60")),
        "{set}"
    );
}
