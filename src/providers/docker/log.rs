//! The end of a log, fit to be shown: without terminal codes and without secrets. Pure.

use std::sync::LazyLock;

use regex::Regex;

/// Lines that are shown.
const LINES: usize = 20;
/// Bytes that are shown, about.
const BYTES: usize = 3000;

static CONTROL: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b\][^\x07]*\x07"));
static PRIVATE_KEY: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)")
});
/// Each pattern keeps its first group and loses the rest.
static SECRETS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    [
        // bootstrap tokens, and JSON Web Tokens
        r"()\b[a-z0-9]{6}\.[a-z0-9]{16}\b",
        r"()\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?",
        // name: value, name=value, --name value
        r#"(?i)([A-Za-z0-9_-]*(?:password|passwd|secret|token|api[_-]?key|certificate-key|access[_-]?key)[A-Za-z0-9_-]*["']?\s*[=:]\s*)["']?[^\s"',]+"#,
        r"(?i)(--[a-z-]*(?:password|secret|token|key)\s+)[^\s-]\S*",
        r"(?i)(\b(?:bearer|basic)\s+)[A-Za-z0-9+/=._-]{8,}",
        r"(://)[^/\s:@]*:[^/\s@]+@",
        // key material in YAML or JSON
        r#"(?i)((?:client-key-data|tls\.key|private[_-]?key)["']?\s*:\s*)["']?[A-Za-z0-9+/=]{16,}"#,
    ]
    .into_iter()
    .map(pattern)
    .collect()
});

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("invariant: the pattern is a constant")
}

/// Replaces what looks like a secret by `<redacted>`.
pub(super) fn redact(text: &str) -> String {
    let mut text = PRIVATE_KEY.replace_all(text, "<redacted>").into_owned();
    for secret in SECRETS.iter() {
        text = secret.replace_all(&text, "${1}<redacted>").into_owned();
    }
    text
}

/// Returns the last lines of a log, without terminal codes and without secrets.
pub(super) fn tail(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log);
    let text = CONTROL.replace_all(&text, "");
    // redacted before it is cut: half a secret would not be known for one
    let text = redact(&text.replace('\r', ""));
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            line.chars()
                .filter(|c| *c == '\t' || !c.is_control())
                .collect::<String>()
        })
        .map(|line| line.trim_end().to_owned())
        .filter(|line| !line.is_empty())
        .collect();
    let mut kept = Vec::new();
    let mut size = 0;
    for line in lines.iter().rev().take(LINES) {
        let line: String = line.chars().take(500).collect();
        size += line.len() + 1;
        if size > BYTES && !kept.is_empty() {
            break;
        }
        kept.push(line);
    }
    kept.reverse();
    kept.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_out() {
        for (line, expected) in [
            (
                "kubeadm join demo:6443 --token abcdef.0123456789abcdef --discovery-token-ca-cert-hash sha256:1f",
                "kubeadm join demo:6443 --token <redacted> --discovery-token-ca-cert-hash sha256:1f",
            ),
            ("using abcdef.0123456789abcdef now", "using <redacted> now"),
            ("password: hunter2, next", "password: <redacted>, next"),
            ("DB_PASSWORD='hunter2'", "DB_PASSWORD=<redacted>'"),
            ("{\"token\": \"hunter2\"}", "{\"token\": <redacted>\"}"),
            (
                "Authorization: Bearer abcdefgh1234",
                "Authorization: Bearer <redacted>",
            ),
            (
                "proxy http://me:hunter2@proxy:3128",
                "proxy http://<redacted>proxy:3128",
            ),
            ("jwt eyJhbGciOi.eyJzdWIiOi.c2ln", "jwt <redacted>"),
            (
                "a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----\nb",
                "a\n<redacted>\nb",
            ),
            ("the token has expired", "the token has expired"),
            (
                "unable to fetch the kubeadm-config ConfigMap",
                "unable to fetch the kubeadm-config ConfigMap",
            ),
        ] {
            assert_eq!(redact(line), expected);
        }
    }

    #[test]
    fn the_end_is_kept_without_terminal_codes() {
        let lines: Vec<String> = (1..100)
            .map(|n| format!("[\x1b[0;32m  OK  \x1b[0m] line {n}\r\n\r\n"))
            .collect();
        let log = lines.concat();
        let shown = tail(log.as_bytes());
        assert_eq!(shown.lines().count(), LINES);
        assert!(shown.starts_with("[  OK  ] line 80\n"), "{shown}");
        assert!(shown.ends_with("[  OK  ] line 99"), "{shown}");
        assert!(tail("é".repeat(90_000).as_bytes()).len() <= 1000);
        assert_eq!(tail(b""), "");
    }
}
