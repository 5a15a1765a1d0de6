//! The store: every object of the server, their history of late, and the file that outlives the process.
//! It must not know what a kind means: keys, JSON objects and resourceVersions are all it deals in.
//!
//! One thread writes. It takes all requests that wait, checks each against what is there, writes them to the
//! database in one transaction, and only when that is on disk makes them visible and answers. Reads are served
//! from memory and never wait for the disk.

#[cfg(test)]
mod crash_tests;
mod disk;
mod file;
mod format;
pub(crate) mod offline;
mod overlay;
mod state;
mod stored;
mod uid;
mod writer;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc};
use std::thread::JoinHandle;

use serde_json::Value;
use tokio::sync::{oneshot, watch};

pub use self::state::History;
use self::state::State;
pub(crate) use self::state::{Event, EventKind, Expired, Mark, Part, Range};
use self::stored::Draft;
pub(crate) use self::stored::{Key, Labels, Stored};
pub(crate) use self::uid::Uid;
use self::writer::{Recovered, Request, Writer};
use super::object::depth::{MAX_DEPTH, is_deeper_than};

/// What the file is called in its folder.
pub const FILE: &str = "state.redb";

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the file open.
    #[error("state in {0} is in use by another machinectl process; stop that one first")]
    InUse(String),
    /// The file was written by a newer release.
    #[error("state in {file} has format {found}, this release reads up to {known}; use the newer release")]
    NewerFormat {
        /// The database file.
        file: String,
        /// Format found in the file.
        found: u64,
        /// Newest format that this release reads.
        known: u64,
    },
    /// The file is not as it was left. Nothing in it was changed.
    #[error("the state in {file} is damaged: {what}; it was left as it is")]
    Damaged {
        /// The database file.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// The file cannot be read.
    #[error("cannot read the state in {file}")]
    Unreadable {
        /// The database file.
        file: String,
        /// What the database says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The keys beside the state cannot be used.
    #[error("cannot use the keys in {dir}")]
    Keys {
        /// The folder.
        dir: String,
        /// Why.
        #[source]
        source: Box<super::tls::TlsError>,
    },
    /// The folder cannot be made.
    #[error("cannot make the folder {dir}")]
    Folder {
        /// The folder.
        dir: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

/// Why a write did not happen.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum WriteError {
    /// The object is not as the writer expected: it has changed, appeared or gone meanwhile.
    #[error("the object has changed")]
    Conflict,
    /// The disk refused.
    #[error("cannot write the state: {0}")]
    Disk(Arc<str>),
    /// The object nests too deep to be read again.
    #[error("the object nests deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// The server is closing.
    #[error("the server is shutting down")]
    Closed,
}

/// What must be true of the object for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// There is no such object.
    Absent,
    /// The object is there in exactly this resourceVersion.
    Version(u64),
}

/// What a write does.
#[derive(Debug)]
pub(crate) enum Change {
    /// Stores the object.
    Put(Value),
    /// Removes the object; the value is its last state, for those who watch.
    Delete(Value),
}

/// The store. Cheap to clone; the last clone that is dropped closes the file.
#[derive(Clone)]
pub(crate) struct Store(Arc<Inner>);

struct Inner {
    state: Arc<RwLock<State>>,
    queue: Mutex<Option<mpsc::Sender<Request>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// How often writing began to fail, or to succeed again: odd while it fails.
    turns: watch::Receiver<u64>,
    recovered: Recovered,
    /// The file, if there is one.
    file: Option<PathBuf>,
}

impl Inner {
    fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // The writer ends when its queue is gone; waiting frees the file's lock for the next to open it.
            thread.join().ok();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl Store {
    /// Opens the store in `dir`, and makes it if there is none. Objects of `seed` that are not there are made. Blocks.
    #[cfg(test)]
    pub(crate) fn open(dir: &Path, seed: Vec<(Key, Value)>, history: History) -> Result<Self, OpenError> {
        Self::open_with(dir, history, || Ok(seed))
    }

    /// The same; what is seeded is asked for when the store is open, so that nobody else has it.
    pub(crate) fn open_with(
        dir: &Path,
        history: History,
        seed: impl FnOnce() -> Result<Vec<(Key, Value)>, OpenError>,
    ) -> Result<Self, OpenError> {
        std::fs::create_dir_all(dir).map_err(|source| OpenError::Folder {
            dir: dir.display().to_string(),
            source,
        })?;
        let file = dir.join(FILE);
        let (writer, state) = Writer::open(&file, history)?;
        Ok(Self::start(writer, state, seed()?, Some(file)))
    }

    /// Makes a store that is gone when it is dropped.
    pub(crate) fn in_memory(seed: Vec<(Key, Value)>, history: History) -> Self {
        let (writer, state) = Writer::in_memory(history);
        Self::start(writer, state, seed, None)
    }

    fn start(mut writer: Writer, state: State, seed: Vec<(Key, Value)>, file: Option<PathBuf>) -> Self {
        let state = Arc::new(RwLock::new(state));
        let seeds = seed.into_iter().map(|(key, object)| {
            let (reply, _) = oneshot::channel();
            Request {
                key,
                expect: Expect::Absent,
                draft: Draft::of(Change::Put(object)),
                reply,
            }
        });
        writer.serve(&state, seeds.collect());
        let (queue, requests) = mpsc::channel();
        let (turns, recovered) = (writer.turns(), writer.recovered());
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new()
            .name("apiserver-store".to_owned())
            .spawn(move || writer.run(&shared, &requests))
            .ok();
        Self(Arc::new(Inner {
            state,
            queue: Mutex::new(Some(queue)),
            thread: Mutex::new(thread),
            turns,
            recovered,
            file,
        }))
    }

    /// Says whether writes succeed, as far as that is known: the last one did, and the store is open.
    pub(crate) fn can_write(&self) -> bool {
        let queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.is_some() && self.0.turns.borrow().is_multiple_of(2)
    }

    /// Returns a receiver that changes when writing begins to fail, and when it succeeds again.
    pub(crate) fn turns(&self) -> watch::Receiver<u64> {
        self.0.turns.clone()
    }

    /// Takes what was written though its writers had been told that it failed, and whether it was removed.
    pub(crate) fn take_recovered(&self) -> Vec<(Arc<Stored>, bool)> {
        std::mem::take(&mut self.0.recovered.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns how many bytes the file has, if there is one.
    pub(crate) fn file_bytes(&self) -> Option<u64> {
        let file = self.0.file.as_ref()?;
        Some(std::fs::metadata(file).ok()?.len())
    }

    /// Closes the file. Blocks until what was asked for is written. Later writes fail.
    pub(crate) fn close(&self) {
        self.0.close();
    }

    fn read<T>(&self, f: impl FnOnce(&State) -> T) -> T {
        f(&self.0.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn send(&self, request: Request) -> Result<(), WriteError> {
        let queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue
            .as_ref()
            .and_then(|q| q.send(request).ok())
            .ok_or(WriteError::Closed)
    }

    /// Writes one object, and returns it as it was stored: with its new resourceVersion.
    pub(crate) async fn write(
        &self,
        key: Key,
        expect: Expect,
        change: Change,
    ) -> Result<Arc<Stored>, WriteError> {
        self.begin(key, expect, change)?.await
    }

    /// The same in two steps: when this returns, the write has its place among the others; what it returns waits for the disk.
    pub(crate) fn begin(
        &self,
        key: Key,
        expect: Expect,
        change: Change,
    ) -> Result<impl Future<Output = Result<Arc<Stored>, WriteError>> + Send + 'static, WriteError> {
        if let Change::Put(object) = &change
            && is_deeper_than(object, MAX_DEPTH)
        {
            return Err(WriteError::TooDeep);
        }
        let (reply, answer) = oneshot::channel();
        self.send(Request {
            key,
            expect,
            draft: Draft::of(change),
            reply,
        })?;
        Ok(async { answer.await.unwrap_or(Err(WriteError::Closed)) })
    }

    /// Returns an object as it is now.
    pub(crate) fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Stored>> {
        self.read(|s| s.get(resource, namespace, name).cloned())
    }

    /// Returns the newest resourceVersion.
    pub(crate) fn version(&self) -> u64 {
        self.read(|s| s.version)
    }

    /// Returns all objects of a resource (of one namespace, if given) in order of namespace and name, as they are
    /// now, with the resourceVersion of that moment.
    pub(crate) fn list(&self, resource: &str, namespace: Option<&str>) -> (u64, Vec<Arc<Stored>>) {
        let (version, part) = self.part(resource, namespace, Range::ALL);
        (version, part.items)
    }

    /// Returns a part of that list.
    pub(crate) fn part(&self, resource: &str, namespace: Option<&str>, range: Range<'_>) -> (u64, Part) {
        self.read(|s| (s.version, s.part(resource, namespace, range)))
    }

    /// Returns the same part as it was at `version`.
    ///
    /// # Errors
    /// Fails when the history no longer reaches back that far, or not yet that far forward.
    pub(crate) fn part_at(
        &self,
        resource: &str,
        namespace: Option<&str>,
        range: Range<'_>,
        version: u64,
    ) -> Result<Part, Expired> {
        self.read(|s| s.part_at(resource, namespace, range, version))
    }

    /// Returns what happened to a resource after `version`, and the resourceVersion up to which that is all.
    ///
    /// # Errors
    /// Fails when the history no longer reaches back that far.
    pub(crate) fn events_after(&self, resource: &str, version: u64) -> Result<(u64, Vec<Event>), Expired> {
        self.read(|s| Ok((s.version, s.events_after(resource, version)?)))
    }

    /// Returns a receiver that is marked changed when something happens to the resource.
    pub(crate) fn subscribe(&self, resource: &str) -> watch::Receiver<u64> {
        if let Some(receiver) = self.read(|s| s.subscribe(resource)) {
            return receiver;
        }
        self.0
            .state
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .subscribe_new(resource)
    }

    /// Returns what tells whether something has happened to the resource.
    pub(crate) fn mark(&self, resource: &str) -> Mark {
        let mut state = self.0.state.write().unwrap_or_else(PoisonError::into_inner);
        state.mark(resource)
    }

    /// Returns the object with this uid.
    pub(crate) fn find_uid(&self, uid: Uid) -> Option<Arc<Stored>> {
        self.read(|s| s.by_uid(uid).cloned())
    }

    /// Returns the objects that name this uid as one of their owners.
    pub(crate) fn dependents(&self, uid: Uid) -> Vec<Arc<Stored>> {
        self.read(|s| s.dependents(uid))
    }

    /// Returns some of them, in the order of their uids: up to `count` that come after `after`.
    pub(crate) fn some_dependents(&self, owner: Uid, after: Option<Uid>, count: usize) -> Vec<Arc<Stored>> {
        self.read(|s| s.some_dependents(owner, after, count))
    }

    /// Returns the uids that are named as owners but belong to no object.
    pub(crate) fn absent_owners(&self) -> BTreeSet<Uid> {
        self.read(State::absent_owners)
    }

    /// Returns all objects in a namespace.
    pub(crate) fn in_namespace(&self, namespace: &str) -> Vec<Arc<Stored>> {
        self.read(|s| s.in_namespace(namespace))
    }

    /// Returns how many objects there are in a namespace.
    pub(crate) fn count_in_namespace(&self, namespace: &str) -> usize {
        self.read(|s| s.count_in_namespace(namespace))
    }

    /// Returns how many objects each resource has.
    pub(crate) fn counts(&self) -> Vec<(Arc<str>, usize)> {
        self.read(State::counts)
    }

    /// Returns how many objects a resource has.
    pub(crate) fn count(&self, resource: &str) -> usize {
        self.read(|s| s.count(resource))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key(name: &str) -> Key {
        Key::new("configmaps", "default", name)
    }

    fn object(name: &str, data: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default", "uid": format!("u-{name}")}, "data": {"a": data}})
    }

    #[tokio::test]
    async fn writes_survive_a_process_that_dies() {
        let dir = tempfile::tempdir().unwrap();
        let copy = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Vec::new(), History::default()).unwrap();
        let first = store
            .write(key("a"), Expect::Absent, Change::Put(object("a", "1")))
            .await
            .unwrap();
        store
            .write(key("b"), Expect::Absent, Change::Put(object("b", "1")))
            .await
            .unwrap();
        store
            .write(
                key("a"),
                Expect::Version(first.version),
                Change::Put(object("a", "2")),
            )
            .await
            .unwrap();
        let gone = store.get("configmaps", "default", "b").unwrap();
        store
            .write(
                key("b"),
                Expect::Version(gone.version),
                Change::Delete(object("b", "1")),
            )
            .await
            .unwrap();
        // A copy of the file as it lies there is what a killed process leaves behind.
        std::fs::copy(dir.path().join("state.redb"), copy.path().join("state.redb")).unwrap();
        let again = Store::open(copy.path(), Vec::new(), History::default()).unwrap();
        assert_eq!(again.version(), store.version());
        assert!(again.get("configmaps", "default", "b").is_none());
        let found = again.get("configmaps", "default", "a").unwrap();
        assert_eq!(found.value("v1", "ConfigMap")["data"]["a"], "2");
        assert_eq!(found.version, first.version + 2);
    }

    #[tokio::test]
    async fn a_second_process_is_told_that_the_file_is_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Vec::new(), History::default()).unwrap();
        assert!(matches!(
            Store::open(dir.path(), Vec::new(), History::default()),
            Err(OpenError::InUse(_))
        ));
        drop(store);
        Store::open(dir.path(), Vec::new(), History::default()).unwrap();
    }

    #[tokio::test]
    async fn a_write_on_an_old_version_is_refused() {
        let store = Store::in_memory(Vec::new(), History::default());
        let first = store
            .write(key("a"), Expect::Absent, Change::Put(object("a", "1")))
            .await
            .unwrap();
        let again = store
            .write(key("a"), Expect::Absent, Change::Put(object("a", "1")))
            .await;
        assert!(matches!(again, Err(WriteError::Conflict)));
        store
            .write(
                key("a"),
                Expect::Version(first.version),
                Change::Put(object("a", "2")),
            )
            .await
            .unwrap();
        let stale = store
            .write(
                key("a"),
                Expect::Version(first.version),
                Change::Put(object("a", "3")),
            )
            .await;
        assert!(matches!(stale, Err(WriteError::Conflict)));
    }

    #[tokio::test]
    async fn what_nests_too_deep_is_refused_and_what_is_stored_can_be_read() {
        let store = Store::in_memory(Vec::new(), History::default());
        let deep = |levels: usize| (1..levels).fold(json!({}), |inner, _| json!([inner]));
        let mut inside = object("a", "1");
        inside["spec"] = deep(MAX_DEPTH - 1);
        let mut beyond = object("b", "1");
        beyond["spec"] = deep(MAX_DEPTH);
        let written = store
            .write(key("a"), Expect::Absent, Change::Put(inside.clone()))
            .await
            .unwrap();
        assert_eq!(written.value("v1", "ConfigMap")["spec"], inside["spec"]);
        let refused = store.write(key("b"), Expect::Absent, Change::Put(beyond)).await;
        assert!(matches!(refused, Err(WriteError::TooDeep)));
    }

    #[tokio::test]
    async fn concurrent_writers_of_one_object_all_but_one_lose() {
        let store = Store::in_memory(Vec::new(), History::default());
        let tries =
            (0..20).map(|n| store.write(key("a"), Expect::Absent, Change::Put(object("a", &n.to_string()))));
        let won = futures::future::join_all(tries)
            .await
            .into_iter()
            .flatten()
            .count();
        assert_eq!(won, 1);
    }

    #[tokio::test]
    async fn the_past_can_be_listed_until_the_window_has_moved_on() {
        let store = Store::in_memory(Vec::new(), History::default());
        let first = store
            .write(key("a"), Expect::Absent, Change::Put(object("a", "1")))
            .await
            .unwrap();
        let second = store
            .write(key("b"), Expect::Absent, Change::Put(object("b", "1")))
            .await
            .unwrap();
        store
            .write(
                key("a"),
                Expect::Version(first.version),
                Change::Delete(object("a", "1")),
            )
            .await
            .unwrap();
        store
            .write(
                key("b"),
                Expect::Version(second.version),
                Change::Put(object("b", "2")),
            )
            .await
            .unwrap();
        let past = store
            .part_at("configmaps", Some("default"), Range::ALL, second.version)
            .unwrap()
            .items;
        let seen: Vec<_> = past
            .iter()
            .map(|o| o.value("v1", "ConfigMap")["data"]["a"].clone())
            .collect();
        assert_eq!(past.iter().map(|o| &*o.key.name).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(seen, ["1", "1"]);
        let mut version = store.get("configmaps", "default", "b").unwrap().version;
        for n in 0..History::default().events {
            let put = Change::Put(object("b", &n.to_string()));
            version = store
                .write(key("b"), Expect::Version(version), put)
                .await
                .unwrap()
                .version;
        }
        assert!(
            store
                .part_at("configmaps", None, Range::ALL, second.version)
                .is_err()
        );
        assert!(store.events_after("configmaps", second.version).is_err());
        assert_eq!(store.events_after("configmaps", version - 1).unwrap().1.len(), 1);
    }

    proptest::proptest! {
        /// A part is what is cut out of the whole list, now and at any moment that is remembered.
        #[test]
        fn parts_are_those_of_the_list(
            writes in proptest::collection::vec((0_usize..3, 0_usize..6, proptest::bool::ANY), 1..40),
            starts in proptest::collection::vec((0_usize..4, 0_usize..7), 1..6),
            limit in 1_usize..9,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(check_parts(&writes, &starts, limit));
        }
    }

    async fn check_parts(writes: &[(usize, usize, bool)], starts: &[(usize, usize)], limit: usize) {
        let store = Store::in_memory(Vec::new(), History::default());
        let mut moments = vec![(store.version(), Vec::new())];
        let seen = |items: &[Arc<Stored>]| -> Vec<(String, String, u64)> {
            let names = items.iter().map(|o| (&o.key.namespace, &o.key.name, o.version));
            names.map(|(n, o, v)| (n.to_string(), o.to_string(), v)).collect()
        };
        for (namespace, name, remove) in writes {
            let key = Key::new("things", &format!("n{namespace}"), &format!("o{name}"));
            let there = store.get("things", &key.namespace, &key.name);
            let object = object(&key.name, "1");
            let change = match (remove, &there) {
                (true, Some(_)) => Change::Delete(object),
                (true, None) => continue,
                (false, _) => Change::Put(object),
            };
            let expect = there.map_or(Expect::Absent, |there| Expect::Version(there.version));
            store.write(key, expect, change).await.unwrap();
            let (version, all) = store.list("things", None);
            moments.push((version, seen(&all)));
        }
        for (version, all) in &moments {
            for (namespace, name) in starts {
                let after = (format!("n{namespace}"), format!("o{name}"));
                for within in [None, Some("n1")] {
                    let wanted: Vec<_> = all
                        .iter()
                        .filter(|o| (&o.0, &o.1) > (&after.0, &after.1) && within.is_none_or(|n| n == o.0))
                        .cloned()
                        .collect();
                    let range = Range {
                        after: Some((&after.0, &after.1)),
                        limit,
                    };
                    let part = store.part_at("things", within, range, *version).unwrap();
                    let count = wanted.len().min(limit);
                    assert_eq!(seen(&part.items), wanted[..count]);
                    assert_eq!(part.remaining, wanted.len() - count);
                    if *version == store.version() {
                        let (_, now) = store.part("things", within, range);
                        assert_eq!(
                            (seen(&now.items), now.remaining),
                            (seen(&part.items), part.remaining)
                        );
                    }
                }
            }
        }
    }

    #[tokio::test]
    async fn owners_are_indexed() {
        let store = Store::in_memory(Vec::new(), History::default());
        let owned = |name: &str, owners: &[&str]| {
            let mut child = object(name, "1");
            child["metadata"]["ownerReferences"] = owners.iter().map(|o| json!({"uid": o})).collect();
            child
        };
        let put = async |name: &str, expect, owners: &[&str]| {
            let change = Change::Put(owned(name, owners));
            Expect::Version(store.write(key(name), expect, change).await.unwrap().version)
        };
        let dependents = |owner: &str| {
            let found = store.dependents(Uid::of(owner));
            let names: BTreeSet<_> = found.iter().map(|o| o.key.name.to_string()).collect();
            names.into_iter().collect::<Vec<_>>()
        };
        let b = put("b", Expect::Absent, &["u-a", "u-x"]).await;
        let c = put("c", Expect::Absent, &["u-a"]).await;
        assert_eq!(store.absent_owners(), BTreeSet::from(["u-a", "u-x"].map(Uid::of)));
        put("a", Expect::Absent, &[]).await;
        assert_eq!(store.find_uid(Uid::of("u-a")).unwrap().key, key("a"));
        assert_eq!(store.absent_owners(), BTreeSet::from([Uid::of("u-x")]));
        assert_eq!(
            (dependents("u-a"), dependents("u-x")),
            (vec!["b".into(), "c".into()], vec!["b".into()])
        );
        put("b", b, &["u-x"]).await;
        assert_eq!(
            (dependents("u-a"), dependents("u-x")),
            (vec!["c".into()], vec!["b".into()])
        );
        let removal = Change::Delete(owned("c", &["u-a"]));
        store.write(key("c"), c, removal).await.unwrap();
        assert!(dependents("u-a").is_empty() && store.find_uid(Uid::of("u-c")).is_none());
    }
}
