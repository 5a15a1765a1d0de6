//! Kubelets of hollow nodes against an API server, turn by turn, with a clock that stands still in between.

use k8s_openapi::{
    api::core::v1::{NodeSpec, NodeStatus},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::api::{ListParams, ObjectMeta};
use serde_json::Value;

use super::*;
use crate::{
    api::v1alpha1::HollowMachineSpec, apiserver::Server, providers::hollow::faults::Ready, time::ManualClock,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn renewed(second: i64) -> LeaseSpec {
    LeaseSpec {
        lease_duration_seconds: Some(15),
        renew_time: Some(MicroTime(at(second))),
        ..LeaseSpec::default()
    }
}

/// A server and the kubelets of the nodes on it, at one clock.
struct Place {
    clock: Arc<ManualClock>,
    client: Client,
    kubelets: Kubelets,
}

impl Place {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(at(1_700_000_000)));
        let client = Server::in_memory(clock.clone()).client();
        let kubelets = Kubelets::new(client.clone(), clock.clone());
        Self {
            clock,
            client,
            kubelets,
        }
    }

    fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), spec::NODE_LEASES)
    }

    /// Makes a Node and lets it live as these faults let it.
    async fn node(&self, name: &str, faults: Value) -> Node {
        let health = Health {
            ready: Ready::True,
            since: self.clock.now(),
        };
        let node = Node {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            spec: Some(NodeSpec::default()),
            status: Some(NodeStatus {
                conditions: Some(spec::conditions(health, self.clock.now())),
                ..NodeStatus::default()
            }),
        };
        let node = self.nodes().create(&PostParams::default(), &node).await.unwrap();
        self.kubelets.keep(&node, script(&node, &faults));
        node
    }

    /// Lets time pass, with a turn each second.
    async fn pass(&self, seconds: i64) {
        for _ in 0..seconds {
            self.clock.advance(SignedDuration::from_secs(1));
            self.kubelets.turn().await;
        }
    }

    /// Lets the time pass at once, with one turn at its end.
    async fn jump(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
        self.kubelets.turn().await;
    }

    async fn controller_manager(&self) {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(CONTROLLER_MANAGER.1.to_owned()),
                namespace: Some(CONTROLLER_MANAGER.0.to_owned()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                renew_time: Some(MicroTime(self.clock.now())),
                ..renewed(0)
            }),
        };
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), CONTROLLER_MANAGER.0);
        leases.create(&PostParams::default(), &lease).await.unwrap();
    }

    async fn ready(&self, name: &str) -> (String, Timestamp) {
        let node = self.nodes().get(name).await.unwrap();
        let list = node.status.unwrap().conditions.unwrap();
        assert_eq!(list.len(), 4);
        let ready = list.into_iter().find(|c| c.type_ == "Ready").unwrap();
        (ready.status, ready.last_transition_time.unwrap().0)
    }
}

fn script(node: &Node, faults: &Value) -> Script {
    let spec: HollowMachineSpec = serde_json::from_value(json!({ "faults": faults })).unwrap();
    Script::of(&node.uid().unwrap(), &spec)
}

#[tokio::test]
async fn a_node_renews_its_lease_for_a_controller_manager_and_leaves_the_taint_to_it() {
    let place = Place::new();
    place.controller_manager().await;
    let node = place.node("m-1", json!({})).await;
    // The first turn finds out who reads the Leases.
    place.pass(13).await;
    let lease = place.leases().get("m-1").await.unwrap();
    assert_eq!(
        lease.metadata.owner_references.unwrap()[0].uid,
        node.uid().unwrap()
    );
    let spec = lease.spec.unwrap();
    assert_eq!(spec.lease_duration_seconds, Some(40));
    assert_eq!(spec.holder_identity.as_deref(), Some("m-1"));
    place.pass(12).await;
    let again = place.leases().get("m-1").await.unwrap().spec.unwrap();
    assert_eq!(
        again
            .renew_time
            .unwrap()
            .0
            .duration_since(spec.renew_time.unwrap().0),
        SignedDuration::from_secs(12)
    );
    let node = place.nodes().get("m-1").await.unwrap();
    assert_eq!(spec::not_ready_taint(&node), Some(0));
}

#[tokio::test]
async fn a_node_that_nobody_judges_costs_little_and_loses_its_taint() {
    let place = Place::new();
    place.node("m-1", json!({})).await;
    let version = async || {
        place
            .nodes()
            .list(&ListParams::default())
            .await
            .unwrap()
            .metadata
            .resource_version
    };
    place.jump(600).await;
    let node = place.nodes().get("m-1").await.unwrap();
    assert_eq!(spec::not_ready_taint(&node), None);
    let lease = place.leases().get("m-1").await.unwrap().spec.unwrap();
    assert_eq!(lease.lease_duration_seconds, Some(1800));
    let before = version().await;
    for _ in 0..29 {
        place.jump(20).await;
    }
    let after = version().await;
    let writes = |v: &Option<String>| v.as_ref().unwrap().parse::<u64>().unwrap();
    assert!(
        writes(&after) - writes(&before) <= 1,
        "one renewal in ten minutes"
    );
}

#[tokio::test]
async fn a_taint_that_moved_is_found_and_others_stay() {
    let place = Place::new();
    place.node("m-1", json!({})).await;
    let taints = json!({ "spec": { "taints": [
        { "key": "dedicated", "effect": "NoSchedule" },
        { "key": spec::NOT_READY, "effect": "NoSchedule" },
    ] } });
    place
        .nodes()
        .patch("m-1", &PatchParams::default(), &Patch::Merge(&taints))
        .await
        .unwrap();
    place.jump(600).await;
    let left = place
        .nodes()
        .get("m-1")
        .await
        .unwrap()
        .spec
        .unwrap()
        .taints
        .unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].key, "dedicated");
}

#[tokio::test]
async fn a_node_turns_silent_and_speaks_again_also_for_kubelets_that_start_anew() {
    let place = Place::new();
    let born = place.clock.now();
    let faults = json!({ "notReadyPeriodically": { "healthyFor": "100s", "unhealthyFor": "50s" } });
    place.node("m-1", faults.clone()).await;
    place.jump(99).await;
    assert_eq!(place.ready("m-1").await, ("True".to_owned(), born));
    place.jump(1).await;
    let broke = born + SignedDuration::from_secs(100);
    assert_eq!(place.ready("m-1").await, ("Unknown".to_owned(), broke));

    // Nobody is there for a while: what should have been is so afterwards, since when it should have.
    let place = Place {
        kubelets: Kubelets::new(place.client.clone(), place.clock.clone()),
        ..place
    };
    place.clock.advance(SignedDuration::from_secs(65));
    let node = place.nodes().get("m-1").await.unwrap();
    place.kubelets.keep(&node, script(&node, &faults));
    place.kubelets.turn().await;
    let mended = born + SignedDuration::from_secs(150);
    assert_eq!(place.ready("m-1").await, ("True".to_owned(), mended));
    place.jump(85).await;
    assert_eq!(place.ready("m-1").await.0, "Unknown");
}

#[tokio::test]
async fn what_a_controller_manager_wrote_over_a_living_node_is_put_right() {
    let place = Place::new();
    place.node("m-1", json!({})).await;
    place.pass(1).await;
    let dead = json!({ "status": { "conditions": [
        { "type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": TAKEN_FOR_DEAD },
    ] } });
    let node = place
        .nodes()
        .patch_status("m-1", &PatchParams::default(), &Patch::Strategic(&dead))
        .await
        .unwrap();
    place.kubelets.keep(&node, script(&node, &json!({})));
    place.jump(1).await;
    assert_eq!(place.ready("m-1").await.0, "True");
    // It has no Lease of its own, and reads those of nodes.
    place.pass(30).await;
    let lease = place.leases().get("m-1").await.unwrap().spec.unwrap();
    assert_eq!(lease.lease_duration_seconds, Some(40));
}

#[tokio::test]
async fn an_instance_vanishes_with_its_lease() {
    let place = Place::new();
    place.controller_manager().await;
    place.node("m-1", json!({ "vanishAfter": "20s" })).await;
    let stays = place.node("m-2", json!({})).await;
    place.pass(19).await;
    assert!(place.leases().get_opt("m-1").await.unwrap().is_some());
    place.pass(1).await;
    assert!(place.nodes().get_opt("m-1").await.unwrap().is_none());
    assert_eq!(place.kubelets.uid("m-1", ""), None);
    // Garbage is collected in the background.
    while place.leases().get_opt("m-1").await.unwrap().is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(place.kubelets.uid("m-2", ""), stays.uid());
}

#[tokio::test]
async fn a_node_that_somebody_deleted_is_forgotten_and_its_lease_is_not_made_again() {
    let place = Place::new();
    place.controller_manager().await;
    place.node("m-1", json!({})).await;
    place.pass(13).await;
    assert!(place.leases().get_opt("m-1").await.unwrap().is_some());
    place
        .nodes()
        .delete("m-1", &DeleteParams::default())
        .await
        .unwrap();
    while place.leases().get_opt("m-1").await.unwrap().is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    place.pass(13).await;
    assert_eq!(place.kubelets.uid("m-1", ""), None);
    assert!(place.leases().get_opt("m-1").await.unwrap().is_none());
}

#[tokio::test]
async fn another_node_of_the_same_name_is_left_alone() {
    let place = Place::new();
    place.node("m-1", json!({ "vanishAfter": "20s" })).await;
    place.node("m-2", json!({ "notReadyAfter": "20s" })).await;
    for name in ["m-1", "m-2"] {
        place
            .nodes()
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
        let other = Node {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            ..Node::default()
        };
        place
            .nodes()
            .create(&PostParams::default(), &other)
            .await
            .unwrap();
    }
    place.jump(20).await;
    for name in ["m-1", "m-2"] {
        let other = place.nodes().get(name).await.unwrap();
        assert_eq!(spec::ready_of(&other), None, "{name}");
        assert_eq!(place.kubelets.uid(name, ""), None, "{name}");
    }
}

#[test]
fn a_controller_manager_is_known_by_its_lease() {
    let mut judge = Judge::default();
    assert_eq!(judge.audience(None, at(1000)), Audience::Nobody);
    assert_eq!(
        judge.audience(Some(&renewed(998)), at(1000)),
        Audience::ControllerManager
    );
    // It is gone, and its Lease still there.
    assert_eq!(judge.audience(Some(&renewed(998)), at(1100)), Audience::Nobody);
    assert_eq!(
        judge.audience(Some(&LeaseSpec::default()), at(1100)),
        Audience::Nobody
    );
}

#[test]
fn a_controller_manager_whose_clock_is_slow_is_known_at_the_second_look() {
    let mut judge = Judge::default();
    assert_eq!(judge.audience(Some(&renewed(100)), at(1000)), Audience::Nobody);
    assert_eq!(
        judge.audience(Some(&renewed(114)), at(1015)),
        Audience::ControllerManager
    );
}

#[test]
fn silence_on_purpose_tells_nothing_of_a_controller_manager() {
    let mut node = Node::default();
    assert!(!was_taken_for_dead(&node));
    let health = Health {
        ready: Ready::Unknown,
        since: at(1),
    };
    node.status.get_or_insert_default().conditions = Some(spec::conditions(health, at(1)));
    assert!(!was_taken_for_dead(&node));
}
