//! A directory that is not what was written: each file is named with what is wrong and what to do, and nothing comes back.

use std::{fs, os::unix::fs::symlink, path::Path};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    tests::{IDENTITY, OTHER, identity, load, save, small},
    *,
};
use crate::pivot::fixtures::Paper;

const CLUSTER: &str = "namespaces/fleet/clusters.machine.crit.sh/dev.yaml";
const SECRET: &str = "namespaces/fleet/secrets/dev-ca.yaml";

/// A backup that something was done to.
fn damaged(change: impl FnOnce(&Path)) -> TempDir {
    let dir = TempDir::new().unwrap();
    save(dir.path(), &small(), &[]).unwrap();
    change(dir.path());
    dir
}

/// What comes of reading it. No message shows content.
fn after(change: impl FnOnce(&Path)) -> Result<Contents, DirectoryError> {
    let dir = damaged(change);
    load(dir.path()).inspect_err(|error| {
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("c2VjcmV0"), "{shown}");
    })
}

fn problems(change: impl FnOnce(&Path)) -> Vec<(String, String)> {
    match after(change) {
        Err(DirectoryError::Broken { problems, .. }) => {
            problems.into_iter().map(|p| (p.file, p.reason)).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// Changes the manifest, and its checksum with it.
fn forge(dir: &Path, change: impl FnOnce(&mut Manifest)) {
    let path = dir.join("manifest.json");
    let mut manifest: Manifest = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut manifest);
    manifest.digest = String::new();
    fs::write(path, manifest.text().unwrap()).unwrap();
}

#[test]
fn foreign_files_are_named() {
    let found = problems(|dir| {
        fs::write(dir.join("notes.txt"), "").unwrap();
        fs::write(dir.join("namespaces/fleet/secrets/.dev-ca.yaml.swp"), "").unwrap();
        symlink("/etc/passwd", dir.join("cluster/link")).unwrap();
    });
    let take = "it is no part of the backup; take it away".to_owned();
    assert_eq!(
        found,
        [
            ("cluster/link".to_owned(), take.clone()),
            (
                "namespaces/fleet/secrets/.dev-ca.yaml.swp".to_owned(),
                take.clone()
            ),
            ("notes.txt".to_owned(), take),
        ]
    );
}

#[test]
fn files_that_are_missing_cut_off_or_changed_are_all_named_at_once() {
    let found = problems(|dir| {
        fs::remove_file(dir.join(CLUSTER)).unwrap();
        let text = fs::read_to_string(dir.join(SECRET)).unwrap();
        fs::write(dir.join(SECRET), &text[..20]).unwrap();
        let provider = dir.join("cluster/infrastructureproviders.machine.crit.sh/docker.yaml");
        let text = fs::read_to_string(&provider).unwrap();
        fs::write(&provider, text.replace("docker", "dockes")).unwrap();
    });
    assert_eq!(found.len(), 3);
    assert!(
        found[0].1.starts_with("it was changed after it was written"),
        "{found:?}"
    );
    assert_eq!(found[1].0, CLUSTER);
    assert!(found[1].1.starts_with("it is missing"), "{found:?}");
    assert!(found[2].1.starts_with("it was cut off (20 of "), "{found:?}");
    let grown = problems(|dir| fs::write(dir.join(SECRET), "x".repeat(9999)).unwrap());
    assert!(grown[0].1.contains("checksum"), "{grown:?}");
    let linked = problems(|dir| {
        fs::rename(dir.join(SECRET), dir.join("namespaces/fleet/x")).unwrap();
        symlink("../x", dir.join(SECRET)).unwrap();
    });
    assert_eq!(linked.len(), 2, "{linked:?}");
}

#[test]
fn a_directory_without_a_manifest_or_with_a_damaged_one_is_refused() {
    let manifest = |text: &'static str| after(move |dir| fs::write(dir.join("manifest.json"), text).unwrap());
    assert!(matches!(
        after(|dir| fs::remove_file(dir.join("manifest.json")).unwrap()),
        Err(DirectoryError::NoBackup { .. })
    ));
    for text in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"kind":"MachineBackup"}"#,
        r#"{"kind":"List","formatVersion":1}"#,
    ] {
        let error = manifest(text).unwrap_err();
        assert!(
            matches!(error, DirectoryError::Manifest { .. }),
            "{text}: {error}"
        );
    }
    let error = manifest(r#"{"kind":"MachineBackup","formatVersion":1}"#)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("manifest.json is damaged: missing field"),
        "{error}"
    );
    let error =
        manifest(r#"{"kind":"MachineBackup","formatVersion":7,"tool":"machinectl 9.0.0","new":true}"#)
            .unwrap_err()
            .to_string();
    assert!(
        error.contains("has format version 7") && error.contains("(machinectl 9.0.0)"),
        "{error}"
    );
    let cut = after(|dir| {
        let text = fs::read_to_string(dir.join("manifest.json")).unwrap();
        fs::write(dir.join("manifest.json"), &text[..text.len() / 2]).unwrap();
    });
    assert!(cut.unwrap_err().to_string().contains("it was cut off"));
    let changed = after(|dir| {
        let text = fs::read_to_string(dir.join("manifest.json")).unwrap();
        fs::write(dir.join("manifest.json"), text.replace("\"fleet\"", "\"other\"")).unwrap();
    });
    assert!(changed.unwrap_err().to_string().contains("its checksum differs"));
    assert!(matches!(
        load(Path::new("/nonexistent/backup")),
        Err(DirectoryError::File { .. })
    ));
}

#[test]
fn a_manifest_that_means_other_files_is_refused() {
    let twice = problems(|dir| forge(dir, |m| m.files.push(m.files[0].clone())));
    assert!(twice[0].1.contains("lists it twice"), "{twice:?}");
    let outside = problems(|dir| forge(dir, |m| m.files[0].file = "../../etc/passwd".to_owned()));
    assert!(outside.iter().any(|p| p.0 == "../../etc/passwd"), "{outside:?}");
    let kind = problems(|dir| forge(dir, |m| m.files[0].kind = 999));
    assert_eq!(kind[0].0, CLUSTER);
}

#[test]
fn a_file_that_holds_another_object_is_refused() {
    let swapped = problems(|dir| {
        let text = fs::read_to_string(dir.join(SECRET))
            .unwrap()
            .replace("dev-ca", "dev-cb");
        fs::write(dir.join(SECRET), &text).unwrap();
        forge(dir, |m| {
            let entry = m.files.iter_mut().find(|e| e.file == SECRET).unwrap();
            entry.sha256 = format::digest(text.as_bytes());
        });
    });
    assert_eq!(
        swapped,
        [(
            SECRET.to_owned(),
            "it holds Secret fleet/dev-cb, which belongs elsewhere".to_owned()
        )]
    );
    for (text, reason) in [
        ("a: [1, b: ]]", "it is no YAML (line 1)"),
        ("{", "it is no JSON (column 1)"),
        ("apiVersion: v1\nkind: Pod\n", "it is of another kind or version"),
        ("apiVersion: v1\nkind: Secret\n", "it has no metadata.name"),
        ("", "it is of another kind or version"),
    ] {
        let found = problems(|dir| {
            fs::write(dir.join(SECRET), text).unwrap();
            forge(dir, |m| {
                let entry = m.files.iter_mut().find(|e| e.file == SECRET).unwrap();
                entry.sha256 = format::digest(text.as_bytes());
                entry.size = text.len() as u64;
            });
        });
        assert_eq!(found, [(SECRET.to_owned(), reason.to_owned())], "{text}");
    }
}

#[test]
fn an_encrypted_file_that_was_exchanged_is_seen() {
    let (dir, key) = (TempDir::new().unwrap(), identity(IDENTITY));
    save(dir.path(), &small(), &[key.recipient()]).unwrap();
    let file = format!("{SECRET}.age");
    // Somebody who can encrypt for the recipient, too, but not for whom it is now.
    let content = age::seal(b"apiVersion: v1", &[identity(OTHER).recipient()]).unwrap();
    fs::write(dir.path().join(&file), &content).unwrap();
    forge(dir.path(), |m| {
        let entry = m.files.iter_mut().find(|e| e.file == file).unwrap();
        (entry.sha256, entry.size) = (format::digest(&content), content.len() as u64);
    });
    let error = read(dir.path(), &[key], &|| {}).unwrap_err();
    assert!(error.to_string().contains(&file), "{error}");
}

#[test]
fn many_problems_are_told_in_part_and_counted() {
    let dir = TempDir::new().unwrap();
    let mut paper = Paper::new();
    for index in 0..30 {
        paper.add(&format!("Config fleet/n{index}"), json!({ "spec": Value::Null }));
    }
    save(dir.path(), &paper, &[]).unwrap();
    fs::remove_dir_all(dir.path().join("namespaces/fleet")).unwrap();
    let error = load(dir.path()).unwrap_err().to_string();
    assert!(
        error.ends_with("; and 20 more") && error.contains("n0.yaml: it is missing"),
        "{error}"
    );
}
