//! What local clusters ask of Docker beside machines: files of a node, and a registry. It knows nothing of Kubernetes.

use std::collections::HashMap;

use bollard::models::{ContainerCreateBody, HostConfig, PortBinding, RestartPolicy, RestartPolicyNameEnum};

use super::{
    DockerActuator,
    errors::{Attempt, explain},
    first_file, spec,
    state::Status,
};
use crate::providers::ActuatorError;

/// Image of the local registry.
const REGISTRY: &str = "docker.io/library/registry:2";
/// Port that it listens on in its container.
const REGISTRY_PORT: &str = "5000/tcp";

impl DockerActuator {
    /// Reads a file of a container, running or not. `None` if it has no such file.
    pub async fn read_file(&self, container: &str, path: &str) -> Result<Option<Vec<u8>>, ActuatorError> {
        let what = format!("read {path} of container {container}");
        let archive = self.engine.get(container, path).await;
        let archive = archive.map_err(|e| explain(Attempt::Other(&what), &e))?;
        Ok(archive.as_deref().and_then(first_file))
    }

    /// Makes sure that a registry runs beside the clusters: on the host it listens on `127.0.0.1:port`, in their network on
    /// `name:5000`. It outlives the clusters.
    pub async fn ensure_registry(&self, name: &str, port: u16) -> Result<(), ActuatorError> {
        let failed = |e| explain(Attempt::Container(name), &e);
        if let Some(seen) = self.inspect(name).await? {
            if seen.status != Status::Running {
                self.engine.start(&seen.id).await.map_err(failed)?;
            }
            return Ok(());
        }
        self.images.get(REGISTRY).await?;
        self.network().await?;
        let id = self.engine.create(name, registry(port)).await.map_err(failed)?;
        self.engine.start(&id).await.map_err(failed)
    }
}

fn registry(port: u16) -> ContainerCreateBody {
    let binding = PortBinding {
        host_ip: Some("127.0.0.1".to_owned()),
        host_port: Some(port.to_string()),
    };
    ContainerCreateBody {
        image: Some(REGISTRY.to_owned()),
        exposed_ports: Some(vec![REGISTRY_PORT.to_owned()]),
        host_config: Some(HostConfig {
            network_mode: Some(spec::NETWORK.to_owned()),
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::ALWAYS),
                maximum_retry_count: None,
            }),
            port_bindings: Some(HashMap::from([(REGISTRY_PORT.to_owned(), Some(vec![binding]))])),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}
