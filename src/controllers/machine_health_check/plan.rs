//! What to do about the machines of a health check. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;
use kube::{ResourceExt, api::DynamicObject};
use serde_json::{Value, json};

use super::{
    judge::{Cause, Health, Measure, judge},
    ledger::Ledger,
    limits::{self, Allowance},
    mark::{self, Mark},
    observe::{External, Observed, Requests, Template},
    status::{self, Copies},
};
use crate::{
    api::{
        MACHINE_GROUP, VERSION, labels,
        v1alpha1::{Machine, UnhealthyCondition},
    },
    controllers::effect::{Effect, Notice, ObjectKey, Requeue, Target, object, reference},
    time::SignedDuration,
};

/// At most this many machines are marked in one look.
const MARKS: usize = 200;
/// When to look again after more had to be marked.
const MORE_MARKS: SignedDuration = SignedDuration::from_secs(1);
/// How often a template that does not exist is looked for.
const NO_TEMPLATE: SignedDuration = SignedDuration::from_secs(30);
/// Nothing is looked at again sooner than this: timers are not that exact.
const SOONEST: SignedDuration = SignedDuration::from_millis(50);
/// Value of the annotation by which machines are handed to somebody outside.
const EXTERNAL_BAREMETAL: &str = "external-baremetal";

/// What is done about one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Treatment {
    /// It is deleted.
    Deleted,
    /// It is annotated for somebody outside.
    Annotated,
    /// An object is made for it.
    Requested,
    /// That object is removed.
    Withdrawn,
}

/// Something to do about one machine.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Remedy {
    /// Which one, in the list of what was observed.
    pub(super) machine: usize,
    pub(super) treatment: Treatment,
    /// In this order; the first failure ends it.
    pub(super) effects: Vec<Effect>,
}

/// What follows from what was observed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decision {
    /// The whole status. It is written before anything is done.
    pub(super) status: Value,
    /// Events about the check.
    pub(super) events: Vec<Effect>,
    /// What is said about machines: which one, and how.
    pub(super) marks: Vec<(usize, Vec<Effect>)>,
    pub(super) remedies: Vec<Remedy>,
    /// Machines whose Nodes have to be asked for before they are deleted.
    pub(super) confirm: Vec<usize>,
    /// Whether the template has to be read.
    pub(super) needs_template: bool,
    pub(super) requeue: Requeue,
    /// How many machines are under replacement before anything of this is done.
    pub(super) in_flight: usize,
}

/// What is found out about all machines together.
pub(super) struct Findings {
    pub(super) health: Vec<Health>,
    /// How many there are.
    pub(super) total: usize,
    /// How many of them are well.
    pub(super) healthy: usize,
    /// How many may be broken; nothing can be replaced if that is not known.
    pub(super) allowance: Option<Allowance>,
    /// What of the check can't be used: reason and message.
    pub(super) invalid: Option<(&'static str, String)>,
}

impl Findings {
    /// Machines that are not well.
    pub(super) const fn unhealthy(&self) -> usize {
        self.total - self.healthy
    }

    /// Whether machines may be replaced.
    pub(super) fn permits(&self) -> bool {
        self.invalid.is_none()
            && self
                .allowance
                .as_ref()
                .is_some_and(|a| a.permits(self.unhealthy()))
    }
}

/// Says what to do.
pub(super) fn plan(o: &Observed, now: Timestamp) -> Decision {
    let findings = findings(o, now);
    let mut ledger = Ledger::of(o, &findings.health, now);
    let mut choice = choose(o, &findings, &ledger, now);
    let in_flight = choice.in_flight;
    for remedy in &choice.remedies {
        if remedy.treatment == Treatment::Deleted {
            let index = remedy.machine;
            ledger.replaced(&o.machines[index], &findings.health[index], now);
        }
    }
    withdraw(o, &findings, &mut choice.remedies);
    let (marks, more) = marks(o, &findings, &choice, now);
    let mut requeue = Requeue::OnChange;
    let mut at = |due: Timestamp| requeue = requeue.or_sooner(due.duration_since(now).max(SOONEST));
    for health in &findings.health {
        match health {
            Health::Starting(Some(due)) | Health::Suspicious { due, .. } => at(*due),
            _ => {}
        }
    }
    choice
        .waits
        .iter()
        .copied()
        .chain(ledger.next_expiry())
        .for_each(at);
    if more {
        requeue = requeue.or_sooner(MORE_MARKS);
    }
    if choice.template_missing {
        requeue = requeue.or_sooner(NO_TEMPLATE);
    }
    let copies = Copies {
        missing: choice.template_missing,
        used: choice
            .remedies
            .iter()
            .any(|r| r.treatment == Treatment::Requested),
    };
    let (status, events) = status::status(o, &findings, &ledger, copies, now);
    Decision {
        status,
        events,
        marks,
        remedies: choice.remedies,
        confirm: choice.confirm,
        needs_template: choice.needs_template,
        requeue,
        in_flight,
    }
}

fn findings(o: &Observed, now: Timestamp) -> Findings {
    let spec = &o.check.spec;
    let none: Vec<UnhealthyCondition> = Vec::new();
    let measure = Measure {
        node: o.rules.as_ref().unwrap_or(&none),
        machine: spec.unhealthy_machine_conditions.as_deref().unwrap_or_default(),
        startup: spec.node_startup_timeout.filter(|t| !t.span().is_zero()),
        elsewhere: is_external_baremetal(o),
    };
    let health: Vec<Health> = o.machines.iter().map(|w| judge(w, &measure, now)).collect();
    let total = o.machines.len();
    let allowance = Allowance::of(spec, total);
    let invalid = [
        o.selector
            .clone()
            .map(|e| ("InvalidSelector", format!("spec.selector: {e}"))),
        o.rules
            .as_ref()
            .err()
            .map(|e| ("InvalidUnhealthyConditions", e.clone())),
        allowance.as_ref().err().map(|e| ("InvalidLimit", e.clone())),
        limits::in_flight(spec, total).err().map(|e| ("InvalidLimit", e)),
    ];
    Findings {
        total,
        healthy: health.iter().filter(|h| h.is_well()).count(),
        health,
        allowance: allowance.ok(),
        invalid: invalid.into_iter().flatten().next(),
    }
}

fn is_external_baremetal(o: &Observed) -> bool {
    o.check
        .annotations()
        .get(labels::REMEDIATION_STRATEGY)
        .is_some_and(|strategy| strategy == EXTERNAL_BAREMETAL)
}

/// Which machines are treated now.
#[derive(Default)]
pub(super) struct Choice {
    remedies: Vec<Remedy>,
    confirm: Vec<usize>,
    needs_template: bool,
    template_missing: bool,
    /// When machines that wait for their back-off are due.
    waits: Vec<Timestamp>,
    /// Machines that nobody would replace.
    unowned: Vec<usize>,
    /// How many are under replacement before anything is done.
    in_flight: usize,
}

/// A machine that may be treated.
struct Candidate<'a> {
    index: usize,
    cause: &'a Cause,
    since: Option<Timestamp>,
    treatment: Treatment,
}

fn choose(o: &Observed, findings: &Findings, ledger: &Ledger, now: Timestamp) -> Choice {
    let mut choice = Choice {
        in_flight: ledger.in_flight(o, &findings.health) + handed_over(o, findings),
        ..Choice::default()
    };
    if !findings.permits() {
        return choice;
    }
    let mut candidates = candidates(o, findings, ledger, &mut choice, now);
    // Those that were asked for, then those that will never come to be, then the longest broken.
    candidates.sort_by_key(|c| {
        let class = match c.cause {
            Cause::Asked => 0,
            Cause::Failed(_) => 1,
            _ => 2,
        };
        (class, c.since, c.index)
    });
    let limit = limits::in_flight(&o.check.spec, findings.total).unwrap_or(0);
    // What is under replacement already is replaced again first of all; what is not needs a place that nobody holds.
    let again = |c: &Candidate<'_>| {
        c.treatment == Treatment::Deleted
            && ledger.is_in_flight(&o.machines[c.index], &findings.health[c.index])
    };
    let held = choice.in_flight - candidates.iter().filter(|c| again(c)).count();
    let mut left = limit.saturating_sub(held);
    let mut free = limit.saturating_sub(choice.in_flight);
    let mut busy = busy_control_planes(o, findings);
    for c in candidates {
        let w = &o.machines[c.index];
        let deletes = c.treatment == Treatment::Deleted;
        let cluster = w.machine.spec.cluster_name.clone();
        // Control planes are replaced one after the other: two at once may cost etcd its quorum.
        let alone = deletes && w.machine.is_control_plane();
        if alone && busy.contains(&cluster) {
            continue;
        }
        let places = if again(&c) { &mut left } else { &mut free };
        if *places == 0 {
            continue;
        }
        if c.cause.is_of_node() && !w.confirmed {
            choice.confirm.push(c.index);
        } else if let Some(effects) = treat(o, &c, &mut choice) {
            choice.remedies.push(Remedy {
                machine: c.index,
                treatment: c.treatment,
                effects,
            });
        } else {
            continue;
        }
        if alone {
            busy.insert(cluster);
        }
        *places -= 1;
    }
    choice
}

/// Machines that somebody outside repairs now.
fn handed_over(o: &Observed, findings: &Findings) -> usize {
    o.machines
        .iter()
        .zip(&findings.health)
        .filter(|(w, health)| match (&o.external, health) {
            (_, Health::Elsewhere) => true,
            (_, Health::Leaving) => false,
            (External::Known(requests), health) => {
                !health.is_well() && requests.existing.contains_key(&w.machine.name_any())
            }
            _ => false,
        })
        .count()
}

fn candidates<'a>(
    o: &Observed,
    findings: &'a Findings,
    ledger: &Ledger,
    choice: &mut Choice,
    now: Timestamp,
) -> Vec<Candidate<'a>> {
    let spare_control_plane = o.check.spec.skip_control_plane == Some(true);
    let mut list = Vec::new();
    for (index, (w, health)) in o.machines.iter().zip(&findings.health).enumerate() {
        let Health::Unhealthy { cause, since } = health else {
            continue;
        };
        let control_plane = w.machine.is_control_plane();
        if w.paused
            || w.machine.annotations().contains_key(labels::SKIP_REMEDIATION)
            || (control_plane && spare_control_plane)
        {
            continue;
        }
        let treatment = match &o.external {
            External::Unusable(_) => continue,
            External::Known(requests) if requests.existing.contains_key(&w.machine.name_any()) => continue,
            External::Known(_) => Treatment::Requested,
            External::NotAsked if is_external_baremetal(o) && !matches!(cause, Cause::Failed(_)) => {
                Treatment::Annotated
            }
            External::NotAsked => Treatment::Deleted,
        };
        if treatment == Treatment::Deleted {
            if w.controller().is_none() {
                choice.unowned.push(index);
                continue;
            }
            if control_plane && *cause == Cause::Asked && is_last_control_plane(o, findings, index) {
                continue;
            }
            let broken = since.or_else(|| mark::failing_since(&w.machine)).unwrap_or(now);
            // A wish is not made to wait.
            if *cause != Cause::Asked
                && let Some(due) = ledger.wait(w, broken, now)
            {
                choice.waits.push(due);
                continue;
            }
        }
        list.push(Candidate {
            index,
            cause,
            since: *since,
            treatment,
        });
    }
    list
}

/// Clusters of which a control-plane machine leaves or starts; nothing stands for the cluster that holds the objects.
fn busy_control_planes(o: &Observed, findings: &Findings) -> BTreeSet<Option<String>> {
    o.machines
        .iter()
        .zip(&findings.health)
        .filter(|(w, health)| {
            w.machine.is_control_plane() && matches!(health, Health::Leaving | Health::Starting(_))
        })
        .map(|(w, _)| w.machine.spec.cluster_name.clone())
        .collect()
}

/// Whether no other control-plane machine of its cluster is well. A wish alone does not take the last one.
fn is_last_control_plane(o: &Observed, findings: &Findings, index: usize) -> bool {
    let cluster = &o.machines[index].machine.spec.cluster_name;
    !o.machines
        .iter()
        .zip(&findings.health)
        .enumerate()
        .any(|(other, (w, health))| {
            other != index
                && w.machine.is_control_plane()
                && w.machine.spec.cluster_name == *cluster
                && health.is_well()
        })
}

/// What to do about one machine; nothing if something is missing for it.
fn treat(o: &Observed, c: &Candidate<'_>, choice: &mut Choice) -> Option<Vec<Effect>> {
    let machine = &*o.machines[c.index].machine;
    let check = o.check.name_any();
    let about = || Box::new(reference(machine));
    match c.treatment {
        Treatment::Deleted => Some(vec![
            Effect::Delete {
                target: Target::Management,
                key: ObjectKey::to(machine),
                uid: machine.uid(),
            },
            Effect::EmitAbout(
                about(),
                Notice::normal(
                    "MachineDeleted",
                    format!(
                        "MachineHealthCheck {check} deleted the machine to have it replaced: {}",
                        c.cause
                    ),
                ),
            ),
        ]),
        Treatment::Annotated => Some(vec![
            Effect::Patch {
                target: Target::Management,
                key: ObjectKey::to(machine),
                patch: json!({ "metadata": { "annotations": { labels::EXTERNAL_REMEDIATION: "" } } }),
                optional: true,
            },
            Effect::EmitAbout(
                about(),
                Notice::normal(
                    "ExternalAnnotationAdded",
                    format!(
                        "MachineHealthCheck {check} handed the machine over for repair: {}",
                        c.cause
                    ),
                ),
            ),
        ]),
        Treatment::Requested => {
            let External::Known(requests) = &o.external else {
                return None;
            };
            match &requests.template {
                Template::Unread => choice.needs_template = true,
                Template::Missing => choice.template_missing = true,
                Template::Found(template) => {
                    return Some(vec![Effect::Create {
                        target: Target::Management,
                        object: request(o, requests, template, machine),
                    }]);
                }
            }
            None
        }
        Treatment::Withdrawn => None,
    }
}

/// The object that somebody else acts on: a copy of the template that bears the machine's name (`OpenShift`: external remediation).
fn request(o: &Observed, requests: &Requests, template: &Value, machine: &Machine) -> Box<DynamicObject> {
    let reference = o.check.spec.remediation_template.clone().unwrap_or_default();
    let kind = reference.kind.unwrap_or_default();
    let group = &requests.resource.group;
    let text = |pointer: &str| template.pointer(pointer).cloned().unwrap_or_else(|| json!({}));
    let mut annotations = text("/metadata/annotations");
    annotations[labels::CLONED_FROM_NAME] = json!(reference.name);
    annotations[labels::CLONED_FROM_GROUPKIND] = json!(format!("{kind}.{group}"));
    object(json!({
        "apiVersion": requests.resource.api_version,
        "kind": requests.resource.kind,
        "metadata": {
            "name": machine.name_any(),
            "namespace": machine.namespace(),
            "labels": text("/metadata/labels"),
            "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": format!("{MACHINE_GROUP}/{VERSION}"),
                "kind": "Machine",
                "name": machine.name_any(),
                "uid": machine.uid().unwrap_or_default(),
            }],
        },
        "spec": text("/spec"),
    }))
}

/// Removes the objects of machines that are well again.
fn withdraw(o: &Observed, findings: &Findings, remedies: &mut Vec<Remedy>) {
    let External::Known(requests) = &o.external else {
        return;
    };
    for (index, (w, health)) in o.machines.iter().zip(&findings.health).enumerate() {
        let name = w.machine.name_any();
        let Some(request) = requests.existing.get(&name) else {
            continue;
        };
        let owned = request
            .owner_references()
            .iter()
            .any(|r| w.machine.uid().as_ref() == Some(&r.uid));
        let stays = w.paused || request.metadata.deletion_timestamp.is_some() || !owned;
        if stays || *health != Health::Healthy {
            continue;
        }
        remedies.push(Remedy {
            machine: index,
            treatment: Treatment::Withdrawn,
            effects: vec![Effect::Delete {
                target: Target::Management,
                key: ObjectKey {
                    resource: requests.resource.clone(),
                    namespace: request.namespace(),
                    name,
                },
                uid: request.uid(),
            }],
        });
    }
}

/// What is said about machines, and whether more would have to be said.
fn marks(
    o: &Observed,
    findings: &Findings,
    choice: &Choice,
    now: Timestamp,
) -> (Vec<(usize, Vec<Effect>)>, bool) {
    let treated: BTreeSet<usize> = choice
        .remedies
        .iter()
        .filter(|r| r.treatment != Treatment::Withdrawn)
        .map(|r| r.machine)
        .chain(choice.confirm.iter().copied())
        .collect();
    let unowned: BTreeSet<usize> = choice.unowned.iter().copied().collect();
    let mut marks = Vec::new();
    for (index, (w, health)) in o.machines.iter().zip(&findings.health).enumerate() {
        if w.paused || treated.contains(&index) {
            continue;
        }
        let Some(mark) = Mark::of(health, unowned.contains(&index)) else {
            continue;
        };
        let effects = mark::effects(o, w, &mark, now);
        if effects.is_empty() {
            continue;
        }
        if marks.len() == MARKS {
            return (marks, true);
        }
        marks.push((index, effects));
    }
    (marks, false)
}
