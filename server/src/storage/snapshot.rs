//! A checkpoint as memory: what newcomers and followers that were reset are sent first.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use fantail_engine::document::{Documents, FoldError};
use fantail_engine::log::checkpoint::{self, Checkpoint};
use memmap2::Mmap;

/// A stream's whole value at a position, mapped from its file.
pub struct Snapshot {
    map: Mmap,
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
    /// Maps and verifies a checkpoint.
    ///
    /// # Errors
    /// If it can't be read, or is damaged.
    pub fn open(path: &Path) -> Result<Snapshot, SnapshotError> {
        let file = File::open(path)?;
        // SAFETY: a checkpoint is renamed into place whole and never written again.
        let map = unsafe { Mmap::map(&file) }?;
        let checkpoint = Checkpoint::read(&map)?;
        Ok(Snapshot { map, checkpoint })
    }

    /// The value, as documents.
    ///
    /// # Errors
    /// A part isn't what this program would have written.
    pub fn documents(&self) -> Result<Documents, FoldError> {
        let mut documents = Documents::default();
        for extent in &self.checkpoint.collections {
            for data in self.checkpoint.parts(self.bytes(extent.range.clone())) {
                documents.fold(data, extent.changed)?;
            }
        }
        Ok(documents)
    }

    /// A part of the file's bytes.
    #[must_use]
    pub fn bytes(&self, range: Range<u64>) -> &[u8] {
        &self.map[range.start as usize..range.end as usize]
    }
}
