//! A client that counts its requests. It changes none of them.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{Request, Response};
use kube::{Client, client::Body};
use tower::Service;

use super::Metrics;

/// Returns a client that does what the given one does and counts it under `host`.
pub fn counted(client: &Client, host: &str, metrics: Arc<Metrics>) -> Client {
    let namespace = client.default_namespace().to_owned();
    let counted = Counted {
        inner: client.clone(),
        host: host.into(),
        metrics,
    };
    Client::new(counted, namespace)
}

struct Counted {
    inner: Client,
    host: Arc<str>,
    metrics: Arc<Metrics>,
}

impl Service<Request<Body>> for Counted {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // The inner client waits for its turn when it is given a request.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = request.method().clone();
        let (host, metrics) = (Arc::clone(&self.host), Arc::clone(&self.metrics));
        let client = self.inner.clone();
        Box::pin(async move {
            let answer = client.send(request).await;
            match &answer {
                Ok(response) => metrics.requested(&host, method.as_str(), response.status().as_str()),
                Err(_) => metrics.requested(&host, method.as_str(), "<error>"),
            }
            answer
        })
    }
}
