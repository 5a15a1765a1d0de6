//! Making, reading, changing and removing objects.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;

use super::{Place, cases, code, configmap, message};

cases! {
    objects_come_and_go,
    writes_on_old_versions_are_refused,
    names_are_generated,
    lists_select_and_page,
    dry_runs_leave_nothing,
    finalizers_hold_objects,
    preconditions_guard_removals,
    many_are_removed_at_once,
    nothing_is_made_where_there_is_no_namespace,
}

async fn objects_come_and_go(place: Place) {
    let api = place.configmaps();
    let made = api
        .create(&PostParams::default(), &configmap("a", &[("k", "1")]))
        .await
        .unwrap();
    assert!(made.uid().is_some() && made.resource_version().is_some() && made.creation_timestamp().is_some());
    assert_eq!(made.metadata.generation, None);
    let got = api.get("a").await.unwrap();
    assert_eq!(got, made);
    let mut changed = got.clone();
    changed.data = Some([("k".to_owned(), "2".to_owned())].into());
    let changed = api.replace("a", &PostParams::default(), &changed).await.unwrap();
    assert_ne!(changed.resource_version(), made.resource_version());
    assert_eq!(changed.uid(), made.uid());
    assert_eq!(
        code(api.create(&PostParams::default(), &configmap("a", &[])).await),
        409
    );
    let gone = api.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(gone.is_right(), "a configmap's removal answers with a status");
    assert_eq!(code(api.get("a").await), 404);
    assert_eq!(message(api.get("a").await), "configmaps \"a\" not found");
    assert_eq!(code(api.delete("a", &DeleteParams::default()).await), 404);
    place.end().await;
}

async fn writes_on_old_versions_are_refused(place: Place) {
    let api = place.configmaps();
    let first = api
        .create(&PostParams::default(), &configmap("a", &[("k", "1")]))
        .await
        .unwrap();
    let mut second = first.clone();
    second.data.as_mut().unwrap().insert("k".into(), "2".into());
    api.replace("a", &PostParams::default(), &second).await.unwrap();
    assert_eq!(code(api.replace("a", &PostParams::default(), &first).await), 409);
    // Without a resourceVersion the newest is overwritten.
    api.replace("a", &PostParams::default(), &configmap("a", &[("k", "3")]))
        .await
        .unwrap();
    // Nothing changed: nothing written.
    let before = api.get("a").await.unwrap();
    let after = api.replace("a", &PostParams::default(), &before).await.unwrap();
    assert_eq!(before.resource_version(), after.resource_version());
    place.end().await;
}

async fn names_are_generated(place: Place) {
    let api = place.configmaps();
    let mut wanted = configmap("x", &[]);
    wanted.metadata = ObjectMeta {
        generate_name: Some("gen-".into()),
        ..ObjectMeta::default()
    };
    let one = api.create(&PostParams::default(), &wanted).await.unwrap();
    let two = api.create(&PostParams::default(), &wanted).await.unwrap();
    assert!(
        one.name_any().starts_with("gen-") && one.name_any().len() == 9,
        "{}",
        one.name_any()
    );
    assert_ne!(one.name_any(), two.name_any());
    place.end().await;
}

async fn lists_select_and_page(place: Place) {
    let api = place.configmaps();
    for n in 0..7 {
        let mut wanted = configmap(&format!("n{n}"), &[]);
        wanted.metadata.labels = Some(
            [(
                "parity".to_owned(),
                if n % 2 == 0 { "even" } else { "odd" }.to_owned(),
            )]
            .into(),
        );
        api.create(&PostParams::default(), &wanted).await.unwrap();
    }
    let names = |list: kube::core::ObjectList<ConfigMap>| -> Vec<String> {
        list.items
            .iter()
            .map(ResourceExt::name_any)
            .filter(|n| n != "kube-root-ca.crt")
            .collect()
    };
    let odd = api
        .list(&ListParams::default().labels("parity=odd"))
        .await
        .unwrap();
    assert_eq!(names(odd), ["n1", "n3", "n5"]);
    let set = api
        .list(&ListParams::default().labels("parity in (even),parity!=odd"))
        .await
        .unwrap();
    assert_eq!(names(set), ["n0", "n2", "n4", "n6"]);
    let one = api
        .list(&ListParams::default().fields("metadata.name=n4"))
        .await
        .unwrap();
    assert_eq!(names(one), ["n4"]);
    assert_eq!(
        code(api.list(&ListParams::default().fields("spec.none=1")).await),
        400
    );
    assert_eq!(code(api.list(&ListParams::default().labels("a==,")).await), 400);
    let first = api
        .list(&ListParams::default().labels("parity").limit(3))
        .await
        .unwrap();
    assert_eq!(first.items.len(), 3);
    // What happens between pages is not seen: a list is of one moment.
    api.delete("n6", &DeleteParams::default()).await.unwrap();
    let token = first.metadata.continue_.clone().unwrap();
    let second = api
        .list(
            &ListParams::default()
                .labels("parity")
                .limit(10)
                .continue_token(&token),
        )
        .await
        .unwrap();
    assert_eq!(second.metadata.resource_version, first.metadata.resource_version);
    assert_eq!(names(second), ["n3", "n4", "n5", "n6"]);
    place.end().await;
}

async fn dry_runs_leave_nothing(place: Place) {
    let api = place.configmaps();
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let made = api.create(&dry, &configmap("a", &[("k", "1")])).await.unwrap();
    assert!(made.uid().is_some() && made.resource_version().is_none());
    assert_eq!(code(api.get("a").await), 404);
    let real = api
        .create(&PostParams::default(), &configmap("a", &[("k", "1")]))
        .await
        .unwrap();
    let shown = api
        .replace("a", &dry, &configmap("a", &[("k", "2")]))
        .await
        .unwrap();
    assert_eq!(shown.data.unwrap()["k"], "2");
    api.delete("a", &DeleteParams::default().dry_run()).await.unwrap();
    assert_eq!(api.get("a").await.unwrap(), real);
    place.end().await;
}

async fn finalizers_hold_objects(place: Place) {
    let api = place.configmaps();
    let mut wanted = configmap("a", &[]);
    wanted.metadata.finalizers = Some(vec!["case.test/hold".into()]);
    api.create(&PostParams::default(), &wanted).await.unwrap();
    let held = api
        .delete("a", &DeleteParams::default())
        .await
        .unwrap()
        .left()
        .expect("the object itself");
    assert!(held.metadata.deletion_timestamp.is_some());
    assert_eq!(held.metadata.deletion_grace_period_seconds, Some(0));
    let more = json!({"metadata": {"finalizers": ["case.test/hold", "case.test/more"]}});
    assert_eq!(
        code(
            api.patch("a", &PatchParams::default(), &Patch::Merge(&more))
                .await
        ),
        422
    );
    assert!(
        message(api.create(&PostParams::default(), &configmap("a", &[])).await)
            .starts_with("object is being deleted")
    );
    let none = json!({"metadata": {"finalizers": null}});
    api.patch("a", &PatchParams::default(), &Patch::Merge(&none))
        .await
        .unwrap();
    assert_eq!(code(api.get("a").await), 404);
    place.end().await;
}

async fn preconditions_guard_removals(place: Place) {
    let api = place.configmaps();
    let made = api
        .create(&PostParams::default(), &configmap("a", &[]))
        .await
        .unwrap();
    let with = |preconditions| DeleteParams {
        preconditions: Some(preconditions),
        ..DeleteParams::default()
    };
    let other = Preconditions {
        uid: Some("not-its-uid".into()),
        resource_version: None,
    };
    assert_eq!(code(api.delete("a", &with(other)).await), 409);
    let old = Preconditions {
        uid: None,
        resource_version: Some("1".into()),
    };
    assert_eq!(code(api.delete("a", &with(old)).await), 409);
    let right = Preconditions {
        uid: made.uid(),
        resource_version: made.resource_version(),
    };
    api.delete("a", &with(right)).await.unwrap();
    place.end().await;
}

async fn many_are_removed_at_once(place: Place) {
    let api = place.configmaps();
    for n in 0..4 {
        let mut wanted = configmap(&format!("n{n}"), &[]);
        wanted.metadata.labels = Some([("which".to_owned(), (n % 2).to_string())].into());
        api.create(&PostParams::default(), &wanted).await.unwrap();
    }
    api.delete_collection(&DeleteParams::default(), &ListParams::default().labels("which=0"))
        .await
        .unwrap();
    let left = api.list(&ListParams::default().labels("which")).await.unwrap();
    assert_eq!(
        left.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(),
        ["n1", "n3"]
    );
    place.end().await;
}

async fn nothing_is_made_where_there_is_no_namespace(place: Place) {
    let api: Api<ConfigMap> = Api::namespaced(place.client.clone(), "there-is-no-such-namespace");
    let outcome = api.create(&PostParams::default(), &configmap("a", &[])).await;
    assert_eq!(
        message(outcome),
        "namespaces \"there-is-no-such-namespace\" not found"
    );
    assert!(api.list(&ListParams::default()).await.unwrap().items.is_empty());
    place.end().await;
}
