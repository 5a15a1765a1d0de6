//! From the moment at which a write is sent to that at which each of 100 watchers has read its event, with 1,000 writes a second.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;
use http_body_util::BodyExt as _;
use kube::client::Body;

use super::{
    Server,
    fill::{GADGETS, namespace},
    send,
};

const WATCHERS: usize = 100;
const WRITERS: u32 = 20;
/// All writers together.
const A_SECOND: u32 = 1_000;
const TIME: Duration = Duration::from_secs(6);
/// How long to wait for the last events.
const REST: Duration = Duration::from_secs(20);

static ROUND: AtomicU64 = AtomicU64::new(0);

/// Returns how many milliseconds 99 of 100 events took at most.
pub(crate) async fn p99(server: &Server) -> f64 {
    let space = format!("watch-{}", ROUND.fetch_add(1, Ordering::Relaxed));
    let client = server.client().await;
    namespace(&client, &space).await;
    let path = format!("{GADGETS}/{space}/gadgets");
    let zero = Instant::now();
    let written = Arc::new(AtomicU64::new(u64::MAX));
    let mut watchers = Vec::new();
    for _ in 0..WATCHERS {
        let client = server.client().await;
        let address = format!("{path}?watch=1");
        let body = open(&client, &address).await;
        watchers.push(tokio::spawn(watch(
            client,
            address,
            body,
            zero,
            Arc::clone(&written),
        )));
    }
    let writes: u64 = join_all((0..WRITERS).map(|number| {
        let path = &path;
        async move { write(&server.client().await, path, number, zero).await }
    }))
    .await
    .iter()
    .sum();
    written.store(writes, Ordering::SeqCst);
    let began = Instant::now();
    let mut all: Vec<u64> = Vec::new();
    for watcher in watchers {
        let left = REST.saturating_sub(began.elapsed());
        let seen = tokio::time::timeout(left, watcher).await;
        all.extend(seen.expect("all events arrive").unwrap());
    }
    all.sort_unstable();
    println!(
        "# {:.0} writes a second, {} events, median {:.2} ms",
        writes as f64 / TIME.as_secs_f64(),
        all.len(),
        all[all.len() / 2] as f64 / 1e6
    );
    all[all.len() * 99 / 100] as f64 / 1e6
}

/// One writer at its share of the pace. Returns how many objects it made.
async fn write(client: &kube::Client, path: &str, number: u32, zero: Instant) -> u64 {
    let mut pace = tokio::time::interval(Duration::from_secs(1) * WRITERS / A_SECOND);
    let began = Instant::now();
    let mut made = 0;
    while began.elapsed() < TIME {
        pace.tick().await;
        let at = zero.elapsed().as_nanos();
        let object = format!(
            r#"{{"apiVersion":"bench.example.com/v1","kind":"Gadget","metadata":{{"name":"g-{number}-{made}"}},"spec":{{"at":"{at:020}"}}}}"#
        );
        send(client, "POST", path, object.into_bytes()).await;
        made += 1;
    }
    made
}

async fn open(client: &kube::Client, address: &str) -> Body {
    let request = http::Request::get(address).body(Body::empty()).unwrap();
    client.send(request).await.unwrap().into_body()
}

/// Returns what comes after a text.
fn after<'a>(event: &'a [u8], mark: &[u8]) -> Option<&'a [u8]> {
    let at = event.windows(mark.len()).position(|part| part == mark)?;
    Some(&event[at + mark.len()..])
}

/// Reads events until all that were written are there. Returns how many nanoseconds each took. A server that can't keep up ends the
/// watch: then it goes on where it was, and what is too old by then counts as what never came in time.
async fn watch(
    client: kube::Client,
    address: String,
    mut body: Body,
    zero: Instant,
    written: Arc<AtomicU64>,
) -> Vec<u64> {
    let mut took = Vec::new();
    let (mut version, mut is_lost) = (String::new(), false);
    let mut line: Vec<u8> = Vec::new();
    while !is_lost && (took.len() as u64) < written.load(Ordering::SeqCst) {
        // The last events can come before it is known that they are the last.
        let Ok(frame) = tokio::time::timeout(Duration::from_millis(200), body.frame()).await else {
            continue;
        };
        let Some(Ok(frame)) = frame else {
            line.clear();
            body = open(&client, &format!("{address}&resourceVersion={version}")).await;
            continue;
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let now = u64::try_from(zero.elapsed().as_nanos()).unwrap();
        line.extend_from_slice(&data);
        let Some(end) = line.iter().rposition(|&byte| byte == b'\n') else {
            continue;
        };
        for event in line[..end].split(|&byte| byte == b'\n') {
            // The value is that of the spec: the owners of fields know only the field's name.
            let Some(at) = after(event, br#""at":""#) else {
                is_lost |= after(event, b"\"ERROR\"").is_some();
                continue;
            };
            let sent: u64 = std::str::from_utf8(&at[..20]).unwrap().parse().unwrap();
            took.push(now - sent);
            if let Some(at) = after(event, br#""resourceVersion":""#) {
                let digits = at.iter().take_while(|byte| byte.is_ascii_digit());
                version = digits.map(|&byte| char::from(byte)).collect();
            }
        }
        line.drain(..=end);
    }
    let all = loop {
        match written.load(Ordering::SeqCst) {
            u64::MAX => tokio::time::sleep(Duration::from_millis(50)).await,
            all => break usize::try_from(all).unwrap(),
        }
    };
    took.resize(all.max(took.len()), u64::try_from(REST.as_nanos()).unwrap());
    took
}
