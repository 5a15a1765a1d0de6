//! Objects, and what is left to do until the target has them.

use super::*;

fn kind(has_status: bool) -> MovedKind {
    MovedKind {
        has_status,
        group: "example.com".to_owned(),
        kind: "Thing".to_owned(),
        plural: "things".to_owned(),
        ..MovedKind::secret()
    }
}

/// An object of the source: two writers, a status by apply, an owner, and what an API server adds.
fn source() -> Value {
    json!({
        "apiVersion": "example.com/v1", "kind": "Thing",
        "metadata": {
            "name": "a", "namespace": "ns", "uid": "u-a", "resourceVersion": "7", "generation": 3,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": { "l": "1" }, "annotations": { "n": "2" }, "finalizers": ["f"],
            "ownerReferences": [{ "apiVersion": "example.com/v1", "kind": "Owner", "name": "o", "uid": "u-o", "controller": true }],
            "managedFields": [
                { "manager": "m", "operation": "Update", "apiVersion": "example.com/v1", "time": "2026-01-01T00:00:00Z", "fieldsV1": {
                    "f:metadata": { "f:ownerReferences": { "k:{\"uid\":\"u-o\"}": {} } }, "f:spec": { "f:size": {} } } },
                { "manager": "s", "operation": "Apply", "apiVersion": "example.com/v1", "subresource": "status", "fieldsV1": {
                    "f:status": { "f:phase": {} } } }
            ],
        },
        "spec": { "size": 3, "empty": {} },
        "status": { "phase": "Running" },
    })
}

fn uids() -> Uids {
    Uids::from([("u-o".into(), "t-o".to_owned())])
}

fn wanted(source: Value) -> Wanted {
    Wanted::new(&kind(true), source, &uids(), false)
}

/// What an API server makes of a created object.
fn created(body: &Value) -> Value {
    let mut object = body.clone();
    object["metadata"]["uid"] = json!("t-a");
    object["metadata"]["resourceVersion"] = json!("1");
    object["metadata"]["creationTimestamp"] = json!("2026-02-02T00:00:00Z");
    object["metadata"]["managedFields"] = json!([{
        "manager": "m", "operation": "Update", "apiVersion": "example.com/v1", "fieldsV1": {
            "f:metadata": { "f:labels": {}, "f:ownerReferences": { "k:{\"uid\":\"t-o\"}": { "f:name": {} } } }, "f:spec": { "f:size": {} } } }]);
    object
}

fn step(wanted: &Wanted, object: &Value, written: bool) -> Option<Step> {
    next(
        wanted,
        Some(Seen {
            object,
            written,
            owned: false,
        }),
    )
}

#[test]
fn what_is_missing_is_created_with_the_new_uids_of_its_owners() {
    let Some(Step::Create { body, manager }) = next(&wanted(source()), None) else {
        panic!("it is to be created");
    };
    assert_eq!(manager, "m");
    assert_eq!(
        body,
        json!({
            "apiVersion": "example.com/v1", "kind": "Thing",
            "metadata": {
                "name": "a", "namespace": "ns", "labels": { "l": "1" }, "annotations": { "n": "2" }, "finalizers": ["f"],
                "ownerReferences": [{ "apiVersion": "example.com/v1", "kind": "Owner", "name": "o", "uid": "t-o", "controller": true }],
            },
            "spec": { "size": 3, "empty": {} },
        })
    );
}

#[test]
fn then_its_status_comes_by_whom_it_was_written_and_nothing_is_left() {
    let wanted = wanted(source());
    let Some(Step::Create { body, .. }) = next(&wanted, None) else {
        panic!("it is to be created");
    };
    let mut object = created(&body);
    let Some(Step::Status { body, manager, how }) = step(&wanted, &object, true) else {
        panic!("its status is to be written");
    };
    assert_eq!((manager.as_str(), how), ("s", How::Apply));
    assert_eq!(
        body,
        json!({ "apiVersion": "example.com/v1", "kind": "Thing", "metadata": { "name": "a", "namespace": "ns" },
            "status": { "phase": "Running" } })
    );
    object["status"] = body["status"].clone();
    let by_status = json!({ "manager": "s", "operation": "Apply", "apiVersion": "example.com/v1", "fieldsV1": { "f:status": {} } });
    object["metadata"]["managedFields"]
        .as_array_mut()
        .unwrap()
        .push(by_status);
    assert_eq!(step(&wanted, &object, true), None);
    assert_eq!(first_difference(&wanted, &object), None);
    assert!(is_owned_alike(&wanted, &object));
}

#[test]
fn a_status_that_nobody_applied_is_merged_where_none_is_and_else_put_over_what_is_there() {
    let mut source = source();
    source["metadata"]["managedFields"][1]["operation"] = json!("Update");
    let wanted = wanted(source);
    let Some(Step::Create { body, .. }) = next(&wanted, None) else {
        panic!("it is to be created");
    };
    let mut object = created(&body);
    let Some(Step::Status { body, manager, how }) = step(&wanted, &object, true) else {
        panic!("its status is to be written");
    };
    assert_eq!((manager.as_str(), how), ("s", How::Merge));
    let patch = json!({ "metadata": { "resourceVersion": "1" }, "status": { "phase": "Running" } });
    assert_eq!(body, patch);
    object["status"] = json!({ "phase": "Pending" });
    let Some(Step::Status { body, how, .. }) = step(&wanted, &object, true) else {
        panic!("its status is to be written");
    };
    assert_eq!(
        (how, &body["spec"]["size"], &body["status"]["phase"]),
        (How::Put, &json!(3), &json!("Running"))
    );
    assert_eq!(body["metadata"]["resourceVersion"], "1");
}

#[test]
fn several_writers_are_written_down_at_the_end_and_only_once() {
    let mut source = source();
    let other = json!({ "manager": "k", "operation": "Update", "apiVersion": "example.com/v1", "fieldsV1": { "f:metadata": { "f:labels": {} } } });
    source["metadata"]["managedFields"]
        .as_array_mut()
        .unwrap()
        .push(other);
    let wanted = wanted(source.clone());
    let Some(Step::Create { body, manager }) = next(&wanted, None) else {
        panic!("it is to be created");
    };
    assert_eq!(manager, FIELD_MANAGER);
    let mut object = created(&body);
    object["status"] = source["status"].clone();
    let Some(Step::Owners { patch }) = step(&wanted, &object, true) else {
        panic!("its owners are to be written");
    };
    assert_eq!(patch["metadata"]["resourceVersion"], "1");
    assert_eq!(patch["metadata"]["managedFields"].as_array().unwrap().len(), 3);
    // The owner's new UID stands there, too.
    let text = patch.to_string();
    assert!(text.contains("t-o") && !text.contains("u-o"), "{text}");
    let seen = Seen {
        object: &object,
        written: true,
        owned: true,
    };
    assert_eq!(next(&wanted, Some(seen)), None);
}

#[test]
fn after_a_crash_only_what_is_missing_is_done() {
    let wanted = wanted(source());
    let Some(Step::Create { body, .. }) = next(&wanted, None) else {
        panic!("it is to be created");
    };
    let object = created(&body);
    assert!(matches!(step(&wanted, &object, false), Some(Step::Status { .. })));
    let mut changed = object.clone();
    changed["spec"]["size"] = json!(4);
    let Some(Step::Replace { body, .. }) = step(&wanted, &changed, false) else {
        panic!("it is to be replaced");
    };
    assert_eq!(
        (&body["metadata"]["uid"], &body["spec"]["size"]),
        (&json!("t-a"), &json!(3))
    );
    assert_eq!(first_difference(&wanted, &changed).as_deref(), Some("spec.size"));
}

#[test]
fn what_the_target_adds_by_itself_is_replaced_once_and_then_borne() {
    let wanted = wanted(source());
    let Some(Step::Create { body, .. }) = next(&wanted, None) else {
        panic!("it is to be created");
    };
    for at in ["/spec/default", "/metadata/labels/injected"] {
        let mut object = created(&body);
        let (parent, name) = at.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap()[name] = json!("x");
        assert!(
            matches!(step(&wanted, &object, false), Some(Step::Replace { .. })),
            "{at}"
        );
        assert!(
            matches!(step(&wanted, &object, true), Some(Step::Status { .. })),
            "{at}"
        );
    }
}

#[test]
fn what_a_status_says_of_objects_that_move_gets_their_new_uids() {
    let mut source = source();
    source["status"] = json!({
        "phase": "Running", "uid": "u-o", "nodeRef": { "kind": "Node", "name": "n", "uid": "u-n" },
        "remediations": [{ "uid": "u-o", "owner": "u-o", "failures": 2 }, { "uid": "u-x" }],
    });
    let early = wanted(source.clone());
    assert!(early.speaks_of(|uid| uid == "u-n") && !early.speaks_of(|uid| uid == "u-o"));
    let mut uids = uids();
    uids.insert("u-n".into(), "t-n".to_owned());
    let late = Wanted::new(&kind(true), source.clone(), &uids, false);
    assert!(!late.speaks_of(|uid| uid != "u-x"));
    let Some(Step::Create { body, .. }) = next(&late, None) else {
        panic!("it is to be created");
    };
    let mut object = created(&body);
    let Some(Step::Status { body, .. }) = step(&late, &object, true) else {
        panic!("its status is to be written");
    };
    // What is not called a UID, or does not move, stays.
    let status = json!({
        "phase": "Running", "uid": "t-o", "nodeRef": { "kind": "Node", "name": "n", "uid": "t-n" },
        "remediations": [{ "uid": "t-o", "owner": "u-o", "failures": 2 }, { "uid": "u-x" }],
    });
    assert_eq!(body["status"], status);
    // With the old ones it does not stand there as it should.
    object["status"] = source["status"].clone();
    assert_eq!(
        first_difference(&late, &object).as_deref(),
        Some("status.nodeRef.uid")
    );
    object["status"] = status;
    assert_eq!(first_difference(&late, &object), None);
}

#[test]
fn a_status_that_comes_later_is_not_missed_before() {
    let early = wanted(source()).without_status();
    let Some(Step::Create { body, .. }) = next(&early, None) else {
        panic!("it is to be created");
    };
    let object = created(&body);
    let seen = Seen {
        object: &object,
        written: true,
        owned: true,
    };
    assert_eq!(next(&early, Some(seen)), None);
    assert_eq!(first_difference(&early, &object), None);
}

#[test]
fn an_owner_that_does_not_move_is_none_any_more() {
    let wanted = Wanted::new(&kind(true), source(), &Uids::new(), false);
    let Some(Step::Create { body, .. }) = next(&wanted, None) else {
        panic!("it is to be created");
    };
    assert_eq!(body["metadata"]["ownerReferences"], Value::Null);
    assert!(!wanted.managed_fields.to_string().contains("u-o"));
}

#[test]
fn a_pause_for_the_time_of_the_move_keeps_what_the_user_wrote() {
    let wanted = Wanted::new(&kind(true), source(), &uids(), true);
    let annotations = &wanted.body["metadata"]["annotations"];
    assert_eq!(
        *annotations,
        json!({ "n": "2", "machine.crit.sh/paused": "", "cluster.x-k8s.io/paused": "" })
    );
    assert!(!is_paused(&source()));
    let mut paused = source();
    paused["metadata"]["annotations"]["cluster.x-k8s.io/paused"] = json!("by hand");
    assert!(is_paused(&paused));
}

#[test]
fn a_kind_without_a_status_of_its_own_and_a_node_take_it_along() {
    let whole = Wanted::new(&kind(false), source(), &uids(), false);
    assert_eq!(whole.body["status"]["phase"], "Running");
    let mut node = source();
    node["apiVersion"] = json!("v1");
    let Some(Step::Create { body, .. }) = next(&Wanted::new(&MovedKind::node(), node, &uids(), false), None)
    else {
        panic!("it is to be created");
    };
    assert_eq!(body["status"]["phase"], "Running");
}

#[test]
fn nothing_and_empty_are_the_same_and_numbers_are_compared_by_value() {
    let same = |a: Value, b: Value| value_difference(&a, &b, false).is_none();
    assert!(same(json!({ "a": {}, "b": null, "c": [] }), json!({})));
    assert!(same(json!(1), json!(1.0)) && !same(json!(1), json!(2)) && !same(json!("1"), json!(1)));
    // As floats these are equal.
    assert!(!same(
        json!(9_007_199_254_740_993_i64),
        json!(9_007_199_254_740_992_i64)
    ));
    assert!(!same(json!([1, 2]), json!([2, 1])) && !same(json!([1]), json!([1, 2])));
    assert_eq!(
        value_difference(&json!({ "a": [{ "b": 1 }] }), &json!({ "a": [{ "b": 2 }] }), true).as_deref(),
        Some(".a[0].b")
    );
}
