//! From what a request shows to who asks: a certificate or a token, nobody at all, or somebody in whose name a client that
//! is known wants to act. Follows kube-apiserver's filters for authentication and impersonation.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, header};

use super::Server;
use super::auth::{self, ANONYMOUS, AUTHENTICATED, Tokens, UNAUTHENTICATED, UserInfo};
use super::identity;
use super::path;
use super::request::RequestInfo;
use super::status::ApiError;

/// With this all of those headers begin.
const ALL: &str = "impersonate-";
const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";

/// Why nobody acts in somebody's name.
pub(crate) enum Refusal {
    /// He may not.
    Forbidden(ApiError),
    /// The headers make no sense: the text says why.
    Senseless(String),
}

/// Returns who asks.
///
/// # Errors
/// The token is not known; or there is none, and the path is not open to everybody.
pub(crate) fn who(server: &Server, parts: &Parts) -> Result<Arc<UserInfo>, ApiError> {
    if let Some(user) = parts.extensions.get::<Arc<UserInfo>>() {
        return Ok(Arc::clone(user));
    }
    if let Some(user) = parts.extensions.get::<UserInfo>() {
        return Ok(Arc::new(user.clone()));
    }
    let header = parts.headers.get(header::AUTHORIZATION);
    // What is no text is still a token, though nobody's.
    let header = header.map(|h| String::from_utf8_lossy(h.as_bytes()));
    match header.as_deref().and_then(auth::bearer) {
        // A token that is wrong opens not even what is open to everybody.
        Some(token) => {
            let listed = parts.extensions.get::<Arc<Tokens>>().cloned().unwrap_or_default();
            server
                .who_shows(&listed, token, &identity::own_audiences())
                .map(|shown| shown.user)
                .map_err(|why| {
                    tracing::debug!(%why, "a token was not accepted");
                    ApiError::unauthorized()
                })
        }
        None if auth::is_open(parts.uri.path()) => Ok(Arc::new(UserInfo::anonymous())),
        None => Err(ApiError::unauthorized()),
    }
}

/// What a request wants to be taken for.
#[derive(Default)]
struct Wanted {
    user: String,
    groups: Vec<String>,
    uid: String,
    /// Key and value, in the order of the headers.
    extra: Vec<(String, String)>,
}

impl Wanted {
    /// Reads the headers. One that is no text must not be passed over: the request would be taken for its sender's own.
    fn read(headers: &HeaderMap) -> Result<Self, String> {
        let mut wanted = Self::default();
        for (name, value) in headers {
            let name = name.as_str();
            if !name.starts_with(ALL) {
                continue;
            }
            let value = std::str::from_utf8(value.as_bytes());
            let value = value.map_err(|_| format!("the header {name} is not UTF-8"))?;
            match name {
                USER if wanted.user.is_empty() => value.clone_into(&mut wanted.user),
                UID if wanted.uid.is_empty() => value.clone_into(&mut wanted.uid),
                GROUP => wanted.groups.push(value.to_owned()),
                _ => {
                    if let Some(key) = name.strip_prefix(EXTRA) {
                        wanted.extra.push((path::percent_decode(key), value.to_owned()));
                    }
                }
            }
        }
        Ok(wanted)
    }

    fn is_nothing(&self) -> bool {
        self.user.is_empty() && self.groups.is_empty() && self.uid.is_empty() && self.extra.is_empty()
    }

    /// Returns what is asked for without saying as whom, in the words of kube-apiserver.
    fn without_user(&self) -> String {
        let groups = self.groups.iter().map(|g| format!("{{Group  {g}    }}"));
        let extra = self
            .extra
            .iter()
            .map(|(key, value)| format!("{{UserExtra  {value}  {AUTHENTICATION}/v1  {key}}}"));
        let uid = (!self.uid.is_empty()).then(|| format!("{{UID  {}  {AUTHENTICATION}/v1  }}", self.uid));
        let asked: Vec<String> = groups.chain(extra).chain(uid).collect();
        format!("requested [{}] without impersonating a user", asked.join(" "))
    }

    /// Returns all that somebody must be allowed to impersonate for it.
    fn requests(&self) -> Vec<RequestInfo> {
        let one = |group: &str, resource: &str, name: &str| RequestInfo {
            is_resource: true,
            verb: "impersonate".to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            name: name.to_owned(),
            ..RequestInfo::default()
        };
        let mut requests = vec![match auth::split_service_account(&self.user) {
            Some((namespace, name)) => RequestInfo {
                namespace: namespace.to_owned(),
                ..one("", "serviceaccounts", name)
            },
            None => one("", "users", &self.user),
        }];
        requests.extend(self.groups.iter().map(|group| one("", "groups", group)));
        requests.extend(self.extra.iter().map(|(key, value)| RequestInfo {
            subresource: key.clone(),
            ..one(AUTHENTICATION, "userextras", value)
        }));
        if !self.uid.is_empty() {
            requests.push(one(AUTHENTICATION, "uids", &self.uid));
        }
        requests
    }

    fn into_user(self) -> UserInfo {
        let mut groups = self.groups;
        if groups.is_empty()
            && let Some((namespace, _)) = auth::split_service_account(&self.user)
        {
            groups = vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
            ];
        }
        let added = if self.user == ANONYMOUS {
            UNAUTHENTICATED
        } else {
            AUTHENTICATED
        };
        let is_said = |group: &String| group == added || group == UNAUTHENTICATED;
        if !groups.iter().any(is_said) {
            groups.push(added.to_owned());
        }
        let mut user = UserInfo {
            name: self.user,
            uid: self.uid,
            groups,
            ..UserInfo::anonymous()
        };
        for (key, value) in self.extra {
            user.extra.entry(key).or_default().push(value);
        }
        user
    }
}

/// Returns as whom a client acts: as itself, or as whom its `Impersonate-*` headers name.
///
/// # Errors
/// The client may not act as that user, or names none.
pub(crate) fn acting(
    server: &Server,
    user: Arc<UserInfo>,
    headers: &HeaderMap,
) -> Result<Arc<UserInfo>, Refusal> {
    let wanted = Wanted::read(headers).map_err(Refusal::Senseless)?;
    if wanted.is_nothing() {
        return Ok(user);
    }
    if wanted.user.is_empty() {
        return Err(Refusal::Senseless(wanted.without_user()));
    }
    for request in wanted.requests() {
        server.authorize(&user, &request).map_err(Refusal::Forbidden)?;
    }
    Ok(Arc::new(wanted.into_user()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(headers: &[(&'static str, &'static str)]) -> Wanted {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, http::HeaderValue::from_static(value));
        }
        Wanted::read(&map).expect("text")
    }

    #[test]
    fn a_service_account_is_in_its_groups() {
        let account = wanted(&[(USER, "system:serviceaccount:ns:robot")]);
        assert_eq!(account.requests()[0].resource, "serviceaccounts");
        let groups = account.into_user().groups;
        assert_eq!(
            groups,
            [
                "system:serviceaccounts",
                "system:serviceaccounts:ns",
                AUTHENTICATED
            ]
        );
        let chosen = wanted(&[(USER, "system:serviceaccount:ns:robot"), (GROUP, "g")]).into_user();
        assert_eq!(chosen.groups, ["g", AUTHENTICATED]);
        assert_eq!(wanted(&[(USER, ANONYMOUS)]).into_user().groups, [UNAUTHENTICATED]);
    }

    #[test]
    fn extras_are_kept_by_their_decoded_keys() {
        let user = wanted(&[
            (USER, "joe"),
            (UID, "7"),
            ("impersonate-extra-acme.com%2Fproject", "a"),
            ("impersonate-extra-acme.com%2Fproject", "b"),
        ]);
        let asked: Vec<String> = user
            .requests()
            .iter()
            .map(|r| format!("{}/{}/{}", r.resource, r.subresource, r.name))
            .collect();
        let expected = [
            "users//joe",
            "userextras/acme.com/project/a",
            "userextras/acme.com/project/b",
            "uids//7",
        ];
        assert_eq!(asked, expected);
        let user = user.into_user();
        assert_eq!(
            (user.uid.as_str(), &user.extra["acme.com/project"][..]),
            ("7", &["a".to_owned(), "b".to_owned()][..])
        );
    }

    #[test]
    fn headers_are_utf8_and_none_is_passed_over() {
        let read = |name: &'static str, value: &[u8]| {
            let mut map = HeaderMap::new();
            map.append(name, http::HeaderValue::from_bytes(value).expect("value"));
            Wanted::read(&map)
        };
        let user = read(USER, "jörg".as_bytes()).expect("text").user;
        assert_eq!(user, "jörg");
        for name in [USER, GROUP, UID, "impersonate-extra-a"] {
            assert!(read(name, b"j\xf6rg").is_err(), "{name}");
        }
    }

    #[test]
    fn groups_without_a_user_make_no_sense() {
        let text = wanted(&[(GROUP, "g")]).without_user();
        assert_eq!(text, "requested [{Group  g    }] without impersonating a user");
    }
}
