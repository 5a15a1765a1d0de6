//! Drains the Node of a machine without deleting the machine. Which pods leave, and how it stands, is decided where the controllers decide
//! it; this asks and waits.

use std::{sync::Arc, time::Instant};

use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{
    ClusterError, Story, access,
    running::{self, Controllers, Deadline, beside},
};
use crate::{
    api::v1alpha1::{ApiServerKind, Cluster, Machine},
    client::{FIELD_MANAGER, Session},
    controllers::{
        self,
        drain::{self, Answer, Drain, Memory, PodKey},
    },
    time::{Clock, SignedDuration, SystemClock},
};

/// The Node of a machine, and the cluster that it lives in.
pub struct Home {
    client: Client,
    /// Name of the Node.
    pub node: String,
}

/// What was done to a Node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drained {
    /// Whether it was there.
    pub existed: bool,
    /// Whether it took pods before.
    pub cordoned: bool,
    /// Pods that were asked to leave, as `namespace/name`.
    pub pods: Vec<String>,
    /// Pods that would not leave, and why: only when it was not meant.
    pub refused: Vec<(String, String)>,
}

/// Finds the Node of a machine: in the cluster of its objects, or in the workload cluster that it names.
pub async fn find(session: &Session, namespace: &str, machine: &str) -> Result<Home, ClusterError> {
    let missing = |kind, name: &str| ClusterError::Missing {
        kind,
        name: name.to_owned(),
        namespace: namespace.to_owned(),
    };
    let machines: Api<Machine> = Api::namespaced(session.client.clone(), namespace);
    let found = machines
        .get_opt(machine)
        .await
        .map_err(ClusterError::api(format!("can't look at machine {machine}")))?
        .ok_or_else(|| missing("Machine", machine))?;
    let node = found
        .status
        .as_ref()
        .and_then(|s| s.node_ref.as_ref()?.name.clone());
    let node = node.ok_or_else(|| ClusterError::NoNode {
        machine: machine.to_owned(),
    })?;
    let Some(cluster) = &found.spec.cluster_name else {
        return Ok(Home {
            client: session.client.clone(),
            node,
        });
    };
    let clusters: Api<Cluster> = Api::namespaced(session.client.clone(), namespace);
    let object = clusters
        .get_opt(cluster)
        .await
        .map_err(ClusterError::api(format!("can't look at cluster {cluster}")))?
        .ok_or_else(|| missing("Cluster", cluster))?;
    let client = match object.spec.api_server {
        ApiServerKind::Management => session.client.clone(),
        ApiServerKind::Own => workload(session, cluster, namespace).await?,
    };
    Ok(Home { client, node })
}

async fn workload(session: &Session, cluster: &str, namespace: &str) -> Result<Client, ClusterError> {
    let failed = |why: String| ClusterError::NoAccess {
        cluster: cluster.to_owned(),
        why,
    };
    let kubeconfig = access::admin_kubeconfig(session, cluster, namespace)
        .await?
        .ok_or_else(|| failed("its kubeconfig is not made yet".to_owned()))?;
    controllers::client_from(&kubeconfig, None).await.map_err(failed)
}

/// Cordons a Node and asks its pods to leave until none is left that has to. On the embedded server the controllers run meanwhile.
pub async fn drain(
    session: &Session,
    home: &Home,
    story: &Arc<dyn Story>,
    deadline: &Deadline,
) -> Result<Drained, ClusterError> {
    let docker = running::docker(None).await.ok();
    let actuators = running::actuators(&session.client, docker);
    let mut controllers = Controllers::start(session, actuators, story.as_ref()).await?;
    let near = session.target.is_embedded();
    let work = Box::pin(until_drained(home, near, story.as_ref(), deadline));
    let done = Box::pin(beside(&mut controllers, work)).await;
    if let Some(controllers) = controllers {
        controllers.stop().await;
    }
    done
}

async fn until_drained(
    home: &Home,
    near: bool,
    story: &dyn Story,
    deadline: &Deadline,
) -> Result<Drained, ClusterError> {
    let memory = Memory::default();
    let mut done = Drained::default();
    let begun = Instant::now();
    loop {
        let since = SignedDuration::try_from(begun.elapsed()).unwrap_or(SignedDuration::MAX);
        let Some((node, mut pods)) = look(home).await? else {
            return Ok(done);
        };
        done.existed = true;
        if node.spec.as_ref().and_then(|s| s.unschedulable) != Some(true) {
            cordon(home).await?;
            done.cordoned = true;
        }
        let now = SystemClock.now();
        let mut refusals = memory.recall(now);
        let mut judged = drain::drain(&node, &pods, &refusals, since, now);
        if judged.progress.is_done() {
            return Ok(done);
        }
        if !judged.evict.is_empty() {
            let answers = ask(home, &judged, false).await?;
            memory.remember(&answers, now);
            done.pods.extend(left(&answers));
            drain::take(&mut pods, &mut refusals, answers, now);
            judged = drain::drain(&node, &pods, &refusals, since, now);
        }
        let text = judged.progress.to_string();
        story.detail(&text);
        deadline.pause(near, &text).await?;
    }
}

/// Says what a drain would do. With `ask_server` the API server says which pods would be refused.
pub async fn preview(home: &Home, ask_server: bool) -> Result<Drained, ClusterError> {
    let Some((node, pods)) = look(home).await? else {
        return Ok(Drained::default());
    };
    let now = SystemClock.now();
    let mut done = Drained {
        existed: true,
        cordoned: node.spec.as_ref().and_then(|s| s.unschedulable) != Some(true),
        ..Drained::default()
    };
    let mut asked = Vec::new();
    // A look asks a bounded number of pods; all are shown.
    let mut pods: Vec<_> = pods
        .into_iter()
        .filter(|p| p.metadata.deletion_timestamp.is_none())
        .collect();
    loop {
        let judged = drain::drain(&node, &pods, &drain::Refusals::new(), SignedDuration::ZERO, now);
        if judged.evict.is_empty() {
            break;
        }
        if ask_server {
            asked.extend(ask(home, &judged, true).await?);
        } else {
            asked.extend(judged.evict.iter().map(|pod| (pod.clone(), Answer::Leaves)));
        }
        pods.retain(|p| !judged.evict.contains(&PodKey::of(p)));
    }
    asked.sort_by(|a, b| a.0.cmp(&b.0));
    done.pods = left(&asked);
    done.refused = asked
        .into_iter()
        .filter_map(|(pod, answer)| match answer {
            Answer::Leaves => None,
            Answer::Blocked(why) | Answer::Failed(why) => Some((pod.to_string(), why)),
        })
        .collect();
    Ok(done)
}

fn left(answers: &[(PodKey, Answer)]) -> Vec<String> {
    let mut names: Vec<String> = answers
        .iter()
        .filter(|(_, answer)| *answer == Answer::Leaves)
        .map(|(pod, _)| pod.to_string())
        .collect();
    names.sort();
    names
}

/// The Node and its pods; nothing if the Node is gone.
async fn look(home: &Home) -> Result<Option<(Node, Vec<k8s_openapi::api::core::v1::Pod>)>, ClusterError> {
    let name = &home.node;
    let nodes: Api<Node> = Api::all(home.client.clone());
    let node = nodes
        .get_opt(name)
        .await
        .map_err(ClusterError::api(format!("can't look at Node {name}")))?;
    let Some(node) = node else { return Ok(None) };
    let pods = drain::pods_of(&home.client, name).await.map_err(silent)?;
    Ok(Some((node, pods)))
}

async fn cordon(home: &Home) -> Result<(), ClusterError> {
    let nodes: Api<Node> = Api::all(home.client.clone());
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({ "spec": { "unschedulable": true } }));
    let done = nodes.patch(&home.node, &params, &patch).await;
    done.map(|_| ())
        .map_err(ClusterError::api(format!("can't cordon Node {}", home.node)))
}

async fn ask(home: &Home, judged: &Drain, dry_run: bool) -> Result<Vec<(PodKey, Answer)>, ClusterError> {
    drain::evict(&home.client, &judged.evict, judged.grace, dry_run)
        .await
        .map_err(silent)
}

fn silent(error: controllers::ReconcileError) -> ClusterError {
    match error {
        controllers::ReconcileError::Api { doing, source } => ClusterError::Api {
            what: format!("failed: {doing}"),
            source: Box::new(source),
        },
        other => ClusterError::Silent(other.to_string()),
    }
}
