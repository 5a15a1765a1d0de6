//! Health checks on the embedded server: hosts whose Nodes break by hand, and sets of hollow machines.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{ConfigMap, Event, Node};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use machinectl::{
    api::v1alpha1::{HollowMachineTemplate, Machine, MachineHealthCheck, MachineHealthCheckSpec, MachineSet},
    controllers::metrics::Metrics,
};
use serde_json::{Value, json};

use super::{NAMESPACE, Place, Running, holds, names, until, until_gone};

/// A place with machines that run and a `ConfigMap` that owns them: nothing makes new ones.
struct Fleet {
    place: Place,
    running: Option<Running>,
    metrics: Arc<Metrics>,
    owner: ConfigMap,
}

impl Fleet {
    async fn of(machines: &[&str]) -> Self {
        let place = Place::new().await;
        let ctx = place.context();
        let metrics = Arc::clone(&ctx.metrics);
        let owner = place
            .api::<ConfigMap>()
            .create(&PostParams::default(), &map("owner", None))
            .await
            .unwrap();
        let fleet = Self {
            running: Some(Running::start(ctx)),
            place,
            metrics,
            owner,
        };
        for name in machines {
            fleet.add(name, true).await;
        }
        for name in machines {
            until(&fleet.machines(), name, "Running", |m: &Machine| {
                holds(m, "Ready")
            })
            .await;
        }
        fleet
    }

    fn machines(&self) -> Api<Machine> {
        self.place.api()
    }

    fn nodes(&self) -> Api<Node> {
        self.place.all()
    }

    fn checks(&self) -> Api<MachineHealthCheck> {
        self.place.api()
    }

    /// Makes a Node that no provider keeps, and its machine, with or without a controller.
    async fn add(&self, name: &str, owned: bool) {
        let id = format!("metal://{name}");
        let node: Node = serde_json::from_value(json!({
            "metadata": { "name": name }, "spec": { "providerID": id },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
        }))
        .unwrap();
        self.nodes().create(&PostParams::default(), &node).await.unwrap();
        self.node_is(name, "True", 0).await;
        self.add_with(name, owned, json!({ "providerID": id })).await;
    }

    async fn add_with(&self, name: &str, owned: bool, spec: Value) {
        let owners = json!([{
            "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": self.owner.uid(), "controller": true
        }]);
        let machine: Machine = serde_json::from_value(json!({
            "apiVersion": "machine.crit.sh/v1alpha1", "kind": "Machine",
            "metadata": {
                "name": name, "namespace": NAMESPACE, "labels": { "pool": "a" },
                "ownerReferences": if owned { owners } else { json!([]) },
            },
            "spec": spec,
        }))
        .unwrap();
        self.machines()
            .create(&PostParams::default(), &machine)
            .await
            .unwrap();
    }

    /// Writes the condition Ready of a Node, as if it had been so for a while.
    async fn node_is(&self, name: &str, status: &str, for_seconds: i64) {
        let since = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(for_seconds);
        let patch = json!({ "status": { "conditions": [{
            "type": "Ready", "status": status, "reason": "Test", "message": "",
            "lastTransitionTime": since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
        }] } });
        self.nodes()
            .patch_status(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .unwrap();
    }

    async fn check(&self, name: &str, spec: Value) {
        self.place.create::<MachineHealthCheck>(name, &[], spec).await;
    }

    /// Waits until a check has counted so many machines and so many healthy ones.
    async fn counted(&self, check: &str, expected: i32, healthy: i32) -> MachineHealthCheck {
        until(&self.checks(), check, "its counts", |c: &MachineHealthCheck| {
            c.status
                .as_ref()
                .is_some_and(|s| (s.expected_machines, s.current_healthy) == (expected, healthy))
        })
        .await
    }

    /// Waits for an Event with a reason about an object; returns how many there are of it.
    async fn told(&self, reason: &str, about: &str) -> i32 {
        let events: Api<Event> = self.place.api();
        for _ in 0..6000 {
            let list = events.list(&ListParams::default()).await.unwrap();
            let found: Vec<_> = list
                .iter()
                .filter(|e| e.reason.as_deref() == Some(reason))
                .filter(|e| e.involved_object.name.as_deref() == Some(about))
                .collect();
            if !found.is_empty() {
                return found
                    .iter()
                    .map(|e| e.series.as_ref().and_then(|s| s.count).unwrap_or(1))
                    .sum();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("no event {reason} about {about}");
    }

    /// A number of a check, as Prometheus is told it.
    fn number(&self, family: &str, check: &str) -> Option<u64> {
        let page = self.metrics.render(false);
        let series =
            format!("machinectl_machinehealthcheck_{family}{{name=\"{check}\",namespace=\"{NAMESPACE}\"}} ");
        page.lines()
            .find_map(|line| line.strip_prefix(&series))?
            .parse()
            .ok()
    }

    async fn names(&self) -> Vec<String> {
        names(&self.machines().list(&ListParams::default()).await.unwrap().items)
    }

    async fn stop(mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }
}

fn map(name: &str, data: Option<(&str, &str)>) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.into()),
            ..ObjectMeta::default()
        },
        data: data.map(|(key, value)| [(key.to_owned(), value.to_owned())].into()),
        ..ConfigMap::default()
    }
}

/// Whether a check says something about a condition.
fn says(check: &MachineHealthCheck, type_: &str, status: &str, reason: &str) -> bool {
    check.status.as_ref().is_some_and(|s| {
        s.conditions
            .iter()
            .any(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str()) == (type_, status, reason))
    })
}

/// What a health check says about a machine: status and message.
fn mark(machine: &Machine) -> Option<(&str, &str)> {
    let list = &machine.status.as_ref()?.conditions;
    let condition = list.iter().find(|c| c.type_ == "HealthCheckSucceeded")?;
    Some((&condition.status, &condition.message))
}

#[tokio::test(flavor = "multi_thread")]
async fn h01_h18_a_broken_machine_is_deleted_the_others_stay_and_numbers_move() {
    let fleet = Fleet::of(&["m-1", "m-2", "m-3"]).await;
    fleet
        .check("pool", json!({ "selector": { "matchLabels": { "pool": "a" } } }))
        .await;
    let check = fleet.counted("pool", 3, 3).await;
    assert!(says(&check, "Ready", "True", "Ready"));
    fleet.node_is("m-2", "Unknown", 600).await;
    until_gone(&fleet.machines(), "m-2").await;
    assert_eq!(fleet.told("MachineDeleted", "m-2").await, 1);
    let check = fleet.counted("pool", 2, 2).await;
    let record = &check.status.unwrap().remediations[0];
    assert_eq!((record.owner.as_str(), record.failures), ("ConfigMap/owner", 0));
    assert_eq!(fleet.names().await, ["m-1", "m-3"]);
    assert_eq!(fleet.number("nodes_covered", "pool"), Some(2));
    assert_eq!(fleet.number("remediation_success_total", "pool"), Some(1));
    assert_eq!(fleet.number("short_circuit", "pool"), Some(0));
    // The numbers go with the check.
    fleet
        .checks()
        .delete("pool", &DeleteParams::default())
        .await
        .unwrap();
    for _ in 0..6000 {
        if fleet.number("nodes_covered", "pool").is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for family in ["nodes_covered", "remediation_success_total", "short_circuit"] {
        assert_eq!(fleet.number(family, "pool"), None, "{family}");
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h03_a_machine_that_broke_lately_is_marked_and_unmarked_and_nothing_else_is_written() {
    let fleet = Fleet::of(&["m-1"]).await;
    fleet.check("all", json!({})).await;
    fleet.counted("all", 1, 1).await;
    fleet.node_is("m-1", "False", 0).await;
    let marked = until(&fleet.machines(), "m-1", "its mark", |m: &Machine| {
        mark(m).is_some_and(|(status, _)| status == "Unknown")
    })
    .await;
    let (_, message) = mark(&marked).unwrap();
    assert_eq!(message, "all: its Node's condition Ready is False (limit 5m0s)");
    assert_eq!(fleet.told("DetectedUnhealthy", "m-1").await, 1);
    let check = fleet.counted("all", 1, 0).await;
    assert_eq!(check.status.as_ref().unwrap().targets, ["m-1"]);
    // Whoever changes the machine makes the check look again; it has nothing new to say.
    let patch = json!({ "metadata": { "labels": { "touched": "yes" } } });
    fleet
        .machines()
        .patch("m-1", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
    fleet.node_is("m-1", "True", 0).await;
    let unmarked = until(&fleet.machines(), "m-1", "its mark", |m: &Machine| {
        mark(m).is_some_and(|(status, _)| status == "True")
    })
    .await;
    assert_eq!(mark(&unmarked).unwrap().1, "all: the machine is well");
    assert_eq!(fleet.told("DetectedUnhealthy", "m-1").await, 1);
    fleet.counted("all", 1, 1).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h06_a_machine_whose_node_is_gone_is_deleted_at_once() {
    let fleet = Fleet::of(&["m-1", "m-2"]).await;
    fleet.check("all", json!({})).await;
    fleet.counted("all", 2, 2).await;
    fleet
        .nodes()
        .delete("m-2", &DeleteParams::default())
        .await
        .unwrap();
    until_gone(&fleet.machines(), "m-2").await;
    assert_eq!(fleet.told("MachineDeleted", "m-2").await, 1);
    assert_eq!(fleet.names().await, ["m-1"]);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h07_h16_a_machine_stays_that_nobody_would_replace() {
    let fleet = Fleet::of(&["m-1"]).await;
    fleet.add("alone", false).await;
    until(&fleet.machines(), "alone", "Running", |m: &Machine| {
        holds(m, "Ready")
    })
    .await;
    fleet.check("all", json!({})).await;
    fleet.counted("all", 2, 2).await;
    fleet.node_is("alone", "False", 900).await;
    let marked = until(&fleet.machines(), "alone", "its mark", |m: &Machine| {
        mark(m).is_some_and(|(status, _)| status == "False")
    })
    .await;
    assert!(mark(&marked).unwrap().1.contains("no controller"));
    assert_eq!(fleet.told("SkippedNoController", "alone").await, 1);
    assert_eq!(fleet.names().await, ["alone", "m-1"]);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h09_a_paused_check_does_nothing_and_goes_on_afterwards() {
    let fleet = Fleet::of(&["m-1"]).await;
    for (name, key) in [
        ("ours", "machine.crit.sh/paused"),
        ("theirs", "cluster.x-k8s.io/paused"),
    ] {
        let check: MachineHealthCheck = serde_json::from_value(json!({
            "apiVersion": "machine.crit.sh/v1alpha1", "kind": "MachineHealthCheck",
            "metadata": { "name": name, "annotations": { key: "" } }, "spec": {},
        }))
        .unwrap();
        fleet
            .checks()
            .create(&PostParams::default(), &check)
            .await
            .unwrap();
    }
    // A third one proves that looks happen, and is gone before anything breaks.
    fleet.check("probe", json!({})).await;
    fleet.counted("probe", 1, 1).await;
    fleet
        .checks()
        .delete("probe", &DeleteParams::default())
        .await
        .unwrap();
    fleet.node_is("m-1", "False", 900).await;
    until(&fleet.machines(), "m-1", "not healthy", |m: &Machine| {
        !holds(m, "NodeHealthy")
    })
    .await;
    for name in ["ours", "theirs"] {
        assert_eq!(fleet.checks().get(name).await.unwrap().status, None, "{name}");
    }
    assert_eq!(fleet.names().await, ["m-1"]);
    let patch = json!({ "metadata": { "annotations": { "cluster.x-k8s.io/paused": null } } });
    fleet
        .checks()
        .patch("theirs", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
    until_gone(&fleet.machines(), "m-1").await;
    assert_eq!(fleet.checks().get("ours").await.unwrap().status, None);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h11_too_many_broken_machines_are_told_once_and_recovery_lets_the_rest_go() {
    let fleet = Fleet::of(&["m-1", "m-2", "m-3"]).await;
    fleet.check("pool", json!({ "maxUnhealthy": 1 })).await;
    fleet.counted("pool", 3, 3).await;
    fleet.node_is("m-1", "False", 0).await;
    fleet.counted("pool", 3, 2).await;
    fleet.node_is("m-2", "False", 900).await;
    let check = fleet.counted("pool", 3, 1).await;
    assert!(says(&check, "RemediationAllowed", "False", "TooManyUnhealthy"));
    let message = &check
        .status
        .as_ref()
        .unwrap()
        .conditions
        .iter()
        .find(|c| c.type_ == "RemediationAllowed");
    assert_eq!(
        message.unwrap().message,
        "Remediation is not allowed, the number of not started or unhealthy machines exceeds maxUnhealthy (total: 3, unhealthy: 2, maxUnhealthy: 1)"
    );
    assert_eq!(fleet.told("RemediationRestricted", "pool").await, 1);
    assert_eq!(fleet.names().await.len(), 3);
    fleet.node_is("m-1", "True", 0).await;
    until_gone(&fleet.machines(), "m-2").await;
    assert_eq!(fleet.told("RemediationRestricted", "pool").await, 1);
    let check = fleet.counted("pool", 2, 2).await;
    assert!(says(&check, "RemediationAllowed", "True", "RemediationAllowed"));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h15_a_check_sees_what_it_selects_in_its_namespace_only() {
    let fleet = Fleet::of(&["m-1", "m-2"]).await;
    fleet.check("all", json!({})).await;
    fleet
        .check("none", json!({ "selector": { "matchLabels": { "pool": "b" } } }))
        .await;
    fleet.check("cluster", json!({ "clusterName": "demo" })).await;
    let elsewhere = k8s_openapi::api::core::v1::Namespace {
        metadata: ObjectMeta {
            name: Some("elsewhere".into()),
            ..ObjectMeta::default()
        },
        ..Default::default()
    };
    fleet
        .place
        .all()
        .create(&PostParams::default(), &elsewhere)
        .await
        .unwrap();
    let foreign: Api<MachineHealthCheck> = Api::namespaced(fleet.place.client.clone(), "elsewhere");
    let check = MachineHealthCheck::new("all", MachineHealthCheckSpec::default());
    foreign.create(&PostParams::default(), &check).await.unwrap();
    fleet.counted("all", 2, 2).await;
    fleet.counted("none", 0, 0).await;
    fleet.counted("cluster", 0, 0).await;
    until(&foreign, "all", "its counts", |c: &MachineHealthCheck| {
        c.status.as_ref().is_some_and(|s| s.expected_machines == 0)
    })
    .await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h17_the_config_map_of_2019_drives_the_conditions_while_it_is_there() {
    let fleet = Fleet::of(&["m-1", "m-2"]).await;
    let maps = fleet.place.api::<ConfigMap>();
    let name = "node-unhealthy-conditions";
    maps.create(&PostParams::default(), &map(name, Some(("other", ""))))
        .await
        .unwrap();
    fleet.check("all", json!({})).await;
    until(&fleet.checks(), "all", "its trouble", |c: &MachineHealthCheck| {
        says(c, "RemediationAllowed", "False", "InvalidUnhealthyConditions")
    })
    .await;
    fleet.told("InvalidUnhealthyConditions", "all").await;
    // Ready=False is no trouble for this map, Ready=Unknown is.
    let items = "items:\n- name: Ready\n  status: Unknown\n  timeout: 60s\n";
    let patch = json!({ "data": { "conditions": items } });
    maps.patch(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
    fleet.counted("all", 2, 2).await;
    fleet.node_is("m-1", "False", 900).await;
    fleet.node_is("m-2", "Unknown", 90).await;
    until_gone(&fleet.machines(), "m-2").await;
    assert_eq!(fleet.names().await, ["m-1"]);
    // Without it the default holds.
    maps.delete(name, &DeleteParams::default()).await.unwrap();
    until_gone(&fleet.machines(), "m-1").await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h14_somebody_else_repairs_what_a_template_says() {
    let fleet = Fleet::of(&["m-1"]).await;
    let definition = |kind: &str, plural: &str| {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": format!("{plural}.repair.example") },
            "spec": {
                "group": "repair.example", "scope": "Namespaced",
                "names": { "kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List") },
                "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true
                } } }],
            },
        })
    };
    let definitions: Api<
        k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    > = fleet.place.all();
    for (kind, plural) in [("Repair", "repairs"), ("RepairTemplate", "repairtemplates")] {
        let definition = serde_json::from_value(definition(kind, plural)).unwrap();
        definitions
            .create(&PostParams::default(), &definition)
            .await
            .unwrap();
    }
    let api = |kind: &str| -> Api<kube::api::DynamicObject> {
        let gvk = kube::api::GroupVersionKind::gvk("repair.example", "v1", kind);
        let resource = kube::api::ApiResource::from_gvk(&gvk);
        Api::namespaced_with(fleet.place.client.clone(), NAMESPACE, &resource)
    };
    fleet
        .check("all", json!({ "remediationTemplate": { "apiVersion": "repair.example/v1", "kind": "RepairTemplate", "name": "fix" } }))
        .await;
    fleet.counted("all", 1, 1).await;
    fleet.node_is("m-1", "False", 900).await;
    until(&fleet.checks(), "all", "its trouble", |c: &MachineHealthCheck| {
        says(
            c,
            "ExternalRemediationTemplateAvailable",
            "False",
            "ExternalRemediationTemplateNotFound",
        )
    })
    .await;
    let template = serde_json::from_value(json!({
        "apiVersion": "repair.example/v1", "kind": "RepairTemplate", "metadata": { "name": "fix" },
        "spec": { "template": { "spec": { "how": "reboot" } } },
    }))
    .unwrap();
    api("RepairTemplate")
        .create(&PostParams::default(), &template)
        .await
        .unwrap();
    // The template is looked for again when something happens, at the latest after half a minute.
    fleet.node_is("m-1", "False", 901).await;
    let requests = api("Repair");
    let mut request = None;
    for _ in 0..6000 {
        request = requests.get_opt("m-1").await.unwrap();
        if request.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let request = request.expect("an object for the machine");
    assert_eq!(request.data["spec"]["how"], "reboot");
    assert_eq!(request.owner_references()[0].name, "m-1");
    assert_eq!(fleet.names().await, ["m-1"]);
    fleet.node_is("m-1", "True", 0).await;
    for _ in 0..6000 {
        if requests.get_opt("m-1").await.unwrap().is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(requests.get_opt("m-1").await.unwrap().is_none());
    let check = fleet.counted("all", 1, 1).await;
    assert!(says(
        &check,
        "ExternalRemediationTemplateAvailable",
        "True",
        "Available"
    ));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_checks_on_one_machine_delete_it_once() {
    let fleet = Fleet::of(&["m-1", "m-2"]).await;
    fleet.check("one", json!({})).await;
    fleet.check("two", json!({})).await;
    fleet.counted("one", 2, 2).await;
    fleet.counted("two", 2, 2).await;
    fleet.node_is("m-1", "False", 900).await;
    until_gone(&fleet.machines(), "m-1").await;
    assert_eq!(fleet.told("MachineDeleted", "m-1").await, 1);
    let done = ["one", "two"].map(|check| fleet.number("remediation_success_total", check));
    assert_eq!(done.into_iter().flatten().sum::<u64>(), 1);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c03_fields_of_a_check_are_validated() {
    let place = Place::new().await;
    let checks = place.api::<MachineHealthCheck>();
    let try_out = async |name: &str, spec: Value| {
        let object = json!({
            "apiVersion": "machine.crit.sh/v1alpha1", "kind": "MachineHealthCheck", "metadata": { "name": name }, "spec": spec,
        });
        let checks: Api<kube::api::DynamicObject> = Api::namespaced_with(
            checks.clone().into_client(),
            NAMESPACE,
            &kube::api::ApiResource::erase::<MachineHealthCheck>(&()),
        );
        let object = serde_json::from_value(object).unwrap();
        checks.create(&PostParams::default(), &object).await
    };
    for (number, good) in [
        json!({}),
        json!({ "maxUnhealthy": 2, "maxInFlight": "10%" }),
        json!({ "maxUnhealthy": "2", "unhealthyRange": "[1-3]" }),
        json!({ "maxUnhealthy": "40%", "backOff": { "initialDelay": "1m", "maxDelay": "2h", "resetAfter": "5m" } }),
        json!({ "unhealthyMachineConditions": [{ "type": "NodeHealthy", "status": "False", "timeout": "5m" }], "skipControlPlane": true }),
    ]
    .into_iter()
    .enumerate()
    {
        try_out(&format!("good-{number}"), good).await.unwrap();
    }
    let defaults = checks.get("good-0").await.unwrap();
    assert_eq!(
        serde_json::to_value(&defaults.spec).unwrap(),
        json!({ "selector": {}, "maxUnhealthy": "100%", "nodeStartupTimeout": "10m0s" })
    );
    for bad in [
        json!({ "maxUnhealthy": "101%" }),
        json!({ "maxUnhealthy": "abc" }),
        json!({ "maxUnhealthy": -1 }),
        json!({ "maxInFlight": -1 }),
        json!({ "maxInFlight": "-1" }),
        json!({ "unhealthyRange": "1-3" }),
        json!({ "unhealthyConditions": [] }),
        json!({ "unhealthyConditions": [{ "type": "Ready", "status": "False", "timeout": "5 minutes" }] }),
        json!({ "unhealthyMachineConditions": [] }),
        json!({ "unhealthyMachineConditions": [{ "type": "HealthCheckSucceeded", "status": "False" }] }),
        json!({ "backOff": { "initialDelay": "soon" } }),
    ] {
        let error = try_out("bad", bad.clone()).await.expect_err("it is refused");
        assert!(
            matches!(&error, kube::Error::Api(status) if status.code == 422),
            "{bad}: {error}"
        );
    }
}

/// A set of hollow machines, watched by a check.
async fn pool(place: &Place, replicas: i32, template: Value, check: Value) {
    place
        .create::<HollowMachineTemplate>("pool", &[], json!({ "template": { "spec": template } }))
        .await;
    place
        .create::<MachineSet>("pool", &[], super::sets::set_spec(replicas))
        .await;
    place.create::<MachineHealthCheck>("pool", &[], check).await;
}

/// Waits until the check of a pool has counted so many machines and so many healthy ones.
async fn counted(place: &Place, counts: (i32, i32)) -> MachineHealthCheck {
    until(&place.api(), "pool", "its counts", |c: &MachineHealthCheck| {
        c.status
            .as_ref()
            .is_some_and(|s| (s.expected_machines, s.current_healthy) == counts)
    })
    .await
}

async fn all_names(place: &Place) -> Vec<String> {
    let machines: Api<Machine> = place.api();
    names(&machines.list(&ListParams::default()).await.unwrap().items)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_replaces_what_its_check_deletes_in_waves() {
    let place = Place::new().await;
    let running = place.run();
    pool(&place, 6, json!({}), json!({ "maxInFlight": 2 })).await;
    counted(&place, (6, 6)).await;
    let before = all_names(&place).await;
    let machines: Api<Machine> = place.api();
    let ask = json!({ "metadata": { "annotations": { "machine.crit.sh/remediate-machine": "" } } });
    for name in &before[..4] {
        machines
            .patch(name, &PatchParams::default(), &Patch::Merge(&ask))
            .await
            .unwrap();
    }
    for name in &before[..4] {
        until_gone(&machines, name).await;
    }
    let check = counted(&place, (6, 6)).await;
    let after = all_names(&place).await;
    assert!(before[4..].iter().all(|name| after.contains(name)), "{after:?}");
    let status = check.status.unwrap();
    let record = &status.remediations[0];
    assert_eq!((record.owner.as_str(), record.failures), ("MachineSet/pool", 0));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replacements_that_fail_wait_even_if_the_controllers_start_anew() {
    let place = Place::new().await;
    let running = place.run();
    let faults = json!({ "faults": { "terminalError": { "message": "no quota" } } });
    pool(
        &place,
        1,
        faults,
        json!({ "backOff": { "initialDelay": "3s", "maxDelay": "1h" } }),
    )
    .await;
    let checks: Api<MachineHealthCheck> = place.api();
    let failures = |c: &MachineHealthCheck| {
        let records = c.status.as_ref().map(|s| s.remediations.clone());
        records.and_then(|r| r.first().map(|r| r.failures))
    };
    until(&checks, "pool", "its first replacement", |c| {
        failures(c).is_some()
    })
    .await;
    // The replacement fails, too: it waits, marked, over an end of the controllers.
    let machines: Api<Machine> = place.api();
    let mut waiting = None;
    for _ in 0..6000 {
        let list = machines.list(&ListParams::default()).await.unwrap();
        waiting = list
            .items
            .into_iter()
            .find(|m| m.metadata.deletion_timestamp.is_none() && mark(m).is_some_and(|(s, _)| s == "False"));
        if waiting.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let waiting = waiting.expect("a machine that waits").name_any();
    running.stop().await;
    assert!(all_names(&place).await.contains(&waiting));
    let running = place.run();
    until_gone(&machines, &waiting).await;
    let check = until(&checks, "pool", "its failure", |c| failures(c) == Some(1)).await;
    assert!(says(&check, "Ready", "True", "Ready"));
    running.stop().await;
}
