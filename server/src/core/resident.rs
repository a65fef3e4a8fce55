//! One stream at its home: the engine's stream, its files, who listens, and who waits for an answer.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;

use fantail_engine::log::manifest::{self, Durability, Manifest, State};
use fantail_engine::position::Position;
use fantail_engine::stream::{Origin, Refusal, Stream};

use super::letter::{Letter, LetterBox};
use super::question::{Answer, Refused};
use crate::audience::View;
use crate::storage::clerk::Errand;
use crate::storage::disk::Files;
use crate::storage::recovery::Recovered;
use crate::storage::segment::Segment;
use crate::storage::snapshot::Snapshot;

/// What the stream's files are busy with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// The next group can be written.
    Idle,
    /// The clerk opens a segment.
    Opening,
    /// A group is in flight.
    Writing,
}

/// How far the stream's next checkpoint is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum CheckpointPhase {
    None,
    /// The clerk writes the value at this sequence.
    Writing(u64),
    /// It is written; its log isn't durable yet.
    Written(u64),
    /// The clerk puts it in place.
    Installing,
}

/// An answer that waits for its position to be durable.
struct Waiting {
    sequence: u64,
    from: usize,
    ticket: usize,
    answer: Answer,
}

/// See the module.
pub(super) struct Resident {
    pub(super) name: Arc<str>,
    pub(super) stream: Stream,
    pub(super) folder: Arc<Path>,
    pub(super) secret: [u8; 16],
    /// Offset up to which the log may be shown.
    published: u64,
    pub(super) segments: Vec<Arc<Segment>>,
    /// The newest checkpoint.
    pub(super) snapshot: Option<Arc<Snapshot>>,
    pub(super) files: Option<Files>,
    pub(super) phase: Phase,
    /// Cores that have listeners, or soon will.
    pub(super) listeners: Vec<usize>,
    /// Whether its folder and manifest are on disk, or about to be.
    is_on_disk: bool,
    /// In the order of the questions.
    waiting: VecDeque<Waiting>,
    checkpoint: CheckpointPhase,
    /// Offset in the log up to which the last checkpoint reaches.
    checkpointed: u64,
}

impl Resident {
    /// A stream that was on disk when the server started.
    pub(super) fn recovered(recovered: Recovered) -> Resident {
        let end = recovered.origin.bytes;
        Resident {
            stream: Stream::new(&recovered.name, recovered.origin),
            name: recovered.name,
            folder: recovered.folder,
            secret: recovered.secret,
            published: end,
            segments: recovered.segments,
            snapshot: recovered.snapshot,
            files: recovered.files,
            phase: Phase::Idle,
            listeners: Vec::new(),
            is_on_disk: true,
            waiting: VecDeque::new(),
            checkpoint: CheckpointPhase::None,
            checkpointed: recovered.checkpointed,
        }
    }

    /// A stream that nobody has written yet.
    pub(super) fn unborn(name: &str, data: &Path) -> Resident {
        let folder = manifest::folder(name).unwrap_or_default();
        Resident {
            name: name.into(),
            stream: Stream::new(name, Origin::nothing()),
            folder: data.join(folder).into(),
            secret: [0; 16],
            published: 0,
            segments: Vec::new(),
            snapshot: None,
            files: None,
            phase: Phase::Idle,
            listeners: Vec::new(),
            is_on_disk: false,
            waiting: VecDeque::new(),
            checkpoint: CheckpointPhase::None,
            checkpointed: 0,
        }
    }

    /// The stream as readers on any core see it.
    pub(super) fn view(&self) -> View {
        View {
            published: self.published,
            blocks: self.stream.blocks().clone(),
            segments: self.segments.clone(),
            position: self.stream.position_at(self.stream.persisted_sequence()),
        }
    }

    /// Core `core` will have listeners: from now on it is told everything about the log.
    pub(super) fn listen(&mut self, core: usize, boxes: &[LetterBox]) {
        if !self.listeners.contains(&core) {
            self.listeners.push(core);
            boxes[core].post(Letter::Watch { stream: Arc::clone(&self.name), view: self.view() });
        }
    }

    /// Keeps an answer until what it tells is durable; hands it back if it is.
    pub(super) fn hold(&mut self, from: usize, ticket: usize, answer: Answer) -> Option<Answer> {
        let sequence = self.stream.position().sequence;
        if sequence <= self.stream.persisted_sequence() {
            return Some(answer);
        }
        self.waiting.push_back(Waiting { sequence, from, ticket, answer });
        None
    }

    /// What was sealed may be shown: answer whoever waits for it, and tell the cores that listen.
    pub(super) fn publish(&mut self, boxes: &[LetterBox]) {
        let position = self.stream.persisted();
        self.published = self.stream.sealed_end();
        while self.waiting.front().is_some_and(|waiting| waiting.sequence <= position.sequence) {
            let Some(Waiting { from, ticket, answer, .. }) = self.waiting.pop_front() else { break };
            boxes[from].post(Letter::Answer { ticket, answer });
        }
        for &core in &self.listeners {
            boxes[core].post(Letter::Published { stream: Arc::clone(&self.name), position, end: self.published });
        }
    }

    /// The log can't be written: takes back what isn't durable, and refuses writes from now on.
    pub(super) fn fail(&mut self, reason: String, boxes: &[LetterBox]) {
        self.take_back(|| Refusal::Failed(reason.clone()), boxes);
        self.stream.fail(reason);
        if self.checkpoint == CheckpointPhase::Installing {
            self.checkpoint = CheckpointPhase::None;
        }
    }

    /// No segment could be opened, and nothing was written: the next write tries again.
    pub(super) fn put_off(&mut self, boxes: &[LetterBox]) {
        self.take_back(|| Refusal::Busy, boxes);
        // The manifest may be there or not.
        self.is_on_disk &= self.stream.persisted_sequence() > 0;
    }

    /// Takes back what isn't durable, and says so to all that wait.
    fn take_back(&mut self, refusal: impl Fn() -> Refusal, boxes: &[LetterBox]) {
        self.stream.discard();
        self.phase = Phase::Idle;
        for Waiting { from, ticket, .. } in self.waiting.drain(..) {
            let answer = Answer::Refused(Refused::Operation(refusal()));
            boxes[from].post(Letter::Answer { ticket, answer });
        }
    }

    /// A segment is open, the first one or the next.
    pub(super) fn opened(&mut self, files: Files, boxes: &[LetterBox]) {
        let segment = Arc::new(Segment::new(Arc::clone(&self.folder), files.first, files.base));
        self.segments.push(Arc::clone(&segment));
        self.files = Some(files);
        self.phase = Phase::Idle;
        for &core in &self.listeners {
            let letter = Letter::Segment { stream: Arc::clone(&self.name), segment: Arc::clone(&segment) };
            boxes[core].post(letter);
        }
    }

    /// The manifest as it is to be written; none before the stream exists.
    pub(super) fn manifest(&self, state: State) -> Option<Manifest> {
        let epochs = self.stream.epochs()?.clone();
        Some(Manifest { name: self.name.to_string(), epochs, secret: self.secret, state })
    }

    /// The manifest of a stream that has no folder yet.
    pub(super) fn first_manifest(&mut self, durability: Durability) -> Option<Manifest> {
        match std::mem::replace(&mut self.is_on_disk, true) {
            true => None,
            false => self.manifest(State::Open(durability)),
        }
    }

    /// The next step towards a checkpoint, if one is due: the value is copied when the log since the last one outgrows
    /// that one, and `bytes_min`.
    pub(super) fn next_checkpoint(&mut self, bytes_min: u64) -> Option<Errand> {
        if self.stream.failure().is_some() {
            return None;
        }
        match self.checkpoint {
            CheckpointPhase::None => {
                let log = self.stream.sealed_end() - self.checkpointed;
                let last = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.checkpoint.closing.end);
                if log < bytes_min.max(last) {
                    return None;
                }
                let position = self.stream.position();
                self.checkpoint = CheckpointPhase::Writing(position.sequence);
                self.checkpointed = self.stream.sealed_end();
                Some(Errand::Checkpoint {
                    stream: Arc::clone(&self.name),
                    folder: Arc::clone(&self.folder),
                    position,
                    collections: self.copy(),
                })
            }
            // Only between groups: what is published early, without durability, is in the file by then.
            CheckpointPhase::Written(sequence)
                if sequence <= self.stream.persisted_sequence() && self.phase == Phase::Idle =>
            {
                let newest = self.files.as_ref()?.first;
                self.checkpoint = CheckpointPhase::Installing;
                Some(Errand::Install {
                    stream: Arc::clone(&self.name),
                    folder: Arc::clone(&self.folder),
                    sequence,
                    newest,
                })
            }
            CheckpointPhase::Writing(_) | CheckpointPhase::Written(_) | CheckpointPhase::Installing => None,
        }
    }

    fn copy(&self) -> Vec<crate::storage::clerk::Copied> {
        let collections = self.stream.documents().collections();
        let copied = collections.map(|(path, collection)| {
            let documents = collection.documents(None).map(|(id, body)| (id.into(), Arc::clone(body)));
            (path.into(), collection.changed(), documents.collect())
        });
        copied.collect()
    }

    pub(super) fn checkpoint_written(&mut self) {
        if let CheckpointPhase::Writing(sequence) = self.checkpoint {
            self.checkpoint = CheckpointPhase::Written(sequence);
        }
    }

    pub(super) fn checkpoint_installed(&mut self, snapshot: Snapshot) {
        tracing::debug!(stream = %self.name, position = %snapshot.checkpoint.position, "checkpoint");
        self.snapshot = Some(Arc::new(snapshot));
        self.checkpoint = CheckpointPhase::None;
    }

    /// The log is the truth, so a checkpoint that fails costs nothing but the time of the next start.
    pub(super) fn checkpoint_failed(&mut self, error: &(impl std::fmt::Display + ?Sized)) {
        tracing::warn!(stream = %self.name, %error, "no checkpoint could be written");
        self.checkpoint = CheckpointPhase::None;
    }

    /// Whether something of it isn't durable yet, or an errand is under way.
    pub(super) fn is_busy(&self) -> bool {
        let is_writing = self.phase != Phase::Idle || (self.stream.failure().is_none() && self.stream.has_open_group());
        let is_installing = match self.checkpoint {
            CheckpointPhase::None | CheckpointPhase::Written(_) => false,
            CheckpointPhase::Writing(_) | CheckpointPhase::Installing => true,
        };
        is_writing || is_installing
    }

    /// The position of the newest event, durable or not.
    pub(super) fn position(&self) -> Position {
        self.stream.position()
    }

    /// Offset in the log just after the event `sequence`.
    pub(super) fn offset_after(&self, sequence: u64) -> io::Result<u64> {
        if let Some(offset) = self.stream.offset_after(sequence) {
            return Ok(offset);
        }
        let index = self.segments.partition_point(|segment| segment.first <= sequence + 1);
        let segment = index.checked_sub(1).map(|index| &self.segments[index]).ok_or(io::ErrorKind::NotFound)?;
        match sequence + 1 - segment.first {
            0 => Ok(segment.base),
            ordinal => {
                let entry = segment.entry(ordinal - 1)?;
                Ok(segment.base + u64::from(entry.offset) + u64::from(entry.length))
            }
        }
    }
}
