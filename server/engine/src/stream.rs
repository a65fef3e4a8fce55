//! A stream at its home: its documents, the group that gathers, and [`Stream::commit`], the one place where they change.
//!
//! The order law is a field each: `published ≤ persisted ≤ appended`, in sequences. The documents are the fold of
//! everything appended; what isn't persisted yet can be taken back exactly ([`Stream::discard`]), so that a failed disk
//! leaves readers with what is durable.

mod group;
pub mod journal;
mod operation;
pub mod recovery;
#[cfg(test)]
mod tests;

pub use self::group::Sealed;
pub use self::operation::{Change, Effect, IdempotencyKey, Operation, Outcome, Refusal};

use self::group::Group;
use crate::document::Documents;
use crate::event;
use crate::limits::{GROUP_BYTES_MAX, GROUP_EVENTS_MAX};
use crate::log::keys::{Keys, Record};
use crate::log::manifest::{Epochs, Unservable};
use crate::log::tail::{Blocks, Tail};
use crate::position::{Epoch, Position};
use crate::topic;

/// One stream, as its home core holds it.
pub struct Stream {
    name: Box<str>,
    /// None until somebody writes.
    epochs: Option<Epochs>,
    documents: Documents,
    keys: Keys,
    /// Sequence of the oldest event that is still in the log.
    earliest: u64,
    persisted: u64,
    appended: u64,
    open: Group,
    in_flight: Option<Group>,
    tail: Tail,
    failure: Option<String>,
}

/// What a stream is made of when it starts: recovered from disk, or nothing.
pub struct Origin {
    /// The documents at `last`.
    pub documents: Documents,
    /// The log's lives; none for a stream that doesn't exist yet.
    pub epochs: Option<Epochs>,
    /// Idempotency keys that are still remembered.
    pub keys: Keys,
    /// Sequence of the oldest event in the log; one more than `last` if it is empty.
    pub earliest: u64,
    /// Sequence of the newest event.
    pub last: u64,
    /// Bytes of the log.
    pub bytes: u64,
    /// Why the stream refuses writes, if it does.
    pub failure: Option<String>,
}

impl Origin {
    /// That of a stream that nobody has written yet.
    #[must_use]
    pub fn nothing() -> Origin {
        Origin {
            documents: Documents::default(),
            epochs: None,
            keys: Keys::default(),
            earliest: 1,
            last: 0,
            bytes: 0,
            failure: None,
        }
    }
}

impl Stream {
    /// A stream that goes on where `origin` ends.
    #[must_use]
    pub fn new(name: &str, origin: Origin) -> Stream {
        Stream {
            name: name.into(),
            epochs: origin.epochs,
            documents: origin.documents,
            keys: origin.keys,
            earliest: origin.earliest,
            persisted: origin.last,
            appended: origin.last,
            open: Group::default(),
            in_flight: None,
            tail: Tail::new(origin.bytes),
            failure: origin.failure,
        }
    }

    /// Applies one operation: the only function that changes a document.
    ///
    /// `now_ms` is the time in milliseconds since 1970; `room` the bytes by which documents may still grow on this core.
    ///
    /// # Errors
    /// The [`Refusal`] that the writer is answered with; then nothing has changed.
    pub fn commit(&mut self, operation: &Operation, now_ms: u64, room: usize) -> Result<Outcome, Refusal> {
        if let Some(reason) = &self.failure {
            return Err(Refusal::Failed(reason.clone()));
        }
        if let Some(repeated) = self.repeat(operation, now_ms)? {
            return Ok(repeated);
        }
        if self.open.bytes.len() >= GROUP_BYTES_MAX || self.open.extents.len() >= GROUP_EVENTS_MAX {
            return Err(Refusal::Busy);
        }
        let target = operation.target()?;
        let (collection, id) = (target.collection(), target.document().expect("a target is a document"));
        let before = self.documents.get(collection, id).cloned();
        operation.change.check_target(before.is_some())?;
        operation.guard_against(before.as_ref(), || self.collection_tag(collection))?;

        let effect =
            operation.change.effect(&target, before.as_ref(), self.documents.collection(collection).is_none())?;
        if effect.data.is_none() && operation.key.is_none() {
            return Ok(self.outcome(effect, target));
        }
        let grown = effect.body.as_ref().map_or(0, |body| body.len());
        if grown > before.as_ref().map_or(0, |body| body.len()) + room {
            return Err(Refusal::Full);
        }

        self.appended += 1;
        let position = self.position();
        let data = effect.data.as_deref().unwrap_or(b"[]");
        // What changes nothing concerns nobody but those who follow the whole stream: the index says so when it is rebuilt.
        let (collection_hash, document_hash) = match effect.data {
            Some(_) => (topic::hash(collection), topic::hash(target.path())),
            None => (0, 0),
        };
        let start = self.open.bytes.len();
        event::encode(&mut self.open.bytes, position, data);
        self.open.first.get_or_insert(position.sequence);
        self.open.extents.push(crate::log::block::Extent {
            start: start as u64,
            length: (self.open.bytes.len() - start) as u32,
            collection: collection_hash,
            document: document_hash,
        });
        if effect.data.is_some() {
            let undo = self.documents.set(collection, id, effect.body.clone(), position.sequence);
            self.open.undo.push(undo);
        }
        if let Some(key) = &operation.key {
            self.remember(key, &target, effect.status, now_ms);
        }
        Ok(self.outcome(effect, target))
    }

    fn outcome(&self, effect: Effect, place: topic::Place) -> Outcome {
        Outcome { status: effect.status, place, document: effect.body, position: self.position() }
    }

    /// The answer to a keyed operation that was committed before.
    fn repeat(&self, operation: &Operation, now_ms: u64) -> Result<Option<Outcome>, Refusal> {
        let Some(key) = &operation.key else { return Ok(None) };
        let Some(record) = self.keys.find(key.hash).filter(|record| record.is_fresh(now_ms)) else { return Ok(None) };
        if record.fingerprint != key.fingerprint {
            return Err(Refusal::KeyReused);
        }
        if record.sequence > self.persisted {
            return Err(Refusal::KeyInFlight);
        }
        let place = record.place.clone();
        let now = place.document().and_then(|id| self.documents.get(place.collection(), id));
        let document = now.filter(|_| record.status != 204).cloned();
        Ok(Some(Outcome { status: record.status, place, document, position: self.position() }))
    }

    fn remember(&mut self, key: &IdempotencyKey, target: &topic::Place, status: u16, now_ms: u64) {
        let record = Record {
            key: key.hash,
            fingerprint: key.fingerprint,
            sequence: self.appended,
            unix_ms: now_ms,
            status,
            place: target.clone(),
        };
        self.keys.expire(now_ms);
        record.encode(&mut self.open.keys);
        self.open.key_hashes.push(record.key);
        self.keys.insert(record);
    }

    /// Closes the group that gathered, appends it to the tail, and says what is to be written. Nothing while another
    /// group is in flight, or if nothing was committed.
    pub fn seal(&mut self, now_ms: u64) -> Option<Sealed> {
        if self.in_flight.is_some() {
            return None;
        }
        let first = self.open.first?;
        let mut group = std::mem::take(&mut self.open);
        let sealed = group.seal(&mut self.tail, first, self.appended, now_ms);
        self.in_flight = Some(group);
        Some(sealed)
    }

    /// The group in flight is durable: answers up to the returned position may go out.
    ///
    /// # Panics
    /// If none is in flight.
    pub fn persisted(&mut self) -> Position {
        let group = self.in_flight.take().expect("a group is in flight");
        self.persisted = group.last;
        debug_assert!(self.persisted <= self.appended);
        self.position_at(self.persisted)
    }

    /// The disk failed: refuses writes from now on. What isn't durable is taken back before, by [`Stream::discard`].
    pub fn fail(&mut self, reason: String) {
        self.failure = Some(reason);
    }

    /// Takes back everything that isn't durable.
    pub fn discard(&mut self) {
        for group in [std::mem::take(&mut self.open), self.in_flight.take().unwrap_or_default()] {
            for undo in group.undo.into_iter().rev() {
                self.documents.undo(undo);
            }
            for key in group.key_hashes {
                self.keys.remove(key);
            }
        }
        self.appended = self.persisted;
    }

    /// A stream that nobody had written gets its first epoch: it exists from now on.
    ///
    /// # Panics
    /// If it has one.
    pub fn begin(&mut self, epoch: Epoch) {
        assert!(self.epochs.is_none(), "a stream begins once");
        self.epochs = Some(Epochs::new(epoch));
    }

    /// Takes back [`Stream::begin`]: the first operation was refused.
    ///
    /// # Panics
    /// If something was committed.
    pub fn retract(&mut self) {
        assert_eq!(self.appended, 0, "a stream with events exists");
        self.epochs = None;
    }

    /// Whether something was committed that isn't sealed.
    #[must_use]
    pub fn has_open_group(&self) -> bool {
        self.open.first.is_some()
    }

    /// Whether somebody wrote it, now or before.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.epochs.is_some()
    }

    /// The stream's name, decoded.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The documents as everything appended makes them.
    #[must_use]
    pub fn documents(&self) -> &Documents {
        &self.documents
    }

    /// The log's lives; none before the first write.
    #[must_use]
    pub fn epochs(&self) -> Option<&Epochs> {
        self.epochs.as_ref()
    }

    /// The position of the newest event, durable or not; [`Position::ORIGIN`] before the first.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position_at(self.appended)
    }

    /// The position that the event `sequence` has.
    #[must_use]
    pub fn position_at(&self, sequence: u64) -> Position {
        match &self.epochs {
            Some(epochs) => Position { epoch: epochs.at(sequence), sequence },
            None => Position::ORIGIN,
        }
    }

    /// Sequence of the newest durable event.
    #[must_use]
    pub fn persisted_sequence(&self) -> u64 {
        self.persisted
    }

    /// Sequence of the oldest event in the log.
    #[must_use]
    pub fn earliest(&self) -> u64 {
        self.earliest
    }

    /// Events before the one with the sequence `first` aren't retained any more.
    pub fn retain(&mut self, first: u64) {
        debug_assert!(
            first > self.earliest && first <= self.persisted + 1,
            "what is dropped is durable and was retained"
        );
        self.earliest = first;
    }

    /// The sequence after which a cursor is to be served.
    ///
    /// # Errors
    /// Why it can't be.
    pub fn judge(&self, cursor: Position) -> Result<u64, Unservable> {
        match &self.epochs {
            Some(epochs) => epochs.judge(cursor, self.earliest, self.appended),
            None if cursor == Position::ORIGIN => Ok(0),
            None => Err(Unservable::Epoch),
        }
    }

    /// The newest blocks of the log: everything sealed.
    #[must_use]
    pub fn blocks(&self) -> &Blocks {
        self.tail.blocks()
    }

    /// Bytes of the log up to its newest sealed group, as an offset.
    #[must_use]
    pub fn sealed_end(&self) -> u64 {
        self.tail.end()
    }

    /// Offset in the log just after the event `sequence`, if that lies in memory: in a sealed group of the tail, or in
    /// the group that gathers, which will begin where the tail ends.
    #[must_use]
    pub fn offset_after(&self, sequence: u64) -> Option<u64> {
        match self.open.first {
            Some(first) if sequence >= first => {
                let extent = &self.open.extents[(sequence - first) as usize];
                Some(self.tail.end() + extent.end())
            }
            _ if sequence + 1 == self.open.first.unwrap_or(self.appended + 1) => Some(self.tail.end()),
            _ => self.tail.blocks().after(sequence),
        }
    }

    /// The entity tag of a collection: the position of its last change.
    #[must_use]
    pub fn collection_tag(&self, collection: &str) -> String {
        let changed = self.documents.collection(collection).map_or(0, |collection| collection.changed());
        match changed {
            0 => Position::ORIGIN.to_string(),
            sequence => self.position_at(sequence).to_string(),
        }
    }

    /// Why writes are refused, if they are.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}
