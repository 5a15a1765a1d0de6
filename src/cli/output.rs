//! `-o table|wide|json|yaml|name`: how objects are printed. It fetches nothing.

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::{
    client::kinds::Kind,
    error::{CommandError, ErrorKind},
    ui::table::Table,
    yaml,
};

/// Asks for columns, and takes objects where the server has none.
pub(crate) const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// How objects are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Output {
    /// Columns
    #[default]
    Table,
    /// More columns
    Wide,
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// kind/name
    Name,
}

impl Output {
    /// Whether the server is asked for columns rather than objects.
    pub(crate) const fn is_columns(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}

/// How objects are printed that a command has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ObjectOutput {
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// kind/name
    Name,
}

/// Prints objects that were made, or would be: YAML as documents, JSON as one object or a list.
pub(crate) fn made(objects: &[Value], output: ObjectOutput) -> Result<String, CommandError> {
    match output {
        ObjectOutput::Name => Ok(objects.iter().map(name_of).collect::<Vec<_>>().join("\n")),
        ObjectOutput::Json => self::objects(objects.to_vec(), true, Output::Json),
        ObjectOutput::Yaml => {
            let all: Result<Vec<_>, _> = objects.iter().map(|o| document(o, Output::Yaml)).collect();
            Ok(all?.join("---\n"))
        }
    }
}

/// Writes `machine.machine.crit.sh/a`.
pub(crate) fn name_of(object: &Value) -> String {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let dot = if group.is_empty() { "" } else { "." };
    format!(
        "{kind}{dot}{group}/{}",
        object["metadata"]["name"].as_str().unwrap_or_default()
    )
}

/// What stands in a table beside the columns of the server.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub(crate) struct Columns {
    /// Those of lower priority too.
    pub(crate) wide: bool,
    /// The namespace, first.
    pub(crate) namespace: bool,
    /// `kind/` before the name.
    pub(crate) kind: bool,
    /// No column names.
    pub(crate) no_header: bool,
    /// The labels, last.
    pub(crate) labels: bool,
}

/// Prints a `meta.k8s.io/v1 Table` as kubectl does. `header` is false for the later parts of a watch.
pub(crate) fn table(answer: &Value, kind: &Kind, columns: Columns, header: bool) -> String {
    let Columns {
        wide,
        namespace,
        kind: with_kind,
        no_header,
        labels,
    } = columns;
    let definitions = answer["columnDefinitions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let shown: Vec<usize> = (0..definitions.len())
        .filter(|&i| wide || definitions[i]["priority"].as_i64().unwrap_or(0) == 0)
        .collect();
    let mut names: Vec<String> = Vec::new();
    if namespace {
        names.push("Namespace".to_owned());
    }
    names.extend(
        shown
            .iter()
            .map(|&i| definitions[i]["name"].as_str().unwrap_or_default().to_owned()),
    );
    if labels {
        names.push("Labels".to_owned());
    }
    let mut table = Table::new(names);
    for row in answer["rows"].as_array().into_iter().flatten() {
        let meta = &row["object"]["metadata"];
        let mut cells: Vec<String> = Vec::new();
        if namespace {
            cells.push(meta["namespace"].as_str().unwrap_or_default().to_owned());
        }
        for (position, &index) in shown.iter().enumerate() {
            let text = cell(&row["cells"][index]);
            cells.push(if position == 0 && with_kind {
                format!("{}/{text}", kind.singular_name())
            } else {
                text
            });
        }
        if labels {
            cells.push(labels_text(&meta["labels"]));
        }
        table.row(cells);
    }
    table.render(header && !no_header)
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

fn labels_text(labels: &Value) -> String {
    let pairs = labels.as_object().into_iter().flatten();
    pairs
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect::<Vec<_>>()
        .join(",")
}

/// Prints objects as JSON or YAML: one alone, or several as a list.
pub(crate) fn objects(mut items: Vec<Value>, single: bool, output: Output) -> Result<String, CommandError> {
    let value = if single && items.len() == 1 {
        items.remove(0)
    } else {
        json!({ "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "" }, "items": items })
    };
    document(&value, output)
}

/// Prints one value as JSON or YAML.
pub(crate) fn document(value: &Value, output: Output) -> Result<String, CommandError> {
    let failed = |error: String| CommandError::new(ErrorKind::Failed, format!("can't print it: {error}"));
    if output == Output::Json {
        serde_json::to_string_pretty(value).map_err(|e| failed(e.to_string()))
    } else {
        yaml::to_string(value).map_err(|e| failed(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::kinds::own_by_kind;

    fn answer() -> Value {
        json!({
            "columnDefinitions": [
                {"name": "Name", "priority": 0}, {"name": "Status", "priority": 0}, {"name": "ProviderID", "priority": 1},
            ],
            "rows": [
                {"cells": ["a", "Running", "hollow://a"], "object": {"metadata": {"namespace": "x", "labels": {"k": "v"}}}},
                {"cells": ["b", null, null], "object": {"metadata": {"namespace": "y"}}},
            ],
        })
    }

    #[test]
    fn columns_are_those_that_were_asked_for() {
        let kind = own_by_kind("Machine").unwrap();
        assert_eq!(
            table(&answer(), &kind, Columns::default(), true),
            "NAME   STATUS\na      Running\nb\n"
        );
        let all = Columns {
            wide: true,
            namespace: true,
            kind: true,
            no_header: true,
            labels: true,
        };
        assert_eq!(
            table(&answer(), &kind, all, true),
            "x   machine.machine.crit.sh/a   Running   hollow://a   k=v\ny   machine.machine.crit.sh/b\n"
        );
    }

    #[test]
    fn one_object_stands_alone_and_several_in_a_list() {
        let one = objects(vec![json!({"a": 1})], true, Output::Yaml).unwrap();
        assert_eq!(one, "a: 1\n");
        let many: Value =
            serde_json::from_str(&objects(vec![json!(1), json!(2)], false, Output::Json).unwrap()).unwrap();
        assert_eq!(
            (&many["kind"], many["items"].as_array().unwrap().len()),
            (&json!("List"), 2)
        );
    }
}
