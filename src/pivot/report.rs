//! What a move came to, for people and for programs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    journal::{Entry, Journal},
    sequence::Move,
    survey::Survey,
};

/// What a move came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Which move; empty if it is only thought of.
    pub id: String,
    /// Context from where.
    pub source: String,
    /// Context, or directory, to where.
    pub target: String,
    /// How many objects.
    pub objects: usize,
    /// How many of each kind.
    pub kinds: BTreeMap<String, usize>,
    /// Clusters that moved: namespace and name.
    pub clusters: Vec<(String, String)>,
    /// What stays, and why.
    pub left: Vec<Told>,
    /// What was copied and stays in the source, too, and why.
    pub copied: Vec<Told>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Requests by cluster.
    pub requests: BTreeMap<String, u64>,
}

/// An object and what there is to say about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Told {
    /// The object.
    pub object: String,
    /// Why.
    pub reason: String,
}

impl Report {
    /// Of a move whose objects were surveyed.
    pub(super) fn of(id: &str, source: &str, target: &str, survey: &Survey, notes: Vec<String>) -> Self {
        let told = |index: usize, reason: &str| Told {
            object: survey.name(index),
            reason: reason.to_owned(),
        };
        let choice = &survey.choice;
        let of_objects = choice
            .notes
            .iter()
            .map(|n| format!("{}: {}", survey.name(n.object), n.text));
        let is_cluster = |index: &usize| survey.kind(*index).is_own("Cluster");
        Self {
            id: id.to_owned(),
            source: source.to_owned(),
            target: target.to_owned(),
            objects: survey.count(),
            kinds: survey.counts(),
            clusters: survey
                .moved()
                .filter(is_cluster)
                .map(|i| {
                    let object = &survey.objects[i];
                    let namespace = object.namespace.as_deref().unwrap_or_default();
                    (namespace.to_owned(), object.name.to_string())
                })
                .collect(),
            left: choice.left.iter().map(|l| told(l.object, &l.reason)).collect(),
            copied: choice.kept.iter().map(|k| told(k.object, &k.reason)).collect(),
            notes: of_objects.chain(notes).collect(),
            seconds: 0.0,
            requests: BTreeMap::new(),
        }
    }

    /// Of a move that another process has brought to its commit point.
    pub(super) fn resumed(journal: &Journal, asked: &Move, entries: &[Entry]) -> Self {
        let mut kinds = BTreeMap::new();
        for entry in entries {
            *kinds.entry(entry.kind.clone()).or_default() += 1;
        }
        let clusters = entries.iter().filter(|e| e.kind == "clusters.machine.crit.sh");
        Self {
            id: journal.id.clone(),
            source: asked.source.context().to_owned(),
            target: asked.target.context().to_owned(),
            objects: journal.objects,
            kinds,
            clusters: clusters
                .map(|e| (e.namespace.clone().unwrap_or_default(), e.name.clone()))
                .collect(),
            left: Vec::new(),
            copied: Vec::new(),
            notes: Vec::new(),
            seconds: 0.0,
            requests: BTreeMap::new(),
        }
    }
}
