//! Makes a cluster: objects, controllers, and whatever it takes until it can be used. Called again it goes on where it stood.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Node, Pod},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{
    ClusterError, Infrastructure, Story, access, addons,
    images::ControllerImage,
    objects::{ClusterObjects, Renderer},
    request::{ANNOTATION, ClusterRequest, Summary},
    running::{self, Controllers, Deadline, beside},
};
use crate::{
    api::{
        labels, names,
        v1alpha1::{Cluster, MachineSet},
    },
    client::{self, FIELD_MANAGER, Session, kinds},
    install,
    kubeconfig::{self, Paths},
    providers::docker::DockerActuator,
};

/// Objects that are sent at the same time.
const AT_ONCE: usize = 32;

/// What became of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Context that leads to the cluster, and the file that holds it; nothing where it leads through an older context.
    pub context: Option<(String, PathBuf)>,
}

/// How long to wait.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Whether to wait at all.
    pub wait: bool,
    /// For how long.
    pub limit: Duration,
    /// Whether the server only checks the objects.
    pub dry_run: bool,
}

/// Makes a cluster.
pub async fn create(
    session: &mut Session,
    request: &ClusterRequest,
    paths: &Paths,
    story: &Arc<dyn Story>,
    patience: Patience,
) -> Result<Created, ClusterError> {
    request.validate()?;
    let docker = match request.infrastructure {
        Infrastructure::Docker => Some(running::docker(Some(Arc::clone(story))).await?),
        Infrastructure::Hollow => None,
    };
    story.step("Preparing the management cluster");
    prepare(session).await?;
    let known = check(session, request, docker.as_deref()).await?;
    story.step(if known {
        "Going on with the objects"
    } else {
        "Creating objects"
    });
    let ClusterObjects { base, workers, set } = Renderer::new()?.cluster(request)?;
    send(&session.client, &base, patience.dry_run).await?;
    // A set that is there was perhaps scaled: it keeps its workers as they are.
    if !has_set(&session.client, request).await? {
        send(&session.client, &workers, patience.dry_run).await?;
        send(&session.client, &set, patience.dry_run).await?;
    }
    if !patience.wait {
        return Ok(Created { context: None });
    }
    if let Some(server) = &mut session.server {
        // Others can look while this goes on.
        server.serve(None).await.map_err(client::ClientError::from)?;
    }
    let actuators = running::actuators(&session.client, docker.clone());
    let mut controllers = Controllers::start(session, actuators, story.as_ref()).await?;
    let finished = beside(
        &mut controllers,
        Box::pin(finish(
            session,
            request,
            paths,
            story.as_ref(),
            docker,
            patience.limit,
        )),
    )
    .await;
    if let Some(controllers) = controllers {
        controllers.stop().await;
    }
    finished
}

/// Makes sure that the management cluster can hold the objects. The embedded one is made so; another one is the user's.
pub(crate) async fn prepare(session: &Session) -> Result<(), ClusterError> {
    if session.target.is_embedded() {
        install::definitions(&session.client, false).await?;
        return Ok(());
    }
    let installed = install::is_installed(&session.client)
        .await
        .map_err(ClusterError::api(format!(
            "can't ask context \"{}\" whether it can hold machines",
            session.target.name()
        )))?;
    if installed {
        Ok(())
    } else {
        Err(ClusterError::NotInstalled(session.target.name().to_owned()))
    }
}

/// Whether the set of a cluster's workers exists.
async fn has_set(client: &Client, request: &ClusterRequest) -> Result<bool, ClusterError> {
    let sets: Api<MachineSet> = Api::namespaced(client.clone(), &request.namespace);
    let name = names::workers(&request.name);
    let found = sets
        .get_opt(&name)
        .await
        .map_err(ClusterError::api(format!("can't look for MachineSet {name}")))?;
    Ok(found.is_some())
}

/// Refuses what would clash with something that exists. Returns whether this very cluster is there already.
async fn check(
    session: &Session,
    request: &ClusterRequest,
    docker: Option<&DockerActuator>,
) -> Result<bool, ClusterError> {
    let name = &request.name;
    let clusters: Api<Cluster> = Api::namespaced(session.client.clone(), &request.namespace);
    let found = clusters
        .get_opt(name)
        .await
        .map_err(ClusterError::api(format!("can't look for cluster {name}")))?;
    if let Some(found) = found {
        if found.metadata.deletion_timestamp.is_some() {
            return Err(ClusterError::Different {
                name: name.clone(),
                differences: vec!["it is being deleted".to_owned()],
            });
        }
        let made: Option<Summary> = found
            .annotations()
            .get(ANNOTATION)
            .and_then(|text| serde_json::from_str(text).ok());
        let differences = made.map_or_else(
            || vec!["it was not made by this command".to_owned()],
            |made| request.summary().differences(&made),
        );
        return if differences.is_empty() {
            Ok(true)
        } else {
            Err(ClusterError::Different {
                name: name.clone(),
                differences,
            })
        };
    }
    if let Some(docker) = docker {
        let containers = docker
            .containers_of(name)
            .await
            .map_err(|source| ClusterError::Engine {
                what: format!("can't look for containers of cluster {name}"),
                source,
            })?;
        if !containers.is_empty() {
            return Err(ClusterError::Containers {
                name: name.clone(),
                containers: containers.into_iter().map(|c| c.name).collect(),
            });
        }
    }
    Ok(false)
}

/// Sends objects by server-side apply: the first alone, since the others belong to it, and then many at once.
pub(crate) async fn send(client: &Client, objects: &[Value], dry_run: bool) -> Result<(), ClusterError> {
    let Some((first, rest)) = objects.split_first() else {
        return Ok(());
    };
    send_one(client, first, dry_run).await?;
    stream::iter(rest)
        .map(|object| send_one(client, object, dry_run))
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await
}

/// Sends one object by server-side apply.
pub(crate) async fn send_one(client: &Client, object: &Value, dry_run: bool) -> Result<(), ClusterError> {
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (api_version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
    let what = format!("can't apply {kind}/{name}");
    let known = kinds::of_object(client, api_version, kind)
        .await
        .map_err(ClusterError::api(what.clone()))?;
    let Some(known) = known else {
        return Err(ClusterError::Missing {
            kind: "kind",
            name: format!("{kind} ({api_version})"),
            namespace: String::new(),
        });
    };
    let resource = known.api_resource();
    let api: Api<DynamicObject> = if known.namespaced {
        let namespace = Some(text("/metadata/namespace")).filter(|n| !n.is_empty());
        Api::namespaced_with(client.clone(), namespace.unwrap_or("default"), &resource)
    } else {
        Api::all_with(client.clone(), &resource)
    };
    let mut parameters = PatchParams::apply(FIELD_MANAGER).force();
    parameters.dry_run = dry_run;
    api.patch(name, &parameters, &Patch::Apply(object))
        .await
        .map_err(ClusterError::api(what))?;
    Ok(())
}

async fn finish(
    session: &Session,
    request: &ClusterRequest,
    paths: &Paths,
    story: &dyn Story,
    docker: Option<Arc<DockerActuator>>,
    limit: Duration,
) -> Result<Created, ClusterError> {
    let name = &request.name;
    let deadline = Deadline::new(limit, format!("cluster {name}"));
    if let Some(docker) = &docker {
        let mut image = ControllerImage::prepare(Arc::clone(docker), name);
        story.step("Starting the control plane");
        let workload = control_plane(session, request, story, &deadline).await?;
        // The image of the controllers goes into nodes while others are waited for: first where they run, then everywhere.
        let nodes = async {
            if let Some(registry) = &request.registry {
                story.step("Starting the local registry");
                addons::registry(&workload, docker, registry, &deadline).await?;
            }
            story.step("Installing network and storage");
            addons::install(&workload, docker, request, story, &deadline).await?;
            if request.machine_api {
                story.step("Installing the kinds of machines");
                install::definitions(&workload, false).await?;
            }
            story.step("Starting nodes");
            running::until_running(
                session,
                name,
                &request.namespace,
                request.machines(),
                story,
                &deadline,
            )
            .await?;
            Ok::<(), ClusterError>(())
        };
        let ((), nodes) = futures::join!(image.load(story), nodes);
        nodes?;
        let ((), usable) = futures::join!(image.load(story), usable(&workload, request, story, &deadline));
        usable?;
    } else {
        story.step("Starting nodes");
        running::until_running(
            session,
            name,
            &request.namespace,
            request.machines(),
            story,
            &deadline,
        )
        .await?;
    }
    counted(session, request, story, &deadline).await?;
    story.step("Writing the kubeconfig");
    let clusters: Api<Cluster> = Api::namespaced(session.client.clone(), &request.namespace);
    let cluster = clusters
        .get(name)
        .await
        .map_err(ClusterError::api(format!("can't look at cluster {name}")))?;
    let entry = access::entry(session, &cluster, &request.namespace, request.machine_api).await?;
    let context = match entry {
        Some(entry) => {
            let file = kubeconfig::merge(paths, &entry, true)?;
            Some((entry.context, file))
        }
        None => None,
    };
    Ok(Created { context })
}

/// Waits until the set has taken the workers over: what is shown next is then right.
async fn counted(
    session: &Session,
    request: &ClusterRequest,
    story: &dyn Story,
    deadline: &Deadline,
) -> Result<(), ClusterError> {
    let sets: Api<MachineSet> = Api::namespaced(session.client.clone(), &request.namespace);
    let name = names::workers(&request.name);
    loop {
        let found = sets
            .get_opt(&name)
            .await
            .map_err(ClusterError::api(format!("can't look at MachineSet {name}")))?;
        let Some(set) = found else { return Ok(()) };
        let current = set
            .status
            .as_ref()
            .filter(|s| s.observed_generation == set.metadata.generation);
        if current.is_some_and(|s| s.replicas >= set.spec.replicas) {
            return Ok(());
        }
        let text = format!("MachineSet {name} counts its machines");
        story.detail(&text);
        deadline.pause(session.target.is_embedded(), &text).await?;
    }
}

/// Waits until the API server of the new cluster answers, and returns a client for it.
async fn control_plane(
    session: &Session,
    request: &ClusterRequest,
    story: &dyn Story,
    deadline: &Deadline,
) -> Result<Client, ClusterError> {
    // Only the control-plane machine counts here: workers can't run before the network is there.
    running::until_control_plane(session, &request.name, &request.namespace, story, deadline).await?;
    loop {
        if let Some(text) = access::admin_kubeconfig(session, &request.name, &request.namespace).await? {
            return Ok(client::from_text(&request.name, &text).await?);
        }
        deadline
            .pause(
                session.target.is_embedded(),
                "waiting for the kubeconfig of the cluster",
            )
            .await?;
    }
}

/// Waits until all Nodes are Ready and a pod runs there that is not part of the control plane.
async fn usable(
    workload: &Client,
    request: &ClusterRequest,
    story: &dyn Story,
    deadline: &Deadline,
) -> Result<(), ClusterError> {
    story.step("Waiting until nodes are ready");
    let nodes: Api<Node> = Api::all(workload.clone());
    let pods: Api<Pod> = Api::all(workload.clone());
    let looking =
        |what: &str| ClusterError::api(format!("can't look at the {what} of cluster {}", request.name));
    if request.workers == 0 {
        open_control_plane(&nodes).await?;
    }
    let daemons: Api<DaemonSet> = Api::namespaced(workload.clone(), "kube-system");
    // Where kube-proxy is, it runs on every node; where it is not, nothing need run at all.
    let everywhere = daemons
        .get_opt("kube-proxy")
        .await
        .map_err(looking("daemon sets"))?
        .is_some();
    loop {
        let all = nodes
            .list(&ListParams::default())
            .await
            .map_err(looking("nodes"))?
            .items;
        let ready = all.iter().filter(|n| is_ready(n)).count();
        let pods = pods
            .list(&ListParams::default())
            .await
            .map_err(looking("pods"))?
            .items;
        let mut text = format!("{ready} of {} nodes are ready", request.machines());
        if ready >= request.machines() {
            let alive = all.iter().filter(|node| runs_a_pod(node, &pods)).count();
            let enough = if everywhere {
                alive >= all.len()
            } else {
                alive > 0 || pods.iter().all(is_static)
            };
            if enough {
                return Ok(());
            }
            text = format!("pods run on {alive} of {} nodes", all.len());
        }
        story.detail(&text);
        deadline.pause(false, &text).await?;
    }
}

/// Whether a pod runs on a node that kubelet was told of by the API server: a Ready node is no proof that it can.
fn runs_a_pod(node: &Node, pods: &[Pod]) -> bool {
    let on_it =
        |pod: &Pod| pod.spec.as_ref().and_then(|s| s.node_name.as_ref()) == node.metadata.name.as_ref();
    pods.iter()
        .any(|pod| !is_static(pod) && is_running(pod) && on_it(pod))
}

/// Lets pods run on the only node that there is.
async fn open_control_plane(nodes: &Api<Node>) -> Result<(), ClusterError> {
    let failed = || ClusterError::api("can't let pods run on the control plane");
    for node in nodes.list(&ListParams::default()).await.map_err(failed())?.items {
        let taints = node
            .spec
            .as_ref()
            .and_then(|s| s.taints.clone())
            .unwrap_or_default();
        let kept: Vec<_> = taints
            .iter()
            .filter(|t| t.key != labels::MASTER_ROLE && t.key != labels::CONTROL_PLANE_ROLE)
            .collect();
        if kept.len() != taints.len() {
            let patch = json!({ "metadata": { "resourceVersion": node.resource_version() }, "spec": { "taints": kept } });
            match nodes
                .patch(&node.name_any(), &PatchParams::default(), &Patch::Merge(&patch))
                .await
            {
                Ok(_) => {}
                // Somebody else wrote it meanwhile; the next run of the same command sees to it.
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(failed()(error)),
            }
        }
    }
    Ok(())
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

/// Whether a pod comes from a file on its node, as those of the control plane do.
fn is_static(pod: &Pod) -> bool {
    pod.annotations().contains_key("kubernetes.io/config.mirror")
}

fn is_running(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    phase == Some("Running")
}
