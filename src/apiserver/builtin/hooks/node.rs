//! Rules of Node.

use super::super::BuiltinHooks;

pub(in super::super) struct Node;

impl BuiltinHooks for Node {}
