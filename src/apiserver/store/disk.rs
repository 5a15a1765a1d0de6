//! The file of a store while it is open, and how it comes back when the disk has failed for a while.
//! It must not know who waits for a write.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::Database;

use super::OpenError;
use super::file::{self, Note};
use super::format::{self, Content};
use super::state::{EventKind, State};
use super::stored::Stored;

/// One change of one object, with its version.
#[derive(Debug, Clone)]
pub(super) struct Write {
    pub(super) kind: EventKind,
    pub(super) stored: Arc<Stored>,
}

pub(super) struct Disk {
    file: PathBuf,
    /// Holds the lock as long as the store is open, whatever becomes of the database.
    handle: File,
    /// Nothing after a write has failed: the database takes no other one then, and need not know what is on disk.
    database: Option<Database>,
    note: Note,
    /// The transaction that failed. Its last step may have failed, so it may be in the file all the same.
    doubtful: Vec<Write>,
}

impl Disk {
    /// Opens a file and gives all objects in it to `each`.
    pub(super) fn open(file: &Path, each: impl FnMut(Stored)) -> Result<(Self, Content), OpenError> {
        let (database, content, handle) = file::open(file, each)?;
        let note = Note::open(file);
        note.write(content.version);
        let disk = Self {
            file: file.to_owned(),
            handle,
            database: Some(database),
            note,
            doubtful: Vec::new(),
        };
        Ok((disk, content))
    }

    /// Writes all objects in the newest format, in one transaction: a process that dies here leaves the old one.
    pub(super) fn migrate(&self, state: &State) -> Result<(), redb::Error> {
        let Some(database) = &self.database else {
            return Ok(());
        };
        let objects = state.all().map(|stored| (&stored.key, Some(&**stored)));
        format::write(database, objects, state.version)
    }

    /// Writes changes, all or none. If that fails, only [`Disk::recover`] can tell which.
    pub(super) fn write(&mut self, writes: &[Write]) -> Result<(), String> {
        let (Some(database), Some(last)) = (&self.database, writes.last()) else {
            return Err("it is not open".to_owned());
        };
        let changes = writes.iter().map(|write| {
            let left = (write.kind == EventKind::Put).then_some(&*write.stored);
            (&write.stored.key, left)
        });
        let version = last.stored.version;
        if let Err(error) = format::write(database, changes, version) {
            self.database = None;
            self.doubtful = writes.to_vec();
            return Err(error.to_string());
        }
        self.note.write(version);
        Ok(())
    }

    /// Opens the file again if a write has failed. `version` is how far it went before that. Returns what was written all the same, and is
    /// to be made visible.
    pub(super) fn recover(&mut self, version: u64) -> Result<Vec<Write>, String> {
        if self.database.is_some() {
            return Ok(Vec::new());
        }
        file::renew(&self.handle).map_err(|error| error.to_string())?;
        let reopened = file::reopen(&self.file, &self.handle);
        let (database, found) = reopened.map_err(|error| error.to_string())?;
        let intended = self.doubtful.last().map(|write| write.stored.version);
        if found != version && Some(found) != intended {
            return Err(format!("it goes up to {found}, not to {version}"));
        }
        self.database = Some(database);
        let mut written = std::mem::take(&mut self.doubtful);
        if found == version {
            written.clear();
        }
        tracing::info!(file = %self.file.display(), version = found, "the state can be written again");
        self.note.write(found);
        Ok(written)
    }
}
