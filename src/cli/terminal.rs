//! This terminal, lent to a program elsewhere: raw while it is lent, and as it was before on every way out.

use std::io::IsTerminal;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::failure::Failure;
use crate::model::wire::TerminalSize;

/// True where a person sits at both ends.
pub(super) fn is_here() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Its size; the usual one where it has none.
pub(super) fn size() -> TerminalSize {
    let found = tcgetwinsize(std::io::stdout()).ok().filter(|w| w.ws_col > 0 && w.ws_row > 0);
    found.map_or(TerminalSize { columns: 80, rows: 24 }, |w| TerminalSize {
        columns: w.ws_col,
        rows: w.ws_row,
    })
}

/// Raw until it is dropped.
#[derive(Debug)]
pub(super) struct Raw {
    before: Termios,
}

impl Raw {
    /// Every key goes to the program, Ctrl-C too.
    pub(super) fn begin() -> Result<Self, Failure> {
        let wrong = |e: rustix::io::Errno| Failure::failed("cannot use this terminal").because(e.to_string());
        let before = tcgetattr(std::io::stdin()).map_err(wrong)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).map_err(wrong)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Where it cannot be set it is gone.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Drain, &self.before);
    }
}
