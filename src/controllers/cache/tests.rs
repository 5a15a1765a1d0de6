//! What caches find and tell.

use k8s_openapi::api::core::v1::Node;
use kube::{ResourceExt, runtime::watcher::Event};
use serde_json::json;

use super::*;
use crate::api::v1alpha1::{Machine, MachineSpec};

fn machine(name: &str, cluster: &str, version: &str) -> Machine {
    let mut machine = Machine::new(
        name,
        MachineSpec {
            cluster_name: Some(cluster.to_owned()),
            ..MachineSpec::default()
        },
    );
    machine.metadata.namespace = Some("n".to_owned());
    machine.metadata.resource_version = Some(version.to_owned());
    machine
}

fn names(machines: &[Arc<Machine>]) -> Vec<String> {
    machines.iter().map(|m| m.name_any()).collect()
}

#[test]
fn objects_are_found_by_terms_until_they_change_or_go() {
    let (cache, mut feeder) = Cache::<Machine>::new(());
    let of = |c: &str| {
        cache
            .find(&term::cluster("n", c))
            .iter()
            .map(|m| m.name_any())
            .collect::<Vec<_>>()
    };
    feeder.take(Event::Apply(machine("b", "one", "1")));
    feeder.take(Event::Apply(machine("a", "one", "2")));
    assert_eq!(of("one"), ["a", "b"]);
    feeder.take(Event::Apply(machine("a", "two", "3")));
    assert_eq!(
        (of("one"), of("two")),
        (vec!["b".to_owned()], vec!["a".to_owned()])
    );
    feeder.take(Event::Delete(machine("b", "one", "4")));
    assert!(of("one").is_empty());
}

#[test]
fn a_new_list_tells_only_what_is_new_different_or_gone() {
    let (_, mut feeder) = Cache::<Machine>::new(());
    let mut list = |objects: Vec<Machine>| {
        feeder.take(Event::Init);
        for object in objects {
            feeder.take(Event::InitApply(object));
        }
        names(&feeder.take(Event::InitDone))
    };
    assert_eq!(
        list(vec![
            machine("a", "c", "1"),
            machine("b", "c", "2"),
            machine("g", "c", "3")
        ]),
        ["a", "b", "g"]
    );
    assert_eq!(
        list(vec![
            machine("a", "c", "1"),
            machine("b", "c", "7"),
            machine("n", "c", "8")
        ]),
        ["g", "b", "n"]
    );
}

fn is_packed<K>(cache: &Cache<K>, name: &str) -> bool
where
    K: Resource + Clone + Indexed + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    let namespace = cache.read().by_name.keys().next().cloned().unwrap();
    let key = name_in(parts_of(&namespace).0, name);
    matches!(
        cache.read().by_name.get(&key),
        Some(Kept::Packed(..) | Kept::Text(_))
    )
}

#[test]
fn a_machine_that_is_quiet_takes_less_room_and_reads_the_same() {
    let (cache, mut feeder) = Cache::<Machine>::new(());
    let mut labelled = machine("a", "one", "1");
    labelled.metadata.labels = Some([("pool".to_owned(), "a".to_owned())].into());
    feeder.take(Event::Apply(labelled.clone()));
    feeder.take(Event::Apply(machine("b", "one", "2")));
    feeder.cool();
    // Something happens to the one in between.
    feeder.take(Event::Apply(machine("b", "one", "3")));
    feeder.cool();
    assert_eq!((is_packed(&cache, "a"), is_packed(&cache, "b")), (true, false));
    assert_eq!(*cache.get(Some("n"), "a").unwrap(), labelled);
    assert_eq!(names(&cache.find(&term::cluster("n", "one"))), ["a", "b"]);
    // It is found by its terms, and leaves them, as before.
    feeder.take(Event::Apply(machine("a", "two", "4")));
    assert!(!is_packed(&cache, "a"));
    assert_eq!(names(&cache.find(&term::cluster("n", "one"))), ["b"]);
    feeder.take(Event::Delete(machine("b", "one", "5")));
    assert!(cache.find(&term::cluster("n", "one")).is_empty());
}

#[test]
fn a_heartbeat_of_a_packed_node_is_no_news() {
    let (cache, mut feeder) = Cache::<Node>::new(());
    let node = |version: &str, ready: &str, heartbeat: &str| -> Node {
        serde_json::from_value(json!({
            "metadata": { "name": "a", "resourceVersion": version, "labels": {}, "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "providerID": "hollow://a" },
            "status": {
                "capacity": { "cpu": "1" },
                "conditions": [{ "type": "Ready", "status": ready, "lastHeartbeatTime": heartbeat,
                    "lastTransitionTime": "2026-01-01T00:00:00Z" }],
                "nodeInfo": { "kubeletVersion": "v1.33.1", "architecture": "amd64", "bootID": "b", "containerRuntimeVersion": "c",
                    "kernelVersion": "k", "kubeProxyVersion": "", "machineID": "m", "operatingSystem": "linux", "osImage": "o",
                    "systemUUID": "s" },
            },
        }))
        .unwrap()
    };
    assert_eq!(
        feeder
            .take(Event::Apply(node("1", "True", "2026-01-01T00:00:01Z")))
            .len(),
        1
    );
    assert!(is_packed(&cache, "a"));
    assert!(
        feeder
            .take(Event::Apply(node("2", "True", "2026-01-01T00:05:01Z")))
            .is_empty()
    );
    assert_eq!(
        feeder
            .take(Event::Apply(node("3", "False", "2026-01-01T00:06:01Z")))
            .len(),
        1
    );
    let kept = cache.find(&term::provider("hollow://a")).remove(0);
    assert_eq!(
        kept.status
            .as_ref()
            .unwrap()
            .node_info
            .as_ref()
            .unwrap()
            .kubelet_version,
        "v1.33.1"
    );
}
