//! Open connections to webhooks, a few to each, for a while. It must not send anything.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::failure;
use super::target::Place;

/// Connections that are kept for each lane, and in all.
const IDLE: usize = 8;
const ALL: usize = 128;
/// How long one is kept that nobody uses.
const FOR: Duration = Duration::from_secs(90);

pub(super) type Sender = SendRequest<Full<Bytes>>;

/// Whom a connection leads to and who vouched for him: only requests that agree in all of it share one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Lane {
    place: Place,
    host: String,
    ca_bundle: String,
}

impl Lane {
    pub(super) fn new(place: Place, host: &str, ca_bundle: &str) -> Self {
        Self {
            place,
            host: host.to_owned(),
            ca_bundle: ca_bundle.to_owned(),
        }
    }
}

#[derive(Default)]
pub(super) struct Pool(Mutex<HashMap<Lane, Vec<(Instant, Sender)>>>);

impl Pool {
    /// Takes an open connection out, if there is one.
    pub(super) fn take(&self, lane: &Lane) -> Option<Sender> {
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = lanes.get_mut(lane)?;
        while let Some((since, sender)) = idle.pop() {
            if since.elapsed() < FOR && sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    /// Keeps a connection for the next.
    pub(super) fn put(&self, lane: Lane, sender: Sender) {
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.retain(|_, idle| {
            idle.retain(|(since, sender)| since.elapsed() < FOR && !sender.is_closed());
            !idle.is_empty()
        });
        if lanes.values().map(Vec::len).sum::<usize>() >= ALL {
            return;
        }
        let idle = lanes.entry(lane).or_default();
        if idle.len() < IDLE {
            idle.push((Instant::now(), sender));
        }
    }
}

/// Opens a connection.
pub(super) async fn connect(lane: &Lane, config: &Arc<rustls::ClientConfig>) -> Result<Sender, String> {
    let (host, port) = &lane.place;
    let name = ServerName::try_from(lane.host.clone())
        .map_err(|_| format!("tls: {:?} is no name that a certificate can have", lane.host))?;
    let found = tokio::net::lookup_host((host.as_str(), *port))
        .await
        .map_err(|_| format!("dial tcp: lookup {host}: no such host"))?;
    let mut failed = format!("dial tcp: lookup {host}: no such host");
    let mut socket = None;
    for address in found {
        match TcpStream::connect(address).await {
            Ok(open) => {
                socket = Some(open);
                break;
            }
            Err(error) => failed = failure::of_dial(&address.to_string(), &error),
        }
    }
    let socket = socket.ok_or(failed)?;
    socket.set_nodelay(true).ok();
    let stream = TlsConnector::from(Arc::clone(config))
        .connect(name, socket)
        .await
        .map_err(|e| failure::of_handshake(&e))?;
    let (sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(|e| failure::of_http(&e))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to a webhook ended");
        }
    });
    Ok(sender)
}
