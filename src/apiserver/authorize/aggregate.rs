//! Cluster roles that are made of others: their rules are those of all roles that their labels select. In a cluster a
//! controller of kube-controller-manager does this (`pkg/controller/clusterroleaggregation`).

use std::sync::Arc;

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use super::super::Server;
use super::super::handlers::selector_text;
use super::super::object::selectors::Labels;
use super::super::store::Stored;
use super::bindings::{CLUSTER_ROLES, GROUP};
use super::rule::Rule;

/// Who is written down as the manager of those rules.
const MANAGER: &str = "clusterrole-aggregation-controller";

/// A cluster role with its name and labels.
pub(crate) type Named<'a> = (&'a str, &'a Value);

/// Returns the rules that a role is made of, if it is made of others.
pub(crate) fn gathered(name: &str, role: &Value, all: &[Named<'_>]) -> Option<Vec<Rule>> {
    let selectors = role["aggregationRule"]["clusterRoleSelectors"].as_array()?;
    let mut rules: Vec<Rule> = Vec::new();
    for selector in selectors {
        let Ok(selector) = Labels::parse(&selector_text(selector)) else {
            continue;
        };
        for (other, part) in all {
            let labels = &part["metadata"]["labels"];
            if *other == name || !selector.matches(|key| labels[key].as_str()) {
                continue;
            }
            for rule in Rule::read_all(part) {
                if !rules.contains(&rule) {
                    rules.push(rule);
                }
            }
        }
    }
    Some(rules)
}

impl Server {
    /// Starts what follows from a change of a cluster role; other objects change nothing here.
    pub(crate) fn after_role(&self, stored: &Arc<Stored>) {
        if &*stored.key.resource == CLUSTER_ROLES {
            self.spawn_aggregate();
        }
    }

    /// Brings all roles that are made of others up to date, without being waited for.
    pub(crate) fn spawn_aggregate(&self) {
        let server = self.clone();
        tokio::spawn(async move { server.aggregate().await });
    }

    async fn aggregate(&self) {
        let (_, stored) = self.store().list(CLUSTER_ROLES, None);
        let values: Vec<(String, Value)> = stored
            .iter()
            .map(|s| {
                (
                    s.key.name.to_string(),
                    s.value("rbac.authorization.k8s.io/v1", "ClusterRole"),
                )
            })
            .collect();
        let all: Vec<Named<'_>> = values.iter().map(|(name, role)| (name.as_str(), role)).collect();
        for (name, role) in &all {
            let Some(rules) = gathered(name, role, &all).filter(|rules| *rules != Rule::read_all(role))
            else {
                continue;
            };
            let rules: Vec<Value> = rules.iter().map(Rule::to_value).collect();
            let kind = GroupVersionKind::gvk(GROUP, "v1", "ClusterRole");
            let api: Api<DynamicObject> = Api::all_with(
                self.client(),
                &ApiResource::from_gvk_with_plural(&kind, "clusterroles"),
            );
            let patch = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules});
            // Its own write starts this again: roles may be made of roles that are made of others.
            if let Err(error) = api
                .patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&patch))
                .await
            {
                tracing::warn!(role = name, %error, "the rules of a cluster role that is made of others were not brought up to date");
            }
        }
    }
}
