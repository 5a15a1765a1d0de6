//! The embedded Kubernetes API server. It knows nothing of machines.

pub mod auth;
pub mod tls;
