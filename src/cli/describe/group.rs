//! A group of machines or a health check: its sets and machines as a tree, with what each of them waits for. It changes nothing.

use std::{collections::BTreeMap, fmt::Write};

use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, ListParams},
};
use serde::Deserialize;
use serde_json::Value;

use super::tree::{infrastructure, machine_node, natural};
use crate::{
    api::{
        selector,
        v1alpha1::{Machine, MachineSet},
    },
    cli::{context::App, error::of_api},
    client::kinds::Kind,
    error::CommandError,
    ui::tree::{self, Health, Node},
};

/// So many machines that are not well are shown one by one in each state; the others are counted.
const SHOWN: usize = 20;

/// Returns the tree of what belongs to an object; nothing for kinds that have no machines.
pub(super) async fn machines(
    app: &App,
    client: &Client,
    kind: &Kind,
    object: &Value,
    expand: bool,
) -> Result<Option<String>, CommandError> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let mut root = Node::new(
        format!("{}/{name}", kind.kind),
        Health::Plain,
        in_short(&kind.kind, object),
    );
    root.health = health(&kind.kind, object);
    if kind.is_own("Machine") {
        let Ok(machine) = Machine::deserialize(object) else {
            return Ok(None);
        };
        let made_of = infrastructure(client, namespace, std::slice::from_ref(&machine)).await?;
        root = machine_node(&machine, &made_of);
    } else if kind.is_own("MachineSet")
        || kind.is_own("MachineDeployment")
        || kind.is_own("MachineHealthCheck")
    {
        let machines = selected(client, kind, namespace, object).await?;
        let made_of = infrastructure(client, namespace, &machines).await?;
        if kind.is_own("MachineDeployment") {
            root.children = sets(client, namespace, object, &machines, &made_of).await?;
        } else {
            root.children = nodes(machines.iter(), &made_of);
        }
    } else {
        return Ok(None);
    }
    Ok(Some(tree::render(&app.ui, &root, expand)))
}

/// Numbers of a group, in words.
fn in_short(kind: &str, object: &Value) -> String {
    let status = |field: &str| object["status"][field].as_i64().unwrap_or(0);
    let wanted = object["spec"]["replicas"].as_i64().unwrap_or(0);
    if kind == "MachineHealthCheck" {
        return format!(
            "{} of {} healthy, {} may be replaced now",
            status("currentHealthy"),
            status("expectedMachines"),
            status("remediationsAllowed")
        );
    }
    let mut text = format!(
        "{wanted} wanted, {} there, {} ready, {} available",
        status("replicas"),
        status("readyReplicas"),
        status("availableReplicas")
    );
    if kind == "MachineDeployment" {
        // Writing to a String can't fail.
        let _infallible = write!(text, ", {} up to date", status("updatedReplicas"));
    }
    text
}

fn health(kind: &str, object: &Value) -> Health {
    let status = |field: &str| object["status"][field].as_i64().unwrap_or(0);
    let whole = match kind {
        "MachineHealthCheck" => status("currentHealthy") >= status("expectedMachines"),
        _ => status("readyReplicas") >= object["spec"]["replicas"].as_i64().unwrap_or(0),
    };
    if whole { Health::Good } else { Health::Pending }
}

/// The machines that an object selects. A health check without a selector watches all, of its cluster if it names one.
async fn selected(
    client: &Client,
    kind: &Kind,
    namespace: &str,
    object: &Value,
) -> Result<Vec<Machine>, CommandError> {
    let check = kind.is_own("MachineHealthCheck");
    let Some(query) = query_of(object).filter(|q| check || !q.is_empty()) else {
        return Ok(Vec::new());
    };
    let api: Api<Machine> = Api::namespaced(client.clone(), namespace);
    let mut machines = api
        .list(&ListParams::default().labels(&query))
        .await
        .map_err(|e| of_api("can't list the machines", e))?
        .items;
    if let (true, Some(cluster)) = (check, object["spec"]["clusterName"].as_str()) {
        machines.retain(|m| m.spec.cluster_name.as_deref() == Some(cluster));
    }
    machines.sort_by_key(|m| natural(&m.name_any()));
    Ok(machines)
}

/// The selector of an object as a query; nothing if it can't be read.
fn query_of(object: &Value) -> Option<String> {
    let selector = Deserialize::deserialize(&object["spec"]["selector"]).unwrap_or_default();
    selector::parse(&selector).ok().map(|s| s.to_string())
}

/// The sets of a deployment, the newest first, each with its machines. Old sets without machines are left out.
async fn sets(
    client: &Client,
    namespace: &str,
    deployment: &Value,
    machines: &[Machine],
    made_of: &[DynamicObject],
) -> Result<Vec<Node>, CommandError> {
    let api: Api<MachineSet> = Api::namespaced(client.clone(), namespace);
    let all = api
        .list(&ListParams::default())
        .await
        .map_err(|e| of_api("can't list the sets", e))?;
    let uid = deployment["metadata"]["uid"].as_str().unwrap_or_default();
    let mut own: Vec<MachineSet> = all
        .items
        .into_iter()
        .filter(|set| set.owner_references().iter().any(|o| o.uid == uid))
        .collect();
    own.sort_by_key(|set| std::cmp::Reverse(set.creation_timestamp().map(|t| t.0)));
    let mut by_owner: BTreeMap<&str, Vec<&Machine>> = BTreeMap::new();
    for machine in machines {
        for owner in machine.owner_references() {
            by_owner.entry(owner.uid.as_str()).or_default().push(machine);
        }
    }
    let mut children = Vec::new();
    for (index, set) in own.iter().enumerate() {
        let members = set.metadata.uid.as_deref().and_then(|uid| by_owner.get(uid));
        if index > 0 && members.is_none() && set.spec.replicas == 0 {
            continue;
        }
        let value = serde_json::to_value(set).unwrap_or_default();
        let mut node = Node::new(
            format!("MachineSet/{}", set.name_any()),
            health("MachineSet", &value),
            in_short("MachineSet", &value),
        );
        let revision = set.annotations().get(crate::api::labels::REVISION);
        node.message = revision.map_or_else(String::new, |r| format!("revision {r}"));
        node.children = nodes(members.into_iter().flatten().copied(), made_of);
        children.push(node);
    }
    Ok(children)
}

/// Machines with what they are made of. Of many that are in one state and not well the first stand for all.
fn nodes<'a>(machines: impl Iterator<Item = &'a Machine>, made_of: &[DynamicObject]) -> Vec<Node> {
    let mut shown = Vec::new();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for machine in machines {
        let node = machine_node(machine, made_of);
        if node.health != Health::Good {
            let count = counts.entry(node.state.clone()).or_default();
            *count += 1;
            if *count > SHOWN {
                continue;
            }
        }
        shown.push(node);
    }
    for (state, count) in counts {
        if count > SHOWN {
            let more = format!("… and {} more", count - SHOWN);
            shown.push(Node::new(more, Health::Pending, state));
        }
    }
    // What is wrong stands first.
    shown.sort_by_key(|node| node.health == Health::Good);
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn machine(number: usize, phase: &str) -> Machine {
        serde_json::from_value(json!({
            "apiVersion": "machine.crit.sh/v1alpha1", "kind": "Machine",
            "metadata": { "name": format!("a-{number}") }, "spec": {},
            "status": { "phase": phase, "conditions": [
                { "type": "Ready", "status": "False", "reason": "X", "message": format!("machine {number} waits"),
                  "lastTransitionTime": "2026-01-01T00:00:00Z" } ] },
        }))
        .unwrap()
    }

    #[test]
    fn many_machines_in_trouble_are_shown_in_part_and_counted() {
        let mut machines: Vec<_> = (0..50).map(|n| machine(n, "Pending")).collect();
        machines.push(machine(50, "Failed"));
        let nodes = nodes(machines.iter(), &[]);
        assert_eq!(nodes.len(), SHOWN + 2);
        let last = nodes.last().unwrap();
        assert_eq!(
            (last.name.as_str(), last.state.as_str()),
            ("… and 30 more", "Pending")
        );
        assert!(
            nodes.iter().any(|n| n.name == "Machine/a-50"),
            "each state has its own share"
        );
    }

    #[test]
    fn groups_are_told_in_short() {
        let set = json!({ "spec": { "replicas": 3 }, "status": { "replicas": 2, "readyReplicas": 1, "availableReplicas": 1 } });
        assert_eq!(
            in_short("MachineSet", &set),
            "3 wanted, 2 there, 1 ready, 1 available"
        );
        let check =
            json!({ "status": { "currentHealthy": 2, "expectedMachines": 3, "remediationsAllowed": 0 } });
        assert_eq!(
            in_short("MachineHealthCheck", &check),
            "2 of 3 healthy, 0 may be replaced now"
        );
    }
}
