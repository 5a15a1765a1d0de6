//! What is not there yet: discovery, OpenAPI, reviews and tables. It must go away.

use axum::response::Response;
use serde_json::{Value, json};

use super::builtin::ResourceInfo;
use super::handlers::Call;
use super::status::ApiError;
use crate::time::Timestamp;

/// Which part of the object a row carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Include {
    /// None.
    None,
    /// The metadata.
    Metadata,
    /// All of it.
    Object,
}

/// Returns a table without cells.
pub(crate) fn table(
    _info: &ResourceInfo,
    items: &[Value],
    meta: &Value,
    _include: Include,
    _now: Timestamp,
) -> Value {
    let rows: Vec<Value> = items.iter().map(|i| json!({"cells": [], "object": i})).collect();
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "columnDefinitions": [], "rows": rows})
}

/// Answers a review.
pub(crate) fn review(_call: &Call) -> Result<Response, ApiError> {
    Err(ApiError::no_such_path())
}
