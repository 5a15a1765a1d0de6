//! Brings objects into the target. Each step may be done twice.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use http::Method;
use kube::core::Status;
use serde_json::Value;

use super::{
    MoveError,
    check::is_shared,
    copy::{How, Seen, Step, Uids, Wanted, first_difference, next},
    journal::Entry,
    kinds::{MovedKind, discover},
    object::Object,
    site::{Sent, Site, address, encoded},
    survey::{Survey, There},
    tasks,
    verify::read_by_name,
};
use crate::{story::Story, time::Timestamp};

/// An object is written this often at most until it stands as it should.
const WRITES: usize = 8;

/// Is asked between two objects whether to go on.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks for the end.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Fails if somebody has asked for the end.
    pub(super) fn check(&self) -> Result<(), MoveError> {
        if self.0.load(Ordering::Relaxed) {
            return Err(MoveError::Interrupted);
        }
        Ok(())
    }
}

/// What of an object is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// All of it.
    Whole,
    /// Everything but its status, and who owns which field.
    Body,
    /// What [`Part::Body`] leaves out.
    Rest,
}

/// What is paused for the time of a move.
pub(super) struct Paused<'a> {
    /// What moves; some of it is paused.
    pub(super) entries: &'a [Entry],
    /// The resource versions that this has brought, by UID in the source.
    pub(super) versions: HashMap<String, String>,
}

/// Writes objects into the target.
pub(super) struct Writer {
    pub(super) target: Site,
    pub(super) survey: Arc<Survey>,
    /// UIDs of the target by those of the source; grows.
    uids: RwLock<Uids>,
    /// What stood in the target when the writing began.
    there: Mutex<There>,
    /// Everything that moves, by UID in the source.
    by_uid: HashMap<Box<str>, usize>,
    /// Objects without their status, which speaks of others that were not there yet, as they stand in the target.
    open: Mutex<Vec<(usize, Box<str>)>>,
    /// Objects that are paused for the time of the move, by UID in the source.
    pub(super) paused: HashSet<String>,
    /// The resource versions that the pauses have brought, by UID in the source.
    versions: HashMap<String, String>,
    /// Objects of the target that are older are not this move's.
    since: Timestamp,
    stop: Stop,
    done: AtomicUsize,
}

impl Writer {
    /// Writes what is surveyed; `there` stands in the target already.
    pub(super) fn new(
        target: &Site,
        survey: &Arc<Survey>,
        paused: Paused<'_>,
        there: There,
        since: Timestamp,
        stop: &Stop,
    ) -> Arc<Self> {
        let by_uid = survey.moved().map(|i| (survey.objects[i].uid.clone(), i));
        let entries = paused.entries.iter().filter(|e| e.paused);
        Arc::new(Self {
            target: target.clone(),
            survey: Arc::clone(survey),
            uids: RwLock::default(),
            there: Mutex::new(there),
            by_uid: by_uid.collect(),
            open: Mutex::default(),
            paused: entries.map(|e| e.uid.clone()).collect(),
            versions: paused.versions,
            since,
            stop: stop.clone(),
            done: AtomicUsize::new(0),
        })
    }

    /// Goes on with what another process has copied, of which `entries` is the list.
    pub(super) async fn resumed(
        source: &Site,
        target: &Site,
        entries: &[Entry],
        since: Timestamp,
        stop: &Stop,
    ) -> Result<Arc<Self>, MoveError> {
        let all: Vec<&Entry> = entries.iter().collect();
        let (kinds, there) = tokio::try_join!(
            async { Ok(discover(&source.client).await?) },
            read_by_name(target, &all)
        )?;
        let survey = Arc::new(Survey::of_list(kinds.moving, entries));
        let paused = Paused {
            entries,
            versions: HashMap::new(),
        };
        let writer = Self::new(target, &survey, paused, There::default(), since, stop);
        let uids = there.into_iter().filter_map(|(entry, object)| {
            let uid = object["metadata"]["uid"].as_str()?;
            Some((entry.uid.as_str().into(), uid.to_owned()))
        });
        *writer.uids.write().unwrap_or_else(PoisonError::into_inner) = uids.collect();
        Ok(writer)
    }

    /// Which object of the survey has a UID in the source, if it moves.
    pub(super) fn find(&self, uid: &str) -> Option<usize> {
        self.by_uid.get(uid).copied()
    }

    /// Copies everything, owners first. Objects that don't own one another are written side by side. Statuses that speak of objects which come
    /// later are written in the end, when all UIDs are known.
    pub(super) async fn copy_all(self: &Arc<Self>, story: &dyn Story) -> Result<(), MoveError> {
        let total = self.survey.count();
        for group in &self.survey.choice.groups {
            let work = |index| {
                let writer = Arc::clone(self);
                async move { writer.copy(index).await }
            };
            tasks::each(group.iter().copied(), work, |()| {
                let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
                if done.is_multiple_of(50) || done == total {
                    story.detail(&format!("{done} of {total} objects"));
                }
                Ok(())
            })
            .await?;
        }
        let open = std::mem::take(&mut *lock(&self.open));
        let work = |(index, there): (usize, Box<str>)| {
            let writer = Arc::clone(self);
            async move { writer.complete(index, &there).await }
        };
        tasks::each(open, work, Ok).await
    }

    async fn copy(&self, index: usize) -> Result<(), MoveError> {
        self.stop.check()?;
        let wanted = self.wanted(index, None)?;
        let there = lock(&self.there).take(&self.survey.key(index));
        let there = there.and_then(|text| serde_json::from_str(&text).ok());
        if !wanted.speaks_of(|uid| self.find(uid).is_some()) {
            return self.bring(index, &wanted, there).await.map(|_| ());
        }
        let made = self
            .put(index, &wanted.without_status(), there, Part::Body)
            .await?;
        lock(&self.open).push((index, made.to_string().into()));
        Ok(())
    }

    /// Writes what is still missing of an object whose body stands there.
    async fn complete(&self, index: usize, there: &str) -> Result<(), MoveError> {
        self.stop.check()?;
        let there = serde_json::from_str(there);
        let there = there.map_err(|e| MoveError::unreadable(self.survey.name(index), e))?;
        let wanted = self.wanted(index, None)?;
        self.put(index, &wanted, Some(there), Part::Rest)
            .await
            .map(|_| ())
    }

    /// What should stand in the target, of the object as it was surveyed or as it is in the source by now.
    pub(super) fn wanted(&self, index: usize, now: Option<Value>) -> Result<Wanted, MoveError> {
        // It is parsed before the lock is taken: others wait for that.
        let object = now.map_or_else(|| self.survey.value(index), Ok)?;
        let paused = self.paused.contains(&*self.survey.objects[index].uid);
        let uids = self.uids.read().unwrap_or_else(PoisonError::into_inner);
        Ok(Wanted::new(self.survey.kind(index), object, &uids, paused))
    }

    /// Whether an object of the source is the one that was surveyed, but for a pause of the move itself.
    pub(super) fn is_surveyed(&self, index: usize, now: &Object) -> bool {
        let before = &self.survey.objects[index];
        let paused = || self.versions.get(&*before.uid);
        now.is_version_of(before)
            || (now.uid == before.uid && paused().is_some_and(|version| **version == *now.resource_version))
    }

    /// Writes an object until it stands in the target as it should.
    pub(super) async fn bring(
        &self,
        index: usize,
        wanted: &Wanted,
        there: Option<Value>,
    ) -> Result<Value, MoveError> {
        self.put(index, wanted, there, Part::Whole).await
    }

    /// Writes a part of an object; returns how it stands in the target then.
    async fn put(
        &self,
        index: usize,
        wanted: &Wanted,
        mut there: Option<Value>,
        part: Part,
    ) -> Result<Value, MoveError> {
        let (kind, object) = (self.survey.kind(index), &self.survey.objects[index]);
        let failed = |e| {
            MoveError::api(
                format!("can't write {} in the target", self.survey.name(index)),
                e,
            )
        };
        let (mut written, mut owned) = (part == Part::Rest, part == Part::Body);
        let mut stands = false;
        for _ in 0..WRITES {
            if let Some(found) = &there {
                self.judge(index, found)?;
                if is_shared(&self.survey, index) && self.is_older(found) {
                    break;
                }
            }
            let seen = there.as_ref().map(|object| Seen {
                object,
                written,
                owned,
            });
            let Some(step) = next(wanted, seen) else {
                stands = true;
                break;
            };
            let owners = matches!(step, Step::Owners { .. });
            match self.write(kind, object, step).await {
                Ok(found) => {
                    there = Some(found);
                    written = true;
                    owned |= owners;
                }
                // It was written meanwhile, or is gone: look at it. A request that was sent twice gets here, too.
                Err(kube::Error::Api(status)) if is_stale(&status) => {
                    there = self.target.read(kind, object).await.map_err(failed)?;
                }
                Err(error) => return Err(failed(error)),
            }
        }
        let found = there.unwrap_or_default();
        if !(stands || is_shared(&self.survey, index) && self.is_older(&found))
            && let Some(field) = first_difference(wanted, &found)
        {
            return Err(MoveError::Unstable {
                key: self.survey.name(index),
                field,
            });
        }
        let uid = found["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let mut uids = self.uids.write().unwrap_or_else(PoisonError::into_inner);
        uids.insert(object.uid.clone(), uid);
        drop(uids);
        Ok(found)
    }

    /// Whether an object of the target was there before the move.
    pub(super) fn is_older(&self, found: &Value) -> bool {
        is_older(found, self.since)
    }

    fn judge(&self, index: usize, found: &Value) -> Result<(), MoveError> {
        if self.is_older(found) && !is_shared(&self.survey, index) {
            return Err(MoveError::Taken {
                key: self.survey.name(index),
            });
        }
        Ok(())
    }

    async fn write(&self, kind: &MovedKind, object: &Object, step: Step) -> Result<Value, kube::Error> {
        let at = address(kind, object);
        let list = kind.path(object.namespace.as_deref(), None);
        let (method, address, sent, body) = match step {
            Step::Create { body, manager } => (Method::POST, by(&list, &manager), Sent::Whole, body),
            Step::Replace { body, manager } => (Method::PUT, by(&at, &manager), Sent::Whole, body),
            Step::Status { body, manager, how } => {
                let address = by(&format!("{at}/status"), &manager);
                match how {
                    How::Apply => (Method::PATCH, format!("{address}&force=true"), Sent::Apply, body),
                    How::Merge => (Method::PATCH, address, Sent::Merge, body),
                    How::Put => (Method::PUT, address, Sent::Whole, body),
                }
            }
            Step::Owners { patch } => (Method::PATCH, at, Sent::Merge, patch),
        };
        self.target.send(method, &address, sent, Some(&body)).await
    }
}

fn by(path: &str, manager: &str) -> String {
    format!("{path}?fieldManager={}", encoded(manager))
}

/// Whether an object was there before a moment, by the clock of its own API server.
pub(super) fn is_older(found: &Value, since: Timestamp) -> bool {
    let created = found["metadata"]["creationTimestamp"].as_str();
    let created: Option<Timestamp> = created.and_then(|c| c.parse().ok());
    created.is_some_and(|created| created < since)
}

/// Whether an answer says that the object is not as it was thought to be.
fn is_stale(status: &Status) -> bool {
    matches!(status.code, 404 | 409) && !status.message.contains("namespaces")
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
