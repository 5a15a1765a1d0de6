//! What clients see of an API server: `servers WHAT KUBECONFIG...`. With several kubeconfigs each server is measured in its turn, round by round.
//! `creates`, `list` and `watch` measure; `fleet` fills a server, prints that it is done, and holds watches open until its input ends, so that
//! whoever called can look at the server's memory. `tests/bench/run` starts the servers and knows the bounds.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark that can not go on has failed, and what it found is printed"
)]

#[path = "servers/creates.rs"]
mod creates;
#[path = "servers/fill.rs"]
mod fill;
#[path = "servers/list.rs"]
mod list;
#[path = "servers/watch.rs"]
mod watch;

use http::Request;
use kube::{Client, client::Body};
use machinectl::client;
use serde_json::Value;

/// Rounds of each measurement; the middle one counts.
const ROUNDS: usize = 3;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() {
    rustls::crypto::ring::default_provider().install_default().ok();
    // cargo itself adds `--bench`.
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let (what, files) = args.split_first().unwrap();
    let servers: Vec<Server> = files.iter().map(|file| Server::read(file)).collect();
    match what.as_str() {
        "creates" => {
            for server in &servers {
                fill::definition(&server.client().await).await;
            }
            rounds("creates a second", &servers, creates::a_second).await;
        }
        "list" => {
            for server in &servers {
                list::prepare(server).await;
            }
            rounds("list: milliseconds", &servers, list::milliseconds).await;
        }
        "watch" => {
            for server in &servers {
                fill::definition(&server.client().await).await;
            }
            rounds("watch: p99 in milliseconds", &servers, watch::p99).await;
        }
        "fleet" => fill::fleet(&servers[0]).await,
        other => panic!("unknown: {other}"),
    }
}

/// Measures each server in its turn, and prints the middle figure of each.
async fn rounds(name: &str, servers: &[Server], measure: impl AsyncFn(&Server) -> f64) {
    let mut found = vec![Vec::new(); servers.len()];
    for round in 1..=ROUNDS {
        for (server, figures) in servers.iter().zip(&mut found) {
            let figure = measure(server).await;
            println!("# {name}, round {round}: {figure:.2}");
            figures.push(figure);
        }
    }
    for (number, mut figures) in found.into_iter().enumerate() {
        figures.sort_by(f64::total_cmp);
        println!("{name} {number}\t{:.2}", figures[ROUNDS / 2]);
    }
}

/// A server, known by a kubeconfig.
struct Server {
    kubeconfig: String,
}

impl Server {
    fn read(file: &str) -> Self {
        Self {
            kubeconfig: std::fs::read_to_string(file).unwrap(),
        }
    }

    /// A client with connections of its own.
    async fn client(&self) -> Client {
        client::from_text("bench", &self.kubeconfig).await.unwrap()
    }
}

/// Sends a request and returns the bytes of its answer, unread: what a client makes of them is not the server's time.
async fn send(client: &Client, method: &str, path: &str, body: Vec<u8>) -> Vec<u8> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("Content-Type", "application/json")
        .header("Accept", "application/json")
        .body(Body::from(body))
        .unwrap();
    let answer = client.send(request).await.unwrap();
    let code = answer.status();
    let bytes = answer.into_body().collect_bytes().await.unwrap();
    assert!(
        code.is_success(),
        "{method} {path}: {code} {}",
        String::from_utf8_lossy(&bytes)
    );
    bytes.to_vec()
}

/// As [`send`], for a JSON document.
async fn send_json(client: &Client, method: &str, path: &str, body: &Value) -> Value {
    let bytes = send(client, method, path, body.to_string().into_bytes()).await;
    serde_json::from_slice(&bytes).unwrap()
}
