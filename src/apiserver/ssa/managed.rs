//! `metadata.managedFields`: who owns which fields. It must not look at the rest of an object.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::fieldset::FieldSet;
use crate::time::Timestamp;

/// How many managers that only update are told apart before the oldest are put together.
const MAX_UPDATERS: usize = 10;
/// The name under which the oldest updaters are put together.
const ANCIENT: &str = "ancient-changes";

/// How a manager came to own its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    Apply,
    Update,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// What tells managers apart. Those that apply are the same at every version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ManagerKey {
    pub(crate) name: String,
    pub(crate) operation: Operation,
    pub(crate) api_version: Option<String>,
    pub(crate) subresource: String,
}

/// What a manager owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) fields: FieldSet,
    pub(crate) api_version: String,
    /// RFC 3339; none when it was never told.
    pub(crate) time: Option<String>,
}

/// All managers of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Managers(pub(crate) BTreeMap<ManagerKey, Owned>);

impl Managers {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the managers of an object; an object without any has none.
    pub(crate) fn of(object: &Value) -> Result<Self, String> {
        match entries(object) {
            Some(Value::Array(entries)) => Self::decode(entries),
            None | Some(Value::Null) => Ok(Self::default()),
            Some(_) => Err("metadata.managedFields is not a list".to_owned()),
        }
    }

    pub(crate) fn decode(entries: &[Value]) -> Result<Self, String> {
        let mut managers = BTreeMap::new();
        for (i, entry) in entries.iter().enumerate() {
            let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or("");
            let operation = match text("operation") {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return Err("operation must be `Apply` or `Update`".to_owned()),
            };
            let api_version = text("apiVersion").to_owned();
            if api_version.is_empty() {
                return Err("apiVersion must not be empty".to_owned());
            }
            match text("fieldsType") {
                "FieldsV1" => {}
                "" => return Err(format!("missing fieldsType in managed fields entry {i}")),
                other => {
                    return Err(format!(
                        "invalid fieldsType {other:?} in managed fields entry {i}"
                    ));
                }
            }
            let key = ManagerKey {
                name: text("manager").to_owned(),
                operation,
                api_version: (operation == Operation::Update).then(|| api_version.clone()),
                subresource: text("subresource").to_owned(),
            };
            let fields = FieldSet::decode(entry.get("fieldsV1").unwrap_or(&Value::Null))?;
            let time = Some(text("time")).filter(|t| !t.is_empty()).map(str::to_owned);
            managers.insert(
                key,
                Owned {
                    fields,
                    api_version,
                    time,
                },
            );
        }
        Ok(Self(managers))
    }

    /// The entries as an object carries them.
    pub(crate) fn encode(&self) -> Vec<Value> {
        let mut order: Vec<(&ManagerKey, &Owned)> = self.0.iter().collect();
        order.sort_by(|(a, x), (b, y)| {
            let key = |k: &ManagerKey, o: &Owned| (k.operation, seconds(o.time.as_deref()));
            key(a, x)
                .cmp(&key(b, y))
                .then_with(|| a.name.cmp(&b.name))
                .then_with(|| x.api_version.cmp(&y.api_version))
                .then_with(|| a.subresource.cmp(&b.subresource))
        });
        order
            .into_iter()
            .map(|(key, owned)| encode_entry(key, owned))
            .collect()
    }

    /// Takes away the fields of each manager that are in the set that `lost` tells; who has none left goes.
    pub(crate) fn take<'a>(&mut self, lost: impl Fn(&ManagerKey) -> &'a FieldSet) {
        self.0.retain(|key, owned| {
            let lost = lost(key);
            if !lost.is_empty() {
                owned.fields.subtract(lost);
            }
            !owned.fields.is_empty()
        });
    }

    /// Puts the oldest updaters together when there are too many.
    pub(crate) fn cap_updaters(&mut self) {
        let mut updaters: Vec<ManagerKey> = self
            .0
            .keys()
            .filter(|key| key.operation == Operation::Update)
            .cloned()
            .collect();
        let mut excess = updaters.len().saturating_sub(MAX_UPDATERS);
        if excess == 0 {
            return;
        }
        updaters.sort_by_key(|key| (self.0.get(key).map(|o| seconds(o.time.as_deref())), key.clone()));
        let mut first_of: BTreeMap<String, ManagerKey> = BTreeMap::new();
        for key in updaters {
            if excess == 0 {
                break;
            }
            let Some(version) = key.api_version.clone() else {
                continue;
            };
            let Some(first) = first_of.get(&version) else {
                first_of.insert(version, key);
                continue;
            };
            let bucket = ManagerKey {
                name: ANCIENT.to_owned(),
                operation: Operation::Update,
                api_version: Some(version),
                subresource: String::new(),
            };
            if !self.0.contains_key(&bucket)
                && let Some(owned) = self.0.remove(first)
            {
                self.0.insert(bucket.clone(), owned);
            }
            if key == bucket {
                continue;
            }
            if let Some(owned) = self.0.remove(&key)
                && let Some(into) = self.0.get_mut(&bucket)
            {
                into.fields.add(&owned.fields);
                into.time = owned.time;
                excess -= 1;
            }
        }
    }
}

fn encode_entry(key: &ManagerKey, owned: &Owned) -> Value {
    let mut entry = Map::new();
    let mut set = |name: &str, value: &str| {
        if !value.is_empty() {
            entry.insert(name.to_owned(), Value::from(value));
        }
    };
    set("manager", &key.name);
    set("operation", key.operation.name());
    set("apiVersion", &owned.api_version);
    set("time", owned.time.as_deref().unwrap_or(""));
    set("fieldsType", "FieldsV1");
    set("subresource", &key.subresource);
    entry.insert("fieldsV1".to_owned(), owned.fields.encode());
    Value::Object(entry)
}

fn seconds(time: Option<&str>) -> i64 {
    time.and_then(|t| t.parse::<Timestamp>().ok())
        .map_or(0, Timestamp::as_second)
}

/// `metadata.managedFields`, if the object has it at all.
pub(crate) fn entries(object: &Value) -> Option<&Value> {
    object.get("metadata")?.get("managedFields")
}

/// A copy of an object without `metadata.managedFields`.
pub(crate) fn without_entries(object: &Value) -> Value {
    let Value::Object(fields) = object else {
        return object.clone();
    };
    let metadata = |metadata: &Map<String, Value>| {
        let kept = metadata.iter().filter(|(key, _)| *key != "managedFields");
        Value::Object(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
    };
    let copy = |(key, value): (&String, &Value)| match value {
        Value::Object(fields) if key == "metadata" => (key.clone(), metadata(fields)),
        _ => (key.clone(), value.clone()),
    };
    Value::Object(fields.iter().map(copy).collect())
}

/// Writes `metadata.managedFields`; none takes it out.
pub(crate) fn set_entries(object: &mut Value, entries: Option<Vec<Value>>) {
    let Some(object) = object.as_object_mut() else {
        return;
    };
    match entries.filter(|entries| !entries.is_empty()) {
        Some(entries) => {
            let metadata = object
                .entry("metadata")
                .or_insert_with(|| Value::Object(Map::new()));
            if metadata.is_null() {
                *metadata = Value::Object(Map::new());
            }
            if let Some(metadata) = metadata.as_object_mut() {
                metadata.insert("managedFields".to_owned(), Value::Array(entries));
            }
        }
        None => {
            if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.remove("managedFields");
            }
        }
    }
}

/// Whether a user asks to forget all managers, by an empty list or by one empty entry.
pub(crate) fn is_reset(object: &Value) -> bool {
    match entries(object) {
        Some(Value::Array(entries)) => match entries.as_slice() {
            [] => true,
            [Value::Object(entry)] => entry.values().all(|v| v.is_null() || v == ""),
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn updater(name: &str, second: u32) -> Value {
        json!({"manager": name, "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
               "time": format!("2026-01-01T00:00:{second:02}Z"), "fieldsV1": {format!("f:{name}"): {}}})
    }

    #[test]
    fn entries_survive_a_round_trip_in_their_order() {
        let mut apply = updater("z", 9);
        apply["operation"] = json!("Apply");
        let list = vec![apply, updater("b", 1), updater("a", 2)];
        assert_eq!(Managers::decode(&list).unwrap().encode(), list);
    }

    #[test]
    fn broken_entries_are_refused() {
        for (key, value) in [
            ("operation", "Patch"),
            ("apiVersion", ""),
            ("fieldsType", ""),
            ("fieldsType", "V2"),
        ] {
            let mut entry = updater("a", 1);
            entry[key] = json!(value);
            assert!(Managers::decode(&[entry]).is_err(), "{key}={value}");
        }
    }

    #[test]
    fn the_oldest_of_too_many_updaters_are_put_together() {
        let list: Vec<Value> = (0..12).map(|i| updater(&format!("m{i:02}"), i)).collect();
        let mut managers = Managers::decode(&list).unwrap();
        managers.cap_updaters();
        let left = managers.encode();
        assert_eq!(left.len(), 10);
        let ancient = left.iter().find(|e| e["manager"] == ANCIENT).unwrap();
        assert_eq!(
            ancient["fieldsV1"],
            json!({"f:m00": {}, "f:m01": {}, "f:m02": {}})
        );
    }
}
