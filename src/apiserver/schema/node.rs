//! The compiled form of one schema node, and the compiler. It must not look at any object.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::super::pattern;
use super::error::FieldError;
use super::formats::{self, Check};
use super::rules::{Rule, Rules};

/// How deep schemas may nest; deeper ones are refused, so that walks cannot exhaust the stack.
const MAX_DEPTH: usize = 96;
/// Bytes that the patterns of one schema may take.
const PATTERNS: usize = 32 << 20;

/// The `type` of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => return None,
        })
    }
}

/// How the items of a list belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListType {
    Atomic,
    Set,
    Map,
}

/// What a node says of properties that it does not name.
#[derive(Debug, Clone)]
pub(crate) enum Additional {
    /// Any value may stand there.
    Any,
    /// None may stand there.
    None,
    /// Values of this schema may.
    Schema(Arc<Node>),
}

/// A regular expression and its source, as messages quote it.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    pub(crate) source: String,
    pub(crate) regex: regex::Regex,
}

/// One node of a compiled schema.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a schema node has that many yes-or-no words"
)]
pub(crate) struct Node {
    pub(crate) kind: Option<Kind>,
    pub(crate) nullable: bool,
    pub(crate) int_or_string: bool,
    pub(crate) preserve_unknown: bool,
    pub(crate) embedded: bool,
    pub(crate) properties: BTreeMap<String, Arc<Self>>,
    pub(crate) additional: Option<Additional>,
    pub(crate) items: Option<Arc<Self>>,
    pub(crate) default: Option<Value>,
    pub(crate) choices: Vec<Value>,
    pub(crate) minimum: Option<f64>,
    pub(crate) maximum: Option<f64>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) exclusive_maximum: bool,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) min_length: Option<i64>,
    pub(crate) max_length: Option<i64>,
    pub(crate) min_items: Option<i64>,
    pub(crate) max_items: Option<i64>,
    pub(crate) unique_items: bool,
    pub(crate) min_properties: Option<i64>,
    pub(crate) max_properties: Option<i64>,
    pub(crate) pattern: Option<Pattern>,
    pub(crate) format: Option<String>,
    /// How texts of the format are checked, if they are.
    pub(crate) format_check: Option<Check>,
    /// Whether it is a format of texts or numbers: others are ignored.
    pub(crate) is_format_known: bool,
    pub(crate) required: Vec<String>,
    pub(crate) all_of: Vec<Arc<Self>>,
    pub(crate) any_of: Vec<Arc<Self>>,
    pub(crate) one_of: Vec<Arc<Self>>,
    pub(crate) not: Option<Arc<Self>>,
    pub(crate) list_type: Option<ListType>,
    pub(crate) list_keys: Vec<String>,
    pub(crate) map_atomic: Option<bool>,
    pub(crate) patch_strategies: Vec<String>,
    pub(crate) patch_merge_key: Option<String>,
    pub(crate) rules: Rules,
    /// Whether this node or one below it has rules: walks skip the rest.
    pub(crate) has_rules: bool,
    /// Whether one of them needs more room than others to be evaluated.
    pub(crate) has_deep_rules: bool,
    /// Whether this node or one below it is an embedded object: walks skip the rest.
    pub(crate) has_embedded: bool,
    /// Whether this node or one below it has set or map lists: walks skip the rest.
    pub(crate) has_keyed_lists: bool,
}

impl Node {
    /// The schema of the values under a key that the node does not name.
    pub(crate) fn additional_schema(&self) -> Option<&Arc<Self>> {
        match &self.additional {
            Some(Additional::Schema(node)) => Some(node),
            _ => None,
        }
    }

    /// The schema of the value under `key`.
    pub(crate) fn field(&self, key: &str) -> Option<&Arc<Self>> {
        self.properties.get(key).or_else(|| self.additional_schema())
    }

    /// The type names as messages list them.
    pub(crate) fn type_names(&self) -> &'static str {
        match (self.kind, self.int_or_string) {
            (_, true) => "integer,string",
            (Some(kind), false) => kind.name(),
            (None, false) => "",
        }
    }
}

/// Compiles schema nodes and gathers what is wrong with them.
#[derive(Default)]
pub(crate) struct Compiler {
    pub(crate) errors: Vec<FieldError>,
    /// Bytes that patterns may take so far.
    patterns: usize,
}

impl Compiler {
    pub(crate) fn node(&mut self, schema: &Value, path: &str, depth: usize) -> Arc<Node> {
        let Some(map) = schema.as_object() else {
            if !schema.is_null() && !schema.is_boolean() {
                self.errors.push(FieldError::invalid(
                    path,
                    schema.clone(),
                    "must be a schema object",
                ));
            }
            return Arc::default();
        };
        if depth > MAX_DEPTH {
            self.errors.push(FieldError::forbidden(
                path,
                format!("schemas may nest at most {MAX_DEPTH} deep"),
            ));
            return Arc::default();
        }
        let mut node = Node {
            kind: self.kind(map, path),
            nullable: flag(map, "nullable"),
            int_or_string: flag(map, "x-kubernetes-int-or-string"),
            preserve_unknown: flag(map, "x-kubernetes-preserve-unknown-fields"),
            embedded: flag(map, "x-kubernetes-embedded-resource"),
            default: map.get("default").filter(|v| !v.is_null()).cloned(),
            choices: map
                .get("enum")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default(),
            minimum: float(map, "minimum"),
            maximum: float(map, "maximum"),
            exclusive_minimum: flag(map, "exclusiveMinimum"),
            exclusive_maximum: flag(map, "exclusiveMaximum"),
            multiple_of: float(map, "multipleOf"),
            min_length: int(map, "minLength"),
            max_length: int(map, "maxLength"),
            min_items: int(map, "minItems"),
            max_items: int(map, "maxItems"),
            unique_items: flag(map, "uniqueItems"),
            min_properties: int(map, "minProperties"),
            max_properties: int(map, "maxProperties"),
            pattern: self.pattern(map, path),
            format: text(map, "format").map(str::to_owned).filter(|f| !f.is_empty()),
            required: strings(map, "required"),
            list_type: self.list_type(map, path),
            list_keys: strings(map, "x-kubernetes-list-map-keys"),
            map_atomic: text(map, "x-kubernetes-map-type").map(|t| t == "atomic"),
            patch_strategies: text(map, "x-kubernetes-patch-strategy")
                .map(|s| s.split(',').map(str::to_owned).collect())
                .unwrap_or_default(),
            patch_merge_key: text(map, "x-kubernetes-patch-merge-key").map(str::to_owned),
            rules: self.rules(schema, path),
            ..Node::default()
        };
        let format = node.format.as_deref().unwrap_or_default();
        node.format_check = formats::find(format);
        node.is_format_known =
            node.format_check.is_some() || matches!(format, "int32" | "int64" | "float" | "double");
        self.children(&mut node, map, path, depth);
        node.has_deep_rules = node.rules.are_deep() || node.below().any(|n| n.has_deep_rules);
        node.has_rules = !node.rules.is_empty() || node.below().any(|n| n.has_rules);
        node.has_embedded = node.embedded || node.below().any(|n| n.has_embedded);
        node.has_keyed_lists =
            node.list_type.is_some_and(|t| t != ListType::Atomic) || node.below().any(|n| n.has_keyed_lists);
        Arc::new(node)
    }

    fn children(&mut self, node: &mut Node, map: &Map<String, Value>, path: &str, depth: usize) {
        let join = |tail: &str| {
            if path.is_empty() {
                tail.to_owned()
            } else {
                format!("{path}.{tail}")
            }
        };
        if let Some(Value::Object(properties)) = map.get("properties") {
            for (name, schema) in properties {
                let child = self.node(schema, &join(&format!("properties[{name}]")), depth + 1);
                node.properties.insert(name.clone(), child);
            }
        }
        node.additional = match map.get("additionalProperties") {
            Some(Value::Bool(true)) => Some(Additional::Any),
            Some(Value::Bool(false)) => Some(Additional::None),
            Some(schema @ Value::Object(_)) => Some(Additional::Schema(self.node(
                schema,
                &join("additionalProperties"),
                depth + 1,
            ))),
            _ => None,
        };
        node.items = map
            .get("items")
            .filter(|s| s.is_object())
            .map(|schema| self.node(schema, &join("items"), depth + 1));
        for (key, list) in [
            ("allOf", &mut node.all_of),
            ("anyOf", &mut node.any_of),
            ("oneOf", &mut node.one_of),
        ] {
            for (i, schema) in map
                .get(key)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .enumerate()
            {
                list.push(self.node(schema, &join(&format!("{key}[{i}]")), depth + 1));
            }
        }
        node.not = map
            .get("not")
            .filter(|s| s.is_object())
            .map(|schema| self.node(schema, &join("not"), depth + 1));
    }

    fn kind(&mut self, map: &Map<String, Value>, path: &str) -> Option<Kind> {
        let name = text(map, "type").filter(|t| !t.is_empty())?;
        let kind = Kind::parse(name);
        if kind.is_none() {
            let known = ["array", "boolean", "integer", "number", "object", "string"];
            self.errors.push(FieldError::not_supported(
                child(path, "type"),
                name,
                known.map(str::to_owned).to_vec(),
            ));
        }
        kind
    }

    fn pattern(&mut self, map: &Map<String, Value>, path: &str) -> Option<Pattern> {
        let source = text(map, "pattern").filter(|p| !p.is_empty())?;
        let why = match pattern::compile(source) {
            Ok(made) if self.patterns + made.size <= PATTERNS => {
                self.patterns += made.size;
                return Some(Pattern {
                    source: source.to_owned(),
                    regex: made.regex,
                });
            }
            Ok(_) => "the patterns of the schema are too large together".to_owned(),
            Err(error) => format!("must be a valid regular expression, but isn't: {error}"),
        };
        self.errors
            .push(FieldError::invalid(child(path, "pattern"), source, why));
        None
    }

    fn list_type(&mut self, map: &Map<String, Value>, path: &str) -> Option<ListType> {
        match text(map, "x-kubernetes-list-type")? {
            "atomic" => Some(ListType::Atomic),
            "set" => Some(ListType::Set),
            "map" => Some(ListType::Map),
            other => {
                self.errors.push(FieldError::not_supported(
                    child(path, "x-kubernetes-list-type"),
                    other,
                    ["atomic", "map", "set"].map(str::to_owned).to_vec(),
                ));
                None
            }
        }
    }

    fn rules(&mut self, schema: &Value, path: &str) -> Rules {
        let Some(rules) = schema.get("x-kubernetes-validations").and_then(Value::as_array) else {
            return Rules::default();
        };
        let mut out = Vec::with_capacity(rules.len());
        for (i, rule) in rules.iter().enumerate() {
            match Rule::compile(rule) {
                Ok(rule) => out.push(rule),
                Err(error) => {
                    let at = child(path, &format!("x-kubernetes-validations[{i}].{}", error.field));
                    self.errors
                        .push(FieldError::invalid(at, error.source_text, error.detail));
                }
            }
        }
        Rules::of(out)
    }
}

impl Node {
    fn below(&self) -> impl Iterator<Item = &Arc<Self>> {
        self.properties
            .values()
            .chain(self.additional_schema())
            .chain(&self.items)
            .chain(&self.all_of)
    }
}

fn child(path: &str, tail: &str) -> String {
    if path.is_empty() {
        tail.to_owned()
    } else {
        format!("{path}.{tail}")
    }
}

fn flag(map: &Map<String, Value>, key: &str) -> bool {
    map.get(key).and_then(Value::as_bool).unwrap_or(false)
}

fn float(map: &Map<String, Value>, key: &str) -> Option<f64> {
    map.get(key).and_then(Value::as_f64)
}

fn int(map: &Map<String, Value>, key: &str) -> Option<i64> {
    map.get(key).and_then(Value::as_i64)
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    map.get(key).and_then(Value::as_str)
}

fn strings(map: &Map<String, Value>, key: &str) -> Vec<String> {
    let list = map.get(key).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}
