//! A move whose process is killed while controllers are at work on both sides: whatever they do to a machine because of it would be seen.

use std::time::Duration;

use kube::Client;

use super::{Ground, MOVE, spread};
use crate::pivot::{
    fences::{Calls, MACHINES, machines, nodes, run, settled},
    world,
};

/// How many machines there are.
const COUNT: usize = 6;
/// Time for controllers to act, if they could: whoever waits for the Lease looks twice a second.
const STILL: Duration = Duration::from_millis(600);

/// Waits until the controllers of a cluster are at work again.
async fn at_work(client: &Client) {
    let lease = "/apis/coordination.k8s.io/v1/namespaces/machinectl-system/leases/machinectl-controller";
    let done = async {
        loop {
            let lease = world::get(client, lease).await.unwrap();
            let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
            if !holder.is_empty() && !holder.starts_with("move-") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), done)
        .await
        .expect("controllers take over");
}

/// Moves machines there and back, and kills each move at another request. Returns how often it was killed.
async fn killed(requests: impl IntoIterator<Item = usize>) -> usize {
    let mut ground = Ground::of(world::empty().await, world::empty().await);
    let calls = Calls::default();
    let running = [ground.source.client(), ground.target.client()].map(|client| run(&client, &calls));
    machines(&ground.source.client(), COUNT).await;
    settled(&ground.source.client(), COUNT).await;
    let before = calls.lock().unwrap().clone();
    assert_eq!(before.len(), COUNT, "{before:?}");
    let mut kills = 0;
    for at in requests {
        let first = ground.killed_at(at, &MOVE).await;
        if !first.was_killed() {
            first.well("not killed");
            break;
        }
        kills += 1;
        tokio::time::sleep(STILL).await;
        let what = format!("killed at request {at}");
        assert_eq!(*calls.lock().unwrap(), before, "{what}");
        ground.typed(&MOVE).await.well(&what);
        let client = ground.target.client();
        let arrived = nodes(&client).await;
        assert_eq!(arrived.len(), COUNT, "{what}");
        // The controllers of the target take over: they see what is there and leave it.
        at_work(&client).await;
        settled(&client, COUNT).await;
        tokio::time::sleep(STILL).await;
        assert_eq!(*calls.lock().unwrap(), before, "{what}");
        assert_eq!(nodes(&client).await, arrived, "{what}");
        let left = world::get(&ground.source.client(), MACHINES).await.unwrap();
        assert_eq!(left["items"], serde_json::json!([]), "{what}");
        std::mem::swap(&mut ground.source, &mut ground.target);
    }
    for controllers in running {
        controllers.end().await;
    }
    kills
}

/// How many requests a move has that nobody kills.
async fn undisturbed() -> usize {
    let ground = Ground::of(world::empty().await, world::empty().await);
    let calls = Calls::default();
    let running = run(&ground.source.client(), &calls);
    machines(&ground.source.client(), COUNT).await;
    settled(&ground.source.client(), COUNT).await;
    let requests = ground.typed(&MOVE).await.well("undisturbed").requests;
    running.end().await;
    requests
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_provider_is_called_wherever_the_process_is_killed() {
    const KILLS: usize = 6;
    let requests = spread(undisturbed().await, KILLS);
    assert!(killed(requests).await >= KILLS - 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: the process is killed at each request of a move"]
async fn no_provider_is_called_wherever_the_process_is_killed_at_each_request() {
    let kills = killed(0..).await;
    assert!(kills > 50, "{kills}");
}
