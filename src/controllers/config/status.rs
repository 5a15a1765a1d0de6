//! What a Config says about itself. Pure.

use serde_json::Value;

use crate::{
    api::{
        conditions::{self, Status, condition},
        v1alpha1::{Config, ConfigStatus},
    },
    time::Timestamp,
};

/// The Secret exists and fits the spec.
pub(super) fn ready(config: &Config, secret: &str, now: Timestamp) -> Value {
    let mut status = begin(config);
    status.ready = true;
    status.data_secret_name = Some(secret.to_owned());
    status.failure_reason = None;
    status.failure_message = None;
    finish(config, status, Status::True, "Rendered", "", now)
}

/// The Config can't be rendered, or not yet.
pub(super) fn invalid(config: &Config, missing: bool, message: &str, now: Timestamp) -> Value {
    let mut status = begin(config);
    status.ready = false;
    let reason = if missing {
        "SecretMissing"
    } else {
        status.failure_reason = Some("InvalidConfiguration".to_owned());
        status.failure_message = Some(message.to_owned());
        "InvalidConfiguration"
    };
    finish(config, status, Status::False, reason, message, now)
}

fn begin(config: &Config) -> ConfigStatus {
    let mut status = config.status.clone().unwrap_or_default();
    status.failure_reason = None;
    status.failure_message = None;
    status
}

fn finish(
    config: &Config,
    mut status: ConfigStatus,
    so: Status,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Value {
    let generation = config.metadata.generation;
    status.observed_generation = generation;
    for type_ in [conditions::VALID, conditions::READY] {
        let new = condition(type_, so, reason, message, generation, now);
        conditions::set(&mut status.conditions, new);
    }
    serde_json::to_value(status).unwrap_or_default()
}
