//! Moves that end before their end: by Ctrl-C, or killed.

use std::{
    process::Child,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

use tokio::sync::oneshot;

use super::{Proxied, There, begun, ended, fleet, raw, same, state, text, to};
use crate::{
    cli::Home,
    proxy::{Asked, Fate},
};

/// A request at which a move is stopped.
type At = fn(&Asked) -> bool;

/// A Machine comes to be in the target.
fn copying(asked: &Asked) -> bool {
    asked.method == "POST" && asked.path.ends_with("/machines") && !asked.query.contains("dryRun")
}

/// The journal in the target goes: the source is empty by then.
fn closing(asked: &Asked) -> bool {
    asked.method == "DELETE" && asked.path.contains("machinectl-system/configmaps")
}

/// A move that is held up at a request.
struct HeldUp {
    child: Child,
    proxied: Proxied,
    go_on: oneshot::Sender<()>,
}

impl HeldUp {
    fn start(home: &Home, there: &There, at: At) -> Self {
        let (told, tell) = mpsc::channel();
        let (go_on, wait) = oneshot::channel::<()>();
        let (wait, met) = (Arc::new(Mutex::new(Some(wait))), Arc::new(AtomicBool::new(false)));
        let proxied = Proxied::start(home, there, move |asked| {
            let first = at(&asked) && !met.swap(true, Ordering::SeqCst);
            let wait = first.then(|| wait.lock().unwrap().take()).flatten();
            if first {
                told.send(()).unwrap();
            }
            async move {
                if let Some(wait) = wait {
                    // Whoever would say so may be gone.
                    wait.await.ok();
                }
                Fate::Served
            }
        });
        let child = begun(home.command(&to(proxied.kubeconfig(), &[])));
        tell.recv_timeout(std::time::Duration::from_secs(120)).unwrap();
        Self {
            child,
            proxied,
            go_on,
        }
    }

    /// Kills it.
    fn kill(mut self) -> Proxied {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        drop(self.go_on);
        self.proxied
    }

    /// Presses Ctrl-C and lets the request go on.
    fn interrupt(self) -> (std::process::Output, Proxied) {
        let pid = self.child.id().to_string();
        let sent = std::process::Command::new("kill").args(["-INT", &pid]).status();
        assert!(sent.unwrap().success());
        // It has to come through before the move is over.
        std::thread::sleep(std::time::Duration::from_millis(300));
        self.go_on.send(()).unwrap();
        (self.child.wait_with_output().unwrap(), self.proxied)
    }
}

#[test]
fn ctrl_c_stops_at_a_safe_point_and_the_same_command_goes_on() {
    let (home, there) = (fleet(), There::start());
    let before = state(&home, &["--embedded"]);
    let (output, proxied) = HeldUp::start(&home, &there, copying).interrupt();
    let said = [
        "interrupted",
        "hint: the same command goes on where this one stood",
        "hint: to undo it: the same command with --abort",
        "hint: to see how far it is: machinectl move --status",
    ];
    ended(&home, &output, 130, &said);
    // The source is whole.
    same(&state(&home, &["--embedded"]), &before);
    let status = home.run(&["move", "--embedded", "--status"]);
    let again = format!(
        "Go on:   machinectl move --context embedded --to-kubeconfig {} --to-context far -n default",
        "~/proxied"
    );
    ended(
        &home,
        &status,
        0,
        &["Phase:   Copying", "At work:  no", &again, "--abort"],
    );
    // Nothing else may be done with the source meanwhile.
    let elsewhere = There::start();
    let other = home.run(&to(&elsewhere.kubeconfig(), &[]));
    ended(
        &home,
        &other,
        4,
        &["another move is under way", "to finish that one:", "to undo it:"],
    );
    let output = home.run(&to(proxied.kubeconfig(), &[]));
    ended(&home, &output, 0, &["going on with move", "Moved"]);
    same(&there.state(), &before);
    assert_eq!(state(&home, &["--embedded"]).len(), 0);
    proxied.stop();
}

#[test]
fn a_move_that_was_killed_can_be_undone() {
    let (home, there) = (fleet(), There::start());
    let (before, empty) = (state(&home, &["--embedded"]), there.state());
    let proxied = HeldUp::start(&home, &there, copying).kill();
    let output = home.run(&to(proxied.kubeconfig(), &["--abort"]));
    ended(
        &home,
        &output,
        0,
        &["is undone: everything is in the source, as it was"],
    );
    same(&state(&home, &["--embedded"]), &before);
    same(&there.state(), &empty);
    for raw in [raw(&home, &["--embedded"]), there.raw()] {
        assert!(!raw.contains("machinectl-move"), "{raw}");
    }
    let none = home.run(&["move", "--embedded", "--status"]);
    ended(&home, &none, 3, &["no move is known"]);
    home.good(&to(proxied.kubeconfig(), &[]));
    same(&there.state(), &before);
    proxied.stop();
}

#[test]
fn a_move_that_has_committed_only_goes_forward() {
    let (home, there) = (fleet(), There::start());
    let before = state(&home, &["--embedded"]);
    let proxied = HeldUp::start(&home, &there, closing).kill();
    let status = home.run(&["move", "--embedded", "--status"]);
    ended(&home, &status, 0, &["Phase:   Committed", "Go on:"]);
    assert!(!text(&status).contains("--abort"), "{}", text(&status));
    let output = home.run(&to(proxied.kubeconfig(), &["--abort"]));
    let said = [
        "is committed",
        "hint: the same command without --abort brings it to its end",
    ];
    ended(&home, &output, 4, &said);
    let output = home.run(&to(proxied.kubeconfig(), &[]));
    ended(
        &home,
        &output,
        0,
        &["going on with move", &format!("Moved {} objects", before.len())],
    );
    same(&there.state(), &before);
    assert_eq!(state(&home, &["--embedded"]).len(), 0);
    proxied.stop();
}
