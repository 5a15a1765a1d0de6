//! What all controllers share while they run: caches, workload clusters, and what has been written. It decides nothing.

mod events;
mod expected;
mod queues;
mod watches;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta},
};
use tokio::task::JoinSet;

use self::expected::Expected;
pub(crate) use self::queues::{Queues, Works};
use super::{
    Context,
    apply::Writer,
    cache::Cache,
    effect::{ClusterKey, ObjectKey, Target},
    machine_health_check::claims::Claims,
    metrics::Metrics,
    recorder::Recorder,
    runtime::ReconcileError,
    workload::Workloads,
};
use crate::api::{
    INFRASTRUCTURE_GROUP, VERSION,
    v1alpha1::{
        ApiServerKind, Cluster, Config, DockerInfrastructureProvider, InfrastructureProvider, Machine,
        MachineDeployment, MachineHealthCheck, MachineSet,
    },
};

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

/// What all controllers share.
pub(crate) struct World {
    pub(crate) ctx: Context,
    pub(crate) machines: Cache<Machine>,
    pub(crate) machine_sets: Cache<MachineSet>,
    pub(crate) machine_deployments: Cache<MachineDeployment>,
    pub(crate) machine_health_checks: Cache<MachineHealthCheck>,
    pub(crate) clusters: Cache<Cluster>,
    pub(crate) configs: Cache<Config>,
    pub(crate) providers: Cache<InfrastructureProvider>,
    pub(crate) docker_providers: Cache<DockerInfrastructureProvider>,
    /// Metadata only, and only of Secrets that a Machine API object owns.
    pub(crate) secrets: Cache<PartialObjectMeta<Secret>>,
    /// Those named `node-unhealthy-conditions`. Nobody waits for their first list: it may be refused.
    pub(crate) unhealthy_conditions: Cache<ConfigMap>,
    /// Machines that health checks delete right now.
    pub(super) claims: Claims,
    pub(crate) queues: Queues,
    pub(crate) workloads: Workloads,
    pub(crate) metrics: Arc<Metrics>,
    infrastructure: RwLock<Infrastructure>,
    recorders: Mutex<HashMap<&'static str, Recorder>>,
    /// What was written and has not been seen yet, with its resource version.
    unseen: Mutex<HashMap<Written, u64>>,
    /// Machines that were made or deleted, and that the watch has not told of yet.
    expected: Mutex<Expected>,
    tasks: Mutex<JoinSet<()>>,
}

impl World {
    /// Begins to watch all kinds and waits until each has been listed once.
    pub(crate) async fn start(ctx: Context) -> (Arc<Self>, Works) {
        let (queues, works) = queues::queues(&ctx);
        let (machines, machine_feeder) = Cache::new(());
        let (machine_sets, machine_set_feeder) = Cache::new(());
        let (machine_deployments, machine_deployment_feeder) = Cache::new(());
        let (machine_health_checks, machine_health_check_feeder) = Cache::new(());
        let (clusters, cluster_feeder) = Cache::new(());
        let (configs, config_feeder) = Cache::new(());
        let (providers, provider_feeder) = Cache::new(());
        let (docker_providers, docker_provider_feeder) = Cache::new(());
        let (secrets, secret_feeder) = Cache::new(());
        let (unhealthy_conditions, unhealthy_conditions_feeder) = Cache::new(());
        let world = Arc::new(Self {
            machines,
            machine_sets,
            machine_deployments,
            machine_health_checks,
            clusters,
            configs,
            providers,
            docker_providers,
            secrets,
            unhealthy_conditions,
            claims: Claims::default(),
            queues,
            workloads: Workloads::default(),
            metrics: Arc::clone(&ctx.metrics),
            infrastructure: RwLock::default(),
            recorders: Mutex::default(),
            unseen: Mutex::default(),
            expected: Mutex::default(),
            tasks: Mutex::default(),
            ctx,
        });
        world.feed(machine_feeder, Self::machine_changed);
        world.feed(machine_set_feeder, Self::machine_set_changed);
        world.feed(machine_deployment_feeder, Self::machine_deployment_changed);
        world.feed(machine_health_check_feeder, Self::machine_health_check_changed);
        world.feed(cluster_feeder, Self::cluster_changed);
        world.feed(config_feeder, Self::config_changed);
        world.feed_from(
            Api::all(world.ctx.client.clone()),
            provider_feeder,
            Self::provider_changed,
        );
        world.feed(docker_provider_feeder, Self::docker_provider_changed);
        world.feed_metadata(secret_feeder);
        world.feed_unhealthy_conditions(unhealthy_conditions_feeder);
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
        self.machine_sets.ready().await;
        self.machine_deployments.ready().await;
        self.machine_health_checks.ready().await;
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
            .or_insert_with(|| Recorder::new(self.ctx.client.clone(), writer.source, &self.ctx.identity))
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
        self.cluster_named_is_paused(machine, machine.spec.cluster_name.as_deref())
    }

    /// Whether an object is left alone because the Cluster that it names is.
    pub(crate) fn cluster_named_is_paused<K: Resource>(&self, object: &K, cluster: Option<&str>) -> bool {
        cluster
            .and_then(|name| self.clusters.get(object.meta().namespace.as_deref(), name))
            .is_some_and(|cluster| cluster_is_paused(&cluster))
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

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
