//! The Config controller: keeps the drop-in Secret of each Config, one for every revision that a Machine was made from.
//! It renders nothing itself and knows no Machine but by its Config's name.

mod observe;
pub(crate) mod plan;
mod status;

use std::sync::Arc;

use super::{
    apply::{Subject, Writer, execute},
    effect::Requeue,
    runtime::ReconcileError,
    world::World,
};
use crate::api::v1alpha1::Config;

pub(crate) use observe::secret_files;

const WRITER: Writer = Writer {
    source: "config-controller",
    manager: "machinectl-config",
};

/// Brings one Config further.
pub(super) async fn reconcile(world: Arc<World>, config: Arc<Config>) -> Result<Requeue, ReconcileError> {
    let subject = Subject::of(&*config);
    let observed = observe::observe(&world, config).await?;
    let plan = plan::plan(&observed, world.ctx.clock.now());
    execute(&world, WRITER, &subject, &plan, None).await?;
    Ok(plan.requeue)
}
