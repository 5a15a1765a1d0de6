//! Groups of flags that several commands share. They hold what was typed and decide nothing.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use crate::api::duration::{Duration as GoDuration, InvalidDuration};

/// Flags of every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Context of the kubeconfig to use
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "embedded")]
    pub(crate) context: Option<String>,
    /// Kubeconfig file to use in place of $KUBECONFIG and ~/.kube/config
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Use the API server in this program, whatever the kubeconfig says
    #[arg(long, global = true)]
    pub(crate) embedded: bool,
    /// Namespace of the objects
    #[arg(short, long, global = true, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Say more: log on standard error (can be repeated)
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub(crate) verbose: u8,
    /// Say nothing but errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

/// What `--dry-run` leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DryRun {
    /// Ask no server; print what would be sent
    Client,
    /// Let the server check it and keep nothing
    Server,
}

/// `--dry-run`.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct DryRunArgs {
    /// Change nothing: `client` prints what would be sent, `server` lets the API server check it
    #[arg(
        long,
        value_enum,
        value_name = "WHERE",
        num_args = 0..=1,
        default_missing_value = "client",
        require_equals = true,
        hide_possible_values = true
    )]
    pub(crate) dry_run: Option<DryRun>,
}

/// `--wait` and `--timeout`.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct WaitArgs {
    /// Wait until it is done
    #[arg(
        long,
        default_value_t = true,
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        default_missing_value = "true",
        require_equals = true,
        value_name = "BOOL",
        hide_possible_values = true
    )]
    pub(crate) wait: bool,
    /// Give up waiting after this time, for example 90s; 0: never
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    pub(crate) timeout: Duration,
}

/// A year is longer than anybody waits, and short enough to be added to any moment.
const FOR_EVER: Duration = Duration::from_secs(365 * 86_400);

/// Reads a Go-style duration; 0 has no end.
pub(crate) fn duration(text: &str) -> Result<Duration, InvalidDuration> {
    let duration = Duration::from(text.parse::<GoDuration>()?);
    Ok(if duration.is_zero() { FOR_EVER } else { duration })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go_and_zero_has_no_end() {
        assert_eq!(duration("1m30s").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("0").unwrap(), FOR_EVER);
        assert!(duration("ten").is_err());
        assert!(duration("-1s").is_err());
    }
}
