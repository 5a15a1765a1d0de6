//! Files and folders: written for their owner alone, complete or not at all, several at once.
//!
//! A backup is written into a folder of its own within the directory. When its manifest is there, it is complete, and takes the place of the old one.
//! Whoever comes after an interruption finishes that. So at each moment one complete backup is there, if there ever was one.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use super::{
    DirectoryError, failed,
    format::{MANIFEST, PARTS},
};

/// Where a new backup is written.
const NEW: &str = ".machinectl-new";

/// What some file systems have at their top; it is nobody's.
pub(super) const LOST_AND_FOUND: &str = "lost+found";

/// The folder for a new backup in a directory.
pub(super) fn fresh(dir: &Path) -> PathBuf {
    dir.join(NEW)
}

/// Whether a name in a directory is that of the folder for a new backup.
pub(super) fn is_fresh(name: &str) -> bool {
    name == NEW
}

/// Makes a folder, and those above it, for its owner alone.
pub(super) fn make_folder(path: &Path) -> Result<(), DirectoryError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(failed("create", path))
}

/// Closes a folder that was there to all others. Where that is not allowed (a mounted disk), the files are still closed.
pub(super) fn close_folder(path: &Path) {
    if let Err(error) = fs::set_permissions(path, fs::Permissions::from_mode(0o700)) {
        tracing::debug!(path = %path.display(), %error, "the folder keeps its mode");
    }
}

/// Writes a new file for its owner alone. It is on disk after [`settle`].
pub(super) fn write_file(path: &Path, content: &[u8]) -> Result<(), DirectoryError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let written = options.open(path).and_then(|mut file| {
        file.write_all(content)?;
        if cfg!(target_os = "linux") {
            Ok(())
        } else {
            file.sync_all()
        }
    });
    written.map_err(failed("write", path))
}

/// All files that were written in a folder are on disk. Asked once for all of them: one by one, thousands of files would take minutes on slow disks.
pub(super) fn settle(path: &Path) -> Result<(), DirectoryError> {
    let folder = File::open(path).map_err(failed("write", path))?;
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(&folder).map_err(|e| failed("write", path)(e.into()))?;
    folder.sync_all().map_err(failed("write", path))
}

/// Puts a complete new backup, if there is one, in the place of the old one. It may be interrupted at any point and done again.
pub(super) fn take_over(dir: &Path) -> Result<(), DirectoryError> {
    let new = fresh(dir);
    if !new.join(MANIFEST).is_file() {
        return Ok(());
    }
    let old = dir.join(MANIFEST);
    remove(&old, fs::remove_file(&old))?;
    for part in PARTS {
        let (from, to) = (new.join(part), dir.join(part));
        // Both parts are always written: one that is not there has taken its place already.
        if from.is_dir() {
            remove(&to, fs::remove_dir_all(&to))?;
            fs::rename(&from, &to).map_err(failed("move into place", &from))?;
        }
    }
    let from = new.join(MANIFEST);
    fs::rename(&from, &old).map_err(failed("move into place", &from))?;
    fs::remove_dir_all(&new).map_err(failed("remove", &new))?;
    settle(dir)
}

/// Removes what an interrupted write has left.
pub(super) fn clear(dir: &Path) -> Result<(), DirectoryError> {
    let new = fresh(dir);
    remove(&new, fs::remove_dir_all(&new))
}

fn remove(path: &Path, result: io::Result<()>) -> Result<(), DirectoryError> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Does something with each of many things, on all processors. Stops at the first failure.
pub(super) fn each<T: Sync, R: Send, E: Send>(
    all: &[T],
    job: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        let mut done = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(one) = all.get(index) else { break };
            let result = job(one).inspect_err(|_| stop.store(true, Ordering::Relaxed))?;
            done.push((index, result));
        }
        Ok(done)
    };
    let workers = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(all.len().div_ceil(64))
        .max(1);
    let mut results = thread::scope(|scope| {
        let others: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
        let mut results = work()?;
        for other in others {
            // A worker that panicked has said why; the process ends with it where it is shipped.
            if let Ok(more) = other.join() {
                results.extend(more?);
            }
        }
        Ok::<_, E>(results)
    })?;
    results.sort_unstable_by_key(|(index, _)| *index);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_shared_and_results_stay_in_order() {
        let all: Vec<usize> = (0..1000).collect();
        let doubled = each(&all, |n| Ok::<_, ()>(n * 2)).unwrap();
        assert_eq!(doubled, all.iter().map(|n| n * 2).collect::<Vec<_>>());
        assert_eq!(each(&all, |n| if *n == 500 { Err(*n) } else { Ok(()) }), Err(500));
        assert_eq!(each(&[] as &[u8], |_| Ok::<u8, ()>(0)), Ok(vec![]));
    }
}
