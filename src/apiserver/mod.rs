//! The embedded Kubernetes API server. It knows nothing of machines.
//!
//! It serves what kubectl, kube-rs, client-go and controller-runtime clients and a kubelet need: discovery, the
//! built-in kinds listed in [`builtin`], custom resources in versions that webhooks convert, watches, server-side apply, admission
//! webhooks and policies, garbage collection.
//!
//! What it does not do, on purpose:
//! - API aggregation; mutating admission policies; the admission plugin `ServiceAccount`;
//! - CBOR, and protobuf of tables; built-in kinds come as protobuf, and go so to clients that take nothing else;
//! - `exec`, `attach`, `port-forward`, `log` and `proxy`: it does not reach into nodes;
//! - controllers of workloads: a Deployment is stored, nobody makes Pods of it;
//! - tokens in Secrets, quotas, limit ranges, priority and preemption;
//! - a history longer than five minutes, or than 1024 changes of a resource that take more than 4 MiB (10,000 in any case;
//!   [`Options::history`]): older watches are told to list again (410);
//! - more than one server on one state folder.
//!
//! Limits: a request body has at most 3 MiB, an object that a patch makes as well, the head of a request 1 MiB. 200 requests that
//! change something and 400 that read are worked on at a time ([`Limits`]); administrators and watches are not counted.

mod admission;
mod audit;
pub mod auth;
mod authenticate;
mod authorize;
pub mod builtin;
mod callout;
mod cel;
mod certificates;
mod conversion;
pub(crate) mod crd;
mod describe;
pub mod discovery;
mod front;
mod furnish;
mod gc;
mod handlers;
mod health;
mod identity;
pub(crate) mod jsonpath;
mod local_services;
mod metrics;
mod namespaces;
pub mod object;
pub mod offline;
pub mod openapi;
mod path;
mod pattern;
mod proto;
mod request;
mod reviews;
mod routes;
pub mod schema;
mod serve;
pub mod ssa;
mod status;
mod store;
pub mod table;
pub mod tls;
mod watch;

use std::path::Path;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use serde_json::Value;

use self::admission::Configured;
pub use self::audit::AuditLog;
use self::authorize::Rights;
use self::builtin::{Registry, group_version};
use self::callout::Callouts;
use self::front::limits::InFlight;
pub use self::front::limits::Limits;
use self::identity::Authority;
use self::metrics::Metrics;
use self::object::depth::{MAX_NEW_DEPTH, depth, is_deeper_than};
use self::store::{Change, Expect, Key, Store, Stored, WriteError};
pub use self::store::{FILE as STATE_FILE, History, OpenError};
use crate::time::Clock;

/// Store key of custom resource definitions.
const CRDS: &str = "customresourcedefinitions.apiextensions.k8s.io";
/// Store key of namespaces.
const NAMESPACES: &str = "namespaces";
/// After the disk has failed, what was left unfinished is taken up no more often than this.
const RESUMED_EVERY: Duration = Duration::from_secs(5);
/// The namespaces that are always there.
const DEFAULT_NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// The folder of the keys and certificates, in that of the state.
pub const KEYS: &str = "tls";

/// The server. Cheap to clone; when the last clone and the last client are gone, the state is closed.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    store: Store,
    registry: RwLock<Registry>,
    clock: Arc<dyn Clock>,
    rights: Rights,
    nodes: authorize::nodes::Graph,
    /// None if the library makes no keys.
    authority: Option<Authority>,
    gone: gc::Gone,
    callouts: Callouts,
    admission: Configured,
    in_flight: InFlight,
    metrics: Metrics,
    audit: OnceLock<AuditLog>,
    /// True as soon as watches must end.
    closing: tokio::sync::watch::Sender<bool>,
    options: Options,
}

/// What can be chosen about a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Whether the server does what a controller manager does for an API server: dependents of removed objects are removed, the
    /// `foregroundDeletion` and `orphan` finalizers worked off, cluster roles that are made of others follow them, each
    /// namespace has its default service account and the CA's certificate, and certificate requests are approved and signed.
    /// Default: true. Without it the server behaves as an API server without its controller manager.
    pub controllers: bool,
    /// How much of the past is remembered.
    pub history: History,
    /// How much there may be at a time.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            controllers: true,
            history: History::default(),
            limits: Limits::default(),
        }
    }
}

/// Returns what is there from the start.
fn seed(now: crate::time::Timestamp) -> Vec<(Key, Value)> {
    let mut seed = namespaces::seed(now);
    seed.extend(authorize::default_policy::seed(now));
    seed.extend(local_services::seed(now));
    seed
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("version", &self.store().version())
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Opens the state in `dir`, and makes the folder and an empty state if there is none. Must be called inside a
    /// tokio runtime.
    ///
    /// # Errors
    /// The state is in use by another process, is from a newer release, or cannot be read.
    pub async fn open(dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        Self::open_with(dir, clock, Options::default()).await
    }

    /// [`Server::open`] with options.
    ///
    /// # Errors
    /// As [`Server::open`].
    pub async fn open_with(dir: &Path, clock: Arc<dyn Clock>, options: Options) -> Result<Self, OpenError> {
        let dir = dir.to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            let mut authority = None;
            let store = Store::open_with(&dir, options.history, || {
                let keys = dir.join(KEYS);
                let made = Authority::ensure(&keys, clock.now()).map_err(|source| OpenError::Keys {
                    dir: keys.display().to_string(),
                    source: Box::new(source),
                })?;
                authority = Some(made);
                Ok(seed(clock.now()))
            })?;
            Ok(Self::new(store, clock, options, authority))
        });
        let server = opened.await.map_err(|e| OpenError::Unreadable {
            file: "the state".to_owned(),
            source: e.into(),
        })??;
        server.complete_policy().await;
        server.keep_local_services().await;
        server.furnish_all().await;
        server.resume();
        server.resume_after_failures();
        Ok(server)
    }

    /// Makes a server whose state is gone when it is dropped.
    pub fn in_memory(clock: Arc<dyn Clock>) -> Self {
        Self::in_memory_with(clock, Options::default())
    }

    /// [`Server::in_memory`] with options.
    pub fn in_memory_with(clock: Arc<dyn Clock>, options: Options) -> Self {
        let authority = Authority::in_memory(clock.now()).map_err(|error| tracing::error!(%error, "no keys"));
        let authority = authority.ok();
        let mut seed = seed(clock.now());
        if options.controllers {
            let namespaces = DEFAULT_NAMESPACES.iter();
            seed.extend(
                namespaces.flat_map(|name| furnish::furniture(name, authority.as_ref(), clock.now())),
            );
        }
        let store = Store::in_memory(seed, options.history);
        Self::new(store, clock, options, authority)
    }

    fn new(store: Store, clock: Arc<dyn Clock>, options: Options, authority: Option<Authority>) -> Self {
        let closing = tokio::sync::watch::Sender::new(false);
        let inner = Inner {
            rights: Rights::new(&store),
            nodes: authorize::nodes::Graph::default(),
            gone: gc::Gone::default(),
            callouts: Callouts::default(),
            admission: Configured::new(&store),
            store,
            registry: RwLock::new(Registry::builtin()),
            in_flight: InFlight::default(),
            metrics: Metrics::default(),
            audit: OnceLock::new(),
            clock,
            closing,
            authority,
            options,
        };
        let server = Self(Arc::new(inner));
        server.reload_definitions();
        server
    }

    fn store(&self) -> &Store {
        &self.0.store
    }

    fn registry(&self) -> Registry {
        self.0
            .registry
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn now(&self) -> crate::time::Timestamp {
        self.0.clock.now()
    }

    /// Tells all requests from now on to an audit log. The first one that is given stays.
    pub fn audit_to(&self, log: AuditLog) {
        if self.0.audit.set(log).is_err() {
            tracing::debug!("there is an audit log already");
        }
    }

    /// Writes what the audit log still has to write, and ends it. Blocks for a moment.
    pub fn close_audit_log(&self) {
        if let Some(log) = self.0.audit.get() {
            log.close();
        }
    }

    /// Ends all watches, so that the connections that carry them can close. New ones end at once.
    pub fn close(&self) {
        self.0.closing.send_replace(true);
    }

    /// Ends all watches and closes the state, so that another process can open it. What is left of clients can still
    /// read, but every write fails from now on.
    pub async fn stop(&self) {
        self.close();
        let server = self.clone();
        // It waits for the threads that write.
        let closed = tokio::task::spawn_blocking(move || {
            server.store().close();
            server.close_audit_log();
        });
        closed.await.ok();
    }

    /// Takes all stored custom resource definitions into the registry.
    fn reload_definitions(&self) {
        let (_, definitions) = self.store().list(CRDS, None);
        for definition in definitions {
            self.register(&definition.key.name);
        }
    }

    /// Makes the registry serve what the definition called `name` says now, or nothing if it is gone.
    fn register(&self, name: &str) {
        let mut registry = self.0.registry.write().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock: of two changes at once the later one must win.
        *registry = match self.store().get(CRDS, "", name) {
            Some(definition) => {
                registry.with_crd(&definition.value("apiextensions.k8s.io/v1", "CustomResourceDefinition"))
            }
            None => registry.without_crd(name),
        };
    }

    /// Writes an object and does what must follow from it before anybody is told. Both happen even if who asked for it has hung up,
    /// which ends its handler at once: what is on disk must be served, and its garbage collected.
    async fn commit(&self, key: Key, expect: Expect, mut change: Change) -> Result<Arc<Stored>, WriteError> {
        if &*key.resource == CRDS
            && let Change::Put(definition) = &mut change
        {
            crd::accept(definition, &self.registry(), self.now());
        }
        let deleted = matches!(change, Change::Delete(_));
        let before = self.store().get(&key.resource, &key.namespace, &key.name);
        if let Change::Put(object) = &change
            && nests_too_deep(object, before.as_deref())
        {
            return Err(WriteError::TooDeep);
        }
        // Handed over here, not in the task: writes happen in the order in which they are asked for.
        let written = self.store().begin(key, expect, change)?;
        let server = self.clone();
        let whole = tokio::spawn(async move {
            let stored = written.await?;
            server.follow(&stored, deleted).await;
            if let Some(before) = before.filter(|_| server.0.options.controllers) {
                server.wake_former_owners(&before, &stored);
            }
            Ok(stored)
        });
        whole.await.unwrap_or(Err(WriteError::Closed))
    }

    /// Does what must follow from a write before its writer is told.
    async fn follow(&self, stored: &Arc<Stored>, deleted: bool) {
        if &*stored.key.resource == CRDS {
            self.register(&stored.key.name);
            if deleted {
                self.accept_waiting_definitions().await;
            }
            self.spawn_keep_local_services();
        }
        if &*stored.key.resource == local_services::API_SERVICES && deleted {
            self.spawn_keep_local_services();
        }
        if self.0.options.controllers && &*stored.key.resource == NAMESPACES && !stored.deleting {
            self.furnish(&stored.key.name).await;
        }
        self.follow_up(stored, deleted);
    }

    /// Establishes definitions that waited for a name that is free now.
    async fn accept_waiting_definitions(&self) {
        for stored in self.store().list(CRDS, None).1 {
            let mut definition = stored.value("apiextensions.k8s.io/v1", "CustomResourceDefinition");
            if crd::accept(&mut definition, &self.registry(), self.now()) {
                let expect = Expect::Version(stored.version);
                // If somebody changes it at this moment, that change establishes it.
                if self
                    .store()
                    .write(stored.key.clone(), expect, Change::Put(definition))
                    .await
                    .is_ok()
                {
                    self.register(&stored.key.name);
                }
            }
        }
    }

    /// Starts what follows from a write without being waited for.
    fn follow_up(&self, stored: &Arc<Stored>, deleted: bool) {
        if deleted {
            self.empty_definition_of(stored);
        } else {
            self.empty_if_definition(stored);
            self.remove_if_homeless(stored);
        }
        if !self.0.options.controllers {
            return;
        }
        self.keep_furnished(stored);
        self.after_signing_request(stored);
        if deleted {
            self.after_removal(stored);
        } else {
            self.after_write(stored);
        }
        self.after_role(stored);
    }

    /// Takes up what a process that died left unfinished.
    fn resume(&self) {
        for definition in self.store().list(CRDS, None).1 {
            self.empty_if_definition(&definition);
        }
        if !self.0.options.controllers {
            return;
        }
        self.spawn_aggregate();
        self.see_to_requests();
        for uid in self.store().absent_owners() {
            self.spawn_collect(uid);
        }
        for info in self.registry().all() {
            let (_, objects) = self.store().list(&info.storage_group_resource, None);
            for object in objects.iter().filter(|o| o.deleting) {
                self.after_write(object);
            }
        }
    }

    /// Takes up what could not be written while the disk failed, as soon as something can be written again.
    fn resume_after_failures(&self) {
        let (mut turns, server) = (self.store().turns(), Arc::downgrade(&self.0));
        tokio::spawn(async move {
            while turns.changed().await.is_ok() {
                let Some(server) = server.upgrade().map(Self) else {
                    return;
                };
                if server.store().can_write() {
                    for (stored, deleted) in server.store().take_recovered() {
                        server.follow(&stored, deleted).await;
                    }
                    server.resume();
                }
                drop(server);
                // A disk on which only some writes succeed must not make this a loop.
                tokio::time::sleep(RESUMED_EVERY).await;
            }
        });
    }

    /// Returns the stored object in the form of the version in which it is stored, and its resource in just that version: what the server
    /// does on its own behalf needs no conversion.
    fn value_of(&self, stored: &Stored) -> Option<(Arc<builtin::ResourceInfo>, Value)> {
        let mut info = self.registry().find_stored(&stored.key.resource)?;
        if info.conversion.is_some()
            && let Some(version) = stored.written_in()
            && (*version != *info.version || *version != *info.storage_version)
        {
            let info = Arc::make_mut(&mut info);
            info.version = version.to_string();
            info.storage_version = version.to_string();
            info.conversion = None;
        }
        let value = stored.value(&group_version(&info.group, &info.version), &info.kind);
        Some((info, value))
    }
}

/// Says whether an object nests deeper than it may. One that was let in by an older release may stay as deep as it is.
fn nests_too_deep(object: &Value, before: Option<&Stored>) -> bool {
    let is_deeper = |before: &Stored| depth(object) > depth(&before.value("", ""));
    is_deeper_than(object, MAX_NEW_DEPTH) && before.is_none_or(is_deeper)
}
