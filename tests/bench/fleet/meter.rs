//! Counts the requests of a client, and reads what this process has used.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use http::{Method, Request, Response};
use kube::{Client, client::Body};

/// Requests by verb and resource: how many, and how many bytes of bodies.
type Counts = BTreeMap<(&'static str, String), (u64, u64)>;

/// Counts what passes through a client.
#[derive(Clone, Default)]
pub(crate) struct Meter(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    counts: Counts,
    last_write: Option<Instant>,
}

impl Meter {
    /// Returns a client that counts and passes on to another.
    pub(crate) fn client(&self, inner: Client) -> Client {
        let meter = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            meter.count(&request);
            let inner = inner.clone();
            async move { inner.send(request).await as Result<Response<Body>, kube::Error> }
        });
        Client::new(service, "default")
    }

    fn count(&self, request: &Request<Body>) {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        let verb = match *request.method() {
            Method::GET if query.contains("watch=") => "watch",
            Method::GET if query.contains("limit=") || !is_named(path) => "list",
            Method::GET => "get",
            Method::POST => "create",
            Method::PATCH => "patch",
            Method::PUT => "update",
            Method::DELETE => "delete",
            _ => "other",
        };
        let bytes = axum::body::HttpBody::size_hint(request.body()).lower();
        let resource = resource(path);
        let mut state = self.0.lock().unwrap();
        // The Lease of the controllers and heartbeats say nothing about what is going on.
        if is_write(verb) && !resource.starts_with("leases") {
            state.last_write = Some(Instant::now());
        }
        let entry = state.counts.entry((verb, resource)).or_default();
        entry.0 += 1;
        entry.1 += bytes;
    }

    /// Begins anew.
    pub(crate) fn reset(&self) {
        *self.0.lock().unwrap() = State::default();
    }

    /// All that was counted: verb, resource, requests, bytes.
    pub(crate) fn all(&self) -> Vec<(&'static str, String, u64, u64)> {
        let state = self.0.lock().unwrap();
        let rows = state.counts.iter();
        rows.map(|((verb, resource), (n, bytes))| (*verb, resource.clone(), *n, *bytes))
            .collect()
    }

    /// How many writes there were, Leases aside.
    pub(crate) fn writes(&self) -> u64 {
        self.all()
            .iter()
            .filter(|(verb, resource, ..)| is_write(verb) && !resource.starts_with("leases"))
            .map(|(_, _, n, _)| n)
            .sum()
    }

    /// When the last write was, if that is at least `quiet` ago.
    pub(crate) fn settled(&self, quiet: Duration) -> Option<Instant> {
        let last = self.0.lock().unwrap().last_write;
        last.filter(|at| at.elapsed() >= quiet)
    }
}

fn is_write(verb: &str) -> bool {
    matches!(verb, "create" | "patch" | "update" | "delete")
}

/// The parts of a path after the version, without the namespace.
fn parts(path: &str) -> Vec<&str> {
    let all: Vec<&str> = path.trim_matches('/').split('/').collect();
    let after = if all.first() == Some(&"api") { 2 } else { 3 };
    let rest = all.get(after..).unwrap_or_default();
    match rest {
        ["namespaces", _, resource @ ..] if !resource.is_empty() => resource.to_vec(),
        other => other.to_vec(),
    }
}

fn is_named(path: &str) -> bool {
    parts(path).len() > 1
}

/// `machines`, `machines/status`.
fn resource(path: &str) -> String {
    match parts(path).as_slice() {
        [resource, _, sub, ..] => format!("{resource}/{sub}"),
        [resource, ..] => (*resource).to_owned(),
        [] => path.to_owned(),
    }
}

/// Processor time of this process so far, in seconds.
pub(crate) fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    // Linux counts in hundredths of a second for every program.
    ticks / 100.0
}

/// Resident memory of this process, in MB.
pub(crate) fn resident_mb() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|l| l.starts_with("VmRSS")).unwrap();
    let kb: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kb * 1024.0 / 1e6
}
