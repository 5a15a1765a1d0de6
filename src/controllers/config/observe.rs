//! Reads what a decision about a Config needs: the Secrets that it names, its own Secrets, who uses which. It decides nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};

use crate::{
    api::{labels, names, v1alpha1::Config},
    bootstrap::SecretFiles,
    controllers::{apply::within, cache::term, runtime::ReconcileError, world::World},
};

/// All that a decision about a Config is made from.
#[derive(Debug, Clone)]
pub(crate) struct Observed {
    /// The Config.
    pub(crate) config: Arc<Config>,
    /// Content for the files that stand in Secrets. What is missing is not in it.
    pub(crate) secret_files: SecretFiles,
    /// Secrets that the Config owns: name and revision.
    pub(crate) own: Vec<(String, Option<String>)>,
    /// Revisions from which Machines were made that still exist.
    pub(crate) used: BTreeSet<String>,
}

/// Reads everything.
pub(super) async fn observe(world: &World, config: Arc<Config>) -> Result<Observed, ReconcileError> {
    let namespace = config.namespace().unwrap_or_default();
    let revision = |annotations: &BTreeMap<String, String>| annotations.get(labels::CONFIG_REVISION).cloned();
    let own = world
        .secrets
        .find(&term::owner(&config.uid().unwrap_or_default()))
        .iter()
        .map(|secret| (secret.name_any(), revision(secret.annotations())))
        .collect();
    let used = world
        .machines
        .find(&term::config(&namespace, &config.name_any()))
        .iter()
        .filter_map(|machine| {
            let name = names::bootstrap_secret(&machine.name_any());
            let secret = world.secrets.get(Some(&namespace), &name)?;
            revision(secret.annotations())
        })
        .collect();
    Ok(Observed {
        secret_files: secret_files(world, &config).await?,
        config,
        own,
        used,
    })
}

/// Reads the Secrets that a Config names. What is missing is left out: the renderer says so.
pub(crate) async fn secret_files(world: &World, config: &Config) -> Result<SecretFiles, ReconcileError> {
    let namespace = config.namespace().unwrap_or_default();
    let wanted: BTreeSet<&str> = config
        .spec
        .secrets
        .iter()
        .map(|s| s.data_secret_name.as_str())
        .collect();
    let api: Api<Secret> = Api::namespaced(world.ctx.client.clone(), &namespace);
    let mut files = SecretFiles::new();
    for name in wanted {
        let secret = within(format!("reading Secret {namespace}/{name}"), api.get_opt(name)).await?;
        for (key, value) in secret.and_then(|s| s.data).unwrap_or_default() {
            files.insert((name.to_owned(), key), value.0);
        }
    }
    // Keys that nobody asked for stay out of the revision.
    files.retain(|(name, key), _| {
        config
            .spec
            .secrets
            .iter()
            .any(|s| s.data_secret_name == *name && s.secret_key_name == *key)
    });
    Ok(files)
}
