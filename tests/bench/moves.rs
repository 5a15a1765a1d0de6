//! What a move of 1,000 machines costs, with 0, 5 and 50 ms more for each round trip, beside the serial way of clusterctl on the same servers:
//! `moves MACHINES [KUBECONFIG KUBECONFIG]`. Requests are counted by proxies before both servers. `tests/bench/run move` knows the bounds.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark that can not go on has failed, and what it found is printed"
)]

#[path = "moves/fill.rs"]
mod fill;
#[path = "../it/proxy.rs"]
mod proxy;
#[path = "moves/serial.rs"]
mod serial;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use kube::Client;
use machinectl::{
    client::{self, Patience, embedded},
    install,
    pivot::{
        Site, Stop,
        journal::Extent,
        sequence::{Move, Unsettled},
    },
    story::Story,
    time::SystemClock,
};

use proxy::{Fate, Proxy};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is added to each round trip, and of how many objects the serial way is measured then; its time is scaled up.
const ROUNDS: [(u64, usize); 3] = [(0, 999), (5, 300), (50, 60)];

/// Tells when each step began.
struct Told(Instant);

impl Story for Told {
    fn step(&self, text: &str) {
        println!("# {:6.2} s: {text}", self.0.elapsed().as_secs_f64());
    }
    fn detail(&self, _: &str) {}
    fn warn(&self, text: &str) {
        println!("# {text}");
    }
}

#[tokio::main]
async fn main() {
    rustls::crypto::ring::default_provider().install_default().ok();
    // cargo itself adds `--bench`.
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let machines = args.first().map_or(1000, |n| n.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut servers = Vec::new();
    let (kind, clients) = if let [_, one, other] = &args[..] {
        let text = |file: &String| std::fs::read_to_string(file).unwrap();
        let client = async |file| client::from_text("bench", &text(file)).await.unwrap();
        ("real", [client(one).await, client(other).await])
    } else {
        let mut both = Vec::new();
        for name in ["a", "b"] {
            let (server, client) = served(&folder.path().join(name)).await;
            servers.push(server);
            both.push(client);
        }
        ("embedded", both.try_into().ok().unwrap())
    };
    for client in &clients {
        install::definitions(client, false).await.unwrap();
    }
    fill::fill(&clients[0], "fleet", machines).await;
    fill::fill(&clients[0], "sample", ROUNDS[0].1 / 3).await;
    for (round, (delay, sample)) in ROUNDS.into_iter().enumerate() {
        let (from, to) = (&clients[round % 2], &clients[(round + 1) % 2]);
        measure(kind, from, to, delay, sample).await;
    }
    for server in servers {
        server.stop().await;
    }
}

/// An embedded server that is served over TLS, and a client that reaches it so.
async fn served(dir: &Path) -> (embedded::Embedded, Client) {
    let embedded::Opened::Here(mut server) = embedded::open(dir, Arc::new(SystemClock)).await.unwrap() else {
        unreachable!("nobody else knows the folder");
    };
    server.serve(None).await.unwrap();
    let entry = server.kubeconfig_entry().unwrap();
    let config = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "bench",
        "contexts": [{ "name": "bench", "context": { "cluster": "bench", "user": "bench" } }],
        "clusters": [{ "name": "bench", "cluster": entry.cluster_body }],
        "users": [{ "name": "bench", "user": entry.user_body.0 }],
    });
    let client = client::from_text("bench", &config.to_string()).await.unwrap();
    (server, client)
}

/// A proxy that holds each request up for so many milliseconds, and a client that asks through it.
async fn slow(client: &Client, delay: u64) -> (Proxy, Client) {
    let delay = Duration::from_millis(delay);
    let proxy = Proxy::start(client.clone(), move |_| async move {
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        Fate::Served
    })
    .await;
    let client = client::from_text("bench", &proxy.kubeconfig("bench"))
        .await
        .unwrap();
    (proxy, client)
}

/// Moves everything one way, and a sample the serial way.
async fn measure(kind: &str, from: &Client, to: &Client, delay: u64, sample: usize) {
    let ((source, from), (target, to)) = (slow(from, delay).await, slow(to, delay).await);
    let asked = Move {
        source: Site::new(&from, "source", Patience::default()).await.unwrap(),
        target: Site::new(&to, "target", Patience::default()).await.unwrap(),
        extent: Extent {
            namespace: Some("fleet".to_owned()),
            cluster: None,
        },
        unsettled: Unsettled::Refuse,
        story: Arc::new(Told(Instant::now())),
        clock: Arc::new(SystemClock),
        stop: Stop::default(),
    };
    let report = Box::pin(asked.run()).await.unwrap();
    let objects = report.objects as f64;
    let requests = source.requests() + target.requests();
    let name = format!("move {kind} {delay} ms");
    figure(&format!("{name}: objects"), objects);
    figure(&format!("{name}: seconds"), report.seconds);
    figure(&format!("{name}: requests an object"), requests as f64 / objects);
    let before = source.requests() + target.requests();
    let (moved, seconds) = serial::moves(&from, &to, "sample", sample).await;
    let asked = source.requests() + target.requests() - before;
    println!("# {name}: the serial way was measured with {moved} objects, and its time scaled to {objects}");
    figure(
        &format!("{name}: requests an object, serial"),
        asked as f64 / moved as f64,
    );
    let scaled = seconds / moved as f64 * objects;
    figure(&format!("{name}: seconds, serial"), scaled);
    figure(&format!("{name}: serial / move"), scaled / report.seconds);
}

/// One figure on a line of its own, for people and for scripts.
fn figure(name: &str, value: f64) {
    println!("{name}\t{value:.2}");
}
