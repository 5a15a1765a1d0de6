//! A move from its beginning to its end: each step may be done twice, so that after a crash the same command goes on.
//!
//! Fencing -> Copying -> Committed -> Done. Until it is committed the source is whole, and everything can be undone; afterwards the target
//! is, and it only goes forward.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    MoveError, check,
    check::Findings,
    emptying::Emptying,
    error::Problem,
    fencing::Fenced,
    journal::{Decision, Entry, Extent, Journal, Phase, Side, decide, new_id},
    party::Party,
    print::MOVED,
    remove::Exit,
    report::Report,
    site::Site,
    strays,
    survey::{Key, Survey, There, namespaces},
    verify,
    write::{Paused, Stop, Writer},
};
use crate::{
    story::Story,
    time::{Clock, Timestamp},
};

/// How often a cluster is looked at while something is waited for.
const LOOK: Duration = Duration::from_secs(1);

/// A move that is asked for.
pub struct Move {
    /// From where.
    pub source: Site,
    /// To where.
    pub target: Site,
    /// What.
    pub extent: Extent,
    /// What to do about machines that still come to be, or go.
    pub unsettled: Unsettled,
    /// Is told what happens.
    pub story: Arc<dyn Story>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Says when to stop.
    pub stop: Stop,
}

/// What to do about objects that are on their way: machines without a Node, objects that are being deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsettled {
    /// They are in the way.
    Refuse,
    /// They are waited for so long.
    Wait(Duration),
    /// They move as they are; what was being deleted is there again. For whoever deletes everything next.
    Take,
}

/// What a move would do.
#[derive(Debug)]
pub struct Preview {
    /// What it would come to.
    pub report: Report,
    /// What stands in the way.
    pub problems: Vec<Problem>,
}

impl Move {
    /// Moves; or goes on with the same move where it was interrupted.
    ///
    /// # Errors
    /// Fails as [`MoveError`] says. What fails before the move is committed is undone.
    pub async fn run(&self) -> Result<Report, MoveError> {
        let begun = Instant::now();
        let mut report = match self.decide().await? {
            Decision::Begin => Box::pin(self.begin()).await?,
            Decision::Resume(journal) => Box::pin(self.resume(*journal)).await?,
            Decision::CleanUp(journal) => {
                self.story.step("Undoing a move that was given up");
                Box::pin(self.undo(&journal.id)).await?;
                Box::pin(self.begin()).await?
            }
            Decision::Refuse(side, journal) => return Err(MoveError::Busy { side, journal }),
        };
        report.seconds = begun.elapsed().as_secs_f64();
        report.requests = BTreeMap::from([
            ("source".to_owned(), self.source.requests()),
            ("target".to_owned(), self.target.requests()),
        ]);
        Ok(report)
    }

    /// Says what [`Self::run`] would do; changes nothing.
    ///
    /// # Errors
    /// Fails when the clusters can't be asked.
    pub async fn preview(&self) -> Result<Preview, MoveError> {
        if let Decision::Refuse(side, journal) = self.decide().await? {
            return Err(MoveError::Busy { side, journal });
        }
        let survey = self.survey().await?;
        let mut problems = self.states(&survey);
        self.story.step("Asking both clusters");
        let findings = self.check(&survey).await?;
        problems.extend(findings.problems);
        Ok(Preview {
            report: Report::of(
                "",
                self.source.context(),
                self.target.context(),
                &survey,
                findings.notes,
            ),
            problems,
        })
    }

    /// Undoes a move that is not committed yet.
    ///
    /// # Errors
    /// Fails if there is none, if it is committed, or when a cluster refuses.
    pub async fn abort(&self) -> Result<Journal, MoveError> {
        let journal = match self.decide().await? {
            Decision::Begin => return Err(MoveError::NoMove(self.source.context().to_owned())),
            Decision::Resume(journal) | Decision::CleanUp(journal) => *journal,
            Decision::Refuse(side, journal) => return Err(MoveError::Busy { side, journal }),
        };
        if journal.phase == Phase::Committed {
            return Err(MoveError::Committed(journal.id));
        }
        self.undo(&journal.id).await?;
        Ok(journal)
    }

    async fn decide(&self) -> Result<Decision, MoveError> {
        let (source, target) = (&self.source.place, &self.target.place);
        if source.cluster == target.cluster {
            return Err(MoveError::SameCluster {
                source_context: source.context.clone(),
                target_context: target.context.clone(),
            });
        }
        let (in_source, in_target) = futures::try_join!(
            self.party(Side::Source).journal(),
            self.party(Side::Target).journal()
        )?;
        let journal = |found: Option<(Journal, Timestamp)>| found.map(|(journal, _)| journal);
        let (in_source, in_target) = (journal(in_source), journal(in_target));
        Ok(decide(
            in_source.as_ref(),
            in_target.as_ref(),
            source,
            target,
            &self.extent,
        ))
    }

    /// Asks both clusters whether it can be done.
    async fn check(&self, survey: &Arc<Survey>) -> Result<Findings, MoveError> {
        let clusters = check::clusters(&self.source, &self.target, survey, &*self.story);
        let namespaces = namespaces(&self.extent);
        let strays = strays::look(&self.source, survey, &namespaces, self.unsettled);
        let (mut findings, strays) = tokio::try_join!(clusters, strays)?;
        findings.problems.extend(strays.problems);
        findings.notes.extend(strays.notes);
        Ok(findings)
    }

    /// What is on its way, if that is in the way.
    fn states(&self, survey: &Survey) -> Vec<Problem> {
        if self.unsettled == Unsettled::Take {
            Vec::new()
        } else {
            check::states(survey)
        }
    }

    async fn survey(&self) -> Result<Arc<Survey>, MoveError> {
        Ok(Arc::new(Survey::of(&self.source, &self.extent).await?))
    }

    async fn begin(&self) -> Result<Report, MoveError> {
        if let Some((last, _)) = self.party(Side::Source).journal().await?
            && last.phase == Phase::Done
        {
            // Whoever wrote that it is over may have died before the fence was down.
            self.party(Side::Source).lower_by_name(&last.id).await?;
        }
        self.story.step("Looking at what there is to move");
        let mut survey = self.survey().await?;
        if survey.count() == 0 {
            return self.nothing(&survey).await;
        }
        survey = self.settled(survey).await?;
        self.story.step("Asking both clusters whether it can be done");
        let findings = self.check(&survey).await?;
        if !findings.problems.is_empty() {
            return Err(MoveError::Checks(findings.problems));
        }
        self.stop.check()?;
        let journal = Journal {
            id: new_id(),
            phase: Phase::Fencing,
            source: self.source.place.clone(),
            target: self.target.place.clone(),
            extent: self.extent.clone(),
            begun: self.clock.now(),
            ended: None,
            objects: survey.count(),
            list: 0,
            namespaces: findings.missing_namespaces.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        self.party(Side::Source).begin(&journal).await?;
        let tried = Some((survey, findings));
        Box::pin(self.forward(journal, tried)).await
    }

    /// Nothing moves: that is fine if it has moved already.
    async fn nothing(&self, survey: &Survey) -> Result<Report, MoveError> {
        let Some((last, _)) = self.party(Side::Source).journal().await? else {
            return Err(self.nothing_there());
        };
        let same = last.phase == Phase::Done
            && last.target.cluster == self.target.place.cluster
            && last.extent == self.extent;
        if !same {
            return Err(self.nothing_there());
        }
        self.story.warn(&format!(
            "move {} has brought everything there before; there is nothing left to do",
            last.id
        ));
        Ok(Report::of(
            &last.id,
            self.source.context(),
            self.target.context(),
            survey,
            Vec::new(),
        ))
    }

    fn nothing_there(&self) -> MoveError {
        let context = self.source.context();
        let place = match (&self.extent.namespace, &self.extent.cluster) {
            (Some(namespace), None) => format!("namespace {namespace} of context \"{context}\""),
            (_, Some(cluster)) => format!("context \"{context}\" that belongs to Cluster {cluster}"),
            (None, None) => format!("context \"{context}\""),
        };
        MoveError::Nothing { place }
    }

    /// Waits, if that is wanted, until nothing is under way that ends by itself.
    async fn settled(&self, mut survey: Arc<Survey>) -> Result<Arc<Survey>, MoveError> {
        let begun = Instant::now();
        loop {
            let problems = self.states(&survey);
            if problems.is_empty() {
                return Ok(survey);
            }
            let limit = match self.unsettled {
                Unsettled::Wait(limit) if problems.iter().all(|p| p.passes) => limit,
                _ => return Err(MoveError::Checks(problems)),
            };
            if begun.elapsed() >= limit {
                let limit = format!("{limit:?}");
                return Err(MoveError::TimedOut { limit, problems });
            }
            self.stop.check()?;
            self.story.detail(&format!("waiting: {}", problems[0].what));
            tokio::time::sleep(LOOK).await;
            survey = self.survey().await?;
        }
    }

    async fn resume(&self, journal: Journal) -> Result<Report, MoveError> {
        self.story.warn(&format!(
            "going on with move {}, begun {}",
            journal.id, journal.begun
        ));
        if journal.phase == Phase::Committed {
            return Box::pin(self.finish(journal, None)).await;
        }
        Box::pin(self.forward(journal, None)).await
    }

    /// Goes to the commit point and beyond. What fails before it is undone, unless the user has asked for the end.
    async fn forward(
        &self,
        journal: Journal,
        tried: Option<(Arc<Survey>, Findings)>,
    ) -> Result<Report, MoveError> {
        match Box::pin(self.to_commit(journal.clone(), tried)).await {
            Ok((journal, done)) => Box::pin(self.finish(journal, Some(done))).await,
            Err(error @ (MoveError::Interrupted | MoveError::TakenOver(_))) => Err(error),
            // Another process went on with it while this one waited, and died.
            Err(MoveError::Committed(_)) => Box::pin(self.finish(journal, None)).await,
            Err(cause) => {
                self.story.step("Undoing what was done");
                Err(MoveError::undone(cause, Box::pin(self.undo(&journal.id)).await))
            }
        }
    }

    async fn to_commit(
        &self,
        journal: Journal,
        tried: Option<(Arc<Survey>, Findings)>,
    ) -> Result<(Journal, Copied), MoveError> {
        self.story
            .step("Bringing the controllers of the source to a stand");
        let uncommitted = |phase| matches!(phase, Phase::Fencing | Phase::Copying);
        let (mut source, mut journal) = self
            .party(Side::Source)
            .fence_in(&journal.id, uncommitted)
            .await?;
        let work = self.copy(&mut journal, tried);
        let result = Box::pin(source.during(work)).await;
        match result {
            Ok((copied, target)) => Ok((
                journal,
                Copied {
                    fences: Some((source, target)),
                    ..copied
                },
            )),
            Err(error) => {
                source.leave().await;
                Err(error)
            }
        }
    }

    /// Everything between the fence of the source and the commit point.
    async fn copy(
        &self,
        journal: &mut Journal,
        tried: Option<(Arc<Survey>, Findings)>,
    ) -> Result<(Copied, Fenced), MoveError> {
        let survey = match &tried {
            Some((before, _)) => before.again(&self.source, &self.extent).await?,
            None => self.survey().await?,
        };
        let fresh = tried.is_some();
        let notes = self.check_again(&survey, tried, journal).await?;
        let listed = self.open(journal, &survey).await?;
        self.story
            .step("Bringing the controllers of the target to a stand");
        let mut target = self.party(Side::Target).fence(&journal.id).await?;
        let work = async {
            self.catch_up(journal, &listed).await?;
            let source = self.party(Side::Source);
            let paused = Paused {
                versions: source.pause(&listed.entries, &survey).await?,
                entries: &listed.entries,
            };
            self.stop.check()?;
            let writer = self.writer(&survey, fresh, paused, listed.since).await?;
            self.copy_and_compare(journal, writer, listed.entries, notes)
                .await
        };
        let result = Box::pin(target.during(work)).await;
        match result {
            Ok(copied) => Ok((copied, target)),
            Err(error) => {
                target.leave().await;
                Err(error)
            }
        }
    }

    /// Writes down on both sides what moves before anything is done: also what moved before and is gone from the source, since a part of it
    /// may stand in the target, and nothing as paused that is not.
    async fn open(&self, journal: &mut Journal, survey: &Survey) -> Result<Listed, MoveError> {
        let (source, target) = (self.party(Side::Source), self.party(Side::Target));
        let before = source.entries(journal).await?;
        let entries = survey.entries(&before)?;
        let uids = |entries: &[Entry]| entries.iter().map(|e| e.uid.clone()).collect::<HashSet<_>>();
        let (known, moving) = (uids(&before), uids(&entries));
        let mut written = before;
        let new = entries.iter().filter(|e| !known.contains(&e.uid));
        written.extend(new.map(|e| Entry {
            paused: false,
            ..e.clone()
        }));
        journal.relist(written.len());
        journal.phase = Phase::Copying;
        // Whoever undoes this must find all of it, so what is on its way is waited for.
        let (opened, listed) = futures::join!(target.open(journal, &written), source.list(journal, &written));
        let since = opened?;
        listed?;
        source.write(journal).await?;
        let gone = written.iter().filter(|e| !moving.contains(&e.uid));
        Ok(Listed {
            gone: gone.cloned().collect(),
            is_final: written == entries,
            entries,
            since,
        })
    }

    /// What was deleted in the source while the move lay still must not arrive. Only when it is out of the target it leaves the lists, and only
    /// right before something is paused they say so.
    async fn catch_up(&self, journal: &mut Journal, listed: &Listed) -> Result<(), MoveError> {
        let target = self.party(Side::Target);
        let gone: Vec<&Entry> = listed.gone.iter().rev().collect();
        target.withdraw(&gone, listed.since, &journal.id).await?;
        if listed.is_final {
            return Ok(());
        }
        journal.relist(listed.entries.len());
        if !gone.is_empty() {
            target.write_with_list(journal, &listed.entries).await?;
        }
        let source = self.party(Side::Source);
        source.write_with_list(journal, &listed.entries).await
    }

    /// Copies everything, compares, and commits.
    async fn copy_and_compare(
        &self,
        journal: &mut Journal,
        writer: Arc<Writer>,
        mut entries: Vec<Entry>,
        mut notes: Vec<String>,
    ) -> Result<Copied, MoveError> {
        self.story.step("Copying objects");
        writer.copy_all(&*self.story).await?;
        self.story.step("Comparing both places");
        let equal = verify::verify(&self.source, &writer, &self.extent, self.unsettled).await?;
        notes.extend(equal.notes);
        self.stop.check()?;
        // Whoever goes on after a crash has to know what was compared: it removes nothing else.
        for entry in &mut entries {
            let seen = equal.seen.get(&entry.uid);
            let version = seen.and_then(|seen| seen["metadata"]["resourceVersion"].as_str());
            entry.compared = version.map(ToOwned::to_owned);
        }
        journal.relist(entries.len());
        journal.phase = Phase::Committed;
        let source = self.party(Side::Source);
        source.write_with_list(journal, &entries).await?;
        Ok(Copied {
            survey: Arc::clone(&writer.survey),
            entries,
            notes,
            writer,
            seen: equal.seen,
            fences: None,
        })
    }

    /// Between the first checks and the fence the source may have changed: what is new is tried, too.
    async fn check_again(
        &self,
        survey: &Arc<Survey>,
        tried: Option<(Arc<Survey>, Findings)>,
        journal: &mut Journal,
    ) -> Result<Vec<String>, MoveError> {
        let known = tried.as_ref().map(|(before, _)| before);
        let mut problems = if known.is_some_and(|before| Arc::ptr_eq(before, survey)) {
            Vec::new()
        } else {
            self.states(survey)
        };
        let Some((before, mut findings)) = tried else {
            // It goes on after a crash: the target holds a part already, so names are judged when they are written.
            if problems.is_empty() {
                return Ok(Vec::new());
            }
            return Err(MoveError::Checks(problems));
        };
        let known: HashMap<Key, &str> = before
            .moved()
            .map(|i| (before.key(i), &*before.objects[i].resource_version))
            .collect();
        let changed: Vec<usize> = survey
            .moved()
            .filter(|&i| known.get(&survey.key(i)) != Some(&&*survey.objects[i].resource_version))
            .collect();
        check::try_out(&self.target, survey, &changed, &mut findings, &*self.story).await?;
        findings.refuse_existing(survey);
        problems.extend(findings.problems);
        if !problems.is_empty() {
            return Err(MoveError::Checks(problems));
        }
        journal.namespaces = findings.missing_namespaces;
        Ok(findings.notes)
    }

    async fn writer(
        &self,
        survey: &Arc<Survey>,
        fresh: bool,
        paused: Paused<'_>,
        since: Timestamp,
    ) -> Result<Arc<Writer>, MoveError> {
        let there = if fresh {
            There::default()
        } else {
            There::of(&self.target, survey, &self.extent).await?
        };
        Ok(Writer::new(
            &self.target,
            survey,
            paused,
            there,
            since,
            &self.stop,
        ))
    }

    /// Empties the source and lets the controllers of both clusters act again.
    async fn finish(&self, journal: Journal, copied: Option<Copied>) -> Result<Report, MoveError> {
        Box::pin(self.end(journal, copied))
            .await
            .map_err(|cause| match cause {
                MoveError::Interrupted | MoveError::TakenOver(_) => cause,
                cause => MoveError::Halted {
                    cause: Box::new(cause),
                },
            })
    }

    async fn end(&self, mut journal: Journal, copied: Option<Copied>) -> Result<Report, MoveError> {
        let (entries, fences, mut told) = if let Some(Copied {
            survey,
            entries,
            notes,
            writer,
            seen,
            fences: Some(fences),
        }) = copied
        {
            (entries, fences, Some((survey, notes, writer, seen)))
        } else {
            let committed = |phase| phase == Phase::Committed;
            let (source, found) = self.party(Side::Source).fence_in(&journal.id, committed).await?;
            journal = found;
            let target = self.party(Side::Target).fence(&journal.id).await?;
            let entries = self.party(Side::Source).entries(&journal).await?;
            (entries, (source, target), None)
        };
        let (source, target) = fences;
        let (to, from) = (self.party(Side::Target), self.party(Side::Source));
        self.story.step("Removing objects from the source");
        let work = async {
            let emptied = async {
                let known = told.as_mut().map(|(_, _, writer, seen)| (&*writer, seen));
                self.empty_source(&journal, &entries, known).await?;
                to.unpause(&entries).await?;
                self.story.step("Letting the controllers act again");
                to.close(&journal.id, true).await
            };
            to.behind(target, emptied).await?;
            from.close(&journal.id, false).await?;
            // The record that it is over comes last: until it stands, the same command ends what is left. It is written while the Lease is
            // held, so that nobody who waits for that ends it once more.
            journal.phase = Phase::Done;
            journal.ended = Some(self.clock.now());
            from.write(&journal).await
        };
        Box::pin(from.behind(source, work)).await?;
        Ok(match told {
            Some((survey, notes, ..)) => Report::of(
                &journal.id,
                self.source.context(),
                self.target.context(),
                &survey,
                notes,
            ),
            None => Report::resumed(&journal, self, &entries),
        })
    }

    /// Takes what has moved out of the source: what is owned before its owners.
    async fn empty_source(
        &self,
        journal: &Journal,
        entries: &[Entry],
        known: Option<(&Arc<Writer>, &mut HashMap<String, Value>)>,
    ) -> Result<(), MoveError> {
        let going: Vec<&Entry> = entries.iter().filter(|e| !e.copied).rev().collect();
        let (writer, seen) = match known {
            Some((writer, seen)) => (Arc::clone(writer), std::mem::take(seen)),
            None => self.as_compared(journal, entries, &going).await?,
        };
        let emptying = Emptying {
            source: self.source.clone(),
            writer,
            exit: Exit::of(&journal.id, going.iter().copied()),
            story: Arc::clone(&self.story),
            stop: self.stop.clone(),
        };
        Arc::new(emptying).all(&going, seen).await
    }

    /// What stands in the source of what another process has compared, as it was then: what was changed since is found out when it is to leave.
    async fn as_compared(
        &self,
        journal: &Journal,
        entries: &[Entry],
        going: &[&Entry],
    ) -> Result<(Arc<Writer>, HashMap<String, Value>), MoveError> {
        let mut seen = verify::read_entries(&self.source, going).await?;
        for entry in going {
            if let (Some(seen), Some(compared)) = (seen.get_mut(&entry.uid), &entry.compared)
                && seen["metadata"]["labels"][MOVED] != *journal.id
            {
                seen["metadata"]["resourceVersion"] = compared.as_str().into();
            }
        }
        // The journal of the target goes only when the source is empty.
        let since = self.party(Side::Target).journal().await?;
        let since = since.map_or(journal.begun, |(_, since)| since);
        let writer = Writer::resumed(&self.source, &self.target, entries, since, &self.stop);
        Ok((writer.await?, seen))
    }

    /// Undoes a move that is not committed: empties the target of what it brought there, and lets the source go on.
    async fn undo(&self, id: &str) -> Result<(), MoveError> {
        let source = match Box::pin(self.undo_source(id)).await {
            Err(error @ (MoveError::Committed(_) | MoveError::TakenOver(_))) => return Err(error),
            other => other,
        };
        // The source goes on, whatever becomes of the target: that one stays fenced until it is clean.
        let target = self.party(Side::Target).undo(id).await;
        source.and(target)?;
        self.party(Side::Source).close(id, true).await
    }

    async fn undo_source(&self, id: &str) -> Result<(), MoveError> {
        let party = self.party(Side::Source);
        if party.journal().await?.is_none_or(|(found, _)| found.id != id) {
            return party.lower_by_name(id).await;
        }
        let (fenced, mut journal) = party.fence_in(id, Phase::can_be_undone).await?;
        let work = async {
            journal.phase = Phase::Aborting;
            party.write(&journal).await?;
            let entries = party.entries(&journal).await?;
            party.unpause(&entries).await
        };
        Box::pin(party.behind(fenced, work)).await
    }

    fn party(&self, side: Side) -> Party<'_> {
        Party {
            site: match side {
                Side::Source => &self.source,
                Side::Target => &self.target,
            },
            side,
            clock: &self.clock,
            story: &*self.story,
        }
    }
}

/// What is written down before anything is done.
struct Listed {
    /// What moves.
    entries: Vec<Entry>,
    /// What moved before, and is gone from the source.
    gone: Vec<Entry>,
    /// Whether the lists say just what moves.
    is_final: bool,
    /// Since when the journal stands in the target.
    since: Timestamp,
}

/// What stands at the commit point.
struct Copied {
    survey: Arc<Survey>,
    entries: Vec<Entry>,
    notes: Vec<String>,
    writer: Arc<Writer>,
    /// What matters of each object of the source as it was compared, by UID.
    seen: HashMap<String, Value>,
    fences: Option<(Fenced, Fenced)>,
}
