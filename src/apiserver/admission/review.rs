//! Reviews: what webhooks are asked, and whether what they answer is an answer. It must not decide what follows.

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::super::builtin::ResourceInfo;
use super::super::status::ApiError;
use super::{Attributes, Gvk};

/// What a webhook says.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) allowed: bool,
    /// A status that says why not.
    result: Value,
    pub(super) warnings: Vec<String>,
    /// A JSON patch, in bytes; empty if there is none.
    pub(super) patch: Vec<u8>,
    pub(super) patch_type: String,
}

/// Returns the request of a review but for the objects. `info` is the version in which the webhook is asked.
pub(super) fn request(attributes: &Attributes<'_>, info: &ResourceInfo, uid: &str) -> Map<String, Value> {
    let resource =
        |info: &ResourceInfo| json!({"group": info.group, "version": info.version, "resource": info.plural});
    let (user, own) = (&attributes.call.user, attributes.info);
    let mut who = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        who["uid"] = user.uid.clone().into();
    }
    if !user.extra.is_empty() {
        who["extra"] = json!(user.extra);
    }
    let mut request = json!({
        "uid": uid,
        "kind": kind_in(attributes, info).to_value(),
        "resource": resource(info),
        "requestKind": attributes.kind.to_value(),
        "requestResource": resource(own),
        "operation": attributes.operation.name(),
        "userInfo": who,
        "dryRun": attributes.dry_run,
        "options": attributes.options,
    });
    let texts = [
        ("name", attributes.name.as_str()),
        ("namespace", &attributes.namespace),
        ("subResource", attributes.subresource),
        ("requestSubResource", attributes.subresource),
    ];
    for (field, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        request[field] = text.into();
    }
    match request {
        Value::Object(request) => request,
        _ => Map::new(),
    }
}

/// The kind of what is written, as it is in another version of the resource.
pub(super) fn kind_in(attributes: &Attributes<'_>, info: &ResourceInfo) -> Gvk {
    let own = attributes.info;
    let is_object = attributes.kind.group == own.group && attributes.kind.kind == own.kind;
    if is_object {
        Gvk {
            group: info.group.clone(),
            version: info.version.clone(),
            kind: info.kind.clone(),
        }
    } else {
        attributes.kind.clone()
    }
}

/// Reads the answer to a review.
///
/// # Errors
/// Why it is none, in the words of kube-apiserver.
pub(super) fn read(mut answer: Value, review: &str, uid: &str, mutating: bool) -> Result<Verdict, String> {
    let strict = review == "v1";
    if !answer.is_object() {
        return Err("webhook response was absent".to_owned());
    }
    if strict && (answer["apiVersion"] != "admission.k8s.io/v1" || answer["kind"] != "AdmissionReview") {
        let text = |field: &str| answer[field].as_str().unwrap_or_default().to_owned();
        return Err(format!(
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {}, Kind={}",
            text("apiVersion"),
            text("kind")
        ));
    }
    let Some(response) = answer.get_mut("response").filter(|r| r.is_object()) else {
        return Err("webhook response was absent".to_owned());
    };
    let result = response.get_mut("status").map(Value::take).unwrap_or_default();
    if !matches!(result, Value::Object(_) | Value::Null) {
        return Err("response.status must be an object".to_owned());
    }
    let found = response["uid"].as_str().unwrap_or_default();
    if strict && found != uid {
        return Err(format!("expected response.uid={uid:?}, got {found:?}"));
    }
    let patch = match response.get("patch").and_then(Value::as_str) {
        Some(text) => base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(|e| format!("illegal base64 data: {e}"))?,
        None => Vec::new(),
    };
    let patch_type = response
        .get("patchType")
        .and_then(Value::as_str)
        .map(str::to_owned);
    if strict {
        check_patch(&patch, patch_type.as_deref(), mutating)?;
    }
    let warnings = response["warnings"].as_array().into_iter().flatten();
    Ok(Verdict {
        allowed: response["allowed"] == true,
        warnings: warnings.filter_map(Value::as_str).map(str::to_owned).collect(),
        patch: if mutating { patch } else { Vec::new() },
        patch_type: match patch_type {
            Some(given) if strict => given,
            _ => "JSONPatch".to_owned(),
        },
        result,
    })
}

fn check_patch(patch: &[u8], patch_type: Option<&str>, mutating: bool) -> Result<(), String> {
    let why = match (mutating, patch.is_empty(), patch_type) {
        (true, false, None) => "webhook returned response.patch but not response.patchType",
        (true, true, Some(_)) => "webhook returned response.patchType but not response.patch",
        (true, _, Some("")) => "webhook returned invalid response.patchType of \"\"",
        (false, false, _) => "validating webhook may not return response.patch",
        (false, _, Some(_)) => "validating webhook may not return response.patchType",
        _ => return Ok(()),
    };
    Err(why.to_owned())
}

impl Verdict {
    /// What the client is told when the webhook called `name` refuses.
    pub(super) fn refusal(mut self, name: &str) -> ApiError {
        let text = |field: &str| self.result[field].as_str().unwrap_or_default().to_owned();
        let (message, reason) = (text("message"), text("reason"));
        let code = self.result["code"].as_u64().and_then(|c| u16::try_from(c).ok());
        // A refusal is none if it says that all is well.
        let code = code.filter(|c| (400..600).contains(c)).unwrap_or(400);
        let denied = format!("admission webhook {name:?} denied the request");
        let message = match (message.as_str(), reason.as_str()) {
            ("", "") => format!("{denied} without explanation"),
            ("", reason) => format!("{denied}: {reason}"),
            (message, _) => format!("{denied}: {message}"),
        };
        let details = self.result.get_mut("details").map(Value::take);
        let details = details.filter(Value::is_object);
        ApiError::refused(
            code,
            reason,
            message,
            details.filter(|d| *d != Value::Object(Map::new())),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(response: &Value) -> Value {
        let mut response = response.clone();
        response["uid"] = "u".into();
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    }

    fn refusal(result: &Value) -> (u16, String) {
        let verdict = read(
            answer(&json!({"allowed": false, "status": result})),
            "v1",
            "u",
            false,
        );
        let error = verdict.unwrap().refusal("w");
        (error.code(), error.message().to_owned())
    }

    #[test]
    fn refusals_read_as_the_real_servers() {
        let denied = "admission webhook \"w\" denied the request";
        assert_eq!(
            refusal(&Value::Null),
            (400, format!("{denied} without explanation"))
        );
        assert_eq!(
            refusal(&json!({"message": "no", "code": 422})),
            (422, format!("{denied}: no"))
        );
        assert_eq!(
            refusal(&json!({"reason": "Gone", "code": 200})),
            (400, format!("{denied}: Gone"))
        );
        assert_eq!(
            refusal(&json!({"message": "no", "details": "none"})),
            (400, format!("{denied}: no"))
        );
    }

    #[test]
    fn an_answer_must_be_to_the_question() {
        let said = |value: Value, mutating| read(value, "v1", "u", mutating).unwrap_err();
        assert_eq!(
            said(json!({}), true),
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got , Kind="
        );
        let mut other = answer(&json!({}));
        other["response"]["uid"] = "x".into();
        assert_eq!(said(other, true), "expected response.uid=\"u\", got \"x\"");
        let patch = json!({"allowed": true, "patch": "W10="});
        assert_eq!(
            said(answer(&patch), true),
            "webhook returned response.patch but not response.patchType"
        );
        assert_eq!(
            said(answer(&patch), false),
            "validating webhook may not return response.patch"
        );
        for nothing in [json!(null), json!("yes"), json!([]), json!(true)] {
            let mut absent = answer(&json!({}));
            absent["response"] = nothing.clone();
            assert_eq!(said(absent, true), "webhook response was absent");
            assert_eq!(said(nothing.clone(), true), "webhook response was absent");
            assert_eq!(
                read(nothing, "v1beta1", "u", true).unwrap_err(),
                "webhook response was absent"
            );
        }
        for status in [json!("no"), json!([1]), json!(5), json!(false)] {
            let refused = answer(&json!({"allowed": false, "status": status}));
            assert_eq!(said(refused, false), "response.status must be an object");
        }
    }
}
