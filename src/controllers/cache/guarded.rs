//! Objects of a watch that may not be readable: one of them must not end the watch.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Resource,
    runtime::watcher::{self, Event},
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

/// An object of a watch, or why it can't be read: one that can't must not end the watch.
#[derive(Debug, Clone)]
pub(crate) struct Guarded<K>(Result<K, Box<Unreadable>>);

/// What is known of an object that can't be read.
#[derive(Debug, Clone)]
struct Unreadable {
    meta: ObjectMeta,
    error: String,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut value = Value::deserialize(from)?;
        if let Some(meta) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            // Half of the text, and nobody here reads it.
            meta.remove("managedFields");
        }
        Ok(Self(K::deserialize(&value).map_err(|error| {
            let meta = value.get("metadata").map(ObjectMeta::deserialize);
            Box::new(Unreadable {
                meta: meta.and_then(Result::ok).unwrap_or_default(),
                error: error.to_string(),
            })
        })))
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dt: &K::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &K::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &K::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &K::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        match &self.0 {
            Ok(object) => object.meta(),
            Err(unreadable) => &unreadable.meta,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Ok(object) => object.meta_mut(),
            Err(unreadable) => &mut unreadable.meta,
        }
    }
}

/// Drops objects that can't be read from a guarded watch; says so in the log.
pub(crate) fn readable<K: Resource<DynamicType = ()>>(
    event: Result<Event<Guarded<K>>, watcher::Error>,
) -> Option<Result<Event<K>, watcher::Error>> {
    let read = |guarded: Guarded<K>| match guarded.0 {
        Ok(object) => Some(object),
        Err(unreadable) => {
            tracing::warn!(
                kind = %K::kind(&()),
                namespace = unreadable.meta.namespace.as_deref().unwrap_or_default(),
                name = unreadable.meta.name.as_deref().unwrap_or_default(),
                error = %unreadable.error,
                "an object can't be read and is left alone until it changes"
            );
            None
        }
    };
    match event {
        Ok(Event::Apply(object)) => read(object).map(|o| Ok(Event::Apply(o))),
        Ok(Event::Delete(object)) => read(object).map(|o| Ok(Event::Delete(o))),
        Ok(Event::Init) => Some(Ok(Event::Init)),
        Ok(Event::InitApply(object)) => read(object).map(|o| Ok(Event::InitApply(o))),
        Ok(Event::InitDone) => Some(Ok(Event::InitDone)),
        Err(error) => Some(Err(error)),
    }
}
