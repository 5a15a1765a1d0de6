//! How long `machinectl serve` takes from its start to the first answer. `start [COUNT...]`: with so many objects in its state, a third each of
//! `Node`s, `Lease`s and `ConfigMap`s. The program is the one that `MACHINECTL_BENCH_PROGRAM` names, or that of the benchmark's own build. Prints
//! milliseconds, the middle of several starts.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that can not go on has failed, and what it found is printed"
)]

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use kube::{
    Client,
    api::{Api, DynamicObject, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use machinectl::{apiserver::Server, time::SystemClock};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// Starts that are measured, after one that is not.
const STARTS: usize = 7;
/// Requests at the same time while the state is made.
const WIDTH: usize = 128;

#[tokio::main]
async fn main() {
    rustls::crypto::ring::default_provider().install_default().ok();
    // cargo itself adds `--bench`.
    let counts: Vec<usize> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .map(|a| a.parse().unwrap())
        .collect();
    let program = std::env::var_os("MACHINECTL_BENCH_PROGRAM")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_machinectl")), PathBuf::from);
    for count in counts {
        let home = tempfile::tempdir().unwrap();
        let state = home.path().join("machinectl/embedded");
        fill(&state, count).await;
        let mut took = Vec::new();
        for _ in 0..=STARTS {
            took.push(start(&program, home.path(), &state).await);
        }
        let first = took.remove(0);
        took.sort_unstable();
        let middle = took[took.len() / 2];
        println!("start {count}: milliseconds\t{:.1}", middle.as_secs_f64() * 1e3);
        println!(
            "start {count}: milliseconds, the first time\t{:.1}",
            first.as_secs_f64() * 1e3
        );
    }
}

async fn fill(state: &Path, count: usize) {
    fs::create_dir_all(state).unwrap();
    let server = Server::open(state, Arc::new(SystemClock)).await.unwrap();
    let client = server.client();
    let made = (0..count).map(|n| make(client.clone(), n));
    stream::iter(made)
        .buffer_unordered(WIDTH)
        .collect::<Vec<()>>()
        .await;
    drop(client);
    server.stop().await;
}

async fn make(client: Client, n: usize) {
    let name = format!("worker-{n}");
    let (kind, namespaced, object) = match n % 3 {
        0 => (("", "v1", "Node", "nodes"), false, node(&name)),
        1 => (
            ("coordination.k8s.io", "v1", "Lease", "leases"),
            true,
            json!({"metadata": {"name": name}, "spec": {"holderIdentity": name, "leaseDurationSeconds": 40}}),
        ),
        _ => (
            ("", "v1", "ConfigMap", "configmaps"),
            true,
            json!({"metadata": {"name": name, "labels": {"of": name}}, "data": {"text": "of some length ".repeat(20)}}),
        ),
    };
    let (group, version, kind, plural) = kind;
    let gvk = GroupVersionKind::gvk(group, version, kind);
    let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
    let api: Api<DynamicObject> = if namespaced {
        Api::default_namespaced_with(client, &resource)
    } else {
        Api::all_with(client, &resource)
    };
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
}

fn node(name: &str) -> Value {
    let condition = |kind: &str, status: &str| {
        json!({"type": kind, "status": status, "reason": "KubeletSays", "message": "kubelet says how it is",
            "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
        "spec": {"podCIDR": "10.0.0.0/24", "providerID": format!("hollow:///{name}")},
        "status": {
            "capacity": {"cpu": "8", "memory": "32Gi", "pods": "110"},
            "conditions": [condition("Ready", "True"), condition("MemoryPressure", "False"), condition("DiskPressure", "False")],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "Hostname", "address": name}],
            "nodeInfo": {"kubeletVersion": "v1.35.0", "osImage": "hollow", "architecture": "amd64"},
        },
    })
}

/// Starts the program, and returns how long it took until it answered a request.
async fn start(program: &Path, home: &Path, state: &Path) -> Duration {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    fs::write(state.join("port"), port.to_string()).unwrap();
    let began = Instant::now();
    let mut child = Command::new(program)
        .args(["serve", "--embedded"])
        .env_clear()
        .env("HOME", home)
        .env("XDG_STATE_HOME", home)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !answers(port, state).await {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it answered");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = began.elapsed();
    child.kill().unwrap();
    child.wait().unwrap();
    took
}

/// Whether a request is answered: not only accepted.
async fn answers(port: u16, state: &Path) -> bool {
    let Ok(socket) = TcpStream::connect(("127.0.0.1", port)).await else {
        return false;
    };
    // It listens before it has made its certificates.
    let Ok(authority) = fs::read(state.join("tls/ca.crt")) else {
        return false;
    };
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&authority).unwrap())
        .unwrap();
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let Ok(stream) = connector.connect("localhost".try_into().unwrap(), socket).await else {
        return false;
    };
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("/readyz").header("Host", "localhost");
    let answer = sender.send_request(request.body(String::new()).unwrap()).await;
    answer.is_ok_and(|answer| answer.status() == 200)
}
