//! Reads bootstrap data: a cloud-config document, a shell script, or a MIME archive of them. Pure; runs nothing.
//!
//! Understood are the modules that mean something in a container; what else a document says is listed in
//! [`CloudConfig::ignored`] and left out.

use std::{io::Read as _, sync::LazyLock};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::read::MultiGzDecoder;
use regex::{Captures, Regex};
use serde_json::{Map, Value};

use crate::yaml::{self, YamlError};

/// Longest content of a file, unpacked. More is an attack or a mistake.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Why bootstrap data can't be used. No content is shown: it may be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloudConfigError {
    /// It is no YAML.
    #[error("bootstrap data, line {line}, column {column}: {message}", line = .0.line, column = .0.column, message = .0.message)]
    Yaml(YamlError),
    /// A field has a value of the wrong type.
    #[error("bootstrap data: {field} must be {expected}")]
    WrongType {
        /// Path of the field.
        field: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The content of a file does not decode.
    #[error("bootstrap data: content of {path} is not valid {encoding}")]
    Encoding {
        /// Path of the file.
        path: String,
        /// What it should be.
        encoding: &'static str,
    },
    /// An encoding that nobody knows.
    #[error(
        "bootstrap data: encoding \"{encoding}\" of {path} is unknown (use base64, gzip, gzip+base64 or none)"
    )]
    UnknownEncoding {
        /// Path of the file.
        path: String,
        /// What was asked for.
        encoding: String,
    },
    /// Permissions that are no octal number.
    #[error("bootstrap data: permissions \"{permissions}\" of {path} are no octal number such as 0644")]
    Permissions {
        /// Path of the file.
        path: String,
        /// What was asked for.
        permissions: String,
    },
    /// A path that can't be written to.
    #[error("bootstrap data: \"{path}\" is no absolute path of a file")]
    Path {
        /// What was asked for.
        path: String,
    },
    /// A name that no user or group can have.
    #[error("bootstrap data: \"{name}\" is no name of a user or group")]
    Name {
        /// What was asked for.
        name: String,
    },
    /// A template variable that is not there.
    #[error("bootstrap data: template variable \"{0}\" is unknown")]
    Variable(String),
    /// A MIME archive without parts, or a part of a type that can't be run.
    #[error("bootstrap data: {0}")]
    Mime(String),
    /// It is neither a cloud-config, a script nor a MIME archive.
    #[error(
        "bootstrap data is neither a cloud-config (\"#cloud-config\"), a script (\"#!\") nor a MIME archive"
    )]
    UnknownFormat,
}

/// What a template may ask about the machine.
#[derive(Debug, Clone, Copy)]
pub struct Metadata<'a> {
    /// Host name, as the machine itself knows it.
    pub local_hostname: &'a str,
    /// Identity of the machine.
    pub instance_id: &'a str,
}

/// A file to be written. Its content is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Where.
    pub path: String,
    /// What, decoded.
    pub content: Vec<u8>,
    /// `user:group`, either may be missing.
    pub owner: String,
    /// Mode bits.
    pub mode: u32,
    /// Whether it is added to what is there.
    pub append: bool,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "File({} {:o} {}, {} bytes)",
            self.path,
            self.mode,
            self.owner,
            self.content.len()
        )
    }
}

/// A user account.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct User {
    /// Login name.
    pub name: String,
    /// Full name.
    pub gecos: Option<String>,
    /// Further groups.
    pub groups: Vec<String>,
    /// Home directory.
    pub homedir: Option<String>,
    /// Days after which an expired password locks the account.
    pub inactive: Option<String>,
    /// Whether no password opens it.
    pub lock_passwd: bool,
    /// Hash of the password.
    pub passwd: Option<String>,
    /// The password itself.
    pub plain_text_passwd: Option<String>,
    /// Login shell.
    pub shell: Option<String>,
    /// First group.
    pub primary_group: Option<String>,
    /// Lines for sudoers, without the name.
    pub sudo: Vec<String>,
    /// Keys that open it.
    pub ssh_authorized_keys: Vec<String>,
    /// Number of the user.
    pub uid: Option<String>,
    /// Whether it is a system account.
    pub system: bool,
    /// Whether the home directory is left out.
    pub no_create_home: bool,
    /// Date on which it ends.
    pub expiredate: Option<String>,
}

/// A group and its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Name.
    pub name: String,
    /// Users in it.
    pub members: Vec<String>,
}

/// Where the time comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ntp {
    /// Whether time is kept at all.
    pub enabled: bool,
    /// Servers and pools.
    pub servers: Vec<String>,
}

/// A command to run. Its text is never shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Command {
    /// Text for a shell.
    Shell(String),
    /// A program and its arguments.
    Exec(Vec<String>),
}

/// All that bootstrap data asks for and a container can do. Commands and contents are never shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct CloudConfig {
    /// Commands that come first.
    pub bootcmd: Vec<Command>,
    /// Groups.
    pub groups: Vec<Group>,
    /// Users.
    pub users: Vec<User>,
    /// Files.
    pub files: Vec<File>,
    /// Time.
    pub ntp: Option<Ntp>,
    /// Commands that come last.
    pub runcmd: Vec<Command>,
    /// Fields that have no meaning in a container.
    pub ignored: Vec<String>,
}

impl CloudConfig {
    /// Reads bootstrap data.
    pub fn parse(data: &str, meta: Metadata<'_>) -> Result<Self, CloudConfigError> {
        let mut config = Self::default();
        config.add_document(data, None, meta, 0)?;
        Ok(config)
    }

    fn add_document(
        &mut self,
        data: &str,
        kind: Option<&str>,
        meta: Metadata<'_>,
        depth: usize,
    ) -> Result<(), CloudConfigError> {
        let text = data.trim_start_matches('\u{feff}').trim_start();
        let lower = text
            .get(..32)
            .map_or_else(|| text.to_ascii_lowercase(), str::to_ascii_lowercase);
        if depth < 4 && (lower.starts_with("mime-version:") || lower.starts_with("content-type:")) {
            for part in mime_parts(text)? {
                self.add_document(&part.text, Some(&part.kind), meta, depth + 1)?;
            }
            return Ok(());
        }
        if text.starts_with("#!") || kind == Some("text/x-shellscript") {
            self.runcmd.push(Command::Shell(text.to_owned()));
            return Ok(());
        }
        let template = text
            .lines()
            .next()
            .is_some_and(|l| l.replace(' ', "") == "##template:jinja")
            || kind == Some("text/jinja2");
        let is_config = text
            .lines()
            .take_while(|l| l.starts_with('#') || l.trim().is_empty())
            .any(|l| l.trim_end() == "#cloud-config" || l.starts_with("#cloud-config "));
        if template || is_config || kind == Some("text/cloud-config") {
            let rendered = if template {
                expand(text, meta)?
            } else {
                text.to_owned()
            };
            let value: Value = yaml::from_str(&rendered).map_err(|mut e| {
                e.text = String::new();
                CloudConfigError::Yaml(e)
            })?;
            return self.add_config(&value);
        }
        if let Some(inner) = unpack(text).filter(|_| depth < 4) {
            return self.add_document(&inner, kind, meta, depth + 1);
        }
        Err(CloudConfigError::UnknownFormat)
    }

    fn add_config(&mut self, value: &Value) -> Result<(), CloudConfigError> {
        let fields = match value {
            Value::Null => return Ok(()),
            Value::Object(fields) => fields,
            _ => return Err(wrong("the document", "a map")),
        };
        for (key, value) in fields {
            match key.as_str() {
                _ if value.is_null() => {}
                "write_files" => {
                    let (mut early, mut late) = (Vec::new(), Vec::new());
                    for (index, item) in list(value, key)?.iter().enumerate() {
                        let field = format!("write_files[{index}]");
                        let item = item.as_object().ok_or_else(|| wrong(&field, "a map"))?;
                        let defer = boolean(item, "defer", &field)?.unwrap_or(false);
                        if defer { &mut late } else { &mut early }.push(file(item, &field)?);
                    }
                    self.files.extend(early);
                    self.files.extend(late);
                }
                "bootcmd" => self.bootcmd.extend(commands(value, key)?),
                "runcmd" => self.runcmd.extend(commands(value, key)?),
                "groups" => self.groups.extend(groups(value)?),
                "users" | "user" => self.users.extend(users(value, key)?),
                "ntp" => self.ntp = Some(ntp(value)?),
                // the container's name is its host name already; the rest only shapes cloud-init's own output
                "hostname"
                | "fqdn"
                | "preserve_hostname"
                | "prefer_fqdn_over_hostname"
                | "manage_etc_hosts"
                | "output"
                | "final_message"
                | "merge_how"
                | "merge_type"
                | "debug" => {}
                other => self.ignored.push(other.to_owned()),
            }
        }
        Ok(())
    }
}

fn wrong(field: &str, expected: &'static str) -> CloudConfigError {
    CloudConfigError::WrongType {
        field: field.to_owned(),
        expected,
    }
}

fn list<'a>(value: &'a Value, field: &str) -> Result<&'a [Value], CloudConfigError> {
    value
        .as_array()
        .map(Vec::as_slice)
        .ok_or_else(|| wrong(field, "a list"))
}

/// A scalar as text, as a shell would see it.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(s) => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        Value::Bool(b) => Some(b.to_string()),
        _ => None,
    }
}

fn text(map: &Map<String, Value>, key: &str, field: &str) -> Result<Option<String>, CloudConfigError> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => scalar(value)
            .map(Some)
            .ok_or_else(|| wrong(&format!("{field}.{key}"), "a text")),
    }
}

fn boolean(map: &Map<String, Value>, key: &str, field: &str) -> Result<Option<bool>, CloudConfigError> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(b)) => Ok(Some(*b)),
        Some(Value::String(s)) => match s.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(Some(true)),
            "false" | "no" | "off" | "0" => Ok(Some(false)),
            _ => Err(wrong(&format!("{field}.{key}"), "true or false")),
        },
        Some(_) => Err(wrong(&format!("{field}.{key}"), "true or false")),
    }
}

/// A list of texts, or one text with commas in it.
fn texts(map: &Map<String, Value>, key: &str, field: &str) -> Result<Vec<String>, CloudConfigError> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(s)) => Ok(comma_separated(s)),
        Some(value) => lines(value, &format!("{field}.{key}")),
    }
}

/// A list of texts, or one text.
fn lines(value: &Value, field: &str) -> Result<Vec<String>, CloudConfigError> {
    match value {
        Value::String(s) => Ok(vec![s.clone()]),
        Value::Array(items) => items
            .iter()
            .map(|item| scalar(item).ok_or_else(|| wrong(field, "a list of texts")))
            .collect(),
        _ => Err(wrong(field, "a list of texts")),
    }
}

fn comma_separated(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

/// A name that useradd takes. Checked here because it also becomes part of a path.
fn account(name: String) -> Result<String, CloudConfigError> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let first = name
        .chars()
        .next()
        .is_some_and(|c| good(c) && c != '-' && c != '.');
    if first && name.len() <= 32 && name.trim_end_matches('$').chars().all(good) {
        Ok(name)
    } else {
        Err(CloudConfigError::Name { name })
    }
}

fn file(item: &Map<String, Value>, field: &str) -> Result<File, CloudConfigError> {
    let path = text(item, "path", field)?.ok_or_else(|| wrong(&format!("{field}.path"), "a text"))?;
    if !path.starts_with('/') || path.ends_with('/') || path.contains(['\0', '\n']) {
        return Err(CloudConfigError::Path { path });
    }
    let content = text(item, "content", field)?.unwrap_or_default();
    let encoding = text(item, "encoding", field)?.unwrap_or_default();
    Ok(File {
        content: decode(&path, content, &encoding)?,
        owner: text(item, "owner", field)?
            .filter(|o| !o.is_empty())
            .unwrap_or_else(|| "root:root".to_owned()),
        mode: mode(&path, item.get("permissions"))?,
        append: boolean(item, "append", field)?.unwrap_or(false),
        path,
    })
}

fn mode(path: &str, permissions: Option<&Value>) -> Result<u32, CloudConfigError> {
    let (shown, mode) = match permissions {
        None | Some(Value::Null) => return Ok(0o644),
        Some(Value::String(s)) if s.is_empty() => return Ok(0o644),
        // YAML read it as a number: 0644 was octal already
        Some(Value::Number(n)) => (n.to_string(), n.as_u64().and_then(|n| u32::try_from(n).ok())),
        Some(Value::String(s)) => (s.clone(), u32::from_str_radix(s.trim_start_matches("0o"), 8).ok()),
        Some(other) => (other.to_string(), None),
    };
    mode.filter(|m| *m <= 0o7777)
        .ok_or_else(|| CloudConfigError::Permissions {
            path: path.to_owned(),
            permissions: shown,
        })
}

fn decode(path: &str, content: String, encoding: &str) -> Result<Vec<u8>, CloudConfigError> {
    let bad = |encoding| CloudConfigError::Encoding {
        path: path.to_owned(),
        encoding,
    };
    let unbase = |content: &str| {
        let packed: String = content.split_ascii_whitespace().collect();
        STANDARD.decode(packed).map_err(|_| bad("base64"))
    };
    match encoding.trim().to_ascii_lowercase().as_str() {
        "" | "none" | "text/plain" => Ok(content.into_bytes()),
        "b64" | "base64" => unbase(&content),
        "gz" | "gzip" => gunzip(content.as_bytes()).ok_or_else(|| bad("gzip")),
        "gz+b64" | "gz+base64" | "gzip+b64" | "gzip+base64" => {
            gunzip(&unbase(&content)?).ok_or_else(|| bad("gzip"))
        }
        _ => Err(CloudConfigError::UnknownEncoding {
            path: path.to_owned(),
            encoding: encoding.to_owned(),
        }),
    }
}

fn gunzip(packed: &[u8]) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    MultiGzDecoder::new(packed)
        .take(MAX_FILE + 1)
        .read_to_end(&mut content)
        .ok()
        .filter(|length| *length as u64 <= MAX_FILE)
        .map(|_| content)
}

/// The text in a base64 or gzip+base64 document, as clouds keep user data.
fn unpack(text: &str) -> Option<String> {
    let packed: String = text.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(packed).ok().filter(|b| !b.is_empty())?;
    let bytes = if bytes.starts_with(&[0x1f, 0x8b]) {
        gunzip(&bytes)?
    } else {
        bytes
    };
    String::from_utf8(bytes).ok()
}

fn commands(value: &Value, field: &str) -> Result<Vec<Command>, CloudConfigError> {
    list(value, field)?
        .iter()
        .filter(|item| !item.is_null())
        .map(|item| match item {
            Value::Array(_) => lines(item, field).map(Command::Exec),
            other => scalar(other)
                .map(Command::Shell)
                .ok_or_else(|| wrong(field, "a list of commands")),
        })
        .filter(|command| !matches!(command, Ok(Command::Exec(argv)) if argv.is_empty()))
        .collect()
}

fn groups(value: &Value) -> Result<Vec<Group>, CloudConfigError> {
    let plain = |name: String| {
        account(name).map(|name| Group {
            name,
            members: Vec::new(),
        })
    };
    let with_members = |map: &Map<String, Value>| -> Result<Vec<Group>, CloudConfigError> {
        map.keys()
            .map(|name| {
                Ok(Group {
                    name: account(name.clone())?,
                    members: texts(map, name, "groups")?
                        .into_iter()
                        .map(account)
                        .collect::<Result<_, _>>()?,
                })
            })
            .collect()
    };
    match value {
        Value::String(s) => comma_separated(s).into_iter().map(plain).collect(),
        Value::Object(map) => with_members(map),
        Value::Array(items) => {
            let mut found = Vec::new();
            for item in items {
                match item {
                    Value::String(name) => found.push(plain(name.clone())?),
                    Value::Object(map) => found.extend(with_members(map)?),
                    _ => return Err(wrong("groups", "a list of names")),
                }
            }
            Ok(found)
        }
        _ => Err(wrong("groups", "a list of names")),
    }
}

fn users(value: &Value, key: &str) -> Result<Vec<User>, CloudConfigError> {
    let one = std::slice::from_ref(value);
    let items = value.as_array().map_or(one, Vec::as_slice);
    let simple = |name: String| {
        Ok(User {
            name: account(name)?,
            lock_passwd: true,
            ..User::default()
        })
    };
    let mut found = Vec::new();
    for (index, item) in items.iter().enumerate() {
        match item {
            Value::String(names) => {
                for name in comma_separated(names).into_iter().filter(|n| n != "default") {
                    found.push(simple(name)?);
                }
            }
            Value::Object(map) => found.push(user(map, &format!("{key}[{index}]"))?),
            _ => return Err(wrong(key, "a list of users")),
        }
    }
    Ok(found)
}

fn user(map: &Map<String, Value>, field: &str) -> Result<User, CloudConfigError> {
    let get = |key: &str| text(map, key, field).map(|t| t.filter(|t| !t.is_empty()));
    let names = |key: &str| {
        texts(map, key, field)?
            .into_iter()
            .map(account)
            .collect::<Result<Vec<_>, _>>()
    };
    let inactive = match map.get("inactive") {
        Some(Value::Bool(true)) => Some("0".to_owned()),
        Some(Value::Bool(false)) => None,
        _ => get("inactive")?,
    };
    let sudo = match map.get("sudo") {
        None | Some(Value::Null | Value::Bool(_)) => Vec::new(),
        Some(value) => lines(value, &format!("{field}.sudo"))?,
    };
    let keys = match map.get("ssh_authorized_keys") {
        None | Some(Value::Null) => Vec::new(),
        Some(value) => lines(value, &format!("{field}.ssh_authorized_keys"))?,
    };
    Ok(User {
        name: account(get("name")?.ok_or_else(|| wrong(&format!("{field}.name"), "a text"))?)?,
        gecos: get("gecos")?,
        groups: names("groups")?,
        homedir: get("homedir")?,
        inactive,
        lock_passwd: boolean(map, "lock_passwd", field)?.unwrap_or(true),
        passwd: match get("hashed_passwd")? {
            None => get("passwd")?,
            hash => hash,
        },
        plain_text_passwd: get("plain_text_passwd")?,
        shell: get("shell")?,
        primary_group: get("primary_group")?.map(account).transpose()?,
        sudo: sudo
            .into_iter()
            .filter(|line| !line.trim().is_empty())
            .map(|line| line.replace(['\n', '\0'], " "))
            .collect(),
        ssh_authorized_keys: keys,
        uid: get("uid")?,
        system: boolean(map, "system", field)?.unwrap_or(false),
        no_create_home: boolean(map, "no_create_home", field)?.unwrap_or(false),
        expiredate: get("expiredate")?,
    })
}

fn ntp(value: &Value) -> Result<Ntp, CloudConfigError> {
    let map = value.as_object().ok_or_else(|| wrong("ntp", "a map"))?;
    let mut servers = texts(map, "servers", "ntp")?;
    servers.extend(texts(map, "pools", "ntp")?);
    servers.retain(|s| !s.contains(char::is_whitespace));
    Ok(Ntp {
        enabled: boolean(map, "enabled", "ntp")?.unwrap_or(true),
        servers,
    })
}

/// What a template may ask: `ds.meta_data.name`, `v1.name`, or the name in brackets.
static VARIABLES: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"\{\{-?\s*(ds\.meta_data|v1)(?:\.([A-Za-z0-9_]+)|\[\s*["']([A-Za-z0-9_-]+)["']\s*\])\s*-?\}\}"#,
    )
    .expect("invariant: the pattern is a constant")
});

/// Fills in what a template may know: `ds.meta_data.*` and `v1.*`. Braces of other templates are left alone.
fn expand(text: &str, meta: Metadata<'_>) -> Result<String, CloudConfigError> {
    let mut unknown = None;
    let expanded = VARIABLES.replace_all(text, |found: &Captures<'_>| {
        let name = found.get(2).or_else(|| found.get(3)).map_or("", |m| m.as_str());
        match name.replace('-', "_").as_str() {
            "local_hostname" | "hostname" => meta.local_hostname,
            "instance_id" => meta.instance_id,
            _ => {
                unknown.get_or_insert_with(|| format!("{}.{name}", &found[1]));
                ""
            }
        }
        .to_owned()
    });
    match unknown {
        Some(name) => Err(CloudConfigError::Variable(name)),
        None => Ok(expanded.into_owned()),
    }
}

struct Part {
    kind: String,
    text: String,
}

/// The parts of a MIME archive, transfer encodings undone.
fn mime_parts(text: &str) -> Result<Vec<Part>, CloudConfigError> {
    let (headers, body) = headers(text);
    let kind = header(&headers, "content-type");
    if !kind.to_ascii_lowercase().starts_with("multipart/") {
        return Ok(vec![part(&headers, body)?]);
    }
    let boundary = kind
        .split(';')
        .skip(1)
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"))
        .map(|(_, value)| value.trim().trim_matches('"'))
        .filter(|boundary| !boundary.is_empty())
        .ok_or_else(|| CloudConfigError::Mime("the MIME archive names no boundary".to_owned()))?;
    let mut parts = Vec::new();
    let mut current: Option<String> = None;
    for line in body.split_inclusive('\n') {
        let bare = line.trim_end();
        let end = bare.strip_prefix("--").and_then(|l| l.strip_prefix(boundary));
        match end {
            Some(rest) if rest.is_empty() || rest == "--" => {
                if let Some(raw) = current.take() {
                    // the line end before a boundary belongs to the boundary
                    let raw = raw.strip_suffix('\n').unwrap_or(&raw);
                    let (headers, body) = self::headers(raw.strip_suffix('\r').unwrap_or(raw));
                    parts.push(part(&headers, body)?);
                }
                if rest == "--" {
                    break;
                }
                current = Some(String::new());
            }
            _ => {
                if let Some(raw) = &mut current {
                    raw.push_str(line);
                }
            }
        }
    }
    if parts.is_empty() {
        return Err(CloudConfigError::Mime("the MIME archive has no parts".to_owned()));
    }
    Ok(parts)
}

/// Splits at the first empty line; folded header lines are joined.
fn headers(text: &str) -> (Vec<(String, String)>, &str) {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        offset += line.len();
        let bare = line.trim_end_matches(['\r', '\n']);
        if bare.is_empty() {
            return (found, &text[offset..]);
        }
        if bare.starts_with([' ', '\t']) {
            if let Some((_, value)) = found.last_mut() {
                value.push(' ');
                value.push_str(bare.trim());
            }
        } else if let Some((name, value)) = bare.split_once(':') {
            found.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    (found, "")
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> &'a str {
    headers
        .iter()
        .find(|(n, _)| n == name)
        .map_or("", |(_, value)| value)
}

fn part(headers: &[(String, String)], body: &str) -> Result<Part, CloudConfigError> {
    let kind = header(headers, "content-type")
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let text = match header(headers, "content-transfer-encoding")
        .to_ascii_lowercase()
        .as_str()
    {
        "base64" => {
            unpack(body).ok_or_else(|| CloudConfigError::Mime("a part is not valid base64".to_owned()))?
        }
        "" | "7bit" | "8bit" | "binary" => body.to_owned(),
        other => {
            return Err(CloudConfigError::Mime(format!(
                "transfer encoding \"{other}\" is unknown"
            )));
        }
    };
    Ok(Part { kind, text })
}

#[cfg(test)]
#[path = "cloud_config_tests.rs"]
mod tests;
