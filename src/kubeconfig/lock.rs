//! The lock file beside a kubeconfig, as kubectl and kind take it: `<path>.lock`. A lock whose process was killed is taken over.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::KubeconfigError;
use crate::time::{Clock as _, SignedDuration, SystemClock, Timestamp};

/// How long to wait for somebody else's lock.
const PATIENCE: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(20);
/// A lock that does not say whose it is counts as forgotten after this time: it is held for milliseconds.
const FORGOTTEN: SignedDuration = SignedDuration::from_secs(60);
/// What a lock of this program says, before the id of its process.
const WORD: &str = "machinectl ";

/// A lock that is held. It ends with the value.
pub(super) struct Lock(PathBuf);

impl Lock {
    /// Takes the lock of a file, or waits for it.
    ///
    /// # Errors
    /// Fails when somebody holds it for long, or when the folder can't be written.
    pub(super) fn take(path: &Path) -> Result<Self, KubeconfigError> {
        let lock = beside(path, "lock");
        let begun = Instant::now();
        loop {
            match create(&lock) {
                Ok(()) => return Ok(Self(lock)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if take_over(&lock) {
                        continue;
                    }
                    if begun.elapsed() > PATIENCE {
                        return Err(KubeconfigError::Locked {
                            path: path.to_owned(),
                            lock,
                        });
                    }
                    thread::sleep(RETRY);
                }
                Err(source) => return Err(KubeconfigError::Write { path: lock, source }),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A lock that can't be removed is named to the next one who waits for it.
        let _ignored = fs::remove_file(&self.0);
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

/// Makes the lock file with its content in one step: whoever finds it can read whose it is.
fn create(lock: &Path) -> io::Result<()> {
    let own = beside(lock, &std::process::id().to_string());
    fs::write(&own, format!("{WORD}{}", std::process::id()))?;
    let linked = fs::hard_link(&own, lock);
    fs::remove_file(&own)?;
    linked
}

/// Removes a lock that nobody holds any more. Returns whether it is gone.
fn take_over(lock: &Path) -> bool {
    let Ok(found) = fs::read_to_string(lock) else {
        return !lock.exists();
    };
    if !is_forgotten(lock, &found) {
        return false;
    }
    // Only one of those who see the same old lock may remove it, and none a new one in its place.
    let aside = beside(lock, &format!("{}.old", std::process::id()));
    if fs::rename(lock, &aside).is_err() {
        return !lock.exists();
    }
    let same = fs::read_to_string(&aside).is_ok_and(|now| now == found);
    if !same {
        // Somebody was faster and holds it now. Should a third one have come, that one has it, too: for milliseconds, at worst.
        let _ignored = fs::hard_link(&aside, lock);
    }
    let _ignored = fs::remove_file(&aside);
    same
}

fn is_forgotten(lock: &Path, text: &str) -> bool {
    let age = fs::metadata(lock)
        .and_then(|m| m.modified())
        .ok()
        .and_then(|made| Timestamp::try_from(made).ok())
        .map(|made| SystemClock.now().duration_since(made));
    let holder = text
        .strip_prefix(WORD)
        .and_then(|id| id.trim().parse::<u32>().ok());
    let processes = Path::new("/proc");
    match holder {
        Some(id) if processes.join("self").exists() => !processes.join(id.to_string()).exists(),
        _ => age.is_some_and(|age| age > FORGOTTEN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_of_a_process_that_is_gone_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        // No process has this id: it is beyond what Linux gives out.
        fs::write(dir.path().join("config.lock"), format!("{WORD}4294967")).unwrap();
        let held = Lock::take(&path).unwrap();
        let text = fs::read_to_string(dir.path().join("config.lock")).unwrap();
        assert_eq!(text, format!("{WORD}{}", std::process::id()));
        assert!(!take_over(&dir.path().join("config.lock")), "its process lives");
        drop(held);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_lock_that_does_not_say_whose_it_is_counts_for_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("config.lock");
        fs::write(&lock, "").unwrap();
        assert!(!take_over(&lock));
        let old = std::time::SystemTime::from(SystemClock.now() - FORGOTTEN - SignedDuration::from_secs(1));
        fs::File::options()
            .write(true)
            .open(&lock)
            .unwrap()
            .set_modified(old)
            .unwrap();
        assert!(take_over(&lock));
    }
}
