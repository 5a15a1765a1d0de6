//! Which objects there are: one list a kind, page by page, several kinds at once. It decides nothing.
//!
//! Each object is read, written down as text and let go before the next one is read: no list stands in memory as a tree.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::Client;
use serde::Deserialize;
use serde_json::Value;

use super::{kinds::MovedKind, object::Object, site::encoded, tasks::aside};
use crate::{api::INFRASTRUCTURE_GROUP, json};

/// Objects a page (kubectl: `--chunk-size`).
const PAGE: usize = 500;
/// Kinds that are listed at once.
const AT_ONCE: usize = 8;
/// A list without anything but the metadata of its objects.
pub(super) const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// Where objects are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namespaces {
    /// Everywhere.
    All,
    /// In this one.
    One(String),
}

impl Namespaces {
    /// The one, if it is one.
    pub fn one(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::One(name) => Some(name),
        }
    }
}

/// Why objects could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The API server refuses the list, or can't be reached.
    #[error("can't list {what}")]
    List {
        /// What was listed: `machines.machine.crit.sh`.
        what: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The answer can't be read.
    #[error("can't read the list of {what}: {reason}")]
    Unreadable {
        /// What was listed.
        what: String,
        /// What is wrong with it; it shows no content.
        reason: String,
    },
}

/// Reads all objects of the kinds in some namespaces, and those that stand outside of namespaces. Objects come kind by kind, in the order of the
/// API server. Of Nodes, only those of hollow machines are kept; nobody asks for them where there are no hollow machines.
///
/// # Errors
/// Fails if one of the kinds can't be listed.
pub async fn collect(
    client: &Client,
    kinds: &[MovedKind],
    namespaces: &Namespaces,
) -> Result<Vec<Object>, ReadError> {
    collect_in(Texts::InOrder, client, kinds, namespaces).await
}

/// As [`collect`], but the texts are those of the API server.
///
/// # Errors
/// Fails if one of the kinds can't be listed.
pub(super) async fn collect_as_written(
    client: &Client,
    kinds: &[MovedKind],
    namespaces: &Namespaces,
) -> Result<Vec<Object>, ReadError> {
    collect_in(Texts::AsWritten, client, kinds, namespaces).await
}

async fn collect_in(
    texts: Texts,
    client: &Client,
    kinds: &[MovedKind],
    namespaces: &Namespaces,
) -> Result<Vec<Object>, ReadError> {
    let form = (Nodes::Hollow, texts);
    let (nodes, others): (Vec<_>, Vec<_>) = kinds.iter().enumerate().partition(|(_, k)| k.is_core("Node"));
    let lists = stream::iter(others).map(|kind| list(client, kind, namespaces, form));
    let lists: Vec<Vec<Object>> = lists.buffered(AT_ONCE).try_collect().await?;
    let mut objects: Vec<Object> = lists.into_iter().flatten().collect();
    let is_hollow = |o: &Object| {
        kinds
            .get(o.kind)
            .is_some_and(|k| k.group == INFRASTRUCTURE_GROUP && k.kind == "HollowMachine")
    };
    if objects.iter().any(is_hollow) {
        for kind in nodes {
            objects.extend(list(client, kind, namespaces, form).await?);
        }
    }
    Ok(objects)
}

/// Reads all objects of the kinds, Nodes of hosts included: what stands in the way of something that comes, under whatever name. The texts
/// are those of the API server.
///
/// # Errors
/// Fails if one of the kinds can't be listed.
pub(super) async fn everything(
    client: &Client,
    kinds: &[MovedKind],
    namespaces: &Namespaces,
) -> Result<Vec<Object>, ReadError> {
    let form = (Nodes::All, Texts::AsWritten);
    let lists = stream::iter(kinds.iter().enumerate());
    let lists = lists.map(|kind| list(client, kind, namespaces, form));
    let lists: Vec<Vec<Object>> = lists.buffered(AT_ONCE).try_collect().await?;
    Ok(lists.into_iter().flatten().collect())
}

/// Which Nodes are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nodes {
    /// Those of hollow machines: others are hosts of this cluster and can't move.
    Hollow,
    /// All.
    All,
}

/// How texts are taken in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Texts {
    /// As the API server writes them: without a tree.
    AsWritten,
    /// As they are compared and put into files: fields in the order of the alphabet.
    InOrder,
}

/// Lists the objects of a kind, as a task of its own.
fn list(
    client: &Client,
    (index, kind): (usize, &MovedKind),
    namespaces: &Namespaces,
    form: (Nodes, Texts),
) -> impl Future<Output = Result<Vec<Object>, ReadError>> + use<> {
    aside(read(
        client.clone(),
        index,
        kind.clone(),
        namespaces.clone(),
        form,
    ))
}

async fn read(
    client: Client,
    index: usize,
    kind: MovedKind,
    namespaces: Namespaces,
    (nodes, texts): (Nodes, Texts),
) -> Result<Vec<Object>, ReadError> {
    let path = kind.path(namespaces.one(), None);
    each_page(&client, &path, PAGE, |text, objects| {
        let list = List {
            index,
            kind: &kind,
            objects,
            nodes,
            texts,
        };
        list.read(text)
    })
    .await
    .map_err(|error| error.of(&kind))
}

impl ReadError {
    fn of(mut self, kind: &MovedKind) -> Self {
        let (Self::List { what, .. } | Self::Unreadable { what, .. }) = &mut self;
        *what = kind.full_name();
        self
    }
}

/// What a list says of itself.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ListMeta {
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

impl ListMeta {
    /// Where the next page begins, if there is one.
    pub(super) fn next(self) -> Option<String> {
        self.next.filter(|next| !next.is_empty())
    }
}

/// Reads a list page by page; `take` adds a page to what was read and says where the next one begins. If the API server no longer knows where the
/// pages began (410), all is read again, in one piece: it is the only way to end.
///
/// # Errors
/// Fails if the API server refuses, or stays too busy or silent.
pub(super) async fn each_page<T: Default>(
    client: &Client,
    path: &str,
    limit: usize,
    take: impl FnMut(&str, &mut T) -> Result<Option<String>, String>,
) -> Result<T, ReadError> {
    each_page_as("application/json", client, path, limit, take).await
}

/// As [`each_page`], in the form `accept`.
pub(super) async fn each_page_as<T: Default>(
    accept: &str,
    client: &Client,
    path: &str,
    limit: usize,
    mut take: impl FnMut(&str, &mut T) -> Result<Option<String>, String>,
) -> Result<T, ReadError> {
    let what = path.rsplit('/').next().unwrap_or(path).to_owned();
    let mut all = T::default();
    let mut address = format!("{path}?limit={limit}");
    let mut whole = false;
    loop {
        let text = match page(client, accept, &address, &what).await {
            Err(ReadError::List { source, .. }) if is_expired(&source) && !whole => {
                all = T::default();
                path.clone_into(&mut address);
                whole = true;
                continue;
            }
            answer => answer?,
        };
        let next = take(&text, &mut all).map_err(|reason| ReadError::Unreadable {
            what: what.clone(),
            reason,
        })?;
        let Some(next) = next else { return Ok(all) };
        address = format!("{path}?limit={limit}&continue={}", encoded(&next));
    }
}

fn is_expired(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 410)
}

/// Asks for one page. Whoever wants patience with a busy API server brings a client that has it.
async fn page(client: &Client, accept: &str, address: &str, what: &str) -> Result<String, ReadError> {
    let failed = |source| ReadError::List {
        what: what.to_owned(),
        source: Box::new(source),
    };
    let request = http::Request::get(address)
        .header("Accept", accept)
        .body(Vec::new())
        .map_err(|e| failed(kube::Error::HttpError(e)))?;
    client.request_text(request).await.map_err(failed)
}

/// Reads a list of a kind into objects, one after the other.
struct List<'a> {
    index: usize,
    kind: &'a MovedKind,
    objects: &'a mut Vec<Object>,
    nodes: Nodes,
    texts: Texts,
}

impl List<'_> {
    /// Reads a page; says where the next one begins.
    fn read(mut self, page: &str) -> Result<Option<String>, String> {
        let told = |e: serde_json::Error| e.to_string();
        let mut next = None;
        for field in json::fields(page) {
            let (key, value) = field.map_err(told)?;
            match key.as_str() {
                "metadata" => {
                    let metadata: Option<ListMeta> = serde_json::from_str(value).map_err(told)?;
                    next = metadata.unwrap_or_default().next();
                }
                // Some servers write an empty list so.
                "items" if value == "null" => {}
                "items" => json::items(value).try_for_each(|item| self.take(item.map_err(told)?))?,
                _ => {}
            }
        }
        Ok(next)
    }

    fn take(&mut self, item: &str) -> Result<(), String> {
        let read = || serde_json::from_str::<Value>(item).map_err(|e| e.to_string());
        let picks = self.kind.is_core("Node") && self.nodes == Nodes::Hollow;
        if picks && !is_hollow_node(&read()?) {
            return Ok(());
        }
        let object = match self.texts {
            Texts::AsWritten => Object::as_written(self.index, self.kind, item),
            Texts::InOrder => Object::new(self.index, self.kind, read()?),
        };
        self.objects
            .push(object.map_err(|e| format!("one of them: {e}"))?);
        Ok(())
    }
}

/// Whether a Node is that of a hollow machine.
fn is_hollow_node(node: &Value) -> bool {
    let id = node.pointer("/spec/providerID").and_then(Value::as_str);
    id.is_some_and(|id| id.starts_with(super::graph::HOLLOW))
}

#[cfg(test)]
#[path = "collect_tests.rs"]
mod tests;
