//! The buffers that all receives of a ring take from: a ring of provided buffers, shared with the kernel.

use std::io;
use std::mem::size_of;
use std::ptr;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use memmap2::MmapMut;

/// Buffers of a ring: several times what one enter hands over, few enough to stay in the second-level cache.
const COUNT: u16 = 256;

/// Bytes of a buffer: some twenty frames that a reader found waiting.
const BYTES: usize = 4 * 1024;

/// The buffers of one ring, and the queue in which they are given to the kernel.
pub(crate) struct Buffers {
    /// `COUNT` entries, page-aligned; the kernel reads them, and the tail that is hidden in the first one.
    queue: MmapMut,
    memory: MmapMut,
    tail: u16,
}

impl Buffers {
    /// The group that receives name.
    pub(crate) const GROUP: u16 = 0;

    /// Registers the buffers with `ring`.
    pub(crate) fn new(ring: &IoUring) -> io::Result<Buffers> {
        let queue = MmapMut::map_anon(usize::from(COUNT) * size_of::<BufRingEntry>())?;
        let memory = MmapMut::map_anon(usize::from(COUNT) * BYTES)?;
        // SAFETY: the queue is a mapping of `COUNT` entries, aligned to a page. It lives as long as the ring, which drops
        // it after itself.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(queue.as_ptr() as u64, COUNT, Buffers::GROUP, 0)?;
        }
        let mut buffers = Buffers { queue, memory, tail: 0 };
        (0..COUNT).for_each(|buffer| buffers.give_back(buffer));
        Ok(buffers)
    }

    /// The first `length` bytes of a buffer.
    pub(crate) fn bytes(&self, buffer: u16, length: usize) -> &[u8] {
        let from = usize::from(buffer) * BYTES;
        &self.memory[from..from + length.min(BYTES)]
    }

    /// Lets the kernel fill the buffer anew.
    pub(crate) fn give_back(&mut self, buffer: u16) {
        let entries = self.queue.as_mut_ptr().cast::<BufRingEntry>();
        // SAFETY: `buffer` and the index are below `COUNT`, so both addresses are inside the mappings. The kernel reads an
        // entry only after it has seen the tail behind it, which is stored with Release afterwards. The tail lies in bytes
        // of the first entry that the setters don't touch.
        unsafe {
            let entry = &mut *entries.add(usize::from(self.tail % COUNT));
            entry.set_addr(ptr::from_ref(&self.memory[usize::from(buffer) * BYTES]) as u64);
            entry.set_len(BYTES as u32);
            entry.set_bid(buffer);
            self.tail = self.tail.wrapping_add(1);
            AtomicU16::from_ptr(BufRingEntry::tail(entries).cast_mut()).store(self.tail, Ordering::Release);
        }
    }
}
