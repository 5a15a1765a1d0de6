//! Which Node is a Machine's: by reference, by provider id, by address. Two that claim the same are an error. It asks no API server.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;

use super::drain::some;
use crate::{
    api::v1alpha1::Machine,
    controllers::{cache::term, effect::Target, workload::Workload, world::World},
};

/// Why it can't be said which Node belongs to which Machine: reason and message of a condition, and of an Event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// `DuplicateProviderID`, `DuplicateAddress` or `DuplicateNode`.
    pub(crate) reason: &'static str,
    /// Names all that claim the same.
    pub(crate) message: String,
}

/// The provider id of a Node, if it has one.
pub(crate) fn provider_id(node: &Node) -> Option<&str> {
    let id = node.spec.as_ref()?.provider_id.as_deref();
    id.filter(|id| !id.is_empty())
}

/// Internal addresses of a Node: all of them count.
pub(crate) fn addresses_of_node(node: &Node) -> Vec<&str> {
    let all = node.status.as_ref().and_then(|s| s.addresses.as_ref());
    let inside = all.into_iter().flatten().filter(|a| a.type_ == "InternalIP");
    inside.map(|a| a.address.as_str()).collect()
}

fn addresses_of_machine(machine: &Machine) -> Vec<&str> {
    let all = machine.status.iter().flat_map(|s| &s.addresses);
    let inside = all.filter(|a| a.type_ == "InternalIP");
    inside.map(|a| a.address.as_str()).collect()
}

/// Whether two provider ids say that Machine and Node do not belong together. Addresses are used again, ids are not.
fn differ(machine: Option<&str>, node: &Node) -> bool {
    matches!((machine, provider_id(node)), (Some(a), Some(b)) if a != b)
}

fn id_of(machine: &Machine) -> Option<&str> {
    machine.spec.provider_id.as_deref().filter(|id| !id.is_empty())
}

/// Finds a Machine's Node. `id` is the provider id that it bears or will bear.
pub(super) fn node_of(
    world: &World,
    workload: &Workload,
    target: &Target,
    machine: &Machine,
    id: Option<&str>,
) -> Result<Option<Arc<Node>>, Conflict> {
    if let Some(id) = id {
        let claim = machines_here(world, target, &term::provider(id), |_| true);
        alone(
            machine,
            &claim,
            "DuplicateProviderID",
            &format!("provider id {id}"),
        )?;
    }
    let known = machine.status.as_ref().and_then(|s| s.node_ref.as_ref());
    if let Some(name) = known.and_then(|r| r.name.as_deref()) {
        let node = workload.nodes.get(None, name);
        return Ok(node.filter(|node| !differ(id, node)));
    }
    if let Some(id) = id {
        let nodes = workload.nodes.find(&term::provider(id));
        if let Some(node) = single(nodes, &format!("provider id {id}"))? {
            return Ok(Some(node));
        }
    }
    let mut nodes = BTreeMap::new();
    for address in addresses_of_machine(machine) {
        for node in workload.nodes.find(&term::address(address)) {
            if !differ(id, &node) {
                nodes.insert(node.name_any(), node);
            }
        }
    }
    let address = addresses_of_machine(machine).join(", ");
    let node = single(nodes.into_values().collect(), &format!("address {address}"))?;
    if let Some(node) = &node {
        let claim = machines_at(world, target, node);
        alone(machine, &claim, "DuplicateAddress", &format!("address {address}"))?;
    }
    Ok(node)
}

/// Finds the Machine of a Node in its cluster; nothing if none or several claim it.
pub(crate) fn machine_of(world: &World, target: &Target, node: &Node) -> Option<Arc<Machine>> {
    let mut claim = match provider_id(node) {
        Some(id) => machines_here(world, target, &term::provider(id), |_| true),
        None => Vec::new(),
    };
    if claim.is_empty() {
        claim = machines_at(world, target, node);
    }
    match claim.as_slice() {
        [machine] => Some(Arc::clone(machine)),
        _ => None,
    }
}

/// How many Machines of a cluster bear a provider id.
pub(crate) fn claims(world: &World, target: &Target, id: &str) -> usize {
    machines_here(world, target, &term::provider(id), |_| true).len()
}

/// Machines of a cluster that have one of a Node's addresses, as far as their provider ids allow it and they have no other Node.
fn machines_at(world: &World, target: &Target, node: &Node) -> Vec<Arc<Machine>> {
    let name = node.name_any();
    let free = |m: &Machine| {
        let linked = m.status.as_ref().and_then(|s| s.node_ref.as_ref()?.name.clone());
        !differ(id_of(m), node) && linked.is_none_or(|linked| linked == name)
    };
    let mut found = BTreeMap::new();
    for address in addresses_of_node(node) {
        for machine in machines_here(world, target, &term::address(address), free) {
            found.insert((machine.namespace(), machine.name_any()), machine);
        }
    }
    found.into_values().collect()
}

fn machines_here(
    world: &World,
    target: &Target,
    term: &str,
    good: impl Fn(&Machine) -> bool,
) -> Vec<Arc<Machine>> {
    let mut all = world.machines.find(term);
    all.retain(|m| good(m) && world.target_of(m).as_ref() == Some(target));
    all
}

/// Fails if others claim the same as a Machine.
fn alone(
    machine: &Machine,
    claim: &[Arc<Machine>],
    reason: &'static str,
    what: &str,
) -> Result<(), Conflict> {
    let name = |m: &Machine| format!("{}/{}", m.namespace().unwrap_or_default(), m.name_any());
    let own = name(machine);
    let mut names: Vec<String> = claim.iter().map(|m| name(m)).filter(|n| *n != own).collect();
    if names.is_empty() {
        return Ok(());
    }
    names.push(own);
    names.sort();
    Err(Conflict {
        reason,
        message: format!(
            "Machines {} have the same {what}: delete or change all but one",
            some(&names)
        ),
    })
}

fn single(mut nodes: Vec<Arc<Node>>, what: &str) -> Result<Option<Arc<Node>>, Conflict> {
    if nodes.len() < 2 {
        return Ok(nodes.pop());
    }
    let names: Vec<String> = nodes.iter().map(|n| n.name_any()).collect();
    Err(Conflict {
        reason: "DuplicateNode",
        message: format!("Nodes {} have the same {what}: delete all but one", some(&names)),
    })
}
