//! An io_uring of ours: entries go in by the batch, completions come out when the owner enters.
//!
//! Completions run only inside an enter (`DEFER_TASKRUN`), so nothing happens behind the owner's back; the eventfd says
//! when an enter is due.

use std::io;
use std::os::fd::RawFd;

use io_uring::{IoUring, Submitter, cqueue, opcode, squeue};

/// The kernel refuses a ring.
#[derive(Debug, thiserror::Error)]
#[error("the kernel refuses {operation} ({error}): {}", remedy(error))]
pub struct Refused {
    operation: &'static str,
    error: io::Error,
}

impl Refused {
    /// `operation` is a system call.
    pub fn new(operation: &'static str) -> impl Fn(io::Error) -> Refused {
        move |error| Refused { operation, error }
    }
}

/// What to do about a refusal.
fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "the seccomp profile of the container must allow io_uring_setup, io_uring_enter and io_uring_register, and the \
             sysctl kernel.io_uring_disabled must be 0"
        }
        Some(libc::ENOSYS) => {
            "the kernel was built without io_uring, or a seccomp profile hides it: it must allow io_uring_setup, \
             io_uring_enter and io_uring_register; Linux 6.1 is the oldest that serves"
        }
        Some(libc::ENOMEM) => {
            "the limit of locked memory (memlock: `ulimit -l`, LimitMEMLOCK=) is too small, or the host has no memory left"
        }
        Some(libc::EMFILE | libc::ENFILE) => "the limit of descriptors (`ulimit -Hn`, LimitNOFILE=) is too small",
        _ => "Linux 6.1 is the oldest that serves",
    }
}

/// A ring with one owner.
pub struct Ring {
    ring: IoUring,
    entries: u32,
    /// Entries pushed since the last enter.
    pushed: u32,
}

impl Ring {
    /// Opens a ring of `entries`, whose completions wake `eventfd`, and sees that it works.
    ///
    /// # Errors
    /// What the kernel says: ENOSYS or EPERM without io_uring, ENOMEM under a small memlock, EINVAL before Linux 6.1.
    pub fn open(entries: u32, completions: u32, eventfd: RawFd) -> Result<Ring, Refused> {
        let mut ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(completions)
            .build(entries)
            .map_err(Refused::new("io_uring_setup"))?;
        // SAFETY: it points to nothing.
        unsafe { ring.submission().push(&opcode::Nop::new().build()) }.expect("a new queue is empty");
        while ring.completion().count() == 0 {
            match ring.submit_and_wait(1) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                entered => drop(entered.map_err(Refused::new("io_uring_enter"))?),
            }
        }
        ring.submitter().register_eventfd(eventfd).map_err(Refused::new("io_uring_register"))?;
        Ok(Ring { ring, entries, pushed: 0 })
    }

    /// For registrations.
    #[must_use]
    pub fn submitter(&self) -> Submitter<'_> {
        self.ring.submitter()
    }

    /// Whether `count` more entries go in without an enter: linked entries must go in together.
    #[must_use]
    pub fn has_room(&self, count: u32) -> bool {
        self.pushed + count <= self.entries
    }

    /// Adds an entry to the batch; a full batch is entered first.
    ///
    /// # Safety
    /// What the entry points to must stay valid until the kernel is done with it.
    pub unsafe fn push(&mut self, entry: &squeue::Entry) {
        if !self.has_room(1) {
            self.enter();
        }
        // SAFETY: the caller's promise.
        unsafe { self.ring.submission().push(entry) }.expect("an enter empties the submission queue");
        self.pushed += 1;
    }

    /// Runs what was pushed, and the completions' work that the kernel put off until an enter, though not always all of it: since
    /// Linux 6.13 it stops after some twenty, without ringing again. Whoever goes to sleep must see that [`Ring::is_woken`]
    /// says no.
    ///
    /// # Panics
    /// If the kernel refuses the ring itself: a fault of ours.
    pub fn enter(&mut self) {
        const GETEVENTS: u32 = 1;
        loop {
            // SAFETY: the flags take no argument.
            let entered = unsafe { self.ring.submitter().enter::<libc::sigset_t>(self.pushed, 0, GETEVENTS, None) };
            match entered {
                Ok(submitted) => self.pushed -= submitted as u32,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR | libc::EAGAIN | libc::EBUSY) => {}
                    _ => panic!("a ring of ours is broken: {error}"),
                },
            }
            if self.pushed == 0 {
                return;
            }
        }
    }

    /// Whether an enter has something to do, or completions wait.
    pub fn is_woken(&mut self) -> bool {
        if self.pushed > 0 || !self.ring.completion().is_empty() {
            return true;
        }
        let queue = self.ring.submission();
        queue.taskrun() || queue.cq_overflow()
    }

    /// Whether completions found no room in the ring: the kernel keeps them until the next enter.
    pub fn has_spilled(&mut self) -> bool {
        self.ring.submission().cq_overflow()
    }

    /// The completions that are there.
    pub fn completions(&mut self) -> impl Iterator<Item = cqueue::Entry> {
        self.ring.completion()
    }
}
