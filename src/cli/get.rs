//! `get`: shows objects. It changes nothing.

mod watch;

use clap::Args;
use kube::Client;
use serde_json::Value;

use super::{
    context::{App, Purpose},
    error::of_api,
    output::{self, Columns, Output, name_of},
    request::{Request, not_found, query, requests},
};
use crate::{
    client::kinds::Kind,
    error::{CommandError, ErrorKind},
};

/// Show objects
///
/// KIND is a kind in any of its forms (machine, machines, ma, machines.machine.crit.sh), several with commas, or the
/// category machine-api.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct GetArgs {
    /// Kind and names: KIND [NAME...], or KIND/NAME...
    #[arg(required = true, value_name = "KIND")]
    what: Vec<String>,
    /// Show objects of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Show objects with these labels, for example a=b,c!=d
    #[arg(short = 'l', long, value_name = "QUERY")]
    selector: Option<String>,
    /// Show objects with these fields, for example metadata.name=x
    #[arg(long, value_name = "QUERY")]
    field_selector: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Output,
    /// Go on showing changes until interrupted
    #[arg(short, long)]
    watch: bool,
    /// Print no column names
    #[arg(long)]
    no_headers: bool,
    /// Print the labels too
    #[arg(long)]
    show_labels: bool,
    /// Print who owns which field, too (-o json, -o yaml)
    #[arg(long)]
    show_managed_fields: bool,
    /// Succeed when a named object does not exist
    #[arg(long)]
    ignore_not_found: bool,
}

pub(crate) async fn run(app: &App, args: GetArgs) -> Result<(), CommandError> {
    let (session, _) = app.connect(Purpose::Read).await?;
    app.prepare(&session).await?;
    let requests = requests(&session.client, &args.what).await?;
    let get = Get {
        app,
        client: &session.client,
        namespace: (!args.all_namespaces).then_some(session.target.namespace.as_str()),
        several: requests.len() > 1,
        args: &args,
    };
    if args.watch {
        let [one] = requests.as_slice() else {
            return Err(CommandError::new(
                ErrorKind::Usage,
                "-w can watch one kind at a time",
            ));
        };
        return get.watch(one).await;
    }
    get.once(&requests).await
}

struct Get<'a> {
    app: &'a App,
    client: &'a Client,
    namespace: Option<&'a str>,
    several: bool,
    args: &'a GetArgs,
}

impl Get<'_> {
    async fn once(&self, requests: &[Request]) -> Result<(), CommandError> {
        let mut objects = Vec::new();
        let mut parts = Vec::new();
        let single = matches!(requests, [one] if one.names.len() == 1);
        for request in requests {
            for answer in self.answers(request).await? {
                match self.args.output {
                    Output::Table | Output::Wide => {
                        if answer["rows"].as_array().is_some_and(|r| !r.is_empty()) {
                            parts.push((answer, &request.kind));
                        }
                    }
                    Output::Json | Output::Yaml | Output::Name => {
                        let items = items(answer, &request.kind).into_iter();
                        objects.extend(items.map(|item| self.as_shown(item)));
                    }
                }
            }
        }
        match self.args.output {
            Output::Table | Output::Wide if parts.is_empty() => {
                self.nothing();
                Ok(())
            }
            Output::Table | Output::Wide => self.app.data(&self.tables(parts)),
            Output::Name => {
                let lines: Vec<String> = objects.iter().map(name_of).collect();
                self.app.data(&lines.join(
                    "
",
                ))
            }
            Output::Json | Output::Yaml => {
                self.app
                    .data(&output::objects(objects, single, self.args.output)?)
            }
        }
    }

    /// Puts the rows of one kind into one table, and a blank line between kinds.
    fn tables(&self, parts: Vec<(Value, &Kind)>) -> String {
        let mut merged: Vec<(Value, &Kind)> = Vec::new();
        for (mut part, kind) in parts {
            match merged.last_mut().filter(|(_, k)| *k == kind) {
                Some((whole, _)) => {
                    if let (Some(to), Some(from)) =
                        (whole["rows"].as_array_mut(), part["rows"].as_array_mut())
                    {
                        to.append(from);
                    }
                }
                None => merged.push((part, kind)),
            }
        }
        let text = |(part, kind): &(Value, &Kind)| output::table(part, kind, self.columns(kind), true);
        merged.iter().map(text).collect::<Vec<_>>().join("\n")
    }

    fn columns(&self, kind: &Kind) -> Columns {
        Columns {
            wide: self.args.output == Output::Wide,
            namespace: self.namespace.is_none() && kind.namespaced,
            kind: self.several,
            no_header: self.args.no_headers,
            labels: self.args.show_labels,
        }
    }

    fn nothing(&self) {
        match self.namespace {
            Some(namespace) => self
                .app
                .ui
                .say(&format!("No resources found in {namespace} namespace.")),
            None => self.app.ui.say("No resources found."),
        }
    }

    async fn answers(&self, request: &Request) -> Result<Vec<Value>, CommandError> {
        let kind = &request.kind;
        if request.names.is_empty() {
            let failed = |e| of_api(format!("can't list {}", kind.full_name()), e);
            return match self.fetch(&self.address(kind, None, &[])).await {
                // Of several kinds those that the server does not have are left out.
                Err(kube::Error::Api(status)) if status.code == 404 && self.several => Ok(Vec::new()),
                Err(kube::Error::Api(status)) if status.code == 404 => Err(failed(kube::Error::Api(status))
                    .hinted("install the kinds of this program with: machinectl init")),
                answer => answer.map(|a| vec![a]).map_err(failed),
            };
        }
        let mut answers = Vec::new();
        for name in &request.names {
            match self.fetch(&self.address(kind, Some(name), &[])).await {
                Ok(answer) => answers.push(answer),
                Err(kube::Error::Api(status)) if status.code == 404 && self.args.ignore_not_found => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {
                    return Err(not_found(kind, name, self.namespace));
                }
                Err(error) => {
                    return Err(of_api(
                        format!("can't get {}/{name}", kind.singular_name()),
                        error,
                    ));
                }
            }
        }
        Ok(answers)
    }

    /// An object without what hardly anybody wants to see.
    fn as_shown(&self, mut object: Value) -> Value {
        if !self.args.show_managed_fields
            && let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
        {
            metadata.remove("managedFields");
        }
        object
    }

    fn address(&self, kind: &Kind, name: Option<&str>, more: &[(&str, &str)]) -> String {
        let mut text = query(more);
        let selectors = [
            ("labelSelector", self.args.selector.as_deref()),
            ("fieldSelector", self.args.field_selector.as_deref()),
        ];
        for (key, value) in selectors {
            if let Some(value) = value {
                text.push_str(&query(&[(key, value)]));
            }
        }
        format!("{}?{text}", kind.path(self.namespace, name))
    }

    async fn fetch(&self, address: &str) -> Result<Value, kube::Error> {
        self.client.request(self.request(address)?).await
    }

    fn request(&self, address: &str) -> Result<http::Request<Vec<u8>>, kube::Error> {
        let accept = if self.args.output.is_columns() {
            output::TABLE
        } else {
            "application/json"
        };
        http::Request::get(address)
            .header("Accept", accept)
            .body(Vec::new())
            .map_err(kube::Error::HttpError)
    }
}

/// The objects of an answer that is an object or a list; items of a list get their kind back.
fn items(mut answer: Value, kind: &Kind) -> Vec<Value> {
    let Some(list) = answer.get_mut("items").and_then(Value::as_array_mut) else {
        return vec![answer];
    };
    let mut list = std::mem::take(list);
    for item in &mut list {
        item["apiVersion"] = kind.api_version().into();
        item["kind"] = kind.kind.clone().into();
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_a_list_know_their_kind() {
        let kind = crate::client::kinds::own_by_kind("Machine").unwrap();
        let list = serde_json::json!({"items": [{"metadata": {"name": "a"}}]});
        assert_eq!(name_of(&items(list, &kind)[0]), "machine.machine.crit.sh/a");
    }
}
