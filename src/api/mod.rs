//! What an object is: kinds, conditions, names. No I/O, no async, no client.
//!
//! | file | what it holds |
//! |---|---|
//! | `v1alpha1/` | the kinds, one file each |
//! | [`conditions`] | condition types and reasons; set, find and compare them |
//! | [`names`] | validated names and the names that are derived from others |
//! | [`labels`] | labels, annotations and finalizers |
//! | [`duration`] | Go-style durations (`1m30s`) |
//! | [`registry`] | every kind in one table: CRD, group, plural |

pub mod conditions;
pub mod duration;
pub mod labels;
pub mod names;
pub mod registry;
mod schema;
pub mod selector;
pub mod v1alpha1;

/// Group of the kinds that describe clusters and machines.
pub const MACHINE_GROUP: &str = "machine.crit.sh";
/// Group of the kinds that describe where machines come from.
pub const INFRASTRUCTURE_GROUP: &str = "infrastructure.crit.sh";
/// The version of both groups.
pub const VERSION: &str = "v1alpha1";
