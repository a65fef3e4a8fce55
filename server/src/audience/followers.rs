//! The followers of one topic on one core: which seats are live, and what they are to be sent next.
//!
//! Invariant: every live seat has been sent all of the topic before `base`, and `chain` holds the rest up to `target` in
//! order. A topic of the whole stream has no chain: there, everything in `base..target` is the topic's.

use fantail_engine::log::filter::Filter;

use super::seat::SeatId;
use super::watched::ViewId;
use crate::limits::CHAIN_EXTENTS_MAX;

pub(super) struct Followers {
    pub(super) view: ViewId,
    pub(super) filter: Filter,
    /// What these follow of channels: a row in the audience's table of subscriptions, or [`UNSUBSCRIBED`].
    pub(super) subscription: u32,
    /// All seats, live or not.
    pub(super) members: u32,
    pub(super) live: Vec<SeatId>,
    chain: Vec<(u64, u32)>,
    pub(super) base: u64,
    pub(super) target: u64,
    /// Where the pass over the live seats goes on, and how many of them it is still to visit: those from `next` on, and
    /// then, when the end is reached, those from the beginning.
    next: u32,
    left: u32,
    /// Whether a seat visited in this pass needs another visit: its bytes weren't in one piece.
    pub(super) is_unfinished: bool,
    /// Whether it waits in the audience's list of those that have something to send.
    pub(super) is_hot: bool,
}

/// Names no subscription: these follow a stream.
pub(super) const UNSUBSCRIBED: u32 = u32::MAX;

impl Followers {
    pub(super) fn new(view: ViewId, filter: Filter, subscription: u32, at: u64) -> Followers {
        Followers {
            view,
            filter,
            subscription,
            members: 0,
            live: Vec::new(),
            chain: Vec::new(),
            base: at,
            target: at,
            next: 0,
            left: 0,
            is_unfinished: false,
            is_hot: false,
        }
    }

    /// Notes an event for the live seats, that had everything of the topic before `seen`. False if the chain is full.
    pub(super) fn extend(&mut self, seen: u64, start: u64, length: u32) -> bool {
        let is_full = self.chain.len() == CHAIN_EXTENTS_MAX;
        match self.chain.last_mut() {
            None => self.base = seen,
            Some((last, long)) if *last + u64::from(*long) == start + u64::from(length) => return true,
            Some((last, long)) if *last + u64::from(*long) == start && *long + length < 1 << 27 => {
                *long += length;
                self.target = start + u64::from(length);
                return true;
            }
            Some(_) if is_full => return false,
            Some(_) => {}
        }
        self.chain.push((start, length));
        self.target = start + u64::from(length);
        true
    }

    /// What a live seat at `cursor` is to be sent next: a run of the log.
    pub(super) fn run(&self, cursor: u64) -> Option<(u64, u64)> {
        match self.filter {
            Filter::Whole => (cursor < self.target).then_some((cursor, self.target)),
            Filter::Path(_) | Filter::Paths(_) => {
                let index = self.chain.partition_point(|(start, length)| start + u64::from(*length) <= cursor);
                let (start, length) = *self.chain.get(index)?;
                Some((start.max(cursor), start + u64::from(length)))
            }
        }
    }

    /// All live seats have everything up to `seen`.
    pub(super) fn settle(&mut self, seen: u64) {
        // An idle topic holds no memory for what comes: there may be very many of them.
        self.chain = Vec::new();
        self.base = seen;
        self.left = 0;
    }

    /// Starts the pass over the live seats anew, from where the last one stopped, so that no seat is always last.
    pub(super) fn restart(&mut self) {
        self.left = self.live.len() as u32;
        self.is_unfinished = false;
        if self.next >= self.left {
            self.next = 0;
        }
    }

    /// The next live seat of the pass; none if it has been to all.
    pub(super) fn visit(&mut self) -> Option<SeatId> {
        self.left = self.left.checked_sub(1)?;
        if self.next >= self.live.len() as u32 {
            self.next = 0;
        }
        self.next += 1;
        Some(self.live[self.next as usize - 1])
    }

    /// Whether the pass has been to all live seats.
    pub(super) fn is_visited(&self) -> bool {
        self.left == 0
    }

    /// A seat that has everything up to now is live from now on; returns its place.
    pub(super) fn add(&mut self, seat: SeatId) -> u32 {
        self.live.push(seat);
        // A pass under way may come to it: that must not cost another seat its visit.
        if self.left > 0 {
            self.left += 1;
        }
        self.live.len() as u32 - 1
    }

    /// Takes the seat at `place` from the live ones, and returns the places at which others may stand now.
    ///
    /// The last one fills the gap. If the pass has been at the gap already, but not at the last one, it would miss it: so
    /// the gap is first moved to where the pass goes on.
    pub(super) fn remove(&mut self, place: u32) -> [u32; 2] {
        let mut gap = place;
        if self.left > 0 && gap < self.next {
            self.next -= 1;
            self.left += 1;
            self.live.swap(gap as usize, self.next as usize);
            gap = self.next;
        }
        self.live.swap_remove(gap as usize);
        self.left = self.left.min(self.live.len() as u32);
        [place, gap]
    }
}

const _: () = assert!(std::mem::size_of::<Followers>() <= 112, "there may be hundreds of thousands of topics");

#[cfg(test)]
mod tests {
    use super::*;
    use fantail_engine::topic::Topic;

    fn filtered() -> Followers {
        Followers::new(ViewId(0), Filter::of([Topic::Path(7)]), UNSUBSCRIBED, 100)
    }

    #[test]
    fn adjacent_events_go_out_in_one_run() {
        let mut followers = filtered();
        assert_eq!(followers.run(100), None);
        assert!(followers.extend(150, 150, 10) && followers.extend(150, 160, 5) && followers.extend(150, 180, 5));
        assert!(followers.extend(150, 180, 5), "an event of two topics of one filter counts once");
        assert_eq!((followers.base, followers.target), (150, 185));
        assert_eq!(followers.run(100), Some((150, 165)));
        assert_eq!(followers.run(155), Some((155, 165)));
        assert_eq!(followers.run(165), Some((180, 185)));
        assert_eq!(followers.run(185), None);
        followers.settle(200);
        assert_eq!((followers.base, followers.run(100)), (200, None));
    }

    #[test]
    fn whoever_comes_and_goes_a_pass_visits_all_who_were_there() {
        // Every seat that was live when the pass began, and still is, must be visited, whatever happens on the way.
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |bound: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % bound as u64) as usize
        };
        for round in 0..20_000 {
            let mut followers = filtered();
            let mut fresh = 0..;
            let mut newcomer = || SeatId::new(0, fresh.next().expect("numbers don't end"));
            for _ in 0..1 + random(8) {
                followers.add(newcomer());
            }
            followers.next = random(followers.live.len() + 4) as u32;
            followers.restart();
            let mut owed = followers.live.clone();
            for _ in 0..100 {
                match random(4) {
                    0 if !followers.live.is_empty() => {
                        let place = random(followers.live.len());
                        let gone = followers.live[place];
                        followers.remove(place as u32);
                        owed.retain(|seat| *seat != gone);
                    }
                    1 => drop(followers.add(newcomer())),
                    _ => match followers.visit() {
                        Some(visited) => owed.retain(|seat| *seat != visited),
                        None => break,
                    },
                }
            }
            while let Some(visited) = followers.visit() {
                owed.retain(|seat| *seat != visited);
            }
            assert!(owed.is_empty(), "round {round}: {owed:?}");
        }
    }

    #[test]
    fn a_full_chain_says_so() {
        let mut followers = filtered();
        for index in 0..CHAIN_EXTENTS_MAX as u64 {
            assert!(followers.extend(100, 100 + index * 10, 5));
        }
        assert!(!followers.extend(100, 1_000_000, 5));
    }
}
