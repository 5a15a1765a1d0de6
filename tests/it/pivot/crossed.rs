//! Two processes at one move: the second waits at the fence of the first, and looks again when it may pass.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use kube::Client;
use machinectl::pivot::MoveError;
use serde_json::Value;

use super::{
    a_move, bury, moved, moved_later,
    plain::SMALL,
    unreliable::{Asked, Fate, Gate, Life, unreliable},
    world::{self, difference, is_over, of_fleet, state},
};

const LEASE: &str = "/leases/machinectl-controller";
const JOURNAL: &str = "/configmaps/machinectl-move";

/// A client of which the first request that `which` finds stands before a gate.
fn gated(client: &Client, gate: &Gate, which: impl Fn(&Asked) -> bool + Send + Sync + 'static) -> Client {
    let (gate, met) = (gate.clone(), AtomicUsize::new(0));
    unreliable(client, &Life::default(), move |asked: &Asked| {
        if which(asked) && met.fetch_add(1, Ordering::SeqCst) == 0 {
            Fate::Held(gate.clone())
        } else {
            Fate::Served
        }
    })
}

/// A move that dies at the first request to the target, or to the source, that `which` finds.
pub(super) async fn dies_at(source: &Client, target: &Client, in_source: bool, which: fn(&Asked) -> bool) {
    let life = Life::default();
    let doomed = |client: &Client, here: bool| {
        unreliable(client, &life, move |asked: &Asked| {
            if here && which(asked) {
                Fate::KilledAfter
            } else {
                Fate::Served
            }
        })
    };
    let (source, target) = (doomed(source, in_source), doomed(target, !in_source));
    tokio::select! {
        biased;
        () = life.dead.notified() => {}
        done = moved(&source, &target) => panic!("it lived: {done:?}"),
    }
}

/// The move is over, and everything is in the target as it was in the source.
async fn arrived(before: &BTreeMap<String, Value>, source: &Client, target: &Client) {
    let (from, to) = (state(source).await, state(target).await);
    is_over(&from, &to).unwrap();
    assert_eq!(difference(before, &of_fleet(&to)), None);
}

/// While an object is made in the target.
fn copying(asked: &Asked) -> bool {
    asked.method == "POST" && asked.path.ends_with("/machinesets") && !asked.query.contains("dryRun")
}

/// While the source is emptied.
fn emptying(asked: &Asked) -> bool {
    asked.method == "DELETE" && asked.path.contains("/machines")
}

enum Second {
    GoesOn,
    Undoes,
}

/// A move lies still. A second process begins to go on with it or to undo it, and is held up before the fence of the source; meanwhile `first`
/// happens. Returns what the second process comes to.
async fn crossed(
    source: &Client,
    target: &Client,
    second: Second,
    first: impl Future<Output = ()>,
) -> Result<(), MoveError> {
    let gate = Gate::default();
    let held = gated(source, &gate, |asked| asked.path.ends_with(LEASE));
    let the_move = a_move(&held, target).await.unwrap();
    let late = async {
        match second {
            Second::GoesOn => Box::pin(the_move.run()).await.map(drop),
            Second::Undoes => Box::pin(the_move.abort()).await.map(drop),
        }
    };
    let early = async {
        gate.reached().await;
        first.await;
        gate.open();
    };
    tokio::join!(late, early).0
}

#[tokio::test]
async fn what_another_process_ended_is_not_undone_and_not_done_again() {
    for second in [Second::GoesOn, Second::Undoes] {
        let (source, target) = (world::full(SMALL).await, world::empty().await);
        let (source, target) = (source.client(), target.client());
        let before = of_fleet(&state(&source).await);
        dies_at(&source, &target, false, copying).await;
        let first = async {
            moved_later(&source, &target).await.unwrap();
        };
        let error = Box::pin(crossed(&source, &target, second, first))
            .await
            .unwrap_err();
        assert!(matches!(error, MoveError::TakenOver(_)), "{error}");
        arrived(&before, &source, &target).await;
    }
}

#[tokio::test]
async fn what_another_process_committed_is_brought_to_its_end_but_never_undone() {
    for second in [Second::GoesOn, Second::Undoes] {
        let (source, target) = (world::full(SMALL).await, world::empty().await);
        let (source, target) = (source.client(), target.client());
        let before = of_fleet(&state(&source).await);
        dies_at(&source, &target, false, copying).await;
        let first = async {
            bury(&source).await;
            bury(&target).await;
            dies_at(&source, &target, true, emptying).await;
            bury(&source).await;
            bury(&target).await;
        };
        let undoes = matches!(second, Second::Undoes);
        let outcome = Box::pin(crossed(&source, &target, second, first)).await;
        if undoes {
            let error = outcome.unwrap_err();
            assert!(matches!(error, MoveError::Committed(_)), "{error}");
            moved_later(&source, &target).await.unwrap();
        } else {
            outcome.unwrap();
        }
        arrived(&before, &source, &target).await;
    }
}

#[tokio::test]
async fn of_two_that_begin_at_once_one_begins() {
    let (source, target) = (world::full(SMALL).await, world::empty().await);
    let elsewhere = world::empty().await;
    let (source, target) = (source.client(), target.client());
    let before = of_fleet(&state(&source).await);
    let gate = Gate::default();
    let writes = |asked: &Asked| asked.method != "GET" && asked.path.contains("/configmaps");
    let held = gated(&source, &gate, writes);
    let late = moved(&held, &target);
    let early = async {
        gate.reached().await;
        let other = elsewhere.client();
        dies_at(&source, &other, false, copying).await;
        gate.open();
    };
    let (late, ()) = tokio::join!(late, early);
    let error = late.unwrap_err();
    assert!(matches!(error, MoveError::Busy { .. }), "{error}");
    assert!(of_fleet(&state(&target).await).is_empty());
    moved_later(&source, &elsewhere.client()).await.unwrap();
    arrived(&before, &source, &elsewhere.client()).await;
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_counts() {
    let (source, target) = (world::full(SMALL).await, world::empty().await);
    let (source, target) = (source.client(), target.client());
    let before = of_fleet(&state(&source).await);
    let written = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&written);
    // The journal is made, says what moves, then what is paused meanwhile, then that everything is there.
    let from = unreliable(&source, &Life::default(), move |asked: &Asked| {
        let write = asked.method == "PUT" && asked.path.ends_with(JOURNAL);
        if write && counted.fetch_add(1, Ordering::SeqCst) >= 2 {
            Fate::Lost
        } else {
            Fate::Served
        }
    });
    let error = moved(&from, &target).await.unwrap_err();
    assert!(matches!(error, MoveError::Halted { .. }), "{error}");
    moved_later(&source, &target).await.unwrap();
    arrived(&before, &source, &target).await;
}
