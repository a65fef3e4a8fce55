//! A checkpoint as followers read it: what newcomers and followers that were reset are sent first.
//!
//! Its file stays open while anybody reads it, since two newer ones remove it. Its bytes come as [pages].

use std::fs::File;
use std::io;
use std::path::Path;

use fantail_engine::document::Documents;
use fantail_engine::log::checkpoint::{self, Checkpoint};
use fantail_engine::stream::recovery::CheckpointFault;

use super::folder::Mapped;
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
        let file = File::open(path)?;
        // A checkpoint is renamed into place whole and never written again.
        let checkpoint = Checkpoint::read(&Mapped::new(&file)?)?;
        Ok(Snapshot::new(file, checkpoint))
    }

    /// The checkpoint that was read from this file.
    #[must_use]
    pub fn new(file: File, checkpoint: Checkpoint) -> Snapshot {
        Snapshot { file, number: pages::fresh_number(), checkpoint }
    }

    /// The value, as documents.
    ///
    /// # Errors
    /// If it can't be read, or a part isn't what this program would have written.
    pub fn documents(&self) -> Result<Documents, CheckpointFault> {
        Ok(Documents::read(&self.checkpoint, &Mapped::new(&self.file)?)?)
    }

    /// The file itself.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }
}
