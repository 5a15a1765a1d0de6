//! Quantities such as `1.5Gi` in expressions (apiserver: pkg/cel/library/quantity.go). The interpreter's own wrap around where they are
//! large. None here does: what does not fit is refused.

use std::cmp::Ordering;
use std::sync::Arc;

use kube_cel::cel::extractors::{Arguments, This};
use kube_cel::cel::objects::Opaque;
use kube_cel::cel::{Context, ExecutionError, ResolveResult, Value};

use super::functions::{error, original};

/// Tens and twos of the suffixes.
const TENS: [(&str, i32); 10] = [
    ("", 0),
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const TWOS: [(&str, u32); 6] = [
    ("Ki", 10),
    ("Mi", 20),
    ("Gi", 30),
    ("Ti", 40),
    ("Pi", 50),
    ("Ei", 60),
];
const REFUSED: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
/// What is finer is rounded away from zero.
const FINEST: i32 = -9;

pub(super) fn register(context: &mut Context<'static>) {
    context.add_function("isQuantity", |text: Arc<String>| -> ResolveResult {
        Ok(Value::Bool(Quantity::parse(&text).is_some()))
    });
    context.add_function("quantity", |text: Arc<String>| -> ResolveResult {
        let found = Quantity::parse(&text).ok_or_else(|| error(REFUSED));
        Ok(found?.into_value())
    });
    context.add_function("sign", |This(this): This<Value>| -> ResolveResult {
        Ok(Value::Int(of(&this)?.mantissa.cmp(&0) as i64))
    });
    context.add_function("isInteger", |This(this): This<Value>| -> ResolveResult {
        Ok(Value::Bool(of(&this)?.whole().is_some()))
    });
    context.add_function("asInteger", |This(this): This<Value>| -> ResolveResult {
        let whole = of(&this)?.whole();
        Ok(Value::Int(
            whole.ok_or_else(|| error("cannot convert value to integer"))?,
        ))
    });
    context.add_function("asApproximateFloat", |This(this): This<Value>| -> ResolveResult {
        Ok(Value::Float(of(&this)?.float()))
    });
    context.add_function("add", |This(this): This<Value>, other: Value| {
        added(&this, &other, 1)
    });
    context.add_function("sub", |This(this): This<Value>, other: Value| {
        added(&this, &other, -1)
    });
    for (name, tells) in COMPARISONS {
        let compare =
            move |This(this): This<Value>, Arguments(given): Arguments| compare(name, tells, this, &given);
        context.add_function(name, compare);
    }
}

/// What a comparison says of an order.
type Tells = fn(Ordering) -> Value;

/// How quantities are compared. Versions are as well, by the same names.
const COMPARISONS: [(&str, Tells); 3] = [
    ("isGreaterThan", |order| Value::Bool(order.is_gt())),
    ("isLessThan", |order| Value::Bool(order.is_lt())),
    ("compareTo", |order| Value::Int(order as i64)),
];

fn compare(name: &str, tells: Tells, this: Value, given: &[Value]) -> ResolveResult {
    match given {
        [other] if of(&this).is_ok() => Ok(tells(of(&this)?.cmp(of(other)?))),
        _ => original(name, this, given),
    }
}

fn of(value: &Value) -> Result<&Quantity, ExecutionError> {
    let found = match value {
        Value::Opaque(opaque) => opaque.downcast_ref(),
        _ => None,
    };
    found.ok_or(ExecutionError::NoSuchOverload)
}

fn added(this: &Value, other: &Value, sign: i128) -> ResolveResult {
    let other = match other {
        Value::Int(number) => Quantity::new((*number).into(), 0),
        other => Some(*of(other)?),
    };
    let sum = other.and_then(|other| of(this).ok()?.plus(other, sign));
    match sum {
        Some(sum) => Ok(sum.into_value()),
        None => of(this).and(Err(error("quantity overflow"))),
    }
}

/// `mantissa * 10^scale`, with the largest scale there is for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Quantity {
    mantissa: i128,
    scale: i32,
}

impl Opaque for Quantity {
    fn runtime_type_name(&self) -> &'static str {
        "kubernetes.Quantity"
    }
}

impl Quantity {
    /// Rounds away from zero what is too fine. Nothing if there are no such quantities.
    fn new(mut mantissa: i128, mut scale: i32) -> Option<Self> {
        if mantissa == 0 {
            return Some(Self { mantissa, scale: 0 });
        }
        while scale < FINEST {
            let rest = mantissa % 10;
            mantissa = mantissa / 10 + rest.signum();
            scale += 1;
            if mantissa.abs() == 1 {
                scale = FINEST;
            }
        }
        while mantissa % 10 == 0 {
            mantissa /= 10;
            scale = scale.checked_add(1)?;
        }
        Some(Self { mantissa, scale })
    }

    fn into_value(self) -> Value {
        Value::Opaque(Arc::new(self))
    }

    fn parse(text: &str) -> Option<Self> {
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, suffix) = unsigned.split_at(end.unwrap_or(unsigned.len()));
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || whole.len() + fraction.len() == 0 {
            return None;
        }
        let size: i128 = format!("{whole}{fraction}").parse().ok()?;
        let mantissa = if text.starts_with('-') { -size } else { size };
        let places = i32::try_from(fraction.len()).ok()?;
        if let Some((_, twos)) = TWOS.iter().find(|(name, _)| *name == suffix) {
            let found = Self::new(mantissa.checked_mul(1 << twos)?, -places)?;
            // Go's end there.
            let most = Self::new(i64::MAX.into(), 0)?;
            let least = Self::new((-i64::MAX).into(), 0)?;
            return Some(found.min(most).max(least));
        }
        Self::new(mantissa, tens(suffix)?.checked_sub(places)?)
    }

    fn whole(self) -> Option<i64> {
        let factor = 10_i128.checked_pow(u32::try_from(self.scale).ok()?)?;
        i64::try_from(self.mantissa.checked_mul(factor)?).ok()
    }

    fn float(self) -> f64 {
        // Every such text is a number.
        let text = format!("{}e{}", self.mantissa, self.scale);
        text.parse().unwrap_or(f64::NAN)
    }

    fn plus(self, other: Self, sign: i128) -> Option<Self> {
        let scale = self.scale.min(other.scale);
        let at_scale = |this: Self| {
            let above = u32::try_from(this.scale.checked_sub(scale)?).ok()?;
            this.mantissa.checked_mul(10_i128.checked_pow(above)?)
        };
        // Zero has no scale of its own.
        let sum = match (self.mantissa, other.mantissa) {
            (0, _) => return Self::new(other.mantissa.checked_mul(sign)?, other.scale),
            (_, 0) => return Some(self),
            _ => at_scale(self)?.checked_add(at_scale(other)?.checked_mul(sign)?)?,
        };
        Self::new(sum, scale)
    }

    /// How many digits it has before the point.
    fn digits(self) -> i64 {
        i64::from(self.mantissa.unsigned_abs().ilog10()) + i64::from(self.scale)
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        let signs = self.mantissa.signum().cmp(&other.mantissa.signum());
        if signs.is_ne() || self.mantissa == 0 {
            return signs;
        }
        let sizes = self.digits().cmp(&other.digits()).then_with(|| {
            // Of two that have as many digits, the digits tell, as in texts: the shorter one ends in zeros.
            let digits = |this: &Self| this.mantissa.unsigned_abs().to_string();
            digits(self).cmp(&digits(other))
        });
        if self.mantissa < 0 { sizes.reverse() } else { sizes }
    }
}

/// The power of ten that a suffix means.
fn tens(suffix: &str) -> Option<i32> {
    if let Some((_, tens)) = TENS.iter().find(|(name, _)| *name == suffix) {
        return Some(*tens);
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    exponent.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(text: &str) -> Quantity {
        Quantity::parse(text).unwrap()
    }

    #[test]
    fn quantities_are_ordered_however_large_they_are() {
        let ordered = [
            "-9999999999999999999999999999999999999G",
            "-1e39",
            "-2",
            "-1500m",
            "-1",
            "0",
            "1n",
            "1m",
            "1",
            "1.0000001",
            "1k",
            "1Ki",
            "1.5Ki",
            "9223372036854775806",
            "8Ei",
            "99E",
            "1e39",
            "9999999999999999999999999999999999999G",
            "1e2000000000",
        ];
        for (i, one) in ordered.iter().enumerate() {
            for (j, other) in ordered.iter().enumerate() {
                assert_eq!(quantity(one).cmp(&quantity(other)), i.cmp(&j), "{one} {other}");
            }
        }
        for (one, same) in [
            ("1024", "1Ki"),
            ("1.50", "1500m"),
            ("1e3", "1k"),
            ("1E3", "1000"),
            ("0.0000000001", "1n"),
            ("1.0000000001n", "2n"),
            ("-1e-2000000000", "-1n"),
            ("16Ei", "9223372036854775807"),
            ("+.5", "500m"),
            ("0e5", "0"),
        ] {
            assert_eq!(quantity(one), quantity(same), "{one} {same}");
        }
    }

    #[test]
    fn what_is_no_quantity_or_does_not_fit_is_refused() {
        for text in [
            "",
            " ",
            " 1 ",
            "1 ",
            " 1",
            "1\n",
            "a",
            "1x",
            "1ki",
            "1KI",
            "--1",
            "1-",
            "1.2.3",
            ".",
            "-",
            "k",
            "1e",
            "1e+",
            "1e1.5",
            "1e3000000000",
            "1i",
            "1e1k",
            "999999999999999999999999999999999999999999",
        ] {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
        let large = quantity("170141183460469231731687303715884105727");
        assert_eq!(large.plus(large, 1), None);
        assert_eq!(quantity("1e39").plus(quantity("1"), 1), None);
        assert_eq!(quantity("1e39").whole(), None);
        assert_eq!(quantity("1k").plus(quantity("1m"), -1), Some(quantity("999999m")));
        assert_eq!(quantity("1k").whole(), Some(1000));
        assert_eq!(quantity("1500m").whole(), None);
        assert!((quantity("1500m").float() - 1.5).abs() < 1e-12);
    }
}
