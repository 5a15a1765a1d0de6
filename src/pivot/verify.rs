//! Compares source and target before the source is emptied, and reads what stands in a cluster of the list of a move.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    MoveError,
    collect::{ListMeta, METADATA, Namespaces, collect_as_written, each_page_as},
    copy::{PAUSES, first_difference, is_owned_alike},
    error::Problem,
    facts::Facts,
    journal::{Entry, Extent},
    kinds::discover,
    object::Object,
    print,
    sequence::Unsettled,
    site::Site,
    strays,
    survey::{Key, Reading, Survey, There, namespaces},
    tasks::{self, in_parts},
    write::Writer,
};

/// Lists that are read at once.
const LISTS: usize = 8;
/// Objects a page.
const PAGE: usize = 500;
/// What a cluster puts into each namespace by itself.
const OF_EACH_NAMESPACE: [&str; 2] = ["kube-root-ca.crt", "openshift-service-ca.crt"];

/// What the comparison came to, if it came out well.
#[derive(Default)]
pub(super) struct Equal {
    /// What is worth telling.
    pub(super) notes: Vec<String>,
    /// What matters of each object of the source as it was compared, by UID.
    pub(super) seen: HashMap<String, Value>,
}

/// Reads both places anew and compares every object. What was changed in the source meanwhile is brought over first.
pub(super) async fn verify(
    source: &Site,
    writer: &Arc<Writer>,
    extent: &Extent,
    unsettled: Unsettled,
) -> Result<Equal, MoveError> {
    let survey = &writer.survey;
    let place = namespaces(extent);
    let (now, mut there, lost) = tokio::try_join!(
        Reading::of(source, extent),
        There::of(&writer.target, survey, extent),
        strays::look(source, survey, &place, unsettled),
    )?;
    if !lost.problems.is_empty() {
        return Err(MoveError::Unequal(lost.problems));
    }
    let same = now.is_as(survey, |index, object| writer.is_surveyed(index, object));
    let now = Arc::new(now);
    let mut equal = Equal::default();
    let changed = look(writer, &now, same, unsettled, &mut equal).await?;
    bring(writer, &changed, &mut there).await?;
    compare(writer, there, changed, &mut equal).await?;
    if same {
        return Ok(equal);
    }
    let now = Arc::unwrap_or_clone(now).survey(extent).await?;
    let lost = newly_owned(writer, &now);
    if unsettled != Unsettled::Take && !lost.is_empty() {
        return Err(MoveError::Unequal(lost));
    }
    let known: HashSet<Key> = survey.moved().map(|i| survey.key(i)).collect();
    let new = now.moved().filter(|&i| !known.contains(&now.key(i)));
    equal.notes.extend(new.map(|i| {
        format!(
            "{} came to be in the source during the move; it stays there: type the command again",
            now.name(i)
        )
    }));
    Ok(equal)
}

/// What does not move although something that leaves the source owns it by now: it would be deleted with that.
fn newly_owned(writer: &Writer, now: &Survey) -> Vec<Problem> {
    let survey = &writer.survey;
    let known = survey.objects.iter().map(|o| (&*o.uid, &*o.resource_version));
    let known: HashSet<(&str, &str)> = known.collect();
    let is_new = |object: &Object| {
        writer.find(&object.uid).is_none() && !known.contains(&(&*object.uid, &*object.resource_version))
    };
    let leaves = |uid: &str| {
        let owner = writer.find(uid).filter(|owner| !survey.kept.contains(owner));
        owner.map(|owner| survey.name(owner))
    };
    let objects = now.objects.iter().filter(|object| is_new(object));
    let lost = objects.filter_map(|object| {
        let name = object.key(&now.kinds);
        let Ok(facts) = serde_json::from_str::<Facts>(&object.text) else {
            return Some(Problem::new(format!("{name} in the source can't be read")));
        };
        let owner = facts
            .metadata
            .owner_references
            .iter()
            .find_map(|o| leaves(&o.uid))?;
        Some(Problem::new(format!(
            "{name} came to be in the source during the move, and would be deleted with its owner {owner}"
        )))
    });
    lost.collect()
}

/// An object of the source that moves, as it is now.
struct Looked {
    index: usize,
    uid: String,
    essence: Essence,
    /// All of it, if it was changed.
    changed: Option<Value>,
}

/// Looks at each object of the source that moves: it has to be there. Returns those that were changed, by their number in the survey. `same`:
/// they stand where they stood then.
async fn look(
    writer: &Arc<Writer>,
    now: &Arc<Reading>,
    same: bool,
    unsettled: Unsettled,
    equal: &mut Equal,
) -> Result<HashMap<usize, Value>, MoveError> {
    let survey = &writer.survey;
    let places = if same { HashMap::new() } else { now.places() };
    let place = |index: usize| {
        let at = if same {
            Some(index)
        } else {
            places.get(&survey.key(index)).copied()
        };
        at.filter(|&at| now.objects[at].uid == survey.objects[index].uid)
    };
    let (found, gone): (Vec<_>, Vec<_>) = survey
        .moved()
        .map(|index| (index, place(index)))
        .partition(|(_, at)| at.is_some());
    let gone = gone.into_iter().map(|(index, _)| index);
    let mut problems: Vec<Problem> = gone
        .map(|index| Problem::new(format!("{} is no longer in the source", survey.name(index))))
        .collect();
    let (count, of, reading) = (found.len(), Arc::clone(writer), Arc::clone(now));
    let looked = in_parts(count, move |part| {
        let part = found[part].iter();
        part.filter_map(|&(index, at)| Some((index, looked(&of, index, &reading.objects[at?]))))
            .collect()
    });
    let mut changed = HashMap::new();
    for (index, one) in looked.await {
        let one = match one {
            Ok(one) => one,
            Err(why) => {
                let name = survey.name(index);
                problems.push(Problem::new(format!("{name} in the source can't be read: {why}")));
                continue;
            }
        };
        if one.essence.metadata.deletion_timestamp.is_string() && unsettled != Unsettled::Take {
            let name = survey.name(one.index);
            problems.push(Problem::new(format!("{name} is being deleted in the source")));
        }
        equal.seen.insert(one.uid, one.essence.value());
        changed.extend(one.changed.map(|value| (one.index, value)));
    }
    if problems.is_empty() {
        return Ok(changed);
    }
    Err(MoveError::Unequal(problems))
}

fn looked(writer: &Writer, index: usize, object: &Object) -> Result<Looked, serde_json::Error> {
    let changed = !writer.is_surveyed(index, object);
    let mut essence: Essence = serde_json::from_str(&object.text)?;
    // Nothing else is marked when it leaves.
    let is_held = essence
        .metadata
        .finalizers
        .as_array()
        .is_some_and(|f| !f.is_empty());
    if is_held || writer.paused.contains(&*object.uid) {
        essence.metadata.print = Some(print::of_text(&object.text)?);
    }
    Ok(Looked {
        index,
        uid: object.uid.to_string(),
        essence,
        changed: changed.then(|| object.value()).transpose()?,
    })
}

/// Brings what was changed in the source to the target; `there` learns of it.
async fn bring(
    writer: &Arc<Writer>,
    changed: &HashMap<usize, Value>,
    there: &mut There,
) -> Result<(), MoveError> {
    let survey = &writer.survey;
    let found = changed
        .keys()
        .map(|&index| (index, there.get(&survey.key(index))));
    let found: Vec<_> = found.collect();
    let work = |(index, found): (usize, Option<Value>)| {
        let (writer, now) = (Arc::clone(writer), as_user_wrote(&changed[&index], writer));
        async move {
            let wanted = writer.wanted(index, Some(now))?;
            Ok((index, writer.bring(index, &wanted, found).await?))
        }
    };
    tasks::each(found, work, |(index, object)| {
        there.put(survey.key(index), &object);
        Ok(())
    })
    .await
}

/// An object of the source without the pause that the move has put there.
fn as_user_wrote(object: &Value, writer: &Writer) -> Value {
    let mut object = object.clone();
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    if writer.paused.contains(&uid)
        && let Some(annotations) = object
            .pointer_mut("/metadata/annotations")
            .and_then(Value::as_object_mut)
    {
        for name in PAUSES {
            annotations.remove(name);
        }
    }
    object
}

/// What the comparison of one object came to.
enum Compared {
    Equal,
    /// It is equal, but for who owns which field.
    OwnedOtherwise,
    /// It was there before.
    Older(String),
    Unequal(Problem),
}

/// Compares what was written, as it was read, with what should stand there; `changed` is what of the source is not as it was surveyed.
pub(super) async fn compare(
    writer: &Arc<Writer>,
    there: There,
    changed: HashMap<usize, Value>,
    equal: &mut Equal,
) -> Result<(), MoveError> {
    let all: Vec<usize> = writer.survey.moved().collect();
    let (count, of) = (all.len(), Arc::clone(writer));
    let compared = in_parts(count, move |part| {
        let part = all[part].iter();
        part.map(|&index| compare_one(&of, &there, changed.get(&index), index))
            .collect()
    });
    let (mut problems, mut otherwise_owned) = (Vec::new(), 0);
    for one in compared.await {
        match one {
            Compared::Equal => {}
            Compared::OwnedOtherwise => otherwise_owned += 1,
            Compared::Older(note) => equal.notes.push(note),
            Compared::Unequal(problem) => problems.push(problem),
        }
    }
    if otherwise_owned > 0 {
        equal.notes.push(format!(
            "of {otherwise_owned} objects the target's API server keeps its own record of who wrote which field"
        ));
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(MoveError::Unequal(problems))
}

fn compare_one(writer: &Writer, there: &There, changed: Option<&Value>, index: usize) -> Compared {
    let survey = &writer.survey;
    let name = || survey.name(index);
    let Some(found) = there.get(&survey.key(index)) else {
        return Compared::Unequal(Problem::new(format!("{} is not in the target", name())));
    };
    if survey.kept.contains(&index) && writer.is_older(&found) {
        let told = format!("{} was in the target before and was left as it is there", name());
        return Compared::Older(told);
    }
    let now = changed.map(|value| as_user_wrote(value, writer));
    let wanted = match writer.wanted(index, now) {
        Ok(wanted) => wanted,
        Err(why) => return Compared::Unequal(Problem::new(why.to_string())),
    };
    if let Some(field) = first_difference(&wanted, &found) {
        return Compared::Unequal(Problem::new(format!("{} differs in {field}", name())));
    }
    if is_owned_alike(&wanted, &found) {
        return Compared::Equal;
    }
    Compared::OwnedOtherwise
}

/// What matters of an object when it is to leave.
#[derive(Default, Deserialize)]
struct Essence {
    #[serde(default)]
    metadata: EssenceMeta,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct EssenceMeta {
    name: String,
    uid: Value,
    resource_version: Value,
    finalizers: Value,
    labels: Value,
    creation_timestamp: Value,
    deletion_timestamp: Value,
    /// The fingerprint of the whole object, where it was made.
    #[serde(skip)]
    print: Option<String>,
}

impl Essence {
    fn value(self) -> Value {
        let metadata = self.metadata;
        let mut value = json!({ "metadata": {
            "uid": metadata.uid, "resourceVersion": metadata.resource_version, "finalizers": metadata.finalizers,
            "labels": metadata.labels, "creationTimestamp": metadata.creation_timestamp,
        } });
        if let Some(print) = metadata.print {
            value["metadata"]["annotations"] = json!({ print::PRINT: print });
        }
        value
    }
}

/// A page of a list, of which only that is read.
#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(default)]
    items: Option<Vec<Essence>>,
}

/// Reads what stands in a cluster under the names of a list; only what matters when it is to leave.
pub(super) async fn read_by_name<'a>(
    site: &Site,
    entries: &[&'a Entry],
) -> Result<Vec<(&'a Entry, Value)>, MoveError> {
    let paths: BTreeSet<String> = entries.iter().map(|e| e.path(false)).collect();
    let lists = stream::iter(paths).map(|path| async move {
        let found = list(site, &path).await?;
        Ok::<_, MoveError>((path, found))
    });
    let lists: BTreeMap<String, HashMap<String, Value>> = lists.buffered(LISTS).try_collect().await?;
    let found = |entry: &&'a Entry| {
        let object = lists.get(&entry.path(false))?.get(&entry.name)?;
        Some((*entry, object.clone()))
    };
    Ok(entries.iter().filter_map(found).collect())
}

/// As [`read_by_name`], but only what is still the object that the list means, by its UID.
pub(super) async fn read_entries(
    site: &Site,
    entries: &[&Entry],
) -> Result<HashMap<String, Value>, MoveError> {
    let found = read_by_name(site, entries).await?;
    let same = found
        .into_iter()
        .filter(|(entry, object)| object["metadata"]["uid"] == entry.uid.as_str());
    Ok(same.map(|(entry, object)| (entry.uid.clone(), object)).collect())
}

async fn list(site: &Site, path: &str) -> Result<HashMap<String, Value>, MoveError> {
    let read = each_page_as(
        METADATA,
        &site.client,
        path,
        PAGE,
        |text, found: &mut HashMap<String, Value>| {
            let page: Page = serde_json::from_str(text).map_err(|e| e.to_string())?;
            for mut item in page.items.unwrap_or_default() {
                let name = std::mem::take(&mut item.metadata.name);
                found.insert(name, item.value());
            }
            Ok(page.metadata.next())
        },
    );
    Ok(read.await?)
}

/// Whether nobody has put anything into a namespace, as far as can be seen.
pub(super) async fn is_unused(site: &Site, namespace: &str) -> Result<bool, MoveError> {
    let kinds = discover(&site.client).await?;
    let found = collect_as_written(
        &site.client,
        &kinds.moving,
        &Namespaces::One(namespace.to_owned()),
    )
    .await?;
    let by_itself = |text: &str, name: &str| {
        OF_EACH_NAMESPACE.contains(&name) || text.contains("\"type\":\"kubernetes.io/service-account-token\"")
    };
    if found
        .iter()
        .any(|o| o.namespace.is_some() && !by_itself(&o.text, &o.name))
    {
        return Ok(false);
    }
    Ok(!strays::is_any(site, &kinds.staying, namespace).await?)
}
