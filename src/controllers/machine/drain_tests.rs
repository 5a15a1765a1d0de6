//! Tables of pods on a Node, and which of them are asked to leave.

use serde_json::{Value, json};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn node(ready: &str) -> Node {
    serde_json::from_value(json!({
        "metadata": { "name": "n1" }, "status": { "conditions": [{ "type": "Ready", "status": ready }] }
    }))
    .unwrap()
}

fn pod(name: &str, change: &Value) -> Pod {
    let mut value = json!({
        "metadata": { "name": name, "namespace": "apps", "uid": format!("{name}-uid") },
        "spec": { "nodeName": "n1", "containers": [] }
    });
    json_patch::merge(&mut value, change);
    serde_json::from_value(value).unwrap()
}

fn of_daemon_set() -> Value {
    json!({ "metadata": { "ownerReferences": [
        { "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": "u", "controller": true }] } })
}

fn ending() -> Value {
    json!({ "metadata": { "deletionTimestamp": "1970-01-01T00:01:00Z" } })
}

fn look(node: &Node, pods: &[Pod], refusals: &Refusals, now: i64) -> Drain {
    drain(node, pods, refusals, SignedDuration::ZERO, at(now))
}

fn names(drain: &Drain) -> Vec<String> {
    drain.evict.iter().map(ToString::to_string).collect()
}

fn blocked(second: i64, why: &str) -> Refusal {
    Refusal {
        at: at(second),
        answer: Answer::Blocked(why.to_owned()),
    }
}

#[test]
fn d13_daemon_sets_and_mirror_pods_stay_and_everything_else_leaves() {
    let finished = |phase: &str| {
        let mut change = of_daemon_set();
        change["status"] = json!({ "phase": phase });
        change
    };
    let pods = vec![
        pod("web", &json!({})),
        pod(
            "scratch",
            &json!({ "spec": { "volumes": [{ "name": "v", "emptyDir": {} }] } }),
        ),
        pod("job", &json!({ "status": { "phase": "Succeeded" } })),
        pod("elsewhere", &json!({ "spec": { "nodeName": "n2" } })),
        pod(
            "static",
            &json!({ "metadata": { "annotations": { "kubernetes.io/config.mirror": "x" } } }),
        ),
        pod("agent", &of_daemon_set()),
        pod("agent-finished", &finished("Failed")),
        pod("agent-running", &finished("Running")),
    ];
    let drain = look(&node("True"), &pods, &Refusals::new(), 100);
    assert_eq!(
        names(&drain),
        ["apps/agent-finished", "apps/job", "apps/scratch", "apps/web"]
    );
    assert_eq!(drain.grace, None);
    assert_eq!(drain.progress.reason(), "Draining");
    assert_eq!(drain.progress.to_string(), "4 pods have to leave Node n1");
}

#[test]
fn d11_pods_that_end_on_a_node_that_is_not_heard_of_are_not_waited_for() {
    let pods = [pod("web", &ending())];
    let unheard = look(&node("Unknown"), &pods, &Refusals::new(), 100);
    assert!(unheard.progress.is_done());
    // Those that are not told yet are asked, so that budgets count, and get little grace.
    let told = look(&node("Unknown"), &[pod("web", &json!({}))], &Refusals::new(), 100);
    assert_eq!((names(&told), told.grace), (vec!["apps/web".to_owned()], Some(1)));
}

#[test]
fn a_pod_stays_on_a_node_that_is_not_heard_of_for_as_long_as_it_tolerates_that() {
    let mut node = node("Unknown");
    let since =
        json!([{ "type": "Ready", "status": "Unknown", "lastTransitionTime": "1970-01-01T00:01:40Z" }]);
    node.status.as_mut().unwrap().conditions = serde_json::from_value(since).unwrap();
    let left = |tolerations: Value, now| {
        let pod = pod("web", &json!({ "spec": { "tolerations": tolerations } }));
        !look(&node, &[pod], &Refusals::new(), now).progress.is_done()
    };
    let unreachable = |seconds: Value| json!([{ "key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds }]);
    assert!(left(unreachable(json!(300)), 399) && !left(unreachable(json!(300)), 400));
    assert!(left(unreachable(Value::Null), 1_000_000));
    assert!(left(json!([{ "operator": "Exists" }]), 1_000_000));
    assert!(!left(json!([]), 100));
    // Not of this taint, or not of this effect.
    assert!(!left(
        json!([{ "key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute" }]),
        100
    ));
    assert!(!left(
        json!([{ "key": UNREACHABLE, "operator": "Exists", "effect": "NoSchedule" }]),
        100
    ));
    assert!(!left(
        json!([{ "key": UNREACHABLE, "operator": "Equal", "value": "x" }]),
        100
    ));
    // The shortest counts.
    let two = json!([{ "operator": "Exists" }, { "key": UNREACHABLE, "operator": "Exists", "tolerationSeconds": 20 }]);
    assert!(left(two.clone(), 119) && !left(two, 120));
}

#[test]
fn d12_a_node_that_says_it_is_not_ready_can_be_reached() {
    for status in ["False", "True"] {
        let drain = look(&node(status), &[pod("web", &ending())], &Refusals::new(), 100);
        assert_eq!(drain.progress.left(), 1, "{status}");
        assert_eq!(drain.grace, None);
        assert_eq!(
            drain.progress.to_string(),
            "1 pod has to leave Node n1; ending: apps/web"
        );
    }
}

#[test]
fn a_pod_that_was_refused_is_asked_again_after_five_seconds() {
    let pods = [pod("web", &json!({})), pod("db", &json!({}))];
    let why = "The disruption budget web needs 2 healthy pods and has 2 currently";
    let refusals = Refusals::from([("web-uid".to_owned(), blocked(100, why))]);
    let early = look(&node("True"), &pods, &refusals, 104);
    assert_eq!(names(&early), ["apps/db"]);
    assert_eq!(early.progress.reason(), "EvictionBlocked");
    assert_eq!(
        early.progress.to_string(),
        "2 pods have to leave Node n1; blocked: apps/web: The disruption budget web needs 2 healthy pods and has 2 currently"
    );
    assert_eq!(
        names(&look(&node("True"), &pods, &refusals, 105)),
        ["apps/db", "apps/web"]
    );
    // A pod of the same name made anew is another one.
    let anew = [pod("web", &json!({ "metadata": { "uid": "other" } }))];
    assert_eq!(names(&look(&node("True"), &anew, &refusals, 101)), ["apps/web"]);
}

#[test]
fn few_pods_are_named_and_the_others_counted() {
    let mut pods: Vec<Pod> = (0..5)
        .map(|i| pod(&format!("web-{i}"), &json!({})))
        .chain((0..4).map(|i| pod(&format!("end-{i}"), &ending())))
        .collect();
    pods.push(pod("odd", &json!({})));
    let mut refusals: Refusals = (0..5)
        .map(|i| {
            (
                format!("web-{i}-uid"),
                blocked(100, "The disruption budget web is empty."),
            )
        })
        .collect();
    refusals.insert(
        "odd-uid".to_owned(),
        Refusal {
            at: at(100),
            answer: Answer::Failed("pods \"odd\" is forbidden".to_owned()),
        },
    );
    let drain = look(&node("True"), &pods, &refusals, 101);
    assert_eq!(drain.progress.reason(), "EvictionFailed");
    assert_eq!(
        drain.progress.to_string(),
        "10 pods have to leave Node n1; can't evict apps/odd: pods \"odd\" is forbidden; \
         blocked: apps/web-0, apps/web-1, apps/web-2 and 2 more: The disruption budget web is empty; \
         ending: apps/end-0, apps/end-1, apps/end-2 and 1 more"
    );
}

#[test]
fn a_look_asks_a_bounded_number_of_pods_and_long_drains_are_looked_at_less_often() {
    let pods: Vec<Pod> = (0..120).map(|i| pod(&format!("p-{i:03}"), &json!({}))).collect();
    let drain_at = |since| {
        drain(
            &node("True"),
            &pods,
            &Refusals::new(),
            SignedDuration::from_secs(since),
            at(100),
        )
    };
    let first = drain_at(0);
    assert_eq!((first.evict.len(), first.progress.left()), (50, 120));
    assert_eq!(
        [0, 60, 3600].map(|s| drain_at(s).look),
        [2, 10, 20].map(SignedDuration::from_secs)
    );
}
