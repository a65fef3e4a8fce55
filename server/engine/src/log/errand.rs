//! What is done to a stream's folder apart from the groups themselves, call by call: segments are begun and sealed,
//! checkpoints written and put in place, segments dropped.
//!
//! The order of the calls is what makes a crash between any two of them harmless: a segment is durable before the next one
//! is there, and its entry in the folder before its first group; a checkpoint is named only when it and the log up to it
//! are durable; what is dropped is gone for good before what follows it is.

use std::io::{self, Write};

use crate::document::Documents;
use crate::log::checkpoint::{self, Checkpoint, CheckpointError};
use crate::log::folder::Folder;
use crate::log::index::{self, Entry, Index};
use crate::log::manifest::{self, Manifest};
use crate::log::segment::{self, Kind};
use crate::position::Position;

/// Begins a segment, with the event `first`: seals the one before it, which begins with `sealed`, and makes the folder of a
/// stream that has none, if its `manifest` is given.
///
/// # Errors
/// What the system says, or that the segment is there already. Unless it was the sealing, nothing was done to the log.
pub fn open(folder: &impl Folder, manifest: Option<&Manifest>, sealed: Option<u64>, first: u64) -> io::Result<()> {
    if let Some(sealed) = sealed {
        seal(folder, sealed)?;
    }
    let is_taken = || io::Error::new(io::ErrorKind::AlreadyExists, "there is a segment where a new one was to begin");
    if let Some(manifest) = manifest {
        // As when a manifest was lost: what is there isn't ours to write over, nor to begin another log beside.
        if has_log(folder)? {
            return Err(is_taken());
        }
        folder.make()?;
        folder.replace(manifest::FILE, &manifest.encode())?;
    }
    let log = segment::name(first, Kind::Log);
    for name in [&log, &segment::name(first, Kind::Index), &segment::name(first, Kind::Keys)] {
        folder.append(name)?;
    }
    folder.sync()?;
    match folder.length(&log)? {
        0 => Ok(()),
        _ => Err(is_taken()),
    }
}

/// Whether a folder, which may be missing, holds a segment with anything in it.
fn has_log(folder: &impl Folder) -> io::Result<bool> {
    let names = match folder.names() {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    for name in names {
        if matches!(segment::parse_name(&name), Some((_, Kind::Log))) && folder.length(&name)? > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Notes in a stream's manifest that its log failed. Where there is none, the next start believes nothing anyway; and if it
/// was lost, another one would be a lie.
///
/// # Errors
/// What the system says.
pub fn mark(folder: &impl Folder, manifest: &Manifest) -> io::Result<()> {
    match folder.read(manifest::FILE)? {
        Some(_) => folder.replace(manifest::FILE, &manifest.encode()),
        None => Ok(()),
    }
}

/// Makes a full segment durable and adds the postings to its index, unless that was done before.
fn seal(folder: &impl Folder, first: u64) -> io::Result<()> {
    sync(folder, first)?;
    let name = segment::name(first, Kind::Index);
    let postings = {
        let bytes = folder.read(&name)?.ok_or(io::ErrorKind::NotFound)?;
        let entries: Vec<Entry> = bytes.as_chunks::<{ Entry::BYTES }>().0.iter().map(Entry::decode).collect();
        let is_sealed = Index::open(&bytes).is_ok_and(|index| index.is_sealed());
        if is_sealed { Vec::new() } else { index::seal(&entries) }
    };
    let mut file = folder.append(&name)?;
    file.write_all(&postings)?;
    file.flush()?;
    folder.sync_file(&name)
}

/// Makes a segment durable, its idempotency keys first: without them, the repeat of a write would be done again.
fn sync(folder: &impl Folder, first: u64) -> io::Result<()> {
    folder.sync_file(&segment::name(first, Kind::Keys))?;
    folder.sync_file(&segment::name(first, Kind::Log))
}

/// The server ends: makes the newest segment durable, and notes in the manifest that it is.
///
/// # Errors
/// What the system says; the next start then opens an epoch.
pub fn close(folder: &impl Folder, newest: u64, manifest: &Manifest) -> io::Result<()> {
    sync(folder, newest)?;
    folder.replace(manifest::FILE, &manifest.encode())
}

/// Writes a stream's whole value durably; it isn't in place yet.
///
/// # Errors
/// What the system says; what was written is removed then, if that can be done.
pub fn write_checkpoint(folder: &impl Folder, position: Position, documents: &Documents) -> io::Result<()> {
    let name = unfinished(position.sequence);
    // One whose events were taken back was never put in place, and may be what fills the disk.
    for left in folder.names()?.iter().filter(|left| is_unfinished(left) && **left != name) {
        folder.remove(left)?;
    }
    let collections = documents.collections().map(|(path, collection)| {
        (path, collection.changed(), collection.documents(None).map(|(id, body)| (id, &**body)))
    });
    let written = folder.create(&name).and_then(|mut file| {
        checkpoint::encode(position, collections, &mut |bytes: &[u8]| file.write_all(bytes))?;
        file.flush()?;
        folder.sync_file(&name)
    });
    written.inspect_err(|_| discard(folder, &name))
}

/// Puts a written checkpoint in place. The newest segment, which begins with the event `newest`, is synced before; all
/// others are. The checkpoint and the one before it stay: a damaged one is passed over at the next start.
///
/// # Errors
/// The log couldn't be synced, which is its failure; or the checkpoint is at fault, or couldn't be put in place.
pub fn install(folder: &impl Folder, sequence: u64, newest: u64) -> Result<Checkpoint, InstallError> {
    // By their names, and so opened anew: the descriptor that groups are written by is to learn of a failed sync itself.
    sync(folder, newest).map_err(InstallError::Log)?;
    let (written, name) = (unfinished(sequence), segment::name(sequence, Kind::Checkpoint));
    let place = || {
        folder.rename(&written, &name)?;
        folder.sync()?;
        let bytes = folder.read(&name)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let checkpoint = Checkpoint::read(&bytes)?;
        let names = folder.names()?;
        let mut sequences: Vec<u64> = names.iter().filter_map(|name| checkpoint_sequence(name)).collect();
        sequences.sort_unstable();
        sequences.truncate(sequences.len().saturating_sub(2));
        // It is in place, whatever becomes of the old ones: the next time they are tried again.
        let _ = sequences.iter().try_for_each(|old| folder.remove(&segment::name(*old, Kind::Checkpoint)));
        Ok(checkpoint)
    };
    place().inspect_err(|_| discard(folder, &written))
}

/// Why a checkpoint isn't in place.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The log up to it couldn't be synced: that is the log's failure.
    #[error("the log can't be synced: {0}")]
    Log(io::Error),
    /// A file can't be read, renamed or removed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It isn't whole.
    #[error(transparent)]
    Damaged(#[from] CheckpointError),
}

/// Removes segments in their order, each for good before the next, so that what is left has no gap. Keys outlive them. Files
/// that were removed before may be among them.
///
/// # Errors
/// What the system says; the rest is left.
pub fn drop_segments(folder: &impl Folder, firsts: &[u64]) -> io::Result<()> {
    let remove = |first, kind| match folder.remove(&segment::name(first, kind)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    };
    for first in firsts {
        remove(*first, Kind::Log)?;
        folder.sync()?;
        remove(*first, Kind::Index)?;
    }
    Ok(())
}

fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(".unfinished").and_then(checkpoint_sequence).is_some()
}

fn checkpoint_sequence(name: &str) -> Option<u64> {
    match segment::parse_name(name)? {
        (sequence, Kind::Checkpoint) => Some(sequence),
        (_, Kind::Log | Kind::Index | Kind::Keys) => None,
    }
}

/// What a checkpoint is called until it is in place; recovery removes it.
fn unfinished(sequence: u64) -> String {
    format!("{}.unfinished", segment::name(sequence, Kind::Checkpoint))
}

/// Removes what there is of a checkpoint that failed: it may be what fills the disk. If it can't be, the next start does.
fn discard(folder: &impl Folder, name: &str) {
    drop(folder.remove(name));
}
