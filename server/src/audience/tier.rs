//! A tier: one io_uring with a table of seats. The kernel's limit of descriptors bounds a tier, not the audience.
//!
//! A tier builds entries, enters the ring and hands out completions; what they mean is decided by the audience. Nothing
//! that the kernel still reads after an enter lives in a tier but the scratch of drains.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use io_uring::{opcode, squeue, types};

use super::seat::{Kind, Seat, State, Tag};
use crate::ring::{Refused, Ring};

/// Entries of the submission queue: one quantum of sends fits, and of polls as many. Each has 64 bytes, and there are many
/// tiers.
const ENTRIES: u32 = 256;
/// Entries of the completion queue: polls of many departures at once spill into the kernel's own list.
const COMPLETIONS: u32 = 1024;
/// Bytes that one drain reads, of all that a listener may send unasked.
pub(super) const DRAIN_BYTES: usize = 1024;

/// What a ring said of one entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub(super) tag: Tag,
    /// A count, a mask of poll events, or a negative errno.
    pub(super) result: i32,
}

pub(super) struct Tier {
    ring: Ring,
    seats: Vec<Seat>,
    free: Vec<u32>,
    slots: u32,
    /// Every drain reads into the same bytes: nobody looks at them.
    scratch: Box<[u8; DRAIN_BYTES]>,
}

impl Tier {
    /// Opens a ring with `slots` places for sockets, whose completions wake `eventfd`.
    ///
    /// # Errors
    /// As [`Ring::open`].
    pub(super) fn open(slots: u32, eventfd: RawFd) -> Result<Tier, Refused> {
        let ring = Ring::open(ENTRIES, COMPLETIONS, eventfd)?;
        ring.submitter().register_files_sparse(slots).map_err(Refused::new("io_uring_register"))?;
        // What isn't touched takes no memory; growing would copy.
        let seats = Vec::with_capacity(slots as usize);
        Ok(Tier { ring, seats, free: Vec::new(), slots, scratch: Box::new([0; DRAIN_BYTES]) })
    }

    pub(super) fn seat(&mut self, slot: u32) -> &mut Seat {
        &mut self.seats[slot as usize]
    }

    pub(super) fn seats(&self) -> &[Seat] {
        &self.seats
    }

    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty() && self.seats.len() == self.slots as usize
    }

    /// Installs the socket into a free slot and closes it in the process's table.
    ///
    /// # Errors
    /// What the kernel says of the update; the socket is then closed.
    ///
    /// # Panics
    /// If the tier is full.
    pub(super) fn install(&mut self, socket: OwnedFd) -> io::Result<u32> {
        let slot = match self.free.last() {
            Some(slot) => *slot,
            None => {
                assert!(!self.is_full(), "the audience opens another tier");
                self.seats.push(Seat::FREE);
                self.seats.len() as u32 - 1
            }
        };
        let installed = self.ring.submitter().register_files_update(slot, &[socket.as_raw_fd()]);
        match installed {
            Ok(_) => drop(self.free.pop()),
            Err(_) if self.free.is_empty() => self.free.push(slot),
            Err(_) => {}
        }
        installed.map(|_| slot)
    }

    /// Gives the slot back under the next generation.
    pub(super) fn release(&mut self, slot: u32) {
        let seat = &mut self.seats[slot as usize];
        debug_assert_eq!((seat.state, seat.armed), (State::Closing, 0));
        *seat = Seat { generation: (seat.generation + 1) & 0xfff, ..Seat::FREE };
        self.free.push(slot);
    }

    /// A send of bytes that must stay where they are until the next enter returns.
    ///
    /// `MSG_WAITALL` makes a partial send post its count although success is silent; `MSG_DONTWAIT` keeps the kernel from
    /// holding on to the bytes after the enter.
    pub(super) fn send(&mut self, kind: Kind, slot: u32, bytes: &[u8]) {
        let flags = libc::MSG_WAITALL | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let entry = opcode::Send::new(types::Fixed(slot), bytes.as_ptr(), bytes.len() as u32).flags(flags).build();
        self.push(kind, slot, bytes.len() as u32, entry.flags(squeue::Flags::SKIP_SUCCESS));
    }

    pub(super) fn poll(&mut self, kind: Kind, slot: u32, events: i16) {
        let entry = opcode::PollAdd::new(types::Fixed(slot), events as u16 as u32).build();
        self.push(kind, slot, 0, entry);
    }

    /// Reads what a listener sent unasked, to throw it away.
    pub(super) fn drain(&mut self, slot: u32) {
        let entry = opcode::Recv::new(types::Fixed(slot), self.scratch.as_mut_ptr(), DRAIN_BYTES as u32)
            .flags(libc::MSG_DONTWAIT)
            .build();
        self.push(Kind::Drain, slot, 0, entry);
    }

    /// The kernel leaves it to a worker, which looks the slot up only when it comes to it: so the slot must not be closed,
    /// and given to somebody else, before this has completed.
    pub(super) fn shutdown(&mut self, slot: u32) {
        let entry = opcode::Shutdown::new(types::Fixed(slot), libc::SHUT_RDWR).build();
        self.push(Kind::Shutdown, slot, 0, entry);
    }

    pub(super) fn close(&mut self, slot: u32) {
        let entry = opcode::Close::new(types::Fixed(slot)).build();
        self.push(Kind::Close, slot, 0, entry);
    }

    /// Takes back the poll for departures: it completes, as does this.
    pub(super) fn unpoll(&mut self, slot: u32) {
        let generation = self.seats[slot as usize].generation;
        let polled = Tag { kind: Kind::Readable, generation, slot, length: 0 };
        self.push(Kind::Unpoll, slot, 0, opcode::PollRemove::new(polled.encode()).build());
    }

    /// Gives the socket a descriptor of the process, closed on exec, beside its slot. Linux has this since 6.8.
    pub(super) fn return_descriptor(&mut self, slot: u32) {
        let entry = opcode::FixedFdInstall::new(types::Fixed(slot), 0).build();
        self.push(Kind::Install, slot, 0, entry);
    }

    fn push(&mut self, kind: Kind, slot: u32, length: u32, entry: squeue::Entry) {
        let generation = self.seats[slot as usize].generation;
        let entry = entry.user_data(Tag { kind, generation, slot, length }.encode());
        // SAFETY: bytes of sends stay in place until the enter that runs them has returned, as `send` asks of its callers
        // and MSG_DONTWAIT ensures; the scratch lives as long as the ring.
        unsafe { self.ring.push(&entry) };
    }

    /// Runs what was pushed, and moves all that completed to `out`: afterwards no send is left whose result isn't known.
    pub(super) fn enter(&mut self, out: &mut Vec<Completion>) {
        self.ring.enter();
        self.reap(out);
        // What spilled may be the results of sends, and a seat must not be sent more before they are known.
        while self.ring.has_spilled() {
            self.ring.enter();
            self.reap(out);
        }
    }

    /// See [`Ring::is_woken`].
    pub(super) fn is_woken(&mut self) -> bool {
        self.ring.is_woken()
    }

    fn reap(&mut self, out: &mut Vec<Completion>) {
        out.extend(
            self.ring
                .completions()
                .map(|entry| Completion { tag: Tag::decode(entry.user_data()), result: entry.result() }),
        );
    }
}
