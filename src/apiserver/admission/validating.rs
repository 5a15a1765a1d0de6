//! Validating webhooks, all at once. It must not change anything.

use std::sync::Arc;

use futures::future::join_all;
use serde_json::Value;

use super::super::builtin::ResourceInfo;
use super::super::status::ApiError;
use super::Attributes;
use super::configured::{Registered, Webhook};
use super::mutating::{Shown, Stop, ask};

/// Asks all that want to be asked. The first refusal, in the order of their names, is told.
pub(super) async fn dispatch(
    registered: &Registered,
    attributes: &Attributes<'_>,
    new: Option<&Value>,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    let mut relevant: Vec<(&Webhook, Arc<ResourceInfo>, Shown<'_>)> = Vec::new();
    for webhook in &registered.validating {
        let Some(info) = webhook.matching.find(attributes, new, old)? else {
            continue;
        };
        let shown = Shown::new(attributes, &info, new, old).await?;
        if webhook
            .conditions
            .hold(attributes, &info, shown.new_object(), shown.old_object())?
        {
            relevant.push((webhook, info, shown));
        }
    }
    let asked = relevant.iter().map(|(webhook, info, shown)| async move {
        let refused = match ask(webhook, attributes, info, shown, false).await {
            Ok(verdict) if verdict.allowed => return None,
            Ok(verdict) => Stop::Refused(verdict.refusal(&webhook.name)),
            Err(stop) => stop,
        };
        refused.told(webhook)
    });
    join_all(asked)
        .await
        .into_iter()
        .flatten()
        .next()
        .map_or(Ok(()), Err)
}
