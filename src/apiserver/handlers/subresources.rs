//! Subresources that do something: binding pods, finalizing namespaces, approving certificates; evicting pods is in `eviction`,
//! making tokens in `token`.
//! It must not make up kinds: which subresources there are, the registry says.

use axum::response::Response;
use http::Method;
use serde_json::{Value, json};

use super::super::admission::{Asked, Operation};
use super::super::authorize::nodes::restriction::{self, Write};
use super::super::object::meta;
use super::super::status::{ApiError, success_status};
use super::options::{WriteKind, WriteOptions};
use super::write::{Target, check_name, guaranteed, track};
use super::{Call, body, render};
use crate::time::rfc3339;

/// Answers a request on a subresource other than `status` and `scale`.
pub(crate) async fn other(call: &Call, method: &Method) -> Result<Response, ApiError> {
    let resource = call.info.storage_group_resource.as_str();
    match (resource, call.path.subresource.as_str(), method) {
        ("pods", "binding", &Method::POST) => bind(call).await,
        ("pods", "eviction", &Method::POST) => super::eviction::evict(call).await,
        ("serviceaccounts", "token", &Method::POST) => super::token::token(call),
        ("namespaces", "finalize", &Method::PUT) => replace(call, "spec").await,
        (super::write::SIGNING_REQUESTS, "approval", &Method::PUT) => replace(call, "status").await,
        (super::write::SIGNING_REQUESTS, "approval", &Method::PATCH) => super::patch(call).await,
        (_, "finalize" | "approval", &Method::GET) => super::get(call).await,
        _ => Err(ApiError::method_not_allowed()),
    }
}

/// Replaces one top-level field of an object by that of the body.
async fn replace(call: &Call, field: &str) -> Result<Response, ApiError> {
    let form = call.form()?;
    let manages = match call.path.subresource.as_str() {
        "approval" => Target::APPROVAL,
        _ => Target::STATUS,
    };
    let options = WriteOptions::parse(&call.query, WriteKind::Update)?;
    let mut object = body::object(call, options.validation)?;
    check_name(call, &mut object)?;
    let written = guaranteed(
        call,
        Target::AS_IS,
        &options,
        false,
        meta::text(&object, "uid"),
        |live| {
            let live = live.ok_or_else(|| ApiError::not_found(&call.info, &call.path.name))?;
            let mut new = live.clone();
            new[field] = object[field].clone();
            let version = meta::text(&object, "resourceVersion");
            if !version.is_empty() {
                meta::set(&mut new, "resourceVersion", version);
            }
            track(call, manages, &options.manager, Some(live), &mut new);
            Ok(new)
        },
    )
    .await?;
    Ok(render::answer_left(call, 200, &written.left, form))
}

/// Asks all that want to be asked about what is posted to a subresource of an object.
pub(super) async fn admitted(
    call: &Call,
    options: &WriteOptions,
    api_version: &str,
    kind: &str,
    mut posted: Value,
) -> Result<Value, ApiError> {
    if !posted.is_object() {
        return Ok(posted);
    }
    posted["apiVersion"] = api_version.into();
    posted["kind"] = kind.into();
    let asked = Asked {
        call,
        operation: Operation::Create,
        options,
        name: &call.path.name,
    };
    let posted = asked.mutate(posted, None).await?;
    asked.validate(&posted, None).await?;
    Ok(posted)
}

/// Puts a pod on a node.
async fn bind(call: &Call) -> Result<Response, ApiError> {
    let options = WriteOptions::parse(&call.query, WriteKind::Create)?;
    let binding = body::parse(call, "Binding")?;
    restriction::check(call, Write::Create(&binding))?;
    let binding = admitted(call, &options, "v1", "Binding", binding).await?;
    let node = binding
        .pointer("/target/name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    if node.is_empty() {
        return Err(ApiError::bad_request("the target of a binding must name a node"));
    }
    let now = call.server.now();
    guaranteed(call, Target::AS_IS, &options, false, meta::text(&binding, "uid"), |live| {
        let live = live.ok_or_else(|| ApiError::not_found(&call.info, &call.path.name))?;
        let bound = live.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
        let refusal = if meta::is_deleting(live) {
            Some("is being deleted, cannot be assigned to a host".to_owned())
        } else {
            (!bound.is_empty()).then(|| format!("is already assigned to node {bound:?}"))
        };
        if let Some(why) = refusal {
            let why = format!("pod {} {why}", call.path.name);
            return Err(ApiError::subresource_conflict(&call.info, "binding", &call.path.name, &why));
        }
        let mut new = live.clone();
        new["spec"]["nodeName"] = node.clone().into();
        let scheduled = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": rfc3339(now)});
        if !new["status"]["conditions"].is_array() {
            new["status"]["conditions"] = json!([]);
        }
        if let Some(conditions) = new["status"]["conditions"].as_array_mut() {
            conditions.retain(|c| c["type"] != "PodScheduled");
            conditions.push(scheduled);
        }
        Ok(new)
    })
    .await?;
    Ok(render::plain(201, &success_status(201)))
}
