//! A move that nobody disturbs: what arrives, what it costs, and the way back.

use serde_json::json;

use super::{
    moved,
    world::{self, Size, difference, is_over, of_fleet, state},
};

pub(super) const SMALL: Size = Size {
    control_plane: 1,
    workers: 2,
};
pub(super) const WHOLE: Size = Size {
    control_plane: 3,
    workers: 20,
};

#[tokio::test]
async fn everything_arrives_as_it_was_with_status_and_owners() {
    let (source, target) = (world::full(WHOLE).await, world::empty().await);
    let before = of_fleet(&state(&source.client()).await);
    let report = moved(&source.client(), &target.client()).await.unwrap();
    let (from, to) = (state(&source.client()).await, state(&target.client()).await);
    is_over(&from, &to).unwrap();
    assert_eq!(difference(&before, &of_fleet(&to)), None);
    assert_eq!(report.objects, before.len());
    assert!(report.left.is_empty() && report.notes.is_empty(), "{report:?}");
}

#[tokio::test]
async fn long_numbers_stay_what_they_are() {
    let (source, target) = (world::full(SMALL).await, world::empty().await);
    let path = format!(
        "/apis/example.com/v1/namespaces/{}/gadgets/first",
        world::NAMESPACE
    );
    let there = world::get(&source.client(), &path).await.unwrap();
    assert_eq!(there["spec"]["ratios"], json!(world::RATIOS));
    moved(&source.client(), &target.client()).await.unwrap();
    let there = world::get(&target.client(), &path).await.unwrap();
    assert_eq!(there["spec"]["ratios"], json!(world::RATIOS));
}

#[tokio::test]
async fn a_move_costs_at_most_four_requests_an_object() {
    let size = Size {
        control_plane: 3,
        workers: 240,
    };
    let (source, target) = (world::full(size).await, world::empty().await);
    let before = of_fleet(&state(&source.client()).await);
    let report = moved(&source.client(), &target.client()).await.unwrap();
    let requests: u64 = report.requests.values().sum();
    assert!(
        requests <= 4 * report.objects as u64,
        "{requests} for {}",
        report.objects
    );
    let (from, to) = (state(&source.client()).await, state(&target.client()).await);
    assert_eq!(difference(&before, &of_fleet(&to)), None);
    is_over(&from, &of_fleet(&to)).unwrap();
}

#[tokio::test]
async fn there_and_back_again_is_as_if_nothing_had_been() {
    let (source, target) = (world::full(SMALL).await, world::empty().await);
    let before = of_fleet(&state(&source.client()).await);
    moved(&source.client(), &target.client()).await.unwrap();
    moved(&target.client(), &source.client()).await.unwrap();
    let (from, to) = (state(&target.client()).await, state(&source.client()).await);
    assert_eq!(difference(&before, &of_fleet(&to)), None);
    is_over(&from, &of_fleet(&to)).unwrap();
    // The same command again finds its work done.
    let again = moved(&target.client(), &source.client()).await.unwrap();
    assert_eq!(again.objects, 0);
}

#[tokio::test]
async fn what_stands_in_the_way_is_told_all_at_once_and_nothing_is_changed() {
    let (source, target) = (world::full(SMALL).await, world::empty().await);
    let client = target.client();
    let namespace =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": world::NAMESPACE } });
    world::send(&client, "POST", "/api/v1/namespaces", &namespace).await;
    for name in ["prod-ca", "prod-sa"] {
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name } });
        let path = format!("/api/v1/namespaces/{}/secrets", world::NAMESPACE);
        world::send(&client, "POST", &path, &secret).await;
    }
    let before = (state(&source.client()).await, state(&client).await);
    let error = moved(&source.client(), &client).await.unwrap_err().to_string();
    for told in [
        "Secret fleet/prod-ca exists in the target",
        "Secret fleet/prod-sa exists in the target",
    ] {
        assert!(error.contains(told), "{error}");
    }
    assert_eq!((state(&source.client()).await, state(&client).await), before);
}

#[tokio::test]
async fn what_would_be_lost_with_its_owner_stands_in_the_way() {
    let (source, target) = (world::full(SMALL).await, world::empty().await);
    let client = source.client();
    let of_fleet = |list: &str| format!("{list}/namespaces/{}", world::NAMESPACE);
    let cluster = format!("{}/clusters/prod", of_fleet("/apis/machine.crit.sh/v1alpha1"));
    let cluster = world::get(&client, &cluster).await.unwrap();
    let owner = json!([{
        "apiVersion": "machine.crit.sh/v1alpha1", "kind": "Cluster", "name": "prod", "uid": cluster["metadata"]["uid"],
    }]);
    world::define(&client, "Widget", &json!({})).await;
    let widget = json!({ "apiVersion": "example.com/v1", "kind": "Widget", "metadata": { "name": "w", "ownerReferences": owner } });
    let widgets = format!("{}/widgets", of_fleet("/apis/example.com/v1"));
    world::send(&client, "POST", &widgets, &widget).await;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "front", "ownerReferences": owner },
        "spec": { "ports": [{ "port": 80 }] },
    });
    let services = format!("{}/services", of_fleet("/api/v1"));
    world::send(&client, "POST", &services, &service).await;
    let before = (state(&client).await, state(&target.client()).await);
    let error = moved(&client, &target.client()).await.unwrap_err().to_string();
    for told in [
        "widgets.example.com fleet/w does not move, and would be deleted in the source with its owner Cluster.machine.crit.sh fleet/prod",
        "services fleet/front does not move",
    ] {
        assert!(error.contains(told), "{error}");
    }
    assert_eq!((state(&client).await, state(&target.client()).await), before);
    // It is told what to do about it.
    let label = json!({ "metadata": { "labels": { "machinectl.crit.sh/move": "" } } });
    let definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com";
    world::send(&client, "PATCH", definition, &label).await;
    world::define(&target.client(), "Widget", &json!({})).await;
    let free = json!({ "metadata": { "ownerReferences": null } });
    world::send(&client, "PATCH", &format!("{services}/front"), &free).await;
    moved(&client, &target.client()).await.unwrap();
    assert!(
        world::get(&target.client(), &format!("{widgets}/w"))
            .await
            .is_some()
    );
    assert!(world::get(&client, &format!("{services}/front")).await.is_some());
}

#[tokio::test]
async fn a_machine_that_comes_to_be_or_goes_is_waited_for_or_told() {
    let (source, target) = (world::full(SMALL).await, world::empty().await);
    let client = source.client();
    let path = format!(
        "/apis/machine.crit.sh/v1alpha1/namespaces/{}/machines",
        world::NAMESPACE
    );
    world::send(
        &client,
        "PATCH",
        &format!("{path}/worker-0/status"),
        &json!({ "status": { "nodeRef": null } }),
    )
    .await;
    world::send(&client, "DELETE", &format!("{path}/worker-1"), &json!({})).await;
    let before = (state(&client).await, state(&target.client()).await);
    let error = moved(&client, &target.client()).await.unwrap_err().to_string();
    assert!(error.contains("fleet/worker-0 has no Node yet"), "{error}");
    assert!(error.contains("fleet/worker-1 is being deleted"), "{error}");
    assert_eq!((state(&client).await, state(&target.client()).await), before);
}

#[tokio::test]
async fn one_cluster_is_not_moved_onto_itself_and_nothing_is_not_moved_at_all() {
    let (full, empty) = (world::full(SMALL).await, world::empty().await);
    let error = moved(&full.client(), &full.client()).await.unwrap_err();
    assert!(error.to_string().contains("the same cluster"), "{error}");
    let error = moved(&empty.client(), &full.client()).await.unwrap_err();
    assert!(error.to_string().contains("nothing to move"), "{error}");
}

#[tokio::test]
async fn a_target_without_the_kinds_says_what_to_type() {
    let source = world::full(SMALL).await;
    let target = machinectl::apiserver::Server::in_memory(std::sync::Arc::new(machinectl::time::SystemClock));
    let error = moved(&source.client(), &target.client())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("does not serve machines.machine.crit.sh in version v1alpha1"),
        "{error}"
    );
    assert!(error.contains("gadgets.example.com"), "{error}");
}

#[tokio::test]
async fn a_target_that_is_older_or_half_upgraded_says_so() {
    let (source, target) = (world::full(SMALL).await, world::empty().await);
    let inventory = |version: &str, state: &str| {
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "machinectl-inventory" },
            "data": { "version": version, "state": state } })
    };
    let namespace =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "machinectl-system" } });
    let path = "/api/v1/namespaces/machinectl-system/configmaps";
    for (client, version) in [(source.client(), "v0.3.0"), (target.client(), "v0.2.9")] {
        world::send(&client, "POST", "/api/v1/namespaces", &namespace).await;
        world::send(&client, "POST", path, &inventory(version, "Installed")).await;
    }
    let error = moved(&source.client(), &target.client())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("has machinectl v0.2.9, which is older than v0.3.0"),
        "{error}"
    );
    let upgrading = inventory("v0.2.9", "Upgrading v0.3.0");
    let path = format!("{path}/machinectl-inventory");
    world::send(&target.client(), "PUT", &path, &upgrading).await;
    let error = moved(&source.client(), &target.client())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("is being upgraded from v0.2.9 to v0.3.0"),
        "{error}"
    );
}
