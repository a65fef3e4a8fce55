//! A checkpoint as followers read it: what newcomers and followers that were reset are sent first.
//!
//! Its file stays open while anybody reads it, since two newer ones remove it. Its bytes come as
//! [pages](super::pages).

use std::fs::File;
use std::io;
use std::path::Path;

use fantail_engine::log::checkpoint::{self, Checkpoint};
use memmap2::Mmap;

use super::pages;

/// A stream's whole value at a position.
pub struct Snapshot {
    file: File,
    /// No other checkpoint or volume of this process has the same.
    pub number: u64,
    /// What the file says of itself.
    pub checkpoint: Checkpoint,
}

/// Why a file isn't a usable checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It can't be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is damaged.
    #[error(transparent)]
    Damaged(#[from] checkpoint::CheckpointError),
}

impl Snapshot {
    /// Opens and verifies a checkpoint.
    ///
    /// # Errors
    /// If it can't be read, or is damaged.
    pub fn open(path: &Path) -> Result<Snapshot, SnapshotError> {
        Snapshot::open_with(path, |_, _| ())
    }

    /// The same, and shows `read` what the file says of itself, and all of its bytes.
    ///
    /// # Errors
    /// As [`Snapshot::open`].
    pub fn open_with(path: &Path, read: impl FnOnce(&Checkpoint, &[u8])) -> Result<Snapshot, SnapshotError> {
        let file = File::open(path)?;
        // SAFETY: a checkpoint is renamed into place whole and never written again.
        let map = unsafe { Mmap::map(&file) }?;
        let checkpoint = Checkpoint::read(&map)?;
        read(&checkpoint, &map);
        Ok(Snapshot { file, number: pages::fresh_number(), checkpoint })
    }

    /// The file itself.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }
}
