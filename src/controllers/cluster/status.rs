//! What a Cluster says about itself. Pure.

use serde_json::Value;

use super::observe::{Health, Observed};
use crate::{
    api::{
        conditions::{self, Status, condition},
        names::ClusterKeyPair,
        v1alpha1::{ApiServerKind, ClusterStatus},
    },
    time::Timestamp,
};

/// Returns the whole status.
pub(super) fn status(o: &Observed, now: Timestamp) -> Value {
    let mut status = o.cluster.status.clone().unwrap_or_default();
    let generation = o.cluster.metadata.generation;
    let own = o.cluster.spec.api_server == ApiServerKind::Own;
    let deleting = o.cluster.metadata.deletion_timestamp.is_some();
    status.observed_generation = generation;
    if !deleting {
        judge(o, own, &mut status, now);
    }
    let failure = o
        .control_plane
        .iter()
        .find_map(|c| c.machine.status.as_ref().and_then(|s| s.failure_message.clone()));
    let phase = if deleting {
        "Deleting"
    } else if status.control_plane_ready {
        "Provisioned"
    } else if failure.is_some() {
        "Failed"
    } else if own && o.control_plane.is_empty() {
        "Pending"
    } else {
        "Provisioning"
    };
    status.phase = Some(phase.to_owned());
    let (so, reason, message) = match phase {
        "Provisioned" => (Status::True, "Available", String::new()),
        "Deleting" => (
            Status::False,
            "Deleting",
            format!("{} machines are left", o.machines.len()),
        ),
        "Failed" => (Status::False, "ControlPlaneFailed", failure.unwrap_or_default()),
        "Pending" => (
            Status::False,
            "NoControlPlane",
            "waiting for a control-plane machine of this cluster".to_owned(),
        ),
        _ => (
            Status::False,
            "Provisioning",
            "waiting until the API server answers".to_owned(),
        ),
    };
    let ready = condition(conditions::READY, so, reason, message, generation, now);
    conditions::set(&mut status.conditions, ready);
    serde_json::to_value(status).unwrap_or_default()
}

fn judge(o: &Observed, own: bool, status: &mut ClusterStatus, now: Timestamp) {
    let generation = o.cluster.metadata.generation;
    let mut set = |type_: &str, so: Status, reason: &str, message: &str| {
        let new = condition(type_, so, reason, message, generation, now);
        conditions::set(&mut status.conditions, new);
    };
    // Those that are missing are written by the same plan.
    let certificates = !own
        || ClusterKeyPair::ALL
            .iter()
            .all(|p| o.keys.contains_key(p) || o.fresh_keys.contains_key(p));
    if own {
        set(
            conditions::CERTIFICATES_AVAILABLE,
            certificates.into(),
            if certificates { "Generated" } else { "Missing" },
            "",
        );
    }
    let (so, reason, message) = match &o.health {
        Health::Ready(_) => (Status::True, "Answers", ""),
        Health::NotReady(message) => (Status::False, "DoesNotAnswer", message.as_str()),
        Health::Unknown => (Status::Unknown, "NotCreated", "there is no API server yet"),
    };
    set(conditions::API_SERVER_AVAILABLE, so, reason, message);
    status.control_plane_ready = matches!(o.health, Health::Ready(_));
    status.infrastructure_ready = certificates && (!own || o.cluster.spec.control_plane_endpoint.is_some());
    if let Health::Ready(version) = &o.health {
        status.version = Some(version.clone());
    }
}
