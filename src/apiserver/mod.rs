//! The embedded Kubernetes API server. It knows nothing of machines.
