//! Rules of PodDisruptionBudget.

use super::super::BuiltinHooks;

pub(in super::super) struct PodDisruptionBudget;

impl BuiltinHooks for PodDisruptionBudget {}
