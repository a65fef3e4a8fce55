//! What one must know to believe a report's figures, in sentences: what a latency is, where the clocks were, what the two ends
//! shared, and whether the generator measured itself.

use super::figures::{Unit, time};
use super::{Clock, Generator, Hosts, Report, TimedFrom};

/// What of one CPU a thread may take before what it does late is its own doing. Above it there is little left for a burst.
pub(super) const BUSY_CPUS: f64 = 0.9;

/// Microseconds that the generator may send late, at p99. It is in every latency, and the least that anybody looks for.
const LAG_US: u64 = 2_000;

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
        let is_late = self.lag.at(0.99) > LAG_US;
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
        all.extend(
            self.timed(TimedFrom::Intended, "are timed from the moment that they were meant for (an open loop)"),
        );
        all.extend(self.timed(
            TimedFrom::Sent,
            "are timed from the moment that they were sent, after the answer before (a closed loop): a stall shows once \
             per user, not in all that it delayed",
        ));
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

    fn timed(&self, from: TimedFrom, how: &str) -> Option<String> {
        let of = |scenario: &&super::Scenario| scenario.timed_from == from;
        let names: Vec<&str> = self.scenarios.iter().filter(of).map(|scenario| scenario.name.as_str()).collect();
        (!names.is_empty()).then(|| format!("The answers of {} {how}.", names.join(", ")))
    }
}
