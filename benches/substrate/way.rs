//! The ways to serve a hall.

use std::io;

use crate::hall::Hall;
use crate::{epoll, ring, tasks};

/// All of them, in the order of the table.
pub(crate) const WAYS: [Way; 4] = [Way::Ring, Way::Epoll, Way::Monoio, Way::TokioUring];

/// A way to send to many.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    /// As the audience does: direct descriptors, batches, silent success.
    Ring,
    /// A system call each; epoll tells when a full socket drains.
    Epoll,
    /// A task per connection on the runtime of the conversations.
    Monoio,
    /// A task per connection on the other runtime with a ring.
    TokioUring,
}

impl Way {
    /// As the table of figures has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Way::Ring => "ring, direct descriptors",
            Way::Epoll => "send and epoll",
            Way::Monoio => "monoio, a task per connection",
            Way::TokioUring => "tokio-uring, a task per connection",
        }
    }

    /// Serves until the writer has gone.
    pub(crate) fn serve(self, hall: Hall) -> io::Result<()> {
        match self {
            Way::Ring => ring::serve(hall),
            Way::Epoll => epoll::serve(&hall),
            Way::Monoio => tasks::serve_on_monoio(hall),
            Way::TokioUring => tasks::serve_on_tokio_uring(hall),
        }
    }
}
