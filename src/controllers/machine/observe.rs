//! Reads what a decision about a Machine needs, from the caches where possible. It makes a token that may be needed, because chance has
//! no place in a plan.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, Secret};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
};
use rand::RngExt as _;

use super::{plan, removal};
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

/// A pod on the Machine's Node.
#[derive(Debug, Clone)]
pub(crate) struct Draining {
    pub(crate) pods: Vec<Pod>,
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
    /// Its Node: by reference, else by provider id.
    pub(crate) node: Option<Arc<Node>>,
    /// The Secret `<machine>-bootstrap`.
    pub(crate) data: Option<DataSecret>,
    /// Whether the Secret of somebody else exists that the Machine names.
    pub(crate) foreign_data: bool,
    /// What bootstrap data would be made from.
    pub(crate) ingredients: Option<Ingredients>,
    /// Control-plane machines of its cluster that stay, the founder first, by name.
    pub(crate) control_plane: Vec<String>,
    /// All control-plane Machines beside it (crit's rule counts those that are being deleted, too).
    pub(crate) other_control_planes: usize,
    /// Pods on its Node, when it is to be drained.
    pub(crate) draining: Option<Draining>,
}

/// Reads everything.
pub(super) async fn observe(world: &Arc<World>, machine: Arc<Machine>) -> Result<Observed, ReconcileError> {
    let namespace = machine.namespace().unwrap_or_default();
    let target = world.target_of(&machine);
    let workload = target.as_ref().and_then(|t| world.workloads.get(t));
    let peers = control_planes(world, &machine);
    let mut observed = Observed {
        cluster: match world.cluster_of(&machine) {
            Ok(None) => ClusterView::NotNamed,
            Ok(Some(cluster)) => ClusterView::Found(cluster),
            Err(name) => ClusterView::Missing(name),
        },
        infrastructure: infrastructure(world, &machine).await?,
        reachable: workload.as_ref().is_some_and(|w| w.is_reachable()),
        node: workload.as_ref().and_then(|workload| node_of(workload, &machine)),
        data: data_secret(world, &namespace, &names::bootstrap_secret(&machine.name_any())),
        foreign_data: false,
        ingredients: None,
        control_plane: cluster::plan::control_plane_order(
            machine.spec.cluster_name.as_deref().unwrap_or_default(),
            &peers,
        )
        .iter()
        .map(|m| m.name_any())
        .collect(),
        other_control_planes: peers
            .iter()
            .filter(|m| m.name_any() != machine.name_any())
            .count(),
        draining: None,
        target,
        machine,
    };
    // The provider id comes from the infrastructure object before the Machine bears it.
    if observed.node.is_none()
        && observed.machine.spec.provider_id.is_none()
        && let (Some(workload), Some(id)) = (&workload, plan::ready_provider_id(&observed))
    {
        observed.node = workload.nodes.find(&term::provider(&id)).into_iter().next();
    }
    if observed.machine.metadata.deletion_timestamp.is_some() {
        if let (Some(workload), Some(node)) =
            (workload, removal::node_to_drain(&observed, world.ctx.clock.now()))
        {
            let pods: Api<Pod> = Api::all(workload.client.clone());
            let params = ListParams::default().fields(&format!("spec.nodeName={node}"));
            let list = within(format!("listing the pods of Node {node}"), pods.list(&params)).await;
            if let (Err(error), Some(target)) = (&list, &observed.target) {
                world.suspect(target, error);
            }
            let list = list?;
            observed.draining = Some(Draining { pods: list.items });
        }
        return Ok(observed);
    }
    read_bootstrap(world, &mut observed).await?;
    Ok(observed)
}

/// Finds a Machine's Node: the one that it refers to, else the one with its provider id.
fn node_of(workload: &Workload, machine: &Machine) -> Option<Arc<Node>> {
    let known = machine.status.as_ref().and_then(|s| s.node_ref.as_ref());
    if let Some(reference) = known {
        return workload.nodes.get(None, reference.name.as_deref()?);
    }
    let id = machine.spec.provider_id.as_deref().filter(|id| !id.is_empty())?;
    workload.nodes.find(&term::provider(id)).into_iter().next()
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

/// The control-plane Machines of a Machine's cluster: those of the same Cluster, or those without one in the same namespace.
fn control_planes(world: &World, machine: &Machine) -> Vec<Arc<Machine>> {
    let namespace = machine.namespace().unwrap_or_default();
    let all = match &machine.spec.cluster_name {
        Some(cluster) => world.machines.find(&term::cluster(&namespace, cluster)),
        // Only the end of such a machine asks for its peers.
        None if machine.metadata.deletion_timestamp.is_some() => world.machines.all(),
        None => Vec::new(),
    };
    all.into_iter()
        .filter(|m| {
            m.is_control_plane()
                && m.spec.cluster_name == machine.spec.cluster_name
                && m.metadata.namespace == machine.metadata.namespace
        })
        .collect()
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
