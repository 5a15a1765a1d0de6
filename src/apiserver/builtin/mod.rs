//! What the server knows of each resource it serves: names, rules, schema, columns.
//! It must not do I/O, look at the clock or know anything of HTTP.
//!
//! [`ResourceInfo`] is one served resource in one version, built in or from a custom resource definition;
//! [`Registry`] is the set of them at one moment.

pub(crate) mod documents;
mod events;
mod habits;
mod hooks;
mod kinds;
pub(crate) mod meta;
mod registry;
mod schemas;
mod strategy;
mod wire;

use std::sync::{Arc, OnceLock};

use serde_json::Value;

pub use self::registry::Registry;
pub(crate) use self::schemas::{REFERENCE, list_meta_definitions};
use super::schema::{FieldError, Structural};

/// Where a scale subresource finds its numbers in the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScalePaths {
    /// Field path of the wanted replicas, e.g. `.spec.replicas`.
    pub spec_replicas: String,
    /// Field path of the observed replicas, e.g. `.status.replicas`.
    pub status_replicas: String,
    /// Field path of the selector: a string in custom resources, a `LabelSelector` in built-in ones.
    pub label_selector: Option<String>,
}

/// One column of the table form, beside the object's own row function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Heading.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: String,
    /// `OpenAPI` format such as `name` or `int32`; may be empty.
    pub format: String,
    /// What the column means; shown by clients that ask.
    pub description: String,
    /// 0 is always shown, larger only in wide output.
    pub priority: i64,
    /// JSON path into the object; empty for columns of built-in kinds, whose rows are computed.
    pub json_path: String,
}

/// How the name of an object of a kind must look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameRule {
    /// RFC 1123 subdomain, at most 253 characters: most kinds.
    Subdomain,
    /// RFC 1123 label, at most 63 characters: namespaces.
    Label,
    /// RFC 1035 label: services.
    Dns1035Label,
    /// Any path segment: RBAC kinds.
    PathSegment,
}

/// Which way an object is written: the object itself or one of its subresources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The object without its status, if the kind has a status subresource.
    Main,
    /// The subresource `status`.
    Status,
    /// The subresource `approval`, which writes the conditions of a status.
    Approval,
}

/// What is particular about one built-in kind. Every method has the neutral answer as its default.
pub trait BuiltinHooks: Send + Sync {
    /// Fills in what the kind's API version defaults. Runs after every decoding.
    fn set_defaults(&self, _object: &mut Value) {}
    /// Brings a new object into its first state (initial status, merged write-only fields).
    fn prepare_create(&self, _object: &mut Value) {}
    /// Brings a changed object in line with what must not change.
    fn prepare_update(&self, _new: &mut Value, _old: &Value) {}
    /// The same for a write of the subresource `status`; everything but the status was already taken from `old`.
    fn prepare_status_update(&self, _new: &mut Value, _old: &Value) {}
    /// The same for a write of the subresource `approval`.
    fn prepare_approval_update(&self, _new: &mut Value, _old: &Value) {}
    /// Says what is wrong with the object. `old` is there on updates. Metadata is checked elsewhere.
    fn validate(&self, _new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        Vec::new()
    }
    /// Says what is wrong with a status write.
    fn validate_status(&self, _new: &Value, _old: &Value) -> Vec<FieldError> {
        Vec::new()
    }
    /// Says what is wrong with a write of the approval.
    fn validate_approval(&self, _new: &Value, _old: &Value) -> Vec<FieldError> {
        Vec::new()
    }
    /// Fields of the status that a write of it leaves alone.
    fn status_reset(&self) -> &'static [&'static str] {
        &[]
    }
}

/// Where the schema of a resource comes from; built when first asked for.
#[derive(Clone)]
pub(in crate::apiserver) enum SchemaSource {
    /// Made from the type definitions of a built-in kind.
    Builtin(schemas::Definition),
    /// Given by a custom resource definition.
    Custom(Arc<Value>),
    /// No schema at all.
    Free,
}

impl SchemaSource {
    /// Says whether what is compiled for one is right for the other.
    fn is_same_as(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Custom(one), Self::Custom(other)) if one == other)
    }
}

impl std::fmt::Debug for SchemaSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Builtin(_) => "Builtin",
            Self::Custom(_) => "Custom",
            Self::Free => "Free",
        })
    }
}

/// One served resource in one version.
#[derive(Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a description of a resource, not a state"
)]
pub struct ResourceInfo {
    /// API group; empty for the core group.
    pub group: String,
    /// API version, e.g. `v1`.
    pub version: String,
    /// Kind of one object.
    pub kind: String,
    /// Kind of a list of objects.
    pub list_kind: String,
    /// Name in paths.
    pub plural: String,
    /// Singular name.
    pub singular: String,
    /// Short names that kubectl accepts.
    pub short_names: Vec<String>,
    /// Groups of resources such as `all`.
    pub categories: Vec<String>,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Key of the objects in the store: `configmaps`, or `widgets.differ.test`. Equal for all versions of a resource.
    pub storage_group_resource: String,
    /// The version in which objects are stored.
    pub storage_version: String,
    /// Verbs as discovery shows them.
    pub verbs: Vec<String>,
    /// Whether there is a subresource `status`.
    pub status: bool,
    /// The subresource `scale`, if there is one.
    pub scale: Option<ScalePaths>,
    /// Further subresources with the kind they take: `binding`, `eviction`, `approval`, `token`.
    pub subresources: Vec<Subresource>,
    /// Columns of the table form, without the name and age that every kind has if it defines none.
    pub columns: Vec<Column>,
    /// Whether custom resource rules hold (else the built-in ones).
    pub custom: bool,
    /// Field paths beside `metadata.name` and `metadata.namespace` that field selectors may name.
    pub selectable_fields: Vec<String>,
    /// Whether a PUT on an absent object makes it.
    pub create_on_update: bool,
    /// Whether a PUT without resourceVersion is accepted.
    pub unconditional_update: bool,
    /// Whether objects exist only as answers (reviews): POST alone, nothing is stored.
    pub virtual_only: bool,
    /// Warning sent with every answer of a deprecated version.
    pub deprecation_warning: Option<String>,
    /// Name of the custom resource definition that this comes from.
    pub crd_name: Option<String>,
    /// How objects get from the version in which they are stored to this one; nothing if only the name of the version changes.
    pub(in crate::apiserver) conversion: Option<Arc<super::conversion::Conversion>>,
    /// What is particular about the kind.
    pub hooks: Option<&'static dyn BuiltinHooks>,
    pub(crate) name_rule: NameRule,
    pub(crate) has_generation: bool,
    pub(in crate::apiserver) source: SchemaSource,
    pub(in crate::apiserver) schema: Arc<OnceLock<Structural>>,
    /// The type definitions of a built-in kind, as soon as somebody has asked for them.
    pub(in crate::apiserver) wire: OnceLock<&'static wire::Definitions>,
}

impl std::fmt::Debug for ResourceInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResourceInfo")
            .field("group", &self.group)
            .field("version", &self.version)
            .field("plural", &self.plural)
            .field("custom", &self.custom)
            .finish_non_exhaustive()
    }
}

/// A subresource other than `status` and `scale`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subresource {
    /// Last segment of the path.
    pub name: &'static str,
    /// Group of the kind that it takes.
    pub group: &'static str,
    /// Version of the kind that it takes.
    pub version: &'static str,
    /// Kind that it takes.
    pub kind: &'static str,
    /// Verbs as discovery shows them.
    pub verbs: &'static [&'static str],
}

impl ResourceInfo {
    /// Returns `group/version`, or the version alone for the core group.
    pub fn api_version(&self) -> String {
        group_version(&self.group, &self.version)
    }

    /// Returns `widgets.differ.test`, or `configmaps` for the core group: how messages name the resource.
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// Returns `Widget.differ.test`, or `ConfigMap` for the core group: how validation errors name the kind.
    pub fn group_kind(&self) -> String {
        if self.group.is_empty() {
            self.kind.clone()
        } else {
            format!("{}.{}", self.kind, self.group)
        }
    }

    /// Returns the compiled schema; it is built on first use.
    pub fn schema(&self) -> &Structural {
        self.schema.get_or_init(|| match &self.source {
            SchemaSource::Builtin(definition) => Structural::compile(&schemas::inlined(*definition))
                .unwrap_or_else(|_| Structural::preserve_all()),
            SchemaSource::Custom(schema) => {
                Structural::compile(schema).unwrap_or_else(|_| Structural::preserve_all())
            }
            SchemaSource::Free => Structural::preserve_all(),
        })
    }

    /// Returns whether the API server answers `verb` for this resource.
    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }
}

/// Returns `group/version`, or the version alone for the core group.
pub(crate) fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}
