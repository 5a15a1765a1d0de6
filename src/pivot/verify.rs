//! Compares source and target before the source is emptied, and reads what stands in a cluster of the list of a move.

use std::collections::{BTreeMap, HashMap, HashSet, btree_map::Entry as BTreeEntry};

use serde_json::{Value, json};

use super::{
    MoveError,
    collect::{Namespaces, collect, each_page},
    copy::{PAUSES, first_difference, is_owned_alike},
    error::Problem,
    journal::{Entry, Extent},
    kinds::discover,
    sequence::Unsettled,
    site::Site,
    strays,
    survey::{Key, Survey, There},
    write::Writer,
};

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
    writer: &Writer,
    extent: &Extent,
    unsettled: Unsettled,
) -> Result<Equal, MoveError> {
    let survey = &writer.survey;
    let (now, mut there) = tokio::try_join!(
        Survey::of(source, extent),
        There::of(&writer.target, survey, extent)
    )?;
    let by_key: HashMap<Key, usize> = (0..now.objects.len()).map(|i| (now.key(i), i)).collect();
    let mut equal = Equal::default();
    let mut problems = Vec::new();
    let mut changed = HashMap::new();
    for index in survey.moved() {
        let found = by_key.get(&survey.key(index)).map(|&i| (&now.objects[i], i));
        let Some((object, at)) = found.filter(|(object, _)| object.uid == survey.objects[index].uid) else {
            problems.push(Problem::new(format!(
                "{} is no longer in the source",
                survey.name(index)
            )));
            continue;
        };
        let value = now.value(at);
        if value["metadata"]["deletionTimestamp"].is_string() && unsettled != Unsettled::Take {
            problems.push(Problem::new(format!(
                "{} is being deleted in the source",
                survey.name(index)
            )));
        }
        equal.seen.insert(object.uid.to_string(), essence(&value));
        if object.resource_version != survey.objects[index].resource_version {
            changed.insert(index, value);
        }
    }
    if !problems.is_empty() {
        return Err(MoveError::Unequal(problems));
    }
    for (index, value) in &changed {
        let found = writer
            .target
            .read(survey.kind(*index), &survey.objects[*index])
            .await;
        let found = found
            .map_err(|e| MoveError::api(format!("can't read {} in the target", survey.name(*index)), e))?;
        let wanted = writer.wanted(*index, Some(as_user_wrote(value, writer)));
        there.put(survey.key(*index), writer.bring(*index, &wanted, found).await?);
    }
    compare(writer, &there, &changed, &mut equal)?;
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

/// Compares what was written, as it was read, with what should stand there.
pub(super) fn compare(
    writer: &Writer,
    there: &There,
    changed: &HashMap<usize, Value>,
    equal: &mut Equal,
) -> Result<(), MoveError> {
    let survey = &writer.survey;
    let mut problems = Vec::new();
    let mut otherwise_owned = 0;
    for index in survey.moved() {
        let name = survey.name(index);
        let Some(found) = there.get(&survey.key(index)) else {
            problems.push(Problem::new(format!("{name} is not in the target")));
            continue;
        };
        if survey.kept.contains(&index) && writer.is_older(found) {
            equal.notes.push(format!(
                "{name} was in the target before and was left as it is there"
            ));
            continue;
        }
        let now = changed.get(&index).map(|value| as_user_wrote(value, writer));
        let wanted = writer.wanted(index, now);
        if let Some(field) = first_difference(&wanted, found) {
            problems.push(Problem::new(format!("{name} differs in {field}")));
        } else if !is_owned_alike(&wanted, found) {
            otherwise_owned += 1;
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

/// What matters of an object when it is to leave.
pub(super) fn essence(object: &Value) -> Value {
    let metadata = &object["metadata"];
    json!({ "metadata": {
        "uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"], "finalizers": metadata["finalizers"],
        "labels": metadata["labels"], "creationTimestamp": metadata["creationTimestamp"],
    } })
}

/// Reads what stands in a cluster under the names of a list; only what matters when it is to leave.
pub(super) async fn read_by_name<'a>(
    site: &Site,
    entries: &[&'a Entry],
) -> Result<Vec<(&'a Entry, Value)>, MoveError> {
    let mut lists: BTreeMap<String, HashMap<String, Value>> = BTreeMap::new();
    for path in entries.iter().map(|e| e.path(false)) {
        if let BTreeEntry::Vacant(empty) = lists.entry(path) {
            let found = list(site, empty.key()).await?;
            empty.insert(found);
        }
    }
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
    let read = each_page(
        &site.client,
        path,
        PAGE,
        |text, found: &mut HashMap<String, Value>| {
            let page: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
            for item in page["items"].as_array().into_iter().flatten() {
                let name = item["metadata"]["name"].as_str().unwrap_or_default();
                found.insert(name.to_owned(), essence(item));
            }
            let next = page["metadata"]["continue"]
                .as_str()
                .filter(|next| !next.is_empty());
            Ok(next.map(ToOwned::to_owned))
        },
    );
    Ok(read.await?)
}

/// Whether nobody has put anything into a namespace, as far as can be seen.
pub(super) async fn is_unused(site: &Site, namespace: &str) -> Result<bool, MoveError> {
    let kinds = discover(&site.client).await?;
    let found = collect(
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
