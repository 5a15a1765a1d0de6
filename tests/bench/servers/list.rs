//! A list of 10,000 custom objects of 1 KB, in one answer, from the first byte sent to the last one read.

use std::time::Instant;

use futures::{StreamExt as _, stream};

use super::{
    Server,
    fill::{GADGETS, definition, gadget, namespace},
    send,
};

const OBJECTS: usize = 10_000;
const BYTES: usize = 1024;
/// Lists a round; the middle one counts.
const LISTS: usize = 5;

/// Fills a server.
pub(crate) async fn prepare(server: &Server) {
    let client = server.client().await;
    definition(&client).await;
    namespace(&client, "list").await;
    let path = format!("{GADGETS}/list/gadgets");
    stream::iter(0..OBJECTS)
        .for_each_concurrent(32, |number| {
            let (client, path) = (&client, &path);
            async move {
                let object = gadget(&format!("g-{number:05}"), BYTES).to_string();
                send(client, "POST", path, object.into_bytes()).await;
            }
        })
        .await;
}

/// Returns how long a list takes.
pub(crate) async fn milliseconds(server: &Server) -> f64 {
    let client = server.client().await;
    let path = format!("{GADGETS}/list/gadgets");
    let mut took = Vec::new();
    for _ in 0..LISTS {
        let began = Instant::now();
        let bytes = send(&client, "GET", &path, Vec::new()).await;
        took.push(began.elapsed().as_secs_f64() * 1e3);
        assert!(bytes.len() > OBJECTS * BYTES, "{} bytes", bytes.len());
    }
    took.sort_by(f64::total_cmp);
    took[LISTS / 2]
}
