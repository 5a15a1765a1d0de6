//! What does not move but would be lost: an API server deletes what is owned by something that it deletes.

use std::collections::HashMap;

use futures::{StreamExt as _, stream};
use serde::Deserialize;

use super::{
    MoveError,
    collect::{ListMeta, METADATA, Namespaces, ReadError, each_page_as},
    error::Problem,
    kinds::StayingKind,
    sequence::Unsettled,
    site::Site,
    survey::Survey,
};

/// Objects a page.
const PAGE: usize = 500;
/// Kinds that are listed at once.
const AT_ONCE: usize = 8;

/// What was found of kinds that do not move.
#[derive(Debug, Default)]
pub(super) struct Strays {
    /// Objects that would be lost.
    pub(super) problems: Vec<Problem>,
    /// Kinds that could not be looked at.
    pub(super) notes: Vec<String>,
}

/// Looks among the objects that stay for those that are owned by what leaves the source. Only their metadata are read. Whoever takes everything
/// along to delete it does not mind what goes with it.
pub(super) async fn look(
    site: &Site,
    survey: &Survey,
    namespaces: &Namespaces,
    unsettled: Unsettled,
) -> Result<Strays, MoveError> {
    if unsettled == Unsettled::Take {
        return Ok(Strays::default());
    }
    let leaving: HashMap<&str, usize> = survey
        .moved()
        .filter(|index| !survey.kept.contains(index))
        .map(|index| (&*survey.objects[index].uid, index))
        .collect();
    let is_owner = &|uid: &str| leaving.contains_key(uid);
    let lists = stream::iter(&survey.staying)
        .map(|kind| async move { (kind, list(site, kind, namespaces, is_owner).await) });
    let mut lists = lists.buffered(AT_ONCE);
    let mut strays = Strays::default();
    while let Some((kind, found)) = lists.next().await {
        match found {
            Ok(found) => strays.problems.extend(found.iter().map(|(name, owner)| {
                let owner = leaving
                    .get(&**owner)
                    .map_or_else(String::new, |&index| survey.name(index));
                lost(kind, name, &owner)
            })),
            Err(ReadError::List { source, .. }) if code(&source) == Some(403) => strays.notes.push(format!(
                "whether something that moves owns {} could not be seen: the user may not list them",
                kind.full_name()
            )),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(strays)
}

fn lost(kind: &StayingKind, name: &str, owner: &str) -> Problem {
    let what = format!(
        "{} {name} does not move, and would be deleted in the source with its owner {owner}",
        kind.full_name()
    );
    let hint = if kind.is_custom {
        format!(
            "to move it: kubectl label crd {} {}=; to keep it: take the owner reference away",
            kind.full_name(),
            super::kinds::MOVE
        )
    } else {
        "take the owner reference away, or delete it".to_owned()
    };
    Problem::new(what).hinted(hint)
}

/// Names of the objects that such an owner has, each with the UID of that.
async fn list(
    site: &Site,
    kind: &StayingKind,
    namespaces: &Namespaces,
    is_owner: &(dyn Fn(&str) -> bool + Sync),
) -> Result<Vec<(String, String)>, ReadError> {
    let path = kind.path(namespaces.one());
    let read = each_page_as(
        METADATA,
        &site.client,
        &path,
        PAGE,
        |text, found: &mut Vec<(String, String)>| {
            let page: Page = serde_json::from_str(text).map_err(|e| e.to_string())?;
            for Item { metadata } in page.items.unwrap_or_default() {
                if let Some(owner) = metadata.owners.iter().find(|owner| is_owner(&owner.uid)) {
                    found.push((metadata.told(), owner.uid.clone()));
                }
            }
            Ok(page.metadata.next())
        },
    );
    match read.await {
        // It is served no more, or can't be listed.
        Err(ReadError::List { source, .. }) if matches!(code(&source), Some(404 | 405)) => Ok(Vec::new()),
        other => other,
    }
}

/// Whether there is an object of a kind that does not move in a namespace, except for what every namespace has.
pub(super) async fn is_any(site: &Site, kinds: &[StayingKind], namespace: &str) -> Result<bool, MoveError> {
    let namespace = Namespaces::One(namespace.to_owned());
    for kind in kinds.iter().filter(|kind| kind.namespaced) {
        let path = kind.path(namespace.one());
        let read = each_page_as(METADATA, &site.client, &path, PAGE, |text, any: &mut bool| {
            let page: Page = serde_json::from_str(text).map_err(|e| e.to_string())?;
            let items = page.items.unwrap_or_default();
            *any |= items
                .iter()
                .any(|item| !(kind.plural == "serviceaccounts" && item.metadata.name == "default"));
            Ok(page.metadata.next())
        });
        match read.await {
            Ok(false) => {}
            Ok(true) => return Ok(true),
            Err(ReadError::List { source, .. }) if matches!(code(&source), Some(404 | 405)) => {}
            // What can't be seen may be there.
            Err(ReadError::List { source, .. }) if code(&source) == Some(403) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(default)]
    items: Option<Vec<Item>>,
}

#[derive(Deserialize)]
struct Item {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default, rename = "ownerReferences")]
    owners: Vec<Owner>,
}

impl Metadata {
    fn told(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.clone(),
        }
    }
}

#[derive(Deserialize)]
struct Owner {
    uid: String,
}
