//! Rules of the kinds that say who is asked about writes: webhooks and policies. What is asked, and when, is in `admission`.

use serde_json::{Value, json};

use super::super::super::callout;
use super::super::super::cel::{OF_A_WRITE, Program};
use super::super::super::schema::FieldError;
use super::super::BuiltinHooks;
use super::super::meta::subdomain_problems;
use super::plain::default;
use super::selector;

/// Mutating and validating webhook configurations.
pub(in super::super) struct Webhooks;
pub(in super::super) struct Policy;
pub(in super::super) struct PolicyBinding;

/// Conditions of one webhook or policy.
const CONDITIONS: i64 = 64;
const REVIEWS: [&str; 2] = ["v1", "v1beta1"];

fn list_mut<'a>(object: &'a mut Value, pointer: &str) -> impl Iterator<Item = &'a mut Value> {
    let list = object.pointer_mut(pointer).and_then(Value::as_array_mut);
    list.into_iter().flatten()
}

fn list<'a>(object: &'a Value, field: &str) -> &'a [Value] {
    object[field].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

impl BuiltinHooks for Webhooks {
    fn set_defaults(&self, object: &mut Value) {
        let is_mutating = object["kind"] == "MutatingWebhookConfiguration";
        for webhook in list_mut(object, "/webhooks") {
            default(webhook, "failurePolicy", "Fail");
            default(webhook, "matchPolicy", "Equivalent");
            default(webhook, "namespaceSelector", json!({}));
            default(webhook, "objectSelector", json!({}));
            default(webhook, "timeoutSeconds", 10);
            if is_mutating {
                default(webhook, "reinvocationPolicy", "Never");
            }
            list_mut(webhook, "/rules").for_each(|rule| default(rule, "scope", "*"));
            if let Some(service) = webhook.pointer_mut("/clientConfig/service") {
                default(service, "port", 443);
            }
        }
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut names = Vec::new();
        for (i, webhook) in list(new, "webhooks").iter().enumerate() {
            let path = format!("webhooks[{i}]");
            // What was there before is not judged by rules that came later.
            let before = old.and_then(|old| list(old, "webhooks").get(i));
            errors.extend(check_webhook(webhook, before, &path));
            let name = text(webhook, "name");
            if names.contains(&name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), name));
            }
            names.push(name);
        }
        errors
    }
}

fn check_webhook(webhook: &Value, before: Option<&Value>, path: &str) -> Vec<FieldError> {
    let mut errors = check_name(text(webhook, "name"), &format!("{path}.name"));
    for (j, rule) in list(webhook, "rules").iter().enumerate() {
        errors.extend(check_rule(rule, &format!("{path}.rules[{j}]")));
    }
    let mut one_of = |field: &str, known: &[&str]| {
        let given = text(webhook, field);
        if !given.is_empty() && !known.contains(&given) {
            errors.push(unsupported(format!("{path}.{field}"), given, known));
        }
    };
    one_of("failurePolicy", &["Fail", "Ignore"]);
    one_of("matchPolicy", &["Equivalent", "Exact"]);
    one_of("reinvocationPolicy", &["IfNeeded", "Never"]);
    one_of("sideEffects", &["None", "NoneOnDryRun"]);
    if text(webhook, "sideEffects").is_empty() {
        errors.push(FieldError::required(
            format!("{path}.sideEffects"),
            "must specify one of None, NoneOnDryRun",
        ));
    }
    errors.extend(check_reviews(webhook, path));
    if let Some(seconds) = webhook["timeoutSeconds"].as_i64()
        && !(1..=30).contains(&seconds)
    {
        errors.push(FieldError::invalid(
            format!("{path}.timeoutSeconds"),
            seconds,
            "the timeout value must be between 1 and 30 seconds",
        ));
    }
    errors.extend(check_selectors(webhook, before, path));
    let config = &webhook["clientConfig"];
    let at = format!("{path}.clientConfig");
    errors.extend(callout::check(config, &at));
    if before.is_none_or(|b| b["clientConfig"]["caBundle"] != config["caBundle"]) {
        errors.extend(callout::check_bundle(config, &at));
    }
    if before.is_none_or(|b| b["matchConditions"] != webhook["matchConditions"]) {
        errors.extend(check_conditions(
            webhook,
            &format!("{path}.matchConditions"),
            &OF_A_WRITE[..3],
        ));
    }
    errors
}

/// Checks the selectors that were not there before.
fn check_selectors(object: &Value, before: Option<&Value>, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for field in ["namespaceSelector", "objectSelector"] {
        if before.is_none_or(|before| before[field] != object[field]) {
            errors.extend(selector::check(&object[field], &format!("{path}.{field}")));
        }
    }
    errors
}

fn unsupported(path: String, given: &str, known: &[&str]) -> FieldError {
    FieldError::not_supported(path, given, known.iter().map(|&k| k.to_owned()).collect())
}

fn check_name(name: &str, path: &str) -> Vec<FieldError> {
    if name.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let problems = subdomain_problems(name);
    if problems.is_empty() && name.split('.').count() < 3 {
        let why = "should be a domain with at least three segments separated by dots";
        return vec![FieldError::invalid(path, name, why)];
    }
    let problems = problems.into_iter();
    problems.map(|why| FieldError::invalid(path, name, why)).collect()
}

fn check_reviews(webhook: &Value, path: &str) -> Option<FieldError> {
    let given = list(webhook, "admissionReviewVersions");
    let path = format!("{path}.admissionReviewVersions");
    if given.is_empty() {
        return Some(FieldError::required(path, "must specify one of v1, v1beta1"));
    }
    let is_known = given
        .iter()
        .filter_map(Value::as_str)
        .any(|v| REVIEWS.contains(&v));
    (!is_known).then(|| {
        let why = "must include at least one of v1, v1beta1";
        FieldError::invalid(path, Value::Array(given.to_vec()), why)
    })
}

fn check_rule(rule: &Value, path: &str) -> Vec<FieldError> {
    const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
    let mut errors = Vec::new();
    for (field, others) in [
        ("operations", "operations"),
        ("apiGroups", "API groups"),
        ("apiVersions", "API versions"),
        ("resources", "resources"),
    ] {
        let path = format!("{path}.{field}");
        let given = list(rule, field);
        let all = if field == "resources" { "*/*" } else { "*" };
        if given.is_empty() {
            errors.push(FieldError::required(path, ""));
        } else if given.len() > 1 && given.iter().any(|g| g == all) {
            let why = format!("if '{all}' is present, must not specify other {others}");
            errors.push(FieldError::invalid(path, Value::Array(given.to_vec()), why));
        } else if field == "operations" {
            for (k, operation) in given.iter().enumerate() {
                let operation = operation.as_str().unwrap_or_default();
                if !OPERATIONS.contains(&operation) {
                    errors.push(unsupported(format!("{path}[{k}]"), operation, &OPERATIONS));
                }
            }
        }
    }
    let scope = text(rule, "scope");
    if !matches!(scope, "" | "*" | "Cluster" | "Namespaced") {
        let known = ["*", "Cluster", "Namespaced"];
        errors.push(unsupported(format!("{path}.scope"), scope, &known));
    }
    errors
}

fn check_conditions(object: &Value, path: &str, variables: &[&str]) -> Vec<FieldError> {
    let conditions = list(object, "matchConditions");
    if i64::try_from(conditions.len()).is_ok_and(|n| n > CONDITIONS) {
        let count = i64::try_from(conditions.len()).unwrap_or(i64::MAX);
        return vec![FieldError::too_many(path, count, CONDITIONS)];
    }
    let mut errors = Vec::new();
    for (i, condition) in conditions.iter().enumerate() {
        if text(condition, "name").is_empty() {
            errors.push(FieldError::required(format!("{path}[{i}].name"), ""));
        }
        errors.extend(check_expression(
            text(condition, "expression"),
            &format!("{path}[{i}].expression"),
            "",
            variables,
        ));
    }
    errors
}

/// Says why an expression can't be used. `missing` is said if there is none.
fn check_expression(source: &str, path: &str, missing: &str, variables: &[&str]) -> Option<FieldError> {
    if source.trim().is_empty() {
        return Some(FieldError::required(path, missing));
    }
    let why = Program::compile(source, variables).err()?;
    Some(FieldError::invalid(
        path,
        source,
        format!("compilation failed: {why}"),
    ))
}

fn default_matching(matching: Option<&mut Value>) {
    let Some(matching) = matching.filter(|m| m.is_object()) else {
        return;
    };
    default(matching, "matchPolicy", "Equivalent");
    default(matching, "namespaceSelector", json!({}));
    default(matching, "objectSelector", json!({}));
    for rules in ["/resourceRules", "/excludeResourceRules"] {
        list_mut(matching, rules).for_each(|rule| default(rule, "scope", "*"));
    }
}

fn check_matching(matching: &Value, before: Option<&Value>, path: &str) -> Vec<FieldError> {
    let mut errors = check_selectors(matching, before, path);
    let policy = text(matching, "matchPolicy");
    if !matches!(policy, "" | "Equivalent" | "Exact") {
        errors.push(unsupported(
            format!("{path}.matchPolicy"),
            policy,
            &["Equivalent", "Exact"],
        ));
    }
    for field in ["resourceRules", "excludeResourceRules"] {
        for (i, rule) in list(matching, field).iter().enumerate() {
            errors.extend(check_rule(rule, &format!("{path}.{field}[{i}]")));
        }
    }
    errors
}

impl BuiltinHooks for Policy {
    fn set_defaults(&self, object: &mut Value) {
        if let Some(spec) = object.get_mut("spec").filter(|s| s.is_object()) {
            default(spec, "failurePolicy", "Fail");
            default_matching(spec.get_mut("matchConstraints"));
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({});
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        if old.is_some_and(|old| old["spec"] == new["spec"]) {
            return Vec::new();
        }
        check_policy(&new["spec"], old.map(|old| &old["spec"]))
    }
}

fn check_policy(spec: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let policy = text(spec, "failurePolicy");
    if !matches!(policy, "" | "Fail" | "Ignore") {
        errors.push(unsupported(
            "spec.failurePolicy".to_owned(),
            policy,
            &["Fail", "Ignore"],
        ));
    }
    if spec["paramKind"].is_object() {
        for field in ["apiVersion", "kind"] {
            if text(&spec["paramKind"], field).is_empty() {
                errors.push(FieldError::required(format!("spec.paramKind.{field}"), ""));
            }
        }
    }
    let matching = &spec["matchConstraints"];
    if !matching.is_object() {
        errors.push(FieldError::required("spec.matchConstraints", ""));
    } else if list(matching, "resourceRules").is_empty() {
        errors.push(FieldError::required("spec.matchConstraints.resourceRules", ""));
    }
    let before = old.map(|old| &old["matchConstraints"]);
    errors.extend(check_matching(matching, before, "spec.matchConstraints"));
    errors.extend(check_conditions(spec, "spec.matchConditions", &OF_A_WRITE[..5]));
    for (i, variable) in list(spec, "variables").iter().enumerate() {
        let path = format!("spec.variables[{i}]");
        if text(variable, "name").is_empty() {
            errors.push(FieldError::required(
                format!("{path}.name"),
                "name is not specified",
            ));
        }
        let path = format!("{path}.expression");
        let source = text(variable, "expression");
        errors.extend(check_expression(
            source,
            &path,
            "expression is not specified",
            &OF_A_WRITE,
        ));
    }
    let (validations, annotations) = (list(spec, "validations"), list(spec, "auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        let why = "validations or auditAnnotations must contain at least one item";
        errors.push(FieldError::required("spec.validations", why));
        errors.push(FieldError::required("spec.auditAnnotations", why));
    }
    for (i, validation) in validations.iter().enumerate() {
        errors.extend(check_validation(validation, &format!("spec.validations[{i}]")));
    }
    for (i, annotation) in annotations.iter().enumerate() {
        let path = format!("spec.auditAnnotations[{i}].valueExpression");
        let source = text(annotation, "valueExpression");
        errors.extend(check_expression(
            source,
            &path,
            "valueExpression is not specified",
            &OF_A_WRITE,
        ));
    }
    errors
}

fn check_validation(validation: &Value, path: &str) -> Vec<FieldError> {
    const REASONS: [&str; 4] = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
    let mut errors = Vec::new();
    errors.extend(check_expression(
        text(validation, "expression"),
        &format!("{path}.expression"),
        "expression is not specified",
        &OF_A_WRITE,
    ));
    let made = text(validation, "messageExpression");
    if !made.is_empty() {
        errors.extend(check_expression(
            made,
            &format!("{path}.messageExpression"),
            "",
            &OF_A_WRITE,
        ));
    }
    let message = text(validation, "message");
    if message.contains('\n') {
        errors.push(FieldError::invalid(
            format!("{path}.message"),
            message,
            "message must not contain line breaks",
        ));
    }
    let reason = text(validation, "reason");
    if !reason.is_empty() && !REASONS.contains(&reason) {
        errors.push(unsupported(format!("{path}.reason"), reason, &REASONS));
    }
    errors
}

impl BuiltinHooks for PolicyBinding {
    fn set_defaults(&self, object: &mut Value) {
        default_matching(object.pointer_mut("/spec/matchResources"));
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];
        const PATH: &str = "spec.validationActions";
        let spec = &new["spec"];
        let mut errors = Vec::new();
        if text(spec, "policyName").is_empty() {
            errors.push(FieldError::required("spec.policyName", ""));
        }
        if spec["paramRef"].is_object() {
            let before = old.map(|old| &old["spec"]["paramRef"]);
            errors.extend(check_param_ref(&spec["paramRef"], before));
        }
        if spec["matchResources"].is_object() {
            let before = old.map(|old| &old["spec"]["matchResources"]);
            errors.extend(check_matching(
                &spec["matchResources"],
                before,
                "spec.matchResources",
            ));
        }
        let actions = list(spec, "validationActions");
        if actions.is_empty() {
            errors.push(FieldError::required(
                PATH,
                "at least one validation action is required",
            ));
        }
        for (i, action) in actions.iter().enumerate() {
            let given = action.as_str().unwrap_or_default();
            if !ACTIONS.contains(&given) {
                errors.push(unsupported(format!("{PATH}[{i}]"), given, &ACTIONS));
            } else if actions[..i].contains(action) {
                errors.push(FieldError::duplicate(format!("{PATH}[{i}]"), given));
            }
        }
        let has = |wanted: &str| actions.iter().any(|a| a == wanted);
        if has("Deny") && has("Warn") {
            let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
            errors.push(FieldError::invalid(PATH, Value::Array(actions.to_vec()), why));
        }
        errors
    }
}

fn check_param_ref(reference: &Value, before: Option<&Value>) -> Vec<FieldError> {
    const PATH: &str = "spec.paramRef";
    let mut errors = Vec::new();
    if before.is_none_or(|before| before["selector"] != reference["selector"]) {
        errors.extend(selector::check(
            &reference["selector"],
            &format!("{PATH}.selector"),
        ));
    }
    match (text(reference, "name"), reference["selector"].is_object()) {
        ("", false) => errors.push(FieldError::required(
            PATH,
            "one of name or selector must be specified",
        )),
        ("", true) | (_, false) => {}
        (_, true) => {
            for field in ["name", "selector"] {
                errors.push(FieldError::forbidden(
                    format!("{PATH}.{field}"),
                    "name and selector are mutually exclusive",
                ));
            }
        }
    }
    let action = text(reference, "parameterNotFoundAction");
    if action.is_empty() {
        errors.push(FieldError::required(
            format!("{PATH}.parameterNotFoundAction"),
            "",
        ));
    } else if !matches!(action, "Allow" | "Deny") {
        let known = ["Allow", "Deny"];
        errors.push(unsupported(
            format!("{PATH}.parameterNotFoundAction"),
            action,
            &known,
        ));
    }
    errors
}
