//! What a health check says about a machine: its condition `HealthCheckSucceeded`, which is also how the check remembers what it has told. Pure.
//!
//! The message begins with the name of the check. What another check that is still there has said stays: two checks on one machine never
//! write by turns.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use serde_json::json;

use super::{
    judge::Health,
    ledger::seconds,
    observe::{Observed, Watched},
};
use crate::{
    api::{
        conditions::{self, Status},
        v1alpha1::Machine,
    },
    controllers::effect::{Effect, Notice, ObjectKey, reference},
    time::rfc3339,
};

/// What follows the cause at a machine that nobody would replace.
const NO_CONTROLLER: &str = "; it has no controller that would replace it, so it stays";

/// What is to be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mark {
    /// It is well again.
    Well,
    /// Something is wrong, and counts from then on: reason, what.
    Suspicious(&'static str, String, Timestamp),
    /// It is to be replaced: reason, what.
    Broken(&'static str, String),
    /// It would have to be replaced, but nobody would: reason, what.
    Unowned(&'static str, String),
}

impl Mark {
    /// What is to be said about a machine that is not treated now.
    pub(super) fn of(health: &Health, unowned: bool) -> Option<Self> {
        match health {
            Health::Healthy => Some(Self::Well),
            Health::Suspicious { cause, due } => {
                Some(Self::Suspicious(cause.reason(), cause.to_string(), *due))
            }
            Health::Unhealthy { cause, .. } if unowned => {
                Some(Self::Unowned(cause.reason(), cause.to_string()))
            }
            Health::Unhealthy { cause, .. } => Some(Self::Broken(cause.reason(), cause.to_string())),
            Health::Leaving | Health::Starting(_) | Health::Unseen { .. } | Health::Elsewhere => None,
        }
    }
}

/// What was said about a machine before.
#[derive(Clone, Copy)]
enum Said<'a> {
    /// Nothing.
    Nothing,
    /// This, and what of it is this check's own text.
    This(&'a Condition, &'a str),
    /// Another check that is still there said something.
    ByAnother,
}

fn said<'a>(o: &Observed, machine: &'a Machine) -> Said<'a> {
    let list = machine.status.as_ref().map(|s| s.conditions.as_slice());
    let found = conditions::find(list.unwrap_or_default(), conditions::HEALTH_CHECK_SUCCEEDED);
    let Some(condition) = found else {
        return Said::Nothing;
    };
    let (author, text) = condition.message.split_once(": ").unwrap_or(("", ""));
    if author == o.check.name_any() {
        Said::This(condition, text)
    } else if o.others.iter().any(|other| other == author) && condition.status != "True" {
        Said::ByAnother
    } else {
        Said::This(condition, "")
    }
}

/// Since when a machine has been called broken, by this check or another one.
pub(super) fn failing_since(machine: &Machine) -> Option<Timestamp> {
    let list = machine.status.as_ref().map(|s| s.conditions.as_slice());
    let found = conditions::find(list.unwrap_or_default(), conditions::HEALTH_CHECK_SUCCEEDED)?;
    (found.status == "False").then_some(found.last_transition_time.0)
}

/// How it is said: a write of the condition if it changes, and an Event if something is new.
pub(super) fn effects(o: &Observed, w: &Watched, mark: &Mark, now: Timestamp) -> Vec<Effect> {
    let before = match said(o, &w.machine) {
        Said::Nothing => None,
        Said::This(condition, text) => Some((condition, text)),
        Said::ByAnother => return Vec::new(),
    };
    // What was always well needs no word.
    if *mark == Mark::Well && before.is_none_or(|(c, _)| c.status == "True") {
        return Vec::new();
    }
    let (status, reason, text) = match mark {
        Mark::Well => (
            Status::True,
            "HealthCheckSucceeded",
            "the machine is well".to_owned(),
        ),
        Mark::Suspicious(reason, what, _) => (Status::Unknown, *reason, what.clone()),
        Mark::Broken(reason, what) => (Status::False, *reason, what.clone()),
        Mark::Unowned(reason, what) => (Status::False, *reason, format!("{what}{NO_CONTROLLER}")),
    };
    let same_status = before.is_some_and(|(c, _)| c.status == status.as_str());
    if same_status && before.is_some_and(|(c, said)| c.reason == reason && said == text) {
        return Vec::new();
    }
    let since = before
        .filter(|_| same_status)
        .map(|(c, _)| c.last_transition_time.clone());
    let message = format!("{}: {text}", o.check.name_any());
    let mut effects = vec![Effect::ApplyStatus {
        key: ObjectKey::to(&*w.machine),
        status: json!({ "conditions": [{
            "type": conditions::HEALTH_CHECK_SUCCEEDED,
            "status": status.as_str(),
            "reason": reason,
            "message": message,
            "lastTransitionTime": since.unwrap_or_else(|| seconds(now)),
        }] }),
    }];
    let told = before
        .filter(|(c, _)| c.status != "True")
        .map_or("", |(_, said)| said);
    effects.extend(
        notices(o, mark, told)
            .into_iter()
            .map(|notice| Effect::EmitAbout(Box::new(reference(&*w.machine)), notice)),
    );
    effects
}

/// Events about what has not been `told` yet.
fn notices(o: &Observed, mark: &Mark, told: &str) -> Vec<Notice> {
    let check = o.check.name_any();
    let (what, more) = match mark {
        Mark::Well => return Vec::new(),
        Mark::Suspicious(_, what, due) => (
            what,
            format!("; it is replaced after {} if it stays so", rfc3339(*due)),
        ),
        Mark::Broken(_, what) => (what, String::new()),
        Mark::Unowned(_, what) => (what, NO_CONTROLLER.to_owned()),
    };
    let mut notices = Vec::new();
    if !told.starts_with(what.as_str()) {
        notices.push(Notice::normal(
            "DetectedUnhealthy",
            format!("MachineHealthCheck {check}: {what}{more}"),
        ));
    }
    if matches!(mark, Mark::Unowned(..)) && !told.ends_with(NO_CONTROLLER) {
        notices.push(Notice::normal(
            "SkippedNoController",
            format!("MachineHealthCheck {check} does not delete the machine: {what}{NO_CONTROLLER}"),
        ));
    }
    notices
}
