//! Whether a write is one that a webhook, a policy or a binding is about. It must not call anybody.

use std::sync::Arc;

use serde_json::Value;

use super::super::NAMESPACES;
use super::super::builtin::ResourceInfo;
use super::super::object::selectors::Labels;
use super::super::status::ApiError;
use super::configured::GROUP;
use super::{Attributes, Operation, is_namespaces};

/// What something is about: `rules` and the selectors of a webhook, `matchConstraints` of a policy.
#[derive(Debug, Default)]
pub(crate) struct Matching {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    /// Whether it is about all, if it has no rules.
    without_rules: bool,
    /// The namespaces and objects that it is about: none if their selector can't be read.
    namespaces: Option<Labels>,
    objects: Option<Labels>,
    /// Whether a write of another version of the same objects counts.
    equivalent: bool,
}

#[derive(Debug)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    names: Vec<String>,
    scope: String,
}

/// Says whether a list names something, or all.
fn any(list: &[String], wanted: &str) -> bool {
    list.iter().any(|l| l == "*" || l == wanted)
}

impl Rule {
    fn of(rule: &Value) -> Self {
        let texts = |field: &str| -> Vec<String> {
            let list = rule[field].as_array().into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Self {
            operations: texts("operations"),
            groups: texts("apiGroups"),
            versions: texts("apiVersions"),
            resources: texts("resources"),
            names: texts("resourceNames"),
            scope: rule["scope"].as_str().unwrap_or("*").to_owned(),
        }
    }

    /// Says whether it can mean a write in any version of a resource.
    fn may_mean(&self, attributes: &Attributes<'_>, info: &ResourceInfo) -> bool {
        let resource = self.resources.iter().any(|listed| {
            let (resource, subresource) = listed.split_once('/').unwrap_or((listed, ""));
            (resource == "*" || resource == info.plural)
                && (subresource == "*" || subresource == attributes.subresource)
        });
        resource
            && any(&self.operations, attributes.operation.name())
            && (self.names.is_empty() || self.names.contains(&attributes.name))
    }

    /// Says whether it means a write as if it were one of `info`.
    fn means(&self, attributes: &Attributes<'_>, info: &ResourceInfo) -> bool {
        let scope = match self.scope.as_str() {
            "Namespaced" => !is_namespaces(info) && !attributes.namespace.is_empty(),
            "Cluster" => is_namespaces(info) || attributes.namespace.is_empty(),
            _ => true,
        };
        scope
            && self.may_mean(attributes, info)
            && any(&self.groups, &info.group)
            && any(&self.versions, &info.version)
    }
}

impl Matching {
    /// Reads a webhook.
    pub(crate) fn of_webhook(webhook: &Value) -> Self {
        Self {
            rules: rules(&webhook["rules"]),
            ..Self::selecting(webhook)
        }
    }

    /// Reads `matchConstraints` or `matchResources`. Of the latter all may be missing.
    pub(crate) fn of_resources(resources: &Value, without_rules: bool) -> Self {
        Self {
            rules: rules(&resources["resourceRules"]),
            excluded: rules(&resources["excludeResourceRules"]),
            without_rules,
            ..Self::selecting(resources)
        }
    }

    fn selecting(from: &Value) -> Self {
        Self {
            namespaces: Labels::of(&from["namespaceSelector"]).ok(),
            objects: Labels::of(&from["objectSelector"]).ok(),
            equivalent: from["matchPolicy"] != "Exact",
            ..Self::default()
        }
    }

    /// Returns the version of the resource in which something wants to be asked about a write, if at all.
    pub(crate) fn find(
        &self,
        attributes: &Attributes<'_>,
        new: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<Option<Arc<ResourceInfo>>, ApiError> {
        let (Some(objects), Some(namespaces)) = (&self.objects, &self.namespaces) else {
            return Ok(None);
        };
        let Some(found) = self.version(attributes) else {
            return Ok(None);
        };
        if !objects.is_empty() {
            let selected = |object: &Value| objects.matches(|key| label(object, key));
            if !new.is_some_and(selected) && !old.is_some_and(selected) {
                return Ok(None);
            }
        }
        Ok(selects_namespace(namespaces, attributes, new)?.then_some(found))
    }

    fn version(&self, attributes: &Attributes<'_>) -> Option<Arc<ResourceInfo>> {
        let own = attributes.info;
        // Nobody may lock the configurations of webhooks and policies.
        if own.group == GROUP {
            return None;
        }
        // What is excluded in any version is excluded.
        if self.means(&self.excluded, attributes).is_some() {
            return None;
        }
        if self.rules.is_empty() && self.without_rules {
            return Some(Arc::clone(own));
        }
        self.means(&self.rules, attributes)
    }

    /// Returns the version of the resource of which one of the rules means a write: that of the write if possible.
    fn means(&self, rules: &[Rule], attributes: &Attributes<'_>) -> Option<Arc<ResourceInfo>> {
        let own = attributes.info;
        // Names of resources are the same in all versions, so most writes end here.
        let possible = |rule: &&Rule| rule.may_mean(attributes, own);
        let mut possible = rules.iter().filter(possible).peekable();
        possible.peek()?;
        if possible.clone().any(|rule| rule.means(attributes, own)) {
            return Some(Arc::clone(own));
        }
        if !self.equivalent {
            return None;
        }
        let registry = attributes.call.server.registry();
        let same = |info: &&Arc<ResourceInfo>| {
            info.storage_group_resource == own.storage_group_resource
                && (info.group != own.group || info.version != own.version)
        };
        let others: Vec<&Arc<ResourceInfo>> = registry.all().iter().filter(same).collect();
        possible
            .find_map(|rule| others.iter().find(|info| rule.means(attributes, info)))
            .map(|info| Arc::clone(info))
    }
}

fn selects_namespace(
    namespaces: &Labels,
    attributes: &Attributes<'_>,
    new: Option<&Value>,
) -> Result<bool, ApiError> {
    let is_namespace = is_namespaces(attributes.info);
    if namespaces.is_empty() || (attributes.namespace.is_empty() && !is_namespace) {
        return Ok(true);
    }
    let is_written = is_namespace
        && attributes.subresource.is_empty()
        && matches!(attributes.operation, Operation::Create | Operation::Update);
    if is_written && let Some(new) = new {
        return Ok(namespaces.matches(|key| label(new, key)));
    }
    let found = attributes
        .call
        .server
        .store()
        .get(NAMESPACES, "", &attributes.namespace);
    let found = found.ok_or_else(|| ApiError::no_namespace(&attributes.namespace))?;
    Ok(namespaces.matches(|key| found.labels.get(key)))
}

fn rules(list: &Value) -> Vec<Rule> {
    list.as_array().into_iter().flatten().map(Rule::of).collect()
}

fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("labels")?.get(key)?.as_str()
}
