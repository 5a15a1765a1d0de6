//! Which objects move, in which order, which stay and why. Pure.
//!
//! Every object that was read is in exactly one place: [`Choice::groups`], [`Choice::left`], or [`Choice::unrelated`], which holds Secrets,
//! `ConfigMaps` and Nodes that have nothing to do with machines.

mod homes;
mod links;
mod marks;
mod order;
mod tell;

use self::{links::Traits, marks::Marks, tell::Tell};
use super::{
    collect::Namespaces,
    kinds::{MovedKind, Role},
    object::Object,
};

/// How provider ids of hollow machines begin.
pub(super) const HOLLOW: &str = "hollow://";

/// What for objects are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// They go to another cluster and are deleted here. What belongs to this cluster stays.
    Move,
    /// They are written down, or read from what was written down. What belongs to this cluster is taken, too.
    Backup,
}

/// Which part of what was read is to move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Where was read.
    pub namespaces: Namespaces,
    /// Only this Cluster and what hangs on it.
    pub cluster: Option<String>,
    /// What for.
    pub purpose: Purpose,
}

/// What moves and what does not. Numbers are those of the objects, in the order in which they were given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// What moves: owners before what they own, Clusters before what names them, hollow machines before their Nodes.
    pub groups: Vec<Vec<usize>>,
    /// Of what moves, the Clusters and others with which all that belongs to them moves.
    pub roots: Vec<usize>,
    /// Of what moves, what is copied and not deleted here.
    pub kept: Vec<Kept>,
    /// What stays, and why.
    pub left: Vec<Left>,
    /// What does not belong to machines at all: Secrets, `ConfigMaps`, Nodes.
    pub unrelated: Vec<usize>,
    /// Of what moves, the objects with an annotation that forbids it for now.
    pub blocked: Vec<usize>,
    /// What is lost or missing in what moves.
    pub notes: Vec<Note>,
}

/// An object that is copied and not deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The object.
    pub object: usize,
    /// Why, as half a sentence.
    pub reason: String,
}

/// An object that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The object.
    pub object: usize,
    /// Why, as half a sentence that says what to do about it.
    pub reason: String,
}

/// Something about an object that moves that whoever moves it should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The object.
    pub object: usize,
    /// What, as one sentence without a full stop.
    pub text: String,
    /// UID of an owner to which its reference must not be written: it will not be there, and the garbage collector would take the object. Nothing if
    /// the note is not about an owner.
    pub owner: Option<Box<str>>,
}

/// Why nothing can be chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// The Cluster that was asked for does not exist.
    #[error("there is no Cluster \"{name}\"")]
    NoSuchCluster {
        /// Its name.
        name: String,
        /// Those that exist, with their namespaces.
        known: Vec<String>,
    },
    /// There are several Clusters of that name.
    #[error("there is a Cluster \"{name}\" in each of the namespaces {}", namespaces.join(", "))]
    SeveralClusters {
        /// Their name.
        name: String,
        /// Where they are.
        namespaces: Vec<String>,
    },
    /// An object can't be read.
    #[error(
        "{key} can't be read: something in its metadata or spec is not of the type that it should be (column {column})"
    )]
    Unreadable {
        /// The object.
        key: String,
        /// Where in its text.
        column: usize,
    },
}

/// Chooses what moves. Time and memory grow as the number of objects does.
///
/// # Errors
/// Fails if the Cluster that is asked for is not there or not one, or if an object can't be read.
pub fn choose(kinds: &[MovedKind], objects: &[Object], scope: &Scope) -> Result<Choice, ChoiceError> {
    let wanted = match &scope.cluster {
        Some(name) => Some(wanted(kinds, objects, name)?),
        None => None,
    };
    let links = links::links(kinds, objects, scope.namespaces.one())?;
    let homes = homes::homes(kinds, objects, &links, scope, wanted);
    let marks = Marks::of(
        kinds,
        objects,
        &links,
        &homes,
        &scope.namespaces,
        wanted.is_some(),
    );
    let kind = |index: u32| kinds.get(objects.get(index as usize)?.kind);
    let order = order::order(&links, &marks.moves);
    let tell = Tell {
        kinds,
        objects,
        cluster: scope.cluster.as_deref().unwrap_or_default(),
    };
    let mut choice = Choice::default();
    for index in 0..objects.len() {
        let number = links::number(index);
        let stays = marks.stays[index];
        let Some(depth) = order.depth[index] else {
            match stays {
                Some(why) => choice.left.push(Left {
                    object: index,
                    reason: tell.left(index, why),
                }),
                None => choice.unrelated.push(index),
            }
            continue;
        };
        let depth = depth as usize;
        if choice.groups.len() <= depth {
            choice.groups.resize_with(depth + 1, Vec::new);
        }
        choice.groups[depth].push(index);
        if kind(number).is_some_and(|k| k.role == Role::Root) {
            choice.roots.push(index);
        }
        if links.traits[index].has(Traits::BLOCKED) {
            choice.blocked.push(index);
        }
        if let Some(why) = stays {
            choice.kept.push(Kept {
                object: index,
                reason: tell.kept(why),
            });
        }
        for &owner in links.owners.of(number) {
            if !marks.moves[owner as usize] {
                choice.notes.push(tell.owner_stays(index, owner as usize));
            }
        }
    }
    for (object, owner) in &order.late {
        choice.notes.push(tell.circle(*object as usize, *owner as usize));
    }
    for (object, missing) in &links.missing {
        if marks.moves[*object as usize] {
            choice.notes.push(Tell::missing(*object as usize, missing));
        }
    }
    choice.notes.sort_by_key(|note| note.object);
    Ok(choice)
}

/// Finds the Cluster that is asked for.
fn wanted(kinds: &[MovedKind], objects: &[Object], name: &str) -> Result<u32, ChoiceError> {
    let is_cluster = |o: &Object| {
        let kind = kinds.get(o.kind);
        kind.is_some_and(|k| k.kind == "Cluster" && k.role == Role::Root)
    };
    let clusters = || objects.iter().enumerate().filter(|(_, o)| is_cluster(o));
    let found: Vec<_> = clusters().filter(|(_, o)| &*o.name == name).collect();
    match found.as_slice() {
        [(index, _)] => Ok(links::number(*index)),
        [] => Err(ChoiceError::NoSuchCluster {
            name: name.to_owned(),
            known: clusters().map(|(_, o)| o.address()).collect(),
        }),
        several => Err(ChoiceError::SeveralClusters {
            name: name.to_owned(),
            namespaces: several
                .iter()
                .filter_map(|(_, o)| Some(o.namespace.as_deref()?.to_owned()))
                .collect(),
        }),
    }
}

#[cfg(test)]
mod any_tests;
#[cfg(test)]
mod tests;
