//! The front door: what happens to every request, whatever it is about. Limits, compression, its number in the metrics and its lines
//! in the audit log. It must not know what requests mean beyond their [`RequestInfo`](super::request::RequestInfo).
//!
//! | file | what it holds |
//! |---|---|
//! | `limits` | how many requests there may be at a time |
//! | `pace` | connections that end when their client does not keep up |
//! | `portions` | large answers that are not kept for clients that take nothing |
//! | `gzip` | answers in fewer bytes |
//! | `visit` | one request from its arrival to the end of its answer |

pub(crate) mod gzip;
pub(crate) mod limits;
pub(crate) mod pace;
pub(crate) mod portions;
pub(crate) mod visit;

use std::net::IpAddr;

/// Where a request comes from; those of the client inside the process have none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Marks an answer that lasts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LongRunning;
