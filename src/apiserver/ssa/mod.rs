//! Server-side apply: who owns which fields, and what an apply makes of an object. Pure: it must know neither store nor
//! HTTP, and takes the time as an argument.

mod fieldset;
mod managed;
mod scale;
mod typed;
pub(crate) mod types;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use self::fieldset::{FieldSet, PathElement, path_words};
use self::managed::{
    ManagerKey, Managers, Operation, Owned, entries, is_reset, set_entries, without_entries,
};
use self::types::Type;
use super::object::meta::{same_but_time, same_fields};
use super::schema::{Structural, go_quote};
use crate::time::{Timestamp, rfc3339};

pub use self::scale::{scale_from_parent, scale_into_parent};

/// The manager that owns what an object held when it was applied to for the first time.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// The annotation in which `kubectl apply` without server-side apply keeps what it applied last.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// How many bytes all annotations of an object may have.
const MAX_ANNOTATIONS: usize = 256 * 1024;
/// The fields that nobody owns.
const UNOWNED: [&[&str]; 12] = [
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "clusterName"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

/// The metadata that changes without anybody having changed it.
const WRITTEN_BY_SERVER: [&str; 6] = [
    "managedFields",
    "resourceVersion",
    "generation",
    "uid",
    "creationTimestamp",
    "selfLink",
];

fn unowned() -> &'static FieldSet {
    static SET: LazyLock<FieldSet> = LazyLock::new(|| FieldSet::of_fields(&UNOWNED));
    &SET
}

/// Who writes, and through what.
#[derive(Debug, Clone, Copy)]
pub struct Manager<'a> {
    /// The field manager; "" is told as `unknown`.
    pub name: &'a str,
    /// The group and version of the request, such as `apps/v1`.
    pub api_version: &'a str,
    /// The subresource of the request; "" for none.
    pub subresource: &'a str,
}

impl Manager<'_> {
    fn key(&self, operation: Operation) -> ManagerKey {
        ManagerKey {
            name: if self.name.is_empty() {
                "unknown".to_owned()
            } else {
                self.name.to_owned()
            },
            operation,
            api_version: (operation == Operation::Update).then(|| self.api_version.to_owned()),
            subresource: self.subresource.to_owned(),
        }
    }
}

/// A field that an apply would take from another manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The other manager, in the words of messages: `"m1" with subresource "scale" using v1`.
    pub manager: String,
    /// The field, such as `.spec.size`.
    pub field: String,
}

impl Conflict {
    /// The message of the cause in the answer.
    pub fn message(&self) -> String {
        format!("conflict with {}", self.manager)
    }
}

/// Why an apply was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SsaError {
    /// Other managers own fields with other values: 409, cause `FieldManagerConflict` each.
    #[error("{}", conflict_message(.0))]
    Conflicts(Vec<Conflict>),
    /// The request makes no sense: 400.
    #[error("{0}")]
    BadRequest(String),
    /// The applied object does not have the form of its kind: 500 without a reason, as kube-apiserver has it.
    #[error("{0}")]
    Internal(String),
}

fn conflict_message(conflicts: &[Conflict]) -> String {
    if let [conflict] = conflicts {
        return format!(
            "Apply failed with 1 conflict: {}: {}",
            conflict.message(),
            conflict.field
        );
    }
    let mut lines = Vec::new();
    let mut last = None;
    for conflict in conflicts {
        if last != Some(&conflict.manager) {
            lines.push(format!("conflicts with {}:", conflict.manager));
            last = Some(&conflict.manager);
        }
        lines.push(format!("- {}", conflict.field));
    }
    format!(
        "Apply failed with {} conflicts: {}",
        conflicts.len(),
        lines.join("\n")
    )
}

/// A conflict before it is put into words.
type Conflicts = BTreeMap<ManagerKey, FieldSet>;

fn in_words(conflicts: &Conflicts) -> Vec<Conflict> {
    let mut out = Vec::new();
    let mut order: Vec<(&ManagerKey, &FieldSet)> = conflicts.iter().collect();
    // Of one manager those through a subresource are told first.
    order.sort_by_key(|(key, _)| {
        (
            &key.name,
            key.operation,
            &key.api_version,
            key.subresource.is_empty(),
            &key.subresource,
        )
    });
    for (key, fields) in order {
        let mut manager = go_quote(&key.name);
        if !key.subresource.is_empty() {
            manager.extend([" with subresource ", &go_quote(&key.subresource)]);
        }
        if let Some(version) = &key.api_version {
            manager.extend([" using ", version]);
        }
        fields.each(&mut |path| {
            out.push(Conflict {
                manager: manager.clone(),
                field: path_words(path),
            });
        });
    }
    out
}

/// Applies `applied` to `live` and returns the object that results, with defaults and `metadata.managedFields`.
///
/// `live` is none when the object does not exist yet. `reset` are the fields that a write to this resource or
/// subresource cannot change, such as `["status"]`: nobody comes to own them here. When nothing but the time of an
/// entry would change, the time stays.
///
/// # Errors
///
/// Conflicts unless `force` is set, and applied objects that do not have the form of their kind.
pub fn apply(
    live: Option<&Value>,
    applied: &Value,
    manager: &Manager<'_>,
    schema: &Structural,
    force: bool,
    reset: &[&[&str]],
    now: Timestamp,
) -> Result<Value, SsaError> {
    let version = applied.get("apiVersion").and_then(Value::as_str).unwrap_or("");
    let kind = applied.get("kind").and_then(Value::as_str).unwrap_or("");
    if version != manager.api_version || live.is_some_and(|l| l.get("kind").is_some_and(|k| k != kind)) {
        return Err(SsaError::BadRequest(format!(
            "invalid object type: {}",
            gvk(version, kind)
        )));
    }
    if entries(applied).is_some_and(|e| !e.is_null()) {
        return Err(SsaError::BadRequest(
            "metadata.managedFields must be nil".to_owned(),
        ));
    }
    let managers = match live {
        Some(live) => Managers::of(live)
            .map_err(|error| SsaError::Internal(format!("failed to decode managed fields: {error}")))?,
        None => Managers::default(),
    };
    let bare = bare_live(live, version, kind);
    let job = Job {
        of: schema.merge_type(),
        manager,
        reset: FieldSet::of_fields(reset),
        now,
    };
    let managers = if managers.is_empty() {
        job.first_managers(&bare)
    } else {
        managers
    };
    let again = (manager.name == "kubectl" && !force).then(|| managers.clone());
    let outcome = match (job.apply(&bare, applied, managers, force), again) {
        (Err(Refused::Conflicts(conflicts)), Some(managers)) => {
            let left = job.unforgiven(&bare, &conflicts);
            if left.is_empty() {
                job.apply(&bare, applied, managers, true)
            } else {
                Err(Refused::Conflicts(left))
            }
        }
        (other, _) => other,
    };
    let (merged, managers) = match outcome {
        Ok(outcome) => outcome,
        Err(Refused::Conflicts(conflicts)) => return Err(SsaError::Conflicts(in_words(&conflicts))),
        Err(Refused::Form(words)) => return Err(SsaError::Internal(words)),
    };
    let mut object = match merged {
        Some(mut merged) => {
            schema.apply_defaults(&mut merged);
            Structural::tidy_metadata(&mut merged);
            merged
        }
        None => bare,
    };
    if manager.name == "kubectl" {
        renew_last_applied(&mut object, applied);
    }
    set_entries(&mut object, Some(managers.encode()));
    if let Some(live) = live {
        keep_times(live, &mut object);
    }
    Ok(object)
}

/// Says what is wrong with a list of managers.
///
/// # Errors
/// It can't be read.
pub(crate) fn check_managed_fields(entries: &[Value]) -> Result<(), String> {
    managed::Managers::decode(entries).map(drop)
}

/// Writes `metadata.managedFields` of an object that is created, updated or patched: the manager comes to own what it
/// changed, and others lose it.
///
/// `live` is the object as stored; for one that is created it is none, or what an object of the kind is like without
/// any content (and without a uid). `new` may carry `metadata.managedFields`: an empty list or a list of one empty entry forgets all managers, and other
/// entries that can be read replace those of `live`. Objects that have lost all managers get none until they are
/// applied to.
pub fn track_update(
    live: Option<&Value>,
    new: &mut Value,
    manager: &Manager<'_>,
    schema: &Structural,
    reset: &[&[&str]],
    now: Timestamp,
) {
    let managers = starting_managers(live, new, manager);
    set_entries(new, None);
    if managers.is_empty() && live.is_some_and(exists) {
        return;
    }
    let of = schema.merge_type();
    let old = bare_live(live, "", "");
    let formless = |value: &Value| !typed::check(of, value, true).is_empty();
    if formless(new) || formless(&old) {
        // What has no form cannot be compared: everybody keeps what they have.
        set_entries(new, live.and_then(entries).and_then(Value::as_array).cloned());
        return;
    }
    let job = Job {
        of,
        manager,
        reset: FieldSet::of_fields(reset),
        now,
    };
    let mut managers = job.update(&old, new, managers, &manager.key(Operation::Update));
    managers.cap_updaters();
    set_entries(new, Some(managers.encode()));
    if let Some(live) = live {
        keep_times(live, new);
    }
}

/// Whether an object has been stored: what it would be like without any content has no uid.
fn exists(object: &Value) -> bool {
    let uid = object
        .get("metadata")
        .and_then(|m| m.get("uid"))
        .and_then(Value::as_str);
    uid.is_some_and(|uid| !uid.is_empty())
}

/// Puts the times of the entries of `live` back into `new` when nothing else has changed.
fn keep_times(live: &Value, new: &mut Value) {
    let (Some(Value::Array(old_entries)), Some(Value::Array(new_entries))) = (entries(live), entries(new))
    else {
        return;
    };
    if old_entries.len() == new_entries.len()
        && same_essence(live, new)
        && same_but_times(old_entries, new_entries)
    {
        let old_entries = old_entries.clone();
        set_entries(new, Some(old_entries));
    }
}

/// Whether two lists of entries are the same but for their times and their order.
fn same_but_times(old: &[Value], new: &[Value]) -> bool {
    if old.iter().zip(new).all(|(a, b)| same_but_time(a, b)) {
        return true;
    }
    let timeless = |entries: &[Value]| {
        let mut list = entries.to_vec();
        for entry in list.iter_mut().filter_map(Value::as_object_mut) {
            entry.remove("time");
        }
        list.sort_by_cached_key(ToString::to_string);
        list
    };
    timeless(old) == timeless(new)
}

/// Whether two objects are the same but for what the server itself writes.
fn same_essence(a: &Value, b: &Value) -> bool {
    let (Some(left), Some(right)) = (a.as_object(), b.as_object()) else {
        return a == b;
    };
    left.len() == right.len()
        && left.iter().all(|(key, value)| match (value, right.get(key)) {
            (Value::Object(a), Some(Value::Object(b))) if key == "metadata" => {
                same_fields(a, b, |key, value| {
                    !WRITTEN_BY_SERVER.contains(&key)
                        && !value.is_null()
                        && value.as_object().is_none_or(|m| !m.is_empty())
                })
            }
            (value, other) => Some(value) == other,
        })
}

/// The stored object without its entries; of one that does not exist, only what its kind is.
fn bare_live(live: Option<&Value>, version: &str, kind: &str) -> Value {
    match live {
        Some(live) => without_entries(live),
        None if kind.is_empty() => json!({}),
        None => json!({"apiVersion": version, "kind": kind}),
    }
}

fn starting_managers(live: Option<&Value>, new: &Value, manager: &Manager<'_>) -> Managers {
    let of_live = || live.and_then(|live| Managers::of(live).ok()).unwrap_or_default();
    if !manager.subresource.is_empty() {
        return of_live();
    }
    if is_reset(new) {
        return Managers::default();
    }
    match Managers::of(new) {
        Ok(managers) if !managers.is_empty() => managers,
        _ => of_live(),
    }
}

fn gvk(version: &str, kind: &str) -> String {
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    format!("{group}/{version}, Kind={kind}")
}

/// Why an apply inside of [`apply`] was refused.
enum Refused {
    Conflicts(Conflicts),
    Form(String),
}

/// One write.
struct Job<'a> {
    of: &'a Type,
    manager: &'a Manager<'a>,
    reset: FieldSet,
    now: Timestamp,
}

impl Job<'_> {
    /// Fits entries to a schema that has changed, and drops those of other groups.
    fn reconciled(&self, managers: Managers) -> Managers {
        fn group(version: &str) -> Option<&str> {
            version.split_once('/').map(|(group, _)| group)
        }
        let ours = group(self.manager.api_version);
        let kept = managers
            .0
            .into_iter()
            .filter(|(_, owned)| group(&owned.api_version) == ours);
        Managers(
            kept.map(|(key, owned)| {
                let fields = typed::reconcile(self.of, owned.fields);
                (key, Owned { fields, ..owned })
            })
            .collect(),
        )
    }

    /// What everybody else loses by a change from `old` to `new`, and what the change is.
    fn changes(&self, old: &Value, new: &Value) -> typed::Comparison {
        typed::compare(self.of, old, new).without(&self.reset)
    }

    /// The managers after an update from `old` to `new` by `key`.
    fn update(&self, old: &Value, new: &Value, managers: Managers, key: &ManagerKey) -> Managers {
        let mut managers = self.reconciled(managers);
        let change = self.changes(old, new);
        let mut own = change.modified.with(change.added);
        let lost = own.clone().with(change.removed);
        managers.take(|_| &lost);
        own.subtract(unowned());
        if !own.is_empty() {
            if let Some(before) = managers.0.remove(key) {
                own = own.with(before.fields);
            }
            let api_version = self.manager.api_version.to_owned();
            managers.0.insert(
                key.clone(),
                Owned {
                    fields: own,
                    api_version,
                    time: Some(rfc3339(self.now)),
                },
            );
        }
        managers
    }

    /// The managers of an object that has none yet: what it holds was there before.
    fn first_managers(&self, live: &Value) -> Managers {
        let before = Manager {
            name: BEFORE_FIRST_APPLY,
            ..*self.manager
        };
        let nothing = json!({});
        if !typed::check(self.of, live, true).is_empty() {
            return Managers::default();
        }
        self.update(
            &nothing,
            live,
            Managers::default(),
            &before.key(Operation::Update),
        )
    }

    /// Returns no object when nothing changes.
    fn apply(
        &self,
        live: &Value,
        applied: &Value,
        managers: Managers,
        force: bool,
    ) -> Result<(Option<Value>, Managers), Refused> {
        let name = |value: &Value| {
            let text = |key: &str| {
                let text = value
                    .get("metadata")
                    .and_then(|m| m.get(key))
                    .and_then(Value::as_str);
                text.unwrap_or("").to_owned()
            };
            let text_of = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or("");
            format!(
                "{}/{}; {}",
                text("namespace"),
                text("name"),
                gvk(text_of("apiVersion"), text_of("kind"))
            )
        };
        let errors = typed::check(self.of, applied, false);
        if !errors.is_empty() {
            let words = typed::join_errors(&errors);
            return Err(Refused::Form(format!(
                "failed to create typed patch object ({}): {words}",
                name(applied)
            )));
        }
        let errors = typed::check(self.of, live, true);
        if !errors.is_empty() {
            let words = typed::join_errors(&errors);
            return Err(Refused::Form(format!(
                "failed to create typed live object ({}): {words}",
                name(live)
            )));
        }
        let mut managers = self.reconciled(managers);
        let key = self.manager.key(Operation::Apply);
        let merged = typed::merge(self.of, live, applied).map_err(|errors| {
            Refused::Form(format!("failed to merge config: {}", typed::join_errors(&errors)))
        })?;
        let mut fields = typed::field_set(self.of, applied);
        fields.subtract_recursively(&self.reset);
        let before = managers.0.remove(&key);
        // Who applies all that it applied before takes nothing out.
        let leaves = before
            .as_ref()
            .is_some_and(|before| !fields.covers(&before.fields));
        let last_time = before.as_ref().and_then(|owned| owned.time.clone());
        let owned = Owned {
            fields,
            api_version: self.manager.api_version.to_owned(),
            time: last_time,
        };
        managers.0.insert(key.clone(), owned);
        let new = match before {
            Some(before) if leaves => self.pruned(&merged, &managers, &before.fields),
            _ => merged,
        };
        self.settle(live, &new, &mut managers, &key, force)?;
        if typed::equal(live, &new) {
            return Ok((None, managers));
        }
        if let Some(owned) = managers.0.get_mut(&key) {
            owned.time = Some(rfc3339(self.now));
        }
        Ok((Some(new), managers))
    }

    /// Takes what changes away from the other managers; without `force` they must agree.
    fn settle(
        &self,
        live: &Value,
        new: &Value,
        managers: &mut Managers,
        key: &ManagerKey,
        force: bool,
    ) -> Result<(), Refused> {
        let change = self.changes(live, new);
        let gained = change.modified.with(change.added);
        let mut conflicts = Conflicts::new();
        for (other, owned) in managers.0.iter().filter(|(other, _)| !force && *other != key) {
            let both = owned.fields.intersection(&gained);
            if !both.is_empty() {
                conflicts.insert(other.clone(), both);
            }
        }
        if !conflicts.is_empty() {
            return Err(Refused::Conflicts(conflicts));
        }
        let lost = gained.with(change.removed);
        let unowned = unowned();
        managers.take(|other| if other == key { unowned } else { &lost });
        Ok(())
    }

    /// Takes out what the manager applied last time and does not apply any more, unless somebody else owns it.
    fn pruned(&self, merged: &Value, managers: &Managers, last: &FieldSet) -> Value {
        let named = |set: &FieldSet| set.with_named_fields(Some(self.of));
        let fields = |value: &Value| named(&typed::field_set(self.of, value));
        let last = named(last);
        let without_last = typed::remove(self.of, merged, &last);
        // Owned by anybody, also by this apply: it comes back.
        let mut owned = FieldSet::default();
        for other in managers.0.values() {
            owned.add(&other.fields);
        }
        let merged_fields = fields(merged);
        let gone = merged_fields.difference(&fields(&without_last).with(named(&owned)));
        let with_owned = typed::remove(self.of, merged, &gone);
        // Never owned by this manager: it comes back too.
        let gone = merged_fields.difference(&fields(&with_owned)).intersection(&last);
        typed::remove(self.of, merged, &gone)
    }

    /// The conflicts that the object's last client-side apply does not explain: `kubectl` may take those fields over.
    fn unforgiven(&self, live: &Value, conflicts: &Conflicts) -> Conflicts {
        let Some(forgiven) = self.last_applied_fields(live) else {
            return conflicts.clone();
        };
        conflicts
            .iter()
            .map(|(key, fields)| (key.clone(), fields.difference(&forgiven)))
            .filter(|(_, fields)| !fields.is_empty())
            .collect()
    }

    fn last_applied_fields(&self, live: &Value) -> Option<FieldSet> {
        let text = live
            .get("metadata")?
            .get("annotations")?
            .get(LAST_APPLIED)?
            .as_str()?;
        let last: Value = serde_json::from_str(text).ok()?;
        if last.get("apiVersion")?.as_str()? != self.manager.api_version
            || !typed::check(self.of, &last, false).is_empty()
        {
            return None;
        }
        let change = typed::compare(self.of, &last, live);
        let mut fields = typed::field_set(self.of, &last);
        for changed in [&change.modified, &change.added, &change.removed] {
            fields.subtract(changed);
        }
        Some(fields)
    }
}

/// Keeps the annotation of client-side apply in step, for those who go back and forth between the two.
fn renew_last_applied(object: &mut Value, applied: &Value) {
    let Some(annotations) = object
        .get_mut("metadata")
        .and_then(|m| m.get_mut("annotations"))
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    if annotations
        .get(LAST_APPLIED)
        .and_then(Value::as_str)
        .unwrap_or("")
        .is_empty()
    {
        return;
    }
    let mut last = applied.clone();
    if let Some(metadata) = last.get_mut("metadata").and_then(Value::as_object_mut)
        && let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut)
    {
        annotations.remove(LAST_APPLIED);
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
    let text = format!("{last}\n");
    annotations.remove(LAST_APPLIED);
    if size_of(annotations) + LAST_APPLIED.len() + text.len() <= MAX_ANNOTATIONS {
        annotations.insert(LAST_APPLIED.to_owned(), Value::from(text));
    }
}

fn size_of(annotations: &Map<String, Value>) -> usize {
    annotations
        .iter()
        .map(|(key, value)| key.len() + value.as_str().map_or(0, str::len))
        .sum()
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.message(), self.field)
    }
}

fn element(name: &str) -> PathElement {
    PathElement::Field(name.into())
}

#[cfg(test)]
mod replay;
#[cfg(test)]
mod tests;
