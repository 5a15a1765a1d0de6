//! Rules of Namespace.

use super::super::BuiltinHooks;

pub(in super::super) struct Namespace;

impl BuiltinHooks for Namespace {}
