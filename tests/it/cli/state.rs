//! What is done with the state of the embedded API server while it does not run, and its audit log while it does.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use super::{Home, embedded::Serving, snapshot};

const SECRET: &str = "\
apiVersion: machine.crit.sh/v1alpha1
kind: Config
metadata: {name: a}
---
apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {password: hunter2}
";

/// A home with a state that holds something.
fn filled() -> Home {
    let home = Home::new();
    home.good(&["init", "--embedded"]);
    home.write("a.yaml", SECRET);
    home.good(&["apply", "--embedded", "-f", "a.yaml", "--wait=false"]);
    home
}

#[test]
fn a_state_is_checked_and_made_small() {
    let home = filled();
    let counts = home.good(&["util", "state", "check"]);
    let count = |resource: &str| {
        let line = counts
            .lines()
            .find(|l| l.split_whitespace().next() == Some(resource));
        line.and_then(|l| l.split_whitespace().nth(1)).map(str::to_owned)
    };
    assert_eq!(count("secrets").as_deref(), Some("1"), "{counts}");
    assert_eq!(count("configs.machine.crit.sh").as_deref(), Some("1"), "{counts}");
    let told = home.tell(&home.run(&["util", "state", "check"]));
    assert!(
        told.contains("The state in ~/state/machinectl/embedded is whole: "),
        "{told}"
    );
    let told = home.tell(&home.run(&["util", "state", "compact"]));
    assert!(told.starts_with("exit code: 0"), "{told}");
    assert_eq!(home.good(&["util", "state", "check"]), counts);
    assert_eq!(
        home.good(&["get", "configs", "--embedded", "-o", "name"]),
        "config.machine.crit.sh/a\n"
    );
}

#[test]
fn a_state_can_be_served_from_any_folder() {
    let home = Home::new();
    let serving = Serving::start_with(&home, &["serve", "--state", "elsewhere"]);
    home.write("a.yaml", SECRET);
    home.good(&["apply", "--context", "embedded", "-f", "a.yaml", "--wait=false"]);
    drop(serving);
    let counts = home.good(&["util", "state", "check", "--state", "elsewhere"]);
    assert!(counts.contains("configs.machine.crit.sh"), "{counts}");
    // The context names the folder, so that it is found without a server, too.
    assert_eq!(
        home.good(&["get", "configs", "--context", "embedded", "-o", "name"]),
        "config.machine.crit.sh/a\n"
    );
    assert!(!home.state().exists(), "the usual folder is not used");
    home.write("file", "");
    snapshot!(home, "serve_no_folder", home.run(&["serve", "--state", "file"]));
}

#[test]
fn what_is_exported_can_be_read_and_holds_secrets_only_on_demand() {
    let home = filled();
    let exported = home.run(&["util", "state", "export"]);
    let text = String::from_utf8(exported.stdout.clone()).unwrap();
    assert!(!text.contains("aHVudGVyMg"), "{text}");
    let story = String::from_utf8(exported.stderr).unwrap();
    assert!(story.contains("1 Secrets are left out"), "{story}");
    let list = machinectl::yaml::documents(&text).unwrap().remove(0).value;
    let items = list["items"].as_array().unwrap();
    let config = items.iter().find(|i| i["kind"] == "Config").unwrap();
    assert_eq!(
        (&config["apiVersion"], &config["metadata"]["name"]),
        (&"machine.crit.sh/v1alpha1".into(), &"a".into())
    );
    let text = home.good(&["util", "state", "export", "--include-secrets"]);
    assert!(text.contains("aHVudGVyMg"), "{text}");
    // Another folder, by its name.
    let state = home.state();
    let named = home.good(&["util", "state", "check", "--state", state.to_str().unwrap()]);
    assert_eq!(named, home.good(&["util", "state", "check"]));
}

#[test]
fn a_state_that_is_served_is_left_alone() {
    let home = filled();
    let serving = Serving::start(&home, "serve");
    for command in ["check", "compact", "export"] {
        let output = home.run(&["util", "state", command]);
        let told = home.tell(&output);
        assert_ne!(output.status.code(), Some(0), "{told}");
        assert!(output.stdout.is_empty(), "{told}");
        assert!(told.contains("is in use by process"), "{told}");
        assert!(told.contains("end it: kill "), "{told}");
    }
    drop(serving);
    home.good(&["util", "state", "check"]);
}

#[test]
fn a_state_that_is_damaged_is_called_so_and_stays_as_it_is() {
    let home = filled();
    snapshot!(
        home,
        "state_none",
        home.run(&["util", "state", "check", "--state", "nowhere"])
    );
    let file = home.state().join("state.redb");
    let mut bytes = fs::read(&file).unwrap();
    // The text of an object, which only its checksums hold.
    let at = bytes.windows(10).position(|w| w == b"aHVudGVyMg").unwrap();
    bytes[at] = b'b';
    fs::write(&file, &bytes).unwrap();
    for command in ["check", "compact", "export"] {
        let output = home.run(&["util", "state", command]);
        let told = home.tell(&output);
        assert_ne!(output.status.code(), Some(0), "{told}");
        assert!(told.contains("damaged"), "{told}");
        assert!(!told.contains("VudGVyMg"), "{told}");
    }
    assert!(fs::read(&file).unwrap() == bytes, "the file has changed");
}

#[test]
fn requests_are_written_to_the_audit_log() {
    let home = Home::new();
    snapshot!(
        home,
        "audit_log_refused",
        home.run(&["serve", "--audit-log", "no/such/folder/audit.log"])
    );
    let serving = Serving::start_with(&home, &["serve", "--audit-log", "audit.log"]);
    home.good(&["get", "machines", "-o", "name"]);
    let log = home.path("audit.log");
    let told = || {
        let text = fs::read_to_string(&log).unwrap();
        let is_list = |line: &str| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            event["verb"] == "list"
                && event["objectRef"]["resource"] == "machines"
                && event["stage"] == "ResponseComplete"
        };
        // The last line may be half written.
        text.rsplit_once('\n')
            .is_some_and(|(whole, _)| whole.lines().any(is_list))
    };
    let mut tries = 0;
    while !told() {
        tries += 1;
        assert!(tries < 3000, "{}", fs::read_to_string(&log).unwrap());
        std::thread::sleep(Duration::from_millis(10));
    }
    let mode = fs::metadata(&log).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(serving);
}
