//! From the bytes of a request to an object in the form in which it is kept. It must not change anything else.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::super::builtin::ResourceInfo;
use super::super::object::meta;
use super::super::proto;
use super::super::schema::Structural;
use super::super::status::ApiError;
use super::options::Validation;
use super::{Call, MEDIA_TYPES};

/// How many fields that are not known are told (kube-apiserver: its JSON decoder).
const MOST_STRICT_ERRORS: usize = 100;
/// How many bytes of a body an error shows.
const SUMMARY: usize = 30;

/// Reads a body as JSON, YAML or protocol buffers.
pub(crate) fn parse(call: &Call, kind: &str) -> Result<Value, ApiError> {
    let unrecognized = |what: &str| {
        let message = format!(
            "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: {what} ({})",
            summary(&call.body)
        );
        ApiError::bad_request(message)
    };
    match call.content_type() {
        "" | "application/json" | "*/*" => {
            serde_json::from_slice(&call.body).map_err(|e| unrecognized(&json_problem(&call.body, &e)))
        }
        "application/yaml" => {
            let text = std::str::from_utf8(&call.body).map_err(|e| unrecognized(&e.to_string()))?;
            crate::yaml::from_str(text).map_err(|e| unrecognized(&e.to_string()))
        }
        proto::MEDIA_TYPE => {
            let version = default_version(&call.info, kind);
            let default = (version.as_str(), kind);
            // Custom resources have no protocol buffers; what else is sent to their paths has.
            let decoded = if call.info.custom && kind == call.info.kind {
                Err(proto::refuse(&call.body, default))
            } else {
                proto::decode(&call.body, default)
            };
            decoded.map_err(|e| undecodable(call, kind, &e))
        }
        _ => Err(ApiError::unsupported_media_type(&MEDIA_TYPES)),
    }
}

/// A JSON value without fields that are there twice.
pub(crate) struct Unique(pub(crate) Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(UniqueVisitor).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value without double fields")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Unique(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = serde_json::Map::new();
        while let Some((key, Unique(value))) = fields.next_entry::<String, Unique>()? {
            if map.insert(key, value).is_some() {
                return Err(de::Error::custom("a field is there twice"));
            }
        }
        Ok(Value::Object(map))
    }
}

/// Returns the version of a body that does not say it.
fn default_version(info: &ResourceInfo, kind: &str) -> String {
    let subresource = info.subresources.iter().find(|s| s.kind == kind);
    match (kind, subresource) {
        (_, Some(s)) if s.group.is_empty() => s.version.to_owned(),
        (_, Some(s)) => format!("{}/{}", s.group, s.version),
        ("DeleteOptions", None) => "meta.k8s.io/v1".to_owned(),
        ("Scale", None) => "autoscaling/v1".to_owned(),
        _ => info.api_version(),
    }
}

fn undecodable(call: &Call, kind: &str, problem: &proto::Undecodable) -> ApiError {
    ApiError::bad_request(match &problem.of {
        Some((given, version)) => {
            format!("{given} in version {version:?} cannot be handled as a {kind}: {problem}")
        }
        None => format!(
            "the object provided is unrecognized (must be of type {kind}): {problem} ({})",
            summary(&call.body)
        ),
    })
}

fn summary(body: &[u8]) -> String {
    if body.is_empty() {
        return "<empty>".to_owned();
    }
    let more = if body.len() > SUMMARY { " ..." } else { "" };
    if body[0] == b'{' {
        let text = String::from_utf8_lossy(&body[..body.len().min(SUMMARY)]).into_owned();
        return text + more;
    }
    let digit = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or('0');
    let hex: String = body
        .iter()
        .take(SUMMARY)
        .flat_map(|b| [digit(b >> 4), digit(b & 15)])
        .collect();
    hex + more
}

/// Says what is wrong with JSON as Go does, for the mistakes that are common.
pub(crate) fn json_problem(body: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    let column = error.column().saturating_sub(1);
    let line_start = body
        .split_inclusive(|b| *b == b'\n')
        .take(error.line().saturating_sub(1))
        .map(<[u8]>::len)
        .sum::<usize>();
    let found = body.get(line_start + column).copied().map_or(' ', char::from);
    let text = error.to_string();
    let place = if text.starts_with("key must be a string") {
        "looking for beginning of object key string"
    } else if text.starts_with("expected value") || text.starts_with("expected ident") {
        "looking for beginning of value"
    } else if text.starts_with("trailing characters") {
        "after top-level value"
    } else if text.starts_with("expected `:`") {
        "after object key"
    } else if text.starts_with("expected `,` or `}`") {
        "after object key:value pair"
    } else if text.starts_with("expected `,` or `]`") {
        "after array element"
    } else {
        return text;
    };
    format!("invalid character '{found}' {place}")
}

/// Checks that an object is of the kind that the path says, and gives it its type if it has none.
pub(crate) fn check_type(info: &ResourceInfo, object: &mut Value, body: &[u8]) -> Result<(), ApiError> {
    let text = |object: &Value, field: &str| {
        object
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let expected = info.api_version();
    let (mut version, mut kind) = (text(object, "apiVersion"), text(object, "kind"));
    if !object.is_object() {
        let message = format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }} ({})",
            info.kind,
            go_type(object),
            summary(body)
        );
        return Err(ApiError::bad_request(message));
    }
    if kind.is_empty() {
        if info.custom {
            let json = String::from_utf8_lossy(body);
            let message = format!(
                "the object provided is unrecognized (must be of type {}): Object 'Kind' is missing in '{json}' ({})",
                info.kind,
                summary(body)
            );
            return Err(ApiError::bad_request(message));
        }
        kind.clone_from(&info.kind);
    }
    if version.is_empty() && !info.custom {
        version.clone_from(&expected);
    }
    if info.custom {
        if version != expected {
            let message = format!(
                "the API version in the data ({version}) does not match the expected API version ({expected})"
            );
            return Err(ApiError::bad_request(message));
        }
    } else if version != expected || kind != info.kind {
        let short = version.rsplit('/').next().unwrap_or_default();
        let message = if version == expected {
            format!(
                "{kind} in version {short:?} cannot be handled as a {}: no kind {kind:?} is registered for version {version:?} in scheme \"k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30\"",
                info.kind
            )
        } else {
            let short = if version == "wrong/v1" || version.contains('/') {
                short
            } else {
                version.as_str()
            };
            format!(
                "{kind} in version {short:?} cannot be handled as a {}: no kind {kind:?} is registered for version {version:?} in scheme \"k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30\"",
                info.kind
            )
        };
        return Err(ApiError::bad_request(message));
    }
    object["apiVersion"] = Value::String(version);
    object["kind"] = Value::String(kind);
    Ok(())
}

/// Names the type of a JSON value as Go does.
pub(crate) fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Brings an object into the form in which it is kept: unknown fields dropped, defaults filled in.
/// Returns the paths of the fields that were dropped.
///
/// # Errors
/// What cannot be decoded, in Go's words.
pub(crate) fn normalise(info: &ResourceInfo, object: &mut Value) -> Result<Vec<String>, String> {
    let schema = info.schema();
    let mut unknown = schema.prune(object);
    unknown.extend(Structural::prune_metadata(object));
    if info.custom {
        schema.drop_nulls(object);
        schema.apply_defaults(object);
    }
    info.decode(object)?;
    meta::dedup_owners(object);
    Ok(unknown)
}

/// Reads an object that is to be stored. The client is warned of what was dropped.
pub(crate) fn object(call: &Call, validation: Validation) -> Result<Value, ApiError> {
    object_of(call, &call.info, validation)
}

/// Reads an object of another kind than that of the path.
pub(crate) fn object_of(call: &Call, info: &ResourceInfo, validation: Validation) -> Result<Value, ApiError> {
    let mut object = parse(call, &info.kind)?;
    // What a message of a known kind holds is known, or has been passed over.
    let validation = if call.content_type() == proto::MEDIA_TYPE {
        Validation::Ignore
    } else {
        validation
    };
    check_type(info, &mut object, &call.body)?;
    let cannot = |why: &str| {
        let message = format!(
            "{} in version {:?} cannot be handled as a {}: {why}",
            info.kind, info.version, info.kind
        );
        ApiError::bad_request(message)
    };
    let unknown = normalise(info, &mut object).map_err(|e| cannot(&e))?;
    call.warn(unknown_fields(&unknown, validation).map_err(|e| cannot(&e))?);
    Ok(object)
}

/// Says what unknown fields lead to: warnings, or an error in the API server's words.
pub(crate) fn unknown_fields(unknown: &[String], validation: Validation) -> Result<Vec<String>, String> {
    let told: Vec<String> = unknown
        .iter()
        .take(MOST_STRICT_ERRORS)
        .map(|field| format!("unknown field \"{field}\""))
        .collect();
    match validation {
        Validation::Ignore => Ok(Vec::new()),
        Validation::Strict if !told.is_empty() => Err(format!("strict decoding error: {}", told.join(", "))),
        Validation::Warn | Validation::Strict => Ok(told),
    }
}
