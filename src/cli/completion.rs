//! `completion`: prints the completion script of a shell. It talks to nobody.

use clap::{Args, ValueEnum};
use clap_complete::Shell;

use super::context::App;
use crate::error::CommandError;

/// Print the completion script of a shell
///
/// For bash: machinectl completion bash > ~/.local/share/bash-completion/completions/machinectl
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct CompletionArgs {
    /// Shell
    #[arg(value_enum)]
    shell: Shell,
}

/// The shells that have a script, and the file in `completions/` that holds it.
pub(crate) fn files() -> Vec<(String, Vec<u8>)> {
    Shell::value_variants()
        .iter()
        .map(|shell| {
            (
                clap_complete::Generator::file_name(shell, "machinectl"),
                script(*shell),
            )
        })
        .collect()
}

pub(crate) fn run(app: &App, args: CompletionArgs) -> Result<(), CommandError> {
    let CompletionArgs { shell } = args;
    app.bytes(&script(shell))
}

fn script(shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut super::command(), "machinectl", &mut text);
    text
}
