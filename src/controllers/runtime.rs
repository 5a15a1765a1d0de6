//! The driver of all controllers: a queue, kube's applier, pause, back-off by kind of error, counters. It knows no kind.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    fmt::Debug,
    future::Future,
    hash::Hash,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt, channel::mpsc};
use kube::{
    Resource, ResourceExt,
    runtime::{
        controller::{self, Action, applier},
        reflector::ObjectRef,
    },
};

use tokio::sync::watch;

use super::{
    cache::{Cache, Indexed},
    effect::Requeue,
};
use crate::{api::labels, providers::ActuatorError, time::SignedDuration};

/// How many objects of a kind are worked on at once.
const CONCURRENCY: u16 = 10;
/// Events about an object that come this close together are one.
const DEBOUNCE: Duration = Duration::from_millis(5);
/// After this time an object is looked at even if nothing happened to it.
const SAFETY_NET: Duration = Duration::from_secs(15 * 60);

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
    /// Data in an object can't be used.
    #[error("{0}")]
    Invalid(String),
    /// A defect of this program.
    #[error("reconciling ended in the middle: {0}")]
    Aborted(String),
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
        matches!(self, Self::Api { source: kube::Error::Api(status), .. } if status.is_conflict())
    }

    /// Whether no answer came at all.
    pub(crate) fn is_silence(&self) -> bool {
        match self {
            Self::TimedOut { .. } => true,
            Self::Api { source, .. } => !matches!(source, kube::Error::Api(_) | kube::Error::SerdeError(_)),
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
            // Nothing will change until somebody changes the object.
            Self::Invalid(_) | Self::Actuator(ActuatorError::Terminal { .. }) => SAFETY_NET,
            Self::Unreachable(_) | Self::TimedOut { .. } => exponential(2_000, 60_000),
            _ => exponential(200, 60_000),
        }
    }
}

/// Work for a controller.
pub(crate) struct Queue<K: Resource>(mpsc::UnboundedSender<ObjectRef<K>>)
where
    K::DynamicType: Clone;

impl<K: Resource> Clone for Queue<K>
where
    K::DynamicType: Clone,
{
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The other end of a [`Queue`].
pub(crate) type Work<K> = mpsc::UnboundedReceiver<ObjectRef<K>>;

impl<K: Resource> Queue<K>
where
    K::DynamicType: Clone,
{
    /// Makes a queue.
    pub(crate) fn new() -> (Self, Work<K>) {
        let (sender, receiver) = mpsc::unbounded();
        (Self(sender), receiver)
    }

    /// Asks for a look at an object.
    pub(crate) fn push(&self, key: ObjectRef<K>) {
        // A closed queue means that the controllers stop.
        drop(self.0.unbounded_send(key));
    }
}

/// Counts what the controllers do.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<BTreeMap<&'static str, Arc<Counters>>>);

#[derive(Debug, Default)]
struct Counters {
    runs: AtomicU64,
    errors: AtomicU64,
    micros: AtomicU64,
}

/// What one controller has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Looks at an object.
    pub runs: u64,
    /// Looks that ended in an error.
    pub errors: u64,
    /// Time spent in them, in microseconds.
    pub micros: u64,
}

impl Metrics {
    fn of(&self, controller: &'static str) -> Arc<Counters> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(controller).or_default())
    }

    /// Returns the counts of all controllers by name.
    pub fn snapshot(&self) -> BTreeMap<&'static str, Count> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .map(|(name, c)| {
                let count = Count {
                    runs: c.runs.load(Ordering::Relaxed),
                    errors: c.errors.load(Ordering::Relaxed),
                    micros: c.micros.load(Ordering::Relaxed),
                };
                (*name, count)
            })
            .collect()
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
    /// Becomes true when the controllers stop.
    pub(crate) stop: watch::Receiver<bool>,
}

/// How often each object failed in a row.
type Failures<K> = Mutex<HashMap<ObjectRef<K>, u32>>;

/// Runs a controller until its queue ends.
pub(crate) async fn drive<K, F, Fut>(controller: Controller<K>, metrics: Arc<Metrics>, reconcile: F)
where
    K: Resource + Clone + Indexed + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Debug + Unpin + Send + Sync,
    F: Fn(Arc<K>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Requeue, ReconcileError>> + Send + 'static,
{
    let Controller {
        name,
        cache,
        work,
        paused,
        mut stop,
    } = controller;
    let counters = metrics.of(name);
    let failures: Arc<Failures<K>> = Arc::default();
    let store = cache.store();
    let kind = cache.clone();
    let look = {
        let failures = Arc::clone(&failures);
        let kind = kind.clone();
        move |object: Arc<K>, _: Arc<()>| {
            let asleep = object.annotations().contains_key(labels::PAUSED) || paused(&object);
            let work = (!asleep).then(|| reconcile(Arc::clone(&object)));
            let counters = Arc::clone(&counters);
            let failures = Arc::clone(&failures);
            let key = kind.key(object.meta().namespace.as_deref(), &object.name_any());
            Box::pin(async move {
                let Some(work) = work else {
                    return Ok(Action::requeue(SAFETY_NET));
                };
                let begun = Instant::now();
                // A task of its own: objects are worked on by all threads, and a defect ends one look, not the controller.
                let result = tokio::spawn(work)
                    .await
                    .unwrap_or_else(|e| Err(ReconcileError::Aborted(e.to_string())));
                let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                counters.runs.fetch_add(1, Ordering::Relaxed);
                counters.micros.fetch_add(micros, Ordering::Relaxed);
                match result {
                    Ok(requeue) => {
                        lock(&failures).remove(&key);
                        Ok(action(requeue))
                    }
                    Err(error) => {
                        counters.errors.fetch_add(1, Ordering::Relaxed);
                        Err(error)
                    }
                }
            })
        }
    };
    let on_error = move |object: Arc<K>, error: &ReconcileError, _: Arc<()>| {
        let key = kind.key(object.meta().namespace.as_deref(), &object.name_any());
        let times = {
            let mut failures = lock(&failures);
            let times = failures.entry(key.clone()).or_default();
            *times = times.saturating_add(1);
            *times
        };
        let wait = error.back_off(times);
        if error.is_conflict() {
            tracing::debug!(controller = name, object = %key, "it changed in between; looking again");
        } else {
            tracing::warn!(controller = name, object = %key, retry_after = ?wait, "{}", error.chain());
        }
        Action::requeue(wait)
    };
    let stopped = async move {
        // A dropped sender means the same.
        drop(stop.wait_for(|stop| *stop).await);
    };
    let config = controller::Config::default()
        .concurrency(CONCURRENCY)
        .debounce(DEBOUNCE);
    applier(
        look,
        on_error,
        Arc::new(()),
        store,
        work.map(Ok::<_, Infallible>).take_until(stopped),
        config,
    )
    .for_each(|_| futures::future::ready(()))
    .await;
}

fn action(requeue: Requeue) -> Action {
    match requeue {
        Requeue::OnChange => Action::requeue(SAFETY_NET),
        Requeue::After(time) => Action::requeue(time.max(SignedDuration::ZERO).unsigned_abs()),
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
            action(Requeue::After(SignedDuration::from_secs(-5))),
            Action::requeue(Duration::ZERO)
        );
    }
}
