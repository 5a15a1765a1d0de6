//! Rules of Service.

use super::super::BuiltinHooks;

pub(in super::super) struct Service;

impl BuiltinHooks for Service {}
