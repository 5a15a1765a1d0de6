//! One of the two clusters of a move, and what is done there besides copying: its fence, its journal, its namespaces, and undoing.

use std::{collections::HashMap, future::Future, sync::Arc};

use http::Method;
use serde_json::{Value, json};

use super::{
    MoveError,
    copy::PAUSES,
    fencing::Fenced,
    journal::{Entry, Journal, Phase, Side},
    object::Object,
    remove::{Exit, Left, rounds},
    site::{Sent, Site},
    survey::Survey,
    tasks, verify,
    write::is_older,
};
use crate::{
    controllers::lease,
    story::Story,
    time::{Clock, Timestamp},
};

/// One of the two clusters of a move.
#[derive(Clone, Copy)]
pub(super) struct Party<'a> {
    pub(super) site: &'a Site,
    pub(super) side: Side,
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) story: &'a dyn Story,
}

impl Party<'_> {
    fn failed(self, what: impl std::fmt::Display) -> impl FnOnce(kube::Error) -> MoveError {
        let what = format!("can't {what} in the {}", self.side);
        move |error| MoveError::api(what, error)
    }

    /// Raises the fence and waits until the controllers have come to a stand.
    pub(super) async fn fence(self, id: &str) -> Result<Fenced, MoveError> {
        Fenced::raise(self.site, self.side, id, self.clock, self.story).await
    }

    /// Raises the fence and reads the journal again: while one waited, another process may have gone on with the move.
    ///
    /// # Errors
    /// Fails with [`MoveError::Committed`] or [`MoveError::TakenOver`] unless the journal is in a phase that is `expected`.
    pub(super) async fn fence_in(
        self,
        id: &str,
        expected: impl Fn(Phase) -> bool,
    ) -> Result<(Fenced, Journal), MoveError> {
        let fenced = self.fence(id).await?;
        let found = match self.journal().await {
            Ok(found) => found.map(|(journal, _)| journal).filter(|found| found.id == id),
            Err(error) => {
                fenced.leave().await;
                return Err(error);
            }
        };
        let phase = found.as_ref().map_or(Phase::Done, |found| found.phase);
        match found {
            Some(journal) if expected(phase) => return Ok((fenced, journal)),
            _ if phase == Phase::Done => self.lower(fenced).await?,
            _ => fenced.leave().await,
        }
        Err(match phase {
            Phase::Committed => MoveError::Committed(id.to_owned()),
            Phase::Aborting => MoveError::TakenOver(format!("move {id} is being undone")),
            _ => MoveError::TakenOver(format!("move {id} is over")),
        })
    }

    /// Lowers the fence.
    pub(super) async fn lower(self, fenced: Fenced) -> Result<(), MoveError> {
        fenced.lower().await.map_err(self.failed("lower the fence"))
    }

    /// Does work behind a fence and lowers it. When the work fails the fence stands, for whoever tries next.
    pub(super) async fn behind<T>(
        self,
        mut fenced: Fenced,
        work: impl Future<Output = Result<T, MoveError>>,
    ) -> Result<T, MoveError> {
        match fenced.during(work).await {
            Ok(done) => self.lower(fenced).await.map(|()| done),
            Err(error) => {
                fenced.leave().await;
                Err(error)
            }
        }
    }

    /// Lowers the fence of a move whose journal is gone.
    pub(super) async fn lower_by_name(self, id: &str) -> Result<(), MoveError> {
        lease::lower_fence(&self.site.client, id)
            .await
            .map_err(self.failed("lower the fence"))
    }

    /// Reads the journal, and when it was made there.
    pub(super) async fn journal(self) -> Result<Option<(Journal, Timestamp)>, MoveError> {
        self.site
            .book
            .read()
            .await
            .map_err(self.failed("read the journal of a move"))
    }

    /// Writes the journal of a move that begins, unless that of another one stands there. Returns the one that stands there then, and since
    /// when.
    pub(super) async fn begin(self, journal: &Journal) -> Result<(Journal, Timestamp), MoveError> {
        let begun = self.site.book.begin(journal).await;
        let (standing, since) = begun.map_err(self.failed("write the journal of the move"))?;
        if standing.id == journal.id {
            return Ok((standing, since));
        }
        Err(MoveError::Busy {
            side: self.side,
            journal: Box::new(standing),
        })
    }

    /// Writes the journal.
    pub(super) async fn write(self, journal: &Journal) -> Result<(), MoveError> {
        let written = self.site.book.write(journal).await;
        written.map_err(self.failed("write the journal of the move"))
    }

    /// Writes the list of what moves.
    pub(super) async fn list(self, journal: &Journal, entries: &[Entry]) -> Result<(), MoveError> {
        let written = self.site.book.list(journal, entries).await;
        written.map_err(self.failed("write the list of what moves"))
    }

    /// Writes the list of what moves, then the journal, which says that this one counts.
    pub(super) async fn write_with_list(self, journal: &Journal, entries: &[Entry]) -> Result<(), MoveError> {
        self.list(journal, entries).await?;
        self.write(journal).await
    }

    /// What a move brings, as far as its list is written.
    pub(super) async fn entries(self, journal: &Journal) -> Result<Vec<Entry>, MoveError> {
        let read = self.site.book.entries(journal).await;
        read.map_err(self.failed("read the list of what moves"))
    }

    /// Removes the lists of a move, and its journal unless that stays as a record.
    pub(super) async fn close(self, id: &str, journal_too: bool) -> Result<(), MoveError> {
        let removed = self.site.book.remove(id, journal_too).await;
        removed.map_err(self.failed("remove the journal of the move"))
    }

    /// Writes the journal, the list and the namespaces of what comes; returns since when the journal stands there. What is older is not of
    /// this move.
    pub(super) async fn open(self, journal: &Journal, entries: &[Entry]) -> Result<Timestamp, MoveError> {
        if let Some((old, _)) = self.journal().await?
            && old.id != journal.id
            && old.phase == Phase::Done
        {
            // Only a new one says since when it stands there.
            self.close(&old.id, true).await?;
        }
        let (standing, since) = self.begin(journal).await?;
        // Whoever undoes this must find all of it, so what is on its way is waited for.
        let made = self.make_namespaces(entries);
        let (listed, made) = futures::join!(self.list(journal, entries), made);
        listed.and(made)?;
        if standing != *journal {
            self.write(journal).await?;
        }
        Ok(since)
    }

    async fn make_namespaces(self, entries: &[Entry]) -> Result<(), MoveError> {
        let mut names: Vec<&str> = entries.iter().filter_map(|e| e.namespace.as_deref()).collect();
        names.sort_unstable();
        names.dedup();
        let side = self.side;
        let work = |name: &str| {
            let (cluster, name) = (self.site.clone(), name.to_owned());
            async move {
                let made = make_namespace(&cluster, &name).await;
                made.map_err(|e| MoveError::api(format!("can't make namespace {name} in the {side}"), e))
            }
        };
        tasks::each(names, work, Ok).await
    }

    /// Keeps controllers of other software away from what they control. Returns the resource versions that this has brought, by UID, of
    /// what stood as it was surveyed till then.
    pub(super) async fn pause(
        self,
        entries: &[Entry],
        survey: &Survey,
    ) -> Result<HashMap<String, String>, MoveError> {
        let surveyed = survey.objects.iter().filter(|o| !o.resource_version.is_empty());
        let surveyed: HashMap<&str, &Object> = surveyed.map(|o| (&*o.uid, o)).collect();
        let known = |uid: &str| surveyed.get(uid).map(|&object| object.clone());
        let mut brought = HashMap::new();
        self.set_pause(entries, "pause", &json!(""), known, |paused| {
            brought.extend(paused);
        })
        .await?;
        Ok(brought)
    }

    /// Lets the controllers of other software at what they control again.
    pub(super) async fn unpause(self, entries: &[Entry]) -> Result<(), MoveError> {
        self.set_pause(entries, "unpause", &Value::Null, |_| None, |_| ())
            .await
    }

    async fn set_pause(
        self,
        entries: &[Entry],
        what: &'static str,
        value: &Value,
        known: impl Fn(&str) -> Option<Object>,
        mut hear: impl FnMut(Option<(String, String)>),
    ) -> Result<(), MoveError> {
        let mut patch = json!({});
        for name in PAUSES {
            patch["metadata"]["annotations"][name] = value.clone();
        }
        let side = self.side;
        let work = |entry: &Entry| {
            let (cluster, entry, patch) = (self.site.clone(), entry.clone(), patch.clone());
            let known = known(&entry.uid);
            async move {
                let version = set_pause_of(&cluster, &entry, patch, known).await;
                let version =
                    version.map_err(|e| MoveError::api(format!("can't {what} {entry} in the {side}"), e))?;
                Ok(version.map(|version| (entry.uid, version)))
            }
        };
        tasks::each(entries.iter().filter(|e| e.paused), work, |paused| {
            hear(paused);
            Ok(())
        })
        .await
    }

    /// Empties the target of what a move has brought there, and lowers its fence.
    pub(super) async fn undo(self, id: &str) -> Result<(), MoveError> {
        let Some((_, since)) = self.journal().await?.filter(|(found, _)| found.id == id) else {
            return self.lower_by_name(id).await;
        };
        let (fenced, found) = self.fence_in(id, Phase::can_be_undone).await?;
        let work = async {
            let entries = self.entries(&found).await?;
            let all: Vec<&Entry> = entries.iter().rev().collect();
            self.withdraw(&all, since, id).await?;
            self.drop_namespaces(&found).await
        };
        self.behind(fenced, work).await?;
        // The journal goes last: as long as it stands, somebody knows whose fence it is.
        self.close(id, true).await
    }

    /// Takes objects out of the target that the move has brought there since `since`; what is owned comes before its owners.
    pub(super) async fn withdraw(
        self,
        entries: &[&Entry],
        since: Timestamp,
        id: &str,
    ) -> Result<(), MoveError> {
        let there = verify::read_by_name(self.site, entries).await?;
        let going: Vec<_> = there
            .into_iter()
            .filter(|(_, object)| !is_older(object, since))
            .collect();
        let exit = Arc::new(Exit::of(id, going.iter().map(|(entry, _)| *entry)));
        let is_marked = |(_, object): &(&Entry, Value)| exit.is_marked_first(object, false);
        let mut marked = Vec::new();
        for some in rounds(going, is_marked, |(entry, _)| entry.level) {
            let work = |(entry, object): (&Entry, Value)| {
                let (site, exit, entry) = (self.site.clone(), Arc::clone(&exit), entry.clone());
                async move {
                    let left = exit.take_any(&site, &entry, object).await?;
                    Ok(matches!(left, Left::Marked(_)).then_some(entry))
                }
            };
            tasks::each(some, work, |entry| {
                marked.extend(entry);
                Ok(())
            })
            .await?;
        }
        exit.sweep(self.site, &marked).await
    }

    /// Deletes the namespaces that the move made, if nobody has put anything into them.
    async fn drop_namespaces(self, journal: &Journal) -> Result<(), MoveError> {
        for name in &journal.namespaces {
            let stays = || {
                let told = format!(
                    "namespace {name} stays in the {}: you may not remove it",
                    self.side
                );
                self.story.warn(&told);
            };
            match verify::is_unused(self.site, name).await {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) if error.is_forbidden() => {
                    stays();
                    continue;
                }
                Err(error) => return Err(error),
            }
            let path = format!("/api/v1/namespaces/{name}");
            match self.site.send(Method::DELETE, &path, Sent::Whole, None).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(kube::Error::Api(status)) if status.code == 403 => stays(),
                other => {
                    other.map_err(self.failed(format!("delete namespace {name}")))?;
                }
            }
        }
        Ok(())
    }
}

async fn make_namespace(site: &Site, name: &str) -> Result<(), kube::Error> {
    let path = format!("/api/v1/namespaces/{name}");
    match site.send(Method::GET, &path, Sent::Whole, None).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        other => return other.map(|_| ()),
    }
    let body = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    let made = site.send(Method::POST, "/api/v1/namespaces", Sent::Whole, Some(&body));
    match made.await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Pauses an object, or lets its controllers at it. If nothing but the pause came to what is `known` of it, the resource version that it has then
/// is returned.
async fn set_pause_of(
    site: &Site,
    entry: &Entry,
    patch: Value,
    known: Option<Object>,
) -> Result<Option<String>, kube::Error> {
    let at = entry.path(true);
    if let Some(known) = known {
        let mut exact = patch.clone();
        exact["metadata"]["resourceVersion"] = json!(known.resource_version);
        match site.send(Method::PATCH, &at, Sent::Merge, Some(&exact)).await {
            // It was changed: that is found out when both places are compared.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
            other => {
                let now = other?;
                let version = now["metadata"]["resourceVersion"].as_str().map(ToOwned::to_owned);
                // A webhook may have changed more: then both places are compared with what it is now.
                return Ok(version.filter(|_| is_but_paused(&known, now)));
            }
        }
    }
    match site.send(Method::PATCH, &at, Sent::Merge, Some(&patch)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        other => other.map(|_| None),
    }
}

/// Whether an object is what it was, but for pauses and for what an API server writes with each change.
fn is_but_paused(before: &Object, mut now: Value) -> bool {
    let Ok(mut before) = before.value() else {
        return false;
    };
    for object in [&mut before, &mut now] {
        let Some(metadata) = object["metadata"].as_object_mut() else {
            return false;
        };
        for field in ["resourceVersion", "generation", "managedFields"] {
            metadata.remove(field);
        }
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.retain(|name, _| !PAUSES.contains(&name.as_str()));
            if annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
    }
    before == now
}

#[cfg(test)]
mod tests {
    use super::{super::kinds::MovedKind, *};

    #[test]
    fn a_pause_that_changed_anything_else_is_not_taken_for_one() {
        let before = json!({ "metadata": { "name": "a", "uid": "u", "resourceVersion": "7", "generation": 1 }, "data": { "b": "c" } });
        let before = Object::new(0, &MovedKind::secret(), before).unwrap();
        let mut now = before.value().unwrap();
        now["metadata"]["annotations"] = json!({ PAUSES[0]: "", PAUSES[1]: "" });
        now["metadata"]["resourceVersion"] = json!("8");
        now["metadata"]["managedFields"] = json!([{ "manager": "m" }]);
        assert!(is_but_paused(&before, now.clone()));
        for (at, value) in [("/data/b", "d"), ("/metadata/uid", "v")] {
            let mut other = now.clone();
            *other.pointer_mut(at).unwrap() = json!(value);
            assert!(!is_but_paused(&before, other), "{at}");
        }
        now["metadata"]["annotations"]["by"] = json!("a webhook");
        assert!(!is_but_paused(&before, now));
    }
}
