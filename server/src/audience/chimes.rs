//! What held seats are due at a second: their keep-alives, and questions to their next links.
//!
//! A stream's seats are looked at in rounds; these have their own times, down to a second, so each is in a list of that
//! second. Whoever isn't due costs nothing.
//!
//! Invariant: a hold is in one list of each kind at most, and keep-alives of holds that were silent together are spread.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use fantail_engine::grip::{KeepAlive, Pace};

use super::Audience;
use super::holds::Hold;
use super::quantum::{Budget, LOOK_BYTES};
use super::seat::{Kind, SeatId, State, UNHELD};

/// Seconds until a hold's next keep-alive: a fifth less than it says, or not quite so much, since holds that are silent together
/// mustn't be woken together.
fn seconds(keep_alive: &KeepAlive, slot: u32) -> u32 {
    let seconds = keep_alive.timeout.as_secs() as u32;
    seconds - slot % (seconds / 5).max(1)
}

/// A seat as it was noted for later: with the generation that it had.
pub(super) type Noted = (SeatId, u16);

/// Seats by the second in which something is due.
#[derive(Default)]
pub(super) struct Wheel {
    seconds: BTreeMap<u32, Vec<Noted>>,
}

impl Wheel {
    pub(super) fn add(&mut self, second: u32, seat: Noted) {
        self.seconds.entry(second).or_default().push(seat);
    }

    /// Those that are due at `now`.
    fn take(&mut self, now: u32) -> impl Iterator<Item = Noted> {
        let later = self.seconds.split_off(&(now + 1));
        std::mem::replace(&mut self.seconds, later).into_values().flatten()
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Chimes {
    keep_alives: Wheel,
    links: Wheel,
    /// Those whose keep-alive is due now.
    due: VecDeque<Noted>,
    /// What was sent since the last enter, which the kernel may still read.
    lent: Vec<Rc<KeepAlive>>,
}

impl Chimes {
    pub(super) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// The rings were entered.
    pub(super) fn entered(&mut self) {
        self.lent.clear();
    }
}

/// Seats whose next link is to be asked although nothing was missed: all of the same terms and the same link.
#[derive(Debug)]
pub struct Asking {
    /// One of their holds: all have the same terms and the same next link.
    pub hold: Hold,
    /// The id of the last item of each channel, in the order of the subscription.
    pub last: Rc<[Option<std::sync::Arc<str>>]>,
    /// Whom the answer concerns.
    pub(super) seats: Vec<Noted>,
}

impl Audience {
    /// A hold begins: its times begin to count.
    pub(super) fn wind(&mut self, id: SeatId) {
        let now = self.heartbeat.now();
        let seat = *self.tiers[id.tier()].seat(id.slot());
        let terms = Rc::clone(&self.holds[seat.hold].hold.terms);
        if let Some(keep_alive) = &terms.keep_alive {
            self.chimes.keep_alives.add(now + seconds(keep_alive, id.slot()), (id, seat.generation));
        }
        self.wind_link(id);
    }

    /// Those of one link and one time-out are due in the same second, whenever they began: so one request is enough for all.
    fn wind_link(&mut self, id: SeatId) {
        let now = self.heartbeat.now();
        let seat = *self.tiers[id.tier()].seat(id.slot());
        let Hold { terms, next, .. } = &self.holds[seat.hold].hold;
        if let (Some(seconds), Some(next)) = (terms.link_seconds, next) {
            let phase = fantail_engine::topic::hash(next) as u32 % seconds;
            // The next second that has this phase.
            let due = now + 1 + (phase + seconds - (now + 1) % seconds) % seconds;
            self.chimes.links.add(due, (id, seat.generation));
        }
    }

    /// What is due in this second.
    pub(super) fn strike(&mut self) {
        let now = self.heartbeat.now();
        self.chimes.due.extend(self.chimes.keep_alives.take(now));
        let due: Vec<Noted> = self.chimes.links.take(now).collect();
        for (id, generation) in due {
            self.note_asking(id, generation);
        }
    }

    fn note_asking(&mut self, id: SeatId, generation: u16) {
        let seat = *self.tiers[id.tier()].seat(id.slot());
        if seat.generation != generation || seat.hold == UNHELD {
            return;
        }
        match seat.state {
            State::Live => {}
            // It has something to read, so nothing is missing yet; or it is about to ask anyway.
            State::Behind | State::Stalled => return self.wind_link(id),
            State::Free | State::Recalled | State::Returning | State::Leaving | State::Closing => return,
        }
        let hold = &self.holds[seat.hold].hold;
        let is_theirs = |asking: &Asking| Rc::ptr_eq(&asking.hold.terms, &hold.terms) && asking.hold.next == hold.next;
        match self.asking.iter_mut().find(|asking| is_theirs(asking)) {
            Some(asking) => asking.seats.push((id, generation)),
            None => {
                let number = self.followers[seat.followers as usize].subscription;
                let last = self.subscriptions.get(number).last.iter().cloned().collect();
                self.asking.push(Asking { hold: hold.clone(), last, seats: vec![(id, generation)] });
            }
        }
        self.wind_link(id);
    }

    /// Goes on with the keep-alives that are due while the budget lasts.
    pub(super) fn chime(&mut self, budget: &mut Budget) {
        while !budget.is_spent()
            && let Some((id, generation)) = self.chimes.due.pop_front()
        {
            budget.look(LOOK_BYTES);
            let now = self.heartbeat.now();
            let tier = &mut self.tiers[id.tier()];
            let seat = tier.seat(id.slot());
            if seat.generation != generation || seat.hold == UNHELD {
                continue;
            }
            let Some(keep_alive) = &self.holds[seat.hold].hold.terms.keep_alive else { continue };
            let wait = seconds(keep_alive, id.slot());
            let silent_until = match keep_alive.pace {
                Pace::Idle => seat.sent + wait,
                Pace::Interval => now,
            };
            match seat.state {
                State::Live if silent_until > now => {
                    self.chimes.keep_alives.add(silent_until, (id, generation));
                    continue;
                }
                // One that has yet to get items may stand inside one: no time for a word between. And it lives.
                State::Live if self.followers[seat.followers as usize].run(seat.cursor).is_some() => {}
                State::Live => {
                    seat.sent = now;
                    budget.spend(0);
                    // It lives until the enter that sends it has returned.
                    self.chimes.lent.push(Rc::clone(keep_alive));
                    tier.send(Kind::Private, id.slot(), &keep_alive.content);
                }
                State::Behind | State::Stalled => {}
                State::Free | State::Recalled | State::Returning | State::Leaving | State::Closing => continue,
            }
            self.chimes.keep_alives.add(now + wait, (id, generation));
        }
    }
}
