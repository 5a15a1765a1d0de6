//! The table of messages and their fields, made from `fields.txt` when it is needed first.
//! It must not interpret any bytes.

use std::collections::HashMap;
use std::sync::LazyLock;

/// The schema of custom resources within their definition. Its fields with a choice of types refer to it.
const JSON_SCHEMA: &str = "apiextensions.k8s.io/v1.JSONSchemaProps";

/// Kinds that every group has: they may come with any version.
const COMMON: [&str; 4] = [
    "DeleteOptions",
    "PartialObjectMetadata",
    "PartialObjectMetadataList",
    "Status",
];

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Bool,
    Int32,
    Int64,
    Double,
    Bytes,
    /// A message whose only field is a list of strings; in JSON the list itself.
    Texts,
    /// Seconds since 1970; in JSON RFC 3339.
    Time,
    /// The same with microseconds.
    MicroTime,
    Quantity,
    IntOrString,
    /// A message whose only field is JSON.
    Json,
    /// A schema or a boolean.
    SchemaOrBool,
    /// A schema or a list of schemas.
    SchemaOrList,
    /// A schema or a list of strings.
    SchemaOrNames,
    /// A message of the table.
    Message(usize),
}

/// How often a field occurs, and how its zero value looks in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One value, always written in JSON.
    Always,
    /// One value that may be absent; a zero is a value.
    Pointer,
    /// One value, left out of JSON if zero.
    OmitEmpty,
    List,
    Map,
    /// A message whose fields are those of the outer one in JSON.
    Inline,
}

/// One field of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) number: u32,
    /// Its name in JSON.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) shape: Shape,
}

/// All messages.
pub(super) struct Table {
    ids: HashMap<&'static str, usize>,
    messages: Vec<Vec<Field>>,
    schema: usize,
}

impl Table {
    /// Returns the table of all messages known.
    pub(super) fn get() -> &'static Self {
        static TABLE: LazyLock<Table> = LazyLock::new(|| Table::parse(include_str!("fields.txt")));
        &TABLE
    }

    fn parse(text: &'static str) -> Self {
        let names = text.lines().filter(|line| !line.starts_with(' '));
        let ids: HashMap<&str, usize> = names.enumerate().map(|(id, name)| (name, id)).collect();
        let mut messages: Vec<Vec<Field>> = Vec::with_capacity(ids.len());
        for line in text.lines() {
            match (line.strip_prefix(' '), messages.last_mut()) {
                (None, _) => messages.push(Vec::new()),
                (Some(field), Some(message)) => message.extend(parse_field(field, &ids)),
                (Some(_), None) => {}
            }
        }
        let schema = ids.get(JSON_SCHEMA).copied().unwrap_or_default();
        Self {
            ids,
            messages,
            schema,
        }
    }

    /// Returns the message of a kind, if it has one.
    pub(super) fn find(&self, api_version: &str, kind: &str) -> Option<usize> {
        let api_version = if COMMON.contains(&kind) {
            "meta.k8s.io/v1"
        } else {
            api_version
        };
        self.ids.get(format!("{api_version}.{kind}").as_str()).copied()
    }

    /// Returns the message of schemas.
    pub(super) fn schema(&self) -> usize {
        self.schema
    }

    /// Returns the fields of a message, by number.
    pub(super) fn fields(&self, message: usize) -> &[Field] {
        self.messages.get(message).map_or(&[], Vec::as_slice)
    }

    /// Returns how many fields there are in all.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.messages.iter().map(Vec::len).sum()
    }
}

fn parse_field(line: &'static str, ids: &HashMap<&'static str, usize>) -> Option<Field> {
    let mut words = line.split(' ');
    let (number, name, kind) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
    let (shape, kind) = if name == "-" {
        (Shape::Inline, kind)
    } else if let Some(kind) = kind.strip_prefix("[]") {
        (Shape::List, kind)
    } else if let Some(kind) = kind.strip_prefix("{}") {
        (Shape::Map, kind)
    } else if let Some(kind) = kind.strip_suffix('?') {
        (Shape::Pointer, kind)
    } else if let Some(kind) = kind.strip_suffix('-') {
        (Shape::OmitEmpty, kind)
    } else {
        (Shape::Always, kind)
    };
    let kind = match kind {
        "string" => Kind::Text,
        "bool" => Kind::Bool,
        "int32" => Kind::Int32,
        "int64" => Kind::Int64,
        "double" => Kind::Double,
        "bytes" => Kind::Bytes,
        "strings" => Kind::Texts,
        "time" => Kind::Time,
        "microtime" => Kind::MicroTime,
        "quantity" => Kind::Quantity,
        "intorstring" => Kind::IntOrString,
        "json" => Kind::Json,
        "schemaorbool" => Kind::SchemaOrBool,
        "schemaorlist" => Kind::SchemaOrList,
        "schemaornames" => Kind::SchemaOrNames,
        message => Kind::Message(*ids.get(message)?),
    };
    Some(Field {
        number,
        name,
        kind,
        shape,
    })
}
