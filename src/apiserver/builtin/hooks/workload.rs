//! Rules of the workload kinds.

use super::super::BuiltinHooks;

pub(in super::super) struct Deployment;

impl BuiltinHooks for Deployment {}

pub(in super::super) struct DaemonSet;

impl BuiltinHooks for DaemonSet {}

pub(in super::super) struct ReplicaSet;

impl BuiltinHooks for ReplicaSet {}

pub(in super::super) struct StatefulSet;

impl BuiltinHooks for StatefulSet {}
