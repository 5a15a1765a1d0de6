//! Replays recorded requests to one custom kind against the pure rooms (schema, patches, server-side apply), and
//! compares the objects and refusals with what kube-apiserver answered. Where the state of an object is not known, the
//! request is left out.
//!
//! With `MACHINECTL_RECORDINGS` set to a folder of `*.json.gz` files, those are replayed; otherwise the small
//! extract in `tests/fixtures`.

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;

use serde_json::{Map, Value, json};

use super::{Manager, SsaError, apply, managed, scale_from_parent, scale_into_parent, track_update};
use crate::apiserver::object::patch::{json_patch, merge_patch};
use crate::apiserver::schema::{FieldError, Structural, aggregate};
use crate::time::{SignedDuration, Timestamp};

const VERSION: &str = "differ.test/v1";
const REPLICAS: [(&str, &[&str]); 1] = [(VERSION, &["spec", "replicas"])];

/// What is known of an object.
enum Known {
    /// As the server has it.
    Exact(Value),
    /// Does not exist.
    Absent,
}

struct Replay {
    schema: Structural,
    known: HashMap<String, Known>,
    now: Timestamp,
    compared: usize,
    faults: Vec<String>,
    kinds: BTreeMap<&'static str, usize>,
}

fn query<'a>(path: &'a str, key: &str) -> Option<&'a str> {
    let (_, query) = path.split_once('?')?;
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
}

/// What a comparison looks at: neither times nor what the server numbers.
fn shown(object: &Value) -> Value {
    let mut out = object.clone();
    let Some(metadata) = out.get_mut("metadata").and_then(Value::as_object_mut) else {
        return out;
    };
    for key in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "deletionTimestamp",
    ] {
        metadata.remove(key);
    }
    metadata.remove("deletionGracePeriodSeconds");
    if let Some(entries) = metadata.get_mut("managedFields").and_then(Value::as_array_mut) {
        for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
            entry.remove("time");
        }
        entries.sort_by_cached_key(Value::to_string);
    }
    metadata.retain(|_, v| !v.is_null() && v.as_object().is_none_or(|m| !m.is_empty()));
    out
}

impl Replay {
    fn run(&mut self, case: &Value) {
        self.now += SignedDuration::from_secs(1);
        let text = |i: usize| case["op"].get(i).and_then(Value::as_str).unwrap_or("");
        let (method, path, media) = (text(0), text(1), text(3));
        let body = &case["op"][2];
        let Some(rest) = path.strip_prefix("/apis/differ.test/v1/namespaces/{ns}/widgets") else {
            return;
        };
        let resource = rest.split('?').next().unwrap_or("");
        let parts: Vec<&str> = resource.split('/').filter(|p| !p.is_empty()).collect();
        let code = case["code"].as_u64().unwrap_or(0);
        let answer = &case["answer"];
        let table = text(4).contains("as=");
        if table || body.get("__bytes").is_some() {
            return;
        }
        let dry = query(path, "dryRun").is_some();
        match (method, parts.as_slice()) {
            ("POST", [] | [_]) => self.create(path, body, code, answer, dry),
            ("DELETE", []) => self.known.clear(),
            ("DELETE", [name]) if code < 300 && !dry && body["dryRun"].is_null() => {
                let known = match answer["kind"].as_str() {
                    Some("Widget") if finalized(answer) => Known::Absent,
                    Some("Widget") => Known::Exact(answer.clone()),
                    _ => Known::Absent,
                };
                self.known.insert((*name).to_owned(), known);
            }
            ("GET", [name]) => self.see(name, code, answer),
            ("PUT" | "PATCH", [name]) => self.change(name, "", path, media, body, code, answer, dry),
            ("PATCH", [name, "status"]) => self.change(name, "status", path, media, body, code, answer, dry),
            ("PATCH", [name, "scale"]) => self.scale(name, body, code),
            _ => {}
        }
    }

    fn see(&mut self, name: &str, code: u64, answer: &Value) {
        match code {
            200 => {
                if let Some(Known::Exact(live)) = self.known.get(name) {
                    let live = live.clone();
                    self.compare("get", name, &live, answer);
                }
                self.known.insert(name.to_owned(), Known::Exact(answer.clone()));
            }
            404 => {
                self.known.insert(name.to_owned(), Known::Absent);
            }
            _ => {}
        }
    }

    fn compare(&mut self, what: &'static str, name: &str, mine: &Value, theirs: &Value) {
        self.compared += 1;
        *self.kinds.entry(what).or_default() += 1;
        let (mine, theirs) = (shown(mine), shown(theirs));
        if mine != theirs {
            self.faults
                .push(format!("{what} {name}\n  wanted {theirs}\n  got    {mine}"));
        }
    }

    /// Compares refusals. Those of metadata and preconditions are not of these rooms.
    fn compare_refusal(
        &mut self,
        what: &'static str,
        errors: &[FieldError],
        code: u64,
        answer: &Value,
    ) -> bool {
        let message = answer["message"].as_str().unwrap_or("");
        if errors.is_empty() {
            let ours = code == 422 && (message.contains("spec.") || message.contains("status."));
            if ours {
                self.faults.push(format!("{what}: not refused: {message}"));
            }
            return code >= 400;
        }
        if code != 422
            || message.contains("must be specified for an update")
            || message.contains("Options.meta.k8s.io")
        {
            // Something that is checked earlier has refused it.
            if code < 300 {
                self.faults
                    .push(format!("{what}: refused: {}", aggregate(errors)));
            }
            return true;
        }
        self.compared += 1;
        *self.kinds.entry("refusal").or_default() += 1;
        for error in errors {
            if !message.contains(&error.to_string()) {
                self.faults
                    .push(format!("{what}\n  wanted {message}\n  got    {error}"));
            }
        }
        true
    }

    fn decoded(&self, mut object: Value) -> Value {
        self.schema.prune(&mut object);
        self.schema.drop_nulls(&mut object);
        self.schema.apply_defaults(&mut object);
        Structural::prune_metadata(&mut object);
        Structural::tidy_metadata(&mut object);
        object
    }

    fn refusals(&self, object: &Value, old: Option<&Value>, status: bool) -> Vec<FieldError> {
        let mut errors = if status {
            self.schema.status_value_errors(object, old)
        } else {
            let mut errors = self.schema.value_errors(object, old);
            errors.extend(Structural::scale_errors(object, ".spec.replicas"));
            errors
        };
        errors.extend(self.schema.list_errors(object, old));
        errors.extend(self.schema.rule_errors(object, old, &errors));
        errors
    }

    fn create(&mut self, path: &str, body: &Value, code: u64, answer: &Value, dry: bool) {
        if code == 400 || body["kind"] != "Widget" || body["apiVersion"] != VERSION {
            return;
        }
        let mut new = self.decoded(body.clone());
        let manager = Manager {
            name: query(path, "fieldManager").unwrap_or(""),
            api_version: VERSION,
            subresource: "",
        };
        track_update(None, &mut new, &manager, &self.schema, &[&["status"]], self.now);
        if let Some(object) = new.as_object_mut() {
            object.remove("status");
        }
        let errors = self.refusals(&new, None, false);
        if self.compare_refusal("create", &errors, code, answer) {
            return;
        }
        new["metadata"]["namespace"] = json!("{ns}");
        new["metadata"]["name"] = answer["metadata"]["name"].clone();
        self.compare("create", path, &new, answer);
        if let Some(name) = answer["metadata"]["name"].as_str().filter(|_| !dry) {
            self.known.insert(name.to_owned(), Known::Exact(answer.clone()));
        }
    }

    #[expect(clippy::too_many_arguments, reason = "a recorded request has that many parts")]
    fn change(
        &mut self,
        name: &str,
        subresource: &'static str,
        path: &str,
        media: &str,
        body: &Value,
        code: u64,
        answer: &Value,
        dry: bool,
    ) {
        let after = self.try_change(name, subresource, path, media, body, code, answer);
        if code >= 300 || dry {
            return;
        }
        if let Some(after) = after {
            self.compare(
                if subresource.is_empty() {
                    "change"
                } else {
                    "status"
                },
                name,
                &after,
                answer,
            );
        }
        let known = if finalized(answer) {
            Known::Absent
        } else {
            Known::Exact(answer.clone())
        };
        self.known.insert(name.to_owned(), known);
    }

    #[expect(clippy::too_many_arguments, reason = "a recorded request has that many parts")]
    fn try_change(
        &mut self,
        name: &str,
        subresource: &'static str,
        path: &str,
        media: &str,
        body: &Value,
        code: u64,
        answer: &Value,
    ) -> Option<Value> {
        if code == 400 || code == 404 || code == 415 {
            return None;
        }
        let live = match self.known.get(name)? {
            Known::Exact(live) => Some(live.clone()),
            Known::Absent => None,
        };
        let name_of_manager = query(path, "fieldManager").unwrap_or("");
        let manager = Manager {
            name: name_of_manager,
            api_version: VERSION,
            subresource,
        };
        let reset: &[&[&str]] = if subresource.is_empty() {
            &[&["status"]]
        } else {
            &[
                &["spec"],
                &["metadata", "labels"],
                &["metadata", "annotations"],
                &["metadata", "finalizers"],
                &["metadata", "ownerReferences"],
                &["metadata", "deletionTimestamp"],
                &["metadata", "selfLink"],
            ]
        };
        let mut new = if media.contains("apply") {
            let force = query(path, "force") == Some("true");
            if name_of_manager.is_empty() {
                return None;
            }
            match apply(
                live.as_ref(),
                body,
                &manager,
                &self.schema,
                force,
                reset,
                self.now,
            ) {
                Ok(new) => new,
                Err(error) => {
                    self.compare_error(&error, code, answer);
                    return None;
                }
            }
        } else {
            let live = live.as_ref()?;
            let mut new = match media {
                "application/merge-patch+json" => merge_patch(live, body).ok()?,
                "application/json-patch+json" => match json_patch(live, body) {
                    Ok(new) => new,
                    Err(error) => {
                        if code < 300 {
                            self.faults.push(format!("patch {body} refused: {error}"));
                        }
                        return None;
                    }
                },
                _ => {
                    let mut new = body.as_object().cloned().unwrap_or_default();
                    new.retain(|key, _| !key.starts_with("__"));
                    Value::Object(new)
                }
            };
            if new["kind"] != "Widget" || new["metadata"]["name"] != name {
                return None;
            }
            new = self.decoded(new);
            new["metadata"]["uid"] = live["metadata"]["uid"].clone();
            new["metadata"]["namespace"] = live["metadata"]["namespace"].clone();
            track_update(Some(live), &mut new, &manager, &self.schema, reset, self.now);
            new
        };
        if code == 409 {
            return None;
        }
        let status = !subresource.is_empty();
        if let Some(live) = &live {
            reset_fields(&mut new, live, status);
        } else if let Some(object) = new.as_object_mut() {
            object.remove("status");
        }
        let errors = self.refusals(&new, live.as_ref(), status);
        if self.compare_refusal("change", &errors, code, answer) {
            return None;
        }
        new["metadata"]["namespace"] = json!("{ns}");
        Some(new)
    }

    fn compare_error(&mut self, error: &SsaError, code: u64, answer: &Value) {
        let message = answer["message"].as_str().unwrap_or("");
        let wanted = match error {
            SsaError::Conflicts(_) => 409,
            SsaError::BadRequest(_) => 400,
            SsaError::Internal(_) => 500,
        };
        self.compared += 1;
        *self.kinds.entry("apply error").or_default() += 1;
        let mut lines: Vec<&str> = message.lines().collect();
        let told = error.to_string();
        let mut mine: Vec<&str> = told.lines().collect();
        lines.sort_unstable();
        mine.sort_unstable();
        // The real server stops at the first unknown field of a map, in random order.
        let random = message.contains("field not declared") && told.contains("field not declared");
        if code != wanted || (lines != mine && !random) {
            self.faults
                .push(format!("apply: wanted {code} {message}\n  got {wanted} {told}"));
        }
    }

    fn scale(&mut self, name: &str, body: &Value, code: u64) {
        let Some(Known::Exact(live)) = self.known.get(name) else {
            return;
        };
        if code >= 300 {
            return;
        }
        let mut after = live.clone();
        let replicas = body["spec"]["replicas"].clone();
        let none = Vec::new();
        let parent = managed::entries(live)
            .and_then(Value::as_array)
            .unwrap_or(&none)
            .clone();
        let scale = |replicas: &Value, entries: Vec<Value>| {
            json!({"apiVersion": "autoscaling/v1", "kind": "Scale",
                   "metadata": {"uid": "u", "name": name, "managedFields": entries}, "spec": {"replicas": replicas}})
        };
        let shown = scale_from_parent(&parent, &REPLICAS);
        let old = scale(live["spec"].get("replicas").unwrap_or(&json!(0)), shown.clone());
        let mut new = scale(&replicas, shown);
        let schema = Structural::compile(&json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {"replicas": {"type": "integer"}}}}}))
        .unwrap();
        let manager = Manager {
            name: "",
            api_version: "autoscaling/v1",
            subresource: "scale",
        };
        track_update(Some(&old), &mut new, &manager, &schema, &[], self.now);
        let entries = managed::entries(&new)
            .and_then(Value::as_array)
            .unwrap_or(&none)
            .clone();
        let entries = scale_into_parent(&parent, &entries, VERSION, &REPLICAS);
        after["spec"]["replicas"] = replicas;
        managed::set_entries(&mut after, Some(entries));
        self.known.insert(name.to_owned(), Known::Exact(after));
    }
}

/// Whether the answer is that of an object that is gone with it.
fn finalized(object: &Value) -> bool {
    let metadata = &object["metadata"];
    !metadata["deletionTimestamp"].is_null() && metadata["finalizers"].as_array().is_none_or(Vec::is_empty)
}

/// What the strategies of custom resources put back on an update.
fn reset_fields(new: &mut Value, live: &Value, status: bool) {
    let Some(object) = new.as_object_mut() else { return };
    if !status {
        match live.get("status") {
            Some(old) => object.insert("status".to_owned(), old.clone()),
            None => object.remove("status"),
        };
        return;
    }
    let entries = object
        .get("metadata")
        .and_then(|m| m.get("managedFields"))
        .cloned();
    let now = object.get("status").cloned();
    let mut kept: Map<String, Value> = live.as_object().cloned().unwrap_or_default();
    match now {
        Some(now) => kept.insert("status".to_owned(), now),
        None => kept.remove("status"),
    };
    *object = kept;
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        match entries {
            Some(entries) => metadata.insert("managedFields".to_owned(), entries),
            None => metadata.remove("managedFields"),
        };
    }
}

fn replay(recording: &Value) -> Replay {
    let schema = &recording["crd"]["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut replay = Replay {
        schema: Structural::compile(schema).unwrap(),
        known: HashMap::new(),
        now: Timestamp::UNIX_EPOCH,
        compared: 0,
        faults: Vec::new(),
        kinds: BTreeMap::new(),
    };
    for case in recording["cases"].as_array().unwrap() {
        let before = replay.faults.len();
        replay.run(case);
        for fault in &mut replay.faults[before..] {
            *fault = format!("case {}: {} {fault}", case["i"], case["op"]);
        }
    }
    replay
}

#[test]
fn recorded_answers_come_out_the_same() {
    let mut recordings = Vec::new();
    if let Some(folder) = std::env::var_os("MACHINECTL_RECORDINGS") {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().ends_with(".json.gz") {
                let mut text = String::new();
                let file = std::fs::File::open(&path).unwrap();
                flate2::read::GzDecoder::new(file)
                    .read_to_string(&mut text)
                    .unwrap();
                recordings.push(serde_json::from_str::<Value>(&text).unwrap());
            }
        }
    } else {
        let text = include_str!("../../../tests/fixtures/widget-requests.json");
        recordings.push(serde_json::from_str(text).unwrap());
    }
    for recording in &recordings {
        let replay = replay(recording);
        println!(
            "{} compared, {} differ, {:?}",
            replay.compared,
            replay.faults.len(),
            replay.kinds
        );
        let few: Vec<&str> = replay.faults.iter().take(5).map(String::as_str).collect();
        assert!(
            replay.faults.is_empty(),
            "{} of {}:\n{}",
            replay.faults.len(),
            replay.compared,
            few.join("\n")
        );
        assert!(
            replay.compared > 50 || recordings.len() > 1,
            "only {} compared",
            replay.compared
        );
    }
}
