//! Durations as Go writes them: `300ms`, `1m30s`, `2h`. Pure parsing and printing.

use std::{fmt, str::FromStr};

use jiff::SignedDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A duration in the form of `metav1.Duration`: one or more numbers with a unit (`ns us µs ms s m h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Duration(SignedDuration);

/// Says why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no duration (write for example 90s, 5m or 1h30m)")]
pub struct InvalidDuration(String);

impl Duration {
    /// Returns a duration of whole seconds.
    pub const fn from_secs(seconds: i64) -> Self {
        Self(SignedDuration::from_secs(seconds))
    }

    /// Returns it as a span that can be added to a point in time.
    pub const fn span(self) -> SignedDuration {
        self.0
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0.unsigned_abs()
    }
}

impl From<SignedDuration> for Duration {
    fn from(span: SignedDuration) -> Self {
        Self(span)
    }
}

impl FromStr for Duration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        let invalid = || InvalidDuration(text.to_owned());
        if text == "0" {
            return Ok(Self::default());
        }
        let mut rest = text;
        let mut total = 0.0_f64;
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .ok_or_else(invalid)?;
            let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
            rest = &rest[digits..];
            let (unit, length) = unit(rest).ok_or_else(invalid)?;
            total += number * unit;
            rest = &rest[length..];
        }
        if text.is_empty() || !total.is_finite() || total > 9.0e9 {
            return Err(invalid());
        }
        SignedDuration::try_from_secs_f64(total)
            .map(Self)
            .map_err(|_| invalid())
    }
}

/// Seconds in the unit that a text begins with, and how long the unit's name is.
fn unit(text: &str) -> Option<(f64, usize)> {
    [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ]
    .into_iter()
    .find(|(name, _)| text.starts_with(name))
    .map(|(name, seconds)| (seconds, name.len()))
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        if nanos != 0 && nanos % 1_000_000_000 != 0 {
            return write!(f, "{}ms", nanos / 1_000_000);
        }
        let seconds = self.0.as_secs();
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        match (hours, minutes) {
            (0, 0) => write!(f, "{seconds}s"),
            (0, _) => write!(f, "{minutes}m{seconds}s"),
            _ => write!(f, "{hours}h{minutes}m{seconds}s"),
        }
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$|^0$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_forms_are_read_and_written() {
        for (text, canonical) in [
            ("90s", "1m30s"),
            ("5m", "5m0s"),
            ("1h30m", "1h30m0s"),
            ("300ms", "300ms"),
            ("0", "0s"),
            ("1.5h", "1h30m0s"),
        ] {
            assert_eq!(text.parse::<Duration>().unwrap().to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in ["", "5", "5 minutes", "m", "-1s", "1d", "99999999999999h"] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }
}
