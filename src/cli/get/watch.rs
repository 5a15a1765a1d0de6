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
        let (mut header, mut columns) = (true, Value::Null);
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
                let mut object = match event.map_err(failed)? {
                    WatchEvent::Added(o) | WatchEvent::Modified(o) | WatchEvent::Deleted(o) => o,
                    WatchEvent::Bookmark(_) => continue,
                    WatchEvent::Error(status) => return Err(failed(kube::Error::Api(status))),
                };
                keep_columns(&mut object, &mut columns);
                self.show_event(object, kind, header)?;
                header = false;
            }
        }
    }

    fn show_event(&self, object: Value, kind: &Kind, header: bool) -> Result<(), CommandError> {
        match self.args.output {
            Output::Table | Output::Wide => {
                self.app
                    .data(&output::table(&object, kind, self.columns(kind), header))
            }
            Output::Name => self.app.data(&name_of(&object)),
            how @ (Output::Json | Output::Yaml) => {
                let begin = if how == Output::Yaml { "---\n" } else { "" };
                let text = output::document(&self.as_shown(object), how)?;
                self.app.data(&format!("{begin}{text}"))
            }
        }
    }
}

/// What the columns of a table are, a server says in the first part of a watch only.
fn keep_columns(table: &mut Value, columns: &mut Value) {
    let Some(said) = table.get_mut("columnDefinitions") else {
        return;
    };
    if said.as_array().is_some_and(|said| !said.is_empty()) {
        columns.clone_from(said);
    } else {
        said.clone_from(columns);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn later_parts_have_the_columns_of_the_first() {
        let mut columns = Value::Null;
        let said = json!([{"name": "Name"}]);
        for (part, wanted) in [
            (
                json!({"columnDefinitions": said}),
                json!({"columnDefinitions": said}),
            ),
            (
                json!({"columnDefinitions": null}),
                json!({"columnDefinitions": said}),
            ),
            (
                json!({"columnDefinitions": []}),
                json!({"columnDefinitions": said}),
            ),
            (json!({"metadata": {}}), json!({"metadata": {}})),
        ] {
            let mut part = part;
            keep_columns(&mut part, &mut columns);
            assert_eq!(part, wanted);
        }
    }
}
