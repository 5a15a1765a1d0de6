//! Cells of jobs, and of cron jobs.

use serde_json::Value;

use super::rows::{list, or_none, str_at};
use super::workloads::{containers_of, selector};
use super::{created, human_age, since};
use crate::time::Timestamp;

/// Returns the cells of a Job, without the name.
pub(super) fn job(item: &Value, now: Timestamp) -> Vec<Value> {
    let [containers, images] = containers_of(item, "/spec/template");
    vec![
        state(item).into(),
        completions(item).into(),
        duration(item, now).into(),
        created(item, now),
        containers,
        images,
        selector(item.pointer("/spec/selector")).into(),
    ]
}

fn state(item: &Value) -> &'static str {
    let holds =
        |wanted: &str| list(item, "/status/conditions").any(|c| c["type"] == wanted && c["status"] == "True");
    if holds("Complete") {
        "Complete"
    } else if holds("Failed") {
        "Failed"
    } else if item.pointer("/metadata/deletionTimestamp").is_some() {
        "Terminating"
    } else if holds("Suspended") {
        "Suspended"
    } else if holds("FailureTarget") {
        "FailureTarget"
    } else if holds("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(item: &Value) -> String {
    let number = |pointer: &str| item.pointer(pointer).and_then(Value::as_i64);
    let done = number("/status/succeeded").unwrap_or(0);
    match (
        number("/spec/completions"),
        number("/spec/parallelism").unwrap_or(0),
    ) {
        (Some(wanted), _) => format!("{done}/{wanted}"),
        (None, at_once) if at_once > 1 => format!("{done}/1 of {at_once}"),
        _ => format!("{done}/1"),
    }
}

fn duration(item: &Value, now: Timestamp) -> String {
    let time = |field: &str| {
        str_at(item, &format!("/status/{field}"))
            .parse::<Timestamp>()
            .ok()
    };
    match (time("startTime"), time("completionTime")) {
        (None, _) => String::new(),
        (Some(begun), end) => human_age(end.unwrap_or(now).duration_since(begun)),
    }
}

/// Returns the cells of a `CronJob`, without the name.
pub(super) fn cron_job(item: &Value, now: Timestamp) -> Vec<Value> {
    let [containers, images] = containers_of(item, "/spec/jobTemplate/spec/template");
    let suspended = match item.pointer("/spec/suspend").and_then(Value::as_bool) {
        None => "<unset>",
        Some(true) => "True",
        Some(false) => "False",
    };
    let last = item.pointer("/status/lastScheduleTime").filter(|t| t.is_string());
    vec![
        str_at(item, "/spec/schedule").into(),
        or_none(str_at(item, "/spec/timeZone")),
        suspended.into(),
        list(item, "/status/active").count().into(),
        last.map_or_else(|| "<none>".into(), |time| since(Some(time), now).into()),
        created(item, now),
        containers,
        images,
        or_none(selector(item.pointer("/spec/jobTemplate/spec/selector"))),
    ]
}
