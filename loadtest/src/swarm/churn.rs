//! What followers do of their own accord while a run publishes: they leave by a clean close or a reset, stall and read on,
//! come back, or give up in the middle of a handshake. Decides, and does nothing itself.
//!
//! Invariant: what a follower does, how often and for how long depends on the seed and on its number alone. How the
//! server answers changes only the moments.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// How many times shorter a follower is away than it follows or stalls, on average.
const AWAY: u32 = 10;

/// How long a follower waits that was turned away, or whose old socket isn't closed yet.
const PUT_OFF: Duration = Duration::from_millis(100);

/// A random time is at most so many times the mean, so that a run ends.
const MEANS_MAX: f64 = 5.0;

/// One in so many returns is given up in the middle of the handshake.
const ABANDONED: u64 = 4;

/// One in so many returns is with a receive buffer that a stall fills.
const NARROW: u64 = 3;

/// How a run churns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Churning {
    /// How long a follower follows, or stalls, on average.
    pub(crate) mean: Duration,
    /// What everything random comes from.
    pub(crate) seed: u64,
}

/// What a follower does after following for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// It leaves.
    Leave(Farewell),
    /// It stops reading.
    Stall,
}

/// How a follower leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// With a FIN, unless something was left unread.
    Close,
    /// With a RST.
    Reset,
}

/// How a follower comes back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Return {
    /// To stay.
    Stay(Window),
    /// It sends this share (0 to 1) of the request, then leaves without having read an answer.
    Abandon(f64, Farewell),
}

/// What a follower that has waited is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// Whatever comes next.
    Next,
    /// What it was turned away from.
    Again,
}

/// How much a socket receives without being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Window {
    /// As much as the kernel likes.
    Usual,
    /// Some dozens of frames, which a reader that stalls lets come soon.
    Narrow,
}

/// What the followers of a run did, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Left with a FIN.
    pub(crate) closes: u64,
    /// Left with a RST.
    pub(crate) resets: u64,
    /// Stopped reading for a while.
    pub(crate) stalls: u64,
    /// Left in the middle of a handshake.
    pub(crate) abandoned: u64,
    /// Came back and followed again.
    pub(crate) resumes: u64,
    /// Came back and were turned away: reset, or answered without a first block.
    pub(crate) turned_away: u64,
}

impl Tally {
    /// Adds what other followers did.
    pub(crate) fn add(&mut self, other: Tally) {
        self.closes += other.closes;
        self.resets += other.resets;
        self.stalls += other.stalls;
        self.abandoned += other.abandoned;
        self.resumes += other.resumes;
        self.turned_away += other.turned_away;
    }
}

/// The followers of one thread.
pub(crate) struct Churn {
    mean: Duration,
    /// One per follower.
    dice: Vec<Dice>,
    /// When each does its next thing, in nanoseconds since 1970. At most one entry per follower.
    due: BinaryHeap<Reverse<(u64, u32, Due)>>,
}

impl Churn {
    /// For `count` followers, of which the first has the number `first`.
    pub(crate) fn new(churning: Churning, first: usize, count: usize) -> Churn {
        let dice = (first..first + count).map(|number| Dice::new(churning.seed, number as u64)).collect();
        Churn { mean: churning.mean, dice, due: BinaryHeap::with_capacity(count) }
    }

    /// The follower in `slot` follows, or stalls, for a random time.
    pub(crate) fn keep(&mut self, slot: u32, now_ns: u64) {
        let time = self.dice[slot as usize].time(self.mean);
        self.wake(slot, Due::Next, now_ns, time);
    }

    /// It is away for a random short time.
    pub(crate) fn stay_away(&mut self, slot: u32, now_ns: u64) {
        let time = self.dice[slot as usize].time(self.mean / AWAY);
        self.wake(slot, Due::Next, now_ns, time);
    }

    /// It can't do yet what is due, or was turned away. Nothing random, since that isn't its decision.
    pub(crate) fn put_off(&mut self, slot: u32, due: Due, now_ns: u64) {
        self.wake(slot, due, now_ns, PUT_OFF);
    }

    fn wake(&mut self, slot: u32, due: Due, now_ns: u64, time: Duration) {
        self.due.push(Reverse((now_ns.saturating_add(time.as_nanos() as u64), slot, due)));
    }

    /// A follower whose time has come.
    pub(crate) fn due(&mut self, now_ns: u64) -> Option<(u32, Due)> {
        let Reverse((due_ns, slot, due)) = *self.due.peek()?;
        (due_ns <= now_ns).then(|| self.due.pop())?;
        Some((slot, due))
    }

    /// All that wait for their time, whenever that is. They wait no longer.
    pub(crate) fn hurry(&mut self) -> Vec<(u32, Due)> {
        self.due.drain().map(|Reverse((_, slot, due))| (slot, due)).collect()
    }

    /// What the follower in `slot` does after following.
    pub(crate) fn act(&mut self, slot: u32) -> Act {
        match self.dice[slot as usize].below(8) {
            0..3 => Act::Leave(Farewell::Close),
            3..5 => Act::Leave(Farewell::Reset),
            _ => Act::Stall,
        }
    }

    /// How the follower in `slot` comes back.
    pub(crate) fn come_back(&mut self, slot: u32) -> Return {
        let dice = &mut self.dice[slot as usize];
        match (dice.below(ABANDONED), dice.below(NARROW)) {
            (0, which) => Return::Abandon(dice.share(), if which == 0 { Farewell::Reset } else { Farewell::Close }),
            (_, 0) => Return::Stay(Window::Narrow),
            (_, _) => Return::Stay(Window::Usual),
        }
    }
}

/// A small generator: SplitMix64, whose whole state is a number that grows by a constant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The sequence of this number.
    pub(crate) fn new(seed: u64, number: u64) -> Dice {
        // The numbers' sequences begin at scattered places of the one cycle.
        Dice(Dice(seed).roll() ^ Dice(number).roll())
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    /// From 0 to just below 1.
    pub(crate) fn share(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// As memoryless as the arrivals of strangers: exponentially distributed, with a bound.
    fn time(&mut self, mean: Duration) -> Duration {
        let means = -(1.0 - self.share()).ln();
        mean.mul_f64(means.min(MEANS_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHURNING: Churning = Churning { mean: Duration::from_secs(2), seed: 7 };

    /// Some decisions of a follower, as text.
    fn decisions(churn: &mut Churn, slot: u32) -> String {
        let one = |churn: &mut Churn| format!("{:?} {:?} ", churn.act(slot), churn.come_back(slot));
        (0..50).map(|_| one(churn)).collect()
    }

    #[test]
    fn seed_and_number_decide_everything() {
        let mut all = Churn::new(CHURNING, 0, 100);
        let mut part = Churn::new(CHURNING, 40, 10);
        let mut other = Churn::new(Churning { seed: 8, ..CHURNING }, 0, 100);
        let found = decisions(&mut all, 42);
        assert_eq!(decisions(&mut part, 2), found, "whichever thread holds it");
        assert_ne!(decisions(&mut all, 43), found);
        assert_ne!(decisions(&mut other, 42), found);
    }

    #[test]
    fn everything_happens_about_as_often_as_it_should() {
        let mut churn = Churn::new(CHURNING, 0, 1_000);
        let mut acts = [0; 3];
        let (mut abandoned, mut narrow) = (0, 0);
        for slot in (0..1_000).cycle().take(8_000) {
            acts[match churn.act(slot) {
                Act::Leave(Farewell::Close) => 0,
                Act::Leave(Farewell::Reset) => 1,
                Act::Stall => 2,
            }] += 1;
            match churn.come_back(slot) {
                Return::Abandon(share, _) => {
                    assert!((0.0..1.0).contains(&share));
                    abandoned += 1;
                }
                Return::Stay(window) => narrow += u32::from(window == Window::Narrow),
            }
        }
        for (found, expected) in acts.into_iter().chain([abandoned, narrow]).zip([3_000, 2_000, 3_000, 2_000, 2_000]) {
            assert!(found.abs_diff(expected) < 200, "{found} instead of {expected}");
        }
    }

    #[test]
    fn times_are_short_long_and_bounded() {
        let mut dice = Dice::new(1, 1);
        let times: Vec<f64> = (0..10_000).map(|_| dice.time(Duration::from_secs(2)).as_secs_f64()).collect();
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        assert!((1.9..2.1).contains(&mean), "{mean}");
        assert!(times.iter().all(|time| *time <= 10.0) && times.iter().any(|time| *time < 0.01));
    }

    #[test]
    fn each_is_due_at_its_time() {
        let mut churn = Churn::new(CHURNING, 0, 3);
        churn.put_off(1, Due::Again, 5_000_000_000);
        churn.put_off(0, Due::Next, 5_000_000_001);
        assert_eq!(churn.due(5_099_999_999), None);
        assert_eq!((churn.due(5_100_000_000), churn.due(5_100_000_000)), (Some((1, Due::Again)), None));
        churn.keep(2, 0);
        assert_eq!(churn.due(10_000_000_000), Some((2, Due::Next)));
        assert_eq!((churn.hurry(), churn.due(u64::MAX)), (vec![(0, Due::Next)], None));
    }
}
