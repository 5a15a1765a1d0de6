//! From JSON to protocol buffers. It must not fail: what does not fit its field is left out, as decoders take what is
//! not there for zero.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::PREFIX;
use super::fields::{Field, Kind, Shape, Table};
use crate::time::Timestamp;

/// Bytes of a message.
#[derive(Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            // Seven bits at a time, lowest first.
            self.0.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
            value >>= 7;
        }
        self.0.push(u8::try_from(value).unwrap_or_default());
    }

    fn tag(&mut self, field: u32, wire: u8) {
        self.varint(u64::from(field) << 3 | u64::from(wire));
    }

    pub(super) fn integer(&mut self, field: u32, value: i64) {
        self.tag(field, 0);
        self.varint(value.cast_unsigned());
    }

    pub(super) fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.tag(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn message(&mut self, field: u32, message: &Self) {
        self.bytes(field, &message.0);
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Returns the enveloped message of an object; nothing if its kind has none.
pub(super) fn encode(object: &Value) -> Option<Vec<u8>> {
    let field = |name| object.get(name).and_then(Value::as_str);
    let (version, kind) = (field("apiVersion")?, field("kind")?);
    let table = Table::get();
    let raw = write(table, table.find(version, kind)?, object.as_object()?);
    let mut meta = Message::default();
    meta.bytes(1, version.as_bytes());
    meta.bytes(2, kind.as_bytes());
    let mut envelope = Message(PREFIX.to_vec());
    envelope.message(1, &meta);
    envelope.message(2, &raw);
    // No encoding and no type of content: empty, but written, as by the API server.
    envelope.bytes(3, b"");
    envelope.bytes(4, b"");
    Some(envelope.into_bytes())
}

fn write(table: &Table, message: usize, object: &Map<String, Value>) -> Message {
    let mut out = Message::default();
    for field in table.fields(message) {
        if let (Shape::Inline, Kind::Message(embedded)) = (field.shape, field.kind) {
            let embedded = write(table, embedded, object);
            if !embedded.0.is_empty() {
                out.message(field.number, &embedded);
            }
            continue;
        }
        match (field.shape, object.get(field.name)) {
            (Shape::List, Some(Value::Array(items))) => {
                for item in items {
                    put(table, field, field.number, item, &mut out);
                }
            }
            (Shape::Map, Some(Value::Object(entries))) => {
                for (key, value) in entries {
                    let mut entry = Message::default();
                    entry.bytes(1, key.as_bytes());
                    put(table, field, 2, value, &mut entry);
                    out.message(field.number, &entry);
                }
            }
            (_, None | Some(Value::Null)) | (Shape::List | Shape::Map, Some(_)) => {}
            (_, Some(value)) => put(table, field, field.number, value, &mut out),
        }
    }
    out
}

/// Writes one value under a number.
fn put(table: &Table, field: &Field, number: u32, value: &Value, out: &mut Message) {
    match (field.kind, value) {
        (Kind::Text, Value::String(text)) => out.bytes(number, text.as_bytes()),
        (Kind::Bool, Value::Bool(value)) => out.integer(number, i64::from(*value)),
        (Kind::Int32 | Kind::Int64, Value::Number(value)) => {
            if let Some(value) = value.as_i64() {
                out.integer(number, value);
            }
        }
        (Kind::Double, Value::Number(value)) => {
            if let Some(value) = value.as_f64() {
                out.tag(number, 1);
                out.0.extend_from_slice(&value.to_le_bytes());
            }
        }
        (Kind::Bytes, Value::String(text)) => {
            if let Ok(bytes) = STANDARD.decode(text) {
                out.bytes(number, &bytes);
            }
        }
        (Kind::Json, value) => {
            let mut inner = Message::default();
            inner.bytes(1, value.to_string().as_bytes());
            out.message(number, &inner);
        }
        (kind, value) => {
            if let Some(inner) = inner(table, kind, value) {
                out.message(number, &inner);
            }
        }
    }
}

/// Returns the message of a value that is one.
fn inner(table: &Table, kind: Kind, value: &Value) -> Option<Message> {
    let mut out = Message::default();
    match (kind, value) {
        (Kind::Message(message), Value::Object(object)) => return Some(write(table, message, object)),
        (Kind::Texts, Value::Array(items)) => {
            for text in items.iter().filter_map(Value::as_str) {
                out.bytes(1, text.as_bytes());
            }
        }
        (Kind::Time | Kind::MicroTime, Value::String(text)) => {
            let moment: Timestamp = text.parse().ok()?;
            out.integer(1, moment.as_second());
            let nanos = if kind == Kind::MicroTime {
                moment.subsec_nanosecond()
            } else {
                0
            };
            out.integer(2, i64::from(nanos));
        }
        (Kind::Quantity, Value::String(text)) => out.bytes(1, text.as_bytes()),
        (Kind::IntOrString, Value::String(text)) => {
            out.integer(1, 1);
            out.integer(2, 0);
            out.bytes(3, text.as_bytes());
        }
        (Kind::IntOrString, Value::Number(value)) => {
            out.integer(1, 0);
            out.integer(2, value.as_i64()?);
            out.bytes(3, b"");
        }
        (Kind::SchemaOrBool, Value::Bool(allows)) => out.integer(1, i64::from(*allows)),
        (Kind::SchemaOrBool, Value::Object(schema)) => {
            // A schema allows what it describes.
            out.integer(1, 1);
            out.message(2, &write(table, table.schema(), schema));
        }
        (Kind::SchemaOrList | Kind::SchemaOrNames, Value::Object(schema)) => {
            out.message(1, &write(table, table.schema(), schema));
        }
        (Kind::SchemaOrList, Value::Array(schemas)) => {
            for schema in schemas.iter().filter_map(Value::as_object) {
                out.message(2, &write(table, table.schema(), schema));
            }
        }
        (Kind::SchemaOrNames, Value::Array(names)) => {
            for name in names.iter().filter_map(Value::as_str) {
                out.bytes(2, name.as_bytes());
            }
        }
        _ => return None,
    }
    Some(out)
}
