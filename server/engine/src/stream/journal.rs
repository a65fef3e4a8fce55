//! What a stream's files are to do next: the state machine between a [`Stream`] and a disk.
//!
//! It says what is due and is told what came of it; it does nothing itself. Two things are under way at most, one of the
//! log and one of what bounds the log:
//!
//! ```text
//! log       open a segment -> write a group -> write a group -> … -> open the next segment
//! upkeep    write a checkpoint -> put it in place -> drop segments that nobody wants any more
//! ```
//!
//! Invariants: one group is in flight at most, to the newest segment; a checkpoint is put in place only when the log up to
//! it is durable, and never if what it reflects was taken back; a segment is dropped only if a durable checkpoint reflects
//! all of it. Once the log has failed, nothing further is begun.

use std::collections::VecDeque;

use super::{Operation, Origin, Outcome, Refusal, Sealed, Stream};
use crate::document::Documents;
use crate::limits::CHECKPOINT_PAUSE_MS;
use crate::log::manifest::{Durability, Manifest, State};
use crate::log::retention::Retention;
use crate::log::view::{Span, View};
use crate::position::{Epoch, Position};

/// How a stream is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// When events may be shown.
    pub durability: Durability,
    /// Bytes at which a segment is full.
    pub segment_bytes: u64,
    /// Bytes of log since the last checkpoint below which none is written, unless retention waits for one.
    pub checkpoint_bytes: u64,
    /// Which part of the log is kept.
    pub retention: Retention,
}

/// What is to be done to the log.
pub enum Step {
    /// Begin a segment, in a folder that is durable; seal the one before it.
    Open {
        /// The manifest of a stream that has no folder yet.
        manifest: Option<Manifest>,
        /// Sequence of the segment's first event.
        first: u64,
        /// Offset of its first byte in the log.
        base: u64,
        /// First sequence of the segment before it, which may have been sealed already.
        sealed: Option<u64>,
    },
    /// Write a group to the end of the newest segment.
    Write(Sealed),
}

/// What is to be done about the log's length.
pub enum Upkeep {
    /// Write the stream's whole value; it isn't in place yet.
    Checkpoint {
        /// What the value reflects.
        position: Position,
        /// The value.
        documents: Documents,
    },
    /// Put the written checkpoint in place, after the newest segment, which may not be synced yet, was.
    Install {
        /// The checkpoint's sequence.
        sequence: u64,
        /// First sequence of the newest segment.
        newest: u64,
    },
    /// Remove the files of these segments, named by their first sequences, in this order, as far as they are there.
    Drop(Vec<u64>),
}

/// A stream's log and checkpoints as a start found them.
pub struct Found {
    /// What the stream goes on from.
    pub origin: Origin,
    /// Key of the hashes of idempotency keys.
    pub secret: [u8; 16],
    /// All segments, oldest first.
    pub segments: Vec<Span>,
    /// Whether the newest segment can be written.
    pub is_open: bool,
    /// The newest checkpoint that is whole.
    pub checkpoint: Option<Installed>,
    /// Sequence of the checkpoint before that one, whole or not.
    pub before: Option<u64>,
    /// Offset in the log up to which the newest one reaches.
    pub checkpointed: u64,
}

/// A checkpoint that is in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Installed {
    /// Sequence of the last event that it reflects.
    pub sequence: u64,
    /// Bytes that a follower is sent of it.
    pub bytes: u64,
}

/// What the log is busy with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Idle,
    /// A segment is opened, that begins with this event at this offset.
    Opening(u64, u64),
    /// A group is in flight.
    Writing,
}

/// What the upkeep is busy with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Care {
    None,
    /// The value at this sequence is written.
    Writing(u64),
    /// The value is written, but what it reflects was taken back.
    WritingInVain,
    /// It is written; the log up to it may not be durable yet.
    Written(u64),
    /// It is put in place.
    Installing(u64),
    /// So many segments are removed.
    Dropping(usize),
}

/// See the module.
pub struct Journal {
    stream: Stream,
    policy: Policy,
    secret: [u8; 16],
    /// All segments, oldest first; the newest is the one that is written.
    segments: VecDeque<Span>,
    /// Whether the newest segment can be written.
    is_open: bool,
    /// Whether the folder and the manifest are on disk, or about to be.
    is_on_disk: bool,
    phase: Phase,
    care: Care,
    /// The newest checkpoint in place, and the sequence of the one before it.
    checkpoint: Option<Installed>,
    before: Option<u64>,
    /// Offset in the log up to which the newest checkpoint reaches, or the one that is under way.
    checkpointed: u64,
    /// A checkpoint is wanted, however little was written since the last one.
    is_urgent: bool,
    /// When such a one may be tried again, in milliseconds since 1970: the last one failed.
    patient_until_ms: u64,
    /// Offset up to which the log may be shown.
    published: u64,
    /// First sequences of the segments that are removed, or couldn't be.
    dropping: Vec<u64>,
}

impl Journal {
    /// The journal of a stream that was on disk.
    #[must_use]
    pub fn recovered(name: &str, found: Found, policy: Policy) -> Journal {
        let published = found.origin.bytes;
        Journal {
            stream: Stream::new(name, found.origin),
            policy,
            secret: found.secret,
            segments: found.segments.into(),
            is_open: found.is_open,
            is_on_disk: true,
            phase: Phase::Idle,
            care: Care::None,
            checkpoint: found.checkpoint,
            before: found.before,
            checkpointed: found.checkpointed,
            is_urgent: false,
            patient_until_ms: 0,
            published,
            dropping: Vec::new(),
        }
    }

    /// The journal of a stream that nobody has written yet.
    #[must_use]
    pub fn unborn(name: &str, policy: Policy) -> Journal {
        let nothing = Found {
            origin: Origin::nothing(),
            secret: [0; 16],
            segments: Vec::new(),
            is_open: false,
            checkpoint: None,
            before: None,
            checkpointed: 0,
        };
        Journal { is_on_disk: false, ..Journal::recovered(name, nothing, policy) }
    }

    /// A stream that nobody had written exists from now on; `secret` is the key of its hashes of idempotency keys.
    ///
    /// # Panics
    /// If it exists.
    pub fn begin(&mut self, epoch: Epoch, secret: [u8; 16]) {
        self.stream.begin(epoch);
        self.secret = secret;
    }

    /// Takes back [`Journal::begin`]: the first operation was refused. See [`Stream::retract`].
    pub fn retract(&mut self) {
        self.stream.retract();
    }

    /// Applies one operation. See [`Stream::commit`].
    ///
    /// # Errors
    /// As there.
    pub fn commit(&mut self, operation: &Operation, now_ms: u64, room: usize) -> Result<Outcome, Refusal> {
        self.stream.commit(operation, now_ms, room)
    }

    /// The next thing to do to the log; none while something is being done to it, after a failure, or if nothing is due.
    /// With [`Durability::None`], what is to be written may be shown from now on.
    pub fn step(&mut self, now_ms: u64) -> Option<Step> {
        if self.phase != Phase::Idle || self.stream.failure().is_some() {
            return None;
        }
        let is_stale = self.is_open && self.segments.back().is_some_and(|newest| self.is_stale(newest, now_ms));
        // A checkpoint that is written waits for a segment to be synced.
        let is_wanted = self.stream.has_open_group() || matches!(self.care, Care::Written(_));
        if is_stale || is_wanted && !self.is_open || self.stream.has_open_group() && self.is_full() {
            let (first, base) = (self.stream.persisted_sequence() + 1, self.stream.sealed_end());
            self.phase = Phase::Opening(first, base);
            self.is_open = false;
            let is_new = !std::mem::replace(&mut self.is_on_disk, true);
            let manifest = self.manifest(State::Open(self.policy.durability)).filter(|_| is_new);
            let sealed = self.segments.back().map(|newest| newest.first);
            return Some(Step::Open { manifest, first, base, sealed });
        }
        let sealed = self.stream.seal(now_ms)?;
        self.phase = Phase::Writing;
        let newest = self.segments.back_mut().expect("an open segment is listed");
        newest.begun_ms = newest.begun_ms.or(Some(now_ms));
        newest.ended_ms = now_ms;
        if self.policy.durability == Durability::None {
            self.publish();
        }
        Some(Step::Write(sealed))
    }

    fn is_full(&self) -> bool {
        self.segments.back().is_some_and(|newest| self.stream.sealed_end() - newest.base >= self.policy.segment_bytes)
    }

    /// Whether a segment is sealed for its age, so that retention, which drops whole ones, isn't late by more than a part
    /// of the age that is kept.
    fn is_stale(&self, newest: &Span, now_ms: u64) -> bool {
        let begun = newest.begun_ms.filter(|_| newest.base < self.stream.sealed_end());
        begun.is_some_and(|begun_ms| self.policy.retention.seals_after(now_ms.saturating_sub(begun_ms)))
    }

    /// The segment is open.
    pub fn opened(&mut self) {
        let Phase::Opening(first, base) = self.phase else { return };
        self.segments.push_back(Span { first, base, begun_ms: None, ended_ms: 0 });
        self.is_open = true;
        self.phase = Phase::Idle;
    }

    /// No segment could be opened and nothing was written: what was to be written is taken back, and the next write tries
    /// again.
    pub fn put_off(&mut self) {
        self.phase = Phase::Idle;
        self.discard();
        // The manifest may be there or not.
        self.is_on_disk &= self.stream.persisted_sequence() > 0;
    }

    /// The group in flight is on disk, as the durability asks: it may be shown.
    pub fn written(&mut self) {
        self.phase = Phase::Idle;
        // It may have failed while this group was under way: what was taken back isn't shown.
        if self.stream.failure().is_none() && self.policy.durability != Durability::None {
            self.publish();
        }
    }

    fn publish(&mut self) {
        self.stream.persisted();
        self.published = self.stream.sealed_end();
    }

    /// The step under way has failed: see [`Journal::fail`].
    pub fn fail_step(&mut self, reason: String) -> Option<Manifest> {
        self.phase = Phase::Idle;
        self.fail(reason)
    }

    /// The checkpoint couldn't be put in place, since the log couldn't be synced: see [`Journal::fail`].
    pub fn fail_install(&mut self, reason: String) -> Option<Manifest> {
        self.care = Care::None;
        self.fail(reason)
    }

    /// The log can't be written: what isn't durable is taken back, and writes are refused from now on; what else is under way
    /// comes to its end. Returns the manifest that says so, since the next start must not believe what only the page cache has.
    pub fn fail(&mut self, reason: String) -> Option<Manifest> {
        self.discard();
        self.stream.fail(reason);
        self.manifest(State::Failed)
    }

    /// Takes back what isn't durable. A checkpoint that reflects some of it must not be put in place: its sequence will be
    /// another event's.
    fn discard(&mut self) {
        self.stream.discard();
        let persisted = self.stream.persisted_sequence();
        match self.care {
            Care::Writing(sequence) if sequence > persisted => self.care = Care::WritingInVain,
            Care::Written(sequence) if sequence > persisted => self.care = Care::None,
            Care::None
            | Care::Writing(_)
            | Care::WritingInVain
            | Care::Written(_)
            | Care::Installing(_)
            | Care::Dropping(_) => {}
        }
    }

    /// The next thing to do about the log's length; none while one is under way, after a failure, or if nothing is due.
    /// The stream's earliest event is another one before its segments are dropped.
    pub fn upkeep(&mut self, now_ms: u64) -> Option<Upkeep> {
        if self.stream.failure().is_some() {
            return None;
        }
        match self.care {
            Care::None => {
                let firsts = self.drop_segments(now_ms);
                if !firsts.is_empty() {
                    // Those that couldn't be removed come first again: a log mustn't have a gap.
                    self.dropping.extend(firsts);
                    self.care = Care::Dropping(self.dropping.len());
                    return Some(Upkeep::Drop(self.dropping.clone()));
                }
                if !self.is_checkpoint_due(now_ms) {
                    return None;
                }
                let position = self.stream.position();
                self.care = Care::Writing(position.sequence);
                self.checkpointed = self.stream.sealed_end();
                Some(Upkeep::Checkpoint { position, documents: self.stream.documents().clone() })
            }
            // Only between groups: what is published early, without durability, is in the file by then.
            Care::Written(sequence)
                if sequence <= self.stream.persisted_sequence() && self.phase == Phase::Idle && self.is_open =>
            {
                let newest = self.segments.back().expect("an open segment is listed").first;
                self.care = Care::Installing(sequence);
                Some(Upkeep::Install { sequence, newest })
            }
            Care::Writing(_) | Care::WritingInVain | Care::Written(_) | Care::Installing(_) | Care::Dropping(_) => None,
        }
    }

    /// Whether the log has outgrown the last checkpoint, or retention waits for one.
    fn is_checkpoint_due(&self, now_ms: u64) -> bool {
        let covered = self.checkpoint.map_or(0, |installed| installed.sequence);
        if self.stream.position().sequence == covered {
            return false;
        }
        let log = self.stream.sealed_end() - self.checkpointed;
        let last = self.checkpoint.map_or(0, |installed| installed.bytes);
        let is_wanted = now_ms >= self.patient_until_ms && (self.is_urgent || self.is_too_old(now_ms));
        log >= self.policy.checkpoint_bytes.max(last) || is_wanted
    }

    /// Whether a segment is older than what is kept, and stays only because no checkpoint reflects it. (One that is only
    /// beyond the bytes or the count that are kept can wait until the log has outgrown the last checkpoint.)
    fn is_too_old(&self, now_ms: u64) -> bool {
        let (Some(oldest), Some(next)) = (self.segments.front(), self.segments.get(1)) else { return false };
        next.first > self.reflected() + 1 && self.policy.retention.is_too_old(now_ms.saturating_sub(oldest.ended_ms))
    }

    /// Sequence of the last event that may be dropped: the older of the two checkpoints in place reflects it, so that the
    /// newer one may turn out to be damaged. While there is no later event than the newest one reflects, that one counts.
    fn reflected(&self) -> u64 {
        let Some(Installed { sequence, .. }) = self.checkpoint else { return 0 };
        match self.before {
            Some(before) if sequence < self.stream.persisted_sequence() => before,
            Some(_) | None => sequence,
        }
    }

    /// Takes the segments that nobody wants any more from the list, and returns their first sequences.
    fn drop_segments(&mut self, now_ms: u64) -> Vec<u64> {
        let mut firsts = Vec::new();
        while let (Some(oldest), Some(next)) = (self.segments.front(), self.segments.get(1)) {
            let left = self.policy.retention.keeps(
                now_ms.saturating_sub(oldest.ended_ms),
                self.published.saturating_sub(next.base),
                (self.stream.persisted_sequence() + 1).saturating_sub(next.first),
            );
            if left || next.first > self.reflected() + 1 {
                break;
            }
            self.stream.retain(next.first);
            firsts.extend(self.segments.pop_front().map(|dropped| dropped.first));
        }
        firsts
    }

    /// A segment turned out to be damaged: history up to its end isn't served any more. Its file, and those before it,
    /// stay until others go, so that no gap is left. Returns whether anything changed.
    pub fn give_up(&mut self, first: u64) -> bool {
        let Some(at) = self.segments.iter().position(|segment| segment.first == first) else { return false };
        let Some(next) = self.segments.get(at + 1).map(|next| next.first) else { return false };
        self.dropping.extend(self.segments.drain(..=at).map(|segment| segment.first));
        self.stream.retain(next);
        // Newcomers begin with a checkpoint and what follows it: that must be there.
        self.is_urgent = self.checkpoint.is_none_or(|installed| installed.sequence + 1 < next);
        true
    }

    /// The value is written, or not: the log is the truth, so a checkpoint that fails costs nothing but time.
    pub fn checkpoint_written(&mut self, is_whole: Result<(), ()>, now_ms: u64) {
        if is_whole.is_err() {
            self.patient_until_ms = now_ms.saturating_add(CHECKPOINT_PAUSE_MS);
        }
        self.care = match (self.care, is_whole) {
            (Care::Writing(sequence), Ok(())) => Care::Written(sequence),
            (Care::Writing(_) | Care::WritingInVain, _) => Care::None,
            (care @ (Care::None | Care::Written(_) | Care::Installing(_) | Care::Dropping(_)), _) => care,
        };
    }

    /// The checkpoint is in place; so many bytes of it are sent to a follower.
    pub fn checkpoint_installed(&mut self, bytes: u64) {
        if let Care::Installing(sequence) = self.care {
            self.before = self.checkpoint.map(|before| before.sequence);
            self.checkpoint = Some(Installed { sequence, bytes });
            self.care = Care::None;
            self.is_urgent &= sequence + 1 < self.stream.earliest();
        }
    }

    /// The checkpoint couldn't be put in place.
    pub fn checkpoint_refused(&mut self, now_ms: u64) {
        if matches!(self.care, Care::Installing(_)) {
            self.care = Care::None;
            self.patient_until_ms = now_ms.saturating_add(CHECKPOINT_PAUSE_MS);
        }
    }

    /// The segments' files are removed, or some are left: the next that go take them along.
    pub fn dropped(&mut self, is_done: Result<(), ()>) {
        let Care::Dropping(count) = self.care else { return };
        self.care = Care::None;
        if is_done.is_ok() {
            self.dropping.drain(..count);
        }
    }

    /// The stream itself.
    #[must_use]
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The manifest as it is to be written; none before the stream exists.
    #[must_use]
    pub fn manifest(&self, state: State) -> Option<Manifest> {
        let epochs = self.stream.epochs()?.clone();
        Some(Manifest { name: self.stream.name().to_owned(), epochs, secret: self.secret, state })
    }

    /// The key of the hashes of idempotency keys.
    #[must_use]
    pub fn secret(&self) -> &[u8; 16] {
        &self.secret
    }

    /// All segments, oldest first.
    #[must_use]
    pub fn segments(&self) -> &VecDeque<Span> {
        &self.segments
    }

    /// The newest checkpoint in place.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Installed> {
        self.checkpoint
    }

    /// Offset up to which the log may be shown.
    #[must_use]
    pub fn published(&self) -> u64 {
        self.published
    }

    /// The log as readers on any core see it.
    #[must_use]
    pub fn view(&self) -> View {
        View {
            published: self.published,
            blocks: self.stream.blocks().clone(),
            segments: self.segments.clone(),
            position: self.stream.position_at(self.stream.persisted_sequence()),
        }
    }

    /// Whether something of it isn't durable yet, or something is being done to its files.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        let is_writing = self.phase != Phase::Idle || self.stream.failure().is_none() && self.stream.has_open_group();
        is_writing
            || match self.care {
                Care::None | Care::Written(_) => false,
                Care::Writing(_) | Care::WritingInVain | Care::Installing(_) | Care::Dropping(_) => true,
            }
    }
}
