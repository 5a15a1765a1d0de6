//! Why a move ends before its end.

use super::{
    collect::ReadError,
    directory::DirectoryError,
    graph::ChoiceError,
    journal::{Journal, Side},
};

/// Why a move ends before its end.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// An API server refuses, or can't be reached.
    #[error("{what}")]
    Api {
        /// What could not be done.
        what: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// Objects can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A directory can't be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// It can't be said what moves.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// Source and target are one cluster.
    #[error("context \"{source_context}\" and context \"{target_context}\" lead to the same cluster")]
    SameCluster {
        /// From where.
        source_context: String,
        /// To where.
        target_context: String,
    },
    /// There is nothing to move.
    #[error("there is nothing to move in {place}")]
    Nothing {
        /// Where was looked.
        place: String,
    },
    /// Something stands in the way. Nothing was changed.
    #[error("can't move yet:\n{}", list(.0))]
    Checks(Vec<Problem>),
    /// Another move is under way.
    #[error("another move is under way: {0} in the {1}, {2}", .journal.id, .side, describe(.journal))]
    Busy {
        /// Where its journal stands.
        side: Side,
        /// The move.
        journal: Box<Journal>,
    },
    /// An object bears the name of one that moves, and is another one.
    #[error("{key} was made in the target by somebody else after the move began")]
    Taken {
        /// The object.
        key: String,
    },
    /// An object does not stay as it was written.
    #[error("{key} does not stay in the target as it is written there: {field} is changed each time")]
    Unstable {
        /// The object.
        key: String,
        /// Where it differs.
        field: String,
    },
    /// At the end the two places were not equal.
    #[error("source and target are not equal:\n{}", list(.0))]
    Unequal(Vec<Problem>),
    /// Another process goes on with it.
    #[error("the move was taken over by another process: {0}")]
    TakenOver(String),
    /// An API server could not be asked for so long that somebody else may go on with the move.
    #[error("the Lease in the {side} could not be renewed in time: {why}")]
    LeaseLost {
        /// Where.
        side: Side,
        /// What came of the last attempt.
        why: String,
    },
    /// The user has asked for its end.
    #[error("interrupted")]
    Interrupted,
    /// There is nothing to undo.
    #[error("no move is under way in context \"{0}\"")]
    NoMove(String),
    /// It is too late to undo it.
    #[error("move {0} is committed: everything is in the target, and it only goes forward")]
    Committed(String),
    /// Time is over while something is waited for.
    #[error("waited {limit} and it is still so:\n{}", list(.problems))]
    TimedOut {
        /// How long.
        limit: String,
        /// For what.
        problems: Vec<Problem>,
    },
    /// It failed, and what was done was undone.
    #[error("{cause}")]
    Undone {
        /// Why it failed.
        #[source]
        cause: Box<Self>,
        /// What could not be undone, if anything.
        left: Option<Box<Self>>,
    },
    /// It failed after it was committed.
    #[error("{cause}")]
    Halted {
        /// Why it failed.
        #[source]
        cause: Box<Self>,
    },
}

impl MoveError {
    /// What failed for `cause` before it was committed, and was undone then.
    pub(super) fn undone(cause: Self, undo: Result<(), Self>) -> Self {
        let cause = Box::new(cause);
        match undo {
            Ok(()) => Self::Undone { cause, left: None },
            // It was committed, but the answer was lost.
            Err(Self::Committed(_)) => Self::Halted { cause },
            Err(left) => Self::Undone {
                cause,
                left: Some(Box::new(left)),
            },
        }
    }
}

/// Something that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// What, and where.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whether it may go away by itself.
    pub passes: bool,
    /// Whether it is a right that is missing.
    pub denied: bool,
}

impl Problem {
    /// One that stays.
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            hint: None,
            passes: false,
            denied: false,
        }
    }

    /// One that may go away by itself.
    pub(super) fn passing(what: impl Into<String>) -> Self {
        Self {
            passes: true,
            ..Self::new(what)
        }
    }

    /// A right that is missing.
    pub(super) fn denied(what: impl Into<String>) -> Self {
        Self {
            denied: true,
            ..Self::new(what)
        }
    }

    /// Says what to do about it.
    pub(super) fn hinted(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Problems that are told; of more only their number is.
const TOLD: usize = 50;

fn list(problems: &[Problem]) -> String {
    let mut lines: Vec<String> = problems
        .iter()
        .take(TOLD)
        .map(|p| format!("  - {}", p.what))
        .collect();
    if let Some(more) = problems.len().checked_sub(TOLD).filter(|more| *more > 0) {
        lines.push(format!("  - and {more} more"));
    }
    lines.join("\n")
}

fn describe(journal: &Journal) -> String {
    format!(
        "from \"{}\" to \"{}\", begun {}",
        journal.source.context, journal.target.context, journal.begun
    )
}

impl MoveError {
    /// Whether an API server refuses it for want of a right.
    pub(super) fn is_forbidden(&self) -> bool {
        let (Self::Api { source, .. } | Self::Read(ReadError::List { source, .. })) = self else {
            return false;
        };
        matches!(&**source, kube::Error::Api(status) if status.code == 403)
    }

    /// An object that is no JSON.
    pub(super) fn unreadable(object: impl std::fmt::Display, why: serde_json::Error) -> Self {
        Self::api(format!("can't read {object}"), kube::Error::SerdeError(why))
    }

    /// An error of an API server.
    pub(super) fn api(what: impl Into<String>, source: kube::Error) -> Self {
        Self::Api {
            what: what.into(),
            source: Box::new(source),
        }
    }
}
