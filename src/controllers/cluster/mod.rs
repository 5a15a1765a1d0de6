//! The Cluster controller: keys and certificates, endpoint, kubeconfig, and whether the API server answers. It makes no machines;
//! when a Cluster is deleted it deletes them.

mod kubeconfig;
mod observe;
pub(crate) mod plan;
mod status;

use std::sync::Arc;

use kube::ResourceExt;

use super::{
    apply::{Subject, Writer, execute},
    effect::{ClusterKey, Requeue},
    runtime::ReconcileError,
    world::World,
};
use crate::api::v1alpha1::Cluster;

pub(crate) use observe::pki;

const WRITER: Writer = Writer {
    source: "cluster-controller",
    manager: "machinectl-cluster",
};

/// Brings one Cluster further.
pub(super) async fn reconcile(world: Arc<World>, cluster: Arc<Cluster>) -> Result<Requeue, ReconcileError> {
    let subject = Subject::of(&*cluster);
    let key = ClusterKey {
        namespace: cluster.namespace().unwrap_or_default(),
        name: cluster.name_any(),
    };
    let observed = observe::observe(&world, cluster).await?;
    let plan = plan::plan(&observed, world.ctx.clock.now());
    let over = plan::is_over(&observed);
    execute(&world, WRITER, &subject, &plan, None).await?;
    if over {
        world.workloads.forget(&key);
    }
    Ok(plan.requeue)
}
