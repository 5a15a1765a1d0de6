//! The kinds of this program on both kinds of server: what people wrote in 2020 is accepted, and nothing of it is lost.

use kube::{
    Api,
    api::{DeleteParams, DynamicObject, GroupVersionKind, PostParams},
    discovery,
};
use machinectl::{install, yaml};
use serde_json::Value;

use super::{Place, cases};

const OBJECTS: &str = include_str!("../../fixtures/objects-of-2020.yaml");

cases! { objects_of_2020_are_accepted_unchanged, definitions_are_installed_once }

/// Fails for the first thing that was written and does not stand in what is stored.
fn assert_within(written: &Value, stored: &Value, path: &str) {
    match written {
        Value::Object(fields) => {
            for (name, value) in fields {
                assert_within(value, &stored[name], &format!("{path}.{name}"));
            }
        }
        Value::Array(items) => {
            assert_eq!(Some(items.len()), stored.as_array().map(Vec::len), "{path}");
            for (index, item) in items.iter().enumerate() {
                assert_within(item, &stored[index], &format!("{path}[{index}]"));
            }
        }
        other => assert_eq!(other, stored, "{path}"),
    }
}

async fn objects_of_2020_are_accepted_unchanged(place: Place) {
    install::definitions(&place.client, false).await.unwrap();
    for document in yaml::documents(OBJECTS).unwrap() {
        let mut object: DynamicObject = serde_json::from_value(document.value.clone()).unwrap();
        let types = object.types.clone().unwrap();
        let kind = GroupVersionKind::try_from(&types).unwrap();
        let (resource, capabilities) = discovery::pinned_kind(&place.client, &kind).await.unwrap();
        let name = object.metadata.name.clone().unwrap();
        // Namespaces of 2020 need not exist here.
        let api: Api<DynamicObject> = if capabilities.scope == discovery::Scope::Cluster {
            Api::all_with(place.client.clone(), &resource)
        } else {
            object.metadata.namespace = Some(place.namespace.clone());
            Api::namespaced_with(place.client.clone(), &place.namespace, &resource)
        };
        api.create(&PostParams::default(), &object)
            .await
            .unwrap_or_else(|e| panic!("{} {name}: {e}", types.kind));
        let stored = serde_json::to_value(api.get(&name).await.unwrap()).unwrap();
        api.delete(&name, &DeleteParams::default()).await.unwrap();
        assert_within(
            &document.value["spec"],
            &stored["spec"],
            &format!("{} spec", types.kind),
        );
        let labels = &document.value["metadata"]["labels"];
        assert_within(labels, &stored["metadata"]["labels"], "labels");
    }
    place.end().await;
}

async fn definitions_are_installed_once(place: Place) {
    install::definitions(&place.client, false).await.unwrap();
    let again = install::definitions(&place.client, false).await.unwrap();
    let changed: Vec<_> = again
        .iter()
        .filter(|(_, change)| *change != install::Change::Unchanged)
        .collect();
    assert!(changed.is_empty(), "{changed:?}");
    assert!(install::is_installed(&place.client).await.unwrap());
    place.end().await;
}
