//! The streams whose home this core is: where questions are answered, groups are sealed, and what is durable is
//! published.
//!
//! Invariant: an answer leaves when the position that it was given at is persisted, in the order of questions; so nobody
//! is ever told what a crash could take back.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fantail_engine::limits::STREAMS_MAX;
use fantail_engine::log::errand::{self, InstallError};
use fantail_engine::log::keys;
use fantail_engine::log::manifest::{self, Durability, Manifest, State};
use fantail_engine::mirror::Turns;
use fantail_engine::stream::journal::{Journal, Step, Upkeep};
use fantail_engine::stream::{Change, IdempotencyKey, Outcome, Refusal};
use fantail_engine::topic::{NameError, Place};
use rustc_hash::FxHashMap;

use super::cores::{Settings, Totals};
use super::following::{self, Following};
use super::letter::{Letter, LetterBox};
use super::question::{Answer, From, Question, Refused, WriteQuestion};
use super::resident::{Removal, Resident};
use super::survey::StreamSurvey;
use super::{clock, reader};
use crate::storage::clerk::{Clerk, Done, Errand};
use crate::storage::disk::{self, Disk};
use crate::storage::folder::Directory;
use crate::storage::recovery::Recovered;
use crate::storage::snapshot::Snapshot;

/// See the module.
pub(super) struct Home {
    core: usize,
    settings: Settings,
    pub(super) streams: FxHashMap<Arc<str>, Resident>,
    totals: Arc<Totals>,
    /// Streams of which something may be due.
    touched: Vec<Arc<str>>,
    disk: Disk,
    clerk: Clerk,
    pub(super) boxes: Arc<[LetterBox]>,
    kept: Kept,
    /// Of streams that mirror origins: what is under way there, and who waits for a turn, a core and a ticket each.
    pub(super) mirrors: FxHashMap<Box<str>, Turns<(usize, usize)>>,
}

/// What a home has kept, and failed to, since its start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Kept {
    /// Events that were committed.
    pub(crate) events: u64,
    /// Times that a stream's log couldn't be written or opened.
    pub(crate) failures: u64,
}

impl Home {
    pub(super) fn new(
        core: usize,
        settings: Settings,
        recovered: Vec<Recovered>,
        totals: Arc<Totals>,
        disk: Disk,
        clerk: Clerk,
        boxes: Arc<[LetterBox]>,
    ) -> Home {
        let (streams, mirrors) = (FxHashMap::default(), FxHashMap::default());
        let (touched, kept) = (Vec::new(), Kept::default());
        let mut home = Home { core, settings, streams, totals, touched, disk, clerk, boxes, kept, mirrors };
        for stream in recovered {
            let resident = Resident::recovered(stream, home.settings.policy);
            home.totals.streams.fetch_add(1, Ordering::Relaxed);
            home.totals.add(resident.stream().documents().bytes(), 0);
            home.streams.insert(Arc::clone(&resident.name), resident);
        }
        home
    }

    /// Answers a question from a conversation on core `from`; none means that the answer comes as a letter, once the disk
    /// has what it tells.
    pub(super) fn ask(&mut self, from: usize, ticket: usize, question: Question) -> Option<Answer> {
        let name = question.stream().to_owned();
        let answer = match question {
            Question::Write(write) => self.write(&name, write).map_or_else(Answer::Refused, Answer::Written),
            Question::Follow { places, from: begin } => self
                .follow(from, &name, &places, &begin)
                .map_or_else(Answer::Refused, |following| Answer::Follow(Box::new(following))),
            Question::Delete(_) => return self.delete(&name, (from, ticket)),
            Question::Mirror(place, step) => return self.mirror((from, ticket), &place, step),
            read => {
                let answer = match self.streams.get(&*name) {
                    Some(resident) => reader::read(resident, read),
                    None => reader::read(&self.unborn(&name), read),
                };
                if let (Answer::History(_), Some(resident)) = (&answer, self.streams.get_mut(&*name)) {
                    // The core that asks reads on.
                    resident.listen(from, &self.boxes);
                }
                answer
            }
        };
        match self.streams.get_mut(&*name) {
            Some(resident) => resident.hold(from, ticket, answer),
            None => Some(answer),
        }
    }

    /// A stream that nobody has written, and that isn't here yet.
    fn unborn(&self, name: &str) -> Resident {
        Resident::unborn(name, &self.settings.data, self.settings.policy)
    }

    /// The stream `name`, made if it isn't here.
    fn resident(&mut self, name: &str) -> &mut Resident {
        if !self.streams.contains_key(name) {
            let resident = self.unborn(name);
            self.streams.insert(Arc::clone(&resident.name), resident);
        }
        self.streams.get_mut(name).expect("inserted above")
    }

    /// Where a follower on core `from` begins. Streams that are followed and never written cost a little too, so they have a
    /// bound, which writers don't meet.
    fn follow(&mut self, from: usize, name: &str, places: &[Place], begin: &From) -> Result<Following, Refused> {
        if let Some(resident) = self.streams.get_mut(name) {
            let following = following::begin(resident, places, begin)?;
            resident.listen(from, &self.boxes);
            return Ok(following);
        }
        let mut resident = self.unborn(name);
        let following = following::begin(&resident, places, begin)?;
        if self.streams.len() >= 2 * STREAMS_MAX {
            self.forget_an_unwritten_stream()?;
        }
        resident.listen(from, &self.boxes);
        self.streams.insert(Arc::clone(&resident.name), resident);
        Ok(following)
    }

    /// Makes room for another: the followers of a stream that nobody wrote come back, if they still want it.
    fn forget_an_unwritten_stream(&mut self) -> Result<(), Refused> {
        let unwritten = self
            .streams
            .values()
            .find(|resident| !resident.stream().exists() && matches!(resident.removal, Removal::None));
        let name = unwritten.map(|resident| Arc::clone(&resident.name)).ok_or(Refused::TooManyStreams)?;
        let forgotten = self.streams.remove(&name).expect("found just now");
        for core in forgotten.listeners {
            self.boxes[core].post(Letter::Unwatch { stream: Arc::clone(&name) });
        }
        Ok(())
    }

    pub(super) fn write(&mut self, name: &str, question: WriteQuestion) -> Result<Outcome, Refused> {
        let WriteQuestion { mut operation, key } = question;
        let is_first = !self.streams.get(name).is_some_and(|resident| resident.stream().exists());
        if !self.streams.get(name).is_none_or(|resident| matches!(resident.removal, Removal::None)) {
            return Err(Refused::Operation(Refusal::Busy));
        }
        if is_first {
            self.claim(name, &operation.change)?;
        }
        let room = self.settings.documents_bytes.saturating_sub(self.totals.documents_bytes.load(Ordering::Relaxed));
        let resident = self.resident(name);
        if is_first {
            resident.journal.begin(clock::fresh_epoch(), clock::random());
        }
        operation.key = key.map(|(key, fingerprint)| IdempotencyKey {
            hash: keys::hash(resident.journal.secret(), key.as_bytes()),
            fingerprint,
        });
        let (before, was_open) = (resident.stream().documents().bytes(), resident.stream().has_open_group());
        let last = resident.stream().position().sequence;
        let outcome = resident.journal.commit(&operation, clock::unix_ms(), room);
        let events = resident.stream().position().sequence - last;
        let (after, is_open) = (resident.stream().documents().bytes(), resident.stream().has_open_group());
        let name = Arc::clone(&resident.name);
        self.kept.events += events;
        self.totals.add(after, before);
        match outcome {
            Ok(outcome) => {
                if is_open && !was_open {
                    self.touched.push(name);
                }
                Ok(outcome)
            }
            Err(refusal) => {
                if is_first {
                    self.retract(&name);
                }
                Err(Refused::Operation(refusal))
            }
        }
    }

    /// The first write of a stream was refused: it is as if nobody had tried.
    fn retract(&mut self, name: &str) {
        self.totals.streams.fetch_sub(1, Ordering::Relaxed);
        let resident = self.streams.get_mut(name).expect("it was written to");
        resident.journal.retract();
        if resident.listeners.is_empty() {
            self.streams.remove(name);
        }
    }

    /// Counts a stream that is about to be written for the first time.
    fn claim(&self, name: &str, change: &Change) -> Result<(), Refused> {
        match change {
            Change::Create { .. } | Change::Put(_) | Change::Mirror(_) => {}
            Change::Patch(_) | Change::Merge(_) | Change::Delete => return Err(Refused::NotFound),
        }
        if manifest::folder(name).is_none() {
            return Err(Refused::Operation(Refusal::Name(NameError::Long)));
        }
        let next = |count| (count < STREAMS_MAX).then_some(count + 1);
        let claimed = self.totals.streams.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        claimed.map(|_| ()).map_err(|_| Refused::TooManyStreams)
    }

    /// What the disk has is published; what needn't wait for it, at once.
    pub(super) fn publish(&mut self) {
        if self.settings.policy.durability == Durability::None {
            self.persist_touched();
        }
        self.disk.enter();
        for (name, result) in self.disk.take_done() {
            self.written(&name, result);
        }
    }

    /// What was committed goes to the disk.
    pub(super) fn persist_touched(&mut self) {
        for name in std::mem::take(&mut self.touched) {
            self.advance(&name);
        }
        self.disk.enter();
    }

    /// Whether a turn would do something at once.
    pub(super) fn is_due(&self) -> bool {
        self.disk.has_done() || !self.touched.is_empty()
    }

    /// A second has passed: something may have become too old.
    pub(super) fn tick(&mut self) {
        self.touched.extend(self.streams.keys().map(Arc::clone));
    }

    /// Begins whatever is due of a stream.
    fn advance(&mut self, name: &Arc<str>) {
        let now_ms = clock::unix_ms();
        let Some(resident) = self.streams.get_mut(name) else { return };
        match resident.journal.step(now_ms) {
            Some(Step::Open { manifest, first, base, sealed }) => {
                let (stream, folder) = (Arc::clone(name), Arc::clone(&resident.volume.folder));
                resident.files = None;
                self.clerk.ask(self.core, Errand::Open { stream, folder, manifest, first, base, sealed });
            }
            Some(Step::Write(sealed)) => {
                if sealed.appended.is_new {
                    let block = &sealed.appended.block;
                    resident.post(&self.boxes, |stream| Letter::Block { stream, block: Arc::clone(block) });
                }
                let files = resident.files.as_mut().expect("a group goes to an open segment");
                self.disk.write(Arc::clone(name), files, sealed);
                resident.publish(&self.boxes);
            }
            None => {}
        }
        match resident.removal {
            Removal::None => self.keep_up(name, now_ms),
            Removal::Wanted(_) | Removal::Underway(_) => self.remove_if_idle(name),
        }
    }

    /// Begins whatever is due about the length of a stream's log.
    fn keep_up(&mut self, name: &Arc<str>, now_ms: u64) {
        let resident = self.streams.get_mut(name).expect("it was advanced just now");
        let (stream, folder) = (Arc::clone(name), Arc::clone(&resident.volume.folder));
        let errand = match resident.journal.upkeep(now_ms) {
            None => return,
            Some(Upkeep::Checkpoint { position, documents }) => {
                Errand::Checkpoint { stream, folder, position, documents }
            }
            Some(Upkeep::Install { sequence, newest }) => Errand::Install { stream, folder, sequence, newest },
            Some(Upkeep::Drop(firsts)) => {
                let first = resident.stream().earliest();
                tracing::debug!(stream = %name, first, "what came before isn't retained any more");
                resident.post(&self.boxes, |stream| Letter::Retained { stream, first });
                Errand::Drop { stream, folder, firsts }
            }
        };
        self.clerk.ask(self.core, errand);
    }

    /// The disk is done with a group.
    fn written(&mut self, name: &Arc<str>, result: Result<(), io::Error>) {
        let resident = self.streams.get_mut(name).expect("a stream that is written is here");
        match result {
            Ok(()) => {
                resident.journal.written();
                resident.publish(&self.boxes);
                self.touched.push(Arc::clone(name));
            }
            Err(error) => self.fail(name, &error, Journal::fail_step),
        }
    }

    /// No descriptor was left for a segment: whoever waits gets 503, and may try again.
    fn put_off(&mut self, name: &Arc<str>, error: &io::Error) {
        let resident = self.streams.get_mut(name).expect("a stream that is written is here");
        tracing::error!(stream = %name, %error, "no segment can be opened; what was to be written is refused");
        self.kept.failures += 1;
        let before = resident.stream().documents().bytes();
        resident.journal.put_off();
        resident.refuse(|| Refusal::Busy, &self.boxes);
        self.totals.add(resident.stream().documents().bytes(), before);
    }

    /// A failed disk write is never retried in hope: whoever waits gets 503, and readers go on with what is durable.
    /// `fail` says to the journal what has.
    fn fail(
        &mut self,
        name: &Arc<str>,
        error: &io::Error,
        fail: impl FnOnce(&mut Journal, String) -> Option<Manifest>,
    ) {
        let resident = self.streams.get_mut(name).expect("a stream that is written is here");
        tracing::error!(stream = %name, %error, "the log can't be written; the stream refuses writes until restart");
        self.kept.failures += 1;
        let reason = format!("its log can't be written ({error}); the next start looks at it again");
        let before = resident.stream().documents().bytes();
        let manifest = fail(&mut resident.journal, reason.clone());
        resident.refuse(|| Refusal::Failed(reason.clone()), &self.boxes);
        self.totals.add(resident.stream().documents().bytes(), before);
        // The next start must not believe what only the page cache has.
        if let Some(manifest) = manifest {
            let (stream, folder) = (Arc::clone(name), Arc::clone(&resident.volume.folder));
            self.clerk.ask(self.core, Errand::Mark { stream, folder, manifest });
        }
    }

    /// A segment of a volume is damaged: if that is one of ours, history up to its end isn't served any more.
    pub(super) fn give_up(&mut self, volume: u64, segment: u64) {
        let Some(resident) = self.streams.values_mut().find(|resident| resident.volume.number == volume) else {
            return;
        };
        if resident.journal.give_up(segment) {
            let first = resident.stream().earliest();
            tracing::error!(stream = %resident.name, segment, first, "history before this event isn't served any more");
            resident.post(&self.boxes, |stream| Letter::Retained { stream, first });
            self.touched.push(Arc::clone(&resident.name));
        }
    }

    /// Deletes a stream once nothing of it is under way; the answer comes as a letter.
    fn delete(&mut self, name: &str, asked: (usize, usize)) -> Option<Answer> {
        let Some(resident) = self.streams.get_mut(name) else { return Some(Answer::Refused(Refused::NotFound)) };
        let exists = resident.stream().exists();
        match &mut resident.removal {
            Removal::None if !exists => return Some(Answer::Refused(Refused::NotFound)),
            Removal::None => resident.removal = Removal::Wanted(vec![asked]),
            Removal::Wanted(waiting) | Removal::Underway(waiting) => waiting.push(asked),
        }
        self.touched.push(Arc::clone(&resident.name));
        None
    }

    /// Takes a stream away that is to go, if nothing of it is under way. Its followers come back, to a stream that nobody has
    /// written.
    fn remove_if_idle(&mut self, name: &Arc<str>) {
        let resident = self.streams.get_mut(name).expect("it was advanced just now");
        let waiting = match &mut resident.removal {
            Removal::Wanted(waiting) if !resident.journal.is_busy() => std::mem::take(waiting),
            Removal::None | Removal::Wanted(_) | Removal::Underway(_) => return,
        };
        self.totals.add(0, resident.stream().documents().bytes());
        self.totals.streams.fetch_sub(1, Ordering::Relaxed);
        resident.post(&self.boxes, |stream| Letter::Unwatch { stream });
        if let Some(turns) = self.mirrors.get_mut(&**name) {
            turns.doubt_all();
        }
        let (stream, volume) = (Arc::clone(name), Arc::clone(&resident.volume));
        volume.retire();
        let errand = Errand::Remove { stream, folder: Arc::clone(&volume.folder), number: volume.number };
        let mut unborn = self.unborn(name);
        unborn.removal = Removal::Underway(waiting);
        self.streams.insert(Arc::clone(name), unborn);
        self.clerk.ask(self.core, errand);
    }

    /// A deleted stream's folder is away, or can't be taken away.
    fn removed(&mut self, name: &Arc<str>, result: io::Result<()>) {
        let resident = self.streams.get_mut(name).expect("an errand's stream is here");
        let waiting = match std::mem::take(&mut resident.removal) {
            Removal::Underway(waiting) | Removal::Wanted(waiting) => waiting,
            Removal::None => Vec::new(),
        };
        if let Err(error) = &result {
            tracing::error!(stream = %name, %error, "a deleted stream's folder stays; the next start serves it again");
            let reason = format!("it is deleted, but its folder can't be taken away ({error})");
            resident.journal.fail(reason);
        }
        for (from, ticket) in waiting {
            let answer = match &result {
                Ok(()) => Answer::Deleted,
                Err(error) => Answer::Refused(Refused::Undeletable(error.kind().into())),
            };
            self.boxes[from].post(Letter::Answer { ticket, answer });
        }
        if resident.listeners.is_empty() && result.is_ok() {
            self.streams.remove(name);
        }
    }

    /// The clerk is done with an errand.
    pub(super) fn done(&mut self, done: Done) {
        let name = match done {
            Done::Opened(name, Ok(files)) => {
                let resident = self.streams.get_mut(&name).expect("an errand's stream is here");
                resident.journal.opened();
                resident.files = Some(files);
                if let Some(&segment) = resident.journal.segments().back() {
                    resident.post(&self.boxes, |stream| Letter::Segment { stream, segment });
                }
                name
            }
            Done::Opened(name, Err(error)) => {
                match error.raw_os_error() {
                    Some(libc::EMFILE | libc::ENFILE) => self.put_off(&name, &error),
                    _ => self.fail(&name, &error, Journal::fail_step),
                }
                name
            }
            Done::Marked(name, result) => {
                if let Err(error) = result {
                    tracing::error!(stream = %name, %error, "that the log failed couldn't be noted");
                }
                return;
            }
            Done::Written(name, result) => {
                let resident = self.streams.get_mut(&name).expect("an errand's stream is here");
                let is_whole = result.map_err(|error| resident.complain(&error));
                resident.journal.checkpoint_written(is_whole, clock::unix_ms());
                name
            }
            Done::Installed(name, result) => {
                self.installed(&name, result);
                name
            }
            Done::Dropped(name, result) => {
                let resident = self.streams.get_mut(&name).expect("an errand's stream is here");
                let is_done = result.map_err(|error| {
                    tracing::warn!(stream = %name, %error, "segments that nobody wants can't be removed");
                });
                resident.journal.dropped(is_done);
                name
            }
            Done::Removed(name, result) => return self.removed(&name, result),
        };
        self.touched.push(name);
    }

    /// A checkpoint is in place, or isn't.
    fn installed(&mut self, name: &Arc<str>, result: Result<Snapshot, InstallError>) {
        let resident = self.streams.get_mut(name).expect("an errand's stream is here");
        match result {
            Ok(snapshot) => {
                tracing::debug!(stream = %name, position = %snapshot.checkpoint.position, "checkpoint");
                resident.journal.checkpoint_installed(snapshot.checkpoint.closing.end);
                resident.snapshot = Some(Arc::new(snapshot));
            }
            // A sync of the log failed: who waits for it may have been told by now, and nobody may be from here on.
            Err(InstallError::Log(error)) => self.fail(name, &error, Journal::fail_install),
            Err(error @ (InstallError::Io(_) | InstallError::Damaged(_))) => {
                resident.complain(&error);
                resident.journal.checkpoint_refused(clock::unix_ms());
            }
        }
    }

    /// What the disk has begun so far.
    pub(super) fn disk_counts(&self) -> disk::Counts {
        self.disk.counts()
    }

    /// What it has kept so far.
    pub(super) fn kept(&self) -> Kept {
        self.kept
    }

    /// How the streams are that were written.
    pub(super) fn survey(&self) -> Vec<StreamSurvey> {
        let written = self.streams.values().filter(|resident| resident.stream().exists());
        written.map(StreamSurvey::of).collect()
    }

    /// Whether the kernel writes a group.
    pub(super) fn is_writing(&self) -> bool {
        self.disk.is_busy()
    }

    /// Whether something committed isn't durable yet, or an errand is under way.
    pub(super) fn is_busy(&self) -> bool {
        let is_busy = |resident: &Resident| {
            resident.journal.is_busy() || matches!(resident.removal, Removal::Wanted(_) | Removal::Underway(_))
        };
        self.disk.is_busy() || self.is_due() || self.streams.values().any(is_busy)
    }

    /// The server ends: every log is whole and synced, and its manifest says so if the durability doesn't.
    pub(super) fn close(&mut self) {
        if self.settings.policy.durability == Durability::Sync {
            return;
        }
        for resident in self.streams.values_mut() {
            let Some(files) = resident.files.as_ref().filter(|_| resident.stream().failure().is_none()) else {
                continue;
            };
            let manifest = resident.journal.manifest(State::Clean).expect("a stream with files exists");
            let closed = errand::close(&Directory::new(&resident.volume.folder), files.first, &manifest);
            if let Err(error) = closed {
                tracing::error!(stream = %resident.name, %error, "the log couldn't be closed; the next start opens an epoch");
            }
        }
    }
}
