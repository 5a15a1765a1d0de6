//! The Lease that keeps two controllers from acting at once: acquire, renew, release, take over. It decides nothing about machines.
//!
//! A holder that died is replaced when its Lease has run out; at once if it was a process of this machine that is gone. Clocks of
//! different machines need not agree: a Lease has run out when nobody renewed it for so long as others watched (client-go: leaderelection).

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

use super::fence;
use tokio::time::Instant;

use crate::time::{Clock, SignedDuration, Timestamp};

/// Namespace of the Lease.
pub const NAMESPACE: &str = "machinectl-system";
/// Name of the Lease.
pub const NAME: &str = "machinectl-controller";
/// How long a Lease holds without being renewed.
const HOLDS: SignedDuration = SignedDuration::from_secs(15);
/// How often it is renewed, in seconds.
const RENEW: u32 = 5;
/// How long after its last renewal the holder gives up, in seconds: before anybody else may act (client-go: `RenewDeadline`).
const GIVE_UP: u32 = 10;
/// How long one attempt may take, in seconds.
const ATTEMPT: u32 = 3;
/// How often a move that waits for the end of a Lease looks at it.
const LOOK_FENCED: Duration = Duration::from_millis(50);
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

/// How long a second is: in tests shorter.
#[derive(Debug, Clone, Copy)]
struct Pace(Duration);

impl Pace {
    const REAL: Self = Self(Duration::from_secs(1));

    fn seconds(self, seconds: u32) -> Duration {
        self.0 * seconds
    }

    /// Half a second: between two looks, and between two attempts.
    fn moment(self) -> Duration {
        self.0 / 2
    }
}

/// A Lease that is held by this process.
#[derive(Debug)]
pub(crate) struct Held {
    api: Api<Lease>,
    lease: Lease,
    identity: String,
    /// The move whose fence does not concern the holder: its own.
    permit: Option<String>,
    /// When the last renewal that succeeded was begun.
    renewed: Instant,
    pace: Pace,
}

/// What is known of somebody else's Lease: since when it has stood as it does.
#[derive(Debug)]
struct Watched {
    last: Option<(String, Instant)>,
    pace: Pace,
}

impl Watched {
    const fn new(pace: Pace) -> Self {
        Self { last: None, pace }
    }

    /// Whether a Lease has stood there without a renewal for as long as it holds.
    fn has_run_out(&mut self, lease: &Lease) -> bool {
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        match &self.last {
            Some((seen, since)) if *seen == version => {
                let seconds = duration_of(lease).as_secs().try_into().unwrap_or_default();
                since.elapsed() > self.pace.seconds(seconds)
            }
            _ => {
                self.last = Some((version, Instant::now()));
                false
            }
        }
    }
}

/// Why a Lease is no longer held.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    /// Somebody else has it.
    #[error("{0} has taken it")]
    Taken(String),
    /// A move has raised the fence.
    #[error("move {0} has fenced the cluster")]
    Fenced(String),
    /// It could not be renewed in time.
    #[error("it could not be renewed in time: {0}")]
    Expired(String),
}

/// Waits until the Lease is held, or returns nothing when `stop` comes first.
///
/// API servers that can't be reached are asked again; a refusal (403) is an error. `standby` is called when somebody else holds it.
pub(crate) async fn acquire(
    client: &Client,
    identity: &str,
    clock: &dyn Clock,
    standby: impl Fn(),
    stop: impl Future<Output = ()>,
) -> Result<Option<Held>, kube::Error> {
    acquire_at(Pace::REAL, client, identity, clock, standby, stop).await
}

async fn acquire_at(
    pace: Pace,
    client: &Client,
    identity: &str,
    clock: &dyn Clock,
    standby: impl Fn(),
    stop: impl Future<Output = ()>,
) -> Result<Option<Held>, kube::Error> {
    let attempt = async {
        let mut told: Option<String> = None;
        let mut failures = 0_u32;
        let mut watched = Watched::new(pace);
        loop {
            let attempt = try_acquire(client, identity, None, clock.now(), &mut watched);
            // An attempt that hangs counts as one without an answer; if it took the Lease all the same, the next one sees it.
            let Ok(attempt) = tokio::time::timeout(pace.seconds(ATTEMPT), attempt).await else {
                if failures == 0 {
                    tracing::warn!("the API server does not answer; trying again");
                }
                failures += 1;
                continue;
            };
            match attempt {
                Ok(Ok(held)) => return Ok(held),
                Ok(Err(holder)) => {
                    failures = 0;
                    standby();
                    if told.as_ref() != Some(&holder) {
                        tracing::warn!(%holder, "another machinectl acts here; waiting until it stops");
                        told = Some(holder);
                    }
                    tokio::time::sleep(pace.moment()).await;
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
    /// Renews the Lease for ever; returns when it is lost, which is before anybody else may take it.
    pub(crate) async fn keep(&mut self, clock: &dyn Clock) -> Lost {
        loop {
            tokio::time::sleep_until(self.renewed + self.pace.seconds(RENEW)).await;
            let deadline = self.renewed + self.pace.seconds(GIVE_UP);
            let mut why = "the API server does not answer".to_owned();
            match tokio::time::timeout_at(deadline, self.renew_patiently(clock, &mut why)).await {
                Ok(None) => {}
                Ok(Some(holder)) => return Lost::Taken(holder),
                Err(_) => return Lost::Expired(why),
            }
            if let Some(by) = self.fenced() {
                return Lost::Fenced(by);
            }
        }
    }

    /// Tries to renew it until there is an answer. `why` says what kept the last attempt from it.
    async fn renew_patiently(&mut self, clock: &dyn Clock, why: &mut String) -> Option<String> {
        loop {
            let begun = Instant::now();
            match tokio::time::timeout(self.pace.seconds(ATTEMPT), self.renew(clock.now())).await {
                Ok(Ok(None)) => {
                    self.renewed = begun;
                    return None;
                }
                Ok(Ok(Some(holder))) => return Some(holder),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the Lease could not be renewed; trying again");
                    *why = error.to_string();
                }
                Err(_) => tracing::warn!("the Lease could not be renewed in time; trying again"),
            }
            tokio::time::sleep(self.pace.moment()).await;
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
                    // Somebody marked it: it is renewed as it is now.
                    Some(mut lease) if holder_of(&lease).as_deref() == Some(self.identity.as_str()) => {
                        lease.spec.get_or_insert_default().renew_time = Some(MicroTime(now));
                        self.lease = self.api.replace(NAME, &PostParams::default(), &lease).await?;
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

    /// The fence of somebody else around the cluster.
    fn fenced(&self) -> Option<String> {
        fence::of(&self.lease).filter(|by| self.permit.as_ref() != Some(by))
    }

    /// Gives the Lease back, so that the next one need not wait.
    pub(crate) async fn release(self) {
        if let Err(error) = self.give_back(|_| ()).await {
            tracing::debug!(%error, "the Lease could not be given back; it runs out by itself");
        }
    }

    /// Gives the Lease back and takes the own fence away, in one step.
    ///
    /// # Errors
    /// Fails when the API server can't be asked; the fence stands then.
    pub(crate) async fn lower(self) -> Result<(), kube::Error> {
        self.give_back(fence::lower).await
    }

    /// Writes the Lease without a holder. If somebody has changed it (a fence was raised) it is read again, and is left as it is when it
    /// is no longer the own one.
    async fn give_back(self, change: impl Fn(&mut Lease)) -> Result<(), kube::Error> {
        let mut lease = self.lease;
        loop {
            if let Some(spec) = &mut lease.spec {
                spec.holder_identity = Some(String::new());
            }
            change(&mut lease);
            match self.api.replace(NAME, &PostParams::default(), &lease).await {
                Err(kube::Error::Api(status)) if status.is_conflict() => {}
                Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
                other => return other.map(|_| ()),
            }
            match self.api.get_opt(NAME).await? {
                Some(now) if holder_of(&now).as_deref() == Some(self.identity.as_str()) => lease = now,
                _ => return Ok(()),
            }
        }
    }
}

/// Takes the Lease for a move whose fence stands, as soon as nobody holds it. Whoever holds it is told to `waiting`.
pub(crate) async fn acquire_fenced(
    client: &Client,
    identity: &str,
    fence: &str,
    clock: &dyn Clock,
    waiting: impl Fn(&str),
) -> Result<Held, kube::Error> {
    let mut watched = Watched::new(Pace::REAL);
    loop {
        match try_acquire(client, identity, Some(fence), clock.now(), &mut watched).await? {
            Ok(held) => return Ok(held),
            Err(holder) => waiting(&holder),
        }
        tokio::time::sleep(LOOK_FENCED).await;
    }
}

/// Tries once. The inner error is the present holder.
async fn try_acquire(
    client: &Client,
    identity: &str,
    permit: Option<&str>,
    now: Timestamp,
    watched: &mut Watched,
) -> Result<Result<Held, String>, kube::Error> {
    let (renewed, pace) = (Instant::now(), watched.pace);
    let api = Api::<Lease>::namespaced(client.clone(), NAMESPACE);
    let held = |lease: Lease| Held {
        api: api.clone(),
        lease,
        identity: identity.to_owned(),
        permit: permit.map(ToOwned::to_owned),
        renewed,
        pace,
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
    if let Some(by) = fence::of(&lease).filter(|by| permit != Some(by)) {
        return Ok(Err(format!("move {by}")));
    }
    let is_own = holder_of(&lease).as_deref() == Some(identity);
    if !is_own && !is_given_back(&lease) && !watched.has_run_out(&lease) {
        return Ok(Err(holder_of(&lease).unwrap_or_default()));
    }
    let transitions = lease.spec.as_ref().and_then(|s| s.lease_transitions).unwrap_or(0);
    let taken = fresh(identity, now, transitions.saturating_add(1));
    lease.spec = taken.spec;
    let annotations = lease.metadata.annotations.get_or_insert_default();
    annotations.remove(PROCESS);
    annotations.extend(taken.metadata.annotations.unwrap_or_default());
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
    make(client, api, &fresh(identity, now, 0)).await
}

async fn make(client: &Client, api: &Api<Lease>, lease: &Lease) -> Result<Lease, kube::Error> {
    match api.create(&PostParams::default(), lease).await {
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
    api.create(&PostParams::default(), lease).await
}

/// Raises the fence: from now on no controllers begin to act, and those that do come to their end. Returns the fence of another move, if
/// one stands; then nothing is changed.
///
/// # Errors
/// Fails when the API server can't be asked.
pub(crate) async fn raise_fence(
    client: &Client,
    id: &str,
    now: Timestamp,
) -> Result<Option<String>, kube::Error> {
    let api = Api::<Lease>::namespaced(client.clone(), NAMESPACE);
    loop {
        let answer = match api.get_opt(NAME).await? {
            None => {
                let mut lease = fresh("", now, 0);
                lease.metadata.annotations = None;
                fence::raise(&mut lease, id);
                make(client, &api, &lease).await
            }
            Some(mut lease) => {
                match fence::of(&lease) {
                    Some(by) if by == id => return Ok(None),
                    Some(by) => return Ok(Some(by)),
                    None => fence::raise(&mut lease, id),
                }
                api.replace(NAME, &PostParams::default(), &lease).await
            }
        };
        match answer {
            Ok(_) => return Ok(None),
            Err(kube::Error::Api(status))
                if status.is_conflict() || status.is_already_exists() || status.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
}

/// Lowers the fence of a move, if it stands and nobody holds the Lease any more.
///
/// # Errors
/// Fails when the API server can't be asked.
pub(crate) async fn lower_fence(client: &Client, id: &str) -> Result<(), kube::Error> {
    let api = Api::<Lease>::namespaced(client.clone(), NAMESPACE);
    loop {
        let Some(mut lease) = api.get_opt(NAME).await? else {
            return Ok(());
        };
        if fence::of(&lease).as_deref() != Some(id) {
            return Ok(());
        }
        fence::lower(&mut lease);
        match api.replace(NAME, &PostParams::default(), &lease).await {
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {}
            other => return other.map(|_| ()),
        }
    }
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

/// Whether nobody holds a Lease, as far as the clock of this machine tells: given back, run out, or held by a process of this machine
/// that is gone. To say who holds it that is enough; to take it, see [`Watched`].
fn is_free(lease: &Lease, now: Timestamp) -> bool {
    let renewed = lease.spec.as_ref().and_then(|s| s.renew_time.as_ref());
    is_given_back(lease) || renewed.is_none_or(|renewed| now.duration_since(renewed.0) > duration_of(lease))
}

/// Whether nobody holds a Lease, whatever clocks say.
fn is_given_back(lease: &Lease) -> bool {
    let process = lease.metadata.annotations.as_ref().and_then(|a| a.get(PROCESS));
    holder_of(lease).is_none() || process.is_some_and(|process| process::is_dead(process))
}

/// How long a Lease holds without being renewed.
fn duration_of(lease: &Lease) -> SignedDuration {
    let seconds = lease.spec.as_ref().and_then(|s| s.lease_duration_seconds);
    seconds.map_or(HOLDS, |s| SignedDuration::from_secs(s.into()))
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

/// Removes the Lease, unless a move has fenced it.
///
/// # Errors
/// Fails when the API server refuses.
pub async fn remove(client: &Client) -> Result<(), kube::Error> {
    if fence::raised(client).await?.is_some() {
        return Ok(());
    }
    match Api::<Lease>::namespaced(client.clone(), NAMESPACE)
        .delete(NAME, &DeleteParams::default())
        .await
    {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}

#[cfg(test)]
mod tests;
