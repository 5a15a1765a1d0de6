//! What a state survives, and what it refuses: processes that are killed while they write, bytes that flip, files that are cut off,
//! and files of other releases.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::*;

const CHILD: &str = "MACHINECTL_TEST_WRITES_INTO";
const WRITERS: usize = 16;

fn key(name: &str) -> Key {
    Key::new("configmaps", "default", name)
}

fn object(name: &str, data: usize) -> Value {
    json!({"metadata": {"name": name, "uid": format!("u-{name}")}, "data": {"n": data, "filling": "x".repeat(data % 3000)}})
}

/// Opens a state. A process that another test is just starting holds all open files, and their locks, for a moment.
fn open(dir: &Path) -> Result<Store, OpenError> {
    for _ in 0..200 {
        match Store::open(dir, Vec::new(), History::default()) {
            Err(OpenError::InUse(_)) => std::thread::sleep(Duration::from_millis(10)),
            other => return other,
        }
    }
    Err(OpenError::InUse(dir.display().to_string()))
}

/// The number in each object.
fn numbers(store: &Store) -> BTreeMap<String, usize> {
    let all = store.list("configmaps", None).1;
    all.iter()
        .map(|stored| {
            let number = stored.value("v1", "ConfigMap")["data"]["n"].as_u64().unwrap();
            (stored.key.name.to_string(), usize::try_from(number).unwrap())
        })
        .collect()
}

async fn put(store: &Store, name: &str, number: usize) {
    let there = store.get("configmaps", "default", name);
    let expect = there.map_or(Expect::Absent, |stored| Expect::Version(stored.version));
    store
        .write(key(name), expect, Change::Put(object(name, number)))
        .await
        .unwrap();
}

/// Writes for ever, and says of each write that it has been answered.
async fn write_until_killed(dir: &Path) {
    let store = open(dir).unwrap();
    let writers = (0..WRITERS).map(|writer| {
        let store = store.clone();
        async move {
            let name = format!("object-{writer}");
            let mut number = numbers(&store).get(&name).map_or(0, |n| n + 1);
            loop {
                put(&store, &name, number).await;
                let mut out = std::io::stdout().lock();
                out.write_all(format!("ACK {name} {number}\n").as_bytes())
                    .unwrap();
                out.flush().unwrap();
                number += 1;
            }
        }
    });
    futures::future::join_all(writers).await;
}

/// Starts a process that writes, kills it after `life`, and returns what it had been told is written.
fn killed_while_writing(dir: &Path, life: Duration) -> BTreeMap<String, usize> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "apiserver::store::crash_tests::nothing_answered_is_lost_when_writers_are_killed",
            "--exact",
            "--nocapture",
        ])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let killer = std::thread::spawn(move || {
        std::thread::sleep(life);
        child.kill().unwrap();
        child.wait().unwrap();
    });
    let mut answered = BTreeMap::new();
    for line in out.lines().map_while(Result::ok) {
        // The harness may have begun the first of these lines.
        let Some((_, rest)) = line.split_once("ACK ") else {
            continue;
        };
        if let Some((name, number)) = rest.split_once(' ') {
            answered.insert(name.to_owned(), number.parse().unwrap());
        }
    }
    killer.join().unwrap();
    answered
}

fn kill_writers(rounds: usize) {
    let dir = tempfile::tempdir().unwrap();
    let (mut answered, mut seen) = (BTreeMap::new(), 0);
    for round in 0..rounds {
        let life = Duration::from_millis(rand::random_range(40..400));
        let now = killed_while_writing(dir.path(), life);
        seen += now.len();
        answered.extend(now);
        let store = open(dir.path()).unwrap();
        let found = numbers(&store);
        for (name, number) in &answered {
            let found = found.get(name);
            assert!(
                found >= Some(number),
                "round {round}: {name} is {found:?}, answered was {number}"
            );
        }
    }
    assert!(seen > 0, "nothing was ever written");
}

#[test]
fn nothing_answered_is_lost_when_writers_are_killed() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(write_until_killed(Path::new(&dir)));
    }
    kill_writers(8);
}

#[test]
#[ignore = "the long form: minutes"]
fn nothing_answered_is_lost_in_many_rounds() {
    kill_writers(200);
}

/// A state with some objects in it, and a folder to try copies of it in.
struct Whole {
    bytes: Vec<u8>,
    note: Vec<u8>,
    numbers: BTreeMap<String, usize>,
    dir: tempfile::TempDir,
}

impl Whole {
    /// `closed`: whether the process came to its end.
    async fn new(closed: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        for number in 0..60 {
            put(&store, &format!("object-{}", number % 20), number).await;
        }
        let numbers = numbers(&store);
        if closed {
            store.close();
        }
        let (bytes, note) = (
            fs::read(dir.path().join("state.redb")).unwrap(),
            fs::read(dir.path().join("state.version")).unwrap(),
        );
        store.close();
        Self {
            bytes,
            note,
            numbers,
            dir,
        }
    }

    /// Opens changed bytes. Fails unless they are refused and left alone, or all that was written is there.
    fn try_out(&self, bytes: &[u8], what: &str) -> bool {
        let file = self.dir.path().join("state.redb");
        fs::write(&file, bytes).unwrap();
        fs::write(self.dir.path().join("state.version"), &self.note).unwrap();
        match open(self.dir.path()) {
            Ok(store) => {
                assert!(numbers(&store) == self.numbers, "{what}: something is lost");
                true
            }
            Err(error) => {
                assert!(
                    matches!(
                        error,
                        OpenError::Damaged { .. }
                            | OpenError::NewerFormat { .. }
                            | OpenError::Unreadable { .. }
                    ),
                    "{what}: {error}"
                );
                assert!(
                    fs::read(&file).unwrap() == bytes,
                    "{what}: refused, but changed: {error}"
                );
                false
            }
        }
    }

    fn damage(&self, flips: usize, cuts: usize) {
        assert!(self.try_out(&self.bytes, "as it was left"));
        let used = self.bytes.iter().rposition(|b| *b != 0).unwrap();
        let mut refused = 0;
        // Each byte that says how the file was closed and where its contents begin, and some of the others.
        let header = (0..320).step_by(3);
        let others = (0..flips)
            .map(|_| rand::random_range(320..=used))
            .collect::<Vec<_>>();
        for at in header.chain([9, 9, 9]).chain(others) {
            let mut bytes = self.bytes.clone();
            bytes[at] ^= 1 << rand::random_range(0..8);
            let what = format!("byte {at} is {:#x}, was {:#x}", bytes[at], self.bytes[at]);
            refused += usize::from(!self.try_out(&bytes, &what));
        }
        for cut in 0..cuts {
            let len = if cut < 12 {
                cut
            } else {
                rand::random_range(0..self.bytes.len())
            };
            let whole = self.try_out(&self.bytes[..len], &format!("cut off at {len}"));
            refused += usize::from(!whole);
        }
        assert!(refused > cuts / 2, "damage is noticed: {refused}");
    }
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_left_alone_or_all_is_there() {
    for closed in [true, false] {
        Whole::new(closed).await.damage(60, 20);
    }
}

#[tokio::test]
#[ignore = "the long form: minutes"]
async fn many_damaged_files_are_refused_and_left_alone_or_all_is_there() {
    for closed in [true, false] {
        Whole::new(closed).await.damage(5000, 1000);
    }
}

#[tokio::test]
async fn an_empty_file_is_no_new_state() {
    let whole = Whole::new(true).await;
    assert!(!whole.try_out(&[], "empty"));
    let error = open(whole.dir.path()).err().unwrap().to_string();
    assert!(error.contains("it has only 0 bytes"), "{error}");
}

#[tokio::test]
async fn a_state_that_lost_its_last_writes_is_refused() {
    let mut whole = Whole::new(true).await;
    whole.note = b"00000000000000000099\n".to_vec();
    assert!(!whole.try_out(&whole.bytes, "too short"));
    let error = open(whole.dir.path()).err().unwrap().to_string();
    assert!(error.contains("but 99 had been written"), "{error}");
}

#[tokio::test]
async fn a_file_of_a_newer_release_is_left_alone_even_if_it_was_not_closed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state.redb");
    format::forge(
        &file,
        format::FORMAT + 1,
        &[(("things", "", "a"), b"of no known form")],
    );
    let mut bytes = fs::read(&file).unwrap();
    for unclosed in [0, 2] {
        bytes[9] |= unclosed;
        fs::write(&file, &bytes).unwrap();
        let error = open(dir.path()).err().unwrap();
        assert!(
            matches!(
                error,
                OpenError::NewerFormat {
                    found: 4,
                    known: 3,
                    ..
                }
            ),
            "{error}"
        );
        assert!(fs::read(&file).unwrap() == bytes);
    }
}

#[tokio::test]
async fn older_formats_are_read_and_become_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state.redb");
    let text = br#""metadata":{"name":"object-1","uid":"u","resourceVersion":"5"},"data":{"n":4}}"#;
    format::forge(&file, 1, &[(("configmaps", "default", "object-1"), text)]);
    for _ in 0..2 {
        let store = open(dir.path()).unwrap();
        assert_eq!(numbers(&store), [("object-1".to_owned(), 4)].into());
        assert_eq!(store.version(), 7);
        assert_eq!(store.get("configmaps", "default", "object-1").unwrap().version, 5);
    }
    // Now it has checksums: what is not as it was written is named.
    fs::remove_file(&file).unwrap();
    format::forge(&file, 2, &[(("configmaps", "default", "object-1"), text)]);
    let before = fs::read(&file).unwrap();
    let error = open(dir.path()).err().unwrap().to_string();
    assert!(
        error.contains("configmaps default/object-1: its checksum is wrong"),
        "{error}"
    );
    assert!(fs::read(&file).unwrap() == before);
}

#[tokio::test]
async fn the_version_in_which_an_object_was_written_outlives_the_process() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = open(dir.path()).unwrap();
        let object = json!({"apiVersion": "a.b/v1beta1", "metadata": {"name": "x", "uid": "u"}});
        let key = Key::new("things.a.b", "default", "x");
        store
            .write(key, Expect::Absent, Change::Put(object))
            .await
            .unwrap();
        store.close();
    }
    let store = open(dir.path()).unwrap();
    let stored = store.get("things.a.b", "default", "x").unwrap();
    assert_eq!(stored.written_in().as_deref(), Some("v1beta1"));
    assert_eq!(stored.value("a.b/v1beta1", "Thing")["metadata"]["name"], "x");
}

#[tokio::test]
async fn the_second_format_is_read_though_it_knows_no_versions() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state.redb");
    let place = ("configmaps", "default", "object-1");
    let text = br#""metadata":{"name":"object-1","uid":"u","resourceVersion":"5"},"data":{"n":4}}"#;
    let mut value = vec![0];
    value.extend(format::checksum(place, 0, text).to_le_bytes());
    value.extend_from_slice(text);
    format::forge(&file, 2, &[(place, &value)]);
    for _ in 0..2 {
        let store = open(dir.path()).unwrap();
        assert_eq!(numbers(&store), [("object-1".to_owned(), 4)].into());
        assert_eq!(store.get(place.0, place.1, place.2).unwrap().written_in(), None);
    }
}
