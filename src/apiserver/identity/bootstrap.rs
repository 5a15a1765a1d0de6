//! Tokens with which machines join: each lies in a Secret of `kube-system`, and ends with it. As kube-apiserver reads them
//! (`plugin/pkg/auth/authenticator/token/bootstrap`). It must not say a token, not even a wrong one, to anybody.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::super::Server;
use super::super::auth::{self, UserInfo};
use super::super::object::meta;
use crate::time::Timestamp;

const KIND: &str = "bootstrap.kubernetes.io/token";
/// The group of all who join.
const GROUP: &str = "system:bootstrappers";
/// Characters that a group's name may have behind that.
const LONGEST_GROUP: usize = 256;

/// Takes a token apart: `id.secret`.
fn parts(token: &str) -> Option<(&str, &str)> {
    let is_made_of = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
    };
    let (id, secret) = token.split_once('.')?;
    (is_made_of(id, 6) && is_made_of(secret, 16)).then_some((id, secret))
}

fn datum(secret: &Value, key: &str) -> String {
    let text = secret["data"][key].as_str().unwrap_or_default();
    let bytes = BASE64.decode(text).unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

/// Says whether the token's time is over; a time that can't be read is.
fn is_over(expiration: &str, now: Timestamp) -> bool {
    !expiration.is_empty() && expiration.parse::<Timestamp>().map_or(true, |end| end <= now)
}

/// Returns the groups of who shows the token, sorted. `None`: one of them is not for such tokens.
fn groups(extra: &str) -> Option<Vec<String>> {
    let is_allowed = |group: &str| {
        let rest = group.strip_prefix(GROUP).and_then(|rest| rest.strip_prefix(':'));
        rest.is_some_and(|rest| {
            let word = |b: u8| b.is_ascii_digit() || b.is_ascii_lowercase();
            rest.len() <= LONGEST_GROUP
                && rest.bytes().all(|b| word(b) || matches!(b, b':' | b'-'))
                && rest.bytes().last().is_some_and(word)
        })
    };
    let mut groups = vec![GROUP.to_owned()];
    if !extra.is_empty() {
        for group in extra.split(',') {
            if !is_allowed(group) {
                return None;
            }
            groups.push(group.to_owned());
        }
    }
    groups.sort_unstable();
    groups.dedup();
    Some(groups)
}

/// Returns who shows the token `id.shown`, if this is its Secret.
fn user(object: &Value, id: &str, shown: &str, now: Timestamp) -> Option<UserInfo> {
    let right = auth::is_same(datum(object, "token-secret").as_bytes(), shown.as_bytes())
        && object["type"] == KIND
        && !meta::is_deleting(object)
        && datum(object, "token-id") == id
        && !is_over(&datum(object, "expiration"), now)
        && datum(object, "usage-bootstrap-authentication") == "true";
    if !right {
        return None;
    }
    let groups = groups(&datum(object, "auth-extra-groups"))?;
    Some(UserInfo::new(format!("system:bootstrap:{id}"), "", groups))
}

impl Server {
    /// Returns who joins with a token, if it is one of those.
    pub(super) fn joining(&self, token: &str) -> Option<UserInfo> {
        let (id, secret) = parts(token)?;
        let stored = self
            .store()
            .get("secrets", "kube-system", &format!("bootstrap-token-{id}"))?;
        user(&stored.value("v1", "Secret"), id, secret, self.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use serde_json::json;

    fn secret(changes: &[(&str, &str)]) -> Value {
        let mut data = json!({});
        let own = [
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
            ("expiration", "2026-11-20T10:00:00Z"),
            (
                "auth-extra-groups",
                "system:bootstrappers:kubeadm:default-node-token",
            ),
        ];
        for (key, value) in own.iter().chain(changes) {
            data[*key] = BASE64.encode(value).into();
        }
        json!({"metadata": {"name": "bootstrap-token-abcdef"}, "type": KIND, "data": data})
    }

    fn shown(secret: &Value) -> Option<UserInfo> {
        let now = "2026-11-20T09:00:00Z".parse().expect("time");
        user(secret, "abcdef", "0123456789abcdef", now)
    }

    #[test]
    fn who_joins_is_in_the_groups_of_the_token() {
        let user = shown(&secret(&[])).expect("known");
        assert_eq!(user.name, "system:bootstrap:abcdef");
        let expected = [
            GROUP,
            "system:bootstrappers:kubeadm:default-node-token",
            "system:authenticated",
        ];
        assert_eq!(user.groups, expected);
        let offset = secret(&[("expiration", "2026-11-20T10:30:00+01:00")]);
        assert!(shown(&offset).is_some());
    }

    #[test]
    fn a_token_that_is_not_for_this_opens_nothing() {
        let wrong = [
            ("token-id", "abcdeg"),
            ("token-secret", "0123456789abcdeg"),
            ("usage-bootstrap-authentication", "false"),
            ("expiration", "2026-11-20T09:00:00Z"),
            ("expiration", "tomorrow"),
            ("auth-extra-groups", "system:masters"),
            ("auth-extra-groups", "system:bootstrappers:a,system:masters"),
            ("auth-extra-groups", "system:bootstrappers:"),
            ("auth-extra-groups", "system:bootstrappers:a-"),
        ];
        for change in wrong {
            assert_eq!(shown(&secret(&[change])), None, "{change:?}");
        }
        let mut other = secret(&[]);
        other["type"] = "Opaque".into();
        assert_eq!(shown(&other), None);
        let mut going = secret(&[]);
        going["metadata"]["deletionTimestamp"] = "2026-11-20T09:00:00Z".into();
        assert_eq!(shown(&going), None);
    }

    #[test]
    fn only_tokens_of_the_right_form_are_looked_for() {
        assert!(parts("abcdef.0123456789abcdef").is_some());
        for wrong in [
            "",
            ".",
            "abcdef",
            "abcde.0123456789abcdef",
            "ABCDEF.0123456789abcdef",
            "../../.0123456789abcdef",
        ] {
            assert_eq!(parts(wrong), None, "{wrong}");
        }
    }
}
