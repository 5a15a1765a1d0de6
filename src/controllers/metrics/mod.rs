//! What the controllers count, how far they are, and what is served of it over HTTP. It decides nothing.
//!
//! | file | what it holds |
//! |---|---|
//! | `queue` | what waits and what is worked on |
//! | `objects` | numbers about Machines and their sets, worked out when they are asked for |
//! | `requests` | a client that counts its requests |
//! | `serve` | `/metrics`, `/healthz`, `/livez` and `/readyz` |
//!
//! Names and meanings of controllers, queues, requests and the Lease are controller-runtime's and client-go's.

mod objects;
mod queue;
mod requests;
mod serve;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

pub(crate) use queue::Waiting;
pub use requests::counted;
pub use serve::serve;

use self::queue::Running;
use super::world::World;
use crate::prometheus::{Histogram, Kind, Page};

/// Upper bounds of times of looks, in seconds (controller-runtime: `controller_runtime_reconcile_time_seconds`).
const LOOK_SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25,
    1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0,
    50.0, 60.0,
];
/// Upper bounds of times in a queue, in seconds (controller-runtime: `workqueue_*_duration_seconds`).
const QUEUE_SECONDS: &[f64] = &[
    1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1000.0,
];
/// Upper bounds of a machine's way to a phase, in seconds (`OpenShift`: `mapi_machine_phase_transition_seconds`).
const PHASE_SECONDS: &[f64] = &[
    5.0, 10.0, 20.0, 30.0, 60.0, 90.0, 120.0, 180.0, 240.0, 300.0, 360.0, 480.0, 600.0,
];

/// How far the controllers of a process are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// The Lease has not been seen yet.
    Starting,
    /// Somebody else holds the Lease.
    Standby,
    /// The Lease is held; not every kind has been listed yet.
    Syncing,
    /// They work.
    Working,
    /// They have ended.
    Stopped,
}

/// What could not be done with an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    /// It could not be made.
    Create,
    /// It could not be looked at.
    Update,
    /// It could not be removed.
    Delete,
}

/// One of a controller's counters.
type Counter = fn(&Controller) -> &AtomicU64;
/// Namespace and name of an object.
type Name = (String, String);

/// Counts what the controllers do. One for a process: numbers stay when the Lease is lost and won again.
#[derive(Default)]
pub struct Metrics {
    controllers: Mutex<BTreeMap<&'static str, Arc<Controller>>>,
    /// Requests by host, method and code.
    requests: Mutex<BTreeMap<(String, String, String), u64>>,
    /// Failures by operation, Machine and reason.
    failures: Mutex<BTreeMap<(Operation, Name, String), u64>>,
    /// Remediations by `MachineHealthCheck`.
    remediations: Mutex<BTreeMap<Name, u64>>,
    phases: Mutex<BTreeMap<String, Histogram>>,
    stage: AtomicU8,
    world: Mutex<Weak<World>>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics")
            .field("stage", &self.stage())
            .finish_non_exhaustive()
    }
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
    /// Returns the counts of all controllers by name.
    pub fn snapshot(&self) -> BTreeMap<&'static str, Count> {
        let all = lock(&self.controllers);
        all.iter()
            .map(|(name, c)| {
                let count = Count {
                    runs: c.results().iter().map(|(_, count)| count).sum(),
                    errors: c.errors.load(Ordering::Relaxed),
                    micros: u64::try_from(c.took.sum().as_micros()).unwrap_or(u64::MAX),
                };
                (*name, count)
            })
            .collect()
    }

    /// Whether the controllers work, or stand by while another process does; else why not.
    ///
    /// # Errors
    /// Says in a few words what is waited for.
    pub fn ready(&self) -> Result<(), &'static str> {
        match self.stage() {
            Stage::Starting => Err("the Lease can't be read yet"),
            Stage::Syncing => Err("objects are being listed"),
            Stage::Stopped => Err("the controllers have ended"),
            Stage::Standby | Stage::Working => Ok(()),
        }
    }

    /// Returns everything in Prometheus' text format. With `compatible`, families of machines stand there under the names of
    /// `OpenShift`'s Machine API (`mapi_…`), too.
    pub fn render(&self, compatible: bool) -> String {
        let mut page = Page::default();
        self.write_controllers(&mut page);
        self.write_queues(&mut page);
        page.family(
            "rest_client_requests_total",
            Kind::Counter,
            "Requests to API servers, by status code, method and host.",
        );
        for ((host, method, code), count) in lock(&self.requests).iter() {
            page.sample(&[("code", code), ("host", host), ("method", method)], count);
        }
        page.family(
            "leader_election_master_status",
            Kind::Gauge,
            "1 while this process holds the Lease, else 0.",
        );
        let leads = u8::from(matches!(self.stage(), Stage::Syncing | Stage::Working));
        page.sample(&[("name", super::lease::NAME)], leads);
        self.write_machines(&mut page, "machinectl_", compatible);
        if compatible {
            self.write_machines(&mut page, "mapi_", true);
        }
        page.finish()
    }

    /// Returns the counters of a controller.
    pub(super) fn controller(&self, name: &'static str) -> Arc<Controller> {
        let mut all = lock(&self.controllers);
        Arc::clone(all.entry(name).or_insert_with(|| Arc::new(Controller::new())))
    }

    /// Takes down how far the controllers are.
    pub(super) fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    fn stage(&self) -> Stage {
        let stage = self.stage.load(Ordering::Relaxed);
        [Stage::Starting, Stage::Standby, Stage::Syncing, Stage::Working]
            .into_iter()
            .find(|s| *s as u8 == stage)
            .unwrap_or(Stage::Stopped)
    }

    /// Names the world whose objects are counted from now on.
    pub(super) fn attach(&self, world: &Arc<World>) {
        *lock(&self.world) = Arc::downgrade(world);
    }

    /// Counts a request to an API server. `code` is the HTTP status, or `<error>` where no answer came (client-go).
    pub(super) fn requested(&self, host: &str, method: &str, code: &str) {
        let key = (host.to_owned(), method.to_owned(), code.to_owned());
        *lock(&self.requests).entry(key).or_default() += 1;
    }

    /// Counts something that could not be done with a Machine's instance.
    pub(super) fn instance_failed(&self, operation: Operation, namespace: &str, machine: &str, reason: &str) {
        let key = (
            operation,
            (namespace.to_owned(), machine.to_owned()),
            reason.to_owned(),
        );
        *lock(&self.failures).entry(key).or_default() += 1;
    }

    /// Counts a machine that a `MachineHealthCheck` had replaced.
    pub(super) fn remediated(&self, namespace: &str, check: &str) {
        let key = (namespace.to_owned(), check.to_owned());
        *lock(&self.remediations).entry(key).or_default() += 1;
    }

    /// Takes down that a Machine has come to a phase, so long after it was made.
    pub(super) fn reached(&self, phase: &str, age: Duration) {
        let mut phases = lock(&self.phases);
        let histogram = match phases.get(phase) {
            Some(histogram) => histogram,
            None => phases
                .entry(phase.to_owned())
                .or_insert_with(|| Histogram::new(PHASE_SECONDS)),
        };
        histogram.observe(age);
    }

    fn write_controllers(&self, page: &mut Page) {
        let all = lock(&self.controllers);
        page.family(
            "controller_runtime_reconcile_total",
            Kind::Counter,
            "Looks at an object, by controller and result.",
        );
        for (name, controller) in all.iter() {
            for (result, count) in controller.results() {
                page.sample(&[("controller", name), ("result", result)], count);
            }
        }
        let counters: [(&str, Kind, &str, Counter); 4] = [
            (
                "controller_runtime_reconcile_errors_total",
                Kind::Counter,
                "Looks that ended in an error.",
                |c| &c.errors,
            ),
            (
                "controller_runtime_terminal_reconcile_errors_total",
                Kind::Counter,
                "Looks that ended in an error that only a change of the object ends.",
                |c| &c.terminal,
            ),
            (
                "controller_runtime_reconcile_panics_total",
                Kind::Counter,
                "Looks that ended in a defect of the program.",
                |c| &c.panics,
            ),
            (
                "controller_runtime_max_concurrent_reconciles",
                Kind::Gauge,
                "How many objects are looked at side by side at most.",
                |c| &c.concurrency,
            ),
        ];
        for (family, kind, help, counter) in counters {
            page.family(family, kind, help);
            for (name, controller) in all.iter() {
                page.sample(
                    &[("controller", name)],
                    counter(controller).load(Ordering::Relaxed),
                );
            }
        }
        page.family(
            "controller_runtime_active_workers",
            Kind::Gauge,
            "Looks that are under way.",
        );
        for (name, controller) in all.iter() {
            page.sample(&[("controller", name)], controller.running.now().0);
        }
        page.family(
            "controller_runtime_reconcile_time_seconds",
            Kind::Histogram,
            "How long a look took.",
        );
        for (name, controller) in all.iter() {
            page.histogram(&[("controller", name)], &controller.took);
        }
    }

    fn write_queues(&self, page: &mut Page) {
        let all = lock(&self.controllers);
        let labels = |name: &'static str| [("name", name), ("controller", name)];
        page.family("workqueue_depth", Kind::Gauge, "Objects that wait.");
        for (name, controller) in all.iter() {
            page.sample(&labels(name), controller.collect());
        }
        page.family("workqueue_adds_total", Kind::Counter, "Objects that came.");
        for (name, controller) in all.iter() {
            page.sample(&labels(name), controller.adds.load(Ordering::Relaxed));
        }
        page.family(
            "workqueue_retries_total",
            Kind::Counter,
            "Looks after which another one at a set time was asked for.",
        );
        for (name, controller) in all.iter() {
            page.sample(&labels(name), controller.retries.load(Ordering::Relaxed));
        }
        page.family(
            "workqueue_unfinished_work_seconds",
            Kind::Gauge,
            "How long the looks that are under way have taken so far, all together.",
        );
        for (name, controller) in all.iter() {
            page.sample(&labels(name), controller.running.now().1.as_secs_f64());
        }
        page.family(
            "workqueue_longest_running_processor_seconds",
            Kind::Gauge,
            "How long the longest look that is under way has taken so far.",
        );
        for (name, controller) in all.iter() {
            page.sample(&labels(name), controller.running.now().2.as_secs_f64());
        }
        page.family(
            "workqueue_queue_duration_seconds",
            Kind::Histogram,
            "How long objects waited.",
        );
        for (name, controller) in all.iter() {
            page.histogram(&labels(name), &controller.waited);
        }
        page.family(
            "workqueue_work_duration_seconds",
            Kind::Histogram,
            "How long objects were worked on.",
        );
        for (name, controller) in all.iter() {
            page.histogram(&labels(name), &controller.worked);
        }
    }
}

/// The counters of one controller.
#[derive(Debug)]
pub(super) struct Controller {
    success: AtomicU64,
    again: AtomicU64,
    errors: AtomicU64,
    terminal: AtomicU64,
    panics: AtomicU64,
    concurrency: AtomicU64,
    adds: AtomicU64,
    retries: AtomicU64,
    took: Histogram,
    waited: Histogram,
    worked: Histogram,
    running: Running,
    /// One, or one for each workload cluster.
    queues: Mutex<Vec<Weak<Waiting>>>,
}

/// What came of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing more is to be done.
    Done,
    /// It has to be looked at again at a set time.
    Again,
    /// It failed, and is tried again.
    Failed,
    /// It failed until somebody changes the object.
    Terminal,
    /// It ended in a defect.
    Panicked,
}

impl Controller {
    fn new() -> Self {
        Self {
            success: AtomicU64::new(0),
            again: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            terminal: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            concurrency: AtomicU64::new(0),
            adds: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            took: Histogram::new(LOOK_SECONDS),
            waited: Histogram::new(QUEUE_SECONDS),
            worked: Histogram::new(QUEUE_SECONDS),
            running: Running::default(),
            queues: Mutex::default(),
        }
    }

    /// Takes down a queue, and how many objects are worked on side by side at most.
    pub(super) fn serves(&self, queue: &Arc<Waiting>, concurrency: u16) {
        self.concurrency.store(concurrency.into(), Ordering::Relaxed);
        let mut queues = lock(&self.queues);
        queues.retain(|q| q.strong_count() > 0);
        queues.push(Arc::downgrade(queue));
    }

    /// Takes down that a look begins, after the object has waited so long; nothing if its time had come without an event.
    pub(super) fn begin(self: &Arc<Self>, waited: Option<Duration>) -> Look {
        if waited.is_none() {
            self.adds.fetch_add(1, Ordering::Relaxed);
        }
        self.waited.observe(waited.unwrap_or_default());
        Look {
            ticket: self.running.begin(),
            controller: Arc::clone(self),
        }
    }

    /// Adds up what came, and says how many objects wait.
    fn collect(&self) -> usize {
        let queues = lock(&self.queues);
        let alive = queues.iter().filter_map(Weak::upgrade);
        alive
            .map(|queue| {
                self.adds.fetch_add(queue.take_adds(), Ordering::Relaxed);
                queue.depth()
            })
            .sum()
    }

    fn results(&self) -> [(&'static str, u64); 3] {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("error", load(&self.errors)),
            ("requeue_after", load(&self.again)),
            ("success", load(&self.success)),
        ]
    }
}

/// A look that is under way. One that is dropped was cut off, and is not counted.
#[derive(Debug)]
pub(super) struct Look {
    ticket: u64,
    controller: Arc<Controller>,
}

impl Look {
    /// Takes down what came of it.
    pub(super) fn end(self, outcome: Outcome) {
        let c = &self.controller;
        let took = c.running.end(self.ticket);
        c.took.observe(took);
        c.worked.observe(took);
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        match outcome {
            Outcome::Done => count(&c.success),
            Outcome::Again => {
                count(&c.retries);
                count(&c.again)
            }
            Outcome::Failed | Outcome::Terminal | Outcome::Panicked => {
                count(&c.retries);
                count(&c.errors)
            }
        };
        match outcome {
            Outcome::Terminal => count(&c.terminal),
            Outcome::Panicked => count(&c.panics),
            _ => 0,
        };
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        self.controller.running.end(self.ticket);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_counted_by_its_outcome_and_one_cut_off_is_not() {
        let metrics = Metrics::default();
        let controller = metrics.controller("machine");
        let waiting = Arc::new(Waiting::default());
        controller.serves(&waiting, 7);
        waiting.push(Some("a"), "x");
        waiting.push(Some("a"), "y");
        let waited = waiting.take(Some("a"), "x");
        controller.begin(waited).end(Outcome::Done);
        controller.begin(None).end(Outcome::Terminal);
        drop(controller.begin(None));
        let open = controller.begin(None);
        let page = metrics.render(false);
        for line in [
            r#"controller_runtime_reconcile_total{controller="machine",result="error"} 1"#,
            r#"controller_runtime_reconcile_total{controller="machine",result="success"} 1"#,
            r#"controller_runtime_reconcile_errors_total{controller="machine"} 1"#,
            r#"controller_runtime_terminal_reconcile_errors_total{controller="machine"} 1"#,
            r#"controller_runtime_reconcile_panics_total{controller="machine"} 0"#,
            r#"controller_runtime_max_concurrent_reconciles{controller="machine"} 7"#,
            r#"controller_runtime_active_workers{controller="machine"} 1"#,
            r#"controller_runtime_reconcile_time_seconds_count{controller="machine"} 2"#,
            r#"workqueue_depth{name="machine",controller="machine"} 1"#,
            r#"workqueue_adds_total{name="machine",controller="machine"} 5"#,
            r#"workqueue_retries_total{name="machine",controller="machine"} 1"#,
            r#"leader_election_master_status{name="machinectl-controller"} 0"#,
        ] {
            assert!(page.lines().any(|l| l == line), "{line} is not in\n{page}");
        }
        drop(open);
        assert_eq!(metrics.snapshot()["machine"].runs, 2);
    }

    #[test]
    fn ready_means_at_work_or_standing_by() {
        let metrics = Metrics::default();
        assert!(metrics.ready().is_err());
        for (stage, ready) in [
            (Stage::Standby, true),
            (Stage::Syncing, false),
            (Stage::Working, true),
            (Stage::Stopped, false),
        ] {
            metrics.enter(stage);
            assert_eq!(metrics.ready().is_ok(), ready, "{stage:?}");
        }
    }
}
