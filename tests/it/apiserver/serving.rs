//! The embedded server behind its TLS socket: who is let in, both versions of HTTP, and how it ends.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use kube::api::{PostParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use machinectl::apiserver::auth::{Tokens, UserInfo};
use machinectl::apiserver::tls::TlsMaterial;
use machinectl::apiserver::{Options, Server};
use machinectl::time::{Clock, ManualClock, SignedDuration, SystemClock};
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::client::TlsStream;

use super::{code, configmap};

pub(super) struct Served {
    pub(super) address: std::net::SocketAddr,
    pub(super) tls: TlsMaterial,
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<std::io::Result<()>>,
    pub(super) server: Server,
}

async fn serve(dir: &Path) -> Served {
    serve_with(dir, Options::default()).await
}

pub(super) async fn serve_with(dir: &Path, options: Options) -> Served {
    serve_at(dir, options, Arc::new(SystemClock)).await
}

async fn serve_at(dir: &Path, options: Options, clock: Arc<dyn Clock>) -> Served {
    rustls::crypto::ring::default_provider().install_default().ok();
    let server = Server::open_with(&dir.join("state"), clock, options)
        .await
        .unwrap();
    let keys = dir.join("state").join(machinectl::apiserver::KEYS);
    let tls = TlsMaterial::ensure(&keys, &[], SystemClock.now()).unwrap();
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
    pub(super) async fn client(&self, user: Value) -> Client {
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
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .unwrap();
        // Each answer is told as it comes.
        config.default_retry = false;
        Client::try_from(config).unwrap()
    }
}

impl Served {
    /// A connection without anything on it yet.
    pub(super) async fn connect(&self, protocol: &[u8]) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        let pem = self.tls.ca_cert.as_bytes();
        roots
            .add(rustls::pki_types::CertificateDer::from_pem_slice(pem).unwrap())
            .unwrap();
        let mut config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let socket = TcpStream::connect(self.address).await.unwrap();
        connector
            .connect("localhost".try_into().unwrap(), socket)
            .await
            .unwrap()
    }

    /// Stops serving, and closes the state.
    pub(super) async fn end(self) {
        self.stop.send(()).unwrap();
        self.ended.await.unwrap().unwrap();
        self.server.stop().await;
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
    // Nor does a token that is no text.
    let request = http::Request::get("/healthz").header("Authorization", &b"Bearer t\xf6ken"[..]);
    let answer = nobody.send(request.body(kube::client::Body::empty()).unwrap());
    assert_eq!(answer.await.unwrap().status(), 401);
    for closed in ["/", "/api", "/apis", "/openapi/v3", "/api/v1/namespaces"] {
        let request = http::Request::get(closed).body(Vec::new()).unwrap();
        assert_eq!(code(nobody.request::<Value>(request).await), 401, "{closed}");
    }
}

/// Who the server takes a client for.
async fn whoami(client: &Client) -> Result<Value, kube::Error> {
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let answer: Value = post(client, "/apis/authentication.k8s.io/v1/selfsubjectreviews", &body).await?;
    Ok(answer["status"]["userInfo"].clone())
}

async fn post(client: &Client, path: &str, body: &Value) -> Result<Value, kube::Error> {
    let request = http::Request::post(path)
        .header("Content-Type", "application/json")
        .body(serde_json::to_vec(body).unwrap())
        .unwrap();
    client.request(request).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_ends_though_its_connection_lasts() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let served = serve_at(
        dir.path(),
        Options::default(),
        Arc::clone(&clock) as Arc<dyn Clock>,
    )
    .await;
    let admin = served.client(json!({"certificate": true})).await;
    let user = whoami(&admin).await.unwrap();
    let id = &user["extra"]["authentication.kubernetes.io/credential-id"][0];
    assert!(id.as_str().unwrap().starts_with("X509SHA256="), "{user}");
    clock.advance(SignedDuration::from_hours(24 * 366));
    assert_eq!(code(whoami(&admin).await), 401);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_accounts_are_let_in_with_their_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path()).await;
    let admin = served.client(json!({"certificate": true})).await;
    let ask = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let token = |answer: &Value| answer["status"]["token"].as_str().unwrap().to_owned();
    let own = token(&post(&admin, ask, &json!({})).await.unwrap());
    let robot = served.client(json!({"token": own})).await;
    let user = whoami(&robot).await.unwrap();
    assert_eq!(user["username"], "system:serviceaccount:default:default");
    // One for somebody else opens nothing here.
    let other = json!({"spec": {"audiences": ["vault"]}});
    let other = token(&post(&admin, ask, &other).await.unwrap());
    let stranger = served.client(json!({"token": other})).await;
    assert_eq!(code(whoami(&stranger).await), 401);
    // Tokens outlive the process: the key lies beside the state, for its owner alone.
    let key = dir
        .path()
        .join("state")
        .join(machinectl::apiserver::KEYS)
        .join("sa.key");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    served.stop.send(()).unwrap();
    served.ended.await.unwrap().unwrap();
    served.server.stop().await;
    let served = serve(dir.path()).await;
    let robot = served.client(json!({"token": own})).await;
    assert_eq!(whoami(&robot).await.unwrap()["uid"], user["uid"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_joins_with_a_token_and_goes_on_with_its_certificate() {
    use base64::Engine as _;
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path()).await;
    let admin = served.client(json!({"certificate": true})).await;
    let secret = json!({
        "metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token",
        "stringData": {"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true"},
    });
    post(&admin, "/api/v1/namespaces/kube-system/secrets", &secret)
        .await
        .unwrap();
    for role in [
        "system:node-bootstrapper",
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
    ] {
        let binding = json!({
            "metadata": {"generateName": "join-"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:bootstrappers"}],
        });
        let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
        post(&admin, path, &binding).await.unwrap();
    }
    let joining = served.client(json!({"token": "abcdef.0123456789abcdef"})).await;
    assert_eq!(
        whoami(&joining).await.unwrap()["username"],
        "system:bootstrap:abcdef"
    );
    let key = rcgen::KeyPair::generate().unwrap();
    let request = super::certificates::pkcs10("system:node:n", "system:nodes", &[], &key);
    let wanted = json!({"metadata": {"name": "csr"}, "spec": {
        "signerName": "kubernetes.io/kube-apiserver-client-kubelet", "request": request,
        "usages": ["digital signature", "key encipherment", "client auth"],
    }});
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    post(&joining, requests, &wanted).await.unwrap();
    let found = || async {
        let request = http::Request::get(format!("{requests}/csr"))
            .body(Vec::new())
            .unwrap();
        let found: Value = joining.request(request).await.unwrap();
        found["status"]["certificate"].as_str().map(str::to_owned)
    };
    super::eventually("a certificate", || async { found().await.is_some() }).await;
    let encode = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    let own = json!({"client-certificate-data": found().await.unwrap(), "client-key-data": encode(key.serialize_pem())});
    let kubelet = served.client(own).await;
    let user = whoami(&kubelet).await.unwrap();
    assert_eq!(user["username"], "system:node:n");
    assert_eq!(user["groups"], json!(["system:nodes", "system:authenticated"]));
    // It makes its own Node, and no other.
    let node = |name: &str| json!({"metadata": {"name": name}});
    post(&kubelet, "/api/v1/nodes", &node("n")).await.unwrap();
    assert_eq!(code(post(&kubelet, "/api/v1/nodes", &node("m")).await), 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_versions_of_http_are_spoken() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path()).await;
    for (offered, expected) in [(&b"h2"[..], "h2"), (b"http/1.1", "http/1.1")] {
        let stream = served.connect(offered).await;
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
        api.watch(
            &WatchParams::default().timeout(200).fields("metadata.name=a"),
            "0",
        )
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
    assert!(api.get_opt("a").await.unwrap().is_some());
}
