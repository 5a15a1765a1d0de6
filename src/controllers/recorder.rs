//! Writes Events in the background; what happens again to an object is counted in the Event that tells of it. It decides nothing.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::{
        core::v1::ObjectReference,
        events::v1::{Event, EventSeries},
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::effect::Notice;
use crate::time::Timestamp;

/// After this time the same is told in an Event of its own (client-go: an Event series ends after 6 minutes).
const SERIES: Duration = Duration::from_secs(360);
/// How many Events are remembered at most.
const REMEMBERED: usize = 8192;
/// Longest text of an Event, in characters.
const NOTE: usize = 1000;

/// Writes the Events of one controller. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Recorder {
    client: Client,
    /// For example `machine-controller`.
    source: &'static str,
    /// Who this process is.
    instance: Arc<str>,
    told: Arc<Mutex<Told>>,
    number: Arc<AtomicU32>,
}

/// What tells Events apart: kind, namespace, name and UID of the object, reason.
type Key = (
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    String,
);

/// What was told of late.
#[derive(Default)]
struct Told {
    events: HashMap<Key, Series>,
    /// In the order in which they were told first. What has run out leaves at the front.
    order: VecDeque<(Key, Instant)>,
}

/// An Event that was written, and how often it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Series {
    event: String,
    count: i32,
}

impl Told {
    /// Takes down that something happened; returns the Event that has told of it already, and how often it happened now.
    fn again(&mut self, key: Key, event: &str, now: Instant) -> Option<Series> {
        while self
            .order
            .front()
            .is_some_and(|(_, at)| now.duration_since(*at) > SERIES || self.order.len() >= REMEMBERED)
        {
            if let Some((key, _)) = self.order.pop_front() {
                self.events.remove(&key);
            }
        }
        if let Some(series) = self.events.get_mut(&key) {
            series.count = series.count.saturating_add(1);
            return Some(series.clone());
        }
        let series = Series {
            event: event.to_owned(),
            count: 1,
        };
        self.events.insert(key.clone(), series);
        self.order.push_back((key, now));
        None
    }
}

impl Recorder {
    /// Makes a recorder for a controller.
    pub(crate) fn new(client: Client, source: &'static str, instance: &str) -> Self {
        Self {
            client,
            source,
            instance: instance.into(),
            told: Arc::default(),
            number: Arc::default(),
        }
    }

    /// Writes an Event about an object, in the background: nothing waits for it and nothing fails with it.
    pub(crate) fn tell(&self, about: ObjectReference, notice: &Notice, now: Timestamp) {
        let note: String = notice.message.chars().take(NOTE).collect();
        // No two Events bear one name, even of one moment.
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let name = format!(
            "{}.{:x}",
            about.name.as_deref().unwrap_or(self.source),
            now.as_nanosecond() + i128::from(number)
        );
        let key = (
            about.kind.clone(),
            about.namespace.clone(),
            about.name.clone(),
            about.uid.clone(),
            notice.reason.clone(),
        );
        let again =
            self.told
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .again(key, &name, Instant::now());
        let namespace = about.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let events: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let reason = notice.reason.clone();
        let written = match again {
            Some(series) => {
                let patch = json!({
                    "note": note,
                    "series": EventSeries { count: series.count, last_observed_time: MicroTime(now) },
                });
                Write::Again(series.event, patch)
            }
            None => Write::New(Box::new(self.event(name, about, notice, note, now))),
        };
        tokio::spawn(async move {
            let done = match written {
                Write::New(event) => events.create(&PostParams::default(), &event).await,
                Write::Again(name, patch) => {
                    events
                        .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
                        .await
                }
            };
            if let Err(error) = done {
                tracing::debug!(%error, %reason, "an Event could not be written");
            }
        });
    }

    fn event(
        &self,
        name: String,
        about: ObjectReference,
        notice: &Notice,
        note: String,
        now: Timestamp,
    ) -> Event {
        let kind = if notice.warning { "Warning" } else { "Normal" };
        Event {
            action: Some(notice.reason.clone()),
            reason: Some(notice.reason.clone()),
            event_time: Some(MicroTime(now)),
            note: Some(note),
            metadata: ObjectMeta {
                namespace: about.namespace.clone(),
                name: Some(name),
                ..ObjectMeta::default()
            },
            regarding: Some(about),
            reporting_controller: Some(self.source.to_owned()),
            reporting_instance: Some(self.instance.to_string()),
            type_: Some(kind.to_owned()),
            ..Event::default()
        }
    }
}

enum Write {
    New(Box<Event>),
    Again(String, serde_json::Value),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        (None, None, Some(name.to_owned()), None, "R".to_owned())
    }

    #[test]
    fn what_happens_again_is_counted_until_the_series_ends() {
        let (mut told, now) = (Told::default(), Instant::now());
        let counted = |count| {
            Some(Series {
                event: "first".to_owned(),
                count,
            })
        };
        assert_eq!(told.again(key("a"), "first", now), None);
        assert_eq!(told.again(key("a"), "second", now + SERIES), counted(2));
        assert_eq!(told.again(key("a"), "third", now + SERIES), counted(3));
        assert_eq!(told.again(key("b"), "other", now + SERIES), None);
        let later = now + SERIES + Duration::from_secs(1);
        assert_eq!(told.again(key("a"), "fourth", later), None);
        assert_eq!(told.again(key("b"), "fifth", later).unwrap().count, 2);
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let (mut told, now) = (Told::default(), Instant::now());
        for number in 0..2 * REMEMBERED {
            told.again(key(&number.to_string()), "x", now);
        }
        assert_eq!((told.events.len(), told.order.len()), (REMEMBERED, REMEMBERED));
    }
}
