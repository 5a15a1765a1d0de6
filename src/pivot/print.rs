//! A fingerprint of an object: it stays what it is while a move takes the object out of the source, and becomes another one when somebody
//! changes the object. Whoever goes on after a crash knows by it whether what bears the mark is still what was compared. Pure.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use super::{copy::PAUSES, facts::Text};
use crate::digest::fnv1a;

/// Label on an object of the source that is in the target by now: the move that took it there.
pub(super) const MOVED: &str = "machinectl.crit.sh/moved-by";
/// Label on such an object when there are many of its kind: the part of them that it goes with.
pub(super) const PART: &str = "machinectl.crit.sh/moved-part";
/// Annotation on such an object: its fingerprint when it was marked.
pub(super) const PRINT: &str = "machinectl.crit.sh/moved-print";

/// Makes the fingerprint of an object from its text, without a tree.
pub(super) fn of_text(text: &str) -> Result<String, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    Place::Object.deserialize(&mut reader).map(shown)
}

/// Makes the fingerprint of an object.
pub(super) fn of(object: &Value) -> String {
    // A tree can always be read.
    Place::Object
        .deserialize(object)
        .map_or_else(|_| String::new(), shown)
}

fn shown(print: u64) -> String {
    format!("{print:016x}")
}

/// Where in an object something stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Object,
    Metadata,
    /// Labels or annotations. None of them are the same as no list of them.
    Names,
    Inside,
}

impl Place {
    /// Where the value of a key stands; nothing if the move itself, or what it sets off in the server, changes it.
    fn of(self, key: &str) -> Option<Self> {
        const CHANGES: [&str; 7] = [
            "finalizers",
            "ownerReferences",
            "managedFields",
            "resourceVersion",
            "generation",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ];
        match (self, key) {
            (Self::Object, "metadata") => Some(Self::Metadata),
            (Self::Metadata, "labels" | "annotations") => Some(Self::Names),
            (Self::Metadata, key) if CHANGES.contains(&key) => None,
            (Self::Names, MOVED | PART | PRINT) => None,
            (Self::Names, key) if PAUSES.contains(&key) => None,
            _ => Some(Self::Inside),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Place {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<u64, E> {
        Ok(mixed(1, 0))
    }

    fn visit_bool<E>(self, is: bool) -> Result<u64, E> {
        Ok(mixed(2, u64::from(is)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<u64, E> {
        Ok(mixed(3, number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<u64, E> {
        Ok(mixed(4, number.cast_unsigned()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<u64, E> {
        Ok(mixed(5, number.to_bits()))
    }

    fn visit_str<E>(self, text: &str) -> Result<u64, E> {
        Ok(mixed(6, fnv1a(text.as_bytes())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<u64, A::Error> {
        let mut print = 7;
        while let Some(item) = items.next_element_seed(Self::Inside)? {
            print = mixed(print, item);
        }
        Ok(print)
    }

    /// The order of fields says nothing.
    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<u64, A::Error> {
        let mut sum: u64 = if self == Self::Names { 0 } else { 8 };
        while let Some(key) = fields.next_key::<Text<'_>>()? {
            let Some(place) = self.of(&key) else {
                fields.next_value::<IgnoredAny>()?;
                continue;
            };
            let value = fields.next_value_seed(place)?;
            if place != Self::Names || value != 0 {
                sum = sum.wrapping_add(mixed(fnv1a(key.as_bytes()), value));
            }
        }
        Ok(sum)
    }
}

/// Two numbers as one that depends on each bit of both and on their order (the last steps of `MurmurHash3`).
const fn mixed(one: u64, other: u64) -> u64 {
    let mut hash = one.rotate_left(23).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ other;
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn machine() -> Value {
        json!({
            "apiVersion": "machine.crit.sh/v1alpha1", "kind": "Machine",
            "metadata": {"name": "a", "uid": "u", "resourceVersion": "5", "finalizers": ["x"], "annotations": {"note": "1"}},
            "spec": {"n": 1, "f": 0.5, "deep": [{"a": null}, [], {}], "on": true},
            "status": {"phase": "Running"},
        })
    }

    #[test]
    fn it_stays_the_same_through_the_mark() {
        let before = machine();
        let mut marked = before.clone();
        let metadata = &mut marked["metadata"];
        metadata["resourceVersion"] = json!("6");
        metadata["labels"] = json!({MOVED: "m", PART: "1"});
        metadata["annotations"][PRINT] = json!(of(&before));
        for pause in PAUSES {
            metadata["annotations"][pause] = json!("");
        }
        metadata["deletionTimestamp"] = json!("2020-01-01T00:00:00Z");
        metadata.as_object_mut().unwrap().remove("finalizers");
        assert_eq!(of(&marked), of(&before));
    }

    #[test]
    fn each_change_makes_it_another_one() {
        let cases: [(&str, Value); 11] = [
            ("/metadata/annotations/note", json!("2")),
            ("/metadata/annotations", json!({})),
            ("/metadata/name", json!("b")),
            ("/spec/n", json!(2)),
            ("/spec/n", json!("1")),
            ("/spec/f", json!(0.25)),
            ("/spec/deep", json!([[], {"a": null}, {}])),
            ("/spec/deep/0", json!({})),
            ("/spec/on", json!(false)),
            ("/spec", json!({})),
            ("/status/phase", json!("Failed")),
        ];
        let mut prints = std::collections::HashSet::from([of(&machine())]);
        for (at, value) in cases {
            let mut changed = machine();
            *changed.pointer_mut(at).unwrap() = value;
            assert!(prints.insert(of(&changed)), "{at}");
        }
        let mut more = machine();
        more["metadata"]["labels"] = json!({"a": "b"});
        assert!(prints.insert(of(&more)));
    }

    proptest::proptest! {
        #[test]
        fn text_and_tree_have_the_same_whatever_the_order_of_fields(
            fields in proptest::collection::vec(("[a-z]{1,3}", proptest::prelude::any::<f64>(), "\\PC{0,8}"), 0..6),
        ) {
            let entry = |(key, number, text): &(String, f64, String)| format!("{key:?}:[{},{}]", json!(number), json!(text));
            let mut known = std::collections::HashSet::new();
            let all: Vec<String> = fields.iter().filter(|(key, ..)| known.insert(key.clone())).map(entry).collect();
            let text = format!("{{{}}}", all.join(","));
            let turned = format!("{{{}}}", all.iter().rev().cloned().collect::<Vec<_>>().join(","));
            let tree: Value = serde_json::from_str(&text).unwrap();
            proptest::prop_assert_eq!(of_text(&text).unwrap(), of(&tree));
            proptest::prop_assert_eq!(of_text(&turned).unwrap(), of(&tree));
        }
    }
}
