//! An actuator that does what the case tells it to.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Mutex,
};

use async_trait::async_trait;
use machinectl::{
    api::v1alpha1::{Flavour, MachineAddress, NodeImage},
    providers::{Actuator, ActuatorError, Deletion, Instance, InstanceSpec, InstanceState},
};
use serde_json::Value;

/// What comes of one try to make an instance.
pub(crate) enum Try {
    /// It comes up.
    Up,
    /// It fails while it comes up.
    Fails(&'static str),
    /// The provider does not answer.
    Error(&'static str),
    /// The provider refuses for good.
    Refused(&'static str),
}

/// An actuator with a script; after its end all goes well.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) script: Mutex<VecDeque<Try>>,
    /// Instances by name.
    pub(crate) instances: Mutex<BTreeMap<String, Instance>>,
    /// What was asked of it.
    pub(crate) calls: Mutex<Vec<String>>,
    /// Deletions that take another look.
    pub(crate) slow_deletions: Mutex<usize>,
    pub(crate) bootstrap: bool,
}

impl Fake {
    pub(crate) fn with(script: impl IntoIterator<Item = Try>) -> Self {
        Self {
            script: Mutex::new(script.into_iter().collect()),
            ..Self::default()
        }
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    fn note(&self, call: String) {
        self.calls.lock().unwrap().push(call);
    }
}

#[async_trait]
impl Actuator for Fake {
    fn needs_bootstrap(&self) -> bool {
        self.bootstrap
    }

    async fn node_image(&self, _: &Value) -> Result<Option<NodeImage>, ActuatorError> {
        Ok(self.bootstrap.then(|| NodeImage {
            flavour: Flavour::Kubeadm,
            kubernetes_version: "v1.33.1".into(),
        }))
    }

    async fn observe(&self, spec: &InstanceSpec) -> Result<Option<Instance>, ActuatorError> {
        Ok(self.instances.lock().unwrap().get(&spec.key.name).cloned())
    }

    async fn create(&self, spec: &InstanceSpec) -> Result<Instance, ActuatorError> {
        self.note(format!("create {} {}", spec.key.name, spec.attempt));
        let next = self.script.lock().unwrap().pop_front().unwrap_or(Try::Up);
        let state = match next {
            Try::Up => InstanceState::Running,
            Try::Fails(message) => InstanceState::Failed {
                reason: "BootstrapFailed".into(),
                message: message.into(),
            },
            Try::Error(message) => return Err(ActuatorError::transient(message)),
            Try::Refused(message) => return Err(ActuatorError::terminal("InvalidConfiguration", message)),
        };
        let container = spec.infrastructure["containerName"]
            .as_str()
            .unwrap_or(&spec.machine);
        let instance = Instance {
            provider_id: format!("docker://{container}"),
            node_name: container.to_owned(),
            state,
            addresses: vec![MachineAddress {
                type_: "InternalIP".into(),
                address: "172.18.0.7".into(),
            }],
            api_endpoint: None,
            attempt: spec.attempt,
            notes: Vec::new(),
            settled_for: None,
        };
        self.instances
            .lock()
            .unwrap()
            .insert(spec.key.name.clone(), instance.clone());
        Ok(instance)
    }

    async fn delete(&self, spec: &InstanceSpec) -> Result<Deletion, ActuatorError> {
        self.note(format!("delete {}", spec.key.name));
        let mut slow = self.slow_deletions.lock().unwrap();
        if *slow > 0 {
            *slow -= 1;
            return Ok(Deletion::InProgress);
        }
        self.instances.lock().unwrap().remove(&spec.key.name);
        Ok(Deletion::Gone)
    }
}
