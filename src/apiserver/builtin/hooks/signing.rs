//! Rules of `CertificateSigningRequest`: who approves does not sign, and who signs does not approve.

use std::cmp::Ordering;
use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use x509_parser::pem::Pem;

use super::super::super::certificates::Request;
use super::super::super::schema::{FieldError, go_quote};
use super::super::BuiltinHooks;

const CONDITIONS: &str = "status.conditions";
const CERTIFICATE: &str = "status.certificate";
/// What only the subresource `approval` writes.
const DECISIONS: [&str; 2] = ["Approved", "Denied"];
/// What stays, and is true, once it is there.
const FINAL: [&str; 3] = ["Approved", "Denied", "Failed"];

pub(in super::super) struct SigningRequest;

impl BuiltinHooks for SigningRequest {
    fn set_defaults(&self, object: &mut Value) {
        if let Some(spec) = object.get_mut("spec")
            && spec.get("usages").is_none_or(Value::is_null)
        {
            spec["usages"] = json!(["digital signature", "key encipherment"]);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({});
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        new["spec"] = old["spec"].clone();
    }

    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        for decision in DECISIONS {
            keep_conditions(new, old, decision);
        }
    }

    fn prepare_approval_update(&self, new: &mut Value, old: &Value) {
        let conditions = new["status"]["conditions"].take();
        new["status"] = old["status"].clone();
        new["status"]["conditions"] = conditions;
    }

    fn validate_status(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = condition_errors(new, old);
        errors.extend(DECISIONS.into_iter().filter_map(|decision| {
            let (before, after) = (conditions(old, decision), conditions(new, decision));
            let what = match after.len().cmp(&before.len()) {
                Ordering::Less => return None,
                Ordering::Greater => "add",
                Ordering::Equal if after == before => return None,
                Ordering::Equal => "modify",
            };
            let why = format!(
                "updates may not {what} a condition of type {}",
                go_quote(decision)
            );
            Some(FieldError::forbidden(CONDITIONS, why))
        }));
        errors.extend(certificate_error(new, old));
        errors
    }

    fn status_reset(&self) -> &'static [&'static str] {
        &["conditions"]
    }

    fn validate_approval(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        condition_errors(new, old)
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let (spec, text) = (&new["spec"], |field: &str| {
            new["spec"][field].as_str().unwrap_or_default()
        });
        for field in ["request", "signerName"] {
            if text(field).is_empty() {
                errors.push(FieldError::required(format!("spec.{field}"), ""));
            }
        }
        // What is there already may be older than these rules.
        if old.is_some() || !errors.is_empty() {
            return errors;
        }
        if let Err(why) = Request::read(text("request")) {
            errors.push(FieldError::invalid("spec.request", text("request"), why));
        }
        if text("signerName") == "kubernetes.io/legacy-unknown" {
            let why = "the legacy signerName is not allowed via this API version";
            errors.push(FieldError::invalid("spec.signerName", text("signerName"), why));
        }
        if let Some(seconds) = spec["expirationSeconds"].as_i64().filter(|s| *s < 600) {
            let why = "may not specify a duration less than 600 seconds (10 minutes)";
            errors.push(FieldError::invalid("spec.expirationSeconds", seconds, why));
        }
        errors
    }
}

fn all_conditions(object: &Value) -> impl Iterator<Item = &Value> {
    object["status"]["conditions"].as_array().into_iter().flatten()
}

fn conditions<'a>(object: &'a Value, kind: &str) -> Vec<&'a Value> {
    all_conditions(object).filter(|c| c["type"] == kind).collect()
}

/// Takes over the conditions of a sort as they were. If some were added or removed, that is refused later.
fn keep_conditions(new: &mut Value, old: &Value, kind: &str) {
    let before = conditions(old, kind);
    if before.len() != conditions(new, kind).len() {
        return;
    }
    let all = new["status"]["conditions"].as_array_mut().into_iter().flatten();
    for (condition, before) in all.filter(|c| c["type"] == kind).zip(before) {
        *condition = before.clone();
    }
}

/// Says what is wrong with the conditions. What was wrong before may stay so.
fn condition_errors(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let undecided = DECISIONS
        .iter()
        .any(|decision| conditions(old, decision).is_empty());
    let (mut seen, mut decided) = (HashSet::new(), "");
    let types = |object| all_conditions(object).map(|c| c["type"].as_str().unwrap_or_default());
    let mut old_types: Vec<&str> = types(old).collect();
    old_types.sort_unstable();
    let old_repeats = old_types.windows(2).any(|pair| pair[0] == pair[1]);
    for (at, condition) in all_conditions(new).enumerate() {
        let text = |field: &str| condition[field].as_str().unwrap_or_default();
        let (kind, field) = (text("type"), |name: &str| format!("{CONDITIONS}[{at}].{name}"));
        if kind.is_empty() && old_types.first() != Some(&"") {
            errors.push(FieldError::required(field("type"), ""));
        }
        errors.extend(status_error(field("status"), kind, text("status")));
        if DECISIONS.contains(&kind) {
            if undecided && !decided.is_empty() && decided != kind {
                let why = "Approved and Denied conditions are mutually exclusive";
                errors.push(FieldError::invalid(CONDITIONS, kind, why));
            }
            decided = kind;
        }
        if !seen.insert(kind) && !old_repeats {
            errors.push(FieldError::duplicate(field("type"), kind));
        }
    }
    let lost = FINAL
        .iter()
        .filter(|kind| conditions(new, kind).len() < conditions(old, kind).len());
    errors.extend(lost.map(|kind| {
        let why = format!("updates may not remove a condition of type {}", go_quote(kind));
        FieldError::forbidden(CONDITIONS, why)
    }));
    errors
}

fn status_error(field: String, kind: &str, status: &str) -> Option<FieldError> {
    let allowed: &[&str] = if FINAL.contains(&kind) {
        &["True"]
    } else {
        &["False", "True", "Unknown"]
    };
    if status.is_empty() {
        return Some(FieldError::required(field, ""));
    }
    let texts = || allowed.iter().map(|&text| text.to_owned()).collect();
    (!allowed.contains(&status)).then(|| FieldError::not_supported(field, status, texts()))
}

/// Says what is wrong with a certificate that is being written.
fn certificate_error(new: &Value, old: &Value) -> Option<FieldError> {
    let text = |object: &Value| {
        object["status"]["certificate"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let (new, old) = (text(new), text(old));
    if new == old {
        return None;
    }
    if !old.is_empty() {
        let why = "updates may not modify existing certificate content";
        return Some(FieldError::forbidden(CERTIFICATE, why));
    }
    let invalid = |why| FieldError::invalid(CERTIFICATE, "<certificate data>", why);
    check_certificate(&BASE64.decode(new).unwrap_or_default())
        .err()
        .map(invalid)
}

fn check_certificate(pem: &[u8]) -> Result<(), String> {
    let blocks: Vec<Pem> = Pem::iter_from_buffer(pem).map_while(Result::ok).collect();
    if blocks.is_empty() {
        return Err("must contain at least one CERTIFICATE PEM block".to_owned());
    }
    for block in blocks {
        if block.label != "CERTIFICATE" {
            let label = go_quote(&block.label);
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {label}"));
        }
        block.parse_x509().map_err(|error| error.to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(conditions: &Value) -> Value {
        json!({"status": {"conditions": conditions, "certificate": "old"}})
    }

    fn told(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_approval_changes_nothing_but_conditions() {
        let approved = json!([{"type": "Approved", "status": "True"}]);
        let (old, mut new) = (request(&json!([])), request(&approved));
        new["status"]["certificate"] = json!("new");
        SigningRequest.prepare_approval_update(&mut new, &old);
        assert_eq!(new, request(&approved));
        assert!(SigningRequest.validate_approval(&new, &old).is_empty());
        let both =
            request(&json!([{"type": "Approved", "status": "True"}, {"type": "Denied", "status": "True"}]));
        let why = "status.conditions: Invalid value: \"Denied\": Approved and Denied conditions are mutually exclusive";
        assert_eq!(told(&SigningRequest.validate_approval(&both, &old)), [why]);
        let why = "status.conditions: Forbidden: updates may not remove a condition of type \"Approved\"";
        assert_eq!(told(&SigningRequest.validate_approval(&old, &new)), [why]);
    }

    #[test]
    fn many_conditions_are_not_compared_with_each_other() {
        let one = |n: usize| json!({"type": n.to_string(), "status": "True"});
        let many = |range: std::ops::Range<usize>| request(&range.map(one).collect());
        let began = std::time::Instant::now();
        assert!(condition_errors(&many(0..100_000), &many(0..1)).is_empty());
        assert!(began.elapsed().as_secs() < 5);
        let twice = request(&json!([one(1), one(2), one(1)]));
        let why = "status.conditions[2].type: Duplicate value: \"1\"";
        assert_eq!(told(&condition_errors(&twice, &many(0..1))), [why]);
    }

    #[test]
    fn a_status_approves_nothing() {
        let approved = request(&json!([{"type": "Approved", "status": "True", "reason": "a"}]));
        let open = request(&json!([]));
        let why = "status.conditions: Forbidden: updates may not add a condition of type \"Approved\"";
        assert_eq!(told(&SigningRequest.validate_status(&approved, &open)), [why]);
        let mut changed = request(&json!([{"type": "Approved", "status": "True", "reason": "b"}]));
        SigningRequest.prepare_status_update(&mut changed, &approved);
        assert_eq!(changed, approved);
        let mut signed = approved.clone();
        signed["status"]["certificate"] = json!(BASE64.encode("no PEM"));
        let why = "status.certificate: Forbidden: updates may not modify existing certificate content";
        assert_eq!(told(&SigningRequest.validate_status(&signed, &approved)), [why]);
    }
}
