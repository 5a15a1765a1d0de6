//! One object as the store holds it: in one text for all who read it, packed while nobody does.
//! It must not know of other objects.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use serde::Deserialize;
use serde_json::Value;

use super::Change;
use super::state::EventKind;
use super::uid::Uid;
use crate::json;
use crate::pack::{Model, Packer};

/// A resource as the store calls it, and a namespace (empty if the resource has none).
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) resource: Arc<str>,
    pub(crate) namespace: Arc<str>,
}

/// Names one object: by its place, which is kept once for all objects that are there, and its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(super) place: Arc<Place>,
    pub(crate) name: Box<str>,
}

impl Key {
    pub(crate) fn new(resource: &str, namespace: &str, name: &str) -> Self {
        let place = Place {
            resource: resource.into(),
            namespace: namespace.into(),
        };
        Self {
            place: Arc::new(place),
            name: name.into(),
        }
    }
}

impl Deref for Key {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

/// One object in one version, serialised once for all who read it. There are many of these: each byte counts.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) key: Key,
    pub(crate) version: u64,
    pub(crate) uid: Uid,
    pub(crate) labels: Labels,
    /// The uids of its owners, in order.
    pub(crate) owners: Box<[Uid]>,
    kept: Mutex<Kept>,
    /// Bytes of the text.
    size: u32,
    /// The API version in which it was written.
    written: Written,
    pub(crate) deleting: bool,
    /// Whether the labels, and the annotations, were written although they are empty: bits 1 and 2.
    empty: u8,
}

/// An API version in two bytes: its place among the versions that this process has seen, counted from one. Zero: nobody knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Written(u16);

/// The versions that this process has seen.
static VERSIONS: RwLock<Vec<Arc<str>>> = RwLock::new(Vec::new());

impl Written {
    fn in_version(name: &str) -> Self {
        let place = |known: &[Arc<str>]| known.iter().position(|k| **k == *name);
        let number = |place: usize| Self(u16::try_from(place + 1).unwrap_or_default());
        if name.is_empty() {
            return Self::default();
        }
        if let Some(found) = place(&VERSIONS.read().unwrap_or_else(PoisonError::into_inner)) {
            return number(found);
        }
        let mut known = VERSIONS.write().unwrap_or_else(PoisonError::into_inner);
        let at = place(&known).unwrap_or_else(|| {
            // More than fit a number are forgotten.
            if known.len() < usize::from(u16::MAX) {
                known.push(name.into());
                known.len() - 1
            } else {
                known.len()
            }
        });
        number(at)
    }

    fn name(self) -> Option<Arc<str>> {
        let at = usize::from(self.0).checked_sub(1)?;
        let known = VERSIONS.read().unwrap_or_else(PoisonError::into_inner);
        known.get(at).cloned()
    }
}

/// Labels in one text, in the order of their keys. Objects that have the same share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Labels(Option<Arc<Box<str>>>);

impl Labels {
    /// Stands behind each key and each value; no label may contain it.
    const END: char = '\0';

    fn of(labels: impl Iterator<Item = (String, String)>) -> Self {
        let mut text = String::new();
        for (key, value) in labels.filter(|(k, v)| !k.contains(Self::END) && !v.contains(Self::END)) {
            text.extend([&*key, &*value].map(|part| format!("{part}{}", Self::END)));
        }
        Self((!text.is_empty()).then(|| Arc::new(text.into())))
    }

    /// Returns the value of a label.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let mut parts = self.0.as_deref()?.split(Self::END);
        while let (Some(found), Some(value)) = (parts.next(), parts.next()) {
            if found == key {
                return Some(value);
            }
        }
        None
    }
}

/// The object's JSON without the opening brace, `apiVersion` and `kind`: those depend on who asks.
#[derive(Debug)]
struct Kept {
    bytes: Box<[u8]>,
    /// By what the bytes are packed, if they are.
    model: Option<Arc<Model>>,
}

/// An object that is to be written, in a text that lacks nothing but its resourceVersion.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) kind: EventKind,
    json: Vec<u8>,
    /// Where the resourceVersion goes.
    version_at: Option<usize>,
    meta: Meta,
    written: Written,
    empty: u8,
}

#[derive(Deserialize, Default)]
struct Envelope {
    #[serde(default)]
    metadata: Meta,
}

#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Meta {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    labels: Option<std::collections::BTreeMap<String, String>>,
    #[serde(default)]
    owner_references: Option<Vec<OwnerUid>>,
    #[serde(default)]
    deletion_timestamp: Option<String>,
}

#[derive(Debug, Deserialize)]
struct OwnerUid {
    #[serde(default)]
    uid: String,
}

impl Stored {
    /// Takes an object in, giving it `version`.
    pub(super) fn new(key: Key, draft: Draft, version: u64) -> Self {
        let mut json = draft.json;
        if let Some(at) = draft.version_at {
            json.splice(at..at, version.to_string().into_bytes());
        }
        Self {
            written: draft.written,
            empty: draft.empty,
            ..Self::from_parts(key, version, draft.meta, json.into_boxed_slice())
        }
    }

    /// Returns this object with another content, e.g. that of another API version: what it is called and its
    /// resourceVersion stay.
    pub(crate) fn with_content(&self, object: Value) -> Self {
        Self {
            empty: self.empty,
            ..Self::new(self.key.clone(), Draft::of(Change::Put(object)), self.version)
        }
    }

    /// Returns the API version in which the object was written, e.g. `v1beta1`; older states don't say it.
    pub(crate) fn written_in(&self) -> Option<Arc<str>> {
        self.written.name()
    }

    /// Takes an object from its stored form, written in the API version `written` (empty: nobody knows).
    pub(super) fn load(key: Key, written: &str, rest: &[u8]) -> Result<Self, serde_json::Error> {
        let mut json = Vec::with_capacity(rest.len() + 1);
        json.push(b'{');
        json.extend_from_slice(rest);
        let meta = serde_json::from_slice::<Envelope>(&json)?.metadata;
        let version = meta.resource_version.parse().unwrap_or(0);
        Ok(Self {
            written: Written::in_version(written),
            ..Self::from_parts(key, version, meta, rest.into())
        })
    }

    fn from_parts(key: Key, version: u64, meta: Meta, rest: Box<[u8]>) -> Self {
        let owners = meta.owner_references.unwrap_or_default();
        let mut owners: Vec<Uid> = owners.iter().map(|o| Uid::of(&o.uid)).collect();
        owners.sort_unstable();
        owners.dedup();
        Self {
            key,
            version,
            uid: Uid::of(&meta.uid),
            labels: Labels::of(meta.labels.unwrap_or_default().into_iter()),
            owners: owners.into(),
            size: u32::try_from(rest.len()).unwrap_or(u32::MAX),
            kept: Mutex::new(Kept {
                bytes: rest,
                model: None,
            }),
            written: Written::default(),
            deleting: meta.deletion_timestamp.is_some(),
            empty: 0,
        }
    }

    /// Takes over from an object what is the same: it is kept once.
    pub(super) fn share(&mut self, other: &Self) {
        if self.labels.0 == other.labels.0 {
            self.labels = other.labels.clone();
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the object in less room, if that pays.
    pub(super) fn pack(&self, packer: &mut Packer) {
        let mut kept = self.kept();
        if kept.model.is_none()
            && let Some((model, bytes)) = packer.pack(&self.key.resource, &kept.bytes)
        {
            *kept = Kept {
                bytes,
                model: Some(model),
            };
        }
    }

    /// How many bytes the text takes now.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.kept().bytes.len()
    }

    /// Adds the object's JSON without the opening brace, `apiVersion` and `kind` to `out`.
    pub(super) fn write_rest(&self, out: &mut Vec<u8>) {
        let kept = self.kept();
        match &kept.model {
            None => out.extend_from_slice(&kept.bytes),
            Some(model) => {
                out.reserve(self.size());
                // What was packed in this process can be unpacked.
                if model.unpack(&kept.bytes, out).is_none() {
                    tracing::error!(resource = %self.key.resource, name = %self.key.name, "an object could not be unpacked");
                }
            }
        }
    }

    /// How many bytes the text has when it is not packed.
    pub(crate) fn size(&self) -> usize {
        self.size as usize
    }

    /// Maps of the metadata that were written although they are empty. They are not shown, but a write without them
    /// is a change.
    pub(crate) fn empties(&self) -> &'static [&'static str] {
        match self.empty {
            0 => &[],
            1 => &["labels"],
            2 => &["annotations"],
            _ => &["labels", "annotations"],
        }
    }

    /// Writes the object's JSON to `out`, as an item of a list of a built-in kind has it: without the type.
    pub(crate) fn write_bare(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        self.write_rest(out);
    }

    /// Writes the object's JSON to `out`.
    pub(crate) fn write(&self, api_version: &str, kind: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"apiVersion\":\"");
        out.extend_from_slice(api_version.as_bytes());
        out.extend_from_slice(b"\",\"kind\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",");
        self.write_rest(out);
    }

    /// Writes the metadata's JSON to `out`, as it is stored.
    pub(crate) fn write_metadata(&self, out: &mut Vec<u8>) {
        let mut json = Vec::with_capacity(self.size() + 1);
        self.write_bare(&mut json);
        let text = std::str::from_utf8(&json).unwrap_or_default();
        let mut fields = json::fields(text).filter_map(Result::ok);
        let metadata = fields.find(|(key, _)| key == "metadata");
        out.extend_from_slice(metadata.map_or("null", |(_, metadata)| metadata).as_bytes());
    }

    /// Returns the object.
    pub(crate) fn value(&self, api_version: &str, kind: &str) -> Value {
        let mut json = Vec::with_capacity(self.size() + 96);
        self.write(api_version, kind, &mut json);
        serde_json::from_slice(&json).unwrap_or_else(|error| {
            tracing::error!(resource = %self.key.resource, name = %self.key.name, %error, "an object can't be read");
            Value::Null
        })
    }
}

impl Draft {
    /// Puts a change down. Done by whoever asks for it: the one thread that writes has enough to do.
    pub(super) fn of(change: Change) -> Self {
        let (kind, mut object) = match change {
            Change::Put(object) => (EventKind::Put, object),
            Change::Delete(object) => (EventKind::Delete, object),
        };
        let (mut empty, mut written) = (0, Written::default());
        if let Some(map) = object.as_object_mut() {
            if let Some(Value::String(api_version)) = map.remove("apiVersion") {
                let version = api_version.rsplit('/').next().unwrap_or_default();
                written = Written::in_version(version);
            }
            map.remove("kind");
            let metadata = map
                .entry("metadata")
                .or_insert_with(|| Value::Object(serde_json::Map::new()));
            if let Some(metadata) = metadata.as_object_mut() {
                for (field, bit) in [("labels", 1), ("annotations", 2)] {
                    if metadata
                        .get(field)
                        .and_then(Value::as_object)
                        .is_some_and(serde_json::Map::is_empty)
                    {
                        metadata.remove(field);
                        empty |= bit;
                    }
                }
                metadata.insert("resourceVersion".to_owned(), Value::String(String::new()));
            }
        }
        let mut text = Text::default();
        text.object(&object);
        Self {
            kind,
            json: text.json,
            version_at: text.version_at,
            meta: Meta::deserialize(&object["metadata"]).unwrap_or_default(),
            written,
            empty,
        }
    }
}

/// Writes an object down and takes note of where its resourceVersion is.
#[derive(Default)]
struct Text {
    json: Vec<u8>,
    version_at: Option<usize>,
}

impl Text {
    /// Writes all fields and the closing brace.
    fn object(&mut self, object: &Value) {
        for (index, (key, value)) in object.as_object().into_iter().flatten().enumerate() {
            self.key(index, key);
            match value.as_object() {
                Some(metadata) if key == "metadata" => self.metadata(metadata),
                _ => self.value(value),
            }
        }
        self.json.push(b'}');
    }

    fn metadata(&mut self, metadata: &serde_json::Map<String, Value>) {
        self.json.push(b'{');
        for (index, (key, value)) in metadata.iter().enumerate() {
            self.key(index, key);
            if key == "resourceVersion" {
                self.json.push(b'"');
                self.version_at = Some(self.json.len());
                self.json.push(b'"');
            } else {
                self.value(value);
            }
        }
        self.json.push(b'}');
    }

    fn key(&mut self, index: usize, key: &str) {
        if index > 0 {
            self.json.push(b',');
        }
        self.value(&key);
        self.json.push(b':');
    }

    fn value(&mut self, value: &impl serde::Serialize) {
        // Writing texts, numbers and maps of them to memory does not fail.
        drop(serde_json::to_writer(&mut self.json, value));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_key_means_something_else_than_it_says() {
        let key = "$serde_json::private::RawValue";
        let metadata = json!({ key: "{}", "name": "a", "resourceVersion": "7" });
        let object = stored(json!({ key: "[", "metadata": metadata, "zone": { key: "1" } }));
        let value = object.value("v1", "Thing");
        assert_eq!((&value[key], &value["zone"]), (&json!("["), &json!({ key: "1" })));
        let mut written = Vec::new();
        object.write_metadata(&mut written);
        assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), metadata);
    }

    fn stored(object: Value) -> Stored {
        Stored::new(Key::new("things", "n", "a"), Draft::of(Change::Put(object)), 7)
    }

    #[test]
    fn the_text_is_that_of_the_object_with_its_version() {
        let object = json!({"apiVersion": "v1", "kind": "Thing", "metadata": {"annotations": {}, "labels": {"b": "2", "a": "1"},
            "name": "a", "ownerReferences": [{"uid": "o"}], "resourceVersion": "3", "uid": "u"},
            "spec": {"metadata": {"resourceVersion": "x"}, "text": "\"resourceVersion\":\"\""}});
        let mut wanted = object.clone();
        wanted["metadata"]["resourceVersion"] = json!("7");
        wanted["metadata"].as_object_mut().unwrap().remove("annotations");
        let stored = stored(object);
        assert_eq!(stored.value("v1", "Thing"), wanted);
        assert_eq!(
            (stored.labels.get("a"), stored.labels.get("c")),
            (Some("1"), None)
        );
        assert_eq!(
            (stored.uid, &*stored.owners, stored.empties()),
            (
                Uid::of("u"),
                [Uid::of("o")].as_slice(),
                ["annotations"].as_slice()
            )
        );
    }

    #[test]
    fn what_is_packed_is_smaller_and_reads_the_same() {
        let object = json!({"metadata": {"name": "a", "uid": "u"}, "data": {"a": "word ".repeat(300)}});
        let (object, mut packer) = (stored(object), Packer::new());
        let (mut before, mut after) = (Vec::new(), b"before".to_vec());
        object.write_rest(&mut before);
        assert_eq!(before.len(), object.size());
        for _ in 0..2 {
            object.pack(&mut packer);
            assert!(object.room() < object.size() / 4);
            after.truncate(6);
            object.write_rest(&mut after);
            assert_eq!(after[6..], before);
        }
        assert_eq!(object.value("v1", "Thing")["metadata"]["uid"], "u");
    }

    #[test]
    fn an_object_knows_in_which_version_it_was_written() {
        let of = |api_version: &str| stored(json!({"apiVersion": api_version, "metadata": {}}));
        assert_eq!(of("a.b/v1beta1").written_in().as_deref(), Some("v1beta1"));
        assert_eq!(of("v7").written_in().as_deref(), Some("v7"));
        assert_eq!(stored(json!({"metadata": {}})).written_in(), None);
        let before = stored(json!({"apiVersion": "a.b/v1", "metadata": {"name": "a", "uid": "u"}}));
        let after = before.with_content(
            json!({"apiVersion": "a.b/v2", "kind": "T", "metadata": {"name": "a", "uid": "u"}, "new": 1}),
        );
        assert_eq!(
            (after.written_in().as_deref(), after.version, after.uid),
            (Some("v2"), 7, before.uid)
        );
        assert_eq!(after.value("a.b/v2", "T")["metadata"]["resourceVersion"], "7");
    }

    #[test]
    fn an_object_takes_little_room_but_for_its_text() {
        // With the counts of an `Arc` this is a size class of the allocator.
        assert!(size_of::<Stored>() <= 112);
    }

    #[test]
    fn equal_labels_are_kept_once() {
        let labelled = |labels: Value| stored(json!({"metadata": {"labels": labels}}));
        let (mut one, other) = (labelled(json!({"a": "1"})), labelled(json!({"a": "1"})));
        one.share(&other);
        assert!(Arc::ptr_eq(
            one.labels.0.as_ref().unwrap(),
            other.labels.0.as_ref().unwrap()
        ));
        one.share(&labelled(json!({"a": "2"})));
        assert_eq!(one.labels.get("a"), Some("1"));
        // A text that could be taken for the end of one is left out.
        let odd = labelled(json!({"": "", "a": "1\0b", "b": "", "c\0d": "3", "e": "5"})).labels;
        let found = ["", "a", "b", "c", "e", "5"].map(|key| odd.get(key));
        assert_eq!(found, [Some(""), None, Some(""), None, Some("5"), None]);
    }
}
