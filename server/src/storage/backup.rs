//! A backup: a copy of streams while a server writes them, each as it was at one position.
//!
//! Checkpoints are copied before the log: whatever was a checkpoint then, the log that is copied after reaches it. Of the log
//! only whole groups are kept, and each copy is read and judged before it counts; indexes are made from the copies. A
//! stream's manifest comes last, and the folder is marked as partial until all is there and durable. So what has no mark is
//! whole.
//!
//! If the server drops a segment, or deletes the stream, under the copy, that stream is begun again. The manifest of a copy
//! says `open none`: a server that is started on it directly opens a new epoch, as [`restore`](super::restore) does.
//!
//! Memory: one segment and its index.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fantail_engine::document;
use fantail_engine::log::audit::{self, Ending, Finding};
use fantail_engine::log::index::{self, Form};
use fantail_engine::log::keys;
use fantail_engine::log::manifest::{Durability, Manifest, State};
use fantail_engine::log::segment::{self, Kind};
use fantail_engine::position::Position;

use super::folder;
use super::listing::{self, Extent, Listing, ListingError};
use super::snapshot::Snapshot;
use crate::limits::LOOKS_MAX;

/// What of a stream is in a backup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Copied {
    /// The stream's name.
    pub name: String,
    /// What is there.
    pub extent: Extent,
    /// Bytes at the log's end that aren't a whole group, and are left out: of one that is being written, or was when a server
    /// crashed.
    pub torn_bytes: u64,
}

/// Why a stream isn't in a backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Something can't be read or written.
    #[error(transparent)]
    Listing(#[from] ListingError),
    /// The log is damaged, or events of it are missing.
    #[error("{} byte {}: {}", file.display(), finding.offset, finding.wrong)]
    Damaged {
        /// The file that was copied.
        file: PathBuf,
        /// What is wrong with it.
        finding: Finding,
    },
    /// It was deleted or dropped segments each time that it was copied.
    #[error("{} changed {LOOKS_MAX} times while it was copied", .0.display())]
    Restless(PathBuf),
}

/// Why a folder can't take a backup, or can't be restored into.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The system refuses.
    #[error("{}: {error}", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// There is something in it.
    #[error("{} isn't empty", .0.display())]
    Occupied(PathBuf),
    /// It is the data folder, or lies in it.
    #[error("{} lies in the data folder", .0.display())]
    Within(PathBuf),
}

/// Makes the folder for a backup of `data`, durably, and marks it as partial; returns its canonical path.
///
/// # Errors
/// There is something in it, it lies in the data folder, or the system refuses.
pub fn begin(data: &Path, target: &Path) -> Result<PathBuf, TargetError> {
    let failed = |error| TargetError::Io { path: target.into(), error };
    // Looked at before anything is made: a folder in the data folder would be taken for a stream.
    let missing = target.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).count();
    let existing = target.ancestors().nth(missing).filter(|path| !path.as_os_str().is_empty());
    let existing = existing.unwrap_or(Path::new(".")).canonicalize().map_err(failed)?;
    if existing.starts_with(data.canonicalize().map_err(failed)?) {
        return Err(TargetError::Within(target.into()));
    }
    fs::create_dir_all(target).map_err(failed)?;
    let path = target.canonicalize().map_err(failed)?;
    path.ancestors().skip(1).take(missing).try_for_each(folder::sync).map_err(failed)?;
    match folder::is_empty(&path).map_err(failed)? {
        true => folder::begin(&path).map_err(failed)?,
        false => return Err(TargetError::Occupied(path)),
    }
    Ok(path)
}

/// Says that all streams are in the backup in `target`.
///
/// # Errors
/// What the system says; it counts as partial then.
pub fn end(target: &Path) -> Result<(), TargetError> {
    folder::end(target).map_err(|error| TargetError::Io { path: target.into(), error })
}

/// Copies the stream in the folder `stream` to the backup in `target`. None if it is deleted, or was never finished.
///
/// # Errors
/// The log is damaged, the system refuses, or the stream changed each time.
pub fn copy(stream: &Path, target: &Path) -> Result<Option<Copied>, BackupError> {
    let folder = target.join(stream.file_name().unwrap_or_default());
    let mut known = None;
    for _ in 0..LOOKS_MAX {
        match attempt(stream, &folder) {
            Ok(Attempt::Done(copied)) => return Ok(Some(copied)),
            Ok(Attempt::Gone) => return Ok(None),
            Ok(Attempt::Changed) => {}
            // A folder isn't listed in one instant: what is damage stays where it is.
            Err(BackupError::Damaged { file, finding }) if known.as_ref() != Some(&(file.clone(), finding.clone())) => {
                known = Some((file, finding));
            }
            Err(error) => return Err(error),
        }
    }
    Err(BackupError::Restless(stream.into()))
}

/// What came of one attempt to copy a stream.
enum Attempt {
    Done(Copied),
    /// There is no such stream any more.
    Gone,
    /// It changed so that what was copied doesn't fit together.
    Changed,
}

fn attempt(stream: &Path, target: &Path) -> Result<Attempt, BackupError> {
    let io = ListingError::io(target);
    match fs::remove_dir_all(target) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io(error).into()),
    }
    let Some(manifest) = listing::manifest(stream)? else { return Ok(Attempt::Gone) };
    fs::create_dir(target).map_err(&io)?;
    let listing = Listing::of(stream)?;
    let mut copy = Copy { stream, target, manifest: &manifest };
    let copied = copy.checkpoints(&listing.checkpoints).and_then(|newest| copy.log(&listing, newest));
    let now = listing::manifest(stream)?;
    let is_same = |now: &Manifest| now.epochs == manifest.epochs && now.secret == manifest.secret;
    match copied {
        Err(Stop::Changed) => Ok(Attempt::Changed),
        _ if !now.as_ref().is_some_and(is_same) => Ok(Attempt::Changed),
        Err(Stop::Failed(error)) => Err(error),
        Ok(copied) => {
            let state = State::Open(Durability::None);
            folder::write_manifest(target, &Manifest { state, ..manifest.clone() }).map_err(&io)?;
            Ok(Attempt::Done(copied))
        }
    }
}

/// Why a copy ends early.
enum Stop {
    /// What was listed isn't there any more.
    Changed,
    Failed(BackupError),
}

struct Copy<'a> {
    stream: &'a Path,
    target: &'a Path,
    manifest: &'a Manifest,
}

impl Copy<'_> {
    /// Copies the checkpoints that are whole; returns their sequences, the newest one first.
    fn checkpoints(&mut self, sequences: &[u64]) -> Result<Vec<u64>, Stop> {
        let mut whole = Vec::new();
        for &sequence in sequences.iter().rev() {
            let name = segment::name(sequence, Kind::Checkpoint);
            match self.file(&name) {
                Ok(_) => {}
                // A newer one has come: the one before the newest goes.
                Err(Stop::Changed) if !whole.is_empty() => continue,
                Err(stop) => return Err(stop),
            }
            let copy = self.target.join(&name);
            match Snapshot::open(&copy) {
                Ok(_) => whole.push(sequence),
                Err(error) => {
                    tracing::error!(file = %self.stream.join(&name).display(), %error, "a damaged checkpoint is left out");
                    fs::remove_file(&copy).map_err(|error| failed(&copy, error))?;
                }
            }
        }
        Ok(whole)
    }

    fn log(&mut self, listing: &Listing, checkpoints: Vec<u64>) -> Result<Copied, Stop> {
        let first = listing.segments.first().copied().unwrap_or(1);
        let (segments, whole) = (listing.segments.len(), checkpoints.len());
        let extent = Extent { first, last: Position::ORIGIN, bytes: 0, segments, checkpoints: whole };
        let mut copied = Copied { name: self.manifest.name.clone(), extent, torn_bytes: 0 };
        let newest = checkpoints.first().copied().unwrap_or(0);
        let (mut last, mut expected) = (first - 1, first.min(newest + 1));
        for (at, &first) in listing.segments.iter().enumerate() {
            if first != expected {
                let wrong = audit::Wrong::Gap { expected, found: first };
                return Err(self.damaged(&segment::name(first, Kind::Log), Finding { offset: 0, wrong }));
            }
            let form = if at + 1 == listing.segments.len() { Form::Open } else { Form::Sealed };
            last = self.segment(first, form, &mut copied)?;
            expected = last + 1;
        }
        if last < newest {
            let wrong = audit::Wrong::Place(Position { epoch: self.manifest.epochs.at(newest), sequence: newest });
            return Err(self.damaged(&segment::name(newest, Kind::Checkpoint), Finding { offset: 0, wrong }));
        }
        copied.extent.last = Position { epoch: self.manifest.epochs.at(last), sequence: last };
        folder::sync(self.target).map_err(|error| failed(self.target, error))?;
        Ok(copied)
    }

    /// Copies a segment and what belongs to it; returns the sequence of its last event.
    fn segment(&mut self, first: u64, form: Form, copied: &mut Copied) -> Result<u64, Stop> {
        let name = segment::name(first, Kind::Log);
        let length = self.file(&name)?;
        let path = self.target.join(&name);
        let bytes = listing::read(&path).map_err(|error| failed(&path, error))?.unwrap_or_default();
        let recovered =
            segment::recover(&bytes, first, &self.manifest.epochs, |frame| Some(document::touched(frame.data)));
        let verdict = match form {
            Form::Open => recovered.verdict,
            Form::Sealed => recovered.verdict.sealed(),
        };
        // A group that is being written is left out; anything else is damage, even where a start would cut it.
        if let Some(finding) = audit::segment(&verdict, Ending::Growing) {
            return Err(self.damaged(&name, finding));
        }
        if recovered.kept_bytes < length {
            let cut = File::options().write(true).open(&path).and_then(|file| {
                file.set_len(recovered.kept_bytes)?;
                file.sync_all()
            });
            cut.map_err(|error| failed(&path, error))?;
            copied.torn_bytes = length - recovered.kept_bytes;
        }
        copied.extent.bytes += recovered.kept_bytes;
        let last = recovered.last.map_or(first - 1, |last| last.sequence);
        self.write(&segment::name(first, Kind::Index), &index::encode(&recovered.entries, form))?;
        self.keys(first, last)?;
        Ok(last)
    }

    /// Copies the keys of a segment that was copied up to the event `last`.
    fn keys(&self, first: u64, last: u64) -> Result<(), Stop> {
        let name = segment::name(first, Kind::Keys);
        let source = self.stream.join(&name);
        let keys = match listing::read(&source).map_err(|error| failed(&source, error))? {
            Some(keys) => keys,
            None if self.stream.join(segment::name(first, Kind::Log)).exists() => Vec::new(),
            // Dropped with its segment, right after that was copied.
            None => return Err(Stop::Changed),
        };
        if let Some(finding) = audit::keys(&keys, first, last, Ending::Growing) {
            return Err(self.damaged(&name, finding));
        }
        let mut records = keys::read(&keys, last);
        records.by_ref().for_each(drop);
        self.write(&name, &keys[..records.kept_bytes() as usize])
    }

    /// Copies a file as it is now; returns how long that is.
    fn file(&self, name: &str) -> Result<u64, Stop> {
        let source = self.stream.join(name);
        match folder::copy(&source, &self.target.join(name)) {
            Ok(length) => Ok(length),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Stop::Changed),
            Err(error) => Err(failed(&source, error)),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Stop> {
        let path = self.target.join(name);
        let written = File::create_new(&path).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        written.map_err(|error| failed(&path, error))
    }

    fn damaged(&self, name: &str, finding: Finding) -> Stop {
        Stop::Failed(BackupError::Damaged { file: self.stream.join(name), finding })
    }
}

fn failed(path: &Path, error: io::Error) -> Stop {
    Stop::Failed(ListingError::io(path)(error).into())
}
