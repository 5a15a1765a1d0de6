//! The API server goes away in the middle and comes back: the controllers go on.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use kube::{Api, Client, client::Body};
use machinectl::{
    api::v1alpha1::{HollowMachine, Machine},
    apiserver::Server,
    controllers::Context,
    install,
    providers::{Actuator, Actuators, hollow::HollowActuator},
    time::SystemClock,
};
use serde_json::json;

use super::{Place, Running, machine_spec, phase, until};

type Line = Arc<Mutex<Option<Client>>>;

/// A client whose server can be taken away.
fn client(line: &Line) -> Client {
    let line = Arc::clone(line);
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let server = line.lock().unwrap().clone();
        async move {
            match server {
                Some(server) => server.send(request).await.map_err(tower::BoxError::from),
                None => Err("connection refused".into()),
            }
        }
    });
    Client::new(service, "default")
}

async fn open(dir: &Path) -> Server {
    for _ in 0..6000 {
        if let Ok(server) = Server::open(dir, Arc::new(SystemClock)).await {
            return server;
        }
        // Requests of the server that went may still hold the state.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the state is never free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_api_server_is_waited_out() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).await;
    let line: Line = Arc::new(Mutex::new(Some(first.client())));
    let client = client(&line);
    install::definitions(&client, false).await.unwrap();
    let place = Place::on(client.clone()).await;
    let hollow: Arc<dyn Actuator> = Arc::new(HollowActuator::new(client.clone(), Arc::new(SystemClock)));
    let actuators = Actuators::from([("HollowMachine".to_owned(), hollow)]);
    let running = Running::start(Context::new(client.clone(), actuators, Arc::new(SystemClock)));
    let make = async |name: &str| {
        place.create::<HollowMachine>(name, &[], json!({})).await;
        place
            .create::<Machine>(name, &[], machine_spec("HollowMachine", name))
            .await;
    };
    make("m-1").await;
    let machines: Api<Machine> = place.api();
    until(&machines, "m-1", "Running", |m: &Machine| phase(m) == "Running").await;

    line.lock().unwrap().take();
    first.close();
    drop(first);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let second = open(dir.path()).await;
    line.lock().unwrap().replace(second.client());

    make("m-2").await;
    until(&machines, "m-2", "Running", |m: &Machine| phase(m) == "Running").await;
    running.stop().await;
}
