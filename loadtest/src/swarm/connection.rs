//! One follower, without its socket: bytes in, verdicts out. Checks the response's head, reads the stream's events and
//! enters them into the ledger.

use std::collections::BTreeMap;
use std::str;

use fantail_engine::position::Position;
use fantail_engine::protocol::http1::BodyReader;
use fantail_engine::protocol::sse::{Event, Parser};
use hdrhistogram::Histogram;

use super::churn::{Farewell, Tally};
use super::members::{Members, Moment, Write};
use super::plan::{Habit, Plan, Server};
use super::reference::{FRAME_BYTES_MAX, Reference};
use super::ring::Intake;
use super::thread::unix_ns;
use crate::head::{self, Head};
use crate::ledger::{Faults, Law, Ledger, Rules};
use crate::preset::Id;
use crate::report::latencies;

/// Why a follower that had done nothing wrong is without a stream.
pub(crate) const ENDED: &str = "the server ended a stream";

/// Where a follower is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not connected: to be dialled.
    Idle,
    /// Dialling, or waiting for the response's head.
    Dialling,
    /// The head was good; the first block is awaited.
    Opening,
    /// Receives frames.
    Following,
    /// Stopped reading; frames that were received before count as ever.
    Stalled,
    /// Dialling, only to leave before there is an answer.
    Abandoning(Farewell),
    /// Leaves, to come back later.
    Leaving(Farewell),
    /// Failed, and was counted as an error.
    Gone,
}

/// A row of a thread's table.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Where it is in its life.
    pub(crate) phase: Phase,
    /// The receive that is armed on its slot.
    pub(crate) armed: Option<Intake>,
    /// What it does with what it is sent.
    pub(crate) habit: Habit,
    /// Bytes received behind the heads of its responses.
    received: u64,
    /// Whether it has received as much as was to be waited for.
    is_sated: bool,
    /// When it last began to read, after it had stalled or been away: see [`Findings::now_ms`]. What was meant before is
    /// caught up on, and not timed.
    pub(crate) live_since_ms: u32,
    /// What it has received.
    pub(crate) ledger: Ledger,
    /// The beginning of the response's head.
    head: Vec<u8>,
    /// What takes the stream out of its chunks, if it comes in chunks. Elsewhere, since Fantail's doesn't.
    body: Option<Box<BodyReader>>,
    parser: Parser,
    /// Where in the thread's reference it is; [`APART`] if its own parser is at work.
    at: u64,
    /// The last id of the connections before this one, nothing until the follower has left once; where ids aren't in the field,
    /// of all.
    last_event_id: Option<Box<str>>,
}

/// What a thread has found on all of its connections.
pub(crate) struct Findings {
    server: Server,
    rules: Rules,
    since_ns: Option<u64>,
    /// When this was built.
    start_ns: u64,
    count: Option<u64>,
    bytes_wanted: Option<u64>,
    members: Members,
    id: Id,
    /// Whether all followers are sent the same.
    has_reference: bool,
    /// What they are sent, once one of them follows.
    pub(crate) reference: Option<Reference>,
    /// What one receive held of a chunked body; kept for its capacity.
    content: Vec<u8>,
    /// Microseconds from the intended publish time to the receive.
    pub(crate) latency: Histogram<u64>,
    /// The same of what came since the last hand-over.
    pub(crate) lately: Histogram<u64>,
    /// Microseconds that the turns of the loop took: what arrives meanwhile is noticed so late at most.
    pub(crate) lag: Histogram<u64>,
    /// Frames of the run on connections that read all the time.
    pub(crate) frames: u64,
    /// Frames of the run on connections that stall.
    pub(crate) stalled_frames: u64,
    /// Connections that read all the time and have received as much as was to be waited for.
    pub(crate) sated: u64,
    /// Frames that are missing so far, as far as it shows by those behind them.
    pub(crate) missing: i64,
    /// Bytes received.
    pub(crate) bytes: u64,
    /// `reset` events.
    pub(crate) resets: u64,
    /// Why connections failed, and how many.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Faults of the ledgers that are closed.
    pub(crate) faults: Faults,
    /// What the followers did of their own accord.
    pub(crate) tally: Tally,
}

impl Findings {
    /// Nothing found yet. Frames belong to the run if they carry a counter and were meant for `since_ns` or later; without
    /// `since_ns` all do.
    pub(crate) fn new(plan: &Plan, since_ns: Option<u64>) -> Findings {
        Findings {
            server: plan.server,
            rules: plan.rules,
            since_ns,
            start_ns: unix_ns(),
            count: plan.count,
            bytes_wanted: plan.bytes,
            members: plan.members.clone(),
            id: plan.id.clone(),
            has_reference: plan.topics.len() == 1
                && plan.server == Server::Fantail
                && plan.rules.positions != Law::None,
            reference: None,
            content: Vec::new(),
            latency: latencies(),
            lately: latencies(),
            lag: latencies(),
            frames: 0,
            stalled_frames: 0,
            sated: 0,
            missing: 0,
            bytes: 0,
            resets: 0,
            errors: BTreeMap::new(),
            faults: Faults::default(),
            tally: Tally::default(),
        }
    }

    /// Adds what another thread has found.
    pub(crate) fn add(&mut self, other: Findings) {
        self.latency.add(&other.latency).expect("the bounds are the same");
        self.lag.add(&other.lag).expect("the bounds are the same");
        self.frames += other.frames;
        self.stalled_frames += other.stalled_frames;
        self.bytes += other.bytes;
        self.resets += other.resets;
        self.faults.add(other.faults);
        self.tally.add(other.tally);
        for (why, count) in other.errors {
            *self.errors.entry(why).or_default() += count;
        }
    }

    /// Milliseconds since this was built, rounded up: never 0, and good for 49 days.
    pub(crate) fn now_ms(&self) -> u32 {
        let since_ns = unix_ns().saturating_sub(self.start_ns);
        u32::try_from(since_ns / 1_000_000 + 1).unwrap_or(u32::MAX)
    }

    /// Whether a frame that was meant for `time_ns` came live to a reader that began at `since_ms`; 0 is from the beginning.
    fn came_live(&self, time_ns: u64, since_ms: u32) -> bool {
        since_ms == 0 || time_ns >= self.start_ns + u64::from(since_ms) * 1_000_000
    }

    /// Counts an error.
    pub(crate) fn error(&mut self, why: impl Into<String>) {
        *self.errors.entry(why.into()).or_default() += 1;
    }
}

impl Connection {
    /// A follower that hasn't dialled.
    pub(crate) fn new(first_counter: Option<u64>, rules: Rules, habit: Habit) -> Connection {
        Connection {
            phase: Phase::Idle,
            armed: None,
            habit,
            received: 0,
            is_sated: false,
            live_since_ms: 0,
            ledger: Ledger::new(first_counter, rules),
            head: Vec::new(),
            body: None,
            parser: Parser::new(FRAME_BYTES_MAX),
            at: APART,
            last_event_id: None,
        }
    }

    /// Begins (again) with a new socket, and returns the id to resume with if there was one.
    pub(crate) fn dial(&mut self, reference: Option<&Reference>, ids: &Id) -> Option<&str> {
        reference.inspect(|reference| self.part(reference));
        let parser = std::mem::replace(&mut self.parser, Parser::new(FRAME_BYTES_MAX));
        if let (Id::Field, Some(id)) = (ids, parser.last_event_id()) {
            self.last_event_id = Some(String::from_utf8_lossy(id).into());
        }
        self.phase = Phase::Dialling;
        self.head = Vec::new();
        self.last_event_id.as_deref()
    }

    /// Takes in what was received at `now_ns` (since 1970).
    ///
    /// # Errors
    /// Why the connection is of no more use.
    pub(crate) fn receive(&mut self, bytes: &[u8], now_ns: u64, findings: &mut Findings) -> Result<(), String> {
        findings.bytes += bytes.len() as u64;
        if self.phase != Phase::Dialling {
            return self.take(bytes, now_ns, findings);
        }
        self.head.extend_from_slice(bytes);
        let Some(Head { length, body }) = head::read(&self.head)? else { return Ok(()) };
        let head = std::mem::take(&mut self.head);
        self.body = body.reader().map(Box::new);
        self.phase = match (findings.server, self.habit) {
            (Server::Fantail, Habit::Checks | Habit::Stalls) => Phase::Opening,
            (Server::Foreign, _) | (Server::Fantail, Habit::Discards) => Phase::Following,
        };
        self.take(&head[length..], now_ns, findings)
    }

    /// Takes note of bytes of the body that were thrown away.
    pub(crate) fn discard(&mut self, length: usize, findings: &mut Findings) {
        findings.bytes += length as u64;
        self.received += length as u64;
        self.note_sated(findings);
    }

    /// What is to become of what it receives next.
    pub(crate) fn intake(&self) -> Intake {
        match (self.phase, self.habit) {
            (Phase::Following, Habit::Discards) => Intake::Discarded,
            _ => Intake::Read,
        }
    }

    fn note_sated(&mut self, findings: &mut Findings) {
        let has_frames = findings.count.is_none_or(|count| self.ledger.frames >= count);
        let has_bytes = findings.bytes_wanted.is_none_or(|bytes| self.received >= bytes);
        let is_sated = match self.habit {
            Habit::Checks => has_frames && has_bytes,
            Habit::Discards => has_bytes,
            Habit::Stalls => false,
        };
        if is_sated && !self.is_sated {
            self.is_sated = true;
            findings.sated += 1;
        }
    }

    /// Takes bytes of the body, and looks at them if that is its habit.
    fn take(&mut self, bytes: &[u8], now_ns: u64, findings: &mut Findings) -> Result<(), String> {
        self.received += bytes.len() as u64;
        let taken = match self.habit {
            Habit::Checks | Habit::Stalls => self.unframe(bytes, now_ns, findings),
            Habit::Discards => Ok(()),
        };
        self.note_sated(findings);
        taken
    }

    /// Reads bytes of the body, in chunks or plain.
    fn unframe(&mut self, bytes: &[u8], now_ns: u64, findings: &mut Findings) -> Result<(), String> {
        let Some(body) = &mut self.body else { return self.read(bytes, now_ns, findings) };
        let mut content = std::mem::take(&mut findings.content);
        content.clear();
        let fed = body.feed(bytes, &mut content);
        let read = self.read(&content, now_ns, findings);
        findings.content = content;
        match read.and(fed.map_err(|error| error.to_string()))?.done {
            true => Err(ENDED.to_owned()),
            false => Ok(()),
        }
    }

    fn read(&mut self, bytes: &[u8], now_ns: u64, findings: &mut Findings) -> Result<(), String> {
        if let Some(mut reference) = findings.reference.take() {
            let is_read = self.read_with(&mut reference, bytes, now_ns, findings);
            findings.reference = Some(reference);
            if is_read {
                return Ok(());
            }
        }
        let (mut account, parser) = self.account();
        let mut entered = Ok(());
        let read = parser.feed(bytes, |event| {
            if entered.is_ok() {
                entered = account.enter(event, now_ns, findings);
            }
        });
        if findings.has_reference && findings.reference.is_none() && self.parser.is_idle() {
            findings.reference = self.ledger.last().map(Reference::after);
        }
        entered.and(read.map_err(|error| error.to_string()))
    }

    /// Reads what others on this thread have received before, or will. False if it must be read apart.
    fn read_with(&mut self, reference: &mut Reference, bytes: &[u8], now_ns: u64, findings: &mut Findings) -> bool {
        if self.at == APART {
            let may_join = self.phase == Phase::Following && bytes.starts_with(b"id: ") && self.parser.is_idle();
            let joined = self.ledger.last().filter(|_| may_join).and_then(|last| reference.join(last));
            let Some(at) = joined else { return false };
            self.at = at;
        }
        if !reference.takes(self.at, bytes, &findings.members) {
            self.part(reference);
            return false;
        }
        let from = self.at;
        self.at += bytes.len() as u64;
        let to = self.at;
        let (mut account, _) = self.account();
        for &frame in reference.frames(from, to) {
            account.count(Some(frame.position), frame.counter, frame.moment, now_ns, findings);
        }
        true
    }

    /// Goes on with a parser of its own.
    pub(crate) fn part(&mut self, reference: &Reference) {
        if self.at != APART {
            // An id alone is no event.
            let id = reference.last(self.at).map(|position| format!("id: {position}\n\n")).unwrap_or_default();
            for bytes in [id.as_bytes(), reference.unfinished(self.at)] {
                let fed = self.parser.feed(bytes, |_| unreachable!("there is no whole event"));
                fed.expect("the beginning of a frame is within the bound");
            }
            self.at = APART;
        }
    }

    /// Goes on with a parser of its own if what it stands on is to be forgotten.
    pub(crate) fn part_before(&mut self, cut: u64, reference: &Reference) {
        if self.at < cut {
            self.part(reference);
        }
    }

    fn account(&mut self) -> (Account<'_>, &mut Parser) {
        let Connection { phase, habit, live_since_ms, ledger, parser, last_event_id, .. } = self;
        (Account { phase, habit: *habit, live_since_ms: *live_since_ms, ledger, last_event_id }, parser)
    }
}

/// No place in a reference.
const APART: u64 = u64::MAX;

/// What events change of a connection, while its parser is at work.
struct Account<'a> {
    phase: &'a mut Phase,
    habit: Habit,
    live_since_ms: u32,
    ledger: &'a mut Ledger,
    last_event_id: &'a mut Option<Box<str>>,
}

impl Account<'_> {
    fn enter(&mut self, event: Event<'_>, now_ns: u64, findings: &mut Findings) -> Result<(), String> {
        if let Some(id) = findings.id.brought_by(&event) {
            *self.last_event_id = Some(id.into());
            return Ok(());
        }
        let rules = findings.rules;
        if findings.server == Server::Foreign {
            // Names and ids mean nothing that is known here, and an event may hold several writes.
            let mut data = event.data;
            let mut write = findings.members.write(data);
            if write.is_none() {
                self.frame(data, None, now_ns, findings);
            }
            while let Some(Write { counter, time, end }) = write {
                self.count(None, Some(counter), time.map_or(Moment::Unknown, Moment::At), now_ns, findings);
                data = &data[end..];
                write = findings.members.write(data);
            }
            return Ok(());
        }
        let position = match event.id {
            Some(id) if rules.positions != Law::None => Some(position(id)?),
            _ => None,
        };
        match event.event {
            b"position" => {
                if let Some(position) = position {
                    self.ledger.stand(position, rules);
                }
            }
            b"reset" => {
                findings.resets += 1;
                self.ledger.reset();
                return Ok(());
            }
            // A part of a snapshot: it is no event of the stream.
            b"patch" if event.id.is_none() => return Ok(()),
            _ => self.frame(event.data, position, now_ns, findings),
        }
        if *self.phase == Phase::Opening {
            *self.phase = Phase::Following;
        }
        Ok(())
    }

    fn frame(&mut self, data: &[u8], position: Option<Position>, now_ns: u64, findings: &mut Findings) {
        let (counter, moment) = (findings.members.counter(data), findings.members.moment(data));
        self.count(position, counter, moment, now_ns, findings);
    }

    /// A frame, whose data are known.
    fn count(
        &mut self,
        position: Option<Position>,
        counter: Option<u64>,
        moment: Moment,
        now_ns: u64,
        findings: &mut Findings,
    ) {
        let time = self.ledger.moment(moment);
        let mine = match findings.since_ns {
            Some(since) => counter.is_some() && time.is_some_and(|time| time >= since),
            None => true,
        };
        findings.missing += self.ledger.frame(position, counter.filter(|_| mine), findings.rules);
        if !mine {
            return;
        }
        self.ledger.frames += 1;
        let stalls = self.habit == Habit::Stalls;
        match stalls {
            true => findings.stalled_frames += 1,
            false => findings.frames += 1,
        }
        if let Some(time) = time.filter(|&time| !stalls && findings.came_live(time, self.live_since_ms)) {
            let latency_us = now_ns.saturating_sub(time) / 1_000;
            findings.latency.saturating_record(latency_us);
            findings.lately.saturating_record(latency_us);
        }
    }
}

fn position(id: &[u8]) -> Result<Position, String> {
    str::from_utf8(id)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("an id that is no position: {}", String::from_utf8_lossy(id)))
}

#[cfg(test)]
mod tests;
