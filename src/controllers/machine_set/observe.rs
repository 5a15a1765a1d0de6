//! Reads what a decision about a set needs: its Machines, those that it might take, the template of their infrastructure. It decides nothing.

use std::sync::Arc;

use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind},
};

use super::template;
use crate::{
    api::{
        MACHINE_GROUP, names, selector,
        v1alpha1::{Machine, MachineSet},
    },
    controllers::{
        apply::within,
        cache::{Cache, term},
        effect::ObjectKey,
        runtime::ReconcileError,
        world::World,
    },
    time::{SignedDuration, Timestamp},
};

/// Infrastructure objects without their Machine, and Machines without their infrastructure object, are left alone for this long: the
/// watches may not have told of the other half yet.
pub(super) const GRACE: SignedDuration = SignedDuration::from_secs(5);
/// At most this many stray infrastructure objects are looked into at once.
const STRAYS: usize = 50;

/// A Machine that the set controls.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// The Machine.
    pub(crate) machine: Arc<Machine>,
    /// Whether it is on its way out.
    pub(crate) leaving: bool,
    /// Whether it was written a moment ago and the watch has not told of that yet.
    pub(crate) stale: bool,
    /// Whether the infrastructure object that was to be made with it does not exist.
    pub(crate) lacks_clone: bool,
}

/// The Cluster of the machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClusterView {
    /// None is named.
    NotNamed,
    /// It is there.
    Found,
    /// It does not exist.
    Missing,
    /// It is being deleted.
    Deleting,
}

/// What the machines' `infrastructureRef` leads to.
#[derive(Debug, Clone)]
pub(crate) enum TemplateView {
    /// It does not matter in this look.
    Unread,
    /// The API server does not know the kind that the template is of, or the kind that it stands for; this one.
    UnknownKind(String),
    /// The template does not exist.
    Missing,
    /// The template, and the kind that it stands for.
    Found {
        /// Kind of the copies.
        kind: ApiResource,
        /// The template.
        template: Arc<DynamicObject>,
    },
}

/// Something that could not be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Reason of event and condition.
    pub(crate) reason: &'static str,
    /// For people.
    pub(crate) message: String,
}

impl Trouble {
    /// Takes down an error. The names of objects that were to be made come out, so that the next try, with other names, says the same.
    pub(crate) fn of(reason: &'static str, error: &ReconcileError, names: &[String]) -> Self {
        let message = match error {
            ReconcileError::Several(all) => {
                let mut kinds: Vec<(String, usize)> = Vec::new();
                for text in all.iter().map(|e| without(names, &said(e))) {
                    match kinds.iter_mut().find(|(known, _)| *known == text) {
                        Some((_, count)) => *count += 1,
                        None => kinds.push((text, 1)),
                    }
                }
                kinds.sort();
                let told: Vec<String> = kinds
                    .into_iter()
                    .map(|(text, count)| {
                        if count > 1 {
                            format!("{text} ({count} times)")
                        } else {
                            text
                        }
                    })
                    .collect();
                told.join("; ")
            }
            one => without(names, &said(one)),
        };
        Self { reason, message }
    }
}

/// What an error says, without what only programs read.
fn said(error: &ReconcileError) -> String {
    match error {
        ReconcileError::Api {
            doing,
            source: kube::Error::Api(status),
        } => format!("{doing}: {}", status.message),
        other => other.chain(),
    }
}

fn without(names: &[String], text: &str) -> String {
    let Some(name) = names.iter().find(|name| text.contains(name.as_str())) else {
        return text.to_owned();
    };
    let stem = name.rsplit_once('-').map_or(name.as_str(), |(stem, _)| stem);
    text.replace(name.as_str(), &format!("{stem}-…"))
}

/// All that a decision about a set is made from.
#[derive(Debug, Clone)]
pub(crate) struct Observed {
    /// The set.
    pub(crate) set: Arc<MachineSet>,
    /// Machines that it controls, by name.
    pub(crate) members: Vec<Member>,
    /// Machines of its namespace that nobody controls, that its selector selects and that are not on their way out.
    pub(crate) orphans: Vec<Member>,
    /// The Cluster of the machines.
    pub(crate) cluster: ClusterView,
    /// What the machines' infrastructure is copied from.
    pub(crate) template: TemplateView,
    /// Infrastructure objects that were made for machines which are gone, with their UIDs.
    pub(crate) strays: Vec<(ObjectKey, Option<String>)>,
    /// When to look again, should something that is missing not have come by then.
    pub(crate) recheck: Option<SignedDuration>,
    /// Where chance begins.
    pub(crate) seed: u64,
    /// What could not be done in this look.
    pub(crate) trouble: Option<Trouble>,
}

/// Reads everything.
pub(super) async fn observe(world: &Arc<World>, set: Arc<MachineSet>) -> Result<Observed, ReconcileError> {
    let mut o = members(world, set).await?;
    if o.set.metadata.deletion_timestamp.is_some() {
        return Ok(o);
    }
    let now = world.ctx.clock.now();
    let kind = match template::reference(&o.set).and_then(|r| template::of_clones(&r)) {
        Some(clone) => world.infrastructure_of(&clone).await?,
        None => None,
    };
    if let Some(kind) = &kind {
        let namespace = o.set.metadata.namespace.clone();
        let exists = |name: &str| kind.cache.contains(namespace.as_deref(), name);
        find_lacking(&mut o, &kind.resource.kind, exists, now);
        o.strays = strays(world, &o, &kind.resource, &kind.cache, now).await?;
    }
    if template::is_needed(&o) {
        o.template = read_template(world, &o.set, kind.map(|k| k.resource)).await?;
    }
    Ok(o)
}

/// Reads what the numbers follow from.
pub(super) async fn members(world: &Arc<World>, set: Arc<MachineSet>) -> Result<Observed, ReconcileError> {
    let namespace = set.namespace().unwrap_or_default();
    let uid = set.uid().unwrap_or_default();
    let controlled = world.controlled_machines(&namespace, &uid).await?;
    let of = |machine: Arc<Machine>| Member {
        leaving: world.is_leaving(&machine),
        stale: world.is_stale("Machine", &*machine),
        lacks_clone: false,
        machine,
    };
    let orphans = match selector::parse(&set.spec.selector) {
        Ok(selector) if !selector::is_empty(&set.spec.selector) => world
            .machines
            .find(&term::orphan(&namespace))
            .into_iter()
            .filter(|m| template::matches(&selector, m))
            .map(of)
            .filter(|m| !m.leaving)
            .collect(),
        _ => Vec::new(),
    };
    let cluster = match set.cluster_name() {
        None => ClusterView::NotNamed,
        Some(name) => match world.clusters.get(Some(&namespace), name) {
            None => ClusterView::Missing,
            Some(cluster) if cluster.metadata.deletion_timestamp.is_some() => ClusterView::Deleting,
            Some(_) => ClusterView::Found,
        },
    };
    Ok(Observed {
        members: controlled.into_iter().map(of).collect(),
        set,
        orphans,
        cluster,
        template: TemplateView::Unread,
        strays: Vec::new(),
        recheck: None,
        seed: rand::random(),
        trouble: None,
    })
}

/// Marks the Machines whose copy of the template never came, and says when that is certain of others. A copy that was there and is gone is
/// the Machine's own affair.
pub(super) fn find_lacking(o: &mut Observed, kind: &str, exists: impl Fn(&str) -> bool, now: Timestamp) {
    for member in o.members.iter_mut().filter(|m| !m.leaving) {
        let machine = &member.machine;
        let status = machine.status.as_ref();
        let settled = status.is_some_and(|s| s.infrastructure_ready || s.failure_reason.is_some())
            || machine.spec.provider_id.is_some();
        let reference = machine.spec.infrastructure_ref.as_ref();
        let named = reference.is_some_and(|r| {
            r.kind.as_deref() == Some(kind) && r.name.is_some() && r.name == machine.metadata.name
        });
        if settled || !named || exists(&machine.name_any()) {
            continue;
        }
        let created = machine.creation_timestamp().map_or(now, |created| created.0);
        let rest = (created + GRACE).duration_since(now);
        member.lacks_clone = !rest.is_positive();
        if rest.is_positive() {
            o.recheck = Some(o.recheck.map_or(rest, |other| other.min(rest)));
        }
    }
}

/// Finds copies whose Machine is gone. An API server collects them, too, when it gets to it. There is something to find only while there are
/// more copies than Machines.
async fn strays(
    world: &World,
    o: &Observed,
    kind: &ApiResource,
    cache: &Cache<DynamicObject>,
    now: Timestamp,
) -> Result<Vec<(ObjectKey, Option<String>)>, ReconcileError> {
    let namespace = o.set.namespace().unwrap_or_default();
    let term = term::set(&namespace, &names::label_value(&o.set.name_any()));
    if cache.count(&term) <= o.members.len() {
        return Ok(Vec::new());
    }
    let machines: Api<Machine> = Api::namespaced(world.ctx.client.clone(), &namespace);
    let mut strays = Vec::new();
    for object in cache.find(&term) {
        let owners = object.owner_references();
        let Some(owner) = owners
            .iter()
            .find(|r| r.kind == "Machine" && r.api_version.starts_with(MACHINE_GROUP))
        else {
            continue;
        };
        let young = object
            .creation_timestamp()
            .is_none_or(|created| now.duration_since(created.0) < GRACE);
        let known = world.machines.get(Some(&namespace), &owner.name);
        let lives = known.is_some_and(|m| m.uid().as_deref() == Some(&owner.uid));
        if young || lives || object.metadata.deletion_timestamp.is_some() {
            continue;
        }
        // Whoever removes a host has to be sure.
        let doing = format!("reading Machine {namespace}/{}", owner.name);
        let found = within(doing, machines.get_opt(&owner.name)).await?;
        if found.is_some_and(|m| m.uid().as_deref() == Some(&owner.uid)) {
            continue;
        }
        let key = ObjectKey {
            resource: kind.clone(),
            namespace: Some(namespace.clone()),
            name: object.name_any(),
        };
        strays.push((key, object.uid()));
        if strays.len() == STRAYS {
            break;
        }
    }
    Ok(strays)
}

/// Reads the template of the infrastructure objects: one request.
async fn read_template(
    world: &World,
    set: &MachineSet,
    kind: Option<ApiResource>,
) -> Result<TemplateView, ReconcileError> {
    let Some(reference) = template::reference(set) else {
        return Ok(TemplateView::Unread);
    };
    let Some(clone) = template::of_clones(&reference) else {
        return Ok(TemplateView::Unread);
    };
    let Some(kind) = kind else {
        return Ok(TemplateView::UnknownKind(clone.kind.unwrap_or_default()));
    };
    let api_version = reference.api_version.as_deref().unwrap_or_default();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let own_kind = reference.kind.as_deref().unwrap_or_default();
    let gvk = GroupVersionKind::gvk(group, version, own_kind);
    let name = reference.name.as_deref().unwrap_or_default();
    let namespace = set.namespace().unwrap_or_default();
    let api: Api<DynamicObject> =
        Api::namespaced_with(world.ctx.client.clone(), &namespace, &ApiResource::from_gvk(&gvk));
    let doing = format!("reading {own_kind} {namespace}/{name}");
    if let Some(template) = within(doing, api.get_opt(name)).await? {
        return Ok(TemplateView::Found {
            kind,
            template: Arc::new(template),
        });
    }
    // A kind that does not exist answers as an object that does not.
    match kube::discovery::pinned_kind(&world.ctx.client, &gvk).await {
        Ok(_) => Ok(TemplateView::Missing),
        Err(kube::Error::Api(status)) if status.is_not_found() => {
            Ok(TemplateView::UnknownKind(own_kind.to_owned()))
        }
        Err(kube::Error::Discovery(_)) => Ok(TemplateView::UnknownKind(own_kind.to_owned())),
        Err(error) => Err(ReconcileError::api(
            format!("looking up the kind {own_kind}"),
            error,
        )),
    }
}
