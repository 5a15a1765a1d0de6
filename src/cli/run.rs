//! `run`: the controllers, and on the embedded API server that one too, until interrupted.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use clap::{Args, ValueEnum};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use super::{
    context::{App, Purpose},
    serve::{AuditArgs, ListenArgs, listen_and_merge, stopped},
};
use crate::{
    client::{Place, Session},
    cluster::running,
    controllers::{
        self,
        enabled::Enabled,
        lease,
        metrics::{self, Metrics},
    },
    error::{CommandError, ErrorKind},
    install,
    time::{Clock as _, SystemClock},
};

/// Run the controllers until interrupted
///
/// On the embedded API server they run together with it: it listens on loopback for kubectl, as context "embedded".
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    audit: AuditArgs,
    #[command(flatten)]
    metrics: MetricsArgs,
    /// Act on the objects of all namespaces, which is the default; --namespace restricts it to one
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Run these controllers only: names with commas; * stands for all, -NAME leaves one out
    #[arg(long, value_name = "LIST", default_value = "*", allow_hyphen_values = true)]
    controllers: Enabled,
    /// How the story and the logs are written: as lines for people, or as one JSON object a line
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

/// How the story and the logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line: timestamp, level, message, and what else is known
    Json,
}

impl RunArgs {
    /// Whether each line on standard error is a JSON object.
    pub(crate) fn is_json(&self) -> bool {
        self.log_format == LogFormat::Json
    }
}

/// What is told about the controllers over HTTP.
#[derive(Debug, Clone, Args)]
struct MetricsArgs {
    /// Serve /metrics, /healthz, /livez and /readyz here, without TLS: ADDRESS:PORT, or :PORT for all addresses; 0: nowhere
    #[arg(long, value_name = "ADDRESS", default_value = "0", value_parser = metrics_address)]
    metrics_addr: MetricsAddress,
    /// Serve the metrics of machines a second time, under their mapi_… names
    #[arg(long)]
    compat_metrics: bool,
}

/// Where to listen; nothing: nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MetricsAddress(Option<SocketAddr>);

/// Reads an address as controller-runtime's metrics-bind-address does.
fn metrics_address(text: &str) -> Result<MetricsAddress, String> {
    if ["", "0"].contains(&text) {
        return Ok(MetricsAddress(None));
    }
    let wrong = || "write ADDRESS:PORT, for example 127.0.0.1:8080, or :PORT, or 0".to_owned();
    let address = match text.strip_prefix(':') {
        Some(port) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, port.parse().map_err(|_| wrong())?)),
        None => match text.strip_prefix("localhost:") {
            Some(port) => SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().map_err(|_| wrong())?)),
            None => text.parse().map_err(|_| wrong())?,
        },
    };
    Ok(MetricsAddress(Some(address)))
}

/// How long to wait before the controllers are started again after a failure.
const AGAIN: Duration = Duration::from_secs(3);

/// How often a server in another process is asked whether it is still there, and how often it may fail to answer.
const LOOK: Duration = Duration::from_secs(2);
const PATIENCE: usize = 3;

/// Why the controllers ended.
enum End {
    /// Somebody asked for it.
    Asked,
    /// The process that served the embedded API server has ended.
    ServerGone,
}

pub(crate) async fn run(app: &App, args: RunArgs) -> Result<(), CommandError> {
    let RunArgs {
        listen,
        audit,
        metrics,
        all_namespaces,
        controllers: enabled,
        log_format: _,
    } = args;
    if enabled.is_empty() {
        return Err(
            CommandError::new(ErrorKind::Usage, "no controller is left to run")
                .hinted("leave some out: --controllers '*,-NAME'"),
        );
    }
    // The parser can't tell: a global flag is none of the command's own.
    if all_namespaces && app.selection.namespace.is_some() {
        return Err(CommandError::new(
            ErrorKind::Usage,
            "--all-namespaces and --namespace can't be given together",
        )
        .hinted("leave one of them out"));
    }
    let restriction = Restriction {
        namespace: app.selection.namespace.clone(),
        enabled,
    };
    let counts = Arc::<Metrics>::default();
    // It ends with this command.
    let serving = serve_metrics(app, &metrics, &counts).await?;
    loop {
        let (mut session, paths) = app.connect(Purpose::WriteKubeconfig).await?;
        if session.server.is_some() {
            audit.begin(app, &session)?;
            listen_and_merge(app, &mut session, &paths, listen).await?;
            // Whoever held the Lease in this state folder has died: the folder could be opened.
            lease::remove(&session.client)
                .await
                .map_err(|e| super::error::of_api("can't remove the lease of a process that has died", e))?;
        } else {
            if audit.is_given() {
                app.ui.warn(
                    "--audit-log is for the API server in this program, which this process does not serve",
                );
            }
            check_installed(app, &session).await?;
        }
        let end = control(app, &session, &counts, serving.is_some(), &restriction).await;
        if let Some(server) = session.server {
            server.stop().await;
        }
        match end {
            End::Asked => return Ok(()),
            End::ServerGone => app
                .ui
                .say("The process that served the embedded API server has ended; this one takes over."),
        }
    }
}

/// What the controllers leave alone.
struct Restriction {
    namespace: Option<String>,
    enabled: Enabled,
}

/// Runs the controllers until somebody asks for their end, or there is nothing to talk to any more.
async fn control(
    app: &App,
    session: &Session,
    metrics: &Arc<Metrics>,
    served: bool,
    restriction: &Restriction,
) -> End {
    let docker = match running::docker(None).await {
        Ok(docker) => Some(docker),
        Err(error) => {
            let why =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            app.ui
                .warn(&format!("no Docker machines, only hollow ones: {why}"));
            None
        }
    };
    let client = if served {
        metrics::counted(&session.client, &session.host, Arc::clone(metrics))
    } else {
        session.client.clone()
    };
    let actuators = running::actuators(&client, docker);
    let (stop, _) = watch::channel(false);
    let within = restriction
        .namespace
        .as_ref()
        .map_or_else(String::new, |n| format!(" in namespace {n}"));
    let context = session.target.name();
    let holder = lease::holder(&session.client, SystemClock.now()).await;
    app.ui.say(&match holder {
        Ok(Some(holder)) => format!(
            "Standing by on context \"{context}\"{within}: {holder} runs the controllers now; Ctrl-C ends it"
        ),
        _ => format!("Controllers ready on context \"{context}\"{within}; Ctrl-C ends them"),
    });
    let work = async {
        loop {
            let mut stopping = stop.subscribe();
            let context = controllers::Context {
                metrics: Arc::clone(metrics),
                in_pod: session.target.place == Place::InCluster,
                namespace: restriction.namespace.clone(),
                enabled: restriction.enabled.clone(),
                ..controllers::Context::new(client.clone(), actuators.clone(), Arc::new(SystemClock))
            };
            let until = async move {
                // The sender lives as long as this command.
                let _ended = stopping.wait_for(|stop| *stop).await;
            };
            let ended = controllers::run(context, until).await;
            if *stop.borrow() {
                return;
            }
            if let Err(error) = ended {
                let why = std::error::Error::source(&error).map_or_else(String::new, |s| format!(": {s}"));
                app.ui.warn(&format!("{error}{why}; trying again"));
            }
            tokio::time::sleep(AGAIN).await;
        }
    };
    let mut work = std::pin::pin!(work);
    let end = tokio::select! {
        () = &mut work => End::Asked,
        () = stopped() => {
            app.ui.say("Stopping.");
            End::Asked
        }
        () = gone(session) => End::ServerGone,
    };
    stop.send_replace(true);
    // The controllers give the Lease back; nobody has to wait for its end then.
    let _late = tokio::time::timeout(AGAIN, work).await;
    end
}

/// Serves metrics if an address is given, and says where.
async fn serve_metrics(
    app: &App,
    args: &MetricsArgs,
    metrics: &Arc<Metrics>,
) -> Result<Option<JoinSet<()>>, CommandError> {
    let MetricsArgs {
        metrics_addr: MetricsAddress(address),
        compat_metrics,
    } = *args;
    let Some(address) = address else { return Ok(None) };
    let failed = |e| {
        CommandError::new(ErrorKind::Failed, format!("can't serve metrics at {address}"))
            .caused_by(e)
            .hinted("choose another address with --metrics-addr ADDRESS:PORT, or 0 for none")
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    app.ui.say(&format!("Metrics at http://{bound}/metrics"));
    let mut serving = JoinSet::new();
    let metrics = Arc::clone(metrics);
    let ui = app.ui.clone();
    serving.spawn(async move {
        if let Err(error) = metrics::serve(listener, metrics, compat_metrics).await {
            ui.warn(&format!("metrics are no longer served: {error}"));
        }
    });
    Ok(Some(serving))
}

/// Returns when the embedded server in another process has ended. Other servers may come back, and are waited for.
async fn gone(session: &Session) {
    if !session.is_elsewhere() {
        return std::future::pending().await;
    }
    let mut missed = 0;
    while missed < PATIENCE {
        tokio::time::sleep(LOOK).await;
        let asked = tokio::time::timeout(LOOK, session.client.apiserver_version()).await;
        missed = if matches!(asked, Ok(Ok(_))) { 0 } else { missed + 1 };
    }
}

async fn check_installed(app: &App, session: &Session) -> Result<(), CommandError> {
    let name = session.target.name();
    match install::is_installed(&session.client).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(CommandError::new(
            ErrorKind::Conflict,
            format!("context \"{name}\" can't hold machines yet"),
        )
        .hinted(format!(
            "install the kinds first: machinectl init --context {name}"
        ))),
        // An API server that is away may come back: the controllers wait for it.
        Err(error) if !matches!(error, kube::Error::Api(_)) => {
            app.ui
                .warn(&format!("context \"{name}\" does not answer yet: {error}"));
            Ok(())
        }
        Err(error) => Err(super::error::of_api(
            format!("can't ask context \"{name}\" whether it can hold machines"),
            error,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_controller_runtime_reads_them() {
        let read = |text| metrics_address(text).map(|MetricsAddress(a)| a.map(|a| a.to_string()));
        for off in ["", "0"] {
            assert_eq!(read(off), Ok(None));
        }
        for (text, address) in [
            (":8080", "0.0.0.0:8080"),
            ("localhost:1", "127.0.0.1:1"),
            ("[::1]:9", "[::1]:9"),
            ("10.0.0.1:80", "10.0.0.1:80"),
        ] {
            assert_eq!(read(text), Ok(Some(address.to_owned())));
        }
        for wrong in ["8080", ":x", ":70000", "host:1", "1.2.3.4"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
