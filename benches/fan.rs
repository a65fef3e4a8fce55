//! Sockets in a ring's file table, how far each has been sent a log, and the batches of sends: the entries that the audience
//! uses and nothing else.
//!
//! Invariant: no send is in flight when a call returns, so that a cursor says exactly what the kernel has taken.

use std::io;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, opcode, squeue, types};

/// Entries that one enter runs: as many as the audience sends in a few.
pub const BATCH: usize = 1024;

/// The length in the user data of a poll. No send is empty.
const POLL: u32 = 0;

/// See the module.
pub struct Fan {
    ring: IoUring,
    /// The index is the slot.
    cursors: Vec<usize>,
    /// Those that took less than they were sent.
    full: Vec<usize>,
    /// Those whose poll has completed.
    ready: Vec<usize>,
}

impl Fan {
    /// A ring with room for this many sockets.
    ///
    /// # Errors
    /// What the kernel says of the ring, or of the table: it isn't larger than RLIMIT_NOFILE.
    pub fn open(sockets: u32) -> io::Result<Fan> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_clamp()
            // A poll of each, and a batch of sends: nothing spills.
            .setup_cqsize(sockets + 2 * BATCH as u32)
            .build(BATCH as u32)?;
        ring.submitter().register_files_sparse(sockets)?;
        Ok(Fan { ring, cursors: Vec::new(), full: Vec::new(), ready: Vec::new() })
    }

    /// Takes a socket into the table, and returns its slot. The process's descriptor isn't needed afterwards.
    ///
    /// # Errors
    /// If the table is full.
    pub fn install(&mut self, socket: &impl AsRawFd) -> io::Result<usize> {
        let slot = self.cursors.len();
        self.ring.submitter().register_files_update(slot as u32, &[socket.as_raw_fd()])?;
        self.cursors.push(0);
        Ok(slot)
    }

    /// How far each socket has been sent the log; the index is its slot.
    #[must_use]
    pub fn cursors(&self) -> &[usize] {
        &self.cursors
    }

    /// One send of all that the log has for it to each of these sockets, [`BATCH`] at most, in one enter.
    ///
    /// # Errors
    /// What is wrong with a socket, unless it is full.
    ///
    /// # Panics
    /// If there are more sockets.
    pub fn send(&mut self, slots: &[usize], log: &[u8]) -> io::Result<()> {
        assert!(slots.len() <= BATCH, "a batch fits into the queue");
        let flags = libc::MSG_WAITALL | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // Polls that were asked for before leave the queue first.
        if !self.ring.submission().is_empty() {
            self.ring.submit()?;
        }
        for &slot in slots {
            let bytes = &log[self.cursors[slot]..];
            let entry = opcode::Send::new(types::Fixed(slot as u32), bytes.as_ptr(), bytes.len() as u32)
                .flags(flags)
                .build()
                .flags(squeue::Flags::SKIP_SUCCESS)
                .user_data((slot as u64) << 32 | bytes.len() as u64);
            self.cursors[slot] = log.len();
            // SAFETY: the log isn't touched before the enter returns, and MSG_DONTWAIT keeps the kernel from holding on to it
            // afterwards.
            unsafe { self.ring.submission().push(&entry) }.expect("the queue is empty, and holds a batch");
        }
        self.ring.submit()?;
        self.reap()
    }

    /// Asks to be told, by [`Fan::wait`], when a socket is ready for one of these events.
    ///
    /// # Errors
    /// What the kernel says of the ring.
    pub fn poll(&mut self, slot: usize, events: i16) -> io::Result<()> {
        let entry = opcode::PollAdd::new(types::Fixed(slot as u32), events as u16 as u32).build();
        let entry = entry.user_data((slot as u64) << 32 | u64::from(POLL));
        // SAFETY: it points to nothing.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.ring.submit()?;
        }
        Ok(())
    }

    /// Until a poll completes.
    ///
    /// # Errors
    /// What the kernel says of the ring or of a poll.
    pub fn wait(&mut self) -> io::Result<()> {
        while self.ready.is_empty() {
            match self.ring.submit_and_wait(1) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                entered => drop(entered?),
            }
            self.reap()?;
        }
        Ok(())
    }

    /// The slots of those that took less than they were sent, since this was last asked.
    pub fn take_full(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.full)
    }

    /// The slots of those whose poll has completed, since this was last asked.
    pub fn take_ready(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.ready)
    }

    /// Success of a send is silent: what completes wasn't sent whole.
    fn reap(&mut self) -> io::Result<()> {
        for entry in self.ring.completion() {
            let (slot, length) = ((entry.user_data() >> 32) as usize, entry.user_data() as u32);
            match (length, entry.result()) {
                (POLL, 0..) => self.ready.push(slot),
                (1.., sent) if sent >= 0 || sent == -libc::EAGAIN => {
                    self.cursors[slot] -= length as usize - sent.max(0) as usize;
                    self.full.push(slot);
                }
                (_, error) => return Err(io::Error::from_raw_os_error(-error)),
            }
        }
        Ok(())
    }
}
