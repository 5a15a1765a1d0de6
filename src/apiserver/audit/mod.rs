//! The audit log: one line of JSON a request, in a file. It must not keep a request waiting: a thread of its own writes, and what it
//! can't keep up with is lost, and counted.

mod event;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

pub(crate) use self::event::{Event, Failure, Stage};

/// Events that wait for the disk; at some 1,000 bytes each.
const BUFFER: usize = 4096;
/// Bytes that are written at once.
const CHUNK: usize = 256 << 10;

/// An audit log. When it is closed or dropped, what waits is written first.
pub struct AuditLog {
    queue: Mutex<Option<SyncSender<Event>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    counts: Arc<Counts>,
}

/// What became of the events.
#[derive(Default)]
struct Counts {
    taken: AtomicU64,
    lost: AtomicU64,
}

/// Says once what is wrong.
type Complain = Box<dyn Fn(&str) + Send>;

impl std::fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuditLog").finish_non_exhaustive()
    }
}

impl AuditLog {
    /// Opens a file to append to, and makes it with mode 0600 if there is none. `complain` is told, once, if it can't be written later.
    ///
    /// # Errors
    /// The file can't be opened.
    pub fn open(path: &Path, complain: impl Fn(&str) + Send + 'static) -> io::Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        Self::start(file, path, Box::new(complain))
    }

    fn start(file: impl Write + Send + 'static, path: &Path, complain: Complain) -> io::Result<Self> {
        let (queue, events) = sync_channel(BUFFER);
        let counts = Arc::<Counts>::default();
        let mut writer = Writer {
            file,
            name: path.display().to_string(),
            counts: Arc::clone(&counts),
            complain,
            complained: AtomicBool::new(false),
            torn: false,
        };
        let thread = std::thread::Builder::new()
            .name("apiserver-audit".to_owned())
            .spawn(move || writer.run(&events))?;
        Ok(Self {
            queue: Mutex::new(Some(queue)),
            thread: Mutex::new(Some(thread)),
            counts,
        })
    }

    /// Takes an event; it is lost if too many wait already.
    pub(crate) fn tell(&self, event: Event) {
        self.counts.taken.fetch_add(1, Ordering::Relaxed);
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = queue.as_ref().is_some_and(|queue| queue.try_send(event).is_ok());
        if !taken {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many events there were.
    pub(crate) fn taken(&self) -> u64 {
        self.counts.taken.load(Ordering::Relaxed)
    }

    /// How many of them did not get into the file.
    pub(crate) fn lost(&self) -> u64 {
        self.counts.lost.load(Ordering::Relaxed)
    }

    /// Writes what waits, and takes no more. Blocks.
    pub(crate) fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            thread.join().ok();
        }
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        self.close();
    }
}

struct Writer<W> {
    file: W,
    name: String,
    counts: Arc<Counts>,
    complain: Complain,
    complained: AtomicBool,
    /// Whether what is in the file ends in the middle of a line.
    torn: bool,
}

impl<W: Write> Writer<W> {
    /// Writes events until nobody can send any more.
    fn run(&mut self, events: &Receiver<Event>) {
        let mut chunk = Vec::new();
        while let Ok(first) = events.recv() {
            let mut count = 0;
            let mut next = Some(first);
            while let Some(event) = next {
                count += 1;
                // An event is made of text alone: it can be written as JSON.
                if serde_json::to_writer(&mut chunk, &event).is_ok() {
                    chunk.push(b'\n');
                }
                next = if chunk.len() < CHUNK {
                    events.try_recv().ok()
                } else {
                    None
                };
            }
            if let Err(error) = self.write(&chunk) {
                self.counts.lost.fetch_add(count, Ordering::Relaxed);
                self.say(&error);
            }
            chunk.clear();
        }
    }

    /// Writes lines, and remembers whether the last one was torn off.
    fn write(&mut self, mut rest: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.write_all(b"\n")?;
            self.torn = false;
        }
        while !rest.is_empty() {
            let count = match self.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.torn = rest.get(count - 1).is_none_or(|byte| *byte != b'\n');
            rest = &rest[count..];
        }
        Ok(())
    }

    fn say(&self, error: &io::Error) {
        if !self.complained.swap(true, Ordering::Relaxed) {
            (self.complain)(&format!(
                "the audit log {} can't be written: {error}; the server goes on, and what it can't write is lost",
                self.name
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::request::RequestInfo;
    use super::*;

    fn event(path: &str) -> Event {
        let (parts, ()) = http::Request::get(path).body(()).unwrap().into_parts();
        let what = RequestInfo::of(&parts.method, path, "");
        Event::new("", &what, &parts, None, crate::time::Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn all_that_was_told_is_in_the_file_when_the_log_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        for _ in 0..2 {
            let log = AuditLog::open(&path, |_| {}).unwrap();
            for n in 0..100 {
                log.tell(event(&format!("/{n}")));
            }
            log.close();
            log.tell(event("/late"));
            assert_eq!((log.taken(), log.lost()), (101, 1));
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let uris: Vec<_> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["requestURI"].clone())
            .collect();
        assert_eq!(
            (uris.len(), &uris[0], &uris[199]),
            (200, &"/0".into(), &"/99".into())
        );
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    /// A disk that is full.
    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_that_cannot_be_written_is_complained_about_once() {
        let said = Arc::new(Mutex::new(Vec::new()));
        let complain = {
            let said = Arc::clone(&said);
            move |text: &str| said.lock().unwrap().push(text.to_owned())
        };
        let log = AuditLog::start(Full, Path::new("/x/audit.log"), Box::new(complain)).unwrap();
        for _ in 0..3 {
            log.tell(event("/"));
            // Each is tried anew.
            while log.lost() < log.taken() {
                std::thread::yield_now();
            }
        }
        log.close();
        assert_eq!(log.lost(), 3);
        let said = said.lock().unwrap();
        assert!(said.len() == 1 && said[0].contains("/x/audit.log"), "{said:?}");
    }

    #[test]
    fn a_line_that_was_torn_off_spoils_no_other() {
        /// A disk that is full once, in the middle of a line.
        #[derive(Default)]
        struct Small(Arc<Mutex<Vec<u8>>>, u32);

        impl Write for Small {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.1 += 1;
                let count = match self.1 {
                    1 => 10,
                    2 => return Err(io::ErrorKind::StorageFull.into()),
                    _ => bytes.len(),
                };
                let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                all.extend_from_slice(&bytes[..count]);
                Ok(count)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let written = Arc::<Mutex<Vec<u8>>>::default();
        let log = AuditLog::start(Small(Arc::clone(&written), 0), Path::new("x"), Box::new(|_| {})).unwrap();
        log.tell(event("/lost"));
        while log.lost() == 0 {
            std::thread::yield_now();
        }
        log.tell(event("/kept"));
        log.close();
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let last = text.lines().last().unwrap();
        assert!(
            text.lines().count() == 2 && last.starts_with('{') && last.contains("/kept"),
            "{text}"
        );
    }

    #[test]
    fn what_waits_is_bounded() {
        /// A disk that does not answer until it is let go.
        struct Stuck(std::sync::mpsc::Receiver<()>);

        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.recv().ok();
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let (release, stuck) = std::sync::mpsc::channel();
        let log = AuditLog::start(Stuck(stuck), Path::new("x"), Box::new(|_| {})).unwrap();
        let most = 2 * BUFFER as u64 + CHUNK as u64;
        while log.lost() == 0 {
            log.tell(event("/"));
            assert!(log.taken() < most);
        }
        drop(release);
        log.close();
        assert!(log.lost() < log.taken());
    }
}
