//! What a Machine says about itself. Pure.

use k8s_openapi::{
    api::core::v1::{Node, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use kube::ResourceExt;
use serde_json::Value;

use super::{
    hooks,
    observe::{InfrastructureView, Observed},
    plan::has_node,
};
use crate::{
    api::{
        conditions::{self, Status, condition},
        v1alpha1::{MachineAddress, MachinePhase, MachineStatus},
    },
    time::Timestamp,
};

/// How bootstrap data stands.
#[derive(Debug, Default)]
pub(super) enum Bootstrap {
    /// None is needed.
    #[default]
    NotNeeded,
    /// It is there.
    Ready,
    /// It is made by the same plan; these fields have no counterpart.
    Made(Vec<String>),
    /// Something is missing: reason and message.
    Waiting(&'static str, String),
    /// The Config can't be used.
    Invalid(String),
}

/// What a plan found out.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Whether the infrastructure is ready; nothing if the machine has none.
    pub(super) infrastructure_ready: Option<bool>,
    /// Why it is not: reason and message.
    pub(super) infrastructure: Option<(&'static str, String)>,
    /// Addresses, if they are known.
    pub(super) addresses: Option<Vec<MachineAddress>>,
    /// Reason and message of a failure.
    pub(super) failure: Option<(String, String)>,
    /// Bootstrap data.
    pub(super) bootstrap: Bootstrap,
    /// Whether the plan changes the Machine's spec: the status is then about what the spec will be.
    pub(super) changes_spec: bool,
}

/// Returns the whole status.
pub(super) fn status(o: &Observed, facts: &Facts, now: Timestamp) -> Value {
    let mut s = o.machine.status.clone().unwrap_or_default();
    let generation = generation(o, facts.changes_spec);
    s.observed_generation = generation;
    s.infrastructure_ready = facts.infrastructure_ready == Some(true);
    s.bootstrap_ready = matches!(
        facts.bootstrap,
        Bootstrap::NotNeeded | Bootstrap::Ready | Bootstrap::Made(_)
    );
    if let Some(addresses) = &facts.addresses {
        s.addresses.clone_from(addresses);
    }
    let failure = facts.failure.clone().or_else(|| match &facts.bootstrap {
        Bootstrap::Invalid(message) => Some(("InvalidConfiguration".to_owned(), message.clone())),
        _ => None,
    });
    (s.failure_reason, s.failure_message) = failure.unzip();
    if s.failure_reason.is_none()
        && let Some(node) = &o.node
    {
        // A Node that was made anew under its name has another UID.
        if s.node_ref.as_ref().is_none_or(|r| r.uid != node.uid()) {
            s.node_ref = Some(node_reference(node));
        }
        s.version = Some(version(node));
    }
    s.phase = Some(phase(o, &s, facts).as_str().to_owned());
    let list = judge(o, &s, facts, now);
    finish(s, list, now)
}

/// Puts conditions into a status, and Ready as their sum.
pub(super) fn finish(mut s: MachineStatus, list: Vec<Condition>, now: Timestamp) -> Value {
    let generation = s.observed_generation;
    let trouble = list
        .iter()
        .find(|c| c.status != "True" && !conditions::ASIDE.contains(&c.type_.as_str()));
    let ready = match trouble {
        None => condition(conditions::READY, Status::True, "Ready", "", generation, now),
        Some(c) => condition(
            conditions::READY,
            Status::False,
            &c.reason,
            c.message.clone(),
            generation,
            now,
        ),
    };
    for new in list {
        conditions::set(&mut s.conditions, new);
    }
    conditions::set(&mut s.conditions, ready);
    s.last_updated = Some(Time(Timestamp::from_second(now.as_second()).unwrap_or(now)));
    serde_json::to_value(s).unwrap_or_default()
}

/// The generation that a status is about.
fn generation(o: &Observed, changes_spec: bool) -> Option<i64> {
    let present = o.machine.metadata.generation;
    present.map(|g| g + i64::from(changes_spec))
}

fn phase(o: &Observed, s: &MachineStatus, facts: &Facts) -> MachinePhase {
    let exists = s.infrastructure_ready
        || (facts.infrastructure_ready.is_none()
            && matches!(o.infrastructure, InfrastructureView::NotNamed)
            && o.machine.spec.provider_id.is_some());
    if s.failure_reason.is_some() {
        MachinePhase::Failed
    } else if s.node_ref.is_some() {
        MachinePhase::Running
    } else if exists {
        MachinePhase::Provisioned
    } else if s.bootstrap_ready && matches!(o.infrastructure, InfrastructureView::Found(_)) {
        MachinePhase::Provisioning
    } else {
        MachinePhase::Pending
    }
}

fn judge(o: &Observed, s: &MachineStatus, facts: &Facts, now: Timestamp) -> Vec<Condition> {
    let generation = s.observed_generation;
    let make = |type_: &str, so: Status, reason: &str, message: &str| {
        condition(type_, so, reason, message, generation, now)
    };
    let mut list = Vec::new();
    list.push(match &facts.bootstrap {
        Bootstrap::NotNeeded => make(conditions::BOOTSTRAP_READY, Status::True, "NotNeeded", ""),
        Bootstrap::Ready | Bootstrap::Made(_) => {
            make(conditions::BOOTSTRAP_READY, Status::True, "Available", "")
        }
        Bootstrap::Waiting(reason, message) => {
            make(conditions::BOOTSTRAP_READY, Status::False, reason, message)
        }
        Bootstrap::Invalid(message) => make(
            conditions::BOOTSTRAP_READY,
            Status::False,
            "InvalidConfiguration",
            message,
        ),
    });
    if let Bootstrap::Made(untranslated) = &facts.bootstrap {
        list.push(if untranslated.is_empty() {
            make(conditions::CONFIG_TRANSLATED, Status::True, "Complete", "")
        } else {
            let message = format!("no counterpart on this image: {}", untranslated.join(", "));
            make(
                conditions::CONFIG_TRANSLATED,
                Status::False,
                "Untranslated",
                &message,
            )
        });
    }
    list.push(
        match (&facts.failure, &facts.infrastructure, facts.infrastructure_ready) {
            (Some((reason, message)), ..) => {
                make(conditions::INFRASTRUCTURE_READY, Status::False, reason, message)
            }
            (_, Some((reason, message)), _) => {
                make(conditions::INFRASTRUCTURE_READY, Status::False, reason, message)
            }
            (_, None, Some(true)) => make(conditions::INFRASTRUCTURE_READY, Status::True, "Ready", ""),
            (_, None, Some(false)) => make(conditions::INFRASTRUCTURE_READY, Status::False, "Deleting", ""),
            (_, None, None) => make(conditions::INFRASTRUCTURE_READY, Status::True, "NotNamed", ""),
        },
    );
    list.extend(hooks::conditions(&o.machine, generation, now));
    list.push(node_health(o, s, now));
    list
}

/// What is known of the Node's health.
pub(super) fn node_health(o: &Observed, s: &MachineStatus, now: Timestamp) -> Condition {
    let generation = s.observed_generation;
    let make = |so: Status, reason: &str, message: &str| {
        condition(conditions::NODE_HEALTHY, so, reason, message, generation, now)
    };
    if let Some(conflict) = &o.conflict {
        return make(Status::Unknown, conflict.reason, &conflict.message);
    }
    match &o.node {
        Some(_) if !o.reachable => make(
            Status::Unknown,
            "Unreachable",
            "the cluster's API server does not answer",
        ),
        Some(node) => match ready_of(node) {
            Some((status, _)) if status == "True" => make(Status::True, "NodeReady", ""),
            Some((status, message)) if status == "False" => make(Status::False, "NodeNotReady", &message),
            _ => make(
                Status::Unknown,
                "NodeUnknown",
                "the Node says nothing about itself",
            ),
        },
        None if has_node(o) || s.node_ref.is_some() => {
            if o.reachable {
                make(Status::False, "NodeNotFound", "the Node is gone")
            } else {
                make(
                    Status::Unknown,
                    "Unreachable",
                    "the cluster's API server does not answer",
                )
            }
        }
        None => make(
            Status::False,
            "WaitingForNode",
            "no Node bears the machine's provider id yet",
        ),
    }
}

/// Status and message of a Node's Ready condition.
pub(super) fn ready_of(node: &Node) -> Option<(String, String)> {
    let list = node.status.as_ref()?.conditions.as_ref()?;
    let ready = list.iter().find(|c| c.type_ == "Ready")?;
    Some((ready.status.clone(), ready.message.clone().unwrap_or_default()))
}

fn node_reference(node: &Node) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(node.name_any()),
        uid: node.uid(),
        ..ObjectReference::default()
    }
}

/// The kubelet's version without a leading v; `0.0.0` for what is no version.
fn version(node: &Node) -> String {
    let text = node
        .status
        .as_ref()
        .and_then(|s| s.node_info.as_ref())
        .map(|i| i.kubelet_version.trim_start_matches('v').to_owned())
        .unwrap_or_default();
    match semver::Version::parse(&text) {
        Ok(_) => text,
        Err(_) => "0.0.0".to_owned(),
    }
}
