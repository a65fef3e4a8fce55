//! The buffers that all receives of a ring take from: a ring of provided buffers, shared with the kernel.

use std::io;
use std::mem::size_of;
use std::ptr;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use memmap2::MmapMut;

/// The measures of a group of buffers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measures {
    /// What receives name the group by.
    pub(crate) group: u16,
    /// Buffers: several times what one enter hands over; a power of two.
    count: u16,
    /// Bytes of each.
    bytes: usize,
}

/// What is read: so much in one receive that reading history costs a fifth less than with 4 KiB, and all together stay in the
/// second-level cache.
pub(crate) const READ: Measures = Measures { group: 0, count: 64, bytes: 16 * 1024 };

/// What is thrown away unread: as much as a socket may hold. Nothing is ever written to these, so that they take no memory.
pub(crate) const DISCARDED: Measures = Measures { group: 1, count: 64, bytes: 4 * 1024 * 1024 };

/// A group of buffers of one ring, and the queue in which they are given to the kernel.
pub(crate) struct Buffers {
    measures: Measures,
    /// `count` entries, page-aligned; the kernel reads them, and the tail that is hidden in the first one.
    queue: MmapMut,
    memory: MmapMut,
    tail: u16,
}

impl Buffers {
    /// Registers the buffers with `ring`.
    pub(crate) fn new(ring: &IoUring, measures: Measures) -> io::Result<Buffers> {
        let Measures { group, count, bytes } = measures;
        let queue = MmapMut::map_anon(usize::from(count) * size_of::<BufRingEntry>())?;
        let memory = MmapMut::map_anon(usize::from(count) * bytes)?;
        // SAFETY: the queue is a mapping of `count` entries, aligned to a page. It lives as long as the ring, which drops
        // it after itself.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(queue.as_ptr() as u64, count, group, 0)?;
        }
        let mut buffers = Buffers { measures, queue, memory, tail: 0 };
        (0..count).for_each(|buffer| buffers.give_back(buffer));
        Ok(buffers)
    }

    /// The first `length` bytes of a buffer.
    pub(crate) fn bytes(&self, buffer: u16, length: usize) -> &[u8] {
        let from = usize::from(buffer) * self.measures.bytes;
        &self.memory[from..from + length.min(self.measures.bytes)]
    }

    /// Lets the kernel fill the buffer anew.
    pub(crate) fn give_back(&mut self, buffer: u16) {
        let Measures { count, bytes, .. } = self.measures;
        let entries = self.queue.as_mut_ptr().cast::<BufRingEntry>();
        // SAFETY: `buffer` and the index are below `count`, so both addresses are inside the mappings. The kernel reads an
        // entry only after it has seen the tail behind it, which is stored with Release afterwards. The tail lies in bytes
        // of the first entry that the setters don't touch.
        unsafe {
            let entry = &mut *entries.add(usize::from(self.tail % count));
            entry.set_addr(ptr::from_ref(&self.memory[usize::from(buffer) * bytes]) as u64);
            entry.set_len(bytes as u32);
            entry.set_bid(buffer);
            self.tail = self.tail.wrapping_add(1);
            AtomicU16::from_ptr(BufRingEntry::tail(entries).cast_mut()).store(self.tail, Ordering::Release);
        }
    }
}
