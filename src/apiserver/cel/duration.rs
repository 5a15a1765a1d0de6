//! Durations as Go writes them: nanoseconds that fit 64 bits. It must not take what Go refuses.

use std::sync::Arc;

use kube_cel::cel::{Value as CelValue, functions};

const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3600 * SECOND;
/// Units as Go spells them; those that others begin with come later.
const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1000),
    ("µs", 1000),
    ("μs", 1000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", HOUR),
];
/// Units in words: as they may be written, and how their long form begins.
const WORDS: [(&[&str], &str, i64); 8] = [
    (&["ns"], "nano", 1),
    (&["us", "µs"], "micro", 1000),
    (&["ms"], "milli", 1_000_000),
    (&["s"], "sec", SECOND),
    (&["m"], "min", 60 * SECOND),
    (&["h", "hr"], "hour", HOUR),
    (&["d"], "day", 24 * HOUR),
    (&["w", "wk"], "week", 7 * 24 * HOUR),
];

/// Reads a duration such as `1h30m` (Go's `time.ParseDuration`).
pub(crate) fn parse(text: &str) -> Option<i64> {
    let (is_negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut sum: u64 = 0;
    while !rest.is_empty() {
        let part;
        (part, rest) = number_and_unit(rest)?;
        sum = sum.checked_add(part).filter(|sum| *sum <= 1 << 63)?;
    }
    if is_negative {
        return 0_i64.checked_sub_unsigned(sum);
    }
    i64::try_from(sum).ok()
}

/// Takes one number and its unit from the front of a text.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end_of_digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (whole, rest) = text.split_at(end_of_digits(text));
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(end_of_digits(rest)),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let end = rest
        .find(|c: char| c == '.' || c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end);
    let unit = UNITS.iter().find(|(name, _)| *name == unit)?.1.unsigned_abs();
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let whole = whole.checked_mul(unit).filter(|w| *w <= 1 << 63)?;
    Some((whole.checked_add(share(fraction, unit))?, rest))
}

/// What the digits after the point are of a unit.
fn share(fraction: &str, unit: u64) -> u64 {
    let (mut value, mut scale) = (0_u128, 1_u128);
    // More digits than these tell nothing of nanoseconds.
    for digit in fraction.bytes().take(18) {
        value = value * 10 + u128::from(digit - b'0');
        scale *= 10;
    }
    u64::try_from(value * u128::from(unit) / scale).unwrap_or(0)
}

/// Reads a duration of a schema's format, which may also be in words: `3 days`. Those wrap around, as in kube-apiserver.
pub(crate) fn parse_words(text: &str) -> Option<i64> {
    if let Some(nanos) = parse(text) {
        return Some(nanos);
    }
    let mut rest = text.trim_start_matches(is_space);
    let (mut sum, mut is_any) = (0_i64, false);
    while !rest.is_empty() {
        let (digits, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let after = after.trim_start_matches(is_space);
        let end = after
            .find(|c: char| !(c.is_ascii_alphabetic() || c == 'µ'))
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        if digits.is_empty() || unit.is_empty() {
            return None;
        }
        let number: i64 = digits.parse().ok()?;
        let unit = unit.to_lowercase();
        let known = WORDS
            .iter()
            .find(|(short, long, _)| short.contains(&unit.as_str()) || unit.starts_with(long));
        if let Some((_, _, nanos)) = known {
            is_any = true;
            sum = sum.wrapping_add(number.wrapping_mul(*nanos));
        }
        rest = after.trim_start_matches(is_space);
    }
    is_any.then_some(sum)
}

/// Go's `\s`.
fn is_space(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\u{c}' | '\r' | ' ')
}

/// A number of nanoseconds as expressions see it.
pub(crate) fn value(nanos: i64) -> Option<CelValue> {
    // The interpreter reads numbers as floats: in these portions they are exact.
    let all = nanos.unsigned_abs();
    let second = SECOND.unsigned_abs();
    let (seconds, rest) = (all / second, all % second);
    let text = format!(
        "{}{}h{}m{}s{rest}ns",
        if nanos < 0 { "-" } else { "" },
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    functions::duration(Arc::new(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, nanos) in [
            ("0", 0),
            ("-0", 0),
            ("1h30m", 5400 * SECOND),
            ("-1.5s", -3 * SECOND / 2),
            ("+.5ms", 500_000),
            ("1.us", 1000),
            ("3µs4μs", 7000),
            ("2562047h47m16.854775807s", i64::MAX),
            ("-2562047h47m16.854775808s", i64::MIN),
            ("9223372036854775807ns", i64::MAX),
        ] {
            assert_eq!(parse(text), Some(nanos), "{text}");
            assert!(
                matches!(value(nanos), Some(CelValue::Duration(d)) if d.num_nanoseconds() == Some(nanos)),
                "{text}"
            );
        }
        for text in [
            "",
            "-",
            "1",
            "1x",
            "h",
            ".s",
            "1h ",
            "1 h",
            "1e3s",
            "infs",
            "9223372036854775808ns",
            "2562048h",
            "10000000000h",
            "-9223372036854775809ns",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn durations_may_be_in_words() {
        for (text, nanos) in [
            ("22 ns", 22),
            (" 3 days ", 72 * HOUR),
            ("1 Week 2hrs", 7 * 24 * HOUR),
            ("5 minutes", 300 * SECOND),
        ] {
            assert_eq!(parse_words(text), Some(nanos), "{text}");
        }
        for text in ["1", "x", "1 foo", "1.5 days", "-1 day", "99999999999999999999h"] {
            assert_eq!(parse_words(text), None, "{text}");
        }
        assert!(parse_words("10000000000h").is_some(), "it wraps around");
    }
}
