//! A stream's home, and the disk and clerk that it has: it does what the journal says, one call of the system after the
//! other, in the order that the server does it. What is decided here is nothing.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use fantail_engine::log::block::Block;
use fantail_engine::log::checkpoint::Checkpoint;
use fantail_engine::log::errand::{self, InstallError};
use fantail_engine::log::folder::Folder;
use fantail_engine::log::manifest::{self, Durability, Manifest, State};
use fantail_engine::log::segment::{self, Kind};
use fantail_engine::log::view::{Span, View};
use fantail_engine::position::Position;
use fantail_engine::stream::Sealed;
use fantail_engine::stream::journal::{Journal, Step, Upkeep};

use crate::disk::{Disk, Handle};
use crate::follower::Beginning;

/// What a core is told.
pub(crate) enum Letter {
    Watch(View),
    Block(Arc<Block>),
    Segment(Span),
    Retained(u64),
    Published(Position, u64),
    /// The follower with this number begins here.
    Begin(usize, Box<Beginning>),
    /// The follower with this number is refused what it asked, and may come back.
    Refuse(usize, u64),
}

/// Who waits for a position to be durable.
pub(crate) enum Waiting {
    /// A writer.
    Writer,
    /// A follower on a core, and how it is to begin.
    Follower(usize, usize, Box<Beginning>),
}

/// The newest segment's files.
struct Files {
    first: u64,
    base: u64,
    log: Handle,
    index: Handle,
    keys: Handle,
    index_bytes: u64,
    keys_bytes: u64,
}

/// A group on its way to the disk.
struct Flight {
    sealed: Sealed,
    /// Calls that each wait for the one before it.
    calls: VecDeque<Call>,
    failure: Option<io::Error>,
}

#[derive(Clone, Copy)]
enum Call {
    WriteKeys,
    SyncKeys,
    WriteLog,
    SyncLog,
    WriteIndex,
}

/// A segment that is to be begun.
struct Opening {
    manifest: Option<Manifest>,
    first: u64,
    base: u64,
    /// The one before it.
    sealed: Option<u64>,
}

/// See the module.
pub(crate) struct Home {
    pub(crate) journal: Journal,
    durability: Durability,
    disk: Disk,
    files: Option<Files>,
    pub(crate) checkpoint: Option<(Vec<u8>, Checkpoint)>,
    flight: Option<Flight>,
    opening: Option<Opening>,
    upkeep: Option<Upkeep>,
    mark: Option<Manifest>,
    waiting: VecDeque<(u64, Waiting)>,
    told: u64,
    /// Cores that are told of the log.
    listeners: Vec<usize>,
    pub(crate) boxes: Vec<VecDeque<Letter>>,
    /// Sequence of the last event of the group that was written last, whatever came of it.
    pub(crate) written: u64,
    /// The bytes of the group that was sealed last.
    pub(crate) sealed: Vec<u8>,
    /// Bytes of the largest group so far.
    pub(crate) largest: usize,
}

impl Home {
    pub(crate) fn new(
        journal: Journal,
        durability: Durability,
        disk: Disk,
        checkpoint: Option<Checkpoint>,
        cores: usize,
    ) -> Home {
        let checkpoint = checkpoint.map(|checkpoint| {
            let name = segment::name(checkpoint.position.sequence, Kind::Checkpoint);
            (disk.read(&name).expect("a disk that reads").expect("a checkpoint in place"), checkpoint)
        });
        Home {
            told: journal.published(),
            written: journal.stream().persisted_sequence(),
            journal,
            durability,
            disk,
            files: None,
            checkpoint,
            flight: None,
            opening: None,
            upkeep: None,
            mark: None,
            waiting: VecDeque::new(),
            listeners: Vec::new(),
            boxes: (0..cores).map(|_| VecDeque::new()).collect(),
            sealed: Vec::new(),
            largest: 0,
        }
    }

    /// Opens the files of the segment that is to be written on.
    pub(crate) fn open(&mut self) -> io::Result<()> {
        let Some(newest) = self.journal.segments().back().copied() else { return Ok(()) };
        if self.journal.stream().failure().is_none() {
            self.files = Some(self.open_files(newest.first, newest.base)?);
        }
        Ok(())
    }

    fn open_files(&self, first: u64, base: u64) -> io::Result<Files> {
        let open = |kind| self.disk.open(&segment::name(first, kind));
        let (log, index, keys) = (open(Kind::Log)?, open(Kind::Index)?, open(Kind::Keys)?);
        self.disk.sync()?;
        let length = |file| self.disk.read_open(file).len() as u64;
        Ok(Files { first, base, log, index, keys, index_bytes: length(index), keys_bytes: length(keys) })
    }

    /// Makes whoever it is wait for what was appended so far.
    pub(crate) fn hold(&mut self, waiting: Waiting) {
        let sequence = self.journal.stream().position().sequence;
        match sequence <= self.journal.stream().persisted_sequence() {
            true => self.release(waiting),
            false => self.waiting.push_back((sequence, waiting)),
        }
    }

    fn release(&mut self, waiting: Waiting) {
        match waiting {
            Waiting::Writer => {}
            Waiting::Follower(core, number, beginning) => {
                self.boxes[core].push_back(Letter::Begin(number, beginning));
            }
        }
    }

    /// From now on the core is told everything about the log.
    pub(crate) fn listen(&mut self, core: usize) {
        if !self.listeners.contains(&core) {
            self.listeners.push(core);
            self.boxes[core].push_back(Letter::Watch(self.journal.view()));
        }
    }

    fn post(&mut self, letter: impl Fn() -> Letter) {
        for core in &self.listeners {
            self.boxes[*core].push_back(letter());
        }
    }

    /// Begins whatever is due.
    pub(crate) fn advance(&mut self, now_ms: u64) {
        match self.journal.step(now_ms) {
            Some(Step::Open { manifest, first, base, sealed }) => {
                self.files = None;
                self.opening = Some(Opening { manifest, first, base, sealed });
            }
            Some(Step::Write(sealed)) => self.write(sealed),
            None => {}
        }
        if let Some(upkeep) = self.journal.upkeep(now_ms) {
            assert!(self.upkeep.is_none(), "one errand of upkeep at a time");
            if let Upkeep::Drop(_) = upkeep {
                let first = self.journal.stream().earliest();
                self.post(|| Letter::Retained(first));
            }
            self.upkeep = Some(upkeep);
        }
    }

    fn write(&mut self, sealed: Sealed) {
        assert!(self.flight.is_none() && self.opening.is_none(), "one group in flight, to a segment that is open");
        let files = self.files.as_ref().expect("a group goes to an open segment");
        assert!(
            files.first <= sealed.first && files.base <= sealed.appended.start,
            "a group goes to the newest segment"
        );
        if sealed.appended.is_new {
            let block = Arc::clone(&sealed.appended.block);
            self.post(|| Letter::Block(Arc::clone(&block)));
        }
        let is_synced = self.durability == Durability::Sync;
        let mut calls = VecDeque::new();
        if !sealed.keys.is_empty() {
            calls.push_back(Call::WriteKeys);
            calls.extend(is_synced.then_some(Call::SyncKeys));
        }
        calls.push_back(Call::WriteLog);
        calls.extend(is_synced.then_some(Call::SyncLog));
        // Nobody waits for the index but the group's end: it goes anywhere in between.
        calls.insert(sealed.last as usize % (calls.len() + 1), Call::WriteIndex);
        self.written = sealed.last;
        self.sealed = sealed.appended.bytes().to_vec();
        self.largest = self.largest.max(self.sealed.len());
        self.flight = Some(Flight { sealed, calls, failure: None });
        self.publish();
    }

    /// Tells the listeners how far the log may be shown, and answers whoever waits for that.
    fn publish(&mut self) {
        if self.told == self.journal.published() {
            return;
        }
        self.told = self.journal.published();
        let position = self.journal.stream().position_at(self.journal.stream().persisted_sequence());
        let told = self.told;
        self.post(|| Letter::Published(position, told));
        while self.waiting.front().is_some_and(|(sequence, _)| *sequence <= position.sequence) {
            let (_, waiting) = self.waiting.pop_front().expect("there is one");
            self.release(waiting);
        }
    }

    /// The next call of the group in flight. True once the journal was told of its end.
    pub(crate) fn call(&mut self) -> bool {
        let Some(flight) = &mut self.flight else { return false };
        let Some(call) = flight.calls.pop_front() else {
            let flight = self.flight.take().expect("there is one");
            match flight.failure {
                None => {
                    self.journal.written();
                    self.publish();
                }
                Some(error) => self.fail(&error, Journal::fail_step),
            }
            return true;
        };
        // It may have failed meanwhile, and its files are still these.
        let files = self.files.as_mut().expect("the files of a group in flight stay open");
        let (disk, sealed) = (&self.disk, &flight.sealed);
        let result = match call {
            Call::WriteKeys => {
                files.keys_bytes += sealed.keys.len() as u64;
                disk.write(files.keys, files.keys_bytes - sealed.keys.len() as u64, &sealed.keys)
            }
            Call::SyncKeys => disk.sync_open(files.keys),
            Call::WriteLog => disk.write(files.log, sealed.appended.start - files.base, sealed.appended.bytes()),
            Call::SyncLog => disk.sync_open(files.log),
            Call::WriteIndex => {
                let entries = sealed.index_entries(files.base);
                files.index_bytes += entries.len() as u64;
                disk.write(files.index, files.index_bytes - entries.len() as u64, &entries)
            }
        };
        if let Err(error) = result {
            // The rest of the chain isn't tried; the index is none of it.
            flight.calls.retain(|rest| matches!((call, rest), (Call::WriteIndex, _) | (_, Call::WriteIndex)));
            flight.failure.get_or_insert(error);
        }
        false
    }

    /// No descriptor is left to open the segment with that is to be opened.
    pub(crate) fn put_off(&mut self) {
        if self.opening.take().is_some() {
            self.journal.put_off();
            self.refuse();
        }
    }

    fn fail(&mut self, error: &io::Error, fail: impl FnOnce(&mut Journal, String) -> Option<Manifest>) {
        self.mark = fail(&mut self.journal, error.to_string());
        self.refuse();
    }

    /// Says to all that wait that what they wait for was taken back.
    fn refuse(&mut self) {
        for (_, waiting) in std::mem::take(&mut self.waiting) {
            if let Waiting::Follower(core, number, beginning) = waiting {
                self.boxes[core].push_back(Letter::Refuse(number, beginning.question));
            }
        }
    }

    /// Opens the segment that is to be opened.
    pub(crate) fn run_opening(&mut self) {
        let Some(Opening { manifest, first, base, sealed }) = self.opening.take() else { return };
        let begun = errand::open(&self.disk, manifest.as_ref(), sealed, first);
        match begun.and_then(|()| self.open_files(first, base)) {
            Ok(files) => {
                self.files = Some(files);
                self.journal.opened();
                if let Some(segment) = self.journal.segments().back().copied() {
                    self.post(|| Letter::Segment(segment));
                }
            }
            Err(error) => self.fail(&error, Journal::fail_step),
        }
    }

    /// Does what bounds the log.
    pub(crate) fn run_upkeep(&mut self, now_ms: u64) {
        match self.upkeep.take() {
            None => {}
            Some(Upkeep::Checkpoint { position, documents }) => {
                let written = errand::write_checkpoint(&self.disk, position, &documents);
                self.journal.checkpoint_written(written.map_err(drop), now_ms);
            }
            Some(Upkeep::Install { sequence, newest }) => match errand::install(&self.disk, sequence, newest) {
                Ok(checkpoint) => {
                    self.journal.checkpoint_installed(checkpoint.closing.end);
                    let bytes = self.disk.read(&segment::name(sequence, Kind::Checkpoint)).expect("a disk that reads");
                    self.checkpoint = Some((bytes.expect("it was put there"), checkpoint));
                }
                Err(InstallError::Log(error)) => self.fail(&error, Journal::fail_install),
                Err(InstallError::Io(_) | InstallError::Damaged(_)) => self.journal.checkpoint_refused(now_ms),
            },
            Some(Upkeep::Drop(firsts)) => {
                let dropped = errand::drop_segments(&self.disk, &firsts);
                self.journal.dropped(dropped.map_err(drop));
            }
        }
    }

    /// Notes that the log has failed.
    pub(crate) fn run_mark(&mut self) {
        if let Some(manifest) = self.mark.take() {
            drop(self.disk.replace(manifest::FILE, &manifest.encode()));
        }
    }

    /// A segment is damaged: what came before isn't served any more.
    pub(crate) fn give_up(&mut self, segment: u64) {
        if self.journal.give_up(segment) {
            let first = self.journal.stream().earliest();
            self.post(|| Letter::Retained(first));
        }
    }

    /// Whether something waits to be done, or is being done.
    pub(crate) fn is_busy(&self) -> bool {
        self.flight.is_some()
            || self.opening.is_some()
            || self.upkeep.is_some()
            || self.mark.is_some()
            || self.journal.is_busy()
    }

    /// The server ends as it should. True if the manifest says so.
    pub(crate) fn close(&mut self) -> bool {
        let Some(files) = self.files.as_ref().filter(|_| self.journal.stream().failure().is_none()) else {
            return false;
        };
        if self.durability == Durability::Sync {
            return false;
        }
        let manifest = self.journal.manifest(State::Clean).expect("a stream with files exists");
        errand::close(&self.disk, files.first, &manifest).is_ok()
    }
}
