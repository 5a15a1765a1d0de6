//! How an error of a move becomes what the user sees.

use crate::{
    cli::error::of_api,
    error::{CommandError, ErrorKind},
    pivot::{
        MoveError, Problem,
        collect::ReadError,
        directory::DirectoryError,
        graph::ChoiceError,
        journal::{Found, Journal, Place},
    },
};

impl From<ReadError> for CommandError {
    fn from(error: ReadError) -> Self {
        let message = error.to_string();
        match error {
            ReadError::List { source, .. } => of_api(message, *source),
            ReadError::Unreadable { .. } => Self::new(ErrorKind::Failed, message),
        }
    }
}

impl From<ChoiceError> for CommandError {
    fn from(error: ChoiceError) -> Self {
        let message = error.to_string();
        match error {
            ChoiceError::NoSuchCluster { known, .. } if known.is_empty() => {
                Self::new(ErrorKind::NotFound, message)
                    .hinted("look in all namespaces: machinectl get clusters -A")
            }
            ChoiceError::NoSuchCluster { known, .. } => Self::new(ErrorKind::NotFound, message)
                .hinted(format!("there are these: {}", known.join(", "))),
            ChoiceError::SeveralClusters { .. } => {
                Self::new(ErrorKind::Usage, message).hinted("name the namespace: -n NAME")
            }
            ChoiceError::Unreadable { .. } => Self::new(ErrorKind::Failed, message),
        }
    }
}

impl From<DirectoryError> for CommandError {
    fn from(error: DirectoryError) -> Self {
        let message = error.to_string();
        match error {
            DirectoryError::File { source, .. } => {
                let kind = if source.kind() == std::io::ErrorKind::NotFound {
                    ErrorKind::NotFound
                } else {
                    ErrorKind::Failed
                };
                Self::new(kind, message)
                    .caused_by(source)
                    .hinted("name a directory that can be used")
            }
            DirectoryError::NoBackup { .. } => Self::new(ErrorKind::NotFound, message),
            DirectoryError::NotOurs { .. } => Self::new(ErrorKind::Conflict, message),
            DirectoryError::Object { .. } => Self::new(ErrorKind::Failed, message),
            DirectoryError::UnknownVersion { .. }
            | DirectoryError::Manifest { .. }
            | DirectoryError::Broken { .. }
            | DirectoryError::NoIdentity { .. }
            | DirectoryError::WrongIdentity { .. } => Self::new(ErrorKind::Usage, message),
        }
    }
}

impl From<MoveError> for CommandError {
    fn from(error: MoveError) -> Self {
        let message = error.to_string();
        match error {
            MoveError::Api { what, source } => of_api(what, *source),
            MoveError::Read(error) => error.into(),
            MoveError::Choice(error) => error.into(),
            MoveError::Directory(error) => error.into(),
            MoveError::SameCluster { .. } => {
                Self::new(ErrorKind::Usage, message).hinted("name another one: --to-context NAME")
            }
            MoveError::Nothing { .. } => Self::new(ErrorKind::NotFound, message)
                .hinted("look in another namespace: -n NAME, or in all: -A"),
            MoveError::Checks(problems) => {
                let kind = if problems.iter().all(|p| p.denied) {
                    ErrorKind::Unreachable
                } else {
                    ErrorKind::Conflict
                };
                with_hints(Self::new(kind, message), &problems).hinted("nothing was changed")
            }
            MoveError::TimedOut { problems, .. } => {
                with_hints(Self::new(ErrorKind::TimedOut, message), &problems).hinted("nothing was changed")
            }
            MoveError::Busy { journal, .. } => Self::new(ErrorKind::Conflict, message)
                .hinted(format!("to finish that one: {}", again(&journal)))
                .hinted(format!("to undo it: {} --abort", again(&journal))),
            MoveError::Taken { .. } => Self::new(ErrorKind::Conflict, message)
                .hinted("rename or delete one of the two, and type the command again"),
            MoveError::Unstable { .. } => Self::new(ErrorKind::Failed, message)
                .hinted("see which webhook or controller of the target changes it"),
            MoveError::Unequal(problems) => with_hints(Self::new(ErrorKind::Failed, message), &problems),
            MoveError::TakenOver(_) => {
                Self::new(ErrorKind::Conflict, message).hinted("see how far it is: machinectl move --status")
            }
            MoveError::LeaseLost { .. } => Self::new(ErrorKind::Unreachable, message),
            MoveError::Interrupted => Self::new(ErrorKind::Interrupted, message)
                .hinted("the same command goes on where this one stood")
                .hinted("to undo it: the same command with --abort")
                .hinted("to see how far it is: machinectl move --status"),
            MoveError::NoMove(_) => Self::new(ErrorKind::NotFound, message),
            MoveError::Committed(_) => Self::new(ErrorKind::Conflict, message)
                .hinted("the same command without --abort brings it to its end"),
            MoveError::Undone { cause, left: None } => Self::from(*cause)
                .hinted("what was done was undone: everything is in the source, and its controllers go on"),
            MoveError::Undone {
                cause,
                left: Some(left),
            } => {
                let left = Self::from(*left);
                Self::from(*cause).hinted(format!(
                    "not everything could be undone ({}): type the same command with --abort when both clusters answer",
                    left.message
                ))
            }
            MoveError::Halted { cause } => Self::from(*cause)
                .hinted("everything is in the target: the same command brings the move to its end"),
        }
    }
}

/// The hints of problems, each once.
fn with_hints(mut error: CommandError, problems: &[Problem]) -> CommandError {
    for hint in problems.iter().filter_map(|p| p.hint.as_ref()) {
        if !error.hints.contains(hint) {
            error = error.hinted(hint);
        }
    }
    error
}

/// The command that goes on with a move.
pub(super) fn again(journal: &Journal) -> String {
    let mut command = "machinectl move".to_owned();
    if let Some(Found::Directory { keep_existing }) = &journal.source.found {
        command.extend([" --from-directory ", &journal.source.context]);
        if *keep_existing {
            command.push_str(" --keep-existing");
        }
    } else {
        named(&mut command, &journal.source, "--kubeconfig", "--context");
    }
    named(&mut command, &journal.target, "--to-kubeconfig", "--to-context");
    match &journal.extent.namespace {
        Some(namespace) => command.extend([" -n ", namespace]),
        None => command.push_str(" -A"),
    }
    if let Some(cluster) = &journal.extent.cluster {
        command.extend([" --filter-cluster ", cluster]);
    }
    command
}

/// Names a cluster as the user did.
fn named(command: &mut String, place: &Place, file: &str, context: &str) {
    if let Some(Found::Kubeconfig(path)) = &place.found {
        command.extend([" ", file, " ", path]);
    }
    command.extend([" ", context, " ", &place.context]);
}
