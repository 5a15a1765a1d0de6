//! How many machines each set of a deployment should have now. Numbers only; it knows no objects. Pure.
//!
//! The rules are those of the Deployment controller of Kubernetes, with the results that Cluster API records for machines.

use super::limits::{Limits, Strategy};

/// One set, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Share {
    /// Machines that it should have.
    pub(crate) wanted: i32,
    /// Machines that it has, without those that are leaving.
    pub(crate) present: i32,
    /// Machines of it that are known to be available.
    pub(crate) available: i32,
    /// Whether what it says of itself is about the number that it was given last.
    pub(crate) settled: bool,
    /// Whether it makes no machines.
    pub(crate) closed: bool,
    /// What it was sized for: how many machines the deployment wanted then, and how many it allowed.
    pub(crate) sized_for: Option<(i32, i32)>,
}

impl Share {
    /// Machines that are available and stay so when the set is told to have `size`: a set gives up the others first.
    fn available_of(&self, size: i32) -> i32 {
        self.available.min(size).max(0)
    }

    /// Machines that are missing or not available.
    fn unavailable(&self) -> i32 {
        (self.wanted - self.available_of(self.wanted)).max(0)
    }
}

/// All sets of a deployment, in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fleet {
    /// What may be done at once.
    pub(crate) limits: Limits,
    /// Whether changes of the template wait.
    pub(crate) paused: bool,
    /// Whether nothing has got further for as long as the deadline says.
    pub(crate) stalled: bool,
    /// Sets of other templates, the oldest first.
    pub(crate) old: Vec<Share>,
    /// The set of the present template.
    pub(crate) current: Option<Share>,
}

/// How many machines each set should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// In the order of [`Fleet::old`].
    pub(crate) old: Vec<i32>,
    /// Of [`Fleet::current`].
    pub(crate) current: Option<i32>,
}

/// Sizes the sets.
pub(crate) fn sizes(fleet: &Fleet) -> Sizes {
    let (is_rolling, is_rescaled) = (
        matches!(fleet.limits.strategy, Strategy::Rolling { .. }),
        fleet.is_rescaled(),
    );
    match (fleet.paused, is_rescaled, is_rolling) {
        // A roll-out that has not begun is not worth machines of the old template.
        (false, true, true) if fleet.current.is_some() => fleet.rescale(),
        (true, true, true) => fleet.rescale(),
        (true, true, false) => fleet.resize(),
        (true, false, _) => fleet.keep(),
        (false, _, true) => fleet.roll(),
        (false, _, false) => fleet.align(),
    }
}

impl Fleet {
    /// The sizes that all sets have.
    pub(crate) fn sizes(&self) -> Sizes {
        self.keep()
    }

    /// Machines that all sets should have.
    pub(crate) fn total(&self) -> i32 {
        sum(self.all().map(|s| s.wanted))
    }

    /// Machines of old sets that may go now: so many more are there, or will be for certain, than have to be available. A machine of the
    /// current set counts when it is available.
    pub(crate) fn spare(&self, current: i32) -> i32 {
        let new = self.current.map_or(0, |s| s.known(current));
        sum(self.old.iter().map(|s| s.wanted).chain([new])) - self.limits.fewest()
    }

    fn all(&self) -> impl Iterator<Item = &Share> {
        self.old.iter().chain(&self.current)
    }

    /// Whether the wanted number has changed since the sets were sized, or a single set has another size than is wanted.
    fn is_rescaled(&self) -> bool {
        let replicas = self.limits.replicas;
        let active: Vec<_> = self.all().filter(|s| s.wanted > 0).collect();
        match active[..] {
            [] => self.paused && replicas > 0,
            [one] if self.paused => one.wanted != replicas,
            _ => active
                .iter()
                .filter_map(|s| s.sized_for)
                .any(|(desired, _)| desired != replicas),
        }
    }

    /// All sets as they are.
    fn keep(&self) -> Sizes {
        Sizes {
            old: self.old.iter().map(|s| s.wanted).collect(),
            current: self.current.map(|s| s.wanted),
        }
    }

    fn split(&self, mut sizes: Vec<i32>) -> Sizes {
        let current = self.current.and_then(|_| sizes.pop());
        Sizes { old: sizes, current }
    }

    /// Another number of machines is wanted: each set gets its part of the difference (Deployment: proportional scaling).
    fn rescale(&self) -> Sizes {
        let all: Vec<Share> = self.all().copied().collect();
        let mut sizes: Vec<i32> = all.iter().map(|s| s.wanted).collect();
        let mut active = (0..all.len()).filter(|i| all[*i].wanted > 0);
        match (active.next(), active.next()) {
            (None, _) => {
                if let Some(latest) = sizes.last_mut() {
                    *latest = self.limits.replicas;
                }
            }
            (Some(one), None) => sizes[one] = self.limits.replicas,
            _ => {
                sizes = proportional(&all, self.limits.most());
                protect(&all, &mut sizes, self.limits.fewest());
                if let (Some(_), Some(current)) = (self.current, sizes.last_mut()) {
                    *current = (*current).min(self.limits.replicas);
                }
            }
        }
        self.split(sizes)
    }

    /// Another number of machines is wanted: new ones come from the newest set, the oldest set shrinks first.
    fn resize(&self) -> Sizes {
        let all: Vec<Share> = self.all().copied().collect();
        let mut sizes: Vec<i32> = all.iter().map(|s| s.wanted).collect();
        let difference = self.limits.replicas - self.total();
        if let (true, Some(newest)) = (difference > 0, sizes.last_mut()) {
            *newest += difference;
        }
        shrink(&all, &mut sizes, -difference);
        self.split(sizes)
    }

    /// One step of a rolling update (Deployment: `rolloutRolling`).
    fn roll(&self) -> Sizes {
        let mut sizes = self.keep();
        let wanted = self.current.map_or(0, |s| s.wanted);
        let room = (self.limits.most() - self.total()).max(0);
        let replicas = self.limits.replicas;
        let current = if wanted > replicas {
            replicas
        } else {
            wanted + room.min(replicas - wanted)
        };
        sizes.current = self.current.map(|_| current);
        shrink(&self.old, &mut sizes.old, self.spare(current));
        if self.stalled && sizes == self.keep() {
            self.break_deadlock(&mut sizes);
        }
        sizes
    }

    /// Nothing gets further, because machines of the new template don't become available: an old one that is of no use makes room for
    /// another try. It lowers no availability, and happens once a deadline (Cluster API: deadlock breaker, which waits for ever here).
    fn break_deadlock(&self, sizes: &mut Sizes) {
        let stuck = self.old.iter().position(|s| s.settled && s.unavailable() > 0);
        if let Some(stuck) = stuck {
            sizes.old[stuck] -= 1;
        }
    }

    /// Machines that somebody deleted from old sets come back in the current one (Cluster API: `OnDelete`).
    fn align(&self) -> Sizes {
        let mut sizes = self.keep();
        for (share, size) in self.old.iter().zip(&mut sizes.old) {
            // A set that still makes machines has not got to its number; nobody deleted what is missing.
            if share.closed && share.settled {
                *size = share.wanted.min(share.present).max(0);
            }
        }
        let wanted = self.current.map(|s| s.wanted);
        let surplus = sum(sizes.old.iter().copied().chain(wanted)) - self.limits.replicas;
        shrink(&self.old, &mut sizes.old, surplus);
        let left = self.limits.replicas - sum(sizes.old.iter().copied());
        sizes.current = self.current.map(|_| left.max(0));
        sizes
    }
}

impl Share {
    /// Machines of the current set that are known to be available when it is told to have `size`. What it says before it has looked at its
    /// last number may be about machines that are gone.
    fn known(&self, size: i32) -> i32 {
        if self.settled { self.available_of(size) } else { 0 }
    }
}

/// Takes machines from sets: first those that are not available, and from the first set first.
fn shrink(shares: &[Share], sizes: &mut [i32], mut by: i32) {
    for (share, size) in shares.iter().zip(sizes.iter_mut()) {
        let taken = by.min(*size - share.available_of(*size)).max(0);
        *size -= taken;
        by -= taken;
    }
    for size in sizes {
        let taken = by.min(*size).max(0);
        *size -= taken;
        by -= taken;
    }
}

/// Brings the sum of all sets to `most`, each in proportion to its size (Deployment: `GetReplicaSetProportion`). Sets without machines
/// stay without; what rounding leaves over goes to the largest.
fn proportional(all: &[Share], most: i32) -> Vec<i32> {
    let mut sizes: Vec<i32> = all.iter().map(|s| s.wanted).collect();
    let total: i64 = sizes.iter().copied().map(i64::from).sum();
    let mut left = i64::from(most) - total;
    let mut order: Vec<usize> = (0..all.len()).filter(|i| all[*i].wanted > 0).collect();
    let grows = left > 0;
    // The largest first; among equals the newest grows first, and the oldest shrinks first.
    order.sort_by_key(|i| (-all[*i].wanted, if grows { all.len() - i } else { *i }));
    for index in &order {
        let share = all[*index];
        let before = share.sized_for.map_or(total, |(_, most)| i64::from(most)).max(1);
        let part = round(i64::from(share.wanted) * i64::from(most), before) - i64::from(share.wanted);
        let part = part.clamp(left.min(0), left.max(0));
        sizes[*index] = narrow(i64::from(share.wanted) + part);
        left -= part;
    }
    for index in order {
        let size = (i64::from(sizes[index]) + left).max(0);
        left -= size - i64::from(sizes[index]);
        sizes[index] = narrow(size);
    }
    sizes
}

/// Where sets shrink, lets machines go that are not available rather than such as are, as long as fewer than `fewest` would be left.
fn protect(all: &[Share], sizes: &mut [i32], fewest: i32) {
    let known = sum(all.iter().map(|s| s.available_of(s.wanted)));
    let left = sum(all.iter().zip(sizes.iter()).map(|(s, n)| s.available_of(*n)));
    let mut missing = (fewest.min(known) - left).max(0);
    let mut owed = 0;
    for (share, size) in all.iter().zip(sizes.iter_mut()) {
        let back = missing
            .min(share.available_of(share.wanted) - share.available_of(*size))
            .max(0);
        *size += back;
        missing -= back;
        owed += back;
    }
    for (share, size) in all.iter().zip(sizes.iter_mut()) {
        let taken = owed.min(*size - share.available_of(*size)).max(0);
        *size -= taken;
        owed -= taken;
    }
}

/// Adds numbers that are not negative; whoever asks for more machines than can be counted gets that many.
fn sum(numbers: impl Iterator<Item = i32>) -> i32 {
    numbers.fold(0, i32::saturating_add)
}

/// Divides and rounds half up; both are positive.
const fn round(number: i64, by: i64) -> i64 {
    (2 * number + by) / (2 * by)
}

fn narrow(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod tests;
