//! What becomes of objects whose owners go.

use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};

use super::{Place, cases, configmap, eventually};

cases! {
    ; full:
    dependents_go_after_their_owner,
    dependents_go_before_their_owner,
    many_dependents_go_before_their_owner,
    orphans_stay,
    one_owner_of_two_is_enough,
    an_owner_that_never_was_is_no_owner,
    another_owner_keeps_a_dependent_when_one_goes_after_its_dependents,
    who_drops_its_owner_is_not_waited_for,
    who_no_longer_blocks_its_owner_is_not_waited_for,
    owners_of_kinds_that_are_not_served_are_not_missed,
    objects_that_own_each_other_go,
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

async fn another_owner_keeps_a_dependent_when_one_goes_after_its_dependents(place: Place) {
    place.needs_controllers();
    let api = place.configmaps();
    let one = make(&api, &configmap("one", &[])).await;
    let two = make(&api, &configmap("two", &[])).await;
    make(&api, &owned("both", &[&one, &two], true)).await;
    make(&api, &owned("single", &[&one], true)).await;
    api.delete("one", &DeleteParams::foreground()).await.unwrap();
    gone(&api, "single").await;
    gone(&api, "one").await;
    let both = api.get("both").await.unwrap();
    assert_eq!(both.metadata.deletion_timestamp, None);
    assert_eq!(both.owner_references().len(), 1);
    assert_eq!(both.owner_references()[0].name, "two");
    place.end().await;
}

async fn who_drops_its_owner_is_not_waited_for(place: Place) {
    frees(place, |_| json!(null)).await;
}

async fn who_no_longer_blocks_its_owner_is_not_waited_for(place: Place) {
    frees(place, |owner| {
        json!(owned("", &[owner], false).metadata.owner_references)
    })
    .await;
}

/// An owner waits for a dependent that is held, until the dependent names other owners.
async fn frees(place: Place, owners: impl Fn(&ConfigMap) -> Value) {
    place.needs_controllers();
    let api = place.configmaps();
    let owner = make(&api, &configmap("owner", &[])).await;
    let mut held = owned("held", &[&owner], true);
    held.metadata.finalizers = Some(vec!["case.test/hold".into()]);
    make(&api, &held).await;
    api.delete("owner", &DeleteParams::foreground()).await.unwrap();
    eventually("the dependent is being removed", || async {
        let held = api.get("held").await.unwrap();
        held.metadata.deletion_timestamp.is_some()
    })
    .await;
    assert!(api.get_opt("owner").await.unwrap().is_some());
    let free = json!({"metadata": {"ownerReferences": owners(&owner)}});
    api.patch("held", &PatchParams::default(), &Patch::Merge(&free))
        .await
        .unwrap();
    gone(&api, "owner").await;
    let none = json!({"metadata": {"finalizers": null}});
    api.patch("held", &PatchParams::default(), &Patch::Merge(&none))
        .await
        .unwrap();
    place.end().await;
}

/// Of an owner whose kind nobody knows nobody knows either whether it is there; and what is in no namespace can't have an owner in one.
async fn owners_of_kinds_that_are_not_served_are_not_missed(place: Place) {
    place.needs_controllers();
    let api = place.configmaps();
    let absent = |api_version: &str, kind: &str| OwnerReference {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        name: "absent".to_owned(),
        uid: format!("absent-{}", place.namespace),
        ..OwnerReference::default()
    };
    let mut strange = configmap("strange", &[]);
    strange.metadata.owner_references = Some(vec![absent("case.test/v1", "Stranger")]);
    make(&api, &strange).await;
    let volumes: Api<PersistentVolume> = Api::all(place.client.clone());
    let name = format!("outside-of-{}", place.namespace);
    let mut volume: PersistentVolume = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/tmp"}},
    }))
    .unwrap();
    volume.meta_mut().owner_references = Some(vec![absent("v1", "ConfigMap")]);
    volumes.create(&PostParams::default(), &volume).await.unwrap();
    let mut known = configmap("known", &[]);
    known.metadata.owner_references = Some(vec![absent("v1", "ConfigMap")]);
    // Those before this one have been looked after when it has gone; each write is looked after once more.
    for _ in 0..3 {
        make(&api, &known).await;
        gone(&api, "known").await;
        let label = json!({"metadata": {"labels": {"looked": "after"}}});
        api.patch("strange", &PatchParams::default(), &Patch::Merge(&label))
            .await
            .unwrap();
    }
    assert_eq!(
        api.get("strange").await.unwrap().metadata.deletion_timestamp,
        None
    );
    assert!(volumes.get_opt(&name).await.unwrap().is_some());
    volumes.delete(&name, &DeleteParams::default()).await.unwrap();
    place.end().await;
}

async fn objects_that_own_each_other_go(place: Place) {
    place.needs_controllers();
    let api = place.configmaps();
    for count in [1, 2, 4] {
        let mut last = make(&api, &configmap("round-0", &[])).await;
        for n in 1..count {
            last = make(&api, &owned(&format!("round-{n}"), &[&last], true)).await;
        }
        let closed =
            json!({"metadata": {"ownerReferences": owned("", &[&last], true).metadata.owner_references}});
        api.patch("round-0", &PatchParams::default(), &Patch::Merge(&closed))
            .await
            .unwrap();
        api.delete("round-0", &DeleteParams::foreground()).await.unwrap();
        for n in 0..count {
            gone(&api, &format!("round-{n}")).await;
        }
    }
    place.end().await;
}
