//! Cells of pods: readiness and the one word that says how a pod fares.

use serde_json::{Value, json};

use super::super::builtin::ResourceInfo;
use super::rows::{list, or_none, str_at};
use super::{created, since};
use crate::time::Timestamp;

/// Returns the cells of a pod, without the name.
pub(super) fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let total = list(pod, "/spec/containers").count();
    let statuses: Vec<&Value> = list(pod, "/status/containerStatuses").collect();
    let ready = statuses
        .iter()
        .filter(|status| status["ready"] == true && is_running(status))
        .count();
    let gates: Vec<&Value> = list(pod, "/spec/readinessGates").collect();
    let passed = gates
        .iter()
        .filter(|gate| {
            list(pod, "/status/conditions")
                .any(|c| c["type"] == gate["conditionType"] && c["status"] == "True")
        })
        .count();
    let gates = if gates.is_empty() {
        "<none>".to_owned()
    } else {
        format!("{passed}/{}", gates.len())
    };
    let ip = list(pod, "/status/podIPs")
        .next()
        .map_or_else(|| str_at(pod, "/status/podIP"), |ip| str_at(ip, "/ip"));
    vec![
        format!("{ready}/{total}").into(),
        reason(pod).into(),
        restarts(pod, now).into(),
        created(pod, now),
        or_none(ip),
        or_none(str_at(pod, "/spec/nodeName")),
        or_none(str_at(pod, "/status/nominatedNodeName")),
        gates.into(),
    ]
}

/// Returns what marks a finished pod in its row; null for all other rows.
pub(super) fn conditions(info: &ResourceInfo, item: &Value) -> Value {
    let (reason, message) = match str_at(item, "/status/phase") {
        _ if info.kind != "Pod" => return Value::Null,
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return Value::Null,
    };
    json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}])
}

fn is_running(status: &Value) -> bool {
    status.pointer("/state/running").is_some_and(Value::is_object)
}

fn restarts(pod: &Value, now: Timestamp) -> String {
    let lists = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let all = || lists.into_iter().flat_map(|pointer| list(pod, pointer));
    let sum: i64 = all().filter_map(|status| status["restartCount"].as_i64()).sum();
    let last = all()
        .filter_map(|status| status.pointer("/lastState/terminated/finishedAt"))
        .max_by_key(|time| time.as_str().unwrap_or_default());
    match last {
        Some(time) if sum > 0 && time.is_string() => format!("{sum} ({} ago)", since(Some(time), now)),
        _ => sum.to_string(),
    }
}

fn reason(pod: &Value) -> String {
    let mut reason = str_at(pod, "/status/phase").to_owned();
    if !str_at(pod, "/status/reason").is_empty() {
        str_at(pod, "/status/reason").clone_into(&mut reason);
    }
    if list(pod, "/status/conditions")
        .any(|c| c["type"] == "PodScheduled" && c["reason"] == "SchedulingGated")
    {
        "SchedulingGated".clone_into(&mut reason);
    }
    let inits: Vec<&Value> = list(pod, "/status/initContainerStatuses").collect();
    let mut initializing = false;
    for (index, status) in inits.iter().enumerate() {
        let exit = status
            .pointer("/state/terminated/exitCode")
            .and_then(Value::as_i64);
        if exit == Some(0) {
            continue;
        }
        initializing = true;
        let waiting = str_at(status, "/state/waiting/reason");
        reason = if exit.is_some() {
            format!("Init:{}", terminated(status))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{index}/{}", list(pod, "/spec/initContainers").count())
        };
        break;
    }
    if !initializing {
        let mut running = false;
        let statuses: Vec<&Value> = list(pod, "/status/containerStatuses").collect();
        for status in statuses.into_iter().rev() {
            let waiting = str_at(status, "/state/waiting/reason");
            if !waiting.is_empty() {
                waiting.clone_into(&mut reason);
            } else if status.pointer("/state/terminated").is_some_and(Value::is_object) {
                reason = terminated(status);
            } else if status["ready"] == true && is_running(status) {
                running = true;
            }
        }
        if reason == "Completed" && running {
            let ready =
                list(pod, "/status/conditions").any(|c| c["type"] == "Ready" && c["status"] == "True");
            if ready { "Running" } else { "NotReady" }.clone_into(&mut reason);
        }
    }
    if pod
        .pointer("/metadata/deletionTimestamp")
        .is_some_and(Value::is_string)
    {
        if str_at(pod, "/status/reason") == "NodeLost" {
            return "Unknown".to_owned();
        }
        if !matches!(str_at(pod, "/status/phase"), "Succeeded" | "Failed") {
            return "Terminating".to_owned();
        }
    }
    reason
}

/// Returns why a container ended: its reason, else the signal or exit code.
fn terminated(status: &Value) -> String {
    let reason = str_at(status, "/state/terminated/reason");
    if !reason.is_empty() {
        return reason.to_owned();
    }
    let number = |field: &str| {
        status
            .pointer(&format!("/state/terminated/{field}"))
            .and_then(Value::as_i64)
            .unwrap_or(0)
    };
    match number("signal") {
        0 => format!("ExitCode:{}", number("exitCode")),
        signal => format!("Signal:{signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_for_a_pod_is_kubectls() {
        let waiting = json!({"status": {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]}});
        assert_eq!(reason(&waiting), "ImagePullBackOff");
        let init = json!({"spec": {"initContainers": [{}, {}]}, "status": {"phase": "Pending", "initContainerStatuses": [
            {"state": {"terminated": {"exitCode": 0}}}, {"state": {"running": {}}}]}});
        assert_eq!(reason(&init), "Init:1/2");
        let going = json!({"metadata": {"deletionTimestamp": "t"}, "status": {"phase": "Running"}});
        assert_eq!(reason(&going), "Terminating");
        let ended = json!({"status": {"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]}});
        assert_eq!(reason(&ended), "ExitCode:3");
    }
}
