//! The Node controller, one for each cluster that machines join: links a Node to its Machine by provider id, writes the annotations
//! that user interfaces read, and adds the Machine's taints. It makes and deletes no Node.

mod observe;
pub(super) mod plan;

use std::sync::{Arc, Weak};

use k8s_openapi::api::core::v1::Node;
use tokio::sync::watch;

use super::{
    apply::{Subject, Writer, execute},
    cache::Cache,
    effect::{Requeue, Target},
    runtime::{Controller, ReconcileError, Work, drive},
    world::World,
};

const WRITER: Writer = Writer {
    source: "node-controller",
    manager: "machinectl-node",
};

/// Runs the controller of one cluster until `stop`.
pub(super) async fn controller(
    world: Weak<World>,
    target: Target,
    cache: Cache<Node>,
    work: Work<Node>,
    stop: watch::Receiver<bool>,
) {
    // Nodes make sense of Machines only once these have been listed.
    let Some(strong) = world.upgrade() else { return };
    strong.ready().await;
    let metrics = Arc::clone(&strong.metrics);
    drop(strong);
    let controller = Controller {
        name: "node",
        cache,
        work,
        paused: Box::new(|_| false),
        paced: false,
        stop,
    };
    drive(controller, metrics, move |node| {
        reconcile(world.clone(), target.clone(), node)
    })
    .await;
}

/// Links one Node.
async fn reconcile(world: Weak<World>, target: Target, node: Arc<Node>) -> Result<Requeue, ReconcileError> {
    let Some(world) = world.upgrade() else {
        return Ok(Requeue::OnChange);
    };
    let subject = Subject::of(&*node);
    let observed = observe::observe(&world, &target, node);
    let plan = plan::plan(&observed);
    execute(&world, WRITER, &subject, &plan, None).await?;
    Ok(plan.requeue)
}
