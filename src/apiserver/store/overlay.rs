//! A database file that is looked at before it is used: what redb writes to it stays in memory until all of it has been judged, and
//! only then goes to the file, in the same order. It must not know what is in the file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{BackendError, StorageBackend};

const PAGE: usize = 4096;
/// Byte of the file's header that says how it was closed.
const STATE_AT: u64 = 9;
/// Bit of it that asks for a repair.
const REPAIR: u8 = 2;
/// Bit of it that says that the last write needs no checking.
const TRUSTED: u8 = 4;

/// Everything that `redb` needs of a file; see the module. Clones are the same file. Who makes it has locked the file, and the lock
/// lasts as long as the last clone.
#[derive(Debug, Clone)]
pub(super) struct Overlay(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: File,
    /// Whether everything goes to the file now.
    released: AtomicBool,
    pages: Mutex<Pages>,
}

/// What is to be done to the file.
#[derive(Debug)]
enum Step {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

impl Step {
    fn take(&self, file: &File) -> io::Result<()> {
        match self {
            Self::Write(offset, data) => tried(|| file.write_all_at(data, *offset)),
            Self::SetLen(len) => tried(|| file.set_len(*len)),
            Self::Sync => tried(|| file.sync_data()),
        }
    }
}

#[derive(Debug)]
struct Pages {
    /// What was done so far.
    steps: Vec<Step>,
    len: u64,
    /// So much of the file shows through: it was cut off there once.
    whole: u64,
    written: BTreeMap<u64, Box<[u8; PAGE]>>,
}

impl Overlay {
    /// Looks at `file`. It is shown as one that was not closed, however it was: then redb checks all of it against its checksums.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        let pages = Pages {
            steps: Vec::new(),
            len,
            whole: len,
            written: BTreeMap::new(),
        };
        let overlay = Self(Arc::new(Inner {
            file,
            released: AtomicBool::new(false),
            pages: Mutex::new(pages),
        }));
        let mut state = [0];
        overlay.read(STATE_AT, &mut state)?;
        overlay.write(STATE_AT, &[(state[0] | REPAIR) & !TRUSTED])?;
        Ok(overlay)
    }

    /// Does to the file what was only shown so far. From now on everything goes to the file.
    pub(super) fn release(&self) -> io::Result<()> {
        let mut pages = self.pages();
        for step in std::mem::take(&mut pages.steps) {
            step.take(&self.0.file)?;
        }
        pages.written.clear();
        self.0.released.store(true, Ordering::Release);
        Ok(())
    }

    /// Returns the file, if everything goes to it.
    fn direct(&self) -> Option<&File> {
        self.0.released.load(Ordering::Acquire).then_some(&self.0.file)
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a part of one page.
    fn read_part(&self, pages: &Pages, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (page, at) = place(offset);
        if let Some(written) = pages.written.get(&page) {
            out.copy_from_slice(&written[at..at + out.len()]);
            return Ok(());
        }
        let there = usize::try_from(pages.whole.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (there, beyond) = out.split_at_mut(there.min(out.len()));
        beyond.fill(0);
        self.0.file.read_exact_at(there, offset)
    }
}

/// Does something to the file.
#[cfg(not(test))]
pub(super) fn tried(step: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    step()
}

/// Does something to the file, if the disk of a test does not fail.
#[cfg(test)]
pub(super) fn tried(step: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    broken::tried(step)
}

/// A disk that fails.
#[cfg(test)]
pub(super) mod broken {
    use std::cell::Cell;
    use std::io;

    thread_local! {
        /// After how many steps of this thread the disk fails.
        static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
    }

    /// Lets the disk of this thread fail after so many steps. The step with which that begins is done, but said to have failed.
    pub(in super::super) fn fail_after(steps: usize) {
        LEFT.set(steps);
    }

    /// Ends that. Returns whether the disk has failed.
    pub(in super::super) fn mend() -> bool {
        LEFT.replace(usize::MAX) == 0
    }

    pub(super) fn tried(step: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match LEFT.get() {
            usize::MAX => return step(),
            0 => {}
            1 => {
                LEFT.set(0);
                step()?;
            }
            left => {
                LEFT.set(left - 1);
                return step();
            }
        }
        Err(io::Error::other("the disk fails"))
    }
}

/// The page of an offset, and where in it that is.
fn place(offset: u64) -> (u64, usize) {
    let page = PAGE as u64;
    (offset / page, usize::try_from(offset % page).unwrap_or_default())
}

/// How many of `len` bytes at `offset` are in the first page of them.
fn in_page(offset: u64, len: usize) -> usize {
    len.min(PAGE - place(offset).1)
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        match self.direct() {
            Some(file) => Ok(file.metadata()?.len()),
            None => Ok(self.pages().len),
        }
    }

    fn read(&self, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        if let Some(file) = self.direct() {
            return file.read_exact_at(out, offset);
        }
        let pages = self.pages();
        if offset.saturating_add(out.len() as u64) > pages.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while !out.is_empty() {
            let (part, rest) = out.split_at_mut(in_page(offset, out.len()));
            self.read_part(&pages, offset, part)?;
            offset += part.len() as u64;
            out = rest;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if let Some(file) = self.direct() {
            return tried(|| file.set_len(len));
        }
        let mut pages = self.pages();
        pages.steps.push(Step::SetLen(len));
        if len < pages.len {
            let (last, at) = place(len);
            let beyond = if at == 0 { last } else { last + 1 };
            pages.written.split_off(&beyond);
            if at > 0
                && let Some(cut) = pages.written.get_mut(&last)
            {
                cut[at..].fill(0);
            }
            pages.whole = pages.whole.min(len);
        }
        pages.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        if let Some(file) = self.direct() {
            return tried(|| file.sync_data());
        }
        self.pages().steps.push(Step::Sync);
        Ok(())
    }

    fn write(&self, mut offset: u64, mut data: &[u8]) -> io::Result<()> {
        if let Some(file) = self.direct() {
            return tried(|| file.write_all_at(data, offset));
        }
        let mut pages = self.pages();
        pages.steps.push(Step::Write(offset, data.to_vec()));
        while !data.is_empty() {
            let (part, rest) = data.split_at(in_page(offset, data.len()));
            let (page, at) = place(offset);
            if !pages.written.contains_key(&page) {
                let mut copy = Box::new([0; PAGE]);
                if part.len() < PAGE {
                    self.read_part(&pages, page * PAGE as u64, &mut copy[..])?;
                }
                pages.written.insert(page, copy);
            }
            if let Some(written) = pages.written.get_mut(&page) {
                written[at..at + part.len()].copy_from_slice(part);
            }
            offset += part.len() as u64;
            data = rest;
        }
        pages.len = pages.len.max(offset);
        Ok(())
    }

    // Who looks at the file holds its lock already.
    fn try_lock_range(&self, _start: Bound<u64>, _end: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn try_lock_shared_range(&self, _start: Bound<u64>, _end: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn unlock_range(&self, _start: Bound<u64>, _end: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back_and_goes_to_the_file_at_once(
            size in 10_usize..9000,
            steps in prop::collection::vec((0_usize..20_000, 0_usize..9000, any::<u8>(), any::<bool>()), 1..20),
        ) {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            let before: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect();
            file.write_all(&before).unwrap();
            let overlay = Overlay::new(file.reopen().unwrap()).unwrap();
            let mut model = before.clone();
            model[9] = (model[9] | REPAIR) & !TRUSTED;
            for (at, len, byte, cut) in steps {
                if cut {
                    overlay.set_len(at as u64).unwrap();
                    model.resize(at, 0);
                } else {
                    overlay.write(at as u64, &vec![byte; len]).unwrap();
                    if len > 0 {
                        model.resize(model.len().max(at + len), 0);
                        model[at..at + len].fill(byte);
                    }
                }
                let mut all = vec![1; model.len()];
                overlay.read(0, &mut all).unwrap();
                prop_assert!(all == model);
                prop_assert_eq!(StorageBackend::len(&overlay).unwrap(), model.len() as u64);
            }
            prop_assert!(overlay.read(model.len() as u64, &mut [0]).is_err());
            prop_assert!(std::fs::read(file.path()).unwrap() == before);
            overlay.release().unwrap();
            prop_assert!(std::fs::read(file.path()).unwrap() == model);
            overlay.write(1, &[7]).unwrap();
            prop_assert_eq!(std::fs::read(file.path()).unwrap()[1], 7);
        }
    }
}
