//! Waits until the controllers are up, and says what keeps them from it.

use std::time::Duration;

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use tokio::time::Instant;

use super::{InstallError, NAME, NAMESPACE};
use crate::api::labels;

/// How often the Deployment is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// For so many looks at the Deployment there is one at its pods.
const PODS: usize = 8;

/// Waits until the Deployment of the controllers is rolled out and Available. `tell` hears what it waits for, when that changes.
///
/// # Errors
/// Fails when time runs out, with what the pods say; or when the API server refuses to be asked.
pub async fn wait_available(
    client: &Client,
    timeout: Duration,
    tell: impl Fn(&str),
) -> Result<(), InstallError> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let begun = Instant::now();
    let mut told = String::new();
    let mut pods = String::new();
    let mut looks = 0_usize;
    loop {
        let deployment = api.get(NAME).await.map_err(InstallError::refused(format!(
            "can't look at deployment.apps/{NAME}"
        )))?;
        let Some(state) = missing(&deployment) else {
            return Ok(());
        };
        if looks % PODS == PODS - 1 {
            // Who may not see pods waits without them.
            pods = trouble(client).await.unwrap_or_default();
        }
        looks += 1;
        let text = if pods.is_empty() {
            state
        } else {
            format!("{state}; {pods}")
        };
        if text != told {
            tell(&text);
            told.clone_from(&text);
        }
        if begun.elapsed() >= timeout {
            return Err(InstallError::NotAvailable(text));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What a Deployment waits for; nothing, if it is rolled out and Available (kubectl: `rollout status`).
fn missing(deployment: &Deployment) -> Option<String> {
    let wanted = deployment.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    let Some(status) = &deployment.status else {
        return Some("no controller has looked at the Deployment yet".to_owned());
    };
    if status.observed_generation < deployment.metadata.generation {
        return Some("no controller has looked at the Deployment yet".to_owned());
    }
    let updated = status.updated_replicas.unwrap_or(0);
    if updated < wanted {
        return Some(format!("{updated} of {wanted} pods are of the new version"));
    }
    if status.replicas.unwrap_or(0) > updated {
        return Some("pods of the old version are still there".to_owned());
    }
    let mut conditions = status.conditions.iter().flatten();
    let is_available = conditions.any(|c| c.type_ == "Available" && c.status == "True");
    let available = status.available_replicas.unwrap_or(0);
    (!is_available || available < updated).then(|| format!("{available} of {wanted} pods are available"))
}

/// The first thing that keeps a pod from running.
async fn trouble(client: &Client) -> Option<String> {
    let api: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let selector = format!("{}={}", labels::APP_NAME, labels::APP);
    let pods = api.list(&ListParams::default().labels(&selector)).await.ok()?;
    pods.items.iter().find_map(trouble_of)
}

fn trouble_of(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let name = pod.name_any();
    let waiting = status.container_statuses.iter().flatten().find_map(|c| {
        let waiting = c.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref().filter(|r| *r != "ContainerCreating")?;
        let ended = c.last_state.as_ref().and_then(|s| s.terminated.as_ref());
        let message = ended
            .and_then(|t| t.message.as_deref())
            .or(waiting.message.as_deref());
        Some((reason.to_owned(), message.unwrap_or_default().to_owned()))
    });
    let scheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|c| c.type_ == "PodScheduled");
    let unscheduled = scheduled.filter(|c| c.status == "False").map(|c| {
        (
            c.reason.clone().unwrap_or_default(),
            c.message.clone().unwrap_or_default(),
        )
    });
    let (reason, message) = waiting.or(unscheduled)?;
    let message = message.lines().last().unwrap_or_default();
    Some(
        format!("pod {name}: {reason}: {message}")
            .trim_end_matches([':', ' '])
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(status: &serde_json::Value) -> Deployment {
        serde_json::from_value(json!({ "metadata": { "generation": 2 }, "spec": { "replicas": 2, "selector": {}, "template": {} }, "status": status }))
            .unwrap()
    }

    #[test]
    fn old_pods_are_waited_out() {
        let up = json!({
            "observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2,
            "conditions": [{ "type": "Available", "status": "True" }],
        });
        assert_eq!(missing(&deployment(&up)), None);
        for (field, value) in [
            ("observedGeneration", 1),
            ("updatedReplicas", 1),
            ("replicas", 3),
            ("availableReplicas", 1),
        ] {
            let mut other = up.clone();
            other[field] = json!(value);
            assert!(missing(&deployment(&other)).is_some(), "{field}");
        }
    }

    #[test]
    fn a_pod_says_why_it_does_not_run() {
        let pod = |status| -> Pod {
            serde_json::from_value(json!({ "metadata": { "name": "p" }, "status": status })).unwrap()
        };
        let waiting = |reason: &str, message: &str| {
            pod(json!({ "containerStatuses": [{
                "name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "state": { "waiting": { "reason": reason, "message": message } },
            }] }))
        };
        assert_eq!(trouble_of(&waiting("ContainerCreating", "")), None);
        assert_eq!(
            trouble_of(&waiting("ImagePullBackOff", "no such image")).unwrap(),
            "pod p: ImagePullBackOff: no such image"
        );
        let unscheduled = pod(json!({ "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes",
        }] }));
        assert_eq!(
            trouble_of(&unscheduled).unwrap(),
            "pod p: Unschedulable: 0/1 nodes"
        );
    }
}
