//! The embedded Kubernetes API server. It knows nothing of machines.

pub mod auth;
pub mod builtin;
pub(crate) mod crd;
pub mod discovery;
pub(crate) mod jsonpath;
pub mod object;
pub mod schema;
pub mod ssa;
pub mod tls;
