//! The same fleet in one place after another: from the embedded server to a kube-apiserver and back, into a directory and out of it.

mod rights;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use kube::Client;
use machinectl::{
    client::Patience,
    pivot::{
        Site, Stop,
        backup::{Backup, Restore, open},
        journal::Extent,
        report::Report,
        sequence::{Move, Unsettled},
    },
    time::SystemClock,
};
use serde_json::Value;

use super::{
    Silence,
    plain::WHOLE,
    world::{self, difference, is_over, of_fleet, state},
};
use crate::install::rig::Rig;

const ALL: Extent = Extent {
    namespace: None,
    cluster: None,
};

async fn site(client: &Client, name: &str) -> Site {
    Site::new(client, name, Patience::default()).await.unwrap()
}

async fn moves(source: &Client, target: &Client) -> Report {
    let it = Move {
        source: site(source, "source").await,
        target: site(target, "target").await,
        extent: ALL,
        unsettled: Unsettled::Refuse,
        story: Arc::new(Silence),
        clock: Arc::new(SystemClock),
        stop: Stop::default(),
    };
    let report = Box::pin(it.run()).await.unwrap();
    let (from, to) = (state(source).await, state(target).await);
    is_over(&from, &to).unwrap();
    report
}

async fn into(directory: &Path, source: &Client) {
    let backup = Backup {
        source: site(source, "source").await,
        extent: ALL,
        directory: directory.to_owned(),
        recipients: Vec::new(),
        story: Arc::new(Silence),
        clock: Arc::new(SystemClock),
    };
    backup.run(false).await.unwrap();
}

async fn out_of(directory: &Path, target: &Client) {
    let restore = Restore {
        directory: directory.to_owned(),
        contents: open(directory, &[], &Silence).unwrap(),
        target: site(target, "target").await,
        extent: ALL,
        keep_existing: false,
        story: Arc::new(Silence),
        clock: Arc::new(SystemClock),
        stop: Stop::default(),
    };
    Box::pin(restore.run(false)).await.unwrap();
}

/// Kubernetes 1.20 notes more coarsely or finely than its successors who owns what: where it took part, that is not compared.
fn without_owners(state: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let mut state = state.clone();
    for object in state.values_mut() {
        object["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("managedFields");
    }
    state
}

/// It does not know either through which subresource somebody came to own fields; whoever writes the objects anew finds out.
fn without_subresources(mut state: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    for object in state.values_mut() {
        let entries = object["metadata"]["managedFields"].as_array_mut().unwrap();
        for entry in &mut *entries {
            entry.as_object_mut().unwrap().remove("subresource");
        }
        entries.sort_by_key(ToString::to_string);
    }
    state
}

/// What is compared: the objects of the fleet, and not what each server makes in a namespace by itself.
async fn fleet(client: &Client) -> BTreeMap<String, Value> {
    let mut state = of_fleet(&state(client).await);
    state.retain(|key, _| !key.contains("kube-root-ca"));
    without_subresources(state)
}

#[tokio::test]
async fn a_fleet_goes_around_and_comes_home_as_it_was() {
    let rig = Rig::start();
    let real = rig.admin().await;
    world::prepare(&real).await;
    let (first, second, third) = (
        world::full(WHOLE).await,
        world::empty().await,
        world::empty().await,
    );
    let before = fleet(&first.client()).await;
    let there = moves(&first.client(), &real).await;
    assert_eq!(there.objects, before.len());
    let plain = without_owners(&before);
    assert_eq!(difference(&plain, &without_owners(&fleet(&real).await)), None);
    let back = moves(&real, &second.client()).await;
    assert_eq!(back.objects, before.len());
    let home = fleet(&second.client()).await;
    assert_eq!(difference(&plain, &without_owners(&home)), None);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("backup");
    into(&path, &second.client()).await;
    out_of(&path, &third.client()).await;
    assert_eq!(difference(&home, &fleet(&third.client()).await), None);
    assert_eq!(difference(&home, &fleet(&second.client()).await), None);
}

#[tokio::test]
async fn between_two_real_ones_even_the_owners_of_fields_stay() {
    let (one, other) = (Rig::start(), Rig::start());
    let (source, target) = (one.admin().await, other.admin().await);
    for client in [&source, &target] {
        world::prepare(client).await;
    }
    world::fill(&source, WHOLE).await;
    let before = fleet(&source).await;
    let report = moves(&source, &target).await;
    let requests: u64 = report.requests.values().sum();
    assert_eq!(report.objects, before.len());
    assert_eq!(difference(&before, &fleet(&target).await), None);
    assert!(report.left.is_empty() && report.notes.is_empty(), "{report:?}");
    assert!(
        requests < 8 * report.objects as u64,
        "{requests} for {}",
        report.objects
    );
}
