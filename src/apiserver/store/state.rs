//! What the store holds in memory: the objects as they are now and, for each resource, the last changes.
//! It must not write to disk.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::ops::Bound;
use std::sync::atomic::{self, AtomicU64};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::stored::{Key, Place, Stored};
use super::uid::Uid;

/// How many changes of each resource are remembered at least, for as long as [`History`] says. A watch that lags further behind must list
/// again.
const WINDOW: usize = 1024;
/// How many bytes of objects before and after changes are remembered of each resource, if there are more than [`WINDOW`].
/// Counted as if they were not packed.
const BYTES: usize = 4 << 20;
/// How many old changes of a resource are forgotten at a time.
const AT_ONCE: usize = 64;

/// How much of the past is remembered: what watches that come late and lists of a moment can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// How long changes are remembered. Default: five minutes (kube-apiserver has etcd compacted that often).
    pub age: Duration,
    /// How many changes of each resource are remembered at most. Default: 10,000. More than 1,024 only while the objects before
    /// and after them take no more than 4 MiB.
    pub events: usize,
}

impl Default for History {
    fn default() -> Self {
        Self {
            age: Duration::from_secs(300),
            events: 10_000,
        }
    }
}

/// Says that the history does not reach back to where somebody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expired {
    /// The oldest resourceVersion that can be asked for.
    pub(crate) oldest: u64,
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

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range<'a> {
    /// The namespace and the name behind which it begins.
    pub(crate) after: Option<(&'a str, &'a str)>,
    /// How many objects it has at most.
    pub(crate) limit: usize,
}

impl Range<'_> {
    pub(crate) const ALL: Self = Self {
        after: None,
        limit: usize::MAX,
    };

    fn has(&self, key: &Key) -> bool {
        self.after
            .is_none_or(|after| after < (&*key.namespace, &*key.name))
    }
}

/// A part of a list.
#[derive(Debug, Default)]
pub(crate) struct Part {
    pub(crate) items: Vec<Arc<Stored>>,
    /// How many objects come after it.
    pub(crate) remaining: usize,
}

/// An event, and when it happened.
struct Remembered {
    event: Event,
    at: Instant,
}

impl Remembered {
    fn size(&self) -> usize {
        self.event.object.size() + self.event.previous.as_ref().map_or(0, |p| p.size())
    }
}

/// An object that is found by its name.
struct Named(Arc<Stored>);

impl Borrow<str> for Named {
    fn borrow(&self) -> &str {
        &self.0.key.name
    }
}

impl Ord for Named {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.name.cmp(&other.0.key.name)
    }
}

impl PartialOrd for Named {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Named {}

/// An object that is found by its uid.
struct Identified(Arc<Stored>);

impl Borrow<Uid> for Identified {
    fn borrow(&self) -> &Uid {
        &self.0.uid
    }
}

impl Hash for Identified {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.uid.hash(state);
    }
}

impl PartialEq for Identified {
    fn eq(&self, other: &Self) -> bool {
        self.0.uid == other.0.uid
    }
}

impl Eq for Identified {}

/// The objects of one resource in one namespace.
struct Objects {
    place: Arc<Place>,
    named: BTreeSet<Named>,
}

impl Objects {
    fn all(&self) -> impl Iterator<Item = Arc<Stored>> {
        self.named.iter().map(|n| Arc::clone(&n.0))
    }

    /// Returns the object with this name, or else a neighbour of where it would be.
    fn like(&self, name: &str) -> Option<&Stored> {
        let before = self
            .named
            .range::<str, _>((Bound::Unbounded, Bound::Included(name)))
            .next_back();
        before.or(self.named.first()).map(|n| &*n.0)
    }
}

struct Resource {
    objects: BTreeMap<Arc<str>, Objects>,
    count: usize,
    window: VecDeque<Remembered>,
    /// Bytes of the objects in the window.
    bytes: usize,
    /// Changes after this version are all in the window.
    floor: u64,
    changed: watch::Sender<u64>,
    /// The version of the newest change.
    newest: Arc<AtomicU64>,
}

/// Tells whether something has happened to a resource since it was asked last: whoever has been told that his write is done can rely
/// on it, while those who wait for a change are woken a moment later.
#[derive(Debug)]
pub(crate) struct Mark {
    newest: Arc<AtomicU64>,
    seen: u64,
}

impl Mark {
    /// Says whether there is something new. What is new from now on is told the next time.
    pub(crate) fn has_changed(&mut self) -> bool {
        let newest = self.newest.load(atomic::Ordering::Acquire);
        std::mem::replace(&mut self.seen, newest) != newest
    }
}

impl Resource {
    fn new(floor: u64) -> Self {
        Self {
            objects: BTreeMap::new(),
            count: 0,
            window: VecDeque::new(),
            bytes: 0,
            floor,
            changed: watch::Sender::new(floor),
            newest: Arc::new(AtomicU64::new(floor)),
        }
    }

    /// Returns the objects that come after a place, each namespace with the name after which they do.
    fn behind<'a>(
        &'a self,
        namespace: Option<&'a str>,
        after: Option<(&'a str, &'a str)>,
    ) -> impl Iterator<Item = (&'a Objects, Option<&'a str>)> {
        let bounds = match (namespace, after) {
            (Some(namespace), _) => (Bound::Included(namespace), Bound::Included(namespace)),
            (None, Some((first, _))) => (Bound::Included(first), Bound::Unbounded),
            (None, None) => (Bound::Unbounded, Bound::Unbounded),
        };
        let found = self.objects.range::<str, _>(bounds);
        found.filter_map(move |(namespace, objects)| match after {
            Some((first, _)) if **namespace < *first => None,
            Some((first, name)) if **namespace == *first => Some((objects, Some(name))),
            _ => Some((objects, None)),
        })
    }

    /// Returns a part of the objects as they are now. What comes after it is counted, not touched.
    fn part(&self, namespace: Option<&str>, range: Range<'_>) -> Part {
        let mut part = Part::default();
        for (objects, after) in self.behind(namespace, range.after) {
            let room = range.limit.saturating_sub(part.items.len());
            let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
            part.items.reserve(room.min(objects.named.len()));
            let mut left = objects.named.range::<str, _>((begin, Bound::Unbounded));
            let taken = left.by_ref().take(room);
            part.items.extend(taken.map(|n| Arc::clone(&n.0)));
            part.remaining += match after {
                None => objects.named.len().saturating_sub(room),
                Some(_) => left.count(),
            };
        }
        part
    }

    fn has(&self, key: &Key) -> bool {
        let objects = self.objects.get(&key.namespace);
        objects.is_some_and(|o| o.named.contains(&*key.name))
    }

    /// The objects that have changed since `version` as they were then; nothing in place of those that were not there.
    fn before(
        &self,
        namespace: Option<&str>,
        range: Range<'_>,
        version: u64,
    ) -> BTreeMap<&Key, Option<&Arc<Stored>>> {
        let events = self.window.iter().rev().map(|r| &r.event);
        let since = events.take_while(|event| event.object.version > version);
        let meant = since.filter(|event| {
            let key = &event.object.key;
            namespace.is_none_or(|n| n == &*key.namespace) && range.has(key)
        });
        // Of several changes the first one counts, which comes last.
        meant
            .map(|event| (&event.object.key, event.previous.as_ref()))
            .collect()
    }

    fn part_at(&self, namespace: Option<&str>, range: Range<'_>, version: u64) -> Part {
        let before = self.before(namespace, range, version);
        // Some of what is there now may not have been there then.
        let limit = range.limit.saturating_add(before.len());
        let mut part = self.part(namespace, Range { limit, ..range });
        if before.is_empty() {
            return part;
        }
        let changed = before.keys().filter(|key| self.has(key)).count();
        let mut count = part.items.len() + part.remaining - changed;
        part.items.retain(|o| !before.contains_key(&o.key));
        for previous in before.into_values().flatten() {
            part.items.push(Arc::clone(previous));
            count += 1;
        }
        part.items.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        part.items.truncate(range.limit);
        part.remaining = count - part.items.len();
        part
    }

    /// Drops the oldest change.
    fn forget(&mut self) {
        if let Some(gone) = self.window.pop_front() {
            self.floor = gone.event.object.version;
            self.bytes = self.bytes.saturating_sub(gone.size());
        }
        if self.window.is_empty() {
            self.window = VecDeque::new();
        }
    }
}

/// All objects.
pub(super) struct State {
    pub(super) version: u64,
    /// The version at which this process began: what happened before is not remembered.
    born: u64,
    resources: HashMap<Arc<str>, Resource>,
    uids: HashSet<Identified>,
    /// Owners that objects name, each with the uid of the object.
    owned: BTreeSet<(Uid, Uid)>,
    history: History,
}

impl State {
    pub(super) fn new(version: u64, history: History) -> Self {
        Self {
            history,
            version,
            born: version,
            resources: HashMap::new(),
            uids: HashSet::new(),
            owned: BTreeSet::new(),
        }
    }

    /// Begins with what was read from disk, which goes up to `version`.
    pub(super) fn begin(&mut self, version: u64) {
        (self.version, self.born) = (version, version);
        for resource in self.resources.values_mut() {
            resource.floor = version;
            resource.changed.send_replace(version);
        }
    }

    /// Returns all objects.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Stored>> {
        let objects = self.resources.values().flat_map(|r| r.objects.values());
        objects.flat_map(|o| o.named.iter().map(|n| &n.0))
    }

    /// Puts an object in that was read from disk, and returns it: it is not packed yet.
    pub(super) fn load(&mut self, mut stored: Stored) -> Weak<Stored> {
        self.share(&mut stored);
        let stored = Arc::new(stored);
        let loaded = Arc::downgrade(&stored);
        self.insert(stored);
        loaded
    }

    fn resource(&mut self, name: &Arc<str>) -> &mut Resource {
        let born = self.born;
        self.resources
            .entry(Arc::clone(name))
            .or_insert_with(|| Resource::new(born))
    }

    /// Gives an object what others of its kind have as well: it is kept once.
    pub(super) fn share(&self, stored: &mut Stored) {
        let Some((resource, found)) = self.resources.get_key_value(&stored.key.resource) else {
            return;
        };
        let Some(objects) = found.objects.get(&stored.key.namespace) else {
            stored.key.place = Arc::new(Place {
                resource: Arc::clone(resource),
                namespace: Arc::clone(&stored.key.namespace),
            });
            return;
        };
        stored.key.place = Arc::clone(&objects.place);
        if let Some(like) = objects.like(&stored.key.name) {
            stored.share(like);
        }
    }

    fn insert(&mut self, stored: Arc<Stored>) -> Option<Arc<Stored>> {
        let place = &stored.key.place;
        let resource = self.resource(&place.resource);
        let objects = resource
            .objects
            .entry(Arc::clone(&place.namespace))
            .or_insert_with(|| Objects {
                place: Arc::clone(place),
                named: BTreeSet::new(),
            });
        let previous = objects.named.replace(Named(Arc::clone(&stored))).map(|n| n.0);
        if previous.is_none() {
            resource.count += 1;
        }
        // An object keeps its uid, and nearly always its owners.
        let old = previous.as_deref().map_or(&[][..], |p| &p.owners);
        for owner in old.iter().filter(|o| !stored.owners.contains(o)) {
            self.owned.remove(&(*owner, stored.uid));
        }
        for owner in stored.owners.iter().filter(|o| !old.contains(o)) {
            self.owned.insert((*owner, stored.uid));
        }
        self.uids.replace(Identified(stored));
        previous
    }

    fn remove(&mut self, key: &Key) -> Option<Arc<Stored>> {
        let resource = self.resource(&key.resource);
        let objects = resource.objects.get_mut(&key.namespace)?;
        let previous = objects.named.take(&*key.name)?.0;
        if objects.named.is_empty() {
            resource.objects.remove(&key.namespace);
        }
        resource.count -= 1;
        self.uids.remove(&previous.uid);
        for owner in &previous.owners {
            self.owned.remove(&(*owner, previous.uid));
        }
        Some(previous)
    }

    /// Makes one change visible.
    pub(super) fn apply(&mut self, kind: EventKind, object: &Arc<Stored>, at: Instant) {
        self.version = object.version;
        let previous = match kind {
            EventKind::Put => self.insert(Arc::clone(object)),
            EventKind::Delete => self.remove(&object.key),
        };
        let most = self.history.events;
        let resource = self.resource(&object.key.resource);
        let event = Event {
            kind,
            object: Arc::clone(object),
            previous,
        };
        let remembered = Remembered { event, at };
        resource.newest.store(object.version, atomic::Ordering::Release);
        resource.bytes += remembered.size();
        resource.window.push_back(remembered);
        while resource.window.len() > most || (resource.window.len() > WINDOW && resource.bytes > BYTES) {
            resource.forget();
        }
    }

    /// How long changes are remembered.
    pub(super) fn age(&self) -> Duration {
        self.history.age
    }

    /// Forgets changes that nobody can want any more, a few at a time. Returns when to do so again; nothing if none are left.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Instant> {
        let (mut next, age) = (None, self.history.age);
        for resource in self.resources.values_mut() {
            for _ in 0..AT_ONCE {
                if resource
                    .window
                    .front()
                    .is_none_or(|r| now.duration_since(r.at) < age)
                {
                    break;
                }
                resource.forget();
            }
            let oldest = resource.window.front().map(|r| r.at + age);
            next = next.into_iter().chain(oldest).min();
        }
        next
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
        let objects = self.resources.get(resource)?.objects.get(namespace)?;
        objects.named.get(name).map(|n| &n.0)
    }

    pub(super) fn part(&self, resource: &str, namespace: Option<&str>, range: Range<'_>) -> Part {
        let resource = self.resources.get(resource);
        resource.map_or_else(Part::default, |r| r.part(namespace, range))
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

    pub(super) fn part_at(
        &self,
        resource: &str,
        namespace: Option<&str>,
        range: Range<'_>,
        version: u64,
    ) -> Result<Part, Expired> {
        let found = self.check(resource, version)?;
        Ok(found.map_or_else(Part::default, |r| r.part_at(namespace, range, version)))
    }

    pub(super) fn events_after(&self, resource: &str, version: u64) -> Result<Vec<Event>, Expired> {
        let Some(found) = self.check(resource, version)? else {
            return Ok(Vec::new());
        };
        let start = found
            .window
            .partition_point(|r| r.event.object.version <= version);
        Ok(found.window.range(start..).map(|r| r.event.clone()).collect())
    }

    pub(super) fn subscribe(&self, resource: &str) -> Option<watch::Receiver<u64>> {
        self.resources.get(resource).map(|r| r.changed.subscribe())
    }

    pub(super) fn subscribe_new(&mut self, resource: &str) -> watch::Receiver<u64> {
        self.resource(&resource.into()).changed.subscribe()
    }

    pub(super) fn mark(&mut self, resource: &str) -> Mark {
        let newest = Arc::clone(&self.resource(&resource.into()).newest);
        let seen = newest.load(atomic::Ordering::Acquire);
        Mark { newest, seen }
    }

    pub(super) fn by_uid(&self, uid: Uid) -> Option<&Arc<Stored>> {
        self.uids.get(&uid).map(|i| &i.0)
    }

    pub(super) fn dependents(&self, uid: Uid) -> Vec<Arc<Stored>> {
        let owned = self.owned.range((uid, Uid::FIRST)..=(uid, Uid::LAST));
        owned.filter_map(|(_, uid)| self.by_uid(*uid).cloned()).collect()
    }

    pub(super) fn some_dependents(&self, owner: Uid, after: Option<Uid>, count: usize) -> Vec<Arc<Stored>> {
        let begin = after.map_or(Bound::Included((owner, Uid::FIRST)), |after| {
            Bound::Excluded((owner, after))
        });
        let pairs = self.owned.range((begin, Bound::Included((owner, Uid::LAST))));
        let found = pairs.filter_map(|(_, uid)| self.by_uid(*uid).cloned());
        found.take(count).collect()
    }

    pub(super) fn absent_owners(&self) -> BTreeSet<Uid> {
        let owners = self.owned.iter().map(|(owner, _)| *owner);
        owners.filter(|owner| self.by_uid(*owner).is_none()).collect()
    }

    pub(super) fn in_namespace(&self, namespace: &str) -> Vec<Arc<Stored>> {
        let all = self.resources.values().filter_map(|r| r.objects.get(namespace));
        all.flat_map(Objects::all).collect()
    }

    pub(super) fn count_in_namespace(&self, namespace: &str) -> usize {
        let all = self.resources.values().filter_map(|r| r.objects.get(namespace));
        all.map(|objects| objects.named.len()).sum()
    }

    pub(super) fn counts(&self) -> Vec<(Arc<str>, usize)> {
        let all = self.resources.iter();
        all.map(|(name, resource)| (Arc::clone(name), resource.count))
            .collect()
    }

    pub(super) fn count(&self, resource: &str) -> usize {
        self.resources.get(resource).map_or(0, |r| r.count)
    }
}
