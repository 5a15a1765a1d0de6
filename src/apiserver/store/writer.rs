//! The one thread that writes: many requests, one transaction, and answers only when it is on disk.
//! It must not make anything visible that is not.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::disk::{Disk, Write};
use super::file::{create, unreadable};
use super::format::FORMAT;
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
/// After a failure nothing is tried for so long; after each further one twice as long, up to the longest.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Where so many write at once, more come soon.
const CROWD: usize = 8;
/// The next transaction waits for those, as long as the last one took, but not longer than this: fewer transactions are less work.
const GATHER: Duration = Duration::from_millis(2);

/// One write that somebody waits for.
pub(super) struct Request {
    pub(super) key: Key,
    pub(super) expect: Expect,
    pub(super) draft: Draft,
    pub(super) reply: Reply,
}

type Reply = oneshot::Sender<Result<Arc<Stored>, WriteError>>;

pub(super) struct Writer {
    disk: Option<Disk>,
    version: u64,
    packer: Packer,
    /// What was written or read from disk of late, the oldest first, and is not packed yet.
    fresh: VecDeque<(Instant, Weak<Stored>)>,
    /// When old changes can be forgotten.
    expire_at: Option<Instant>,
    /// When there will be something to tidy up.
    tidy_at: Option<Instant>,
    /// How often writing began to fail, or to succeed again: odd while it fails.
    turns: watch::Sender<u64>,
    trouble: Option<Trouble>,
    /// What was made visible though its writers had been told that it failed: whether it follows from them is up to others.
    recovered: Recovered,
    /// How long nothing is tried after a first failure.
    pause: Duration,
}

/// Objects that were written, and whether they were removed.
pub(super) type Recovered = Arc<Mutex<Vec<(Arc<Stored>, bool)>>>;

/// Why nothing can be written.
struct Trouble {
    reason: Arc<str>,
    /// Until then nothing is tried: all of the file is read and written before something can be.
    until: Instant,
    pause: Duration,
}

impl Writer {
    pub(super) fn open(file: &Path, history: History) -> Result<(Self, State), OpenError> {
        if !file.exists() {
            create(file)?;
        }
        let (mut state, mut loaded) = (State::new(0, history), Vec::new());
        let (disk, content) = Disk::open(file, |stored| loaded.push(state.load(stored)))?;
        state.begin(content.version);
        if content.format < FORMAT {
            disk.migrate(&state).map_err(|e| unreadable(file, e))?;
        }
        let mut writer = Self::new(Some(disk), &state);
        // Packing them takes longer than reading them, and nobody needs it for the first answer.
        let now = Instant::now();
        writer.fresh = loaded.into_iter().map(|stored| (now, stored)).collect();
        writer.plan(now);
        Ok((writer, state))
    }

    pub(super) fn in_memory(history: History) -> (Self, State) {
        // Nothing is read back from a store in memory, so there is no need for a database behind it.
        let state = State::new(1, history);
        (Self::new(None, &state), state)
    }

    fn new(disk: Option<Disk>, state: &State) -> Self {
        Self {
            disk,
            version: state.version,
            packer: Packer::new(),
            fresh: VecDeque::new(),
            expire_at: None,
            tidy_at: None,
            turns: watch::Sender::new(0),
            trouble: None,
            recovered: Recovered::default(),
            pause: PAUSE,
        }
    }

    /// Returns where it puts what it has made visible though its writers had been told that it failed.
    pub(super) fn recovered(&self) -> Recovered {
        Arc::clone(&self.recovered)
    }

    /// Returns how often writing began to fail, or to succeed again: odd while it fails.
    pub(super) fn turns(&self) -> watch::Receiver<u64> {
        self.turns.subscribe()
    }

    /// Serves requests until nobody can send any more.
    pub(super) fn run(mut self, state: &RwLock<State>, requests: &mpsc::Receiver<Request>) {
        let mut gather = Duration::ZERO;
        loop {
            let first = match self.tidy_at {
                None => requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => requests.recv_timeout(at.saturating_duration_since(Instant::now()).max(QUIET)),
            };
            match first {
                Ok(first) => {
                    std::thread::sleep(gather);
                    let begun = Instant::now();
                    let mut batch = vec![first];
                    batch.extend(requests.try_iter().take(BATCH - 1));
                    // As many as come, and some more: what was there at the start gets less, and nobody waits for all of it.
                    let mut rounds = batch.len().div_ceil(PACKED_AT_ONCE) + 1;
                    let crowd = batch.len() >= CROWD;
                    self.serve(state, batch);
                    gather = if crowd {
                        begun.elapsed().min(GATHER)
                    } else {
                        Duration::ZERO
                    };
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
        self.expire(state, now);
        self.plan(now);
    }

    fn expire(&mut self, state: &RwLock<State>, now: Instant) {
        let oldest = state.write().unwrap_or_else(PoisonError::into_inner).expire(now);
        self.expire_at = oldest.map(|oldest| not_too_soon(oldest, now));
    }

    /// Decides when to tidy up next.
    fn plan(&mut self, now: Instant) {
        let ripe = self.fresh.front().map(|(at, _)| not_too_soon(*at + FRESH, now));
        self.tidy_at = self.expire_at.into_iter().chain(ripe).min();
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
        if let Err(reason) = self.recover(state) {
            refuse(batch.into_iter().map(|request| request.reply), &reason);
            return;
        }
        let (writes, replies) = self.check(state, batch);
        if writes.is_empty() {
            self.end_trouble();
            return;
        }
        if let Some(disk) = &mut self.disk
            && let Err(reason) = disk.write(&writes)
        {
            refuse(replies, &self.begin_trouble(&reason));
            return;
        }
        self.end_trouble();
        self.publish(state, writes, replies);
    }

    fn is_failing(&self) -> bool {
        *self.turns.borrow() % 2 == 1
    }

    /// Makes visible what a transaction has written that was taken for failed.
    fn recover(&mut self, state: &RwLock<State>) -> Result<(), Arc<str>> {
        if let Some(trouble) = self.trouble.as_ref().filter(|t| Instant::now() < t.until) {
            return Err(Arc::clone(&trouble.reason));
        }
        let Some(disk) = &mut self.disk else { return Ok(()) };
        let writes = match disk.recover(self.version) {
            Ok(writes) => writes,
            Err(reason) => return Err(self.begin_trouble(&reason)),
        };
        if !writes.is_empty() {
            let written = writes
                .iter()
                .map(|w| (Arc::clone(&w.stored), w.kind == EventKind::Delete));
            let mut recovered = self.recovered.lock().unwrap_or_else(PoisonError::into_inner);
            recovered.extend(written);
            drop(recovered);
            self.publish(state, writes, Vec::new());
        }
        Ok(())
    }

    /// Notes that something could not be written, and returns why.
    fn begin_trouble(&mut self, reason: &str) -> Arc<str> {
        tracing::error!(error = reason, "cannot write the state");
        if !self.is_failing() {
            self.turns.send_modify(|turns| *turns += 1);
        }
        let before = self.trouble.as_ref();
        let pause = before.map_or(self.pause, |t| (t.pause * 2).min(LONGEST_PAUSE));
        let reason = Arc::from(reason);
        self.trouble = Some(Trouble {
            reason: Arc::clone(&reason),
            until: Instant::now() + pause,
            pause,
        });
        reason
    }

    /// Notes that the state can be written, or could be if somebody wanted to.
    fn end_trouble(&mut self) {
        self.trouble = None;
        if self.is_failing() {
            self.turns.send_modify(|turns| *turns += 1);
        }
    }

    /// Makes visible what is on disk, answers, and wakes those who watch: they find it there.
    fn publish(&mut self, state: &RwLock<State>, writes: Vec<Write>, replies: Vec<Reply>) {
        let (mut touched, now) = (HashSet::new(), Instant::now());
        {
            let mut state = state.write().unwrap_or_else(PoisonError::into_inner);
            for Write { kind, stored } in &writes {
                state.apply(*kind, stored, now);
            }
            self.version = state.version;
            self.expire_at = self.expire_at.or(Some(now + state.age()));
        }
        for Write { stored, .. } in &writes {
            touched.insert(Arc::clone(&stored.key.resource));
            self.fresh.push_back((now, Arc::downgrade(stored)));
        }
        for (reply, write) in replies.into_iter().zip(writes) {
            reply.send(Ok(write.stored)).ok();
        }
        state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .wake(touched.iter());
        if self.expire_at.is_some_and(|at| at <= now) {
            self.expire(state, now);
        }
        self.plan(now);
    }

    /// Decides which requests happen, each seeing what those before it in the batch did. The others are answered.
    fn check(&self, state: &RwLock<State>, batch: Vec<Request>) -> (Vec<Write>, Vec<Reply>) {
        let mut changed: HashMap<Key, Option<u64>> = HashMap::new();
        let mut writes = Vec::with_capacity(batch.len());
        let mut replies = Vec::with_capacity(batch.len());
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
            let stored = Arc::new(stored);
            writes.push(Write { kind, stored });
            replies.push(reply);
        }
        (writes, replies)
    }
}

fn refuse(replies: impl IntoIterator<Item = Reply>, reason: &Arc<str>) {
    for reply in replies {
        reply.send(Err(WriteError::Disk(Arc::clone(reason)))).ok();
    }
}

/// What is late is done now; else it waits until there is more of it.
fn not_too_soon(next: Instant, now: Instant) -> Instant {
    if next <= now {
        now
    } else {
        next.max(now + TIDY_EVERY)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Change;
    use super::super::overlay::broken;
    use super::super::state::Range;
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
                .part("things", None, Range::ALL)
                .items
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
    /// The objects that are there, with their versions.
    fn seen(state: &RwLock<State>) -> Vec<(String, u64)> {
        let part = state.read().unwrap().part("things", None, Range::ALL);
        let objects = part.items.iter();
        objects.map(|s| (s.key.name.to_string(), s.version)).collect()
    }

    #[test]
    fn a_disk_that_fails_at_any_step_loses_nothing_and_is_written_again() {
        let (mut steps, mut written_all_the_same) = (0, 0);
        loop {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("state.redb");
            let (mut writer, state) = Writer::open(&file, History::default()).unwrap();
            writer.pause = Duration::ZERO;
            let (state, turns, recovered) = (RwLock::new(state), writer.turns(), writer.recovered());
            let mut serve = |names: &[&str]| -> Vec<bool> {
                let (mut batch, mut answers) = (Vec::new(), Vec::new());
                for name in names {
                    let (reply, answer) = oneshot::channel();
                    let made = request(name, Expect::Absent, Change::Put);
                    batch.push(Request { reply, ..made });
                    answers.push(answer);
                }
                writer.serve(&state, batch);
                let answers = answers.into_iter();
                answers.map(|mut a| a.try_recv().unwrap().is_ok()).collect()
            };
            assert_eq!(serve(&["a"]), [true]);
            steps += 1;
            broken::fail_after(steps);
            let answered = serve(&["b", "c"]);
            // As long as the disk is broken nothing can be written.
            let later = serve(&["d"]);
            assert_eq!(later, [answered[0] && !broken::mend()], "{steps} steps");
            broken::mend();
            if answered[0] {
                break;
            }
            assert_eq!((answered, *turns.borrow()), (vec![false, false], 1));
            assert_eq!(seen(&state).len(), 1, "what failed is not seen");
            assert_eq!((serve(&["e"]), *turns.borrow()), (vec![true], 2));
            let names: Vec<_> = seen(&state).into_iter().map(|(name, _)| name).collect();
            match names.len() {
                2 => assert_eq!(names, ["a", "e"]),
                _ => assert_eq!(names, ["a", "b", "c", "e"]),
            }
            written_all_the_same += usize::from(names.len() > 2);
            let recovered = recovered.lock().unwrap();
            let recovered: Vec<_> = recovered.iter().map(|(s, gone)| (&*s.key.name, *gone)).collect();
            let expected: &[_] = if names.len() > 2 {
                &[("b", false), ("c", false)]
            } else {
                &[]
            };
            assert_eq!(recovered, expected);
            let (before, version) = (seen(&state), state.read().unwrap().version);
            drop(writer);
            let (_writer, state) = Writer::open(&file, History::default()).unwrap();
            assert_eq!((state.version, seen(&RwLock::new(state))), (version, before));
        }
        assert!(
            steps > 3 && written_all_the_same > 0,
            "{steps} {written_all_the_same}"
        );
    }
}
