//! Why something changes: one folder a controller, each observe -> plan -> apply -> status. No user interface, no command line.
//!
//! | file | what it does |
//! |---|---|
//! | [`enabled`] | which controllers run |
//! | `effect` | what a planner can ask for |
//! | `evict` | asks pods to leave |
//! | `apply` | does it: the only interpreter of effects |
//! | `recorder` | writes Events |
//! | `runtime` | who is looked at when, pause, back-off |
//! | `backlog`, `cache` | what waits to be looked at; objects that are watched |
//! | `metrics` | what is counted, and how it is served |
//! | `lease`, `fence` | one holder at a time, and none while objects move |
//! | `workload` | clients and Node watches of workload clusters |
//! | `machine_set`, `machine_deployment`, `machine_health_check` | groups of Machines |
//! | `machine`, `infrastructure_machine`, `node` | from a Machine to a Node and back |
//! | `csr` | serving certificates of kubelets |
//! | `cluster`, `config` | keys and endpoints; what machines run first |
//! | `infrastructure_provider`, `docker_infrastructure_provider` | what user interfaces read |

use std::{fmt::Debug, future::Future, hash::Hash, sync::Arc, time::Duration};

use futures::FutureExt as _;
use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use tokio::{sync::watch, task::JoinSet};

use self::{
    cache::{Cache, Indexed},
    effect::Requeue,
    enabled::Enabled,
    lease::{Held, Lost},
    metrics::{Metrics, Stage},
    runtime::{Work, drive},
    world::{Works, World},
};
use crate::{
    providers::Actuators,
    time::{Clock, SignedDuration},
};

mod apply;
mod backlog;
mod cache;
mod cluster;
mod config;
mod csr;
mod docker_infrastructure_provider;
mod effect;
pub mod enabled;
mod evict;
pub mod fence;
mod infrastructure_machine;
mod infrastructure_provider;
pub mod lease;
mod machine;
mod machine_deployment;
mod machine_health_check;
mod machine_set;
pub mod metrics;
mod node;
mod recorder;
mod runtime;
#[cfg(test)]
mod simulation;
mod workload;
mod world;

pub(crate) use runtime::ReconcileError;
pub(crate) use workload::client_from;

/// How a Node is drained, for whoever drains one without deleting its Machine.
pub(crate) mod drain {
    pub(crate) use super::{
        effect::PodKey,
        evict::{Memory, evict},
        machine::{
            drain::{Answer, Drain, Refusals, drain, take},
            observe::pods_of,
        },
    };
}

/// How long looks that run may take to come to their end when the controllers stop.
const GRACE: Duration = Duration::from_secs(5);
/// How long to wait for the watch to bring what was written, should it not.
const UNSEEN: SignedDuration = SignedDuration::from_secs(1);

/// What the controllers work with.
#[derive(Clone)]
pub struct Context {
    /// The cluster that holds the objects.
    pub client: Client,
    /// What makes machines, by infrastructure kind.
    pub actuators: Actuators,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Who this is, in the Lease and in Events: `<hostname>_<uuid>`.
    pub identity: String,
    /// Counts what the controllers do.
    pub metrics: Arc<Metrics>,
    /// The namespace whose objects are watched and acted on; nothing: all. Kinds without a namespace are watched in either case.
    pub namespace: Option<String>,
    /// The controllers that run.
    pub enabled: Enabled,
    /// Whether this process is in a pod: addresses of the host's loopback lead nowhere then. Default: it is not.
    pub in_pod: bool,
}

impl Context {
    /// Makes a context with an identity of its own.
    pub fn new(client: Client, actuators: Actuators, clock: Arc<dyn Clock>) -> Self {
        Self {
            client,
            actuators,
            clock,
            identity: identity(),
            metrics: Arc::default(),
            namespace: None,
            enabled: Enabled::default(),
            in_pod: false,
        }
    }

    /// The objects of a kind, in the namespace that counts.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("actuators", &self.actuators.keys())
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// Why the controllers could not run.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// The Lease can't be read or written.
    #[error("the lease {}/{} can't be held", lease::NAMESPACE, lease::NAME)]
    Lease(#[source] kube::Error),
}

/// Runs all controllers until `stop` ends: takes the Lease, works, gives it back.
///
/// While somebody else holds the Lease it waits and says so once. An API server that goes away is waited for.
///
/// # Errors
/// Fails when the API server refuses access to the Lease.
pub async fn run(
    ctx: Context,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ControllerError> {
    let stop = stop.shared();
    loop {
        let metrics = &ctx.metrics;
        let standby = || metrics.enter(Stage::Standby);
        let held = lease::acquire(&ctx.client, &ctx.identity, &*ctx.clock, standby, stop.clone())
            .await
            .map_err(ControllerError::Lease)?;
        let Some(mut held) = held else { break };
        metrics.enter(Stage::Syncing);
        tracing::debug!(identity = %ctx.identity, "the Lease is held; the controllers start");
        let end = work(&ctx, &mut held, stop.clone()).await;
        metrics.enter(Stage::Starting);
        match end {
            End::Stopped => {
                held.release().await;
                break;
            }
            End::Fenced => held.release().await,
            End::LeaseLost => {}
        }
    }
    ctx.metrics.enter(Stage::Stopped);
    Ok(())
}

/// Why the controllers ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// They were asked to.
    Stopped,
    /// The objects move to another cluster.
    Fenced,
    /// Somebody else may act now.
    LeaseLost,
}

/// Runs all controllers while the Lease is held.
async fn work(ctx: &Context, held: &mut Held, stop: impl Future<Output = ()>) -> End {
    let (end, stopped) = watch::channel(false);
    // Aborts everything when this future is dropped in the middle, too.
    let mut running = Running {
        world: None,
        drivers: JoinSet::new(),
    };
    let result = {
        let controllers = async {
            let (world, works) = World::start(ctx.clone()).await;
            running.world = Some(Arc::clone(&world));
            start(&world, works, &stopped, &mut running.drivers);
            ctx.metrics.attach(&world);
            ctx.metrics.enter(Stage::Working);
            futures::future::pending::<()>().await;
        };
        tokio::select! {
            () = controllers => End::Stopped,
            () = stop => End::Stopped,
            by = fence::until_raised(&ctx.client) => fenced(&by),
            lost = held.keep(&*ctx.clock) => match lost {
                Lost::Fenced(by) => fenced(&by),
                lost => {
                    tracing::warn!(reason = %lost, "the Lease is lost; the controllers stop");
                    End::LeaseLost
                }
            }
        }
    };
    let _ = end.send(true);
    if result != End::LeaseLost {
        let drained = async { while running.drivers.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, drained).await.is_err() {
            tracing::debug!("work in progress was cut off; the next run takes it up");
        }
    }
    // Whoever holds the Lease next must be alone: not even a last step may still be under way.
    running.drivers.shutdown().await;
    result
}

fn fenced(by: &str) -> End {
    tracing::info!(%by, "the objects of this cluster move; the controllers stand still");
    End::Fenced
}

/// What has to end with the controllers.
struct Running {
    world: Option<Arc<World>>,
    drivers: JoinSet<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.drivers.abort_all();
        if let Some(world) = &self.world {
            world.shut_down();
        }
    }
}

/// Starts the driver of each controller.
fn start(world: &Arc<World>, works: Works, stop: &watch::Receiver<bool>, drivers: &mut JoinSet<()>) {
    let Works {
        machines,
        machine_sets,
        machine_deployments,
        machine_health_checks,
        clusters,
        configs,
        providers,
        docker_providers,
        infrastructure,
    } = works;
    let mut spawn = Spawn {
        world,
        stop,
        drivers,
        paced: false,
    };
    spawn.controller(
        "machine",
        &world.machines,
        machines,
        World::is_paused,
        machine::reconcile,
    );
    spawn.paced().controller(
        "machineset",
        &world.machine_sets,
        machine_sets,
        |world, set| world.cluster_named_is_paused(set, set.cluster_name()),
        machine_set::reconcile,
    );
    // A look is about sets, which are few, and it is their looks that are paced.
    spawn.controller(
        "machinedeployment",
        &world.machine_deployments,
        machine_deployments,
        |world, deployment| {
            world.cluster_named_is_paused(deployment, deployment.spec.cluster_name.as_deref())
        },
        machine_deployment::reconcile,
    );
    spawn.paced().controller(
        "machinehealthcheck",
        &world.machine_health_checks,
        machine_health_checks,
        |world, check| world.cluster_named_is_paused(check, check.spec.cluster_name.as_deref()),
        machine_health_check::reconcile,
    );
    spawn.controller(
        "cluster",
        &world.clusters,
        clusters,
        |_, cluster| world::cluster_is_paused(cluster),
        cluster::reconcile,
    );
    spawn.controller("config", &world.configs, configs, |_, _| false, config::reconcile);
    spawn.controller(
        "infrastructure-provider",
        &world.providers,
        providers,
        |_, _| false,
        infrastructure_provider::reconcile,
    );
    spawn.controller(
        "docker-infrastructure-provider",
        &world.docker_providers,
        docker_providers,
        |_, _| false,
        docker_infrastructure_provider::reconcile,
    );
    for (kind, work) in infrastructure {
        if let Some(known) = world.infrastructure(crate::api::INFRASTRUCTURE_GROUP, &kind) {
            spawn.controller(
                "infrastructure-machine",
                &known.cache.clone(),
                work,
                infrastructure_machine::is_paused,
                move |world, object| infrastructure_machine::reconcile(world, known.resource.clone(), object),
            );
        }
    }
}

/// Starts drivers.
struct Spawn<'a> {
    world: &'a Arc<World>,
    stop: &'a watch::Receiver<bool>,
    drivers: &'a mut JoinSet<()>,
    /// Whether an object rests the longer after a look the longer that took.
    paced: bool,
}

impl Spawn<'_> {
    /// Starts a driver whose looks are about all objects of a group.
    fn paced(&mut self) -> Spawn<'_> {
        Spawn {
            world: self.world,
            stop: self.stop,
            drivers: &mut *self.drivers,
            paced: true,
        }
    }

    fn controller<K, F, Fut>(
        &mut self,
        name: &'static str,
        cache: &Cache<K>,
        work: Work<K>,
        paused: fn(&World, &K) -> bool,
        reconcile: F,
    ) where
        K: Resource + Clone + Indexed + Debug + Send + Sync + 'static,
        K::DynamicType: Eq + Hash + Clone + Debug + Unpin + Send + Sync,
        F: Fn(Arc<World>, Arc<K>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Requeue, ReconcileError>> + Send + 'static,
    {
        if !self.world.ctx.enabled.has(name) {
            return;
        }
        let world = Arc::clone(self.world);
        let kind = K::kind(&cache.kind).into_owned();
        let controller = runtime::Controller {
            name,
            cache: cache.clone(),
            work,
            paused: {
                let world = Arc::clone(&world);
                Box::new(move |object: &K| paused(&world, object))
            },
            paced: self.paced,
            stop: self.stop.clone(),
        };
        let metrics = Arc::clone(&world.metrics);
        let reconcile = Arc::new(reconcile);
        self.drivers
            .spawn(drive(controller, metrics, move |object: Arc<K>| {
                let (world, kind, reconcile) = (Arc::clone(&world), kind.clone(), Arc::clone(&reconcile));
                async move {
                    if world.is_stale(&kind, &*object) {
                        return Ok(Requeue::After(UNSEEN));
                    }
                    reconcile(world, object).await
                }
            }));
    }
}

/// `<hostname>_<uuid>`.
fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .or_else(|| std::env::var("HOSTNAME").ok())
        .unwrap_or_else(|| "localhost".to_owned());
    format!("{host}_{}", uuid::Uuid::new_v4())
}
