//! Certificate requests: who may ask for what, what is approved without anybody, and what is signed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde_json::{Value, json};
use x509_parser::prelude::FromDer as _;

use super::rights::send;
use super::{Place, eventually};

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";

/// A certificate request in Base64.
pub(crate) fn pkcs10(common_name: &str, organization: &str, names: &[&str], key: &KeyPair) -> String {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, organization);
    params.distinguished_name.push(DnType::CommonName, common_name);
    STANDARD.encode(params.serialize_request(key).unwrap().pem().unwrap())
}

fn usages(own: &str) -> Value {
    json!(["digital signature", "key encipherment", own])
}

fn object(name: &str, signer: &str, request: &str, usages: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"signerName": signer, "request": request, "usages": usages}})
}

async fn make(place: &Place, headers: &[(&str, &str)], object: &Value) -> String {
    let (code, made) = send(&place.client, headers, "POST", REQUESTS, object).await;
    assert_eq!(code, 201, "{made}");
    format!("{REQUESTS}/{}", made["metadata"]["name"].as_str().unwrap())
}

async fn get(place: &Place, path: &str) -> Value {
    let (code, found) = send(&place.client, &[], "GET", path, &Value::Null).await;
    assert_eq!(code, 200, "{found}");
    found
}

async fn approve(place: &Place, path: &str) {
    let mut request = get(place, path).await;
    let approved = json!({"type": "Approved", "status": "True", "reason": "Test", "message": "by hand"});
    request["status"]["conditions"] = json!([approved]);
    let (code, answer) = send(&place.client, &[], "PUT", &format!("{path}/approval"), &request).await;
    assert_eq!(code, 200, "{answer}");
}

/// Waits for the certificate of a request, and returns it in DER.
async fn certificate(place: &Place, path: &str) -> Vec<u8> {
    eventually("a certificate", || async {
        get(place, path).await["status"]["certificate"].is_string()
    })
    .await;
    let found = get(place, path).await;
    let pem = STANDARD
        .decode(found["status"]["certificate"].as_str().unwrap())
        .unwrap();
    let (_, block) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
    block.contents
}

async fn remove(place: &Place, path: &str) {
    send(&place.client, &[], "DELETE", path, &Value::Null).await;
}

async fn what_is_approved_is_signed(place: Place) {
    place.needs_controllers();
    let key = KeyPair::generate().unwrap();
    let request = pkcs10("joe", "devs", &[], &key);
    // Kubelets call theirs by a hash, in letters of both cases.
    let name = format!("{}-Zx_3", place.namespace);
    let mut wanted = object(&name, CLIENT, &request, usages("client auth"));
    wanted["spec"]["expirationSeconds"] = 3600.into();
    let path = make(&place, &[], &wanted).await;
    approve(&place, &path).await;
    let der = certificate(&place, &path).await;
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(&der).unwrap();
    assert_eq!(certificate.subject().to_string(), "O=devs, CN=joe");
    let usage = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth);
    assert!(!certificate.is_ca());
    let validity = certificate.validity();
    // Good from five minutes ago, for clocks that are behind, and for as long as was asked for.
    assert_eq!(
        validity.not_after.timestamp() - validity.not_before.timestamp(),
        3600 + 300
    );
    remove(&place, &path).await;
    place.end().await;
}

async fn what_a_signer_does_not_sign_fails_with_the_reason(place: Place) {
    place.needs_controllers();
    let key = KeyPair::generate().unwrap();
    let node = format!("system:node:{}", place.namespace);
    let cases = [
        (
            "a",
            CLIENT,
            pkcs10("joe", "devs", &[], &key),
            usages("server auth"),
            "invalid usage for client certificate: server auth",
        ),
        (
            "b",
            KUBELET_SERVING,
            pkcs10(&node, "system:nodes", &[], &key),
            usages("server auth"),
            "DNS or IP subjectAltName is required",
        ),
        (
            "c",
            KUBELET_SERVING,
            pkcs10(&node, "devs", &["a"], &key),
            usages("server auth"),
            "subject organization is not system:nodes",
        ),
        (
            "d",
            KUBELET_CLIENT,
            pkcs10("joe", "system:nodes", &[], &key),
            usages("client auth"),
            "subject common name does not begin with system:node:",
        ),
        (
            "e",
            KUBELET_CLIENT,
            pkcs10(&node, "system:nodes", &["a"], &key),
            usages("client auth"),
            "DNS subjectAltNames are not allowed",
        ),
        (
            "f",
            KUBELET_CLIENT,
            pkcs10(&node, "system:nodes", &[], &key),
            usages("server auth"),
            "usages did not match [client auth digital signature key encipherment]",
        ),
    ];
    for (letter, signer, request, usages, why) in cases {
        let name = format!("{}-{letter}", place.namespace);
        let path = make(&place, &[], &object(&name, signer, &request, usages)).await;
        approve(&place, &path).await;
        let failed = |found: &Value| {
            let conditions = found["status"]["conditions"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            conditions.into_iter().find(|c| c["type"] == "Failed")
        };
        eventually(why, || async { failed(&get(&place, &path).await).is_some() }).await;
        let found = get(&place, &path).await;
        let failed = failed(&found).unwrap();
        assert_eq!(
            (&failed["reason"], &failed["message"]),
            (&json!("SignerValidationFailure"), &json!(why))
        );
        assert_eq!(found["status"].get("certificate"), None);
        remove(&place, &path).await;
    }
    place.end().await;
}

async fn a_kubelet_that_may_gets_its_certificate_without_anybody(place: Place) {
    place.needs_controllers();
    let key = KeyPair::generate().unwrap();
    let (node, group) = (
        format!("system:node:{}", place.namespace),
        format!("join-{}", place.namespace),
    );
    let weak = format!("weak-{}", place.namespace);
    let subject =
        |name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name});
    for (name, role, subjects) in [
        (
            "create",
            "system:node-bootstrapper",
            json!([subject(&group), subject(&weak)]),
        ),
        (
            "approve",
            "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
            json!([subject(&group)]),
        ),
    ] {
        let binding = json!({
            "metadata": {"name": format!("{group}-{name}")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": subjects,
        });
        let (code, answer) = send(
            &place.client,
            &[],
            "POST",
            &format!("{RBAC}/clusterrolebindings"),
            &binding,
        )
        .await;
        assert_eq!(code, 201, "{answer}");
    }
    let user = format!("joins-{}", place.namespace);
    let joining = [
        ("Impersonate-User", user.as_str()),
        ("Impersonate-Group", group.as_str()),
        ("Impersonate-Group", "system:authenticated"),
    ];
    let request = pkcs10(&node, "system:nodes", &[], &key);
    let wanted = object(&place.namespace, KUBELET_CLIENT, &request, usages("client auth"));
    let may = || async {
        send(&place.client, &joining, "GET", REQUESTS, &Value::Null)
            .await
            .0
            == 200
    };
    eventually("the right to ask", may).await;
    let path = make(&place, &joining, &wanted).await;
    let der = certificate(&place, &path).await;
    let (_, issued) = x509_parser::certificate::X509Certificate::from_der(&der).unwrap();
    assert_eq!(issued.subject().to_string(), format!("O=system:nodes, CN={node}"));
    let found = get(&place, &path).await;
    let approved = &found["status"]["conditions"][0];
    assert_eq!(
        (&approved["type"], &approved["reason"], &approved["message"]),
        (
            &json!("Approved"),
            &json!("AutoApproved"),
            &json!("Auto approving kubelet client certificate after SubjectAccessReview.")
        )
    );
    // Others may ask, but nobody approves it: it is still so when a later request has been served.
    let stranger = object(
        &format!("{}-x", place.namespace),
        KUBELET_CLIENT,
        &request,
        usages("client auth"),
    );
    let weak = [
        ("Impersonate-User", user.as_str()),
        ("Impersonate-Group", weak.as_str()),
    ];
    let waiting = make(&place, &weak, &stranger).await;
    let later = object(
        &format!("{}-y", place.namespace),
        KUBELET_CLIENT,
        &request,
        usages("client auth"),
    );
    let later = make(&place, &joining, &later).await;
    certificate(&place, &later).await;
    assert_eq!(get(&place, &waiting).await["status"].get("certificate"), None);
    for path in [path, waiting, later] {
        remove(&place, &path).await;
    }
    for name in ["create", "approve"] {
        remove(&place, &format!("{RBAC}/clusterrolebindings/{group}-{name}")).await;
    }
    place.end().await;
}

async fn nobody_asks_to_be_an_administrator(place: Place) {
    let key = KeyPair::generate().unwrap();
    let name = &place.namespace;
    let request = pkcs10("joe", "system:masters", &[], &key);
    let wanted = object(name, CLIENT, &request, usages("client auth"));
    let (code, answer) = send(&place.client, &[], "POST", REQUESTS, &wanted).await;
    let why = format!(
        "certificatesigningrequests.certificates.k8s.io {name:?} is forbidden: use of {CLIENT} signer with system:masters group is not allowed"
    );
    assert_eq!((code, answer["message"].as_str().unwrap()), (403, why.as_str()));
    place.end().await;
}

async fn requests_for_certificates_are_checked(place: Place) {
    let key = KeyPair::generate().unwrap();
    let name = &place.namespace;
    let good = pkcs10("joe", "devs", &[], &key);
    let mut short = object(name, CLIENT, &good, usages("client auth"));
    short["spec"]["expirationSeconds"] = 599.into();
    let garbage = STANDARD.encode("nothing");
    let cases = [
        (short, "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)".to_owned()),
        (object(name, "kubernetes.io/legacy-unknown", &good, usages("client auth")),
            r#"spec.signerName: Invalid value: "kubernetes.io/legacy-unknown": the legacy signerName is not allowed via this API version"#.to_owned()),
        (object(name, CLIENT, &garbage, usages("client auth")),
            format!("spec.request: Invalid value: {garbage:?}: PEM block type must be CERTIFICATE REQUEST")),
    ];
    for (request, why) in cases {
        let (code, answer) = send(&place.client, &[], "POST", REQUESTS, &request).await;
        let expected = format!("CertificateSigningRequest.certificates.k8s.io {name:?} is invalid: {why}");
        assert_eq!(
            (code, answer["message"].as_str().unwrap()),
            (422, expected.as_str())
        );
    }
    place.end().await;
}

super::cases!(nobody_asks_to_be_an_administrator; full:
    requests_for_certificates_are_checked,
    what_is_approved_is_signed,
    what_a_signer_does_not_sign_fails_with_the_reason,
    a_kubelet_that_may_gets_its_certificate_without_anybody,
);
