//! A cluster's objects into a directory, and from a directory into a cluster.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    MoveError, check,
    collect::collect,
    directory::{
        self, Contents,
        age::{Identity, Recipient},
    },
    graph::Purpose,
    journal::{Extent, Found, Journal, Phase, Place, Side},
    kinds::discover,
    party::Party,
    report::{Report, Told},
    site::Site,
    survey::{Survey, There, namespaces},
    verify::{self, Equal},
    write::{Paused, Stop, Writer},
};
use crate::{
    story::Story,
    time::{Clock, Timestamp},
};

/// How often a cluster is read anew because it changed while it was read.
const READS: usize = 5;
/// API servers write down in whole seconds when an object was made.
const TICK: Duration = Duration::from_secs(1);
/// How long to wait before it is.
const PAUSE: Duration = Duration::from_millis(200);

/// Objects that go into a directory. The cluster stays as it is.
pub struct Backup {
    /// From where.
    pub source: Site,
    /// What.
    pub extent: Extent,
    /// Where to.
    pub directory: PathBuf,
    /// Who can read it; nobody: it is not encrypted.
    pub recipients: Vec<Recipient>,
    /// Is told what happens.
    pub story: Arc<dyn Story>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

impl Backup {
    /// Reads the cluster, twice at least: what is written is what stood there at one moment, or a note says that it did not stand still.
    ///
    /// # Errors
    /// Fails when the cluster can't be read or the directory can't be written; a backup that was there is then as it was.
    pub async fn run(&self, dry_run: bool) -> Result<Report, MoveError> {
        let begun = Instant::now();
        self.story.step("Looking at what there is");
        let (survey, notes) = self.read().await?;
        if survey.count() == 0 {
            let place = format!("context \"{}\"", self.source.context());
            return Err(MoveError::Nothing { place });
        }
        let target = self.directory.display().to_string();
        let mut report = Report::of("", self.source.context(), &target, &survey, notes);
        if dry_run {
            return Ok(report);
        }
        self.story.step("Writing files");
        let (written, total) = (AtomicUsize::new(0), survey.count());
        let progress = || {
            let written = written.fetch_add(1, Ordering::Relaxed) + 1;
            if written % 100 == 0 || written == total {
                self.story.detail(&format!("{written} of {total} objects"));
            }
        };
        let options = directory::Options {
            source: self.source.context(),
            now: self.clock.now(),
            recipients: &self.recipients,
            progress: &progress,
        };
        directory::write(
            &self.directory,
            &survey.kinds,
            &survey.objects,
            &survey.choice.groups,
            options,
        )?;
        report.seconds = begun.elapsed().as_secs_f64();
        report.requests = BTreeMap::from([("source".to_owned(), self.source.requests())]);
        Ok(report)
    }

    async fn read(&self) -> Result<(Survey, Vec<String>), MoveError> {
        let kinds = discover(&self.source.client).await?.moving;
        let namespaces = namespaces(&self.extent);
        let read = || collect(&self.source.client, &kinds, &namespaces);
        let mut objects = read().await?;
        let mut notes = Vec::new();
        for again in 1..=READS {
            let now = read().await?;
            let still = now == objects;
            objects = now;
            if still {
                break;
            }
            if again == READS {
                notes.push(
                    "the cluster did not stand still while it was read: some objects are newer than others"
                        .to_owned(),
                );
            } else {
                tokio::time::sleep(PAUSE).await;
            }
        }
        let survey = Survey::new(kinds, objects, &self.extent, Purpose::Backup)?;
        Ok((survey, notes))
    }
}

/// Objects that come from a directory.
pub struct Restore {
    /// Where they are.
    pub directory: PathBuf,
    /// What was read there.
    pub contents: Contents,
    /// Where to.
    pub target: Site,
    /// What of it.
    pub extent: Extent,
    /// Whether objects that are there already stay as they are; otherwise they are in the way.
    pub keep_existing: bool,
    /// Is told what happens.
    pub story: Arc<dyn Story>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Says when to stop.
    pub stop: Stop,
}

/// Reads a directory; all of its files are checked.
///
/// # Errors
/// Fails when a file is not what was written.
pub fn open(dir: &Path, identities: &[Identity], story: &dyn Story) -> Result<Contents, MoveError> {
    story.step("Reading files");
    Ok(directory::read(dir, identities, &|| ())?)
}

impl Restore {
    /// Brings the objects into the cluster; or goes on where that was interrupted.
    ///
    /// # Errors
    /// Fails as [`MoveError`] says. What fails is undone.
    pub async fn run(&self, dry_run: bool) -> Result<Report, MoveError> {
        let begun = Instant::now();
        let kinds = self.contents.manifest.kinds.clone();
        let objects = self.contents.objects.clone();
        let survey = Survey::new(kinds, objects, &self.extent, Purpose::Backup)?;
        if survey.count() == 0 {
            let place = self.directory.display().to_string();
            return Err(MoveError::Nothing { place });
        }
        let (journal, since) = match self.party().journal().await? {
            Some((found, since)) if found.phase != Phase::Done => {
                let place = self.place();
                if !is_of(&found, &self.directory, &self.extent) || found.source.cluster != place.cluster {
                    return Err(busy(found));
                }
                (Some(found), Some(since))
            }
            _ => (None, None),
        };
        let keep_existing = self.keep_existing || journal.as_ref().is_some_and(keeps_existing);
        self.story.step("Asking the cluster whether it can be done");
        let mut survey = Arc::new(survey);
        let (kept, notes, missing) = self.check(&mut survey, since, keep_existing).await?;
        let target = self.target.context().to_owned();
        let source = self.directory.display().to_string();
        let mut report = Report::of("", &source, &target, &survey, notes);
        report.left.extend(kept);
        if dry_run {
            return Ok(report);
        }
        if journal.is_none() && !report.left.is_empty() {
            // What is there is told from what is brought by when it was made, and that is written down in whole seconds.
            tokio::time::sleep(TICK).await;
        }
        let mut journal = journal.unwrap_or_else(|| self.journal(&survey, missing));
        report.id.clone_from(&journal.id);
        if journal.phase != Phase::Committed {
            match self.write(&mut journal, &survey).await {
                Ok(notes) => report.notes.extend(notes),
                Err(error @ (MoveError::Interrupted | MoveError::TakenOver(_))) => return Err(error),
                // Another process went on with it while this one waited, and died.
                Err(MoveError::Committed(_)) => {}
                Err(cause) => {
                    self.story.step("Undoing what was done");
                    return Err(MoveError::undone(cause, self.party().undo(&journal.id).await));
                }
            }
        }
        self.end(&journal, &survey)
            .await
            .map_err(|cause| MoveError::Halted {
                cause: Box::new(cause),
            })?;
        report.seconds = begun.elapsed().as_secs_f64();
        report.requests = BTreeMap::from([("target".to_owned(), self.target.requests())]);
        Ok(report)
    }

    /// Where the objects come from, for the journal: the directory, and what was written into it.
    fn place(&self) -> Place {
        Place {
            context: name_of(&self.directory),
            cluster: format!(
                "directory of {} at {}",
                self.contents.manifest.source, self.contents.manifest.time
            ),
            found: Some(Found::Directory {
                keep_existing: self.keep_existing,
            }),
        }
    }

    fn journal(&self, survey: &Survey, namespaces: Vec<String>) -> Journal {
        Journal {
            id: super::journal::new_id(),
            phase: Phase::Copying,
            source: self.place(),
            target: self.target.place.clone(),
            extent: self.extent.clone(),
            begun: self.clock.now(),
            ended: None,
            objects: survey.count(),
            list: 0,
            namespaces,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    fn party(&self) -> Party<'_> {
        party(&self.target, &self.clock, &*self.story)
    }

    /// Looks for what stands in the way. Objects that are there already and may stay are marked as kept; those that an earlier run of the same
    /// command has made, since `since`, are none of them.
    async fn check(
        &self,
        survey: &mut Arc<Survey>,
        since: Option<Timestamp>,
        keep_existing: bool,
    ) -> Result<(Vec<Told>, Vec<String>, Vec<String>), MoveError> {
        let found = check::target(&self.target, survey, &*self.story, |there| {
            since.is_some_and(|since| !super::write::is_older(there, since))
        });
        let mut findings = found.await?;
        let mut kept = Vec::new();
        if keep_existing {
            for &index in &findings.existing {
                Arc::make_mut(survey).kept.insert(index);
                kept.push(Told {
                    object: survey.name(index),
                    reason: "it is there already, and stays as it is".to_owned(),
                });
            }
        } else {
            let exists = |&index: &usize| {
                check::exists(survey, index).hinted("to leave what is there as it is: --keep-existing")
            };
            findings.problems.extend(findings.existing.iter().map(exists));
        }
        if !findings.problems.is_empty() {
            return Err(MoveError::Checks(findings.problems));
        }
        Ok((kept, findings.notes, findings.missing_namespaces))
    }

    /// Brings everything into the cluster and compares it. It is committed then: it only goes forward.
    async fn write(&self, journal: &mut Journal, survey: &Arc<Survey>) -> Result<Vec<String>, MoveError> {
        let entries = survey.entries(&[])?;
        let since = self.party().open(journal, &entries).await?;
        self.story.step("Bringing the controllers to a stand");
        let (mut fenced, _) = self.party().fence_in(&journal.id, Phase::can_be_undone).await?;
        let work = async {
            self.stop.check()?;
            self.story.step("Writing objects");
            let there = There::of(&self.target, survey, &self.extent).await?;
            let paused = Paused {
                entries: &entries,
                versions: HashMap::new(),
            };
            let writer = Writer::new(&self.target, survey, paused, there, since, &self.stop);
            writer.copy_all(&*self.story).await?;
            self.story.step("Comparing cluster and files");
            let mut equal = Equal::default();
            let there = There::of(&self.target, survey, &self.extent).await?;
            verify::compare(&writer, there, HashMap::new(), &mut equal).await?;
            journal.phase = Phase::Committed;
            self.party().write(journal).await?;
            Ok(equal.notes)
        };
        let result = fenced.during(work).await;
        fenced.leave().await;
        result
    }

    /// Lets controllers act on what was brought. The journal goes last: as long as it stands, the same command ends what is left.
    async fn end(&self, journal: &Journal, survey: &Survey) -> Result<(), MoveError> {
        let party = self.party();
        let committed = |phase| phase == Phase::Committed;
        let (fenced, _) = party.fence_in(&journal.id, committed).await?;
        let work = async { party.unpause(&survey.entries(&[])?).await };
        party.behind(fenced, work).await?;
        party.close(&journal.id, true).await
    }
}

/// Undoes a restore that was interrupted before it was committed: what it has brought goes, what was there before stays. The directory is not
/// read.
///
/// # Errors
/// Fails if none of this directory is under way, if it is committed, or when the cluster refuses.
pub async fn abort(
    directory: &Path,
    target: &Site,
    extent: &Extent,
    clock: &Arc<dyn Clock>,
    story: &dyn Story,
) -> Result<Journal, MoveError> {
    let party = party(target, clock, story);
    let found = party
        .journal()
        .await?
        .filter(|(found, _)| found.phase != Phase::Done);
    let Some((journal, _)) = found else {
        return Err(MoveError::NoMove(target.context().to_owned()));
    };
    if !is_of(&journal, directory, extent) {
        return Err(busy(journal));
    }
    if journal.phase == Phase::Committed {
        return Err(MoveError::Committed(journal.id));
    }
    story.step("Undoing what was done");
    party.undo(&journal.id).await?;
    Ok(journal)
}

fn party<'a>(target: &'a Site, clock: &'a Arc<dyn Clock>, story: &'a dyn Story) -> Party<'a> {
    Party {
        site: target,
        side: Side::Target,
        clock,
        story,
    }
}

/// A directory as a journal names it: the same from wherever the command is typed.
fn name_of(directory: &Path) -> String {
    let whole = std::path::absolute(directory);
    whole.as_deref().unwrap_or(directory).display().to_string()
}

/// Whether a journal is that of a restore of this directory.
fn is_of(journal: &Journal, directory: &Path, extent: &Extent) -> bool {
    matches!(journal.source.found, Some(Found::Directory { .. }))
        && journal.source.context == name_of(directory)
        && journal.extent == *extent
}

fn keeps_existing(journal: &Journal) -> bool {
    matches!(
        journal.source.found,
        Some(Found::Directory { keep_existing: true })
    )
}

fn busy(journal: Journal) -> MoveError {
    MoveError::Busy {
        side: Side::Target,
        journal: Box::new(journal),
    }
}
