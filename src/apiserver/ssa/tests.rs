//! Tests of server-side apply.
#![expect(
    clippy::needless_pass_by_value,
    reason = "test cases are written where they are used"
)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::fieldset::FieldSet;
use super::*;

fn schema() -> Structural {
    let schema: Value =
        serde_json::from_str(include_str!("../../../tests/fixtures/widget-schema.json")).unwrap();
    Structural::compile(&schema).unwrap()
}

const VERSION: &str = "differ.test/v1";

fn manager(name: &str) -> Manager<'_> {
    Manager {
        name,
        api_version: VERSION,
        subresource: "",
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn widget(spec: Value) -> Value {
    json!({"apiVersion": VERSION, "kind": "Widget", "metadata": {"name": "n"}, "spec": spec})
}

fn applied(live: Option<&Value>, spec: Value, by: &str, force: bool, second: i64) -> Result<Value, SsaError> {
    apply(
        live,
        &widget(spec),
        &manager(by),
        &schema(),
        force,
        &[&["status"]],
        at(second),
    )
}

fn updated(live: Option<&Value>, mut new: Value, by: &str, second: i64) -> Value {
    track_update(
        live,
        &mut new,
        &manager(by),
        &schema(),
        &[&["status"]],
        at(second),
    );
    new
}

fn owned(object: &Value, by: &str) -> Value {
    let entries = object["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    entries
        .iter()
        .find(|e| e["manager"] == by)
        .map_or(Value::Null, |e| e["fieldsV1"].clone())
}

#[test]
fn a_field_applied_no_more_goes() {
    let first = applied(None, json!({"size": 1, "pattern": "a"}), "m1", false, 1).unwrap();
    let second = applied(Some(&first), json!({"size": 1}), "m1", false, 2).unwrap();
    assert_eq!(second["spec"].get("pattern"), None);
    assert_eq!(owned(&second, "m1"), json!({"f:spec": {"f:size": {}}}));
}

#[test]
fn a_field_that_two_own_stays_until_both_drop_it() {
    let first = applied(None, json!({"size": 1, "pattern": "a"}), "m1", false, 1).unwrap();
    let both = applied(Some(&first), json!({"size": 1, "pattern": "a"}), "m2", false, 2).unwrap();
    let one = applied(Some(&both), json!({"size": 1}), "m1", false, 3).unwrap();
    assert_eq!(one["spec"]["pattern"], "a");
    let none = applied(Some(&one), json!({"size": 1}), "m2", false, 4).unwrap();
    assert_eq!(none["spec"].get("pattern"), None);
}

#[test]
fn conflicts_name_the_owner_and_force_takes_over() {
    let first = applied(None, json!({"size": 1}), "m1", false, 1).unwrap();
    let error = applied(Some(&first), json!({"size": 2}), "m2", false, 2).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"Apply failed with 1 conflict: conflict with "m1": .spec.size"#
    );
    let forced = applied(Some(&first), json!({"size": 2}), "m2", true, 3).unwrap();
    assert_eq!(
        (owned(&forced, "m1"), &forced["spec"]["size"]),
        (Value::Null, &json!(2))
    );
    let live = updated(None, widget(json!({"size": 1, "mode": "Fast"})), "", 1);
    let error = applied(Some(&live), json!({"size": 2, "mode": "Safe"}), "m2", false, 2).unwrap_err();
    let words = "Apply failed with 2 conflicts: conflicts with \"unknown\" using differ.test/v1:\n- .spec.mode\n- .spec.size";
    assert_eq!(error.to_string(), words);
}

#[test]
fn times_change_only_with_the_fields() {
    let time = |object: &Value| object["metadata"]["managedFields"][0]["time"].clone();
    let first = applied(None, json!({"size": 1}), "m1", false, 1).unwrap();
    let again = applied(Some(&first), json!({"size": 1}), "m1", false, 50).unwrap();
    assert_eq!((time(&first), &again), (json!("1970-01-01T00:00:01Z"), &first));
    // Who comes to own what is there already changes nothing but the entry.
    let default = applied(Some(&first), json!({"size": 1, "mode": "Safe"}), "m1", false, 60).unwrap();
    assert_eq!(
        (time(&default), owned(&default, "m1")["f:spec"]["f:mode"].clone()),
        (time(&first), json!({}))
    );
    let changed = applied(Some(&first), json!({"size": 2}), "m1", false, 60).unwrap();
    assert_eq!(time(&changed), "1970-01-01T00:01:00Z");
    let live = updated(None, widget(json!({"size": 1})), "u", 1);
    assert_eq!(updated(Some(&live), live.clone(), "u", 9), live);
}

#[test]
fn what_was_there_before_the_first_apply_has_an_owner() {
    let live = widget(json!({"size": 1, "pattern": "a"}));
    let error = applied(Some(&live), json!({"size": 2}), "m1", false, 1).unwrap_err();
    let words = r#"Apply failed with 1 conflict: conflict with "before-first-apply" using differ.test/v1: .spec.size"#;
    assert_eq!(error.to_string(), words);
    let forced = applied(Some(&live), json!({"size": 2}), "m1", true, 1).unwrap();
    assert_eq!(
        owned(&forced, BEFORE_FIRST_APPLY),
        json!({"f:spec": {".": {}, "f:pattern": {}}})
    );
    assert_eq!(forced["spec"]["pattern"], "a");
}

#[test]
fn a_new_object_differs_from_an_empty_one() {
    let empty = json!({"apiVersion": VERSION, "kind": "Widget", "metadata": {}, "spec": {}});
    let made = updated(Some(&empty), widget(json!({"size": 1})), "u", 1);
    assert_eq!(owned(&made, "u"), json!({"f:spec": {"f:size": {}}}));
}

#[test]
fn users_may_forget_or_rewrite_the_managers() {
    let live = updated(None, widget(json!({"size": 1})), "u", 1);
    for reset in [json!([]), json!([{}])] {
        let mut new = live.clone();
        new["metadata"]["managedFields"] = reset;
        let mut live = live.clone();
        live["metadata"]["uid"] = json!("1");
        assert_eq!(
            updated(Some(&live), new, "u", 2)["metadata"].get("managedFields"),
            None
        );
    }
    let mut new = live.clone();
    new["metadata"]["managedFields"][0]["manager"] = json!("other");
    new["spec"]["size"] = json!(2);
    let after = updated(Some(&live), new, "u", 2);
    assert_eq!(owned(&after, "u"), json!({"f:spec": {"f:size": {}}}));
    assert_eq!(owned(&after, "other"), json!({"f:spec": {}}));
    let mut bare = widget(json!({"size": 1}));
    bare["metadata"]["uid"] = json!("1");
    assert_eq!(
        updated(Some(&bare), widget(json!({"size": 2})), "u", 3)["metadata"].get("managedFields"),
        None
    );
}

#[test]
fn reset_fields_have_no_owner() {
    let mut new = widget(json!({"size": 1}));
    new["status"] = json!({"phase": "x"});
    assert_eq!(
        owned(&updated(None, new.clone(), "u", 1), "u"),
        json!({"f:spec": {".": {}, "f:size": {}}})
    );
    let made = apply(None, &new, &manager("m"), &schema(), false, &[&["status"]], at(1)).unwrap();
    assert_eq!(owned(&made, "m"), json!({"f:spec": {"f:size": {}}}));
}

#[test]
fn senseless_applies_are_refused() {
    let schema = schema();
    let apply = |object: &Value| apply(None, object, &manager("m"), &schema, true, &[], at(1)).unwrap_err();
    let mut managed = widget(json!({"size": 1}));
    managed["metadata"]["managedFields"] = json!([]);
    assert_eq!(
        apply(&managed),
        SsaError::BadRequest("metadata.managedFields must be nil".into())
    );
    let mut other = widget(json!({"size": 1}));
    other["apiVersion"] = json!("differ.test/v2");
    let words = "invalid object type: differ.test/v2, Kind=Widget";
    assert_eq!(apply(&other), SsaError::BadRequest(words.into()));
    let words = "failed to create typed patch object (/n; differ.test/v1, Kind=Widget): .spec.unknown: field not declared in schema";
    assert_eq!(
        apply(&widget(json!({"unknown": 1}))),
        SsaError::Internal(words.into())
    );
    let words = "failed to create typed patch object (/n; differ.test/v1, Kind=Widget): .spec.tags: duplicate entries for key [=\"a\"]";
    assert_eq!(
        apply(&widget(json!({"tags": ["a", "a"]}))),
        SsaError::Internal(words.into())
    );
}

#[test]
fn owner_references_merge_whole() {
    let live = {
        let mut live = widget(json!({"size": 1}));
        live["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "A", "name": "a", "uid": "1"}]);
        updated(None, live, "u", 1)
    };
    let mut mine = widget(json!({"size": 1}));
    mine["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "B", "name": "b", "uid": "2"}]);
    let after = apply(Some(&live), &mine, &manager("m"), &schema(), false, &[], at(2)).unwrap();
    assert_eq!(after["metadata"]["ownerReferences"].as_array().unwrap().len(), 2);
    assert_eq!(
        owned(&after, "m")["f:metadata"],
        json!({"f:ownerReferences": {"k:{\"uid\":\"2\"}": {}}})
    );
}

#[test]
fn kubectl_takes_over_what_it_applied_on_the_client() {
    let mut live = widget(json!({"size": 1, "pattern": "a"}));
    let last = widget(json!({"size": 1})).to_string();
    live["metadata"]["annotations"] = json!({LAST_APPLIED: last});
    let live = updated(None, live, "kubectl-client-side-apply", 1);
    let mine = widget(json!({"size": 2}));
    let by = |name| apply(Some(&live), &mine, &manager(name), &schema(), false, &[], at(2));
    assert!(by("other").is_err());
    let after = by("kubectl").unwrap();
    assert_eq!(after["spec"]["size"], 2);
    let renewed: Value =
        serde_json::from_str(after["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap()).unwrap();
    assert_eq!(renewed, mine);
    let stranger = widget(json!({"size": 1, "pattern": "b"}));
    assert!(
        apply(
            Some(&live),
            &stranger,
            &manager("kubectl"),
            &schema(),
            false,
            &[],
            at(2)
        )
        .is_err()
    );
}

#[test]
fn entries_fit_a_schema_that_has_become_atomic() {
    let compile = |map_type: &str| {
        Structural::compile(&json!({"type": "object", "properties": {"spec": {
            "type": "object", "x-kubernetes-map-type": map_type, "properties": {"a": {"type": "string"}}}}}))
        .unwrap()
    };
    let object =
        json!({"apiVersion": VERSION, "kind": "Widget", "metadata": {"name": "n"}, "spec": {"a": "x"}});
    let live = apply(
        None,
        &object,
        &manager("m1"),
        &compile("granular"),
        false,
        &[],
        at(1),
    )
    .unwrap();
    assert_eq!(owned(&live, "m1"), json!({"f:spec": {"f:a": {}}}));
    let mut other = object.clone();
    other["spec"]["a"] = json!("y");
    let error = apply(
        Some(&live),
        &other,
        &manager("m2"),
        &compile("atomic"),
        false,
        &[],
        at(2),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"Apply failed with 1 conflict: conflict with "m1": .spec"#
    );
}

#[test]
fn kinds_without_a_schema_merge_maps() {
    let schema = Structural::preserve_all();
    let apply = |live: Option<&Value>, spec: Value, by: &str| {
        apply(live, &widget(spec), &manager(by), &schema, false, &[], at(1)).unwrap()
    };
    let first = apply(None, json!({"a": {"x": 1}, "l": [1]}), "m1");
    let second = apply(Some(&first), json!({"a": {"y": 2}}), "m2");
    assert_eq!(second["spec"], json!({"a": {"x": 1, "y": 2}, "l": [1]}));
}

/// Specs that fit the widget. Sets and lists that are maps are not empty: nobody owns such a list when it is.
fn specs() -> impl Strategy<Value = Value> {
    let part = ("[a-c]", prop::option::of(0i64..9)).prop_map(|(name, n)| (name, n));
    (
        (
            0i64..5,
            prop::option::of(prop::sample::select(vec!["Fast", "Safe"])),
        ),
        prop::option::of("[a-c]{1,3}"),
        prop::option::of(prop::collection::btree_set("[a-d]", 1..4)),
        prop::option::of(prop::collection::vec(part, 1..4)),
        prop::option::of(prop::collection::btree_map("[k-m]", 0i64..5, 0..3)),
        prop::option::of(prop::collection::vec(0i64..3, 0..3)),
    )
        .prop_map(|((size, mode), pattern, tags, parts, map, atoms)| {
            let mut spec = json!({"size": size});
            let mut set = |key: &str, value: Option<Value>| {
                if let Some(value) = value {
                    spec[key] = value;
                }
            };
            set("mode", mode.map(Value::from));
            set("pattern", pattern.map(Value::from));
            set("tags", tags.map(|t| json!(t)));
            set("map", map.map(|m| json!(m)));
            set("atoms", atoms.map(|a| json!(a)));
            set(
                "parts",
                parts.map(|parts| {
                    let mut seen = std::collections::BTreeMap::new();
                    for (name, n) in parts {
                        seen.insert(name, n);
                    }
                    let item = |(name, n): (String, Option<i64>)| match n {
                        Some(n) => json!({"name": name, "n": n}),
                        None => json!({"name": name}),
                    };
                    Value::Array(seen.into_iter().map(item).collect())
                }),
            );
            spec
        })
}

fn timeless(mut object: Value) -> Value {
    for entry in object["metadata"]["managedFields"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        entry["time"] = Value::Null;
    }
    object
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn applying_twice_changes_nothing_more(live in specs(), mine in specs()) {
        let live = updated(None, widget(live), "u", 1);
        let once = applied(Some(&live), mine.clone(), "m", true, 2).unwrap();
        let twice = applied(Some(&once), mine, "m", false, 3).unwrap();
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn what_is_applied_is_there(live in specs(), mine in specs()) {
        let live = updated(None, widget(live), "u", 1);
        let after = applied(Some(&live), mine.clone(), "m", true, 2).unwrap();
        for key in ["size", "mode", "pattern", "atoms"] {
            if let Some(value) = mine.get(key) {
                prop_assert_eq!(&after["spec"][key], value);
            }
        }
        for (key, value) in mine["map"].as_object().into_iter().flatten() {
            prop_assert_eq!(&after["spec"]["map"][key], value);
        }
        for tag in mine["tags"].as_array().into_iter().flatten() {
            prop_assert!(after["spec"]["tags"].as_array().unwrap().contains(tag));
        }
    }

    #[test]
    fn an_applier_that_drops_all_but_one_field_leaves_nothing(mine in specs()) {
        let first = applied(None, mine, "m", false, 1).unwrap();
        let after = applied(Some(&first), json!({"size": 1}), "m", false, 2).unwrap();
        prop_assert_eq!(&after["spec"], &json!({"size": 1, "mode": "Safe", "nest": {"deep": "d"}, "replicas": 1}));
        prop_assert_eq!(owned(&after, "m"), json!({"f:spec": {"f:size": {}}}));
    }

    #[test]
    fn what_another_owns_too_stays(mine in specs(), keep in 0usize..3) {
        let key = ["pattern", "tags", "map"][keep];
        let Some(value) = mine.get(key).cloned() else { return Ok(()) };
        let first = applied(None, mine.clone(), "m1", false, 1).unwrap();
        let mut theirs = json!({"size": mine["size"]});
        theirs[key] = value.clone();
        let both = applied(Some(&first), theirs, "m2", false, 2).unwrap();
        let after = applied(Some(&both), json!({"size": mine["size"]}), "m1", false, 3).unwrap();
        prop_assert_eq!(&after["spec"][key], &value);
    }

    #[test]
    fn applies_of_different_fields_commute(
        a in prop::collection::btree_map("[k-m]", 0i64..5, 1..3),
        b in prop::collection::btree_map("[p-r]", 0i64..5, 1..3),
    ) {
        let schema = schema();
        let run = |order: [(&str, &std::collections::BTreeMap<String, i64>); 2]| {
            let mut live = None;
            for (by, map) in order {
                let spec = json!({"map": map});
                let after =
                    apply(live.as_ref(), &widget(spec), &manager(by), &schema, false, &[], at(1)).unwrap();
                live = Some(after);
            }
            timeless(live.unwrap())
        };
        prop_assert_eq!(run([("a", &a), ("b", &b)]), run([("b", &b), ("a", &a)]));
    }

    #[test]
    fn an_updater_owns_just_what_differs(old in specs(), new in specs()) {
        let live = updated(None, widget(old.clone()), "u1", 1);
        let mut next = widget(new.clone());
        next["metadata"]["managedFields"] = live["metadata"]["managedFields"].clone();
        let after = updated(Some(&live), next, "u2", 2);
        let changed = old != new;
        let removed_only = owned(&after, "u2").is_null();
        prop_assert!(changed || removed_only);
        // Together they own what a single creator would own.
        let both = FieldSet::decode(&owned(&after, "u1")).unwrap().with(FieldSet::decode(&owned(&after, "u2")).unwrap());
        let creator = updated(None, widget(new), "u", 1);
        prop_assert_eq!(both.encode(), owned(&creator, "u"));
    }

    #[test]
    fn who_applies_all_of_the_last_time_again_takes_nothing_out(a in specs(), u in specs(), b in specs(), more in specs()) {
        let live = applied(None, a.clone(), "a", true, 1).unwrap();
        let mut next = widget(u);
        next["metadata"]["managedFields"] = live["metadata"]["managedFields"].clone();
        let live = updated(Some(&live), next, "u", 2);
        let live = applied(Some(&live), b, "b", true, 3).unwrap();
        let (schema, by) = (schema(), manager("a"));
        let job = Job { of: schema.merge_type(), manager: &by, reset: FieldSet::default(), now: at(4) };
        for again in [a, more] {
            let mut managers = Managers::of(&live).unwrap();
            let merged = typed::merge(job.of, &without_entries(&live), &widget(again.clone())).unwrap();
            let fields = typed::field_set(job.of, &widget(again));
            if let Some(before) = managers.0.remove(&by.key(Operation::Apply)) && fields.covers(&before.fields) {
                managers.0.insert(by.key(Operation::Apply), Owned { fields, ..before.clone() });
                prop_assert_eq!(job.pruned(&merged, &managers, &before.fields), merged);
            }
        }
    }

    #[test]
    fn fields_v1_of_anything_survives_a_round_trip(spec in specs()) {
        let object = updated(None, widget(spec), "u", 1);
        let fields = owned(&object, "u");
        prop_assert_eq!(FieldSet::decode(&fields).unwrap().encode(), fields);
    }
}
