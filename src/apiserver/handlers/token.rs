//! Making tokens for service accounts, as kube-apiserver does (`pkg/registry/core/serviceaccount/storage/token.go`). What a token says
//! and how it is signed, `identity` knows.

use axum::response::Response;
use serde_json::{Value, json};

use super::super::admission::{Asked, Operation};
use super::super::authorize::nodes::restriction::{self, Write};
use super::super::builtin::Registry;
use super::super::identity::{self, Bound, Claims, Reference};
use super::super::object::meta;
use super::super::schema::{FieldError, go_quote};
use super::super::status::ApiError;
use super::options::{WriteKind, WriteOptions};
use super::write::{Target, check_namespace, track_of};
use super::{Call, body, render};
use crate::time::{SignedDuration, rfc3339};

const GROUP: &str = "authentication.k8s.io";
const KIND: &str = "TokenRequest";
/// How long a token is good if nobody says it, in seconds.
const DEFAULT: i64 = 3600;
const SHORTEST: i64 = 600;
const LONGEST: i64 = 1 << 32;
/// With this time kubelets ask for the tokens that every pod has. Programs of old read those only once: theirs is good for a
/// year, and says when it should have been renewed.
const OF_EVERY_POD: i64 = 3607;
const YEAR: i64 = 365 * 24 * 3600;

/// Makes a token for the service account of the path.
pub(crate) async fn token(call: &Call) -> Result<Response, ApiError> {
    let form = call.form()?;
    let options = WriteOptions::parse(&call.query, WriteKind::Create)?;
    let info = Registry::token_request();
    let mut request = body::object_of(call, info, options.validation)?;
    check_namespace(call, &mut request)?;
    restriction::check(call, Write::Create(&request))?;
    if request["spec"]["expirationSeconds"].is_null() {
        request["spec"]["expirationSeconds"] = DEFAULT.into();
    }
    track_of(call, info, Target::TOKEN, &options.manager, None, &mut request);
    let asked = Asked {
        call,
        operation: Operation::Create,
        options: &options,
        name: &call.path.name,
    };
    request = asked.mutate(request, None).await?;
    let account = account(call, &request)?;
    complete(call, &account, &mut request);
    check(&request)?;
    asked.validate(&request, None).await?;
    let mut bound = bound(call, &request)?;
    bound.serviceaccount = reference(&account);
    let answer = issue(call, request, bound)?;
    Ok(render::answer(call, 201, &answer, form))
}

/// Returns the service account, if it is the one that is meant.
fn account(call: &Call, request: &Value) -> Result<Value, ApiError> {
    let (name, given) = (&call.path.name, meta::name(request));
    if !given.is_empty() && given != name {
        let why = "must match the service account name if specified";
        let error = FieldError::invalid("metadata.name", given, why);
        return Err(ApiError::invalid_kind(GROUP, KIND, name, &[error]));
    }
    let account = find(call, "serviceaccounts", &call.path.namespace, name)?;
    let (wanted, own) = (meta::text(request, "uid"), meta::text(&account, "uid"));
    if !wanted.is_empty() && wanted != own {
        let why = format!(
            "the UID in the token request ({wanted}) does not match the UID of the service account ({own})"
        );
        return Err(ApiError::kind_conflict(GROUP, KIND, name, &why));
    }
    Ok(account)
}

/// Returns an object of the core group.
fn find(call: &Call, resource: &str, namespace: &str, name: &str) -> Result<Value, ApiError> {
    let info = call
        .server
        .registry()
        .find("", "v1", resource)
        .ok_or_else(ApiError::no_such_path)?;
    let stored = call.server.store().get(resource, namespace, name);
    let stored = stored.ok_or_else(|| ApiError::not_found(&info, name))?;
    Ok(stored.value("v1", &info.kind))
}

fn reference(object: &Value) -> Reference {
    Reference {
        name: meta::name(object).to_owned(),
        uid: meta::text(object, "uid").to_owned(),
    }
}

/// Fills in what a request may leave open.
fn complete(call: &Call, account: &Value, request: &mut Value) {
    for field in ["name", "namespace", "uid"] {
        let own = meta::text(account, field).to_owned();
        meta::set(request, field, &own);
    }
    meta::set(request, "creationTimestamp", &rfc3339(call.server.now()));
    let spec = &mut request["spec"];
    if spec["audiences"].as_array().is_none_or(Vec::is_empty) {
        spec["audiences"] = json!(identity::own_audiences());
    }
    if spec.get("boundObjectRef").is_none() {
        spec["boundObjectRef"] = Value::Null;
    }
}

fn seconds(request: &Value) -> i64 {
    request["spec"]["expirationSeconds"].as_i64().unwrap_or(0)
}

fn check(request: &Value) -> Result<(), ApiError> {
    let seconds = seconds(request);
    let why = if seconds < SHORTEST {
        "may not specify a duration less than 10 minutes"
    } else if seconds > LONGEST {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        return Ok(());
    };
    let error = FieldError::invalid("spec.expirationSeconds", seconds, why);
    Err(ApiError::invalid_kind(GROUP, KIND, "", &[error]))
}

/// Returns with what the token ends.
fn bound(call: &Call, request: &Value) -> Result<Bound, ApiError> {
    let namespace = call.path.namespace.as_str();
    let mut bound = Bound {
        namespace: namespace.to_owned(),
        ..Bound::default()
    };
    let wanted = &request["spec"]["boundObjectRef"];
    if wanted.is_null() {
        return Ok(bound);
    }
    let text = |field: &str| wanted[field].as_str().unwrap_or_default();
    let (version, kind, name, uid) = (text("apiVersion"), text("kind"), text("name"), text("uid"));
    let (group, short) = version.split_once('/').unwrap_or(("", version));
    let found = match kind {
        "Pod" | "Secret" if group.is_empty() => {
            find(call, &format!("{}s", kind.to_lowercase()), namespace, name)?
        }
        "Node" if group.is_empty() => find(call, "nodes", "", name)?,
        _ => {
            let message = format!("cannot bind token to object of type {group}/{short}, Kind={kind}");
            return Err(ApiError::bad_request(message));
        }
    };
    let own = Some(reference(&found));
    match kind {
        "Pod" => {
            check_runs_as(call, &found)?;
            bound.node = node_of(call, &found);
            bound.pod = own;
        }
        "Secret" => bound.secret = own,
        _ => bound.node = own,
    }
    let found = meta::text(&found, "uid");
    if !uid.is_empty() && uid != found {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(ApiError::kind_conflict("", kind, name, &why));
    }
    Ok(bound)
}

fn check_runs_as(call: &Call, pod: &Value) -> Result<(), ApiError> {
    if pod["spec"]["serviceAccountName"] == call.path.name.as_str() {
        return Ok(());
    }
    let message = format!(
        "cannot bind token for serviceaccount {} to pod running with different serviceaccount name.",
        go_quote(&call.path.name)
    );
    Err(ApiError::bad_request(message))
}

/// Returns the node of a pod; without a uid if it isn't there.
fn node_of(call: &Call, pod: &Value) -> Option<Reference> {
    let name = pod["spec"]["nodeName"].as_str().filter(|name| !name.is_empty())?;
    let there = find(call, "nodes", "", name).ok();
    let absent = || Reference {
        name: name.to_owned(),
        uid: String::new(),
    };
    Some(there.as_ref().map_or_else(absent, reference))
}

/// Signs the token and puts it into the answer.
fn issue(call: &Call, mut request: Value, mut bound: Bound) -> Result<Value, ApiError> {
    let (now, asked) = (call.server.now(), seconds(&request));
    let own = identity::own_audiences();
    let audiences: Vec<String> = request["spec"]["audiences"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let mut good = asked;
    if bound.pod.is_some() && asked == OF_EVERY_POD && audiences.iter().all(|a| own.contains(a)) {
        bound.warnafter = Some(now.as_second().saturating_add(asked));
        good = YEAR;
    }
    let claims = Claims::new(now, good, audiences, bound);
    let token = call.server.authority()?.tokens.sign(&claims);
    let token = token.ok_or_else(|| ApiError::internal("failed to generate token"))?;
    let end = now
        .saturating_add(SignedDuration::from_secs(asked))
        .unwrap_or(now);
    request["status"] = json!({"token": token, "expirationTimestamp": rfc3339(end)});
    Ok(request)
}
