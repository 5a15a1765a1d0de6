//! The roles and bindings that are there from the start, and are made good when a state is opened again: what they lack is
//! added, unless they say `rbac.authorization.kubernetes.io/autoupdate: "false"`. They are those of kube-apiserver
//! (`plugin/pkg/auth/authorizer/rbac/bootstrappolicy`), in `policy.txt`.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::super::Server;
use super::super::builtin::ResourceInfo;
use super::super::object::meta;
use super::super::store::{Change, Expect, Key};
use super::aggregate;
use super::bindings::{CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, GROUP, ROLE_BINDINGS, ROLES};
use super::rule::{self, Rule};
use crate::time::{Timestamp, rfc3339};

const TEXT: &str = include_str!("policy.txt");
const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const ADDED_TO: &str = "rbac.authorization.k8s.io/aggregate-to-";
const CONTROLLER: &str = "system:controller:";

fn words(text: &str) -> Vec<&str> {
    text.split(',')
        .map(|word| if word == "-" { "" } else { word })
        .collect()
}

/// Reads a line of a rule.
fn rule(line: &str) -> Value {
    let line = match line.split_once(' ') {
        None => "create,patch,update -,events.k8s.io events".to_owned(),
        Some(("READ", rest)) => format!("get,list,watch {rest}"),
        Some(("WRITE", rest)) => format!("create,delete,deletecollection,patch,update {rest}"),
        Some(_) => line.to_owned(),
    };
    let fields: Vec<Vec<&str>> = line.split(' ').map(words).collect();
    match fields.as_slice() {
        [verbs, paths] => json!({"verbs": verbs, "nonResourceURLs": paths}),
        [verbs, groups, resources] => json!({"verbs": verbs, "apiGroups": groups, "resources": resources}),
        [verbs, groups, resources, names @ ..] => {
            json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names.concat()})
        }
        _ => Value::Null,
    }
}

/// Returns an object that all clusters have, without kind.
fn object(resource: &str, place: &str, now: Timestamp) -> (Key, Value) {
    let (namespace, name) = place.split_once('/').unwrap_or(("", place));
    let mut object = json!({"metadata": {
        "name": name, "uid": uuid::Uuid::new_v4().to_string(), "creationTimestamp": rfc3339(now),
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {AUTO_UPDATE: "true"},
    }});
    if !namespace.is_empty() {
        meta::set(&mut object, "namespace", namespace);
    }
    (Key::new(resource, namespace, name), object)
}

fn is_namespaced(place: &str) -> bool {
    place.contains('/')
}

/// Reads the first line of a role.
fn role(line: &str, now: Timestamp) -> (Key, Value) {
    let mut words = line.split(' ');
    let place = words.next().unwrap_or_default();
    let (key, mut role) = object(
        if is_namespaced(place) {
            ROLES
        } else {
            CLUSTER_ROLES
        },
        place,
        now,
    );
    role["rules"] = json!([]);
    for word in words {
        let label = format!("{ADDED_TO}{}", word.get(1..).unwrap_or_default());
        if word.starts_with('>') {
            role["metadata"]["labels"][label] = "true".into();
        } else {
            role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
        }
    }
    (key, role)
}

fn subject(text: &str) -> Value {
    match text.split_once(':') {
        Some(("S", place)) => {
            let (namespace, name) = place.split_once('/').unwrap_or(("", place));
            json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
        }
        Some(("U", name)) => json!({"kind": "User", "apiGroup": GROUP, "name": name}),
        Some((_, name)) => json!({"kind": "Group", "apiGroup": GROUP, "name": name}),
        None => Value::Null,
    }
}

/// Reads the line of a binding.
fn binding(line: &str, now: Timestamp) -> (Key, Value) {
    let mut words = line.split(' ');
    let place = words.next().unwrap_or_default();
    let resource = if is_namespaced(place) {
        ROLE_BINDINGS
    } else {
        CLUSTER_ROLE_BINDINGS
    };
    let (key, mut binding) = object(resource, place, now);
    let (kind, name) = words
        .next()
        .and_then(|role| role.split_once(':'))
        .unwrap_or_default();
    binding["roleRef"] = json!({"apiGroup": GROUP, "kind": kind, "name": name});
    let subjects: Vec<Value> = words.map(subject).collect();
    if !subjects.is_empty() {
        binding["subjects"] = subjects.into();
    }
    (key, binding)
}

/// Returns the roles and bindings that are there from the start.
pub(crate) fn seed(now: Timestamp) -> Vec<(Key, Value)> {
    let mut found: Vec<(Key, Value)> = Vec::new();
    for line in TEXT.lines().filter(|line| !line.starts_with('#')) {
        if let Some(line) = line.strip_prefix(' ') {
            if let Some(rules) = found
                .last_mut()
                .and_then(|(_, role)| role["rules"].as_array_mut())
            {
                rules.push(rule(line));
            }
        } else if let Some(line) = line.strip_prefix("role ") {
            found.push(role(line, now));
        } else if let Some(line) = line.strip_prefix("bind ") {
            found.push(binding(line, now));
        }
    }
    let controllers: Vec<String> = found
        .iter()
        .filter(|(key, _)| &*key.resource == CLUSTER_ROLES)
        .filter_map(|(key, _)| key.name.strip_prefix(CONTROLLER).map(str::to_owned))
        .map(|name| format!("{CONTROLLER}{name} ClusterRole:{CONTROLLER}{name} S:kube-system/{name}"))
        .collect();
    found.extend(controllers.iter().map(|line| binding(line, now)));
    gather(&mut found);
    found
}

/// Returns the rules of kubelets, which they have without any binding.
pub(crate) fn node_rules() -> &'static [Rule] {
    static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
        let lines = TEXT
            .lines()
            .skip_while(|line| *line != "role system:node")
            .skip(1);
        let rules = lines.map_while(|line| line.strip_prefix(' '));
        rules.map(|line| Rule::read(&rule(line))).collect()
    });
    &RULES
}

/// Fills the roles that are made of others. Those may be made of others themselves: three steps reach all.
fn gather(found: &mut [(Key, Value)]) {
    for _ in 0..3 {
        let roles: Vec<(String, Value)> = found
            .iter()
            .filter(|(key, _)| &*key.resource == CLUSTER_ROLES)
            .map(|(key, role)| (key.name.to_string(), role.clone()))
            .collect();
        let mut all: Vec<aggregate::Named<'_>> =
            roles.iter().map(|(name, role)| (name.as_str(), role)).collect();
        all.sort_by_key(|(name, _)| *name);
        for (key, role) in found
            .iter_mut()
            .filter(|(key, _)| &*key.resource == CLUSTER_ROLES)
        {
            if let Some(rules) = aggregate::gathered(&key.name, role, &all) {
                role["rules"] = rules.iter().map(Rule::to_value).collect();
            }
        }
    }
}

/// Returns the object with what it lacks of the default, if it lacks something.
fn completed(mut there: Value, wanted: &Value) -> Option<Value> {
    if there["metadata"]["annotations"][AUTO_UPDATE] == "false" {
        return None;
    }
    let list = |object: &Value, field: &str| object[field].as_array().cloned().unwrap_or_default();
    let lacks = if wanted.get("aggregationRule").is_some() {
        // Others fill it.
        Vec::new()
    } else if wanted.get("rules").is_some() {
        let lacking = rule::missing(&Rule::read_all(&there), &Rule::read_all(wanted));
        let lacking: Vec<Value> = lacking.iter().map(Rule::to_value).collect();
        lacking.into_iter().map(|rule| ("rules", rule)).collect()
    } else {
        let own = list(&there, "subjects");
        let lacking = list(wanted, "subjects").into_iter().filter(|s| !own.contains(s));
        lacking.map(|subject| ("subjects", subject)).collect::<Vec<_>>()
    };
    if lacks.is_empty() {
        return None;
    }
    for (field, value) in lacks {
        match there[field].as_array_mut() {
            Some(list) => list.push(value),
            None => there[field] = json!([value]),
        }
    }
    Some(there)
}

impl Server {
    /// Adds to the default roles and bindings what they lack.
    pub(crate) async fn complete_policy(&self) {
        for (key, wanted) in seed(self.now()) {
            let Some(stored) = self.store().get(&key.resource, &key.namespace, &key.name) else {
                continue;
            };
            let Some(info) = self.registry().find_stored(&key.resource) else {
                continue;
            };
            let info: &ResourceInfo = &info;
            if let Some(object) = completed(stored.value(&info.api_version(), &info.kind), &wanted) {
                let written = self.commit(key, Expect::Version(stored.version), Change::Put(object));
                // Somebody who changes it at this moment knows what he does.
                if let Err(error) = written.await {
                    tracing::debug!(%error, "a default role was not completed");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(found: &[(Key, Value)], resource: &str, name: &str) -> Value {
        let (_, value) = found
            .iter()
            .find(|(key, _)| &*key.resource == resource && &*key.name == name)
            .expect(name);
        value.clone()
    }

    #[test]
    fn every_line_is_read() {
        let found = seed("2026-11-20T09:00:00Z".parse().expect("time"));
        for (key, value) in &found {
            let is_role = value.get("rules").is_some();
            assert_ne!(is_role, value.get("roleRef").is_some(), "{key:?}");
            for rule in value["rules"].as_array().into_iter().flatten() {
                assert!(
                    rule["verbs"].as_array().is_some_and(|v| !v.is_empty()),
                    "{key:?}: {rule}"
                );
            }
            for subject in value["subjects"].as_array().into_iter().flatten() {
                assert!(subject["name"].as_str().is_some_and(|n| !n.is_empty()), "{key:?}");
            }
            if let Some(role) = value.get("roleRef") {
                let kind = if role["kind"] == "Role" {
                    ROLES
                } else {
                    CLUSTER_ROLES
                };
                find(&found, kind, role["name"].as_str().expect("name"));
            }
        }
    }

    #[test]
    fn roles_made_of_others_are_filled() {
        let found = seed("2026-11-20T09:00:00Z".parse().expect("time"));
        let rules = |name: &str| Rule::read_all(&find(&found, CLUSTER_ROLES, name));
        let (view, edit, admin) = (rules("view"), rules("edit"), rules("admin"));
        assert!(!view.is_empty());
        assert!(rule::missing(&edit, &view).is_empty());
        assert!(rule::missing(&admin, &edit).is_empty());
        assert!(!rule::missing(&edit, &admin).is_empty());
    }

    #[test]
    fn kubelets_have_the_rules_of_their_role_and_nobody_is_bound_to_it() {
        let found = seed("2026-11-20T09:00:00Z".parse().expect("time"));
        let role = find(&found, CLUSTER_ROLES, "system:node");
        assert_eq!(node_rules(), Rule::read_all(&role));
        assert!(!node_rules().is_empty());
        let binding = find(&found, CLUSTER_ROLE_BINDINGS, "system:node");
        assert_eq!(binding.get("subjects"), None);
    }

    #[test]
    fn what_is_taken_away_comes_back_unless_it_must_not() {
        let found = seed("2026-11-20T09:00:00Z".parse().expect("time"));
        let wanted = find(&found, CLUSTER_ROLES, "system:basic-user");
        assert_eq!(completed(wanted.clone(), &wanted), None);
        let mut less = wanted.clone();
        less["rules"] = json!([]);
        let again = completed(less.clone(), &wanted).expect("changed");
        assert!(rule::missing(&Rule::read_all(&again), &Rule::read_all(&wanted)).is_empty());
        less["metadata"]["annotations"][AUTO_UPDATE] = "false".into();
        assert_eq!(completed(less, &wanted), None);
    }
}
