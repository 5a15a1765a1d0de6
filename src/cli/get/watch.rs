//! `get -w`: shows changes as they come. It changes nothing.

use futures::StreamExt;
use kube::core::WatchEvent;
use serde_json::Value;

use super::{Get, Request};
use crate::{
    cli::{
        error::of_api,
        output::{self, Output, name_of},
    },
    client::kinds::Kind,
    error::CommandError,
};

impl Get<'_> {
    /// Shows changes until interrupted.
    pub(super) async fn watch(&self, request: &Request) -> Result<(), CommandError> {
        let kind = &request.kind;
        let failed = |e| of_api(format!("can't watch {}", kind.full_name()), e);
        let mut more = vec![("watch", "1")];
        let field = request.names.first().map(|n| format!("metadata.name={n}"));
        if let Some(field) = &field {
            more.push(("fieldSelector", field));
        }
        let mut header = true;
        // Without a resourceVersion a watch begins with what there is; when the server ends it, it begins anew.
        loop {
            let address = self.address(kind, None, &more);
            let events = self
                .client
                .request_events::<Value>(self.request(&address).map_err(failed)?)
                .await
                .map_err(failed)?;
            let mut events = std::pin::pin!(events);
            while let Some(event) = events.next().await {
                let object = match event.map_err(failed)? {
                    WatchEvent::Added(o) | WatchEvent::Modified(o) | WatchEvent::Deleted(o) => o,
                    WatchEvent::Bookmark(_) => continue,
                    WatchEvent::Error(status) => return Err(failed(kube::Error::Api(status))),
                };
                self.show_event(&object, kind, header)?;
                header = false;
            }
        }
    }

    fn show_event(&self, object: &Value, kind: &Kind, header: bool) -> Result<(), CommandError> {
        match self.args.output {
            Output::Table | Output::Wide => {
                self.app
                    .data(&output::table(object, kind, self.columns(kind), header))
            }
            Output::Name => self.app.data(&name_of(object)),
            Output::Json => self.app.data(&output::document(object, Output::Json)?),
            Output::Yaml => self
                .app
                .data(&format!("---\n{}", output::document(object, Output::Yaml)?)),
        }
    }
}
