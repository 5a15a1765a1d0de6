//! Nobody grants what he does not have: what a new role or binding would give is compared with the rights of who writes it,
//! unless he may `escalate` that role, or `bind` the one that the binding names. As kube-apiserver does
//! (`pkg/registry/rbac/*/policybased`).

use serde_json::{Value, json};

use super::super::handlers::Call;
use super::super::object::meta;
use super::super::request::RequestInfo;
use super::super::status::ApiError;
use super::bindings::{
    CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, GROUP, ROLE_BINDINGS, ROLES, RoleRef, problems_text,
};
use super::rule::{self, Rule};

/// Checks a write of a role or binding; other objects pass. `old` is the object as it is, if it is there.
///
/// # Errors
/// It would grant more than its writer has.
pub(crate) fn check(call: &Call, new: &Value, old: Option<&Value>) -> Result<(), ApiError> {
    let is_binding = match call.info.storage_group_resource.as_str() {
        ROLES | CLUSTER_ROLES => false,
        ROLE_BINDINGS | CLUSTER_ROLE_BINDINGS => true,
        _ => return Ok(()),
    };
    if call.user.is_admin() || old.is_some_and(|old| frees_only(new, old)) {
        return Ok(());
    }
    if is_binding {
        check_binding(call, new)
    } else {
        check_role(call, new, old)
    }
}

/// Says whether a write changes nothing but owners and finalizers, as the garbage collector's do.
fn frees_only(new: &Value, old: &Value) -> bool {
    let bare = |object: &Value| {
        let mut object = object.clone();
        for field in [
            "ownerReferences",
            "finalizers",
            "managedFields",
            "resourceVersion",
        ] {
            meta::of_mut(&mut object).remove(field);
        }
        object
    };
    bare(new) == bare(old)
}

fn may(call: &Call, verb: &str, resource: &str, name: &str) -> bool {
    let what = RequestInfo {
        is_resource: true,
        verb: verb.to_owned(),
        group: GROUP.to_owned(),
        namespace: call.path.namespace.clone(),
        resource: resource.to_owned(),
        name: name.to_owned(),
        ..RequestInfo::default()
    };
    call.server.decide(&call.user, &what).allowed
}

fn check_role(call: &Call, new: &Value, old: Option<&Value>) -> Result<(), ApiError> {
    if may(call, "escalate", &call.info.plural, &call.path.name) {
        return Ok(());
    }
    confirm(call, new, &Rule::read_all(new))?;
    let aggregates = |role: &Value| role.get("aggregationRule").is_some_and(|rule| !rule.is_null());
    if aggregates(new) || old.is_some_and(aggregates) {
        let all = |rule: Value| Rule::read(&rule);
        let full = [
            all(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})),
            all(json!({"verbs": ["*"], "nonResourceURLs": ["*"]})),
        ];
        confirm(call, new, &full).map_err(|_| {
            let why = "must have cluster-admin privileges to use the aggregationRule";
            ApiError::forbidden(&call.info, meta::name(new), why)
        })?;
    }
    Ok(())
}

fn check_binding(call: &Call, new: &Value) -> Result<(), ApiError> {
    let role = RoleRef::of(new);
    let (plural, key, namespace) = match role.kind.as_str() {
        "Role" => ("roles", ROLES, call.path.namespace.as_str()),
        "ClusterRole" => ("clusterroles", CLUSTER_ROLES, ""),
        other => {
            return Err(ApiError::plain_500(format!(
                "unsupported role reference kind: {other:?}"
            )));
        }
    };
    if may(call, "bind", plural, &role.name) {
        return Ok(());
    }
    let Some(stored) = call.server.store().get(key, namespace, &role.name) else {
        return Err(match call.server.registry().find(GROUP, "v1", plural) {
            Some(info) => ApiError::not_found(&info, &role.name),
            None => ApiError::no_such_path(),
        });
    };
    let granted = stored.value("rbac.authorization.k8s.io/v1", &role.kind);
    confirm(call, new, &Rule::read_all(&granted))
}

/// Refuses rules that who asks does not have.
fn confirm(call: &Call, object: &Value, wanted: &[Rule]) -> Result<(), ApiError> {
    let user = &call.user;
    let bindings = call.server.bindings();
    let (own, problems) = bindings.rules_of(user, &call.path.namespace);
    if !rule::is_comparable(&own, wanted) {
        let why = "there are too many rules to compare them with the permissions currently held";
        return Err(ApiError::forbidden(&call.info, meta::name(object), why));
    }
    let missing = rule::missing(&own, wanted);
    if missing.is_empty() {
        return Ok(());
    }
    let mut shown: Vec<String> = missing.iter().map(Rule::describe).collect();
    shown.sort();
    shown.dedup();
    let mut why = format!(
        "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        super::go_quote(&user.name),
        rule::quoted_list(&user.groups),
        shown.join("\n")
    );
    if !problems.is_empty() {
        why = format!("{why}; resolution errors: [{}]", problems_text(&problems, "s"));
    }
    Err(ApiError::forbidden(&call.info, meta::name(object), &why))
}
