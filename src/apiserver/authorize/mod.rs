//! Who may do what. Members of `system:masters` may do everything, kubelets what concerns their node, and for all others the stored
//! roles and bindings decide.
//! It is asked after a client is known and before anything looks for what it wants, so a refusal tells nothing of what is there.

pub(crate) mod aggregate;
pub(crate) mod bindings;
pub(crate) mod default_policy;
pub(crate) mod escalation;
pub(crate) mod nodes;
pub(crate) mod rule;
pub(crate) mod signers;

use std::sync::{Arc, Mutex, PoisonError};

use self::bindings::{Bindings, CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES, problems_text};
use super::Server;
use super::auth::UserInfo;
use super::request::RequestInfo;
use super::schema::go_quote;
use super::status::ApiError;
use super::store::{Mark, Store};

/// Whether somebody may do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) allowed: bool,
    /// Why, as far as there is something to say.
    pub(crate) reason: String,
}

/// The bindings of the moment. They are read again when one of them, or a role, has changed and somebody asks.
pub(crate) struct Rights(Mutex<Known>);

struct Known {
    changes: [Mark; 4],
    bindings: Option<Arc<Bindings>>,
}

impl Rights {
    /// Reads nothing yet.
    pub(crate) fn new(store: &Store) -> Self {
        let resources = [ROLES, CLUSTER_ROLES, ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS];
        Self(Mutex::new(Known {
            changes: resources.map(|resource| store.mark(resource)),
            bindings: None,
        }))
    }

    /// Returns the bindings as they are now.
    fn bindings(&self, store: &Store) -> Arc<Bindings> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked before it is read: what changes meanwhile is read the next time.
        let is_old = known.changes.iter_mut().any(Mark::has_changed);
        match &known.bindings {
            Some(bindings) if !is_old => Arc::clone(bindings),
            _ => {
                let bindings = Arc::new(Bindings::read(store));
                known.bindings = Some(Arc::clone(&bindings));
                bindings
            }
        }
    }
}

impl Server {
    /// Returns the roles and bindings as they are now.
    pub(crate) fn bindings(&self) -> Arc<Bindings> {
        self.0.rights.bindings(self.store())
    }

    /// Says whether a user may do something.
    pub(crate) fn decide(&self, user: &UserInfo, what: &RequestInfo) -> Decision {
        if user.is_admin() {
            return Decision {
                allowed: true,
                reason: String::new(),
            };
        }
        let mut reasons = Vec::new();
        match self.decide_for_node(user, what) {
            Some(Ok(())) => {
                return Decision {
                    allowed: true,
                    reason: String::new(),
                };
            }
            Some(Err(why)) => reasons.push(why),
            None => {}
        }
        let (mut granted, mut problems) = (None, Vec::new());
        let bindings = self.bindings();
        bindings.visit(user, &what.namespace, |seen| {
            match seen {
                Ok((source, rule)) if rule.allows(what) => {
                    granted = Some(format!("RBAC: allowed by {source}"));
                }
                Ok(_) => {}
                Err(missing) => problems.push(missing),
            }
            granted.is_none()
        });
        if let Some(reason) = granted {
            return Decision {
                allowed: true,
                reason,
            };
        }
        let problems = problems_text(&problems, "");
        if !problems.is_empty() {
            reasons.push(format!("RBAC: {problems}"));
        }
        reasons.retain(|reason| !reason.is_empty());
        Decision {
            allowed: false,
            reason: reasons.join("\n"),
        }
    }

    /// Refuses what a user may not do, in the words of kube-apiserver.
    ///
    /// # Errors
    /// The user may not do it.
    pub(crate) fn authorize(&self, user: &UserInfo, what: &RequestInfo) -> Result<(), ApiError> {
        self.decide(user, what).into_result(user, what)
    }
}

impl Decision {
    /// Refuses what is not allowed, in the words of kube-apiserver.
    ///
    /// # Errors
    /// It is not allowed.
    pub(crate) fn into_result(self, user: &UserInfo, what: &RequestInfo) -> Result<(), ApiError> {
        if self.allowed {
            return Ok(());
        }
        let mut why = refusal(user, what);
        if !self.reason.is_empty() {
            why = format!("{why}: {}", self.reason);
        }
        Err(ApiError::not_allowed(
            &what.group,
            &what.resource,
            &what.name,
            &why,
        ))
    }
}

fn refusal(user: &UserInfo, what: &RequestInfo) -> String {
    let (user, verb) = (go_quote(&user.name), &what.verb);
    if !what.is_resource {
        return format!("User {user} cannot {verb} path {}", go_quote(&what.path));
    }
    let resource = if what.subresource.is_empty() {
        what.resource.clone()
    } else {
        format!("{}/{}", what.resource, what.subresource)
    };
    let place = if what.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {}", go_quote(&what.namespace))
    };
    let (resource, group) = (go_quote(&resource), go_quote(&what.group));
    format!("User {user} cannot {verb} resource {resource} in API group {group} {place}")
}
