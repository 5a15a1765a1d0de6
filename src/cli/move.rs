//! `move`: brings clusters and their machines from one management cluster to another.

mod error;
mod files;
mod homes;
mod tell;

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::Args;

use super::{
    args::duration,
    context::{App, Purpose},
    serve::stopped,
};
use crate::{
    client::{self, Patience, Place, Selection, Session, Target, Why},
    config::NAMESPACE,
    error::{CommandError, ErrorKind},
    kubeconfig::Kubeconfig,
    pivot::{
        Site, Stop,
        journal::Extent,
        sequence::{Move, Unsettled},
    },
    story::Story,
    time::SystemClock,
    ui::prompt::Answer,
};

/// Move clusters and their machines to another management cluster
///
/// Everything arrives: metadata, status and Secrets. No machine is touched, and no two controllers act at once. Interrupted at any point,
/// the same command goes on where it stood; until it has committed, --abort undoes it.
#[derive(Debug, Args)]
pub(crate) struct MoveArgs {
    /// Context of the cluster that the objects move to; "embedded" is the API server in this program
    #[arg(long, value_name = "NAME")]
    to_context: Option<String>,
    /// Kubeconfig file of the cluster that the objects move to
    #[arg(long, value_name = "FILE")]
    to_kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    files: FileArgs,
    /// Move only this Cluster and what belongs to it
    #[arg(long, value_name = "CLUSTER")]
    filter_cluster: Option<String>,
    /// Move the objects of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    #[command(flatten)]
    mode: Mode,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Wait until machines that still come to be, or go, have settled
    #[arg(long)]
    wait: bool,
    /// Give up waiting after this time, for example 90s; 0: never
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    timeout: Duration,
    /// An answer of an API server may take this long
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    request_timeout: Duration,
    /// Write a report to standard output: json
    #[arg(short, long, value_name = "FORMAT", value_parser = ["json"])]
    output: Option<String>,
}

/// A directory in place of one of the clusters.
#[derive(Debug, Args)]
struct FileArgs {
    /// Write the objects into this directory and leave the cluster as it is
    #[arg(long, value_name = "DIR", conflicts_with_all = ["to_context", "to_kubeconfig", "from_directory", "abort", "status", "wait"])]
    to_directory: Option<PathBuf>,
    /// Bring the objects of this directory into the cluster
    #[arg(long, value_name = "DIR", conflicts_with_all = ["status", "wait"])]
    from_directory: Option<PathBuf>,
    /// Encrypt each object for this reader: an age recipient, or a file of them (can be repeated)
    #[arg(long, value_name = "RECIPIENT", requires = "to_directory")]
    encrypt_to: Vec<String>,
    /// File with the age identity that reads what is encrypted (can be repeated)
    #[arg(long, value_name = "FILE", requires = "from_directory")]
    identity: Vec<PathBuf>,
    /// Leave objects that are there already as they are
    #[arg(long, requires = "from_directory")]
    keep_existing: bool,
}

/// What to do in place of moving.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct Mode {
    /// Change nothing: check everything, and say what would move
    #[arg(long)]
    dry_run: bool,
    /// Undo a move, or a restore, that was interrupted before it had committed
    #[arg(long)]
    abort: bool,
    /// Say how far a move, or a restore, is that was interrupted
    #[arg(long)]
    status: bool,
}

pub(crate) async fn run(app: &App, args: MoveArgs) -> Result<(), CommandError> {
    if args.mode.status {
        return tell::status(app, args.output.is_some()).await;
    }
    if let Some(directory) = args.files.to_directory.clone() {
        return Box::pin(files::write(app, &args, &directory)).await;
    }
    if let Some(directory) = args.files.from_directory.clone() {
        return Box::pin(files::read(app, &args, &directory)).await;
    }
    let purpose = if args.mode.dry_run {
        Purpose::Read
    } else {
        Purpose::Change
    };
    let (from, config, paths) = app.choose(purpose)?;
    let (to, to_paths) = target(app, &args, &config)?;
    // Contexts of two files may bear one name; state folders are what they are.
    if from.place == to.place && (args.to_kubeconfig.is_none() || from.is_embedded()) {
        return Err(CommandError::new(
            ErrorKind::Usage,
            format!("context \"{}\" is the source, too", to.name()),
        )
        .hinted("name another one: --to-context NAME"));
    }
    let source = app.connect_to(from, &paths, purpose).await?;
    let target = client::connect(to, &to_paths).await?;
    if purpose == Purpose::Change {
        app.ui
            .say(&format!("Moving to context \"{}\"", target.target.name()));
    }
    let done = Box::pin(between(app, &args, &source, &target)).await;
    for server in [source.server, target.server].into_iter().flatten() {
        server.stop().await;
    }
    done
}

async fn between(app: &App, args: &MoveArgs, source: &Session, target: &Session) -> Result<(), CommandError> {
    let patience = patience(args);
    let progress = app.story();
    let story: Arc<dyn Story> = progress.clone();
    let stop = Stop::default();
    let asked = Move {
        source: Site::new(&source.client, source.target.name(), patience)
            .await?
            .of_file(app.selection.kubeconfig.as_deref()),
        target: Site::new(&target.client, target.target.name(), patience)
            .await?
            .of_file(to_file(app, args)),
        extent: extent(args, &source.target),
        unsettled: if args.wait {
            Unsettled::Wait(args.timeout)
        } else {
            Unsettled::Refuse
        },
        story,
        clock: Arc::new(SystemClock),
        stop: stop.clone(),
    };
    let asks = app.ui.is_interactive() && !args.yes && !args.mode.abort;
    if args.mode.dry_run || asks {
        let preview = asked.preview().await;
        progress.finish();
        let preview = preview?;
        tell::preview(app, &preview, args.output.is_some() && args.mode.dry_run)?;
        if args.mode.dry_run {
            return Ok(());
        }
        let question = format!(
            "Move {} objects from \"{}\" to \"{}\"?",
            preview.report.objects,
            asked.source.context(),
            asked.target.context()
        );
        if app.ui.confirm(&question) == Answer::No {
            return Err(CommandError::new(ErrorKind::Interrupted, "nothing was moved"));
        }
    }
    let watched = async {
        stopped().await;
        stop.ask();
        progress.note("Stopping as soon as it is safe …");
        // Whoever asks twice does not want to wait.
        stopped().await;
    };
    if args.mode.abort {
        let undone = asked.abort().await;
        progress.finish();
        app.ui.say(&format!(
            "Move {} is undone: everything is in the source, as it was.",
            undone?.id
        ));
        return Ok(());
    }
    let outcome = tokio::select! {
        biased;
        outcome = asked.run() => outcome,
        () = watched => Err(crate::pivot::MoveError::Interrupted),
    };
    let report = match outcome {
        Ok(report) => report,
        Err(error) => {
            progress.fail();
            return Err(error.into());
        }
    };
    progress.finish();
    homes::rewrite(app, source, target, &report).await?;
    tell::report(app, &report, args.output.is_some())
}

/// The kubeconfig file that the target was looked for in, if one was named.
fn to_file<'a>(app: &'a App, args: &'a MoveArgs) -> Option<&'a std::path::Path> {
    args.to_kubeconfig
        .as_deref()
        .or(app.selection.kubeconfig.as_deref())
}

fn patience(args: &MoveArgs) -> Patience {
    Patience {
        answer: args.request_timeout,
        ..Patience::default()
    }
}

fn extent(args: &MoveArgs, target: &Target) -> Extent {
    Extent {
        namespace: (!args.all_namespaces).then(|| target.namespace.clone()),
        cluster: args.filter_cluster.clone(),
    }
}

/// Where the objects move to. A context means its own cluster here, whoever manages that.
fn target(
    app: &App,
    args: &MoveArgs,
    config: &Kubeconfig,
) -> Result<(Target, crate::kubeconfig::Paths), CommandError> {
    let Some(file) = &args.to_kubeconfig else {
        let Some(name) = &args.to_context else {
            return Err(
                CommandError::new(ErrorKind::Usage, "it is not said where to move to")
                    .hinted("name a context: --to-context NAME, or --to-context embedded")
                    .hinted("or a kubeconfig file: --to-kubeconfig FILE")
                    .hinted("or a directory: --to-directory DIR"),
            );
        };
        let selection = Selection {
            context: Some(name.clone()),
            embedded: false,
            ..app.selection.clone()
        };
        let (chosen, _, paths) = client::choose(&selection, &app.settings, false)?;
        let direct = direct(chosen, name, config);
        return Ok((direct, paths));
    };
    if !file.exists() {
        return Err(
            CommandError::new(ErrorKind::Usage, format!("{} does not exist", file.display()))
                .hinted("name the kubeconfig of the cluster to move to: --to-kubeconfig FILE"),
        );
    }
    let selection = Selection {
        context: args.to_context.clone(),
        kubeconfig: Some(file.clone()),
        embedded: false,
        namespace: None,
    };
    let (chosen, other, paths) = client::choose(&selection, &app.settings, false)?;
    let Some(name) = args.to_context.as_deref().or(other.current_context()) else {
        return Err(CommandError::new(
            ErrorKind::Usage,
            format!("{} has no current context", file.display()),
        )
        .hinted("name one of its contexts: --to-context NAME"));
    };
    Ok((direct(chosen, name, &other), paths))
}

fn direct(chosen: Target, name: &str, config: &Kubeconfig) -> Target {
    if name == "embedded" || config.context(name).is_none() {
        return chosen;
    }
    Target {
        place: Place::Context(name.to_owned()),
        why: Why::Flag("--to-context"),
        namespace: NAMESPACE.to_owned(),
        cluster: None,
    }
}
