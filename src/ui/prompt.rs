//! Questions to the user. Without a terminal nobody is asked.

use super::Ui;

/// What the user answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Go on.
    Yes,
    /// Leave it.
    No,
    /// There is nobody to ask.
    Nobody,
}

impl Ui {
    /// Asks a question that is answered with yes or no; the default is no.
    pub fn confirm(&self, question: &str) -> Answer {
        if !self.is_interactive() {
            return Answer::Nobody;
        }
        match dialoguer::Confirm::new()
            .with_prompt(question)
            .default(false)
            .interact()
        {
            Ok(true) => Answer::Yes,
            Ok(false) => Answer::No,
            Err(_) => Answer::Nobody,
        }
    }
}
