//! Rules of `ConfigMap` and `Secret`. They must not reveal a value in a message.

use base64::Engine as _;
use serde_json::{Map, Value};

use super::super::super::schema::FieldError;
use super::super::BuiltinHooks;

/// Bytes that all values of a `ConfigMap` or `Secret` together may have.
const LIMIT: usize = 1024 * 1024;
const BAD_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const IMMUTABLE: &str = "field is immutable when `immutable` is set";

pub(in super::super) struct ConfigMap;
pub(in super::super) struct Secret;

fn entries<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = (&'a String, &'a str)> {
    object
        .get(field)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| (key, value.as_str().unwrap_or_default()))
}

fn key_problems(key: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if key.len() > 253 {
        problems.push("must be no more than 253 characters".to_owned());
    }
    if key.is_empty()
        || !key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    {
        problems.push(BAD_KEY.to_owned());
    } else if key == "." || key == ".." {
        problems.push(format!("must not be '{key}'"));
    } else if key.starts_with("..") {
        problems.push("must not start with '..'".to_owned());
    }
    problems
}

fn check_keys(object: &Value, field: &str, size: &mut usize, encoded: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in entries(object, field) {
        errors.extend(
            key_problems(key)
                .into_iter()
                .map(|p| FieldError::invalid(format!("{field}[{key}]"), key.as_str(), p)),
        );
        *size += if encoded { value.len() / 4 * 3 } else { value.len() };
    }
    errors
}

fn check_size(field: &str, size: usize) -> Option<FieldError> {
    (size > LIMIT).then(|| FieldError::too_long(field, "", i64::try_from(LIMIT).unwrap_or(i64::MAX)))
}

/// An immutable object stays so, and keeps its values.
fn check_immutable(new: &Value, old: &Value, fields: &[&str]) -> Vec<FieldError> {
    if old.get("immutable").and_then(Value::as_bool) != Some(true) {
        return Vec::new();
    }
    let mut errors = Vec::new();
    if new.get("immutable").and_then(Value::as_bool) != Some(true) {
        errors.push(FieldError::forbidden("immutable", IMMUTABLE));
    }
    let empty = Value::Object(Map::new());
    for field in fields {
        if new.get(*field).unwrap_or(&empty) != old.get(*field).unwrap_or(&empty) {
            errors.push(FieldError::forbidden(*field, IMMUTABLE));
        }
    }
    errors
}

impl BuiltinHooks for ConfigMap {
    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = old
            .map(|old| check_immutable(new, old, &["data", "binaryData"]))
            .unwrap_or_default();
        let mut size = 0;
        for (key, _) in entries(new, "data") {
            if new
                .get("binaryData")
                .is_some_and(|binary| binary.get(key).is_some())
            {
                errors.push(FieldError::invalid(
                    format!("data[{key}]"),
                    key.as_str(),
                    "duplicate of key present in binaryData",
                ));
            }
        }
        errors.extend(check_keys(new, "data", &mut size, false));
        errors.extend(check_keys(new, "binaryData", &mut size, true));
        errors.extend(check_size("", size));
        errors
    }
}

impl BuiltinHooks for Secret {
    fn set_defaults(&self, object: &mut Value) {
        let Some(object) = object.as_object_mut() else {
            return;
        };
        // What was written as text is kept like the rest.
        if let Some(Value::Object(texts)) = object.remove("stringData") {
            let data = object.entry("data").or_insert_with(|| Value::Object(Map::new()));
            if let Some(data) = data.as_object_mut() {
                for (key, text) in texts {
                    let encoded =
                        base64::engine::general_purpose::STANDARD.encode(text.as_str().unwrap_or_default());
                    data.insert(key, encoded.into());
                }
            }
        }
        if object
            .get("type")
            .and_then(Value::as_str)
            .is_none_or(str::is_empty)
        {
            object.insert("type".to_owned(), "Opaque".into());
        }
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let Some(old) = old {
            if new.get("type") != old.get("type") {
                let kind = new.get("type").cloned().unwrap_or_default();
                errors.push(FieldError::invalid("type", kind, "field is immutable"));
            }
            errors.extend(check_immutable(new, old, &["data"]));
        }
        let mut size = 0;
        errors.extend(check_keys(new, "data", &mut size, true));
        errors.extend(check_size("data", size));
        let value = |key: &str| {
            new.get("data")
                .and_then(|data| data.get(key))
                .and_then(Value::as_str)
        };
        let mut need = |keys: &[&str]| {
            for key in keys {
                if value(key).is_none() {
                    errors.push(FieldError::required(format!("data[{key}]"), ""));
                }
            }
        };
        match new.get("type").and_then(Value::as_str).unwrap_or_default() {
            "kubernetes.io/tls" => need(&["tls.crt", "tls.key"]),
            "kubernetes.io/ssh-auth" => need(&["ssh-privatekey"]),
            "kubernetes.io/basic-auth" if value("username").is_none() && value("password").is_none() => {
                need(&["username", "password"]);
            }
            "kubernetes.io/dockercfg" => {
                need(&[".dockercfg"]);
                errors.extend(check_json(".dockercfg", value(".dockercfg")));
            }
            "kubernetes.io/dockerconfigjson" => {
                need(&[".dockerconfigjson"]);
                errors.extend(check_json(".dockerconfigjson", value(".dockerconfigjson")));
            }
            "kubernetes.io/service-account-token" => {
                let name = new.pointer("/metadata/annotations/kubernetes.io~1service-account.name");
                if name.and_then(Value::as_str).is_none_or(str::is_empty) {
                    errors.push(FieldError::required(
                        "metadata.annotations[kubernetes.io/service-account.name]",
                        "",
                    ));
                }
            }
            _ => {}
        }
        errors
    }
}

fn check_json(key: &str, encoded: Option<&str>) -> Option<FieldError> {
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(encoded?)
        .unwrap_or_default();
    serde_json::from_slice::<serde::de::IgnoredAny>(&bytes)
        .err()
        .map(|_| {
            FieldError::invalid(
                format!("data[{key}]"),
                "<secret contents redacted>",
                "invalid character in JSON",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn text_becomes_data_and_the_type_opaque() {
        let mut secret = json!({"data": {"a": "dg=="}, "stringData": {"b": "w"}});
        Secret.set_defaults(&mut secret);
        assert_eq!(
            secret,
            json!({"data": {"a": "dg==", "b": "dw=="}, "type": "Opaque"})
        );
    }

    #[test]
    fn tls_secrets_need_their_keys_and_types_do_not_change() {
        let secret = json!({"type": "kubernetes.io/tls", "data": {"a": "dg=="}});
        assert_eq!(
            told(&Secret.validate(&secret, None)),
            ["data[tls.crt]: Required value", "data[tls.key]: Required value"]
        );
        let old = json!({"type": "Opaque"});
        assert_eq!(
            told(&Secret.validate(&json!({"type": "a/b"}), Some(&old))),
            ["type: Invalid value: \"a/b\": field is immutable"]
        );
    }

    #[test]
    fn keys_are_checked() {
        let told = told(&ConfigMap.validate(&json!({"data": {"bad/key": "x", "ok.key": "y"}}), None));
        assert_eq!(told.len(), 1);
        assert!(
            told[0].starts_with("data[bad/key]: Invalid value: \"bad/key\": a valid config key must consist")
        );
    }

    #[test]
    fn what_is_immutable_stays() {
        let old = json!({"immutable": true, "data": {"a": "1"}});
        assert!(ConfigMap.validate(&old, Some(&old)).is_empty());
        assert_eq!(
            told(&ConfigMap.validate(&json!({"data": {"a": "2"}}), Some(&old))),
            [
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set"
            ]
        );
    }
}
