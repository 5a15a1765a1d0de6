//! A cluster that takes part in a move: how it is asked, and how often it was.

use std::{sync::atomic::Ordering, time::Duration};

use http::Method;
use kube::Client;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    MoveError,
    journal::{self, Book, Found, Place},
    kinds::MovedKind,
    object::Object,
};
use crate::client::{Count, Direct, Patience, patient};

/// How long a cluster is asked for its first answer.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// A cluster that takes part in a move.
#[derive(Clone)]
pub struct Site {
    pub(super) client: Client,
    pub(super) place: Place,
    pub(super) book: Book,
    direct: Direct,
    count: Count,
}

/// Answers without what an object is made of, from servers that know such a form.
const SHORT: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
/// The same where many are deleted: a kube-apiserver refuses the other form then (406).
const SHORT_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// How a body is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// The object, or options of a deletion.
    Whole,
    /// What changes.
    Merge,
    /// What the sender owns.
    Apply,
}

impl Site {
    /// Takes in a cluster that the user knows as `context`. From here on requests are repeated and counted.
    ///
    /// # Errors
    /// Fails when the cluster does not say which it is.
    pub async fn new(client: &Client, context: &str, patience: Patience) -> Result<Self, MoveError> {
        let count = Count::default();
        let inner = client;
        let client = patient(inner, patience, Count::clone(&count));
        // Whoever does not answer at all is perhaps the wrong one: that is told soon.
        let soon = Patience {
            total: patience.total.min(FIRST_ANSWER),
            ..patience
        };
        let first = patient(inner, soon, Count::clone(&count));
        let cluster = journal::identity(&first)
            .await
            .map_err(|e| MoveError::api(format!("can't ask context \"{context}\" which cluster it is"), e))?;
        Ok(Self {
            book: Book::new(&client),
            direct: Direct::new(inner, patience, Count::clone(&count)),
            client,
            place: Place {
                context: context.to_owned(),
                cluster,
                found: None,
            },
            count,
        })
    }

    /// Remembers the kubeconfig file that its context stands in, for whoever has to type the command again.
    #[must_use]
    pub fn of_file(mut self, file: Option<&std::path::Path>) -> Self {
        self.place.found = file.map(|f| Found::Kubeconfig(f.display().to_string()));
        self
    }

    /// Name under which the user knows it.
    pub fn context(&self) -> &str {
        &self.place.context
    }

    /// How many requests it was sent.
    pub fn requests(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Reads an object, if it is there.
    pub(super) async fn read(&self, kind: &MovedKind, object: &Object) -> Result<Option<Value>, kube::Error> {
        match self
            .send(Method::GET, &address(kind, object), Sent::Whole, None)
            .await
        {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            other => other.map(Some),
        }
    }

    /// Sends a request and reads the answer.
    pub(super) async fn send(
        &self,
        method: Method,
        address: &str,
        sent: Sent,
        body: Option<&Value>,
    ) -> Result<Value, kube::Error> {
        let request = request(method, address, sent, body, "application/json")?;
        let answer = self.direct.ask(request).await?;
        serde_json::from_slice(&answer).map_err(kube::Error::SerdeError)
    }

    /// Sends a request the answer to which says nothing new, unless it is an error.
    pub(super) async fn tell(
        &self,
        method: Method,
        address: &str,
        sent: Sent,
        body: &Value,
    ) -> Result<(), kube::Error> {
        let of_many = method == Method::DELETE && address.contains("labelSelector=");
        let accept = if of_many { SHORT_LIST } else { SHORT };
        let request = request(method, address, sent, Some(body), accept)?;
        self.direct.ask(request).await.map(|_| ())
    }

    /// Changes an object; returns the resource version that it has then.
    pub(super) async fn patch(&self, address: &str, patch: &Value) -> Result<String, kube::Error> {
        let request = request(Method::PATCH, address, Sent::Merge, Some(patch), SHORT)?;
        let answer = self.direct.ask(request).await?;
        let changed: Changed = serde_json::from_slice(&answer).map_err(kube::Error::SerdeError)?;
        Ok(changed.metadata.resource_version)
    }

    /// Asks whether something may be done there. Reviews that can't be made count as a yes: the request itself will tell.
    pub(super) async fn allows(&self, what: &Action<'_>) -> bool {
        let Action {
            verb,
            group,
            resource,
            subresource,
            namespace,
        } = what;
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": {
                "verb": verb, "group": group, "resource": resource,
                "subresource": subresource, "namespace": namespace.unwrap_or_default(),
            } },
        });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let answer = self.send(Method::POST, path, Sent::Whole, Some(&review)).await;
        answer.map_or(true, |a| a["status"]["allowed"] != false)
    }
}

/// What of a changed object is read.
#[derive(Deserialize)]
struct Changed {
    metadata: ChangedMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChangedMeta {
    resource_version: String,
}

/// Something that may be allowed or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Action<'a> {
    pub(super) verb: &'a str,
    pub(super) group: &'a str,
    pub(super) resource: &'a str,
    pub(super) subresource: &'a str,
    pub(super) namespace: Option<&'a str>,
}

fn request(
    method: Method,
    address: &str,
    sent: Sent,
    body: Option<&Value>,
    accept: &str,
) -> Result<http::Request<Vec<u8>>, kube::Error> {
    let content = match sent {
        Sent::Whole => "application/json",
        Sent::Merge => "application/merge-patch+json",
        Sent::Apply => "application/apply-patch+yaml",
    };
    http::Request::builder()
        .method(method)
        .uri(address)
        .header(http::header::CONTENT_TYPE, content)
        .header(http::header::ACCEPT, accept)
        .body(body.map(|b| b.to_string().into_bytes()).unwrap_or_default())
        .map_err(kube::Error::HttpError)
}

/// Where an object is.
pub(super) fn address(kind: &MovedKind, object: &Object) -> String {
    kind.path(object.namespace.as_deref(), Some(&object.name))
}

/// A text as it stands in an address.
pub(super) fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut all, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            all.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            let _infallible = write!(all, "%{byte:02X}");
        }
        all
    })
}
