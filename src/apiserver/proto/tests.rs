//! Bytes by hand, there and back, and bytes of chance.

use axum::body::{Body, to_bytes};
use axum::response::Response;
use proptest::prelude::*;
use serde_json::json;

use super::decode::DecodeError;
use super::encode::{Message, encode};
use super::fields::{Kind, Shape, Table};
use super::{MEDIA_TYPE, PREFIX, decode, respond, wanted};

const NO_DEFAULT: (&str, &str) = ("", "");

fn message(fill: impl FnOnce(&mut Message)) -> Message {
    let mut message = Message::default();
    fill(&mut message);
    message
}

/// Puts a message into the envelope.
fn enveloped(version: &str, kind: &str, raw: &Message) -> Vec<u8> {
    let envelope = message(|m| {
        let meta = message(|m| {
            m.bytes(1, version.as_bytes());
            m.bytes(2, kind.as_bytes());
        });
        m.message(1, &meta);
        m.message(2, raw);
    });
    [PREFIX, &envelope.into_bytes()].concat()
}

fn told(bytes: &[u8]) -> String {
    decode(bytes, NO_DEFAULT).unwrap_err().to_string()
}

#[test]
fn the_table_is_whole() {
    let lines = include_str!("fields.txt")
        .lines()
        .filter(|l| l.starts_with(' '))
        .count();
    let table = Table::get();
    assert_eq!(table.len(), lines, "a line could not be read");
    let pod = table.find("v1", "Pod").unwrap();
    let names: Vec<_> = table.fields(pod).iter().map(|f| f.name).collect();
    assert_eq!(names, ["metadata", "spec", "status"]);
    let volume = table.fields(table.find("v1", "Volume").unwrap());
    assert_eq!(volume[1].shape, Shape::Inline);
    assert!(
        table
            .fields(table.schema())
            .iter()
            .any(|f| f.name == "x-kubernetes-validations")
    );
    assert_eq!(
        table.find("apps/v1", "DeleteOptions"),
        table.find("v1", "DeleteOptions")
    );
    assert!(table.find("example.com/v1", "Pod").is_none());
    for id in 0..lines {
        for field in table.fields(id).iter().filter(|f| f.shape == Shape::Inline) {
            assert!(matches!(field.kind, Kind::Message(_)), "{}", field.name);
        }
    }
}

#[test]
fn every_served_kind_has_a_message() {
    let registry = super::super::builtin::Registry::builtin();
    for info in registry.all() {
        for kind in [Some(&info.kind), (!info.virtual_only).then_some(&info.list_kind)]
            .into_iter()
            .flatten()
        {
            assert!(
                Table::get().find(&info.api_version(), kind).is_some(),
                "{} {kind}",
                info.api_version()
            );
        }
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    let pair = |pair: &[u32]| u8::try_from(pair[0] * 16 + pair[1]).unwrap();
    digits.chunks(2).map(pair).collect()
}

/// As clients write it: whatever is no pointer is there, even if empty.
const NAMESPACE: &str = "6b3873000a0f0a02763112094e616d65737061636512190a110a017812001a0022002a0032003800420012001a020a001a00\
     2200";
const LEASE: &str = "6b3873000a1f0a16636f6f7264696e6174696f6e2e6b38732e696f2f763112054c65617365122e0a100a0012001a0022002a\
     00320038004200121a0a0010ffffffffffffffffff01220b0880e2cfaa06108094ef3a1a002200";
const BUDGET: &str = "6b3873000a200a09706f6c6963792f76311213506f6444697372757074696f6e427564676574122b0a100a0012001a002200\
     2a00320038004200120b0a09080110001a033530251a0a080018002000280030001a002200";
const DEFINITION: &str = "6b3873000a330a17617069657874656e73696f6e732e6b38732e696f2f76311218437573746f6d5265736f75726365446566\
     696e6974696f6e12f2010a100a0012001a0022002a0032003800420012cf010a001a080a00120022002a0022003abc010a02\
     76311000180022af010aac010a00120022002a0032003a00420b0a097b2261223a5b315d7d49000000000000044050005900\
     0000000000f03f60007a00900100a201030a0131a201050a03227822c201260a240a00120022002a06737472696e6732003a\
     00500060007a00900100a80200b80200c00200f2010208018202080a016412031201658a02220801121e0a00120022002a00\
     32003a00500060007a00900100a80200b80200c00201a80200b00200b80200c00200380050001a0c12080a00120022002a00\
     20001a002200";

#[test]
fn what_clients_send_is_what_they_mean() {
    for (bytes, meant) in [
        (
            NAMESPACE,
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}, "spec": {}, "status": {}}),
        ),
        (
            LEASE,
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {},
                "spec": {"holderIdentity": "", "leaseDurationSeconds": -1, "renewTime": "2023-11-14T22:13:20.123456Z"}}),
        ),
        (
            BUDGET,
            json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {},
                "spec": {"minAvailable": "50%"},
                "status": {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}}),
        ),
        (
            DEFINITION,
            json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {},
                "spec": {"group": "", "names": {"plural": "", "kind": ""}, "scope": "", "versions": [{
                    "name": "v1", "served": false, "storage": false, "schema": {"openAPIV3Schema": {
                        "default": {"a": [1]}, "maximum": 2.5, "minimum": 1, "enum": [1, "x"],
                        "items": {"type": "string"}, "additionalProperties": true, "dependencies": {"d": ["e"]},
                        "additionalItems": {"x-kubernetes-int-or-string": true},
                        "x-kubernetes-preserve-unknown-fields": false,
                    }},
                }]},
                "status": {"acceptedNames": {"plural": "", "kind": ""}}}),
        ),
    ] {
        let found = decode(&hex(bytes), NO_DEFAULT).unwrap();
        assert_eq!(found, meant);
        assert_eq!(
            decode(&encode(&found).unwrap(), NO_DEFAULT).unwrap(),
            meant,
            "there and back"
        );
    }
}

#[test]
fn every_type_goes_there_and_back() {
    for object in [
        json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": "AP8=", "b": ""}, "immutable": false, "type": "Opaque",
            "metadata": {"name": "s", "creationTimestamp": "2026-01-02T03:04:05Z", "generation": 7, "labels": {"a": ""},
                "managedFields": [{"manager": "m", "time": "1969-12-31T23:59:59Z", "fieldsV1": {"f:data": {".": {}}}}]}}),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}, {"name": "w", "configMap": {"name": "c"}}],
            "securityContext": {"supplementalGroups": [1, -2]},
            "ephemeralContainers": [{"name": "e", "image": "i", "targetContainerName": "t", "resources": {}}],
            "containers": [{"name": "c", "resources": {"limits": {"cpu": "500m"}},
                "livenessProbe": {"httpGet": {"port": "web"}}, "readinessProbe": {"tcpSocket": {"port": 80}}}]}}),
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {},
            "spec": {"extra": {"k": ["a", "b"]}}, "status": {"allowed": true}}),
        json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "code": 404, "details": {"name": "x"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {"resourceVersion": "9"},
            "items": [{"metadata": {"name": "a"}, "binaryData": {"k": "AQ=="}}, {"metadata": {"name": "b"}}]}),
    ] {
        let bytes = encode(&object).unwrap();
        assert_eq!(decode(&bytes, NO_DEFAULT).unwrap(), object);
    }
}

#[test]
fn bodies_without_a_type_get_that_of_the_path() {
    let bytes = enveloped("", "", &message(|m| m.integer(1, 0)));
    assert_eq!(
        decode(&bytes, ("meta.k8s.io/v1", "DeleteOptions")).unwrap(),
        json!({"apiVersion": "meta.k8s.io/v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0})
    );
}

#[test]
fn repeated_fields_extend_and_replace() {
    // Two pieces of metadata, a packed list, an unknown group, an unknown field.
    let pod = message(|m| {
        m.message(1, &message(|m| m.bytes(1, b"old")));
        m.message(1, &message(|m| m.bytes(3, b"ns")));
        m.message(1, &message(|m| m.bytes(1, b"new")));
        let security = message(|m| m.bytes(4, &[1, 2, 0x80, 1]));
        m.message(2, &message(|m| m.message(14, &security)));
        m.bytes(1000, b"whatever");
    });
    let mut bytes = pod.into_bytes();
    bytes.extend([0x9b, 0x06, 0x9b, 0x06, 0x08, 0x01, 0x9c, 0x06, 0x9c, 0x06]);
    let envelope = message(|m| {
        m.message(
            1,
            &message(|m| {
                m.bytes(1, b"v1");
                m.bytes(2, b"Pod");
            }),
        );
        m.bytes(2, &bytes);
    });
    let found = decode(&[PREFIX, &envelope.into_bytes()].concat(), NO_DEFAULT).unwrap();
    assert_eq!(found["metadata"], json!({"name": "new", "namespace": "ns"}));
    assert_eq!(
        found["spec"],
        json!({"securityContext": {"supplementalGroups": [1, 2, 128]}})
    );
}

#[test]
fn faults_are_told_as_the_api_server_tells_them() {
    assert_eq!(told(b""), "empty data");
    let prefix = "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]";
    assert_eq!(told(b"{}"), prefix);
    assert_eq!(told(b"k8s\0"), "empty body");
    assert_eq!(told(b"k8s\0\x0a\x7f"), "unexpected EOF");
    assert_eq!(
        told(b"k8s\0\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        "proto: negative length found during unmarshaling"
    );
    assert_eq!(
        told(b"k8s\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        "proto: integer overflow"
    );
    assert_eq!(told(b"k8s\0\x00\x00"), "proto: illegal tag 0 (wire type 0)");
    assert_eq!(told(b"k8s\0\x0c"), "proto: unexpected end of group");
    assert_eq!(told(b"k8s\0\x0f"), "proto: illegal wireType 7");
    assert_eq!(
        told(b"k8s\0\x08\x01"),
        "proto: wrong wireType = 0 for field TypeMeta"
    );
    let unknown = decode(&enveloped("x/v1", "Y", &Message::default()), NO_DEFAULT).unwrap_err();
    assert_eq!(unknown.of, Some(("Y".to_owned(), "v1".to_owned())));
    assert!(matches!(unknown.error, DecodeError::NotRegistered { .. }));
    let bad = message(|m| m.message(1, &message(|m| m.integer(1, 3))));
    assert_eq!(
        told(&enveloped("v1", "ConfigMap", &bad)),
        "proto: wrong wireType = 0 for field Name"
    );
}

#[test]
fn schemas_without_end_are_refused() {
    let mut schema = Message::default();
    for _ in 0..2000 {
        let inner = std::mem::take(&mut schema);
        schema.message(28, &inner);
    }
    let version = message(|m| m.message(4, &message(|m| m.message(1, &schema))));
    let definition = message(|m| m.message(2, &message(|m| m.message(7, &version))));
    let bytes = enveloped("apiextensions.k8s.io/v1", "CustomResourceDefinition", &definition);
    let error = decode(&bytes, NO_DEFAULT).unwrap_err().error;
    assert!(matches!(error, DecodeError::TooDeep), "{error}");
}

#[test]
fn protobuf_is_for_those_who_take_nothing_else() {
    assert!(wanted(MEDIA_TYPE));
    assert!(wanted(
        "application/vnd.kubernetes.protobuf;stream=watch, text/plain"
    ));
    assert!(!wanted("application/vnd.kubernetes.protobuf,application/json"));
    assert!(!wanted("application/vnd.kubernetes.protobuf, */*"));
    assert!(!wanted(""));
}

#[tokio::test]
async fn watches_become_frames() {
    // The second line comes in two pieces.
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}});
    let text = format!("{0}\n{0}\n", json!({"type": "ADDED", "object": namespace}));
    let cut = text.len() - 9;
    let pieces = [&text[..cut], &text[cut..]].map(|p| Ok::<_, std::io::Error>(p.as_bytes().to_vec()));
    let mut response = Response::new(Body::from_stream(futures::stream::iter(pieces)));
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert("content-type", json);
    let response = respond(response, true).await;
    assert_eq!(
        response.headers()["content-type"],
        "application/vnd.kubernetes.protobuf;stream=watch"
    );
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let object = encode(&namespace).unwrap();
    let event = message(|m| {
        m.bytes(1, b"ADDED");
        m.message(2, &message(|m| m.bytes(1, &object)));
    })
    .into_bytes();
    let frame = [
        u32::try_from(event.len()).unwrap().to_be_bytes().as_slice(),
        &event,
    ]
    .concat();
    assert_eq!(bytes.to_vec(), frame.repeat(2));
}

/// Bytes that look like messages more often than chance would make them.
fn almost_messages() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..12),
        (1_u32..50, any::<i64>()).prop_map(|(n, v)| message(|m| m.integer(n, v)).into_bytes()),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop::collection::vec((1_u32..50, inner), 0..6).prop_map(|fields| {
            message(|m| fields.iter().for_each(|(n, bytes)| m.bytes(*n, bytes))).into_bytes()
        })
    })
}

proptest! {
    #[test]
    fn chance_breaks_nothing(raw in almost_messages(), kind in 0_usize..4, cut in any::<prop::sample::Index>()) {
        let kinds = [("v1", "Pod"), ("apiextensions.k8s.io/v1", "CustomResourceDefinition"), ("v1", "Event"), ("v1", "Status")];
        let body = message(|m| m.bytes(2, &raw)).into_bytes();
        let bytes = [PREFIX, &body].concat();
        for bytes in [bytes.as_slice(), &bytes[..cut.index(bytes.len())], &raw] {
            if let Ok(object) = decode(bytes, kinds[kind]) {
                // No byte becomes more than a name and its value.
                prop_assert!(object.to_string().len() < 100 + bytes.len() * 64);
                let again = encode(&object).expect("it has a message");
                prop_assert!(decode(&again, NO_DEFAULT).is_ok());
            }
        }
    }

    #[test]
    fn any_bytes_break_nothing(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        // That it comes back at all is the point.
        if let Ok(object) = decode(&[PREFIX, &bytes].concat(), ("v1", "Pod")) {
            prop_assert!(object["kind"].is_string());
        }
    }
}
