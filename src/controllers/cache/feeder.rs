//! Fills a cache from a watch, and says what has changed.

use std::{collections::BTreeMap, fmt::Debug, hash::Hash, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use kube::{
    Resource, ResourceExt,
    runtime::watcher::{self, Event},
};
use tokio::{sync::watch, time::MissedTickBehavior};

use super::{Cache, Indexed, Keeper, Kept, Packed, name_of};
use crate::controllers::backlog::Name;

/// An object to which nothing has happened for one to two of these is quiet: soon enough that of a fleet that comes up most is text.
const QUIET: Duration = Duration::from_secs(5);

/// What is called with each object that came, changed or went.
pub(crate) type Sink<K> = Box<dyn Fn(&K) + Send + Sync>;

/// Fills a cache from a watch.
pub(crate) struct Feeder<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    pub(super) cache: Cache<K>,
    pub(super) keeper: Keeper,
    /// Objects of a list that is not complete yet.
    pub(super) initial: Option<BTreeMap<Name, Kept<K>>>,
    pub(super) complete: watch::Sender<bool>,
}

impl<K> Feeder<K>
where
    K: Resource + Clone + Indexed + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    /// Takes in events until the stream ends. `broken` is called with each error of the watch, which goes on by itself.
    pub(crate) async fn run(
        mut self,
        events: impl Stream<Item = Result<Event<K>, watcher::Error>>,
        sink: Sink<K>,
        broken: impl Fn(&watcher::Error),
    ) {
        let mut events = std::pin::pin!(events);
        let mut quiet = tokio::time::interval(QUIET);
        quiet.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                _ = quiet.tick(), if K::PACKED == Packed::WhenQuiet => {
                    self.cool();
                    continue;
                }
            };
            match event {
                Some(Ok(event)) => {
                    for object in self.take(event) {
                        sink(&object);
                    }
                }
                Some(Err(error)) => broken(&error),
                None => return,
            }
        }
    }

    /// Packs what is quiet. Nobody waits for that: nobody else writes, so what was quiet still is.
    pub(super) fn cool(&mut self) {
        let quiet = self.cache.write().cool();
        let packed = quiet
            .iter()
            .map(|(name, object)| (Arc::clone(name), self.keeper.pack(object)));
        let packed: Vec<_> = packed.collect();
        self.cache.write().by_name.extend(packed);
    }

    /// Takes in one event; returns the objects that are new, different or gone.
    pub(super) fn take(&mut self, event: Event<K>) -> Vec<Arc<K>> {
        match event {
            Event::Apply(object) => {
                let object = Arc::new(trimmed(object));
                if !object.keep() {
                    return vec![object];
                }
                let kept = self.keeper.keep(&object);
                let old = self.cache.write().put(&name_of(&*object), &object, kept);
                if old.is_some_and(|old| object.says_the_same(&old)) {
                    return Vec::new();
                }
                vec![object]
            }
            Event::Delete(object) => {
                let object = Arc::new(trimmed(object));
                self.cache.write().remove(&name_of(&*object));
                vec![object]
            }
            Event::Init => {
                self.initial = Some(BTreeMap::new());
                Vec::new()
            }
            Event::InitApply(object) => {
                let object = Arc::new(trimmed(object));
                self.initial
                    .get_or_insert_default()
                    .insert(name_of(&*object), self.keeper.keep(&object));
                Vec::new()
            }
            Event::InitDone => self.complete(),
        }
    }

    /// A list is complete: what is in it is all there is.
    fn complete(&mut self) -> Vec<Arc<K>> {
        let new = self.initial.take().unwrap_or_default();
        let mut changed: Vec<Arc<K>> = Vec::new();
        {
            let mut objects = self.cache.write();
            let old = std::mem::take(&mut *objects);
            for (name, kept) in &old.by_name {
                if !new.contains_key(name) {
                    changed.extend(kept.get());
                }
            }
            for (name, kept) in new {
                let Some(object) = kept.get() else { continue };
                if object.keep() {
                    objects.put(&name, &object, kept);
                }
                let known = old.by_name.get(&name).and_then(Kept::get);
                if known.is_none_or(|known| known.resource_version() != object.resource_version()) {
                    changed.push(object);
                }
            }
        }
        self.complete.send_replace(true);
        changed
    }
}

fn trimmed<K: Resource + Indexed>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    if let Some(annotations) = &mut object.meta_mut().annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    object.trim();
    object
}
