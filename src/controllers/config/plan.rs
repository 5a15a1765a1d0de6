//! What to do about a Config. Pure.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kube::ResourceExt;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{observe::Observed, status};
use crate::{
    api::{MACHINE_GROUP, VERSION, labels, v1alpha1::ConfigSpec},
    bootstrap::{self, BootstrapError, SecretFiles},
    controllers::effect::{Effect, ObjectKey, Plan, Requeue, Target, object},
    time::{SignedDuration, Timestamp},
};

/// Longest beginning of a Secret's name, the hyphen counted.
const PREFIX: usize = 58;
/// How soon a Config whose Secrets are missing is looked at again, should their events get lost.
const MISSING: SignedDuration = SignedDuration::from_secs(60);

/// A Config as it is now: its document and what tells it from other revisions.
pub(crate) struct Revision {
    /// The document of the Secret.
    pub(crate) document: String,
    /// Digest of it.
    pub(crate) digest: String,
}

impl Revision {
    /// Renders a Config.
    ///
    /// # Errors
    /// Says what in the Config can't be used.
    pub(crate) fn of(spec: &ConfigSpec, files: &SecretFiles) -> Result<Self, BootstrapError> {
        let document = bootstrap::config_secret(spec, files)?;
        let digest = Sha256::digest(document.as_bytes());
        let digest = digest
            .iter()
            .take(10)
            .fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        Ok(Self { document, digest })
    }
}

/// Says what to do.
pub(crate) fn plan(o: &Observed, now: Timestamp) -> Plan {
    let mut plan = Plan::nothing();
    if o.config.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let revision = match Revision::of(&o.config.spec, &o.secret_files) {
        Ok(revision) => revision,
        Err(error) => {
            let missing = matches!(error, BootstrapError::MissingSecret { .. });
            plan.status = Some(status::invalid(&o.config, missing, &error.to_string(), now));
            if missing {
                plan.requeue = Requeue::After(MISSING);
            }
            return plan;
        }
    };
    let name = secret_name(&o.config.name_any(), &revision.digest);
    if !o.own.iter().any(|(own, _)| *own == name) {
        plan.effects.push(secret(o, &name, &revision));
    }
    // Whoever made a machine from an older revision may still need it.
    let stale = o.own.iter().filter(|(own, digest)| {
        *own != name && digest.as_ref().is_some_and(|digest| !o.used.contains(digest))
    });
    for (own, _) in stale {
        plan.effects.push(Effect::Delete {
            target: Target::Management,
            key: ObjectKey::of::<k8s_openapi::api::core::v1::Secret>(o.config.namespace().as_deref(), own),
            uid: None,
        });
    }
    plan.status = Some(status::ready(&o.config, &name, now));
    plan
}

/// `<config>-xxxxx`: the same for the same content.
fn secret_name(config: &str, digest: &str) -> String {
    const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let bytes = Sha256::digest(digest.as_bytes());
    let suffix: String = bytes
        .iter()
        .take(5)
        .map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]))
        .collect();
    let prefix: String = format!("{config}-").chars().take(PREFIX).collect();
    format!("{prefix}{suffix}")
}

fn secret(o: &Observed, name: &str, revision: &Revision) -> Effect {
    let config = &o.config;
    Effect::Create {
        target: Target::Management,
        object: object(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": name,
                "namespace": config.namespace(),
                "annotations": { labels::CONFIG_REVISION: revision.digest },
                "ownerReferences": [{
                    "apiVersion": format!("{MACHINE_GROUP}/{VERSION}"),
                    "kind": "Config",
                    "name": config.name_any(),
                    "uid": config.uid().unwrap_or_default(),
                }],
            },
            "type": "Opaque",
            "data": { "cloud-config": STANDARD.encode(&revision.document) },
        })),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
