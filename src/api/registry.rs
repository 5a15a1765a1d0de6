//! Every kind in one table, and the custom resource definitions that follow from the types. Pure.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use super::{
    labels,
    v1alpha1::{
        AWSInfrastructureProvider, AWSMachine, Cluster, Config, DockerInfrastructureProvider, DockerMachine,
        DockerMachineTemplate, HollowMachine, HollowMachineTemplate, InfrastructureProvider, Machine,
        MachineDeployment, MachineHealthCheck, MachineSet,
    },
};

/// Returns the definitions of all kinds, in the order in which they are installed and written.
pub fn crds() -> Vec<CustomResourceDefinition> {
    [
        Cluster::crd(),
        Machine::crd(),
        MachineSet::crd(),
        MachineDeployment::crd(),
        MachineHealthCheck::crd(),
        Config::crd(),
        InfrastructureProvider::crd(),
        container_named(DockerMachine::crd()),
        DockerMachineTemplate::crd(),
        DockerInfrastructureProvider::crd(),
        HollowMachine::crd(),
        HollowMachineTemplate::crd(),
        AWSMachine::crd(),
        AWSInfrastructureProvider::crd(),
    ]
    .map(finish)
    .into()
}

/// A `DockerMachine` has to name its container (mapd). A template need not: no two machines could bear the name.
fn container_named(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let schemas = crd.spec.versions.iter_mut().filter_map(|v| v.schema.as_mut());
    for root in schemas.filter_map(|s| s.open_api_v3_schema.as_mut()) {
        let spec = root.properties.as_mut().and_then(|p| p.get_mut("spec"));
        let required = spec.and_then(|spec| spec.required.as_mut());
        if let Some(required) = required {
            required.insert(1, "containerName".to_owned());
        }
    }
    crd
}

/// Says whose it is. An object may leave its spec out where nothing in it is required, as it could in the API of 2020.
fn finish(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    crd.metadata.labels = Some(
        [
            (labels::APP_NAME, labels::APP),
            (labels::APP_MANAGED_BY, labels::APP),
            (labels::MOVE, ""),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into(),
    );
    for version in &mut crd.spec.versions {
        let Some(root) = version
            .schema
            .as_mut()
            .and_then(|s| s.open_api_v3_schema.as_mut())
        else {
            continue;
        };
        forget_nulls(root);
        let optional = |schema: &JSONSchemaProps| schema.required.as_ref().is_none_or(Vec::is_empty);
        let Some(properties) = root.properties.as_mut() else {
            continue;
        };
        if let Some(spec) = properties.get_mut("spec").filter(|spec| optional(spec)) {
            spec.default = Some(JSON(serde_json::json!({})));
            root.required = None;
        }
    }
    crd
}

/// The derive calls every optional field nullable. The API server drops nulls anyway, and `kubectl explain` shows the type
/// of a field only when it is not.
fn forget_nulls(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema
        .properties
        .iter_mut()
        .flatten()
        .for_each(|(_, child)| forget_nulls(child));
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        forget_nulls(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        forget_nulls(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_plurals_and_scopes_are_those_of_the_api_of_2020() {
        let have: Vec<_> = crds()
            .iter()
            .map(|c| {
                (
                    c.spec.names.kind.clone(),
                    c.spec.names.plural.clone(),
                    c.spec.scope.clone(),
                )
            })
            .collect();
        for (kind, plural, scope) in [
            ("Machine", "machines", "Namespaced"),
            ("Config", "configs", "Namespaced"),
            ("InfrastructureProvider", "infrastructureproviders", "Cluster"),
            ("DockerMachine", "dockermachines", "Namespaced"),
            (
                "DockerInfrastructureProvider",
                "dockerinfrastructureproviders",
                "Namespaced",
            ),
            ("AWSMachine", "awsmachines", "Namespaced"),
            (
                "AWSInfrastructureProvider",
                "awsinfrastructureproviders",
                "Namespaced",
            ),
        ] {
            assert!(
                have.contains(&(kind.into(), plural.into(), scope.into())),
                "{kind}"
            );
        }
    }

    #[test]
    fn objects_of_each_kind_can_be_moved() {
        for crd in crds() {
            let of_crd = crd.metadata.labels.unwrap();
            assert_eq!(of_crd[labels::MOVE], "", "{}", crd.spec.names.kind);
            assert_eq!(of_crd[labels::APP_MANAGED_BY], "machinectl");
        }
    }

    #[test]
    fn each_field_is_described() {
        fn walk(path: &str, schema: &JSONSchemaProps, missing: &mut Vec<String>) {
            for (name, child) in schema.properties.iter().flatten() {
                let path = format!("{path}.{name}");
                if child.description.is_none() {
                    missing.push(path.clone());
                }
                walk(&path, child, missing);
            }
        }
        let mut missing = Vec::new();
        for crd in crds() {
            for version in &crd.spec.versions {
                let root = version
                    .schema
                    .as_ref()
                    .unwrap()
                    .open_api_v3_schema
                    .as_ref()
                    .unwrap();
                for part in ["spec", "status"] {
                    if let Some(schema) = root.properties.as_ref().unwrap().get(part) {
                        walk(&format!("{}.{part}", crd.spec.names.kind), schema, &mut missing);
                    }
                }
            }
        }
        assert!(missing.is_empty(), "no description: {missing:#?}");
    }
}
