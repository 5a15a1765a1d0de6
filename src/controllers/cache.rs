//! Objects that are watched: kept once for all controllers, found by name and by terms (owner, provider id, cluster). It writes nothing.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Debug,
    hash::Hash,
    sync::{Arc, PoisonError, RwLock},
};

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::{
    Resource, ResourceExt,
    api::{DynamicObject, PartialObjectMeta},
    core::DeserializeGuard,
    runtime::{
        reflector::{ObjectRef, Store, store::Writer},
        watcher::{self, Event},
    },
};

use tokio::sync::watch;

use crate::api::{
    MACHINE_GROUP,
    v1alpha1::{Cluster, Config, DockerInfrastructureProvider, InfrastructureProvider, Machine},
};

/// What an object can be found by, besides its name, and what of it need not be kept.
pub(crate) trait Indexed {
    /// Terms, each as `<what>:<value>`.
    fn terms(&self) -> Vec<String> {
        Vec::new()
    }

    /// Drops what no controller reads.
    fn trim(&mut self) {}

    /// Whether nothing has changed that a controller reads, though it was written.
    fn says_the_same(&self, _old: &Self) -> bool {
        false
    }

    /// Whether it is worth keeping. Its events are passed on in any case.
    fn keep(&self) -> bool {
        true
    }
}

impl Indexed for Machine {
    fn terms(&self) -> Vec<String> {
        let namespace = self.namespace().unwrap_or_default();
        let spec = &self.spec;
        let mut terms = Vec::new();
        terms.extend(spec.cluster_name.iter().map(|c| term::cluster(&namespace, c)));
        terms.extend(spec.provider_id.iter().map(|id| term::provider(id)));
        let name =
            |r: &Option<k8s_openapi::api::core::v1::ObjectReference>| r.as_ref().and_then(|r| r.name.clone());
        terms.extend(name(&spec.config_ref).map(|c| term::config(&namespace, &c)));
        if let Some(reference) = &spec.infrastructure_ref {
            let (kind, name) = (reference.kind.as_deref(), reference.name.as_deref());
            terms.push(term::infrastructure(
                kind.unwrap_or_default(),
                &namespace,
                name.unwrap_or_default(),
            ));
        }
        let data = spec.bootstrap.as_ref().and_then(|b| b.data_secret_name.as_ref());
        terms.extend(data.map(|secret| term::data_secret(&namespace, secret)));
        terms
    }
}

impl Indexed for Cluster {}
impl Indexed for Config {}
impl Indexed for InfrastructureProvider {}
impl Indexed for DockerInfrastructureProvider {}

impl Indexed for DynamicObject {
    fn terms(&self) -> Vec<String> {
        let Some(id) = self.data.pointer("/spec/providerID").and_then(|id| id.as_str()) else {
            return Vec::new();
        };
        let tail = id.rsplit('/').next().unwrap_or(id);
        vec![term::provider(id), term::tail(tail)]
    }
}

impl Indexed for Node {
    fn terms(&self) -> Vec<String> {
        let id = self.spec.as_ref().and_then(|s| s.provider_id.as_deref());
        id.filter(|id| !id.is_empty())
            .map(term::provider)
            .into_iter()
            .collect()
    }

    fn trim(&mut self) {
        if let Some(status) = &mut self.status {
            status.images = None;
            status.volumes_in_use = None;
            status.volumes_attached = None;
            for condition in status.conditions.iter_mut().flatten() {
                condition.last_heartbeat_time = None;
            }
        }
    }

    fn says_the_same(&self, old: &Self) -> bool {
        // A heartbeat changes the resource version and nothing else that is kept.
        let mut new = self.clone();
        new.metadata
            .resource_version
            .clone_from(&old.metadata.resource_version);
        new == *old
    }
}

impl Indexed for PartialObjectMeta<Secret> {
    fn terms(&self) -> Vec<String> {
        self.owner_references()
            .iter()
            .map(|o| term::owner(&o.uid))
            .collect()
    }

    fn trim(&mut self) {
        if let Some(annotations) = &mut self.metadata.annotations {
            annotations.retain(|key, _| key.starts_with(MACHINE_GROUP));
        }
    }

    fn keep(&self) -> bool {
        self.owner_references()
            .iter()
            .any(|o| o.api_version.starts_with(MACHINE_GROUP))
    }
}

/// The terms, so that writer and reader spell them the same.
pub(crate) mod term {
    /// Everything of a Cluster.
    pub(crate) fn cluster(namespace: &str, name: &str) -> String {
        format!("cluster:{namespace}/{name}")
    }
    /// Everything with this provider id.
    pub(crate) fn provider(id: &str) -> String {
        format!("provider:{id}")
    }
    /// Infrastructure whose provider id ends with this; for containers that is the Node's name.
    pub(crate) fn tail(name: &str) -> String {
        format!("tail:{name}")
    }
    /// Everything made from a Config.
    pub(crate) fn config(namespace: &str, name: &str) -> String {
        format!("config:{namespace}/{name}")
    }
    /// Everything that becomes a host by an infrastructure object.
    pub(crate) fn infrastructure(kind: &str, namespace: &str, name: &str) -> String {
        format!("infrastructure:{kind}/{namespace}/{name}")
    }
    /// Everything whose bootstrap data stands in a Secret of somebody else.
    pub(crate) fn data_secret(namespace: &str, name: &str) -> String {
        format!("data-secret:{namespace}/{name}")
    }
    /// Everything owned by the object with this UID.
    pub(crate) fn owner(uid: &str) -> String {
        format!("owner:{uid}")
    }
}

type Name = (Option<String>, String);

#[derive(Debug, Default)]
struct Index {
    by_term: HashMap<String, BTreeSet<Name>>,
    by_name: HashMap<Name, Vec<String>>,
}

impl Index {
    fn put(&mut self, name: Name, terms: Vec<String>) {
        self.remove(&name);
        for term in &terms {
            self.by_term.entry(term.clone()).or_default().insert(name.clone());
        }
        if !terms.is_empty() {
            self.by_name.insert(name, terms);
        }
    }

    fn remove(&mut self, name: &Name) {
        for term in self.by_name.remove(name).unwrap_or_default() {
            if let Some(names) = self.by_term.get_mut(&term) {
                names.remove(name);
                if names.is_empty() {
                    self.by_term.remove(&term);
                }
            }
        }
    }
}

/// All objects of a kind, as they were last seen.
pub(crate) struct Cache<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    store: Store<K>,
    pub(super) kind: K::DynamicType,
    index: Arc<RwLock<Index>>,
    /// Whether the first list is there. The store's own signal wakes one waiter only.
    ready: watch::Receiver<bool>,
}

impl<K> Clone for Cache<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            kind: self.kind.clone(),
            index: Arc::clone(&self.index),
            ready: self.ready.clone(),
        }
    }
}

impl<K> Cache<K>
where
    K: Resource + Clone + Indexed + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    /// Makes an empty cache and the only thing that can fill it.
    pub(crate) fn new(kind: K::DynamicType) -> (Self, Feeder<K>) {
        let writer = Writer::new(kind.clone());
        let (complete, ready) = watch::channel(false);
        let cache = Self {
            store: writer.as_reader(),
            kind,
            index: Arc::default(),
            ready,
        };
        let feeder = Feeder {
            cache: cache.clone(),
            writer,
            initial: None,
            complete,
        };
        (cache, feeder)
    }

    /// Returns the store that kube's machinery reads.
    pub(crate) fn store(&self) -> Store<K> {
        self.store.clone()
    }

    /// Waits until the first list is there.
    pub(crate) async fn ready(&self) {
        // A dropped feeder means that the controllers stop: nothing to wait for.
        drop(self.ready.clone().wait_for(|ready| *ready).await);
    }

    /// Returns what names an object of this kind.
    pub(crate) fn key(&self, namespace: Option<&str>, name: &str) -> ObjectRef<K> {
        let key = ObjectRef::new_with(name, self.kind.clone());
        match namespace {
            Some(namespace) => key.within(namespace),
            None => key,
        }
    }

    /// Finds an object by name.
    pub(crate) fn get(&self, namespace: Option<&str>, name: &str) -> Option<Arc<K>> {
        self.store.get(&self.key(namespace, name))
    }

    /// Finds objects by a term, in the order of their names.
    pub(crate) fn find(&self, term: &str) -> Vec<Arc<K>> {
        let names = {
            let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
            index.by_term.get(term).cloned().unwrap_or_default()
        };
        names
            .iter()
            .filter_map(|(namespace, name)| self.get(namespace.as_deref(), name))
            .collect()
    }

    /// Returns all objects.
    pub(crate) fn all(&self) -> Vec<Arc<K>> {
        self.store.state()
    }
}

/// What is called with each object that came, changed or went.
pub(crate) type Sink<K> = Box<dyn Fn(&K) + Send + Sync>;

/// Fills a cache from a watch.
pub(crate) struct Feeder<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    cache: Cache<K>,
    writer: Writer<K>,
    /// Objects of a list that is not complete yet.
    initial: Option<BTreeMap<Name, K>>,
    complete: watch::Sender<bool>,
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
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    for object in self.take(event) {
                        sink(&object);
                    }
                }
                Err(error) => broken(&error),
            }
        }
    }

    /// Takes in one event; returns the objects that are new, different or gone.
    fn take(&mut self, event: Event<K>) -> Vec<K> {
        match event {
            Event::Apply(object) => {
                let object = trimmed(object);
                if !object.keep() {
                    return vec![object];
                }
                let (namespace, name) = name_of(&object);
                let old = self.cache.get(namespace.as_deref(), &name);
                self.index(|index| index.put((namespace, name), object.terms()));
                self.writer.apply_watcher_event(&Event::Apply(object.clone()));
                if old.is_some_and(|old| object.says_the_same(&old)) {
                    return Vec::new();
                }
                vec![object]
            }
            Event::Delete(object) => {
                let object = trimmed(object);
                self.index(|index| index.remove(&name_of(&object)));
                self.writer.apply_watcher_event(&Event::Delete(object.clone()));
                vec![object]
            }
            Event::Init => {
                self.initial = Some(BTreeMap::new());
                self.writer.apply_watcher_event(&Event::Init);
                Vec::new()
            }
            Event::InitApply(object) => {
                let object = trimmed(object);
                if object.keep() {
                    self.writer.apply_watcher_event(&Event::InitApply(object.clone()));
                }
                self.initial
                    .get_or_insert_default()
                    .insert(name_of(&object), object);
                Vec::new()
            }
            Event::InitDone => self.complete(),
        }
    }

    /// A list is complete: what is in it is all there is.
    fn complete(&mut self) -> Vec<K> {
        let new = self.initial.take().unwrap_or_default();
        let old = self.cache.all();
        self.index(|index| {
            *index = Index::default();
            for (name, object) in new.iter().filter(|(_, o)| o.keep()) {
                index.put(name.clone(), object.terms());
            }
        });
        self.writer.apply_watcher_event(&Event::InitDone);
        self.complete.send_replace(true);
        let mut changed: Vec<K> = Vec::new();
        for object in &old {
            if !new.contains_key(&name_of(&**object)) {
                changed.push((**object).clone());
            }
        }
        let known: HashMap<Name, Option<String>> = old
            .iter()
            .map(|o| (name_of(&**o), o.resource_version()))
            .collect();
        changed.extend(
            new.into_iter()
                .filter(|(name, object)| known.get(name) != Some(&object.resource_version()))
                .map(|(_, object)| object),
        );
        changed
    }

    fn index(&self, change: impl FnOnce(&mut Index)) {
        change(&mut self.cache.index.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Drops objects that can't be read from a guarded watch; says so in the log.
pub(crate) fn readable<K: Resource<DynamicType = ()>>(
    event: Result<Event<DeserializeGuard<K>>, watcher::Error>,
) -> Option<Result<Event<K>, watcher::Error>> {
    let read = |guard: DeserializeGuard<K>| match guard.0 {
        Ok(object) => Some(object),
        Err(invalid) => {
            tracing::warn!(
                kind = %K::kind(&()),
                namespace = invalid.metadata.namespace.as_deref().unwrap_or_default(),
                name = invalid.metadata.name.as_deref().unwrap_or_default(),
                error = %invalid.error,
                "an object can't be read and is left alone until it changes"
            );
            None
        }
    };
    match event {
        Ok(Event::Apply(object)) => read(object).map(|o| Ok(Event::Apply(o))),
        Ok(Event::Delete(object)) => read(object).map(|o| Ok(Event::Delete(o))),
        Ok(Event::Init) => Some(Ok(Event::Init)),
        Ok(Event::InitApply(object)) => read(object).map(|o| Ok(Event::InitApply(o))),
        Ok(Event::InitDone) => Some(Ok(Event::InitDone)),
        Err(error) => Some(Err(error)),
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

fn name_of<K: Resource>(object: &K) -> Name {
    (object.meta().namespace.clone(), object.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1alpha1::MachineSpec;

    fn machine(name: &str, cluster: &str, version: &str) -> Machine {
        let mut machine = Machine::new(
            name,
            MachineSpec {
                cluster_name: Some(cluster.to_owned()),
                ..MachineSpec::default()
            },
        );
        machine.metadata.namespace = Some("n".to_owned());
        machine.metadata.resource_version = Some(version.to_owned());
        machine
    }

    fn names(machines: &[Machine]) -> Vec<String> {
        machines.iter().map(ResourceExt::name_any).collect()
    }

    #[test]
    fn objects_are_found_by_terms_until_they_change_or_go() {
        let (cache, mut feeder) = Cache::<Machine>::new(());
        let of = |c: &str| {
            cache
                .find(&term::cluster("n", c))
                .iter()
                .map(|m| m.name_any())
                .collect::<Vec<_>>()
        };
        feeder.take(Event::Apply(machine("b", "one", "1")));
        feeder.take(Event::Apply(machine("a", "one", "2")));
        assert_eq!(of("one"), ["a", "b"]);
        feeder.take(Event::Apply(machine("a", "two", "3")));
        assert_eq!(
            (of("one"), of("two")),
            (vec!["b".to_owned()], vec!["a".to_owned()])
        );
        feeder.take(Event::Delete(machine("b", "one", "4")));
        assert!(of("one").is_empty());
    }

    #[test]
    fn a_new_list_tells_only_what_is_new_different_or_gone() {
        let (_, mut feeder) = Cache::<Machine>::new(());
        let mut list = |objects: Vec<Machine>| {
            feeder.take(Event::Init);
            for object in objects {
                feeder.take(Event::InitApply(object));
            }
            names(&feeder.take(Event::InitDone))
        };
        assert_eq!(
            list(vec![
                machine("a", "c", "1"),
                machine("b", "c", "2"),
                machine("g", "c", "3")
            ]),
            ["a", "b", "g"]
        );
        assert_eq!(
            list(vec![
                machine("a", "c", "1"),
                machine("b", "c", "7"),
                machine("n", "c", "8")
            ]),
            ["g", "b", "n"]
        );
    }
}
