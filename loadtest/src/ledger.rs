//! What one follower has received, and whether anything of it is missing, repeated or out of order.
//!
//! Two numberings are checked apart: the positions in `id:` and the counter that the publisher writes into the documents.
//! A fault mostly shows in both and is then counted once.

use std::ops::Range;

use fantail_engine::position::Position;

use crate::swarm::Moment;

/// What the numbers of a numbering must be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Law {
    /// Each is the one before it plus one: a whole stream's positions, a topic's counter.
    Gapless,
    /// Each is greater than the one before it: the positions of a part of a stream.
    Rising,
    /// Anything goes: several streams on one connection.
    None,
}

/// The laws for all followers of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Of the positions.
    pub(crate) positions: Law,
    /// Writers of a topic. Each has a counter of its own, which has no gaps: their writes have an order, those of several
    /// writers have none.
    pub(crate) writers: u64,
}

impl Rules {
    /// For so many writers and topics: a topic belongs to one writer, but a lone topic to all of them.
    pub(crate) fn new(positions: Law, writers: usize, topics: usize) -> Rules {
        Rules { positions, writers: if topics == 1 { writers as u64 } else { 1 } }
    }

    /// The number that the writer `writer` puts into the document for its `counter`th write of a topic: no other writer's.
    pub(crate) fn number(self, writer: usize, counter: u64) -> u64 {
        (counter - 1) * self.writers + writer as u64 + 1
    }

    /// Whose number that is, and what that writer's counter was.
    fn counter(self, number: u64) -> (usize, u64) {
        match self.writers {
            1 => (0, number),
            writers => ((number.saturating_sub(1) % writers) as usize, number.saturating_sub(1) / writers + 1),
        }
    }

    /// Of all counters of a run, those of a topic: one per writer.
    pub(crate) fn of_topic(self, counters: &[u64], topic: usize) -> &[u64] {
        match self.writers {
            1 => &counters[topic..=topic],
            _ => counters,
        }
    }
}

/// How often each law was broken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Numbers that never came.
    pub(crate) lost: u64,
    /// Numbers that came again.
    pub(crate) repeated: u64,
    /// Numbers that came after greater ones.
    pub(crate) disordered: u64,
}

impl Faults {
    fn total(&self) -> u64 {
        self.lost + self.repeated + self.disordered
    }

    /// Adds the faults of another follower.
    pub(crate) fn add(&mut self, other: Faults) {
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.disordered += other.disordered;
    }
}

/// One follower's account.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    positions: Numbers,
    /// Of the first writer.
    counter: Numbers,
    /// Of the others.
    others: Box<[Numbers]>,
    /// When the last frame was meant to be written; 0 if that isn't known.
    time: u64,
    /// Frames received that belong to the run.
    pub(crate) frames: u64,
}

impl Ledger {
    /// An account whose first position is taken from the stream, and whose counters begin with `first_counter` if that is
    /// known.
    pub(crate) fn new(first_counter: Option<u64>, rules: Rules) -> Ledger {
        let counter = Numbers { next: first_counter.unwrap_or(UNKNOWN), trouble: None };
        let others = (1..rules.writers).map(|_| counter.clone()).collect();
        Ledger { positions: Numbers::default(), counter, others, time: 0, frames: 0 }
    }

    /// When a frame was meant to be written: a patch of the counter alone leaves the moment as the frame before it had it.
    pub(crate) fn moment(&mut self, moment: Moment) -> Option<u64> {
        self.time = match moment {
            Moment::At(time) => time,
            Moment::AsBefore => self.time,
            Moment::Unknown => return None,
        };
        (self.time > 0).then_some(self.time)
    }

    /// A `position` event: everything up to it has been sent, and nothing behind it.
    pub(crate) fn stand(&mut self, position: Position, rules: Rules) {
        self.positions.stand(position.sequence, rules.positions);
    }

    /// A frame; `counter` only if it belongs to the run. Returns how many more are missing than before it, for whoever shows
    /// that while a run goes on.
    pub(crate) fn frame(&mut self, position: Option<Position>, counter: Option<u64>, rules: Rules) -> i64 {
        let by_position = position.map_or(0, |position| self.positions.see(position.sequence, rules.positions));
        let by_counter = counter.map_or(0, |number| {
            let (writer, counter) = rules.counter(number);
            self.of_writer(writer).see(counter, Law::Gapless)
        });
        if by_position == 0 { by_counter } else { by_position }
    }

    fn of_writer(&mut self, writer: usize) -> &mut Numbers {
        match writer.checked_sub(1) {
            None => &mut self.counter,
            Some(other) => &mut self.others[other],
        }
    }

    /// The sequence of the last position, if there was one.
    pub(crate) fn last(&self) -> Option<u64> {
        (self.positions.next != UNKNOWN).then(|| self.positions.next - 1)
    }

    /// A `reset` event: what was received before says nothing about what follows.
    pub(crate) fn reset(&mut self) {
        self.positions.next = UNKNOWN;
        std::iter::once(&mut self.counter).chain(&mut self.others).for_each(|counter| counter.next = UNKNOWN);
    }

    /// The faults so far; the numbering that shows more of them is believed.
    pub(crate) fn faults(&self) -> Faults {
        let (positions, counters) = (self.positions.faults(), self.by_counters());
        if positions.total() > counters.total() { positions } else { counters }
    }

    fn by_counters(&self) -> Faults {
        std::iter::once(&self.counter).chain(&self.others).fold(Faults::default(), |mut sum, counter| {
            sum.add(counter.faults());
            sum
        })
    }

    /// The faults when each writer of the topic has counted so far and no more frame will come.
    pub(crate) fn close(mut self, published: &[u64]) -> Faults {
        for (writer, &counter) in published.iter().enumerate() {
            let numbers = self.of_writer(writer);
            if numbers.next != UNKNOWN {
                numbers.stand(counter, Law::Gapless);
            }
        }
        let mut faults = self.faults();
        // What was lost while a stream was reset left no gap behind.
        let came = self.frames.saturating_sub(self.by_counters().repeated);
        faults.lost = faults.lost.max(published.iter().sum::<u64>().saturating_sub(came));
        faults
    }
}

/// No number was seen yet: the next one is taken as it is.
const UNKNOWN: u64 = u64::MAX;

/// Ranges of missing numbers that are remembered, so that late ones are told from repeated ones. Beyond them, late frames
/// count as lost and repeated.
const HOLES_MAX: usize = 64;

#[derive(Debug, Clone)]
struct Numbers {
    next: u64,
    trouble: Option<Box<Trouble>>,
}

#[derive(Debug, Clone, Default)]
struct Trouble {
    faults: Faults,
    holes: Vec<Range<u64>>,
}

impl Default for Numbers {
    fn default() -> Numbers {
        Numbers { next: UNKNOWN, trouble: None }
    }
}

impl Numbers {
    /// The next number; returns how many more are missing than before.
    fn see(&mut self, number: u64, law: Law) -> i64 {
        if number == self.next || self.next == UNKNOWN {
            self.next = number.saturating_add(1);
            return 0;
        }
        let before = self.faults().lost;
        if number > self.next {
            self.skip_to(number, law);
            self.next = number.saturating_add(1);
        } else if law != Law::None {
            self.late(number);
        }
        self.faults().lost.cast_signed() - before.cast_signed()
    }

    fn stand(&mut self, number: u64, law: Law) {
        if self.next == UNKNOWN {
            self.next = number.saturating_add(1);
        } else if number.saturating_add(1) > self.next {
            self.skip_to(number.saturating_add(1), law);
            self.next = number.saturating_add(1);
        } else if number.saturating_add(1) < self.next && law != Law::None {
            self.trouble().faults.disordered += 1;
        }
    }

    fn skip_to(&mut self, number: u64, law: Law) {
        if law == Law::Gapless {
            let hole = self.next..number;
            let trouble = self.trouble();
            trouble.faults.lost += hole.end - hole.start;
            if trouble.holes.len() < HOLES_MAX {
                trouble.holes.push(hole);
            }
        }
    }

    fn late(&mut self, number: u64) {
        let trouble = self.trouble();
        let Some(index) = trouble.holes.iter().position(|hole| hole.contains(&number)) else {
            trouble.faults.repeated += 1;
            return;
        };
        let hole = trouble.holes.swap_remove(index);
        trouble.holes.extend([hole.start..number, number + 1..hole.end].into_iter().filter(|part| !part.is_empty()));
        trouble.faults.lost -= 1;
        trouble.faults.disordered += 1;
    }

    fn trouble(&mut self) -> &mut Trouble {
        self.trouble.get_or_insert_default()
    }

    fn faults(&self) -> Faults {
        self.trouble.as_ref().map_or_else(Faults::default, |trouble| trouble.faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fantail_engine::position::Epoch;

    const WHOLE: Rules = Rules { positions: Law::Gapless, writers: 1 };
    const PART: Rules = Rules { positions: Law::Rising, writers: 1 };

    fn position(sequence: u64) -> Position {
        Position { epoch: Epoch::from_bits(7), sequence }
    }

    fn received(rules: Rules, published: u64, frames: &[(u64, u64)]) -> (u64, u64, u64) {
        let mut ledger = Ledger::new(Some(1), rules);
        ledger.stand(position(10), rules);
        for &(sequence, counter) in frames {
            ledger.frame(Some(position(sequence)), Some(counter), rules);
            ledger.frames += 1;
        }
        let faults = ledger.close(&[published]);
        (faults.lost, faults.repeated, faults.disordered)
    }

    #[test]
    fn a_whole_stream_misses_nothing() {
        assert_eq!(received(WHOLE, 3, &[(11, 1), (12, 2), (13, 3)]), (0, 0, 0));
        assert_eq!(received(WHOLE, 3, &[(11, 1), (13, 3)]), (1, 0, 0), "lost in the middle");
        assert_eq!(received(WHOLE, 3, &[(12, 2), (13, 3)]), (1, 0, 0), "lost at the start");
        assert_eq!(received(WHOLE, 3, &[(11, 1), (12, 2)]), (1, 0, 0), "lost at the end");
        assert_eq!(received(WHOLE, 3, &[]), (3, 0, 0), "lost all");
        assert_eq!(received(WHOLE, 3, &[(11, 1), (12, 2), (12, 2), (13, 3)]), (0, 1, 0), "repeated");
        assert_eq!(received(WHOLE, 3, &[(11, 1), (12, 2), (13, 3), (11, 1)]), (0, 1, 0), "repeated later");
        assert_eq!(received(WHOLE, 3, &[(11, 1), (13, 3), (12, 2)]), (0, 0, 1), "reordered");
        assert_eq!(received(WHOLE, 5, &[(11, 1), (15, 5), (13, 3), (12, 2), (13, 3)]), (1, 1, 2), "everything");
    }

    #[test]
    fn either_numbering_alone_shows_a_fault() {
        assert_eq!(received(WHOLE, 3, &[(11, 1), (12, 3)]), (1, 0, 0), "positions that hide a loss");
        assert_eq!(received(WHOLE, 3, &[(11, 1), (12, 2), (14, 3)]), (1, 0, 0), "a foreign frame lost");
        assert_eq!(received(WHOLE, 2, &[(11, 1), (12, 1), (13, 2)]), (0, 1, 0), "another position, the same write");
    }

    #[test]
    fn a_part_of_a_stream_is_held_to_its_counter() {
        assert_eq!(received(PART, 3, &[(11, 1), (15, 2), (99, 3)]), (0, 0, 0));
        assert_eq!(received(PART, 3, &[(11, 1), (99, 3)]), (1, 0, 0), "lost");
        assert_eq!(received(PART, 3, &[(11, 1), (99, 3), (15, 2)]), (0, 0, 1), "reordered");
        assert_eq!(received(PART, 2, &[(15, 1), (11, 2)]), (0, 1, 0), "positions that fall");
    }

    #[test]
    fn each_of_several_writers_has_a_counter_of_its_own() {
        let rules = Rules::new(Law::None, 2, 1);
        let received = |writes: &[(usize, u64)]| {
            let mut ledger = Ledger::new(Some(1), rules);
            for &(writer, counter) in writes {
                ledger.frame(None, Some(rules.number(writer, counter)), rules);
                ledger.frames += 1;
            }
            let Faults { lost, repeated, disordered } = ledger.close(&[3, 2]);
            (lost, repeated, disordered)
        };
        let all: Vec<u64> =
            [(0, 1), (1, 1), (0, 2), (1, 2)].map(|(writer, counter)| rules.number(writer, counter)).into();
        assert_eq!(all, [1, 2, 3, 4], "no number twice");
        assert_eq!(received(&[(1, 1), (1, 2), (0, 1), (0, 2), (0, 3)]), (0, 0, 0), "in any order");
        assert_eq!(received(&[(0, 1), (1, 1), (0, 2), (1, 2)]), (1, 0, 0), "lost at the end");
        assert_eq!(received(&[(0, 1), (1, 1), (0, 3), (1, 2), (1, 2)]), (1, 1, 0), "a repeat hides no loss");
        assert_eq!(received(&[(0, 1), (1, 2), (0, 2), (1, 1), (0, 3)]), (0, 0, 1), "a writer's own have an order");
        assert_eq!(received(&[]), (5, 0, 0), "lost all");
        assert_eq!(Rules::new(Law::None, 2, 3).writers, 1, "a topic of several belongs to one");
        assert_eq!((rules.of_topic(&[3, 2], 0), WHOLE.of_topic(&[3, 2], 1)), (&[3, 2][..], &[2][..]));
    }

    #[test]
    fn what_is_lost_over_a_reset_is_lost() {
        let received = |after: &[u64]| {
            let mut ledger = Ledger::new(Some(1), PART);
            for counter in [1, 2] {
                ledger.frame(Some(position(10 + counter)), Some(counter), PART);
                ledger.frames += 1;
            }
            ledger.reset();
            for &counter in after {
                ledger.frame(Some(position(10 + counter)), Some(counter), PART);
                ledger.frames += 1;
            }
            ledger.close(&[6])
        };
        assert_eq!(received(&[3, 4, 5, 6]), Faults::default());
        assert_eq!(received(&[5, 6]), Faults { lost: 2, ..Faults::default() });
        assert_eq!(received(&[5]), Faults { lost: 3, ..Faults::default() });
        assert_eq!(received(&[]), Faults { lost: 4, ..Faults::default() });
    }

    #[test]
    fn a_moment_that_is_not_named_is_that_of_before() {
        let mut ledger = Ledger::new(Some(1), PART);
        assert_eq!(ledger.moment(Moment::AsBefore), None);
        assert_eq!((ledger.moment(Moment::At(7)), ledger.moment(Moment::Unknown)), (Some(7), None));
        assert_eq!(ledger.moment(Moment::AsBefore), Some(7));
    }

    #[test]
    fn a_position_event_is_a_promise() {
        let mut ledger = Ledger::new(None, WHOLE);
        ledger.stand(position(10), WHOLE);
        ledger.stand(position(10), WHOLE);
        assert_eq!(ledger.faults(), Faults::default());
        ledger.stand(position(12), WHOLE);
        assert_eq!(ledger.faults().lost, 2, "frames before it that never came");
        ledger.stand(position(11), WHOLE);
        assert_eq!(ledger.faults().disordered, 1, "it went back");
        ledger.reset();
        ledger.stand(position(3), WHOLE);
        assert_eq!(ledger.faults().total(), 3, "a reset starts again");
        let mut quiet = Ledger::new(None, PART);
        quiet.stand(position(10), PART);
        quiet.stand(position(400), PART);
        assert_eq!(quiet.faults(), Faults::default());
    }

    #[test]
    fn what_is_remembered_of_faults_is_bounded() {
        let mut ledger = Ledger::new(None, WHOLE);
        for sequence in (0..100_000).step_by(2) {
            ledger.frame(Some(position(sequence)), None, WHOLE);
        }
        assert_eq!(ledger.faults().lost, 49_999);
        assert!(ledger.positions.trouble.expect("trouble").holes.len() <= HOLES_MAX);
    }
}
