//! Local clusters: create them, delete them, get at them. It speaks to nobody but its [`Story`].
//!
//! | file | what it holds |
//! |---|---|
//! | [`request`] | what is asked for, and how two requests differ. Pure |
//! | [`objects`] | the objects of a cluster, from templates. Pure |
//! | [`groups`] | the objects of a group of machines, from templates. Pure |
//! | [`fleet`] | groups of machines: create them, wait for them |
//! | `progress` | how far a cluster is. Pure |
//! | [`running`] | the controllers in this process, while a command waits |
//! | [`create`](mod@create), [`delete`](mod@delete) | the two things one does with a cluster |
//! | [`pivot`] | lets a cluster manage itself, and takes it back |
//! | [`drain`] | empties the Node of a machine |
//! | [`images`] | images for nodes, that of this program among them |
//! | `addons` | network and storage of a new cluster, from its node image |
//! | [`access`] | kubeconfig entries |

pub mod access;
mod addons;
pub mod create;
pub mod delete;
pub mod drain;
mod error;
pub mod fleet;
pub mod groups;
pub mod images;
pub mod machine;
pub mod objects;
pub mod pivot;
mod progress;
pub mod request;
pub mod running;

use serde::{Deserialize, Serialize};

pub(crate) use self::progress::farewell;
pub use self::{addons::POD_SUBNET, error::ClusterError};
pub use crate::story::Story;

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
