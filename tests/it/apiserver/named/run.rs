//! Sends the requests of cases to a server and tells all that is not as wanted.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use http::{Request, header::HeaderMap};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use super::format::{Case, Step};
use super::values::{Names, filled, filled_value, missing};
use crate::apiserver::Place;

/// How long a busy server may take for what it must do.
const PATIENCE: Duration = Duration::from_secs(60);
/// The newest version that is known to differ where a case says so.
const OLD: u32 = 20;
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// Runs all cases of a file, several at a time, and fails with all that went wrong.
pub(super) async fn file(name: &str, place: Place) {
    // One case alone, while it is being written.
    let only = std::env::var("MACHINECTL_TEST_CASE").unwrap_or_default();
    let cases = Case::read(name).into_iter().filter(|c| c.name.contains(&only));
    let place = &place;
    let failures: Vec<String> = futures::stream::iter(cases)
        .map(|case| async move {
            let told = outcome(&case, place).await.err();
            told.map(|why| format!("{name}: {}\n    {why}", case.name))
        })
        .buffer_unordered(8)
        .filter_map(std::future::ready)
        .collect()
        .await;
    place.end().await;
    assert!(
        failures.is_empty(),
        "{} cases failed\n\n{}\n",
        failures.len(),
        failures.join("\n\n")
    );
}

/// Runs a case where it can run. Where it says that the server differs, it must fail.
async fn outcome(case: &Case, place: &Place) -> Result<(), String> {
    if case.since.is_some_and(|minor| place.minor < minor) || case.controllers && !place.controlled {
        return Ok(());
    }
    let mut exchange = Exchange::begin(place.client.clone()).await?;
    let ran = exchange.run(case).await;
    exchange.end().await;
    match (&case.differs, ran) {
        (Some(_), Ok(())) if place.minor <= OLD => {
            Err("the case holds: it must not say that this version differs".to_owned())
        }
        (Some(_), Err(_)) if place.minor <= OLD => Ok(()),
        (_, ran) => ran,
    }
}

/// What a server answered.
struct Answer {
    code: u16,
    headers: HeaderMap,
    body: Value,
}

/// A watch that goes on.
struct Stream {
    body: Body,
    rest: Vec<u8>,
}

/// A client in the namespace of one case.
struct Exchange {
    client: Client,
    names: Names,
    streams: BTreeMap<String, Stream>,
}

impl Exchange {
    async fn begin(client: Client) -> Result<Self, String> {
        let mut exchange = Self {
            client,
            names: Names::new(),
            streams: BTreeMap::new(),
        };
        let made = exchange
            .plain(
                "POST",
                "/api/v1/namespaces",
                Some(json!({"metadata": {"generateName": "case-"}})),
            )
            .await?;
        let namespace = made.body["metadata"]["name"].as_str().unwrap_or_default();
        let group = format!("{namespace}.example.com");
        for (name, value) in [
            ("NS", namespace.to_owned()),
            (
                "THINGS",
                format!("/apis/{group}/v1/namespaces/{namespace}/things"),
            ),
            ("CRDS", DEFINITIONS.to_owned()),
            ("CRD", format!("{DEFINITIONS}/things.{group}")),
            ("APPS", format!("/apis/apps/v1/namespaces/{namespace}")),
            ("GROUP", group),
        ] {
            exchange.names.insert(name.to_owned(), value);
        }
        Ok(exchange)
    }

    async fn run(&mut self, case: &Case) -> Result<(), String> {
        if let Some(schema) = &case.schema {
            self.define(schema, &case.serves).await?;
        }
        for (i, step) in case.steps.iter().enumerate() {
            let told = |why| format!("step {} ({}): {why}", i + 1, step.request);
            self.step(step).await.map_err(told)?;
        }
        Ok(())
    }

    /// Makes the kind of the case and waits until it is served.
    async fn define(&self, schema: &Value, serves: &serde_json::Map<String, Value>) -> Result<(), String> {
        let mut version =
            json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
        for (field, value) in serves {
            version[field] = filled_value(value, &self.names);
        }
        let group = &self.names["GROUP"];
        let definition = json!({
            "metadata": {"name": format!("things.{group}")},
            "spec": {
                "group": group, "scope": "Namespaced", "versions": [version],
                "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
            },
        });
        let made = self.plain("POST", DEFINITIONS, Some(definition)).await?;
        if made.code != 201 {
            return Err(format!("the kind was not made: {}", made.body));
        }
        let list = Step {
            request: "GET $THINGS".to_owned(),
            until: true,
            ..Step::default()
        };
        self.asked(&list).await.map(drop)
    }

    /// Removes what does not lie in a namespace.
    async fn end(&mut self) {
        self.streams.clear();
        let suffix = format!(".{}", self.names["GROUP"]);
        if let Ok(list) = self.plain("GET", DEFINITIONS, None).await {
            let names = list.body["items"].as_array().into_iter().flatten();
            let names = names.filter_map(|item| item["metadata"]["name"].as_str());
            for name in names.filter(|name| name.ends_with(&suffix)) {
                let path = format!("{DEFINITIONS}/{name}");
                self.plain("DELETE", &path, None).await.ok();
            }
        }
        let path = format!("/api/v1/namespaces/{}", self.names["NS"]);
        self.plain("DELETE", &path, None).await.ok();
    }

    async fn step(&mut self, step: &Step) -> Result<(), String> {
        if let Some(name) = step.request.strip_prefix("NEXT ") {
            let mut stream = self
                .streams
                .remove(name)
                .ok_or_else(|| format!("there is no watch {name}"))?;
            self.told(&mut stream, &step.events).await?;
            self.streams.insert(name.to_owned(), stream);
            return Ok(());
        }
        if step.request.starts_with("WATCH ") && step.code.is_none() {
            return self.watch(step).await;
        }
        let answer = self.asked(step).await?;
        for (name, at) in &step.keep {
            let value = answer
                .body
                .pointer(at)
                .ok_or_else(|| format!("no {at} in {}", answer.body))?;
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), ToOwned::to_owned);
            self.names.insert(name.clone(), value);
        }
        Ok(())
    }

    async fn watch(&mut self, step: &Step) -> Result<(), String> {
        let answer = self.send(step).await?;
        let code = answer.status().as_u16();
        let mut stream = Stream {
            body: answer.into_body(),
            rest: Vec::new(),
        };
        if code != 200 {
            let all = stream.body.collect_bytes().await.map_err(|e| e.to_string())?;
            return Err(format!("{code} {}", String::from_utf8_lossy(&all)));
        }
        self.told(&mut stream, &step.events).await?;
        if let Some(name) = &step.stream {
            self.streams.insert(name.clone(), stream);
        }
        Ok(())
    }

    /// Reads as many events as are wanted.
    async fn told(&self, stream: &mut Stream, wanted: &[Value]) -> Result<(), String> {
        for (i, wanted) in wanted.iter().enumerate() {
            let wanted = event(&filled_value(wanted, &self.names));
            let bookmark = wanted["type"] == "BOOKMARK";
            let found = loop {
                let found = stream.next().await.map_err(|why| format!("event {i}: {why}"))?;
                // Nobody decides when a server sends marks, or what else appears in a namespace.
                let other = found["object"]["metadata"]["name"] == "kube-root-ca.crt";
                if !other && (bookmark || found["type"] != "BOOKMARK") {
                    break found;
                }
            };
            if let Some(why) = missing(&wanted, &found) {
                return Err(format!("event {i}: {why}\n      in {found}"));
            }
        }
        Ok(())
    }

    /// Sends the request, once or until the answer is as wanted.
    async fn asked(&self, step: &Step) -> Result<Answer, String> {
        let asked = async {
            loop {
                let response = self.send(step).await?;
                let answer = Answer::read(response).await?;
                match self.judge(step, &answer) {
                    Ok(()) => return Ok(answer),
                    // A real server does some things later; it has no event for that.
                    Err(_) if step.until => tokio::time::sleep(Duration::from_millis(20)).await,
                    Err(why) => return Err(why),
                }
            }
        };
        let late = || "the answer never was as wanted".to_owned();
        tokio::time::timeout(PATIENCE, asked).await.map_err(|_| late())?
    }

    async fn plain(&self, method: &str, path: &str, body: Option<Value>) -> Result<Answer, String> {
        let step = Step {
            request: format!("{method} {path}"),
            body,
            ..Step::default()
        };
        Answer::read(self.send(&step).await?).await
    }

    async fn send(&self, step: &Step) -> Result<http::Response<Body>, String> {
        let request = filled(&step.request, &self.names);
        let (method, path) = request.split_once(' ').ok_or("no method")?;
        let (method, content) = match method {
            "APPLY" => ("PATCH", "application/apply-patch+yaml"),
            "MERGE" => ("PATCH", "application/merge-patch+json"),
            "STRATEGIC" => ("PATCH", "application/strategic-merge-patch+json"),
            "JSON" => ("PATCH", "application/json-patch+json"),
            "WATCH" => ("GET", ""),
            other => (other, "application/json"),
        };
        let mut path = match path.strip_prefix('/') {
            Some(_) => path.to_owned(),
            None => format!("/api/v1/namespaces/{}/{path}", self.names["NS"]),
        };
        if step.request.starts_with("WATCH ") {
            path.push_str(if path.contains('?') { "&" } else { "?" });
            path.push_str("watch=true&timeoutSeconds=120");
        }
        let body = match (&step.body, &step.text) {
            (Some(body), _) => filled_value(body, &self.names).to_string(),
            (None, Some(text)) => filled(text, &self.names),
            (None, None) => String::new(),
        };
        let mut headers: BTreeMap<String, String> =
            [("accept".to_owned(), "application/json".to_owned())].into();
        if !body.is_empty() {
            headers.insert("content-type".to_owned(), content.to_owned());
        }
        for (name, value) in &step.headers {
            headers.insert(name.to_lowercase(), filled(value, &self.names));
        }
        let mut request = Request::builder().method(method).uri(&path);
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(name, value);
        }
        let request = request
            .body(Body::from(body.into_bytes()))
            .map_err(|e| e.to_string())?;
        let sent = tokio::time::timeout(PATIENCE, self.client.send(request)).await;
        sent.map_err(|_| "no answer".to_owned())?
            .map_err(|e| e.to_string())
    }

    /// Whether an answer is what was wanted.
    fn judge(&self, step: &Step, answer: &Answer) -> Result<(), String> {
        let Answer { code, headers, body } = answer;
        let created = if step.request.starts_with("POST ") {
            201
        } else {
            200
        };
        let wanted = step.code.unwrap_or(created);
        if *code != wanted {
            return Err(format!("code {code}, not {wanted}: {body}"));
        }
        let fill = |text: &str| filled(text, &self.names);
        let text = body.as_str().or(body["message"].as_str()).unwrap_or_default();
        if let Some(wanted) = step.message.as_deref().map(fill)
            && wanted != text.trim_end()
        {
            return Err(format!("message\n      wanted {wanted}\n      found  {text}"));
        }
        let whole = body.as_str().map_or_else(|| body.to_string(), ToOwned::to_owned);
        if let Some(wanted) = step.says.as_deref().map(fill)
            && !whole.contains(&wanted)
            && !text.contains(&wanted)
        {
            return Err(format!("no {wanted:?} in {whole}"));
        }
        if let Some(wanted) = &step.has
            && let Some(why) = missing(&filled_value(wanted, &self.names), body)
        {
            return Err(format!("{why}\n      in {body}"));
        }
        if let Some(at) = step.lacks.iter().find(|at| body.pointer(&fill(at)).is_some()) {
            return Err(format!("{at} is in {body}"));
        }
        for (at, value) in &step.other {
            let found = body.pointer(at).and_then(Value::as_str).unwrap_or_default();
            if found.is_empty() || found == fill(value) {
                return Err(format!("{at} is {found:?} in {body}"));
            }
        }
        for (name, value) in &step.sends {
            let found = headers
                .get(name)
                .and_then(|v| v.to_str().ok())
                .unwrap_or_default();
            if found != fill(value) {
                return Err(format!("header {name} is {found:?}, not {value:?}"));
            }
        }
        let warned: Vec<String> = headers.get_all("warning").iter().map(warning).collect();
        match step
            .warns
            .as_ref()
            .map(|all| all.iter().map(|w| fill(w)).collect::<Vec<_>>())
        {
            Some(wanted) if wanted != warned => Err(format!("warnings {warned:?}, not {wanted:?}")),
            _ => Ok(()),
        }
    }
}

/// The text of a warning.
fn warning(header: &http::HeaderValue) -> String {
    let text = String::from_utf8_lossy(header.as_bytes()).into_owned();
    let quoted = text
        .strip_prefix("299 - \"")
        .and_then(|rest| rest.strip_suffix('"'));
    quoted.map_or(text.clone(), |quoted| quoted.replace("\\\"", "\""))
}

/// An event as it is wanted; `ADDED a` is short for one.
fn event(wanted: &Value) -> Value {
    match wanted
        .as_str()
        .map(|text| text.split_once(' ').unwrap_or((text, "")))
    {
        Some((kind, "")) => json!({"type": kind}),
        Some((kind, name)) => json!({"type": kind, "object": {"metadata": {"name": name}}}),
        None => wanted.clone(),
    }
}

impl Answer {
    async fn read(response: http::Response<Body>) -> Result<Self, String> {
        let (parts, body) = response.into_parts();
        let bytes = tokio::time::timeout(PATIENCE, body.collect_bytes()).await;
        let bytes = bytes
            .map_err(|_| "the answer never ended".to_owned())?
            .map_err(|e| e.to_string())?;
        let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
        Ok(Self {
            code: parts.status.as_u16(),
            headers: parts.headers,
            body: serde_json::from_slice(&bytes).unwrap_or_else(|_| text()),
        })
    }
}

impl Stream {
    /// The next line.
    async fn next(&mut self) -> Result<Value, String> {
        loop {
            if let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return serde_json::from_slice(&line).map_err(|e| e.to_string());
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await;
            let frame = frame.map_err(|_| "nothing more was told".to_owned())?;
            let frame = frame.ok_or("the watch has ended")?.map_err(|e| e.to_string())?;
            self.rest
                .extend_from_slice(frame.data_ref().map_or(&[][..], |d| d));
        }
    }
}
