//! Hollow machines: a Node object and a Lease that is kept alive, and nothing behind them. It starts no process and opens no port.

mod spec;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Node};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::Value;
use tokio::{sync::OnceCell, task::AbortHandle};

pub use spec::provider_id;

use super::{Actuator, ActuatorError, Deletion, Instance, InstanceKey, InstanceSpec, InstanceState};
use crate::{
    api::v1alpha1::{HollowMachineSpec, MachineAddress, NodeImage},
    time::{Clock, Timestamp},
};

/// Taint that an API server puts on a Node that registers.
const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// How often the nodes show that they live. Their Leases hold for 40 s.
const RENEW: Duration = Duration::from_secs(15);

/// Makes Nodes without machines behind them, in the cluster that its client talks to.
pub struct HollowActuator {
    shared: Arc<Shared>,
    version: OnceCell<String>,
    heartbeat: OnceLock<AbortHandle>,
}

struct Shared {
    client: Client,
    clock: Arc<dyn Clock>,
    /// Nodes that are kept alive: name -> UID.
    alive: Mutex<BTreeMap<String, Option<String>>>,
    /// Machines that start up, and when they began.
    starting: Mutex<BTreeMap<InstanceKey, Timestamp>>,
}

impl HollowActuator {
    /// Makes an actuator whose Nodes live in the cluster of `client`.
    pub fn new(client: Client, clock: Arc<dyn Clock>) -> Self {
        Self {
            shared: Arc::new(Shared {
                client,
                clock,
                alive: Mutex::default(),
                starting: Mutex::default(),
            }),
            version: OnceCell::new(),
            heartbeat: OnceLock::new(),
        }
    }

    fn nodes(&self) -> Api<Node> {
        Api::all(self.shared.client.clone())
    }

    /// The API server's own version, asked once.
    async fn server_version(&self) -> Result<&str, ActuatorError> {
        self.version
            .get_or_try_init(|| async {
                let info = self.shared.client.apiserver_version().await;
                info.map(|info| info.git_version)
                    .map_err(|e| api_error("asking the API server for its version", &e))
            })
            .await
            .map(String::as_str)
    }

    /// Lets a node live from now on. The task that does so for all of them starts with the first.
    fn keep_alive(&self, node: &Node) {
        if let Some(name) = &node.metadata.name {
            lock(&self.shared.alive).insert(name.clone(), node.metadata.uid.clone());
        }
        self.heartbeat
            .get_or_init(|| tokio::spawn(heartbeat(Arc::clone(&self.shared))).abort_handle());
    }

    /// Whether a machine is still starting up.
    fn is_starting(&self, spec: &InstanceSpec, hollow: &HollowMachineSpec) -> bool {
        let Some(delay) = hollow.startup_delay.filter(|d| !d.span().is_zero()) else {
            return false;
        };
        let now = self.shared.clock.now();
        let mut starting = lock(&self.shared.starting);
        let began = *starting.entry(spec.key.clone()).or_insert(now);
        now.duration_since(began) < delay.span()
    }
}

impl Drop for HollowActuator {
    fn drop(&mut self) {
        if let Some(task) = self.heartbeat.get() {
            task.abort();
        }
    }
}

impl std::fmt::Debug for HollowActuator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HollowActuator").finish_non_exhaustive()
    }
}

#[async_trait]
impl Actuator for HollowActuator {
    fn needs_bootstrap(&self) -> bool {
        false
    }

    async fn node_image(&self, _: &Value) -> Result<Option<NodeImage>, ActuatorError> {
        Ok(None)
    }

    async fn observe(&self, spec: &InstanceSpec) -> Result<Option<Instance>, ActuatorError> {
        let hollow = parse(spec)?;
        let node = self
            .nodes()
            .get_opt(&spec.machine)
            .await
            .map_err(|e| api_error("reading the Node", &e))?;
        if let Some(node) = node.filter(|node| is_of(node, &spec.key)) {
            self.keep_alive(&node);
            return Ok(Some(instance(spec, InstanceState::Running)));
        }
        let started = lock(&self.shared.starting).contains_key(&spec.key);
        Ok((started && self.is_starting(spec, &hollow)).then(|| instance(spec, InstanceState::Booting)))
    }

    async fn create(&self, spec: &InstanceSpec) -> Result<Instance, ActuatorError> {
        let hollow = parse(spec)?;
        if self.is_starting(spec, &hollow) {
            return Ok(instance(spec, InstanceState::Booting));
        }
        let version = match hollow.kubernetes_version.as_ref().or(spec.version.as_ref()) {
            Some(version) => version.clone(),
            None => self.server_version().await?.to_owned(),
        };
        let wanted = spec::node(spec, &hollow, &version, self.shared.clock.now());
        let node = match self.nodes().create(&PostParams::default(), &wanted).await {
            Ok(node) => self.with_status(node, &wanted).await?,
            Err(kube::Error::Api(status)) if status.is_already_exists() => self.existing(spec).await?,
            Err(error) => return Err(api_error("creating the Node", &error)),
        };
        lock(&self.shared.starting).remove(&spec.key);
        self.keep_alive(&node);
        Ok(instance(spec, InstanceState::Running))
    }

    async fn delete(&self, spec: &InstanceSpec) -> Result<Deletion, ActuatorError> {
        lock(&self.shared.starting).remove(&spec.key);
        let Some(node) = self
            .nodes()
            .get_opt(&spec.machine)
            .await
            .map_err(|e| api_error("reading the Node", &e))?
        else {
            lock(&self.shared.alive).remove(&spec.machine);
            return Ok(Deletion::Gone);
        };
        if !is_of(&node, &spec.key) {
            return Ok(Deletion::Gone);
        }
        lock(&self.shared.alive).remove(&spec.machine);
        let leases: Api<Lease> = Api::namespaced(self.shared.client.clone(), spec::NODE_LEASES);
        gone(leases.delete(&spec.machine, &DeleteParams::default()).await)
            .map_err(|e| api_error("deleting the Node's Lease", &e))?;
        gone(self.nodes().delete(&spec.machine, &DeleteParams::default()).await)
            .map_err(|e| api_error("deleting the Node", &e))?;
        Ok(Deletion::Gone)
    }
}

impl HollowActuator {
    /// Writes the status, too, if the API server kept only the spec.
    async fn with_status(&self, node: Node, wanted: &Node) -> Result<Node, ActuatorError> {
        if node.status.as_ref().is_some_and(|s| s.conditions.is_some()) {
            return Ok(node);
        }
        let patch = serde_json::json!({ "status": wanted.status });
        let name = wanted.metadata.name.as_deref().unwrap_or_default();
        self.nodes()
            .patch_status(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .map_err(|e| api_error("writing the Node's status", &e))
    }

    /// A Node of that name exists: fine if it is this machine's.
    async fn existing(&self, spec: &InstanceSpec) -> Result<Node, ActuatorError> {
        let node = self
            .nodes()
            .get(&spec.machine)
            .await
            .map_err(|e| api_error("reading the Node", &e))?;
        if is_of(&node, &spec.key) {
            return Ok(node);
        }
        Err(ActuatorError::terminal(
            "InvalidConfiguration",
            format!(
                "a Node {} exists already and belongs to something else; give the Machine another name",
                spec.machine
            ),
        ))
    }
}

/// Renews the Leases of all nodes, one after the other, for ever.
async fn heartbeat(shared: Arc<Shared>) {
    let leases: Api<Lease> = Api::namespaced(shared.client.clone(), spec::NODE_LEASES);
    let mut untainted = BTreeSet::new();
    loop {
        tokio::time::sleep(RENEW).await;
        let nodes = lock(&shared.alive).clone();
        untainted.retain(|node| nodes.contains_key(node));
        for (node, uid) in nodes {
            if !lock(&shared.alive).contains_key(&node) {
                continue;
            }
            let shown = async {
                renew(&leases, &node, uid.as_deref(), shared.clock.now()).await?;
                if !untainted.contains(&node) {
                    untaint(&shared.client, &node).await?;
                    untainted.insert(node.clone());
                }
                Ok::<(), kube::Error>(())
            };
            if let Err(error) = shown.await {
                tracing::debug!(%node, %error, "the Lease of a hollow node could not be renewed");
            }
        }
    }
}

/// Takes the taint away that API servers put on each new Node, where no controller does: the Node is ready from the first.
async fn untaint(client: &Client, name: &str) -> Result<(), kube::Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let Some(node) = nodes.get_opt(name).await? else {
        return Ok(());
    };
    let all = node.spec.and_then(|s| s.taints).unwrap_or_default();
    let left: Vec<_> = all.iter().filter(|t| t.key != NOT_READY).collect();
    if left.len() == all.len() {
        return Ok(());
    }
    let patch = serde_json::json!({
        "metadata": { "resourceVersion": node.metadata.resource_version },
        "spec": { "taints": left },
    });
    nodes
        .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .map(|_| ())
}

async fn renew(
    leases: &Api<Lease>,
    node: &str,
    uid: Option<&str>,
    now: Timestamp,
) -> Result<(), kube::Error> {
    let wanted = spec::lease(node, uid, now);
    let patch = serde_json::json!({ "spec": wanted.spec });
    match leases
        .patch(node, &PatchParams::default(), &Patch::Merge(&patch))
        .await
    {
        Err(kube::Error::Api(status)) if status.is_not_found() => {
            leases.create(&PostParams::default(), &wanted).await.map(|_| ())
        }
        other => other.map(|_| ()),
    }
}

fn parse(spec: &InstanceSpec) -> Result<HollowMachineSpec, ActuatorError> {
    serde_json::from_value(spec.infrastructure.clone()).map_err(|e| {
        ActuatorError::terminal(
            "InvalidConfiguration",
            format!("the spec of HollowMachine {} can't be read: {e}", spec.key.name),
        )
    })
}

fn is_of(node: &Node, key: &InstanceKey) -> bool {
    node.spec.as_ref().and_then(|s| s.provider_id.as_deref()) == Some(&provider_id(key))
}

fn instance(spec: &InstanceSpec, state: InstanceState) -> Instance {
    let address = |type_: &str, address: String| MachineAddress {
        type_: type_.to_owned(),
        address,
    };
    Instance {
        provider_id: provider_id(&spec.key),
        node_name: spec.machine.clone(),
        state,
        addresses: vec![
            address("InternalIP", spec::address(&spec.key)),
            address("Hostname", spec.machine.clone()),
        ],
        api_endpoint: None,
        attempt: spec.attempt,
        notes: Vec::new(),
    }
}

fn gone<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}

fn api_error(doing: &str, error: &kube::Error) -> ActuatorError {
    ActuatorError::transient(format!("{doing}: {error}"))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
