//! How objects of built-in kinds look on the wire: what the API server leaves out when empty, what it always writes,
//! and what it says of values of the wrong type. It follows the type definitions, so it must know no kind itself
//! beyond the tables of `habits`. It must not drop unknown fields; the schema does that.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};

use serde_json::{Map, Value, json};

use super::habits::{Habit, habits};
use super::schemas::{self, REFERENCE};
use super::{ResourceInfo, SchemaSource};
use crate::time::Timestamp;

impl ResourceInfo {
    /// Returns the name of the root type and the type definitions of a built-in kind; empty for custom ones.
    pub(crate) fn definitions(&self) -> (&'static str, &'static Map<String, Value>) {
        static NONE: OnceLock<Map<String, Value>> = OnceLock::new();
        let SchemaSource::Builtin(definition) = &self.source else {
            return ("", NONE.get_or_init(Map::new));
        };
        let known = self.wire.get_or_init(|| {
            let key = format!("{}/{}", self.group, self.kind);
            let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
            // The table of kinds is a constant, so what is leaked here is bounded by it.
            known.entry(key).or_insert_with(|| {
                let (name, map) = schemas::with_definitions(*definition);
                Box::leak(Box::new(Definitions { name, map }))
            })
        });
        (&known.name, &known.map)
    }

    /// Returns what the type definitions say of a field, such as `spec.holderIdentity`; the path itself if they say
    /// nothing.
    pub(crate) fn field_description(&self, path: &str) -> String {
        let (name, definitions) = self.definitions();
        let mut here = definitions.get(name);
        let mut said = None;
        for field in path.split('.') {
            let Some(property) = here.and_then(|d| d.get("properties")).and_then(|p| p.get(field)) else {
                break;
            };
            said = property.get("description").and_then(Value::as_str);
            here = reference(property)
                .and_then(|name| definitions.get(name))
                .or(Some(property));
            said = said.or_else(|| here.and_then(|d| d.get("description")).and_then(Value::as_str));
        }
        said.unwrap_or(path).to_owned()
    }
}

/// The type definitions of a built-in kind.
pub(in crate::apiserver) struct Definitions {
    name: String,
    map: Map<String, Value>,
}

/// Those that somebody has asked for. Versions of a kind share them.
static KNOWN: LazyLock<Mutex<HashMap<String, &'static Definitions>>> = LazyLock::new(Default::default);

/// Where the walk is, for messages: the innermost struct, and a field below what is above. At the root neither is.
#[derive(Clone, Copy, Default)]
struct At<'a> {
    struct_name: &'a str,
    above: Option<&'a Self>,
    field: &'a str,
}

impl At<'_> {
    fn is_root(&self) -> bool {
        self.above.is_none()
    }

    /// The path from the root.
    fn path(&self) -> String {
        match self.above {
            Some(above) if !above.is_root() => format!("{}.{}", above.path(), self.field),
            _ => self.field.to_owned(),
        }
    }
}

/// Brings an object into the form in which the API server writes it.
///
/// # Errors
/// What Go's decoder says of the first value of the wrong type.
pub(super) fn canonical(
    definitions: &Map<String, Value>,
    type_name: &str,
    object: &mut Value,
) -> Result<(), String> {
    let reference = json!({"$ref": format!("{REFERENCE}{type_name}")});
    walk(definitions, &reference, object, &At::default())
}

/// The same for the metadata of a custom resource, whose other fields have their own schema.
pub(super) fn canonical_metadata(object: &mut Value) -> Result<(), String> {
    static META: OnceLock<(String, Map<String, Value>)> = OnceLock::new();
    let (name, definitions) = META.get_or_init(|| {
        let definition: schemas::Definition =
            schemas::of::<k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta>;
        schemas::with_definitions(definition)
    });
    match object.get_mut("metadata") {
        None => {
            if let Some(object) = object.as_object_mut() {
                object.insert("metadata".to_owned(), json!({}));
            }
            Ok(())
        }
        Some(meta) => {
            if meta.is_null() {
                *meta = json!({});
            }
            canonical(definitions, name, meta)
        }
    }
}

fn short(type_name: &str) -> &str {
    type_name.rsplit('.').next().unwrap_or(type_name)
}

/// Returns the name of a type as Go prints it: `v1.PodSpec`.
fn go_struct(type_name: &str) -> String {
    let mut parts = type_name.rsplit('.');
    let (name, package) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!("{package}.{name}")
}

fn go_type(definitions: &Map<String, Value>, schema: &Value) -> String {
    if let Some(name) = reference(schema) {
        return match definitions
            .get(name)
            .and_then(|d| d.get("type"))
            .and_then(Value::as_str)
        {
            Some("object") | None => go_struct(name),
            Some(_) => "string".to_owned(),
        };
    }
    match (
        schema["type"].as_str().unwrap_or_default(),
        schema["format"].as_str().unwrap_or_default(),
    ) {
        ("string", "byte") => "[]uint8".to_owned(),
        ("integer", "int64") => "int64".to_owned(),
        ("integer", _) => "int32".to_owned(),
        ("number", _) => "float64".to_owned(),
        ("boolean", _) => "bool".to_owned(),
        ("array", _) => format!("[]{}", go_type(definitions, &schema["items"])),
        ("object", _) => format!(
            "map[string]{}",
            go_type(definitions, &schema["additionalProperties"])
        ),
        _ => "string".to_owned(),
    }
}

fn reference(schema: &Value) -> Option<&str> {
    schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|r| r.strip_prefix(REFERENCE))
}

/// Returns what Go's decoder calls a JSON value.
fn go_value(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn mismatch(value: &Value, wanted: &str, at: &At<'_>) -> String {
    let shown = match value {
        Value::Number(n) if wanted.starts_with("int") => format!("number {n}"),
        other => go_value(other).to_owned(),
    };
    if at.is_root() {
        format!("json: cannot unmarshal {shown} into Go value of type {wanted}")
    } else {
        format!(
            "json: cannot unmarshal {shown} into Go struct field {}.{} of type {wanted}",
            at.struct_name,
            at.path()
        )
    }
}

fn walk(
    definitions: &Map<String, Value>,
    schema: &Value,
    value: &mut Value,
    at: &At<'_>,
) -> Result<(), String> {
    if let Some(name) = reference(schema) {
        return walk_type(definitions, name, value, at);
    }
    let format = schema["format"].as_str().unwrap_or_default();
    match schema["type"].as_str().unwrap_or_default() {
        "string" => match value {
            Value::String(text) if format == "byte" => check_base64(text),
            Value::String(_) => Ok(()),
            other => Err(mismatch(other, &go_type(definitions, schema), at)),
        },
        "integer" => {
            let wanted = go_type(definitions, schema);
            let fits = value
                .as_i64()
                .is_some_and(|n| wanted != "int32" || i32::try_from(n).is_ok());
            if fits {
                Ok(())
            } else {
                Err(mismatch(value, &wanted, at))
            }
        }
        "number" if value.is_number() => Ok(()),
        "boolean" if value.is_boolean() => Ok(()),
        "array" => match value {
            Value::Array(items) => items
                .iter_mut()
                .try_for_each(|item| walk_item(definitions, &schema["items"], item, at)),
            other => Err(mismatch(other, &go_type(definitions, schema), at)),
        },
        "object" => match (value, schema.get("additionalProperties")) {
            (Value::Object(entries), Some(of)) => entries
                .values_mut()
                .try_for_each(|entry| walk_item(definitions, of, entry, at)),
            (Value::Object(_), None) => Ok(()),
            (other, _) => Err(mismatch(other, &go_type(definitions, schema), at)),
        },
        "number" | "boolean" => Err(mismatch(value, &go_type(definitions, schema), at)),
        _ => Ok(()),
    }
}

/// An item that is null becomes the zero value of its type, as in Go.
fn walk_item(
    definitions: &Map<String, Value>,
    schema: &Value,
    item: &mut Value,
    at: &At<'_>,
) -> Result<(), String> {
    if item.is_null() {
        *item = zero(definitions, schema);
    }
    if item.is_null() {
        Ok(())
    } else {
        walk(definitions, schema, item, at)
    }
}

fn walk_type(
    definitions: &Map<String, Value>,
    name: &str,
    value: &mut Value,
    at: &At<'_>,
) -> Result<(), String> {
    match short(name) {
        "Time" if name.contains(".meta.") => time(value, false),
        "MicroTime" => time(value, true),
        "IntOrString" => match value {
            Value::String(_) => Ok(()),
            Value::Number(n) if n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => Ok(()),
            other => Err(mismatch(other, "intstr.IntOrString", at)),
        },
        "Quantity" => quantity(value),
        "FieldsV1"
        | "RawExtension"
        | "JSON"
        | "JSONSchemaProps"
        | "JSONSchemaPropsOrArray"
        | "JSONSchemaPropsOrBool"
        | "JSONSchemaPropsOrStringArray" => Ok(()),
        _ => match definitions.get(name) {
            Some(definition) if definition.get("properties").is_some() => {
                walk_struct(definitions, name, definition, value, at)
            }
            Some(definition) if definition.get("type").is_some() => walk(definitions, definition, value, at),
            _ => Ok(()),
        },
    }
}

fn walk_struct(
    definitions: &Map<String, Value>,
    name: &str,
    definition: &Value,
    value: &mut Value,
    at: &At<'_>,
) -> Result<(), String> {
    let Value::Object(object) = value else {
        return Err(mismatch(value, &go_struct(name), at));
    };
    let short = short(name);
    let habits = habits(short);
    let has = |field: &str, habit: Habit| habits.contains(&(field, habit));
    let required = definition["required"].as_array().map_or(&[][..], Vec::as_slice);
    for (field, schema) in definition["properties"].as_object().into_iter().flatten() {
        let always = required.iter().any(|known| known == field)
            || (field == "metadata" && at.is_root())
            || has(field, Habit::Always);
        if object.get(field).is_none_or(Value::is_null) {
            object.remove(field);
            if always {
                object.insert(field.clone(), zero(definitions, schema));
            } else {
                continue;
            }
        }
        let Some(inner) = object.get_mut(field) else {
            continue;
        };
        if !inner.is_null() {
            let below = At {
                struct_name: short,
                above: Some(at),
                field,
            };
            walk(definitions, schema, inner, &below)?;
        }
        let empty = match &*inner {
            Value::String(text) => text.is_empty() && !has(field, Habit::KeptEmpty),
            Value::Array(items) => items.is_empty(),
            Value::Object(entries) => entries.is_empty() && is_map(schema),
            Value::Bool(false) => {
                // Nearly all sources of volumes have this as a plain value.
                (field == "readOnly" && !matches!(short, "AzureDiskVolumeSource" | "CSIVolumeSource"))
                    || has(field, Habit::DroppedZero)
            }
            Value::Number(n) => n.as_i64() == Some(0) && has(field, Habit::DroppedZero),
            _ => false,
        };
        if empty && !always {
            object.remove(field);
        }
    }
    Ok(())
}

fn is_map(schema: &Value) -> bool {
    reference(schema).is_none() && schema.get("additionalProperties").is_some()
}

/// Returns what Go writes for a value of this type that was never set.
fn zero(definitions: &Map<String, Value>, schema: &Value) -> Value {
    if let Some(name) = reference(schema) {
        return match short(name) {
            "IntOrString" => json!(0),
            "Quantity" => json!("0"),
            "Time" | "MicroTime" | "FieldsV1" | "RawExtension" | "JSON" | "JSONSchemaProps" => Value::Null,
            _ if definitions
                .get(name)
                .is_some_and(|d| d.get("properties").is_some()) =>
            {
                json!({})
            }
            _ => Value::Null,
        };
    }
    match schema["type"].as_str().unwrap_or_default() {
        "string" if schema["format"] == "byte" => Value::Null,
        "string" => json!(""),
        "integer" | "number" => json!(0),
        "boolean" => json!(false),
        _ => Value::Null,
    }
}

fn quantity(value: &mut Value) -> Result<(), String> {
    const WRONG: &str =
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
    match value {
        Value::Number(n) => {
            *value = n.to_string().into();
            Ok(())
        }
        Value::String(text) => {
            let number = text.trim_start_matches(['+', '-']);
            let digits = number
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .unwrap_or(number.len());
            let (number, suffix) = number.split_at(digits);
            let exponent = suffix
                .strip_prefix(['e', 'E'])
                .is_some_and(|e| e.trim_start_matches(['+', '-']).parse::<u32>().is_ok());
            let known = [
                "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei",
            ];
            if number.parse::<f64>().is_ok() && (exponent || known.contains(&suffix)) {
                Ok(())
            } else {
                Err(WRONG.to_owned())
            }
        }
        _ => Err(WRONG.to_owned()),
    }
}

/// Reads a time and writes it as the API server does: whole seconds, or microseconds, in UTC.
fn time(value: &mut Value, micro: bool) -> Result<(), String> {
    let Value::String(text) = value else {
        return Err(format!(
            "json: cannot unmarshal {} into Go value of type string",
            go_value(value)
        ));
    };
    if micro {
        check_micro_time(text)?;
    }
    let layout = if micro {
        "2006-01-02T15:04:05.000000Z07:00"
    } else {
        "2006-01-02T15:04:05Z07:00"
    };
    let parsed: Timestamp = match text.parse() {
        Ok(parsed) if text.len() >= 20 => parsed,
        _ => {
            return Err(format!(
                "parsing time {text:?} as {layout:?}: cannot parse {text:?} as \"2006\""
            ));
        }
    };
    if !micro && is_canonical(text) {
        return Ok(());
    }
    let form = if micro {
        "%Y-%m-%dT%H:%M:%S%.6fZ"
    } else {
        "%Y-%m-%dT%H:%M:%SZ"
    };
    *value = parsed.strftime(form).to_string().into();
    Ok(())
}

/// Whether a time that can be read is written as the API server writes it. A leap second is not.
fn is_canonical(text: &str) -> bool {
    let text = text.as_bytes();
    let marks = [
        (4, b'-'),
        (7, b'-'),
        (10, b'T'),
        (13, b':'),
        (16, b':'),
        (19, b'Z'),
    ];
    text.len() == 20 && marks.iter().all(|(at, mark)| text[*at] == *mark) && text[17] != b'6'
}

/// Microseconds must be written out with six digits.
fn check_micro_time(text: &str) -> Result<(), String> {
    let rest = match text.char_indices().nth(19) {
        Some((at, _)) if text.parse::<Timestamp>().is_ok() => &text[at..],
        _ => return Ok(()),
    };
    let digits = rest
        .strip_prefix('.')
        .map_or(0, |rest| rest.chars().take_while(char::is_ascii_digit).count());
    if digits == 6 {
        return Ok(());
    }
    Err(format!(
        "parsing time {text:?} as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse {rest:?} as \".000000\""
    ))
}

/// Checks base64 as Go's decoder does, with its position of the first fault.
fn check_base64(text: &str) -> Result<(), String> {
    let fault = |at: usize| Err(format!("illegal base64 data at input byte {at}"));
    let bytes = text.as_bytes();
    let newline = |at: usize| matches!(bytes.get(at), Some(b'\n' | b'\r'));
    let (mut at, mut digits) = (0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'\n' | b'\r' => {}
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => digits = (digits + 1) % 4,
            b'=' if digits >= 2 => {
                at += 1;
                if digits == 2 {
                    while newline(at) {
                        at += 1;
                    }
                    match bytes.get(at) {
                        None => return fault(bytes.len()),
                        Some(b'=') => at += 1,
                        Some(_) => return fault(at - 1),
                    }
                }
                while newline(at) {
                    at += 1;
                }
                return if at < bytes.len() { fault(at) } else { Ok(()) };
            }
            _ => return fault(at),
        }
        at += 1;
    }
    if digits == 0 {
        Ok(())
    } else {
        fault(bytes.len() - digits)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Registry;
    use super::*;

    fn decode(plural: &str, mut object: Value) -> Result<Value, String> {
        let registry = Registry::builtin();
        let info = registry
            .all()
            .iter()
            .find(|r| r.plural == plural)
            .expect("served")
            .clone();
        let (name, definitions) = info.definitions();
        canonical(definitions, name, &mut object).map(|()| object)
    }

    #[test]
    fn wrong_types_are_told_in_gos_words() {
        assert_eq!(
            decode("configmaps", json!({"data": {"n": 5}})).expect_err("number"),
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"
        );
        assert_eq!(
            decode("deployments", json!({"spec": {"replicas": "3"}})).expect_err("string"),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"
        );
    }

    #[test]
    fn base64_faults_are_found_where_go_finds_them() {
        for (text, at) in [
            ("not base64!", 3),
            ("1", 0),
            ("dg=", 3),
            ("dg==x", 4),
            ("=", 0),
            ("abcdef", 4),
        ] {
            assert_eq!(
                check_base64(text),
                Err(format!("illegal base64 data at input byte {at}")),
                "{text}"
            );
        }
        assert_eq!(check_base64("dg==\n"), Ok(()));
    }

    #[test]
    fn empty_values_are_left_out_and_constant_ones_written() {
        let object = decode(
            "configmaps",
            json!({"data": {}, "immutable": false, "metadata": {"labels": {}, "namespace": ""}}),
        )
        .expect("fits");
        assert_eq!(object, json!({"immutable": false, "metadata": {}}));
        let lease = decode("leases", json!({})).expect("fits");
        assert_eq!(lease, json!({"metadata": {}, "spec": {}}));
        let node = decode("nodes", json!({"spec": {"unschedulable": false}})).expect("fits");
        assert_eq!(
            node.pointer("/status/daemonEndpoints/kubeletEndpoint/Port"),
            Some(&json!(0))
        );
        assert_eq!(node["spec"], json!({}));
        let event = decode("events", json!({"involvedObject": {}})).expect("fits");
        assert_eq!(
            (&event["source"], &event["firstTimestamp"]),
            (&json!({}), &Value::Null)
        );
    }

    #[test]
    fn times_are_brought_to_utc() {
        let spec = |time: &str| json!({"spec": {"acquireTime": time}});
        let told = |time: &str| decode("leases", spec(time)).expect_err("bad time");
        assert_eq!(
            told("x"),
            "parsing time \"x\" as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse \"x\" as \"2006\""
        );
        assert_eq!(
            told("2026-01-01T00:00:00Z"),
            "parsing time \"2026-01-01T00:00:00Z\" as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse \"Z\" as \".000000\""
        );
        assert_eq!(
            decode("leases", spec("2026-01-01T01:00:00.000000+01:00")).expect("time")["spec"]["acquireTime"],
            "2026-01-01T00:00:00.000000Z"
        );
        for (time, wanted) in [
            ("2026-01-01T01:00:00Z", "2026-01-01T01:00:00Z"),
            ("2026-01-01t01:00:00z", "2026-01-01T01:00:00Z"),
            ("2026-01-01T01:00:00.5Z", "2026-01-01T01:00:00Z"),
            ("2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00Z"),
        ] {
            let object = json!({"metadata": {"creationTimestamp": time}});
            let decoded = decode("configmaps", object).expect("time");
            assert_eq!(decoded["metadata"]["creationTimestamp"], wanted);
        }
    }
}
