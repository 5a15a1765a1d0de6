//! Files of objects: where they come from, and the line of each thing that is wrong. It asks no server.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::Value;

use super::error::located;
use crate::{
    api::registry,
    error::{CommandError, ErrorKind},
    yaml::{self, YamlError},
};

/// An object and where it was written.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    /// The object.
    pub(crate) object: Value,
    /// File name, or `standard input`.
    pub(crate) file: String,
    /// Line on which its document begins, from 1.
    pub(crate) line: usize,
    /// Text of the whole file.
    text: std::rc::Rc<str>,
}

/// A step on the way to a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A field of an object.
    Field(String),
    /// An item of a list, from 0.
    Item(usize),
}

impl Manifest {
    /// Returns the text at a path of the object.
    pub(crate) fn text_at(&self, pointer: &str) -> Option<&str> {
        self.object.pointer(pointer).and_then(Value::as_str)
    }

    /// Returns a user error that points at a field, or at the nearest place above it.
    pub(crate) fn error_at(&self, path: &[Step], message: impl Into<String>) -> CommandError {
        let (line, column) = locate(&self.text, self.line, path);
        let text = self.text.lines().nth(line - 1).unwrap_or_default().to_owned();
        let message = message.into();
        located(
            &self.file,
            &YamlError {
                message,
                line,
                column,
                text,
            },
        )
    }

    /// Returns `file:line:column` of a field.
    pub(crate) fn place(&self, path: &[Step]) -> String {
        let (line, column) = locate(&self.text, self.line, path);
        format!("{}:{line}:{column}", self.file)
    }

    /// Returns the fields that the schema of a kind of this program does not have, and takes them out.
    pub(crate) fn prune(&mut self) -> Vec<Vec<Step>> {
        let (Some(api_version), Some(kind)) = (self.text_at("/apiVersion"), self.text_at("/kind")) else {
            return Vec::new();
        };
        let Some(schema) = schema_of(api_version, kind) else {
            return Vec::new();
        };
        let mut unknown = Vec::new();
        let Some(object) = self.object.as_object_mut() else {
            return unknown;
        };
        let known = schema.properties.unwrap_or_default();
        let mut path = Vec::new();
        object.retain(|name, value| {
            if ["apiVersion", "kind", "metadata"].contains(&name.as_str()) {
                return true;
            }
            path.push(Step::Field(name.clone()));
            let keep = known
                .get(name)
                .map(|child| walk(child, value, &mut path, &mut unknown))
                .is_some();
            if !keep {
                unknown.push(path.clone());
            }
            path.pop();
            keep
        });
        unknown
    }
}

/// Writes a path as Kubernetes does: `spec.extraMounts[0].hostPath`.
pub(crate) fn dotted(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Field(name) if text.is_empty() => text.push_str(name),
            Step::Field(name) => {
                text.push('.');
                text.push_str(name);
            }
            Step::Item(index) => {
                text.push('[');
                text.push_str(&index.to_string());
                text.push(']');
            }
        }
    }
    text
}

/// Reads a path that the API server wrote.
pub(crate) fn parse_path(text: &str) -> Vec<Step> {
    let mut path = Vec::new();
    for part in text.split('.') {
        let (name, items) = part.split_once('[').unwrap_or((part, ""));
        if !name.is_empty() {
            path.push(Step::Field(name.to_owned()));
        }
        for item in items.split('[') {
            if let Ok(index) = item.trim_end_matches(']').parse() {
                path.push(Step::Item(index));
            }
        }
    }
    path
}

fn schema_of(api_version: &str, kind: &str) -> Option<JSONSchemaProps> {
    let (group, version) = api_version.split_once('/')?;
    let crd = registry::crds()
        .into_iter()
        .find(|c| c.spec.group == group && c.spec.names.kind == kind)?;
    let version = crd.spec.versions.into_iter().find(|v| v.name == version)?;
    version.schema?.open_api_v3_schema
}

fn walk(schema: &JSONSchemaProps, value: &mut Value, path: &mut Vec<Step>, unknown: &mut Vec<Vec<Step>>) {
    if schema.x_kubernetes_preserve_unknown_fields == Some(true) {
        return;
    }
    match value {
        Value::Object(fields) => fields.retain(|name, value| {
            path.push(Step::Field(name.clone()));
            let named = schema.properties.as_ref().and_then(|p| p.get(name));
            let keep = match (named, &schema.additional_properties) {
                (Some(child), _) => {
                    walk(child, value, path, unknown);
                    true
                }
                (None, Some(JSONSchemaPropsOrBool::Schema(child))) => {
                    walk(child, value, path, unknown);
                    true
                }
                (None, Some(JSONSchemaPropsOrBool::Bool(any))) => *any,
                // An object without properties of its own is left to the server.
                (None, None) => schema.properties.is_none(),
            };
            if !keep {
                unknown.push(path.clone());
            }
            path.pop();
            keep
        }),
        Value::Array(items) => {
            let Some(JSONSchemaPropsOrArray::Schema(child)) = &schema.items else {
                return;
            };
            for (index, item) in items.iter_mut().enumerate() {
                path.push(Step::Item(index));
                walk(child, item, path, unknown);
                path.pop();
            }
        }
        _ => {}
    }
}

/// Finds the line and column of a field in block-style YAML, from 1; the nearest line above it where that is not clear.
fn locate(text: &str, first_line: usize, path: &[Step]) -> (usize, usize) {
    let lines: Vec<&str> = text.lines().collect();
    let mut at = first_line - 1;
    while at < lines.len() && (lines[at].trim().is_empty() || lines[at].trim_start().starts_with('#')) {
        at += 1;
    }
    let mut best = (at.min(lines.len().saturating_sub(1)) + 1, 1);
    let mut floor: Option<usize> = None;
    for step in path {
        let found = match step {
            Step::Field(name) => find(&lines, at, floor, |rest| is_key(rest, name)),
            Step::Item(index) => find_item(&lines, at, floor, *index),
        };
        let Some((line, column)) = found else { break };
        best = (line + 1, column + 1);
        floor = Some(column);
        at = if matches!(step, Step::Item(_)) {
            line
        } else {
            line + 1
        };
    }
    best
}

/// Columns at which a mapping may begin on a line: after the indentation, and after each `- `.
fn starts(line: &str) -> Vec<usize> {
    let mut column = line.len() - line.trim_start().len();
    let mut columns = vec![column];
    while line[column..].starts_with("- ") {
        column += 2;
        column += line[column..].len() - line[column..].trim_start().len();
        columns.push(column);
    }
    columns
}

fn find(
    lines: &[&str],
    from: usize,
    floor: Option<usize>,
    wanted: impl Fn(&str) -> bool,
) -> Option<(usize, usize)> {
    let mut level: Option<usize> = None;
    for (index, line) in lines.iter().enumerate().skip(from) {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        if line.starts_with("---") || line.starts_with("...") {
            return None;
        }
        let columns = starts(line);
        if floor.is_some_and(|f| columns.last().is_none_or(|c| *c <= f)) && index > from {
            return None;
        }
        for column in columns {
            if floor.is_some_and(|f| column <= f) {
                continue;
            }
            let level = *level.get_or_insert(column);
            if column == level && wanted(&line[column..]) {
                return Some((index, column));
            }
        }
    }
    None
}

fn find_item(lines: &[&str], from: usize, floor: Option<usize>, wanted: usize) -> Option<(usize, usize)> {
    let mut level: Option<usize> = None;
    let mut count = 0;
    for (index, line) in lines.iter().enumerate().skip(from) {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let column = line.len() - line.trim_start().len();
        let dash = line[column..].starts_with('-');
        // A list may stand at the indentation of its key.
        if floor.is_some_and(|f| column < f || (column == f && !dash)) {
            return None;
        }
        if dash && column == *level.get_or_insert(column) {
            if count == wanted {
                return Some((index, column));
            }
            count += 1;
        }
    }
    None
}

fn is_key(rest: &str, name: &str) -> bool {
    let bare = rest
        .strip_prefix('"')
        .or_else(|| rest.strip_prefix('\''))
        .unwrap_or(rest);
    bare.strip_prefix(name)
        .map(|r| r.trim_start_matches(['"', '\'']).trim_start())
        .is_some_and(|r| r.starts_with(':'))
}

/// Reads files, folders and standard input (`-`).
pub(crate) fn read(names: &[String]) -> Result<Vec<Manifest>, CommandError> {
    let mut manifests = Vec::new();
    for name in names {
        if name == "-" {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map_err(|source| {
                CommandError::new(ErrorKind::Usage, "can't read standard input").caused_by(source)
            })?;
            manifests.extend(parse("standard input", &text)?);
        } else if name.starts_with("http://") || name.starts_with("https://") {
            return Err(
                CommandError::new(ErrorKind::Usage, format!("{name} is an address, not a file")).hinted(
                    format!("fetch it yourself and look at it: curl -fsSL {name} | machinectl apply -f -"),
                ),
            );
        } else {
            for path in files(Path::new(name))? {
                let text = fs::read_to_string(&path).map_err(|e| unreadable(&path, e))?;
                manifests.extend(parse(&path.display().to_string(), &text)?);
            }
        }
    }
    if manifests.is_empty() {
        return Err(CommandError::new(
            ErrorKind::Usage,
            format!("there is no object in {}", names.join(", ")),
        ));
    }
    Ok(manifests)
}

fn unreadable(path: &Path, source: io::Error) -> CommandError {
    CommandError::new(ErrorKind::Usage, format!("can't read {}", path.display())).caused_by(source)
}

fn files(path: &Path) -> Result<Vec<PathBuf>, CommandError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(|e| unreadable(path, e))? {
        let file = entry.map_err(|e| unreadable(path, e))?.path();
        if file
            .extension()
            .is_some_and(|e| e == "yaml" || e == "yml" || e == "json")
        {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads the objects of a text. A `List` stands for its items.
pub(crate) fn parse(file: &str, text: &str) -> Result<Vec<Manifest>, CommandError> {
    let shared: std::rc::Rc<str> = text.into();
    let mut manifests = Vec::new();
    for document in yaml::documents(text).map_err(|e| located(file, &e))? {
        let mut manifest = Manifest {
            object: document.value,
            file: file.to_owned(),
            line: document.line,
            text: shared.clone(),
        };
        if manifest.text_at("/kind").is_some_and(|k| k.ends_with("List"))
            && let Some(items) = manifest.object.get_mut("items").and_then(Value::as_array_mut)
        {
            for object in std::mem::take(items) {
                manifests.push(checked(Manifest {
                    object,
                    ..manifest.clone()
                })?);
            }
            continue;
        }
        manifests.push(checked(manifest)?);
    }
    Ok(manifests)
}

fn checked(manifest: Manifest) -> Result<Manifest, CommandError> {
    if !manifest.object.is_object() {
        return Err(manifest.error_at(&[], "this is no Kubernetes object: it has no fields"));
    }
    for (pointer, name, example) in [
        ("/apiVersion", "apiVersion", "machine.crit.sh/v1alpha1"),
        ("/kind", "kind", "Machine"),
        ("/metadata/name", "metadata.name", "worker-1"),
    ] {
        if manifest.text_at(pointer).is_none_or(str::is_empty) {
            return Err(manifest.error_at(
                &parse_path(name),
                format!("{name} is missing or no text (for example {example})"),
            ));
        }
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# a comment
apiVersion: infrastructure.crit.sh/v1alpha1
kind: DockerMachine
metadata:
  name: a
spec:
  clusterName: c
  containerName: a
  image: i
  colour: red
  extraMounts:
  - hostPath: /a
    containerPath: /b
  - hostPath: /c
    containerPth: /d
---
apiVersion: v1
kind: ConfigMap
metadata: {name: b}
";

    #[test]
    fn unknown_fields_are_found_with_their_line() {
        let mut manifests = parse("x.yaml", FILE).unwrap();
        assert_eq!(manifests.len(), 2);
        let unknown = manifests[0].prune();
        let said: Vec<_> = unknown
            .iter()
            .map(|p| (manifests[0].place(p), dotted(p)))
            .collect();
        assert_eq!(
            said,
            [
                ("x.yaml:10:3".to_owned(), "spec.colour".to_owned()),
                (
                    "x.yaml:15:5".to_owned(),
                    "spec.extraMounts[1].containerPth".to_owned()
                ),
            ]
        );
        assert!(manifests[0].object["spec"].get("colour").is_none());
        assert!(manifests[1].prune().is_empty());
    }

    #[test]
    fn paths_survive_being_written_and_read() {
        let text = "spec.extraMounts[1].hostPath";
        assert_eq!(dotted(&parse_path(text)), text);
    }

    #[test]
    fn a_field_that_is_not_written_out_points_at_the_nearest_line() {
        let manifests = parse("x.yaml", FILE).unwrap();
        assert_eq!(
            manifests[0].place(&parse_path("spec.environment.x")),
            "x.yaml:6:1"
        );
        assert_eq!(manifests[1].place(&parse_path("metadata.labels")), "x.yaml:19:1");
    }

    #[test]
    fn what_is_no_object_is_refused_with_its_place() {
        let message = |text| parse("f", text).unwrap_err().message;
        assert!(message("- 1\n").starts_with("f:1:1: this is no Kubernetes object"));
        assert!(
            message("apiVersion: v1\nkind: Pod\nmetadata:\n  nam: x\n")
                .starts_with("f:3:1: metadata.name is missing")
        );
        assert!(message("a: [\n").starts_with("f:"));
    }
}
