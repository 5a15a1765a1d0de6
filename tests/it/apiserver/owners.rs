//! What becomes of objects whose owners go.

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::{Place, cases, configmap, eventually};

cases! {
    ; full:
    dependents_go_after_their_owner,
    dependents_go_before_their_owner,
    many_dependents_go_before_their_owner,
    orphans_stay,
    one_owner_of_two_is_enough,
    an_owner_that_never_was_is_no_owner,
}

fn owned(name: &str, owners: &[&ConfigMap], block: bool) -> ConfigMap {
    let mut object = configmap(name, &[]);
    let references = owners.iter().map(|owner| OwnerReference {
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        name: owner.name_any(),
        uid: owner.uid().unwrap(),
        block_owner_deletion: Some(block),
        controller: None,
    });
    object.metadata.owner_references = Some(references.collect());
    object
}

async fn make(api: &Api<ConfigMap>, object: &ConfigMap) -> ConfigMap {
    api.create(&PostParams::default(), object).await.unwrap()
}

async fn gone(api: &Api<ConfigMap>, name: &str) {
    eventually(&format!("{name} goes"), || async {
        api.get_opt(name).await.unwrap().is_none()
    })
    .await;
}

async fn dependents_go_after_their_owner(place: Place) {
    place.needs_controllers();
    let api = place.configmaps();
    let owner = make(&api, &configmap("owner", &[])).await;
    let child = make(&api, &owned("child", &[&owner], true)).await;
    make(&api, &owned("grandchild", &[&child], true)).await;
    api.delete("owner", &DeleteParams::background()).await.unwrap();
    assert!(api.get_opt("owner").await.unwrap().is_none());
    gone(&api, "child").await;
    gone(&api, "grandchild").await;
    place.end().await;
}

async fn dependents_go_before_their_owner(place: Place) {
    place.needs_controllers();
    let api = place.configmaps();
    let owner = make(&api, &configmap("owner", &[])).await;
    let mut held = owned("held", &[&owner], true);
    held.metadata.finalizers = Some(vec!["case.test/hold".into()]);
    make(&api, &held).await;
    make(&api, &owned("free", &[&owner], true)).await;
    let shown = api
        .delete("owner", &DeleteParams::foreground())
        .await
        .unwrap()
        .left()
        .expect("it is still there");
    assert_eq!(shown.finalizers(), ["foregroundDeletion"]);
    gone(&api, "free").await;
    eventually("the held dependent is being removed", || async {
        api.get("held")
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_some()
    })
    .await;
    assert!(
        api.get("owner")
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_some(),
        "it waits for its dependent"
    );
    let none = json!({"metadata": {"finalizers": null}});
    api.patch("held", &PatchParams::default(), &Patch::Merge(&none))
        .await
        .unwrap();
    gone(&api, "held").await;
    gone(&api, "owner").await;
    place.end().await;
}

/// More than are looked through each time that one of them goes: those that are held go one by one, those that block nothing are no reason
/// to wait, and one that comes late is not forgotten.
async fn many_dependents_go_before_their_owner(place: Place) {
    place.needs_controllers();
    let api = place.configmaps();
    let owner = make(&api, &configmap("owner", &[])).await;
    let hold = |mut object: ConfigMap| {
        object.metadata.finalizers = Some(vec!["case.test/hold".into()]);
        object
    };
    let blocking: Vec<String> = (0..100).map(|n| format!("held-{n}")).collect();
    for name in &blocking {
        make(&api, &hold(owned(name, &[&owner], true))).await;
    }
    for n in 0..70 {
        make(&api, &hold(owned(&format!("beside-{n}"), &[&owner], false))).await;
    }
    api.delete("owner", &DeleteParams::foreground()).await.unwrap();
    eventually("all are told", || async {
        let all = api.list(&ListParams::default()).await.unwrap().items;
        all.iter()
            .filter(|o| !o.owner_references().is_empty())
            .all(|o| o.metadata.deletion_timestamp.is_some())
    })
    .await;
    make(&api, &owned("late", &[&owner], true)).await;
    gone(&api, "late").await;
    let none = json!({"metadata": {"finalizers": null}});
    for name in &blocking {
        assert!(
            api.get_opt("owner").await.unwrap().is_some(),
            "{name} is still there"
        );
        api.patch(name, &PatchParams::default(), &Patch::Merge(&none))
            .await
            .unwrap();
    }
    // Nobody waits for those that block nothing.
    gone(&api, "owner").await;
    for n in 0..70 {
        api.patch(
            &format!("beside-{n}"),
            &PatchParams::default(),
            &Patch::Merge(&none),
        )
        .await
        .unwrap();
    }
    for n in 0..70 {
        gone(&api, &format!("beside-{n}")).await;
    }
    place.end().await;
}

async fn orphans_stay(place: Place) {
    place.needs_controllers();
    let api = place.configmaps();
    let owner = make(&api, &configmap("owner", &[])).await;
    make(&api, &owned("child", &[&owner], true)).await;
    api.delete("owner", &DeleteParams::orphan()).await.unwrap();
    gone(&api, "owner").await;
    eventually("the reference goes", || async {
        api.get("child").await.unwrap().owner_references().is_empty()
    })
    .await;
    place.end().await;
}

async fn one_owner_of_two_is_enough(place: Place) {
    place.needs_controllers();
    let api = place.configmaps();
    let one = make(&api, &configmap("one", &[])).await;
    let two = make(&api, &configmap("two", &[])).await;
    make(&api, &owned("child", &[&one, &two], false)).await;
    api.delete("one", &DeleteParams::background()).await.unwrap();
    eventually("the reference to the absent owner goes", || async {
        api.get("child").await.unwrap().owner_references().len() == 1
    })
    .await;
    api.delete("two", &DeleteParams::background()).await.unwrap();
    gone(&api, "child").await;
    place.end().await;
}

async fn an_owner_that_never_was_is_no_owner(place: Place) {
    place.needs_controllers();
    let api = place.configmaps();
    let owner = make(&api, &configmap("owner", &[])).await;
    api.delete("owner", &DeleteParams::background()).await.unwrap();
    make(&api, &owned("late", &[&owner], false)).await;
    gone(&api, "late").await;
    place.end().await;
}
