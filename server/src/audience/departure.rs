//! How seats are left: SHUTDOWN, the completion of all that the kernel holds, CLOSE; and the farewell of all of them.

use super::Audience;
use super::seat::{Kind, SeatId, State, UNHELD, armed};

impl Audience {
    pub(super) fn leave(&mut self, id: SeatId) {
        self.rise(id);
        let tier = &mut self.tiers[id.tier()];
        let seat = tier.seat(id.slot());
        let is_member = match seat.state {
            State::Live | State::Behind | State::Stalled => true,
            State::Recalled => false,
            State::Free | State::Returning | State::Leaving | State::Closing => return,
        };
        self.counts.stalled -= usize::from(seat.state == State::Stalled);
        self.counts.departures += 1;
        seat.state = State::Leaving;
        let (followers, is_held) = (Some(seat.followers).filter(|_| is_member), seat.hold != UNHELD);
        if seat.in_snapshot {
            self.snapshots.remove(&id);
        }
        if is_held {
            self.let_go(id, followers);
        }
        // With a poll armed, be it another seat's on an older kernel, the peer wouldn't notice a close alone.
        let tier = &mut self.tiers[id.tier()];
        tier.seat(id.slot()).armed |= armed::SHUTDOWN;
        tier.shutdown(id.slot());
        if let Some(followers) = followers {
            self.part(followers);
        }
    }

    /// Closes the socket of a seat that leaves once nothing that the kernel holds for it is outstanding.
    pub(super) fn close_if_unarmed(&mut self, id: SeatId) {
        let tier = &mut self.tiers[id.tier()];
        let seat = tier.seat(id.slot());
        if seat.armed == 0 {
            seat.state = State::Closing;
            tier.close(id.slot());
        }
    }

    /// Asks everybody to leave: live seats get `words`, which must be a whole line. Call [`Audience::turn`] until
    /// [`Audience::seated`] is zero.
    pub fn farewell(&mut self, words: &[u8]) {
        for index in 0..self.tiers.len() {
            for slot in self.taken_slots(index) {
                let seat = self.tiers[index].seat(slot);
                // A held stream has words of its own.
                let is_live = seat.state == State::Live && seat.hold == UNHELD;
                if is_live && self.followers[seat.followers as usize].run(seat.cursor).is_none() {
                    self.tiers[index].send(Kind::Private, slot, words);
                }
                self.leave(SeatId::new(index, slot));
            }
            for slot in 0..self.tiers[index].seats().len() as u32 {
                if self.tiers[index].seat(slot).state == State::Recalled {
                    self.leave(SeatId::new(index, slot));
                }
            }
        }
        // The words are the caller's: the kernel takes them before this returns.
        self.enter();
    }
}
