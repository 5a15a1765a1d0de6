//! Answers to the kinds that only ask: who am I, may I do this, whose token is this. Nothing is stored.
//! There are no rights to give: whoever is known may do everything (see `auth`).

use serde_json::{Value, json};

use super::auth::{Tokens, UserInfo};
use super::schema::FieldError;

const ANONYMOUS: &str = "system:anonymous";

/// Answers a review of this kind. `object` has been decoded; `user` is who asks; `tokens` are those the server knows.
///
/// # Errors
/// What is wrong with the question.
pub fn answer(
    kind: &str,
    object: &Value,
    user: &UserInfo,
    tokens: &Tokens,
) -> Result<Value, Vec<FieldError>> {
    let mut answer = object.clone();
    let spec = object.get("spec").cloned().unwrap_or_else(|| json!({}));
    answer["status"] = match kind {
        "SelfSubjectAccessReview" => {
            refuse(check_attributes(&spec))?;
            json!({"allowed": true})
        }
        "SubjectAccessReview" | "LocalSubjectAccessReview" => {
            let mut errors = check_attributes(&spec);
            let (name, groups) = (
                spec["user"].as_str().unwrap_or_default(),
                spec["groups"].as_array(),
            );
            if name.is_empty() && groups.is_none_or(Vec::is_empty) {
                errors.push(FieldError::invalid(
                    "spec.user",
                    name,
                    "at least one of user or group must be specified",
                ));
            }
            if kind == "LocalSubjectAccessReview" {
                errors.extend(check_namespace(object, &spec));
            }
            refuse(errors)?;
            json!({"allowed": name != ANONYMOUS})
        }
        "SelfSubjectRulesReview" => json!({
            "incomplete": false,
            "nonResourceRules": [{"nonResourceURLs": ["*"], "verbs": ["*"]}],
            "resourceRules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}],
        }),
        "TokenReview" => {
            let token = spec["token"].as_str().unwrap_or_default();
            if token.is_empty() {
                return Err(vec![FieldError::required("spec.token", "")]);
            }
            match tokens.authenticate(token) {
                Some(owner) => json!({"authenticated": true, "user": shown(&owner)}),
                None => json!({"user": {}, "error": "invalid bearer token"}),
            }
        }
        _ => json!({"userInfo": shown(user)}),
    };
    Ok(answer)
}

fn refuse(errors: Vec<FieldError>) -> Result<(), Vec<FieldError>> {
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn shown(user: &UserInfo) -> Value {
    let mut shown = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        shown["uid"] = user.uid.clone().into();
    }
    shown
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

    fn ask(kind: &str, spec: &Value) -> Result<Value, Vec<FieldError>> {
        let mut tokens = Tokens::default();
        tokens.insert("t0ken", UserInfo::new("joe", "", Vec::new()));
        answer(
            kind,
            &json!({"metadata": {}, "spec": spec}),
            &UserInfo::admin(),
            &tokens,
        )
    }

    #[test]
    fn the_administrator_may_do_all_and_is_told_who_he_is() {
        let review = ask(
            "SelfSubjectAccessReview",
            &json!({"resourceAttributes": {"verb": "get"}}),
        )
        .expect("answer");
        assert_eq!(review["status"], json!({"allowed": true}));
        let review = ask("SelfSubjectReview", &json!({})).expect("answer");
        assert_eq!(
            review["status"]["userInfo"],
            json!({"username": "kubernetes-admin", "groups": ["system:masters", "system:authenticated"]})
        );
    }

    #[test]
    fn a_question_about_nothing_is_refused() {
        let errors = ask("SelfSubjectAccessReview", &json!({})).expect_err("refused");
        assert_eq!(
            errors[0].to_string(),
            "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"
        );
    }

    #[test]
    fn tokens_are_told_apart() {
        assert_eq!(
            ask("TokenReview", &json!({"token": "t0ken"})).expect("answer")["status"]["user"]["username"],
            "joe"
        );
        let unknown = ask("TokenReview", &json!({"token": "x"})).expect("answer");
        assert!(unknown["status"].get("authenticated").is_none());
        assert!(ask("TokenReview", &json!({})).is_err());
    }
}
