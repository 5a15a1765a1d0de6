//! Rules of Event in both groups.

use super::super::BuiltinHooks;

pub(in super::super) struct Event;

impl BuiltinHooks for Event {}

pub(in super::super) struct EventsEvent;

impl BuiltinHooks for EventsEvent {}
