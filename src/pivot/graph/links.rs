//! What is linked to what: owners, references, names and labels, as numbers. Pure.
//!
//! An object pulls another one if the other one goes where it goes.

use std::collections::HashMap;

use super::{ChoiceError, HOLLOW};
use crate::{
    api::{
        INFRASTRUCTURE_GROUP, labels,
        names::{self, ClusterKeyPair},
    },
    pivot::{
        facts::{Facts, Owner},
        kinds::{
            BLOCK_MOVE, CLUSTER_API_BLOCK, CLUSTER_API_HIERARCHY, CLUSTER_API_MOVE, MOVE, MOVE_HIERARCHY,
            MovedKind,
        },
        object::Object,
        references::Reference,
    },
};

/// Stands for no object.
pub(super) const NONE: u32 = u32::MAX;
/// Label with the name of the Cluster, as Cluster API and its providers write it.
const FOREIGN_CLUSTER_NAME: &str = "cluster.x-k8s.io/cluster-name";
/// Purposes of a cluster's Secrets, `<cluster>-<purpose>`, in addition to our own (Cluster API).
const FOREIGN_PURPOSES: [&str; 2] = ["apiserver-etcd-client", "etcd-client"];

/// What an object says of itself, as bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Traits(u16);

impl Traits {
    /// It moves, whatever it is linked to.
    pub(super) const FORCED: Self = Self(1);
    /// It stays, whatever it is linked to.
    pub(super) const STAYS: Self = Self(1 << 1);
    /// An annotation forbids the move for now.
    pub(super) const BLOCKED: Self = Self(1 << 2);
    /// It bears labels or annotations of machines, or a type of theirs.
    pub(super) const OF_MACHINES: Self = Self(1 << 3);
    /// Its machines are hollow: their Nodes are all there is of them.
    pub(super) const HOLLOW: Self = Self(1 << 4);
    /// A Cluster whose Nodes are in the cluster that holds it.
    pub(super) const MANAGEMENT: Self = Self(1 << 5);
    /// It names a Cluster.
    pub(super) const NAMES_CLUSTER: Self = Self(1 << 6);

    /// Whether it has a trait.
    pub(super) const fn has(self, one: Self) -> bool {
        self.0 & one.0 != 0
    }

    fn set_if(&mut self, one: Self, so: bool) {
        if so {
            self.0 |= one.0;
        }
    }
}

/// Something that is not there for an object.
#[derive(Debug)]
pub(super) enum Missing {
    /// An owner of a moved kind: it does not exist.
    Owner { name: String, uid: Box<str> },
    /// An owner of a kind that does not move.
    OwnerKind {
        name: String,
        kind: String,
        uid: Box<str>,
    },
    /// Something that it refers to, of a kind that does not move.
    Kind { name: String, kind: String },
    /// Something that it refers to, in a namespace that was not read.
    Outside { name: String },
}

/// Lists of numbers, one for each object, in one piece of memory.
#[derive(Debug, Default)]
pub(super) struct Lists {
    starts: Vec<u32>,
    items: Vec<u32>,
}

impl Lists {
    /// Makes lists for `count` objects from (object, item).
    fn new(count: usize, pairs: &[(u32, u32)]) -> Self {
        let mut starts = vec![0u32; count + 1];
        for (from, _) in pairs {
            starts[*from as usize + 1] += 1;
        }
        for index in 1..starts.len() {
            starts[index] += starts[index - 1];
        }
        let mut next = starts.clone();
        let mut items = vec![0; pairs.len()];
        for (from, to) in pairs {
            let place = &mut next[*from as usize];
            items[*place as usize] = *to;
            *place += 1;
        }
        Self { starts, items }
    }

    /// The list of an object.
    pub(super) fn of(&self, index: u32) -> &[u32] {
        let index = index as usize;
        &self.items[self.starts[index] as usize..self.starts[index + 1] as usize]
    }
}

/// All links.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// What each object pulls.
    pub(super) pulls: Lists,
    /// Owners of each object that were read.
    pub(super) owners: Lists,
    /// The one owner that decides for an object: its controller, or the only one.
    pub(super) master: Vec<u32>,
    /// The Cluster that each object names.
    pub(super) cluster: Vec<u32>,
    /// The hollow machine of each Node that is one's.
    pub(super) machine: HashMap<u32, u32>,
    /// What each object says of itself.
    pub(super) traits: Vec<Traits>,
    /// What is missing, by object.
    pub(super) missing: Vec<(u32, Missing)>,
}

/// A number of an object. There are never so many that it does not fit: each takes more than one byte.
pub(super) fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(NONE)
}

/// Finds all links.
///
/// # Errors
/// Fails if an object can't be read.
pub(super) fn links(
    kinds: &[MovedKind],
    objects: &[Object],
    only: Option<&str>,
) -> Result<Links, ChoiceError> {
    let index = Index::of(kinds, objects, only);
    let mut found = Found::default();
    found.links.cluster = vec![NONE; objects.len()];
    found.links.traits = vec![Traits::default(); objects.len()];
    found.links.master = vec![NONE; objects.len()];
    for (number, object) in (0..).zip(objects) {
        let Some(kind) = kinds.get(object.kind) else {
            continue;
        };
        let facts: Facts = serde_json::from_str(&object.text).map_err(|e| ChoiceError::Unreadable {
            key: object.key(kinds),
            column: e.column(),
        })?;
        let one = One {
            number,
            object,
            kind,
            facts: &facts,
            index: &index,
        };
        found.links.traits[number as usize] = one.traits();
        one.owners(&mut found);
        one.references(&mut found);
        one.by_cluster(&mut found);
        one.by_name(&mut found);
    }
    let mut links = found.links;
    links.owners = Lists::new(objects.len(), &found.owners);
    found
        .pulls
        .extend(found.owners.iter().map(|(owned, owner)| (*owner, *owned)));
    links.pulls = Lists::new(objects.len(), &found.pulls);
    Ok(links)
}

/// What has been found so far.
#[derive(Default)]
struct Found {
    links: Links,
    pulls: Vec<(u32, u32)>,
    owners: Vec<(u32, u32)>,
}

/// Objects by what others call them.
struct Index<'a> {
    by_uid: HashMap<&'a str, u32>,
    by_name: HashMap<(usize, &'a str, &'a str), u32>,
    kinds: HashMap<&'a str, Vec<usize>>,
    moved: &'a [MovedKind],
    secret: Option<usize>,
    config_map: Option<usize>,
    hollow: Option<usize>,
    cluster: Option<usize>,
    /// Clusters of Cluster API, or of others that use its labels.
    foreign_cluster: Option<usize>,
    /// The only namespace that was read, if it is one.
    only: Option<&'a str>,
}

impl<'a> Index<'a> {
    fn of(kinds: &'a [MovedKind], objects: &'a [Object], only: Option<&'a str>) -> Self {
        let find = |good: &dyn Fn(&MovedKind) -> bool| kinds.iter().position(good);
        let mut by_kind: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, kind) in kinds.iter().enumerate() {
            by_kind.entry(&kind.kind).or_default().push(index);
        }
        let numbered = || (0..).zip(objects);
        Self {
            by_uid: numbered()
                .filter(|(_, o)| !o.uid.is_empty())
                .map(|(number, o)| (&*o.uid, number))
                .collect(),
            by_name: numbered()
                .map(|(number, o)| {
                    (
                        (o.kind, o.namespace.as_deref().unwrap_or_default(), &*o.name),
                        number,
                    )
                })
                .collect(),
            kinds: by_kind,
            moved: kinds,
            secret: find(&|k| k.is_core("Secret")),
            config_map: find(&|k| k.is_core("ConfigMap")),
            hollow: find(&|k| k.is_own("HollowMachine")),
            cluster: find(&|k| k.is_own("Cluster")),
            foreign_cluster: find(&|k| !k.own && k.kind == "Cluster"),
            only,
        }
    }

    fn find(&self, kind: Option<usize>, namespace: &str, name: &str) -> Option<u32> {
        self.by_name.get(&(kind?, namespace, name)).copied()
    }

    /// The kind that is meant; one of this program if no group is named.
    fn kind(&self, kind: &str, group: Option<&str>) -> Option<usize> {
        let all = self.kinds.get(kind)?;
        match group {
            Some(group) => all.iter().find(|k| self.moved[**k].group == group),
            None => all.iter().find(|k| self.moved[**k].own).or(all.first()),
        }
        .copied()
    }
}

/// One object and where others are.
struct One<'a> {
    number: u32,
    object: &'a Object,
    kind: &'a MovedKind,
    facts: &'a Facts<'a>,
    index: &'a Index<'a>,
}

/// Whether a label or annotation is there and does not say `false`.
fn says(value: Option<&str>) -> bool {
    value.is_some_and(|value| value != "false")
}

impl One<'_> {
    fn namespace(&self) -> &str {
        self.object.namespace.as_deref().unwrap_or_default()
    }

    fn traits(&self) -> Traits {
        let meta = &self.facts.metadata;
        let label = |key: &str| meta.labels.get(key);
        let mut traits = Traits::default();
        traits.set_if(
            Traits::FORCED,
            [MOVE, MOVE_HIERARCHY, CLUSTER_API_MOVE, CLUSTER_API_HIERARCHY]
                .iter()
                .any(|key| says(label(key))),
        );
        traits.set_if(Traits::STAYS, label(MOVE) == Some("false"));
        let blocks = |key: &str| meta.annotations.get(key).is_some();
        traits.set_if(Traits::BLOCKED, blocks(BLOCK_MOVE) || blocks(CLUSTER_API_BLOCK));
        let of_machines =
            |text: &str| text.starts_with("machine.crit.sh/") || text.starts_with("infrastructure.crit.sh/");
        let mut words = meta.labels.iter().chain(meta.annotations.iter());
        traits.set_if(
            Traits::OF_MACHINES,
            of_machines(&self.facts.type_) || words.any(|(key, _)| of_machines(key)),
        );
        let spec = &self.facts.spec;
        let hollow = |r: &Reference| {
            let group = r.group.as_deref().unwrap_or(INFRASTRUCTURE_GROUP);
            r.is_infrastructure && group == INFRASTRUCTURE_GROUP && r.kind.starts_with("HollowMachine")
        };
        traits.set_if(Traits::HOLLOW, spec.all.iter().any(hollow));
        traits.set_if(
            Traits::MANAGEMENT,
            self.kind.is_own("Cluster") && spec.api_server.as_deref() == Some("Management"),
        );
        traits.set_if(Traits::NAMES_CLUSTER, spec.cluster_name().is_some());
        traits
    }

    fn owners(&self, found: &mut Found) {
        let all = &self.facts.metadata.owner_references;
        let (mut controller, mut known) = (NONE, Vec::new());
        for owner in all {
            match self.index.by_uid.get(&*owner.uid) {
                Some(&number) => {
                    known.push(number);
                    if owner.controller {
                        controller = number;
                    }
                }
                None => found.links.missing.push((self.number, self.absent(owner))),
            }
        }
        known.sort_unstable();
        known.dedup();
        found
            .owners
            .extend(known.iter().map(|owner| (self.number, *owner)));
        found.links.master[self.number as usize] = match (controller, known.as_slice()) {
            (NONE, [only]) => *only,
            (controller, _) => controller,
        };
    }

    fn absent(&self, owner: &Owner) -> Missing {
        let (name, uid) = (owner.describe(), Box::from(&*owner.uid));
        if self.index.kind(&owner.kind, Some(owner.group())).is_some() {
            return Missing::Owner { name, uid };
        }
        let kind = name.split(' ').next().unwrap_or_default().to_owned();
        Missing::OwnerKind { name, kind, uid }
    }

    fn references(&self, found: &mut Found) {
        for reference in &self.facts.spec.all {
            let group = reference.group.as_deref();
            let Some(kind) = self.index.kind(&reference.kind, group) else {
                if let Some(group) = group.filter(|group| is_of_others(group)) {
                    let kind = format!("{}.{group}", reference.kind);
                    let name = format!("{kind} {}", reference.name);
                    found
                        .links
                        .missing
                        .push((self.number, Missing::Kind { name, kind }));
                }
                continue;
            };
            let kind_of = &self.index.moved[kind];
            let own = self.namespace();
            let place = reference.namespace.as_deref().unwrap_or(own);
            let namespace = if kind_of.namespaced { place } else { "" };
            let is_outside = !namespace.is_empty() && self.index.only.is_some_and(|only| only != namespace);
            match self.index.find(Some(kind), namespace, &reference.name) {
                Some(to) if to != self.number => found.pulls.push((self.number, to)),
                None if is_outside => {
                    let name = format!("{kind_of} {namespace}/{}", reference.name);
                    found.links.missing.push((self.number, Missing::Outside { name }));
                }
                _ => {}
            }
        }
        let secret = &self.facts.status.data_secret;
        let secret = self.index.find(self.index.secret, self.namespace(), secret);
        found.pulls.extend(secret.map(|to| (self.number, to)));
    }

    /// The Cluster that it names in its spec or by a label.
    fn by_cluster(&self, found: &mut Found) {
        if !self.kind.namespaced || self.kind.is_own("Cluster") {
            return;
        }
        let label = |key: &str| self.facts.metadata.labels.get(key);
        let find = |kind: Option<usize>, name: Option<&str>| self.index.find(kind, self.namespace(), name?);
        let spec = self.facts.spec.cluster_name();
        let own = find(self.index.cluster, spec);
        // A label says nothing about where the machines of a set join.
        let cluster = if is_active(self.kind) {
            own
        } else {
            own.or_else(|| find(self.index.cluster, label(labels::CLUSTER_NAME)))
                .or_else(|| find(self.index.foreign_cluster, label(FOREIGN_CLUSTER_NAME)))
        };
        let Some(cluster) = cluster.filter(|cluster| *cluster != self.number) else {
            return;
        };
        found.links.cluster[self.number as usize] = cluster;
        found.pulls.push((cluster, self.number));
    }

    /// What belongs to it by a name that follows from its own.
    fn by_name(&self, found: &mut Found) {
        let (namespace, name) = (self.namespace(), &*self.object.name);
        let mut pull = |kind: Option<usize>, name: &str| {
            let to = self.index.find(kind, namespace, name);
            found.pulls.extend(to.map(|to| (self.number, to)));
        };
        let secret = self.index.secret;
        if self.kind.kind == "Cluster" {
            for pair in ClusterKeyPair::ALL {
                pull(secret, &pair.secret(name));
            }
            pull(secret, &names::kubeconfig_secret(name));
            for purpose in FOREIGN_PURPOSES {
                pull(secret, &format!("{name}-{purpose}"));
            }
        } else if self.kind.is_own("Machine") {
            pull(secret, &names::bootstrap_secret(name));
        } else if self.kind.is_own("MachineHealthCheck") && !self.facts.spec.has_conditions {
            pull(self.index.config_map, names::UNHEALTHY_CONDITIONS);
        } else if self.kind.is_core("Node") {
            let id = self.facts.spec.provider_id.as_deref().unwrap_or_default();
            let machine = id.strip_prefix(HOLLOW).and_then(|id| id.split_once('/'));
            let machine = machine.and_then(|(ns, name)| self.index.find(self.index.hollow, ns, name));
            if let Some(machine) = machine {
                found.pulls.push((machine, self.number));
                found.links.machine.insert(self.number, machine);
            }
        }
    }
}

/// Whether a kind makes or heals machines: where it goes is decided by the cluster of its machines alone.
pub(super) fn is_active(kind: &MovedKind) -> bool {
    kind.own
        && matches!(
            kind.kind.as_str(),
            "Machine" | "MachineSet" | "MachineDeployment" | "MachineHealthCheck"
        )
}

/// Whether an API group is that of software that was added to the cluster: Kubernetes' own kinds do not move with machines.
fn is_of_others(group: &str) -> bool {
    group.contains('.') && (!group.ends_with(".k8s.io") || group.ends_with(".x-k8s.io"))
}
