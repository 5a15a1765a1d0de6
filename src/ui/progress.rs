//! Progress of long work: spinners on a terminal, plain lines otherwise. It decides nothing.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Colour, Ui, to_stderr};

/// Without a terminal a step says no more often than this how far it is: logs stay short.
const PLAIN: Duration = Duration::from_secs(3);

/// Shows which step is under way. Steps follow one another.
#[derive(Debug)]
pub struct Progress {
    ui: Ui,
    current: Mutex<Current>,
}

#[derive(Debug, Default)]
struct Current {
    step: String,
    detail: String,
    told: Option<Instant>,
    bar: Option<ProgressBar>,
}

impl Ui {
    /// Starts to show progress.
    pub fn progress(&self) -> Progress {
        Progress {
            ui: self.clone(),
            current: Mutex::default(),
        }
    }
}

impl Progress {
    /// Ends the step before, if there is one, and begins a new one.
    pub fn step(&self, name: &str) {
        let mut current = self.lock();
        if current.step == name {
            return;
        }
        self.close(&mut current, true);
        name.clone_into(&mut current.step);
        current.detail.clear();
        current.told = Some(Instant::now());
        if self.ui.is_live() {
            let bar = ProgressBar::new_spinner();
            bar.set_draw_target(ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template(" {spinner} {msg}") {
                bar.set_style(style.tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "));
            }
            bar.set_message(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(100));
            current.bar = Some(bar);
        } else if !self.ui.is_quiet() {
            to_stderr(&format!(" * {name}"));
        }
    }

    /// Says how far the step is. On a terminal it stands beside the step; otherwise it is a line now and then.
    pub fn detail(&self, text: &str) {
        let mut current = self.lock();
        if current.detail == text {
            return;
        }
        text.clone_into(&mut current.detail);
        match &current.bar {
            Some(bar) => bar.set_message(if text.is_empty() {
                current.step.clone()
            } else {
                format!("{}  {}", current.step, self.ui.paint(Colour::Dim, text))
            }),
            None if !text.is_empty()
                && !self.ui.is_quiet()
                && current.told.is_some_and(|t| t.elapsed() >= PLAIN) =>
            {
                to_stderr(&format!("   {text}"));
                current.told = Some(Instant::now());
            }
            None => {}
        }
    }

    /// Tells something without disturbing the step.
    pub fn note(&self, line: &str) {
        let current = self.lock();
        match &current.bar {
            Some(bar) => bar.suspend(|| self.ui.say(line)),
            None => self.ui.say(line),
        }
    }

    /// Warns without disturbing the step.
    pub fn warn(&self, line: &str) {
        let current = self.lock();
        match &current.bar {
            Some(bar) => bar.suspend(|| self.ui.warn(line)),
            None => self.ui.warn(line),
        }
    }

    /// Ends the last step as done.
    pub fn finish(&self) {
        self.close(&mut self.lock(), true);
    }

    /// Ends the last step as not done.
    pub fn fail(&self) {
        self.close(&mut self.lock(), false);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn close(&self, current: &mut Current, good: bool) {
        if let Some(bar) = current.bar.take() {
            bar.finish_and_clear();
            let mark = if good {
                self.ui.paint(Colour::Green, "✓")
            } else {
                self.ui.paint(Colour::Red, "✗")
            };
            self.ui.say(&format!(" {mark} {}", current.step));
        }
        current.step.clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.fail();
    }
}
