//! Rules of roles and bindings.

use super::super::BuiltinHooks;

pub(in super::super) struct Role;

impl BuiltinHooks for Role {}

pub(in super::super) struct RoleBinding;

impl BuiltinHooks for RoleBinding {}
