//! Moves by the program itself, a process of its own: proxies before both API servers see its requests, and end it with SIGKILL at one of
//! them. What is typed next is typed by a user who knows nothing of what was done and what was not.

mod doubled;
mod moved;
mod providers;
mod restored;
mod undone;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    process::{ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use machinectl::apiserver::Server;
use serde_json::Value;
use tokio::sync::Notify;

use super::{
    unreliable::Gate,
    world::{self, Size, difference, is_over, of_fleet, state},
};
use crate::{
    cli::Home,
    proxy::{Asked, Fate, Proxy},
};

/// No command takes so long.
const TOO_LONG: Duration = Duration::from_secs(120);

/// The command that moves everything.
const MOVE: [&str; 7] = [
    "move",
    "--context",
    "source",
    "--to-context",
    "target",
    "-A",
    "--yes",
];

/// Two management clusters, and the home folder of somebody who types commands.
struct Ground {
    home: Home,
    source: Server,
    target: Server,
    /// How many commands were typed.
    commands: AtomicUsize,
}

/// How a command ended.
struct Ended {
    /// Nothing if it was killed.
    code: Option<i32>,
    /// What it has written to its user.
    said: String,
    /// How many requests it has sent to both clusters.
    requests: usize,
}

impl Ended {
    /// Asserts that it succeeded.
    #[track_caller]
    fn well(self, what: &str) -> Self {
        assert_eq!(self.code, Some(0), "{what}: {}", self.said);
        self
    }

    fn was_killed(&self) -> bool {
        self.code.is_none()
    }
}

impl Ground {
    /// The source holds a fleet, the target nothing.
    async fn new(size: Size) -> Self {
        Self::of(world::full(size).await, world::empty().await)
    }

    fn of(source: Server, target: Server) -> Self {
        Self {
            home: Home::new(),
            source,
            target,
            commands: AtomicUsize::new(0),
        }
    }

    /// Types a command that is killed at a request, if there are so many.
    async fn killed_at(&self, at: usize, command: &[&str]) -> Ended {
        let doom = move |number, _: &Asked| if number == at { at_number(at) } else { Turn::Served };
        self.run(Life::new(doom), command).await
    }

    /// Types a command.
    async fn typed(&self, command: &[&str]) -> Ended {
        self.run(Life::new(|_, _| Turn::Served), command).await
    }

    /// Types a command, and lets it live as long as its life says.
    async fn run(&self, life: Arc<Life>, command: &[&str]) -> Ended {
        let name = format!("command-{}", self.commands.fetch_add(1, Ordering::SeqCst));
        let proxies = [life.before(&self.source).await, life.before(&self.target).await];
        let config = self.home.write(&format!("{name}.config"), &kubeconfig(&proxies));
        let said = self.home.path(&name);
        let mut child = tokio::process::Command::from(self.home.command(command))
            .env("KUBECONFIG", config)
            .stdout(Stdio::null())
            .stderr(Stdio::from(File::create(&said).unwrap()))
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let end = async {
            tokio::select! {
                status = child.wait() => return status.unwrap(),
                () = life.over.notified() => {}
            }
            // On Unix this is SIGKILL.
            child.kill().await.unwrap();
            child.wait().await.unwrap()
        };
        let end = tokio::time::timeout(TOO_LONG, end).await;
        let said = fs::read_to_string(said).unwrap();
        let status: ExitStatus = end.unwrap_or_else(|_| panic!("{command:?} hangs: {said}"));
        Ended {
            code: status.code(),
            said,
            requests: life.requests.load(Ordering::SeqCst),
        }
    }

    /// What the source holds of the fleet.
    async fn fleet(&self) -> BTreeMap<String, Value> {
        of_fleet(&state(&self.source.client()).await)
    }

    /// Asserts that everything has arrived as it was, and that nothing else is left.
    async fn arrived(&self, before: &BTreeMap<String, Value>, what: &str) {
        let from = state(&self.source.client()).await;
        let to = state(&self.target.client()).await;
        if let Err(wrong) = is_over(&from, &to) {
            panic!("{what}: {wrong}");
        }
        if let Some(wrong) = difference(before, &of_fleet(&to)) {
            panic!("{what}: {wrong}");
        }
    }

    /// After a move: what was the target is the source of the next one. What was the source is as it was before anything was in it.
    async fn turn(&mut self) {
        world::clear(&self.source.client()).await;
        std::mem::swap(&mut self.source, &mut self.target);
    }
}

/// A kubeconfig that leads through proxies to the contexts `source` and `target`.
fn kubeconfig([source, target]: &[Proxy; 2]) -> String {
    let [mut both, more] = [(source, "source"), (target, "target")]
        .map(|(proxy, name)| serde_yaml::from_str::<Value>(&proxy.kubeconfig(name)).unwrap());
    for list in ["contexts", "clusters", "users"] {
        let more = more[list].as_array().unwrap().clone();
        both[list].as_array_mut().unwrap().extend(more);
    }
    both.to_string()
}

/// Numbers of requests from the first to almost the last of `all`, spread evenly, odd and even ones in turn. How many there are in all differs
/// from one run to the next, since whoever waits asks again and again: so the last number may come too late to kill anything.
fn spread(all: usize, kills: usize) -> impl Iterator<Item = usize> {
    let last = all - 12;
    (0..kills).map(move |n| n * last / (kills - 1) / 2 * 2 + n % 2)
}

/// What becomes of a request, and of the process that has sent it.
enum Turn {
    /// It is served.
    Served,
    /// The process is killed before it arrives.
    KilledBefore,
    /// The process is killed when the answer stands there, and is not given.
    KilledAfter,
    /// It arrives when the gate is opened.
    Held(Gate),
}

/// How a process is killed at a request: at an even one before it arrives, at an odd one afterwards.
fn at_number(number: usize) -> Turn {
    if number.is_multiple_of(2) {
        Turn::KilledBefore
    } else {
        Turn::KilledAfter
    }
}

/// Says what becomes of a request, of which it is told how many came before it.
type Turns = dyn Fn(usize, &Asked) -> Turn + Send + Sync;

/// The life of a process, as far as its requests tell.
struct Life {
    turn: Box<Turns>,
    /// How many requests it has sent.
    requests: AtomicUsize,
    /// What a dead process was about to send does not arrive.
    dead: AtomicBool,
    /// Tells that it has to be killed.
    over: Arc<Notify>,
}

impl Life {
    /// One in which `turn` says what becomes of each request to either cluster, and is told how many came before it.
    fn new(turn: impl Fn(usize, &Asked) -> Turn + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            turn: Box::new(turn),
            requests: AtomicUsize::new(0),
            dead: AtomicBool::new(false),
            over: Arc::default(),
        })
    }

    /// A proxy before one of the clusters.
    async fn before(self: &Arc<Self>, server: &Server) -> Proxy {
        let life = Arc::clone(self);
        let rule = move |asked| {
            let life = Arc::clone(&life);
            async move { life.fate(&asked).await }
        };
        Proxy::start(server.client(), rule).await
    }

    /// Ends it, wherever it is.
    fn end(&self) {
        self.dead.store(true, Ordering::SeqCst);
        self.over.notify_one();
    }

    async fn fate(&self, asked: &Asked) -> Fate {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        if self.dead.load(Ordering::SeqCst) {
            return Fate::Swallowed;
        }
        match (self.turn)(number, asked) {
            Turn::Served => Fate::Served,
            Turn::KilledBefore => {
                self.end();
                Fate::Swallowed
            }
            Turn::KilledAfter => {
                self.dead.store(true, Ordering::SeqCst);
                let over = Arc::clone(&self.over);
                Fate::Lost(Box::new(move || over.notify_one()))
            }
            Turn::Held(gate) => {
                gate.pass().await;
                if self.dead.load(Ordering::SeqCst) {
                    Fate::Swallowed
                } else {
                    Fate::Served
                }
            }
        }
    }
}

/// The word that commits a move is about to be written.
fn commits(asked: &Asked) -> bool {
    asked.method == "PUT"
        && asked.path.ends_with("/configmaps/machinectl-move")
        && String::from_utf8_lossy(&asked.body).contains("Committed")
}

/// An object is about to be made in the target.
fn copies(asked: &Asked) -> bool {
    asked.method == "POST" && asked.path.ends_with("/machines") && !asked.query.contains("dryRun")
}
