//! Structural schemas: pruning, defaulting and validation as kube-apiserver does them, for custom resources and for
//! the built-in kinds alike. Pure: it must know neither store nor HTTP nor clock.
//!
//! A write passes [`Structural::prune`], [`Structural::drop_nulls`], [`Structural::apply_defaults`] and
//! [`Structural::validate`] in this order.

mod correlate;
mod defaults;
mod embedded;
mod error;
mod formats;
mod lists;
mod meta;
mod node;
mod prune;
mod reads;
mod rules;
mod validate;

use std::sync::Arc;

use serde_json::Value;

pub use error::{FieldError, FieldErrorKind, aggregate};
pub(crate) use error::{go_json, go_number, go_quote};
pub use meta::object_meta_schema;
pub(crate) use meta::{object_meta, type_meta};
pub(crate) use node::{Additional, Kind, ListType, Node};
pub(crate) use reads::Reads;
pub(crate) use rules::Verdict;

use crate::apiserver::ssa::types::Type;

/// A compiled structural schema. Clones share one compiled tree.
#[derive(Clone)]
pub struct Structural {
    root: Arc<Node>,
    merge_type: Arc<Type>,
}

impl std::fmt::Debug for Structural {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Structural")
            .field("properties", &self.root.properties.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Structural {
    /// Compiles an `openAPIV3Schema`, with the `x-kubernetes-*` extensions.
    ///
    /// # Errors
    ///
    /// All the places that cannot be compiled (unknown types, broken patterns and rules), with paths such as
    /// `properties[spec].pattern`, relative to the schema.
    pub fn compile(open_api_v3_schema: &Value) -> Result<Self, Vec<FieldError>> {
        let mut compiler = node::Compiler::default();
        let root = compiler.node(open_api_v3_schema, "", 0);
        if !compiler.errors.is_empty() {
            return Err(compiler.errors);
        }
        Ok(Self::from_root(root))
    }

    /// The schema of a kind that has none: everything is kept, nothing is checked.
    pub fn preserve_all() -> Self {
        Self::from_root(Arc::new(Node {
            preserve_unknown: true,
            kind: Some(Kind::Object),
            ..Node::default()
        }))
    }

    fn from_root(root: Arc<Node>) -> Self {
        let merge_type = Type::of_resource(&root);
        Self { root, merge_type }
    }

    pub(crate) fn root(&self) -> &Node {
        &self.root
    }

    pub(crate) fn merge_type(&self) -> &Arc<Type> {
        &self.merge_type
    }

    /// Drops the fields that the schema does not know and returns their paths, sorted, as kube-apiserver names them in
    /// `unknown field "spec.x"`. `apiVersion`, `kind` and `metadata` at the root are left alone.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        prune::prune_resource(&self.root, object)
    }

    /// Drops the fields that the schema does not know from a value that is no whole object.
    pub(crate) fn prune_part(&self, value: &mut Value) {
        prune::prune_part(&self.root, value);
    }

    /// Drops the unknown fields of an object's `metadata` and returns their paths, such as `metadata.x`, sorted.
    pub fn prune_metadata(object: &mut Value) -> Vec<String> {
        prune::prune_metadata(object)
    }

    /// Drops what says nothing in an object's `metadata`: nulls and empty maps, lists and texts. The server stores and
    /// compares metadata in this form, whatever a client sends.
    pub fn tidy_metadata(object: &mut Value) {
        prune::tidy_metadata(object);
    }

    /// Drops the nulls of fields that are neither nullable nor have a default: such a null means that the field is
    /// not set. To be called before [`Structural::apply_defaults`].
    pub fn drop_nulls(&self, object: &mut Value) {
        prune::drop_nulls(Some(&self.root), object);
    }

    /// Fills in the defaults of absent fields, and of null ones that may not be null.
    pub fn apply_defaults(&self, object: &mut Value) {
        defaults::apply(&self.root, object);
    }

    /// Checks an object, and on an update forgives what was as wrong before (`old` is the object as stored).
    ///
    /// This is [`Structural::value_errors`], [`Structural::embedded_errors`], [`Structural::list_errors`] and [`Structural::rule_errors`] one after
    /// another; callers that must put errors of their own in between call these themselves.
    pub fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        self.judge(object, old, self.value_errors(object, old)).errors
    }

    /// Checks an object that comes through the `status` subresource: of the values only those of the status.
    pub fn validate_status(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        self.judge(object, old, self.status_value_errors(object, old))
            .errors
    }

    /// Adds to what is wrong with the values of an object what is wrong with it otherwise, and tells what it is forgiven.
    pub(crate) fn judge(&self, object: &Value, old: Option<&Value>, mut errors: Vec<FieldError>) -> Verdict {
        errors.extend(self.embedded_errors(object, old));
        errors.extend(self.list_errors(object, old));
        let mut verdict = rules::evaluate(&self.root, object, old, &errors);
        errors.append(&mut verdict.errors);
        Verdict { errors, ..verdict }
    }

    /// Checks types, required fields, choices, bounds, lengths, patterns and formats.
    pub fn value_errors(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        validate::field_errors(&self.root, object, old, "")
    }

    /// [`Structural::value_errors`] for a write to the `status` subresource.
    pub fn status_value_errors(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let (Some(status), Some(node)) = (object.get("status"), self.root.properties.get("status")) else {
            return Vec::new();
        };
        validate::field_errors(
            node,
            status,
            old.map(|o| o.get("status").unwrap_or(&Value::Null)),
            "status",
        )
    }

    /// Checks that objects inside of the object say what they are. On an update this is only told when the stored object
    /// had no such fault.
    pub fn embedded_errors(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let errors = embedded::errors(&self.root, object);
        match old {
            Some(old) if !errors.is_empty() && !embedded::errors(&self.root, old).is_empty() => Vec::new(),
            _ => errors,
        }
    }

    /// Checks that sets and lists that are maps hold no item twice. On an update this is only told when the stored
    /// object had no such fault.
    pub fn list_errors(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let errors = lists::duplicates(&self.root, object);
        match old {
            Some(old) if !errors.is_empty() && !lists::duplicates(&self.root, old).is_empty() => Vec::new(),
            _ => errors,
        }
    }

    /// Evaluates the `x-kubernetes-validations` rules. `so_far` are the errors found before: when one of them tells
    /// that the object does not have the form that rules may rely on, they are not evaluated.
    pub fn rule_errors(&self, object: &Value, old: Option<&Value>, so_far: &[FieldError]) -> Vec<FieldError> {
        rules::evaluate(&self.root, object, old, so_far).errors
    }

    /// Checks the replicas that the `scale` subresource reads: `path` is its JSON path, such as `.spec.replicas`.
    pub fn scale_errors(object: &Value, path: &str) -> Vec<FieldError> {
        validate::scale_errors(object, path)
    }
}

#[cfg(test)]
mod tests;
