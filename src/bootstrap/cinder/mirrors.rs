//! Mirrors of registries, in both forms that versions of containerd read. They exclude each other, so the node decides.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{CinderError, text_of};
use crate::api::v1alpha1::{Encoding, File};

/// containerd's configuration.
pub(super) const CONTAINERD_CONFIG: &str = "/etc/containerd/config.toml";
/// Adds the tables to the image's own configuration, if that does not name a folder for registries.
pub(super) const COMMAND: &str = "grep -q config_path /etc/containerd/config.toml || \
     { cat /etc/containerd/registry-mirrors.toml >>/etc/containerd/config.toml && systemctl restart containerd; }";
const TABLES: &str = "/etc/containerd/registry-mirrors.toml";

/// Files that say where images come from: one a registry for newer versions, and tables for older ones.
pub(super) fn files(mirrors: &BTreeMap<String, String>) -> Vec<File> {
    let file = |path: String, content: String| File {
        path,
        content,
        ..File::default()
    };
    let mut out = vec![file(TABLES.to_owned(), tables(mirrors))];
    for (host, url) in mirrors {
        out.push(file(
            format!("/etc/containerd/certs.d/{host}/hosts.toml"),
            format!("[host.\"{url}\"]\n  capabilities = [\"pull\", \"resolve\"]\n"),
        ));
    }
    out
}

/// Adds the tables to a user's configuration, if that does not name a folder for registries.
pub(super) fn append(
    mirrors: &BTreeMap<String, String>,
    index: usize,
    files: &mut [File],
) -> Result<(), CinderError> {
    let Some(file) = files.get_mut(index) else {
        return Ok(());
    };
    let mut text = text_of(file)?;
    if text.contains("config_path") {
        return Ok(());
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&tables(mirrors));
    file.encoding = Some(Encoding::Base64);
    file.content = STANDARD.encode(text);
    Ok(())
}

fn tables(mirrors: &BTreeMap<String, String>) -> String {
    let table = |(host, url): (&String, &String)| {
        format!(
            "\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"{host}\"]\n  endpoint = [\"{url}\"]\n"
        )
    };
    mirrors.iter().map(table).collect::<Vec<_>>().concat()
}
