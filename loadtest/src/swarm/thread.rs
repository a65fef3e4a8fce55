//! A thread of the swarm: a ring, a table of connections, and the loop that carries completions from one to the other.
//! Collects everything that happened, handles all of it, submits once.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::churn::{Act, Churn, Due, Farewell, Return, Window};
use super::connection::{Connection, ENDED, Findings, Phase};
use super::plan::{Habit, Plan};
use super::progress::{Progress, Stage};
use super::ring::{Completion, Intake, Kind, Ring};

/// How long a turn waits when nothing happens: how late a thread learns of a new stage.
const TICK: Duration = Duration::from_millis(10);

/// How often a thread hands over what came lately: a quarter of the second in which others look at it.
const HAND_OVER_NS: u64 = 250_000_000;

/// What connecting comes to when all ports are taken.
const ENOPORT: i32 = -libc::EADDRNOTAVAIL;

/// A thread's state.
pub(crate) struct Thread {
    plan: Arc<Plan>,
    progress: Arc<Progress>,
    /// Which thread it is: the index of its meter.
    index: usize,
    /// The number of the first of its connections.
    first: usize,
    ring: Ring,
    connections: Vec<Connection>,
    findings: Findings,
    stage: Stage,
    /// The next connection to dial, if all are to be.
    next: usize,
    /// What those do that come and go at random, if this run lets them.
    churn: Option<Churn>,
    /// Those of them that come back now.
    returning: VecDeque<(u32, Return)>,
    /// Handshakes in flight.
    dialling: usize,
    following: u64,
    failed: u64,
    away: u64,
    /// When it last handed over what came lately, in nanoseconds since 1970.
    handed_over_ns: u64,
}

impl Thread {
    /// The thread number `index`, called on that thread. Frames meant before `since_ns` don't belong to the run.
    pub(crate) fn new(
        plan: Arc<Plan>,
        progress: Arc<Progress>,
        index: usize,
        since_ns: Option<u64>,
    ) -> io::Result<Thread> {
        let first = index * plan.share;
        let last = (first + plan.share).min(plan.connections);
        let first_counter = plan.publishing.as_ref().map(|_| 1);
        let connections: Vec<Connection> =
            (first..last).map(|number| Connection::new(first_counter, plan.rules, plan.habit(number))).collect();
        let churn = plan.churning.map(|churning| Churn::new(churning, first, connections.len()));
        Ok(Thread {
            ring: Ring::new(connections.len(), &plan.addresses)?,
            findings: Findings::new(&plan, since_ns),
            plan,
            progress,
            index,
            first,
            away: connections.len() as u64,
            connections,
            stage: Stage::Follow,
            next: 0,
            churn,
            returning: VecDeque::new(),
            dialling: 0,
            following: 0,
            failed: 0,
            handed_over_ns: 0,
        })
    }

    /// Runs until [`Stage::End`] and returns what was found.
    pub(crate) fn run(mut self) -> io::Result<Findings> {
        let mut happened = Vec::with_capacity(1024);
        loop {
            let stage = self.progress.stage();
            if stage != self.stage {
                self.stage = stage;
                match stage {
                    Stage::Follow => {}
                    Stage::Churn => self.stir(),
                    Stage::Calm => self.calm()?,
                    Stage::Resume => self.resume()?,
                    Stage::Leave => self.leave()?,
                    Stage::Return => self.next = 0,
                    Stage::End => return Ok(self.end()),
                }
            }
            self.churn()?;
            self.dial()?;
            self.ring.turn(TICK, &mut happened)?;
            let now_ns = unix_ns();
            let had_work = !happened.is_empty();
            for completion in happened.drain(..) {
                self.handle(&completion, now_ns)?;
            }
            self.forget();
            self.tell();
            if !self.findings.lately.is_empty() && now_ns - self.handed_over_ns >= HAND_OVER_NS {
                self.hand_over(now_ns);
            }
            if had_work {
                self.findings.lag.saturating_record(unix_ns().saturating_sub(now_ns) / 1_000);
            }
        }
    }

    /// Keeps what the followers have in common short.
    fn forget(&mut self) {
        let Some(reference) = &mut self.findings.reference else { return };
        let Some(cut) = reference.excess() else { return };
        for connection in &mut self.connections {
            connection.part_before(cut, reference);
        }
        reference.forget(cut);
    }

    /// Whether followers come and go at random now, or some are still to come back from that.
    fn churns(&self) -> bool {
        self.churn.is_some() && matches!(self.stage, Stage::Churn | Stage::Calm)
    }

    /// Dials as many as may be in flight.
    fn dial(&mut self) -> io::Result<()> {
        while self.dialling < self.plan.handshakes {
            let Some((slot, how)) = self.next_to_dial() else { break };
            let connection = &mut self.connections[slot as usize];
            if connection.phase != Phase::Idle {
                continue;
            }
            if self.stage != Stage::Follow {
                connection.live_since_ms = self.findings.now_ms();
            }
            self.dialling += 1;
            self.away -= 1;
            let number = self.first + slot as usize;
            let last = connection.dial(self.findings.reference.as_ref(), &self.plan.id);
            let mut request = self.plan.subscription(number, last);
            match how {
                Return::Stay(window) => {
                    connection.armed = Some(Intake::Read);
                    self.ring.dial(slot, number, request, window)?;
                }
                Return::Abandon(share, farewell) => {
                    connection.phase = Phase::Abandoning(farewell);
                    request.truncate((request.len() as f64 * share) as usize);
                    self.ring.knock(slot, number, request)?;
                }
            }
        }
        Ok(())
    }

    fn next_to_dial(&mut self) -> Option<(u32, Return)> {
        if let Some(returning) = self.returning.pop_front() {
            return Some(returning);
        }
        let slot = (self.next < self.connections.len()).then_some(self.next as u32)?;
        self.next += 1;
        Some((slot, Return::Stay(Window::Usual)))
    }

    fn handle(&mut self, completion: &Completion, now_ns: u64) -> io::Result<()> {
        let slot = completion.slot;
        let connection = &mut self.connections[slot as usize];
        match (completion.kind, connection.phase) {
            (Kind::Receive, _) => return self.received(completion, Intake::Read, now_ns),
            (Kind::Discard, _) => return self.received(completion, Intake::Discarded, now_ns),
            (Kind::Send, Phase::Abandoning(farewell)) => {
                // However far it came: the next attempt shows whether there is a server.
                self.dialling -= 1;
                self.findings.tally.abandoned += 1;
                return self.part(slot, farewell, now_ns);
            }
            (Kind::Socket | Kind::Connect, Phase::Abandoning(_)) => {}
            (Kind::Socket | Kind::Connect | Kind::Send, _) if completion.result < 0 => {
                // What follows a broken part of the chain is canceled; the part itself says why.
                let is_reset = completion.result == -libc::ECONNRESET;
                if completion.result != -libc::ECANCELED && !(is_reset && self.turned_away(slot, now_ns)) {
                    let error = io::Error::from_raw_os_error(-completion.result);
                    let why = match completion.result {
                        ENOPORT => {
                            "connect: no port is left to reach this address from: --spread takes more".to_owned()
                        }
                        _ => format!("{:?}: {error}", completion.kind).to_lowercase(),
                    };
                    self.fail(slot, why);
                }
            }
            (Kind::Close, Phase::Leaving(_)) => {
                connection.phase = Phase::Idle;
                self.away += 1;
            }
            // There is nothing to reset if no socket could be opened; else this kernel can't do it.
            (Kind::Option, _) if !matches!(-completion.result, 0 | libc::EBADF | libc::ECANCELED) => {
                return Err(io::Error::from_raw_os_error(-completion.result));
            }
            (Kind::Socket | Kind::Connect | Kind::Send | Kind::Disarm | Kind::Close | Kind::Option, _) => {}
        }
        Ok(())
    }

    fn received(&mut self, completion: &Completion, intake: Intake, now_ns: u64) -> io::Result<()> {
        let slot = completion.slot;
        let connection = &mut self.connections[slot as usize];
        connection.armed = completion.more.then_some(intake);
        let before = connection.phase;
        let mut broken = None;
        if let Some(buffer) = completion.buffer {
            let reads = !matches!(before, Phase::Gone | Phase::Leaving(_));
            if let (true, Ok(length)) = (reads, usize::try_from(completion.result)) {
                match intake {
                    Intake::Read => {
                        let bytes = self.ring.bytes(buffer, length);
                        broken = connection.receive(bytes, now_ns, &mut self.findings).err();
                    }
                    Intake::Discarded => connection.discard(length, &mut self.findings),
                }
            }
            self.ring.give_back(buffer, intake);
        }
        if completion.result == 0 && !completion.more {
            broken = match before {
                Phase::Following | Phase::Stalled => Some(ENDED.to_owned()),
                _ if self.turned_away(slot, now_ns) => None,
                _ => Some("the server ended a response before its first block".to_owned()),
            };
        } else if completion.result == -libc::ECONNRESET && self.turned_away(slot, now_ns) {
            // It tries again.
        } else if completion.result < 0 && !matches!(-completion.result, libc::ECANCELED | libc::ENOBUFS) {
            broken = Some(format!("receive: {}", io::Error::from_raw_os_error(-completion.result)));
        }
        if let Some(why) = broken {
            self.fail(slot, why);
        }
        self.settle(slot, before, now_ns)
    }

    /// Does what the connection's phase, which was `before`, demands after a receive.
    fn settle(&mut self, slot: u32, before: Phase, now_ns: u64) -> io::Result<()> {
        let churns = self.churns();
        let connection = &mut self.connections[slot as usize];
        if connection.phase == Phase::Following && matches!(before, Phase::Dialling | Phase::Opening) {
            self.dialling -= 1;
            self.following += 1;
            if let Some(churn) = self.churn.as_mut().filter(|_| churns) {
                self.findings.tally.resumes += 1;
                churn.keep(slot, now_ns);
            }
            let disarmed = match connection.habit {
                Habit::Stalls if self.stage == Stage::Follow => {
                    connection.phase = Phase::Stalled;
                    connection.armed
                }
                // It is armed again below, for what it is to become of the rest.
                Habit::Discards => connection.armed,
                Habit::Stalls | Habit::Checks => None,
            };
            if let Some(intake) = disarmed {
                return self.ring.disarm(slot, intake);
            }
        }
        match (connection.phase, connection.armed) {
            (Phase::Gone | Phase::Leaving(Farewell::Close), None) => self.ring.close(slot),
            (Phase::Leaving(Farewell::Reset), None) => self.ring.reset(slot),
            (Phase::Gone, Some(intake)) if before != Phase::Gone => self.ring.disarm(slot, intake),
            (Phase::Dialling | Phase::Opening | Phase::Following, None) => {
                let intake = connection.intake();
                connection.armed = Some(intake);
                self.ring.arm(slot, intake)
            }
            _ => Ok(()),
        }
    }

    /// Counts an error, once per connection. The socket is closed when its receive has ended.
    fn fail(&mut self, slot: u32, why: String) {
        let connection = &mut self.connections[slot as usize];
        match connection.phase {
            Phase::Gone | Phase::Leaving(_) | Phase::Idle => return,
            Phase::Dialling | Phase::Opening | Phase::Abandoning(_) => self.dialling -= 1,
            Phase::Following | Phase::Stalled => self.following -= 1,
        }
        connection.phase = Phase::Gone;
        self.failed += 1;
        self.findings.error(why);
    }

    /// Whether a follower that comes back may try again after it was turned away: a full server is no fault then.
    fn turned_away(&mut self, slot: u32, now_ns: u64) -> bool {
        let churns = self.churns();
        let connection = &mut self.connections[slot as usize];
        match (connection.phase, &mut self.churn) {
            (Phase::Dialling | Phase::Opening, Some(churn)) if churns => {
                connection.phase = Phase::Leaving(Farewell::Close);
                self.dialling -= 1;
                self.findings.tally.turned_away += 1;
                churn.put_off(slot, Due::Again, now_ns);
                true
            }
            _ => false,
        }
    }

    /// Those that follow begin to come and go.
    fn stir(&mut self) {
        let Some(churn) = &mut self.churn else { return };
        let now_ns = unix_ns();
        for (slot, connection) in self.connections.iter().enumerate() {
            if connection.phase == Phase::Following {
                churn.keep(slot as u32, now_ns);
            }
        }
    }

    /// Those that stalled or are away come back at once.
    fn calm(&mut self) -> io::Result<()> {
        let now_ns = unix_ns();
        let waiting = self.churn.as_mut().map(Churn::hurry).unwrap_or_default();
        waiting.into_iter().try_for_each(|(slot, due)| self.act(slot, due, now_ns))
    }

    /// Lets the followers whose time has come do what they do next.
    fn churn(&mut self) -> io::Result<()> {
        if !self.churns() {
            return Ok(());
        }
        let now_ns = unix_ns();
        while let Some((slot, due)) = self.churn.as_mut().and_then(|churn| churn.due(now_ns)) {
            self.act(slot, due, now_ns)?;
        }
        Ok(())
    }

    fn act(&mut self, slot: u32, due: Due, now_ns: u64) -> io::Result<()> {
        let Some(churn) = &mut self.churn else { return Ok(()) };
        let connection = &mut self.connections[slot as usize];
        match (connection.phase, self.stage) {
            (Phase::Following, Stage::Churn) => match churn.act(slot) {
                Act::Stall => {
                    self.findings.tally.stalls += 1;
                    churn.keep(slot, now_ns);
                    connection.phase = Phase::Stalled;
                    if let Some(intake) = connection.armed {
                        self.ring.disarm(slot, intake)?;
                    }
                }
                Act::Leave(farewell) => {
                    match farewell {
                        Farewell::Close => self.findings.tally.closes += 1,
                        Farewell::Reset => self.findings.tally.resets += 1,
                    }
                    self.following -= 1;
                    self.part(slot, farewell, now_ns)?;
                }
            },
            (Phase::Stalled, _) => {
                churn.keep(slot, now_ns);
                self.read_on(slot)?;
            }
            (Phase::Idle, stage) => {
                let how = match (due, stage) {
                    (Due::Next, Stage::Churn) => churn.come_back(slot),
                    _ => Return::Stay(Window::Usual),
                };
                self.returning.push_back((slot, how));
            }
            (Phase::Leaving(_), _) => churn.put_off(slot, due, now_ns),
            (Phase::Following | Phase::Dialling | Phase::Opening | Phase::Abandoning(_) | Phase::Gone, _) => {}
        }
        Ok(())
    }

    /// Closes the socket, to come back later if followers come and go. A peer sees the end only when no receive is armed,
    /// so that goes first.
    fn part(&mut self, slot: u32, farewell: Farewell, now_ns: u64) -> io::Result<()> {
        if let Some(churn) = &mut self.churn {
            match self.stage {
                Stage::Churn => churn.stay_away(slot, now_ns),
                Stage::Calm => churn.put_off(slot, Due::Again, now_ns),
                Stage::Follow | Stage::Resume | Stage::Leave | Stage::Return | Stage::End => {}
            }
        }
        let connection = &mut self.connections[slot as usize];
        connection.phase = Phase::Leaving(farewell);
        match (connection.armed, farewell) {
            (Some(intake), _) => self.ring.disarm(slot, intake),
            (None, Farewell::Close) => self.ring.close(slot),
            (None, Farewell::Reset) => self.ring.reset(slot),
        }
    }

    /// One that stalled reads again.
    fn read_on(&mut self, slot: u32) -> io::Result<()> {
        let connection = &mut self.connections[slot as usize];
        connection.phase = Phase::Following;
        connection.live_since_ms = self.findings.now_ms();
        let intake = connection.intake();
        match connection.armed.replace(intake) {
            Some(_) => Ok(()),
            None => self.ring.arm(slot, intake),
        }
    }

    /// All those that stalled read again.
    fn resume(&mut self) -> io::Result<()> {
        for slot in 0..self.connections.len() {
            if self.connections[slot].phase == Phase::Stalled {
                self.read_on(slot as u32)?;
            }
        }
        Ok(())
    }

    /// All that follow leave.
    fn leave(&mut self) -> io::Result<()> {
        let now_ns = unix_ns();
        for slot in 0..self.connections.len() {
            if matches!(self.connections[slot].phase, Phase::Following | Phase::Stalled) {
                self.following -= 1;
                self.part(slot as u32, Farewell::Close, now_ns)?;
            }
        }
        Ok(())
    }

    /// Closes the books.
    fn end(mut self) -> Findings {
        let is_silent = |phase| !matches!(phase, Phase::Following | Phase::Stalled | Phase::Gone);
        let silent = self.connections.iter().filter(|connection| is_silent(connection.phase)).count();
        if silent > 0 {
            self.findings.errors.insert("no first block in time".to_owned(), silent as u64);
        }
        let published = self.progress.published.get();
        for (index, connection) in self.connections.into_iter().enumerate() {
            let faults = match (published, connection.phase) {
                (Some(published), Phase::Following | Phase::Stalled) => {
                    let topic = self.plan.topic(self.first + index);
                    connection.ledger.close(self.plan.rules.of_topic(published, topic))
                }
                // Those that failed are errors; what they missed afterwards isn't lost by the stream.
                _ => connection.ledger.faults(),
            };
            self.findings.faults.add(faults);
        }
        self.findings
    }

    /// Gives what came lately to whoever looks at it once a second.
    fn hand_over(&mut self, now_ns: u64) {
        self.handed_over_ns = now_ns;
        let mut lately = self.progress.meters[self.index].lately.lock().expect("nobody panics with it");
        match &mut *lately {
            Some(lately) => lately.add(&self.findings.lately).expect("the bounds are the same"),
            None => *lately = Some(self.findings.lately.clone()),
        }
        self.findings.lately.reset();
    }

    fn tell(&self) {
        let meter = &self.progress.meters[self.index];
        let store = |counter: &AtomicU64, value| counter.store(value, Ordering::Relaxed);
        store(&meter.following, self.following);
        store(&meter.failed, self.failed);
        store(&meter.away, self.away);
        store(&meter.frames, self.findings.frames);
        store(&meter.stalled_frames, self.findings.stalled_frames);
        store(&meter.sated, self.findings.sated);
        store(&meter.missing, self.findings.missing.max(0).cast_unsigned());
        store(&meter.bytes, self.findings.bytes);
    }
}

/// Nanoseconds since 1970, as this process counts them: the wall clock is read once, so that no moment of a run is told by
/// another clock than the next, and nobody sets it meanwhile.
pub(crate) fn unix_ns() -> u64 {
    static ANCHOR: OnceLock<(Instant, u64)> = OnceLock::new();
    let (then, then_ns) = ANCHOR.get_or_init(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        (Instant::now(), since.map_or(0, |since| since.as_nanos() as u64))
    });
    then_ns + then.elapsed().as_nanos() as u64
}
