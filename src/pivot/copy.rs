//! What is still to do until an object of the source stands in the target as it should. Pure.
//!
//! The same function copies, goes on after a crash, and compares both places at the end: nothing is left to do where they are equal.

use std::{
    collections::{BTreeMap, HashMap},
    sync::OnceLock,
};

use serde_json::{Map, Value, json};

use super::kinds::MovedKind;

/// Name under which fields are written whose owner in the source can't be told by one name.
pub(super) const FIELD_MANAGER: &str = "machinectl-move";
/// Annotations that keep controllers of other software away from an object: machine-api's name, and Cluster API's.
pub(super) const PAUSES: [&str; 2] = ["machine.crit.sh/paused", "cluster.x-k8s.io/paused"];
/// What an API server writes itself.
const OF_THE_SERVER: [&str; 8] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "selfLink",
    "managedFields",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

/// UIDs of the target by those of the source.
pub(super) type Uids = HashMap<Box<str>, String>;

/// What should stand in the target.
#[derive(Clone)]
pub(super) struct Wanted {
    /// The object without its status, if that is written by itself, and without what an API server writes.
    body: Value,
    /// The status that is written by itself.
    status: Option<Value>,
    /// Who owns which fields, as the API knows it, with its times.
    managed_fields: Value,
    /// The same, when it has been looked at.
    owners: OnceLock<Owners>,
    /// UIDs in the status of which no new one is known.
    unknown: Vec<Box<str>>,
}

/// What was seen of the object in the target.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    /// The object.
    pub(super) object: &'a Value,
    /// It was written as it should be, so what else is in it comes from the target: defaults, webhooks.
    pub(super) written: bool,
    /// Who owns which fields was written as far as the target takes it.
    pub(super) owned: bool,
}

/// The next write.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Create it.
    Create { body: Value, manager: String },
    /// Put it over what is there.
    Replace { body: Value, manager: String },
    /// Write its status.
    Status { body: Value, manager: String, how: How },
    /// Write who owns which fields.
    Owners { patch: Value },
}

/// How a status is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// By apply, as it was in the source.
    Apply,
    /// Where none is: nothing else has to be sent.
    Merge,
    /// Over what is there, with the rest of the object.
    Put,
}

impl Wanted {
    /// Takes an object of the source. Owners get their new UIDs; one that does not move is no owner any more. What a status says of objects
    /// that move gets their new UIDs, too.
    pub(super) fn new(kind: &MovedKind, mut object: Value, uids: &Uids, paused: bool) -> Self {
        let mut status = if kind.has_status {
            object.as_object_mut().and_then(|o| o.remove("status"))
        } else {
            None
        };
        let mut unknown = Vec::new();
        if let Some(status) = &mut status {
            rename(status, uids, &mut unknown);
        }
        let mut managed_fields = Value::Null;
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            managed_fields = metadata.remove("managedFields").unwrap_or_default();
            for field in OF_THE_SERVER {
                metadata.remove(field);
            }
            rename_owners(metadata, &mut managed_fields, uids);
            if paused {
                pause(metadata);
            }
        }
        Self {
            body: object,
            status: status.filter(|s| !is_empty(s)),
            managed_fields,
            owners: OnceLock::new(),
            unknown,
        }
    }

    /// Whether its status speaks of an object whose new UID is not known yet; `moves` says which of them will have one.
    pub(super) fn speaks_of(&self, moves: impl Fn(&str) -> bool) -> bool {
        self.unknown.iter().any(|uid| moves(uid))
    }

    /// The same without the status: that comes later.
    pub(super) fn without_status(self) -> Self {
        Self { status: None, ..self }
    }

    /// The same, with the finalizers and owners that it has there: those in the source went with the mark, or with an owner that has left.
    pub(super) fn held_as(mut self, there: &Value) -> Self {
        for field in ["finalizers", "ownerReferences"] {
            self.body["metadata"][field] = there["metadata"][field].clone();
        }
        self
    }

    fn owners(&self) -> &Owners {
        self.owners.get_or_init(|| Owners::of(&self.managed_fields))
    }

    /// What it is created from. API servers take the status of a Node along, and drop that of custom resources.
    fn first(&self) -> Value {
        let mut body = self.body.clone();
        if let Some(status) = self.status.as_ref().filter(|_| body["apiVersion"] == "v1") {
            body["status"] = status.clone();
        }
        body
    }

    /// The step that creates it, for whoever wants nothing else of it.
    pub(super) fn into_first(mut self) -> (Value, String) {
        let manager = self.manager();
        if let Some(status) = self.status.take().filter(|_| self.body["apiVersion"] == "v1") {
            self.body["status"] = status;
        }
        (self.body, manager)
    }

    /// Who writes everything but the status, if that is one.
    fn manager(&self) -> String {
        self.owners()
            .only(false)
            .map_or(FIELD_MANAGER, |o| &o.manager)
            .to_owned()
    }

    /// Who writes the status, and whether by apply.
    fn status_manager(&self) -> (String, bool) {
        match self.owners().only(true) {
            Some(owner) => (owner.manager.clone(), owner.applies),
            None => (FIELD_MANAGER.to_owned(), false),
        }
    }
}

/// The next write; nothing when the target has it.
pub(super) fn next(wanted: &Wanted, seen: Option<Seen<'_>>) -> Option<Step> {
    let Some(Seen {
        object,
        written,
        owned,
    }) = seen
    else {
        return Some(Step::Create {
            body: wanted.first(),
            manager: wanted.manager(),
        });
    };
    if body_difference(&wanted.body, object, written).is_some() {
        return Some(Step::Replace {
            body: over(&wanted.body, object),
            manager: wanted.manager(),
        });
    }
    if let Some(status) = &wanted.status
        && status_difference(status, object, written).is_some()
    {
        let (manager, apply) = wanted.status_manager();
        let is_first = object.get("status").is_none_or(is_empty);
        let (how, mut body) = match (apply, is_first) {
            (true, _) => (How::Apply, name_of(&wanted.body)),
            (false, true) => (How::Merge, version_of(object)),
            (false, false) => (How::Put, over(&wanted.body, object)),
        };
        body["status"] = status.clone();
        return Some(Step::Status { body, manager, how });
    }
    if !owned && !is_owned_alike(wanted, object) {
        return Some(Step::Owners {
            patch: json!({ "metadata": {
                "resourceVersion": object["metadata"]["resourceVersion"],
                "managedFields": wanted.managed_fields,
            } }),
        });
    }
    None
}

/// Says in which field an object of the target differs from what should stand there; nothing if it does not. Fields that the target adds by
/// itself are no difference.
pub(super) fn first_difference(wanted: &Wanted, object: &Value) -> Option<String> {
    body_difference(&wanted.body, object, true).or_else(|| {
        let status = wanted.status.as_ref()?;
        status_difference(status, object, true)
    })
}

/// Whether the target says the same of who owns which fields.
pub(super) fn is_owned_alike(wanted: &Wanted, object: &Value) -> bool {
    let there = &object["metadata"]["managedFields"];
    say_the_same(&wanted.managed_fields, there) || wanted.owners().are_kept_by(&Owners::of(there))
}

/// Whether two records are the same but for their times.
fn say_the_same(wanted: &Value, there: &Value) -> bool {
    let (Some(wanted), Some(there)) = (wanted.as_array(), there.as_array()) else {
        return false;
    };
    let same = |one: &Value, other: &Value| {
        let fields = ["manager", "operation", "apiVersion", "subresource", "fieldsV1"];
        fields.iter().all(|field| one[*field] == other[*field])
    };
    wanted.len() == there.len() && wanted.iter().zip(there).all(|(one, other)| same(one, other))
}

fn status_difference(wanted: &Value, object: &Value, additions: bool) -> Option<String> {
    let there = object.get("status").unwrap_or(&Value::Null);
    value_difference(wanted, there, additions).map(|at| format!("status{at}"))
}

/// The first field that differs. `additions`: what is only in the target does not count.
fn body_difference(wanted: &Value, object: &Value, additions: bool) -> Option<String> {
    let mut fields = wanted.as_object().into_iter().flatten();
    if let Some((field, at)) = fields.find_map(|(field, value)| {
        let there = object.get(field).unwrap_or(&Value::Null);
        let found = if field == "metadata" {
            metadata_difference(value, there, additions)
        } else {
            value_difference(value, there, additions)
        };
        found.map(|at| (field.clone(), at))
    }) {
        return Some(format!("{field}{at}"));
    }
    if additions {
        return None;
    }
    let known = |field: &str| {
        wanted.get(field).is_some() || ["status", "metadata", "apiVersion", "kind"].contains(&field)
    };
    let more = object.as_object().into_iter().flatten();
    more.filter(|(field, value)| !known(field) && !is_empty(value))
        .map(|(field, _)| field.clone())
        .next()
}

fn metadata_difference(wanted: &Value, there: &Value, additions: bool) -> Option<String> {
    match (wanted.as_object(), there.as_object()) {
        (Some(wanted), Some(there)) => fields_difference(wanted, there, &OF_THE_SERVER, additions),
        _ => value_difference(wanted, there, additions),
    }
}

/// The first field of an object that differs; those of `but` don't count where they are only in the target.
fn fields_difference(
    wanted: &Map<String, Value>,
    there: &Map<String, Value>,
    but: &[&str],
    additions: bool,
) -> Option<String> {
    let missing = wanted.iter().find_map(|(key, value)| {
        let other = there.get(key).unwrap_or(&Value::Null);
        value_difference(value, other, additions).map(|at| format!(".{key}{at}"))
    });
    missing.or_else(|| {
        let counts =
            |key: &str, value: &Value| !wanted.contains_key(key) && !but.contains(&key) && !is_empty(value);
        let mut more = there.iter().filter(|_| !additions);
        more.find(|(key, value)| counts(key, value))
            .map(|(key, _)| format!(".{key}"))
    })
}

/// Where two values differ, as the end of a path; nothing if they don't. Null, an empty object and an empty list are the same as nothing: API
/// servers leave them out.
fn value_difference(wanted: &Value, there: &Value, additions: bool) -> Option<String> {
    match (wanted, there) {
        (Value::Object(wanted), Value::Object(there)) => fields_difference(wanted, there, &[], additions),
        (Value::Array(wanted), Value::Array(there)) if wanted.len() == there.len() => {
            let mut pairs = wanted.iter().zip(there).enumerate();
            pairs.find_map(|(n, (w, t))| value_difference(w, t, additions).map(|at| format!("[{n}]{at}")))
        }
        (wanted, there) if wanted == there || (is_empty(wanted) && is_empty(there)) => None,
        // `1` and `1.0` are one number. Integers are compared as they are: as floats, long ones that differ are equal.
        (Value::Number(wanted), Value::Number(there))
            if (wanted.is_f64() || there.is_f64()) && wanted.as_f64() == there.as_f64() =>
        {
            None
        }
        (wanted, _) if is_empty(wanted) && additions => None,
        _ => Some(String::new()),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// What a patch says of the object that it is about: only this version of it is meant.
fn version_of(object: &Value) -> Value {
    json!({ "metadata": { "resourceVersion": object["metadata"]["resourceVersion"] } })
}

/// What an apply says of the object that it is about.
fn name_of(body: &Value) -> Value {
    let mut metadata =
        json!({ "name": body["metadata"]["name"], "namespace": body["metadata"]["namespace"] });
    if let Some(fields) = metadata.as_object_mut() {
        fields.retain(|_, v| !v.is_null());
    }
    json!({ "apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": metadata })
}

/// The wanted object with what an API server checks of the one that is there.
fn over(body: &Value, object: &Value) -> Value {
    let mut body = body.clone();
    for field in ["uid", "resourceVersion"] {
        body["metadata"][field] = object["metadata"][field].clone();
    }
    body
}

/// Gives objects that a status speaks of their new UIDs: `nodeRef.uid` of a Machine, `remediations[].uid` of a health check. What does not move
/// keeps its own; those UIDs are put down in `unknown`.
fn rename(status: &mut Value, uids: &Uids, unknown: &mut Vec<Box<str>>) {
    match status {
        Value::Object(fields) => {
            for (field, value) in fields {
                match value {
                    Value::String(uid) if field == "uid" => match uids.get(uid.as_str()) {
                        Some(new) => uid.clone_from(new),
                        None => unknown.push(uid.as_str().into()),
                    },
                    value => rename(value, uids, unknown),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, uids, unknown)),
        _ => {}
    }
}

/// Gives owners their new UIDs, in the references and in who owns those.
fn rename_owners(metadata: &mut Map<String, Value>, managed_fields: &mut Value, uids: &Uids) {
    let Some(owners) = metadata.get_mut("ownerReferences").and_then(Value::as_array_mut) else {
        return;
    };
    let mut renamed = Vec::new();
    owners.retain_mut(|owner| {
        let old = owner["uid"].as_str().unwrap_or_default().to_owned();
        let new = uids.get(old.as_str()).cloned();
        if let Some(new) = &new {
            owner["uid"] = json!(new);
        }
        let moves = new.is_some();
        renamed.push((old, new));
        moves
    });
    if owners.is_empty() {
        metadata.remove("ownerReferences");
    }
    for entry in managed_fields.as_array_mut().into_iter().flatten() {
        let references = entry.pointer_mut("/fieldsV1/f:metadata/f:ownerReferences");
        let Some(references) = references.and_then(Value::as_object_mut) else {
            continue;
        };
        for (old, new) in &renamed {
            let key = |uid: &str| format!("k:{}", json!({ "uid": uid }));
            if let Some(fields) = references.remove(&key(old))
                && let Some(new) = new
            {
                references.insert(key(new), fields);
            }
        }
    }
}

/// Keeps controllers of other software away.
fn pause(metadata: &mut Map<String, Value>) {
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    if let Some(annotations) = annotations.as_object_mut() {
        for name in PAUSES {
            annotations.entry(name).or_insert_with(|| json!(""));
        }
    }
}

/// Whether somebody has paused an object already.
pub(super) fn is_paused(object: &Value) -> bool {
    PAUSES
        .iter()
        .any(|name| object["metadata"]["annotations"].get(*name).is_some())
}

/// Who owns which fields of an object, without the times. Older API servers don't tell writes of the status from others: neither does this.
#[derive(Debug, Clone, Default, PartialEq)]
struct Owners(BTreeMap<Owner, Value>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Owner {
    manager: String,
    applies: bool,
    version: String,
}

impl Owners {
    fn of(managed_fields: &Value) -> Self {
        let mut owners = Self::default();
        for entry in managed_fields.as_array().into_iter().flatten() {
            let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
            let owner = Owner {
                manager: text("manager"),
                applies: entry["operation"] == "Apply",
                version: text("apiVersion"),
            };
            unite(owners.0.entry(owner).or_default(), &entry["fieldsV1"]);
        }
        owners.0.retain(|_, fields| !is_owning_nothing(fields));
        owners
    }

    /// Whether another record says the same: the same owners, each with these fields at least. API servers of different versions see lists
    /// and objects as a whole or as their parts; what the target adds by itself has to have some owner.
    fn are_kept_by(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().all(|(owner, fields)| {
                let there = other.0.get(owner);
                there.is_some_and(|there| covers(there, fields))
            })
    }

    /// The one that owns the status, or the one that owns anything else, if it is one.
    fn only(&self, status: bool) -> Option<&Owner> {
        let owns = |fields: &Value| {
            let mut names = fields.as_object().into_iter().flatten().map(|(name, _)| name);
            names.any(|name| (name == "f:status") == status)
        };
        let mut all = self
            .0
            .iter()
            .filter(|(_, fields)| owns(fields))
            .map(|(owner, _)| owner);
        let first = all.next()?;
        all.next().is_none().then_some(first)
    }
}

fn is_owning_nothing(fields: &Value) -> bool {
    fields.as_object().is_none_or(Map::is_empty)
}

/// Whether a set of fields holds another one; what is owned as a whole is owned in its parts.
fn covers(there: &Value, fields: &Value) -> bool {
    let (Some(there), Some(fields)) = (there.as_object(), fields.as_object()) else {
        return true;
    };
    let is_whole = |set: &Map<String, Value>| set.keys().all(|key| key == ".");
    is_whole(there)
        || fields
            .iter()
            .filter(|(key, _)| *key != ".")
            .all(|(key, part)| there.get(key).is_some_and(|there| covers(there, part)))
}

/// Adds fields to fields.
fn unite(all: &mut Value, more: &Value) {
    let Some(more) = more.as_object() else { return };
    if !all.is_object() {
        *all = json!({});
    }
    if let Some(all) = all.as_object_mut() {
        for (name, fields) in more {
            unite(all.entry(name).or_insert_with(|| json!({})), fields);
        }
    }
}

#[cfg(test)]
#[path = "copy_tests.rs"]
mod tests;
