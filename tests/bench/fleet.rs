//! How much a fleet of hollow machines costs: machines a second, API requests a machine, processor time, memory.
//! Everything runs in this process through the library; `tests/bench/run` calls it and knows the bounds.
//!
//! `fleet up N [KUBECONFIG]` brings N machines up, `fleet growth N...` does so for each N, `fleet real N KUBECONFIG` compares with a plain
//! load generator on the same server, `fleet idle N SECONDS` watches N machines that run, `fleet rollout N...` replaces them.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark that can not go on has failed, and what it found is printed"
)]

#[path = "fleet/load.rs"]
mod load;
#[path = "fleet/meter.rs"]
mod meter;
#[path = "fleet/place.rs"]
mod place;

use std::time::{Duration, Instant};

use load::Writes;
use meter::{Meter, cpu_seconds, resident_mb};
use place::{Place, SETTLED};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() {
    if std::env::var_os("MACHINECTL_BENCH_LOG").is_some() {
        tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .init();
    }
    // cargo itself adds `--bench`.
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<usize>().unwrap();
    match args.as_slice() {
        [] => growth(&[1000]).await,
        ["up", n] => {
            up(&Place::embedded().await, number(n)).await;
        }
        ["up", n, file] => {
            up(&Place::at(file).await, number(n)).await;
        }
        ["growth", rest @ ..] => growth(&rest.iter().map(|n| number(n)).collect::<Vec<_>>()).await,
        ["real", n, file] => real(number(n), file).await,
        ["idle", n, seconds] => idle(number(n), Duration::from_secs(number(seconds) as u64)).await,
        ["rollout", rest @ ..] => rollout(&rest.iter().map(|n| number(n)).collect::<Vec<_>>()).await,
        other => println!("unknown: {other:?}; up, growth, real, idle, rollout"),
    }
}

/// One figure on a line of its own, for people and for scripts.
fn figure(name: &str, value: f64, unit: &str) {
    println!("{name}\t{value:.2}\t{unit}");
}

/// What bringing a fleet up has cost.
struct Cost {
    /// Seconds of processor time a machine.
    cpu: f64,
    /// Writes a second.
    writes_a_second: f64,
    /// Writes a machine.
    writes: f64,
    /// Machines a second.
    speed: f64,
}

/// Brings `n` machines up and tells what it cost.
async fn up(place: &Place, n: usize) -> Cost {
    let running = place.run();
    place.until_working().await;
    place.meter.reset();
    let (began, cpu) = (Instant::now(), cpu_seconds());
    place.create_set(n).await;
    let ended = place.until_settled(n).await;
    let cost = tell(&place.meter, "up", n, ended - began, cpu_seconds() - cpu);
    running.stop().await;
    cost
}

fn tell(meter: &Meter, what: &str, n: usize, took: Duration, cpu: f64) -> Cost {
    let count = n as f64;
    let name = |figure: &str| format!("{what} {n}: {figure}");
    let writes = meter.writes() as f64;
    figure(&name("machines a second"), count / took.as_secs_f64(), "/s");
    figure(&name("processor time a machine"), cpu / count * 1e3, "ms");
    figure(&name("resident"), resident_mb(), "MB");
    for (verb, resource, requests, bytes) in meter.all() {
        if requests as f64 * 100.0 >= count || verb == "watch" {
            let requests = requests as f64;
            println!(
                "  {verb:7} {resource:55} {:8.3} a machine, {:.0} bytes each",
                requests / count,
                bytes as f64 / requests
            );
        }
    }
    figure(&name("writes a machine"), writes / count, "");
    Cost {
        cpu: cpu / count,
        writes_a_second: writes / took.as_secs_f64(),
        writes: writes / count,
        speed: count / took.as_secs_f64(),
    }
}

/// Each size on a server of its own; the cost a machine must stay what it is.
async fn growth(sizes: &[usize]) {
    let mut first: Option<Cost> = None;
    for n in sizes {
        let cost = up(&Place::embedded().await, *n).await;
        let base = first.get_or_insert(Cost { ..cost });
        figure(
            &format!("growth {n}: processor time a machine / smallest"),
            cost.cpu / base.cpu,
            "x",
        );
        figure(
            &format!("growth {n}: time a machine / smallest"),
            base.speed / cost.speed,
            "x",
        );
        figure(
            &format!("growth {n}: writes a machine / smallest"),
            cost.writes / base.writes,
            "x",
        );
    }
}

/// The same on a real API server, in comparison with plain writes by 32 clients: of the same kinds, and of a built-in one for scale.
async fn real(n: usize, file: &str) {
    // The definitions have to be there, and nothing may be left of an earlier run.
    let place = Place::at(file).await;
    let before = load::writes_a_second(file, Writes::Machines).await;
    let cost = up(&place, n).await;
    figure(
        "real: writes a second of the controllers",
        cost.writes_a_second,
        "/s",
    );
    let after = load::writes_a_second(file, Writes::Machines).await;
    let plain = f64::midpoint(before, after);
    figure("real: plain writes a second, before", before, "/s");
    figure("real: plain writes a second, after", after, "/s");
    figure(
        "real: controllers / plain",
        cost.writes_a_second / plain * 100.0,
        "%",
    );
    let maps = load::writes_a_second(file, Writes::ConfigMaps).await;
    figure("real: plain writes of ConfigMaps a second", maps, "/s");
    figure(
        "real: controllers / ConfigMaps",
        cost.writes_a_second / maps * 100.0,
        "%",
    );
}

/// A fleet that runs and nobody touches.
async fn idle(n: usize, watched: Duration) {
    let place = Place::embedded().await;
    let running = place.run();
    place.until_working().await;
    place.create_set(n).await;
    place.until_settled(n).await;
    figure(
        &format!("idle {n}: resident when all have come"),
        resident_mb(),
        "MB",
    );
    tokio::time::sleep(SETTLED * 10).await;
    place.meter.reset();
    let (cpu, began) = (cpu_seconds(), Instant::now());
    tokio::time::sleep(watched).await;
    let share = (cpu_seconds() - cpu) / began.elapsed().as_secs_f64() * 100.0;
    for (verb, resource, requests, _) in place.meter.all() {
        println!(
            "  {verb:7} {resource:55} {:8.2} a second",
            requests as f64 / watched.as_secs_f64()
        );
    }
    figure(&format!("idle {n}: share of a core"), share, "%");
    figure(&format!("idle {n}: resident"), resident_mb(), "MB");
    running.stop().await;
}

/// Replaces all machines of a `MachineDeployment`.
async fn rollout(sizes: &[usize]) {
    let mut base = None;
    for n in sizes {
        let place = Place::embedded().await;
        let running = place.run();
        place.until_working().await;
        place.create_deployment(*n).await;
        place.until_settled(*n).await;
        place.meter.reset();
        let (began, cpu) = (Instant::now(), cpu_seconds());
        place.change_deployment().await;
        let ended = place.until_rolled_out(*n).await;
        let cost = tell(&place.meter, "rollout", *n, ended - began, cpu_seconds() - cpu);
        let first = *base.get_or_insert(cost.cpu);
        figure(
            &format!("rollout {n}: processor time a machine / smallest"),
            cost.cpu / first,
            "x",
        );
        running.stop().await;
    }
}
