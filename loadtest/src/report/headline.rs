//! What a report says first: two large numbers and a sentence; and the facts that it says last.

use std::time::{Duration, UNIX_EPOCH};

use super::Report;
use super::figures::{Unit, count, number, plural, time};

/// The last second whose date has four digits of a year: a report's file may say anything.
const LAST_UNIX_S: u64 = 253_402_300_799;

/// The two numbers, what they are, and the sentence below them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Headline {
    /// Frames or requests per second.
    pub(crate) rate: String,
    /// What it counts.
    pub(crate) rate_of: &'static str,
    /// At p99.
    pub(crate) latency: String,
    /// From where to where.
    pub(crate) latency_of: &'static str,
    /// What happened.
    pub(crate) sentence: String,
}

impl Headline {
    /// Of this report.
    pub(crate) fn new(report: &Report) -> Headline {
        let (rate, latency) = (number(report.per_s()), time(report.latency().at(0.99)));
        let measured = format!("{} s", number(report.run.measured_s));
        let Some(delivery) = &report.delivery else {
            let requests = report.scenarios.iter().map(|scenario| scenario.requests).sum();
            let failures: u64 = report.scenarios.iter().map(|scenario| scenario.failures).sum();
            let failed = if failures == 0 { "none failed".to_owned() } else { format!("{} failed", count(failures)) };
            return Headline {
                rate,
                rate_of: "requests per second",
                latency,
                latency_of: "p99 latency",
                sentence: format!("{} in {measured}; {failed}.", plural(requests, "request")),
            };
        };
        let came = match delivery.frames_due {
            Some(due) if due > delivery.frames => {
                format!("{} of {} frames that were due", count(delivery.frames), count(due))
            }
            Some(due) if due == delivery.frames => format!("all {} frames that were due", count(due)),
            Some(_) | None => plural(delivery.frames, "frame"),
        };
        let broken = [(delivery.gaps, "missing"), (delivery.repeats, "repeated"), (delivery.reordered, "out of order")];
        let failed = [(delivery.resets, "reset"), (report.errors_in_all(), "error")];
        let broken =
            broken.iter().filter(|(times, _)| *times > 0).map(|(times, how)| format!("{} {how}", count(*times)));
        let failed = failed.iter().filter(|(times, _)| *times > 0).map(|(times, what)| plural(*times, what));
        let faults: Vec<String> = broken.chain(failed).collect();
        let faults = match faults.is_empty() {
            true => "none missing, none repeated, none out of order".to_owned(),
            false => faults.join(", "),
        };
        let followers = plural(delivery.following, "follower");
        Headline {
            rate,
            rate_of: "frames delivered per second",
            latency,
            latency_of: "p99 latency, from intended write to receipt",
            sentence: format!("{followers} received {came} in {measured}: {faults}."),
        }
    }
}

impl Report {
    /// What was run, on what, in which versions: names and values.
    pub(crate) fn facts(&self) -> Vec<(&'static str, String)> {
        let started = UNIX_EPOCH + Duration::from_secs(self.run.started_unix_s.min(LAST_UNIX_S));
        let mut facts = vec![
            ("Target", format!("{} ({})", self.run.target, self.run.preset)),
            ("Scenario", self.run.scenario.clone()),
            ("Command", format!("fantail-load {}", self.run.arguments.join(" ")).trim_end().to_owned()),
            ("Started", humantime::format_rfc3339_seconds(started).to_string()),
            ("Measured", format!("{} s", number(self.run.measured_s))),
            ("CPU", format!("{} × {}", self.machine.cpus, self.machine.cpu)),
            ("Memory", Unit::Bytes.text(self.machine.memory_bytes as f64)),
            ("Kernel", self.machine.kernel.clone()),
            ("Generator", format!("fantail-load {}", self.machine.generator_version)),
            ("Server", self.machine.server_version.clone().unwrap_or_else(|| "doesn't say".to_owned())),
        ];
        if let Some(seed) = self.run.seed {
            facts.insert(3, ("Seed", seed.to_string()));
        }
        facts
    }
}
