//! Why a command did not do what was asked: what happened, to what, why, what to do next, and the exit code.

use super::exit::ExitStatus;

/// What a command returns: how it ended, or why it failed.
pub type Ran = Result<ExitStatus, Failure>;

/// A failed command. Its texts are for the person at the terminal and never hold a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub status: ExitStatus,
    /// What happened, to what: one sentence without a full stop.
    pub message: String,
    /// Why, from the nearest cause to the farthest.
    pub causes: Vec<String>,
    /// Blocks printed as they are, after the causes: places in a file, log lines.
    pub details: Vec<String>,
    /// What to do next.
    pub hints: Vec<String>,
    /// The operation (its id) that holds the app: asked again once it has ended, this may be done.
    pub busy: Option<Box<str>>,
}

impl Failure {
    /// A failure with its message.
    pub fn new(status: ExitStatus, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), causes: vec![], details: vec![], hints: vec![], busy: None }
    }
    /// Exit code 1.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ExitStatus::Failed, message)
    }
    /// Exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ExitStatus::Usage, message)
    }
    /// A file or folder that could not be `doing` (read, written…).
    pub fn file(doing: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::failed(format!("cannot {doing} {}", path.display())).because(error.to_string())
    }
    /// Standard output is closed (`terreau … | head`): nothing is said, and nothing failed.
    pub fn closed_pipe() -> Self {
        Self::new(ExitStatus::Done, "")
    }
    /// True where nothing is to be said.
    pub fn is_silent(&self) -> bool {
        self.message.is_empty()
    }
    /// Adds a cause.
    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }
    /// Adds a whole chain of causes.
    #[must_use]
    pub fn because_of(mut self, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(e) = next {
            let text = e.to_string();
            // Many errors repeat their source's text in their own.
            if !self.causes.last().is_some_and(|last| last.ends_with(&text)) {
                self.causes.push(text);
            }
            next = e.source();
        }
        self
    }
    /// Adds a block of foreign text: lines kept, control characters dropped.
    #[must_use]
    pub fn detail(mut self, block: impl AsRef<str>) -> Self {
        self.details.push(harmless(block.as_ref()));
        self
    }
    /// Adds a block of our own, colours included.
    #[must_use]
    pub fn painted(mut self, block: impl Into<String>) -> Self {
        self.details.push(block.into());
        self
    }
    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl std::error::Error for Failure {}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(e: anyhow::Error) -> Self {
        let mut chain = e.chain().map(ToString::to_string);
        let mut failure = Self::failed(chain.next().unwrap_or_default());
        failure.causes.extend(chain);
        failure
    }
}

/// Foreign text (a server's answer, an app's message) without control characters, so that it cannot steer a terminal.
/// Line breaks and tabs stay.
pub fn harmless(text: &str) -> String {
    text.chars().filter(|c| matches!(c, '\n' | '\t') || !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_steer_a_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb\r\n\tc\u{9b}d"), "a[2Jb\n\tcd");
    }

    #[test]
    fn a_cause_that_repeats_its_own_cause_is_said_once() {
        let io = std::io::Error::other("connection refused");
        assert_eq!(Failure::failed("x").because("tcp: connection refused").because_of(&io).causes.len(), 1);
    }
}
