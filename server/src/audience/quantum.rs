//! A quantum: what the audience sends with one enter of its rings. It takes quanta until its time is over, and then lets
//! the conversations of its core run.
//!
//! Live seats come first, and leave a share to those behind, so that neither starves the other. Looking costs as well as
//! sending, so that a pass over a million seats that need nothing yields, too.

use std::time::{Duration, Instant};

use fantail_engine::log::view::{Step, Unread};

use super::Audience;
use super::seat::{Kind, SeatId, State, UNHELD};
use super::shelf::Waiter;
use super::tier::Tier;
use crate::limits::{BEHIND_PERCENT, HEARTBEAT_PERCENT, QUANTUM_BYTES, QUANTUM_ENTRIES, SEND_BYTES};

/// What a look at a seat that needs nothing costs of a quantum's bytes, since it costs time.
pub(super) const LOOK_BYTES: u64 = 64;
/// Bytes of the log that are searched for the cost of one that is sent.
pub(super) const SEARCH_BYTES: u64 = 16;

/// How much a quantum may still do.
pub(super) struct Budget {
    entries: usize,
    bytes: u64,
}

impl Budget {
    /// So many percent of a quantum.
    fn of(percent: usize) -> Budget {
        Budget { entries: QUANTUM_ENTRIES * percent / 100, bytes: QUANTUM_BYTES * percent as u64 / 100 }
    }

    fn add(&mut self, other: Budget) {
        self.entries += other.entries;
        self.bytes += other.bytes;
    }

    pub(super) fn spend(&mut self, bytes: u64) {
        self.entries -= 1;
        self.look(bytes);
    }

    /// Time that goes by without a send.
    pub(super) fn look(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    pub(super) fn is_spent(&self) -> bool {
        self.entries == 0 || self.bytes == 0
    }
}

/// What comes after a visit to a seat that is behind.
pub(super) enum After {
    /// It waits for its next turn.
    Again,
    /// It is live, or waits for a page.
    Enough,
}

impl Audience {
    /// Quanta until `time` is over or nothing is left to do; one at least, and no more than one while only history is read,
    /// which can wait for whoever has a write or a request. Returns whether there is more to do at once.
    pub fn turn(&mut self, time: Duration) -> bool {
        let begun = Instant::now();
        loop {
            let has_more = self.quantum();
            if !has_more || self.hot.is_empty() || begun.elapsed() >= time {
                return has_more;
            }
        }
    }

    /// Completions, then sends. Returns whether there is more to do at once.
    fn quantum(&mut self) -> bool {
        self.enter();
        // Private bytes must not share an enter with bytes of the log for the same seat: they are not sent again if the
        // socket takes only some of them.
        let mut budget = Budget::of(HEARTBEAT_PERCENT);
        self.beat(&mut budget);
        self.enter();
        self.grant_recalls();
        let share = if self.behind.is_empty() { 0 } else { BEHIND_PERCENT };
        let mut budget = Budget::of(100 - share);
        self.fan_out(&mut budget);
        budget.add(Budget::of(share));
        let visited = self.catch_up(&mut budget);
        self.enter();
        // Before the next enter: who stalled and has room by then is given a turn for that, and two turns in one quantum would be
        // two sends of which the second doesn't know how much the first has sent.
        for (id, generation) in visited {
            let seat = self.tiers[id.tier()].seat(id.slot());
            if seat.state == State::Behind && seat.generation == generation {
                self.await_turn(id);
            }
        }
        // Behind the items: a seat that gets some in every turn has no other moment between two of them.
        self.chime(&mut Budget::of(HEARTBEAT_PERCENT));
        self.enter();
        !self.hot.is_empty()
            || !self.behind.is_empty()
            || self.heartbeat.is_due()
            || self.chimes.is_due()
            || self.recalls.is_due()
            || self.tiers.iter_mut().any(Tier::is_woken)
    }

    /// Enters the rings that have something to do, and handles all that completed.
    pub(super) fn enter(&mut self) {
        for index in 0..self.tiers.len() {
            let tier = &mut self.tiers[index];
            if !tier.is_woken() {
                continue;
            }
            let mut completions = std::mem::take(&mut self.completions);
            tier.enter(&mut completions);
            for completion in completions.drain(..) {
                self.complete(index, completion);
            }
            self.completions = completions;
        }
        self.chimes.entered();
    }

    /// Sends live seats what was published, topic after topic, each at most once in a quantum.
    fn fan_out(&mut self, budget: &mut Budget) {
        for _ in 0..self.hot.len() {
            if budget.is_spent() {
                return;
            }
            let Some(id) = self.hot.pop_front() else { return };
            match self.pass(id, budget) {
                true => {
                    self.followers[id as usize].is_hot = false;
                    self.forget_if_empty(id);
                }
                false => self.hot.push_back(id),
            }
        }
    }

    /// Visits live seats of one topic while the budget lasts. Returns whether all of them have everything.
    fn pass(&mut self, id: u32, budget: &mut Budget) -> bool {
        let followers = &mut self.followers[id as usize];
        let watched = &self.watched[followers.view.0 as usize];
        let now = self.heartbeat.now();
        let mut lagging = Vec::new();
        budget.look(LOOK_BYTES);
        while !budget.is_spent()
            && let Some(seat_id) = followers.visit()
        {
            budget.look(LOOK_BYTES);
            let tier = &mut self.tiers[seat_id.tier()];
            let seat = tier.seat(seat_id.slot());
            let Some((from, to)) = followers.run(seat.cursor) else { continue };
            // What the tail doesn't have any more is read by each on its own.
            let Some(bytes) = watched.view.blocks.run(from, to.min(from + SEND_BYTES)) else {
                seat.cursor = from;
                lagging.push(seat_id);
                continue;
            };
            seat.cursor = from + bytes.len() as u64;
            seat.sent = now;
            seat.quiet = 0;
            followers.is_unfinished |= followers.run(seat.cursor).is_some();
            tier.send(Kind::Send, seat_id.slot(), bytes);
            self.counts.sent(bytes);
            budget.spend(bytes.len() as u64);
        }
        let is_finished = followers.is_visited() && !followers.is_unfinished;
        if is_finished {
            followers.settle(watched.view.published);
        } else if followers.is_visited() {
            followers.restart();
        }
        for id in lagging {
            self.fall_behind(id);
        }
        is_finished
    }

    /// Sends seats behind the live ones their next bytes, each at most once in a quantum. Returns whom it sent.
    fn catch_up(&mut self, budget: &mut Budget) -> Vec<(SeatId, u16)> {
        let mut visited = Vec::new();
        for _ in 0..self.behind.len() {
            if budget.is_spent() {
                break;
            }
            let Some((id, generation)) = self.behind.pop() else { break };
            let seat = self.tiers[id.tier()].seat(id.slot());
            if seat.state != State::Behind || seat.generation != generation {
                continue;
            }
            let followed = match seat.in_snapshot {
                true => self.read_snapshot(id, budget),
                false => self.read_log(id, budget),
            };
            match followed {
                Ok(After::Again) => visited.push((id, generation)),
                Ok(After::Enough) => {}
                Err(unread) => {
                    budget.look(LOOK_BYTES);
                    self.miss(id, unread);
                }
            }
        }
        visited
    }

    /// The next bytes of the log for a seat behind; it joins the live ones if there are none.
    fn read_log(&mut self, id: SeatId, budget: &mut Budget) -> Result<After, Unread> {
        let tier = &mut self.tiers[id.tier()];
        let seat = tier.seat(id.slot());
        if seat.hold != UNHELD {
            return self.read_items(id, budget);
        }
        let followers = &mut self.followers[seat.followers as usize];
        let watched = &self.watched[followers.view.0 as usize];
        match watched.view.step(&followers.filter, seat.cursor, SEND_BYTES, &self.shelf.of(&watched.volume))? {
            Step::Run(at, bytes) => {
                budget.look((at - seat.cursor) / SEARCH_BYTES);
                seat.cursor = at + bytes.len() as u64;
                seat.sent = self.heartbeat.now();
                seat.quiet = 0;
                let (view, cursor) = (followers.view, seat.cursor);
                tier.send(Kind::Send, id.slot(), bytes);
                self.counts.sent(bytes);
                budget.spend(bytes.len() as u64);
                self.look_ahead(view, cursor);
            }
            Step::Skip(to) => {
                budget.spend((to - seat.cursor) / SEARCH_BYTES);
                seat.cursor = to;
            }
            Step::Done => {
                budget.look(LOOK_BYTES);
                self.come_live(id);
                return Ok(After::Enough);
            }
        }
        Ok(After::Again)
    }

    /// A seat that has everything joins the live ones.
    pub(super) fn come_live(&mut self, id: SeatId) {
        let seat = self.tiers[id.tier()].seat(id.slot());
        let followers = &mut self.followers[seat.followers as usize];
        seat.state = State::Live;
        if followers.live.is_empty() {
            let published = self.watched[followers.view.0 as usize].view.published;
            followers.settle(published);
            followers.target = published;
        }
        seat.place = followers.add(id);
    }

    /// The next bytes of a checkpoint for a seat, and then of the log.
    fn read_snapshot(&mut self, id: SeatId, budget: &mut Budget) -> Result<After, Unread> {
        let tier = &mut self.tiers[id.tier()];
        let seat = tier.seat(id.slot());
        let (reading, cursor) = self.snapshots.get_mut(&id).expect("a seat in a snapshot has the rest of it here");
        while let Some(part) = reading.parts.front() {
            if seat.cursor < part.end {
                let Some(bytes) = self.shelf.snapshot(&reading.snapshot, seat.cursor) else {
                    let waiter = Waiter::Seat(id, seat.generation);
                    self.shelf.want_snapshot(&reading.snapshot, seat.cursor, waiter);
                    return Ok(After::Enough);
                };
                let bytes = &bytes[..bytes.len().min((part.end - seat.cursor).min(SEND_BYTES) as usize)];
                seat.cursor += bytes.len() as u64;
                seat.sent = self.heartbeat.now();
                tier.send(Kind::Send, id.slot(), bytes);
                self.counts.sent(bytes);
                budget.spend(bytes.len() as u64);
                return Ok(After::Again);
            }
            reading.parts.pop_front();
            if let Some(next) = reading.parts.front() {
                seat.cursor = next.start;
            }
        }
        seat.in_snapshot = false;
        seat.cursor = *cursor;
        self.snapshots.remove(&id);
        self.read_log(id, budget)
    }
}
