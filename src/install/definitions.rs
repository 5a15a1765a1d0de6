//! The custom resource definitions in a cluster: installed all at once, and awaited until they are served. It asks nobody anything.

use std::time::Duration;

use futures::future::try_join_all;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};

use super::{Change, DIGEST, FIELD_MANAGER, InstallError, hex};
use crate::api::registry;

/// How long a definition may take to be served.
const ESTABLISHED_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is asked at first whether it is, and how often in the end.
const ESTABLISHED_POLL: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(100)];

/// Installs all definitions, all at once, and waits until each is served. Returns them by name in the order of the registry.
pub async fn definitions(client: &Client, dry_run: bool) -> Result<Vec<(String, Change)>, InstallError> {
    let version = client
        .apiserver_version()
        .await
        .map_err(|source| InstallError::Version(Box::new(source)))?;
    let all = wanted(knows_rules(&version.major, &version.minor)).into_iter();
    try_join_all(all.map(|crd| async move {
        let live = live(client, &crd.name_any()).await?;
        one(client, crd, live.as_ref(), dry_run).await
    }))
    .await
}

/// Returns all definitions as they are applied: with the digest that tells a later run that it has nothing to do.
pub(crate) fn wanted(rules: bool) -> Vec<CustomResourceDefinition> {
    let crds = registry::crds().into_iter();
    crds.map(|crd| if rules { crd } else { without_rules(crd) })
        .map(|mut crd| {
            let digest = digest(&crd);
            crd.annotations_mut().insert(DIGEST.to_owned(), digest);
            crd
        })
        .collect()
}

/// Reads a definition, if it is there.
pub(crate) async fn live(
    client: &Client,
    name: &str,
) -> Result<Option<CustomResourceDefinition>, InstallError> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    api.get_opt(name)
        .await
        .map_err(InstallError::refused(format!("can't read the definition {name}")))
}

/// Whether an API server knows CEL rules in schemas: Kubernetes 1.25 and later. An older one refuses to apply them.
pub(crate) fn knows_rules(major: &str, minor: &str) -> bool {
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

/// Whether a definition stands there as this program would apply it, and is served.
pub(crate) fn is_as_wanted(live: &CustomResourceDefinition, wanted: &CustomResourceDefinition) -> bool {
    let digest = |crd: &CustomResourceDefinition| crd.annotations().get(DIGEST).cloned();
    let mut labels = wanted.labels().iter();
    digest(wanted).is_some()
        && digest(live) == digest(wanted)
        && labels.all(|(key, value)| live.labels().get(key) == Some(value))
        && is_established(live)
}

/// Applies a definition, unless the live one is as wanted, and waits until it is served.
pub(crate) async fn one(
    client: &Client,
    crd: CustomResourceDefinition,
    live: Option<&CustomResourceDefinition>,
    dry_run: bool,
) -> Result<(String, Change), InstallError> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = crd.name_any();
    let failed = |source: kube::Error| InstallError::Apply {
        name: name.clone(),
        source: Box::new(source),
    };
    if live.is_some_and(|live| is_as_wanted(live, &crd)) {
        return Ok((name, Change::Unchanged));
    }
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
    let [mut pause, longest] = ESTABLISHED_POLL;
    while !is_established(&served) {
        if begun.elapsed() > ESTABLISHED_TIMEOUT {
            let reason = refusal(&served);
            return Err(InstallError::NotEstablished { name, reason });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(longest);
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
    fn what_stands_there_is_left_alone_only_if_it_is_served_and_whole() {
        let wanted = wanted(true);
        let mut live = wanted[0].clone();
        assert!(!is_as_wanted(&live, &wanted[0]), "nobody serves it");
        live.status = serde_json::from_value(serde_json::json!({
            "conditions": [{ "type": "Established", "status": "True" }]
        }))
        .unwrap();
        live.labels_mut().insert("somebody".into(), "else".into());
        assert!(is_as_wanted(&live, &wanted[0]));
        assert!(!is_as_wanted(&live, &wanted[1]));
        live.labels_mut().remove(crate::api::labels::MOVE);
        assert!(!is_as_wanted(&live, &wanted[0]));
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
