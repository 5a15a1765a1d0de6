//! Rules of kinds that need few.

use super::super::BuiltinHooks;

pub(in super::super) struct Claim;

impl BuiltinHooks for Claim {}

pub(in super::super) struct Volume;

impl BuiltinHooks for Volume {}

pub(in super::super) struct StorageClass;

impl BuiltinHooks for StorageClass {}

pub(in super::super) struct SigningRequest;

impl BuiltinHooks for SigningRequest {}
