//! The `InfrastructureProvider` controller: claims the provider object and tells whether it is ready. It makes no machines.

use std::sync::Arc;

use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind},
};

use self::plan::Observed;
use super::{
    apply::{Subject, Writer, execute, within},
    effect::Requeue,
    runtime::ReconcileError,
    world::World,
};
use crate::api::v1alpha1::InfrastructureProvider;

mod plan;

const WRITER: Writer = Writer {
    source: "infrastructureprovider-controller",
    manager: "machinectl-provider",
};

/// Brings one `InfrastructureProvider` further.
pub(super) async fn reconcile(
    world: Arc<World>,
    provider: Arc<InfrastructureProvider>,
) -> Result<Requeue, ReconcileError> {
    let subject = Subject::of(&*provider);
    let observed = observe(&world, provider).await?;
    let plan = plan::plan(&observed);
    execute(&world, WRITER, &subject, &plan, None).await?;
    Ok(plan.requeue)
}

/// Reads the object that the provider names; its own namespace counts here.
async fn observe(world: &World, provider: Arc<InfrastructureProvider>) -> Result<Observed, ReconcileError> {
    let reference = provider.spec.infrastructure_ref.clone();
    let api_version = reference.api_version.clone().unwrap_or_default();
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let kind = reference.kind.clone().unwrap_or_default();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
    let namespace = reference
        .namespace
        .clone()
        .unwrap_or_else(|| "default".to_owned());
    let name = reference.name.clone().unwrap_or_default();
    let object = if name.is_empty() || kind.is_empty() {
        None
    } else {
        let api: Api<DynamicObject> = Api::namespaced_with(world.ctx.client.clone(), &namespace, &resource);
        within(
            format!(
                "reading {kind} {namespace}/{name} of provider {}",
                provider.name_any()
            ),
            api.get_opt(&name),
        )
        .await?
    };
    Ok(Observed {
        provider,
        resource,
        object,
    })
}
