//! The threads that do what may take long: one opens, renames and syncs files, one writes checkpoints, so that no segment
//! waits for a large value.
//!
//! Cores send them errands and get a letter when they are done. A stream has at most one errand of each kind under way, so
//! the queues are bounded by the number of streams.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, unbounded};
use fantail_engine::document::Body;
use fantail_engine::log::checkpoint;
use fantail_engine::log::index::{self, Entry};
use fantail_engine::log::manifest::Manifest;
use fantail_engine::log::segment::{self, Kind};
use fantail_engine::position::Position;

use super::disk::Files;
use super::folder;
use super::snapshot::{Snapshot, SnapshotError};
use crate::memory;

/// A collection as a checkpoint takes it: path, sequence of its last change, documents by id.
pub type Copied = (Box<str>, u64, Vec<(Box<str>, Body)>);

/// What a core wants done.
pub enum Errand {
    /// Begin a segment; for a new stream its folder and manifest too.
    Open {
        /// The stream.
        stream: Arc<str>,
        /// Its folder.
        folder: Arc<Path>,
        /// The manifest of a stream that has no folder yet.
        manifest: Option<Manifest>,
        /// Sequence of the segment's first event.
        first: u64,
        /// Offset of its first byte in the log.
        base: u64,
        /// The segment before it, to be sealed.
        sealed: Option<Files>,
    },
    /// Note in the manifest that the log failed.
    Mark {
        /// The stream.
        stream: Arc<str>,
        /// Its folder.
        folder: Arc<Path>,
        /// The manifest that says so.
        manifest: Manifest,
    },
    /// Write a stream's whole value; it is not in place yet.
    Checkpoint {
        /// The stream.
        stream: Arc<str>,
        /// Its folder.
        folder: Arc<Path>,
        /// What the value reflects.
        position: Position,
        /// The value.
        collections: Vec<Copied>,
    },
    /// Put a written checkpoint in place: the log up to it is durable now, or is made so.
    Install {
        /// The stream.
        stream: Arc<str>,
        /// Its folder.
        folder: Arc<Path>,
        /// Sequence of the checkpoint.
        sequence: u64,
        /// First sequence of the newest segment, which is synced before.
        newest: u64,
    },
}

/// What came of an errand.
pub enum Done {
    /// The segment is there, in a folder that is durable.
    Opened(Arc<str>, io::Result<Files>),
    /// The failure is noted.
    Marked(Arc<str>, io::Result<()>),
    /// The checkpoint is written.
    Written(Arc<str>, io::Result<()>),
    /// The checkpoint is in place.
    Installed(Arc<str>, Result<Snapshot, InstallError>),
}

/// Why a checkpoint isn't in place.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The log up to it couldn't be synced: that is the log's failure.
    #[error("the log can't be synced: {0}")]
    Log(io::Error),
    /// The checkpoint itself is at fault.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

impl From<io::Error> for InstallError {
    fn from(error: io::Error) -> InstallError {
        InstallError::Snapshot(error.into())
    }
}

/// What a thread is sent: who asks for what, or that nobody will any more.
enum Message {
    Errand(usize, Errand),
    End,
}

/// The threads' address.
#[derive(Clone)]
pub struct Clerk {
    files: Sender<Message>,
    checkpoints: Sender<Message>,
}

impl Clerk {
    /// Starts the threads; each calls what `report` makes with the core that asked and what came of the errand. They end
    /// after [`Clerk::end`].
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn start<R: Fn(usize, Done) + Send + 'static>(
        report: impl Fn() -> R,
    ) -> io::Result<(Clerk, [JoinHandle<()>; 2])> {
        let (files, files_thread) = run("files", report())?;
        let (checkpoints, checkpoints_thread) = run("checkpoints", report())?;
        Ok((Clerk { files, checkpoints }, [files_thread, checkpoints_thread]))
    }

    /// Lets the threads end once everything asked before is done.
    ///
    /// # Panics
    /// If they were asked before.
    pub fn end(&self) {
        for thread in [&self.files, &self.checkpoints] {
            thread.send(Message::End).expect("the clerk is ended once");
        }
    }

    /// Asks for something to be done; the answer comes as a letter to `core`.
    ///
    /// # Panics
    /// If the threads are gone: they outlive the cores.
    pub fn ask(&self, core: usize, errand: Errand) {
        let thread = match errand {
            Errand::Open { .. } | Errand::Mark { .. } => &self.files,
            Errand::Checkpoint { .. } | Errand::Install { .. } => &self.checkpoints,
        };
        thread.send(Message::Errand(core, errand)).expect("the clerk outlives the cores");
    }
}

fn run(name: &str, report: impl Fn(usize, Done) + Send + 'static) -> io::Result<(Sender<Message>, JoinHandle<()>)> {
    let (messages, inbox): (_, Receiver<Message>) = unbounded();
    let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
        while let Ok(Message::Errand(core, errand)) = inbox.recv() {
            report(core, errand.run());
            memory::give_back();
        }
    })?;
    Ok((messages, thread))
}

impl Errand {
    fn run(self) -> Done {
        match self {
            Errand::Open { stream, folder, manifest, first, base, sealed } => {
                let opened = seal(sealed).and_then(|()| begin(&folder, manifest.as_ref(), first, base));
                Done::Opened(stream, opened)
            }
            Errand::Mark { stream, folder, manifest } => Done::Marked(stream, mark(&folder, &manifest)),
            Errand::Checkpoint { stream, folder, position, collections } => {
                let written = write_checkpoint(&folder, position, &collections);
                Done::Written(stream, written.inspect_err(|_| discard(&folder, position.sequence)))
            }
            Errand::Install { stream, folder, sequence, newest } => {
                let installed = install(&folder, sequence, newest);
                Done::Installed(stream, installed.inspect_err(|_| discard(&folder, sequence)))
            }
        }
    }
}

/// Makes a full segment durable and adds the postings to its index.
fn seal(files: Option<Files>) -> io::Result<()> {
    let Some(Files { log, mut index, .. }) = files else { return Ok(()) };
    log.sync_all()?;
    seal_index(&mut index)
}

/// Adds the postings to an index whose segment is full.
///
/// # Errors
/// What the system says.
pub fn seal_index(file: &mut File) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; file.metadata()?.len() as usize];
    file.read_exact_at(&mut bytes, 0)?;
    let entries: Vec<Entry> = bytes.as_chunks::<{ Entry::BYTES }>().0.iter().map(Entry::decode).collect();
    file.write_all_at(&index::seal(&entries), bytes.len() as u64)?;
    file.sync_all()
}

/// Creates or opens the files of a segment that begins with the event `first`.
///
/// # Errors
/// What the system says.
pub fn open(folder: &Path, manifest: Option<&Manifest>, first: u64, base: u64) -> io::Result<Files> {
    if let Some(manifest) = manifest {
        fs::create_dir_all(folder)?;
        folder::write_manifest(folder, manifest)?;
        folder::sync(folder.parent().expect("a stream's folder lies in the data folder"))?;
    }
    let file = |kind| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).open(folder.join(segment::name(first, kind)))
    };
    let (log, index, keys) = (file(Kind::Log)?, file(Kind::Index)?, file(Kind::Keys)?);
    folder::sync(folder)?;
    let (index_bytes, keys_bytes) = (index.metadata()?.len(), keys.metadata()?.len());
    Ok(Files { first, base, log, index, keys, index_bytes, keys_bytes })
}

/// Begins a segment that isn't there yet.
fn begin(folder: &Path, manifest: Option<&Manifest>, first: u64, base: u64) -> io::Result<Files> {
    let is_taken = || io::Error::new(io::ErrorKind::AlreadyExists, "there is a segment where a new one was to begin");
    // As when a manifest was lost: what is there isn't ours to write over, nor to begin another log beside.
    if manifest.is_some() && has_log(folder)? {
        return Err(is_taken());
    }
    let files = open(folder, manifest, first, base)?;
    match files.log.metadata()?.len() {
        0 => Ok(files),
        _ => Err(is_taken()),
    }
}

/// Whether a folder, which may be missing, holds a segment with anything in it.
fn has_log(folder: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_name().to_str().and_then(segment::parse_name).map(|(_, kind)| kind);
        if kind == Some(Kind::Log) && entry.metadata()?.len() > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Notes in a stream's manifest that its log failed. Where there is none, the next start believes nothing anyway; and if it
/// was lost, another one would be a lie.
fn mark(folder: &Path, manifest: &Manifest) -> io::Result<()> {
    match folder::read_manifest(folder)? {
        Some(_) => folder::write_manifest(folder, manifest),
        None => Ok(()),
    }
}

/// Removes what there is of a checkpoint that failed: it may be what fills the disk.
fn discard(folder: &Path, sequence: u64) {
    match fs::remove_file(unfinished(folder, sequence)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(folder = %folder.display(), %error, "an unfinished checkpoint can't be removed"),
    }
}

fn unfinished(folder: &Path, sequence: u64) -> PathBuf {
    folder.join(format!("{}.unfinished", segment::name(sequence, Kind::Checkpoint)))
}

fn write_checkpoint(folder: &Path, position: Position, collections: &[Copied]) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(unfinished(folder, position.sequence))?);
    let collections = collections
        .iter()
        .map(|(path, changed, documents)| (&**path, *changed, documents.iter().map(|(id, body)| (&**id, &**body))));
    checkpoint::encode(position, collections, &mut |bytes: &[u8]| file.write_all(bytes))?;
    file.into_inner().map_err(|error| error.into_error())?.sync_all()
}

/// The newest checkpoint and the one before it stay: a damaged one is passed over at the next start.
fn install(folder: &Path, sequence: u64, newest: u64) -> Result<Snapshot, InstallError> {
    // Opened anew: a descriptor of the ring's would take the news of a failed sync from it.
    let log = File::open(folder.join(segment::name(newest, Kind::Log)))?;
    log.sync_all().map_err(InstallError::Log)?;
    let path = folder.join(segment::name(sequence, Kind::Checkpoint));
    fs::rename(unfinished(folder, sequence), &path)?;
    folder::sync(folder)?;
    let snapshot = Snapshot::open(&path)?;
    let mut sequences = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if let Some((sequence, Kind::Checkpoint)) = name.to_str().and_then(segment::parse_name) {
            sequences.push(sequence);
        }
    }
    sequences.sort_unstable();
    sequences.truncate(sequences.len().saturating_sub(2));
    for old in sequences {
        fs::remove_file(folder.join(segment::name(old, Kind::Checkpoint)))?;
    }
    Ok(snapshot)
}
