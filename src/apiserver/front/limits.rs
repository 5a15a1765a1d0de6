//! How much the server does at a time. It must not keep anybody waiting: who comes when all places are taken is told to come again.
//!
//! Administrators need no place, so they are never turned away and turn nobody away; nor do watches, which last.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};

use super::super::Server;

/// What one request, one client and all of them together may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Requests that change something at the same time. Default: 200 (kube-apiserver: `--max-mutating-requests-inflight`).
    pub mutating: usize,
    /// Requests that only read at the same time. Default: 400 (kube-apiserver: `--max-requests-inflight`).
    pub read_only: usize,
    /// How long a connection may be silent between requests, and how long the head of a request may take. Default: 90 seconds.
    pub head: Duration,
    /// How long the body of a request may take. Default: one minute (kube-apiserver: `--request-timeout`).
    pub body: Duration,
    /// How long a client may take nothing of what is there for it. Default: one minute.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            mutating: 200,
            read_only: 400,
            head: Duration::from_secs(90),
            body: Duration::from_secs(60),
            stall: Duration::from_secs(60),
        }
    }
}

/// What a request does with the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    ReadOnly,
    Mutating,
}

impl Kind {
    /// All of them, with the words of kube-apiserver's metrics.
    pub(crate) const ALL: [(Self, &'static str); 2] =
        [(Self::Mutating, "mutating"), (Self::ReadOnly, "readOnly")];

    /// Reads the verb of a request.
    pub(crate) fn of(verb: &str) -> Self {
        match verb {
            "get" | "list" | "watch" => Self::ReadOnly,
            _ => Self::Mutating,
        }
    }
}

/// The requests of one kind.
#[derive(Debug, Default)]
struct Count {
    /// Those that take a place.
    limited: AtomicUsize,
    /// All.
    all: AtomicUsize,
    /// Those that were told to come again.
    refused: AtomicU64,
}

/// The requests that are being worked on.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    read_only: Count,
    mutating: Count,
}

impl InFlight {
    const fn count(&self, kind: Kind) -> &Count {
        match kind {
            Kind::ReadOnly => &self.read_only,
            Kind::Mutating => &self.mutating,
        }
    }

    /// How many requests of a kind there are now.
    pub(crate) fn now(&self, kind: Kind) -> usize {
        self.count(kind).all.load(Ordering::Relaxed)
    }

    /// How many requests of a kind were told to come again.
    pub(crate) fn refused(&self, kind: Kind) -> u64 {
        self.count(kind).refused.load(Ordering::Relaxed)
    }
}

/// A place among the requests that are being worked on; it is free again when this is dropped.
pub(crate) struct Place {
    server: Server,
    kind: Kind,
    limited: bool,
}

impl Place {
    /// Takes a place; whoever is `exempt` always gets one. Nothing if all are taken.
    pub(crate) fn take(server: &Server, kind: Kind, exempt: bool) -> Option<Self> {
        let limits = &server.0.options.limits;
        let most = match kind {
            Kind::ReadOnly => limits.read_only,
            Kind::Mutating => limits.mutating,
        };
        let count = server.0.in_flight.count(kind);
        if !exempt && count.limited.fetch_add(1, Ordering::Relaxed) >= most {
            count.limited.fetch_sub(1, Ordering::Relaxed);
            count.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        count.all.fetch_add(1, Ordering::Relaxed);
        Some(Self {
            server: server.clone(),
            kind,
            limited: !exempt,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let count = self.server.0.in_flight.count(self.kind);
        count.all.fetch_sub(1, Ordering::Relaxed);
        if self.limited {
            count.limited.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What is told to whoever finds all places taken.
pub(crate) fn come_again() -> Response {
    let mut response = Response::new(Body::from("Too many requests, please try again later.\n"));
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    for (name, value) in [
        (header::RETRY_AFTER, "1"),
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::super::Options;
    use super::*;

    #[test]
    fn who_is_exempt_takes_no_place_and_needs_none() {
        let options = Options {
            limits: Limits {
                read_only: 2,
                ..Limits::default()
            },
            ..Options::default()
        };
        let server = Server::in_memory_with(Arc::new(crate::time::SystemClock), options);
        let read = |exempt| Place::take(&server, Kind::ReadOnly, exempt);
        let admins: Vec<_> = (0..5).map(|_| read(true).unwrap()).collect();
        let first = read(false).unwrap();
        let _second = read(false).unwrap();
        assert!(read(false).is_none() && read(true).is_some());
        assert!(Place::take(&server, Kind::Mutating, false).is_some());
        assert_eq!(server.0.in_flight.now(Kind::ReadOnly), 7);
        drop(first);
        drop(admins);
        assert!(read(false).is_some());
        assert_eq!(server.0.in_flight.now(Kind::ReadOnly), 1);
        assert_eq!(server.0.in_flight.refused(Kind::ReadOnly), 1);
    }
}
