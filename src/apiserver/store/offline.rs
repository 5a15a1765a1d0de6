//! What can be done with a file that no store has open. It must not keep anything of it.

use std::path::Path;

use super::OpenError;
use super::file;
use super::stored::Stored;

/// What a file says of itself.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) format: u64,
    /// The resourceVersion of the last write.
    pub(crate) version: u64,
    pub(crate) bytes: u64,
    /// What is wrong with it, a line each.
    pub(crate) flaws: Vec<String>,
}

/// Reads a file from end to end, against all its checksums, and gives the objects that are whole to `each`. Nothing changes.
pub(crate) fn read(path: &Path, each: impl FnMut(Stored)) -> Result<Found, OpenError> {
    let (content, noted, bytes) = file::inspect(path, each)?;
    let mut flaws: Vec<String> = content.flaws.iter().map(ToString::to_string).collect();
    if let Some(noted) = noted.filter(|noted| *noted > content.version) {
        flaws.push(file::too_short(content.version, noted));
    }
    Ok(Found {
        format: content.format,
        version: content.version,
        bytes,
        flaws,
    })
}

/// Makes a file as small as it can be, and returns how many bytes it had and has.
pub(crate) fn compact(path: &Path) -> Result<(u64, u64), OpenError> {
    let length = || {
        let read = std::fs::metadata(path).map(|m| m.len());
        read.map_err(|source| file::unreadable(path, source))
    };
    // A file that is not whole is refused: what is left of it should not be moved around.
    let (mut database, _, _lock) = file::open(path, |_| {})?;
    let before = length()?;
    // Once is not always enough: what a round frees can be given back by the next.
    while database
        .compact()
        .map_err(|error| file::unreadable(path, error))?
    {}
    drop(database);
    Ok((before, length()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Change, Expect, FILE, History, Key, Store};
    use super::*;

    async fn fill(dir: &Path, count: usize) {
        let store = Store::open(dir, Vec::new(), History::default()).unwrap();
        for n in 0..count {
            let name = format!("n{n}");
            let object = json!({"metadata": {"name": name, "uid": name}, "data": "x".repeat(20_000)});
            let put = Change::Put(object.clone());
            let made = store
                .write(Key::new("things", "", &name), Expect::Absent, put)
                .await;
            let expect = Expect::Version(made.unwrap().version);
            // All but the last one go.
            if n + 1 < count {
                let key = Key::new("things", "", &name);
                store.write(key, expect, Change::Delete(object)).await.unwrap();
            }
        }
        store.close();
    }

    #[tokio::test]
    async fn a_file_gets_small_and_keeps_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path(), 40).await;
        let path = dir.path().join(FILE);
        let (before, after) = compact(&path).unwrap();
        assert!(after < before, "{before} {after}");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), after);
        let mut names = Vec::new();
        let found = read(&path, |stored| names.push(stored.key.name.to_string())).unwrap();
        assert_eq!((names, found.flaws), (vec!["n39".to_owned()], Vec::new()));
        assert_eq!((found.version, found.bytes), (80, after));
        let store = Store::open(dir.path(), Vec::new(), History::default()).unwrap();
        assert_eq!(store.version(), 80);
    }

    #[tokio::test]
    async fn a_file_that_is_read_stays_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path(), 3).await;
        let path = dir.path().join(FILE);
        let before = std::fs::read(&path).unwrap();
        read(&path, |_| {}).unwrap();
        assert!(std::fs::read(&path).unwrap() == before);
        // What the note beside it says is missed.
        std::fs::write(path.with_extension("version"), "99\n").unwrap();
        let flaws = read(&path, |_| {}).unwrap().flaws;
        assert_eq!(flaws, ["it ends with resourceVersion 6, but 99 had been written"]);
        assert!(matches!(compact(&path), Err(OpenError::Damaged { .. })));
        assert!(std::fs::read(&path).unwrap() == before);
    }

    #[tokio::test]
    async fn a_file_that_is_open_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path(), 1).await;
        let path = dir.path().join(FILE);
        let _store = Store::open(dir.path(), Vec::new(), History::default()).unwrap();
        assert!(matches!(read(&path, |_| {}), Err(OpenError::InUse(_))));
        assert!(matches!(compact(&path), Err(OpenError::InUse(_))));
    }
}
