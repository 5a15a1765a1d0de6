//! What the system knows of this process, as Prometheus' client libraries tell it. Where there is no `/proc` there is nothing to tell.

use crate::prometheus::Page;

#[cfg(not(target_os = "linux"))]
pub(super) fn write(_: &mut Page) {}

/// Writes what is known.
#[cfg(target_os = "linux")]
pub(super) fn write(page: &mut Page) {
    for (name, kind, help, value) in linux::read() {
        page.family(name, kind, help);
        page.sample(&[], value);
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;

    use crate::prometheus::Kind;

    type Number = (&'static str, Kind, &'static str, f64);

    /// Times come in ticks of the system's clock, memory in pages.
    #[expect(clippy::cast_precision_loss, reason = "these numbers are far below 2^52")]
    pub(super) fn read() -> Vec<Number> {
        let mut numbers = Vec::new();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let page = rustix::param::page_size() as f64;
        if let Some(stat) = fs::read_to_string("/proc/self/stat")
            .ok()
            .as_deref()
            .and_then(Stat::parse)
        {
            numbers.push((
                "process_cpu_seconds_total",
                Kind::Counter,
                "Processor time of this process in seconds.",
                stat.cpu_ticks / ticks,
            ));
            numbers.push((
                "process_virtual_memory_bytes",
                Kind::Gauge,
                "Bytes of its address space.",
                stat.virtual_bytes,
            ));
            numbers.push((
                "process_resident_memory_bytes",
                Kind::Gauge,
                "Bytes of it that are in memory.",
                stat.resident_pages * page,
            ));
            if let Some(boot) = booted() {
                numbers.push((
                    "process_start_time_seconds",
                    Kind::Gauge,
                    "When it began, in seconds since 1970.",
                    boot + stat.start_ticks / ticks,
                ));
            }
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            numbers.push((
                "process_open_fds",
                Kind::Gauge,
                "Files and sockets that it has open.",
                open.count() as f64,
            ));
        }
        if let Some(most) = most_files() {
            numbers.push((
                "process_max_fds",
                Kind::Gauge,
                "Files and sockets that it may have open.",
                most,
            ));
        }
        numbers
    }

    /// What `/proc/self/stat` says.
    #[derive(Debug, PartialEq)]
    pub(super) struct Stat {
        cpu_ticks: f64,
        start_ticks: f64,
        virtual_bytes: f64,
        resident_pages: f64,
    }

    impl Stat {
        /// The name of the program, in brackets, may hold anything; what follows are numbers.
        pub(super) fn parse(text: &str) -> Option<Self> {
            let (_, rest) = text.rsplit_once(')')?;
            let fields: Vec<&str> = rest.split_whitespace().collect();
            // The first of them is the third in the manual.
            let number = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
            Some(Self {
                cpu_ticks: number(14)? + number(15)?,
                start_ticks: number(22)?,
                virtual_bytes: number(23)?,
                resident_pages: number(24)?,
            })
        }
    }

    /// When the system began, in seconds since 1970.
    fn booted() -> Option<f64> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
        line.trim().parse().ok()
    }

    fn most_files() -> Option<f64> {
        let limits = fs::read_to_string("/proc/self/limits").ok()?;
        let line = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max open files"))?;
        line.split_whitespace().next()?.parse().ok()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_name_of_the_program_may_hold_anything() {
            let text =
                "7 (a) b (c)) S 1 7 7 0 -1 4194560 900 0 0 0 12 30 0 0 20 0 8 0 4242 1000000 250 1844\n";
            let expected = Stat {
                cpu_ticks: 42.0,
                start_ticks: 4242.0,
                virtual_bytes: 1e6,
                resident_pages: 250.0,
            };
            assert_eq!(Stat::parse(text), Some(expected));
            assert_eq!(Stat::parse("7 (a) S 1"), None);
        }

        #[test]
        fn this_process_is_known() {
            let names: Vec<_> = read().into_iter().map(|(name, ..)| name).collect();
            assert!(names.contains(&"process_resident_memory_bytes"), "{names:?}");
            assert!(names.contains(&"process_start_time_seconds"), "{names:?}");
        }
    }
}
