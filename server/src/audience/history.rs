//! What is behind the tail: the pages that seats and conversations read it from, asked for when they are missed.
//!
//! Invariant: pages come and go between quanta only, when no send that points into one is in flight.

use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use fantail_engine::log::filter::Filter;
use fantail_engine::log::view::{Found, Piece, Unread, View};
use fantail_engine::position::Position;

use super::Audience;
use super::seat::{SeatId, State};
use super::shelf::{Wait, Waiter};
use super::watched::{ViewId, Watched};
use crate::limits::PAGE_BYTES;
use crate::storage::pages::{Paged, Seal, Sheet, Unpaged};
use crate::storage::snapshot::Snapshot;

/// A stream's log: a deleted stream's name may be another log's soon.
#[derive(Clone, Copy, Debug)]
pub struct Log<'n> {
    /// The stream's name.
    pub stream: &'n str,
    /// The number of the log's volume.
    pub volume: u64,
}

impl Audience {
    /// Whether pages of history are under way.
    #[must_use]
    pub fn awaits_pages(&self) -> bool {
        self.shelf.is_waiting()
    }

    /// The first event after `cursor` that passes the filter, of what this core shows of the stream.
    ///
    /// # Errors
    /// If the stream isn't watched, or what has to be looked at isn't in memory: see `Audience::await_piece`.
    pub fn find(&self, log: Log<'_>, filter: &Filter, cursor: u64) -> Result<Found, Unread> {
        let watched = self.watched(log)?;
        watched.view.find(filter, cursor, &self.shelf.of(&watched.volume))
    }

    /// Appends the bytes of the stream's log in `from..to`, where an event was found, to `out`.
    ///
    /// # Errors
    /// As [`Audience::find`].
    pub fn copy(&self, log: Log<'_>, from: u64, to: u64, out: &mut Vec<u8>) -> Result<(), Unread> {
        let watched = self.watched(log)?;
        watched.view.copy(from, to, out, &self.shelf.of(&watched.volume))
    }

    /// Offset of the stream's log just after the event `sequence`.
    ///
    /// # Errors
    /// As [`Audience::find`].
    pub fn offset_after(&self, log: Log<'_>, sequence: u64) -> Result<u64, Unread> {
        let watched = self.watched(log)?;
        watched.view.offset_after(sequence, &self.shelf.of(&watched.volume))
    }

    /// Asks for a piece of the stream's log, for a conversation that waits for it.
    pub(crate) fn await_piece(&mut self, log: Log<'_>, piece: Piece, wait: Rc<Wait>) {
        if let Some(id) = self.streams.get(log.stream) {
            let Watched { view, volume, .. } = &self.watched[id.0 as usize];
            self.shelf.want(volume, piece, seal(view, piece), Some(Waiter::Conversation(wait)));
        }
    }

    /// The bytes of a checkpoint in `range`, from its beginning as far as they are here in one piece; else asks for them, for a
    /// conversation that waits for them.
    pub(crate) fn snapshot(&mut self, snapshot: &Arc<Snapshot>, range: Range<u64>, wait: &Rc<Wait>) -> Option<Vec<u8>> {
        let here = self.shelf.snapshot(snapshot, range.start);
        let copied = here.map(|bytes| bytes[..bytes.len().min((range.end - range.start) as usize)].to_vec());
        if copied.is_none() {
            self.shelf.want_snapshot(snapshot, range.start, Waiter::Conversation(Rc::clone(wait)));
        }
        copied
    }

    /// How far this core shows a stream, as an offset of its log and a position; none if it isn't watched.
    #[must_use]
    pub fn shown(&self, log: Log<'_>) -> Option<(u64, Position)> {
        self.watched(log).ok().map(|watched| (watched.view.published, watched.view.position))
    }

    /// Whether a stream is watched, whichever log it has.
    #[must_use]
    pub fn watches(&self, stream: &str) -> bool {
        self.streams.contains_key(stream)
    }

    pub(super) fn view(&self, log: Log<'_>) -> Result<ViewId, Unread> {
        let id = *self.streams.get(log.stream).ok_or(Unread::Gone)?;
        match self.watched[id.0 as usize].volume.number == log.volume {
            true => Ok(id),
            false => Err(Unread::Gone),
        }
    }

    fn watched(&self, log: Log<'_>) -> Result<&Watched, Unread> {
        Ok(&self.watched[self.view(log)?.0 as usize])
    }

    /// A page has come that was asked for: whoever waits for it goes on before others. Without it, they are shown out; returns
    /// the volume and the segment if that is damaged.
    pub fn add_page(&mut self, Paged { key, result }: Paged) -> Option<(u64, u64)> {
        let (page, damaged) = match (result, key.sheet) {
            (Ok(page), _) => (Ok(page), None),
            // What the medium doesn't give back is as good as damaged.
            (Err(Unpaged::Io(error)), Sheet::Segment(segment))
                if matches!(error.raw_os_error(), Some(libc::EIO | libc::EFAULT)) =>
            {
                (Err(error), Some((key.owner, segment)))
            }
            (Err(Unpaged::Io(error)), _) => (Err(error), None),
            (Err(Unpaged::Damaged(_)), Sheet::Segment(segment) | Sheet::Index(segment)) => {
                (Err(io::ErrorKind::InvalidData.into()), Some((key.owner, segment)))
            }
            (Err(Unpaged::Damaged(_) | Unpaged::Index(_)), _) => (Err(io::ErrorKind::InvalidData.into()), None),
        };
        let is_here = page.is_ok();
        // Its file was dropped, and the letter that says so may be under way.
        let is_dropped = page.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        for (id, generation) in self.shelf.arrive(key, page) {
            let seat = self.tiers[id.tier()].seat(id.slot());
            match seat.state == State::Behind && seat.generation == generation {
                true if is_here => self.behind.push_first((id, generation)),
                true if is_dropped => self.miss(id, Unread::Gone),
                true => self.leave(id),
                false => {}
            }
        }
        damaged
    }

    /// What a seat is to read next can't be sent now: it waits for it, or is shown out.
    pub(super) fn miss(&mut self, id: SeatId, unread: Unread) {
        let seat = *self.tiers[id.tier()].seat(id.slot());
        let Watched { view, volume, .. } = &self.watched[self.followers[seat.followers as usize].view.0 as usize];
        match unread {
            Unread::Missing(piece) => {
                let waiter = Waiter::Seat(id, seat.generation);
                self.shelf.want(volume, piece, seal(view, piece), Some(waiter));
            }
            Unread::Gone => {
                self.counts.expired += 1;
                self.leave(id);
            }
            Unread::Refuted(segment) => {
                tracing::error!(
                    folder = %volume.folder.display(), segment,
                    "an index isn't that of its segment; its reader is closed, and `fantail log rebuild-index` makes it anew"
                );
                self.leave(id);
            }
        }
    }

    /// Asks for the page after the one around `cursor`, which a seat is about to read.
    pub(super) fn look_ahead(&mut self, view: ViewId, cursor: u64) {
        let Watched { view, volume, .. } = &self.watched[view.0 as usize];
        if let Some(piece @ Piece::Bytes { segment, at }) = view.piece_at(cursor + PAGE_BYTES)
            && !self.shelf.expects(volume, segment, at)
        {
            self.shelf.want(volume, piece, seal(view, piece), None);
        }
    }
}

/// Whether the segment of a piece is still written.
fn seal(view: &View, piece: Piece) -> Seal {
    let (segment, entries) = match piece {
        Piece::Bytes { segment, .. } => (segment, 0),
        Piece::Index { segment, entries } => (segment, entries),
    };
    match view.segments.back().is_some_and(|newest| newest.first == segment) {
        true => Seal::Open(entries),
        false => Seal::Sealed,
    }
}
