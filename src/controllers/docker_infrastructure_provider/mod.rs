//! The `DockerInfrastructureProvider` controller: keeps the Secret `config-schema`, from which user interfaces draw a form.
//! It talks to no Docker.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};

use self::plan::Observed;
use super::{
    apply::{Subject, Writer, execute, within},
    effect::{Requeue, Target},
    runtime::ReconcileError,
    world::World,
};
use crate::api::{labels, v1alpha1::DockerInfrastructureProvider};

mod plan;

const WRITER: Writer = Writer {
    source: "dockerinfrastructureprovider-controller",
    manager: "machinectl-docker-provider",
};

/// Brings one `DockerInfrastructureProvider` further.
pub(super) async fn reconcile(
    world: Arc<World>,
    provider: Arc<DockerInfrastructureProvider>,
) -> Result<Requeue, ReconcileError> {
    let subject = Subject::of(&*provider);
    let observed = observe(&world, provider).await?;
    let plan = plan::plan(&observed, world.ctx.clock.now());
    execute(&world, WRITER, &subject, &plan, None).await?;
    Ok(plan.requeue)
}

async fn observe(
    world: &World,
    provider: Arc<DockerInfrastructureProvider>,
) -> Result<Observed, ReconcileError> {
    let namespace = provider.namespace().unwrap_or_default();
    let secrets: Api<Secret> = Api::namespaced(world.ctx.client.clone(), &namespace);
    let secret = within(
        format!("reading Secret {namespace}/{}", plan::SECRET),
        secrets.get_opt(plan::SECRET),
    )
    .await?;
    let schema = secret
        .and_then(|s| s.data)
        .and_then(|mut data| data.remove(plan::KEY))
        .and_then(|value| serde_json::from_slice(&value.0).ok());
    let control_plane = world.workloads.get(&Target::Management).and_then(|management| {
        let mut names: Vec<String> = management
            .nodes
            .all()
            .iter()
            .filter(|node| {
                let labels_of_node = node.labels();
                labels_of_node.contains_key(labels::MASTER_ROLE)
                    || labels_of_node.contains_key(labels::CONTROL_PLANE_ROLE)
            })
            .map(|node| node.name_any())
            .collect();
        names.sort();
        names.into_iter().next()
    });
    Ok(Observed {
        provider,
        schema,
        control_plane,
    })
}
