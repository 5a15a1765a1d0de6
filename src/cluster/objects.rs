//! The objects of a cluster and of a machine, from `templates/objects`. Pure.
//!
//! Every value goes into a template as JSON, which is YAML too: so no name and no text can break out of its place.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};
use tera::{Context, Tera};

use super::{
    ClusterError, Infrastructure,
    groups::{GroupKind, GroupRequest},
    request::ClusterRequest,
};
use crate::{
    api::{
        labels, names,
        v1alpha1::{ConfigSpec, DockerMachineSpec, Mount, PortMapping},
    },
    yaml,
};

const CLUSTER: &str = include_str!("../../templates/objects/cluster.yaml.tera");
const CONFIG: &str = include_str!("../../templates/objects/config.yaml.tera");
const MACHINE: &str = include_str!("../../templates/objects/machine.yaml.tera");
const MACHINE_TEMPLATE: &str = include_str!("../../templates/objects/machine-template.yaml.tera");
const MACHINE_GROUP: &str = include_str!("../../templates/objects/machine-group.yaml.tera");
const INFRASTRUCTURE_MACHINE: &str = include_str!("../../templates/objects/infrastructure-machine.yaml.tera");

/// Name of the Config of a cluster's control plane.
pub fn control_plane_config(cluster: &str) -> String {
    format!("{cluster}-control-plane")
}

/// Name of the Config of a cluster's workers.
pub fn worker_config(cluster: &str) -> String {
    format!("{cluster}-worker")
}

/// What a machine should be.
#[derive(Debug, Clone, PartialEq)]
pub struct MachineRequest {
    /// Name of the Machine, of its infrastructure object, of its container and of its Node.
    pub name: String,
    /// Namespace of the objects.
    pub namespace: String,
    /// Cluster that it joins; without one that which holds the objects.
    pub cluster: Option<String>,
    /// Where it comes from.
    pub infrastructure: Infrastructure,
    /// Node image. Docker only.
    pub image: String,
    /// Kubernetes version; without it the node image decides.
    pub version: Option<String>,
    /// Config that it runs first.
    pub config: Option<String>,
    /// Whether it is a control-plane machine.
    pub control_plane: bool,
    /// Label of the Docker containers: the cluster that they belong to.
    pub docker_cluster: String,
    /// Directories of the host that the container sees.
    pub mounts: Vec<Mount>,
    /// Ports that the host publishes.
    pub ports: Vec<PortMapping>,
}

/// The objects of a cluster, in the order in which they are sent.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterObjects {
    /// The Cluster first, then Configs and the control-plane machine.
    pub base: Vec<Value>,
    /// The first workers, under names that people know beforehand.
    pub workers: Vec<Value>,
    /// The set that takes these workers over and keeps as many alive, with its template. It comes last, or it would make its own.
    pub set: Vec<Value>,
}

/// Renders templates.
pub struct Renderer(Tera);

#[derive(Serialize)]
struct ClusterInputs {
    name: String,
    namespace: String,
    request: String,
    spec: String,
}

#[derive(Serialize)]
struct ConfigInputs {
    name: String,
    namespace: String,
    cluster: Option<String>,
    spec: String,
}

#[derive(Serialize)]
struct MachineInputs {
    name: String,
    namespace: String,
    cluster: Option<String>,
    version: Option<String>,
    config: Option<String>,
    infrastructure_kind: &'static str,
    control_plane: bool,
}

#[derive(Serialize)]
struct InfrastructureInputs {
    name: String,
    namespace: String,
    cluster: Option<String>,
    infrastructure_kind: &'static str,
    spec: String,
}

pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

pub(super) fn optional(text: Option<&String>) -> Option<String> {
    text.map(|t| quoted(t))
}

fn spec_of<T: Serialize>(template: &'static str, spec: &T) -> Result<String, ClusterError> {
    serde_json::to_string(spec).map_err(|e| ClusterError::Template(template, Box::new(e)))
}

impl Renderer {
    /// Reads all templates.
    pub fn new() -> Result<Self, ClusterError> {
        let mut tera = Tera::default();
        for (name, text) in [
            ("cluster", CLUSTER),
            ("config", CONFIG),
            ("machine", MACHINE),
            ("infrastructure-machine", INFRASTRUCTURE_MACHINE),
            ("machine-template", MACHINE_TEMPLATE),
            ("machine-group", MACHINE_GROUP),
        ] {
            tera.add_raw_template(name, text)
                .map_err(|e| ClusterError::Template(name, Box::new(e)))?;
        }
        Ok(Self(tera))
    }

    pub(super) fn render<T: Serialize>(
        &self,
        template: &'static str,
        inputs: &T,
    ) -> Result<Value, ClusterError> {
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| ClusterError::Template(template, e);
        let context = Context::from_serialize(inputs).map_err(|e| failed(Box::new(e)))?;
        let text = self
            .0
            .render(template, &context)
            .map_err(|e| failed(Box::new(e)))?;
        yaml::from_str(&text).map_err(|e| failed(Box::new(e)))
    }

    /// Returns the objects of a cluster.
    pub fn cluster(&self, request: &ClusterRequest) -> Result<ClusterObjects, ClusterError> {
        let name = &request.name;
        let mut base = vec![self.cluster_object(request)?];
        let docker = request.infrastructure == Infrastructure::Docker;
        if docker {
            for (config, spec) in [
                (control_plane_config(name), &request.control_plane),
                (worker_config(name), &request.worker),
            ] {
                base.push(self.config(&config, &request.namespace, Some(name), spec)?);
            }
            base.extend(self.machine(&MachineRequest {
                name: name.clone(),
                config: Some(control_plane_config(name)),
                control_plane: true,
                ports: request.ports.clone(),
                ..machine_of(request)
            })?);
        }
        let worker = MachineRequest {
            name: names::workers(name),
            config: docker.then(|| worker_config(name)),
            ..machine_of(request)
        };
        let mut workers = Vec::new();
        for number in 1..=request.workers {
            let [infrastructure, mut machine] = self.machine(&MachineRequest {
                name: names::worker(name, number),
                ..worker.clone()
            })?;
            machine["metadata"]["labels"][labels::SET_NAME] = json!(worker.name);
            workers.extend([infrastructure, machine]);
        }
        let set = self.group(&GroupRequest {
            kind: GroupKind::Set,
            replicas: i32::try_from(request.workers).unwrap_or(i32::MAX),
            machine: worker,
            template: None,
            labels: BTreeMap::new(),
            fields: Map::new(),
        })?;
        Ok(ClusterObjects { base, workers, set })
    }

    fn cluster_object(&self, request: &ClusterRequest) -> Result<Value, ClusterError> {
        let mut spec = json!({
            "apiServer": match request.infrastructure {
                Infrastructure::Docker => "Own",
                Infrastructure::Hollow => "Management",
            },
        });
        if let Some(version) = &request.version {
            spec["version"] = json!(version);
        }
        if let Some(subnet) = &request.pod_subnet {
            spec["clusterNetwork"] = json!({ "pods": { "cidrBlocks": [subnet] } });
        }
        let summary = spec_of("cluster", &request.summary())?;
        self.render(
            "cluster",
            &ClusterInputs {
                name: quoted(&request.name),
                namespace: quoted(&request.namespace),
                request: quoted(&summary),
                spec: spec.to_string(),
            },
        )
    }

    /// Returns a Config.
    pub fn config(
        &self,
        name: &str,
        namespace: &str,
        cluster: Option<&String>,
        spec: &ConfigSpec,
    ) -> Result<Value, ClusterError> {
        self.render(
            "config",
            &ConfigInputs {
                name: quoted(name),
                namespace: quoted(namespace),
                cluster: optional(cluster),
                spec: spec_of("config", spec)?,
            },
        )
    }

    /// Returns the template of the infrastructure objects of a group, under the machine's name. Its containers are named after their machines.
    pub(super) fn machine_template(&self, request: &MachineRequest) -> Result<Value, ClusterError> {
        self.render(
            "machine-template",
            &InfrastructureInputs {
                name: quoted(&request.name),
                namespace: quoted(&request.namespace),
                cluster: optional(request.cluster.as_ref()),
                infrastructure_kind: request.infrastructure.kind(),
                spec: infrastructure_spec(request, "")?,
            },
        )
    }

    /// Returns a Machine and its infrastructure object, that one first: so the Machine never refers to nothing.
    pub fn machine(&self, request: &MachineRequest) -> Result<[Value; 2], ClusterError> {
        let MachineRequest {
            name,
            namespace,
            cluster,
            infrastructure,
            version,
            config,
            control_plane,
            ..
        } = request;
        let spec = infrastructure_spec(request, name)?;
        let infrastructure_object = self.render(
            "infrastructure-machine",
            &InfrastructureInputs {
                name: quoted(name),
                namespace: quoted(namespace),
                cluster: optional(cluster.as_ref()),
                infrastructure_kind: infrastructure.kind(),
                spec,
            },
        )?;
        let machine = self.render(
            "machine",
            &MachineInputs {
                name: quoted(name),
                namespace: quoted(namespace),
                cluster: optional(cluster.as_ref()),
                version: optional(version.as_ref()),
                config: optional(config.as_ref()),
                infrastructure_kind: infrastructure.kind(),
                control_plane: *control_plane,
            },
        )?;
        Ok([infrastructure_object, machine])
    }
}

/// The spec of an infrastructure object.
fn infrastructure_spec(request: &MachineRequest, container: &str) -> Result<String, ClusterError> {
    match request.infrastructure {
        Infrastructure::Docker => spec_of(
            "infrastructure-machine",
            &DockerMachineSpec {
                cluster_name: request.docker_cluster.clone(),
                container_name: container.to_owned(),
                image: request.image.clone(),
                extra_mounts: request.mounts.clone(),
                extra_port_mappings: request.ports.clone(),
                ..DockerMachineSpec::default()
            },
        ),
        Infrastructure::Hollow => Ok(match &request.version {
            Some(version) => json!({ "kubernetesVersion": version }).to_string(),
            None => "{}".to_owned(),
        }),
    }
}

fn machine_of(request: &ClusterRequest) -> MachineRequest {
    MachineRequest {
        name: String::new(),
        namespace: request.namespace.clone(),
        cluster: Some(request.name.clone()),
        infrastructure: request.infrastructure,
        image: request.image.clone(),
        version: request.version.clone(),
        config: None,
        control_plane: false,
        docker_cluster: request.name.clone(),
        mounts: request.mounts.clone(),
        ports: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{
        selector,
        v1alpha1::{Cluster, Config, DockerMachine, HollowMachine, Machine, MachineSet},
    };

    fn of_kind(objects: &[Value], kind: &str) -> Vec<Value> {
        objects.iter().filter(|o| o["kind"] == kind).cloned().collect()
    }

    #[test]
    fn a_docker_cluster_has_cinders_names() {
        let mut request = ClusterRequest::new("cinder", "default", Infrastructure::Docker);
        request.image = "kindest/node:v1.35.0".into();
        request.workers = 2;
        request.pod_subnet = Some("10.30.0.0/16".into());
        let ClusterObjects { base, workers, set } = Renderer::new().unwrap().cluster(&request).unwrap();
        let objects = [base, workers, set].concat();
        let cluster: Cluster = serde_json::from_value(objects[0].clone()).unwrap();
        assert_eq!(
            cluster.spec.cluster_network.unwrap().pods.unwrap().cidr_blocks,
            ["10.30.0.0/16"]
        );
        let machines: Vec<Machine> = of_kind(&objects, "Machine")
            .into_iter()
            .map(|m| serde_json::from_value(m).unwrap())
            .collect();
        let names: Vec<_> = machines
            .iter()
            .map(|m| (m.metadata.name.as_deref().unwrap(), m.is_control_plane()))
            .collect();
        assert_eq!(
            names,
            [
                ("cinder", true),
                ("cinder-worker-1", false),
                ("cinder-worker-2", false)
            ]
        );
        let containers: Vec<DockerMachine> = of_kind(&objects, "DockerMachine")
            .into_iter()
            .map(|m| serde_json::from_value(m).unwrap())
            .collect();
        assert_eq!(containers[1].spec.container_name, "cinder-worker-1");
        assert_eq!(containers[1].spec.cluster_name, "cinder");
        let config: Config = serde_json::from_value(of_kind(&objects, "Config").remove(1)).unwrap();
        assert_eq!(
            config.spec.config,
            "apiVersion: crit.sh/v1alpha2\nkind: WorkerConfiguration\nclusterName: \"cinder\"\n"
        );
        assert_eq!(
            machines[1].spec.config_ref.as_ref().unwrap().name.as_deref(),
            config.metadata.name.as_deref()
        );
    }

    #[test]
    fn a_hollow_cluster_has_workers_alone_on_the_server_that_holds_it() {
        let mut request = ClusterRequest::new("demo", "ns", Infrastructure::Hollow);
        request.workers = 3;
        let ClusterObjects { base, workers, set } = Renderer::new().unwrap().cluster(&request).unwrap();
        let adopts: MachineSet = serde_json::from_value(set[1].clone()).unwrap();
        let worker: Machine = serde_json::from_value(of_kind(&workers, "Machine").remove(0)).unwrap();
        assert_eq!(adopts.spec.replicas, 3);
        assert!(selector::selects(
            &adopts.spec.selector,
            worker.metadata.labels.as_ref()
        ));
        let objects = [base, workers].concat();
        assert_eq!(objects[0]["spec"]["apiServer"], "Management");
        assert_eq!(of_kind(&objects, "Machine").len(), 3);
        assert!(of_kind(&objects, "Config").is_empty());
        let hollow: HollowMachine =
            serde_json::from_value(of_kind(&objects, "HollowMachine").remove(2)).unwrap();
        assert_eq!(hollow.metadata.name.as_deref(), Some("demo-worker-3"));
        assert_eq!(hollow.metadata.namespace.as_deref(), Some("ns"));
    }

    #[test]
    fn no_text_breaks_out_of_its_place() {
        let spec = ConfigSpec {
            pre_crit_commands: vec!["echo \"{{ x }}\"\n- evil: true".into()],
            ..ConfigSpec::default()
        };
        let config = Renderer::new().unwrap().config("a", "b", None, &spec).unwrap();
        assert_eq!(
            config["spec"],
            json!({"preCritCommands": ["echo \"{{ x }}\"\n- evil: true"]})
        );
    }
}
