//! One request from its arrival to the end of its answer: it is counted and told to the audit log. It must not decide anything.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, header};
use hyper::body::Frame;

use super::super::Server;
use super::super::audit::{Event, Failure, Stage};
use super::super::auth::UserInfo;
use super::super::authorize::Decision;
use super::super::metrics::{Labels, Series};
use super::super::request::RequestInfo;
use super::limits::{Kind, Place};
use super::{LongRunning, Peer};

/// The number of a request: the client's own, or one that is made for it.
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
const WATCH: &str = "WATCH";
const APPLY: &str = "application/apply-patch";

/// One request.
pub(crate) struct Visit {
    server: Server,
    pub(crate) what: RequestInfo,
    /// Whether the resource and its subresource are known: others are not told apart in the metrics.
    pub(crate) is_served: bool,
    began: Instant,
    /// As the metrics have it.
    verb: &'static str,
    dry_run: bool,
    id: Option<HeaderValue>,
    event: Option<Box<Event>>,
    place: Option<Place>,
    /// Whether it has ended in an orderly way.
    over: bool,
}

impl Visit {
    /// A request has arrived.
    pub(crate) fn begin(server: &Server, parts: &Parts) -> Self {
        let query = parts.uri.query().unwrap_or_default();
        let what = RequestInfo::of(&parts.method, parts.uri.path(), query);
        let peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
        let audits = server.0.audit.get().is_some();
        let id = (peer.is_some() || audits).then(|| id_of(parts));
        let event = match &id {
            Some(id) if audits => {
                let id = String::from_utf8_lossy(id.as_bytes());
                Some(Box::new(Event::new(&id, &what, parts, peer, server.now())))
            }
            _ => None,
        };
        let content_type = parts.headers.get(header::CONTENT_TYPE);
        let apply = content_type.is_some_and(|v| v.as_bytes().starts_with(APPLY.as_bytes()));
        Self {
            is_served: false,
            began: Instant::now(),
            verb: verb(&what.verb, parts.method == Method::HEAD, apply),
            dry_run: query.contains("dryRun=All"),
            id,
            event,
            place: None,
            over: false,
            what,
            server: server.clone(),
        }
    }

    /// It is known who asks, and as whom he acts.
    pub(crate) fn asked_by(&mut self, asking: &UserInfo, acting: Option<&UserInfo>) {
        if let Some(event) = &mut self.event {
            event.asked_by(asking);
            if let Some(acting) = acting.filter(|acting| *acting != asking) {
                event.acts_as(acting);
            }
        }
    }

    /// Whether the audit log wants to know who asks.
    pub(crate) const fn is_audited(&self) -> bool {
        self.event.is_some()
    }

    /// It is known whether he may.
    pub(crate) fn decided(&mut self, decision: &Decision) {
        if let Some(event) = &mut self.event {
            event.decided(decision);
        }
    }

    /// Takes a place among the requests that are worked on, if there is one. Watches need none.
    pub(crate) fn enter(&mut self, user: &UserInfo) -> bool {
        if self.what.is_long {
            return true;
        }
        let exempt = user.is_admin() || self.what.is_health();
        self.place = Place::take(&self.server, Kind::of(&self.what.verb), exempt);
        self.place.is_some()
    }

    /// The answer is there: it is told now if it is whole, and when it ends if it lasts.
    pub(crate) fn end(mut self, mut response: Response) -> Response {
        if let Some(id) = self.id.take() {
            response.headers_mut().insert(AUDIT_ID, id);
        }
        let code = response.status().as_u16();
        if let Some(event) = &mut self.event {
            let named = response.extensions().get::<Named>();
            if let Some(Named(name)) = named {
                event.named(name);
            }
            event.answered(code, response.extensions().get::<Failure>());
        }
        self.place = None;
        if response.extensions().get::<LongRunning>().is_none() {
            self.finish(code);
            return response;
        }
        self.verb = WATCH;
        let series = self.series();
        series.began();
        if let (Some(log), Some(event)) = (self.server.0.audit.get(), &mut self.event) {
            event.at(Stage::ResponseStarted, self.server.0.clock.now());
            log.tell((**event).clone());
        }
        let (parts, body) = response.into_parts();
        let lasting = Lasting {
            body,
            visit: Some(self),
            series,
            code,
        };
        Response::from_parts(parts, Body::new(lasting))
    }

    fn series(&self) -> Arc<Series> {
        self.server.0.metrics.series(self.labels())
    }

    fn labels(&self) -> Labels<'_> {
        let what = &self.what;
        let place = if what.is_resource {
            if self.is_served {
                [&what.group, &what.version, &what.resource, &what.subresource].map(String::as_str)
            } else {
                self.served_part()
            }
        } else {
            ["", "", "", what.known_path()]
        };
        let [group, version, resource, subresource] = place.map(Into::into);
        Labels {
            verb: self.verb,
            scope: scope(what),
            dry_run: self.dry_run,
            group,
            version,
            resource,
            subresource,
        }
    }

    /// What is known of a request that was refused before anybody looked for what it is about.
    fn served_part(&self) -> [&str; 4] {
        let what = &self.what;
        let registry = self.server.registry();
        if registry
            .find(&what.group, &what.version, &what.resource)
            .is_none()
        {
            return [""; 4];
        }
        [&what.group, &what.version, &what.resource, ""]
    }

    fn finish(mut self, code: u16) {
        self.over = true;
        self.series().ended(code, self.began.elapsed());
        self.tell();
    }

    fn tell(&mut self) {
        if let (Some(log), Some(mut event)) = (self.server.0.audit.get(), self.event.take()) {
            event.at(Stage::ResponseComplete, self.server.0.clock.now());
            log.tell(*event);
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        // The client has hung up, and nobody waits for the answer any more.
        if !self.over {
            if let Some(event) = &mut self.event {
                event.given_up();
            }
            self.tell();
        }
    }
}

/// What a new object is called, beside an answer.
#[derive(Debug, Clone)]
pub(crate) struct Named(pub(crate) String);

/// The body of an answer that lasts.
struct Lasting {
    body: Body,
    visit: Option<Visit>,
    series: Arc<Series>,
    code: u16,
}

impl HttpBody for Lasting {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

impl Drop for Lasting {
    fn drop(&mut self) {
        self.series.over();
        if let Some(visit) = self.visit.take() {
            visit.finish(self.code);
        }
    }
}

fn id_of(parts: &Parts) -> HeaderValue {
    let given = parts.headers.get(AUDIT_ID).filter(|id| !id.is_empty());
    given.cloned().unwrap_or_else(|| {
        let made = uuid::Uuid::new_v4().to_string();
        HeaderValue::from_str(&made).unwrap_or_else(|_| HeaderValue::from_static(""))
    })
}

/// The verb as the metrics have it.
fn verb(verb: &str, head: bool, apply: bool) -> &'static str {
    match verb {
        _ if head => "HEAD",
        "get" => "GET",
        "list" => "LIST",
        "watch" => WATCH,
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" if apply => "APPLY",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        _ => "other",
    }
}

fn scope(what: &RequestInfo) -> &'static str {
    if !what.is_resource {
        ""
    } else if !what.name.is_empty() || what.verb == "create" {
        "resource"
    } else if !what.namespace.is_empty() {
        "namespace"
    } else {
        "cluster"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_and_scopes_are_those_of_kube_apiserver() {
        let of = |method: &str, uri: &str| {
            let uri: http::Uri = uri.parse().unwrap();
            let method: Method = method.parse().unwrap();
            let what = RequestInfo::of(&method, uri.path(), uri.query().unwrap_or_default());
            (verb(&what.verb, method == Method::HEAD, false), scope(&what))
        };
        for (method, uri, expected) in [
            ("GET", "/api/v1/nodes", ("LIST", "cluster")),
            ("GET", "/api/v1/namespaces/n/pods", ("LIST", "namespace")),
            ("GET", "/api/v1/namespaces/n/pods/p", ("GET", "resource")),
            ("GET", "/api/v1/pods?watch=1", ("WATCH", "cluster")),
            ("POST", "/api/v1/namespaces/n/pods", ("POST", "resource")),
            (
                "DELETE",
                "/api/v1/namespaces/n/pods",
                ("DELETECOLLECTION", "namespace"),
            ),
            ("HEAD", "/api/v1/nodes/n", ("HEAD", "resource")),
            ("BREW", "/api/v1/nodes", ("other", "cluster")),
            ("GET", "/healthz", ("GET", "")),
            ("POST", "/metrics", ("POST", "")),
        ] {
            assert_eq!(of(method, uri), expected, "{method} {uri}");
        }
        assert_eq!(verb("patch", false, true), "APPLY");
    }
}
