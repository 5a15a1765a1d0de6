//! What to do about a set. Pure.

use std::{collections::BTreeSet, sync::Arc};

use kube::{ResourceExt, core::Selector};
use serde_json::{Value, json};

use super::{
    capacity,
    failed::{self, listed},
    in_place::Wanted,
    make::{self, Mould},
    observe::{Member, Observed, Trouble},
    order::{self, Policy},
    random::Random,
    status::{self, Facts, status},
    template,
};
use crate::{
    api::{conditions, labels, v1alpha1::Machine},
    controllers::effect::{Effect, Notice, ObjectKey, Plan, Requeue, Target, controller_reference},
    time::{SignedDuration, Timestamp},
};

/// At most this many machines are made, deleted or changed in one look; the next look follows at once.
const BATCH: usize = 500;
/// How soon something is looked for again that nobody tells of.
const LOOK_FIRST: SignedDuration = SignedDuration::from_secs(1);
/// How often it is looked for in the long run.
const LOOK: SignedDuration = SignedDuration::from_secs(30);
/// Whoever makes machines looks again after this time, should the watch not tell of them.
const LOOK_MADE: SignedDuration = SignedDuration::from_secs(10);

/// Says what to do.
pub(crate) fn plan(o: &Observed, now: Timestamp) -> Plan {
    // The API server collects the machines of a set that goes; whoever made new ones would work against it.
    if o.set.metadata.deletion_timestamp.is_some() {
        return Plan::nothing();
    }
    let usable = template::selector(&o.set).and_then(|selector| {
        let policy = Policy::parse(o.set.spec.delete_policy.as_deref()).map_err(|message| Trouble {
            reason: "InvalidConfiguration",
            message,
        })?;
        Ok((selector, policy))
    });
    match usable {
        Ok((selector, policy)) => Look::at(o, &selector, now).decide(policy),
        Err(trouble) => tell(
            &Observed {
                trouble: Some(trouble),
                ..o.clone()
            },
            now,
        ),
    }
}

/// Says at the set what is wrong, and nothing else.
pub(crate) fn tell(o: &Observed, now: Timestamp) -> Plan {
    let wanted = Wanted::of(&o.set);
    let status_before = o.set.status.clone().unwrap_or_default();
    let facts = Facts {
        staying: o
            .members
            .iter()
            .chain(&o.orphans)
            .filter(|m| !m.leaving)
            .cloned()
            .collect(),
        leaving: leaving(o),
        trouble: o.trouble.clone(),
        replacement: failed::Replacement {
            times: status_before.failed_replacements,
            last: status_before.last_failed_replacement,
            ..failed::Replacement::default()
        },
        ..Facts::default()
    };
    Plan {
        effects: o.trouble.iter().filter_map(|t| warn(o, t)).collect(),
        status: Some(status(o, &facts, &wanted, now)),
        requeue: Requeue::OnChange,
    }
}

/// An event about trouble, if the set does not tell of it yet.
fn warn(o: &Observed, trouble: &Trouble) -> Option<Effect> {
    // Somebody wants it so.
    if trouble.reason == template::CREATE_DISABLED {
        return None;
    }
    let list = o
        .set
        .status
        .as_ref()
        .map(|s| s.conditions.as_slice())
        .unwrap_or_default();
    let told = conditions::find(list, conditions::READY)
        .is_some_and(|c| c.reason == trouble.reason && c.message == trouble.message);
    let reason = if trouble.reason == "FailedAdopt" {
        trouble.reason
    } else {
        "ReconcileError"
    };
    (!told).then(|| Effect::Emit(Notice::warning(reason, &trouble.message)))
}

/// Names of Machines that are on their way out.
fn leaving(o: &Observed) -> Vec<String> {
    o.members
        .iter()
        .filter(|m| m.leaving)
        .map(|m| m.machine.name_any())
        .collect()
}

/// Whether an effect makes a set the controller of Machines.
pub(super) fn adopts(effect: &Effect) -> bool {
    let Effect::Together(all) = effect else {
        return false;
    };
    all.iter()
        .any(|e| matches!(e, Effect::Patch { patch, .. } if patch["metadata"]["ownerReferences"].is_array()))
}

/// The names of what an effect makes: names of chance, that mean nothing to anybody.
pub(super) fn names_in(effect: &Effect) -> Vec<String> {
    match effect {
        Effect::Together(all) => all.iter().flat_map(names_in).collect(),
        Effect::CreateOwned { object, .. } => vec![object.name_any()],
        _ => Vec::new(),
    }
}

/// One look at a set that can be worked with.
struct Look<'a> {
    o: &'a Observed,
    now: Timestamp,
    wanted: Wanted,
    random: Random,
    plan: Plan,
    facts: Facts,
    work: Vec<Effect>,
    told: Vec<Effect>,
}

impl<'a> Look<'a> {
    fn at(o: &'a Observed, selector: &Selector, now: Timestamp) -> Self {
        let mut look = Self {
            o,
            now,
            wanted: Wanted::of(&o.set),
            random: Random::new(o.seed),
            plan: Plan::nothing(),
            facts: Facts {
                leaving: leaving(o),
                ..Facts::default()
            },
            work: Vec::new(),
            told: Vec::new(),
        };
        look.release(selector);
        look.adopt();
        look
    }

    fn decide(mut self, policy: Policy) -> Plan {
        let desired = template::desired(&self.o.set);
        if self.facts.staying.len() > desired {
            self.shrink(policy, self.facts.staying.len() - desired);
        } else {
            self.replace_failed();
            self.grow(desired - self.facts.staying.len());
        }
        self.tidy();
        self.hand_on();
        self.work.extend(capacity::annotate(self.o));
        if !self.work.is_empty() {
            self.plan.effects.push(Effect::Together(self.work));
        }
        self.plan.effects.extend(self.told);
        self.plan
            .effects
            .extend(self.facts.trouble.iter().filter_map(|t| warn(self.o, t)));
        if let Some(wait) = status::next_available(self.o, &self.facts, self.now) {
            self.plan.requeue = self.plan.requeue.or_sooner(wait);
        }
        if let Some(wait) = self.o.recheck {
            self.plan.requeue = self.plan.requeue.or_sooner(wait);
        }
        if let Some(wait) = self.facts.replacement.wait {
            self.plan.requeue = self.plan.requeue.or_sooner(wait);
        }
        self.plan.status = Some(status(self.o, &self.facts, &self.wanted, self.now));
        self.plan
    }

    /// Lets go of Machines whose labels no longer fit, so that they outlive the set.
    fn release(&mut self, selector: &Selector) {
        let set = &self.o.set;
        let mut released = Vec::new();
        for member in self.o.members.iter().filter(|m| !m.leaving) {
            if template::matches(selector, &member.machine) {
                self.facts.staying.push(member.clone());
                continue;
            }
            if member.stale || released.len() == BATCH {
                continue;
            }
            let machine = &member.machine;
            let uid = set.uid();
            let owners: Vec<_> = machine
                .owner_references()
                .iter()
                .filter(|r| Some(&r.uid) != uid.as_ref())
                .collect();
            let mut metadata = json!({
                "ownerReferences": owners,
                "resourceVersion": machine.resource_version(),
                "annotations": { labels::FROM_TEMPLATE: Value::Null },
            });
            if machine.labels().get(labels::SET_NAME) == self.wanted.labels.get(labels::SET_NAME) {
                metadata["labels"] = json!({ labels::SET_NAME: Value::Null });
            }
            self.work.push(patch(machine, json!({ "metadata": metadata })));
            released.push(machine.name_any());
        }
        self.say("SuccessfulRelease", "let go of", &released);
    }

    /// Takes Machines that nobody controls and that fit.
    fn adopt(&mut self) {
        let mut adopted = Vec::new();
        let mut patches = Vec::new();
        for orphan in &self.o.orphans {
            self.facts.staying.push(orphan.clone());
            if orphan.stale || patches.len() == BATCH {
                continue;
            }
            let machine = &orphan.machine;
            let mut owners = json!(machine.owner_references());
            if let Some(list) = owners.as_array_mut() {
                list.push(json!(controller_reference(&*self.o.set)));
            }
            let mut change = self.wanted.change(machine).unwrap_or_else(|| json!({}));
            change["metadata"]["ownerReferences"] = owners;
            change["metadata"]["resourceVersion"] = json!(machine.resource_version());
            self.facts.labelled += usize::from(!self.wanted.is_labelled(machine));
            patches.push(patch(machine, change));
            adopted.push(machine.name_any());
        }
        if !patches.is_empty() {
            self.plan.effects.push(Effect::Together(patches));
            let notice = Notice::normal("SuccessfulAdopt", counted("adopted", &adopted));
            self.plan.effects.push(Effect::Emit(notice));
        }
    }

    /// Makes machines.
    fn grow(&mut self, missing: usize) {
        let lacking: Vec<Arc<Machine>> = self
            .o
            .members
            .iter()
            .filter(|m| m.lacks_clone)
            .map(|m| Arc::clone(&m.machine))
            .collect();
        if missing == 0 && lacking.is_empty() {
            return;
        }
        if let Some(trouble) = template::obstacle(self.o, missing) {
            // What somebody wants so ends with a change of the set.
            if trouble.reason != template::CREATE_DISABLED {
                self.plan.requeue = self.plan.requeue.or_sooner(self.patience());
            }
            self.facts.trouble = Some(trouble);
            return;
        }
        let mould = Mould::of(self.o, &self.wanted);
        let repaired = lacking.iter().take(BATCH).filter_map(|m| mould.missing_clone(m));
        self.work.extend(repaired);
        let count = missing.min(BATCH);
        if count == 0 {
            return;
        }
        let taken: BTreeSet<&str> = self
            .o
            .members
            .iter()
            .chain(&self.o.orphans)
            .filter_map(|m| m.machine.metadata.name.as_deref())
            .collect();
        let names = make::names(&self.o.set.name_any(), count, &taken, &mut self.random);
        self.work.extend(names.iter().map(|name| mould.machine(name)));
        self.facts.made = count;
        let wait = if missing > count {
            SignedDuration::ZERO
        } else {
            LOOK_MADE
        };
        self.plan.requeue = self.plan.requeue.or_sooner(wait);
        self.say("SuccessfulCreate", "created", &names);
    }

    /// How long to wait for what nobody tells of: as long as has been waited already, so that what comes a moment late is soon found.
    fn patience(&self) -> SignedDuration {
        let list = self
            .o
            .set
            .status
            .as_ref()
            .map(|s| s.conditions.as_slice())
            .unwrap_or_default();
        let since = conditions::find(list, conditions::READY).filter(|c| c.status != "True");
        since
            .map_or(SignedDuration::ZERO, |c| {
                self.now.duration_since(c.last_transition_time.0)
            })
            .clamp(LOOK_FIRST, LOOK)
    }

    /// Deletes machines that are too many.
    fn shrink(&mut self, policy: Policy, surplus: usize) {
        let count = surplus.min(BATCH);
        let machines: Vec<Arc<Machine>> = self
            .facts
            .staying
            .iter()
            .map(|m| Arc::clone(&m.machine))
            .collect();
        let victims = order::choose(policy, &machines, count, self.now, &mut self.random);
        if surplus > count {
            self.plan.requeue = self.plan.requeue.or_sooner(SignedDuration::ZERO);
        }
        let status = self.o.set.status.clone().unwrap_or_default();
        self.facts.replacement.times = status.failed_replacements;
        self.facts.replacement.last = status.last_failed_replacement;
        let names: BTreeSet<String> = victims.iter().map(|m| m.name_any()).collect();
        self.remove(&names, "deleted");
    }

    fn replace_failed(&mut self) {
        // Without a way to make another one, what is there stays.
        let wanted = self.o.set.spec.replace_failed == Some(true);
        if wanted && template::obstacle(self.o, 1).is_some() {
            return;
        }
        let replacement = failed::replace(self.o, &self.facts.staying, self.now);
        let names: BTreeSet<String> = failed::names(&replacement.victims).into_iter().collect();
        self.facts.replacement = replacement;
        self.remove(&names, "gave up on");
    }

    fn remove(&mut self, names: &BTreeSet<String>, verb: &str) {
        if names.is_empty() {
            return;
        }
        let (gone, staying): (Vec<Member>, Vec<Member>) = std::mem::take(&mut self.facts.staying)
            .into_iter()
            .partition(|m| names.contains(&m.machine.name_any()));
        self.facts.staying = staying;
        self.work.extend(gone.iter().map(|m| Effect::Delete {
            target: Target::Management,
            key: ObjectKey::to(&*m.machine),
            uid: m.machine.uid(),
        }));
        let names: Vec<String> = names.iter().cloned().collect();
        self.facts.leaving.extend(names.iter().cloned());
        self.facts.leaving.sort();
        self.say("SuccessfulDelete", verb, &names);
    }

    /// Removes infrastructure objects whose Machines are gone.
    fn tidy(&mut self) {
        let strays: Vec<String> = self.o.strays.iter().map(|(key, _)| key.name.clone()).collect();
        self.work
            .extend(self.o.strays.iter().map(|(key, uid)| Effect::Delete {
                target: Target::Management,
                key: key.clone(),
                uid: uid.clone(),
            }));
        if let Some((key, _)) = self.o.strays.first() {
            let message = format!(
                "deleted {} {} without a Machine: {}",
                strays.len(),
                key.resource.kind,
                listed(strays.iter().map(String::as_str))
            );
            self.told
                .push(Effect::Emit(Notice::normal("SuccessfulDelete", message)));
        }
    }

    /// Brings what can change without another machine to those that are there.
    fn hand_on(&mut self) {
        let mut count = 0;
        let adopted: BTreeSet<&str> = self
            .o
            .orphans
            .iter()
            .filter_map(|m| m.machine.metadata.name.as_deref())
            .collect();
        let leaving = self.o.members.iter().filter(|m| m.leaving);
        let all = self.facts.staying.iter().chain(leaving);
        for member in all.filter(|m| !m.stale) {
            let machine = &member.machine;
            if machine
                .metadata
                .name
                .as_deref()
                .is_some_and(|n| adopted.contains(n))
            {
                continue;
            }
            let change = if member.leaving {
                self.wanted.change_of_leaving(machine)
            } else {
                self.wanted.change(machine)
            };
            let Some(change) = change else { continue };
            if count == BATCH {
                self.plan.requeue = self.plan.requeue.or_sooner(SignedDuration::ZERO);
                break;
            }
            count += 1;
            self.facts.labelled += usize::from(!member.leaving && !self.wanted.is_labelled(machine));
            self.work.push(patch(machine, change));
        }
    }

    fn say(&mut self, reason: &str, verb: &str, names: &[String]) {
        if !names.is_empty() {
            self.told
                .push(Effect::Emit(Notice::normal(reason, counted(verb, names))));
        }
    }
}

/// `created 3 machines: a, b, c`.
fn counted(verb: &str, names: &[String]) -> String {
    let machines = if names.len() == 1 { "machine" } else { "machines" };
    let list = listed(names.iter().map(String::as_str));
    format!("{verb} {} {machines}: {list}", names.len())
}

fn patch(machine: &Machine, patch: Value) -> Effect {
    Effect::Patch {
        target: Target::Management,
        key: ObjectKey::to(machine),
        patch,
        optional: true,
    }
}
