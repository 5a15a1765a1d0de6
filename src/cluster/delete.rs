//! Removes a cluster: machines, containers, kubeconfig entries, objects; also what is left when the objects are lost.

use std::{sync::Arc, time::Duration};

use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
};
use serde_json::json;

use super::{
    ClusterError, Infrastructure, Story, access, farewell,
    running::{self, Controllers, Deadline, beside, machines_of},
};
use crate::{
    api::{
        labels,
        v1alpha1::{Cluster, Machine},
    },
    client::{Session, kinds},
    kubeconfig::Paths,
    providers::docker::DockerActuator,
};

/// Kinds whose objects bear the cluster's label and go with it.
const COMPANY: [&str; 5] = [
    "DockerMachine",
    "HollowMachine",
    "DockerMachineTemplate",
    "HollowMachineTemplate",
    "Config",
];
/// What makes machines anew, from the top.
const GROUPS: [&str; 3] = ["MachineHealthCheck", "MachineDeployment", "MachineSet"];

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Machines.
    pub machines: Vec<String>,
    /// Containers that no object stood for.
    pub containers: Vec<String>,
    /// Whether there were kubeconfig entries.
    pub kubeconfig: bool,
}

/// Removes a cluster.
pub async fn delete(
    session: &mut Session,
    name: &str,
    namespace: &str,
    paths: &Paths,
    story: &Arc<dyn Story>,
    limit: Duration,
) -> Result<Deleted, ClusterError> {
    let deadline = Deadline::new(limit, format!("the deletion of cluster {name}"));
    let clusters: Api<Cluster> = Api::namespaced(session.client.clone(), namespace);
    let cluster = match clusters.get_opt(name).await {
        Ok(found) => found,
        Err(kube::Error::Api(status)) if status.code == 404 => None,
        Err(error) => return Err(ClusterError::api(format!("can't look for cluster {name}"))(error)),
    };
    let machines = machines_of(&session.client, name, namespace).await?;
    let hollow = cluster.is_some() && machines.iter().all(|m| !is_docker(m)) && !machines.is_empty();
    let docker = if hollow {
        Ok(None)
    } else {
        running::docker(None).await.map(Some)
    };
    if cluster.is_none() && machines.is_empty() {
        return leftovers(session, name, namespace, paths, docker, story.as_ref()).await;
    }
    let needs_docker = machines.iter().any(is_docker);
    let docker = match docker {
        Ok(docker) => docker,
        Err(error) if needs_docker => return Err(error),
        Err(_) => None,
    };
    if let Some(server) = &mut session.server {
        server
            .serve(None)
            .await
            .map_err(crate::client::ClientError::from)?;
    }
    let actuators = running::actuators(&session.client, docker.clone());
    let mut controllers = Controllers::start(session, actuators, story.as_ref()).await?;
    let gone = beside(
        &mut controllers,
        remove_objects(session, name, namespace, story.as_ref(), &deadline),
    )
    .await;
    if let Some(controllers) = controllers {
        controllers.stop().await;
    }
    let machines = gone?;
    let containers = remaining_containers(docker.as_deref(), name).await?;
    Ok(Deleted {
        machines,
        containers,
        kubeconfig: access::forget(paths, name)?,
    })
}

/// What is there when no object is: containers, kubeconfig entries, Secrets.
async fn leftovers(
    session: &Session,
    name: &str,
    namespace: &str,
    paths: &Paths,
    docker: Result<Option<Arc<DockerActuator>>, ClusterError>,
    story: &dyn Story,
) -> Result<Deleted, ClusterError> {
    let (docker, note) = match docker {
        Ok(docker) => (docker, None),
        Err(ClusterError::Docker(error)) => (None, Some(format!(" (Docker could not be asked: {error})"))),
        Err(error) => return Err(error),
    };
    let containers = remaining_containers(docker.as_deref(), name).await?;
    let kubeconfig = access::forget(paths, name)?;
    let groups = remove_kinds(&session.client, &GROUPS, name, namespace).await?;
    let objects = remove_kinds(&session.client, &COMPANY, name, namespace).await? || groups;
    if containers.is_empty() && !kubeconfig && !objects {
        return Err(ClusterError::NoCluster {
            name: name.to_owned(),
            note,
        });
    }
    story.warn(&format!(
        "cluster \"{name}\" had no Cluster object any more; what was left of it is gone"
    ));
    Ok(Deleted {
        machines: Vec::new(),
        containers,
        kubeconfig,
    })
}

async fn remaining_containers(
    docker: Option<&DockerActuator>,
    name: &str,
) -> Result<Vec<String>, ClusterError> {
    let Some(docker) = docker else {
        return Ok(Vec::new());
    };
    docker
        .remove_cluster(name)
        .await
        .map_err(|source| ClusterError::Engine {
            what: format!("can't remove the containers of cluster {name}"),
            source,
        })
}

fn is_docker(machine: &Machine) -> bool {
    let kind = machine
        .spec
        .infrastructure_ref
        .as_ref()
        .and_then(|r| r.kind.as_deref());
    kind == Some(Infrastructure::Docker.kind())
}

/// Removes workers first and the control plane last: Nodes can only be removed while it answers.
async fn remove_objects(
    session: &Session,
    name: &str,
    namespace: &str,
    story: &dyn Story,
    deadline: &Deadline,
) -> Result<Vec<String>, ClusterError> {
    remove_kinds(&session.client, &GROUPS, name, namespace).await?;
    let machines = machines_of(&session.client, name, namespace).await?;
    let (last, first): (Vec<_>, Vec<_>) = machines.into_iter().partition(Machine::is_control_plane);
    let mut removed = Vec::new();
    for (step, group) in [("Deleting workers", first), ("Deleting the control plane", last)] {
        if group.is_empty() {
            continue;
        }
        story.step(step);
        let names: Vec<String> = group.iter().map(ResourceExt::name_any).collect();
        delete_machines(&session.client, namespace, &names).await?;
        until_gone(session, namespace, &names, story, deadline).await?;
        removed.extend(names);
    }
    story.step("Deleting objects");
    remove_kinds(&session.client, &COMPANY, name, namespace).await?;
    let clusters: Api<Cluster> = Api::namespaced(session.client.clone(), namespace);
    let failed = || ClusterError::api(format!("can't delete cluster {name}"));
    match clusters.delete(name, &DeleteParams::background()).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(removed),
        Err(error) => return Err(failed()(error)),
    }
    while clusters.get_opt(name).await.map_err(failed())?.is_some() {
        deadline
            .pause(session.target.is_embedded(), "the Cluster object is still there")
            .await?;
    }
    Ok(removed)
}

/// Deletes machines at once. Pods need not move first: the whole cluster goes.
async fn delete_machines(client: &Client, namespace: &str, names: &[String]) -> Result<(), ClusterError> {
    let api: Api<Machine> = Api::namespaced(client.clone(), namespace);
    let patch = json!({ "metadata": { "annotations": {
        labels::EXCLUDE_NODE_DRAINING: "cluster is deleted",
        labels::ALLOW_LAST_CONTROL_PLANE_DELETION: "cluster is deleted",
    } } });
    futures::future::try_join_all(names.iter().map(|name| {
        let (api, patch) = (&api, &patch);
        async move {
            let done = async {
                api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
                    .await?;
                api.delete(name, &DeleteParams::background()).await
            };
            match done.await {
                Ok(_) => Ok(()),
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                Err(error) => Err(ClusterError::api(format!("can't delete machine {name}"))(error)),
            }
        }
    }))
    .await?;
    Ok(())
}

/// Waits until machines are gone.
pub async fn until_gone(
    session: &Session,
    namespace: &str,
    names: &[String],
    story: &dyn Story,
    deadline: &Deadline,
) -> Result<(), ClusterError> {
    let api: Api<Machine> = Api::namespaced(session.client.clone(), namespace);
    loop {
        let left: Vec<Machine> = api
            .list(&ListParams::default())
            .await
            .map_err(ClusterError::api("can't list machines"))?
            .items
            .into_iter()
            .filter(|m| names.contains(&m.name_any()))
            .collect();
        let Some(one) = left.first() else {
            return Ok(());
        };
        let step = one.status.as_ref().and_then(|s| farewell(&s.conditions));
        let text = format!(
            "{} of {} machines are left, {} among them{}",
            left.len(),
            names.len(),
            one.name_any(),
            step.map_or_else(String::new, |step| format!(": {step}"))
        );
        story.detail(&text);
        deadline.pause(session.target.is_embedded(), &text).await?;
    }
}

/// Deletes the objects of some kinds that belong to a cluster. Returns whether there were any.
async fn remove_kinds(
    client: &Client,
    kinds: &[&str],
    cluster: &str,
    namespace: &str,
) -> Result<bool, ClusterError> {
    let belongs = |object: &DynamicObject| {
        let named = object.data.pointer("/spec/clusterName").and_then(|c| c.as_str()) == Some(cluster);
        // The clusterName of infrastructure is what containers are labelled with: a cluster of another namespace may be meant.
        let label = object
            .labels()
            .get(labels::CLUSTER_NAME)
            .is_some_and(|c| c == cluster);
        label
            || (named
                && object
                    .types
                    .as_ref()
                    .is_some_and(|t| GROUPS.contains(&t.kind.as_str())))
    };
    let mut any = false;
    for kind in kinds.iter().filter_map(|kind| kinds::own_by_kind(kind)) {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind.api_resource());
        let found = match api.list(&ListParams::default()).await {
            Ok(list) => list.items,
            Err(kube::Error::Api(status)) if status.code == 404 => continue,
            Err(error) => {
                return Err(ClusterError::api(format!("can't list {}", kind.full_name()))(
                    error,
                ));
            }
        };
        for object in found.into_iter().filter(|object| belongs(object)) {
            match api.delete(&object.name_any(), &DeleteParams::background()).await {
                Ok(_) => any = true,
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => {
                    return Err(ClusterError::api(format!(
                        "can't delete {}/{}",
                        kind.full_name(),
                        object.name_any()
                    ))(error));
                }
            }
        }
    }
    Ok(any)
}
