//! Moving clusters from one management cluster to another, or into a directory and back.
//!
//! | file | what it answers |
//! |---|---|
//! | [`kinds`] | which kinds move |
//! | [`object`] | an object as it is carried: text, not a tree |
//! | [`collect`] | which objects of those kinds there are |
//! | [`directory`] | objects as files: a backup, and the way back |
//! | [`graph`] | which of them move, in which order, which stay and why. Pure |
//! | `survey` | the two together: what there is to move |
//! | `check` | what stands in the way |
//! | [`journal`] | how far a move is, kept in both clusters; what to do about a journal that is found. Decision pure |
//! | `fencing` | keeps the controllers of both clusters away |
//! | `party` | one of the two clusters: its fence, its journal, undoing |
//! | `copy` | what is left to do until an object stands in the target as in the source. Pure |
//! | `write` | does it |
//! | `emptying`, `remove` | take objects out again, each as it was compared (`print`) or with what came since |
//! | `verify` | compares both places |
//! | [`sequence`] | all of it in order: until it is committed it can be undone, then it only goes forward |
//! | [`report`] | what it came to |

pub mod backup;
mod check;
pub mod collect;
mod copy;
pub mod directory;
mod emptying;
mod error;
mod facts;
mod fencing;
#[cfg(test)]
mod fixtures;
pub mod graph;
pub mod journal;
pub mod kinds;
pub mod object;
mod party;
mod print;
mod references;
mod remove;
pub mod report;
pub mod sequence;
mod site;
mod strays;
mod survey;
mod tasks;
mod verify;
mod write;

pub use self::{
    error::{MoveError, Problem},
    site::Site,
    write::Stop,
};

/// Requests that are under way at once in each cluster: far fewer than a kube-apiserver bears with from all its clients together
/// (`--max-mutating-requests-inflight`, 200).
const AT_ONCE: usize = 64;
