//! One holder at a time, on an API server that falls silent, breaks, or belongs to a machine with another clock.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use serde_json::json;

use super::*;
use crate::time::ManualClock;

/// A tenth of a second is a second.
const PACE: Pace = Pace(Duration::from_millis(100));

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn held_at(second: i64) -> Lease {
    let mut lease = fresh("a_1", at(second), 0);
    lease.metadata.annotations = None;
    lease
}

#[test]
fn a_lease_is_free_when_it_ran_out_or_was_given_back() {
    assert!(!is_free(&held_at(100), at(115)));
    assert!(is_free(&held_at(100), at(116)));
    let mut given_back = held_at(100);
    given_back.spec.as_mut().unwrap().holder_identity = Some(String::new());
    assert!(is_free(&given_back, at(100)));
}

/// An API server that holds one Lease. It can be told to answer no more.
#[derive(Clone, Default)]
struct Server {
    lease: Arc<Mutex<Option<Lease>>>,
    silent: Arc<AtomicBool>,
    broken: Arc<AtomicBool>,
    version: Arc<AtomicU64>,
}

impl Server {
    fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let server = server.clone();
            async move {
                if server.silent.load(Ordering::SeqCst) {
                    std::future::pending::<()>().await;
                }
                let (head, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                let (code, answer) = server.answer(&head.method, &body);
                let body = http_body_util::Full::new(bytes::Bytes::from(answer));
                let answer = http::Response::builder().status(code).body(body).unwrap();
                Ok::<_, std::convert::Infallible>(answer)
            }
        });
        Client::new(service, "default")
    }

    fn answer(&self, method: &http::Method, body: &[u8]) -> (u16, Vec<u8>) {
        let refusal = |code: u16, reason: &str| {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason, "reason": reason, "code": code});
            (code, status.to_string().into_bytes())
        };
        if self.broken.load(Ordering::SeqCst) {
            return refusal(500, "InternalError");
        }
        let mut kept = self.lease.lock().unwrap();
        if *method == http::Method::GET {
            let Some(lease) = &*kept else {
                return refusal(404, "NotFound");
            };
            return (200, serde_json::to_vec(lease).unwrap());
        }
        let mut lease: Lease = serde_json::from_slice(body).unwrap();
        let version = |lease: &Lease| lease.metadata.resource_version.clone();
        if *method == http::Method::PUT && kept.as_ref().and_then(version) != version(&lease) {
            return refusal(409, "Conflict");
        }
        let next = self.version.fetch_add(1, Ordering::SeqCst) + 1;
        lease.metadata.resource_version = Some(next.to_string());
        // Of another machine: nothing is known of its processes.
        lease.metadata.annotations = None;
        *kept = Some(lease.clone());
        (200, serde_json::to_vec(&lease).unwrap())
    }

    async fn take(&self, identity: &str) -> Held {
        let (client, clock) = (self.client(), ManualClock::new(at(100)));
        let held = acquire_at(PACE, &client, identity, &clock, || {}, std::future::pending());
        held.await.unwrap().unwrap()
    }

    fn holder(&self) -> Option<String> {
        self.lease.lock().unwrap().as_ref().and_then(holder_of)
    }
}

#[tokio::test]
async fn a_holder_that_can_not_renew_gives_up_before_anybody_else_may_act() {
    for silent in [true, false] {
        let server = Server::default();
        let mut held = server.take("a").await;
        let clock = ManualClock::new(at(100));
        // It goes well for a while.
        let kept = tokio::time::timeout(PACE.seconds(12), held.keep(&clock)).await;
        assert!(kept.is_err());
        let other = tokio::spawn({
            let server = server.clone();
            async move {
                server.take("b").await;
                Instant::now()
            }
        });
        // The first look of the other one, and the last renewal.
        tokio::time::timeout(PACE.seconds(6), held.keep(&clock))
            .await
            .ok();
        let flag = if silent { &server.silent } else { &server.broken };
        flag.store(true, Ordering::SeqCst);
        let lost = held.keep(&clock).await;
        let stopped = Instant::now();
        assert!(matches!(lost, Lost::Expired(_)), "{lost}");
        flag.store(false, Ordering::SeqCst);
        let taken = other.await.unwrap();
        let margin = taken - stopped;
        assert!(margin >= PACE.seconds(3), "{margin:?} between two that act");
        assert_eq!(server.holder().as_deref(), Some("b"));
        assert_eq!(held.renew(at(100)).await.unwrap().as_deref(), Some("b"));
    }
}

#[tokio::test]
async fn one_hanging_request_does_not_cost_the_lease() {
    let server = Server::default();
    let mut held = server.take("a").await;
    let clock = ManualClock::new(at(100));
    server.silent.store(true, Ordering::SeqCst);
    let hang = PACE.seconds(6);
    assert!(tokio::time::timeout(hang, held.keep(&clock)).await.is_err());
    server.silent.store(false, Ordering::SeqCst);
    assert!(
        tokio::time::timeout(PACE.seconds(12), held.keep(&clock))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_dead_holder_is_replaced_within_the_time_of_its_lease_whatever_the_clocks_say() {
    let server = Server::default();
    drop(server.take("a").await);
    // Its clock went wrong by years, in either direction.
    for second in [0, 4_000_000_000] {
        {
            let mut kept = server.lease.lock().unwrap();
            let lease = kept.as_mut().unwrap();
            let spec = lease.spec.as_mut().unwrap();
            spec.holder_identity = Some("a".to_owned());
            spec.renew_time = Some(MicroTime(at(second)));
        }
        let begun = Instant::now();
        server.take("b").await;
        let waited = begun.elapsed();
        assert!(waited > PACE.seconds(15), "{waited:?}");
    }
}

#[tokio::test]
async fn what_was_given_back_or_is_the_own_one_is_taken_at_once() {
    let server = Server::default();
    server.take("a").await.release().await;
    assert_eq!(server.holder(), None);
    let none = || panic!("it has to wait");
    let (client, clock) = (server.client(), ManualClock::new(at(100)));
    // The second time is that of an attempt whose answer got lost.
    for _ in 0..2 {
        let held = acquire_at(PACE, &client, "b", &clock, none, std::future::pending());
        assert!(held.await.unwrap().is_some());
    }
}
