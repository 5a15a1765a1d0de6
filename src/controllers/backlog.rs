//! What waits to be looked at, and from when on: each object once, never two looks at one object at a time. It knows no kind.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// Names an object among those of its kind.
pub(crate) type Name = Arc<str>;

/// Events about an object that come this close together are one.
const DEBOUNCE: Duration = Duration::from_millis(5);

/// Objects that wait and objects that are worked on.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    state: Mutex<State>,
    /// Tells the one who takes objects out that the first one has changed.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    due: HashMap<Name, Instant>,
    order: BTreeSet<(Instant, Name)>,
    /// Objects that are worked on, and when they are to be looked at again if something happened meanwhile.
    at_work: HashMap<Name, Option<Instant>>,
    /// Objects that rest, and until when.
    resting: HashMap<Name, Instant>,
}

impl State {
    fn push(&mut self, name: Name, now: Instant) {
        let at = self.soon(&name, now);
        self.schedule(name, at);
    }

    /// Takes out an object whose time has come; else says when the next one's comes.
    fn take(&mut self, now: Instant) -> Result<Name, Option<Instant>> {
        match self.order.pop_first() {
            Some((at, name)) if at <= now => {
                self.due.remove(&name);
                self.at_work.insert(Arc::clone(&name), None);
                Ok(name)
            }
            Some((at, name)) => {
                self.order.insert((at, name));
                Err(Some(at))
            }
            None => Err(None),
        }
    }

    fn done(&mut self, name: &Name, rest: Option<Duration>, again: Option<Duration>, now: Instant) {
        let happened = self.at_work.remove(name).flatten();
        if let Some(rest) = rest.filter(|rest| *rest > DEBOUNCE) {
            self.resting.insert(Arc::clone(name), now + rest);
        }
        let soon = happened.map(|_| self.soon(name, now));
        let later = again.and_then(|time| now.checked_add(time));
        if let Some(at) = soon.into_iter().chain(later).min() {
            self.schedule(Arc::clone(name), at);
        }
    }

    /// Lets an object be looked at, at the time if not sooner.
    fn schedule(&mut self, name: Name, at: Instant) {
        if let Some(again) = self.at_work.get_mut(&name) {
            *again = Some(again.map_or(at, |other| other.min(at)));
            return;
        }
        match self.due.get(&name) {
            Some(known) if *known <= at => return,
            Some(known) => {
                self.order.remove(&(*known, Arc::clone(&name)));
            }
            None => {}
        }
        self.due.insert(Arc::clone(&name), at);
        self.order.insert((at, name));
    }

    /// When something happened just now: the time to look at an object.
    fn soon(&mut self, name: &Name, now: Instant) -> Instant {
        let soon = now + DEBOUNCE;
        match self.resting.get(name) {
            Some(until) if *until > soon => *until,
            Some(_) => {
                self.resting.remove(name);
                soon
            }
            None => soon,
        }
    }

    fn first(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }
}

impl Backlog {
    /// Asks for a look at an object because something has happened.
    pub(crate) fn push(&self, name: Name) {
        self.change(|state| state.push(name, Instant::now()));
    }

    /// Waits until an object is to be looked at, and takes it out. Only one may wait at a time.
    pub(crate) async fn next(&self) -> Name {
        loop {
            let taken = self.lock().take(Instant::now());
            match taken {
                Ok(name) => return name,
                Err(Some(at)) => tokio::select! {
                    () = tokio::time::sleep_until(at.into()) => {}
                    () = self.changed.notified() => {}
                },
                Err(None) => self.changed.notified().await,
            }
        }
    }

    /// Takes down that a look has ended, for how long events lead to no other one, and after which time there is to be one without a
    /// reason; nothing if only events matter.
    pub(crate) fn done(&self, name: &Name, rest: Option<Duration>, again: Option<Duration>) {
        self.change(|state| state.done(name, rest, again, Instant::now()));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        let before = state.first();
        change(&mut state);
        let differs = state.first() != before;
        drop(state);
        if differs {
            self.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A backlog, and a clock that is set by hand.
    struct Bench {
        state: State,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                state: State::default(),
                now: Instant::now(),
            }
        }

        fn push(&mut self, name: &str) {
            self.state.push(name.into(), self.now);
        }

        /// What is looked at within this time, and time passes until then.
        fn within(&mut self, millis: u64) -> Option<Name> {
            let end = self.now + Duration::from_millis(millis);
            loop {
                match self.state.take(self.now) {
                    Ok(name) => return Some(name),
                    Err(Some(at)) if at <= end => self.now = at,
                    Err(_) => {
                        self.now = end;
                        return None;
                    }
                }
            }
        }

        fn done(&mut self, name: &str, rest: u64, again: Option<u64>) {
            let (rest, again) = (Duration::from_millis(rest), again.map(Duration::from_millis));
            self.state.done(&name.into(), Some(rest), again, self.now);
        }
    }

    const LONG: u64 = 3_600_000;

    #[test]
    fn an_object_waits_once_however_often_it_is_asked_for() {
        let mut bench = Bench::new();
        for name in ["b", "a", "b"] {
            bench.push(name);
        }
        assert_eq!(bench.within(4), None);
        let taken = [bench.within(2), bench.within(2)].map(|name| name.unwrap().to_string());
        assert_eq!(taken, ["a", "b"]);
        assert_eq!(bench.within(LONG), None);
    }

    #[test]
    fn what_happens_during_a_look_leads_to_another_one_after_it() {
        let mut bench = Bench::new();
        bench.push("a");
        assert!(bench.within(5).is_some());
        bench.push("a");
        assert_eq!(bench.within(LONG), None);
        bench.done("a", 0, None);
        assert!(bench.within(5).is_some());
        bench.done("a", 0, None);
        assert_eq!(bench.within(LONG), None);
    }

    #[test]
    fn the_sooner_of_two_times_counts() {
        let mut bench = Bench::new();
        bench.push("a");
        assert!(bench.within(5).is_some());
        bench.done("a", 0, Some(60_000));
        assert_eq!(bench.within(1000), None);
        bench.push("a");
        assert!(bench.within(5).is_some());
        bench.done("a", 0, Some(60_000));
        assert_eq!(bench.within(59_999), None);
        assert!(bench.within(1).is_some());
    }

    #[test]
    fn who_rests_is_not_disturbed() {
        let mut bench = Bench::new();
        bench.push("set");
        assert!(bench.within(5).is_some());
        bench.done("set", 200, None);
        for name in ["set", "a"] {
            bench.push(name);
        }
        assert_eq!(&*bench.within(5).unwrap(), "a");
        assert_eq!(bench.within(190), None);
        assert_eq!(&*bench.within(10).unwrap(), "set");
        // Once it has rested, it is as quick as others.
        bench.done("set", 0, None);
        bench.push("set");
        assert!(bench.within(5).is_some());
    }

    #[tokio::test]
    async fn one_who_waits_hears_of_what_comes_sooner() {
        let backlog = Arc::new(Backlog::default());
        backlog.push("late".into());
        let late = backlog.next().await;
        backlog.done(&late, None, Some(Duration::from_secs(3600)));
        let waiting = tokio::spawn({
            let backlog = Arc::clone(&backlog);
            async move { backlog.next().await }
        });
        tokio::task::yield_now().await;
        backlog.push("soon".into());
        assert_eq!(&*waiting.await.unwrap(), "soon");
    }
}
