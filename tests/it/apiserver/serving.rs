//! The embedded server behind its TLS socket: who is let in, both versions of HTTP, and how it ends.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use kube::api::{ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use machinectl::apiserver::Server;
use machinectl::apiserver::auth::{Tokens, UserInfo};
use machinectl::apiserver::tls::TlsMaterial;
use machinectl::time::{Clock, SystemClock};
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{code, configmap};

struct Served {
    address: std::net::SocketAddr,
    tls: TlsMaterial,
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<std::io::Result<()>>,
    server: Server,
}

async fn serve(dir: &Path) -> Served {
    rustls::crypto::ring::default_provider().install_default().ok();
    let tls = TlsMaterial::ensure(&dir.join("pki"), &[], SystemClock.now()).unwrap();
    let server = Server::open(&dir.join("state"), Arc::new(SystemClock))
        .await
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let mut tokens = Tokens::default();
    tokens.insert("a-token", UserInfo::new("robot", "", Vec::new()));
    let (config, serving) = (tls.server_config().unwrap(), server.clone());
    let ended = tokio::spawn(async move {
        serving
            .serve(listener, config, tokens, async { drop(stopped.await) })
            .await
    });
    Served {
        address,
        tls,
        stop,
        ended,
        server,
    }
}

impl Served {
    async fn client(&self, user: Value) -> Client {
        use base64::Engine;
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let mut user = user;
        if user["certificate"] == true {
            user = json!({"client-certificate-data": encode(&self.tls.admin_cert), "client-key-data": encode(self.tls.admin_key())});
        }
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("https://{}", self.address), "certificate-authority-data": encode(&self.tls.ca_cert)}}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        });
        let kubeconfig = kube::config::Kubeconfig::from_yaml(&kubeconfig.to_string()).unwrap();
        let options = kube::config::KubeConfigOptions::default();
        Client::try_from(
            kube::Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .unwrap(),
        )
        .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_known_clients_are_let_in() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path()).await;
    let whoami = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let ask = |client: Client| {
        let body = serde_json::to_vec(&whoami).unwrap();
        let request = http::Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews")
            .header("Content-Type", "application/json")
            .body(body)
            .unwrap();
        async move { client.request::<Value>(request).await }
    };
    let admin = ask(served.client(json!({"certificate": true})).await)
        .await
        .unwrap();
    assert_eq!(admin["status"]["userInfo"]["username"], "kubernetes-admin");
    let robot = ask(served.client(json!({"token": "a-token"})).await)
        .await
        .unwrap();
    assert_eq!(robot["status"]["userInfo"]["username"], "robot");
    assert_eq!(
        code(ask(served.client(json!({"token": "another"})).await).await),
        401
    );
    // A wrong token opens nothing, not even what is open to everybody.
    let wrong = served.client(json!({"token": "another"})).await;
    for path in ["/healthz", "/version", "/api"] {
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        assert_eq!(code(wrong.request::<Value>(request).await), 401, "{path}");
    }
    // Who is known has the rights that everybody has.
    let robot = served.client(json!({"token": "a-token"})).await;
    for (path, allowed) in [
        ("/api", true),
        ("/api/v1/namespaces", false),
        ("/nonsense", false),
    ] {
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        let outcome = robot.request::<Value>(request).await;
        if allowed {
            outcome.unwrap();
        } else {
            assert_eq!(code(outcome), 403, "{path}");
        }
    }
    let nobody = served.client(json!({})).await;
    assert_eq!(code(ask(nobody.clone()).await), 401);
    for open in ["/healthz", "/readyz", "/livez", "/version"] {
        let request = http::Request::get(open).body(Vec::new()).unwrap();
        nobody.request_text(request).await.unwrap();
    }
    for closed in ["/", "/api", "/apis", "/openapi/v3", "/api/v1/namespaces"] {
        let request = http::Request::get(closed).body(Vec::new()).unwrap();
        assert_eq!(code(nobody.request::<Value>(request).await), 401, "{closed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_versions_of_http_are_spoken() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path()).await;
    for (offered, expected) in [(&b"h2"[..], "h2"), (b"http/1.1", "http/1.1")] {
        let mut roots = rustls::RootCertStore::empty();
        let pem = served.tls.ca_cert.as_bytes();
        roots
            .add(rustls::pki_types::CertificateDer::from_pem_slice(pem).unwrap())
            .unwrap();
        let mut config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![offered.to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let socket = tokio::net::TcpStream::connect(served.address).await.unwrap();
        let stream = connector
            .connect("localhost".try_into().unwrap(), socket)
            .await
            .unwrap();
        let agreed = stream
            .get_ref()
            .1
            .alpn_protocol()
            .map(|p| String::from_utf8_lossy(p).into_owned());
        assert_eq!(agreed.as_deref(), Some(expected));
        let io = hyper_util::rt::TokioIo::new(stream);
        let request = http::Request::get("https://localhost/version")
            .header("Host", "localhost")
            .body(String::new())
            .unwrap();
        let status = if expected == "h2" {
            let executor = hyper_util::rt::TokioExecutor::new();
            let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap().status()
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap().status()
        };
        assert_eq!(status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_ends_its_watches_and_frees_its_state() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path()).await;
    let client = served.client(json!({"certificate": true})).await;
    let api: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::namespaced(client, "default");
    let mut watch = Box::pin(
        api.watch(&WatchParams::default().timeout(200), "0")
            .await
            .unwrap(),
    );
    api.create(&PostParams::default(), &configmap("a", &[]))
        .await
        .unwrap();
    assert!(matches!(watch.next().await, Some(Ok(WatchEvent::Added(_)))));
    let began = Instant::now();
    served.stop.send(()).unwrap();
    served.ended.await.unwrap().unwrap();
    assert!(
        watch.next().await.is_none_or(|event| event.is_err()),
        "the watch ends"
    );
    // Not because it has run for its 200 seconds.
    assert!(
        began.elapsed() < Duration::from_secs(100),
        "{:?}",
        began.elapsed()
    );
    served.server.stop().await;
    let again = Server::open(&dir.path().join("state"), Arc::new(SystemClock))
        .await
        .unwrap();
    let api: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::namespaced(again.client(), "default");
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 1);
}
