//! Finds what a part of an object was before an update. It must not compare values.

use serde_json::Value;

use super::node::{ListType, Node};

/// The item of the old list that `item` of the new one continues: only lists that are maps know that.
pub(super) fn old_item<'a>(node: &Node, item: &Value, old: Option<&'a Value>) -> Option<&'a Value> {
    if node.list_type != Some(ListType::Map) {
        return None;
    }
    let item = item.as_object()?;
    let same = |old: &&Value| {
        let old = old.as_object();
        old.is_some_and(|old| node.list_keys.iter().all(|key| old.get(key) == item.get(key)))
    };
    old?.as_array()?.iter().find(same)
}

/// The value under `key` of the old map.
pub(super) fn old_field<'a>(node: &Node, key: &str, old: Option<&'a Value>) -> Option<&'a Value> {
    if node.map_atomic == Some(true) {
        return None;
    }
    old?.as_object()?.get(key)
}
