//! A histogram of latencies, to three digits. In JSON it has its percentiles for people and scripts, and below `recorded` the
//! counts themselves, from which alone it is read again: nothing is lost but what the histogram had already rounded.

use std::iter::Sum;

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Microseconds that a latency counts as at most: ten minutes are longer than any patience.
const LATENCY_US_MAX: u64 = 600_000_000;

/// The percentiles that are named, as quantiles.
pub(crate) const NAMED: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// Steps of a curve of percentiles, for each halving of the distance to 100 %: what HdrHistogram takes.
const STEPS_PER_HALF: u32 = 5;

/// Latencies in microseconds, from 1 µs to ten minutes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Latency(Histogram<u64>);

/// A point of a curve of percentiles.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Percentile {
    /// The share, from 0 to 1, of the latencies that are no longer.
    pub(crate) quantile: f64,
    /// Microseconds.
    pub(crate) value_us: u64,
    /// Latencies that are no longer.
    pub(crate) count: u64,
}

/// An empty histogram of microseconds, from 1 µs to ten minutes, to three digits.
pub(crate) fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("the bounds are valid")
}

impl Latency {
    /// None yet.
    pub(crate) fn new() -> Latency {
        Latency(latencies())
    }

    /// Counts a latency; one beyond the bound counts as the bound.
    pub(crate) fn record(&mut self, value_us: u64) {
        self.record_n(value_us, 1);
    }

    /// Counts a latency `count` times.
    pub(crate) fn record_n(&mut self, value_us: u64, count: u64) {
        self.0.saturating_record_n(value_us, count);
    }

    /// Counts all of another.
    pub(crate) fn add(&mut self, other: &Latency) {
        self.0.add(&other.0).expect("the bounds are the same");
    }

    /// How many were counted.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that the share `quantile` of all doesn't exceed, in microseconds; 0 if there are none.
    pub(crate) fn at(&self, quantile: f64) -> u64 {
        self.0.value_at_quantile(quantile)
    }

    /// How many were longer than that.
    pub(crate) fn longer_than(&self, value_us: u64) -> u64 {
        self.0.count_between(value_us + 1, u64::MAX)
    }

    /// The shortest, in microseconds.
    pub(crate) fn min(&self) -> u64 {
        self.0.min()
    }

    /// The longest, in microseconds.
    pub(crate) fn max(&self) -> u64 {
        self.0.max()
    }

    /// Microseconds.
    pub(crate) fn mean(&self) -> f64 {
        self.0.mean()
    }

    /// Microseconds.
    pub(crate) fn deviation(&self) -> f64 {
        self.0.stdev()
    }

    /// The whole curve, from the shortest to the longest; empty if there are none. Its last point is at quantile 1.
    pub(crate) fn percentiles(&self) -> Vec<Percentile> {
        let mut count = 0;
        let steps = self.0.iter_quantiles(STEPS_PER_HALF).map(|step| {
            count += step.count_since_last_iteration();
            Percentile { quantile: step.quantile_iterated_to(), value_us: step.value_iterated_to(), count }
        });
        steps.collect()
    }
}

impl Default for Latency {
    fn default() -> Latency {
        Latency::new()
    }
}

impl From<Histogram<u64>> for Latency {
    /// Takes a histogram of microseconds, whatever its bounds.
    fn from(histogram: Histogram<u64>) -> Latency {
        let mut latency = Latency::new();
        for step in histogram.iter_recorded() {
            latency.record_n(step.value_iterated_to(), step.count_at_value());
        }
        latency
    }
}

impl<'a> Sum<&'a Latency> for Latency {
    fn sum<I: Iterator<Item = &'a Latency>>(all: I) -> Latency {
        all.fold(Latency::new(), |mut sum, latency| {
            sum.add(latency);
            sum
        })
    }
}

/// As JSON has it.
#[derive(Serialize)]
struct Written {
    count: u64,
    min_us: u64,
    mean_us: f64,
    deviation_us: f64,
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    p999_us: u64,
    max_us: u64,
    /// Quantile and microseconds.
    percentiles: Vec<(f64, u64)>,
    /// Microseconds, and how often.
    recorded: Vec<(u64, u64)>,
}

/// What of it is read.
#[derive(Deserialize)]
struct Recorded {
    recorded: Vec<(u64, u64)>,
}

impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let percentiles = self.percentiles();
        let written = Written {
            count: self.count(),
            min_us: self.min(),
            mean_us: self.mean(),
            deviation_us: self.deviation(),
            p50_us: self.at(0.5),
            p90_us: self.at(0.9),
            p99_us: self.at(0.99),
            p999_us: self.at(0.999),
            max_us: self.max(),
            percentiles: percentiles.iter().map(|point| (point.quantile, point.value_us)).collect(),
            recorded: self.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect(),
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Latency, D::Error> {
        let mut latency = Latency::new();
        for (value_us, count) in Recorded::deserialize(deserializer)?.recorded {
            latency.record_n(value_us, count);
        }
        Ok(latency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_rises_to_the_longest() {
        let mut latency = Latency::new();
        assert!(latency.percentiles().is_empty() && latency.at(0.99) == 0);
        (1..=10_000).for_each(|value_us| latency.record(value_us));
        let curve = latency.percentiles();
        assert!(curve.windows(2).all(|pair| pair[0].value_us <= pair[1].value_us && pair[0].count <= pair[1].count));
        let last = curve.last().expect("a curve");
        assert_eq!((last.quantile, last.value_us, last.count), (1.0, latency.max(), 10_000));
        assert_eq!((latency.at(0.5), latency.at(0.99)), (5_003, 9_903), "to three digits");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut latency = Latency::new();
        for (value_us, count) in [(0, 3), (17, 1), (123_456, 9), (LATENCY_US_MAX * 2, 1)] {
            latency.record_n(value_us, count);
        }
        let text = serde_json::to_string(&latency).expect("JSON");
        let read: Latency = serde_json::from_str(&text).expect("a latency");
        assert_eq!((read.count(), read.max(), read.percentiles()), (14, latency.max(), latency.percentiles()));
        assert_eq!(serde_json::to_string(&read).expect("JSON"), text);
        let other: Latency = Histogram::<u64>::new(3).expect("three digits").into();
        assert_eq!(other.count(), 0);
    }
}
