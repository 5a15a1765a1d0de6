//! The scripts, run for real in a directory that stands for the root of a machine.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process};

use super::*;

const META: Metadata<'_> = Metadata {
    local_hostname: "dk-1",
    instance_id: "dk-1",
};

/// A root directory with the entries in it, and programs that only note how they were called.
struct Machine(tempfile::TempDir);

impl Machine {
    fn with(data: &str) -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        machine.unpack(data);
        let bin = machine.path("bin");
        fs::create_dir_all(&bin).unwrap();
        let note = "#!/bin/bash\necho \"${0##*/} $*\" >>\"$MACHINE_BOOTSTRAP_ROOT/calls\"\n";
        for (name, rest) in [
            ("chown", ""),
            (
                "useradd",
                "echo \"${@: -1}:x:1000:1000::/home/${@: -1}:/bin/sh\" >>\"$MACHINE_BOOTSTRAP_ROOT/passwd\"\n",
            ),
            ("usermod", ""),
            (
                "groupadd",
                "echo \"$1:x:1:\" >>\"$MACHINE_BOOTSTRAP_ROOT/group\"\n",
            ),
            (
                "getent",
                "grep \"^$2:\" \"$MACHINE_BOOTSTRAP_ROOT/$1\" 2>/dev/null\n",
            ),
            ("chpasswd", "cat >>\"$MACHINE_BOOTSTRAP_ROOT/passwords\"\n"),
            ("passwd", ""),
        ] {
            let file = bin.join(name);
            let note = if name == "getent" { "#!/bin/bash\n" } else { note };
            fs::write(&file, format!("{note}{rest}")).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        machine
    }

    fn unpack(&self, data: &str) {
        let bootstrap = translate(data, META, SignedDuration::from_secs(20)).unwrap();
        let packed = archive(&bootstrap.entries).unwrap();
        let mut archive = tar::Archive::new(packed.as_slice());
        archive.set_preserve_permissions(true);
        archive.unpack(self.0.path()).unwrap();
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.path(path)).unwrap().permissions().mode() & 0o7777
    }

    fn start(&self, limit: &str) -> i32 {
        let system = std::env::var("PATH").unwrap();
        fs::write(
            self.path("environ"),
            "HTTPS_PROXY=http://p\0PATH=/nowhere\0A B=1\0",
        )
        .unwrap();
        process::Command::new("/bin/bash")
            .arg(self.path("/etc/machine-bootstrap/start"))
            .arg(limit)
            .env("MACHINE_BOOTSTRAP_ROOT", self.0.path())
            .env("MACHINE_BOOTSTRAP_ENVIRONMENT", self.path("environ"))
            .env(
                "MACHINE_BOOTSTRAP_PATH",
                format!("{}:{system}", self.path("bin").display()),
            )
            .stdin(process::Stdio::null())
            .status()
            .unwrap()
            .code()
            .unwrap()
    }

    fn log(&self) -> String {
        self.read("/etc/machine-bootstrap/log")
    }
}

const WHOLE: &str = r#"#cloud-config
disk_setup: {}
groups:
- ops: [bob]
users:
- name: bob
  gecos: It's Bob
  groups: wheel
  homedir: /home/bob
  shell: /bin/bash
  passwd: $6$x$y
  lock_passwd: false
  sudo: ["ALL=(ALL) NOPASSWD:ALL"]
  ssh_authorized_keys: [ssh-ed25519 AAAA bob, "ssh-rsa 'B'"]
- ann
write_files:
- path: /var/lib/crit/config.yaml
  permissions: '0640'
  content: "s3cret $HOME `x` 'q'\n"
- {path: "/opt/with space/f", content: x, permissions: '0755', owner: bob:ops}
- {path: /etc/append, content: "two\n", append: true}
ntp: {servers: [0.pool.ntp.org, time.example.org]}
bootcmd:
- touch $MACHINE_BOOTSTRAP_ROOT/boot
runcmd:
- export GREETING="it's $HTTPS_PROXY"
- [printf, '%s|', "a b", "it's", $HOME]
- |
  if true; then
    echo "$GREETING" >$MACHINE_BOOTSTRAP_ROOT/greeting
  fi
- "echo 1 | tee $MACHINE_BOOTSTRAP_ROOT/count-$(date +%N | tail -c 1)x >/dev/null"
"#;

#[test]
fn everything_is_put_in_place_and_again_is_the_same() {
    let machine = Machine::with(WHOLE);
    fs::write(machine.path("/etc/append"), "one\n").unwrap();
    assert_eq!(machine.start("20"), 0, "{}", machine.log());
    assert_eq!(
        machine.read("/var/lib/crit/config.yaml"),
        "s3cret $HOME `x` 'q'\n"
    );
    assert_eq!(machine.mode("/var/lib/crit/config.yaml"), 0o640);
    assert_eq!(machine.mode("/opt/with space/f"), 0o755);
    assert_eq!(machine.read("/etc/append"), "one\ntwo\n");
    assert_eq!(machine.read("greeting"), "it's http://p\n");
    assert_eq!(
        machine.read("/etc/sudoers.d/90-machine-bootstrap"),
        "bob ALL=(ALL) NOPASSWD:ALL\n"
    );
    assert_eq!(machine.mode("/etc/sudoers.d/90-machine-bootstrap"), 0o440);
    assert_eq!(
        machine.read("/etc/systemd/timesyncd.conf.d/machine-bootstrap.conf"),
        "[Time]\nNTP=0.pool.ntp.org time.example.org\n"
    );
    assert_eq!(
        machine.read("/home/bob/.ssh/authorized_keys"),
        "ssh-ed25519 AAAA bob\nssh-rsa 'B'\n"
    );
    assert_eq!(machine.mode("/home/bob/.ssh/authorized_keys"), 0o600);
    assert_eq!(machine.read("passwords"), "bob:$6$x$y\n");
    let calls = machine.read("calls");
    for call in [
        "groupadd ops\n",
        "useradd --comment It's Bob --home-dir /home/bob --shell /bin/bash --groups wheel,ops --user-group --create-home bob\n",
        "useradd --user-group --create-home ann\n",
        "chpasswd -e\n",
        "passwd -l ann\n",
    ] {
        assert!(calls.contains(call), "{call} is not in {calls}");
    }
    assert!(!calls.contains("passwd -l bob"), "{calls}");
    assert_eq!(machine.read("/etc/machine-bootstrap/verdict/result"), "0\n");
    let log = machine.log();
    assert!(log.contains("a b|it's|$HOME|"), "{log}");
    assert!(
        log.contains("without meaning in a container: disk_setup"),
        "{log}"
    );
    assert!(!log.contains("s3cret"), "{log}");
    assert!(
        !machine.path("/etc/machine-bootstrap/files").exists(),
        "copies of secrets are left"
    );

    // the machine stopped before the verdict was written: all of it runs again
    machine.unpack(WHOLE);
    fs::remove_file(machine.path("/etc/machine-bootstrap/verdict/result")).unwrap();
    assert_eq!(machine.start("20"), 0, "{}", machine.log());
    assert_eq!(machine.read("/etc/append"), "one\ntwo\n");
    assert_eq!(
        machine.read("/home/bob/.ssh/authorized_keys"),
        "ssh-ed25519 AAAA bob\nssh-rsa 'B'\n"
    );
    assert_eq!(
        machine.read("calls").matches("useradd ").count(),
        2,
        "users are made once"
    );
    assert!(machine.read("calls").contains(
        "usermod --comment It's Bob --home /home/bob --shell /bin/bash --append --groups wheel,ops bob"
    ));
}

#[test]
fn the_first_command_that_fails_ends_it_and_is_named() {
    for (commands, code, said) in [
        (
            "[echo before, \"echo s3cret >/dev/null; (exit 7)\", echo after]",
            7,
            "command 2 of 3 in runcmd (echo) failed with exit code 7",
        ),
        (
            "[exit 5, echo after]",
            5,
            "command 1 of 2 in runcmd (exit) failed with exit code 5",
        ),
        (
            "['if then s3cret', echo after]",
            2,
            "command 1 of 2 in runcmd (if) failed",
        ),
        (
            "[[/nonexistent/tool, --token, s3cret], echo after]",
            127,
            "command 1 of 2 in runcmd (tool) failed",
        ),
    ] {
        let machine = Machine::with(&format!("#cloud-config\nruncmd: {commands}\n"));
        assert_eq!(machine.start("20"), code, "{commands}");
        let log = machine.log();
        assert!(log.contains(said), "{commands}: {log}");
        assert!(!log.contains("after"), "{log}");
        assert!(
            log.trim_end().ends_with(said) || code == 2 || code == 127,
            "{log}"
        );
        assert_eq!(
            machine.read("/etc/machine-bootstrap/verdict/result"),
            format!("{code}\n")
        );
        assert_eq!(machine.read("/etc/machine-bootstrap/verdict/tail"), log);
        assert!(
            machine
                .read("/etc/machine-bootstrap/verdict/state")
                .starts_with("ended 2")
        );
    }
}

#[test]
fn it_is_stopped_at_its_deadline() {
    let machine = Machine::with("#cloud-config\nruncmd: [sleep 30]\n");
    assert_eq!(machine.start("1"), 124);
    assert!(
        machine.log().contains("not ended within 1 s"),
        "{}",
        machine.log()
    );
    assert_eq!(machine.read("/etc/machine-bootstrap/verdict/result"), "124\n");
}

#[test]
fn a_script_is_run_as_it_is() {
    let machine = Machine::with("#!/bin/sh\necho \"$0\" >\"$MACHINE_BOOTSTRAP_ROOT/ran\"\nexit 3\n");
    assert_eq!(machine.start("20"), 3, "{}", machine.log());
    assert!(machine.read("ran").contains("/files/0000"));
}

#[test]
fn the_scripts_are_valid_and_the_unit_is_wanted() {
    let machine = Machine::with(WHOLE);
    for script in ["run", "start"] {
        let path = format!("/etc/machine-bootstrap/{script}");
        let status = process::Command::new("/bin/bash")
            .arg("-n")
            .arg(machine.path(&path))
            .status()
            .unwrap();
        assert!(status.success(), "{script}");
        assert_eq!(machine.mode(&path), 0o700);
    }
    assert_eq!(machine.mode("/etc/machine-bootstrap"), 0o700);
    assert_eq!(machine.mode("/etc/machine-bootstrap/files/0000"), 0o600);
    assert_eq!(
        fs::read_link(machine.path("/etc/systemd/system/multi-user.target.wants/machine-bootstrap.service"))
            .unwrap(),
        Path::new("/etc/systemd/system/machine-bootstrap.service")
    );
    let unit = machine.read("/etc/systemd/system/machine-bootstrap.service");
    assert!(unit.contains("TimeoutStartSec=80\nExecStart=/etc/machine-bootstrap/start 20\n"));
    assert!(unit.contains("ConditionPathExists=!/etc/machine-bootstrap/verdict/result\n"));
}

#[test]
fn configuration_of_containerd_and_units_takes_effect() {
    let script = |path: &str| {
        let data = format!("#cloud-config\nwrite_files: [{{path: {path}}}]\nruncmd: [last]\n");
        let bootstrap = translate(&data, META, SignedDuration::from_secs(20)).unwrap();
        let run = bootstrap
            .entries
            .into_iter()
            .find(|e| e.path.ends_with("/run"))
            .unwrap();
        let Content::File(content) = run.content else {
            panic!("no file")
        };
        let text = String::from_utf8(content).unwrap();
        text[RUN.len()..].to_owned()
    };
    assert_eq!(
        script("/etc/containerd/config.toml"),
        "\nwrite 0000 /etc/containerd/config.toml 0644 root:root\ncontainer_runtime restart\nrun_command runcmd 1 1 last\nstep=end\nexit 0\n"
    );
    let drop_in = script("/etc/systemd/system/kubelet.service.d/20-crit.conf");
    assert!(
        drop_in.contains("\nreload_units\ncontainer_runtime\n"),
        "{drop_in}"
    );
    let other = script("/etc/motd");
    assert!(
        !other.contains("reload_units") && other.contains("\ncontainer_runtime\n"),
        "{other}"
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]
    #[test]
    fn a_quoted_text_is_one_word_of_the_shell(text in "[^\0]{0,40}") {
        let output = process::Command::new("/bin/bash")
            .args(["-c", &format!("printf %s {}", quote(&text))])
            .output()
            .unwrap();
        proptest::prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
    }
}
