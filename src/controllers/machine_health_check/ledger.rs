//! What was replaced lately, owner by owner: how many machines are under replacement, and how long to wait when replacements fail, too. Pure.
//!
//! All of it stands in `status.remediations`, so a restart changes nothing. An owner is entered when its first machine is replaced, and
//! forgotten when all its machines have been healthy for `backOff.resetAfter`. While it is there,
//!
//! - its machines that leave since then, its machines made since then that are not well, and those that it still lacks count as under
//!   replacement. One replacement may count twice while the old machine leaves and the new one starts: rather too few at once than too many;
//! - a machine made after the last replacement that is broken again waits `backOff.initialDelay` from when it broke, twice as long each
//!   time this happens in a row, at most `backOff.maxDelay`. Its siblings, made together with it, wait no second time.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::{
    judge::{Cause, Health, Later},
    observe::{Observed, Watched},
};
use crate::api::{
    duration::Duration,
    v1alpha1::{MachineHealthCheckSpec, OwnerRemediation},
};

/// The first wait, if nobody says otherwise.
const INITIAL_DELAY: Duration = Duration::from_secs(30);
/// The longest wait, if nobody says otherwise.
const MAX_DELAY: Duration = Duration::from_secs(3600);
/// How long an owner must be well until it is forgotten, if nobody says otherwise.
const RESET_AFTER: Duration = Duration::from_secs(600);

/// The entries of all owners.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    pub(super) records: Vec<OwnerRemediation>,
    initial: Duration,
    longest: Duration,
    reset: Duration,
}

impl Ledger {
    /// Reads the entries and brings them up to date; owners that have been well for long enough are forgotten.
    pub(super) fn of(o: &Observed, health: &[Health], now: Timestamp) -> Self {
        let spec: &MachineHealthCheckSpec = &o.check.spec;
        let back_off = spec.back_off.clone().unwrap_or_default();
        let mut ledger = Self {
            records: o.check.status.clone().unwrap_or_default().remediations,
            initial: back_off.initial_delay.unwrap_or(INITIAL_DELAY),
            longest: back_off.max_delay.unwrap_or(MAX_DELAY),
            reset: back_off.reset_after.unwrap_or(RESET_AFTER),
        };
        for record in &mut ledger.records {
            let missing = o.owners.get(&record.uid).map_or(0, |owner| owner.missing);
            let well = missing == 0 && of_owner(o, &record.uid).all(|(index, _)| health[index].is_well());
            record.healthy_since = match (well, record.healthy_since.take()) {
                (false, _) => None,
                (true, None) => Some(seconds(now)),
                (true, since) => since,
            };
        }
        let reset = ledger.reset;
        ledger
            .records
            .retain(|r| expiry(r, reset).is_none_or(|end| end > now));
        ledger
    }

    /// When the first of the owners that are well is forgotten.
    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        self.records.iter().filter_map(|r| expiry(r, self.reset)).min()
    }

    fn record(&self, w: &Watched) -> Option<&OwnerRemediation> {
        let uid = w.owner_uid()?;
        self.records.iter().find(|r| r.uid == uid)
    }

    /// Whether a machine takes the place of one that was replaced, or is one that leaves for that reason, and is not well.
    pub(super) fn is_in_flight(&self, w: &Watched, health: &Health) -> bool {
        let Some(record) = self.record(w) else {
            return false;
        };
        match health {
            Health::Leaving => {
                let asked = w.machine.metadata.deletion_timestamp.as_ref();
                asked.is_none_or(|at| at.0 >= record.since.0)
            }
            health => !health.is_well() && created(w) >= record.since.0,
        }
    }

    /// How many machines are under replacement by deletion.
    pub(super) fn in_flight(&self, o: &Observed, health: &[Health]) -> usize {
        let machines = o
            .machines
            .iter()
            .zip(health)
            .filter(|(w, health)| self.is_in_flight(w, health))
            .count();
        let missing: usize = self
            .records
            .iter()
            .filter_map(|r| o.owners.get(&r.uid))
            .map(|owner| owner.missing)
            .sum();
        machines + missing
    }

    /// Until when a machine that has been broken since `since` has to wait, because the last replacements failed. Nothing: it need not.
    pub(super) fn wait(&self, w: &Watched, since: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let record = self.record(w).filter(|r| created(w) >= r.last.0)?;
        let delay = self.delay(record.failures);
        let due = since.saturating_add_or_max(delay);
        (due > now).then_some(due)
    }

    /// The wait after so many failures in a row.
    fn delay(&self, failures: i32) -> Duration {
        let times = 2_i32.saturating_pow(u32::try_from(failures.max(0)).unwrap_or(0).min(30));
        let delay = self
            .initial
            .span()
            .checked_mul(times)
            .map_or(self.longest, Duration::from);
        delay.min(self.longest)
    }

    /// Takes down that a machine is replaced, and why. A wish is no failure.
    pub(super) fn replaced(&mut self, w: &Watched, health: &Health, now: Timestamp) {
        let Some(owner) = w.controller() else { return };
        let created = created(w);
        let now = seconds(now);
        if let Some(record) = self.records.iter_mut().find(|r| r.uid == owner.uid) {
            let wish = matches!(
                health,
                Health::Unhealthy {
                    cause: Cause::Asked,
                    ..
                }
            );
            if created >= record.last.0 && !wish {
                record.failures = record.failures.saturating_add(1);
                record.last = now;
            }
            record.healthy_since = None;
            return;
        }
        self.records.push(OwnerRemediation {
            uid: owner.uid.clone(),
            owner: format!("{}/{}", owner.kind, owner.name),
            failures: 0,
            since: now.clone(),
            last: now,
            healthy_since: None,
        });
    }
}

fn expiry(record: &OwnerRemediation, reset: Duration) -> Option<Timestamp> {
    let since = record.healthy_since.as_ref()?;
    Some(since.0.saturating_add_or_max(reset))
}

fn of_owner<'a>(o: &'a Observed, uid: &'a str) -> impl Iterator<Item = (usize, &'a Watched)> {
    o.machines
        .iter()
        .enumerate()
        .filter(move |(_, w)| w.owner_uid() == Some(uid))
}

fn created(w: &Watched) -> Timestamp {
    w.machine
        .creation_timestamp()
        .map_or(Timestamp::UNIX_EPOCH, |t| t.0)
}

/// A moment as objects hold it: whole seconds.
pub(super) fn seconds(moment: Timestamp) -> Time {
    Time(Timestamp::from_second(moment.as_second()).unwrap_or(moment))
}
