//! Objects in the binary form that typed Go clients send, turned into JSON. Answers are always JSON, which those
//! clients read as well; so nothing is encoded here.

use std::collections::HashMap;
use std::sync::LazyLock;

use base64::Engine as _;
use serde_json::{Map, Value, json};

use crate::time::Timestamp;

/// The media type of the binary form.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
const MAGIC: &[u8] = b"k8s\0";
/// Messages within messages; no kind comes near it.
const DEPTH: usize = 64;

static TABLE: LazyLock<HashMap<&str, Vec<Field>>> = LazyLock::new(|| {
    include_str!("schemas/protobuf.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.filter_map(Field::parse).collect()))
        })
        .collect()
});

/// Why bytes could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtobufError {
    /// The bytes do not begin as objects in this form do.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Prefix,
    /// The bytes end too early or mean nothing.
    #[error("proto: illegal wireType or unexpected EOF")]
    Malformed,
    /// The server does not know this kind in this form.
    #[error("no kind {kind:?} is registered for version {api_version:?}")]
    Unknown {
        /// Version that the object says it has.
        api_version: String,
        /// Kind that the object says it is.
        kind: String,
    },
}

struct Field {
    /// Empty: the fields of this message belong to the outer one.
    name: &'static str,
    number: u64,
    repeated: bool,
    map: bool,
    kind: &'static str,
}

impl Field {
    fn parse(word: &'static str) -> Option<Self> {
        let (name, rest) = word.split_once('=')?;
        let (number, kind) = rest.split_once(':')?;
        let (repeated, kind) = kind.strip_prefix('*').map_or((false, kind), |kind| (true, kind));
        let (map, kind) = kind.strip_prefix('@').map_or((false, kind), |kind| (true, kind));
        Some(Self {
            name: if name == "~" { "" } else { name },
            number: number.parse().ok()?,
            repeated,
            map,
            kind,
        })
    }
}

/// One field as it stands in the bytes.
enum Raw<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(ProtobufError::Malformed)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(ProtobufError::Malformed)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], ProtobufError> {
        let length = usize::try_from(length)
            .ok()
            .filter(|l| *l <= self.0.len())
            .ok_or(ProtobufError::Malformed)?;
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(taken)
    }

    fn next(&mut self) -> Result<Option<(u64, Raw<'a>)>, ProtobufError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let raw = match key & 7 {
            0 => Raw::Number(self.varint()?),
            1 => Raw::Number(
                self.take(8)?
                    .try_into()
                    .map(u64::from_le_bytes)
                    .map_err(|_| ProtobufError::Malformed)?,
            ),
            2 => {
                let length = self.varint()?;
                Raw::Bytes(self.take(length)?)
            }
            5 => Raw::Bytes(self.take(4)?),
            _ => return Err(ProtobufError::Malformed),
        };
        Ok(Some((key >> 3, raw)))
    }
}

fn text(bytes: &[u8]) -> Value {
    String::from_utf8_lossy(bytes).into_owned().into()
}

/// Reads an object in its envelope.
///
/// # Errors
/// The bytes are no such object, or one of an unknown kind.
pub(crate) fn decode(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let mut envelope = Reader(bytes.strip_prefix(MAGIC).ok_or(ProtobufError::Prefix)?);
    let (mut api_version, mut kind, mut content) = (String::new(), String::new(), &[][..]);
    while let Some((number, raw)) = envelope.next()? {
        match (number, raw) {
            (1, Raw::Bytes(meta)) => {
                let mut meta = Reader(meta);
                while let Some((number, raw)) = meta.next()? {
                    let into = if number == 1 { &mut api_version } else { &mut kind };
                    if let Raw::Bytes(bytes) = raw {
                        *into = String::from_utf8_lossy(bytes).into_owned();
                    }
                }
            }
            (2, Raw::Bytes(bytes)) => content = bytes,
            _ => {}
        }
    }
    let Some(name) = message_name(&api_version, &kind) else {
        return Err(ProtobufError::Unknown { api_version, kind });
    };
    let mut object = Map::new();
    object.insert("apiVersion".to_owned(), api_version.into());
    object.insert("kind".to_owned(), kind.into());
    read_into(name, content, &mut object, 0)?;
    Ok(Value::Object(object))
}

fn message_name(api_version: &str, kind: &str) -> Option<&'static str> {
    let (group, version) = api_version.split_once('/').unwrap_or(("core", api_version));
    let package = group.split('.').next().unwrap_or_default();
    let own = format!("{package}.{version}.{kind}");
    let known = |name: &str| TABLE.get_key_value(name).map(|(key, _)| *key);
    // Options of deletion come under any group.
    known(&own).or_else(|| {
        if kind == "DeleteOptions" {
            known("meta.v1.DeleteOptions")
        } else {
            None
        }
    })
}

fn read_into(
    name: &str,
    bytes: &[u8],
    object: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtobufError> {
    let fields = TABLE.get(name).map_or(&[][..], Vec::as_slice);
    if depth > DEPTH {
        return Err(ProtobufError::Malformed);
    }
    let mut reader = Reader(bytes);
    while let Some((number, raw)) = reader.next()? {
        let Some(field) = fields.iter().find(|field| field.number == number) else {
            continue;
        };
        if field.name.is_empty() {
            if let Raw::Bytes(bytes) = raw {
                read_into(field.kind, bytes, object, depth + 1)?;
            }
        } else if field.map {
            let Raw::Bytes(bytes) = raw else {
                return Err(ProtobufError::Malformed);
            };
            let (key, value) = entry(field.kind, bytes, depth)?;
            let map = object.entry(field.name).or_insert_with(|| json!({}));
            if let Some(map) = map.as_object_mut() {
                map.insert(key, value);
            }
        } else {
            let value = value(field.kind, &raw, depth)?;
            if field.repeated {
                let list = object.entry(field.name).or_insert_with(|| json!([]));
                if let Some(list) = list.as_array_mut() {
                    list.push(value);
                }
            } else {
                object.insert(field.name.to_owned(), value);
            }
        }
    }
    Ok(())
}

fn entry(kind: &str, bytes: &[u8], depth: usize) -> Result<(String, Value), ProtobufError> {
    let (mut key, mut found) = (String::new(), value(kind, &Raw::Bytes(&[]), depth)?);
    let mut reader = Reader(bytes);
    while let Some((number, raw)) = reader.next()? {
        match (number, &raw) {
            (1, Raw::Bytes(bytes)) => key = String::from_utf8_lossy(bytes).into_owned(),
            (2, _) => found = value(kind, &raw, depth)?,
            _ => {}
        }
    }
    Ok((key, found))
}

fn value(kind: &str, raw: &Raw<'_>, depth: usize) -> Result<Value, ProtobufError> {
    let bytes = match raw {
        Raw::Number(number) => {
            return Ok(match kind {
                "t" => (*number != 0).into(),
                "d" => json!(f64::from_bits(*number)),
                // Negative numbers of both sizes are written as 64 bits.
                _ => number.cast_signed().into(),
            });
        }
        Raw::Bytes(bytes) => *bytes,
    };
    Ok(match kind.rsplit('.').next().unwrap_or(kind) {
        "s" => text(bytes),
        "b" => base64::engine::general_purpose::STANDARD.encode(bytes).into(),
        "Time" => time(bytes, "%Y-%m-%dT%H:%M:%SZ")?,
        "MicroTime" => time(bytes, "%Y-%m-%dT%H:%M:%S%.6fZ")?,
        "Quantity" => single(bytes)?.map_or_else(|| json!("0"), text),
        "FieldsV1" | "RawExtension" => single(bytes)?
            .and_then(|json| serde_json::from_slice(json).ok())
            .unwrap_or(Value::Null),
        "IntOrString" => int_or_string(bytes)?,
        "ExtraValue" => {
            let mut items = Vec::new();
            let mut reader = Reader(bytes);
            while let Some((_, raw)) = reader.next()? {
                if let Raw::Bytes(bytes) = raw {
                    items.push(text(bytes));
                }
            }
            items.into()
        }
        _ => {
            let mut object = Map::new();
            read_into(kind, bytes, &mut object, depth + 1)?;
            Value::Object(object)
        }
    })
}

/// Returns the content of a message that has but one field.
fn single(bytes: &[u8]) -> Result<Option<&[u8]>, ProtobufError> {
    let mut reader = Reader(bytes);
    let mut found = None;
    while let Some((number, raw)) = reader.next()? {
        if let (1, Raw::Bytes(bytes)) = (number, raw) {
            found = Some(bytes);
        }
    }
    Ok(found)
}

fn time(bytes: &[u8], form: &str) -> Result<Value, ProtobufError> {
    let (mut seconds, mut nanos) = (None, 0);
    let mut reader = Reader(bytes);
    while let Some((number, raw)) = reader.next()? {
        if let Raw::Number(value) = raw {
            match number {
                1 => seconds = Some(value.cast_signed()),
                _ => nanos = i32::try_from(value).unwrap_or(0),
            }
        }
    }
    // A time that was never set is empty.
    let Some(seconds) = seconds else {
        return Ok(Value::Null);
    };
    let moment = Timestamp::new(seconds, nanos).map_err(|_| ProtobufError::Malformed)?;
    Ok(moment.strftime(form).to_string().into())
}

fn int_or_string(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let (mut is_text, mut number, mut string) = (false, 0, Value::from(""));
    let mut reader = Reader(bytes);
    while let Some((field, raw)) = reader.next()? {
        match (field, raw) {
            (1, Raw::Number(kind)) => is_text = kind != 0,
            (2, Raw::Number(value)) => number = value.cast_signed(),
            (3, Raw::Bytes(bytes)) => string = text(bytes),
            _ => {}
        }
    }
    Ok(if is_text { string } else { number.into() })
}

#[cfg(test)]
mod tests {
    use super::super::Registry;
    use super::*;

    /// Writes a field of bytes.
    fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(content.len()).expect("short")];
        out.extend_from_slice(content);
        out
    }

    fn envelope(api_version: &str, kind: &str, content: &[u8]) -> Vec<u8> {
        let meta = [bytes(1, api_version.as_bytes()), bytes(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), bytes(1, &meta), bytes(2, content)].concat()
    }

    #[test]
    fn an_object_is_read_from_its_bytes() {
        let meta = [bytes(1, b"n"), bytes(8, &[])].concat();
        let entry = [bytes(1, b"key"), bytes(2, b"value")].concat();
        let content = [bytes(1, &meta), bytes(2, &entry), vec![4 << 3, 1]].concat();
        assert_eq!(
            decode(&envelope("v1", "ConfigMap", &content)).expect("object"),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "n", "creationTimestamp": null},
                "data": {"key": "value"}, "immutable": true})
        );
        let secret = bytes(2, &[bytes(1, b"k"), bytes(2, b"v")].concat());
        assert_eq!(
            decode(&envelope("v1", "Secret", &secret)).expect("object")["data"],
            json!({"k": "dg=="})
        );
    }

    #[test]
    fn special_values_have_their_json_form() {
        assert_eq!(
            int_or_string(&[vec![1 << 3, 1], bytes(3, b"50%")].concat()),
            Ok(json!("50%"))
        );
        assert_eq!(int_or_string(&[2 << 3, 7]), Ok(json!(7)));
        assert_eq!(
            time(&[1 << 3, 60], "%Y-%m-%dT%H:%M:%SZ"),
            Ok(json!("1970-01-01T00:01:00Z"))
        );
        assert_eq!(time(&[], ""), Ok(Value::Null));
    }

    #[test]
    fn other_bytes_are_refused() {
        assert_eq!(decode(b"{}"), Err(ProtobufError::Prefix));
        assert_eq!(decode(b"k8s\0\x0a\x7f"), Err(ProtobufError::Malformed));
        assert!(matches!(
            decode(&envelope("a.b/v1", "X", &[])),
            Err(ProtobufError::Unknown { .. })
        ));
    }

    #[test]
    fn every_built_in_kind_but_one_can_be_read() {
        for info in Registry::builtin()
            .all()
            .iter()
            .filter(|info| info.kind != "CustomResourceDefinition")
        {
            assert!(
                message_name(&info.api_version(), &info.kind).is_some(),
                "{}",
                info.kind
            );
        }
        assert!(message_name("policy/v1", "DeleteOptions").is_some());
    }

    #[test]
    fn every_message_of_the_table_is_there() {
        for fields in TABLE.values() {
            for field in fields {
                let scalar = matches!(field.kind, "s" | "b" | "i" | "l" | "t" | "d");
                let last = field.kind.rsplit('.').next().expect("name");
                let special = matches!(
                    last,
                    "Time" | "MicroTime" | "Quantity" | "IntOrString" | "FieldsV1" | "RawExtension"
                );
                assert!(
                    scalar || special || TABLE.contains_key(field.kind),
                    "{} {}",
                    field.name,
                    field.kind
                );
            }
        }
    }
}
