//! The driver of all controllers: who is looked at when, pause, back-off by kind of error. It knows no kind.

use std::{
    collections::HashMap,
    fmt::Debug,
    future::Future,
    hash::Hash,
    marker::PhantomData,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{self, Poll},
    time::{Duration, Instant},
};

use futures::FutureExt;
use kube::{Resource, ResourceExt, runtime::reflector::ObjectRef};
use tokio::{sync::watch, task::JoinSet, time::MissedTickBehavior};

use super::{
    backlog::{Backlog, Name},
    cache::{Cache, Indexed, name_in, parts_of},
    effect::Requeue,
    metrics::{Metrics, Outcome, Waiting},
};
use crate::{api::labels, providers::ActuatorError, time::SignedDuration};

/// How many objects of a kind are worked on at once. They wait for disks and networks most of the time: many together share one flush of the
/// disk (Cluster API: `--machine-concurrency`, 100).
const CONCURRENCY: u16 = 100;
/// Of a controller that is paced, an object rests after a look for this many times what the look took of a processor.
const PACE: u32 = 4;
/// Of a controller that is paced, an object that changes is looked at after this time, however long the last look took.
const LONGEST_REST: Duration = Duration::from_millis(500);
/// In this time each object is looked at once even if nothing happened to it.
const SAFETY_NET: Duration = Duration::from_secs(15 * 60);
/// How often some objects are looked at even if nothing happened to them.
const ROUND: Duration = Duration::from_secs(10);

/// Why an object could not be brought further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    /// An API server refused or did not answer.
    #[error("{doing}")]
    Api {
        doing: String,
        #[source]
        source: kube::Error,
    },
    /// An API server took too long.
    #[error("{doing}: no answer within {seconds} s")]
    TimedOut { doing: String, seconds: u64 },
    /// A workload cluster can't be reached now.
    #[error("{0} can't be reached")]
    Unreachable(String),
    /// A provider failed.
    #[error("{0}")]
    Actuator(#[from] ActuatorError),
    /// Some of several things failed.
    #[error("{} of them failed: {}", .0.len(), in_words(.0))]
    Several(Vec<Self>),
    /// Data in an object can't be used.
    #[error("{0}")]
    Invalid(String),
    /// A defect of this program.
    #[error("reconciling ended in the middle: a defect of this program, which its log describes")]
    Aborted,
}

impl ReconcileError {
    /// Wraps a failed API request.
    pub(crate) fn api(doing: impl Into<String>, source: kube::Error) -> Self {
        Self::Api {
            doing: doing.into(),
            source,
        }
    }

    /// Whether it only means that somebody was faster: the next look sorts it out.
    pub(crate) fn is_conflict(&self) -> bool {
        match self {
            Self::Api {
                source: kube::Error::Api(status),
                ..
            } => status.is_conflict(),
            Self::Several(all) => all.iter().all(Self::is_conflict),
            _ => false,
        }
    }

    /// Whether no answer came at all.
    pub(crate) fn is_silence(&self) -> bool {
        match self {
            Self::TimedOut { .. } => true,
            Self::Several(all) => all.iter().any(Self::is_silence),
            Self::Api { source, .. } => !matches!(source, kube::Error::Api(_) | kube::Error::SerdeError(_)),
            _ => false,
        }
    }

    /// Whether nothing will change until somebody changes the object.
    fn is_terminal(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::Actuator(ActuatorError::Terminal { .. }) => true,
            Self::Several(all) => all.iter().all(Self::is_terminal),
            _ => false,
        }
    }

    /// The whole chain, on one line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        text
    }

    /// How long to wait after it has happened `times` times in a row, counted from 1.
    fn back_off(&self, times: u32) -> Duration {
        let exponential =
            |first: u64, longest: u64| Duration::from_millis((first << (times - 1).min(16)).min(longest));
        match self {
            _ if self.is_conflict() => exponential(20, 2_000),
            Self::Actuator(ActuatorError::Throttled { retry_after }) => retry_after.unsigned_abs(),
            _ if self.is_terminal() => SAFETY_NET,
            Self::Unreachable(_) | Self::TimedOut { .. } => exponential(2_000, 60_000),
            Self::Several(all) => all.iter().map(|e| e.back_off(times)).min().unwrap_or_default(),
            _ => exponential(200, 60_000),
        }
    }
}

/// The first failures of several, on one line.
fn in_words(all: &[ReconcileError]) -> String {
    const SHOWN: usize = 5;
    let mut text = all
        .iter()
        .take(SHOWN)
        .map(ReconcileError::chain)
        .collect::<Vec<_>>()
        .join("; ");
    if all.len() > SHOWN {
        text.push_str("; …");
    }
    text
}

/// Work for a controller.
pub(crate) struct Queue<K: Resource>(Work<K>);

impl<K: Resource> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The other end of a [`Queue`].
pub(crate) struct Work<K: Resource> {
    backlog: Arc<Backlog>,
    waiting: Arc<Waiting>,
    kind: PhantomData<fn(K)>,
}

impl<K: Resource> Clone for Work<K> {
    fn clone(&self) -> Self {
        Self {
            backlog: Arc::clone(&self.backlog),
            waiting: Arc::clone(&self.waiting),
            kind: PhantomData,
        }
    }
}

impl<K: Resource> Queue<K> {
    /// Makes a queue.
    pub(crate) fn new() -> (Self, Work<K>) {
        let work = Work {
            backlog: Arc::default(),
            waiting: Arc::default(),
            kind: PhantomData,
        };
        (Self(work.clone()), work)
    }

    /// Asks for a look at an object.
    #[expect(clippy::needless_pass_by_value, reason = "nobody needs the key any more")]
    pub(crate) fn push(&self, key: ObjectRef<K>)
    where
        K::DynamicType: Eq + Hash,
    {
        self.0.waiting.push(key.namespace.as_deref(), &key.name);
        self.0.backlog.push(name_in(key.namespace.as_deref(), &key.name));
    }
}

/// What a controller is, for the driver.
pub(crate) struct Controller<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    /// Name in logs and counters.
    pub(crate) name: &'static str,
    /// Its objects.
    pub(crate) cache: Cache<K>,
    /// Which of them to look at.
    pub(crate) work: Work<K>,
    /// Whether an object is to be left alone, besides by its own annotation.
    pub(crate) paused: Box<dyn Fn(&K) -> bool + Send + Sync>,
    /// Whether a look costs the more the more objects it is about: the time between two looks then grows with what one takes, so that
    /// the whole work stays proportional to the number of changes.
    pub(crate) paced: bool,
    /// Becomes true when the controllers stop.
    pub(crate) stop: watch::Receiver<bool>,
}

/// How often each object failed in a row.
type Failures = Mutex<HashMap<Name, u32>>;

/// Runs a controller until it is stopped; looks that have begun come to their end.
pub(crate) async fn drive<K, F, Fut>(controller: Controller<K>, metrics: Arc<Metrics>, reconcile: F)
where
    K: Resource + Clone + Indexed + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Debug + Unpin + Send + Sync,
    F: Fn(Arc<K>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Requeue, ReconcileError>> + Send + 'static,
{
    let Controller {
        name: controller,
        cache,
        work: Work { backlog, waiting, .. },
        paused,
        paced,
        mut stop,
    } = controller;
    let counters = metrics.controller(controller);
    counters.serves(&waiting, CONCURRENCY);
    let failures: Arc<Failures> = Arc::default();
    let mut looks = JoinSet::new();
    let mut rounds = Rounds::default();
    let mut round = tokio::time::interval(ROUND);
    round.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::select! {
        () = cache.ready() => {}
        // A dropped sender means the same.
        _ = stop.wait_for(|stop| *stop) => return,
    }
    loop {
        let name = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = looks.join_next() => continue,
            _ = round.tick() => {
                rounds.go(&cache).into_iter().for_each(|name| backlog.push(name));
                continue;
            }
            name = backlog.next(), if looks.len() < usize::from(CONCURRENCY) => name,
        };
        let (namespace, plain) = parts_of(&name);
        let waited = waiting.take(namespace, plain);
        let object = cache.at(&name);
        let awake =
            object.filter(|object| !object.annotations().contains_key(labels::PAUSED) && !paused(object));
        let Some(object) = awake else {
            backlog.done(&name, None, None);
            continue;
        };
        let look = counters.begin(waited);
        let work = Metered::of(AssertUnwindSafe(reconcile(object)).catch_unwind());
        let (backlog, failures) = (Arc::clone(&backlog), Arc::clone(&failures));
        // A task of its own: objects are worked on by all threads, and a defect ends one look, not the controller.
        looks.spawn(async move {
            let (result, busy) = work.await;
            let panicked = result.is_err();
            let result = result.unwrap_or(Err(ReconcileError::Aborted));
            look.end(match &result {
                Ok(Requeue::OnChange) => Outcome::Done,
                Ok(Requeue::After(_)) => Outcome::Again,
                Err(_) if panicked => Outcome::Panicked,
                Err(error) if error.is_terminal() => Outcome::Terminal,
                Err(_) => Outcome::Failed,
            });
            let again = match result {
                Ok(requeue) => {
                    lock(&failures).remove(&name);
                    again(requeue)
                }
                Err(error) => Some(wait_after(controller, &name, &error, &failures)),
            };
            // Who asks for another look at once has more to do, not the same again.
            let rests = paced && again != Some(Duration::ZERO);
            backlog.done(&name, rests.then(|| (busy * PACE).min(LONGEST_REST)), again);
        });
    }
    while looks.join_next().await.is_some() {}
}

/// Says how long to wait after a failure, and tells of it.
fn wait_after(
    controller: &'static str,
    name: &Name,
    error: &ReconcileError,
    failures: &Failures,
) -> Duration {
    let times = {
        let mut failures = lock(failures);
        let times = failures.entry(Arc::clone(name)).or_default();
        *times = times.saturating_add(1);
        *times
    };
    let wait = error.back_off(times);
    let object = match parts_of(name) {
        (Some(namespace), name) => format!("{namespace}/{name}"),
        (None, name) => name.to_owned(),
    };
    if error.is_conflict() {
        tracing::debug!(controller, object, "it changed in between; looking again");
    } else {
        tracing::warn!(controller, object, retry_after = ?wait, "{}", error.chain());
    }
    wait
}

/// Goes round all objects so slowly that each is met once in the time of [`SAFETY_NET`], and the looks spread over it.
#[derive(Debug, Default)]
struct Rounds {
    last: Option<Name>,
    /// Parts of an object that are still owed.
    owed: f64,
}

impl Rounds {
    /// Names of the objects whose turn has come since the last call, [`ROUND`] ago.
    fn go<K>(&mut self, cache: &Cache<K>) -> Vec<Name>
    where
        K: Resource + Clone + Indexed + Debug + Send + Sync + 'static,
        K::DynamicType: Eq + Hash + Clone,
    {
        #[expect(clippy::cast_precision_loss, reason = "a share of a number of objects")]
        let all = cache.len() as f64;
        self.owed += all * ROUND.as_secs_f64() / SAFETY_NET.as_secs_f64();
        let whole = self.owed.floor();
        self.owed -= whole;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number, and none below zero"
        )]
        let count = whole as usize;
        let names = cache.after(self.last.as_ref(), count);
        // At the end it begins anew.
        self.last = if names.len() < count {
            None
        } else {
            names.last().cloned()
        };
        names
    }
}

/// Measures for how long a future keeps a processor busy.
struct Metered<F> {
    inner: Pin<Box<F>>,
    busy: Duration,
}

impl<F: Future> Metered<F> {
    fn of(inner: F) -> Self {
        Self {
            inner: Box::pin(inner),
            busy: Duration::ZERO,
        }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = (F::Output, Duration);

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let begun = Instant::now();
        let polled = self.inner.as_mut().poll(cx);
        self.busy += begun.elapsed();
        polled.map(|output| (output, self.busy))
    }
}

/// After which time to look again without a reason.
fn again(requeue: Requeue) -> Option<Duration> {
    match requeue {
        Requeue::OnChange => None,
        Requeue::After(time) => Some(time.max(SignedDuration::ZERO).unsigned_abs()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_error_has_its_own_back_off() {
        let conflict = ReconcileError::api(
            "x",
            kube::Error::Api(Box::new(
                kube::core::Status::failure("changed", "Conflict").with_code(409),
            )),
        );
        assert_eq!(conflict.back_off(1), Duration::from_millis(20));
        let transient = ReconcileError::Actuator(ActuatorError::transient("x"));
        assert_eq!(
            [1, 2, 3, 40].map(|n| transient.back_off(n)),
            [200, 400, 800, 60_000].map(Duration::from_millis)
        );
        let throttled = ReconcileError::Actuator(ActuatorError::Throttled {
            retry_after: SignedDuration::from_secs(7),
        });
        assert_eq!(throttled.back_off(9), Duration::from_secs(7));
        let terminal = ReconcileError::Actuator(ActuatorError::terminal("CreateError", "x"));
        assert_eq!(terminal.back_off(1), SAFETY_NET);
    }

    #[test]
    fn a_request_in_the_past_is_now() {
        assert_eq!(
            again(Requeue::After(SignedDuration::from_secs(-5))),
            Some(Duration::ZERO)
        );
    }
}
