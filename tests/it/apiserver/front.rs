//! What happens to every request, whatever it is about: limits, compression, health, metrics, the audit log.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, DeleteParams, ListParams, PostParams, WatchParams};
use kube::{Client, client::Body};
use machinectl::apiserver::{AuditLog, Limits, Options};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::serving::{Served, serve_with};
use super::{Place, code, configmap, eventually};

/// An answer as it came over the wire.
struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn unpacked(&self) -> Vec<u8> {
        assert_eq!(self.header("content-encoding"), "gzip");
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&*self.body)
            .read_to_end(&mut plain)
            .unwrap();
        plain
    }
}

async fn send(client: &Client, request: http::request::Builder, body: Vec<u8>) -> Answer {
    let response = client
        .send(request.body(Body::from(body)).unwrap())
        .await
        .unwrap();
    let (parts, body) = response.into_parts();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes().to_vec(),
    }
}

async fn get(client: &Client, uri: &str) -> Answer {
    send(client, Request::get(uri), Vec::new()).await
}

async fn get_short(client: &Client, uri: &str) -> Answer {
    let request = Request::get(uri).header("Accept-Encoding", "deflate, gzip");
    send(client, request, Vec::new()).await
}

/// A client that comes through a socket, as those of a real server do.
async fn outside(dir: &std::path::Path) -> (Served, Client) {
    let served = serve_with(dir, Options::default()).await;
    let client = served.client(json!({"certificate": true})).await;
    (served, client)
}

/// Makes a test of each case for an embedded server behind its socket, and for a real one; those after `full:` need a newer one than the
/// rig's.
macro_rules! over_sockets {
    (@real: $($name:ident),*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(&crate::apiserver::Place::kubernetes().await.client).await;
            }
        )*
    };
    ($($name:ident),*; full: $($full:ident),*) => {
        mod embedded {
            over_sockets!(@embedded: $($name,)* $($full),*);
        }
        mod kubernetes {
            over_sockets!(@real: $($name),*);
        }
        mod full_cluster {
            over_sockets!(@real: $($full),*);
        }
    };
    (@embedded: $($name:ident),*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let dir = tempfile::tempdir().unwrap();
                let (served, client) = super::outside(dir.path()).await;
                super::$name(&client).await;
                served.end().await;
            }
        )*
    };
}

over_sockets!(
    health_is_told_check_by_check,
    large_answers_are_compressed_for_who_asks,
    descriptions_are_compressed_for_who_asks;
    full: requests_are_counted_by_what_they_are, requests_have_a_number
);

async fn requests_have_a_number(client: &Client) {
    let given = Request::get("/version").header("Audit-ID", "my-own-id");
    assert_eq!(
        send(client, given, Vec::new()).await.header("audit-id"),
        "my-own-id"
    );
    let (one, other) = (get(client, "/version").await, get(client, "/nonsense").await);
    assert_eq!(
        (one.header("audit-id").len(), other.header("audit-id").len()),
        (36, 36)
    );
    assert_ne!(one.header("audit-id"), other.header("audit-id"));
}

async fn health_is_told_check_by_check(client: &Client) {
    for path in [
        "/healthz",
        "/livez",
        "/readyz",
        "/healthz/ping",
        "/livez/etcd",
        "/readyz/log",
    ] {
        let answer = get(client, path).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "ok"), "{path}");
        assert_eq!(
            answer.header("content-type"),
            "text/plain; charset=utf-8",
            "{path}"
        );
    }
    for root in ["healthz", "livez", "readyz"] {
        let answer = get(client, &format!("/{root}?verbose")).await;
        let text = answer.text();
        assert!(text.starts_with("[+]ping ok\n[+]log ok\n"), "{text}");
        assert!(text.contains("[+]etcd ok\n"), "{text}");
        assert!(
            text.contains("[+]poststarthook/rbac/bootstrap-roles ok\n"),
            "{text}"
        );
        assert!(text.ends_with(&format!("\n{root} check passed\n")), "{text}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    let answer = get(
        client,
        "/livez?verbose=1&exclude=etcd&exclude=nonsense&exclude=etcd",
    )
    .await;
    let text = answer.text();
    assert!(text.contains("[+]etcd excluded: ok\n"), "{text}");
    let warning =
        "warn: some health checks cannot be excluded: no matches for \"nonsense\"\nlivez check passed\n";
    assert!(text.ends_with(warning), "{text}");
    assert_eq!(get(client, "/livez/nonsense").await.status, 404);
}

async fn large_answers_are_compressed_for_who_asks(client: &Client) {
    let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
    // Text that is no shorter than its letters allow.
    let data = |seed: u64| -> String {
        let mut state = seed;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(b'a' + u8::try_from(state >> 60).unwrap())
        })
        .take(50_000)
        .collect()
    };
    let names = ["short-1", "short-2", "short-3"];
    for (name, seed) in names.into_iter().zip(1..) {
        let mut object = configmap(name, &[("text", &data(seed))]);
        object.metadata.labels = Some([("case".to_owned(), "short".to_owned())].into());
        api.create(&PostParams::default(), &object).await.unwrap();
    }
    let list = "/api/v1/namespaces/default/configmaps?labelSelector=case%3Dshort";
    let plain = get(client, list).await;
    assert_eq!(plain.header("content-encoding"), "");
    let short = get_short(client, list).await;
    assert_eq!(short.header("vary"), "Accept-Encoding");
    assert_eq!(short.header("content-type"), plain.header("content-type"));
    assert!(
        short.body.len() < plain.body.len() * 3 / 4,
        "{}",
        short.body.len()
    );
    let (plain, short): (Value, Value) = (
        serde_json::from_slice(&plain.body).unwrap(),
        serde_json::from_slice(&short.unpacked()).unwrap(),
    );
    assert_eq!(plain["items"], short["items"]);
    assert_eq!(plain["items"].as_array().unwrap().len(), names.len());
    // What is small, and what has no end, is as it is.
    let one = get_short(client, "/api/v1/namespaces/default/configmaps/short-1").await;
    assert_eq!((one.header("content-encoding"), one.header("vary")), ("", ""));
    let watch = get_short(client, &format!("{list}&watch=1&timeoutSeconds=1")).await;
    assert_eq!((watch.header("content-encoding"), watch.header("vary")), ("", ""));
    assert!(watch.text().lines().count() >= names.len());
    for name in names {
        api.delete(name, &DeleteParams::default()).await.unwrap();
    }
}

async fn descriptions_are_compressed_for_who_asks(client: &Client) {
    let plain = get(client, "/openapi/v2").await;
    assert_eq!(plain.header("content-encoding"), "");
    let short = get_short(client, "/openapi/v2").await;
    let vary = short.headers.get_all("vary");
    assert!(vary.iter().any(|v| v == "Accept-Encoding"), "{:?}", short.headers);
    let plain: Value = serde_json::from_slice(&plain.body).unwrap();
    let unpacked: Value = serde_json::from_slice(&short.unpacked()).unwrap();
    assert_eq!(plain["swagger"], unpacked["swagger"]);
}

/// The value of the first line of a family that has all of these labels.
fn sample(page: &str, family: &str, labels: &[&str]) -> Option<f64> {
    let line = page.lines().find(|line| {
        line.split_once('{').is_some_and(|(name, _)| name == family)
            && labels.iter().all(|label| line.contains(label))
    })?;
    line.rsplit_once(' ')?.1.parse().ok()
}

async fn requests_are_counted_by_what_they_are(client: &Client) {
    let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let labels = [
        "resource=\"configmaps\"",
        "verb=\"GET\"",
        "code=\"404\"",
        "version=\"v1\"",
        "scope=\"resource\"",
        "group=\"\"",
        "subresource=\"\"",
        "component=\"apiserver\"",
        "dry_run=\"\"",
    ];
    let count = async || {
        let page = get(client, "/metrics").await;
        assert!(
            page.header("content-type")
                .starts_with("text/plain; version=0.0.4")
        );
        sample(page.text(), "apiserver_request_total", &labels).unwrap_or(0.0)
    };
    let before = count().await;
    for _ in 0..3 {
        assert!(api.get_opt("nobody-has-made-this").await.unwrap().is_none());
    }
    let after = count().await;
    assert!((after - before - 3.0).abs() < 0.5, "{before} {after}");

    let watch = api
        .watch(&WatchParams::default().timeout(290), "0")
        .await
        .unwrap();
    let running = ["resource=\"configmaps\"", "verb=\"WATCH\"", "scope=\"namespace\""];
    let page = get(client, "/metrics").await;
    let open = sample(page.text(), "apiserver_longrunning_requests", &running);
    assert!(open.is_some_and(|n| n >= 1.0), "{open:?}");
    drop(watch);
    let has = |family: &str, labels: &[&str]| {
        assert!(
            sample(page.text(), family, labels).is_some(),
            "{family} {labels:?}"
        );
    };
    has("apiserver_current_inflight_requests", &["mutating"]);
    has("apiserver_current_inflight_requests", &["readOnly"]);
    has("apiserver_storage_objects", &["resource=\"namespaces\""]);
    has(
        "apiserver_request_duration_seconds_bucket",
        &["le=\"0.005\"", "verb=\"GET\""],
    );
    has(
        "apiserver_request_duration_seconds_count",
        &["resource=\"configmaps\""],
    );
    for family in [
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
        "process_open_fds ",
    ] {
        assert!(
            page.text().lines().any(|line| line.starts_with(family)),
            "{family}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_inside_the_process_gets_nothing_compressed() {
    let place = Place::embedded().await;
    let answer = get_short(&place.client, "/openapi/v2").await;
    assert_eq!(answer.header("content-encoding"), "");
    serde_json::from_slice::<Value>(&answer.body).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_need_the_right_to_their_path_and_show_no_unknown_names() {
    let dir = tempfile::tempdir().unwrap();
    let (served, admin) = outside(dir.path()).await;
    let robot = served.client(json!({"token": "a-token"})).await;
    assert_eq!(get(&robot, "/metrics").await.status, 403);
    assert_eq!(get(&robot, "/healthz/etcd").await.status, 403);
    assert_eq!(get(&served.client(json!({})).await, "/metrics").await.status, 401);
    for path in [
        "/api/v1/namespaces/default/unheard-of",
        "/apis/unheard-of/v1/things",
        "/unheard-of",
        "/api/v1/namespaces/default/configmaps/a/unheard-of",
    ] {
        for client in [&robot, &admin] {
            assert_ne!(get(client, path).await.status, 200);
        }
    }
    assert_eq!(
        get(&robot, "/api/v1/namespaces/default/secrets").await.status,
        403
    );
    let page = get(&admin, "/metrics").await;
    assert!(!page.text().contains("unheard-of"), "{}", page.text());
    let refused = ["resource=\"secrets\"", "code=\"403\"", "verb=\"LIST\""];
    assert_eq!(
        sample(page.text(), "apiserver_request_total", &refused),
        Some(1.0)
    );
    let size = sample(
        page.text(),
        "apiserver_storage_size_bytes",
        &["storage_cluster_id"],
    );
    assert!(size.is_some_and(|bytes| bytes > 0.0), "{size:?}");
    served.end().await;
}

/// Asks who asks.
const WHO: &str = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#;

/// A request whose body is still to come, on a connection of its own.
async fn half_asked(served: &Served) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
    let mut stream = served.connect(b"http/1.1").await;
    let head = format!(
        "POST /apis/authentication.k8s.io/v1/selfsubjectreviews HTTP/1.1\r\nHost: x\r\n\
        Authorization: Bearer a-token\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        WHO.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    stream
}

/// All that comes until the server ends the connection.
async fn rest(mut stream: tokio_rustls::client::TlsStream<tokio::net::TcpStream>) -> String {
    let mut all = Vec::new();
    // A server that hangs up in the middle of something is heard as far as it came.
    stream.read_to_end(&mut all).await.ok();
    String::from_utf8(all).unwrap()
}

fn limited(limits: Limits) -> Options {
    Options {
        limits,
        ..Options::default()
    }
}

async fn ask_who(client: &Client) -> Answer {
    let request = Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews")
        .header("Content-Type", "application/json");
    send(client, request, WHO.into()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_when_all_places_are_taken_is_told_to_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        mutating: 2,
        read_only: 1,
        ..Limits::default()
    };
    let served = serve_with(dir.path(), limited(limits)).await;
    let robot = served.client(json!({"token": "a-token"})).await;
    let admin = served.client(json!({"certificate": true})).await;
    let (mut first, _second) = (half_asked(&served).await, half_asked(&served).await);
    let taken = async || {
        let page = get(&admin, "/metrics").await;
        let labels = ["request_kind=\"mutating\""];
        sample(page.text(), "apiserver_current_inflight_requests", &labels) == Some(2.0)
    };
    eventually("both places are taken", taken).await;
    let answer = ask_who(&robot).await;
    assert_eq!(answer.status, 429);
    assert_eq!(answer.text(), "Too many requests, please try again later.\n");
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    // Others are not in the way: administrators, the client in the process, those that read, and watches.
    assert_eq!(ask_who(&admin).await.status, 201);
    assert_eq!(ask_who(&served.server.client()).await.status, 201);
    assert_eq!(get(&robot, "/api").await.status, 200);
    assert_eq!(get(&robot, "/healthz").await.status, 200);
    // A place is free again when a request has been answered.
    first.write_all(WHO.as_bytes()).await.unwrap();
    let mut begin = [0; 12];
    first.read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 201");
    eventually("a place is free again", async || {
        ask_who(&robot).await.status == 201
    })
    .await;
    let page = get(&admin, "/metrics").await;
    let labels = ["request_kind=\"mutating\""];
    let dropped = sample(page.text(), "apiserver_dropped_requests_total", &labels);
    assert!(dropped.is_some_and(|n| n >= 1.0), "{dropped:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        body: Duration::from_millis(50),
        ..Limits::default()
    };
    let served = serve_with(dir.path(), limited(limits)).await;
    let answer = rest(half_asked(&served).await).await;
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let status: Value = serde_json::from_str(body).unwrap();
    assert_eq!(status["reason"], "Timeout");
    assert_eq!(
        status["message"],
        "Timeout: request did not complete within the allotted timeout"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_does_not_come_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        head: Duration::from_millis(50),
        ..Limits::default()
    };
    let served = serve_with(dir.path(), limited(limits)).await;
    for (protocol, begin) in [
        (&b"http/1.1"[..], &b"GET /api HTTP/1.1\r\nHost: x"[..]),
        (b"http/1.1", b""),
        (b"h2", b"PRI * HT"),
        (b"h2", b""),
    ] {
        let mut stream = served.connect(protocol).await;
        stream.write_all(begin).await.unwrap();
        // It ends: without a time-out this would wait for ever.
        rest(stream).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_may_be_large_but_not_without_end() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve_with(dir.path(), Options::default()).await;
    let head = |bytes: usize| {
        let line = format!("X-Padding: {}\r\n", "x".repeat(1000));
        let padding = line.repeat(bytes / line.len());
        format!("GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{padding}\r\n")
    };
    for (bytes, code) in [(600 << 10, "200"), (2 << 20, "431")] {
        let mut stream = served.connect(b"http/1.1").await;
        // The server may answer, and hang up, before it has read all of it.
        stream.write_all(head(bytes).as_bytes()).await.ok();
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).await.unwrap();
        assert_eq!(std::str::from_utf8(&begin).unwrap(), format!("HTTP/1.1 {code}"));
    }
    let io = hyper_util::rt::TokioIo::new(served.connect(b"h2").await);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::get("https://localhost/version");
    for n in 0..500 {
        request = request.header(format!("x-padding-{n}"), "x".repeat(1000));
    }
    let answer = sender
        .send_request(request.body(String::new()).unwrap())
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_with_hundreds_of_groups_can_be_impersonated() {
    let dir = tempfile::tempdir().unwrap();
    let (served, admin) = outside(dir.path()).await;
    let mut request = Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews")
        .header("Content-Type", "application/json")
        .header("Impersonate-User", "joe");
    for n in 0..600 {
        request = request.header("Impersonate-Group", format!("group-{n}"));
    }
    let answer = send(&admin, request, WHO.into()).await;
    let review: Value = serde_json::from_slice(&answer.body).unwrap();
    let groups = review["status"]["userInfo"]["groups"].as_array().unwrap().len();
    assert_eq!(groups, 601);
    served.end().await;
}

/// All events in an audit log.
fn events(path: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let event = |line| serde_json::from_str(line).unwrap();
    text.lines().map(event).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_is_told_to_the_audit_log_without_what_secrets_hold() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let (served, admin) = outside(dir.path()).await;
    served.server.audit_to(AuditLog::open(&path, |_| {}).unwrap());
    let robot = served.client(json!({"token": "a-token"})).await;

    let given = Request::get("/api/v1/namespaces/default")
        .header("Audit-ID", "my-own-id")
        .header("User-Agent", "a-test");
    let answer = send(&admin, given, Vec::new()).await;
    assert_eq!(answer.header("audit-id"), "my-own-id");
    assert_eq!(get(&admin, "/version").await.header("audit-id").len(), 36);
    let secrets: Api<Secret> = Api::default_namespaced(admin.clone());
    let secret = json!({"metadata": {"generateName": "s-"}, "stringData": {"password": "hunter2"}});
    let secret: Secret = serde_json::from_value(secret).unwrap();
    let made = secrets.create(&PostParams::default(), &secret).await.unwrap();
    let robots: Api<Secret> = Api::default_namespaced(robot.clone());
    assert_eq!(code(robots.list(&ListParams::default()).await), 403);
    let acting = Request::get("/api/v1/namespaces/default/pods/none").header("Impersonate-User", "joe");
    assert_eq!(send(&admin, acting, Vec::new()).await.status, 403);
    let wrong = served.client(json!({"token": "wrong"})).await;
    assert_eq!(get(&wrong, "/api/v1/pods").await.status, 401);
    let api: Api<ConfigMap> = Api::default_namespaced(admin.clone());
    assert!(api.get_opt("none").await.unwrap().is_none());
    get(&admin, "/api/v1/namespaces/default/pods?watch=1&timeoutSeconds=1").await;
    served.end().await;

    let all = events(&path);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        !text.contains("hunter2") && !text.contains("aHVudGVyMg"),
        "{text}"
    );
    let find = |what: &str, is: &dyn Fn(&Value) -> bool| {
        all.iter()
            .find(|event| is(event))
            .unwrap_or_else(|| panic!("no {what} in {text}"))
    };
    let own = find("own id", &|e| e["auditID"] == "my-own-id");
    assert_eq!(
        (&own["level"], &own["stage"]),
        (&json!("Metadata"), &json!("ResponseComplete"))
    );
    assert_eq!(own["user"]["username"], "kubernetes-admin");
    assert_eq!(own["sourceIPs"], json!(["127.0.0.1"]));
    assert_eq!(
        (&own["verb"], &own["userAgent"]),
        (&json!("get"), &json!("a-test"))
    );
    let namespace =
        json!({"resource": "namespaces", "namespace": "default", "name": "default", "apiVersion": "v1"});
    assert_eq!(own["objectRef"], namespace);
    assert_eq!(own["responseStatus"], json!({"metadata": {}, "code": 200}));
    assert_eq!(own["annotations"]["authorization.k8s.io/decision"], "allow");

    let created = find("new secret", &|e| e["verb"] == "create");
    assert_eq!(created["objectRef"]["name"], json!(made.metadata.name));
    assert_eq!(created["responseStatus"]["code"], 201);
    let refused = find("refusal", &|e| e["user"]["username"] == "robot");
    assert_eq!(refused["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(refused["responseStatus"]["reason"], "Forbidden");
    let joe = find("impersonation", &|e| e["impersonatedUser"]["username"] == "joe");
    assert_eq!(joe["user"]["username"], "kubernetes-admin");
    let nobody = find("unknown client", &|e| e["responseStatus"]["code"] == 401);
    assert_eq!((&nobody["user"], nobody.get("annotations")), (&json!({}), None));
    let missing = find("missing object", &|e| e["responseStatus"]["code"] == 404);
    let message = "configmaps \"none\" not found";
    assert_eq!(missing["responseStatus"]["message"], message);
    let watch: Vec<_> = all.iter().filter(|e| e["verb"] == "watch").collect();
    let stages: Vec<_> = watch.iter().map(|e| e["stage"].as_str().unwrap()).collect();
    assert_eq!(stages, ["ResponseStarted", "ResponseComplete"]);
    assert_eq!(watch[0]["auditID"], watch[1]["auditID"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_hangs_up_is_told_to_the_audit_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let served = serve_with(dir.path(), Options::default()).await;
    served.server.audit_to(AuditLog::open(&path, |_| {}).unwrap());
    let admin = served.client(json!({"certificate": true})).await;
    let half = half_asked(&served).await;
    let busy = async || {
        let page = get(&admin, "/metrics").await;
        let labels = ["request_kind=\"mutating\""];
        sample(page.text(), "apiserver_current_inflight_requests", &labels) == Some(1.0)
    };
    eventually("the request is being worked on", busy).await;
    drop(half);
    let told = async || {
        let all = events(&path);
        all.iter().any(|e| {
            e["responseStatus"]["code"] != 200 || e["responseStatus"]["message"] == "Connection closed early"
        })
    };
    eventually("the end of the request is told", told).await;
    let idle = async || !busy().await;
    eventually("its place is free", idle).await;
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_are_served_at_the_same_time() {
    let dir = tempfile::tempdir().unwrap();
    let (served, admin) = outside(dir.path()).await;
    let client = Arc::new(admin);
    let asked = (0..150).map(|_| {
        let client = Arc::clone(&client);
        async move { get(&client, "/api/v1/namespaces/default").await.status }
    });
    let answers = futures::future::join_all(asked).await;
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn descriptions_are_sent_once_to_who_keeps_them() {
    let place = Place::embedded().await;
    let asks = async |uri: &str, tag: &str, accept: &str| {
        let request = Request::get(uri)
            .header("If-None-Match", tag)
            .header("Accept", accept);
        send(&place.client, request, Vec::new()).await
    };
    let aggregated = "application/json;v=v2;g=apidiscovery.k8s.io;as=APIGroupDiscoveryList";
    for (uri, accept) in [
        ("/openapi/v2", "application/json"),
        ("/openapi/v3", "application/json"),
        ("/openapi/v3/apis/apps/v1", "application/json"),
        ("/apis", aggregated),
    ] {
        let first = asks(uri, "", accept).await;
        assert_eq!(first.status, 200, "{uri}");
        let again = asks(uri, first.header("etag"), accept).await;
        assert_eq!(again.status, 304, "{uri}");
        assert!(!first.body.is_empty() && again.body.is_empty());
        assert_eq!(asks(uri, "\"other\"", accept).await.body, first.body);
    }
    let index: Value = serde_json::from_slice(&get(&place.client, "/openapi/v3").await.body).unwrap();
    let uri = index["paths"]["apis/apps/v1"]["serverRelativeURL"]
        .as_str()
        .unwrap();
    let document = get(&place.client, uri).await;
    assert_eq!(document.header("cache-control"), "public, immutable");
    let other = get(&place.client, "/openapi/v3/apis/apps/v1?hash=other").await;
    assert_eq!((other.status.as_u16(), other.header("location")), (301, uri));
    place.end().await;
}
