//! One object as text: identity, spec, status, conditions, events. Pure.

use serde_json::{Map, Value};

use crate::{
    error::{CommandError, ErrorKind},
    time::{Timestamp, human_age},
    ui::table::Table,
    yaml,
};

/// Returns the text for an object. `machines` is the tree of what belongs to it.
pub(super) fn text(
    object: &Value,
    machines: Option<&str>,
    events: &[Value],
    now: Timestamp,
) -> Result<String, CommandError> {
    let meta = &object["metadata"];
    let mut lines = Vec::new();
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            lines.push(format!("{:<14}{value}", format!("{name}:")));
        }
    };
    let string = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    line("Name", string(&meta["name"]));
    line("Namespace", string(&meta["namespace"]));
    line(
        "Kind",
        format!("{} ({})", string(&object["kind"]), string(&object["apiVersion"])),
    );
    line("Labels", pairs(&meta["labels"]));
    line("Annotations", pairs(&meta["annotations"]));
    line("Created", since(&meta["creationTimestamp"], now));
    line("Deleted", since(&meta["deletionTimestamp"], now));
    let owners = meta["ownerReferences"].as_array().cloned().unwrap_or_default();
    line(
        "Owned by",
        owners
            .iter()
            .map(|o| format!("{}/{}", string(&o["kind"]), string(&o["name"])))
            .collect::<Vec<_>>()
            .join(", "),
    );
    let mut parts = vec![lines.join("\n")];
    for (name, value) in rest(object) {
        parts.push(format!("{name}:\n{}", indented(&value)?));
    }
    if let Some(machines) = machines {
        parts.push(format!("Machines:\n{}", inset(machines)));
    }
    if let Some(conditions) = object["status"]["conditions"]
        .as_array()
        .filter(|c| !c.is_empty())
    {
        parts.push(format!("Conditions:\n{}", conditions_table(conditions, now)));
    }
    if !events.is_empty() {
        parts.push(format!("Events:\n{}", events_table(events, now)));
    }
    Ok(parts.join("\n"))
}

/// What stands in an object beside its identity and its conditions. Contents of Secrets are not shown.
fn rest(object: &Value) -> Vec<(String, Value)> {
    let secret = object["kind"] == "Secret" && object["apiVersion"] == "v1";
    let mut parts = Vec::new();
    for (name, value) in object.as_object().into_iter().flatten() {
        if ["apiVersion", "kind", "metadata"].contains(&name.as_str()) {
            continue;
        }
        let mut value = value.clone();
        if name == "status"
            && let Some(status) = value.as_object_mut()
        {
            status.remove("conditions");
        }
        if secret && (name == "data" || name == "stringData") {
            value = sizes(&value);
        }
        let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
        if !empty {
            let mut title = name.clone();
            if let Some(first) = title.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            parts.push((title, value));
        }
    }
    parts
}

fn sizes(data: &Value) -> Value {
    let items = data.as_object().into_iter().flatten();
    items
        .map(|(key, value)| {
            let length = value
                .as_str()
                .map_or(0, |text| text.trim_end_matches('=').len() * 3 / 4);
            (key.clone(), Value::from(format!("{length} bytes")))
        })
        .collect()
}

fn indented(value: &Value) -> Result<String, CommandError> {
    let text = yaml::to_string(value)
        .map_err(|e| CommandError::new(ErrorKind::Failed, format!("can't print it: {e}")))?;
    Ok(text
        .lines()
        .map(|l| format!("  {l}"))
        .collect::<Vec<_>>()
        .join("\n"))
}

fn pairs(value: &Value) -> String {
    let items = value.as_object().into_iter().flatten();
    items
        .filter(|(key, _)| !key.starts_with("kubectl.kubernetes.io/"))
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect::<Vec<_>>()
        .join("\n              ")
}

fn since(moment: &Value, now: Timestamp) -> String {
    match moment.as_str() {
        Some(text) => format!("{text} ({} ago)", age(text, now)),
        None => String::new(),
    }
}

/// Writes how long ago a moment was.
pub(super) fn age(moment: &str, now: Timestamp) -> String {
    moment.parse::<Timestamp>().map_or_else(
        |_| "<unknown>".to_owned(),
        |then| human_age(now.duration_since(then)),
    )
}

/// When an event last happened.
pub(super) fn moment_of(event: &Value) -> Option<&str> {
    ["lastTimestamp", "eventTime", "firstTimestamp"]
        .iter()
        .find_map(|field| event[field].as_str())
        .or_else(|| event["metadata"]["creationTimestamp"].as_str())
}

/// Returns conditions as a table.
pub(super) fn conditions_table(conditions: &[Value], now: Timestamp) -> String {
    let mut table = Table::new(["Type", "Status", "Reason", "Age", "Message"]);
    for condition in conditions {
        let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
        table.row([
            text("type"),
            text("status"),
            text("reason"),
            age(&text("lastTransitionTime"), now),
            text("message"),
        ]);
    }
    inset(&table.render(true))
}

/// Returns events as a table.
pub(super) fn events_table(events: &[Value], now: Timestamp) -> String {
    let mut table = Table::new(["Type", "Reason", "Age", "Message"]);
    for event in events {
        let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
        let count = event["count"]
            .as_i64()
            .or_else(|| event["series"]["count"].as_i64())
            .unwrap_or(1);
        let mut when = moment_of(event).map_or_else(|| "<unknown>".to_owned(), |m| age(m, now));
        if count > 1 {
            when = format!("{when} (x{count})");
        }
        table.row([text("type"), text("reason"), when, text("message")]);
    }
    inset(&table.render(true))
}

fn inset(text: &str) -> String {
    text.lines()
        .map(|l| format!("  {l}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_told_with_conditions_and_events() {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
        let object = json!({
            "apiVersion": "machine.crit.sh/v1alpha1", "kind": "Machine",
            "metadata": {"name": "a", "namespace": "b", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"x": "y"}},
            "spec": {"version": "v1"},
            "status": {"phase": "Running", "conditions": [
                {"type": "Ready", "status": "True", "reason": "Fine", "message": "", "lastTransitionTime": "2026-01-01T00:09:00Z"}]},
        });
        let events = [
            json!({"type": "Normal", "reason": "Made", "message": "it was made", "count": 2, "lastTimestamp": "2026-01-01T00:09:55Z"}),
        ];
        insta::assert_snapshot!(text(&object, None, &events, now).unwrap(), @r"
        Name:         a
        Namespace:    b
        Kind:         Machine (machine.crit.sh/v1alpha1)
        Labels:       x=y
        Created:      2026-01-01T00:00:00Z (10m ago)
        Spec:
          version: v1
        Status:
          phase: Running
        Conditions:
          TYPE    STATUS   REASON   AGE   MESSAGE
          Ready   True     Fine     60s
        Events:
          TYPE     REASON   AGE       MESSAGE
          Normal   Made     5s (x2)   it was made
        ");
    }

    #[test]
    fn contents_of_secrets_are_not_shown() {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": {"token": "c2VjcmV0"}});
        let text = text(&secret, None, &[], Timestamp::UNIX_EPOCH).unwrap();
        assert!(
            text.contains("token: 6 bytes") && !text.contains("c2VjcmV0"),
            "{text}"
        );
    }
}
