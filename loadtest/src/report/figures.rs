//! The figures that a report is judged by: each with its unit, which way is better, and how much of a change means something.
//! Objectives, comparisons and tables take them from here, so that a name means the same wherever it is read.

use super::Report;
use super::latency::{Latency, NAMED};

/// A number with what it means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    /// `p99`, `gaps`; of a scenario's, `create p99`.
    pub(crate) name: String,
    /// In the unit's base.
    pub(crate) value: f64,
    /// What it counts.
    pub(crate) unit: Unit,
    /// Which way is better.
    pub(crate) better: Better,
    /// What a change must exceed to mean something; without it no change is judged.
    pub(crate) tolerance: Option<Tolerance>,
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Something per second.
    PerSecond,
    /// Microseconds.
    Time,
    /// Pieces.
    Count,
    /// Bytes.
    Bytes,
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    /// Greater.
    Higher,
    /// Less.
    Lower,
}

/// How far a figure may be worse without being called so: the greater of the two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Tolerance {
    /// A share of what it was.
    pub(crate) share: f64,
    /// An amount in the figure's unit: below it a share is noise.
    pub(crate) floor: f64,
}

/// Rates are steady, within a run's share of the machine.
const RATE: Tolerance = Tolerance { share: 0.10, floor: 1.0 };

/// What should be none: one more is worse.
const FAULTS: Tolerance = Tolerance { share: 0.0, floor: 0.0 };

/// CPU time per delivery, in microseconds; short runs count it in steps of 10 ms.
const COST: Tolerance = Tolerance { share: 0.10, floor: 0.2 };

/// Memory: an allocator's whim is some megabytes.
const MEMORY: Tolerance = Tolerance { share: 0.10, floor: 4e6 };

/// The further out, the fewer latencies make a percentile, and the more it moves by itself. In microseconds.
const PERCENTILES: [Tolerance; NAMED.len()] = [
    Tolerance { share: 0.10, floor: 500.0 },
    Tolerance { share: 0.10, floor: 500.0 },
    Tolerance { share: 0.20, floor: 1_000.0 },
    Tolerance { share: 0.30, floor: 2_000.0 },
];

impl Report {
    /// All of them, the most important first.
    pub(crate) fn figures(&self) -> Vec<Figure> {
        let mut figures = Vec::new();
        let mut add = |name: &str, value: f64, unit, better, tolerance| {
            figures.push(Figure { name: name.to_owned(), value, unit, better, tolerance });
        };
        let latency = self.latency();
        add("rate", self.per_s(), Unit::PerSecond, Better::Higher, Some(RATE));
        for ((name, quantile), tolerance) in NAMED.into_iter().zip(PERCENTILES) {
            add(name, latency.at(quantile) as f64, Unit::Time, Better::Lower, Some(tolerance));
        }
        // One latency of millions: it tells of the machine's worst moment, which no two runs share.
        add("max", latency.max() as f64, Unit::Time, Better::Lower, None);
        if let Some(delivery) = &self.delivery {
            let missing = delivery.frames_due.map_or(0, |due| due.saturating_sub(delivery.frames));
            for (name, count) in [
                ("missing", missing),
                ("gaps", delivery.gaps),
                ("repeats", delivery.repeats),
                ("reordered", delivery.reordered),
                ("resets", delivery.resets),
            ] {
                add(name, count as f64, Unit::Count, Better::Lower, Some(FAULTS));
            }
        }
        add("errors", self.errors_in_all() as f64, Unit::Count, Better::Lower, Some(FAULTS));
        if let Some(server) = &self.server {
            if let Some(cost_us) = self.server_us_per_delivery() {
                add("server CPU per delivery", cost_us, Unit::Time, Better::Lower, Some(COST));
            }
            add("server memory", server.resident_max_bytes as f64, Unit::Bytes, Better::Lower, Some(MEMORY));
        }
        for scenario in &self.scenarios {
            let name = |what: &str| format!("{} {what}", scenario.name);
            add(&name("rate"), scenario.requests_per_s, Unit::PerSecond, Better::Higher, Some(RATE));
            for ((percentile, quantile), tolerance) in NAMED.into_iter().zip(PERCENTILES) {
                let value = scenario.latency.at(quantile) as f64;
                add(&name(percentile), value, Unit::Time, Better::Lower, Some(tolerance));
            }
            add(&name("failures"), scenario.failures as f64, Unit::Count, Better::Lower, Some(FAULTS));
        }
        figures
    }

    /// The server's CPU time for one frame to one follower, in microseconds; nothing if it isn't known or nothing came.
    pub(crate) fn server_us_per_delivery(&self) -> Option<f64> {
        let frames = self.delivery.as_ref().map(|delivery| delivery.frames).filter(|&frames| frames > 0)?;
        self.server.as_ref().map(|server| server.cpu_s * 1e6 / frames as f64)
    }

    /// What the server's memory grew by for each follower, in bytes; nothing if it isn't known or there were few, since what
    /// a process takes at all outweighs them.
    pub(crate) fn server_bytes_per_follower(&self) -> Option<f64> {
        const FEW: u64 = 100;
        let following = self.delivery.as_ref().map(|delivery| delivery.following).filter(|&count| count >= FEW)?;
        let server = self.server.as_ref()?;
        Some((server.resident_following_bytes as f64 - server.resident_before_bytes as f64) / following as f64)
    }
}

impl Unit {
    /// As a person writes it: `12.3 ms`, `187,204/s`.
    pub(crate) fn text(self, value: f64) -> String {
        match self {
            Unit::PerSecond => format!("{}/s", number(value)),
            Unit::Time if value < 1e3 => format!("{} µs", digits(value)),
            Unit::Time if value < 1e6 => format!("{} ms", digits(value / 1e3)),
            Unit::Time => format!("{} s", digits(value / 1e6)),
            Unit::Count => number(value),
            Unit::Bytes if value.abs() < 1e3 => format!("{value:.0} B"),
            Unit::Bytes if value.abs() < 1e6 => format!("{} kB", digits(value / 1e3)),
            Unit::Bytes if value.abs() < 1e9 => format!("{} MB", digits(value / 1e6)),
            Unit::Bytes => format!("{} GB", digits(value / 1e9)),
        }
    }
}

/// A latency's count as people write a time.
pub(crate) fn time(value_us: u64) -> String {
    Unit::Time.text(value_us as f64)
}

/// A count as people write it.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of any size: whole if it is or if it is large, else with one digit behind the point.
pub(crate) fn number(value: f64) -> String {
    let rounded = if value.abs() >= 100.0 { value.round() } else { (value * 10.0).round() / 10.0 };
    let sign = if rounded < 0.0 { "−" } else { "" };
    let tenths = if rounded.fract() == 0.0 { String::new() } else { format!(".{:.0}", rounded.abs().fract() * 10.0) };
    format!("{sign}{}{tenths}", count(rounded.abs().trunc() as u64))
}

/// Three digits, or fewer if the others are zeros.
pub(crate) fn digits(value: f64) -> String {
    let text = match value.abs() {
        size if size >= 99.95 => return number(value.round()),
        size if size >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// So many of something whose name takes an s when there is another number of it than one.
pub(crate) fn plural(of: u64, what: &str) -> String {
    format!("{} {what}{}", count(of), if of == 1 { "" } else { "s" })
}

/// The named percentiles and the longest, in a table's order.
pub(crate) fn percentiles(latency: &Latency) -> Vec<String> {
    let named = NAMED.into_iter().map(|(_, quantile)| latency.at(quantile));
    named
        .chain([latency.max()])
        .map(|value_us| if latency.count() == 0 { "–".to_owned() } else { time(value_us) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (unit, value, text) in [
            (Unit::PerSecond, 187_203.6, "187,204/s"),
            (Unit::PerSecond, 20.0, "20/s"),
            (Unit::PerSecond, 0.25, "0.3/s"),
            (Unit::Time, 0.0, "0 µs"),
            (Unit::Time, 4.4, "4.4 µs"),
            (Unit::Time, 999.0, "999 µs"),
            (Unit::Time, 12_345.0, "12.3 ms"),
            (Unit::Time, 10_000.0, "10 ms"),
            (Unit::Time, 99_960.0, "100 ms"),
            (Unit::Time, 2_010_000.0, "2.01 s"),
            (Unit::Count, 1_234_567.0, "1,234,567"),
            (Unit::Count, -3.0, "−3"),
            (Unit::Bytes, 46_200_000.0, "46.2 MB"),
            (Unit::Bytes, 512.0, "512 B"),
        ] {
            assert_eq!(unit.text(value), text);
        }
        assert_eq!(percentiles(&Latency::new()), ["–"; 5]);
    }
}
