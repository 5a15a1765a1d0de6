//! How many machines may be broken and how many replaced at once. Pure.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::api::v1alpha1::MachineHealthCheckSpec;

/// Of a check that does not say how many machines may be under replacement at once it is this part of them, in percent.
const IN_FLIGHT_PERCENT: usize = 20;
/// And this many at least.
const IN_FLIGHT_LEAST: usize = 3;

/// Reads a number or a percentage of `total`, rounded down. What is below 0 is 0.
///
/// # Errors
/// Returns the text that is neither.
fn scaled(value: &IntOrString, total: usize) -> Result<usize, String> {
    match value {
        IntOrString::Int(number) => Ok(usize::try_from(*number).unwrap_or(0)),
        IntOrString::String(text) => {
            let invalid = |_| text.clone();
            if let Some(percent) = text.strip_suffix('%') {
                let percent: usize = percent.parse().map_err(invalid)?;
                return Ok(total.saturating_mul(percent) / 100);
            }
            let number: i64 = text.parse().map_err(invalid)?;
            Ok(usize::try_from(number).unwrap_or(0))
        }
    }
}

fn shown(value: &IntOrString) -> String {
    match value {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(text) => text.clone(),
    }
}

/// How many machines may be broken, starting or leaving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Allowance {
    least: usize,
    most: usize,
    /// What of the spec it comes from, as it is written there.
    field: &'static str,
    written: String,
}

impl Allowance {
    /// Reads `unhealthyRange`, else `maxUnhealthy`, else 100 %.
    ///
    /// # Errors
    /// Says which field can't be used.
    pub(super) fn of(spec: &MachineHealthCheckSpec, total: usize) -> Result<Self, String> {
        if let Some(range) = spec.unhealthy_range.as_deref().filter(|r| !r.is_empty()) {
            let bounds = range
                .strip_prefix('[')
                .and_then(|r| r.strip_suffix(']'))
                .and_then(|r| r.split_once('-'))
                .and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)))
                .filter(|(least, most): &(usize, usize)| least <= most);
            let (least, most) =
                bounds.ok_or_else(|| format!("spec.unhealthyRange \"{range}\" is no range like [1-3]"))?;
            return Ok(Self {
                least,
                most,
                field: "unhealthyRange",
                written: range.to_owned(),
            });
        }
        let all = IntOrString::String("100%".to_owned());
        let value = spec.max_unhealthy.as_ref().unwrap_or(&all);
        let most = scaled(value, total)
            .map_err(|text| format!("spec.maxUnhealthy \"{text}\" is neither a number nor a percentage"))?;
        Ok(Self {
            least: 0,
            most,
            field: "maxUnhealthy",
            written: shown(value),
        })
    }

    /// Whether machines may be replaced when so many are not well.
    pub(super) const fn permits(&self, unhealthy: usize) -> bool {
        self.least <= unhealthy && unhealthy <= self.most
    }

    /// How many more may get broken until nothing is replaced any more.
    pub(super) const fn rest(&self, unhealthy: usize) -> usize {
        if self.permits(unhealthy) {
            self.most - unhealthy
        } else {
            0
        }
    }

    /// Why nothing may be replaced (`OpenShift`: message of `RemediationAllowed`).
    pub(super) fn refusal(&self, total: usize, unhealthy: usize) -> String {
        let Self { field, written, .. } = self;
        let how = if *field == "maxUnhealthy" {
            "exceeds maxUnhealthy"
        } else {
            "is not within unhealthyRange"
        };
        format!(
            "Remediation is not allowed, the number of not started or unhealthy machines {how} (total: {total}, unhealthy: {unhealthy}, {field}: {written})"
        )
    }
}

/// How many machines may be under replacement at once. A percentage is at least one machine; without the field it is a fifth of them and
/// at least three, so that a check without limits still replaces a fleet in waves.
///
/// # Errors
/// Says which field can't be used.
pub(super) fn in_flight(spec: &MachineHealthCheckSpec, total: usize) -> Result<usize, String> {
    let Some(value) = &spec.max_in_flight else {
        return Ok((total * IN_FLIGHT_PERCENT / 100).max(IN_FLIGHT_LEAST));
    };
    let number = scaled(value, total)
        .map_err(|text| format!("spec.maxInFlight \"{text}\" is neither a number nor a percentage"))?;
    Ok(match value {
        IntOrString::String(text) if text.ends_with('%') => number.max(1),
        _ => number,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: i32) -> IntOrString {
        IntOrString::Int(number)
    }

    fn words(text: &str) -> IntOrString {
        IntOrString::String(text.to_owned())
    }

    fn spec(max_unhealthy: Option<IntOrString>) -> MachineHealthCheckSpec {
        MachineHealthCheckSpec {
            max_unhealthy,
            ..MachineHealthCheckSpec::default()
        }
    }

    #[test]
    fn h10_max_unhealthy_is_a_number_or_a_percentage_rounded_down() {
        for (value, total, most) in [
            (Some(number(2)), 5, 2),
            (Some(words("2")), 5, 2),
            (Some(words("40%")), 5, 2),
            (Some(words("60%")), 7, 4),
            (Some(words("0%")), 7, 0),
            (None, 7, 7),
            (Some(number(-1)), 5, 0),
            (Some(words("-1")), 5, 0),
        ] {
            let allowance = Allowance::of(&spec(value.clone()), total).unwrap();
            assert!(allowance.permits(most), "{value:?} of {total}");
            assert!(!allowance.permits(most + 1), "{value:?} of {total}");
            assert_eq!(allowance.rest(0), most, "{value:?} of {total}");
            assert_eq!(allowance.rest(most + 1), 0, "{value:?} of {total}");
        }
        for bad in ["abc", "%", "4 %", "1.5"] {
            let error = Allowance::of(&spec(Some(words(bad))), 5).unwrap_err();
            assert!(
                error.contains(bad) && error.contains("spec.maxUnhealthy"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_range_wins_over_the_greatest_number() {
        let mut ranged = spec(Some(number(1)));
        ranged.unhealthy_range = Some("[2-3]".into());
        let allowance = Allowance::of(&ranged, 10).unwrap();
        assert_eq!(
            [0, 1, 2, 3, 4].map(|n| allowance.permits(n)),
            [false, false, true, true, false]
        );
        assert_eq!([1, 2, 3, 4].map(|n| allowance.rest(n)), [0, 1, 0, 0]);
        assert!(
            allowance
                .refusal(10, 4)
                .ends_with("is not within unhealthyRange (total: 10, unhealthy: 4, unhealthyRange: [2-3])")
        );
        for bad in ["[3-2]", "[a-b]", "2-3", "[1]", "[99999999999999999999999-3]"] {
            ranged.unhealthy_range = Some(bad.into());
            assert!(Allowance::of(&ranged, 10).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_machines_in_flight_are_limited_even_if_nobody_says_so() {
        for (value, total, most) in [
            (None, 1, 3),
            (None, 10, 3),
            (None, 100, 20),
            (Some(number(1)), 100, 1),
            (Some(number(0)), 100, 0),
            (Some(number(-4)), 100, 0),
            (Some(words("10%")), 100, 10),
            (Some(words("10%")), 5, 1),
            (Some(words("7")), 5, 7),
        ] {
            let spec = MachineHealthCheckSpec {
                max_in_flight: value.clone(),
                ..MachineHealthCheckSpec::default()
            };
            assert_eq!(in_flight(&spec, total), Ok(most), "{value:?} of {total}");
        }
    }
}
