//! Protocol buffers of the gnostic project's `OpenAPI` v2 messages, made from the JSON document. It knows only what our
//! own documents contain; field numbers are those of `OpenAPIv2.proto`.

use serde_json::{Map, Value};

/// Bytes of one message.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            // Seven bits at a time, lowest first.
            self.0.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
            value >>= 7;
        }
        self.0.push(u8::try_from(value).unwrap_or(0));
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, field: u64, text: &str) {
        if !text.is_empty() {
            self.bytes(field, text.as_bytes());
        }
    }

    fn message(&mut self, field: u64, message: &Self) {
        self.bytes(field, &message.0);
    }

    fn flag(&mut self, field: u64, value: bool) {
        if value {
            self.varint(field << 3);
            self.varint(1);
        }
    }

    fn integer(&mut self, field: u64, value: Option<i64>) {
        if let Some(value) = value.filter(|v| *v != 0) {
            self.varint(field << 3);
            self.varint(value.cast_unsigned());
        }
    }

    fn double(&mut self, field: u64, value: Option<f64>) {
        if let Some(value) = value.filter(|v| *v != 0.0) {
            self.varint(field << 3 | 1);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn entries<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
    value.get(key).and_then(Value::as_object).into_iter().flatten()
}

/// A value of any form is carried as YAML, and JSON is YAML.
fn any(value: &Value) -> Message {
    let mut message = Message::default();
    message.text(2, &format!("{value}\n"));
    message
}

fn named(name: &str, value: &Message) -> Message {
    let mut message = Message::default();
    message.text(1, name);
    message.message(2, value);
    message
}

fn extensions(object: Option<&Map<String, Value>>, field: u64, into: &mut Message) {
    for (key, value) in object
        .into_iter()
        .flatten()
        .filter(|(key, _)| key.starts_with("x-"))
    {
        into.message(field, &named(key, &any(value)));
    }
}

/// Returns the bytes of a document.
pub(super) fn document(document: &Value) -> Vec<u8> {
    let mut message = Message::default();
    message.text(1, text(document, "swagger"));
    let mut info = Message::default();
    info.text(1, text(&document["info"], "title"));
    info.text(2, text(&document["info"], "version"));
    message.message(2, &info);
    let mut paths = Message::default();
    for (path, item) in entries(document, "paths") {
        paths.message(2, &named(path, &path_item(item)));
    }
    message.message(8, &paths);
    let mut definitions = Message::default();
    for (name, definition) in entries(document, "definitions") {
        definitions.message(1, &named(name, &schema(definition)));
    }
    message.message(9, &definitions);
    message.0
}

fn path_item(item: &Value) -> Message {
    let mut message = Message::default();
    for (field, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if let Some(of_method) = item.get(method) {
            message.message(field, &operation(of_method));
        }
    }
    for item in list(item, "parameters") {
        message.message(9, &parameter(item));
    }
    message
}

fn operation(operation: &Value) -> Message {
    let mut message = Message::default();
    message.text(3, text(operation, "description"));
    message.text(5, text(operation, "operationId"));
    for (field, key) in [(6, "produces"), (7, "consumes")] {
        for media in list(operation, key).filter_map(Value::as_str) {
            message.text(field, media);
        }
    }
    for item in list(operation, "parameters") {
        message.message(8, &parameter(item));
    }
    let mut responses = Message::default();
    for (code, response) in entries(operation, "responses") {
        let mut content = Message::default();
        content.text(1, text(response, "description"));
        if let Some(of_response) = response.get("schema") {
            let mut item = Message::default();
            item.message(1, &schema(of_response));
            content.message(2, &item);
        }
        let mut value = Message::default();
        value.message(1, &content);
        responses.message(1, &named(code, &value));
    }
    message.message(9, &responses);
    extensions(operation.as_object(), 13, &mut message);
    message
}

/// A parameter within two layers of alternatives: body or not, and where.
fn parameter(parameter: &Value) -> Message {
    let mut either = Message::default();
    if parameter["in"] == "body" {
        let mut body = Message::default();
        body.text(1, text(parameter, "description"));
        body.text(2, text(parameter, "name"));
        body.text(3, "body");
        body.flag(4, parameter["required"] == true);
        body.message(5, &schema(&parameter["schema"]));
        either.message(1, &body);
    } else {
        let mut inner = Message::default();
        inner.flag(1, parameter["required"] == true);
        inner.text(2, text(parameter, "in"));
        inner.text(3, text(parameter, "description"));
        inner.text(4, text(parameter, "name"));
        let in_path = parameter["in"] == "path";
        // Queries have a flag for empty values before the type.
        inner.text(if in_path { 5 } else { 6 }, text(parameter, "type"));
        let mut place = Message::default();
        place.message(if in_path { 4 } else { 3 }, &inner);
        either.message(2, &place);
    }
    let mut item = Message::default();
    item.message(1, &either);
    item
}

fn schema(schema: &Value) -> Message {
    let number = |key: &str| schema.get(key).and_then(Value::as_f64);
    let integer = |key: &str| schema.get(key).and_then(Value::as_i64);
    let flag = |key: &str| schema[key] == true;
    let mut message = Message::default();
    message.text(1, text(schema, "$ref"));
    message.text(2, text(schema, "format"));
    message.text(3, text(schema, "title"));
    message.text(4, text(schema, "description"));
    if let Some(default) = schema.get("default") {
        message.message(5, &any(default));
    }
    message.double(6, number("multipleOf"));
    message.double(7, number("maximum"));
    message.flag(8, flag("exclusiveMaximum"));
    message.double(9, number("minimum"));
    message.flag(10, flag("exclusiveMinimum"));
    message.integer(11, integer("maxLength"));
    message.integer(12, integer("minLength"));
    message.text(13, text(schema, "pattern"));
    message.integer(14, integer("maxItems"));
    message.integer(15, integer("minItems"));
    message.flag(16, flag("uniqueItems"));
    message.integer(17, integer("maxProperties"));
    message.integer(18, integer("minProperties"));
    for field in list(schema, "required").filter_map(Value::as_str) {
        message.bytes(19, field.as_bytes());
    }
    for choice in list(schema, "enum") {
        message.message(20, &any(choice));
    }
    if let Some(additional) = schema.get("additionalProperties").filter(|a| a.is_object()) {
        let mut item = Message::default();
        item.message(1, &self::schema(additional));
        message.message(21, &item);
    }
    if let Some(kind) = schema["type"].as_str() {
        let mut item = Message::default();
        item.text(1, kind);
        message.message(22, &item);
    }
    if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
        let mut item = Message::default();
        item.message(1, &self::schema(items));
        message.message(23, &item);
    }
    if schema["properties"].is_object() {
        let mut properties = Message::default();
        for (name, property) in entries(schema, "properties") {
            properties.message(1, &named(name, &self::schema(property)));
        }
        message.message(25, &properties);
    }
    extensions(schema.as_object(), 31, &mut message);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn messages_have_the_bytes_of_protocol_buffers() {
        let made = schema(&json!({"$ref": "a", "type": "b", "maxLength": 300, "uniqueItems": true}));
        // Field 1 text "a"; field 11 varint 300; field 16 varint 1; field 22 message with text "b".
        assert_eq!(
            made.0,
            [
                0x0a, 1, b'a', 0x58, 0xac, 0x02, 0x80, 0x01, 1, 0xb2, 0x01, 3, 0x0a, 1, b'b'
            ]
        );
    }

    #[test]
    fn extensions_are_yaml() {
        let made = schema(&json!({"x-k": [1]}));
        let text = String::from_utf8_lossy(&made.0).into_owned();
        assert!(text.contains("x-k") && text.contains("[1]\n"));
    }
}
