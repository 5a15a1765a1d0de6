//! Follows links from what certainly moves and from what certainly stays, until each object knows which of them need it. Pure.

use std::collections::VecDeque;

use super::{
    homes::Home,
    links::{Links, NONE, Traits, number},
};
use crate::pivot::{
    collect::Namespaces,
    kinds::{MovedKind, Role},
    object::Object,
};

/// Why an object stays, or is kept here as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// A label says so.
    Label,
    /// It does not hang on the Cluster that was asked for.
    Filter,
    /// A Cluster without an API server of its own has machines with a host.
    NodesHere,
    /// It names no Cluster: its Nodes are in this one.
    NoCluster,
    /// It is a check of machines of which some stay.
    WatchesBoth,
    /// It is a check of machines that all stay.
    WatchesStaying,
    /// Its label lets it move, but only one Cluster was asked for.
    ForcedForAll,
    /// It is linked to nothing that moves.
    Unlinked,
    /// It stands outside of namespaces: others may need it.
    Shared,
    /// Something that stays owns it or refers to it.
    With(u32),
}

/// What is known of each object.
pub(super) struct Marks<'a> {
    kinds: &'a [MovedKind],
    objects: &'a [Object],
    links: &'a Links,
    homes: &'a [Home],
    /// Whether it is needed where the others go.
    pub(super) moves: Vec<bool>,
    /// Why it is needed here, if it is.
    pub(super) stays: Vec<Option<Why>>,
    /// What has been marked and not been followed.
    queue: VecDeque<(u32, Mark)>,
    /// All that move, in the order in which that was found.
    found: Vec<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Moves,
    Stays,
}

/// Whether objects of a kind may be used by several others at once and do nothing by themselves: they can be copied.
pub(super) fn is_shared(kind: &MovedKind) -> bool {
    kind.is_core("Secret")
        || kind.is_core("ConfigMap")
        || kind.is_own("Config")
        || kind.kind.ends_with("Template")
}

/// Whether objects of a kind are for all namespaces, so that they are never deleted.
fn is_for_all(kind: &MovedKind) -> bool {
    !kind.namespaced && !kind.is_core("Node")
}

impl<'a> Marks<'a> {
    /// Marks everything. `only_one` says that one Cluster was asked for.
    pub(super) fn of(
        kinds: &'a [MovedKind],
        objects: &'a [Object],
        links: &'a Links,
        homes: &'a [Home],
        namespaces: &Namespaces,
        only_one: bool,
    ) -> Self {
        let mut marks = Self {
            kinds,
            objects,
            links,
            homes,
            moves: vec![false; objects.len()],
            stays: vec![None; objects.len()],
            queue: VecDeque::new(),
            found: Vec::new(),
        };
        marks.certain();
        if !only_one {
            marks.roots(namespaces);
        }
        marks.owners_of_what_moves(only_one);
        if !only_one {
            marks.unlinked(namespaces);
            marks.owners_of_what_moves(only_one);
        }
        marks.rest(if only_one { Why::Filter } else { Why::Unlinked }, only_one);
        marks
    }

    fn kind(&self, index: u32) -> Option<&'a MovedKind> {
        self.kinds.get(self.objects.get(index as usize)?.kind)
    }

    fn is_marked(&self, index: u32) -> bool {
        self.moves[index as usize] || self.stays[index as usize].is_some()
    }

    fn all(&self) -> std::ops::Range<u32> {
        0..number(self.objects.len())
    }

    fn mark_moving(&mut self, index: u32) {
        if std::mem::replace(&mut self.moves[index as usize], true) {
            return;
        }
        self.queue.push_back((index, Mark::Moves));
        self.found.push(index);
        if self.kind(index).is_some_and(is_for_all) {
            self.mark_staying(index, Why::Shared);
        }
    }

    fn mark_staying(&mut self, index: u32, why: Why) {
        if self.stays[index as usize].is_none() {
            self.stays[index as usize] = Some(why);
            self.queue.push_back((index, Mark::Stays));
        }
    }

    /// Marks what is pulled by what was marked.
    fn follow(&mut self) {
        while let Some((from, mark)) = self.queue.pop_front() {
            let links = self.links;
            for &to in links.pulls.of(from) {
                if !self.decides(from, to) {
                    continue;
                }
                match mark {
                    Mark::Moves => self.mark_moving(to),
                    Mark::Stays => self.mark_staying(to, Why::With(from)),
                }
            }
        }
    }

    /// Whether an object goes where another one goes. What acts goes with its owner and with nobody else.
    fn decides(&self, from: u32, to: u32) -> bool {
        if self.homes[to as usize] != Home::Open {
            return false;
        }
        let master = self.links.master[to as usize];
        master == NONE || master == from || self.kind(to).is_none_or(is_shared)
    }

    fn certain(&mut self) {
        for index in self.all() {
            match self.homes[index as usize] {
                Home::Open => {}
                Home::Moves => self.mark_moving(index),
                Home::Both(why) => {
                    self.mark_moving(index);
                    self.mark_staying(index, why);
                }
                Home::Stays(why) => self.mark_staying(index, why),
                Home::With(cluster) => self.mark_staying(index, Why::With(cluster)),
            }
        }
        self.follow();
    }

    fn roots(&mut self, namespaces: &Namespaces) {
        for index in self.all() {
            let is_root = self.kind(index).is_some_and(|k| k.role == Role::Root);
            if is_root && self.is_free(index, namespaces) {
                self.mark_moving(index);
            }
        }
        self.follow();
    }

    /// What nobody has decided about yet and may decide about itself.
    fn is_free(&self, index: u32, namespaces: &Namespaces) -> bool {
        let in_scope = self.kind(index).is_some_and(|k| k.namespaced) || *namespaces == Namespaces::All;
        in_scope
            && !self.is_marked(index)
            && self.homes[index as usize] == Home::Open
            && self.links.master[index as usize] == NONE
    }

    /// Owners go with what they own, if nothing keeps them.
    fn owners_of_what_moves(&mut self, only_one: bool) {
        let mut next = 0;
        while let Some(&index) = self.found.get(next) {
            next += 1;
            let links = self.links;
            for &owner in links.owners.of(index) {
                let may = !only_one || self.kind(owner).is_some_and(is_for_all);
                if may && !self.is_marked(owner) && self.homes[owner as usize] == Home::Open {
                    self.mark_moving(owner);
                    self.follow();
                }
            }
        }
    }

    /// Objects of kinds that always move, linked to nothing.
    fn unlinked(&mut self, namespaces: &Namespaces) {
        for index in self.all() {
            let goes = self.kind(index).is_some_and(|k| k.role != Role::Linked);
            if goes && self.is_free(index, namespaces) {
                self.mark_moving(index);
            }
        }
        self.follow();
    }

    /// What is left: it stays, and what it needs is needed here. Of owners in a circle each waits for the other: what may decide for itself does.
    fn rest(&mut self, why: Why, only_one: bool) {
        let is_core = |marks: &Self, index: u32| marks.kind(index).is_none_or(|k| k.group.is_empty());
        for alone in [true, false] {
            for index in self.all() {
                let free = !alone || self.links.master[index as usize] == NONE;
                if self.is_marked(index) || is_core(self, index) || !free {
                    continue;
                }
                let goes = self
                    .kind(index)
                    .is_some_and(|k| k.role != Role::Linked && k.namespaced);
                if goes && !alone && !only_one {
                    self.mark_moving(index);
                } else {
                    self.mark_staying(index, why);
                }
                self.follow();
            }
        }
        // Secrets that look like those of machines: somebody may miss them.
        for index in self.all() {
            let is_secret = self.kind(index).is_some_and(|k| k.is_core("Secret"));
            if is_secret
                && !self.is_marked(index)
                && self.links.traits[index as usize].has(Traits::OF_MACHINES)
            {
                self.stays[index as usize] = Some(why);
            }
        }
    }
}
