//! kubeadm's documents: reading a user's, merging them with what has to be so, and writing them in the API version that
//! the Kubernetes version wants. It must not know crit; `translate` does.
//!
//! Inside this folder a document has the form of `v1beta4`, the newest: `extraArgs` are lists, time limits stand in
//! `timeouts`. Older ones are raised to it when they are read and lowered when they are written.

mod convert;
mod documents;
mod generate;
mod version;

pub use documents::Documents;
pub(crate) use documents::{remove_arg, set_arg};
pub(crate) use generate::{CA_CERT, node_settings};
pub use generate::{DISCOVERY, Generated, generate};
pub use version::{ApiVersion, KubernetesVersion};

#[cfg(test)]
mod tests;
