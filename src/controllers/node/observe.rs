//! Reads which Machine and infrastructure object a Node belongs to, from the caches. It asks no API server.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;

use crate::{
    api::v1alpha1::Machine,
    controllers::{
        cache::term,
        effect::Target,
        machine::link,
        world::{InfrastructureKind, World},
    },
};

/// All that a decision about a Node is made from.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    /// The cluster of the Node.
    pub(super) target: Target,
    /// The Node.
    pub(super) node: Arc<Node>,
    /// Its Machine.
    pub(super) machine: Option<Arc<Machine>>,
    /// Its infrastructure object: kind, API version, namespace, name.
    pub(super) infrastructure: Option<Infrastructure>,
}

/// An infrastructure object, as far as its Node tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Infrastructure {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) provider_id: String,
}

/// Reads everything.
pub(super) fn observe(world: &World, target: &Target, node: Arc<Node>) -> Observed {
    let provider_id = node
        .spec
        .as_ref()
        .and_then(|s| s.provider_id.clone())
        .filter(|id| !id.is_empty());
    // A Node that says nothing is known by its name: containers and their Nodes bear the same one.
    let term = match &provider_id {
        Some(id) => term::provider(id),
        None => term::tail(&node.name_any()),
    };
    let here = |machine: &Machine| world.target_of(machine).as_ref() == Some(target);
    let mut found = None;
    for kind in world.infrastructure_kinds() {
        for object in kind.cache.find(&term) {
            let machine = machine_of(world, &kind, &object);
            if machine.as_ref().is_some_and(|m| here(m)) {
                found = Some((kind.clone(), object, machine));
                break;
            }
        }
    }
    let mut machine = link::machine_of(world, target, &node);
    // Where several Machines claim a Node it is nobody's.
    let disputed = provider_id
        .as_ref()
        .is_some_and(|id| link::claims(world, target, id) > 1);
    let infrastructure = found.and_then(|(kind, object, owner)| {
        machine = machine.take().or(owner.filter(|_| !disputed));
        let id = object
            .data
            .pointer("/spec/providerID")
            .and_then(|id| id.as_str())?;
        Some(Infrastructure {
            api_version: kind.resource.api_version.clone(),
            kind: kind.resource.kind.clone(),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            provider_id: id.to_owned(),
        })
    });
    Observed {
        target: target.clone(),
        node,
        machine,
        infrastructure,
    }
}

fn machine_of(
    world: &World,
    kind: &InfrastructureKind,
    object: &kube::api::DynamicObject,
) -> Option<Arc<Machine>> {
    let namespace = object.namespace().unwrap_or_default();
    world
        .machines
        .find(&term::infrastructure(
            &kind.resource.kind,
            &namespace,
            &object.name_any(),
        ))
        .into_iter()
        .next()
}
