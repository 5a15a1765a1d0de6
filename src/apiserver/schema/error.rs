//! A refused field: what, where and why, in the words of Kubernetes. It must not know of any schema.

use std::fmt::{self, Write as _};

use serde_json::Value;

/// Why a field was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldErrorKind {
    /// A needed value is absent.
    Required,
    /// A value breaks a rule.
    Invalid,
    /// A value has the wrong type.
    TypeInvalid,
    /// A value is none of those listed here.
    NotSupported(Vec<String>),
    /// A value that must be unique occurs twice.
    Duplicate,
    /// A value is longer than allowed.
    TooLong,
    /// A value is shorter than allowed.
    TooShort,
    /// A list or map holds more items than allowed.
    TooMany,
    /// A list or map holds fewer items than allowed.
    TooFew,
    /// A value may not be set under the present conditions.
    Forbidden,
    /// Something that the value names does not exist.
    NotFound,
    /// The check itself failed.
    Internal,
}

impl FieldErrorKind {
    /// The machine-readable reason, as found in the causes of a `Status`: `FieldValueRequired` and so on.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::NotSupported(_) => "FieldValueNotSupported",
            Self::Duplicate => "FieldValueDuplicate",
            Self::TooLong => "FieldValueTooLong",
            Self::TooShort => "FieldValueTooShort",
            Self::TooMany => "FieldValueTooMany",
            Self::TooFew => "FieldValueTooFew",
            Self::Forbidden => "FieldValueForbidden",
            Self::NotFound => "FieldValueNotFound",
            Self::Internal => "InternalError",
        }
    }

    fn words(&self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported(_) => "Unsupported value",
            Self::Duplicate => "Duplicate value",
            Self::TooLong => "Too long",
            Self::TooShort => "Too short",
            Self::TooMany => "Too many",
            Self::TooFew => "Too few",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not found",
            Self::Internal => "Internal error",
        }
    }

    fn shows_value(&self) -> bool {
        !matches!(
            self,
            Self::Required | Self::Forbidden | Self::TooLong | Self::TooShort | Self::Internal
        )
    }
}

/// One refused field. Its `Display` is `field: body`, exactly as Kubernetes writes it.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    /// The path of the field, such as `spec.parts[0].name`; `<nil>` when the error is about no field.
    pub field: String,
    /// Why it was refused.
    pub kind: FieldErrorKind,
    /// The value that was refused; `None` leaves it out of the message.
    pub value: Option<Value>,
    /// The value as the message shows it, if that is not how values are shown.
    pub shown: Option<String>,
    /// More words; empty for none.
    pub detail: String,
}

impl FieldError {
    /// Builds an error from its parts.
    pub fn new(
        field: impl Into<String>,
        kind: FieldErrorKind,
        value: Option<Value>,
        detail: impl Into<String>,
    ) -> Self {
        let field = field.into();
        let field = if field.is_empty() {
            "<nil>".to_owned()
        } else {
            field
        };
        Self {
            field,
            kind,
            value,
            shown: None,
            detail: detail.into(),
        }
    }

    /// A needed value is absent.
    pub fn required(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(field, FieldErrorKind::Required, Some(Value::from("")), detail)
    }

    /// A value breaks a rule.
    pub fn invalid(field: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(field, FieldErrorKind::Invalid, Some(value.into()), detail)
    }

    /// A value has the wrong type.
    pub fn type_invalid(
        field: impl Into<String>,
        value: impl Into<Value>,
        detail: impl Into<String>,
    ) -> Self {
        Self::new(field, FieldErrorKind::TypeInvalid, Some(value.into()), detail)
    }

    /// A value is none of the `supported` ones.
    pub fn not_supported(field: impl Into<String>, value: impl Into<Value>, supported: Vec<String>) -> Self {
        let quoted: Vec<String> = supported.iter().map(|s| go_quote(s)).collect();
        let detail = if quoted.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", quoted.join(", "))
        };
        Self::new(
            field,
            FieldErrorKind::NotSupported(supported),
            Some(value.into()),
            detail,
        )
    }

    /// A value that must be unique occurs twice.
    pub fn duplicate(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::new(field, FieldErrorKind::Duplicate, Some(value.into()), "")
    }

    /// A string is longer than `max` bytes; a negative `max` leaves the number out.
    pub fn too_long(field: impl Into<String>, value: impl Into<Value>, max: i64) -> Self {
        let detail = if max < 0 {
            "value is too long".to_owned()
        } else {
            format!(
                "may not be more than {max} byte{}",
                if max == 1 { "" } else { "s" }
            )
        };
        Self::new(field, FieldErrorKind::TooLong, Some(value.into()), detail)
    }

    /// A list or map holds `actual` items where at most `max` are allowed.
    pub fn too_many(field: impl Into<String>, actual: i64, max: i64) -> Self {
        let detail = if max < 0 {
            "has too many items".to_owned()
        } else {
            format!("must have at most {max} item{}", if max == 1 { "" } else { "s" })
        };
        Self::new(field, FieldErrorKind::TooMany, Some(actual.into()), detail)
    }

    /// A value may not be set under the present conditions.
    pub fn forbidden(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(field, FieldErrorKind::Forbidden, Some(Value::from("")), detail)
    }

    /// Something that the value names does not exist.
    pub fn not_found(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::new(field, FieldErrorKind::NotFound, Some(value.into()), "")
    }

    /// The check itself failed.
    pub fn internal(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(field, FieldErrorKind::Internal, None, detail)
    }

    /// The message without the field: what a cause of a `Status` carries.
    pub fn body(&self) -> String {
        let mut text = self.kind.words().to_owned();
        if self.kind.shows_value()
            && let Some(value) = &self.value
        {
            text.push_str(": ");
            match &self.shown {
                Some(shown) => text.push_str(shown),
                None => text.push_str(&go_value(value)),
            }
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

impl std::error::Error for FieldError {}

/// Joins errors as Kubernetes does: one stands alone, several are put in brackets, repeated ones are told once.
pub fn aggregate(errors: &[FieldError]) -> String {
    let mut seen: Vec<String> = Vec::new();
    for error in errors {
        let text = error.to_string();
        if !seen.contains(&text) {
            seen.push(text);
        }
    }
    if seen.len() == 1 {
        seen.remove(0)
    } else {
        format!("[{}]", seen.join(", "))
    }
}

/// A value as Go's `%v` or `%q` shows it in such messages: numbers bare, strings quoted, the rest as JSON.
fn go_value(value: &Value) -> String {
    match value {
        Value::String(text) => go_quote(text),
        Value::Number(number) => go_number(number),
        other => go_json(other),
    }
}

/// A number as Go prints it: floats in their shortest form, with an exponent when very small or large.
pub(crate) fn go_number(number: &serde_json::Number) -> String {
    match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(n), _, _) => n.to_string(),
        (_, Some(n), _) => n.to_string(),
        (_, _, Some(n)) => go_float(n),
        _ => number.to_string(),
    }
}

/// A float as Go prints it with `%v`.
pub(crate) fn go_float(n: f64) -> String {
    let magnitude = n.abs();
    if n != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        let text = format!("{n:e}");
        return match text.split_once('e') {
            Some((digits, exponent)) => {
                let (sign, power) = match exponent.strip_prefix('-') {
                    Some(power) => ('-', power),
                    None => ('+', exponent),
                };
                format!("{digits}e{sign}{power:0>2}")
            }
            None => text,
        };
    }
    format!("{n}")
}

/// JSON as Go's encoder writes it: compact, keys sorted, `<`, `>` and `&` escaped.
pub(crate) fn go_json(value: &Value) -> String {
    let text = value.to_string();
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return text;
    }
    text.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

/// A string in Go's double quotes.
pub(crate) fn go_quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c == '\u{7f}' => push_escape(&mut out, 'x', 2, c),
            c if c.is_control() || (c.is_whitespace() && c != ' ') => push_escape(&mut out, 'u', 4, c),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn push_escape(out: &mut String, letter: char, width: usize, c: char) {
    // Writing to a string cannot fail.
    let _ = write!(out, "\\{letter}{:0width$x}", c as u32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn messages_read_as_kubernetes_writes_them() {
        let cases = [
            (FieldError::required("spec.size", ""), "spec.size: Required value"),
            (
                FieldError::not_supported("spec.mode", "Slow", vec!["Fast".into(), "Safe".into()]),
                r#"spec.mode: Unsupported value: "Slow": supported values: "Fast", "Safe""#,
            ),
            (
                FieldError::duplicate("spec.parts[1]", json!({"name": "p"})),
                r#"spec.parts[1]: Duplicate value: {"name":"p"}"#,
            ),
            (
                FieldError::too_long("spec.pattern", "toolong", 5),
                "spec.pattern: Too long: may not be more than 5 bytes",
            ),
            (
                FieldError::too_many("spec.tags", 5, 4),
                "spec.tags: Too many: 5: must have at most 4 items",
            ),
            (
                FieldError::invalid("", "", "no"),
                r#"<nil>: Invalid value: "": no"#,
            ),
            (
                FieldError::invalid("a", Value::Null, "no"),
                "a: Invalid value: null: no",
            ),
        ];
        for (error, text) in cases {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn several_errors_are_bracketed_and_told_once() {
        let a = FieldError::required("a", "");
        let b = FieldError::required("b", "");
        assert_eq!(aggregate(std::slice::from_ref(&a)), "a: Required value");
        assert_eq!(
            aggregate(&[a.clone(), b, a]),
            "[a: Required value, b: Required value]"
        );
    }

    #[test]
    fn values_look_like_go() {
        assert_eq!(go_quote("a\"\n\u{1}é"), "\"a\\\"\\n\\x01é\"");
        assert_eq!(
            [1.5, 1e21, 1e-7, 100.0, 1e20].map(go_float),
            ["1.5", "1e+21", "1e-07", "100", "100000000000000000000"]
        );
        assert_eq!(
            go_json(&json!({"b": "<&", "a": 1})),
            r#"{"a":1,"b":"\u003c\u0026"}"#
        );
    }
}
