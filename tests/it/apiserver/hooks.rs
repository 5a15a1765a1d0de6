//! Webhooks for the cases: a server with a certificate of its own that answers reviews as a case wants.

use std::sync::{Arc, Mutex};

use base64::Engine;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What a webhook says to a review, or `Err` with a code and a text instead of a review.
type Answer = dyn Fn(&Value) -> Result<Value, (u16, String)> + Send + Sync;

/// A webhook that is there as long as this.
pub(crate) struct Hook {
    pub(crate) port: u16,
    /// Whom a client must trust, as `caBundle` has it.
    pub(crate) bundle: String,
    asked: Arc<Mutex<Vec<Value>>>,
    serving: JoinHandle<()>,
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Hook {
    /// Serves a webhook at `https://127.0.0.1`, with a certificate for that and for `names`.
    pub(crate) async fn serve(
        names: &[&str],
        answer: impl Fn(&Value) -> Result<Value, (u16, String)> + Send + Sync + 'static,
    ) -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let names: Vec<String> = ["127.0.0.1"].iter().chain(names).map(|&n| n.to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen): (Arc<Answer>, _) = (Arc::new(answer), Arc::clone(&asked));
        let serving = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, answer, seen) = (acceptor.clone(), Arc::clone(&answer), Arc::clone(&seen));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(socket).await else {
                        return;
                    };
                    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                        reply(request, Arc::clone(&answer), Arc::clone(&seen))
                    });
                    http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await
                        .ok();
                });
            }
        });
        Self {
            port,
            bundle: base64::engine::general_purpose::STANDARD.encode(made.cert.pem()),
            asked,
            serving,
        }
    }

    /// The `clientConfig` that leads here.
    pub(crate) fn config(&self) -> Value {
        json!({"url": format!("https://127.0.0.1:{}/hook", self.port), "caBundle": self.bundle})
    }

    /// The requests of all reviews so far.
    pub(crate) fn asked(&self) -> Vec<Value> {
        self.asked.lock().unwrap().clone()
    }
}

async fn reply(
    request: hyper::Request<hyper::body::Incoming>,
    answer: Arc<Answer>,
    seen: Arc<Mutex<Vec<Value>>>,
) -> Result<hyper::Response<Full<Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    seen.lock().unwrap().push(review["request"].clone());
    let (code, kind, body) = match answer(&review) {
        Ok(answer) => (200, "application/json", answer.to_string()),
        Err((code, text)) => (code, "text/plain", text),
    };
    let response = hyper::Response::builder()
        .status(code)
        .header("content-type", kind);
    Ok(response.body(Full::new(body.into())).unwrap())
}

/// A review with a response to the question's uid.
pub(crate) fn answered(review: &Value, mut response: Value) -> Value {
    response["uid"] = review["request"]["uid"].clone();
    json!({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response})
}

/// A port at which nobody listens.
pub(crate) async fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}
