//! The one thread that writes: many requests, one transaction, and answers only when it is on disk.
//! It must not make anything visible that is not.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, mpsc};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::oneshot;

use super::state::{EventKind, Key, State, Stored};
use super::{Change, Expect, OpenError, WriteError};

/// Objects by resource, namespace and name; the value is the JSON without its opening brace and type.
const OBJECTS: TableDefinition<'_, (&str, &str, &str), &[u8]> = TableDefinition::new("objects");
/// Numbers about the store itself.
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
/// Newest layout of the tables that this release knows.
const FORMAT: u64 = 1;
/// Requests in one transaction at most: bounds how long the first of them waits.
const BATCH: usize = 512;
/// What the database may keep in memory: little, as all reads are served from [`State`].
const CACHE: usize = 4 << 20;

/// One write that somebody waits for.
pub(super) struct Request {
    pub(super) key: Key,
    pub(super) expect: Expect,
    pub(super) change: Change,
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
        let state = load(&database)
            .map_err(|source| OpenError::Unreadable {
                file: name.clone(),
                source,
            })?
            .map_err(|found| OpenError::NewerFormat {
                file: name,
                found,
                known: FORMAT,
            })?;
        Ok((
            Self {
                database: Some(database),
                version: state.version,
            },
            state,
        ))
    }

    pub(super) fn in_memory() -> (Self, State) {
        // Nothing is read back from a store in memory, so there is no need for a database behind it.
        (
            Self {
                database: None,
                version: 1,
            },
            State::new(1),
        )
    }

    /// Serves requests until nobody can send any more.
    pub(super) fn run(mut self, state: &RwLock<State>, requests: &mpsc::Receiver<Request>) {
        while let Ok(first) = requests.recv() {
            let mut batch = vec![first];
            while batch.len() < BATCH
                && let Ok(next) = requests.try_recv()
            {
                batch.push(next);
            }
            self.serve(state, batch);
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
        {
            let mut state = state.write().unwrap_or_else(PoisonError::into_inner);
            let mut touched = HashSet::new();
            for write in accepted {
                touched.insert(Arc::clone(&write.stored.key.resource));
                self.version = write.stored.version;
                state.apply(write.kind, Arc::clone(&write.stored));
                answers.push((write.reply, write.stored));
            }
            state.wake(touched.iter());
        }
        for (reply, stored) in answers {
            reply.send(Ok(stored)).ok();
        }
    }

    /// Decides which requests happen, each seeing what those before it in the batch did.
    fn check(&self, state: &RwLock<State>, batch: Vec<Request>) -> Vec<Accepted> {
        let mut changed: HashMap<Key, Option<u64>> = HashMap::new();
        let mut accepted = Vec::with_capacity(batch.len());
        let mut version = self.version;
        for Request {
            key,
            expect,
            change,
            reply,
        } in batch
        {
            let current = changed.get(&key).copied().unwrap_or_else(|| {
                let state = state.read().unwrap_or_else(PoisonError::into_inner);
                state
                    .get(&key.resource, &key.namespace, &key.name)
                    .map(|s| s.version)
            });
            let wanted = match expect {
                Expect::Absent => None,
                Expect::Version(version) => Some(version),
            };
            if current != wanted {
                reply.send(Err(WriteError::Conflict)).ok();
                continue;
            }
            version += 1;
            let (kind, object) = match change {
                Change::Put(object) => (EventKind::Put, object),
                Change::Delete(object) => (EventKind::Delete, object),
            };
            changed.insert(key.clone(), (kind == EventKind::Put).then_some(version));
            accepted.push(Accepted {
                kind,
                stored: Arc::new(Stored::new(key, object, version)),
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
        for write in writes {
            let key = &write.stored.key;
            let place = (&*key.resource, &*key.namespace, &*key.name);
            match write.kind {
                EventKind::Put => objects.insert(place, &*write.stored.rest)?,
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

fn load(database: &Database) -> Result<Loaded, Box<dyn std::error::Error + Send + Sync>> {
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
        state.load(Stored::load(Key::new(resource, namespace, name), rest.value())?);
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
