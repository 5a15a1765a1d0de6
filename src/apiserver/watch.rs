//! Watches: what there is, what happens from then on, and bookmarks in between.
//! It must not poll: it sleeps until the store says that something happened, a bookmark is due or time is up.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tokio::sync::watch::Receiver;
use tokio::time::Instant;

use super::Server;
use super::builtin::ResourceInfo;
use super::front::LongRunning;
use super::handlers::{self, Call, Form, ListOptions, write_json};
use super::object::meta;
use super::status::ApiError;
use super::store::{Event, EventKind, Stored};

/// How often a client that wants bookmarks gets one.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long a watch lasts at least and at most when the client does not say.
const SHORTEST: u64 = 1800;
const LONGEST: u64 = 3600;
/// As long as a client may ask for: ten years. Clocks don't count much further.
const FOREVER: u64 = 10 * 365 * 86_400;
/// Bytes that are put together before they are handed on: neither memory nor the time until a client hears something
/// grow with how much there is to tell.
const CHUNK: usize = 64 << 10;
/// Bytes of a line beside the object that is stored.
const FRAME: usize = 160;

struct Watch {
    call: Arc<Call>,
    options: ListOptions,
    form: Form,
    /// All up to here has been told.
    version: u64,
    changed: Receiver<u64>,
    closing: Receiver<bool>,
    until: Instant,
    bookmark_at: Option<Instant>,
    /// What is told before anything else: the objects that are there.
    initial: VecDeque<Arc<Stored>>,
    /// What has happened after `version` and is to be told next.
    pending: VecDeque<Event>,
    /// All that happened up to here has been told or is pending.
    known: u64,
    /// Whether the end of the initial objects must be marked.
    mark_initial: bool,
    /// Told first and last: why there is nothing to watch.
    failed: Option<ApiError>,
    over: bool,
    /// Counts what is told.
    told: Arc<AtomicU64>,
}

enum Woken {
    Changed,
    Bookmark,
    Over,
}

/// Answers a watch request with a stream that stays open.
pub(crate) async fn watch(call: Arc<Call>, options: ListOptions) -> Result<Response, ApiError> {
    let form = call.form()?;
    handlers::check_fields(&call.info, &options.fields)?;
    let resource = call.info.storage_group_resource.clone();
    let store = call.server.store().clone();
    let changed = store.subscribe(&resource);
    let closing = call.server.0.closing.subscribe();
    let from_now = matches!(options.version, None | Some(0)) || options.initial_events;
    let namespace = (!call.path.namespace.is_empty()).then_some(call.path.namespace.as_str());
    let (mut version, mut initial, mut failed) = (0, Vec::new(), None);
    if from_now {
        (version, initial) = store.list(&resource, namespace);
        initial = call.server.present_all(&call.info, initial).await?;
        initial.retain(|s| handlers::is_meant(&call.info, &options, s));
        if let Some(asked) = options.version.filter(|asked| *asked > version) {
            return Err(ApiError::future_version(asked, version));
        }
    } else if let Some(asked) = options.version {
        version = asked;
        if let Err(expired) = store.events_after(&resource, asked) {
            failed = Some(too_old(asked, expired.oldest));
        }
    }
    let seconds = options
        .timeout_seconds
        .unwrap_or_else(|| rand::random_range(SHORTEST..=LONGEST))
        .min(FOREVER);
    let now = Instant::now();
    let told = call.server.0.metrics.watch_events(&call.info);
    let state = Watch {
        mark_initial: options.initial_events && options.bookmarks,
        bookmark_at: options.bookmarks.then(|| now + BOOKMARK_EVERY),
        until: now + Duration::from_secs(seconds),
        call,
        options,
        form,
        version,
        changed,
        closing,
        initial: initial.into(),
        pending: VecDeque::new(),
        known: version,
        failed,
        over: false,
        told,
    };
    let body = stream::unfold(state, |mut watch| async move {
        let chunk = watch.next().await?;
        Some((Ok::<_, std::convert::Infallible>(chunk), watch))
    });
    let mut response = Response::new(Body::from_stream(body));
    *response.status_mut() = StatusCode::OK;
    response.extensions_mut().insert(LongRunning);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, private"),
    );
    Ok(response)
}

fn too_old(asked: u64, oldest: u64) -> ApiError {
    ApiError::expired(format!("too old resource version: {asked} ({oldest})"))
}

impl Watch {
    /// Returns what is to be sent next; nothing when the watch is over.
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        if let Some(error) = self.failed.take() {
            return Some(self.fail(&error));
        }
        if !self.initial.is_empty() || self.mark_initial {
            return Some(self.tell_initial());
        }
        loop {
            if self.pending.is_empty()
                && let Err(error) = self.look().await
            {
                return Some(self.fail(&error));
            }
            let told = self.tell_pending();
            if !told.is_empty() {
                return Some(told.into());
            }
            let bookmark_at = self.bookmark_at;
            let bookmark_due = async {
                match bookmark_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let woken = tokio::select! {
                changed = self.changed.changed() => { changed.ok()?; Woken::Changed }
                () = bookmark_due => Woken::Bookmark,
                () = tokio::time::sleep_until(self.until) => Woken::Over,
                _ = self.closing.wait_for(|closing| *closing) => return None,
            };
            match woken {
                Woken::Changed => {}
                Woken::Bookmark => {
                    self.bookmark_at = Some(Instant::now() + BOOKMARK_EVERY);
                    return Some(self.plain_bookmark());
                }
                Woken::Over => {
                    self.over = true;
                    // A last bookmark lets the client go on from here.
                    return self.options.bookmarks.then(|| self.plain_bookmark());
                }
            }
        }
    }

    fn fail(&mut self, error: &ApiError) -> Bytes {
        self.over = true;
        let mut out = Vec::new();
        self.line("ERROR", &mut out, |out| write_json(&error.to_value(), out));
        out.into()
    }

    fn tell_initial(&mut self) -> Bytes {
        let mut out = Vec::with_capacity(room(self.initial.iter()));
        while out.len() < CHUNK
            && let Some(stored) = self.initial.pop_front()
        {
            self.tell_stored("ADDED", &stored, &mut out);
            self.columns_are_told();
        }
        if self.initial.is_empty() && self.mark_initial {
            self.mark_initial = false;
            self.bookmark(true, &mut out);
        }
        out.into()
    }

    /// Takes note of all that has happened since.
    async fn look(&mut self) -> Result<(), ApiError> {
        // Seen before the events are read: what comes after marks the receiver again.
        self.changed.borrow_and_update();
        let server = &self.call.server;
        let (version, mut events) = server
            .store()
            .events_after(&self.call.info.storage_group_resource, self.version)
            .map_err(|expired| too_old(self.version, expired.oldest))?;
        if self.call.info.conversion.is_some() {
            present(server, &self.call.info, &mut events).await?;
        }
        self.pending = events.into();
        // A watch may begin at a version that is yet to come.
        self.known = self.version.max(version);
        Ok(())
    }

    /// Returns the next lines of what is pending. Without any nothing is pending any more.
    fn tell_pending(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while out.len() < CHUNK {
            let Some(event) = self.pending.pop_front() else {
                self.version = self.known;
                break;
            };
            let namespace = &self.call.path.namespace;
            if namespace.is_empty() || *event.object.key.namespace == **namespace {
                self.tell(&event, &mut out);
                if !out.is_empty() {
                    self.columns_are_told();
                }
            }
            self.version = event.object.version;
        }
        out
    }

    fn tell(&self, event: &Event, out: &mut Vec<u8>) {
        let meant = |stored: &Stored| handlers::is_meant(&self.call.info, &self.options, stored);
        let before = event.previous.as_deref().is_some_and(meant);
        let after = event.kind == EventKind::Put && meant(&event.object);
        if !before && !after {
            return;
        }
        if out.capacity() == 0 {
            let all = std::iter::once(event).chain(&self.pending);
            out.reserve(room(all.map(|event| &event.object)));
        }
        match (before, after) {
            (false, _) => self.tell_stored("ADDED", &event.object, out),
            (true, true) => self.tell_stored("MODIFIED", &event.object, out),
            (true, false) if event.kind == EventKind::Delete => {
                self.tell_stored("DELETED", &event.object, out);
            }
            (true, false) => {
                let Some(previous) = event.previous.as_deref() else {
                    return;
                };
                // It is still there, but no longer meant: the client hears of it as it knew it.
                let mut object = handlers::load(&self.call.info, previous);
                meta::set(&mut object, "resourceVersion", &event.object.version.to_string());
                self.line("DELETED", out, |out| {
                    handlers::write_object(&self.call, &self.call.info, &object, self.form, out);
                });
            }
        }
    }

    /// Columns are told with the first object alone.
    fn columns_are_told(&mut self) {
        if let Form::Table(include) = self.form {
            self.form = Form::Rows(include);
        }
    }

    fn tell_stored(&self, kind: &str, stored: &Stored, out: &mut Vec<u8>) {
        self.line(kind, out, |out| {
            handlers::write_stored(&self.call, &self.call.info, stored, self.form, out);
        });
    }

    fn bookmark(&self, initial_end: bool, out: &mut Vec<u8>) {
        let info = &self.call.info;
        let mut object: Value = match self.form {
            Form::Object => json!({"kind": info.kind, "apiVersion": info.api_version()}),
            Form::Metadata | Form::MetadataList => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"})
            }
            Form::Table(_) | Form::Rows(_) => {
                json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "columnDefinitions": [], "rows": []})
            }
        };
        object["metadata"] = json!({"resourceVersion": self.version.to_string()});
        if initial_end {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        self.line("BOOKMARK", out, |out| write_json(&object, out));
    }

    /// Writes one line; `object` writes the object in it.
    fn line(&self, kind: &str, out: &mut Vec<u8>, object: impl FnOnce(&mut Vec<u8>)) {
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",\"object\":");
        object(out);
        out.extend_from_slice(b"}\n");
        self.told.fetch_add(1, Ordering::Relaxed);
    }

    fn plain_bookmark(&self) -> Bytes {
        let mut out = Vec::new();
        self.bookmark(false, &mut out);
        out.into()
    }
}

/// Brings events into the version that is watched.
async fn present(server: &Server, info: &ResourceInfo, events: &mut [Event]) -> Result<(), ApiError> {
    let objects = events.iter().map(|event| Arc::clone(&event.object));
    let before = events.iter().filter_map(|event| event.previous.clone());
    let all = objects.chain(before).collect();
    let mut shown = server.present_all(info, all).await?.into_iter();
    for event in &mut *events {
        event.object = shown.next().unwrap_or_else(|| Arc::clone(&event.object));
    }
    for previous in events.iter_mut().filter_map(|event| event.previous.as_mut()) {
        *previous = shown.next().unwrap_or_else(|| Arc::clone(previous));
    }
    Ok(())
}

/// The room that the lines of the next chunk take, if all objects are told as they are stored.
fn room<'a>(objects: impl Iterator<Item = &'a Arc<Stored>>) -> usize {
    let mut room = 0;
    for stored in objects {
        room += stored.size() + FRAME;
        if room >= CHUNK {
            break;
        }
    }
    room
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::super::Server;
    use super::super::auth::UserInfo;
    use super::super::handlers::Query;
    use super::super::path::ResourcePath;
    use super::super::store::{Change, Expect, Key};
    use super::*;

    /// Bytes of content of each object: a chunk has room for a dozen.
    const CONTENT: usize = 5000;

    fn server() -> Server {
        // Nobody else makes objects.
        let options = crate::apiserver::Options {
            controllers: false,
            ..Default::default()
        };
        Server::in_memory_with(Arc::new(crate::time::SystemClock), options)
    }

    async fn put(server: &Server, name: &str, on: &str, before: Option<u64>) -> u64 {
        let object = json!({"metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"on": on}},
            "data": {"content": "x".repeat(CONTENT)}});
        let expect = before.map_or(Expect::Absent, Expect::Version);
        let key = Key::new("configmaps", "default", name);
        let written = server.store().write(key, expect, Change::Put(object)).await;
        written.unwrap().version
    }

    /// Watches the `ConfigMaps` of a namespace, and ends as soon as all is told.
    fn pieces(server: &Server, query: &[(&str, &str)]) -> impl futures::Stream<Item = Bytes> + Unpin + use<> {
        let text = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let fixed = [
            ("watch", "1"),
            ("timeoutSeconds", "0"),
            ("allowWatchBookmarks", "1"),
        ];
        let query = Query(fixed.iter().chain(query).map(text).collect());
        let mut options = ListOptions::parse(&query).unwrap();
        options.timeout_seconds = Some(0);
        let call = Arc::new(Call {
            server: server.clone(),
            info: server.registry().find("", "v1", "configmaps").unwrap(),
            path: ResourcePath {
                version: "v1".to_owned(),
                namespace: "default".to_owned(),
                resource: "configmaps".to_owned(),
                ..ResourcePath::default()
            },
            query,
            headers: http::HeaderMap::new(),
            body: Bytes::new(),
            user: Arc::new(UserInfo::new("u", "", Vec::new())),
            tokens: Arc::default(),
            warnings: std::sync::Mutex::default(),
        });
        let body = futures::executor::block_on(watch(call, options))
            .unwrap()
            .into_body();
        body.into_data_stream().map(Result::unwrap).boxed()
    }

    /// The lines of a piece, which must be neither torn nor too many: type, name, version.
    fn lines(piece: &Bytes) -> Vec<(String, String, u64)> {
        assert!(piece.len() < CHUNK + 2 * CONTENT, "{}", piece.len());
        let text = std::str::from_utf8(piece).unwrap();
        assert!(text.ends_with('\n'));
        let line = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let metadata = &line["object"]["metadata"];
            let version = text(&metadata["resourceVersion"]).parse().unwrap_or(0);
            (text(&line["type"]), text(&metadata["name"]), version)
        };
        text.lines().map(line).collect()
    }

    #[tokio::test]
    async fn what_there_is_is_told_in_pieces() {
        let server = server();
        let mut wanted = Vec::new();
        for n in 100..200 {
            let name = format!("n{n}");
            let version = put(&server, &name, "1", None).await;
            wanted.push(("ADDED".to_owned(), name, version));
        }
        let version = server.store().version();
        wanted.push(("BOOKMARK".to_owned(), String::new(), version));
        let match_newest = ("resourceVersionMatch", "NotOlderThan");
        let mut all = pieces(&server, &[("sendInitialEvents", "1"), match_newest]);
        let (mut told, mut count) = (Vec::new(), 0);
        while told.len() < wanted.len() {
            told.extend(lines(&all.next().await.unwrap()));
            count += 1;
        }
        assert_eq!(told, wanted);
        assert!((7..10).contains(&count), "{count}");
        // What came before does not come again.
        let last = lines(&all.next().await.unwrap());
        assert_eq!(last, [("BOOKMARK".to_owned(), String::new(), version)]);
        assert!(all.next().await.is_none());
    }

    #[tokio::test]
    async fn each_change_is_told_once_however_many_there_are() {
        let server = server();
        let begin = server.store().version();
        let mut wanted = Vec::new();
        let add = async |wanted: &mut Vec<_>, n: u64| {
            let name = format!("n{n}");
            let version = put(&server, &name, "1", None).await;
            wanted.push(("ADDED".to_owned(), name.clone(), version));
            // It leaves the selection, and what happens to it then is nobody's business here.
            let left = put(&server, &name, "0", Some(version)).await;
            wanted.push(("DELETED".to_owned(), name.clone(), left));
            put(&server, &name, "0", Some(left)).await;
        };
        for n in 0..60 {
            add(&mut wanted, n).await;
        }
        let begin = begin.to_string();
        let query = [("resourceVersion", begin.as_str()), ("labelSelector", "on=1")];
        let mut all = pieces(&server, &query);
        let mut told = lines(&all.next().await.unwrap());
        assert!(told.len() < wanted.len());
        // More happens while the rest waits.
        for n in 60..80 {
            add(&mut wanted, n).await;
        }
        wanted.push(("BOOKMARK".to_owned(), String::new(), server.store().version()));
        while let Some(piece) = all.next().await {
            told.extend(lines(&piece));
        }
        assert_eq!(told, wanted);
    }

    #[tokio::test]
    async fn a_client_that_lags_too_far_behind_is_told_so() {
        let server = server();
        let begin = server.store().version().to_string();
        let mut version = put(&server, "a", "1", None).await;
        for _ in 0..30 {
            version = put(&server, "a", "1", Some(version)).await;
        }
        let known = version;
        let mut all = pieces(&server, &[("resourceVersion", begin.as_str())]);
        let mut told = lines(&all.next().await.unwrap());
        // So much that the changes after those that wait are forgotten.
        for _ in 0..1100 {
            version = put(&server, "a", "1", Some(version)).await;
        }
        while let Some(piece) = all.next().await {
            told.extend(lines(&piece));
        }
        let last = told.pop().unwrap();
        assert_eq!(last.0, "ERROR");
        assert_eq!((told.len(), told.last().map(|l| l.2)), (31, Some(known)));
    }
}
