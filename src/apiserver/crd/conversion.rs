//! What is wrong with the conversion of a custom resource definition. It must not convert.

use serde_json::Value;

use super::super::callout;
use super::super::schema::FieldError;

/// Versions of reviews that the server can ask in.
const REVIEWS: [&str; 2] = ["v1", "v1beta1"];

/// Says what is wrong with how versions are converted. `old` is what was said before.
pub(super) fn check(conversion: &Value, old: Option<&Value>) -> Vec<FieldError> {
    const PATH: &str = "spec.conversion";
    let webhook = &conversion["webhook"];
    let config = webhook.get("clientConfig").filter(|c| c.is_object());
    let reviews = webhook["conversionReviewVersions"].as_array();
    let client = format!("{PATH}.webhookClientConfig");
    let versions = format!("{PATH}.conversionReviewVersions");
    let mut errors = Vec::new();
    if conversion["strategy"] != "Webhook" {
        const ONLY: &str = "should not be set when strategy is not set to Webhook";
        if config.is_some() {
            errors.push(FieldError::forbidden(client, ONLY));
        }
        if reviews.is_some_and(|r| !r.is_empty()) {
            errors.push(FieldError::forbidden(versions, ONLY));
        }
        return errors;
    }
    match config {
        None => errors.push(FieldError::required(
            client,
            "required when strategy is set to Webhook",
        )),
        Some(config) => {
            errors.extend(callout::check(config, &client));
            // A bundle that was there before may be as it is: its definition must stay writable.
            let before = old.map(|old| &old["webhook"]["clientConfig"]["caBundle"]);
            if before.is_none_or(|before| *before != config["caBundle"]) {
                errors.extend(callout::check_bundle(config, &client));
            }
        }
    }
    let known = reviews.into_iter().flatten().filter_map(Value::as_str);
    if reviews.is_none_or(Vec::is_empty) {
        errors.push(FieldError::required(versions, ""));
    } else if !known.clone().any(|v| REVIEWS.contains(&v)) {
        let given: Vec<&str> = known.collect();
        errors.push(FieldError::invalid(
            versions,
            given,
            "must include at least one of v1, v1beta1",
        ));
    }
    errors
}
