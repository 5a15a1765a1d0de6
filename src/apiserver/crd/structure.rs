//! Whether a schema is structural: every value it speaks of has a type, and nothing in it hides one.

use kube_cel::cel::Value as CelValue;
use serde_json::{Map, Value, json};

use super::super::cel::{self, Budget, Program};
use super::super::schema::{FieldError, Structural};

const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];
/// Parts of JSON schema that Kubernetes does not have.
const UNKNOWN: &[&str] = &[
    "$ref",
    "definitions",
    "dependencies",
    "patternProperties",
    "additionalItems",
];
/// What may stand only outside `allOf`, `anyOf`, `oneOf` and `not`.
const STRUCTURE_ONLY: &[&str] = &[
    "type",
    "default",
    "nullable",
    "title",
    "description",
    "additionalProperties",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-int-or-string",
];

/// Says what is wrong with the schema at `path`. `status` tells whether the kind has a status subresource.
pub(super) fn check(schema: &Value, path: &str, status: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let kind = schema["type"].as_str().unwrap_or_default();
    if status && kind != "object" {
        errors.push(FieldError::invalid(
            format!("{path}.type"),
            kind,
            "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled",
        ));
    }
    node(schema, path, Place::Root, &mut errors);
    if !kind.is_empty() && kind != "object" {
        errors.push(FieldError::invalid(
            format!("{path}.type"),
            kind,
            "must be object at the root",
        ));
    }
    for (field, _) in schema
        .pointer("/properties/metadata/properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        if !matches!(field.as_str(), "name" | "generateName") {
            errors.push(FieldError::forbidden(
                format!("{path}.properties[metadata]"),
                "must not specify anything other than name and generateName, but metadata is implicitly specified",
            ));
            break;
        }
    }
    // Patterns, rules and nesting are checked by compiling; types were checked above.
    if errors.is_empty()
        && let Err(faults) = Structural::compile(schema)
    {
        errors.extend(faults.into_iter().map(|fault| placed(fault, schema, path)));
    }
    if errors.is_empty() {
        constant_rules(schema, path, &mut errors);
    }
    errors
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Property,
    Item,
}

fn flag(schema: &Value, field: &str) -> bool {
    schema[field] == true
}

fn node(schema: &Value, path: &str, place: Place, errors: &mut Vec<FieldError>) {
    let at = |field: &str| format!("{path}.{field}");
    let kind = schema["type"].as_str().unwrap_or_default();
    let free =
        flag(schema, "x-kubernetes-int-or-string") || flag(schema, "x-kubernetes-preserve-unknown-fields");
    impossible(schema, path, errors);
    if kind.is_empty() {
        if !free || place == Place::Root {
            let what = match place {
                Place::Root => "must not be empty at the root",
                Place::Property => "must not be empty for specified object fields",
                Place::Item => "must not be empty for specified array items",
            };
            errors.push(FieldError::required(at("type"), what));
        }
    } else if kind == "null" {
        errors.push(FieldError::forbidden(
            at("type"),
            "type cannot be set to null, use nullable as an alternative",
        ));
    } else if !TYPES.contains(&kind) {
        let known = TYPES.iter().map(|&t| t.to_owned()).collect();
        errors.push(FieldError::not_supported(at("type"), kind, known));
    }
    if kind == "array" && !schema["items"].is_object() {
        errors.push(FieldError::required(at("items"), "must be specified"));
    }
    if flag(schema, "x-kubernetes-int-or-string") && !kind.is_empty() {
        errors.push(FieldError::invalid(
            at("type"),
            kind,
            "must be empty if x-kubernetes-int-or-string is true",
        ));
    }
    if flag(schema, "x-kubernetes-preserve-unknown-fields") && !kind.is_empty() && kind != "object" {
        errors.push(FieldError::invalid(
            at("type"),
            kind,
            "must be object if x-kubernetes-preserve-unknown-fields is true",
        ));
    }
    if flag(schema, "x-kubernetes-embedded-resource") {
        if kind != "object" {
            errors.push(FieldError::invalid(
                at("type"),
                kind,
                "must be object if x-kubernetes-embedded-resource is true",
            ));
        }
        if !flag(schema, "x-kubernetes-preserve-unknown-fields")
            && schema["properties"].as_object().is_none_or(Map::is_empty)
        {
            errors.push(FieldError::required(
                at("properties"),
                "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
            ));
        }
    }
    lists(schema, path, kind, errors);
    default(schema, path, errors);
    for junctor in ["allOf", "anyOf", "oneOf"] {
        for (index, inner) in schema[junctor].as_array().into_iter().flatten().enumerate() {
            value_only(inner, &format!("{path}.{junctor}[{index}]"), errors);
        }
    }
    if schema["not"].is_object() {
        value_only(&schema["not"], &at("not"), errors);
    }
    children(schema, path, errors);
}

/// Refuses what no part of a schema may say.
fn impossible(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for field in UNKNOWN {
        if schema.get(*field).is_some_and(|value| !value.is_null()) {
            errors.push(FieldError::forbidden(
                format!("{path}.{field}"),
                format!("{field} is not supported"),
            ));
        }
    }
    if flag(schema, "uniqueItems") {
        errors.push(FieldError::forbidden(
            format!("{path}.uniqueItems"),
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ));
    }
}

fn children(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let properties = schema["properties"].as_object();
    match &schema["additionalProperties"] {
        Value::Bool(false) => errors.push(FieldError::forbidden(
            format!("{path}.additionalProperties"),
            "additionalProperties cannot be set to false",
        )),
        inner if !inner.is_null() => {
            if properties.is_some_and(|p| !p.is_empty()) {
                errors.push(FieldError::forbidden(
                    format!("{path}.additionalProperties"),
                    "additionalProperties and properties are mutual exclusive",
                ));
            }
            if inner.is_object() {
                node(
                    inner,
                    &format!("{path}.additionalProperties"),
                    Place::Property,
                    errors,
                );
            }
        }
        _ => {}
    }
    for (name, property) in properties.into_iter().flatten() {
        node(
            property,
            &format!("{path}.properties[{name}]"),
            Place::Property,
            errors,
        );
    }
    if schema["items"].is_object() {
        node(&schema["items"], &format!("{path}.items"), Place::Item, errors);
    } else if schema["items"].is_array() {
        errors.push(FieldError::forbidden(
            format!("{path}.items"),
            "items must be a schema object and not an array",
        ));
    }
}

fn lists(schema: &Value, path: &str, kind: &str, errors: &mut Vec<FieldError>) {
    let at = |field: &str| format!("{path}.{field}");
    let list_type = schema["x-kubernetes-list-type"].as_str().unwrap_or_default();
    let keys: Vec<&str> = schema["x-kubernetes-list-map-keys"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if !list_type.is_empty() && kind != "array" {
        errors.push(FieldError::invalid(
            at("type"),
            kind,
            "must be array if x-kubernetes-list-type is specified",
        ));
    }
    match schema["x-kubernetes-map-type"].as_str() {
        None => {}
        Some("granular" | "atomic") if kind == "object" => {}
        Some("granular" | "atomic") => errors.push(FieldError::invalid(
            at("type"),
            kind,
            "must be object if x-kubernetes-map-type is specified",
        )),
        Some(other) => errors.push(FieldError::not_supported(
            at("x-kubernetes-map-type"),
            other,
            vec!["atomic".to_owned(), "granular".to_owned()],
        )),
    }
    if list_type != "map" {
        if !keys.is_empty() {
            errors.push(FieldError::invalid(
                at("x-kubernetes-list-type"),
                list_type,
                "must be map if x-kubernetes-list-map-keys is non-empty",
            ));
        }
        return;
    }
    if keys.is_empty() {
        errors.push(FieldError::required(
            at("x-kubernetes-list-map-keys"),
            "must not be empty if x-kubernetes-list-type is map",
        ));
        return;
    }
    let items = &schema["items"];
    if items["type"] != "object" {
        errors.push(FieldError::invalid(
            at("items.type"),
            items["type"].clone(),
            "must be object if parent array's x-kubernetes-list-type is map",
        ));
    }
    let required: Vec<&str> = items["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut unknown = false;
    for (index, key) in keys.iter().enumerate() {
        if keys[..index].contains(key) {
            errors.push(FieldError::duplicate(
                format!("{path}.x-kubernetes-list-map-keys[{index}]"),
                *key,
            ));
        }
        let Some(property) = items["properties"].get(*key) else {
            unknown = true;
            continue;
        };
        let inside = format!("{path}.items.properties[{key}]");
        if matches!(property["type"].as_str(), Some("array" | "object")) {
            errors.push(FieldError::invalid(
                format!("{inside}.type"),
                property["type"].clone(),
                "must be a scalar type if parent array's x-kubernetes-list-type equals map",
            ));
        }
        if flag(property, "nullable") {
            errors.push(FieldError::forbidden(
                format!("{inside}.nullable"),
                "this property is in x-kubernetes-list-map-keys, so it cannot be nullable",
            ));
        }
        if property.get("default").is_none() && !required.contains(key) {
            errors.push(FieldError::required(
                format!("{inside}.default"),
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
            ));
        }
    }
    if unknown {
        errors.push(FieldError::invalid(
            at("x-kubernetes-list-map-keys"),
            json!(keys),
            "entries must all be names of item properties",
        ));
    }
}

/// A default must be a value that the schema itself accepts, without unknown fields.
fn default(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(value) = schema.get("default").filter(|value| !value.is_null()) else {
        return;
    };
    let Ok(own) = Structural::compile(schema) else {
        return;
    };
    let at = format!("{path}.default");
    let mut known = value.clone();
    own.prune_part(&mut known);
    if known != *value {
        errors.push(FieldError::invalid(
            &at,
            value.clone(),
            "must not have unknown fields",
        ));
    }
    let mut completed = value.clone();
    own.apply_defaults(&mut completed);
    errors.extend(own.value_errors(&completed, None).into_iter().map(|mut error| {
        error.field = if error.field == "<nil>" {
            at.clone()
        } else {
            format!("{at}.{}", error.field)
        };
        error
    }));
}

/// Checks what stands in a junctor: it says which values are good, not what fields there are.
fn value_only(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    impossible(schema, path, errors);
    for field in STRUCTURE_ONLY {
        // Both halves of int-or-string are told by their types.
        let int_or_string = *field == "type" && matches!(schema["type"].as_str(), Some("integer" | "string"));
        if schema.get(*field).is_some_and(|v| !v.is_null() && *v != false) && !int_or_string {
            errors.push(FieldError::forbidden(
                format!("{path}.{field}"),
                "must be empty to be structural",
            ));
        }
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        value_only(property, &format!("{path}.properties[{name}]"), errors);
    }
    if schema["items"].is_object() {
        value_only(&schema["items"], &format!("{path}.items"), errors);
    }
    for junctor in ["allOf", "anyOf", "oneOf"] {
        for (index, inner) in schema[junctor].as_array().into_iter().flatten().enumerate() {
            value_only(inner, &format!("{path}.{junctor}[{index}]"), errors);
        }
    }
    if schema["not"].is_object() {
        value_only(&schema["not"], &format!("{path}.not"), errors);
    }
}

/// Returns a rule as the API server shows it: with the Go names of its fields, in Go's order.
fn shown(rule: &Value) -> String {
    let text = |field: &str| json!(rule[field].as_str().unwrap_or_default());
    let value = |field: &str| rule.get(field).cloned().unwrap_or_default();
    format!(
        r#"{{"Rule":{},"Message":{},"MessageExpression":{},"Reason":{},"FieldPath":{},"OptionalOldSelf":{}}}"#,
        text("rule"),
        text("message"),
        text("messageExpression"),
        value("reason"),
        text("fieldPath"),
        value("optionalOldSelf")
    )
}

/// Puts a compiler's error at its place in the definition.
fn placed(mut fault: FieldError, schema: &Value, path: &str) -> FieldError {
    if let Some((before, rest)) = fault.field.split_once("x-kubernetes-validations[")
        && let Some(index) = rest
            .split(']')
            .next()
            .and_then(|index| index.parse::<usize>().ok())
        && let Some(rule) = follow(schema, before.trim_end_matches('.'))
            .and_then(|s| s["x-kubernetes-validations"].get(index))
    {
        fault.shown = Some(shown(rule));
    }
    fault.field = if fault.field == "<nil>" {
        path.to_owned()
    } else {
        format!("{path}.{}", fault.field)
    };
    fault
}

/// Finds the schema at a path such as `properties[spec].items`.
fn follow<'a>(schema: &'a Value, path: &str) -> Option<&'a Value> {
    let mut here = schema;
    for step in path.split('.').filter(|step| !step.is_empty()) {
        here = match step.split_once('[') {
            Some((list, key)) => {
                let key = key.trim_end_matches(']');
                let inner = here.get(list)?;
                key.parse::<usize>()
                    .ok()
                    .filter(|_| inner.is_array())
                    .map_or_else(|| inner.get(key), |i| inner.get(i))?
            }
            None => here.get(step)?,
        };
    }
    Some(here)
}

/// Finds rules that cannot be a verdict whatever the object is: arithmetic or literals at the top.
fn constant_rules(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (index, rule) in schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let source = rule["rule"].as_str().unwrap_or_default();
        if evaluates_to_no_verdict(source) {
            errors.push(FieldError {
                shown: Some(shown(rule)),
                ..FieldError::invalid(
                    format!("{path}.x-kubernetes-validations[{index}].rule"),
                    rule.clone(),
                    "cel expression must evaluate to a bool",
                )
            });
        }
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        constant_rules(property, &format!("{path}.properties[{name}]"), errors);
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            constant_rules(&schema[inner], &format!("{path}.{inner}"), errors);
        }
    }
}

fn evaluates_to_no_verdict(source: &str) -> bool {
    // Here no variable is known: an expression that names one does not compile.
    let Ok(program) = Program::compile(source, &[]) else {
        return false;
    };
    let value =
        cel::with_functions(|context| program.run(&context.new_inner_scope(), &mut Budget::of_a_constant()));
    value.is_ok_and(|value| !matches!(value, CelValue::Bool(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "spec.validation.openAPIV3Schema";

    fn told(schema: &Value) -> Vec<String> {
        check(schema, ROOT, true)
            .iter()
            .map(|e| e.to_string().replace(ROOT, "S"))
            .collect()
    }

    fn spec(spec: &Value) -> Value {
        json!({"type": "object", "properties": {"spec": spec}})
    }

    #[test]
    fn refusals_read_as_the_real_servers() {
        assert_eq!(
            told(&json!({"type": "array"})),
            [
                "S.type: Invalid value: \"array\": only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled",
                "S.items: Required value: must be specified",
                "S.type: Invalid value: \"array\": must be object at the root"
            ]
        );
        assert_eq!(
            told(&spec(&json!({"properties": {"a": {"type": "string"}}}))),
            ["S.properties[spec].type: Required value: must not be empty for specified object fields"]
        );
        assert_eq!(
            told(&spec(
                &json!({"type": "object", "properties": {"a": {"type": "string", "default": 5}}})
            )),
            [
                "S.properties[spec].properties[a].default: Invalid value: \"integer\":  in body must be of type string: \"integer\""
            ]
        );
        assert_eq!(
            told(&spec(
                &json!({"type": "object", "properties": {"l": {"type": "array", "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["zz"], "items": {"type": "object", "properties": {"a": {"type": "string"}}}}}})
            )),
            [
                "S.properties[spec].properties[l].x-kubernetes-list-map-keys: Invalid value: [\"zz\"]: entries must all be names of item properties"
            ]
        );
    }

    #[test]
    fn what_a_real_server_refuses_in_parts_is_refused() {
        assert_eq!(
            told(&spec(
                &json!({"type": "array", "items": {"type": "integer"}, "anyOf": [{"uniqueItems": true}]})
            )),
            [
                "S.properties[spec].anyOf[0].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
            ]
        );
        let part =
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "default": {"a": "x", "b": 1}});
        assert_eq!(
            told(&spec(&part)),
            [
                "S.properties[spec].default: Invalid value: {\"a\":\"x\",\"b\":1}: must not have unknown fields"
            ]
        );
        for free in [
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "default": {"b": 1}}),
            json!({"type": "object", "additionalProperties": {"type": "integer"}, "default": {"b": 1}}),
            json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true,
                "default": {"apiVersion": "v1", "kind": "A", "metadata": {"name": "a"}}}),
        ] {
            assert_eq!(told(&spec(&free)), Vec::<String>::new(), "{free}");
        }
    }

    #[test]
    fn rules_must_compile_and_judge() {
        let rules = |rule: &str| {
            told(&spec(
                &json!({"type": "object", "x-kubernetes-validations": [{"rule": rule}],
                "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}}),
            ))
        };
        assert_eq!(rules("self.a > 1"), Vec::<String>::new());
        assert_eq!(rules("has(self.b)"), Vec::<String>::new());
        let told = rules("1 + 1");
        assert!(
            told[0].starts_with("S.properties[spec].x-kubernetes-validations[0].rule: Invalid value: {"),
            "{told:?}"
        );
        assert!(
            told[0].ends_with(": cel expression must evaluate to a bool"),
            "{told:?}"
        );
        assert!(rules("duration('1s')")[0].ends_with("must evaluate to a bool"));
        let digits = "[0,1,2,3,4,5,6,7,8,9]";
        let endless = (0..12).fold("1".to_owned(), |inner, n| format!("{digits}.map(x{n}, {inner})"));
        let started = std::time::Instant::now();
        assert_eq!(
            rules(&endless),
            Vec::<String>::new(),
            "nobody waits for what it says"
        );
        assert!(started.elapsed() < std::time::Duration::from_secs(60));
        assert!(
            rules("bogus(")[0].contains("compilation failed"),
            "{:?}",
            rules("bogus(")
        );
    }

    #[test]
    fn a_sound_schema_passes() {
        assert_eq!(
            told(&spec(
                &json!({"type": "object", "properties": {"port": {"x-kubernetes-int-or-string": true,
                "anyOf": [{"type": "integer"}, {"type": "string"}]}, "free": {"x-kubernetes-preserve-unknown-fields": true},
                "map": {"type": "object", "additionalProperties": {"type": "integer"}}, "nest": {"type": "object",
                "default": {}, "properties": {"deep": {"type": "string", "default": "d"}}}}})
            )),
            Vec::<String>::new()
        );
    }
}
