//! Evicting pods: removes one unless a disruption budget forbids it, and takes it off the budget. What a budget allows in the first place is
//! the business of the disruption controller, which is not part of an API server.

use std::sync::Arc;

use axum::response::Response;
use serde_json::{Value, json};

use super::super::authorize::nodes::restriction::{self, Write};
use super::super::object::meta;
use super::super::object::selectors;
use super::super::status::{ApiError, success_status};
use super::super::store::{Change, Expect, Labels, Stored};
use super::delete::remove;
use super::options::{DeleteOptions, WriteKind, WriteOptions};
use super::subresources::admitted;
use super::{Call, body, load, render, to_stored, write_error};
use crate::time::{Timestamp, rfc3339};

const BUDGETS: &str = "poddisruptionbudgets.policy";
const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
/// So many evictions may wait for the disruption controller to see them.
const UNSEEN: usize = 2000;
/// After how many seconds to ask again while the disruption controller has not seen a budget.
const UNSEEN_WAIT: u32 = 10;

/// Removes a pod unless a disruption budget forbids it.
pub(crate) async fn evict(call: &Call) -> Result<Response, ApiError> {
    let write = WriteOptions::parse(&call.query, WriteKind::Create)?;
    let eviction = body::parse(call, "Eviction")?;
    restriction::check(call, Write::Create(&eviction))?;
    let eviction = admitted(call, &write, "policy/v1", "Eviction", eviction).await?;
    let (info, path) = (&*call.info, &call.path);
    if meta::name(&eviction) != path.name {
        return Err(ApiError::bad_request(
            "name in URL does not match name in Eviction object",
        ));
    }
    let stored = call
        .server
        .store()
        .get(&info.storage_group_resource, &path.namespace, &path.name)
        .ok_or_else(|| ApiError::not_found(info, &path.name))?;
    let pod = load(info, &stored);
    let mut options = DeleteOptions::parse(&call.query, eviction.get("deleteOptions"))?;
    // Options in the body don't take away what the query says (kube-apiserver: `propagateDryRun`).
    options.dry_run |= write.dry_run;
    let uid = meta::text(&pod, "uid");
    let meant = options.uid.as_deref().is_none_or(|wanted| wanted == uid);
    if meant && !may_disregard_budgets(&pod) {
        ask_budget(call, &pod, &stored.labels, options.dry_run).await?;
        // The pod that was looked at is the one to remove.
        options.uid.get_or_insert_with(|| uid.to_owned());
    }
    if !options.dry_run {
        say_why(call, &mut options).await?;
    }
    remove(&call.server, info, &path.namespace, &path.name, &options, None).await?;
    Ok(render::plain(201, &success_status(201)))
}

/// Writes into a pod that it goes because of an eviction, if it is the one that is meant.
async fn say_why(call: &Call, options: &mut DeleteOptions) -> Result<(), ApiError> {
    let (info, path) = (&*call.info, &call.path);
    loop {
        let stored = call
            .server
            .store()
            .get(&info.storage_group_resource, &path.namespace, &path.name);
        let Some(stored) = stored else { return Ok(()) };
        let mut pod = load(info, &stored);
        let is =
            |wanted: &Option<String>, field| wanted.as_deref().is_none_or(|w| w == meta::text(&pod, field));
        if !is(&options.uid, "uid") || !is(&options.version, "resourceVersion") {
            // Removing it says what is wrong.
            return Ok(());
        }
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
            "lastProbeTime": null, "lastTransitionTime": rfc3339(call.server.now()),
        });
        if !pod["status"]["conditions"].is_array() {
            pod["status"]["conditions"] = json!([]);
        }
        if let Some(conditions) = pod["status"]["conditions"].as_array_mut() {
            if conditions
                .iter()
                .any(|c| c["type"] == "DisruptionTarget" && c["status"] == "True")
            {
                return Ok(());
            }
            conditions.retain(|c| c["type"] != "DisruptionTarget");
            conditions.push(condition);
        }
        let change = Change::Put(to_stored(&call.server, info, pod).await?);
        match call
            .server
            .commit(stored.key.clone(), Expect::Version(stored.version), change)
            .await
        {
            Ok(_) => {
                // It was right before this write.
                options.version = None;
                return Ok(());
            }
            Err(error) => write_error(error)?,
        }
    }
}

/// Pods that do not run, or are being removed, disturb nothing by going.
fn may_disregard_budgets(pod: &Value) -> bool {
    let phase = pod
        .pointer("/status/phase")
        .and_then(Value::as_str)
        .unwrap_or_default();
    meta::is_deleting(pod) || matches!(phase, "Succeeded" | "Failed" | "Pending" | "")
}

/// Asks the budget that selects a pod, and takes the pod off it.
async fn ask_budget(call: &Call, pod: &Value, labels: &Labels, dry_run: bool) -> Result<(), ApiError> {
    let Some(info) = call.server.registry().find_stored(BUDGETS) else {
        return Ok(());
    };
    // Somebody else may take the last place of the budget meanwhile.
    loop {
        let Some(stored) = budget_of(call, labels)? else {
            return Ok(());
        };
        let mut budget = load(&info, &stored);
        if is_unhealthy_and_free(pod, &budget) {
            return Ok(());
        }
        take_place(&mut budget, meta::name(pod), call.server.now()).map_err(|no| match no {
            No::Budget(message) => refused(&message),
            No::Unseen(message) => refused(&message).retried_after(UNSEEN_WAIT),
            No::Never(why) => ApiError::forbidden(&info, &stored.key.name, why),
        })?;
        if dry_run {
            return Ok(());
        }
        let change = Change::Put(to_stored(&call.server, &info, budget).await?);
        match call
            .server
            .commit(stored.key.clone(), Expect::Version(stored.version), change)
            .await
        {
            Ok(_) => return Ok(()),
            Err(error) => write_error(error)?,
        }
    }
}

/// Finds the budget of a pod with these labels.
fn budget_of(call: &Call, labels: &Labels) -> Result<Option<Arc<Stored>>, ApiError> {
    let (_, budgets) = call.server.store().list(BUDGETS, Some(&call.path.namespace));
    let mut meant = budgets.into_iter().filter(|b| {
        b.value("policy/v1", "PodDisruptionBudget")
            .pointer("/spec/selector")
            .is_some_and(|s| selects(s, labels))
    });
    let budget = meant.next();
    if meant.next().is_some() {
        let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        return Err(ApiError::plain_500(message));
    }
    Ok(budget)
}

fn number(budget: &Value, path: &str) -> i64 {
    budget.pointer(path).and_then(Value::as_i64).unwrap_or(0)
}

/// Whether a pod is not ready and its budget lets such pods go: they do not count among the healthy ones.
fn is_unhealthy_and_free(pod: &Value, budget: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions
        .into_iter()
        .flatten()
        .any(|c| c["type"] == "Ready" && c["status"] == "True");
    let always = budget
        .pointer("/spec/unhealthyPodEvictionPolicy")
        .and_then(Value::as_str)
        == Some("AlwaysAllow");
    let wanted = number(budget, "/status/desiredHealthy");
    let enough = wanted > 0 && number(budget, "/status/currentHealthy") >= wanted;
    !ready && (always || enough)
}

/// Why a pod may not go.
#[derive(Debug, PartialEq, Eq)]
enum No {
    /// Not before the disruption controller has seen the budget.
    Unseen(String),
    /// Not now; what the budget needs.
    Budget(String),
    /// The budget is not as it should be.
    Never(&'static str),
}

fn refused(why: &str) -> ApiError {
    ApiError::too_many_requests(
        REFUSED,
        vec![json!({"reason": "DisruptionBudget", "message": why})],
    )
}

/// Takes one disruption off a budget, or says why there is none.
fn take_place(budget: &mut Value, pod: &str, now: Timestamp) -> Result<(), No> {
    let name = meta::name(budget);
    if number(budget, "/status/observedGeneration") < number(budget, "/metadata/generation") {
        return Err(No::Unseen(format!(
            "The disruption budget {name} is still being processed by the server."
        )));
    }
    let allowed = number(budget, "/status/disruptionsAllowed");
    if allowed < 0 {
        return Err(No::Never("pdb disruptions allowed is negative"));
    }
    let unseen = budget.pointer("/status/disruptedPods").and_then(Value::as_object);
    if unseen.is_some_and(|pods| pods.len() > UNSEEN) {
        return Err(No::Never(
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        ));
    }
    if allowed == 0 {
        return Err(No::Budget(format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            number(budget, "/status/desiredHealthy"),
            number(budget, "/status/currentHealthy")
        )));
    }
    let status = &mut budget["status"];
    status["disruptionsAllowed"] = json!(allowed - 1);
    status["disruptedPods"][pod] = json!(rfc3339(now));
    if allowed == 1
        && let Some(condition) = status["conditions"]
            .as_array_mut()
            .and_then(|list| list.iter_mut().find(|c| c["type"] == "DisruptionAllowed"))
    {
        condition["status"] = json!("False");
        condition["reason"] = json!("InsufficientPods");
        condition["lastTransitionTime"] = json!(rfc3339(now));
    }
    Ok(())
}

/// Says whether a `LabelSelector` means an object with these labels.
fn selects(selector: &Value, labels: &Labels) -> bool {
    let text = super::scale::selector_text(selector);
    selectors::Labels::parse(&text).is_ok_and(|s| s.matches(|key| labels.get(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(status: &Value) -> Value {
        json!({ "metadata": { "name": "web", "generation": 2 }, "spec": {}, "status": status })
    }

    fn refusal(status: &Value) -> No {
        take_place(&mut budget(status), "web-0", Timestamp::UNIX_EPOCH).unwrap_err()
    }

    #[test]
    fn each_eviction_takes_a_place_of_the_budget() {
        let mut budget = budget(
            &json!({ "observedGeneration": 2, "disruptionsAllowed": 1, "desiredHealthy": 2, "currentHealthy": 3 }),
        );
        take_place(&mut budget, "web-0", Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(budget["status"]["disruptionsAllowed"], 0);
        assert_eq!(budget["status"]["disruptedPods"]["web-0"], "1970-01-01T00:00:00Z");
        assert!(take_place(&mut budget, "web-1", Timestamp::UNIX_EPOCH).is_err());
    }

    #[test]
    fn refusals_are_those_of_kube_apiserver() {
        let empty = refusal(
            &json!({ "observedGeneration": 2, "disruptionsAllowed": 0, "desiredHealthy": 2, "currentHealthy": 2 }),
        );
        let needs = "The disruption budget web needs 2 healthy pods and has 2 currently";
        assert_eq!(empty, No::Budget(needs.to_owned()));
        let new = refusal(&json!({ "observedGeneration": 1, "disruptionsAllowed": 5 }));
        let processed = "The disruption budget web is still being processed by the server.";
        assert_eq!(new, No::Unseen(processed.to_owned()));
        let odd = refusal(&json!({ "observedGeneration": 2, "disruptionsAllowed": -1 }));
        assert_eq!(odd, No::Never("pdb disruptions allowed is negative"));
    }

    #[test]
    fn pods_that_are_not_ready_go_where_the_budget_holds_without_them() {
        let pod = |ready: &str| json!({ "status": { "conditions": [{ "type": "Ready", "status": ready }] } });
        let held = budget(&json!({ "desiredHealthy": 2, "currentHealthy": 2 }));
        let short = budget(&json!({ "desiredHealthy": 2, "currentHealthy": 1 }));
        let mut always = short.clone();
        always["spec"]["unhealthyPodEvictionPolicy"] = json!("AlwaysAllow");
        assert!(is_unhealthy_and_free(&pod("False"), &held));
        assert!(!is_unhealthy_and_free(&pod("True"), &held));
        assert!(!is_unhealthy_and_free(&pod("False"), &short));
        assert!(is_unhealthy_and_free(&pod("False"), &always));
    }
}
