//! What the peer of a socket has said, looked at without taking it.

use std::io;
use std::os::fd::RawFd;

/// See [`said`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Said {
    /// Nothing that wasn't read.
    Nothing,
    /// Something.
    Something,
    /// That it is gone, or will say nothing more.
    Goodbye,
}

/// Looks at a socket that its owner holds open; it doesn't wait.
pub(crate) fn said(socket: RawFd) -> Said {
    let mut byte = 0u8;
    // SAFETY: a plain system call; the byte lives through it, and its size is given.
    let read = unsafe { libc::recv(socket, (&raw mut byte).cast(), 1, libc::MSG_PEEK | libc::MSG_DONTWAIT) };
    match read {
        1.. => Said::Something,
        0 => Said::Goodbye,
        _ => match io::Error::last_os_error().kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Said::Nothing,
            _ => Said::Goodbye,
        },
    }
}
