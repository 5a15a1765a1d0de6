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
    unreliable::{Asked, Fate, Gate, Life, unreliable},
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

/// The same of what a move writes before it copies: a namespace is refused in the target while the list is still on its way to the source.
#[tokio::test]
async fn a_list_that_is_still_on_its_way_when_a_move_fails_is_removed_too() {
    const DELAY: Duration = Duration::from_secs(2);
    let (source, target) = (world::full(SMALL).await, world::empty().await);
    let own = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "machinectl-system" } });
    for client in [source.client(), target.client()] {
        world::send(&client, "POST", "/api/v1/namespaces", &own).await;
    }
    let before = (state(&source.client()).await, state(&target.client()).await);
    let to = unreliable(&target.client(), &Life::default(), move |asked: &Asked| {
        if asked.method == "POST" && asked.path == "/api/v1/namespaces" {
            Fate::Answered(403, "not on Fridays".to_owned())
        } else {
            Fate::Served
        }
    });
    let made = AtomicUsize::new(0);
    let from = unreliable(&source.client(), &Life::default(), move |asked: &Asked| {
        // First the journal is made, then the list.
        let makes = asked.method == "POST" && asked.path.ends_with("/configmaps");
        if makes && made.fetch_add(1, Ordering::SeqCst) == 1 {
            Fate::Late(DELAY)
        } else {
            Fate::Served
        }
    });
    let by_then = tokio::time::Instant::now() + DELAY + Duration::from_millis(500);
    let error = moved(&from, &to).await.unwrap_err().to_string();
    assert!(error.contains("can't make namespace"), "{error}");
    tokio::time::sleep_until(by_then).await;
    same(&before.0, &state(&source.client()).await);
    same(&before.1, &state(&target.client()).await);
}

/// While objects are copied somebody makes one that would be deleted in the source with its owner.
#[tokio::test]
async fn what_comes_to_be_during_a_move_is_not_lost_with_its_owner() {
    for (list, mut made) in [
        ("secrets", json!({ "apiVersion": "v1", "kind": "Secret" })),
        (
            "services",
            json!({ "apiVersion": "v1", "kind": "Service", "spec": { "ports": [{ "port": 80 }] } }),
        ),
    ] {
        let (source, target) = (world::full(SMALL).await, world::empty().await);
        let client = source.client();
        let of_fleet = |list: &str| format!("{list}/namespaces/{}", world::NAMESPACE);
        let cluster = format!("{}/clusters/prod", of_fleet("/apis/machine.crit.sh/v1alpha1"));
        let cluster = world::get(&client, &cluster).await.unwrap();
        made["metadata"] = json!({ "name": "late", "ownerReferences": [{
            "apiVersion": "machine.crit.sh/v1alpha1", "kind": "Cluster", "name": "prod", "uid": cluster["metadata"]["uid"],
        }] });
        let gate = Gate::default();
        let (held, met) = (gate.clone(), AtomicBool::new(false));
        let to = unreliable(&target.client(), &Life::default(), move |asked: &Asked| {
            let create = asked.method == "POST"
                && asked.path.ends_with("/machines")
                && !asked.query.contains("dryRun");
            if create && !met.swap(true, Ordering::SeqCst) {
                Fate::Held(held.clone())
            } else {
                Fate::Served
            }
        });
        let list = format!("{}/{list}", of_fleet("/api/v1"));
        let meanwhile = async {
            gate.reached().await;
            world::send(&client, "POST", &list, &made).await;
            gate.open();
        };
        let (outcome, ()) = tokio::join!(moved(&client, &to), meanwhile);
        let error = outcome.unwrap_err().to_string();
        assert!(
            error.contains("fleet/late") && error.contains("with its owner Cluster"),
            "{error}"
        );
        assert!(world::get(&client, &format!("{list}/late")).await.is_some());
    }
}

/// A machine is changed after its finalizers were taken away, while the source is emptied.
#[tokio::test]
async fn what_is_changed_while_it_waits_to_be_deleted_arrives() {
    let (source, target) = (world::full(SMALL).await, world::empty().await);
    let client = source.client();
    let before = of_fleet(&state(&client).await);
    let machine = format!(
        "/apis/machine.crit.sh/v1alpha1/namespaces/{}/machines/prod-0",
        world::NAMESPACE
    );
    let gate = Gate::default();
    let (held, met) = (gate.clone(), AtomicBool::new(false));
    let from = unreliable(&client, &Life::default(), move |asked: &Asked| {
        // What nobody holds goes when all else is marked.
        if asked.method == "DELETE" && !met.swap(true, Ordering::SeqCst) {
            Fate::Held(held.clone())
        } else {
            Fate::Served
        }
    });
    let meanwhile = async {
        gate.reached().await;
        let change = json!({ "metadata": { "annotations": { "note": "late" } } });
        world::send(&client, "PATCH", &machine, &change).await;
        gate.open();
    };
    let to = target.client();
    let (outcome, ()) = tokio::join!(moved(&from, &to), meanwhile);
    outcome.unwrap();
    let arrived = world::get(&target.client(), &machine).await.unwrap();
    assert_eq!(arrived["metadata"]["annotations"]["note"], "late");
    let key = before
        .keys()
        .find(|key| key.ends_with("/prod-0") && key.contains("/machines "))
        .unwrap();
    for field in ["finalizers", "labels"] {
        assert_eq!(
            arrived["metadata"][field], before[key]["metadata"][field],
            "{field}"
        );
    }
    let (from, to) = (state(&client).await, state(&target.client()).await);
    is_over(&from, &to).unwrap();
}

/// A set is changed right before it is to leave, and it takes long to look at it again: its owner does not take it along meanwhile.
#[tokio::test]
async fn an_owner_does_not_leave_before_what_it_owns() {
    let (source, target) = (world::full(SMALL).await, world::empty().await);
    let client = source.client();
    let set = format!(
        "/apis/machine.crit.sh/v1alpha1/namespaces/{}/machinesets/rolled-1",
        world::NAMESPACE
    );
    let gate = Gate::default();
    let (held, path, met) = (gate.clone(), set.clone(), AtomicBool::new(false));
    let from = unreliable(&client, &Life::default(), move |asked: &Asked| {
        if asked.path != path {
            Fate::Served
        } else if asked.method == "DELETE" && !met.swap(true, Ordering::SeqCst) {
            Fate::Held(held.clone())
        } else {
            Fate::Late(Duration::from_secs(1))
        }
    });
    let meanwhile = async {
        gate.reached().await;
        let change = json!({ "metadata": { "annotations": { "note": "late" } } });
        world::send(&client, "PATCH", &set, &change).await;
        gate.open();
    };
    let to = target.client();
    let (outcome, ()) = tokio::join!(moved(&from, &to), meanwhile);
    outcome.unwrap();
    let set = world::get(&target.client(), &set).await.unwrap();
    assert_eq!(set["metadata"]["annotations"]["note"], "late");
    let (from, to) = (state(&client).await, state(&target.client()).await);
    is_over(&from, &to).unwrap();
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
