//! What moves between clusters, as API servers give it: which kinds, which objects, and that a directory keeps them byte for byte.

use futures::{StreamExt as _, stream};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Resource as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use machinectl::{
    api::v1alpha1::{Cluster, HollowMachine, Machine},
    install,
    pivot::{
        collect::{Namespaces, collect},
        directory::{Options, read, write},
        graph::{Purpose, Scope, choose},
        kinds::{MovedKind, Role, discover},
    },
    time::Timestamp,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Place, cases, configmap, eventually};

cases! {
    kinds_are_those_of_this_program_and_those_with_a_label,
    lists_of_many_pages_are_read_to_the_end,
    what_is_written_down_is_what_the_server_gave,
}

/// Installs the kinds of this program; returns those that move.
async fn kinds(place: &Place) -> Vec<MovedKind> {
    install::definitions(&place.client, false).await.unwrap();
    discover(&place.client).await.unwrap().moving
}

/// Makes a kind of others, in a group of its own.
async fn foreign(place: &Place, labels: Value) -> Api<CustomResourceDefinition> {
    let group = format!("{}.example.com", place.namespace);
    let version = |name: &str, served: bool, storage: bool, subresources: Value| {
        json!({ "name": name, "served": served, "storage": storage, "subresources": subresources,
            "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } } })
    };
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("foos.{group}"), "labels": labels },
        "spec": {
            "group": group, "scope": "Namespaced", "names": { "kind": "Foo", "plural": "foos" },
            "versions": [version("v1beta1", true, true, json!({ "status": {} })), version("v1", true, false, json!({}))],
        },
    });
    let api: Api<CustomResourceDefinition> = Api::all(place.client.clone());
    let definition = serde_json::from_value(definition).unwrap();
    api.create(&PostParams::default(), &definition).await.unwrap();
    api
}

async fn kinds_are_those_of_this_program_and_those_with_a_label(place: Place) {
    let definitions = foreign(&place, json!({ "clusterctl.cluster.x-k8s.io": "" })).await;
    let group = format!("{}.example.com", place.namespace);
    let found = kinds(&place).await;
    let own: Vec<_> = found.iter().filter(|k| k.own).map(|k| k.kind.as_str()).collect();
    assert_eq!(own[..3], ["Cluster", "Machine", "MachineSet"]);
    assert_eq!(own.len(), 14);
    let machine = found.iter().find(|k| k.kind == "Machine").unwrap();
    assert!(machine.has_status && machine.namespaced && machine.role == Role::Forced);
    assert_eq!(found[0].role, Role::Root);
    let theirs = found.iter().find(|k| k.group == group).unwrap();
    assert_eq!(
        (theirs.version.as_str(), theirs.has_status, theirs.role),
        ("v1beta1", true, Role::Linked)
    );
    let core: Vec<_> = found
        .iter()
        .filter(|k| k.group.is_empty())
        .map(ToString::to_string)
        .collect();
    assert_eq!(core, ["Secret", "ConfigMap", "Node"]);
    let name = theirs.full_name();
    let unlabelled = json!({ "metadata": { "labels": { "clusterctl.cluster.x-k8s.io": null } } });
    definitions
        .patch(&name, &PatchParams::default(), &Patch::Merge(&unlabelled))
        .await
        .unwrap();
    let found = discover(&place.client).await.unwrap().moving;
    assert!(found.iter().all(|k| k.group != group));
    definitions.delete(&name, &DeleteParams::default()).await.unwrap();
    place.end().await;
}

async fn lists_of_many_pages_are_read_to_the_end(place: Place) {
    let names: Vec<String> = (0..1001).map(|n| format!("n{n:04}")).collect();
    let api = place.configmaps();
    stream::iter(&names)
        .for_each_concurrent(32, |name| {
            let api = api.clone();
            async move {
                api.create(&PostParams::default(), &configmap(name, &[("k", "v")]))
                    .await
                    .unwrap();
            }
        })
        .await;
    let here = Namespaces::One(place.namespace.clone());
    let objects = collect(&place.client, &[MovedKind::config_map()], &here)
        .await
        .unwrap();
    let read: Vec<&str> = objects
        .iter()
        .map(|o| &*o.name)
        .filter(|n| n.starts_with('n'))
        .collect();
    assert_eq!(read, names);
    let first = objects.iter().find(|o| &*o.name == "n0000").unwrap();
    let value = first.value().unwrap();
    assert_eq!(
        (&value["kind"], &value["apiVersion"]),
        (&json!("ConfigMap"), &json!("v1"))
    );
    assert!(!first.uid.is_empty() && !first.resource_version.is_empty());
    place.end().await;
}

fn of<K: DeserializeOwned>(place: &Place, kind: &str, name: &str, mut more: Value) -> K {
    let group = if kind.starts_with("Hollow") {
        "infrastructure"
    } else {
        "machine"
    };
    more["apiVersion"] = format!("{group}.crit.sh/v1alpha1").into();
    more["kind"] = kind.into();
    more["metadata"] = json!({ "name": name, "namespace": place.namespace });
    serde_json::from_value(more).unwrap()
}

async fn what_is_written_down_is_what_the_server_gave(place: Place) {
    let kinds = kinds(&place).await;
    let clusters: Api<Cluster> = place.api();
    eventually("the kinds are served", || async {
        clusters.list(&kube::api::ListParams::default()).await.is_ok()
    })
    .await;
    let dev: Cluster = of(
        &place,
        "Cluster",
        "dev",
        json!({ "spec": { "apiServer": "Management" } }),
    );
    clusters.create(&PostParams::default(), &dev).await.unwrap();
    let status = json!({ "status": { "phase": "Provisioned", "infrastructureReady": true, "controlPlaneReady": true } });
    clusters
        .patch_status("dev", &PatchParams::default(), &Patch::Merge(&status))
        .await
        .unwrap();
    let spec = json!({ "clusterName": "dev", "infrastructureRef": { "kind": "HollowMachine", "name": "m" } });
    let machine: Machine = of(&place, "Machine", "m", json!({ "spec": spec }));
    let machine = place
        .api()
        .create(&PostParams::default(), &machine)
        .await
        .unwrap();
    let mut hollow: HollowMachine = of(&place, "HollowMachine", "m", json!({ "spec": {} }));
    hollow.metadata.owner_references = machine.controller_owner_ref(&()).map(|owner| vec![owner]);
    place.api().create(&PostParams::default(), &hollow).await.unwrap();
    let scope = Scope {
        namespaces: Namespaces::One(place.namespace.clone()),
        cluster: Some("dev".to_owned()),
        purpose: Purpose::Backup,
    };
    let objects = collect(&place.client, &kinds, &scope.namespaces).await.unwrap();
    let choice = choose(&kinds, &objects, &scope).unwrap();
    let names: Vec<Vec<String>> = choice
        .groups
        .iter()
        .map(|g| g.iter().map(|i| kinds[objects[*i].kind].kind.clone()).collect())
        .collect();
    assert_eq!(names, [["Cluster"], ["Machine"], ["HollowMachine"]]);
    let dir = tempfile::TempDir::new().unwrap();
    let options = Options {
        source: "test",
        now: Timestamp::UNIX_EPOCH,
        recipients: &[],
        progress: &|| {},
    };
    write(dir.path(), &kinds, &objects, &choice.groups, options).unwrap();
    let read = read(dir.path(), &[], &|| {}).unwrap();
    let moved: Vec<_> = choice
        .groups
        .concat()
        .into_iter()
        .map(|index| objects[index].clone())
        .collect();
    assert_eq!(read.objects, moved);
    let cluster = read.objects[0].value().unwrap();
    assert_eq!(cluster["status"]["phase"], "Provisioned");
    assert!(cluster["metadata"]["managedFields"].is_array());
    place.end().await;
}
