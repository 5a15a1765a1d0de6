//! What the server counts of itself, and `/metrics`. Names and labels are kube-apiserver's, as far as there is such a thing here.
//! It must not take label values from requests: only what is served is told apart.
//!
//! Numbers about objects are worked out when they are asked for; a request costs a look-up and a few additions.

mod process;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::Server;
use super::builtin::ResourceInfo;
use super::front::limits::Kind as RequestKind;
use crate::prometheus::{CONTENT_TYPE, Histogram, Kind, Page};

/// Upper bounds of the times of requests, in seconds.
const SECONDS: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
    20.0, 30.0, 45.0, 60.0,
];
/// Sorts of requests that are told apart at most: definitions can come and go without end.
const MOST: usize = 4096;

/// What kind of request it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Labels<'a> {
    pub(crate) group: Cow<'a, str>,
    pub(crate) version: Cow<'a, str>,
    pub(crate) resource: Cow<'a, str>,
    pub(crate) subresource: Cow<'a, str>,
    pub(crate) verb: &'static str,
    pub(crate) scope: &'static str,
    pub(crate) dry_run: bool,
}

impl Labels<'_> {
    /// The same, to be kept.
    fn kept(self) -> Labels<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Labels {
            group: own(self.group),
            version: own(self.version),
            resource: own(self.resource),
            subresource: own(self.subresource),
            ..Labels::vague(self.verb, self.scope, self.dry_run)
        }
    }

    /// Those of requests of which it is not told what they are about.
    const fn vague(verb: &'static str, scope: &'static str, dry_run: bool) -> Labels<'static> {
        Labels {
            group: Cow::Borrowed(""),
            version: Cow::Borrowed(""),
            resource: Cow::Borrowed(""),
            subresource: Cow::Borrowed(""),
            verb,
            scope,
            dry_run,
        }
    }

    /// The labels that all families about requests have.
    fn pairs(&self) -> [(&str, &str); 7] {
        [
            ("component", "apiserver"),
            ("group", &self.group),
            ("resource", &self.resource),
            ("scope", self.scope),
            ("subresource", &self.subresource),
            ("verb", self.verb),
            ("version", &self.version),
        ]
    }

    const fn dry_run(&self) -> (&'static str, &'static str) {
        ("dry_run", if self.dry_run { "All" } else { "" })
    }
}

/// The requests of one sort.
pub(crate) struct Series {
    codes: Mutex<BTreeMap<u16, u64>>,
    took: Histogram,
    /// Those that last, and are not over yet.
    running: AtomicI64,
}

impl Series {
    fn new() -> Self {
        Self {
            codes: Mutex::default(),
            took: Histogram::new(SECONDS),
            running: AtomicI64::new(0),
        }
    }

    /// One that lasts has begun.
    pub(crate) fn began(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    /// One that lasts is over.
    pub(crate) fn over(&self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
    }

    /// One was answered.
    pub(crate) fn ended(&self, code: u16, took: Duration) {
        self.took.observe(took);
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        *codes.entry(code).or_default() += 1;
    }
}

/// Group, version and resource of what is watched.
type Watched = (String, String, String);

/// What is counted.
#[derive(Default)]
pub(crate) struct Metrics {
    series: RwLock<HashMap<Labels<'static>, Arc<Series>>>,
    watch_events: Mutex<BTreeMap<Watched, Arc<AtomicU64>>>,
    pub(crate) handshakes_failed: AtomicU64,
}

/// Finds requests of a sort by labels that need not be kept: who reads the map may take its keys for such.
fn find<'m, 'a>(known: &'m HashMap<Labels<'a>, Arc<Series>>, labels: &Labels<'a>) -> Option<&'m Arc<Series>> {
    known.get(labels)
}

impl Metrics {
    /// Returns where requests of a sort are counted.
    pub(crate) fn series(&self, labels: Labels<'_>) -> Arc<Series> {
        let known = self.series.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = find(&known, &labels) {
            return Arc::clone(series);
        }
        let labels = if known.len() < MOST {
            labels.kept()
        } else {
            Labels::vague(labels.verb, labels.scope, labels.dry_run)
        };
        drop(known);
        let mut known = self.series.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(labels).or_insert_with(|| Arc::new(Series::new())))
    }

    /// Returns where the events are counted that are told to those who watch a resource.
    pub(crate) fn watch_events(&self, info: &ResourceInfo) -> Arc<AtomicU64> {
        let mut counted = self.watch_events.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.len() >= MOST {
            return Arc::default();
        }
        let watched = (info.group.clone(), info.version.clone(), info.plural.clone());
        Arc::clone(counted.entry(watched).or_default())
    }

    fn write_requests(&self, page: &mut Page) {
        let known = self.series.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = known.iter().collect();
        all.sort_by_key(|(labels, _)| *labels);
        page.family(
            "apiserver_request_total",
            Kind::Counter,
            "Requests that were answered, by what they were and by the code of the answer.",
        );
        for (labels, series) in &all {
            let codes = series.codes.lock().unwrap_or_else(PoisonError::into_inner);
            for (code, count) in codes.iter() {
                let code = code.to_string();
                let mut pairs = vec![("code", &*code), labels.dry_run()];
                pairs.extend(labels.pairs());
                page.sample(&pairs, count);
            }
        }
        page.family(
            "apiserver_request_duration_seconds",
            Kind::Histogram,
            "How long answers took, by what the requests were.",
        );
        for (labels, series) in &all {
            if series.took.count() > 0 {
                let mut pairs = vec![labels.dry_run()];
                pairs.extend(labels.pairs());
                page.histogram(&pairs, &series.took);
            }
        }
        page.family(
            "apiserver_longrunning_requests",
            Kind::Gauge,
            "Watches that are open, by what they watch.",
        );
        for (labels, series) in &all {
            if labels.verb == "WATCH" {
                page.sample(&labels.pairs(), series.running.load(Ordering::Relaxed).max(0));
            }
        }
    }

    fn write_watch_events(&self, page: &mut Page) {
        page.family(
            "apiserver_watch_events_total",
            Kind::Counter,
            "Events that were told to clients which watch.",
        );
        let counted = self.watch_events.lock().unwrap_or_else(PoisonError::into_inner);
        for ((group, version, resource), count) in counted.iter() {
            let labels = [("group", &**group), ("resource", resource), ("version", version)];
            page.sample(&labels, count.load(Ordering::Relaxed));
        }
    }
}

impl Server {
    /// Returns the page with all numbers, and its content type.
    pub(crate) fn metrics_page(&self) -> (String, &'static str) {
        let mut page = Page::default();
        self.0.metrics.write_requests(&mut page);
        self.write_in_flight(&mut page);
        self.0.metrics.write_watch_events(&mut page);
        self.write_storage(&mut page);
        self.write_rest(&mut page);
        process::write(&mut page);
        (page.finish(), CONTENT_TYPE)
    }

    fn write_in_flight(&self, page: &mut Page) {
        page.family(
            "apiserver_current_inflight_requests",
            Kind::Gauge,
            "Requests that are being worked on, without watches.",
        );
        for (kind, word) in RequestKind::ALL {
            page.sample(&[("request_kind", word)], self.0.in_flight.now(kind));
        }
        page.family(
            "apiserver_dropped_requests_total",
            Kind::Counter,
            "Requests that were told to come again, because too many were being worked on.",
        );
        for (kind, word) in RequestKind::ALL {
            page.sample(&[("request_kind", word)], self.0.in_flight.refused(kind));
        }
    }

    fn write_storage(&self, page: &mut Page) {
        let counts: BTreeMap<_, _> = self.store().counts().into_iter().collect();
        page.family(
            "apiserver_resource_objects",
            Kind::Gauge,
            "Objects that are stored, by group and resource.",
        );
        for (name, count) in &counts {
            let (resource, group) = name.split_once('.').unwrap_or((name, ""));
            page.sample(&[("group", group), ("resource", resource)], count);
        }
        page.family(
            "apiserver_storage_objects",
            Kind::Gauge,
            "The same under its older name.",
        );
        for (name, count) in &counts {
            page.sample(&[("resource", name)], count);
        }
        if let Some(bytes) = self.store().file_bytes() {
            page.family(
                "apiserver_storage_size_bytes",
                Kind::Gauge,
                "Bytes of the file that holds the state.",
            );
            page.sample(&[("storage_cluster_id", "state")], bytes);
        }
    }

    fn write_rest(&self, page: &mut Page) {
        page.family(
            "apiserver_tls_handshake_errors_total",
            Kind::Counter,
            "Connections that ended before they were encrypted.",
        );
        page.sample(&[], self.0.metrics.handshakes_failed.load(Ordering::Relaxed));
        let Some(log) = self.0.audit.get() else { return };
        page.family(
            "apiserver_audit_event_total",
            Kind::Counter,
            "Events for the audit log.",
        );
        page.sample(&[], log.taken());
        page.family(
            "apiserver_audit_error_total",
            Kind::Counter,
            "Events that did not get into the audit log.",
        );
        page.sample(&[("plugin", "log")], log.lost());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(resource: &str) -> Labels<'_> {
        Labels {
            group: "".into(),
            version: "v1".into(),
            resource: resource.into(),
            subresource: "".into(),
            verb: "GET",
            scope: "resource",
            dry_run: false,
        }
    }

    #[test]
    fn sorts_of_requests_are_told_apart_up_to_a_bound() {
        let metrics = Metrics::default();
        for n in 0..MOST + 10 {
            metrics.series(labels(&n.to_string())).ended(200, Duration::ZERO);
        }
        assert_eq!(metrics.series.read().unwrap().len(), MOST + 1);
        let vague = metrics.series(labels("another"));
        assert_eq!(vague.codes.lock().unwrap()[&200], 10);
        assert!(Arc::ptr_eq(
            &metrics.series(labels("7")),
            &metrics.series(labels("7"))
        ));
    }

    #[test]
    fn requests_are_written_with_the_labels_of_kube_apiserver() {
        let metrics = Metrics::default();
        metrics
            .series(labels("pods"))
            .ended(404, Duration::from_millis(20));
        let mut page = Page::default();
        metrics.write_requests(&mut page);
        let page = page.finish();
        let line = r#"apiserver_request_total{code="404",dry_run="",component="apiserver",group="",resource="pods",scope="resource",subresource="",verb="GET",version="v1"} 1"#;
        assert!(page.contains(line), "{page}");
        let bucket = r#"verb="GET",version="v1",le="0.025"} 1"#;
        assert!(page.contains(bucket), "{page}");
    }
}
