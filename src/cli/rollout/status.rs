//! `rollout status`: says how far roll-outs are, until they are done.

use std::{sync::Arc, time::Duration};

use clap::Args;

use super::{
    Named, named,
    progress::{Progress, judge},
    wait::{self, End},
};
use crate::{
    cli::{
        args::duration,
        context::{App, Purpose},
    },
    client::Session,
    cluster::{
        Story,
        running::{Deadline, beside},
    },
    error::{CommandError, ErrorKind},
};

/// Say how far roll-outs are, until they are done
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Kind and names: machinedeployment NAME..., or machinedeployment/NAME...
    #[arg(required = true, value_name = "KIND")]
    what: Vec<String>,
    /// Follow it until it is done
    #[arg(
        short = 'w',
        long,
        default_value_t = true,
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        default_missing_value = "true",
        require_equals = true,
        value_name = "BOOL",
        hide_possible_values = true
    )]
    watch: bool,
    /// Give up when another revision than this one is rolled out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    revision: Option<i64>,
    /// Give up waiting after this time, for example 90s; 0: never
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = duration)]
    timeout: Duration,
}

pub(super) async fn run(app: &App, args: StatusArgs) -> Result<(), CommandError> {
    let purpose = if args.watch {
        Purpose::Change
    } else {
        Purpose::Read
    };
    let (session, _) = app.connect(purpose).await?;
    app.prepare(&session).await?;
    let all = named(&session, &args.what).await?;
    let result = if args.watch {
        watch(app, &session, &all, &args).await
    } else {
        look(app, &all, &args)
    };
    if let Some(server) = session.server {
        server.stop().await;
    }
    result
}

/// Says how far they are now.
fn look(app: &App, all: &[Named], args: &StatusArgs) -> Result<(), CommandError> {
    for named in all {
        match judge(&named.deployment, args.revision) {
            Progress::Done(text) | Progress::Waiting(text) => app.data(&text)?,
            failed => return Err(wait::failure(named, failed)),
        }
    }
    Ok(())
}

async fn watch(app: &App, session: &Session, all: &[Named], args: &StatusArgs) -> Result<(), CommandError> {
    let told = |named: &Named| judge(&named.deployment, args.revision);
    // What is done, or gets no further, needs no controllers.
    if all
        .iter()
        .all(|named| !matches!(told(named), Progress::Waiting(_)))
    {
        return look(app, all, args);
    }
    let story: Arc<dyn Story> = app.story();
    let mut running = wait::controllers(session, &story).await?;
    let work = async {
        for named in all {
            let deadline = Deadline::new(args.timeout, format!("the roll-out of {}", named.name()));
            // A reader that went away is told of at the end.
            let tell = |text: &str| drop(app.data(text));
            match wait::until_done(session, named, args.revision, &deadline, &tell).await? {
                End::Done(text) => tell(&text),
                End::Failed(why) => return Ok(Some((named, why))),
            }
        }
        Ok(None)
    };
    let done = beside(&mut running, work).await;
    if let Some(running) = running {
        running.stop().await;
    }
    match done {
        Ok(None) => Ok(()),
        Ok(Some((named, why))) => Err(wait::failure(named, why)),
        Err(error) => {
            let error = wait::in_words(error, all);
            Err(if error.kind == ErrorKind::TimedOut {
                error.hinted("to look once: --watch=false")
            } else {
                error
            })
        }
    }
}
