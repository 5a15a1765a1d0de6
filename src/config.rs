//! What the environment says: folders, the kubeconfig variable, colour. The only reader of environment variables of this program.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use crate::kubeconfig::Paths;

/// Variable that names the state folder.
pub const STATE_VARIABLE: &str = "MACHINECTL_STATE";

/// Node image that clusters are made of when nobody says otherwise, without its tag: the tag is the Kubernetes version.
pub const NODE_IMAGE: &str = "kindest/node";
/// Kubernetes version of the default node image.
pub const KUBERNETES_VERSION: &str = "v1.35.0";
/// Namespace of objects when nobody says otherwise.
pub const NAMESPACE: &str = "default";

/// Settings that hold for the whole process.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The user's home folder.
    pub home: Option<PathBuf>,
    /// `KUBECONFIG`.
    pub kubeconfig: Option<OsString>,
    /// Folder of everything that outlives a command.
    pub state: Option<PathBuf>,
    /// Whether this process runs as a pod.
    pub in_cluster: bool,
    /// Whether the user asked for no colour (`NO_COLOR`).
    pub no_colour: bool,
}

impl Settings {
    /// Reads the environment.
    pub fn from_environment() -> Self {
        let not_empty = |name: &str| env::var_os(name).filter(|v| !v.is_empty());
        let folders = directories::ProjectDirs::from("", "", "machinectl");
        Self {
            home: directories::BaseDirs::new().map(|b| b.home_dir().to_owned()),
            kubeconfig: not_empty("KUBECONFIG"),
            state: not_empty(STATE_VARIABLE)
                .map(PathBuf::from)
                .or_else(|| folders.map(|f| f.state_dir().unwrap_or_else(|| f.data_local_dir()).to_owned())),
            in_cluster: not_empty("KUBERNETES_SERVICE_HOST").is_some(),
            no_colour: not_empty("NO_COLOR").is_some(),
        }
    }

    /// Returns the kubeconfig files.
    pub fn kubeconfig_paths(&self, flag: Option<&Path>) -> Paths {
        Paths::choose(flag, self.kubeconfig.as_deref(), self.home.as_deref())
    }

    /// Returns the state folder of the embedded API server.
    pub fn embedded_state(&self) -> Option<PathBuf> {
        self.state.as_ref().map(|s| s.join("embedded"))
    }
}

/// Returns the default node image of a Kubernetes version.
pub fn node_image(version: Option<&str>) -> String {
    let version = version.unwrap_or(KUBERNETES_VERSION);
    format!("{NODE_IMAGE}:v{}", version.trim_start_matches('v'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_follows_the_version() {
        assert_eq!(node_image(Some("1.30.2")), "kindest/node:v1.30.2");
        assert_eq!(node_image(Some("v1.30.2")), "kindest/node:v1.30.2");
        assert_eq!(node_image(None), format!("kindest/node:{KUBERNETES_VERSION}"));
    }
}
