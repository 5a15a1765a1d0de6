//! Where Clusters, Machines and what makes or heals them go: with the cluster in which their Nodes are. Pure.
//!
//! A Machine without a Cluster joins the cluster that holds it (machine-api), so it can't go elsewhere; a hollow one has no host, so it can.

use std::collections::{BTreeMap, HashMap, HashSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::SelectorExt as _;
use serde::Deserialize;

use super::{
    Purpose, Scope,
    links::{Links, NONE, Traits, is_active, number},
    marks::Why,
};
use crate::{
    api::selector,
    pivot::{facts::Facts, kinds::MovedKind, object::Object},
};

/// What is decided for an object before anything is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    /// Links decide.
    Open,
    /// It moves.
    Moves,
    /// It is copied: it is needed at both ends.
    Both(Why),
    /// It stays.
    Stays(Why),
    /// It stays with that Cluster.
    With(u32),
}

/// Machines of each namespace, with their labels.
type Machines<'a> = HashMap<&'a str, Vec<(u32, BTreeMap<String, String>)>>;

/// All that is looked at.
pub(super) struct Homes<'a> {
    kinds: &'a [MovedKind],
    objects: &'a [Object],
    links: &'a Links,
    scope: &'a Scope,
    /// The Cluster that is asked for.
    wanted: Option<u32>,
    decided: Vec<Home>,
}

/// Decides for all Clusters and for what makes or heals machines, and for what says itself that it moves or stays.
pub(super) fn homes(
    kinds: &[MovedKind],
    objects: &[Object],
    links: &Links,
    scope: &Scope,
    wanted: Option<u32>,
) -> Vec<Home> {
    let mut all = Homes {
        kinds,
        objects,
        links,
        scope,
        wanted,
        decided: vec![Home::Open; objects.len()],
    };
    let clusters = all.with_nodes_here();
    all.each(|all, index, kind| {
        let stuck = clusters.contains(&index);
        if kind.is_own("Cluster") || all.wanted == Some(index) {
            all.cluster(index, stuck)
        } else {
            Home::Open
        }
    });
    all.each(|all, index, kind| {
        if is_active(kind) && !all.is_check_of_all(index, kind) {
            all.member(index)
        } else {
            Home::Open
        }
    });
    all.checks();
    all.each(Homes::labelled);
    all.decided
}

impl<'a> Homes<'a> {
    /// Decides for what is open.
    fn each(&mut self, decide: impl Fn(&Self, u32, &MovedKind) -> Home) {
        for index in 0..self.objects.len() {
            if self.decided[index] != Home::Open {
                continue;
            }
            if let Some(kind) = self.kinds.get(self.objects[index].kind) {
                self.decided[index] = decide(self, number(index), kind);
            }
        }
    }

    fn traits(&self, index: u32) -> Traits {
        self.links.traits[index as usize]
    }

    fn kind(&self, index: u32) -> Option<&MovedKind> {
        self.kinds.get(self.objects.get(index as usize)?.kind)
    }

    /// Clusters that have no API server of their own but machines with a host: their Nodes are in this cluster.
    fn with_nodes_here(&self) -> HashSet<u32> {
        let mut stuck = HashSet::new();
        if self.scope.purpose == Purpose::Backup {
            return stuck;
        }
        for index in 0..number(self.objects.len()) {
            let cluster = self.links.cluster[index as usize];
            if cluster != NONE
                && self.traits(cluster).has(Traits::MANAGEMENT)
                && !self.traits(index).has(Traits::HOLLOW)
                && self.kind(index).is_some_and(|k| k.is_own("Machine"))
            {
                stuck.insert(cluster);
            }
        }
        stuck
    }

    fn cluster(&self, index: u32, stuck: bool) -> Home {
        if self.traits(index).has(Traits::STAYS) {
            Home::Stays(Why::Label)
        } else if self.wanted.is_some_and(|wanted| wanted != index) {
            Home::Stays(Why::Filter)
        } else if stuck {
            Home::Stays(Why::NodesHere)
        } else {
            Home::Moves
        }
    }

    fn member(&self, index: u32) -> Home {
        let traits = self.traits(index);
        if traits.has(Traits::STAYS) {
            return Home::Stays(Why::Label);
        }
        let cluster = self.links.cluster[index as usize];
        if cluster != NONE {
            let moves = self.decided[cluster as usize] == Home::Moves;
            return if moves { Home::Moves } else { Home::With(cluster) };
        }
        if self.wanted.is_some() {
            return Home::Stays(Why::Filter);
        }
        // A Cluster that is named and does not exist is waited for in the other place, too.
        let goes = [Traits::FORCED, Traits::HOLLOW, Traits::NAMES_CLUSTER];
        if self.scope.purpose == Purpose::Backup || goes.iter().any(|one| traits.has(*one)) {
            return Home::Moves;
        }
        Home::Stays(Why::NoCluster)
    }

    /// Whether it is a check that watches machines of all clusters.
    fn is_check_of_all(&self, index: u32, kind: &MovedKind) -> bool {
        kind.is_own("MachineHealthCheck") && !self.traits(index).has(Traits::NAMES_CLUSTER)
    }

    /// Checks that name no Cluster go where the machines go that they watch.
    fn checks(&mut self) {
        let mut machines = None;
        for index in 0..self.objects.len() {
            let Some(kind) = self.kinds.get(self.objects[index].kind) else {
                continue;
            };
            let this = number(index);
            if self.decided[index] != Home::Open || !self.is_check_of_all(this, kind) {
                continue;
            }
            let home = if self.traits(this).has(Traits::STAYS) {
                Home::Stays(Why::Label)
            } else if self.wanted.is_some() {
                Home::Stays(Why::Filter)
            } else if self.scope.purpose == Purpose::Backup || self.traits(this).has(Traits::FORCED) {
                Home::Moves
            } else {
                let machines = machines.get_or_insert_with(|| self.machines());
                self.check(&self.objects[index], machines)
            };
            self.decided[index] = home;
        }
    }

    /// Machines by namespace, with their labels.
    fn machines(&self) -> Machines<'a> {
        let mut all = Machines::new();
        for (index, object) in (0..).zip(self.objects) {
            if !self.kind(index).is_some_and(|k| k.is_own("Machine")) {
                continue;
            }
            let facts: Option<Facts> = serde_json::from_str(&object.text).ok();
            let labels = facts.map(|facts| {
                let pairs = facts.metadata.labels.iter();
                pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
            });
            all.entry(object.namespace.as_deref().unwrap_or_default())
                .or_default()
                .push((index, labels.unwrap_or_default()));
        }
        all
    }

    fn check(&self, check: &Object, machines: &Machines) -> Home {
        #[derive(Deserialize)]
        struct Check {
            #[serde(default)]
            spec: Spec,
        }
        #[derive(Default, Deserialize)]
        struct Spec {
            #[serde(default)]
            selector: LabelSelector,
        }
        let namespace = check.namespace.as_deref().unwrap_or_default();
        let check: Option<Check> = serde_json::from_str(&check.text).ok();
        let selector = check.and_then(|check| selector::parse(&check.spec.selector).ok());
        let (mut goes, mut stays) = (false, false);
        for (index, labels) in machines.get(namespace).into_iter().flatten() {
            // Without a selector that can be read it does nothing, wherever it is.
            if selector.as_ref().is_some_and(|selector| selector.matches(labels)) {
                let moves = self.decided[*index as usize] == Home::Moves;
                goes |= moves;
                stays |= !moves;
            }
        }
        match (goes, stays) {
            (true, true) => Home::Both(Why::WatchesBoth),
            (false, true) => Home::Stays(Why::WatchesStaying),
            (_, false) => Home::Moves,
        }
    }

    /// What says itself where it goes.
    fn labelled(&self, index: u32, kind: &MovedKind) -> Home {
        let traits = self.traits(index);
        if traits.has(Traits::STAYS) {
            Home::Stays(Why::Label)
        } else if !traits.has(Traits::FORCED) {
            Home::Open
        } else if self.wanted.is_none() {
            Home::Moves
        } else if super::marks::is_shared(kind) {
            // It may be for others, too.
            Home::Both(Why::ForcedForAll)
        } else {
            Home::Open
        }
    }
}
