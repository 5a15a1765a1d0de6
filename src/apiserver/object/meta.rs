//! Access to `metadata`, and the steps that every object goes through whatever its kind.
//! It must not validate: that is done where the kinds are known.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::time::{Timestamp, rfc3339};

/// Finalizer of an object whose dependents must be gone before it.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of an object whose dependents are to be kept.
pub(crate) const ORPHAN: &str = "orphan";

/// Letters of generated name suffixes: no vowels, so that no words come out.
const SUFFIX_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Length of a generated suffix.
const SUFFIX_LENGTH: usize = 5;
/// Longest prefix of a generated name.
const PREFIX_LENGTH: usize = 63 - SUFFIX_LENGTH;

/// Returns the object's metadata, empty if it has none.
pub(crate) fn of(object: &Value) -> &Map<String, Value> {
    static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    object
        .get("metadata")
        .and_then(Value::as_object)
        .unwrap_or(&EMPTY)
}

/// Returns the object's metadata to be changed; makes it if there is none.
///
/// # Panics
/// Never: what is not an object is replaced by one.
pub(crate) fn of_mut(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let map = object.as_object_mut().expect("invariant: made an object above");
    let metadata = map.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if !metadata.is_object() {
        *metadata = Value::Object(Map::new());
    }
    metadata.as_object_mut().expect("invariant: made an object above")
}

/// Returns a text of the metadata, empty if it is not there.
pub(crate) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    of(object).get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Returns the object's name.
pub(crate) fn name(object: &Value) -> &str {
    text(object, "name")
}

/// Returns the object's namespace.
pub(crate) fn namespace(object: &Value) -> &str {
    text(object, "namespace")
}

/// Sets a text of the metadata.
pub(crate) fn set(object: &mut Value, field: &str, value: &str) {
    of_mut(object).insert(field.to_owned(), Value::String(value.to_owned()));
}

/// Says whether the object is being removed.
pub(crate) fn is_deleting(object: &Value) -> bool {
    of(object).get("deletionTimestamp").is_some_and(|t| !t.is_null())
}

/// Returns the object's finalizers.
pub(crate) fn finalizers(object: &Value) -> Vec<&str> {
    of(object)
        .get("finalizers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// Replaces the object's finalizers.
pub(crate) fn set_finalizers(object: &mut Value, finalizers: &[String]) {
    let metadata = of_mut(object);
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".to_owned(), finalizers.to_vec().into());
    }
}

/// Returns the object's owner references.
pub(crate) fn owners(object: &Value) -> &[Value] {
    of(object)
        .get("ownerReferences")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Fills in what the server sets on a new object. `uid` and `random` come from the caller: this does not draw lots.
pub(crate) fn prepare_new(object: &mut Value, now: Timestamp, uid: &str) {
    let metadata = of_mut(object);
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        metadata.remove(field);
    }
    metadata.insert("uid".to_owned(), Value::String(uid.to_owned()));
    metadata.insert("creationTimestamp".to_owned(), Value::String(rfc3339(now)));
}

/// Returns `prefix` with a random suffix; `random` gives the numbers.
pub(crate) fn generated_name(prefix: &str, mut random: impl FnMut() -> u32) -> String {
    let mut end = prefix.len().min(PREFIX_LENGTH);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = prefix[..end].to_owned();
    for _ in 0..SUFFIX_LENGTH {
        name.push(char::from(
            SUFFIX_LETTERS[random() as usize % SUFFIX_LETTERS.len()],
        ));
    }
    name
}

/// Carries over what an update cannot change: uid if not given, creation and deletion marks.
pub(crate) fn keep_system_fields(new: &mut Value, old: &Value) {
    let old = of(old);
    let metadata = of_mut(new);
    if metadata
        .get("uid")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .is_empty()
    {
        copy(metadata, old, "uid");
    }
    copy(metadata, old, "creationTimestamp");
    if old.contains_key("deletionTimestamp") {
        copy(metadata, old, "deletionTimestamp");
    }
    if old.contains_key("deletionGracePeriodSeconds") && !metadata.contains_key("deletionGracePeriodSeconds")
    {
        copy(metadata, old, "deletionGracePeriodSeconds");
    }
}

fn copy(to: &mut Map<String, Value>, from: &Map<String, Value>, field: &str) {
    match from.get(field) {
        Some(value) => to.insert(field.to_owned(), value.clone()),
        None => to.remove(field),
    };
}

/// Marks an object that waits for its finalizers. `grace` is in seconds. Returns whether anything changed.
pub(crate) fn mark_deleting(object: &mut Value, now: Timestamp, grace: i64) -> bool {
    if is_deleting(object) {
        return false;
    }
    bump_generation(object);
    let metadata = of_mut(object);
    // Whoever has until the end of time has until its last moment.
    let at = now
        .saturating_add(crate::time::SignedDuration::from_secs(grace))
        .unwrap_or(now);
    metadata.insert("deletionTimestamp".to_owned(), Value::String(rfc3339(at)));
    metadata.insert("deletionGracePeriodSeconds".to_owned(), grace.into());
    true
}

fn bump_generation(object: &mut Value) {
    let metadata = of_mut(object);
    if let Some(generation) = metadata
        .get("generation")
        .and_then(Value::as_i64)
        .filter(|g| *g > 0)
    {
        metadata.insert("generation".to_owned(), (generation + 1).into());
    }
}

/// Removes owner references that are there twice, as the API server does on every write.
pub(crate) fn dedup_owners(object: &mut Value) {
    let metadata = of_mut(object);
    if let Some(owners) = metadata.get_mut("ownerReferences").and_then(Value::as_array_mut)
        && owners.len() > 1
    {
        // Anybody can send many: they must not be compared with each other.
        let mut seen = HashSet::with_capacity(owners.len());
        let is_first: Vec<bool> = owners.iter().map(|owner| seen.insert(owner)).collect();
        let mut is_first = is_first.into_iter();
        owners.retain(|_| is_first.next().unwrap_or(true));
    }
}

/// Says whether two states of an object differ in more than the times of their managed fields.
pub(crate) fn same_content(a: &Value, b: &Value) -> bool {
    let (Some(left), Some(right)) = (a.as_object(), b.as_object()) else {
        return a == b;
    };
    left.len() == right.len()
        && left.iter().all(|(key, value)| match right.get(key) {
            Some(other) if key == "metadata" => same_metadata(value, other),
            Some(other) => value == other,
            None => false,
        })
}

fn same_metadata(a: &Value, b: &Value) -> bool {
    let (Some(left), Some(right)) = (a.as_object(), b.as_object()) else {
        return a == b;
    };
    left.len() == right.len()
        && left.iter().all(|(key, value)| match right.get(key) {
            Some(other) if key == "managedFields" => same_but_times(value, other),
            Some(other) => value == other,
            None => false,
        })
}

fn same_but_times(a: &Value, b: &Value) -> bool {
    let (Some(left), Some(right)) = (a.as_array(), b.as_array()) else {
        return a == b;
    };
    left.len() == right.len() && left.iter().zip(right).all(|(a, b)| same_but_time(a, b))
}

/// Says whether two maps have the same fields among those that count.
pub(crate) fn same_fields(
    a: &Map<String, Value>,
    b: &Map<String, Value>,
    counts: impl Fn(&str, &Value) -> bool,
) -> bool {
    let of_a = a.iter().filter(|(key, value)| counts(key, value));
    let of_b = b.iter().filter(|(key, value)| counts(key, value));
    let mut shared = 0;
    for (key, value) in of_a {
        if b.get(key)
            .is_none_or(|other| !counts(key, other) || value != other)
        {
            return false;
        }
        shared += 1;
    }
    of_b.count() == shared
}

/// Says whether two entries of `managedFields` are the same but for their time.
pub(crate) fn same_but_time(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => same_fields(a, b, |key, _| key != "time"),
        _ => a == b,
    }
}

/// Returns the first value at a simple path such as `spec.nodeName`, as field selectors compare it.
pub(crate) fn field_text(object: &Value, path: &str) -> String {
    let mut at = object;
    for part in path.trim_start_matches('.').split('.') {
        match at.get(part) {
            Some(next) => at = next,
            None => return String::new(),
        }
    }
    match at {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn generated_names_keep_within_a_label() {
        let name = generated_name(&"x".repeat(100), || 0);
        assert_eq!(name, format!("{}bbbbb", "x".repeat(58)));
        assert_eq!(generated_name("é-", || 1), "é-ccccc");
    }

    #[test]
    fn owners_that_are_there_twice_go_and_many_are_no_work() {
        let owner = |n: usize| json!({"apiVersion": "v1", "kind": "Node", "name": "n", "uid": n.to_string()});
        let many = 100_000;
        let owners: Vec<Value> = (0..many).chain([1, 0, many]).map(owner).collect();
        let mut object = json!({"metadata": {"ownerReferences": owners}});
        let began = std::time::Instant::now();
        dedup_owners(&mut object);
        assert!(began.elapsed().as_secs() < 5);
        let left: Vec<Value> = (0..=many).map(owner).collect();
        assert_eq!(object["metadata"]["ownerReferences"], Value::Array(left));
    }

    #[test]
    fn a_new_time_alone_is_no_change() {
        let at = |time: &str, data: &str| json!({"metadata": {"managedFields": [{"manager": "m", "time": time}]}, "data": data});
        assert!(same_content(&at("1", "a"), &at("2", "a")));
        assert!(!same_content(&at("1", "a"), &at("1", "b")));
        assert!(!same_content(
            &json!({"metadata": {}}),
            &json!({"metadata": {"managedFields": []}})
        ));
    }

    #[test]
    fn marks_of_deletion_are_set_once_and_count_as_a_generation() {
        let mut object = json!({"metadata": {"generation": 3}});
        assert!(mark_deleting(&mut object, Timestamp::UNIX_EPOCH, 0));
        assert_eq!(object["metadata"]["generation"], 4);
        assert!(!mark_deleting(&mut object, Timestamp::UNIX_EPOCH, 0));
        assert_eq!(object["metadata"]["generation"], 4);
    }

    #[test]
    fn a_grace_that_never_ends_lasts_until_the_last_moment() {
        for grace in [300_000_000_000, i64::MAX] {
            let mut object = json!({"metadata": {}});
            assert!(mark_deleting(&mut object, Timestamp::UNIX_EPOCH, grace));
            assert_eq!(object["metadata"]["deletionTimestamp"], "9999-12-30T22:00:00Z");
        }
    }

    #[test]
    fn an_update_keeps_what_only_the_server_sets() {
        let old = json!({"metadata": {"uid": "u", "creationTimestamp": "t", "deletionTimestamp": "d", "deletionGracePeriodSeconds": 0}});
        let mut new = json!({"metadata": {"creationTimestamp": "x"}});
        keep_system_fields(&mut new, &old);
        assert_eq!(new, old);
    }

    #[test]
    fn fields_are_read_by_path() {
        let object = json!({"spec": {"nodeName": "n", "n": 5, "on": true}});
        assert_eq!(field_text(&object, "spec.nodeName"), "n");
        assert_eq!(field_text(&object, ".spec.n"), "5");
        assert_eq!(field_text(&object, "spec.on"), "true");
        assert_eq!(field_text(&object, "spec.none"), "");
    }
}
