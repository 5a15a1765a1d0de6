//! How fast the embedded server is: bounds that hold with room to spare in a debug build on a slow disk beside other work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use machinectl::apiserver::Server;
use machinectl::time::SystemClock;
use serde_json::json;

use super::configmap;

/// Twenty writers at once, each with writes one after another, as controllers do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_durable_writes_take_little_time() {
    let dir = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let server = Server::open(dir.path(), Arc::new(SystemClock)).await.unwrap();
    let opened = began.elapsed();
    let api: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::namespaced(server.client(), "default");
    let began = Instant::now();
    join_all((0..20).map(|writer| {
        let api = api.clone();
        async move {
            for n in 0..10 {
                let name = format!("n{writer}-{n}");
                api.create(&PostParams::default(), &configmap(&name, &[("k", "1")]))
                    .await
                    .unwrap();
                let patch = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"l": "2"}});
                api.patch(&name, &PatchParams::apply("m"), &Patch::Apply(&patch))
                    .await
                    .unwrap();
            }
        }
    }))
    .await;
    let concurrent = began.elapsed();
    let began = Instant::now();
    for n in 0..20 {
        api.create(
            &PostParams::default(),
            &configmap(&format!("s-{n}"), &[("k", "1")]),
        )
        .await
        .unwrap();
    }
    let sequential = began.elapsed();
    println!("open {opened:?}, 400 writes by 20 writers {concurrent:?}, 20 writes by one {sequential:?}");
    assert!(concurrent < Duration::from_secs(30), "{concurrent:?}");
    server.stop().await;
    assert!(
        api.create(&PostParams::default(), &configmap("late", &[]))
            .await
            .is_err()
    );
    let server = Server::open(dir.path(), Arc::new(SystemClock)).await.unwrap();
    let api: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::namespaced(server.client(), "default");
    // Each namespace has one of its own.
    let made = kube::api::ListParams::default().fields("metadata.name!=kube-root-ca.crt");
    assert_eq!(api.list(&made).await.unwrap().items.len(), 220);
}

/// What `create cluster` and every command on a fresh state begin with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_state_with_all_definitions_is_there_at_once() {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    let dir = tempfile::tempdir().unwrap();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
    let mut definitions = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "yaml") {
            let text = std::fs::read_to_string(path).unwrap();
            for document in machinectl::yaml::documents(&text).unwrap() {
                definitions.push(document.value);
            }
        }
    }
    assert!(!definitions.is_empty());
    let began = Instant::now();
    let server = Server::open(dir.path(), Arc::new(SystemClock)).await.unwrap();
    let opened = began.elapsed();
    let api: Api<CustomResourceDefinition> = Api::all(server.client());
    join_all(definitions.iter().map(|definition| {
        let api = api.clone();
        async move {
            let name = definition["metadata"]["name"].as_str().unwrap();
            api.patch(name, &PatchParams::apply("m").force(), &Patch::Apply(definition))
                .await
                .unwrap();
        }
    }))
    .await;
    let installed = began.elapsed();
    server.stop().await;
    let began = Instant::now();
    let server = Server::open(dir.path(), Arc::new(SystemClock)).await.unwrap();
    let opened_again = began.elapsed();
    println!(
        "open {opened:?}, with {} definitions {installed:?}, open again {opened_again:?}",
        definitions.len()
    );
    assert!(installed < Duration::from_secs(30), "{installed:?}");
    let api: Api<CustomResourceDefinition> = Api::all(server.client());
    assert_eq!(
        api.list(&kube::api::ListParams::default())
            .await
            .unwrap()
            .items
            .len(),
        definitions.len()
    );
}

/// What a request makes the server do grows as the request does, not as its square.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_lists_take_no_long_time() {
    const ITEMS: usize = 20_000;
    let server = Server::in_memory(Arc::new(SystemClock));
    let api: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::namespaced(server.client(), "default");
    let items: Vec<String> = (0..ITEMS).map(|n| format!("a.example/f{n}")).collect();
    let turned: Vec<&String> = items.iter().rev().collect();
    let with = |finalizers: serde_json::Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "long", "finalizers": finalizers}});
    let began = Instant::now();
    for (manager, finalizers) in [("a", json!(items)), ("b", json!(turned))] {
        let applied = Patch::Apply(with(finalizers));
        let params = PatchParams::apply(manager);
        let made = api.patch("long", &params, &applied).await.unwrap();
        assert_eq!(made.metadata.finalizers.unwrap().len(), ITEMS);
    }
    let applied = began.elapsed();
    let began = Instant::now();
    let merged = Patch::Strategic(with(json!(turned)));
    let merged = api.patch("long", &PatchParams::default(), &merged).await.unwrap();
    assert_eq!(merged.metadata.finalizers.unwrap().len(), ITEMS);
    let patched = began.elapsed();
    let began = Instant::now();
    let labels: serde_json::Map<String, serde_json::Value> =
        (0..ITEMS).map(|n| (format!("bad key {n}"), json!(""))).collect();
    let bad = Patch::Merge(json!({"metadata": {"labels": labels}}));
    assert!(api.patch("long", &PatchParams::default(), &bad).await.is_err());
    let refused = began.elapsed();
    println!("{ITEMS} items: applied {applied:?}, patched {patched:?}, refused {refused:?}");
    for took in [applied, patched, refused] {
        assert!(took < Duration::from_secs(20), "{took:?}");
    }
}
