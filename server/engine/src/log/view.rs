//! A log as a reader on any core sees it: the tail's blocks, the segments behind them, and how far both may be shown.
//!
//! Catching up and following live are the same read: [`View::step`] says which bytes a cursor is owed next, wherever they
//! lie. Bytes of segments come from a [`Shelf`], which may not have them yet; then the reader asks for the piece and tries
//! again. Nothing here waits.
//!
//! Invariants: nothing at or after `published` is ever read; a cursor moves over the log's bytes one frame's boundary after
//! the other, and what its filter passes is passed once. An index is only believed as far as the frame bears it out.

use std::collections::VecDeque;

use crate::event;
use crate::limits::SCAN_EVENTS_MAX;
use crate::log::filter::Filter;
use crate::log::index::{Index, Next};
use crate::log::tail::Blocks;
use crate::position::Position;
use crate::topic::Topic;

/// Where a segment lies in its log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// Sequence of its first event.
    pub first: u64,
    /// Offset of its first byte in the log.
    pub base: u64,
    /// When its first group was committed, in milliseconds since 1970; none if it is empty or nobody looked.
    pub begun_ms: Option<u64>,
    /// When its last group was committed, likewise; 0 while it is empty.
    pub ended_ms: u64,
}

/// A stream's log as readers see it, as of the last letter about it.
#[derive(Clone)]
pub struct View {
    /// Offset up to which the log may be shown.
    pub published: u64,
    /// The newest blocks.
    pub blocks: Blocks,
    /// All segments that are retained, oldest first.
    pub segments: VecDeque<Span>,
    /// The position at `published`.
    pub position: Position,
}

/// A part of a stream's files that is read as memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Piece {
    /// The bytes of a segment around this offset in it.
    Bytes {
        /// First sequence of the segment.
        segment: u64,
        /// Bytes from the segment's start.
        at: u64,
    },
    /// The index of a segment, with so many entries at least.
    Index {
        /// First sequence of the segment.
        segment: u64,
        /// Entries that are needed.
        entries: u32,
    },
}

/// Where the pieces are.
pub trait Shelf {
    /// The bytes of the segment that begins with the event `segment`, from `at` on in it, as far as they are here in one
    /// piece and published; none if they aren't here.
    fn bytes(&self, segment: u64, at: u64) -> Option<&[u8]>;

    /// The index of the segment, if it is here; of one that grows, a beginning.
    fn index(&self, segment: u64) -> Option<Index<'_>>;
}

/// Why something can't be read now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unread {
    /// The shelf doesn't have it yet.
    Missing(Piece),
    /// It isn't retained any more.
    Gone,
    /// The index of this segment isn't what its bytes say.
    Refuted(u64),
}

/// Where a reader's next event lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// From this offset of the log to that.
    Event(u64, u64),
    /// Not before this offset, where the event with this sequence begins; the log goes on there.
    Skip(u64, u64),
    /// Nowhere yet.
    End,
}

/// What a reader at a cursor is sent next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step<'a> {
    /// Bytes that concern it, at this offset of the log.
    Run(u64, &'a [u8]),
    /// Nothing up to this offset, but the log goes on.
    Skip(u64),
    /// Nothing more.
    Done,
}

impl View {
    /// The bytes of the log in `from..to` as far as they lie in one piece, at most `max` of them and at least one.
    ///
    /// # Errors
    /// If they aren't in memory.
    pub fn bytes<'a>(&'a self, from: u64, to: u64, max: u64, shelf: &'a impl Shelf) -> Result<&'a [u8], Unread> {
        debug_assert!(from < to && to <= self.published);
        let to = to.min(from.saturating_add(max));
        if let Some(run) = self.blocks.run(from, to) {
            return Ok(run);
        }
        let (segment, until) = self.segment_at(from)?;
        // What is in the tail may not be in the file yet.
        let until = until.min(self.blocks.start().unwrap_or(until));
        let at = from - segment.base;
        let bytes = shelf.bytes(segment.first, at).filter(|bytes| !bytes.is_empty());
        let bytes = bytes.ok_or(Unread::Missing(Piece::Bytes { segment: segment.first, at }))?;
        Ok(&bytes[..bytes.len().min((to.min(until) - from) as usize)])
    }

    /// The next bytes for a reader with this filter at `cursor`.
    ///
    /// # Errors
    /// If what has to be looked at isn't in memory.
    pub fn step<'a>(
        &'a self,
        filter: &Filter,
        cursor: u64,
        max: u64,
        shelf: &'a impl Shelf,
    ) -> Result<Step<'a>, Unread> {
        let to = self.published;
        if cursor >= to {
            return Ok(Step::Done);
        }
        if *filter == Filter::Whole {
            return Ok(Step::Run(cursor, self.bytes(cursor, to, max, shelf)?));
        }
        match self.find(filter, cursor, shelf)? {
            Found::Event(start, end) => {
                let from = start.max(cursor);
                Ok(Step::Run(from, self.bytes(from, end, max, shelf)?))
            }
            Found::Skip(to, _) => Ok(Step::Skip(to)),
            Found::End => Ok(Step::Skip(to)),
        }
    }

    /// The first event of the filter that ends after `cursor`, looked for in a bounded part of the log.
    ///
    /// # Errors
    /// If what has to be looked at isn't in memory.
    pub fn find(&self, filter: &Filter, cursor: u64, shelf: &impl Shelf) -> Result<Found, Unread> {
        let to = self.published;
        if cursor >= to {
            return Ok(Found::End);
        }
        match self.blocks.extents(cursor, to) {
            Some(mut extents) => Ok(extents
                .find(|extent| filter.passes(extent.collection, extent.document))
                .map_or(Found::End, |extent| Found::Event(extent.start, extent.end()))),
            None => self.look_up(filter, cursor, shelf),
        }
    }

    /// Looks into the index of the segment that holds `cursor`.
    fn look_up(&self, filter: &Filter, cursor: u64, shelf: &impl Shelf) -> Result<Found, Unread> {
        let (segment, _) = self.segment_at(cursor)?;
        // Events behind the tail are published, so their entries are in the file.
        let (end, until) = self.end_behind_the_tail(&segment);
        let refuted = Unread::Refuted(segment.first);
        let count = u32::try_from(end - segment.first).map_err(|_| refuted)?;
        let missing = Unread::Missing(Piece::Index { segment: segment.first, entries: count });
        // One that grows is good as far as it goes: what was asked for may be less than what there is by now.
        let index = shelf.index(segment.first).ok_or(missing)?;
        if index.is_sealed() && index.len() < count {
            return Err(refuted);
        }
        let count = count.min(index.len());
        let from = match cursor - segment.base {
            0 => 0,
            at => match u32::try_from(at).ok().and_then(|at| index.ordinal_at(at)) {
                Some(ordinal) => ordinal,
                None if index.is_sealed() => return Err(refuted),
                None => return Err(missing),
            },
        };
        let (until, end) = match index.entry(count - 1).filter(|_| !index.is_sealed()) {
            Some(last) => {
                (segment.base + u64::from(last.offset) + u64::from(last.length), segment.first + u64::from(count))
            }
            None => (until, end),
        };
        match first(&index, filter, from) {
            Next::Found(ordinal) if ordinal < count => {
                let entry = index.entry(ordinal).ok_or(refuted)?;
                let start = segment.base + u64::from(entry.offset);
                let end = start + u64::from(entry.length);
                if end <= cursor || end > until {
                    return Err(refuted);
                }
                self.bear_out(&segment, start, segment.first + u64::from(ordinal), shelf)?;
                Ok(Found::Event(start, end))
            }
            Next::Further(ordinal) if ordinal < count => {
                let offset = segment.base + u64::from(index.entry(ordinal).ok_or(refuted)?.offset);
                let is_ahead = offset > cursor && offset <= until;
                is_ahead.then_some(Found::Skip(offset, segment.first + u64::from(ordinal))).ok_or(refuted)
            }
            Next::Found(_) | Next::Further(_) | Next::End => Ok(Found::Skip(until, end)),
        }
    }

    /// Sees that the frame at `start` is that of the event `sequence`: else the index is another log's.
    fn bear_out(&self, segment: &Span, start: u64, sequence: u64, shelf: &impl Shelf) -> Result<(), Unread> {
        let bytes = self.bytes(start, self.published, event::FRAME_OVERHEAD_BYTES_MAX as u64, shelf)?;
        match event::sequence(bytes) {
            Some(found) if found == sequence => Ok(()),
            Some(_) => Err(Unread::Refuted(segment.first)),
            // The piece ends within the head: its rest is looked at when it is sent.
            None => match bytes.len() < event::FRAME_OVERHEAD_BYTES_MAX {
                true => Ok(()),
                false => Err(Unread::Refuted(segment.first)),
            },
        }
    }

    /// Offset of the log just after the event `sequence`: where a cursor stands that has had it.
    ///
    /// # Errors
    /// If the index that knows isn't in memory.
    pub fn offset_after(&self, sequence: u64, shelf: &impl Shelf) -> Result<u64, Unread> {
        if let Some(offset) = self.blocks.after(sequence) {
            return Ok(offset);
        }
        if sequence == self.position.sequence {
            return Ok(self.published);
        }
        let next = self.segments.partition_point(|segment| segment.first <= sequence + 1);
        let segment = next.checked_sub(1).map(|at| self.segments[at]).ok_or(Unread::Gone)?;
        let Some(ordinal) = (sequence + 1 - segment.first).checked_sub(1) else { return Ok(segment.base) };
        let refuted = Unread::Refuted(segment.first);
        let ordinal = u32::try_from(ordinal).map_err(|_| refuted)?;
        let index = shelf.index(segment.first).filter(|index| index.is_sealed() || index.len() > ordinal);
        let index = index.ok_or(Unread::Missing(Piece::Index { segment: segment.first, entries: ordinal + 1 }))?;
        let entry = index.entry(ordinal).ok_or(refuted)?;
        Ok(segment.base + u64::from(entry.offset) + u64::from(entry.length))
    }

    /// Appends the bytes of the log in `from..to`, which are published, to `out`.
    ///
    /// # Errors
    /// If not all of them are in memory; `out` is then as it was.
    pub fn copy(&self, from: u64, to: u64, out: &mut Vec<u8>, shelf: &impl Shelf) -> Result<(), Unread> {
        let (start, mut at) = (out.len(), from);
        while at < to {
            match self.bytes(at, to, u64::MAX, shelf) {
                Ok(run) => out.extend_from_slice(run),
                Err(unread) => {
                    out.truncate(start);
                    return Err(unread);
                }
            }
            at = from + (out.len() - start) as u64;
        }
        Ok(())
    }

    /// The log has a new segment.
    pub fn add_segment(&mut self, segment: Span) {
        self.segments.push_back(segment);
    }

    /// The segments before the one that begins with the event `first` aren't retained any more.
    pub fn retain(&mut self, first: u64) {
        while self.segments.front().is_some_and(|segment| segment.first < first) {
            self.segments.pop_front();
        }
    }

    /// Whether the byte at `cursor` can still be read, or needn't be.
    #[must_use]
    pub fn serves(&self, cursor: u64) -> bool {
        self.is_in_tail(cursor) || self.segment_at(cursor).is_ok()
    }

    /// Whether what comes at `cursor` is in the tail, or nothing does yet.
    #[must_use]
    pub fn is_in_tail(&self, cursor: u64) -> bool {
        cursor >= self.published || self.blocks.start().is_some_and(|start| start <= cursor)
    }

    /// The piece that holds the byte at `offset`, if that is to be read from a segment.
    #[must_use]
    pub fn piece_at(&self, offset: u64) -> Option<Piece> {
        if self.is_in_tail(offset) {
            return None;
        }
        let (segment, _) = self.segment_at(offset).ok()?;
        Some(Piece::Bytes { segment: segment.first, at: offset - segment.base })
    }

    /// The segment that holds `offset`, and where it ends as far as it is published.
    fn segment_at(&self, offset: u64) -> Result<(Span, u64), Unread> {
        let next = self.segments.partition_point(|segment| segment.base <= offset);
        // An empty segment begins where the one before it ends: the last that begins there holds what comes.
        let at = next.checked_sub(1).ok_or(Unread::Gone)?;
        let until = self.segments.get(next).map_or(self.published, |next| next.base.min(self.published));
        Ok((self.segments[at], until))
    }

    /// The sequence and the offset at which `segment` ends, or the tail begins: where its index needn't be asked any more.
    fn end_behind_the_tail(&self, segment: &Span) -> (u64, u64) {
        let next = self.segments.get(self.segments.partition_point(|next| next.base <= segment.base));
        match (next, self.blocks.first().zip(self.blocks.start())) {
            (Some(next), Some((_, start))) if next.base <= start => (next.first, next.base),
            (_, Some((first, start))) => (first, start),
            (Some(next), None) => (next.first, next.base),
            (None, None) => (self.position.sequence + 1, self.published),
        }
    }
}

/// The first ordinal from `from` on of an event that the filter passes.
fn first(index: &Index<'_>, filter: &Filter, from: u32) -> Next {
    let next = |topic| index.next(topic, from, SCAN_EVENTS_MAX);
    match filter {
        Filter::Whole => next(Topic::Stream),
        Filter::Path(path) => next(Topic::Path(*path)),
        Filter::Paths(paths) => paths.iter().map(|path| next(Topic::Path(*path))).min_by_key(rank).unwrap_or(Next::End),
    }
}

/// The nearest event comes first; a scan that wasn't finished can't be passed by a later event.
fn rank(next: &Next) -> (u32, bool) {
    match next {
        Next::Found(ordinal) => (*ordinal, true),
        Next::Further(ordinal) => (*ordinal, false),
        Next::End => (u32::MAX, true),
    }
}
