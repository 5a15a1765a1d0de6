//! Watches: what there is, what happens from then on, and bookmarks in between.
//! It must not poll: it sleeps until the store says that something happened, a bookmark is due or time is up.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tokio::sync::watch::Receiver;
use tokio::time::Instant;

use super::handlers::{self, Call, Form, ListOptions};
use super::object::meta;
use super::status::ApiError;
use super::store::{Event, EventKind, Stored};

/// How often a client that wants bookmarks gets one.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long a watch lasts at least and at most when the client does not say.
const SHORTEST: u64 = 1800;
const LONGEST: u64 = 3600;
/// Bytes that are put together before they are handed on.
const CHUNK: usize = 64 << 10;

struct Watch {
    call: Call,
    options: ListOptions,
    form: Form,
    /// All up to here has been told.
    version: u64,
    changed: Receiver<u64>,
    closing: Receiver<bool>,
    until: Instant,
    bookmark_at: Option<Instant>,
    /// What is told before anything else: the objects that are there.
    initial: Vec<Arc<Stored>>,
    /// Whether the end of the initial objects must be marked.
    mark_initial: bool,
    /// Told first and last: why there is nothing to watch.
    failed: Option<ApiError>,
    over: bool,
}

enum Woken {
    Changed,
    Bookmark,
    Over,
}

/// Answers a watch request with a stream that stays open.
pub(crate) fn watch(call: Call, options: ListOptions) -> Result<Response, ApiError> {
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
        .unwrap_or_else(|| rand::random_range(SHORTEST..=LONGEST));
    let now = Instant::now();
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
        initial,
        failed,
        over: false,
    };
    let body = stream::unfold(state, |mut watch| async move {
        let chunk = watch.next().await?;
        Some((Ok::<_, std::convert::Infallible>(chunk), watch))
    });
    let mut response = Response::new(Body::from_stream(body));
    *response.status_mut() = StatusCode::OK;
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
            // Seen before the events are read: what comes after marks the receiver again.
            self.changed.borrow_and_update();
            match self.events() {
                Ok(told) if !told.is_empty() => return Some(told.into()),
                Ok(_) => {}
                Err(error) => return Some(self.fail(&error)),
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
                    return Some(self.bookmark(false).into());
                }
                Woken::Over => {
                    self.over = true;
                    // A last bookmark lets the client go on from here.
                    return self.options.bookmarks.then(|| self.bookmark(false).into());
                }
            }
        }
    }

    fn fail(&mut self, error: &ApiError) -> Bytes {
        self.over = true;
        line(
            "ERROR",
            &serde_json::to_vec(&error.to_value()).unwrap_or_default(),
        )
        .into()
    }

    fn tell_initial(&mut self) -> Bytes {
        let mut out = Vec::new();
        let objects = std::mem::take(&mut self.initial);
        let mut objects = objects.into_iter();
        for stored in objects.by_ref() {
            out.extend(self.line_of("ADDED", &stored));
            if out.len() > CHUNK {
                break;
            }
        }
        self.initial = objects.collect();
        if self.initial.is_empty() && self.mark_initial {
            self.mark_initial = false;
            out.extend(self.bookmark(true));
        }
        out.into()
    }

    /// Returns the lines of all that has happened since.
    fn events(&mut self) -> Result<Vec<u8>, ApiError> {
        let store = self.call.server.store();
        let (version, events) = store
            .events_after(&self.call.info.storage_group_resource, self.version)
            .map_err(|expired| too_old(self.version, expired.oldest))?;
        let mut out = Vec::new();
        for event in &events {
            if !self.call.path.namespace.is_empty()
                && *event.object.key.namespace != *self.call.path.namespace
            {
                continue;
            }
            out.extend(self.tell(event));
        }
        // A watch may begin at a version that is yet to come.
        self.version = self.version.max(version);
        Ok(out)
    }

    fn tell(&self, event: &Event) -> Vec<u8> {
        let meant = |stored: &Stored| handlers::is_meant(&self.call.info, &self.options, stored);
        let before = event.previous.as_deref().is_some_and(meant);
        let after = event.kind == EventKind::Put && meant(&event.object);
        match (before, after) {
            (false, true) => self.line_of("ADDED", &event.object),
            (true, true) => self.line_of("MODIFIED", &event.object),
            (true, false) if event.kind == EventKind::Delete => self.line_of("DELETED", &event.object),
            (true, false) => event.previous.as_deref().map_or_else(Vec::new, |previous| {
                // It is still there, but no longer meant: the client hears of it as it knew it.
                let mut object = handlers::load(&self.call.info, previous);
                meta::set(&mut object, "resourceVersion", &event.object.version.to_string());
                line(
                    "DELETED",
                    &handlers::object_bytes(&self.call, &self.call.info, &object, self.form),
                )
            }),
            (false, false) => Vec::new(),
        }
    }

    fn line_of(&self, kind: &str, stored: &Stored) -> Vec<u8> {
        line(
            kind,
            &handlers::stored_bytes(&self.call, &self.call.info, stored, self.form),
        )
    }

    fn bookmark(&self, initial_end: bool) -> Vec<u8> {
        let info = &self.call.info;
        let mut object: Value = match self.form {
            Form::Object => json!({"kind": info.kind, "apiVersion": info.api_version()}),
            Form::Metadata => json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}),
            Form::Table(_) => {
                json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "columnDefinitions": [], "rows": []})
            }
        };
        object["metadata"] = json!({"resourceVersion": self.version.to_string()});
        if initial_end {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        line("BOOKMARK", &serde_json::to_vec(&object).unwrap_or_default())
    }
}

fn line(kind: &str, object: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(object.len() + 40);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
    out
}
