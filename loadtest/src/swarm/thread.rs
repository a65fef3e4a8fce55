//! A thread of the swarm: a ring, a table of connections, and the loop that carries completions from one to the other.
//! Collects everything that happened, handles all of it, submits once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::connection::{Connection, ENDED, Findings, Phase};
use super::plan::Plan;
use super::progress::{Progress, Stage};
use super::ring::{Completion, Kind, Ring};

/// How long a turn waits when nothing happens: how late a thread learns of a new stage.
const TICK: Duration = Duration::from_millis(10);

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
    /// The next connection to dial.
    next: usize,
    /// Handshakes in flight.
    dialling: usize,
    following: u64,
    failed: u64,
    away: u64,
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
            (first..last).map(|number| Connection::new(first_counter, plan.stalls(number))).collect();
        Ok(Thread {
            ring: Ring::new(connections.len(), &plan.addresses)?,
            findings: Findings::new(&plan, since_ns),
            plan,
            progress,
            index,
            first,
            connections,
            stage: Stage::Follow,
            next: 0,
            dialling: 0,
            following: 0,
            failed: 0,
            away: 0,
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
                    Stage::Resume => self.resume()?,
                    Stage::Leave => self.leave()?,
                    Stage::Return => self.come_back(),
                    Stage::End => return Ok(self.end()),
                }
            }
            self.dial()?;
            self.ring.turn(TICK, &mut happened)?;
            let now_ns = unix_ns();
            for completion in happened.drain(..) {
                self.handle(&completion, now_ns)?;
            }
            self.tell();
        }
    }

    /// Dials as many as may be in flight.
    fn dial(&mut self) -> io::Result<()> {
        while self.next < self.connections.len() && self.dialling < self.plan.handshakes {
            let slot = self.next;
            self.next += 1;
            let connection = &mut self.connections[slot];
            if connection.phase != Phase::Idle {
                continue;
            }
            connection.armed = true;
            self.dialling += 1;
            let number = self.first + slot;
            let last = connection.dial().or(self.plan.last_event_id.as_deref());
            let request = self.plan.target.subscription(&self.plan.topics[self.plan.topic(number)], last);
            self.ring.dial(slot as u32, number, request)?;
        }
        Ok(())
    }

    fn handle(&mut self, completion: &Completion, now_ns: u64) -> io::Result<()> {
        let slot = completion.slot;
        match completion.kind {
            Kind::Receive => return self.received(completion, now_ns),
            Kind::Socket | Kind::Connect | Kind::Send if completion.result < 0 => {
                // What follows a broken part of the chain is canceled; the part itself says why.
                if completion.result != -libc::ECANCELED {
                    let error = io::Error::from_raw_os_error(-completion.result);
                    self.fail(slot, format!("{:?}: {error}", completion.kind).to_lowercase());
                }
            }
            Kind::Close => {
                let connection = &mut self.connections[slot as usize];
                if connection.phase == Phase::Leaving {
                    connection.phase = Phase::Idle;
                    self.away += 1;
                }
            }
            Kind::Socket | Kind::Connect | Kind::Send | Kind::Disarm => {}
        }
        Ok(())
    }

    fn received(&mut self, completion: &Completion, now_ns: u64) -> io::Result<()> {
        let slot = completion.slot;
        let connection = &mut self.connections[slot as usize];
        connection.armed = completion.more;
        let before = connection.phase;
        let mut broken = None;
        if let Some(buffer) = completion.buffer {
            let reads = !matches!(before, Phase::Gone | Phase::Leaving);
            if let (true, Ok(length)) = (reads, usize::try_from(completion.result)) {
                let bytes = self.ring.bytes(buffer, length);
                broken = connection.receive(bytes, now_ns, &mut self.findings).err();
            }
            self.ring.give_back(buffer);
        }
        if completion.result == 0 && !completion.more {
            broken = Some(match before {
                Phase::Following | Phase::Stalled => ENDED.to_owned(),
                _ => "the server ended a response before its first block".to_owned(),
            });
        } else if completion.result < 0 && !matches!(-completion.result, libc::ECANCELED | libc::ENOBUFS) {
            broken = Some(format!("receive: {}", io::Error::from_raw_os_error(-completion.result)));
        }
        if let Some(why) = broken {
            self.fail(slot, why);
        }
        self.settle(slot, before)
    }

    /// Does what the connection's phase, which was `before`, demands after a receive.
    fn settle(&mut self, slot: u32, before: Phase) -> io::Result<()> {
        let connection = &mut self.connections[slot as usize];
        if connection.phase == Phase::Following && matches!(before, Phase::Dialling | Phase::Opening) {
            self.dialling -= 1;
            self.following += 1;
            if connection.stalls && self.stage == Stage::Follow {
                connection.phase = Phase::Stalled;
                if connection.armed {
                    return self.ring.disarm(slot);
                }
            }
        }
        match (connection.phase, connection.armed) {
            (Phase::Gone | Phase::Leaving, false) => self.ring.close(slot),
            (Phase::Gone, true) if before != Phase::Gone => self.ring.disarm(slot),
            (Phase::Dialling | Phase::Opening | Phase::Following, false) => {
                connection.armed = true;
                self.ring.arm(slot)
            }
            _ => Ok(()),
        }
    }

    /// Counts an error, once per connection. The socket is closed when its receive has ended.
    fn fail(&mut self, slot: u32, why: String) {
        let connection = &mut self.connections[slot as usize];
        match connection.phase {
            Phase::Gone | Phase::Leaving | Phase::Idle => return,
            Phase::Dialling | Phase::Opening => self.dialling -= 1,
            Phase::Following | Phase::Stalled => self.following -= 1,
        }
        connection.phase = Phase::Gone;
        self.failed += 1;
        self.findings.error(why);
    }

    /// Those that stalled read again.
    fn resume(&mut self) -> io::Result<()> {
        self.findings.timing = false;
        for slot in 0..self.connections.len() {
            let connection = &mut self.connections[slot];
            if connection.phase == Phase::Stalled {
                connection.phase = Phase::Following;
                if !std::mem::replace(&mut connection.armed, true) {
                    self.ring.arm(slot as u32)?;
                }
            }
        }
        Ok(())
    }

    /// All that follow close their sockets. A peer sees the end only when no receive is armed, so that goes first.
    fn leave(&mut self) -> io::Result<()> {
        self.findings.timing = false;
        for slot in 0..self.connections.len() {
            let connection = &mut self.connections[slot];
            if matches!(connection.phase, Phase::Following | Phase::Stalled) {
                connection.phase = Phase::Leaving;
                self.following -= 1;
                match connection.armed {
                    true => self.ring.disarm(slot as u32)?,
                    false => self.ring.close(slot as u32)?,
                }
            }
        }
        Ok(())
    }

    fn come_back(&mut self) {
        (self.next, self.away) = (0, 0);
    }

    /// Closes the books.
    fn end(mut self) -> Findings {
        let waiting = |connection: &&Connection| matches!(connection.phase, Phase::Dialling | Phase::Opening);
        let silent = self.connections.iter().filter(waiting).count();
        if silent > 0 {
            self.findings.errors.insert("no first block in time".to_owned(), silent as u64);
        }
        let published = self.progress.published.get();
        for (index, connection) in self.connections.into_iter().enumerate() {
            let faults = match (published, connection.phase) {
                (Some(published), Phase::Following | Phase::Stalled) => {
                    let published = published[self.plan.topic(self.first + index)];
                    connection.ledger.close(published, self.plan.rules)
                }
                // Those that failed are errors; what they missed afterwards isn't lost by the stream.
                _ => connection.ledger.faults(),
            };
            self.findings.faults.add(faults);
        }
        self.findings
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
    }
}

/// Nanoseconds since 1970.
pub(crate) fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
