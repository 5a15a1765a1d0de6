//! The server's own description in `OpenAPI`, as far as clients read it: kinds with their fields, and which requests
//! they can make. Pure functions from a [`Registry`](super::builtin::Registry). It must not validate anything by these documents.

mod gnostic;
mod kinds;
mod v2;
mod v3;

pub use v2::{document as v2_document, protobuf as v2_protobuf, wants_protobuf as v2_wants_protobuf};
pub(crate) use v3::hash as v3_hash;
pub use v3::{document as v3_document, index as v3_index};

use serde_json::{Value, json};

use super::builtin::ResourceInfo;

/// The verbs of one path of a resource: HTTP method, action as Kubernetes names it, whether it sends a body.
type Operation = (&'static str, &'static str, bool);

const ON_COLLECTION: &[Operation] = &[
    ("get", "list", false),
    ("post", "post", true),
    ("delete", "deletecollection", false),
];
const ON_OBJECT: &[Operation] = &[
    ("get", "get", false),
    ("put", "put", true),
    ("patch", "patch", true),
    ("delete", "delete", false),
];

/// A path with the operations that it takes.
struct PathEntry {
    path: String,
    operations: Vec<Operation>,
    named: bool,
}

/// Returns the paths of a resource.
fn paths(info: &ResourceInfo) -> Vec<PathEntry> {
    let root = if info.group.is_empty() {
        format!("/api/{}", info.version)
    } else {
        format!("/apis/{}/{}", info.group, info.version)
    };
    let collection = if info.namespaced {
        format!("{root}/namespaces/{{namespace}}/{}", info.plural)
    } else {
        format!("{root}/{}", info.plural)
    };
    let verb = |action: &str| match action {
        "post" => "create",
        "put" => "update",
        "deletecollection" => "deletecollection",
        "get" => "get",
        "list" => "list",
        "patch" => "patch",
        _ => "delete",
    };
    let allowed = |all: &[Operation]| -> Vec<Operation> {
        all.iter()
            .copied()
            .filter(|(_, action, _)| info.allows(verb(action)))
            .collect()
    };
    let mut paths = vec![PathEntry {
        path: collection.clone(),
        operations: allowed(ON_COLLECTION),
        named: false,
    }];
    if !info.virtual_only {
        paths.push(PathEntry {
            path: format!("{collection}/{{name}}"),
            operations: allowed(ON_OBJECT),
            named: true,
        });
        if info.status {
            let operations = allowed(ON_OBJECT)
                .into_iter()
                .filter(|(method, ..)| *method != "delete")
                .collect();
            paths.push(PathEntry {
                path: format!("{collection}/{{name}}/status"),
                operations,
                named: true,
            });
        }
    }
    paths
}

/// Returns how documents mark what a schema or an operation is of.
fn group_version_kind(info: &ResourceInfo) -> Value {
    json!({"group": info.group, "version": info.version, "kind": info.kind})
}

/// Query parameters of an operation: name, type, meaning.
fn query_parameters(method: &str, action: &str) -> Vec<(&'static str, &'static str, &'static str)> {
    let mut parameters = vec![(
        "pretty",
        "string",
        "If 'true', then the output is pretty printed.",
    )];
    if action == "list" || action == "deletecollection" {
        parameters.extend([
            (
                "continue",
                "string",
                "Where to go on with a list that was given in part.",
            ),
            (
                "fieldSelector",
                "string",
                "A selector to restrict the list of returned objects by their fields.",
            ),
            (
                "labelSelector",
                "string",
                "A selector to restrict the list of returned objects by their labels.",
            ),
            (
                "limit",
                "integer",
                "The largest number of objects to return at once.",
            ),
            (
                "resourceVersion",
                "string",
                "Which state of the objects is wanted.",
            ),
            (
                "resourceVersionMatch",
                "string",
                "How resourceVersion is applied to lists.",
            ),
            ("timeoutSeconds", "integer", "Timeout for the call."),
        ]);
    }
    if action == "list" {
        parameters.extend([
            (
                "allowWatchBookmarks",
                "boolean",
                "Whether a watch may carry bookmarks.",
            ),
            (
                "sendInitialEvents",
                "boolean",
                "Whether a watch begins with the present objects.",
            ),
            (
                "watch",
                "boolean",
                "Watch for changes to the described resources.",
            ),
        ]);
    }
    if matches!(method, "post" | "put" | "patch") {
        parameters.extend([
            (
                "dryRun",
                "string",
                "When present, indicates that modifications should not be persisted; must be All.",
            ),
            ("fieldManager", "string", "The name of who makes the changes."),
            (
                "fieldValidation",
                "string",
                "What to do with unknown or duplicate fields in the request: Ignore, Warn or Strict.",
            ),
        ]);
    }
    if method == "patch" {
        parameters.push((
            "force",
            "boolean",
            "Whether to take over fields that others manage. Only for apply patches.",
        ));
    }
    if method == "delete" {
        parameters.extend([
            (
                "dryRun",
                "string",
                "When present, indicates that modifications should not be persisted; must be All.",
            ),
            (
                "gracePeriodSeconds",
                "integer",
                "The duration in seconds before the object should be deleted.",
            ),
            (
                "propagationPolicy",
                "string",
                "Whether and how garbage collection will be performed.",
            ),
        ]);
    }
    parameters
}

/// Media types of patches that a resource takes.
fn patch_types(info: &ResourceInfo) -> Vec<&'static str> {
    let mut types = vec![
        "application/apply-patch+yaml",
        "application/json-patch+json",
        "application/merge-patch+json",
    ];
    if !info.custom {
        types.push("application/strategic-merge-patch+json");
    }
    types
}

/// Returns a name for an operation that no other one has.
fn operation_id(info: &ResourceInfo, action: &str, named: bool) -> String {
    let mut group: String = info.group.split('.').map(capitalised).collect();
    if group.is_empty() {
        "Core".clone_into(&mut group);
    }
    let scope = if info.namespaced { "Namespaced" } else { "" };
    let action = match (action, named) {
        ("get", _) => "read",
        ("post", _) => "create",
        ("put", _) => "replace",
        ("deletecollection", _) => "deleteCollection",
        (other, _) => other,
    };
    format!(
        "{action}{group}{}{scope}{}",
        capitalised(&info.version),
        info.kind
    )
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map(|first| first.to_ascii_uppercase().to_string() + characters.as_str())
        .unwrap_or_default()
}
