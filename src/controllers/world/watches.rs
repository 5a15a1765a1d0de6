//! Watches: which kinds are kept, and those of workload clusters. It decides nothing.

use std::{
    fmt::Debug,
    sync::{Arc, PoisonError, Weak},
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Node, ObjectReference, Secret};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta},
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;
use tokio::{sync::watch, task::JoinSet};

use super::{InfrastructureKind, World, lock};
use crate::controllers::{
    cache::{Cache, Feeder, Guarded, Indexed, Sink, readable},
    csr,
    effect::Target,
    machine_health_check, node,
    runtime::{Queue, ReconcileError},
    workload::Workload,
};

/// How long the first list of a kind that nobody watched yet may take.
const FIRST_LIST: Duration = Duration::from_secs(10);

impl World {
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
    pub(super) fn watch_infrastructure(self: &Arc<Self>, resource: ApiResource) -> InfrastructureKind {
        let mut kinds = self
            .infrastructure
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let key = (resource.group.clone(), resource.kind.clone());
        if let Some(known) = kinds.get(&key) {
            return known.clone();
        }
        let (cache, feeder) = Cache::new(resource.clone());
        let client = self.ctx.client.clone();
        let api: Api<DynamicObject> = match &self.ctx.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
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

    /// Watches the Nodes of a cluster and keeps them linked to their Machines; approves what their kubelets ask for.
    pub(crate) fn watch_workload(self: &Arc<Self>, target: Target, client: Client) -> Arc<Workload> {
        let (cache, feeder) = Cache::new(());
        let (queue, work) = Queue::new();
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let api: Api<Guarded<Node>> = Api::all(client.clone());
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
        if self.ctx.enabled.has("certificate") {
            tasks.spawn(csr::controller(
                Arc::downgrade(self),
                target.clone(),
                client.clone(),
                stopped.clone(),
            ));
        }
        if self.ctx.enabled.has("node") {
            tasks.spawn(node::controller(
                Arc::downgrade(self),
                target,
                cache.clone(),
                work,
                stopped,
            ));
        }
        Arc::new(Workload::new(client, cache, queue, stop, tasks))
    }

    /// Watches a kind, in the namespace that counts.
    pub(super) fn feed<K>(self: &Arc<Self>, feeder: Feeder<K>, changed: fn(&Self, &K))
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Indexed
            + Send
            + Sync
            + 'static,
    {
        self.feed_from(self.ctx.api(), feeder, changed);
    }

    /// Watches a kind.
    pub(super) fn feed_from<K>(
        self: &Arc<Self>,
        api: Api<Guarded<K>>,
        feeder: Feeder<K>,
        changed: fn(&Self, &K),
    ) where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Indexed + Send + Sync + 'static,
    {
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

    /// Watches the `ConfigMaps` of one name.
    pub(super) fn feed_unhealthy_conditions(self: &Arc<Self>, feeder: Feeder<ConfigMap>) {
        let api: Api<ConfigMap> = self.ctx.api();
        let only = watcher::Config::default().fields(&format!(
            "metadata.name={}",
            machine_health_check::UNHEALTHY_CONDITIONS
        ));
        let events = watcher(api, only).default_backoff();
        let sink = sink(self, Self::unhealthy_conditions_changed);
        lock(&self.tasks).spawn(async move {
            feeder.run(events, sink, |error| broken("ConfigMap", error)).await;
        });
    }

    pub(super) fn feed_metadata(self: &Arc<Self>, feeder: Feeder<PartialObjectMeta<Secret>>) {
        let api: Api<PartialObjectMeta<Secret>> = self.ctx.api();
        let events = watcher(api, watcher::Config::default()).default_backoff();
        let sink = sink(self, Self::secret_changed);
        lock(&self.tasks).spawn(async move {
            feeder.run(events, sink, |error| broken("Secret", error)).await;
        });
    }
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
