//! A world without a server, for simulations of planners: objects, caches that lag behind, writes that fail, a process that is killed.
//!
//! It does what `apply` and the API server do, as far as planners can tell: resource versions and conflicts, generations, finalizers,
//! owners, and a memory of what this process made and deleted. Who looks at what, and when, is up to the simulation. Everything follows
//! from the seed.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use kube::Resource;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::effect::{Effect, ObjectKey, Plan, same_status};
use crate::time::{SignedDuration, Timestamp, rfc3339};

/// Namespace of all objects.
pub(crate) const NAMESPACE: &str = "fleet";

/// Kind and name.
pub(crate) type Key = (String, String);

/// What happens to a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The server refuses it.
    Refused,
    /// The process is killed before it.
    Killed,
    /// The process is killed after it, or between an object and those that it owns.
    KilledHalfway,
}

/// Why a plan was not carried out to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// The process is gone: nobody tells of anything.
    Killed,
    /// Somebody was faster.
    Conflict,
    /// Some of the writes were refused, so many.
    Refused(usize),
}

/// The objects, and what one process knows of them.
pub(crate) struct Fake {
    /// What time it is.
    pub(crate) now: Timestamp,
    /// What happened, to be read as a story.
    pub(crate) log: Vec<String>,
    /// What happens to the next writes, in this order; after that all goes well.
    pub(crate) faults: VecDeque<Option<Fault>>,
    begun: Timestamp,
    random: u64,
    version: u64,
    objects: BTreeMap<Key, Value>,
    seen: BTreeMap<Key, Value>,
    untold: VecDeque<(Key, Option<Value>)>,
    born: BTreeMap<Key, Value>,
    gone: BTreeSet<(Key, String)>,
    written: BTreeMap<Key, u64>,
}

impl Fake {
    /// An empty world.
    pub(crate) fn new(seed: u64) -> Self {
        let begun = Timestamp::from_second(1_700_000_000).unwrap();
        Self {
            now: begun,
            log: Vec::new(),
            faults: VecDeque::new(),
            begun,
            random: seed,
            version: 0,
            objects: BTreeMap::new(),
            seen: BTreeMap::new(),
            untold: VecDeque::new(),
            born: BTreeMap::new(),
            gone: BTreeSet::new(),
            written: BTreeMap::new(),
        }
    }

    /// A number of chance below another one.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.random >> 33).unwrap() % limit.max(1)
    }

    /// A seed for a planner.
    pub(crate) fn seed(&mut self) -> u64 {
        self.below(1 << 30) as u64
    }

    /// Lets time pass.
    pub(crate) fn advance(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    /// Writes a line of the story.
    pub(crate) fn note(&mut self, line: impl std::fmt::Display) {
        let seconds = self.now.duration_since(self.begun).as_secs();
        self.log.push(format!("{seconds:>4}s  {line}"));
    }

    // What stands on the server.

    /// Reads an object as it is.
    pub(crate) fn get<K: Resource<DynamicType = ()> + DeserializeOwned>(&self, name: &str) -> Option<K> {
        self.objects.get(&key::<K>(name)).map(typed)
    }

    /// Reads all objects of a kind as they are, by name.
    pub(crate) fn all<K: Resource<DynamicType = ()> + DeserializeOwned>(&self) -> Vec<K> {
        of_kind(&self.objects, &K::kind(&())).map(typed).collect()
    }

    /// Reads an object of any kind as it is.
    pub(crate) fn value(&self, kind: &str, name: &str) -> Option<&Value> {
        self.objects.get(&(kind.to_owned(), name.to_owned()))
    }

    /// Names of all objects of a kind.
    pub(crate) fn names(&self, kind: &str) -> Vec<String> {
        of_kind(&self.objects, kind)
            .map(|o| text(o, "/metadata/name"))
            .collect()
    }

    /// Makes an object, as a user does.
    pub(crate) fn create(&mut self, object: Value) -> bool {
        let key = (text(&object, "/kind"), text(&object, "/metadata/name"));
        if self.objects.contains_key(&key) {
            return false;
        }
        let mut object = object;
        self.version += 1;
        object["metadata"]["namespace"] = json!(NAMESPACE);
        object["metadata"]["uid"] = json!(format!("{}-{}", key.1, self.version));
        object["metadata"]["generation"] = json!(1);
        object["metadata"]["creationTimestamp"] = json!(rfc3339(self.now));
        self.put(key, object);
        true
    }

    /// Changes an object by a merge patch, as a user does. False for a conflict or an object that is gone.
    pub(crate) fn edit(&mut self, kind: &str, name: &str, patch: &Value) -> bool {
        let key = (kind.to_owned(), name.to_owned());
        let Some(old) = self.objects.get(&key) else {
            return false;
        };
        let expected = patch
            .pointer("/metadata/resourceVersion")
            .filter(|v| !v.is_null());
        if expected.is_some_and(|v| Some(v) != old.pointer("/metadata/resourceVersion")) {
            return false;
        }
        let mut new = old.clone();
        json_patch::merge(&mut new, patch);
        if new == *old {
            return true;
        }
        if new["spec"] != old["spec"] {
            new["metadata"]["generation"] = json!(new["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
        }
        self.put(key, new);
        true
    }

    /// Deletes an object, as a user does: at once, or when its finalizers are gone.
    pub(crate) fn delete(&mut self, kind: &str, name: &str) {
        let key = (kind.to_owned(), name.to_owned());
        let Some(object) = self.objects.get(&key) else {
            return;
        };
        let mut object = object.clone();
        if object["metadata"]["deletionTimestamp"].is_null() {
            object["metadata"]["deletionTimestamp"] = json!(rfc3339(self.now));
        }
        self.put(key, object);
    }

    fn put(&mut self, key: Key, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let leaving = !object["metadata"]["deletionTimestamp"].is_null();
        let held = object["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|f| !f.is_empty());
        if leaving && !held {
            self.objects.remove(&key);
            self.untold.push_back((key, None));
        } else {
            self.objects.insert(key.clone(), object.clone());
            self.untold.push_back((key, Some(object)));
        }
    }

    /// Deletes what has lost its controller, as the API server does in its own time.
    pub(crate) fn collect(&mut self) {
        let uids: BTreeSet<String> = self.objects.values().map(|o| text(o, "/metadata/uid")).collect();
        let lost: Vec<Key> = self
            .objects
            .iter()
            .filter(|(_, o)| controller(o).is_some_and(|uid| !uids.contains(&uid)))
            .map(|(key, _)| key.clone())
            .collect();
        for (kind, name) in lost {
            self.delete(&kind, &name);
        }
    }

    // What the process knows.

    /// Lets the watches tell of so many changes.
    pub(crate) fn tell(&mut self, count: usize) {
        let changes: Vec<_> = self.untold.drain(..count.min(self.untold.len())).collect();
        self.take(changes);
    }

    /// Lets the watch of a kind tell of everything: watches know nothing of each other.
    pub(crate) fn tell_of(&mut self, kind: &str) {
        let (told, rest): (VecDeque<_>, VecDeque<_>) =
            self.untold.drain(..).partition(|((k, _), _)| k == kind);
        self.untold = rest;
        self.take(told);
    }

    fn take(&mut self, changes: impl IntoIterator<Item = (Key, Option<Value>)>) {
        for (key, object) in changes {
            self.born.remove(&key);
            let uid = object
                .as_ref()
                .map(|o| text(o, "/metadata/uid"))
                .unwrap_or_default();
            let leaving = object
                .as_ref()
                .is_none_or(|o| !o["metadata"]["deletionTimestamp"].is_null());
            self.gone.retain(|(k, u)| *k != key || (!leaving && *u == uid));
            match object {
                Some(object) => self.seen.insert(key, object),
                None => self.seen.remove(&key),
            };
        }
    }

    /// Lets the watches tell of everything.
    pub(crate) fn tell_all(&mut self) {
        self.tell(self.untold.len());
    }

    /// The process is killed and comes up again: it knows what stands there, and nothing else.
    pub(crate) fn restart(&mut self) {
        self.note("the process is killed and starts again");
        self.untold.clear();
        self.seen = self.objects.clone();
        self.born.clear();
        self.gone.clear();
        self.written.clear();
    }

    /// Reads an object from the cache; nothing while that is older than what this process wrote last.
    pub(crate) fn cached<K: Resource<DynamicType = ()> + DeserializeOwned>(
        &self,
        name: &str,
    ) -> Option<Arc<K>> {
        let key = key::<K>(name);
        let object = self.seen.get(&key)?;
        (!self.is_stale(&key, object)).then(|| Arc::new(typed(object)))
    }

    /// Reads the objects of a kind that an object controls, from the cache and from the memory of what was made, by name.
    pub(crate) fn controlled<K: Resource<DynamicType = ()> + DeserializeOwned>(
        &self,
        uid: &str,
    ) -> Vec<Arc<K>> {
        let kind = K::kind(&());
        let mut all: BTreeMap<&Key, &Value> = self.born.iter().collect();
        all.extend(&self.seen);
        all.into_iter()
            .filter(|((k, _), o)| **k == *kind && controller(o).as_deref() == Some(uid))
            .map(|(_, o)| Arc::new(typed(o)))
            .collect()
    }

    /// Reads the objects of a kind that nothing controls, from the cache.
    pub(crate) fn orphans<K: Resource<DynamicType = ()> + DeserializeOwned>(&self) -> Vec<Arc<K>> {
        of_kind(&self.seen, &K::kind(&()))
            .filter(|o| controller(o).is_none())
            .map(|o| Arc::new(typed(o)))
            .collect()
    }

    /// Whether the cache shows an object.
    pub(crate) fn is_cached(&self, kind: &str, name: &str) -> bool {
        self.seen.contains_key(&(kind.to_owned(), name.to_owned()))
    }

    /// Whether the cache is behind what this process wrote.
    pub(crate) fn is_behind(&self, kind: &str, name: &str) -> bool {
        let key = (kind.to_owned(), name.to_owned());
        self.seen.get(&key).is_some_and(|o| self.is_stale(&key, o))
    }

    /// Whether an object is on its way out, as far as the process knows.
    pub(crate) fn is_leaving(&self, kind: &str, object: &impl Resource) -> bool {
        let meta = object.meta();
        let key = (kind.to_owned(), meta.name.clone().unwrap_or_default());
        meta.deletion_timestamp.is_some() || self.gone.contains(&(key, meta.uid.clone().unwrap_or_default()))
    }

    fn is_stale(&self, key: &Key, object: &Value) -> bool {
        let seen = text(object, "/metadata/resourceVersion").parse().unwrap_or(0);
        self.written.get(key).is_some_and(|written| seen < *written)
    }

    // What a planner asks for.

    /// Carries out a plan about an object: its effects until one fails, then its status.
    pub(crate) fn apply(&mut self, kind: &str, name: &str, plan: &Plan) -> Result<(), Stopped> {
        for effect in &plan.effects {
            self.perform(kind, name, effect)?;
        }
        let Some(status) = &plan.status else {
            return Ok(());
        };
        let key = (kind.to_owned(), name.to_owned());
        let Some(object) = self.objects.get(&key) else {
            return Ok(());
        };
        if !same_status(status, &object["status"]) {
            let mut object = object.clone();
            object["status"] = status.clone();
            self.put(key.clone(), object);
            self.written.insert(key, self.version);
        }
        Ok(())
    }

    fn perform(&mut self, kind: &str, name: &str, effect: &Effect) -> Result<(), Stopped> {
        match effect {
            Effect::Emit(notice) => {
                self.note(format_args!(
                    "{kind} {name}: {}: {}",
                    notice.reason, notice.message
                ));
                Ok(())
            }
            Effect::Together(all) => {
                let mut refused = 0;
                let mut conflict = false;
                for effect in all {
                    match self.perform(kind, name, effect) {
                        Err(Stopped::Killed) => return Err(Stopped::Killed),
                        Err(Stopped::Refused(count)) => refused += count,
                        Err(Stopped::Conflict) => conflict = true,
                        Ok(()) => {}
                    }
                }
                match (refused, conflict) {
                    (0, false) => Ok(()),
                    (0, true) => Err(Stopped::Conflict),
                    _ => Err(Stopped::Refused(refused)),
                }
            }
            write => {
                let fault = self.faults.pop_front().flatten();
                match fault {
                    Some(Fault::Refused) => return Err(Stopped::Refused(1)),
                    Some(Fault::Killed) => return Err(self.killed()),
                    Some(Fault::KilledHalfway) | None => {}
                }
                self.write(write, fault.is_some())?;
                if fault.is_some() {
                    return Err(self.killed());
                }
                Ok(())
            }
        }
    }

    fn killed(&mut self) -> Stopped {
        self.restart();
        Stopped::Killed
    }

    fn write(&mut self, effect: &Effect, halfway: bool) -> Result<(), Stopped> {
        match effect {
            Effect::Patch {
                key, patch, optional, ..
            } => {
                let there = self.objects.contains_key(&of(key));
                if !self.edit(&key.resource.kind, &key.name, patch) && (there || !optional) {
                    return Err(Stopped::Conflict);
                }
                self.written.insert(of(key), self.version);
            }
            Effect::Create { object, .. } | Effect::Apply { object, .. } => {
                self.create(json!(object));
            }
            Effect::CreateOwned { object, owned, .. } => {
                let value = json!(object);
                let key = (text(&value, "/kind"), text(&value, "/metadata/name"));
                if !self.create(value) {
                    return Ok(());
                }
                let owner = self.objects[&key].clone();
                self.born.insert(key, owner.clone());
                for object in owned.iter().filter(|_| !halfway) {
                    let mut object = json!(object);
                    object["metadata"]["ownerReferences"] = json!([{
                        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
                        "uid": owner["metadata"]["uid"], "controller": true,
                    }]);
                    self.create(object);
                }
            }
            Effect::Delete { key, uid, .. } => {
                let key = of(key);
                let found = self.objects.get(&key).map(|o| text(o, "/metadata/uid"));
                if let Some(found) = found
                    && uid.as_ref().is_none_or(|uid| *uid == found)
                {
                    self.delete(&key.0, &key.1);
                    self.gone.insert((key, found));
                }
            }
            other => panic!("no simulation does this: {other}"),
        }
        Ok(())
    }
}

fn of(key: &ObjectKey) -> Key {
    (key.resource.kind.clone(), key.name.clone())
}

fn key<K: Resource<DynamicType = ()>>(name: &str) -> Key {
    (K::kind(&()).into_owned(), name.to_owned())
}

fn of_kind<'a>(objects: &'a BTreeMap<Key, Value>, kind: &str) -> impl Iterator<Item = &'a Value> {
    let kind = kind.to_owned();
    objects
        .iter()
        .filter(move |((k, _), _)| *k == kind)
        .map(|(_, o)| o)
}

fn typed<K: DeserializeOwned>(object: &Value) -> K {
    serde_json::from_value(object.clone()).unwrap()
}

fn text(object: &Value, pointer: &str) -> String {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// UID of what controls an object.
fn controller(object: &Value) -> Option<String> {
    let owners = object.pointer("/metadata/ownerReferences")?.as_array()?;
    let owner = owners.iter().find(|o| o["controller"] == true)?;
    Some(text(owner, "/uid"))
}
