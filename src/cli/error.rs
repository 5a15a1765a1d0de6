//! How the errors of the rooms below become what the user sees: exit code and what to type next.

use kube::core::Status;

use crate::{
    apiserver::OpenError,
    client::{ClientError, embedded::EmbeddedError},
    cluster::{ClusterError, pivot::PivotError},
    error::{CommandError, ErrorKind},
    install::InstallError,
    kubeconfig::KubeconfigError,
    yaml::YamlError,
};

impl From<KubeconfigError> for CommandError {
    fn from(error: KubeconfigError) -> Self {
        let message = error.to_string();
        match error {
            KubeconfigError::Syntax { path, error } => located(&path.display().to_string(), &error),
            KubeconfigError::NotAKubeconfig { .. } => {
                Self::new(ErrorKind::Usage, message).hinted("name another file with --kubeconfig FILE")
            }
            KubeconfigError::Locked { path: _, lock } => {
                Self::new(ErrorKind::Conflict, message).hinted(format!(
                    "if no other program writes it just now, remove the lock: rm {}",
                    lock.display()
                ))
            }
            KubeconfigError::NoPlace => {
                Self::new(ErrorKind::Usage, message).hinted("name a file with --kubeconfig FILE")
            }
            KubeconfigError::Read { source, .. } | KubeconfigError::Write { source, .. } => {
                Self::new(ErrorKind::Failed, message)
                    .caused_by(source)
                    .hinted("name another file with --kubeconfig FILE")
            }
        }
    }
}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        match error {
            ClientError::Kubeconfig(error) => error.into(),
            ClientError::Embedded(error) => error.into(),
            ClientError::NoSuchFile(_) => Self::new(ErrorKind::Usage, message)
                .hinted("leave --kubeconfig out to use $KUBECONFIG or ~/.kube/config"),
            ClientError::NoSuchContext { name: _, known } => {
                let error = Self::new(ErrorKind::NotFound, message);
                if known.is_empty() {
                    error.hinted("use the API server in this program: --embedded")
                } else {
                    error.hinted(format!("it has these: {}", known.join(", ")))
                }
            }
            ClientError::NoManager { context, .. } => {
                Self::new(ErrorKind::NotFound, message).hinted(format!(
                    "bring that context back, or say which cluster to use: --context {context} or --embedded"
                ))
            }
            ClientError::NoState => Self::new(ErrorKind::Usage, message).hinted(format!(
                "set HOME, or name a folder: {}=DIR",
                crate::config::STATE_VARIABLE
            )),
            ClientError::Context { source, .. } => {
                Self::new(ErrorKind::Unreachable, message).caused_by(source)
            }
        }
    }
}

impl From<EmbeddedError> for CommandError {
    fn from(error: EmbeddedError) -> Self {
        let message = error.to_string();
        match error {
            EmbeddedError::Folder { dir: _, source } => Self::new(ErrorKind::Failed, message)
                .caused_by(source)
                .hinted(format!(
                    "name another folder: {}=DIR",
                    crate::config::STATE_VARIABLE
                )),
            EmbeddedError::Held { .. } => Self::new(ErrorKind::Conflict, message)
                .hinted("wait until the other machinectl has ended, or end it, and type the command again"),
            EmbeddedError::Store { dir, source } => {
                let advice = match source.as_ref() {
                    OpenError::InUse(_) => Some("wait until the other machinectl has ended, or end it"),
                    OpenError::NewerFormat { .. } => Some("use the newer release of machinectl"),
                    OpenError::Damaged { .. }
                    | OpenError::Unreadable { .. }
                    | OpenError::Folder { .. }
                    | OpenError::Keys { .. } => None,
                };
                let error = Self::new(store_kind(&source), message).caused_by(*source);
                if let Some(advice) = advice {
                    return error.hinted(advice);
                }
                error.hinted(format!(
                    "to begin anew, put the folder aside: mv {0} {0}.old",
                    dir.display()
                ))
            }
            EmbeddedError::Certificates { dir, source } => Self::new(ErrorKind::Failed, message)
                .caused_by(*source)
                .hinted(format!("remove them, new ones are made: rm -r {}", dir.display())),
            EmbeddedError::Listen { address: _, source } => Self::new(ErrorKind::Failed, message)
                .caused_by(source)
                .hinted("choose another address with --listen ADDRESS:PORT"),
            EmbeddedError::Connect { address: _, source } => {
                Self::new(ErrorKind::Unreachable, message).caused_by(source)
            }
        }
    }
}

const fn store_kind(error: &OpenError) -> ErrorKind {
    match error {
        OpenError::InUse(_) => ErrorKind::Conflict,
        _ => ErrorKind::Failed,
    }
}

impl From<InstallError> for CommandError {
    fn from(error: InstallError) -> Self {
        let message = error.to_string();
        match error {
            InstallError::Apply { source, .. }
            | InstallError::Api { source, .. }
            | InstallError::Version(source) => of_api(message, *source),
            InstallError::Checks(problems) => {
                let kind = if problems.iter().all(|p| p.forbidden) {
                    ErrorKind::Unreachable
                } else {
                    ErrorKind::Conflict
                };
                let mut hints: Vec<String> = Vec::new();
                for problem in problems {
                    if !hints.contains(&problem.hint) {
                        hints.push(problem.hint);
                    }
                }
                let error = Self::new(kind, message);
                hints.into_iter().fold(error, Self::hinted)
            }
            InstallError::NotAvailable(_) => Self::new(ErrorKind::TimedOut, message)
                .hinted("look at them: kubectl -n machinectl-system describe pods")
                .hinted("an image that no registry has: machinectl load image, or --controller-image IMAGE")
                .hinted("the same command waits on; not to wait: --wait=false"),
            InstallError::Machines(_) => Self::new(ErrorKind::Conflict, message)
                .hinted("see them: kubectl get machines -A")
                .hinted("delete them first, or leave them as they are: --leave-machines"),
            InstallError::Held(_) => {
                Self::new(ErrorKind::Conflict, message).hinted("end it, and type the same command again")
            }
            InstallError::NotGone(_) => Self::new(ErrorKind::TimedOut, message)
                .hinted("type the same command again, or give it more time: --timeout DURATION"),
            InstallError::NotEstablished { name, .. } => Self::new(ErrorKind::TimedOut, message)
                .hinted(format!("look at it: kubectl get crd {name} -o yaml")),
        }
    }
}

impl From<PivotError> for CommandError {
    fn from(error: PivotError) -> Self {
        let message = error.to_string();
        match error {
            PivotError::Cluster(error) => error.into(),
            PivotError::Install(error) => error.into(),
            PivotError::Move(error) => error.into(),
            PivotError::ManagesOthers { name, .. } => Self::new(ErrorKind::Conflict, message)
                .hinted(format!(
                    "move those first: machinectl move --context {} --to-context embedded -A --filter-cluster NAME",
                    crate::kubeconfig::context_name(&name)
                ))
                .hinted("or delete them first: machinectl delete cluster NAME"),
        }
    }
}

impl From<ClusterError> for CommandError {
    fn from(error: ClusterError) -> Self {
        let message = error.to_string();
        match error {
            ClusterError::Api { what, source } => of_api(what, *source),
            ClusterError::Kubeconfig(error) => error.into(),
            ClusterError::Client(error) => error.into(),
            ClusterError::Install(error) => error.into(),
            ClusterError::Name(_) | ClusterError::WorkerName { .. } => {
                Self::new(ErrorKind::Usage, message).hinted("choose another name, for example dev")
            }
            ClusterError::Containers { name, .. } => Self::new(ErrorKind::Conflict, message)
                .hinted(format!("remove them: machinectl delete cluster {name}"))
                .hinted("or choose another name"),
            ClusterError::Different { name, .. } => Self::new(ErrorKind::Conflict, message)
                .hinted(format!(
                    "to have more or fewer workers: machinectl scale machineset {name}-workers --replicas N"
                ))
                .hinted(format!("to have it anew: machinectl delete cluster {name}")),
            ClusterError::Taken { kind, name, .. } => Self::new(ErrorKind::Conflict, message)
                .hinted(format!(
                    "look at it: machinectl describe {} {name}",
                    kind.to_lowercase()
                ))
                .hinted("or choose another name"),
            ClusterError::NoCluster { .. } => Self::new(ErrorKind::NotFound, message)
                .hinted("see what there is: machinectl get clusters -A"),
            ClusterError::Missing { kind, .. } => Self::new(ErrorKind::NotFound, message).hinted(format!(
                "see what there is: machinectl get {}s -A",
                kind.to_lowercase()
            )),
            ClusterError::NoNode { machine } => Self::new(ErrorKind::Conflict, message).hinted(format!(
                "see how far it is: machinectl describe machine {machine}"
            )),
            ClusterError::NoAccess { cluster, .. } => Self::new(ErrorKind::Unreachable, message)
                .hinted(format!("see how it is: machinectl describe cluster {cluster}")),
            ClusterError::Silent(_) => Self::new(ErrorKind::Unreachable, message)
                .hinted("see whether the cluster is up, and type the command again"),
            ClusterError::NotInstalled(context) => Self::new(ErrorKind::Conflict, message)
                .hinted(format!(
                    "install the kinds first: machinectl init --context {context}"
                ))
                .hinted("or use the API server in this program: --embedded"),
            ClusterError::Docker(source) => Self::new(ErrorKind::Unreachable, message).caused_by(source),
            ClusterError::Engine { what: _, source } => {
                Self::new(ErrorKind::Failed, message).caused_by(source)
            }
            ClusterError::Controllers(source) => Self::new(ErrorKind::Failed, message).caused_by(source),
            ClusterError::TimedOut { .. } => Self::new(ErrorKind::TimedOut, message)
                .hinted("the same command goes on where this one stood; to wait longer: --timeout DURATION"),
            ClusterError::Document { what: _, source } => {
                Self::new(ErrorKind::Failed, message).caused_by(source)
            }
            ClusterError::Template(_, source) => Self::new(ErrorKind::Failed, message).caused_by(source),
            ClusterError::MachineFailed { .. } | ClusterError::ControllersEnded => {
                Self::new(ErrorKind::Failed, message)
            }
        }
    }
}

/// An error of a file that the user wrote: where it is, and the line itself.
pub(crate) fn located(file: &str, error: &YamlError) -> CommandError {
    let place = if error.line == 0 {
        file.to_owned()
    } else {
        format!("{file}:{}:{}", error.line, error.column)
    };
    let mut message = format!("{place}: {}", error.message);
    if !error.text.is_empty() {
        message.push_str("\n    ");
        message.push_str(&error.text);
        if error.column > 0 && error.text.chars().count() + 1 >= error.column {
            message.push_str("\n    ");
            message.push_str(&" ".repeat(error.column - 1));
            message.push('^');
        }
    }
    CommandError::new(ErrorKind::Usage, message)
}

/// An error of the API server, or of the way to it. `what` says what could not be done.
pub(crate) fn of_api(what: impl Into<String>, error: kube::Error) -> CommandError {
    let what = what.into();
    match error {
        kube::Error::Api(status) => of_status(what, *status),
        error => {
            let unreachable = !matches!(error, kube::Error::SerdeError(_) | kube::Error::BuildRequest(_));
            let kind = if unreachable {
                ErrorKind::Unreachable
            } else {
                ErrorKind::Failed
            };
            let error = CommandError::new(kind, what).caused_by(error);
            if unreachable {
                error.hinted("see whether the cluster is up, or name another: --context NAME or --embedded")
            } else {
                error
            }
        }
    }
}

fn of_status(what: String, status: Status) -> CommandError {
    let kind = match (status.code, status.reason.as_str()) {
        (404, _) => ErrorKind::NotFound,
        (409, _) => ErrorKind::Conflict,
        (401 | 403, _) => ErrorKind::Unreachable,
        (408 | 504, _) => ErrorKind::TimedOut,
        (400 | 422, _) => ErrorKind::Usage,
        _ => ErrorKind::Failed,
    };
    let code = status.code;
    let reason = status.reason.clone();
    let missing = status
        .details
        .filter(|d| code == 404 && d.kind == "namespaces" && !d.name.is_empty());
    let error = CommandError::new(kind, what).caused_by(Refused(status.message));
    if let Some(missing) = missing {
        return error.hinted(format!("kubectl create namespace {}", missing.name));
    }
    match (code, reason.as_str()) {
        (401 | 403, _) => error.hinted("use a context with more rights: --context NAME"),
        (409, "AlreadyExists") => error.hinted("choose another name, or delete the old object first"),
        _ => error,
    }
}

/// What the API server said.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

#[cfg(test)]
mod tests {
    use super::*;

    fn api(code: u16) -> CommandError {
        let status = Status {
            code,
            message: "no".into(),
            ..Status::default()
        };
        of_api("can't", kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn answers_of_the_api_server_have_their_exit_codes() {
        let codes = [404, 409, 403, 401, 504, 422, 500].map(|c| api(c).kind.exit_code());
        assert_eq!(codes, [3, 4, 5, 5, 6, 2, 1]);
    }

    #[test]
    fn a_namespace_that_is_missing_can_be_made() {
        let details = kube::core::response::StatusDetails {
            kind: "namespaces".into(),
            name: "foo".into(),
            group: String::new(),
            uid: String::new(),
            causes: Vec::new(),
            retry_after_seconds: 0,
        };
        let status = Status {
            code: 404,
            details: Some(details),
            ..Status::default()
        };
        let error = of_api("can't", kube::Error::Api(Box::new(status)));
        assert_eq!(error.hints, ["kubectl create namespace foo"]);
    }

    #[test]
    fn an_error_in_a_file_shows_the_line_and_points_at_it() {
        let error = YamlError {
            message: "bad indentation".into(),
            line: 3,
            column: 5,
            text: "  a: b: c".into(),
        };
        assert_eq!(
            located("x.yaml", &error).message,
            "x.yaml:3:5: bad indentation\n      a: b: c\n        ^"
        );
    }
}
