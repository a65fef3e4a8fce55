//! A seat: one listener, a slot in a tier's file table and a cursor. It has no queue, no task and no buffer.

/// Tiers that a [`SeatId`] can name.
pub(super) const TIERS_MAX: usize = 1 << 12;

/// Which seat of a core: the tier in the upper 12 bits, the slot in the lower 20.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct SeatId(u32);

impl SeatId {
    pub(super) fn new(tier: usize, slot: u32) -> SeatId {
        debug_assert!(tier < TIERS_MAX && slot < 1 << 20);
        SeatId((tier as u32) << 20 | slot)
    }

    pub(super) fn tier(self) -> usize {
        (self.0 >> 20) as usize
    }

    pub(super) fn slot(self) -> u32 {
        self.0 & 0xf_ffff
    }
}

/// What a seat is doing. Every transition is in [`super::Audience`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Nobody sits here.
    Free,
    /// Among the live seats of its topic: gets each event as it is published.
    Live,
    /// Has something to read behind the live seats, and its socket takes bytes: waits in the queue for its turn.
    Behind,
    /// Its socket is full; a POLLOUT is armed.
    Stalled,
    /// Has everything that it was to get here, and waits for its turn to become a conversation again.
    Recalled,
    /// Its polls are taken back, and then its socket goes into the process's table.
    Returning,
    /// Shut down; waits until the shutdown and its armed polls have completed.
    Leaving,
    /// CLOSE is under way.
    Closing,
}

/// Operations of a seat that the kernel holds until they complete: those that must be awaited before a close.
pub(super) mod armed {
    /// POLLIN and POLLRDHUP: departures, and bytes that nobody asked for.
    pub(crate) const READABLE: u8 = 1;
    /// POLLOUT: a full socket drains.
    pub(crate) const WRITABLE: u8 = 2;
    /// A shutdown, which makes the polls complete.
    pub(crate) const SHUTDOWN: u8 = 4;
}

/// One row in a tier's table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    /// Offset in the log of the next byte to send; in the checkpoint while it reads one.
    pub(super) cursor: u64,
    /// The followers it belongs to: an index in the audience's slab.
    pub(super) followers: u32,
    /// Its index among the live seats of its followers.
    pub(super) place: u32,
    /// What an origin holds it with: a row in the audience's table of holds, or [`UNHELD`].
    pub(super) hold: u32,
    /// The second, counted from the audience's start, in which it was last sent something.
    pub(super) sent: u32,
    /// Counts the occupants of the slot, modulo 4,096.
    pub(super) generation: u16,
    /// Bytes that were read from it and thrown away.
    pub(super) drained: u16,
    pub(super) state: State,
    /// Bits of [`armed`].
    pub(super) armed: u8,
    /// Heartbeats since its last frame.
    pub(super) quiet: u8,
    /// Whether it still reads a checkpoint; then the audience's `snapshots` knows the rest.
    pub(super) in_snapshot: bool,
}

/// Names no hold: the seat is a stream's.
pub(super) const UNHELD: u32 = u32::MAX;

impl Seat {
    pub(super) const FREE: Seat = Seat {
        cursor: 0,
        followers: 0,
        place: 0,
        hold: UNHELD,
        sent: 0,
        generation: 0,
        drained: 0,
        state: State::Free,
        armed: 0,
        quiet: 0,
        in_snapshot: false,
    };
}

const _: () = assert!(std::mem::size_of::<Seat>() <= 32, "a seat is a small row");

/// What an entry of the ring was for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Bytes of the log or of a checkpoint.
    Send = 1,
    /// A heartbeat or farewell; whole or not at all.
    Private = 2,
    Readable = 3,
    Writable = 4,
    Drain = 5,
    Shutdown = 6,
    Close = 7,
    /// Takes back a poll.
    Unpoll = 8,
    Install = 9,
}

/// The user data of an entry: kind 4 bits, generation 12, slot 20, length 28.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tag {
    pub(super) kind: Kind,
    pub(super) generation: u16,
    pub(super) slot: u32,
    pub(super) length: u32,
}

impl Tag {
    pub(super) fn encode(self) -> u64 {
        debug_assert!(self.generation < 1 << 12 && self.slot < 1 << 20 && self.length < 1 << 28);
        (self.kind as u64) << 60
            | u64::from(self.generation) << 48
            | u64::from(self.slot) << 28
            | u64::from(self.length)
    }

    /// # Panics
    /// If `data` was never encoded: the ring returned what nobody submitted.
    pub(super) fn decode(data: u64) -> Tag {
        let kind = match data >> 60 {
            1 => Kind::Send,
            2 => Kind::Private,
            3 => Kind::Readable,
            4 => Kind::Writable,
            5 => Kind::Drain,
            6 => Kind::Shutdown,
            7 => Kind::Close,
            8 => Kind::Unpoll,
            9 => Kind::Install,
            other => panic!("no entry has the kind {other}"),
        };
        Tag {
            kind,
            generation: (data >> 48) as u16 & 0xfff,
            slot: (data >> 28) as u32 & 0xf_ffff,
            length: data as u32 & 0xfff_ffff,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_back() {
        for kind in [
            Kind::Send,
            Kind::Private,
            Kind::Readable,
            Kind::Writable,
            Kind::Drain,
            Kind::Shutdown,
            Kind::Close,
            Kind::Unpoll,
            Kind::Install,
        ] {
            let tag = Tag { kind, generation: 4095, slot: (1 << 20) - 1, length: (1 << 28) - 1 };
            assert_eq!(Tag::decode(tag.encode()), tag);
            let tag = Tag { kind, generation: 1, slot: 2, length: 3 };
            assert_eq!(Tag::decode(tag.encode()), tag);
        }
        let id = SeatId::new(17, 19_999);
        assert_eq!((id.tier(), id.slot()), (17, 19_999));
    }
}
