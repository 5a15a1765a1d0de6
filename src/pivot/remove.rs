//! Takes objects out of a cluster. No provider acts on it: what holds an object is taken away, not waited for. Each step may be done twice.
//!
//! What is held is marked first, and goes with all that bears the mark: that is one request for many objects.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
    sync::Mutex,
};

use futures::future::join_all;
use http::Method;
use serde_json::{Value, json};

use super::{
    MoveError,
    copy::PAUSES,
    journal::Entry,
    print::{MOVED, PART, PRINT},
    site::{Sent, Site, encoded},
    write::lock,
};

/// An object that changes under the hands is looked at again this often.
pub(super) const CHANGES: usize = 10;
/// From so many objects on, those of a kind in a namespace go in parts: a kube-apiserver deletes those of one request one after the other
/// (`--delete-collection-workers`, 1).
const MANY: usize = 200;
/// How many parts.
const PARTS: usize = 4;

/// How objects leave a cluster.
#[derive(Debug)]
pub(super) struct Exit {
    /// The move.
    id: String,
    /// Kinds, as paths of their lists, of which there are many.
    many: HashSet<String>,
    /// Those of them of which some were marked before, by a process that saw more or fewer of them: they bear no part, or another one.
    marked_before: Mutex<HashSet<String>>,
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

/// Says what is left to do. No provider acts on it: what holds the object is taken away, not waited for. The mark says which fingerprint it has, if
/// that is known.
fn leave(object: &Value, id: &str, part: Option<usize>, pause: bool) -> Leave {
    let metadata = &object["metadata"];
    let held = metadata["finalizers"].as_array().is_some_and(|f| !f.is_empty());
    let marked = metadata["labels"][MOVED] == id;
    if held || (pause && !marked) {
        let mut patch = json!({ "metadata": {
            "resourceVersion": metadata["resourceVersion"], "finalizers": null, "labels": { MOVED: id },
        } });
        if let Some(part) = part {
            patch["metadata"]["labels"][PART] = json!(part.to_string());
        }
        if let print @ Value::String(_) = &metadata["annotations"][PRINT] {
            patch["metadata"]["annotations"][PRINT] = print.clone();
        }
        if pause {
            for name in PAUSES {
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

/// In which rounds objects leave: first those that are only marked for now, then what is owned before its owners. No round begins before the last
/// one has ended: an owner takes what it owns along, even if that was changed and is just being brought to the target.
pub(super) fn rounds<T>(
    all: impl IntoIterator<Item = T>,
    is_marked: impl Fn(&T) -> bool,
    level: impl Fn(&T) -> usize,
) -> impl Iterator<Item = Vec<T>> {
    let mut rounds: BTreeMap<Reverse<usize>, Vec<T>> = BTreeMap::new();
    for one in all {
        let round = if is_marked(&one) { usize::MAX } else { level(&one) };
        rounds.entry(Reverse(round)).or_default().push(one);
    }
    rounds.into_values()
}

/// A marked object without its mark, and with nobody who owns it. What held it is gone.
pub(super) fn unmarked(mut object: Value) -> Value {
    fn strip(names: Option<&mut Value>, prefix: &str) {
        if let Some(names) = names.and_then(Value::as_object_mut) {
            names
                .retain(|name, _| ![MOVED, PART, PRINT].contains(&name.strip_prefix(prefix).unwrap_or(name)));
        }
    }
    for names in ["/metadata/labels", "/metadata/annotations"] {
        strip(object.pointer_mut(names), "");
    }
    let owners = object.pointer_mut("/metadata/managedFields");
    for owner in owners.and_then(Value::as_array_mut).into_iter().flatten() {
        for names in [
            "/fieldsV1/f:metadata/f:labels",
            "/fieldsV1/f:metadata/f:annotations",
        ] {
            strip(owner.pointer_mut(names), "f:");
        }
    }
    object
}

/// What became of an object that was to leave.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Left {
    /// It is gone.
    Gone,
    /// It goes when those that bear the mark are deleted. This is its resource version with it.
    Marked(String),
    /// It is another one than was thought: it was changed.
    Changed,
}

impl Exit {
    /// Prepares the way of these objects, for a move.
    pub(super) fn of<'a>(id: &str, going: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for entry in going {
            *counts.entry(entry.path(false)).or_default() += 1;
        }
        let many = counts.into_iter().filter(|(_, count)| *count >= MANY);
        Self {
            id: id.to_owned(),
            many: many.map(|(path, _)| path).collect(),
            marked_before: Mutex::default(),
        }
    }

    /// The move.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Which part of many objects one goes with.
    fn part(&self, entry: &Entry) -> Option<usize> {
        let sum = || entry.uid.bytes().map(usize::from).sum::<usize>();
        self.many.contains(&entry.path(false)).then(|| sum() % PARTS)
    }

    /// Whether an object, as it was seen, is marked and goes later. Such objects come first: whoever is deleted takes what it owns along, and
    /// that must not be held by then, or its providers would act.
    pub(super) fn is_marked_first(&self, seen: &Value, pause: bool) -> bool {
        !matches!(leave(seen, &self.id, None, pause), Leave::Delete(_))
    }

    /// Takes an object out of a cluster, whatever becomes of it meanwhile.
    pub(super) async fn take_any(
        &self,
        site: &Site,
        entry: &Entry,
        mut seen: Value,
    ) -> Result<Left, MoveError> {
        let failed = |e| {
            MoveError::api(
                format!("can't remove {entry} from context \"{}\"", site.context()),
                e,
            )
        };
        for _ in 0..CHANGES {
            let left = self.take(site, entry, &seen, false).await.map_err(failed)?;
            if left != Left::Changed {
                return Ok(left);
            }
            let now = site.send(Method::GET, &entry.path(true), Sent::Whole, None).await;
            match now {
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Left::Gone),
                Ok(now) if now["metadata"]["uid"] != seen["metadata"]["uid"] => return Ok(Left::Gone),
                now => seen = now.map_err(failed)?,
            }
        }
        Err(MoveError::Unstable {
            key: entry.to_string(),
            field: "it".to_owned(),
        })
    }

    /// Takes an object out of a cluster, as it was seen; `pause` keeps controllers of other software away to its end.
    pub(super) async fn take(
        &self,
        site: &Site,
        entry: &Entry,
        seen: &Value,
        pause: bool,
    ) -> Result<Left, kube::Error> {
        let at = entry.path(true);
        let left = match leave(seen, &self.id, self.part(entry), pause) {
            Leave::Marked => {
                lock(&self.marked_before).insert(entry.path(false));
                let version = seen["metadata"]["resourceVersion"].as_str();
                return Ok(Left::Marked(version.unwrap_or_default().to_owned()));
            }
            Leave::Mark(patch) => site.patch(&at, &patch).await.map(Left::Marked),
            Leave::Delete(options) => {
                let deleted = site.tell(Method::DELETE, &at, Sent::Whole, &options).await;
                deleted.map(|()| Left::Gone)
            }
        };
        match left {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Left::Gone),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Left::Changed),
            left => left,
        }
    }

    /// Deletes everything that bears the mark, of the kinds and in the namespaces of `marked`: namespaces side by side, what stands outside of them
    /// last, and the kinds of each in their order.
    pub(super) async fn sweep(
        &self,
        site: &Site,
        marked: impl IntoIterator<Item = &Entry>,
    ) -> Result<(), MoveError> {
        let mut places: BTreeMap<Option<&str>, Vec<&Entry>> = BTreeMap::new();
        let mut known = HashSet::new();
        for entry in marked {
            if known.insert(entry.path(false)) {
                places.entry(entry.namespace.as_deref()).or_default().push(entry);
            }
        }
        let outside = places.remove(&None).unwrap_or_default();
        let inside = places.into_values().map(|lists| self.sweep_each(site, lists));
        // What is on its way is waited for, even if one of them fails.
        join_all(inside).await.into_iter().collect::<Result<(), _>>()?;
        self.sweep_each(site, outside).await
    }

    /// Deletes what bears the mark of some kinds, each named by one of its objects, one kind after the other.
    async fn sweep_each(&self, site: &Site, lists: Vec<&Entry>) -> Result<(), MoveError> {
        for entry in lists {
            let path = entry.path(false);
            let parts = if self.many.contains(&path) { PARTS } else { 0 };
            let others = parts == 0 || lock(&self.marked_before).contains(&path);
            let failed = |e| {
                MoveError::api(
                    format!("can't delete {} of context \"{}\"", entry.kind, site.context()),
                    e,
                )
            };
            let parts = (0..parts).map(|part| self.delete(site, entry, Some(part)));
            let deleted: Result<(), _> = join_all(parts).await.into_iter().collect();
            deleted.map_err(failed)?;
            if others {
                self.delete(site, entry, None).await.map_err(failed)?;
            }
        }
        Ok(())
    }

    async fn delete(&self, site: &Site, entry: &Entry, part: Option<usize>) -> Result<(), kube::Error> {
        let part = part.map_or_else(String::new, |part| format!(",{PART}={part}"));
        let selector = encoded(&format!("{MOVED}={}{part}", self.id));
        let path = format!("{}?labelSelector={selector}", entry.path(false));
        let options =
            json!({ "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background" });
        site.tell(Method::DELETE, &path, Sent::Whole, &options).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(finalizers: &[&str], labels: &Value) -> Value {
        json!({ "metadata": { "uid": "u", "resourceVersion": "7", "finalizers": finalizers, "labels": labels } })
    }

    #[test]
    fn what_nobody_holds_is_deleted_if_it_is_still_the_same() {
        let Leave::Delete(options) = leave(&object(&[], &Value::Null), "m", None, false) else {
            panic!("it is to be deleted");
        };
        assert_eq!(
            options["preconditions"],
            json!({ "uid": "u", "resourceVersion": "7" })
        );
    }

    #[test]
    fn what_is_held_is_marked_first_and_only_once() {
        let Leave::Mark(patch) = leave(&object(&["x"], &Value::Null), "m", None, false) else {
            panic!("it is to be marked");
        };
        assert_eq!(
            patch,
            json!({ "metadata": { "resourceVersion": "7", "finalizers": null, "labels": { MOVED: "m" } } })
        );
        assert_eq!(
            leave(&object(&[], &json!({ MOVED: "m" })), "m", None, false),
            Leave::Marked
        );
        // Somebody has put a finalizer back.
        assert!(matches!(
            leave(&object(&["x"], &json!({ MOVED: "m" })), "m", None, false),
            Leave::Mark(_)
        ));
        // The mark of another move is none.
        assert!(matches!(
            leave(&object(&[], &json!({ MOVED: "n" })), "m", None, false),
            Leave::Delete(_)
        ));
    }

    #[test]
    fn of_many_objects_each_goes_with_its_part_whoever_asks() {
        let entry = |kind: &str, n: usize| Entry {
            kind: kind.to_owned(),
            version: "v1".to_owned(),
            namespace: Some("fleet".to_owned()),
            name: format!("m-{n}"),
            uid: uuid::Uuid::from_u128(n as u128 * 7919).to_string(),
            copied: false,
            paused: false,
            compared: None,
            level: 0,
        };
        let machines: Vec<Entry> = (0..MANY).map(|n| entry("machines.machine.crit.sh", n)).collect();
        let few = entry("secrets", 0);
        let exit = Exit::of("m", machines.iter().chain([&few]));
        assert_eq!(exit.part(&few), None);
        let parts: HashSet<_> = machines.iter().map(|m| exit.part(m).unwrap()).collect();
        assert_eq!(parts, (0..PARTS).collect());
        let again = Exit::of("m", machines.iter().rev());
        assert!(machines.iter().all(|m| exit.part(m) == again.part(m)));
        let Leave::Mark(patch) = leave(&object(&["x"], &Value::Null), "m", Some(3), false) else {
            panic!("it is to be marked");
        };
        assert_eq!(patch["metadata"]["labels"], json!({ MOVED: "m", PART: "3" }));
    }

    #[test]
    fn what_is_owned_leaves_before_its_owners_and_marked_objects_first() {
        let all = [
            (0, "cluster"),
            (2, "secret"),
            (1, "marked"),
            (1, "set"),
            (2, "other"),
        ];
        let rounds: Vec<_> = rounds(all, |(_, name)| *name == "marked", |(level, _)| *level).collect();
        assert_eq!(
            rounds,
            [
                vec![(1, "marked")],
                vec![(2, "secret"), (2, "other")],
                vec![(1, "set")],
                vec![(0, "cluster")]
            ]
        );
    }

    #[test]
    fn what_others_control_stays_paused_to_its_end() {
        let Leave::Mark(patch) = leave(&object(&[], &Value::Null), "m", None, true) else {
            panic!("it is to be marked");
        };
        assert_eq!(patch["metadata"]["annotations"]["machine.crit.sh/paused"], "");
        assert_eq!(
            leave(&object(&[], &json!({ MOVED: "m" })), "m", None, true),
            Leave::Marked
        );
    }

    #[test]
    fn the_mark_says_what_was_marked_and_comes_off_whole() {
        let mut seen = object(&["x"], &Value::Null);
        seen["metadata"]["annotations"] = json!({ PRINT: "p", "mine": "1" });
        let Leave::Mark(patch) = leave(&seen, "m", None, false) else {
            panic!("it is to be marked");
        };
        assert_eq!(patch["metadata"]["annotations"], json!({ PRINT: "p" }));
        seen["metadata"]["labels"] = json!({ MOVED: "m", PART: "1", "mine": "1" });
        let owned = json!({ "f:labels": { format!("f:{MOVED}"): {}, "f:mine": {} } });
        seen["metadata"]["managedFields"] =
            json!([{ "fieldsV1": { "f:metadata": owned } }, { "fieldsV1": null }]);
        let bare = unmarked(seen);
        assert_eq!(bare["metadata"]["annotations"], json!({ "mine": "1" }));
        assert_eq!(bare["metadata"]["labels"], json!({ "mine": "1" }));
        let owned = &bare["metadata"]["managedFields"][0]["fieldsV1"]["f:metadata"]["f:labels"];
        assert_eq!(*owned, json!({ "f:mine": {} }));
    }
}
