//! What is said of a move: before it, after it, and of one that was interrupted.

use serde_json::json;

use crate::{
    cli::{
        context::{App, Purpose},
        error::of_api,
    },
    client::Session,
    controllers::lease,
    error::{CommandError, ErrorKind},
    pivot::{
        MoveError,
        journal::{Book, Found, Journal, Phase},
        report::{Report, Told},
        sequence::Preview,
    },
    time::{Clock, SystemClock},
    ui::Colour,
};

/// Lines of a kind that are told; of more only their number is.
const TOLD: usize = 20;

/// Says what would move. Fails if something stands in the way.
pub(super) fn preview(app: &App, preview: &Preview, machine: bool) -> Result<(), CommandError> {
    let Preview { report, problems } = preview;
    if machine {
        let mut value = serde_json::to_value(report).unwrap_or_default();
        value["problems"] = problems.iter().map(|p| json!(p.what)).collect();
        app.data(&pretty(&value))?;
    } else {
        for (kind, count) in &report.kinds {
            app.data(&format!("{count:>6}  {kind}"))?;
        }
        said(app, report);
    }
    if problems.is_empty() {
        if report.objects == 0 {
            return Err(MoveError::Nothing {
                place: format!("context \"{}\"", report.source),
            }
            .into());
        }
        app.ui.say(&format!(
            "{} objects can move from \"{}\" to \"{}\".",
            report.objects, report.source, report.target
        ));
        return Ok(());
    }
    Err(MoveError::Checks(problems.clone()).into())
}

/// Says what has moved.
pub(super) fn report(app: &App, report: &Report, machine: bool) -> Result<(), CommandError> {
    if machine {
        app.data(&pretty(&serde_json::to_value(report).unwrap_or_default()))?;
    } else {
        said(app, report);
    }
    let requests: u64 = report.requests.values().sum();
    app.ui.say(&app.ui.paint(
        Colour::Green,
        &format!(
            "Moved {} objects from \"{}\" to \"{}\" in {:.1} s, with {requests} requests.",
            report.objects, report.source, report.target, report.seconds
        ),
    ));
    Ok(())
}

/// Says what was written into a directory.
pub(super) fn written(app: &App, report: &Report, thought: bool, machine: bool) -> Result<(), CommandError> {
    let ended = if thought {
        format!(
            "{} objects would be written to {}.",
            report.objects, report.target
        )
    } else {
        format!(
            "Wrote {} objects of \"{}\" to {} in {:.1} s. It holds Secrets: keep it as one.",
            report.objects, report.source, report.target, report.seconds
        )
    };
    both(app, report, machine, &ended)
}

/// Says what was brought from a directory.
pub(super) fn restored(app: &App, report: &Report, thought: bool, machine: bool) -> Result<(), CommandError> {
    let number = report.objects - report.left.len().min(report.objects);
    let ended = if thought {
        format!("{number} objects can be restored into \"{}\".", report.target)
    } else {
        format!(
            "Restored {number} objects into \"{}\" in {:.1} s.",
            report.target, report.seconds
        )
    };
    both(app, report, machine, &ended)
}

fn both(app: &App, report: &Report, machine: bool, ended: &str) -> Result<(), CommandError> {
    if machine {
        app.data(&pretty(&serde_json::to_value(report).unwrap_or_default()))?;
    } else {
        said(app, report);
    }
    app.ui.say(&app.ui.paint(Colour::Green, ended));
    Ok(())
}

fn said(app: &App, report: &Report) {
    list(app, "Left where it is:", &report.left);
    list(app, "Copied, and kept in the source:", &report.copied);
    for note in report.notes.iter().take(TOLD) {
        app.ui.warn(note);
    }
    more(app, report.notes.len());
}

fn list(app: &App, title: &str, told: &[Told]) {
    if told.is_empty() {
        return;
    }
    app.ui.say(title);
    for one in told.iter().take(TOLD) {
        app.ui.say(&format!("  {}: {}", one.object, one.reason));
    }
    more(app, told.len());
}

fn more(app: &App, all: usize) {
    if let Some(more) = all.checked_sub(TOLD).filter(|more| *more > 0) {
        app.ui.say(&format!("  and {more} more (-o json lists all)"));
    }
}

fn pretty(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// Says how far the move is whose journal stands in the cluster that the command line leads to.
pub(super) async fn status(app: &App, machine: bool) -> Result<(), CommandError> {
    let (session, _) = app.connect(Purpose::Read).await?;
    let name = session.target.name().to_owned();
    let found = Book::new(&session.client).read().await;
    let found = found.map_err(|e| {
        of_api(
            format!("can't read the journal of a move in context \"{name}\""),
            e,
        )
    })?;
    let Some((journal, _)) = found else {
        return Err(CommandError::new(
            ErrorKind::NotFound,
            format!("no move is known in context \"{name}\""),
        )
        .hinted("look in the other cluster: --context NAME"));
    };
    if machine {
        return app.data(&pretty(&serde_json::to_value(&journal).unwrap_or_default()));
    }
    let holder = holder(&session).await?;
    for line in lines(&journal, holder) {
        app.data(&line)?;
    }
    Ok(())
}

async fn holder(session: &Session) -> Result<Option<String>, CommandError> {
    lease::holder(&session.client, SystemClock.now())
        .await
        .map_err(|e| of_api("can't see who acts there", e))
}

fn lines(journal: &Journal, holder: Option<String>) -> Vec<String> {
    let at_work = holder.is_some_and(|h| h.contains(&journal.id));
    let restores = matches!(journal.source.found, Some(Found::Directory { .. }));
    let phase = match journal.phase {
        Phase::Copying if restores => "Copying: the cluster has a part of what is in the directory",
        Phase::Committed if restores => {
            "Committed: everything is in the cluster; its controllers do not act yet"
        }
        Phase::Fencing => "Fencing: the controllers of the source come to a stand; nothing is in the target",
        Phase::Copying => "Copying: the source is whole; the target has a part",
        Phase::Committed => "Committed: everything is in the target; the source is being emptied",
        Phase::Aborting => "Aborting: what was brought to the target is being removed there",
        Phase::Done => "Done",
    };
    let mut lines = vec![
        format!(
            "{:<9} {}",
            if restores { "Restore:" } else { "Move:" },
            journal.id
        ),
        format!("Phase:    {phase}"),
        format!("From:     {}", journal.source.context),
        format!("To:       {}", journal.target.context),
        format!("Objects:  {}", journal.objects),
        format!("Begun:    {}", journal.begun),
    ];
    if let Some(ended) = journal.ended {
        lines.push(format!("Ended:    {ended}"));
    }
    if journal.phase != Phase::Done {
        lines.push(format!("At work:  {}", if at_work { "yes" } else { "no" }));
        lines.push(format!("Go on:    {}", super::error::again(journal)));
        if journal.phase != Phase::Committed {
            lines.push(format!("Undo:     {} --abort", super::error::again(journal)));
        }
    }
    lines
}
