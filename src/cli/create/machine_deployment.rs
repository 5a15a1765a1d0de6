//! `create machinedeployment`: equal machines that a change of their template is rolled through.

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::group::{self, GroupArgs};
use crate::{
    cli::context::App,
    cluster::groups::GroupKind,
    error::{CommandError, ErrorKind},
};

/// Make a deployment of equal machines and wait until they all run
///
/// A change of its template is rolled through the machines. They join the cluster of the context, or the one that is named. What is
/// left out is as with that cluster's other machines.
#[derive(Debug, Args)]
pub(crate) struct MachineDeploymentArgs {
    #[command(flatten)]
    group: GroupArgs,
    /// How a change reaches the machines
    #[arg(long, value_enum, ignore_case = true, value_name = "STRATEGY")]
    strategy: Option<Strategy>,
    /// How many machines may exist beyond the wanted number while a change is rolled out: a number or a percentage
    #[arg(long, value_name = "N", value_parser = amount)]
    max_surge: Option<Value>,
    /// How many machines may be unavailable while a change is rolled out: a number or a percentage
    #[arg(long, value_name = "N", value_parser = amount)]
    max_unavailable: Option<Value>,
}

/// How a change reaches the machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Strategy {
    /// New machines take the place of old ones step by step
    #[value(name = "RollingUpdate")]
    RollingUpdate,
    /// An old machine is replaced when somebody deletes it
    #[value(name = "OnDelete")]
    OnDelete,
}

/// Reads a number or a percentage.
pub(super) fn amount(text: &str) -> Result<Value, String> {
    if let Ok(number) = text.parse::<u32>()
        && let Ok(number) = i32::try_from(number)
    {
        return Ok(json!(number));
    }
    let percent = text.strip_suffix('%').and_then(|n| n.parse::<u32>().ok());
    match percent {
        Some(0..=100) => Ok(json!(text)),
        _ => Err("write a number or a percentage, for example 1 or 25%".to_owned()),
    }
}

/// Whether an amount is nothing.
fn is_zero(amount: &Value) -> bool {
    amount == 0 || amount.as_str().is_some_and(|a| a.trim_start_matches('0') == "%")
}

pub(crate) async fn run(app: &App, args: MachineDeploymentArgs) -> Result<(), CommandError> {
    let MachineDeploymentArgs {
        group,
        strategy,
        max_surge,
        max_unavailable,
    } = args;
    let on_delete = strategy == Some(Strategy::OnDelete);
    if on_delete && (max_surge.is_some() || max_unavailable.is_some()) {
        return Err(CommandError::new(
            ErrorKind::Usage,
            "with strategy OnDelete there is no roll-out that --max-surge and --max-unavailable could limit",
        ));
    }
    // Without the other one their defaults are 1 and 0.
    if max_surge.as_ref().is_some_and(is_zero) && max_unavailable.as_ref().is_none_or(is_zero) {
        return Err(CommandError::new(
            ErrorKind::Usage,
            "nothing can be rolled out while neither one machine more nor one less is allowed",
        )
        .hinted("give one of them room: --max-surge 1 or --max-unavailable 1"));
    }
    let mut fields = Map::new();
    let mut limits = Map::new();
    for (name, value) in [
        ("maxSurge", max_surge),
        ("maxUnavailable", max_unavailable),
        ("deletePolicy", group.delete_policy.map(|p| json!(p.word()))),
    ] {
        if let Some(value) = value {
            limits.insert(name.to_owned(), value);
        }
    }
    if strategy.is_some() || !limits.is_empty() {
        let mut how = json!({ "type": if on_delete { "OnDelete" } else { "RollingUpdate" } });
        if !limits.is_empty() {
            how["rollingUpdate"] = Value::Object(limits);
        }
        fields.insert("strategy".to_owned(), how);
    }
    group::make(app, GroupKind::Deployment, group, fields).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_numbers_or_percentages() {
        assert_eq!(amount("3"), Ok(json!(3)));
        assert_eq!(amount("25%"), Ok(json!("25%")));
        for wrong in ["", "-1", "101%", "%", "a", "1.5", "5000000000"] {
            assert!(amount(wrong).is_err(), "{wrong}");
        }
        assert!(is_zero(&json!(0)) && is_zero(&json!("0%")) && is_zero(&json!("00%")));
        assert!(!is_zero(&json!("10%")) && !is_zero(&json!(1)));
    }
}
