//! Idempotency keys: what a repeated write is answered from, in memory and on disk as `<first-sequence>.keys`.
//!
//! ```text
//! <key> <fingerprint> <sequence> <unix-ms> <status> <path> <crc32c>\n                  one line per keyed write
//! 0f…32 hex  9a…32 hex  1042  1795218566123  201  /messages/123  9f2ac01b
//! ```
//!
//! `key` is the client's key hashed under the stream's secret ([`hash`]), so that the file gives no key away;
//! `fingerprint` is a hash of the request, which the caller chooses; `sequence` is that of the write's event; `path` is
//! the document's, percent-encoded as in its URL. The CRC covers the line up to and with the space before it. Version
//! 1; the manifest carries it. Invariants: sequences ascend from line to line; a line is at most [`KEY_LINE_BYTES_MAX`]
//! bytes; what is decoded would be encoded in the same bytes.
//!
//! A line whose event was lost must go with it: the sequence will be given to another event. [`read`] therefore ends
//! before the first such line, and what it didn't keep is cut from the file before anything is appended.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hasher;
use std::iter::FusedIterator;

use memchr::memchr;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::event::push_decimal;
use crate::limits::{KEY_AGE_MS_MAX, KEY_LINE_BYTES_MAX, KEYS_MAX};
use crate::log::line;
use crate::topic::Place;

/// The hash by which a key is known: SipHash-1-3 with 128 bits under the stream's secret.
#[must_use]
pub fn hash(secret: &[u8; 16], key: &[u8]) -> u128 {
    let mut hasher = SipHasher13::new_with_key(secret);
    hasher.write(key);
    hasher.finish128().as_u128()
}

/// A keyed write that was done, and what its answer was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// [`hash`] of the client's key.
    pub key: u128,
    /// A hash of the request: a repeat with another one is refused.
    pub fingerprint: u128,
    /// Sequence of the write's event.
    pub sequence: u64,
    /// When it was written, in milliseconds since 1970.
    pub unix_ms: u64,
    /// Status of the answer, 100 to 999.
    pub status: u16,
    /// The document that was written.
    pub place: Place,
}

impl Record {
    /// Appends the record's line.
    ///
    /// # Panics
    /// If the status isn't one of HTTP.
    pub fn encode(&self, out: &mut Vec<u8>) {
        assert!((100..1000).contains(&self.status), "a status has three digits");
        let start = out.len();
        line::push_hex(out, self.key, 32);
        out.push(b' ');
        line::push_hex(out, self.fingerprint, 32);
        for number in [self.sequence, self.unix_ms, u64::from(self.status)] {
            out.push(b' ');
            push_decimal(out, number);
        }
        out.push(b' ');
        out.extend_from_slice(self.place.url().as_bytes());
        out.push(b' ');
        let crc = crc32c::crc32c(&out[start..]);
        line::push_checksum(out, crc);
    }

    /// The record of which `line` (with its end) is the line; none if it is torn, damaged or no such line.
    #[must_use]
    pub fn decode(line: &[u8]) -> Option<Record> {
        let text = std::str::from_utf8(line::checked(line)?.strip_suffix(b" ")?).ok()?;
        let mut fields = text.split(' ');
        let mut next = || fields.next().map(str::as_bytes);
        let record = Record {
            key: line::hex(next()?, 32)?,
            fingerprint: line::hex(next()?, 32)?,
            sequence: line::decimal(next()?)?,
            unix_ms: line::decimal(next()?)?,
            status: line::decimal(next()?)?.try_into().ok()?,
            place: Place::parse(std::str::from_utf8(next()?).ok()?).ok()?,
        };
        let canonical = (100..1000).contains(&record.status) && text.rsplit(' ').next()? == record.place.url();
        (canonical && fields.next().is_none()).then_some(record)
    }

    /// Whether the key is still remembered at `now_ms`.
    #[must_use]
    pub fn is_fresh(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.unix_ms) <= KEY_AGE_MS_MAX
    }
}

/// The records of a file whose segment (and all the log before it) kept its events up to the sequence `last`.
#[must_use]
pub fn read(bytes: &[u8], last: u64) -> Records<'_> {
    Records { bytes, at: 0, after: 0, last }
}

/// The lines of a file of keys, up to the first one that isn't to be believed: torn, damaged, or of an event that the
/// log lost.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Sequence of the record before.
    after: u64,
    last: u64,
}

impl Records<'_> {
    /// Bytes of the lines that were read so far. At the end, cut the file to this length before appending to it.
    #[must_use]
    pub fn kept_bytes(&self) -> u64 {
        self.at as u64
    }
}

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        let rest = &self.bytes[self.at..];
        let length = memchr(b'\n', &rest[..rest.len().min(KEY_LINE_BYTES_MAX)])? + 1;
        let record = Record::decode(&rest[..length])?;
        if record.sequence <= self.after || record.sequence > self.last {
            return None;
        }
        self.at += length;
        self.after = record.sequence;
        Some(record)
    }
}

// The cursor stays before the line that ended it, so asking again gives none again.
impl FusedIterator for Records<'_> {}

/// The keys that a stream remembers: at most [`KEYS_MAX`], for at most [`KEY_AGE_MS_MAX`]; the oldest go first.
#[derive(Default, Debug)]
pub struct Keys {
    records: HashMap<u128, Record>,
    /// The same records by age: time, sequence, key.
    ages: BTreeSet<(u64, u64, u128)>,
}

impl Keys {
    /// The record of the key with this hash, if there is one: look whether it [is fresh](Record::is_fresh).
    #[must_use]
    pub fn find(&self, key: u128) -> Option<&Record> {
        self.records.get(&key)
    }

    /// Remembers a record, in place of an older one with its key; the oldest goes when there are too many.
    pub fn insert(&mut self, record: Record) {
        self.remove(record.key);
        self.ages.insert((record.unix_ms, record.sequence, record.key));
        self.records.insert(record.key, record);
        if self.records.len() > KEYS_MAX
            && let Some((_, _, oldest)) = self.ages.pop_first()
        {
            self.records.remove(&oldest);
        }
    }

    /// Forgets the key with this hash: its write was taken back.
    pub fn remove(&mut self, key: u128) -> Option<Record> {
        let record = self.records.remove(&key)?;
        self.ages.remove(&(record.unix_ms, record.sequence, key));
        Some(record)
    }

    /// Forgets the keys that are older than [`KEY_AGE_MS_MAX`] at `now_ms`. Constant time if there are none.
    pub fn expire(&mut self, now_ms: u64) {
        while let Some(&(_, _, key)) = self.ages.first()
            && !self.records[&key].is_fresh(now_ms)
        {
            self.remove(key);
        }
    }

    /// The number of keys that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether no key is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(key: u128, sequence: u64, unix_ms: u64) -> Record {
        let place = Place::parse("/users/7/messages/a%20b").expect("a path");
        Record { key, fingerprint: u128::MAX / 3, sequence, unix_ms, status: 201, place }
    }

    fn file(records: &[Record]) -> Vec<u8> {
        let mut bytes = Vec::new();
        records.iter().for_each(|record| record.encode(&mut bytes));
        bytes
    }

    #[test]
    fn the_lines_are_those_in_the_fixture() {
        let fixture = include_str!("../../../../fixtures/logs/keys.txt");
        let secret = std::array::from_fn(|at| at as u8);
        let mut records =
            [record(hash(&secret, b"first"), 1042, 1_795_218_566_123), record(7, 1043, 1_795_218_566_124)];
        records[1].status = 204;
        assert_eq!(String::from_utf8(file(&records)).expect("text"), fixture);
        assert!(read(fixture.as_bytes(), 1043).eq(records));
    }

    #[test]
    fn cut_anywhere_whole_lines_are_kept() {
        let records = [record(1, 5, 100), record(2, 6, 101), record(3, 9, 102)];
        let bytes = file(&records);
        for cut in 0..=bytes.len() {
            let mut read = read(&bytes[..cut], 9);
            let kept: Vec<Record> = read.by_ref().collect();
            assert_eq!(kept, records[..kept.len()], "cut at {cut}");
            assert_eq!(
                read.kept_bytes() as usize,
                bytes[..cut].iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1)
            );
        }
    }

    #[test]
    fn every_flipped_bit_ends_the_file_there() {
        let records = [record(1, 5, 100), record(2, 6, 101), record(3, 9, 102)];
        let bytes = file(&records);
        let line = bytes.len() / 3;
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(read(&flipped, 9).eq(records[..at / line].iter().cloned()), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn keys_of_lost_events_go_with_them() {
        let bytes = file(&[record(1, 5, 100), record(2, 6, 101)]);
        let mut read = read(&bytes, 5);
        assert_eq!((read.by_ref().count(), read.kept_bytes() as usize), (1, bytes.len() / 2));
        let backwards = file(&[record(1, 6, 100), record(2, 6, 101)]);
        assert_eq!(super::read(&backwards, 9).count(), 1);
    }

    #[test]
    fn the_longest_line_fits() {
        let path = format!("/{}", "ü".repeat(64)).repeat(16);
        let mut longest = record(1, u64::MAX, u64::MAX);
        longest.place = Place::parse(&path).expect("a path");
        let bytes = file(&[longest.clone()]);
        assert!(bytes.len() <= KEY_LINE_BYTES_MAX);
        assert!(read(&bytes, u64::MAX).eq([longest]));
    }

    #[test]
    fn the_oldest_keys_go_first() {
        let mut keys = Keys::default();
        for key in 0..KEYS_MAX as u64 + 3 {
            // The clock was set back once: age is by time.
            let unix_ms = if key == 2 { 9_000_000 } else { key };
            keys.insert(record(u128::from(key), key + 1, unix_ms));
        }
        assert_eq!(keys.len(), KEYS_MAX);
        let remembered: Vec<bool> = (0..6).map(|key| keys.find(key).is_some()).collect();
        assert_eq!(remembered, [false, false, true, false, true, true]);
        keys.expire(KEY_AGE_MS_MAX + 4);
        assert!(keys.find(4).is_some());
        keys.expire(KEY_AGE_MS_MAX + 5);
        assert!(keys.find(4).is_none() && keys.find(5).is_some());
        keys.expire(KEY_AGE_MS_MAX + 9_000_000);
        assert_eq!(keys.len(), 1);
        keys.expire(u64::MAX);
        assert!(keys.is_empty() && keys.ages.is_empty());
    }

    #[test]
    fn a_key_is_hashed_under_the_secret() {
        assert_ne!(hash(&[0; 16], b"key"), hash(&[1; 16], b"key"));
        assert_ne!(hash(&[0; 16], b"key"), hash(&[0; 16], b"kex"));
        assert_ne!(hash(&[0; 16], b"key"), hash(&[0; 16], b"key\0"));
    }

    proptest! {
        #[test]
        fn memory_and_ages_agree(steps in prop::collection::vec((0u8..3, 0u128..6, 0u64..4), 0..60)) {
            let mut keys = Keys::default();
            for (step, key, unix_ms) in steps {
                match step {
                    0 | 1 => {
                        keys.insert(record(key, unix_ms, unix_ms));
                        prop_assert_eq!(keys.find(key), Some(&record(key, unix_ms, unix_ms)));
                    }
                    _ => {
                        let was = keys.find(key).cloned();
                        prop_assert_eq!(keys.remove(key), was);
                        prop_assert_eq!(keys.find(key), None);
                    }
                }
                prop_assert_eq!(keys.ages.len(), keys.records.len());
            }
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, text in "[0-9a-f/ ]{0,120}") {
            let _ = (read(&bytes, 9).count(), Record::decode(&bytes));
            let mut line = text.into_bytes();
            line.push(b' ');
            let crc = crc32c::crc32c(&line);
            line::push_checksum(&mut line, crc);
            let _ = Record::decode(&line);
        }
    }
}
