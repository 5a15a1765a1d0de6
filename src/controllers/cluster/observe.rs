//! Reads what a decision about a Cluster needs: its machines, keys, kubeconfig, and whether its API server answers.
//! It makes the keys that may be needed, because chance has no place in a plan.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};
use serde::Deserialize;

use super::{
    kubeconfig,
    plan::{self, ControlPlane},
};
use crate::{
    api::{
        INFRASTRUCTURE_GROUP,
        names::{self, ClusterKeyPair},
        v1alpha1::{ApiServerKind, Cluster, Machine},
    },
    controllers::{
        apply::within,
        cache::term,
        effect::{ObjectKey, Target},
        runtime::ReconcileError,
        workload::{self, FromPod},
        world::{self, World},
    },
    pki::{self, ClusterPki, KeyPair},
    secret::SecretString,
    time::Timestamp,
};

/// Whether an API server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Health {
    /// There is nothing to ask yet.
    Unknown,
    /// It does, and reports this version.
    Ready(String),
    /// It does not.
    NotReady(String),
}

/// The kubeconfig Secret as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KubeconfigSecret {
    pub(crate) value: SecretString,
    /// When it is to be made anew; nothing if somebody else made it.
    pub(crate) renew_after: Option<Timestamp>,
}

/// All that a decision about a Cluster is made from.
#[derive(Debug, Clone)]
pub(crate) struct Observed {
    /// The Cluster.
    pub(crate) cluster: Arc<Cluster>,
    /// Its deployments, sets and health checks that stay, with their UIDs: what would make machines anew. Read when the Cluster goes.
    pub(crate) groups: Vec<(ObjectKey, Option<String>)>,
    /// Its machines.
    pub(crate) machines: Vec<Arc<Machine>>,
    /// Its control-plane machines, the founder first.
    pub(crate) control_plane: Vec<ControlPlane>,
    /// The key pairs that exist.
    pub(crate) keys: BTreeMap<ClusterKeyPair, KeyPair>,
    /// Key pairs for those that are missing.
    pub(crate) fresh_keys: BTreeMap<ClusterKeyPair, KeyPair>,
    /// The kubeconfig that exists.
    pub(crate) kubeconfig: Option<KubeconfigSecret>,
    /// A new one, if it is due.
    pub(crate) fresh_kubeconfig: Option<SecretString>,
    /// Whether the API server answers.
    pub(crate) health: Health,
}

/// What makes the machines of a Cluster, from the top.
fn groups(world: &World, cluster: &Cluster) -> Vec<(ObjectKey, Option<String>)> {
    fn staying<K: kube::Resource<DynamicType = ()>>(all: &[Arc<K>]) -> Vec<(ObjectKey, Option<String>)> {
        all.iter()
            .filter(|object| object.meta().deletion_timestamp.is_none())
            .map(|object| (ObjectKey::to(&**object), object.uid()))
            .collect()
    }
    let term = term::cluster(&cluster.namespace().unwrap_or_default(), &cluster.name_any());
    [
        staying(&world.machine_health_checks.find(&term)),
        staying(&world.machine_deployments.find(&term)),
        staying(&world.machine_sets.find(&term)),
    ]
    .concat()
}

/// Reads everything.
pub(super) async fn observe(world: &Arc<World>, cluster: Arc<Cluster>) -> Result<Observed, ReconcileError> {
    let namespace = cluster.namespace().unwrap_or_default();
    let machines = world
        .machines
        .find(&term::cluster(&namespace, &cluster.name_any()));
    let mut observed = Observed {
        control_plane: control_plane(world, &cluster, &machines),
        machines,
        groups: Vec::new(),
        cluster,
        keys: BTreeMap::new(),
        fresh_keys: BTreeMap::new(),
        kubeconfig: None,
        fresh_kubeconfig: None,
        health: Health::Unknown,
    };
    if observed.cluster.metadata.deletion_timestamp.is_some() {
        observed.groups = groups(world, &observed.cluster);
        return Ok(observed);
    }
    if observed.cluster.spec.api_server == ApiServerKind::Management {
        if let Some(management) = world.workloads.get(&Target::Management) {
            let version = management.facts().await?.version.unwrap_or_default();
            observed.health = Health::Ready(version);
        }
        return Ok(observed);
    }
    let now = world.ctx.clock.now();
    observed.keys = read_keys(world, &observed.cluster).await?;
    for pair in ClusterKeyPair::ALL {
        if !observed.keys.contains_key(&pair) {
            observed.fresh_keys.insert(pair, make(pair, now)?);
        }
    }
    observed.kubeconfig = read_kubeconfig(world, &observed.cluster).await?;
    if let (true, Some(server), Some(ca)) = (
        plan::kubeconfig_is_due(&observed, now),
        plan::server(&observed),
        observed.keys.get(&ClusterKeyPair::Ca),
    ) {
        let admin = pki::client_certificate(ca, "kubernetes-admin", &["system:masters"], now)
            .map_err(|e| ReconcileError::Invalid(e.to_string()))?;
        observed.fresh_kubeconfig =
            kubeconfig::write(&observed.cluster.name_any(), &server, &ca.cert_pem, &admin)
                .map(SecretString::new);
    }
    observed.health = health(world, &observed).await;
    Ok(observed)
}

/// The control-plane machines with what their infrastructure says.
fn control_plane(world: &World, cluster: &Cluster, machines: &[Arc<Machine>]) -> Vec<ControlPlane> {
    plan::control_plane_order(&cluster.name_any(), machines)
        .into_iter()
        .map(|machine| {
            let object = machine.spec.infrastructure_ref.as_ref().and_then(|reference| {
                let api_version = reference.api_version.as_deref().unwrap_or_default();
                let group = api_version
                    .split_once('/')
                    .map_or(INFRASTRUCTURE_GROUP, |(group, _)| group);
                let kind = world.infrastructure(group, reference.kind.as_deref()?)?;
                kind.cache
                    .get(machine.metadata.namespace.as_deref(), reference.name.as_deref()?)
            });
            let read = |pointer: &str| object.as_ref().and_then(|o| o.data.pointer(pointer).cloned());
            ControlPlane {
                provider_id: read("/spec/providerID").and_then(|id| id.as_str().map(str::to_owned)),
                api_endpoint: read("/status/apiEndpoint").and_then(|e| Deserialize::deserialize(&e).ok()),
                machine,
            }
        })
        .collect()
}

/// All key pairs of a cluster; nothing while one is missing.
pub(crate) async fn pki(world: &World, cluster: &Cluster) -> Result<Option<ClusterPki>, ReconcileError> {
    let mut keys = read_keys(world, cluster).await?;
    let mut take = |pair| keys.remove(&pair);
    let (ca, etcd) = (take(ClusterKeyPair::Ca), take(ClusterKeyPair::Etcd));
    let (proxy, sa) = (take(ClusterKeyPair::Proxy), take(ClusterKeyPair::ServiceAccount));
    Ok(match (ca, etcd, proxy, sa) {
        (Some(ca), Some(etcd), Some(proxy), Some(service_account)) => Some(ClusterPki {
            ca,
            etcd,
            proxy,
            service_account,
        }),
        _ => None,
    })
}

async fn read_keys(
    world: &World,
    cluster: &Cluster,
) -> Result<BTreeMap<ClusterKeyPair, KeyPair>, ReconcileError> {
    let mut keys = BTreeMap::new();
    for pair in ClusterKeyPair::ALL {
        let name = pair.secret(&cluster.name_any());
        let Some(data) = read_secret(world, cluster, &name).await?.and_then(|s| s.data) else {
            continue;
        };
        let text = |key: &str| data.get(key).and_then(|v| String::from_utf8(v.0.clone()).ok());
        if let (Some(cert_pem), Some(key_pem)) = (text("tls.crt"), text("tls.key")) {
            keys.insert(
                pair,
                KeyPair {
                    cert_pem,
                    key_pem: key_pem.into(),
                },
            );
        }
    }
    Ok(keys)
}

async fn read_kubeconfig(
    world: &World,
    cluster: &Cluster,
) -> Result<Option<KubeconfigSecret>, ReconcileError> {
    let name = names::kubeconfig_secret(&cluster.name_any());
    let Some(secret) = read_secret(world, cluster, &name).await? else {
        return Ok(None);
    };
    let renew_after = secret
        .annotations()
        .get(plan::RENEW_AFTER)
        .and_then(|text| text.parse().ok());
    let value = secret.data.unwrap_or_default().remove("value");
    Ok(value
        .and_then(|v| String::from_utf8(v.0).ok())
        .map(|value| KubeconfigSecret {
            value: value.into(),
            renew_after,
        }))
}

async fn read_secret(world: &World, cluster: &Cluster, name: &str) -> Result<Option<Secret>, ReconcileError> {
    let namespace = cluster.namespace().unwrap_or_default();
    let api: Api<Secret> = Api::namespaced(world.ctx.client.clone(), &namespace);
    within(format!("reading Secret {namespace}/{name}"), api.get_opt(name)).await
}

fn make(pair: ClusterKeyPair, now: Timestamp) -> Result<KeyPair, ReconcileError> {
    match pair {
        ClusterKeyPair::Ca => pki::generate_ca("kubernetes", now),
        ClusterKeyPair::Etcd => pki::generate_ca("etcd-ca", now),
        ClusterKeyPair::Proxy => pki::generate_ca("front-proxy-ca", now),
        ClusterKeyPair::ServiceAccount => pki::generate_service_account(),
    }
    .map_err(|e| ReconcileError::Invalid(e.to_string()))
}

/// Where a process in a pod reaches the API server.
fn from_pod(observed: &Observed) -> Option<FromPod> {
    let endpoint = observed.cluster.spec.control_plane_endpoint.as_ref()?;
    let statuses = observed
        .control_plane
        .iter()
        .filter_map(|c| c.machine.status.as_ref());
    let mut addresses = statuses.flat_map(|s| &s.addresses);
    let internal = addresses.find(|a| a.type_ == "InternalIP");
    Some(FromPod::new(endpoint, internal.map(|a| a.address.as_str())))
}

/// Asks the API server; begins to watch its Nodes once it answers.
async fn health(world: &Arc<World>, observed: &Observed) -> Health {
    let Some(kubeconfig) = &observed.kubeconfig else {
        return Health::Unknown;
    };
    let target = world::target(&observed.cluster);
    let made_from = plan::digest(kubeconfig.value.expose());
    if !world.workloads.is_current(&target, &made_from) {
        let there = from_pod(observed).filter(|_| world.ctx.in_pod);
        let client = match workload::client_from(kubeconfig.value.expose(), there.as_ref()).await {
            Ok(client) => client,
            Err(message) => return Health::NotReady(format!("the kubeconfig can't be used: {message}")),
        };
        // A watch that begins before the server does would wait too long between its tries.
        if let Err(message) = workload::probe(&client).await {
            return Health::NotReady(message);
        }
        let workload = world.watch_workload(target.clone(), client);
        world.workloads.put(target.clone(), made_from, workload);
    }
    match world.workloads.get(&target) {
        Some(workload) => match workload.probe().await {
            Ok(version) => Health::Ready(version),
            Err(message) => Health::NotReady(message),
        },
        None => Health::Unknown,
    }
}
