//! `init`, `upgrade` and `uninstall`, and what the installed controllers may do.

mod documents;
mod lifecycle;
mod pods;
mod record;
pub(crate) mod rig;
mod rights;
