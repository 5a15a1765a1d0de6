//! Subresources that do something: binding and evicting pods, finalizing namespaces, approving certificates.
//! It must not make up kinds: which subresources there are, the registry says.

use axum::response::Response;
use http::Method;
use serde_json::{Value, json};

use super::super::object::meta;
use super::super::object::selectors::Labels;
use super::super::status::{ApiError, success_status};
use super::delete::remove;
use super::options::{DeleteOptions, WriteKind, WriteOptions};
use super::write::{Target, check_name, guaranteed, track};
use super::{Call, body, load, render};
use crate::time::rfc3339;

/// Answers a request on a subresource other than `status` and `scale`.
pub(crate) async fn other(call: &Call, method: &Method) -> Result<Response, ApiError> {
    let resource = call.info.storage_group_resource.as_str();
    match (resource, call.path.subresource.as_str(), method) {
        ("pods", "binding", &Method::POST) => bind(call).await,
        ("pods", "eviction", &Method::POST) => evict(call).await,
        ("namespaces", "finalize", &Method::PUT) => replace(call, "spec").await,
        ("certificatesigningrequests.certificates.k8s.io", "approval", &Method::PUT) => {
            replace(call, "status").await
        }
        (_, "finalize" | "approval", &Method::GET) => super::get(call),
        _ => Err(ApiError::method_not_allowed()),
    }
}

/// Replaces one top-level field of an object by that of the body.
async fn replace(call: &Call, field: &str) -> Result<Response, ApiError> {
    let form = call.form()?;
    let options = WriteOptions::parse(&call.query, WriteKind::Update)?;
    let (mut object, warnings) = body::object(call, options.validation)?;
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
            track(call, Target::STATUS, &options.manager, Some(live), &mut new);
            Ok(new)
        },
    )
    .await?;
    Ok(render::answer(call, 200, &written.object, form, &warnings))
}

/// Puts a pod on a node.
async fn bind(call: &Call) -> Result<Response, ApiError> {
    let options = WriteOptions::parse(&call.query, WriteKind::Create)?;
    let binding = body::parse(call, "Binding")?;
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
        if !bound.is_empty() {
            let why = format!("pod {} is already assigned to node {bound:?}", call.path.name);
            return Err(ApiError::subresource_conflict(&call.info, "binding", &call.path.name, &why));
        }
        if meta::is_deleting(live) {
            let why = format!("pod {} is being deleted, cannot be assigned to a host", call.path.name);
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

/// Removes a pod unless a disruption budget forbids it.
async fn evict(call: &Call) -> Result<Response, ApiError> {
    WriteOptions::parse(&call.query, WriteKind::Create)?;
    let eviction = body::parse(call, "Eviction")?;
    let (info, path) = (&*call.info, &call.path);
    let stored = call
        .server
        .store()
        .get(&info.storage_group_resource, &path.namespace, &path.name)
        .ok_or_else(|| ApiError::not_found(info, &path.name))?;
    let pod = load(info, &stored);
    let mut options = DeleteOptions::parse(&call.query, eviction.get("deleteOptions"))?;
    if !may_disregard_budgets(&pod) {
        check_budgets(call, &stored.labels)?;
        // The pod that was looked at is the one to remove.
        options.uid.get_or_insert_with(|| stored.uid.to_string());
    }
    remove(&call.server, info, &path.namespace, &path.name, &options).await?;
    Ok(render::plain(201, &success_status(201)))
}

/// Pods that do not run, or are being removed, disturb nothing by going.
fn may_disregard_budgets(pod: &Value) -> bool {
    let phase = pod
        .pointer("/status/phase")
        .and_then(Value::as_str)
        .unwrap_or_default();
    meta::is_deleting(pod) || matches!(phase, "Succeeded" | "Failed" | "Pending" | "")
}

fn check_budgets(call: &Call, labels: &std::collections::BTreeMap<String, String>) -> Result<(), ApiError> {
    const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
    let (_, budgets) = call
        .server
        .store()
        .list("poddisruptionbudgets.policy", Some(&call.path.namespace));
    let budgets: Vec<Value> = budgets
        .iter()
        .map(|b| b.value("policy/v1", "PodDisruptionBudget"))
        .collect();
    let mut meant = budgets
        .iter()
        .filter(|b| b.pointer("/spec/selector").is_some_and(|s| selects(s, labels)));
    let Some(budget) = meant.next() else { return Ok(()) };
    if meant.next().is_some() {
        let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        return Err(ApiError::plain_500(message));
    }
    let number = |path: &str| budget.pointer(path).and_then(Value::as_i64).unwrap_or(0);
    let name = meta::name(budget);
    let message = if number("/status/observedGeneration") < number("/metadata/generation") {
        format!("The disruption budget {name} is still being processed by the server.")
    } else if number("/status/disruptionsAllowed") < 1 {
        format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            number("/status/desiredHealthy"),
            number("/status/currentHealthy")
        )
    } else {
        return Ok(());
    };
    Err(ApiError::too_many_requests(
        REFUSED,
        vec![json!({"reason": "DisruptionBudget", "message": message})],
    ))
}

/// Says whether a `LabelSelector` means an object with these labels.
fn selects(selector: &Value, labels: &std::collections::BTreeMap<String, String>) -> bool {
    let text = super::scale::selector_text(selector);
    Labels::parse(&text).is_ok_and(|s| s.matches(labels))
}
