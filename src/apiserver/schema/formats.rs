//! The string formats that schemas may name. Formats unknown here are not checked. It must not know of paths.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use regex::Regex;

use super::super::cel::duration;

/// Says whether a text has a format.
pub(super) type Check = fn(&str) -> bool;

/// Finds how the format `name` is checked; `None` when it is not one that is checked.
pub(super) fn find(name: &str) -> Option<Check> {
    // Dashes in the names of formats mean nothing: `date-time` is `datetime`.
    let name = name.replace('-', "");
    Some(match name.as_str() {
        "datetime" => is_date_time,
        "date" => |text| text.len() == 10 && is_date(text),
        "duration" => |text| duration::parse_words(text).is_some(),
        "ipv4" => |text| text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => |text| text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr,
        "mac" => is_mac,
        "uri" => is_uri,
        "email" => is_email,
        "hostname" => is_hostname,
        "byte" => is_base64,
        "uuid" => |text| UUID.is_match(text),
        "uuid3" => |text| UUID3.is_match(text),
        "uuid4" => |text| UUID4.is_match(text),
        "uuid5" => |text| UUID5.is_match(text),
        "isbn" => |text| is_isbn10(text) || is_isbn13(text),
        "isbn10" => is_isbn10,
        "isbn13" => is_isbn13,
        "creditcard" => is_credit_card,
        "ssn" => |text| SSN.is_match(text),
        "hexcolor" => |text| HEX_COLOR.is_match(text),
        "rgbcolor" => |text| RGB_COLOR.is_match(text),
        "bsonobjectid" => |text| text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit()),
        "k8sshortname" => |text| text.len() <= 63 && is_dns_label(text),
        "k8slongname" => |text| text.len() <= 253 && text.split('.').all(is_dns_label),
        "password" => |_| true,
        _ => return None,
    })
}

macro_rules! pattern {
    ($name:ident, $source:expr) => {
        static $name: LazyLock<Regex> =
            LazyLock::new(|| Regex::new($source).expect("invariant: the pattern is a literal"));
    };
}

pattern!(
    UUID,
    r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$"
);
pattern!(
    UUID3,
    r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$"
);
pattern!(
    UUID4,
    r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$"
);
pattern!(
    UUID5,
    r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$"
);
pattern!(SSN, r"^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$");
pattern!(HEX_COLOR, r"^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$");
pattern!(
    RGB_COLOR,
    r"^rgb\(\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])\s*,\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])\s*,\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])\s*\)$"
);
pattern!(
    DATE_TIME,
    r"^([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]+)?(z|[+-][0-9]{2}:[0-9]{2})$"
);
pattern!(
    CREDIT_CARD,
    r"^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11})$"
);

fn is_date_time(text: &str) -> bool {
    if text.len() < 4 {
        return false;
    }
    let lower = text.to_ascii_lowercase();
    let Some((date, time)) = lower.split_once('t') else {
        return false;
    };
    let Some(parts) = DATE_TIME.captures(time) else {
        return false;
    };
    let number = |i: usize| {
        parts
            .get(i)
            .and_then(|m| m.as_str().parse::<u32>().ok())
            .unwrap_or(99)
    };
    // A leap second is as good as any other.
    is_date(date) && number(1) <= 23 && number(2) <= 59 && number(3) <= 60
}

fn is_date(text: &str) -> bool {
    text.parse::<jiff::civil::Date>().is_ok() && text.len() == 10
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let plain = !bits.is_empty()
        && bits.bytes().all(|b| b.is_ascii_digit())
        && (bits.len() == 1 || !bits.starts_with('0'));
    let Ok(bits) = bits.parse::<u8>() else {
        return false;
    };
    plain
        && (address.parse::<Ipv4Addr>().is_ok() && bits <= 32
            || address.parse::<Ipv6Addr>().is_ok() && bits <= 128)
}

fn is_mac(text: &str) -> bool {
    let hex = |part: &str, width: usize| part.len() == width && part.bytes().all(|b| b.is_ascii_hexdigit());
    let grouped = |separator: char, width: usize, counts: &[usize]| {
        let parts: Vec<&str> = text.split(separator).collect();
        counts.contains(&parts.len()) && parts.iter().all(|part| hex(part, width))
    };
    grouped(':', 2, &[6, 8, 20]) || grouped('-', 2, &[6, 8, 20]) || grouped('.', 4, &[3, 4, 10])
}

fn is_uri(text: &str) -> bool {
    if text.is_empty() || text.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return false;
    }
    if text.starts_with('/') {
        return true;
    }
    let Some((scheme, _)) = text.split_once(':') else {
        return false;
    };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

fn is_email(text: &str) -> bool {
    let address = match text.rsplit_once('<') {
        Some((_, rest)) => match rest.strip_suffix('>') {
            Some(address) => address,
            None => return false,
        },
        None => text,
    };
    let Some((local, domain)) = address.rsplit_once('@') else {
        return false;
    };
    let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    let atom = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_alphanumeric() || "!#$%&'*+/=?^_`{|}~-".contains(c))
    };
    (quoted || local.split('.').all(atom)) && domain.split('.').all(atom)
}

fn is_hostname(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    !text.is_empty()
        && text.len() <= 253
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
        })
}

fn is_base64(text: &str) -> bool {
    use base64::Engine as _;
    !text.is_empty() && base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}

fn is_dns_label(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn isbn_digits(text: &str) -> Vec<u32> {
    text.chars()
        .filter(|c| !matches!(c, '-' | ' '))
        .map(|c| {
            if c == 'X' {
                10
            } else {
                c.to_digit(10).unwrap_or(99)
            }
        })
        .collect()
}

fn is_isbn10(text: &str) -> bool {
    let digits = isbn_digits(text);
    digits.len() == 10
        && digits[..9].iter().all(|d| *d < 10)
        && digits[9] <= 10
        && (1..).zip(&digits).map(|(i, d): (u32, &u32)| i * d).sum::<u32>() % 11 == 0
}

fn is_isbn13(text: &str) -> bool {
    let digits = isbn_digits(text);
    digits.len() == 13
        && digits.iter().all(|d| *d < 10)
        && digits
            .iter()
            .zip([1, 3].into_iter().cycle())
            .map(|(d, w)| d * w)
            .sum::<u32>()
            % 10
            == 0
}

fn is_credit_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let luhn: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(i, b)| {
            let d = u32::from(b - b'0') * if i % 2 == 1 { 2 } else { 1 };
            if d > 9 { d - 9 } else { d }
        })
        .sum();
    CREDIT_CARD.is_match(&digits) && luhn.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    fn matches(format: &str, text: &str) -> Option<bool> {
        super::find(format).map(|check| check(text))
    }

    #[test]
    fn formats_know_their_own() {
        let good = [
            ("date-time", "2026-01-02T03:04:05Z"),
            ("date-time", "2026-01-02t03:04:05.123+01:00"),
            ("date", "2026-01-02"),
            ("duration", "1h30m"),
            ("duration", "22 ns"),
            ("ipv4", "10.0.0.1"),
            ("ipv6", "fe80::1"),
            ("cidr", "10.0.0.0/8"),
            ("mac", "00:00:5e:00:53:01"),
            ("uri", "https://example.com/a"),
            ("email", "a.b@example.com"),
            ("hostname", "example.com"),
            ("byte", "dg=="),
            ("uuid", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
            ("isbn", "0321751043"),
            ("isbn13", "978-0321751041"),
            ("creditcard", "4111 1111 1111 1111"),
            ("ssn", "111-11-1111"),
            ("hexcolor", "#fff"),
            ("rgbcolor", "rgb(1,2,3)"),
            ("k8s-short-name", "a-b"),
            ("k8s-long-name", "a.b"),
        ];
        for (format, text) in good {
            assert_eq!(matches(format, text), Some(true), "{format} {text}");
        }
    }

    #[test]
    fn formats_refuse_others() {
        let bad = [
            ("date-time", "yesterday"),
            ("date-time", "2026-13-02T03:04:05Z"),
            ("date-time", "2026-01-02T24:04:05Z"),
            ("date-time", "2026-01-02T03:04:05"),
            ("date", "2026-1-2"),
            ("duration", "1x"),
            ("duration", "1.5 days"),
            ("duration", "-10000000000h"),
            ("duration", "99999999999999999999h"),
            ("ipv4", "10.0.0.256"),
            ("ipv6", "10.0.0.1"),
            ("cidr", "10.0.0.0/33"),
            ("mac", "00:00:5e:00:53"),
            ("uri", "not a uri"),
            ("email", "a@"),
            ("hostname", "-a"),
            ("byte", "###"),
            ("uuid4", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
            ("isbn", "0321751044"),
            ("creditcard", "4111 1111 1111 1112"),
            ("k8s-short-name", "A"),
        ];
        for (format, text) in bad {
            assert_eq!(matches(format, text), Some(false), "{format} {text}");
        }
        assert_eq!(matches("int32", "x"), None);
    }
}
