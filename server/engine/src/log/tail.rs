//! The newest blocks of a log, in memory: what live followers are sent.
//!
//! A [`Blocks`] is a reader's deque, one per core that has listeners; the [`Tail`] is the home core's, which also appends.
//! Both keep at most [`TAIL_BLOCKS_MAX`] blocks: whoever is further behind reads the segments.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::limits::TAIL_BLOCKS_MAX;
use crate::log::block::{Block, BlockWriter, Extent};

/// The newest blocks of one log, without gaps between them.
#[derive(Default, Clone)]
pub struct Blocks {
    blocks: VecDeque<Arc<Block>>,
}

impl Blocks {
    /// Adds the block after the last one; the oldest one goes when there are too many.
    ///
    /// # Panics
    /// If there is a gap before it.
    pub fn push(&mut self, block: Arc<Block>) {
        if let Some(last) = self.blocks.back() {
            assert_eq!(last.end(), block.start(), "blocks lie next to each other");
        }
        if self.blocks.len() == TAIL_BLOCKS_MAX {
            self.blocks.pop_front();
        }
        self.blocks.push_back(block);
    }

    /// Offset of the oldest byte, or none without a block.
    #[must_use]
    pub fn start(&self) -> Option<u64> {
        self.blocks.front().map(|block| block.start())
    }

    /// The bytes from offset `from` towards `to`, as far as they lie in one block; none if `from` is before the oldest.
    ///
    /// `to` is at most what was published, and `from` less than it.
    #[must_use]
    pub fn run(&self, from: u64, to: u64) -> Option<&[u8]> {
        let block = &self.blocks[self.holding(from)?];
        let until = to.min(block.end());
        Some(&block.bytes()[(from - block.start()) as usize..(until - block.start()) as usize])
    }

    /// Sequence of the oldest event, or none without a block.
    #[must_use]
    pub fn first(&self) -> Option<u64> {
        self.blocks.front().map(|block| block.first())
    }

    /// The extents that end after `from` and begin before `to`; none if `from` is before the oldest byte.
    #[must_use]
    pub fn extents(&self, from: u64, to: u64) -> Option<impl Iterator<Item = &Extent>> {
        let first = self.holding(from)?;
        Some(self.blocks.range(first..).flat_map(move |block| {
            let extents = block.extents();
            let passed = extents.partition_point(|extent| extent.end() <= from);
            let until = extents.partition_point(|extent| extent.start < to);
            &extents[passed..until]
        }))
    }

    /// Offset just after the event `sequence`, if it is in memory.
    #[must_use]
    pub fn after(&self, sequence: u64) -> Option<u64> {
        let block = self.blocks.iter().rev().find(|block| block.first() <= sequence)?;
        block.extents().get((sequence - block.first()) as usize).map(Extent::end)
    }

    /// Sequence of the event whose extent begins at offset `start`, if it is in memory.
    #[must_use]
    pub fn sequence_at(&self, start: u64) -> Option<u64> {
        let block = &self.blocks[self.holding(start)?];
        let ordinal = block.extents().binary_search_by_key(&start, |extent| extent.start).ok()?;
        Some(block.first() + ordinal as u64)
    }

    fn holding(&self, offset: u64) -> Option<usize> {
        let after = self.blocks.partition_point(|block| block.start() <= offset);
        let index = after.checked_sub(1)?;
        (offset < self.blocks[index].end()).then_some(index)
    }
}

/// What the home core appends to.
pub struct Tail {
    blocks: Blocks,
    writer: Option<BlockWriter>,
    end: u64,
}

/// Where an appended group lies.
pub struct Appended {
    /// The block that holds it.
    pub block: Arc<Block>,
    /// Whether the block is new, so that readers on other cores need to be given it.
    pub is_new: bool,
    /// Offset of the group's first byte in the log.
    pub start: u64,
    /// Bytes of the group.
    pub length: usize,
}

impl Appended {
    /// The group's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        let from = (self.start - self.block.start()) as usize;
        &self.block.bytes()[from..from + self.length]
    }
}

impl Tail {
    /// An empty tail of a log that has `end` bytes.
    #[must_use]
    pub fn new(end: u64) -> Tail {
        Tail { blocks: Blocks::default(), writer: None, end }
    }

    /// Offset just after the last byte that was appended.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The blocks, for readers.
    #[must_use]
    pub fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// Appends one sealed group that begins with the event `first`.
    pub fn append(&mut self, group: &[u8], first: u64, extents: &[Extent]) -> Appended {
        let is_new = !self.writer.as_ref().is_some_and(|writer| writer.fits(group.len(), extents.len()));
        if is_new {
            self.writer = Some(BlockWriter::new(self.end, first, group.len(), extents.len()));
        }
        let writer = self.writer.as_mut().expect("made above");
        writer.append(group, extents);
        if is_new {
            self.blocks.push(Arc::clone(writer.block()));
        }
        let start = self.end;
        self.end += group.len() as u64;
        Appended { block: Arc::clone(writer.block()), is_new, start, length: group.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::BLOCK_BYTES;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_cut_of_the_log_reads_the_same(sizes in prop::collection::vec(1usize..BLOCK_BYTES, 1..40), base in 0u64..1000) {
            let mut tail = Tail::new(base);
            let mut bytes = Vec::new();
            for (index, size) in sizes.iter().enumerate() {
                let group = vec![index as u8; *size];
                let extent = Extent { start: tail.end(), length: *size as u32, collection: 7, document: index as u64 };
                let appended = tail.append(&group, index as u64 + 1, &[extent]);
                prop_assert_eq!(appended.bytes(), &group[..]);
                bytes.extend(group);
            }
            let start = tail.blocks().start().expect("a block");
            prop_assert!(start == base || tail.blocks().run(start - 1, tail.end()).is_none());
            let (mut cursor, mut read) = (start, Vec::new());
            while cursor < tail.end() {
                let run = tail.blocks().run(cursor, tail.end()).expect("in memory");
                prop_assert!(!run.is_empty());
                read.extend_from_slice(run);
                cursor += run.len() as u64;
            }
            prop_assert_eq!(&read[..], &bytes[(start - base) as usize..]);
            for extent in tail.blocks().extents(start, tail.end()).expect("in memory") {
                let sequence = tail.blocks().sequence_at(extent.start).expect("an event");
                prop_assert_eq!(sequence, extent.document + 1);
                prop_assert_eq!(tail.blocks().after(sequence), Some(extent.end()));
            }
        }
    }
}
