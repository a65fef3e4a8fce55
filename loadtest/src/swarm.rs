//! Many followers on few threads. This file is the run's course; read the modules in this order.

mod arrivals;
mod plan;
mod publishing;
mod template;

mod progress;
mod publisher;
mod thread;

mod probe;

mod connection;
mod members;
mod reference;

mod churn;

mod buffers;
mod cores;
mod ring;

mod gauge;
mod report;

use std::fs;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use arrivals::Arrivals;
use connection::Findings;
use gauge::Kernel;
pub(crate) use gauge::{Process, descriptors_max};
use gauge::{busiest, threads};
pub(crate) use members::{Members, Moment, Write};
pub(crate) use plan::{NUMBER_MAX, Plan, TOPIC, afford, any_seed, is_number, warnings};
use probe::{Probe, Probed};
use progress::Stage;
pub(crate) use progress::{Progress, Voice};
use publisher::Published;
use publishing::Publishing;
pub(crate) use publishing::{Method, topic};
pub(crate) use reference::FRAME_BYTES_MAX;
pub(crate) use report::Report;
use report::{Reading, Writes};
pub(crate) use thread::unix_ns;

use crate::arguments::SwarmArguments;
use crate::reach::REACH;
use crate::{Failure, interrupt};

/// A run, from arguments to report.
pub(crate) fn run(typed: &SwarmArguments) -> Result<(), Failure> {
    if typed.connections == 0 {
        return Err(Failure::Usage("there must be a connection at least".to_owned()));
    }
    let plan = Arc::new(Plan::resolve(typed)?);
    interrupt::listen()?;
    for warning in warnings(&plan) {
        eprintln!("warning: {warning}");
    }
    if plan.is_random() {
        eprintln!("--seed {}", plan.seed);
    }
    let pids: Vec<String> = typed.pid.iter().map(u32::to_string).collect();
    Process::read_all(&pids).map_err(|error| Failure::Usage(format!("--pid {}: {error}", pids.join(","))))?;
    prepare(&plan)?;
    if let Some(publishing) = &plan.publishing {
        publisher::create(publishing)?;
    }
    let mut run = Run::start(plan, pids, Voice::Says)?;
    run.connect()?;
    run.measure();
    run.resume();
    if !interrupt::is_asked() {
        run.reconnect();
    }
    let report = run.end()?;
    print!("{report}");
    if let Some(path) = &typed.json {
        fs::write(path, format!("{:#}\n", report.json()))
            .map_err(|error| Failure::Usage(format!("--json {}: {error}", path.display())))?;
    }
    match report.is_clean() {
        _ if interrupt::is_asked() => Err(Failure::Interrupted),
        true => Ok(()),
        false => Err(Failure::Faults),
    }
}

/// Finds out whether somebody answers, and pins this thread.
pub(crate) fn prepare(plan: &Plan) -> Result<(), Failure> {
    let written = plan.publishing.as_ref().map(|publishing| publishing.target.address);
    let probed = plan.probing.as_ref().map(|probing| probing.target.address);
    for address in plan.addresses.iter().chain(&written).chain(&probed) {
        TcpStream::connect_timeout(address, REACH)
            .map_err(|error| Failure::Unreachable(format!("{address}: {error}")))?;
    }
    cores::pin(&plan.cores).map_err(|error| Failure::Usage(format!("--cores: {error}")))
}

/// A run that has started.
pub(crate) struct Run {
    plan: Arc<Plan>,
    progress: Arc<Progress>,
    threads: Vec<std::thread::JoinHandle<std::io::Result<Findings>>>,
    /// The server's processes, if they are known.
    pids: Vec<String>,
    published: Published,
    /// Before the first connection, when all followed, and at the end of the measured time.
    readings: [Reading; 3],
    following: u64,
    /// Followers that failed before all the others followed.
    failed_connecting: u64,
    connecting: Duration,
    window: Duration,
    frames: u64,
    /// Bytes received in the measured time.
    bytes: u64,
    expected: Option<u64>,
    /// Followers that didn't receive as much as was to be waited for.
    short: u64,
    writes: Option<Writes>,
    /// What the busiest thread took, as a part of one CPU.
    busiest_cpus: f64,
    probed: Option<Probed>,
    stalled: Option<(u64, Option<Duration>)>,
    reconnected: Option<(u64, Option<Duration>)>,
}

impl Run {
    /// Starts the threads, which begin to connect.
    pub(crate) fn start(plan: Arc<Plan>, pids: Vec<String>, voice: Voice) -> Result<Run, Failure> {
        let threads = plan.connections.div_ceil(plan.share);
        let progress = Progress::new(threads, voice);
        let before = read(&pids);
        let since_ns = plan.publishing.as_ref().map(|_| thread::unix_ns());
        let mut handles = Vec::new();
        for index in 0..threads {
            let (plan, progress) = (Arc::clone(&plan), Arc::clone(&progress));
            let spawned = std::thread::Builder::new().name(format!("swarm-{index}")).spawn(move || {
                if let Some(&core) = plan.cores.get(index % plan.cores.len().max(1)) {
                    cores::pin(&[core])?;
                }
                thread::Thread::new(plan, progress, index, since_ns)?.run()
            });
            handles.push(spawned.map_err(|error| Failure::Machine(error.to_string()))?);
        }
        Ok(Run {
            published: Published::new(&plan),
            plan,
            progress,
            threads: handles,
            pids,
            readings: [before, Reading::default(), Reading::default()],
            following: 0,
            failed_connecting: 0,
            connecting: Duration::ZERO,
            window: Duration::ZERO,
            frames: 0,
            bytes: 0,
            expected: None,
            short: 0,
            writes: None,
            busiest_cpus: 0.0,
            probed: None,
            stalled: None,
            reconnected: None,
        })
    }

    /// How far it has got, for others to look at.
    pub(crate) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// What the writers have counted.
    pub(crate) fn published(&self) -> Vec<u64> {
        self.published.counts.clone()
    }

    /// Until all follow, or have failed, or nothing happens any more.
    pub(crate) fn connect(&mut self) -> Result<(), Failure> {
        let all = self.plan.connections as u64;
        let start = Instant::now();
        let threads = &self.threads;
        let done = self.progress.wait("connecting", self.plan.patience, |sums| {
            let is_done = sums.following + sums.failed >= all || interrupt::is_asked();
            is_done || threads.iter().any(|thread| thread.is_finished())
        });
        self.connecting = done.unwrap_or_else(|| start.elapsed());
        let sums = self.progress.sums();
        (self.following, self.failed_connecting) = (sums.following, sums.failed);
        if self.threads.iter().any(|thread| thread.is_finished()) {
            return Err(self.broken());
        }
        if interrupt::is_asked() {
            return Err(Failure::Interrupted);
        }
        self.readings[1] = read(&self.pids);
        Ok(())
    }

    /// Publishes, or listens, and waits for stragglers.
    pub(crate) fn measure(&mut self) {
        let probe = self.plan.probing.as_ref().map(|probing| Probe::start(&self.plan, probing));
        let (start, at_start) = (Instant::now(), threads());
        let cpus = || busiest(&at_start, &threads()).as_secs_f64() / start.elapsed().as_secs_f64().max(1e-9);
        let before = self.progress.sums();
        if let Some(publishing) = self.plan.publishing.clone() {
            let writes = (publishing.rate * self.plan.time.as_secs_f64()).ceil() as u64;
            self.progress.advance(Stage::Churn);
            self.publish(&publishing, writes.max(1));
            // What those took that have ended is known of themselves; waiting for stragglers is no work.
            self.busiest_cpus = self.published.busiest_cpus.max(cpus());
            probe.iter().for_each(Probe::stop);
            self.progress.advance(Stage::Calm);
            let count = self.published.counts.iter().sum();
            let (latency, lag) = (self.published.latency.clone(), self.published.lag.clone());
            let Published { took, waited, .. } = self.published;
            self.writes = Some(Writes { count, rate: publishing.rate, took, latency, lag, waited });
            let (expected, _) = self.plan.expected(&self.published.counts);
            // Those that failed don't come back, and then frames are missing too.
            let staying = self.plan.churning.map_or(0, |_| self.following);
            self.progress.wait("stragglers", self.plan.patience, |sums| {
                sums.frames >= expected && sums.following + sums.failed >= staying
            });
            self.expected = Some(expected);
        } else if self.plan.count.or(self.plan.bytes).is_some() {
            let readers = self.plan.connections as u64 - self.plan.stalling();
            self.progress.wait("listening", self.plan.patience, |sums| sums.sated >= readers || interrupt::is_asked());
            self.short = readers - self.progress.sums().sated;
        } else {
            let time = self.plan.time;
            self.progress.wait("listening", time, |_| start.elapsed() >= time || interrupt::is_asked());
        }
        self.window = start.elapsed();
        if self.writes.is_none() {
            self.busiest_cpus = cpus();
        }
        let after = self.progress.sums();
        (self.frames, self.bytes) = (after.frames - before.frames, after.bytes - before.bytes);
        self.readings[2] = read(&self.pids);
        self.probed = probe.map(Probe::end);
    }

    /// Publishes in a thread of its own while this one says how it goes.
    fn publish(&mut self, publishing: &Publishing, writes: u64) {
        let (plan, progress, published) = (&self.plan, &self.progress, &mut self.published);
        std::thread::scope(|scope| {
            let publisher = scope.spawn(|| publisher::publish(plan, publishing, writes, progress, published));
            progress.wait("publishing", Duration::MAX, |_| publisher.is_finished());
        });
    }

    /// Whether what was asked for isn't what was measured: a writer ended before its time, or more than a hundredth of the
    /// followers didn't follow to the end.
    pub(crate) fn broke(&self) -> bool {
        let asked = self.plan.connections as u64;
        // Those that come and go are away at times, but never fail.
        let failed = self.progress.sums().failed;
        let silent = asked.saturating_sub(self.following + self.failed_connecting);
        self.published.broke || (silent + failed) * 100 > asked
    }

    /// Lets those that stalled read again, and times how long they take to have everything.
    fn resume(&mut self) {
        let followers = self.plan.stalling();
        if followers == 0 {
            return;
        }
        self.progress.advance(Stage::Resume);
        let caught_up = self.plan.publishing.as_ref().and_then(|_| {
            let (_, expected) = self.plan.expected(&self.published.counts);
            self.progress.wait("catching up", self.plan.patience, |sums| sums.stalled_frames >= expected)
        });
        self.stalled = Some((followers, caught_up));
    }

    /// Lets all leave, publishes what they miss, lets all return at once and times how long they take to have everything.
    fn reconnect(&mut self) {
        let Some(missed) = self.plan.reconnect else { return };
        let staying = self.progress.sums().following;
        self.progress.advance(Stage::Leave);
        self.progress.wait("leaving", self.plan.patience, |sums| sums.away >= staying);
        // Nobody listens: as fast as the server takes them, but each with a moment of its own.
        let publishing = self.plan.publishing.clone().map(|plan| Publishing { rate: NUMBER_MAX, ..plan });
        if let (Some(publishing), true) = (&publishing, missed > 0) {
            self.publish(publishing, missed);
        }
        self.progress.advance(Stage::Return);
        let expected = publishing.map_or(0, |_| {
            let (reading, stalling) = self.plan.expected(&self.published.counts);
            reading + stalling
        });
        let caught_up = self.progress.wait("returning", self.plan.patience, |sums| {
            sums.following >= staying && sums.frames + sums.stalled_frames >= expected
        });
        self.reconnected = Some((missed, caught_up));
    }

    /// Ends the threads and says what they found.
    pub(crate) fn end(mut self) -> Result<Report, Failure> {
        if self.plan.publishing.is_some() {
            let _ = self.progress.published.set(self.published.counts.clone());
        }
        self.progress.advance(Stage::End);
        let threads = self.threads.len();
        let mut all = Findings::new(&self.plan, None);
        for thread in self.threads.drain(..) {
            all.add(joined(thread)?);
        }
        for error in self.published.errors.drain(..) {
            all.error(error);
        }
        for (why, count) in self.probed.iter().flat_map(|probed| &probed.errors) {
            all.errors.insert(why.clone(), *count);
        }
        if self.short > 0 {
            all.errors.insert("less than --count or --bytes in time".to_owned(), self.short);
        }
        Ok(Report {
            connections: self.plan.connections as u64,
            threads,
            following: self.following,
            connecting: self.connecting,
            window: self.window,
            frames: self.frames,
            expected: self.expected,
            bytes: self.bytes,
            bytes_in_all: all.bytes,
            latency: all.latency,
            lag: all.lag,
            faults: all.faults,
            resets: all.resets,
            churn: self.plan.churning.map(|churning| (churning.seed, all.tally)),
            errors: all.errors,
            writes: self.writes,
            busiest_cpus: self.busiest_cpus,
            probed: self.probed,
            stalled: self.stalled,
            reconnected: self.reconnected,
            readings: self.readings,
        })
    }

    /// Why a thread ended before it was told to.
    fn broken(&mut self) -> Failure {
        let ended = self.threads.drain(..).find(|thread| thread.is_finished()).map(joined);
        match ended {
            Some(Err(failure)) => failure,
            _ => Failure::Machine("a thread ended early".to_owned()),
        }
    }
}

fn joined(thread: std::thread::JoinHandle<std::io::Result<Findings>>) -> Result<Findings, Failure> {
    match thread.join() {
        Ok(Ok(findings)) => Ok(findings),
        Ok(Err(error)) => Err(Failure::Machine(format!("a ring: {error}"))),
        Err(_) => Err(Failure::Machine("a thread panicked".to_owned())),
    }
}

fn read(pids: &[String]) -> Reading {
    let server = if pids.is_empty() { None } else { Process::read_all(pids).ok() };
    Reading { server, own: Process::read("self").unwrap_or_default(), kernel: Kernel::read() }
}
