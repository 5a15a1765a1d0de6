//! Bootstrap data as people and programs write it.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};

use super::*;

const META: Metadata<'_> = Metadata {
    local_hostname: "demo-worker-1",
    instance_id: "demo-worker-1",
};

fn parse(text: &str) -> Result<CloudConfig, CloudConfigError> {
    CloudConfig::parse(text, META)
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn files_are_decoded_whatever_their_encoding() {
    let packed = STANDARD.encode(gzip("hello"));
    let config = parse(&format!(
        "#cloud-config
write_files:
- path: /a
  content: hello
- {{path: /b, encoding: b64, content: aGVsbG8=, permissions: '0600', owner: 'etcd:etcd'}}
- {{path: /c, encoding: gzip+base64, content: {packed}, append: true}}
- {{path: /d, encoding: gz+b64, content: {packed}, defer: true, permissions: 0o640}}
- {{path: /e, permissions: 420}}
"
    ))
    .unwrap();
    let seen: Vec<_> = config
        .files
        .iter()
        .map(|f| (f.path.as_str(), f.content.len(), f.mode, f.append))
        .collect();
    assert_eq!(
        seen,
        [
            ("/a", 5, 0o644, false),
            ("/b", 5, 0o600, false),
            ("/c", 5, 0o644, true),
            ("/e", 0, 0o644, false),
            ("/d", 5, 0o640, false), // deferred
        ]
    );
    assert_eq!(config.files[1].owner, "etcd:etcd");
    assert!(
        config
            .files
            .iter()
            .all(|f| f.path == "/e" || f.content == b"hello")
    );
}

#[test]
fn a_bad_file_is_named_and_its_content_is_not_shown() {
    for (bad, expected) in [
        (
            "{path: /a, encoding: b64, content: 's%cret'}",
            "content of /a is not valid base64",
        ),
        (
            "{path: /a, encoding: gzip, content: s3cret}",
            "content of /a is not valid gzip",
        ),
        (
            "{path: /a, encoding: rot13, content: s3cret}",
            "encoding \"rot13\" of /a is unknown",
        ),
        (
            "{path: /a, permissions: rw}",
            "permissions \"rw\" of /a are no octal",
        ),
        (
            "{path: /a, permissions: '17777'}",
            "permissions \"17777\" of /a are no octal",
        ),
        ("{path: etc/a}", "\"etc/a\" is no absolute path"),
        ("{content: s3cret}", "write_files[0].path must be a text"),
        ("[s3cret]", "write_files[0] must be a map"),
    ] {
        let error = parse(&format!("#cloud-config\nwrite_files:\n- {bad}\n"))
            .map(|_| ())
            .unwrap_err();
        let (shown, debug) = (error.to_string(), format!("{error:?}"));
        assert!(shown.contains(expected), "{bad}: {shown}");
        assert!(!shown.contains("cret") && !debug.contains("cret"), "{debug}");
    }
}

#[test]
fn broken_yaml_tells_the_line_but_not_the_text() {
    let error = parse("#cloud-config\nruncmd: [token, 's3cret'\nx: 1\n")
        .map(|_| ())
        .unwrap_err();
    assert!(error.to_string().contains("line "), "{error}");
    assert!(!format!("{error:?}{error}").contains("s3cret"), "{error:?}");
}

#[test]
fn users_and_groups_have_all_forms() {
    let config = parse(
        "#cloud-config
groups:
- admins
- ops: [ann, bob]
users:
- default
- ann
- name: bob
  gecos: Bob B
  groups: admins, wheel
  homedir: /home/b
  inactive: false
  lock_passwd: false
  passwd: $6$salt$hash
  shell: /bin/bash
  primary_group: ops
  sudo: ALL=(ALL) NOPASSWD:ALL
  ssh_authorized_keys: [ssh-ed25519 AAAA bob]
",
    )
    .unwrap();
    assert_eq!(config.groups[1].members, ["ann", "bob"]);
    assert_eq!(config.users.len(), 2);
    assert!(config.users[0].lock_passwd);
    let bob = &config.users[1];
    assert_eq!((bob.inactive.as_deref(), bob.lock_passwd), (None, false));
    assert_eq!(bob.groups, ["admins", "wheel"]);
    assert_eq!(bob.sudo, ["ALL=(ALL) NOPASSWD:ALL"]);
    assert_eq!(bob.ssh_authorized_keys, ["ssh-ed25519 AAAA bob"]);
    assert!(matches!(
        parse("#cloud-config\nusers: [{name: ../etc}]\n").map(|_| ()),
        Err(CloudConfigError::Name { .. })
    ));
}

#[test]
fn templates_know_the_machine_and_leave_other_braces_alone() {
    let config = parse(
        "## template: jinja
#cloud-config
write_files:
- path: /etc/kubeadm.yaml
  content: \"name: {{ ds.meta_data.local_hostname }} {{v1.instance_id}} {{ ds.meta_data['local-hostname'] }} {{.PodCIDR}}\"
",
    )
    .unwrap();
    assert_eq!(
        config.files[0].content,
        b"name: demo-worker-1 demo-worker-1 demo-worker-1 {{.PodCIDR}}"
    );
    assert_eq!(
        parse("## template: jinja\n#cloud-config\nruncmd: ['{{ ds.meta_data.region }}']\n").map(|_| ()),
        Err(CloudConfigError::Variable("ds.meta_data.region".to_owned()))
    );
    let plain = parse("#cloud-config\nruncmd: ['{{ ds.meta_data.local_hostname }}']\n").unwrap();
    assert!(plain.runcmd == [Command::Shell("{{ ds.meta_data.local_hostname }}".to_owned())]);
}

#[test]
fn a_mime_archive_gives_its_parts() {
    let script = STANDARD.encode("#!/bin/sh\necho hi\n");
    let text = format!(
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"abc\"\n\n--abc\r\ncontent-type: text/cloud-config\r\n\r\n## template: jinja\n#cloud-config\nruncmd:\n  - 'crit up'\n\r\n--abc\r\nContent-Type: text/x-shellscript; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n{script}\r\n--abc--\r\n"
    );
    let config = parse(&text).unwrap();
    assert!(
        config.runcmd
            == [
                Command::Shell("crit up".to_owned()),
                Command::Shell("#!/bin/sh\necho hi\n".to_owned())
            ]
    );
    // and the same, packed as clouds keep it
    assert!(parse(&STANDARD.encode(gzip(&text))).unwrap() == config);
    assert!(matches!(
        parse("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\nnothing").map(|_| ()),
        Err(CloudConfigError::Mime(_))
    ));
}

#[test]
fn commands_are_texts_or_argument_lists() {
    let config =
        parse("#cloud-config\nbootcmd: [a b]\nruncmd:\n- [echo, 1, x y]\n- \"false\"\n- null\n- []\n")
            .unwrap();
    assert!(config.bootcmd == [Command::Shell("a b".to_owned())]);
    assert!(
        config.runcmd
            == [
                Command::Exec(vec!["echo".to_owned(), "1".to_owned(), "x y".to_owned()]),
                Command::Shell("false".to_owned())
            ]
    );
}

#[test]
fn what_a_container_cannot_do_is_listed() {
    let config =
        parse("#cloud-config\ndisk_setup: {}\nhostname: x\nntp: {servers: [a, b]}\nmounts: []\n").unwrap();
    let mut ignored = config.ignored;
    ignored.sort();
    assert_eq!(ignored, ["disk_setup", "mounts"]);
    assert_eq!(
        config.ntp,
        Some(Ntp {
            enabled: true,
            servers: vec!["a".to_owned(), "b".to_owned()]
        })
    );
}

#[test]
fn something_else_is_refused() {
    for text in ["hello", "", "kind: Pod\n"] {
        assert_eq!(
            parse(text).map(|_| ()),
            Err(CloudConfigError::UnknownFormat),
            "{text}"
        );
    }
    assert!(parse("#cloud-config\n").is_ok());
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(#cloud-config\n|MIME-Version: 1.0\n|## template: jinja\n)?\\PC{0,200}") {
        let _ignored: Result<CloudConfig, CloudConfigError> = parse(&text);
    }
}
