//! Traces of roll-outs that Cluster API records, and rules that hold for every state.

use proptest::{
    prelude::{any, prop, prop_assert, prop_assert_eq, prop_assume, proptest},
    strategy::Strategy as _,
};

use super::*;

fn rolling(replicas: i32, surge: i32, unavailable: i32) -> Limits {
    Limits {
        replicas,
        strategy: Strategy::Rolling { surge, unavailable },
        deadline: None,
        history: 1,
    }
}

/// A set that has got to its number, all of it available.
fn done(wanted: i32, limits: &Limits) -> Share {
    Share {
        wanted,
        present: wanted,
        available: wanted,
        settled: true,
        closed: false,
        sized_for: Some((limits.replicas, limits.most())),
    }
}

fn fleet(limits: Limits, old: &[i32], current: i32) -> Fleet {
    Fleet {
        limits,
        paused: false,
        stalled: false,
        old: old.iter().map(|n| done(*n, &limits)).collect(),
        current: Some(done(current, &limits)),
    }
}

/// Lets every set get to its number.
fn follow(fleet: &mut Fleet, sizes: &Sizes) {
    let limits = fleet.limits;
    for (share, size) in fleet.old.iter_mut().zip(&sizes.old) {
        let closed = share.closed;
        *share = Share {
            closed,
            ..done(*size, &limits)
        };
    }
    fleet.current = sizes.current.map(|size| done(size, &limits));
}

/// One line a decision: which set goes from how many to how many. Ends when nothing moves.
fn trace(fleet: &mut Fleet) -> Vec<String> {
    let mut lines = Vec::new();
    for _ in 0..100 {
        let sizes = sizes(fleet);
        let mut moves: Vec<String> = fleet
            .old
            .iter()
            .zip(&sizes.old)
            .enumerate()
            .filter(|(_, (share, size))| share.wanted != **size)
            .map(|(i, (share, size))| {
                let name = if fleet.old.len() == 1 {
                    "old".to_owned()
                } else {
                    format!("old{}", i + 1)
                };
                format!("{name} {}→{size}", share.wanted)
            })
            .collect();
        if let (Some(share), Some(size)) = (fleet.current, sizes.current)
            && share.wanted != size
        {
            moves.push(format!("new {}→{size}", share.wanted));
        }
        if moves.is_empty() {
            return lines;
        }
        lines.push(moves.join(", "));
        follow(fleet, &sizes);
        if let Strategy::Rolling { .. } = fleet.limits.strategy {
            assert!(
                fleet.total() <= fleet.limits.most().max(fleet.limits.replicas),
                "{lines:?}"
            );
        }
    }
    panic!("it never ends: {lines:?}");
}

#[test]
fn three_machines_with_a_surge_of_one() {
    assert_eq!(
        trace(&mut fleet(rolling(3, 1, 0), &[3], 0)),
        ["new 0→1", "old 3→2", "new 1→2", "old 2→1", "new 2→3", "old 1→0"]
    );
}

#[test]
fn three_machines_of_which_one_may_be_missing() {
    assert_eq!(
        trace(&mut fleet(rolling(3, 0, 1), &[3], 0)),
        ["old 3→2", "new 0→1", "old 2→1", "new 1→2", "old 1→0", "new 2→3"]
    );
}

#[test]
fn six_machines_with_a_surge_of_three_and_one_missing() {
    assert_eq!(
        trace(&mut fleet(rolling(6, 3, 1), &[6], 0)),
        [
            "old 6→5, new 0→3",
            "old 5→2, new 3→4",
            "old 2→1, new 4→6",
            "old 1→0"
        ]
    );
}

#[test]
fn a_surge_larger_than_the_fleet_makes_all_machines_at_once() {
    assert_eq!(
        trace(&mut fleet(rolling(6, 10, 0), &[6], 0)),
        ["new 0→6", "old 6→0"]
    );
}

#[test]
fn if_all_may_be_missing_all_go_at_once() {
    assert_eq!(
        trace(&mut fleet(rolling(6, 0, 10), &[6], 0)),
        ["old 6→0", "new 0→6"]
    );
}

#[test]
fn a_change_in_the_middle_empties_the_oldest_set_first() {
    assert_eq!(
        trace(&mut fleet(rolling(6, 1, 0), &[4, 3], 0)),
        [
            "old1 4→3",
            "new 0→1",
            "old1 3→2",
            "new 1→2",
            "old1 2→1",
            "new 2→3",
            "old1 1→0",
            "new 3→4",
            "old2 3→2",
            "new 4→5",
            "old2 2→1",
            "new 5→6",
            "old2 1→0"
        ]
    );
}

/// Lets the wanted number change in the middle of a roll-out.
fn rescaled(from: i32, to: i32, old: &[i32], current: i32) -> Fleet {
    let mut fleet = fleet(rolling(from, 1, 0), old, current);
    fleet.limits.replicas = to;
    fleet
}

#[test]
fn more_machines_in_the_middle_come_to_both_sets() {
    let mut fleet = rescaled(6, 12, &[3], 4);
    let sizes = sizes(&fleet);
    // 13 machines in the proportion of 3 to 4; the rest goes to the larger one.
    assert_eq!((sizes.old[0], sizes.current), (6, Some(7)));
    follow(&mut fleet, &sizes);
    let lines = trace(&mut fleet);
    assert_eq!(lines[..3], ["old 6→5", "new 7→8", "old 5→4"]);
    assert_eq!(lines.last().unwrap(), "old 1→0");
}

#[test]
fn fewer_machines_in_the_middle_go_from_both_sets() {
    let mut fleet = rescaled(12, 6, &[6], 7);
    let sizes = sizes(&fleet);
    assert_eq!((sizes.old[0], sizes.current), (3, Some(4)));
    follow(&mut fleet, &sizes);
    assert_eq!(
        trace(&mut fleet),
        ["old 3→2", "new 4→5", "old 2→1", "new 5→6", "old 1→0"]
    );
}

#[test]
fn what_shrinks_keeps_machines_that_are_available() {
    let mut fleet = rescaled(12, 6, &[6], 7);
    fleet.current.as_mut().unwrap().available = 1;
    // The proportion would leave 3 + 1 that are available.
    let sizes = sizes(&fleet);
    assert_eq!((sizes.old[0], sizes.current), (5, Some(2)));
}

#[test]
fn no_machines_are_wanted_any_more() {
    let sizes = sizes(&rescaled(6, 0, &[2, 3], 2));
    assert_eq!((sizes.old, sizes.current), (vec![0, 0], Some(0)));
}

#[test]
fn a_new_number_and_a_new_template_at_once_make_no_machines_of_the_old_one() {
    let before = rolling(3, 1, 0);
    let mut fleet = fleet(rolling(6, 1, 0), &[], 0);
    fleet.old = vec![done(3, &before)];
    // The set is about to be made, in the same step.
    fleet.current = None;
    assert_eq!(sizes(&fleet).old, [3]);
    fleet.current = Some(Share {
        settled: true,
        ..Share::default()
    });
    fleet.old[0].sized_for = Some((6, 7));
    assert_eq!(sizes(&fleet).current, Some(4));
}

#[test]
fn while_it_is_paused_only_the_wanted_number_moves_anything() {
    let mut fleet = fleet(rolling(6, 3, 1), &[5], 3);
    fleet.paused = true;
    assert_eq!(sizes(&fleet), fleet.keep());
    fleet.current = None;
    assert_eq!(sizes(&fleet).old, [6], "a single set has what is wanted");
    fleet.limits.replicas = 8;
    assert_eq!(sizes(&fleet).old, [8]);
    fleet.old[0].wanted = 0;
    assert_eq!(
        sizes(&fleet).old,
        [8],
        "without machines the newest set gets them"
    );
}

#[test]
fn machines_that_are_not_available_go_first() {
    let limits = rolling(4, 0, 2);
    let mut fleet = fleet(limits, &[2, 2], 0);
    fleet.old[1].available = 1;
    assert_eq!(sizes(&fleet).old, [1, 1]);
    fleet.old[1].available = 0;
    assert_eq!(sizes(&fleet).old, [2, 0]);
}

#[test]
fn what_a_set_says_about_another_number_counts_as_nothing() {
    // It was emptied and wanted again before it has looked: its 3 machines are on their way out.
    let mut fleet = fleet(rolling(3, 1, 0), &[3], 1);
    fleet.current = Some(Share {
        available: 3,
        settled: false,
        ..fleet.current.unwrap()
    });
    assert_eq!(sizes(&fleet), fleet.keep());
    fleet.current = Some(Share {
        settled: true,
        ..fleet.current.unwrap()
    });
    assert_eq!(sizes(&fleet).old, [2]);
}

#[test]
fn a_roll_out_without_progress_gives_up_one_useless_machine() {
    let mut fleet = fleet(rolling(3, 1, 0), &[2], 2);
    fleet.old[0].available = 1;
    fleet.current.as_mut().unwrap().available = 1;
    assert_eq!(sizes(&fleet), fleet.keep());
    fleet.stalled = true;
    assert_eq!(sizes(&fleet).old, [1]);
    fleet.old[0].available = 2;
    assert_eq!(sizes(&fleet), fleet.keep(), "it takes none that is available");
}

#[test]
fn on_delete_nothing_moves_until_somebody_deletes() {
    let limits = Limits {
        strategy: Strategy::OnDelete,
        ..rolling(3, 0, 0)
    };
    let mut fleet = fleet(limits, &[3], 0);
    assert_eq!(trace(&mut fleet), Vec::<String>::new());
    fleet.old[0].present = 2;
    assert_eq!(sizes(&fleet), fleet.keep(), "it may be making one");
    fleet.old[0].closed = true;
    for expected in ["old 3→2, new 0→1", "old 2→1, new 1→2", "old 1→0, new 2→3"] {
        fleet.old[0].present = fleet.old[0].wanted - 1;
        assert_eq!(trace(&mut fleet), [expected]);
    }
}

#[test]
fn on_delete_fewer_machines_go_from_the_oldest_set() {
    let limits = Limits {
        strategy: Strategy::OnDelete,
        ..rolling(6, 0, 0)
    };
    let mut fleet = fleet(limits, &[3, 2], 1);
    fleet.limits.replicas = 3;
    let sizes = sizes(&fleet);
    assert_eq!((sizes.old, sizes.current), (vec![0, 2], Some(1)));
    fleet.limits.replicas = 9;
    fleet.paused = true;
    let sizes = super::sizes(&fleet);
    assert_eq!((sizes.old, sizes.current), (vec![3, 2], Some(4)));
}

fn share(most: i32) -> impl proptest::strategy::Strategy<Value = Share> {
    (
        0..=most,
        0..=most,
        any::<bool>(),
        any::<bool>(),
        prop::option::of((0..12, 0..16)),
    )
        .prop_map(|(wanted, available, settled, closed, sized_for)| Share {
            wanted,
            present: wanted,
            available: available.min(wanted),
            settled,
            closed,
            sized_for,
        })
}

proptest! {
    /// Whatever the sets say: no step makes too many machines, or takes one that has to be available.
    #[test]
    fn a_step_keeps_the_limits(
        replicas in 0..10, surge in 0..5, unavailable in 0..5, paused: bool, stalled: bool, on_delete: bool,
        old in prop::collection::vec(share(8), 0..4), current in prop::option::of(share(10)),
    ) {
        prop_assume!(surge + unavailable > 0);
        let mut limits = rolling(replicas, surge, unavailable);
        if on_delete {
            limits.strategy = Strategy::OnDelete;
        }
        let fleet = Fleet { limits, paused, stalled, old, current };
        let sizes = sizes(&fleet);
        let after: Vec<i32> = sizes.old.iter().copied().chain(sizes.current).collect();
        prop_assert!(after.iter().all(|n| *n >= 0));
        let total: i32 = after.iter().sum();
        prop_assert!(total <= fleet.total().max(limits.most()), "{} machines: {sizes:?}", total);
        let known = |sizes: &[i32]| -> i32 { fleet.all().zip(sizes).map(|(s, n)| s.available_of(*n)).sum() };
        let before: Vec<i32> = fleet.all().map(|s| s.wanted).collect();
        if !on_delete && fleet.all().all(|s| s.settled) {
            prop_assert!(known(&after) >= known(&before).min(limits.fewest()), "{sizes:?}");
        }
    }

    /// A roll-out whose new machines become available always has a next step, whatever is wrong with old ones.
    #[test]
    fn nothing_old_holds_a_roll_out_up(
        replicas in 1..10, surge in 0..5, unavailable in 0..5, current in 0..12,
        old in prop::collection::vec((0..8, 0..8), 1..4),
    ) {
        prop_assume!(surge + unavailable > 0);
        let limits = rolling(replicas, surge, unavailable);
        let mut fleet = fleet(limits, &[], current);
        fleet.old = old.into_iter().map(|(wanted, available): (i32, i32)| Share { available: available.min(wanted), ..done(wanted, &limits) }).collect();
        for _ in 0..100 {
            let sizes = sizes(&fleet);
            if sizes == fleet.keep() {
                break;
            }
            // Old machines that were of no use stay so.
            let useless: Vec<i32> = fleet.old.iter().map(|s| s.wanted - s.available).collect();
            let gone: Vec<i32> = fleet.old.iter().zip(&sizes.old).map(|(s, n)| s.wanted - n).collect();
            follow(&mut fleet, &sizes);
            for ((share, useless), gone) in fleet.old.iter_mut().zip(useless).zip(gone) {
                share.available = share.wanted - (useless - gone).max(0);
            }
        }
        prop_assert_eq!(fleet.current.map(|s| s.wanted), Some(replicas));
        prop_assert_eq!(fleet.total(), replicas);
    }
}
