//! Empties the source of what has moved. What was changed there meanwhile is brought to the target first.

use std::{collections::HashMap, sync::Arc};

use http::Method;
use serde_json::Value;

use super::{
    MoveError,
    journal::Entry,
    remove::{CHANGES, Exit, Left, MOVED},
    site::{Sent, Site},
    tasks,
    write::{Stop, Writer},
};
use crate::story::Story;

/// What it takes to empty the source.
pub(super) struct Emptying {
    pub(super) source: Site,
    /// Brings changes to the target; nothing after a crash.
    pub(super) writer: Option<Arc<Writer>>,
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
        let mut marked = vec![false; total];
        let known = going.iter().map(|entry| seen.remove(&entry.uid));
        let (first, then): (Vec<_>, Vec<_>) = known.enumerate().partition(|(number, seen)| {
            let marks = |seen| self.exit.is_marked_first(seen, going[*number].paused);
            seen.as_ref().is_some_and(marks)
        });
        for some in [first, then] {
            let work = |(number, seen): (usize, Option<Value>)| {
                let (emptying, entry) = (Arc::clone(&self), going[number].clone());
                async move { Ok((number, emptying.one(&entry, seen).await?)) }
            };
            tasks::each(some, work, |(number, left)| {
                marked[number] = left == Left::Marked;
                done += 1;
                if done % 100 == 0 || done == total {
                    self.story.detail(&format!("{done} of {total} objects"));
                }
                Ok(())
            })
            .await?;
        }
        let marked = going.iter().zip(marked).filter(|(_, marked)| *marked);
        self.exit
            .sweep(&self.source, marked.map(|(entry, _)| *entry))
            .await
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
        let Some(writer) = &self.writer else {
            self.story.warn(&format!(
                "{entry} was changed in the source after it was copied; the change is not in the target"
            ));
            return Ok(());
        };
        let survey = &writer.survey;
        let Some(index) = survey.moved().find(|&i| *survey.objects[i].uid == *entry.uid) else {
            return Ok(());
        };
        let wanted = writer.wanted(index, Some(now));
        let there = writer
            .target
            .read(survey.kind(index), &survey.objects[index])
            .await;
        let there = there.map_err(|e| MoveError::api(format!("can't read {entry} in the target"), e))?;
        writer.bring(index, &wanted, there).await.map(|_| ())
    }
}
