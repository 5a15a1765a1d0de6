//! Tests of the schema room as a whole.
#![expect(
    clippy::needless_pass_by_value,
    reason = "test cases are written where they are used"
)]

use super::*;
use serde_json::json;

fn widget() -> Structural {
    let crd: Value =
        serde_json::from_str(include_str!("../../../tests/fixtures/widget-schema.json")).unwrap();
    Structural::compile(&crd).unwrap()
}

fn told(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn with_spec(spec: Value) -> Value {
    json!({"apiVersion": "differ.test/v1", "kind": "Widget", "metadata": {"name": "n"}, "spec": spec})
}

#[test]
fn unknown_fields_go_and_are_named() {
    let mut object = json!({
        "apiVersion": "differ.test/v1", "kind": "Widget", "metadata": {"name": "n", "odd": 1}, "extra": {"x": 1},
        "spec": {"size": 1, "unknown": 1, "free": {"any": {"thing": 1}}, "parts": [{"name": "p", "x": 1}]}
    });
    assert_eq!(
        widget().prune(&mut object),
        ["extra", "spec.parts[0].x", "spec.unknown"]
    );
    assert_eq!(
        object["spec"],
        json!({"size": 1, "free": {"any": {"thing": 1}}, "parts": [{"name": "p"}]})
    );
    assert_eq!(Structural::prune_metadata(&mut object), ["metadata.odd"]);
}

#[test]
fn nulls_and_defaults_follow_the_schema() {
    let mut object =
        with_spec(json!({"size": null, "nul": null, "nest": null, "parts": [{"name": "p", "n": null}]}));
    let schema = widget();
    schema.drop_nulls(&mut object);
    schema.apply_defaults(&mut object);
    let expected = json!({
        "nul": null, "nest": {"deep": "d"}, "parts": [{"name": "p", "n": 7}], "mode": "Safe", "replicas": 1
    });
    assert_eq!(object["spec"], expected);
}

#[test]
fn values_are_refused_in_the_words_of_kubernetes() {
    let cases = [
        (json!({}), "spec.size: Required value"),
        (
            json!({"size": -1}),
            "spec.size: Invalid value: -1: spec.size in body should be greater than or equal to 0",
        ),
        (
            json!({"size": 101}),
            "spec.size: Invalid value: 101: spec.size in body should be less than or equal to 100",
        ),
        (
            json!({"size": "x"}),
            r#"spec.size: Invalid value: "string": spec.size in body must be of type integer: "string""#,
        ),
        (
            json!({"size": 1, "mode": "Slow"}),
            r#"spec.mode: Unsupported value: "Slow": supported values: "Fast", "Safe""#,
        ),
        (
            json!({"size": 1, "pattern": "ABC"}),
            "spec.pattern: Invalid value: \"ABC\": spec.pattern in body should match '^[a-z]+$'",
        ),
        (
            json!({"size": 1, "pattern": "toolong"}),
            "spec.pattern: Too long: may not be more than 5 bytes",
        ),
        (
            json!({"size": 1, "when": "yesterday"}),
            r#"spec.when: Invalid value: "yesterday": spec.when in body must be of type date-time: "yesterday""#,
        ),
        (
            json!({"size": 1, "port": true}),
            r#"spec.port: Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean""#,
        ),
        (
            json!({"size": 1, "port": 1.5}),
            r#"spec.port: Invalid value: "number": spec.port in body must be of type integer,string: "number""#,
        ),
        (
            json!({"size": 1, "tags": ["a", "a"]}),
            r#"spec.tags[1]: Duplicate value: "a""#,
        ),
        (
            json!({"size": 1, "tags": ["a", "b", "c", "d", "e"]}),
            "spec.tags: Too many: 5: must have at most 4 items",
        ),
        (
            json!({"size": 1, "tags": [1]}),
            r#"spec.tags[0]: Invalid value: "integer": spec.tags[0] in body must be of type string: "integer""#,
        ),
        (
            json!({"size": 1, "parts": [{"name": "p"}, {"name": "p"}]}),
            r#"spec.parts[1]: Duplicate value: {"name":"p"}"#,
        ),
        (
            json!({"size": 1, "parts": [{"n": 1}]}),
            "spec.parts[0].name: Required value",
        ),
        (
            json!({"size": 1, "map": {"k": "v"}}),
            r#"spec.map.k: Invalid value: "string": spec.map.k in body must be of type integer: "string""#,
        ),
        (
            json!({"size": 1, "nest": []}),
            r#"spec.nest: Invalid value: "array": spec.nest in body must be of type object: "array""#,
        ),
        (
            json!({"size": 1, "replicas": 1_099_511_627_776_i64}),
            r#"<nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec.replicas"#,
        ),
    ];
    let schema = widget();
    for (spec, expected) in cases {
        assert_eq!(
            told(&schema.validate(&with_spec(spec.clone()), None)),
            [expected],
            "{spec}"
        );
    }
    let two = told(&schema.validate(&with_spec(json!({"size": 1.5})), None));
    let expected = [
        r#"spec.size: Invalid value: "number": spec.size in body must be of type integer: "number""#,
        r#"<nil>: Invalid value: "": Checked value must be of type integer (default format) in spec.size"#,
    ];
    assert_eq!(two, expected);
    let good =
        json!({"size": 7.0, "port": "http", "nul": null, "tags": ["a"], "when": "2026-01-02T03:04:05Z"});
    assert_eq!(
        told(&schema.validate(&with_spec(good), None)),
        Vec::<String>::new()
    );
}

#[test]
fn a_status_is_checked_alone() {
    let mut object = with_spec(json!({"size": -1}));
    object["status"] = json!({"phase": 5});
    let errors = widget().validate_status(&object, Some(&with_spec(json!({"size": -1}))));
    let expected =
        r#"status.phase: Invalid value: "integer": phase in body must be of type string: "integer""#;
    assert_eq!(told(&errors), [expected]);
}

#[test]
fn what_was_wrong_before_is_forgiven_on_update() {
    let schema = widget();
    let old = with_spec(json!({"size": 500, "mode": "Safe"}));
    let new = with_spec(json!({"size": 500, "mode": "Fast"}));
    assert_eq!(told(&schema.validate(&new, Some(&old))), Vec::<String>::new());
    let worse = with_spec(json!({"size": 501, "mode": "Fast"}));
    assert_eq!(schema.validate(&worse, Some(&old)).len(), 1);
    let parts = |n: i64| with_spec(json!({"size": 1, "parts": [{"name": "a", "n": n}, {"name": "a"}]}));
    assert_eq!(schema.validate(&parts(2), Some(&parts(1))), []);
}

#[test]
fn embedded_objects_keep_their_metadata_and_say_what_they_are() {
    let schema = Structural::compile(&json!({"type": "object", "properties": {"spec": {
        "type": "object", "x-kubernetes-embedded-resource": true, "properties": {"a": {"type": "string"}}}}}))
    .unwrap();
    let mut object = json!({"spec": {"kind": "A", "metadata": {"name": "x"}, "a": "", "b": ""}});
    assert_eq!(schema.prune(&mut object), ["spec.b"]);
    assert_eq!(
        object["spec"],
        json!({"kind": "A", "metadata": {"name": "x"}, "a": ""})
    );
    assert_eq!(
        told(&schema.validate(&object, None)),
        ["spec.apiVersion: Required value: must not be empty"]
    );
    assert_eq!(schema.validate(&object, Some(&object)), []);
}

#[test]
fn scales_read_their_replicas_strictly() {
    let told = |spec: Value| told(&Structural::scale_errors(&with_spec(spec), ".spec.replicas"));
    assert_eq!(
        told(json!({"replicas": -1})),
        [".spec.replicas: Invalid value: -1: should be a non-negative integer"]
    );
    assert_eq!(
        told(json!({"replicas": "1"})),
        [
            ".spec.replicas: Invalid value: 0: .spec.replicas accessor error: 1 is of the type string, expected int64"
        ]
    );
    assert_eq!(told(json!({})), Vec::<String>::new());
}

#[test]
fn alternatives_are_told_together() {
    let schema = Structural::compile(&json!({
        "type": "object",
        "properties": {"a": {
            "type": "object",
            "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}},
            "oneOf": [{"required": ["x"]}, {"required": ["y"]}]
        }}
    }))
    .unwrap();
    assert_eq!(schema.validate(&json!({"a": {"x": 1}}), None), []);
    let both = told(&schema.validate(&json!({"a": {"x": 1, "y": 1}}), None));
    let words = r#"<nil>: Invalid value: "": "a" must validate one and only one schema (oneOf). Found 2 valid alternatives"#;
    assert_eq!(both, [words]);
    let none = told(&schema.validate(&json!({"a": {}}), None));
    assert_eq!(none.len(), 2);
}

fn ruled(rule: Value) -> Structural {
    Structural::compile(&json!({
        "type": "object",
        "properties": {"spec": {
            "type": "object",
            "x-kubernetes-validations": [rule],
            "properties": {
                "min": {"type": "integer"}, "max": {"type": "integer"}, "class": {"type": "string"},
                "wait": {"type": "string", "format": "duration"}, "a-b": {"type": "string"},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}}
            }
        }}
    }))
    .unwrap()
}

#[test]
fn rules_speak_for_themselves() {
    let object = json!({"spec": {"min": 3, "max": 2}});
    let plain = ruled(json!({"rule": "self.min <= self.max"}));
    assert_eq!(
        told(&plain.validate(&object, None)),
        ["spec: Invalid value: failed rule: self.min <= self.max"]
    );
    let message = ruled(
        json!({"rule": "self.min <= self.max", "message": "too low", "fieldPath": ".max",
                               "reason": "FieldValueForbidden"}),
    );
    assert_eq!(
        told(&message.validate(&object, None)),
        ["spec.max: Forbidden: too low"]
    );
    let expression = ruled(json!({"rule": "self.min <= self.max",
                                  "messageExpression": "'max must be at least %d'.format([self.min])"}));
    assert_eq!(
        told(&expression.validate(&object, None)),
        ["spec: Invalid value: max must be at least 3"]
    );
    assert_eq!(plain.validate(&json!({"spec": {"min": 1, "max": 2}}), None), []);
}

#[test]
fn rules_know_names_formats_and_maps() {
    for (rule, spec, good) in [
        ("self.a__dash__b == 'x'", json!({"a-b": "x"}), true),
        ("self.wait > duration('1m')", json!({"wait": "90s"}), true),
        ("self.wait > duration('1m')", json!({"wait": "30s"}), false),
        (
            "self.labels.all(k, k.startsWith('a'))",
            json!({"labels": {"a-1": "", "ab": ""}}),
            true,
        ),
        ("!has(self.min)", json!({"min": 1}), false),
    ] {
        let errors = ruled(json!({"rule": rule})).validate(&json!({"spec": spec}), None);
        assert_eq!(errors.is_empty(), good, "{rule}: {errors:?}");
    }
}

#[test]
fn transition_rules_need_a_past() {
    let schema = ruled(json!({"rule": "self.class == oldSelf.class", "message": "class may not change"}));
    let of = |class: &str| json!({"spec": {"class": class}});
    assert_eq!(schema.validate(&of("a"), None), []);
    assert_eq!(schema.validate(&of("a"), Some(&of("a"))), []);
    assert_eq!(
        told(&schema.validate(&of("b"), Some(&of("a")))),
        ["spec: Invalid value: class may not change"]
    );
    let optional = ruled(json!({
        "rule": "oldSelf.hasValue() || self.class == 'first'", "optionalOldSelf": true, "message": "start with first"
    }));
    assert_eq!(
        told(&optional.validate(&of("a"), None)),
        ["spec: Invalid value: start with first"]
    );
    assert_eq!(optional.validate(&of("a"), Some(&of("first"))), []);
}

#[test]
fn broken_rules_wait_for_a_sound_object_and_unchanged_parts_are_forgiven() {
    let schema = ruled(json!({"rule": "self.min <= self.max"}));
    let errors = told(&schema.validate(&json!({"spec": {"min": "x"}}), None));
    assert_eq!(errors.len(), 2);
    assert!(errors[1].starts_with("<nil>: Invalid value: null: some validation rules were not checked"));
    let wrong = json!({"spec": {"min": 3, "max": 2}});
    assert_eq!(schema.validate(&wrong, Some(&wrong)), []);
}

#[test]
fn what_cannot_be_compiled_is_told() {
    let errors = Structural::compile(&json!({
        "type": "object",
        "properties": {"a": {"type": "text"}, "b": {"type": "string", "pattern": "("}},
        "x-kubernetes-validations": [{"rule": "self."}]
    }))
    .unwrap_err();
    let fields: Vec<&str> = errors.iter().map(|e| e.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "x-kubernetes-validations[0].rule",
            "properties[a].type",
            "properties[b].pattern"
        ]
    );
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    /// Objects that fit the widget only by chance.
    fn objects() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-3i64..300).prop_map(Value::from),
            "[a-c]{0,3}".prop_map(Value::from),
        ];
        let keys = prop::sample::select(vec![
            "spec",
            "status",
            "size",
            "mode",
            "nest",
            "deep",
            "parts",
            "name",
            "n",
            "tags",
            "map",
            "free",
            "nul",
            "x",
            "conditions",
            "type",
        ]);
        scalar.prop_recursive(4, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::btree_map(keys.clone(), inner, 0..5)
                    .prop_map(|m| m.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn pruning_twice_changes_nothing_more(mut object in objects()) {
            let schema = widget();
            schema.prune(&mut object);
            let once = object.clone();
            prop_assert!(schema.prune(&mut object).is_empty());
            prop_assert_eq!(object, once);
        }

        #[test]
        fn defaulting_twice_changes_nothing_more(mut object in objects()) {
            let schema = widget();
            schema.drop_nulls(&mut object);
            schema.apply_defaults(&mut object);
            let once = object.clone();
            schema.apply_defaults(&mut object);
            prop_assert_eq!(object, once);
        }

        #[test]
        fn checking_never_panics_and_an_unchanged_object_is_forgiven(object in objects()) {
            let schema = widget();
            let _errors = schema.validate(&object, None);
            prop_assert!(schema.validate(&object, Some(&object)).is_empty());
        }
    }
}

/// Large objects: what they take must not grow faster than they do. All bounds of time are far above what is needed, and far
/// below what it took to compare each with each.
mod large {
    use std::time::{Duration, Instant};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(40);

    /// A schema whose `spec` has a list `l` of this kind, and these rules.
    fn with_list(mut list: Value, rules: Value) -> Structural {
        list["type"] = json!("array");
        let mut spec = json!({"type": "object", "properties": {"l": list}});
        spec["x-kubernetes-validations"] = rules;
        Structural::compile(&json!({"type": "object", "properties": {"spec": spec}})).unwrap()
    }

    #[test]
    fn items_find_what_they_were() {
        let rule = json!([{"rule": "self.n >= 0 && oldSelf.n >= 0"}]);
        let item = json!({"type": "object", "properties": {"name": {"type": "string"}, "n": {"type": "integer"}},
                          "required": ["name"], "x-kubernetes-validations": rule});
        let schema = with_list(
            json!({"items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}),
            json!([]),
        );
        let items = (0..50_000).map(|n| json!({"name": format!("n{n}"), "n": n}));
        let old = with_spec(json!({"l": items.clone().collect::<Vec<_>>()}));
        let mut new = with_spec(json!({"l": items.rev().collect::<Vec<_>>()}));
        new["spec"]["l"][0]["n"] = json!(-1);
        let started = Instant::now();
        let words = "spec.l[0]: Invalid value: failed rule: self.n >= 0 && oldSelf.n >= 0";
        assert_eq!(told(&schema.validate(&new, Some(&old))), [words]);
        assert!(started.elapsed() < LIMIT, "{:?}", started.elapsed());
    }

    #[test]
    fn what_fails_is_compared_with_what_it_was_once() {
        let item = json!({"type": "integer", "x-kubernetes-validations": [{"rule": "self < 0"}]});
        let schema = with_list(json!({"items": item}), json!([]));
        let mut list: Vec<u32> = (0..60_000).collect();
        let old = with_spec(json!({"l": list}));
        let started = Instant::now();
        assert_eq!(told(&schema.validate(&old, Some(&old))), Vec::<String>::new());
        list[59_999] = 0;
        let new = with_spec(json!({"l": list}));
        assert_eq!(schema.validate(&new, Some(&old)).len(), 60_000);
        assert!(started.elapsed() < LIMIT, "{:?}", started.elapsed());
    }

    #[test]
    fn a_value_is_made_ready_once_for_all_its_rules() {
        let rule = json!({"rule": "self.l[0] >= 0 && oldSelf.l[0] >= 0"});
        let schema = with_list(json!({"items": {"type": "integer"}}), json!(vec![rule; 1000]));
        let object = with_spec(json!({"l": vec![1; 200_000]}));
        let started = Instant::now();
        assert_eq!(
            told(&schema.validate(&object, Some(&object))),
            Vec::<String>::new()
        );
        assert!(started.elapsed() < LIMIT, "{:?}", started.elapsed());
    }

    #[test]
    fn to_make_values_ready_is_not_free() {
        let rules = json!([{"rule": "has(self.l) || self.l[0] > 0"}]);
        let branch = json!({"x-kubernetes-validations": rules});
        let list = json!({"type": "array", "items": {"type": "integer"}});
        let schema = |branches: usize| {
            let spec = json!({"type": "object", "properties": {"l": list}, "allOf": vec![&branch; branches]});
            Structural::compile(&json!({"type": "object", "properties": {"spec": spec}})).unwrap()
        };
        let object = with_spec(json!({"l": vec![1; 200_000]}));
        assert_eq!(told(&schema(30).validate(&object, None)), Vec::<String>::new());
        let words = "spec: Invalid value: \"object\": validation failed due to running out of cost budget, no further validation rules will be run";
        assert_eq!(told(&schema(60).validate(&object, None)), [words]);
    }
}
