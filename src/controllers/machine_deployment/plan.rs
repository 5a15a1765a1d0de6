//! What to do about a deployment. Pure.

use std::{collections::BTreeMap, sync::Arc};

use kube::ResourceExt;
use serde_json::{Value, json};

use super::{
    limits::{Limits, Strategy, limits},
    observe::{Observed, is_empty},
    rollout::{Fleet, Share, Sizes, sizes},
    status::{self, Counts, Progress, Refusal},
    template::{self, Identity},
};
use crate::{
    api::{
        labels,
        v1alpha1::{MachineDeployment, MachineSet, MachineSetSpec, revision},
    },
    controllers::effect::{Effect, Notice, ObjectKey, Plan, Target, controller_reference, object},
    time::{SignedDuration, Timestamp},
};

/// How often machines are looked for that keep an old set from being removed: nobody tells of their end.
const LOOK: SignedDuration = SignedDuration::from_secs(10);

/// Says what to do.
pub(crate) fn plan(o: &Observed, now: Timestamp) -> Plan {
    // The API server collects the sets of a deployment that goes.
    if o.deployment.metadata.deletion_timestamp.is_some() {
        return Plan::nothing();
    }
    let refuse = |message: String| {
        status::refuse(
            o,
            &Refusal {
                message,
                counts: Counts::of(&o.sets, current(o)),
            },
            now,
        )
    };
    let limits = match limits(&o.deployment) {
        Ok(limits) => limits,
        Err(invalid) => return refuse(invalid.to_string()),
    };
    if !o.orphans.is_empty() {
        return adopt(o);
    }
    match Look::at(o, limits, now) {
        Some(look) => look.decide(),
        None => refuse(format!(
            "metadata.name: other MachineSets bear all {} names that a set of this deployment could have",
            template::TRIES
        )),
    }
}

/// The set of the wanted template; among several the oldest (Deployment: `FindNewReplicaSet`).
pub(super) fn current(o: &Observed) -> Option<usize> {
    let wanted = Identity::wanted(&o.deployment);
    o.sets.iter().position(|set| Identity::made(set) == wanted)
}

/// Takes sets that nobody controls. What follows from them is for the next look.
fn adopt(o: &Observed) -> Plan {
    let mut plan = Plan::nothing();
    for set in &o.orphans {
        let mut owners = set.owner_references().to_vec();
        owners.push(controller_reference(&*o.deployment));
        // Somebody else may want it, too: only if it has not changed in between.
        let metadata = json!({ "ownerReferences": owners, "resourceVersion": set.resource_version() });
        plan.effects.push(patch(&**set, json!({ "metadata": metadata })));
        let message = format!("took MachineSet {}", set.name_any());
        plan.effects
            .push(Effect::Emit(Notice::normal("SuccessfulAdopt", message)));
    }
    plan
}

/// One look at a deployment that can be worked with.
struct Look<'a> {
    o: &'a Observed,
    limits: Limits,
    now: Timestamp,
    paused: bool,
    /// The set of the wanted template.
    current: Option<usize>,
    /// Name and hash of the set that is to be made for it.
    new: Option<(String, String)>,
    counts: Counts,
    revision: i64,
    plan: Plan,
}

impl<'a> Look<'a> {
    fn at(o: &'a Observed, limits: Limits, now: Timestamp) -> Option<Self> {
        let current = current(o);
        let paused = o.deployment.spec.paused == Some(true);
        let new = if current.is_none() && !paused {
            let free = template::names(&o.deployment).find(|(name, _)| !o.taken.contains(name));
            Some(free?)
        } else {
            None
        };
        Some(Self {
            o,
            limits,
            now,
            paused,
            current,
            new,
            counts: Counts::of(&o.sets, current),
            revision: next_revision(o, current),
            plan: Plan::nothing(),
        })
    }

    fn decide(mut self) -> Plan {
        let numbers = !self.paused && revision(&*self.o.deployment) != Some(self.revision);
        let begins = numbers || self.new.is_some();
        let mut fleet = self.fleet();
        let progress = Progress::of(self.o, &self.counts, &fleet, begins, self.now);
        fleet.stalled = progress.is_exceeded();
        let sizes = sizes(&fleet);
        // Numbered before the set is made: so it is known that one is to be there.
        if numbers {
            self.number();
        }
        // What goes comes first: whenever this is cut off, no machine is too many.
        self.change(&sizes, |before, after| after < before);
        self.make(&sizes);
        self.change(&sizes, |before, after| after >= before);
        let moves = self.new.is_some() || sizes != fleet.sizes();
        let complete = !moves && progress.is_complete();
        if complete {
            self.prune();
        }
        let name = |set: &Arc<MachineSet>| set.name_any();
        let facts = status::Facts {
            counts: &self.counts,
            fleet: &fleet,
            sizes: &sizes,
            old: self.old().map(|(_, set)| name(set)).collect(),
            current: self
                .current
                .and_then(|i| self.o.sets.get(i))
                .map(name)
                .or_else(|| self.new.as_ref().map(|(name, _)| name.clone())),
            progress,
        };
        self.plan.effects.extend(status::news(self.o, &facts));
        self.plan.status = Some(status::status(self.o, &facts, self.now));
        if let Some(wait) = facts.progress.wait(self.now) {
            self.plan.requeue = self.plan.requeue.or_sooner(wait);
        }
        self.plan
    }

    /// Sets of other templates, with their places among all sets.
    fn old(&self) -> impl Iterator<Item = (usize, &'a Arc<MachineSet>)> {
        let current = self.current;
        self.o
            .sets
            .iter()
            .enumerate()
            .filter(move |(i, _)| Some(*i) != current)
    }

    fn fleet(&self) -> Fleet {
        let current = match self.current.and_then(|i| self.o.sets.get(i)) {
            Some(set) => Some(share(set)),
            None => self.new.as_ref().map(|_| Share {
                settled: true,
                ..Share::default()
            }),
        };
        Fleet {
            limits: self.limits,
            paused: self.paused,
            stalled: false,
            old: self.old().map(|(_, set)| share(set)).collect(),
            current,
        }
    }

    /// Makes the set of the wanted template. One of that name that no watch has told of yet stays as it is.
    fn make(&mut self, sizes: &Sizes) {
        let (Some((name, hash)), Some(size)) = (&self.new, sizes.current) else {
            return;
        };
        let annotations = self.annotations(&BTreeMap::new(), size, true);
        let set = template::new_set(&self.o.deployment, name, hash, size, &annotations);
        self.plan.effects.push(Effect::Create {
            target: Target::Management,
            object: object(set),
        });
        if size > 0 {
            self.plan.effects.push(scaled(name, 0, size));
        }
    }

    /// Brings numbers, and what else can change, to those sets whose sizes fit: one write for each that differs.
    fn change(&mut self, sizes: &Sizes, fits: fn(i32, i32) -> bool) {
        let places = self.old().map(|(i, _)| i);
        let mut all: Vec<(usize, i32)> = places.zip(sizes.old.iter().copied()).collect();
        all.extend(self.current.zip(sizes.current));
        for (place, size) in all {
            let Some(set) = self.o.sets.get(place).filter(|set| fits(set.spec.replicas, size)) else {
                continue;
            };
            let is_current = self.current == Some(place);
            let before = json!({ "metadata": { "annotations": set.annotations() }, "spec": &set.spec });
            let spec = MachineSetSpec {
                replicas: size,
                ..self.spec(set, is_current, size)
            };
            let annotations = self.annotations(set.annotations(), size, is_current);
            let after = json!({ "metadata": { "annotations": annotations }, "spec": spec });
            if let Some(change) = template::merge_patch(&before, &after) {
                self.plan.effects.push(patch(&**set, change));
            }
            if size != set.spec.replicas {
                self.plan
                    .effects
                    .push(scaled(&set.name_any(), set.spec.replicas, size));
            }
        }
    }

    fn spec(&self, set: &MachineSet, is_current: bool, size: i32) -> MachineSetSpec {
        let deployment: &MachineDeployment = &self.o.deployment;
        if self.paused || (!is_current && size == 0 && set.spec.replicas == 0) {
            set.spec.clone()
        } else if is_current {
            template::current_spec(deployment, set)
        } else {
            template::old_spec(deployment, set)
        }
    }

    /// The annotations that a set should have.
    fn annotations(
        &self,
        present: &BTreeMap<String, String>,
        size: i32,
        is_current: bool,
    ) -> BTreeMap<String, String> {
        let mut all = present.clone();
        let mut put = |key: &str, value: String| all.insert(key.to_owned(), value);
        if size > 0 {
            put(labels::DESIRED_REPLICAS, self.limits.replicas.to_string());
            put(labels::MAX_REPLICAS, self.limits.most().to_string());
        }
        if self.paused {
            return all;
        }
        if is_current {
            put(labels::REVISION, self.revision.to_string());
            if let Some(cause) = self.o.deployment.annotations().get(labels::CHANGE_CAUSE) {
                put(labels::CHANGE_CAUSE, cause.clone());
            }
        }
        if is_current || matches!(self.limits.strategy, Strategy::Rolling { .. }) {
            all.remove(labels::DISABLE_MACHINE_CREATE);
        } else if size > 0 {
            put(labels::DISABLE_MACHINE_CREATE, "true".to_owned());
        }
        all
    }

    /// Writes the number of the revision to the deployment.
    fn number(&mut self) {
        let change =
            json!({ "metadata": { "annotations": { labels::REVISION: self.revision.to_string() } } });
        self.plan.effects.push(patch(&*self.o.deployment, change));
    }

    /// Removes old sets beyond the history that have no machines, the lowest revision first (Deployment: `cleanupDeployment`).
    fn prune(&mut self) {
        let mut old: Vec<&Arc<MachineSet>> = self.old().map(|(_, set)| set).collect();
        let surplus = old.len().saturating_sub(self.limits.history);
        old.sort_by_key(|set| (revision(&***set), set.name_any()));
        for set in old.into_iter().take(surplus) {
            if self.o.leaving.contains(&set.name_any()) {
                self.plan.requeue = self.plan.requeue.or_sooner(LOOK);
            } else if is_empty(set) {
                self.plan.effects.push(Effect::Delete {
                    target: Target::Management,
                    key: ObjectKey::to(&**set),
                    uid: set.uid(),
                });
            }
        }
    }
}

/// The revision of the wanted template: that of its set if no old one is higher, else the next (Deployment: `SetNewReplicaSetAnnotations`).
fn next_revision(o: &Observed, current: Option<usize>) -> i64 {
    let of = |(_, set): (usize, &Arc<MachineSet>)| revision(&**set);
    let all = || o.sets.iter().enumerate();
    let highest = all().filter(|(i, _)| Some(*i) != current).filter_map(of).max();
    let next = highest.unwrap_or_default().saturating_add(1);
    let own = all().filter(|(i, _)| Some(*i) == current).find_map(of);
    own.map_or(next, |own| own.max(next))
}

/// A set in numbers.
fn share(set: &MachineSet) -> Share {
    let status = set.status.clone().unwrap_or_default();
    let number = |key: &str| {
        set.annotations()
            .get(key)
            .and_then(|text| text.parse::<i32>().ok())
    };
    let sized_for = number(labels::DESIRED_REPLICAS).map(|desired| {
        let most = number(labels::MAX_REPLICAS).unwrap_or(desired);
        (desired, most.max(1))
    });
    let wanted = set.spec.replicas.max(0);
    Share {
        wanted,
        present: status.replicas.max(0),
        available: status.available_replicas.clamp(0, wanted),
        settled: status.observed_generation.is_some()
            && status.observed_generation >= set.metadata.generation,
        closed: set
            .annotations()
            .get(labels::DISABLE_MACHINE_CREATE)
            .is_some_and(|v| v == "true"),
        sized_for,
    }
}

fn scaled(name: &str, from: i32, to: i32) -> Effect {
    let direction = if to > from { "up" } else { "down" };
    let message = format!("scaled {direction} MachineSet {name} from {from} to {to}");
    Effect::Emit(Notice::normal("ScalingMachineSet", message))
}

fn patch<K: kube::Resource<DynamicType = ()>>(object: &K, patch: Value) -> Effect {
    Effect::Patch {
        target: Target::Management,
        key: ObjectKey::to(object),
        patch,
        optional: true,
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
