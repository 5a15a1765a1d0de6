//! What holds for any requests at all: any sequence of sensible ones (`sequences`), and any one that makes no sense
//! (`garbage`). Seeds of what once failed are in `tests/proptest-regressions` and tried first.

mod garbage;
mod sequences;
mod steps;

use std::sync::LazyLock;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use machinectl::apiserver::Server;
use machinectl::apiserver::auth::UserInfo;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

/// Where the cases of a test run, one after the other.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
});

/// Sends what the administrator asks through the routes of a server.
async fn ask(server: &Server, mut request: Request<Body>) -> (u16, Value) {
    request.extensions_mut().insert(UserInfo::admin());
    let response = server.router().oneshot(request).await.unwrap();
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
    (code, serde_json::from_slice(&bytes).unwrap_or_else(|_| text()))
}
