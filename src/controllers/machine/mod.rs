//! The Machine controller: bootstrap data, infrastructure object, Node, and the order in which they go. It speaks to providers only
//! through the infrastructure object.
//!
//! | file | what it does |
//! |---|---|
//! | `observe`, `link` | what there is; which Node is a Machine's |
//! | `plan`, `bootstrap`, `status` | a Machine that is to be |
//! | `removal`, `farewell` | a Machine that goes, and what it says meanwhile |
//! | `hooks`, `turn`, `drain` | who holds up the drain, whose turn it is, which pods leave |
//! | `volumes` | what is still attached to a Node |

mod bootstrap;
pub(crate) mod drain;
mod farewell;
mod hooks;
pub(crate) mod link;
pub(crate) mod observe;
mod plan;
mod removal;
mod status;
pub(crate) mod turn;
mod volumes;

use std::sync::Arc;

use super::{
    apply::{Subject, Writer, execute},
    effect::{Effect, Plan, Requeue},
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
    let mut observed = observe::observe(&world, machine).await?;
    let now = world.ctx.clock.now();
    if observed.machine.metadata.deletion_timestamp.is_none() {
        let plan = plan::plan(&observed, now);
        execute(&world, WRITER, &subject, &plan, None).await?;
        return Ok(plan.requeue);
    }
    let mut plan = removal::plan(&observed, now);
    if plan.effects.iter().any(|e| matches!(e, Effect::Evict { .. })) {
        // What pods are answered is told in the same look: first they are asked, then it is said how it stands.
        plan.effects.retain(|e| !matches!(e, Effect::Emit(_)));
        let asked = Plan { status: None, ..plan };
        let applied = execute(&world, WRITER, &subject, &asked, None).await?;
        removal::take_answers(&mut observed, applied.evictions, now);
        plan = removal::plan(&observed, now);
        plan.effects.retain(|e| matches!(e, Effect::Emit(_)));
    }
    execute(&world, WRITER, &subject, &plan, None).await?;
    Ok(plan.requeue)
}
