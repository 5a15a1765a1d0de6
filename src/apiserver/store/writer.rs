//! The one thread that writes: many requests, one transaction, and answers only when it is on disk.
//! It must not make anything visible that is not.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::oneshot;

use super::state::{EventKind, State};
use super::stored::{Draft, Key, Stored};
use super::{Expect, OpenError, WriteError};
use crate::pack::Packer;

/// Objects by resource, namespace and name; the value is the JSON without its opening brace and type.
const OBJECTS: TableDefinition<'_, (&str, &str, &str), &[u8]> = TableDefinition::new("objects");
/// Numbers about the store itself.
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
/// Newest layout of the tables that this release knows.
const FORMAT: u64 = 1;
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
/// What the database may keep in memory: little, as all reads are served from [`State`].
const CACHE: usize = 4 << 20;

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
    version: u64,
    packer: Packer,
    /// What was written of late, the oldest first, and is not packed yet.
    fresh: VecDeque<(Instant, Weak<Stored>)>,
    /// When there will be something to tidy up.
    tidy_at: Option<Instant>,
}

impl Writer {
    pub(super) fn open(file: &Path) -> Result<(Self, State), OpenError> {
        let name = file.display().to_string();
        let database = Database::builder()
            .set_cache_size(CACHE)
            .create(file)
            .map_err(|e| match e {
                DatabaseError::DatabaseAlreadyOpen => OpenError::InUse(name.clone()),
                e => OpenError::Unreadable {
                    file: name.clone(),
                    source: e.into(),
                },
            })?;
        restrict(file);
        let mut packer = Packer::new();
        let state = load(&database, &mut packer)
            .map_err(|source| OpenError::Unreadable {
                file: name.clone(),
                source,
            })?
            .map_err(|found| OpenError::NewerFormat {
                file: name,
                found,
                known: FORMAT,
            })?;
        Ok((Self::new(Some(database), packer, &state), state))
    }

    pub(super) fn in_memory() -> (Self, State) {
        // Nothing is read back from a store in memory, so there is no need for a database behind it.
        let state = State::new(1);
        (Self::new(None, Packer::new(), &state), state)
    }

    fn new(database: Option<Database>, packer: Packer, state: &State) -> Self {
        Self {
            database,
            version: state.version,
            packer,
            fresh: VecDeque::new(),
            tidy_at: None,
        }
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
                    self.serve(state, batch);
                    while self.fresh.len() > MOST_FRESH {
                        self.pack(Instant::now(), Duration::ZERO);
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
            tracing::error!(error = %reason, "cannot write the state");
            for write in accepted {
                write.reply.send(Err(WriteError::Disk(Arc::clone(&reason)))).ok();
            }
            return;
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
    let transaction = database.begin_write()?;
    {
        let mut objects = transaction.open_table(OBJECTS)?;
        let mut rest = Vec::new();
        for write in writes {
            let key = &write.stored.key;
            let place = (&*key.resource, &*key.namespace, &*key.name);
            match write.kind {
                EventKind::Put => {
                    rest.clear();
                    write.stored.write_rest(&mut rest);
                    objects.insert(place, &*rest)?
                }
                EventKind::Delete => objects.remove(place)?,
            };
        }
        let version = writes.last().map_or(0, |w| w.stored.version);
        transaction.open_table(NUMBERS)?.insert("version", version)?;
    }
    transaction.commit()?;
    Ok(())
}

type Loaded = Result<State, u64>;

fn load(
    database: &Database,
    packer: &mut Packer,
) -> Result<Loaded, Box<dyn std::error::Error + Send + Sync>> {
    let fresh = {
        let transaction = database.begin_read()?;
        transaction.list_tables()?.next().is_none()
    };
    if fresh {
        let transaction = database.begin_write()?;
        {
            transaction.open_table(OBJECTS)?;
            let mut numbers = transaction.open_table(NUMBERS)?;
            numbers.insert("format", FORMAT)?;
            numbers.insert("version", 1)?;
        }
        transaction.commit()?;
        return Ok(Ok(State::new(1)));
    }
    let transaction = database.begin_read()?;
    let numbers = transaction.open_table(NUMBERS)?;
    let number = |name: &str| Ok::<_, redb::Error>(numbers.get(name)?.map_or(0, |n| n.value()));
    let format = number("format")?;
    if format > FORMAT {
        return Ok(Err(format));
    }
    let mut state = State::new(number("version")?);
    for entry in transaction.open_table(OBJECTS)?.iter()? {
        let (key, rest) = entry?;
        let (resource, namespace, name) = key.value();
        state.load(
            Stored::load(Key::new(resource, namespace, name), rest.value())?,
            packer,
        );
    }
    Ok(Ok(state))
}

/// Secrets lie in the file: only its owner may read it.
fn restrict(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if let Err(error) = std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)) {
        tracing::warn!(file = %file.display(), %error, "cannot restrict the state file to its owner");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Change, state::AGE};
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
        let (mut writer, state) = Writer::in_memory();
        let state = RwLock::new(state);
        assert_eq!(writer.tidy_at, None);
        let began = Instant::now();
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
            if now < began + AGE {
                assert_eq!(history(), Ok(201));
            }
        }
        assert!(names[1..].iter().all(|name| is_packed(name)));
        assert!(history().is_err());
        assert!(
            writer.fresh.is_empty() && now < began + AGE + 2 * TIDY_EVERY && times < 12,
            "{times} times"
        );
    }

    #[test]
    fn while_much_is_written_what_is_oldest_is_packed() {
        let (writer, state) = Writer::in_memory();
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
