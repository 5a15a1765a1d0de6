//! Policies in CEL that are asked about writes.

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::{Place, cases, code, configmap, eventually, message};

cases! {
    ; full:
    policies_that_make_no_sense_are_refused,
    a_policy_denies_for_its_reason,
    variables_parameters_and_namespaces_are_known,
    what_cannot_be_evaluated_follows_the_failure_policy,
    a_policy_sees_updates_and_removals,
    an_expensive_policy_ends,
    a_policy_sees_requests_for_tokens,
    what_fails_without_need_denies_nothing,
    what_is_not_there_is_no_reason_to_let_pass,
    a_generated_name_is_known,
    what_is_excluded_in_one_version_is_excluded_in_all,
}

fn policies(place: &Place) -> Api<ValidatingAdmissionPolicy> {
    Api::all(place.client.clone())
}

fn bindings(place: &Place) -> Api<ValidatingAdmissionPolicyBinding> {
    Api::all(place.client.clone())
}

/// A policy for the `ConfigMaps` of the case's namespace, named as that.
fn policy(place: &Place, operations: &[&str], more: Value) -> Value {
    let mut spec = json!({"matchConstraints": {"resourceRules": [
        {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": operations}]}});
    for (field, value) in more.as_object().unwrap() {
        spec[field] = value.clone();
    }
    json!({"metadata": {"name": place.namespace}, "spec": spec})
}

async fn install(place: &Place, policy: Value, mut binding: Value) {
    let policy = serde_json::from_value(policy).unwrap();
    policies(place)
        .create(&PostParams::default(), &policy)
        .await
        .unwrap();
    binding["policyName"] = json!(place.namespace);
    if binding.get("validationActions").is_none() {
        binding["validationActions"] = json!(["Deny"]);
    }
    binding["matchResources"] =
        json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": place.namespace}}});
    let binding = json!({"metadata": {"name": format!("{}-b", place.namespace)}, "spec": binding});
    let binding = serde_json::from_value(binding).unwrap();
    bindings(place)
        .create(&PostParams::default(), &binding)
        .await
        .unwrap();
}

async fn end(place: &Place) {
    let gone = DeleteParams::default();
    bindings(place)
        .delete(&format!("{}-b", place.namespace), &gone)
        .await
        .ok();
    policies(place).delete(&place.namespace, &gone).await.ok();
    place.end().await;
}

fn dry() -> PostParams {
    PostParams {
        dry_run: true,
        ..PostParams::default()
    }
}

fn denied(place: &Place, name: &str) -> String {
    let own = &place.namespace;
    format!(
        "configmaps \"{name}\" is forbidden: ValidatingAdmissionPolicy '{own}' with binding '{own}-b' denied request: "
    )
}

async fn a_policy_denies_for_its_reason(place: Place) {
    let validations = json!([
        {"expression": "object.data.size != 'large'", "message": "not so large"},
        {"expression": "object.data.size != 'small'", "reason": "Forbidden", "messageExpression": "'too small: ' + object.data.size"},
        {"expression": " object.data.size != 'odd' "},
    ]);
    install(
        &place,
        policy(&place, &["CREATE"], json!({"validations": validations})),
        json!({}),
    )
    .await;
    let maps = place.configmaps();
    let tried = async |size: &str| maps.create(&dry(), &configmap("a", &[("size", size)])).await;
    eventually("the policy is asked", || async { tried("large").await.is_err() }).await;
    assert_eq!(
        message(tried("large").await),
        denied(&place, "a") + "not so large"
    );
    assert_eq!(code(tried("large").await), 422);
    assert_eq!(
        message(tried("small").await),
        denied(&place, "a") + "too small: small"
    );
    assert_eq!(code(tried("small").await), 403);
    assert_eq!(
        message(tried("odd").await),
        denied(&place, "a") + "failed expression: object.data.size != 'odd'"
    );
    assert!(tried("right").await.is_ok());
    match tried("large").await {
        Err(kube::Error::Api(status)) => assert_eq!(status.reason, "Invalid"),
        other => panic!("expected a refusal, got {other:?}"),
    }
    end(&place).await;
}

async fn variables_parameters_and_namespaces_are_known(place: Place) {
    let maps = place.configmaps();
    maps.create(&PostParams::default(), &configmap("limits", &[("most", "3")]))
        .await
        .unwrap();
    let more = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "variables": [{"name": "most", "expression": "int(params.data.most)"},
            {"name": "length", "expression": "size(object.data.text)"}, {"name": "fits", "expression": "variables.length <= variables.most"}],
        "matchConditions": [{"name": "text", "expression": "has(object.data) && has(object.data.text)"}],
        "validations": [{"expression": "variables.fits", "messageExpression": "'at most ' + string(variables.most) + ' in ' + namespaceObject.metadata.name"}],
    });
    let reference = json!({"paramRef": {"name": "limits", "parameterNotFoundAction": "Deny"}});
    install(&place, policy(&place, &["CREATE"], more), reference).await;
    let tried = async |text: &str| maps.create(&dry(), &configmap("a", &[("text", text)])).await;
    eventually("the policy is asked", || async { tried("long").await.is_err() }).await;
    assert_eq!(
        message(tried("long").await),
        denied(&place, "a") + "at most 3 in " + &place.namespace
    );
    assert!(tried("abc").await.is_ok());
    assert!(
        maps.create(&dry(), &configmap("a", &[])).await.is_ok(),
        "a condition excludes it"
    );
    maps.delete("limits", &DeleteParams::default()).await.unwrap();
    eventually("the parameters are gone", || async {
        tried("abc").await.is_err()
    })
    .await;
    assert_eq!(
        message(tried("abc").await),
        denied(&place, "a")
            + "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    );
    end(&place).await;
}

async fn what_cannot_be_evaluated_follows_the_failure_policy(place: Place) {
    let validations = json!([{"expression": "object.data.number == '1'"}]);
    install(
        &place,
        policy(&place, &["CREATE"], json!({"validations": validations})),
        json!({}),
    )
    .await;
    let maps = place.configmaps();
    let tried = async || maps.create(&dry(), &configmap("a", &[("other", "1")])).await;
    eventually("the policy is asked", || async { tried().await.is_err() }).await;
    assert_eq!(
        message(tried().await),
        denied(&place, "a") + "expression 'object.data.number == '1'' resulted in error: no such key: number"
    );
    let ignore = json!({"spec": {"failurePolicy": "Ignore"}});
    policies(&place)
        .patch(&place.namespace, &PatchParams::default(), &Patch::Merge(&ignore))
        .await
        .unwrap();
    eventually("it is ignored", || async { tried().await.is_ok() }).await;
    end(&place).await;
}

async fn a_policy_sees_updates_and_removals(place: Place) {
    let validations = json!([{"expression": "request.operation == 'DELETE' ? !has(oldObject.data.held) : object.data.a == oldObject.data.a",
        "messageExpression": "request.operation + ' of ' + oldObject.metadata.name"}]);
    install(
        &place,
        policy(&place, &["UPDATE", "DELETE"], json!({"validations": validations})),
        json!({}),
    )
    .await;
    let maps = place.configmaps();
    maps.create(
        &PostParams::default(),
        &configmap("a", &[("a", "1"), ("held", "1")]),
    )
    .await
    .unwrap();
    let change = json!({"data": {"a": "2"}});
    let changed = async || {
        let dry = PatchParams::default().dry_run();
        maps.patch("a", &dry, &Patch::Merge(&change)).await
    };
    eventually("the policy is asked", || async { changed().await.is_err() }).await;
    assert_eq!(message(changed().await), denied(&place, "a") + "UPDATE of a");
    let gone = maps.delete("a", &DeleteParams::default()).await;
    assert_eq!(message(gone.map(|_| ())), denied(&place, "a") + "DELETE of a");
    let free = json!({"data": {"held": null}});
    maps.patch("a", &PatchParams::default(), &Patch::Merge(&free))
        .await
        .unwrap();
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    end(&place).await;
}

async fn a_policy_sees_requests_for_tokens(place: Place) {
    let resources = json!({"resourceRules": [
        {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["serviceaccounts/token"], "operations": ["CREATE"]}]});
    let validations =
        json!([{"expression": "object.spec.expirationSeconds < 5000", "message": "not so long"}]);
    let asks = json!({"matchConstraints": resources, "validations": validations});
    install(&place, policy(&place, &["CREATE"], asks), json!({})).await;
    let path = format!(
        "/api/v1/namespaces/{}/serviceaccounts/default/token",
        place.namespace
    );
    let tried = async |seconds: u32| {
        let body = json!({"spec": {"audiences": ["a"], "expirationSeconds": seconds}});
        super::rights::send(&place.client, &[], "POST", &path, &body).await
    };
    eventually("the policy is asked", || async { tried(6000).await.0 == 422 }).await;
    let (_, answer) = tried(6000).await;
    let told = answer["message"].as_str().unwrap();
    assert!(told.ends_with("denied request: not so long"), "{told}");
    assert_eq!(tried(3600).await.0, 201);
    end(&place).await;
}

async fn an_expensive_policy_ends(place: Place) {
    let text = "object.data.text.split('')";
    let expression = format!("{text}.all(a, {text}.all(b, {text}.all(c, a + b + c != 'nothing')))");
    let validations = json!([{"expression": expression}]);
    install(
        &place,
        policy(&place, &["CREATE"], json!({"validations": validations})),
        json!({}),
    )
    .await;
    let maps = place.configmaps();
    let long = "x".repeat(2000);
    let tried = async || maps.create(&dry(), &configmap("a", &[("text", &long)])).await;
    eventually("the policy is asked", || async { tried().await.is_err() }).await;
    let told = message(tried().await);
    assert!(
        told.contains("cost limit exceeded") || told.contains("cost budget"),
        "{told}"
    );
    end(&place).await;
}

async fn what_fails_without_need_denies_nothing(place: Place) {
    let more = json!({
        "variables": [{"name": "bad", "expression": "object.data.nothing"}, {"name": "worse", "expression": "variables.bad + 'x'"}],
        "validations": [{"expression": "object.data.size != 'large' || variables.worse == 'x'"},
            {"expression": "object.data.size == 'small' || variables.bad == 'x' || true"}],
    });
    install(&place, policy(&place, &["CREATE"], more), json!({})).await;
    let maps = place.configmaps();
    let tried = async |size: &str| maps.create(&dry(), &configmap("a", &[("size", size)])).await;
    eventually("the policy is asked", || async { tried("large").await.is_err() }).await;
    let told = message(tried("large").await);
    assert!(
        told.ends_with(
            "resulted in error: composited variable \"worse\" fails to evaluate: composited variable \"bad\" fails to evaluate: no such key: nothing"
        ),
        "{told}"
    );
    assert!(tried("small").await.is_ok());
    assert!(tried("other").await.is_ok());
    end(&place).await;
}

async fn what_is_not_there_is_no_reason_to_let_pass(place: Place) {
    let validations = json!([{"expression": "!oldObject.data.locked"}]);
    install(
        &place,
        policy(&place, &["CREATE"], json!({"validations": validations})),
        json!({}),
    )
    .await;
    let maps = place.configmaps();
    let tried = async || maps.create(&dry(), &configmap("a", &[])).await;
    eventually("the policy is asked", || async { tried().await.is_err() }).await;
    let told = message(tried().await);
    assert!(told.contains("resulted in error: no such "), "{told}");
    end(&place).await;
}

async fn a_generated_name_is_known(place: Place) {
    let validations = json!([{"expression": "request.name.startsWith('good-') && request.name == object.metadata.name",
        "messageExpression": "'no name: ' + request.name"}]);
    install(
        &place,
        policy(&place, &["CREATE"], json!({"validations": validations})),
        json!({}),
    )
    .await;
    let maps = place.configmaps();
    let tried = async |prefix: &str| {
        let mut object = configmap("", &[]);
        object.metadata.name = None;
        object.metadata.generate_name = Some(prefix.to_owned());
        maps.create(&dry(), &object).await
    };
    eventually("the policy is asked", || async { tried("bad-").await.is_err() }).await;
    let told = message(tried("bad-").await);
    assert!(told.contains("denied request: no name: bad-"), "{told}");
    assert!(tried("good-").await.is_ok());
    end(&place).await;
}

async fn what_is_excluded_in_one_version_is_excluded_in_all(place: Place) {
    let rule = |group: &str, version: &str, resource: &str| json!({"apiGroups": [group], "apiVersions": [version], "resources": [resource], "operations": ["CREATE"]});
    let mut made = policy(
        &place,
        &["CREATE"],
        json!({"validations": [{"expression": "false"}]}),
    );
    made["spec"]["matchConstraints"] = json!({
        "resourceRules": [rule("", "v1", "configmaps"), rule("events.k8s.io", "*", "events")],
        "excludeResourceRules": [rule("", "v1", "events")]});
    install(&place, made, json!({})).await;
    let maps = place.configmaps();
    eventually("the policy is asked", || async {
        maps.create(&dry(), &configmap("a", &[])).await.is_err()
    })
    .await;
    let event = json!({"metadata": {"name": "a"}, "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal",
        "reason": "Seen", "action": "See", "reportingController": "c", "reportingInstance": "i",
        "regarding": {"kind": "ConfigMap", "namespace": place.namespace, "name": "a"}});
    let event = serde_json::from_value(event).unwrap();
    let outcome = place.api::<Event>().create(&dry(), &event).await;
    assert!(outcome.is_ok(), "{outcome:?}");
    end(&place).await;
}

async fn policies_that_make_no_sense_are_refused(place: Place) {
    let refused = async |more: Value| {
        let policy = serde_json::from_value(policy(&place, &["CREATE"], more)).unwrap();
        let told = message(policies(&place).create(&PostParams::default(), &policy).await);
        told.split_once(" is invalid: ").unwrap().1.to_owned()
    };
    let told = refused(json!({"validations": [{"expression": "object.x == other"}]})).await;
    assert!(
        told.starts_with("spec.validations[0].expression: Invalid value: \"object.x == other\": compilation failed: ERROR: <input>:1:13: undeclared reference to 'other' (in container '')"),
        "{told}"
    );
    let told = refused(json!({"validations": [{"expression": "object.x =="}]})).await;
    assert!(
        told.starts_with("spec.validations[0].expression: Invalid value: \"object.x ==\": compilation failed: ERROR: <input>:1:12: Syntax error:"),
        "{told}"
    );
    let binding = json!({"metadata": {"name": place.namespace}, "spec": {"policyName": "p", "validationActions": ["Deny", "Warn"]}});
    let binding = serde_json::from_value(binding).unwrap();
    let told = message(bindings(&place).create(&PostParams::default(), &binding).await);
    assert!(told.contains("must not contain both Deny and Warn"), "{told}");
    let selector = |operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": "a", "operator": operator, "values": values}]});
    let binding = json!({"metadata": {"name": place.namespace}, "spec": {"policyName": "p", "validationActions": ["Deny"],
        "paramRef": {"selector": selector("Exists", &["b"]), "parameterNotFoundAction": "Deny"},
        "matchResources": {"namespaceSelector": selector("Is", &["b"]), "objectSelector": selector("In", &[])}}});
    let binding = serde_json::from_value(binding).unwrap();
    let told = message(bindings(&place).create(&PostParams::default(), &binding).await);
    for why in [
        "spec.paramRef.selector.matchExpressions[0].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        "spec.matchResources.namespaceSelector.matchExpressions[0].operator: Invalid value: \"Is\": not a valid selector operator",
        "spec.matchResources.objectSelector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
    ] {
        assert!(told.contains(why), "{told}");
    }
    end(&place).await;
}
