//! What the token of a service account says, as kube-apiserver writes it (`pkg/serviceaccount/claims.go`). It must not look at objects.

use serde::{Deserialize, Serialize};

use super::ISSUER;
use crate::time::Timestamp;

/// Clocks of machines differ: so many seconds do no harm.
const LEEWAY: i64 = 60;

/// An object that a token names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Reference {
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) uid: String,
}

/// Whose token it is, and with which object it ends.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Bound {
    #[serde(default)]
    pub(crate) namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<Reference>,
    #[serde(default)]
    pub(crate) serviceaccount: Reference,
    /// From when on the token should have been renewed, although it is still good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) warnafter: Option<i64>,
}

/// All that a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    #[serde(default)]
    pub(crate) aud: Vec<String>,
    pub(crate) exp: i64,
    #[serde(default)]
    pub(crate) iat: i64,
    pub(crate) iss: String,
    #[serde(default)]
    pub(crate) jti: String,
    #[serde(rename = "kubernetes.io")]
    pub(crate) kubernetes: Bound,
    #[serde(default)]
    pub(crate) nbf: i64,
    #[serde(default)]
    pub(crate) sub: String,
}

impl Claims {
    /// Returns the claims of a token that is made now and good for `seconds`.
    pub(crate) fn new(now: Timestamp, seconds: i64, audiences: Vec<String>, bound: Bound) -> Self {
        let now = now.as_second();
        let account = &bound.serviceaccount.name;
        Self {
            aud: audiences,
            exp: now.saturating_add(seconds),
            iat: now,
            iss: ISSUER.to_owned(),
            jti: uuid::Uuid::new_v4().to_string(),
            nbf: now,
            sub: format!("system:serviceaccount:{}:{account}", bound.namespace),
            kubernetes: bound,
        }
    }

    /// Says whether the token is good at this moment.
    ///
    /// # Errors
    /// It is too late or too early for it.
    pub(super) fn check_time(&self, now: Timestamp) -> Result<(), String> {
        let now = now.as_second();
        let why = if self.nbf > now + LEEWAY {
            "service account token is not valid yet"
        } else if now - LEEWAY > self.exp {
            "service account token has expired"
        } else if self.iat > now + LEEWAY {
            "service account token is issued in the future"
        } else {
            return Ok(());
        };
        Err(why.to_owned())
    }
}

/// Says whether something that began to go at this moment is gone for tokens.
pub(super) fn is_gone(deleted: &str, now: Timestamp) -> bool {
    let at: Option<Timestamp> = deleted.parse().ok();
    at.is_some_and(|at| at.as_second() < now.as_second() - LEEWAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> Timestamp {
        time.parse().expect("time")
    }

    #[test]
    fn a_token_is_good_from_when_it_is_made_until_it_ends() {
        let bound = Bound {
            namespace: "ns".to_owned(),
            ..Bound::default()
        };
        let claims = Claims::new(at("2026-11-20T09:00:00Z"), 600, Vec::new(), bound);
        let told = |time: &str| claims.check_time(at(time)).err().unwrap_or_default();
        assert_eq!(told("2026-11-20T09:00:00Z"), "");
        assert_eq!(told("2026-11-20T09:11:00Z"), "");
        assert_eq!(told("2026-11-20T09:11:01Z"), "service account token has expired");
        assert_eq!(
            told("2026-11-20T08:58:59Z"),
            "service account token is not valid yet"
        );
        assert!(is_gone("2026-11-20T09:00:00Z", at("2026-11-20T09:01:01Z")));
        assert!(!is_gone("2026-11-20T09:00:00Z", at("2026-11-20T09:01:00Z")));
        assert!(!is_gone("", at("2026-11-20T09:01:00Z")));
    }

    #[test]
    fn claims_have_the_names_that_others_look_for() {
        let reference = |name: &str| Reference {
            name: name.to_owned(),
            uid: format!("{name}-uid"),
        };
        let bound = Bound {
            namespace: "ns".to_owned(),
            pod: Some(reference("p")),
            node: Some(Reference {
                name: "n".to_owned(),
                uid: String::new(),
            }),
            serviceaccount: reference("robot"),
            warnafter: Some(7),
            secret: None,
        };
        let claims = Claims::new(at("1970-01-01T00:00:10Z"), 600, vec!["a".to_owned()], bound);
        let mut written = serde_json::to_value(&claims).expect("claims");
        written["jti"] = "j".into();
        let expected = serde_json::json!({
            "aud": ["a"], "exp": 610, "iat": 10, "nbf": 10, "jti": "j",
            "iss": "https://kubernetes.default.svc.cluster.local", "sub": "system:serviceaccount:ns:robot",
            "kubernetes.io": {
                "namespace": "ns", "node": {"name": "n"}, "pod": {"name": "p", "uid": "p-uid"},
                "serviceaccount": {"name": "robot", "uid": "robot-uid"}, "warnafter": 7,
            },
        });
        assert_eq!(written, expected);
    }
}
