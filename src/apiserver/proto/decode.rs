//! From protocol buffers to JSON. It must not check what the values mean; what reads JSON does that.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value, json};

use super::fields::{Field, Kind, Shape, Table};
use super::reader::{Reader, Wire, WireError};
use super::{MAX_DEPTH, PREFIX};
use crate::time::Timestamp;

/// Why a body cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub(crate) struct Undecodable {
    /// The kind and version that the body says it has, if that much can be read.
    pub(crate) of: Option<(String, String)>,
    /// What is wrong.
    #[source]
    pub(crate) error: DecodeError,
}

/// What is wrong with a body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    /// There is nothing.
    #[error("empty data")]
    Empty,
    /// It does not begin as it must.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    NoPrefix,
    /// There is nothing after the beginning.
    #[error("empty body")]
    EmptyBody,
    /// The bytes are no message.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Messages within messages without end.
    #[error("proto: messages are nested too deeply (more than {MAX_DEPTH} levels)")]
    TooDeep,
    /// The kind is none that has a message.
    #[error(
        "no kind {kind:?} is registered for version {version:?} in scheme \"k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30\""
    )]
    NotRegistered {
        /// The kind that the body says it has.
        kind: String,
        /// Its group and version.
        version: String,
    },
    /// Custom resources have no messages.
    #[error("Object 'Kind' is missing in 'object has no kind field '")]
    Custom,
    /// A field that holds JSON holds something else.
    #[error("field {field} is not valid JSON: {source}")]
    Json {
        /// Its name.
        field: &'static str,
        /// What is wrong with the JSON.
        source: serde_json::Error,
    },
    /// A time that cannot be written as a date.
    #[error("field {0} is not a time between the years 1 and 9999")]
    Time(&'static str),
    /// A number that JSON does not have.
    #[error("field {0} is not a finite number")]
    Number(&'static str),
}

/// Reads an enveloped message. `default` are the apiVersion and kind of a body that does not say them.
///
/// # Errors
/// What is wrong with the bytes.
pub(crate) fn decode(bytes: &[u8], default: (&str, &str)) -> Result<Value, Undecodable> {
    let envelope = Envelope::open(bytes, default)?;
    let table = Table::get();
    let Some(message) = table.find(&envelope.api_version, &envelope.kind) else {
        let (kind, version) = (envelope.kind.clone(), envelope.api_version.clone());
        return Err(envelope.fault(DecodeError::NotRegistered { kind, version }));
    };
    let mut object = Map::new();
    read(table, message, envelope.raw, &mut object, 0).map_err(|e| envelope.fault(e))?;
    object.insert("apiVersion".to_owned(), envelope.api_version.into());
    object.insert("kind".to_owned(), envelope.kind.into());
    Ok(Value::Object(object))
}

/// Says why bytes are no custom resource: whatever is in the envelope, there is no message for it.
pub(crate) fn refuse(bytes: &[u8], default: (&str, &str)) -> Undecodable {
    match Envelope::open(bytes, default) {
        Ok(envelope) => envelope.fault(DecodeError::Custom),
        Err(fault) => fault,
    }
}

#[derive(Default)]
struct Envelope<'a> {
    api_version: String,
    kind: String,
    raw: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Takes the envelope off and fills in what it does not say.
    fn open(bytes: &'a [u8], default: (&str, &str)) -> Result<Self, Undecodable> {
        let unknown = |error| Undecodable { of: None, error };
        if bytes.is_empty() {
            return Err(unknown(DecodeError::Empty));
        }
        let body = bytes
            .strip_prefix(PREFIX)
            .ok_or_else(|| unknown(DecodeError::NoPrefix))?;
        if body.is_empty() {
            return Err(unknown(DecodeError::EmptyBody));
        }
        let mut envelope = Self::read(body).map_err(|e| unknown(e.into()))?;
        if envelope.api_version.is_empty() {
            default.0.clone_into(&mut envelope.api_version);
        }
        if envelope.kind.is_empty() {
            default.1.clone_into(&mut envelope.kind);
        }
        Ok(envelope)
    }

    /// Says what is wrong with what is in the envelope.
    fn fault(&self, error: DecodeError) -> Undecodable {
        let version = self.api_version.rsplit('/').next().unwrap_or_default();
        Undecodable {
            of: Some((self.kind.clone(), version.to_owned())),
            error,
        }
    }

    fn read(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut envelope = Self::default();
        let mut reader = Reader::new(bytes);
        while let Some((number, wire)) = reader.field()? {
            match number {
                1 => {
                    let mut meta = Reader::new(inner(wire, "TypeMeta")?);
                    while let Some((number, wire)) = meta.field()? {
                        match number {
                            1 => envelope.api_version = text(wire, "APIVersion")?,
                            2 => envelope.kind = text(wire, "Kind")?,
                            _ => {}
                        }
                    }
                }
                2 => envelope.raw = inner(wire, "Raw")?,
                _ => {}
            }
        }
        Ok(envelope)
    }
}

fn wrong(wire: Wire<'_>, field: &'static str) -> WireError {
    WireError::WrongWireType {
        wire: wire.number(),
        field,
    }
}

fn inner<'a>(wire: Wire<'a>, field: &'static str) -> Result<&'a [u8], WireError> {
    match wire {
        Wire::Bytes(bytes) => Ok(bytes),
        other => Err(wrong(other, field)),
    }
}

fn text(wire: Wire<'_>, field: &'static str) -> Result<String, WireError> {
    inner(wire, field).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

fn integer(wire: Wire<'_>, field: &'static str) -> Result<i64, WireError> {
    match wire {
        Wire::Varint(number) => Ok(number.cast_signed()),
        other => Err(wrong(other, field)),
    }
}

/// Cuts a number to 32 bits, as decoders do.
fn low_half(number: i64) -> i32 {
    let low = number.cast_unsigned() & u64::from(u32::MAX);
    u32::try_from(low).unwrap_or_default().cast_signed()
}

/// Reads the fields of a message into an object. Fields that come again replace or extend what was there.
fn read(
    table: &Table,
    message: usize,
    bytes: &[u8],
    into: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), DecodeError> {
    if depth > MAX_DEPTH {
        return Err(DecodeError::TooDeep);
    }
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        let Some(field) = table.fields(message).iter().find(|f| f.number == number) else {
            continue;
        };
        match (field.shape, field.kind) {
            (Shape::Inline, Kind::Message(embedded)) => {
                read(table, embedded, inner(wire, field.name)?, into, depth + 1)?;
            }
            (Shape::List, _) => read_items(table, field, wire, into, depth)?,
            (Shape::Map, _) => read_entry(table, field, wire, into, depth)?,
            (_, Kind::Message(of)) => {
                let there = into.entry(field.name).or_insert_with(|| json!({}));
                if let Value::Object(there) = there {
                    read(table, of, inner(wire, field.name)?, there, depth + 1)?;
                }
            }
            _ => {
                let value = value(table, field, wire, depth)?;
                if field.shape == Shape::OmitEmpty && is_zero(&value) {
                    into.remove(field.name);
                } else {
                    into.insert(field.name.to_owned(), value);
                }
            }
        }
    }
    Ok(())
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(_) | Value::Object(_) => false,
    }
}

/// Reads an item of a list, or many numbers in one piece.
fn read_items(
    table: &Table,
    field: &Field,
    wire: Wire<'_>,
    into: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), DecodeError> {
    let mut items = Vec::new();
    match (field.kind, wire) {
        (Kind::Bool | Kind::Int32 | Kind::Int64, Wire::Bytes(packed)) => {
            let mut packed = Reader::new(packed);
            while !packed.is_empty() {
                items.push(value(table, field, Wire::Varint(packed.varint()?), depth)?);
            }
        }
        (Kind::Double, Wire::Bytes(packed)) => {
            let mut packed = Reader::new(packed);
            while !packed.is_empty() {
                items.push(value(table, field, Wire::Fixed64(packed.fixed64()?), depth)?);
            }
        }
        _ => items.push(value(table, field, wire, depth)?),
    }
    if let Value::Array(list) = into.entry(field.name).or_insert_with(|| json!([])) {
        list.append(&mut items);
    }
    Ok(())
}

fn read_entry(
    table: &Table,
    field: &Field,
    wire: Wire<'_>,
    into: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), DecodeError> {
    let mut reader = Reader::new(inner(wire, field.name)?);
    let (mut key, mut content) = (String::new(), None);
    while let Some((number, wire)) = reader.field()? {
        match number {
            1 => key = text(wire, field.name)?,
            2 => content = Some(value(table, field, wire, depth)?),
            _ => {}
        }
    }
    let content = content.unwrap_or_else(|| zero(field.kind));
    if let Value::Object(map) = into.entry(field.name).or_insert_with(|| json!({})) {
        map.insert(key, content);
    }
    Ok(())
}

/// Returns what a value is that was never written.
fn zero(kind: Kind) -> Value {
    match kind {
        Kind::Text | Kind::Bytes => "".into(),
        Kind::Bool | Kind::SchemaOrBool => false.into(),
        Kind::Int32 | Kind::Int64 | Kind::Double | Kind::IntOrString => 0.into(),
        Kind::Quantity => "0".into(),
        Kind::Message(_) => json!({}),
        Kind::Texts
        | Kind::Time
        | Kind::MicroTime
        | Kind::Json
        | Kind::SchemaOrList
        | Kind::SchemaOrNames => Value::Null,
    }
}

fn value(table: &Table, field: &Field, wire: Wire<'_>, depth: usize) -> Result<Value, DecodeError> {
    let name = field.name;
    Ok(match field.kind {
        Kind::Text => text(wire, name)?.into(),
        Kind::Bool => (integer(wire, name)? != 0).into(),
        Kind::Int32 => low_half(integer(wire, name)?).into(),
        Kind::Int64 => integer(wire, name)?.into(),
        Kind::Double => match wire {
            Wire::Fixed64(bits) => double(f64::from_bits(bits)).ok_or(DecodeError::Number(name))?,
            other => return Err(wrong(other, name).into()),
        },
        Kind::Bytes => STANDARD.encode(inner(wire, name)?).into(),
        Kind::Texts => {
            let mut reader = Reader::new(inner(wire, name)?);
            let mut items: Vec<Value> = Vec::new();
            while let Some((number, wire)) = reader.field()? {
                if number == 1 {
                    items.push(text(wire, name)?.into());
                }
            }
            items.into()
        }
        Kind::Time => time(inner(wire, name)?, name, false)?,
        Kind::MicroTime => time(inner(wire, name)?, name, true)?,
        Kind::Quantity => match last(inner(wire, name)?, 1)? {
            Some(wire) => text(wire, name)?.into(),
            None => zero(field.kind),
        },
        Kind::IntOrString => int_or_string(inner(wire, name)?, name)?,
        Kind::Json => match last(inner(wire, name)?, 1)? {
            Some(wire) => json_of(inner(wire, name)?, name)?,
            None => Value::Null,
        },
        Kind::SchemaOrBool | Kind::SchemaOrList | Kind::SchemaOrNames => {
            choice(table, field, inner(wire, name)?, depth)?
        }
        Kind::Message(message) => {
            let mut object = Map::new();
            read(table, message, inner(wire, name)?, &mut object, depth + 1)?;
            object.into()
        }
    })
}

/// Returns the last content of a field; the others are overwritten by it.
fn last(bytes: &[u8], wanted: u32) -> Result<Option<Wire<'_>>, WireError> {
    let mut reader = Reader::new(bytes);
    let mut found = None;
    while let Some((number, wire)) = reader.field()? {
        if number == wanted {
            found = Some(wire);
        }
    }
    Ok(found)
}

/// Whole numbers are written without a fraction.
fn double(number: f64) -> Option<Value> {
    /// From here on not every whole number can be told from the next.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() < EXACT {
        return format!("{number:.0}").parse::<i64>().ok().map(Value::from);
    }
    Number::from_f64(number).map(Value::Number)
}

fn json_of(bytes: &[u8], field: &'static str) -> Result<Value, DecodeError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(bytes).map_err(|source| DecodeError::Json { field, source })
}

/// The moment zero, 1970, stands for no time at all.
fn time(bytes: &[u8], field: &'static str, micro: bool) -> Result<Value, DecodeError> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        match number {
            1 => seconds = integer(wire, field)?,
            2 => nanos = low_half(integer(wire, field)?),
            _ => {}
        }
    }
    if seconds == 0 && (nanos == 0 || !micro) {
        return Ok(Value::Null);
    }
    // Times of whole seconds have no smaller part, whatever the bytes say.
    let nanos = if micro { nanos } else { 0 };
    let moment = Timestamp::new(seconds, nanos).map_err(|_| DecodeError::Time(field))?;
    let form = if micro {
        "%Y-%m-%dT%H:%M:%S%.6fZ"
    } else {
        "%Y-%m-%dT%H:%M:%SZ"
    };
    let text = moment.strftime(form).to_string();
    if text.starts_with(['-', '+']) {
        return Err(DecodeError::Time(field));
    }
    Ok(text.into())
}

fn int_or_string(bytes: &[u8], field: &'static str) -> Result<Value, DecodeError> {
    let (mut is_text, mut number_value, mut text_value) = (false, 0, String::new());
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        match number {
            1 => is_text = integer(wire, field)? != 0,
            2 => number_value = low_half(integer(wire, field)?),
            3 => text_value = text(wire, field)?,
            _ => {}
        }
    }
    Ok(if is_text {
        text_value.into()
    } else {
        number_value.into()
    })
}

/// Reads a schema or what may stand in its place.
fn choice(table: &Table, field: &Field, bytes: &[u8], depth: usize) -> Result<Value, DecodeError> {
    let name = field.name;
    let (schema_number, other_number) = if field.kind == Kind::SchemaOrBool {
        (2, 1)
    } else {
        (1, 2)
    };
    let schema = |wire| -> Result<Value, DecodeError> {
        let mut object = Map::new();
        read(table, table.schema(), inner(wire, name)?, &mut object, depth + 1)?;
        Ok(object.into())
    };
    let (mut found, mut allows, mut items) = (None, false, Vec::new());
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        if number == schema_number {
            found = Some(schema(wire)?);
        } else if number == other_number {
            match field.kind {
                Kind::SchemaOrBool => allows = integer(wire, name)? != 0,
                Kind::SchemaOrList => items.push(schema(wire)?),
                _ => items.push(text(wire, name)?.into()),
            }
        }
    }
    Ok(match (found, field.kind) {
        (_, Kind::SchemaOrList | Kind::SchemaOrNames) if !items.is_empty() => items.into(),
        (Some(schema), _) => schema,
        (None, Kind::SchemaOrBool) => allows.into(),
        (None, _) => Value::Null,
    })
}
