//! How many machines a set has, and what is so and what is not. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use serde_json::Value;

use super::{
    failed::{Replacement, listed},
    in_place::Wanted,
    observe::{Member, Observed, Trouble},
    template,
};
use crate::{
    api::{
        conditions::{self, Status, condition},
        selector,
        v1alpha1::{Machine, MachineSetStatus},
    },
    time::{SignedDuration, Timestamp},
};

/// What a look leaves behind.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Machines that stay.
    pub(super) staying: Vec<Member>,
    /// Those of them that get the labels which they lack.
    pub(super) labelled: usize,
    /// How many are made.
    pub(super) made: usize,
    /// Machines on their way out, by name.
    pub(super) leaving: Vec<String>,
    /// What stands in the way.
    pub(super) trouble: Option<Trouble>,
    /// How Failed machines are replaced.
    pub(super) replacement: Replacement,
}

/// Since when a Machine's Node is Ready, if it is.
pub(super) fn healthy_since(machine: &Machine) -> Option<Timestamp> {
    let list = &machine.status.as_ref()?.conditions;
    conditions::find(list, conditions::NODE_HEALTHY)
        .filter(|c| c.status == "True")
        .map(|c| c.last_transition_time.0)
}

/// How long a Node has to be Ready.
fn min_ready(o: &Observed) -> SignedDuration {
    SignedDuration::from_secs(i64::from(o.set.spec.min_ready_seconds.unwrap_or_default().max(0)))
}

/// When the next machine becomes available, counted from now.
pub(super) fn next_available(o: &Observed, facts: &Facts, now: Timestamp) -> Option<SignedDuration> {
    let wait = min_ready(o);
    if wait.is_zero() {
        return None;
    }
    facts
        .staying
        .iter()
        .filter_map(|m| healthy_since(&m.machine))
        .map(|since| (since + wait).duration_since(now))
        .filter(SignedDuration::is_positive)
        .min()
}

/// The numbers and conditions that a look leaves behind.
pub(super) fn status(o: &Observed, facts: &Facts, wanted: &Wanted, now: Timestamp) -> Value {
    let wait = min_ready(o);
    let mut ready = 0;
    let mut available = 0;
    let mut unready = Vec::new();
    for member in &facts.staying {
        match healthy_since(&member.machine) {
            Some(since) => {
                ready += 1;
                available += usize::from((since + wait) <= now);
            }
            None => unready.push(member.machine.name_any()),
        }
    }
    let labelled = facts
        .staying
        .iter()
        .filter(|m| wanted.is_labelled(&m.machine))
        .count();
    let replicas = facts.staying.len() + facts.made;
    let mut s = MachineSetStatus {
        replicas: number(replicas),
        fully_labeled_replicas: number(labelled + facts.labelled + facts.made),
        ready_replicas: number(ready),
        available_replicas: number(available),
        selector: selector::parse(&o.set.spec.selector)
            .ok()
            .map(|s| s.to_string())
            .filter(|text| !text.is_empty()),
        observed_generation: o.set.metadata.generation,
        failed_replacements: facts.replacement.times,
        last_failed_replacement: facts.replacement.last.clone(),
        conditions: o.set.status.clone().unwrap_or_default().conditions,
    };
    let counts = Counts {
        desired: template::desired(&o.set),
        replicas,
        ready,
        available,
    };
    for new in judge(o, facts, &counts, &unready, now) {
        conditions::set(&mut s.conditions, new);
    }
    serde_json::to_value(s).unwrap_or_default()
}

struct Counts {
    desired: usize,
    replicas: usize,
    ready: usize,
    available: usize,
}

fn judge(o: &Observed, facts: &Facts, n: &Counts, unready: &[String], now: Timestamp) -> [Condition; 4] {
    let generation = o.set.metadata.generation;
    let make = |type_: &str, so: Status, reason: &str, message: String| {
        condition(type_, so, reason, message, generation, now)
    };
    let machines_ready = if n.ready == n.replicas {
        make(
            conditions::MACHINES_READY,
            Status::True,
            "AllReady",
            String::new(),
        )
    } else {
        let mut message = format!("{} of {} machines are ready", n.ready, n.replicas);
        if !unready.is_empty() {
            let waiting = listed(unready.iter().map(String::as_str));
            message = format!("{message}; not yet: {waiting}");
        }
        make(
            conditions::MACHINES_READY,
            Status::False,
            "MachinesNotReady",
            message,
        )
    };
    let scaling_up = if n.replicas < n.desired {
        let mut message = format!("{} of {} machines exist", n.replicas, n.desired);
        if let Some(trouble) = &facts.trouble {
            message = format!("{message}: {}", trouble.message);
        }
        make(conditions::SCALING_UP, Status::True, "ScalingUp", message)
    } else {
        make(
            conditions::SCALING_UP,
            Status::False,
            "NotScalingUp",
            String::new(),
        )
    };
    let total = n.replicas + facts.leaving.len();
    let scaling_down = if total > n.desired {
        let going = listed(facts.leaving.iter().map(String::as_str));
        let message = format!(
            "{} of {total} machines are on their way out: {going}",
            facts.leaving.len()
        );
        make(conditions::SCALING_DOWN, Status::True, "ScalingDown", message)
    } else {
        make(
            conditions::SCALING_DOWN,
            Status::False,
            "NotScalingDown",
            String::new(),
        )
    };
    let ready = match &facts.trouble {
        Some(trouble) => make(
            conditions::READY,
            Status::False,
            trouble.reason,
            trouble.message.clone(),
        ),
        None if n.replicas < n.desired => make(
            conditions::READY,
            Status::False,
            "ScalingUp",
            scaling_up.message.clone(),
        ),
        None if n.available < n.desired => {
            let message = format!("{} of {} machines are available", n.available, n.desired);
            make(conditions::READY, Status::False, "WaitingForMachines", message)
        }
        None => make(conditions::READY, Status::True, "Ready", String::new()),
    };
    [machines_ready, scaling_up, scaling_down, ready]
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
