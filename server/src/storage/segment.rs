//! A segment as memory: what a reader behind the tail is sent.
//!
//! Both files of a segment are mapped once, at the first reader, up to the greatest size that they can reach, so that the
//! newest segment needs no second mapping while it grows. Only bytes below `published` that the tail no
//! longer has are ever touched: those are in the file. Whoever cuts a file under a running server gets SIGBUS; the lock on the data folder says that nobody may.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use fantail_engine::limits::{BODY_BYTES_MAX, GROUP_BYTES_MAX, SEGMENT_BYTES};
use fantail_engine::log::index::Entry;
use fantail_engine::log::segment::{self, Kind};
use memmap2::{Mmap, MmapOptions};

/// Bytes of a segment at most: one that isn't full takes one more group, with the frame that made that one full.
const SEGMENT_MAP_BYTES: usize = SEGMENT_BYTES as usize + GROUP_BYTES_MAX + 2 * BODY_BYTES_MAX;
/// Bytes of an index at most: no frame is shorter than 32 bytes.
const INDEX_MAP_BYTES: usize = SEGMENT_MAP_BYTES / 32 * (Entry::BYTES + 8);

/// One segment and its index.
pub struct Segment {
    /// Sequence of its first event.
    pub first: u64,
    /// Offset of its first byte in the log.
    pub base: u64,
    folder: Arc<Path>,
    bytes: OnceLock<Mmap>,
    index: OnceLock<Mmap>,
}

impl Segment {
    /// The segment of the stream in `folder` that begins with the event `first` at offset `base` of the log.
    #[must_use]
    pub fn new(folder: Arc<Path>, first: u64, base: u64) -> Segment {
        Segment { first, base, folder, bytes: OnceLock::new(), index: OnceLock::new() }
    }

    /// The bytes from offset `from` to `to` of the log.
    ///
    /// The caller answers for `to` being at most what was published.
    ///
    /// # Errors
    /// If the file can't be opened or mapped, or the range isn't within a segment.
    pub fn bytes(&self, from: u64, to: u64) -> io::Result<&[u8]> {
        let map = map(&self.bytes, &self.folder, self.first, Kind::Log, SEGMENT_MAP_BYTES)?;
        let range = (from - self.base) as usize..(to - self.base) as usize;
        map.get(range).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The index entry of the event with this ordinal, which was published.
    ///
    /// # Errors
    /// If the file can't be opened or mapped.
    pub fn entry(&self, ordinal: u64) -> io::Result<Entry> {
        let map = self.index()?;
        let at = ordinal as usize * Entry::BYTES;
        let bytes = map.get(at..at + Entry::BYTES).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Entry::decode(bytes.try_into().expect("the bytes of one entry")))
    }

    fn index(&self) -> io::Result<&Mmap> {
        map(&self.index, &self.folder, self.first, Kind::Index, INDEX_MAP_BYTES)
    }

    /// The ordinal of the first of `count` published events whose extent ends after offset `cursor` of the log, or
    /// `count`.
    ///
    /// # Errors
    /// If the file can't be opened or mapped.
    pub fn ordinal_after(&self, cursor: u64, count: u64) -> io::Result<u64> {
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = self.entry(middle)?;
            match self.base + u64::from(entry.offset) + u64::from(entry.length) <= cursor {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        Ok(low)
    }
}

fn map<'a>(cell: &'a OnceLock<Mmap>, folder: &Path, first: u64, kind: Kind, length: usize) -> io::Result<&'a Mmap> {
    if let Some(map) = cell.get() {
        return Ok(map);
    }
    let file = File::open(folder.join(segment::name(first, kind)))?;
    // SAFETY: the file is only appended to, by this process alone (the folder's lock), and what is touched of the mapping
    // lies below `published`, so within the file.
    let map = unsafe { MmapOptions::new().len(length).map(&file) }?;
    Ok(cell.get_or_init(|| map))
}
