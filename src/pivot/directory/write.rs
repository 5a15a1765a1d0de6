//! Writes objects into a directory.

use std::{collections::BTreeSet, fs, io, path::Path};

use serde_json::Value;

use super::{
    DirectoryError, Entry, Manifest,
    age::{self, Recipient},
    failed, files,
    format::{self, MANIFEST, PARTS},
};
use crate::{
    pivot::{kinds::MovedKind, object::Object},
    time::{Timestamp, rfc3339},
    yaml,
};

/// How a directory is written.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Where the objects were read: context and API server.
    pub source: &'a str,
    /// Now.
    pub now: Timestamp,
    /// Who can read the objects; nobody: they are not encrypted.
    pub recipients: &'a [Recipient],
    /// Is called after each object.
    pub progress: &'a (dyn Fn() + Sync),
}

/// Writes the objects of all groups. A backup that was there is replaced when the new one is complete.
///
/// # Errors
/// Fails if something else is in the directory, or if it can't be written; a backup that was there is then as it was.
pub fn write(
    dir: &Path,
    kinds: &[MovedKind],
    objects: &[Object],
    groups: &[Vec<usize>],
    options: Options,
) -> Result<Manifest, DirectoryError> {
    files::make_folder(dir)?;
    refuse_foreign(dir)?;
    files::close_folder(dir);
    files::take_over(dir)?;
    files::clear(dir)?;
    let new = files::fresh(dir);
    for part in PARTS {
        files::make_folder(&new.join(part))?;
    }
    let chosen: Vec<&Object> = groups
        .iter()
        .flatten()
        .filter_map(|index| objects.get(*index))
        .collect();
    let encrypted = !options.recipients.is_empty();
    let names: Vec<(&Object, String)> = chosen
        .into_iter()
        .filter_map(|object| Some((object, format::file_of(kinds, object, encrypted)?)))
        .collect();
    let folders: BTreeSet<_> = names
        .iter()
        .filter_map(|(_, name)| Path::new(name).parent())
        .collect();
    for folder in folders {
        files::make_folder(&new.join(folder))?;
    }
    let mut manifest = Manifest::new(options.source, rfc3339(options.now), kinds);
    manifest.recipients = options.recipients.iter().map(ToString::to_string).collect();
    manifest.files = files::each(&names, |(object, name)| {
        let entry = one(&new, kinds, object, name, options.recipients)?;
        (options.progress)();
        Ok(entry)
    })?;
    files::settle(&new)?;
    let text = manifest.clone().text().map_err(|e| DirectoryError::Manifest {
        path: dir.join(MANIFEST),
        reason: e.to_string(),
    })?;
    files::write_file(&new.join(MANIFEST), text.as_bytes())?;
    files::settle(&new)?;
    files::take_over(dir)?;
    Ok(manifest)
}

/// Refuses a directory in which something else is.
fn refuse_foreign(dir: &Path) -> Result<(), DirectoryError> {
    let foreign = |found: &str| {
        Err(DirectoryError::NotOurs {
            path: dir.to_owned(),
            found: found.to_owned(),
        })
    };
    let ours = match fs::read(dir.join(MANIFEST)) {
        Ok(text) if format::is_ours(&text).is_none() => return foreign(MANIFEST),
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => files::fresh(dir).join(MANIFEST).is_file(),
        Err(error) => return Err(failed("read", &dir.join(MANIFEST))(error)),
    };
    for entry in fs::read_dir(dir).map_err(failed("read", dir))? {
        let name = entry.map_err(failed("read", dir))?.file_name();
        let name = name.to_string_lossy();
        let known = files::is_fresh(&name) || name == files::LOST_AND_FOUND;
        if !known && !(ours && (name == MANIFEST || PARTS.contains(&&*name))) {
            return foreign(&name);
        }
    }
    Ok(())
}

fn one(
    dir: &Path,
    kinds: &[MovedKind],
    object: &Object,
    name: &str,
    recipients: &[Recipient],
) -> Result<Entry, DirectoryError> {
    let refused = |reason: String| DirectoryError::Object {
        key: object.key(kinds),
        reason,
    };
    let text = text_of(object).map_err(|e| refused(format!("it is no JSON (column {})", e.column())))?;
    let content = if recipients.is_empty() {
        text.into_bytes()
    } else {
        age::seal(text.as_bytes(), recipients).map_err(|e| refused(e.to_string()))?
    };
    files::write_file(&dir.join(name), &content)?;
    Ok(Entry {
        file: name.to_owned(),
        kind: object.kind,
        namespace: object.namespace.clone(),
        name: object.name.clone(),
        size: content.len() as u64,
        sha256: format::digest(&content),
    })
}

/// An object as YAML, if reading that gives the same bytes back; else, for numbers that YAML writes otherwise, as the JSON that it is.
fn text_of(object: &Object) -> Result<String, serde_json::Error> {
    let tree = object.value()?;
    let yaml = yaml::to_string(&tree).ok().filter(|text| {
        let back = yaml::from_str::<Value>(text);
        back.is_ok_and(|back| back.to_string().as_str() == &*object.text)
    });
    Ok(yaml.unwrap_or_else(|| format!("{}\n", object.text)))
}
