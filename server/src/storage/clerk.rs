//! The threads that do what may take long: one opens, renames and syncs files, one writes checkpoints, so that no segment
//! waits for a large value.
//!
//! Cores send them errands and get a letter when they are done. A stream has at most one errand of each kind under way, so
//! the queues are bounded by the number of streams.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, unbounded};
use fantail_engine::document::Documents;
use fantail_engine::limits::KEY_AGE_MS_MAX;
use fantail_engine::log::errand::{self, InstallError};
use fantail_engine::log::manifest::Manifest;
use fantail_engine::log::segment::{self, Kind};
use fantail_engine::position::Position;

use super::disk::Files;
use super::folder::{self, Directory};
use super::snapshot::Snapshot;
use crate::memory;

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
        /// First sequence of the segment before it, to be sealed.
        sealed: Option<u64>,
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
        documents: Documents,
    },
    /// Remove segments that aren't retained any more.
    Drop {
        /// The stream.
        stream: Arc<str>,
        /// Its folder.
        folder: Arc<Path>,
        /// First sequences of the segments, oldest first.
        firsts: Vec<u64>,
    },
    /// Remove a stream that is deleted.
    Remove {
        /// The stream.
        stream: Arc<str>,
        /// Its folder.
        folder: Arc<Path>,
        /// What tells it from others that are removed.
        number: u64,
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
    /// The segments are removed.
    Dropped(Arc<str>, io::Result<()>),
    /// The stream's folder is no stream's any more.
    Removed(Arc<str>, io::Result<()>),
    /// The checkpoint is in place.
    Installed(Arc<str>, Result<Snapshot, InstallError>),
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
            Errand::Checkpoint { .. } | Errand::Install { .. } | Errand::Drop { .. } | Errand::Remove { .. } => {
                &self.checkpoints
            }
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
                let begun = errand::open(&Directory::new(&folder), manifest.as_ref(), sealed, first);
                Done::Opened(stream, begun.and_then(|()| open(&folder, first, base)))
            }
            Errand::Mark { stream, folder, manifest } => {
                Done::Marked(stream, errand::mark(&Directory::new(&folder), &manifest))
            }
            Errand::Checkpoint { stream, folder, position, documents } => {
                Done::Written(stream, errand::write_checkpoint(&Directory::new(&folder), position, &documents))
            }
            Errand::Drop { stream, folder, firsts } => Done::Dropped(stream, drop_segments(&folder, &firsts)),
            Errand::Remove { stream, folder, number } => Done::Removed(stream, remove(&folder, number)),
            Errand::Install { stream, folder, sequence, newest } => {
                Done::Installed(stream, install(&folder, sequence, newest))
            }
        }
    }
}

/// Opens the files of the segment that begins with the event `first`, and creates those of them that are missing.
///
/// # Errors
/// What the system says.
pub fn open(folder: &Path, first: u64, base: u64) -> io::Result<Files> {
    let file = |kind| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).open(folder.join(segment::name(first, kind)))
    };
    let (log, index, keys) = (file(Kind::Log)?, file(Kind::Index)?, file(Kind::Keys)?);
    folder::sync(folder)?;
    let (index_bytes, keys_bytes) = (index.metadata()?.len(), keys.metadata()?.len());
    Ok(Files { first, base, log, index, keys, index_bytes, keys_bytes })
}

fn install(folder: &Path, sequence: u64, newest: u64) -> Result<Snapshot, InstallError> {
    let checkpoint = errand::install(&Directory::new(folder), sequence, newest)?;
    let file = File::open(folder.join(segment::name(sequence, Kind::Checkpoint)))?;
    Ok(Snapshot::new(file, checkpoint))
}

/// Removes segments, then keys that nobody remembers any more.
fn drop_segments(folder: &Path, firsts: &[u64]) -> io::Result<()> {
    errand::drop_segments(&Directory::new(folder), firsts)?;
    let Some(last) = firsts.last() else { return Ok(()) };
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some((first, Kind::Keys)) = name.to_str().and_then(segment::parse_name) else { continue };
        let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
        if first <= *last && age.as_millis() > u128::from(KEY_AGE_MS_MAX) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Takes a stream's folder away, so that it isn't there after a crash, and removes what was in it.
fn remove(folder: &Path, number: u64) -> io::Result<()> {
    let data = folder.parent().expect("a stream's folder lies in the data folder");
    let gone = data.join(format!("{}{number}", folder::DELETED));
    match fs::rename(folder, &gone) {
        // It was followed, and never written.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed?,
    }
    folder::sync(data)?;
    if let Err(error) = fs::remove_dir_all(&gone) {
        tracing::warn!(folder = %gone.display(), %error, "a deleted stream's files stay until the next start");
    }
    Ok(())
}
