//! What can be done with the state of a server that does not run: look whether it is whole, make its file small, take all objects out.
//! It must not change an object.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::builtin::Registry;
use super::store::{self, FILE, OpenError, Stored};
use super::{CRDS, NAMESPACES};

/// The store key of Secrets.
const SECRETS: &str = "secrets";

/// What is in a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Layout of the file.
    pub format: u64,
    /// The resourceVersion of the last write.
    pub version: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Objects of each resource (`plural.group`), in order.
    pub objects: Vec<(String, usize)>,
    /// What is wrong with the state; nothing if it is whole.
    pub flaws: Vec<String>,
}

/// How large a file was and is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// Before.
    pub before: u64,
    /// Now.
    pub after: u64,
}

/// All objects of a state.
#[derive(Debug, Clone, PartialEq)]
pub struct Exported {
    /// The objects in an order in which they can be made: namespaces and definitions first.
    pub objects: Vec<Value>,
    /// How many Secrets are not among them.
    pub secrets_left_out: usize,
    /// Objects that are not among them because nothing says what kind they are of: resource and count.
    pub unknown: Vec<(String, usize)>,
}

/// Reads the state in `dir` from end to end, against all its checksums. Nothing changes. Blocks.
///
/// # Errors
/// A process has the state open, or so much of it is damaged that its objects can't be told apart.
pub fn check(dir: &Path) -> Result<Contents, OpenError> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let found = store::offline::read(&dir.join(FILE), |stored| {
        *counts.entry(stored.key.resource.to_string()).or_default() += 1;
    })?;
    Ok(Contents {
        format: found.format,
        version: found.version,
        bytes: found.bytes,
        objects: counts.into_iter().collect(),
        flaws: found.flaws,
    })
}

/// Gives the room that removed objects have left in the file of the state in `dir` back to the disk. Blocks.
///
/// # Errors
/// A process has the state open, or it is not whole.
pub fn compact(dir: &Path) -> Result<Compacted, OpenError> {
    let (before, after) = store::offline::compact(&dir.join(FILE))?;
    Ok(Compacted { before, after })
}

/// Returns all objects of the state in `dir`, in the versions in which they are stored; Secrets only `with_secrets`. Blocks.
///
/// # Errors
/// A process has the state open, or it is not whole.
pub fn export(dir: &Path, with_secrets: bool) -> Result<Exported, OpenError> {
    let mut all: BTreeMap<String, Vec<Stored>> = BTreeMap::new();
    let mut secrets_left_out = 0;
    let file = dir.join(FILE);
    let found = store::offline::read(&file, |stored| {
        if &*stored.key.resource == SECRETS && !with_secrets {
            secrets_left_out += 1;
        } else {
            all.entry(stored.key.resource.to_string())
                .or_default()
                .push(stored);
        }
    })?;
    if !found.flaws.is_empty() {
        return Err(OpenError::Damaged {
            file: file.display().to_string(),
            what: found.flaws.join("; "),
        });
    }
    let registry = registry(all.get(CRDS).map_or(&[], Vec::as_slice));
    let mut exported = Exported {
        objects: Vec::new(),
        secrets_left_out,
        unknown: Vec::new(),
    };
    for resource in [NAMESPACES, CRDS] {
        if let Some(stored) = all.remove(resource) {
            exported.add(&registry, resource, &stored);
        }
    }
    for (resource, stored) in &all {
        exported.add(&registry, resource, stored);
    }
    Ok(exported)
}

impl Exported {
    fn add(&mut self, registry: &Registry, resource: &str, stored: &[Stored]) {
        match registry.find_stored(resource) {
            Some(info) => {
                let value = |stored: &Stored| stored.value(&info.api_version(), &info.kind);
                self.objects.extend(stored.iter().map(value));
            }
            None => self.unknown.push((resource.to_owned(), stored.len())),
        }
    }
}

/// The kinds that a server would serve with these definitions.
fn registry(definitions: &[Stored]) -> Registry {
    let builtin = Registry::builtin();
    definitions.iter().fold(builtin, |registry, definition| {
        registry.with_crd(&definition.value("apiextensions.k8s.io/v1", "CustomResourceDefinition"))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kube::api::{Api, PostParams};
    use serde_json::json;

    use super::super::Server;
    use super::*;

    async fn state(dir: &Path) {
        let server = Server::open(dir, Arc::new(crate::time::SystemClock))
            .await
            .unwrap();
        let client = server.client();
        let secret = json!({"metadata": {"name": "s"}, "stringData": {"password": "hunter2"}});
        let map = json!({"metadata": {"name": "m"}, "data": {"a": "b"}});
        let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::default_namespaced(client.clone());
        let maps: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::default_namespaced(client);
        let params = PostParams::default();
        secrets
            .create(&params, &serde_json::from_value(secret).unwrap())
            .await
            .unwrap();
        maps.create(&params, &serde_json::from_value(map).unwrap())
            .await
            .unwrap();
        server.stop().await;
    }

    #[tokio::test]
    async fn all_objects_are_taken_out_but_secrets_only_on_demand() {
        let dir = tempfile::tempdir().unwrap();
        state(dir.path()).await;
        let contents = check(dir.path()).unwrap();
        assert_eq!((contents.format, &contents.flaws), (3, &Vec::new()));
        assert!(
            contents.objects.contains(&("secrets".to_owned(), 1)),
            "{contents:?}"
        );
        let exported = export(dir.path(), false).unwrap();
        assert_eq!((exported.secrets_left_out, &exported.unknown), (1, &Vec::new()));
        assert!(!format!("{exported:?}").contains("aHVudGVyMg"));
        let kinds: Vec<_> = exported
            .objects
            .iter()
            .map(|o| o["kind"].as_str().unwrap())
            .collect();
        assert_eq!(kinds[..4], ["Namespace"; 4]);
        assert!(kinds.contains(&"ClusterRole"), "{kinds:?}");
        let map = exported
            .objects
            .iter()
            .find(|o| o["kind"] == "ConfigMap" && o["metadata"]["name"] == "m")
            .unwrap();
        assert_eq!(
            (&map["apiVersion"], &map["data"]["a"]),
            (&json!("v1"), &json!("b"))
        );
        let total: usize = contents.objects.iter().map(|(_, count)| count).sum();
        assert_eq!(exported.objects.len() + 1, total);
        let with = export(dir.path(), true).unwrap();
        assert_eq!((with.objects.len(), with.secrets_left_out), (total, 0));
    }
}
