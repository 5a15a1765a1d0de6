//! The Machine controller: bootstrap data, infrastructure object, Node, and the order in which they go. It speaks to providers only
//! through the infrastructure object.

mod bootstrap;
mod drain;
mod observe;
mod plan;
mod removal;
mod status;

use std::sync::Arc;

use super::{
    apply::{Subject, Writer, execute},
    effect::{Effect, Notice, Plan, Requeue},
    runtime::ReconcileError,
    world::World,
};
use crate::api::v1alpha1::Machine;

const WRITER: Writer = Writer {
    source: "machine-controller",
    manager: "machinectl-machine",
};

/// Brings one Machine further.
pub(super) async fn reconcile(world: Arc<World>, machine: Arc<Machine>) -> Result<Requeue, ReconcileError> {
    let subject = Subject::of(&*machine);
    let observed = observe::observe(&world, machine).await?;
    let now = world.ctx.clock.now();
    let plan = if observed.machine.metadata.deletion_timestamp.is_some() {
        removal::plan(&observed, now)
    } else {
        plan::plan(&observed, now)
    };
    let result = execute(&world, WRITER, &subject, &plan, None).await;
    let evicts = plan.effects.iter().any(|e| matches!(e, Effect::Evict { .. }));
    if let Err(error) = &result
        && evicts
    {
        let told = Plan {
            effects: vec![Effect::Emit(Notice::warning("FailedDrainNode", error.chain()))],
            ..Plan::nothing()
        };
        execute(&world, WRITER, &subject, &told, None).await?;
    }
    result.map(|_| plan.requeue)
}
