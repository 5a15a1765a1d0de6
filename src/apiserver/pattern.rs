//! Regular expressions as Go reads them (RE2), for schemas and expressions. It must not build one whose size has no bound.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use regex::{Regex, RegexBuilder};

/// How large a compiled pattern may become, in steps, and what it is worth in values looked at: to compile it, and as a factor of the
/// text that it is matched with.
const SIZES: [(usize, u64, u64); 4] = [
    (16 << 10, 500, 1),
    (64 << 10, 5000, 4),
    (1 << 20, 100_000, 60),
    (10 << 20, 1_000_000, 600),
];
/// What it costs to find out that one is too large.
pub(crate) const REFUSED: u64 = 1_000_000;
/// Patterns that are kept.
const KEPT: usize = 100;
/// A pattern of more bytes is not.
const LONGEST_KEPT: usize = 1000;
/// Classes that have a name, as in `[[:alpha:]]`.
const CLASSES: &[&str] = &[
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];
/// Times that something may be repeated, as in Go.
const REPEATED: u32 = 1000;

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    pub(crate) regex: Regex,
    /// Bytes that it may take.
    pub(crate) size: usize,
    /// What it costs to compile it.
    pub(crate) cost: u64,
    /// What each portion of a text costs.
    pub(crate) factor: u64,
}

/// Compiles a pattern.
///
/// # Errors
/// Why it is none.
pub(crate) fn compile(source: &str) -> Result<Pattern, String> {
    let translated = translate(source)?;
    let mut problem = String::new();
    for (size, cost, factor) in SIZES {
        match RegexBuilder::new(&translated).size_limit(size).build() {
            Ok(regex) => {
                return Ok(Pattern {
                    regex,
                    size,
                    cost,
                    factor,
                });
            }
            Err(error @ regex::Error::CompiledTooBig(_)) => problem = error.to_string(),
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(problem)
}

/// Returns a pattern that was compiled before, or compiles it.
///
/// # Errors
/// Why it is none.
pub(crate) fn kept(source: &str) -> Result<Arc<Pattern>, String> {
    static ALL: LazyLock<Mutex<HashMap<String, Arc<Pattern>>>> = LazyLock::new(Mutex::default);
    let all = || ALL.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = all().get(source) {
        return Ok(Arc::clone(known));
    }
    let made = Arc::new(compile(source)?);
    if source.len() <= LONGEST_KEPT && made.factor <= SIZES[1].2 {
        let mut all = all();
        if all.len() >= KEPT {
            all.clear();
        }
        all.insert(source.to_owned(), Arc::clone(&made));
    }
    Ok(made)
}

/// Writes a pattern of Go's as one of Rust's.
fn translate(source: &str) -> Result<String, String> {
    let mut translation = Translation {
        rest: source.chars().peekable(),
        out: String::with_capacity(source.len() + 8),
        repeats: String::new(),
        no_name_ends: false,
    };
    translation.all()?;
    Ok(translation.out)
}

fn wrong(why: &str, what: &str) -> String {
    format!("error parsing regexp: {why}: `{what}`")
}

struct Translation<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
    /// The operator that repeats what came just before, if there is one.
    repeats: String,
    /// No name such as `[:alpha:]` ends in what is left. To look for that each time would take the square of the pattern's length.
    no_name_ends: bool,
}

impl Translation<'_> {
    fn all(&mut self) -> Result<(), String> {
        while let Some(c) = self.rest.next() {
            if matches!(c, '*' | '+' | '?') {
                self.repeat(c.to_string())?;
                continue;
            }
            if c == '{'
                && let Some(counted) = self.counted()?
            {
                self.repeat(counted)?;
                continue;
            }
            self.repeats.clear();
            match c {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '(' => self.group()?,
                '{' | '}' | ']' => self.literal(c),
                _ => self.out.push(c),
            }
        }
        Ok(())
    }

    fn literal(&mut self, c: char) {
        self.out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
    }

    /// Writes an operator that repeats, which must not follow another one.
    fn repeat(&mut self, mut operator: String) -> Result<(), String> {
        if self.rest.next_if_eq(&'?').is_some() {
            operator.push('?');
        }
        if !self.repeats.is_empty() {
            let both = format!("{}{operator}", self.repeats);
            return Err(wrong("invalid nested repetition operator", &both));
        }
        self.out.push_str(&operator);
        self.repeats = operator;
        Ok(())
    }

    /// Reads `{2}`, `{2,}` or `{2,3}`, whose first brace is gone. Nothing if it is text.
    fn counted(&mut self) -> Result<Option<String>, String> {
        let mut ahead = self.rest.clone();
        let mut inside = String::new();
        loop {
            match ahead.next() {
                Some('}') => break,
                Some(c) if c.is_ascii_digit() || c == ',' => inside.push(c),
                _ => return Ok(None),
            }
        }
        let (least, most) = inside.split_once(',').unwrap_or((&inside, ""));
        let is_number = |text: &str| !text.is_empty() && (text == "0" || !text.starts_with('0'));
        if !is_number(least) || most.contains(',') || !(most.is_empty() || is_number(most)) {
            return Ok(None);
        }
        let written = format!("{{{inside}}}");
        let number = |text: &str| text.parse::<u32>().ok().filter(|n| *n <= REPEATED);
        let (low, high) = (
            number(least),
            if most.is_empty() {
                number(least)
            } else {
                number(most)
            },
        );
        if low.is_none() || high < low {
            return Err(wrong("invalid repeat count", &written));
        }
        self.rest = ahead;
        Ok(Some(written))
    }

    fn group(&mut self) -> Result<(), String> {
        self.out.push('(');
        if self.rest.next_if_eq(&'?').is_none() {
            return Ok(());
        }
        self.out.push('?');
        let mut ahead = self.rest.clone();
        if matches!(ahead.next(), Some('P' | '<')) {
            return Ok(());
        }
        // Go knows fewer flags.
        for c in self.rest.by_ref() {
            self.out.push(c);
            match c {
                ':' | ')' => return Ok(()),
                'i' | 'm' | 's' | 'U' | '-' => {}
                _ => return Err(wrong("invalid or unsupported Perl syntax", &format!("(?{c}"))),
            }
        }
        Err(wrong("missing closing )", "(?"))
    }

    fn escape(&mut self) -> Result<(), String> {
        match self.rest.peek() {
            Some('Q') => {
                self.rest.next();
                self.quoted();
            }
            Some('b' | 'B') => {
                let c = self.rest.next().unwrap_or_default();
                write!(self.out, r"(?-u:\{c})").ok();
            }
            Some('A' | 'z') => {
                let c = self.rest.next().unwrap_or_default();
                self.out.extend(['\\', c]);
            }
            _ => {
                if let Some(class) = self.class_escape()? {
                    write!(self.out, "[{class}]").ok();
                } else {
                    let c = self.char_escape()?;
                    self.literal(c);
                }
            }
        }
        Ok(())
    }

    /// Copies what stands between `\Q` and `\E`.
    fn quoted(&mut self) {
        while let Some(c) = self.rest.next() {
            if c == '\\' && self.rest.next_if_eq(&'E').is_some() {
                return;
            }
            self.literal(c);
        }
    }

    /// Reads a class such as `\d` or `\pL`, whose backslash is gone, as it may stand in brackets.
    fn class_escape(&mut self) -> Result<Option<Cow<'static, str>>, String> {
        let class = match self.rest.peek() {
            Some('d') => r"0-9",
            Some('D') => r"[^0-9]",
            Some('s') => r"\t\n\f\r ",
            Some('S') => r"[^\t\n\f\r ]",
            Some('w') => r"0-9A-Za-z_",
            Some('W') => r"[^0-9A-Za-z_]",
            Some('p' | 'P') => return self.property().map(|p| Some(Cow::Owned(p))),
            _ => return Ok(None),
        };
        self.rest.next();
        Ok(Some(Cow::Borrowed(class)))
    }

    /// Reads `pL` or `p{Greek}`.
    fn property(&mut self) -> Result<String, String> {
        let mut is_negated = self.rest.next() == Some('P');
        let mut name = String::new();
        match self.rest.next() {
            Some('{') => loop {
                match self.rest.next() {
                    Some('}') => break,
                    Some('^') if name.is_empty() => is_negated = !is_negated,
                    Some(c) => name.push(c),
                    None => return Err(wrong("invalid character class range", &format!(r"\p{{{name}"))),
                }
            },
            Some('^') => return Err(wrong("invalid character class range", r"\p^")),
            Some(c) => name.push(c),
            None => return Err(wrong("invalid character class range", r"\p")),
        }
        let letter = if is_negated { 'P' } else { 'p' };
        Ok(format!(r"\{letter}{{{name}}}"))
    }

    /// Reads a character after a backslash.
    fn char_escape(&mut self) -> Result<char, String> {
        let Some(c) = self.rest.next() else {
            return Err("error parsing regexp: trailing backslash at end of expression: ``".to_owned());
        };
        let unknown = |c: char| wrong("invalid escape sequence", &format!("\\{c}"));
        match c {
            'a' => Ok('\u{7}'),
            'f' => Ok('\u{c}'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'v' => Ok('\u{b}'),
            'x' => self.hexadecimal().ok_or_else(|| unknown('x')),
            '0'..='7' => self.octal(c).ok_or_else(|| unknown(c)),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok(c),
            c => Err(unknown(c)),
        }
    }

    /// Reads up to three digits, of which `first` is gone. One alone, but for 0, would be a reference to a group.
    fn octal(&mut self, first: char) -> Option<char> {
        let is_octal = |c: &char| ('0'..='7').contains(c);
        if first != '0' && !self.rest.peek().is_some_and(is_octal) {
            return None;
        }
        let mut value = first.to_digit(8)?;
        for _ in 0..2 {
            let Some(digit) = self.rest.next_if(is_octal) else {
                break;
            };
            value = value * 8 + digit.to_digit(8)?;
        }
        char::from_u32(value)
    }

    /// Reads `7F` or `{10FFFF}`.
    fn hexadecimal(&mut self) -> Option<char> {
        let mut value = 0_u32;
        if self.rest.next_if_eq(&'{').is_none() {
            for _ in 0..2 {
                value = value * 16 + self.rest.next()?.to_digit(16)?;
            }
            return char::from_u32(value);
        }
        let mut is_any = false;
        loop {
            match self.rest.next()? {
                '}' if is_any => return char::from_u32(value),
                c => value = value.checked_mul(16)?.checked_add(c.to_digit(16)?)?,
            }
            is_any = true;
        }
    }

    /// Reads a class in brackets, the first of which is gone.
    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut is_first = true;
        loop {
            let missing = || wrong("missing closing ]", "[");
            match self.rest.peek().copied().ok_or_else(missing)? {
                ']' if !is_first => break,
                '[' if self.named()? => {}
                _ => self.member()?,
            }
            is_first = false;
        }
        self.rest.next();
        self.out.push(']');
        Ok(())
    }

    /// Reads `[:alpha:]`, if that is what comes.
    fn named(&mut self) -> Result<bool, String> {
        let mut ahead = self.rest.clone();
        ahead.next();
        if self.no_name_ends || ahead.next() != Some(':') {
            return Ok(false);
        }
        let mut name = String::new();
        loop {
            match ahead.next() {
                Some(':') if ahead.peek() == Some(&']') => break,
                Some(c) => name.push(c),
                None => {
                    self.no_name_ends = true;
                    return Ok(false);
                }
            }
        }
        ahead.next();
        if !CLASSES.contains(&name.strip_prefix('^').unwrap_or(&name)) {
            return Err(wrong("invalid character class range", &format!("[:{name}:]")));
        }
        self.rest = ahead;
        write!(self.out, "[:{name}:]").ok();
        Ok(true)
    }

    /// Reads a character, a range or a class such as `\d` inside of brackets.
    fn member(&mut self) -> Result<(), String> {
        let mut ahead = self.rest.clone();
        if ahead.next() == Some('\\') {
            self.rest.next();
            if let Some(class) = self.class_escape()? {
                self.out.push_str(&class);
                return Ok(());
            }
            let c = self.char_escape()?;
            return self.range(c);
        }
        let c = self.rest.next().unwrap_or_default();
        self.range(c)
    }

    /// Writes what begins with `low`: a character, or a range to another one.
    fn range(&mut self, low: char) -> Result<(), String> {
        self.member_literal(low);
        let mut ahead = self.rest.clone();
        if ahead.next() != Some('-') || matches!(ahead.peek(), None | Some(']')) {
            return Ok(());
        }
        self.rest.next();
        let high = match self.rest.next() {
            Some('\\') => self.char_escape()?,
            Some(c) => c,
            None => return Ok(()),
        };
        if high < low {
            return Err(wrong("invalid character class range", &format!("{low}-{high}")));
        }
        self.out.push('-');
        self.member_literal(high);
        Ok(())
    }

    /// Writes a character so that it means nothing else in brackets.
    fn member_literal(&mut self, c: char) {
        if c.is_alphanumeric() {
            self.out.push(c);
        } else {
            write!(self.out, r"\x{{{:X}}}", u32::from(c)).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_match(pattern: &str, text: &str) -> bool {
        compile(pattern)
            .unwrap_or_else(|e| panic!("{pattern}: {e}"))
            .regex
            .is_match(text)
    }

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        for (pattern, text) in [
            (r"^\d+$", "12"),
            (r"^\w\W\s\S\D$", "aé xy"),
            (r"^[\d-]+$", "1-2"),
            (r"^[^[]+$", "a]b"),
            (r"^{.*}$", "{a}"),
            (r"^a{2,3}b{1}c{0,}$", "aab"),
            (r"^a{,2}$", "a{,2}"),
            (r"^a{x}$", "a{x}"),
            (r"^\Qa.b*\E+$", "a.b**"),
            (r"^[a&&b]+$", "a&b"),
            (r"^[+--]+$", "+,-"),
            (r"^[a~~b]+$", "~"),
            (r"^[]a]+$", "]a"),
            (r"^[^]a]+$", "b"),
            (r"^[a-]+$", "a-"),
            (r"^[[:alpha:]_]+$", "ab_"),
            (r"^[[:^digit:]]$", "x"),
            (r"^[[a]$", "["),
            (r"^\x41\x{42}\101\0?$", "ABA"),
            (r"^\p{Greek}\pL\P{^Lu}$", "αbC"),
            (r"^(?i)abc$", "ABC"),
            (r"^(?P<a>x)(?:y)(?i:z)$", "xyZ"),
            (r"\bé", "aé"),
            (r"^\_\<\-\ $", "_<- "),
            (r"^a.c$", "aéc"),
            (r"^[\]\\\-]+$", r"]\-"),
            (r"^(a|b)*?c??$", "abc"),
            (r"(?m)^b$", "a\nb"),
        ] {
            assert!(is_match(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            (r"^\d$", "٣"),
            (r"^\w$", "é"),
            (r"^\s$", "\u{a0}"),
            (r"^[^\w]$", "a"),
            (r"^[\W]$", "a"),
            (r"^[^\W]$", "é"),
            (r"^a\B$", "ab"),
            (r"^a.c$", "a\nc"),
        ] {
            assert!(!is_match(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for pattern in [
            "a**",
            "a{2}{3}",
            "a{1001}",
            "a{3,2}",
            r"\1",
            r"\q",
            r"\Z",
            "(?x)a",
            "(?=a)",
            "[b-a]",
            "[a",
            "(a",
            "a)",
            "*a",
            r"a\",
            r"[\q]",
            "[[:foo:]]",
            r"\p{Nope}",
            "(?u)a",
            r"\x{110000}",
        ] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn what_begins_like_a_name_again_and_again_is_translated_once() {
        // With a look at all the rest for each it would take hours.
        let pattern = format!("[{}x]", "[:".repeat(1_000_000));
        assert!(translate(&pattern).is_ok());
        assert!(is_match("^[[:x]+$", "[:x"));
    }

    #[test]
    fn large_patterns_are_told_from_small_ones() {
        let cost = |pattern: &str| compile(pattern).map(|p| p.cost);
        assert_eq!(cost("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"), Ok(500));
        assert!(cost(r"(\w{100}){10}").unwrap() > 500);
        assert!(cost(r"(\pL{100}){100}").is_err());
    }
}
