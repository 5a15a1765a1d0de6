//! Sets, deployments and health checks as objects, on both kinds of server: what is filled in, what is refused, scaling, tables.
//!
//! Servers before Kubernetes 1.25 know no rules beyond the schema: what needs one is a case of its own.

use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use machinectl::{
    api::v1alpha1::{Machine, MachineDeployment, MachineHealthCheck, MachineSet},
    install,
};
use serde_json::{Value, json};

use super::{Place, cases};

cases! {
    c01_empty_specs_are_accepted_and_filled_in,
    c02_delete_policies_are_those_that_exist,
    c03_limits_of_a_check_are_numbers_or_percentages,
    c04_unhealthy_conditions_are_whole,
    c05_hooks_have_owners_and_names_of_their_own,
    c06_tables_and_the_scale_subresource_work,
    c07_spec_and_status_are_written_apart,
    numbers_and_times_that_make_no_sense_are_refused
    ; full:
    s15_a_selector_that_misses_its_template_or_changes_is_refused,
    a_roll_out_without_any_room_is_refused,
    a_range_that_ends_before_it_begins_is_refused,
    a_remediation_template_is_a_template,
}

/// Creates an object from its spec and gives back what is stored, or what the server says against it.
async fn put(place: &Place, kind: &str, name: &str, spec: Value) -> Result<Value, String> {
    let object = json!({
        "apiVersion": "machine.crit.sh/v1alpha1", "kind": kind,
        "metadata": { "name": name, "namespace": place.namespace }, "spec": spec,
    });
    send(place, "POST", &path(place, kind, ""), &object).await
}

fn path(place: &Place, kind: &str, rest: &str) -> String {
    let plural = format!("{}s", kind.to_lowercase());
    format!(
        "/apis/machine.crit.sh/v1alpha1/namespaces/{}/{plural}{rest}",
        place.namespace
    )
}

async fn send(place: &Place, method: &str, path: &str, body: &Value) -> Result<Value, String> {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("Content-Type", "application/json")
        .body(body.to_string().into_bytes())
        .unwrap();
    match place.client.request::<Value>(request).await {
        Ok(object) => Ok(object),
        Err(kube::Error::Api(status)) if status.code == 422 => Err(status.message.clone()),
        Err(other) => panic!("{method} {path}: {other}"),
    }
}

async fn installed(place: &Place) -> Client {
    install::definitions(&place.client, false).await.unwrap();
    place.client.clone()
}

/// Asserts that a spec is refused, with these words.
async fn refused(place: &Place, kind: &str, spec: Value, words: &[&str]) {
    let told = put(place, kind, "refused", spec.clone()).await;
    let message = told.expect_err(&format!("{kind} {spec} was taken"));
    for word in words {
        // Old servers leave out which one of a list it is.
        let old = place.server.is_none() && message.contains(&word.replace("[0]", ""));
        assert!(old || message.contains(word), "\"{word}\" is not in: {message}");
    }
}

async fn c01_empty_specs_are_accepted_and_filled_in(place: Place) {
    installed(&place).await;
    for kind in ["Machine", "MachineSet", "MachineDeployment", "MachineHealthCheck"] {
        let stored = put(&place, kind, "empty", json!({})).await.unwrap();
        match kind {
            "MachineSet" | "MachineDeployment" => assert_eq!(stored["spec"]["replicas"], 1, "{stored}"),
            "MachineHealthCheck" => {
                assert_eq!(stored["spec"]["maxUnhealthy"], "100%", "{stored}");
                // Written as Go writes durations.
                assert_eq!(stored["spec"]["nodeStartupTimeout"], "10m0s", "{stored}");
            }
            _ => {}
        }
    }
    place.end().await;
}

async fn c02_delete_policies_are_those_that_exist(place: Place) {
    installed(&place).await;
    for (name, policy) in [("a", ""), ("b", "Random"), ("c", "Newest"), ("d", "Oldest")] {
        let stored = put(&place, "MachineSet", name, json!({ "deletePolicy": policy })).await;
        // Some builds of old servers take an empty text for null.
        let null = place.server.is_none() && policy.is_empty();
        assert!(
            stored.is_ok() || null && stored.as_ref().is_err_and(|e| e.contains("\"null\"")),
            "{stored:?}"
        );
    }
    refused(
        &place,
        "MachineSet",
        json!({ "deletePolicy": "Foo" }),
        &["deletePolicy", "\"Foo\"", "Newest"],
    )
    .await;
    let rolling = json!({ "strategy": { "rollingUpdate": { "deletePolicy": "Foo" } } });
    refused(&place, "MachineDeployment", rolling, &["deletePolicy", "\"Foo\""]).await;
    let other = json!({ "strategy": { "type": "Recreate" } });
    refused(&place, "MachineDeployment", other, &["strategy.type", "OnDelete"]).await;
    place.end().await;
}

async fn c03_limits_of_a_check_are_numbers_or_percentages(place: Place) {
    installed(&place).await;
    for (name, limit) in [
        ("a", json!(2)),
        ("b", json!("2")),
        ("c", json!("40%")),
        ("d", json!("0%")),
        ("e", json!(0)),
    ] {
        put(
            &place,
            "MachineHealthCheck",
            name,
            json!({ "maxUnhealthy": limit, "maxInFlight": limit }),
        )
        .await
        .unwrap();
    }
    for field in ["maxUnhealthy", "maxInFlight"] {
        // Deviates from OpenShift: a negative number is refused, because it would silently mean 0.
        for limit in [json!("101%"), json!("abc"), json!("-1"), json!("1.5"), json!(-1)] {
            refused(&place, "MachineHealthCheck", json!({ field: limit }), &[field]).await;
        }
    }
    for field in ["maxSurge", "maxUnavailable"] {
        for limit in [json!("101%"), json!("abc"), json!(-1)] {
            let spec = json!({ "strategy": { "rollingUpdate": { field: limit } } });
            refused(&place, "MachineDeployment", spec, &[field]).await;
        }
    }
    place.end().await;
}

async fn c04_unhealthy_conditions_are_whole(place: Place) {
    installed(&place).await;
    refused(
        &place,
        "MachineHealthCheck",
        json!({ "unhealthyConditions": [] }),
        &["unhealthyConditions"],
    )
    .await;
    for timeout in ["5 minutes", "5", "-5m", "m", ""] {
        let condition = json!({ "type": "Ready", "status": "False", "timeout": timeout });
        refused(
            &place,
            "MachineHealthCheck",
            json!({ "unhealthyConditions": [condition] }),
            &["timeout"],
        )
        .await;
    }
    for condition in [
        json!({ "type": "", "status": "False", "timeout": "1m" }),
        json!({ "type": "Ready", "status": "", "timeout": "1m" }),
    ] {
        refused(
            &place,
            "MachineHealthCheck",
            json!({ "unhealthyConditions": [condition] }),
            &["unhealthyConditions[0]"],
        )
        .await;
    }
    place.end().await;
}

async fn c05_hooks_have_owners_and_names_of_their_own(place: Place) {
    installed(&place).await;
    let hooks = |list: Value| json!({ "lifecycleHooks": { "preDrain": list } });
    refused(
        &place,
        "Machine",
        hooks(json!([{ "name": "migrate" }])),
        &["preDrain[0].owner"],
    )
    .await;
    refused(
        &place,
        "Machine",
        hooks(json!([{ "name": "migrate", "owner": "me-1" }, { "name": "migrate", "owner": "me-2" }])),
        &["Duplicate value", "migrate"],
    )
    .await;
    put(
        &place,
        "Machine",
        "hooked",
        json!({ "lifecycleHooks": {
            "preDrain": [{ "name": "migrate", "owner": "storage" }],
            "preTerminate": [{ "name": "migrate", "owner": "storage" }],
        } }),
    )
    .await
    .unwrap();
    place.end().await;
}

/// A set or deployment whose selector finds its machines.
fn group(replicas: i32) -> Value {
    json!({
        "replicas": replicas,
        "selector": { "matchLabels": { "pool": "a" } },
        "template": { "metadata": { "labels": { "pool": "a" } } },
    })
}

async fn c06_tables_and_the_scale_subresource_work(place: Place) {
    installed(&place).await;
    for (kind, columns) in [
        ("MachineSet", &["Desired", "Current", "Ready", "Available"][..]),
        (
            "MachineDeployment",
            &["Desired", "Current", "Ready", "Available", "Up-To-Date"],
        ),
    ] {
        put(&place, kind, "a", group(2)).await.unwrap();
        let status = json!({
            "apiVersion": "machine.crit.sh/v1alpha1", "kind": kind,
            "status": { "replicas": 2, "selector": "pool=a" },
        });
        send_merge(&place, &path(&place, kind, "/a/status"), &status).await;
        let scale = path(&place, kind, "/a/scale");
        let mut read = get(&place, &scale, "application/json").await;
        assert_eq!(read["kind"], "Scale");
        assert_eq!(
            (&read["spec"]["replicas"], &read["status"]["replicas"]),
            (&json!(2), &json!(2))
        );
        // What a HorizontalPodAutoscaler selects by.
        assert_eq!(read["status"]["selector"], "pool=a");
        read["spec"]["replicas"] = json!(5);
        let written = send(&place, "PUT", &scale, &read).await.unwrap();
        assert_eq!(written["spec"]["replicas"], 5);
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let table = get(&place, &path(&place, kind, "/a"), table).await;
        let names: Vec<_> = table["columnDefinitions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["name"].as_str().unwrap())
            .collect();
        let cells = table["rows"][0]["cells"].as_array().unwrap();
        for column in columns {
            assert!(names.contains(column), "{column} is not in {names:?}");
        }
        let desired = names.iter().position(|n| *n == "Desired").unwrap();
        assert_eq!(cells[desired], 5, "{table}");
    }
    put(&place, "Machine", "a", json!({})).await.unwrap();
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let table = get(&place, &path(&place, "Machine", "/a"), table).await;
    let names: Vec<_> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert_eq!(names[..5], ["Name", "Status", "Node", "Age", "Version"]);
    place.end().await;
}

async fn get(place: &Place, path: &str, accept: &str) -> Value {
    let request = http::Request::get(path)
        .header("Accept", accept)
        .body(Vec::new())
        .unwrap();
    place.client.request(request).await.unwrap()
}

async fn send_merge(place: &Place, path: &str, change: &Value) -> Value {
    let request = http::Request::patch(path)
        .header("Content-Type", "application/merge-patch+json")
        .body(change.to_string().into_bytes())
        .unwrap();
    place.client.request(request).await.unwrap()
}

async fn c07_spec_and_status_are_written_apart(place: Place) {
    let client = installed(&place).await;
    put(&place, "MachineSet", "a", group(1)).await.unwrap();
    put(&place, "Machine", "a", json!({})).await.unwrap();
    let sets: Api<MachineSet> = Api::namespaced(client.clone(), &place.namespace);
    let both = json!({ "spec": { "replicas": 3 }, "status": { "replicas": 7 } });
    let params = PatchParams::default();
    let set = sets.patch("a", &params, &Patch::Merge(&both)).await.unwrap();
    assert_eq!(
        (set.spec.replicas, set.status),
        (3, None),
        "the status was left alone"
    );
    let both = json!({ "spec": { "replicas": 4 }, "status": { "replicas": 7, "fullyLabeledReplicas": 0, "readyReplicas": 0, "availableReplicas": 0 } });
    let set = sets
        .patch_status("a", &params, &Patch::Merge(&both))
        .await
        .unwrap();
    assert_eq!(
        (set.spec.replicas, set.status.unwrap().replicas),
        (3, 7),
        "the spec was left alone"
    );
    let machines: Api<Machine> = Api::namespaced(client.clone(), &place.namespace);
    let mut machine = machines.get("a").await.unwrap();
    machine.status = Some(serde_json::from_value(json!({ "phase": "Running" })).unwrap());
    let stored = machines
        .replace("a", &PostParams::default(), &machine)
        .await
        .unwrap();
    assert_eq!(stored.status, None);
    let checks: Api<MachineHealthCheck> = Api::namespaced(client.clone(), &place.namespace);
    put(&place, "MachineHealthCheck", "a", json!({})).await.unwrap();
    let status =
        json!({ "status": { "expectedMachines": 1, "currentHealthy": 1, "remediationsAllowed": 1 } });
    let check = checks.patch("a", &params, &Patch::Merge(&status)).await.unwrap();
    assert_eq!(check.status, None);
    let deployments: Api<MachineDeployment> = Api::namespaced(client, &place.namespace);
    put(&place, "MachineDeployment", "a", group(1)).await.unwrap();
    let status = json!({ "status": { "replicas": 9 } });
    let deployment = deployments
        .patch("a", &params, &Patch::Merge(&status))
        .await
        .unwrap();
    assert_eq!(deployment.status, None);
    place.end().await;
}

async fn numbers_and_times_that_make_no_sense_are_refused(place: Place) {
    installed(&place).await;
    for kind in ["MachineSet", "MachineDeployment"] {
        for field in ["replicas", "minReadySeconds"] {
            refused(
                &place,
                kind,
                json!({ field: -1 }),
                &[field, "greater than or equal to 0"],
            )
            .await;
        }
        refused(
            &place,
            kind,
            json!({ "replicas": "three" }),
            &["replicas", "integer"],
        )
        .await;
    }
    for field in ["revisionHistoryLimit", "progressDeadlineSeconds"] {
        refused(&place, "MachineDeployment", json!({ field: -1 }), &[field]).await;
    }
    refused(
        &place,
        "MachineHealthCheck",
        json!({ "nodeStartupTimeout": "0 minutes" }),
        &["nodeStartupTimeout"],
    )
    .await;
    for range in ["[3]", "1-3", "[-1-3]", "[a-b]"] {
        refused(
            &place,
            "MachineHealthCheck",
            json!({ "unhealthyRange": range }),
            &["unhealthyRange"],
        )
        .await;
    }
    place.end().await;
}

async fn s15_a_selector_that_misses_its_template_or_changes_is_refused(place: Place) {
    place.needs_minor(25);
    let client = installed(&place).await;
    for kind in ["MachineSet", "MachineDeployment"] {
        let mut other = group(1);
        other["template"]["metadata"]["labels"]["pool"] = json!("b");
        let words = ["spec.template.metadata.labels must have all labels of spec.selector"];
        refused(&place, kind, other, &words).await;
        let mut without = group(1);
        without["template"] = json!({});
        refused(&place, kind, without, &words).await;
        let mut more = group(1);
        more["template"]["metadata"]["labels"]["zone"] = json!("b");
        put(&place, kind, "good", more).await.unwrap();
        let changed = json!({
            "spec": { "selector": { "matchLabels": { "zone": "b" } } },
        });
        let request = http::Request::patch(path(&place, kind, "/good"))
            .header("Content-Type", "application/merge-patch+json")
            .body(changed.to_string().into_bytes())
            .unwrap();
        let told = client.request::<Value>(request).await;
        assert!(
            super::message(told).contains("spec.selector is immutable"),
            "{kind}"
        );
    }
    place.end().await;
}

async fn a_roll_out_without_any_room_is_refused(place: Place) {
    place.needs_minor(25);
    installed(&place).await;
    let rolling = |limits: Value| {
        let mut spec = group(1);
        spec["strategy"] = json!({ "rollingUpdate": limits });
        spec
    };
    for limits in [
        json!({ "maxSurge": 0 }),
        json!({ "maxSurge": "0%", "maxUnavailable": 0 }),
        json!({ "maxSurge": "0", "maxUnavailable": "00%" }),
    ] {
        refused(
            &place,
            "MachineDeployment",
            rolling(limits),
            &["maxSurge and maxUnavailable can't both be 0"],
        )
        .await;
    }
    for (name, limits) in [
        ("a", json!({ "maxUnavailable": 0 })),
        ("b", json!({ "maxSurge": 0, "maxUnavailable": 1 })),
        ("c", json!({ "maxSurge": "0%", "maxUnavailable": "10%" })),
    ] {
        put(&place, "MachineDeployment", name, rolling(limits))
            .await
            .unwrap();
    }
    let mut slow = group(1);
    slow["minReadySeconds"] = json!(600);
    refused(
        &place,
        "MachineDeployment",
        slow.clone(),
        &["progressDeadlineSeconds"],
    )
    .await;
    slow["progressDeadlineSeconds"] = json!(601);
    put(&place, "MachineDeployment", "d", slow.clone()).await.unwrap();
    slow["progressDeadlineSeconds"] = json!(0);
    put(&place, "MachineDeployment", "e", slow).await.unwrap();
    place.end().await;
}

async fn a_range_that_ends_before_it_begins_is_refused(place: Place) {
    place.needs_minor(25);
    installed(&place).await;
    refused(
        &place,
        "MachineHealthCheck",
        json!({ "unhealthyRange": "[3-1]" }),
        &["the first number can't be greater than the second"],
    )
    .await;
    for (name, range) in [("a", "[1-3]"), ("b", "[0-0]"), ("c", "[9-10]")] {
        put(
            &place,
            "MachineHealthCheck",
            name,
            json!({ "unhealthyRange": range }),
        )
        .await
        .unwrap();
    }
    place.end().await;
}

async fn a_remediation_template_is_a_template(place: Place) {
    place.needs_minor(25);
    installed(&place).await;
    let template = |kind: &str| json!({ "remediationTemplate": { "apiVersion": "repair.example.com/v1", "kind": kind, "name": "x" } });
    refused(
        &place,
        "MachineHealthCheck",
        template("Repair"),
        &["must end with Template"],
    )
    .await;
    put(&place, "MachineHealthCheck", "good", template("RepairTemplate"))
        .await
        .unwrap();
    place.end().await;
}
