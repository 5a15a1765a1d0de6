//! Creates of a custom object of 2 KB by 64 clients, each with a connection of its own and one request under way.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use futures::future::join_all;

use super::{
    Server,
    fill::{GADGETS, gadget, namespace},
    send,
};

const CLIENTS: usize = 64;
const BYTES: usize = 2048;
/// How long they write.
const TIME: Duration = Duration::from_secs(6);

/// Makes the names of each round its own.
static ROUND: AtomicU64 = AtomicU64::new(0);

/// Returns how many creates a second were answered.
pub(crate) async fn a_second(server: &Server) -> f64 {
    let round = ROUND.fetch_add(1, Ordering::Relaxed);
    let space = format!("creates-{round}");
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(server.client().await);
    }
    namespace(&clients[0], &space).await;
    let path = format!("{GADGETS}/{space}/gadgets");
    let text = gadget("NAME", BYTES).to_string();
    let began = Instant::now();
    let done = join_all(clients.iter().enumerate().map(|(number, client)| {
        let (path, text) = (&path, &text);
        async move {
            let mut made = 0_u64;
            while began.elapsed() < TIME {
                let body = text.replace("NAME", &format!("g-{number}-{made}"));
                send(client, "POST", path, body.into_bytes()).await;
                made += 1;
            }
            made
        }
    }))
    .await;
    let figure = done.iter().sum::<u64>() as f64 / began.elapsed().as_secs_f64();
    send(&clients[0], "DELETE", &path, Vec::new()).await;
    figure
}
