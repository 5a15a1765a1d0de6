//! `/metrics` for Prometheus, and `/healthz`, `/livez`, `/readyz` for whoever keeps the process alive. Plain HTTP, without secrets.

use std::{io, sync::Arc};

use axum::{Router, http::StatusCode, http::header::CONTENT_TYPE, routing::get};
use tokio::net::TcpListener;

use super::Metrics;
use crate::prometheus;

/// Serves until the process ends. `compatible` adds the families of `OpenShift`'s Machine API.
///
/// # Errors
/// Fails when the listener does.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>, compatible: bool) -> io::Result<()> {
    let alive = || async { "ok" };
    let ready = {
        let metrics = Arc::clone(&metrics);
        move || async move {
            match metrics.ready() {
                Ok(()) => (StatusCode::OK, "ok".to_owned()),
                Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}")),
            }
        }
    };
    let page = move || async move {
        (
            [(CONTENT_TYPE, prometheus::CONTENT_TYPE)],
            metrics.render(compatible),
        )
    };
    let router = Router::new()
        .route("/healthz", get(alive))
        .route("/livez", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(page));
    axum::serve(listener, router).await
}
