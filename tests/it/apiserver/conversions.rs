//! Custom resources in several versions that a webhook converts.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
    WatchEvent, WatchParams,
};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::hooks::{Hook, answered, closed_port};
use super::{Place, cases, code, eventually, message};

cases! {
    objects_are_written_and_read_in_any_version,
    lists_and_watches_show_the_version_that_is_asked_for,
    a_write_that_changes_nothing_moves_an_object_to_the_new_version,
    a_webhook_that_is_not_there_is_told,
    what_a_webhook_must_not_do_is_told,
    a_service_is_found_by_its_endpoints,
    scales_and_states_are_converted,
    conversions_that_make_no_sense_are_refused,
    what_is_stored_has_the_form_of_its_version,
}

/// In `v1` rods have a `spec.size`, in `v2` a `spec.length` of the same number.
fn definition(place: &Place, config: &Value, stored: &str) -> Value {
    let group = format!("{}.case.test", place.namespace);
    let version = |name: &str, field: &str| {
        let schema = json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {field: {"type": "integer"}}},
            "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}}}});
        let scale =
            json!({"specReplicasPath": format!(".spec.{field}"), "statusReplicasPath": ".status.replicas"});
        json!({"name": name, "served": true, "storage": name == stored, "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}, "scale": scale}})
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("rods.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": "rods", "singular": "rod", "kind": "Rod"},
            "conversion": {"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": config}},
            "versions": [version("v1", "size"), version("v2", "length")]}
    })
}

fn definitions(place: &Place) -> Api<CustomResourceDefinition> {
    Api::all(place.client.clone())
}

fn rods(place: &Place, version: &str) -> (Api<DynamicObject>, ApiResource) {
    let group = format!("{}.case.test", place.namespace);
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(&group, version, "Rod"), "rods");
    let api = Api::namespaced_with(place.client.clone(), &place.namespace, &resource);
    (api, resource)
}

async fn install(place: &Place, config: &Value) {
    let wanted = serde_json::from_value(definition(place, config, "v1")).unwrap();
    definitions(place)
        .create(&PostParams::default(), &wanted)
        .await
        .unwrap();
    for version in ["v1", "v2"] {
        let api = rods(place, version).0;
        eventually("the kind is served", || async {
            api.list(&ListParams::default()).await.is_ok()
        })
        .await;
    }
}

async fn uninstall(place: &Place) {
    let name = format!("rods.{}.case.test", place.namespace);
    definitions(place)
        .delete(&name, &DeleteParams::default())
        .await
        .ok();
    place.end().await;
}

fn rod(place: &Place, version: &str, name: &str, spec: Value) -> DynamicObject {
    DynamicObject::new(name, &rods(place, version).1).data(json!({"spec": spec}))
}

/// Renames the field, and says in an annotation what it came from.
fn converted(review: &Value) -> Value {
    let wanted = review["request"]["desiredAPIVersion"].as_str().unwrap();
    let objects = review["request"]["objects"].as_array().unwrap().iter();
    let objects: Vec<Value> = objects
        .map(|object| {
            let mut object = object.clone();
            let (from, to) = if wanted.ends_with("/v2") {
                ("size", "length")
            } else {
                ("length", "size")
            };
            if let Some(number) = object["spec"].as_object_mut().unwrap().remove(from) {
                object["spec"][to] = number;
            }
            object["metadata"]["annotations"]["was"] = object["apiVersion"].clone();
            object["metadata"]["finalizers"] = json!(["a.webhook/may-not"]);
            object["apiVersion"] = wanted.into();
            object
        })
        .collect();
    answered(
        review,
        json!({"result": {"status": "Success"}, "convertedObjects": objects}),
    )
}

async fn what_is_stored_has_the_form_of_its_version(place: Place) {
    let hook = Hook::serve(&[], |review| {
        let mut answer = converted(review);
        for object in answer["response"]["convertedObjects"].as_array_mut().unwrap() {
            object["spec"]["unknown"] = json!(1);
        }
        Ok(answer)
    })
    .await;
    let mut wanted = definition(&place, &hook.config(), "v1");
    wanted["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["color"] =
        json!({"type": "string", "default": "red"});
    let wanted = serde_json::from_value(wanted).unwrap();
    definitions(&place)
        .create(&PostParams::default(), &wanted)
        .await
        .unwrap();
    let ((v1, _), (v2, _)) = (rods(&place, "v1"), rods(&place, "v2"));
    eventually("the kind is served", || async {
        v2.list(&ListParams::default()).await.is_ok()
    })
    .await;
    v2.create(
        &PostParams::default(),
        &rod(&place, "v2", "a", json!({"length": 4})),
    )
    .await
    .unwrap();
    assert_eq!(
        v1.get("a").await.unwrap().data["spec"],
        json!({"size": 4, "color": "red"})
    );
    uninstall(&place).await;
}

async fn objects_are_written_and_read_in_any_version(place: Place) {
    let hook = Hook::serve(&[], |review| Ok(converted(review))).await;
    install(&place, &hook.config()).await;
    let ((v1, _), (v2, _)) = (rods(&place, "v1"), rods(&place, "v2"));
    let made = v2
        .create(
            &PostParams::default(),
            &rod(&place, "v2", "a", json!({"length": 4})),
        )
        .await
        .unwrap();
    assert_eq!(made.data["spec"], json!({"length": 4}));
    assert_eq!(
        made.metadata.finalizers, None,
        "only labels and annotations change"
    );
    // Only those are counted: a real server fills a cache a version, and does so whenever it comes to it.
    let to_stored = || {
        let asked = hook.asked();
        let to_v1 = |review: &&Value| review["desiredAPIVersion"].as_str().unwrap().ends_with("/v1");
        asked.iter().filter(to_v1).count()
    };
    let before = to_stored();
    let old = v1.get("a").await.unwrap();
    assert_eq!(old.data["spec"], json!({"size": 4}));
    assert_eq!(
        to_stored(),
        before,
        "what is stored in a version needs no conversion to it"
    );
    let mut new = v2.get("a").await.unwrap();
    assert_eq!(new.data["spec"], json!({"length": 4}));
    assert_eq!(new.metadata.uid, old.metadata.uid);
    new.data["spec"]["length"] = json!(5);
    let new = v2.replace("a", &PostParams::default(), &new).await.unwrap();
    assert_eq!(
        (new.data["spec"].clone(), new.metadata.generation),
        (json!({"length": 5}), Some(2))
    );
    let patch = json!({"spec": {"length": 6}});
    v2.patch("a", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
    let old = v1.get("a").await.unwrap();
    assert_eq!(old.data["spec"], json!({"size": 6}));
    v2.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(code(v1.get("a").await), 404);
    uninstall(&place).await;
}

async fn lists_and_watches_show_the_version_that_is_asked_for(place: Place) {
    let hook = Hook::serve(&[], |review| Ok(converted(review))).await;
    install(&place, &hook.config()).await;
    let ((v1, _), (v2, _)) = (rods(&place, "v1"), rods(&place, "v2"));
    for (name, size) in [("a", 1), ("b", 2), ("c", 3)] {
        v1.create(
            &PostParams::default(),
            &rod(&place, "v1", name, json!({"size": size})),
        )
        .await
        .unwrap();
    }
    let before = hook.asked().len();
    let list = v2.list(&ListParams::default()).await.unwrap();
    let lengths: Vec<&Value> = list.iter().map(|o| &o.data["spec"]["length"]).collect();
    assert_eq!(lengths, [&json!(1), &json!(2), &json!(3)]);
    if !place.is_real() {
        assert_eq!(hook.asked().len(), before + 1, "all are converted in one review");
    }
    let version = list.metadata.resource_version.unwrap();
    let mut events = pin!(
        v2.watch(&WatchParams::default().timeout(60), &version)
            .await
            .unwrap()
    );
    v1.create(
        &PostParams::default(),
        &rod(&place, "v1", "d", json!({"size": 4})),
    )
    .await
    .unwrap();
    v1.delete("a", &DeleteParams::default()).await.unwrap();
    let mut next = async || {
        let event = tokio::time::timeout(Duration::from_secs(20), events.next()).await;
        event.expect("in time").expect("the watch goes on").unwrap()
    };
    let WatchEvent::Added(made) = next().await else {
        panic!("not made")
    };
    assert_eq!(
        (made.name_any(), &made.data["spec"]),
        ("d".to_owned(), &json!({"length": 4}))
    );
    let WatchEvent::Deleted(gone) = next().await else {
        panic!("not removed")
    };
    assert_eq!(
        (gone.name_any(), &gone.data["spec"]),
        ("a".to_owned(), &json!({"length": 1}))
    );
    uninstall(&place).await;
}

async fn a_write_that_changes_nothing_moves_an_object_to_the_new_version(place: Place) {
    let hook = Hook::serve(&[], |review| Ok(converted(review))).await;
    install(&place, &hook.config()).await;
    let (v1, _) = rods(&place, "v1");
    let made = v1
        .create(
            &PostParams::default(),
            &rod(&place, "v1", "a", json!({"size": 1})),
        )
        .await
        .unwrap();
    let name = format!("rods.{}.case.test", place.namespace);
    let versions = definition(&place, &hook.config(), "v2")["spec"]["versions"].take();
    let moved = json!({"spec": {"versions": versions}});
    let moved = definitions(&place)
        .patch(&name, &PatchParams::default(), &Patch::Merge(&moved))
        .await
        .unwrap();
    let stored = moved.status.unwrap().stored_versions;
    assert_eq!(stored, Some(vec!["v1".to_owned(), "v2".to_owned()]));
    let (v2, _) = rods(&place, "v2");
    // A real server takes a moment to store in the new version.
    let replaced = async || {
        let object = v2.get("a").await.unwrap();
        v2.replace("a", &PostParams::default(), &object).await.unwrap()
    };
    eventually("the object is written anew", || async {
        replaced().await.metadata.resource_version != made.metadata.resource_version
    })
    .await;
    let written = replaced().await;
    assert_eq!(written.data["spec"], json!({"length": 1}));
    let again = replaced().await;
    assert_eq!(
        again.metadata.resource_version, written.metadata.resource_version,
        "now nothing changes"
    );
    uninstall(&place).await;
}

async fn a_webhook_that_is_not_there_is_told(place: Place) {
    let hook = Hook::serve(&[], |review| Ok(converted(review))).await;
    install(&place, &hook.config()).await;
    let ((v1, resource), (v2, _)) = (rods(&place, "v1"), rods(&place, "v2"));
    let object = rod(&place, "v1", "a", json!({"size": 1}));
    v1.create(&PostParams::default(), &object).await.unwrap();
    let port = closed_port().await;
    let config = json!({"url": format!("https://127.0.0.1:{port}/hook"), "caBundle": hook.bundle});
    let name = format!("rods.{}.case.test", place.namespace);
    let moved = json!({"spec": {"conversion": {"webhook": {"clientConfig": config}}}});
    definitions(&place)
        .patch(&name, &PatchParams::default(), &Patch::Merge(&moved))
        .await
        .unwrap();
    let wanted = format!(
        "conversion webhook for {}/v1, Kind=Rod failed: Post \"https://127.0.0.1:{port}/hook?timeout=30s\": \
         dial tcp 127.0.0.1:{port}: connect: connection refused",
        resource.group
    );
    eventually("the webhook is not there", async || v2.get("a").await.is_err()).await;
    assert_eq!(message(v2.get("a").await), wanted);
    assert_eq!(code(v2.get("a").await), 500);
    assert!(
        v1.get("a").await.is_ok(),
        "who wants what is stored needs no webhook"
    );
    let object = rod(&place, "v2", "b", json!({"length": 1}));
    let written = v2.create(&PostParams::default(), &object).await;
    assert_eq!(message(written), wanted.replace("/v1,", "/v2,"));
    uninstall(&place).await;
}

async fn what_a_webhook_must_not_do_is_told(place: Place) {
    // The annotation says how to be bad.
    let hook = Hook::serve(&[], |review| {
        let mut answer = converted(review);
        let how = review["request"]["objects"][0]["metadata"]["annotations"]["bad"].clone();
        let response = &mut answer["response"];
        match how.as_str().unwrap_or_default() {
            "none" => response["convertedObjects"] = json!([]),
            "name" => response["convertedObjects"][0]["metadata"]["name"] = "other".into(),
            "version" => response["convertedObjects"][0]["apiVersion"] = "x.y/v3".into(),
            "uid" => response["uid"] = "other".into(),
            "says" => response["result"] = json!({"status": "Failed", "message": "too short"}),
            "code" => return Err((500, "boom".to_owned())),
            _ => {}
        }
        Ok(answer)
    })
    .await;
    install(&place, &hook.config()).await;
    let ((v1, resource), (v2, _)) = (rods(&place, "v1"), rods(&place, "v2"));
    let before = format!("conversion webhook for {}/v1, Kind=Rod", resource.group);
    let group = &resource.group;
    for (how, wanted) in [
        ("none", format!("{before} returned 0 objects, expected 1")),
        (
            "name",
            format!("{before} returned invalid object: must have the same name: name != other"),
        ),
        (
            "version",
            format!(
                "{before} returned invalid object at index 0: invalid groupVersion (expected {group}/v2, received x.y/v3)"
            ),
        ),
        ("says", format!("{before} failed: too short")),
        (
            "code",
            format!(
                "{before} failed: an error on the server (\"boom\") has prevented the request from succeeding"
            ),
        ),
    ] {
        let mut object = rod(&place, "v1", how, json!({"size": 1}));
        object.metadata.annotations = Some([("bad".to_owned(), how.to_owned())].into());
        v1.create(&PostParams::default(), &object).await.unwrap();
        assert_eq!(message(v2.get(how).await), wanted, "{how}");
    }
    let mut object = rod(&place, "v1", "uid", json!({"size": 1}));
    object.metadata.annotations = Some([("bad".to_owned(), "uid".to_owned())].into());
    v1.create(&PostParams::default(), &object).await.unwrap();
    let told = message(v2.get("uid").await);
    assert!(
        told.starts_with(&format!("{before} failed: expected response.uid=")),
        "{told}"
    );
    uninstall(&place).await;
}

async fn a_service_is_found_by_its_endpoints(place: Place) {
    if place.is_real() {
        // A real server asks the service's own address, which leads nowhere from where the cases run.
        return place.end().await;
    }
    let name = format!("hook.{}.svc", place.namespace);
    let hook = Hook::serve(&[&name], |review| Ok(converted(review))).await;
    let config = json!({"caBundle": hook.bundle, "service": {"namespace": place.namespace, "name": "hook", "path": "/convert"}});
    let wanted = serde_json::from_value(definition(&place, &config, "v1")).unwrap();
    let made = definitions(&place)
        .create(&PostParams::default(), &wanted)
        .await
        .unwrap();
    let spec = serde_json::to_value(&made.spec).unwrap();
    assert_eq!(
        spec["conversion"]["webhook"]["clientConfig"]["service"]["port"],
        443
    );
    let ((v1, resource), (v2, _)) = (rods(&place, "v1"), rods(&place, "v2"));
    v1.create(
        &PostParams::default(),
        &rod(&place, "v1", "a", json!({"size": 1})),
    )
    .await
    .unwrap();
    let before = format!(
        "conversion webhook for {}/v1, Kind=Rod failed: Post \"https://{name}:443/convert?timeout=30s\"",
        resource.group
    );
    assert_eq!(
        message(v2.get("a").await),
        format!("{before}: service \"hook\" not found")
    );
    let object = |value: Value| serde_json::from_value(value).unwrap();
    let service = json!({"metadata": {"name": "hook"}, "spec": {"clusterIP": "None", "ports": [{"name": "web", "port": 80}]}});
    let services: Api<k8s_openapi::api::core::v1::Service> = place.api();
    services
        .create(&PostParams::default(), &object(service))
        .await
        .unwrap();
    assert_eq!(
        message(v2.get("a").await),
        format!("{before}: no service port 443 found for service \"hook\"")
    );
    let ports = json!({"spec": {"ports": [{"name": "web", "port": 443, "targetPort": 8443}]}});
    services
        .patch("hook", &PatchParams::default(), &Patch::Merge(&ports))
        .await
        .unwrap();
    assert_eq!(
        message(v2.get("a").await),
        format!("{before}: no endpoints available for service \"hook\"")
    );
    let slice = json!({"metadata": {"name": "hook-1", "labels": {"kubernetes.io/service-name": "hook"}}, "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"]}], "ports": [{"name": "web", "port": hook.port}]});
    let slices: Api<k8s_openapi::api::discovery::v1::EndpointSlice> = place.api();
    slices
        .create(&PostParams::default(), &serde_json::from_value(slice).unwrap())
        .await
        .unwrap();
    assert_eq!(v2.get("a").await.unwrap().data["spec"], json!({"length": 1}));
    uninstall(&place).await;
}

async fn scales_and_states_are_converted(place: Place) {
    let hook = Hook::serve(&[], |review| Ok(converted(review))).await;
    install(&place, &hook.config()).await;
    let ((v1, _), (v2, _)) = (rods(&place, "v1"), rods(&place, "v2"));
    v1.create(
        &PostParams::default(),
        &rod(&place, "v1", "a", json!({"size": 1})),
    )
    .await
    .unwrap();
    let scale = v2.get_scale("a").await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(1));
    let wanted = json!({"spec": {"replicas": 3}});
    v2.patch_scale("a", &PatchParams::default(), &Patch::Merge(&wanted))
        .await
        .unwrap();
    let state = json!({"status": {"replicas": 2}});
    let told = v2
        .patch_status("a", &PatchParams::default(), &Patch::Merge(&state))
        .await
        .unwrap();
    assert_eq!(told.data["spec"], json!({"length": 3}));
    let old = v1.get("a").await.unwrap();
    assert_eq!(old.data, json!({"spec": {"size": 3}, "status": {"replicas": 2}}));
    uninstall(&place).await;
}

async fn conversions_that_make_no_sense_are_refused(place: Place) {
    let refused = async |conversion: Value| {
        let mut wanted = definition(&place, &json!({}), "v1");
        wanted["spec"]["conversion"] = conversion;
        let wanted = serde_json::from_value(wanted).unwrap();
        let told = message(definitions(&place).create(&PostParams::default(), &wanted).await);
        told.split_once(" is invalid: ").unwrap().1.to_owned()
    };
    assert_eq!(
        refused(json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"]}})).await,
        "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook"
    );
    assert_eq!(
        refused(json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": {"url": "http://a.b"}}})).await,
        "spec.conversion.webhookClientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]"
    );
    assert_eq!(
        refused(json!({"strategy": "None", "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": {"url": "https://a.b"}}})).await,
        "[spec.conversion.webhookClientConfig: Forbidden: should not be set when strategy is not set to Webhook, \
         spec.conversion.conversionReviewVersions: Forbidden: should not be set when strategy is not set to Webhook]"
    );
    place.end().await;
}
