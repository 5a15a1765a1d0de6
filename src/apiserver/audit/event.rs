//! One event of the audit log, in the form of `audit.k8s.io/v1` at the level Metadata: who asked for what, and what became of it.
//! It must not hold anything of the body of a request or an answer.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use http::request::Parts;
use http::{HeaderMap, Uri, header};
use serde::Serialize;

use super::super::auth::UserInfo;
use super::super::authorize::Decision;
use super::super::path;
use super::super::request::RequestInfo;
use crate::time::Timestamp;

/// Bytes of the number that a client gives its request.
const ID: usize = 64;
/// Bytes of any other text that comes from a request or an answer.
const TEXT: usize = 1024;
/// Bytes of the groups of a user, and of what else is known of him.
const LIST: usize = 16 * 1024;
/// Parameters that say what a request does.
const PARAMETERS: [&str; 15] = [
    "continue",
    "dryRun",
    "fieldManager",
    "fieldSelector",
    "fieldValidation",
    "force",
    "gracePeriodSeconds",
    "labelSelector",
    "limit",
    "orphanDependents",
    "propagationPolicy",
    "resourceVersion",
    "resourceVersionMatch",
    "timeoutSeconds",
    "watch",
];
/// Addresses a request says it has come over.
const SOURCES: usize = 16;
/// Bytes of a user agent that are kept (kube-apiserver: `maxUserAgentLength`).
const AGENT: usize = 1024;

/// When in the life of a request something is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Stage {
    /// A watch has begun.
    ResponseStarted,
    /// All is over.
    ResponseComplete,
}

/// One event.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Event {
    kind: &'static str,
    api_version: &'static str,
    level: &'static str,
    #[serde(rename = "auditID")]
    id: String,
    stage: Stage,
    #[serde(rename = "requestURI")]
    uri: String,
    verb: String,
    user: User,
    #[serde(skip_serializing_if = "Option::is_none")]
    impersonated_user: Option<User>,
    #[serde(rename = "sourceIPs", skip_serializing_if = "Vec::is_empty")]
    sources: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    user_agent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    object_ref: Option<ObjectRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_status: Option<Answer>,
    request_received_timestamp: String,
    stage_timestamp: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'static str, String>,
}

#[derive(Debug, Clone, Default, Serialize)]
struct User {
    #[serde(skip_serializing_if = "String::is_empty")]
    username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    uid: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra: BTreeMap<String, Vec<String>>,
}

impl From<&UserInfo> for User {
    fn from(user: &UserInfo) -> Self {
        let mut left = LIST;
        let extra = user.extra.iter().map_while(|(key, values)| {
            let key = cut(key, TEXT);
            left = left.checked_sub(key.len() + 1)?;
            Some((key, cut_list(values, &mut left)))
        });
        Self {
            username: cut(&user.name, TEXT),
            uid: cut(&user.uid, TEXT),
            groups: cut_list(&user.groups, &mut { LIST }),
            extra: extra.collect(),
        }
    }
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct ObjectRef {
    resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    api_group: String,
    api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    subresource: String,
}

#[derive(Debug, Clone, Default, Serialize)]
struct Answer {
    metadata: Empty,
    #[serde(skip_serializing_if = "str::is_empty")]
    status: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: Cow<'static, str>,
    code: u16,
}

#[derive(Debug, Clone, Default, Serialize)]
struct Empty {}

/// Why a request failed: what its `Status` says.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) reason: Cow<'static, str>,
    pub(crate) message: String,
}

impl Event {
    /// Begins an event with what a request says of itself.
    pub(crate) fn new(
        id: &str,
        what: &RequestInfo,
        parts: &Parts,
        peer: Option<IpAddr>,
        now: Timestamp,
    ) -> Self {
        let object_ref = what.is_resource.then(|| ObjectRef {
            resource: cut(&what.resource, TEXT),
            namespace: cut(&what.namespace, TEXT),
            name: cut(&what.name, TEXT),
            api_group: cut(&what.group, TEXT),
            api_version: cut(&what.version, TEXT),
            subresource: cut(&what.subresource, TEXT),
        });
        Self {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: "Metadata",
            id: cut(id, ID),
            stage: Stage::ResponseComplete,
            uri: uri(&parts.uri),
            verb: cut(&what.verb, TEXT),
            user: User::default(),
            impersonated_user: None,
            sources: sources(&parts.headers, peer),
            user_agent: agent(&parts.headers),
            object_ref,
            response_status: None,
            request_received_timestamp: micros(now),
            stage_timestamp: String::new(),
            annotations: BTreeMap::new(),
        }
    }

    /// Notes who asks.
    pub(crate) fn asked_by(&mut self, user: &UserInfo) {
        self.user = user.into();
    }

    /// Notes as whom he acts, if that is somebody else.
    pub(crate) fn acts_as(&mut self, user: &UserInfo) {
        self.impersonated_user = Some(user.into());
    }

    /// Notes whether he may, and why.
    pub(crate) fn decided(&mut self, decision: &Decision) {
        let word = if decision.allowed { "allow" } else { "forbid" };
        self.annotations
            .insert("authorization.k8s.io/decision", word.to_owned());
        self.annotations
            .insert("authorization.k8s.io/reason", cut(&decision.reason, TEXT));
    }

    /// Notes what a new object is called, which its path does not say.
    pub(crate) fn named(&mut self, name: &str) {
        if let Some(object) = &mut self.object_ref
            && object.name.is_empty()
        {
            name.clone_into(&mut object.name);
        }
    }

    /// Notes what was answered. What a refused Secret broke may stand in the message, so that is left out.
    pub(crate) fn answered(&mut self, code: u16, failure: Option<&Failure>) {
        let is_secret = self.object_ref.as_ref().is_some_and(|o| o.resource == "secrets");
        let mut answer = Answer {
            code,
            ..Answer::default()
        };
        if let Some(failure) = failure {
            answer.status = "Failure";
            answer.reason.clone_from(&failure.reason);
            if !is_secret {
                answer.message = cut(&failure.message, TEXT);
            }
        }
        self.response_status = Some(answer);
    }

    /// Notes that the client has gone before it was answered.
    pub(crate) fn given_up(&mut self) {
        if self.response_status.is_none() {
            self.response_status = Some(Answer {
                status: "Success",
                message: "Connection closed early".to_owned(),
                code: 200,
                ..Answer::default()
            });
        }
    }

    /// Notes how far the request is.
    pub(crate) fn at(&mut self, stage: Stage, now: Timestamp) {
        self.stage = stage;
        self.stage_timestamp = micros(now);
    }
}

/// Returns the beginning of a text: an event stays small, whatever a client sends.
fn cut(text: &str, most: usize) -> String {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// Returns the first texts of a list, each cut, that are no longer than `left` together, and takes them off that.
fn cut_list(list: &[String], left: &mut usize) -> Vec<String> {
    let texts = list.iter().map_while(|text| {
        let text = cut(text, TEXT);
        *left = left.checked_sub(text.len() + 1)?;
        Some(text)
    });
    texts.collect()
}

/// Returns what was asked for. Of what is long the path and the parameters that say what a request does are kept, each cut: whatever is put
/// before those, it does not hide them.
fn uri(uri: &Uri) -> String {
    let Some(whole) = uri.path_and_query() else {
        return String::new();
    };
    if whole.as_str().len() <= TEXT {
        return whole.as_str().to_owned();
    }
    let (mut text, mut mark) = (cut(whole.path(), TEXT), '?');
    let mut wanted = PARAMETERS.to_vec();
    for pair in whole.query().unwrap_or_default().split('&') {
        let key = path::percent_decode(pair.split('=').next().unwrap_or_default());
        // Of those that are there twice the first counts.
        if let Some(at) = wanted.iter().position(|name| *name == key) {
            wanted.swap_remove(at);
            text.push(mark);
            text.push_str(&cut(pair, TEXT));
            mark = '&';
        }
    }
    text
}

fn micros(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

fn agent(headers: &HeaderMap) -> String {
    let text = headers
        .get(header::USER_AGENT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    // A header that is text has one byte a character.
    match text.get(..AGENT) {
        Some(begin) if text.len() > AGENT => format!("{begin}...TRUNCATED"),
        _ => text.to_owned(),
    }
}

/// The addresses a request came over, the client's first, as far as proxies say and the last of them is known.
fn sources(headers: &HeaderMap, peer: Option<IpAddr>) -> Vec<String> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
    };
    let forwarded = text("x-forwarded-for").split(',');
    let mut all: Vec<IpAddr> = forwarded
        .filter_map(|part| part.trim().parse().ok())
        .take(SOURCES)
        .collect();
    if let Ok(real) = text("x-real-ip").trim().parse()
        && !all.contains(&real)
    {
        all.push(real);
    }
    // The last one is known, the others are what the client says.
    all.truncate(SOURCES - 1);
    if let Some(peer) = peer
        && all.last() != Some(&peer)
    {
        all.push(peer);
    }
    all.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(uri: &str, headers: &[(&'static str, &str)]) -> Event {
        let mut request = http::Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let what = RequestInfo::of(
            &parts.method,
            parts.uri.path(),
            parts.uri.query().unwrap_or_default(),
        );
        let now = "2026-01-02T03:04:05.678901Z".parse().unwrap();
        let mut event = Event::new("an-id", &what, &parts, Some([10, 0, 0, 7].into()), now);
        event.at(Stage::ResponseComplete, now);
        event
    }

    #[test]
    fn an_event_is_written_as_kube_apiserver_writes_it() {
        let mut event = event(
            "/apis/apps/v1/namespaces/n/deployments?limit=5",
            &[("user-agent", "kubectl"), ("x-forwarded-for", "1.2.3.4, nobody")],
        );
        event.asked_by(&UserInfo::new("joe", "", vec!["dev".to_owned()]));
        event.decided(&Decision {
            allowed: true,
            reason: String::new(),
        });
        event.answered(200, None);
        let expected = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"an-id","stage":"ResponseComplete","requestURI":"/apis/apps/v1/namespaces/n/deployments?limit=5","verb":"list","user":{"username":"joe","groups":["dev","system:authenticated"]},"sourceIPs":["1.2.3.4","10.0.0.7"],"userAgent":"kubectl","objectRef":{"resource":"deployments","namespace":"n","apiGroup":"apps","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":200},"requestReceivedTimestamp":"2026-01-02T03:04:05.678901Z","stageTimestamp":"2026-01-02T03:04:05.678901Z","annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":""}}"#;
        assert_eq!(serde_json::to_string(&event).unwrap(), expected);
    }

    #[test]
    fn what_a_secret_broke_is_not_told() {
        let failure = Failure {
            reason: "Invalid".into(),
            message: "it is hunter2".to_owned(),
        };
        let mut secret = event("/api/v1/namespaces/n/secrets/s", &[]);
        secret.answered(422, Some(&failure));
        let text = serde_json::to_string(&secret).unwrap();
        assert!(text.contains("Invalid") && !text.contains("hunter2"), "{text}");
        let mut other = event("/api/v1/namespaces/n/configmaps/s", &[]);
        other.answered(422, Some(&failure));
        assert!(serde_json::to_string(&other).unwrap().contains("hunter2"));
    }

    #[test]
    fn events_stay_small_whatever_a_client_sends() {
        let addresses = vec!["10.0.0.1"; 5000].join(",");
        let long = "ä".repeat(20_000);
        let uri = format!("/api/v1/namespaces/n/configmaps/{}", "x".repeat(20_000));
        let mut event = event(&uri, &[("x-forwarded-for", &addresses)]);
        event.answered(
            400,
            Some(&Failure {
                reason: "BadRequest".into(),
                message: long.clone(),
            }),
        );
        assert_eq!(event.sources.len(), SOURCES);
        assert_eq!(event.sources.last().map(String::as_str), Some("10.0.0.7"));
        assert_eq!(cut(&long, ID + 1).len(), ID);
        let size = serde_json::to_vec(&event).unwrap().len();
        assert!(size < 6 * TEXT, "{size}");
    }

    #[test]
    fn nothing_hides_the_parameters_that_say_what_a_request_does() {
        let junk = "x".repeat(5000);
        let asked = format!(
            "/api/v1/pods?a={junk}&%6CabelSelector=a%3Db&b={junk}&dryRun=All&labelSelector=other&continue={junk}"
        );
        let uri = event(&asked, &[]).uri;
        let (known, long) = uri.split_at("/api/v1/pods?%6CabelSelector=a%3Db&dryRun=All&".len());
        assert_eq!(known, "/api/v1/pods?%6CabelSelector=a%3Db&dryRun=All&");
        assert!(long.starts_with("continue=xxx") && long.len() == TEXT, "{long}");
    }

    #[test]
    fn users_are_cut_as_all_that_clients_send() {
        let long = "ä".repeat(TEXT);
        let groups = (0..1000).map(|n| format!("{n}{long}"));
        let mut user = UserInfo::new(&long, &long, groups.collect());
        let extra = (0..1000).map(|n| (format!("{n}{long}"), vec![long.clone(); 10]));
        user.extra = extra.collect();
        let mut event = event("/api", &[]);
        event.asked_by(&user);
        event.acts_as(&user);
        event.decided(&Decision {
            allowed: true,
            reason: long,
        });
        let size = serde_json::to_vec(&event).unwrap().len();
        assert!(size < 5 * LIST, "{size}");
        assert!(event.user.groups.len() > 10 && event.user.extra.len() > 1);
    }

    #[test]
    fn long_user_agents_are_cut() {
        let long = "x".repeat(AGENT + 1);
        let event = event("/api", &[("user-agent", &long)]);
        assert_eq!(event.user_agent.len(), AGENT + "...TRUNCATED".len());
    }
}
