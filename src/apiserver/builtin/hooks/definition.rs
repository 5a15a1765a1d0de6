//! Rules of CustomResourceDefinition as an object; what it means is in `crd`.

use super::super::BuiltinHooks;

pub(in super::super) struct CustomResourceDefinition;

impl BuiltinHooks for CustomResourceDefinition {}
