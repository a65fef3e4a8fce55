//! The streams whose home this core is: where questions are answered, groups are sealed, and what is durable is
//! published.
//!
//! Invariant: an answer leaves when the position that it was given at is persisted, in the order of questions; so nobody
//! is ever told what a crash could take back.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fantail_engine::limits::STREAMS_MAX;
use fantail_engine::log::keys;
use fantail_engine::log::manifest::{self, Durability, State};
use fantail_engine::stream::{Change, IdempotencyKey, Outcome, Refusal, Sealed};
use fantail_engine::topic::{NameError, Place};
use rustc_hash::FxHashMap;

use super::cores::{Settings, Totals};
use super::following::{self, Following};
use super::letter::{Letter, LetterBox};
use super::question::{Answer, From, Question, Refused, WriteQuestion};
use super::resident::{Phase, Resident};
use super::{clock, reader};
use crate::storage::clerk::{Clerk, Done, Errand, InstallError};
use crate::storage::disk::{self, Disk};
use crate::storage::folder;
use crate::storage::recovery::Recovered;

/// See the module.
pub(super) struct Home {
    core: usize,
    settings: Settings,
    streams: FxHashMap<Arc<str>, Resident>,
    totals: Arc<Totals>,
    /// Streams that this turn committed to.
    touched: Vec<Arc<str>>,
    disk: Disk,
    clerk: Clerk,
    boxes: Arc<[LetterBox]>,
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
        let mut home =
            Home { core, settings, streams: FxHashMap::default(), totals, touched: Vec::new(), disk, clerk, boxes };
        for stream in recovered {
            let resident = Resident::recovered(stream);
            home.totals.streams.fetch_add(1, Ordering::Relaxed);
            home.totals.add(resident.stream.documents().bytes(), 0);
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
            read => match self.streams.get(&*name) {
                Some(resident) => reader::read(resident, read),
                None => reader::read(&Resident::unborn(&name, &self.settings.data), read),
            },
        };
        match self.streams.get_mut(&*name) {
            Some(resident) => resident.hold(from, ticket, answer),
            None => Some(answer),
        }
    }

    /// The stream `name`, made if it isn't here.
    fn resident(&mut self, name: &str) -> &mut Resident {
        if !self.streams.contains_key(name) {
            let resident = Resident::unborn(name, &self.settings.data);
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
        let mut resident = Resident::unborn(name, &self.settings.data);
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
        let unwritten = self.streams.values().find(|resident| !resident.stream.exists());
        let name = unwritten.map(|resident| Arc::clone(&resident.name)).ok_or(Refused::TooManyStreams)?;
        let forgotten = self.streams.remove(&name).expect("found just now");
        for core in forgotten.listeners {
            self.boxes[core].post(Letter::Unwatch { stream: Arc::clone(&name) });
        }
        Ok(())
    }

    fn write(&mut self, name: &str, question: WriteQuestion) -> Result<Outcome, Refused> {
        let WriteQuestion { mut operation, key } = question;
        let is_first = !self.streams.get(name).is_some_and(|resident| resident.stream.exists());
        if is_first {
            self.claim(name, &operation.change)?;
        }
        let room = self.settings.documents_bytes.saturating_sub(self.totals.documents_bytes.load(Ordering::Relaxed));
        let resident = self.resident(name);
        if is_first {
            resident.stream.begin(clock::fresh_epoch());
            resident.secret = clock::random();
        }
        operation.key = key.map(|(key, fingerprint)| IdempotencyKey {
            hash: keys::hash(&resident.secret, key.as_bytes()),
            fingerprint,
        });
        let (before, was_open) = (resident.stream.documents().bytes(), resident.stream.has_open_group());
        let outcome = resident.stream.commit(&operation, clock::unix_ms(), room);
        let (after, is_open) = (resident.stream.documents().bytes(), resident.stream.has_open_group());
        let name = Arc::clone(&resident.name);
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
        resident.stream.retract();
        if resident.listeners.is_empty() {
            self.streams.remove(name);
        }
    }

    /// Counts a stream that is about to be written for the first time.
    fn claim(&self, name: &str, change: &Change) -> Result<(), Refused> {
        match change {
            Change::Create { .. } | Change::Put(_) => {}
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
        if self.settings.durability == Durability::None {
            self.persist_touched();
        }
        self.disk.enter();
        for (name, result) in self.disk.take_done() {
            self.finish(&name, result);
        }
    }

    /// What was committed goes to the disk.
    pub(super) fn persist_touched(&mut self) {
        for name in std::mem::take(&mut self.touched) {
            self.persist(&name);
        }
        self.disk.enter();
    }

    /// Whether a turn would do something at once.
    pub(super) fn is_due(&self) -> bool {
        self.disk.has_done() || !self.touched.is_empty()
    }

    fn persist(&mut self, name: &Arc<str>) {
        let resident = self.streams.get_mut(name).expect("a touched stream is here");
        if resident.phase != Phase::Idle || resident.stream.failure().is_some() || !resident.stream.has_open_group() {
            return;
        }
        let is_full = |files: &disk::Files| resident.stream.sealed_end() - files.base >= self.settings.segment_bytes;
        if resident.files.as_ref().is_none_or(is_full) {
            let manifest = resident.first_manifest(self.settings.durability);
            let errand = Errand::Open {
                stream: Arc::clone(name),
                folder: Arc::clone(&resident.folder),
                manifest,
                first: resident.stream.persisted_sequence() + 1,
                base: resident.stream.sealed_end(),
                sealed: resident.files.take(),
            };
            resident.phase = Phase::Opening;
            self.clerk.ask(self.core, errand);
            return;
        }
        let sealed: Sealed = resident.stream.seal(clock::unix_ms()).expect("a group is open, and none is in flight");
        if sealed.appended.is_new {
            for &core in &resident.listeners {
                let (stream, block) = (Arc::clone(name), Arc::clone(&sealed.appended.block));
                self.boxes[core].post(Letter::Block { stream, block });
            }
        }
        resident.phase = Phase::Writing;
        let files = resident.files.as_mut().expect("checked above");
        self.disk.write(Arc::clone(name), files, sealed);
        if self.settings.durability == Durability::None {
            resident.publish(&self.boxes);
        }
    }

    /// The disk is done with a group.
    fn finish(&mut self, name: &Arc<str>, result: Result<(), io::Error>) {
        let resident = self.streams.get_mut(name).expect("a stream that is written is here");
        resident.phase = Phase::Idle;
        match result {
            // It failed while this group was under way: what was taken back isn't told.
            Ok(()) if resident.stream.failure().is_some() => {}
            Ok(()) => {
                if self.settings.durability != Durability::None {
                    resident.publish(&self.boxes);
                }
                self.checkpoint(name);
                self.touched.push(Arc::clone(name));
            }
            Err(error) => self.fail(name, &error),
        }
    }

    /// No descriptor was left for a segment: whoever waits gets 503, and may try again.
    fn put_off(&mut self, name: &Arc<str>, error: &io::Error) {
        let resident = self.streams.get_mut(name).expect("a stream that is written is here");
        tracing::error!(stream = %name, %error, "no segment can be opened; what was to be written is refused");
        let before = resident.stream.documents().bytes();
        resident.put_off(&self.boxes);
        self.totals.add(resident.stream.documents().bytes(), before);
    }

    /// A failed disk write is never retried in hope: whoever waits gets 503, and readers go on with what is durable.
    fn fail(&mut self, name: &Arc<str>, error: &io::Error) {
        let resident = self.streams.get_mut(name).expect("a stream that is written is here");
        tracing::error!(stream = %name, %error, "the log can't be written; the stream refuses writes until restart");
        let before = resident.stream.documents().bytes();
        resident.fail(format!("its log can't be written ({error}); the next start looks at it again"), &self.boxes);
        self.totals.add(resident.stream.documents().bytes(), before);
        // The next start must not believe what only the page cache has.
        if let Some(manifest) = resident.manifest(State::Failed) {
            let (stream, folder) = (Arc::clone(name), Arc::clone(&resident.folder));
            self.clerk.ask(self.core, Errand::Mark { stream, folder, manifest });
        }
    }

    /// Starts a checkpoint if the log has outgrown the last one, and puts a written one in place once the log up to it is
    /// durable.
    fn checkpoint(&mut self, name: &Arc<str>) {
        let resident = self.streams.get_mut(name).expect("a stream that is written is here");
        if let Some(errand) = resident.next_checkpoint(self.settings.checkpoint_bytes) {
            self.clerk.ask(self.core, errand);
        }
    }

    /// The clerk is done with an errand.
    pub(super) fn done(&mut self, done: Done) {
        match done {
            Done::Opened(name, Ok(files)) => {
                let resident = self.streams.get_mut(&name).expect("an errand's stream is here");
                resident.opened(files, &self.boxes);
                self.checkpoint(&name);
                self.touched.push(name);
            }
            Done::Opened(name, Err(error)) => match error.raw_os_error() {
                Some(libc::EMFILE | libc::ENFILE) => self.put_off(&name, &error),
                _ => self.fail(&name, &error),
            },
            Done::Marked(name, result) => {
                if let Err(error) = result {
                    tracing::error!(stream = %name, %error, "that the log failed couldn't be noted");
                }
            }
            Done::Written(name, result) => {
                let resident = self.streams.get_mut(&name).expect("an errand's stream is here");
                match result {
                    Ok(()) => resident.checkpoint_written(),
                    Err(error) => resident.checkpoint_failed(&error),
                }
                self.checkpoint(&name);
            }
            Done::Installed(name, result) => {
                let resident = self.streams.get_mut(&name).expect("an errand's stream is here");
                match result {
                    Ok(snapshot) => resident.checkpoint_installed(snapshot),
                    // A sync of the log failed: who waits for it may have been told by now, and nobody may be from here on.
                    Err(InstallError::Log(error)) => self.fail(&name, &error),
                    Err(InstallError::Snapshot(error)) => resident.checkpoint_failed(&error),
                }
            }
        }
    }

    /// What the disk has begun so far.
    pub(super) fn disk_counts(&self) -> disk::Counts {
        self.disk.counts()
    }

    /// Whether something committed isn't durable yet, or an errand is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.disk.is_busy() || self.is_due() || self.streams.values().any(Resident::is_busy)
    }

    /// The server ends: every log is whole and synced, and its manifest says so if the durability doesn't.
    pub(super) fn close(&mut self) {
        if self.settings.durability == Durability::Sync {
            return;
        }
        for resident in self.streams.values_mut() {
            let Some(files) = resident.files.as_ref().filter(|_| resident.stream.failure().is_none()) else { continue };
            let synced = files.log.sync_all().and_then(|()| {
                let manifest = resident.manifest(State::Clean).expect("a stream with files exists");
                folder::write_manifest(&resident.folder, &manifest)
            });
            if let Err(error) = synced {
                tracing::error!(stream = %resident.name, %error, "the log couldn't be closed; the next start opens an epoch");
            }
        }
    }
}
