//! Moves between API servers: killed at every request, disturbed in every way, and compared with one that was left in peace.

#![expect(clippy::expect_used, reason = "a test that can not go on has failed")]

mod crossed;
mod disturbed;
mod fences;
mod killed;
mod kubernetes;
mod plain;
mod process;
mod restored;
mod unreliable;
pub(crate) mod world;

use std::{sync::Arc, time::Duration};

use kube::Client;
use machinectl::{
    client::Patience,
    pivot::{
        MoveError, Site, Stop,
        journal::Extent,
        report::Report,
        sequence::{Move, Unsettled},
    },
    story::Story,
    time::SystemClock,
};

/// Tells nobody.
struct Silence;

impl Story for Silence {
    fn step(&self, _: &str) {}
    fn detail(&self, _: &str) {}
    fn warn(&self, _: &str) {}
}

/// Makes the Leases of a cluster look as if the process that holds them were gone. The one that was "killed" is this very process, so nobody could
/// see that it is.
async fn bury(client: &Client) {
    const PROCESS: &str = "machine.crit.sh/holder-process";
    let path = "/apis/coordination.k8s.io/v1/namespaces/machinectl-system/leases/machinectl-controller";
    let Some(lease) = world::get(client, path).await else {
        return;
    };
    let Some(process) = lease["metadata"]["annotations"][PROCESS].as_str() else {
        return;
    };
    // Another process, which began later, has its number.
    let gone = serde_json::json!({ "metadata": { "annotations": { PROCESS: format!("{process}9") } } });
    world::send(client, "PATCH", path, &gone).await;
}

/// Little patience, but enough for a machine that does other things: servers are in this process.
const PATIENCE: Patience = Patience {
    answer: Duration::from_secs(10),
    total: Duration::from_secs(30),
    pause: Duration::from_millis(1),
};

/// A move of everything from one API server to another.
async fn a_move(source: &Client, target: &Client) -> Result<Move, MoveError> {
    Ok(Move {
        source: Site::new(source, "source", PATIENCE).await?,
        target: Site::new(target, "target", PATIENCE).await?,
        extent: Extent {
            namespace: None,
            cluster: None,
        },
        unsettled: Unsettled::Refuse,
        story: Arc::new(Silence),
        clock: Arc::new(SystemClock),
        stop: Stop::default(),
    })
}

/// Moves everything, after somebody else was killed while doing so.
async fn moved_later(source: &Client, target: &Client) -> Result<Report, MoveError> {
    bury(source).await;
    bury(target).await;
    moved(source, target).await
}

/// Moves everything.
async fn moved(source: &Client, target: &Client) -> Result<Report, MoveError> {
    Box::pin(a_move(source, target).await?.run()).await
}
