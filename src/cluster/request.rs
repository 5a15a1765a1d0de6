//! What a cluster should be, as far as the user said, and how two such requests differ. Pure.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Digest;

use super::{ClusterError, Infrastructure};
use crate::api::{
    names,
    v1alpha1::{ConfigSpec, Mount, PortMapping},
};

/// Annotation on a Cluster: the request that it was made from.
pub const ANNOTATION: &str = "machinectl.crit.sh/request";

/// What a cluster should be.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterRequest {
    /// Name of the cluster, and of its control-plane machine.
    pub name: String,
    /// Namespace of its objects.
    pub namespace: String,
    /// Where its machines come from.
    pub infrastructure: Infrastructure,
    /// Node image. Docker only.
    pub image: String,
    /// Number of workers.
    pub workers: usize,
    /// Kubernetes version; without it the node image decides.
    pub version: Option<String>,
    /// What the control plane runs first.
    pub control_plane: ConfigSpec,
    /// What workers run first.
    pub worker: ConfigSpec,
    /// Directories of the host that the containers see.
    pub mounts: Vec<Mount>,
    /// Ports that the host publishes for the control plane.
    pub ports: Vec<PortMapping>,
    /// Networks of pods.
    pub pod_subnet: Option<String>,
    /// Whether the new cluster can hold machines itself.
    pub machine_api: bool,
    /// Registry beside the cluster.
    pub registry: Option<Registry>,
}

/// A registry beside clusters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Registry {
    /// Name of its container.
    pub name: String,
    /// Port on the host.
    pub port: u16,
}

/// What of a request is kept with the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    infrastructure: Infrastructure,
    image: String,
    workers: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Digest of everything else.
    rest: String,
}

impl ClusterRequest {
    /// Makes a request with nothing special in it.
    pub fn new(name: &str, namespace: &str, infrastructure: Infrastructure) -> Self {
        let crit = |kind: &str| ConfigSpec {
            config: Value::String(format!(
                "apiVersion: crit.sh/v1alpha2\nkind: {kind}\nclusterName: {}\n",
                json!(name)
            )),
            ..ConfigSpec::default()
        };
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            infrastructure,
            image: String::new(),
            workers: 0,
            version: None,
            control_plane: crit("ControlPlaneConfiguration"),
            worker: crit("WorkerConfiguration"),
            mounts: Vec::new(),
            ports: Vec::new(),
            pod_subnet: None,
            machine_api: false,
            registry: None,
        }
    }

    /// Checks the names.
    pub fn validate(&self) -> Result<(), ClusterError> {
        names::dns_label(&self.name)?;
        let worker = names::worker(&self.name, self.workers.max(1));
        if worker.len() > names::MAX_LENGTH {
            return Err(ClusterError::WorkerName {
                name: self.name.clone(),
                worker,
            });
        }
        Ok(())
    }

    /// Number of machines.
    pub fn machines(&self) -> usize {
        match self.infrastructure {
            Infrastructure::Docker => self.workers + 1,
            Infrastructure::Hollow => self.workers,
        }
    }

    /// Returns what is kept with the cluster.
    pub fn summary(&self) -> Summary {
        let Self {
            name: _,
            namespace: _,
            infrastructure,
            image,
            workers,
            version,
            control_plane,
            worker,
            mounts,
            ports,
            pod_subnet,
            machine_api,
            registry,
        } = self;
        let rest = json!([
            control_plane,
            worker,
            mounts,
            ports,
            pod_subnet,
            machine_api,
            registry
        ])
        .to_string();
        let sum = sha2::Sha256::digest(rest.as_bytes());
        Summary {
            infrastructure: *infrastructure,
            image: image.clone(),
            workers: *workers,
            version: version.clone(),
            rest: crate::install::hex(&sum[..8]),
        }
    }
}

impl Summary {
    /// Says how this request differs from the one that the cluster was made from.
    pub fn differences(&self, made: &Self) -> Vec<String> {
        let Self {
            infrastructure,
            image,
            workers,
            version,
            rest,
        } = self;
        let mut differences = Vec::new();
        if *infrastructure != made.infrastructure {
            differences.push(format!(
                "its machines are {}, not {}",
                made.infrastructure.word(),
                infrastructure.word()
            ));
        }
        if *image != made.image {
            differences.push(format!("its image is {}, not {image}", made.image));
        }
        if *workers != made.workers {
            differences.push(format!(
                "it was made with {} workers, not {workers}",
                made.workers
            ));
        }
        if *version != made.version {
            let word = |v: &Option<String>| v.clone().unwrap_or_else(|| "that of the image".to_owned());
            differences.push(format!(
                "its Kubernetes version is {}, not {}",
                word(&made.version),
                word(version)
            ));
        }
        if *rest != made.rest {
            differences.push("its configuration is another one".to_owned());
        }
        differences
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_differs_from_another_in_words() {
        let mut request = ClusterRequest::new("a", "default", Infrastructure::Docker);
        request.image = "kindest/node:v1.35.0".into();
        let made = request.summary();
        assert!(made.differences(&made).is_empty());
        request.workers = 2;
        request.machine_api = true;
        assert_eq!(
            request.summary().differences(&made),
            [
                "it was made with 0 workers, not 2",
                "its configuration is another one"
            ]
        );
        let text = serde_json::to_string(&made).unwrap();
        assert_eq!(serde_json::from_str::<Summary>(&text).unwrap(), made);
    }

    #[test]
    fn the_longest_worker_name_counts() {
        let mut request = ClusterRequest::new(&"x".repeat(54), "default", Infrastructure::Hollow);
        request.workers = 1;
        assert!(request.validate().is_ok());
        request.workers = 10;
        assert!(matches!(request.validate(), Err(ClusterError::WorkerName { .. })));
        request.name = "A".into();
        assert!(matches!(request.validate(), Err(ClusterError::Name(_))));
    }
}
