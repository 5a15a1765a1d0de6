//! What a deployment says about itself: numbers, conditions, and what holds a roll-out up. Pure.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::Value;

use super::{
    limits::Strategy,
    observe::Observed,
    rollout::{Fleet, Sizes},
};
use crate::{
    api::{
        conditions::{self, Status, condition},
        selector,
        v1alpha1::{MachineDeploymentStatus, MachineSet},
    },
    controllers::effect::{Effect, Notice, Plan, Requeue},
    time::{SignedDuration, Timestamp},
};

/// Reason when the spec can't be used.
const INVALID: &str = "InvalidSpec";
/// Reason when nothing got further for too long (Deployment).
pub(crate) const EXCEEDED: &str = "ProgressDeadlineExceeded";
/// Reason when all machines are of the present template and available (Deployment: `NewReplicaSetAvailable`).
const DONE: &str = "NewMachineSetAvailable";
/// Reason while changes of the template wait (Deployment).
const PAUSED: &str = "DeploymentPaused";
/// Reason when a set was just made or chosen.
const BEGUN: &str = "NewMachineSetCreated";
/// Reason while machines come and go.
const UPDATED: &str = "MachineSetUpdated";

/// Machines of all sets, as the sets count them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    wanted: i32,
    replicas: i32,
    updated: i32,
    ready: i32,
    available: i32,
}

impl Counts {
    /// Adds up what sets say; `current` is the place of the one of the wanted template.
    pub(crate) fn of(sets: &[Arc<MachineSet>], current: Option<usize>) -> Self {
        let mut sum = Self::default();
        for (place, set) in sets.iter().enumerate() {
            let status = set.status.clone().unwrap_or_default();
            let add = |to: &mut i32, number: i32| *to = to.saturating_add(number.max(0));
            add(&mut sum.wanted, set.spec.replicas);
            add(&mut sum.replicas, status.replicas);
            add(&mut sum.ready, status.ready_replicas);
            add(&mut sum.available, status.available_replicas);
            if current == Some(place) {
                add(&mut sum.updated, status.replicas);
            }
        }
        sum
    }

    const fn old(&self) -> i32 {
        self.replicas - self.updated
    }
}

/// Whether a roll-out gets further, and until when it has to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// When it last got further.
    since: Timestamp,
    /// When it will count as stuck, if it is not done before.
    until: Option<Timestamp>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Changes of the template wait.
    Paused,
    /// All machines are of the wanted template and available, or have been.
    Done { now: bool },
    /// A set was just made or chosen.
    Begun,
    /// Machines come and go.
    Underway,
    /// Nothing got further for too long.
    Exceeded,
}

impl Progress {
    /// Compares what is with what was told last (Deployment: `syncRolloutStatus`).
    pub(crate) fn of(o: &Observed, counts: &Counts, fleet: &Fleet, begins: bool, now: Timestamp) -> Self {
        let told = o.deployment.status.clone().unwrap_or_default();
        let before = conditions::find(&told.conditions, conditions::PROGRESSING).map(|c| c.reason.as_str());
        let resumed = !fleet.paused && matches!(before, None | Some(PAUSED | INVALID));
        let further = counts.updated > told.updated_replicas
            || counts.old() < told.replicas.saturating_sub(told.updated_replicas)
            || counts.ready > told.ready_replicas
            || counts.available > told.available_replicas;
        let since = match told.last_progress_time {
            Some(time) if !(begins || resumed || further) => time.0,
            _ => Timestamp::from_second(now.as_second()).unwrap_or(now),
        };
        let replicas = fleet.limits.replicas;
        let only_new = counts.old() == 0 && fleet.old.iter().all(|s| s.wanted == 0);
        let complete = only_new
            && fleet.current.is_some_and(|s| s.wanted == replicas && s.settled)
            && counts.updated == replicas
            && counts.available >= replicas;
        let waits_for_people = fleet.limits.strategy == Strategy::OnDelete && counts.available >= replicas;
        let until = (!complete && !waits_for_people)
            .then_some(fleet.limits.deadline)
            .flatten()
            .and_then(|deadline| since.checked_add(deadline).ok());
        let stage = if fleet.paused {
            Stage::Paused
        } else if complete {
            Stage::Done { now: true }
        } else if begins {
            Stage::Begun
        } else if before == Some(DONE) && only_new {
            // What fails later is no matter of the roll-out (Deployment).
            Stage::Done { now: false }
        } else if until.is_some_and(|until| now >= until) {
            Stage::Exceeded
        } else if before == Some(BEGUN) && !further {
            Stage::Begun
        } else {
            Stage::Underway
        };
        Self { since, until, stage }
    }

    /// Whether nothing got further for too long.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.stage == Stage::Exceeded
    }

    /// Whether all machines are of the wanted template and available.
    pub(crate) fn is_complete(&self) -> bool {
        self.stage == Stage::Done { now: true }
    }

    /// Time until it counts as stuck.
    pub(crate) fn wait(&self, now: Timestamp) -> Option<SignedDuration> {
        let waits = matches!(self.stage, Stage::Begun | Stage::Underway);
        self.until
            .filter(|_| waits)
            .map(|until| until.duration_since(now))
    }
}

/// What a plan found out.
pub(crate) struct Facts<'a> {
    pub(crate) counts: &'a Counts,
    /// The sets before the plan.
    pub(crate) fleet: &'a Fleet,
    /// Their sizes after it.
    pub(crate) sizes: &'a Sizes,
    /// Names of the old sets.
    pub(crate) old: Vec<String>,
    /// Name of the current set.
    pub(crate) current: Option<String>,
    pub(crate) progress: Progress,
}

/// Returns the whole status.
pub(crate) fn status(o: &Observed, facts: &Facts<'_>, now: Timestamp) -> Value {
    let mut s = numbers(o, facts.counts);
    let replicas = facts.fleet.limits.replicas;
    let exceeded = facts.progress.is_exceeded();
    s.last_progress_time = Some(Time(facts.progress.since));
    let phase = if exceeded {
        "Failed"
    } else if s.replicas < replicas || s.available_replicas < replicas || is_replacing(facts) {
        "ScalingUp"
    } else if s.replicas > replicas {
        "ScalingDown"
    } else {
        "Running"
    };
    s.phase = Some(phase.to_owned());
    for new in judge(o, facts, now) {
        conditions::set(&mut s.conditions, new);
    }
    serde_json::to_value(s).unwrap_or_default()
}

/// Whether new machines are still to come in the place of old ones.
fn is_replacing(facts: &Facts<'_>) -> bool {
    matches!(facts.fleet.limits.strategy, Strategy::Rolling { .. })
        && !facts.fleet.paused
        && facts.counts.updated < facts.fleet.limits.replicas
}

fn numbers(o: &Observed, counts: &Counts) -> MachineDeploymentStatus {
    let mut s = o.deployment.status.clone().unwrap_or_default();
    s.replicas = counts.replicas;
    s.updated_replicas = counts.updated;
    s.ready_replicas = counts.ready;
    s.available_replicas = counts.available;
    s.unavailable_replicas = (counts.wanted - counts.available).max(0);
    s.selector = selector::parse(&o.deployment.spec.selector)
        .ok()
        .map(|s| s.to_string())
        .filter(|text| !text.is_empty());
    s.observed_generation = o.deployment.metadata.generation;
    s
}

fn judge(o: &Observed, facts: &Facts<'_>, now: Timestamp) -> [Condition; 5] {
    let generation = o.deployment.metadata.generation;
    let make = |type_: &str, so: Status, reason: &str, message: String| {
        condition(type_, so, reason, message, generation, now)
    };
    let (counts, fewest) = (facts.counts, facts.fleet.limits.fewest());
    let available = if counts.available >= fewest {
        make(
            conditions::AVAILABLE,
            Status::True,
            "MinimumReplicasAvailable",
            String::new(),
        )
    } else {
        let are = verb(counts.available, "is", "are");
        let message = format!(
            "{} {are} available, {fewest} have to be",
            machines(counts.available)
        );
        make(
            conditions::AVAILABLE,
            Status::False,
            "MinimumReplicasUnavailable",
            message,
        )
    };
    let hold = hold(facts);
    let (so, reason, message) = progressing(facts, hold.as_deref());
    let progressing = make(conditions::PROGRESSING, so, reason, message);
    let old = counts.old();
    let up_to_date = if old == 0 && facts.current.is_some() {
        make(
            conditions::MACHINES_UP_TO_DATE,
            Status::True,
            "UpToDate",
            String::new(),
        )
    } else {
        let message = format!("{} {} of an old template", machines(old), verb(old, "is", "are"));
        make(
            conditions::MACHINES_UP_TO_DATE,
            Status::False,
            "NotUpToDate",
            message,
        )
    };
    let rolling_out = match &hold {
        Some(hold) if is_rolling(facts) => {
            make(conditions::ROLLING_OUT, Status::True, "RollingOut", hold.clone())
        }
        _ => make(
            conditions::ROLLING_OUT,
            Status::False,
            "NotRollingOut",
            String::new(),
        ),
    };
    let (so, reason, message) = ready(facts, hold);
    let ready = make(conditions::READY, so, reason, message);
    [available, progressing, up_to_date, rolling_out, ready]
}

/// Whether machines of old templates are to go.
fn is_rolling(facts: &Facts<'_>) -> bool {
    !facts.fleet.paused && (facts.counts.old() > 0 || facts.fleet.old.iter().any(|s| s.wanted > 0))
}

fn progressing(facts: &Facts<'_>, hold: Option<&str>) -> (Status, &'static str, String) {
    let set = facts.current.as_deref().unwrap_or_default();
    let so_far = || hold.unwrap_or_default().to_owned();
    match facts.progress.stage {
        Stage::Paused => (
            Status::Unknown,
            PAUSED,
            "changes of the template wait until it is resumed".to_owned(),
        ),
        Stage::Done { now: true } => (
            Status::True,
            DONE,
            format!("all machines of MachineSet {set} are available"),
        ),
        Stage::Done { now: false } => (Status::True, DONE, so_far()),
        Stage::Begun => (Status::True, BEGUN, so_far()),
        Stage::Underway => (Status::True, UPDATED, so_far()),
        Stage::Exceeded => (Status::False, EXCEEDED, exceeded(facts, hold)),
    }
}

fn exceeded(facts: &Facts<'_>, hold: Option<&str>) -> String {
    let deadline = facts.fleet.limits.deadline.unwrap_or_default();
    let deadline = crate::api::duration::Duration::from(deadline);
    let hold = hold.unwrap_or("waiting for the sets");
    format!("no progress for {deadline} (spec.progressDeadlineSeconds): {hold}")
}

fn ready(facts: &Facts<'_>, hold: Option<String>) -> (Status, &'static str, String) {
    let (counts, replicas) = (facts.counts, facts.fleet.limits.replicas);
    let enough = counts.replicas >= replicas && counts.available >= replicas;
    if facts.progress.is_exceeded() {
        return (Status::False, EXCEEDED, exceeded(facts, hold.as_deref()));
    }
    let by_hand = facts.fleet.limits.strategy == Strategy::OnDelete && enough;
    let reason = if is_rolling(facts) && !by_hand {
        "RollingOut"
    } else if counts.replicas < replicas {
        "ScalingUp"
    } else if counts.replicas > replicas {
        "ScalingDown"
    } else if counts.available < replicas {
        "WaitingForMachines"
    } else {
        return (Status::True, "Ready", hold.unwrap_or_default());
    };
    (Status::False, reason, hold.unwrap_or_default())
}

/// What a deployment waits for, and which limit keeps it from doing more; nothing if all is as it should be.
fn hold(facts: &Facts<'_>) -> Option<String> {
    let (fleet, sizes) = (facts.fleet, facts.sizes);
    let (replicas, size) = (fleet.limits.replicas, sizes.current.unwrap_or_default());
    let old: Vec<&str> = facts
        .old
        .iter()
        .zip(fleet.old.iter().zip(&sizes.old))
        .filter(|(_, (share, size))| **size > 0 || share.present > 0)
        .map(|(name, _)| name.as_str())
        .collect();
    let kept: i32 = sizes.old.iter().copied().fold(0, i32::saturating_add);
    let left = facts.counts.old().max(kept);
    let from = format!("of MachineSet {}", old.join(", "));
    let waits = size - fleet.current.map_or(0, |s| s.available).min(size);
    let set = facts.current.as_deref().unwrap_or_default();
    let for_new = || {
        let are = verb(waits, "is", "are");
        format!("{} of MachineSet {set} {are} not available yet", machines(waits))
    };
    let missing = replicas - facts.counts.available;
    let for_any = || {
        let are = verb(missing, "is", "are");
        (missing > 0).then(|| format!("{} {are} missing or not available", machines(missing)))
    };
    if fleet.paused {
        return for_any();
    }
    match (fleet.limits.strategy, left > 0, waits > 0) {
        (_, false, false) => for_any(),
        (_, false, true) | (Strategy::OnDelete, true, true) => Some(for_new()),
        (Strategy::OnDelete, true, false) => {
            let stay = verb(
                left,
                "stays until somebody deletes it",
                "stay until somebody deletes them",
            );
            Some(format!("{} {from} {stay}", machines(left)))
        }
        (Strategy::Rolling { .. }, true, false) => Some(format!(
            "{} {from} {} still to go",
            machines(left),
            verb(left, "is", "are")
        )),
        (Strategy::Rolling { surge, unavailable }, true, true) => {
            let mut text = for_new();
            if kept > 0 {
                text = format!(
                    "{text}; maxUnavailable {unavailable} keeps {} {from}",
                    machines(kept)
                );
            }
            if size < replicas {
                let most = machines(fleet.limits.most());
                text = format!("{text}; maxSurge {surge} allows {most} in all");
            }
            Some(text)
        }
    }
}

fn machines(count: i32) -> String {
    format!("{count} {}", verb(count, "machine", "machines"))
}

/// The word that goes with a number.
const fn verb(count: i32, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}

/// An event about a deadline that just passed.
pub(crate) fn news(o: &Observed, facts: &Facts<'_>) -> Option<Effect> {
    let told = reason_of(o, conditions::PROGRESSING).is_some_and(|(reason, _)| reason == EXCEEDED);
    (facts.progress.is_exceeded() && !told)
        .then(|| Effect::Emit(Notice::warning(EXCEEDED, exceeded(facts, hold(facts).as_deref()))))
}

/// Why a deployment can't be worked with.
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) counts: Counts,
}

/// Says what is wrong, and does nothing else.
pub(crate) fn refuse(o: &Observed, refusal: &Refusal, now: Timestamp) -> Plan {
    let message = &refusal.message;
    let mut s = numbers(o, &refusal.counts);
    s.phase = Some("Failed".to_owned());
    for type_ in [conditions::PROGRESSING, conditions::READY] {
        let generation = o.deployment.metadata.generation;
        let new = condition(type_, Status::False, INVALID, message.clone(), generation, now);
        conditions::set(&mut s.conditions, new);
    }
    let told =
        reason_of(o, conditions::READY).is_some_and(|(reason, old)| reason == INVALID && old == *message);
    let event = (!told).then(|| Effect::Emit(Notice::warning(INVALID, message)));
    Plan {
        effects: event.into_iter().collect(),
        status: serde_json::to_value(s).ok(),
        requeue: Requeue::OnChange,
    }
}

/// Reason and message that a condition was told with.
fn reason_of(o: &Observed, type_: &str) -> Option<(String, String)> {
    let status = o.deployment.status.as_ref()?;
    conditions::find(&status.conditions, type_).map(|c| (c.reason.clone(), c.message.clone()))
}
