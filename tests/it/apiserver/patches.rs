//! The kinds of patch, server-side apply and who manages what, the subresources `status` and `scale`.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::Api;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::rights::send;
use super::{Place, cases, code, configmap, message};

cases! {
    every_kind_of_patch_works,
    two_managers_share_an_object,
    an_apply_makes_what_is_not_there,
    lists_of_a_kind_merge_by_key,
    deployments_scale_and_count_generations,
    a_scale_that_is_none_scales_nothing,
    status_is_kept_apart,
}

fn managers(object: &impl ResourceExt) -> BTreeSet<String> {
    object
        .managed_fields()
        .iter()
        .map(|m| m.manager.clone().unwrap_or_default())
        .collect()
}

async fn every_kind_of_patch_works(place: Place) {
    let api = place.configmaps();
    api.create(
        &PostParams::default(),
        &configmap("a", &[("k", "1"), ("gone", "x")]),
    )
    .await
    .unwrap();
    let merge = json!({"data": {"k": "2", "gone": null}});
    let got = api
        .patch("a", &PatchParams::default(), &Patch::Merge(&merge))
        .await
        .unwrap();
    assert_eq!(got.data.unwrap(), [("k".to_owned(), "2".to_owned())].into());
    let operations: json_patch::Patch =
        serde_json::from_value(json!([{"op": "test", "path": "/data/k", "value": "2"}, {"op": "add", "path": "/data/l", "value": "3"}])).unwrap();
    let got = api
        .patch(
            "a",
            &PatchParams::default(),
            &Patch::Json::<ConfigMap>(operations),
        )
        .await
        .unwrap();
    assert_eq!(got.data.unwrap()["l"], "3");
    let failing: json_patch::Patch =
        serde_json::from_value(json!([{"op": "test", "path": "/data/k", "value": "no"}])).unwrap();
    assert_eq!(
        code(
            api.patch("a", &PatchParams::default(), &Patch::Json::<ConfigMap>(failing))
                .await
        ),
        422
    );
    let strategic = json!({"metadata": {"finalizers": ["case.test/a"]}});
    api.patch("a", &PatchParams::default(), &Patch::Strategic(&strategic))
        .await
        .unwrap();
    let more = json!({"metadata": {"finalizers": ["case.test/b"]}});
    let got = api
        .patch("a", &PatchParams::default(), &Patch::Strategic(&more))
        .await
        .unwrap();
    assert_eq!(got.finalizers().len(), 2, "strategic patches merge finalizers");
    let less = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["case.test/a", "case.test/b"]}});
    let got = api
        .patch("a", &PatchParams::default(), &Patch::Strategic(&less))
        .await
        .unwrap();
    assert!(got.finalizers().is_empty());
    let another = json!({"metadata": {"uid": "11111111-2222-3333-4444-555555555555"}, "data": {"k": "4"}});
    let refused = code(
        api.patch("a", &PatchParams::default(), &Patch::Strategic(&another))
            .await,
    );
    assert!(
        [409, 422].contains(&refused),
        "a patch for another object: {refused}"
    );
    assert_eq!(
        code(
            api.patch("none", &PatchParams::default(), &Patch::Merge(&json!({})))
                .await
        ),
        404
    );
    place.end().await;
}

async fn two_managers_share_an_object(place: Place) {
    let api = place.configmaps();
    let apply = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data});
    let one = apply(json!({"mine": "1", "shared": "x"}));
    api.patch("a", &PatchParams::apply("one"), &Patch::Apply(&one))
        .await
        .unwrap();
    let two = apply(json!({"yours": "2", "shared": "x"}));
    let got = api
        .patch("a", &PatchParams::apply("two"), &Patch::Apply(&two))
        .await
        .unwrap();
    assert_eq!(managers(&got), ["one".to_owned(), "two".to_owned()].into());
    let conflict = api
        .patch(
            "a",
            &PatchParams::apply("two"),
            &Patch::Apply(&apply(json!({"mine": "2"}))),
        )
        .await;
    assert_eq!(
        message(conflict),
        "Apply failed with 1 conflict: conflict with \"one\": .data.mine"
    );
    let taken = apply(json!({"mine": "2", "shared": "x"}));
    let got = api
        .patch("a", &PatchParams::apply("two").force(), &Patch::Apply(&taken))
        .await
        .unwrap();
    let data = got.data.unwrap();
    assert_eq!(data["mine"], "2");
    assert!(
        !data.contains_key("yours"),
        "what a manager no longer applies goes"
    );
    let got = api
        .patch("a", &PatchParams::apply("one"), &Patch::Apply(&apply(json!({}))))
        .await
        .unwrap();
    assert!(
        got.data.unwrap().contains_key("shared"),
        "the other manager still wants it"
    );
    // The same once more changes nothing.
    let before = api.get("a").await.unwrap();
    let after = api
        .patch("a", &PatchParams::apply("two").force(), &Patch::Apply(&taken))
        .await
        .unwrap();
    assert_eq!(before.resource_version(), after.resource_version());
    let update = json!({"data": {"mine": "3"}});
    let patched = api
        .patch(
            "a",
            &PatchParams {
                field_manager: Some("three".into()),
                ..PatchParams::default()
            },
            &Patch::Merge(&update),
        )
        .await
        .unwrap();
    assert!(managers(&patched).contains("three"));
    place.end().await;
}

async fn an_apply_makes_what_is_not_there(place: Place) {
    let api = place.configmaps();
    let wanted = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {"l": "1"}}, "data": {"k": "1"}});
    let made = api
        .patch("a", &PatchParams::apply("one"), &Patch::Apply(&wanted))
        .await
        .unwrap();
    assert_eq!(made.managed_fields().len(), 1);
    assert_eq!(made.managed_fields()[0].operation.as_deref(), Some("Apply"));
    let nameless = PatchParams {
        field_manager: None,
        ..PatchParams::default()
    };
    let bytes = serde_json::to_vec(&wanted).unwrap();
    let request = http::Request::patch(format!("/api/v1/namespaces/{}/configmaps/a", place.namespace))
        .header("Content-Type", "application/apply-patch+yaml")
        .body(bytes)
        .unwrap();
    drop(nameless);
    assert_eq!(code(place.client.request::<Value>(request).await), 422);
    let undeclared =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "nothing": {"k": "1"}});
    assert_eq!(
        code(
            api.patch("a", &PatchParams::apply("one"), &Patch::Apply(&undeclared))
                .await
        ),
        500
    );
    place.end().await;
}

async fn lists_of_a_kind_merge_by_key(place: Place) {
    let api: Api<Deployment> = place.api();
    let wanted = deployment(1);
    api.patch("d", &PatchParams::apply("one"), &Patch::Apply(&wanted))
        .await
        .unwrap();
    let more = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"template": {"spec": {"containers": [{"name": "side", "image": "s"}]}}}});
    let got = api
        .patch("d", &PatchParams::apply("two"), &Patch::Apply(&more))
        .await
        .unwrap();
    let names = |d: &Deployment| -> Vec<String> {
        d.spec
            .as_ref()
            .unwrap()
            .template
            .spec
            .as_ref()
            .unwrap()
            .containers
            .iter()
            .map(|c| c.name.clone())
            .collect()
    };
    assert_eq!(names(&got), ["main", "side"]);
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "new"}]}}}});
    let got = api
        .patch("d", &PatchParams::default(), &Patch::Strategic(&image))
        .await
        .unwrap();
    assert_eq!(names(&got).len(), 2);
    place.end().await;
}

fn deployment(replicas: i32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": "x"}},
        "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "main", "image": "i"}]}}}})
}

async fn deployments_scale_and_count_generations(place: Place) {
    let api: Api<Deployment> = place.api();
    let wanted: Deployment = serde_json::from_value(deployment(0)).unwrap();
    let made = api.create(&PostParams::default(), &wanted).await.unwrap();
    assert_eq!(made.metadata.generation, Some(1));
    let scale = api.get_scale("d").await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas.unwrap_or(0), 0);
    assert_eq!(scale.status.unwrap().selector.as_deref(), Some("app=x"));
    let wanted = json!({"spec": {"replicas": 2}});
    api.patch_scale("d", &PatchParams::default(), &Patch::Merge(&wanted))
        .await
        .unwrap();
    let got = api.get("d").await.unwrap();
    assert_eq!(got.spec.as_ref().unwrap().replicas, Some(2));
    assert_eq!(got.metadata.generation, Some(2));
    let label = json!({"metadata": {"labels": {"l": "1"}}});
    let got = api
        .patch("d", &PatchParams::default(), &Patch::Merge(&label))
        .await
        .unwrap();
    assert_eq!(got.metadata.generation, Some(2), "labels are no new generation");
    let negative = json!({"spec": {"replicas": -1}});
    assert_eq!(
        code(
            api.patch_scale("d", &PatchParams::default(), &Patch::Merge(&negative))
                .await
        ),
        422
    );
    place.end().await;
}

async fn a_scale_that_is_none_scales_nothing(place: Place) {
    let api: Api<Deployment> = place.api();
    let wanted: Deployment = serde_json::from_value(deployment(2)).unwrap();
    api.create(&PostParams::default(), &wanted).await.unwrap();
    let path = format!("/apis/apps/v1/namespaces/{}/deployments/d/scale", place.namespace);
    let scale = |spec: Value| json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": spec});
    let apply = format!("{path}?fieldManager=m&force=true");
    let cases = [
        ("PATCH", &path, json!({"spec": "x"}), 422),
        ("PATCH", &path, json!({"spec": {"replicas": "1"}}), 422),
        ("PATCH", &path, json!({"spec": {"replicas": 1_i64 << 40}}), 422),
        ("PATCH", &path, json!({"kind": "Deployment"}), 422),
        ("PATCH", &path, json!({"apiVersion": "apps/v1"}), 422),
        (
            "APPLY",
            &apply,
            // v1.20 takes what does not fit for nothing.
            scale(json!({"replicas": if place.is_real() { json!("x") } else { json!(1_i64 << 40) }})),
            500,
        ),
        (
            "APPLY",
            &apply,
            json!({"apiVersion": "apps/v1", "kind": "Scale", "spec": {"replicas": 1}}),
            400,
        ),
    ];
    for (method, path, body, wanted) in cases {
        let (code, answer) = send(&place.client, &[], method, path, &body).await;
        assert_eq!(code, wanted, "{method} {body}: {answer}");
        let left = api.get("d").await.unwrap().spec.unwrap().replicas;
        assert_eq!(left, Some(2), "{method} {body}: {answer}");
    }
    let (code, answer) = send(
        &place.client,
        &[],
        "APPLY",
        &apply,
        &scale(json!({"replicas": 3})),
    )
    .await;
    assert_eq!((code, &answer["spec"]["replicas"]), (200, &json!(3)), "{answer}");
    place.end().await;
}

async fn status_is_kept_apart(place: Place) {
    let api: Api<Node> = Api::all(place.client.clone());
    let name = format!("{}-node", place.namespace);
    let wanted: Node = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    api.create(&PostParams::default(), &wanted).await.unwrap();
    let status = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}, "spec": {"unschedulable": true}});
    let got = api
        .patch_status(&name, &PatchParams::default(), &Patch::Strategic(&status))
        .await
        .unwrap();
    assert_eq!(
        got.status
            .as_ref()
            .unwrap()
            .conditions
            .as_ref()
            .unwrap()
            .iter()
            .filter(|c| c.type_ == "Ready")
            .count(),
        1
    );
    assert_ne!(got.spec.as_ref().and_then(|s| s.unschedulable), Some(true));
    let spec = json!({"spec": {"unschedulable": true}, "status": {"conditions": []}});
    let got = api
        .patch(&name, &PatchParams::default(), &Patch::Merge(&spec))
        .await
        .unwrap();
    assert_eq!(got.spec.unwrap().unschedulable, Some(true));
    assert!(
        !got.status.unwrap().conditions.unwrap().is_empty(),
        "the status is not changed this way"
    );
    api.delete(&name, &DeleteParams::default()).await.unwrap();
    place.end().await;
}
