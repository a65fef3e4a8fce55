//! Parts of files as memory: mapped and populated by a thread of its own, so that a page that the system doesn't have in
//! memory never stalls a core.
//!
//! A core asks for a page and gets it by letter; it holds a bounded number of them (`audience/pages.rs`). A descriptor lives
//! only while a page is mapped, but for that of a checkpoint, whose file may be removed while it is read.
//!
//! What the page of a sealed segment holds was verified: before the first page of it is given out, all of the segment is read
//! once. Segments that aren't sealed were verified at the start, or written since.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use crossbeam::channel::{Receiver, Sender, unbounded};
use fantail_engine::log::index::{Entry, Index, IndexError};
use fantail_engine::log::segment::{self, Check, Kind, Loss};
use memmap2::{Advice, Mmap, MmapOptions};
use rustc_hash::FxHashSet;

use super::index;
use super::snapshot::Snapshot;
use crate::limits::{CHECK_BYTES, PAGE_BYTES, VERIFIED_MAX};
use crate::memory;

/// A stream's folder for as long as it holds the same log.
#[derive(Debug)]
pub struct Volume {
    /// Where it is.
    pub folder: Arc<Path>,
    /// No other volume or checkpoint of this process has the same.
    pub number: u64,
    /// Whether the stream is deleted: the folder of this name is another log's then.
    is_gone: AtomicBool,
}

impl Volume {
    /// The volume of a log in `folder`.
    #[must_use]
    pub fn new(folder: Arc<Path>) -> Arc<Volume> {
        Arc::new(Volume { folder, number: fresh_number(), is_gone: AtomicBool::new(false) })
    }

    /// From now on nothing is read of it: its stream is about to be deleted.
    pub fn retire(&self) {
        self.is_gone.store(true, Ordering::Release);
    }

    /// A file of it.
    ///
    /// # Errors
    /// What the system says; `NotFound` if the file may be another log's.
    fn open(&self, first: u64, kind: Kind) -> io::Result<File> {
        let file = File::open(self.folder.join(segment::name(first, kind)));
        // Looked at afterwards: what was opened before is ours.
        match self.is_gone.load(Ordering::Acquire) {
            true => Err(io::ErrorKind::NotFound.into()),
            false => file,
        }
    }
}

/// A number that names a volume or a checkpoint in this process.
pub(super) fn fresh_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Names a page: whose it is, of which file, and where it begins there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    /// The number of the volume or the checkpoint.
    pub owner: u64,
    /// The file.
    pub sheet: Sheet,
    /// Offset of its first byte in the file, a multiple of `PAGE_BYTES`.
    pub start: u64,
}

/// A file of a volume.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sheet {
    /// The segment that begins with this event.
    Segment(u64),
    /// Its index, which is mapped whole.
    Index(u64),
    /// The checkpoint that the owner is.
    Snapshot,
}

/// What is to be mapped.
pub struct Request {
    /// Its name.
    pub key: Key,
    /// Where it is.
    pub source: Source,
}

/// Where a page comes from.
pub enum Source {
    /// A segment of this volume, or its index; sealed or still written.
    Volume(Arc<Volume>, Seal),
    /// A checkpoint.
    Snapshot(Arc<Snapshot>),
}

/// Whether a segment is still written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seal {
    /// It isn't: it can be verified whole, and its index has postings.
    Sealed,
    /// It is the newest one, and so many events of it are published and not in the tail.
    Open(u32),
}

/// A part of a file as memory.
pub struct Page {
    map: Mmap,
}

impl Page {
    /// Its bytes. Those of a file that still grows may only be touched as far as the file goes: what is published and not in
    /// the tail is.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }
}

/// What came of a request.
pub struct Paged {
    /// What was asked for.
    pub key: Key,
    /// The page.
    pub result: Result<Page, Unpaged>,
}

/// Why a page can't be had.
#[derive(Debug, thiserror::Error)]
pub enum Unpaged {
    /// The system refuses.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The segment isn't whole.
    #[error("it is damaged at byte {}: {}", .0.offset, .0.reason)]
    Damaged(Loss),
    /// The index isn't one.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// The thread's address.
#[derive(Clone)]
pub struct Pager {
    requests: Sender<Message>,
}

enum Message {
    Request(usize, Request),
    End,
}

impl Pager {
    /// Starts the thread, which calls `report` with the core that asked and what came of it. It ends after [`Pager::end`].
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn start(report: impl Fn(usize, Paged) + Send + 'static) -> io::Result<(Pager, JoinHandle<()>)> {
        let (requests, inbox): (_, Receiver<Message>) = unbounded();
        let thread = thread::Builder::new().name("pages".into()).spawn(move || {
            let mut verified = FxHashSet::default();
            while let Ok(Message::Request(core, request)) = inbox.recv() {
                let result = request.map(&mut verified).inspect_err(|unpaged| request.complain(unpaged));
                report(core, Paged { key: request.key, result });
                memory::give_back();
            }
        })?;
        Ok((Pager { requests }, thread))
    }

    /// Asks for a page; it comes as a letter to `core`, which bounds how many it asks for at once.
    ///
    /// # Panics
    /// If the thread is gone: it outlives the cores.
    pub fn ask(&self, core: usize, request: Request) {
        self.requests.send(Message::Request(core, request)).expect("the pager outlives the cores");
    }

    /// Lets the thread end once everything asked before is done.
    ///
    /// # Panics
    /// If it was asked before.
    pub fn end(&self) {
        self.requests.send(Message::End).expect("the pager is ended once");
    }
}

impl Request {
    /// `verified` are the segments that were found whole, by their volume's number and their first sequence.
    fn map(&self, verified: &mut FxHashSet<(u64, u64)>) -> Result<Page, Unpaged> {
        match (&self.source, self.key.sheet) {
            (Source::Volume(volume, seal), Sheet::Segment(first)) => {
                let file = volume.open(first, Kind::Log)?;
                if *seal == Seal::Sealed && !verified.contains(&(volume.number, first)) {
                    verify(&file, first)?;
                    if verified.len() == VERIFIED_MAX {
                        verified.clear();
                    }
                    verified.insert((volume.number, first));
                }
                Ok(map(&file, self.key.start, PAGE_BYTES)?)
            }
            (Source::Volume(volume, Seal::Sealed), Sheet::Index(first)) => {
                sealed_index(volume, first).or_else(|unpaged| {
                    // It holds no truth. If its segment is gone, so is the reader's cause.
                    let segment = volume.open(first, Kind::Log)?;
                    tracing::warn!(folder = %volume.folder.display(), segment = first, error = %unpaged, "an index is made anew");
                    index::remake(&volume.folder, &segment, first)?;
                    sealed_index(volume, first)
                })
            }
            (Source::Volume(volume, Seal::Open(entries)), Sheet::Index(first)) => {
                let file = volume.open(first, Kind::Index)?;
                // No more than is needed: it may be sealed at this moment, and its postings half written.
                Ok(map(&file, 0, u64::from(*entries) * Entry::BYTES as u64)?)
            }
            (Source::Snapshot(snapshot), Sheet::Snapshot) => Ok(map(snapshot.file(), self.key.start, PAGE_BYTES)?),
            (Source::Volume(..), Sheet::Snapshot) | (Source::Snapshot(_), Sheet::Segment(_) | Sheet::Index(_)) => {
                unreachable!("a checkpoint is no part of a volume")
            }
        }
    }
}

impl Request {
    /// Says what is wrong, and where. That a file isn't there is no fault: retention has removed it, and the letter that says so
    /// is under way.
    fn complain(&self, unpaged: &Unpaged) {
        if matches!(unpaged, Unpaged::Io(error) if error.kind() == io::ErrorKind::NotFound) {
            return;
        }
        let folder = match &self.source {
            Source::Volume(volume, _) => volume.folder.display().to_string(),
            Source::Snapshot(snapshot) => format!("checkpoint {}", snapshot.checkpoint.position),
        };
        let file = match self.key.sheet {
            Sheet::Segment(first) => segment::name(first, Kind::Log),
            Sheet::Index(first) => segment::name(first, Kind::Index),
            Sheet::Snapshot => String::new(),
        };
        tracing::error!(%folder, file, error = %unpaged, "history can't be read; who reads it is shown out");
    }
}

/// Maps `bytes` of the file from `start` on, and brings into memory what there is of them.
fn map(file: &File, start: u64, bytes: u64) -> io::Result<Page> {
    let there = file.metadata()?.len().saturating_sub(start).min(bytes) as usize;
    if there == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    // SAFETY: files of logs are only appended to, by this process alone (the folder's lock), and what is touched of the mapping
    // lies below `published`, so within the file; checkpoints never change.
    let map = unsafe { MmapOptions::new().offset(start).len(bytes as usize).map(file) }?;
    map.advise_range(Advice::PopulateRead, 0, there)?;
    Ok(Page { map })
}

/// The index of a sealed segment, whole and verified.
fn sealed_index(volume: &Volume, first: u64) -> Result<Page, Unpaged> {
    let file = volume.open(first, Kind::Index)?;
    let page = map(&file, 0, file.metadata()?.len())?;
    let index = Index::open(page.bytes())?;
    index.verify()?;
    match index.is_sealed() {
        true => Ok(page),
        false => Err(Unpaged::Index(IndexError::Length)),
    }
}

/// Reads all of a sealed segment.
fn verify(file: &File, first: u64) -> Result<(), Unpaged> {
    let (mut check, mut bytes, mut used) = (Check::new(first), Vec::new(), 0);
    loop {
        bytes.drain(..used);
        let read = file.take(CHECK_BYTES).read_to_end(&mut bytes)?;
        used = match read {
            0 => return check.end(&bytes).map_err(Unpaged::Damaged),
            _ => check.feed(&bytes).map_err(Unpaged::Damaged)?,
        };
        // The core may have no other CPU than this one.
        thread::yield_now();
    }
}
