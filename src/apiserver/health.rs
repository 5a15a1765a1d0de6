//! `/healthz`, `/livez` and `/readyz`: whether the server is well, as a whole and check by check. It must not repair anything.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};

use super::Server;
use super::path;
use super::schema::go_quote;

/// Something that can be well or not.
struct Check {
    name: &'static str,
    /// Whether only `/readyz` has it.
    readiness: bool,
    /// Says what is wrong.
    run: fn(&Server) -> Result<(), &'static str>,
}

/// All checks, in the order in which they are told. Their names are kube-apiserver's; what is there called `etcd` is the state's file here.
const CHECKS: &[Check] = &[
    Check {
        name: "ping",
        readiness: false,
        run: |_| Ok(()),
    },
    Check {
        name: "log",
        readiness: false,
        run: |_| Ok(()),
    },
    Check {
        name: "etcd",
        readiness: false,
        run: can_write,
    },
    Check {
        name: "etcd-readiness",
        readiness: true,
        run: can_write,
    },
    Check {
        name: "poststarthook/rbac/bootstrap-roles",
        readiness: false,
        // They are there before the first request is answered.
        run: |_| Ok(()),
    },
    Check {
        name: "shutdown",
        readiness: true,
        run: |server| {
            if *server.0.closing.borrow() {
                Err("process is shutting down")
            } else {
                Ok(())
            }
        },
    },
];

fn can_write(server: &Server) -> Result<(), &'static str> {
    if server.store().can_write() {
        Ok(())
    } else {
        Err("the state can't be written")
    }
}

/// The three questions.
const ROOTS: [&str; 3] = ["healthz", "livez", "readyz"];

/// Returns all paths that are answered here.
pub(crate) fn paths() -> impl Iterator<Item = String> {
    ROOTS.into_iter().flat_map(|root| {
        let single = checks(root).map(move |check| format!("/{root}/{}", check.name));
        std::iter::once(format!("/{root}")).chain(single)
    })
}

fn checks(root: &str) -> impl Iterator<Item = &'static Check> {
    let is_readiness = root == "readyz";
    CHECKS
        .iter()
        .filter(move |check| is_readiness || !check.readiness)
}

/// Answers a request on one of the paths; nothing if it is on another.
pub(crate) fn answer(server: &Server, path: &str, query: &str) -> Option<Response> {
    let path = path.strip_prefix('/')?;
    let (root, name) = match path.split_once('/') {
        Some((root, name)) => (root, Some(name)),
        None => (path, None),
    };
    let root = ROOTS.into_iter().find(|known| *known == root)?;
    let Some(name) = name else {
        return Some(all(server, root, query));
    };
    let check = checks(root).find(|check| check.name == name)?;
    Some(match (check.run)(server) {
        Ok(()) => text(StatusCode::OK, "ok".to_owned(), false),
        Err(why) => failed(format!("internal server error: {why}\n")),
    })
}

fn all(server: &Server, root: &str, query: &str) -> Response {
    let query = path::query(query);
    let mut excluded: Vec<&str> = query
        .iter()
        .filter(|(key, _)| key == "exclude")
        .map(|(_, name)| name.as_str())
        .collect();
    excluded.sort_unstable();
    excluded.dedup();
    let (mut lines, mut is_well) = (String::new(), true);
    for check in checks(root) {
        let before = excluded.len();
        excluded.retain(|name| *name != check.name);
        let (sign, verdict) = if excluded.len() < before {
            ('+', "excluded: ok")
        } else if (check.run)(server).is_ok() {
            ('+', "ok")
        } else {
            is_well = false;
            ('-', "failed: reason withheld")
        };
        lines.extend([&format!("[{sign}]"), check.name, " ", verdict, "\n"]);
    }
    if !excluded.is_empty() {
        let names: Vec<String> = excluded.into_iter().map(go_quote).collect();
        lines.extend([
            "warn: some health checks cannot be excluded: no matches for ",
            &names.join(","),
            "\n",
        ]);
    }
    if !is_well {
        return failed(format!("{lines}{root} check failed\n"));
    }
    if query.iter().any(|(key, _)| key == "verbose") {
        lines.extend([root, " check passed\n"]);
        return text(StatusCode::OK, lines, true);
    }
    text(StatusCode::OK, "ok".to_owned(), true)
}

fn failed(body: String) -> Response {
    text(StatusCode::INTERNAL_SERVER_ERROR, body, true)
}

fn text(code: StatusCode, body: String, nosniff: bool) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, private"),
    );
    if nosniff {
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
    }
    response
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    async fn ask(server: &Server, target: &str) -> (u16, String) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let response = answer(server, path, query).unwrap();
        let code = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX)
            .await
            .unwrap();
        (code, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_state_that_cannot_be_written_is_told_but_not_why() {
        let server = Server::in_memory(Arc::new(crate::time::SystemClock));
        assert_eq!(ask(&server, "/livez").await, (200, "ok".to_owned()));
        server.store().close();
        let expected = "[+]ping ok\n[+]log ok\n[-]etcd failed: reason withheld\n\
            [+]poststarthook/rbac/bootstrap-roles ok\nlivez check failed\n";
        assert_eq!(ask(&server, "/livez").await, (500, expected.to_owned()));
        let single = ask(&server, "/healthz/etcd").await;
        let expected = "internal server error: the state can't be written\n";
        assert_eq!(single, (500, expected.to_owned()));
        // Who excludes what fails hears that all is well.
        assert_eq!(ask(&server, "/healthz?exclude=etcd").await.0, 200);
        assert_eq!(ask(&server, "/readyz?exclude=etcd").await.0, 500);
    }

    #[tokio::test]
    async fn a_server_that_closes_lives_but_is_not_ready() {
        let server = Server::in_memory(Arc::new(crate::time::SystemClock));
        assert_eq!(ask(&server, "/readyz/shutdown").await.0, 200);
        server.close();
        let (code, text) = ask(&server, "/readyz?verbose").await;
        assert_eq!(code, 500);
        assert!(text.contains("[-]shutdown failed: reason withheld\n"), "{text}");
        assert_eq!(ask(&server, "/livez").await.0, 200);
        assert!(answer(&server, "/livez/shutdown", "").is_none());
    }
}
