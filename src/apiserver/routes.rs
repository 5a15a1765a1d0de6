//! From a request to the handler that answers it. It must not do what handlers do.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::auth::{Tokens, UserInfo};
use super::authenticate::{self, Refusal};
use super::builtin::ResourceInfo;
use super::front::visit::Visit;
use super::front::{Peer, gzip, limits};
use super::handlers::{self, Call, ListOptions, Query};
use super::path::{self, ResourcePath, Target};
use super::proto;
use super::request::RequestInfo;
use super::schema::go_quote;
use super::status::{ApiError, json_response};
use super::{Server, describe, discovery, health, identity, watch};

/// Largest body of a request.
const BODY_LIMIT: usize = 3 << 20;

impl Server {
    /// Returns the routes of the server. Who asks is read from a [`UserInfo`] among the request's extensions (or one in an `Arc`), or from its
    /// bearer token, looked up in [`Tokens`] there; requests with neither are answered only on `/healthz`, `/readyz`,
    /// `/livez` and `/version`, those with a wrong token nowhere.
    pub fn router(&self) -> Router {
        Router::new().fallback(answer).with_state(self.clone())
    }
}

async fn answer(State(server): State<Server>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut visit = Visit::begin(&server, &parts);
    let what = if parts.uri.path().starts_with("/openapi/") {
        gzip::What::Descriptions
    } else {
        gzip::What::Objects
    };
    let from_outside = parts.extensions.get::<Peer>().is_some();
    let short = from_outside && gzip::accepted(&parts.headers, what);
    let response = route(&server, &mut visit, parts, body)
        .await
        .unwrap_or_else(IntoResponse::into_response);
    visit.end(gzip::compress(response, what, short).await)
}

/// Who asks, whether he may, and only then what for.
async fn route(server: &Server, visit: &mut Visit, parts: Parts, body: Body) -> Result<Response, ApiError> {
    let asking = authenticate::who(server, &parts)?;
    let noted = visit.is_audited().then(|| Arc::clone(&asking));
    let acting = authenticate::acting(server, asking, &parts.headers);
    if let Some(asking) = &noted {
        visit.asked_by(asking, acting.as_deref().ok());
    }
    let user = match acting {
        Ok(user) => user,
        Err(Refusal::Forbidden(error)) => return Ok(refused(error, &parts).await),
        Err(Refusal::Senseless(why)) => return Ok(broken(&visit.what.path, &why)),
    };
    if !visit.enter(&user) {
        return Ok(limits::come_again());
    }
    let decision = server.decide(&user, &visit.what);
    visit.decided(&decision);
    if let Err(error) = decision.into_result(&user, &visit.what) {
        return Ok(refused(error, &parts).await);
    }
    let text = parts.uri.path();
    match path::parse(text) {
        Target::Resource(path) if proto::wanted(accept_of(&parts.headers)) => {
            let is_watch = parts.method == Method::GET && visit.what.verb == "watch";
            let response = resource(server, visit, path, user, parts, body)
                .await
                .unwrap_or_else(IntoResponse::into_response);
            Ok(proto::respond(response, is_watch).await)
        }
        Target::Resource(path) => resource(server, visit, path, user, parts, body).await,
        _ if !matches!(parts.method, Method::GET | Method::HEAD) => Err(ApiError::method_not_allowed()),
        Target::Other if text.starts_with("/openapi/") => describe::openapi(server, &parts).await,
        Target::Other => {
            let own = identity::describe(server, text, host_of(&parts));
            Ok(own.unwrap_or_else(|| other(server, text, parts.uri.query().unwrap_or_default())))
        }
        target => Ok(describe::discover(server, &target, &parts)),
    }
}

/// Answers a request that is not allowed.
async fn refused(error: ApiError, parts: &Parts) -> Response {
    let mut response = error.into_response();
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if proto::wanted(accept_of(&parts.headers)) {
        return proto::respond(response, false).await;
    }
    response
}

/// Answers a request that cannot be understood before anybody has looked at what it is about.
fn broken(path: &str, why: &str) -> Response {
    let message = format!("Internal Server Error: {}: {why}\n", go_quote(path));
    let plain = "text/plain; charset=utf-8";
    let mut response = text(StatusCode::INTERNAL_SERVER_ERROR, plain, message.into());
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

fn other(server: &Server, path: &str, query: &str) -> Response {
    if let Some(response) = health::answer(server, path, query) {
        return response;
    }
    match path {
        "/metrics" => {
            let (page, content_type) = server.metrics_page();
            text(StatusCode::OK, content_type, page.into())
        }
        "/version" | "/version/" => json_response(200, &discovery::version()),
        "/" | "" => {
            let fixed = [
                "/.well-known/openid-configuration",
                "/api",
                "/apis",
                "/metrics",
                "/openapi/v2",
                "/openapi/v3",
                "/openid/v1/jwks",
                "/version",
            ];
            let mut paths: Vec<String> = fixed
                .into_iter()
                .map(str::to_owned)
                .chain(health::paths())
                .collect();
            paths.sort_unstable();
            json_response(200, &serde_json::json!({"paths": paths}))
        }
        _ => page_not_found(),
    }
}

/// Answers a request on a path that is no resource and nothing else.
pub(super) fn page_not_found() -> Response {
    text(
        StatusCode::NOT_FOUND,
        "text/plain; charset=utf-8",
        "404 page not found\n".into(),
    )
}

fn text(code: StatusCode, content_type: &'static str, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = code;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

pub(super) fn accept_of(headers: &HeaderMap) -> &str {
    headers
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default()
}

/// Returns where the client has reached the server.
pub(super) fn host_of(parts: &Parts) -> &str {
    // HTTP/2 has no header for it.
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    let header = parts.headers.get(header::HOST).and_then(|v| v.to_str().ok());
    authority.or(header).unwrap_or("localhost")
}

async fn resource(
    server: &Server,
    visit: &mut Visit,
    path: ResourcePath,
    user: Arc<UserInfo>,
    parts: Parts,
    body: Body,
) -> Result<Response, ApiError> {
    if !is_decided(&visit.what, &path) {
        return Err(ApiError::no_such_path());
    }
    let registry = server.registry();
    let Some(info) = registry.find(&path.group, &path.version, &path.resource) else {
        return if registry.in_version(&path.group, &path.version).is_empty() {
            Ok(page_not_found())
        } else {
            Err(ApiError::no_such_path())
        };
    };
    if !fits(&info, &path) {
        let known = info.custom && !path.subresource.is_empty();
        return Err(if known {
            ApiError::not_found(&info, &path.name)
        } else {
            ApiError::no_such_path()
        });
    }
    let mut query = Query(path::query(parts.uri.query().unwrap_or_default()));
    if path.watches {
        query.0.retain(|(key, _)| key != "watch");
        query.0.push(("watch".to_owned(), "true".to_owned()));
    }
    visit.is_served = true;
    let body = match parts.method {
        // Nobody reads it, and a watch would keep it.
        Method::GET | Method::HEAD => Bytes::new(),
        _ => read_body(server, body).await?,
    };
    let call = Arc::new(Call {
        server: server.clone(),
        info,
        path,
        query,
        tokens: parts.extensions.get::<Arc<Tokens>>().cloned().unwrap_or_default(),
        headers: parts.headers,
        body,
        user,
        warnings: Mutex::default(),
    });
    let mut response = dispatch(&call, &parts.method)
        .await
        .unwrap_or_else(IntoResponse::into_response);
    handlers::put_warnings(&call, &mut response);
    Ok(response)
}

async fn read_body(server: &Server, body: Body) -> Result<Bytes, ApiError> {
    let read = axum::body::to_bytes(body, BODY_LIMIT);
    tokio::time::timeout(server.0.options.limits.body, read)
        .await
        .map_err(|_| ApiError::timed_out())?
        .map_err(|error| body_error(&error))
}

/// Tells a body that is too large from one that breaks off (kube-apiserver: 500, with what reading it said).
fn body_error(error: &axum::Error) -> ApiError {
    use std::error::Error as _;
    let mut cause = error.source();
    while let Some(found) = cause {
        if found.is::<http_body_util::LengthLimitError>() {
            return ApiError::too_large(BODY_LIMIT);
        }
        cause = found.source();
    }
    ApiError::plain_500(format!("can't read the body of the request: {error}"))
}

/// Says whether a path is about the same as what rights were looked for. The two read some paths differently, such as those that begin
/// with `proxy`, or have a resource called `status`.
fn is_decided(what: &RequestInfo, path: &ResourcePath) -> bool {
    // Rights know a namespace as lying in itself.
    let namespace = if path.resource == "namespaces" && path.namespace.is_empty() {
        &path.name
    } else {
        &path.namespace
    };
    // A list may be of one name.
    let named = path.name.is_empty() || path.name == what.name;
    named
        && what.verb != "proxy"
        && what.namespace == *namespace
        && (&what.group, &what.version) == (&path.group, &path.version)
        && (&what.resource, &what.subresource) == (&path.resource, &path.subresource)
}

/// Says whether a resource can be asked for in this way: by namespace or not, with this subresource.
fn fits(info: &Arc<ResourceInfo>, path: &ResourcePath) -> bool {
    let place = if info.namespaced {
        path.name.is_empty() || !path.namespace.is_empty()
    } else {
        path.namespace.is_empty()
    };
    let subresource = match path.subresource.as_str() {
        // What is only an answer can't be watched.
        "" => !(path.watches && info.virtual_only),
        _ if path.watches => false,
        "status" => info.status,
        "scale" => info.scale.is_some(),
        other => info.subresources.iter().any(|s| s.name == other),
    };
    place && subresource
}

async fn dispatch(call: &Arc<Call>, method: &Method) -> Result<Response, ApiError> {
    let info = Arc::clone(&call.info);
    // First of all: the right to watch is no right to do anything else.
    if call.path.watches && *method != Method::GET {
        return Err(ApiError::method_not_allowed());
    }
    if info.virtual_only {
        return if *method == Method::POST && call.path.name.is_empty() {
            handlers::review(call).await
        } else {
            Err(ApiError::method_not_allowed())
        };
    }
    match call.path.subresource.as_str() {
        "" => {}
        "scale" => {
            let scale = info.scale.as_ref().ok_or_else(ApiError::no_such_path)?;
            return match *method {
                Method::GET | Method::PUT | Method::PATCH => handlers::scale(call, scale, method).await,
                _ => Err(ApiError::method_not_allowed()),
            };
        }
        "status" => {
            return match *method {
                Method::GET => handlers::get(call).await,
                Method::PUT => handlers::update(call).await,
                Method::PATCH => handlers::patch(call).await,
                _ => Err(ApiError::method_not_allowed()),
            };
        }
        _ => return handlers::other(call, method).await,
    }
    let named = !call.path.name.is_empty();
    match (method.as_str(), named) {
        // A parameter makes no watch of what has a name; only the old paths do.
        ("GET", true) if !call.path.watches => handlers::get(call).await,
        ("GET", _) => {
            let mut options = ListOptions::parse(&call.query)?;
            if named {
                options = options.of_name(&call.path.name);
            }
            if options.watch {
                watch::watch(Arc::clone(call), options).await
            } else {
                handlers::list(call, &options).await
            }
        }
        ("POST", false) => {
            if info.namespaced && call.path.namespace.is_empty() {
                return Err(ApiError::method_not_allowed());
            }
            handlers::create(call).await
        }
        ("POST", true) if info.custom => handlers::create(call).await,
        ("PUT", true) => handlers::update(call).await,
        ("PATCH", true) => handlers::patch(call).await,
        ("PUT" | "PATCH", false) if info.custom => Err(ApiError::bad_request("name must be provided")),
        ("DELETE", true) => handlers::delete_one(call).await,
        ("DELETE", false) if info.allows("deletecollection") => handlers::delete_collection(call).await,
        (_, _) if info.custom => Err(ApiError::verb_not_allowed(&info, "")),
        _ => Err(ApiError::method_not_allowed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_done_that_rights_were_not_looked_for() {
        let decided = |uri: &str| {
            let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
            let what = RequestInfo::of(&Method::GET, path, query);
            match path::parse(path) {
                Target::Resource(path) => is_decided(&what, &path),
                other => panic!("{uri}: {other:?}"),
            }
        };
        for uri in [
            "/api/v1/pods?fieldSelector=metadata.name%3Da",
            "/api/v1/namespaces",
            "/api/v1/namespaces?fieldSelector=metadata.name%3Da",
            "/api/v1/namespaces/x",
            "/api/v1/namespaces/x/finalize",
            "/api/v1/namespaces/x/pods/p/log",
            "/api/v1/watch/namespaces/x",
            "/api/v1/watch/namespaces/x/pods/p",
            "/apis/g/v1/namespaces/x/namespaces/y/status",
            "/apis/g/v1/proxy",
        ] {
            assert!(decided(uri), "{uri}");
        }
        for uri in [
            "/apis/g/v1/proxy/foo",
            "/apis/g/v1/proxy/proxy/foo",
            "/apis/g/v1/namespaces/x/status/foo",
            "/apis/g/v1/namespaces/x/finalize/foo/status",
            "/apis/g/v1/watch/namespaces/x/status/foo",
            "/api/v1/pods/p/log/more",
        ] {
            assert!(!decided(uri), "{uri}");
        }
    }

    #[test]
    fn where_a_client_reaches_the_server_stands_in_one_of_two_places() {
        let host = |uri: &str, header: Option<&str>| {
            let mut request = http::Request::get(uri);
            if let Some(host) = header {
                request = request.header(header::HOST, host);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            host_of(&parts).to_owned()
        };
        assert_eq!(host("https://example.com:6443/api", None), "example.com:6443");
        assert_eq!(host("/api", Some("10.0.0.1:6443")), "10.0.0.1:6443");
        assert_eq!(host("/api", None), "localhost");
    }
}
