//! A cloud-config document: what is in it, and the text of it, read back before it is handed out.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::{Value, json};

use super::{BootstrapError, files::PlainFile, templates};
use crate::{
    api::v1alpha1::{Ntp, User},
    yaml,
};

/// A document: the inputs of its template.
#[derive(Serialize)]
pub(crate) struct CloudConfig {
    /// Whether cloud-init puts its own variables in first. Not for content that nobody wrote as a template.
    pub(crate) jinja: bool,
    /// `write_files`.
    pub(crate) files: Vec<WriteFile>,
    /// Commands of the user, first.
    pub(crate) pre_commands: Vec<String>,
    /// The command that makes the machine a node.
    pub(crate) command: String,
    /// Commands of the user, last.
    pub(crate) post_commands: Vec<String>,
    /// `ntp`.
    pub(crate) ntp: Option<NtpPart>,
    /// `users`.
    pub(crate) users: Vec<UserPart>,
}

/// An item of `write_files`.
#[derive(Serialize)]
pub(crate) struct WriteFile {
    pub(crate) path: String,
    pub(crate) encoding: Option<&'static str>,
    pub(crate) owner: Option<String>,
    pub(crate) permissions: Option<String>,
    pub(crate) content: String,
}

impl WriteFile {
    /// A file in base64, whatever is in it.
    pub(crate) fn base64(file: PlainFile) -> Self {
        Self {
            path: file.path,
            encoding: Some("base64"),
            owner: Some(file.owner),
            permissions: Some(file.permissions),
            content: STANDARD.encode(file.content),
        }
    }
}

/// `ntp`.
#[derive(Serialize)]
pub(crate) struct NtpPart {
    enabled: Option<bool>,
    servers: Vec<String>,
}

/// An item of `users`.
#[derive(Serialize)]
pub(crate) struct UserPart {
    name: String,
    fields: Vec<Field>,
    ssh_authorized_keys: Vec<String>,
}

#[derive(Serialize)]
struct Field {
    key: &'static str,
    /// As YAML.
    value: String,
}

/// Takes the time servers over.
pub(crate) fn ntp(ntp: Option<&Ntp>) -> Option<NtpPart> {
    ntp.map(|Ntp { servers, enabled }| NtpPart {
        enabled: *enabled,
        servers: servers.clone(),
    })
}

/// Takes the users over. Fields that are empty are left out.
pub(crate) fn users(users: &[User]) -> Vec<UserPart> {
    users.iter().map(user).collect()
}

fn user(user: &User) -> UserPart {
    let User {
        name,
        gecos,
        groups,
        home_dir,
        inactive,
        shell,
        passwd,
        primary_group,
        lock_password,
        sudo,
        ssh_authorized_keys,
    } = user;
    let text = |key, value: &Option<String>| {
        value.as_deref().filter(|v| !v.is_empty()).map(|v| Field {
            key,
            value: templates::scalar(v),
        })
    };
    let flag = |key, value: Option<bool>| {
        value.map(|v| Field {
            key,
            value: v.to_string(),
        })
    };
    UserPart {
        name: name.clone(),
        fields: [
            text("passwd", passwd),
            text("gecos", gecos),
            text("groups", groups),
            text("homedir", home_dir),
            flag("inactive", *inactive),
            flag("lock_passwd", *lock_password),
            text("shell", shell),
            text("primary_group", primary_group),
            text("sudo", sudo),
        ]
        .into_iter()
        .flatten()
        .collect(),
        ssh_authorized_keys: ssh_authorized_keys.clone(),
    }
}

impl CloudConfig {
    /// Writes the document, reads it back, and checks that it says what it should.
    pub(crate) fn to_text(&self) -> Result<String, BootstrapError> {
        let text = templates::render(templates::CLOUD_CONFIG, self)?;
        let fail = |reason: String| BootstrapError::Template {
            name: templates::CLOUD_CONFIG,
            reason,
        };
        let back: Value = yaml::from_str(&text).map_err(|e| {
            // The line itself may be secret.
            fail(format!("line {} is no YAML: {}", e.line, e.message))
        })?;
        let commands: Vec<&String> = self
            .pre_commands
            .iter()
            .chain([&self.command])
            .chain(&self.post_commands)
            .collect();
        if back["runcmd"] != json!(commands) {
            return Err(fail("runcmd does not read back".to_owned()));
        }
        let files = back["write_files"].as_array().map_or(&[][..], Vec::as_slice);
        let same = |(back, file): (&Value, &WriteFile)| {
            back["path"] == json!(file.path)
                && back["content"]
                    .as_str()
                    .is_some_and(|c| c == file.content || c.strip_suffix('\n') == Some(&file.content))
        };
        if files.len() != self.files.len() || !files.iter().zip(&self.files).all(same) {
            return Err(fail("write_files does not read back".to_owned()));
        }
        let names = back["users"].as_array().map_or(&[][..], Vec::as_slice);
        if names.len() != self.users.len()
            || !names
                .iter()
                .zip(&self.users)
                .all(|(b, u)| b["name"] == json!(u.name))
        {
            return Err(fail("users does not read back".to_owned()));
        }
        Ok(text)
    }
}

/// Says whether a block scalar holds exactly this text, but perhaps for a line end at its end.
pub(crate) fn fits_a_block(text: &str) -> bool {
    let odd = |c: char| {
        (c.is_control() && c != '\n' && c != '\t') || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
    };
    !text.is_empty()
        && !text.starts_with([' ', '\n', '\t'])
        && !text.ends_with("\n\n")
        && !text.ends_with(" \n")
        && !text.chars().any(odd)
        && text.trim_end() != ""
}
