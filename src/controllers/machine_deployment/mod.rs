//! The `MachineDeployment` controller: rolls changes of a template through Machines, by means of `MachineSets`.
//!
//! | file | what it does |
//! |---|---|
//! | `limits` | reads the spec |
//! | `template` | what makes a machine another one; the set of a template |
//! | `rollout` | how many machines each set should have: numbers only |
//! | `plan` | from what is observed to what is done |
//! | `status` | what the deployment says about itself |
//!
//! It reads and writes sets alone, from the cache: a look costs nothing while nothing changes, and one request for each set that does.
//! Differences from Cluster API: the controller needs no finalizer, since the API server collects sets and Machines; the name of a set
//! follows from its template, so that no set is made twice; a roll-out that is stuck gives up old machines that are of no use.

mod limits;
mod observe;
pub(crate) mod plan;
mod rollout;
#[cfg(test)]
mod simulation;
mod status;
mod template;

use std::sync::Arc;

use super::{
    apply::{Subject, Writer, execute},
    effect::Requeue,
    runtime::ReconcileError,
    world::World,
};
use crate::api::v1alpha1::MachineDeployment;

const WRITER: Writer = Writer {
    source: "machinedeployment-controller",
    manager: "machinectl-machinedeployment",
};

/// Brings one deployment further.
pub(super) async fn reconcile(
    world: Arc<World>,
    deployment: Arc<MachineDeployment>,
) -> Result<Requeue, ReconcileError> {
    let subject = Subject::of(&*deployment);
    let Some(observed) = observe::observe(&world, deployment).await? else {
        return Ok(Requeue::After(super::UNSEEN));
    };
    let plan = plan::plan(&observed, world.ctx.clock.now());
    execute(&world, WRITER, &subject, &plan, None).await?;
    Ok(plan.requeue)
}
