//! The seats that walk the log on their own and wait for their turn: those whose next bytes are in the tail, which will be live
//! soon, before those that read history.
//!
//! Invariant: neither kind starves the other; of four turns, one is history's if somebody reads it.

use std::collections::VecDeque;

use super::seat::SeatId;

/// Turns in a row that those near the live ones may take while others wait.
const NEAR_IN_A_ROW: u8 = 3;

/// Where a seat reads next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reads {
    /// In the tail, or nothing at all.
    Tail,
    /// In segments, or in a checkpoint.
    History,
}

/// See the module. A seat is in it once at most, with the generation that it had.
#[derive(Default)]
pub(super) struct Queue {
    tail: VecDeque<(SeatId, u16)>,
    history: VecDeque<(SeatId, u16)>,
    /// Turns that the tail's have had since history's had one.
    in_a_row: u8,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        self.tail.len() + self.history.len()
    }

    pub(super) fn push(&mut self, seat: (SeatId, u16), reads: Reads) {
        match reads {
            Reads::Tail => self.tail.push_back(seat),
            Reads::History => self.history.push_back(seat),
        }
    }

    /// What this seat waited for has come: it is the next of those that read history.
    pub(super) fn push_first(&mut self, seat: (SeatId, u16)) {
        self.history.push_front(seat);
    }

    /// The seat whose turn it is.
    pub(super) fn pop(&mut self) -> Option<(SeatId, u16)> {
        let is_historys = self.in_a_row >= NEAR_IN_A_ROW && !self.history.is_empty();
        match self.tail.pop_front_if(|_| !is_historys) {
            Some(seat) => {
                self.in_a_row = self.in_a_row.saturating_add(1);
                Some(seat)
            }
            None => {
                self.in_a_row = 0;
                self.history.pop_front()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_near_the_live_ones_come_first_and_history_has_its_turns() {
        let seat = |slot| (SeatId::new(0, slot), 0);
        let mut queue = Queue::default();
        (0..4).for_each(|slot| queue.push(seat(slot), Reads::History));
        (10..18).for_each(|slot| queue.push(seat(slot), Reads::Tail));
        queue.push_first(seat(9));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|(id, _)| id.slot()).collect();
        assert_eq!(order, [10, 11, 12, 9, 13, 14, 15, 0, 16, 17, 1, 2, 3]);
        assert!(queue.is_empty());
    }
}
