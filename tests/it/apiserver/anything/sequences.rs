//! Any sequence of requests: what one answer says fits to the others, and a kube-apiserver answers the same.

use std::collections::{BTreeMap, HashMap};

use http::Request;
use kube::Client;
use kube::client::Body;
use machinectl::apiserver::Server;
use machinectl::time::SystemClock;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::RUNTIME;
use super::steps::{Deed, KINDS, Kind, Known, Step, steps};

/// A client in a namespace, and what it knows of objects.
struct Session {
    client: Client,
    namespace: String,
    seen: HashMap<(Kind, u8), Seen>,
}

/// What was told of an object last.
#[derive(Default, Clone)]
struct Seen {
    uid: String,
    version: String,
    before: String,
}

/// The definition of the custom kind.
fn definition() -> Value {
    let part = json!({"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "text": {"type": "string"}}});
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "number": {"type": "integer", "minimum": 2},
            "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": part},
        }},
        "status": {"type": "object", "properties": {"number": {"type": "integer"}}},
    }});
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}});
    json!({
        "metadata": {"name": "things.anything.example.com"},
        "spec": {
            "group": "anything.example.com", "scope": "Namespaced", "versions": [version],
            "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
        },
    })
}

impl Session {
    /// Makes a namespace, and the custom kind if it is not there.
    async fn begin(client: Client) -> Self {
        let mut session = Self {
            client,
            namespace: String::new(),
            seen: HashMap::new(),
        };
        let namespace = json!({"metadata": {"generateName": "anything-"}});
        let (_, made) = session
            .send("POST", "/api/v1/namespaces", "", Some(&namespace))
            .await;
        session.namespace = made["metadata"]["name"].as_str().unwrap().to_owned();
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        session.send("POST", definitions, "", Some(&definition())).await;
        let things = Kind::Thing.path(&session.namespace);
        while session.send("GET", &things, "", None).await.0 != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        session
    }

    async fn send(&self, method: &str, path: &str, content: &str, body: Option<&Value>) -> (u16, Value) {
        let content = if content.is_empty() {
            "application/json"
        } else {
            content
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Content-Type", content);
        let body = body.map(Value::to_string).unwrap_or_default().into_bytes();
        let answer = self
            .client
            .send(request.body(Body::from(body)).unwrap())
            .await
            .unwrap();
        let code = answer.status().as_u16();
        let bytes = answer.into_body().collect_bytes().await.unwrap();
        (code, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Does a step and takes note of what was told.
    async fn take(&mut self, step: &Step) -> (u16, Value) {
        let (kind, name) = (step.kind, format!("n{}", step.name));
        let known = self.seen.get(&(kind, step.name)).cloned().unwrap_or_default();
        let all = kind.path(&self.namespace);
        let one = format!("{all}/{name}");
        let named = |mut body: Value, which: Known| {
            let version = match which {
                Known::Nothing => "",
                Known::Last => &known.version,
                Known::Stale => &known.before,
            };
            if !version.is_empty() {
                body["metadata"]["resourceVersion"] = version.into();
            }
            body
        };
        let dry_run = if step.dry_run { "dryRun=All&" } else { "" };
        let with = |path: &str, more: &str| format!("{path}?{dry_run}{more}");
        let object = step.content.object(kind, &name);
        let patch = step.content.patch(kind);
        let (merge, strategic) = (
            "application/merge-patch+json",
            "application/strategic-merge-patch+json",
        );
        let (code, told) = match &step.deed {
            Deed::Create => {
                self.send("POST", &with(&all, "fieldManager=maker"), "", Some(&object))
                    .await
            }
            Deed::Update(which) => {
                let body = named(object, *which);
                self.send("PUT", &with(&one, "fieldManager=updater"), "", Some(&body))
                    .await
            }
            Deed::Merge(which) => {
                let body = named(patch, *which);
                self.send("PATCH", &with(&one, "fieldManager=merger"), merge, Some(&body))
                    .await
            }
            Deed::Json => {
                let body = step.content.operations(kind);
                self.send(
                    "PATCH",
                    &with(&one, ""),
                    "application/json-patch+json",
                    Some(&body),
                )
                .await
            }
            // Custom kinds know no strategic merge; there it is refused.
            Deed::Strategic => self.send("PATCH", &with(&one, ""), strategic, Some(&patch)).await,
            Deed::Apply { manager, force } => {
                let more = format!("fieldManager=m{manager}&force={force}");
                self.send(
                    "PATCH",
                    &with(&one, &more),
                    "application/apply-patch+yaml",
                    Some(&object),
                )
                .await
            }
            Deed::Status => {
                let field = if kind == Kind::Thing { "number" } else { "replicas" };
                let body = json!({"status": {field: step.content.number.unwrap_or(1)}});
                self.send("PATCH", &with(&format!("{one}/status"), ""), merge, Some(&body))
                    .await
            }
            Deed::Delete { right_uid } => {
                let uid = if *right_uid { known.uid.as_str() } else { "another" };
                // Where there is a body, the query does not count.
                let mut body = json!({});
                if !uid.is_empty() {
                    body["preconditions"] = json!({ "uid": uid });
                }
                if step.dry_run {
                    body["dryRun"] = json!(["All"]);
                }
                self.send("DELETE", &one, "", Some(&body)).await
            }
            Deed::DeleteAll => {
                self.send("DELETE", &with(&all, "labelSelector=on%3Dv1"), "", None)
                    .await
            }
            Deed::Get => self.send("GET", &one, "", None).await,
            Deed::List => {
                self.send("GET", &format!("{all}?labelSelector=on"), "", None)
                    .await
            }
        };
        self.note(step, code, &told);
        (code, told)
    }

    fn note(&mut self, step: &Step, code: u16, told: &Value) {
        let text = |field: &str| told["metadata"][field].as_str().unwrap_or_default().to_owned();
        if code >= 300 || step.dry_run || text("uid").is_empty() {
            return;
        }
        let seen = self.seen.entry((step.kind, step.name)).or_default();
        let version = text("resourceVersion");
        if version != seen.version {
            seen.before = std::mem::replace(&mut seen.version, version);
        }
        seen.uid = text("uid");
    }

    /// Objects of a kind by name, without what controllers put into each namespace.
    async fn list(&self, kind: Kind) -> (String, BTreeMap<String, Value>) {
        let (_, list) = self.send("GET", &kind.path(&self.namespace), "", None).await;
        let version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        let items = list["items"].as_array().unwrap().iter();
        let items = items.filter(|item| item["metadata"]["name"] != ROOT_CA);
        let items = items.map(|item| {
            (
                item["metadata"]["name"].as_str().unwrap().to_owned(),
                item.clone(),
            )
        });
        (version, items.collect())
    }
}

fn version(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str().unwrap_or("0");
    text.parse().unwrap()
}

/// What a change of an object does to its generation: of a kind that counts, each change of the spec and the beginning of
/// a removal add one.
fn generation(kind: Kind, before: Option<&Value>, after: &Value) -> Option<i64> {
    if kind == Kind::ConfigMap {
        return None;
    }
    let Some(before) = before else {
        return Some(1);
    };
    let ends = |object: &Value| object["metadata"].get("deletionTimestamp").is_some();
    let grows = before["spec"] != after["spec"] || ends(before) != ends(after);
    Some(before["metadata"]["generation"].as_i64().unwrap_or(0) + i64::from(grows))
}

/// Fields with entries of their own.
/// What controllers put into each namespace.
const ROOT_CA: &str = "kube-root-ca.crt";
const GROUPS: [&str; 5] = ["f:labels", "f:annotations", "f:finalizers", "f:data", "f:parts"];

fn is_leaf(fields: &Value) -> bool {
    fields
        .as_object()
        .is_some_and(|all| all.keys().all(|key| key == "."))
}

/// A field that somebody manages though it is not there.
fn managed_in_vain(fields: &Value, content: &Value, at: &str) -> Option<String> {
    fields.as_object().into_iter().flatten().find_map(|(key, inner)| {
        let found = match key.split_once(':') {
            Some(("f", field)) => content.get(field).cloned(),
            Some(("k", keys)) => {
                let keys: Value = serde_json::from_str(keys).unwrap();
                let is = |item: &&Value| keys.as_object().unwrap().iter().all(|(k, v)| item[k] == *v);
                content.as_array().into_iter().flatten().find(is).cloned()
            }
            Some(("v", value)) => {
                let value: Value = serde_json::from_str(value).unwrap();
                content
                    .as_array()
                    .into_iter()
                    .flatten()
                    .find(|item| **item == value)
                    .cloned()
            }
            _ => return None,
        };
        let at = format!("{at}/{key}");
        match found {
            Some(found) => managed_in_vain(inner, &found, &at),
            // A map or list that has lost its last entry stays somebody's, though it is not written.
            None if is_leaf(inner) && GROUPS.contains(&key.as_str()) => None,
            None => Some(at),
        }
    })
}

fn same(a: &Value, b: &Value) -> Result<(), TestCaseError> {
    let bare = |value: &Value| {
        let mut value = value.clone();
        // Items of lists do not say it.
        value
            .as_object_mut()
            .unwrap()
            .retain(|key, _| key != "kind" && key != "apiVersion");
        value
    };
    prop_assert_eq!(bare(a), bare(b));
    Ok(())
}

/// Checks an answer against what was there before.
async fn fits(
    session: &Session,
    step: &Step,
    before: &BTreeMap<String, Value>,
    newest: u64,
    (code, told): &(u16, Value),
) -> Result<(), TestCaseError> {
    let name = format!("n{}", step.name);
    let (list_version, after) = session.list(step.kind).await;
    prop_assert!(list_version.parse::<u64>().unwrap() >= newest);
    if *code >= 300 || step.dry_run {
        prop_assert_eq!(before, &after, "nothing may have happened");
        return Ok(());
    }
    let written = !matches!(
        step.deed,
        Deed::Get | Deed::List | Deed::DeleteAll | Deed::Delete { .. }
    );
    if let Some(now) = after.get(&name).filter(|_| written) {
        same(told, now)?;
        let old = before.get(&name);
        let changed = old != Some(now);
        let last = old.map_or(newest, version);
        let fits = if changed {
            version(now) > last
        } else {
            version(now) == last
        };
        prop_assert!(fits, "version {} after {}", version(now), last);
        prop_assert_eq!(
            now["metadata"]["generation"].as_i64(),
            generation(step.kind, old, now)
        );
    }
    for object in after.values() {
        for entry in object["metadata"]["managedFields"]
            .as_array()
            .into_iter()
            .flatten()
        {
            prop_assert_eq!(
                managed_in_vain(&entry["fieldsV1"], object, ""),
                None,
                "in {}",
                object
            );
        }
    }
    Ok(())
}

/// A watch from the beginning, told again from its start, ends in what is there.
async fn replays(session: &Session, kind: Kind, start: &str) -> Result<(), TestCaseError> {
    let (_, wanted) = session.list(kind).await;
    let path = format!(
        "{}?watch=true&timeoutSeconds=60&resourceVersion={start}",
        kind.path(&session.namespace)
    );
    let request = Request::builder().uri(path).body(Body::empty()).unwrap();
    let mut stream = session.client.send(request).await.unwrap().into_body();
    let mut found: BTreeMap<String, Value> = BTreeMap::new();
    let (mut rest, mut last) = (Vec::new(), 0);
    let newest = wanted.values().map(version).max().unwrap_or(0);
    // The marker is what comes last.
    let marker = super::steps::plain().object(kind, "marker");
    session
        .send("POST", &kind.path(&session.namespace), "", Some(&marker))
        .await;
    loop {
        let frame = http_body_util::BodyExt::frame(&mut stream);
        let frame = tokio::time::timeout(std::time::Duration::from_secs(60), frame).await;
        let Some(frame) = frame.expect("a watch tells all") else {
            break;
        };
        rest.extend_from_slice(frame.unwrap().data_ref().unwrap());
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let event: Value = serde_json::from_slice(&line).unwrap();
            let object = &event["object"];
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            if name == "marker" {
                prop_assert_eq!(
                    found.keys().collect::<Vec<_>>(),
                    wanted.keys().collect::<Vec<_>>()
                );
                for (name, object) in &found {
                    same(object, &wanted[name])?;
                }
                prop_assert!(last >= newest);
                return Ok(());
            }
            prop_assert!(version(object) > last, "versions grow");
            last = version(object);
            if name == ROOT_CA {
                continue;
            }
            if event["type"] == "DELETED" {
                found.remove(&name);
            } else {
                found.insert(name, object.clone());
            }
        }
    }
    prop_assert!(false, "the watch ended");
    Ok(())
}

async fn holds_together(steps: &[Step]) -> Result<(), TestCaseError> {
    let server = Server::in_memory(std::sync::Arc::new(SystemClock));
    let mut session = Session::begin(server.client()).await;
    let (start, _) = session.list(Kind::ConfigMap).await;
    for step in steps {
        let (newest, before) = session.list(step.kind).await;
        let answer = session.take(step).await;
        fits(&session, step, &before, newest.parse().unwrap(), &answer).await?;
    }
    for kind in KINDS {
        replays(&session, kind, &start).await?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_sequence_holds_together(steps in steps()) {
        RUNTIME.block_on(holds_together(&steps))?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    #[ignore = "long: thousands of sequences"]
    fn very_many_sequences_hold_together(steps in steps()) {
        RUNTIME.block_on(holds_together(&steps))?;
    }
}

mod kubernetes {
    use super::*;
    use crate::apiserver::Place;

    /// What of an answer must be the same on all servers and in all versions.
    fn told(answer: &(u16, Value)) -> Value {
        let (code, body) = answer;
        if *code >= 300 {
            return json!({"code": code, "reason": body["reason"]});
        }
        json!({"code": code, "body": bare(body)})
    }

    /// Without what is different each time, and without who manages what, which newer versions know better.
    fn bare(value: &Value) -> Value {
        const VOLATILE: [&str; 9] = [
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "deletionTimestamp",
            "managedFields",
            "namespace",
            "continue",
            "selfLink",
            "time",
        ];
        match value {
            Value::Object(fields) => {
                let kept = fields.iter().filter(|(key, _)| !VOLATILE.contains(&key.as_str()));
                Value::Object(kept.map(|(key, value)| (key.clone(), bare(value))).collect())
            }
            // v1.20 puts what is new in a list that is applied at its end, newer versions where it was said.
            Value::Array(items) => {
                let mut items: Vec<Value> = items.iter().map(bare).collect();
                items.sort_by_key(Value::to_string);
                Value::Array(items)
            }
            other => other.clone(),
        }
    }

    async fn is_the_same(real: Client, steps: &[Step]) -> Result<(), TestCaseError> {
        let options = machinectl::apiserver::Options {
            controllers: false,
            ..Default::default()
        };
        let server = Server::in_memory_with(std::sync::Arc::new(SystemClock), options);
        let mut mine = Session::begin(server.client()).await;
        let mut real = Session::begin(real).await;
        let mut outcome = Ok(());
        // v1.20 takes away what is no longer applied in another way; the recorded answers of v1.36 are full of that.
        let alike = steps
            .iter()
            .filter(|step| !matches!(step.deed, Deed::Apply { .. }));
        for (i, step) in alike.enumerate() {
            let (a, b) = (mine.take(step).await, real.take(step).await);
            if told(&a) != told(&b) {
                let why = format!(
                    "step {i} {step:?}\n embedded {}\n real     {}\n{} {}",
                    told(&a),
                    told(&b),
                    a.1,
                    b.1
                );
                outcome = Err(TestCaseError::fail(why));
                break;
            }
        }
        let path = format!("/api/v1/namespaces/{}", real.namespace);
        real.send("DELETE", &path, "", None).await;
        outcome
    }

    static REAL: std::sync::LazyLock<Client> =
        std::sync::LazyLock::new(|| RUNTIME.block_on(Place::kubernetes()).client.clone());

    proptest! {
        #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::with_cases(12) })]

        #[test]
        fn any_sequence_is_answered_alike(steps in steps()) {
            RUNTIME.block_on(is_the_same(REAL.clone(), &steps))?;
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::with_cases(500) })]

        #[test]
        #[ignore = "long: hundreds of sequences on two servers"]
        fn very_many_sequences_are_answered_alike(steps in steps()) {
            RUNTIME.block_on(is_the_same(REAL.clone(), &steps))?;
        }
    }
}
