//! A proxy before an API server: it is reached without certificates, counts what is asked, and may hold a request up, answer it itself, or let it
//! get lost.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, header};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use kube::{Client, client::Body};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A request that has come.
#[derive(Debug, Clone)]
#[allow(dead_code, reason = "not everybody who has a proxy looks at everything")]
pub(crate) struct Asked {
    /// How many came before it.
    pub(crate) number: usize,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: Bytes,
}

/// What becomes of a request.
#[allow(dead_code, reason = "not everybody who has a proxy does everything with it")]
pub(crate) enum Fate {
    /// It is served.
    Served,
    /// It does not arrive, and this is the answer: a code and a JSON text.
    Answered(u16, String),
    /// It does not arrive, and there is no answer.
    Swallowed,
    /// It arrives, but its answer does not: this is called in its place.
    Lost(Box<dyn FnOnce() + Send>),
}

type Rule = dyn Fn(Asked) -> BoxFuture<'static, Fate> + Send + Sync;

/// A proxy. It ends with this value.
pub(crate) struct Proxy {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Begins to listen on loopback; `rule` says what becomes of each request, and when.
    pub(crate) async fn start<F>(client: Client, rule: impl Fn(Asked) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Fate> + Send + 'static,
    {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let door = Door {
            client,
            requests: Arc::clone(&requests),
            rule: Arc::new(move |asked| Box::pin(rule(asked)) as BoxFuture<'static, Fate>),
        };
        let task = tokio::spawn(async move {
            loop {
                if let Ok((socket, _)) = listener.accept().await {
                    tokio::spawn(door.clone().speak(socket));
                }
            }
        });
        Self {
            address,
            requests,
            task,
        }
    }

    /// How many requests have come.
    #[allow(dead_code, reason = "not everybody counts")]
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// A kubeconfig with one context that leads here.
    pub(crate) fn kubeconfig(&self, context: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {context}\ncontexts:\n- name: {context}\n  context: {{cluster: {context}, user: {context}}}\n\
             clusters:\n- name: {context}\n  cluster: {{server: 'http://{}'}}\nusers:\n- name: {context}\n  user: {{}}\n",
            self.address
        )
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Door {
    client: Client,
    requests: Arc<AtomicUsize>,
    rule: Arc<Rule>,
}

impl Door {
    async fn speak(self, socket: TcpStream) {
        socket.set_nodelay(true).ok();
        let service = service_fn(move |request| self.clone().pass(request));
        let builder = auto::Builder::new(TokioExecutor::new());
        // Whoever hangs up is gone.
        builder.serve_connection(TokioIo::new(socket), service).await.ok();
    }

    async fn pass(self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let (mut parts, body) = request.into_parts();
        let body = body
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default();
        let fate = (self.rule)(Asked {
            number: self.requests.fetch_add(1, Ordering::SeqCst),
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            body: body.clone(),
        })
        .await;
        for name in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH] {
            parts.headers.remove(name);
        }
        parts.version = http::Version::default();
        parts.extensions.clear();
        let request = Request::from_parts(parts, Body::from(body.to_vec()));
        Ok(match fate {
            Fate::Served => self.forward(request).await,
            Fate::Answered(code, text) => answer(code, text),
            Fate::Swallowed => std::future::pending().await,
            Fate::Lost(call) => {
                self.forward(request).await;
                call();
                std::future::pending().await
            }
        })
    }

    async fn forward(&self, request: Request<Body>) -> Response<Body> {
        match self.client.send(request).await {
            Ok(mut response) => {
                for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
                    response.headers_mut().remove(name);
                }
                *response.version_mut() = http::Version::default();
                response
            }
            Err(error) => answer(502, format!("\"{error}\"")),
        }
    }
}

fn answer(code: u16, text: String) -> Response<Body> {
    Response::builder()
        .status(code)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(text.into_bytes()))
        .unwrap()
}
