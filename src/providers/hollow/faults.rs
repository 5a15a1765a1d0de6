//! What becomes of a hollow machine, and when: a function of its UID, its spec and the time, and of nothing else. Pure.

use std::sync::LazyLock;

use sha2::{Digest as _, Sha256};

use crate::{
    api::{
        duration::Duration,
        v1alpha1::{HollowFaults, HollowMachineSpec, NotReadyStatus},
    },
    providers::{ActuatorError, Known},
    time::{SignedDuration, Timestamp},
};

/// A turn of a Node lasts at least this long.
const SHORTEST_TURN: SignedDuration = SignedDuration::from_millis(100);
/// A machine that can't be deleted is looked at this often; a change of its spec is seen at once.
const STUCK: SignedDuration = SignedDuration::from_mins(15);
/// So much later than its Node's creation a machine may have been called ready: times in objects are whole seconds.
const SLACK: SignedDuration = SignedDuration::from_secs(5);

/// What a Node's condition Ready says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    /// The kubelet works.
    True,
    /// The kubelet says that it does not.
    False,
    /// The kubelet says nothing, and renews no Lease.
    Unknown,
}

impl Ready {
    /// Returns the word that stands in the condition.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// What a Node says of itself, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) ready: Ready,
    pub(super) since: Timestamp,
}

/// What becomes of one machine.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Script {
    uid: String,
    startup: SignedDuration,
    /// Most have none, and there may be thousands.
    faults: Option<Box<HollowFaults>>,
}

impl Script {
    /// Reads the script of the machine with this UID out of its spec.
    pub(super) fn of(uid: &str, spec: &HollowMachineSpec) -> Self {
        let span = |d: Option<Duration>| d.map_or(SignedDuration::ZERO, Duration::span);
        let jitter = part(draw(uid, "startup", 0), span(spec.startup_jitter));
        let chosen = |f: &&HollowFaults| is_drawn(draw(uid, "chosen", 0), f.percentage.unwrap_or(100));
        Self {
            uid: uid.to_owned(),
            startup: span(spec.startup_delay) + jitter,
            faults: spec.faults.as_ref().filter(chosen).cloned().map(Box::new),
        }
    }

    fn faults(&self) -> &HollowFaults {
        static NONE: LazyLock<HollowFaults> = LazyLock::new(HollowFaults::default);
        self.faults.as_deref().unwrap_or(&NONE)
    }

    /// How long the machine takes to start.
    pub(super) const fn startup(&self) -> SignedDuration {
        self.startup
    }

    /// Says why the instance can't be made now, if it can't.
    pub(super) fn refusal(&self, now: Timestamp) -> Option<ActuatorError> {
        if let Some(error) = &self.faults().terminal_error {
            let reason = error.reason.as_deref().unwrap_or("CreateError");
            let message = error.message.as_deref();
            let message = message.unwrap_or("spec.faults.terminalError lets the creation fail");
            return Some(ActuatorError::terminal(reason, message));
        }
        let rate = self.faults().create_failure_rate.unwrap_or(0);
        is_drawn(draw(&self.uid, "create", now.as_second()), rate).then(|| {
            ActuatorError::transient(format!(
                "spec.faults.createFailureRate lets {rate} of 100 tries to create the instance fail"
            ))
        })
    }

    /// When the instance disappears that was made at `born`.
    pub(super) fn vanishes_at(&self, born: Timestamp) -> Option<Timestamp> {
        self.faults().vanish_after.map(|after| later(born, after.span()))
    }

    /// Whether an instance that is not there now has been there and disappeared.
    pub(super) fn has_vanished(&self, known: &Known, now: Timestamp) -> bool {
        let due = known.ready_since.and_then(|since| self.vanishes_at(since));
        due.is_some_and(|due| later(now, SLACK) >= due)
    }

    /// What a Node says of itself that was made at `born`.
    pub(super) fn health(&self, born: Timestamp, now: Timestamp) -> Health {
        let healthy = |since| Health {
            ready: Ready::True,
            since,
        };
        let broken = |since| Health {
            ready: match self.faults().not_ready_status.unwrap_or_default() {
                NotReadyStatus::False => Ready::False,
                NotReadyStatus::Unknown => Ready::Unknown,
            },
            since,
        };
        if let Some(after) = self.faults().not_ready_after {
            let due = later(born, after.span());
            return if now < due { healthy(born) } else { broken(due) };
        }
        let Some((good, bad)) = self.turns() else {
            return healthy(born);
        };
        let begun = self.turn_began(born, now);
        let broke = later(begun, good);
        if now < broke {
            // The first turn has no bad one before it.
            healthy(begun)
        } else {
            debug_assert!(now < later(broke, bad) || now < born, "a turn has two parts");
            broken(broke)
        }
    }

    /// When [`Self::health`] says something else than `now`, or the instance disappears.
    pub(super) fn next_change(&self, born: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let vanishes = self.vanishes_at(born);
        let breaks = self
            .faults()
            .not_ready_after
            .map(|after| later(born, after.span()));
        let turns = self.turns().map(|(good, bad)| {
            let begun = self.turn_began(born, now);
            let broke = later(begun, good);
            if now < broke { broke } else { later(broke, bad) }
        });
        // What disappears does so once, even if nobody was there to see to it in time.
        let ahead = [breaks, turns].into_iter().flatten().filter(|at| *at > now);
        ahead.chain(vanishes).min()
    }

    /// How much longer the deletion takes that began at `since`.
    pub(super) fn deletion(&self, since: Option<Timestamp>, now: Timestamp) -> Option<SignedDuration> {
        if self.faults().stuck_deleting == Some(true) {
            return Some(STUCK);
        }
        let delay = self.faults().deletion_delay?.span();
        let left = later(since?, delay).duration_since(now);
        left.is_positive().then_some(left)
    }

    fn turns(&self) -> Option<(SignedDuration, SignedDuration)> {
        let faults = self.faults();
        let periods = faults
            .not_ready_periodically
            .filter(|_| faults.not_ready_after.is_none())?;
        let turn = |d: Duration| d.span().max(SHORTEST_TURN);
        Some((turn(periods.healthy_for), turn(periods.unhealthy_for)))
    }

    /// When the present pair of a good and a bad turn began.
    fn turn_began(&self, born: Timestamp, now: Timestamp) -> Timestamp {
        let Some((good, bad)) = self.turns() else {
            return born;
        };
        let whole = good.saturating_add(bad).as_nanos();
        let age = now.duration_since(born).as_nanos().max(0);
        let done = age - age % whole;
        let done = i64::try_from(done / 1_000_000_000)
            .map(|seconds| SignedDuration::new(seconds, i32::try_from(done % 1_000_000_000).unwrap_or(0)));
        done.map_or(born, |done| later(born, done))
    }
}

/// `at + by`, as far as there is such a time.
pub(super) fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// A number that follows from a UID and what it is for, and looks like any other.
pub(super) fn draw(uid: &str, what: &str, number: i64) -> u64 {
    let digest = Sha256::digest(format!("{uid}/{what}/{number}"));
    digest
        .iter()
        .take(8)
        .fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

/// Whether a number that was drawn is among the first `percent` of a hundred.
fn is_drawn(number: u64, percent: i32) -> bool {
    let percent = u128::try_from(percent.clamp(0, 100)).unwrap_or(0);
    u128::from(number) * 100 < percent << 64
}

/// The part of a span that a number stands for which was drawn: less than the whole.
pub(super) fn part(number: u64, span: SignedDuration) -> SignedDuration {
    let nanos = u128::try_from(span.as_nanos()).unwrap_or(0);
    // A span has at most 94 bits of nanoseconds: half of the number's bits are enough.
    let share = (nanos * u128::from(number >> 32)) >> 32;
    SignedDuration::new(
        i64::try_from(share / 1_000_000_000).unwrap_or(i64::MAX),
        i32::try_from(share % 1_000_000_000).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const UID: &str = "11111111-2222-3333-4444-555555555555";

    fn script_of(uid: &str, spec: Value) -> Script {
        Script::of(uid, &serde_json::from_value(spec).unwrap())
    }

    fn script(faults: &Value) -> Script {
        script_of(UID, json!({ "faults": faults }))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ms(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    /// The UIDs of a fleet.
    fn fleet() -> impl Iterator<Item = String> {
        (0..1000).map(|n| format!("uid-{n}"))
    }

    #[test]
    fn a_machine_without_faults_is_ready_for_ever() {
        let script = script_of(UID, json!({}));
        assert_eq!(script.startup(), SignedDuration::ZERO);
        assert!(script.refusal(at(1)).is_none());
        let health = script.health(at(10), at(1_000_000));
        assert_eq!((health.ready, health.since), (Ready::True, at(10)));
        assert_eq!(script.next_change(at(10), at(1_000_000)), None);
        assert_eq!(script.deletion(Some(at(1)), at(1)), None);
        assert!(!script.has_vanished(&Known::default(), at(9)));
    }

    #[test]
    fn startup_is_spread_over_the_jitter_and_stays_the_same() {
        let spec = json!({ "startupDelay": "10s", "startupJitter": "20s" });
        let (mut early, mut late) = (0, 0);
        for uid in fleet() {
            let startup = script_of(&uid, spec.clone()).startup();
            assert_eq!(startup, script_of(&uid, spec.clone()).startup());
            assert!((10..30).contains(&startup.as_secs()), "{startup:?}");
            if startup.as_secs() < 20 {
                early += 1;
            } else {
                late += 1;
            }
        }
        assert!(early > 400 && late > 400, "{early} {late}");
    }

    #[test]
    fn creation_fails_as_often_as_asked_and_is_drawn_anew_each_second() {
        for (rate, least, most) in [(0, 0, 0), (30, 240, 360), (100, 1000, 1000)] {
            let spec = json!({ "faults": { "createFailureRate": rate } });
            let failed = |now| {
                fleet()
                    .filter(|uid| script_of(uid, spec.clone()).refusal(now).is_some())
                    .collect::<Vec<_>>()
            };
            let (one, other) = (failed(at(1)), failed(at(2)));
            assert!((least..=most).contains(&one.len()), "{rate}: {}", one.len());
            assert_eq!(failed(ms(1_999)), one);
            assert_eq!(one == other, rate != 30);
        }
        let refusal = script(&json!({ "createFailureRate": 100 })).refusal(at(1));
        assert!(matches!(refusal, Some(ActuatorError::Transient { .. })));
    }

    #[test]
    fn a_terminal_error_says_what_it_was_told_to() {
        let told = |error: Value| match script(&json!({ "terminalError": error })).refusal(at(1)) {
            Some(ActuatorError::Terminal { reason, message }) => (reason, message),
            other => panic!("{other:?}"),
        };
        let quota = json!({ "reason": "InsufficientResources", "message": "quota is used up" });
        assert_eq!(
            told(quota),
            ("InsufficientResources".into(), "quota is used up".into())
        );
        assert_eq!(told(json!({})).0, "CreateError");
    }

    #[test]
    fn a_percentage_chooses_the_same_machines_each_time() {
        let chosen = |percentage: i32| {
            let spec = json!({ "faults": { "percentage": percentage, "stuckDeleting": true } });
            fleet()
                .filter(|uid| script_of(uid, spec.clone()).deletion(None, at(1)).is_some())
                .collect::<Vec<_>>()
        };
        assert!((60..140).contains(&chosen(10).len()), "{}", chosen(10).len());
        assert_eq!(chosen(10), chosen(10));
        assert!(
            chosen(10).iter().all(|uid| chosen(50).contains(uid)),
            "more is more of the same"
        );
        assert_eq!((chosen(0).len(), chosen(100).len()), (0, 1000));
    }

    #[test]
    fn a_node_breaks_once() {
        let script = script(&json!({ "notReadyAfter": "2m" }));
        assert_eq!(script.health(at(1000), at(1119)).ready, Ready::True);
        let broken = script.health(at(1000), at(9999));
        assert_eq!((broken.ready, broken.since), (Ready::Unknown, at(1120)));
        assert_eq!(script.next_change(at(1000), at(1119)), Some(at(1120)));
        assert_eq!(script.next_change(at(1000), at(1120)), None);
        let says = self::script(&json!({ "notReadyAfter": "2m", "notReadyStatus": "False" }));
        assert_eq!(says.health(at(1000), at(1120)).ready, Ready::False);
    }

    #[test]
    fn a_node_breaks_and_mends_by_turns() {
        let script =
            script(&json!({ "notReadyPeriodically": { "healthyFor": "1m", "unhealthyFor": "30s" } }));
        for (now, ready, since, next) in [
            (1000, Ready::True, 1000, 1060),
            (1059, Ready::True, 1000, 1060),
            (1060, Ready::Unknown, 1060, 1090),
            (1089, Ready::Unknown, 1060, 1090),
            (1090, Ready::True, 1090, 1150),
            (
                1000 + 90 * 1000 + 75,
                Ready::Unknown,
                1000 + 90 * 1000 + 60,
                1000 + 90 * 1001,
            ),
        ] {
            let health = script.health(at(1000), at(now));
            assert_eq!((health.ready, health.since), (ready, at(since)), "{now}");
            assert_eq!(script.next_change(at(1000), at(now)), Some(at(next)), "{now}");
        }
        // A clock that was set back breaks nothing.
        assert_eq!(script.health(at(1000), at(5)).ready, Ready::True);
    }

    #[test]
    fn turns_without_length_have_one() {
        let script = script(&json!({ "notReadyPeriodically": { "healthyFor": "0", "unhealthyFor": "0s" } }));
        assert_eq!(script.health(ms(0), ms(150)).ready, Ready::Unknown);
        assert_eq!(script.next_change(ms(0), ms(150)), Some(ms(200)));
    }

    #[test]
    fn times_without_end_are_borne() {
        let ages = "2000000h";
        let script = script(&json!({
            "vanishAfter": ages, "deletionDelay": ages,
            "notReadyPeriodically": { "healthyFor": ages, "unhealthyFor": ages }
        }));
        let born = at(200_000_000_000);
        assert_eq!(script.health(born, born).ready, Ready::True);
        assert!(script.next_change(born, born).is_some());
        assert!(script.deletion(Some(born), born).is_some());
    }

    #[test]
    fn an_instance_disappears_and_is_known_to_have() {
        let script = script(&json!({ "vanishAfter": "5m" }));
        assert_eq!(script.next_change(at(1000), at(1001)), Some(at(1300)));
        // Overdue is due.
        assert_eq!(script.next_change(at(1000), at(5000)), Some(at(1300)));
        let ready = Known {
            ready_since: Some(at(1001)),
            ..Known::default()
        };
        assert!(
            !script.has_vanished(&ready, at(1200)),
            "somebody deleted the Node"
        );
        assert!(script.has_vanished(&ready, at(1300)));
        assert!(
            !script.has_vanished(&Known::default(), at(9999)),
            "it never was there"
        );
    }

    #[test]
    fn a_deletion_takes_its_time_or_has_no_end() {
        let slow = script(&json!({ "deletionDelay": "30s" }));
        assert_eq!(
            slow.deletion(Some(at(100)), at(110)),
            Some(SignedDuration::from_secs(20))
        );
        assert_eq!(slow.deletion(Some(at(100)), at(130)), None);
        let stuck = script(&json!({ "stuckDeleting": true }));
        assert_eq!(stuck.deletion(Some(at(100)), at(1_000_000)), Some(STUCK));
    }
}
