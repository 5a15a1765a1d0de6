//! Sets in a world without a server: looks in random order, caches that lag behind, writes that fail, a process that is killed.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use kube::{
    Resource, ResourceExt,
    api::{ApiResource, DynamicObject},
};
use serde_json::{Value, json};

use super::{
    failed::has_failed,
    observe::{ClusterView, Member, Observed, TemplateView, Trouble, find_lacking},
    plan, template,
};
use crate::{
    api::{
        labels, selector,
        v1alpha1::{HollowMachine, Machine, MachineSet},
    },
    controllers::{
        effect::{ObjectKey, Requeue},
        simulation::{Fake, Fault, NAMESPACE, Stopped},
    },
};

/// Looks at a set, as its controller does. Nothing if the cache does not show it, or not what was last written.
pub(crate) fn look(world: &mut Fake, name: &str) -> Option<Result<Requeue, Stopped>> {
    let set = world.cached::<MachineSet>(name)?;
    if set.annotations().contains_key(labels::PAUSED) {
        return None;
    }
    let observed = observe(world, Arc::clone(&set));
    let planned = plan::plan(&observed, world.now);
    let requeue = planned.requeue;
    let done = world.apply("MachineSet", name, &planned);
    if let Err(Stopped::Refused(count)) = done {
        let trouble = Trouble {
            reason: "ReconcileError",
            message: format!("{count} refused"),
        };
        let observed = Observed {
            trouble: Some(trouble),
            ..observe(world, set)
        };
        let told = plan::tell(&observed, world.now);
        world.apply("MachineSet", name, &told).ok();
    }
    Some(done.map(|()| requeue))
}

/// What the controller would see.
fn observe(world: &mut Fake, set: Arc<MachineSet>) -> Observed {
    let seed = world.seed();
    let of = |machine: Arc<Machine>| Member {
        leaving: world.is_leaving("Machine", &*machine),
        stale: world.is_behind("Machine", &machine.name_any()),
        lacks_clone: false,
        machine,
    };
    let members = world
        .controlled::<Machine>(&set.uid().unwrap())
        .into_iter()
        .map(of)
        .collect();
    let orphans = world
        .orphans::<Machine>()
        .into_iter()
        .filter(|m| selector::selects(&set.spec.selector, m.metadata.labels.as_ref()))
        .map(of)
        .filter(|m| !m.leaving)
        .collect();
    let mut o = Observed {
        set,
        members,
        orphans,
        cluster: ClusterView::NotNamed,
        template: TemplateView::Unread,
        strays: Vec::new(),
        recheck: None,
        seed,
        trouble: None,
    };
    let Some(reference) = template::reference(&o.set) else {
        return o;
    };
    find_lacking(
        &mut o,
        "HollowMachine",
        |name| world.is_cached("HollowMachine", name),
        world.now,
    );
    if template::is_needed(&o) {
        let found = world.value(&reference.kind.unwrap(), &reference.name.unwrap());
        o.template = found.map_or(TemplateView::Missing, |template| TemplateView::Found {
            kind: ApiResource::erase::<HollowMachine>(&()),
            template: Arc::new(serde_json::from_value::<DynamicObject>(template.clone()).unwrap()),
        });
    }
    o.strays = strays(world, &o.set);
    o
}

/// Copies whose Machine is gone.
fn strays(world: &Fake, set: &MachineSet) -> Vec<(ObjectKey, Option<String>)> {
    world
        .all::<HollowMachine>()
        .into_iter()
        .filter(|clone| {
            let owner = &clone.owner_references()[0];
            let machine = world.get::<Machine>(&owner.name);
            clone.metadata.deletion_timestamp.is_none()
                && clone.labels().get(labels::SET_NAME) == set.metadata.name.as_ref()
                && machine.is_none_or(|m| m.uid().as_deref() != Some(&owner.uid))
        })
        .map(|clone| (ObjectKey::to(&clone), clone.uid()))
        .collect()
}

/// Brings a machine one step further, as its own controllers do: its host comes up, its Node, its end.
pub(crate) fn live(world: &mut Fake, name: &str) {
    let Some(machine) = world.get::<Machine>(name) else {
        return;
    };
    let clone = world.value("HollowMachine", name).is_some();
    if machine.metadata.deletion_timestamp.is_some() {
        let kind = if clone { "HollowMachine" } else { "Machine" };
        world.edit(kind, name, &json!({ "metadata": { "finalizers": null } }));
        if clone {
            world.delete(kind, name);
        }
        return;
    }
    let status = machine.status.clone().unwrap_or_default();
    if !clone || has_failed(&machine) || status.node_ref.is_some() {
        return;
    }
    if !status.infrastructure_ready {
        let id = format!("hollow://{NAMESPACE}/{name}");
        let ready = json!({ "spec": { "providerID": id }, "status": { "infrastructureReady": true, "phase": "Provisioned" } });
        world.edit("Machine", name, &ready);
        return;
    }
    let node =
        json!({ "status": { "phase": "Running", "nodeRef": { "kind": Node::kind(&()), "name": name } } });
    world.edit("Machine", name, &node);
    set_health(world, name, true);
}

/// Ends the hosts that are on their way out, as their controller does.
pub(crate) fn end_hosts(world: &mut Fake) {
    for clone in world.all::<HollowMachine>() {
        if clone.metadata.deletion_timestamp.is_some() {
            let free = json!({ "metadata": { "finalizers": null } });
            world.edit("HollowMachine", &clone.name_any(), &free);
        }
    }
}

/// Says of a machine's Node whether it is Ready.
pub(crate) fn set_health(world: &mut Fake, name: &str, healthy: bool) {
    let (status, reason) = if healthy {
        ("True", "NodeReady")
    } else {
        ("False", "NodeNotReady")
    };
    let condition = json!({
        "type": "NodeHealthy", "status": status, "reason": reason, "message": "",
        "lastTransitionTime": crate::time::rfc3339(world.now),
    });
    world.edit(
        "Machine",
        name,
        &json!({ "status": { "conditions": [condition] } }),
    );
}

/// A machine fails for good.
pub(crate) fn fail(world: &mut Fake, name: &str) {
    let failed = json!({ "status": { "phase": "Failed", "failureReason": "CreateError", "failureMessage": "no room" } });
    world.edit("Machine", name, &failed);
}

/// A template of hollow machines.
pub(crate) fn hollow_template(name: &str) -> Value {
    json!({
        "apiVersion": "infrastructure.crit.sh/v1alpha1",
        "kind": "HollowMachineTemplate",
        "metadata": { "name": name },
        "spec": { "template": { "spec": { "capacity": { "cpu": "8" } } } },
    })
}

/// A set of so many hollow machines.
fn pool(replicas: usize) -> Value {
    json!({
        "apiVersion": "machine.crit.sh/v1alpha1",
        "kind": "MachineSet",
        "metadata": { "name": "pool" },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "pool": "a" } },
            "template": {
                "metadata": { "labels": { "pool": "a" } },
                "spec": { "infrastructureRef": {
                    "apiVersion": "infrastructure.crit.sh/v1alpha1", "kind": "HollowMachineTemplate", "name": "pool"
                } },
            },
        },
    })
}

fn world(seed: u64, replicas: usize) -> Fake {
    let mut world = Fake::new(seed);
    world.create(hollow_template("pool"));
    world.create(pool(replicas));
    world
}

fn set(world: &Fake) -> MachineSet {
    world.get("pool").unwrap()
}

/// Machines that the set controls, that fit and that are not on their way out.
fn staying(world: &Fake) -> Vec<Machine> {
    let set = set(world);
    world
        .all::<Machine>()
        .into_iter()
        .filter(|m| m.metadata.deletion_timestamp.is_none())
        .filter(|m| {
            m.owner_references()
                .iter()
                .any(|r| Some(&r.uid) == set.metadata.uid.as_ref())
        })
        .filter(|m| selector::selects(&set.spec.selector, m.metadata.labels.as_ref()))
        .collect()
}

/// One thing that happens, by chance.
fn step(world: &mut Fake) {
    let machines = world.names("Machine");
    let some = (!machines.is_empty()).then(|| machines[world.below(machines.len())].clone());
    match (world.below(20), some) {
        (0, _) => {
            let replicas = world.below(8);
            world.note(format_args!("the user asks for {replicas} machines"));
            world.edit("MachineSet", "pool", &json!({ "spec": { "replicas": replicas } }));
        }
        (1, Some(name)) => {
            world.note(format_args!("the user deletes {name}"));
            world.delete("Machine", &name);
        }
        (2, Some(name)) => {
            world.note(format_args!("the user labels {name} anew"));
            world.edit(
                "Machine",
                &name,
                &json!({ "metadata": { "labels": { "pool": "b" } } }),
            );
        }
        (3, _) => {
            let name = format!("stray-{}", world.below(1000));
            let orphan = json!({
                "apiVersion": "machine.crit.sh/v1alpha1", "kind": "Machine",
                "metadata": { "name": name, "labels": { "pool": "a" } }, "spec": {},
            });
            world.create(orphan);
        }
        (4, Some(name)) => fail(world, &name),
        (5, _) => {
            let seconds = world.below(20);
            world.advance(i64::try_from(seconds).unwrap());
        }
        (6..10, Some(name)) => live(world, &name),
        (10, _) => {
            let kind = ["Machine", "HollowMachine", "MachineSet"][world.below(3)];
            world.tell_of(kind);
        }
        (11..14, _) => {
            let count = world.below(6);
            world.tell(count);
        }
        (14, _) => {
            world.collect();
            end_hosts(world);
        }
        _ => {
            for _ in 0..world.below(6) {
                let fault = match world.below(12) {
                    0 => Some(Fault::Killed),
                    1 => Some(Fault::KilledHalfway),
                    2 | 3 => Some(Fault::Refused),
                    _ => None,
                };
                world.faults.push_back(fault);
            }
            look_and_check(world);
        }
    }
}

/// A look that makes machines never leaves more of them than were asked for.
fn look_and_check(world: &mut Fake) {
    let before = world.names("Machine").len();
    let asked = world.cached::<MachineSet>("pool").map(|s| template::desired(&s));
    look(world, "pool");
    let made = world.names("Machine").len() > before;
    if let (Some(asked), true) = (asked, made) {
        let after = staying(world).len();
        let story = world.log.join("\n");
        assert!(
            after <= asked,
            "{after} machines, {asked} were asked for:\n{story}"
        );
    }
}

/// Lets everything come to its end: nothing fails any more, all is told.
fn settle(world: &mut Fake) {
    world.faults.clear();
    for _ in 0..60 {
        world.tell_all();
        look(world, "pool");
        world.collect();
        end_hosts(world);
        for name in world.names("Machine") {
            live(world, &name);
        }
        world.advance(1);
    }
    world.tell_all();
}

/// What holds when nothing is under way.
fn check_rest(world: &Fake) {
    let story = world.log.join("\n");
    let set = set(world);
    let staying = staying(world);
    let desired = template::desired(&set);
    assert_eq!(staying.len(), desired, "{story}");
    let status = set.status.clone().unwrap();
    let failed = staying
        .iter()
        .filter(|m| has_failed(m) || m.spec.infrastructure_ref.is_none())
        .count();
    assert_eq!(usize::try_from(status.replicas).unwrap(), desired, "{story}");
    assert_eq!(
        usize::try_from(status.ready_replicas).unwrap(),
        staying
            .iter()
            .filter(|m| super::status::healthy_since(m).is_some())
            .count(),
        "{story}"
    );
    assert!(
        usize::try_from(status.ready_replicas).unwrap() + failed >= desired,
        "{story}"
    );
    for machine in &staying {
        let name = machine.name_any();
        assert!(
            has_failed(machine)
                || machine.spec.infrastructure_ref.is_none()
                || world.value("HollowMachine", &name).is_some(),
            "{name} has no host:\n{story}"
        );
    }
    for clone in world.names("HollowMachine") {
        assert!(
            world.value("Machine", &clone).is_some(),
            "{clone} has no Machine:\n{story}"
        );
    }
    let going = world
        .all::<Machine>()
        .into_iter()
        .filter(|m| m.metadata.deletion_timestamp.is_some());
    assert_eq!(going.count(), 0, "deletions end:\n{story}");
}

#[test]
fn s13_whatever_happens_no_machine_is_too_many_and_none_is_missing_in_the_end() {
    for seed in 0..40 {
        let mut world = world(seed, 3);
        world.note(format_args!("seed {seed}"));
        for _ in 0..150 {
            step(&mut world);
        }
        settle(&mut world);
        check_rest(&world);
    }
}

#[test]
fn s14_one_machine_that_can_not_be_made_does_not_hold_up_the_others() {
    let mut world = world(3, 4);
    world.tell_all();
    world.faults = [None, Some(Fault::Refused), None, Some(Fault::Refused)].into();
    look(&mut world, "pool");
    assert_eq!(world.names("Machine").len(), 2);
    assert_eq!(world.log, ["   0s  MachineSet pool: ReconcileError: 2 refused"]);
    // What was made is not made again, though no watch has told of it.
    world.tell_of("MachineSet");
    look(&mut world, "pool");
    assert_eq!(world.names("Machine").len(), 4);
    assert!(world.log[1].contains("created 2 machines"), "{:?}", world.log);
    settle(&mut world);
    check_rest(&world);
}

#[test]
fn a_steady_set_writes_nothing() {
    let mut world = world(5, 4);
    settle(&mut world);
    check_rest(&world);
    let before = (set(&world), world.all::<Machine>(), world.log.len());
    for _ in 0..5 {
        world.advance(60);
        assert_eq!(look(&mut world, "pool"), Some(Ok(Requeue::OnChange)));
    }
    assert_eq!((set(&world), world.all::<Machine>(), world.log.len()), before);
}

#[test]
fn a_set_that_is_paused_moves_nothing() {
    let mut world = world(6, 2);
    settle(&mut world);
    let pause = json!({ "metadata": { "annotations": { labels::PAUSED: "" } }, "spec": { "replicas": 7 } });
    world.edit("MachineSet", "pool", &pause);
    let before = world.all::<Machine>();
    settle(&mut world);
    assert_eq!(world.all::<Machine>(), before);
}

#[test]
fn s05_a_set_that_goes_makes_nothing_and_its_machines_go_with_it() {
    let mut world = world(7, 3);
    settle(&mut world);
    let hold = json!({ "metadata": { "finalizers": ["foregroundDeletion"] } });
    world.edit("MachineSet", "pool", &hold);
    world.delete("MachineSet", "pool");
    for name in world.names("Machine") {
        world.delete("Machine", &name);
    }
    settle(&mut world);
    assert_eq!(world.names("Machine"), Vec::<String>::new());
    world.edit(
        "MachineSet",
        "pool",
        &json!({ "metadata": { "finalizers": null } }),
    );
    assert!(world.get::<MachineSet>("pool").is_none());
}

#[test]
fn a_story_of_a_set() {
    let mut world = world(11, 0);
    let scale = |world: &mut Fake, replicas: usize| {
        world.note(format_args!("the user asks for {replicas} machines"));
        world.edit("MachineSet", "pool", &json!({ "spec": { "replicas": replicas } }));
    };
    settle(&mut world);
    scale(&mut world, 3);
    world.faults = [Some(Fault::Refused)].into();
    world.tell_all();
    look(&mut world, "pool");
    settle(&mut world);
    scale(&mut world, 5);
    world.faults = [None, Some(Fault::KilledHalfway)].into();
    world.tell_all();
    look(&mut world, "pool");
    settle(&mut world);
    check_rest(&world);
    let first = world.names("Machine")[0].clone();
    world.note(format_args!("the user deletes {first}"));
    world.delete("Machine", &first);
    settle(&mut world);
    let second = world.names("Machine")[0].clone();
    world.note(format_args!("{second} fails; Failed machines are to be replaced"));
    fail(&mut world, &second);
    world.edit(
        "MachineSet",
        "pool",
        &json!({ "spec": { "replaceFailed": true } }),
    );
    settle(&mut world);
    let third = world.names("Machine")[0].clone();
    world.note(format_args!("the user labels {third} anew"));
    world.edit(
        "Machine",
        &third,
        &json!({ "metadata": { "labels": { "pool": "b" } } }),
    );
    settle(&mut world);
    world.note(format_args!("the user labels {third} as it was"));
    world.edit(
        "Machine",
        &third,
        &json!({ "metadata": { "labels": { "pool": "a" } } }),
    );
    settle(&mut world);
    scale(&mut world, 1);
    settle(&mut world);
    world.note("the template goes");
    world.delete("HollowMachineTemplate", "pool");
    scale(&mut world, 2);
    settle(&mut world);
    let ready = set(&world).status.unwrap().conditions;
    let ready = ready.iter().find(|c| c.type_ == "Ready").unwrap();
    world.note(format_args!("Ready is {}: {}", ready.status, ready.message));
    insta::assert_snapshot!(world.log.join("\n"));
}
