//! When writes are due: open loop, so that the moments depend on the rate and the seed alone, never on the answers.
//!
//! Invariant: whoever walks a schedule with the same numbers meets the same moments; that is how several writers share one.

use std::time::Duration;

use clap::ValueEnum;
use serde::Deserialize;

use super::churn::Dice;

/// How the moments are spread. Writes that come in bursts share a moment in either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Arrivals {
    /// Evenly.
    #[default]
    Constant,
    /// As independent strangers come: exponentially distributed intervals, with the same rate on average.
    Poisson,
}

/// The bursts of a run, each with its first write and its moment from the start on.
pub(crate) struct Schedule {
    arrivals: Arrivals,
    /// Writes per second.
    rate: f64,
    /// Writes of a burst.
    burst: u64,
    /// Writes in all.
    writes: u64,
    /// The first write of the next burst.
    next: u64,
    /// The moment of the last one, in seconds.
    at_s: f64,
    dice: Dice,
}

impl Schedule {
    /// For `writes` writes. `seed` matters to random arrivals only.
    pub(crate) fn new(arrivals: Arrivals, rate: f64, burst: u64, writes: u64, seed: u64) -> Schedule {
        Schedule { arrivals, rate, burst, writes, next: 0, at_s: 0.0, dice: Dice::new(seed, u64::MAX) }
    }
}

impl Iterator for Schedule {
    type Item = (u64, Duration);

    fn next(&mut self) -> Option<(u64, Duration)> {
        let first = self.next;
        if first >= self.writes {
            return None;
        }
        self.next = first + self.burst;
        self.at_s = match self.arrivals {
            Arrivals::Constant => first as f64 / self.rate,
            Arrivals::Poisson => self.at_s - (1.0 - self.dice.share()).ln() * self.burst as f64 / self.rate,
        };
        Some((first, Duration::from_secs_f64(self.at_s)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_arrivals_are_evenly_spread() {
        let found: Vec<_> = Schedule::new(Arrivals::Constant, 200.0, 5, 12, 0).collect();
        let ms = Duration::from_millis;
        assert_eq!(found, [(0, ms(0)), (5, ms(25)), (10, ms(50))]);
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread() {
        let moments: Vec<f64> =
            Schedule::new(Arrivals::Poisson, 100.0, 2, 40_000, 7).map(|(_, due)| due.as_secs_f64()).collect();
        let intervals: Vec<f64> = moments.windows(2).map(|two| two[1] - two[0]).collect();
        let mean = intervals.iter().sum::<f64>() / intervals.len() as f64;
        let variance = intervals.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / intervals.len() as f64;
        assert!((mean * 50.0 - 1.0).abs() < 0.03, "bursts of two at 100 per second: {mean}");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.05, "an exponential's deviation is its mean: {variance}");
        let again: Vec<f64> =
            Schedule::new(Arrivals::Poisson, 100.0, 2, 40_000, 7).map(|(_, due)| due.as_secs_f64()).collect();
        assert_eq!(again, moments);
        assert_ne!(
            Schedule::new(Arrivals::Poisson, 100.0, 2, 4, 8).last().map(|(_, due)| due.as_secs_f64()),
            Some(moments[1])
        );
    }
}
