//! What all controllers share while they run: caches, queues, workload clusters, and who is told of which event. It decides nothing.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError, RwLock, Weak},
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Secret};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta},
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt,
        events::{Recorder, Reporter},
        reflector::ObjectRef,
        watcher,
    },
};
use serde::de::DeserializeOwned;
use tokio::{sync::watch, task::JoinSet};

use super::{
    Context,
    apply::Writer,
    cache::{Cache, Feeder, Indexed, Sink, readable, term},
    effect::{ClusterKey, ObjectKey, Target},
    node,
    runtime::{Metrics, Queue, ReconcileError, Work},
    workload::{Workload, Workloads},
};
use crate::api::{
    INFRASTRUCTURE_GROUP, VERSION,
    v1alpha1::{
        ApiServerKind, Cluster, Config, DockerInfrastructureProvider, InfrastructureProvider, Machine,
    },
};

/// How long the first list of a kind that nobody watched yet may take.
const FIRST_LIST: Duration = Duration::from_secs(10);

/// Infrastructure kinds by (group, kind).
type Infrastructure = BTreeMap<(String, String), InfrastructureKind>;

/// An object that was written: kind, namespace, name.
type Written = (String, Option<String>, String);

/// An infrastructure kind that is watched.
#[derive(Clone)]
pub(crate) struct InfrastructureKind {
    pub(crate) resource: ApiResource,
    pub(crate) cache: Cache<DynamicObject>,
}

/// Work for each controller.
pub(crate) struct Queues {
    pub(crate) machines: Queue<Machine>,
    pub(crate) clusters: Queue<Cluster>,
    pub(crate) configs: Queue<Config>,
    pub(crate) providers: Queue<InfrastructureProvider>,
    pub(crate) docker_providers: Queue<DockerInfrastructureProvider>,
    /// By kind; only those with an actuator.
    pub(crate) infrastructure: BTreeMap<String, Queue<DynamicObject>>,
}

/// The ends of the queues, for the drivers.
pub(crate) struct Works {
    pub(crate) machines: Work<Machine>,
    pub(crate) clusters: Work<Cluster>,
    pub(crate) configs: Work<Config>,
    pub(crate) providers: Work<InfrastructureProvider>,
    pub(crate) docker_providers: Work<DockerInfrastructureProvider>,
    pub(crate) infrastructure: BTreeMap<String, Work<DynamicObject>>,
}

/// What all controllers share.
pub(crate) struct World {
    pub(crate) ctx: Context,
    pub(crate) machines: Cache<Machine>,
    pub(crate) clusters: Cache<Cluster>,
    pub(crate) configs: Cache<Config>,
    pub(crate) providers: Cache<InfrastructureProvider>,
    pub(crate) docker_providers: Cache<DockerInfrastructureProvider>,
    /// Metadata only, and only of Secrets that a Machine API object owns.
    pub(crate) secrets: Cache<PartialObjectMeta<Secret>>,
    pub(crate) queues: Queues,
    pub(crate) workloads: Workloads,
    pub(crate) metrics: Arc<Metrics>,
    infrastructure: RwLock<Infrastructure>,
    recorders: Mutex<HashMap<&'static str, Recorder>>,
    /// What was written and has not been seen yet, with its resource version.
    unseen: Mutex<HashMap<Written, u64>>,
    tasks: Mutex<JoinSet<()>>,
}

impl World {
    /// Begins to watch all kinds and waits until each has been listed once.
    pub(crate) async fn start(ctx: Context) -> (Arc<Self>, Works) {
        let (queues, works) = queues(&ctx);
        let (machines, machine_feeder) = Cache::new(());
        let (clusters, cluster_feeder) = Cache::new(());
        let (configs, config_feeder) = Cache::new(());
        let (providers, provider_feeder) = Cache::new(());
        let (docker_providers, docker_provider_feeder) = Cache::new(());
        let (secrets, secret_feeder) = Cache::new(());
        let world = Arc::new(Self {
            machines,
            clusters,
            configs,
            providers,
            docker_providers,
            secrets,
            queues,
            workloads: Workloads::default(),
            metrics: Arc::clone(&ctx.metrics),
            infrastructure: RwLock::default(),
            recorders: Mutex::default(),
            unseen: Mutex::default(),
            tasks: Mutex::default(),
            ctx,
        });
        world.feed(machine_feeder, Self::machine_changed);
        world.feed(cluster_feeder, Self::cluster_changed);
        world.feed(config_feeder, Self::config_changed);
        world.feed(provider_feeder, Self::provider_changed);
        world.feed(docker_provider_feeder, Self::docker_provider_changed);
        world.feed_metadata(secret_feeder);
        let kinds: Vec<String> = world.ctx.actuators.keys().cloned().collect();
        for kind in kinds {
            let gvk = GroupVersionKind::gvk(INFRASTRUCTURE_GROUP, VERSION, &kind);
            world.watch_infrastructure(ApiResource::from_gvk(&gvk));
        }
        let management = world.watch_workload(Target::Management, world.ctx.client.clone());
        world
            .workloads
            .put(Target::Management, String::new(), Arc::clone(&management));
        world.ready().await;
        management.nodes.ready().await;
        (world, works)
    }

    /// Waits until all kinds have been listed once.
    pub(crate) async fn ready(&self) {
        self.machines.ready().await;
        self.clusters.ready().await;
        self.configs.ready().await;
        self.providers.ready().await;
        self.docker_providers.ready().await;
        self.secrets.ready().await;
        let kinds: Vec<_> = read(&self.infrastructure).values().cloned().collect();
        for kind in kinds {
            kind.cache.ready().await;
        }
    }

    /// Ends all watches and all looks that still run.
    pub(crate) fn shut_down(&self) {
        self.workloads.clear();
        lock(&self.tasks).abort_all();
    }

    /// Returns a client for a cluster that answers.
    pub(crate) fn client(&self, target: &Target) -> Result<Client, ReconcileError> {
        match target {
            Target::Management => Ok(self.ctx.client.clone()),
            Target::Cluster(key) => self
                .workloads
                .get(target)
                .filter(|w| w.is_reachable())
                .map(|w| w.client.clone())
                .ok_or_else(|| ReconcileError::Unreachable(format!("the API server of cluster {key}"))),
        }
    }

    /// Takes a workload cluster that did not answer for unreachable, so that nobody else waits for it, until its Cluster says otherwise.
    pub(crate) fn suspect(&self, target: &Target, error: &ReconcileError) {
        if let (Target::Cluster(key), true) = (target, error.is_silence())
            && let Some(workload) = self.workloads.get(target)
        {
            workload.lost();
            self.push_cluster(&key.namespace, &key.name);
        }
    }

    /// Returns what writes Events for a controller.
    pub(crate) fn recorder(&self, writer: Writer) -> Recorder {
        lock(&self.recorders)
            .entry(writer.source)
            .or_insert_with(|| {
                let reporter = Reporter {
                    controller: writer.source.to_owned(),
                    instance: Some(self.ctx.identity.clone()),
                };
                Recorder::new(self.ctx.client.clone(), reporter)
            })
            .clone()
    }

    /// Remembers what was written, so that nothing is decided from what was there before.
    pub(crate) fn written(&self, key: &ObjectKey, object: &DynamicObject) {
        // A resource version that is no number says nothing about before and after.
        let version = object.resource_version().and_then(|v| v.parse::<u64>().ok());
        if let Some(version) = version {
            let key = (key.resource.kind.clone(), key.namespace.clone(), key.name.clone());
            lock(&self.unseen).insert(key, version);
        }
    }

    /// Whether an object is older than what was written of it last. The watch brings the newer one soon.
    pub(crate) fn is_stale<K: Resource>(&self, kind: &str, object: &K) -> bool {
        let key = (
            kind.to_owned(),
            object.meta().namespace.clone(),
            object.name_any(),
        );
        let mut unseen = lock(&self.unseen);
        let Some(written) = unseen.get(&key) else {
            return false;
        };
        let seen = object
            .meta()
            .resource_version
            .as_ref()
            .and_then(|v| v.parse::<u64>().ok());
        if seen.is_some_and(|seen| seen < *written) {
            return true;
        }
        unseen.remove(&key);
        false
    }

    /// Returns the Cluster that a Machine names: nothing if it names none, an error with the name if it is missing.
    pub(crate) fn cluster_of(&self, machine: &Machine) -> Result<Option<Arc<Cluster>>, String> {
        let Some(name) = &machine.spec.cluster_name else {
            return Ok(None);
        };
        self.clusters
            .get(machine.metadata.namespace.as_deref(), name)
            .map(Some)
            .ok_or_else(|| name.clone())
    }

    /// Says in which cluster a Machine's Node lives; nothing if its Cluster is missing.
    pub(crate) fn target_of(&self, machine: &Machine) -> Option<Target> {
        match self.cluster_of(machine) {
            Ok(None) => Some(Target::Management),
            Ok(Some(cluster)) => Some(target(&cluster)),
            Err(_) => None,
        }
    }

    /// Whether a Machine is left alone because its Cluster is.
    pub(crate) fn is_paused(&self, machine: &Machine) -> bool {
        matches!(self.cluster_of(machine), Ok(Some(cluster)) if cluster_is_paused(&cluster))
    }

    /// Finds the infrastructure object that a Machine refers to, by (kind, object).
    pub(crate) fn infrastructure(&self, group: &str, kind: &str) -> Option<InfrastructureKind> {
        read(&self.infrastructure)
            .get(&(group.to_owned(), kind.to_owned()))
            .cloned()
    }

    /// All infrastructure kinds that are watched.
    pub(crate) fn infrastructure_kinds(&self) -> Vec<InfrastructureKind> {
        read(&self.infrastructure).values().cloned().collect()
    }

    /// Returns the kind of a reference; a kind that nobody watched yet is looked up and watched from now on.
    pub(crate) async fn infrastructure_of(
        self: &Arc<Self>,
        reference: &ObjectReference,
    ) -> Result<Option<InfrastructureKind>, ReconcileError> {
        let api_version = reference.api_version.as_deref().unwrap_or_default();
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kind = reference.kind.as_deref().unwrap_or_default();
        if let Some(known) = self.infrastructure(group, kind) {
            return Ok(Some(known));
        }
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let resource = match kube::discovery::pinned_kind(&self.ctx.client, &gvk).await {
            Ok((resource, _)) => resource,
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(None),
            Err(kube::Error::Discovery(_)) => return Ok(None),
            Err(error) => return Err(ReconcileError::api(format!("looking up the kind {kind}"), error)),
        };
        let new = self.watch_infrastructure(resource);
        tokio::time::timeout(FIRST_LIST, new.cache.ready())
            .await
            .map_err(|_| ReconcileError::TimedOut {
                doing: format!("listing all {kind}"),
                seconds: FIRST_LIST.as_secs(),
            })?;
        Ok(Some(new))
    }

    /// Watches an infrastructure kind, if nobody does yet.
    fn watch_infrastructure(self: &Arc<Self>, resource: ApiResource) -> InfrastructureKind {
        let mut kinds = self
            .infrastructure
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let key = (resource.group.clone(), resource.kind.clone());
        if let Some(known) = kinds.get(&key) {
            return known.clone();
        }
        let (cache, feeder) = Cache::new(resource.clone());
        let api: Api<DynamicObject> = Api::all_with(self.ctx.client.clone(), &resource);
        let events = watcher(api, watcher::Config::default()).default_backoff();
        let world = Arc::downgrade(self);
        let kind = resource.clone();
        let sink: Sink<DynamicObject> = Box::new(move |object| {
            if let Some(world) = world.upgrade() {
                world.infrastructure_changed(&kind, object);
            }
        });
        let name = resource.kind.clone();
        lock(&self.tasks).spawn(async move {
            feeder.run(events, sink, |error| broken(&name, error)).await;
        });
        let new = InfrastructureKind { resource, cache };
        kinds.insert(key, new.clone());
        new
    }

    /// Watches the Nodes of a cluster and keeps them linked to their Machines.
    pub(crate) fn watch_workload(self: &Arc<Self>, target: Target, client: Client) -> Arc<Workload> {
        let (cache, feeder) = Cache::new(());
        let (queue, work) = Queue::new();
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let api: Api<DeserializeGuard<Node>> = Api::all(client.clone());
        let events = watcher(api, watcher::Config::default())
            .default_backoff()
            .filter_map(|event| futures::future::ready(readable(event)));
        let sink: Sink<Node> = {
            let (world, target, queue, cache) =
                (Arc::downgrade(self), target.clone(), queue.clone(), cache.clone());
            Box::new(move |node| {
                queue.push(cache.key(None, &node.name_any()));
                if let Some(world) = world.upgrade() {
                    world.node_changed(&target, &cache, node);
                }
            })
        };
        let on_error = {
            let (world, target) = (Arc::downgrade(self), target.clone());
            move |error: &watcher::Error| {
                broken("Node", error);
                if let (Some(world), Target::Cluster(key)) = (world.upgrade(), &target) {
                    world.push_cluster(&key.namespace, &key.name);
                }
            }
        };
        tasks.spawn(async move { feeder.run(events, sink, on_error).await });
        tasks.spawn(node::controller(
            Arc::downgrade(self),
            target,
            cache.clone(),
            work,
            stopped,
        ));
        Arc::new(Workload::new(client, cache, queue, stop, tasks))
    }

    fn feed<K>(self: &Arc<Self>, feeder: Feeder<K>, changed: fn(&Self, &K))
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Indexed + Send + Sync + 'static,
    {
        let api: Api<DeserializeGuard<K>> = Api::all(self.ctx.client.clone());
        let events = watcher(api, watcher::Config::default())
            .default_backoff()
            .filter_map(|event| futures::future::ready(readable(event)));
        let sink = sink(self, changed);
        lock(&self.tasks).spawn(async move {
            feeder
                .run(events, sink, |error| broken(&K::kind(&()), error))
                .await;
        });
    }

    fn feed_metadata(self: &Arc<Self>, feeder: Feeder<PartialObjectMeta<Secret>>) {
        let api: Api<PartialObjectMeta<Secret>> = Api::all(self.ctx.client.clone());
        let events = watcher(api, watcher::Config::default()).default_backoff();
        let sink = sink(self, Self::secret_changed);
        lock(&self.tasks).spawn(async move {
            feeder.run(events, sink, |error| broken("Secret", error)).await;
        });
    }

    fn machine_changed(&self, machine: &Machine) {
        let namespace = machine.namespace().unwrap_or_default();
        self.push_machine(machine);
        if let Some(reference) = &machine.spec.infrastructure_ref
            && let (Some(kind), Some(name)) = (&reference.kind, &reference.name)
        {
            self.push_infrastructure(kind, &namespace, name);
        }
        let leaving = machine.metadata.deletion_timestamp.is_some();
        if let Some(cluster) = &machine.spec.cluster_name
            && (leaving || machine.is_control_plane())
        {
            self.push_cluster(&namespace, cluster);
        }
        if let Some(config) = machine.spec.config_ref.as_ref().and_then(|r| r.name.as_ref()) {
            self.queues
                .configs
                .push(ObjectRef::new(config).within(&namespace));
        }
        // The Node may have waited for its Machine.
        if let (Some(id), Some(target)) = (&machine.spec.provider_id, self.target_of(machine))
            && let Some(workload) = self.workloads.get(&target)
        {
            for node in workload.nodes.find(&term::provider(id)) {
                workload.node_queue.push(ObjectRef::new(&node.name_any()));
            }
        }
    }

    fn cluster_changed(&self, cluster: &Cluster) {
        let namespace = cluster.namespace().unwrap_or_default();
        self.push_cluster(&namespace, &cluster.name_any());
        for machine in self
            .machines
            .find(&term::cluster(&namespace, &cluster.name_any()))
        {
            self.push_machine(&machine);
            if let Some(reference) = &machine.spec.infrastructure_ref
                && let (Some(kind), Some(name)) = (&reference.kind, &reference.name)
            {
                self.push_infrastructure(kind, &namespace, name);
            }
        }
    }

    fn config_changed(&self, config: &Config) {
        let namespace = config.namespace().unwrap_or_default();
        self.queues.configs.push(ObjectRef::from_obj(config));
        for machine in self.machines.find(&term::config(&namespace, &config.name_any())) {
            self.push_machine(&machine);
        }
    }

    fn provider_changed(&self, provider: &InfrastructureProvider) {
        self.queues.providers.push(ObjectRef::from_obj(provider));
    }

    fn docker_provider_changed(&self, provider: &DockerInfrastructureProvider) {
        self.queues.docker_providers.push(ObjectRef::from_obj(provider));
        for parent in self.providers.all() {
            let reference = &parent.spec.infrastructure_ref;
            if reference.name == provider.metadata.name && reference.namespace == provider.metadata.namespace
            {
                self.queues.providers.push(ObjectRef::from_obj(&*parent));
            }
        }
    }

    fn infrastructure_changed(&self, resource: &ApiResource, object: &DynamicObject) {
        let namespace = object.namespace().unwrap_or_default();
        let name = object.name_any();
        self.push_infrastructure(&resource.kind, &namespace, &name);
        for machine in self
            .machines
            .find(&term::infrastructure(&resource.kind, &namespace, &name))
        {
            self.push_machine(&machine);
            if let Some(cluster) = &machine.spec.cluster_name
                && machine.is_control_plane()
            {
                self.push_cluster(&namespace, cluster);
            }
            // A Node without a provider id is known by its name.
            let id = object.data.pointer("/spec/providerID").and_then(|id| id.as_str());
            if let (Some(id), Some(target)) = (id, self.target_of(&machine))
                && let Some(workload) = self.workloads.get(&target)
            {
                let node = id.rsplit('/').next().unwrap_or(id);
                if workload.nodes.get(None, node).is_some() {
                    workload.node_queue.push(ObjectRef::new(node));
                }
            }
        }
    }

    fn secret_changed(&self, secret: &PartialObjectMeta<Secret>) {
        let namespace = secret.namespace().unwrap_or_default();
        let name = secret.name_any();
        for owner in secret.owner_references() {
            match owner.kind.as_str() {
                "Machine" => self
                    .queues
                    .machines
                    .push(ObjectRef::new(&owner.name).within(&namespace)),
                "Cluster" => self.push_cluster(&namespace, &owner.name),
                "Config" => self
                    .queues
                    .configs
                    .push(ObjectRef::new(&owner.name).within(&namespace)),
                "DockerInfrastructureProvider" => self
                    .queues
                    .docker_providers
                    .push(ObjectRef::new(&owner.name).within(&namespace)),
                _ => {}
            }
        }
        for machine in self.machines.find(&term::data_secret(&namespace, &name)) {
            self.push_machine(&machine);
        }
        for config in self.configs.all() {
            let uses = config.spec.secrets.iter().any(|s| s.data_secret_name == name);
            if uses && config.namespace().as_deref() == Some(&namespace) {
                self.config_changed(&config);
            }
        }
    }

    fn node_changed(&self, target: &Target, cache: &Cache<Node>, node: &Node) {
        let Some(id) = node.spec.as_ref().and_then(|s| s.provider_id.as_deref()) else {
            return;
        };
        let gone = cache.get(None, &node.name_any()).is_none();
        for machine in self.machines.find(&term::provider(id)) {
            if self.target_of(&machine).as_ref() != Some(target) {
                continue;
            }
            self.push_machine(&machine);
            if let Some(reference) = &machine.spec.infrastructure_ref
                && let (Some(kind), Some(name), true) = (&reference.kind, &reference.name, gone)
            {
                self.push_infrastructure(kind, &machine.namespace().unwrap_or_default(), name);
            }
        }
    }

    fn push_machine(&self, machine: &Machine) {
        self.queues.machines.push(ObjectRef::from_obj(machine));
    }

    /// Asks for a look at a Cluster.
    pub(crate) fn push_cluster(&self, namespace: &str, name: &str) {
        self.queues.clusters.push(ObjectRef::new(name).within(namespace));
    }

    fn push_infrastructure(&self, kind: &str, namespace: &str, name: &str) {
        if let Some(queue) = self.queues.infrastructure.get(kind)
            && let Some(known) = self.infrastructure(INFRASTRUCTURE_GROUP, kind)
        {
            queue.push(known.cache.key(Some(namespace), name));
        }
    }
}

/// Says where the Nodes of a Cluster's machines live.
pub(crate) fn target(cluster: &Cluster) -> Target {
    match cluster.spec.api_server {
        ApiServerKind::Management => Target::Management,
        ApiServerKind::Own => Target::Cluster(ClusterKey {
            namespace: cluster.namespace().unwrap_or_default(),
            name: cluster.name_any(),
        }),
    }
}

/// Whether a Cluster and its machines are left alone.
pub(crate) fn cluster_is_paused(cluster: &Cluster) -> bool {
    cluster.spec.paused == Some(true) || cluster.annotations().contains_key(crate::api::labels::PAUSED)
}

fn queues(ctx: &Context) -> (Queues, Works) {
    let (machines, machine_work) = Queue::new();
    let (clusters, cluster_work) = Queue::new();
    let (configs, config_work) = Queue::new();
    let (providers, provider_work) = Queue::new();
    let (docker_providers, docker_provider_work) = Queue::new();
    let mut infrastructure = BTreeMap::new();
    let mut infrastructure_work = BTreeMap::new();
    for kind in ctx.actuators.keys() {
        let (queue, work) = Queue::new();
        infrastructure.insert(kind.clone(), queue);
        infrastructure_work.insert(kind.clone(), work);
    }
    let queues = Queues {
        machines,
        clusters,
        configs,
        providers,
        docker_providers,
        infrastructure,
    };
    let works = Works {
        machines: machine_work,
        clusters: cluster_work,
        configs: config_work,
        providers: provider_work,
        docker_providers: docker_provider_work,
        infrastructure: infrastructure_work,
    };
    (queues, works)
}

fn sink<K: 'static>(world: &Arc<World>, changed: fn(&World, &K)) -> Sink<K> {
    let world: Weak<World> = Arc::downgrade(world);
    Box::new(move |object| {
        if let Some(world) = world.upgrade() {
            changed(&world, object);
        }
    })
}

fn broken(kind: &str, error: &watcher::Error) {
    tracing::warn!(%kind, %error, "the watch broke off; trying again");
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
