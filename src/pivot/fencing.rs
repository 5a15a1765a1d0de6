//! Keeps the controllers of both clusters away while objects move: raises fences, holds the Leases, lowers the fences again.

use std::{future::Future, sync::Arc};

use kube::Client;

use super::{MoveError, journal::Side, site::Site};
use crate::{
    controllers::lease::{self, Held, Lost},
    story::Story,
    time::Clock,
};

/// A cluster in which no controllers act, and nobody else moves anything.
pub(super) struct Fenced {
    client: Client,
    id: String,
    side: Side,
    held: Held,
    clock: Arc<dyn Clock>,
}

impl Fenced {
    /// Raises the fence of a cluster and waits until its controllers have come to a stand.
    pub(super) async fn raise(
        cluster: &Site,
        side: Side,
        id: &str,
        clock: &Arc<dyn Clock>,
        story: &dyn Story,
    ) -> Result<Self, MoveError> {
        let failed = |e| {
            MoveError::api(
                format!("can't fence the {side}, context \"{}\"", cluster.context()),
                e,
            )
        };
        if let Some(other) = lease::raise_fence(&cluster.client, id, clock.now())
            .await
            .map_err(failed)?
        {
            return Err(MoveError::TakenOver(format!(
                "move {other} has fenced the {side}"
            )));
        }
        // Another process may go on with the same move: whoever holds the Lease is alone.
        let identity = format!("move-{id}_{}", uuid::Uuid::new_v4());
        let waiting = |holder: &str| {
            story.detail(&format!(
                "waiting until {holder} in the {side} has come to a stand"
            ));
        };
        let held = lease::acquire_fenced(&cluster.client, &identity, id, &**clock, waiting)
            .await
            .map_err(failed)?;
        Ok(Self {
            client: cluster.client.clone(),
            id: id.to_owned(),
            side,
            held,
            clock: Arc::clone(clock),
        })
    }

    /// Does work while the Lease is held. Losing it ends the work at once.
    pub(super) async fn during<T>(
        &mut self,
        work: impl Future<Output = Result<T, MoveError>>,
    ) -> Result<T, MoveError> {
        tokio::select! {
            biased;
            result = work => result,
            lost = self.held.keep(&*self.clock) => Err(match lost {
                Lost::Expired(why) => MoveError::LeaseLost { side: self.side, why },
                taken @ (Lost::Taken(_) | Lost::Fenced(_)) => MoveError::TakenOver(taken.to_string()),
            }),
        }
    }

    /// Lets the controllers act again.
    pub(super) async fn lower(self) -> Result<(), kube::Error> {
        self.held.lower().await?;
        // Should somebody have taken the Lease for dead, the fence still stands.
        lease::lower_fence(&self.client, &self.id).await
    }

    /// Lets another process go on with the move; the fence stands.
    pub(super) async fn leave(self) {
        self.held.release().await;
    }
}
