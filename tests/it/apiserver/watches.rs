//! Watches, and what kube-runtime makes of them.

use std::pin::pin;
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::{Place, cases, code, configmap, eventually};

cases! {
    a_watch_tells_what_happens,
    a_watch_starts_where_a_list_ended,
    selectors_turn_changes_into_comings_and_goings,
    an_old_version_is_gone,
    watches_end_in_time,
    a_reflector_keeps_up_through_drops,
    ; full:
    initial_events_end_with_a_bookmark,
    a_watcher_sees_all_in_both_modes,
}

async fn next(
    stream: &mut (impl Stream<Item = kube::Result<WatchEvent<ConfigMap>>> + Unpin),
) -> WatchEvent<ConfigMap> {
    loop {
        let event = tokio::time::timeout(Duration::from_secs(120), stream.next())
            .await
            .expect("in time");
        match event.expect("the watch goes on").unwrap() {
            WatchEvent::Added(o) | WatchEvent::Modified(o) if o.name_any() == "kube-root-ca.crt" => {}
            event => return event,
        }
    }
}

fn told(event: &WatchEvent<ConfigMap>) -> String {
    match event {
        WatchEvent::Added(o) => format!("+{}", o.name_any()),
        WatchEvent::Modified(o) => format!("~{}", o.name_any()),
        WatchEvent::Deleted(o) => format!("-{}", o.name_any()),
        WatchEvent::Bookmark(_) => "bookmark".to_owned(),
        WatchEvent::Error(e) => format!("error {}", e.code),
    }
}

async fn label(api: &Api<ConfigMap>, name: &str, value: &str) -> ConfigMap {
    let patch = json!({"metadata": {"labels": {"on": value}}});
    api.patch(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap()
}

async fn a_watch_tells_what_happens(place: Place) {
    let api = place.configmaps();
    api.create(&PostParams::default(), &configmap("there", &[]))
        .await
        .unwrap();
    let mut stream = pin!(api.watch(&WatchParams::default().timeout(30), "0").await.unwrap());
    assert_eq!(told(&next(&mut stream).await), "+there");
    api.create(&PostParams::default(), &configmap("new", &[]))
        .await
        .unwrap();
    assert_eq!(told(&next(&mut stream).await), "+new");
    label(&api, "new", "1").await;
    assert_eq!(told(&next(&mut stream).await), "~new");
    api.delete("new", &DeleteParams::default()).await.unwrap();
    let WatchEvent::Deleted(last) = next(&mut stream).await else {
        panic!("not a removal")
    };
    assert_eq!(last.labels()["on"], "1", "the last state is told");
    place.end().await;
}

async fn a_watch_starts_where_a_list_ended(place: Place) {
    let api = place.configmaps();
    api.create(&PostParams::default(), &configmap("before", &[]))
        .await
        .unwrap();
    let list = api.list(&ListParams::default()).await.unwrap();
    api.create(&PostParams::default(), &configmap("after", &[]))
        .await
        .unwrap();
    label(&api, "before", "1").await;
    let version = list.metadata.resource_version.unwrap();
    let mut stream = pin!(
        api.watch(&WatchParams::default().timeout(30), &version)
            .await
            .unwrap()
    );
    assert_eq!(told(&next(&mut stream).await), "+after");
    assert_eq!(told(&next(&mut stream).await), "~before");
    place.end().await;
}

async fn selectors_turn_changes_into_comings_and_goings(place: Place) {
    let api = place.configmaps();
    let version = api
        .list(&ListParams::default())
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap();
    let mut stream = pin!(
        api.watch(&WatchParams::default().labels("on=1").timeout(30), &version)
            .await
            .unwrap()
    );
    api.create(&PostParams::default(), &configmap("a", &[]))
        .await
        .unwrap();
    label(&api, "a", "1").await;
    assert_eq!(told(&next(&mut stream).await), "+a");
    let last = label(&api, "a", "2").await;
    let event = next(&mut stream).await;
    assert_eq!(told(&event), "-a");
    let WatchEvent::Deleted(object) = event else {
        unreachable!()
    };
    assert_eq!(object.resource_version(), last.resource_version());
    assert_eq!(object.labels()["on"], "1");
    place.end().await;
}

/// How long a real server remembers is not in our hands.
async fn an_old_version_is_gone(place: Place) {
    if place.is_real() {
        return place.end().await;
    }
    let api = place.configmaps();
    // Of small objects more changes are remembered.
    let content = "x".repeat(5000);
    let first = api
        .create(&PostParams::default(), &configmap("a", &[("content", &content)]))
        .await
        .unwrap();
    for n in 0..1100 {
        label(&api, "a", &n.to_string()).await;
    }
    let version = first.resource_version().unwrap();
    let mut stream = pin!(
        api.watch(&WatchParams::default().timeout(10), &version)
            .await
            .unwrap()
    );
    assert_eq!(told(&next(&mut stream).await), "error 410");
    let old = ListParams::default()
        .at(&version)
        .matching(kube::api::VersionMatch::Exact);
    assert_eq!(code(api.list(&old).await), 410);
    place.end().await;
}

async fn initial_events_end_with_a_bookmark(place: Place) {
    place.needs_minor(34);
    let api = place.configmaps();
    api.create(&PostParams::default(), &configmap("a", &[]))
        .await
        .unwrap();
    let params = WatchParams::default().initial_events().timeout(30);
    let mut stream = pin!(api.watch(&params, "").await.unwrap());
    assert_eq!(told(&next(&mut stream).await), "+a");
    let WatchEvent::Bookmark(mark) = next(&mut stream).await else {
        panic!("no bookmark")
    };
    assert_eq!(mark.metadata.annotations["k8s.io/initial-events-end"], "true");
    label(&api, "a", "1").await;
    assert_eq!(told(&next(&mut stream).await), "~a");
    place.end().await;
}

async fn watches_end_in_time(place: Place) {
    let api = place.configmaps();
    let stream = api.watch(&WatchParams::default().timeout(1), "0").await.unwrap();
    let all: Vec<_> = tokio::time::timeout(Duration::from_secs(120), stream.try_collect())
        .await
        .expect("it ends")
        .unwrap();
    drop::<Vec<WatchEvent<ConfigMap>>>(all);
    place.end().await;
}

async fn a_watcher_sees_all_in_both_modes(place: Place) {
    place.needs_minor(34);
    let api = place.configmaps();
    for n in 0..3 {
        let mut wanted = configmap(&format!("n{n}"), &[]);
        wanted.metadata.labels = Some([("on".to_owned(), "1".to_owned())].into());
        api.create(&PostParams::default(), &wanted).await.unwrap();
    }
    let base = watcher::Config::default().labels("on");
    for config in [base.clone(), base.clone().streaming_lists(), base.page_size(2)] {
        let mut stream = pin!(watcher(api.clone(), config).applied_objects());
        let mut names = Vec::new();
        while names.len() < 3 {
            let object = tokio::time::timeout(Duration::from_secs(120), stream.next())
                .await
                .expect("in time");
            names.push(object.unwrap().unwrap().name_any());
        }
        names.sort();
        assert_eq!(names, ["n0", "n1", "n2"]);
    }
    place.end().await;
}

/// The client here loses every watch after a second; nothing may be missed or doubled for it.
async fn a_reflector_keeps_up_through_drops(place: Place) {
    let api = place.configmaps();
    let (reader, writer) = reflector::store::<ConfigMap>();
    let config = watcher::Config::default().labels("on").timeout(1);
    let stream = reflector(writer, watcher(api.clone(), config)).touched_objects();
    let follow = tokio::spawn(stream.for_each(|_| async {}));
    for n in 0..25 {
        let mut wanted = configmap(&format!("n{n}"), &[]);
        wanted.metadata.labels = Some([("on".to_owned(), "1".to_owned())].into());
        api.create(&PostParams::default(), &wanted).await.unwrap();
        if n % 5 == 4 {
            api.delete(&format!("n{}", n - 2), &DeleteParams::default())
                .await
                .unwrap();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let expected: Vec<String> = api
        .list(&ListParams::default().labels("on"))
        .await
        .unwrap()
        .iter()
        .map(ResourceExt::name_any)
        .collect();
    assert_eq!(expected.len(), 20);
    eventually("the reflector has all", || async {
        let mut names: Vec<String> = reader.state().iter().map(|o| o.name_any()).collect();
        names.sort();
        let mut expected = expected.clone();
        expected.sort();
        names == expected
    })
    .await;
    follow.abort();
    place.end().await;
}
