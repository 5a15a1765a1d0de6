//! A second process that is started while the first one moves: it waits, and does nothing twice.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::{Ended, Ground, Life, MOVE, Turn, commits, undone::ABORT};
use crate::{
    pivot::{plain::SMALL, unreliable::Gate},
    proxy::Asked,
};

/// So often does a process look at a Lease that it can't have.
const LOOKS: usize = 6;

/// What the second process does.
#[derive(Default)]
struct Deeds {
    /// Requests that change an object of the fleet.
    writes: AtomicUsize,
    looks: AtomicUsize,
    /// Says that it waits.
    waits: Notify,
}

impl Deeds {
    /// A life that nobody disturbs.
    fn life(self: &Arc<Self>) -> Arc<Life> {
        let deeds = Arc::clone(self);
        Life::new(move |_, asked: &Asked| {
            let changes = asked.method != "GET" && !asked.query.contains("dryRun");
            if changes && asked.path.contains("/namespaces/fleet/") {
                deeds.writes.fetch_add(1, Ordering::SeqCst);
            }
            let looks = asked.method == "GET" && asked.path.ends_with("/leases/machinectl-controller");
            if looks && deeds.looks.fetch_add(1, Ordering::SeqCst) == LOOKS {
                deeds.waits.notify_one();
            }
            Turn::Served
        })
    }
}

/// A life that is held up at the word that commits the move.
fn held_up(gate: &Gate) -> Arc<Life> {
    let (gate, met) = (gate.clone(), AtomicBool::new(false));
    Life::new(move |_, asked: &Asked| {
        if commits(asked) && !met.swap(true, Ordering::SeqCst) {
            Turn::Held(gate.clone())
        } else {
            Turn::Served
        }
    })
}

/// What becomes of the first process.
#[derive(Clone, Copy)]
enum First {
    GoesOn,
    Dies,
}

/// One process has copied everything, and is held up before it commits; another one is told `command`, and waits. Then something becomes of the
/// first one. Returns how both end, and how often the second one has written to the fleet.
async fn two(ground: &Ground, first: First, command: &[&str]) -> (Ended, Ended, usize) {
    let (gate, deeds) = (Gate::default(), Arc::<Deeds>::default());
    let life = held_up(&gate);
    let meanwhile = async {
        gate.reached().await;
        let waiting = async {
            tokio::time::timeout(Duration::from_secs(120), deeds.waits.notified())
                .await
                .expect("the second process waits");
            assert_eq!(deeds.writes.load(Ordering::SeqCst), 0);
            match first {
                First::GoesOn => gate.open(),
                First::Dies => life.end(),
            }
        };
        tokio::join!(ground.run(deeds.life(), command), waiting).0
    };
    let (first, second) = tokio::join!(ground.run(Arc::clone(&life), &MOVE), meanwhile);
    (first, second, deeds.writes.load(Ordering::SeqCst))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_one_moves_and_the_other_says_so() {
    for command in [&MOVE[..], &ABORT] {
        let ground = Ground::new(SMALL).await;
        let before = ground.fleet().await;
        let (first, second, writes) = two(&ground, First::GoesOn, command).await;
        first.well("the first one");
        assert_eq!(second.code, Some(4), "{}", second.said);
        assert!(second.said.contains("another process"), "{}", second.said);
        assert_eq!(writes, 0, "{}", second.said);
        ground.arrived(&before, "two at once").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_waits_goes_on_when_the_first_is_killed() {
    let ground = Ground::new(SMALL).await;
    let before = ground.fleet().await;
    let (first, second, _) = two(&ground, First::Dies, &MOVE).await;
    assert!(first.was_killed());
    second.well("the second one");
    ground.arrived(&before, "gone on with").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_waits_undoes_what_the_first_has_done_when_that_is_killed() {
    let ground = Ground::new(SMALL).await;
    let before = super::undone::everything(&ground).await;
    let (first, second, writes) = two(&ground, First::Dies, &ABORT).await;
    assert!(first.was_killed());
    second.well("the second one");
    assert!(writes > 0);
    assert_eq!(super::undone::everything(&ground).await, before);
}
