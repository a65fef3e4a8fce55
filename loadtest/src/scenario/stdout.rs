//! Standard output, which is the run's results alone: goose says on it how many users it launched, whatever it is configured to.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// While this lives, what is printed goes nowhere.
pub(super) struct Withheld(OwnedFd);

impl Withheld {
    /// Withholds it from now on.
    pub(super) fn new() -> io::Result<Withheld> {
        io::stdout().flush()?;
        let withheld = Withheld(io::stdout().as_fd().try_clone_to_owned()?);
        let nowhere = File::options().write(true).open("/dev/null")?;
        point(nowhere.as_fd())?;
        Ok(withheld)
    }
}

impl Drop for Withheld {
    fn drop(&mut self) {
        // Where it can't be written to any more, whoever prints next is told so.
        let _ = io::stdout().flush().and_then(|()| point(self.0.as_fd()));
    }
}

/// Lets standard output be what `to` is.
fn point(to: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both numbers are of open files, and that of standard output stays one.
    let pointed = unsafe { libc::dup2(to.as_raw_fd(), libc::STDOUT_FILENO) };
    if pointed < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
