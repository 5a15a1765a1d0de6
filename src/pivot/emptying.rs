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
    print::{self, MOVED, PRINT},
    remove::{CHANGES, Exit, Left, rounds, unmarked},
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
        marked: &mut BTreeMap<usize, String>,
    ) -> Result<(), MoveError> {
        for _ in 0..CHANGES {
            let entries: Vec<&Entry> = marked.keys().map(|&number| going[number]).collect();
            let now = read_entries(&self.source, &entries).await?;
            let is_changed = |&(number, version): &(&usize, &String)| {
                let found = now.get(&going[*number].uid);
                found.is_some_and(|found| found["metadata"]["resourceVersion"] != *version.as_str())
            };
            let changed = marked.iter().filter(is_changed);
            let changed: Vec<(usize, Value)> = changed
                .filter_map(|(&number, _)| Some((number, now.get(&going[number].uid)?.clone())))
                .collect();
            if changed.is_empty() {
                return Ok(());
            }
            let work = |(number, seen): (usize, Value)| {
                let (emptying, entry) = (Arc::clone(self), going[number].clone());
                async move { Ok((number, emptying.one(&entry, Some(seen)).await?)) }
            };
            tasks::each(changed, work, |(number, left)| {
                if let Left::Marked(version) = left {
                    marked.insert(number, version);
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// Takes one object out of the source. If it was changed after it was compared, or after another process has marked it, the target gets the
    /// change first. What is only known by its metadata is looked at before it is marked, so that the mark says what it was.
    async fn one(&self, entry: &Entry, seen: Option<Value>) -> Result<Left, MoveError> {
        self.stop.check()?;
        let Some(mut seen) = seen else {
            return Ok(Left::Gone);
        };
        for _ in 0..CHANGES {
            let is_known = seen["metadata"]["annotations"][PRINT].is_string();
            if is_known || !self.exit.is_marked_first(&seen, entry.paused) {
                let left = self.exit.take(&self.source, entry, &seen, entry.paused);
                let left = left.await.map_err(|e| cannot_remove(entry, e))?;
                if left != Left::Changed {
                    return Ok(left);
                }
            }
            let Some(mut now) = self.now(entry).await? else {
                return Ok(Left::Gone);
            };
            let print = print::of(&now);
            let is_compared = if now["metadata"]["labels"][MOVED] == self.exit.id() {
                now["metadata"]["annotations"][PRINT] == *print
            } else {
                now["metadata"]["resourceVersion"] == seen["metadata"]["resourceVersion"]
            };
            if !is_compared {
                self.bring_change(entry, now.clone()).await?;
            }
            now["metadata"]["annotations"][PRINT] = print.into();
            seen = now;
        }
        Err(MoveError::Unstable {
            key: entry.to_string(),
            field: "it".to_owned(),
        })
    }

    /// The object as it is in the source; nothing if it is gone.
    async fn now(&self, entry: &Entry) -> Result<Option<Value>, MoveError> {
        let now = self
            .source
            .send(Method::GET, &entry.path(true), Sent::Whole, None)
            .await;
        let now = match now {
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
            now => now.map_err(|e| cannot_remove(entry, e))?,
        };
        if now["metadata"]["uid"] == entry.uid.as_str() {
            return Ok(Some(now));
        }
        self.story.warn(&format!(
            "{entry} was made anew in the source after the move began; it stays there"
        ));
        Ok(None)
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

fn cannot_remove(entry: &Entry, error: kube::Error) -> MoveError {
    MoveError::api(format!("can't remove {entry} from the source"), error)
}
