//! Service accounts: what each namespace has, tokens, and who shows them.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::hooks::Hook;
use super::rights::send;
use super::{Place, admission, eventually};

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

fn path(place: &Place, rest: &str) -> String {
    format!("/api/v1/namespaces/{}/{rest}", place.namespace)
}

async fn get(place: &Place, path: &str) -> (u16, Value) {
    send(&place.client, &[], "GET", path, &Value::Null).await
}

async fn make(place: &Place, kind: &str, object: Value) -> Value {
    let (code, made) = send(&place.client, &[], "POST", &path(place, kind), &object).await;
    assert_eq!(code, 201, "{made}");
    made
}

async fn remove(place: &Place, path: &str) {
    let at_once = json!({"gracePeriodSeconds": 0});
    let (code, answer) = send(&place.client, &[], "DELETE", path, &at_once).await;
    assert_eq!(code, 200, "{answer}");
}

/// Makes a service account and returns its uid.
async fn account(place: &Place) -> String {
    let made = make(place, "serviceaccounts", json!({"metadata": {"name": "robot"}})).await;
    made["metadata"]["uid"].as_str().unwrap().to_owned()
}

/// Asks for a token of that account.
async fn ask(place: &Place, spec: Value) -> (u16, Value) {
    let wanted = path(place, "serviceaccounts/robot/token");
    send(&place.client, &[], "POST", &wanted, &json!({"spec": spec})).await
}

async fn token(place: &Place, spec: Value) -> String {
    let (code, answer) = ask(place, spec).await;
    assert_eq!(code, 201, "{answer}");
    answer["status"]["token"].as_str().unwrap().to_owned()
}

fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// What a review says of a token.
async fn review(place: &Place, token: &str, audiences: &[&str]) -> Value {
    let question = json!({"spec": {"token": token, "audiences": audiences}});
    let (code, answer) = send(&place.client, &[], "POST", REVIEWS, &question).await;
    assert_eq!(code, 201, "{answer}");
    answer["status"].clone()
}

/// Waits until a review says this of a token: a real server remembers tokens for some seconds.
async fn until_refused(place: &Place, token: &str, why: &str) {
    eventually(why, || async {
        let status = review(place, token, &[]).await;
        status["error"] == format!("[invalid bearer token, {why}]")
    })
    .await;
}

async fn a_pod(place: &Place) -> Value {
    let pod = json!({"metadata": {"name": "p"}, "spec": {
        "serviceAccountName": "robot", "nodeName": format!("n-{}", place.namespace),
        "containers": [{"name": "c", "image": "i"}],
    }});
    make(place, "pods", pod).await
}

async fn a_token_says_whose_it_is_and_for_whom(place: Place) {
    let uid = account(&place).await;
    let ns = &place.namespace;
    let (code, answer) = ask(&place, json!({})).await;
    assert_eq!(code, 201, "{answer}");
    assert_eq!(
        (&answer["kind"], &answer["apiVersion"]),
        (&json!("TokenRequest"), &json!("authentication.k8s.io/v1"))
    );
    assert_eq!(
        (&answer["metadata"]["name"], &answer["metadata"]["namespace"]),
        (&json!("robot"), &json!(ns))
    );
    assert_eq!(answer["spec"]["expirationSeconds"], 3600);
    assert_eq!(answer["spec"]["boundObjectRef"], Value::Null);
    assert!(answer["status"]["expirationTimestamp"].is_string());
    let claims = claims(answer["status"]["token"].as_str().unwrap());
    assert_eq!(claims["sub"], format!("system:serviceaccount:{ns}:robot"));
    assert_eq!(claims["aud"], answer["spec"]["audiences"]);
    assert_eq!(claims["aud"], json!([claims["iss"]]));
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        3600
    );
    assert_eq!(claims["nbf"], claims["iat"]);
    assert!(claims["jti"].as_str().is_some_and(|id| id.len() == 36));
    let expected = json!({"namespace": ns, "serviceaccount": {"name": "robot", "uid": uid}});
    assert_eq!(claims["kubernetes.io"], expected);
    let other = token(&place, json!({"audiences": ["a", "b"], "expirationSeconds": 600})).await;
    let other = self::claims(&other);
    assert_eq!(other["aud"], json!(["a", "b"]));
    assert_eq!(
        other["exp"].as_i64().unwrap() - other["iat"].as_i64().unwrap(),
        600
    );
    place.end().await;
}

async fn requests_for_tokens_are_checked(place: Place) {
    let uid = account(&place).await;
    let pod = a_pod(&place).await;
    make(&place, "serviceaccounts", json!({"metadata": {"name": "other"}})).await;
    let bound = |kind: &str, version: &str, name: &str, uid: &str| json!({"spec": {"boundObjectRef": {"kind": kind, "apiVersion": version, "name": name, "uid": uid}}});
    let pod_uid = pod["metadata"]["uid"].as_str().unwrap();
    let stale = "the UID in the bound object reference (x) does not match the UID in record. The object might have been deleted and then recreated";
    let cases = [
        ("robot", json!({"spec": {"expirationSeconds": 599}}), 422,
            r#"TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes"#.to_owned()),
        ("robot", json!({"spec": {"expirationSeconds": 4_294_967_297_i64}}), 422,
            r#"TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds"#.to_owned()),
        ("nobody", json!({}), 404, r#"serviceaccounts "nobody" not found"#.to_owned()),
        ("robot", json!({"metadata": {"name": "other"}}), 422,
            r#"TokenRequest.authentication.k8s.io "robot" is invalid: metadata.name: Invalid value: "other": must match the service account name if specified"#.to_owned()),
        ("robot", json!({"metadata": {"uid": "x"}}), 409,
            format!(r#"Operation cannot be fulfilled on TokenRequest.authentication.k8s.io "robot": the UID in the token request (x) does not match the UID of the service account ({uid})"#)),
        ("robot", bound("Pod", "v1", "none", ""), 404, r#"pods "none" not found"#.to_owned()),
        ("robot", bound("Secret", "v1", "none", ""), 404, r#"secrets "none" not found"#.to_owned()),
        ("robot", bound("Node", "v1", "none", ""), 404, r#"nodes "none" not found"#.to_owned()),
        ("robot", bound("ConfigMap", "v1", "m", ""), 400, "cannot bind token to object of type /v1, Kind=ConfigMap".to_owned()),
        ("robot", bound("Pod", "v1", "p", "x"), 409, format!(r#"Operation cannot be fulfilled on Pod "p": {stale}"#)),
        ("other", bound("Pod", "v1", "p", pod_uid), 400,
            r#"cannot bind token for serviceaccount "other" to pod running with different serviceaccount name."#.to_owned()),
    ];
    for (name, request, code, message) in cases {
        let wanted = path(&place, &format!("serviceaccounts/{name}/token"));
        let (given, answer) = send(&place.client, &[], "POST", &wanted, &request).await;
        assert_eq!(
            (given, answer["message"].as_str().unwrap()),
            (code, message.as_str()),
            "{request}"
        );
    }
    let (code, _) = get(&place, &path(&place, "serviceaccounts/robot/token")).await;
    assert_eq!(code, 405);
    place.end().await;
}

async fn a_review_tells_who_shows_a_token(place: Place) {
    let uid = account(&place).await;
    let pod = a_pod(&place).await;
    let (ns, pod_uid) = (&place.namespace, &pod["metadata"]["uid"]);
    let reference = json!({"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": pod_uid});
    let token = token(&place, json!({"boundObjectRef": reference})).await;
    let status = review(&place, &token, &[]).await;
    assert_eq!(status["authenticated"], true, "{status}");
    let claims = claims(&token);
    assert_eq!(status["audiences"], claims["aud"]);
    let node = format!("n-{ns}");
    let expected = json!({
        "username": format!("system:serviceaccount:{ns}:robot"), "uid": uid,
        "groups": ["system:serviceaccounts", format!("system:serviceaccounts:{ns}"), "system:authenticated"],
        "extra": {
            "authentication.kubernetes.io/credential-id": [format!("JTI={}", claims["jti"].as_str().unwrap())],
            "authentication.kubernetes.io/node-name": [node],
            "authentication.kubernetes.io/pod-name": ["p"],
            "authentication.kubernetes.io/pod-uid": [pod_uid],
        },
    });
    assert_eq!(status["user"], expected);
    assert_eq!(claims["kubernetes.io"]["node"], json!({"name": node}));
    // It ends with its pod, whoever runs under that name next.
    remove(&place, &path(&place, "pods/p")).await;
    until_refused(&place, &token, "service account token has been invalidated").await;
    let again = a_pod(&place).await;
    let why = format!(
        "pod UID ({}) does not match service account pod ref claim ({})",
        again["metadata"]["uid"].as_str().unwrap(),
        pod_uid.as_str().unwrap()
    );
    until_refused(&place, &token, &why).await;
    place.end().await;
}

async fn a_token_ends_with_its_account_and_with_its_secret(place: Place) {
    let uid = account(&place).await;
    let secret = make(&place, "secrets", json!({"metadata": {"name": "s"}})).await;
    let reference =
        json!({"kind": "Secret", "apiVersion": "v1", "name": "s", "uid": secret["metadata"]["uid"]});
    let bound = token(&place, json!({"boundObjectRef": reference})).await;
    let free = token(&place, json!({})).await;
    for token in [&bound, &free] {
        assert_eq!(review(&place, token, &[]).await["authenticated"], true);
    }
    remove(&place, &path(&place, "secrets/s")).await;
    until_refused(&place, &bound, "service account token has been invalidated").await;
    assert_eq!(review(&place, &free, &[]).await["authenticated"], true);
    remove(&place, &path(&place, "serviceaccounts/robot")).await;
    until_refused(&place, &free, r#"serviceaccounts "robot" not found"#).await;
    let other = account(&place).await;
    until_refused(
        &place,
        &free,
        &format!("service account UID ({other}) does not match claim ({uid})"),
    )
    .await;
    place.end().await;
}

async fn a_token_is_good_only_for_its_audience(place: Place) {
    account(&place).await;
    let token = token(&place, json!({"audiences": ["vault"]})).await;
    let status = review(&place, &token, &["vault", "other"]).await;
    assert_eq!(
        (&status["authenticated"], &status["audiences"]),
        (&json!(true), &json!(["vault"]))
    );
    let status = review(&place, &token, &["other"]).await;
    let why =
        r#"[invalid bearer token, token audiences ["vault"] is invalid for the target audiences ["other"]]"#;
    assert_eq!(status, json!({"user": {}, "error": why}));
    // So it is none for the API server either.
    assert_eq!(review(&place, &token, &[]).await.get("authenticated"), None);
    // Whoever changes a token has none.
    let (head, signature) = token.rsplit_once('.').unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    bytes[0] ^= 1;
    let forged = format!("{head}.{}", URL_SAFE_NO_PAD.encode(bytes));
    assert_eq!(
        review(&place, &forged, &["vault"]).await.get("authenticated"),
        None
    );
    place.end().await;
}

async fn anybody_can_learn_how_to_check_tokens(place: Place) {
    account(&place).await;
    let token = token(&place, json!({})).await;
    let header = token.split('.').next().unwrap();
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    let robot = format!("system:serviceaccount:{}:robot", place.namespace);
    let as_robot = [("Impersonate-User", robot.as_str())];
    let configuration = "/.well-known/openid-configuration";
    let (code, said) = send(&place.client, &as_robot, "GET", configuration, &Value::Null).await;
    assert_eq!(code, 200, "{said}");
    assert_eq!(said["issuer"], claims(&token)["iss"]);
    assert_eq!(
        said["id_token_signing_alg_values_supported"],
        json!([header["alg"]])
    );
    assert_eq!(said["response_types_supported"], json!(["id_token"]));
    assert!(said["jwks_uri"].as_str().unwrap().ends_with("/openid/v1/jwks"));
    let (code, keys) = send(&place.client, &as_robot, "GET", "/openid/v1/jwks", &Value::Null).await;
    assert_eq!(code, 200, "{keys}");
    let keys = keys["keys"].as_array().unwrap();
    assert!(
        keys.iter()
            .any(|key| key["kid"] == header["kid"] && key["use"] == "sig"),
        "{keys:?}"
    );
    place.end().await;
}

async fn each_namespace_has_an_account_and_the_certificate_of_the_server(place: Place) {
    place.needs_controllers();
    let (account, map) = (
        path(&place, "serviceaccounts/default"),
        path(&place, "configmaps/kube-root-ca.crt"),
    );
    let is_there = |wanted: String| {
        let place = &place;
        async move { get(place, &wanted).await.0 == 200 }
    };
    eventually("an account", || is_there(account.clone())).await;
    eventually("a certificate", || is_there(map.clone())).await;
    let (_, found) = get(&place, &map).await;
    let pem = found["data"]["ca.crt"].as_str().unwrap();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
    assert!(found["metadata"]["annotations"]["kubernetes.io/description"].is_string());
    // They come back.
    let (_, before) = get(&place, &account).await;
    remove(&place, &account).await;
    let new_account = || async {
        let (code, now) = get(&place, &account).await;
        code == 200 && now["metadata"]["uid"] != before["metadata"]["uid"]
    };
    eventually("a new account", new_account).await;
    let changed = json!({"data": {"ca.crt": "nothing", "more": "x"}});
    let (code, answer) = send(&place.client, &[], "PATCH", &map, &changed).await;
    assert_eq!(code, 200, "{answer}");
    let restored = || async { get(&place, &map).await.1["data"] == json!({"ca.crt": pem}) };
    eventually("the certificate", restored).await;
    // And they hold nothing up.
    place.end().await;
    let is_gone = || async {
        get(&place, &format!("/api/v1/namespaces/{}", place.namespace))
            .await
            .0
            == 404
    };
    eventually("gone", is_gone).await;
}

async fn a_machine_shows_the_token_that_lies_in_a_secret(place: Place) {
    // Another one in each run: a real server keeps what an earlier one left.
    let id = place.namespace.chars().rev().take(5).collect::<String>() + "0";
    let (secret, name) = ("0123456789abcdef", format!("bootstrap-token-{id}"));
    let encode = |text: &str| STANDARD.encode(text);
    let object = json!({"metadata": {"name": name}, "type": "bootstrap.kubernetes.io/token", "data": {
        "token-id": encode(&id), "token-secret": encode(secret), "usage-bootstrap-authentication": encode("true"),
        "auth-extra-groups": encode("system:bootstrappers:workers"),
    }});
    let all = "/api/v1/namespaces/kube-system/secrets";
    let (code, answer) = send(&place.client, &[], "POST", all, &object).await;
    assert_eq!(code, 201, "{answer}");
    let token = format!("{id}.{secret}");
    eventually("known", || async {
        review(&place, &token, &[]).await["authenticated"] == true
    })
    .await;
    let status = review(&place, &token, &[]).await;
    let expected = json!({
        "username": format!("system:bootstrap:{id}"),
        "groups": ["system:bootstrappers", "system:bootstrappers:workers", "system:authenticated"],
    });
    assert_eq!(status["user"], expected);
    let wrong = format!("{id}.0123456789abcdeg");
    assert_eq!(
        review(&place, &wrong, &[]).await,
        json!({"user": {}, "error": "invalid bearer token"})
    );
    let own = format!("{all}/{name}");
    let over = json!({"data": {"expiration": encode("2020-01-01T00:00:00Z")}});
    let (code, answer) = send(&place.client, &[], "PATCH", &own, &over).await;
    assert_eq!(code, 200, "{answer}");
    eventually("over", || async {
        review(&place, &token, &[]).await.get("authenticated").is_none()
    })
    .await;
    remove(&place, &own).await;
    place.end().await;
}

/// What a webhook makes of a request is read as what clients send is.
async fn a_webhook_cannot_make_a_request_for_a_token_that_is_none(place: Place) {
    let hook = Hook::serve(&[], |review| {
        let nonsense = json!([{"op": "replace", "path": "/spec", "value": "x"}]);
        Ok(admission::patched(review, &nonsense))
    })
    .await;
    let rules = json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["serviceaccounts/token"]}]);
    account(&place).await;
    let webhook = admission::webhook(&place, "m", &hook.config(), &rules, json!({}));
    admission::mutating(&place, "m", &[webhook]).await;
    eventually("the webhook is asked", async || {
        ask(&place, json!({})).await.0 == 500
    })
    .await;
    let (_, answer) = ask(&place, json!({})).await;
    let told = answer["message"].as_str().unwrap();
    assert!(told.contains("cannot unmarshal string"), "{told}");
    admission::end(&place, &["m"]).await;
}

super::cases!(; full:
    a_webhook_cannot_make_a_request_for_a_token_that_is_none,
    a_token_says_whose_it_is_and_for_whom,
    requests_for_tokens_are_checked,
    a_review_tells_who_shows_a_token,
    a_token_ends_with_its_account_and_with_its_secret,
    a_token_is_good_only_for_its_audience,
    anybody_can_learn_how_to_check_tokens,
    each_namespace_has_an_account_and_the_certificate_of_the_server,
    a_machine_shows_the_token_that_lies_in_a_secret,
);
