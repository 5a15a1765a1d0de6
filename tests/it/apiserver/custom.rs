//! Custom resource definitions: what they make the server serve, and the rules of their schemas.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::{Place, cases, code, eventually, message};

cases! {
    objects_are_pruned_and_defaulted,
    scales_have_paths,
    tables_have_their_columns,
    definitions_take_their_objects_along,
    finalizers_need_no_group,
    two_versions_show_one_object,
    ; full:
    rules_are_checked,
    generations_count_changes_of_the_spec,
    unknown_fields_are_refused_if_asked,
    discovery_tells_of_new_kinds,
    bad_definitions_are_refused,
}

/// A definition of its own for each case, so that cases do not meet: kinds are not in a namespace.
fn definition(place: &Place) -> (Value, ApiResource) {
    let group = format!("{}.case.test", place.namespace);
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer", "minimum": 0, "maximum": 10},
            "mode": {"type": "string", "enum": ["Fast", "Safe"], "default": "Safe"},
            "replicas": {"type": "integer"},
            "low": {"type": "integer"}, "high": {"type": "integer"},
            "fixed": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "fixed is fixed"}]},
            "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}},
            "x-kubernetes-validations": [{"rule": "!has(self.low) || !has(self.high) || self.low <= self.high", "message": "low must not be above high"}]},
        "status": {"type": "object", "properties": {"phase": {"type": "string"}, "replicas": {"type": "integer"}, "selector": {"type": "string"}}}}});
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
        "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}}})
    };
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("gizmos.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": "gizmos", "singular": "gizmo", "kind": "Gizmo", "shortNames": ["gz"]},
            "versions": [version("v1", true), version("v2", false)]}
    });
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(&group, "v1", "Gizmo"), "gizmos");
    (definition, resource)
}

fn definitions(place: &Place) -> Api<CustomResourceDefinition> {
    Api::all(place.client.clone())
}

pub(crate) async fn install(place: &Place) -> (Api<DynamicObject>, ApiResource) {
    let (definition, resource) = definition(place);
    let wanted: CustomResourceDefinition = serde_json::from_value(definition).unwrap();
    definitions(place)
        .create(&PostParams::default(), &wanted)
        .await
        .unwrap();
    let api: Api<DynamicObject> = Api::namespaced_with(place.client.clone(), &place.namespace, &resource);
    eventually("the kind is served", || async {
        api.list(&ListParams::default()).await.is_ok()
    })
    .await;
    (api, resource)
}

pub(crate) async fn uninstall(place: &Place, resource: &ApiResource) {
    definitions(place)
        .delete(&format!("gizmos.{}", resource.group), &DeleteParams::default())
        .await
        .ok();
    place.end().await;
}

fn gizmo(resource: &ApiResource, name: &str, spec: Value) -> DynamicObject {
    DynamicObject::new(name, resource).data(json!({"spec": spec}))
}

async fn finalizers_need_no_group(place: Place) {
    let (api, resource) = install(&place).await;
    let mut object = gizmo(&resource, "held", json!({"size": 1}));
    object.metadata.finalizers = Some(vec!["gizmo.case.test".to_owned()]);
    let made = api.create(&PostParams::default(), &object).await.unwrap();
    assert_eq!(made.finalizers(), ["gizmo.case.test"]);
    let free = json!({"metadata": {"finalizers": []}});
    api.patch("held", &PatchParams::default(), &Patch::Merge(&free))
        .await
        .unwrap();
    object.metadata.finalizers = Some(vec!["not a name".to_owned()]);
    object.metadata.name = Some("bad".to_owned());
    assert_eq!(code(api.create(&PostParams::default(), &object).await), 422);
    uninstall(&place, &resource).await;
}

async fn objects_are_pruned_and_defaulted(place: Place) {
    let (api, resource) = install(&place).await;
    let mut wanted = gizmo(&resource, "g", json!({"size": 3, "unknown": 1}));
    wanted.data["status"] = json!({"phase": "not taken"});
    let made = api.create(&PostParams::default(), &wanted).await.unwrap();
    assert_eq!(made.data, json!({"spec": {"size": 3, "mode": "Safe"}}));
    assert_eq!(made.metadata.generation, Some(1));
    uninstall(&place, &resource).await;
}

async fn rules_are_checked(place: Place) {
    place.needs_minor(29);
    let (api, resource) = install(&place).await;
    let kind = format!("Gizmo.{}", resource.group);
    let refused = |spec: Value| {
        let object = gizmo(&resource, "g", spec);
        let api = api.clone();
        async move { message(api.create(&PostParams::default(), &object).await) }
    };
    let absent = refused(json!({})).await;
    assert!(
        absent.starts_with(&format!("{kind} \"g\" is invalid: "))
            && absent.contains("spec.size: Required value"),
        "{absent}"
    );
    let large = refused(json!({"size": 11})).await;
    assert!(
        large.contains("spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10"),
        "{large}"
    );
    let slow = refused(json!({"size": 1, "mode": "Slow"})).await;
    assert!(
        slow.contains("spec.mode: Unsupported value: \"Slow\": supported values: \"Fast\", \"Safe\""),
        "{slow}"
    );
    assert!(
        refused(json!({"size": 1, "tags": ["a", "a"]}))
            .await
            .contains("spec.tags[1]: Duplicate value: \"a\"")
    );
    let above = refused(json!({"size": 1, "low": 5, "high": 4})).await;
    assert!(above.contains("low must not be above high"), "{above}");
    api.create(
        &PostParams::default(),
        &gizmo(&resource, "g", json!({"size": 1, "fixed": "a"})),
    )
    .await
    .unwrap();
    let change = json!({"spec": {"fixed": "b"}});
    let fixed = message(
        api.patch("g", &PatchParams::default(), &Patch::Merge(&change))
            .await,
    );
    assert!(
        fixed.contains("spec.fixed: Invalid value: \"b\": fixed is fixed")
            || fixed.contains("fixed is fixed"),
        "{fixed}"
    );
    uninstall(&place, &resource).await;
}

async fn generations_count_changes_of_the_spec(place: Place) {
    place.needs_minor(22);
    let (api, resource) = install(&place).await;
    api.create(&PostParams::default(), &gizmo(&resource, "g", json!({"size": 3})))
        .await
        .unwrap();
    let status = json!({"status": {"phase": "Done"}, "spec": {"size": 9}});
    let got = api
        .patch_status("g", &PatchParams::default(), &Patch::Merge(&status))
        .await
        .unwrap();
    assert_eq!(
        (got.metadata.generation, &got.data["spec"]["size"]),
        (Some(1), &json!(3))
    );
    assert_eq!(got.data["status"]["phase"], "Done");
    let spec = json!({"status": {"phase": "No"}, "spec": {"size": 4}});
    let got = api
        .patch("g", &PatchParams::default(), &Patch::Merge(&spec))
        .await
        .unwrap();
    assert_eq!(got.metadata.generation, Some(2));
    assert_eq!(got.data["status"]["phase"], "Done");
    let applied =
        json!({"apiVersion": resource.api_version, "kind": "Gizmo", "status": {"phase": "Applied"}});
    let got = api
        .patch_status("g", &PatchParams::apply("st").force(), &Patch::Apply(&applied))
        .await
        .unwrap();
    assert_eq!(
        (got.metadata.generation, &got.data["status"]["phase"]),
        (Some(2), &json!("Applied"))
    );
    let entry = got
        .managed_fields()
        .iter()
        .find(|m| m.manager.as_deref() == Some("st"))
        .unwrap();
    assert_eq!(entry.subresource.as_deref(), Some("status"));
    let mut whole = got.clone();
    whole.metadata.resource_version = None;
    assert_eq!(
        code(api.replace("g", &PostParams::default(), &whole).await),
        422,
        "an update needs a version"
    );
    uninstall(&place, &resource).await;
}

async fn unknown_fields_are_refused_if_asked(place: Place) {
    place.needs_minor(29);
    let (_api, resource) = install(&place).await;
    let body = serde_json::to_vec(&gizmo(&resource, "g", json!({"size": 3, "unknown": 1}))).unwrap();
    let path = format!(
        "/apis/{}/v1/namespaces/{}/gizmos?fieldValidation=Strict",
        resource.group, place.namespace
    );
    let request = http::Request::post(path)
        .header("Content-Type", "application/json")
        .body(body)
        .unwrap();
    let text = message(place.client.request::<Value>(request).await);
    assert!(
        text.contains("strict decoding error: unknown field \"spec.unknown\""),
        "{text}"
    );
    uninstall(&place, &resource).await;
}

async fn scales_have_paths(place: Place) {
    let (api, resource) = install(&place).await;
    api.create(
        &PostParams::default(),
        &gizmo(&resource, "g", json!({"size": 3, "replicas": 1})),
    )
    .await
    .unwrap();
    let status = json!({"status": {"replicas": 1, "selector": "a=b"}});
    api.patch_status("g", &PatchParams::default(), &Patch::Merge(&status))
        .await
        .unwrap();
    let scale = api.get_scale("g").await.unwrap();
    assert_eq!(scale.status.as_ref().unwrap().selector.as_deref(), Some("a=b"));
    assert_eq!(scale.spec.as_ref().unwrap().replicas, Some(1));
    api.patch_scale(
        "g",
        &PatchParams::default(),
        &Patch::Merge(&json!({"spec": {"replicas": 4}})),
    )
    .await
    .unwrap();
    let got = api.get("g").await.unwrap();
    assert_eq!(
        (got.metadata.generation, &got.data["spec"]["replicas"]),
        (Some(2), &json!(4))
    );
    uninstall(&place, &resource).await;
}

async fn tables_have_their_columns(place: Place) {
    let (api, resource) = install(&place).await;
    api.create(&PostParams::default(), &gizmo(&resource, "g", json!({"size": 3})))
        .await
        .unwrap();
    let request = http::Request::get(format!(
        "/apis/{}/v1/namespaces/{}/gizmos",
        resource.group, place.namespace
    ))
    .header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
    .body(Vec::new())
    .unwrap();
    let table: Value = place.client.request(request).await.unwrap();
    let names: Vec<&str> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["Name", "Size"]);
    assert_eq!(table["rows"][0]["cells"], json!(["g", 3]));
    uninstall(&place, &resource).await;
}

async fn discovery_tells_of_new_kinds(place: Place) {
    place.needs_minor(29);
    let (_api, resource) = install(&place).await;
    let gvk = GroupVersionKind::gvk(&resource.group, "v1", "Gizmo");
    let (found, _) = kube::discovery::pinned_kind(&place.client, &gvk).await.unwrap();
    assert_eq!(found.plural, "gizmos");
    let group = kube::discovery::group(&place.client, &resource.group)
        .await
        .unwrap();
    assert_eq!(group.versions().collect::<Vec<_>>(), ["v2", "v1"]);
    let paths: Value = place
        .client
        .request(http::Request::get("/openapi/v3").body(Vec::new()).unwrap())
        .await
        .unwrap();
    eventually("the schema is published", || async {
        let path = format!("apis/{}/v1", resource.group);
        let paths: Value = place
            .client
            .request(http::Request::get("/openapi/v3").body(Vec::new()).unwrap())
            .await
            .unwrap();
        paths["paths"].get(&path).is_some()
    })
    .await;
    assert!(paths["paths"].get("api/v1").is_some());
    uninstall(&place, &resource).await;
}

async fn definitions_take_their_objects_along(place: Place) {
    let (api, resource) = install(&place).await;
    let mut held = gizmo(&resource, "held", json!({"size": 3}));
    held.metadata.finalizers = Some(vec!["case.test/hold".into()]);
    api.create(&PostParams::default(), &held).await.unwrap();
    api.create(
        &PostParams::default(),
        &gizmo(&resource, "free", json!({"size": 3})),
    )
    .await
    .unwrap();
    let name = format!("gizmos.{}", resource.group);
    definitions(&place)
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    eventually("the held object waits", || async {
        api.get("held")
            .await
            .is_ok_and(|g| g.metadata.deletion_timestamp.is_some())
    })
    .await;
    definitions(&place).get(&name).await.unwrap();
    let none = json!({"metadata": {"finalizers": null}});
    api.patch("held", &PatchParams::default(), &Patch::Merge(&none))
        .await
        .unwrap();
    eventually("the definition goes", || async {
        definitions(&place).get_opt(&name).await.unwrap().is_none()
    })
    .await;
    eventually("the kind is no longer served", || async {
        api.list(&ListParams::default()).await.is_err()
    })
    .await;
    place.end().await;
}

async fn two_versions_show_one_object(place: Place) {
    let (api, resource) = install(&place).await;
    let made = api
        .create(&PostParams::default(), &gizmo(&resource, "g", json!({"size": 3})))
        .await
        .unwrap();
    let second =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(&resource.group, "v2", "Gizmo"), "gizmos");
    let other: Api<DynamicObject> = Api::namespaced_with(place.client.clone(), &place.namespace, &second);
    let got = other.get("g").await.unwrap();
    assert_eq!(got.types.as_ref().unwrap().api_version, second.api_version);
    assert_eq!(
        (got.uid(), got.resource_version()),
        (made.uid(), made.resource_version())
    );
    let listed = other.list(&ListParams::default()).await.unwrap();
    assert_eq!(
        listed.items[0].types.as_ref().unwrap().api_version,
        second.api_version
    );
    uninstall(&place, &resource).await;
}

async fn bad_definitions_are_refused(place: Place) {
    place.needs_minor(29);
    let (mut bad, _) = definition(&place);
    bad["metadata"]["name"] = "other.name".into();
    let wanted: CustomResourceDefinition = serde_json::from_value(bad).unwrap();
    let text = message(definitions(&place).create(&PostParams::default(), &wanted).await);
    assert!(
        text.contains("must be spec.names.plural+\".\"+spec.group"),
        "{text}"
    );
    let (mut bad, _) = definition(&place);
    bad["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"] =
        json!([{"rule": "bogus("}]);
    let wanted: CustomResourceDefinition = serde_json::from_value(bad).unwrap();
    assert_eq!(
        code(definitions(&place).create(&PostParams::default(), &wanted).await),
        422
    );
    place.end().await;
}
