//! Network and storage of a new cluster: the manifests that its node image brings along. What it does not bring is left to the user.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Value, json};

use super::{
    ClusterError, Story,
    create::send_one,
    request::{ClusterRequest, Registry},
    running::Deadline,
};
use crate::{providers::docker::DockerActuator, yaml};

/// Manifests in a node image, and what each is for.
const MANIFESTS: [(&str, &str); 2] = [
    ("/kind/manifests/default-cni.yaml", "network"),
    ("/kind/manifests/default-storage.yaml", "storage"),
];

static POD_SUBNET_VARIABLE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\{\{\s*\.PodSubnet\s*\}\}").expect("invariant: the pattern is a constant"));

/// Pod network of clusters in Docker when nobody says otherwise, as with kind.
pub const POD_SUBNET: &str = "10.244.0.0/16";

/// Applies the manifests that the control plane's image has.
pub(crate) async fn install(
    workload: &kube::Client,
    docker: &DockerActuator,
    request: &ClusterRequest,
    story: &dyn Story,
    deadline: &Deadline,
) -> Result<(), ClusterError> {
    for (path, what) in MANIFESTS {
        let file = docker
            .read_file(&request.name, path)
            .await
            .map_err(|source| ClusterError::Engine {
                what: format!("can't read {path} of node {}", request.name),
                source,
            })?;
        let Some(bytes) = file else {
            if what == "network" {
                story.warn(&format!(
                    "the node image {} brings no network; nodes become ready when you install one",
                    request.image
                ));
            }
            continue;
        };
        let subnet = request.pod_subnet.as_deref().unwrap_or(POD_SUBNET);
        for object in objects(path, &bytes, subnet)? {
            patiently(workload, &object, deadline).await?;
        }
    }
    Ok(())
}

/// Starts the registry beside the cluster and says in the cluster where it is, in the form that tools look for.
pub(crate) async fn registry(
    workload: &kube::Client,
    docker: &DockerActuator,
    registry: &Registry,
    deadline: &Deadline,
) -> Result<(), ClusterError> {
    let Registry { name, port } = registry;
    docker
        .ensure_registry(name, *port)
        .await
        .map_err(|source| ClusterError::Engine {
            what: format!("can't start the local registry {name}"),
            source,
        })?;
    let hosting = format!(
        "host: \"localhost:{port}\"\nhostFromContainerRuntime: \"{name}:{port}\"\nhostFromClusterNetwork: \"{name}:{port}\"\n"
    );
    let map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "local-registry-hosting", "namespace": "kube-public" },
        "data": { "localRegistryHosting.v1": hosting },
    });
    patiently(workload, &map, deadline).await
}

/// Reads a manifest. Its one template variable is the pod network.
fn objects(path: &str, bytes: &[u8], pod_subnet: &str) -> Result<Vec<Value>, ClusterError> {
    let text = String::from_utf8_lossy(bytes);
    let text = POD_SUBNET_VARIABLE.replace_all(&text, pod_subnet);
    let documents = yaml::documents(&text).map_err(|source| ClusterError::Document {
        what: format!("{path} of the node image"),
        source,
    })?;
    Ok(documents.into_iter().map(|d| d.value).collect())
}

/// An API server that has just come up refuses things for a moment: namespaces, roles and the like are made one after another.
async fn patiently(workload: &kube::Client, object: &Value, deadline: &Deadline) -> Result<(), ClusterError> {
    loop {
        let error = match send_one(workload, object, false).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let passing = match &error {
            ClusterError::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => matches!(status.code, 403 | 404 | 409 | 429 | 500..),
                _ => true,
            },
            _ => false,
        };
        if !passing {
            return Err(error);
        }
        deadline.pause(false, &error.to_string()).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pod_network_is_put_in() {
        let text = b"a: \"{{ .PodSubnet }}\"\n---\nb: '{{.PodSubnet}}'\n";
        let read = objects("x", text, "10.1.0.0/16").unwrap();
        assert_eq!(read[0]["a"], "10.1.0.0/16");
        assert_eq!(read[1]["b"], "10.1.0.0/16");
    }
}
