//! A client whose requests are counted, and of which one may go wrong.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use http::{Request, Response};
use kube::{Client, client::Body};
use tokio::sync::Notify;

/// What happens to a request.
#[derive(Debug, Clone)]
pub(super) enum Fate {
    /// It is served.
    Served,
    /// The process that sent it is killed before it arrives.
    KilledBefore,
    /// It arrives; the process that sent it is killed before the answer does.
    KilledAfter,
    /// It is answered with this, and does not arrive.
    Answered(u16, String),
    /// It arrives, and the answer gets lost.
    Lost,
    /// The connection breaks before it arrives.
    Broken,
    /// It arrives when the gate is opened.
    Held(Gate),
    /// It arrives so much later, even if nobody waits for the answer any more.
    Late(Duration),
}

/// Holds a request up while something else happens.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate {
    reached: Arc<Notify>,
    open: Arc<Notify>,
}

impl Gate {
    /// Waits until a request stands before it.
    pub(super) async fn reached(&self) {
        self.reached.notified().await;
    }

    /// Lets the request pass.
    pub(super) fn open(&self) {
        self.open.notify_one();
    }

    /// Stands before it.
    pub(super) async fn pass(&self) {
        self.reached.notify_one();
        self.open.notified().await;
    }
}

/// A request, as far as fate cares.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) number: usize,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
}

/// How many requests were sent through any of some clients, and the sign that the process is dead.
#[derive(Clone, Default)]
pub(super) struct Life {
    pub(super) requests: Arc<AtomicUsize>,
    pub(super) dead: Arc<Notify>,
}

/// A client of the same server, each of whose requests meets the fate that `fate` says.
pub(super) fn unreliable(
    client: &Client,
    life: &Life,
    fate: impl Fn(&Asked) -> Fate + Send + Sync + 'static,
) -> Client {
    let (client, life, fate) = (client.clone(), life.clone(), Arc::new(fate));
    let service = tower::service_fn(move |request: Request<Body>| {
        let asked = Asked {
            number: life.requests.fetch_add(1, Ordering::SeqCst),
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
        };
        let fate = fate(&asked);
        serve(client.clone(), life.clone(), request, fate)
    });
    Client::new(service, "default")
}

fn serve(
    client: Client,
    life: Life,
    request: Request<Body>,
    fate: Fate,
) -> BoxFuture<'static, Result<Response<Body>, kube::Error>> {
    Box::pin(async move {
        match fate {
            Fate::Served => client.send(request).await,
            Fate::KilledBefore => death(&life).await,
            Fate::KilledAfter => {
                client.send(request).await?;
                death(&life).await
            }
            Fate::Answered(code, message) => {
                let status = serde_json::json!({
                    "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message, "reason": "",
                });
                let answer = Response::builder()
                    .status(code)
                    .header("Content-Type", "application/json");
                Ok(answer.body(Body::from(status.to_string().into_bytes())).unwrap())
            }
            Fate::Lost => {
                client.send(request).await?;
                std::future::pending().await
            }
            Fate::Held(gate) => {
                gate.pass().await;
                client.send(request).await
            }
            Fate::Late(delay) => {
                let sent = tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    client.send(request).await
                });
                sent.await.unwrap()
            }
            Fate::Broken => Err(kube::Error::Service("connection reset".into())),
        }
    })
}

async fn death<T>(life: &Life) -> T {
    life.dead.notify_one();
    std::future::pending().await
}
