//! Checks values against a schema, with the messages of kube-apiserver. It must not change anything.

use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

use super::correlate::{OldItems, old_field};
use super::error::{FieldError, FieldErrorKind, go_float, go_json, go_number, go_quote};
use super::node::{Kind, Node};

/// Checks `value`, which stands at `base` in its object ("" for the object itself).
pub(super) fn field_errors(node: &Node, value: &Value, old: Option<&Value>, base: &str) -> Vec<FieldError> {
    let walker = Walker { base };
    walker.ratcheted(node, value, &mut String::new(), old).errors
}

/// What a check found; `checks` counts how much of it applied, which tells the closest of several alternatives.
#[derive(Default)]
struct Outcome {
    errors: Vec<FieldError>,
    checks: usize,
}

impl Outcome {
    fn merge(&mut self, other: Self) {
        self.errors.extend(other.errors);
        self.checks += other.checks;
    }
}

struct Walker<'a> {
    base: &'a str,
}

impl Walker<'_> {
    /// The path of an error, seen from the whole object.
    fn field(&self, path: &str) -> String {
        let path = path.strip_prefix('.').unwrap_or(path);
        match (self.base, path) {
            ("", path) => path.to_owned(),
            (base, "") => base.to_owned(),
            (base, path) => format!("{base}.{path}"),
        }
    }

    fn invalid(&self, path: &str, value: Value, words: &str) -> FieldError {
        FieldError::invalid(self.field(path), value, format!("{path} in body {words}"))
    }

    /// An error that names its place only in words.
    fn loose(&self, words: String) -> FieldError {
        FieldError::invalid(self.base, "", words)
    }

    /// Checks a value; faults that the same value had before are forgiven.
    fn ratcheted(&self, node: &Node, value: &Value, path: &mut String, old: Option<&Value>) -> Outcome {
        let mut outcome = self.check(node, value, path, old);
        if !outcome.errors.is_empty() && old == Some(value) {
            outcome.errors.clear();
        }
        outcome
    }

    fn check(&self, node: &Node, value: &Value, path: &mut String, old: Option<&Value>) -> Outcome {
        let mut out = Outcome::default();
        if node.kind.is_some() || node.int_or_string || node.format.is_some() {
            match self.type_error(node, value, path) {
                Some(error) => out.errors.push(error),
                None => out.checks += 1,
            }
            out.checks += 1;
        }
        if value.is_null() {
            self.choices(node, value, path, &mut out);
            return out;
        }
        self.alternatives(node, value, path, old, &mut out);
        match value {
            Value::String(text) => self.text(node, text, path, &mut out),
            Value::Number(number) => self.number(node, number, path, &mut out),
            Value::Array(items) => self.list(node, items, path, old, &mut out),
            _ => {}
        }
        self.choices(node, value, path, &mut out);
        if let Value::Object(map) = value {
            self.map(node, map, path, old, &mut out);
        }
        out.checks += 2;
        out
    }

    fn type_error(&self, node: &Node, value: &Value, path: &str) -> Option<FieldError> {
        let error = |wanted: &str, found: &str| {
            let detail = format!("{path} in body must be of type {wanted}: {}", go_quote(found));
            Some(FieldError::type_invalid(self.field(path), found, detail))
        };
        let typed = node.kind.is_some() || node.int_or_string;
        let allows = |kind: Kind| {
            node.kind == Some(kind) && !node.int_or_string
                || node.int_or_string && matches!(kind, Kind::Integer | Kind::String)
        };
        let format = node
            .format
            .as_deref()
            .filter(|_| node.is_format_known)
            .unwrap_or("");
        let (found, found_format) = match value {
            Value::Null if typed && !node.nullable => return error(node.type_names(), "null"),
            Value::Null => return None,
            Value::Bool(_) => (Kind::Boolean, ""),
            Value::String(_) => (Kind::String, ""),
            Value::Number(n) if n.is_f64() => (Kind::Number, "float64"),
            Value::Number(_) => (Kind::Integer, "int64"),
            Value::Array(_) => (Kind::Array, ""),
            Value::Object(_) => (Kind::Object, ""),
        };
        let whole = matches!(value, Value::Number(n) if n.as_f64().is_some_and(|f| f.fract() == 0.0));
        let fits = allows(found)
            || found == Kind::Number && whole && allows(Kind::Integer)
            || found == Kind::Integer && allows(Kind::Number);
        let sequence = matches!(value, Value::String(_) | Value::Array(_));
        if !sequence && !format.is_empty() && !fits && found_format != format {
            return error(format, found_format);
        }
        if sequence && !format.is_empty() && !allows(Kind::Number) && !allows(Kind::Integer) {
            return None;
        }
        if typed && !fits {
            error(node.type_names(), found.name())
        } else {
            None
        }
    }

    fn choices(&self, node: &Node, value: &Value, path: &str, out: &mut Outcome) {
        if node.choices.is_empty() || (!value.is_null() && node.choices.iter().any(|c| same(c, value))) {
            return;
        }
        let supported = node.choices.iter().map(|c| match c {
            Value::String(text) => text.clone(),
            other => go_json(other),
        });
        out.errors.push(FieldError::not_supported(
            self.field(path),
            value.clone(),
            supported.collect(),
        ));
    }

    fn alternatives(
        &self,
        node: &Node,
        value: &Value,
        path: &mut String,
        old: Option<&Value>,
        out: &mut Outcome,
    ) {
        if !node.any_of.is_empty() {
            let (valid, best) = self.try_all(&node.any_of, value, path, old);
            if valid == 0 {
                out.errors.push(self.loose(format!(
                    "{} must validate at least one schema (anyOf)",
                    go_quote(path)
                )));
            }
            out.merge(best);
        }
        if !node.one_of.is_empty() {
            let (valid, best) = self.try_all(&node.one_of, value, path, old);
            if valid != 1 {
                let found = match valid {
                    0 => "Found none valid".to_owned(),
                    n => format!("Found {n} valid alternatives"),
                };
                let words = format!(
                    "{} must validate one and only one schema (oneOf). {found}",
                    go_quote(path)
                );
                out.errors.push(self.loose(words));
            }
            out.merge(best);
        }
        if !node.all_of.is_empty() {
            let mut valid = 0;
            for branch in &node.all_of {
                let outcome = self.check(branch, value, path, old);
                valid += usize::from(outcome.errors.is_empty());
                out.merge(outcome);
            }
            if valid != node.all_of.len() {
                let more = if valid == 0 { ". None validated" } else { "" };
                out.errors.push(self.loose(format!(
                    "{} must validate all the schemas (allOf){more}",
                    go_quote(path)
                )));
            }
        }
        if let Some(not) = &node.not
            && self.check(not, value, path, old).errors.is_empty()
        {
            out.errors
                .push(self.loose(format!("{} must not validate the schema (not)", go_quote(path))));
        }
        out.checks += 2;
    }

    /// How many alternatives hold, and what the first holding one or else the closest one found.
    fn try_all(
        &self,
        branches: &[std::sync::Arc<Node>],
        value: &Value,
        path: &mut String,
        old: Option<&Value>,
    ) -> (usize, Outcome) {
        let mut valid = 0;
        let mut best: Option<Outcome> = None;
        for branch in branches {
            let outcome = self.check(branch, value, path, old);
            if outcome.errors.is_empty() {
                valid += 1;
                if valid == 1 {
                    best = Some(outcome);
                }
            } else if valid == 0 && best.as_ref().is_none_or(|b| outcome.checks > b.checks) {
                best = Some(outcome);
            }
        }
        (valid, best.unwrap_or_default())
    }

    fn text(&self, node: &Node, text: &str, path: &str, out: &mut Outcome) {
        let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        out.checks += 1;
        if let Some(max) = node.max_length.filter(|max| length > *max) {
            out.errors.push(FieldError::too_long(self.field(path), text, max));
        } else if let Some(min) = node.min_length.filter(|min| length < *min) {
            out.errors
                .push(self.invalid(path, text.into(), &format!("should be at least {min} chars long")));
        } else if let Some(pattern) = node.pattern.as_ref().filter(|p| !p.regex.is_match(text)) {
            out.errors
                .push(self.invalid(path, text.into(), &format!("should match '{}'", pattern.source)));
        }
        if let (Some(format), Some(check)) = (&node.format, node.format_check) {
            out.checks += 1;
            if !check(text) {
                let detail = format!("{path} in body must be of type {format}: {}", go_quote(text));
                out.errors
                    .push(FieldError::type_invalid(self.field(path), text, detail));
            }
        }
    }

    fn number(&self, node: &Node, number: &Number, path: &str, out: &mut Outcome) {
        out.checks += 2;
        if let Some(words) = range_fault(node, number, path) {
            out.errors.push(self.loose(words));
        }
        let value = || Value::Number(number.clone());
        let float = number.as_f64().unwrap_or(f64::NAN);
        if let Some(factor) = node.multiple_of
            && !is_multiple(number, factor)
        {
            let words = format!("should be a multiple of {}", go_float(factor));
            out.errors.push(self.invalid(path, value(), &words));
        }
        let bound = |limit: f64| match number.as_i64() {
            // Whole numbers are compared with the whole part of the bound.
            Some(n) => n.partial_cmp(&clamp(limit)),
            None => float.partial_cmp(&limit),
        };
        if let Some(min) = node.minimum {
            let below = bound(min).is_some_and(|o| o.is_lt() || node.exclusive_minimum && o.is_eq());
            if below {
                let than = if node.exclusive_minimum {
                    "greater than"
                } else {
                    "greater than or equal to"
                };
                out.errors
                    .push(self.invalid(path, value(), &format!("should be {than} {}", go_float(min))));
            }
        }
        if let Some(max) = node.maximum {
            let above = bound(max).is_some_and(|o| o.is_gt() || node.exclusive_maximum && o.is_eq());
            if above {
                let than = if node.exclusive_maximum {
                    "less than"
                } else {
                    "less than or equal to"
                };
                out.errors
                    .push(self.invalid(path, value(), &format!("should be {than} {}", go_float(max))));
            }
        }
    }

    fn list(&self, node: &Node, items: &[Value], path: &mut String, old: Option<&Value>, out: &mut Outcome) {
        out.checks += 2;
        let length = path.len();
        if let Some(child) = &node.items {
            let before = OldItems::of(node, old);
            for (i, item) in items.iter().enumerate() {
                let old = before.of_item(item);
                // Writing to a text does not fail.
                let _ = write!(path, "[{i}]");
                out.merge(self.ratcheted(child, item, path, old));
                path.truncate(length);
            }
        }
        let size = i64::try_from(items.len()).unwrap_or(i64::MAX);
        if let Some(min) = node.min_items.filter(|min| size < *min) {
            out.errors
                .push(self.invalid(path, size.into(), &format!("should have at least {min} items")));
        }
        if let Some(max) = node.max_items.filter(|max| size > *max) {
            out.errors.push(FieldError::too_many(self.field(path), size, max));
        }
        if node.unique_items
            && items
                .iter()
                .enumerate()
                .any(|(i, item)| items[..i].contains(item))
        {
            out.errors
                .push(self.invalid(path, "".into(), "shouldn't contain duplicates"));
        }
    }

    fn map(
        &self,
        node: &Node,
        map: &Map<String, Value>,
        path: &mut String,
        old: Option<&Value>,
        out: &mut Outcome,
    ) {
        out.checks += 1;
        let size = i64::try_from(map.len()).unwrap_or(i64::MAX);
        if let Some(min) = node.min_properties.filter(|min| size < *min) {
            out.errors.push(self.invalid(
                path,
                size.into(),
                &format!("should have at least {min} properties"),
            ));
        }
        if let Some(max) = node.max_properties.filter(|max| size > *max) {
            out.errors.push(FieldError::too_many(self.field(path), size, max));
        }
        let length = path.len();
        let at_root = path.is_empty() && self.base.is_empty();
        let old_of = |key: &str| match key {
            "apiVersion" | "kind" if at_root => None,
            _ => old_field(node, key, old),
        };
        for (key, value) in map {
            if node.properties.contains_key(key) {
                continue;
            }
            match &node.additional {
                Some(super::node::Additional::Schema(child)) => {
                    path.extend([".", key]);
                    out.merge(self.ratcheted(child, value, path, old_of(key)));
                    path.truncate(length);
                }
                Some(super::node::Additional::None) => {
                    let detail = format!("{path}.{key} in body is a forbidden property");
                    let error = FieldError::invalid(self.field(path), key.as_str(), detail);
                    out.errors.push(error);
                }
                _ => {}
            }
        }
        for (key, child) in &node.properties {
            if let Some(value) = map.get(key) {
                path.extend([if length == 0 { "" } else { "." }, key]);
                out.merge(self.ratcheted(child, value, path, old_of(key)));
                path.truncate(length);
            }
        }
        for key in &node.required {
            if !map.contains_key(key) {
                out.errors
                    .push(FieldError::required(self.field(&format!("{path}.{key}")), ""));
            }
        }
    }
}

/// Whether two values are the same choice: `1` and `1.0` are.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "Go converts bounds to whole numbers the same way"
)]
fn clamp(limit: f64) -> i64 {
    limit as i64
}

/// Tells when a number does not fit the type that the schema gives it.
fn range_fault(node: &Node, number: &Number, path: &str) -> Option<String> {
    if node.int_or_string {
        return None;
    }
    let whole = || {
        number.as_i64().or_else(|| {
            let float = number
                .as_f64()
                .filter(|f| f.fract() == 0.0 && f.abs() < 9.3e18 && number.is_f64())?;
            Some(clamp(float))
        })
    };
    let (good, name, format) = match (node.kind?, node.format.as_deref()) {
        (Kind::Integer, Some("int32")) => (
            whole().is_some_and(|n| i32::try_from(n).is_ok()),
            "integer",
            Some("int32"),
        ),
        (Kind::Integer, Some("int64")) => (whole().is_some(), "integer", Some("int64")),
        (Kind::Integer, _) => (whole().is_some(), "integer", None),
        (Kind::Number, Some("float")) => {
            let fits = number.as_f64().is_some_and(|f| f.abs() <= f64::from(f32::MAX));
            (fits, "number", Some("float"))
        }
        _ => return None,
    };
    if good {
        return None;
    }
    Some(match format {
        Some(format) => format!("Checked value must be of type {name} with format {format} in {path}"),
        None => format!("Checked value must be of type {name} (default format) in {path}"),
    })
}

fn is_multiple(number: &Number, factor: f64) -> bool {
    if factor <= 0.0 {
        return false;
    }
    match (number.as_i64(), clamp(factor)) {
        (Some(n), whole) if whole >= 1 => n % whole == 0,
        _ => {
            let float = number.as_f64().unwrap_or(f64::NAN);
            let times = if factor < 1.0 {
                1.0 / factor * float
            } else {
                float / factor
            };
            (times - times.round()).abs() < 1e-9 * times.abs().max(1.0)
        }
    }
}

/// Checks the number that a `scale` subresource reads at `path`.
pub(super) fn scale_errors(object: &Value, path: &str) -> Vec<FieldError> {
    let fault = |value: i64, detail: String| {
        vec![FieldError::new(
            path,
            FieldErrorKind::Invalid,
            Some(value.into()),
            detail,
        )]
    };
    let mut value = object;
    for key in path.split('.').filter(|key| !key.is_empty()) {
        let Some(map) = value.as_object() else {
            let (shown, kind) = go_typed(value);
            let words = format!("{shown} is of the type {kind}, expected map[string]interface{{}}");
            return fault(0, format!("{path} accessor error: {words}"));
        };
        match map.get(key) {
            Some(next) => value = next,
            None => return Vec::new(),
        }
    }
    let Some(replicas) = value.as_i64() else {
        let (shown, kind) = go_typed(value);
        return fault(
            0,
            format!("{path} accessor error: {shown} is of the type {kind}, expected int64"),
        );
    };
    if replicas < 0 {
        return fault(replicas, "should be a non-negative integer".to_owned());
    }
    if replicas > i64::from(i32::MAX) {
        return fault(replicas, format!("should be less than or equal to {}", i32::MAX));
    }
    Vec::new()
}

/// A value as Go prints it with `%v`, and its Go type.
fn go_typed(value: &Value) -> (String, &'static str) {
    match value {
        Value::Null => ("<nil>".to_owned(), "<nil>"),
        Value::Bool(b) => (b.to_string(), "bool"),
        Value::String(text) => (text.clone(), "string"),
        Value::Number(n) => (go_number(n), if n.is_f64() { "float64" } else { "int64" }),
        Value::Array(_) => (go_json(value), "[]interface {}"),
        Value::Object(_) => (go_json(value), "map[string]interface {}"),
    }
}
