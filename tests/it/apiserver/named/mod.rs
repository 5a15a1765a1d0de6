//! Named cases of what an API server answers, as data: `docs/testing.md` tells how to write one. They are read when the
//! tests run, so a new case needs no compiler. They speak only to a client.

mod format;
mod run;
mod values;

use std::path::PathBuf;

/// Where the files are.
fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/apiserver/named"))
}

/// Makes a test of each file for each kind of server.
macro_rules! files {
    (@on $server:ident: $($name:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let place = crate::apiserver::Place::$server().await;
                super::run::file(stringify!($name), place).await;
            }
        )*
    };
    ($($name:ident),* $(,)?) => {
        const FILES: &[&str] = &[$(stringify!($name)),*];
        mod embedded {
            files!(@on embedded: $($name)*);
        }
        mod kubernetes {
            files!(@on kubernetes: $($name)*);
        }
    };
}

files! {
    apply,
    collections,
    definitions,
    deletions,
    discovery,
    forms,
    input,
    kinds,
    patches,
    schemas,
    subresources,
    watches,
    writes,
}

#[test]
fn every_file_is_run_and_every_name_is_told_once() {
    let mut found: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    found.sort();
    assert_eq!(found, FILES);
    let mut names: Vec<String> = found
        .iter()
        .flat_map(|f| format::Case::read(f))
        .map(|c| c.name)
        .collect();
    names.sort();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "two cases have one name");
}
