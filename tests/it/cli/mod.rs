//! The program as a user meets it: a clean environment, and snapshots of exit code, standard output and standard error.

#![expect(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod bad_input;
mod cluster;
mod drain;
mod embedded;
mod generated;
mod groups;
mod help;
mod images;
mod killed;
mod kubectl;
pub(crate) mod metrics;
mod moves;
mod rollout;
pub(crate) mod run;
mod state;

use std::{
    fmt::Write as _,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use regex::Regex;

/// A home folder of its own, and nothing of the environment of whoever runs the tests.
pub(crate) struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path("state/machinectl/embedded")
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// The program with a clean environment; it runs in the home folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_machinectl"));
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env_clear()
            .env("HOME", self.dir.path())
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("DOCKER_HOST", "unix:///nope/docker.sock")
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("COLUMNS", "100")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Runs the program, asserts that it succeeds, and returns standard output.
    pub(crate) fn good(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{}", self.tell(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a user sees, without what differs from run to run.
    pub(crate) fn tell(&self, output: &Output) -> String {
        let mut text = String::new();
        let code = output.status.code().map_or("none".to_owned(), |c| c.to_string());
        write!(text, "exit code: {code}").unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        write!(text, "\n----- stdout -----\n{stdout}").unwrap();
        // How far a step is is told only if it takes long: a slow machine hears more of it.
        let stderr = String::from_utf8_lossy(&output.stderr);
        let stderr = Regex::new(r"(?m)^   \S.*\n").unwrap().replace_all(&stderr, "");
        write!(text, "\n----- stderr -----\n{stderr}").unwrap();
        self.plain(&text)
    }

    fn plain(&self, text: &str) -> String {
        let real = fs::canonicalize(self.dir.path()).unwrap();
        let mut text = text.replace(self.dir.path().to_str().unwrap(), "~");
        text = text.replace(real.to_str().unwrap(), "~");
        for (pattern, replacement) in [
            (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
            (
                r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
                "UID",
            ),
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "MOMENT"),
            (r"by process \d+", "by process PID"),
            (r"\b\d+(ms|s) ago", "AGE ago"),
            (r"(?m)\b\d+s( |$)", "AGE$1"),
            // The width of an age decides how far its neighbours stand apart.
            (r"(\S) {3,}", "$1   "),
            (r"(?m) +$", ""),
        ] {
            text = Regex::new(pattern)
                .unwrap()
                .replace_all(&text, replacement)
                .into_owned();
        }
        text
    }
}

/// Compares what a user sees with the snapshot of the test.
macro_rules! snapshot {
    ($home:expr, $name:expr, $output:expr) => {
        insta::assert_snapshot!($name, $home.tell(&$output))
    };
}
pub(crate) use snapshot;

/// The folder of the project.
pub(crate) fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
