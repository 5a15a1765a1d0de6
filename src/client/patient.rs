//! A client that asks again when an API server is busy, stumbles or does not answer, and counts what it asks.
//!
//! Only for requests that may be sent twice: whoever uses it looks at what stands there before it judges an answer such as 409.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode, request::Parts};
use kube::{Client, client::Body, core::Status};
use tokio::time::{Instant, sleep, timeout};
use tower::Service;

/// How long to bear with an API server.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// An answer may take this long.
    pub answer: Duration,
    /// A request may take this long with all its tries.
    pub total: Duration,
    /// The first pause between two tries; each further one is twice as long, up to 32 times.
    pub pause: Duration,
}

impl Default for Patience {
    /// 15 s for an answer, 45 s for a request.
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(15),
            total: Duration::from_secs(45),
            pause: Duration::from_millis(100),
        }
    }
}

/// The longest pause between two tries, in first ones.
const LONGEST_PAUSE: u32 = 32;
/// So often is a webhook called that does not answer: it may be starting.
const WEBHOOK_TRIES: u32 = 3;

/// Counts requests, each try by itself.
pub(crate) type Count = Arc<AtomicU64>;

/// Returns a client that has patience, and counts what it sends.
pub(crate) fn patient(client: &Client, patience: Patience, count: Count) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = Patient {
        inner: client.clone(),
        patience,
        count,
    };
    Client::new(service, namespace)
}

struct Patient {
    inner: Client,
    patience: Patience,
    count: Count,
}

impl Service<Request<Body>> for Patient {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // The inner client waits for its turn when it is given a request.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (client, patience, count) = (self.inner.clone(), self.patience, Arc::clone(&self.count));
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await?;
            let answer = ask(&client, patience, &count, &parts, &body).await?;
            Ok(answer.map(Body::from))
        })
    }
}

/// Asks with patience, too, but without the queue that each [`Client`] has: for many requests at once.
#[derive(Clone)]
pub(crate) struct Direct {
    inner: Client,
    patience: Patience,
    count: Count,
}

impl Direct {
    pub(crate) fn new(client: &Client, patience: Patience, count: Count) -> Self {
        Self {
            inner: client.clone(),
            patience,
            count,
        }
    }

    /// Sends a request and returns the body of the answer.
    ///
    /// # Errors
    /// Fails as requests of a [`Client`] do.
    pub(crate) async fn ask(&self, request: Request<Vec<u8>>) -> Result<Bytes, kube::Error> {
        let (parts, body) = request.into_parts();
        let answer = ask(&self.inner, self.patience, &self.count, &parts, &body.into()).await?;
        let code = answer.status();
        if code.is_client_error() || code.is_server_error() {
            return Err(kube::Error::Api(refusal(&answer).boxed()));
        }
        Ok(answer.into_body())
    }
}

/// What an answer says that is an error; whoever stands between may not speak as an API server does.
fn refusal(answer: &Response<Bytes>) -> Status {
    serde_json::from_slice(answer.body()).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(answer.body());
        Status::failure(text.trim(), "Failed to parse error data").with_code(answer.status().as_u16())
    })
}

/// What one try came to.
enum Try {
    /// An answer.
    Answered(Response<Bytes>),
    /// None: it did not come, or broke off.
    Failed(kube::Error),
}

async fn ask(
    client: &Client,
    patience: Patience,
    count: &AtomicU64,
    parts: &Parts,
    body: &Bytes,
) -> Result<Response<Bytes>, kube::Error> {
    let end = Instant::now() + patience.total;
    let mut pause = patience.pause;
    let mut tries = 0;
    loop {
        count.fetch_add(1, Ordering::Relaxed);
        tries += 1;
        let outcome = match timeout(patience.answer, once(client, parts, body)).await {
            Ok(outcome) => outcome,
            Err(_) => Try::Failed(kube::Error::Service("no answer in time".into())),
        };
        let wait = match &outcome {
            Try::Answered(answer) => again(answer, tries).map(|asked| asked.max(pause)),
            Try::Failed(_) => Some(pause),
        };
        match (wait, outcome) {
            (Some(wait), _) if Instant::now() + wait < end => sleep(wait).await,
            (_, Try::Answered(answer)) => return Ok(answer),
            (_, Try::Failed(error)) => return Err(error),
        }
        pause = (pause * 2).min(patience.pause * LONGEST_PAUSE);
    }
}

async fn once(client: &Client, parts: &Parts, body: &Bytes) -> Try {
    let request = Request::from_parts(parts.clone(), Body::from(body.clone()));
    let answer = match client.send(request).await {
        Ok(answer) => answer,
        Err(error) => return Try::Failed(error),
    };
    let (head, body) = answer.into_parts();
    match body.collect_bytes().await {
        Ok(body) => Try::Answered(Response::from_parts(head, body)),
        Err(error) => Try::Failed(error),
    }
}

/// Whether an answer is one to ask again after, and how long the API server wants to be left alone.
fn again(answer: &Response<Bytes>, tries: u32) -> Option<Duration> {
    let busy = answer.status() == StatusCode::TOO_MANY_REQUESTS;
    if !busy && !answer.status().is_server_error() {
        return None;
    }
    let text = String::from_utf8_lossy(answer.body());
    // A refusal stays one, whatever code the webhook gave it.
    if text.contains("denied the request")
        || (text.contains("failed calling webhook") && tries >= WEBHOOK_TRIES)
    {
        return None;
    }
    let asked = answer.headers().get(http::header::RETRY_AFTER);
    let seconds = asked.and_then(|v| v.to_str().ok()?.parse().ok());
    Some(Duration::from_secs(seconds.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// A client whose server answers with these codes, one after the other; 0 never answers.
    fn server(codes: &'static [u16], text: &'static str) -> Client {
        let asked = Arc::new(AtomicU64::new(0));
        let service = tower::service_fn(move |_: Request<Body>| {
            let next = asked.fetch_add(1, Ordering::Relaxed);
            let code = codes[usize::try_from(next).unwrap().min(codes.len() - 1)];
            async move {
                if code == 0 {
                    std::future::pending::<()>().await;
                }
                let answer = Response::builder().status(code);
                Ok::<_, Infallible>(answer.body(Body::from(text.as_bytes().to_vec())).unwrap())
            }
        });
        Client::new(service, "default")
    }

    async fn outcome(codes: &'static [u16], text: &'static str) -> (Option<u16>, u64) {
        let count = Count::default();
        let patience = Patience {
            answer: Duration::from_millis(150),
            total: Duration::from_millis(450),
            pause: Duration::from_millis(1),
        };
        let client = patient(&server(codes, text), patience, Arc::clone(&count));
        let request = Request::post("/x").body(Body::from(b"{}".to_vec())).unwrap();
        let answer = client.send(request).await;
        (
            answer.ok().map(|a| a.status().as_u16()),
            count.load(Ordering::Relaxed),
        )
    }

    #[tokio::test]
    async fn without_a_queue_answers_and_refusals_are_the_same() {
        let asked = async |text: &'static str, code: &'static [u16]| {
            let direct = Direct::new(&server(code, text), Patience::default(), Count::default());
            let request = || Request::get("/x").body(Vec::new()).unwrap();
            let answer = direct
                .ask(request())
                .await
                .map(|body| String::from_utf8_lossy(&body).into_owned());
            let of_client = server(code, text).request_text(request()).await;
            assert_eq!(format!("{answer:?}"), format!("{of_client:?}"));
            answer.is_ok()
        };
        assert!(asked("{}", &[200]).await);
        let status = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no","reason":"NotFound","code":404}"#;
        assert!(!asked(status, &[404]).await);
        assert!(!asked(" gone astray ", &[404]).await);
    }

    #[tokio::test]
    async fn it_asks_again_until_there_is_an_answer_that_counts() {
        assert_eq!(outcome(&[429, 500, 503, 201], "").await, (Some(201), 4));
        assert_eq!(outcome(&[0, 200], "").await, (Some(200), 2));
        assert_eq!(outcome(&[404, 500], "").await, (Some(404), 1));
        assert_eq!(outcome(&[409, 500], "").await, (Some(409), 1));
        assert_eq!(outcome(&[422, 500], "").await, (Some(422), 1));
    }

    #[tokio::test]
    async fn patience_has_an_end() {
        let (code, tries) = outcome(&[500], "").await;
        assert!(code == Some(500) && (10..30).contains(&tries), "{tries}");
        assert_eq!(outcome(&[0], "").await, (None, 3));
    }

    #[tokio::test]
    async fn a_webhook_that_denies_is_not_asked_twice() {
        let denied = r#"admission webhook "w.example" denied the request: no"#;
        assert_eq!(outcome(&[500, 200], denied).await, (Some(500), 1));
        let (code, tries) = outcome(&[500], r#"failed calling webhook "w.example""#).await;
        assert_eq!((code, tries), (Some(500), 3));
    }
}
