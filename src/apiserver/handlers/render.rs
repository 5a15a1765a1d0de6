//! In which form answers go out: objects, tables, metadata alone. It must not read the store.

use std::sync::PoisonError;

use axum::response::Response;
use http::{HeaderValue, header};
use serde_json::{Value, json};

use super::super::builtin::ResourceInfo;
use super::super::status::{bytes_response, json_response};
use super::super::store::Stored;
use super::super::table;
use super::write::Left;
use super::{Call, converts, load};

/// Characters of all warnings of an answer, and of each if that is not enough.
const WARNINGS: usize = 4096;
const WARNING: usize = 256;

/// The form in which a client wants objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As they are.
    Object,
    /// As rows of a table.
    Table(table::Include),
    /// As rows of a table whose columns are known.
    Rows(table::Include),
    /// The metadata of one alone.
    Metadata,
    /// The metadata of all in a list alone.
    MetadataList,
}

/// Chooses the first form of an `Accept` header that the server can give as JSON.
pub(crate) fn negotiate(accept: &str, include: Option<&str>) -> Option<Form> {
    if accept.trim().is_empty() {
        return Some(Form::Object);
    }
    for clause in accept.split(',') {
        let mut parts = clause.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        if !matches!(media, "application/json" | "*/*" | "application/*") {
            continue;
        }
        let parameters: Vec<(&str, &str)> = parts.filter_map(|p| p.split_once('=')).collect();
        let parameter = |name: &str| parameters.iter().find(|(k, _)| *k == name).map(|(_, v)| *v);
        let group_fits = parameter("g").is_none_or(|g| g == "meta.k8s.io");
        let version_fits = parameter("v").is_none_or(|v| matches!(v, "v1" | "v1beta1"));
        match parameter("as") {
            None => return Some(Form::Object),
            Some("Table") if group_fits && version_fits => {
                let include = match include {
                    Some("Object") => table::Include::Object,
                    Some("None") => table::Include::None,
                    _ => table::Include::Metadata,
                };
                return Some(Form::Table(include));
            }
            Some("PartialObjectMetadata") if group_fits && version_fits => return Some(Form::Metadata),
            Some("PartialObjectMetadataList") if group_fits && version_fits => {
                return Some(Form::MetadataList);
            }
            Some(_) => {}
        }
    }
    None
}

/// Writes an object of its own to `out` that holds metadata alone; `metadata` writes those.
fn write_partial(out: &mut Vec<u8>, metadata: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(br#"{"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadata","metadata":"#);
    metadata(out);
    out.push(b'}');
}

/// Writes a stored object's JSON in the wanted form to `out`. As it is stored it is copied, not read.
pub(crate) fn write_stored(call: &Call, info: &ResourceInfo, stored: &Stored, form: Form, out: &mut Vec<u8>) {
    if form == Form::Object && !converts(info) {
        out.reserve(stored.size() + 96);
        stored.write(&info.api_version(), &info.kind, out);
    } else if matches!(form, Form::Metadata | Form::MetadataList) && !converts(info) {
        write_partial(out, |out| stored.write_metadata(out));
    } else {
        write_object(call, info, &load(info, stored), form, out);
    }
}

/// Returns a stored object's JSON in the wanted form.
pub(crate) fn stored_bytes(call: &Call, info: &ResourceInfo, stored: &Stored, form: Form) -> Vec<u8> {
    let mut out = Vec::new();
    write_stored(call, info, stored, form, &mut out);
    out
}

/// Writes an object's JSON in the wanted form to `out`.
pub(crate) fn write_object(call: &Call, info: &ResourceInfo, object: &Value, form: Form, out: &mut Vec<u8>) {
    match form {
        Form::Object => write_json(object, out),
        Form::Metadata | Form::MetadataList => write_partial(out, |out| write_json(&object["metadata"], out)),
        Form::Table(include) | Form::Rows(include) => {
            let version = object
                .pointer("/metadata/resourceVersion")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let list_meta = json!({"resourceVersion": version});
            let mut table = table::table(
                info,
                std::slice::from_ref(object),
                &list_meta,
                include,
                call.server.now(),
            );
            if matches!(form, Form::Rows(_)) {
                table["columnDefinitions"] = Value::Null;
            }
            write_json(&table, out);
        }
    }
}

/// Writes a value as JSON to `out`.
pub(crate) fn write_json(value: &Value, out: &mut Vec<u8>) {
    // Writing a value to memory does not fail.
    drop(serde_json::to_writer(out, value));
}

/// Answers with an object that a write left.
pub(crate) fn answer(call: &Call, code: u16, object: &Value, form: Form) -> Response {
    let mut body = Vec::new();
    write_object(call, &call.info, object, form, &mut body);
    bytes_response(code, body)
}

/// Answers with what a write left, as it lies in the store if it can.
pub(crate) fn answer_left(call: &Call, code: u16, left: &Left, form: Form) -> Response {
    match left {
        Left::Stored(stored) => bytes_response(code, stored_bytes(call, &call.info, stored, form)),
        Left::Value(object) => answer(call, code, object, form),
    }
}

/// Answers with any other object.
pub(crate) fn plain(code: u16, object: &Value) -> Response {
    json_response(code, object)
}

/// Returns warnings as far as headers have room for them, as kube-apiserver does: if they are too long together, each is cut.
fn bounded<'a>(warnings: &[&'a str]) -> Vec<&'a str> {
    let length = |text: &str| text.chars().count();
    if warnings.iter().map(|text| length(text)).sum::<usize>() <= WARNINGS {
        return warnings.to_vec();
    }
    let mut told = 0;
    let room = |text: &&str| {
        let had = told;
        told += length(text);
        had < WARNINGS
    };
    warnings.iter().map(|text| begin(text)).take_while(room).collect()
}

/// Returns the first characters of a warning that is too long.
fn begin(text: &str) -> &str {
    let end = text.char_indices().nth(WARNING).map(|(at, _)| at);
    end.map_or(text, |end| &text[..end])
}

/// Puts what is to be said beside the answer into its headers.
pub(crate) fn put_warnings(call: &Call, response: &mut Response) {
    let warnings = call.warnings.lock().unwrap_or_else(PoisonError::into_inner);
    let all: Vec<&str> = call
        .info
        .deprecation_warning
        .iter()
        .chain(&*warnings)
        .map(String::as_str)
        .collect();
    for text in bounded(&all) {
        let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{escaped}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_cut_where_they_are_too_long_together() {
        let long = "ä".repeat(300);
        assert_eq!(bounded(&[&long, "b"]), [&long, "b"]);
        let many = bounded(&[&*long; 100]);
        assert_eq!(many.len(), WARNINGS / WARNING);
        assert!(many.iter().all(|text| text.chars().count() == WARNING));
    }

    #[test]
    fn metadata_alone_are_written_as_those_of_the_whole() {
        let object = json!({ "metadata": { "name": "a\"", "labels": { "b": "1" } }, "spec": {} });
        let mut out = Vec::new();
        write_partial(&mut out, |out| write_json(&object["metadata"], out));
        let whole = json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
        });
        assert_eq!(String::from_utf8(out).unwrap(), whole.to_string());
    }

    #[test]
    fn the_first_form_that_can_be_given_is_chosen() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        assert_eq!(
            negotiate(table, None).unwrap(),
            Form::Table(table::Include::Metadata)
        );
        assert_eq!(
            negotiate("application/vnd.kubernetes.protobuf,application/json", None).unwrap(),
            Form::Object
        );
        assert_eq!(
            negotiate("application/json;as=Table;v=v9;g=meta.k8s.io,*/*", None).unwrap(),
            Form::Object
        );
        let metadata = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
        assert_eq!(negotiate(metadata, None).unwrap(), Form::MetadataList);
        assert_eq!(negotiate("text/html", None), None);
    }
}
