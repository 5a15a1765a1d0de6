//! Writes the texts of an expression so that the interpreter's parser reads what Go's reads. It must not change what they mean.
//!
//! That parser keeps the backslash of a quote that needs none, takes it from texts that are raw, and counts each of the three
//! quotes that long texts stand in. So what it might misread is told by numbers, and stands in plain double quotes.

use std::borrow::Cow;
use std::fmt::Write as _;

/// How a text is written: `rb"""`.
struct Form<'a> {
    is_bytes: bool,
    is_raw: bool,
    quotes: &'a str,
}

/// Returns an expression with its texts rewritten where that is needed.
pub(super) fn plain(source: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let (mut rest, mut is_changed) = (source, false);
    while !rest.is_empty() {
        if let Some((form, text, after)) = literal(rest) {
            let written = rest.strip_suffix(after).unwrap_or(rest);
            if form.is_raw || form.quotes.len() > 1 || text.contains('\\') {
                is_changed = true;
                write_literal(&form, text, &mut out);
            } else {
                out.push_str(written);
            }
            rest = after;
        } else {
            let (word, after) = rest.split_at(end_of_word(rest));
            out.push_str(word);
            rest = after;
        }
    }
    if is_changed {
        Cow::Owned(out)
    } else {
        Cow::Borrowed(source)
    }
}

/// Where the name, the number, the comment or the sign ends that something begins with.
fn end_of_word(source: &str) -> usize {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = if source.starts_with("//") {
        source.find('\n')
    } else if source.starts_with(is_part) {
        source.find(|c| !is_part(c))
    } else {
        source.char_indices().nth(1).map(|(at, _)| at)
    };
    end.unwrap_or(source.len())
}

/// Takes a text from the front of an expression: how it is written, what stands in its quotes, and what follows.
fn literal(source: &str) -> Option<(Form<'_>, &str, &str)> {
    let rest = source.strip_prefix(['b', 'B']).unwrap_or(source);
    let is_bytes = rest.len() < source.len();
    let body = rest.strip_prefix(['r', 'R']).unwrap_or(rest);
    let is_raw = body.len() < rest.len();
    let quotes = ["\"\"\"", "'''", "\"", "'"]
        .into_iter()
        .find(|q| body.starts_with(q))?;
    let body = body.get(quotes.len()..)?;
    let end = end_of_text(body, quotes, is_raw)?;
    let form = Form {
        is_bytes,
        is_raw,
        quotes,
    };
    Some((form, body.get(..end)?, body.get(end + quotes.len()..)?))
}

fn end_of_text(body: &str, quotes: &str, is_raw: bool) -> Option<usize> {
    let mut is_escaped = false;
    for (at, c) in body.char_indices() {
        if is_escaped {
            is_escaped = false;
        } else if c == '\\' && !is_raw {
            is_escaped = true;
        } else if body.get(at..)?.starts_with(quotes) {
            return Some(at);
        } else if matches!(c, '\n' | '\r') && quotes.len() == 1 {
            return None;
        }
    }
    None
}

fn write_literal(form: &Form<'_>, text: &str, out: &mut String) {
    out.push_str(if form.is_bytes { "b\"" } else { "\"" });
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' || form.is_raw {
            write_plain(c, out);
            continue;
        }
        match rest.next() {
            Some(c @ ('"' | '\'')) => write_plain(c, out),
            // In bytes the parser knows no escapes but numbers.
            Some(c) if form.is_bytes && named(c).is_some() => write_number(named(c).unwrap_or(c), out),
            Some('X') => out.push_str("\\x"),
            Some(c) => out.extend(['\\', c]),
            None => out.push('\\'),
        }
    }
    out.push('"');
}

fn write_plain(c: char, out: &mut String) {
    match c {
        '"' | '\'' | '\\' | '\n' | '\r' => write_number(c, out),
        _ => out.push(c),
    }
}

fn write_number(c: char, out: &mut String) {
    // Writing to a text does not fail.
    let _ = write!(out, "\\x{:02x}", u32::from(c));
}

/// What an escape means that is a letter or a sign.
fn named(c: char) -> Option<char> {
    Some(match c {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        '\\' | '?' | '`' => c,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_rewritten_where_they_would_be_misread() {
        for (source, wanted) in [
            (
                r#"self.a == 'b"c' && "it's" != x"#,
                r#"self.a == 'b"c' && "it's" != x"#,
            ),
            (r#"'\"' + "\'" + '\''"#, r#""\x22" + "\x27" + "\x27""#),
            (r"'a\\' + 'b\n\u00e9\012'", r#""a\\" + "b\n\u00e9\012""#),
            (r#"'\\"' + '\\\"'"#, r#""\\\x22" + "\\\x22""#),
            (r#"r'\d\"' + R"a\""#, r#""\x5cd\x5c\x22" + "a\x5c""#),
            (
                "'''a'b\n''' + \"\"\"\"c\\\"\"\"\"",
                r#""a\x27b\x0a" + "\x22c\x22""#,
            ),
            (r#"b'\n\"' + br'\n' + B"x""#, r#"b"\x0a\x22" + b"\x5cn" + B"x""#),
            ("// it's \\\"\nself.b'", "// it's \\\"\nself.b'"),
            (r"bar == 'x' && for_r'\d'", r#"bar == 'x' && for_r"\d""#),
            (r"'never ends\'", r"'never ends\'"),
        ] {
            assert_eq!(plain(source), wanted, "{source}");
        }
    }
}
