//! A restore: the streams of a backup become those of an empty data folder, each under a new epoch from its next event on.
//!
//! So every cursor up to the backup's last event stays valid, and one of an event that came after the backup is recognised: it
//! is of an epoch that ended before it. The backup was audited; it is only read. A stream's manifest comes last, and no server
//! starts on the folder until all is there and durable.

use std::fs;
use std::path::{Path, PathBuf};

use fantail_engine::log::manifest::{EpochsError, State};
use fantail_engine::log::segment;
use fantail_engine::position::Position;

use super::folder::{self, DataFolder, FolderError};
use super::listing::{self, ListingError};
use crate::core::clock;

/// Why a backup isn't restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The data folder can't be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// There is something in it.
    #[error("{} isn't empty", .0.display())]
    Occupied(PathBuf),
    /// Something can't be read or written.
    #[error(transparent)]
    Listing(#[from] ListingError),
    /// No epoch can be opened.
    #[error("{stream}: {error}")]
    Epochs {
        /// The stream's name.
        stream: String,
        /// Why not.
        error: EpochsError,
    },
}

/// Makes and locks the data folder, which must be empty, and marks it as partial.
///
/// # Errors
/// There is something in it, a server uses it, or the system refuses.
pub fn begin(data: &Path) -> Result<DataFolder, RestoreError> {
    let occupied = || RestoreError::Occupied(data.into());
    // Before the lock as well: a folder that isn't ours gets no lock.
    let has_files = data.exists() && !folder::is_empty(data).map_err(ListingError::io(data))?;
    if has_files && folder::server(data).map_err(ListingError::io(data))?.is_none() {
        return Err(occupied());
    }
    let locked = DataFolder::open(data)?;
    if !folder::is_empty(locked.path()).map_err(ListingError::io(data))? {
        return Err(occupied());
    }
    locked.path().parent().map_or(Ok(()), folder::sync).map_err(ListingError::io(data))?;
    folder::begin(locked.path()).map_err(ListingError::io(data))?;
    Ok(locked)
}

/// Says that all streams are restored.
///
/// # Errors
/// What the system says; no server starts on the folder then.
pub fn end(data: &DataFolder) -> Result<(), RestoreError> {
    folder::end(data.path()).map_err(ListingError::io(data.path()))?;
    Ok(())
}

/// Copies a stream's folder from a backup whose last event is `last`; returns the position from which it goes on.
///
/// # Errors
/// Something can't be read or written, or the stream has had all the epochs that a log can have.
pub fn copy(stream: &Path, last: Position, data: &DataFolder) -> Result<Position, RestoreError> {
    let mut manifest = listing::manifest(stream)?.ok_or_else(|| ListingError::NoManifest(stream.into()))?;
    let sequence = last.sequence;
    loop {
        match manifest.epochs.push(clock::fresh_epoch(), sequence + 1) {
            Ok(()) => break,
            // Chance gave one that the stream has had.
            Err(EpochsError::Known) => {}
            Err(error @ (EpochsError::Order | EpochsError::Full)) => {
                return Err(RestoreError::Epochs { stream: manifest.name, error });
            }
        }
    }
    // All that is here is synced before the manifest is there.
    manifest.state = State::Clean;
    let target = data.path().join(stream.file_name().unwrap_or_default());
    fs::create_dir(&target).map_err(ListingError::io(&target))?;
    for entry in fs::read_dir(stream).map_err(ListingError::io(stream))? {
        let name = entry.map_err(ListingError::io(stream))?.file_name();
        if name.to_str().and_then(segment::parse_name).is_some() {
            let copied = folder::copy(&stream.join(&name), &target.join(&name));
            copied.map_err(ListingError::io(&target.join(&name)))?;
        }
    }
    folder::write_manifest(&target, &manifest).map_err(ListingError::io(&target))?;
    Ok(Position { epoch: manifest.epochs.current(), sequence })
}
