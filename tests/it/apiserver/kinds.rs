//! What is particular about built-in kinds.

use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, PropagationPolicy};
use serde_json::json;

use super::{Place, cases, code, configmap, eventually, message};

cases! {
    events_have_two_faces,
    leases_are_taken_once,
    pods_without_node_go_at_once,
    bad_objects_are_refused,
    secrets_merge_their_texts,
    ; full:
    namespaces_take_their_content_along,
}

async fn namespaces_take_their_content_along(place: Place) {
    place.needs_controllers();
    let api = place.configmaps();
    let mut held = configmap("held", &[]);
    held.metadata.finalizers = Some(vec!["case.test/hold".into()]);
    api.create(&PostParams::default(), &held).await.unwrap();
    api.create(&PostParams::default(), &configmap("free", &[]))
        .await
        .unwrap();
    let namespaces: Api<Namespace> = Api::all(place.client.clone());
    let going = namespaces
        .delete(&place.namespace, &DeleteParams::default())
        .await
        .unwrap()
        .left()
        .unwrap();
    assert_eq!(going.status.unwrap().phase.unwrap(), "Terminating");
    eventually("the free object goes", || async {
        api.get_opt("free").await.unwrap().is_none()
    })
    .await;
    assert_eq!(
        code(api.create(&PostParams::default(), &configmap("late", &[])).await),
        403
    );
    namespaces.get(&place.namespace).await.unwrap();
    eventually("the held object waits", || async {
        api.get("held")
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_some()
    })
    .await;
    let none = json!({"metadata": {"finalizers": null}});
    api.patch("held", &PatchParams::default(), &Patch::Merge(&none))
        .await
        .unwrap();
    eventually("the namespace goes", || async {
        namespaces.get_opt(&place.namespace).await.unwrap().is_none()
    })
    .await;
}

async fn pods_without_node_go_at_once(place: Place) {
    let api: Api<Pod> = place.api();
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}
    }))
    .unwrap();
    // A real server makes a pod only when its service account is there.
    eventually("the pod can be made", || async {
        api.create(&PostParams::default(), &pod).await.is_ok()
    })
    .await;
    let made = api.get("p").await.unwrap();
    assert_eq!(made.spec.unwrap().restart_policy.unwrap(), "Always");
    let status = json!({"status": {"phase": "Running"}, "spec": {"nodeName": "not-taken"}});
    let changed = api
        .patch_status("p", &PatchParams::default(), &Patch::Strategic(&status))
        .await
        .unwrap();
    assert_eq!(changed.status.unwrap().phase.unwrap(), "Running");
    assert_ne!(changed.spec.unwrap().node_name.as_deref(), Some("not-taken"));
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    };
    api.delete("p", &params).await.unwrap();
    eventually("the pod goes", || async {
        api.get_opt("p").await.unwrap().is_none()
    })
    .await;
    place.end().await;
}

async fn bad_objects_are_refused(place: Place) {
    let api = place.configmaps();
    let bad = api
        .create(&PostParams::default(), &configmap("UPPER", &[("bad/key", "v")]))
        .await;
    let text = message(bad);
    assert!(text.starts_with("ConfigMap \"UPPER\" is invalid: "), "{text}");
    assert!(text.contains("metadata.name: Invalid value: \"UPPER\""), "{text}");
    assert!(
        text.contains("data[bad/key]: Invalid value: \"bad/key\""),
        "{text}"
    );
    api.create(&PostParams::default(), &configmap("a", &[]))
        .await
        .unwrap();
    let other = json!({"metadata": {"name": "b"}});
    assert_eq!(
        message(
            api.patch("a", &PatchParams::default(), &Patch::Merge(&other))
                .await
        ),
        "the name of the object (b) does not match the name on the URL (a)"
    );
    let wrong = json!({"data": {"k": 5}});
    assert_eq!(
        code(
            api.patch("a", &PatchParams::default(), &Patch::Merge(&wrong))
                .await
        ),
        422
    );
    place.end().await;
}

async fn secrets_merge_their_texts(place: Place) {
    let api: Api<Secret> = place.api();
    let wanted: Secret = serde_json::from_value(json!({
        "metadata": {"name": "s"}, "data": {"a": "dg=="}, "stringData": {"b": "w"}
    }))
    .unwrap();
    let made = api.create(&PostParams::default(), &wanted).await.unwrap();
    assert_eq!(made.type_.as_deref(), Some("Opaque"));
    assert_eq!(made.data.unwrap()["b"].0, b"w");
    assert!(made.string_data.is_none());
    place.end().await;
}

async fn events_have_two_faces(place: Place) {
    use k8s_openapi::api::core::v1::Event;
    use kube::runtime::events::{Event as Told, EventType, Recorder, Reporter};
    let about = place
        .configmaps()
        .create(&PostParams::default(), &configmap("a", &[]))
        .await
        .unwrap();
    let recorder = Recorder::new(
        place.client.clone(),
        Reporter {
            controller: "case".into(),
            instance: None,
        },
    );
    let told = Told {
        type_: EventType::Warning,
        reason: "Reason".into(),
        note: Some("what happened".into()),
        action: "Acting".into(),
        secondary: None,
    };
    recorder
        .publish(&told, &kube::Resource::object_ref(&about, &()))
        .await
        .unwrap();
    recorder
        .publish(&told, &kube::Resource::object_ref(&about, &()))
        .await
        .unwrap();
    let old: Api<Event> = place.api();
    let of_it = kube::api::ListParams::default().fields("involvedObject.name=a,reason=Reason");
    let seen = old.list(&of_it).await.unwrap();
    assert_eq!(seen.items.len(), 1, "the second is a repetition of the first");
    assert_eq!(seen.items[0].message.as_deref(), Some("what happened"));
    assert_eq!(seen.items[0].reporting_component.as_deref(), Some("case"));
    let new: Api<k8s_openapi::api::events::v1::Event> = place.api();
    let seen = new.list(&kube::api::ListParams::default()).await.unwrap();
    assert_eq!(seen.items[0].note.as_deref(), Some("what happened"));
    assert_eq!(
        seen.items[0].regarding.as_ref().unwrap().name.as_deref(),
        Some("a")
    );
    place.end().await;
}

/// What leader election rests on: of many that take a lease at once, one gets it.
async fn leases_are_taken_once(place: Place) {
    use k8s_openapi::api::coordination::v1::Lease;
    let api: Api<Lease> = place.api();
    let lease = |holder: usize| -> Lease {
        serde_json::from_value(
            json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": holder.to_string()}}),
        )
        .unwrap()
    };
    api.create(&PostParams::default(), &lease(0)).await.unwrap();
    let free = api.get("l").await.unwrap();
    let tries = (1..=20).map(|holder| {
        let mut mine = lease(holder);
        mine.metadata
            .resource_version
            .clone_from(&free.metadata.resource_version);
        let api = api.clone();
        async move { api.replace("l", &PostParams::default(), &mine).await }
    });
    let outcomes = futures::future::join_all(tries).await;
    assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 1);
    for outcome in outcomes.into_iter().filter(Result::is_err) {
        assert_eq!(code(outcome), 409);
    }
    place.end().await;
}
