//! The planner against a world of its own: machines break, start, leave and come back in any order, caches lag behind, looks are cut off
//! between the status and the deeds. What must never happen is checked after each step. One quiet story is kept as text.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{
    observe::{NodeView, Observed, Owner, Watched},
    plan::{Decision, Treatment, plan},
    plan_tests::{at, machine, mark, node, observed, status, watched},
};
use crate::{
    api::v1alpha1::{Machine, MachineHealthCheckStatus},
    controllers::effect::{Effect, Requeue},
    time::SignedDuration,
};

/// When the world begins.
const BEGIN: i64 = 1_767_225_600;
/// A Node may be not Ready for so long.
const TIMEOUT: i64 = 60;
/// A machine may take so long to become a Node.
const STARTUP: i64 = 120;

/// Numbers without end from a seed (`SplitMix64`).
struct Dice(u64);

impl Dice {
    /// A number below `n`.
    fn roll(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % n as u64).unwrap()
    }
}

/// What a Node is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NodeIs {
    /// It has not come up yet.
    Missing,
    /// Ready since then.
    Ready(i64),
    /// Not Ready since then.
    Broken(i64),
}

#[derive(Debug, Clone)]
struct Host {
    created: i64,
    leaves: Option<i64>,
    node: NodeIs,
    /// What the watch has told of the Node.
    seen: NodeIs,
    /// The Machine's conditions.
    conditions: Value,
}

/// A replacement, from the deletion of a machine until all that were deleted for it are gone and a healthy one stands there.
#[derive(Debug, Default)]
struct Seat {
    leaving: Vec<String>,
    replacement: Option<String>,
    /// The replacement has been well, or has failed itself.
    decided: bool,
}

struct World {
    now: i64,
    hosts: BTreeMap<String, Host>,
    replicas: usize,
    next: usize,
    spec: Value,
    max_unhealthy: usize,
    max_in_flight: usize,
    /// New machines never become Nodes.
    faulty: bool,
    paused: bool,
    status: Option<MachineHealthCheckStatus>,
    seats: Vec<Seat>,
    /// What was last told of which machine that has not been well since.
    told: BTreeMap<String, String>,
    requeue: Requeue,
    log: String,
}

impl World {
    fn new(replicas: usize, max_unhealthy: usize, max_in_flight: usize) -> Self {
        let mut world = Self {
            now: BEGIN,
            hosts: BTreeMap::new(),
            replicas,
            next: 0,
            spec: json!({
                "maxUnhealthy": max_unhealthy, "maxInFlight": max_in_flight, "nodeStartupTimeout": format!("{STARTUP}s"),
                "unhealthyConditions": [{ "type": "Ready", "status": "False", "timeout": format!("{TIMEOUT}s") }],
                "backOff": { "initialDelay": "30s", "maxDelay": "5m", "resetAfter": "10m" },
            }),
            max_unhealthy,
            max_in_flight,
            faulty: false,
            paused: false,
            status: None,
            seats: Vec::new(),
            told: BTreeMap::new(),
            requeue: Requeue::OnChange,
            log: String::new(),
        };
        world.grow();
        for host in world.hosts.values_mut() {
            host.node = NodeIs::Ready(BEGIN);
            host.seen = host.node;
        }
        world
    }

    fn tell(&mut self, text: &str) {
        let time = self.now - BEGIN;
        writeln!(self.log, "{:>3}m{:02}s {text}", time / 60, time % 60).unwrap();
    }

    /// What a `MachineSet` does: as many machines as it wants, not counting those that leave.
    fn grow(&mut self) {
        let stay = self.hosts.values().filter(|h| h.leaves.is_none()).count();
        for _ in stay..self.replicas {
            self.next += 1;
            let name = format!("m-{}", self.next);
            let host = Host {
                created: self.now,
                leaves: None,
                node: NodeIs::Missing,
                seen: NodeIs::Missing,
                conditions: json!([]),
            };
            self.hosts.insert(name.clone(), host);
            if let Some(seat) = self.seats.iter_mut().find(|s| s.replacement.is_none()) {
                seat.replacement = Some(name.clone());
            }
            self.tell(&format!("the set makes {name}"));
        }
    }

    /// Machines that are deleted go.
    fn finish(&mut self, name: &str) {
        if self.hosts.get(name).is_some_and(|h| h.leaves.is_some()) {
            self.hosts.remove(name);
            for seat in &mut self.seats {
                seat.leaving.retain(|n| n != name);
            }
            self.tell(&format!("{name} is gone"));
        }
        self.free_seats();
    }

    fn node(&mut self, name: &str, node: NodeIs) {
        if let Some(host) = self.hosts.get_mut(name) {
            host.node = node;
            let what = match node {
                NodeIs::Missing => "has no Node",
                NodeIs::Ready(_) => "is Ready",
                NodeIs::Broken(_) => "is not Ready",
            };
            self.tell(&format!("{name} {what}"));
        }
        self.free_seats();
    }

    /// A replacement that was well once, or failed itself, is done when what it replaced is gone.
    fn free_seats(&mut self) {
        let (hosts, now) = (&self.hosts, self.now);
        for seat in &mut self.seats {
            let host = seat.replacement.as_ref().and_then(|name| hosts.get(name));
            seat.decided |= host.is_some_and(|h| match h.node {
                NodeIs::Missing => now >= h.created + STARTUP,
                NodeIs::Ready(_) => true,
                NodeIs::Broken(since) => now >= since + TIMEOUT,
            });
        }
        self.seats
            .retain(|seat| !(seat.decided && seat.leaving.is_empty()));
    }

    /// The watch tells of Nodes.
    fn deliver(&mut self) {
        for host in self.hosts.values_mut() {
            host.seen = host.node;
        }
    }

    fn view(node: NodeIs) -> NodeView {
        match node {
            NodeIs::Missing => NodeView::None,
            NodeIs::Ready(since) => self::node("True", since),
            NodeIs::Broken(since) => self::node("False", since),
        }
    }

    fn observe(&self) -> Observed {
        let machines = self.hosts.iter().map(|(name, host)| {
            let mut machine: Machine = machine(name);
            let time = |second: i64| Time(at(second));
            machine.metadata.creation_timestamp = Some(time(host.created));
            machine.metadata.deletion_timestamp = host.leaves.map(time);
            let status = machine.status.as_mut().unwrap();
            status.conditions = serde_json::from_value(host.conditions.clone()).unwrap();
            if host.seen == NodeIs::Missing {
                status.node_ref = None;
            }
            Watched {
                confirmed: false,
                paused: self.paused,
                ..watched(machine, Self::view(host.seen))
            }
        });
        let mut o = observed(self.spec.clone(), machines.collect());
        Arc::make_mut(&mut o.check).status.clone_from(&self.status);
        let stay = self.hosts.values().filter(|h| h.leaves.is_none()).count();
        let missing = self.replicas.saturating_sub(stay);
        o.owners.insert("set".into(), Owner { missing });
        o
    }

    /// One look. With `crash` it ends after the status was written.
    fn look(&mut self, crash: bool) {
        self.free_seats();
        let mut o = self.observe();
        let mut decision = plan(&o, at(self.now));
        for _ in 0..4 {
            for index in &decision.confirm {
                let w = &mut o.machines[*index];
                let host = &self.hosts[&w.machine.name_any()];
                w.node = Self::view(host.node);
                w.confirmed = true;
            }
            if decision.confirm.is_empty() {
                break;
            }
            decision = plan(&o, at(self.now));
        }
        let before = self.status.clone();
        self.status = Some(status(&decision));
        self.requeue = decision.requeue;
        self.check_decision(&o, &decision);
        let s = self.status.clone().unwrap();
        if before.as_ref() != Some(&s) {
            let again = match decision.requeue {
                Requeue::OnChange => String::new(),
                Requeue::After(time) => format!(", looks again in {}", whole(time)),
            };
            let allowed = s
                .conditions
                .iter()
                .find(|c| c.type_ == "RemediationAllowed")
                .unwrap();
            let allowed = if allowed.status == "True" {
                ""
            } else {
                ", nothing may be replaced"
            };
            let (healthy, total) = (s.current_healthy, s.expected_machines);
            let flight = decision.in_flight;
            self.tell(&format!(
                "check: {healthy} of {total} healthy, {flight} under replacement{allowed}{again}"
            ));
        }
        self.events(&decision.events, "workers");
        if crash {
            self.tell("the controllers are killed");
            return;
        }
        self.carry_out(&mut o, &decision);
    }

    fn carry_out(&mut self, o: &mut Observed, decision: &Decision) {
        for remedy in &decision.remedies {
            assert_eq!(remedy.treatment, Treatment::Deleted);
            let name = o.machines[remedy.machine].machine.name_any();
            self.events(&remedy.effects, &name);
            self.delete(&name);
        }
        for (index, effects) in &decision.marks {
            let name = o.machines[*index].machine.name_any();
            self.events(effects, &name);
        }
        for (name, state, _) in mark(o, decision) {
            if state == "True" {
                self.told.remove(&name);
            }
        }
        for w in &o.machines {
            let host = self.hosts.get_mut(&w.machine.name_any()).unwrap();
            let list = &w.machine.status.as_ref().unwrap().conditions;
            host.conditions = serde_json::to_value(list).unwrap();
        }
    }

    fn events(&mut self, effects: &[Effect], about: &str) {
        for effect in effects {
            let (Effect::Emit(notice) | Effect::EmitAbout(_, notice)) = effect else {
                continue;
            };
            self.tell(&format!("  {about}: {}: {}", notice.reason, notice.message));
            if notice.reason == "DetectedUnhealthy" {
                let cause = notice.message.split(';').next().unwrap_or_default();
                let told = self.told.insert(about.to_owned(), cause.to_owned());
                assert_ne!(
                    told.as_deref(),
                    Some(cause),
                    "told twice of {about}\n{}",
                    self.log
                );
            }
        }
    }

    fn delete(&mut self, name: &str) {
        let now = self.now;
        let host = self.hosts.get_mut(name).unwrap();
        assert_eq!(host.leaves, None, "{name} is deleted once");
        let broken = match host.node {
            NodeIs::Missing => now >= host.created + STARTUP,
            NodeIs::Ready(_) => false,
            NodeIs::Broken(since) => now >= since + TIMEOUT,
        };
        assert!(
            broken,
            "{name} is really broken, and for long enough: {host:?} at {now}"
        );
        host.leaves = Some(now);
        let own = self
            .seats
            .iter()
            .position(|s| s.replacement.as_deref() == Some(name));
        let index = own.unwrap_or_else(|| {
            self.seats.push(Seat::default());
            self.seats.len() - 1
        });
        let seat = &mut self.seats[index];
        seat.replacement = None;
        seat.decided = false;
        seat.leaving.push(name.to_owned());
        let (seats, most) = (self.seats.len(), self.max_in_flight);
        assert!(
            seats <= most,
            "{seats} replacements at once, {most} allowed\n{}",
            self.log
        );
    }

    /// What holds for each decision, worked out without the planner.
    fn check_decision(&self, o: &Observed, decision: &Decision) {
        let well = o.machines.iter().filter(|w| {
            let name = w.machine.name_any();
            let host = &self.hosts[&name];
            let node = if w.confirmed { host.node } else { host.seen };
            host.leaves.is_none() && matches!(node, NodeIs::Ready(_))
        });
        let unhealthy = o.machines.len() - well.count();
        assert!(
            decision.remedies.is_empty() || unhealthy <= self.max_unhealthy,
            "{unhealthy} are not well, {} allowed\n{}",
            self.max_unhealthy,
            self.log
        );
        if self.paused {
            assert!(
                decision.remedies.is_empty() && decision.marks.is_empty(),
                "paused"
            );
        }
        assert!(
            !matches!(decision.requeue, Requeue::After(time) if time < SignedDuration::from_millis(50)),
            "no hot loop: {:?}",
            decision.requeue
        );
    }

    fn names(&self) -> Vec<String> {
        self.hosts.keys().cloned().collect()
    }

    /// Lets everything get well and waits until nothing is left to do.
    fn settle(&mut self) {
        self.faulty = false;
        self.paused = false;
        for _ in 0..40 {
            for name in self.names() {
                let now = self.now;
                match self.hosts[&name].node {
                    _ if self.hosts[&name].leaves.is_some() => self.finish(&name),
                    NodeIs::Ready(_) => {}
                    NodeIs::Missing | NodeIs::Broken(_) => self.node(&name, NodeIs::Ready(now)),
                }
            }
            self.grow();
            self.deliver();
            self.look(false);
            self.now += 60;
        }
        let status = self.status.clone().unwrap();
        let replicas = i32::try_from(self.replicas).unwrap();
        assert_eq!(
            (status.expected_machines, status.current_healthy),
            (replicas, replicas),
            "{}",
            self.log
        );
        assert!(
            status.targets.is_empty() && status.remediations.is_empty(),
            "{status:?}"
        );
        assert_eq!(self.requeue, Requeue::OnChange, "nothing is waited for");
        let quiet = self.log.len();
        self.look(false);
        assert_eq!(self.log.len(), quiet, "nothing new is said");
    }
}

fn whole(time: SignedDuration) -> String {
    let seconds = time.as_secs();
    format!("{}m{:02}s", seconds / 60, seconds % 60)
}

/// One step at random.
fn step(world: &mut World, dice: &mut Dice) {
    let names = world.names();
    if names.is_empty() {
        return world.grow();
    }
    let name = names[dice.roll(names.len())].clone();
    let now = world.now;
    match dice.roll(16) {
        0 | 1 => world.node(&name, NodeIs::Broken(now)),
        2 if world.hosts[&name].node != NodeIs::Missing => world.node(&name, NodeIs::Ready(now)),
        3..=4 => world.finish(&name),
        5 => world.grow(),
        6 | 7 if !world.faulty && world.hosts[&name].node == NodeIs::Missing => {
            world.node(&name, NodeIs::Ready(now));
        }
        8 => world.deliver(),
        9 | 10 => world.now += i64::try_from(dice.roll(90)).unwrap(),
        11 => world.faulty = dice.roll(2) == 0,
        12 => world.paused = dice.roll(3) == 0,
        13 => world.look(true),
        _ => world.look(false),
    }
}

#[test]
fn whatever_happens_no_more_is_replaced_than_may_be_and_it_ends() {
    let mut replaced = 0;
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let replicas = 3 + dice.roll(10);
        let mut world = World::new(replicas, 1 + dice.roll(replicas), 1 + dice.roll(4));
        for _ in 0..400 {
            step(&mut world, &mut dice);
        }
        replaced += world.log.matches("MachineDeleted").count();
        world.settle();
    }
    // A world in which nothing happens would prove nothing.
    assert!(replaced > 200, "only {replaced} machines were replaced");
}

#[test]
fn a_story() {
    let mut world = World::new(5, 3, 1);
    let go = |world: &mut World, seconds: i64| {
        world.deliver();
        world.look(false);
        world.now += seconds;
    };
    go(&mut world, 10);
    // Two machines break; one of them recovers in time.
    let now = world.now;
    world.node("m-1", NodeIs::Broken(now));
    world.node("m-2", NodeIs::Broken(now));
    world.node("m-3", NodeIs::Broken(now));
    go(&mut world, 30);
    let now = world.now;
    world.node("m-3", NodeIs::Ready(now));
    go(&mut world, 30);
    // One at a time: m-2 waits for the replacement of m-1.
    go(&mut world, 5);
    world.grow();
    go(&mut world, 5);
    world.finish("m-1");
    go(&mut world, 110);
    go(&mut world, 5);
    // The replacement becomes no Node: its own replacement waits a little.
    go(&mut world, 30);
    go(&mut world, 5);
    world.finish("m-6");
    world.grow();
    go(&mut world, 5);
    let now = world.now;
    world.node("m-7", NodeIs::Ready(now));
    go(&mut world, 5);
    world.finish("m-2");
    world.grow();
    let now = world.now;
    world.node("m-8", NodeIs::Ready(now));
    go(&mut world, 60);
    // Most of them break: too many.
    let now = world.now;
    for name in ["m-3", "m-4", "m-5", "m-7"] {
        world.node(name, NodeIs::Broken(now));
    }
    go(&mut world, 60);
    go(&mut world, 5);
    let now = world.now;
    for name in ["m-3", "m-4", "m-5", "m-7"] {
        world.node(name, NodeIs::Ready(now));
    }
    go(&mut world, 600);
    go(&mut world, 5);
    assert_eq!(world.requeue, Requeue::OnChange);
    insta::assert_snapshot!(world.log);
}
