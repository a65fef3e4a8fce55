//! What all users of a run share: where to, when, and what they found.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use reqwest::Client;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::LOOK;
use super::swarm::Told;
use crate::ledger::{Faults, Law, Rules};
use crate::preset::{Preset, Urls};
use crate::report::Latency;
use crate::swarm::{self, Members};
use crate::workload::Workload;

/// How far a run is. It only ever goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Followers connect.
    Opening,
    /// What is done is counted.
    Measuring,
    /// No more writes come: followers compare what they have.
    Closing,
}

/// What followers of goose's found, all together.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Followers that were answered with a stream.
    pub(crate) following: u64,
    /// Frames of the run.
    pub(crate) frames: u64,
    /// Bytes of bodies.
    pub(crate) bytes: u64,
    /// From the intended time to the receive.
    pub(crate) latency: Latency,
    /// The same of what came in this second.
    pub(crate) lately: Latency,
    /// Frames that are missing so far, as far as it shows by those behind them.
    pub(crate) missing: i64,
    /// Of followers that are done.
    pub(crate) faults: Faults,
    /// Streams that were reset.
    pub(crate) resets: u64,
    /// What failed, by reason.
    pub(crate) errors: BTreeMap<String, u64>,
}

/// Shared by all users of a run.
pub(crate) struct Context {
    /// What is done.
    pub(crate) workload: Workload,
    /// How the server is spoken to.
    pub(crate) preset: Preset,
    /// Where.
    pub(crate) urls: Urls,
    /// Names of the topics.
    pub(crate) topics: Vec<String>,
    /// The client of all users, with the fields of the command line.
    pub(crate) client: Client,
    /// What finds counters and moments.
    pub(crate) members: Members,
    /// What ids and counters are held to.
    pub(crate) rules: Rules,
    /// Frames that were meant for before are none of the run's, in nanoseconds since 1970.
    pub(crate) since_ns: u64,
    /// How long what is missing is waited for.
    pub(crate) patience: Duration,
    /// How far the run is.
    pub(crate) phase: watch::Sender<Phase>,
    /// The swarm's last second.
    pub(crate) told: watch::Sender<Told>,
    /// What the writers have counted, known before [`Phase::Closing`].
    pub(crate) published: OnceLock<Vec<u64>>,
    /// Followers and resumers that follow, or have failed.
    pub(crate) opened: AtomicUsize,
    /// Of these, those that are done.
    pub(crate) closed: AtomicUsize,
    /// Requests that were answered, well or not.
    pub(crate) requests: AtomicU64,
    /// What was found.
    pub(crate) found: Mutex<Found>,
    /// Numbers that users draw.
    numbers: AtomicUsize,
}

impl Context {
    /// Before anything.
    pub(crate) fn new(
        workload: Workload,
        preset: Preset,
        urls: Urls,
        client: Client,
        since_ns: u64,
        patience: Duration,
    ) -> Context {
        let members = Members::new(preset.counter.as_deref(), preset.time.as_deref());
        let positions = if preset.positions { Law::Rising } else { Law::None };
        Context {
            topics: (0..workload.topics).map(swarm::topic).collect(),
            rules: Rules::new(positions, workload.publish.publishers, workload.topics),
            workload,
            preset,
            urls,
            client,
            members,
            since_ns,
            patience,
            phase: watch::channel(Phase::Opening).0,
            told: watch::channel(Told::default()).0,
            published: OnceLock::new(),
            opened: AtomicUsize::new(0),
            closed: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            found: Mutex::new(Found::default()),
            numbers: AtomicUsize::new(0),
        }
    }

    /// A number that no other user has.
    pub(crate) fn number(&self) -> usize {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// How far the run is.
    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Counts an error.
    pub(crate) fn error(&self, why: String) {
        *self.found.lock().expect("nobody panics with it").errors.entry(why).or_default() += 1;
    }

    /// Followers and resumers there are to be.
    pub(crate) fn following(&self) -> usize {
        self.workload.followers.users + self.workload.resumers.users
    }
}

/// The moments of one user's requests: evenly spread, whatever became of those before.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    due: Option<Instant>,
    every: Duration,
}

impl Pace {
    /// `rate` per second.
    pub(crate) fn new(rate: f64) -> Pace {
        Pace { due: None, every: Duration::from_secs_f64(1.0 / rate) }
    }

    /// Waits for the next moment, but no longer than [`LOOK`]; false if it isn't there yet, or isn't in the measured time.
    pub(crate) async fn turn(&mut self, context: &Context) -> bool {
        let mut phase = context.phase.subscribe();
        let look = Instant::now() + LOOK;
        let due = *self.due.get_or_insert(Instant::now());
        let measuring = timeout_at(look, phase.wait_for(|phase| *phase >= Phase::Measuring)).await;
        if !measuring.is_ok_and(|phase| phase.is_ok_and(|phase| *phase == Phase::Measuring)) {
            return false;
        }
        if due > look {
            sleep_until(look).await;
            return false;
        }
        sleep_until(due).await;
        // A user that fell behind asks again at once, but doesn't make up for what it left out.
        self.due = Some((due + self.every).max(Instant::now()));
        context.phase() == Phase::Measuring
    }
}
