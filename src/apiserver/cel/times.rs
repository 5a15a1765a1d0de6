//! Times and durations in expressions, and what other values are made into, as Go's evaluator does it. The interpreter's own
//! functions show times where they were written instead of in UTC, ignore zones, and cut numbers off.

use std::sync::Arc;

use jiff::SignedDuration;
use jiff::civil::{self, DateTime};
use jiff::tz::TimeZone;
use kube_cel::cel::extractors::{Arguments, This};
use kube_cel::cel::{Context, ExecutionError, ResolveResult, Value, functions};

use super::functions::{error, original};
use super::{bounds, duration};

/// Seconds of the first and the last time that there is: those of the years 1 to 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
/// What it costs to look a zone up.
const ZONE: u64 = 50;

/// Reads a part of what clocks show.
type Part = fn(DateTime) -> i64;

/// What can be asked of a time.
const PARTS: [(&str, Part); 10] = [
    ("getFullYear", |time| time.year().into()),
    ("getMonth", |time| i64::from(time.month()) - 1),
    ("getDate", |time| time.day().into()),
    ("getDayOfMonth", |time| i64::from(time.day()) - 1),
    ("getDayOfWeek", |time| {
        time.weekday().to_sunday_zero_offset().into()
    }),
    ("getDayOfYear", |time| i64::from(time.day_of_year()) - 1),
    ("getHours", |time| time.hour().into()),
    ("getMinutes", |time| time.minute().into()),
    ("getSeconds", |time| time.second().into()),
    ("getMilliseconds", |time| time.millisecond().into()),
];
/// What can also be asked of a duration, all of which is told: its nanoseconds.
const UNITS: [(&str, i64); 4] = [
    ("getHours", 3_600_000_000_000),
    ("getMinutes", 60_000_000_000),
    ("getSeconds", 1_000_000_000),
    ("getMilliseconds", 1_000_000),
];

pub(super) fn register(context: &mut Context<'static>) {
    for (name, part) in PARTS {
        let unit = UNITS.iter().find(|(of, _)| *of == name).map(|(_, unit)| *unit);
        let ask = move |This(this): This<Value>, Arguments(given): Arguments| ask(&this, &given, part, unit);
        context.add_function(name, ask);
    }
    context.add_function("timestamp", to_timestamp);
    context.add_function("duration", to_duration);
    context.add_function("int", to_int);
    context.add_function("uint", to_uint);
    context.add_function("string", to_string);
}

fn ask(this: &Value, given: &[Value], part: Part, unit: Option<i64>) -> ResolveResult {
    let told = match (this, given, unit) {
        (Value::Timestamp(_), [], _) => part(moved(this, 0)?),
        (Value::Timestamp(_), [Value::String(zone)], _) => part(moved(this, offset(this, zone)?)?),
        (Value::Duration(_), [], Some(unit)) => nanos(this)? / unit,
        _ => return Err(ExecutionError::NoSuchOverload),
    };
    Ok(Value::Int(told))
}

/// The seconds and nanoseconds of a time.
fn instant(time: &Value) -> Result<(i64, i32), ExecutionError> {
    let Value::Timestamp(time) = time else {
        return Err(ExecutionError::NoSuchOverload);
    };
    let nanos = i32::try_from(time.timestamp_subsec_nanos()).unwrap_or(0);
    Ok((time.timestamp(), nanos.min(999_999_999)))
}

/// What clocks show at a time so many seconds east of Greenwich.
fn moved(time: &Value, east: i64) -> Result<DateTime, ExecutionError> {
    let (seconds, nanos) = instant(time)?;
    let since = SignedDuration::new(seconds.saturating_add(east), nanos);
    let shown = civil::date(1970, 1, 1).at(0, 0, 0, 0).checked_add(since);
    shown.map_err(|_| error("timestamp overflow"))
}

/// How many seconds a zone is east of Greenwich at a time. Zones are `+05:00`, `-05:00`, `05:00`, or have names.
fn offset(time: &Value, zone: &str) -> Result<i64, ExecutionError> {
    if let Some((hours, minutes)) = zone.split_once(':') {
        let number = |text: &str| text.parse::<i32>().map(i64::from).ok();
        let bad = || error(&format!("invalid offset of a time zone: {zone}"));
        let numbers = number(hours).zip(number(minutes));
        let (hours, minutes) = numbers.filter(|(_, m)| (0..60).contains(m)).ok_or_else(bad)?;
        let minutes = if zone.starts_with('-') { -minutes } else { minutes };
        return Ok(hours * 3600 + minutes * 60);
    }
    if matches!(zone, "" | "UTC") {
        return Ok(0);
    }
    bounds::spend(ZONE)?;
    let found = TimeZone::get(zone).ok();
    let Some(found) = found.filter(|found| found.iana_name() == Some(zone)) else {
        let why = if jiff::tz::db().is_definitively_empty() {
            format!("time zone {zone} cannot be looked up: this system has no time zone database")
        } else {
            format!("unknown time zone {zone}")
        };
        return Err(error(&why));
    };
    let (seconds, nanos) = instant(time)?;
    // The last hours of the year 9999 are not known to zones: there they are as before.
    let at = jiff::Timestamp::new(seconds, nanos).unwrap_or(jiff::Timestamp::MAX);
    Ok(found.to_offset(at).seconds().into())
}

fn nanos(value: &Value) -> Result<i64, ExecutionError> {
    match value {
        Value::Duration(length) => length.num_nanoseconds().ok_or_else(|| error("duration overflow")),
        _ => Err(ExecutionError::NoSuchOverload),
    }
}

/// Says that a value has none of another type.
fn conversion(from: &str, to: &str) -> ExecutionError {
    error(&format!("type conversion error from '{from}' to '{to}'"))
}

fn to_timestamp(value: Value) -> ResolveResult {
    let overflow = || error("timestamp overflow");
    let text = match value {
        Value::Timestamp(_) => return Ok(value),
        Value::Int(seconds) if SECONDS.contains(&seconds) => {
            let since = SignedDuration::from_secs(seconds);
            let time = civil::date(1970, 1, 1).at(0, 0, 0, 0).checked_add(since);
            Arc::new(format!("{}Z", time.map_err(|_| overflow())?))
        }
        Value::Int(_) => return Err(overflow()),
        Value::String(text) => text,
        _ => return Err(ExecutionError::NoSuchOverload),
    };
    let time = if is_strict(&text) {
        functions::timestamp(text).ok()
    } else {
        None
    };
    let time = time.ok_or_else(|| conversion("string", "google.protobuf.Timestamp"))?;
    if SECONDS.contains(&instant(&time)?.0) {
        Ok(time)
    } else {
        Err(overflow())
    }
}

/// Whether a time is written as Go reads it. The interpreter also takes small letters, spaces and leap seconds.
fn is_strict(text: &str) -> bool {
    let bytes = text.as_bytes();
    text.is_ascii()
        && bytes.get(10) == Some(&b'T')
        && bytes.get(17..19) != Some(b"60")
        && (bytes.ends_with(b"Z") || matches!(bytes, [.., b'+' | b'-', _, _, b':', _, _]))
}

fn to_duration(value: Value) -> ResolveResult {
    let length = match value {
        Value::Duration(_) => return Ok(value),
        Value::Int(nanos) => Some(nanos),
        Value::String(text) => duration::parse(&text),
        _ => return Err(ExecutionError::NoSuchOverload),
    };
    length
        .and_then(duration::value)
        .ok_or_else(|| conversion("string", "google.protobuf.Duration"))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "what would not fit was refused"
)]
fn to_int(This(this): This<Value>) -> ResolveResult {
    let overflow = || error("integer overflow");
    let number = match &this {
        Value::Int(number) => *number,
        Value::UInt(number) => i64::try_from(*number).map_err(|_| overflow())?,
        Value::Float(number) if *number > i64::MIN as f64 && *number < i64::MAX as f64 => *number as i64,
        Value::Float(_) => return Err(overflow()),
        Value::String(text) => text.parse().map_err(|_| conversion("string", "int"))?,
        Value::Timestamp(_) => instant(&this)?.0,
        Value::Duration(_) => nanos(&this)?,
        _ => return Err(ExecutionError::NoSuchOverload),
    };
    Ok(Value::Int(number))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "what would not fit was refused"
)]
fn to_uint(This(this): This<Value>) -> ResolveResult {
    let overflow = || error("unsigned integer overflow");
    let number = match &this {
        Value::UInt(number) => *number,
        Value::Int(number) => u64::try_from(*number).map_err(|_| overflow())?,
        Value::Float(number) if *number >= 0.0 && *number < u64::MAX as f64 => *number as u64,
        Value::Float(_) => return Err(overflow()),
        Value::String(text) if !text.starts_with('+') => {
            text.parse().map_err(|_| conversion("string", "uint"))?
        }
        Value::String(_) => return Err(conversion("string", "uint")),
        _ => return Err(ExecutionError::NoSuchOverload),
    };
    Ok(Value::UInt(number))
}

fn to_string(This(this): This<Value>) -> ResolveResult {
    let text = match &this {
        Value::String(_) => return Ok(this),
        Value::Bool(said) => said.to_string(),
        Value::Int(number) => number.to_string(),
        Value::UInt(number) => number.to_string(),
        Value::Float(number) => float(*number),
        Value::Bytes(bytes) => String::from_utf8(bytes.to_vec())
            .map_err(|_| error("invalid UTF-8 in bytes, cannot convert to string"))?,
        Value::Timestamp(time) => written(&this, time.offset().local_minus_utc())?,
        Value::Duration(_) => seconds(nanos(&this)?),
        _ => return original("string", this, &[]),
    };
    Ok(Value::String(Arc::new(text)))
}

/// A time as RFC 3339 has it, where it was written.
fn written(time: &Value, east: i32) -> Result<String, ExecutionError> {
    let clock = moved(time, east.into())?;
    let minutes = east.abs() / 60;
    Ok(match east {
        0 => format!("{clock}Z"),
        _ => format!(
            "{clock}{}{:02}:{:02}",
            if east < 0 { '-' } else { '+' },
            minutes / 60,
            minutes % 60
        ),
    })
}

/// A duration in seconds, with a fraction if there is one: Go goes by a float.
#[expect(clippy::cast_precision_loss, reason = "as in Go")]
fn seconds(nanos: i64) -> String {
    let second = 1_000_000_000;
    let length = (nanos / second) as f64 + (nanos % second) as f64 / 1e9;
    format!("{length}s")
}

/// A float as Go prints it with `%g`: with an exponent if it is large or small.
fn float(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{number:e}");
    let Some((digits, exponent)) = text.split_once('e') else {
        return text;
    };
    match exponent.parse::<i32>() {
        Ok(power) if !(-4..6).contains(&power) => {
            let sign = if power < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", power.abs())
        }
        _ => number.to_string(),
    }
}
