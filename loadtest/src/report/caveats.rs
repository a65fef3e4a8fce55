//! What one must know to believe a report's figures, in sentences: what a latency is, where the clocks were, what the two ends
//! shared, and whether the generator measured itself.

use super::figures::{Unit, time};
use super::{Clock, Ended, Generator, Hosts, Report, TimedFrom};

/// What of one CPU a thread may take before what it does late is its own doing. Above it there is little left for a burst.
const BUSY_CPUS: f64 = 0.9;

/// Microseconds that the generator may send late, at p99. It is in every latency, and the least that anybody looks for.
const LAG_US: u64 = 2_000;

/// Writes after which their p99 says something of the generator: of fewer it is the latest few alone, and any host wakes
/// somebody too late now and then.
const LAGS_MIN: u64 = 1_000;

/// Whether the generator was up to its load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It was.
    KeptUp,
    /// It was not: the figures are its own as well as the server's.
    Saturated,
}

impl Generator {
    /// Whether it was up to its load.
    pub(crate) fn standing(&self) -> Standing {
        let is_late = self.lag.count() >= LAGS_MIN && self.lag.at(0.99) > LAG_US;
        if self.busiest_thread_cpus >= BUSY_CPUS || is_late { Standing::Saturated } else { Standing::KeptUp }
    }

    /// The same as a sentence with its reasons.
    pub(crate) fn sentence(&self) -> String {
        let busy = format!("its busiest thread took {:.0} % of a CPU", self.busiest_thread_cpus * 100.0);
        let late = match self.lag.count() {
            0 => String::new(),
            _ => {
                format!(", and it sent 99 % of what was due no later than {} after its moment", time(self.lag.at(0.99)))
            }
        };
        match self.standing() {
            Standing::KeptUp => format!("The generator kept up: {busy}{late}."),
            Standing::Saturated => format!(
                "The generator saturated itself: {busy}{late}. Rates and latencies are its own as well as the server's; give \
                 it more threads, CPUs of its own or another host, or ask for less."
            ),
        }
    }
}

impl Report {
    /// The sentences, the most important first.
    pub(crate) fn caveats(&self) -> Vec<String> {
        let mut all = Vec::new();
        match self.run.ended {
            Ended::Whole => {}
            Ended::CutShort => {
                all.push("The run was ended by hand before its time: all figures are of what was.".to_owned())
            }
        }
        if self.delivery.is_some() {
            all.push(
                "A delivery's latency runs from the moment that its write was meant for to the frame's receipt by the \
                 follower, whatever became of the writes before it: what a stall of the server delays is in the figures."
                    .to_owned(),
            );
            all.push(
                match self.run.clock {
                    Clock::One => "Both moments were read from one clock, in one process.",
                    Clock::Two => {
                        "The two moments were read from two hosts' clocks; by how much these differ is in every figure."
                    }
                }
                .to_owned(),
            );
        }
        let names = |from: TimedFrom| {
            let of = self.scenarios.iter().filter(|scenario| scenario.timed_from == from);
            of.map(|scenario| scenario.name.as_str()).collect::<Vec<_>>()
        };
        let (open, closed) = (names(TimedFrom::Intended), names(TimedFrom::Sent));
        if !open.is_empty() {
            let whose = open.join(", ");
            all.push(format!(
                "The answers of {whose} are timed from the moment that they were meant for (an open loop)."
            ));
        }
        if !closed.is_empty() {
            let whose = if open.is_empty() { "All answers" } else { "All other answers" };
            all.push(format!(
                "{whose} are timed from the moment that the request was sent, after the answer before (a closed loop): a stall \
                 shows once per user, not in all that it delayed."
            ));
        }
        all.push(
            match self.run.hosts {
                Hosts::One => {
                    "Load and server ran on one host: they shared its CPUs, and no network was between them. Between two \
                     hosts latencies are longer, and the server has the CPUs that the load took here."
                }
                Hosts::Two => "Load and server ran on two hosts: the network between them is in every latency.",
            }
            .to_owned(),
        );
        all.push("What is shown of a second is of what came in it, not of what was sent in it.".to_owned());
        if self.server.is_some() {
            let tick = Unit::Time.text(10_000.0);
            all.push(format!("CPU time is what the kernel counts for the process, in steps of {tick}."));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Latency;

    #[test]
    fn one_late_wake_of_a_short_run_is_no_saturation() {
        let generator = |writes: u64, late: u64, busiest_thread_cpus: f64| {
            let mut lag = Latency::new();
            lag.record_n(50, writes - late);
            lag.record_n(LAG_US * 10, late);
            Generator { threads: 1, cpu_s: 1.0, busiest_thread_cpus, lag, turns: Latency::new(), resident_max_bytes: 0 }
        };
        for (writes, late, cpus, standing) in [
            (50, 1, 0.1, Standing::KeptUp),
            (LAGS_MIN, 9, 0.1, Standing::KeptUp),
            (LAGS_MIN, 20, 0.1, Standing::Saturated),
            (50, 0, BUSY_CPUS, Standing::Saturated),
        ] {
            assert_eq!(generator(writes, late, cpus).standing(), standing, "{late} of {writes}, {cpus} CPUs");
        }
    }
}
