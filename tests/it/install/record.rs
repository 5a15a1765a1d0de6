//! A client that writes down what it is used for, as an API server's authorizer sees it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{Method, Request, Response};
use kube::{Client, client::Body};
use tower::Service;

/// One kind of request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Asked {
    pub(super) verb: &'static str,
    pub(super) group: String,
    /// With its subresource: `machines/status`.
    pub(super) resource: String,
    pub(super) namespace: Option<String>,
    /// Its name, or the one that a field selector asks for.
    pub(super) name: Option<String>,
}

/// What was asked for, and what was refused.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) asked: Mutex<BTreeSet<Asked>>,
    pub(super) refused: Mutex<Vec<String>>,
}

/// Returns a client that does what the given one does, and writes it down.
pub(super) fn recorded(client: &Client, record: &Arc<Record>) -> Client {
    let service = Recorded {
        inner: client.clone(),
        record: Arc::clone(record),
    };
    Client::new(service, "default")
}

struct Recorded {
    inner: Client,
    record: Arc<Record>,
}

impl Service<Request<Body>> for Recorded {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let line = format!("{} {}", request.method(), request.uri());
        if let Some(asked) = asked(request.method(), request.uri()) {
            self.record.asked.lock().unwrap().insert(asked);
        }
        let (client, record) = (self.inner.clone(), Arc::clone(&self.record));
        Box::pin(async move {
            let answer = client.send(request).await;
            if let Ok(response) = &answer
                && [401, 403].contains(&response.status().as_u16())
            {
                record.refused.lock().unwrap().push(line);
            }
            answer
        })
    }
}

/// Reads a request as `k8s.io/apiserver/pkg/endpoints/request` does. Nothing for what is no resource.
fn asked(method: &Method, uri: &http::Uri) -> Option<Asked> {
    let mut parts = uri.path().trim_start_matches('/').split('/');
    let group = match parts.next()? {
        "api" => String::new(),
        "apis" => parts.next()?.to_owned(),
        _ => return None,
    };
    let _version = parts.next()?;
    let mut rest: Vec<&str> = parts.collect();
    let mut namespace = None;
    if rest.len() > 2 && rest[0] == "namespaces" {
        namespace = Some(rest[1].to_owned());
        rest.drain(..2);
    }
    let (kind, named) = (*rest.first()?, rest.get(1).map(|&n| n.to_owned()));
    let resource = rest
        .get(2)
        .map_or_else(|| kind.to_owned(), |sub| format!("{kind}/{sub}"));
    let query = uri.query().unwrap_or_default();
    let verb = match *method {
        Method::GET if named.is_some() => "get",
        Method::GET if query.contains("watch=") => "watch",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => return None,
    };
    let selected = query
        .split('&')
        .find_map(|q| q.strip_prefix("fieldSelector=metadata.name%3D"));
    Some(Asked {
        verb,
        group,
        resource,
        namespace,
        name: named.or_else(|| selected.map(str::to_owned)),
    })
}
