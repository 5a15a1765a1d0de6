//! Rules of Lease.

use super::super::BuiltinHooks;

pub(in super::super) struct Lease;

impl BuiltinHooks for Lease {}
