//! GET of one object and of many. It must not write.

use std::sync::Arc;

use axum::response::Response;
use base64::Engine;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::builtin::ResourceInfo;
use super::super::object::meta;
use super::super::object::selectors::Fields;
use super::super::status::{ApiError, bytes_response, json_response};
use super::super::store::{Range, Stored};
use super::super::table;
use super::options::ListOptions;
use super::{Call, Form, converts, load, render};

/// GET on an object.
pub(crate) async fn get(call: &Call) -> Result<Response, ApiError> {
    let form = call.form()?;
    let info = &*call.info;
    if form == Form::MetadataList {
        let why = format!(
            "you requested PartialObjectMetadataList, but the requested object is not a list ({})",
            go_type(info)
        );
        return Err(ApiError::form_not_acceptable(&why));
    }
    let stored = super::stored(call).await?;
    Ok(bytes_response(
        200,
        render::stored_bytes(call, info, &stored, form),
    ))
}

/// Where a list that was cut off goes on.
#[derive(Serialize, Deserialize)]
struct Token {
    v: String,
    /// The moment that all pages show; [`NOW`] when that is forgotten.
    rv: i64,
    start: String,
}

/// Stands in a [`Token`] for "as it is now".
const NOW: i64 = -1;
/// What a list is told whose first pages show a moment that is forgotten, in the words of kube-apiserver.
const INCONSISTENT: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

impl Token {
    /// Names the place behind `last` in the list of `version`.
    fn encode(version: u64, last: &Stored) -> String {
        let start = format!("{}/{}\0", last.key.namespace, last.key.name);
        Self::write(i64::try_from(version).unwrap_or(NOW), start)
    }

    /// Names the same place in the list as it is now.
    fn anew(&self) -> String {
        Self::write(NOW, self.start.clone())
    }

    fn write(rv: i64, start: String) -> String {
        let v = "meta.k8s.io/v1".to_owned();
        let json = serde_json::to_vec(&Self { v, rv, start }).unwrap_or_default();
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json)
    }

    fn decode(text: &str) -> Result<Self, ApiError> {
        let bad = |why: &str| {
            ApiError::bad_request(format!(
                "invalid continue token: continue key is not valid: {why}"
            ))
        };
        let json = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(text.trim_end_matches('='))
            .map_err(|e| bad(&base64_problem(text, &e)))?;
        let token: Self = serde_json::from_slice(&json).map_err(|e| bad(&super::json_problem(&json, &e)))?;
        if token.rv == 0 {
            let why = format!("incorrect encoded start resourceVersion (version {})", token.v);
            return Err(bad(&why));
        }
        Ok(token)
    }

    /// Returns the namespace and the name behind which the list goes on.
    fn place(&self) -> (&str, &str) {
        let start = self.start.trim_end_matches('\0');
        start.split_once('/').unwrap_or_default()
    }
}

/// Says what is wrong with a text that should be base64, as Go does.
fn base64_problem(text: &str, error: &base64::DecodeError) -> String {
    let at = match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => *at,
        _ => text.len(),
    };
    format!("illegal base64 data at input byte {at}")
}

/// One page of a list.
pub(crate) struct Page {
    pub(crate) version: u64,
    pub(crate) items: Vec<Arc<Stored>>,
    resume: String,
    remaining: usize,
}

/// GET on a collection.
pub(crate) async fn list(call: &Call, options: &ListOptions) -> Result<Response, ApiError> {
    let form = call.form()?;
    answer_page(call, &page(call, options).await?, form)
}

/// Answers with a list in the wanted form.
pub(crate) fn answer_page(call: &Call, page: &Page, form: Form) -> Result<Response, ApiError> {
    let info = &*call.info;
    let response = match form {
        Form::Object => bytes_response(200, list_bytes(info, page)),
        Form::Metadata => {
            let why = format!(
                "you requested PartialObjectMetadata, but the requested object is a list ({}List)",
                go_type(info)
            );
            return Err(ApiError::form_not_acceptable(&why));
        }
        Form::MetadataList => bytes_response(200, partial_bytes(call, page)),
        Form::Table(include) | Form::Rows(include) => {
            let items: Vec<Value> = page.items.iter().map(|s| load(info, s)).collect();
            json_response(
                200,
                &table::table(info, &items, &page.metadata(), include, call.server.now()),
            )
        }
    };
    Ok(response)
}

impl Page {
    fn metadata(&self) -> Value {
        let mut metadata = json!({"resourceVersion": self.version.to_string()});
        if !self.resume.is_empty() {
            metadata["continue"] = self.resume.clone().into();
            if self.remaining > 0 {
                metadata["remainingItemCount"] = self.remaining.into();
            }
        }
        metadata
    }
}

/// Puts a list together from objects that are JSON already.
fn list_bytes(info: &ResourceInfo, page: &Page) -> Vec<u8> {
    let size: usize = page.items.iter().map(|s| s.size() + 80).sum();
    let mut head =
        json!({"kind": info.list_kind, "apiVersion": info.api_version(), "metadata": page.metadata()});
    if info.custom && page.resume.is_empty() {
        // Lists of custom resources always have it.
        head["metadata"]["continue"] = "".into();
    }
    let mut out = serde_json::to_vec(&head).unwrap_or_default();
    out.reserve(size + 16);
    out.pop();
    out.extend_from_slice(b",\"items\":[");
    let api_version = info.api_version();
    for (index, stored) in page.items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        if info.custom {
            stored.write(&api_version, &info.kind, &mut out);
        } else if converts(info) {
            let mut object = load(info, stored);
            if let Some(object) = object.as_object_mut() {
                object.remove("apiVersion");
                object.remove("kind");
            }
            out.extend(serde_json::to_vec(&object).unwrap_or_default());
        } else {
            stored.write_bare(&mut out);
        }
    }
    out.extend_from_slice(b"]}");
    out
}

/// Puts a list of metadata together.
fn partial_bytes(call: &Call, page: &Page) -> Vec<u8> {
    let mut out = br#"{"apiVersion":"meta.k8s.io/v1","items":"#.to_vec();
    for (index, stored) in page.items.iter().enumerate() {
        out.push(if index == 0 { b'[' } else { b',' });
        render::write_stored(call, &call.info, stored, Form::MetadataList, &mut out);
    }
    out.extend_from_slice(if page.items.is_empty() { b"null" } else { b"]" });
    out.extend_from_slice(br#","kind":"PartialObjectMetadataList","metadata":"#);
    render::write_json(&page.metadata(), &mut out);
    out.push(b'}');
    out
}

/// Names the type that kube-apiserver has of a kind in memory, as some of its messages do.
fn go_type(info: &ResourceInfo) -> String {
    let package = match info.group.split('.').next().unwrap_or_default() {
        "" | "events" => "core",
        first => first,
    };
    if info.custom {
        "*unstructured.Unstructured".to_owned()
    } else {
        format!("*{package}.{}", info.kind)
    }
}

/// Returns the objects that a list request means.
pub(crate) async fn page(call: &Call, options: &ListOptions) -> Result<Page, ApiError> {
    let (info, store) = (&*call.info, call.server.store());
    check_fields(info, &options.fields)?;
    let namespace = (!call.path.namespace.is_empty()).then_some(call.path.namespace.as_str());
    let resource = info.storage_group_resource.as_str();
    let token = options.resume.as_deref().map(Token::decode).transpose()?;
    if token.is_some() && options.version.is_some_and(|version| version > 0) {
        return Err(ApiError::bad_request(
            "specifying resource version is not allowed when using continue",
        ));
    }
    let current = store.version();
    let at = match (&token, options.version) {
        (Some(token), _) => u64::try_from(token.rv).ok(),
        (None, Some(version)) if options.exact => Some(version),
        (None, Some(version)) if version > current => return Err(ApiError::future_version(version, current)),
        _ => None,
    };
    if let Some(at) = at.filter(|at| *at > current) {
        return Err(ApiError::future_version(at, current));
    }
    let limit = if options.limit > 0 {
        options.limit
    } else {
        usize::MAX
    };
    // How many objects selectors leave is not known before they are looked at.
    let selects = !options.labels.is_empty() || !options.fields.is_empty();
    let range = Range {
        after: token.as_ref().map(Token::place),
        limit: if selects { usize::MAX } else { limit },
    };
    let (version, part) = match at {
        Some(at) => {
            let listed = store.part_at(resource, namespace, range, at);
            (at, listed.map_err(|_| too_old(token.as_ref()))?)
        }
        None => store.part(resource, namespace, range),
    };
    // What selectors look at may depend on the version.
    let mut items = call.server.present_all(info, part.items).await?;
    let mut is_cut = part.remaining > 0;
    if selects {
        items.retain(|s| is_meant(info, options, s));
        is_cut = items.len() > limit;
        items.truncate(limit);
    }
    let last = items.last().filter(|_| is_cut);
    Ok(Page {
        version,
        resume: last.map(|last| Token::encode(version, last)).unwrap_or_default(),
        remaining: part.remaining,
        items,
    })
}

fn too_old(token: Option<&Token>) -> ApiError {
    match token {
        Some(token) => ApiError::expired(INCONSISTENT).continued(token.anew()),
        None => ApiError::expired("The resourceVersion for the provided list is too old."),
    }
}

/// Says whether the selectors of a request mean an object.
pub(crate) fn is_meant(info: &ResourceInfo, options: &ListOptions, stored: &Stored) -> bool {
    if !options.labels.matches(|key| stored.labels.get(key)) {
        return false;
    }
    if options.fields.is_empty() {
        return true;
    }
    let simple = options
        .fields
        .terms()
        .iter()
        .all(|t| matches!(t.field.as_str(), "metadata.name" | "metadata.namespace"));
    let object = if simple { Value::Null } else { load(info, stored) };
    options.fields.matches(|field| match field {
        "metadata.name" => stored.key.name.to_string(),
        "metadata.namespace" => stored.key.namespace.to_string(),
        field => field_value(info, &object, field),
    })
}

/// Returns what a field selector compares.
pub(crate) fn field_value(info: &ResourceInfo, object: &Value, field: &str) -> String {
    let text = meta::field_text(object, field);
    if !text.is_empty() {
        return text;
    }
    match (info.kind.as_str(), field) {
        ("Node", "spec.unschedulable") | ("Pod", "spec.hostNetwork") => "false".to_owned(),
        ("Event", "source") => meta::field_text(object, "source.component"),
        ("Event", "reportingComponent") => meta::field_text(object, "reportingController"),
        _ => text,
    }
}

/// Checks that objects of a kind can be selected by the fields that are asked for.
pub(crate) fn check_fields(info: &ResourceInfo, fields: &Fields) -> Result<(), ApiError> {
    for term in fields.terms() {
        let field = term.field.as_str();
        let known = match field {
            "metadata.name" => true,
            "metadata.namespace" => info.namespaced || !info.custom,
            field => info
                .selectable_fields
                .iter()
                .any(|f| f.trim_start_matches('.') == field),
        };
        if !known {
            return Err(ApiError::bad_request(
                if info.custom || !info.selectable_fields.is_empty() {
                    format!("field label not supported: {field}")
                } else {
                    format!(
                        "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
                    )
                },
            ));
        }
    }
    Ok(())
}
