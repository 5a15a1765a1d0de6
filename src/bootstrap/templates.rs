//! The templates of bootstrap data. Each is used by one struct; a variable that the struct lacks is an error.
//! It must not decide what is written, only how.

use serde::Serialize;
use tera::{Context, Kwargs, State, Tera};

use super::BootstrapError;
use crate::yaml;

/// All templates: (name, text). The name is the path under `templates/`.
pub(crate) const ALL: [(&str, &str); 3] = [
    (
        CLOUD_CONFIG,
        include_str!("../../templates/bootstrap/cloud-config.tera"),
    ),
    (KUBEADM, include_str!("../../templates/bootstrap/kubeadm.sh.tera")),
    (CRIT, include_str!("../../templates/bootstrap/crit.sh.tera")),
];
/// The script that lays a machine's kubelet settings over those of its cluster. No variables.
pub(crate) const KUBELET_SETTINGS: &str = include_str!("../../templates/bootstrap/kubelet-settings.sh");
/// A cloud-config document.
pub(crate) const CLOUD_CONFIG: &str = "bootstrap/cloud-config.tera";
/// The script that makes a node by kubeadm.
pub(crate) const KUBEADM: &str = "bootstrap/kubeadm.sh.tera";
/// The script that makes a node by crit.
pub(crate) const CRIT: &str = "bootstrap/crit.sh.tera";

/// Renders a template.
pub(crate) fn render<T: Serialize>(name: &'static str, inputs: &T) -> Result<String, BootstrapError> {
    let fail = |e: tera::Error| BootstrapError::Template {
        name,
        // The message only: the report quotes the template.
        reason: e.to_string(),
    };
    let text = ALL
        .iter()
        .find(|(n, _)| *n == name)
        .map(|(_, t)| *t)
        .unwrap_or_default();
    let mut tera = Tera::default();
    tera.register_filter("sh", |text: &str, _: Kwargs, _: &State| shell(text));
    tera.register_filter("scalar", |text: &str, _: Kwargs, _: &State| scalar(text));
    tera.register_filter("quoted", |text: &str, _: Kwargs, _: &State| quoted(text));
    tera.register_filter("block", |text: &str, _: Kwargs, _: &State| block(text));
    tera.add_raw_template(name, text).map_err(fail)?;
    let context = Context::from_serialize(inputs).map_err(fail)?;
    tera.render(name, &context).map_err(fail)
}

/// Quotes a word for a shell.
pub(crate) fn shell(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// Writes a text as a YAML scalar: plain where every reader of YAML takes it for the same text, else quoted.
pub(crate) fn scalar(text: &str) -> String {
    let starts_like_a_number = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    let word = text.to_ascii_lowercase();
    let special = matches!(
        word.as_str(),
        "" | "~" | "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    let reads_back = || {
        let entry = yaml::from_str::<serde_json::Value>(&format!("k: {text}\n"));
        let item = yaml::from_str::<serde_json::Value>(&format!("- {text}\n"));
        entry.is_ok_and(|v| v == serde_json::json!({"k": text}))
            && item.is_ok_and(|v| v == serde_json::json!([text]))
    };
    if special || starts_like_a_number || text.contains(['\n', '\r', '\t']) || !reads_back() {
        quoted(text)
    } else {
        text.to_owned()
    }
}

/// Writes a text in double quotes, with the escapes of Go and YAML.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if u32::from(c) < 0x20 || u32::from(c) == 0x7f => {
                out.push_str(&format_escape('x', u32::from(c), 2));
            }
            c @ ('\u{80}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') => {
                out.push_str(&format_escape('u', u32::from(c), 4));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn format_escape(kind: char, value: u32, width: usize) -> String {
    format!("\\{kind}{value:0width$x}")
}

/// Indents the lines of a block scalar by six, the last empty one too.
fn block(text: &str) -> String {
    let indent = "      ";
    format!("{indent}{}", text.replace('\n', &format!("\n{indent}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_in_the_folder_are_listed() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/templates/bootstrap");
        let mut found: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|e| format!("bootstrap/{}", e.unwrap().file_name().to_str().unwrap()))
            .collect();
        found.sort();
        let mut listed: Vec<_> = ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
        listed.push("bootstrap/kubelet-settings.sh".to_owned());
        listed.sort();
        assert_eq!(found, listed);
    }

    #[test]
    fn a_missing_variable_is_an_error() {
        for (name, _) in ALL {
            assert!(render(name, &serde_json::json!({})).is_err(), "{name}");
        }
    }

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(shell("a/b-c"), "a/b-c");
        assert_eq!(shell("it's $x"), "'it'\\''s $x'");
        assert_eq!(shell(""), "''");
    }

    #[test]
    fn scalars_are_quoted_where_readers_differ() {
        for plain in [
            "root:root",
            "$6$hash",
            "ALL=(ALL) NOPASSWD:ALL",
            "ssh-ed25519 AAAA ops",
        ] {
            assert_eq!(scalar(plain), plain);
        }
        for quoted in [
            "yes", "0644", "a: b", "# x", "a #b", "*x", "", "1:20", "- a", "{a}", "x\ny",
        ] {
            assert!(scalar(quoted).starts_with('"'), "{quoted}");
        }
    }

    #[test]
    fn quotes_read_back() {
        let odd = "a\"b\\c\n\t\u{1}\u{7f}\u{85}\u{2028}é😀";
        let back: Vec<String> = yaml::from_str(&format!("- {}\n", quoted(odd))).unwrap();
        assert_eq!(back, [odd]);
    }
}
