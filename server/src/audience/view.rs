//! What a core knows of a stream that it has listeners of: the tail's blocks, the segments behind them, and how far both
//! may be shown.

use std::io;
use std::sync::Arc;

use fantail_engine::log::tail::Blocks;
use fantail_engine::position::Position;

use super::followers::Filter;
use crate::limits::SCAN_EVENTS_MAX;
use crate::storage::segment::Segment;

/// Which stream of a core: an index in the audience's slab.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct ViewId(pub(super) u32);

/// A stream as readers on any core see it.
#[derive(Clone)]
pub struct View {
    /// Offset up to which the log may be shown, as of the last letter.
    pub published: u64,
    /// The newest blocks.
    pub blocks: Blocks,
    /// All segments, oldest first.
    pub segments: Vec<Arc<Segment>>,
    /// The position at `published`, as of the last letter.
    pub position: Position,
}

/// Where a reader's next event lies.
pub enum Found {
    /// From this offset of the log to that.
    Event(u64, u64),
    /// Not before this offset, where the event with this sequence begins; the log goes on there.
    Skip(u64, u64),
    /// Nowhere yet.
    End,
}

/// What a reader at a cursor is sent next.
pub(super) enum Step<'a> {
    /// Bytes that concern it, at this offset of the log.
    Run(u64, &'a [u8]),
    /// Nothing up to this offset, but the log goes on.
    Skip(u64),
    /// Nothing more.
    Done,
}

impl View {
    /// The bytes of the log in `from..to` as far as they lie in one piece, at most `max` of them.
    pub(super) fn bytes(&self, from: u64, to: u64, max: u64) -> io::Result<&[u8]> {
        debug_assert!(from < to && to <= self.published);
        let to = to.min(from + max);
        if let Some(run) = self.blocks.run(from, to) {
            return Ok(run);
        }
        let index = self.segment_at(from).ok_or(io::ErrorKind::NotFound)?;
        let end = self.segments.get(index + 1).map_or(u64::MAX, |next| next.base);
        self.segments[index].bytes(from, to.min(end))
    }

    /// The next bytes for a reader with this filter at `cursor`.
    pub(super) fn step(&self, filter: &Filter, cursor: u64, max: u64) -> io::Result<Step<'_>> {
        let to = self.published;
        if cursor >= to {
            return Ok(Step::Done);
        }
        if *filter == Filter::Whole {
            return Ok(Step::Run(cursor, self.bytes(cursor, to, max)?));
        }
        match self.find(filter, cursor)? {
            Found::Event(start, end) => {
                let from = start.max(cursor);
                Ok(Step::Run(from, self.bytes(from, end, max)?))
            }
            Found::Skip(to, _) => Ok(Step::Skip(to)),
            Found::End => Ok(Step::Skip(to)),
        }
    }

    /// The first event of the filter that ends after `cursor`, looked for in a bounded part of the log.
    ///
    /// # Errors
    /// If a segment can't be read.
    pub fn find(&self, filter: &Filter, cursor: u64) -> io::Result<Found> {
        let to = self.published;
        if cursor >= to {
            return Ok(Found::End);
        }
        match self.blocks.extents(cursor, to) {
            Some(mut extents) => Ok(extents
                .find(|extent| filter.passes(extent.collection, extent.document))
                .map_or(Found::End, |extent| Found::Event(extent.start, extent.end()))),
            None => self.scan(filter, cursor, to),
        }
    }

    /// Looks through the index of the segment that holds `cursor`.
    fn scan(&self, filter: &Filter, cursor: u64, to: u64) -> io::Result<Found> {
        let index = self.segment_at(cursor).ok_or(io::ErrorKind::NotFound)?;
        let segment = &self.segments[index];
        // Events behind the tail are published, so their entries are in the file.
        let (end, until) = match (self.segments.get(index + 1), self.blocks.first().zip(self.blocks.start())) {
            (Some(next), _) => (next.first, next.base),
            (None, Some((first, start))) => (first, start),
            (None, None) => (self.position.sequence + 1, to),
        };
        let count = end - segment.first;
        let from = segment.ordinal_after(cursor, count)?;
        for ordinal in from..count.min(from + SCAN_EVENTS_MAX) {
            let entry = segment.entry(ordinal)?;
            if filter.passes(entry.collection, entry.document) {
                let start = segment.base + u64::from(entry.offset);
                return Ok(Found::Event(start, start + u64::from(entry.length)));
            }
        }
        match from + SCAN_EVENTS_MAX < count {
            true => {
                let next = from + SCAN_EVENTS_MAX;
                let offset = u64::from(segment.entry(next)?.offset);
                Ok(Found::Skip(segment.base + offset, segment.first + next))
            }
            false => Ok(Found::Skip(until, end)),
        }
    }

    /// Appends the bytes of the log in `from..to`, which are published, to `out`.
    ///
    /// # Errors
    /// If a segment can't be read.
    pub fn copy(&self, mut from: u64, to: u64, out: &mut Vec<u8>) -> io::Result<()> {
        while from < to {
            let run = self.bytes(from, to, u64::MAX >> 1)?;
            out.extend_from_slice(run);
            from += run.len() as u64;
        }
        Ok(())
    }

    fn segment_at(&self, offset: u64) -> Option<usize> {
        self.segments.partition_point(|segment| segment.base <= offset).checked_sub(1)
    }
}
