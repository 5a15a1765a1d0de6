//! Numbers in Prometheus' text format 0.0.4: families, samples, histograms. Pure but for the counting itself.

use std::{
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The content type of the format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family of samples is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It only grows, and begins anew with the process.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How many observations fell under each bound.
    Histogram,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A page that is being written. A family's head comes before its samples; a family without samples has no head.
#[derive(Debug, Default)]
pub(crate) struct Page {
    out: String,
    name: String,
    head: Option<(Kind, &'static str)>,
}

/// Names and values of labels.
pub(crate) type Labels<'a> = &'a [(&'a str, &'a str)];

impl Page {
    /// Begins a family.
    pub(crate) fn family(&mut self, name: impl Into<String>, kind: Kind, help: &'static str) {
        self.name = name.into();
        self.head = Some((kind, help));
    }

    /// Writes one sample of the present family.
    pub(crate) fn sample(&mut self, labels: Labels<'_>, value: impl std::fmt::Display) {
        self.line("", labels, None, value);
    }

    /// Writes a histogram of the present family.
    pub(crate) fn histogram(&mut self, labels: Labels<'_>, histogram: &Histogram) {
        let mut sum = 0;
        for (bound, count) in histogram.bounds.iter().zip(&histogram.counts) {
            sum += count.load(Ordering::Relaxed);
            self.line("_bucket", labels, Some(&bound.to_string()), sum);
        }
        sum += histogram.above.load(Ordering::Relaxed);
        self.line("_bucket", labels, Some("+Inf"), sum);
        self.line("_sum", labels, None, histogram.sum().as_secs_f64());
        self.line("_count", labels, None, sum);
    }

    /// Returns the page.
    pub(crate) fn finish(self) -> String {
        self.out
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, bound: Option<&str>, value: impl std::fmt::Display) {
        let Self { out, name, head } = self;
        if let Some((kind, help)) = head.take() {
            // Writing to a String can't fail, here and below.
            let _infallible = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {}", kind.word());
        }
        out.push_str(name);
        out.push_str(suffix);
        let all = labels.iter().copied().chain(bound.map(|b| ("le", b)));
        for (index, (label, text)) in all.enumerate() {
            out.push(if index == 0 { '{' } else { ',' });
            out.push_str(label);
            out.push_str("=\"");
            escape(out, text);
            out.push('"');
        }
        if !labels.is_empty() || bound.is_some() {
            out.push('}');
        }
        let _infallible = writeln!(out, " {value}");
    }
}

fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

/// How long things took, in seconds.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [f64],
    /// Observations between the bound before and this one.
    counts: Vec<AtomicU64>,
    /// Observations above the last bound.
    above: AtomicU64,
    micros: AtomicU64,
}

impl Histogram {
    /// Makes one with upper bounds in seconds, which rise.
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: bounds.iter().map(|_| AtomicU64::new(0)).collect(),
            above: AtomicU64::new(0),
            micros: AtomicU64::new(0),
        }
    }

    /// Takes in one observation.
    pub(crate) fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let place = self.bounds.partition_point(|bound| *bound < seconds);
        self.counts
            .get(place)
            .unwrap_or(&self.above)
            .fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// How many observations there were.
    pub(crate) fn count(&self) -> u64 {
        let counts = self.counts.iter().chain([&self.above]);
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// All observations together.
    pub(crate) fn sum(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_as_prometheus_reads_it() {
        let mut page = Page::default();
        page.family("empty", Kind::Gauge, "Nothing.");
        page.family("a_total", Kind::Counter, "Things.");
        page.sample(&[], 3);
        page.sample(&[("x", "say \"hi\"\\\n"), ("y", "")], 4.5);
        let histogram = Histogram::new(&[0.005, 1.0]);
        for millis in [1, 5, 700, 2_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        page.family("b_seconds", Kind::Histogram, "Times.");
        page.histogram(&[("c", "d")], &histogram);
        insta::assert_snapshot!(page.finish(), @r#"
        # HELP a_total Things.
        # TYPE a_total counter
        a_total 3
        a_total{x="say \"hi\"\\\n",y=""} 4.5
        # HELP b_seconds Times.
        # TYPE b_seconds histogram
        b_seconds_bucket{c="d",le="0.005"} 2
        b_seconds_bucket{c="d",le="1"} 3
        b_seconds_bucket{c="d",le="+Inf"} 4
        b_seconds_sum{c="d"} 2.706
        b_seconds_count{c="d"} 4
        "#);
    }
}
