//! Who may do what: refusals, roles and bindings, what nobody may grant, acting as somebody else, and reviews. The cases
//! act as other users by impersonation, so they ask the same of a real server.

use kube::Client;
use serde_json::{Value, json};

use super::Place;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1";

/// A user that only this case knows.
fn someone(place: &Place) -> String {
    format!("bob-{}", place.namespace)
}

/// Sends a request (`APPLY` is a patch, too), as somebody else if there are headers for that; returns the code and the body.
pub(super) async fn send(
    client: &Client,
    headers: &[(&str, &str)],
    method: &str,
    path: &str,
    body: &Value,
) -> (u16, Value) {
    let (method, content_type) = match method {
        "PATCH" => (method, "application/merge-patch+json"),
        "APPLY" => ("PATCH", "application/apply-patch+yaml"),
        _ => (method, "application/json"),
    };
    let mut request = http::Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() {
        Vec::new()
    } else {
        serde_json::to_vec(body).unwrap()
    };
    let request = request
        .header("Content-Type", content_type)
        .body(body.into())
        .unwrap();
    let response = client.send(request).await.unwrap();
    let code = response.status().as_u16();
    let bytes = http_body_util::BodyExt::collect(response.into_body())
        .await
        .unwrap()
        .to_bytes();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    (
        code,
        serde_json::from_slice(&bytes).unwrap_or(Value::String(text)),
    )
}

/// Sends a request as a user.
async fn as_user(place: &Place, user: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    send(&place.client, &[("Impersonate-User", user)], method, path, body).await
}

/// Makes an object as the administrator, and removes what was there of that name.
async fn make(place: &Place, path: &str, object: &Value) -> Value {
    let (code, answer) = send(&place.client, &[], "POST", path, object).await;
    assert_eq!(code, 201, "{answer}");
    answer
}

fn in_namespace(place: &Place, resource: &str) -> String {
    format!("{RBAC}/namespaces/{}/{resource}", place.namespace)
}

fn rules(verbs: &[&str], groups: &[&str], resources: &[&str]) -> Value {
    json!([{"verbs": verbs, "apiGroups": groups, "resources": resources}])
}

fn binding(name: &str, kind: &str, role: &str, subjects: Value) -> Value {
    json!({"metadata": {"name": name}, "subjects": subjects,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}})
}

fn user(name: &str) -> Value {
    json!([{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name}])
}

/// Makes a role in the namespace and binds it to subjects.
async fn grant(place: &Place, name: &str, granted: Value, subjects: Value) {
    make(
        place,
        &in_namespace(place, "roles"),
        &json!({"metadata": {"name": name}, "rules": granted}),
    )
    .await;
    make(
        place,
        &in_namespace(place, "rolebindings"),
        &binding(name, "Role", name, subjects),
    )
    .await;
}

/// Waits until a request is answered with this code: a real server learns of bindings a moment later.
async fn until_code(place: &Place, user: &str, path: &str, wanted: u16) -> Value {
    let mut last = (0, Value::Null);
    for _ in 0..6000 {
        last = as_user(place, user, "GET", path, &Value::Null).await;
        if last.0 == wanted {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(last.0, wanted, "{path}: {}", last.1);
    last.1
}

async fn refusals_come_before_anything_is_looked_for(place: Place) {
    let bob = someone(&place);
    let ns = &place.namespace;
    let cases = [
        ("GET", "/api/v1/pods".to_owned(), r#"pods is forbidden: User "bob" cannot list resource "pods" in API group "" at the cluster scope"#.to_owned()),
        ("GET", format!("/api/v1/namespaces/{ns}"), format!(r#"namespaces "{ns}" is forbidden: User "bob" cannot get resource "namespaces" in API group "" in the namespace "{ns}""#)),
        ("GET", format!("/api/v1/namespaces/{ns}/pods/p/log"), format!(r#"pods "p" is forbidden: User "bob" cannot get resource "pods/log" in API group "" in the namespace "{ns}""#)),
        ("GET", "/apis/foo.io/v1/bars".to_owned(), r#"bars.foo.io is forbidden: User "bob" cannot list resource "bars" in API group "foo.io" at the cluster scope"#.to_owned()),
        ("GET", format!("/api/v1/namespaces/{ns}/pods?watch=1&fieldSelector=metadata.name%3Dq"), format!(r#"pods "q" is forbidden: User "bob" cannot watch resource "pods" in API group "" in the namespace "{ns}""#)),
        ("DELETE", format!("/api/v1/namespaces/{ns}/pods"), format!(r#"pods is forbidden: User "bob" cannot deletecollection resource "pods" in API group "" in the namespace "{ns}""#)),
        ("POST", format!("/api/v1/namespaces/{ns}/pods"), format!(r#"pods is forbidden: User "bob" cannot create resource "pods" in API group "" in the namespace "{ns}""#)),
        ("PUT", format!("/apis/apps/v1/namespaces/{ns}/deployments/d/scale"), format!(r#"deployments.apps "d" is forbidden: User "bob" cannot update resource "deployments/scale" in API group "apps" in the namespace "{ns}""#)),
        ("GET", "/nonsense".to_owned(), r#"forbidden: User "bob" cannot get path "/nonsense""#.to_owned()),
        ("GET", "/readyz/etcd".to_owned(), r#"forbidden: User "bob" cannot get path "/readyz/etcd""#.to_owned()),
        ("GET", "/".to_owned(), r#"forbidden: User "bob" cannot get path "/""#.to_owned()),
    ];
    for (method, path, message) in cases {
        // The body is not looked at either.
        let (code, answer) = as_user(&place, &bob, method, &path, &json!("garbage")).await;
        assert_eq!(code, 403, "{method} {path}: {answer}");
        assert_eq!(answer["message"], message.replace("bob", &bob), "{method} {path}");
        assert_eq!(
            (&answer["reason"], &answer["status"]),
            (&json!("Forbidden"), &json!("Failure"))
        );
    }
    let (_, answer) = as_user(&place, &bob, "GET", "/apis/foo.io/v1/bars", &Value::Null).await;
    assert_eq!(answer["details"], json!({"group": "foo.io", "kind": "bars"}));
    for open in ["/healthz", "/version", "/api", "/apis", "/api/v1"] {
        let (code, answer) = as_user(&place, &bob, "GET", open, &Value::Null).await;
        assert_eq!(code, 200, "{open}: {answer}");
    }
    place.end().await;
}

async fn a_role_grants_what_its_rules_say_and_only_there(place: Place) {
    let (bob, ns) = (someone(&place), &place.namespace);
    grant(
        &place,
        "reader",
        rules(&["get", "list"], &[""], &["configmaps"]),
        user(&bob),
    )
    .await;
    let path = format!("/api/v1/namespaces/{ns}/configmaps");
    until_code(&place, &bob, &path, 200).await;
    until_code(&place, &bob, &format!("{path}/none"), 404).await;
    let others = [
        ("POST", path.clone()),
        ("DELETE", format!("{path}/a")),
        ("GET", format!("{path}?watch=1&timeoutSeconds=1")),
        ("GET", "/api/v1/namespaces/default/configmaps".to_owned()),
        ("GET", "/api/v1/configmaps".to_owned()),
        ("GET", format!("/api/v1/namespaces/{ns}/secrets")),
        // A name that hides a slash is no other resource than the one it leads to.
        ("GET", format!("/api/v1/namespaces/{ns}%2Fsecrets")),
    ];
    for (method, path) in others {
        let (code, answer) = as_user(&place, &bob, method, &path, &json!({})).await;
        assert_eq!(code, 403, "{method} {path}: {answer}");
    }
    place.end().await;
}

async fn names_and_subresources_are_rights_of_their_own(place: Place) {
    let (bob, ns) = (someone(&place), &place.namespace);
    let named = json!([
        {"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["mine"]},
        {"verbs": ["get"], "apiGroups": ["apps"], "resources": ["*/scale"]},
    ]);
    grant(&place, "named", named, user(&bob)).await;
    let path = format!("/api/v1/namespaces/{ns}/configmaps");
    until_code(&place, &bob, &format!("{path}/mine"), 404).await;
    until_code(
        &place,
        &bob,
        &format!("{path}?fieldSelector=metadata.name%3Dmine"),
        200,
    )
    .await;
    until_code(
        &place,
        &bob,
        &format!("/apis/apps/v1/namespaces/{ns}/deployments/d/scale"),
        404,
    )
    .await;
    for path in [
        format!("{path}/other"),
        path.clone(),
        format!("{path}?fieldSelector=metadata.name%3Dother"),
        format!("/apis/apps/v1/namespaces/{ns}/deployments/d"),
        format!("/apis/apps/v1/namespaces/{ns}/deployments/d/status"),
    ] {
        let (code, answer) = as_user(&place, &bob, "GET", &path, &Value::Null).await;
        assert_eq!(code, 403, "{path}: {answer}");
    }
    place.end().await;
}

async fn groups_and_service_accounts_are_subjects_too(place: Place) {
    let ns = &place.namespace;
    let robot = format!("system:serviceaccount:{ns}:robot");
    // Without a namespace a service account is one of the binding's.
    let subjects = json!([{"kind": "ServiceAccount", "name": "robot"}, {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": format!("team-{ns}")}]);
    let (code, answer) = send(
        &place.client,
        &[],
        "POST",
        &in_namespace(&place, "rolebindings"),
        &binding(
            "viewers",
            "ClusterRole",
            "system:discovery",
            json!([{"kind": "ServiceAccount", "name": "robot", "apiGroup": "x"}]),
        ),
    )
    .await;
    assert_eq!(code, 422, "{answer}");
    grant(&place, "viewers", rules(&["list"], &[""], &["secrets"]), subjects).await;
    let path = format!("/api/v1/namespaces/{ns}/secrets");
    until_code(&place, &robot, &path, 200).await;
    let (code, _) = as_user(
        &place,
        "system:serviceaccount:default:robot",
        "GET",
        &path,
        &Value::Null,
    )
    .await;
    assert_eq!(code, 403);
    let team = format!("team-{ns}");
    let member = [("Impersonate-User", "joe"), ("Impersonate-Group", team.as_str())];
    let (code, answer) = send(&place.client, &member, "GET", &path, &Value::Null).await;
    assert_eq!(code, 200, "{answer}");
    let (code, _) = as_user(&place, "joe", "GET", &path, &Value::Null).await;
    assert_eq!(code, 403);
    place.end().await;
}

async fn a_binding_to_a_missing_role_is_named_in_refusals(place: Place) {
    let (bob, ns) = (someone(&place), &place.namespace);
    let bindings = in_namespace(&place, "rolebindings");
    make(&place, &bindings, &binding("ghost", "Role", "nope", user(&bob))).await;
    let path = format!("/api/v1/namespaces/{ns}/pods");
    let mut message = String::new();
    for _ in 0..6000 {
        let (_, answer) = as_user(&place, &bob, "GET", &path, &Value::Null).await;
        answer["message"].as_str().unwrap().clone_into(&mut message);
        if message.contains("RBAC") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let end = r#": RBAC: role.rbac.authorization.k8s.io "nope" not found"#;
    assert!(message.ends_with(end), "{message}");
    // The role comes, and at once it counts.
    make(
        &place,
        &in_namespace(&place, "roles"),
        &json!({"metadata": {"name": "nope"}, "rules": rules(&["list"], &[""], &["pods"])}),
    )
    .await;
    until_code(&place, &bob, &path, 200).await;
    let (code, _) = send(
        &place.client,
        &[],
        "DELETE",
        &format!("{bindings}/ghost"),
        &Value::Null,
    )
    .await;
    assert_eq!(code, 200);
    until_code(&place, &bob, &path, 403).await;
    place.end().await;
}

async fn nobody_grants_what_he_does_not_have(place: Place) {
    let (bob, ns) = (someone(&place), &place.namespace);
    let own = json!([
        {"verbs": ["create", "update", "get", "patch"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"]},
        {"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"]},
    ]);
    grant(&place, "granter", own, user(&bob)).await;
    let (roles, bindings) = (
        in_namespace(&place, "roles"),
        in_namespace(&place, "rolebindings"),
    );
    until_code(&place, &bob, &format!("{roles}/granter"), 200).await;
    let wanted = json!({"metadata": {"name": "more"}, "rules": rules(&["get", "list"], &[""], &["configmaps", "secrets"])});
    let (code, answer) = as_user(&place, &bob, "POST", &roles, &wanted).await;
    assert_eq!(code, 403, "{answer}");
    let expected = format!(
        "roles.rbac.authorization.k8s.io \"more\" is forbidden: user \"{bob}\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n\
         {{APIGroups:[\"\"], Resources:[\"configmaps\"], Verbs:[\"list\"]}}\n\
         {{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"list\"]}}"
    );
    assert_eq!(answer["message"], expected);
    assert_eq!(
        answer["details"],
        json!({"name": "more", "group": "rbac.authorization.k8s.io", "kind": "roles"})
    );
    // What he has he may give, and no more may be added to it later.
    let less = json!({"metadata": {"name": "less"}, "rules": rules(&["get"], &[""], &["configmaps"])});
    let (code, answer) = as_user(&place, &bob, "POST", &roles, &less).await;
    assert_eq!(code, 201, "{answer}");
    let more = json!({"rules": rules(&["*"], &[""], &["configmaps"])});
    let (code, _) = as_user(&place, &bob, "PATCH", &format!("{roles}/less"), &more).await;
    assert_eq!(code, 403);
    // A binding gives what its role does.
    let (code, answer) = as_user(
        &place,
        &bob,
        "POST",
        &bindings,
        &binding("v", "ClusterRole", "cluster-admin", user(&bob)),
    )
    .await;
    assert_eq!(code, 403, "{answer}");
    let (code, answer) = as_user(
        &place,
        &bob,
        "POST",
        &bindings,
        &binding("v", "Role", "none", user(&bob)),
    )
    .await;
    assert_eq!(
        (code, &answer["message"]),
        (404, &json!(r#"roles.rbac.authorization.k8s.io "none" not found"#))
    );
    let (code, answer) = as_user(
        &place,
        &bob,
        "POST",
        &bindings,
        &binding("v", "Role", "less", user("joe")),
    )
    .await;
    assert_eq!(code, 201, "{answer}");
    // Who may escalate and bind may do both.
    let free = json!([{"verbs": ["escalate", "bind"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "clusterroles"]}]);
    grant(&place, "free", free, user(&bob)).await;
    let mut last = (0, Value::Null);
    for _ in 0..6000 {
        last = as_user(&place, &bob, "POST", &roles, &wanted).await;
        if last.0 == 201 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(last.0, 201, "{} in {ns}", last.1);
    let (code, answer) = as_user(
        &place,
        &bob,
        "POST",
        &bindings,
        &binding("w", "ClusterRole", "cluster-admin", user("joe")),
    )
    .await;
    assert_eq!(code, 201, "{answer}");
    place.end().await;
}

async fn roles_made_of_others_need_all_rights(place: Place) {
    let bob = someone(&place);
    let role = json!({"metadata": {"name": bob}, "rules": rules(&["create"], &["rbac.authorization.k8s.io"], &["clusterroles"])});
    make(&place, &format!("{RBAC}/clusterroles"), &role).await;
    make(
        &place,
        &format!("{RBAC}/clusterrolebindings"),
        &binding(&bob, "ClusterRole", &bob, user(&bob)),
    )
    .await;
    let aggregated = json!({"metadata": {"name": format!("{bob}-all")}, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}});
    let expected = format!(
        "clusterroles.rbac.authorization.k8s.io \"{bob}-all\" is forbidden: must have cluster-admin privileges to use the aggregationRule"
    );
    let mut message = Value::Null;
    for _ in 0..6000 {
        let (_, answer) = as_user(&place, &bob, "POST", &format!("{RBAC}/clusterroles"), &aggregated).await;
        message = answer["message"].clone();
        if message == expected {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(message, expected);
    for path in ["clusterroles", "clusterrolebindings"] {
        send(
            &place.client,
            &[],
            "DELETE",
            &format!("{RBAC}/{path}/{bob}"),
            &Value::Null,
        )
        .await;
    }
    place.end().await;
}

async fn a_role_follows_the_roles_it_is_made_of(place: Place) {
    place.needs_controllers();
    let (bob, ns) = (someone(&place), &place.namespace);
    let path = format!("{RBAC}/clusterroles");
    let label = format!("part-of-{bob}");
    let whole = json!({"metadata": {"name": format!("{bob}-whole")}, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {&label: "true"}}]}});
    make(&place, &path, &whole).await;
    make(
        &place,
        &in_namespace(&place, "rolebindings"),
        &binding("whole", "ClusterRole", &format!("{bob}-whole"), user(&bob)),
    )
    .await;
    let list = format!("/api/v1/namespaces/{ns}/pods");
    until_code(&place, &bob, &list, 403).await;
    let part = json!({"metadata": {"name": format!("{bob}-part"), "labels": {&label: "true"}}, "rules": rules(&["list"], &[""], &["pods"])});
    make(&place, &path, &part).await;
    until_code(&place, &bob, &list, 200).await;
    send(
        &place.client,
        &[],
        "DELETE",
        &format!("{path}/{bob}-part"),
        &Value::Null,
    )
    .await;
    until_code(&place, &bob, &list, 403).await;
    send(
        &place.client,
        &[],
        "DELETE",
        &format!("{path}/{bob}-whole"),
        &Value::Null,
    )
    .await;
    place.end().await;
}

async fn acting_as_somebody_needs_a_right(place: Place) {
    let bob = someone(&place);
    // Headers that name no user.
    let (code, answer) = send(
        &place.client,
        &[("Impersonate-Group", "g")],
        "GET",
        "/api/v1/pods",
        &Value::Null,
    )
    .await;
    let expected =
        "Internal Server Error: \"/api/v1/pods\": requested [{Group  g    }] without impersonating a user\n";
    assert_eq!((code, &answer), (500, &json!(expected)));
    // Members of system:masters may act as anybody, in any group.
    let masters = [
        ("Impersonate-User", bob.as_str()),
        ("Impersonate-Group", "system:masters"),
    ];
    let (code, answer) = send(&place.client, &masters, "GET", "/api/v1/pods", &Value::Null).await;
    assert_eq!(code, 200, "{answer}");
    // Nobody is anonymous by asking for it, and gets no more than anybody.
    let (code, answer) = as_user(&place, "system:anonymous", "GET", "/api", &Value::Null).await;
    assert_eq!(
        (code, &answer["message"]),
        (
            403,
            &json!(r#"forbidden: User "system:anonymous" cannot get path "/api""#)
        )
    );
    place.end().await;
}

async fn reviews_say_what_rights_say(place: Place) {
    let (bob, ns) = (someone(&place), &place.namespace);
    grant(
        &place,
        "reader",
        rules(&["get", "list"], &[""], &["configmaps"]),
        user(&bob),
    )
    .await;
    until_code(&place, &bob, &format!("/api/v1/namespaces/{ns}/configmaps"), 200).await;
    let review =
        |verb: &str| json!({"resourceAttributes": {"namespace": ns, "verb": verb, "resource": "configmaps"}});
    let path = format!("{REVIEWS}/selfsubjectaccessreviews");
    let reason = format!(r#"RBAC: allowed by RoleBinding "reader/{ns}" of Role "reader" to User "{bob}""#);
    let allowed = json!({"allowed": true, "reason": reason});
    let (code, answer) = as_user(&place, &bob, "POST", &path, &json!({"spec": review("get")})).await;
    assert_eq!((code, &answer["status"]), (201, &allowed), "{answer}");
    let (_, answer) = as_user(&place, &bob, "POST", &path, &json!({"spec": review("delete")})).await;
    assert_eq!(answer["status"], json!({"allowed": false}));
    // The administrator asks for others.
    let mut about = review("get");
    about["user"] = json!(bob);
    for (path, metadata) in [
        (format!("{REVIEWS}/subjectaccessreviews"), json!({})),
        (
            format!("{REVIEWS}/namespaces/{ns}/localsubjectaccessreviews"),
            json!({"namespace": ns}),
        ),
    ] {
        // Older servers do not fill the namespace in.
        let question = json!({"metadata": metadata, "spec": about});
        let (code, answer) = send(&place.client, &[], "POST", &path, &question).await;
        assert_eq!((code, &answer["status"]), (201, &allowed), "{path}: {answer}");
    }
    let (code, _) = as_user(
        &place,
        &bob,
        "POST",
        &format!("{REVIEWS}/subjectaccessreviews"),
        &json!({"spec": about}),
    )
    .await;
    assert_eq!(code, 403);
    let masters = json!({"spec": {"user": "u", "groups": ["system:masters"], "nonResourceAttributes": {"verb": "get", "path": "/x"}}});
    let (_, answer) = send(
        &place.client,
        &[],
        "POST",
        &format!("{REVIEWS}/subjectaccessreviews"),
        &masters,
    )
    .await;
    assert_eq!(answer["status"], json!({"allowed": true}));
    // Groups are only those that are named.
    let alone = json!({"spec": {"user": bob, "nonResourceAttributes": {"verb": "get", "path": "/api"}}});
    let (_, answer) = send(
        &place.client,
        &[],
        "POST",
        &format!("{REVIEWS}/subjectaccessreviews"),
        &alone,
    )
    .await;
    assert_eq!(answer["status"], json!({"allowed": false}));
    place.end().await;
}

async fn a_user_can_list_his_rules(place: Place) {
    let (bob, ns) = (someone(&place), &place.namespace);
    grant(
        &place,
        "reader",
        rules(&["get", "list"], &[""], &["configmaps"]),
        user(&bob),
    )
    .await;
    until_code(&place, &bob, &format!("/api/v1/namespaces/{ns}/configmaps"), 200).await;
    let path = format!("{REVIEWS}/selfsubjectrulesreviews");
    let (code, answer) = as_user(&place, &bob, "POST", &path, &json!({"spec": {"namespace": ns}})).await;
    assert_eq!(code, 201, "{answer}");
    let status = &answer["status"];
    let own = json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["configmaps"]});
    assert!(
        status["resourceRules"].as_array().unwrap().contains(&own),
        "{status}"
    );
    let paths = status["nonResourceRules"].to_string();
    assert!(
        paths.contains("/openapi/*") && paths.contains("/healthz"),
        "{paths}"
    );
    assert_eq!(
        (&status["incomplete"], &answer["spec"]),
        (&json!(false), &json!({}))
    );
    let (code, answer) = as_user(&place, &bob, "POST", &path, &json!({"spec": {}})).await;
    assert_eq!(
        (code, &answer["message"]),
        (400, &json!("no namespace on request"))
    );
    place.end().await;
}

async fn who_approves_needs_a_right_to_the_signer(place: Place) {
    let bob = someone(&place);
    let request = crate::controllers::csr::serving(&bob, "n", &["n"]);
    let mut request = serde_json::to_value(request).unwrap();
    request["metadata"]["name"] = json!(bob);
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let kubelet = [
        ("Impersonate-User", "system:node:n"),
        ("Impersonate-Group", "system:nodes"),
        ("Impersonate-Group", "system:authenticated"),
    ];
    let (code, made) = send(&place.client, &kubelet, "POST", path, &request).await;
    assert_eq!(code, 201, "{made}");
    let bind = |role: &str| binding(role, "ClusterRole", role, user(&bob));
    let roles = format!("{RBAC}/clusterroles");
    let (changes, approves) = (format!("{bob}-changes"), format!("{bob}-approves"));
    let all = rules(
        &["*"],
        &["certificates.k8s.io"],
        &[
            "certificatesigningrequests",
            "certificatesigningrequests/approval",
            "certificatesigningrequests/status",
        ],
    );
    make(
        &place,
        &roles,
        &json!({"metadata": {"name": changes}, "rules": all}),
    )
    .await;
    make(&place, &format!("{RBAC}/clusterrolebindings"), &bind(&changes)).await;
    let own = format!("{path}/{bob}");
    until_code(&place, &bob, &own, 200).await;
    let mut with_approval = made.clone();
    with_approval["status"] =
        json!({"conditions": [{"type": "Approved", "status": "True", "reason": "Test"}]});
    let (code, answer) = as_user(&place, &bob, "PUT", &format!("{own}/approval"), &with_approval).await;
    let why = |verb: &str| {
        format!(
            "certificatesigningrequests.certificates.k8s.io \"{bob}\" is forbidden: user not permitted to {verb} requests with signerName \"kubernetes.io/kubelet-serving\""
        )
    };
    assert_eq!((code, &answer["message"]), (403, &json!(why("approve"))));
    let mut with_failure = made.clone();
    with_failure["status"] = json!({"conditions": [{"type": "Failed", "status": "True", "reason": "Test"}]});
    let (code, answer) = as_user(&place, &bob, "PUT", &format!("{own}/status"), &with_failure).await;
    assert_eq!((code, &answer["message"]), (403, &json!(why("sign"))));
    let right = json!([{"verbs": ["approve"], "apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "resourceNames": ["kubernetes.io/*"]}]);
    make(
        &place,
        &roles,
        &json!({"metadata": {"name": approves}, "rules": right}),
    )
    .await;
    make(&place, &format!("{RBAC}/clusterrolebindings"), &bind(&approves)).await;
    let mut last = (0, Value::Null);
    for _ in 0..6000 {
        last = as_user(&place, &bob, "PUT", &format!("{own}/approval"), &with_approval).await;
        if last.0 == 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(last.0, 200, "{}", last.1);
    for role in [&changes, &approves] {
        for path in ["clusterroles", "clusterrolebindings"] {
            send(
                &place.client,
                &[],
                "DELETE",
                &format!("{RBAC}/{path}/{role}"),
                &Value::Null,
            )
            .await;
        }
    }
    send(&place.client, &[], "DELETE", &own, &Value::Null).await;
    place.end().await;
}

async fn the_roles_of_every_cluster_are_there(place: Place) {
    let (bob, ns) = (someone(&place), &place.namespace);
    make(
        &place,
        &in_namespace(&place, "rolebindings"),
        &binding("discoverers", "ClusterRole", "system:kube-dns", user(&bob)),
    )
    .await;
    let services = format!("/api/v1/namespaces/{ns}/services");
    until_code(&place, &bob, &services, 200).await;
    for (resource, name) in [
        ("clusterroles", "cluster-admin"),
        ("clusterroles", "view"),
        ("clusterroles", "system:node-bootstrapper"),
        ("clusterrolebindings", "system:discovery"),
        ("clusterrolebindings", "system:controller:job-controller"),
        (
            "namespaces/kube-system/roles",
            "extension-apiserver-authentication-reader",
        ),
        (
            "namespaces/kube-public/rolebindings",
            "system:controller:bootstrap-signer",
        ),
    ] {
        let (code, answer) = send(
            &place.client,
            &[],
            "GET",
            &format!("{RBAC}/{resource}/{name}"),
            &Value::Null,
        )
        .await;
        assert_eq!(code, 200, "{resource} {name}: {answer}");
        assert_eq!(
            answer["metadata"]["labels"]["kubernetes.io/bootstrapping"],
            "rbac-defaults"
        );
    }
    place.end().await;
}

async fn who_may_change_an_object_may_not_make_it(place: Place) {
    let bob = someone(&place);
    let group = "coordination.k8s.io";
    grant(
        &place,
        "changes",
        rules(&["get", "update", "patch"], &[group], &["leases"]),
        user(&bob),
    )
    .await;
    let leases = format!("/apis/{group}/v1/namespaces/{}/leases", place.namespace);
    let path = format!("{leases}/a");
    until_code(&place, &bob, &path, 404).await;
    let lease =
        json!({"apiVersion": format!("{group}/v1"), "kind": "Lease", "metadata": {"name": "a"}, "spec": {}});
    let applied = format!("{path}?fieldManager=bob");
    let why = format!(
        r#"leases.{group} "a" is forbidden: User "{bob}" cannot create resource "leases" in API group "{group}" in the namespace "{}""#,
        place.namespace
    );
    for (method, path) in [("PUT", &path), ("APPLY", &applied)] {
        let (code, answer) = as_user(&place, &bob, method, path, &lease).await;
        // v1.20 does not say why.
        let told = answer["message"].as_str().unwrap_or_default();
        assert!(
            code == 403 && (told == why || place.is_real()),
            "{method}: {answer}"
        );
    }
    let made = make(&place, &leases, &lease).await;
    for (method, path, lease) in [("PUT", &path, &made), ("APPLY", &applied, &lease)] {
        let (code, answer) = as_user(&place, &bob, method, path, lease).await;
        assert_eq!(code, 200, "{method}: {answer}");
    }
    place.end().await;
}

super::cases!(
    refusals_come_before_anything_is_looked_for,
    a_role_grants_what_its_rules_say_and_only_there,
    names_and_subresources_are_rights_of_their_own,
    groups_and_service_accounts_are_subjects_too,
    a_binding_to_a_missing_role_is_named_in_refusals,
    nobody_grants_what_he_does_not_have,
    roles_made_of_others_need_all_rights,
    acting_as_somebody_needs_a_right,
    reviews_say_what_rights_say,
    a_user_can_list_his_rules,
    who_approves_needs_a_right_to_the_signer,
    the_roles_of_every_cluster_are_there,
    who_may_change_an_object_may_not_make_it,
    ; full: a_role_follows_the_roles_it_is_made_of,
);
