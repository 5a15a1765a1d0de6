//! The controllers in this process while a command waits, and the waiting itself. It decides nothing about machines.

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use kube::{Api, Client, api::ListParams};
use tokio::{sync::oneshot, task::JoinHandle};

use super::{
    ClusterError, Infrastructure, Story,
    progress::{Progress, judge},
};
use crate::{
    api::{
        labels,
        v1alpha1::{Cluster, Machine},
    },
    client::Session,
    controllers::{self, ControllerError, lease},
    providers::{
        Actuator, Actuators,
        docker::{DockerActuator, PullProgress},
        hollow::HollowActuator,
    },
    time::{Clock, SystemClock},
};

/// How often the embedded server is asked how far it is, and how often another one.
const LOOK_NEAR: Duration = Duration::from_millis(50);
const LOOK_FAR: Duration = Duration::from_secs(1);
/// For each moment of looking, so many moments of rest.
const LOOK_SHARE: u32 = 5;
/// How long the controllers may take to give the Lease back.
const FAREWELL: Duration = Duration::from_secs(3);

/// Connects to Docker. Pulls of images are told to the story.
pub async fn docker(story: Option<Arc<dyn Story>>) -> Result<Arc<DockerActuator>, ClusterError> {
    let actuator = DockerActuator::connect().await.map_err(ClusterError::Docker)?;
    let actuator = match story {
        Some(story) => actuator.watching_pulls(Arc::new(move |image, progress| {
            if let Some(text) = pulling(image, progress) {
                story.detail(&text);
            }
        })),
        None => actuator,
    };
    Ok(Arc::new(actuator))
}

fn pulling(image: &str, progress: PullProgress) -> Option<String> {
    match progress {
        PullProgress::Started => Some(format!("pulling {image}")),
        PullProgress::Bytes { done, total } => Some(format!(
            "pulling {image}: {} of {} MB",
            done / 1_000_000,
            total / 1_000_000
        )),
        PullProgress::Done => Some(format!("{image} is here")),
        PullProgress::Failed => None,
    }
}

/// Puts together what makes machines. Without Docker only hollow ones can be made.
pub fn actuators(client: &Client, docker: Option<Arc<DockerActuator>>) -> Actuators {
    let hollow: Arc<dyn Actuator> = Arc::new(HollowActuator::new(client.clone(), Arc::new(SystemClock)));
    let mut all = Actuators::new();
    all.insert(Infrastructure::Hollow.kind().to_owned(), hollow);
    if let Some(docker) = docker {
        let docker: Arc<dyn Actuator> = docker;
        all.insert(Infrastructure::Docker.kind().to_owned(), docker);
    }
    all
}

/// The controllers, running in this process. They end when this is dropped.
pub struct Controllers {
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<Result<(), ControllerError>>>,
}

impl Controllers {
    /// Starts the controllers for a session.
    ///
    /// On the embedded server in this process nobody else can be at work: a Lease that is still there belongs to a process
    /// that has died, and is removed. On another cluster, where nobody holds the Lease, the controllers are not started but asked for.
    pub async fn start(
        session: &Session,
        actuators: Actuators,
        story: &dyn Story,
    ) -> Result<Option<Self>, ClusterError> {
        if !session.target.is_embedded() {
            let holder = lease::holder(&session.client, SystemClock.now())
                .await
                .map_err(ClusterError::api("can't see whether controllers run"))?;
            if holder.is_none() {
                story.warn(&format!(
                    "no controllers run on context \"{0}\"; start them: machinectl run --context {0}",
                    session.target.name()
                ));
            }
            return Ok(None);
        }
        if session.server.is_some() {
            lease::remove(&session.client).await.map_err(ClusterError::api(
                "can't remove the lease of a process that has died",
            ))?;
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let context = controllers::Context::new(session.client.clone(), actuators, Arc::new(SystemClock));
        let task = tokio::spawn(controllers::run(context, async move {
            // The sender is gone with its owner: that is a stop too.
            let _gone = stopped.await;
        }));
        Ok(Some(Self {
            stop: Some(stop),
            task: Some(task),
        }))
    }

    /// Lets the controllers end in peace.
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            // The receiver lives as long as the task.
            let _ended = stop.send(());
        }
        if let Some(mut task) = self.task.take()
            && tokio::time::timeout(FAREWELL, &mut task).await.is_err()
        {
            task.abort();
        }
    }

    /// Returns when the controllers have ended by themselves, which they should not.
    async fn ended(&mut self) -> ClusterError {
        let Some(task) = &mut self.task else {
            return ClusterError::ControllersEnded;
        };
        let ended = task.await;
        self.task = None;
        match ended {
            Ok(Err(error)) => ClusterError::Controllers(error),
            _ => ClusterError::ControllersEnded,
        }
    }
}

impl Drop for Controllers {
    fn drop(&mut self) {
        self.stop = None;
    }
}

/// Runs `work` while the controllers run; their end is its end.
pub async fn beside<T>(
    controllers: &mut Option<Controllers>,
    work: impl Future<Output = Result<T, ClusterError>>,
) -> Result<T, ClusterError> {
    match controllers {
        None => work.await,
        Some(running) => tokio::select! {
            biased;
            result = work => result,
            error = running.ended() => Err(error),
        },
    }
}

/// A wait with an end.
pub struct Deadline {
    begun: Instant,
    /// When the last sleep ended: what came after it was a look.
    looked: Mutex<Instant>,
    limit: Duration,
    what: String,
}

impl Deadline {
    /// Begins to wait for something.
    pub fn new(limit: Duration, what: impl Into<String>) -> Self {
        Self {
            begun: Instant::now(),
            looked: Mutex::new(Instant::now()),
            limit,
            what: what.into(),
        }
    }

    /// Sleeps a little, or fails when the time is over. `state` says how far it is.
    pub async fn pause(&self, near: bool, state: &str) -> Result<(), ClusterError> {
        if self.begun.elapsed() >= self.limit {
            return Err(ClusterError::TimedOut {
                what: self.what.clone(),
                limit: format!("{:?}", self.limit),
                state: if state.is_empty() {
                    "nothing is known"
                } else {
                    state
                }
                .to_owned(),
            });
        }
        // Looking takes its share of the time and no more, however many machines there are.
        let looking = self.lock().elapsed() * LOOK_SHARE;
        let pause = if near { LOOK_NEAR } else { LOOK_FAR };
        tokio::time::sleep(pause.max(looking).min(LOOK_FAR)).await;
        *self.lock() = Instant::now();
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.looked
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Waits until the machines of a cluster run and its API server answers.
pub async fn until_running(
    session: &Session,
    cluster: &str,
    namespace: &str,
    wanted: usize,
    story: &dyn Story,
    deadline: &Deadline,
) -> Result<(), ClusterError> {
    let clusters: Api<Cluster> = Api::namespaced(session.client.clone(), namespace);
    loop {
        let found = clusters
            .get_opt(cluster)
            .await
            .map_err(ClusterError::api(format!("can't look at cluster {cluster}")))?;
        let machines = machines_of(&session.client, cluster, namespace).await?;
        match judge(found.as_ref(), &machines, wanted) {
            Progress::Done => return Ok(()),
            Progress::Failed { machine, message } => {
                return Err(ClusterError::MachineFailed { machine, message });
            }
            Progress::Waiting(text) => {
                story.detail(&text);
                deadline.pause(session.target.is_embedded(), &text).await?;
            }
        }
    }
}

/// Waits until the API server of a cluster answers.
pub async fn until_control_plane(
    session: &Session,
    cluster: &str,
    namespace: &str,
    story: &dyn Story,
    deadline: &Deadline,
) -> Result<(), ClusterError> {
    let clusters: Api<Cluster> = Api::namespaced(session.client.clone(), namespace);
    loop {
        let found = clusters
            .get_opt(cluster)
            .await
            .map_err(ClusterError::api(format!("can't look at cluster {cluster}")))?;
        if found
            .and_then(|c| c.status)
            .is_some_and(|s| s.control_plane_ready)
        {
            return Ok(());
        }
        let mut machines = machines_of(&session.client, cluster, namespace).await?;
        machines.retain(Machine::is_control_plane);
        let text = match judge(None, &machines, 1) {
            Progress::Failed { machine, message } => {
                return Err(ClusterError::MachineFailed { machine, message });
            }
            Progress::Done => "waiting for the API server".to_owned(),
            Progress::Waiting(text) => text,
        };
        story.detail(&text);
        deadline.pause(session.target.is_embedded(), &text).await?;
    }
}

/// Waits until machines run, whatever cluster they belong to.
pub async fn until_machines_run(
    session: &Session,
    namespace: &str,
    names: &[String],
    story: &dyn Story,
    deadline: &Deadline,
) -> Result<(), ClusterError> {
    let api: Api<Machine> = Api::namespaced(session.client.clone(), namespace);
    loop {
        let mut machines = Vec::new();
        for name in names {
            let found = api
                .get_opt(name)
                .await
                .map_err(ClusterError::api(format!("can't look at machine {name}")))?;
            machines.push(found.ok_or_else(|| ClusterError::Missing {
                kind: "Machine",
                name: name.clone(),
                namespace: namespace.to_owned(),
            })?);
        }
        match judge(None, &machines, names.len()) {
            Progress::Done => return Ok(()),
            Progress::Failed { machine, message } => {
                return Err(ClusterError::MachineFailed { machine, message });
            }
            Progress::Waiting(text) => {
                story.detail(&text);
                deadline.pause(session.target.is_embedded(), &text).await?;
            }
        }
    }
}

/// Lists the machines of a cluster.
pub async fn machines_of(
    client: &Client,
    cluster: &str,
    namespace: &str,
) -> Result<Vec<Machine>, ClusterError> {
    let api: Api<Machine> = Api::namespaced(client.clone(), namespace);
    let list = match api.list(&ListParams::default()).await {
        Ok(list) => list.items,
        Err(kube::Error::Api(status)) if status.code == 404 => Vec::new(),
        Err(error) => return Err(ClusterError::api(format!("can't list the machines of {cluster}"))(error)),
    };
    let belongs = |m: &Machine| {
        m.spec.cluster_name.as_deref() == Some(cluster)
            || m.metadata
                .labels
                .as_ref()
                .and_then(|l| l.get(labels::CLUSTER_NAME))
                .is_some_and(|c| c == cluster)
    };
    Ok(list.into_iter().filter(belongs).collect())
}
