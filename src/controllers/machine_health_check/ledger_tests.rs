//! Tables of what was replaced lately and what follows: waves, and waits that grow.

use std::sync::Arc;

use kube::ResourceExt;
use serde_json::json;

use super::{
    observe::{Observed, Owner, Watched},
    plan::plan,
    plan_tests::*,
};
use crate::controllers::effect::Requeue;

/// A look, its writes, and the deletions that it asked for as the next look sees them.
fn look(o: &mut Observed, now: i64) -> Vec<String> {
    let d = plan(o, at(now));
    let names = deleted(o, &d);
    written(o, &d);
    mark(o, &d);
    for w in &mut o.machines {
        if names.contains(&w.machine.name_any()) {
            w.leaving = true;
            Arc::make_mut(&mut w.machine).metadata.deletion_timestamp =
                serde_json::from_value(json!(text(now))).unwrap();
        }
    }
    names
}

/// A replacement: a machine made at a moment that has no Node.
fn replacement(name: &str, created: i64) -> Watched {
    without_node(name, created)
}

#[test]
fn no_more_are_under_replacement_than_may_be() {
    let mut o = observed(json!({ "maxInFlight": 2 }), fleet(6, 4));
    o.owners.insert("set".into(), Owner { missing: 0 });
    assert_eq!(look(&mut o, NOW), ["m-0", "m-1"]);
    assert!(look(&mut o, NOW + 1).is_empty());
    // They are gone, nothing stands in their place yet.
    o.machines.retain(|w| !w.leaving);
    o.owners.insert("set".into(), Owner { missing: 2 });
    assert!(look(&mut o, NOW + 2).is_empty());
    // Their replacements start.
    o.owners.insert("set".into(), Owner { missing: 0 });
    o.machines
        .extend([replacement("r-0", NOW + 2), replacement("r-1", NOW + 2)]);
    assert!(look(&mut o, NOW + 3).is_empty());
    assert_eq!(plan(&o, at(NOW + 3)).in_flight, 2);
    // One is up: one more may go.
    o.machines[4] = watched(
        {
            let mut m = machine("r-0");
            m.metadata.creation_timestamp = serde_json::from_value(json!(text(NOW + 2))).unwrap();
            m
        },
        node("True", NOW + 4),
    );
    assert_eq!(look(&mut o, NOW + 4), ["m-2"]);
    // A set that was asked to grow does not take the place of a replacement that is broken itself.
    assert!(look(&mut o, NOW + 5).is_empty());
}

#[test]
fn replacements_that_fail_wait_longer_each_time_until_all_is_well_for_a_while() {
    let spec = json!({ "nodeStartupTimeout": "1m", "backOff": { "initialDelay": "30s", "maxDelay": "100s", "resetAfter": "10m" } });
    let mut o = observed(spec, vec![bad("m-0", 600), well("m-1")]);
    assert_eq!(look(&mut o, NOW), ["m-0"]);
    let mut now = NOW;
    for (round, wait) in [30, 60, 100, 100].into_iter().enumerate() {
        let name = format!("r-{round}");
        o.machines[0] = replacement(&name, now);
        // It becomes no Node, and is given time before it goes, too.
        assert_eq!(plan(&o, at(now)).requeue, after(60), "{name}");
        now += 60;
        assert!(look(&mut o, now).is_empty(), "{name}");
        assert_eq!(plan(&o, at(now)).requeue, after(wait), "{name}");
        assert!(look(&mut o, now + wait - 1).is_empty(), "{name}");
        now += wait;
        assert_eq!(look(&mut o, now), [name]);
    }
    let record = o.check.status.as_ref().unwrap().remediations[0].clone();
    assert_eq!((record.failures, record.owner.as_str()), (4, "MachineSet/pool"));
    // The last one comes up, and the owner is forgotten after ten minutes.
    o.machines[0] = well("r-9");
    assert!(look(&mut o, now + 10).is_empty());
    assert_eq!(plan(&o, at(now + 10)).requeue, after(600));
    assert!(look(&mut o, now + 609).is_empty());
    assert_eq!(o.check.status.as_ref().unwrap().remediations.len(), 1);
    assert!(look(&mut o, now + 610).is_empty());
    assert!(o.check.status.as_ref().unwrap().remediations.is_empty());
    assert_eq!(plan(&o, at(now + 700)).requeue, Requeue::OnChange);
}

#[test]
fn an_owner_that_breaks_again_is_not_forgotten_meanwhile() {
    let mut o = observed(json!({}), vec![bad("m-0", 600), well("m-1")]);
    assert_eq!(look(&mut o, NOW), ["m-0"]);
    o.machines.remove(0);
    look(&mut o, NOW + 10);
    assert!(
        o.check.status.as_ref().unwrap().remediations[0]
            .healthy_since
            .is_some()
    );
    o.machines[0].node = node("False", NOW + 20);
    look(&mut o, NOW + 20);
    assert!(
        o.check.status.as_ref().unwrap().remediations[0]
            .healthy_since
            .is_none()
    );
    look(&mut o, NOW + 5000);
    assert_eq!(o.check.status.as_ref().unwrap().remediations.len(), 1);
}

#[test]
fn siblings_that_fail_together_wait_together() {
    let spec = json!({ "nodeStartupTimeout": "1m" });
    let mut o = observed(spec, vec![bad("m-0", 600), bad("m-1", 600), well("m-2")]);
    assert_eq!(look(&mut o, NOW), ["m-0", "m-1"]);
    o.machines[0] = replacement("r-0", NOW + 1);
    o.machines[1] = replacement("r-1", NOW + 3);
    assert_eq!(look(&mut o, NOW + 91), ["r-0"]);
    // The other one was made by the same round: it pays for it once.
    assert_eq!(look(&mut o, NOW + 92), ["r-1"]);
    assert_eq!(o.check.status.as_ref().unwrap().remediations[0].failures, 1);
}

#[test]
fn a_back_off_of_nothing_never_waits() {
    let spec = json!({ "nodeStartupTimeout": "1m", "backOff": { "initialDelay": "0" } });
    let mut o = observed(spec, vec![bad("m-0", 600)]);
    look(&mut o, NOW);
    o.machines[0] = replacement("r-0", NOW);
    assert_eq!(look(&mut o, NOW + 60), ["r-0"]);
}

#[test]
fn a_cause_without_a_time_waits_from_when_it_was_marked() {
    let mut o = observed(json!({}), vec![bad("m-0", 600)]);
    look(&mut o, NOW);
    let mut failed = replacement("r-0", NOW);
    Arc::make_mut(&mut failed.machine).status.as_mut().unwrap().phase = Some("Failed".into());
    o.machines[0] = failed;
    assert_eq!(plan(&o, at(NOW + 10)).requeue, after(30));
    assert!(look(&mut o, NOW + 10).is_empty());
    assert_eq!(plan(&o, at(NOW + 20)).requeue, after(20));
    assert_eq!(look(&mut o, NOW + 40), ["r-0"]);
}

#[test]
fn a_wish_waits_for_nothing_and_is_no_failure() {
    let mut o = observed(json!({}), vec![bad("m-0", 600), well("m-1")]);
    look(&mut o, NOW);
    let mut asked = replacement("r-0", NOW);
    Arc::make_mut(&mut asked.machine).metadata.annotations =
        Some([("machine.crit.sh/remediate-machine".to_owned(), String::new())].into());
    o.machines[0] = asked;
    assert_eq!(look(&mut o, NOW + 1), ["r-0"]);
    assert_eq!(o.check.status.as_ref().unwrap().remediations[0].failures, 0);
}
