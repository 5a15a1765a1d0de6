//! What the user sees: data on standard output, the story on standard error. It knows nothing of Kubernetes.
//!
//! Colour appears only on a terminal and never carries meaning of its own. The other files: [`table`], [`tree`],
//! [`progress`], [`prompt`].

pub mod progress;
pub mod prompt;
pub mod table;
pub mod tree;

use std::io::{self, IsTerminal, Write};

use serde_json::{Map, Value, json};

use crate::{
    error::CommandError,
    time::{Clock as _, SystemClock},
};

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loudness {
    /// Errors alone.
    Quiet,
    /// The story in short.
    Normal,
    /// Logs too; progress bars give way to plain lines.
    Verbose,
}

/// Writes to the terminal.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub struct Ui {
    loudness: Loudness,
    colour: bool,
    live: bool,
    interactive: bool,
    /// Each line of the story is a JSON object.
    json: bool,
}

/// A colour of the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Something is wrong.
    Red,
    /// Something deserves attention.
    Yellow,
    /// Something is well.
    Green,
    /// Less important.
    Dim,
    /// More important.
    Bold,
}

impl Colour {
    const fn code(self) -> &'static str {
        match self {
            Self::Red => "\u{1b}[31m",
            Self::Yellow => "\u{1b}[33m",
            Self::Green => "\u{1b}[32m",
            Self::Dim => "\u{1b}[2m",
            Self::Bold => "\u{1b}[1m",
        }
    }
}

impl Ui {
    /// Looks at the streams of this process. `no_colour` wins over what they can do.
    pub fn new(loudness: Loudness, no_colour: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        Self {
            loudness,
            colour: terminal && !no_colour,
            live: terminal && loudness == Loudness::Normal,
            interactive: terminal && io::stdin().is_terminal(),
            json: false,
        }
    }

    /// Writes the story for programs: one JSON object a line.
    pub const fn json(loudness: Loudness) -> Self {
        Self {
            loudness,
            colour: false,
            live: false,
            interactive: false,
            json: true,
        }
    }

    /// Whether each line of the story is a JSON object.
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// Whether the user can be asked.
    pub const fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// Whether lines can be redrawn.
    pub const fn is_live(&self) -> bool {
        self.live
    }

    /// Whether only errors are said.
    pub fn is_quiet(&self) -> bool {
        self.loudness == Loudness::Quiet
    }

    /// Writes data to standard output, as it is.
    ///
    /// # Errors
    /// Fails when nobody reads it any more.
    pub fn data(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        if !text.is_empty() && !text.ends_with('\n') {
            out.write_all(b"\n")?;
        }
        out.flush()
    }

    /// Writes bytes to standard output, as they are.
    ///
    /// # Errors
    /// Fails when nobody reads them any more.
    pub fn bytes(&self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }

    /// Tells a line of the story.
    pub fn say(&self, line: &str) {
        match (self.loudness, self.json) {
            (Loudness::Quiet, _) => {}
            (_, true) => to_stderr(&json_line("INFO", line, Map::new())),
            (_, false) => to_stderr(line),
        }
    }

    /// Tells of something that may be wrong.
    pub fn warn(&self, line: &str) {
        match (self.loudness, self.json) {
            (Loudness::Quiet, _) => {}
            (_, true) => to_stderr(&json_line("WARN", line, Map::new())),
            (_, false) => to_stderr(&format!("{} {line}", self.paint(Colour::Yellow, "warning:"))),
        }
    }

    /// Tells an error: what happened, why, and what to type next.
    pub fn error(&self, error: &CommandError) {
        if !self.json {
            return to_stderr(&self.describe_error(error));
        }
        let mut causes = Vec::new();
        let mut cause = std::error::Error::source(error);
        while let Some(source) = cause {
            causes.push(source.to_string());
            cause = source.source();
        }
        let fields = json!({ "causes": causes, "hints": error.hints });
        let more = Map::from_iter([("fields".to_owned(), fields)]);
        to_stderr(&json_line("ERROR", &error.message, more));
    }

    /// Gives a text a colour of standard error.
    pub fn paint(&self, colour: Colour, text: &str) -> String {
        if self.colour {
            format!("{}{text}\u{1b}[0m", colour.code())
        } else {
            text.to_owned()
        }
    }

    fn describe_error(&self, error: &CommandError) -> String {
        let mut lines = vec![format!("{} {}", self.paint(Colour::Red, "error:"), error.message)];
        let mut said = error.message.clone();
        let mut cause = std::error::Error::source(error);
        while let Some(source) = cause {
            let text = source.to_string();
            // A cause that was already told in full says nothing new.
            if !said.ends_with(&text) {
                lines.push(format!("  caused by: {text}"));
            }
            said = text;
            cause = source.source();
        }
        for hint in &error.hints {
            lines.push(format!("{} {hint}", self.paint(Colour::Bold, "hint:")));
        }
        lines.join("\n")
    }
}

/// A line for programs: when, how important, what; and more.
pub(crate) fn json_line(level: &str, message: &str, more: Map<String, Value>) -> String {
    let mut line = Map::from_iter([
        ("timestamp".to_owned(), SystemClock.now().to_string().into()),
        ("level".to_owned(), level.into()),
        ("message".to_owned(), message.into()),
    ]);
    line.extend(more);
    Value::Object(line).to_string()
}

/// Writes a line to standard error. Nobody can be told when that fails.
pub(crate) fn to_stderr(line: &str) {
    let _gone = writeln!(io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);

    fn plain() -> Ui {
        Ui {
            loudness: Loudness::Normal,
            colour: false,
            live: false,
            interactive: false,
            json: false,
        }
    }

    #[test]
    fn an_error_tells_each_cause_once_and_then_what_to_do() {
        let error = CommandError::new(ErrorKind::Failed, "can't do it")
            .caused_by(Outer(io::Error::other("inner")))
            .hinted("try this");
        assert_eq!(
            plain().describe_error(&error),
            "error: can't do it\n  caused by: outer\n  caused by: inner\nhint: try this"
        );
        let repeated = CommandError::new(ErrorKind::Failed, "can't do it: outer")
            .caused_by(Outer(io::Error::other("x")));
        assert_eq!(
            plain().describe_error(&repeated),
            "error: can't do it: outer\n  caused by: x"
        );
    }

    #[test]
    fn colour_is_left_out_where_it_is_not_wanted() {
        assert_eq!(plain().paint(Colour::Red, "x"), "x");
        let colourful = Ui {
            colour: true,
            ..plain()
        };
        assert_eq!(colourful.paint(Colour::Red, "x"), "\u{1b}[31mx\u{1b}[0m");
    }
}
