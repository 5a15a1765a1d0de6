//! Webhooks that are asked about writes.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::hooks::{Hook, answered, closed_port};
use super::{Place, cases, code, configmap, eventually, message};

cases! {
    a_webhook_changes_what_is_written,
    webhooks_are_asked_in_the_order_of_their_names_and_again_if_needed,
    a_refusal_is_told_as_the_webhook_says,
    a_review_says_all_about_a_write,
    removals_are_asked_about_one_by_one,
    a_dry_run_needs_a_webhook_without_side_effects,
    scales_states_bindings_and_evictions_are_asked_about,
    nobody_locks_the_configurations,
    another_version_of_the_same_is_asked_about,
    ; full:
    selectors_and_conditions_choose,
    a_webhook_that_fails_is_passed_over_or_not,
    who_writes_manages_what_a_webhook_adds_only_when_he_writes_it,
    configurations_that_make_no_sense_are_refused,
    what_is_no_answer_is_a_failed_call,
}

/// A rule about `ConfigMaps`.
fn configmaps(operations: &[&str]) -> Value {
    json!([{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": operations}])
}

/// A webhook that is asked about the case's own namespace only.
pub(super) fn webhook(place: &Place, name: &str, config: &Value, rules: &Value, more: Value) -> Value {
    let mut webhook = json!({
        "name": format!("{name}.case.test"), "clientConfig": config, "rules": rules, "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "timeoutSeconds": 20,
        "namespaceSelector": {"matchLabels": {"case": place.namespace}},
    });
    for (field, value) in more.as_object().unwrap() {
        webhook[field] = value.clone();
    }
    webhook
}

fn api<K: kube::Resource<Scope = kube::core::ClusterResourceScope>>(place: &Place) -> Api<K>
where
    K::DynamicType: Default,
{
    Api::all(place.client.clone())
}

/// Labels the namespace of a case, so that only its own webhooks are asked about it.
async fn label(place: &Place) {
    let label = json!({"metadata": {"labels": {"case": place.namespace}}});
    api::<Namespace>(place)
        .patch(&place.namespace, &PatchParams::default(), &Patch::Merge(&label))
        .await
        .unwrap();
}

/// Registers webhooks as one configuration, whose name is the namespace's with `suffix`.
pub(super) async fn mutating(place: &Place, suffix: &str, webhooks: &[Value]) {
    label(place).await;
    let object = json!({"metadata": {"name": format!("{}-{suffix}", place.namespace)}, "webhooks": webhooks});
    let object = serde_json::from_value(object).unwrap();
    api::<MutatingWebhookConfiguration>(place)
        .create(&PostParams::default(), &object)
        .await
        .unwrap();
}

async fn validating(place: &Place, suffix: &str, webhooks: &[Value]) {
    label(place).await;
    let object = json!({"metadata": {"name": format!("{}-{suffix}", place.namespace)}, "webhooks": webhooks});
    let object = serde_json::from_value(object).unwrap();
    api::<ValidatingWebhookConfiguration>(place)
        .create(&PostParams::default(), &object)
        .await
        .unwrap();
}

/// Waits until a webhook is asked: a real server takes a moment to see it. `ask` writes something that it is asked about.
async fn active<F: Future<Output = bool>>(ask: impl FnMut() -> F) {
    eventually("the webhook is asked", ask).await;
}

/// Removes the configurations of a case.
pub(super) async fn end(place: &Place, suffixes: &[&str]) {
    for suffix in suffixes {
        let name = format!("{}-{suffix}", place.namespace);
        let gone = DeleteParams::default();
        api::<MutatingWebhookConfiguration>(place)
            .delete(&name, &gone)
            .await
            .ok();
        api::<ValidatingWebhookConfiguration>(place)
            .delete(&name, &gone)
            .await
            .ok();
    }
    place.end().await;
}

fn allowed(review: &Value) -> Value {
    answered(review, json!({"allowed": true}))
}

pub(super) fn patched(review: &Value, patch: &Value) -> Value {
    use base64::Engine;
    let patch = base64::engine::general_purpose::STANDARD.encode(patch.to_string());
    answered(
        review,
        json!({"allowed": true, "patchType": "JSONPatch", "patch": patch}),
    )
}

async fn what_is_no_answer_is_a_failed_call(place: Place) {
    let hook = Hook::serve(&[], |review| {
        let size = &review["request"]["object"]["data"]["size"];
        Ok(match size.as_str() {
            Some("text") => json!("no"),
            Some("list") => json!([1]),
            Some("response") => {
                json!({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": "no"})
            }
            _ => answered(review, json!({"allowed": false, "status": "no"})),
        })
    })
    .await;
    for (suffix, policy) in [("f", "Fail"), ("i", "Ignore")] {
        let more = json!({"failurePolicy": policy});
        let rules = configmaps(&["CREATE"]);
        validating(
            &place,
            suffix,
            &[webhook(&place, suffix, &hook.config(), &rules, more)],
        )
        .await;
        let maps = place.configmaps();
        let dry = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        for size in ["text", "list", "response", "status"] {
            let tried = maps.create(&dry, &configmap("a", &[("size", size)])).await;
            if policy == "Ignore" {
                assert!(tried.is_ok(), "{size}: {tried:?}");
            } else {
                let told = message(tried);
                assert!(told.contains("failed calling webhook"), "{size}: {told}");
            }
        }
        let name = format!("{}-{suffix}", place.namespace);
        let gone = DeleteParams::default();
        let configurations = api::<ValidatingWebhookConfiguration>(&place);
        configurations.delete(&name, &gone).await.unwrap();
    }
    end(&place, &[]).await;
}

async fn a_webhook_changes_what_is_written(place: Place) {
    let hook = Hook::serve(&[], |review| {
        let patch = json!([{"op": "add", "path": "/data/added", "value": review["request"]["operation"]},
            {"op": "add", "path": "/unknown", "value": 1}]);
        Ok(patched(review, &patch))
    })
    .await;
    let rules = configmaps(&["CREATE", "UPDATE"]);
    mutating(
        &place,
        "m",
        &[webhook(&place, "m", &hook.config(), &rules, json!({}))],
    )
    .await;
    let maps = place.configmaps();
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    active(|| async {
        let tried = maps.create(&dry, &configmap("try", &[("a", "1")])).await;
        tried.unwrap().data.unwrap().contains_key("added")
    })
    .await;
    let made = maps
        .create(&PostParams::default(), &configmap("a", &[("a", "1")]))
        .await
        .unwrap();
    assert_eq!(made.data.unwrap()["added"], "CREATE");
    assert_eq!(maps.get("a").await.unwrap().data.unwrap()["added"], "CREATE");
    let patch = json!({"data": {"a": "2"}});
    let changed = maps
        .patch("a", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
    assert_eq!(changed.data.unwrap()["added"], "UPDATE");
    let apply =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}, "data": {"a": "1"}});
    let applied = maps
        .patch("b", &PatchParams::apply("case"), &Patch::Apply(&apply))
        .await
        .unwrap();
    assert_eq!(applied.data.unwrap()["added"], "CREATE");
    end(&place, &["m"]).await;
}

async fn webhooks_are_asked_in_the_order_of_their_names_and_again_if_needed(place: Place) {
    let noting = |letter: &'static str| {
        move |review: &Value| {
            let so_far = review["request"]["object"]["data"]["order"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            // The last one adds nothing twice, so that the second round changes nothing any more.
            let patch = json!([{"op": "add", "path": "/data/order", "value": format!("{so_far}{letter}")}]);
            Ok(patched(review, &patch))
        }
    };
    let (first, second) = (
        Hook::serve(&[], noting("a")).await,
        Hook::serve(&[], noting("b")).await,
    );
    let rules = configmaps(&["CREATE"]);
    let again = json!({"reinvocationPolicy": "IfNeeded"});
    mutating(
        &place,
        "2",
        &[webhook(&place, "a", &second.config(), &rules, json!({}))],
    )
    .await;
    mutating(
        &place,
        "1",
        &[webhook(&place, "z", &first.config(), &rules, again)],
    )
    .await;
    let maps = place.configmaps();
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    active(|| async {
        let tried = maps.create(&dry, &configmap("try", &[("order", "-")])).await;
        tried.unwrap().data.unwrap()["order"].len() > 3
    })
    .await;
    let made = maps
        .create(&PostParams::default(), &configmap("a", &[("order", "-")]))
        .await
        .unwrap();
    // The first is asked again, because the second has changed what it saw; the second is not.
    assert_eq!(made.data.unwrap()["order"], "-aba");
    end(&place, &["1", "2"]).await;
}

async fn a_refusal_is_told_as_the_webhook_says(place: Place) {
    let hook = Hook::serve(&[], |review| {
        let object = &review["request"]["object"];
        let mut answer = json!({"allowed": false, "warnings": ["a word of warning"]});
        match object["data"]["how"].as_str().unwrap_or_default() {
            "plain" => {}
            "code" => {
                answer["status"] = json!({"code": 418, "reason": "Teapot", "message": "short and stout"});
            }
            "ok" => answer = json!({"allowed": true}),
            _ => answer["status"] = json!({"message": "no"}),
        }
        Ok(answered(review, answer))
    })
    .await;
    let rules = configmaps(&["CREATE"]);
    validating(
        &place,
        "v",
        &[webhook(&place, "v", &hook.config(), &rules, json!({}))],
    )
    .await;
    let maps = place.configmaps();
    let create = async |how: &str| {
        maps.create(&PostParams::default(), &configmap("a", &[("how", how)]))
            .await
    };
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    active(|| async { maps.create(&dry, &configmap("try", &[])).await.is_err() }).await;
    let denied = "admission webhook \"v.case.test\" denied the request";
    assert_eq!(
        message(create("plain").await),
        format!("{denied} without explanation")
    );
    assert_eq!(code(create("plain").await), 400);
    assert_eq!(message(create("").await), format!("{denied}: no"));
    match create("code").await {
        Err(kube::Error::Api(status)) => {
            assert_eq!(status.message, format!("{denied}: short and stout"));
            assert_eq!((status.code, status.reason.as_str()), (418, "Teapot"));
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
    create("ok").await.unwrap();
    end(&place, &["v"]).await;
}

async fn a_review_says_all_about_a_write(place: Place) {
    let hook = Hook::serve(&[], |review| Ok(allowed(review))).await;
    let rules = configmaps(&["CREATE", "UPDATE"]);
    validating(
        &place,
        "v",
        &[webhook(&place, "v", &hook.config(), &rules, json!({}))],
    )
    .await;
    let maps = place.configmaps();
    active(|| async {
        let tried = configmap("try", &[]);
        maps.create(&PostParams::default(), &tried).await.ok();
        maps.delete("try", &DeleteParams::default()).await.ok();
        !hook.asked().is_empty()
    })
    .await;
    let before = hook.asked().len();
    let named = PostParams {
        field_manager: Some("case".to_owned()),
        ..PostParams::default()
    };
    maps.create(&named, &configmap("a", &[("a", "1")])).await.unwrap();
    let patch = json!({"data": {"a": "2"}});
    let dry = PatchParams::default().dry_run();
    maps.patch("a", &dry, &Patch::Merge(&patch)).await.unwrap();
    let asked = &hook.asked()[before..];
    let (made, changed) = (&asked[0], &asked[1]);
    let of = |kind: &str| json!({"group": "", "version": "v1", "kind": kind});
    let resource = json!({"group": "", "version": "v1", "resource": "configmaps"});
    for request in [made, changed] {
        assert_eq!(
            (&request["kind"], &request["requestKind"]),
            (&of("ConfigMap"), &of("ConfigMap"))
        );
        assert_eq!(
            (&request["resource"], &request["requestResource"]),
            (&resource, &resource)
        );
        assert_eq!(
            (&request["name"], &request["namespace"]),
            (&json!("a"), &json!(place.namespace))
        );
        assert!(
            request["userInfo"]["groups"]
                .as_array()
                .unwrap()
                .contains(&json!("system:authenticated"))
        );
        assert_eq!(request.get("subResource"), None);
    }
    assert_eq!(made["operation"], "CREATE");
    assert_eq!(made["oldObject"], Value::Null);
    assert_eq!(made["object"]["data"], json!({"a": "1"}));
    assert!(made["object"]["metadata"]["uid"].is_string());
    assert_eq!(made["dryRun"], false);
    assert_eq!(made["options"]["kind"], "CreateOptions");
    assert_eq!(made["options"]["fieldManager"], "case");
    assert_eq!(changed["operation"], "UPDATE");
    assert_eq!(changed["oldObject"]["data"], json!({"a": "1"}));
    assert_eq!(changed["object"]["data"], json!({"a": "2"}));
    assert_eq!(changed["dryRun"], true);
    assert_eq!(
        (&changed["options"]["kind"], &changed["options"]["dryRun"]),
        (&json!("UpdateOptions"), &json!(["All"]))
    );
    end(&place, &["v"]).await;
}

async fn removals_are_asked_about_one_by_one(place: Place) {
    let hook = Hook::serve(&[], |review| {
        let held = review["request"]["oldObject"]["data"]["held"] == "yes";
        Ok(answered(review, json!({"allowed": !held})))
    })
    .await;
    let rules = configmaps(&["DELETE"]);
    validating(
        &place,
        "v",
        &[webhook(&place, "v", &hook.config(), &rules, json!({}))],
    )
    .await;
    let maps = place.configmaps();
    maps.create(&PostParams::default(), &configmap("held", &[("held", "yes")]))
        .await
        .unwrap();
    for name in ["a", "b"] {
        maps.create(&PostParams::default(), &configmap(name, &[]))
            .await
            .unwrap();
    }
    let gone = DeleteParams::default();
    let dry = gone.clone().dry_run();
    active(|| async { maps.delete("held", &dry).await.is_err() }).await;
    let told = message(maps.delete("held", &gone).await);
    assert_eq!(
        told,
        "admission webhook \"v.case.test\" denied the request without explanation"
    );
    let last = hook.asked().pop().unwrap();
    assert_eq!(
        (&last["operation"], &last["object"], &last["name"]),
        (&json!("DELETE"), &Value::Null, &json!("held"))
    );
    assert_eq!(last["options"]["kind"], "DeleteOptions");
    let all = maps.delete_collection(&gone, &ListParams::default()).await;
    assert_eq!(code(all.map(|_| ())), 400);
    assert_eq!(maps.get("held").await.unwrap().data.unwrap()["held"], "yes");
    end(&place, &["v"]).await;
}

async fn selectors_and_conditions_choose(place: Place) {
    let hook = Hook::serve(&[], |review| Ok(answered(review, json!({"allowed": false})))).await;
    let rules = configmaps(&["CREATE"]);
    let conditions = json!([{"name": "one", "expression": "object.data.why == 'asked' && request.operation == 'CREATE'"},
        {"name": "two", "expression": "!has(oldObject.data)"}]);
    let chosen = json!({"objectSelector": {"matchLabels": {"asked": "yes"}}});
    validating(
        &place,
        "v",
        &[
            webhook(&place, "labels", &hook.config(), &rules, chosen),
            webhook(
                &place,
                "conditions",
                &hook.config(),
                &rules,
                json!({"matchConditions": [conditions[0]]}),
            ),
        ],
    )
    .await;
    let maps = place.configmaps();
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let tried = async |label: &str, why: &str| {
        let mut object = configmap("try", &[("why", why)]);
        object.metadata.labels = Some([("asked".to_owned(), label.to_owned())].into());
        maps.create(&dry, &object).await
    };
    active(|| async { tried("yes", "").await.is_err() }).await;
    assert!(message(tried("yes", "").await).starts_with("admission webhook \"labels.case.test\""));
    assert!(message(tried("no", "asked").await).starts_with("admission webhook \"conditions.case.test\""));
    assert!(tried("no", "other").await.is_ok());
    // What can't be evaluated is not passed over.
    let told = message(maps.create(&dry, &configmap("bare", &[])).await);
    assert_eq!(
        told,
        "configmaps \"bare\" is forbidden: expression 'object.data.why == 'asked' && request.operation == 'CREATE'' resulted in error: no such key: data"
    );
    end(&place, &["v"]).await;
}

async fn a_webhook_that_fails_is_passed_over_or_not(place: Place) {
    let hook = Hook::serve(&[], |_| Err((500, "boom".to_owned()))).await;
    let port = closed_port().await;
    let away = json!({"url": format!("https://127.0.0.1:{port}/hook"), "caBundle": hook.bundle});
    let other = Hook::serve(&[], |review| Ok(allowed(review))).await;
    let stranger = json!({"url": other.config()["url"], "caBundle": hook.bundle});
    let rules = configmaps(&["CREATE"]);
    let on = |word: &str| json!({"objectSelector": {"matchLabels": {"on": word}}});
    let mut ignored = on("away");
    ignored["failurePolicy"] = "Ignore".into();
    ignored["objectSelector"] = json!({});
    validating(
        &place,
        "v",
        &[
            webhook(&place, "away", &away, &rules, on("away")),
            webhook(&place, "boom", &hook.config(), &rules, on("boom")),
            webhook(&place, "stranger", &stranger, &rules, on("stranger")),
            webhook(&place, "ignored", &away, &rules, ignored),
        ],
    )
    .await;
    let maps = place.configmaps();
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let tried = async |word: &str| {
        let mut object = configmap("try", &[]);
        object.metadata.labels = Some([("on".to_owned(), word.to_owned())].into());
        maps.create(&dry, &object).await
    };
    active(|| async { tried("away").await.is_err() }).await;
    assert_eq!(
        message(tried("away").await),
        format!(
            "Internal error occurred: failed calling webhook \"away.case.test\": failed to call webhook: \
             Post \"https://127.0.0.1:{port}/hook?timeout=20s\": dial tcp 127.0.0.1:{port}: connect: connection refused"
        )
    );
    assert_eq!(code(tried("away").await), 500);
    assert_eq!(
        message(tried("boom").await),
        "Internal error occurred: failed calling webhook \"boom.case.test\": failed to call webhook: \
         an error on the server (\"boom\") has prevented the request from succeeding"
    );
    let told = message(tried("stranger").await);
    assert!(
        told.contains("tls: failed to verify certificate: x509: certificate signed by unknown authority"),
        "{told}"
    );
    assert!(tried("nothing").await.is_ok());
    end(&place, &["v"]).await;
}

async fn a_dry_run_needs_a_webhook_without_side_effects(place: Place) {
    let hook = Hook::serve(&[], |review| Ok(allowed(review))).await;
    let rules = configmaps(&["CREATE"]);
    let more = json!({"sideEffects": "NoneOnDryRun"});
    mutating(&place, "m", &[webhook(&place, "m", &hook.config(), &rules, more)]).await;
    let maps = place.configmaps();
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    active(|| async {
        maps.create(&dry, &configmap("try", &[])).await.unwrap();
        !hook.asked().is_empty()
    })
    .await;
    assert_eq!(hook.asked()[0]["dryRun"], true);
    // Nobody may register one that has side effects, so that a dry run could not happen.
    let wanted = webhook(
        &place,
        "x",
        &hook.config(),
        &rules,
        json!({"sideEffects": "Some"}),
    );
    let object = json!({"metadata": {"name": format!("{}-x", place.namespace)}, "webhooks": [wanted]});
    let object = serde_json::from_value(object).unwrap();
    let told = message(
        api::<MutatingWebhookConfiguration>(&place)
            .create(&PostParams::default(), &object)
            .await,
    );
    assert!(
        told.ends_with(
            "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\""
        ),
        "{told}"
    );
    end(&place, &["m"]).await;
}

async fn scales_states_bindings_and_evictions_are_asked_about(place: Place) {
    let hook = Hook::serve(&[], |review| {
        let request = &review["request"];
        Ok(match request["subResource"].as_str().unwrap_or_default() {
            "scale" => {
                let patch = json!([{"op": "replace", "path": "/spec/replicas", "value": 3}]);
                patched(review, &patch)
            }
            _ => allowed(review),
        })
    })
    .await;
    let rules = json!([{"apiGroups": ["", "apps"], "apiVersions": ["v1"], "operations": ["*"],
        "resources": ["deployments/*", "pods/*"]}]);
    mutating(
        &place,
        "m",
        &[webhook(&place, "m", &hook.config(), &rules, json!({}))],
    )
    .await;
    let deployments: Api<Deployment> = place.api();
    let template =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let wanted = json!({"metadata": {"name": "d"}, "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template}});
    deployments
        .create(&PostParams::default(), &serde_json::from_value(wanted).unwrap())
        .await
        .unwrap();
    let scaled = json!({"spec": {"replicas": 1}});
    let merge = PatchParams::default();
    active(|| async {
        deployments
            .patch_scale("d", &merge, &Patch::Merge(&scaled))
            .await
            .unwrap();
        deployments.get("d").await.unwrap().spec.unwrap().replicas == Some(3)
    })
    .await;
    let scale = hook.asked().pop().unwrap();
    assert_eq!(
        scale["kind"],
        json!({"group": "autoscaling", "version": "v1", "kind": "Scale"})
    );
    assert_eq!(scale["object"]["spec"], json!({"replicas": 1}));
    let state = json!({"status": {"observedGeneration": 1}});
    deployments
        .patch_status("d", &merge, &Patch::Merge(&state))
        .await
        .unwrap();
    let asked = hook.asked().pop().unwrap();
    assert_eq!(
        (&asked["subResource"], &asked["kind"]["kind"]),
        (&json!("status"), &json!("Deployment"))
    );
    if !place.is_real() {
        let pods: Api<Pod> = place.api();
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap())
            .await
            .unwrap();
        let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
        pods.create_subresource::<Value, Value>("binding", "p", &PostParams::default(), &binding)
            .await
            .unwrap();
        pods.evict("p", &kube::api::EvictParams::default()).await.unwrap();
        let asked = hook.asked();
        let last: Vec<_> = asked[asked.len() - 2..]
            .iter()
            .map(|a| {
                (
                    a["operation"].clone(),
                    a["subResource"].clone(),
                    a["kind"]["kind"].clone(),
                )
            })
            .collect();
        assert_eq!(
            last,
            [
                (json!("CREATE"), json!("binding"), json!("Binding")),
                (json!("CREATE"), json!("eviction"), json!("Eviction")),
            ]
        );
    }
    end(&place, &["m"]).await;
}

async fn who_writes_manages_what_a_webhook_adds_only_when_he_writes_it(place: Place) {
    let hook = Hook::serve(&[], |review| {
        let patch = json!([{"op": "add", "path": "/data/added", "value": "1"}]);
        Ok(patched(review, &patch))
    })
    .await;
    let rules = configmaps(&["CREATE"]);
    mutating(
        &place,
        "m",
        &[webhook(&place, "m", &hook.config(), &rules, json!({}))],
    )
    .await;
    let maps = place.configmaps();
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    active(|| async {
        let tried = maps.create(&dry, &configmap("try", &[("a", "1")])).await;
        tried.unwrap().data.unwrap().contains_key("added")
    })
    .await;
    let apply =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}, "data": {"a": "1"}});
    let applied = maps
        .patch("b", &PatchParams::apply("case"), &Patch::Apply(&apply))
        .await
        .unwrap();
    let managers = applied.metadata.managed_fields.unwrap();
    let fields = serde_json::to_value(&managers[0].fields_v1).unwrap();
    assert_eq!(fields["f:data"], json!({"f:a": {}}));
    end(&place, &["m"]).await;
}

async fn nobody_locks_the_configurations(place: Place) {
    let hook = Hook::serve(&[], |review| Ok(answered(review, json!({"allowed": false})))).await;
    let rules = json!([{"apiGroups": ["admissionregistration.k8s.io"], "apiVersions": ["*"], "operations": ["*"],
        "resources": ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"]}]);
    let webhooks = [webhook(&place, "v", &hook.config(), &rules, json!({}))];
    validating(&place, "v", &webhooks).await;
    let name = format!("{}-v", place.namespace);
    let label = json!({"metadata": {"labels": {"changed": "yes"}}});
    let all = api::<ValidatingWebhookConfiguration>(&place);
    all.patch(&name, &PatchParams::default(), &Patch::Merge(&label))
        .await
        .unwrap();
    all.delete(&name, &DeleteParams::default()).await.unwrap();
    assert!(hook.asked().is_empty());
    end(&place, &[]).await;
}

async fn another_version_of_the_same_is_asked_about(place: Place) {
    let (rods, resource) = super::custom::install(&place).await;
    let hook = Hook::serve(&[], |review| {
        let patch = json!([{"op": "replace", "path": "/spec/size", "value": 7}]);
        Ok(patched(review, &patch))
    })
    .await;
    let rules = json!([{"apiGroups": [resource.group], "apiVersions": ["v2"], "operations": ["CREATE"], "resources": ["gizmos"]}]);
    mutating(
        &place,
        "m",
        &[webhook(&place, "m", &hook.config(), &rules, json!({}))],
    )
    .await;
    let object = kube::api::DynamicObject::new("a", &resource).data(json!({"spec": {"size": 1}}));
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    active(|| async { rods.create(&dry, &object).await.unwrap().data["spec"]["size"] == 7 }).await;
    let made = rods.create(&PostParams::default(), &object).await.unwrap();
    assert_eq!(made.data["spec"]["size"], 7);
    assert!(made.types.unwrap().api_version.ends_with("/v1"));
    let asked = hook.asked().pop().unwrap();
    assert_eq!(
        (&asked["kind"]["version"], &asked["requestKind"]["version"]),
        (&json!("v2"), &json!("v1"))
    );
    assert!(asked["object"]["apiVersion"].as_str().unwrap().ends_with("/v2"));
    api::<MutatingWebhookConfiguration>(&place)
        .delete(&format!("{}-m", place.namespace), &DeleteParams::default())
        .await
        .unwrap();
    super::custom::uninstall(&place, &resource).await;
}

async fn configurations_that_make_no_sense_are_refused(place: Place) {
    let name = place.namespace.clone();
    let refused = async |webhook: Value| {
        let object = json!({"metadata": {"name": name}, "webhooks": [webhook]});
        let object = serde_json::from_value(object).unwrap();
        let told = message(
            api::<ValidatingWebhookConfiguration>(&place)
                .create(&PostParams::default(), &object)
                .await,
        );
        told.split_once(" is invalid: ").unwrap().1.to_owned()
    };
    let good = webhook(
        &place,
        "v",
        &json!({"url": "https://a.b/c"}),
        &configmaps(&["CREATE"]),
        json!({}),
    );
    let with = |field: &str, value: Value| {
        let mut webhook = good.clone();
        webhook[field] = value;
        webhook
    };
    assert_eq!(
        refused(with("name", json!("short"))).await,
        "webhooks[0].name: Invalid value: \"short\": should be a domain with at least three segments separated by dots"
    );
    assert_eq!(
        refused(with("timeoutSeconds", json!(31))).await,
        "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"
    );
    assert_eq!(
        refused(with("clientConfig", json!({}))).await,
        "webhooks[0].clientConfig: Required value: exactly one of url or service is required"
    );
    assert_eq!(
        refused(with("rules", configmaps(&["MAKE"]))).await,
        "webhooks[0].rules[0].operations[0]: Unsupported value: \"MAKE\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"DELETE\", \"UPDATE\""
    );
    assert_eq!(
        refused(with("admissionReviewVersions", json!(["v2"]))).await,
        "webhooks[0].admissionReviewVersions: Invalid value: [\"v2\"]: must include at least one of v1, v1beta1"
    );
    let told = refused(with(
        "matchConditions",
        json!([{"name": "c", "expression": "nothing == 1"}]),
    ))
    .await;
    assert!(
        told.starts_with("webhooks[0].matchConditions[0].expression: Invalid value: \"nothing == 1\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'nothing' (in container '')"),
        "{told}"
    );
    let namespaces: Api<Namespace> = api(&place);
    assert!(namespaces.get(&place.namespace).await.unwrap().name_any() == place.namespace);
    end(&place, &[]).await;
}
