//! Whether a certificate request is approved. Pure.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use k8s_openapi::{
    api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::ResourceExt as _;

use super::request::{self, Asked};
use crate::{
    api::v1alpha1::Machine,
    controllers::effect::{Effect, Notice, Plan, Requeue, Target},
    time::{SignedDuration, Timestamp},
};

/// Who signs the serving certificates of kubelets.
pub(super) const SIGNER: &str = "kubernetes.io/kubelet-serving";
/// User names of kubelets begin so.
const KUBELET: &str = "system:node:";
/// Group of all kubelets, and organization in what they ask for.
const NODES: &str = "system:nodes";
const AUTHENTICATED: &str = "system:authenticated";
/// What a serving certificate is for.
const SERVER: &str = "server auth";
const USAGES: [&str; 3] = ["digital signature", "key encipherment", SERVER];
/// What waits is looked at after this time first, then after twice as long each time.
const LOOK: SignedDuration = SignedDuration::from_secs(5);
const LONGEST_LOOK: SignedDuration = SignedDuration::from_mins(10);
/// What has waited so long is looked at no more. Controller managers delete it then.
const FORGOTTEN: SignedDuration = SignedDuration::from_hours(24);

/// The Machine that became a Node.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Found {
    /// None says that it did.
    None,
    /// This one.
    One(Arc<Machine>),
    /// So many say that they did.
    Several(usize),
}

/// All that a decision about a request is made from.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    /// The cluster of the request.
    pub(super) target: Target,
    /// The request.
    pub(super) request: Arc<CertificateSigningRequest>,
    /// Whether the Node exists.
    pub(super) has_node: bool,
    /// Its Machine.
    pub(super) machine: Found,
    /// Whether the Machine is left alone.
    pub(super) is_paused: bool,
    /// Whether who asks may ask, as the API server says; nothing if it has not been asked.
    pub(super) review: Option<bool>,
    /// Whether people were told that it is not approved.
    pub(super) is_told: bool,
}

/// What a request deserves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is none of a kubelet, or decided already.
    NotOurs,
    /// Something is not there yet that may come.
    Early(&'static str),
    /// It does not pass this check: name and explanation.
    Bad(&'static str, String),
    /// It passes all checks, and the API server has not been asked yet whether who asks may ask.
    Unreviewed,
    /// It passes all checks.
    Good,
}

/// Says what to do.
pub(super) fn plan(o: &Observed, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    let name = o.request.name_any();
    match judge(o) {
        Verdict::NotOurs => {}
        Verdict::Early(missing) => {
            tracing::debug!(request = %name, %missing, "a certificate request waits");
            plan.requeue = look_again(&o.request, now);
        }
        Verdict::Bad(check, why) => {
            if !o.is_told && matches!(o.machine, Found::One(_)) {
                let message =
                    format!("CertificateSigningRequest {name} is not approved, check {check} failed: {why}");
                let notice = Notice::warning("CertificateNotApproved", message);
                plan.effects.push(Effect::Emit(notice));
            }
            // Addresses and rights may change, and a Machine come that can be told of it.
            plan.requeue = look_again(&o.request, now);
        }
        Verdict::Unreviewed => plan.requeue = Requeue::After(LOOK),
        Verdict::Good => {
            plan.effects.push(Effect::Approve {
                target: o.target.clone(),
                request: Box::new(approved(&o.request, now)),
            });
            let message = format!("CertificateSigningRequest {name} is approved");
            plan.effects
                .push(Effect::Emit(Notice::normal("CertificateApproved", message)));
        }
    }
    plan
}

/// Says what a request deserves (machine-api: CSR approver; but what can't be read is never approved there or here).
pub(super) fn judge(o: &Observed) -> Verdict {
    let spec = &o.request.spec;
    let Some(node) = node_name(&o.request).filter(|_| spec.signer_name == SIGNER && !is_decided(&o.request))
    else {
        return Verdict::NotOurs;
    };
    let asked = match check_request(&o.request, node) {
        Ok(asked) => asked,
        Err((check, why)) => return Verdict::Bad(check, why),
    };
    if !o.has_node {
        return Verdict::Early("the Node");
    }
    let machine = match &o.machine {
        Found::None => return Verdict::Early("a Machine that became the Node"),
        Found::Several(_) => return Verdict::Early("a decision which of several Machines became the Node"),
        Found::One(machine) => machine,
    };
    let status = machine.status.clone().unwrap_or_default();
    if o.is_paused {
        return Verdict::Early("the end of the Machine's pause");
    }
    if !status.infrastructure_ready || machine.metadata.deletion_timestamp.is_some() {
        return Verdict::Early("the Machine's infrastructure");
    }
    let addresses = status.addresses.iter().map(|a| a.address.as_str());
    if let Err(why) = check_names(&asked, &addresses.chain([node]).collect()) {
        return Verdict::Bad("SubjectAltNames", why);
    }
    match o.review {
        None => Verdict::Unreviewed,
        Some(true) => Verdict::Good,
        Some(false) => Verdict::Bad(
            "SubjectAccessReview",
            format!("{KUBELET}{node} may not create certificatesigningrequests"),
        ),
    }
}

/// The name of the Node whose kubelet made a request; nothing if a kubelet did not. It may be empty.
pub(super) fn node_name(request: &CertificateSigningRequest) -> Option<&str> {
    request.spec.username.as_deref()?.strip_prefix(KUBELET)
}

fn is_decided(request: &CertificateSigningRequest) -> bool {
    let conditions = request.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.is_some_and(|list| {
        list.iter()
            .any(|c| matches!(c.type_.as_str(), "Approved" | "Denied" | "Failed"))
    })
}

/// Checks what needs nothing but the request: who asks, and that this is what is asked for.
fn check_request(request: &CertificateSigningRequest, node: &str) -> Result<Asked, (&'static str, String)> {
    let spec = &request.spec;
    if node.is_empty() {
        return Err(("UserName", format!("{KUBELET} is followed by no name")));
    }
    let groups = spec.groups.as_deref().unwrap_or_default();
    if let Some(missing) = [NODES, AUTHENTICATED]
        .iter()
        .find(|g| !groups.iter().any(|have| have == *g))
    {
        return Err(("Groups", format!("who asks is not in the group {missing}")));
    }
    let asked = request::read(&spec.request.0).map_err(|why| ("Request", why))?;
    let user = format!("{KUBELET}{node}");
    if asked.common_names != [user.as_str()] {
        let have = asked.common_names.join(", ");
        return Err(("CommonName", format!("it is for \"{have}\", not for {user}")));
    }
    if asked.organizations != [NODES] {
        let have = asked.organizations.join(", ");
        return Err(("Organization", format!("it is for \"{have}\", not for {NODES}")));
    }
    let usages = spec.usages.as_deref().unwrap_or_default();
    if let Some(other) = usages.iter().find(|u| !USAGES.contains(&u.as_str())) {
        return Err(("Usages", format!("a serving certificate is not for \"{other}\"")));
    }
    if !usages.iter().any(|u| u == SERVER) {
        return Err(("Usages", format!("\"{SERVER}\" is not among its usages")));
    }
    Ok(asked)
}

/// Checks that all names are the Node's or the Machine's.
fn check_names(asked: &Asked, own: &BTreeSet<&str>) -> Result<(), String> {
    if let Some(other) = asked.others.first() {
        return Err(format!("{other} is neither a DNS name nor an IP address"));
    }
    if asked.dns.is_empty() && asked.ips.is_empty() {
        return Err("there are none".to_owned());
    }
    let all = || own.iter().copied().collect::<Vec<_>>().join(", ");
    if let Some(name) = asked.dns.iter().find(|name| !own.contains(name.as_str())) {
        return Err(format!("{name} is none of the Machine's: {}", all()));
    }
    let ips: BTreeSet<IpAddr> = own
        .iter()
        .filter_map(|a| a.parse::<IpAddr>().ok())
        .map(|ip| ip.to_canonical())
        .collect();
    match asked.ips.iter().find(|ip| !ips.contains(ip)) {
        Some(ip) => Err(format!("{ip} is none of the Machine's: {}", all())),
        None => Ok(()),
    }
}

/// The older a request is, the longer it can wait.
fn look_again(request: &CertificateSigningRequest, now: Timestamp) -> Requeue {
    let made = request.creation_timestamp().map_or(now, |t| t.0);
    let age = now.duration_since(made);
    if age >= FORGOTTEN {
        return Requeue::OnChange;
    }
    Requeue::After(age.clamp(LOOK, LONGEST_LOOK))
}

fn approved(request: &CertificateSigningRequest, now: Timestamp) -> CertificateSigningRequest {
    let mut request = request.clone();
    let now = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    let conditions = request
        .status
        .get_or_insert_default()
        .conditions
        .get_or_insert_default();
    conditions.push(CertificateSigningRequestCondition {
        type_: "Approved".to_owned(),
        status: "True".to_owned(),
        reason: Some("AutoApproved".to_owned()),
        message: Some("approved by machine-api controller".to_owned()),
        last_update_time: Some(now.clone()),
        last_transition_time: Some(now),
    });
    request
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
