//! `util image`: puts this program into an image that needs no registry.

use std::{
    fs,
    io::IsTerminal as _,
    path::{Path, PathBuf},
};

use clap::Args;

use crate::{
    cli::context::App,
    error::{CommandError, ErrorKind},
    install::{
        self,
        image::{self, ImageError, Packing, reference::Reference},
    },
};

/// Write an image of this program, for `machinectl load image`, `docker load` or a registry
///
/// The image holds the program and nothing else. So the program has to bring all that it needs along: on Linux, `cargo build
/// --release` makes one that does, where a static C library is installed. The same program gives the same bytes.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    /// What the image is called
    #[arg(long, value_name = "NAME[:TAG]", default_value = install::IMAGE)]
    name: String,
    /// The program; this one unless another is named
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// File to write; - is standard output
    #[arg(short, long, value_name = "FILE", default_value = "machinectl-image.tar")]
    output: PathBuf,
    /// Replace the file even if it is no image
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(app: &App, args: ImageArgs) -> Result<(), CommandError> {
    let ImageArgs {
        name,
        program,
        output,
        force,
    } = args;
    let name = named(&name)?;
    let to_stdout = output.as_os_str() == "-";
    if to_stdout && std::io::stdout().is_terminal() {
        return Err(
            CommandError::new(ErrorKind::Usage, "an image is not for a terminal to show")
                .hinted("write it to a file: machinectl util image --output FILE")
                .hinted("or give it to a program: machinectl util image --output - | docker load"),
        );
    }
    let (program, content) = match program {
        None => own_program()?,
        Some(file) => match fs::read(&file) {
            Ok(content) => (file, content),
            Err(source) => {
                let message = format!("can't read {}", file.display());
                return Err(CommandError::new(ErrorKind::Usage, message).caused_by(source));
            }
        },
    };
    let made = image::image(&content, &name, Packing::Gzip).map_err(|error| refused(&program, error))?;
    if to_stdout {
        return app.bytes(&made.archive);
    }
    write(&output, &made.archive, force)?;
    let shown = output.display();
    app.ui.say(&format!("wrote {name} ({}) to {shown}", made.id));
    app.ui.say(&format!(
        "to put it into the nodes of a cluster: machinectl load image {shown} --cluster NAME"
    ));
    Ok(())
}

/// Reads the name of an image that is to be made.
fn named(text: &str) -> Result<Reference, CommandError> {
    let wrong = |why: String| {
        CommandError::new(
            ErrorKind::Usage,
            format!("\"{text}\" can't be the name of an image"),
        )
        .caused_by(why)
        .hinted(format!("for example: --name {}", install::IMAGE))
    };
    let name: Reference = text.parse().map_err(|e| wrong(format!("{e}")))?;
    match name.digest() {
        Some(_) => Err(wrong("an image that is not made yet has no digest".to_owned())),
        None => Ok(name),
    }
}

/// The file of this program, and its content.
fn own_program() -> Result<(PathBuf, Vec<u8>), CommandError> {
    crate::cluster::images::own_program().map_err(|source| {
        CommandError::new(ErrorKind::Failed, "can't read the file of this program")
            .caused_by(source)
            .hinted("name it: machinectl util image --program FILE")
    })
}

/// Writes a file beside its place first: what is there under its name is whole.
fn write(output: &Path, archive: &[u8], force: bool) -> Result<(), CommandError> {
    let failed = |source: std::io::Error| {
        CommandError::new(ErrorKind::Failed, format!("can't write {}", output.display())).caused_by(source)
    };
    if !force && fs::File::open(output).is_ok_and(|there| image::archive::list(there).is_err()) {
        return Err(CommandError::new(
            ErrorKind::Conflict,
            format!("{} exists and is no image", output.display()),
        )
        .hinted("replace it: --force")
        .hinted("or write another file: --output FILE"));
    }
    let Some(file) = output.file_name() else {
        return Err(failed(std::io::ErrorKind::IsADirectory.into()));
    };
    let mut beside = file.to_owned();
    beside.push(format!(".{}.part", std::process::id()));
    let beside = output.with_file_name(beside);
    fs::write(&beside, archive)
        .and_then(|()| fs::rename(&beside, output))
        .map_err(|source| {
            // It may not have been made at all.
            fs::remove_file(&beside).ok();
            failed(source)
        })
}

fn refused(program: &Path, error: ImageError) -> CommandError {
    let hint = match error {
        ImageError::Dynamic => Some(image::HOW_TO_BUILD),
        ImageError::NotElf => Some("name a program for Linux: machinectl util image --program FILE"),
        ImageError::Machine(_) | ImageError::Cut | ImageError::Archive(_) => None,
    };
    let error = CommandError::new(
        ErrorKind::Usage,
        format!("{} can't be put into an image", program.display()),
    )
    .caused_by(error);
    match hint {
        Some(hint) => error.hinted(hint),
        None => error,
    }
}
