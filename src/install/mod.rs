//! What a management cluster needs before it can hold machines: the custom resource definitions. It asks nobody anything.

use std::time::Duration;

use futures::future::try_join_all;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};

use crate::api::registry;

/// Field manager of everything that is installed.
pub const FIELD_MANAGER: &str = "machinectl-install";

/// Annotation on a definition: digest of what was installed, so that a second run has nothing to do.
const DIGEST: &str = "machinectl.crit.sh/digest";

/// How long a definition may take to be served.
const ESTABLISHED_TIMEOUT: Duration = Duration::from_secs(30);
const ESTABLISHED_POLL: Duration = Duration::from_millis(50);

/// Why the definitions are not there.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The API server does not say which version it is.
    #[error("can't ask the API server for its version")]
    Version(#[source] Box<kube::Error>),
    /// The API server refuses one, or can't be reached.
    #[error("can't install the definition {name}")]
    Apply {
        /// The definition.
        name: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server does not serve one in time.
    #[error("the API server took the definition {name} but did not serve it within 30 s: {reason}")]
    NotEstablished {
        /// The definition.
        name: String,
        /// What its conditions say.
        reason: String,
    },
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was not there.
    Created,
    /// It was there in another form.
    Updated,
    /// It was there.
    Unchanged,
}

/// Installs all definitions, all at once, and waits until each is served. Returns them by name in the order of the registry.
pub async fn definitions(client: &Client, dry_run: bool) -> Result<Vec<(String, Change)>, InstallError> {
    let version = client
        .apiserver_version()
        .await
        .map_err(|source| InstallError::Version(Box::new(source)))?;
    let rules = knows_rules(&version.major, &version.minor);
    let crds = registry::crds()
        .into_iter()
        .map(|crd| if rules { crd } else { without_rules(crd) });
    try_join_all(crds.map(|crd| one(client, crd, dry_run))).await
}

/// Whether an API server knows CEL rules in schemas: Kubernetes 1.25 and later. An older one refuses to apply them.
fn knows_rules(major: &str, minor: &str) -> bool {
    // Some distributions write `25+`.
    let number = |text: &str| {
        text.trim_end_matches(|c: char| !c.is_ascii_digit())
            .parse::<u32>()
            .ok()
    };
    match (number(major), number(minor)) {
        (Some(major), Some(minor)) => (major, minor) >= (1, 25),
        _ => true,
    }
}

/// An old server then accepts changes that the rules forbid, as it did for the API of 2020.
fn without_rules(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    fn forget(schema: &mut JSONSchemaProps) {
        schema.x_kubernetes_validations = None;
        schema
            .properties
            .iter_mut()
            .flatten()
            .for_each(|(_, child)| forget(child));
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
            forget(items);
        }
        if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
            forget(values);
        }
    }
    let schemas = crd
        .spec
        .versions
        .iter_mut()
        .filter_map(|v| v.schema.as_mut()?.open_api_v3_schema.as_mut());
    schemas.for_each(forget);
    crd
}

/// Whether the definitions of Machine and Cluster are there.
pub async fn is_installed(client: &Client) -> Result<bool, kube::Error> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for name in ["clusters.machine.crit.sh", "machines.machine.crit.sh"] {
        if api.get_opt(name).await?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn one(
    client: &Client,
    mut crd: CustomResourceDefinition,
    dry_run: bool,
) -> Result<(String, Change), InstallError> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = crd.name_any();
    let failed = |source: kube::Error| InstallError::Apply {
        name: name.clone(),
        source: Box::new(source),
    };
    let digest = digest(&crd);
    let live = api.get_opt(&name).await.map_err(failed)?;
    if live
        .as_ref()
        .is_some_and(|l| l.annotations().get(DIGEST) == Some(&digest) && is_established(l))
    {
        return Ok((name, Change::Unchanged));
    }
    crd.annotations_mut().insert(DIGEST.to_owned(), digest);
    let mut parameters = PatchParams::apply(FIELD_MANAGER).force();
    parameters.dry_run = dry_run;
    let mut served = api
        .patch(&name, &parameters, &Patch::Apply(&crd))
        .await
        .map_err(failed)?;
    let change = if live.is_some() {
        Change::Updated
    } else {
        Change::Created
    };
    if dry_run {
        return Ok((name, change));
    }
    let begun = tokio::time::Instant::now();
    while !is_established(&served) {
        if begun.elapsed() > ESTABLISHED_TIMEOUT {
            let reason = refusal(&served);
            return Err(InstallError::NotEstablished { name, reason });
        }
        tokio::time::sleep(ESTABLISHED_POLL).await;
        served = api.get(&name).await.map_err(failed)?;
    }
    Ok((name, change))
}

fn digest(crd: &CustomResourceDefinition) -> String {
    use sha2::Digest;
    let text = serde_json::to_string(&crd.spec).unwrap_or_default();
    let sum = sha2::Sha256::digest(text.as_bytes());
    hex(&sum[..8])
}

/// Writes bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String can't fail.
        let _infallible = write!(hex, "{byte:02x}");
        hex
    })
}

fn is_established(crd: &CustomResourceDefinition) -> bool {
    let conditions = crd.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Established" && c.status == "True"))
}

fn refusal(crd: &CustomResourceDefinition) -> String {
    let conditions = crd.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions
        .and_then(|all| all.iter().find(|c| c.status == "False"))
        .map_or_else(
            || "it has no conditions yet".to_owned(),
            |c| {
                format!(
                    "{}: {}",
                    c.reason.clone().unwrap_or_default(),
                    c.message.clone().unwrap_or_default()
                )
            },
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_for_servers_that_know_them() {
        assert!(knows_rules("1", "25") && knows_rules("1", "36+") && knows_rules("", "?"));
        assert!(!knows_rules("1", "20") && !knows_rules("1", "24+"));
        let text = |crd: CustomResourceDefinition| serde_json::to_string(&crd).unwrap();
        let machine = || {
            registry::crds()
                .into_iter()
                .find(|c| c.spec.names.kind == "Machine")
                .unwrap()
        };
        assert!(text(machine()).contains("x-kubernetes-validations"));
        assert!(!text(without_rules(machine())).contains("x-kubernetes-validations"));
    }

    #[test]
    fn the_digest_follows_the_spec() {
        let mut crds = registry::crds();
        let first = digest(&crds[0]);
        assert_eq!(first.len(), 16);
        assert_ne!(first, digest(&crds[1]));
        crds[0].spec.names.short_names = Some(vec!["x".into()]);
        assert_ne!(first, digest(&crds[0]));
    }
}
