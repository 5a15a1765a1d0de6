//! The only user of the YAML crate: documents in, documents out, and errors that point at the line.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// What is wrong with a YAML text, and where. Lines and columns count from 1; 0 means "not known".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct YamlError {
    /// What is wrong, in lower case.
    pub message: String,
    /// Line in the whole text.
    pub line: usize,
    /// Column in that line.
    pub column: usize,
    /// The line itself, so that it can be shown.
    pub text: String,
}

impl YamlError {
    fn new(error: &serde_yaml::Error, source: &str, first_line: usize) -> Self {
        let (line, column) = error.location().map_or((0, 0), |l| (l.line(), l.column()));
        let full = error.to_string();
        let message = full.split(" at line ").next().unwrap_or(&full).to_owned();
        let text = source
            .lines()
            .nth(line.saturating_sub(1))
            .unwrap_or_default()
            .to_owned();
        Self {
            message,
            line: if line == 0 { 0 } else { line + first_line - 1 },
            column,
            text,
        }
    }
}

/// One document of a text with several, and the line it begins on.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The document as JSON.
    pub value: Value,
    /// Line of the whole text on which the document begins, from 1.
    pub line: usize,
}

/// How deep brackets may be open in a text. The parser takes time for each token and each bracket that is open there, and
/// what nests deeper than 128 is refused anyway; what is quoted counts as well, so this leaves room.
const DEPTH: usize = 1000;

/// Refuses a text that would keep the parser busy for long.
fn check_depth(text: &str) -> Result<(), YamlError> {
    let mut depth = 0_usize;
    for (line, content) in text.lines().enumerate() {
        for byte in content.bytes() {
            match byte {
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > DEPTH {
                return Err(YamlError {
                    message: format!("exceeded max depth of {DEPTH}"),
                    line: line + 1,
                    column: 0,
                    text: content.chars().take(80).collect(),
                });
            }
        }
    }
    Ok(())
}

/// Reads all documents of a text. Empty documents are left out.
pub fn documents(text: &str) -> Result<Vec<Document>, YamlError> {
    check_depth(text)?;
    split(text)
        .into_iter()
        .map(|(line, part)| {
            let value: Value = serde_yaml::from_str(part).map_err(|e| YamlError::new(&e, part, line))?;
            Ok(Document { value, line })
        })
        .filter(|d| {
            !matches!(
                d,
                Ok(Document {
                    value: Value::Null,
                    ..
                })
            )
        })
        .collect()
}

/// Reads one document.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    check_depth(text)?;
    serde_yaml::from_str(text).map_err(|e| YamlError::new(&e, text, 1))
}

/// Writes one document, without a leading `---`.
///
/// # Errors
/// Fails when the value has no YAML form (a map whose keys are not scalars).
pub fn to_string<T: Serialize>(value: &T) -> Result<String, YamlError> {
    serde_yaml::to_string(value).map_err(|e| YamlError::new(&e, "", 1))
}

/// Cuts a text at its `---` lines into (first line, part).
fn split(text: &str) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut start_line, mut offset) = (0, 1, 0);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let bare = line.trim_end();
        if bare == "---" || bare.starts_with("--- ") || bare == "..." {
            parts.push((start_line, &text[start..offset]));
            start = offset + line.len();
            start_line = index + 2;
        }
        offset += line.len();
    }
    parts.push((start_line, &text[start..]));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_keep_their_first_line() {
        let docs = documents("---\na: 1\n---\n# nothing\n---\nb: 2\n").unwrap();
        assert_eq!(docs.iter().map(|d| d.line).collect::<Vec<_>>(), [2, 6]);
    }

    #[test]
    fn an_error_names_line_column_and_text_of_the_whole_file() {
        let error = documents("a: 1\n---\nb:\n  c: [1, 2\n  d: 3\n").unwrap_err();
        assert!(error.line >= 4, "{error:?}");
        assert!(!error.text.is_empty(), "{error:?}");
    }

    #[test]
    fn what_is_too_deep_is_refused_before_it_is_read() {
        let error = from_str::<Value>(&format!("a: 1\nb: {}", "[".repeat(100_000))).unwrap_err();
        assert_eq!(
            (error.message.as_str(), error.line),
            ("exceeded max depth of 1000", 2)
        );
        let many: Value = from_str(&"- [a]\n".repeat(2000)).unwrap();
        assert_eq!(many.as_array().unwrap().len(), 2000);
    }

    #[test]
    fn a_block_scalar_may_hold_dashes_when_they_are_indented() {
        let docs = documents("a: |\n  x\n  ---\n  y\n").unwrap();
        assert_eq!(docs[0].value["a"], "x\n---\ny\n");
    }
}
