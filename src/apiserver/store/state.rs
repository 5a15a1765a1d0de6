//! What the store holds in memory: the objects as they are now and, for each resource, the last changes.
//! It must not write to disk.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;

/// How many changes of each resource are remembered. A watch that lags further behind must list again.
pub(super) const WINDOW: usize = 1024;

/// Says that the history does not reach back to where somebody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expired {
    /// The oldest resourceVersion that can be asked for.
    pub(crate) oldest: u64,
}

/// Names one object: resource as the store calls it, namespace (empty if it has none), name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) resource: Arc<str>,
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
}

impl Key {
    pub(crate) fn new(resource: &str, namespace: &str, name: &str) -> Self {
        Self {
            resource: resource.into(),
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

/// One object in one version, serialised once for all who read it.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) key: Key,
    pub(crate) version: u64,
    pub(crate) uid: Arc<str>,
    pub(crate) labels: BTreeMap<String, String>,
    /// The uids of its owners.
    pub(crate) owners: Vec<Arc<str>>,
    pub(crate) deleting: bool,
    /// Maps of the metadata that were written although they are empty. They are not shown, but a write without them
    /// is a change.
    pub(crate) empties: Vec<&'static str>,
    /// The object's JSON without the opening brace, `apiVersion` and `kind`: those depend on who asks.
    pub(crate) rest: Bytes,
}

#[derive(Deserialize, Default)]
struct Envelope {
    #[serde(default)]
    metadata: Meta,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Meta {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    owner_references: Option<Vec<OwnerUid>>,
    #[serde(default)]
    deletion_timestamp: Option<String>,
}

#[derive(Deserialize)]
struct OwnerUid {
    #[serde(default)]
    uid: String,
}

impl Stored {
    /// Takes an object in, giving it `version`.
    pub(super) fn new(key: Key, mut object: Value, version: u64) -> Self {
        let mut empties = Vec::new();
        if let Some(map) = object.as_object_mut() {
            map.remove("apiVersion");
            map.remove("kind");
            let metadata = map
                .entry("metadata")
                .or_insert_with(|| Value::Object(serde_json::Map::new()));
            if let Some(metadata) = metadata.as_object_mut() {
                for field in ["labels", "annotations"] {
                    if metadata
                        .get(field)
                        .and_then(Value::as_object)
                        .is_some_and(serde_json::Map::is_empty)
                    {
                        metadata.remove(field);
                        empties.push(field);
                    }
                }
                metadata.insert("resourceVersion".to_owned(), Value::String(version.to_string()));
            }
        }
        let mut json = serde_json::to_vec(&object).unwrap_or_else(|_| b"{}".to_vec());
        json.remove(0);
        let meta = Meta::deserialize(&object["metadata"]).unwrap_or_default();
        Self {
            empties,
            ..Self::from_parts(key, version, meta, Bytes::from(json))
        }
    }

    /// Takes an object from its stored form.
    pub(super) fn load(key: Key, rest: &[u8]) -> Result<Self, serde_json::Error> {
        let mut json = Vec::with_capacity(rest.len() + 1);
        json.push(b'{');
        json.extend_from_slice(rest);
        let meta = serde_json::from_slice::<Envelope>(&json)?.metadata;
        let version = meta.resource_version.parse().unwrap_or(0);
        Ok(Self::from_parts(key, version, meta, Bytes::from(json).slice(1..)))
    }

    fn from_parts(key: Key, version: u64, meta: Meta, rest: Bytes) -> Self {
        let mut owners: Vec<Arc<str>> = meta
            .owner_references
            .unwrap_or_default()
            .into_iter()
            .map(|o| o.uid.into())
            .collect();
        owners.sort();
        owners.dedup();
        Self {
            key,
            version,
            uid: meta.uid.into(),
            labels: meta.labels.unwrap_or_default(),
            owners,
            deleting: meta.deletion_timestamp.is_some(),
            empties: Vec::new(),
            rest,
        }
    }

    /// Writes the object's JSON to `out`, as an item of a list of a built-in kind has it: without the type.
    pub(crate) fn write_bare(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        out.extend_from_slice(&self.rest);
    }

    /// Writes the object's JSON to `out`.
    pub(crate) fn write(&self, api_version: &str, kind: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"apiVersion\":\"");
        out.extend_from_slice(api_version.as_bytes());
        out.extend_from_slice(b"\",\"kind\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",");
        out.extend_from_slice(&self.rest);
    }

    /// Returns the object.
    pub(crate) fn value(&self, api_version: &str, kind: &str) -> Value {
        let mut json = Vec::with_capacity(self.rest.len() + 96);
        self.write(api_version, kind, &mut json);
        serde_json::from_slice(&json).unwrap_or(Value::Null)
    }
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// It was made or changed.
    Put,
    /// It was removed.
    Delete,
}

/// One change of one object.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) kind: EventKind,
    /// The object after the change; its last state, with the version of the removal, if it was removed.
    pub(crate) object: Arc<Stored>,
    /// The object before the change.
    pub(crate) previous: Option<Arc<Stored>>,
}

type Objects = BTreeMap<Arc<str>, BTreeMap<Arc<str>, Arc<Stored>>>;

struct Resource {
    objects: Objects,
    count: usize,
    window: VecDeque<Event>,
    /// Changes after this version are all in the window.
    floor: u64,
    changed: watch::Sender<u64>,
}

impl Resource {
    fn new(floor: u64) -> Self {
        Self {
            objects: BTreeMap::new(),
            count: 0,
            window: VecDeque::new(),
            floor,
            changed: watch::Sender::new(floor),
        }
    }
}

/// All objects.
pub(super) struct State {
    pub(super) version: u64,
    /// The version at which this process began: what happened before is not remembered.
    born: u64,
    resources: HashMap<Arc<str>, Resource>,
    pub(super) uids: HashMap<Arc<str>, Key>,
    pub(super) owned: HashMap<Arc<str>, HashSet<Key>>,
}

impl State {
    pub(super) fn new(version: u64) -> Self {
        Self {
            version,
            born: version,
            resources: HashMap::new(),
            uids: HashMap::new(),
            owned: HashMap::new(),
        }
    }

    /// Puts an object in that was read from disk.
    pub(super) fn load(&mut self, stored: Stored) {
        self.insert(&Arc::new(stored));
    }

    fn resource(&mut self, name: &Arc<str>) -> &mut Resource {
        let born = self.born;
        self.resources
            .entry(Arc::clone(name))
            .or_insert_with(|| Resource::new(born))
    }

    fn insert(&mut self, stored: &Arc<Stored>) -> Option<Arc<Stored>> {
        let key = stored.key.clone();
        self.uids.insert(Arc::clone(&stored.uid), key.clone());
        for owner in &stored.owners {
            self.owned
                .entry(Arc::clone(owner))
                .or_default()
                .insert(key.clone());
        }
        let resource = self.resource(&key.resource);
        let previous = resource
            .objects
            .entry(key.namespace.clone())
            .or_default()
            .insert(key.name.clone(), Arc::clone(stored));
        match &previous {
            Some(previous) => {
                for owner in previous.owners.iter().filter(|o| !stored.owners.contains(o)) {
                    self.disown(owner, &key);
                }
            }
            None => resource.count += 1,
        }
        previous
    }

    fn remove(&mut self, key: &Key) -> Option<Arc<Stored>> {
        let resource = self.resource(&key.resource);
        let names = resource.objects.get_mut(&key.namespace)?;
        let previous = names.remove(&key.name)?;
        if names.is_empty() {
            resource.objects.remove(&key.namespace);
        }
        resource.count -= 1;
        self.uids.remove(&previous.uid);
        for owner in &previous.owners {
            self.disown(owner, key);
        }
        Some(previous)
    }

    fn disown(&mut self, owner: &Arc<str>, key: &Key) {
        if let Some(keys) = self.owned.get_mut(owner) {
            keys.remove(key);
            if keys.is_empty() {
                self.owned.remove(owner);
            }
        }
    }

    /// Makes one change visible.
    pub(super) fn apply(&mut self, kind: EventKind, object: Arc<Stored>) {
        let key = object.key.clone();
        self.version = object.version;
        let previous = match kind {
            EventKind::Put => self.insert(&object),
            EventKind::Delete => self.remove(&key),
        };
        let resource = self.resource(&key.resource);
        if resource.window.len() == WINDOW
            && let Some(oldest) = resource.window.pop_front()
        {
            resource.floor = oldest.object.version;
        }
        resource.window.push_back(Event {
            kind,
            object,
            previous,
        });
    }

    /// Wakes those who watch the resources.
    pub(super) fn wake<'a>(&self, resources: impl Iterator<Item = &'a Arc<str>>) {
        for name in resources {
            if let Some(resource) = self.resources.get(name) {
                resource.changed.send_replace(self.version);
            }
        }
    }

    pub(super) fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<&Arc<Stored>> {
        self.resources.get(resource)?.objects.get(namespace)?.get(name)
    }

    pub(super) fn list(&self, resource: &str, namespace: Option<&str>) -> Vec<Arc<Stored>> {
        let Some(resource) = self.resources.get(resource) else {
            return Vec::new();
        };
        if let Some(namespace) = namespace {
            return resource
                .objects
                .get(namespace)
                .into_iter()
                .flat_map(|n| n.values().cloned())
                .collect();
        }
        let mut all = Vec::with_capacity(resource.count);
        all.extend(resource.objects.values().flat_map(|n| n.values().cloned()));
        all
    }

    fn check(&self, resource: &str, version: u64) -> Result<Option<&Resource>, Expired> {
        let found = self.resources.get(resource);
        let oldest = found.map_or(self.born, |r| r.floor);
        if version < oldest {
            Err(Expired { oldest })
        } else {
            Ok(found)
        }
    }

    pub(super) fn list_at(
        &self,
        resource: &str,
        namespace: Option<&str>,
        version: u64,
    ) -> Result<Vec<Arc<Stored>>, Expired> {
        let Some(found) = self.check(resource, version)? else {
            return Ok(Vec::new());
        };
        let mut objects: BTreeMap<(Arc<str>, Arc<str>), Arc<Stored>> = self
            .list(resource, namespace)
            .into_iter()
            .map(|o| ((Arc::clone(&o.key.namespace), Arc::clone(&o.key.name)), o))
            .collect();
        for event in found
            .window
            .iter()
            .rev()
            .take_while(|e| e.object.version > version)
        {
            let key = &event.object.key;
            if namespace.is_some_and(|n| n != &*key.namespace) {
                continue;
            }
            let place = (Arc::clone(&key.namespace), Arc::clone(&key.name));
            match &event.previous {
                Some(previous) => objects.insert(place, Arc::clone(previous)),
                None => objects.remove(&place),
            };
        }
        Ok(objects.into_values().collect())
    }

    pub(super) fn events_after(&self, resource: &str, version: u64) -> Result<Vec<Event>, Expired> {
        let Some(found) = self.check(resource, version)? else {
            return Ok(Vec::new());
        };
        let start = found.window.partition_point(|e| e.object.version <= version);
        Ok(found.window.range(start..).cloned().collect())
    }

    pub(super) fn subscribe(&self, resource: &str) -> Option<watch::Receiver<u64>> {
        self.resources.get(resource).map(|r| r.changed.subscribe())
    }

    pub(super) fn subscribe_new(&mut self, resource: &str) -> watch::Receiver<u64> {
        self.resource(&resource.into()).changed.subscribe()
    }

    pub(super) fn dependents(&self, uid: &str) -> Vec<Arc<Stored>> {
        let keys = self.owned.get(uid).into_iter().flatten();
        keys.filter_map(|k| self.get(&k.resource, &k.namespace, &k.name).cloned())
            .collect()
    }

    pub(super) fn in_namespace(&self, namespace: &str) -> Vec<Arc<Stored>> {
        let all = self.resources.values().filter_map(|r| r.objects.get(namespace));
        all.flat_map(|n| n.values().cloned()).collect()
    }

    pub(super) fn count(&self, resource: &str) -> usize {
        self.resources.get(resource).map_or(0, |r| r.count)
    }
}
