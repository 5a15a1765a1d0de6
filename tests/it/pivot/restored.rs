//! A restore that is killed at every request, and typed again.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use kube::Client;
use machinectl::{
    pivot::{
        MoveError, Site, Stop,
        backup::{self, Backup, Restore},
        journal::{Extent, Journal},
        report::Report,
    },
    time::{Clock, SystemClock},
};
use serde_json::{Value, json};

use super::{
    PATIENCE, Silence, bury,
    plain::SMALL,
    unreliable::{Asked, Fate, Life, unreliable},
    world::{self, difference, is_over, of_fleet, state},
};

const EVERYTHING: Extent = Extent {
    namespace: None,
    cluster: None,
};

async fn written(source: &Client, directory: &Path) {
    let backup = Backup {
        source: Site::new(source, "source", PATIENCE).await.unwrap(),
        extent: EVERYTHING,
        directory: directory.to_owned(),
        recipients: Vec::new(),
        story: Arc::new(Silence),
        clock: Arc::new(SystemClock),
    };
    backup.run(false).await.unwrap();
}

async fn restored(directory: &Path, target: &Client) -> Result<Report, MoveError> {
    restored_beside(directory, target, false).await
}

/// Restores; with `keep_existing` beside what is there.
async fn restored_beside(
    directory: &Path,
    target: &Client,
    keep_existing: bool,
) -> Result<Report, MoveError> {
    let restore = Restore {
        directory: directory.to_owned(),
        contents: backup::open(directory, &[], &Silence)?,
        target: Site::new(target, "target", PATIENCE).await?,
        extent: EVERYTHING,
        keep_existing,
        story: Arc::new(Silence),
        clock: Arc::new(SystemClock),
        stop: Stop::default(),
    };
    Box::pin(restore.run(false)).await
}

#[tokio::test]
async fn a_backup_arrives_wherever_its_restore_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().join("backup");
    let source = world::full(SMALL).await;
    written(&source.client(), &directory).await;
    let expected = of_fleet(&state(&source.client()).await);
    let mut kills = 0;
    for at in (0..).step_by(2) {
        let target = world::empty().await;
        let client = target.client();
        let life = Life::default();
        let dying = unreliable(&client, &life, move |asked: &Asked| match asked.number {
            number if number != at => Fate::Served,
            _ if at % 4 == 0 => Fate::KilledBefore,
            _ => Fate::KilledAfter,
        });
        let died = tokio::select! {
            biased;
            () = life.dead.notified() => true,
            done = restored(&directory, &dying) => {
                done.unwrap_or_else(|e| panic!("request {at}: {e}"));
                false
            }
        };
        if !died {
            break;
        }
        kills += 1;
        bury(&client).await;
        let there = of_fleet(&state(&client).await);
        match restored(&directory, &client).await {
            Ok(_) => {}
            // It was over: the last answer got lost. Typed again, it finds everything there.
            Err(MoveError::Checks(_)) if difference(&expected, &there).is_none() => {}
            Err(error) => panic!("killed at request {at}, then: {error}"),
        }
        let now = state(&client).await;
        is_over(&world::nothing(), &now).unwrap_or_else(|wrong| panic!("killed at request {at}: {wrong}"));
        if let Some(wrong) = difference(&expected, &of_fleet(&now)) {
            panic!("killed at request {at}: {wrong}");
        }
    }
    assert!(kills > 20, "{kills}");
}

async fn undone(directory: &Path, target: &Client) -> Result<Journal, MoveError> {
    let site = Site::new(target, "target", PATIENCE).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    backup::abort(directory, &site, &EVERYTHING, &clock, &Silence).await
}

/// A cluster in which two of the names are taken.
async fn with_some(client: &Client) {
    let namespace =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": world::NAMESPACE } });
    world::send(client, "POST", "/api/v1/namespaces", &namespace).await;
    for name in ["prod-ca", "prod-sa"] {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "finalizers": ["example.com/mine"] },
            "data": { "value": "bWluZQ==" },
        });
        let path = format!("/api/v1/namespaces/{}/secrets", world::NAMESPACE);
        world::send(client, "POST", &path, &secret).await;
    }
}

/// What is not of this program.
fn of_others(state: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let others = state.iter().filter(|(key, _)| !key.contains("machinectl-system"));
    others.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Until it has committed, what a restore has brought goes again, and what was there before stays.
#[tokio::test]
async fn until_it_has_committed_a_restore_can_be_undone_wherever_it_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("backup");
    let source = world::full(SMALL).await;
    written(&source.client(), &directory).await;
    let (mut aborted, mut committed) = (0, 0);
    for at in (0..).step_by(7) {
        let target = world::empty().await;
        let client = target.client();
        let some = at % 2 == 1;
        if some {
            with_some(&client).await;
        }
        let before = of_others(&state(&client).await);
        let life = Life::default();
        let dying = unreliable(&client, &life, move |asked: &Asked| match asked.number {
            number if number != at => Fate::Served,
            _ if at % 4 < 2 => Fate::KilledBefore,
            _ => Fate::KilledAfter,
        });
        let died = tokio::select! {
            biased;
            () = life.dead.notified() => true,
            done = restored_beside(&directory, &dying, some) => {
                done.unwrap_or_else(|e| panic!("request {at}: {e}"));
                false
            }
        };
        if !died {
            break;
        }
        bury(&client).await;
        let there = state(&client).await;
        let elsewhere = undone(&folder.path().join("other"), &client).await.unwrap_err();
        match undone(&directory, &client).await {
            Ok(_) => {
                assert!(matches!(elsewhere, MoveError::Busy { .. }), "{elsewhere}");
                aborted += 1;
            }
            // Nothing is written down yet, or it is over.
            Err(MoveError::NoMove(_)) => {
                assert!(matches!(elsewhere, MoveError::NoMove(_)), "{elsewhere}");
                continue;
            }
            Err(MoveError::Committed(_)) => {
                committed += 1;
                assert_eq!(difference(&there, &state(&client).await), None);
                restored_beside(&directory, &client, some).await.unwrap();
                continue;
            }
            Err(error) => panic!("killed at request {at}: {error}"),
        }
        let now = state(&client).await;
        if let Some(wrong) = difference(&before, &of_others(&now)) {
            panic!("killed at request {at}: {wrong}");
        }
        for (key, value) in &now {
            assert!(!key.contains("machinectl-move"), "killed at request {at}: {key}");
            let fence = &value["metadata"]["annotations"]["machinectl.crit.sh/fenced-by"];
            assert_eq!(*fence, Value::Null, "killed at request {at}: {key}");
        }
        // It can be typed again.
        if aborted == 3 {
            restored_beside(&directory, &client, some).await.unwrap();
        }
    }
    assert!(aborted > 5, "{aborted}");
    assert!(committed > 0, "{committed}");
}
