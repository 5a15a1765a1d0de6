//! Answers to the kinds that only ask: who am I, may I do this, whose token is this. Nothing is stored.
//! Who may do what, `authorize` decides.

use serde_json::{Value, json};

use super::Server;
use super::auth::{Tokens, UserInfo};
use super::authorize::bindings::problems_text;
use super::authorize::nodes;
use super::authorize::rule::Rule;
use super::identity;
use super::request::{RequestInfo, equal_fields};
use super::schema::FieldError;
use super::status::ApiError;

/// Who answers, and whom.
pub(crate) struct Asked<'a> {
    pub(crate) server: &'a Server,
    /// Who asks.
    pub(crate) user: &'a UserInfo,
    /// The tokens that the listener knows.
    pub(crate) tokens: &'a Tokens,
}

/// Answers a review of this kind in an API group. `object` has been decoded.
///
/// # Errors
/// What is wrong with the question.
pub(crate) fn answer(asked: &Asked<'_>, group: &str, kind: &str, object: &Value) -> Result<Value, ApiError> {
    // Reviews are checked in a form that has no kind.
    let refuse = |errors: Vec<FieldError>| match errors.as_slice() {
        [] => Ok(()),
        errors => Err(ApiError::invalid_kind(group, "", "", errors)),
    };
    let mut answer = object.clone();
    let spec = object.get("spec").cloned().unwrap_or_else(|| json!({}));
    answer["status"] = match kind {
        "SelfSubjectAccessReview" => {
            refuse(check_attributes(&spec))?;
            decided(asked, asked.user, &spec)
        }
        "SubjectAccessReview" | "LocalSubjectAccessReview" => {
            let mut errors = check_attributes(&spec);
            errors.extend(check_subject(&spec));
            if kind == "LocalSubjectAccessReview" {
                errors.extend(check_namespace(object, &spec));
            }
            refuse(errors)?;
            decided(asked, &subject(&spec), &spec)
        }
        "SelfSubjectRulesReview" => {
            let namespace = spec["namespace"].as_str().unwrap_or_default();
            if namespace.is_empty() {
                return Err(ApiError::bad_request("no namespace on request"));
            }
            // Nothing of the question is given back.
            answer["spec"] = json!({});
            answer["metadata"] = json!({});
            rules(asked, namespace)
        }
        "TokenReview" => {
            let token = spec["token"].as_str().unwrap_or_default();
            if token.is_empty() {
                refuse(vec![FieldError::required("spec.token", "")])?;
            }
            owner(asked, token, &spec)
        }
        _ => json!({"userInfo": shown(asked.user)}),
    };
    Ok(answer)
}

/// Says whose token it is, for one of the audiences that a question names.
fn owner(asked: &Asked<'_>, token: &str, spec: &Value) -> Value {
    let named = spec["audiences"].as_array().into_iter().flatten();
    let mut audiences: Vec<String> = named.filter_map(Value::as_str).map(str::to_owned).collect();
    if audiences.is_empty() {
        audiences = identity::own_audiences();
    }
    match asked.server.who_shows(asked.tokens, token, &audiences) {
        Ok(owner) => json!({"authenticated": true, "user": shown(&owner.user), "audiences": owner.audiences}),
        Err(why) => json!({"user": {}, "error": why}),
    }
}

/// Says whether a user may do what a question is about.
fn decided(asked: &Asked<'_>, user: &UserInfo, spec: &Value) -> Value {
    let decision = asked.server.decide(user, &attributes(spec));
    let mut status = json!({"allowed": decision.allowed});
    if !decision.reason.is_empty() {
        status["reason"] = decision.reason.into();
    }
    status
}

/// Returns what a question is about.
fn attributes(spec: &Value) -> RequestInfo {
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let resource = &spec["resourceAttributes"];
    if resource.is_null() {
        let other = &spec["nonResourceAttributes"];
        return RequestInfo {
            path: text(other, "path"),
            verb: text(other, "verb"),
            ..RequestInfo::default()
        };
    }
    RequestInfo {
        is_resource: true,
        verb: text(resource, "verb"),
        group: text(resource, "group"),
        version: text(resource, "version"),
        namespace: text(resource, "namespace"),
        resource: text(resource, "resource"),
        subresource: text(resource, "subresource"),
        name: text(resource, "name"),
        selected: selected_fields(&resource["fieldSelector"]),
        ..RequestInfo::default()
    }
}

/// Returns which fields a question wants to be equal to something.
fn selected_fields(selector: &Value) -> Vec<(String, String)> {
    if let Some(text) = selector["rawSelector"].as_str().filter(|text| !text.is_empty()) {
        return equal_fields(text);
    }
    let requirements = selector["requirements"].as_array().into_iter().flatten();
    let equal = requirements.filter_map(|requirement| match requirement["values"].as_array()?.as_slice() {
        [value] if requirement["operator"] == "In" => Some((
            requirement["key"].as_str()?.to_owned(),
            value.as_str()?.to_owned(),
        )),
        _ => None,
    });
    equal.collect()
}

/// Returns whom a question is about: in no groups but those that it names.
fn subject(spec: &Value) -> UserInfo {
    let groups = spec["groups"].as_array().into_iter().flatten();
    UserInfo {
        name: spec["user"].as_str().unwrap_or_default().to_owned(),
        groups: groups.filter_map(Value::as_str).map(str::to_owned).collect(),
        ..UserInfo::anonymous()
    }
}

/// Returns all that who asks may do in a namespace.
fn rules(asked: &Asked<'_>, namespace: &str) -> Value {
    let bindings = asked.server.bindings();
    let (rules, missing) = bindings.rules_of(asked.user, namespace);
    let (paths, resources): (Vec<_>, Vec<_>) = rules.iter().partition(|rule| rule.resources.is_empty());
    let values = |rules: Vec<&Rule>| -> Value { rules.into_iter().map(Rule::to_value).collect() };
    let mut status = json!({
        "incomplete": false, "nonResourceRules": values(paths), "resourceRules": values(resources),
    });
    let mut problems = problems_text(&missing, "");
    if nodes::name_of(asked.user).is_some() {
        // Their rights follow from pods, too.
        status["incomplete"] = true.into();
        let why = "node authorizer does not support user rule resolution";
        problems = if problems.is_empty() {
            why.to_owned()
        } else {
            format!("[{why}, {problems}]")
        };
    }
    if !problems.is_empty() {
        status["evaluationError"] = problems.into();
    }
    status
}

fn shown(user: &UserInfo) -> Value {
    let mut shown = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        shown["uid"] = user.uid.clone().into();
    }
    if !user.extra.is_empty() {
        shown["extra"] = json!(user.extra);
    }
    shown
}

fn check_subject(spec: &Value) -> Option<FieldError> {
    let name = spec["user"].as_str().unwrap_or_default();
    let nobody = name.is_empty() && spec["groups"].as_array().is_none_or(Vec::is_empty);
    nobody.then(|| {
        let why = "at least one of user or group must be specified";
        FieldError::invalid("spec.user", name, why)
    })
}

/// A question is about a resource or about another path, not both.
fn check_attributes(spec: &Value) -> Vec<FieldError> {
    let (resource, other) = (spec.get("resourceAttributes"), spec.get("nonResourceAttributes"));
    match (resource.filter(|a| !a.is_null()), other.filter(|a| !a.is_null())) {
        (None, None) => vec![FieldError::invalid(
            "spec.resourceAttributes",
            Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )],
        (Some(_), Some(other)) => vec![FieldError::invalid(
            "spec.nonResourceAttributes",
            other.clone(),
            "cannot be specified in combination with resourceAttributes",
        )],
        _ => Vec::new(),
    }
}

fn check_namespace(object: &Value, spec: &Value) -> Option<FieldError> {
    let own = object
        .pointer("/metadata/namespace")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let asked = spec
        .pointer("/resourceAttributes/namespace")
        .and_then(Value::as_str)
        .unwrap_or_default();
    (own != asked).then(|| {
        FieldError::invalid(
            "spec.resourceAttributes.namespace",
            asked,
            "must match metadata.namespace",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::time::SystemClock;
    use std::sync::Arc;

    fn ask(user: &UserInfo, kind: &str, spec: &Value) -> Result<Value, ApiError> {
        let server = Server::in_memory(Arc::new(SystemClock));
        let mut tokens = Tokens::default();
        tokens.insert("t0ken", UserInfo::new("joe", "", Vec::new()));
        let asked = Asked {
            server: &server,
            user,
            tokens: &tokens,
        };
        let group = "authorization.k8s.io";
        answer(&asked, group, kind, &json!({"metadata": {}, "spec": spec}))
    }

    #[test]
    fn the_administrator_may_do_all_and_is_told_who_he_is() {
        let question = json!({"resourceAttributes": {"verb": "get"}});
        let review = ask(&UserInfo::admin(), "SelfSubjectAccessReview", &question).expect("answer");
        assert_eq!(review["status"], json!({"allowed": true}));
        let review = ask(&UserInfo::admin(), "SelfSubjectReview", &json!({})).expect("answer");
        assert_eq!(
            review["status"]["userInfo"],
            json!({"username": "kubernetes-admin", "groups": ["system:masters", "system:authenticated"]})
        );
    }

    #[test]
    fn others_may_do_what_they_are_bound_to() {
        let joe = UserInfo::new("joe", "", Vec::new());
        let question = json!({"resourceAttributes": {"verb": "get", "resource": "pods"}});
        let review = ask(&joe, "SelfSubjectAccessReview", &question).expect("answer");
        assert_eq!(review["status"], json!({"allowed": false}));
        let rules = ask(&joe, "SelfSubjectRulesReview", &json!({"namespace": "default"})).expect("answer");
        assert_eq!(
            rules["status"]["resourceRules"][0]["apiGroups"],
            json!(["authorization.k8s.io"])
        );
        let none = ask(&joe, "SelfSubjectRulesReview", &json!({})).expect_err("refused");
        assert_eq!((none.code(), none.message()), (400, "no namespace on request"));
    }

    #[test]
    fn a_question_about_nothing_is_refused() {
        let error = ask(&UserInfo::admin(), "SelfSubjectAccessReview", &json!({})).expect_err("refused");
        let why = "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified";
        assert!(error.message().ends_with(why), "{}", error.message());
    }

    #[test]
    fn tokens_are_told_apart() {
        let admin = UserInfo::admin();
        let known = ask(&admin, "TokenReview", &json!({"token": "t0ken"})).expect("answer");
        assert_eq!(known["status"]["user"]["username"], "joe");
        let unknown = ask(&admin, "TokenReview", &json!({"token": "x"})).expect("answer");
        assert!(unknown["status"].get("authenticated").is_none());
        assert!(ask(&admin, "TokenReview", &json!({})).is_err());
    }
}
