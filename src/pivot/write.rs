//! Brings objects into the target, and takes them out of a cluster again. Each step may be done twice.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use http::Method;
use kube::core::Status;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    AT_ONCE, MoveError,
    check::is_shared,
    copy::{Seen, Step, Uids, Wanted, first_difference, next},
    journal::Entry,
    kinds::MovedKind,
    object::Object,
    site::{Sent, Site, address, encoded},
    survey::{Survey, There},
};
use crate::{story::Story, time::Timestamp};

/// An object is written this often at most until it stands as it should.
const WRITES: usize = 8;
/// Label on an object of the source that is in the target by now: the move that took it there.
pub(super) const MOVED: &str = "machinectl.crit.sh/moved-by";

/// Is asked between two objects whether to go on.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks for the end.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Fails if somebody has asked for the end.
    pub(super) fn check(&self) -> Result<(), MoveError> {
        if self.0.load(Ordering::Relaxed) {
            return Err(MoveError::Interrupted);
        }
        Ok(())
    }
}

/// What of an object is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// All of it.
    Whole,
    /// Everything but its status, and who owns which field.
    Body,
    /// What [`Part::Body`] leaves out.
    Rest,
}

/// Writes objects into the target.
pub(super) struct Writer {
    pub(super) target: Site,
    pub(super) survey: Arc<Survey>,
    /// UIDs of the target by those of the source; grows.
    uids: Mutex<Uids>,
    /// What stood in the target when the writing began.
    there: Mutex<There>,
    /// UIDs of the source of everything that moves.
    moving: HashSet<Box<str>>,
    /// Objects without their status, which speaks of others that were not there yet, as they stand in the target.
    open: Mutex<Vec<(usize, Box<str>)>>,
    /// Objects that are paused for the time of the move, by UID in the source.
    pub(super) paused: HashSet<String>,
    /// Objects of the target that are older are not this move's.
    since: Timestamp,
    stop: Stop,
    done: AtomicUsize,
}

impl Writer {
    /// Writes what is surveyed; `entries` say what is paused meanwhile, `there` what stands in the target already.
    pub(super) fn new(
        target: &Site,
        survey: &Arc<Survey>,
        entries: &[Entry],
        there: There,
        since: Timestamp,
        stop: &Stop,
    ) -> Arc<Self> {
        let paused = entries.iter().filter(|e| e.paused);
        Arc::new(Self {
            target: target.clone(),
            survey: Arc::clone(survey),
            uids: Mutex::default(),
            there: Mutex::new(there),
            moving: survey.moved().map(|i| survey.objects[i].uid.clone()).collect(),
            open: Mutex::default(),
            paused: paused.map(|e| e.uid.clone()).collect(),
            since,
            stop: stop.clone(),
            done: AtomicUsize::new(0),
        })
    }

    /// Copies everything, owners first. Objects that don't own one another are written side by side. Statuses that speak of objects which come
    /// later are written in the end, when all UIDs are known.
    pub(super) async fn copy_all(self: &Arc<Self>, story: &dyn Story) -> Result<(), MoveError> {
        let total = self.survey.count();
        for group in &self.survey.choice.groups {
            self.each(
                group.iter().copied(),
                |writer, index| async move { writer.copy(index).await },
                || {
                    let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
                    if done.is_multiple_of(50) || done == total {
                        story.detail(&format!("{done} of {total} objects"));
                    }
                },
            )
            .await?;
        }
        let open = std::mem::take(&mut *lock(&self.open));
        self.each(
            open,
            |writer, (index, there)| async move { writer.complete(index, &there).await },
            || (),
        )
        .await
    }

    /// Does the same with each of many, some at a time; `done` hears of each. If one fails, no other is begun; what is on its way may arrive
    /// all the same, so it is waited for: what was done can be undone only when nothing more comes.
    async fn each<T: Send + 'static, F: Future<Output = Result<(), MoveError>> + Send + 'static>(
        self: &Arc<Self>,
        all: impl IntoIterator<Item = T>,
        work: impl Fn(Arc<Self>, T) -> F,
        done: impl Fn(),
    ) -> Result<(), MoveError> {
        let mut running = JoinSet::new();
        let mut rest = all.into_iter();
        let mut outcome = Ok(());
        loop {
            while outcome.is_ok()
                && running.len() < AT_ONCE
                && let Some(next) = rest.next()
            {
                running.spawn(work(Arc::clone(self), next));
            }
            let Some(ended) = running.join_next().await else {
                return outcome;
            };
            match ended.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic())) {
                Ok(()) => done(),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
    }

    async fn copy(&self, index: usize) -> Result<(), MoveError> {
        self.stop.check()?;
        let wanted = self.wanted(index, None);
        let there = lock(&self.there).take(&self.survey.key(index));
        if !wanted.speaks_of(|uid| self.moving.contains(uid)) {
            return self.bring(index, &wanted, there).await;
        }
        let made = self
            .put(index, &wanted.without_status(), there, Part::Body)
            .await?;
        lock(&self.open).push((index, made.to_string().into()));
        Ok(())
    }

    /// Writes what is still missing of an object whose body stands there.
    async fn complete(&self, index: usize, there: &str) -> Result<(), MoveError> {
        self.stop.check()?;
        let there = serde_json::from_str(there).unwrap_or_default();
        let wanted = self.wanted(index, None);
        self.put(index, &wanted, Some(there), Part::Rest)
            .await
            .map(|_| ())
    }

    /// What should stand in the target, of the object as it was surveyed or as it is in the source by now.
    pub(super) fn wanted(&self, index: usize, now: Option<Value>) -> Wanted {
        let uids = lock(&self.uids);
        let paused = self.paused.contains(&*self.survey.objects[index].uid);
        match now {
            Some(object) => Wanted::new(self.survey.kind(index), object, &uids, paused),
            None => self.survey.wanted(index, &uids, paused),
        }
    }

    /// Writes an object until it stands in the target as it should.
    pub(super) async fn bring(
        &self,
        index: usize,
        wanted: &Wanted,
        there: Option<Value>,
    ) -> Result<(), MoveError> {
        self.put(index, wanted, there, Part::Whole).await.map(|_| ())
    }

    /// Writes a part of an object; returns how it stands in the target then.
    async fn put(
        &self,
        index: usize,
        wanted: &Wanted,
        mut there: Option<Value>,
        part: Part,
    ) -> Result<Value, MoveError> {
        let (kind, object) = (self.survey.kind(index), &self.survey.objects[index]);
        let failed = |e| {
            MoveError::api(
                format!("can't write {} in the target", self.survey.name(index)),
                e,
            )
        };
        let (mut written, mut owned) = (part == Part::Rest, part == Part::Body);
        for _ in 0..WRITES {
            if let Some(found) = &there {
                self.judge(index, found)?;
                if is_shared(&self.survey, index) && self.is_older(found) {
                    break;
                }
            }
            let seen = there.as_ref().map(|object| Seen {
                object,
                written,
                owned,
            });
            let Some(step) = next(wanted, seen) else { break };
            let owners = matches!(step, Step::Owners { .. });
            match self.write(kind, object, step).await {
                Ok(found) => {
                    there = Some(found);
                    written = true;
                    owned |= owners;
                }
                // It was written meanwhile, or is gone: look at it. A request that was sent twice gets here, too.
                Err(kube::Error::Api(status)) if is_stale(&status) => {
                    there = self.target.read(kind, object).await.map_err(failed)?;
                }
                Err(error) => return Err(failed(error)),
            }
        }
        let found = there.unwrap_or_default();
        if !(is_shared(&self.survey, index) && self.is_older(&found))
            && let Some(field) = first_difference(wanted, &found)
        {
            return Err(MoveError::Unstable {
                key: self.survey.name(index),
                field,
            });
        }
        let uid = found["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        lock(&self.uids).insert(object.uid.clone(), uid);
        Ok(found)
    }

    /// Whether an object of the target was there before the move.
    pub(super) fn is_older(&self, found: &Value) -> bool {
        is_older(found, self.since)
    }

    fn judge(&self, index: usize, found: &Value) -> Result<(), MoveError> {
        if self.is_older(found) && !is_shared(&self.survey, index) {
            return Err(MoveError::Taken {
                key: self.survey.name(index),
            });
        }
        Ok(())
    }

    async fn write(&self, kind: &MovedKind, object: &Object, step: Step) -> Result<Value, kube::Error> {
        let at = address(kind, object);
        let list = kind.path(object.namespace.as_deref(), None);
        let (method, address, sent, body) = match step {
            Step::Create { body, manager } => (Method::POST, by(&list, &manager), Sent::Whole, body),
            Step::Replace { body, manager } => (Method::PUT, by(&at, &manager), Sent::Whole, body),
            Step::Status {
                body,
                manager,
                apply: true,
            } => {
                let address = format!("{}&force=true", by(&format!("{at}/status"), &manager));
                (Method::PATCH, address, Sent::Apply, body)
            }
            Step::Status {
                body,
                manager,
                apply: false,
            } => (
                Method::PUT,
                by(&format!("{at}/status"), &manager),
                Sent::Whole,
                body,
            ),
            Step::Owners { patch } => (Method::PATCH, at, Sent::Merge, patch),
        };
        self.target.send(method, &address, sent, Some(&body)).await
    }
}

fn by(path: &str, manager: &str) -> String {
    format!("{path}?fieldManager={}", encoded(manager))
}

/// Whether an object was there before a moment, by the clock of its own API server.
pub(super) fn is_older(found: &Value, since: Timestamp) -> bool {
    let created = found["metadata"]["creationTimestamp"].as_str();
    let created: Option<Timestamp> = created.and_then(|c| c.parse().ok());
    created.is_some_and(|created| created < since)
}

/// Whether an answer says that the object is not as it was thought to be.
fn is_stale(status: &Status) -> bool {
    matches!(status.code, 404 | 409) && !status.message.contains("namespaces")
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is left to do until an object is out of a cluster. Pure.
#[derive(Debug, Clone, PartialEq)]
enum Leave {
    /// Nobody holds it: delete it, if it is still this one.
    Delete(Value),
    /// Take the finalizers away and mark it, so that it goes with the others that bear the mark.
    Mark(Value),
    /// It bears the mark.
    Marked,
}

/// Says what is left to do. No provider acts on it: what holds the object is taken away, not waited for.
fn leave(object: &Value, id: &str, pause: bool) -> Leave {
    let metadata = &object["metadata"];
    let held = metadata["finalizers"].as_array().is_some_and(|f| !f.is_empty());
    let marked = metadata["labels"][MOVED] == id;
    if held || (pause && !marked) {
        let mut patch = json!({ "metadata": {
            "resourceVersion": metadata["resourceVersion"], "finalizers": null, "labels": { MOVED: id },
        } });
        if pause {
            for name in super::copy::PAUSES {
                patch["metadata"]["annotations"][name] = json!("");
            }
        }
        return Leave::Mark(patch);
    }
    if marked {
        return Leave::Marked;
    }
    Leave::Delete(json!({
        "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background",
        "preconditions": { "uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"] },
    }))
}

/// What became of an object that was to leave.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Left {
    /// It is gone.
    Gone,
    /// It goes when those that bear the mark are deleted.
    Marked,
    /// It is another one than was thought: it was changed.
    Changed,
}

/// Takes an object out of a cluster, as it was seen.
pub(super) async fn take_out(
    site: &Site,
    entry: &Entry,
    seen: &Value,
    id: &str,
    pause: bool,
) -> Result<Left, kube::Error> {
    let at = entry.path(true);
    let (method, sent, body, then) = match leave(seen, id, pause) {
        Leave::Marked => return Ok(Left::Marked),
        Leave::Mark(patch) => (Method::PATCH, Sent::Merge, patch, Left::Marked),
        Leave::Delete(options) => (Method::DELETE, Sent::Whole, options, Left::Gone),
    };
    match site.send(method, &at, sent, Some(&body)).await {
        Ok(_) => Ok(then),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Left::Gone),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(Left::Changed),
        Err(error) => Err(error),
    }
}

/// Deletes everything of a kind in a namespace that bears the mark of a move.
pub(super) async fn take_out_marked(site: &Site, entry: &Entry, id: &str) -> Result<(), kube::Error> {
    let selector = encoded(&format!("{MOVED}={id}"));
    let path = format!("{}?labelSelector={selector}", entry.path(false));
    let options = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background" });
    site.send(Method::DELETE, &path, Sent::Whole, Some(&options))
        .await
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(finalizers: &[&str], labels: &Value) -> Value {
        json!({ "metadata": { "uid": "u", "resourceVersion": "7", "finalizers": finalizers, "labels": labels } })
    }

    #[test]
    fn what_nobody_holds_is_deleted_if_it_is_still_the_same() {
        let Leave::Delete(options) = leave(&object(&[], &Value::Null), "m", false) else {
            panic!("it is to be deleted");
        };
        assert_eq!(
            options["preconditions"],
            json!({ "uid": "u", "resourceVersion": "7" })
        );
    }

    #[test]
    fn what_is_held_is_marked_first_and_only_once() {
        let Leave::Mark(patch) = leave(&object(&["x"], &Value::Null), "m", false) else {
            panic!("it is to be marked");
        };
        assert_eq!(
            patch,
            json!({ "metadata": { "resourceVersion": "7", "finalizers": null, "labels": { MOVED: "m" } } })
        );
        assert_eq!(
            leave(&object(&[], &json!({ MOVED: "m" })), "m", false),
            Leave::Marked
        );
        // Somebody has put a finalizer back.
        assert!(matches!(
            leave(&object(&["x"], &json!({ MOVED: "m" })), "m", false),
            Leave::Mark(_)
        ));
        // The mark of another move is none.
        assert!(matches!(
            leave(&object(&[], &json!({ MOVED: "n" })), "m", false),
            Leave::Delete(_)
        ));
    }

    #[test]
    fn what_others_control_stays_paused_to_its_end() {
        let Leave::Mark(patch) = leave(&object(&[], &Value::Null), "m", true) else {
            panic!("it is to be marked");
        };
        assert_eq!(patch["metadata"]["annotations"]["machine.crit.sh/paused"], "");
        assert_eq!(
            leave(&object(&[], &json!({ MOVED: "m" })), "m", true),
            Leave::Marked
        );
    }
}
