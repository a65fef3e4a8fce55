//! What the server is like to somebody else meanwhile: a URL is fetched at a steady rate, and the answers are timed. Open
//! loop as the writers: each GET has its moment, and whatever waits behind a late answer is late too, in the figures as well.
//!
//! The connection that is kept and the fresh ones are two threads, so that neither waits behind the other's answers. Moments
//! are random, one in each interval: at the intervals' ends they would keep step with the writes, and meet the server before
//! each broadcast or after each, and never in it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::churn::Dice;
use super::cores;
use super::plan::{Plan, Server};
use super::publishing;
use crate::Failure;
use crate::arguments::SwarmArguments;
use crate::client::Client;
use crate::report::latencies;
use crate::target::Target;

/// Share of the GETs that are on fresh connections.
const FRESH: f64 = 0.2;

/// What to fetch.
#[derive(Debug, Clone)]
pub(crate) struct Probing {
    /// Where from.
    pub(crate) target: Target,
    /// The request.
    pub(crate) request: String,
    /// GETs per second, all together.
    rate: f64,
}

impl Probing {
    /// Resolves what was typed, for a run that writes, or else follows, `path` at `target`.
    pub(crate) fn resolve(
        typed: &SwarmArguments,
        rate: f64,
        server: Server,
        target: &Target,
        path: &str,
    ) -> Result<Probing, Failure> {
        let (target, path) = match (&typed.probe_url, server, publishing::place(path)) {
            (Some(url), _, _) => {
                let target = Target::resolve(url)?.with(&typed.fields)?;
                let path = target.path.clone();
                (target, path)
            }
            (None, Server::Fantail, Some(place)) => {
                let page = if place.is_collection() { "?limit=1" } else { "" };
                (target.clone(), format!("{}{page}", publishing::without_query(path)))
            }
            (None, Server::Fantail, None) | (None, Server::Foreign, _) => {
                return Err(Failure::Usage("--probe needs a --probe-url: what is followed has no end".to_owned()));
            }
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{}\r\n", target.authority, target.fields);
        Ok(Probing { target, request, rate })
    }
}

/// What came of it.
pub(crate) struct Probed {
    /// Microseconds from the intended time to the answer's end, on the connection that is kept.
    pub(crate) kept: Histogram<u64>,
    /// The same on fresh connections, with the connecting.
    pub(crate) fresh: Histogram<u64>,
    /// GETs that failed or were answered with another status than 2xx and 404, by reason.
    pub(crate) errors: BTreeMap<String, u64>,
}

impl Probed {
    /// GETs that ended, well or not.
    pub(crate) fn count(&self) -> u64 {
        self.kept.len() + self.fresh.len()
    }
}

/// A probe that is under way.
pub(crate) struct Probe {
    /// When it was told to stop: what was meant for later isn't sent.
    stopped: Arc<OnceLock<Instant>>,
    kept: JoinHandle<Lane>,
    fresh: JoinHandle<Lane>,
}

impl Probe {
    /// Starts fetching.
    pub(crate) fn start(plan: &Plan, probing: &Probing) -> Probe {
        let mut lanes = [Kind::Kept, Kind::Fresh].map(|kind| Lane::new(kind, probing, plan.patience));
        // Not counted: it opens the connection that is kept. What is wrong with it shows in the next one.
        let _ = lanes[0].get();
        let (start, stopped) = (Instant::now(), Arc::new(OnceLock::new()));
        let [kept, fresh] = lanes.map(|lane| {
            let (cores, stopped) = (plan.cores.clone(), Arc::clone(&stopped));
            thread::spawn(move || {
                let _ = cores::pin(&cores);
                cores::wake_precisely();
                cores::run_first();
                lane.run(start, &stopped)
            })
        });
        Probe { stopped, kept, fresh }
    }

    /// Lets it send what was meant for before now, and no more.
    pub(crate) fn stop(&self) {
        let _ = self.stopped.set(Instant::now());
        [&self.kept, &self.fresh].into_iter().for_each(|lane| lane.thread().unpark());
    }

    /// Stops it if nobody did, and awaits the last answers.
    pub(crate) fn end(self) -> Probed {
        self.stop();
        let [kept, fresh] = [self.kept, self.fresh].map(|lane| lane.join().expect("a probe doesn't panic"));
        let mut errors = kept.errors;
        fresh.errors.into_iter().for_each(|(why, count)| *errors.entry(why).or_default() += count);
        Probed { kept: kept.latency, fresh: fresh.latency, errors }
    }
}

/// Which connections a lane uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kept,
    Fresh,
}

/// The GETs on one kind of connection.
struct Lane {
    kind: Kind,
    probing: Probing,
    patience: Duration,
    client: Client,
    latency: Histogram<u64>,
    errors: BTreeMap<String, u64>,
}

impl Lane {
    fn new(kind: Kind, probing: &Probing, patience: Duration) -> Lane {
        let client = Client::new(&probing.target);
        Lane { kind, probing: probing.clone(), patience, client, latency: latencies(), errors: BTreeMap::new() }
    }

    /// Sends this lane's GETs, each at its moment, until the probe is stopped.
    fn run(mut self, start: Instant, stopped: &OnceLock<Instant>) -> Lane {
        // The same moments in each run.
        let (rate, mut dice) = match self.kind {
            Kind::Kept => (self.probing.rate * (1.0 - FRESH), Dice::new(0, 0)),
            Kind::Fresh => (self.probing.rate * FRESH, Dice::new(0, 1)),
        };
        for interval in 0.. {
            let due = start + Duration::from_secs_f64((f64::from(interval) + dice.share()) / rate);
            if !reached(due, stopped) {
                break;
            }
            if stopped.get().is_some_and(|end| end.elapsed() > self.patience) {
                self.error("GETs never sent: the server was too slow for the rate".to_owned());
                break;
            }
            if let Err(why) = self.get() {
                self.error(why);
            }
            self.latency.saturating_record(due.elapsed().as_micros() as u64);
            if self.kind == Kind::Fresh {
                self.client = Client::new(&self.probing.target);
            }
        }
        self
    }

    /// One GET and its answer.
    fn get(&mut self) -> Result<(), String> {
        let mut outcome = Ok(());
        self.client.queue(&self.probing.request);
        self.client.send(|answer| {
            outcome = match answer {
                Ok(200..=299 | 404) => Ok(()),
                Ok(status) => Err(format!("GET: status {status}")),
                Err(error) => Err(format!("GET: {error}")),
            };
        });
        outcome
    }

    fn error(&mut self, why: String) {
        *self.errors.entry(why).or_default() += 1;
    }
}

/// Waits for a moment; false if it lies behind the probe's end.
fn reached(due: Instant, stopped: &OnceLock<Instant>) -> bool {
    loop {
        if stopped.get().is_some_and(|end| due > *end) {
            return false;
        }
        let early = due.saturating_duration_since(Instant::now());
        if early.is_zero() {
            return true;
        }
        // Until then, or until it is stopped.
        thread::park_timeout(early);
    }
}
