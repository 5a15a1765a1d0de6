//! Objects as rows of a table: what `kubectl get` shows. Built-in kinds have a row function each, custom ones the
//! columns of their definition. It must not choose objects or know HTTP.

mod custom;
mod jobs;
mod pods;
mod rows;
mod workloads;

use serde_json::{Value, json};

use super::builtin::{Column, ResourceInfo};
use crate::time::{Timestamp, human_age};

const NAME_DESCRIPTION: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";

/// Which part of the object a row carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Include {
    /// None.
    None,
    /// The metadata.
    Metadata,
    /// All of it.
    Object,
}

/// Returns the table of `items`. `meta` is the list's own metadata; ages are as of `now`.
pub fn table(info: &ResourceInfo, items: &[Value], meta: &Value, include: Include, now: Timestamp) -> Value {
    let rows: Vec<Value> = items.iter().map(|item| row(info, item, include, now)).collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": columns(info),
        "rows": rows,
    })
}

fn columns(info: &ResourceInfo) -> Vec<Value> {
    let shown = |column: &Column, description: &str| {
        json!({
            "name": column.name,
            "type": column.kind,
            "format": column.format,
            "description": description,
            "priority": column.priority,
        })
    };
    let mut columns = Vec::with_capacity(info.columns.len() + 1);
    if !starts_without_name(info) {
        columns.push(json!({
            "name": "Name", "type": "string", "format": "name", "description": NAME_DESCRIPTION, "priority": 0,
        }));
    }
    columns.extend(info.columns.iter().map(|column| {
        let path = column
            .description
            .strip_prefix('.')
            .filter(|_| !info.custom || column.json_path == column.description);
        match path {
            Some(path) => shown(column, &info.field_description(path)),
            None => shown(column, &column.description),
        }
    }));
    columns
}

/// Events are told from by when they were last seen.
fn starts_without_name(info: &ResourceInfo) -> bool {
    !info.custom && info.kind == "Event"
}

fn row(info: &ResourceInfo, item: &Value, include: Include, now: Timestamp) -> Value {
    let mut cells = Vec::with_capacity(info.columns.len() + 1);
    if !starts_without_name(info) {
        cells.push(
            item.pointer("/metadata/name")
                .cloned()
                .unwrap_or_else(|| "".into()),
        );
    }
    let mut row = if info.custom {
        cells.extend(info.columns.iter().map(|column| custom::cell(column, item, now)));
        json!({})
    } else {
        cells.extend(rows::cells(info, item, now));
        json!({"conditions": pods::conditions(info, item)})
    };
    if row["conditions"].is_null() {
        row = json!({});
    }
    row["cells"] = cells.into();
    match include {
        Include::None => row["object"] = Value::Null,
        Include::Metadata => {
            row["object"] = json!({
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": item.get("metadata").cloned().unwrap_or_default(),
            });
        }
        Include::Object => row["object"] = item.clone(),
    }
    row
}

/// Returns how long ago something was, as kubectl shows it.
fn since(time: Option<&Value>, now: Timestamp) -> String {
    match time.and_then(Value::as_str).filter(|text| !text.is_empty()) {
        None => "<unknown>".to_owned(),
        Some(text) => match text.parse::<Timestamp>() {
            Ok(then) => age(then, now),
            Err(_) => "<invalid>".to_owned(),
        },
    }
}

fn age(then: Timestamp, now: Timestamp) -> String {
    let age = now.duration_since(then);
    // A clock that is a little behind is no reason to complain.
    if age.as_secs() < -1 {
        "<invalid>".to_owned()
    } else {
        human_age(age)
    }
}

fn created(item: &Value, now: Timestamp) -> Value {
    since(item.pointer("/metadata/creationTimestamp"), now).into()
}

#[cfg(test)]
mod tests {
    use super::super::builtin::Registry;
    use super::*;

    fn now() -> Timestamp {
        "2026-11-20T09:00:00Z".parse().expect("time")
    }

    fn cells(group: &str, plural: &str, item: &Value) -> Vec<Value> {
        let info = Registry::builtin().find(group, "v1", plural).expect("served");
        let table = table(
            &info,
            std::slice::from_ref(item),
            &json!({}),
            Include::Metadata,
            now(),
        );
        assert_eq!(
            table["columnDefinitions"].as_array().expect("columns").len(),
            table["rows"][0]["cells"].as_array().expect("cells").len(),
            "{plural}: a cell for each column"
        );
        table["rows"][0]["cells"].as_array().expect("cells").clone()
    }

    #[test]
    fn every_built_in_kind_has_a_cell_for_each_column() {
        for info in Registry::builtin().all().iter().filter(|info| !info.virtual_only) {
            cells_of_empty(info);
        }
    }

    fn cells_of_empty(info: &ResourceInfo) {
        let empty = json!({"metadata": {"name": "n"}});
        let table = table(info, &[empty], &json!({}), Include::None, now());
        assert_eq!(
            table["columnDefinitions"].as_array().expect("columns").len(),
            table["rows"][0]["cells"].as_array().expect("cells").len(),
            "{}",
            info.plural
        );
        for column in table["columnDefinitions"].as_array().expect("columns") {
            let description = column["description"].as_str().expect("text");
            assert!(!description.starts_with('.'), "{} {description}", info.plural);
        }
    }

    #[test]
    fn descriptions_come_from_the_fields() {
        let info = Registry::builtin().find("", "v1", "secrets").expect("served");
        let columns = columns(&info);
        assert_eq!(
            columns[1]["description"],
            "Used to facilitate programmatic handling of secret data. More info: https://kubernetes.io/docs/concepts/configuration/secret/#secret-types"
        );
        assert!(
            columns[3]["description"]
                .as_str()
                .expect("text")
                .starts_with("CreationTimestamp is a timestamp")
        );
    }

    #[test]
    fn rows_read_as_in_kubectl() {
        let meta = json!({"name": "a", "creationTimestamp": "2026-11-20T08:58:30Z"});
        let config = json!({"metadata": meta, "data": {"x": "1"}, "binaryData": {"y": ""}});
        assert_eq!(
            cells("", "configmaps", &config),
            [json!("a"), json!(2), json!("90s")]
        );
        let node = json!({"metadata": {"name": "n", "creationTimestamp": "2026-11-20T07:00:00Z",
            "labels": {"node-role.kubernetes.io/control-plane": "", "node-role.kubernetes.io/a": ""}},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "addresses": [{"type": "InternalIP", "address": "1.2.3.4"}],
            "nodeInfo": {"kubeletVersion": "v1.30.0"}}});
        assert_eq!(
            cells("", "nodes", &node)[..6],
            [
                json!("n"),
                json!("Ready,SchedulingDisabled"),
                json!("a,control-plane"),
                json!("120m"),
                json!("v1.30.0"),
                json!("1.2.3.4")
            ]
        );
        let event = json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Machine", "name": "m"}, "reason": "R",
            "message": " text\n", "type": "Normal", "lastTimestamp": "2026-11-20T08:59:50Z", "firstTimestamp": "2026-11-20T08:59:00Z",
            "source": {"component": "c", "host": "h"}, "count": 3});
        assert_eq!(
            cells("", "events", &event),
            [
                json!("10s"),
                json!("Normal"),
                json!("R"),
                json!("machine/m"),
                json!(""),
                json!("c, h"),
                json!("text"),
                json!("60s"),
                json!(3),
                json!("e")
            ]
        );
        let deployment = json!({"metadata": meta, "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "x"}},
            "template": {"spec": {"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "j"}]}}},
            "status": {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1}});
        assert_eq!(
            cells("apps", "deployments", &deployment),
            [
                json!("a"),
                json!("1/3"),
                json!("2"),
                json!("1"),
                json!("90s"),
                json!("c,d"),
                json!("i,j"),
                json!("app=x")
            ]
        );
    }

    #[test]
    fn custom_columns_follow_their_paths() {
        let registry = Registry::builtin().with_crd(&json!({"metadata": {"name": "ws.a.b"},
            "spec": {"group": "a.b", "scope": "Namespaced", "names": {"plural": "ws", "kind": "W"}, "versions": [
            {"name": "v1", "served": true, "storage": true, "additionalPrinterColumns": [
                {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                {"name": "Since", "type": "date", "jsonPath": ".status.since"},
                {"name": "Owner", "type": "string", "jsonPath": ".metadata.ownerReferences[?(@.kind==\"Machine\")].name"},
                {"name": "Map", "type": "string", "jsonPath": ".spec.map", "priority": 1}]}]},
            "status": {"conditions": [{"type": "Established", "status": "True"}]}}));
        let info = registry.find("a.b", "v1", "ws").expect("served");
        let item = json!({"metadata": {"name": "n", "ownerReferences": [{"kind": "Machine", "name": "m"}]},
            "spec": {"size": 4, "map": {"k": 1}}, "status": {"since": "2026-11-20T08:59:00Z"}});
        let table = table(
            &info,
            &[item, json!({"metadata": {"name": "o"}})],
            &json!({}),
            Include::Object,
            now(),
        );
        assert_eq!(
            table["rows"][0]["cells"],
            json!(["n", 4, "60s", "m", "{\"k\":1}"])
        );
        assert_eq!(table["rows"][1]["cells"], json!(["o", null, null, null, null]));
        assert_eq!(table["columnDefinitions"][4]["priority"], 1);
        assert_eq!(
            table["columnDefinitions"][1]["description"],
            "Custom resource definition column (in JSONPath format): .spec.size"
        );
    }
}
