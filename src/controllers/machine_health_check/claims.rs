//! Machines that are being deleted right now, so that two checks on one machine do it once. It decides nothing.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// UIDs of machines, each held by one look.
#[derive(Debug, Default, Clone)]
pub(in crate::controllers) struct Claims(Arc<Mutex<HashSet<String>>>);

impl Claims {
    /// Claims a machine; nothing if somebody else deletes it right now. The claim ends when it is dropped.
    pub(super) fn claim(&self, uid: &str) -> Option<Claim> {
        self.lock().insert(uid.to_owned()).then(|| Claim {
            claims: self.clone(),
            uid: uid.to_owned(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to delete a machine.
#[derive(Debug)]
pub(super) struct Claim {
    claims: Claims,
    uid: String,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.lock().remove(&self.uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_claimed_once_at_a_time() {
        let claims = Claims::default();
        let claim = claims.claim("u");
        assert!(claim.is_some() && claims.claim("u").is_none() && claims.claim("v").is_some());
        drop(claim);
        assert!(claims.claim("u").is_some());
    }
}
