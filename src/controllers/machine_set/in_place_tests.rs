//! Tables of what reaches machines, and autoscalers, without a new machine.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    fixtures::*,
    in_place::Wanted,
    observe::{Member, Observed},
    plan::plan,
};
use crate::api::v1alpha1::Machine;

#[test]
fn what_can_change_in_place_reaches_the_machines_in_one_patch_each() {
    let before = with(1, &[("a", up(5))]);
    let mut old = set(1);
    old["spec"]["template"]["metadata"]["labels"]["tier"] = json!("front");
    old["spec"]["template"]["spec"]["taints"] = json!([{ "key": "old", "effect": "NoSchedule" }]);
    old["spec"]["template"]["spec"]["nodeDrainTimeout"] = json!("5m");
    old["spec"]["template"]["spec"]["metadata"] = json!({ "labels": { "zone": "1", "row": "2" } });
    let was = observed(old);
    let have = machine(
        &was,
        "a",
        &json!({
            "metadata": { "labels": { "mine": "yes" } },
            "spec": {
                "taints": [{ "key": "old", "effect": "NoSchedule" }, { "key": "mine", "effect": "NoExecute" }],
                "nodeDrainTimeout": "5m",
                "nodeDeletionTimeout": "1m",
                "metadata": { "labels": { "zone": "1", "row": "2", "mine": "yes" } },
            },
        }),
    );
    // As it was made, nothing has to change; what the user put there stays.
    assert_eq!(Wanted::of(&was.set).change(&have), None);
    let mut new = set(1);
    new["spec"]["template"]["metadata"]["annotations"]["team"] = json!("y");
    new["spec"]["template"]["spec"]["taints"] =
        json!([{ "key": "new", "value": "1", "effect": "NoSchedule" }]);
    new["spec"]["template"]["spec"]["nodeVolumeDetachTimeout"] = json!("2m");
    new["spec"]["template"]["spec"]["metadata"] = json!({ "labels": { "zone": "2" } });
    let mut o = observed(new);
    o.members = vec![Member {
        machine: have,
        ..before.members[0].clone()
    }];
    let plan = plan(&o, now());
    let patch = &patches(&plan)["a"];
    assert_eq!(all(&plan).len(), 1, "{:?}", words(&plan));
    assert_eq!(patch["metadata"]["labels"], json!({ "tier": null }));
    assert_eq!(patch["metadata"]["annotations"]["team"], "y");
    assert_eq!(
        patch["spec"],
        json!({
            "nodeDrainTimeout": null,
            "nodeVolumeDetachTimeout": "2m0s",
            "metadata": { "labels": { "zone": "2", "row": null } },
            "taints": [
                { "key": "mine", "effect": "NoExecute" },
                { "key": "new", "value": "1", "effect": "NoSchedule" },
            ],
        })
    );
    // After it nothing is left to do, and of a machine that leaves only the limits count.
    let mut value = json!(*o.members[0].machine);
    json_patch::merge(&mut value, patch);
    let after: Machine = serde_json::from_value(value).unwrap();
    assert_eq!(Wanted::of(&o.set).change(&after), None);
    o.members[0].leaving = true;
    let leaving = plan_patch(&o, "a");
    assert_eq!(
        leaving,
        json!({ "spec": { "nodeDrainTimeout": null, "nodeVolumeDetachTimeout": "2m0s" } })
    );
}

fn plan_patch(o: &Observed, name: &str) -> Value {
    patches(&plan(o, now()))[name].clone()
}

#[test]
fn o05_autoscalers_are_told_what_a_machine_of_an_empty_set_would_have() {
    let mut value = set(0);
    value["spec"]["template"]["metadata"]["labels"]["node.machine.crit.sh/tier"] = json!("front");
    value["spec"]["template"]["spec"]["metadata"] = json!({ "labels": { "zone": "1" } });
    value["spec"]["template"]["spec"]["taints"] = json!([{ "key": "gpu", "value": "a", "effect": "NoSchedule" }, { "key": "x", "effect": "NoExecute" }]);
    let capacity = |cpu: &str| {
        template(
            &json!({ "template": { "spec": { "capacity": { "cpu": cpu, "memory": "64Gi", "pods": 250 } } } }),
        )
    };
    let mut o = observed(value.clone());
    o.template = capacity("8");
    let mut patch = plan_patch(&o, "pool");
    let domain = "capacity.cluster-autoscaler.kubernetes.io";
    let told = |patch: &Value, key: &str| patch["metadata"]["annotations"][format!("{domain}/{key}")].clone();
    assert_eq!(
        ["cpu", "memory", "maxPods", "labels", "taints"].map(|key| told(&patch, key)),
        [
            json!("8"),
            json!("64Gi"),
            json!("250"),
            json!("node.machine.crit.sh/tier=front,zone=1"),
            json!("gpu=a:NoSchedule,x=:NoExecute"),
        ]
    );
    // The user's own values win; what was written here follows the template.
    patch["metadata"]["annotations"][format!("{domain}/memory")] = json!("1Gi");
    json_patch::merge(&mut value, &patch);
    o.set = Arc::new(serde_json::from_value(value.clone()).unwrap());
    o.template = capacity("16");
    let change = plan_patch(&o, "pool");
    let annotations = change["metadata"]["annotations"].as_object().unwrap();
    assert_eq!(told(&change, "cpu"), "16");
    assert!(
        !annotations.contains_key(&format!("{domain}/memory")),
        "{annotations:?}"
    );
    json_patch::merge(&mut value, &change);
    o.set = Arc::new(serde_json::from_value(value).unwrap());
    assert!(plan(&o, now()).effects.is_empty());
}
