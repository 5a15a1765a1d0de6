//! Finds what a part of an object was before an update. It must not compare values but by the keys of their list.

use std::collections::HashMap;

use serde_json::Value;

use super::node::{ListType, Node};

/// The items of a list as it was, by their keys: only lists that are maps have such. It is made once for a list, since to look for
/// each item among all the others takes minutes if there are many.
pub(super) struct OldItems<'n, 'a> {
    keys: &'n [String],
    by_key: HashMap<Vec<Option<&'a Value>>, &'a Value>,
}

impl<'n, 'a> OldItems<'n, 'a> {
    pub(super) fn of(node: &'n Node, old: Option<&'a Value>) -> Self {
        let keys = node.list_keys.as_slice();
        let items = old
            .filter(|_| node.list_type == Some(ListType::Map))
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        let mut by_key = HashMap::with_capacity(items.len());
        for item in items {
            // Where several have the same keys, the first one counts.
            if let Some(key) = key_of(keys, item) {
                by_key.entry(key).or_insert(item);
            }
        }
        Self { keys, by_key }
    }

    /// The item that `item` of the new list continues.
    pub(super) fn of_item(&self, item: &Value) -> Option<&'a Value> {
        if self.by_key.is_empty() {
            return None;
        }
        self.by_key.get(&key_of(self.keys, item)?).copied()
    }
}

fn key_of<'a>(keys: &[String], item: &'a Value) -> Option<Vec<Option<&'a Value>>> {
    let item = item.as_object()?;
    Some(keys.iter().map(|key| item.get(key)).collect())
}

/// The value under `key` of the old map.
pub(super) fn old_field<'a>(node: &Node, key: &str, old: Option<&'a Value>) -> Option<&'a Value> {
    if node.map_atomic == Some(true) {
        return None;
    }
    old?.as_object()?.get(key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn items_are_found_by_their_keys() {
        let node = Node {
            list_type: Some(ListType::Map),
            list_keys: vec!["name".to_owned(), "port".to_owned()],
            ..Node::default()
        };
        let old = json!([{"name": "a", "v": 1}, 5, {"name": "a", "port": 1, "v": 2}, {"name": "a", "v": 3}, {"name": null, "v": 4}]);
        let items = OldItems::of(&node, Some(&old));
        let found = |item: Value| items.of_item(&item).map(|item| item["v"].clone());
        assert_eq!(found(json!({"name": "a"})), Some(json!(1)));
        assert_eq!(found(json!({"name": "a", "port": 1, "v": 9})), Some(json!(2)));
        assert_eq!(found(json!({"name": null})), Some(json!(4)));
        for other in [
            json!({}),
            json!({"name": "a", "port": 1.0}),
            json!(5),
            json!(null),
        ] {
            assert_eq!(found(other), None);
        }
        let atomic = Node::default();
        assert_eq!(
            OldItems::of(&atomic, Some(&old)).of_item(&json!({"name": "a"})),
            None
        );
        assert_eq!(OldItems::of(&node, None).of_item(&json!({"name": "a"})), None);
    }
}
