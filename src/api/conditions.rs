//! Conditions: types, reasons, and how to set and compare them. Pure; times come in as arguments.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Summary of the others: the object does what it is for.
pub const READY: &str = "Ready";
/// A Machine's bootstrap data exists (Cluster API: `BootstrapConfigReady`).
pub const BOOTSTRAP_READY: &str = "BootstrapReady";
/// A Machine's infrastructure object says that it is ready.
pub const INFRASTRUCTURE_READY: &str = "InfrastructureReady";
/// A Machine's Node exists and is Ready (Cluster API: `NodeHealthy`).
pub const NODE_HEALTHY: &str = "NodeHealthy";
/// A Machine's Node has no pods left that would have to move (`OpenShift`: `Drained`).
pub const DRAINED: &str = "Drained";
/// No hook holds up the drain of a Machine's Node (`OpenShift`: `Drainable`).
pub const DRAINABLE: &str = "Drainable";
/// No hook holds up the end of a Machine's host (`OpenShift`: `Terminable`).
pub const TERMINABLE: &str = "Terminable";
/// No volumes are attached to the Node of a Machine that goes, or they are no longer waited for (Cluster API: `VolumeDetachSucceeded`).
pub const VOLUMES_DETACHED: &str = "VolumesDetached";
/// Conditions of a Machine that say nothing about whether it is ready.
pub const ASIDE: [&str; 5] = [
    CONFIG_TRANSLATED,
    DRAINABLE,
    TERMINABLE,
    DRAINED,
    VOLUMES_DETACHED,
];
/// Every field of a Config means something for the node image that it runs on.
pub const CONFIG_TRANSLATED: &str = "ConfigTranslated";
/// A Config can be rendered.
pub const VALID: &str = "Valid";
/// A container exists and its init system is up.
pub const CONTAINER_RUNNING: &str = "ContainerRunning";
/// The bootstrap script of a machine ended well.
pub const BOOTSTRAPPED: &str = "Bootstrapped";
/// All machines of a set are Ready (Cluster API).
pub const MACHINES_READY: &str = "MachinesReady";
/// A set has fewer machines than it should (Cluster API).
pub const SCALING_UP: &str = "ScalingUp";
/// A set has more machines than it should, those included that are on their way out (Cluster API).
pub const SCALING_DOWN: &str = "ScalingDown";
/// A Cluster's API server answers.
pub const API_SERVER_AVAILABLE: &str = "APIServerAvailable";
/// A Cluster's keys and certificates exist.
pub const CERTIFICATES_AVAILABLE: &str = "CertificatesAvailable";
/// A Machine is well in the eyes of its `MachineHealthCheck` (Cluster API: `HealthCheckSucceeded`).
pub const HEALTH_CHECK_SUCCEEDED: &str = "HealthCheckSucceeded";
/// A `MachineHealthCheck` may have machines replaced: not too many are broken (Cluster API, `OpenShift`).
pub const REMEDIATION_ALLOWED: &str = "RemediationAllowed";
/// The template that a `MachineHealthCheck` copies for broken machines exists (Cluster API, `OpenShift`).
pub const EXTERNAL_TEMPLATE_AVAILABLE: &str = "ExternalRemediationTemplateAvailable";
/// The copies of that template could be made (Cluster API, `OpenShift`).
pub const EXTERNAL_REQUEST_AVAILABLE: &str = "ExternalRemediationRequestAvailable";

/// As many machines of a `MachineDeployment` are available as have to be (Deployment).
pub const AVAILABLE: &str = "Available";
/// A roll-out gets further, or is done (Deployment).
pub const PROGRESSING: &str = "Progressing";
/// All machines are of the present template (Cluster API).
pub const MACHINES_UP_TO_DATE: &str = "MachinesUpToDate";
/// Machines of an old template are being replaced (Cluster API).
pub const ROLLING_OUT: &str = "RollingOut";

/// Whether what a condition names is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// Nobody knows.
    Unknown,
}

impl Status {
    /// Returns the word that stands in the object.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Status {
    fn from(so: bool) -> Self {
        if so { Self::True } else { Self::False }
    }
}

/// Makes a condition. `reason` is one CamelCase word, `message` is for people.
pub fn condition(
    type_: &str,
    status: Status,
    reason: &str,
    message: impl Into<String>,
    generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: status.as_str().to_owned(),
        reason: reason.to_owned(),
        message: message.into(),
        observed_generation: generation,
        last_transition_time: Time(whole_seconds(now)),
    }
}

/// Puts a condition into a list: replaces the one of the same type, and keeps that one's time when the status is the same.
pub fn set(conditions: &mut Vec<Condition>, mut new: Condition) {
    match conditions.iter_mut().find(|c| c.type_ == new.type_) {
        Some(old) => {
            if old.status == new.status {
                new.last_transition_time = old.last_transition_time.clone();
            }
            *old = new;
        }
        None => conditions.push(new),
    }
}

/// Finds a condition by type.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == type_)
}

/// Whether a condition is there and True.
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|c| c.status == "True")
}

/// Whether two lists say the same, whatever their times.
pub fn equal_ignoring_time(a: &[Condition], b: &[Condition]) -> bool {
    a.len() == b.len()
        && a.iter().all(|x| {
            find(b, &x.type_).is_some_and(|y| {
                (&x.status, &x.reason, &x.message, x.observed_generation)
                    == (&y.status, &y.reason, &y.message, y.observed_generation)
            })
        })
}

/// Cuts a moment to whole seconds, as `metav1.Time` holds them.
fn whole_seconds(moment: Timestamp) -> Timestamp {
    Timestamp::from_second(moment.as_second()).unwrap_or(moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_time_moves_only_with_the_status() {
        let mut list = vec![condition(READY, Status::False, "A", "a", None, at(1))];
        set(&mut list, condition(READY, Status::False, "B", "b", None, at(2)));
        assert_eq!(
            (list[0].reason.as_str(), list[0].last_transition_time.0),
            ("B", at(1))
        );
        set(&mut list, condition(READY, Status::True, "C", "", None, at(3)));
        assert_eq!(list[0].last_transition_time.0, at(3));
        assert!(is_true(&list, READY));
    }

    #[test]
    fn lists_are_equal_whatever_their_order_and_times() {
        let a = [
            condition(READY, Status::True, "A", "", None, at(1)),
            condition(VALID, Status::True, "A", "", None, at(1)),
        ];
        let b = [
            condition(VALID, Status::True, "A", "", None, at(5)),
            condition(READY, Status::True, "A", "", None, at(9)),
        ];
        assert!(equal_ignoring_time(&a, &b));
        assert!(!equal_ignoring_time(&a, &b[..1]));
    }
}
