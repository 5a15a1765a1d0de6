//! Volumes that are attached to a Node and have to be detached before its host goes. It reads and decides nothing else.

use std::{collections::BTreeSet, time::Instant};

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::{Api, Client, ResourceExt};

use super::{drain, observe::pods_of};
use crate::controllers::{apply::within, runtime::ReconcileError, workload::Workload};

/// Names of the volumes: as the Node's status says; once that says nothing, as their `VolumeAttachments` do, because the Node forgets a
/// volume before it is detached. Those of pods that stay on the Node never go and are left out (Cluster API does so, too).
pub(super) async fn attached(workload: &Workload, node: &Node) -> Result<Vec<String>, ReconcileError> {
    let asked = Instant::now();
    let told = node.status.as_ref().and_then(|s| s.volumes_attached.as_ref());
    let told = told.into_iter().flatten().map(|v| v.name.clone()).collect();
    let mut volumes = without_those_that_stay(workload, node, told).await?;
    // That there are none is said by a list that is newer than the question: another one may not know of a volume that came since.
    for since in [None, Some(asked)] {
        if volumes.is_empty() {
            let all = workload.attachments(since).await?;
            let here = all.get(&node.name_any()).cloned().unwrap_or_default();
            volumes = without_those_that_stay(workload, node, here).await?;
        }
    }
    Ok(volumes)
}

async fn without_those_that_stay(
    workload: &Workload,
    node: &Node,
    mut volumes: Vec<String>,
) -> Result<Vec<String>, ReconcileError> {
    if let Some(stay) = stay(workload, node, &volumes).await? {
        volumes.retain(|v| !stay.contains(v));
    }
    Ok(volumes)
}

/// Volumes of pods that stay, by the name of the volume and by that under which a Node knows it; asked only if there is any volume.
async fn stay(
    workload: &Workload,
    node: &Node,
    volumes: &[String],
) -> Result<Option<BTreeSet<String>>, ReconcileError> {
    if volumes.is_empty() {
        return Ok(None);
    }
    let pods = pods_of(&workload.client, &node.name_any()).await?;
    let mut names = BTreeSet::new();
    for (namespace, claim) in pods.iter().filter(|p| drain::stays(p)).flat_map(claims) {
        names.extend(names_of(&workload.client, &namespace, &claim).await?);
    }
    Ok(Some(names))
}

/// The claims of a pod, as (namespace, name).
fn claims(pod: &Pod) -> Vec<(String, String)> {
    let volumes = pod.spec.as_ref().and_then(|s| s.volumes.as_ref());
    let name = |v: &k8s_openapi::api::core::v1::Volume| match (&v.persistent_volume_claim, &v.ephemeral) {
        (Some(claim), _) => Some(claim.claim_name.clone()),
        (None, Some(_)) => Some(format!("{}-{}", pod.name_any(), v.name)),
        (None, None) => None,
    };
    volumes
        .into_iter()
        .flatten()
        .filter_map(name)
        .map(|name| (pod.namespace().unwrap_or_default(), name))
        .collect()
}

/// Under which names the volume of a claim is known.
async fn names_of(client: &Client, namespace: &str, claim: &str) -> Result<Vec<String>, ReconcileError> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let doing = format!("reading PersistentVolumeClaim {namespace}/{claim}");
    let bound = within(doing, claims.get_opt(claim)).await?;
    let Some(name) = bound.and_then(|c| c.spec?.volume_name).filter(|n| !n.is_empty()) else {
        return Ok(Vec::new());
    };
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let doing = format!("reading PersistentVolume {name}");
    let volume = within(doing, volumes.get_opt(&name)).await?;
    let csi = volume.and_then(|v| v.spec?.csi);
    let known = csi.map(|csi| format!("kubernetes.io/csi/{}^{}", csi.driver, csi.volume_handle));
    Ok([name].into_iter().chain(known).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_are_named_by_the_pod_or_after_it() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "agent", "namespace": "apps" },
            "spec": { "containers": [], "volumes": [
                { "name": "data", "persistentVolumeClaim": { "claimName": "agent-data" } },
                { "name": "scratch", "ephemeral": { "volumeClaimTemplate": { "spec": {} } } },
                { "name": "tmp", "emptyDir": {} },
            ] }
        }))
        .unwrap();
        let apps = |name: &str| ("apps".to_owned(), name.to_owned());
        assert_eq!(claims(&pod), [apps("agent-data"), apps("agent-scratch")]);
    }
}
