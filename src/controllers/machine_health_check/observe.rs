//! Reads what a decision about a health check needs, from the caches. Only what a machine is about to be deleted for is asked of its API
//! server again, and a template is read when it is to be copied.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, ObjectReference};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind},
    core::SelectorExt as _,
};
use serde_json::Value;

use super::{UNHEALTHY_CONDITIONS, rules};
use crate::{
    api::{
        conditions, labels, selector,
        v1alpha1::{Machine, MachineHealthCheck, UnhealthyCondition},
    },
    controllers::{
        apply::within,
        cache::term,
        effect::Target,
        runtime::ReconcileError,
        workload::Workload,
        world::{self, World},
    },
    time::Timestamp,
};

/// So many Nodes are asked for at once.
const AT_ONCE: usize = 32;

/// What is known of a machine's Node.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum NodeView {
    /// There is none yet.
    None,
    /// It was there and is gone: name.
    Missing(String),
    /// It is there.
    Found(Arc<Node>),
    /// Its API server does not answer; whether there was one.
    Unseen { was_node: bool },
}

/// A machine that a health check watches.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    pub(super) machine: Arc<Machine>,
    pub(super) node: NodeView,
    /// Whether what is known of the Node was asked of its API server for this decision.
    pub(super) confirmed: bool,
    /// Whether it is on its way out.
    pub(super) leaving: bool,
    /// Whether it or its Cluster is paused.
    pub(super) paused: bool,
    /// Since when its cluster's API server answers, if a Cluster tells.
    pub(super) cluster_since: Option<Timestamp>,
}

impl Watched {
    /// UID of its controller.
    pub(super) fn owner_uid(&self) -> Option<&str> {
        self.controller().map(|o| o.uid.as_str())
    }

    /// Its controller.
    pub(super) fn controller(
        &self,
    ) -> Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference> {
        let owners = self.machine.metadata.owner_references.as_deref()?;
        owners.iter().find(|o| o.controller == Some(true))
    }
}

/// An owner of machines that were replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    /// How many machines are missing until it has as many as it wants.
    pub(super) missing: usize,
}

/// Where broken machines are repaired by somebody else.
#[derive(Debug, Clone)]
pub(super) enum External {
    /// Nobody else does.
    NotAsked,
    /// The template's reference can't be used: why.
    Unusable(String),
    /// Its kind is known.
    Known(Requests),
}

/// Objects made for broken machines.
#[derive(Debug, Clone)]
pub(super) struct Requests {
    /// Their kind.
    pub(super) resource: ApiResource,
    /// Those that exist, by the name of their machine.
    pub(super) existing: BTreeMap<String, Arc<DynamicObject>>,
    /// What they are copied from.
    pub(super) template: Template,
}

/// A template, as far as it was read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Template {
    /// Nobody needed it yet.
    Unread,
    /// It does not exist.
    Missing,
    /// What it says of its copies.
    Found(Value),
}

/// All that a decision about a health check is made from.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    pub(super) check: Arc<MachineHealthCheck>,
    /// Its machines, by name.
    pub(super) machines: Vec<Watched>,
    /// Bad conditions of Nodes, or what in the `ConfigMap` can't be used.
    pub(super) rules: Result<Vec<UnhealthyCondition>, String>,
    /// Why the selector can't be used.
    pub(super) selector: Option<String>,
    /// Owners that are still there, of those that the status names, by UID.
    pub(super) owners: BTreeMap<String, Owner>,
    pub(super) external: External,
    /// Names of other health checks of this namespace.
    pub(super) others: Vec<String>,
}

/// What the machines of one cluster have in common.
struct Place {
    workload: Option<Arc<Workload>>,
    since: Option<Timestamp>,
    paused: bool,
}

/// Reads everything. Nothing: what is needed is not there yet.
pub(super) async fn observe(
    world: &Arc<World>,
    check: Arc<MachineHealthCheck>,
) -> Result<Option<Observed>, ReconcileError> {
    let namespace = check.namespace().unwrap_or_default();
    let needs_map = check.spec.unhealthy_conditions.is_none();
    if needs_map && !world.unhealthy_conditions.is_ready() {
        return Ok(None);
    }
    let map = world
        .unhealthy_conditions
        .get(Some(&namespace), UNHEALTHY_CONDITIONS);
    let data = map.map(|m| m.data.clone().unwrap_or_default());
    let (machines, selector) = match selected(world, &check, &namespace) {
        Ok(machines) => (watched(world, machines), None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let others = world.machine_health_checks.all();
    Ok(Some(Observed {
        rules: rules::rules(&check.spec, data.as_ref()),
        owners: owners(world, &check, &namespace),
        external: external(world, &check, &machines).await?,
        others: others
            .iter()
            .filter(|c| c.metadata.namespace == check.metadata.namespace && c.name_any() != check.name_any())
            .map(|c| c.name_any())
            .collect(),
        machines,
        selector,
        check,
    }))
}

/// The machines that a check selects, by name.
fn selected(world: &World, check: &MachineHealthCheck, namespace: &str) -> Result<Vec<Arc<Machine>>, String> {
    let selector = selector::parse(&check.spec.selector)?;
    let none = BTreeMap::new();
    let mut machines = match &check.spec.cluster_name {
        Some(cluster) => world.machines.find(&term::cluster(namespace, cluster)),
        None => world.machines.all(),
    };
    machines.retain(|m| {
        m.metadata.namespace.as_deref() == Some(namespace)
            && selector.matches(m.metadata.labels.as_ref().unwrap_or(&none))
    });
    machines.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    Ok(machines)
}

fn watched(world: &World, machines: Vec<Arc<Machine>>) -> Vec<Watched> {
    let mut places: HashMap<Option<String>, Place> = HashMap::new();
    machines
        .into_iter()
        .map(|machine| {
            if !places.contains_key(&machine.spec.cluster_name) {
                places.insert(machine.spec.cluster_name.clone(), place(world, &machine));
            }
            let place = &places[&machine.spec.cluster_name];
            Watched {
                node: node(place, &machine),
                confirmed: false,
                leaving: world.is_leaving(&machine),
                paused: place.paused || machine.annotations().contains_key(labels::PAUSED),
                cluster_since: place.since,
                machine,
            }
        })
        .collect()
}

fn place(world: &World, machine: &Machine) -> Place {
    let cluster = world.cluster_of(machine).ok().flatten();
    let target = world.target_of(machine);
    let answers = cluster.as_ref().and_then(|c| {
        let list = &c.status.as_ref()?.conditions;
        let answers = conditions::find(list, conditions::API_SERVER_AVAILABLE)?;
        (answers.status == "True").then_some(answers.last_transition_time.0)
    });
    Place {
        // A list of Nodes that is not complete yet would make them look gone.
        workload: target
            .as_ref()
            .and_then(|t| world.workloads.get(t))
            .filter(|w| w.is_reachable() && w.nodes.is_ready()),
        since: answers.filter(|_| matches!(target, Some(Target::Cluster(_)))),
        paused: cluster.is_some_and(|c| world::cluster_is_paused(&c)),
    }
}

/// Name of the Node that a machine became.
fn node_name(machine: &Machine) -> Option<&str> {
    machine.status.as_ref()?.node_ref.as_ref()?.name.as_deref()
}

fn node(place: &Place, machine: &Machine) -> NodeView {
    match (&place.workload, node_name(machine)) {
        (None, name) => NodeView::Unseen {
            was_node: name.is_some(),
        },
        (Some(_), None) => NodeView::None,
        (Some(workload), Some(name)) => match workload.nodes.get(None, name) {
            Some(node) => NodeView::Found(node),
            None => NodeView::Missing(name.to_owned()),
        },
    }
}

/// Asks the API servers of some machines how their Nodes are now: a watch may lag behind, or be broken.
pub(super) async fn confirm(
    world: &World,
    observed: &mut Observed,
    which: &[usize],
) -> Result<(), ReconcileError> {
    let ask = |index: usize| {
        let machine = Arc::clone(&observed.machines[index].machine);
        async move { (index, again(world, machine).await) }
    };
    let answers: Vec<_> = futures::stream::iter(which.iter().copied().map(ask))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    for (index, answer) in answers {
        let watched = &mut observed.machines[index];
        watched.confirmed = true;
        match answer? {
            Some((machine, node)) => (watched.machine, watched.node) = (machine, node),
            None => watched.leaving = true,
        }
    }
    Ok(())
}

/// A machine and its Node as they are now; nothing if the machine is gone. One that is not known to be a Node may have become one.
async fn again(
    world: &World,
    mut machine: Arc<Machine>,
) -> Result<Option<(Arc<Machine>, NodeView)>, ReconcileError> {
    if node_name(&machine).is_none() {
        let (namespace, name) = (machine.namespace().unwrap_or_default(), machine.name_any());
        let api: Api<Machine> = Api::namespaced(world.ctx.client.clone(), &namespace);
        let found = within(format!("reading Machine {namespace}/{name}"), api.get_opt(&name)).await?;
        let Some(found) = found.filter(|found| found.metadata.uid == machine.metadata.uid) else {
            return Ok(None);
        };
        machine = Arc::new(found);
    }
    let node = fresh(world, &machine).await;
    Ok(Some((machine, node)))
}

async fn fresh(world: &World, machine: &Machine) -> NodeView {
    let name = node_name(machine);
    let unseen = NodeView::Unseen {
        was_node: name.is_some(),
    };
    let Some(target) = world.target_of(machine) else {
        return unseen;
    };
    let Ok(client) = world.client(&target) else {
        return unseen;
    };
    let Some(name) = name else {
        return NodeView::None;
    };
    let nodes: Api<Node> = Api::all(client);
    match within(format!("reading Node {name} in {target}"), nodes.get_opt(name)).await {
        Ok(Some(node)) => NodeView::Found(Arc::new(node)),
        Ok(None) => NodeView::Missing(name.to_owned()),
        Err(error) => {
            world.suspect(&target, &error);
            tracing::debug!(error = %error.chain(), "a Node can't be judged");
            unseen
        }
    }
}

/// The owners that the status names, as far as they are there.
fn owners(world: &World, check: &MachineHealthCheck, namespace: &str) -> BTreeMap<String, Owner> {
    let records = check
        .status
        .as_ref()
        .map(|s| s.remediations.as_slice())
        .unwrap_or_default();
    if records.is_empty() {
        return BTreeMap::new();
    }
    let sets = world.machine_sets.all();
    let mut owners = BTreeMap::new();
    for set in sets
        .iter()
        .filter(|s| s.metadata.namespace.as_deref() == Some(namespace))
    {
        let Some(uid) = set.uid().filter(|uid| records.iter().any(|r| r.uid == *uid)) else {
            continue;
        };
        let stay = world
            .machines
            .find(&term::owner(&uid))
            .iter()
            .filter(|m| !world.is_leaving(m))
            .count();
        let wanted = usize::try_from(set.spec.replicas).unwrap_or_default();
        let missing = if set.metadata.deletion_timestamp.is_some() {
            0
        } else {
            wanted.saturating_sub(stay)
        };
        owners.insert(uid, Owner { missing });
    }
    owners
}

/// Splits the reference to a template into the kind of its copies.
fn request_kind(template: &ObjectReference) -> Result<ObjectReference, String> {
    let kind = template.kind.as_deref().unwrap_or_default();
    let copy = kind.strip_suffix("Template").filter(|k| !k.is_empty());
    match (copy, &template.api_version, &template.name) {
        (Some(copy), Some(_), Some(_)) => Ok(ObjectReference {
            kind: Some(copy.to_owned()),
            ..template.clone()
        }),
        _ => Err(format!(
            "spec.remediationTemplate needs apiVersion, name and a kind that ends with Template, not \"{kind}\""
        )),
    }
}

async fn external(
    world: &Arc<World>,
    check: &MachineHealthCheck,
    machines: &[Watched],
) -> Result<External, ReconcileError> {
    let Some(template) = &check.spec.remediation_template else {
        return Ok(External::NotAsked);
    };
    let reference = match request_kind(template) {
        Ok(reference) => reference,
        Err(error) => return Ok(External::Unusable(error)),
    };
    let Some(kind) = world.infrastructure_of(&reference).await? else {
        return Ok(External::Unusable(format!(
            "spec.remediationTemplate: the API server knows no kind {} in {}",
            reference.kind.as_deref().unwrap_or_default(),
            reference.api_version.as_deref().unwrap_or_default(),
        )));
    };
    let requests = machines.iter().filter_map(|w| {
        let name = w.machine.name_any();
        let request = kind.cache.get(w.machine.metadata.namespace.as_deref(), &name)?;
        Some((name, request))
    });
    Ok(External::Known(Requests {
        existing: requests.collect(),
        resource: kind.resource.clone(),
        template: Template::Unread,
    }))
}

/// Reads the template.
pub(super) async fn read_template(world: &World, observed: &mut Observed) -> Result<(), ReconcileError> {
    let Some(reference) = observed.check.spec.remediation_template.clone() else {
        return Ok(());
    };
    let External::Known(requests) = &mut observed.external else {
        return Ok(());
    };
    let api_version = reference.api_version.unwrap_or_default();
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let kind = reference.kind.unwrap_or_default();
    let name = reference.name.unwrap_or_default();
    let gvk = GroupVersionKind::gvk(group, version, &kind);
    let namespace = observed.check.namespace().unwrap_or_default();
    let resource = match kube::discovery::pinned_kind(&world.ctx.client, &gvk).await {
        Ok((resource, _)) => resource,
        Err(kube::Error::Api(status)) if status.is_not_found() => {
            requests.template = Template::Missing;
            return Ok(());
        }
        Err(kube::Error::Discovery(_)) => {
            requests.template = Template::Missing;
            return Ok(());
        }
        Err(error) => return Err(ReconcileError::api(format!("looking up the kind {kind}"), error)),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(world.ctx.client.clone(), &namespace, &resource);
    let found = within(format!("reading {kind} {namespace}/{name}"), api.get_opt(&name)).await?;
    requests.template = found.map_or(Template::Missing, |t| {
        let copies = t.data.pointer("/spec/template");
        Template::Found(copies.cloned().unwrap_or(Value::Null))
    });
    Ok(())
}
