//! An eventfd: rings of the server's wake it when there is something to do for whoever owns them.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};

/// See the module.
pub struct Bell(File);

impl Bell {
    /// A bell that hasn't rung.
    ///
    /// # Errors
    /// If no descriptor is left.
    pub fn new() -> io::Result<Bell> {
        // SAFETY: a plain system call.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and ours.
        Ok(Bell(unsafe { File::from_raw_fd(fd) }))
    }

    /// Until it has rung since this was last called.
    ///
    /// # Errors
    /// What the system says.
    pub fn wait(&self) -> io::Result<()> {
        (&self.0).read_exact(&mut [0; 8])
    }
}

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
