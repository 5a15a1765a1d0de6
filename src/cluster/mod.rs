//! Local clusters: create them, delete them, get at them. It speaks to nobody but its [`Story`].
//!
//! | file | what it holds |
//! |---|---|
//! | [`request`] | what is asked for, and how two requests differ. Pure |
//! | [`objects`] | the objects of a cluster, from templates. Pure |
//! | `progress` | how far a cluster is. Pure |
//! | [`running`] | the controllers in this process, while a command waits |
//! | [`create`](mod@create), [`delete`](mod@delete) | the two things one does with a cluster |
//! | `addons` | network and storage of a new cluster, from its node image |
//! | [`access`] | kubeconfig entries |

pub mod access;
mod addons;
pub mod create;
pub mod delete;
mod error;
pub mod machine;
pub mod objects;
mod progress;
pub mod request;
pub mod running;

use serde::{Deserialize, Serialize};

pub use self::{addons::POD_SUBNET, error::ClusterError};

/// Is told what happens, for people.
pub trait Story: Send + Sync {
    /// A step begins; the one before it is done.
    fn step(&self, name: &str);
    /// How far the step is.
    fn detail(&self, text: &str);
    /// Something may be wrong.
    fn warn(&self, text: &str);
}

/// Where machines come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Infrastructure {
    /// Containers on a Docker host.
    Docker,
    /// Nowhere: Node objects without hardware.
    Hollow,
}

impl Infrastructure {
    /// Returns the kind of its objects.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Docker => "DockerMachine",
            Self::Hollow => "HollowMachine",
        }
    }

    /// Returns the word for it on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Hollow => "hollow",
        }
    }
}
