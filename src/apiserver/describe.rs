//! Answers about what is served: discovery and `OpenAPI`. What is made of all resources is made once for each set of them.
//! It must not know what stands in the documents.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::Value;

use super::builtin::Registry;
use super::builtin::documents::Document;
use super::path::{self, Target};
use super::routes::{accept_of, host_of, page_not_found};
use super::status::{ApiError, bytes_response, json_response};
use super::{Server, discovery, openapi};
use crate::time::SignedDuration;

/// For how long whoever has a document of a given hash need not ask again.
const YEAR: i64 = 365 * 24;

/// Answers what the server says of itself in `OpenAPI`.
pub(super) async fn openapi(server: &Server, parts: &Parts) -> Result<Response, ApiError> {
    let (registry, path, accept) = (server.registry(), parts.uri.path(), accept_of(&parts.headers));
    if path == "/openapi/v2" {
        return second(&registry, parts).await.ok_or_else(ApiError::no_such_path);
    }
    if !negotiates_json(accept) {
        return Err(ApiError::not_acceptable(&["application/json"]));
    }
    let rest = path
        .strip_prefix("/openapi/v3")
        .ok_or_else(ApiError::no_such_path)?;
    let segments: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
    let (group, version) = match segments[..] {
        [] => {
            let index = made(&registry, "v3", |all| {
                Some(Document::new(bytes(&openapi::v3_index(all))))
            })
            .await;
            return index
                .map(|index| tagged(parts, &index, "application/json"))
                .ok_or_else(ApiError::no_such_path);
        }
        ["api", version] => ("", version),
        ["apis", group, version] => (group, version),
        _ => return Err(ApiError::no_such_path()),
    };
    let document = third(&registry, group, version)
        .await
        .ok_or_else(ApiError::no_such_path)?;
    Ok(of_hash(server, parts, &document))
}

/// The only document of version 2.
async fn second(registry: &Registry, parts: &Parts) -> Option<Response> {
    let json = |all: &Registry| Some(Document::new(bytes(&openapi::v2_document(all))));
    let proto = |all: &Registry| Some(Document::new(openapi::v2_protobuf(&openapi::v2_document(all))));
    let (document, media_type) = match openapi::v2_wants_protobuf(accept_of(&parts.headers)) {
        None => (made(registry, "v2", json).await?, "application/json"),
        Some(media_type) => (made(registry, "v2 protobuf", proto).await?, media_type),
    };
    Some(tagged(parts, &document, media_type))
}

/// The document of a group and version. It is known by the hash that the index tells.
async fn third(registry: &Registry, group: &str, version: &str) -> Option<Arc<Document>> {
    let of = (group.to_owned(), version.to_owned());
    made(registry, &format!("v3 {group}/{version}"), move |all| {
        let document = openapi::v3_document(all, &of.0, &of.1)?;
        Some(Document {
            body: bytes(&document).into(),
            tag: openapi::v3_hash(all, &of.0, &of.1),
        })
    })
    .await
}

/// Returns a document, and makes it if nobody has yet: that takes long, and others are to be answered meanwhile.
async fn made(
    registry: &Registry,
    name: &str,
    make: impl FnOnce(&Registry) -> Option<Document> + Send + 'static,
) -> Option<Arc<Document>> {
    if let Some(known) = registry.documents().get(name) {
        return Some(known);
    }
    let (registry, name) = (registry.clone(), name.to_owned());
    let document = tokio::task::spawn_blocking(move || {
        let document = make(&registry)?;
        Some(registry.documents().keep(&name, document))
    });
    document.await.ok().flatten()
}

fn bytes(document: &Value) -> Vec<u8> {
    serde_json::to_vec(document).unwrap_or_default()
}

fn negotiates_json(accept: &str) -> bool {
    accept.is_empty()
        || accept.split(',').any(|media| {
            matches!(
                media.split(';').next().unwrap_or_default().trim(),
                "application/json" | "*/*" | "application/*"
            )
        })
}

/// Answers with a document, or that the client has it already.
fn tagged(parts: &Parts, document: &Document, media_type: &str) -> Response {
    let tag = format!("\"{}\"", document.tag);
    let known = parts
        .headers
        .get(header::IF_NONE_MATCH)
        .and_then(|v| v.to_str().ok());
    let is_known = known.is_some_and(|known| {
        let mut tags = known.split(',').map(str::trim);
        tags.any(|own| own == "*" || own.trim_start_matches("W/") == tag)
    });
    let mut response = bytes_response(200, Vec::new());
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().remove(header::CONTENT_TYPE);
    } else {
        *response.body_mut() = Body::from(document.body.clone());
        set(&mut response, header::CONTENT_TYPE, media_type);
    }
    set(&mut response, header::ETAG, &tag);
    response
}

fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Answers with a document of which the client says the hash: it never changes, and other hashes are led to it.
fn of_hash(server: &Server, parts: &Parts, document: &Document) -> Response {
    let query = path::query(parts.uri.query().unwrap_or_default());
    let hash = query
        .into_iter()
        .find(|(key, _)| key == "hash")
        .map(|(_, hash)| hash);
    match hash.filter(|hash| !hash.is_empty()) {
        None => tagged(parts, document, "application/json"),
        Some(hash) if hash == document.tag => {
            let mut response = tagged(parts, document, "application/json");
            set(&mut response, header::VARY, "Accept");
            set(&mut response, header::CACHE_CONTROL, "public, immutable");
            let end = server.now().saturating_add(SignedDuration::from_hours(YEAR));
            let end = end.unwrap_or_else(|_| server.now());
            let end = end.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            set(&mut response, header::EXPIRES, &end);
            response
        }
        Some(_) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
            let place = format!("{}?hash={}", parts.uri.path(), document.tag);
            set(&mut response, header::LOCATION, &place);
            response
        }
    }
}

/// Answers which groups, versions and resources there are.
pub(super) fn discover(server: &Server, target: &Target, parts: &Parts) -> Response {
    let registry = server.registry();
    if let Target::CoreVersions | Target::Groups = target
        && let Some(form) = discovery::Aggregated::wanted(accept_of(&parts.headers))
    {
        return aggregated(&registry, *target == Target::CoreVersions, form, parts);
    }
    let (name, make): (String, Box<dyn FnOnce() -> Option<Value> + '_>) = match target {
        // It says where the client has reached the server.
        Target::CoreVersions => return json_response(200, &discovery::api_versions(host_of(parts))),
        Target::Groups => (
            "groups".to_owned(),
            Box::new(|| Some(discovery::group_list(&registry))),
        ),
        Target::Group(group) => (
            format!("group {group}"),
            Box::new(|| discovery::group(&registry, group)),
        ),
        Target::Version { group, version } => (
            format!("resources {group}/{version}"),
            Box::new(|| discovery::resource_list(&registry, group, version)),
        ),
        Target::Resource(_) | Target::Other => return page_not_found(),
    };
    let known = registry.documents().get(&name);
    let document = known.or_else(|| {
        let document = Document::new(bytes(&make()?));
        Some(registry.documents().keep(&name, document))
    });
    document.map_or_else(page_not_found, |document| {
        let mut response = bytes_response(200, Vec::new());
        *response.body_mut() = Body::from(document.body.clone());
        response
    })
}

/// Answers all of it at once. Clients keep it, and ask whether it has changed.
fn aggregated(registry: &Registry, core: bool, form: discovery::Aggregated, parts: &Parts) -> Response {
    let name = format!("aggregated {core} {}", form.content_type());
    let document = registry.documents().get(&name).unwrap_or_else(|| {
        let document = bytes(&discovery::aggregated(registry, form, core));
        registry.documents().keep(&name, Document::new(document))
    });
    let mut response = tagged(parts, &document, &form.content_type());
    set(&mut response, header::VARY, "Accept");
    set(&mut response, header::CACHE_CONTROL, "public");
    response
}
