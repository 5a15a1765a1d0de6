//! What happens to an object between decoding and storing, the same for every resource: status and generation kept
//! apart, kind-specific hooks, checks. It must not store, know HTTP or managed fields.
//!
//! Order of use: [`ResourceInfo::decode`], prune, defaults, managed fields, `prepare_*`, `validate_*`.

use serde_json::{Map, Value, json};

use super::super::object::meta::same_fields;
use super::super::schema::{FieldError, Structural, Verdict};
use super::{Part, ResourceInfo, meta, wire};

impl ResourceInfo {
    /// Brings an object as sent into the form in which the API server writes it, and sets the defaults of its version.
    /// For custom resources only the metadata is touched; their schema has its own defaults.
    ///
    /// # Errors
    /// A value that cannot be decoded, in Go's words: `json: cannot unmarshal number into Go struct field …`.
    pub fn decode(&self, object: &mut Value) -> Result<(), String> {
        if self.custom {
            wire::canonical_metadata(object)
        } else {
            let (name, definitions) = self.definitions();
            wire::canonical(definitions, name, object)?;
            if let Some(hooks) = self.hooks {
                hooks.set_defaults(object);
            }
            Ok(())
        }
    }

    /// Returns what an object without any content looks like on the wire: `metadata: {}` and whatever the kind
    /// always writes. Managed fields of a new object are what differs from this.
    pub fn zero_object(&self) -> Value {
        let mut zero = json!({"apiVersion": self.api_version(), "kind": self.kind, "metadata": {}});
        if !self.custom {
            let (name, definitions) = self.definitions();
            // An empty object decodes into any kind.
            drop(wire::canonical(definitions, name, &mut zero));
        }
        zero
    }

    /// Returns the fields that a write of `part` cannot change, as paths: what server-side apply leaves alone.
    pub fn reset_fields(&self, part: Part) -> Vec<Vec<&'static str>> {
        if !self.status {
            return Vec::new();
        }
        match part {
            Part::Main => vec![vec!["status"]],
            // Metadata of custom resources other than managedFields is also not written through their status.
            Part::Status if self.custom => vec![vec!["spec"], vec!["metadata"]],
            Part::Status => {
                let kept = self.hooks.map_or(&[][..], |hooks| hooks.status_reset());
                let kept = kept.iter().map(|field| vec!["status", field]);
                std::iter::once(vec!["spec"]).chain(kept).collect()
            }
            Part::Approval => vec![vec!["spec"], vec!["status", "certificate"]],
        }
    }

    /// Brings a new object into its first state. Comes after its managed fields were computed.
    pub fn prepare_create(&self, object: &mut Value) {
        if self.custom && self.status {
            remove(object, "status");
        }
        if self.custom || self.has_generation {
            set_generation(object, 1);
        } else if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.remove("generation");
        }
        if let Some(hooks) = self.hooks {
            hooks.prepare_create(object);
        }
    }

    /// Brings a changed object in line with `old`: a write of the object keeps the status, a write of the status
    /// keeps everything else. Sets the generation.
    pub fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        match part {
            Part::Main => {
                if self.status {
                    keep(new, old, "status");
                }
                if let Some(hooks) = self.hooks {
                    hooks.prepare_update(new, old);
                }
                let generation = old.pointer("/metadata/generation").and_then(Value::as_i64);
                if self.custom || self.has_generation {
                    let bump = i64::from(self.content_differs(new, old));
                    set_generation(new, generation.unwrap_or(0) + bump);
                } else {
                    match generation {
                        Some(generation) => set_generation(new, generation),
                        None => {
                            if let Some(meta) = new.get_mut("metadata").and_then(Value::as_object_mut) {
                                meta.remove("generation");
                            }
                        }
                    }
                }
            }
            Part::Status | Part::Approval => {
                let mut sent = fields_of(std::mem::replace(new, without(old, &["status"])));
                if let Some(status) = sent.remove("status") {
                    new["status"] = status;
                }
                if let Some(meta) = sent.remove("metadata") {
                    self.keep_status_metadata(new, fields_of(meta));
                }
                match self.hooks {
                    Some(hooks) if part == Part::Approval => hooks.prepare_approval_update(new, old),
                    Some(hooks) => hooks.prepare_status_update(new, old),
                    None => {}
                }
            }
        }
    }

    /// Takes over the metadata that a write of the status may change: all of it for built-in kinds, only what the
    /// server itself keeps for custom ones.
    fn keep_status_metadata(&self, object: &mut Value, mut sent: Map<String, Value>) {
        let fields: &[&str] = if self.custom {
            &["managedFields", "resourceVersion"]
        } else {
            &[
                "managedFields",
                "resourceVersion",
                "labels",
                "annotations",
                "finalizers",
                "ownerReferences",
            ]
        };
        let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
            return;
        };
        for field in fields {
            match sent.remove(*field) {
                Some(value) => meta.insert((*field).to_owned(), value),
                None => meta.remove(*field),
            };
        }
    }

    fn content_differs(&self, new: &Value, old: &Value) -> bool {
        // Kinds that count generations compare their spec, or all content if they have none.
        let counts = |key: &str, _: &Value| match key {
            "metadata" | "apiVersion" | "kind" => false,
            "status" => self.custom && !self.status,
            _ => true,
        };
        match (new.as_object(), old.as_object()) {
            (Some(new), Some(old)) => !same_fields(new, old, counts),
            _ => false,
        }
    }

    /// Says what is wrong with a new object.
    pub fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate(object, self.name_rule, self.namespaced, self.custom);
        if let Some(hooks) = self.hooks {
            errors.extend(hooks.validate(object, None));
        }
        if self.custom {
            errors.extend(self.schema().validate(object, None));
            errors.extend(self.scale_errors(object));
        }
        errors
    }

    /// Says what is wrong with a changed object. Some errors repeat, as they do in the API server's causes.
    pub fn validate_update(&self, new: &Value, old: &Value, part: Part) -> Vec<FieldError> {
        self.judge_update(new, old, part).errors
    }

    /// The same, and what the change is forgiven.
    pub(in crate::apiserver) fn judge_update(&self, new: &Value, old: &Value, part: Part) -> Verdict {
        let mut forgiven = Vec::new();
        let mut errors = meta::validate_update(new, old);
        let again = errors.clone();
        errors.extend(again);
        let repeats = if self.group.is_empty() { 2 } else { 1 };
        for _ in 0..repeats {
            errors.extend(meta::validate_labels(
                new.pointer("/metadata/labels"),
                "metadata.labels",
            ));
        }
        match part {
            Part::Main => {
                if let Some(hooks) = self.hooks {
                    errors.extend(hooks.validate(new, Some(old)));
                }
                if self.custom {
                    let schema = self.schema();
                    let verdict = schema.judge(new, Some(old), schema.value_errors(new, Some(old)));
                    errors.extend(verdict.errors);
                    errors.extend(self.scale_errors(new));
                    forgiven = verdict.forgiven;
                }
            }
            Part::Approval => {
                if let Some(hooks) = self.hooks {
                    errors.extend(hooks.validate_approval(new, old));
                }
            }
            Part::Status => {
                if let Some(hooks) = self.hooks {
                    errors.extend(hooks.validate_status(new, old));
                }
                if self.custom {
                    let schema = self.schema();
                    let values = schema.status_value_errors(new, Some(old));
                    let verdict = schema.judge(new, Some(old), values);
                    errors.extend(verdict.errors);
                    forgiven = verdict.forgiven;
                }
            }
        }
        Verdict { errors, forgiven }
    }

    fn scale_errors(&self, object: &Value) -> Vec<FieldError> {
        self.scale
            .as_ref()
            .map(|scale| Structural::scale_errors(object, &scale.spec_replicas))
            .unwrap_or_default()
    }
}

fn fields_of(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// A copy of an object without some of its fields.
fn without(object: &Value, fields: &[&str]) -> Value {
    let Value::Object(all) = object else {
        return object.clone();
    };
    let kept = all.iter().filter(|(key, _)| !fields.contains(&key.as_str()));
    Value::Object(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
}

fn remove(object: &mut Value, field: &str) {
    if let Some(object) = object.as_object_mut() {
        object.remove(field);
    }
}

fn keep(new: &mut Value, old: &Value, field: &str) {
    match old.get(field) {
        Some(value) => new[field] = value.clone(),
        None => remove(new, field),
    }
}

fn set_generation(object: &mut Value, generation: i64) {
    if object.get("metadata").is_some_and(Value::is_object) {
        object["metadata"]["generation"] = generation.into();
    }
}
