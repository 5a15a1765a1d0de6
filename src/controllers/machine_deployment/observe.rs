//! Reads what a decision about a deployment needs: its sets, such as it could take, and names that are taken. It decides nothing.
//! It asks the API server only if the watch does not know of the set that the deployment was last numbered for.

use std::{collections::BTreeSet, sync::Arc};

use kube::{Api, ResourceExt, api::ListParams};

use super::template;
use crate::{
    api::{
        labels, selector,
        v1alpha1::{MachineDeployment, MachineSet, revision},
    },
    controllers::{apply::within, cache::term, runtime::ReconcileError, world::World},
};

/// All that a decision about a deployment is made from.
#[derive(Debug, Clone)]
pub(crate) struct Observed {
    /// The deployment.
    pub(crate) deployment: Arc<MachineDeployment>,
    /// Sets that it controls and that are not being deleted, the oldest first.
    pub(crate) sets: Vec<Arc<MachineSet>>,
    /// Sets that nobody controls, that its selector selects and that are not being deleted.
    pub(crate) orphans: Vec<Arc<MachineSet>>,
    /// Names, of those that its next set could have, that others bear.
    pub(crate) taken: BTreeSet<String>,
    /// Names of its sets without machines of which some are still on their way out.
    pub(crate) leaving: BTreeSet<String>,
}

/// Reads everything. Nothing while a set is not seen as it was written last: its event asks for another look.
pub(super) async fn observe(
    world: &World,
    deployment: Arc<MachineDeployment>,
) -> Result<Option<Observed>, ReconcileError> {
    let namespace = deployment.namespace().unwrap_or_default();
    let uid = deployment.uid().unwrap_or_default();
    let mut sets = world.machine_sets.find(&term::owner(&uid));
    sets.retain(|set| set.metadata.deletion_timestamp.is_none());
    sort(&mut sets);
    let mut orphans = world.machine_sets.find(&term::orphan(&namespace));
    orphans.retain(|set| {
        set.metadata.deletion_timestamp.is_none()
            && selector::selects(&deployment.spec.selector, set.metadata.labels.as_ref())
    });
    let is_stale = |set: &Arc<MachineSet>| world.is_stale("MachineSet", &**set);
    if sets.iter().chain(&orphans).any(is_stale) {
        return Ok(None);
    }
    if lacks_newest(&deployment, &sets) && has_newest(world, &deployment).await? {
        return Ok(None);
    }
    let taken = template::names(&deployment)
        .map(|(name, _)| name)
        .filter(|name| world.machine_sets.get(Some(&namespace), name).is_some())
        .collect();
    let leaving = sets
        .iter()
        .filter(|set| is_empty(set))
        .filter(|set| {
            !world
                .machines
                .find(&term::owner(&set.uid().unwrap_or_default()))
                .is_empty()
        })
        .map(|set| set.name_any())
        .collect();
    Ok(Some(Observed {
        deployment,
        sets,
        orphans,
        taken,
        leaving,
    }))
}

/// Whether none of the sets is of the revision that a deployment was numbered with, before the set was made: it was deleted, or it could
/// not be made, or the watch has not told of it yet. Whoever made another one then could make too many machines.
pub(crate) fn lacks_newest(deployment: &MachineDeployment, sets: &[Arc<MachineSet>]) -> bool {
    let numbered = revision(deployment);
    numbered.is_some() && sets.iter().all(|set| revision(&**set) < numbered)
}

/// Whether such a set exists.
async fn has_newest(world: &World, deployment: &MachineDeployment) -> Result<bool, ReconcileError> {
    let (namespace, name) = (deployment.namespace().unwrap_or_default(), deployment.name_any());
    let api: Api<MachineSet> = Api::namespaced(world.ctx.client.clone(), &namespace);
    let of_deployment = ListParams::default().labels(&format!("{}={name}", labels::DEPLOYMENT_NAME));
    let doing = format!("listing the sets of MachineDeployment {namespace}/{name}");
    let list = within(doing, api.list(&of_deployment)).await?;
    Ok(list.items.iter().any(|set| is_newest(deployment, set)))
}

/// Whether a set is the one that a deployment was numbered for.
pub(crate) fn is_newest(deployment: &MachineDeployment, set: &MachineSet) -> bool {
    let uid = deployment.uid();
    let owners = set.owner_references();
    set.metadata.deletion_timestamp.is_none()
        && revision(set) >= revision(deployment)
        && owners
            .iter()
            .any(|o| o.controller == Some(true) && Some(&o.uid) == uid.as_ref())
}

/// The oldest first. Creation times are of whole seconds: among equals the revision decides.
pub(crate) fn sort(sets: &mut [Arc<MachineSet>]) {
    sets.sort_by_cached_key(|set| {
        (
            set.creation_timestamp().map(|t| t.0),
            revision(&**set).unwrap_or_default(),
            set.name_any(),
        )
    });
}

/// Whether a set neither has machines nor should have some, as far as it knows.
pub(crate) fn is_empty(set: &MachineSet) -> bool {
    let observed = set.status.as_ref();
    set.spec.replicas == 0
        && observed.is_some_and(|s| s.replicas == 0 && s.observed_generation >= set.metadata.generation)
}
