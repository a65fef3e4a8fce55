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
            rate: load.workload.publish.rate,
            of_s: load.workload.seconds,
            seen: Seen::default(),
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

struct Looker {
    context: Arc<Context>,
    progress: Arc<Progress>,
    live: Live,
    pid: Option<String>,
    rate: f64,
    of_s: f64,
    seen: Seen,
}

impl Looker {
    fn run(mut self, ended: &AtomicBool) -> Seconds {
        let start = Instant::now();
        let _ = self.progress.lately();
        self.seen = self.sums();
        let mut all = Seconds { seconds: Vec::new(), server_resident_max: 0, own_resident_max: 0 };
        for number in 1.. {
            let due = start + SECOND * number;
            while Instant::now() < due && !ended.load(Ordering::Acquire) {
                // Until then, or until it is ended.
                thread::park_timeout(due.saturating_duration_since(Instant::now()));
            }
            let second = self.look(number, start.elapsed());
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

    fn look(&mut self, number: u32, since: Duration) -> Second {
        let (now, before) = (self.sums(), self.seen);
        self.seen = now;
        let swarm = Latency::from(self.progress.lately());
        let mut found = self.context.found.lock().expect("nobody panics with it");
        let (mut lately, missing) = (std::mem::take(&mut found.lately), found.missing);
        drop(found);
        let at = |latency: &Latency, quantile| (latency.count() > 0).then(|| latency.at(quantile));
        let errors = now.errors - before.errors;
        self.context.told.send_replace(Told { p99_us: at(&swarm, 0.99), errors });
        lately.add(&swarm);
        let sums = self.progress.sums();
        let followers = sums.following
            + (self.context.opened.load(Ordering::Relaxed) - self.context.closed.load(Ordering::Relaxed)) as u64;
        let usage = |now: Process, before: Process| Usage {
            cpus: now.cpu.saturating_sub(before.cpu).as_secs_f64(),
            resident_bytes: now.resident,
        };
        let second = Second {
            at_s: number,
            writes_due: Some(self.rate),
            writes: now.writes - before.writes,
            requests: now.requests - before.requests,
            frames: now.frames - before.frames,
            p50_us: at(&lately, 0.5),
            p99_us: at(&lately, 0.99),
            errors,
            followers,
            server: now.server.zip(before.server).map(|(now, before)| usage(now, before)),
            generator: Some(usage(now.own, before.own)),
        };
        self.live.tell(Moment {
            doing: if interrupt::is_asked() { "ending" } else { "measuring" }.to_owned(),
            elapsed_s: since.as_secs_f64(),
            of_s: Some(self.of_s),
            followers,
            per_s: second.frames as f64,
            p99_us: second.p99_us,
            errors: now.errors,
            gaps: sums.missing + missing.max(0).cast_unsigned(),
        });
        second
    }
}
