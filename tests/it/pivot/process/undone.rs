//! A move whose process is killed, and undone by another process, which is killed, too.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Ground, Life, MOVE, Turn, commits, copies, spread};
use crate::{
    pivot::{
        plain::{SMALL, WHOLE},
        world::{Size, difference, state},
    },
    proxy::Asked,
};

/// The command that undoes a move.
pub(super) const ABORT: [&str; 8] = [
    "move",
    "--context",
    "source",
    "--to-context",
    "target",
    "-A",
    "--yes",
    "--abort",
];

/// Leaves a move that has died where `which` first finds a request.
async fn lies(ground: &Ground, which: fn(&Asked) -> bool) {
    let life = Life::new(move |_, asked: &Asked| {
        if which(asked) {
            Turn::KilledBefore
        } else {
            Turn::Served
        }
    });
    let ended = ground.run(life, &MOVE).await;
    assert!(ended.was_killed(), "{}", ended.said);
}

/// Everything that both clusters hold, but not the namespace and Lease of the program: whoever runs controllers makes them, too.
pub(super) async fn everything(ground: &Ground) -> [BTreeMap<String, Value>; 2] {
    let mut both = [
        state(&ground.source.client()).await,
        state(&ground.target.client()).await,
    ];
    for side in &mut both {
        for (key, value) in &*side {
            assert!(!key.contains("machinectl-move"), "{key}");
            let fence = &value["metadata"]["annotations"]["machinectl.crit.sh/fenced-by"];
            assert_eq!(*fence, Value::Null, "{key}");
        }
        side.retain(|key, _| !key.contains("machinectl-system"));
    }
    both
}

/// Lets moves die where `which` says, and kills each time the command that undoes it at another request. Returns how often.
async fn killed(size: Size, which: fn(&Asked) -> bool, requests: impl IntoIterator<Item = usize>) -> usize {
    let ground = Ground::new(size).await;
    let (before, fleet) = (everything(&ground).await, ground.fleet().await);
    let mut kills = 0;
    for at in requests {
        lies(&ground, which).await;
        let first = ground.killed_at(at, &ABORT).await;
        let was_killed = first.was_killed();
        let what = format!("--abort killed at request {at}");
        if was_killed {
            kills += 1;
            let again = ground.typed(&ABORT).await;
            // It was over: only its last answer got lost.
            if !(again.code == Some(3) && again.said.contains("no move is under way")) {
                again.well(&what);
            }
        } else {
            first.well("not killed");
        }
        for (was, is) in before.iter().zip(everything(&ground).await) {
            if let Some(wrong) = difference(was, &is) {
                panic!("{what}: {wrong}");
            }
        }
        if !was_killed {
            break;
        }
    }
    ground.typed(&MOVE).await.well("moved in the end");
    ground.arrived(&fleet, "moved in the end").await;
    kills
}

/// How many requests it takes to undo a move that nobody disturbs.
async fn undisturbed(size: Size, which: fn(&Asked) -> bool) -> usize {
    let ground = Ground::new(size).await;
    lies(&ground, which).await;
    ground.typed(&ABORT).await.well("undisturbed").requests
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_is_undone_wherever_the_process_that_undoes_it_is_killed() {
    const KILLS: usize = 5;
    for which in [copies, commits] {
        let requests = spread(undisturbed(SMALL, which).await, KILLS);
        assert!(killed(SMALL, which, requests).await >= KILLS - 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: the process that undoes the move of the whole fleet is killed at each of its requests"]
async fn a_move_is_undone_wherever_the_process_that_undoes_it_is_killed_at_each_request() {
    for which in [copies, commits] {
        let kills = killed(WHOLE, which, 0..).await;
        assert!(kills > 50, "{kills}");
    }
}
