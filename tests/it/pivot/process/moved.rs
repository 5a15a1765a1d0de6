//! A move whose process is killed, and typed again.

use super::{Ground, MOVE, spread};
use crate::pivot::{
    plain::{SMALL, WHOLE},
    world::Size,
};

/// Moves a fleet there and back, and kills each move at another request; and what goes on with it, too, if more numbers than one are given.
/// Returns how many moves were killed.
async fn killed(size: Size, moves: impl IntoIterator<Item = Vec<usize>>) -> usize {
    let mut ground = Ground::new(size).await;
    let before = ground.fleet().await;
    let mut kills = 0;
    for requests in moves {
        let first = ground.killed_at(requests[0], &MOVE).await;
        if !first.was_killed() {
            first.well("not killed");
            break;
        }
        kills += 1;
        let what = format!("killed at request {requests:?}");
        for &at in &requests[1..] {
            let next = ground.killed_at(at, &MOVE).await;
            if !next.was_killed() {
                next.well(&what);
            }
        }
        ground.typed(&MOVE).await.well(&what);
        ground.arrived(&before, &what).await;
        ground.turn().await;
    }
    kills
}

/// How many requests a move has that nobody kills.
async fn undisturbed(size: Size) -> usize {
    let ground = Ground::new(size).await;
    let before = ground.fleet().await;
    let done = ground.typed(&MOVE).await.well("undisturbed");
    ground.arrived(&before, "undisturbed").await;
    done.requests
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_arrives_wherever_the_process_that_moves_it_is_killed() {
    const KILLS: usize = 8;
    let requests = spread(undisturbed(WHOLE).await, KILLS);
    assert!(killed(WHOLE, requests.map(|at| vec![at])).await >= KILLS - 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: the process that moves the whole fleet is killed at each of its requests"]
async fn a_fleet_arrives_wherever_the_process_that_moves_it_is_killed_at_each_request() {
    let kills = killed(WHOLE, (0..).map(|at| vec![at])).await;
    assert!(kills > 300, "{kills}");
}

/// Whoever goes on with a move may be killed as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_fleet_arrives_when_three_processes_are_killed_one_after_the_other() {
    const MOVES: usize = 5;
    let all = undisturbed(SMALL).await;
    let later = |first: usize, more: usize| (first * 7 + more) % (all / 2);
    let moves = spread(all, MOVES).map(|at| vec![at, later(at, 11), later(at, 28)]);
    assert!(killed(SMALL, moves).await >= MOVES - 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: one process is killed at each request of a move, and the next one at several"]
async fn a_small_fleet_arrives_wherever_two_processes_are_killed_one_after_the_other() {
    let all = undisturbed(SMALL).await;
    for step in 0..6 {
        let moves = (0..).map(|at| vec![at, (at + step * all / 6) % all]);
        let kills = killed(SMALL, moves).await;
        assert!(kills > 80, "{kills}");
    }
}
