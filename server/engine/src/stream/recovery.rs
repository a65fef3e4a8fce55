//! What a start makes of a stream's folder: its newest whole checkpoint, and the log after it.
//!
//! Whole groups are kept. A torn tail is cut, under a new epoch; damage before whole groups stops the stream's writes and
//! is named, and then nothing is changed. (Where nothing was synced, a hole before whole groups is a torn tail too.) What is kept is synced before anything is served. Invariant: stopped at any
//! step, it comes to the same end when it is begun again.

use std::collections::BTreeSet;
use std::io;

use crate::document::{self, Documents};
use crate::limits::KEYS_MAX;
use crate::log::checkpoint::{Checkpoint, CheckpointError};
use crate::log::folder::Folder;
use crate::log::group;
use crate::log::index::{self, Entry};
use crate::log::keys::{self, Keys};
use crate::log::manifest::{self, Durability, EpochsError, Manifest, State};
use crate::log::segment::{self, Kind, Loss, Verdict};
use crate::log::view::Span;
use crate::position::Epoch;
use crate::stream::Origin;
use crate::stream::journal::{Found, Installed};

/// What recovery needs to know beside the folder.
pub struct Start<'s> {
    /// How the stream will be written from now on.
    pub durability: Durability,
    /// The time in milliseconds since 1970.
    pub now_ms: u64,
    /// Draws an epoch.
    pub fresh_epoch: &'s mut dyn FnMut() -> Epoch,
    /// Is told what an operator should know.
    pub tell: &'s mut dyn FnMut(Finding),
}

/// What recovery found and dealt with.
#[derive(Debug, thiserror::Error)]
pub enum Finding {
    /// A checkpoint isn't whole; an older one, or the log, has the same value.
    #[error("the checkpoint after event {sequence} is damaged and passed over: {error}")]
    DamagedCheckpoint {
        /// The sequence in the file's name.
        sequence: u64,
        /// What is wrong with it.
        error: CheckpointFault,
    },
    /// A checkpoint reflects events that the log hasn't.
    #[error("the checkpoint after event {sequence} is ahead of the log, which ends with event {last}; it isn't used")]
    CheckpointAhead {
        /// The sequence in the file's name.
        sequence: u64,
        /// The log's last event.
        last: u64,
    },
    /// The log's tail isn't whole, and is cut under a new epoch.
    #[error("the log's tail is torn: {} bytes from byte {} of segment {first} are cut: {}", loss.bytes, loss.offset, loss.reason)]
    Torn {
        /// The segment's first event.
        first: u64,
        /// What is cut.
        loss: Loss,
    },
}

/// Why a checkpoint isn't used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointFault {
    /// It can't be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It isn't whole.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Its parts make no value.
    #[error(transparent)]
    Fold(#[from] document::FoldError),
}

/// A stream as it was found and mended.
pub struct Recovered {
    /// Its name.
    pub name: String,
    /// What its journal goes on from.
    pub found: Found,
    /// The newest checkpoint that is whole.
    pub checkpoint: Option<Checkpoint>,
}

/// Why a stream can't be recovered; nothing is served then.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The system refuses.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A segment is missing.
    #[error("the log has no segment that begins with event {expected}")]
    Gap {
        /// The first event that is missing.
        expected: u64,
    },
}

/// Recovers the stream whose manifest was read from `folder`.
///
/// Sealed segments before the checkpoint aren't read, as long as they have an index. Memory: the documents, and one segment
/// and one checkpoint at a time, as the folder gives them.
///
/// # Errors
/// If something can't be read or mended.
pub fn recover<F: Folder>(
    folder: &F,
    mut manifest: Manifest,
    start: &mut Start<'_>,
) -> Result<Recovered, RecoveryError> {
    // Whoever made it may have been stopped before that was durable.
    folder.make()?;
    let mut listing = list(folder)?;
    let left = Left::by(manifest.state);
    let unused = unused_segment(folder, &mut listing, left)?;
    let (mut ahead, mut damaged) = (Vec::new(), Vec::new());
    let (checkpoint, log) = loop {
        let (checkpoint, documents) = newest_checkpoint(folder, &mut listing.checkpoints, start, &mut damaged);
        let covered = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.position.sequence);
        let mut log = Log::read(folder, &manifest, &listing, covered, left, documents)?;
        if covered <= log.last {
            break (checkpoint, log);
        }
        if let LogEnd::Damaged(_) = log.end {
            log.begin_after(covered);
            listing.segments.clear();
            break (checkpoint, log);
        }
        (start.tell)(Finding::CheckpointAhead { sequence: covered, last: log.last });
        listing.checkpoints.retain(|sequence| *sequence != covered);
        ahead.push(covered);
    };

    let earliest = listing.segments.first().copied().unwrap_or(log.last + 1);
    let (newest, is_cut, mut failure) = match &log.end {
        LogEnd::Empty => (None, false, None),
        LogEnd::Whole(newest) => (Some(*newest), false, None),
        LogEnd::Cut(newest, loss) => {
            (start.tell)(Finding::Torn { first: newest.first, loss: *loss });
            (Some(*newest), true, None)
        }
        // Nothing is changed: its events keep their epoch, for when somebody has mended the file.
        LogEnd::Damaged(place) => (None, false, Some(place.clone())),
    };
    if failure.is_none() && (is_cut || left == Left::Unsynced || !ahead.is_empty()) {
        match begin_epoch(&mut manifest, earliest, log.last + 1, start) {
            Err(error) => failure = Some(error.to_string()),
            Ok(()) => {
                mend(folder, &mut manifest, &log, newest, &ahead)?;
                if let Some(first) = unused {
                    // Its other files go with what retention left.
                    folder.remove(&segment::name(first, Kind::Log))?;
                    folder.sync()?;
                }
            }
        }
    } else if let Some(newest) = newest.filter(|_| failure.is_none()) {
        keep(folder, newest.first, &log)?;
    }
    let (keys, unused_keys) = read_keys(folder, &listing, log.last, start.now_ms)?;
    if failure.is_none() {
        settle(folder, &mut manifest, start.durability)?;
        // It would count as the one that is fallen back to.
        set_aside(folder, &damaged, "damaged")?;
        clear(folder, &listing, &unused_keys)?;
    }
    let origin = Origin {
        documents: log.documents,
        epochs: Some(manifest.epochs),
        keys,
        earliest,
        last: log.last,
        bytes: log.bytes,
        failure,
    };
    let installed = checkpoint.as_ref();
    let installed = installed.map(|read| Installed { sequence: read.position.sequence, bytes: read.closing.end });
    let is_before = |sequence: &&u64| installed.is_some_and(|newest| **sequence < newest.sequence);
    let found = Found {
        is_open: newest.is_some() && origin.failure.is_none(),
        origin,
        secret: manifest.secret,
        segments: log.segments,
        checkpoint: installed,
        before: listing.checkpoints.iter().rev().find(is_before).copied(),
        checkpointed: log.checkpointed,
    };
    Ok(Recovered { name: manifest.name, found, checkpoint })
}

/// How the newest segment was left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// All of it but the last group was synced.
    Synced,
    /// Nobody knows what of it was, but for what a checkpoint reflects.
    Unsynced,
}

impl Left {
    fn by(state: State) -> Left {
        match state {
            State::Clean | State::Open(Durability::Sync) => Left::Synced,
            State::Failed | State::Open(Durability::Flush | Durability::None) => Left::Unsynced,
        }
    }
}

/// What a log's segments hold, as far as it is believed.
struct Log {
    documents: Documents,
    segments: Vec<Span>,
    /// Sequence of the last event.
    last: u64,
    bytes: u64,
    /// Offset up to which the checkpoint reaches.
    checkpointed: u64,
    /// Where in the segment that was read last its last group begins, and with which event.
    last_group: Option<(u64, u64)>,
    end: LogEnd,
}

/// How a log ends.
enum LogEnd {
    /// It has no segment.
    Empty,
    Whole(Span),
    /// A tail isn't whole, and nothing that is follows.
    Cut(Span, Loss),
    /// Something isn't whole, and whole groups follow; the place is named.
    Damaged(String),
}

impl Log {
    /// The checkpoint knows more than the log does before its damage: its value is served, and no history until somebody has
    /// mended the file.
    fn begin_after(&mut self, covered: u64) {
        self.segments.clear();
        self.last = covered;
    }

    /// Reads the segments after the event `covered`, that `documents` reflect, and folds their events. Nothing is changed
    /// but indexes, which hold no truth.
    fn read<F: Folder>(
        folder: &F,
        manifest: &Manifest,
        listing: &Listing,
        covered: u64,
        left: Left,
        documents: Documents,
    ) -> Result<Log, RecoveryError> {
        let firsts = &listing.segments;
        let last = firsts.first().map_or(0, |first| first - 1);
        let segments = Vec::new();
        let mut log =
            Log { documents, segments, last, bytes: 0, checkpointed: 0, last_group: None, end: LogEnd::Empty };
        for (index, &first) in firsts.iter().enumerate() {
            let expected = if index == 0 { first.min(covered + 1) } else { log.last + 1 };
            if first != expected {
                return Err(RecoveryError::Gap { expected });
            }
            let segment = Span { first, base: log.bytes, begun_ms: None, ended_ms: 0 };
            log.segments.push(segment);
            let next = firsts.get(index + 1).copied();
            if let Some(next) = next.filter(|next| *next <= covered + 1)
                && listing.has_index(folder, first, next)?
            {
                // The checkpoint has all of it; it is read when somebody wants its history.
                let bytes = folder
                    .read(&segment::name(first, Kind::Log))?
                    .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
                // One that doesn't end as it should is as young as can be: retention leaves it to its reader.
                log.segments[index].ended_ms = group::closed_at(&bytes).unwrap_or(u64::MAX);
                log.segments[index].begun_ms = group::read(&bytes).map(|group| group.unix_ms).ok();
                log.last = next - 1;
                log.bytes += bytes.len() as u64;
                log.checkpointed = log.bytes;
                continue;
            }
            let is_sealed = next.is_some();
            log.end = match log.read_segment(folder, manifest, first, covered, is_sealed)? {
                Verdict::Whole => LogEnd::Whole(segment),
                Verdict::Cut(loss) => LogEnd::Cut(segment, loss),
                // What wasn't synced reaches the medium in any order. All that was, a checkpoint's part included, is before it.
                Verdict::Damage(loss) if left == Left::Unsynced && !is_sealed && log.last >= covered => {
                    LogEnd::Cut(segment, loss)
                }
                Verdict::Damage(loss) => {
                    let file = segment::name(first, Kind::Log);
                    let place = format!("its segment {file} is damaged at byte {}: {}", loss.offset, loss.reason);
                    log.end = LogEnd::Damaged(place);
                    return Ok(log);
                }
            };
        }
        Ok(log)
    }

    fn read_segment<F: Folder>(
        &mut self,
        folder: &F,
        manifest: &Manifest,
        first: u64,
        covered: u64,
        is_sealed: bool,
    ) -> io::Result<Verdict> {
        let bytes = folder.read(&segment::name(first, Kind::Log))?.ok_or(io::ErrorKind::NotFound)?;
        let documents = &mut self.documents;
        let recovered = segment::recover(&bytes, first, &manifest.epochs, |frame| {
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
        let read = self.segments.last_mut().expect("the segment that is read is listed");
        read.begun_ms = group::read(&bytes).map(|group| group.unix_ms).ok();
        read.ended_ms = recovered.last_unix_ms;
        self.last = recovered.last.map_or(first - 1, |last| last.sequence);
        self.bytes += recovered.kept_bytes;
        self.last_group = recovered.last_group;
        rebuild_index(folder, first, &recovered.entries, is_sealed)?;
        Ok(if is_sealed { recovered.verdict.sealed() } else { recovered.verdict })
    }
}

/// What a stream's folder holds, in order.
struct Listing {
    segments: Vec<u64>,
    checkpoints: Vec<u64>,
    indexes: BTreeSet<u64>,
    keys: Vec<u64>,
}

impl Listing {
    /// Whether the segment of the events from `first` to before `next` has an index, as far as its length shows.
    fn has_index<F: Folder>(&self, folder: &F, first: u64, next: u64) -> io::Result<bool> {
        let bytes = index::sealed_bytes(next - first);
        Ok(self.indexes.contains(&first) && folder.length(&segment::name(first, Kind::Index))? == bytes)
    }
}

/// Lists the folder, and removes what was never finished.
fn list<F: Folder>(folder: &F) -> io::Result<Listing> {
    let mut listing =
        Listing { segments: Vec::new(), checkpoints: Vec::new(), indexes: BTreeSet::new(), keys: Vec::new() };
    for name in folder.names()? {
        match segment::parse_name(&name) {
            Some((first, Kind::Log)) => listing.segments.push(first),
            Some((sequence, Kind::Checkpoint)) => listing.checkpoints.push(sequence),
            Some((first, Kind::Index)) => drop(listing.indexes.insert(first)),
            Some((first, Kind::Keys)) => listing.keys.push(first),
            None if name.ends_with(".unfinished") => folder.remove(&name)?,
            None => {}
        }
    }
    listing.segments.sort_unstable();
    listing.checkpoints.sort_unstable();
    listing.keys.sort_unstable();
    Ok(listing)
}

/// Takes a newest segment without a byte from the list, if not all before it need be synced: it was begun while the log failed,
/// by a sync that had nothing left to say. Then the one before it is the newest, and is mended.
fn unused_segment<F: Folder>(folder: &F, listing: &mut Listing, left: Left) -> io::Result<Option<u64>> {
    let [.., _, newest] = listing.segments[..] else { return Ok(None) };
    if left == Left::Synced || folder.length(&segment::name(newest, Kind::Log))? > 0 {
        return Ok(None);
    }
    listing.segments.pop();
    Ok(Some(newest))
}

/// The newest checkpoint that is whole, and its documents. Damaged ones are passed over for those before them, and taken from
/// the list.
fn newest_checkpoint<F: Folder>(
    folder: &F,
    sequences: &mut Vec<u64>,
    start: &mut Start<'_>,
    damaged: &mut Vec<u64>,
) -> (Option<Checkpoint>, Documents) {
    while let Some(&sequence) = sequences.last() {
        let error = match read_checkpoint(folder, sequence) {
            Ok((checkpoint, documents)) => return (Some(checkpoint), documents),
            Err(error) => error,
        };
        sequences.pop();
        match error {
            CheckpointFault::Checkpoint(_) | CheckpointFault::Fold(_) => damaged.push(sequence),
            // Another time it may be read.
            CheckpointFault::Io(_) => {}
        }
        (start.tell)(Finding::DamagedCheckpoint { sequence, error });
    }
    (None, Documents::default())
}

fn read_checkpoint<F: Folder>(folder: &F, sequence: u64) -> Result<(Checkpoint, Documents), CheckpointFault> {
    let name = segment::name(sequence, Kind::Checkpoint);
    let bytes = folder.read(&name)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let checkpoint = Checkpoint::read(&bytes)?;
    let documents = Documents::read(&checkpoint, &bytes)?;
    Ok((checkpoint, documents))
}

/// Opens an epoch whose first event will be `first`, in memory. What can't be served any more is forgotten before, so that
/// the list doesn't fill.
fn begin_epoch(manifest: &mut Manifest, earliest: u64, first: u64, start: &mut Start<'_>) -> Result<(), EpochsError> {
    manifest.epochs.forget(earliest);
    loop {
        match manifest.epochs.push((start.fresh_epoch)(), first) {
            // Chance gave one that the stream has had.
            Err(EpochsError::Known) => {}
            pushed => return pushed,
        }
    }
}

/// Makes a loss durable under the epoch that was opened for it.
fn mend<F: Folder>(
    folder: &F,
    manifest: &mut Manifest,
    log: &Log,
    newest: Option<Span>,
    ahead: &[u64],
) -> io::Result<()> {
    // Until all is mended the manifest says that it isn't: a crash from here on leads here again.
    manifest.state = State::Failed;
    folder.replace(manifest::FILE, &manifest.encode())?;
    if let Some(newest) = newest {
        // In a new file: after a failed sync, nobody knows what of the old one is on the medium.
        let name = segment::name(newest.first, Kind::Log);
        let bytes = folder.read(&name)?.ok_or(io::ErrorKind::NotFound)?;
        folder.replace(&name, &bytes[..(log.bytes - newest.base) as usize])?;
        let name = segment::name(newest.first, Kind::Keys);
        if let Some(keys) = kept_keys(folder, &name, log.last)? {
            folder.replace(&name, &keys.bytes)?;
        }
    }
    set_aside(folder, ahead, "ahead")
}

/// Takes checkpoints out of use, for good; their files stay under other names.
fn set_aside<F: Folder>(folder: &F, checkpoints: &[u64], reason: &str) -> io::Result<()> {
    for sequence in checkpoints {
        let name = segment::name(*sequence, Kind::Checkpoint);
        folder.rename(&name, &format!("{name}.{reason}"))?;
    }
    if checkpoints.is_empty() { Ok(()) } else { folder.sync() }
}

/// Makes durable what is kept of the newest segment. The keys of events that the log lost are cut.
///
/// The last group and its keys are written once more: their sync may have failed, and the process ended before it could
/// note that. Then the system shows them, takes them for written, and a sync would have nothing to do.
fn keep<F: Folder>(folder: &F, first: u64, log: &Log) -> io::Result<()> {
    let (at, group_first) = log.last_group.unwrap_or((0, first));
    let name = segment::name(first, Kind::Keys);
    if let Some(keys) = kept_keys(folder, &name, log.last)? {
        folder.shorten(&name, keys.bytes.len() as u64)?;
        let from = keys.before(group_first);
        folder.rewrite(&name, from as u64, &keys.bytes[from..])?;
        folder.sync_file(&name)?;
    }
    let name = segment::name(first, Kind::Log);
    let group = folder.read(&name)?.ok_or(io::ErrorKind::NotFound)?[at as usize..].to_vec();
    folder.rewrite(&name, at, &group)?;
    folder.sync_file(&name)
}

/// The lines of a file of keys that are believed.
struct KeptKeys {
    bytes: Vec<u8>,
    /// The sequence of each line's event, and where the line begins.
    lines: Vec<(u64, usize)>,
}

impl KeptKeys {
    /// Where the lines of events before the one with this sequence end.
    fn before(&self, sequence: u64) -> usize {
        let later = self.lines.partition_point(|(event, _)| *event < sequence);
        self.lines.get(later).map_or(self.bytes.len(), |(_, at)| *at)
    }
}

fn kept_keys<F: Folder>(folder: &F, name: &str, last: u64) -> io::Result<Option<KeptKeys>> {
    let Some(bytes) = folder.read(name)? else { return Ok(None) };
    let (mut records, mut lines, mut at) = (keys::read(&bytes, last), Vec::new(), 0);
    while let Some(record) = records.next() {
        lines.push((record.sequence, at));
        at = records.kept_bytes() as usize;
    }
    Ok(Some(KeptKeys { bytes: bytes[..at].to_vec(), lines }))
}

/// Notes how the stream will be written from now on.
fn settle<F: Folder>(folder: &F, manifest: &mut Manifest, durability: Durability) -> io::Result<()> {
    let state = match (durability, manifest.state) {
        (Durability::Sync, State::Clean) => State::Clean,
        (durability, _) => State::Open(durability),
    };
    if state == manifest.state {
        return Ok(());
    }
    manifest.state = state;
    folder.replace(manifest::FILE, &manifest.encode())
}

/// Removes what retention left: indexes whose segment is gone, and keys that nobody remembers of such segments.
fn clear<F: Folder>(folder: &F, listing: &Listing, unused: &[u64]) -> io::Result<()> {
    let gone = |first: &&u64| listing.segments.binary_search(first).is_err();
    for first in listing.indexes.iter().filter(gone) {
        folder.remove(&segment::name(*first, Kind::Index))?;
    }
    for first in unused.iter().filter(gone) {
        folder.remove(&segment::name(*first, Kind::Keys))?;
    }
    Ok(())
}

/// Writes the index anew if it isn't exactly what the events make it: it holds no truth.
fn rebuild_index<F: Folder>(folder: &F, first: u64, entries: &[Entry], is_sealed: bool) -> io::Result<()> {
    let mut bytes: Vec<u8> = entries.iter().flat_map(Entry::encode).collect();
    if is_sealed {
        bytes.extend(index::seal(entries));
    }
    let name = segment::name(first, Kind::Index);
    match folder.read(&name)? {
        Some(known) if *known == *bytes => Ok(()),
        Some(_) | None => folder.replace(&name, &bytes),
    }
}

/// The idempotency keys that are remembered, and the files that have none of them. The newest files come first, until there
/// are as many keys as a stream remembers.
fn read_keys<F: Folder>(folder: &F, listing: &Listing, last: u64, now_ms: u64) -> io::Result<(Keys, Vec<u64>)> {
    let (mut keys, mut unused) = (Keys::default(), Vec::new());
    for &first in listing.keys.iter().rev() {
        let before = keys.len();
        if before < KEYS_MAX
            && let Some(bytes) = folder.read(&segment::name(first, Kind::Keys))?
        {
            for record in keys::read(&bytes, last).filter(|record| record.is_fresh(now_ms)) {
                // A newer file may have the key again: the older record was forgotten before that.
                if keys.find(record.key).is_none_or(|known| known.sequence < record.sequence) {
                    keys.insert(record);
                }
            }
        }
        if keys.len() == before {
            unused.push(first);
        }
    }
    Ok((keys, unused))
}
