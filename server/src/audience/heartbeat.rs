//! Signs of life on quiet connections, staggered over the seats so that there is never a burst.
//!
//! Each second looks at one fifth of the slots. A live seat there that was sent nothing for twenty seconds gets a comment; a
//! filtered one that was quiet for five minutes gets its position instead, so that its cursor doesn't age out. Where departures
//! aren't noticed at once, every fifth look reads the socket, too.

use fantail_engine::log::filter::Filter;
use fantail_engine::protocol::sse;

use super::quantum::{Budget, LOOK_BYTES};
use super::seat::{Kind, SeatId, State, UNHELD};
use super::{Audience, Disconnect};
use crate::limits::{QUIET_MAX, SILENCE_SECONDS};

/// Seconds after which a slot is looked at again: silence lasts so much longer than it should at most.
const LOOK_SECONDS: u32 = 5;

/// Looks at a slot of which one reads its socket, if nothing else tells that its peer has gone: every 25 s.
const READ_LOOKS: u32 = 5;

/// The audience's clock, in seconds since its start.
#[derive(Default)]
pub(super) struct Heartbeat {
    second: u32,
    /// Where this second's round over the seats goes on, a tier and a slot; none when it is over.
    next: Option<(usize, u32)>,
}

impl Heartbeat {
    pub(super) fn now(&self) -> u32 {
        self.second
    }

    pub(super) fn is_due(&self) -> bool {
        self.next.is_some()
    }
}

impl Audience {
    /// A second has passed: the next turns look after those who had nothing for long.
    pub fn tick(&mut self) {
        self.heartbeat.second += 1;
        // A round that isn't over goes on: those at its end are due no less.
        self.heartbeat.next.get_or_insert((0, self.heartbeat.second % LOOK_SECONDS));
        self.strike();
    }

    /// Goes on with this second's round while the budget lasts.
    pub(super) fn beat(&mut self, budget: &mut Budget) {
        while !budget.is_spent()
            && let Some((tier, slot)) = self.heartbeat.next
        {
            budget.look(LOOK_BYTES);
            if (slot as usize) < self.tiers[tier].seats().len() {
                self.heartbeat.next = Some((tier, slot + LOOK_SECONDS));
                let id = SeatId::new(tier, slot);
                match self.disconnect {
                    Disconnect::Instant => {}
                    Disconnect::Heartbeat => self.look_for_departure(id, budget),
                }
                self.see_off_if_expired(id);
                self.show_life(id, budget);
            } else if tier + 1 < self.tiers.len() {
                self.heartbeat.next = Some((tier + 1, slot % LOOK_SECONDS));
            } else {
                self.heartbeat.next = None;
            }
        }
    }

    /// Every fifth time, a seat that has no poll is asked whether its peer has gone, or said what nobody asked for.
    fn look_for_departure(&mut self, id: SeatId, budget: &mut Budget) {
        let round = self.heartbeat.second / LOOK_SECONDS;
        let state = self.tiers[id.tier()].seat(id.slot()).state;
        if id.slot() / LOOK_SECONDS % READ_LOOKS == round % READ_LOOKS
            && matches!(state, State::Live | State::Behind | State::Stalled | State::Recalled)
        {
            budget.look(LOOK_BYTES);
            self.tiers[id.tier()].drain(id.slot());
        }
    }

    /// A seat whose socket has been full for so long that retention has passed it needn't wait for it to drain.
    fn see_off_if_expired(&mut self, id: SeatId) {
        let seat = *self.tiers[id.tier()].seat(id.slot());
        if seat.state != State::Stalled || seat.in_snapshot {
            return;
        }
        let followers = &self.followers[seat.followers as usize];
        if !self.watched[followers.view.0 as usize].view.serves(seat.cursor) {
            self.counts.expired += 1;
            self.leave(id);
        }
    }

    fn show_life(&mut self, id: SeatId, budget: &mut Budget) {
        let now = self.heartbeat.second;
        let seat = self.tiers[id.tier()].seat(id.slot());
        // What an origin holds has signs of life of its own.
        if seat.state != State::Live || seat.hold != UNHELD || now - seat.sent < SILENCE_SECONDS {
            return;
        }
        let followers = &self.followers[seat.followers as usize];
        // A live seat that has yet to get events may stand inside a large frame: no time for a word between.
        if followers.run(seat.cursor).is_some() {
            return;
        }
        seat.sent = now;
        seat.quiet = (seat.quiet + 1) % QUIET_MAX;
        let is_aging = seat.quiet == 0 && followers.filter != Filter::Whole;
        budget.spend(0);
        if !is_aging {
            return self.tiers[id.tier()].send(Kind::Private, id.slot(), sse::HEARTBEAT);
        }
        let mut block = Vec::new();
        sse::position(&mut block, self.watched[followers.view.0 as usize].view.position);
        self.tiers[id.tier()].send(Kind::Private, id.slot(), &block);
        // The kernel takes the block before it goes.
        self.enter();
    }
}
