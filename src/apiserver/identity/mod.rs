//! Whom the server vouches for: the keys with which it signs tokens and certificates, and the bearer tokens that it knows without a
//! list, those of service accounts and those with which machines join. It must not decide what anybody may do.

mod account;
mod bootstrap;
mod claims;
mod discovery;
mod key;

use std::path::Path;
use std::sync::Arc;

use rcgen::KeyPair;

use self::account::Signed;
pub(crate) use self::claims::{Bound, Claims, Reference};
pub(crate) use self::discovery::describe;
pub(crate) use self::key::TokenKey;
use super::Server;
use super::auth::{Tokens, UserInfo};
use super::status::ApiError;
use super::tls::{self, TlsError};
use crate::time::Timestamp;

/// Who issues tokens, and the audience of those that are for this server: what clusters have unless they are told otherwise.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// What clients with a token are told that nobody knows.
const INVALID: &str = "invalid bearer token";

/// The keys of a server.
pub(crate) struct Authority {
    /// The certificate of the CA, in PEM form.
    pub(crate) ca_cert: String,
    /// The key of the CA.
    pub(crate) ca_key: KeyPair,
    /// The key that signs tokens of service accounts.
    pub(crate) tokens: TokenKey,
    /// Tokens that it has signed, so that each is checked once.
    signed: Signed,
}

impl Authority {
    /// Loads the keys in `dir`, the folder of the server's certificates, and makes what is missing.
    ///
    /// # Errors
    /// The folder cannot be used, or a file in it is damaged.
    pub(crate) fn ensure(dir: &Path, now: Timestamp) -> Result<Self, TlsError> {
        let (ca_cert, ca_key) = tls::authority(dir, now)?;
        let tokens = TokenKey::ensure(&dir.join("sa.key"))?;
        Ok(Self {
            ca_cert,
            ca_key,
            tokens,
            signed: Signed::default(),
        })
    }

    /// Makes keys that are nowhere but in memory.
    ///
    /// # Errors
    /// The library makes none.
    pub(crate) fn in_memory(now: Timestamp) -> Result<Self, TlsError> {
        let (ca_cert, ca_key) = tls::new_authority(now)?;
        Ok(Self {
            ca_cert,
            ca_key,
            tokens: TokenKey::new()?,
            signed: Signed::default(),
        })
    }
}

/// Who shows a token, and for which of the audiences that were asked for it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) user: Arc<UserInfo>,
    pub(crate) audiences: Vec<String>,
}

/// Returns the audiences that are in both lists, in the order of the first.
fn common(own: &[String], wanted: &[String]) -> Vec<String> {
    own.iter().filter(|a| wanted.contains(a)).cloned().collect()
}

/// Returns the audiences of tokens that are for this server.
pub(crate) fn own_audiences() -> Vec<String> {
    vec![ISSUER.to_owned()]
}

impl Server {
    /// Returns the server's keys.
    ///
    /// # Errors
    /// There are none, because the library could not make any.
    pub(crate) fn authority(&self) -> Result<&Authority, ApiError> {
        let none = || ApiError::internal("the server has no keys");
        self.0.authority.as_ref().ok_or_else(none)
    }

    /// Says who shows a bearer token to somebody who is one of `wanted`: one of the listener's tokens, that of a service account, or
    /// one to join with.
    ///
    /// # Errors
    /// Nobody is known by it, or nobody any more; the text says why, in the words of kube-apiserver.
    pub(crate) fn who_shows(&self, listed: &Tokens, token: &str, wanted: &[String]) -> Result<Shown, String> {
        let for_us = common(&own_audiences(), wanted);
        if !for_us.is_empty()
            && let Some(user) = listed
                .authenticate(token)
                .or_else(|| self.joining(token).map(Arc::new))
        {
            return Ok(Shown {
                user,
                audiences: for_us,
            });
        }
        match self.account(token, wanted) {
            Ok(Some(shown)) => Ok(shown),
            Ok(None) => Err(INVALID.to_owned()),
            Err(why) => Err(format!("[{INVALID}, {why}]")),
        }
    }
}
