//! The objects of a `MachineSet` or `MachineDeployment`: the group itself and the template that its machines are copied from. Pure.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    ClusterError,
    objects::{MachineRequest, Renderer, optional, quoted},
};
use crate::api::{INFRASTRUCTURE_GROUP, MACHINE_GROUP, VERSION, labels};

/// What keeps machines alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupKind {
    /// A `MachineSet`.
    Set,
    /// A `MachineDeployment`.
    Deployment,
}

impl GroupKind {
    /// Kind of the object.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Set => "MachineSet",
            Self::Deployment => "MachineDeployment",
        }
    }

    /// Label by which the group finds its machines; its value is the group's name.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Set => labels::SET_NAME,
            Self::Deployment => labels::DEPLOYMENT_NAME,
        }
    }
}

/// A template of infrastructure objects that exists already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its API version.
    pub api_version: String,
    /// Its kind, which ends with `Template`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// What a group should be.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupRequest {
    /// Which kind of group.
    pub kind: GroupKind,
    /// Number of machines.
    pub replicas: i32,
    /// What each machine is. Its name is that of the group and of the template.
    pub machine: MachineRequest,
    /// The template to copy, if one exists already. Without it one is made.
    pub template: Option<Template>,
    /// Labels of the machines, besides those by which they are found.
    pub labels: BTreeMap<String, String>,
    /// Further fields of the group's spec, for example `deletePolicy`.
    pub fields: Map<String, Value>,
}

#[derive(Serialize)]
struct GroupInputs {
    kind: &'static str,
    name: String,
    namespace: String,
    cluster: Option<String>,
    spec: String,
}

impl Renderer {
    /// Returns the objects of a group: the template first, if one is made, so that the group never refers to nothing.
    pub fn group(&self, request: &GroupRequest) -> Result<Vec<Value>, ClusterError> {
        let machine = &request.machine;
        let mut objects = Vec::new();
        let template = if let Some(known) = &request.template {
            known.clone()
        } else {
            objects.push(self.machine_template(machine)?);
            Template {
                api_version: format!("{INFRASTRUCTURE_GROUP}/{VERSION}"),
                kind: format!("{}Template", machine.infrastructure.kind()),
                name: machine.name.clone(),
            }
        };
        let mut own = BTreeMap::from([(request.kind.label().to_owned(), machine.name.clone())]);
        let selector = own.clone();
        own.extend(request.labels.clone());
        if let Some(cluster) = &machine.cluster {
            own.insert(labels::CLUSTER_NAME.to_owned(), cluster.clone());
        }
        if machine.control_plane {
            own.insert(labels::MASTER_ROLE.to_owned(), String::new());
            own.insert(labels::CONTROL_PLANE_ROLE.to_owned(), String::new());
        }
        let mut spec = Map::new();
        spec.insert(
            "infrastructureRef".to_owned(),
            json!({ "apiVersion": template.api_version, "kind": template.kind, "name": template.name }),
        );
        if let Some(config) = &machine.config {
            spec.insert(
                "configRef".to_owned(),
                json!({ "apiVersion": format!("{MACHINE_GROUP}/{VERSION}"), "kind": "Config", "name": config }),
            );
        }
        for (field, value) in [("clusterName", &machine.cluster), ("version", &machine.version)] {
            if let Some(value) = value {
                spec.insert(field.to_owned(), json!(value));
            }
        }
        let mut group = request.fields.clone();
        if let Some(cluster) = &machine.cluster {
            group.insert("clusterName".to_owned(), json!(cluster));
        }
        group.insert("replicas".to_owned(), json!(request.replicas));
        group.insert("selector".to_owned(), json!({ "matchLabels": selector }));
        group.insert(
            "template".to_owned(),
            json!({ "metadata": { "labels": own }, "spec": spec }),
        );
        objects.push(self.render(
            "machine-group",
            &GroupInputs {
                kind: request.kind.kind(),
                name: quoted(&machine.name),
                namespace: quoted(&machine.namespace),
                cluster: optional(machine.cluster.as_ref()),
                spec: Value::Object(group).to_string(),
            },
        )?);
        Ok(objects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::{
            selector,
            v1alpha1::{DockerMachineTemplate, MachineSet},
        },
        cluster::Infrastructure,
    };

    #[test]
    fn a_group_copies_its_own_template() {
        let request = GroupRequest {
            kind: GroupKind::Set,
            replicas: 3,
            machine: MachineRequest {
                name: "demo-workers".into(),
                namespace: "fleet".into(),
                cluster: Some("demo".into()),
                infrastructure: Infrastructure::Docker,
                image: "kindest/node:v1.35.0".into(),
                version: Some("v1.35.0".into()),
                config: Some("demo-worker".into()),
                control_plane: false,
                docker_cluster: "demo".into(),
                mounts: Vec::new(),
                ports: Vec::new(),
            },
            template: None,
            labels: [("zone".to_owned(), "a".to_owned())].into(),
            fields: Map::from_iter([("deletePolicy".to_owned(), json!("Oldest"))]),
        };
        let objects = Renderer::new().unwrap().group(&request).unwrap();
        let template: DockerMachineTemplate = serde_json::from_value(objects[0].clone()).unwrap();
        assert_eq!(template.spec.template.spec.container_name, "");
        assert_eq!(template.spec.template.spec.image, "kindest/node:v1.35.0");
        let set: MachineSet = serde_json::from_value(objects[1].clone()).unwrap();
        assert_eq!(set.spec.delete_policy.as_deref(), Some("Oldest"));
        assert_eq!(
            (set.spec.replicas, set.spec.cluster_name.as_deref()),
            (3, Some("demo"))
        );
        assert!(selector::selects(
            &set.spec.selector,
            Some(&set.spec.template.metadata.labels)
        ));
        let reference = set.spec.template.spec.infrastructure_ref.unwrap();
        assert_eq!(
            (reference.kind.as_deref(), reference.name),
            (Some("DockerMachineTemplate"), template.metadata.name)
        );
        let named = GroupRequest {
            template: Some(Template {
                api_version: "infrastructure.crit.sh/v1alpha1".into(),
                kind: "HollowMachineTemplate".into(),
                name: "big".into(),
            }),
            ..request
        };
        let objects = Renderer::new().unwrap().group(&named).unwrap();
        assert_eq!(objects.len(), 1);
        assert_eq!(
            objects[0]["spec"]["template"]["spec"]["infrastructureRef"]["name"],
            "big"
        );
    }
}
