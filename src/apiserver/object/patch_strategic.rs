//! Strategic merge patches. It must not know of any other kind of patch.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::patch::PatchError;
use crate::apiserver::schema::{Node, Structural, go_json, object_meta};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

/// Applies a patch to an object of the kind that `schema` describes.
pub(super) fn apply(
    target: &Value,
    patch: &Map<String, Value>,
    schema: &Structural,
) -> Result<Value, PatchError> {
    let mut object = target.as_object().cloned().unwrap_or_default();
    merge_map(&mut object, patch.clone(), At::root(schema))?;
    Ok(Value::Object(object))
}

/// Where in the schema a patch has arrived.
#[derive(Clone, Copy)]
struct At<'a> {
    node: Option<&'a Node>,
    root: bool,
}

impl<'a> At<'a> {
    fn root(schema: &'a Structural) -> Self {
        Self {
            node: Some(schema.root()),
            root: true,
        }
    }

    fn below(node: Option<&'a Node>) -> Self {
        Self { node, root: false }
    }

    /// Every object has the same metadata, whatever its schema says.
    fn field(self, key: &str) -> Option<&'a Node> {
        let meta = self.root || self.node.is_some_and(|n| n.embedded);
        if meta && key == "metadata" {
            return Some(object_meta());
        }
        self.node.and_then(|n| n.field(key)).map(AsRef::as_ref)
    }
}

fn merges(node: Option<&Node>) -> bool {
    node.is_some_and(|n| n.patch_strategies.iter().any(|s| s == "merge"))
}

fn replaces(node: Option<&Node>) -> bool {
    node.is_some_and(|n| n.patch_strategies.iter().any(|s| s == "replace"))
}

fn merge_key(node: Option<&Node>) -> Option<&str> {
    node.and_then(|n| n.patch_merge_key.as_deref())
}

fn merge_map(
    target: &mut Map<String, Value>,
    mut patch: Map<String, Value>,
    at: At<'_>,
) -> Result<(), PatchError> {
    match patch.get(DIRECTIVE) {
        None => {}
        Some(Value::String(directive)) if directive == "replace" => {
            patch.remove(DIRECTIVE);
            *target = patch;
            return Ok(());
        }
        Some(Value::String(directive)) if directive == "delete" => {
            target.clear();
            return Ok(());
        }
        Some(other) => return Err(bad_directive(other, &patch)),
    }
    retain_keys(target, &mut patch)?;
    set_orders(target, &mut patch, at)?;
    for (key, value) in patch {
        if let Some(key) = key.strip_prefix(DELETE_FROM) {
            delete_from_list(target, key, value)?;
            continue;
        }
        if value.is_null() {
            target.remove(&key);
            continue;
        }
        let child = at.field(&key);
        match (target.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) if !replaces(child) => {
                merge_map(old, new, At::below(child))?;
            }
            (Some(Value::Array(old)), Value::Array(new)) if merges(child) => {
                let merged = merge_list(std::mem::take(old), new, child)?;
                *old = merged;
            }
            (_, new) => match without_directives(new) {
                Some(new) => {
                    target.insert(key, new);
                }
                None => {
                    target.remove(&key);
                }
            },
        }
    }
    Ok(())
}

fn bad_directive(directive: &Value, patch: &Map<String, Value>) -> PatchError {
    let patch = go_json(&Value::Object(patch.clone()));
    PatchError::Internal(format!(
        "unknown patch type found: {} in {patch}",
        go_json(directive)
    ))
}

fn retain_keys(target: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<(), PatchError> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let bad =
        || PatchError::BadRequest("The patch has fields that are not in the list of $retainKeys".to_owned());
    let Value::Array(keys) = keys else {
        return Err(bad());
    };
    let keys: HashSet<&str> = keys.iter().filter_map(Value::as_str).collect();
    let kept = |key: &String| keys.contains(key.as_str());
    let stray = patch.iter().any(|(key, value)| {
        !value.is_null() && !key.starts_with(DELETE_FROM) && !key.starts_with(SET_ORDER) && !kept(key)
    });
    if stray {
        return Err(bad());
    }
    target.retain(|key, _| kept(key));
    Ok(())
}

fn delete_from_list(target: &mut Map<String, Value>, key: &str, gone: Value) -> Result<(), PatchError> {
    let Value::Array(gone) = gone else {
        return Err(PatchError::BadRequest(format!(
            "{DELETE_FROM}{key} is not a list"
        )));
    };
    if let Some(Value::Array(items)) = target.get_mut(key) {
        let gone: HashSet<String> = gone.iter().map(Value::to_string).collect();
        items.retain(|item| !gone.contains(&item.to_string()));
    }
    Ok(())
}

/// Merges the lists whose order the patch gives, and puts them in that order.
fn set_orders(
    target: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    at: At<'_>,
) -> Result<(), PatchError> {
    let directives: Vec<String> = patch
        .keys()
        .filter(|key| key.starts_with(SET_ORDER))
        .cloned()
        .collect();
    for directive in directives {
        let Some(Value::Array(order)) = patch.remove(&directive) else {
            return Err(PatchError::Internal(format!("{directive} is not a list")));
        };
        let key = &directive[SET_ORDER.len()..];
        let list = |value: Option<Value>| match value {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(_) => Err(PatchError::Internal(format!("{key} is not a list"))),
        };
        let (old, new) = (list(target.get(key).cloned())?, list(patch.remove(key))?);
        let child = at.field(key);
        let server_order = old.clone().unwrap_or_default();
        check_order(new.as_deref().unwrap_or(&[]), &order, merge_key(child))?;
        let merged = match (old, new) {
            (None, None) => continue,
            (Some(old), None) => old,
            (None, Some(new)) => new.into_iter().filter_map(without_directives).collect(),
            (Some(old), Some(new)) if merges(child) => merge_list(old, new, child)?,
            (Some(_), Some(new)) => new,
        };
        let ordered = in_order(merged, &order, &server_order, merge_key(child));
        target.insert(key.to_owned(), Value::Array(ordered));
    }
    Ok(())
}

/// The items of a patch must be in the order that the patch gives.
fn check_order(items: &[Value], order: &[Value], key: Option<&str>) -> Result<(), PatchError> {
    let kept = items.iter().filter(|item| item.get(DIRECTIVE).is_none());
    let mut places = order.iter();
    for item in kept {
        if !places.any(|place| same_item(place, item, key)) {
            return Err(PatchError::BadRequest(
                "The order in patch list doesn't match the order in $setElementOrder list".to_owned(),
            ));
        }
    }
    Ok(())
}

fn merge_list(old: Vec<Value>, new: Vec<Value>, node: Option<&Node>) -> Result<Vec<Value>, PatchError> {
    if old.is_empty() && new.is_empty() {
        return Ok(old);
    }
    let maps = old.iter().chain(&new).all(Value::is_object);
    if !maps {
        if old.iter().chain(&new).any(|v| v.is_object() || v.is_array()) {
            return Err(PatchError::Unprocessable(
                "lists may not hold lists or items of several types".to_owned(),
            ));
        }
        let (mut merged, mut seen) = (Vec::new(), HashSet::new());
        for item in old.iter().chain(&new) {
            if seen.insert(item.to_string()) {
                merged.push(item.clone());
            }
        }
        return Ok(in_order(merged, &new, &old, None));
    }
    let Some(key) = merge_key(node) else {
        return Err(PatchError::Internal(
            "cannot merge lists without merge key".to_owned(),
        ));
    };
    let item_node = node.and_then(|n| n.items.as_deref());
    let (old, new) = special_items(old, new, key)?;
    let Some(old) = old else { return Ok(new) };
    let server_order = old.clone();
    let mut merged = old;
    let mut known = places(&merged, Some(key));
    for item in &new {
        let Value::Object(item_map) = item else { continue };
        let Some(value) = item_map.get(key) else {
            return Err(no_key(item, key));
        };
        if let Some(Value::Object(found)) = known.get(&key_text(value)).and_then(|&at| merged.get_mut(at)) {
            merge_map(found, item_map.clone(), At::below(item_node))?;
        } else {
            known.insert(key_text(value), merged.len());
            merged.push(item.clone());
        }
    }
    Ok(in_order(merged, &new, &server_order, Some(key))
        .into_iter()
        .filter_map(without_directives)
        .collect())
}

fn no_key(item: &Value, key: &str) -> PatchError {
    PatchError::Internal(format!(
        "map: {} does not contain declared merge key: {key}",
        go_json(item)
    ))
}

/// Carries out the `$patch` directives among the items: returns what is left of the old items (none when the patch
/// replaces them all) and the items of the patch that are no directives.
fn special_items(
    mut old: Vec<Value>,
    new: Vec<Value>,
    key: &str,
) -> Result<(Option<Vec<Value>>, Vec<Value>), PatchError> {
    let (mut replace, mut gone) = (false, HashSet::new());
    let mut rest = Vec::with_capacity(new.len());
    for item in new {
        match item.get(DIRECTIVE) {
            None => rest.push(item),
            Some(Value::String(directive)) if directive == "delete" => {
                let Some(value) = item.get(key) else {
                    return Err(no_key(&item, key));
                };
                gone.insert(key_text(value));
            }
            Some(Value::String(directive)) if directive == "replace" => replace = true,
            Some(Value::String(directive)) if directive == "merge" => {
                return Err(PatchError::Internal(
                    "merging lists cannot yet be specified in the patch".to_owned(),
                ));
            }
            Some(other) => {
                return Err(bad_directive(other, item.as_object().unwrap_or(&Map::new())));
            }
        }
    }
    if !gone.is_empty() {
        old.retain(|o| !o.get(key).is_some_and(|v| gone.contains(&key_text(v))));
    }
    Ok(((!replace).then_some(old), rest))
}

/// Merge keys are compared as text: `80` and `"80"` are the same.
fn key_text(key: &Value) -> String {
    key.as_str().map_or_else(|| key.to_string(), str::to_owned)
}

/// What tells an item from others: its merge key, or all of it. Nothing if it lacks the key.
fn identity(item: &Value, key: Option<&str>) -> Option<String> {
    match key {
        None => Some(item.to_string()),
        Some(key) => item.get(key).map(key_text),
    }
}

fn same_item(a: &Value, b: &Value, key: Option<&str>) -> bool {
    identity(a, key).is_some_and(|a| Some(a) == identity(b, key))
}

/// Where each item of a list is first. Lists can have 100,000 items, so they are not searched for each.
fn places(list: &[Value], key: Option<&str>) -> HashMap<String, usize> {
    let mut places = HashMap::with_capacity(list.len());
    for (at, item) in list.iter().enumerate() {
        if let Some(identity) = identity(item, key) {
            places.entry(identity).or_insert(at);
        }
    }
    places
}

/// Orders a merged list: items that the patch names as the patch has them, the others as the server had them, and of
/// two that both had, first the one that the server had first.
fn in_order(merged: Vec<Value>, order: &[Value], server: &[Value], key: Option<&str>) -> Vec<Value> {
    let (in_order, in_server) = (places(order, key), places(server, key));
    let place = |places: &HashMap<String, usize>, item: &Value| {
        identity(item, key).and_then(|identity| places.get(&identity).copied())
    };
    let (mut named, mut others) = (Vec::new(), Vec::new());
    for item in merged {
        let on_server = place(&in_server, &item);
        match place(&in_order, &item) {
            Some(at) => named.push((at, on_server, item)),
            None => others.push((on_server.unwrap_or(usize::MAX), on_server, item)),
        }
    }
    named.sort_by_key(|(at, ..)| *at);
    others.sort_by_key(|(at, ..)| *at);
    let mut out = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    while let (Some((_, other, _)), Some((_, name, _))) = (others.peek(), named.peek()) {
        let first = matches!((other, name), (Some(other), Some(name)) if other < name);
        out.extend(if first { others.next() } else { named.next() });
    }
    out.extend(named);
    out.extend(others);
    out.into_iter().map(|(_, _, item)| item).collect()
}

/// A value that is taken over as a whole, without the nulls and directives in it; none when it is a directive itself.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) => {
            if map.get(DIRECTIVE).is_some_and(|d| d == "delete") {
                return None;
            }
            let map = map.into_iter().filter(|(key, value)| {
                key != DIRECTIVE
                    && key != RETAIN_KEYS
                    && !key.starts_with(SET_ORDER)
                    && !key.starts_with(DELETE_FROM)
                    && !value.is_null()
            });
            Some(Value::Object(
                map.filter_map(|(k, v)| Some((k, without_directives(v)?)))
                    .collect(),
            ))
        }
        Value::Array(items) => {
            // An item that is nothing but a directive has done its work.
            let items = items.into_iter().filter(|item| {
                item.as_object()
                    .is_none_or(|m| !(m.len() == 1 && m.contains_key(DIRECTIVE)))
            });
            Some(Value::Array(items.filter_map(without_directives).collect()))
        }
        other => Some(other),
    }
}

#[cfg(test)]
#[expect(
    clippy::needless_pass_by_value,
    reason = "test cases are written where they are used"
)]
mod tests {
    use super::*;
    use crate::apiserver::object::patch::strategic_merge_patch;
    use serde_json::json;

    fn pods() -> Structural {
        Structural::compile(&json!({
            "type": "object",
            "properties": {
                "spec": {"type": "object", "properties": {
                    "containers": {
                        "type": "array", "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "name",
                        "items": {"type": "object", "properties": {
                            "name": {"type": "string"}, "image": {"type": "string"},
                            "args": {"type": "array", "items": {"type": "string"}}
                        }}
                    },
                    "strategy": {
                        "type": "object", "x-kubernetes-patch-strategy": "retainKeys",
                        "properties": {"type": {"type": "string"}, "rolling": {"type": "object"}}
                    },
                    "whole": {"type": "object", "x-kubernetes-patch-strategy": "replace"}
                }}
            }
        }))
        .unwrap()
    }

    fn patched(target: Value, patch: Value) -> Result<Value, PatchError> {
        strategic_merge_patch(&json!({"spec": target}), &json!({"spec": patch}), &pods())
            .map(|v| v["spec"].clone())
    }

    #[test]
    fn lists_of_objects_merge_by_their_key() {
        let target = json!({"containers": [{"name": "a", "image": "1", "args": ["x"]}, {"name": "b"}]});
        let merged = patched(
            target.clone(),
            json!({"containers": [{"name": "a", "image": "2", "args": ["y"]}, {"name": "c"}]}),
        );
        let expected = json!([{"name": "a", "image": "2", "args": ["y"]}, {"name": "c"}, {"name": "b"}]);
        assert_eq!(merged.unwrap()["containers"], expected);
        let deleted = patched(
            target.clone(),
            json!({"containers": [{"name": "a", "$patch": "delete"}]}),
        );
        assert_eq!(deleted, Ok(json!({"containers": [{"name": "b"}]})));
        let replaced = patched(
            target.clone(),
            json!({"containers": [{"$patch": "replace"}, {"name": "z"}]}),
        );
        assert_eq!(replaced, Ok(json!({"containers": [{"name": "z"}]})));
        assert!(patched(target, json!({"containers": [{"image": "1"}]})).is_err());
    }

    #[test]
    fn the_patch_may_give_the_order() {
        let target = json!({"containers": [{"name": "a"}, {"name": "s"}, {"name": "b"}]});
        let patch = json!({
            "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
            "containers": [{"name": "b", "image": "1"}]
        });
        let names: Vec<Value> = patched(target.clone(), patch).unwrap()["containers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["name"].clone())
            .collect();
        assert_eq!(names, ["s", "b", "a"]);
        let wrong = json!({"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "b"}]});
        assert!(matches!(patched(target, wrong), Err(PatchError::BadRequest(_))));
    }

    #[test]
    fn maps_merge_unless_told_otherwise() {
        let target = json!({"strategy": {"type": "R", "rolling": {"a": 1}}, "whole": {"a": 1}});
        let retained = patched(
            target.clone(),
            json!({"strategy": {"$retainKeys": ["type"], "type": "X"}}),
        );
        assert_eq!(retained.unwrap()["strategy"], json!({"type": "X"}));
        let whole = patched(target.clone(), json!({"whole": {"b": 1}}));
        assert_eq!(whole.unwrap()["whole"], json!({"b": 1}));
        let replaced = patched(
            target.clone(),
            json!({"strategy": {"$patch": "replace", "type": "X"}}),
        );
        assert_eq!(replaced.unwrap()["strategy"], json!({"type": "X"}));
        let deleted = patched(target.clone(), json!({"strategy": {"$patch": "delete"}}));
        assert_eq!(deleted.unwrap()["strategy"], json!({}));
        assert!(patched(target.clone(), json!({"strategy": {"$patch": "odd"}})).is_err());
        assert!(
            patched(
                target,
                json!({"strategy": {"$retainKeys": ["type"], "rolling": {}}})
            )
            .is_err()
        );
    }

    #[test]
    fn finalizers_are_a_set_in_every_kind() {
        let target = json!({"metadata": {"finalizers": ["f"], "labels": {"a": "1"}}});
        let added = json!({"metadata": {"finalizers": ["g"], "labels": {"b": null, "a": "2"}}});
        let expected = json!({"metadata": {"finalizers": ["g", "f"], "labels": {"a": "2"}}});
        assert_eq!(strategic_merge_patch(&target, &added, &pods()), Ok(expected));
        let removed = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["f"]}});
        let expected = json!({"metadata": {"finalizers": [], "labels": {"a": "1"}}});
        assert_eq!(strategic_merge_patch(&target, &removed, &pods()), Ok(expected));
    }

    #[test]
    fn new_values_come_without_nulls_and_directives() {
        let merged = patched(
            json!({}),
            json!({"strategy": {"type": null, "rolling": {"x": 1, "$patch": "replace"}}}),
        );
        assert_eq!(merged, Ok(json!({"strategy": {"rolling": {"x": 1}}})));
    }
}
