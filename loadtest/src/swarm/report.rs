//! What a run came to: one table for people, the same as JSON for scripts.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::churn::Tally;
use super::gauge::{Kernel, Process};
use super::probe::Probed;
use crate::ledger::Faults;
use crate::report::{Generator, Standing};

/// What processes and the kernel showed over the measured time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reading {
    /// The server, if its process is known.
    pub(crate) server: Option<Process>,
    /// This process.
    pub(crate) own: Process,
    /// The kernel.
    pub(crate) kernel: Kernel,
}

/// The writers' side.
pub(crate) struct Writes {
    /// Answered with success.
    pub(crate) count: u64,
    /// Asked for, per second.
    pub(crate) rate: f64,
    /// From the first intended time to the last answer.
    pub(crate) took: Duration,
    /// Microseconds from intended time to answer.
    pub(crate) latency: Histogram<u64>,
    /// Microseconds by which the writers woke too late.
    pub(crate) lag: Histogram<u64>,
    /// Writes whose moment passed while the answer before theirs was awaited.
    pub(crate) waited: u64,
}

/// A run's results.
pub(crate) struct Report {
    /// Asked for.
    pub(crate) connections: u64,
    /// Threads that held them.
    pub(crate) threads: usize,
    /// Following when all had connected.
    pub(crate) following: u64,
    /// From the first dial to the last first block.
    pub(crate) connecting: Duration,
    /// The measured time: from the first intended write (or when all followed) to the last frame.
    pub(crate) window: Duration,
    /// Frames in the measured time, on followers that read all the time.
    pub(crate) frames: u64,
    /// Frames that should have come by then, if known.
    pub(crate) expected: Option<u64>,
    /// Bytes received in the measured time.
    pub(crate) bytes: u64,
    /// All bytes received, heads and comments with them.
    pub(crate) bytes_in_all: u64,
    /// Microseconds from intended time to receive.
    pub(crate) latency: Histogram<u64>,
    /// Microseconds that the threads' turns took.
    pub(crate) lag: Histogram<u64>,
    /// Of all followers, at the end.
    pub(crate) faults: Faults,
    /// Streams that were reset.
    pub(crate) resets: u64,
    /// The seed, and what followers did of their own accord, if they did.
    pub(crate) churn: Option<(u64, Tally)>,
    /// Failed connections and writes, by reason.
    pub(crate) errors: BTreeMap<String, u64>,
    /// The writes, if the run published.
    pub(crate) writes: Option<Writes>,
    /// What this program's busiest thread took, as a part of one CPU.
    pub(crate) busiest_cpus: f64,
    /// What was fetched meanwhile, if anything was.
    pub(crate) probed: Option<Probed>,
    /// Followers that stalled, and how long they took to catch up; no time if some didn't.
    pub(crate) stalled: Option<(u64, Option<Duration>)>,
    /// Writes that were missed, and how long all took to return and catch up; no time if some didn't.
    pub(crate) reconnected: Option<(u64, Option<Duration>)>,
    /// Before the first connection, when all followed, and at the end of the measured time.
    pub(crate) readings: [Reading; 3],
}

impl Report {
    /// Whether nothing at all went wrong.
    pub(crate) fn is_clean(&self) -> bool {
        let late = |&(_, took): &(u64, Option<Duration>)| took.is_none();
        self.faults == Faults::default()
            && self.resets == 0
            && self.errors.is_empty()
            && self.following == self.connections
            && !self.stalled.as_ref().is_some_and(late)
            && !self.reconnected.as_ref().is_some_and(late)
            && self.expected.is_none_or(|expected| expected <= self.frames)
    }

    /// What generated the load, with so many writers and so many bytes resident at most.
    pub(crate) fn generator(&self, writers: u64, resident_max_bytes: u64) -> Generator {
        let [_, from, to] = self.readings.map(|reading| reading.own);
        let writes = self.writes.as_ref();
        let waited = |writes: &Writes| writes.waited as f64 / writes.latency.len().max(1) as f64;
        Generator {
            threads: self.threads as u64 + writers,
            cpu_s: to.cpu.saturating_sub(from.cpu).as_secs_f64(),
            busiest_thread_cpus: self.busiest_cpus,
            lag: writes.map(|writes| writes.lag.clone().into()).unwrap_or_default(),
            writes_waited: writes.map_or(0.0, waited),
            turns: self.lag.clone().into(),
            resident_max_bytes,
        }
    }

    fn deliveries_per_second(&self) -> f64 {
        self.frames as f64 / self.window.as_secs_f64().max(1e-9)
    }

    fn bytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.window.as_secs_f64().max(1e-9)
    }

    fn connects_per_second(&self) -> f64 {
        self.following as f64 / self.connecting.as_secs_f64().max(1e-9)
    }

    /// CPU in the measured time: of all, and microseconds per frame.
    fn cpu(&self, of: impl Fn(&Reading) -> Option<Process>) -> Option<(Duration, f64)> {
        let [_, from, to] = &self.readings;
        let spent = of(to)?.cpu.saturating_sub(of(from)?.cpu);
        Some((spent, spent.as_secs_f64() * 1e6 / (self.frames.max(1)) as f64))
    }

    /// Seconds per gigabyte received, of what was spent in the measured time.
    fn per_gb(&self, spent: Duration) -> f64 {
        spent.as_secs_f64() * 1e9 / self.bytes.max(1) as f64
    }

    fn errors_in_all(&self) -> u64 {
        self.errors.values().sum()
    }

    /// The report as JSON; times in the unit of their name.
    pub(crate) fn json(&self) -> Value {
        let seconds = |took: &Duration| took.as_secs_f64();
        let process = |of: fn(&Reading) -> Option<Process>| {
            let [before, following, after] = self.readings.each_ref().map(|reading| of(reading).map(|of| of.resident));
            self.cpu(of).map(|(spent, per_frame)| {
                json!({
                    "cpu_s": spent.as_secs_f64(),
                    "cpu_us_per_delivery": per_frame,
                    "cpu_s_per_gb": self.per_gb(spent),
                    "cpu_share": spent.as_secs_f64() / self.window.as_secs_f64().max(1e-9),
                    "resident_bytes": [before, following, after],
                    "descriptors": of(&self.readings[2]).map(|of| of.descriptors),
                })
            })
        };
        let kernel = self.readings.map(|Reading { kernel, .. }| kernel);
        let is_saturated = self.generator(0, 0).standing() == Standing::Saturated;
        json!({
            "connections": self.connections,
            "threads": self.threads,
            "following": self.following,
            "connecting_s": seconds(&self.connecting),
            "connects_per_s": self.connects_per_second(),
            "window_s": seconds(&self.window),
            "frames": self.frames,
            "frames_expected": self.expected,
            "bytes": self.bytes_in_all,
            "window_bytes": self.bytes,
            "bytes_per_s": self.bytes_per_second(),
            "deliveries_per_s": self.deliveries_per_second(),
            "latency_us": quantiles(&self.latency),
            "lag_us": quantiles(&self.lag),
            "gaps": self.faults.lost,
            "repeats": self.faults.repeated,
            "disordered": self.faults.disordered,
            "resets": self.resets,
            "churn": self.churn.map(|(seed, tally)| json!({
                "seed": seed,
                "closes": tally.closes,
                "resets": tally.resets,
                "stalls": tally.stalls,
                "abandoned": tally.abandoned,
                "resumes": tally.resumes,
                "turned_away": tally.turned_away,
            })),
            "errors": self.errors_in_all(),
            "errors_by_reason": self.errors,
            "writes": self.writes.as_ref().map(|writes| json!({
                "count": writes.count,
                "rate": writes.rate,
                "took_s": seconds(&writes.took),
                "latency_us": quantiles(&writes.latency),
                "lag_us": quantiles(&writes.lag),
                "waited": writes.waited,
            })),
            "probe": self.probed.as_ref().map(|probed| json!({
                "count": probed.count(),
                "errors": probed.errors.values().sum::<u64>(),
                "latency_us": quantiles(&probed.kept),
                "fresh_latency_us": quantiles(&probed.fresh),
            })),
            "stalled": self.stalled.as_ref().map(|(followers, took)| json!({
                "followers": followers,
                "caught_up_s": took.as_ref().map(seconds),
            })),
            "reconnected": self.reconnected.as_ref().map(|(missed, took)| json!({
                "missed": missed,
                "caught_up_s": took.as_ref().map(seconds),
            })),
            "server": process(|reading| reading.server),
            "generator": process(|reading| Some(reading.own)),
            "busiest_thread_cpus": self.busiest_cpus,
            "saturated": is_saturated,
            "kernel": {
                "slab_bytes": kernel.map(|kernel| kernel.slab),
                "tcp_sockets": kernel.map(|kernel| kernel.sockets),
                "tcp_buffer_bytes": kernel.map(|kernel| kernel.buffers),
            },
            "clean": self.is_clean(),
        })
    }
}

fn quantiles(latency: &Histogram<u64>) -> Value {
    json!({
        "p50": latency.value_at_quantile(0.5),
        "p90": latency.value_at_quantile(0.9),
        "p99": latency.value_at_quantile(0.99),
        "p999": latency.value_at_quantile(0.999),
        "max": latency.max(),
        "count": latency.len(),
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, text: String| writeln!(f, "{name:<12} {text}");
        row("connections", format!("{} of {} following, {} threads", self.following, self.connections, self.threads))?;
        let connecting = self.connecting.as_secs_f64();
        row("connecting", format!("{connecting:.2} s, {:.0} connects/s", self.connects_per_second()))?;
        if let Some(Writes { count, rate, took, latency, .. }) = &self.writes {
            let took = took.as_secs_f64();
            row("writes", format!("{count} in {took:.2} s, at {rate}/s; answered in ms {}", Spread(latency)))?;
        }
        if let Some(Probed { kept, fresh, .. }) = &self.probed {
            row("probe", format!("{} GETs on a kept connection; in ms {}", kept.len(), Spread(kept)))?;
            row("", format!("{} GETs on fresh ones; in ms {}", fresh.len(), Spread(fresh)))?;
        }
        let expected = self.expected.map_or(String::new(), |expected| format!(" of {expected}"));
        let window = self.window.as_secs_f64();
        row("frames", format!("{}{expected} in {window:.2} s, {} bytes in all", self.frames, self.bytes_in_all))?;
        let bytes = self.bytes_per_second() / 1e6;
        row("deliveries", format!("{:.0} per second, {bytes:.1} MB/s", self.deliveries_per_second()))?;
        row("latency", format!("in ms {}", Spread(&self.latency)))?;
        for (name, what, times) in
            [("stalled", "followers", &self.stalled), ("reconnected", "missed", &self.reconnected)]
        {
            if let Some((count, took)) = times {
                let took = took.map_or("NOT in time".to_owned(), |took| format!("in {:.3} s", took.as_secs_f64()));
                row(name, format!("{count} {what}, all caught up {took}"))?;
            }
        }
        if let Some((seed, tally)) = self.churn {
            let Tally { closes, resets, stalls, abandoned, resumes, turned_away } = tally;
            row(
                "churn",
                format!("{closes} closes, {resets} resets, {stalls} stalls, {abandoned} handshakes given up"),
            )?;
            row("", format!("{resumes} resumes, {turned_away} turned away; --seed {seed}"))?;
        }
        let Faults { lost, repeated, disordered } = self.faults;
        let (resets, errors) = (self.resets, self.errors_in_all());
        let order = format!("{lost} gaps, {repeated} repeats, {disordered} out of order");
        row("faults", format!("{order}, {resets} resets, {errors} errors"))?;
        for (why, count) in &self.errors {
            row("", format!("{count} x {why}"))?;
        }
        let [before, following, after] = &self.readings;
        // Of few connections the share says nothing: what a process takes at all outweighs it.
        let per_connection = |bytes: i128| match self.following {
            ..1_000 => String::new(),
            following => format!(", {:.0} bytes more per connection", bytes as f64 / following as f64),
        };
        for (name, of) in
            [("server", (|reading| reading.server) as fn(&Reading) -> _), ("generator", |reading| Some(reading.own))]
        {
            let (Some((spent, per_frame)), Some(first), Some(last)) = (self.cpu(of), of(before), of(after)) else {
                continue;
            };
            let share = 100.0 * spent.as_secs_f64() / window.max(1e-9);
            let memory = per_connection(i128::from(last.resident) - i128::from(first.resident));
            // What is read in bulk is counted in bytes: some of it may be looked at by nobody.
            let cost = match (&self.writes, self.frames) {
                (None, _) => format!("{:.3} s CPU per GB, ", self.per_gb(spent)),
                (Some(_), 0) => String::new(),
                (Some(_), _) => format!("{per_frame:.2} µs CPU per delivery, "),
            };
            row(name, format!("{cost}{share:.0} % of a core"))?;
            let resident = format!("{:.1} MB resident{memory}", mb(last.resident));
            row("", format!("{resident}; {} descriptors", last.descriptors))?;
        }
        let generator = self.generator(0, 0);
        if generator.standing() == Standing::Saturated {
            row("warning", generator.sentence())?;
        }
        if let Some(waited) = generator.waited() {
            row("warning", waited)?;
        }
        let (first, then, last) = (before.kernel, following.kernel, after.kernel);
        let slab = per_connection(i128::from(then.slab) - i128::from(first.slab));
        row("kernel", format!("{:.1} MB slab{slab} (both ends if local)", mb(last.slab)))?;
        row("", format!("{} TCP sockets, {:.1} MB in their buffers", last.sockets, mb(last.buffers)))
    }
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// A histogram of microseconds on one line, in milliseconds.
struct Spread<'a>(&'a Histogram<u64>);

impl fmt::Display for Spread<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)] {
            write!(f, "{name} {:.2}  ", self.0.value_at_quantile(quantile) as f64 / 1e3)?;
        }
        write!(f, "max {:.2}", self.0.max() as f64 / 1e3)
    }
}
