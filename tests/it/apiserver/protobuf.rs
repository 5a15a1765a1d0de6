//! Protocol buffers, as clients written in Go send them and want them. The bytes are made by hand.

use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::Value;

use super::custom::{install, uninstall};
use super::{Place, cases};

cases! {
    objects_can_be_sent,
    those_who_take_nothing_else_get_it,
    watches_come_in_frames,
    broken_bodies_are_refused,
    custom_objects_have_none,
}

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// One field that holds bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).unwrap();
    assert!(number < 16 && length < 128, "one byte each");
    [&[number << 3 | 2, length], bytes].concat()
}

fn enveloped(version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [field(1, version.as_bytes()), field(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), field(1, &meta), field(2, raw)].concat()
}

fn configmap(name: &str) -> Vec<u8> {
    let meta = field(1, name.as_bytes());
    let data = [field(1, b"key"), field(2, b"value")].concat();
    let binary = [field(1, b"raw"), field(2, &[0xff, 0])].concat();
    enveloped(
        "v1",
        "ConfigMap",
        &[field(1, &meta), field(2, &data), field(3, &binary)].concat(),
    )
}

struct Answer {
    code: u16,
    media: String,
    body: Vec<u8>,
}

impl Answer {
    fn message(&self) -> String {
        let status: Value = serde_json::from_slice(&self.body).unwrap();
        status["message"].as_str().unwrap().to_owned()
    }
}

async fn post(place: &Place, path: &str, body: Vec<u8>) -> Answer {
    let request = http::Request::post(path)
        .header("Content-Type", PROTOBUF)
        .header("Accept", "application/json");
    send(place, request.body(Body::from(body)).unwrap()).await
}

async fn get(place: &Place, path: &str) -> Answer {
    let request = http::Request::get(path).header("Accept", PROTOBUF);
    send(place, request.body(Body::empty()).unwrap()).await
}

async fn send(place: &Place, request: http::Request<Body>) -> Answer {
    let response = place.client.send(request).await.unwrap();
    Answer {
        code: response.status().as_u16(),
        media: response.headers()["content-type"].to_str().unwrap().to_owned(),
        body: response.into_body().collect().await.unwrap().to_bytes().to_vec(),
    }
}

fn collection(place: &Place) -> String {
    format!("/api/v1/namespaces/{}/configmaps", place.namespace)
}

async fn objects_can_be_sent(place: Place) {
    let answer = post(&place, &collection(&place), configmap("sent")).await;
    assert_eq!(answer.code, 201, "{}", String::from_utf8_lossy(&answer.body));
    let found = place.configmaps().get("sent").await.unwrap();
    assert_eq!(found.data.unwrap()["key"], "value");
    assert_eq!(found.binary_data.unwrap()["raw"].0, [0xff, 0]);
    let again = post(&place, &collection(&place), configmap("sent")).await;
    assert_eq!(again.code, 409);
    // A body that is not what it says.
    let wrong = field(1, &[1 << 3, 1]);
    let answer = post(&place, &collection(&place), enveloped("v1", "ConfigMap", &wrong)).await;
    assert_eq!(answer.code, 400);
    place.end().await;
}

async fn those_who_take_nothing_else_get_it(place: Place) {
    post(&place, &collection(&place), configmap("sent")).await;
    let one = get(&place, &(collection(&place) + "/sent")).await;
    assert_eq!((one.code, one.media.as_str()), (200, PROTOBUF));
    // What was sent comes back beside what the server added.
    let meta = [field(1, b"v1"), field(2, b"ConfigMap")].concat();
    let begin = [b"k8s\0".to_vec(), field(1, &meta)].concat();
    assert!(one.body.starts_with(&begin));
    let data = field(2, &[field(1, b"key"), field(2, b"value")].concat());
    assert!(one.body.windows(data.len()).any(|part| part == data));
    let list = get(&place, &collection(&place)).await;
    assert_eq!((list.code, list.media.as_str()), (200, PROTOBUF));
    assert!(list.body.windows(data.len()).any(|part| part == data));
    let none = get(&place, &(collection(&place) + "/none")).await;
    assert_eq!((none.code, none.media.as_str()), (404, PROTOBUF));
    let meta = [field(1, b"v1"), field(2, b"Status")].concat();
    assert!(
        none.body
            .starts_with(&[b"k8s\0".to_vec(), field(1, &meta)].concat())
    );
    place.end().await;
}

async fn watches_come_in_frames(place: Place) {
    post(&place, &collection(&place), configmap("sent")).await;
    // A real namespace has a config map with the cluster's certificates, maybe.
    let path = collection(&place) + "?watch=1&timeoutSeconds=1&fieldSelector=metadata.name=sent";
    let answer = get(&place, &path).await;
    assert_eq!(answer.media, format!("{PROTOBUF};stream=watch"));
    let (length, frame) = answer.body.split_first_chunk().unwrap();
    assert_eq!(u32::from_be_bytes(*length), u32::try_from(frame.len()).unwrap());
    assert!(frame.starts_with(&field(1, b"ADDED")));
    place.end().await;
}

async fn broken_bodies_are_refused(place: Place) {
    for (body, why) in [
        (b"".as_slice(), "empty data (<empty>)"),
        (b"k8s\0", "empty body (6b387300)"),
        (b"k8s\0\x0a\x7f", "unexpected EOF (6b3873000a7f)"),
        (
            b"{}",
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0] ({})",
        ),
    ] {
        let answer = post(&place, &collection(&place), body.to_vec()).await;
        assert_eq!(answer.code, 400);
        let message = answer.message();
        let wanted = format!("the object provided is unrecognized (must be of type ConfigMap): {why}");
        assert_eq!(message, wanted);
    }
    place.end().await;
}

async fn custom_objects_have_none(place: Place) {
    let (_api, resource) = install(&place).await;
    let path = format!(
        "/apis/{}/v1/namespaces/{}/gizmos",
        resource.group, place.namespace
    );
    let answer = post(
        &place,
        &path,
        enveloped(&format!("{}/v1", resource.group), "Gizmo", b""),
    )
    .await;
    assert_eq!(answer.code, 400);
    assert_eq!(
        answer.message(),
        "Gizmo in version \"v1\" cannot be handled as a Gizmo: Object 'Kind' is missing in 'object has no kind field '"
    );
    assert_eq!(get(&place, &path).await.code, 406);
    // Options are the same for all kinds.
    let json = serde_json::json!({"apiVersion": format!("{}/v1", resource.group), "kind": "Gizmo", "metadata": {"name": "g"}, "spec": {"size": 1}});
    let request = http::Request::post(&path).header("Content-Type", "application/json");
    let made = send(
        &place,
        request.body(Body::from(json.to_string().into_bytes())).unwrap(),
    )
    .await;
    assert_eq!(made.code, 201, "{}", String::from_utf8_lossy(&made.body));
    let uid = field(2, &field(1, b"another"));
    for (options, code) in [(uid.as_slice(), 409), (b"", 200)] {
        let request = http::Request::delete(format!("{path}/g")).header("Content-Type", PROTOBUF);
        let options = enveloped("meta.k8s.io/v1", "DeleteOptions", options);
        let answer = send(&place, request.body(Body::from(options)).unwrap()).await;
        assert_eq!(answer.code, code, "{}", String::from_utf8_lossy(&answer.body));
    }
    uninstall(&place, &resource).await;
}
