//! Seats that become conversations again.
//!
//! ```text
//! Recalled ──► Returning ──► Closing ──► Free
//!  its turn    polls are      CLOSE of the slot; the socket lives on
//!              taken back,    in the process's table
//!              INSTALL
//! ```
//!
//! A conversation costs a descriptor and a task, so only so many at once are had back: a gap that concerns everybody is dealt
//! with in the order in which they came to it. Before Linux 6.8 a descriptor can't be had back; the connection is closed then,
//! and its client comes back to the origin.

use std::collections::VecDeque;
use std::os::fd::{FromRawFd, OwnedFd};

use super::Audience;
use super::chimes::{Asking, Noted};
use super::holds::{Ending, EndingKind, Hold, Recalled, Row, Why};
use super::seat::{SeatId, State, UNHELD, armed};
use crate::limits::RECALLED_MAX;

/// See the module.
#[derive(Default)]
pub(super) struct Recalls {
    /// Those that wait for their turn.
    queue: VecDeque<Noted>,
    /// Those whose turn it was, and whose conversations haven't ended.
    granted: usize,
    /// Those that are conversations again, as soon as the core takes them.
    returned: Vec<Recalled>,
    /// Holds whose client has gone, with an origin to tell.
    departed: Vec<Hold>,
}

impl Recalls {
    pub(super) fn is_due(&self) -> bool {
        !self.queue.is_empty() && self.granted < RECALLED_MAX
    }
}

impl Audience {
    /// The seat has everything before its end: it waits for its turn.
    pub(super) fn recall(&mut self, id: SeatId) {
        self.rise(id);
        let seat = self.tiers[id.tier()].seat(id.slot());
        seat.state = State::Recalled;
        self.recalls.queue.push_back((id, seat.generation));
        let followers = seat.followers;
        self.unhold(id, followers);
        self.part(followers);
    }

    /// What is published doesn't concern the seat's hold any more.
    fn unhold(&mut self, id: SeatId, followers: u32) {
        let hold = self.tiers[id.tier()].seat(id.slot()).hold;
        let number = self.followers[followers as usize].subscription;
        self.holds.unlink(hold, number, &mut self.subscriptions);
    }

    /// The seat leaves for good: so does its hold, of which the origin may want to know. `followers` are those that it was still
    /// among.
    pub(super) fn let_go(&mut self, id: SeatId, followers: Option<u32>) {
        if let Some(followers) = followers {
            self.unhold(id, followers);
        }
        let seat = self.tiers[id.tier()].seat(id.slot());
        let hold = std::mem::replace(&mut seat.hold, UNHELD);
        let Row { hold, .. } = self.holds.remove(hold);
        if hold.gone.is_some() {
            self.recalls.departed.push(hold);
        }
    }

    /// Begins to have back as many as may be at once.
    pub(super) fn grant_recalls(&mut self) {
        while self.recalls.granted < RECALLED_MAX
            && let Some((id, generation)) = self.recalls.queue.pop_front()
        {
            let tier = &mut self.tiers[id.tier()];
            let seat = tier.seat(id.slot());
            if seat.generation != generation || seat.state != State::Recalled {
                continue;
            }
            self.recalls.granted += 1;
            seat.state = State::Returning;
            match seat.armed & armed::READABLE {
                0 => tier.return_descriptor(id.slot()),
                _ => tier.unpoll(id.slot()),
            }
        }
    }

    /// The poll of a seat that returns has completed, as it was taken back or as there is something to read: whoever has the
    /// socket next sees what.
    pub(super) fn unpolled(&mut self, id: SeatId) {
        self.tiers[id.tier()].return_descriptor(id.slot());
    }

    /// The kernel has given the seat's socket a descriptor, or a negative errno.
    pub(super) fn returned(&mut self, id: SeatId, result: i32) {
        let tier = &mut self.tiers[id.tier()];
        if result < 0 {
            self.recalls.granted -= 1;
            let error = std::io::Error::from_raw_os_error(-result);
            tracing::warn!(%error, "a held connection can't be had back to ask its origin; it is closed");
            // As if it still waited: there it may leave.
            tier.seat(id.slot()).state = State::Recalled;
            return self.leave(id);
        }
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
        let socket = unsafe { OwnedFd::from_raw_fd(result) };
        let seat = tier.seat(id.slot());
        let hold = std::mem::replace(&mut seat.hold, UNHELD);
        seat.state = State::Closing;
        tier.close(id.slot());
        self.counts.recalls += 1;
        let Row { hold, ending, .. } = self.holds.remove(hold);
        let ending = ending.expect("who is recalled has come to an end");
        let Ending { mark, kind } = &*ending;
        match kind {
            EndingKind::Recall(why, last) => {
                self.recalls.returned.push(Recalled { socket, hold, mark: *mark, last: last.clone(), why: *why });
            }
            // It was closed on its way.
            EndingKind::Close => self.recalls.granted -= 1,
        }
    }

    /// The connections that are conversations again, each until [`Audience::recall_ended`].
    pub fn take_recalled(&mut self) -> Vec<Recalled> {
        std::mem::take(&mut self.recalls.returned)
    }

    /// A conversation that was recalled has ended, or is held again.
    pub fn recall_ended(&mut self) {
        self.recalls.granted -= 1;
    }

    /// Holds whose clients have gone since this was last asked, of those whose origin wants to know.
    pub fn take_departed(&mut self) -> Vec<Hold> {
        std::mem::take(&mut self.recalls.departed)
    }

    /// Next links that are due since this was last asked.
    pub fn take_asking(&mut self) -> Vec<Asking> {
        std::mem::take(&mut self.asking)
    }

    /// A next link that was asked for these seats says something new: they are conversations again, and ask for themselves.
    pub fn recall_all(&mut self, asking: &Asking) {
        for (id, generation) in &asking.seats {
            let seat = *self.tiers[id.tier()].seat(id.slot());
            let is_here = seat.generation == *generation
                && matches!(seat.state, State::Live | State::Behind | State::Stalled)
                && seat.hold != UNHELD;
            if is_here {
                let number = self.followers[seat.followers as usize].subscription;
                let ending = Ending::recall(self.items.end(), Why::Link, &self.subscriptions.get(number).last);
                self.end_one(*id, ending);
            }
        }
    }
}
