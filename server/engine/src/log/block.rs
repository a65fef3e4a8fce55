//! A block of the tail: bytes that one core appends and every core reads.
//!
//! ```text
//! start                              filled                capacity
//!   | group | group | group | group |  never read           |
//! ```
//!
//! What lies below `filled` never changes again, so readers borrow it without a lock; what lies above belongs to the one
//! [`BlockWriter`]. This file holds the engine's only `unsafe` code, and nothing outside it has to be careful.

use std::cell::UnsafeCell;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::{BLOCK_BYTES, BLOCK_EVENTS_MAX};
use crate::topic::Topic;

/// Where one event lies in the log, and what it is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Extent {
    /// Offset of the frame's first byte in the log.
    pub start: u64,
    /// Bytes of the frame, with the line that closes its group if it is the group's last.
    pub length: u32,
    /// [`crate::topic::hash`] of the collection's path.
    pub collection: u64,
    /// [`crate::topic::hash`] of the document's path.
    pub document: u64,
}

impl Extent {
    /// Offset of the first byte after it.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start + u64::from(self.length)
    }

    /// Whether followers of `topic` get this event.
    #[must_use]
    pub fn concerns(&self, topic: Topic) -> bool {
        match topic {
            Topic::Stream => true,
            Topic::Path(hash) => hash == self.collection || hash == self.document,
        }
    }
}

/// Some whole groups of a stream's log, in memory, with the extent of each of their events.
pub struct Block {
    start: u64,
    first: u64,
    filled: AtomicUsize,
    counted: AtomicUsize,
    bytes: Box<[UnsafeCell<u8>]>,
    extents: Box<[UnsafeCell<Extent>]>,
}

// SAFETY: the only writer is the one BlockWriter, which writes above `filled` and `counted` and raises them afterwards
// with Release; readers load them with Acquire and read only below them.
unsafe impl Sync for Block {}

impl Block {
    /// Offset of the first byte in the log.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Offset of the first byte after those that were appended.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start + self.bytes().len() as u64
    }

    /// Sequence of the first event.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// All bytes that were appended so far. Their address doesn't change.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        let filled = self.filled.load(Ordering::Acquire);
        // SAFETY: `filled` never passes the capacity, and bytes below it are never written again.
        unsafe { std::slice::from_raw_parts(self.bytes.as_ptr().cast(), filled) }
    }

    /// The extents of all events that were appended so far, in order.
    #[must_use]
    pub fn extents(&self) -> &[Extent] {
        let counted = self.counted.load(Ordering::Acquire);
        // SAFETY: as for the bytes.
        unsafe { std::slice::from_raw_parts(self.extents.as_ptr().cast(), counted) }
    }
}

/// The right to append to a block.
pub struct BlockWriter {
    block: Arc<Block>,
}

impl BlockWriter {
    /// A new block that begins at offset `start` with the event `first`, large enough for a group of `bytes` and `events`.
    #[must_use]
    pub fn new(start: u64, first: u64, bytes: usize, events: usize) -> BlockWriter {
        // Zeroed bytes come untouched from the kernel, so what isn't filled costs no memory; the extents do.
        let bytes = vec![0u8; bytes.max(BLOCK_BYTES)].into_boxed_slice();
        let extents = vec![Extent::default(); events.max(BLOCK_EVENTS_MAX)].into_boxed_slice();
        // SAFETY: UnsafeCell<T> has the layout of T, and the box is the only owner.
        let bytes = unsafe { Box::from_raw(Box::into_raw(bytes) as *mut [UnsafeCell<u8>]) };
        // SAFETY: as above.
        let extents = unsafe { Box::from_raw(Box::into_raw(extents) as *mut [UnsafeCell<Extent>]) };
        let (filled, counted) = (AtomicUsize::new(0), AtomicUsize::new(0));
        BlockWriter { block: Arc::new(Block { start, first, filled, counted, bytes, extents }) }
    }

    /// The block, for readers.
    #[must_use]
    pub fn block(&self) -> &Arc<Block> {
        &self.block
    }

    /// Whether a group of `bytes` and `events` still fits.
    #[must_use]
    pub fn fits(&self, bytes: usize, events: usize) -> bool {
        self.block.bytes().len() + bytes <= self.block.bytes.len()
            && self.block.extents().len() + events <= self.block.extents.len()
    }

    /// Appends one group.
    ///
    /// # Panics
    /// If it doesn't fit.
    pub fn append(&mut self, group: &[u8], extents: &[Extent]) {
        assert!(self.fits(group.len(), extents.len()), "a group lies within one block");
        let filled = self.block.filled.load(Ordering::Relaxed);
        let counted = self.block.counted.load(Ordering::Relaxed);
        let bytes = UnsafeCell::raw_get(self.block.bytes[filled..].as_ptr());
        // SAFETY: the room above `filled` was checked; no reader looks there; `&mut self` makes this the only writer.
        unsafe { ptr::copy_nonoverlapping(group.as_ptr(), bytes, group.len()) };
        let slots = UnsafeCell::raw_get(self.block.extents[counted..].as_ptr());
        // SAFETY: as above, with `counted`.
        unsafe { ptr::copy_nonoverlapping(extents.as_ptr(), slots, extents.len()) };
        self.block.counted.store(counted + extents.len(), Ordering::Release);
        self.block.filled.store(filled + group.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_on_another_thread_sees_whole_groups_in_order() {
        let mut writer = BlockWriter::new(100, 1, 0, 0);
        let block = Arc::clone(writer.block());
        let reader = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = 0;
                while seen < BLOCK_EVENTS_MAX {
                    let extents = block.extents();
                    for extent in &extents[seen..] {
                        assert_eq!(extent.start, 100 + seen as u64 * 8);
                        seen += 1;
                    }
                    let bytes = block.bytes();
                    for (index, group) in bytes.chunks(8).enumerate() {
                        assert_eq!(group, (index as u64).to_le_bytes());
                    }
                }
                seen
            });
            for index in 0..BLOCK_EVENTS_MAX as u64 {
                let extent = Extent { start: 100 + index * 8, length: 8, collection: 1, document: index };
                writer.append(&index.to_le_bytes(), &[extent]);
            }
            reader.join().expect("the reader's assertions hold")
        });
        assert_eq!(reader, BLOCK_EVENTS_MAX);
        assert!(!writer.fits(8, 1));
        assert_eq!(block.end(), 100 + BLOCK_EVENTS_MAX as u64 * 8);
    }
}
