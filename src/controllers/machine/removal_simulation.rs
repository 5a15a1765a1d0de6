//! Machines of a cluster go in a world where everything happens in any order: looks, kubelets, budgets, hooks, providers, and a cache that
//! lags behind. After each step the rules must hold; in the end everything that was deleted is gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::{
    api::core::v1::{ObjectReference, Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::api::{ApiResource, DynamicObject};

use super::{super::observe::*, super::turn::*, *};
use crate::{
    api::v1alpha1::{
        Cluster, ClusterSpec, ClusterStatus, HollowMachine, LifecycleHook, LifecycleHooks, Machine,
        MachineSpec, MachineStatus,
    },
    controllers::machine::drain::Refusals,
};

/// Seeds that once found something.
const KEPT: [u64; 2] = [1_007, 1_102];
/// The seed whose story is kept beside this file.
const STORY: u64 = 887;
/// Machines of the cluster: three of the control plane, three workers.
const MACHINES: [&str; 6] = ["cp-1", "cp-2", "cp-3", "w-1", "w-2", "w-3"];

/// A small generator: the same numbers for the same seed, for ever (splitmix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % n as u64).unwrap()
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// One machine with all that belongs to it.
struct Host {
    /// As the API server has it; nothing once it is gone.
    stored: Option<Machine>,
    /// As the cache has it.
    seen: Option<Machine>,
    node: Option<Node>,
    pods: Vec<Pod>,
    volumes: Vec<String>,
    /// The infrastructure object: there, being deleted, or gone.
    infrastructure: Option<bool>,
    /// Its Node was cordoned or a pod asked to leave.
    touched: bool,
    last_event: Option<String>,
}

struct Sim {
    chance: Chance,
    now: i64,
    hosts: BTreeMap<&'static str, Host>,
    /// Disruptions that the budget of the web pods allows.
    allowed: usize,
    turns: Turns,
    refusals: Refusals,
    asked: BTreeMap<String, i64>,
    log: Vec<String>,
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn machine(name: &str) -> Machine {
    let mut machine = Machine::new(name, MachineSpec::default());
    machine.metadata.namespace = Some("fleet".into());
    machine.metadata.uid = Some(format!("{name}-uid"));
    machine.metadata.finalizers = Some(vec![labels::MACHINE_FINALIZER.to_owned()]);
    machine.spec.cluster_name = Some("demo".into());
    if name.starts_with("cp") {
        machine.metadata.labels = Some([(labels::CONTROL_PLANE_ROLE.to_owned(), String::new())].into());
    }
    machine.status = Some(MachineStatus {
        node_ref: Some(ObjectReference {
            name: Some(name.into()),
            ..ObjectReference::default()
        }),
        phase: Some("Running".into()),
        ..MachineStatus::default()
    });
    machine
}

fn node(name: &str) -> Node {
    serde_json::from_value(json!({
        "metadata": { "name": name, "uid": format!("{name}-node") },
        "status": { "conditions": [{ "type": "Ready", "status": "True" }] }
    }))
    .unwrap()
}

fn pod(node: &str, app: &str, daemon: bool) -> Pod {
    let owners = if daemon {
        json!([{ "apiVersion": "apps/v1", "kind": "DaemonSet", "name": app, "uid": "ds", "controller": true }])
    } else {
        json!([])
    };
    serde_json::from_value(json!({
        "metadata": { "name": format!("{app}-{node}"), "namespace": "apps", "uid": format!("{app}-{node}"), "ownerReferences": owners },
        "spec": { "nodeName": node, "containers": [] }
    }))
    .unwrap()
}

fn is_drained(machine: &Machine) -> bool {
    let status = machine.status.as_ref();
    status.is_some_and(|s| conditions::is_true(&s.conditions, conditions::DRAINED))
}

impl Sim {
    fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let mut hosts = BTreeMap::new();
        for name in MACHINES {
            let mut machine = machine(name);
            let hook = |name: &str| {
                vec![LifecycleHook {
                    name: name.into(),
                    owner: "operator".into(),
                }]
            };
            let hooks = LifecycleHooks {
                pre_drain: if chance.below(4) == 0 {
                    hook("backup")
                } else {
                    Vec::new()
                },
                pre_terminate: if chance.below(4) == 0 {
                    hook("snapshot")
                } else {
                    Vec::new()
                },
            };
            machine.spec.lifecycle_hooks = Some(hooks);
            if chance.below(6) == 0 {
                machine.metadata.annotations =
                    Some([(labels::EXCLUDE_NODE_DRAINING.to_owned(), String::new())].into());
            }
            if chance.below(6) == 0 {
                machine.spec.node_drain_timeout = Some("60s".parse().unwrap());
            }
            hosts.insert(
                name,
                Host {
                    seen: Some(machine.clone()),
                    stored: Some(machine),
                    node: Some(node(name)),
                    pods: vec![
                        pod(name, "web", false),
                        pod(name, "db", false),
                        pod(name, "agent", true),
                    ],
                    volumes: if chance.below(2) == 0 {
                        vec![format!("pvc-{name}")]
                    } else {
                        Vec::new()
                    },
                    infrastructure: Some(true),
                    touched: false,
                    last_event: None,
                },
            );
        }
        Self {
            chance,
            now: 1_000,
            hosts,
            allowed: 1,
            turns: Turns::default(),
            refusals: Refusals::new(),
            asked: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    fn tell(&mut self, who: &str, what: &str) {
        self.log
            .push(format!("{:>4}s  {who:<8}  {what}", self.now - 1_000));
    }

    /// What a look at a machine sees: the cache, and what it reads itself.
    fn observe(&self, name: &'static str) -> Option<Observed> {
        let host = &self.hosts[name];
        let machine = host.seen.clone()?;
        let mut cluster = Cluster::new(
            "demo",
            ClusterSpec {
                api_server: ApiServerKind::Own,
                ..ClusterSpec::default()
            },
        );
        cluster.status = Some(ClusterStatus {
            control_plane_ready: true,
            ..ClusterStatus::default()
        });
        let peers: Vec<Arc<Machine>> = self
            .hosts
            .iter()
            .filter(|(peer, _)| **peer != name && peer.starts_with("cp"))
            .filter_map(|(_, peer)| peer.seen.clone().map(Arc::new))
            .collect();
        let infrastructure = match host.infrastructure {
            None => InfrastructureView::Missing,
            Some(alive) => {
                let object = json!({ "metadata": {
                    "name": name, "namespace": "fleet", "uid": format!("{name}-infra"),
                    "deletionTimestamp": (!alive).then_some("2026-01-01T00:00:00Z"),
                    "ownerReferences": [{ "apiVersion": "machine.crit.sh/v1alpha1", "kind": "Machine", "name": name, "uid": machine.metadata.uid }],
                } });
                InfrastructureView::Found(Infrastructure {
                    resource: ApiResource::erase::<HollowMachine>(&()),
                    object: Arc::new(serde_json::from_value::<DynamicObject>(object).unwrap()),
                    needs_bootstrap: Some(false),
                })
            }
        };
        let mut observed = Observed {
            machine: Arc::new(machine),
            cluster: ClusterView::Found(Arc::new(cluster)),
            infrastructure,
            target: Some(Target::Management),
            reachable: true,
            node: host.node.clone().map(Arc::new),
            conflict: None,
            data: None,
            foreign_data: false,
            ingredients: None,
            control_plane: vec!["cp-3".into()],
            peers,
            turn: None,
            draining: None,
            volumes: None,
        };
        if node_to_drain(&observed, at(self.now)).is_some() {
            observed.turn = turn_of(&observed, &self.turns);
            if observed.turn.is_none() {
                let refusals = self.refusals.clone();
                observed.draining = Some(Draining {
                    pods: host.pods.clone(),
                    refusals,
                });
            }
        }
        observed.volumes = node_with_volumes(&observed).map(|_| host.volumes.clone());
        Some(observed)
    }

    /// One look of the controller at a machine.
    fn look(&mut self, name: &'static str) {
        let host = &self.hosts[name];
        // What was written must be seen first.
        let fresh = host.stored.as_ref().map(|m| &m.status) == host.seen.as_ref().map(|m| &m.status);
        let Some(mut o) = self
            .observe(name)
            .filter(|o| fresh && o.machine.metadata.deletion_timestamp.is_some())
        else {
            return;
        };
        let now = at(self.now);
        let mut plan = plan(&o, now);
        if plan.effects.iter().any(|e| matches!(e, Effect::Evict { .. })) {
            let mut answers = Vec::new();
            for effect in plan.effects.iter().filter(|e| !matches!(e, Effect::Emit(_))) {
                answers.extend(self.act(name, &o, effect));
            }
            take_answers(&mut o, answers, now);
            plan = super::plan(&o, now);
            plan.effects.retain(|e| matches!(e, Effect::Emit(_)));
        }
        for effect in &plan.effects {
            self.act(name, &o, effect);
        }
        if let (Some(status), Some(stored)) = (plan.status, &mut self.hosts.get_mut(name).unwrap().stored) {
            let before = serde_json::to_value(&stored.status).unwrap();
            if !crate::controllers::effect::same_status(&before, &status) {
                stored.status = serde_json::from_value(status).unwrap();
            }
        }
    }

    /// Carries out an effect, and checks that it was right to ask for it.
    fn act(&mut self, name: &'static str, o: &Observed, effect: &Effect) -> Vec<(PodKey, Answer)> {
        if !matches!(effect, Effect::Evict { .. }) {
            self.tell(name, &effect.to_string().replace(" in management cluster", ""));
        }
        let machine = &o.machine;
        let held = !hooks::pre_drain(machine).is_empty()
            || machine.annotations().contains_key(labels::EXCLUDE_NODE_DRAINING);
        match effect {
            Effect::Patch { .. } => {
                assert!(!held, "{name}: cordoned though held");
                let host = self.hosts.get_mut(name).unwrap();
                host.touched = true;
                if let Some(node) = &mut host.node {
                    node.spec.get_or_insert_default().unschedulable = Some(true);
                }
            }
            Effect::Evict { pods, .. } => {
                assert!(!held, "{name}: evicted though held");
                return pods
                    .iter()
                    .map(|pod| (pod.clone(), self.evict(name, pod)))
                    .collect();
            }
            Effect::Delete { key, .. } if key.resource.kind == "HollowMachine" => {
                assert!(is_drained(machine), "{name}: the instance goes before the drain");
                assert!(
                    hooks::pre_terminate(machine).is_empty(),
                    "{name}: the instance goes though held"
                );
                let others = o.peers.iter().any(|p| p.metadata.deletion_timestamp.is_none());
                let rank = |m: &Machine| (m.metadata.deletion_timestamp.as_ref().map(|t| t.0), m.name_any());
                let later = o.peers.iter().any(|p| rank(p) > rank(machine));
                assert!(
                    !machine.is_control_plane() || others || later,
                    "{name}: the last control plane goes"
                );
                self.hosts.get_mut(name).unwrap().infrastructure = Some(false);
            }
            Effect::Delete { key, .. } if key.resource.kind == "Node" => {
                let host = self.hosts.get_mut(name).unwrap();
                assert_eq!(host.infrastructure, None, "{name}: the Node goes before its host");
                host.node = None;
            }
            Effect::RemoveFinalizer(_) => self.hosts.get_mut(name).unwrap().stored = None,
            Effect::Emit(notice) => {
                let host = self.hosts.get_mut(name).unwrap();
                let told = format!("{}: {}", notice.reason, notice.message);
                let before = host.last_event.replace(told.clone());
                assert_ne!(before.as_ref(), Some(&told), "{name}: told twice");
            }
            other => panic!("{name}: {other}"),
        }
        Vec::new()
    }

    /// The API server's answer to an eviction.
    fn evict(&mut self, name: &'static str, key: &PodKey) -> Answer {
        if let Some(before) = self.asked.insert(key.uid.clone(), self.now) {
            assert!(
                self.now - before >= 5,
                "{key} was asked {} s after the last time",
                self.now - before
            );
        }
        assert!(!key.name.starts_with("agent"), "{key} belongs to the Node");
        let host = self.hosts.get_mut(name).unwrap();
        host.touched = true;
        let budgeted = key.name.starts_with("web");
        let answer = if budgeted && self.allowed == 0 {
            Answer::Blocked("The disruption budget web needs 5 healthy pods and has 5 currently".into())
        } else {
            self.allowed -= usize::from(budgeted);
            let pod = host.pods.iter_mut().find(|p| p.name_any() == key.name).unwrap();
            pod.metadata.deletion_timestamp = Some(Time(at(self.now)));
            Answer::Leaves
        };
        if matches!(answer, Answer::Blocked(_)) {
            let refusal = drain::Refusal {
                at: at(self.now),
                answer: answer.clone(),
            };
            self.refusals.insert(key.uid.clone(), refusal);
        }
        let word = if answer == Answer::Leaves {
            "leaves"
        } else {
            "is held by its budget"
        };
        self.tell(name, &format!("{key} {word}"));
        answer
    }

    /// Somebody deletes a machine.
    fn delete(&mut self, name: &'static str) {
        let now = self.now;
        let stored = &mut self.hosts.get_mut(name).unwrap().stored;
        if let Some(machine) = stored
            .as_mut()
            .filter(|m| m.metadata.deletion_timestamp.is_none())
        {
            machine.metadata.deletion_timestamp = Some(Time(at(now)));
            self.tell("user", &format!("deletes machine {name}"));
        }
    }

    fn change(&mut self, name: &'static str, what: &str, change: impl Fn(&mut Machine) -> bool) {
        let stored = &mut self.hosts.get_mut(name).unwrap().stored;
        if stored.as_mut().is_some_and(change) {
            self.tell("operator", &format!("{what} {name}"));
        }
    }

    /// One thing happens.
    fn step(&mut self) {
        let name = *self.chance.pick(&MACHINES);
        match self.chance.below(14) {
            0 => self.now += i64::try_from(self.chance.below(8)).unwrap(),
            // Two of the control plane and two workers go.
            1 if ["cp-1", "cp-2", "w-1", "w-2"].contains(&name) => self.delete(name),
            2 => self.kubelet(name),
            3 => self.hosts.get_mut(name).unwrap().volumes.clear(),
            4 => self.provider(name),
            5 if self.chance.below(4) == 0 && self.allowed == 0 => {
                self.allowed = 1;
                self.tell("budget", "web has room for one");
            }
            6 if self.chance.below(6) == 0 => self.free(name),
            7 if self.chance.below(20) == 0 => {
                let node = self.hosts.get_mut(name).unwrap().node.as_mut();
                if let Some(list) = node.and_then(|n| n.status.as_mut()?.conditions.as_mut()) {
                    list[0].status = "Unknown".into();
                    self.tell("kubelet", &format!("of {name} is no longer heard of"));
                }
            }
            8..=9 => self.see(name),
            _ => self.look(name),
        }
        self.check();
    }

    /// Pods that were told to come to their end do so.
    fn kubelet(&mut self, name: &'static str) {
        let host = self.hosts.get_mut(name).unwrap();
        host.pods.retain(|p| p.metadata.deletion_timestamp.is_none());
    }

    /// An instance that was to go is gone, and with it its pods.
    fn provider(&mut self, name: &'static str) {
        let host = self.hosts.get_mut(name).unwrap();
        if host.infrastructure == Some(false) {
            host.infrastructure = None;
            self.tell("provider", &format!("has removed {name}"));
        }
    }

    fn free(&mut self, name: &'static str) {
        self.change(name, "takes the hooks off", |m| {
            let none = LifecycleHooks::default();
            m.spec.lifecycle_hooks.replace(none.clone()) != Some(none)
        });
    }

    /// The cache catches up on one machine.
    fn see(&mut self, name: &'static str) {
        let host = self.hosts.get_mut(name).unwrap();
        host.seen.clone_from(&host.stored);
    }

    /// What holds at any moment.
    fn check(&self) {
        let draining: Vec<_> = self
            .hosts
            .iter()
            .filter(|(name, host)| name.starts_with("cp") && host.touched)
            .filter(|(_, host)| host.stored.as_ref().is_some_and(|m| !is_drained(m)))
            .map(|(name, _)| *name)
            .collect();
        assert!(draining.len() < 2, "{draining:?} are drained at once");
        for (name, host) in &self.hosts {
            let stays = ["cp-3", "w-3"].contains(name);
            assert!(
                !stays || (!host.touched && host.infrastructure == Some(true)),
                "{name} was touched"
            );
        }
    }

    /// Lets everything come to its end; returns what is left of what was deleted.
    fn settle(&mut self) -> BTreeSet<&'static str> {
        for _ in 0..200 {
            self.now += 3;
            for name in MACHINES {
                self.see(name);
                self.look(name);
                self.see(name);
                self.kubelet(name);
                self.provider(name);
                self.free(name);
                self.hosts.get_mut(name).unwrap().volumes.clear();
                self.allowed = self.allowed.max(1);
                self.check();
            }
        }
        let goes = |h: &Host| {
            h.stored
                .as_ref()
                .is_some_and(|m| m.metadata.deletion_timestamp.is_some())
        };
        self.hosts
            .iter()
            .filter(|(_, h)| goes(h))
            .map(|(n, _)| *n)
            .collect()
    }
}

/// Runs one world; what it does wrong is told with its seed and its story.
fn run(seed: u64) -> Vec<String> {
    let mut sim = Sim::new(seed);
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for _ in 0..600 {
            sim.step();
        }
        for name in ["cp-1", "cp-2", "w-1", "w-2"] {
            sim.delete(name);
        }
        assert_eq!(sim.settle(), BTreeSet::new(), "these are still there");
        for name in ["cp-1", "cp-2", "w-1", "w-2"] {
            assert!(
                sim.hosts[name].node.is_none(),
                "the Node of {name} is still there"
            );
        }
    }));
    assert!(done.is_ok(), "seed {seed}:\n{}", sim.log.join("\n"));
    sim.log
}

#[test]
fn machines_go_by_the_rules_in_any_order() {
    for seed in KEPT.into_iter().chain(1_000..1_150) {
        run(seed);
    }
}

#[test]
fn the_end_of_a_cluster_s_machines_is_a_story() {
    insta::assert_snapshot!(run(STORY).join("\n"));
}
