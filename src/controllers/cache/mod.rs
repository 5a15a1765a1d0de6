//! Objects that are watched: kept once for all controllers, found by name and by terms (owner, provider id, cluster). It writes nothing.

mod feeder;
mod guarded;
mod indexed;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Debug,
    hash::Hash,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use kube::{Resource, runtime::reflector::ObjectRef};
use tokio::sync::watch;

use self::indexed::Packed;
pub(crate) use self::{
    feeder::{Feeder, Sink},
    guarded::{Guarded, readable},
    indexed::{Indexed, term},
};
use super::backlog::Name;
use crate::pack::{Model, Packer};

/// Room for the text of most objects.
const TEXT: usize = 2048;

/// Puts namespace (empty if there is none) and name of an object in one text. The separator sorts before all letters of names, so that
/// names have the order of the pairs.
pub(crate) fn name_in(namespace: Option<&str>, name: &str) -> Name {
    let namespace = namespace.unwrap_or_default();
    let mut text = String::with_capacity(namespace.len() + 1 + name.len());
    text.push_str(namespace);
    text.push('\0');
    text.push_str(name);
    text.into()
}

/// Namespace, if there is one, and name.
pub(crate) fn parts_of(name: &Name) -> (Option<&str>, &str) {
    let (namespace, name) = name.split_once('\0').unwrap_or(("", name));
    (Some(namespace).filter(|n| !n.is_empty()), name)
}

fn name_of<K: Resource>(object: &K) -> Name {
    let meta = object.meta();
    name_in(
        meta.namespace.as_deref(),
        meta.name.as_deref().unwrap_or_default(),
    )
}

/// Names of objects that have a term in common. Most terms are of one object alone: those take no more room than its name.
#[derive(Debug)]
enum Names {
    One(Name),
    Many(BTreeSet<Name>),
}

impl Names {
    fn insert(&mut self, name: &Name) {
        match self {
            Self::One(other) if other == name => {}
            Self::One(other) => *self = Self::Many([Arc::clone(other), Arc::clone(name)].into()),
            Self::Many(all) => {
                all.insert(Arc::clone(name));
            }
        }
    }

    /// Returns whether nothing is left.
    fn remove(&mut self, name: &str) -> bool {
        match self {
            Self::One(other) => &**other == name,
            Self::Many(all) => {
                all.remove(name);
                all.is_empty()
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(all) => all.len(),
        }
    }

    fn to_vec(&self) -> Vec<Name> {
        match self {
            Self::One(name) => vec![Arc::clone(name)],
            Self::Many(all) => all.iter().cloned().collect(),
        }
    }
}

/// An object as it is kept.
enum Kept<K> {
    Whole(Arc<K>),
    /// Nothing has happened to it since [`Objects::cool`] was called last.
    Quiet(Arc<K>),
    /// Its text.
    Text(Box<[u8]>),
    /// Its text as what it differs in from another.
    Packed(Arc<Model>, Box<[u8]>),
}

impl<K: Indexed> Kept<K> {
    fn get(&self) -> Option<Arc<K>> {
        let read = |text: &[u8]| K::read(std::str::from_utf8(text).ok()?).map(Arc::new);
        match self {
            Self::Whole(object) | Self::Quiet(object) => Some(Arc::clone(object)),
            Self::Text(text) => read(text),
            Self::Packed(model, packed) => {
                let mut text = Vec::with_capacity(TEXT);
                model.unpack(packed, &mut text)?;
                read(&text)
            }
        }
    }
}

/// Brings objects of a kind into the form in which they are kept.
struct Keeper {
    kind: Arc<str>,
    /// Made when it is needed first: it takes some room itself.
    packer: Option<Packer>,
}

impl Keeper {
    fn new(kind: &str) -> Self {
        Self {
            kind: kind.into(),
            packer: None,
        }
    }

    fn keep<K: Indexed>(&mut self, object: &Arc<K>) -> Kept<K> {
        match K::PACKED {
            Packed::AtOnce => self.pack(object),
            Packed::Never | Packed::WhenQuiet => Kept::Whole(Arc::clone(object)),
        }
    }

    fn pack<K: Indexed>(&mut self, object: &Arc<K>) -> Kept<K> {
        let Some(text) = object.text() else {
            // What has come as a text can be written as one.
            return Kept::Whole(Arc::clone(object));
        };
        let packer = self.packer.get_or_insert_with(Packer::new);
        match packer.pack(&self.kind, &text) {
            Some((model, steps)) => Kept::Packed(model, steps),
            None => Kept::Text(text.into_boxed_slice()),
        }
    }
}

/// Objects by name, and their names by term. What terms an object has is not kept: the object tells.
struct Objects<K> {
    by_name: BTreeMap<Name, Kept<K>>,
    by_term: HashMap<Box<str>, Names>,
}

impl<K> Default for Objects<K> {
    fn default() -> Self {
        Self {
            by_name: BTreeMap::new(),
            by_term: HashMap::new(),
        }
    }
}

impl<K: Indexed> Objects<K> {
    /// Takes an object in and returns what it replaces.
    fn put(&mut self, name: &Name, object: &Arc<K>, kept: Kept<K>) -> Option<Arc<K>> {
        let old = self
            .by_name
            .insert(Arc::clone(name), kept)
            .and_then(|kept| kept.get());
        let terms = object.terms();
        if let Some(old) = &old {
            let gone = old.terms();
            self.forget(name, gone.iter().filter(|t| !terms.contains(t)));
        }
        for term in terms {
            match self.by_term.get_mut(term.as_str()) {
                Some(names) => names.insert(name),
                None => {
                    self.by_term.insert(term.into(), Names::One(Arc::clone(name)));
                }
            }
        }
        old
    }

    fn remove(&mut self, name: &str) {
        if let Some(old) = self.by_name.remove(name).and_then(|kept| kept.get()) {
            self.forget(name, old.terms().iter());
        }
    }

    fn forget<'a>(&mut self, name: &str, terms: impl Iterator<Item = &'a String>) {
        for term in terms {
            if self
                .by_term
                .get_mut(term.as_str())
                .is_some_and(|names| names.remove(name))
            {
                self.by_term.remove(term.as_str());
            }
        }
    }

    fn get(&self, name: &str) -> Option<Arc<K>> {
        self.by_name.get(name)?.get()
    }

    /// Returns what nothing has happened to since the last call: it can be packed.
    fn cool(&mut self) -> Vec<(Name, Arc<K>)> {
        let mut quiet = Vec::new();
        for (name, kept) in &mut self.by_name {
            match kept {
                Kept::Whole(object) => *kept = Kept::Quiet(Arc::clone(object)),
                Kept::Quiet(object) => quiet.push((Arc::clone(name), Arc::clone(object))),
                Kept::Text(_) | Kept::Packed(..) => {}
            }
        }
        quiet
    }
}

/// All objects of a kind, as they were last seen.
pub(crate) struct Cache<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    pub(super) kind: K::DynamicType,
    objects: Arc<RwLock<Objects<K>>>,
    /// Whether the first list is there.
    ready: watch::Receiver<bool>,
}

impl<K> Clone for Cache<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    fn clone(&self) -> Self {
        Self {
            kind: self.kind.clone(),
            objects: Arc::clone(&self.objects),
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
        let (complete, ready) = watch::channel(false);
        let cache = Self {
            kind,
            objects: Arc::default(),
            ready,
        };
        let feeder = Feeder {
            keeper: Keeper::new(&K::kind(&cache.kind)),
            cache: cache.clone(),
            initial: None,
            complete,
        };
        (cache, feeder)
    }

    /// Waits until the first list is there.
    pub(crate) async fn ready(&self) {
        // A dropped feeder means that the controllers stop: nothing to wait for.
        drop(self.ready.clone().wait_for(|ready| *ready).await);
    }

    /// Whether the first list is there.
    pub(crate) fn is_ready(&self) -> bool {
        *self.ready.borrow()
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
        self.read().get(&name_in(namespace, name))
    }

    /// Finds an object by what [`Cache::after`] and [`name_in`] call it.
    pub(crate) fn at(&self, name: &Name) -> Option<Arc<K>> {
        self.read().get(name)
    }

    /// Finds objects by a term, in the order of their names.
    pub(crate) fn find(&self, term: &str) -> Vec<Arc<K>> {
        let objects = self.read();
        let names = objects.by_term.get(term).map(Names::to_vec).unwrap_or_default();
        names.iter().filter_map(|name| objects.get(name)).collect()
    }

    /// Names of the objects that a term finds, in their order, at little cost.
    pub(crate) fn names(&self, term: &str) -> Vec<Name> {
        let objects = self.read();
        objects.by_term.get(term).map(Names::to_vec).unwrap_or_default()
    }

    /// Whether there is an object of this name.
    pub(crate) fn contains(&self, namespace: Option<&str>, name: &str) -> bool {
        self.read().by_name.contains_key(&name_in(namespace, name))
    }

    /// How many objects a term finds, at no cost.
    pub(crate) fn count(&self, term: &str) -> usize {
        self.read().by_term.get(term).map_or(0, Names::len)
    }

    /// Returns all objects, in the order of their names.
    pub(crate) fn all(&self) -> Vec<Arc<K>> {
        self.read().by_name.values().filter_map(Kept::get).collect()
    }

    /// How many objects there are.
    pub(crate) fn len(&self) -> usize {
        self.read().by_name.len()
    }

    /// Names of up to `count` objects that come after `last`, in their order; from the beginning without it.
    pub(crate) fn after(&self, last: Option<&Name>, count: usize) -> Vec<Name> {
        let begin = last.map_or(Bound::Unbounded, |last| Bound::Excluded(Arc::clone(last)));
        let objects = self.read();
        let rest = objects.by_name.range((begin, Bound::Unbounded));
        rest.take(count).map(|(name, _)| Arc::clone(name)).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Objects<K>> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Objects<K>> {
        self.objects.write().unwrap_or_else(PoisonError::into_inner)
    }
}
