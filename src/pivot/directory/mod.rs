//! A directory that holds objects: a backup, and a way from one management cluster to another that are never reachable at once.
//!
//! One YAML file an object, and `manifest.json`, which lists them with their checksums:
//!
//! ```text
//! manifest.json
//! cluster/infrastructureproviders.machine.crit.sh/docker.yaml
//! namespaces/fleet/machines.machine.crit.sh/web-1.yaml
//! namespaces/fleet/secrets/web-ca.yaml
//! ```
//!
//! Files are for their owner's eyes alone (0600, folders 0700). If recipients are named, each object is encrypted for them (`web-1.yaml.age`), and not only
//! Secrets: Configs hold passwords, too. The manifest stays readable: it names the objects and shows nothing of them.
//!
//! What is read is byte for byte what was written.

pub mod age;
mod bech32;
mod files;
mod format;
mod read;
mod write;

use std::path::{Path, PathBuf};

pub use format::{Entry, Manifest};
pub use read::{Contents, read};
pub use write::{Options, write};

/// Why a directory can't be written or read. Nothing was done but what the text says.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// A file or folder can't be used.
    #[error("can't {doing} {}", .path.display())]
    File {
        /// What was tried: `write`, `read`, `create`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is something else in it. Nothing is written over what somebody else wrote.
    #[error("{} is not empty and no backup: it holds {found}; name an empty or a new directory", .path.display())]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// One of the things in it.
        found: String,
    },
    /// There is no manifest.
    #[error("{} holds no backup: there is no {}; name the directory that move --to-directory has written", .path.display(), format::MANIFEST)]
    NoBackup {
        /// The directory.
        path: PathBuf,
    },
    /// The manifest is of a form that is not known.
    #[error("{} has format version {version}, and this machinectl reads version {}: use the machinectl that wrote it ({tool})", .path.display(), format::VERSION)]
    UnknownVersion {
        /// The manifest.
        path: PathBuf,
        /// Its version.
        version: u64,
        /// What wrote it.
        tool: String,
    },
    /// The manifest is not what was written.
    #[error("{} is damaged: {reason}; take the directory from another copy", .path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Files are not what was written.
    #[error("{} can't be used: {}", .path.display(), several(.problems))]
    Broken {
        /// The directory.
        path: PathBuf,
        /// Each file that can't be used, and why.
        problems: Vec<Problem>,
    },
    /// It is encrypted, and there is no key.
    #[error("{} is encrypted: give the identity that reads it with --identity FILE", .path.display())]
    NoIdentity {
        /// The directory.
        path: PathBuf,
    },
    /// It is encrypted for others.
    #[error("{} can't be decrypted with the identities given: it is encrypted for {}; name the file with one of theirs with --identity", .path.display(), .recipients.join(", "))]
    WrongIdentity {
        /// The first file.
        path: PathBuf,
        /// Who can read it.
        recipients: Vec<String>,
    },
    /// An object can't be written.
    #[error("can't write {key}: {reason}")]
    Object {
        /// The object.
        key: String,
        /// Why.
        reason: String,
    },
}

/// A file that can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it is called in the directory.
    pub file: String,
    /// What is wrong with it and what to do, as half a sentence.
    pub reason: String,
}

/// How many problems are told; the others are counted.
const TOLD: usize = 10;

fn several(problems: &[Problem]) -> String {
    let told = problems
        .iter()
        .take(TOLD)
        .map(|p| format!("{}: {}", p.file, p.reason));
    let more = problems.len().checked_sub(TOLD).filter(|more| *more > 0);
    let more = more.map(|more| format!("and {more} more"));
    told.chain(more).collect::<Vec<_>>().join("; ")
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> DirectoryError {
    let path = path.to_owned();
    move |source| DirectoryError::File { doing, path, source }
}

#[cfg(test)]
mod broken_tests;
#[cfg(test)]
mod tests;
