//! The database file on disk: how it comes to be, how it is judged before anything in it changes, and the note beside it of how
//! far it must go. It must not know what an object means.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use redb::{Builder, Database};

use super::OpenError;
use super::format::{self, Content, FORMAT, ReadError};
use super::overlay::{Overlay, tried};
use super::stored::Stored;

/// What the database may keep in memory: little, as all reads are served from the state.
const CACHE: usize = 4 << 20;
/// Bytes that are renewed at a time.
const PORTION: usize = 1 << 20;
/// What a file of the database begins with.
const MAGIC: &[u8; 9] = b"redb\x1a\x0a\xa9\x0d\x0a";
/// Bytes of the number in the note.
const DIGITS: usize = 20;

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    builder
}

pub(super) fn unreadable(
    file: &Path,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> OpenError {
    OpenError::Unreadable {
        file: file.display().to_string(),
        source: source.into(),
    }
}

fn damaged(file: &Path, what: impl Into<String>) -> OpenError {
    OpenError::Damaged {
        file: file.display().to_string(),
        what: what.into(),
    }
}

/// Tells what is wrong with the file from what is wrong with the disk.
fn database_error(file: &Path, error: redb::Error) -> OpenError {
    match error {
        redb::Error::DatabaseAlreadyOpen => OpenError::InUse(file.display().to_string()),
        redb::Error::Corrupted(what) => damaged(file, what),
        redb::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            damaged(file, "it is cut off")
        }
        error => unreadable(file, error),
    }
}

/// Makes a file with an empty state. It gets its name when it is whole: whoever is killed here leaves none that looks damaged.
pub(super) fn create(file: &Path) -> Result<(), OpenError> {
    let new = file.with_extension("redb.new");
    let failed = |error: io::Error| unreadable(file, error);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let handle = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        // Secrets lie in the file.
        .mode(0o600)
        .open(&new)
        .map_err(failed)?;
    let database = builder()
        .create_file(handle)
        .map_err(|e| database_error(file, e.into()))?;
    format::initialise(&database).map_err(|e| database_error(file, e))?;
    drop(database);
    // What was noted of a file that is gone says nothing about this one.
    match fs::remove_file(Note::path(file)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    fs::rename(&new, file).map_err(failed)?;
    let folder = file.parent().unwrap_or_else(|| Path::new("."));
    File::open(folder).and_then(|f| f.sync_all()).map_err(failed)
}

/// Opens a file and gives all objects in it to `each`. Unless all of it is whole, and of a format that this release knows, no byte
/// of it changes. Also returns what holds its lock.
pub(super) fn open(file: &Path, each: impl FnMut(Stored)) -> Result<(Database, Content, File), OpenError> {
    let failed = |error: io::Error| unreadable(file, error);
    let handle = locked(file)?;
    let (database, overlay, content) = look(file, &handle, each)?;
    if let Some(flaw) = content.flaws.first() {
        let more = content.flaws.len() - 1;
        let more = if more > 0 {
            format!(", and {more} more objects")
        } else {
            String::new()
        };
        return Err(damaged(file, format!("{flaw}{more}")));
    }
    if let Some(noted) = Note::read(file).filter(|noted| *noted > content.version) {
        return Err(damaged(file, too_short(content.version, noted)));
    }
    if let Err(error) = handle.set_permissions(fs::Permissions::from_mode(0o600)) {
        tracing::warn!(file = %file.display(), %error, "cannot restrict the state file to its owner");
    }
    overlay.release().map_err(failed)?;
    Ok((database, content, handle))
}

/// Writes a file once more as it reads: what a sync that failed has left in memory alone, the system takes for written.
pub(super) fn renew(handle: &File) -> io::Result<()> {
    let (mut portion, mut offset) = (vec![0; PORTION], 0);
    loop {
        let count = handle.read_at(&mut portion, offset)?;
        if count == 0 {
            return tried(|| handle.sync_data());
        }
        tried(|| handle.write_all_at(&portion[..count], offset))?;
        offset += count as u64;
    }
}

/// Opens a file again that this process has opened before; `handle` still holds its lock. It is judged by the checksums of the database
/// alone. Returns also how far it goes.
pub(super) fn reopen(file: &Path, handle: &File) -> Result<(Database, u64), OpenError> {
    let (database, overlay) = show(file, handle)?;
    let version = format::version(&database).map_err(|error| database_error(file, error))?;
    let version = version.ok_or_else(|| damaged(file, "it does not say how far it goes"))?;
    overlay.release().map_err(|error| unreadable(file, error))?;
    Ok((database, version))
}

/// Opens a file that no other process has open.
fn locked(file: &Path) -> Result<File, OpenError> {
    let handle = OpenOptions::new().read(true).write(true).open(file);
    let handle = handle.map_err(|error| unreadable(file, error))?;
    lock(file, handle.try_lock())?;
    Ok(handle)
}

/// Reads a file and leaves it as it is. Returns also how far the note says that it goes, and its length.
pub(super) fn inspect(
    file: &Path,
    each: impl FnMut(Stored),
) -> Result<(Content, Option<u64>, u64), OpenError> {
    let handle = locked(file)?;
    let bytes = handle.metadata().map_err(|error| unreadable(file, error))?.len();
    let (_database, _overlay, content) = look(file, &handle, each)?;
    Ok((content, Note::read(file), bytes))
}

/// Says that a file lacks writes which were answered.
pub(super) fn too_short(version: u64, noted: u64) -> String {
    format!("it ends with resourceVersion {version}, but {noted} had been written")
}

fn lock(file: &Path, outcome: Result<(), TryLockError>) -> Result<(), OpenError> {
    match outcome {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(file.display().to_string())),
        Err(TryLockError::Error(error)) => Err(unreadable(file, error)),
    }
}

/// Reads a file without changing it: that is left to [`Overlay::release`]. Objects that can't be read are among the flaws.
fn look(
    file: &Path,
    handle: &File,
    each: impl FnMut(Stored),
) -> Result<(Database, Overlay, Content), OpenError> {
    let (database, overlay) = show(file, handle)?;
    let content = format::read(&database, each).map_err(|error| match error {
        ReadError::Newer(found) => OpenError::NewerFormat {
            file: file.display().to_string(),
            found,
            known: FORMAT,
        },
        ReadError::Foreign(what) => damaged(file, what),
        ReadError::Database(error) => database_error(file, error),
    })?;
    Ok((database, overlay, content))
}

/// Opens a database of which nothing goes to the file yet.
fn show(file: &Path, handle: &File) -> Result<(Database, Overlay), OpenError> {
    let failed = |error: io::Error| unreadable(file, error);
    let mut begin = [0; MAGIC.len()];
    match handle.read_exact_at(&mut begin, 0) {
        Ok(()) if begin == *MAGIC => {}
        Ok(()) => return Err(damaged(file, "it does not begin as a state does")),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            let len = handle.metadata().map_err(failed)?.len();
            return Err(damaged(file, format!("it has only {len} bytes")));
        }
        Err(error) => return Err(failed(error)),
    }
    let overlay = Overlay::new(handle.try_clone().map_err(failed)?)
        .map_err(|e| database_error(file, redb::Error::Io(e)))?;
    let database = builder()
        .create_with_backend(overlay.clone())
        .map_err(|e| database_error(file, e.into()))?;
    Ok((database, overlay))
}

/// The note beside the file of how far it goes: written after each write is on disk, and before it is answered. Without it a file
/// whose last write is damaged could not be told from one whose last write was never finished.
pub(super) struct Note(Option<File>);

impl Note {
    fn path(file: &Path) -> PathBuf {
        file.with_extension("version")
    }

    fn read(file: &Path) -> Option<u64> {
        fs::read_to_string(Self::path(file)).ok()?.trim().parse().ok()
    }

    /// Opens the note beside `file`. Writing goes on without one: it only tells damage.
    pub(super) fn open(file: &Path) -> Self {
        let path = Self::path(file);
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        if let Err(error) = &opened {
            tracing::warn!(file = %path.display(), %error, "cannot note how far the state goes");
        }
        Self(opened.ok())
    }

    /// Notes that everything up to `version` is on disk. Not synced: it must outlive the process, not the machine.
    pub(super) fn write(&self, version: u64) {
        let text = format!("{version:0DIGITS$}\n");
        if let Some(note) = &self.0
            && let Err(error) = note.write_all_at(text.as_bytes(), 0)
        {
            tracing::warn!(%error, "cannot note how far the state goes");
        }
    }
}
