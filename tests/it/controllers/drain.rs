//! How machines go while pods, budgets, hooks and volumes hold them up: real pods and budgets in the embedded server, the real loop.

use std::sync::Arc;

use k8s_openapi::{
    api::{
        apps::v1::DaemonSet,
        core::v1::{Event, Node, PersistentVolume, PersistentVolumeClaim, Pod},
        policy::v1::PodDisruptionBudget,
        storage::v1::VolumeAttachment,
    },
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use machinectl::api::v1alpha1::{DockerMachine, Machine};
use serde_json::{Value, json};

use super::{
    NAMESPACE, Place, Running,
    fake::Fake,
    lifecycle::{docker_machine, node, with_fake},
    phase, until, until_gone,
};

/// Machines with a Node each: the Node of machine `m` is `m-box`.
async fn fleet(place: &Place, names: &[&str]) -> (Arc<Fake>, Running) {
    let fake = Arc::new(Fake::default());
    let running = with_fake(place, &fake);
    for name in names {
        let node_name = format!("{name}-box");
        node(place, &node_name, Some(&format!("docker://{node_name}"))).await;
        docker_machine(place, name).await;
    }
    let machines = place.api::<Machine>();
    for name in names {
        until(&machines, name, "Running", |m: &Machine| phase(m) == "Running").await;
    }
    (fake, running)
}

/// A pod that runs on a Node.
async fn pod(place: &Place, name: &str, node: &str, app: &str, change: Value) {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": NAMESPACE, "labels": { "app": app } },
        "spec": { "nodeName": node, "containers": [{ "name": "c", "image": "i" }], "terminationGracePeriodSeconds": 0 }
    });
    json_patch::merge(&mut pod, &change);
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let pods = place.api::<Pod>();
    pods.create(&PostParams::default(), &pod).await.unwrap();
    let status =
        json!({ "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] } });
    pods.patch_status(name, &PatchParams::default(), &Patch::Merge(&status))
        .await
        .unwrap();
}

/// A budget for the pods of an app, as the disruption controller would have filled it in.
async fn budget(place: &Place, app: &str, allowed: i32) {
    place
        .create::<PodDisruptionBudget>(
            app,
            &[],
            json!({ "minAvailable": 1, "selector": { "matchLabels": { "app": app } } }),
        )
        .await;
    allow(place, app, allowed).await;
}

async fn allow(place: &Place, app: &str, allowed: i32) {
    let status = json!({ "status": {
        "observedGeneration": 1, "disruptionsAllowed": allowed, "desiredHealthy": 1, "currentHealthy": 1 + allowed, "expectedPods": 1
    } });
    place
        .api::<PodDisruptionBudget>()
        .patch_status(app, &PatchParams::default(), &Patch::Merge(&status))
        .await
        .unwrap();
}

async fn delete(place: &Place, name: &str) {
    let machines = place.api::<Machine>();
    machines.delete(name, &DeleteParams::default()).await.unwrap();
}

fn condition(machine: &Machine, type_: &str) -> Option<Condition> {
    let list = &machine.status.as_ref()?.conditions;
    list.iter().find(|c| c.type_ == type_).cloned()
}

fn reason(machine: &Machine, type_: &str) -> String {
    condition(machine, type_).map(|c| c.reason).unwrap_or_default()
}

/// Waits until a machine says why it waits.
async fn until_reason(place: &Place, name: &str, type_: &str, expected: &str) -> Machine {
    let machines = place.api::<Machine>();
    let what = format!("{type_} with reason {expected}");
    until(&machines, name, &what, |m: &Machine| reason(m, type_) == expected).await
}

/// Waits until an Event was written about a machine; returns how many there are with that reason, repetitions counted.
async fn events(place: &Place, machine: &str, reason: &str) -> i32 {
    for _ in 0..6000 {
        let all = place.api::<Event>().list(&ListParams::default()).await.unwrap();
        let count: i32 = all
            .iter()
            .filter(|e| e.reason.as_deref() == Some(reason))
            .filter(|e| e.involved_object.name.as_deref() == Some(machine))
            .map(|e| e.series.as_ref().and_then(|s| s.count).unwrap_or(1))
            .sum();
        if count > 0 {
            return count;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    0
}

#[tokio::test(flavor = "multi_thread")]
async fn d06_d07_hooks_hold_the_drain_and_then_the_host() {
    let place = Place::new().await;
    let (fake, running) = fleet(&place, &["m-1"]).await;
    pod(&place, "web", "m-1-box", "web", json!({})).await;
    let machines = place.api::<Machine>();
    let hooks = json!({ "spec": { "lifecycleHooks": {
        "preDrain": [{ "name": "backup", "owner": "backup-operator" }],
        "preTerminate": [{ "name": "snapshot", "owner": "storage-operator" }],
    } } });
    let patch = async |change: &Value| {
        machines
            .patch("m-1", &PatchParams::default(), &Patch::Merge(change))
            .await
            .unwrap();
    };
    patch(&hooks).await;
    until_reason(&place, "m-1", "Drainable", "HookPresent").await;
    delete(&place, "m-1").await;
    until_reason(&place, "m-1", "Ready", "PreDrainHook").await;
    assert_eq!(events(&place, "m-1", "DrainBlocked").await, 1);
    let pods = place.api::<Pod>();
    assert!(pods.get_opt("web").await.unwrap().is_some());
    let nodes = place.all::<Node>();
    let unschedulable = |n: &Node| n.spec.as_ref().and_then(|s| s.unschedulable) == Some(true);
    assert!(!unschedulable(&nodes.get("m-1-box").await.unwrap()));

    patch(&json!({ "spec": { "lifecycleHooks": { "preDrain": null } } })).await;
    let machine = until_reason(&place, "m-1", "Ready", "PreTerminateHook").await;
    assert_eq!(reason(&machine, "Drained"), "Drained");
    assert!(pods.get_opt("web").await.unwrap().is_none());
    assert!(unschedulable(&nodes.get("m-1-box").await.unwrap()));
    assert!(!fake.calls().contains(&"delete m-1".to_owned()));

    patch(&json!({ "spec": { "lifecycleHooks": null } })).await;
    until_gone(&machines, "m-1").await;
    assert_eq!(fake.calls().last().unwrap(), "delete m-1");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d10_d16_a_budget_holds_its_machine_and_no_other() {
    let place = Place::new().await;
    let (fake, running) = fleet(&place, &["m-1", "m-2"]).await;
    budget(&place, "web", 0).await;
    pod(&place, "web-0", "m-1-box", "web", json!({})).await;
    pod(&place, "free", "m-2-box", "free", json!({})).await;
    delete(&place, "m-1").await;
    let blocked = until_reason(&place, "m-1", "Drained", "EvictionBlocked").await;
    delete(&place, "m-2").await;
    let machines = place.api::<Machine>();
    until_gone(&machines, "m-2").await;

    let message = "1 pod has to leave Node m-1-box; blocked: fleet/web-0: \
                   The disruption budget web needs 1 healthy pods and has 1 currently";
    assert_eq!(condition(&blocked, "Drained").unwrap().message, message);
    assert_eq!(condition(&blocked, "Ready").unwrap().message, message);
    let still = machines.get("m-1").await.unwrap();
    assert_eq!(phase(&still), "Terminating");
    let node = place.all::<Node>().get("m-1-box").await.unwrap();
    assert_eq!(node.spec.unwrap().unschedulable, Some(true));
    assert!(!fake.calls().contains(&"delete m-1".to_owned()));
    assert_eq!(events(&place, "m-1", "FailedDrainNode").await, 1);

    allow(&place, "web", 1).await;
    until_gone(&machines, "m-1").await;
    assert_eq!(
        events(&place, "m-1", "FailedDrainNode").await,
        1,
        "one Event for one transition"
    );
    let web = place.api::<PodDisruptionBudget>().get("web").await.unwrap();
    assert_eq!(
        web.status.unwrap().disruptions_allowed,
        0,
        "the eviction took its place"
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d13_pods_that_belong_to_the_node_stay_on_it() {
    let place = Place::new().await;
    let (_, running) = fleet(&place, &["m-1"]).await;
    let template = json!({
        "metadata": { "labels": { "app": "agent" } },
        "spec": { "containers": [{ "name": "c", "image": "i" }] }
    });
    let agent = place
        .create::<DaemonSet>(
            "agent",
            &[],
            json!({ "selector": { "matchLabels": { "app": "agent" } }, "template": template }),
        )
        .await;
    let owner = json!({ "metadata": { "ownerReferences": [{
        "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": agent.uid(), "controller": true
    }] } });
    pod(&place, "agent", "m-1-box", "agent", owner).await;
    let mirror = json!({ "metadata": { "annotations": { "kubernetes.io/config.mirror": "x" } } });
    pod(&place, "static", "m-1-box", "static", mirror).await;
    pod(&place, "bare", "m-1-box", "bare", json!({})).await;
    let scratch = json!({ "spec": { "volumes": [{ "name": "v", "emptyDir": {} }] } });
    pod(&place, "scratch", "m-1-box", "scratch", scratch).await;
    // The hook keeps what the drain left.
    let machines = place.api::<Machine>();
    let hook = json!({ "spec": { "lifecycleHooks": { "preTerminate": [{ "name": "look", "owner": "the test" }] } } });
    machines
        .patch("m-1", &PatchParams::default(), &Patch::Merge(&hook))
        .await
        .unwrap();
    delete(&place, "m-1").await;
    until_reason(&place, "m-1", "Ready", "PreTerminateHook").await;
    let left = place.api::<Pod>().list(&ListParams::default()).await.unwrap();
    assert_eq!(super::names(&left.items), ["agent", "static"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d14_control_plane_machines_are_drained_one_after_the_other() {
    let place = Place::new().await;
    let (fake, running) = fleet(&place, &["cp-1", "cp-2", "cp-3"]).await;
    let machines = place.api::<Machine>();
    let role = json!({ "metadata": { "labels": { "node-role.kubernetes.io/control-plane": "" } } });
    for name in ["cp-1", "cp-2", "cp-3"] {
        machines
            .patch(name, &PatchParams::default(), &Patch::Merge(&role))
            .await
            .unwrap();
        until(
            &place.all::<Node>(),
            &format!("{name}-box"),
            "its role",
            |n: &Node| n.labels().contains_key("node-role.kubernetes.io/control-plane"),
        )
        .await;
    }
    budget(&place, "web", 0).await;
    pod(&place, "web-0", "cp-2-box", "web", json!({})).await;
    delete(&place, "cp-2").await;
    until_reason(&place, "cp-2", "Drained", "EvictionBlocked").await;
    delete(&place, "cp-1").await;
    let waiting = until_reason(&place, "cp-1", "Ready", "WaitingForTurn").await;
    let told = condition(&waiting, "Ready").unwrap().message;
    assert!(told.contains("cp-2"), "{told}");
    let node = place.all::<Node>().get("cp-1-box").await.unwrap();
    assert_ne!(node.spec.unwrap().unschedulable, Some(true));
    allow(&place, "web", 1).await;
    until_gone(&machines, "cp-2").await;
    until_gone(&machines, "cp-1").await;
    assert!(!fake.calls().contains(&"delete cp-3".to_owned()));
    running.stop().await;
}

/// Attaches a volume to a Node, as the attach-detach controller does.
async fn attach(place: &Place, name: &str, node: &str, volume: &str) -> Api<VolumeAttachment> {
    let attachment = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": { "name": name },
        "spec": { "attacher": "csi.example.org", "nodeName": node, "source": { "persistentVolumeName": volume } }
    });
    let attachment: VolumeAttachment = serde_json::from_value(attachment).unwrap();
    let attachments = place.all::<VolumeAttachment>();
    attachments
        .create(&PostParams::default(), &attachment)
        .await
        .unwrap();
    attachments
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_was_attached_just_now_is_waited_for_too() {
    let place = Place::new().await;
    let (fake, running) = fleet(&place, &["m-1", "m-2"]).await;
    let machines = place.api::<Machine>();
    // The volumes of the first one have just been listed when the second one gets its own.
    delete(&place, "m-1").await;
    until_gone(&machines, "m-1").await;
    let attachments = attach(&place, "csi-2", "m-2-box", "pvc-2").await;
    delete(&place, "m-2").await;
    until_reason(&place, "m-2", "VolumesDetached", "WaitingForVolumeDetach").await;
    assert!(!fake.calls().contains(&"delete m-2".to_owned()));
    attachments
        .delete("csi-2", &DeleteParams::default())
        .await
        .unwrap();
    until_gone(&machines, "m-2").await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_goes_after_the_volumes_of_its_node_are_detached() {
    let place = Place::new().await;
    let (fake, running) = fleet(&place, &["m-1"]).await;
    let attachments = attach(&place, "csi-1", "m-1-box", "pvc-1").await;
    // A pod that stays keeps its volume: it is not waited for.
    let template = json!({
        "metadata": { "labels": { "app": "agent" } },
        "spec": { "containers": [{ "name": "c", "image": "i" }] }
    });
    let agent = place
        .create::<DaemonSet>(
            "agent",
            &[],
            json!({ "selector": { "matchLabels": { "app": "agent" } }, "template": template }),
        )
        .await;
    let daemon = json!({
        "metadata": { "ownerReferences": [{
            "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": agent.uid(), "controller": true
        }] },
        "spec": { "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": "agent-data" } }] }
    });
    pod(&place, "agent", "m-1-box", "agent", daemon).await;
    let size = json!({ "requests": { "storage": "1Gi" } });
    place
        .create::<PersistentVolumeClaim>(
            "agent-data",
            &[],
            json!({ "accessModes": ["ReadWriteOnce"], "resources": size, "volumeName": "pvc-agent" }),
        )
        .await;
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": "pvc-agent" },
        "spec": { "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"],
            "csi": { "driver": "csi.example.org", "volumeHandle": "vol-agent" } }
    });
    let volume: PersistentVolume = serde_json::from_value(volume).unwrap();
    let volumes = place.all::<PersistentVolume>();
    volumes.create(&PostParams::default(), &volume).await.unwrap();
    attach(&place, "csi-agent", "m-1-box", "pvc-agent").await;
    let attached = |list: Value| json!({ "status": { "volumesAttached": list } });
    let nodes = place.all::<Node>();
    let set = async |list: Value| {
        nodes
            .patch_status("m-1-box", &PatchParams::default(), &Patch::Merge(&attached(list)))
            .await
            .unwrap();
    };
    let agents = json!({ "name": "kubernetes.io/csi/csi.example.org^vol-agent", "devicePath": "" });
    set(json!([{ "name": "kubernetes.io/csi/csi.example.org^vol-1", "devicePath": "" }, agents])).await;
    delete(&place, "m-1").await;
    let waiting = until_reason(&place, "m-1", "VolumesDetached", "WaitingForVolumeDetach").await;
    let told = condition(&waiting, "Ready").unwrap().message;
    assert_eq!(
        told,
        "1 volume is still attached to Node m-1-box: kubernetes.io/csi/csi.example.org^vol-1"
    );
    // The Node forgets a volume before it is detached.
    set(json!([agents])).await;
    let machines = place.api::<Machine>();
    until(&machines, "m-1", "the attachment", |m: &Machine| {
        condition(m, "Ready").is_some_and(|c| c.message.ends_with(": pvc-1"))
    })
    .await;
    assert!(!fake.calls().contains(&"delete m-1".to_owned()));
    attachments
        .delete("csi-1", &DeleteParams::default())
        .await
        .unwrap();
    until_gone(&machines, "m-1").await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n01_n07_a_node_without_provider_id_is_known_by_any_of_its_addresses() {
    let place = Place::new().await;
    let fake = Arc::new(Fake::default());
    let running = with_fake(&place, &fake);
    // Neither name nor provider id say that it belongs to the machine.
    node(&place, "ip-172-18-0-7", None).await;
    let addresses = json!({ "status": { "addresses": [
        { "type": "InternalIP", "address": "10.1.2.3" },
        { "type": "InternalIP", "address": "172.18.0.7" },
    ] } });
    let nodes = place.all::<Node>();
    nodes
        .patch_status(
            "ip-172-18-0-7",
            &PatchParams::default(),
            &Patch::Merge(&addresses),
        )
        .await
        .unwrap();
    docker_machine(&place, "m-1").await;
    let machines = place.api::<Machine>();
    let machine = until(&machines, "m-1", "Running", |m: &Machine| phase(m) == "Running").await;
    let linked = machine.status.unwrap().node_ref.unwrap();
    assert_eq!(linked.name.as_deref(), Some("ip-172-18-0-7"));
    until(&nodes, "ip-172-18-0-7", "its annotation", |n: &Node| {
        n.annotations().contains_key("machine.crit.sh/machine")
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n02_two_machines_with_one_provider_id_are_an_error_on_both() {
    let place = Place::new().await;
    for name in ["one", "two"] {
        place
            .create::<Machine>(name, &[], json!({ "providerID": "docker://shared" }))
            .await;
    }
    node(&place, "shared", Some("docker://shared")).await;
    // Not before: with one machine alone the Node would be its own.
    let running = place.run();
    for name in ["one", "two"] {
        let machine = until_reason(&place, name, "NodeHealthy", "DuplicateProviderID").await;
        let told = condition(&machine, "NodeHealthy").unwrap().message;
        assert_eq!(
            told,
            "Machines fleet/one, fleet/two have the same provider id docker://shared: delete or change all but one"
        );
        assert_eq!(machine.status.unwrap().node_ref, None);
        assert_eq!(events(&place, name, "DuplicateProviderID").await, 1);
    }
    let nodes = place.all::<Node>();
    let shared = nodes.get("shared").await.unwrap();
    assert!(!shared.annotations().contains_key("machine.crit.sh/machine"));
    // One goes, and the other one is linked.
    delete(&place, "one").await;
    let machines = place.api::<Machine>();
    until(&machines, "two", "Running", |m: &Machine| phase(m) == "Running").await;
    until(&nodes, "shared", "its annotation", |n: &Node| {
        n.annotations()
            .get("machine.crit.sh/machine")
            .is_some_and(|a| a.contains("\"two\""))
    })
    .await;
    assert_eq!(events(&place, "two", "DuplicateProviderID").await, 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n06_a_node_that_is_made_anew_is_linked_anew() {
    let place = Place::new().await;
    let (_, running) = fleet(&place, &["m-1"]).await;
    let machines = place.api::<Machine>();
    let uid = |m: &Machine| m.status.as_ref().and_then(|s| s.node_ref.as_ref()?.uid.clone());
    let first = uid(&machines.get("m-1").await.unwrap());
    let nodes: Api<Node> = place.all();
    nodes.delete("m-1-box", &DeleteParams::default()).await.unwrap();
    until_reason(&place, "m-1", "NodeHealthy", "NodeNotFound").await;
    let anew = node(&place, "m-1-box", Some("docker://m-1-box")).await;
    assert_ne!(anew.metadata.uid, first);
    until(&machines, "m-1", "the new Node", |m: &Machine| {
        uid(m) == anew.metadata.uid && reason(m, "Ready") == "Ready"
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_the_name_that_is_another_host_is_not_linked_and_not_deleted() {
    let place = Place::new().await;
    let (_, running) = fleet(&place, &["m-1"]).await;
    let nodes: Api<Node> = place.all();
    nodes.delete("m-1-box", &DeleteParams::default()).await.unwrap();
    until_reason(&place, "m-1", "NodeHealthy", "NodeNotFound").await;
    node(&place, "m-1-box", Some("docker://somebody-else")).await;
    delete(&place, "m-1").await;
    until_gone(&place.api::<Machine>(), "m-1").await;
    until_gone(&place.api::<DockerMachine>(), "m-1").await;
    assert!(nodes.get_opt("m-1-box").await.unwrap().is_some());
    running.stop().await;
}
