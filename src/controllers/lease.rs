//! The Lease that keeps two controllers from acting at once: acquire, renew, release, take over. It decides nothing about machines.
//!
//! A holder that died is replaced when its Lease has run out; at once if it was a process of this machine that is gone.

use std::{future::Future, time::Duration};

use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::Namespace,
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};

use crate::time::{Clock, SignedDuration, Timestamp};

/// Namespace of the Lease.
pub const NAMESPACE: &str = "machinectl-system";
/// Name of the Lease.
pub const NAME: &str = "machinectl-controller";
/// How long a Lease holds without being renewed.
const HOLDS: SignedDuration = SignedDuration::from_secs(15);
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(5);
/// How often somebody else's Lease is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Annotation with the process that holds the Lease, so that its end is noticed at once on the same machine.
const PROCESS: &str = "machine.crit.sh/holder-process";

/// Who holds the Lease, if anybody does. For commands that want to say so.
///
/// # Errors
/// Fails when the API server can't be asked.
pub async fn holder(client: &Client, now: Timestamp) -> Result<Option<String>, kube::Error> {
    let lease = Api::<Lease>::namespaced(client.clone(), NAMESPACE)
        .get_opt(NAME)
        .await?;
    Ok(lease
        .filter(|lease| !is_free(lease, now))
        .and_then(|lease| holder_of(&lease)))
}

/// A Lease that is held by this process.
#[derive(Debug)]
pub(crate) struct Held {
    api: Api<Lease>,
    lease: Lease,
    identity: String,
}

/// Why a Lease is no longer held.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    /// Somebody else has it.
    #[error("{0} has taken it")]
    Taken(String),
    /// It could not be renewed in time.
    #[error("it could not be renewed in time: {0}")]
    Expired(#[source] kube::Error),
}

/// Waits until the Lease is held, or returns nothing when `stop` comes first.
///
/// API servers that can't be reached are asked again; a refusal (403) is an error.
pub(crate) async fn acquire(
    client: &Client,
    identity: &str,
    clock: &dyn Clock,
    stop: impl Future<Output = ()>,
) -> Result<Option<Held>, kube::Error> {
    let attempt = async {
        let mut told: Option<String> = None;
        let mut failures = 0_u32;
        loop {
            match try_acquire(client, identity, clock.now()).await {
                Ok(Ok(held)) => return Ok(held),
                Ok(Err(holder)) => {
                    failures = 0;
                    if told.as_ref() != Some(&holder) {
                        tracing::warn!(%holder, "another machinectl runs the controllers here; waiting until it stops");
                        told = Some(holder);
                    }
                    tokio::time::sleep(LOOK).await;
                }
                Err(error) if is_refusal(&error) => return Err(error),
                Err(error) => {
                    if failures == 0 {
                        tracing::warn!(%error, "the API server does not answer; trying again");
                    }
                    failures += 1;
                    tokio::time::sleep(Duration::from_millis(200 * u64::from(failures.min(25)))).await;
                }
            }
        }
    };
    tokio::pin!(stop);
    tokio::select! {
        held = attempt => held.map(Some),
        () = &mut stop => Ok(None),
    }
}

impl Held {
    /// Renews the Lease for ever; returns when it is lost.
    pub(crate) async fn keep(&mut self, clock: &dyn Clock) -> Lost {
        let mut renewed = clock.now();
        loop {
            tokio::time::sleep(RENEW).await;
            match self.renew(clock.now()).await {
                Ok(None) => renewed = clock.now(),
                Ok(Some(holder)) => return Lost::Taken(holder),
                Err(error) if clock.now().duration_since(renewed) > HOLDS => return Lost::Expired(error),
                Err(error) => tracing::warn!(%error, "the Lease could not be renewed; trying again"),
            }
        }
    }

    /// Renews it once. Returns the holder if that is somebody else.
    async fn renew(&mut self, now: Timestamp) -> Result<Option<String>, kube::Error> {
        let mut lease = self.lease.clone();
        lease.spec.get_or_insert_default().renew_time = Some(MicroTime(now));
        match self.api.replace(NAME, &PostParams::default(), &lease).await {
            Ok(lease) => self.lease = lease,
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {
                let current = self.api.get_opt(NAME).await?;
                match current {
                    Some(lease) if holder_of(&lease).as_deref() == Some(self.identity.as_str()) => {
                        self.lease = lease;
                    }
                    Some(lease) => return Ok(Some(holder_of(&lease).unwrap_or_default())),
                    None => {
                        let lease = fresh(&self.identity, now, 0);
                        self.lease = self.api.create(&PostParams::default(), &lease).await?;
                    }
                }
            }
            Err(error) => return Err(error),
        }
        Ok(None)
    }

    /// Gives the Lease back, so that the next one need not wait.
    pub(crate) async fn release(self) {
        let mut lease = self.lease;
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
        }
        if let Err(error) = self.api.replace(NAME, &PostParams::default(), &lease).await {
            tracing::debug!(%error, "the Lease could not be given back; it runs out by itself");
        }
    }
}

/// Tries once. The inner error is the present holder.
async fn try_acquire(
    client: &Client,
    identity: &str,
    now: Timestamp,
) -> Result<Result<Held, String>, kube::Error> {
    let api = Api::<Lease>::namespaced(client.clone(), NAMESPACE);
    let held = |lease: Lease| Held {
        api: api.clone(),
        lease,
        identity: identity.to_owned(),
    };
    let Some(mut lease) = api.get_opt(NAME).await? else {
        return match create(client, &api, identity, now).await {
            Ok(lease) => Ok(Ok(held(lease))),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                Ok(Err("somebody who was faster".to_owned()))
            }
            Err(error) => Err(error),
        };
    };
    if !is_free(&lease, now) {
        return Ok(Err(holder_of(&lease).unwrap_or_default()));
    }
    let transitions = lease.spec.as_ref().and_then(|s| s.lease_transitions).unwrap_or(0);
    let taken = fresh(identity, now, transitions.saturating_add(1));
    lease.spec = taken.spec;
    lease.metadata.annotations = taken.metadata.annotations;
    match api.replace(NAME, &PostParams::default(), &lease).await {
        Ok(lease) => Ok(Ok(held(lease))),
        Err(kube::Error::Api(status)) if status.is_conflict() => {
            Ok(Err("somebody who was faster".to_owned()))
        }
        Err(error) => Err(error),
    }
}

/// Makes the Lease, and its namespace if that is missing.
async fn create(
    client: &Client,
    api: &Api<Lease>,
    identity: &str,
    now: Timestamp,
) -> Result<Lease, kube::Error> {
    let lease = fresh(identity, now, 0);
    match api.create(&PostParams::default(), &lease).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => {}
        other => return other,
    }
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some(NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    match Api::<Namespace>::all(client.clone())
        .create(&PostParams::default(), &namespace)
        .await
    {
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    api.create(&PostParams::default(), &lease).await
}

fn fresh(identity: &str, now: Timestamp, transitions: i32) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            annotations: process::own().map(|own| [(PROCESS.to_owned(), own)].into()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(identity.to_owned()),
            lease_duration_seconds: i32::try_from(HOLDS.as_secs()).ok(),
            acquire_time: Some(MicroTime(now)),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }),
    }
}

fn holder_of(lease: &Lease) -> Option<String> {
    lease
        .spec
        .as_ref()
        .and_then(|s| s.holder_identity.clone())
        .filter(|holder| !holder.is_empty())
}

/// Whether nobody holds a Lease: given back, run out, or held by a process of this machine that is gone.
fn is_free(lease: &Lease, now: Timestamp) -> bool {
    if holder_of(lease).is_none() {
        return true;
    }
    let Some(spec) = &lease.spec else { return true };
    let holds = spec
        .lease_duration_seconds
        .map_or(HOLDS, |s| SignedDuration::from_secs(s.into()));
    let expired = spec
        .renew_time
        .as_ref()
        .is_none_or(|renewed| now.duration_since(renewed.0) > holds);
    let process = lease.metadata.annotations.as_ref().and_then(|a| a.get(PROCESS));
    expired || process.is_some_and(|process| process::is_dead(process))
}

fn is_refusal(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_forbidden() || status.code == 401)
}

/// Processes of this machine. Only Linux tells enough about them.
mod process {
    use std::fs;

    /// `<boot id>/<pid namespace>/<pid>/<start>`: unique for a process for ever.
    pub(super) fn own() -> Option<String> {
        let pid = std::process::id();
        Some(format!("{}/{pid}/{}", world()?, start_of(pid)?))
    }

    /// Whether a process of this machine and this process namespace is gone. Of others nothing is known.
    pub(super) fn is_dead(process: &str) -> bool {
        let mut parts = process.rsplitn(3, '/');
        let (Some(start), Some(pid), Some(place)) = (parts.next(), parts.next(), parts.next()) else {
            return false;
        };
        let Ok(pid) = pid.parse::<u32>() else { return false };
        world().is_some_and(|own| own == place) && start_of(pid).is_none_or(|now| now != start)
    }

    fn world() -> Option<String> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
        Some(format!("{}/{}", boot.trim(), namespace.display()))
    }

    /// When a process started, in clock ticks since boot.
    fn start_of(pid: u32) -> Option<String> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The program's name stands in brackets and may hold anything.
        let rest = stat.rsplit_once(')')?.1;
        rest.split_whitespace().nth(19).map(str::to_owned)
    }

    #[cfg(all(test, target_os = "linux"))]
    mod tests {
        use super::*;

        #[test]
        fn a_process_that_runs_is_not_dead_and_one_that_ended_is() {
            let own = own().unwrap();
            assert!(!is_dead(&own));
            let (place_and_pid, start) = own.rsplit_once('/').unwrap();
            assert!(is_dead(&format!("{place_and_pid}/{start}9")));
            let (place, _) = place_and_pid.rsplit_once('/').unwrap();
            assert!(is_dead(&format!("{place}/4194999/1")));
            assert!(!is_dead(&format!("another-boot/pid:[1]/4194999/{start}")));
            assert!(!is_dead("nonsense"));
        }
    }
}

/// Removes the Lease. For tests and for taking machinectl out of a cluster.
///
/// # Errors
/// Fails when the API server refuses.
pub async fn remove(client: &Client) -> Result<(), kube::Error> {
    match Api::<Lease>::namespaced(client.clone(), NAMESPACE)
        .delete(NAME, &DeleteParams::default())
        .await
    {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn held_at(second: i64) -> Lease {
        let mut lease = fresh("a_1", at(second), 0);
        lease.metadata.annotations = None;
        lease
    }

    #[test]
    fn a_lease_is_free_when_it_ran_out_or_was_given_back() {
        assert!(!is_free(&held_at(100), at(115)));
        assert!(is_free(&held_at(100), at(116)));
        let mut given_back = held_at(100);
        given_back.spec.as_mut().unwrap().holder_identity = Some(String::new());
        assert!(is_free(&given_back, at(100)));
    }
}
