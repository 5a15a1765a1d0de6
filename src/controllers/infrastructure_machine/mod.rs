//! The infrastructure machine controller: turns every `DockerMachine`, `HollowMachine` and whatever else has an actuator into instances.
//! It knows providers only through `Actuator`, and decides nothing from Nodes.

mod observe;
pub(super) mod plan;
mod status;

use std::sync::Arc;

use kube::{
    ResourceExt,
    api::{ApiResource, DynamicObject},
};

use self::observe::{Failure, Observed};
use super::{
    apply::{Subject, Writer, execute},
    effect::Requeue,
    metrics::Operation,
    runtime::ReconcileError,
    world::World,
};
use crate::providers::ActuatorError;

const WRITER: Writer = Writer {
    source: "infrastructure-machine-controller",
    manager: "machinectl-infrastructure",
};

/// A look may plan again with what an actuator answered; this often at most.
const ROUNDS: usize = 4;

/// Whether the object's Machine is left alone because its Cluster is.
pub(super) fn is_paused(world: &World, object: &DynamicObject) -> bool {
    observe::owner(world, object).is_some_and(|machine| world.is_paused(&machine))
}

/// Brings one infrastructure object further.
pub(super) async fn reconcile(
    world: Arc<World>,
    resource: ApiResource,
    object: Arc<DynamicObject>,
) -> Result<Requeue, ReconcileError> {
    let Some(actuator) = world.ctx.actuators.get(&resource.kind).cloned() else {
        return Ok(Requeue::OnChange);
    };
    let subject = Subject::dynamic(&object, &resource);
    let (mut observed, mut error) = observe::observe(&world, &resource, object, &*actuator).await?;
    if let Some(error) = &error {
        count(&world, &observed, Operation::Update, error);
    }
    for _ in 0..ROUNDS {
        let plan = plan::plan(&observed, world.ctx.clock.now());
        let applied = execute(&world, WRITER, &subject, &plan, Some(&*actuator)).await?;
        observed.changed_spec |= plan::changes_spec(&plan);
        observed.prepared = true;
        match (applied.instance, applied.deletion) {
            (None, None) => {
                // What stays as it is until somebody changes the object stands in its status; the rest is tried again.
                return match error.filter(|e| !matches!(e, ActuatorError::Terminal { .. })) {
                    Some(error) => Err(error.into()),
                    None => Ok(plan.requeue),
                };
            }
            (Some(Ok(instance)), _) => {
                observed = Observed {
                    created: true,
                    failure: None,
                    instance: Some(instance),
                    ..observed
                }
            }
            (_, Some(Ok(deletion))) => observed.deletion = Some(deletion),
            (Some(Err(e)), _) => {
                count(&world, &observed, Operation::Create, &e);
                observed.failure = Some(Failure::of(&e));
                error = Some(e);
            }
            (_, Some(Err(e))) => {
                count(&world, &observed, Operation::Delete, &e);
                observed.failure = Some(Failure::of(&e));
                error = Some(e);
            }
        }
    }
    Ok(Requeue::OnChange.or_sooner(crate::time::SignedDuration::from_secs(1)))
}

/// Counts what an actuator could not do, under the Machine's name.
fn count(world: &World, observed: &Observed, operation: Operation, error: &ActuatorError) {
    let object = &observed.object;
    let name = observed
        .machine
        .as_ref()
        .map_or_else(|| object.name_any(), |m| m.name_any());
    let namespace = object.namespace().unwrap_or_default();
    world
        .metrics
        .instance_failed(operation, &namespace, &name, error.reason());
}
