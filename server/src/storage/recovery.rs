//! What a start finds in the data folder. What becomes of each stream is decided by the engine
//! (`fantail_engine::stream::recovery`); here its folder is given to it, and its files are opened.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fantail_engine::log::manifest::{self, Durability, Manifest, ManifestError};
use fantail_engine::log::segment::{self, Kind};
use fantail_engine::stream::journal::Found;
use fantail_engine::stream::recovery::{self, Finding, Start};

use super::clerk;
use super::disk::Files;
use super::folder::{self, Directory};
use super::snapshot::Snapshot;
use crate::core::clock;

/// A stream as it is on disk.
pub struct Recovered {
    /// Its name.
    pub name: Arc<str>,
    /// Its folder.
    pub folder: Arc<Path>,
    /// What its journal goes on from.
    pub found: Found,
    /// The newest checkpoint that is whole.
    pub snapshot: Option<Arc<Snapshot>>,
    /// The newest segment's files; none if there is no segment, or the log is damaged.
    pub files: Option<Files>,
}

/// Why a data folder can't be served.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The system refuses.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A manifest that can't be believed, or is of a newer version.
    #[error("{}: {error}", path.display())]
    Manifest {
        /// The stream's folder.
        path: PathBuf,
        /// What is wrong with it.
        error: ManifestError,
    },
    /// A segment is missing, or something can't be read or mended.
    #[error("{}: {error}", path.display())]
    Stream {
        /// The stream's folder.
        path: PathBuf,
        /// What stands in the way.
        error: recovery::RecoveryError,
    },
}

/// Recovers all streams of a data folder, and removes what is left of those that were deleted.
///
/// # Errors
/// If something can't be read or mended; nothing is served then.
pub fn recover(data: &Path, durability: Durability) -> Result<Vec<Recovered>, RecoveryError> {
    let mut streams = Vec::new();
    for entry in fs::read_dir(data).map_err(failed(data))? {
        let path = entry.map_err(failed(data))?.path();
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        let is_ours = name.starts_with(b"@");
        if is_ours && name.starts_with(folder::DELETED.as_bytes()) && path.is_dir() {
            fs::remove_dir_all(&path).map_err(failed(&path))?;
        }
        if is_ours || !path.is_dir() {
            continue;
        }
        let manifest = path.join(manifest::FILE);
        match fs::read(&manifest) {
            Ok(bytes) => {
                let manifest =
                    Manifest::decode(&bytes).map_err(|error| RecoveryError::Manifest { path: path.clone(), error })?;
                streams.push(recover_stream(&path, manifest, durability)?);
            }
            // Its first group was never written: nobody was told that it exists.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::warn!(folder = %path.display(), "a folder without a manifest is passed over");
            }
            Err(error) => return Err(failed(&manifest)(error)),
        }
    }
    Ok(streams)
}

fn failed(path: &Path) -> impl Fn(io::Error) -> RecoveryError {
    move |error| RecoveryError::Io { path: path.to_path_buf(), error }
}

fn recover_stream(path: &Path, manifest: Manifest, durability: Durability) -> Result<Recovered, RecoveryError> {
    let name = manifest.name.clone();
    let mut start = Start {
        durability,
        now_ms: clock::unix_ms(),
        fresh_epoch: &mut clock::fresh_epoch,
        tell: &mut |finding| match finding {
            Finding::Torn { .. } => tracing::warn!(stream = %name, folder = %path.display(), "{finding}"),
            Finding::DamagedCheckpoint { .. } | Finding::CheckpointAhead { .. } => {
                tracing::error!(stream = %name, folder = %path.display(), "{finding}");
            }
        },
    };
    let recovered = recovery::recover(&Directory::new(path), manifest, &mut start)
        .map_err(|error| RecoveryError::Stream { path: path.to_path_buf(), error })?;
    let found = recovered.found;
    let newest = found.segments.last().filter(|_| found.is_open);
    let files = newest.map(|newest| clerk::open(path, newest.first, newest.base));
    let snapshot = recovered.checkpoint.map(|checkpoint| {
        let name = segment::name(checkpoint.position.sequence, Kind::Checkpoint);
        File::open(path.join(name)).map(|file| Arc::new(Snapshot::new(file, checkpoint)))
    });
    if let Some(reason) = &found.origin.failure {
        tracing::error!(stream = %name, folder = %path.display(), %reason, "the stream refuses writes");
    }
    let (last, bytes) = (found.origin.last, found.origin.bytes);
    tracing::info!(stream = %name, last, bytes, segments = found.segments.len(), "recovered");
    Ok(Recovered {
        name: recovered.name.into(),
        folder: path.into(),
        snapshot: snapshot.transpose().map_err(failed(path))?,
        files: files.transpose().map_err(failed(path))?,
        found,
    })
}
