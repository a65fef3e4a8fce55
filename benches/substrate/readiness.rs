//! epoll: which of many descriptors can be read or written now.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Events that one wait returns.
const EVENTS: usize = 1024;

/// What is waited for.
#[derive(Clone, Copy)]
pub(crate) enum Interest {
    /// Bytes, or the end.
    Readable,
    /// Room for bytes.
    Writable,
}

/// See the module.
pub(crate) struct Readiness(OwnedFd);

impl Readiness {
    pub(crate) fn open() -> io::Result<Readiness> {
        // SAFETY: a plain system call.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and ours.
        Ok(Readiness(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// From now on `token` says that this descriptor is ready.
    pub(crate) fn add(&self, descriptor: &impl AsRawFd, token: u64, interest: Interest) -> io::Result<()> {
        let events = match interest {
            Interest::Readable => libc::EPOLLIN,
            Interest::Writable => libc::EPOLLOUT,
        };
        self.control(libc::EPOLL_CTL_ADD, descriptor, libc::epoll_event { events: events as u32, u64: token })
    }

    /// Nobody waits for this descriptor any more.
    pub(crate) fn remove(&self, descriptor: &impl AsRawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, descriptor, libc::epoll_event { events: 0, u64: 0 })
    }

    fn control(&self, operation: i32, descriptor: &impl AsRawFd, mut event: libc::epoll_event) -> io::Result<()> {
        // SAFETY: the kernel reads the event only.
        let result = unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, descriptor.as_raw_fd(), &raw mut event) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits until something is ready, and replaces `tokens` by what is.
    pub(crate) fn wait(&self, tokens: &mut Vec<u64>) -> io::Result<()> {
        self.take(tokens, -1)
    }

    /// Replaces `tokens` by what is ready now.
    pub(crate) fn look(&self, tokens: &mut Vec<u64>) -> io::Result<()> {
        self.take(tokens, 0)
    }

    fn take(&self, tokens: &mut Vec<u64>, timeout_ms: i32) -> io::Result<()> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        tokens.clear();
        loop {
            // SAFETY: the kernel writes to the entries of the array only.
            let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), EVENTS as i32, timeout_ms) };
            match (usize::try_from(count), io::Error::last_os_error()) {
                (Ok(count), _) => {
                    tokens.extend(events[..count].iter().map(|event| event.u64));
                    return Ok(());
                }
                (Err(_), error) if error.kind() == io::ErrorKind::Interrupted => {}
                (Err(_), error) => return Err(error),
            }
        }
    }
}
