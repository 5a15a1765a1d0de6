//! What every command is given: the user interface, the settings, and a session on demand.

use tracing_subscriber::EnvFilter;

use super::{args::GlobalArgs, logging::JsonLines};
use crate::{
    client::{self, Place, Selection, Session, Target, Why, embedded},
    config::Settings,
    error::{CommandError, ErrorKind},
    kubeconfig::{Kubeconfig, Paths},
    ui::{Loudness, Ui},
};

/// What a command does with the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It looks.
    Read,
    /// It changes something, and says where.
    Change,
    /// As `Change`; the file of `--kubeconfig` is written and may not exist yet.
    WriteKubeconfig,
}

/// Everything that commands share.
pub(crate) struct App {
    /// Speaks to the user.
    pub(crate) ui: Ui,
    /// What the environment says.
    pub(crate) settings: Settings,
    /// What the command line says about the cluster.
    pub(crate) selection: Selection,
    verbosity: u8,
}

impl App {
    /// Takes the global flags in. `json` says that what goes to standard error is for programs.
    pub(crate) fn new(globals: GlobalArgs, settings: Settings, json: bool) -> Self {
        let GlobalArgs {
            context,
            kubeconfig,
            embedded,
            namespace,
            verbose,
            quiet,
        } = globals;
        let loudness = match (quiet, verbose) {
            (true, _) => Loudness::Quiet,
            (false, 0) => Loudness::Normal,
            (false, _) => Loudness::Verbose,
        };
        Self {
            ui: if json {
                Ui::json(loudness)
            } else {
                Ui::new(loudness, settings.no_colour)
            },
            settings,
            selection: Selection {
                context,
                kubeconfig,
                embedded,
                namespace,
            },
            verbosity: verbose,
        }
    }

    /// Sends logs to standard error, as far as `-v` asks for them. Requests are logged by address; bodies, which may hold
    /// secrets, at no level.
    pub(crate) fn start_logging(&self) {
        // Whoever collects logs wants some.
        let least = u8::from(self.ui.is_json() && !self.ui.is_quiet());
        let filter = match self.verbosity.max(least) {
            0 => return,
            1 => "warn,machinectl=info",
            2 => "info,machinectl=debug,kube_client=debug",
            _ => "debug,hyper=info,hyper_util=info,h2=info,rustls=info,tower=info",
        };
        let builder = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(filter))
            .with_writer(std::io::stderr);
        // It fails only when somebody has set one before, and nobody has.
        let _set = if self.ui.is_json() {
            tracing::subscriber::set_global_default(builder.event_format(JsonLines).finish())
        } else {
            tracing::subscriber::set_global_default(builder.with_ansi(self.ui.is_live()).finish())
        };
    }

    /// Chooses the cluster without connecting to it.
    pub(crate) fn choose(&self, purpose: Purpose) -> Result<(Target, Kubeconfig, Paths), CommandError> {
        let may_be_missing = purpose == Purpose::WriteKubeconfig;
        Ok(client::choose(&self.selection, &self.settings, may_be_missing)?)
    }

    /// Connects to the cluster that the command line, the kubeconfig and its extensions lead to.
    pub(crate) async fn connect(&self, purpose: Purpose) -> Result<(Session, Paths), CommandError> {
        let (target, _, paths) = self.choose(purpose)?;
        let session = self.connect_to(target, &paths, purpose).await?;
        Ok((session, paths))
    }

    /// Chooses the cluster of a context itself, whoever manages it: what is installed is installed there. A hollow cluster has no other API
    /// server than the embedded one.
    pub(crate) fn choose_itself(&self, purpose: Purpose) -> Result<(Target, Paths), CommandError> {
        let (mut target, config, paths) = self.choose(purpose)?;
        let is_embedded = |name: &str| match &target.place {
            Place::Embedded(dir) => config
                .authority(name)
                .is_some_and(|ca| embedded::is_authority(dir, ca)),
            Place::Context(_) | Place::InCluster => false,
        };
        if let Why::Manages(name) = &target.why
            && !is_embedded(name)
        {
            target.place = Place::Context(name.clone());
            target.why = if self.selection.context.is_some() {
                Why::Flag("--context")
            } else {
                Why::Current
            };
        }
        Ok((target, paths))
    }

    /// Connects to the cluster of a context itself.
    pub(crate) async fn connect_itself(&self, purpose: Purpose) -> Result<Session, CommandError> {
        let (target, paths) = self.choose_itself(purpose)?;
        self.connect_to(target, &paths, purpose).await
    }

    /// Connects to a cluster that was chosen already.
    pub(crate) async fn connect_to(
        &self,
        target: Target,
        paths: &Paths,
        purpose: Purpose,
    ) -> Result<Session, CommandError> {
        if purpose != Purpose::Read {
            self.ui
                .say(&format!("Using context \"{}\": {}", target.name(), target.why));
        }
        Ok(client::connect(target, paths).await?)
    }

    /// Writes data to standard output.
    pub(crate) fn data(&self, text: &str) -> Result<(), CommandError> {
        self.ui.data(text).map_err(unwritten)
    }

    /// Writes bytes that are data, such as a script, to standard output.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), CommandError> {
        self.ui.bytes(bytes).map_err(unwritten)
    }
}

impl App {
    /// Makes the embedded server able to hold machines; on another cluster that is `init`'s business.
    pub(crate) async fn prepare(&self, session: &Session) -> Result<(), CommandError> {
        if session.server.is_some() {
            crate::install::definitions(&session.client, false).await?;
        }
        Ok(())
    }

    /// Says who acts on what was written, or that nobody does.
    pub(crate) async fn say_who_acts(&self, session: &Session) {
        use crate::time::{Clock, SystemClock};
        let holder = crate::controllers::lease::holder(&session.client, SystemClock.now()).await;
        if matches!(holder, Ok(None)) {
            let flag = if session.target.is_embedded() {
                "--embedded".to_owned()
            } else {
                format!("--context {}", session.target.name())
            };
            self.ui.say(&format!(
                "No controllers run there. To make objects come alive, type: machinectl run {flag}"
            ));
        }
    }
}

fn unwritten(source: std::io::Error) -> CommandError {
    CommandError::new(ErrorKind::Failed, "can't write to standard output").caused_by(source)
}
