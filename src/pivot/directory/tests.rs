//! What is written is read back byte for byte, whatever it is, and a backup is complete at each moment.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::{
    age::{Identity, Recipient},
    *,
};
use crate::{
    pivot::{fixtures::Paper, object::Object},
    time::Timestamp,
};

/// Keys of these tests alone.
pub(super) const IDENTITY: &str =
    "AGE-SECRET-KEY-19RSNATDCUV6CSF60MZCW24AXAL43SNANNPPJPGRH58EGQJDYKTEQYH7UJH";
pub(super) const OTHER: &str = "AGE-SECRET-KEY-1FDRG0V74T6J3LVDKH05N5T3M75YSLLSFFA4YHU4FDNRRSG8NJ6ESKCWK4Q";

pub(super) fn identity(text: &str) -> Identity {
    Identity::parse(text).unwrap()
}

/// Writes all objects of a paper in one group.
pub(super) fn save(dir: &Path, paper: &Paper, recipients: &[Recipient]) -> Result<Manifest, DirectoryError> {
    let options = Options {
        source: "dev (https://127.0.0.1:6443)",
        now: Timestamp::constant(1_700_000_000, 0),
        recipients,
        progress: &|| {},
    };
    let all: Vec<usize> = (0..paper.objects.len()).collect();
    write(dir, &paper.kinds, &paper.objects, &[all], options)
}

pub(super) fn load(dir: &Path) -> Result<Contents, DirectoryError> {
    read(dir, &[], &|| {})
}

/// A Cluster, a Secret of it, and a provider outside of namespaces.
pub(super) fn small() -> Paper {
    let mut paper = Paper::new();
    paper.add(
        "Cluster fleet/dev",
        json!({ "spec": { "version": "1.30" }, "status": { "phase": "Provisioned" } }),
    );
    paper.add(
        "Secret fleet/dev-ca",
        json!({ "data": { "tls.key": "c2VjcmV0" } }),
    );
    paper.add("InfrastructureProvider docker", json!({}));
    paper
}

/// All files below a directory.
fn files_in(dir: &Path) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            if path.is_dir() {
                assert_eq!(mode, 0o700, "{}", path.display());
                folders.push(path);
            } else {
                assert_eq!(mode, 0o600, "{}", path.display());
                all.insert(path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    all
}

#[test]
fn one_file_an_object_for_its_owner_alone() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path().join("new/backup");
    let paper = small();
    let manifest = save(&dir, &paper, &[]).unwrap();
    assert_eq!(
        files_in(&dir).into_iter().collect::<Vec<_>>(),
        [
            "cluster/infrastructureproviders.machine.crit.sh/docker.yaml",
            "manifest.json",
            "namespaces/fleet/clusters.machine.crit.sh/dev.yaml",
            "namespaces/fleet/secrets/dev-ca.yaml",
        ]
    );
    assert_eq!(manifest.time, "2023-11-14T22:13:20Z");
    assert!(manifest.tool.starts_with("machinectl "));
    let text = fs::read_to_string(dir.join("namespaces/fleet/clusters.machine.crit.sh/dev.yaml")).unwrap();
    assert!(
        text.starts_with("apiVersion: machine.crit.sh/v1alpha1\nkind: Cluster\nmetadata:\n"),
        "{text}"
    );
    assert!(text.contains("version: '1.30'"), "{text}");
    let read = load(&dir).unwrap();
    assert_eq!(read.objects, paper.objects);
    assert_eq!(read.manifest.kinds, paper.kinds);
    assert_eq!(read.manifest.source, "dev (https://127.0.0.1:6443)");
}

#[test]
fn objects_come_back_in_the_order_of_the_groups_and_each_is_counted() {
    let dir = TempDir::new().unwrap();
    let paper = small();
    let count = AtomicUsize::new(0);
    let progress = || {
        count.fetch_add(1, Ordering::Relaxed);
    };
    let options = Options {
        source: "",
        now: Timestamp::UNIX_EPOCH,
        recipients: &[],
        progress: &progress,
    };
    write(
        dir.path(),
        &paper.kinds,
        &paper.objects,
        &[vec![2], vec![0]],
        options,
    )
    .unwrap();
    let read = read(dir.path(), &[], &progress).unwrap();
    assert_eq!(read.objects, [paper.objects[2].clone(), paper.objects[0].clone()]);
    assert_eq!(count.load(Ordering::Relaxed), 4);
}

#[test]
fn encrypted_objects_are_read_by_their_recipients_alone() {
    let dir = TempDir::new().unwrap();
    let paper = small();
    let key = identity(IDENTITY);
    save(dir.path(), &paper, &[key.recipient()]).unwrap();
    for file in files_in(dir.path()) {
        let content = fs::read(dir.path().join(&file)).unwrap();
        let content = String::from_utf8_lossy(&content);
        assert!(
            !content.contains("c2VjcmV0") && !content.contains("Provisioned"),
            "{file}"
        );
        assert!(file.ends_with(".yaml.age") || file == "manifest.json", "{file}");
    }
    let read = |keys: &[Identity]| read(dir.path(), keys, &|| {});
    assert_eq!(
        read(&[identity(OTHER), key.clone()]).unwrap().objects,
        paper.objects
    );
    let error = read(&[]).unwrap_err().to_string();
    assert!(
        error.contains("is encrypted: give the identity that reads it with --identity FILE"),
        "{error}"
    );
    let error = read(&[identity(OTHER)]).unwrap_err().to_string();
    assert!(
        error.contains(&key.recipient().to_string()) && error.contains("--identity"),
        "{error}"
    );
}

#[test]
fn a_backup_takes_the_place_of_an_older_one_and_of_nothing_else() {
    let dir = TempDir::new().unwrap();
    save(dir.path(), &small(), &[]).unwrap();
    let mut paper = Paper::new();
    paper.add("Config fleet/c", json!({}));
    save(dir.path(), &paper, &[identity(IDENTITY).recipient()]).unwrap();
    assert_eq!(files_in(dir.path()).len(), 2);
    let before = files_in(dir.path());
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    let error = save(dir.path(), &small(), &[]).unwrap_err().to_string();
    assert!(
        error.contains("is not empty and no backup: it holds notes.txt"),
        "{error}"
    );
    fs::remove_file(dir.path().join("notes.txt")).unwrap();
    assert_eq!(files_in(dir.path()), before, "nothing was touched");
    let other = TempDir::new().unwrap();
    fs::write(other.path().join("manifest.json"), "{}").unwrap();
    assert!(matches!(
        save(other.path(), &small(), &[]),
        Err(DirectoryError::NotOurs { .. })
    ));
    fs::write(other.path().join("file"), "").unwrap();
    assert!(matches!(
        save(&other.path().join("file"), &small(), &[]),
        Err(DirectoryError::File { .. })
    ));
}

#[test]
fn whatever_point_it_is_interrupted_at_one_complete_backup_is_there() {
    let (old, mut new) = (small(), Paper::new());
    new.add("Config fleet/c", json!({}));
    let made = TempDir::new().unwrap();
    save(made.path(), &new, &[]).unwrap();
    let fresh = ".machinectl-new";
    // How far the new one came, and which one is to be read.
    for step in 0..6 {
        let dir = TempDir::new().unwrap();
        let at = |name: &str| dir.path().join(name);
        save(dir.path(), &old, &[]).unwrap();
        fs::create_dir(at(fresh)).unwrap();
        for part in ["cluster", "namespaces", "manifest.json"] {
            if step == 0 && part == "manifest.json" {
                continue; // it was not complete
            }
            let done = std::process::Command::new("cp")
                .args([
                    "-r".as_ref(),
                    made.path().join(part).as_os_str(),
                    at(fresh).as_os_str(),
                ])
                .status();
            assert!(done.unwrap().success());
        }
        if step > 1 {
            fs::remove_file(at("manifest.json")).unwrap();
        }
        if step > 2 {
            fs::remove_dir_all(at("cluster")).unwrap();
        }
        if step > 3 {
            fs::rename(at(fresh).join("cluster"), at("cluster")).unwrap();
        }
        if step > 4 {
            fs::remove_dir_all(at("namespaces")).unwrap();
            fs::rename(at(fresh).join("namespaces"), at("namespaces")).unwrap();
        }
        let expected = if step == 0 { &old } else { &new };
        assert_eq!(load(dir.path()).unwrap().objects, expected.objects, "step {step}");
        assert_eq!(at(fresh).exists(), step == 0, "step {step}");
        save(dir.path(), &old, &[]).unwrap();
        assert_eq!(load(dir.path()).unwrap().objects, old.objects, "step {step}");
        assert!(!at(fresh).exists());
    }
}

#[test]
fn a_first_write_that_was_interrupted_can_be_done_again() {
    let dir = TempDir::new().unwrap();
    fs::create_dir_all(dir.path().join(".machinectl-new/cluster/x")).unwrap();
    assert!(matches!(load(dir.path()), Err(DirectoryError::NoBackup { .. })));
    save(dir.path(), &small(), &[]).unwrap();
    assert_eq!(load(dir.path()).unwrap().objects.len(), 3);
}

#[test]
fn nothing_can_be_written_and_read() {
    let dir = TempDir::new().unwrap();
    save(dir.path(), &Paper::new(), &[]).unwrap();
    assert!(load(dir.path()).unwrap().objects.is_empty());
}

#[test]
fn objects_of_equal_names_have_files_of_their_own() {
    let dir = TempDir::new().unwrap();
    let mut paper = Paper::new();
    let long = "x".repeat(253);
    for key in [
        "Cluster fleet/a",
        "Machine fleet/a",
        "Secret fleet/a",
        "Secret other/a",
        "Identity a",
        "Secret fleet/A",
        "Secret fleet/a.yaml",
        &format!("Secret fleet/{long}"),
        &format!("Secret fleet/{}y", &long[1..]),
    ] {
        paper.add(key, json!({}));
    }
    save(dir.path(), &paper, &[]).unwrap();
    assert_eq!(load(dir.path()).unwrap().objects, paper.objects);
}

#[test]
fn texts_that_yaml_takes_for_something_else_come_back() {
    let mut odd = Map::new();
    for (index, text) in [
        "",
        " ",
        "true",
        "no",
        "Null",
        "~",
        "1",
        "1.0",
        "0x1f",
        "1e3",
        ".inf",
        "-",
        "- a",
        "a: b",
        "# x",
        "2001-01-01",
        "12:30",
        "&a",
        "*a",
        "!t",
        "|",
        ">",
        "%",
        "@x",
        "`",
        "'",
        "\"",
        "\\",
        "a\nb",
        "a\n",
        "\n",
        "a\n\n",
        " a\n b",
        "\ttab",
        "a\t",
        "trailing ",
        "\r",
        "a\r\nb",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
        "\0",
        "\u{7f}",
        "ü",
        "日本",
        "🙂",
        "---",
        "...",
        "--- a\n--- b\n",
        "{{ x }}",
        "[]",
        "{}",
        "?",
        ": ",
        "<<",
    ]
    .iter()
    .enumerate()
    {
        odd.insert(format!("k{index}"), json!(text));
        odd.insert((*text).to_owned(), json!(index));
    }
    let numbers = json!([
        0,
        -1,
        1.5,
        1e300,
        -0.0,
        5e-324,
        0.1,
        i64::MIN,
        i64::MAX,
        u64::MAX,
        1e21,
        123_456_789.123_456_79,
        1.0
    ]);
    let mut paper = Paper::new();
    paper.add(
        "Config fleet/odd",
        json!({ "spec": { "texts": odd, "numbers": numbers, "empty": [{}, [], null, ""] } }),
    );
    let dir = TempDir::new().unwrap();
    save(dir.path(), &paper, &[]).unwrap();
    assert_eq!(load(dir.path()).unwrap().objects, paper.objects);
}

#[test]
fn numbers_that_nobody_reads_exactly_stay_as_they_were_written() {
    let kinds = Paper::new().kinds;
    let text = r#"{"apiVersion":"machine.crit.sh/v1alpha1","kind":"Config","metadata":{"name":"n"},"spec":{"a":123456789012345678901234567890,"b":1.00000000000000000001,"c":1E+2}}"#;
    let index = kinds.iter().position(|k| k.is_own("Config")).unwrap();
    let object = Object::from_text(index, &kinds[index], text.into()).unwrap();
    let paper = Paper {
        kinds,
        objects: vec![object],
    };
    let dir = TempDir::new().unwrap();
    save(dir.path(), &paper, &[]).unwrap();
    let read = load(dir.path()).unwrap().objects;
    assert_eq!(&*read[0].text, text);
}

/// Any JSON.
fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        any::<String>(),
        "[-+.0-9eExX_:]{0,12}",
        "[ \\t\\r\\n'\"#:|>&*!%@\\-a]{0,10}",
        Just("yes".to_owned()),
        Just("null".to_owned()),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(text.clone(), inner, 0..5)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_written_is_read_byte_for_byte(contents in prop::collection::vec(any_json(), 1..6), encrypt in any::<bool>()) {
        let mut paper = Paper::new();
        for (index, content) in contents.into_iter().enumerate() {
            paper.add(&format!("Config fleet/n{index}"), json!({ "spec": content, "status": { "x": index } }));
        }
        let dir = TempDir::new().unwrap();
        let key = identity(IDENTITY);
        let recipients = [key.recipient()];
        save(dir.path(), &paper, if encrypt { &recipients } else { &[] }).unwrap();
        let back = read(dir.path(), &[key], &|| {}).unwrap();
        prop_assert_eq!(&back.objects, &paper.objects);
    }
}
