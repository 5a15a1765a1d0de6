//! The `MachineSet` controller: keeps a number of equal Machines alive. It reads Machines alone, never Nodes, and makes nothing but
//! Machines and the infrastructure objects that they refer to.
//!
//! | file | what it decides |
//! |---|---|
//! | `plan` | what to do in a look |
//! | `template` | whether the set can be worked with, and what is wrong if not |
//! | `make` | what a new Machine and its infrastructure object look like |
//! | `order` | which Machines go first |
//! | `in_place` | what of a changed template reaches the Machines that exist |
//! | `capacity` | what autoscalers are told |
//! | `failed` | when Failed Machines are replaced |
//! | `status` | how many there are, and what is so and what is not |

mod capacity;
mod failed;
mod in_place;
mod make;
mod observe;
mod order;
mod plan;
mod random;
mod status;
mod template;

use std::sync::Arc;

use self::observe::{Observed, Trouble};
use super::{
    apply::{Subject, Writer, execute},
    effect::{Effect, Plan, Requeue},
    runtime::ReconcileError,
    world::World,
};
use crate::api::v1alpha1::MachineSet;

const WRITER: Writer = Writer {
    source: "machineset-controller",
    manager: "machinectl-machineset",
};

/// Brings one set further.
///
/// Costs, in API requests: none for a set that is as it should be; one for its status when a number changed; two for each machine that is
/// made (Machine and infrastructure object) and one for the template; one for each machine that is deleted, adopted, released or changed.
pub(super) async fn reconcile(world: Arc<World>, set: Arc<MachineSet>) -> Result<Requeue, ReconcileError> {
    let subject = Subject::of(&*set);
    let observed = observe::observe(&world, Arc::clone(&set)).await?;
    let Plan {
        effects,
        status,
        requeue,
    } = plan::plan(&observed, world.ctx.clock.now());
    let mut failure: Option<Failure> = None;
    let mut failed = false;
    for effect in effects {
        // What did not happen is not told as if it had.
        if failed && matches!(effect, Effect::Emit(_)) {
            continue;
        }
        let adopts = plan::adopts(&effect);
        let names = plan::names_in(&effect);
        let one = Plan {
            effects: vec![effect],
            ..Plan::nothing()
        };
        let done = execute(&world, WRITER, &subject, &one, None).await;
        failed = done.is_err();
        if let Err(error) = done
            && failure.as_ref().is_none_or(|f| f.error.is_conflict())
        {
            failure = Some(Failure { error, adopts, names });
        }
    }
    if let Some(Failure { error, adopts, names }) = failure {
        if !error.is_conflict() {
            let reason = if adopts { "FailedAdopt" } else { "ReconcileError" };
            tell(&world, &subject, set, Trouble::of(reason, &error, &names)).await?;
        }
        return Err(error);
    }
    let rest = Plan {
        effects: Vec::new(),
        status,
        requeue,
    };
    execute(&world, WRITER, &subject, &rest, None).await?;
    Ok(requeue)
}

/// What went wrong first.
struct Failure {
    error: ReconcileError,
    /// Whether it was about taking Machines.
    adopts: bool,
    /// Names of what was to be made.
    names: Vec<String>,
}

/// Says at the set what could not be done. What was done before that is in the numbers.
async fn tell(
    world: &Arc<World>,
    subject: &Subject,
    set: Arc<MachineSet>,
    trouble: Trouble,
) -> Result<(), ReconcileError> {
    let observed = Observed {
        trouble: Some(trouble),
        ..observe::members(world, set).await?
    };
    let told = plan::tell(&observed, world.ctx.clock.now());
    execute(world, WRITER, subject, &told, None).await.map(|_| ())
}

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod in_place_tests;
#[cfg(test)]
mod order_tests;
#[cfg(test)]
mod plan_tests;
#[cfg(test)]
pub(crate) mod simulation;
