//! Rules of Pod.

use super::super::BuiltinHooks;

pub(in super::super) struct Pod;

impl BuiltinHooks for Pod {}
