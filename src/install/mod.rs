//! What a management cluster needs before it can hold machines: definitions, rights, controllers, and an inventory of all that.
//!
//! | file | what it does |
//! |---|---|
//! | `definitions` | custom resource definitions: apply, wait until they are served |
//! | `objects` | everything else, as it is applied. Pure |
//! | `rbac` | what the controllers may do, and why. Pure |
//! | [`image`] | the image of this program, names and archives of images. Pure |
//! | `inventory` | what is installed, kept as a `ConfigMap`. Pure |
//! | `checks` | what has to hold before anything changes |
//! | `apply` | server-side apply in dependency order |
//! | `available` | waits for the controllers |
//! | `upgrade`, `storage` | from one version to another; objects in versions that are given up |
//! | `uninstall` | takes everything away again |

mod apply;
mod available;
mod checks;
mod definitions;
pub mod image;
mod inventory;
mod objects;
pub mod rbac;
mod storage;
pub mod uninstall;
pub mod upgrade;

pub use self::{
    apply::{Applied, Options, install},
    available::wait_available,
    checks::{Problem, inventory_of},
    definitions::{definitions, is_installed},
    inventory::{Inventory, State},
    objects::{IMAGE, Provider, Request, Scope, everything},
};

/// Field manager of everything that is installed.
pub const FIELD_MANAGER: &str = "machinectl-install";
/// Namespace of everything that is installed and has one.
pub const NAMESPACE: &str = crate::controllers::lease::NAMESPACE;
/// Name of the Deployment, and of what belongs to it.
pub const NAME: &str = "machinectl-controller";
/// Name of the inventory.
pub const INVENTORY: &str = "machinectl-inventory";
/// Version of this program as inventories and images write it.
pub const VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"));
/// Oldest minor version of Kubernetes 1 that can hold machines: it is the first with all that the definitions use.
pub const OLDEST_MINOR: u32 = 20;

/// Annotation: digest of what was installed, so that a second run has nothing to do.
const DIGEST: &str = "machinectl.crit.sh/digest";

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was not there.
    Created,
    /// It was there in another form.
    Updated,
    /// It was there.
    Unchanged,
}

impl Change {
    /// Returns the word that kubectl uses for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "configured",
            Self::Unchanged => "unchanged",
        }
    }
}

/// Why it is not installed, or not taken away.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The API server does not say which version it is.
    #[error("can't ask the API server for its version")]
    Version(#[source] Box<kube::Error>),
    /// The API server refuses a definition, or can't be reached.
    #[error("can't install the definition {name}")]
    Apply {
        /// The definition.
        name: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server refuses a request, or can't be reached.
    #[error("{what}")]
    Api {
        /// What could not be done.
        what: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server does not serve one in time.
    #[error("the API server took the definition {name} but did not serve it within 30 s: {reason}")]
    NotEstablished {
        /// The definition.
        name: String,
        /// What its conditions say.
        reason: String,
    },
    /// Something does not hold that has to; nothing was changed.
    #[error("{} and nothing was changed:\n{}", summary(.0), listed(.0))]
    Checks(Vec<Problem>),
    /// The controllers are not up in time.
    #[error("the controllers are installed but were not available in time: {0}")]
    NotAvailable(String),
    /// Machines would be left without anybody who looks after them.
    #[error("nobody would look after {0} any more, and nothing was changed")]
    Machines(String),
    /// Somebody else runs the controllers.
    #[error("{0} still runs the controllers; what is half done can be taken up again")]
    Held(String),
    /// It is still there.
    #[error("{0} is still there")]
    NotGone(String),
}

impl InstallError {
    /// Makes an error of an answer of the API server. `what` says what could not be done.
    fn refused(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |source| Self::Api {
            what,
            source: Box::new(source),
        }
    }
}

fn summary(problems: &[Problem]) -> String {
    match problems.len() {
        1 => "one check failed".to_owned(),
        n => format!("{n} checks failed"),
    }
}

fn listed(problems: &[Problem]) -> String {
    let lines: Vec<_> = problems.iter().map(|p| format!("  - {}", p.message)).collect();
    lines.join("\n")
}

/// Writes bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String can't fail.
        let _infallible = write!(hex, "{byte:02x}");
        hex
    })
}
