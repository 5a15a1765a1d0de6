//! The answers that are not objects: Kubernetes `Status` with the reason, message and details clients look for.
//! It must not decide when something is an error.

use std::borrow::Cow;
use std::collections::HashSet;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use super::audit::Failure;
use super::builtin::ResourceInfo;
use super::schema::{FieldError, go_quote};

/// An error as the API tells it.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    code: u16,
    reason: Cow<'static, str>,
    message: String,
    details: Option<Value>,
    /// Where a list that can't go on as it began can go on; mostly empty.
    resume: String,
}

impl ApiError {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
            message: message.into(),
            details: None,
            resume: String::new(),
        }
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        let mut details = Map::new();
        for (key, value) in [("name", name), ("group", group), ("kind", kind)] {
            if !value.is_empty() {
                details.insert(key.to_owned(), Value::String(value.to_owned()));
            }
        }
        self.details = Some(Value::Object(details));
        self
    }

    fn about_resource(self, info: &ResourceInfo, name: &str) -> Self {
        self.about(&info.group, &info.plural, name)
    }

    fn with_causes(mut self, causes: Vec<Value>) -> Self {
        let details = self.details.get_or_insert_with(|| json!({}));
        details["causes"] = Value::Array(causes);
        self
    }

    /// The path leads nowhere.
    pub(crate) fn no_such_path() -> Self {
        let message = "the server could not find the requested resource";
        Self {
            details: Some(json!({})),
            ..Self::new(404, "NotFound", message)
        }
    }

    /// There is no such object.
    pub(crate) fn not_found(info: &ResourceInfo, name: &str) -> Self {
        Self::new(
            404,
            "NotFound",
            format!("{} {name:?} not found", info.group_resource()),
        )
        .about_resource(info, name)
    }

    /// There is no such namespace.
    pub(crate) fn no_namespace(name: &str) -> Self {
        Self::new(404, "NotFound", format!("namespaces {name:?} not found")).about("", "namespaces", name)
    }

    /// There already is such an object.
    pub(crate) fn already_exists(info: &ResourceInfo, name: &str, deleting: bool) -> Self {
        let before = if deleting { "object is being deleted: " } else { "" };
        let message = format!("{before}{} {name:?} already exists", info.group_resource());
        Self::new(409, "AlreadyExists", message).about_resource(info, name)
    }

    /// The object is not as the request expects it. `group_resource` and `kind` are how the message and the details
    /// name it.
    fn conflict(group_resource: &str, group: &str, kind: &str, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {group_resource} {name:?}: {why}");
        Self::new(409, "Conflict", message).about(group, kind, name)
    }

    /// The object is not as the request expects it.
    pub(crate) fn resource_conflict(info: &ResourceInfo, name: &str, why: &str) -> Self {
        Self::conflict(&info.group_resource(), &info.group, &info.plural, name, why)
    }

    /// The object is not as the request on its subresource expects it.
    pub(crate) fn subresource_conflict(
        info: &ResourceInfo,
        subresource: &str,
        name: &str,
        why: &str,
    ) -> Self {
        let resource = format!("{}/{subresource}", info.plural);
        Self::conflict(&resource, &info.group, &resource, name, why)
    }

    /// The precondition of a removal does not hold.
    pub(crate) fn delete_conflict(info: &ResourceInfo, name: &str, why: &str) -> Self {
        Self::conflict(&info.group_kind(), &info.group, &info.kind, name, why)
    }

    /// The object is not as the request expects it, which knows it by its kind.
    pub(crate) fn kind_conflict(group: &str, kind: &str, name: &str, why: &str) -> Self {
        let qualified = if group.is_empty() {
            kind.to_owned()
        } else {
            format!("{kind}.{group}")
        };
        Self::conflict(&qualified, group, kind, name, why)
    }

    /// The object has been changed by somebody else since it was read.
    pub(crate) fn modified(info: &ResourceInfo, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::resource_conflict(info, name, why)
    }

    /// Fields that others manage would be overwritten. Each conflict is (message of the cause, field path).
    pub(crate) fn apply_conflict(message: String, conflicts: Vec<(String, String)>) -> Self {
        let causes = conflicts
            .into_iter()
            .map(|(message, field)| json!({"reason": "FieldManagerConflict", "message": message, "field": field}))
            .collect();
        Self::new(409, "Conflict", message).with_causes(causes)
    }

    /// The request makes no sense.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// Something failed that the client can do nothing about, and that has no reason of its own.
    pub(crate) fn plain_500(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    /// Something failed that the client can do nothing about.
    pub(crate) fn internal(message: &str) -> Self {
        Self::new(
            500,
            "InternalError",
            format!("Internal error occurred: {message}"),
        )
        .with_causes(vec![json!({"message": message})])
    }

    /// The request did not arrive in time.
    pub(crate) fn timed_out() -> Self {
        Self {
            details: Some(json!({})),
            ..Self::new(
                504,
                "Timeout",
                "Timeout: request did not complete within the allotted timeout",
            )
        }
    }

    /// The server is going away.
    pub(crate) fn unavailable(message: &str) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// The path does not take this method.
    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self {
            details: Some(json!({})),
            ..Self::new(405, "MethodNotAllowed", message)
        }
    }

    /// The resource does not take this verb.
    pub(crate) fn verb_not_allowed(info: &ResourceInfo, verb: &str) -> Self {
        let resource = info.group_resource();
        Self::new(
            405,
            "MethodNotAllowed",
            format!("{verb} is not supported on resources of kind {resource:?}"),
        )
        .about_resource(info, "")
    }

    /// The body's content type is not understood.
    pub(crate) fn unsupported_media_type(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// The patch's content type is none at all.
    pub(crate) fn unknown_patch_type() -> Self {
        Self::new(415, "UnsupportedMediaType", "415: Unsupported Media Type")
    }

    /// None of the forms that the client takes can be given.
    pub(crate) fn not_acceptable(accepted: &[&str]) -> Self {
        let message = format!(
            "only the following media types are accepted: {}",
            accepted.join(", ")
        );
        Self::new(406, "NotAcceptable", message)
    }

    /// The answer can't be given in the form that the client wants.
    pub(crate) fn form_not_acceptable(why: &str) -> Self {
        Self::new(406, "NotAcceptable", why)
    }

    /// The body is too large.
    pub(crate) fn too_large(limit: usize) -> Self {
        Self::request_too_large(&format!("limit is {limit}"))
    }

    /// The request asks for too much at once.
    pub(crate) fn request_too_large(message: &str) -> Self {
        let message = format!("Request entity too large: {message}");
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// The history does not reach back that far.
    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// The request asks for a state that is yet to come.
    pub(crate) fn future_version(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        Self::new(504, "Timeout", message).with_causes(vec![
            json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}),
        ])
    }

    /// Nobody knows who asks.
    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// The request is not allowed.
    pub(crate) fn forbidden(info: &ResourceInfo, name: &str, why: &str) -> Self {
        let message = format!("{} {name:?} is forbidden: {why}", info.group_resource());
        Self::new(403, "Forbidden", message).about_resource(info, name)
    }

    /// Who asks may not do what he asks for. Without a resource it is a path.
    pub(crate) fn not_allowed(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let qualified = if group.is_empty() {
            resource.to_owned()
        } else {
            format!("{resource}.{group}")
        };
        let message = match (resource, name) {
            ("", _) => format!("forbidden: {why}"),
            (_, "") => format!("{qualified} is forbidden: {why}"),
            _ => format!("{qualified} {} is forbidden: {why}", go_quote(name)),
        };
        Self::new(403, "Forbidden", message).about(group, resource, name)
    }

    /// The namespace is being removed and takes no new objects.
    pub(crate) fn namespace_terminating(info: &ResourceInfo, name: &str, namespace: &str) -> Self {
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        let cause = json!({"reason": "NamespaceTerminating", "message": format!("namespace {namespace} is being terminated"), "field": "metadata.namespace"});
        Self::forbidden(info, name, &why).with_causes(vec![cause])
    }

    /// Somebody whom the state says to ask refuses. `details` are what he says himself.
    pub(crate) fn refused(code: u16, reason: String, message: String, details: Option<Value>) -> Self {
        Self {
            reason: reason.into(),
            details,
            ..Self::new(code, "", message)
        }
    }

    /// A policy refuses, for a reason of its own.
    pub(crate) fn denied(info: &ResourceInfo, name: &str, why: &str, code: u16, reason: String) -> Self {
        let message = if name.is_empty() {
            format!("{} is forbidden: {why}", info.group_resource())
        } else {
            format!("{} {name:?} is forbidden: {why}", info.group_resource())
        };
        let refused = Self::new(code, "", message).about_resource(info, name);
        Self {
            reason: reason.into(),
            ..refused.with_causes(vec![json!({"message": why})])
        }
    }

    /// Too many requests of this sort: what an eviction says that a budget does not allow.
    pub(crate) fn too_many_requests(message: &str, causes: Vec<Value>) -> Self {
        Self::new(429, "TooManyRequests", message).with_causes(causes)
    }

    /// Says after how many seconds to ask again: in the details and, made of those, in the header `Retry-After`.
    pub(crate) fn retried_after(mut self, seconds: u32) -> Self {
        let details = self.details.get_or_insert_with(|| json!({}));
        details["retryAfterSeconds"] = seconds.into();
        self
    }

    /// The list goes on with `token` as it is now, not as it was.
    pub(crate) fn continued(mut self, token: String) -> Self {
        self.resume = token;
        self
    }

    /// The object breaks rules. `kind` and `group` name its kind.
    pub(crate) fn invalid_kind(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let group_kind = if group.is_empty() {
            kind.to_owned()
        } else {
            format!("{kind}.{group}")
        };
        // A request can break a rule at 100,000 places.
        let (mut told, mut seen) = (HashSet::new(), Vec::new());
        let mut causes = Vec::new();
        for error in errors {
            let text = error.to_string();
            let body = text
                .strip_prefix(&format!("{}: ", error.field))
                .unwrap_or(&text)
                .to_owned();
            causes.push(json!({"reason": error.kind.reason(), "message": body, "field": error.field}));
            if told.insert(text.clone()) {
                seen.push(text);
            }
        }
        let list = match seen.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        Self::new(
            422,
            "Invalid",
            format!("{group_kind} {name:?} is invalid: {list}"),
        )
        .about(group, kind, name)
        .with_causes(causes)
    }

    /// The patch cannot be applied to the object.
    pub(crate) fn unprocessable(message: &str) -> Self {
        Self::new(422, "Invalid", message)
    }

    /// Returns the HTTP status code.
    pub(crate) fn code(&self) -> u16 {
        self.code
    }

    /// Returns what went wrong.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Returns the `Status` object.
    pub(crate) fn to_value(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = Value::String(self.reason.to_string());
        }
        if !self.resume.is_empty() {
            status["metadata"]["continue"] = self.resume.clone().into();
        }
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = json_response(self.code, &self.to_value());
        let seconds = self
            .details
            .as_ref()
            .and_then(|d| d["retryAfterSeconds"].as_u64());
        if let Some(seconds) = seconds {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(Failure {
            reason: self.reason,
            message: self.message,
        });
        response
    }
}

/// Returns an answer with `value` as its body.
pub(crate) fn json_response(code: u16, value: &Value) -> Response {
    bytes_response(code, serde_json::to_vec(value).unwrap_or_default())
}

/// Returns an answer with JSON that is there already.
pub(crate) fn bytes_response(code: u16, json: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, private"),
    );
    response
}

/// Returns what a removal answers that left nothing to show.
pub(crate) fn deleted_status(info: &ResourceInfo, name: &str, uid: &str) -> Value {
    let mut details = json!({"name": name, "kind": info.plural, "uid": uid});
    if !info.group.is_empty() {
        details["group"] = Value::String(info.group.clone());
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

/// Returns the answer of requests that only want something to happen.
pub(crate) fn success_status(code: u16) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code})
}
