//! The table of built-in kinds: names, verbs, subresources, columns.
//! It must hold no behaviour; that is in `hooks`.

use std::sync::{Arc, OnceLock};

mod cluster;
mod core;

use super::schemas::{self, Definition};
use super::{BuiltinHooks, Column, NameRule, ResourceInfo, ScalePaths, SchemaSource, Subresource};

/// One row of the table. Columns are `Heading|type|format|priority|description`, where a description that starts
/// with a dot names the field whose own description is taken.
#[expect(clippy::struct_excessive_bools, reason = "a row of a table, not a state")]
struct Row {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    categories: &'static [&'static str],
    namespaced: bool,
    verbs: Verbs,
    status: bool,
    scale: Option<(&'static str, &'static str, &'static str)>,
    subresources: &'static [Subresource],
    columns: &'static [&'static str],
    selectable: &'static [&'static str],
    name_rule: NameRule,
    generation: bool,
    create_on_update: bool,
    unconditional: bool,
    storage: Option<(&'static str, &'static str)>,
    hooks: Option<&'static dyn BuiltinHooks>,
    definition: Definition,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verbs {
    All,
    NoDeleteCollection,
    CreateOnly,
}

const ALL: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];
const NO_DELETE_COLLECTION: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
const AGE: &str = "Age|string||0|.metadata.creationTimestamp";

impl Row {
    fn new(
        (group, version, kind, plural): (&'static str, &'static str, &'static str, &'static str),
        namespaced: bool,
        definition: Definition,
    ) -> Self {
        Self {
            group,
            version,
            kind,
            plural,
            short: &[],
            categories: &[],
            namespaced,
            verbs: Verbs::All,
            status: false,
            scale: None,
            subresources: &[],
            columns: &[AGE],
            selectable: &[],
            name_rule: NameRule::Subdomain,
            generation: false,
            create_on_update: false,
            unconditional: true,
            storage: None,
            hooks: None,
            definition,
        }
    }

    fn info(self) -> ResourceInfo {
        let own = |texts: &[&str]| texts.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
        let storage_group_resource = match self.storage {
            Some((key, _)) => key.to_owned(),
            None if self.group.is_empty() => self.plural.to_owned(),
            None => format!("{}.{}", self.plural, self.group),
        };
        ResourceInfo {
            group: self.group.to_owned(),
            version: self.version.to_owned(),
            kind: self.kind.to_owned(),
            list_kind: format!("{}List", self.kind),
            plural: self.plural.to_owned(),
            singular: self.kind.to_lowercase(),
            short_names: own(self.short),
            categories: own(self.categories),
            namespaced: self.namespaced,
            storage_group_resource,
            storage_version: self
                .storage
                .map_or(self.version, |(_, version)| version)
                .to_owned(),
            verbs: match self.verbs {
                Verbs::All => own(ALL),
                Verbs::NoDeleteCollection => own(NO_DELETE_COLLECTION),
                Verbs::CreateOnly => own(&["create"]),
            },
            status: self.status,
            scale: self.scale.map(|(spec, status, selector)| ScalePaths {
                spec_replicas: spec.to_owned(),
                status_replicas: status.to_owned(),
                label_selector: Some(selector.to_owned()),
            }),
            subresources: self.subresources.to_vec(),
            columns: self.columns.iter().map(|text| column(text)).collect(),
            custom: false,
            selectable_fields: own(self.selectable),
            create_on_update: self.create_on_update,
            unconditional_update: self.unconditional,
            virtual_only: self.verbs == Verbs::CreateOnly,
            deprecation_warning: None,
            crd_name: None,
            conversion: None,
            hooks: self.hooks,
            name_rule: self.name_rule,
            has_generation: self.generation,
            source: SchemaSource::Builtin(self.definition),
            schema: Arc::new(OnceLock::new()),
            wire: OnceLock::new(),
        }
    }
}

fn column(text: &str) -> Column {
    let mut parts = text.splitn(5, '|').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    let (name, kind, format) = (next(), next(), next());
    let priority = next().parse().unwrap_or(0);
    Column {
        name,
        kind,
        format,
        priority,
        description: next(),
        json_path: String::new(),
    }
}

/// Returns what is known of requests for tokens: they are read and checked as objects are, but there is no resource of them.
pub(super) fn token_request() -> ResourceInfo {
    let kind = ("authentication.k8s.io", "v1", "TokenRequest", "tokenrequests");
    Row::new(
        kind,
        true,
        schemas::of::<k8s_openapi::api::authentication::v1::TokenRequest>,
    )
    .info()
}

/// Returns what is known of scales, which come to a subresource, too.
pub(super) fn scale() -> ResourceInfo {
    let kind = ("autoscaling", "v1", "Scale", "scales");
    Row::new(
        kind,
        true,
        schemas::of::<k8s_openapi::api::autoscaling::v1::Scale>,
    )
    .info()
}

/// Returns every built-in resource.
pub(super) fn all() -> Vec<ResourceInfo> {
    core::rows()
        .into_iter()
        .chain(core::workloads())
        .chain(cluster::rows())
        .chain(cluster::access())
        .chain(cluster::admission())
        .map(Row::info)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_schema_of_its_own_name() {
        for info in all() {
            let SchemaSource::Builtin(definition) = &info.source else {
                panic!("built in")
            };
            let (name, _) = schemas::with_definitions(*definition);
            assert!(
                name.ends_with(&format!(".{}", info.kind)),
                "{name} for {}",
                info.kind
            );
        }
    }

    #[test]
    fn every_schema_compiles() {
        for info in all() {
            let SchemaSource::Builtin(definition) = &info.source else {
                panic!("built in")
            };
            let compiled = super::super::Structural::compile(&schemas::inlined(*definition));
            assert!(compiled.is_ok(), "{}: {:?}", info.kind, compiled.err());
        }
    }

    #[test]
    fn columns_are_read_from_their_short_form() {
        let made = column("Wide|string||1|.spec.mode");
        assert_eq!(
            (made.name.as_str(), made.priority, made.description.as_str()),
            ("Wide", 1, ".spec.mode")
        );
    }
}
