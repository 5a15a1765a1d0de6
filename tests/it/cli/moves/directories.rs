//! Objects that go into a directory and come from one.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::{Proxied, There, begun, ended, fleet, raw, same, state};
use crate::{
    cli::{Home, snapshot},
    proxy::Fate,
};

const IDENTITY: &str = "AGE-SECRET-KEY-19RSNATDCUV6CSF60MZCW24AXAL43SNANNPPJPGRH58EGQJDYKTEQYH7UJH\n";
const RECIPIENT: &str = "age1x76j7rv7muafwx6mzs7l38nsr7h403e69vwgty468lq384dh554s3fcm4a";
const STRANGER: &str = "AGE-SECRET-KEY-1FDRG0V74T6J3LVDKH05N5T3M75YSLLSFFA4YHU4FDNRRSG8NJ6ESKCWK4Q\n";

/// A home with a fleet, and what it wrote into the folder `backup`.
fn written(more: &[&str]) -> (Home, PathBuf) {
    let home = fleet();
    let arguments = [&["move", "--embedded", "--to-directory", "backup"], more].concat();
    let output = home.run(&arguments);
    ended(
        &home,
        &output,
        0,
        &["Wrote", "objects of \"embedded\" to backup", "keep it as one"],
    );
    let dir = home.path("backup");
    (home, dir)
}

fn empty() -> Home {
    let home = Home::new();
    home.good(&["init", "--embedded"]);
    home
}

/// Brings a directory into the embedded server of a home.
fn restore(home: &Home, dir: &Path, more: &[&str]) -> std::process::Output {
    let arguments = [
        "move",
        "--embedded",
        "--yes",
        "--from-directory",
        dir.to_str().unwrap(),
    ];
    home.run(&[&arguments[..], more].concat())
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.push(path);
        }
    }
    all.sort();
    all
}

#[test]
fn what_goes_into_a_directory_comes_out_of_it() {
    let (home, dir) = written(&[]);
    let before = state(&home, &["--embedded"]);
    assert_eq!(files(&dir).len(), before.len() + 1);
    for file in files(&dir) {
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600,
            "{}",
            file.display()
        );
    }
    let other = empty();
    let thought = restore(&other, &dir, &["--dry-run"]);
    ended(
        &other,
        &thought,
        0,
        &[&format!(
            "{} objects can be restored into \"embedded\"",
            before.len()
        )],
    );
    assert_eq!(state(&other, &["--embedded"]).len(), 0);
    let done = restore(&other, &dir, &[]);
    ended(
        &other,
        &done,
        0,
        &[&format!("Restored {} objects into \"embedded\"", before.len())],
    );
    same(&state(&other, &["--embedded"]), &before);
    // From there into a directory again: the same objects in the same files.
    other.good(&["move", "--embedded", "--to-directory", "second"]);
    let names = |dir: &Path| -> Vec<PathBuf> {
        files(dir)
            .iter()
            .map(|f| f.strip_prefix(dir).unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&dir), names(&other.path("second")));
    let third = empty();
    assert!(restore(&third, &other.path("second"), &[]).status.success());
    same(&state(&third, &["--embedded"]), &before);
}

#[test]
fn a_thought_backup_writes_nothing() {
    let home = fleet();
    let output = home.run(&[
        "move",
        "--embedded",
        "--to-directory",
        "backup",
        "--dry-run",
        "-o",
        "json",
    ]);
    ended(&home, &output, 0, &["objects would be written to backup"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["objects"], state(&home, &["--embedded"]).len());
    assert!(!home.path("backup").exists());
}

#[test]
fn what_is_encrypted_is_read_by_whom_it_is_for() {
    let (home, dir) = written(&["--encrypt-to", RECIPIENT]);
    let before = state(&home, &["--embedded"]);
    for file in files(&dir) {
        let text = fs::read(&file).unwrap();
        let holds = |what: &[u8]| text.windows(what.len()).any(|part| part == what);
        assert!(
            !holds(b"topsecret") && !holds(b"dG9wc2VjcmV0"),
            "{}",
            file.display()
        );
    }
    let other = empty();
    let (mine, strange) = (other.write("mine", IDENTITY), other.write("strange", STRANGER));
    let untouched = raw(&other, &["--embedded"]);
    ended(
        &other,
        &restore(&other, &dir, &[]),
        2,
        &["is encrypted: give the identity that reads it with --identity FILE"],
    );
    let wrong = restore(&other, &dir, &["--identity", strange.to_str().unwrap()]);
    ended(
        &other,
        &wrong,
        2,
        &["can't be decrypted with the identities given", RECIPIENT],
    );
    let missing = restore(&other, &dir, &["--identity", "nowhere"]);
    ended(&other, &missing, 2, &["can't read nowhere", "hint:"]);
    assert_eq!(raw(&other, &["--embedded"]), untouched);
    let done = restore(&other, &dir, &["--identity", mine.to_str().unwrap()]);
    ended(&other, &done, 0, &["Restored"]);
    same(&state(&other, &["--embedded"]), &before);
    let bad = home.run(&[
        "move",
        "--embedded",
        "--to-directory",
        "second",
        "--encrypt-to",
        "age1nonsense",
    ]);
    ended(&home, &bad, 2, &["--encrypt-to"]);
    assert!(!home.path("second").exists());
}

#[test]
fn files_that_are_not_what_was_written_are_named_all_at_once() {
    let (_home, dir) = written(&[]);
    let of = |name: &str| {
        files(&dir)
            .into_iter()
            .find(|f| f.to_str().unwrap().contains(name))
            .unwrap()
    };
    let (tampered, truncated, missing) = (
        of("/machines.machine.crit.sh/demo-worker-1"),
        of("/secrets/"),
        of("/clusters."),
    );
    let text = fs::read_to_string(&tampered).unwrap();
    fs::write(&tampered, text.replacen("demo", "evil", 1)).unwrap();
    let text = fs::read(&truncated).unwrap();
    fs::write(&truncated, &text[..text.len() / 2]).unwrap();
    fs::remove_file(&missing).unwrap();
    fs::write(dir.join("namespaces/notes.txt"), "mine").unwrap();
    let other = empty();
    let before = raw(&other, &["--embedded"]);
    for more in [&["--dry-run"][..], &[], &["--keep-existing"]] {
        // A file too much makes the manifest one that can't be believed; it is told first.
        let output = restore(&other, &dir, more);
        ended(
            &other,
            &output,
            2,
            &["namespaces/notes.txt: it is no part of the backup; take it away"],
        );
    }
    fs::remove_file(dir.join("namespaces/notes.txt")).unwrap();
    let output = restore(&other, &dir, &[]);
    let said = [
        "demo-worker-1.yaml: it was changed after it was written",
        "secrets/demo-ca.yaml: it was cut off",
        "demo.yaml: it is missing",
        "take it from another copy of the directory",
    ];
    ended(&other, &output, 2, &said);
    assert_eq!(raw(&other, &["--embedded"]), before);
}

#[test]
fn directories_that_are_no_backup_are_refused() {
    let home = fleet();
    let before = raw(&home, &["--embedded"]);
    home.write("mine/notes.txt", "mine");
    snapshot!(
        home,
        "directory_missing",
        restore(&home, Path::new("nowhere"), &[])
    );
    snapshot!(
        home,
        "directory_no_backup",
        restore(&home, Path::new("mine"), &[])
    );
    let into = |dir: &str| home.run(&["move", "--embedded", "--to-directory", dir]);
    snapshot!(home, "directory_not_ours", into("mine"));
    home.write("file", "mine");
    snapshot!(home, "directory_is_a_file", into("file"));
    home.write("cut/manifest.json", "{\"tool\":");
    snapshot!(
        home,
        "directory_cut_manifest",
        restore(&home, Path::new("cut"), &[])
    );
    assert_eq!(raw(&home, &["--embedded"]), before);
    assert_eq!(fs::read_to_string(home.path("mine/notes.txt")).unwrap(), "mine");
    assert_eq!(files(&home.path("mine")).len(), 1);
}

#[test]
fn what_is_there_already_is_in_the_way_or_stays() {
    let (home, dir) = written(&[]);
    let before = state(&home, &["--embedded"]);
    let untouched = raw(&home, &["--embedded"]);
    let output = restore(&home, &dir, &[]);
    ended(
        &home,
        &output,
        4,
        &[
            "Machine.machine.crit.sh default/demo-worker-1 exists",
            "Secret default/demo-ca exists",
            "--keep-existing",
        ],
    );
    assert_eq!(raw(&home, &["--embedded"]), untouched);
    // One object is lost, and comes back; the others stay as they are.
    home.good(&["delete", "secret", "demo-ca", "--embedded"]);
    let output = restore(&home, &dir, &["--keep-existing"]);
    ended(
        &home,
        &output,
        0,
        &["Restored 1 objects", "it is there already, and stays as it is"],
    );
    same(&state(&home, &["--embedded"]), &before);
}

/// A restore that is killed: what it was, how to go on, and undone.
#[test]
fn a_restore_that_was_killed_says_so_and_can_be_undone() {
    let (_home, dir) = written(&[]);
    let (other, there) = (Home::new(), There::start());
    let empty = there.state();
    let none = other.run(&["move", "--kubeconfig", &there.kubeconfig(), "--status"]);
    ended(&other, &none, 3, &["no move is known in context \"far\""]);
    let arguments = |kubeconfig: &str, more: &[&str]| -> Vec<String> {
        let all = [
            &[
                "move",
                "--kubeconfig",
                kubeconfig,
                "--yes",
                "--from-directory",
                dir.to_str().unwrap(),
            ],
            more,
        ];
        all.concat().into_iter().map(ToOwned::to_owned).collect()
    };
    let nothing = arguments(&there.kubeconfig(), &["--abort"]);
    let nothing = other.run(&nothing.iter().map(String::as_str).collect::<Vec<_>>());
    ended(&other, &nothing, 3, &["no move is under way in context \"far\""]);
    let (told, tell) = std::sync::mpsc::channel();
    let proxied = Proxied::start(&other, &there, move |asked| {
        let held =
            asked.method == "POST" && asked.path.ends_with("/machines") && !asked.query.contains("dryRun");
        if held {
            // Nobody listens when it is typed again.
            told.send(()).ok();
        }
        async move {
            if held {
                std::future::pending::<()>().await;
            }
            Fate::Served
        }
    });
    let mut child = begun(
        other.command(
            &arguments(proxied.kubeconfig(), &["--keep-existing"])
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
        ),
    );
    tell.recv_timeout(std::time::Duration::from_secs(120)).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let again = format!(
        "machinectl move --from-directory {} --keep-existing --to-kubeconfig ~/proxied --to-context far -A",
        dir.display()
    );
    let status = other.run(&["move", "--kubeconfig", &there.kubeconfig(), "--status"]);
    let said = [
        "Restore: ",
        "Copying: the cluster has a part of what is in the directory",
        &format!("Go on:   {again}\n"),
        &format!("Undo:   {again} --abort\n"),
    ];
    ended(&other, &status, 0, &said);
    // Without the directory, too.
    fs::rename(&dir, dir.with_extension("away")).unwrap();
    let abort = arguments(&there.kubeconfig(), &["--abort"]);
    let abort = other.run(&abort.iter().map(String::as_str).collect::<Vec<_>>());
    ended(
        &other,
        &abort,
        0,
        &["is undone: what it brought is gone, what was there before stays"],
    );
    same(&there.state(), &empty);
    assert!(!there.raw().contains("machinectl-move"));
    proxied.stop();
}
