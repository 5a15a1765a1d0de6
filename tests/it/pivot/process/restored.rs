//! A restore whose process is killed, and typed again.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Ended, Ground, spread};
use crate::pivot::{
    plain::WHOLE,
    world::{self, Size, difference, is_over, nothing, of_fleet, state},
};

const BACKUP: [&str; 6] = ["move", "--context", "source", "--to-directory", "backup", "-A"];
const RESTORE: [&str; 7] = [
    "move",
    "--context",
    "target",
    "--from-directory",
    "backup",
    "-A",
    "--yes",
];

async fn written(size: Size) -> (Ground, BTreeMap<String, Value>) {
    let ground = Ground::new(size).await;
    let before = ground.fleet().await;
    ground.typed(&BACKUP).await.well("backup");
    (ground, before)
}

/// Asserts that everything has arrived as it was, and that nothing else is left.
async fn arrived(ground: &Ground, before: &BTreeMap<String, Value>, what: &str) {
    let now = state(&ground.target.client()).await;
    if let Err(wrong) = is_over(&nothing(), &now) {
        panic!("{what}: {wrong}");
    }
    if let Some(wrong) = difference(before, &of_fleet(&now)) {
        panic!("{what}: {wrong}");
    }
}

/// Whether a command said that everything is there already. Typed after the last answer got lost, that is how it looks.
fn is_there_already(again: &Ended) -> bool {
    again.code == Some(4) && again.said.contains("--keep-existing")
}

/// Restores a fleet into one empty cluster after the other, killed at another request each time. Returns how often it was killed.
async fn killed(size: Size, requests: impl IntoIterator<Item = usize>) -> usize {
    let (mut ground, before) = written(size).await;
    let mut kills = 0;
    for at in requests {
        let first = ground.killed_at(at, &RESTORE).await;
        if !first.was_killed() {
            first.well("not killed");
            break;
        }
        kills += 1;
        let what = format!("restore killed at request {at}");
        let there = of_fleet(&state(&ground.target.client()).await);
        let again = ground.typed(&RESTORE).await;
        if !(is_there_already(&again) && difference(&before, &there).is_none()) {
            again.well(&what);
        }
        arrived(&ground, &before, &what).await;
        ground.target = world::empty().await;
    }
    kills
}

async fn undisturbed(size: Size) -> usize {
    let (ground, before) = written(size).await;
    let done = ground.typed(&RESTORE).await.well("undisturbed");
    arrived(&ground, &before, "undisturbed").await;
    done.requests
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_arrives_wherever_the_process_that_restores_it_is_killed() {
    const KILLS: usize = 8;
    let requests = spread(undisturbed(WHOLE).await, KILLS);
    assert!(killed(WHOLE, requests).await >= KILLS - 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: the process that restores the whole fleet is killed at each of its requests"]
async fn a_backup_arrives_wherever_the_process_that_restores_it_is_killed_at_each_request() {
    let kills = killed(WHOLE, 0..).await;
    assert!(kills > 100, "{kills}");
}
