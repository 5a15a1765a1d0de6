//! Which hollow node needs something, and when: one queue for all of them. Pure.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::faults::{Health, Ready, Script, draw, later};
use crate::time::{SignedDuration, Timestamp};

/// A write that failed is tried again after this time, if nothing else is to be done for the node before.
const RETRY: SignedDuration = SignedDuration::from_secs(5);

/// Who reads the Leases of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// A controller manager: a node whose Lease runs out is taken for dead.
    ControllerManager,
    /// Nobody but people.
    Nobody,
}

impl Audience {
    /// How often a Lease is renewed, in seconds. Kubelets do it every 10 s; with nobody to read it, it costs as little as it tells.
    pub(super) const fn interval(self) -> i64 {
        match self {
            Self::ControllerManager => 12,
            Self::Nobody => 600,
        }
    }

    /// How long a Lease holds, in seconds: 40 as kubelets write it, longer where it is renewed less often.
    pub(super) const fn hold(self) -> i32 {
        match self {
            Self::ControllerManager => 40,
            Self::Nobody => 1800,
        }
    }
}

/// What is seen of a Node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// Its UID.
    pub(super) uid: String,
    /// Its `spec.providerID`: whose Node it is.
    pub(super) provider_id: String,
    /// When it was made.
    pub(super) born: Timestamp,
    /// Status of its condition Ready.
    pub(super) ready: Option<Ready>,
    /// Which of its taints is the one that it got when it was made and was not ready.
    pub(super) taint: Option<usize>,
}

/// What is to be done for a node now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Task {
    /// The Node's name.
    pub(super) node: Arc<str>,
    /// Its UID.
    pub(super) uid: String,
    /// What.
    pub(super) job: Job,
}

/// What is to be done for a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Job {
    /// It disappears.
    Vanish,
    /// It shows that it lives, or how it is.
    Show {
        /// What it says of itself, if that is not what stands there.
        health: Option<Health>,
        /// The Lease is renewed; it is known to be there or not.
        lease: Option<Lease>,
        /// This of its taints is taken off.
        taint: Option<usize>,
    },
}

/// How a Lease stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lease {
    /// It was renewed before.
    Known,
    /// It may have to be made.
    Unknown,
}

#[derive(Debug)]
struct Member {
    seen: Seen,
    script: Script,
    leased: bool,
    lease_at: Timestamp,
    /// Its place in the queue.
    next: Timestamp,
}

/// All hollow nodes that live.
#[derive(Debug)]
pub(super) struct Fleet {
    members: HashMap<Arc<str>, Member>,
    queue: BTreeSet<(Timestamp, Arc<str>)>,
    audience: Audience,
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            members: HashMap::new(),
            queue: BTreeSet::new(),
            audience: Audience::Nobody,
        }
    }
}

impl Fleet {
    /// Takes a node in, or takes down how it is now. Returns whether it is the first that needs something.
    pub(super) fn put(&mut self, name: &str, seen: Seen, script: Script, now: Timestamp) -> bool {
        let name: Arc<str> = Arc::from(name);
        let known = self.members.remove(&name).inspect(|old| {
            self.queue.remove(&(old.next, Arc::clone(&name)));
        });
        let same = known.filter(|old| old.seen.uid == seen.uid);
        let slot = slot(&seen.uid, now, self.audience);
        let mut member = Member {
            leased: same.as_ref().is_some_and(|old| old.leased),
            lease_at: same.as_ref().map_or(slot, |old| old.lease_at),
            seen,
            script,
            next: now,
        };
        if !member.needs_something(now) {
            member.next = member.due(now);
        }
        let place = (member.next, Arc::clone(&name));
        let first = self.queue.first().is_none_or(|first| place < *first);
        self.queue.insert(place);
        self.members.insert(name, member);
        first
    }

    /// Lets a node go.
    pub(super) fn remove(&mut self, name: &str) {
        if let Some((name, member)) = self.members.remove_entry(name) {
            self.queue.remove(&(member.next, name));
        }
    }

    /// Returns the UID of a node that lives, if it is the one of this provider id.
    pub(super) fn uid(&self, name: &str, provider_id: &str) -> Option<&str> {
        let member = self.members.get(name)?;
        (member.seen.provider_id == provider_id).then_some(member.seen.uid.as_str())
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// When something is to be done next.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Who reads the Leases.
    pub(super) const fn audience(&self) -> Audience {
        self.audience
    }

    /// Takes down who reads the Leases: all get new times.
    pub(super) fn show_to(&mut self, audience: Audience, now: Timestamp) {
        if self.audience == audience {
            return;
        }
        self.audience = audience;
        self.queue.clear();
        for (name, member) in &mut self.members {
            member.lease_at = slot(&member.seen.uid, now, audience);
            member.next = member.next.min(member.due(now));
            self.queue.insert((member.next, Arc::clone(name)));
        }
    }

    /// Returns what is to be done now. Each node is put off to its next time as if that had been done.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Vec<Task> {
        let mut tasks = Vec::new();
        while self.queue.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, name)) = self.queue.pop_first() else {
                break;
            };
            let Some(member) = self.members.get_mut(&name) else {
                continue;
            };
            let job = member.job(now, self.audience);
            if member.lease_at <= now {
                member.lease_at = slot(&member.seen.uid, now, self.audience);
            }
            // Something that does not change by being done now is no reason to come back at once.
            member.next = member.due(now).max(later(now, SignedDuration::from_millis(1)));
            if job == Job::Vanish {
                member.next = later(now, RETRY);
            }
            self.queue.insert((member.next, Arc::clone(&name)));
            if let Some(job) = job.unless_idle() {
                tasks.push(Task {
                    uid: member.seen.uid.clone(),
                    node: name,
                    job,
                });
            }
        }
        tasks
    }

    /// Takes down what came of a task.
    pub(super) fn done(&mut self, task: &Task, done: &Done, now: Timestamp) {
        let Some(member) = self.members.get_mut(&task.node) else {
            return;
        };
        if member.seen.uid != task.uid {
            return;
        }
        if done.is_gone {
            self.remove(&task.node);
            return;
        }
        if let Some(ready) = done.said {
            member.seen.ready = Some(ready);
        }
        if done.untainted {
            member.seen.taint = None;
        }
        if let Some(leased) = done.leased {
            member.leased = leased;
        }
        if done.failed {
            let soon = later(now, RETRY);
            if soon < member.next {
                self.queue.remove(&(member.next, Arc::clone(&task.node)));
                member.next = soon;
                self.queue.insert((soon, Arc::clone(&task.node)));
            }
        }
    }
}

/// What came of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// The Node is not there any more.
    pub(super) is_gone: bool,
    /// What its condition Ready says now, if it was written.
    pub(super) said: Option<Ready>,
    /// The taint is off.
    pub(super) untainted: bool,
    /// Whether the Lease is there, if it was looked for.
    pub(super) leased: Option<bool>,
    /// Something could not be done.
    pub(super) failed: bool,
}

impl Member {
    fn health(&self, now: Timestamp) -> Health {
        self.script.health(self.seen.born, now)
    }

    fn says(&self, ready: Ready) -> bool {
        self.seen.ready == Some(ready)
    }

    fn needs_something(&self, now: Timestamp) -> bool {
        self.due(now) <= now || !self.says(self.health(now).ready)
    }

    /// When something is to be done next.
    fn due(&self, now: Timestamp) -> Timestamp {
        let change = self.script.next_change(self.seen.born, now);
        change.map_or(self.lease_at, |change| change.min(self.lease_at))
    }

    fn job(&self, now: Timestamp, audience: Audience) -> Job {
        if self
            .script
            .vanishes_at(self.seen.born)
            .is_some_and(|at| at <= now)
        {
            return Job::Vanish;
        }
        let health = self.health(now);
        let turn = self.lease_at <= now;
        let lease = if self.leased { Lease::Known } else { Lease::Unknown };
        Job::Show {
            health: (!self.says(health.ready)).then_some(health),
            // Who is silent renews nothing; who comes back does so first of all.
            lease: (turn && health.ready != Ready::Unknown).then_some(lease),
            // A controller manager sees to the taint itself.
            taint: self
                .seen
                .taint
                .filter(|_| turn && health.ready == Ready::True && audience == Audience::Nobody),
        }
    }
}

impl Job {
    fn unless_idle(self) -> Option<Self> {
        let idle = Self::Show {
            health: None,
            lease: None,
            taint: None,
        };
        (self != idle).then_some(self)
    }
}

/// The next time at which a node renews its Lease: each has its own second of the interval, so that the work is spread evenly.
fn slot(uid: &str, now: Timestamp, audience: Audience) -> Timestamp {
    let interval = audience.interval();
    let own = i64::try_from(draw(uid, "lease", 0) % interval.unsigned_abs()).unwrap_or(0);
    let next = now.as_second() + 1;
    let wait = (own - next).rem_euclid(interval);
    Timestamp::from_second(next + wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn script(uid: &str, faults: &Value) -> Script {
        Script::of(uid, &serde_json::from_value(json!({ "faults": faults })).unwrap())
    }

    fn seen(uid: &str) -> Seen {
        Seen {
            uid: uid.to_owned(),
            provider_id: "hollow://fleet/m-1".to_owned(),
            born: at(1000),
            ready: Some(Ready::True),
            taint: None,
        }
    }

    fn fleet_of(count: usize, audience: Audience) -> Fleet {
        let mut fleet = Fleet::default();
        fleet.show_to(audience, at(1000));
        for n in 0..count {
            let uid = format!("uid-{n}");
            fleet.put(
                &format!("node-{n}"),
                seen(&uid),
                script(&uid, &json!({})),
                at(1000),
            );
        }
        fleet
    }

    fn one(faults: &Value) -> Fleet {
        let mut fleet = Fleet::default();
        fleet.put("m-1", seen("u"), script("u", faults), at(1000));
        fleet
    }

    /// Runs a fleet second by second; returns what was to be done and when. All of it succeeds.
    fn run(fleet: &mut Fleet, seconds: std::ops::Range<i64>) -> Vec<(i64, Task)> {
        let mut all = Vec::new();
        for second in seconds {
            for task in fleet.take_due(at(second)) {
                let mut done = Done::default();
                match &task.job {
                    Job::Vanish => done.is_gone = true,
                    Job::Show { health, lease, taint } => {
                        done.said = health.map(|h| h.ready);
                        done.leased = lease.map(|_| true);
                        done.untainted = taint.is_some();
                    }
                }
                fleet.done(&task, &done, at(second));
                all.push((second, task));
            }
        }
        all
    }

    fn renewals(all: &[(i64, Task)]) -> Vec<i64> {
        let renews = |t: &Task| matches!(t.job, Job::Show { lease: Some(_), .. });
        all.iter().filter(|(_, t)| renews(t)).map(|(s, _)| *s).collect()
    }

    fn healths(all: &[(i64, Task)]) -> Vec<(i64, Ready)> {
        all.iter()
            .filter_map(|(second, task)| match task.job {
                Job::Show { health: Some(h), .. } => Some((*second, h.ready)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn leases_that_somebody_reads_never_run_out_and_are_renewed_evenly() {
        let mut fleet = fleet_of(1200, Audience::ControllerManager);
        let all = run(&mut fleet, 1001..1121);
        let renewed = renewals(&all);
        assert_eq!(renewed.len(), 1200 * 10, "each node every 12 s");
        for second in 1001..1121 {
            let now = renewed.iter().filter(|s| **s == second).count();
            assert!((60..140).contains(&now), "{now} at {second}");
        }
        let longest = |name: &str| {
            let times: Vec<i64> = all
                .iter()
                .filter(|(_, t)| &*t.node == name)
                .map(|(s, _)| *s)
                .collect();
            times.windows(2).map(|w| w[1] - w[0]).max().unwrap()
        };
        assert!(longest("node-7") < i64::from(Audience::ControllerManager.hold()) / 3);
    }

    #[test]
    fn leases_that_nobody_reads_are_renewed_rarely() {
        let mut fleet = fleet_of(10_000, Audience::Nobody);
        let all = run(&mut fleet, 1001..1601);
        assert_eq!(all.len(), 10_000);
        for minute in 0..10 {
            let now = all.iter().filter(|(s, _)| (s - 1001) / 60 == minute).count();
            assert!((800..1200).contains(&now), "{now} in minute {minute}");
        }
        assert!(Audience::Nobody.interval() * 2 < i64::from(Audience::Nobody.hold()));
    }

    #[test]
    fn a_controller_manager_that_comes_finds_living_nodes() {
        let mut fleet = fleet_of(100, Audience::Nobody);
        run(&mut fleet, 1001..1010);
        fleet.show_to(Audience::ControllerManager, at(1010));
        assert_eq!(renewals(&run(&mut fleet, 1011..1023)).len(), 100);
        assert_eq!(fleet.queue.len(), 100);
        fleet.show_to(Audience::Nobody, at(1023));
        assert!(run(&mut fleet, 1024..1054).len() < 20);
    }

    #[test]
    fn a_node_that_turns_silent_says_so_at_once_and_renews_nothing() {
        let mut fleet =
            one(&json!({ "notReadyPeriodically": { "healthyFor": "100s", "unhealthyFor": "50s" } }));
        fleet.show_to(Audience::ControllerManager, at(1000));
        let all = run(&mut fleet, 1001..1251);
        assert_eq!(
            healths(&all),
            [
                (1100, Ready::Unknown),
                (1150, Ready::True),
                (1250, Ready::Unknown)
            ]
        );
        assert!(!renewals(&all).iter().any(|s| (1100..1150).contains(s)));
        assert!(renewals(&all).iter().any(|s| (1150..1165).contains(s)));
    }

    #[test]
    fn a_node_that_is_not_ready_but_speaks_renews_its_lease() {
        let mut fleet = one(&json!({ "notReadyAfter": "10s", "notReadyStatus": "False" }));
        fleet.show_to(Audience::ControllerManager, at(1000));
        let all = run(&mut fleet, 1001..1100);
        assert_eq!(healths(&all), [(1010, Ready::False)]);
        assert_eq!(renewals(&all).len(), 8);
    }

    #[test]
    fn what_somebody_else_wrote_is_put_right() {
        let mut fleet = one(&json!({}));
        let late = Seen {
            ready: Some(Ready::Unknown),
            ..seen("u")
        };
        assert!(
            fleet.put("m-1", late, script("u", &json!({})), at(1001)),
            "it comes first"
        );
        assert_eq!(healths(&run(&mut fleet, 1001..1003)), [(1001, Ready::True)]);
    }

    #[test]
    fn an_instance_vanishes_once() {
        let mut fleet = one(&json!({ "vanishAfter": "5m" }));
        let all = run(&mut fleet, 1001..2000);
        let gone: Vec<_> = all.iter().filter(|(_, t)| t.job == Job::Vanish).collect();
        assert_eq!(gone.len(), 1);
        assert_eq!(gone[0].0, 1300);
        assert!(fleet.is_empty() && fleet.next().is_none());
    }

    #[test]
    fn what_could_not_be_done_is_tried_again() {
        let mut fleet = one(&json!({ "notReadyAfter": "10s" }));
        let task = fleet.take_due(at(1010)).remove(0);
        let failed = Done {
            failed: true,
            ..Done::default()
        };
        fleet.done(&task, &failed, at(1010));
        assert!(fleet.take_due(at(1011)).is_empty());
        assert_eq!(fleet.take_due(at(1015)), [task]);
        let mut fleet = one(&json!({ "vanishAfter": "10s" }));
        assert_eq!(fleet.take_due(at(1010)).len(), 1);
        assert_eq!(fleet.take_due(at(1015)).len(), 1);
    }

    #[test]
    fn the_taint_is_taken_off_once_where_no_controller_manager_does() {
        for (audience, times) in [(Audience::Nobody, 1), (Audience::ControllerManager, 0)] {
            let mut fleet = Fleet::default();
            fleet.show_to(audience, at(1000));
            let tainted = Seen {
                taint: Some(1),
                ..seen("u")
            };
            fleet.put("m-1", tainted, script("u", &json!({})), at(1000));
            let all = run(&mut fleet, 1001..3001);
            let off = all
                .iter()
                .filter(|(_, t)| matches!(t.job, Job::Show { taint: Some(1), .. }))
                .count();
            assert_eq!(off, times);
        }
    }

    #[test]
    fn a_node_of_the_same_name_is_another_one() {
        let mut fleet = one(&json!({}));
        let all = run(&mut fleet, 1001..1700);
        assert!(matches!(
            all[0].1.job,
            Job::Show {
                lease: Some(Lease::Unknown),
                ..
            }
        ));
        let old = all[0].1.clone();
        fleet.put("m-1", seen("v"), script("v", &json!({})), at(1700));
        let gone = Done {
            is_gone: true,
            ..Done::default()
        };
        fleet.done(&old, &gone, at(1701));
        assert_eq!(fleet.uid("m-1", "hollow://fleet/m-1"), Some("v"));
        assert_eq!(
            fleet.uid("m-1", "hollow://other/m-1"),
            None,
            "it is somebody else's"
        );
        let all = run(&mut fleet, 1701..2400);
        assert!(matches!(
            all[0].1.job,
            Job::Show {
                lease: Some(Lease::Unknown),
                ..
            }
        ));
        fleet.remove("m-1");
        assert!(fleet.queue.is_empty() && fleet.is_empty());
    }
}
