//! What there is to move, and what of the target it meets.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use serde_json::Value;

use super::{
    MoveError,
    collect::{Namespaces, collect_as_written, everything},
    copy::{Uids, Wanted, is_paused},
    graph::{Choice, Purpose, Scope, choose},
    journal::{Entry, Extent},
    kinds::{Kinds, MovedKind, StayingKind, discover},
    object::Object,
    site::Site,
    tasks::apart,
};

/// What there is to move.
#[derive(Clone)]
pub(super) struct Survey {
    /// The kinds that move.
    pub(super) kinds: Vec<MovedKind>,
    /// The kinds that do not, if they were asked for.
    pub(super) staying: Vec<StayingKind>,
    /// Everything that was read.
    pub(super) objects: Vec<Object>,
    /// What of it moves.
    pub(super) choice: Choice,
    /// What stays in the source, too.
    pub(super) kept: HashSet<usize>,
    /// Whether all namespaces were looked at.
    pub(super) everywhere: bool,
}

/// Where an object is, whatever its UID: kind, namespace, name.
pub(super) type Key = (String, Option<Box<str>>, Box<str>);

/// What a cluster holds; nothing is chosen yet.
#[derive(Clone)]
pub(super) struct Reading {
    kinds: Kinds,
    pub(super) objects: Vec<Object>,
}

impl Reading {
    pub(super) async fn of(site: &Site, extent: &Extent) -> Result<Self, MoveError> {
        let kinds = discover(&site.client).await?;
        let objects = collect_as_written(&site.client, &kinds.moving, &namespaces(extent)).await?;
        Ok(Self { kinds, objects })
    }

    /// Whether a survey has seen the same; `is_same` compares what it has seen with what is there now.
    pub(super) fn is_as(&self, survey: &Survey, is_same: impl Fn(usize, &Object) -> bool) -> bool {
        self.kinds.moving == survey.kinds
            && self.objects.len() == survey.objects.len()
            && self
                .objects
                .iter()
                .enumerate()
                .all(|(index, object)| is_same(index, object))
    }

    /// Where its objects are, by kind and name.
    pub(super) fn places(&self) -> HashMap<Key, usize> {
        let places = self.objects.iter().enumerate();
        places
            .map(|(index, object)| (key(&self.kinds.moving[object.kind], object), index))
            .collect()
    }

    /// Chooses.
    pub(super) async fn survey(self, extent: &Extent) -> Result<Survey, MoveError> {
        let extent = extent.clone();
        let staying = self.kinds.staying;
        let survey =
            apart(move || Survey::new(self.kinds.moving, self.objects, &extent, Purpose::Move)).await?;
        Ok(Survey { staying, ..survey })
    }
}

impl Survey {
    /// Reads a cluster and chooses.
    pub(super) async fn of(site: &Site, extent: &Extent) -> Result<Self, MoveError> {
        Reading::of(site, extent).await?.survey(extent).await
    }

    /// Reads a cluster once more. Where all is as it was, the choice is, too.
    pub(super) async fn again(
        self: &Arc<Self>,
        site: &Site,
        extent: &Extent,
    ) -> Result<Arc<Self>, MoveError> {
        let now = Reading::of(site, extent).await?;
        if now.is_as(self, |index, object| object.is_version_of(&self.objects[index])) {
            return Ok(Arc::clone(self));
        }
        Ok(Arc::new(now.survey(extent).await?))
    }

    /// Chooses from what was read.
    pub(super) fn new(
        kinds: Vec<MovedKind>,
        objects: Vec<Object>,
        extent: &Extent,
        purpose: Purpose,
    ) -> Result<Self, MoveError> {
        let scope = Scope {
            namespaces: namespaces(extent),
            cluster: extent.cluster.clone(),
            purpose,
        };
        let choice = choose(&kinds, &objects, &scope)?;
        let kept = choice.kept.iter().map(|k| k.object).collect();
        Ok(Self {
            kinds,
            staying: Vec::new(),
            objects,
            choice,
            kept,
            everywhere: extent.namespace.is_none(),
        })
    }

    /// What a list says of what moves, for whoever goes on with what another process has copied: it knows no more of the objects than their
    /// names.
    pub(super) fn of_list(kinds: Vec<MovedKind>, entries: &[Entry]) -> Self {
        let of: HashMap<(String, &str), usize> = kinds
            .iter()
            .enumerate()
            .map(|(index, kind)| ((kind.full_name(), &*kind.version), index))
            .collect();
        let known = entries.iter().filter_map(|entry| {
            let kind = of.get(&(entry.kind.clone(), &*entry.version))?;
            let object = Object {
                kind: *kind,
                namespace: entry.namespace.as_deref().map(Into::into),
                name: entry.name.as_str().into(),
                uid: entry.uid.as_str().into(),
                resource_version: Box::default(),
                text: Box::default(),
            };
            Some((object, entry.copied))
        });
        let (objects, copied): (Vec<_>, Vec<_>) = known.unzip();
        let all = (0..objects.len()).collect();
        Self {
            staying: Vec::new(),
            choice: Choice {
                groups: vec![all],
                ..Choice::default()
            },
            kept: (0..objects.len()).filter(|&index| copied[index]).collect(),
            everywhere: false,
            objects,
            kinds,
        }
    }

    /// The objects that move, owners first.
    pub(super) fn moved(&self) -> impl Iterator<Item = usize> + '_ {
        self.choice.groups.iter().flatten().copied()
    }

    /// How many objects move.
    pub(super) fn count(&self) -> usize {
        self.choice.groups.iter().map(Vec::len).sum()
    }

    pub(super) fn kind(&self, index: usize) -> &MovedKind {
        &self.kinds[self.objects[index].kind]
    }

    pub(super) fn name(&self, index: usize) -> String {
        self.objects[index].key(&self.kinds)
    }

    /// Parses an object.
    pub(super) fn value(&self, index: usize) -> Result<Value, MoveError> {
        let read = self.objects[index].value();
        read.map_err(|e| MoveError::unreadable(self.name(index), e))
    }

    pub(super) fn key(&self, index: usize) -> Key {
        key(self.kind(index), &self.objects[index])
    }

    /// What should stand in the target. `uids` knows the owners; `paused` says that controllers of other software are to stay away.
    pub(super) fn wanted(&self, index: usize, uids: &Uids, paused: bool) -> Result<Wanted, MoveError> {
        let object = self.value(index)?;
        Ok(Wanted::new(self.kind(index), object, uids, paused))
    }

    /// Whether controllers of somebody else act on an object.
    pub(super) fn is_foreign(&self, index: usize) -> bool {
        let kind = self.kind(index);
        !kind.own && !kind.group.is_empty()
    }

    /// What moves, for the journal. What is foreign and not paused by its owner is paused for the time of the move; what `before` says of
    /// that holds, since the source bears the pause by now.
    pub(super) fn entries(&self, before: &[Entry]) -> Result<Vec<Entry>, MoveError> {
        let paused: HashSet<&str> = before
            .iter()
            .filter(|e| e.paused)
            .map(|e| e.uid.as_str())
            .collect();
        let is_to_pause = |index: usize| {
            let foreign = self.is_foreign(index) && !self.kept.contains(&index);
            let before = paused.contains(&*self.objects[index].uid);
            Ok::<_, MoveError>(foreign && (before || !is_paused(&self.value(index)?)))
        };
        let entry = |(level, index): (usize, usize)| {
            let (kind, object) = (self.kind(index), &self.objects[index]);
            Ok(Entry {
                kind: kind.full_name(),
                version: kind.version.clone(),
                namespace: object.namespace.as_deref().map(ToOwned::to_owned),
                name: object.name.to_string(),
                uid: object.uid.to_string(),
                copied: self.kept.contains(&index),
                paused: is_to_pause(index)?,
                compared: None,
                level,
            })
        };
        let levels = self.choice.groups.iter().enumerate();
        let all = levels.flat_map(|(level, group)| group.iter().map(move |&index| (level, index)));
        all.map(entry).collect()
    }

    /// How many objects of each kind move.
    pub(super) fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for index in self.moved() {
            *counts.entry(self.kind(index).full_name()).or_default() += 1;
        }
        counts
    }

    /// The namespaces of what moves.
    pub(super) fn namespaces(&self) -> Vec<String> {
        let mut all: Vec<String> = self
            .moved()
            .filter_map(|i| self.objects[i].namespace.as_deref().map(ToOwned::to_owned))
            .collect();
        all.sort();
        all.dedup();
        all
    }
}

/// Where to look.
pub(super) fn namespaces(extent: &Extent) -> Namespaces {
    extent.namespace.clone().map_or(Namespaces::All, Namespaces::One)
}

/// Where an object is, whatever its UID.
pub(super) fn key(kind: &MovedKind, object: &Object) -> Key {
    (kind.full_name(), object.namespace.clone(), object.name.clone())
}

/// What is in a cluster, by where it is: texts, not trees.
#[derive(Default)]
pub(super) struct There {
    objects: HashMap<Key, Box<str>>,
}

impl There {
    /// Reads the kinds of a survey in its namespaces, and keeps what bears a name that moves.
    pub(super) async fn of(site: &Site, survey: &Survey, extent: &Extent) -> Result<Self, MoveError> {
        let wanted: HashSet<Key> = survey.moved().map(|i| survey.key(i)).collect();
        let used: HashSet<usize> = survey.moved().map(|i| survey.objects[i].kind).collect();
        let mut kinds = survey.kinds.clone();
        let mut index = 0;
        kinds.retain(|_| {
            index += 1;
            used.contains(&(index - 1))
        });
        let found = everything(&site.client, &kinds, &namespaces(extent)).await?;
        let objects = found.into_iter().filter_map(|object| {
            let key = key(&kinds[object.kind], &object);
            wanted.contains(&key).then_some((key, object.text))
        });
        Ok(Self {
            objects: objects.collect(),
        })
    }

    pub(super) fn get(&self, key: &Key) -> Option<Value> {
        serde_json::from_str(self.objects.get(key)?).ok()
    }

    /// Notes how an object stands there by now.
    pub(super) fn put(&mut self, key: Key, object: &Value) {
        self.objects.insert(key, object.to_string().into());
    }

    pub(super) fn take(&mut self, key: &Key) -> Option<Box<str>> {
        self.objects.remove(key)
    }
}
