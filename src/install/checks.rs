//! What has to hold before anything changes. All of it is asked at once, and all that does not hold is told at once.

use std::cmp::Ordering;

use futures::{StreamExt as _, future::join_all, stream};
use k8s_openapi::{
    api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::Value;

use super::{
    DIGEST, FIELD_MANAGER, InstallError, NAMESPACE, OLDEST_MINOR, VERSION, definitions,
    inventory::{Inventory, State},
    objects::{self, ObjectName, Request, Scope},
};
use crate::api::labels;

/// How many questions are asked at a time.
const AT_ONCE: usize = 32;

/// Something that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What.
    pub message: String,
    /// What to type next.
    pub hint: String,
    /// Whether it is a matter of rights.
    pub forbidden: bool,
}

impl Problem {
    pub(super) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: hint.into(),
            forbidden: false,
        }
    }

    fn forbidden(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: "ask an administrator of the cluster, or use a context with more rights: --context NAME"
                .to_owned(),
            forbidden: true,
        }
    }
}

/// Which checks may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Leave {
    /// Definitions of others may be taken over.
    pub(super) foreign: bool,
    /// Another version may be installed: this is an upgrade.
    pub(super) version: bool,
}

/// What was found, for whoever applies it.
pub(super) struct Found {
    /// Each definition as it is wanted, and as it stands there.
    pub(super) definitions: Vec<(CustomResourceDefinition, Option<CustomResourceDefinition>)>,
    /// Each object as it is wanted, and as it stands there.
    pub(super) objects: Vec<(Value, Option<DynamicObject>)>,
    /// The inventory as it stands there.
    pub(super) inventory: Option<DynamicObject>,
    pub(super) problems: Vec<Problem>,
}

impl Found {
    /// What the inventory says is installed.
    pub(super) fn installed(&self) -> Option<Inventory> {
        let object = serde_json::to_value(self.inventory.as_ref()?).ok()?;
        Inventory::parse(&object)
    }
}

/// Looks at the cluster. Fails when it does not answer; what does not hold is in the result.
pub(super) async fn look(client: &Client, request: &Request, leave: Leave) -> Result<Found, InstallError> {
    // The definitions' names do not hang on the version, so that nothing waits for it.
    let names: Vec<_> = definitions::wanted(true)
        .iter()
        .map(kube::ResourceExt::name_any)
        .collect();
    let wanted = objects::objects(request);
    let (version, mut problems, live_definitions, live_objects, inventory) = tokio::join!(
        client.apiserver_version(),
        rights(client, request),
        join_all(names.iter().map(|name| definitions::live(client, name))),
        join_all(wanted.iter().map(|object| live(client, ObjectName::of(object)))),
        live(client, ObjectName::inventory()),
    );
    let version = version.map_err(|source| InstallError::Version(Box::new(source)))?;
    let rules = definitions::knows_rules(&version.major, &version.minor);
    if is_too_old(&version.major, &version.minor) {
        let message = format!(
            "the API server is Kubernetes {}, and 1.{OLDEST_MINOR} or newer is needed",
            version.git_version
        );
        problems.push(Problem::new(
            message,
            "upgrade the cluster, or use another: --context NAME",
        ));
    }
    let mut found = Found {
        definitions: Vec::new(),
        objects: Vec::new(),
        inventory: None,
        problems: Vec::new(),
    };
    for (crd, live) in definitions::wanted(rules).into_iter().zip(live_definitions) {
        found
            .definitions
            .push((crd, readable(live, &mut problems)?.flatten()));
    }
    for (object, live) in wanted.into_iter().zip(live_objects) {
        found
            .objects
            .push((object, readable(live, &mut problems)?.flatten()));
    }
    found.inventory = readable(inventory, &mut problems)?.flatten();
    problems.extend(strangers(&found, leave));
    problems.extend(leaving(&found));
    if !leave.version && request.scope == Scope::Controllers {
        problems.extend(found.installed().and_then(|installed| other_version(&installed)));
    }
    found.problems = problems;
    Ok(found)
}

/// What may not be read is one more problem; what can't be read for another reason is an error.
fn readable<T>(
    answer: Result<T, InstallError>,
    problems: &mut Vec<Problem>,
) -> Result<Option<T>, InstallError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(InstallError::Api { what, source }) if matches!(&*source, kube::Error::Api(s) if s.is_forbidden()) =>
        {
            // One question about rights says the same of several objects.
            if !problems.iter().any(|p| p.forbidden) {
                problems.push(Problem::forbidden(format!(
                    "you {}",
                    what.replacen("can't", "may not", 1)
                )));
            }
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Says what is installed, as the inventory has it; nothing, if there is none.
///
/// # Errors
/// Fails when the API server refuses to be asked, or goes away.
pub async fn inventory_of(client: &Client) -> Result<Option<Inventory>, InstallError> {
    let live = live(client, ObjectName::inventory()).await?;
    Ok(live.and_then(|live| Inventory::parse(&serde_json::to_value(live).ok()?)))
}

/// Reads an object, if it is there.
pub(super) async fn live(client: &Client, name: ObjectName) -> Result<Option<DynamicObject>, InstallError> {
    let read = name.api(client).get_opt(&name.name).await;
    read.map_err(InstallError::refused(format!("can't read {name}")))
}

fn is_too_old(major: &str, minor: &str) -> bool {
    let number = |text: &str| {
        text.trim_end_matches(|c: char| !c.is_ascii_digit())
            .parse::<u32>()
    };
    matches!((number(major), number(minor)), (Ok(1), Ok(minor)) if minor < OLDEST_MINOR)
}

/// Objects that are on their way out, from an earlier removal.
fn leaving(found: &Found) -> Vec<Problem> {
    let leaves = found.objects.iter().filter(|(_, live)| {
        let live = live.as_ref();
        live.is_some_and(|live| live.metadata.deletion_timestamp.is_some())
    });
    leaves
        .map(|(wanted, _)| {
            let name = ObjectName::of(wanted);
            let namespace = name
                .namespace
                .as_ref()
                .map_or_else(String::new, |n| format!("-n {n} "));
            Problem::new(
                format!("{name} is being deleted"),
                format!("wait until it is gone: kubectl wait {namespace}--for=delete {name}"),
            )
        })
        .collect()
}

/// Definitions of our names that somebody else has installed.
fn strangers(found: &Found, leave: Leave) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (wanted, live) in &found.definitions {
        let Some(live) = live else { continue };
        let name = wanted.name_any();
        if live.metadata.deletion_timestamp.is_some() {
            problems.push(Problem::new(
                format!("the definition {name} is being deleted"),
                format!("wait until it is gone: kubectl wait --for=delete crd/{name}"),
            ));
            continue;
        }
        if !is_own(live) && !leave.foreign {
            let owner = owner_of(live);
            problems.push(Problem::new(
                format!("the definition {name} was installed by {owner}"),
                "stop the controllers of that program, then take its definitions over (its objects stay): --take-over",
            ));
        }
        // The API server refuses a definition without a version in which objects are stored. Upgrades convert them first.
        if !leave.version && leave.foreign {
            let stored = live.status.as_ref().and_then(|s| s.stored_versions.as_ref());
            let lost = stored
                .into_iter()
                .flatten()
                .find(|v| !wanted.spec.versions.iter().any(|w| w.name == **v));
            if let Some(version) = lost {
                problems.push(Problem::new(
                    format!(
                        "objects of {name} are stored in version {version}, which this program does not know"
                    ),
                    "let the program that stored them convert them first",
                ));
            }
        }
    }
    problems
}

/// Whether this program has installed a definition, or somebody with the files that it writes.
fn is_own(crd: &CustomResourceDefinition) -> bool {
    crd.annotations().contains_key(DIGEST)
        || crd
            .labels()
            .get(labels::APP_MANAGED_BY)
            .is_some_and(|v| v == labels::APP)
}

/// Who has installed a definition, as far as it says.
fn owner_of(crd: &CustomResourceDefinition) -> String {
    let label = crd.labels().get(labels::APP_MANAGED_BY);
    let mut managers = crd
        .managed_fields()
        .iter()
        .filter(|m| m.subresource.as_deref().unwrap_or_default().is_empty());
    let manager = managers.find_map(|m| m.manager.as_ref().filter(|m| *m != "kube-apiserver"));
    match (label, manager) {
        (Some(label), _) => format!("\"{label}\""),
        (None, Some(manager)) => format!("\"{manager}\" (its field manager)"),
        (None, None) => "somebody else".to_owned(),
    }
}

/// Says what to do about another version.
fn other_version(installed: &Inventory) -> Option<Problem> {
    let Inventory { version, state, .. } = installed;
    match (state, installed.age()) {
        (State::Upgrading(to), _) => Some(Problem::new(
            format!("an upgrade from {version} to {to} was begun here and is not finished"),
            "finish it: machinectl upgrade apply",
        )),
        (State::Installed, Ordering::Less) => Some(Problem::new(
            format!("version {version} is installed here, and this program is {VERSION}"),
            "see what would change: machinectl upgrade plan",
        )),
        (State::Installed, Ordering::Greater) => Some(Problem::new(
            format!("version {version} is installed here, which is newer than this program ({VERSION})"),
            format!("use machinectl {version}"),
        )),
        (State::Installed, Ordering::Equal) => None,
    }
}

/// Something that has to be allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Access {
    verb: &'static str,
    group: String,
    resource: String,
    namespace: Option<String>,
}

/// Asks what this user may do. Who may do everything is asked once.
async fn rights(client: &Client, request: &Request) -> Vec<Problem> {
    let all = Access {
        verb: "*",
        group: "*".to_owned(),
        resource: "*".to_owned(),
        namespace: None,
    };
    // A server that can't say it says it when something is written.
    if may(client, &all).await.unwrap_or(true) {
        return Vec::new();
    }
    let needed = needed(request);
    let answers: Vec<_> = stream::iter(&needed)
        .map(|access| async move { (access, may(client, access).await.unwrap_or(true)) })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let denied: Vec<_> = answers
        .into_iter()
        .filter(|(_, may)| !may)
        .map(|(a, _)| a)
        .collect();
    let mut problems: Vec<Problem> = Vec::new();
    for access in &denied {
        let place = access
            .namespace
            .as_ref()
            .map_or_else(String::new, |n| format!(" in namespace {n}"));
        let what = if access.group.is_empty() {
            access.resource.clone()
        } else {
            format!("{}.{}", access.resource, access.group)
        };
        problems.push(Problem::forbidden(format!(
            "you may not {} {what}{place}",
            access.verb
        )));
    }
    if problems.is_empty() {
        problems.extend(escalation(client, request).await);
    }
    problems
}

async fn may(client: &Client, access: &Access) -> Result<bool, kube::Error> {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                verb: Some(access.verb.to_owned()),
                group: Some(access.group.clone()),
                resource: Some(access.resource.clone()),
                namespace: access.namespace.clone(),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|s| s.allowed))
}

/// Everything that is done, each once.
fn needed(request: &Request) -> Vec<Access> {
    let mut all = Vec::new();
    let mut add = |name: &ObjectName| {
        let resource = name.resource();
        for verb in ["get", "create", "patch"] {
            let access = Access {
                verb,
                group: resource.group.clone(),
                resource: resource.plural.clone(),
                namespace: name.namespace.clone(),
            };
            if !all.contains(&access) {
                all.push(access);
            }
        }
    };
    add(&ObjectName {
        api_version: "apiextensions.k8s.io/v1".to_owned(),
        kind: "CustomResourceDefinition".to_owned(),
        namespace: None,
        name: String::new(),
    });
    for object in objects::objects(request) {
        add(&ObjectName::of(&object));
    }
    if request.scope != Scope::Definitions {
        add(&ObjectName::inventory());
    }
    all
}

/// Nobody may grant what he does not have himself, unless he may `escalate` (Kubernetes: privilege escalation prevention). Only the API
/// server knows: it is asked to make the role and keep nothing.
async fn escalation(client: &Client, request: &Request) -> Option<Problem> {
    let roles = objects::objects(request).into_iter();
    let roles: Vec<_> = roles
        .filter(|o| matches!(o["kind"].as_str(), Some("ClusterRole" | "Role")))
        .collect();
    let asked = join_all(roles.iter().map(|role| async move {
        let name = ObjectName::of(role);
        let mut params = PatchParams::apply(FIELD_MANAGER).force();
        params.dry_run = true;
        match name
            .api(client)
            .patch(&name.name, &params, &Patch::Apply(role))
            .await
        {
            Err(kube::Error::Api(status)) if status.is_forbidden() => Some(status.message),
            // What else is wrong is told when it is applied.
            _ => None,
        }
    }))
    .await;
    let message = asked.into_iter().flatten().next()?;
    let missing = message.split_once('\n').map_or("", |(_, missing)| missing.trim());
    let missing: String = missing.replace('\n', "; ").chars().take(600).collect();
    Some(Problem {
        forbidden: true,
        ..Problem::new(
            format!("you may not give the controllers rights that you do not have yourself: {missing}"),
            "ask an administrator of the cluster to run it, or for the verbs escalate and bind on \
                    clusterroles and roles",
        )
    })
}

/// Whether a namespace is there, from what was found.
pub(super) fn has_namespace(found: &Found) -> bool {
    let mut namespaces = found.objects.iter().filter(|(o, _)| o["kind"] == "Namespace");
    namespaces.any(|(o, live)| o["metadata"]["name"] == NAMESPACE && live.is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::install::Provider;

    fn found(change: impl FnOnce(&mut CustomResourceDefinition)) -> Found {
        let wanted = definitions::wanted(true).remove(0);
        let mut live = wanted.clone();
        change(&mut live);
        Found {
            definitions: vec![(wanted, Some(live))],
            objects: Vec::new(),
            inventory: None,
            problems: Vec::new(),
        }
    }

    #[test]
    fn definitions_of_others_are_taken_over_only_when_somebody_says_so() {
        let foreign = |crd: &mut CustomResourceDefinition| {
            crd.metadata.labels = None;
            crd.metadata.annotations = None;
        };
        let refused = strangers(&found(foreign), Leave::default());
        assert!(refused[0].message.contains("somebody else"), "{refused:?}");
        assert!(refused[0].hint.contains("--take-over"));
        let told = Leave {
            foreign: true,
            ..Leave::default()
        };
        assert!(strangers(&found(foreign), told).is_empty());
        assert!(strangers(&found(|_| ()), Leave::default()).is_empty());
        // The files that this program writes have labels and no digest.
        let by_hand = |crd: &mut CustomResourceDefinition| crd.metadata.annotations = None;
        assert!(strangers(&found(by_hand), Leave::default()).is_empty());
    }

    #[test]
    fn objects_in_a_version_that_nobody_knows_are_not_lost() {
        let stored = |crd: &mut CustomResourceDefinition| {
            crd.status =
                serde_json::from_value(json!({ "storedVersions": ["v1alpha1", "v1beta9"] })).unwrap();
        };
        let told = Leave {
            foreign: true,
            ..Leave::default()
        };
        let problems = strangers(&found(stored), told);
        assert!(problems[0].message.contains("v1beta9"), "{problems:?}");
    }

    #[test]
    fn another_version_says_what_to_do() {
        let request = Request::new(Scope::Controllers, vec![Provider::Hollow], "i");
        let mut inventory = Inventory::of(&request);
        assert_eq!(other_version(&inventory), None);
        for (version, hint) in [("v0.0.1", "upgrade plan"), ("v99.0.0", "use machinectl v99.0.0")] {
            inventory.version = version.into();
            assert!(other_version(&inventory).unwrap().hint.contains(hint));
        }
        inventory.state = State::Upgrading(VERSION.into());
        assert!(other_version(&inventory).unwrap().hint.contains("upgrade apply"));
    }

    #[test]
    fn old_servers_are_refused() {
        assert!(is_too_old("1", "19+") && is_too_old("1", "9"));
        assert!(!is_too_old("1", "20") && !is_too_old("2", "0") && !is_too_old("", ""));
    }

    #[test]
    fn each_right_is_asked_for_once() {
        let request = Request::new(Scope::Controllers, Provider::ALL.to_vec(), "i");
        let all = needed(&request);
        for (i, access) in all.iter().enumerate() {
            assert!(!all[i + 1..].contains(access), "{access:?}");
        }
        let has = |verb, resource: &str| all.iter().any(|a| a.verb == verb && a.resource == resource);
        assert!(has("patch", "customresourcedefinitions") && has("create", "rolebindings"));
        assert!(has("patch", "configmaps") && has("create", "namespaces"));
    }
}
