//! Reads what a decision about an infrastructure object needs: its Machine, its bootstrap data, its instance. It decides nothing.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Secret};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject},
};

use super::plan;
use crate::{
    api::{
        names,
        v1alpha1::{Cluster, Machine, NodeImage},
    },
    controllers::{apply::within, effect::Target, runtime::ReconcileError, world::World},
    providers::{Actuator, ActuatorError, BootstrapData, Deletion, Instance},
};

/// What an actuator could not do in this look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// One word, if it stays so until somebody changes something.
    pub(crate) terminal: Option<String>,
    /// For people.
    pub(crate) message: String,
}

impl Failure {
    /// Takes down an error.
    pub(crate) fn of(error: &ActuatorError) -> Self {
        Self {
            terminal: match error {
                ActuatorError::Terminal { reason, .. } => Some(reason.clone()),
                ActuatorError::Transient { .. } | ActuatorError::Throttled { .. } => None,
            },
            message: error.to_string(),
        }
    }
}

/// All that a decision about an infrastructure object is made from.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own that a table of cases sets"
)]
pub(crate) struct Observed {
    /// Kind of the object.
    pub(crate) kind: String,
    /// The object.
    pub(crate) object: Arc<DynamicObject>,
    /// The Machine that owns it, if it is there.
    pub(crate) machine: Option<Arc<Machine>>,
    /// The Machine's Cluster, if it has one and it is there.
    pub(crate) cluster: Option<Arc<Cluster>>,
    /// Whether instances of this kind need bootstrap data.
    pub(crate) needs_bootstrap: bool,
    /// Whether an instance that was ready and is gone may be made again.
    pub(crate) may_remake: bool,
    /// The Node that bears the Machine's name in the cluster that holds the objects. For the actuator; nothing is decided from it.
    pub(crate) node: Option<Arc<Node>>,
    /// What the node image is: as published, or as the actuator says now.
    pub(crate) node_image: Option<NodeImage>,
    /// The bootstrap data, as far as it is needed and there.
    pub(crate) bootstrap: Option<BootstrapData>,
    /// The instance.
    pub(crate) instance: Option<Instance>,
    /// Whether the instance was made in this look.
    pub(crate) created: bool,
    /// Whether finalizer and provider id were written in this look.
    pub(crate) prepared: bool,
    /// Whether the provider id was written in this look.
    pub(crate) changed_spec: bool,
    /// How far the deletion of the instance is.
    pub(crate) deletion: Option<Deletion>,
    /// What the actuator could not do.
    pub(crate) failure: Option<Failure>,
}

/// Finds the Machine that owns an infrastructure object.
pub(super) fn owner(world: &World, object: &DynamicObject) -> Option<Arc<Machine>> {
    let reference = plan::owner_reference(object)?;
    let machine = world
        .machines
        .get(object.metadata.namespace.as_deref(), &reference.name)?;
    (machine.uid().as_deref() == Some(&reference.uid)).then_some(machine)
}

/// Reads everything. What the actuator could not do is part of it, and given back, too.
pub(super) async fn observe(
    world: &World,
    resource: &ApiResource,
    object: Arc<DynamicObject>,
    actuator: &dyn Actuator,
) -> Result<(Observed, Option<ActuatorError>), ReconcileError> {
    let machine = owner(world, &object);
    let cluster = machine.as_ref().and_then(|m| world.cluster_of(m).ok().flatten());
    let mut observed = Observed {
        kind: resource.kind.clone(),
        node_image: plan::published_image(&object),
        object,
        machine,
        cluster,
        needs_bootstrap: actuator.needs_bootstrap(),
        may_remake: true,
        node: None,
        bootstrap: None,
        instance: None,
        created: false,
        prepared: false,
        changed_spec: false,
        deletion: None,
        failure: None,
    };
    observed.node = node(world, &plan::machine_name(&observed));
    let deleting = observed.object.metadata.deletion_timestamp.is_some();
    let Some(machine) = observed.machine.clone().filter(|_| !deleting) else {
        return Ok((observed, None));
    };
    if plan::has_failed(&observed) {
        return Ok((observed, None));
    }
    let spec = plan::instance_spec(&observed);
    observed.may_remake = actuator.may_remake(&spec);
    match actuator.observe(&spec).await {
        Ok(instance) => observed.instance = instance,
        Err(error) => {
            observed.failure = Some(Failure::of(&error));
            return Ok((observed, Some(error)));
        }
    }
    if observed.needs_bootstrap && observed.instance.is_none() && observed.node_image.is_none() {
        let spec = observed.object.data.get("spec").cloned().unwrap_or_default();
        match actuator.node_image(&spec).await {
            Ok(image) => observed.node_image = image,
            Err(error) => {
                observed.failure = Some(Failure::of(&error));
                return Ok((observed, Some(error)));
            }
        }
    }
    if observed.needs_bootstrap && plan::may_need_data(&observed) {
        observed.bootstrap = bootstrap(world, &machine).await?;
    }
    Ok((observed, None))
}

/// Finds a Node of the cluster that holds the objects. It asks no API server.
fn node(world: &World, name: &str) -> Option<Arc<Node>> {
    world
        .workloads
        .get(&Target::Management)
        .and_then(|w| w.nodes.get(None, name))
}

/// Reads the bootstrap data of a Machine.
async fn bootstrap(world: &World, machine: &Machine) -> Result<Option<BootstrapData>, ReconcileError> {
    let foreign = machine
        .spec
        .bootstrap
        .as_ref()
        .and_then(|b| b.data_secret_name.clone());
    let name = foreign.unwrap_or_else(|| names::bootstrap_secret(&machine.name_any()));
    let namespace = machine.namespace().unwrap_or_default();
    let secrets: Api<Secret> = Api::namespaced(world.ctx.client.clone(), &namespace);
    let secret = within(
        format!("reading Secret {namespace}/{name}"),
        secrets.get_opt(&name),
    )
    .await?;
    let value = secret
        .and_then(|s| s.data)
        .and_then(|mut data| data.remove("value"));
    Ok(value
        .and_then(|v| String::from_utf8(v.0).ok())
        .map(BootstrapData::new))
}
