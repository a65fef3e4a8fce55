//! The writers. Open loop: each write has an intended time that doesn't depend on how long the writes before it took, and
//! carries that time with it, so that a stall of the server shows in every latency that it caused.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::arrivals::Schedule;
use super::cores;
use super::plan::Plan;
use super::progress::Progress;
use super::publishing::{self, Method, Publishing};
use super::template::Values;
use super::thread::unix_ns;
use crate::client::Client;
use crate::ledger::Rules;
use crate::reach::{self, REACH};
use crate::report::latencies;
use crate::{Failure, interrupt};

/// How late a writer that waits for its next moment learns that the run is to end.
const LOOK: Duration = Duration::from_millis(100);

/// What the writers did.
pub(crate) struct Published {
    /// Of each topic, or of a lone one for each writer, the counter of the last write that was answered with success: how many
    /// there were, if none was refused in the middle of a burst.
    pub(crate) counts: Vec<u64>,
    /// Writes that were refused, failed, or never sent because the server was too slow.
    pub(crate) errors: Vec<String>,
    /// Microseconds from the intended time to the answer.
    pub(crate) latency: Histogram<u64>,
    /// Microseconds by which the writers woke too late for a write: their own fault, or this host's.
    pub(crate) lag: Histogram<u64>,
    /// Writes whose moment passed while the answer before theirs was awaited.
    pub(crate) waited: u64,
    /// What the busiest writer took, as a part of one CPU.
    pub(crate) busiest_cpus: f64,
    /// Whether a writer ended before its time: what became of its last write isn't known, or the server was too slow.
    pub(crate) broke: bool,
    /// From the first intended time to the last answer.
    pub(crate) took: Duration,
}

impl Published {
    /// Nothing yet.
    pub(crate) fn new(plan: &Plan) -> Published {
        Published {
            counts: vec![0; plan.topics.len().max(plan.rules.writers as usize)],
            errors: Vec::new(),
            latency: latencies(),
            lag: latencies(),
            waited: 0,
            busiest_cpus: 0.0,
            broke: false,
            took: Duration::ZERO,
        }
    }
}

/// Creates the documents that are going to be followed, since a document that isn't there can't be.
pub(crate) fn create(publishing: &Publishing) -> Result<(), Failure> {
    if publishing.method == Method::Post {
        return Ok(());
    }
    let mut client = Client::new(&publishing.target).waiting(REACH);
    for (topic, path) in publishing.paths.iter().enumerate() {
        client.queue(&publishing.request(path, &body(publishing, topic, 0, 0)));
        let mut failure = None;
        client.send(|answer| {
            failure = match answer {
                Ok(200..=299) => None,
                Ok(status) => Some(Failure::Unreachable(format!("PUT {path} is answered with {status}"))),
                Err(error) if reach::is_silence(&error) => {
                    Some(Failure::Unreachable(format!("PUT {path}: {}", reach::SILENT)))
                }
                Err(error) => Some(Failure::Unreachable(format!("PUT {path}: {error}"))),
            };
        });
        failure.map_or(Ok(()), Err)?;
    }
    Ok(())
}

fn body(publishing: &Publishing, topic: usize, counter: u64, time_ns: u64) -> String {
    let (payload, topic) = (publishing.payload, &publishing::topic(topic));
    publishing.body.fill(Values { counter, time_ns, payload, topic })
}

/// Sends `writes` writes at the plan's rate, continuing the counters in `published`, and adds what came of it.
pub(crate) fn publish(
    plan: &Plan,
    publishing: &Publishing,
    writes: u64,
    progress: &Progress,
    published: &mut Published,
) {
    let (start, start_ns) = (Instant::now(), unix_ns());
    let lanes: Vec<Lane> = thread::scope(|scope| {
        let counts = &published.counts;
        let lanes = (0..publishing.publishers).map(|number| {
            scope.spawn(move || {
                let _ = cores::pin(&plan.cores);
                cores::wake_precisely();
                Lane::new(plan, publishing, number, progress, counts.clone()).run(writes, start, start_ns)
            })
        });
        let lanes: Vec<_> = lanes.collect();
        lanes.into_iter().map(|lane| lane.join().expect("a writer doesn't panic")).collect()
    });
    published.took = start.elapsed();
    let before = published.counts.clone();
    for lane in lanes {
        for (counter, count) in lane.counts.iter().enumerate() {
            published.counts[counter] += count - before[counter];
        }
        published.errors.extend(lane.errors);
        published.latency.add(lane.latency).expect("the bounds are the same");
        published.lag.add(lane.lag).expect("the bounds are the same");
        published.waited += lane.waited;
        published.broke |= lane.broke;
        let cpus = lane.cpu.as_secs_f64() / published.took.as_secs_f64().max(1e-9);
        published.busiest_cpus = published.busiest_cpus.max(cpus);
    }
}

/// One writer's share of the writes.
struct Lane<'a> {
    publishing: &'a Publishing,
    rules: Rules,
    number: usize,
    client: Client,
    /// See [`Published::counts`].
    counts: Vec<u64>,
    errors: Vec<String>,
    latency: Histogram<u64>,
    /// See [`Published::lag`].
    lag: Histogram<u64>,
    /// See [`Published::waited`].
    waited: u64,
    /// See [`Published::broke`].
    broke: bool,
    /// What its thread took.
    cpu: Duration,
    progress: &'a Progress,
    patience: Duration,
}

impl<'a> Lane<'a> {
    fn new(
        plan: &Plan,
        publishing: &'a Publishing,
        number: usize,
        progress: &'a Progress,
        counts: Vec<u64>,
    ) -> Lane<'a> {
        Lane {
            publishing,
            rules: plan.rules,
            number,
            client: Client::new(&publishing.target),
            counts,
            errors: Vec::new(),
            latency: latencies(),
            lag: latencies(),
            waited: 0,
            broke: false,
            cpu: Duration::ZERO,
            progress,
            patience: plan.patience,
        }
    }

    /// Sends this lane's part of all bursts, each at its moment.
    fn run(mut self, writes: u64, start: Instant, start_ns: u64) -> Lane<'a> {
        let Publishing { burst, rate, arrivals, seed, .. } = *self.publishing;
        let end = Duration::from_secs_f64(writes as f64 / rate);
        for (first, due) in Schedule::new(arrivals, rate, burst, writes, seed) {
            let topics = self.topics(first..(first + burst).min(writes));
            if topics.is_empty() {
                continue;
            }
            // Open loop: each write has its moment, whatever became of the one before; but one connection sends it only when
            // that one is answered.
            let was_early = start.elapsed() <= due;
            while let Some(early) = due.checked_sub(start.elapsed()).filter(|_| !interrupt::is_asked()) {
                thread::sleep(early.min(LOOK));
            }
            if interrupt::is_asked() {
                break;
            }
            if was_early {
                self.lag.saturating_record(start.elapsed().saturating_sub(due).as_micros() as u64);
            } else if start.elapsed() > end.max(due) + self.patience {
                self.progress.write_errors.fetch_add(1, Ordering::Relaxed);
                self.errors.push("writes never sent: the server was too slow for the rate".to_owned());
                self.broke = true;
                break;
            } else {
                self.waited += topics.len() as u64;
            }
            if !self.send(&topics, start_ns + due.as_nanos() as u64, || start.elapsed().saturating_sub(due)) {
                self.broke = true;
                break;
            }
        }
        self.cpu = cores::spent();
        self
    }

    /// The topics of those of a burst's writes that are this lane's.
    fn topics(&self, writes: std::ops::Range<u64>) -> Vec<usize> {
        let (topics, publishers) = (self.publishing.paths.len() as u64, self.publishing.publishers as u64);
        // A topic belongs to one writer, so that its writes have an order; a lone topic to all of them, burst by burst.
        let turn = |write: u64| if topics == 1 { write / self.publishing.burst } else { write % topics };
        writes
            .filter(|&write| turn(write) % publishers == self.number as u64)
            .map(|write| (write % topics) as usize)
            .collect()
    }

    /// Sends one write to each of `topics` at once. Returns whether the counters can go on.
    fn send(&mut self, topics: &[usize], time_ns: u64, took: impl Fn() -> Duration) -> bool {
        let mut next = self.counts.clone();
        let mut sent = Vec::with_capacity(topics.len());
        for &topic in topics {
            let (counter, writer) = if self.rules.writers > 1 { (self.number, self.number) } else { (topic, 0) };
            next[counter] += 1;
            sent.push((counter, next[counter]));
            let body = body(self.publishing, topic, self.rules.number(writer, next[counter]), time_ns);
            self.client.queue(&self.publishing.request(&self.publishing.paths[topic], &body));
        }
        let mut answered = sent.into_iter();
        let mut goes_on = true;
        let Lane { client, counts, errors, latency, progress, .. } = self;
        let failed = errors.len();
        client.send(|answer| {
            let write = answered.next();
            match (answer, write) {
                // A write that was refused before it leaves a hole in the counters, which its followers then see too.
                (Ok(200..=299), Some((counter, count))) => {
                    counts[counter] = count;
                    progress.writes.fetch_add(1, Ordering::Relaxed);
                }
                (Ok(status), _) => errors.push(format!("write: status {status}")),
                (Err(error), _) => {
                    // Whether it was written isn't known, so that the counter can't go on.
                    errors.push(format!("write: {error}"));
                    goes_on = false;
                }
            }
            latency.saturating_record(took().as_micros() as u64);
        });
        progress.write_errors.fetch_add((errors.len() - failed) as u64, Ordering::Relaxed);
        goes_on
    }
}
