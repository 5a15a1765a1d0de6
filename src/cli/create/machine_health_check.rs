//! `create machinehealthcheck`: which machines count as broken, and how many may be replaced.

use clap::Args;
use serde_json::{Map, Value, json};

use super::machine_deployment::amount;
use crate::{
    api::{
        MACHINE_GROUP, VERSION,
        duration::Duration,
        names::{InvalidName, dns_label},
    },
    apiserver::object::selectors::Labels,
    cli::{
        args::{DryRun, DryRunArgs},
        context::{App, Purpose},
        error::of_api,
        output::{self, ObjectOutput},
    },
    client::{FIELD_MANAGER, Session, kinds},
    error::{CommandError, ErrorKind},
};

/// Make a health check, which has broken machines replaced
///
/// Without --unhealthy-condition a machine is broken when its Node's Ready is False or Unknown for 5 minutes.
#[derive(Debug, Args)]
pub(crate) struct MachineHealthCheckArgs {
    /// Name of the health check
    name: String,
    /// Machines that it watches, for example pool=blue; by default all, of the cluster if one is named
    #[arg(short = 'l', long, value_name = "QUERY", value_parser = query)]
    selector: Option<Value>,
    /// Cluster whose machines it watches
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// How many machines may be broken for replacement to go on: a number or a percentage
    #[arg(long, value_name = "N", value_parser = amount)]
    max_unhealthy: Option<Value>,
    /// How many machines may be under replacement at once: a number or a percentage
    #[arg(long, value_name = "N", value_parser = amount)]
    max_in_flight: Option<Value>,
    /// Node condition that makes a machine broken, and for how long it has to be so, for example Ready=Unknown:5m (can be repeated)
    #[arg(long = "unhealthy-condition", value_name = "TYPE=STATUS:TIME", value_parser = condition)]
    unhealthy_conditions: Vec<Value>,
    /// How long a machine may take to become a Node, for example 10m; 0: for ever
    #[arg(long, value_name = "DURATION")]
    node_startup_timeout: Option<Duration>,
    /// How to print what was made
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<ObjectOutput>,
    #[command(flatten)]
    dry_run: DryRunArgs,
}

/// Reads a label selector as it stands in objects.
fn query(text: &str) -> Result<Value, String> {
    let selector = Labels::parse(text)?
        .in_an_object()
        .ok_or("objects can't say < and > in a selector")?;
    serde_json::to_value(selector).map_err(|e| e.to_string())
}

/// Reads `Ready=Unknown:5m`.
fn condition(text: &str) -> Result<Value, String> {
    let form = || "write TYPE=STATUS:TIME, for example Ready=Unknown:5m".to_owned();
    let (type_, rest) = text.split_once('=').ok_or_else(form)?;
    let (status, time) = rest.split_once(':').ok_or_else(form)?;
    if type_.is_empty() || status.is_empty() {
        return Err(form());
    }
    let timeout: Duration = time.parse().map_err(|e| format!("{e}; {}", form()))?;
    Ok(json!({ "type": type_, "status": status, "timeout": timeout }))
}

pub(crate) async fn run(app: &App, args: MachineHealthCheckArgs) -> Result<(), CommandError> {
    let name = args.name.clone();
    let invalid = |e: InvalidName| CommandError::from(crate::cluster::ClusterError::from(e));
    dns_label(&name).map_err(invalid)?;
    let output = args.output;
    let dry_run = args.dry_run.dry_run;
    let (session, _) = app.connect(Purpose::Change).await?;
    app.prepare(&session).await?;
    let cluster = args.cluster.clone().or_else(|| {
        let of_context = session.target.cluster.clone();
        of_context.filter(|_| matches!(session.target.why, crate::client::Why::Manages(_)))
    });
    let object = object(&session.target.namespace, cluster, args);
    if dry_run == Some(DryRun::Client) {
        return app.data(&output::made(&[object], output.unwrap_or(ObjectOutput::Yaml))?);
    }
    let made = send(&session, &name, &object, dry_run.is_some()).await?;
    let text = if let Some(output) = output {
        output::made(&[made], output)?
    } else {
        let suffix = if dry_run.is_some() {
            " (server dry run)"
        } else {
            ""
        };
        format!("machinehealthcheck.machine.crit.sh/{name} created{suffix}")
    };
    app.data(&text)?;
    if dry_run.is_none() {
        app.say_who_acts(&session).await;
    }
    if let Some(server) = session.server {
        server.stop().await;
    }
    Ok(())
}

fn object(namespace: &str, cluster: Option<String>, args: MachineHealthCheckArgs) -> Value {
    let MachineHealthCheckArgs {
        name,
        selector,
        max_unhealthy,
        max_in_flight,
        unhealthy_conditions,
        node_startup_timeout,
        ..
    } = args;
    let mut spec = Map::from_iter([("selector".to_owned(), selector.unwrap_or_else(|| json!({})))]);
    let conditions = (!unhealthy_conditions.is_empty()).then(|| json!(unhealthy_conditions));
    for (field, value) in [
        ("unhealthyConditions", conditions),
        ("clusterName", cluster.map(|c| json!(c))),
        ("maxUnhealthy", max_unhealthy),
        ("maxInFlight", max_in_flight),
        ("nodeStartupTimeout", node_startup_timeout.map(|t| json!(t))),
    ] {
        if let Some(value) = value {
            spec.insert(field.to_owned(), value);
        }
    }
    json!({
        "apiVersion": format!("{MACHINE_GROUP}/{VERSION}"),
        "kind": "MachineHealthCheck",
        "metadata": { "name": name, "namespace": namespace },
        "spec": spec,
    })
}

async fn send(session: &Session, name: &str, object: &Value, dry_run: bool) -> Result<Value, CommandError> {
    let what = || format!("can't create machinehealthcheck.machine.crit.sh/{name}");
    let failed = |e| of_api(what(), e);
    let kind = kinds::own_by_kind("MachineHealthCheck")
        .ok_or_else(|| CommandError::new(ErrorKind::Failed, "there is no kind MachineHealthCheck"))?;
    let more = if dry_run { "&dryRun=All" } else { "" };
    let address = format!(
        "{}?fieldManager={FIELD_MANAGER}{more}",
        kind.path(Some(&session.target.namespace), None)
    );
    let request = http::Request::post(address)
        .header("Content-Type", "application/json")
        .body(object.to_string().into_bytes())
        .map_err(|e| failed(kube::Error::HttpError(e)))?;
    session.client.request(request).await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_with_their_time() {
        assert_eq!(
            condition("Ready=Unknown:5m"),
            Ok(json!({ "type": "Ready", "status": "Unknown", "timeout": "5m0s" }))
        );
        for wrong in ["Ready", "Ready=Unknown", "=a:1m", "Ready=:1m", "Ready=False:soon"] {
            assert!(condition(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn selectors_are_read_as_kubectl_reads_them() {
        assert_eq!(
            query("a=b,c in (x,y),!d"),
            Ok(json!({
                "matchLabels": { "a": "b" },
                "matchExpressions": [
                    { "key": "c", "operator": "In", "values": ["x", "y"] },
                    { "key": "d", "operator": "DoesNotExist" },
                ],
            }))
        );
        assert!(query("a=(").is_err() && query("a>1").is_err());
    }
}
