//! The group that gathers while the one before it is written.

use crate::document::Undo;
use crate::log::block::Extent;
use crate::log::tail::{Appended, Tail};
use crate::log::{group, index};

/// Events that will become durable together, and how to take them back.
#[derive(Default)]
pub(super) struct Group {
    pub(super) bytes: Vec<u8>,
    /// Offsets count from the group's first byte until it is sealed.
    pub(super) extents: Vec<Extent>,
    pub(super) first: Option<u64>,
    pub(super) last: u64,
    /// In the order of the changes; taken back in reverse.
    pub(super) undo: Vec<Undo>,
    /// Records of the idempotency keys, as they are written.
    pub(super) keys: Vec<u8>,
    pub(super) key_hashes: Vec<u128>,
}

/// A closed group in the tail, and what goes to disk with it.
pub struct Sealed {
    /// Where its bytes lie; they are written as they are.
    pub appended: Appended,
    /// Sequence of its first event.
    pub first: u64,
    /// Sequence of its last event.
    pub last: u64,
    /// Its events' extents in the log.
    pub extents: Vec<Extent>,
    /// Lines for the file of idempotency keys; they must be durable before the group.
    pub keys: Vec<u8>,
}

impl Sealed {
    /// The group's entries for the index of a segment that begins at offset `base` of the log.
    ///
    /// # Panics
    /// If the group lies more than 4 GiB behind the segment's beginning.
    #[must_use]
    pub fn index_entries(&self, base: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.extents.len() * index::Entry::BYTES);
        for extent in &self.extents {
            let entry = index::Entry {
                offset: u32::try_from(extent.start - base).expect("segments are smaller than 4 GiB"),
                length: extent.length,
                collection: extent.collection,
                document: extent.document,
            };
            bytes.extend_from_slice(&entry.encode());
        }
        bytes
    }
}

impl Group {
    pub(super) fn seal(&mut self, tail: &mut Tail, first: u64, last: u64, now_ms: u64) -> Sealed {
        self.last = last;
        let frames = self.bytes.len();
        group::seal(&mut self.bytes, first, last, now_ms);
        let start = tail.end();
        let mut extents = std::mem::take(&mut self.extents);
        for extent in &mut extents {
            extent.start += start;
        }
        // The line that closes the group belongs to its last event.
        extents.last_mut().expect("a group has an event").length += (self.bytes.len() - frames) as u32;
        let bytes = std::mem::take(&mut self.bytes);
        let appended = tail.append(&bytes, first, &extents);
        Sealed { appended, first, last, extents, keys: std::mem::take(&mut self.keys) }
    }
}
