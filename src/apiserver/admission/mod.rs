//! Admission: what webhooks and policies that are objects of the state say to a write before it happens.
//! It must not write anything itself; what the server does on its own behalf is not asked about.
//!
//! Order: mutating webhooks, one after the other, each on what the one before it made; later, when the object has been checked,
//! policies, then validating webhooks, all at once.

mod conditions;
mod configured;
mod matching;
mod mutating;
mod policies;
mod policy;
mod review;
mod validating;
mod variables;

use std::sync::Arc;

use serde_json::{Map, Value, json};

pub(crate) use self::configured::Configured;
use self::configured::Registered;
use super::builtin::ResourceInfo;
use super::handlers::{Call, WriteOptions};
use super::object::meta;
use super::status::ApiError;

/// What a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
}

impl Operation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// Group, version and kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gvk {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
}

impl Gvk {
    fn to_value(&self) -> Value {
        json!({"group": self.group, "version": self.version, "kind": self.kind})
    }
}

/// A write as it is asked about.
pub(crate) struct Attributes<'a> {
    pub(crate) call: &'a Call,
    pub(crate) info: &'a Arc<ResourceInfo>,
    pub(crate) operation: Operation,
    pub(crate) kind: Gvk,
    pub(crate) subresource: &'a str,
    pub(crate) namespace: String,
    /// Empty for a new object whose name is yet to be made.
    pub(crate) name: String,
    pub(crate) dry_run: bool,
    /// `CreateOptions` and so on.
    pub(crate) options: Value,
}

impl<'a> Attributes<'a> {
    /// Reads what a request does to the object called `name`.
    pub(crate) fn of(call: &'a Call, operation: Operation, name: &str, options: Value) -> Self {
        let info = &call.info;
        let subresource = call.path.subresource.as_str();
        let of_object = || Gvk {
            group: info.group.clone(),
            version: info.version.clone(),
            kind: info.kind.clone(),
        };
        let kind = match subresource {
            "" | "status" => of_object(),
            "scale" => Gvk {
                group: "autoscaling".to_owned(),
                version: "v1".to_owned(),
                kind: "Scale".to_owned(),
            },
            other => info
                .subresources
                .iter()
                .find(|s| s.name == other)
                .map_or_else(of_object, |s| Gvk {
                    group: s.group.to_owned(),
                    version: s.version.to_owned(),
                    kind: s.kind.to_owned(),
                }),
        };
        // A namespace counts as lying in itself.
        let namespace = if is_namespaces(info) {
            name.to_owned()
        } else {
            call.path.namespace.clone()
        };
        Self {
            call,
            info,
            operation,
            kind,
            subresource,
            namespace,
            name: name.to_owned(),
            dry_run: options.get("dryRun").is_some(),
            options,
        }
    }
}

/// Says whether a resource is that of namespaces.
fn is_namespaces(info: &ResourceInfo) -> bool {
    info.group.is_empty() && info.plural == "namespaces"
}

/// Returns the options of a write as an object: those of what is done, which for a patch are not those that it came with.
fn options_of(call: &Call, operation: Operation, write: &WriteOptions) -> Value {
    let kind = match operation {
        Operation::Create => "CreateOptions",
        Operation::Update => "UpdateOptions",
        Operation::Delete => "DeleteOptions",
    };
    let mut options = Map::new();
    options.insert("kind".to_owned(), kind.into());
    options.insert("apiVersion".to_owned(), "meta.k8s.io/v1".into());
    if write.dry_run {
        options.insert("dryRun".to_owned(), json!(["All"]));
    }
    for field in ["fieldManager", "fieldValidation"] {
        if let Some(value) = call.query.get(field).filter(|v| !v.is_empty()) {
            options.insert(field.to_owned(), value.into());
        }
    }
    Value::Object(options)
}

/// A create or an update: the request, what it does, and the name of the object (empty: yet to be made).
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) call: &'a Call,
    pub(crate) operation: Operation,
    pub(crate) options: &'a WriteOptions,
    pub(crate) name: &'a str,
}

impl<'a> Asked<'a> {
    fn attributes(self) -> Attributes<'a> {
        let options = options_of(self.call, self.operation, self.options);
        Attributes::of(self.call, self.operation, self.name, options)
    }

    /// Says whether there is anybody to ask before a write is checked.
    pub(crate) fn mutates(self) -> bool {
        !self.call.server.admission().mutating.is_empty()
    }

    /// Says whether there is anybody to ask when a write has been checked.
    pub(crate) fn validates(self) -> bool {
        let configured = self.call.server.admission();
        !configured.validating.is_empty() || !configured.policies.is_empty()
    }

    /// Asks mutating webhooks about a write that leaves `new`. Returns what they make of it.
    ///
    /// # Errors
    /// One refuses it, or fails.
    pub(crate) async fn mutate(self, new: Value, old: Option<&Value>) -> Result<Value, ApiError> {
        let configured = self.call.server.admission();
        if configured.mutating.is_empty() {
            return Ok(new);
        }
        let attributes = self.attributes();
        let changed = Box::pin(mutating::dispatch(&configured, &attributes, Some(new), old)).await?;
        changed.ok_or_else(|| ApiError::plain_500("an object got lost in its admission"))
    }

    /// Asks policies and validating webhooks about a write that leaves `new`.
    ///
    /// # Errors
    /// One refuses it, or fails.
    pub(crate) async fn validate(self, new: &Value, old: Option<&Value>) -> Result<(), ApiError> {
        let configured = self.call.server.admission();
        if configured.validating.is_empty() && configured.policies.is_empty() {
            return Ok(());
        }
        let attributes = self.attributes();
        Box::pin(judge(&configured, &attributes, Some(new), old)).await
    }
}

async fn judge(
    configured: &Registered,
    attributes: &Attributes<'_>,
    new: Option<&Value>,
    old: Option<&Value>,
) -> Result<(), ApiError> {
    policies::check(configured, attributes, new, old).await?;
    validating::dispatch(configured, attributes, new, old).await
}

/// Asks all about the removal of an object.
///
/// # Errors
/// One refuses it, or fails.
pub(crate) async fn remove(call: &Call, options: &Value, old: &Value) -> Result<(), ApiError> {
    let configured = call.server.admission();
    if configured.is_empty() {
        return Ok(());
    }
    // Who removes many has named none of them.
    let name = match call.path.name.as_str() {
        "" => "",
        _ => meta::name(old),
    };
    let attributes = Attributes::of(call, Operation::Delete, name, options.clone());
    Box::pin(async {
        mutating::dispatch(&configured, &attributes, None, Some(old)).await?;
        judge(&configured, &attributes, None, Some(old)).await
    })
    .await
}
