//! The error that a user sees: what happened, why, and what to type next. Only `cli` makes and prints it.

use std::{error::Error, fmt};

/// What kind of failure it is; the exit code follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The operation failed.
    Failed,
    /// The command line or a file given by the user is wrong.
    Usage,
    /// The thing named does not exist.
    NotFound,
    /// It exists already, changed in between, or a precondition does not hold.
    Conflict,
    /// The cluster can't be reached or refuses access.
    Unreachable,
    /// Time ran out; what was begun may still come to its end.
    TimedOut,
    /// The user interrupted.
    Interrupted,
}

impl ErrorKind {
    /// Returns the exit code of the process.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Conflict => 4,
            Self::Unreachable => 5,
            Self::TimedOut => 6,
            Self::Interrupted => 130,
        }
    }
}

/// A failure of a command.
#[derive(Debug)]
pub struct CommandError {
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// What happened, as one sentence without a full stop.
    pub message: String,
    /// Why, as far as it is known.
    pub source: Option<Box<dyn Error + Send + Sync>>,
    /// What to do about it; each names something to type.
    pub hints: Vec<String>,
}

impl CommandError {
    /// Makes an error of a kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
            hints: Vec::new(),
        }
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hinted(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for CommandError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
