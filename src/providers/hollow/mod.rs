//! Hollow machines: a Node object and a Lease that is kept alive, and nothing behind them. It starts no process and opens no port.
//!
//! A machine may start slowly, fail, vanish, or let its Node turn unready, as its spec asks: see `faults`.

mod faults;
mod fleet;
mod kubelet;
mod spec;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock},
};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PostParams},
};
use serde::Deserialize;
use serde_json::Value;
use tokio::{sync::OnceCell, task::AbortHandle};

pub use spec::provider_id;

use self::{
    faults::{Script, later},
    kubelet::{Kubelets, lock},
};
use super::{
    Actuator, ActuatorError, Deletion, FIELD_MANAGER, Instance, InstanceKey, InstanceSpec, InstanceState,
};
use crate::{
    api::v1alpha1::{HollowMachineSpec, MachineAddress, NodeImage},
    time::{Clock, SignedDuration, Timestamp},
};

/// Makes Nodes without machines behind them, in the cluster that its client talks to.
pub struct HollowActuator {
    client: Client,
    clock: Arc<dyn Clock>,
    kubelets: Arc<Kubelets>,
    /// Machines that start up, and when they began.
    starting: Mutex<BTreeMap<InstanceKey, Timestamp>>,
    version: OnceCell<String>,
    task: OnceLock<AbortHandle>,
}

impl HollowActuator {
    /// Makes an actuator whose Nodes live in the cluster of `client`.
    pub fn new(client: Client, clock: Arc<dyn Clock>) -> Self {
        Self {
            kubelets: Arc::new(Kubelets::new(client.clone(), Arc::clone(&clock))),
            client,
            clock,
            starting: Mutex::default(),
            version: OnceCell::new(),
            task: OnceLock::new(),
        }
    }

    fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    /// The API server's own version, asked once.
    async fn server_version(&self) -> Result<&str, ActuatorError> {
        self.version
            .get_or_try_init(|| async {
                let info = self.client.apiserver_version().await;
                info.map(|info| info.git_version)
                    .map_err(|e| api_error("asking the API server for its version", &e))
            })
            .await
            .map(String::as_str)
    }

    /// Lets a node live from now on. The task that does so for all of them starts with the first.
    fn keep_alive(&self, node: &Node, script: Script) {
        self.kubelets.keep(node, script);
        self.task
            .get_or_init(|| tokio::spawn(Arc::clone(&self.kubelets).run()).abort_handle());
    }

    /// How much longer a machine takes to start that began to, if it did.
    fn starts_for(&self, spec: &InstanceSpec, script: &Script) -> Option<SignedDuration> {
        let began = lock(&self.starting).get(&spec.key).copied();
        // Before this process there may have been another one.
        let began = began.or(spec.known.booting_since)?;
        Some(later(began, script.startup()).duration_since(self.clock.now()))
    }

    /// Returns the machine's Node, if there is one.
    async fn node(&self, spec: &InstanceSpec) -> Result<Option<Node>, ActuatorError> {
        if let Some(node) = spec.known.node.as_deref().filter(|node| is_of(node, &spec.key)) {
            return Ok(Some(node.clone()));
        }
        let id = provider_id(&spec.key);
        if self.kubelets.uid(&spec.machine, &id).is_none() {
            return Ok(None);
        }
        // It was there: it may be gone, or so new that nobody has seen it.
        let node = self.nodes().get_opt(&spec.machine).await;
        let node = node.map_err(|e| api_error("reading the Node", &e))?;
        Ok(node.filter(|node| is_of(node, &spec.key)))
    }
}

impl Drop for HollowActuator {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
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

    fn may_remake(&self, spec: &InstanceSpec) -> bool {
        let script = script(spec);
        script.map_or(true, |(_, s)| !s.has_vanished(&spec.known, self.clock.now()))
    }

    async fn node_image(&self, _: &Value) -> Result<Option<NodeImage>, ActuatorError> {
        Ok(None)
    }

    async fn observe(&self, spec: &InstanceSpec) -> Result<Option<Instance>, ActuatorError> {
        let (_, script) = script(spec)?;
        if let Some(node) = self.node(spec).await? {
            self.keep_alive(&node, script);
            return Ok(Some(instance(spec, InstanceState::Running)));
        }
        self.kubelets.forget(&spec.machine, &provider_id(&spec.key));
        let left = self.starts_for(spec, &script).filter(SignedDuration::is_positive);
        Ok(left.map(|left| booting(spec, left)))
    }

    async fn create(&self, spec: &InstanceSpec) -> Result<Instance, ActuatorError> {
        let (hollow, script) = script(spec)?;
        let left = match self.starts_for(spec, &script) {
            Some(left) => left,
            None => self.begin(spec, &script)?,
        };
        if left.is_positive() {
            return Ok(booting(spec, left));
        }
        let version = match hollow.kubernetes_version.as_ref().or(spec.version.as_ref()) {
            Some(version) => version.clone(),
            None => self.server_version().await?.to_owned(),
        };
        let wanted = spec::node(spec, &hollow, &version, self.clock.now());
        let posts = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let node = match self.nodes().create(&posts, &wanted).await {
            Ok(node) => self.with_status(node, &wanted).await?,
            Err(kube::Error::Api(status)) if status.is_already_exists() => self.existing(spec).await?,
            Err(error) => return Err(api_error("creating the Node", &error)),
        };
        lock(&self.starting).remove(&spec.key);
        self.keep_alive(&node, script);
        Ok(instance(spec, InstanceState::Running))
    }

    async fn delete(&self, spec: &InstanceSpec) -> Result<Deletion, ActuatorError> {
        lock(&self.starting).remove(&spec.key);
        let Some(uid) = self.uid(spec).await? else {
            return Ok(Deletion::Gone);
        };
        // A spec that can't be read holds nothing up.
        let script = script(spec).ok().map(|(_, script)| script);
        let left = script.and_then(|s| s.deletion(spec.known.deleting_since, self.clock.now()));
        if let Some(left) = left {
            return Ok(Deletion::Takes(left));
        }
        self.kubelets.forget(&spec.machine, &provider_id(&spec.key));
        kubelet::delete(&self.nodes(), &spec.machine, &uid)
            .await
            .map_err(|e| api_error("deleting the Node", &e))?;
        Ok(Deletion::Gone)
    }
}

impl HollowActuator {
    /// Begins to start a machine, if its faults let it; says how long that takes.
    fn begin(&self, spec: &InstanceSpec, script: &Script) -> Result<SignedDuration, ActuatorError> {
        let now = self.clock.now();
        if let Some(refusal) = script.refusal(now) {
            return Err(refusal);
        }
        if script.startup().is_positive() {
            lock(&self.starting).insert(spec.key.clone(), now);
        }
        Ok(script.startup())
    }

    /// UID of the machine's Node, if there is one.
    async fn uid(&self, spec: &InstanceSpec) -> Result<Option<String>, ActuatorError> {
        let seen = spec.known.node.as_deref();
        if let Some(uid) = seen
            .filter(|node| is_of(node, &spec.key))
            .and_then(ResourceExt::uid)
        {
            return Ok(Some(uid));
        }
        if seen.is_none()
            && let Some(uid) = self.kubelets.uid(&spec.machine, &provider_id(&spec.key))
        {
            return Ok(Some(uid));
        }
        let node = self.nodes().get_opt(&spec.machine).await;
        let node = node.map_err(|e| api_error("reading the Node", &e))?;
        Ok(node
            .filter(|node| is_of(node, &spec.key))
            .and_then(|node| node.uid()))
    }

    /// Writes the status, too, if the API server kept only the spec.
    async fn with_status(&self, node: Node, wanted: &Node) -> Result<Node, ActuatorError> {
        if node.status.as_ref().is_some_and(|s| s.conditions.is_some()) {
            return Ok(node);
        }
        let patch = serde_json::json!({ "status": wanted.status });
        let name = wanted.metadata.name.as_deref().unwrap_or_default();
        self.nodes()
            .patch_status(name, &kubelet::writes(), &Patch::Merge(&patch))
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

/// Reads the spec of a machine, and what becomes of it.
fn script(spec: &InstanceSpec) -> Result<(HollowMachineSpec, Script), ActuatorError> {
    let hollow: HollowMachineSpec = Deserialize::deserialize(&spec.infrastructure).map_err(|e| {
        ActuatorError::terminal(
            "InvalidConfiguration",
            format!("the spec of HollowMachine {} can't be read: {e}", spec.key.name),
        )
    })?;
    let script = Script::of(&spec.key.uid, &hollow);
    Ok((hollow, script))
}

fn is_of(node: &Node, key: &InstanceKey) -> bool {
    spec::provider_id_of(node) == Some(&provider_id(key))
}

fn booting(spec: &InstanceSpec, left: SignedDuration) -> Instance {
    Instance {
        settled_for: Some(left),
        ..instance(spec, InstanceState::Booting)
    }
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
        settled_for: None,
    }
}

fn api_error(doing: &str, error: &kube::Error) -> ActuatorError {
    ActuatorError::transient(format!("{doing}: {error}"))
}
