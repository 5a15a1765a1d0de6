//! What a health check says about itself. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use serde_json::Value;

use super::{
    judge::Health,
    ledger::Ledger,
    observe::{External, Observed, Template},
    plan::Findings,
};
use crate::{
    api::{
        conditions::{self, Status},
        v1alpha1::MachineHealthCheckStatus,
    },
    controllers::effect::{Effect, Notice},
};

/// So many machines that are not well are named: at ten thousand machines all names would be too much for one object.
const TARGETS: usize = 100;
/// Reason of `RemediationAllowed`.
const TOO_MANY: &str = "TooManyUnhealthy";
/// Reason of `ExternalRemediationTemplateAvailable`.
const NO_TEMPLATE: &str = "ExternalRemediationTemplateNotFound";
/// Reason of `ExternalRemediationRequestAvailable`.
const NO_REQUEST: &str = "ExternalRemediationRequestCreationFailed";

/// What is known of copies of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Copies {
    /// The template does not exist.
    pub(super) missing: bool,
    /// Copies are made.
    pub(super) used: bool,
}

/// Returns the whole status, and Events about what is new in it.
pub(super) fn status(
    o: &Observed,
    findings: &Findings,
    ledger: &Ledger,
    copies: Copies,
    now: Timestamp,
) -> (Value, Vec<Effect>) {
    let before = o.check.status.clone().unwrap_or_default();
    let generation = o.check.metadata.generation;
    let make = |type_: &str, so: Status, reason: &str, message: &str| {
        conditions::condition(type_, so, reason, message, generation, now)
    };
    let mut list = vec![match (&findings.invalid, refusal(findings)) {
        (Some((reason, message)), _) => make(conditions::REMEDIATION_ALLOWED, Status::False, reason, message),
        (None, Some(message)) => make(conditions::REMEDIATION_ALLOWED, Status::False, TOO_MANY, &message),
        (None, None) => make(
            conditions::REMEDIATION_ALLOWED,
            Status::True,
            "RemediationAllowed",
            "",
        ),
    }];
    list.extend(
        external(o, copies, &before.conditions)
            .into_iter()
            .map(|(type_, so, reason, message)| make(type_, so, reason, &message)),
    );
    let events = news(&list, &before.conditions);
    let ready = ready(&list, findings);
    list.push(make(conditions::READY, ready.0, &ready.1, &ready.2));
    let mut status = MachineHealthCheckStatus {
        expected_machines: count(findings.total),
        current_healthy: count(findings.healthy),
        remediations_allowed: match &findings.allowance {
            Some(allowance) if findings.invalid.is_none() => count(allowance.rest(findings.unhealthy())),
            _ => 0,
        },
        targets: o
            .machines
            .iter()
            .zip(&findings.health)
            .filter(|(_, health)| !health.is_well())
            .take(TARGETS)
            .map(|(w, _)| w.machine.name_any())
            .collect(),
        remediations: ledger.records.clone(),
        observed_generation: generation,
        conditions: before.conditions,
    };
    // What is no more to be judged goes.
    status
        .conditions
        .retain(|c| list.iter().any(|new| new.type_ == c.type_));
    for new in list {
        conditions::set(&mut status.conditions, new);
    }
    (serde_json::to_value(status).unwrap_or_default(), events)
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Why nothing may be replaced; nothing if it may.
fn refusal(findings: &Findings) -> Option<String> {
    let unhealthy = findings.unhealthy();
    let allowance = findings.allowance.as_ref().filter(|a| !a.permits(unhealthy))?;
    Some(allowance.refusal(findings.total, unhealthy))
}

/// Conditions about repair by somebody else: type, status, reason, message.
fn external(
    o: &Observed,
    copies: Copies,
    before: &[Condition],
) -> Vec<(&'static str, Status, &'static str, String)> {
    const TEMPLATE: &str = conditions::EXTERNAL_TEMPLATE_AVAILABLE;
    const REQUEST: &str = conditions::EXTERNAL_REQUEST_AVAILABLE;
    let requests = match &o.external {
        External::NotAsked => return Vec::new(),
        External::Unusable(why) => return vec![(TEMPLATE, Status::False, NO_TEMPLATE, why.clone())],
        External::Known(requests) => requests,
    };
    let reference = o.check.spec.remediation_template.clone().unwrap_or_default();
    let named = format!(
        "{} {}",
        reference.kind.unwrap_or_default(),
        reference.name.unwrap_or_default()
    );
    let missing = conditions::find(before, TEMPLATE).filter(|c| c.status == "False");
    let mut list = vec![match missing {
        _ if copies.missing => (
            TEMPLATE,
            Status::False,
            NO_TEMPLATE,
            format!("spec.remediationTemplate: there is no {named} in this namespace"),
        ),
        // Only who looks for it knows that it is there now.
        Some(old) if requests.template == Template::Unread => {
            (TEMPLATE, Status::False, NO_TEMPLATE, old.message.clone())
        }
        _ => (TEMPLATE, Status::True, "Available", String::new()),
    }];
    let failed = conditions::find(before, REQUEST).filter(|c| c.status == "False");
    match failed {
        Some(old) if !copies.used => {
            list.push((REQUEST, Status::False, NO_REQUEST, old.message.clone()));
        }
        _ if copies.used || !requests.existing.is_empty() => {
            list.push((REQUEST, Status::True, "Available", String::new()));
        }
        _ => {}
    }
    list
}

/// One Event for each condition that has become False, or False for another reason.
fn news(list: &[Condition], before: &[Condition]) -> Vec<Effect> {
    list.iter()
        .filter(|new| new.status == "False")
        .filter(|new| {
            conditions::find(before, &new.type_)
                .is_none_or(|old| old.status != new.status || old.reason != new.reason)
        })
        .map(|new| {
            let reason = if new.reason == TOO_MANY {
                "RemediationRestricted"
            } else {
                &new.reason
            };
            Effect::Emit(Notice::warning(reason, &new.message))
        })
        .collect()
}

/// Whether the check can do what it is for: status, reason, message.
fn ready(list: &[Condition], findings: &Findings) -> (Status, String, String) {
    if let Some(trouble) = list.iter().find(|c| c.status != "True") {
        return (Status::False, trouble.reason.clone(), trouble.message.clone());
    }
    let unseen = findings
        .health
        .iter()
        .filter(|h| matches!(h, Health::Unseen { .. }))
        .count();
    if unseen > 0 {
        let message =
            format!("{unseen} machines can't be judged: the API server of their cluster does not answer");
        return (Status::False, "Unreachable".to_owned(), message);
    }
    (Status::True, "Ready".to_owned(), String::new())
}

/// The status after something failed; `requests`: an object for somebody else could not be made.
pub(super) fn failed(
    mut status: MachineHealthCheckStatus,
    requests: bool,
    error: &str,
    now: Timestamp,
) -> Value {
    let generation = status.observed_generation;
    let mut set = |type_, reason| {
        let new = conditions::condition(type_, Status::False, reason, error, generation, now);
        conditions::set(&mut status.conditions, new);
    };
    set(conditions::READY, "ReconcileError");
    if requests {
        set(conditions::EXTERNAL_REQUEST_AVAILABLE, NO_REQUEST);
    }
    serde_json::to_value(status).unwrap_or_default()
}
