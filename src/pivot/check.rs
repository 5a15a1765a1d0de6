//! What stands in the way of a move. Everything is looked at before anything is changed, and everything that is found is told at once.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    AT_ONCE, MoveError,
    copy::{Uids, Wanted},
    error::Problem,
    journal::Side,
    kinds::MovedKind,
    site::{Action, Sent, Site, encoded},
    survey::Survey,
    tasks,
};
use crate::{
    controllers::lease::NAMESPACE,
    install::{self, InstallError, State},
    story::Story,
};

/// What the checks came to.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// What stands in the way.
    pub(super) problems: Vec<Problem>,
    /// What is worth telling.
    pub(super) notes: Vec<String>,
    /// Namespaces that the target does not have.
    pub(super) missing_namespaces: Vec<String>,
    /// Objects whose names are taken in the target.
    pub(super) existing: Vec<usize>,
}

/// Looks at the objects themselves: is one being deleted, does a machine still come to be, does somebody forbid the move. Pure.
pub(super) fn states(survey: &Survey) -> Vec<Problem> {
    let mut problems: Vec<Problem> = survey.moved().filter_map(|index| state(survey, index)).collect();
    for &index in &survey.choice.blocked {
        problems.push(
            Problem::passing(format!(
                "{} has an annotation that forbids a move",
                survey.name(index)
            ))
            .hinted("its provider takes the annotation away when it is ready (--wait waits for that)"),
        );
    }
    problems
}

/// What keeps one object from moving now.
fn state(survey: &Survey, index: usize) -> Option<Problem> {
    let (kind, text) = (survey.kind(index), &survey.objects[index].text);
    let (machine, cluster) = (kind.is_own("Machine"), kind.is_own("Cluster"));
    // Nothing needs to be read of most objects.
    if !machine && !cluster && !text.contains("\"deletionTimestamp\"") {
        return None;
    }
    let Standing { metadata, status } = Standing::of(text);
    let name = || survey.name(index);
    if metadata.deletion_timestamp.is_string() {
        let told = Problem::passing(format!("{} is being deleted", name()));
        return Some(
            told.hinted("wait until it is gone (--wait does), or see what holds it: kubectl describe"),
        );
    }
    let status = status.unwrap_or_default();
    if machine && !status.has_settled() {
        let told = format!("{} has no Node yet: its machine still comes to be", name());
        return Some(Problem::passing(told).hinted("wait until it runs (--wait does), or delete it"));
    }
    let unready = cluster && status.infrastructure_ready == false;
    unready.then(|| {
        Problem::passing(format!("{} has no keys and endpoint yet", name()))
            .hinted("wait until it has (--wait does)")
    })
}

/// What of an object says whether it may move now.
#[derive(Default, Deserialize)]
struct Standing {
    #[serde(default)]
    metadata: StandingMeta,
    #[serde(default)]
    status: Option<StandingStatus>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StandingMeta {
    #[serde(default)]
    deletion_timestamp: Value,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StandingStatus {
    #[serde(default)]
    node_ref: Value,
    #[serde(default)]
    phase: Value,
    #[serde(default)]
    infrastructure_ready: Value,
}

impl Standing {
    fn of(text: &str) -> Self {
        // A status of other software may be anything; what is being deleted is told all the same.
        let without_status = || -> Option<Self> {
            let metadata = serde_json::from_str::<Value>(text)
                .ok()?
                .get_mut("metadata")?
                .take();
            let metadata = Deserialize::deserialize(&metadata).ok()?;
            Some(Self {
                metadata,
                status: None,
            })
        };
        serde_json::from_str(text)
            .ok()
            .or_else(without_status)
            .unwrap_or_default()
    }
}

impl StandingStatus {
    /// Whether a machine has a Node, or will never have one.
    fn has_settled(&self) -> bool {
        self.node_ref["name"].is_string() || self.phase == "Failed"
    }
}

/// Asks both clusters. A name that is taken in the target is a problem.
pub(super) async fn clusters(
    source: &Site,
    target: &Site,
    survey: &Arc<Survey>,
    story: &dyn Story,
) -> Result<Findings, MoveError> {
    let of_source = async { Ok(allowed(source, survey, Use::Source, &[]).await) };
    let of_target = self::target(target, survey, story, |_| false);
    let (of_source, mut findings, versions) =
        tokio::try_join!(of_source, of_target, versions(source, target))?;
    findings.problems.extend(of_source);
    findings.problems.extend(versions);
    findings.refuse_existing(survey);
    findings.problems.sort();
    Ok(findings)
}

/// Whether the target's controllers are as new as the source's, and whole. Where nothing is installed, `machinectl run` acts.
async fn versions(source: &Site, target: &Site) -> Result<Option<Problem>, MoveError> {
    let failed = |error| match error {
        InstallError::Api { what, source } => MoveError::Api { what, source },
        other => MoveError::Api {
            what: "can't see what is installed".to_owned(),
            source: Box::new(kube::Error::Service(Box::new(other))),
        },
    };
    let there = install::inventory_of(&target.client).await.map_err(failed)?;
    let Some(there) = there else { return Ok(None) };
    let upgrade = format!("type: machinectl upgrade apply --context {}", target.context());
    if let State::Upgrading(version) = &there.state {
        let told = format!("the target is being upgraded from {} to {version}", there.version);
        return Ok(Some(Problem::new(told).hinted(upgrade)));
    }
    let here = install::inventory_of(&source.client).await.map_err(failed)?;
    Ok(here.filter(|here| there.is_older_than(here)).map(|here| {
        let told = format!(
            "the target has machinectl {}, which is older than {} in the source",
            there.version, here.version
        );
        Problem::new(told).hinted(upgrade)
    }))
}

/// Asks the target alone. Objects that `ours` knows for its own are not in the way.
pub(super) async fn target(
    target: &Site,
    survey: &Arc<Survey>,
    story: &dyn Story,
    ours: impl Fn(&Value) -> bool,
) -> Result<Findings, MoveError> {
    let mut findings = Findings::default();
    let (served, missing) = tokio::try_join!(served(target, survey), missing_namespaces(target, survey))?;
    findings.problems.extend(served);
    findings.missing_namespaces = missing;
    let denied = allowed(target, survey, Use::Target, &findings.missing_namespaces).await;
    findings.problems.extend(denied);
    if !findings.problems.is_empty() {
        return Ok(findings);
    }
    let all: Vec<usize> = survey.moved().collect();
    try_out(target, survey, &all, &mut findings, story).await?;
    let existing = stream::iter(std::mem::take(&mut findings.existing)).map(|index| async move {
        (
            index,
            target.read(survey.kind(index), &survey.objects[index]).await,
        )
    });
    let mut existing = existing.buffered(AT_ONCE);
    while let Some((index, there)) = existing.next().await {
        let name = || survey.name(index);
        let there = there.map_err(|e| MoveError::api(format!("can't read {} in the target", name()), e))?;
        if there.is_some_and(|there| !ours(&there)) {
            findings.existing.push(index);
        }
    }
    Ok(findings)
}

impl Findings {
    /// Makes problems of names that are taken.
    pub(super) fn refuse_existing(&mut self, survey: &Survey) {
        let existing = std::mem::take(&mut self.existing);
        self.problems
            .extend(existing.into_iter().map(|index| exists(survey, index)));
    }
}

/// An object whose name is taken in the target.
pub(super) fn exists(survey: &Survey, index: usize) -> Problem {
    Problem::new(format!("{} exists in the target", survey.name(index)))
        .hinted("rename or delete one of the two, or leave it out: -n, --filter-cluster")
}

/// Whether the target serves every kind in the version in which it is read.
async fn served(target: &Site, survey: &Survey) -> Result<Vec<Problem>, MoveError> {
    let used: HashSet<usize> = survey.moved().map(|i| survey.objects[i].kind).collect();
    let mut versions: BTreeMap<String, Vec<&MovedKind>> = BTreeMap::new();
    for kind in used
        .into_iter()
        .map(|k| &survey.kinds[k])
        .filter(|k| !k.group.is_empty())
    {
        versions.entry(kind.api_version()).or_default().push(kind);
    }
    let mut problems = Vec::new();
    let asked = stream::iter(versions).map(|(version, kinds)| async move {
        Ok::<_, MoveError>((resources(target, &version).await?, kinds))
    });
    let mut answers = asked.buffered(AT_ONCE);
    while let Some((found, kinds)) = answers.try_next().await? {
        let there: BTreeSet<&str> = found["resources"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|r| r["name"].as_str())
            .collect();
        for kind in kinds.into_iter().filter(|k| !there.contains(k.plural.as_str())) {
            let hint = if kind.own {
                format!(
                    "install the kinds there: machinectl init --context {}",
                    target.context()
                )
            } else {
                "install the provider there, in a version that serves it".to_owned()
            };
            problems.push(
                Problem::new(format!(
                    "the target does not serve {} in version {}",
                    kind.full_name(),
                    kind.version
                ))
                .hinted(hint),
            );
        }
    }
    problems.sort();
    Ok(problems)
}

/// What the target says of a group in a version; nothing if it does not know it.
async fn resources(target: &Site, version: &str) -> Result<Value, MoveError> {
    let path = format!("/apis/{version}");
    match target.send(Method::GET, &path, Sent::Whole, None).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Value::Null),
        other => other.map_err(|error| {
            MoveError::api(format!("can't ask the target what it serves of {version}"), error)
        }),
    }
}

/// What a cluster is needed for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Source,
    Target,
}

impl Use {
    const fn side(self) -> Side {
        match self {
            Self::Source => Side::Source,
            Self::Target => Side::Target,
        }
    }
}

/// Whether the user may do there what has to be done; `missing` namespaces have to be made.
async fn allowed(site: &Site, survey: &Survey, what_for: Use, missing: &[String]) -> Vec<Problem> {
    let all = Action {
        verb: "*",
        group: "*",
        resource: "*",
        subresource: "",
        namespace: None,
    };
    if site.allows(&all).await {
        return Vec::new();
    }
    let makes_namespaces = !missing.is_empty() || !has_own_namespace(site).await;
    let actions = actions(survey, what_for, makes_namespaces);
    let asked = stream::iter(actions).map(|action| async move { (site.allows(&action).await, action) });
    let answers: Vec<_> = asked.buffered(AT_ONCE).collect().await;
    let refused = answers.into_iter().filter(|(allowed, _)| !allowed);
    refused
        .map(|(_, action)| {
            let resource = crate::client::kinds::with_group(action.resource, action.group);
            let part = if action.subresource.is_empty() {
                String::new()
            } else {
                format!("/{}", action.subresource)
            };
            let place = action
                .namespace
                .map_or_else(String::new, |n| format!(" in namespace {n}"));
            Problem::denied(format!(
                "in the {}, context \"{}\" may not {} {resource}{part}{place}",
                what_for.side(),
                site.context(),
                action.verb
            ))
            .hinted("use a context with more rights, or have them granted")
        })
        .collect()
}

/// Whether the namespace of journal and Lease is there, as far as it may be looked at.
async fn has_own_namespace(site: &Site) -> bool {
    let path = format!("/api/v1/namespaces/{NAMESPACE}");
    let found = site.send(Method::GET, &path, Sent::Whole, None).await;
    !matches!(found, Err(kube::Error::Api(status)) if status.code == 404)
}

/// What will be done in a cluster.
fn actions(survey: &Survey, what_for: Use, makes_namespaces: bool) -> Vec<Action<'_>> {
    let of_namespaces = |verb, namespace| Action {
        verb,
        group: "",
        resource: "namespaces",
        subresource: "",
        namespace,
    };
    let mut actions = BTreeSet::from([of_namespaces("get", Some(NAMESPACE))]);
    if makes_namespaces {
        actions.insert(of_namespaces("create", None));
    }
    for index in survey.moved() {
        let kind = survey.kind(index);
        let namespace = survey.objects[index].namespace.as_deref();
        let verbs: &[&str] = match what_for {
            Use::Source if survey.kept.contains(&index) => &["list"],
            Use::Source => &["list", "get", "patch", "delete", "deletecollection"],
            Use::Target => &["get", "create", "update", "patch", "delete", "deletecollection"],
        };
        let action = |verb, subresource| Action {
            verb,
            group: &kind.group,
            resource: &kind.plural,
            subresource,
            namespace,
        };
        actions.extend(verbs.iter().map(|verb| action(verb, "")));
        if what_for == Use::Target {
            // It is read as a whole where everything moves.
            actions.insert(Action {
                namespace: namespace.filter(|_| !survey.everywhere),
                ..action("list", "")
            });
            if namespace.is_some() {
                actions.insert(of_namespaces("get", namespace));
            }
        }
        if what_for == Use::Target && kind.has_status {
            actions.extend(["update", "patch"].map(|verb| action(verb, "status")));
        }
    }
    for (group, resource, verbs) in [
        ("coordination.k8s.io", "leases", &["get", "create", "update"][..]),
        ("", "configmaps", &["get", "list", "create", "update", "delete"]),
    ] {
        actions.extend(verbs.iter().map(|verb| Action {
            verb,
            group,
            resource,
            subresource: "",
            namespace: Some(NAMESPACE),
        }));
    }
    actions.into_iter().collect()
}

/// Namespaces of what moves that the target does not have.
async fn missing_namespaces(target: &Site, survey: &Survey) -> Result<Vec<String>, MoveError> {
    let asked = stream::iter(survey.namespaces()).map(|name| is_missing(target, name));
    let answers: Vec<Option<String>> = asked.buffered(AT_ONCE).try_collect().await?;
    Ok(answers.into_iter().flatten().collect())
}

/// Gives the name of a namespace back that the target does not have.
async fn is_missing(target: &Site, name: String) -> Result<Option<String>, MoveError> {
    let path = format!("/api/v1/namespaces/{name}");
    match target.send(Method::GET, &path, Sent::Whole, None).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Some(name)),
        // The question about rights says so.
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
        Err(error) => Err(MoveError::api(
            format!("can't look for namespace {name} in the target"),
            error,
        )),
    }
}

/// Lets the target check each object without keeping it: schema, rules, webhooks, quotas, and whether the name is free.
pub(super) async fn try_out(
    target: &Site,
    survey: &Arc<Survey>,
    objects: &[usize],
    findings: &mut Findings,
    story: &dyn Story,
) -> Result<(), MoveError> {
    let trial = Arc::new(Trial::new(target, survey, &findings.missing_namespaces));
    let (mut done, total) = (0, objects.len());
    let (mut existing, mut problems, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    let work = |index| {
        let trial = Arc::clone(&trial);
        async move {
            let wanted = trial.survey.wanted(index, &trial.uids, false)?;
            Ok((index, trial.of(index, wanted).await))
        }
    };
    tasks::each(objects.iter().copied(), work, |(index, outcome)| {
        done += 1;
        if done % 100 == 0 || done == total {
            story.detail(&format!("{done} of {total} objects"));
        }
        let Err(error) = outcome else { return Ok(()) };
        let name = survey.name(index);
        match error {
            kube::Error::Api(status) if status.message.contains("does not support dry run") => {
                notes.push(format!("{name} could not be tried out: {}", status.message));
            }
            kube::Error::Api(status) if status.code == 409 && is_shared(survey, index) => {}
            kube::Error::Api(status) if status.code == 409 => existing.push(index),
            kube::Error::Api(status) => problems.push(
                Problem::new(format!("the target refuses {name}: {}", status.message))
                    .hinted("correct the object, or what refuses it"),
            ),
            error => {
                return Err(MoveError::api(
                    format!("can't try out {name} in the target"),
                    error,
                ));
            }
        }
        Ok(())
    })
    .await?;
    findings.existing.extend(existing);
    problems.sort();
    findings.problems.extend(problems);
    notes.sort();
    findings.notes.extend(notes);
    Ok(())
}

/// Whether an object may be in the target already: several moves bring it, or it belongs to the cluster as a whole.
pub(super) fn is_shared(survey: &Survey, index: usize) -> bool {
    survey.kept.contains(&index)
}

/// Tries objects out.
struct Trial {
    target: Site,
    survey: Arc<Survey>,
    uids: Uids,
    missing_namespaces: HashSet<String>,
}

impl Trial {
    fn new(target: &Site, survey: &Arc<Survey>, missing_namespaces: &[String]) -> Self {
        // Owners are not looked for when an object is created: their UIDs may be any.
        let uid = |i: usize| survey.objects[i].uid.clone();
        Self {
            target: target.clone(),
            survey: Arc::clone(survey),
            uids: survey.moved().map(|i| (uid(i), uid(i).to_string())).collect(),
            missing_namespaces: missing_namespaces.iter().cloned().collect(),
        }
    }

    async fn of(&self, index: usize, wanted: Wanted) -> Result<(), kube::Error> {
        let kind = self.survey.kind(index);
        let (mut body, manager) = wanted.into_first();
        let mut namespace = self.survey.objects[index].namespace.as_deref();
        let elsewhere = namespace.is_some_and(|n| self.missing_namespaces.contains(n));
        if elsewhere {
            // Nothing can be tried in a namespace that is not there; the schema and most webhooks don't mind which one it is.
            namespace = Some("default");
            body["metadata"]["namespace"] = json!("default");
        }
        let path = format!(
            "{}?dryRun=All&fieldManager={}",
            kind.path(namespace, None),
            encoded(&manager)
        );
        match self.target.tell(Method::POST, &path, Sent::Whole, &body).await {
            Err(kube::Error::Api(status)) if elsewhere && status.code == 409 => Ok(()),
            other => other,
        }
    }
}
