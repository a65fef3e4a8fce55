//! What the threads of a run share: the stage that it has reached, and how far each has got.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::report::latencies;

/// What the threads are to do now. Only the run's own thread advances it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Connect, then follow; those that stall stop after the first block.
    Follow,
    /// Come and go at random.
    Churn,
    /// Come back, and stay.
    Calm,
    /// Those that stalled read again.
    Resume,
    /// All leave.
    Leave,
    /// All come back, with their last ids.
    Return,
    /// Report and end.
    End,
}

const STAGES: [Stage; 7] =
    [Stage::Follow, Stage::Churn, Stage::Calm, Stage::Resume, Stage::Leave, Stage::Return, Stage::End];

/// How often the waiting thread looks.
const LOOK: Duration = Duration::from_millis(2);

/// How often it says what it sees.
const SAY: Duration = Duration::from_secs(1);

/// How far a thread has got. Written by that thread only.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Followers that have received their first block.
    pub(crate) following: AtomicU64,
    /// Followers that failed.
    pub(crate) failed: AtomicU64,
    /// Followers without a connection: not yet, or because they left.
    pub(crate) away: AtomicU64,
    /// Frames on followers that read all the time.
    pub(crate) frames: AtomicU64,
    /// Frames on followers that stall.
    pub(crate) stalled_frames: AtomicU64,
    /// Followers that read all the time and have received as much as was to be waited for.
    pub(crate) sated: AtomicU64,
    /// Frames that are missing so far.
    pub(crate) missing: AtomicU64,
    /// Bytes received.
    pub(crate) bytes: AtomicU64,
    /// Microseconds from intended time to receive of what came lately: handed over once a second, taken by whoever asks.
    pub(crate) lately: Mutex<Option<Histogram<u64>>>,
}

/// The sums over all threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    /// See [`Meter`].
    pub(crate) following: u64,
    /// See [`Meter`].
    pub(crate) failed: u64,
    /// See [`Meter`].
    pub(crate) away: u64,
    /// See [`Meter`].
    pub(crate) frames: u64,
    /// See [`Meter`].
    pub(crate) stalled_frames: u64,
    /// See [`Meter`].
    pub(crate) sated: u64,
    /// See [`Meter`].
    pub(crate) missing: u64,
    /// See [`Meter`].
    pub(crate) bytes: u64,
}

impl Sums {
    /// What must change, or nothing happens any more: heartbeats are no progress, but mebibytes are.
    fn progress(self) -> Sums {
        Sums { bytes: self.bytes >> 20, ..self }
    }
}

/// Whether a run says itself how it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voice {
    /// Every second, a line.
    Says,
    /// Somebody else does.
    Silent,
}

/// Shared by all threads of a run.
#[derive(Debug)]
pub(crate) struct Progress {
    stage: AtomicU8,
    /// One per thread.
    pub(crate) meters: Vec<Meter>,
    /// Writes that were answered well.
    pub(crate) writes: AtomicU64,
    /// Writes that weren't.
    pub(crate) write_errors: AtomicU64,
    /// Whether the waiting thread says how it goes.
    voice: Voice,
    /// What the writers have counted, known before [`Stage::End`] of a run that publishes.
    pub(crate) published: OnceLock<Vec<u64>>,
}

impl Progress {
    /// At the start, for this many threads.
    pub(crate) fn new(threads: usize, voice: Voice) -> Arc<Progress> {
        let meters = (0..threads).map(|_| Meter::default()).collect();
        Arc::new(Progress {
            stage: AtomicU8::new(0),
            meters,
            writes: AtomicU64::new(0),
            write_errors: AtomicU64::new(0),
            voice,
            published: OnceLock::new(),
        })
    }

    /// Takes the latencies of what came lately, on all threads.
    pub(crate) fn lately(&self) -> Histogram<u64> {
        let mut sum = latencies();
        for meter in &self.meters {
            let lately = meter.lately.lock().expect("nobody panics with it").take();
            lately.iter().for_each(|lately| sum.add(lately).expect("the bounds are the same"));
        }
        sum
    }

    /// The stage that is reached.
    pub(crate) fn stage(&self) -> Stage {
        STAGES[usize::from(self.stage.load(Ordering::Acquire))]
    }

    /// Goes on to `stage`.
    pub(crate) fn advance(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Release);
    }

    /// How far all have got.
    pub(crate) fn sums(&self) -> Sums {
        let sum = |counter: fn(&Meter) -> &AtomicU64| {
            self.meters.iter().map(|meter| counter(meter).load(Ordering::Relaxed)).sum()
        };
        Sums {
            following: sum(|meter| &meter.following),
            failed: sum(|meter| &meter.failed),
            away: sum(|meter| &meter.away),
            frames: sum(|meter| &meter.frames),
            stalled_frames: sum(|meter| &meter.stalled_frames),
            sated: sum(|meter| &meter.sated),
            missing: sum(|meter| &meter.missing),
            bytes: sum(|meter| &meter.bytes),
        }
    }

    /// Waits until `done`, saying every second how it goes, but no longer than `patience` without any change. Returns how
    /// long the last change took to come, or nothing if patience ended it.
    pub(crate) fn wait(&self, doing: &str, patience: Duration, mut done: impl FnMut(Sums) -> bool) -> Option<Duration> {
        let start = Instant::now();
        let (mut seen, mut changed, mut said) = (Sums::default(), start, start);
        loop {
            let sums = self.sums();
            let now = Instant::now();
            if sums.progress() != seen {
                (seen, changed) = (sums.progress(), now);
            }
            if done(sums) {
                return Some(now - start);
            }
            if now - changed > patience {
                return None;
            }
            if self.voice == Voice::Says && now - said >= SAY {
                said = now;
                eprintln!(
                    "{doing:<12} {:>5.1} s  {:>9} following  {:>6} failed  {:>12} frames  {:>6.1} GB",
                    (now - start).as_secs_f64(),
                    sums.following,
                    sums.failed,
                    sums.frames + sums.stalled_frames,
                    sums.bytes as f64 / 1e9
                );
            }
            thread::sleep(LOOK);
        }
    }
}
