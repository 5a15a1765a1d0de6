//! `version`: says which program this is. It talks to nobody.

use clap::Args;
use serde_json::json;

use super::{
    context::App,
    output::{self, Output},
};
use crate::{
    api::{INFRASTRUCTURE_GROUP, MACHINE_GROUP, VERSION},
    error::{CommandError, ErrorKind},
};

/// Print the version of this program
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct VersionArgs {
    /// How to print
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
}

pub(crate) fn run(app: &App, args: VersionArgs) -> Result<(), CommandError> {
    let VersionArgs { output } = args;
    let version = concat!("v", env!("CARGO_PKG_VERSION"));
    match output {
        Output::Table | Output::Name => app.data(&format!("machinectl {version}")),
        Output::Wide => app.data(&format!(
            "machinectl {version}\n{MACHINE_GROUP}/{VERSION}\n{INFRASTRUCTURE_GROUP}/{VERSION}"
        )),
        Output::Json | Output::Yaml => {
            let value = json!({
                "version": version,
                "os": std::env::consts::OS,
                "arch": std::env::consts::ARCH,
                "apiVersions": [format!("{MACHINE_GROUP}/{VERSION}"), format!("{INFRASTRUCTURE_GROUP}/{VERSION}")],
            });
            app.data(&output::document(&value, output)?)
        }
    }
}

/// Reads a Kubernetes version that a user wrote, with or without a leading v.
pub(crate) fn wanted(text: &str) -> Result<String, CommandError> {
    let bare = text.trim_start_matches('v');
    match semver::Version::parse(bare) {
        Ok(version) => Ok(format!("v{version}")),
        Err(source) => Err(CommandError::new(
            ErrorKind::Usage,
            format!("\"{text}\" is no Kubernetes version"),
        )
        .caused_by(source)
        .hinted(format!("write it like {}", crate::config::KUBERNETES_VERSION))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_written_with_a_v() {
        assert_eq!(wanted("1.33.1").unwrap(), "v1.33.1");
        assert_eq!(wanted("v1.33.1-rc.0").unwrap(), "v1.33.1-rc.0");
        assert_eq!(wanted("1.33").unwrap_err().kind, ErrorKind::Usage);
    }
}
