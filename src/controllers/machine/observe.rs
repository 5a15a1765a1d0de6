//! Reads what a decision about a Machine needs, from the caches where possible. It makes a token that may be needed, because chance has
//! no place in a plan.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, Secret};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
};
use rand::RngExt as _;

use super::{
    drain::Refusals,
    link::{self, Conflict},
    plan, removal,
    turn::turn_of,
    volumes,
};
use crate::{
    api::{
        names,
        v1alpha1::{ApiEndpoint, Cluster, Config, Machine},
    },
    bootstrap::SecretFiles,
    controllers::{
        apply::within,
        cache::term,
        cluster, config,
        effect::Target,
        runtime::ReconcileError,
        workload::{Facts, Workload},
        world::World,
    },
    pki::ClusterPki,
    secret::SecretString,
};

/// The Cluster that a Machine names.
#[derive(Debug, Clone)]
pub(crate) enum ClusterView {
    /// It names none: the machine joins the cluster that holds it.
    NotNamed,
    /// There is none of that name.
    Missing(String),
    /// It is there.
    Found(Arc<Cluster>),
}

/// The infrastructure object that a Machine refers to.
#[derive(Debug, Clone)]
pub(crate) enum InfrastructureView {
    /// It refers to none.
    NotNamed,
    /// The API server does not know its kind.
    UnknownKind,
    /// There is none of that name.
    Missing,
    /// It is there.
    Found(Infrastructure),
}

/// An infrastructure object.
#[derive(Debug, Clone)]
pub(crate) struct Infrastructure {
    pub(crate) resource: ApiResource,
    pub(crate) object: Arc<DynamicObject>,
    /// Whether instances of its kind need bootstrap data, as far as this program knows the kind.
    pub(crate) needs_bootstrap: Option<bool>,
}

/// The Config that a Machine refers to.
#[derive(Debug, Clone)]
pub(crate) enum ConfigView {
    /// It refers to none.
    NotNamed,
    /// There is none of that name.
    Missing(String),
    /// It is there, with the content of its Secrets.
    Found(Arc<Config>, SecretFiles),
}

/// The Secret with bootstrap data, as far as its metadata tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DataSecret {
    pub(crate) revision: Option<String>,
    pub(crate) token_id: Option<String>,
    pub(crate) token_expires: Option<crate::time::Timestamp>,
}

/// What bootstrap data would be made from. Read only when it has to be made.
#[derive(Debug, Clone)]
pub(crate) struct Ingredients {
    pub(crate) config: ConfigView,
    /// Keys of the machine's Cluster, for control-plane machines.
    pub(crate) pki: Option<ClusterPki>,
    /// CA of the Cluster.
    pub(crate) ca_pem: Option<String>,
    /// How machines join a cluster that no Cluster object describes.
    pub(crate) facts: Option<Facts>,
    /// A token that nobody knows yet: id and secret.
    pub(crate) fresh_token: (String, SecretString),
}

/// The pods on the Machine's Node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Draining {
    pub(crate) pods: Vec<Pod>,
    /// Those that were asked to leave a short while ago and stay.
    pub(crate) refusals: Refusals,
}

/// All that a decision about a Machine is made from.
#[derive(Debug, Clone)]
pub(crate) struct Observed {
    pub(crate) machine: Arc<Machine>,
    pub(crate) cluster: ClusterView,
    pub(crate) infrastructure: InfrastructureView,
    /// Where its Node lives; nothing if its Cluster is missing.
    pub(crate) target: Option<Target>,
    /// Whether that API server answers.
    pub(crate) reachable: bool,
    /// Its Node: by reference, else by provider id, else by address.
    pub(crate) node: Option<Arc<Node>>,
    /// Why it can't be said which Node is its own.
    pub(crate) conflict: Option<Conflict>,
    /// The Secret `<machine>-bootstrap`.
    pub(crate) data: Option<DataSecret>,
    /// Whether the Secret of somebody else exists that the Machine names.
    pub(crate) foreign_data: bool,
    /// What bootstrap data would be made from.
    pub(crate) ingredients: Option<Ingredients>,
    /// Control-plane machines of its cluster that stay, the founder first, by name.
    pub(crate) control_plane: Vec<String>,
    /// The other control-plane Machines of its cluster, also those that are being deleted (crit's rule counts them, too).
    pub(crate) peers: Vec<Arc<Machine>>,
    /// The control-plane machine that is drained before it.
    pub(crate) turn: Option<String>,
    /// Pods on its Node, when it is to be drained.
    pub(crate) draining: Option<Draining>,
    /// Volumes that are attached to its Node, when they are waited for.
    pub(crate) volumes: Option<Vec<String>>,
}

/// Reads everything.
pub(super) async fn observe(world: &Arc<World>, machine: Arc<Machine>) -> Result<Observed, ReconcileError> {
    let namespace = machine.namespace().unwrap_or_default();
    let target = world.target_of(&machine);
    let workload = target.as_ref().and_then(|t| world.workloads.get(t));
    let (control_plane, peers) = control_planes(world, &machine);
    let mut observed = Observed {
        cluster: match world.cluster_of(&machine) {
            Ok(None) => ClusterView::NotNamed,
            Ok(Some(cluster)) => ClusterView::Found(cluster),
            Err(name) => ClusterView::Missing(name),
        },
        infrastructure: infrastructure(world, &machine).await?,
        reachable: workload.as_ref().is_some_and(|w| w.is_reachable()),
        node: None,
        conflict: None,
        data: data_secret(world, &namespace, &names::bootstrap_secret(&machine.name_any())),
        foreign_data: false,
        ingredients: None,
        control_plane,
        peers,
        turn: None,
        draining: None,
        volumes: None,
        target,
        machine,
    };
    if let (Some(workload), Some(target)) = (&workload, observed.target.clone()) {
        // The provider id comes from the infrastructure object before the Machine bears it.
        let own = observed
            .machine
            .spec
            .provider_id
            .clone()
            .filter(|id| !id.is_empty());
        let id = own.or_else(|| plan::ready_provider_id(&observed));
        match link::node_of(world, workload, &target, &observed.machine, id.as_deref()) {
            Ok(node) => observed.node = node,
            Err(conflict) => observed.conflict = Some(conflict),
        }
    }
    if observed.machine.metadata.deletion_timestamp.is_some() {
        if let Some(workload) = workload {
            read_removal(world, &mut observed, &workload).await?;
        }
        return Ok(observed);
    }
    read_bootstrap(world, &mut observed).await?;
    Ok(observed)
}

/// Reads what has to do with the end of a machine, as far as it matters now.
async fn read_removal(
    world: &World,
    observed: &mut Observed,
    workload: &Workload,
) -> Result<(), ReconcileError> {
    let now = world.ctx.clock.now();
    if let Some(node) = removal::node_to_drain(observed, now) {
        observed.turn = turn_of(observed, &workload.turns);
        if observed.turn.is_some() {
            return Ok(());
        }
        let pods = suspecting(world, observed, pods_of(&workload.client, &node.name_any()).await)?;
        observed.draining = Some(Draining {
            pods,
            refusals: workload.refusals.recall(now),
        });
    }
    if let Some(node) = removal::node_with_volumes(observed).cloned() {
        let volumes = suspecting(world, observed, volumes::attached(workload, &node).await)?;
        observed.volumes = Some(volumes);
    }
    Ok(())
}

/// Lists the pods of a Node.
pub(crate) async fn pods_of(client: &Client, node: &str) -> Result<Vec<Pod>, ReconcileError> {
    let pods: Api<Pod> = Api::all(client.clone());
    let params = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let list = within(format!("listing the pods of Node {node}"), pods.list(&params)).await?;
    Ok(list.items)
}

/// Takes an API server that gave no answer for unreachable.
fn suspecting<T>(
    world: &World,
    observed: &Observed,
    answer: Result<T, ReconcileError>,
) -> Result<T, ReconcileError> {
    if let (Err(error), Some(target)) = (&answer, &observed.target) {
        world.suspect(target, error);
    }
    answer
}

/// Reads what has to do with bootstrap data, as far as it matters now.
async fn read_bootstrap(world: &Arc<World>, observed: &mut Observed) -> Result<(), ReconcileError> {
    let namespace = observed.machine.namespace().unwrap_or_default();
    let secrets: Api<Secret> = Api::namespaced(world.ctx.client.clone(), &namespace);
    match plan::data_source(observed) {
        plan::DataSource::NotNeeded | plan::DataSource::NoConfig | plan::DataSource::Done => {}
        plan::DataSource::Foreign(name) => {
            let found = within(
                format!("reading Secret {namespace}/{name}"),
                secrets.get_opt(&name),
            )
            .await?;
            observed.foreign_data = found.is_some();
        }
        plan::DataSource::Config => {
            if observed.data.is_none() {
                // The cache may lag behind what this controller wrote itself, and a second token would spoil the first one.
                let name = names::bootstrap_secret(&observed.machine.name_any());
                let found = within(
                    format!("reading Secret {namespace}/{name}"),
                    secrets.get_opt(&name),
                )
                .await?;
                observed.data = found.map(|s| data_of(s.annotations()));
            }
            observed.ingredients = Some(ingredients(world, observed).await?);
        }
    }
    Ok(())
}

async fn ingredients(world: &Arc<World>, observed: &Observed) -> Result<Ingredients, ReconcileError> {
    let machine = &observed.machine;
    let name = machine.spec.config_ref.as_ref().and_then(|r| r.name.clone());
    let config = match name {
        None => ConfigView::NotNamed,
        Some(name) => match world.configs.get(machine.metadata.namespace.as_deref(), &name) {
            None => ConfigView::Missing(name),
            Some(config) => {
                let files = config::secret_files(world, &config).await?;
                ConfigView::Found(config, files)
            }
        },
    };
    let mut ingredients = Ingredients {
        config,
        pki: None,
        ca_pem: None,
        facts: None,
        fresh_token: token(),
    };
    match (&observed.cluster, &observed.target) {
        (ClusterView::Found(cluster), Some(Target::Cluster(_))) => {
            let pki = cluster::pki(world, cluster).await?;
            ingredients.ca_pem = pki.as_ref().map(|pki| pki.ca.cert_pem.clone());
            ingredients.pki = pki.filter(|_| machine.is_control_plane());
        }
        (_, Some(target)) => {
            if let Some(workload) = world.workloads.get(target) {
                ingredients.facts = Some(workload.facts().await?);
            }
        }
        _ => {}
    }
    Ok(ingredients)
}

/// The control-plane Machines of a Machine's cluster: names of those that stay, the founder first, and all beside itself.
fn control_planes(world: &World, machine: &Machine) -> (Vec<String>, Vec<Arc<Machine>>) {
    let namespace = machine.namespace().unwrap_or_default();
    let cluster = machine.spec.cluster_name.as_deref().unwrap_or_default();
    let all = world.machines.find(&term::control_plane(&namespace, cluster));
    let order = cluster::plan::control_plane_order(cluster, &all);
    let name = machine.name_any();
    (
        order.iter().map(|m| m.name_any()).collect(),
        all.into_iter().filter(|m| m.name_any() != name).collect(),
    )
}

async fn infrastructure(world: &Arc<World>, machine: &Machine) -> Result<InfrastructureView, ReconcileError> {
    let Some(reference) = &machine.spec.infrastructure_ref else {
        return Ok(InfrastructureView::NotNamed);
    };
    let Some(kind) = world.infrastructure_of(reference).await? else {
        return Ok(InfrastructureView::UnknownKind);
    };
    let name = reference.name.as_deref().unwrap_or_default();
    // As in the API of 2020 the reference's namespace does not count: it is the Machine's.
    Ok(
        match kind.cache.get(machine.metadata.namespace.as_deref(), name) {
            None => InfrastructureView::Missing,
            Some(object) => InfrastructureView::Found(Infrastructure {
                needs_bootstrap: world
                    .ctx
                    .actuators
                    .get(&kind.resource.kind)
                    .map(|actuator| actuator.needs_bootstrap()),
                resource: kind.resource,
                object,
            }),
        },
    )
}

fn data_secret(world: &World, namespace: &str, name: &str) -> Option<DataSecret> {
    let secret = world.secrets.get(Some(namespace), name)?;
    Some(data_of(secret.annotations()))
}

fn data_of(annotations: &std::collections::BTreeMap<String, String>) -> DataSecret {
    DataSecret {
        revision: annotations.get(crate::api::labels::CONFIG_REVISION).cloned(),
        token_id: annotations.get(plan::TOKEN_ID).cloned(),
        token_expires: annotations.get(plan::TOKEN_EXPIRES).and_then(|t| t.parse().ok()),
    }
}

/// A bootstrap token: 6 and 16 characters of `[a-z0-9]`.
fn token() -> (String, SecretString) {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut random = rand::rng();
    let mut text = |length: usize| -> String {
        (0..length)
            .map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())]))
            .collect()
    };
    (text(6), text(16).into())
}

/// The endpoint that follows from an infrastructure object's cluster: its control-plane container bears that name.
pub(super) fn container_endpoint(infrastructure: &Infrastructure) -> Option<ApiEndpoint> {
    let host = infrastructure
        .object
        .data
        .pointer("/spec/clusterName")?
        .as_str()?;
    Some(ApiEndpoint {
        host: host.to_owned(),
        port: 6443,
    })
}
