//! Rules of ConfigMap and Secret.

use super::super::BuiltinHooks;

pub(in super::super) struct ConfigMap;

impl BuiltinHooks for ConfigMap {}

pub(in super::super) struct Secret;

impl BuiltinHooks for Secret {}
