//! Turns bootstrap data into what is put into a container before it starts: a script, a systemd unit that runs it
//! once, and the files that it puts in place. Pure: it makes an archive and runs nothing.
//!
//! All of it lies in [`DIRECTORY`]. The unit runs `start`, which runs `run` and leaves `verdict/` and `log`; see
//! `bootstrap_start.sh`. The verdict is read from the files, so nobody has to watch while the script runs.

use jiff::SignedDuration;

use super::cloud_config::{CloudConfig, CloudConfigError, Command, Metadata, Ntp, User};

/// Where all of it lies in the machine.
pub const DIRECTORY: &str = "/etc/machine-bootstrap";
/// The directory with the verdict.
pub const VERDICT: &str = "/etc/machine-bootstrap/verdict";
/// All that the script said.
pub const LOG: &str = "/etc/machine-bootstrap/log";
/// What comes before the image's entrypoint in a restricted container.
pub const ENTRYPOINT: &str = "/etc/machine-bootstrap/entrypoint";
/// Name of the unit.
pub const UNIT: &str = "machine-bootstrap.service";

const RUN: &str = include_str!("bootstrap_run.sh");
const START: &str = include_str!("bootstrap_start.sh");
const PREPARE: &str = include_str!("entrypoint.sh");

/// Something to be put into a container. Its content is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Absolute path.
    pub path: String,
    /// Mode bits.
    pub mode: u32,
    /// What it is.
    pub content: Content,
}

/// What an [`Entry`] is.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// A directory.
    Directory,
    /// A file.
    File(Vec<u8>),
    /// A symbolic link.
    Link(String),
}

/// What bootstrap data became.
#[derive(Clone, PartialEq, Eq)]
pub struct Bootstrap {
    /// Things to put into the container, parents first.
    pub entries: Vec<Entry>,
    /// Fields of the bootstrap data that have no meaning in a container.
    pub ignored: Vec<String>,
}

/// Translates bootstrap data. `time_limit` is how long the script may take.
pub fn translate(
    data: &str,
    meta: Metadata<'_>,
    time_limit: SignedDuration,
) -> Result<Bootstrap, CloudConfigError> {
    let mut config = CloudConfig::parse(data, meta)?;
    config.ignored.sort();
    config.ignored.dedup();
    let mut files = Files::default();
    let script = run_script(&config, &mut files);
    let mut entries = vec![
        directory(DIRECTORY),
        directory(VERDICT),
        directory(&format!("{DIRECTORY}/files")),
    ];
    entries.extend(files.0);
    entries.extend([
        file(&format!("{DIRECTORY}/run"), 0o700, script),
        file(&format!("{DIRECTORY}/start"), 0o700, START.into()),
        file(
            &format!("/etc/systemd/system/{UNIT}"),
            0o644,
            unit(time_limit).into(),
        ),
        Entry {
            path: format!("/etc/systemd/system/multi-user.target.wants/{UNIT}"),
            mode: 0o777,
            content: Content::Link(format!("/etc/systemd/system/{UNIT}")),
        },
    ]);
    Ok(Bootstrap {
        entries,
        ignored: config.ignored,
    })
}

/// The script that comes before the image's entrypoint in a container without all privileges.
pub fn entrypoint() -> Vec<Entry> {
    vec![directory(DIRECTORY), file(ENTRYPOINT, 0o755, PREPARE.into())]
}

/// Packs entries for the archive API, to be unpacked at `/`.
///
/// # Errors
/// Fails when a path is longer than a tar header takes.
pub fn archive(entries: &[Entry]) -> std::io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries {
        let path = entry.path.trim_start_matches('/');
        let mut header = tar::Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mode(entry.mode);
        header.set_size(0);
        match &entry.content {
            Content::Directory => {
                header.set_entry_type(tar::EntryType::Directory);
                builder.append_data(&mut header, path, std::io::empty())?;
            }
            Content::File(content) => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, path, content.as_slice())?;
            }
            Content::Link(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                builder.append_link(&mut header, path, target)?;
            }
        }
    }
    builder.into_inner()
}

fn directory(path: &str) -> Entry {
    Entry {
        path: path.to_owned(),
        mode: 0o700,
        content: Content::Directory,
    }
}

fn file(path: &str, mode: u32, content: Vec<u8>) -> Entry {
    Entry {
        path: path.to_owned(),
        mode,
        content: Content::File(content),
    }
}

/// Contents that the script puts in place, numbered.
#[derive(Default)]
struct Files(Vec<Entry>);

impl Files {
    fn add(&mut self, content: Vec<u8>) -> String {
        let number = format!("{:04}", self.0.len());
        self.0
            .push(file(&format!("{DIRECTORY}/files/{number}"), 0o600, content));
        number
    }
}

/// The script keeps a deadline of its own, so that a verdict is left; systemd's comes only if that fails.
fn unit(time_limit: SignedDuration) -> String {
    let seconds = time_limit.as_secs().max(1);
    format!(
        "[Unit]
Description=Make this machine what its bootstrap data says, once
After=containerd.service network.target
Wants=containerd.service
ConditionPathExists={DIRECTORY}/run
ConditionPathExists=!{VERDICT}/result

[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec={}
ExecStart={DIRECTORY}/start {seconds}

[Install]
WantedBy=multi-user.target
",
        seconds + 60
    )
}

fn run_script(config: &CloudConfig, files: &mut Files) -> Vec<u8> {
    let mut script = String::from(RUN);
    let mut line = |text: String| {
        script.push_str(&text);
        script.push('\n');
    };
    line(String::new());
    if !config.ignored.is_empty() {
        let message = format!("without meaning in a container: {}", config.ignored.join(", "));
        line(format!("say {}", quote(&message)));
    }
    run_commands("bootcmd", &config.bootcmd, files, &mut line);
    for group in &config.groups {
        let words: Vec<String> = [&group.name]
            .into_iter()
            .chain(&group.members)
            .map(|name| quote(name))
            .collect();
        line(format!("group {}", words.join(" ")));
    }
    for user in &config.users {
        add_user(user, config, files, &mut line);
    }
    let sudoers: String = config
        .users
        .iter()
        .flat_map(|user| user.sudo.iter().map(|rule| format!("{} {rule}\n", user.name)))
        .collect();
    if !sudoers.is_empty() {
        line(format!("sudoers {}", files.add(sudoers.into_bytes())));
    }
    for file in &config.files {
        line(format!(
            "{} {} {} {:04o} {}",
            if file.append { "append" } else { "write" },
            files.add(file.content.clone()),
            quote(&file.path),
            file.mode,
            quote(&file.owner)
        ));
    }
    match &config.ntp {
        Some(Ntp { enabled: false, .. }) => line("no_ntp".to_owned()),
        Some(Ntp { servers, .. }) => {
            let content = format!("[Time]\nNTP={}\n", servers.join(" "));
            line(format!("ntp {}", files.add(content.into_bytes())));
        }
        None => {}
    }
    let written = |prefix: &str| config.files.iter().any(|file| file.path.starts_with(prefix));
    if written("/etc/systemd/system/") || written("/usr/lib/systemd/system/") {
        line("reload_units".to_owned());
    }
    let restart = if written("/etc/containerd/config.toml") {
        " restart"
    } else {
        ""
    };
    line(format!("container_runtime{restart}"));
    run_commands("runcmd", &config.runcmd, files, &mut line);
    line("step=end".to_owned());
    line("exit 0".to_owned());
    script.into_bytes()
}

fn run_commands(kind: &str, commands: &[Command], files: &mut Files, line: &mut impl FnMut(String)) {
    let count = commands.len();
    for (number, command) in (1..).zip(commands) {
        match command {
            Command::Shell(text) if text.starts_with("#!") => {
                let name = files.add(text.clone().into_bytes());
                line(format!("script {number} {count} {name}"));
            }
            Command::Shell(text) => line(format!("run_command {kind} {number} {count} {}", quote(text))),
            Command::Exec(argv) => {
                let words: Vec<String> = argv.iter().map(|word| quote(word)).collect();
                line(format!(
                    "run_command {kind} {number} {count} {}",
                    quote(&words.join(" "))
                ));
            }
        }
    }
}

fn add_user(user: &User, config: &CloudConfig, files: &mut Files, line: &mut impl FnMut(String)) {
    let known = |name: &String| config.groups.iter().any(|group| group.name == *name);
    for group in user.groups.iter().chain(&user.primary_group) {
        if !known(group) {
            line(format!("group {}", quote(group)));
        }
    }
    let mut groups = user.groups.clone();
    groups.extend(
        config
            .groups
            .iter()
            .filter(|group| group.members.contains(&user.name) && !user.groups.contains(&group.name))
            .map(|group| group.name.clone()),
    );
    let mut flags = Vec::new();
    let mut flag = |name: &str, value: Option<&String>| {
        if let Some(value) = value {
            flags.push(format!("{name} {}", quote(value)));
        }
    };
    flag("--comment", user.gecos.as_ref());
    flag("--home-dir", user.homedir.as_ref());
    flag("--shell", user.shell.as_ref());
    flag("--gid", user.primary_group.as_ref());
    flag("--uid", user.uid.as_ref());
    flag("--inactive", user.inactive.as_ref());
    flag("--expiredate", user.expiredate.as_ref());
    flag(
        "--groups",
        Some(groups.join(",")).filter(|g| !g.is_empty()).as_ref(),
    );
    if user.primary_group.is_none() {
        flags.push("--user-group".to_owned());
    }
    if user.system {
        flags.push("--system".to_owned());
    }
    flags.push(
        if user.no_create_home || user.system {
            "--no-create-home"
        } else {
            "--create-home"
        }
        .to_owned(),
    );
    let name = quote(&user.name);
    line(format!("user {name} {}", flags.join(" ")));
    for (secret, how) in [(&user.passwd, " -e"), (&user.plain_text_passwd, "")] {
        if let Some(secret) = secret {
            let pair = files.add(format!("{}:{secret}\n", user.name).into_bytes());
            line(format!("password{how} <\"$here/files/{pair}\""));
        }
    }
    if user.lock_passwd {
        line(format!("lock {name}"));
    }
    if !user.ssh_authorized_keys.is_empty() {
        let keys = user.ssh_authorized_keys.join("\n") + "\n";
        line(format!(
            "authorize {name} <\"$here/files/{}\"",
            files.add(keys.into_bytes())
        ));
    }
}

/// A text as one word of a shell. A NUL can't be in one and is left out.
fn quote(text: &str) -> String {
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':' | ',' | '=' | '+');
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\0', "").replace('\'', r"'\''"))
}

#[cfg(test)]
#[path = "script_tests.rs"]
mod tests;
