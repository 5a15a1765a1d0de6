//! Why something changes: one folder a controller, each observe -> plan -> apply -> status. No user interface, no command line.
//!
//! | file | what it does |
//! |---|---|
//! | `effect` | what a planner can ask for |
//! | `apply` | does it: the only interpreter of effects |
//! | `runtime` | watches, stores, queues, pause, back-off |
//! | `lease` | one holder at a time |
//! | `workload` | clients and Node watches of workload clusters |
//! | `machine`, `infrastructure_machine`, `node` | from a Machine to a Node and back |
//! | `cluster`, `config` | keys and endpoints; what machines run first |
//! | `infrastructure_provider`, `docker_infrastructure_provider` | what user interfaces read |

use std::{future::Future, sync::Arc};

use kube::Client;

use crate::{providers::Actuators, time::Clock};

pub mod lease;

/// What the controllers work with.
#[derive(Clone)]
pub struct Context {
    /// The cluster that holds the objects.
    pub client: Client,
    /// What makes machines, by infrastructure kind.
    pub actuators: Actuators,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Who this is, in the Lease and in Events: `<hostname>_<uuid>`.
    pub identity: String,
}

impl Context {
    /// Makes a context with an identity of its own.
    pub fn new(client: Client, actuators: Actuators, clock: Arc<dyn Clock>) -> Self {
        Self {
            client,
            actuators,
            clock,
            identity: identity(),
        }
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("actuators", &self.actuators.keys())
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// Why the controllers could not run.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// The Lease can't be read or written.
    #[error("the lease {}/{} can't be held", lease::NAMESPACE, lease::NAME)]
    Lease(#[source] kube::Error),
}

/// Runs all controllers until `stop` ends: takes the Lease, works, gives it back.
///
/// While somebody else holds the Lease it waits and says so once. An API server that goes away is waited for.
///
/// # Errors
/// Fails when the API server refuses access to the Lease.
pub async fn run(
    ctx: Context,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ControllerError> {
    let held = lease::acquire(&ctx.client, &ctx.identity, &*ctx.clock, stop)
        .await
        .map_err(ControllerError::Lease)?;
    if let Some(held) = held {
        held.release().await;
    }
    Ok(())
}

/// `<hostname>_<uuid>`.
fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .or_else(|| std::env::var("HOSTNAME").ok())
        .unwrap_or_else(|| "localhost".to_owned());
    format!("{host}_{}", uuid::Uuid::new_v4())
}
