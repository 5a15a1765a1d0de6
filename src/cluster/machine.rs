//! Makes a single machine: Machine, infrastructure object, and a Config if none is named.

use std::sync::Arc;

use kube::Api;

use super::{
    ClusterError, Infrastructure, Story,
    create::{Patience, prepare, send},
    objects::{MachineRequest, Renderer, worker_config},
    request::ClusterRequest,
    running::{self, Controllers, Deadline, beside},
};
use crate::{
    api::{
        names,
        v1alpha1::{Cluster, Config, DockerMachine, Machine},
    },
    client::Session,
};

/// What the user said about a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Name of the machine.
    pub name: String,
    /// Namespace of its objects.
    pub namespace: String,
    /// Cluster that it joins.
    pub cluster: Option<String>,
    /// Where it comes from; without it as the cluster's other machines.
    pub infrastructure: Option<Infrastructure>,
    /// Node image; without it that of the cluster's other machines.
    pub image: Option<String>,
    /// Config; without it one is made, or the cluster's own is used.
    pub config: Option<String>,
    /// Kubernetes version.
    pub version: Option<String>,
}

/// Works out the objects of a machine from what is there.
pub async fn objects(session: &Session, wish: &Wish) -> Result<Vec<serde_json::Value>, ClusterError> {
    let (request, mut objects) = resolve(session, wish).await?;
    objects.extend(Renderer::new()?.machine(&request)?);
    Ok(objects)
}

/// Fills in what the user left out, from what is there. Gives back the Config, too, if one has to be made.
pub(super) async fn resolve(
    session: &Session,
    wish: &Wish,
) -> Result<(MachineRequest, Vec<serde_json::Value>), ClusterError> {
    let Wish {
        name,
        namespace,
        cluster,
        infrastructure,
        image,
        config,
        version,
    } = wish;
    names::dns_label(name)?;
    let client = &session.client;
    let missing = |kind, name: &str| ClusterError::Missing {
        kind,
        name: name.to_owned(),
        namespace: namespace.clone(),
    };
    if let Some(cluster) = cluster {
        let clusters: Api<Cluster> = Api::namespaced(client.clone(), namespace);
        let found = clusters
            .get_opt(cluster)
            .await
            .map_err(ClusterError::api(format!("can't look for cluster {cluster}")))?;
        found.ok_or_else(|| missing("Cluster", cluster))?;
    }
    let configs: Api<Config> = Api::namespaced(client.clone(), namespace);
    let has_config = |name: String| {
        let configs = configs.clone();
        async move {
            let found = configs
                .get_opt(&name)
                .await
                .map_err(ClusterError::api(format!("can't look for config {name}")))?;
            Ok::<bool, ClusterError>(found.is_some())
        }
    };
    if let Some(config) = config
        && !has_config(config.clone()).await?
    {
        return Err(missing("Config", config));
    }
    let siblings = match cluster {
        Some(cluster) => running::machines_of(client, cluster, namespace).await?,
        None => Vec::new(),
    };
    let infrastructure = infrastructure.unwrap_or_else(|| as_siblings(&siblings));
    let docker = infrastructure == Infrastructure::Docker;
    let image = match image {
        Some(image) => image.clone(),
        None if docker => image_of(session, namespace, &siblings, version.as_deref()).await?,
        None => String::new(),
    };
    let renderer = Renderer::new()?;
    let mut objects = Vec::new();
    let config = match (config, cluster) {
        (Some(config), _) => Some(config.clone()),
        (None, _) if !docker => None,
        (None, Some(cluster)) if has_config(worker_config(cluster)).await? => Some(worker_config(cluster)),
        (None, cluster) => {
            let of = cluster.clone().or_else(|| session.target.cluster.clone());
            let request = ClusterRequest::new(of.as_deref().unwrap_or("cinder"), namespace, infrastructure);
            objects.push(renderer.config(name, namespace, cluster.as_ref(), &request.worker)?);
            Some(name.clone())
        }
    };
    // A machine of no Cluster joins the cluster that holds the objects; its containers bear that one's name.
    let docker_cluster = cluster
        .clone()
        .or_else(|| session.target.cluster.clone())
        .unwrap_or_else(|| "cinder".to_owned());
    let request = MachineRequest {
        name: name.clone(),
        namespace: namespace.clone(),
        cluster: cluster.clone(),
        infrastructure,
        image,
        version: version.clone(),
        config,
        control_plane: false,
        docker_cluster,
        mounts: Vec::new(),
        ports: Vec::new(),
    };
    Ok((request, objects))
}

/// Makes a machine and waits until it runs.
pub async fn create(
    session: &mut Session,
    wish: &Wish,
    story: &Arc<dyn Story>,
    patience: Patience,
) -> Result<(), ClusterError> {
    names::dns_label(&wish.name)?;
    prepare(session).await?;
    let machines: Api<Machine> = Api::namespaced(session.client.clone(), &wish.namespace);
    let found = machines
        .get_opt(&wish.name)
        .await
        .map_err(ClusterError::api(format!("can't look for machine {}", wish.name)))?;
    if found.is_some_and(|m| !goes_on(&m, wish)) {
        return Err(ClusterError::Taken {
            kind: "Machine",
            name: wish.name.clone(),
            namespace: wish.namespace.clone(),
        });
    }
    let objects = objects(session, wish).await?;
    let docker = objects.iter().any(|o| o["kind"] == Infrastructure::Docker.kind());
    let docker = if docker {
        Some(running::docker(Some(Arc::clone(story))).await?)
    } else {
        None
    };
    story.step("Creating objects");
    // One after another: each refers to the one before it.
    for object in &objects {
        send(&session.client, std::slice::from_ref(object), patience.dry_run).await?;
    }
    if !patience.wait {
        return Ok(());
    }
    story.step("Starting the machine");
    let actuators = running::actuators(&session.client, docker);
    let mut controllers = Controllers::start(session, actuators, story.as_ref()).await?;
    let deadline = Deadline::new(patience.limit, format!("machine {}", wish.name));
    let names = [wish.name.clone()];
    let result = beside(
        &mut controllers,
        running::until_machines_run(session, &wish.namespace, &names, story.as_ref(), &deadline),
    )
    .await;
    if let Some(controllers) = controllers {
        controllers.stop().await;
    }
    result
}

/// Whether a machine that is there is the one that an earlier, interrupted run of the same command began.
fn goes_on(machine: &Machine, wish: &Wish) -> bool {
    let kind = machine
        .spec
        .infrastructure_ref
        .as_ref()
        .and_then(|r| r.kind.as_deref());
    let running = machine.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running");
    let known = kind.is_some_and(|kind| ["DockerMachine", "HollowMachine"].contains(&kind));
    !running
        && machine.metadata.deletion_timestamp.is_none()
        && machine.spec.cluster_name == wish.cluster
        && wish.infrastructure.map_or(known, |i| kind == Some(i.kind()))
}

fn as_siblings(siblings: &[Machine]) -> Infrastructure {
    let hollow = |m: &Machine| {
        let kind = m.spec.infrastructure_ref.as_ref().and_then(|r| r.kind.as_deref());
        kind == Some(Infrastructure::Hollow.kind())
    };
    if siblings.iter().any(hollow) {
        Infrastructure::Hollow
    } else {
        Infrastructure::Docker
    }
}

/// The image of the cluster's other machines, else the default.
async fn image_of(
    session: &Session,
    namespace: &str,
    siblings: &[Machine],
    version: Option<&str>,
) -> Result<String, ClusterError> {
    let containers: Api<DockerMachine> = Api::namespaced(session.client.clone(), namespace);
    for sibling in siblings.iter().filter(|_| version.is_none()) {
        let name = sibling
            .spec
            .infrastructure_ref
            .as_ref()
            .and_then(|r| r.name.as_deref());
        if let Some(name) = name
            && let Some(found) = containers
                .get_opt(name)
                .await
                .map_err(ClusterError::api(format!("can't look at DockerMachine {name}")))?
        {
            return Ok(found.spec.image);
        }
    }
    Ok(crate::config::node_image(version))
}
