//! Answers that differ from the recorded ones for a reason. Each has its row in the scope page.

use super::{Found, compare::Difference};

/// A class of answers that differ.
struct Known {
    /// Its name in the scope page.
    id: &'static str,
    /// How many there are at most.
    most: usize,
    covers: fn(&Difference) -> bool,
}

const KNOWN: [Known; 4] = [
    Known {
        id: "order-of-schema-errors",
        most: 24,
        covers: |d| {
            let apart = |text: &str| text.split_once("): ").map(|(head, _)| head.to_owned());
            let head = apart(&d.expected);
            head.as_ref()
                .is_some_and(|h| h.contains("failed to create typed patch object"))
                && head == apart(&d.found)
        },
    },
    Known {
        id: "order-of-managers-in-messages",
        most: 2,
        covers: |d| {
            d.expected.contains("managedFields")
                && d.at.starts_with("/details/causes")
                && letters(&d.expected) == letters(&d.found)
        },
    },
    Known {
        id: "order-of-refusals",
        most: 1,
        covers: |d| {
            d.at == "/message"
                && d.expected.contains("is invalid: [")
                && letters(&d.expected) == letters(&d.found)
        },
    },
    Known {
        id: "emptied-labels-of-what-goes",
        most: 2,
        covers: |d| {
            (d.at == "events" && d.expected == "123" && d.found == "122")
                || (d.at == "/1/metadata/finalizers"
                    && d.expected == r#"["differ.test/f","foregroundDeletion"]"#)
        },
    },
];

/// The letters of a text, in order: texts that say the same things in another order have the same.
fn letters(text: &str) -> Vec<char> {
    let mut letters: Vec<char> = text.chars().filter(|c| c.is_alphanumeric()).collect();
    letters.sort_unstable();
    letters
}

/// Takes away what is known. A class that grows is an error, and so is one that the scope page does not know.
pub(super) fn without_known(found: Vec<Found>) -> Result<Vec<Found>, String> {
    let mut counts = [0; KNOWN.len()];
    let mut rest = Vec::new();
    for one in found {
        match KNOWN.iter().position(|known| (known.covers)(&one.difference)) {
            Some(index) => counts[index] += 1,
            None => rest.push(one),
        }
    }
    let scope = include_str!("../../../../docs/embedded-api-server.md");
    for (known, count) in KNOWN.iter().zip(counts) {
        if !scope.contains(&format!("| `{}` |", known.id)) {
            return Err(format!("docs/embedded-api-server.md has no row `{}`", known.id));
        }
        if count > known.most {
            return Err(format!("{}: {count} answers, {} are known", known.id, known.most));
        }
    }
    Ok(rest)
}
