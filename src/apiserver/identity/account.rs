//! Tokens of service accounts: whose they are, and whether that account and what the token is bound to are still there. As
//! kube-apiserver checks them (`pkg/serviceaccount`). It must not make tokens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::super::Server;
use super::super::auth::{self, UserInfo};
use super::super::object::meta;
use super::super::schema::go_quote;
use super::claims::{Claims, Reference, is_gone};
use super::{Authority, ISSUER, Shown, common, key, own_audiences};
use crate::time::Timestamp;

const INVALIDATED: &str = "service account token has been invalidated";
const EXTRA: &str = "authentication.kubernetes.io/";

fn go_list(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| go_quote(text)).collect();
    format!("[{}]", quoted.join(" "))
}

/// Tokens that are kept.
const MOST: usize = 1024;

/// What a token says that the server has signed. Whether it is still good is asked each time.
struct Known {
    claims: Claims,
    user: Arc<UserInfo>,
}

/// The tokens that were shown, by their hashes.
#[derive(Default)]
pub(super) struct Signed(Mutex<HashMap<[u8; 32], Arc<Known>>>);

impl Authority {
    /// Returns what a token says. `None`: somebody else has issued it.
    fn known(&self, token: &str) -> Result<Option<Arc<Known>>, String> {
        let hash = auth::hash(token);
        let all = || self.signed.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all().get(&hash) {
            return Ok(Some(Arc::clone(known)));
        }
        if key::said::<Value>(token).is_none_or(|said| said["iss"] != ISSUER) {
            return Ok(None);
        }
        if !self.tokens.has_signed(token) {
            return Err("go-jose/go-jose: error in cryptographic primitive".to_owned());
        }
        let claims: Claims = key::said(token).ok_or("service account token claims could not be validated")?;
        let user = Arc::new(user(&claims));
        let known = Arc::new(Known { claims, user });
        let mut all = all();
        // They are made anew all the time; which of them are still shown is found out soon.
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(hash, Arc::clone(&known));
        Ok(Some(known))
    }
}

impl Server {
    /// Says which service account shows a token to somebody who is one of `wanted`. `None`: it is no such token.
    ///
    /// # Errors
    /// Why the token is not good, or no longer.
    pub(super) fn account(&self, token: &str, wanted: &[String]) -> Result<Option<Shown>, String> {
        let Some(authority) = &self.0.authority else {
            return Ok(None);
        };
        let Some(known) = authority.known(token)? else {
            return Ok(None);
        };
        let claims = &known.claims;
        let own = if claims.aud.is_empty() {
            own_audiences()
        } else {
            claims.aud.clone()
        };
        let audiences = common(&own, wanted);
        if audiences.is_empty() {
            return Err(format!(
                "token audiences {} is invalid for the target audiences {}",
                go_list(&own),
                go_list(wanted)
            ));
        }
        let now = self.now();
        claims.check_time(now)?;
        self.check_account(claims, now)?;
        self.check_bound(claims, now)?;
        Ok(Some(Shown {
            user: Arc::clone(&known.user),
            audiences,
        }))
    }

    fn object(&self, resource: &str, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let stored = self.store().get(resource, namespace, name)?;
        Some(stored.value("v1", kind))
    }

    fn check_account(&self, claims: &Claims, now: Timestamp) -> Result<(), String> {
        let (namespace, account) = (&claims.kubernetes.namespace, &claims.kubernetes.serviceaccount);
        let name = &account.name;
        let found = self
            .object("serviceaccounts", "ServiceAccount", namespace, name)
            .ok_or_else(|| format!("serviceaccounts {} not found", go_quote(name)))?;
        let uid = meta::text(&found, "uid");
        if uid != account.uid {
            return Err(format!(
                "service account UID ({uid}) does not match claim ({})",
                account.uid
            ));
        }
        if is_gone(meta::text(&found, "deletionTimestamp"), now) {
            return Err(format!("service account {namespace}/{name} has been deleted"));
        }
        Ok(())
    }

    /// A token ends with what it is bound to. That of a pod names the pod's node, but doesn't end with it.
    fn check_bound(&self, claims: &Claims, now: Timestamp) -> Result<(), String> {
        let bound = &claims.kubernetes;
        let node = bound.node.as_ref().filter(|_| bound.pod.is_none());
        let all = [
            (
                "secrets",
                "Secret",
                bound.namespace.as_str(),
                bound.secret.as_ref(),
            ),
            ("pods", "Pod", bound.namespace.as_str(), bound.pod.as_ref()),
            ("nodes", "Node", "", node),
        ];
        for (resource, kind, namespace, reference) in all {
            let Some(Reference { name, uid }) = reference else {
                continue;
            };
            let found = self.object(resource, kind, namespace, name).ok_or(INVALIDATED)?;
            let own = meta::text(&found, "uid");
            if own != uid {
                let kind = kind.to_lowercase();
                return Err(format!(
                    "{kind} UID ({own}) does not match service account {kind} ref claim ({uid})"
                ));
            }
            if is_gone(meta::text(&found, "deletionTimestamp"), now) {
                return Err(INVALIDATED.to_owned());
            }
        }
        Ok(())
    }
}

/// Returns whom a token names, and what else is known from it.
fn user(claims: &Claims) -> UserInfo {
    let bound = &claims.kubernetes;
    let groups = vec![
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{}", bound.namespace),
    ];
    let name = format!(
        "system:serviceaccount:{}:{}",
        bound.namespace, bound.serviceaccount.name
    );
    let mut user = UserInfo::new(name, &*bound.serviceaccount.uid, groups);
    let mut add = |key: &str, value: String| {
        user.extra.insert(format!("{EXTRA}{key}"), vec![value]);
    };
    if !claims.jti.is_empty() {
        add("credential-id", format!("JTI={}", claims.jti));
    }
    for (kind, reference) in [("pod", &bound.pod), ("node", &bound.node)] {
        if let Some(reference) = reference {
            add(&format!("{kind}-name"), reference.name.clone());
            if !reference.uid.is_empty() {
                add(&format!("{kind}-uid"), reference.uid.clone());
            }
        }
    }
    user
}
