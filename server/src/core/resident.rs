//! One stream at its home: its journal and files, who listens, and who waits for an answer.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use fantail_engine::log::manifest;
use fantail_engine::stream::journal::{Journal, Policy};
use fantail_engine::stream::{Refusal, Stream};

use super::letter::{Letter, LetterBox};
use super::question::{Answer, Refused};
use crate::storage::disk::Files;
use crate::storage::pages::Volume;
use crate::storage::recovery::Recovered;
use crate::storage::snapshot::Snapshot;

/// An answer that waits for its position to be durable.
struct Waiting {
    sequence: u64,
    from: usize,
    ticket: usize,
    answer: Answer,
}

/// How far a stream is on its way out.
#[derive(Default)]
pub(super) enum Removal {
    /// It stays.
    #[default]
    None,
    /// It goes as soon as nothing of it is under way; these, a core and a ticket each, wait for it.
    Wanted(Vec<(usize, usize)>),
    /// Its folder is taken away.
    Underway(Vec<(usize, usize)>),
}

/// See the module.
pub(super) struct Resident {
    pub(super) name: Arc<str>,
    pub(super) journal: Journal,
    pub(super) volume: Arc<Volume>,
    /// The newest checkpoint.
    pub(super) snapshot: Option<Arc<Snapshot>>,
    /// Those of the segment that is written.
    pub(super) files: Option<Files>,
    /// Cores that have listeners, or soon will.
    pub(super) listeners: Vec<usize>,
    pub(super) removal: Removal,
    /// In the order of the questions.
    waiting: VecDeque<Waiting>,
    /// Offset up to which the listeners may show the log.
    told: u64,
}

impl Resident {
    /// A stream that was on disk when the server started.
    pub(super) fn recovered(recovered: Recovered, policy: Policy) -> Resident {
        let journal = Journal::recovered(&recovered.name, recovered.found, policy);
        Resident {
            name: recovered.name,
            told: journal.published(),
            journal,
            volume: Volume::new(recovered.folder),
            snapshot: recovered.snapshot,
            files: recovered.files,
            listeners: Vec::new(),
            removal: Removal::None,
            waiting: VecDeque::new(),
        }
    }

    /// A stream that nobody has written yet.
    pub(super) fn unborn(name: &str, data: &Path, policy: Policy) -> Resident {
        let folder = manifest::folder(name).unwrap_or_default();
        Resident {
            name: name.into(),
            journal: Journal::unborn(name, policy),
            volume: Volume::new(data.join(folder).into()),
            snapshot: None,
            files: None,
            listeners: Vec::new(),
            removal: Removal::None,
            waiting: VecDeque::new(),
            told: 0,
        }
    }

    pub(super) fn stream(&self) -> &Stream {
        self.journal.stream()
    }

    /// Core `core` will have listeners: from now on it is told everything about the log.
    pub(super) fn listen(&mut self, core: usize, boxes: &[LetterBox]) {
        if !self.listeners.contains(&core) {
            self.listeners.push(core);
            let (stream, volume) = (Arc::clone(&self.name), Arc::clone(&self.volume));
            boxes[core].post(Letter::Watch { stream, view: self.journal.view(), volume });
        }
    }

    /// Posts something to each core that has listeners.
    pub(super) fn post(&self, boxes: &[LetterBox], letter: impl Fn(Arc<str>) -> Letter) {
        self.listeners.iter().for_each(|core| boxes[*core].post(letter(Arc::clone(&self.name))));
    }

    /// Keeps an answer until what it tells is durable; hands it back if it is.
    pub(super) fn hold(&mut self, from: usize, ticket: usize, answer: Answer) -> Option<Answer> {
        let sequence = self.stream().position().sequence;
        if sequence <= self.stream().persisted_sequence() {
            return Some(answer);
        }
        self.waiting.push_back(Waiting { sequence, from, ticket, answer });
        None
    }

    /// Tells the cores that listen how far the log may be shown, and answers whoever waits for that.
    pub(super) fn publish(&mut self, boxes: &[LetterBox]) {
        if self.told == self.journal.published() {
            return;
        }
        self.told = self.journal.published();
        let position = self.stream().position_at(self.stream().persisted_sequence());
        self.post(boxes, |stream| Letter::Published { stream, position, end: self.told });
        while self.waiting.front().is_some_and(|waiting| waiting.sequence <= position.sequence) {
            let Some(Waiting { from, ticket, answer, .. }) = self.waiting.pop_front() else { break };
            boxes[from].post(Letter::Answer { ticket, answer });
        }
    }

    /// The log is the truth, so a checkpoint that fails costs nothing but the time of the next start.
    pub(super) fn complain(&self, error: &(impl std::fmt::Display + ?Sized)) {
        tracing::warn!(stream = %self.name, %error, "no checkpoint could be written");
    }

    /// What wasn't durable was taken back: says so to all that wait.
    pub(super) fn refuse(&mut self, refusal: impl Fn() -> Refusal, boxes: &[LetterBox]) {
        for Waiting { from, ticket, .. } in self.waiting.drain(..) {
            let answer = Answer::Refused(Refused::Operation(refusal()));
            boxes[from].post(Letter::Answer { ticket, answer });
        }
    }
}
