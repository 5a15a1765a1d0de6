//! Corners of single requests, as they look on the wire: odd bodies, odd forms, and clients that hang up.

use std::sync::Arc;

use axum::body::Body;
use futures::FutureExt;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use machinectl::apiserver::Server;
use machinectl::apiserver::auth::UserInfo;
use machinectl::time::SystemClock;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{Place, configmap, eventually};

super::cases!(
    an_approval_can_be_a_patch,
    a_list_has_no_form_of_one_object,
    a_definition_is_cleaned_up_before_it_goes
);

/// Asks and returns the code and the body, which may be text.
async fn ask(client: &Client, method: Method, uri: &str, accept: &str) -> (u16, Value) {
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header("Accept", accept)
        .body(kube::client::Body::empty())
        .unwrap();
    let response = client.send(request).await.unwrap();
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
    (code, serde_json::from_slice(&bytes).unwrap_or_else(|_| text()))
}

async fn an_approval_can_be_a_patch(place: Place) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut subject = rcgen::CertificateParams::default();
    subject
        .distinguished_name
        .push(rcgen::DnType::CommonName, "somebody");
    let pem = subject.serialize_request(&key).unwrap().pem().unwrap();
    let wanted: CertificateSigningRequest = serde_json::from_value(json!({
        "metadata": {"generateName": "approved-"},
        "spec": {"request": k8s_openapi::ByteString(pem.into_bytes()), "signerName": "example.com/nobody", "usages": ["client auth"]},
    }))
    .unwrap();
    let api: Api<CertificateSigningRequest> = Api::all(place.client.clone());
    let made = api.create(&PostParams::default(), &wanted).await.unwrap();
    let conditions =
        json!([{"type": "Approved", "status": "True", "reason": "Asked", "message": "by a patch"}]);
    let patch = Patch::Merge(
        json!({"spec": {"signerName": "example.com/other"}, "status": {"conditions": conditions}}),
    );
    let name = made.name_any();
    let patched = api
        .patch_approval(&name, &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(patched.spec, made.spec);
    let found = patched.status.unwrap().conditions.unwrap();
    assert_eq!(
        (found[0].type_.as_str(), found[0].message.as_deref()),
        ("Approved", Some("by a patch"))
    );
    api.delete(&name, &DeleteParams::default()).await.unwrap();
    place.end().await;
}

async fn a_list_has_no_form_of_one_object(place: Place) {
    let api = place.configmaps();
    api.create(&PostParams::default(), &configmap("a", &[]))
        .await
        .unwrap();
    let one = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let many = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let uri = format!("/api/v1/namespaces/{}/configmaps", place.namespace);
    let why = "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)";
    for method in [Method::GET, Method::DELETE] {
        let (code, status) = ask(&place.client, method, &uri, one).await;
        assert_eq!(
            (code, &status["reason"], &status["message"]),
            (406, &json!("NotAcceptable"), &json!(why))
        );
    }
    // What was asked for has happened all the same.
    assert!(api.get_opt("a").await.unwrap().is_none());
    api.create(&PostParams::default(), &configmap("b", &[]))
        .await
        .unwrap();
    let (code, status) = ask(&place.client, Method::GET, &format!("{uri}/b"), many).await;
    let why =
        "you requested PartialObjectMetadataList, but the requested object is not a list (*core.ConfigMap)";
    assert_eq!((code, &status["message"]), (406, &json!(why)));
    let (code, list) = ask(&place.client, Method::DELETE, &uri, many).await;
    assert_eq!((code, &list["kind"]), (200, &json!("PartialObjectMetadataList")));
    place.end().await;
}

/// A definition of its own for a case.
fn definition(plural: &str, group: &str) -> CustomResourceDefinition {
    serde_json::from_value(json!({
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"plural": plural, "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    }))
    .unwrap()
}

async fn a_definition_is_cleaned_up_before_it_goes(place: Place) {
    let api: Api<CustomResourceDefinition> = Api::all(place.client.clone());
    let group = format!("{}.example.com", place.namespace);
    let made = api
        .create(&PostParams::default(), &definition("things", &group))
        .await
        .unwrap();
    let name = made.name_any();
    let answer = api.delete(&name, &DeleteParams::default()).await.unwrap();
    let going = answer.left().unwrap();
    assert_eq!(going.finalizers(), ["customresourcecleanup.apiextensions.k8s.io"]);
    assert!(going.metadata.deletion_timestamp.is_some());
    eventually("the definition is gone", || async {
        api.get_opt(&name).await.unwrap().is_none()
    })
    .await;
    place.end().await;
}

/// A request of the administrator, as the listener passes it on.
fn request(method: Method, uri: &str, body: Body) -> Request<Body> {
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .header("Content-Type", "application/json")
        .body(body)
        .unwrap();
    request.extensions_mut().insert(UserInfo::admin());
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_from_a_write_happens_although_the_client_has_hung_up() {
    let server = Server::in_memory(Arc::new(SystemClock));
    let client = server.client();
    // The first step of a handler hands the write over; then nobody asks it to go on.
    let hang_up = |method: Method, uri: &str, body: String| {
        let answer = server.router().oneshot(request(method, uri, Body::from(body)));
        // The disk is mostly slower than this.
        if let Some(answer) = answer.now_or_never() {
            assert!(answer.as_ref().unwrap().status().is_success(), "{answer:?}");
        }
    };
    let wanted = serde_json::to_value(definition("things", "hung.up")).unwrap();
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    hang_up(Method::POST, definitions, wanted.to_string());
    eventually("the definition is served", || async {
        ask(&client, Method::GET, "/apis/hung.up/v1/things", "*/*")
            .await
            .0
            == 200
    })
    .await;

    let api: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::namespaced(client.clone(), "default");
    let owner = api
        .create(&PostParams::default(), &configmap("owner", &[]))
        .await
        .unwrap();
    let mut dependent = configmap("owned", &[]);
    dependent.metadata.owner_references = Some(vec![
        serde_json::from_value(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid().unwrap()}),
        )
        .unwrap(),
    ]);
    api.create(&PostParams::default(), &dependent).await.unwrap();
    let uri = "/api/v1/namespaces/default/configmaps/owner";
    hang_up(Method::DELETE, uri, String::new());
    eventually("the dependent is gone", || async {
        api.get_opt("owned").await.unwrap().is_none()
    })
    .await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_told_from_one_that_breaks_off() {
    let server = Server::in_memory(Arc::new(SystemClock));
    let send = async |body: Body| {
        let uri = "/api/v1/namespaces/default/configmaps";
        let answer = server.router().oneshot(request(Method::POST, uri, body)).await;
        let bytes = answer.unwrap().into_body().collect().await.unwrap().to_bytes();
        let status: Value = serde_json::from_slice(&bytes).unwrap();
        (
            status["code"].clone(),
            status["message"].as_str().unwrap().to_owned(),
        )
    };
    let large = send(Body::from(vec![b' '; (3 << 20) + 1])).await;
    assert_eq!(
        large,
        (
            json!(413),
            "Request entity too large: limit is 3145728".to_owned()
        )
    );
    let parts = [Ok("{"), Err(std::io::Error::other("the line is dead"))];
    let (code, message) = send(Body::from_stream(futures::stream::iter(parts))).await;
    assert_eq!(code, 500);
    assert!(message.contains("the line is dead"), "{message}");
}

#[tokio::test]
async fn a_health_check_that_there_is_not_is_not_well() {
    let server = Server::in_memory(Arc::new(SystemClock));
    for (uri, code) in [
        ("/livez", 200),
        ("/healthz/nonsense", 404),
        ("/readyz/", 404),
        ("/version/x", 404),
    ] {
        let answer = server
            .router()
            .oneshot(request(Method::GET, uri, Body::empty()))
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::from_u16(code).unwrap(), "{uri}");
    }
}

#[tokio::test]
async fn a_list_whose_moment_is_forgotten_can_go_on_with_what_is_there_now() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(dir.path(), Arc::new(SystemClock)).await.unwrap();
    let api = |server: &Server| {
        Api::<k8s_openapi::api::core::v1::ConfigMap>::namespaced(server.client(), "default")
    };
    for name in ["a", "b", "d"] {
        api(&server)
            .create(&PostParams::default(), &configmap(name, &[]))
            .await
            .unwrap();
    }
    let first = api(&server).list(&ListParams::default().limit(1)).await.unwrap();
    let token = first.metadata.continue_.unwrap();
    api(&server)
        .create(&PostParams::default(), &configmap("c", &[]))
        .await
        .unwrap();
    server.stop().await;
    drop(server);
    let server = Server::open(dir.path(), Arc::new(SystemClock)).await.unwrap();
    let uri = |token: &str| format!("/api/v1/namespaces/default/configmaps?limit=2&continue={token}");
    let (code, status) = ask(&server.client(), Method::GET, &uri(&token), "*/*").await;
    let message = status["message"].as_str().unwrap();
    assert_eq!((code, &status["reason"]), (410, &json!("Expired")));
    assert!(
        message.contains("or use the continue token in this response"),
        "{message}"
    );
    let token = status["metadata"]["continue"].as_str().unwrap();
    let (code, page) = ask(&server.client(), Method::GET, &uri(token), "*/*").await;
    let names = page["items"].as_array().unwrap().iter();
    let names: Vec<_> = names
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .collect();
    assert_eq!((code, names), (200, vec!["b", "c"]));
    // From there on all pages show one moment again.
    let token = page["metadata"]["continue"].as_str().unwrap();
    let (code, page) = ask(&server.client(), Method::GET, &uri(token), "*/*").await;
    assert_eq!((code, &page["items"][0]["metadata"]["name"]), (200, &json!("d")));
}
