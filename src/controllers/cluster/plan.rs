//! What to do about a Cluster. Pure.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kube::ResourceExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    kubeconfig,
    observe::{Health, Observed},
    status,
};
use crate::{
    api::{
        MACHINE_GROUP, VERSION, labels,
        names::{self, ClusterKeyPair},
        v1alpha1::{ApiEndpoint, ApiServerKind, Machine},
    },
    controllers::effect::{Effect, Notice, ObjectKey, Plan, Requeue, Target, object},
    time::{SignedDuration, Timestamp, rfc3339},
};

/// Annotation on a kubeconfig Secret: when it is to be made anew.
pub(crate) const RENEW_AFTER: &str = "machine.crit.sh/renew-after";
/// Its certificate lives for a year.
const RENEW: SignedDuration = SignedDuration::from_hours(24 * 300);
/// How often an API server that comes up is asked.
const LOOK: SignedDuration = SignedDuration::from_millis(500);
/// How often an API server that was up and does not answer is asked.
const LOOK_LOST: SignedDuration = SignedDuration::from_secs(5);

/// A control-plane machine and what its infrastructure says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ControlPlane {
    /// The Machine.
    pub(crate) machine: Arc<Machine>,
    /// Identity of the host.
    pub(crate) provider_id: Option<String>,
    /// Where this host reaches the API server.
    pub(crate) api_endpoint: Option<ApiEndpoint>,
}

/// Says what to do.
pub(crate) fn plan(o: &Observed, now: Timestamp) -> Plan {
    if o.cluster.metadata.deletion_timestamp.is_some() {
        return remove(o, now);
    }
    let mut plan = Plan::nothing();
    if !has_finalizer(o) {
        plan.effects.push(Effect::AddFinalizer(labels::CLUSTER_FINALIZER));
    }
    if o.cluster.spec.api_server == ApiServerKind::Own {
        for (pair, key) in &o.fresh_keys {
            let data = json!({ "tls.crt": STANDARD.encode(&key.cert_pem), "tls.key": STANDARD.encode(key.key_pem.expose()) });
            plan.effects.push(Effect::Create {
                target: Target::Management,
                object: object(secret(o, &pair.secret(&o.cluster.name_any()), &data, None)),
            });
        }
        if let (None, Some(endpoint)) = (&o.cluster.spec.control_plane_endpoint, endpoint(o)) {
            plan.effects.push(Effect::Patch {
                target: Target::Management,
                key: ObjectKey::to(&*o.cluster),
                patch: json!({ "spec": { "controlPlaneEndpoint": endpoint } }),
                optional: false,
            });
        }
        if let Some(fresh) = &o.fresh_kubeconfig {
            let data = json!({ "value": STANDARD.encode(fresh.expose()) });
            let name = names::kubeconfig_secret(&o.cluster.name_any());
            plan.effects.push(Effect::Apply {
                target: Target::Management,
                object: object(secret(o, &name, &data, Some(now + RENEW))),
            });
        }
    }
    let was_ready = o.cluster.status.as_ref().is_some_and(|s| s.control_plane_ready);
    match &o.health {
        Health::Ready(_) if !was_ready && o.cluster.spec.api_server == ApiServerKind::Own => {
            let notice = Notice::normal("APIServerAvailable", "the API server answers");
            plan.effects.push(Effect::Emit(notice));
        }
        Health::NotReady(message) if was_ready => {
            plan.effects
                .push(Effect::Emit(Notice::warning("APIServerUnavailable", message)));
            plan.requeue = Requeue::After(LOOK_LOST);
        }
        Health::NotReady(_) => plan.requeue = Requeue::After(pace(o, now)),
        // The Secret that was just written is read in the next look, which its own event brings about.
        Health::Ready(_) | Health::Unknown => {}
    }
    plan.status = Some(status::status(o, now));
    plan
}

/// How long to wait for an API server that comes up: longer when it has been coming up for long.
fn pace(o: &Observed, now: Timestamp) -> SignedDuration {
    let age = o
        .cluster
        .creation_timestamp()
        .map_or(SignedDuration::ZERO, |created| now.duration_since(created.0));
    if age > SignedDuration::from_mins(30) {
        LOOK_LOST
    } else {
        LOOK
    }
}

fn remove(o: &Observed, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    if !has_finalizer(o) {
        return plan;
    }
    // What makes machines goes first, or there would always be new ones.
    plan.effects
        .extend(o.groups.iter().map(|(key, uid)| Effect::Delete {
            target: Target::Management,
            key: key.clone(),
            uid: uid.clone(),
        }));
    let still_there = o
        .machines
        .iter()
        .filter(|m| m.metadata.deletion_timestamp.is_none());
    plan.effects.extend(still_there.map(|machine| Effect::Delete {
        target: Target::Management,
        key: ObjectKey::to(&**machine),
        uid: machine.uid(),
    }));
    if is_over(o) {
        plan.effects
            .push(Effect::RemoveFinalizer(labels::CLUSTER_FINALIZER));
    } else {
        plan.status = Some(status::status(o, now));
    }
    plan
}

/// Whether nothing of a Cluster that is being deleted is left.
pub(super) fn is_over(o: &Observed) -> bool {
    o.cluster.metadata.deletion_timestamp.is_some() && o.machines.is_empty() && o.groups.is_empty()
}

fn has_finalizer(o: &Observed) -> bool {
    o.cluster
        .finalizers()
        .iter()
        .any(|f| f == labels::CLUSTER_FINALIZER)
}

/// Puts the control-plane machines of a cluster into an order: the one that founds it first.
///
/// That is the one with the cluster's name, else the oldest. Machines that are being deleted found nothing.
pub(crate) fn control_plane_order(cluster: &str, machines: &[Arc<Machine>]) -> Vec<Arc<Machine>> {
    let mut all: Vec<_> = machines
        .iter()
        .filter(|m| m.is_control_plane() && m.metadata.deletion_timestamp.is_none())
        .cloned()
        .collect();
    all.sort_by_key(|m| {
        (
            m.name_any() != cluster,
            m.creation_timestamp().map(|t| t.0),
            m.name_any(),
        )
    });
    all
}

/// Where machines reach the API server, as far as it follows from the founder.
fn endpoint(o: &Observed) -> Option<ApiEndpoint> {
    let founder = o.control_plane.first()?;
    let port = o
        .cluster
        .spec
        .cluster_network
        .as_ref()
        .and_then(|n| n.api_server_port)
        .unwrap_or(6443);
    let container = founder
        .provider_id
        .as_deref()
        .and_then(|id| id.strip_prefix("docker://"));
    let address = founder
        .machine
        .status
        .as_ref()
        .and_then(|s| {
            s.addresses
                .iter()
                .find(|a| a.type_ == "InternalIP" || a.type_ == "ExternalIP")
        })
        .map(|a| a.address.as_str());
    container.or(address).map(|host| ApiEndpoint {
        host: host.to_owned(),
        port,
    })
}

/// The URL under which this host reaches the API server.
pub(super) fn server(o: &Observed) -> Option<String> {
    let published = o.control_plane.iter().find_map(|c| c.api_endpoint.as_ref());
    // Containers publish a port; other machines are reached as their nodes reach them.
    let containers = o.control_plane.iter().any(|c| {
        c.provider_id
            .as_ref()
            .is_some_and(|id| id.starts_with("docker://"))
    });
    published
        .or(o
            .cluster
            .spec
            .control_plane_endpoint
            .as_ref()
            .filter(|_| !containers && !o.control_plane.is_empty()))
        .map(|endpoint| format!("https://{endpoint}"))
}

/// Whether the kubeconfig has to be made, or made anew.
pub(super) fn kubeconfig_is_due(o: &Observed, now: Timestamp) -> bool {
    let (Some(server), Some(ca)) = (server(o), o.keys.get(&ClusterKeyPair::Ca)) else {
        return false;
    };
    match &o.kubeconfig {
        None => true,
        // Somebody else made it and answers for it.
        Some(existing) => existing.renew_after.is_some_and(|renew| {
            renew < now || !kubeconfig::fits(existing.value.expose(), &server, &ca.cert_pem)
        }),
    }
}

/// A digest of a text.
pub(super) fn digest(text: &str) -> String {
    let bytes = Sha256::digest(text.as_bytes());
    bytes
        .iter()
        .take(16)
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn secret(o: &Observed, name: &str, data: &Value, renew_after: Option<Timestamp>) -> Value {
    let cluster = &o.cluster;
    let mut annotations = json!({});
    if let Some(renew_after) = renew_after {
        annotations = json!({ RENEW_AFTER: rfc3339(renew_after) });
    }
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": cluster.namespace(),
            "labels": { labels::CLUSTER_NAME: cluster.name_any() },
            "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": format!("{MACHINE_GROUP}/{VERSION}"),
                "kind": "Cluster",
                "name": cluster.name_any(),
                "uid": cluster.uid().unwrap_or_default(),
            }],
        },
        "type": "Opaque",
        "data": data,
    })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
