//! The measured time, second by second: a thread that looks once a second at what all others count, keeps it for the report,
//! shows it, and tells it to goose's metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Load;
use crate::interrupt;
use crate::live::{Live, Moment};
use crate::report::{Latency, Second, Usage};
use crate::scenario::{Context, Told};
use crate::swarm::{Process, Progress};

/// What is looked at.
const SECOND: Duration = Duration::from_secs(1);

/// The seconds so far, and what goes with them.
pub(crate) struct Seconds {
    /// Each of them; at most a day's.
    pub(crate) seconds: Vec<Second>,
    /// Resident bytes of the server at most, if its process is known.
    pub(crate) server_resident_max: u64,
    /// Of this process.
    pub(crate) own_resident_max: u64,
}

/// Seconds that are kept: a day.
const SECONDS_MAX: usize = 86_400;

/// A part of a second that tells nothing by itself: what came in it is shown with the second before.
const PART_MIN_S: f64 = 0.25;

/// The thread.
pub(crate) struct Timeline {
    ended: Arc<AtomicBool>,
    looking: JoinHandle<Seconds>,
}

impl Timeline {
    /// Starts looking; `live` shows what is seen.
    pub(crate) fn start(load: &Load, context: &Arc<Context>, progress: Arc<Progress>, live: Live) -> Timeline {
        let ended = Arc::new(AtomicBool::new(false));
        let looker = Looker {
            context: Arc::clone(context),
            progress,
            live,
            pid: load.pid.map(|pid| pid.to_string()),
            due: Due { rate: load.workload.publish.rate, until_s: load.workload.seconds },
            seen: Default::default(),
        };
        let until = Arc::clone(&ended);
        Timeline { ended, looking: thread::spawn(move || looker.run(&until)) }
    }

    /// Ends it, with the second that has begun.
    pub(crate) fn end(self) -> Seconds {
        self.ended.store(true, Ordering::Release);
        self.looking.thread().unpark();
        self.looking.join().expect("it doesn't panic")
    }
}

/// Sums, at the last look.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    writes: u64,
    requests: u64,
    frames: u64,
    errors: u64,
    server: Option<Process>,
    own: Process,
}

impl Seen {
    /// What is per second, of the time between a look and this one.
    fn since(self, before: Seen, (from_s, to_s): (f64, f64), due: Due) -> Second {
        let length_s = (to_s - from_s).max(1e-9);
        let per_s = |now: u64, before: u64| ((now - before) as f64 / length_s).round() as u64;
        let usage = |now: Process, before: Process| Usage {
            cpus: now.cpu.saturating_sub(before.cpu).as_secs_f64() / length_s,
            resident_bytes: now.resident,
        };
        let publishing_s = (to_s.min(due.until_s) - from_s).max(0.0);
        Second {
            writes_due: Some(due.rate * publishing_s / length_s),
            writes: per_s(self.writes, before.writes),
            requests: per_s(self.requests, before.requests),
            frames: per_s(self.frames, before.frames),
            errors: self.errors - before.errors,
            server: self.server.zip(before.server).map(|(now, before)| usage(now, before)),
            generator: Some(usage(self.own, before.own)),
            ..Second::default()
        }
    }
}

/// Writes that are due, from the start on.
#[derive(Debug, Clone, Copy)]
struct Due {
    rate: f64,
    until_s: f64,
}

struct Looker {
    context: Arc<Context>,
    progress: Arc<Progress>,
    live: Live,
    pid: Option<String>,
    due: Due,
    /// At the start of the second before the last look, at that look, and when they were.
    seen: [(Seen, f64); 2],
}

impl Looker {
    fn run(mut self, ended: &AtomicBool) -> Seconds {
        let start = Instant::now();
        let _ = self.progress.lately();
        self.seen = [(self.sums(), 0.0); 2];
        let mut all = Seconds { seconds: Vec::new(), server_resident_max: 0, own_resident_max: 0 };
        for number in 1.. {
            let due = start + SECOND * number;
            while Instant::now() < due && !ended.load(Ordering::Acquire) {
                // Until then, or until it is ended.
                thread::park_timeout(due.saturating_duration_since(Instant::now()));
            }
            let to_s = start.elapsed().as_secs_f64();
            let last = all.seconds.pop_if(|_| to_s - self.seen[1].1 < PART_MIN_S);
            let second = self.look(number, to_s, last);
            let resident = |usage: Option<Usage>| usage.map_or(0, |usage| usage.resident_bytes);
            all.server_resident_max = all.server_resident_max.max(resident(second.server));
            all.own_resident_max = all.own_resident_max.max(resident(second.generator));
            if all.seconds.len() < SECONDS_MAX {
                all.seconds.push(second);
            }
            if ended.load(Ordering::Acquire) {
                break;
            }
        }
        all
    }

    fn sums(&self) -> Seen {
        let sums = self.progress.sums();
        let found = self.context.found.lock().expect("nobody panics with it");
        let writes = self.progress.writes.load(Ordering::Relaxed);
        let failed = self.progress.write_errors.load(Ordering::Relaxed);
        Seen {
            writes,
            requests: self.context.requests.load(Ordering::Relaxed) + writes + failed,
            frames: sums.frames + sums.stalled_frames + found.frames,
            errors: sums.failed + failed + found.errors.values().sum::<u64>(),
            server: self.pid.as_ref().and_then(|pid| Process::read(pid).ok()),
            own: Process::read("self").unwrap_or_default(),
        }
    }

    /// The second that ends now; with the one before it, if this is a small part of one.
    fn look(&mut self, number: u32, to_s: f64, last: Option<Second>) -> Second {
        let now = self.sums();
        let [before_last, looked] = self.seen;
        let (before, from_s) = if last.is_some() { before_last } else { looked };
        self.seen = [(before, from_s), (now, to_s)];
        let swarm = Latency::from(self.progress.lately());
        let mut found = self.context.found.lock().expect("nobody panics with it");
        let (mut lately, missing) = (std::mem::take(&mut found.lately), found.missing);
        drop(found);
        let at = |latency: &Latency, quantile| (latency.count() > 0).then(|| latency.at(quantile));
        let errors = now.errors - looked.0.errors;
        self.context.told.send_replace(Told { p99_us: at(&swarm, 0.99), errors });
        lately.add(&swarm);
        let sums = self.progress.sums();
        let followers = sums.following
            + (self.context.opened.load(Ordering::Relaxed) - self.context.closed.load(Ordering::Relaxed)) as u64;
        let last = last.unwrap_or(Second { at_s: number, ..Second::default() });
        let second = Second {
            at_s: last.at_s,
            p50_us: last.p50_us.or(at(&lately, 0.5)),
            p99_us: last.p99_us.max(at(&lately, 0.99)),
            followers,
            ..now.since(before, (from_s, to_s), self.due)
        };
        self.live.tell(Moment {
            doing: if interrupt::is_asked() { "ending" } else { "measuring" }.to_owned(),
            elapsed_s: to_s,
            of_s: Some(self.due.until_s),
            followers,
            per_s: second.frames as f64,
            p99_us: second.p99_us,
            errors: now.errors,
            gaps: sums.missing + missing.max(0).cast_unsigned(),
        });
        second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_second_is_shown_per_second() {
        let due = Due { rate: 20.0, until_s: 9.9 };
        let own = |ms| Process { cpu: Duration::from_millis(ms), ..Process::default() };
        let before = Seen { writes: 100, frames: 1_000, own: own(500), ..Seen::default() };
        let now = Seen { writes: 110, frames: 1_500, errors: 3, own: own(900), ..Seen::default() };
        let whole = now.since(before, (8.0, 9.0), due);
        assert_eq!((whole.writes_due, whole.writes, whole.frames, whole.errors), (Some(20.0), 10, 500, 3));
        let part = now.since(before, (9.0, 9.5), due);
        assert_eq!((part.writes_due, part.writes, part.frames, part.errors), (Some(20.0), 20, 1_000, 3));
        assert_eq!(part.generator.map(|usage| usage.cpus), Some(0.8));
        let last = now.since(before, (9.4, 10.4), due);
        assert!(last.writes_due.is_some_and(|due| (due - 10.0).abs() < 1e-6), "half of it: {last:?}");
        assert_eq!(now.since(before, (10.0, 11.0), due).writes_due, Some(0.0), "stragglers are waited for");
    }
}
