//! Who approves and signs certificate requests: besides the right to change them, that is a right to their signer. As
//! kube-apiserver's admission plugins `CertificateApproval` and `CertificateSigning` decide.

use serde_json::Value;

use super::super::auth::ADMIN_GROUP;
use super::super::certificates;
use super::super::handlers::{Call, SIGNING_REQUESTS};
use super::super::object::meta;
use super::super::request::RequestInfo;
use super::super::schema::go_quote;
use super::super::status::ApiError;

/// Checks a write of a certificate request's approval or status; other writes pass.
///
/// # Errors
/// Who writes may not approve, or sign, requests for that signer.
pub(crate) fn check(call: &Call, new: &Value, old: &Value) -> Result<(), ApiError> {
    if call.info.storage_group_resource != SIGNING_REQUESTS {
        return Ok(());
    }
    let verb = match call.path.subresource.as_str() {
        "approval" => "approve",
        // Who only writes something else into the status signs nothing.
        "status" if signs(new, old) => "sign",
        _ => return Ok(()),
    };
    let signer = old["spec"]["signerName"].as_str().unwrap_or_default();
    let domain = signer.split_once('/').map_or(signer, |(domain, _)| domain);
    if may(call, verb, signer) || may(call, verb, &format!("{domain}/*")) {
        return Ok(());
    }
    let why = format!(
        "user not permitted to {verb} requests with signerName {}",
        go_quote(signer)
    );
    Err(ApiError::forbidden(&call.info, &call.path.name, &why))
}

/// Nobody asks for a certificate that would make him an administrator (kube-apiserver: `CertificateSubjectRestriction`).
///
/// # Errors
/// A new request asks for one, or can't be read.
pub(crate) fn check_subject(call: &Call, new: &Value) -> Result<(), ApiError> {
    if call.info.storage_group_resource != SIGNING_REQUESTS
        || new["spec"]["signerName"] != certificates::CLIENT
    {
        return Ok(());
    }
    let refuse = |why: String| Err(ApiError::forbidden(&call.info, meta::name(new), &why));
    match certificates::Request::read(new["spec"]["request"].as_str().unwrap_or_default()) {
        Err(why) => refuse(format!("failed to parse CSR: {why}")),
        Ok(request) if request.organizations.iter().any(|group| group == ADMIN_GROUP) => refuse(format!(
            "use of {} signer with {ADMIN_GROUP} group is not allowed",
            certificates::CLIENT
        )),
        Ok(_) => Ok(()),
    }
}

fn signs(new: &Value, old: &Value) -> bool {
    let differs = |field: &str| new["status"].get(field) != old["status"].get(field);
    differs("certificate") || differs("conditions")
}

fn may(call: &Call, verb: &str, signer: &str) -> bool {
    let what = RequestInfo {
        is_resource: true,
        verb: verb.to_owned(),
        group: "certificates.k8s.io".to_owned(),
        resource: "signers".to_owned(),
        name: signer.to_owned(),
        ..RequestInfo::default()
    };
    call.server.decide(&call.user, &what).allowed
}
