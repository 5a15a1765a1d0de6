//! Empties the source of what has moved. What was changed there meanwhile is brought to the target first.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use http::Method;
use serde_json::Value;

use super::{
    MoveError,
    error::Problem,
    journal::Entry,
    remove::{CHANGES, Exit, Left, MOVED, rounds, unmarked},
    site::{Sent, Site},
    tasks,
    verify::read_entries,
    write::{Stop, Writer},
};
use crate::story::Story;

/// What it takes to empty the source.
pub(super) struct Emptying {
    pub(super) source: Site,
    /// Brings changes to the target.
    pub(super) writer: Arc<Writer>,
    pub(super) exit: Exit,
    pub(super) story: Arc<dyn Story>,
    pub(super) stop: Stop,
}

impl Emptying {
    /// Takes objects out of the source, in this order; `seen` says what they were when they were compared, by UID.
    pub(super) async fn all(
        self: Arc<Self>,
        going: &[&Entry],
        mut seen: HashMap<String, Value>,
    ) -> Result<(), MoveError> {
        let total = going.len();
        let mut done = 0;
        let mut marked = BTreeMap::new();
        let known: Vec<_> = going.iter().map(|entry| seen.remove(&entry.uid)).collect();
        let is_marked = |(number, seen): &(usize, Option<Value>)| {
            let marks = |seen| self.exit.is_marked_first(seen, going[*number].paused);
            seen.as_ref().is_some_and(marks)
        };
        let level = |(number, _): &(usize, Option<Value>)| going[*number].level;
        for some in rounds(known.into_iter().enumerate(), is_marked, level) {
            let work = |(number, seen): (usize, Option<Value>)| {
                let (emptying, entry) = (Arc::clone(&self), going[number].clone());
                async move { Ok((number, emptying.one(&entry, seen).await?)) }
            };
            let before = marked.len();
            tasks::each(some, work, |(number, left)| {
                if let Left::Marked(version) = left {
                    marked.insert(number, version);
                }
                done += 1;
                if done % 100 == 0 || done == total {
                    self.story.detail(&format!("{done} of {total} objects"));
                }
                Ok(())
            })
            .await?;
            if marked.len() > before {
                // A part of it goes with its owners in the next rounds.
                self.look_again(going, &mut marked).await?;
            }
        }
        self.look_again(going, &mut marked).await?;
        self.exit
            .sweep(&self.source, marked.keys().map(|&number| going[number]))
            .await
    }

    /// What bears the mark is deleted in whatever version it is. What was changed since it was marked is brought to the target first.
    async fn look_again(
        self: &Arc<Self>,
        going: &[&Entry],
        marked: &mut BTreeMap<usize, Option<String>>,
    ) -> Result<(), MoveError> {
        for _ in 0..CHANGES {
            // In which version another process has marked an object nobody knows.
            let known = marked
                .iter()
                .filter_map(|(&number, version)| Some((number, version.clone()?)));
            let known: Vec<(usize, String)> = known.collect();
            let entries: Vec<&Entry> = known.iter().map(|(number, _)| going[*number]).collect();
            let now = read_entries(&self.source, &entries).await?;
            let is_changed = |(number, version): &(usize, String)| {
                let found = now.get(&going[*number].uid);
                found.is_some_and(|found| found["metadata"]["resourceVersion"] != *version.as_str())
            };
            let changed: Vec<_> = known.into_iter().filter(is_changed).collect();
            if changed.is_empty() {
                return Ok(());
            }
            let work = |(number, _): (usize, String)| {
                let (emptying, entry) = (Arc::clone(self), going[number].clone());
                async move { Ok((number, emptying.bring_marked(&entry).await?)) }
            };
            tasks::each(changed, work, |(number, version)| {
                marked.insert(number, version);
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// Brings what was changed of a marked object to the target; returns its resource version.
    async fn bring_marked(&self, entry: &Entry) -> Result<Option<String>, MoveError> {
        let failed = |e| MoveError::api(format!("can't remove {entry} from the source"), e);
        let path = entry.path(true);
        let now = match self.source.send(Method::GET, &path, Sent::Whole, None).await {
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
            now => now.map_err(failed)?,
        };
        if now["metadata"]["uid"] != entry.uid.as_str() {
            return Ok(None);
        }
        let version = now["metadata"]["resourceVersion"].as_str().map(ToOwned::to_owned);
        self.bring_change(entry, now.clone()).await?;
        // Somebody may hold it again.
        let left = self.exit.take(&self.source, entry, &now, entry.paused).await;
        match left.map_err(failed)? {
            Left::Gone => Ok(None),
            Left::Marked(Some(now)) => Ok(Some(now)),
            Left::Marked(None) | Left::Changed => Ok(version),
        }
    }

    /// Takes one object out of the source. If it was changed after it was compared, the target gets the change first.
    async fn one(&self, entry: &Entry, seen: Option<Value>) -> Result<Left, MoveError> {
        self.stop.check()?;
        let failed = |e| MoveError::api(format!("can't remove {entry} from the source"), e);
        let Some(mut seen) = seen else {
            return Ok(Left::Gone);
        };
        for _ in 0..CHANGES {
            let left = self.exit.take(&self.source, entry, &seen, entry.paused);
            let left = left.await.map_err(failed)?;
            if left != Left::Changed {
                return Ok(left);
            }
            let now = self
                .source
                .send(Method::GET, &entry.path(true), Sent::Whole, None)
                .await;
            let now = match now {
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Left::Gone),
                other => other.map_err(failed)?,
            };
            if now["metadata"]["uid"] != entry.uid.as_str() {
                self.story.warn(&format!(
                    "{entry} was made anew in the source after the move began; it stays there"
                ));
                return Ok(Left::Gone);
            }
            if now["metadata"]["labels"][MOVED] != self.exit.id() {
                self.bring_change(entry, now.clone()).await?;
            }
            seen = now;
        }
        Err(MoveError::Unstable {
            key: entry.to_string(),
            field: "it".to_owned(),
        })
    }

    async fn bring_change(&self, entry: &Entry, now: Value) -> Result<(), MoveError> {
        let writer = &self.writer;
        let Some(index) = writer.find(&entry.uid) else {
            // It must not be removed: nobody would have the change.
            let why = format!(
                "{entry} was changed in the source, which no longer serves its kind as one that moves"
            );
            return Err(MoveError::Unequal(vec![Problem::new(why)]));
        };
        let survey = &writer.survey;
        let there = writer
            .target
            .read(survey.kind(index), &survey.objects[index])
            .await;
        let there = there.map_err(|e| MoveError::api(format!("can't read {entry} in the target"), e))?;
        let marked = now["metadata"]["labels"][MOVED] == self.exit.id();
        let wanted = writer.wanted(index, Some(unmarked(now)))?;
        let wanted = match &there {
            Some(there) if marked => wanted.held_as(there),
            _ => wanted,
        };
        writer.bring(index, &wanted, there).await.map(|_| ())
    }
}
