//! A stream's history from its files, whether a server runs or not: for a dump.
//!
//! Memory: one segment.

use std::io;
use std::path::Path;

use fantail_engine::event::Frame;
use fantail_engine::log::audit::{self, Finding};
use fantail_engine::log::manifest::{Epochs, Unservable};
use fantail_engine::log::segment::{self, Kind, Loss, Verdict};
use fantail_engine::position::Position;

use super::folder;
use super::listing::{self, Listing, ListingError};

/// An event as a dump shows it.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// What it says.
    pub frame: Frame<'a>,
    /// Its bytes in the log, with the closing line if it is its group's last.
    pub bytes: &'a [u8],
    /// When its group was committed, in milliseconds since 1970.
    pub unix_ms: u64,
}

/// Why a history ends early.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The stream can't be read.
    #[error(transparent)]
    Listing(#[from] ListingError),
    /// The position isn't one of this log, or not one that is still there.
    #[error("{position}: {reason}; the first one is {earliest}")]
    Unservable {
        /// What was asked for.
        position: Position,
        /// Why it can't be served.
        reason: Unservable,
        /// The first position that can.
        earliest: Position,
    },
    /// The position is behind the last one.
    #[error("{position}: the position is ahead of the log; the last one is {last}")]
    Ahead {
        /// What was asked for.
        position: Position,
        /// The last position.
        last: Position,
    },
    /// The log is damaged, or events of it are missing.
    #[error("{file} byte {}: {}", finding.offset, finding.wrong)]
    Damaged {
        /// The file.
        file: String,
        /// What is wrong.
        finding: Finding,
    },
    /// Whoever takes the events can't take more.
    #[error(transparent)]
    Taken(#[from] io::Error),
}

/// Hands over all events of the stream in `stream`, a folder in `data`, that come after the position `after`, or all that are
/// there, in order.
///
/// A group that a server is writing isn't among them. If a server drops the segment that is read next, the history ends with an
/// error.
///
/// # Errors
/// The position isn't there (then nothing was handed over), the log is damaged (what comes before was), or what `take` says.
pub fn read(
    data: &Path,
    stream: &Path,
    after: Option<Position>,
    mut take: impl FnMut(Event<'_>) -> io::Result<()>,
) -> Result<(), HistoryError> {
    let epochs = listing::manifest(stream)?.ok_or_else(|| ListingError::NoManifest(stream.into()))?.epochs;
    let ending = folder::ending(data).map_err(ListingError::io(data))?;
    let segments = Listing::of(stream)?.segments;
    let earliest = segments.first().copied().unwrap_or(1);
    let at = |sequence| Position { epoch: epochs.at(sequence), sequence };
    let from =
        match after {
            None => earliest - 1,
            // Where the log ends is known when it has been read.
            Some(position) => epochs
                .judge(position, earliest, u64::MAX)
                .map_err(|reason| HistoryError::Unservable { position, reason, earliest: at(earliest - 1) })?,
        };
    let begin = segments.partition_point(|&first| first <= from + 1).saturating_sub(1);
    let mut expected = segments.get(begin).copied().unwrap_or(1);
    for (number, &first) in segments.iter().enumerate().skip(begin) {
        let path = stream.join(segment::name(first, Kind::Log));
        let damaged = |finding| HistoryError::Damaged { file: path.display().to_string(), finding };
        if first != expected {
            return Err(damaged(Finding { offset: 0, wrong: audit::Wrong::Gap { expected, found: first } }));
        }
        let bytes = listing::read(&path).and_then(|bytes| bytes.ok_or(io::ErrorKind::NotFound.into()));
        let bytes = bytes.map_err(ListingError::io(&path))?;
        let (next, verdict) = read_segment(&bytes, expected, &epochs, from, &mut take)?;
        expected = next;
        let verdict = if number + 1 == segments.len() { verdict } else { verdict.sealed() };
        if let Some(finding) = audit::segment(&verdict, ending) {
            return Err(damaged(finding));
        }
    }
    match after {
        Some(position) if expected <= from => Err(HistoryError::Ahead { position, last: at(expected - 1) }),
        Some(_) | None => Ok(()),
    }
}

/// Hands over the events of a segment after the event `from`; returns the sequence after its last one, and how it ends.
fn read_segment(
    bytes: &[u8],
    mut expected: u64,
    epochs: &Epochs,
    from: u64,
    take: &mut impl FnMut(Event<'_>) -> io::Result<()>,
) -> io::Result<(u64, Verdict)> {
    let mut offset = 0;
    loop {
        match segment::next(&bytes[offset..], expected, epochs) {
            Ok(Some(group)) => {
                for (start, length, frame) in group.frames().filter(|(.., frame)| frame.position.sequence > from) {
                    take(Event { frame, bytes: &group.bytes[start..start + length], unix_ms: group.unix_ms })?;
                }
                offset += group.bytes.len();
                expected = group.last + 1;
            }
            Ok(None) => return Ok((expected, Verdict::Whole)),
            Err(reason) => {
                let loss = Loss { offset: offset as u64, bytes: (bytes.len() - offset) as u64, reason };
                return Ok((expected, Verdict::Cut(loss)));
            }
        }
    }
}
