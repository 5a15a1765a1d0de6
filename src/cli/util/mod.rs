//! `util`: writes the files that are generated from this program, or checks that they have not drifted; makes an image of it; tends
//! the state of the embedded API server.

mod docs;
mod image;
mod state;

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};

use super::{completion, context::App};
use crate::{
    api::registry,
    error::{CommandError, ErrorKind},
    yaml,
};

/// Write files that are generated from this program
#[derive(Debug, Subcommand)]
pub(crate) enum UtilCommand {
    /// Print the custom resource definitions, or write one file each
    Crds(GenerateArgs),
    /// Write the completion scripts
    Completions(GenerateArgs),
    /// Print the reference of all commands, or write it
    Docs(GenerateArgs),
    /// Write the manual pages
    Man(GenerateArgs),
    Image(image::ImageArgs),
    #[command(subcommand)]
    State(state::StateCommand),
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// Folder to write into; without it the result is printed
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Write nothing, and fail when the files in the folder differ; by default that of the same name as the command
    #[arg(long)]
    check: bool,
}

/// A file that is generated: its name and what stands in it.
type Generated = Vec<(String, Vec<u8>)>;

pub(crate) fn run(app: &App, command: UtilCommand) -> Result<(), CommandError> {
    let (name, files, args) = match command {
        UtilCommand::Crds(args) => ("crds", crds()?, args),
        UtilCommand::Completions(args) => ("completions", completion::files(), args),
        UtilCommand::Docs(args) => (
            "docs",
            vec![("cli.md".to_owned(), docs::markdown().into_bytes())],
            args,
        ),
        UtilCommand::Man(args) => ("man", man()?, args),
        UtilCommand::Image(args) => return image::run(app, args),
        UtilCommand::State(command) => return state::run(app, command),
    };
    let GenerateArgs { dir, check } = args;
    match (dir, check) {
        (dir, true) => compare(name, &dir.unwrap_or_else(|| PathBuf::from(name)), &files),
        (None, false) => print(app, &files),
        (Some(dir), false) => write(app, &dir, &files),
    }
}

fn print(app: &App, files: &Generated) -> Result<(), CommandError> {
    for (_, content) in files {
        app.bytes(content)?;
    }
    Ok(())
}

fn write(app: &App, dir: &Path, files: &Generated) -> Result<(), CommandError> {
    let failed = |path: &Path, source| {
        CommandError::new(ErrorKind::Failed, format!("can't write {}", path.display())).caused_by(source)
    };
    fs::create_dir_all(dir).map_err(|e| failed(dir, e))?;
    for (name, content) in files {
        let path = dir.join(name);
        fs::write(&path, content).map_err(|e| failed(&path, e))?;
        app.ui.say(&format!("wrote {}", path.display()));
    }
    Ok(())
}

fn compare(name: &str, dir: &Path, files: &Generated) -> Result<(), CommandError> {
    let differ: Vec<String> = files
        .iter()
        .map(|(file, content)| (dir.join(file), content))
        .filter(|(path, content)| fs::read(path).ok().as_ref() != Some(*content))
        .map(|(path, _)| path.display().to_string())
        .collect();
    if differ.is_empty() {
        return Ok(());
    }
    Err(CommandError::new(
        ErrorKind::Failed,
        format!(
            "these files are not what this program generates: {}",
            differ.join(", ")
        ),
    )
    .hinted(format!(
        "write them anew: machinectl util {name} --dir {}",
        dir.display()
    )))
}

fn crds() -> Result<Generated, CommandError> {
    registry::crds()
        .into_iter()
        .map(|crd| {
            let name = format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural);
            let text = yaml::to_string(&crd).map_err(|error| {
                CommandError::new(ErrorKind::Failed, format!("can't write {name}")).caused_by(error)
            })?;
            Ok((name, format!("---\n{text}").into_bytes()))
        })
        .collect()
}

fn man() -> Result<Generated, CommandError> {
    let mut files = Vec::new();
    pages(&super::command().bin_name("machinectl"), "machinectl", &mut files).map_err(|source| {
        CommandError::new(ErrorKind::Failed, "can't make the manual pages").caused_by(source)
    })?;
    Ok(files)
}

fn pages(command: &clap::Command, name: &str, files: &mut Generated) -> std::io::Result<()> {
    let title: &'static str = Box::leak(name.to_owned().into_boxed_str());
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone().name(title)).render(&mut page)?;
    files.push((format!("{name}.1"), page));
    for sub in command.get_subcommands().filter(|c| !c.is_hide_set()) {
        pages(sub, &format!("{name}-{}", sub.get_name()), files)?;
    }
    Ok(())
}
