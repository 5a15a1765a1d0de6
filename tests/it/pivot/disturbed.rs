//! API servers that stumble, refuse, hang or disappear while objects move.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use kube::Client;
use serde_json::{Value, json};

use super::{
    a_move, moved,
    plain::SMALL,
    unreliable::{Asked, Fate, Life, unreliable},
    world::{self, difference, is_over, of_fleet, state},
};

/// Every so many-th request to either side goes wrong; the move arrives all the same.
async fn arrives_although(what: &str, every: usize, fate: Fate) {
    let (source, target) = (world::full(SMALL).await, world::empty().await);
    let before = of_fleet(&state(&source.client()).await);
    let met = Arc::new(AtomicUsize::new(0));
    let side = |client: &Client| {
        let (fate, met) = (fate.clone(), Arc::clone(&met));
        unreliable(client, &Life::default(), move |asked: &Asked| {
            if asked.number % every == every - 1 {
                met.fetch_add(1, Ordering::SeqCst);
                fate.clone()
            } else {
                Fate::Served
            }
        })
    };
    let (from, to) = (side(&source.client()), side(&target.client()));
    if let Err(error) = moved(&from, &to).await {
        panic!("{what}: {error}");
    }
    let (from, to) = (state(&source.client()).await, state(&target.client()).await);
    is_over(&from, &to).unwrap();
    assert_eq!(difference(&before, &of_fleet(&to)), None, "{what}");
    assert!(met.load(Ordering::SeqCst) > 0, "{what}");
}

#[tokio::test]
async fn servers_that_are_busy_or_stumble_are_asked_again() {
    for code in [429, 500, 503, 504] {
        arrives_although(&code.to_string(), 5, Fate::Answered(code, "try again".to_owned())).await;
    }
    arrives_although("broken connections", 5, Fate::Broken).await;
}

#[tokio::test]
async fn answers_that_get_lost_do_no_harm() {
    arrives_although("lost answers", 61, Fate::Lost).await;
}

#[tokio::test]
async fn conflicts_are_looked_into() {
    let (source, target) = (world::full(SMALL).await, world::empty().await);
    let before = of_fleet(&state(&source.client()).await);
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    // Each write of a status meets a conflict once.
    let to = unreliable(&target.client(), &Life::default(), move |asked: &Asked| {
        let write = asked.path.ends_with("/status") && !asked.query.contains("dryRun");
        if write && counted.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            Fate::Answered(409, "the object has been modified".to_owned())
        } else {
            Fate::Served
        }
    });
    moved(&source.client(), &to).await.unwrap();
    let (from, to) = (state(&source.client()).await, state(&target.client()).await);
    is_over(&from, &to).unwrap();
    assert_eq!(difference(&before, &of_fleet(&to)), None);
    assert!(seen.load(Ordering::SeqCst) > 5);
}

/// What is as it was before: everything but the namespace and Lease of the program.
fn same(before: &BTreeMap<String, Value>, now: &BTreeMap<String, Value>) {
    let of = |state: &BTreeMap<String, Value>| -> BTreeMap<String, Value> {
        let all = state.iter().filter(|(k, _)| !k.contains("machinectl-system"));
        all.map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    assert_eq!(difference(&of(before), &of(now)), None);
    for (key, value) in now {
        assert!(!key.contains("machinectl-move"), "{key}");
        assert_eq!(
            value["metadata"]["annotations"]["machinectl.crit.sh/fenced-by"],
            Value::Null,
            "{key}"
        );
    }
}

#[tokio::test]
async fn a_webhook_that_denies_is_named_in_seconds_and_the_source_goes_on() {
    for dry in [true, false] {
        let (source, target) = (world::full(SMALL).await, world::empty().await);
        let before = (state(&source.client()).await, state(&target.client()).await);
        let to = unreliable(&target.client(), &Life::default(), move |asked: &Asked| {
            let create = asked.method == "POST" && asked.path.ends_with("/machines");
            if create && asked.query.contains("dryRun") == dry {
                let message = r#"admission webhook "guard.example.com" denied the request: not on Fridays"#;
                Fate::Answered(403, message.to_owned())
            } else {
                Fate::Served
            }
        });
        let begun = Instant::now();
        let error = moved(&source.client(), &to).await.unwrap_err();
        let mut told = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(source) = cause {
            told.extend([": ", &source.to_string()]);
            cause = source.source();
        }
        assert!(
            told.contains("guard.example.com") && told.contains("Machine"),
            "{told}"
        );
        // A denial is not asked about again until patience is at its end.
        assert!(begun.elapsed() < Duration::from_secs(25));
        same(&before.0, &state(&source.client()).await);
        same(&before.1, &state(&target.client()).await);
    }
}

/// A slow webhook may let an object in after another one was denied: it must not come to be when everything is undone already.
#[tokio::test]
async fn what_is_still_on_its_way_when_a_move_fails_is_undone_too() {
    const DELAY: Duration = Duration::from_secs(2);
    let (source, target) = (world::full(SMALL).await, world::empty().await);
    let namespace =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": world::NAMESPACE } });
    world::send(&target.client(), "POST", "/api/v1/namespaces", &namespace).await;
    let before = (state(&source.client()).await, state(&target.client()).await);
    let to = unreliable(&target.client(), &Life::default(), move |asked: &Asked| {
        if asked.method != "POST" || asked.query.contains("dryRun") {
            Fate::Served
        } else if asked.path.ends_with("/configs") {
            Fate::Answered(403, "not on Fridays".to_owned())
        } else if asked.path.ends_with("/machines") {
            // One that nobody owns, so that no garbage collector takes it away again.
            Fate::Late(DELAY)
        } else {
            Fate::Served
        }
    });
    let by_then = tokio::time::Instant::now() + DELAY + Duration::from_millis(500);
    moved(&source.client(), &to).await.unwrap_err();
    tokio::time::sleep_until(by_then).await;
    same(&before.0, &state(&source.client()).await);
    same(&before.1, &state(&target.client()).await);
}

#[tokio::test]
async fn a_target_that_disappears_does_not_hold_the_source_up_and_is_cleaned_up_later() {
    let (source, target) = (world::full(SMALL).await, world::empty().await);
    let before = of_fleet(&state(&source.client()).await);
    let gone = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&gone);
    let to = unreliable(&target.client(), &Life::default(), move |asked: &Asked| {
        let create =
            asked.method == "POST" && asked.path.ends_with("/machines") && !asked.query.contains("dryRun");
        if create || flag.load(Ordering::SeqCst) {
            flag.store(true, Ordering::SeqCst);
            return Fate::Broken;
        }
        Fate::Served
    });
    let error = moved(&source.client(), &to).await.unwrap_err();
    assert!(
        matches!(&error, machinectl::pivot::MoveError::Undone { left: Some(_), .. }),
        "{error}"
    );
    let fenced = |state: &BTreeMap<String, Value>| {
        let lease = state
            .iter()
            .find(|(k, _)| k.ends_with("/machinectl-controller"))
            .unwrap()
            .1;
        !lease["metadata"]["annotations"]["machinectl.crit.sh/fenced-by"].is_null()
    };
    // The source goes on; the target, which holds a part, stays fenced.
    assert!(!fenced(&state(&source.client()).await));
    assert!(fenced(&state(&target.client()).await));
    assert_eq!(
        difference(&before, &of_fleet(&state(&source.client()).await)),
        None
    );
    // It is back: the same command cleans up first.
    moved(&source.client(), &target.client()).await.unwrap();
    let (from, to) = (state(&source.client()).await, state(&target.client()).await);
    is_over(&from, &to).unwrap();
    assert_eq!(difference(&before, &of_fleet(&to)), None);
}

#[tokio::test]
async fn whoever_stops_it_can_go_on_or_undo() {
    let (source, target) = (world::full(SMALL).await, world::empty().await);
    let before = of_fleet(&state(&source.client()).await);
    let stop = machinectl::pivot::Stop::default();
    let asked = stop.clone();
    let to = unreliable(&target.client(), &Life::default(), move |request: &Asked| {
        if request.path.ends_with("/machines")
            && !request.query.contains("dryRun")
            && request.method == "POST"
        {
            asked.ask();
        }
        Fate::Served
    });
    let mut first = a_move(&source.client(), &to).await.unwrap();
    first.stop = stop;
    let error = Box::pin(first.run()).await.unwrap_err();
    assert!(
        matches!(error, machinectl::pivot::MoveError::Interrupted),
        "{error}"
    );
    moved(&source.client(), &target.client()).await.unwrap();
    let (from, to) = (state(&source.client()).await, state(&target.client()).await);
    is_over(&from, &to).unwrap();
    assert_eq!(difference(&before, &of_fleet(&to)), None);
}
