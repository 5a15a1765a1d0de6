//! Deployments in a world without a server, with the real planner of sets: looks in random order, caches that lag behind, machines that
//! fail, writes that fail, a user who changes his mind.

use std::{collections::BTreeSet, sync::Arc};

use kube::ResourceExt;
use serde_json::{Value, json};

use super::{
    limits::limits,
    observe::{Observed, is_empty, is_newest, lacks_newest, sort},
    plan, template,
};
use crate::{
    api::{
        conditions, labels, selector,
        v1alpha1::{Machine, MachineDeployment, MachineSet, revision},
    },
    controllers::{
        effect::Requeue,
        machine_set::simulation as sets,
        simulation::{Fake, Fault, Stopped},
    },
};

const KIND: &str = "MachineDeployment";
const WEB: &str = "web";

/// Looks at the deployment, as its controller does. Nothing while the cache does not show what was last written.
fn look(world: &mut Fake) -> Option<Result<Requeue, Stopped>> {
    let observed = observe(world)?;
    let planned = plan::plan(&observed, world.now);
    let done = world.apply(KIND, WEB, &planned);
    Some(done.map(|()| planned.requeue))
}

/// What the controller would see.
fn observe(world: &Fake) -> Option<Observed> {
    let deployment = world.cached::<MachineDeployment>(WEB)?;
    let stays = |set: &Arc<MachineSet>| set.metadata.deletion_timestamp.is_none();
    let mut sets = world.controlled::<MachineSet>(&deployment.uid().unwrap_or_default());
    sets.retain(stays);
    sort(&mut sets);
    let mut orphans = world.orphans::<MachineSet>();
    orphans.retain(|set| {
        stays(set) && selector::selects(&deployment.spec.selector, set.metadata.labels.as_ref())
    });
    if sets
        .iter()
        .chain(&orphans)
        .any(|set| world.is_behind("MachineSet", &set.name_any()))
    {
        return None;
    }
    if lacks_newest(&deployment, &sets)
        && world
            .all::<MachineSet>()
            .iter()
            .any(|set| is_newest(&deployment, set))
    {
        return None;
    }
    let taken = template::names(&deployment)
        .map(|(name, _)| name)
        .filter(|name| world.is_cached("MachineSet", name))
        .collect();
    let has_machines = |set: &&Arc<MachineSet>| {
        !world
            .controlled::<Machine>(&set.uid().unwrap_or_default())
            .is_empty()
    };
    let leaving = sets
        .iter()
        .filter(|set| is_empty(set))
        .filter(has_machines)
        .map(|set| set.name_any())
        .collect();
    Some(Observed {
        deployment,
        sets,
        orphans,
        taken,
        leaving,
    })
}

/// A deployment of so many machines of version 1.
fn world(seed: u64, replicas: usize, rolling_update: &Value) -> Fake {
    let mut world = Fake::new(seed);
    world.create(sets::hollow_template("pool"));
    world.create(json!({
        "apiVersion": "machine.crit.sh/v1alpha1",
        "kind": KIND,
        "metadata": { "name": WEB },
        "spec": {
            "replicas": replicas,
            "progressDeadlineSeconds": 60,
            "strategy": { "rollingUpdate": rolling_update },
            "selector": { "matchLabels": { "pool": "a" } },
            "template": {
                "metadata": { "labels": { "pool": "a" } },
                "spec": { "version": "v1", "infrastructureRef": {
                    "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": "HollowMachineTemplate", "name": "pool"
                } },
            },
        },
    }));
    world
}

fn web(world: &Fake) -> MachineDeployment {
    world.get(WEB).unwrap()
}

fn change(world: &mut Fake, spec: &Value) {
    world.note(format_args!("the user writes {spec}"));
    world.edit(KIND, WEB, &json!({ "spec": spec }));
}

fn version(number: usize) -> Value {
    json!({ "template": { "spec": { "version": format!("v{number}") } } })
}

/// Machines that are available and not on their way out.
fn available(world: &Fake) -> Vec<Machine> {
    let good = |machine: &Machine| {
        let status = machine.status.clone().unwrap_or_default();
        machine.metadata.deletion_timestamp.is_none()
            && status.failure_reason.is_none()
            && conditions::is_true(&status.conditions, conditions::NODE_HEALTHY)
    };
    world.all::<Machine>().into_iter().filter(good).collect()
}

fn sizes(world: &Fake) -> Vec<(String, i32)> {
    let all = world.all::<MachineSet>();
    all.iter()
        .map(|set| (set.name_any(), set.spec.replicas))
        .collect()
}

fn total(sizes: &[(String, i32)]) -> i32 {
    sizes.iter().map(|(_, size)| size).sum()
}

/// What a set's machines that are known to be available come to, were it told to have `size`.
fn known(set: &MachineSet, size: i32) -> i32 {
    set.status.as_ref().map_or(0, |s| s.available_replicas).min(size)
}

/// One look at the deployment. It keeps the limits that it knows of, and is quiet while it is paused.
fn look_and_check(world: &mut Fake) {
    let before = sizes(world);
    let Some(observed) = observe(world) else { return };
    look(world);
    let after = sizes(world);
    let story = || world.log.join("\n");
    let Ok(limits) = limits(&observed.deployment) else {
        assert_eq!(before, after, "{}", story());
        return;
    };
    assert!(
        total(&after) <= total(&before).max(limits.most()),
        "{} machines are wanted:\n{}",
        total(&after),
        story()
    );
    let settled = |set: &Arc<MachineSet>| {
        let seen = set.status.as_ref().and_then(|s| s.observed_generation);
        seen == set.metadata.generation && before.contains(&(set.name_any(), set.spec.replicas))
    };
    if observed
        .deployment
        .spec
        .strategy
        .as_ref()
        .is_some_and(|s| s.type_.is_none())
        && observed.sets.iter().all(settled)
    {
        let left = |sizes: &[(String, i32)]| -> i32 {
            let size = |set: &MachineSet| {
                sizes
                    .iter()
                    .find(|(name, _)| *name == set.name_any())
                    .map_or(0, |(_, size)| *size)
            };
            observed.sets.iter().map(|set| known(set, size(set))).sum()
        };
        assert!(
            left(&after) >= left(&before).min(limits.fewest()),
            "{} of {} that are available stay:\n{}",
            left(&after),
            left(&before),
            story()
        );
    }
    let sized = |set: &Arc<MachineSet>| {
        set.spec.replicas == 0
            || set.annotations().get(labels::DESIRED_REPLICAS) == Some(&limits.replicas.to_string())
    };
    let as_wanted = total(&before) == limits.replicas;
    if observed.deployment.spec.paused == Some(true) && observed.sets.iter().all(sized) && as_wanted {
        assert_eq!(before, after, "it is paused:\n{}", story());
    }
}

/// One thing that is done by controllers and hosts, by chance.
fn work(world: &mut Fake) {
    let machines = world.names("Machine");
    let sets = world.names("MachineSet");
    match world.below(10) {
        0..3 => look_and_check(world),
        3..5 if !sets.is_empty() => {
            let set = sets[world.below(sets.len())].clone();
            sets::look(world, &set);
        }
        5..7 if !machines.is_empty() => {
            let machine = machines[world.below(machines.len())].clone();
            sets::live(world, &machine);
            sets::end_hosts(world);
        }
        7 => {
            let kind = ["Machine", "MachineSet", KIND][world.below(3)];
            world.tell_of(kind);
        }
        8 => {
            let count = world.below(6);
            world.tell(count);
        }
        _ => world.advance(1),
    }
}

/// One thing that a user does, or that goes wrong.
fn trouble(world: &mut Fake) {
    let machines = world.names("Machine");
    let some = (!machines.is_empty()).then(|| machines[world.below(machines.len())].clone());
    match (world.below(12), some) {
        (0 | 1, _) => {
            let number = 1 + world.below(4);
            change(world, &version(number));
        }
        (2, _) => {
            let replicas = world.below(9);
            change(world, &json!({ "replicas": replicas }));
        }
        (3, _) => {
            let paused = web(world).spec.paused != Some(true);
            change(world, &json!({ "paused": paused }));
        }
        (4, _) => {
            let (surge, unavailable) = (world.below(4), world.below(3));
            // Now and then both are 0, which is refused.
            let update = json!({ "maxSurge": surge, "maxUnavailable": unavailable });
            change(world, &json!({ "strategy": { "rollingUpdate": update } }));
        }
        (5, _) => {
            let on_delete = web(world).spec.strategy.unwrap_or_default().type_.is_none();
            let type_ = if on_delete { json!("OnDelete") } else { Value::Null };
            change(world, &json!({ "strategy": { "type": type_ } }));
        }
        (6, Some(name)) => {
            world.note(format_args!("the user deletes {name}"));
            world.delete("Machine", &name);
        }
        (7, Some(name)) => {
            world.note(format_args!("{name} fails"));
            sets::fail(world, &name);
        }
        (8, Some(name)) => {
            let healthy = world.below(2) == 0;
            sets::set_health(world, &name, healthy);
        }
        (9, _) => {
            let seconds = world.below(90);
            world.advance(i64::try_from(seconds).unwrap());
        }
        (10, _) => world.collect(),
        _ => {
            for _ in 0..world.below(6) {
                let fault = match world.below(8) {
                    0 => Some(Fault::Killed),
                    1 => Some(Fault::KilledHalfway),
                    2 | 3 => Some(Fault::Refused),
                    _ => None,
                };
                world.faults.push_back(fault);
            }
        }
    }
}

/// Lets everything come to its end: nothing fails any more, all is told.
fn settle(world: &mut Fake) {
    world.faults.clear();
    let mut quiet = 0;
    for _ in 0..400 {
        let before = (world.all::<MachineSet>(), world.all::<Machine>(), web(world));
        world.tell_all();
        look_and_check(world);
        for set in world.names("MachineSet") {
            sets::look(world, &set);
        }
        world.collect();
        for name in world.names("Machine") {
            sets::live(world, &name);
        }
        sets::end_hosts(world);
        world.advance(1);
        world.tell_all();
        if before != (world.all(), world.all(), web(world)) {
            quiet = 0;
            continue;
        }
        // Hosts come and go between the looks that tell of it, and some things are looked at again only after a while.
        quiet += 1;
        world.advance(10);
        if quiet == 3 {
            return;
        }
    }
    panic!("it never comes to rest:\n{}", world.log.join("\n"));
}

/// Puts right what only people put right.
fn mend(world: &mut Fake) {
    world.note("everything is put right");
    let update = json!({ "maxSurge": 1, "maxUnavailable": 0 });
    change(
        world,
        &json!({ "paused": null, "strategy": { "type": null, "rollingUpdate": update } }),
    );
    for machine in world.all::<Machine>() {
        let name = machine.name_any();
        let failed = machine
            .status
            .as_ref()
            .is_some_and(|s| s.failure_reason.is_some());
        if failed {
            world.delete("Machine", &name);
        } else if machine.status.is_some_and(|s| s.node_ref.is_some()) {
            sets::set_health(world, &name, true);
        }
    }
}

/// What holds when a roll-out is done.
fn check_rest(world: &Fake) {
    let story = world.log.join("\n");
    let deployment = web(world);
    let replicas = deployment.spec.replicas;
    let good = available(world);
    assert_eq!(i32::try_from(good.len()).unwrap(), replicas, "{story}");
    assert_eq!(world.all::<Machine>().len(), good.len(), "{story}");
    assert!(
        good.iter()
            .all(|m| m.spec.version == deployment.spec.template.spec.version),
        "{story}"
    );
    let status = deployment.status.clone().unwrap();
    assert_eq!(
        (
            status.replicas,
            status.updated_replicas,
            status.available_replicas,
            status.unavailable_replicas
        ),
        (replicas, replicas, replicas, 0),
        "{story}"
    );
    assert_eq!(status.phase.as_deref(), Some("Running"), "{story}");
    assert!(
        conditions::is_true(&status.conditions, conditions::READY),
        "{story}"
    );
    let sets = world.all::<MachineSet>();
    assert!(sets.len() <= 2, "{story}");
    let identities: BTreeSet<_> = sets
        .iter()
        .map(|set| set.spec.template.spec.version.clone())
        .collect();
    assert_eq!(identities.len(), sets.len(), "no template has two sets:\n{story}");
    let highest = sets.iter().max_by_key(|set| revision(*set)).unwrap();
    assert_eq!(highest.spec.replicas, replicas, "{story}");
    assert_eq!(revision(&deployment), revision(highest), "{story}");
}

#[test]
fn whatever_happens_limits_are_kept_and_it_ends() {
    for seed in 0..24 {
        let mut world = world(seed, 4, &json!({}));
        world.note(format_args!("seed {seed}"));
        for _ in 0..30 {
            trouble(&mut world);
            for _ in 0..world.below(20) {
                work(&mut world);
            }
        }
        mend(&mut world);
        settle(&mut world);
        check_rest(&world);
    }
}

#[test]
fn no_machine_is_missing_while_a_change_rolls_through() {
    for seed in 0..24 {
        let (surge, unavailable) = (seed % 4, (seed / 4) % 3);
        let surge = if surge + unavailable == 0 { 1 } else { surge };
        let mut world = world(
            seed,
            5,
            &json!({ "maxSurge": surge, "maxUnavailable": unavailable }),
        );
        settle(&mut world);
        check_rest(&world);
        let fewest = usize::try_from(limits(&web(&world)).unwrap().fewest()).unwrap();
        change(&mut world, &version(2));
        // Watches and looks come as they like, and no machine fails.
        for _ in 0..300 {
            work(&mut world);
            let left = available(&world).len();
            let story = || world.log.join("\n");
            assert!(
                left >= fewest,
                "seed {seed}: {left} of {fewest} machines:\n{}",
                story()
            );
        }
        settle(&mut world);
        check_rest(&world);
    }
}

#[test]
fn a_steady_deployment_writes_nothing() {
    let mut world = world(3, 4, &json!({}));
    settle(&mut world);
    let before = (web(&world), world.all::<MachineSet>(), world.log.len());
    for _ in 0..5 {
        world.advance(60);
        assert_eq!(look(&mut world), Some(Ok(Requeue::OnChange)));
    }
    assert_eq!((web(&world), world.all::<MachineSet>(), world.log.len()), before);
}

#[test]
fn a_story_of_a_roll_out() {
    let mut world = world(11, 3, &json!({}));
    settle(&mut world);
    change(&mut world, &version(2));
    settle(&mut world);
    change(&mut world, &version(3));
    // Number, set: then it ends.
    world.faults = [None, Some(Fault::KilledHalfway)].into();
    settle_first(&mut world);
    settle(&mut world);
    change(&mut world, &json!({ "paused": true, "replicas": 4 }));
    settle(&mut world);
    change(&mut world, &version(2));
    settle(&mut world);
    change(&mut world, &json!({ "paused": null }));
    settle(&mut world);
    change(
        &mut world,
        &json!({ "replicas": 2, "strategy": { "type": "OnDelete" } }),
    );
    settle(&mut world);
    change(&mut world, &version(4));
    settle(&mut world);
    let first = world.names("Machine")[0].clone();
    world.note(format_args!("the user deletes {first}"));
    world.delete("Machine", &first);
    settle(&mut world);
    change(
        &mut world,
        &json!({ "strategy": { "type": null, "rollingUpdate": { "maxSurge": 0 } } }),
    );
    settle(&mut world);
    change(
        &mut world,
        &json!({ "strategy": { "rollingUpdate": { "maxUnavailable": 1 } } }),
    );
    settle(&mut world);
    check_rest(&world);
    insta::assert_snapshot!(world.log.join("\n"));
}

/// One look with what is known now.
fn settle_first(world: &mut Fake) {
    world.tell_all();
    look(world);
}
