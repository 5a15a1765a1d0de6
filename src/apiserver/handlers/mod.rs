//! What the verbs do. Each file is one verb or a few that belong together.
//! It must not know paths, and not how objects are stored.

mod body;
pub(crate) mod delete;
mod eviction;
mod options;
mod patch;
mod read;
mod remove;
mod render;
mod review;
mod scale;
mod subresources;
mod token;
mod write;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

pub(crate) use self::body::json_problem;
pub(crate) use self::body::normalise;
pub(crate) use self::options::{ListOptions, Propagation, Query, WriteOptions};
pub(crate) use self::patch::patch;
pub(crate) use self::read::{check_fields, get, is_meant, list};
pub(crate) use self::remove::{delete_collection, delete_one};
pub(crate) use self::render::{Form, negotiate, put_warnings, write_json, write_object, write_stored};
pub(crate) use self::review::review;
pub(crate) use self::scale::{scale, selector_text};
pub(crate) use self::subresources::other;
pub(crate) use self::write::{SIGNING_REQUESTS, create, update};
use super::Server;
use super::auth::{Tokens, UserInfo};
use super::builtin::ResourceInfo;
use super::object::depth::MAX_NEW_DEPTH;
use super::path::ResourcePath;
use super::proto;
use super::status::ApiError;
use super::store::{Stored, WriteError};

/// Tries of a write that others keep getting in the way of.
pub(crate) const ATTEMPTS: usize = 20;

/// The media types that errors name, for all kinds alike, as the API server does.
pub(crate) const MEDIA_TYPES: [&str; 3] = ["application/json", "application/yaml", proto::MEDIA_TYPE];

/// One request, taken apart.
pub(crate) struct Call {
    pub(crate) server: Server,
    pub(crate) info: Arc<ResourceInfo>,
    pub(crate) path: ResourcePath,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) user: Arc<UserInfo>,
    /// The bearer tokens of the listener that the request came through.
    pub(crate) tokens: Arc<Tokens>,
    /// What the client is told beside the answer, whatever that is.
    pub(crate) warnings: Mutex<Vec<String>>,
}

impl Call {
    /// Returns a header as text, empty if it is not there or no text.
    pub(crate) fn header(&self, name: http::header::HeaderName) -> &str {
        self.headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
    }

    /// Returns the media type of the body, without parameters.
    pub(crate) fn content_type(&self) -> &str {
        self.header(http::header::CONTENT_TYPE)
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
    }

    /// Returns the form in which the client wants objects.
    pub(crate) fn form(&self) -> Result<Form, ApiError> {
        let (accept, include) = (self.header(http::header::ACCEPT), self.query.get("includeObject"));
        let form = if proto::wanted(accept) {
            // Protocol buffers are made of the JSON. There are none of tables and custom objects.
            negotiate(&accept.replace(proto::MEDIA_TYPE, "application/json"), include).filter(|form| {
                match form {
                    Form::Metadata | Form::MetadataList => true,
                    Form::Object => !self.info.custom,
                    Form::Table(_) | Form::Rows(_) => false,
                }
            })
        } else {
            negotiate(accept, include)
        };
        form.ok_or_else(|| ApiError::not_acceptable(&MEDIA_TYPES))
    }

    /// Says something beside the answer. A write that is tried again says it anew.
    pub(crate) fn warn(&self, warnings: Vec<String>) {
        *self.warnings.lock().unwrap_or_else(PoisonError::into_inner) = warnings;
    }

    /// Says something more beside the answer, once.
    pub(crate) fn warn_also(&self, text: &str) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if !text.is_empty() && !warnings.iter().any(|w| w == text) {
            warnings.push(text.to_owned());
        }
    }

    /// Returns the name of the manager of fields written by this request.
    pub(crate) fn manager(&self, given: &str) -> String {
        options::manager_name(given, self.header(http::header::USER_AGENT))
    }
}

/// Says whether objects of a version look different from what is stored, beside their `apiVersion`.
pub(crate) fn converts(info: &ResourceInfo) -> bool {
    !info.custom && info.converts()
}

/// Returns a stored object in the form of `info`'s version. One that a webhook must convert is to be
/// [presented](Server::present) before.
pub(crate) fn load(info: &ResourceInfo, stored: &Stored) -> Value {
    let mut object = stored.value(&info.api_version(), &info.kind);
    if converts(info) {
        info.from_storage(&mut object);
    }
    object
}

/// Returns an object in the form in which it is stored.
pub(crate) async fn to_stored(
    server: &Server,
    info: &ResourceInfo,
    mut object: Value,
) -> Result<Value, ApiError> {
    if info.custom {
        return server.to_stored_version(info, object).await;
    }
    if converts(info) {
        info.to_storage(&mut object);
    }
    Ok(object)
}

/// Returns the object that a request means, in the form of the request's version.
pub(crate) async fn stored(call: &Call) -> Result<Arc<Stored>, ApiError> {
    let (info, path) = (&*call.info, &call.path);
    let found = call
        .server
        .store()
        .get(&info.storage_group_resource, &path.namespace, &path.name)
        .ok_or_else(|| ApiError::not_found(info, &path.name))?;
    call.server.present(info, found).await
}

/// Lets a write be tried again if somebody else came first.
pub(crate) fn write_error(error: WriteError) -> Result<(), ApiError> {
    match error {
        WriteError::Conflict => Ok(()),
        WriteError::Disk(reason) => Err(ApiError::internal(&format!("cannot write the state: {reason}"))),
        WriteError::TooDeep => Err(ApiError::bad_request(format!(
            "the object nests deeper than {MAX_NEW_DEPTH} levels"
        ))),
        WriteError::Closed => Err(ApiError::unavailable("the server is shutting down")),
    }
}
