//! Reads objects back from a directory: all of them as they were written, or none.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    DirectoryError, Entry, Manifest, Problem,
    age::{self, Identity, Sealed},
    failed, files,
    format::{self, MANIFEST},
};
use crate::{
    pivot::{kinds::MovedKind, object::Object},
    yaml,
};

/// What a directory holds.
#[derive(Debug)]
pub struct Contents {
    /// What was written, when and from where; kinds are those of the objects.
    pub manifest: Manifest,
    /// The objects, in the order in which they can be made.
    pub objects: Vec<Object>,
}

/// Why one file can't be used.
enum Refusal {
    Problem(String),
    WrongKey,
}

impl From<&str> for Refusal {
    fn from(reason: &str) -> Self {
        Self::Problem(reason.to_owned())
    }
}

/// Reads a directory. Everything is checked: nothing comes back unless all of it is what was written. `progress` is called after each object.
///
/// # Errors
/// Names each file that is foreign, missing, cut off, changed or can't be decrypted.
pub fn read(
    dir: &Path,
    identities: &[Identity],
    progress: &(dyn Fn() + Sync),
) -> Result<Contents, DirectoryError> {
    fs::read_dir(dir).map_err(failed("read", dir))?;
    files::take_over(dir)?;
    let manifest = manifest(dir)?;
    let mut problems = entries(&manifest);
    problems.extend(foreign(dir, &manifest)?);
    if !problems.is_empty() {
        return Err(broken(dir, problems));
    }
    if !manifest.recipients.is_empty() && identities.is_empty() {
        return Err(DirectoryError::NoIdentity { path: dir.to_owned() });
    }
    let results = files::each(&manifest.files, |entry| {
        let result = one(dir, &manifest, entry, identities);
        progress();
        Ok::<_, DirectoryError>(result)
    })?;
    let mut objects = Vec::with_capacity(results.len());
    for (entry, result) in manifest.files.iter().zip(results) {
        match result {
            Ok(object) => objects.push(object),
            Err(Refusal::Problem(reason)) => problems.push(Problem {
                file: entry.file.clone(),
                reason,
            }),
            Err(Refusal::WrongKey) => {
                return Err(DirectoryError::WrongIdentity {
                    path: dir.join(&entry.file),
                    recipients: manifest.recipients,
                });
            }
        }
    }
    if problems.is_empty() {
        Ok(Contents { manifest, objects })
    } else {
        Err(broken(dir, problems))
    }
}

fn broken(dir: &Path, mut problems: Vec<Problem>) -> DirectoryError {
    problems.sort_by(|a, b| a.file.cmp(&b.file));
    DirectoryError::Broken {
        path: dir.to_owned(),
        problems,
    }
}

fn manifest(dir: &Path) -> Result<Manifest, DirectoryError> {
    let path = dir.join(MANIFEST);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(DirectoryError::NoBackup { path: dir.to_owned() });
        }
        text => text.map_err(failed("read", &path))?,
    };
    let damaged = |reason: &str| DirectoryError::Manifest {
        path: path.clone(),
        reason: reason.to_owned(),
    };
    let (version, tool) = format::is_ours(&text)
        .ok_or_else(|| damaged("it was cut off, or it is no manifest of a backup of machinectl"))?;
    if version != format::VERSION {
        return Err(DirectoryError::UnknownVersion { path, version, tool });
    }
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|e| damaged(&e.to_string()))?;
    let expected = manifest.expected().map_err(|e| damaged(&e.to_string()))?;
    if expected != manifest.digest {
        return Err(damaged(
            "its checksum differs: it was changed after it was written",
        ));
    }
    Ok(manifest)
}

/// Entries that can't be meant.
fn entries(manifest: &Manifest) -> Vec<Problem> {
    let encrypted = !manifest.recipients.is_empty();
    let mut seen = HashSet::new();
    let judge = |entry: &Entry| {
        let kind = manifest.kinds.get(entry.kind)?;
        let expected = format::file_name(kind, entry.namespace.as_deref(), &entry.name, encrypted);
        (expected == entry.file).then_some(())
    };
    let mut problems = Vec::new();
    for entry in &manifest.files {
        let reason = if judge(entry).is_none() {
            "the manifest calls the file of that object so, which no backup does; take the directory from another copy"
        } else if seen.insert(&entry.file) {
            continue;
        } else {
            "the manifest lists it twice; take the directory from another copy"
        };
        problems.push(Problem {
            file: entry.file.clone(),
            reason: reason.to_owned(),
        });
    }
    problems
}

/// Files in the directory that the manifest does not list.
fn foreign(dir: &Path, manifest: &Manifest) -> Result<Vec<Problem>, DirectoryError> {
    let known: HashSet<&str> = manifest.files.iter().map(|e| e.file.as_str()).collect();
    let mut problems = Vec::new();
    let mut folders = vec![(dir.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(failed("read", &folder))? {
            let entry = entry.map_err(failed("read", &folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let at_top = prefix.is_empty();
            if at_top && (name == MANIFEST || files::is_fresh(&name) || name == files::LOST_AND_FOUND) {
                continue;
            }
            let file = format!("{prefix}{name}");
            let kind = entry.file_type().map_err(failed("read", &entry.path()))?;
            if kind.is_dir() {
                folders.push((entry.path(), format!("{file}/")));
            } else if !kind.is_file() || !known.contains(file.as_str()) {
                problems.push(Problem {
                    file,
                    reason: "it is no part of the backup; take it away".to_owned(),
                });
            }
        }
    }
    Ok(problems)
}

fn one(dir: &Path, manifest: &Manifest, entry: &Entry, identities: &[Identity]) -> Result<Object, Refusal> {
    let kind = manifest
        .kinds
        .get(entry.kind)
        .ok_or("the manifest does not know its kind")?;
    let content = content(dir.join(&entry.file), entry)?;
    let text = if manifest.recipients.is_empty() {
        content
    } else {
        age::open(&content, identities).map_err(|error| match error {
            Sealed::WrongKey => Refusal::WrongKey,
            other => Refusal::Problem(other.to_string()),
        })?
    };
    let text = String::from_utf8(text).map_err(|_| Refusal::from("it is no text"))?;
    let object = object(entry.kind, kind, &text)?;
    if (&object.namespace, &object.name) != (&entry.namespace, &entry.name) {
        let reason = format!(
            "it holds {}, which belongs elsewhere",
            object.key(&manifest.kinds)
        );
        return Err(Refusal::Problem(reason));
    }
    Ok(object)
}

/// What is in a file, if it is what was written.
fn content(path: PathBuf, entry: &Entry) -> Result<Vec<u8>, Refusal> {
    const COPY: &str = "take it from another copy of the directory";
    let length = match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Refusal::Problem(format!("it is missing; {COPY}")));
        }
        meta => meta
            .map_err(|e| Refusal::Problem(format!("it can't be read: {e}")))?
            .len(),
    };
    if length < entry.size {
        let reason = format!("it was cut off ({length} of {} bytes); {COPY}", entry.size);
        return Err(Refusal::Problem(reason));
    }
    let changed = || {
        Refusal::Problem(format!(
            "it was changed after it was written (its checksum differs); {COPY}"
        ))
    };
    if length > entry.size {
        return Err(changed());
    }
    let content = fs::read(path).map_err(|e| Refusal::Problem(format!("it can't be read: {e}")))?;
    if format::digest(&content) == entry.sha256 {
        Ok(content)
    } else {
        Err(changed())
    }
}

fn object(index: usize, kind: &MovedKind, text: &str) -> Result<Object, Refusal> {
    // What YAML could not hold stands there as JSON; YAML of an object never begins so.
    let text = if text.starts_with('{') {
        text.trim_end().into()
    } else {
        let tree: Value =
            yaml::from_str(text).map_err(|e| Refusal::Problem(format!("it is no YAML (line {})", e.line)))?;
        tree.to_string().into()
    };
    Object::from_text(index, kind, text).map_err(|e| Refusal::Problem(e.to_string()))
}
