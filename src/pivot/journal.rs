//! The journal of a move: a `ConfigMap` in the source and one in the target that say how far it is, and lists of what moves beside each.
//! Whoever finds one after a crash can go on, or undo. What to do about it is decided by [`decide`], which is pure.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
};

use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Namespace},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, PostParams, Preconditions},
};
use serde::{Deserialize, Serialize};

use crate::{client::kinds, controllers::lease::NAMESPACE, time::Timestamp};

/// Name of the journal, and label on its lists.
pub const NAME: &str = "machinectl-move";
/// Label on a list of what moves: the move that it is of.
const OF_MOVE: &str = "machinectl.crit.sh/move-id";
/// Key of the journal in its `ConfigMap`, and of a list in its own.
const JOURNAL: &str = "journal.json";
const OBJECTS: &str = "objects";
/// Entries a list; compressed they stay far below the 1 MiB that an object may have.
const CHUNK: usize = 10_000;

/// How far a move is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The source's controllers come to a stand. Nothing is in the target.
    Fencing,
    /// Objects come to be in the target. The source is whole.
    Copying,
    /// Everything is in the target and was compared. From here it only goes forward: the source is emptied.
    Committed,
    /// It is being undone: the target is emptied.
    Aborting,
    /// It is over. The journal stays as a record.
    Done,
}

impl Phase {
    /// Whether the source is whole, so that everything can be undone.
    pub(super) fn can_be_undone(self) -> bool {
        !matches!(self, Self::Committed | Self::Done)
    }
}

/// A cluster that takes part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Context under which the user knew it.
    pub context: String,
    /// UID of its namespace `kube-system`, which says which cluster it is.
    pub cluster: String,
    /// Where the user found it, if that was no context of the usual kubeconfig.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Found>,
}

/// Where the user found what takes part in a move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Found {
    /// In this kubeconfig file.
    Kubeconfig(String),
    /// It is no cluster but a directory; the context is its name.
    #[serde(rename_all = "camelCase")]
    Directory {
        /// Whether objects that are in the target already stay as they are there.
        keep_existing: bool,
    },
}

/// What of the source moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// The namespace; nothing: all.
    pub namespace: Option<String>,
    /// Only what belongs to this Cluster.
    pub cluster: Option<String>,
}

/// How far a move is, and which one it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Journal {
    /// Which move.
    pub id: String,
    /// How far.
    pub phase: Phase,
    /// From where.
    pub source: Place,
    /// To where.
    pub target: Place,
    /// What.
    pub extent: Extent,
    /// When it began.
    pub begun: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// How many objects.
    pub objects: usize,
    /// Which of its lists counts. None is written over another one that may be read: which one it is changes with the journal, at once.
    #[serde(default)]
    pub list: usize,
    /// Namespaces that it makes in the target.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// Version of the program that began it.
    pub version: String,
}

impl Journal {
    /// Has another list of so many objects, which is written before the journal is.
    pub(super) fn relist(&mut self, objects: usize) {
        self.list += 1;
        self.objects = objects;
    }

    /// The name of a part of its list. The first list bears the name that older versions gave to the only one.
    fn list_name(&self, part: usize) -> String {
        match self.list {
            0 => format!("{NAME}-{}-{part}", self.id),
            list => format!("{NAME}-{}-{list}-{part}", self.id),
        }
    }
}

/// An object that moves, as the journal knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Resource and group: `machines.machine.crit.sh`.
    #[serde(rename = "k")]
    pub kind: String,
    /// Version in which it is read and written.
    #[serde(rename = "v")]
    pub version: String,
    /// Namespace.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    #[serde(rename = "n")]
    pub name: String,
    /// UID in the source.
    #[serde(rename = "u")]
    pub uid: String,
    /// It stays in the source, too.
    #[serde(rename = "c", default, skip_serializing_if = "std::ops::Not::not")]
    pub copied: bool,
    /// It is paused for the time of the move: the controllers of its kind belong to somebody else.
    #[serde(rename = "p", default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Its resource version in the source when both places were compared.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<String>,
    /// How many stand above it: owners are of a lower level than what they own.
    #[serde(rename = "l", default, skip_serializing_if = "is_zero")]
    pub level: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(level: &usize) -> bool {
    *level == 0
}

impl Entry {
    /// Where the object is, or where objects of its kind are.
    pub fn path(&self, named: bool) -> String {
        let (plural, group) = self.kind.split_once('.').unwrap_or((&self.kind, ""));
        let name = named.then_some(self.name.as_str());
        kinds::path(group, &self.version, plural, self.namespace.as_deref(), name)
    }
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// A name for a new move.
pub(super) fn new_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()[..8].to_owned()
}

/// What to do when a move is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing is under way.
    Begin,
    /// The same move was interrupted before it was committed, or after.
    Resume(Box<Journal>),
    /// A move of this source was given up; what it left in the target goes first.
    CleanUp(Box<Journal>),
    /// Another move is under way, on the side that is named.
    Refuse(Side, Box<Journal>),
}

/// One of the two clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// From where.
    Source,
    /// To where.
    Target,
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Target => "target",
        })
    }
}

/// Says what the journals that stand on both sides mean for a move from `source` to `target`. Pure.
pub fn decide(
    in_source: Option<&Journal>,
    in_target: Option<&Journal>,
    source: &Place,
    target: &Place,
    extent: &Extent,
) -> Decision {
    let active =
        |journal: Option<&Journal>| journal.filter(|j| j.phase != Phase::Done).cloned().map(Box::new);
    let same = |journal: &Journal| {
        journal.source.cluster == source.cluster
            && journal.target.cluster == target.cluster
            && journal.extent == *extent
    };
    match (active(in_source), active(in_target)) {
        (Some(begun), other) => {
            if let Some(other) = other.filter(|other| other.id != begun.id) {
                return Decision::Refuse(Side::Target, other);
            }
            if begun.phase == Phase::Aborting && begun.target.cluster == target.cluster {
                return Decision::CleanUp(begun);
            }
            if same(&begun) {
                Decision::Resume(begun)
            } else {
                Decision::Refuse(Side::Source, begun)
            }
        }
        // The source has gone on without it, or never knew of it: what stands in the target is of no use.
        (None, Some(left))
            if left.source.cluster == source.cluster && left.target.cluster == target.cluster =>
        {
            Decision::CleanUp(left)
        }
        (None, Some(other)) => Decision::Refuse(Side::Target, other),
        (None, None) => Decision::Begin,
    }
}

/// A cluster's name for itself: the UID of `kube-system`.
///
/// # Errors
/// Fails when the API server can't be asked.
pub async fn identity(client: &Client) -> Result<String, kube::Error> {
    let namespace = Api::<Namespace>::all(client.clone()).get("kube-system").await?;
    Ok(namespace.uid().unwrap_or_default())
}

/// The journal on one side.
#[derive(Clone)]
pub struct Book {
    client: Client,
}

impl Book {
    /// Of a cluster.
    pub fn new(client: &Client) -> Self {
        Self {
            client: client.clone(),
        }
    }

    fn api(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Reads the journal, and when it was made there.
    ///
    /// # Errors
    /// Fails when the API server can't be asked. A journal that can't be read is an error, too: it may be one of a newer version.
    pub async fn read(&self) -> Result<Option<(Journal, Timestamp)>, kube::Error> {
        let Some(found) = self.api().get_opt(NAME).await? else {
            return Ok(None);
        };
        Ok(Some((journal_of(&found)?, made(&found))))
    }

    /// Writes the journal of a move that begins, unless one stands there which is not over. Returns the one that stands there then, and when
    /// it was made.
    ///
    /// # Errors
    /// Fails when the API server refuses or can't be asked.
    pub async fn begin(&self, journal: &Journal) -> Result<(Journal, Timestamp), kube::Error> {
        let (api, post) = (self.api(), PostParams::default());
        loop {
            let standing = api.get_opt(NAME).await?;
            let mut wanted = journal_map(journal)?;
            let written = if let Some(standing) = &standing {
                let found = journal_of(standing)?;
                if found.id == journal.id || found.phase != Phase::Done {
                    return Ok((found, made(standing)));
                }
                wanted.metadata.resource_version = standing.resource_version();
                api.replace(NAME, &post, &wanted).await
            } else {
                api.create(&post, &wanted).await
            };
            match written {
                Ok(written) => return Ok((journal.clone(), made(&written))),
                // Somebody was faster; or the answer to this very write was lost.
                Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {}
                Err(kube::Error::Api(status)) if status.is_not_found() => self.make_namespace().await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes the journal.
    ///
    /// # Errors
    /// Fails when the API server refuses or can't be asked.
    pub async fn write(&self, journal: &Journal) -> Result<(), kube::Error> {
        self.put(&journal_map(journal)?).await
    }

    /// Writes the list of what moves, of which the journal will know.
    ///
    /// # Errors
    /// Fails when the API server refuses or can't be asked.
    pub async fn list(&self, journal: &Journal, entries: &[Entry]) -> Result<(), kube::Error> {
        for (part, chunk) in entries.chunks(CHUNK).enumerate() {
            let mut wanted = config_map(&journal.list_name(part), &journal.id);
            wanted.binary_data = Some(BTreeMap::from([(OBJECTS.to_owned(), ByteString(packed(chunk)?))]));
            match self.api().create(&PostParams::default(), &wanted).await {
                // The journal did not learn of it any more when it was written before; or the namespace is missing.
                Err(kube::Error::Api(status)) if status.is_already_exists() || status.is_not_found() => {
                    self.put(&wanted).await?;
                }
                other => other.map(|_| ())?,
            }
        }
        Ok(())
    }

    /// Reads the list of what moves, as far as it is written.
    ///
    /// # Errors
    /// Fails when the API server can't be asked or a list can't be read.
    pub async fn entries(&self, journal: &Journal) -> Result<Vec<Entry>, kube::Error> {
        let mut entries = Vec::new();
        for part in 0..journal.objects.div_ceil(CHUNK) {
            let Some(found) = self.api().get_opt(&journal.list_name(part)).await? else {
                break;
            };
            let bytes = found.binary_data.and_then(|mut d| d.remove(OBJECTS));
            entries.extend(unpacked(&bytes.unwrap_or_default().0)?);
        }
        Ok(entries)
    }

    /// Removes the lists of a move, and its journal unless that stays as a record.
    ///
    /// # Errors
    /// Fails when the API server refuses or can't be asked.
    pub async fn remove(&self, id: &str, journal_too: bool) -> Result<(), kube::Error> {
        let of_move = ListParams::default().labels(&format!("{OF_MOVE}={id}"));
        let found = self.api().list(&of_move).await?;
        let (journal, mut going): (Vec<ConfigMap>, Vec<ConfigMap>) =
            found.into_iter().partition(|found| found.name_any() == NAME);
        if journal_too {
            // Last: as long as it stands, the same command ends what is left.
            going.extend(journal);
        }
        for one in going {
            // By UID: another move may begin under the same name.
            let params = DeleteParams::default().preconditions(Preconditions {
                uid: one.uid(),
                resource_version: None,
            });
            match self.api().delete(&one.name_any(), &params).await {
                Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
                other => other.map(|_| ())?,
            }
        }
        Ok(())
    }

    async fn put(&self, wanted: &ConfigMap) -> Result<(), kube::Error> {
        let api = self.api();
        loop {
            match api
                .replace(&wanted.name_any(), &PostParams::default(), wanted)
                .await
            {
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                // Without a resource version, a conflict is one of two writers at the same moment.
                Err(kube::Error::Api(status)) if status.is_conflict() => continue,
                other => return other.map(|_| ()),
            }
            match api.create(&PostParams::default(), wanted).await {
                Err(kube::Error::Api(status)) if status.is_already_exists() => {}
                Err(kube::Error::Api(status)) if status.is_not_found() => self.make_namespace().await?,
                other => return other.map(|_| ()),
            }
        }
    }

    async fn make_namespace(&self) -> Result<(), kube::Error> {
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(NAMESPACE.to_owned()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        let api = Api::<Namespace>::all(self.client.clone());
        match api.create(&PostParams::default(), &namespace).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

fn config_map(name: &str, id: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            labels: Some(BTreeMap::from([(OF_MOVE.to_owned(), id.to_owned())])),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    }
}

/// When it was made, by the clock of its API server.
fn made(found: &ConfigMap) -> Timestamp {
    found.creation_timestamp().map(|t| t.0).unwrap_or_default()
}

fn journal_map(journal: &Journal) -> Result<ConfigMap, kube::Error> {
    let text = serde_json::to_string(journal).map_err(kube::Error::SerdeError)?;
    let mut map = config_map(NAME, &journal.id);
    map.data = Some(BTreeMap::from([(JOURNAL.to_owned(), text)]));
    Ok(map)
}

fn journal_of(found: &ConfigMap) -> Result<Journal, kube::Error> {
    let text = found.data.as_ref().and_then(|d| d.get(JOURNAL));
    serde_json::from_str(text.map_or("", String::as_str)).map_err(kube::Error::SerdeError)
}

fn packed(entries: &[Entry]) -> Result<Vec<u8>, kube::Error> {
    let text = serde_json::to_vec(entries).map_err(kube::Error::SerdeError)?;
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    let written = encoder.write_all(&text).and_then(|()| encoder.finish());
    written.map_err(|e| kube::Error::SerdeError(serde_json::Error::io(e)))
}

fn unpacked(bytes: &[u8]) -> Result<Vec<Entry>, kube::Error> {
    let mut text = Vec::new();
    let read = DeflateDecoder::new(bytes).read_to_end(&mut text);
    read.map_err(|e| kube::Error::SerdeError(serde_json::Error::io(e)))?;
    serde_json::from_slice(&text).map_err(kube::Error::SerdeError)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(cluster: &str) -> Place {
        Place {
            context: format!("context-{cluster}"),
            cluster: cluster.to_owned(),
            found: None,
        }
    }

    fn extent(namespace: &str) -> Extent {
        Extent {
            namespace: Some(namespace.to_owned()),
            cluster: None,
        }
    }

    fn journal(id: &str, phase: Phase, source: &str, target: &str) -> Journal {
        Journal {
            id: id.to_owned(),
            phase,
            source: place(source),
            target: place(target),
            extent: extent("ns"),
            begun: Timestamp::from_second(1).unwrap(),
            ended: None,
            objects: 3,
            list: 0,
            namespaces: Vec::new(),
            version: "1".to_owned(),
        }
    }

    /// What is decided for a move from a to b of namespace ns.
    #[expect(clippy::needless_pass_by_value, reason = "cases read better so")]
    fn of(in_source: Option<Journal>, in_target: Option<Journal>) -> Decision {
        decide(
            in_source.as_ref(),
            in_target.as_ref(),
            &place("a"),
            &place("b"),
            &extent("ns"),
        )
    }

    #[test]
    fn a_move_begins_where_nothing_is_under_way() {
        let done = || Some(journal("1", Phase::Done, "a", "b"));
        assert_eq!(of(None, None), Decision::Begin);
        assert_eq!(of(done(), done()), Decision::Begin);
    }

    #[test]
    fn the_same_move_is_resumed_in_whatever_phase_it_was() {
        for phase in [Phase::Fencing, Phase::Copying, Phase::Committed] {
            let begun = journal("1", phase, "a", "b");
            let expected = Decision::Resume(Box::new(begun.clone()));
            assert_eq!(of(Some(begun.clone()), None), expected);
            assert_eq!(of(Some(begun.clone()), Some(begun)), expected);
        }
    }

    #[test]
    fn a_move_that_was_given_up_is_cleaned_up_first() {
        let aborting = journal("1", Phase::Aborting, "a", "b");
        let expected = Decision::CleanUp(Box::new(aborting.clone()));
        assert_eq!(
            of(
                Some(aborting.clone()),
                Some(journal("1", Phase::Copying, "a", "b"))
            ),
            expected
        );
        assert_eq!(of(Some(aborting), None), expected);
        let left = journal("1", Phase::Copying, "a", "b");
        assert_eq!(of(None, Some(left.clone())), Decision::CleanUp(Box::new(left)));
    }

    #[test]
    fn another_move_is_not_disturbed() {
        let elsewhere = journal("1", Phase::Copying, "a", "c");
        assert_eq!(
            of(Some(elsewhere.clone()), None),
            Decision::Refuse(Side::Source, Box::new(elsewhere))
        );
        let incoming = journal("2", Phase::Copying, "c", "b");
        assert_eq!(
            of(None, Some(incoming.clone())),
            Decision::Refuse(Side::Target, Box::new(incoming.clone()))
        );
        let own = journal("1", Phase::Copying, "a", "b");
        assert_eq!(
            of(Some(own), Some(incoming.clone())),
            Decision::Refuse(Side::Target, Box::new(incoming))
        );
        let mut of_all = journal("1", Phase::Copying, "a", "b");
        of_all.extent.namespace = None;
        assert_eq!(
            of(Some(of_all.clone()), None),
            Decision::Refuse(Side::Source, Box::new(of_all))
        );
    }

    #[tokio::test]
    async fn a_list_is_read_as_far_as_it_is_written() {
        let entry = |n: usize| Entry {
            kind: "secrets".to_owned(),
            version: "v1".to_owned(),
            namespace: None,
            name: n.to_string(),
            uid: n.to_string(),
            copied: false,
            paused: false,
            compared: None,
            level: 0,
        };
        let first = packed(&[entry(0), entry(1)]).unwrap();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let mut list = config_map("any", "1");
            list.binary_data = Some(BTreeMap::from([(OBJECTS.to_owned(), ByteString(first.clone()))]));
            let is_there = request.uri().path().ends_with("/machinectl-move-1-2-0");
            let body = if is_there {
                serde_json::to_vec(&list)
            } else {
                serde_json::to_vec(
                    &serde_json::json!({ "kind": "Status", "code": 404, "reason": "NotFound", "message": "", "status": "Failure" }),
                )
            };
            let answer = http::Response::builder().status(if is_there { 200 } else { 404 });
            std::future::ready(answer.body(kube::client::Body::from(body.unwrap())))
        });
        let book = Book::new(&Client::new(service, "default"));
        let mut journal = journal("1", Phase::Copying, "a", "b");
        assert_eq!(book.entries(&journal).await.unwrap(), []);
        (journal.list, journal.objects) = (2, 3 * CHUNK);
        assert_eq!(book.entries(&journal).await.unwrap(), [entry(0), entry(1)]);
    }

    #[test]
    fn a_list_comes_back_as_it_was_written_and_is_small() {
        let entries: Vec<Entry> = (0..CHUNK)
            .map(|n| Entry {
                kind: "machines.machine.crit.sh".to_owned(),
                version: "v1alpha1".to_owned(),
                namespace: Some("fleet".to_owned()),
                name: format!("workers-{n}"),
                uid: uuid::Uuid::new_v4().to_string(),
                copied: n == 3,
                paused: n == 4,
                compared: Some((1_000_000 + n).to_string()),
                level: n % 5,
            })
            .collect();
        let bytes = packed(&entries).unwrap();
        assert!(bytes.len() < 500_000, "{}", bytes.len());
        assert_eq!(unpacked(&bytes).unwrap(), entries);
        assert!(unpacked(b"nonsense").is_err());
    }
}
