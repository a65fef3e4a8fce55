//! What a start finds on disk: for each stream its newest checkpoint, and the log after it.
//!
//! Whole groups are kept. A torn tail is cut, under a new epoch; damage before whole groups stops the stream's writes and
//! is named. What is kept is synced before anything is served.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fantail_engine::document::{self, Documents};
use fantail_engine::log::checkpoint::Checkpoint;
use fantail_engine::log::group;
use fantail_engine::log::index::Entry;
use fantail_engine::log::keys::{self, Keys};
use fantail_engine::log::manifest::{Durability, EpochsError, Manifest, ManifestError, State};
use fantail_engine::log::segment::{self, Kind, Verdict};
use fantail_engine::log::view::Span;
use fantail_engine::stream::Origin;
use fantail_engine::stream::journal::{Found, Installed};
use memmap2::Mmap;

use super::clerk;
use super::disk::Files;
use super::folder;
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
    /// A segment is missing.
    #[error("{}: the log has no segment that begins with event {expected}", path.display())]
    Gap {
        /// The stream's folder.
        path: PathBuf,
        /// The first event that is missing.
        expected: u64,
    },
}

/// Recovers all streams of a data folder.
///
/// # Errors
/// If something can't be read or repaired; nothing is served then.
pub fn recover(data: &Path, durability: Durability) -> Result<Vec<Recovered>, RecoveryError> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |error| RecoveryError::Io { path, error }
    };
    let mut streams = Vec::new();
    for entry in fs::read_dir(data).map_err(io(data))? {
        let path = entry.map_err(io(data))?.path();
        if !path.is_dir() {
            continue;
        }
        match folder::read_manifest(&path).map_err(io(&path))? {
            Some(bytes) => {
                let manifest =
                    Manifest::decode(&bytes).map_err(|error| RecoveryError::Manifest { path: path.clone(), error })?;
                streams.push(recover_stream(&path, manifest, durability)?);
            }
            // Its first group was never written: nobody was told that it exists.
            None => tracing::warn!(folder = %path.display(), "a folder without a manifest is passed over"),
        }
    }
    Ok(streams)
}

fn recover_stream(path: &Path, mut manifest: Manifest, durability: Durability) -> Result<Recovered, RecoveryError> {
    let io = |error| RecoveryError::Io { path: path.to_path_buf(), error };
    let folder: Arc<Path> = path.into();
    let mut listing = list(path).map_err(io)?;
    let mut ahead = Vec::new();
    let (snapshot, log) = loop {
        let (snapshot, documents) = newest_checkpoint(path, &listing.checkpoints);
        let covered = snapshot.as_ref().map_or(0, |snapshot| snapshot.checkpoint.position.sequence);
        let log = read_log(&folder, &manifest, &listing.segments, covered, documents)?;
        if covered <= log.last {
            break (snapshot, log);
        }
        tracing::error!(stream = %manifest.name, covered, last = log.last, "a checkpoint is ahead of the log; it isn't used");
        listing.checkpoints.retain(|sequence| *sequence != covered);
        ahead.push(covered);
    };

    let (newest, is_cut, mut failure) = match log.end {
        LogEnd::Empty => (None, false, None),
        LogEnd::Whole(newest) => (Some(newest), false, None),
        LogEnd::Cut(newest) => (Some(newest), true, None),
        // Nothing is changed: its events keep their epoch, for when somebody has mended the file.
        LogEnd::Damaged(place) => (None, false, Some(place)),
    };
    let is_suspect = matches!(manifest.state, State::Failed | State::Open(Durability::Flush | Durability::None));
    let state = match (durability, manifest.state) {
        (Durability::Sync, State::Clean) => State::Clean,
        (durability, _) => State::Open(durability),
    };
    if failure.is_none() && (is_cut || is_suspect || !ahead.is_empty()) {
        match begin_epoch(&mut manifest, log.last + 1) {
            Err(error) => failure = Some(error.to_string()),
            Ok(()) => {
                // Until all is mended the manifest says that it isn't: a crash from here on leads here again.
                manifest.state = State::Failed;
                folder::write_manifest(path, &manifest).map_err(io)?;
                if let Some(newest) = &newest {
                    cut(path, newest.first, log.bytes - newest.base).map_err(io)?;
                }
                for sequence in ahead {
                    set_aside(path, sequence).map_err(io)?;
                }
            }
        }
    }
    if failure.is_none() && state != manifest.state {
        manifest.state = state;
        folder::write_manifest(path, &manifest).map_err(io)?;
    }
    let files = match newest.filter(|_| failure.is_none()) {
        Some(newest) => Some(newest.open(path).map_err(io)?),
        None => None,
    };
    tracing::info!(
        stream = %manifest.name, last = log.last, bytes = log.bytes, segments = log.segments.len(), "recovered"
    );
    let origin = Origin {
        documents: log.documents,
        epochs: Some(manifest.epochs),
        keys: log.keys,
        earliest: listing.segments.first().copied().unwrap_or(log.last + 1),
        last: log.last,
        bytes: log.bytes,
        failure,
    };
    let checkpoint = snapshot.as_ref().map(|snapshot| &snapshot.checkpoint);
    let checkpoint =
        checkpoint.map(|read| Installed { sequence: read.position.sequence, bytes: read.closing.end });
    let before = listing.checkpoints.iter().rev().find(|&&before| checkpoint.is_some_and(|newest| before < newest.sequence));
    let found = Found {
        origin,
        secret: manifest.secret,
        segments: log.segments,
        is_open: files.is_some(),
        checkpoint,
        before: before.copied(),
        checkpointed: log.checkpointed,
    };
    Ok(Recovered { name: manifest.name.into(), folder, found, snapshot, files })
}

/// What a log's segments hold, as far as it is believed.
struct Log {
    documents: Documents,
    keys: Keys,
    segments: Vec<Span>,
    /// Sequence of the last event.
    last: u64,
    bytes: u64,
    /// Offset up to which the checkpoint reaches.
    checkpointed: u64,
    end: LogEnd,
}

/// How a log ends.
enum LogEnd {
    /// It has no segment.
    Empty,
    Whole(Newest),
    /// A tail isn't whole, and nothing that is follows.
    Cut(Newest),
    /// Something isn't whole, and whole groups follow; the place is named.
    Damaged(String),
}

/// The segment that is written next.
struct Newest {
    first: u64,
    /// Offset of its first byte in the log.
    base: u64,
    /// Bytes of its idempotency keys that are believed.
    keys_bytes: u64,
}

impl Newest {
    /// Opens it to be appended to, and syncs what was kept.
    fn open(self, path: &Path) -> io::Result<Files> {
        let mut files = clerk::open(path, None, self.first, self.base)?;
        files.keys.set_len(self.keys_bytes)?;
        files.keys_bytes = self.keys_bytes;
        files.log.sync_all()?;
        files.keys.sync_all()?;
        Ok(files)
    }
}

/// Reads the segments after the event `covered`, that `documents` reflect, and folds their events. Nothing is changed but
/// indexes, which hold no truth.
fn read_log(
    folder: &Arc<Path>,
    manifest: &Manifest,
    firsts: &[u64],
    covered: u64,
    documents: Documents,
) -> Result<Log, RecoveryError> {
    let io = |error| RecoveryError::Io { path: folder.to_path_buf(), error };
    let mut log = Log {
        documents,
        keys: Keys::default(),
        segments: Vec::new(),
        last: firsts.first().map_or(0, |first| first - 1),
        bytes: 0,
        checkpointed: 0,
        end: LogEnd::Empty,
    };
    for (index, &first) in firsts.iter().enumerate() {
        let expected = if index == 0 { first.min(covered + 1) } else { log.last + 1 };
        if first != expected {
            return Err(RecoveryError::Gap { path: folder.to_path_buf(), expected });
        }
        let (base, next) = (log.bytes, firsts.get(index + 1).copied());
        log.segments.push(Span { first, base, begun_ms: None, ended_ms: 0 });
        match next.filter(|next| *next <= covered + 1) {
            // The checkpoint has all of it; it is read when somebody wants its history.
            Some(next) => {
                let bytes = map(&folder.join(segment::name(first, Kind::Log))).map_err(io)?;
                let bytes = bytes.as_deref().unwrap_or_default();
                log.segments[index].ended_ms = group::closed_at(bytes).unwrap_or(u64::MAX);
                (log.last, log.bytes) = (next - 1, base + bytes.len() as u64);
                log.checkpointed = log.bytes;
                read_keys(folder, first, log.last, &mut log.keys).map_err(io)?;
            }
            None => {
                let verdict = log.read_segment(folder, manifest, first, covered, next.is_some()).map_err(io)?;
                let keys_bytes = read_keys(folder, first, log.last, &mut log.keys).map_err(io)?;
                let newest = Newest { first, base, keys_bytes };
                log.end = match verdict {
                    Verdict::Whole => LogEnd::Whole(newest),
                    Verdict::Cut(loss) => {
                        tracing::warn!(
                            stream = %manifest.name, segment = first, offset = loss.offset, bytes = loss.bytes,
                            reason = %loss.reason, "the log's torn tail is cut; a new epoch begins"
                        );
                        LogEnd::Cut(newest)
                    }
                    Verdict::Damage(loss) => {
                        let file = segment::name(first, Kind::Log);
                        let place = format!("its segment {file} is damaged at byte {}: {}", loss.offset, loss.reason);
                        tracing::error!(stream = %manifest.name, folder = %folder.display(), %place, "the stream refuses writes");
                        log.end = LogEnd::Damaged(place);
                        return Ok(log);
                    }
                };
            }
        }
    }
    Ok(log)
}

impl Log {
    fn read_segment(
        &mut self,
        folder: &Path,
        manifest: &Manifest,
        first: u64,
        covered: u64,
        is_sealed: bool,
    ) -> io::Result<Verdict> {
        let bytes = map(&folder.join(segment::name(first, Kind::Log)))?;
        let bytes = bytes.as_deref().unwrap_or_default();
        let documents = &mut self.documents;
        let recovered = segment::recover(bytes, first, &manifest.epochs, |frame| {
            let sequence = frame.position.sequence;
            if sequence > covered {
                documents.fold(frame.data, sequence).ok()?;
            }
            Some(document::touched(frame.data))
        });
        if first <= covered + 1 {
            let after = recovered.entries.get((covered + 1 - first) as usize);
            self.checkpointed = self.bytes + after.map_or(recovered.kept_bytes, |entry| u64::from(entry.offset));
        }
        let begun_ms = group::read(bytes).map(|group| group.unix_ms).ok();
        let segment = self.segments.last_mut().expect("the segment that is read is listed");
        (segment.begun_ms, segment.ended_ms) = (begun_ms, recovered.last_unix_ms);
        self.last = recovered.last.map_or(first - 1, |last| last.sequence);
        self.bytes += recovered.kept_bytes;
        rebuild_index(folder, first, &recovered.entries, is_sealed)?;
        Ok(if is_sealed { recovered.verdict.sealed() } else { recovered.verdict })
    }
}

fn begin_epoch(manifest: &mut Manifest, first: u64) -> Result<(), EpochsError> {
    loop {
        match manifest.epochs.push(clock::fresh_epoch(), first) {
            // Chance gave one that the stream has had.
            Err(EpochsError::Known) => {}
            pushed => return pushed,
        }
    }
}

/// What a stream's folder holds, in order.
struct Listing {
    segments: Vec<u64>,
    checkpoints: Vec<u64>,
}

fn list(path: &Path) -> io::Result<Listing> {
    let mut listing = Listing { segments: Vec::new(), checkpoints: Vec::new() };
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        match name.to_str().and_then(segment::parse_name) {
            Some((first, Kind::Log)) => listing.segments.push(first),
            Some((sequence, Kind::Checkpoint)) => listing.checkpoints.push(sequence),
            Some((_, Kind::Index | Kind::Keys)) => {}
            None if name.to_str().is_some_and(|name| name.ends_with(".unfinished")) => {
                fs::remove_file(path.join(name))?
            }
            None => {}
        }
    }
    listing.segments.sort_unstable();
    listing.checkpoints.sort_unstable();
    Ok(listing)
}

/// The newest checkpoint that is whole, and its documents; a damaged one is passed over for the one before it.
fn newest_checkpoint(path: &Path, sequences: &[u64]) -> (Option<Arc<Snapshot>>, Documents) {
    for &sequence in sequences.iter().rev() {
        let file = path.join(segment::name(sequence, Kind::Checkpoint));
        let mut documents = Err(String::new());
        let opened = Snapshot::open_with(&file, |checkpoint, bytes| documents = fold(checkpoint, bytes));
        let folded = opened.map_err(|error| error.to_string()).and_then(|snapshot| Ok((snapshot, documents?)));
        match folded {
            Ok((snapshot, documents)) => return (Some(Arc::new(snapshot)), documents),
            Err(error) => tracing::error!(file = %file.display(), %error, "a damaged checkpoint is passed over"),
        }
    }
    (None, Documents::default())
}

fn fold(checkpoint: &Checkpoint, bytes: &[u8]) -> Result<Documents, String> {
    let mut documents = Documents::default();
    for extent in &checkpoint.collections {
        for data in checkpoint.parts(&bytes[extent.range.start as usize..extent.range.end as usize]) {
            documents.fold(data, extent.changed).map_err(|error| error.to_string())?;
        }
    }
    Ok(documents)
}

/// None for an empty file, which can't be mapped.
fn map(path: &Path) -> io::Result<Option<Mmap>> {
    let file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(None);
    }
    // SAFETY: the data folder is locked, and nothing writes to it during recovery but this function's callers, who don't
    // cut a file that they have mapped.
    unsafe { Mmap::map(&file) }.map(Some)
}

/// Keeps the first bytes of a segment, in a new file: after a failed sync, nobody knows what of the old one is on the
/// medium.
fn cut(path: &Path, first: u64, kept_bytes: u64) -> io::Result<()> {
    let name = segment::name(first, Kind::Log);
    let mut whole = File::open(path.join(&name))?.take(kept_bytes);
    folder::replace(path, &name, |file| io::copy(&mut whole, file).map(|_| ()))
}

/// Takes a checkpoint out of use; the file stays under another name.
fn set_aside(path: &Path, sequence: u64) -> io::Result<()> {
    let name = segment::name(sequence, Kind::Checkpoint);
    fs::rename(path.join(&name), path.join(format!("{name}.ahead")))?;
    folder::sync(path)
}

/// Writes the index anew if it isn't exactly what the events make it: it holds no truth.
fn rebuild_index(path: &Path, first: u64, entries: &[Entry], is_sealed: bool) -> io::Result<()> {
    use std::io::Write;
    let mut bytes: Vec<u8> = entries.iter().flat_map(Entry::encode).collect();
    if is_sealed {
        bytes.extend(fantail_engine::log::index::seal(entries));
    }
    let name = segment::name(first, Kind::Index);
    match fs::read(path.join(&name)) {
        Ok(known) if known == bytes => Ok(()),
        Ok(_) => folder::replace(path, &name, |file| file.write_all(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            folder::replace(path, &name, |file| file.write_all(&bytes))
        }
        Err(error) => Err(error),
    }
}

/// Remembers a segment's idempotency keys; returns how many bytes of the file are to be believed.
fn read_keys(path: &Path, first: u64, last: u64, keys: &mut Keys) -> io::Result<u64> {
    let bytes = match fs::read(path.join(segment::name(first, Kind::Keys))) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let now = clock::unix_ms();
    let mut records = keys::read(&bytes, last);
    for record in records.by_ref() {
        if record.is_fresh(now) {
            keys.insert(record);
        }
    }
    Ok(records.kept_bytes())
}
