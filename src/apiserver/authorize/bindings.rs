//! The roles and bindings of the moment, read once: whose they are, and what they grant. Visiting them gives rules in the
//! order in which kube-apiserver asks them (`component-helpers/auth/rbac/validation`), bindings by name.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::super::auth::{self, UserInfo};
use super::super::schema::go_quote;
use super::super::store::{Store, Stored};
use super::rule::Rule;

pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";
const API_VERSION: &str = "rbac.authorization.k8s.io/v1";
pub(crate) const ROLES: &str = "roles.rbac.authorization.k8s.io";
pub(crate) const CLUSTER_ROLES: &str = "clusterroles.rbac.authorization.k8s.io";
pub(crate) const ROLE_BINDINGS: &str = "rolebindings.rbac.authorization.k8s.io";
pub(crate) const CLUSTER_ROLE_BINDINGS: &str = "clusterrolebindings.rbac.authorization.k8s.io";

/// All bindings, each with what it grants.
#[derive(Debug, Default)]
pub(crate) struct Bindings {
    cluster: Vec<Binding>,
    namespaced: HashMap<String, Vec<Binding>>,
}

/// A binding.
#[derive(Debug)]
struct Binding {
    name: String,
    namespace: String,
    role: RoleRef,
    subjects: Vec<Subject>,
    /// Nothing if there is no such role.
    rules: Option<Arc<[Rule]>>,
}

/// The role that a binding names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RoleRef {
    /// `Role` or `ClusterRole`.
    pub(crate) kind: String,
    pub(crate) name: String,
}

#[derive(Debug)]
enum Subject {
    User(String),
    Group(String),
    ServiceAccount { namespace: String, name: String },
}

/// Returns what is said of roles that are not there; nothing if there are none.
pub(crate) fn problems_text(missing: &[&RoleRef], ending: &str) -> String {
    let mut texts: Vec<String> = Vec::new();
    for text in missing.iter().map(|role| role.not_found(ending)) {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    match texts.as_slice() {
        [one] => one.clone(),
        [] => String::new(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// Where a rule comes from: a binding, and one of its subjects.
pub(crate) struct Source<'a> {
    binding: &'a Binding,
    subject: &'a Subject,
}

fn text(value: &Value, field: &str) -> String {
    value
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

impl RoleRef {
    /// Reads the role that a binding names.
    pub(crate) fn of(binding: &Value) -> Self {
        Self {
            kind: text(&binding["roleRef"], "kind"),
            name: text(&binding["roleRef"], "name"),
        }
    }

    /// Returns what is said when the role is not there: an authorizer says `role`, a check of a write `roles`.
    pub(crate) fn not_found(&self, ending: &str) -> String {
        let (kind, name) = (self.kind.to_ascii_lowercase(), go_quote(&self.name));
        format!("{kind}{ending}.{GROUP} {name} not found")
    }
}

impl Subject {
    fn read(value: &Value, namespace: &str) -> Option<Self> {
        let name = text(value, "name");
        match value["kind"].as_str()? {
            "User" => Some(Self::User(name)),
            "Group" => Some(Self::Group(name)),
            "ServiceAccount" => {
                let own = text(value, "namespace");
                let namespace = if own.is_empty() { namespace.to_owned() } else { own };
                Some(Self::ServiceAccount { namespace, name })
            }
            _ => None,
        }
    }

    fn is(&self, user: &UserInfo) -> bool {
        match self {
            Self::User(name) => *name == user.name,
            Self::Group(name) => user.groups.contains(name),
            Self::ServiceAccount { namespace, name } => {
                auth::split_service_account(&user.name) == Some((namespace, name))
            }
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(name) => write!(f, "User {}", go_quote(name)),
            Self::Group(name) => write!(f, "Group {}", go_quote(name)),
            Self::ServiceAccount { namespace, name } => {
                write!(f, "ServiceAccount {}", go_quote(&format!("{name}/{namespace}")))
            }
        }
    }
}

impl std::fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Binding {
            name,
            namespace,
            role,
            ..
        } = self.binding;
        let (kind, shown) = if namespace.is_empty() {
            ("ClusterRoleBinding", name.clone())
        } else {
            ("RoleBinding", format!("{name}/{namespace}"))
        };
        let (binding, role_name) = (go_quote(&shown), go_quote(&role.name));
        write!(
            f,
            "{kind} {binding} of {} {role_name} to {}",
            role.kind, self.subject
        )
    }
}

impl Bindings {
    /// Reads all roles and bindings.
    pub(crate) fn read(store: &Store) -> Self {
        let all = |resource: &str, kind: &str| -> Vec<(Arc<Stored>, Value)> {
            let (_, found) = store.list(resource, None);
            found
                .into_iter()
                .map(|s| (Arc::clone(&s), s.value(API_VERSION, kind)))
                .collect()
        };
        let mut roles: HashMap<(String, String), Arc<[Rule]>> = HashMap::new();
        for (resource, kind) in [(ROLES, "Role"), (CLUSTER_ROLES, "ClusterRole")] {
            for (stored, role) in all(resource, kind) {
                let key = (stored.key.namespace.to_string(), stored.key.name.to_string());
                roles.insert(key, Rule::read_all(&role).into());
            }
        }
        let bind = |stored: &Stored, value: &Value| {
            let namespace = stored.key.namespace.to_string();
            let role = RoleRef::of(value);
            let home = if role.kind == "Role" {
                namespace.clone()
            } else {
                String::new()
            };
            let subjects = value["subjects"].as_array().into_iter().flatten();
            Binding {
                name: stored.key.name.to_string(),
                subjects: subjects.filter_map(|s| Subject::read(s, &namespace)).collect(),
                rules: roles.get(&(home, role.name.clone())).map(Arc::clone),
                namespace,
                role,
            }
        };
        let mut bindings = Self::default();
        for (stored, value) in all(CLUSTER_ROLE_BINDINGS, "ClusterRoleBinding") {
            bindings.cluster.push(bind(&stored, &value));
        }
        for (stored, value) in all(ROLE_BINDINGS, "RoleBinding") {
            let binding = bind(&stored, &value);
            let there = bindings.namespaced.entry(binding.namespace.clone());
            there.or_default().push(binding);
        }
        bindings
    }

    /// Shows the rules that a user has in a namespace (everywhere, if it is empty), one by one, until `see` returns false.
    /// A role that is not there it is shown as such.
    pub(crate) fn visit<'a>(
        &'a self,
        user: &UserInfo,
        namespace: &str,
        mut see: impl FnMut(Result<(&Source<'a>, &'a Rule), &'a RoleRef>) -> bool,
    ) {
        let inside = if namespace.is_empty() {
            None
        } else {
            self.namespaced.get(namespace)
        };
        for binding in self.cluster.iter().chain(inside.into_iter().flatten()) {
            let Some(subject) = binding.subjects.iter().find(|subject| subject.is(user)) else {
                continue;
            };
            let Some(rules) = &binding.rules else {
                if see(Err(&binding.role)) {
                    continue;
                }
                return;
            };
            let source = Source { binding, subject };
            for rule in rules.iter() {
                if !see(Ok((&source, rule))) {
                    return;
                }
            }
        }
    }

    /// Returns the rules that a user has in a namespace, and what could not be found.
    pub(crate) fn rules_of(&self, user: &UserInfo, namespace: &str) -> (Vec<Rule>, Vec<&RoleRef>) {
        let (mut rules, mut problems) = (Vec::new(), Vec::new());
        self.visit(user, namespace, |seen| {
            match seen {
                Ok((_, rule)) => rules.push(rule.clone()),
                Err(problem) => problems.push(problem),
            }
            true
        });
        (rules, problems)
    }
}
