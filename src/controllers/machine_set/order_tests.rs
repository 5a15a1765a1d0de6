//! Tables of which Machines go first.

use kube::ResourceExt;
use serde_json::json;

use super::{
    fixtures::*,
    order::{Policy, choose, priority},
    plan::plan,
    random::Random,
};
use crate::{api::labels, time::rfc3339};

#[test]
fn s07_random_takes_marked_and_failed_then_nodeless_then_the_rest() {
    let o = observed(set(0));
    let mark = |key: &str| json!({ "metadata": { "annotations": { key: "now" } } });
    let rows = [
        (
            json!({ "metadata": { "deletionTimestamp": rfc3339(now()) } }),
            100.0,
        ),
        (mark(labels::DELETE_MACHINE), 50.0),
        (failed(), 50.0),
        (json!({ "status": { "failureMessage": "no room" } }), 50.0),
        (json!({}), 40.0),
        (up(10), 20.0),
    ];
    for (more, expected) in rows {
        let priority = priority(Policy::Random, &machine(&o, "m", &more), now());
        assert!((priority - expected).abs() < f64::EPSILON, "{more}: {priority}");
    }
    let machines = [("a", up(1)), ("b", json!({})), ("c", failed()), ("d", up(1))]
        .map(|(name, more)| machine(&o, name, &more));
    let names = |count: usize, seed: u64| -> Vec<String> {
        let chosen = choose(Policy::Random, &machines, count, now(), &mut Random::new(seed));
        chosen.iter().map(|m| m.name_any()).collect()
    };
    assert_eq!(names(2, 1), ["c", "b"]);
    // Among equals it is chance.
    let third: std::collections::BTreeSet<String> = (0..20).map(|seed| names(3, seed).remove(2)).collect();
    assert_eq!(third.into_iter().collect::<Vec<_>>(), ["a", "d"]);
    assert_eq!(names(3, 4), names(3, 4));
}

#[test]
fn s08_a_mark_needs_a_value_and_other_systems_marks_count() {
    let o = observed(set(0));
    let marked = |key: &str, value: &str| {
        let more = json!({ "metadata": { "annotations": { key: value } } });
        super::order::is_marked(&machine(&o, "m", &more))
    };
    assert!(!marked(labels::DELETE_MACHINE, ""));
    for key in [
        labels::DELETE_MACHINE,
        "machine.openshift.io/delete-machine",
        "machine.openshift.io/cluster-api-delete-machine",
        "cluster.x-k8s.io/delete-machine",
    ] {
        assert!(marked(key, "1700000000") && !marked(key, ""), "{key}");
    }
    assert!(!marked("sigs.k8s.io/cluster-api-delete-machine", "yes"));
}

#[test]
fn s09_oldest_and_newest_follow_the_age() {
    let o = observed(set(0));
    let days =
        |days: i64| json!({ "metadata": { "creationTimestamp": rfc3339(now() - seconds(days * 86_400)) } });
    let none = json!({ "metadata": { "creationTimestamp": null } });
    let zero = json!({ "metadata": { "creationTimestamp": "1970-01-01T00:00:00Z" } });
    let marked = json!({ "metadata": { "annotations": { labels::DELETE_MACHINE: "yes" } } });
    let rows = [
        (none, 0.0),
        (zero, 0.0),
        (days(-1), 0.0),
        (days(1), 50.0 * (1.0 - (-0.01_f64).exp())),
        (days(10), 50.0 * (1.0 - (-0.1_f64).exp())),
        (days(3750), 50.0),
    ];
    for (more, expected) in rows {
        let m = machine(&o, "m", &more);
        let (oldest, newest) = (
            priority(Policy::Oldest, &m, now()),
            priority(Policy::Newest, &m, now()),
        );
        assert!((oldest - expected).abs() < 1e-9, "{more}: {oldest}");
        assert!((newest - (100.0 - expected)).abs() < 1e-9, "{more}: {newest}");
    }
    for policy in [Policy::Oldest, Policy::Newest] {
        for more in [&marked, &failed()] {
            let priority = priority(policy, &machine(&o, "m", more), now());
            assert!((priority - 100.0).abs() < f64::EPSILON);
        }
    }
    let machines = [("new", days(1)), ("old", days(9)), ("b", days(5)), ("a", days(5))]
        .map(|(name, more)| machine(&o, name, &more));
    let names = |policy: Policy| -> Vec<String> {
        let chosen = choose(policy, &machines, 4, now(), &mut Random::new(1));
        chosen.iter().map(|m| m.name_any()).collect()
    };
    assert_eq!(names(Policy::Oldest), ["old", "a", "b", "new"]);
    assert_eq!(names(Policy::Newest), ["new", "a", "b", "old"]);
}

#[test]
fn s10_no_more_go_than_are_too_many_and_an_unknown_policy_is_an_error() {
    let o = observed(set(0));
    let machines = ["a", "b"].map(|name| machine(&o, name, &json!({})));
    let count = |n: usize| choose(Policy::Oldest, &machines, n, now(), &mut Random::new(1)).len();
    assert_eq!((count(0), count(1), count(2), count(9)), (0, 1, 2, 2));
    assert!(
        Policy::parse(Some("Foo"))
            .unwrap_err()
            .contains("spec.deletePolicy")
    );
    assert_eq!(Policy::parse(None), Ok(Policy::Random));
    assert_eq!(Policy::parse(Some("")), Ok(Policy::Random));
    let shrinking = plan(&with(1, &[("a", up(5)), ("b", failed()), ("c", up(5))]), now());
    let gone = deletes(&shrinking);
    assert!(gone.contains(&"b".to_owned()) && gone.len() == 2, "{gone:?}");
    assert_eq!(status(&shrinking).replicas, 1);
    assert_eq!(condition(&shrinking, "ScalingDown").0, "True");
}
