//! What waits in a controller's queue and what is worked on, with times. It queues nothing itself.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A queue's objects by a digest of namespace and name: two objects of one digest are counted as one, and nothing else depends on it.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    since: Mutex<HashMap<u64, Instant>>,
    adds: AtomicU64,
}

fn digest(namespace: Option<&str>, name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (namespace, name).hash(&mut hasher);
    hasher.finish()
}

impl Waiting {
    /// Takes down that an object waits. One that waits already goes on waiting.
    pub(crate) fn push(&self, namespace: Option<&str>, name: &str) {
        if let Entry::Vacant(place) = self.lock().entry(digest(namespace, name)) {
            place.insert(Instant::now());
            self.adds.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes an object out and says how long it has waited; nothing if it came by its own alarm clock.
    pub(crate) fn take(&self, namespace: Option<&str>, name: &str) -> Option<Duration> {
        self.lock()
            .remove(&digest(namespace, name))
            .map(|since| since.elapsed())
    }

    /// How many objects wait.
    pub(super) fn depth(&self) -> usize {
        self.lock().len()
    }

    /// How many objects came since the last call.
    pub(super) fn take_adds(&self) -> u64 {
        self.adds.swap(0, Ordering::Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks that are under way, by ticket.
#[derive(Debug, Default)]
pub(super) struct Running {
    next: AtomicU64,
    since: Mutex<HashMap<u64, Instant>>,
}

impl Running {
    /// Takes down that a look begins.
    pub(super) fn begin(&self) -> u64 {
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(ticket, Instant::now());
        ticket
    }

    /// Takes down that a look ends, and says how long it took.
    pub(super) fn end(&self, ticket: u64) -> Duration {
        self.lock()
            .remove(&ticket)
            .map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// How many are under way, how long all together, and the longest.
    pub(super) fn now(&self) -> (usize, Duration, Duration) {
        let all = self.lock();
        let times = all.values().map(Instant::elapsed);
        let (sum, longest) = times.fold((Duration::ZERO, Duration::ZERO), |(sum, longest), time| {
            (sum + time, longest.max(time))
        });
        (all.len(), sum, longest)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_waits_once_however_often_it_is_asked_for() {
        let waiting = Waiting::default();
        waiting.push(Some("a"), "x");
        waiting.push(Some("a"), "x");
        waiting.push(None, "x");
        assert_eq!(
            (waiting.depth(), waiting.take_adds(), waiting.take_adds()),
            (2, 2, 0)
        );
        assert!(waiting.take(Some("a"), "x").is_some());
        assert!(waiting.take(Some("a"), "x").is_none());
        assert_eq!(waiting.depth(), 1);
    }

    #[test]
    fn what_runs_is_known_until_it_ends() {
        let running = Running::default();
        let (a, b) = (running.begin(), running.begin());
        assert_eq!(running.now().0, 2);
        running.end(a);
        let (count, sum, longest) = running.now();
        assert_eq!((count, sum), (1, longest));
        running.end(b);
        assert_eq!(running.now().0, 0);
    }
}
