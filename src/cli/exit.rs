//! How a command ended, as its exit code. A script may rely on each of these.

use std::process::ExitCode;

/// The exit codes of every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// 0: what was asked for is so.
    Done,
    /// 1: it was tried and failed, or the descriptor is not valid.
    Failed,
    /// 2: the command line is wrong; nothing was tried.
    Usage,
    /// 3: nobody is logged in, or the session has ended.
    NotLoggedIn,
    /// 4: logged in, but not allowed.
    NotAllowed,
    /// 5: the world moved, or somebody else is at it.
    Conflict,
    /// 6: there is no such thing, or not for this person.
    NotFound,
    /// 7: the server, or an engine behind it, did not answer.
    EngineAway,
    /// 10: a plan that would change something.
    Changes,
    /// 125: our own failure, where other codes are a program's (`run`, `exec`).
    Ours,
    /// 130: Ctrl-C; what was begun goes on, and is followed as the last line says.
    Left,
}

impl ExitStatus {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotLoggedIn => 3,
            Self::NotAllowed => 4,
            Self::Conflict => 5,
            Self::NotFound => 6,
            Self::EngineAway => 7,
            Self::Changes => 10,
            Self::Ours => 125,
            Self::Left => 130,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.code())
    }
}
