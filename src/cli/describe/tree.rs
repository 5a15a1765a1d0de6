//! A cluster as a tree: machines, what they are made of, and what is wrong with them.

use kube::{Api, Client, api::DynamicObject};
use serde_json::Value;

use super::object::conditions_table;
use crate::{
    api::{conditions, v1alpha1::Machine},
    cli::{context::App, error::of_api},
    client::kinds,
    cluster::running::machines_of,
    error::CommandError,
    time::Timestamp,
    ui::tree::{self, Health, Node},
};

/// Returns the text for a Cluster.
pub(super) async fn cluster(
    app: &App,
    client: &Client,
    object: &Value,
    expand: bool,
    now: Timestamp,
) -> Result<String, CommandError> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let mut root = Node::new(
        format!("Cluster/{name}"),
        health_of_cluster(object),
        phase(object),
    );
    root.message = object["status"]["version"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let mut machines = machines_of(client, name, namespace).await?;
    // The control plane stands first, workers in the order of their numbers.
    machines.sort_by_key(|m| {
        (
            !m.is_control_plane(),
            natural(m.metadata.name.as_deref().unwrap_or_default()),
        )
    });
    let infrastructure = infrastructure(client, namespace, &machines).await?;
    for machine in &machines {
        root.children.push(machine_node(machine, &infrastructure));
    }
    let mut parts = vec![tree::render(&app.ui, &root, expand)];
    if let Some(conditions) = object["status"]["conditions"]
        .as_array()
        .filter(|c| !c.is_empty())
    {
        parts.push(format!("Conditions:\n{}\n", conditions_table(conditions, now)));
    }
    Ok(parts.join("\n"))
}

/// The infrastructure objects of machines: one list a kind.
pub(super) async fn infrastructure(
    client: &Client,
    namespace: &str,
    machines: &[Machine],
) -> Result<Vec<DynamicObject>, CommandError> {
    let mut wanted: Vec<&str> = machines
        .iter()
        .filter_map(|m| m.spec.infrastructure_ref.as_ref()?.kind.as_deref())
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut found = Vec::new();
    for kind in wanted.into_iter().filter_map(kinds::own_by_kind) {
        let resource = kind.api_resource();
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        let list = api
            .list(&kube::api::ListParams::default())
            .await
            .map_err(|e| of_api(format!("can't list {}", kind.full_name()), e))?;
        found.extend(list.items.into_iter().map(|mut object| {
            object.types = Some(kube::api::TypeMeta {
                api_version: resource.api_version.clone(),
                kind: resource.kind.clone(),
            });
            object
        }));
    }
    Ok(found)
}

/// A Machine with what it is made of, and what it waits for.
pub(super) fn machine_node(machine: &Machine, infrastructure: &[DynamicObject]) -> Node {
    let name = machine.metadata.name.as_deref().unwrap_or_default();
    let status = machine.status.clone().unwrap_or_default();
    let phase = status.phase.clone().unwrap_or_else(|| "Pending".to_owned());
    let failed = status.failure_reason.is_some() || phase == "Failed";
    let unhealthy = status
        .conditions
        .iter()
        // Of a machine that goes its sum tells the step; of another one hooks say nothing.
        .filter(|c| match machine.metadata.deletion_timestamp {
            Some(_) => c.type_ == conditions::READY,
            None => ![conditions::DRAINABLE, conditions::TERMINABLE].contains(&c.type_.as_str()),
        })
        .find(|c| c.status != "True" && !c.message.is_empty());
    let health = match phase.as_str() {
        _ if failed => Health::Bad,
        "Running" if unhealthy.is_none() => Health::Good,
        _ => Health::Pending,
    };
    let mut node = Node::new(format!("Machine/{name}"), health, phase);
    if machine.metadata.deletion_timestamp.is_some() {
        node.health = Health::Pending;
    }
    node.message = status
        .failure_message
        .or_else(|| unhealthy.map(|c| c.message.clone()))
        .unwrap_or_default();
    let reference = machine.spec.infrastructure_ref.as_ref();
    let made_of = infrastructure.iter().find(|o| {
        let kind = o.types.as_ref().map(|t| t.kind.as_str());
        reference.is_some_and(|r| r.name == o.metadata.name && r.kind.as_deref() == kind)
    });
    if let Some(made_of) = made_of {
        let kind = made_of.types.as_ref().map(|t| t.kind.clone()).unwrap_or_default();
        let ready = made_of.data["status"]["ready"] == true;
        let mut child = Node::new(
            format!("{kind}/{}", made_of.metadata.name.as_deref().unwrap_or_default()),
            if ready { Health::Good } else { Health::Pending },
            if ready { "Ready" } else { "NotReady" },
        );
        if let Some(message) = made_of.data["status"]["failureMessage"].as_str() {
            child.health = Health::Bad;
            message.clone_into(&mut child.message);
            // The Machine repeats what its infrastructure object says; once is enough, where it belongs.
            if node.message.contains(message) {
                node.message.clear();
            }
        }
        node.children.push(child);
    }
    node
}

fn phase(object: &Value) -> String {
    object["status"]["phase"].as_str().unwrap_or("Pending").to_owned()
}

fn health_of_cluster(object: &Value) -> Health {
    match phase(object).as_str() {
        "Provisioned" => Health::Good,
        "Failed" => Health::Bad,
        _ => Health::Pending,
    }
}

/// A name with its numbers as numbers: worker-2 stands before worker-10.
pub(super) fn natural(name: &str) -> (String, u64) {
    let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (text, number) = name.split_at(name.len() - digits);
    (text.to_owned(), number.parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_stand_in_the_order_of_their_numbers() {
        let mut names = ["a-worker-10", "a-worker-2", "a"];
        names.sort_by_key(|n| natural(n));
        assert_eq!(names, ["a", "a-worker-2", "a-worker-10"]);
    }
}
