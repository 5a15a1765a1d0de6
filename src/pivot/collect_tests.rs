//! Lists as API servers give them: pages, pages that are too old, a server that is busy, nodes that are not hollow.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use kube::client::Body;
use serde_json::json;

use super::*;
use crate::client::{Count, Patience, patient};

type Answer = (u16, Value);

/// A client whose API server answers as a function says; it is told how many requests came before, and the address.
fn client_of(answer: impl Fn(usize, &str) -> Answer + Send + Sync + 'static) -> (Client, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let (count, answer) = (Arc::clone(&asked), Arc::new(answer));
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (count, answer) = (Arc::clone(&count), Arc::clone(&answer));
        async move {
            let (code, body) = answer(count.fetch_add(1, Ordering::SeqCst), &request.uri().to_string());
            let body = if code == 200 { body } else { status(code) };
            http::Response::builder()
                .status(code)
                .body(Body::from(serde_json::to_vec(&body).unwrap()))
        }
    });
    (Client::new(service, "default"), asked)
}

fn status(code: u16) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Test", "message": "no", "code": code })
}

fn item(name: &str) -> Value {
    json!({ "metadata": { "name": name, "namespace": "fleet", "uid": format!("uid-{name}") } })
}

fn names(objects: &[Object]) -> Vec<&str> {
    objects.iter().map(|o| &*o.name).collect()
}

#[tokio::test]
async fn pages_are_followed_to_the_end() {
    let (client, asked) = client_of(|_, address| {
        if address.contains("continue=a%2Fb") {
            (200, json!({ "metadata": {}, "items": [item("c")] }))
        } else {
            assert!(
                address.ends_with("/api/v1/namespaces/fleet/secrets?limit=500"),
                "{address}"
            );
            (
                200,
                json!({ "metadata": { "continue": "a/b" }, "items": [item("a"), item("b")] }),
            )
        }
    });
    let found = collect(&client, &[MovedKind::secret()], &Namespaces::One("fleet".into()))
        .await
        .unwrap();
    assert_eq!(names(&found), ["a", "b", "c"]);
    assert_eq!(found[2].value().unwrap()["kind"], "Secret");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn pages_that_the_server_has_forgotten_are_read_again_in_one_piece() {
    let (client, asked) = client_of(|number, address| match number {
        0 => (
            200,
            json!({ "metadata": { "continue": "x" }, "items": [item("old")] }),
        ),
        1 => (410, Value::Null),
        _ => {
            assert!(!address.contains('?'), "{address}");
            (200, json!({ "metadata": null, "items": [item("a"), item("b")] }))
        }
    });
    let found = collect(&client, &[MovedKind::secret()], &Namespaces::All)
        .await
        .unwrap();
    assert_eq!(names(&found), ["a", "b"]);
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_busy_server_is_asked_again_and_a_refusal_is_told_at_once() {
    let patience = Patience {
        answer: Duration::from_secs(5),
        total: Duration::from_millis(100),
        pause: Duration::from_millis(1),
    };
    let patient = |(client, asked): (Client, _)| (patient(&client, patience, Count::default()), asked);
    let (client, _) = patient(client_of(|number, _| match number {
        0 => (429, Value::Null),
        1 => (500, Value::Null),
        _ => (200, json!({ "items": null })),
    }));
    assert!(
        collect(&client, &[MovedKind::secret()], &Namespaces::All)
            .await
            .unwrap()
            .is_empty()
    );
    let (client, asked) = patient(client_of(|_, _| (403, Value::Null)));
    let error = collect(&client, &[MovedKind::secret()], &Namespaces::All)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "can't list secrets");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let (client, asked) = patient(client_of(|_, _| (503, Value::Null)));
    assert!(
        collect(&client, &[MovedKind::secret()], &Namespaces::All)
            .await
            .is_err()
    );
    assert!(asked.load(Ordering::SeqCst) > 2);
}

#[tokio::test]
async fn a_list_that_can_not_be_read_says_so_without_its_content() {
    let (client, _) = client_of(|_, _| (200, json!({ "items": [{ "data": { "token": "c2VjcmV0" } }] })));
    let error = collect(&client, &[MovedKind::secret()], &Namespaces::All)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("it has no metadata.name"), "{error}");
    assert!(!error.to_string().contains("c2VjcmV0"), "{error}");
}

#[tokio::test]
async fn nodes_are_asked_for_only_where_hollow_machines_are_and_only_theirs_are_kept() {
    let hollow = MovedKind {
        group: INFRASTRUCTURE_GROUP.to_owned(),
        version: "v1alpha1".to_owned(),
        kind: "HollowMachine".to_owned(),
        plural: "hollowmachines".to_owned(),
        own: true,
        ..MovedKind::config_map()
    };
    let kinds = [MovedKind::node(), hollow];
    let node = |name: &str, id: &str| json!({ "metadata": { "name": name }, "spec": { "providerID": id } });
    let nodes = json!({ "items": [node("a", "hollow://fleet/a"), node("b", "docker:////b"), { "metadata": { "name": "c" } }] });
    let (client, _) = client_of(move |_, address| match address {
        "/api/v1/nodes?limit=500" => (200, nodes.clone()),
        _ => (200, json!({ "items": [item("a")] })),
    });
    let found = collect(&client, &kinds, &Namespaces::One("fleet".into()))
        .await
        .unwrap();
    assert_eq!(
        found.iter().map(|o| o.key(&kinds)).collect::<Vec<_>>(),
        ["HollowMachine.infrastructure.crit.sh fleet/a", "Node a"]
    );
    let all = everything(&client, &kinds[..1], &Namespaces::All).await.unwrap();
    assert_eq!(
        names(&all),
        ["a", "b", "c"],
        "hosts stand in the way of a name, too"
    );
    let (client, asked) = client_of(|_, _| (200, json!({ "items": [] })));
    assert!(
        collect(&client, &kinds, &Namespaces::All)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}
