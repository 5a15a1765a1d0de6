//! What a command is asked for: kinds and names on the command line, and queries to the API server. It sends nothing by itself.

use kube::Client;

use super::resources;
use crate::{
    client::kinds::Kind,
    error::{CommandError, ErrorKind},
};

/// A kind and the names that were asked for; no name stands for all.
pub(crate) struct Request {
    pub(crate) kind: Kind,
    pub(crate) names: Vec<String>,
}

/// Reads `KIND NAME...` and `KIND/NAME...`.
pub(crate) async fn requests(client: &Client, words: &[String]) -> Result<Vec<Request>, CommandError> {
    let mut requests: Vec<Request> = Vec::new();
    if words.iter().any(|w| w.contains('/')) {
        for word in words {
            let Some((kind, name)) = word
                .split_once('/')
                .filter(|(k, n)| !k.is_empty() && !n.is_empty())
            else {
                return Err(CommandError::new(
                    ErrorKind::Usage,
                    format!("\"{word}\" is not of the form KIND/NAME like the others"),
                ));
            };
            for kind in resources::resolve(client, kind).await? {
                match requests.iter_mut().find(|r| r.kind == kind) {
                    Some(request) => request.names.push(name.to_owned()),
                    None => requests.push(Request {
                        kind,
                        names: vec![name.to_owned()],
                    }),
                }
            }
        }
        return Ok(requests);
    }
    let (kinds, names) = words
        .split_first()
        .ok_or_else(|| CommandError::new(ErrorKind::Usage, "a kind is missing"))?;
    let kinds = resources::resolve(client, kinds).await?;
    Ok(kinds
        .into_iter()
        .map(|kind| Request {
            kind,
            names: names.to_vec(),
        })
        .collect())
}

/// An object that does not exist, and how to see those that do.
pub(crate) fn not_found(kind: &Kind, name: &str, namespace: Option<&str>) -> CommandError {
    let place = namespace
        .filter(|_| kind.namespaced)
        .map_or_else(String::new, |n| format!(" in namespace {n}"));
    CommandError::new(
        ErrorKind::NotFound,
        format!("there is no {} \"{name}\"{place}", kind.kind),
    )
    .hinted(format!(
        "see what there is: machinectl get {}{}",
        kind.plural,
        if kind.namespaced { " -A" } else { "" }
    ))
}

/// Writes a query, each pair ending with `&`.
pub(crate) fn query(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (key, value) in pairs {
        text.push_str(key);
        text.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                use std::fmt::Write;
                // Writing to a String can't fail.
                let _infallible = write!(text, "%{byte:02X}");
            }
        }
        text.push('&');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped() {
        assert_eq!(
            query(&[("labelSelector", "a in (b,c)")]),
            "labelSelector=a%20in%20%28b%2Cc%29&"
        );
    }
}
