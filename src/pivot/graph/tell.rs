//! What people are told about a choice. Pure.

use super::{Note, links::Missing, marks::Why};
use crate::pivot::{
    kinds::{MOVE, MovedKind},
    object::Object,
};

/// Names objects.
pub(super) struct Tell<'a> {
    pub(super) kinds: &'a [MovedKind],
    pub(super) objects: &'a [Object],
    /// The Cluster that was asked for.
    pub(super) cluster: &'a str,
}

impl Tell<'_> {
    fn key(&self, index: usize) -> String {
        self.objects
            .get(index)
            .map(|o| o.key(self.kinds))
            .unwrap_or_default()
    }

    /// Why something stays.
    pub(super) fn left(&self, index: usize, why: Why) -> String {
        match why {
            Why::Label => format!("its label {MOVE} is \"false\""),
            Why::Filter => format!("it does not hang on Cluster {}", self.cluster),
            Why::NodesHere => "Nodes of its machines are in this cluster (spec.apiServer: Management) and can't go elsewhere".to_owned(),
            Why::NoCluster => {
                let of = self.objects.get(index).and_then(|o| self.kinds.get(o.kind));
                if of.is_some_and(|k| k.is_own("Machine")) {
                    "it names no Cluster (spec.clusterName), so its Node is in this cluster and can't go elsewhere".to_owned()
                } else {
                    "it names no Cluster (spec.clusterName), so its machines join this cluster".to_owned()
                }
            }
            Why::WatchesBoth | Why::WatchesStaying => "the machines that it watches stay".to_owned(),
            Why::Unlinked | Why::ForcedForAll | Why::Shared => {
                format!("nothing that moves owns it or refers to it; label it {MOVE}= to move it all the same")
            }
            Why::With(other) => format!("it belongs to {}, which stays", self.key(other as usize)),
        }
    }

    /// Why something that moves is not deleted here.
    pub(super) fn kept(&self, why: Why) -> String {
        match why {
            Why::Shared => "it stands outside of namespaces: others may need it here".to_owned(),
            Why::With(other) => format!("{} needs it and stays", self.key(other as usize)),
            Why::WatchesBoth => "some of the machines that it watches stay".to_owned(),
            _ => format!("others than Cluster {} may need it here", self.cluster),
        }
    }

    /// An owner stays where it is.
    pub(super) fn owner_stays(&self, object: usize, owner: usize) -> Note {
        Note {
            object,
            text: format!("its owner {} stays: it moves without that owner", self.key(owner)),
            owner: self.objects.get(owner).map(|o| o.uid.clone()),
        }
    }

    /// An owner is, by way of others, owned by what it owns.
    pub(super) fn circle(&self, object: usize, owner: usize) -> Note {
        let text = format!(
            "its owner {} is itself owned by it, by way of others: it moves without that owner",
            self.key(owner)
        );
        Note {
            object,
            text,
            owner: self.objects.get(owner).map(|o| o.uid.clone()),
        }
    }

    /// Something is not there.
    pub(super) fn missing(object: usize, missing: &Missing) -> Note {
        let label = |kind: &str| format!("if it should move, label the definition of {kind} with {MOVE}=");
        let (text, owner) = match missing {
            Missing::Owner { name, uid } => (
                format!("its owner {name} does not exist: it moves without that owner"),
                Some(uid),
            ),
            Missing::OwnerKind { name, kind, uid } => (
                format!(
                    "its owner {name} is of a kind that does not move: it moves without that owner; {}",
                    label(kind)
                ),
                Some(uid),
            ),
            Missing::Kind { name, kind } => (
                format!(
                    "it refers to {name}, of a kind that does not move; {}",
                    label(kind)
                ),
                None,
            ),
            Missing::Outside { name } => (
                format!("it refers to {name}, in a namespace that does not move (-A moves all of them)"),
                None,
            ),
        };
        Note {
            object,
            text,
            owner: owner.cloned(),
        }
    }
}
