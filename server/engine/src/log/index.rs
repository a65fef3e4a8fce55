//! The index of a segment, `<first-sequence>.idx`: where each event lies and what it changed.
//!
//! ```text
//! open      entry 0 │ entry 1 │ …                        one per event, appended as events are; the tail may be torn
//! sealed    entry 0 │ … │ entry n-1 │ by collection │ by document │ footer                       32 n + 20 bytes
//!
//! entry     offset u32 │ length u32 │ collection u64 │ document u64                              24 bytes
//! by …      ordinal u32 × n, sorted by (that hash of the ordinal's entry, ordinal)                4 bytes each
//! footer    "fantidx\n" │ version u32 = 1 │ count u32 = n │ crc32c u32 of all bytes before it    20 bytes
//! ```
//!
//! Numbers are little-endian. An ordinal counts the segment's events from 0: the segment's first sequence plus the
//! ordinal is the event's sequence. `offset` is the frame's in the segment; `length` is the extent's, with the group's
//! closing line if the event is its group's last, so that extents lie next to each other. The hashes are
//! [`topic::hash`](crate::topic::hash) of the collection's and the document's path.
//!
//! Invariants: the index holds no truth; it can be rebuilt from the segment, and a hit is verified against the frame.
//! No bytes make a reader panic or loop: a wrong index gives wrong answers, which the frame then refutes.

use crate::limits::SEGMENT_BYTES;
use crate::topic::Topic;

const MAGIC: &[u8; 8] = b"fantidx\n";
const VERSION: u32 = 1;
const POSTING_BYTES: usize = 4;

/// Entries that are looked at before the postings are searched: a search costs as much (`scripts/bench index`).
const NEAR: u32 = 128;

const FOOTER_BYTES: usize = MAGIC.len() + 4 + 4 + 4;

const _: () = assert!(2 * SEGMENT_BYTES < u32::MAX as u64, "offsets in a segment fit 32 bits");

/// Where one event lies in its segment, and what it changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Bytes from the segment's start to the frame.
    pub offset: u32,
    /// Bytes of the extent: up to the next frame.
    pub length: u32,
    /// Hash of the collection's path.
    pub collection: u64,
    /// Hash of the document's path.
    pub document: u64,
}

impl Entry {
    /// Bytes of an entry on disk.
    pub const BYTES: usize = 24;

    /// The entry as it is on disk.
    #[must_use]
    pub fn encode(&self) -> [u8; Entry::BYTES] {
        let mut bytes = [0; Entry::BYTES];
        bytes[..4].copy_from_slice(&self.offset.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.collection.to_le_bytes());
        bytes[16..].copy_from_slice(&self.document.to_le_bytes());
        bytes
    }

    /// The entry that these bytes are; any are one.
    #[must_use]
    pub fn decode(bytes: &[u8; Entry::BYTES]) -> Entry {
        Entry {
            offset: u32_at(bytes, 0).expect("an entry has 24 bytes"),
            length: u32_at(bytes, 4).expect("an entry has 24 bytes"),
            collection: u64_at(bytes, 8).expect("an entry has 24 bytes"),
            document: u64_at(bytes, 16).expect("an entry has 24 bytes"),
        }
    }
}

/// Bytes of the sealed index of a segment with this number of events.
#[must_use]
pub fn sealed_bytes(events: u64) -> u64 {
    events.saturating_mul((Entry::BYTES + 2 * POSTING_BYTES) as u64).saturating_add(FOOTER_BYTES as u64)
}

/// The postings and the footer that seal the index of `entries`: what to append after them.
///
/// # Panics
/// If there are more entries than a `u32` counts; a segment ends long before.
#[must_use]
pub fn seal(entries: &[Entry]) -> Vec<u8> {
    let count = u32::try_from(entries.len()).expect("a segment's events fit 32 bits");
    let mut out = Vec::with_capacity(2 * POSTING_BYTES * entries.len() + FOOTER_BYTES);
    let mut ordinals: Vec<u32> = (0..count).collect();
    for hash in [By::Collection, By::Document] {
        ordinals.sort_unstable_by_key(|&ordinal| (hash.of(&entries[ordinal as usize]), ordinal));
        out.extend(ordinals.iter().flat_map(|ordinal| ordinal.to_le_bytes()));
    }
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
    let crc = entries.iter().fold(0, |crc, entry| crc32c::crc32c_append(crc, &entry.encode()));
    let crc = crc32c::crc32c_append(crc, &out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// How an index ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// With its entries: the segment is the newest one.
    Open,
    /// With postings and a footer: another segment follows.
    Sealed,
}

/// The whole index of `entries`, as it is on disk.
///
/// # Panics
/// As [`seal`].
#[must_use]
pub fn encode(entries: &[Entry], form: Form) -> Vec<u8> {
    let mut bytes: Vec<u8> = entries.iter().flat_map(Entry::encode).collect();
    match form {
        Form::Open => {}
        Form::Sealed => bytes.extend(seal(entries)),
    }
    bytes
}

/// Which of an entry's two hashes.
#[derive(Clone, Copy)]
enum By {
    Collection,
    Document,
}

impl By {
    fn of(self, entry: &Entry) -> u64 {
        match self {
            By::Collection => entry.collection,
            By::Document => entry.document,
        }
    }
}

/// The bytes of an index, to be asked. It is two slices: made anew from the mapping whenever it is needed.
#[derive(Clone, Copy, Debug)]
pub struct Index<'a> {
    entries: &'a [u8],
    /// By collection and by document, of a sealed index.
    postings: Option<[&'a [u8]; 2]>,
    /// The whole file.
    bytes: &'a [u8],
}

/// What [`Index::next`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// The next event of the topic (or one whose hash is the same) is the one with this ordinal.
    Found(u32),
    /// None before this ordinal, which is as far as the scan was allowed: go on from here.
    Further(u32),
    /// None in the rest of the index.
    End,
}

impl<'a> Index<'a> {
    /// The index in `bytes`, in constant time: sealed if a footer ends it, else open, without the torn entry at its
    /// end.
    ///
    /// The checksum isn't looked at: see [`Index::verify`].
    ///
    /// # Errors
    /// A footer of another version, or with a count that the length refutes. Rebuild the index then.
    pub fn open(bytes: &'a [u8]) -> Result<Index<'a>, IndexError> {
        let footer = bytes.len().checked_sub(FOOTER_BYTES).map(|at| &bytes[at..]);
        let Some(footer) = footer.filter(|footer| footer.starts_with(MAGIC)) else {
            let whole = bytes.len() - bytes.len() % Entry::BYTES;
            return Ok(Index { entries: &bytes[..whole], postings: None, bytes });
        };
        match u32_at(footer, 8) {
            Some(VERSION) => {}
            Some(version) => return Err(IndexError::Version(version)),
            None => return Err(IndexError::Length),
        }
        let count = u32_at(footer, 12).ok_or(IndexError::Length)? as usize;
        let per_event = Entry::BYTES + 2 * POSTING_BYTES;
        if count.checked_mul(per_event) != Some(bytes.len() - FOOTER_BYTES) {
            return Err(IndexError::Length);
        }
        let (entries, rest) = bytes.split_at(count * Entry::BYTES);
        let (collections, rest) = rest.split_at(count * POSTING_BYTES);
        Ok(Index { entries, postings: Some([collections, &rest[..count * POSTING_BYTES]]), bytes })
    }

    /// Checks a sealed index whole, in linear time: once when it is mapped, not on each use. An open one has no
    /// checksum.
    ///
    /// # Errors
    /// The checksum isn't that of the bytes. Rebuild the index then.
    pub fn verify(&self) -> Result<(), IndexError> {
        if !self.is_sealed() {
            return Ok(());
        }
        let (covered, crc) = self.bytes.split_at(self.bytes.len() - 4);
        match u32_at(crc, 0) == Some(crc32c::crc32c(covered)) {
            true => Ok(()),
            false => Err(IndexError::Checksum),
        }
    }

    /// Whether postings answer [`Index::next`] at once.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.postings.is_some()
    }

    /// The number of events.
    #[must_use]
    pub fn len(&self) -> u32 {
        u32::try_from(self.entries.len() / Entry::BYTES).unwrap_or(u32::MAX)
    }

    /// Whether there is no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry of the event with this ordinal, if there is one.
    #[must_use]
    pub fn entry(&self, ordinal: u32) -> Option<Entry> {
        let bytes = self.entries.get(ordinal as usize * Entry::BYTES..)?;
        bytes.first_chunk().map(Entry::decode)
    }

    /// The first event of `topic` from the ordinal `from` on: by looking at some entries and then by binary search in a sealed
    /// index, by looking at no more than `scan_max` entries (at least one) in an open one.
    #[must_use]
    pub fn next(&self, topic: Topic, from: u32, scan_max: u32) -> Next {
        let hash = match topic {
            Topic::Stream if from < self.len() => return Next::Found(from),
            Topic::Stream => return Next::End,
            Topic::Path(hash) => hash,
        };
        let until = from.saturating_add(if self.is_sealed() { NEAR } else { scan_max.max(1) }).min(self.len());
        let matches = |entry: Entry| entry.collection == hash || entry.document == hash;
        if let Some(ordinal) = (from..until).find(|&ordinal| self.entry(ordinal).is_some_and(matches)) {
            return Next::Found(ordinal);
        }
        match self.postings {
            _ if until == self.len() => Next::End,
            None => Next::Further(until),
            Some([collections, documents]) => {
                let found = [
                    self.posted(collections, By::Collection, hash, until),
                    self.posted(documents, By::Document, hash, until),
                ];
                found.into_iter().flatten().min().map_or(Next::End, Next::Found)
            }
        }
    }

    /// The least ordinal that isn't below `from` among those posted with `hash`.
    fn posted(&self, postings: &[u8], by: By, hash: u64, from: u32) -> Option<u32> {
        let ordinal = |at: u32| u32_at(postings, at as usize * POSTING_BYTES);
        let key = |ordinal: u32| self.entry(ordinal).map(|entry| (by.of(&entry), ordinal));
        let at = first_not(self.len(), |at| ordinal(at).and_then(key) < Some((hash, from)));
        let (found, ordinal) = ordinal(at).and_then(key)?;
        (found == hash && ordinal >= from).then_some(ordinal)
    }

    /// The event whose extent holds the byte at `offset` of the segment: at a frame's boundary the one that begins
    /// there. None behind the last extent.
    #[must_use]
    pub fn ordinal_at(&self, offset: u32) -> Option<u32> {
        let after = first_not(self.len(), |at| self.entry(at).is_some_and(|entry| entry.offset <= offset));
        let ordinal = after.checked_sub(1)?;
        let entry = self.entry(ordinal)?;
        (offset.checked_sub(entry.offset)? < entry.length).then_some(ordinal)
    }
}

/// The first number below `count` that isn't `below`, or `count`; those that are `below` come first.
fn first_not(count: u32, below: impl Fn(u32) -> bool) -> u32 {
    let (mut from, mut to) = (0, count);
    while from < to {
        let middle = from + (to - from) / 2;
        match below(middle) {
            true => from = middle + 1,
            false => to = middle,
        }
    }
    from
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_le_bytes)
}

/// Why an index can't be used; it is to be rebuilt from its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// A sealed index of another version.
    #[error("the index has version {0}; this server reads version {VERSION}")]
    Version(u32),
    /// The count in the footer isn't that of the bytes.
    #[error("the index hasn't the length that its footer says")]
    Length,
    /// The checksum is wrong.
    #[error("the checksum of the index is wrong")]
    Checksum,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Extents next to each other, with few hashes so that they meet.
    fn entries(hashes: &[(u64, u64)]) -> Vec<Entry> {
        let mut offset = 0;
        let mut entries = Vec::new();
        for (at, &(collection, document)) in hashes.iter().enumerate() {
            let length = 40 + at as u32 % 7;
            entries.push(Entry { offset, length, collection, document });
            offset += length;
        }
        entries
    }

    fn file(entries: &[Entry], sealed: bool) -> Vec<u8> {
        let mut bytes: Vec<u8> = entries.iter().flat_map(Entry::encode).collect();
        if sealed {
            bytes.extend(seal(entries));
        }
        bytes
    }

    /// All events of a topic, by walking.
    fn walk(index: &Index<'_>, topic: Topic, scan_max: u32) -> Vec<u32> {
        let (mut found, mut from) = (Vec::new(), 0);
        loop {
            match index.next(topic, from, scan_max) {
                Next::Found(ordinal) => {
                    found.push(ordinal);
                    from = ordinal + 1;
                }
                Next::Further(ordinal) => {
                    assert!(!index.is_sealed() && ordinal > from);
                    from = ordinal;
                }
                Next::End => return found,
            }
        }
    }

    proptest! {
        #[test]
        fn sealed_and_open_answer_as_a_plain_search(
            mut hashes in prop::collection::vec((0u64..5, 3u64..9), 0..60),
            // Long enough that the postings are searched.
            others in 0usize..3 * NEAR as usize,
            scan_max in 0u32..9,
        ) {
            let (place, others) = (hashes.len() / 2, vec![(0, 8); others]);
            hashes.splice(place..place, others);
            let entries = entries(&hashes);
            for sealed in [false, true] {
                let bytes = file(&entries, sealed);
                let index = Index::open(&bytes).expect("an index");
                index.verify().expect("a right checksum");
                prop_assert_eq!((index.is_sealed(), index.len() as usize), (sealed, entries.len()));
                let all: Vec<u32> = (0..index.len()).collect();
                prop_assert_eq!(walk(&index, Topic::Stream, scan_max), all);
                for hash in 0..10 {
                    let matches = |entry: &Entry| entry.collection == hash || entry.document == hash;
                    let all = (0..).zip(&entries);
                    let expected: Vec<u32> = all.filter(|(_, entry)| matches(entry)).map(|(at, _)| at).collect();
                    prop_assert_eq!(walk(&index, Topic::Path(hash), scan_max), expected);
                }
                for (ordinal, entry) in (0..).zip(&entries) {
                    prop_assert_eq!(index.entry(ordinal), Some(*entry));
                    prop_assert_eq!(index.ordinal_at(entry.offset), Some(ordinal));
                    prop_assert_eq!(index.ordinal_at(entry.offset + entry.length - 1), Some(ordinal));
                }
                let end = entries.last().map_or(0, |entry| entry.offset + entry.length);
                prop_assert_eq!(index.ordinal_at(end), None);
                prop_assert_eq!(index.entry(index.len()), None);
            }
        }

        #[test]
        fn no_bytes_panic(mut bytes: Vec<u8>, count in 0u32..8, footer: bool, from: u32, topic: u64) {
            if footer {
                bytes.resize(count as usize * 32, 7);
                bytes.extend_from_slice(MAGIC);
                bytes.extend_from_slice(&VERSION.to_le_bytes());
                bytes.extend_from_slice(&count.to_le_bytes());
                bytes.extend_from_slice(&[0; 4]);
            }
            let index = Index::open(&bytes).expect("no footer, or a fitting one");
            let _ = (index.verify(), index.entry(from), index.entry(0), index.ordinal_at(from));
            let _ = index.next(Topic::Path(topic), from, 5);
            let _ = (index.next(Topic::Path(topic), 0, u32::MAX), index.next(Topic::Stream, from, 0));
        }
    }

    #[test]
    fn cut_anywhere_a_sealed_index_is_open_or_refused() {
        let entries = entries(&[(1, 10), (1, 11), (2, 12)]);
        let bytes = file(&entries, true);
        for cut in 0..bytes.len() {
            let index = Index::open(&bytes[..cut]).expect("without its footer it is open");
            assert!(!index.is_sealed());
            assert_eq!(index.len() as usize, cut / Entry::BYTES);
        }
    }

    #[test]
    fn every_flipped_bit_of_a_sealed_index_is_found() {
        let bytes = file(&entries(&[(1, 10), (1, 11), (2, 12)]), true);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let sealed = Index::open(&flipped).is_ok_and(|index| index.is_sealed() && index.verify().is_ok());
                assert!(!sealed, "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn another_version_and_another_length_are_refused() {
        let bytes = file(&entries(&[(1, 10)]), true);
        let mut newer = bytes.clone();
        newer[32 + 8] = 2;
        assert_eq!(Index::open(&newer).err(), Some(IndexError::Version(2)));
        assert_eq!(Index::open(&bytes[1..]).err(), Some(IndexError::Length));
        assert_eq!(bytes.len(), 32 + FOOTER_BYTES);
        assert_eq!(sealed_bytes(1), bytes.len() as u64);
    }
}
