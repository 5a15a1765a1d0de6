//! Words for kinds (`ma`, `machine`, `machines.machine.crit.sh`, `machine-api`) to addresses on the API server, whose discovery is read where the table is silent.

use futures::future::join_all;
use kube::Client;

use super::error::of_api;
use crate::{
    client::kinds::{CATEGORY, Kind, known, of_group_version, own},
    error::{CommandError, ErrorKind},
};

/// Finds the kinds that a word stands for; a list with commas and a category stand for several.
pub(crate) async fn resolve(client: &Client, words: &str) -> Result<Vec<Kind>, CommandError> {
    let mut kinds = Vec::new();
    let mut discovered: Option<Vec<Kind>> = None;
    for word in words.split(',').filter(|w| !w.is_empty()) {
        if word == CATEGORY {
            kinds.extend(own());
            continue;
        }
        if let Some(kind) = known().find(|k| k.answers_to(word)) {
            kinds.push(kind);
            continue;
        }
        if discovered.is_none() {
            discovered = Some(discover(client).await?);
        }
        let all = discovered.as_deref().unwrap_or_default();
        let of_category: Vec<_> = all
            .iter()
            .filter(|k| k.categories.iter().any(|c| c == word))
            .cloned()
            .collect();
        if !of_category.is_empty() {
            kinds.extend(of_category);
        } else if let Some(kind) = all.iter().find(|k| k.answers_to(word)) {
            kinds.push(kind.clone());
        } else {
            return Err(unknown(word));
        }
    }
    if kinds.is_empty() {
        return Err(CommandError::new(ErrorKind::Usage, "a kind is missing")
            .hinted("name one, for example: machinectl get machines"));
    }
    Ok(kinds)
}

fn unknown(word: &str) -> CommandError {
    let near = known()
        .flat_map(|k| [k.plural.clone(), k.singular.clone()])
        .filter(|name| distance(name, &word.to_lowercase()) <= 2)
        .min_by_key(|name| distance(name, &word.to_lowercase()));
    let error = CommandError::new(
        ErrorKind::NotFound,
        format!("the API server knows no kind \"{word}\""),
    );
    match near {
        Some(name) => error.hinted(format!("did you mean \"{name}\"?")),
        None => error
            .hinted("install the kinds of this program with: machinectl init")
            .hinted(format!(
                "they are: {}",
                own().map(|k| k.plural).collect::<Vec<_>>().join(", ")
            )),
    }
}

/// Number of letters by which two words differ.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = cost.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

async fn discover(client: &Client) -> Result<Vec<Kind>, CommandError> {
    let failed = |e| of_api("can't ask the API server which kinds it knows", e);
    let groups = client.list_api_groups().await.map_err(failed)?;
    let mut versions = vec![(String::new(), "v1".to_owned())];
    for group in groups.groups {
        let preferred = group
            .preferred_version
            .or_else(|| group.versions.into_iter().next());
        if let Some(preferred) = preferred {
            versions.push((group.name, preferred.version));
        }
    }
    let lists = join_all(versions.iter().map(|(g, v)| of_group_version(client, g, v))).await;
    // An aggregated API that is down must not hide the others.
    Ok(lists.into_iter().filter_map(Result::ok).flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_met_with_the_right_word() {
        assert!(unknown("machins").hints[0].contains("\"machines\""));
        assert!(unknown("zzzzzzzz").hints[0].contains("machinectl init"));
    }
}
