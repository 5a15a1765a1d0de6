//! Answers of a kube-apiserver, recorded (tests/recordings), against those of the embedded server.

mod compare;
mod data;
mod exchange;
mod known;
mod normal;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use machinectl::{
    apiserver::{History, Options, Server},
    time::SystemClock,
};

use self::{
    compare::{Difference, difference},
    data::{Answer, Recording, Recordings, Sent},
    exchange::Exchange,
    normal::timeless_value,
};

/// An answer that is not the recorded one.
struct Found {
    recording: String,
    /// Number of the request; none for a watch.
    number: Option<usize>,
    request: String,
    difference: Difference,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_those_of_a_real_server() {
    let recordings = Arc::new(Recordings::load());
    let mut running = tokio::task::JoinSet::new();
    for index in 0..recordings.all.len() {
        let recordings = Arc::clone(&recordings);
        running.spawn(async move { replay(&recordings, &recordings.all[index]).await });
    }
    let mut found = Vec::new();
    while let Some(ended) = running.join_next().await {
        found.extend(ended.unwrap());
    }
    let found = known::without_known(found).unwrap();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for found in &found {
        *counts.entry(&found.difference.at).or_default() += 1;
    }
    for found in &found {
        println!(
            "{} {}: {}\n  at {}\n  expected {}\n  found    {}",
            found.recording,
            found.number.map_or_else(|| "watch".to_owned(), |n| n.to_string()),
            found.request,
            found.difference.at,
            found.difference.expected,
            found.difference.found
        );
    }
    assert!(found.is_empty(), "{} answers differ: {counts:?}", found.len());
}

/// Sends the requests of a recording to a server of its own.
async fn replay(recordings: &Recordings, recording: &Recording) -> Vec<Found> {
    // No controllers ran when the answers were recorded. The watches come at the end, however long the requests took.
    let options = Options {
        controllers: false,
        history: History {
            age: Duration::from_secs(3600),
            ..History::default()
        },
        ..Options::default()
    };
    let server = Server::in_memory_with(Arc::new(SystemClock), options);
    let mut exchange = Exchange::begin(server.client(), recording.seed, &recordings.definition).await;
    let mut found = Vec::new();
    let told = |number: Option<usize>, sent: String, difference: Difference| Found {
        recording: recording.name.clone(),
        number,
        request: sent,
        difference,
    };
    for (number, &(request, answer)) in recording.cases.iter().enumerate() {
        let sent = &recordings.requests[request];
        let given = exchange.replay(sent).await;
        if let Some(difference) = difference(&recordings.answers[answer], &given) {
            found.push(told(Some(number), words(sent), difference));
        }
    }
    for watched in &recording.watches {
        let (code, events) = exchange.watched(&watched.path).await;
        assert_eq!(code, watched.code);
        let expected = watched.events.iter().map(|&index| &recordings.events[index]);
        for (number, (expected, given)) in expected.zip(&events).enumerate() {
            let (a, b) = (
                serde_json::json!([expected.0, timeless_value(&expected.1)]),
                serde_json::json!([given.0, timeless_value(&given.1)]),
            );
            if let Some(difference) = difference(&Answer(200, a, Vec::new()), &Answer(200, b, Vec::new())) {
                found.push(told(
                    None,
                    format!("event {number} of {}", watched.path),
                    difference,
                ));
                break;
            }
        }
        if watched.events.len() != events.len() {
            let difference = Difference {
                at: "events".to_owned(),
                expected: watched.events.len().to_string(),
                found: events.len().to_string(),
            };
            found.push(told(None, watched.path.clone(), difference));
        }
    }
    found
}

fn words(sent: &Sent) -> String {
    let body = match &sent.body {
        data::Body::Nothing => String::new(),
        data::Body::Text(text) => text.clone(),
        data::Body::Object(object) => object.to_string(),
    };
    format!("{} {} {} {body}", sent.method, sent.path, sent.content)
}
