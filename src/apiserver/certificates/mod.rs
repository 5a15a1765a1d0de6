//! Certificate requests: those of kubelets for their own client certificates are approved, and what is approved is signed, as
//! kube-controller-manager does (`pkg/controller/certificates`). Each is looked at when it was written. It must not poll.

mod certificate;
mod der;
mod request;
mod rules;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

pub(crate) use self::request::Request;
use super::Server;
use super::auth::UserInfo;
use super::furnish;
use super::handlers::SIGNING_REQUESTS;
use super::request::RequestInfo;
use super::store::{Change, Expect, Stored, WriteError};
use crate::time::{Timestamp, rfc3339};

/// Signs what clients show to the server; those of kubelets have a signer of their own.
pub(crate) const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
pub(crate) const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
pub(crate) const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
const GROUP: &str = "certificates.k8s.io";

/// What the server makes of a certificate request.
enum Step {
    /// A condition is added, by the subresource of that name.
    Condition(&'static str, Value),
    /// The certificate, in PEM form.
    Certificate(String),
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["spec"][field].as_str().unwrap_or_default()
}

fn has(object: &Value, condition: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|c| c["type"] == condition && matches!(c["status"].as_str(), None | Some("" | "True")))
}

fn condition(kind: &str, reason: &str, message: &str, now: Timestamp) -> Value {
    json!({
        "type": kind, "status": "True", "reason": reason, "message": message,
        "lastUpdateTime": rfc3339(now), "lastTransitionTime": rfc3339(now),
    })
}

/// Fills in when the conditions that somebody wrote changed, where he does not say it.
pub(crate) fn fill_times(new: &mut Value, old: &Value, now: Timestamp) {
    let before = old["status"]["conditions"].as_array();
    let conditions = new["status"]["conditions"].as_array_mut();
    for condition in conditions.into_iter().flatten().filter(|c| c.is_object()) {
        let is_open = |condition: &Value, field: &str| condition[field].as_str().is_none_or(str::is_empty);
        if is_open(condition, "lastUpdateTime") {
            condition["lastUpdateTime"] = rfc3339(now).into();
        }
        if is_open(condition, "lastTransitionTime") {
            let same = before.into_iter().flatten().find(|c| {
                c["type"] == condition["type"]
                    && c["status"] == condition["status"]
                    && !is_open(c, "lastTransitionTime")
            });
            let since = same.map(|c| c["lastTransitionTime"].clone());
            condition["lastTransitionTime"] = since.unwrap_or_else(|| rfc3339(now).into());
        }
    }
}

/// Returns who has made a request.
fn requester(object: &Value) -> UserInfo {
    let groups = object["spec"]["groups"].as_array().into_iter().flatten();
    UserInfo {
        name: text(object, "username").to_owned(),
        uid: text(object, "uid").to_owned(),
        groups: groups.filter_map(Value::as_str).map(str::to_owned).collect(),
        ..UserInfo::anonymous()
    }
}

impl Server {
    /// Looks at a certificate request that was written.
    pub(super) fn after_signing_request(&self, stored: &Arc<Stored>) {
        if &*stored.key.resource != SIGNING_REQUESTS {
            return;
        }
        let (server, name) = (self.clone(), stored.key.name.clone());
        tokio::spawn(async move { server.see_to_request(&name).await });
    }

    /// Looks at all of them, when a state is opened.
    pub(super) fn see_to_requests(&self) {
        for stored in self.store().list(SIGNING_REQUESTS, None).1 {
            self.after_signing_request(&stored);
        }
    }

    async fn see_to_request(&self, name: &str) {
        let Some(info) = self.registry().find_stored(SIGNING_REQUESTS) else {
            return;
        };
        while let Some(stored) = self.store().get(SIGNING_REQUESTS, "", name) {
            let live = stored.value(&info.api_version(), &info.kind);
            let now = self.now();
            let mut new = live.clone();
            let subresource = match self.next_step(&live, now) {
                None => return,
                Some(Step::Certificate(pem)) => {
                    new["status"]["certificate"] = BASE64.encode(pem).into();
                    "status"
                }
                Some(Step::Condition(subresource, condition)) => {
                    match new["status"]["conditions"].as_array_mut() {
                        Some(conditions) => conditions.push(condition),
                        None => new["status"]["conditions"] = json!([condition]),
                    }
                    subresource
                }
            };
            furnish::track(&info, Some(&live), &mut new, subresource, now);
            let expect = Expect::Version(stored.version);
            let written = self
                .store()
                .write(stored.key.clone(), expect, Change::Put(new))
                .await;
            // What has been approved is signed next.
            if !matches!(written, Ok(_) | Err(WriteError::Conflict)) {
                return;
            }
        }
    }

    fn next_step(&self, object: &Value, now: Timestamp) -> Option<Step> {
        let is_signed = object["status"]["certificate"]
            .as_str()
            .is_some_and(|c| !c.is_empty());
        if is_signed || has(object, "Denied") || has(object, "Failed") {
            return None;
        }
        let request = Request::read(text(object, "request")).ok()?;
        if has(object, "Approved") {
            return self.sign(object, &request, now);
        }
        let message = self.approval(object, &request)?;
        let approved = condition("Approved", "AutoApproved", message, now);
        Some(Step::Condition("approval", approved))
    }

    /// Says why a request is approved without anybody being asked, if it is.
    fn approval(&self, object: &Value, request: &Request) -> Option<&'static str> {
        let is_of_kubelet = text(object, "signerName") == KUBELET_CLIENT
            && rules::check_kubelet_client(request, &rules::usages(object)).is_ok();
        if !is_of_kubelet {
            return None;
        }
        let user = requester(object);
        let may = |subresource: &str| {
            let what = RequestInfo {
                is_resource: true,
                verb: "create".to_owned(),
                group: GROUP.to_owned(),
                resource: "certificatesigningrequests".to_owned(),
                subresource: subresource.to_owned(),
                ..RequestInfo::default()
            };
            self.decide(&user, &what).allowed
        };
        if user.name == request.common_name && may("selfnodeclient") {
            return Some("Auto approving self kubelet client certificate after SubjectAccessReview.");
        }
        may("nodeclient").then_some("Auto approving kubelet client certificate after SubjectAccessReview.")
    }

    /// Signs an approved request, or says why it can't be.
    fn sign(&self, object: &Value, request: &Request, now: Timestamp) -> Option<Step> {
        let usages = rules::usages(object);
        let outcome = match text(object, "signerName") {
            CLIENT => rules::check_client(&usages),
            KUBELET_CLIENT => rules::check_kubelet_client(request, &usages),
            KUBELET_SERVING => rules::check_kubelet_serving(request, &usages),
            _ => return None,
        };
        if let Err(why) = outcome {
            let failed = condition("Failed", "SignerValidationFailure", &why, now);
            return Some(Step::Condition("status", failed));
        }
        let authority = self.0.authority.as_ref()?;
        let seconds = object["spec"]["expirationSeconds"].as_i64();
        match certificate::issue(authority, request, &usages, seconds, now) {
            Ok(pem) => Some(Step::Certificate(pem)),
            Err(why) => {
                tracing::warn!(%why, "a certificate request was not signed");
                None
            }
        }
    }
}
