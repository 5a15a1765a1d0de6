//! The one thread that writes: many requests, one transaction, and answers only when it is on disk.
//! It must not make anything visible that is not.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use redb::Database;
use tokio::sync::oneshot;

use super::file::{Note, create, open as open_file};
use super::format::{self, FORMAT};
use super::state::{EventKind, History, State};
use super::stored::{Draft, Key, Stored};
use super::{Expect, OpenError, WriteError};
use crate::pack::Packer;

/// Requests in one transaction at most: bounds how long the first of them waits.
const BATCH: usize = 512;
/// Nobody has written for this time: there is time to tidy up.
const QUIET: Duration = Duration::from_millis(20);
/// What was written in this time stays as it is: somebody may read it soon, or write it again.
const FRESH: Duration = Duration::from_secs(10);
/// While there is little to tidy up, it waits until there is more.
const TIDY_EVERY: Duration = Duration::from_secs(1);
/// How many objects are packed before somebody who wants to write is asked for again.
const PACKED_AT_ONCE: usize = 64;
/// More objects than this don't stay as they are, and don't wait for a quiet time: few enough that what is written and soon
/// written again goes round in a processor's cache.
const MOST_FRESH: usize = 1 << 10;
/// One write that somebody waits for.
pub(super) struct Request {
    pub(super) key: Key,
    pub(super) expect: Expect,
    pub(super) draft: Draft,
    pub(super) reply: oneshot::Sender<Result<Arc<Stored>, WriteError>>,
}

struct Accepted {
    kind: EventKind,
    stored: Arc<Stored>,
    reply: oneshot::Sender<Result<Arc<Stored>, WriteError>>,
}

pub(super) struct Writer {
    database: Option<Database>,
    note: Note,
    version: u64,
    packer: Packer,
    /// What was written or read from disk of late, the oldest first, and is not packed yet.
    fresh: VecDeque<(Instant, Weak<Stored>)>,
    /// When there will be something to tidy up.
    tidy_at: Option<Instant>,
    /// Whether the last transaction could not be written.
    failing: Arc<AtomicBool>,
}

impl Writer {
    pub(super) fn open(file: &Path, history: History) -> Result<(Self, State), OpenError> {
        if !file.exists() {
            create(file)?;
        }
        let (mut state, mut loaded) = (State::new(0, history), Vec::new());
        let (database, content) = open_file(file, |stored| loaded.push(state.load(stored)))?;
        state.begin(content.version);
        let mut writer = Self::new(Some(database), Note::open(file), &state);
        // Packing them takes longer than reading them, and nobody needs it for the first answer.
        let now = Instant::now();
        writer.fresh = loaded.into_iter().map(|stored| (now, stored)).collect();
        writer.plan(None, now);
        writer.note.write(state.version);
        if content.format < FORMAT {
            writer.migrate(&state).map_err(|source| OpenError::Unreadable {
                file: file.display().to_string(),
                source: source.into(),
            })?;
        }
        Ok((writer, state))
    }

    /// Writes all objects in the newest format, in one transaction: a process that dies here leaves the old one.
    fn migrate(&self, state: &State) -> Result<(), redb::Error> {
        let Some(database) = &self.database else {
            return Ok(());
        };
        let objects = state.all().map(|stored| (&stored.key, Some(&**stored)));
        format::write(database, objects, state.version)
    }

    pub(super) fn in_memory(history: History) -> (Self, State) {
        // Nothing is read back from a store in memory, so there is no need for a database behind it.
        let state = State::new(1, history);
        (Self::new(None, Note::none(), &state), state)
    }

    fn new(database: Option<Database>, note: Note, state: &State) -> Self {
        Self {
            database,
            note,
            version: state.version,
            packer: Packer::new(),
            fresh: VecDeque::new(),
            tidy_at: None,
            failing: Arc::default(),
        }
    }

    /// Returns what tells whether the last transaction could not be written.
    pub(super) fn failing(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.failing)
    }

    /// Serves requests until nobody can send any more.
    pub(super) fn run(mut self, state: &RwLock<State>, requests: &mpsc::Receiver<Request>) {
        loop {
            let first = match self.tidy_at {
                None => requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => requests.recv_timeout(at.saturating_duration_since(Instant::now()).max(QUIET)),
            };
            match first {
                Ok(first) => {
                    let mut batch = vec![first];
                    batch.extend(requests.try_iter().take(BATCH - 1));
                    // As many as come, and some more: what was there at the start gets less, and nobody waits for all of it.
                    let mut rounds = batch.len().div_ceil(PACKED_AT_ONCE) + 1;
                    self.serve(state, batch);
                    while self.fresh.len() > MOST_FRESH && rounds > 0 {
                        self.pack(Instant::now(), Duration::ZERO);
                        rounds -= 1;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.tidy(state, Instant::now()),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Forgets old changes and packs what was not written of late, some of both.
    fn tidy(&mut self, state: &RwLock<State>, now: Instant) {
        self.pack(now, FRESH);
        let oldest = state.write().unwrap_or_else(PoisonError::into_inner).expire(now);
        self.plan(oldest, now);
    }

    /// Decides when to tidy up next. Some changes can be forgotten at `oldest`.
    fn plan(&mut self, oldest: Option<Instant>, now: Instant) {
        let ripe = self.fresh.front().map(|(at, _)| *at + FRESH);
        let next = oldest.into_iter().chain(ripe).min();
        self.tidy_at = next.map(|next| {
            if next <= now {
                now
            } else {
                next.max(now + TIDY_EVERY)
            }
        });
    }

    /// Keeps some of the objects that were not written of late in less room.
    fn pack(&mut self, now: Instant, fresh: Duration) {
        let ripe = self.fresh.iter().take(PACKED_AT_ONCE);
        let ripe = ripe
            .take_while(|(at, _)| now.duration_since(*at) >= fresh)
            .count();
        let mut ripe: Vec<_> = self
            .fresh
            .drain(..ripe)
            .filter_map(|(_, s)| s.upgrade())
            .collect();
        // Those of a kind one after the other: what they have in common is looked up once.
        ripe.sort_by(|a, b| a.key.resource.cmp(&b.key.resource));
        for stored in ripe {
            stored.pack(&mut self.packer);
        }
        if self.fresh.is_empty() {
            self.fresh = VecDeque::new();
        }
    }

    /// Does what can be done of a batch of requests, and answers all.
    pub(super) fn serve(&mut self, state: &RwLock<State>, batch: Vec<Request>) {
        let accepted = self.check(state, batch);
        if accepted.is_empty() {
            return;
        }
        if let Some(database) = &self.database
            && let Err(error) = commit(database, &accepted)
        {
            let reason: Arc<str> = error.to_string().into();
            self.failing.store(true, Ordering::Relaxed);
            tracing::error!(error = %reason, "cannot write the state");
            for write in accepted {
                write.reply.send(Err(WriteError::Disk(Arc::clone(&reason)))).ok();
            }
            return;
        }
        self.failing.store(false, Ordering::Relaxed);
        if let Some(last) = accepted.last() {
            self.note.write(last.stored.version);
        }
        let mut answers = Vec::with_capacity(accepted.len());
        let now = Instant::now();
        let oldest = {
            let mut state = state.write().unwrap_or_else(PoisonError::into_inner);
            let mut touched = HashSet::new();
            for write in accepted {
                touched.insert(Arc::clone(&write.stored.key.resource));
                self.version = write.stored.version;
                self.fresh.push_back((now, Arc::downgrade(&write.stored)));
                state.apply(write.kind, &write.stored, now);
                answers.push((write.reply, write.stored));
            }
            state.wake(touched.iter());
            state.expire(now)
        };
        self.plan(oldest, now);
        for (reply, stored) in answers {
            reply.send(Ok(stored)).ok();
        }
    }

    /// Decides which requests happen, each seeing what those before it in the batch did.
    fn check(&self, state: &RwLock<State>, batch: Vec<Request>) -> Vec<Accepted> {
        let mut changed: HashMap<Key, Option<u64>> = HashMap::new();
        let mut accepted = Vec::with_capacity(batch.len());
        let mut version = self.version;
        let state = state.read().unwrap_or_else(PoisonError::into_inner);
        for Request {
            key,
            expect,
            draft,
            reply,
        } in batch
        {
            let there = state.get(&key.resource, &key.namespace, &key.name);
            let there = there.map(|s| s.version);
            let current = changed.get(&key).copied().unwrap_or(there);
            let wanted = match expect {
                Expect::Absent => None,
                Expect::Version(version) => Some(version),
            };
            if current != wanted {
                reply.send(Err(WriteError::Conflict)).ok();
                continue;
            }
            version += 1;
            let kind = draft.kind;
            changed.insert(key.clone(), (kind == EventKind::Put).then_some(version));
            let mut stored = Stored::new(key, draft, version);
            state.share(&mut stored);
            accepted.push(Accepted {
                kind,
                stored: Arc::new(stored),
                reply,
            });
        }
        accepted
    }
}

fn commit(database: &Database, writes: &[Accepted]) -> Result<(), redb::Error> {
    let version = writes.last().map_or(0, |w| w.stored.version);
    let changes = writes.iter().map(|write| {
        let left = (write.kind == EventKind::Put).then_some(&*write.stored);
        (&write.stored.key, left)
    });
    format::write(database, changes, version)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Change;
    use super::*;

    fn request(name: &str, expect: Expect, change: fn(serde_json::Value) -> Change) -> Request {
        let (reply, _) = oneshot::channel();
        let object = json!({"metadata": {"name": name, "uid": name}, "data": {"text": "of some length, and always the same"}});
        Request {
            key: Key::new("things", "", name),
            expect,
            draft: Draft::of(change(object)),
            reply,
        }
    }

    #[test]
    fn what_is_not_written_any_more_is_packed_and_its_history_forgotten_without_another_write() {
        let (mut writer, state) = Writer::in_memory(History::default());
        let state = RwLock::new(state);
        assert_eq!(writer.tidy_at, None);
        let (began, age) = (Instant::now(), History::default().age);
        let names: Vec<_> = (0..200).map(|n| format!("thing-{n}")).collect();
        let made = names
            .iter()
            .map(|name| request(name, Expect::Absent, Change::Put));
        writer.serve(&state, made.collect());
        let first = state
            .read()
            .unwrap()
            .get("things", "", "thing-0")
            .unwrap()
            .version;
        writer.serve(
            &state,
            vec![request("thing-0", Expect::Version(first), Change::Delete)],
        );
        let is_packed = |name: &str| {
            state
                .read()
                .unwrap()
                .get("things", "", name)
                .is_some_and(|s| s.room() < s.size() / 2)
        };
        let history = || {
            state
                .read()
                .unwrap()
                .events_after("things", 1)
                .map(|events| events.len())
        };

        assert!(writer.tidy_at.unwrap() > began);
        writer.tidy(&state, began);
        assert!(!names.iter().any(|name| is_packed(name)));
        // As the thread does it while nobody writes: whenever it is time, and never sooner.
        let (mut now, mut times) = (began, 0);
        while let Some(at) = writer.tidy_at {
            (now, times) = (now.max(at), times + 1);
            writer.tidy(&state, now);
            if now < began + age {
                assert_eq!(history(), Ok(201));
            }
        }
        assert!(names[1..].iter().all(|name| is_packed(name)));
        assert!(history().is_err());
        assert!(
            writer.fresh.is_empty() && now < began + age + 2 * TIDY_EVERY && times < 12,
            "{times} times"
        );
    }

    #[test]
    fn what_was_read_from_disk_is_packed_later_without_a_write_and_bit_by_bit_with_some() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state.redb");
        let count = MOST_FRESH + 10 * PACKED_AT_ONCE;
        let made = |writer: &mut Writer, state: &RwLock<State>, names: std::ops::Range<usize>| {
            let made = names.map(|n| request(&format!("thing-{n:05}"), Expect::Absent, Change::Put));
            writer.serve(state, made.collect());
        };
        let (mut writer, state) = Writer::open(&file, History::default()).unwrap();
        made(&mut writer, &RwLock::new(state), 0..count);
        drop(writer);
        let packed = |state: &RwLock<State>| {
            let state = state.read().unwrap();
            state
                .list("things", None)
                .iter()
                .filter(|s| s.room() < s.size() / 2)
                .count()
        };

        let (mut writer, state) = Writer::open(&file, History::default()).unwrap();
        let state = RwLock::new(state);
        assert_eq!(packed(&state), 0);
        while let Some(at) = writer.tidy_at {
            writer.tidy(&state, at);
        }
        assert!(packed(&state) >= count - 1);
        drop(writer);

        let (writer, state) = Writer::open(&file, History::default()).unwrap();
        let state = RwLock::new(state);
        let (queue, requests) = mpsc::channel();
        queue
            .send(request("another", Expect::Absent, Change::Put))
            .unwrap();
        drop(queue);
        writer.run(&state, &requests);
        let packed = packed(&state);
        assert!(packed > 0 && packed <= 2 * PACKED_AT_ONCE, "{packed}");
    }

    #[test]
    fn while_much_is_written_what_is_oldest_is_packed() {
        let (writer, state) = Writer::in_memory(History::default());
        let (state, (queue, requests)) = (RwLock::new(state), mpsc::channel());
        for n in 0..=MOST_FRESH + BATCH {
            let made = request(&format!("thing-{n}"), Expect::Absent, Change::Put);
            queue.send(made).unwrap();
        }
        drop(queue);
        writer.run(&state, &requests);
        let state = state.into_inner().unwrap();
        let room = |name: &str| state.get("things", "", name).map(|s| s.room() * 2 < s.size());
        assert_eq!(
            (room("thing-1"), room(&format!("thing-{MOST_FRESH}"))),
            (Some(true), Some(false))
        );
    }
}
