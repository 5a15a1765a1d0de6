//! How one machine is: from what is known of it and of its Node. Pure.

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Node, apimachinery::pkg::apis::meta::v1::Condition};
use kube::ResourceExt;

use super::observe::{NodeView, Watched};
use crate::{
    api::{
        conditions,
        duration::Duration,
        labels,
        v1alpha1::{Machine, MachinePhase, UnhealthyCondition},
    },
    time::SignedDuration,
};

/// What is wrong with a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// Somebody asked for its replacement.
    Asked,
    /// It has failed for good: why.
    Failed(String),
    /// It became no Node in time.
    NodeStartup(Duration),
    /// Its Node is gone: name.
    NodeGone(String),
    /// A condition of its Node: type, status, limit.
    Node(String, String, Duration),
    /// A condition of its own: type, status, limit.
    Machine(String, String, Duration),
}

impl Cause {
    /// One word (Cluster API: reasons of `HealthCheckSucceeded`).
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::Asked => "HasRemediateAnnotation",
            Self::Failed(_) => "MachineFailed",
            Self::NodeStartup(_) => "NodeStartupTimeout",
            Self::NodeGone(_) => "NodeDeleted",
            Self::Node(..) => "UnhealthyNode",
            Self::Machine(..) => "UnhealthyMachine",
        }
    }

    /// Whether it was concluded from what a watch told of a Node, or did not tell.
    pub(super) const fn is_of_node(&self) -> bool {
        matches!(self, Self::NodeGone(_) | Self::Node(..) | Self::NodeStartup(_))
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Asked => write!(f, "its replacement is asked for by {}", labels::REMEDIATE_MACHINE),
            Self::Failed(why) if why.is_empty() => f.write_str("the machine has failed"),
            Self::Failed(why) => write!(f, "the machine has failed: {why}"),
            Self::NodeStartup(limit) => write!(f, "the machine became no Node within {limit}"),
            Self::NodeGone(name) => write!(f, "its Node {name} is gone"),
            Self::Node(type_, status, limit) => {
                write!(f, "its Node's condition {type_} is {status} (limit {limit})")
            }
            Self::Machine(type_, status, limit) => {
                write!(f, "its condition {type_} is {status} (limit {limit})")
            }
        }
    }
}

/// How a machine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Health {
    /// It is on its way out.
    Leaving,
    /// It is well.
    Healthy,
    /// It is not a Node yet, and may take until then, if there is a limit.
    Starting(Option<Timestamp>),
    /// Its cluster's API server does not answer; whether it was a Node before.
    Unseen { was_node: bool },
    /// Something is wrong, and counts from then on.
    Suspicious { cause: Cause, due: Timestamp },
    /// It is to be replaced; since when, if that is known.
    Unhealthy { cause: Cause, since: Option<Timestamp> },
    /// Somebody outside repairs it.
    Elsewhere,
}

impl Health {
    /// Whether it counts as healthy. A machine that can't be seen does not count as broken for that alone.
    pub(super) const fn is_well(&self) -> bool {
        matches!(self, Self::Healthy | Self::Unseen { was_node: true })
    }
}

/// What machines are measured by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measure<'a> {
    /// Bad conditions of Nodes.
    pub(super) node: &'a [UnhealthyCondition],
    /// Bad conditions of Machines.
    pub(super) machine: &'a [UnhealthyCondition],
    /// How long a machine may take to become a Node; nothing: for ever.
    pub(super) startup: Option<Duration>,
    /// Whether somebody outside repairs machines that are annotated for it.
    pub(super) elsewhere: bool,
}

/// Says how a machine is (`OpenShift`: `needsRemediation`).
pub(super) fn judge(w: &Watched, by: &Measure<'_>, now: Timestamp) -> Health {
    if w.leaving {
        return Health::Leaving;
    }
    let unhealthy = |cause| Health::Unhealthy { cause, since: None };
    let annotations = w.machine.annotations();
    if annotations.contains_key(labels::REMEDIATE_MACHINE) {
        return unhealthy(Cause::Asked);
    }
    let status = w.machine.status.as_ref();
    if status.is_some_and(|s| s.phase.as_deref() == Some(MachinePhase::Failed.as_str())) {
        let why = status.and_then(|s| s.failure_message.clone().or_else(|| s.failure_reason.clone()));
        return unhealthy(Cause::Failed(why.unwrap_or_default()));
    }
    let sent_away = annotations.contains_key(labels::EXTERNAL_REMEDIATION);
    if sent_away && by.elsewhere {
        return Health::Elsewhere;
    }
    match by_conditions(w, by, now) {
        Health::Healthy | Health::Unseen { .. } if sent_away => Health::Elsewhere,
        health => health,
    }
}

fn by_conditions(w: &Watched, by: &Measure<'_>, now: Timestamp) -> Health {
    let mut found = of_machine(&w.machine, by.machine);
    let mut otherwise = Health::Healthy;
    match &w.node {
        NodeView::Unseen { was_node } => otherwise = Health::Unseen { was_node: *was_node },
        NodeView::None => {
            let due = by.startup.map(|limit| clock(w).saturating_add_or_max(limit));
            if let (Some(due), Some(limit)) = (due, by.startup)
                && due <= now
            {
                found.push((Cause::NodeStartup(limit), due));
            }
            otherwise = Health::Starting(due);
        }
        NodeView::Missing(name) => {
            return Health::Unhealthy {
                cause: Cause::NodeGone(name.clone()),
                since: None,
            };
        }
        NodeView::Found(node) => found.extend(of_node(node, by.node)),
    }
    // The first of them to come due; of several at once the first in the list.
    let Some((cause, due)) = found.into_iter().reduce(|a, b| if b.1 < a.1 { b } else { a }) else {
        return otherwise;
    };
    match otherwise {
        _ if due <= now => Health::Unhealthy {
            cause,
            since: Some(due),
        },
        Health::Starting(Some(limit)) if limit <= due => Health::Starting(Some(limit)),
        _ => Health::Suspicious { cause, due },
    }
}

/// From when a machine's start counts: its creation, or its last step on the way to a Node, or when its API server began to answer. Not
/// `lastUpdated`, which moves with everything (Cluster API: `NodeStartupTimeout`).
fn clock(w: &Watched) -> Timestamp {
    let created = w
        .machine
        .creation_timestamp()
        .map_or(Timestamp::UNIX_EPOCH, |t| t.0);
    let steps = w
        .machine
        .status
        .iter()
        .flat_map(|s| &s.conditions)
        .filter(|c| c.status == "True")
        .filter(|c| {
            [conditions::BOOTSTRAP_READY, conditions::INFRASTRUCTURE_READY].contains(&c.type_.as_str())
        })
        .map(|c| c.last_transition_time.0);
    steps.chain(w.cluster_since).fold(created, Timestamp::max)
}

fn of_node(node: &Node, bad: &[UnhealthyCondition]) -> Vec<(Cause, Timestamp)> {
    let has = node.status.as_ref().and_then(|s| s.conditions.as_deref());
    let created = node.creation_timestamp().map(|t| t.0);
    let mut found = Vec::new();
    for condition in has.unwrap_or_default() {
        let began = condition.last_transition_time.as_ref().map(|t| t.0).or(created);
        for rule in bad.iter().filter(|r| is(r, &condition.type_, &condition.status)) {
            let due = began
                .unwrap_or(Timestamp::UNIX_EPOCH)
                .saturating_add_or_max(rule.timeout);
            let cause = Cause::Node(condition.type_.clone(), condition.status.clone(), rule.timeout);
            found.push((cause, due));
        }
    }
    found
}

fn of_machine(machine: &Machine, bad: &[UnhealthyCondition]) -> Vec<(Cause, Timestamp)> {
    if bad.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    // What is only not known because an API server does not answer makes no machine broken, nor does what health checks say themselves.
    let counts = |c: &&Condition| c.reason != "Unreachable" && c.type_ != conditions::HEALTH_CHECK_SUCCEEDED;
    for condition in machine.status.iter().flat_map(|s| &s.conditions).filter(counts) {
        for rule in bad.iter().filter(|r| is(r, &condition.type_, &condition.status)) {
            let due = condition
                .last_transition_time
                .0
                .saturating_add_or_max(rule.timeout);
            let cause = Cause::Machine(condition.type_.clone(), condition.status.clone(), rule.timeout);
            found.push((cause, due));
        }
    }
    found
}

fn is(rule: &UnhealthyCondition, type_: &str, status: &str) -> bool {
    rule.type_ == type_ && rule.status.eq_ignore_ascii_case(status)
}

/// Additions that end at the last moment there is.
pub(super) trait Later {
    /// The moment that is later by a duration.
    fn saturating_add_or_max(self, by: Duration) -> Timestamp;
}

impl Later for Timestamp {
    fn saturating_add_or_max(self, by: Duration) -> Timestamp {
        let span: SignedDuration = by.span();
        self.checked_add(span).unwrap_or(Self::MAX)
    }
}
