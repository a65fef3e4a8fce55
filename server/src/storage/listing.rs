//! What a data folder holds, without a lock and without changing anything: for the commands that look at logs.
//!
//! A server may write, begin and remove files meanwhile; whoever reads what is listed here takes into account that it may
//! be gone.

use std::fmt::{self, Display, Formatter};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use fantail_engine::log::folder::Folder;
use fantail_engine::log::manifest::{self, Manifest, ManifestError};
use fantail_engine::log::segment::{self, Kind};
use fantail_engine::position::Position;

use super::folder::Directory;
use crate::limits::FILE_BYTES_MAX;

/// Why a log can't be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// The system refuses.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// There is no data folder.
    #[error("there is no folder {}", .0.display())]
    NoFolder(PathBuf),
    /// There is no such stream.
    #[error("{} has no stream {stream}", data.display())]
    NoStream {
        /// The data folder.
        data: PathBuf,
        /// The stream's name.
        stream: String,
    },
    /// The stream is being made or deleted, or lost its manifest.
    #[error("{} has no manifest", .0.display())]
    NoManifest(PathBuf),
    /// A manifest that can't be believed.
    #[error("{}: {error}", path.display())]
    Manifest {
        /// The stream's folder.
        path: PathBuf,
        /// What is wrong with it.
        error: ManifestError,
    },
}

impl ListingError {
    /// For `map_err`: the error of something that was done with `path`.
    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> ListingError + '_ {
        |error| ListingError::Io { path: path.into(), error }
    }
}

/// The folders of the streams with these names, or of all streams, in the order of their names on disk.
///
/// # Errors
/// The data folder or a named stream isn't there, or the system refuses.
pub fn streams(data: &Path, names: &[String]) -> Result<Vec<PathBuf>, ListingError> {
    if !data.is_dir() {
        return Err(ListingError::NoFolder(data.into()));
    }
    if !names.is_empty() {
        let folder = |name: &String| {
            let folder = manifest::folder(name).map(|folder| data.join(folder)).filter(|folder| folder.is_dir());
            folder.ok_or_else(|| ListingError::NoStream { data: data.into(), stream: name.clone() })
        };
        return names.iter().map(folder).collect();
    }
    let mut folders = Vec::new();
    for entry in fs::read_dir(data).map_err(ListingError::io(data))? {
        let path = entry.map_err(ListingError::io(data))?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort_unstable();
    Ok(folders)
}

/// A stream's manifest, or none if there is none.
///
/// # Errors
/// It can't be read or believed.
pub fn manifest(stream: &Path) -> Result<Option<Manifest>, ListingError> {
    let bytes = Directory::new(stream).read(manifest::FILE).map_err(ListingError::io(stream))?;
    let decoded = bytes.map(|bytes| Manifest::decode(&bytes)).transpose();
    decoded.map_err(|error| ListingError::Manifest { path: stream.into(), error })
}

/// What a stream's folder holds, in order.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Listing {
    /// First sequences of the segments.
    pub segments: Vec<u64>,
    /// Sequences of the checkpoints.
    pub checkpoints: Vec<u64>,
}

impl Listing {
    /// Lists a stream's folder; one that isn't there holds nothing.
    ///
    /// # Errors
    /// What the system says.
    pub fn of(stream: &Path) -> Result<Listing, ListingError> {
        let io = ListingError::io(stream);
        let mut listing = Listing::default();
        let entries = match fs::read_dir(stream) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listing),
            Err(error) => return Err(io(error)),
        };
        for entry in entries {
            match entry.map_err(&io)?.file_name().to_str().and_then(segment::parse_name) {
                Some((first, Kind::Log)) => listing.segments.push(first),
                Some((sequence, Kind::Checkpoint)) => listing.checkpoints.push(sequence),
                Some((_, Kind::Index | Kind::Keys)) | None => {}
            }
        }
        listing.segments.sort_unstable();
        listing.checkpoints.sort_unstable();
        Ok(listing)
    }
}

/// What of a stream's log is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// Sequence of the first event, or one more than the last if there is none.
    pub first: u64,
    /// The last event.
    pub last: Position,
    /// Bytes of the groups that are whole.
    pub bytes: u64,
    /// The number of segments.
    pub segments: usize,
    /// The number of checkpoints that are whole.
    pub checkpoints: usize,
}

impl Display for Extent {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Extent { first, last, bytes, segments, checkpoints } = *self;
        let events = (last.sequence + 1).saturating_sub(first);
        let from = if first > 1 { format!(" from {first} on") } else { String::new() };
        let (events, bytes) = (count(events, "event"), count(bytes, "byte"));
        let (segments, checkpoints) = (count(segments as u64, "segment"), count(checkpoints as u64, "checkpoint"));
        write!(f, "{events}{from}, {bytes}, {segments}, {checkpoints}, at {last}")
    }
}

/// `1 event`, `2 events`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        number => format!("{number} {noun}s"),
    }
}

/// The bytes of a file of a segment as they are now, or none if it isn't there.
///
/// # Errors
/// What the system says, or that the file is larger than `FILE_BYTES_MAX`.
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    if length > FILE_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = Vec::with_capacity(length as usize);
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}
