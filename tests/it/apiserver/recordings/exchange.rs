//! Sends recorded requests to a server and remembers what later ones need: versions and UIDs of objects.

use std::collections::HashMap;

use http::Request;
use kube::{Client, client::Body as ClientBody};
use serde_json::{Value, json};

use super::{
    data::{Answer, Body, Event, Sent},
    normal::{normal, recorded},
};

const WIDGETS: &str = "/apis/differ.test/v1/namespaces/{ns}/widgets";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// A client of one server, in the namespace of one recording.
pub(super) struct Exchange {
    client: Client,
    namespace: String,
    objects: HashMap<String, Known>,
    /// Version at which the recording begins.
    start: String,
}

/// What was last seen of an object.
#[derive(Default)]
struct Known {
    uid: String,
    version: Option<String>,
    before: Option<String>,
}

impl Exchange {
    /// Makes the namespace and the custom kind.
    pub(super) async fn begin(client: Client, seed: u32, definition: &Value) -> Self {
        let exchange = Self {
            client,
            namespace: format!("cases-{seed}-1"),
            objects: HashMap::new(),
            start: String::new(),
        };
        let namespace =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": exchange.namespace } });
        assert_eq!(
            exchange
                .plain("POST", "/api/v1/namespaces", Some(&namespace))
                .await
                .0,
            201
        );
        assert_eq!(exchange.plain("POST", DEFINITIONS, Some(definition)).await.0, 201);
        let served = async { while exchange.plain("GET", WIDGETS, None).await.0 != 200 {} };
        tokio::time::timeout(std::time::Duration::from_secs(120), served)
            .await
            .unwrap();
        let widget = json!({
            "apiVersion": "differ.test/v1", "kind": "Widget", "metadata": { "name": "warm-up" }, "spec": { "size": 1 },
        });
        exchange.plain("POST", WIDGETS, Some(&widget)).await;
        exchange
            .plain("DELETE", &format!("{WIDGETS}/warm-up"), None)
            .await;
        let (_, list) = exchange.plain("GET", WIDGETS, None).await;
        let start = list["metadata"]["resourceVersion"].as_str().unwrap();
        Self {
            start: start.to_owned(),
            ..exchange
        }
    }

    async fn plain(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let body = body.map(Value::to_string);
        let (code, body, _) = self
            .send(method, path, body, "application/json", "application/json")
            .await;
        (code, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<String>,
        content: &str,
        accept: &str,
    ) -> (u16, Vec<u8>, Vec<String>) {
        let path = path.replace("{ns}", &self.namespace);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("Accept", accept);
        if body.is_some() {
            request = request.header("Content-Type", content);
        }
        let body = body.unwrap_or_default().into_bytes();
        let answer = self
            .client
            .send(request.body(ClientBody::from(body)).unwrap())
            .await
            .unwrap();
        let warnings = answer.headers().get_all("warning").iter();
        let warnings = warnings.map(|w| w.to_str().unwrap().to_owned()).collect();
        let code = answer.status().as_u16();
        let body = answer.into_body().collect_bytes().await.unwrap();
        (code, body.to_vec(), warnings)
    }

    /// Sends a request of the recording.
    pub(super) async fn replay(&mut self, sent: &Sent) -> Answer {
        let key = sent.path.split('?').next().unwrap_or_default().to_owned();
        let body = match &sent.body {
            Body::Nothing => None,
            Body::Text(text) => Some(text.clone()),
            Body::Object(object) => {
                let object = self.filled(object, &key);
                Some(object.to_string().replace("{ns}", &self.namespace))
            }
        };
        let (code, body, warnings) = self
            .send(&sent.method, &sent.path, body, &sent.content, &sent.accept)
            .await;
        if let Ok(object) = serde_json::from_slice::<Value>(&body) {
            self.remember(sent, key, &object);
        }
        recorded(code, &body, warnings, &self.namespace)
    }

    /// Replaces the marks that ask for an object's own version or UID.
    fn filled(&self, body: &Value, key: &str) -> Value {
        let mut body = body.clone();
        let none = Known::default();
        let known = self.objects.get(key).unwrap_or(&none);
        let Some(fields) = body.as_object_mut() else {
            return body;
        };
        let version = fields.remove("__rv");
        let uid = fields.remove("__uid");
        if fields.remove("__pre").is_some() {
            let version = known.version.as_deref().unwrap_or_default();
            fields.insert(
                "preconditions".to_owned(),
                json!({ "uid": known.uid, "resourceVersion": version }),
            );
        }
        let version = match version.as_ref().and_then(Value::as_str) {
            Some("cur") => known.version.as_deref(),
            Some("stale") => known.before.as_deref(),
            Some("bad") => Some("zz"),
            _ => None,
        };
        if let Some(version) = version {
            body["metadata"]["resourceVersion"] = json!(version);
        }
        match uid.as_ref().and_then(Value::as_str) {
            Some("cur") if known.uid.is_empty() => body["metadata"]["uid"] = json!("none"),
            Some("cur") => body["metadata"]["uid"] = json!(known.uid),
            Some(_) => body["metadata"]["uid"] = json!("wrong-uid"),
            None => {}
        }
        body
    }

    fn remember(&mut self, sent: &Sent, mut key: String, object: &Value) {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        if text("uid").is_empty() || sent.method == "DELETE" || sent.path.contains("dryRun") {
            return;
        }
        if sent.method == "POST" {
            key = format!("{key}/{}", text("name"));
        }
        let known = self.objects.entry(key).or_default();
        let version = Some(text("resourceVersion")).filter(|version| !version.is_empty());
        if version.is_some() && version != known.version {
            known.before = std::mem::replace(&mut known.version, version);
        }
        known.uid = text("uid");
    }

    /// Everything that a watch from the beginning tells.
    pub(super) async fn watched(&self, path: &str) -> (u16, Vec<Event>) {
        let path = format!("{path}?watch=1&timeoutSeconds=1&resourceVersion={}", self.start);
        let (code, body, _) = self.send("GET", &path, None, "", "application/json").await;
        let text = String::from_utf8(body).unwrap();
        let events = text.lines().filter(|line| !line.trim().is_empty()).map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            let kind = event["type"].as_str().unwrap().to_owned();
            Event(kind, normal(&event["object"], &self.namespace))
        });
        (code, events.filter(|Event(kind, _)| kind != "BOOKMARK").collect())
    }
}
