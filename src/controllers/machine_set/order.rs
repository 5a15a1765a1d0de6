//! Which Machines go first when a set shrinks. Pure.

use std::{cmp::Ordering, sync::Arc};

use kube::ResourceExt;

use super::{failed::has_failed, random::Random};
use crate::{
    api::{conditions, labels, v1alpha1::Machine},
    time::Timestamp,
};

/// After this time `Oldest` and `Newest` hardly tell ages apart any more (`OpenShift`: 100 days).
const AGING_SECONDS: f64 = 8_640_000.0;
/// Annotations, not empty, that ask for a Machine to go first: our own, those of `OpenShift`, that of Cluster API. Autoscalers write them.
const MARKS: [&str; 4] = [
    labels::DELETE_MACHINE,
    "machine.openshift.io/delete-machine",
    "machine.openshift.io/cluster-api-delete-machine",
    "cluster.x-k8s.io/delete-machine",
];

/// Which Machines go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    /// Any, but such as are of no use before the others.
    Random,
    /// The newest.
    Newest,
    /// The oldest.
    Oldest,
}

impl Policy {
    /// Reads a policy; none is Random.
    ///
    /// # Errors
    /// Says that there is no such policy, and which there are.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, String> {
        match text.unwrap_or_default() {
            "" | "Random" => Ok(Self::Random),
            "Newest" => Ok(Self::Newest),
            "Oldest" => Ok(Self::Oldest),
            other => Err(format!(
                "spec.deletePolicy is \"{other}\": it can be Random, Newest or Oldest"
            )),
        }
    }
}

/// How urgent it is that a Machine goes: the higher, the sooner (`OpenShift`: `MachineSet` delete priorities).
pub(super) fn priority(policy: Policy, machine: &Machine, now: Timestamp) -> f64 {
    let deleting = machine.metadata.deletion_timestamp.is_some();
    let marked = is_marked(machine) || has_failed(machine);
    let has_node = machine.status.as_ref().is_some_and(|s| s.node_ref.is_some());
    match policy {
        _ if deleting => 100.0,
        Policy::Random if marked => 50.0,
        Policy::Random if !has_node => 40.0,
        Policy::Random => 20.0,
        Policy::Oldest | Policy::Newest if marked => 100.0,
        Policy::Oldest => aged(machine, now),
        Policy::Newest => 100.0 - aged(machine, now),
    }
}

/// 0 for a Machine that is new, towards 50 for one that is old. A creation time that is missing or in the future counts as new.
fn aged(machine: &Machine, now: Timestamp) -> f64 {
    let Some(created) = machine.creation_timestamp().map(|t| t.0) else {
        return 0.0;
    };
    let age = now.duration_since(created).as_secs_f64();
    if created == Timestamp::UNIX_EPOCH || age <= 0.0 {
        return 0.0;
    }
    50.0 * (1.0 - (-age / AGING_SECONDS).exp())
}

/// Whether somebody asked for a Machine to go first.
pub(super) fn is_marked(machine: &Machine) -> bool {
    let annotations = machine.metadata.annotations.as_ref();
    annotations.is_some_and(|all| {
        MARKS
            .iter()
            .any(|mark| all.get(*mark).is_some_and(|v| !v.is_empty()))
    })
}

/// How much of a loss a Machine is: none if it is to go anyway, little if its Node is not healthy. Whatever the policy, what works goes last
/// (Cluster API: unhealthy machines before others), and roll-outs count on that.
fn worth(machine: &Machine) -> u8 {
    let healthy = machine
        .status
        .as_ref()
        .is_some_and(|s| conditions::is_true(&s.conditions, conditions::NODE_HEALTHY));
    let urgent = machine.metadata.deletion_timestamp.is_some() || is_marked(machine) || has_failed(machine);
    if urgent { 0 } else { 1 + u8::from(healthy) }
}

/// Chooses so many Machines to go: by what they are worth, then by the policy. Among equals chance decides for Random, else the name.
pub(super) fn choose(
    policy: Policy,
    machines: &[Arc<Machine>],
    count: usize,
    now: Timestamp,
    random: &mut Random,
) -> Vec<Arc<Machine>> {
    if count == 0 {
        return Vec::new();
    }
    let mut ranked: Vec<(u8, f64, u64, &Arc<Machine>)> = machines
        .iter()
        .map(|machine| {
            let lot = if policy == Policy::Random {
                random.next()
            } else {
                0
            };
            (worth(machine), priority(policy, machine, now), lot, machine)
        })
        .collect();
    ranked.sort_by(|a, b| {
        (a.0.cmp(&b.0))
            .then(b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal))
            .then(a.2.cmp(&b.2))
            .then_with(|| a.3.metadata.name.cmp(&b.3.metadata.name))
    });
    ranked
        .into_iter()
        .take(count)
        .map(|(_, _, _, machine)| Arc::clone(machine))
        .collect()
}
