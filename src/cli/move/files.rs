//! `move --to-directory` and `move --from-directory`: a backup, and the way back.

use std::{fs, path::Path, sync::Arc};

use super::{MoveArgs, extent, patience, tell};
use crate::{
    cli::{
        context::{App, Purpose},
        serve::stopped,
    },
    client::{self, Session, Target},
    error::{CommandError, ErrorKind},
    kubeconfig::Paths,
    pivot::{
        MoveError, Site, Stop,
        backup::{self, Backup, Restore},
        directory::age::{BadKey, Identity, Recipient},
        journal::Extent,
    },
    story::Story,
    time::{Clock, SystemClock},
    ui::{progress::Progress, prompt::Answer},
};

/// Writes the objects of a cluster into a directory.
pub(super) async fn write(app: &App, args: &MoveArgs, directory: &Path) -> Result<(), CommandError> {
    let recipients = args
        .files
        .encrypt_to
        .iter()
        .map(|text| recipients(text))
        .collect::<Result<Vec<_>, _>>()?
        .concat();
    let (session, _) = app.connect(Purpose::Read).await?;
    let progress = app.story();
    let story: Arc<dyn Story> = progress.clone();
    let backup = Backup {
        source: Site::new(&session.client, session.target.name(), patience(args)).await?,
        extent: extent(args, &session.target),
        directory: directory.to_owned(),
        recipients,
        story,
        clock: Arc::new(SystemClock),
    };
    let report = tokio::select! {
        biased;
        report = backup.run(args.mode.dry_run) => report,
        () = stopped() => {
            progress.fail();
            return Err(CommandError::new(ErrorKind::Interrupted, "interrupted")
                .hinted("a backup that was there is as it was; the same command writes a new one"));
        }
    };
    let report = ended(report, &progress)?;
    tell::written(app, &report, args.mode.dry_run, args.output.is_some())
}

/// A recipient, or a file of them.
fn recipients(text: &str) -> Result<Vec<Recipient>, CommandError> {
    if text.starts_with("age1") || text.starts_with("AGE-") {
        let one = Recipient::parse(text).map(|one| vec![one]);
        return one.map_err(|e| bad_key("--encrypt-to", e));
    }
    let read = fs::read_to_string(text).map_err(|e| {
        CommandError::new(
            ErrorKind::Usage,
            format!("--encrypt-to: {text} is no recipient, and can't be read as a file of them"),
        )
        .caused_by(e)
        .hinted("a recipient begins with age1: age-keygen -y FILE prints it")
    })?;
    Recipient::parse_file(&read).map_err(|e| bad_key(&format!("--encrypt-to {text}"), e))
}

fn identities(files: &[std::path::PathBuf]) -> Result<Vec<Identity>, CommandError> {
    let mut all = Vec::new();
    for file in files {
        let text = fs::read_to_string(file).map_err(|e| {
            CommandError::new(ErrorKind::Usage, format!("can't read {}", file.display()))
                .caused_by(e)
                .hinted("name the file that age-keygen has written: --identity FILE")
        })?;
        let found = Identity::parse_file(&text);
        all.extend(found.map_err(|e| bad_key(&format!("--identity {}", file.display()), e))?);
    }
    Ok(all)
}

fn bad_key(place: &str, error: BadKey) -> CommandError {
    CommandError::new(ErrorKind::Usage, format!("{place}: {error}"))
}

/// Brings the objects of a directory into a cluster, or undoes that.
pub(super) async fn read(app: &App, args: &MoveArgs, directory: &Path) -> Result<(), CommandError> {
    if args.mode.abort {
        return undo(app, args, directory).await;
    }
    let identities = identities(&args.files.identity)?;
    let purpose = if args.mode.dry_run {
        Purpose::Read
    } else {
        Purpose::Change
    };
    let (to, paths) = into(app, args, purpose)?;
    let progress = app.story();
    let story: Arc<dyn Story> = progress.clone();
    let contents = ended(backup::open(directory, &identities, &*story), &progress)?;
    if purpose == Purpose::Change {
        app.ui
            .say(&format!("Restoring into context \"{}\": {}", to.name(), to.why));
    }
    let session = client::connect(to, &paths).await?;
    app.prepare(&session).await?;
    let stop = Stop::default();
    let restore = Restore {
        directory: directory.to_owned(),
        contents,
        target: site(app, args, &session).await?,
        extent: restored(app, args),
        keep_existing: args.files.keep_existing,
        story,
        clock: Arc::new(SystemClock),
        stop: stop.clone(),
    };
    if !args.mode.dry_run && app.ui.is_interactive() && !args.yes {
        let question = format!(
            "Restore {} objects into \"{}\"?",
            restore.contents.objects.len(),
            session.target.name()
        );
        if app.ui.confirm(&question) == Answer::No {
            return Err(CommandError::new(ErrorKind::Interrupted, "nothing was restored"));
        }
    }
    let twice = async {
        stopped().await;
        stop.ask();
        progress.note("Stopping as soon as it is safe …");
        stopped().await;
    };
    let report = tokio::select! {
        biased;
        report = Box::pin(restore.run(args.mode.dry_run)) => report,
        () = twice => Err(MoveError::Interrupted),
    };
    let report = ended(report, &progress);
    if let Some(server) = session.server {
        server.stop().await;
    }
    tell::restored(app, &report?, args.mode.dry_run, args.output.is_some())
}

/// The cluster that the objects come into.
fn into(app: &App, args: &MoveArgs, purpose: Purpose) -> Result<(Target, Paths), CommandError> {
    let (chosen, config, paths) = app.choose(purpose)?;
    if args.to_context.is_some() || args.to_kubeconfig.is_some() {
        return super::target(app, args, &config);
    }
    Ok((chosen, paths))
}

async fn site(app: &App, args: &MoveArgs, session: &Session) -> Result<Site, CommandError> {
    let site = Site::new(&session.client, session.target.name(), patience(args)).await?;
    Ok(site.of_file(super::to_file(app, args)))
}

/// What of a directory is restored: everything, unless a namespace is named.
fn restored(app: &App, args: &MoveArgs) -> Extent {
    Extent {
        namespace: app.selection.namespace.clone().filter(|_| !args.all_namespaces),
        cluster: args.filter_cluster.clone(),
    }
}

/// Takes what an interrupted restore has brought out of the cluster again.
async fn undo(app: &App, args: &MoveArgs, directory: &Path) -> Result<(), CommandError> {
    let (to, paths) = into(app, args, Purpose::Change)?;
    app.ui.say(&format!(
        "Undoing a restore into context \"{}\": {}",
        to.name(),
        to.why
    ));
    let session = client::connect(to, &paths).await?;
    let target = site(app, args, &session).await?;
    let progress = app.story();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let undone = backup::abort(directory, &target, &restored(app, args), &clock, &*progress).await;
    let undone = ended(undone, &progress);
    if let Some(server) = session.server {
        server.stop().await;
    }
    app.ui.say(&format!(
        "Restore {} is undone: what it brought is gone, what was there before stays.",
        undone?.id
    ));
    Ok(())
}

fn ended<T>(result: Result<T, MoveError>, progress: &Progress) -> Result<T, CommandError> {
    match &result {
        Ok(_) => progress.finish(),
        Err(_) => progress.fail(),
    }
    Ok(result?)
}
