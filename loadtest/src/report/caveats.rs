//! What one must know to believe a report's figures, in sentences: what a latency is, where the clocks were, what the two ends
//! shared, and whether the generator measured itself.

use super::figures::{Unit, time};
use super::{Clock, Ended, Generator, Hosts, Latency, Report, TimedFrom};

/// What of one CPU a thread may take before what it does late is its own doing. Above it there is little left for a burst.
const BUSY_CPUS: f64 = 0.9;

/// Microseconds that the generator may send late, or take for a turn, at p99. They are in every latency, and the least that
/// anybody looks for.
const LAG_US: u64 = 2_000;

/// Writes that were late, or turns that were long, before they say something of the generator, be they more than a hundredth
/// or not: any host wakes somebody too late now and then.
const LATE_MIN: u64 = 10;

/// Writes that may wait for an answer before it is worth a sentence: a part of all.
const WAITED: f64 = 0.01;

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
        let is_late = |latency: &Latency| {
            let late = latency.longer_than(LAG_US);
            late >= LATE_MIN && late * 100 > latency.count()
        };
        match self.busiest_thread_cpus >= BUSY_CPUS || is_late(&self.lag) || is_late(&self.turns) {
            true => Standing::Saturated,
            false => Standing::KeptUp,
        }
    }

    /// How many writes were late for the answer before theirs, as a sentence, if they were many.
    pub(crate) fn waited(&self) -> Option<String> {
        let percent = self.writes_waited * 100.0;
        (self.writes_waited >= WAITED).then(|| {
            format!(
                "{percent:.0} % of the writes waited for the answer before theirs, and were sent later than meant: more \
                 --publishers send more at a time."
            )
        })
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
        let turns = match self.turns.count() {
            0 => String::new(),
            _ => format!(", and noticed what came within {} (p99)", time(self.turns.at(0.99))),
        };
        match self.standing() {
            Standing::KeptUp => format!("The generator kept up: {busy}{late}{turns}."),
            Standing::Saturated => format!(
                "The generator saturated itself: {busy}{late}{turns}. Rates and latencies are its own as well as the server's; give \
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
            Ended::Broken => all.push(
                "The run broke off: writes ended before their time, or more than 1 % of the followers weren't there to the \
                 end. All figures are of what was, whatever the objectives say."
                    .to_owned(),
            ),
        }
        all.extend(self.generator.waited());
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

    #[test]
    fn one_late_wake_of_a_short_run_is_no_saturation() {
        let latency = |count: u64, late: u64| {
            let mut latency = Latency::new();
            latency.record_n(50, count - late);
            latency.record_n(LAG_US * 10, late);
            latency
        };
        for (writes, late, long, cpus, standing) in [
            (50, 1, 0, 0.1, Standing::KeptUp),
            (600, 9, 9, 0.1, Standing::KeptUp),
            (600, 10, 0, 0.1, Standing::Saturated),
            (600, 0, 10, 0.1, Standing::Saturated),
            (10_000, 100, 100, 0.1, Standing::KeptUp),
            (10_000, 101, 0, 0.1, Standing::Saturated),
            (50, 0, 0, BUSY_CPUS, Standing::Saturated),
        ] {
            let (lag, turns) = (latency(writes, late), latency(writes, long));
            let (busiest_thread_cpus, writes_waited) = (cpus, 0.0);
            let (threads, cpu_s, resident_max_bytes) = (1, 1.0, 0);
            let generator =
                Generator { threads, cpu_s, busiest_thread_cpus, lag, writes_waited, turns, resident_max_bytes };
            assert_eq!(generator.standing(), standing, "{late} and {long} of {writes}, {cpus} CPUs");
            assert_eq!(generator.waited(), None);
            let waited = Generator { writes_waited: 0.25, ..generator }.waited();
            assert!(waited.is_some_and(|waited| waited.starts_with("25 % of the writes waited")));
        }
    }
}
