//! The pages of segments, indexes and checkpoints that a core has in memory: asked for when a reader misses one, and given up
//! when others need the room, those that nobody has used for longest first.
//!
//! Whoever misses a page waits for it and tries again: a seat leaves the queue of those behind, a conversation awaits. Two
//! cores that read the same have a page each; the memory behind it is the system's.
//!
//! Invariants: at most [`ASKED_MAX`] pages are asked for at once, the rest in the order in which they were missed; what arrives
//! is there when those that waited for it are next.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use fantail_engine::log::index::Index;
use fantail_engine::log::view::{self, Piece};
use rustc_hash::FxHashMap;

use super::seat::SeatId;
use crate::limits::{ASKED_MAX, PAGE_BYTES, SHELF_BYTES};
use crate::storage::pages::{Key, Page, Pager, Request, Seal, Sheet, Source, Volume};
use crate::storage::snapshot::Snapshot;

/// See the module.
pub(super) struct Shelf {
    core: usize,
    pager: Pager,
    held: FxHashMap<Key, Held>,
    /// Bytes of all that is held.
    bytes: u64,
    /// Counts uses, to tell which was last.
    uses: Cell<u64>,
    /// What was asked for and isn't here, and who waits for it.
    asked: FxHashMap<Key, Vec<Waiter>>,
    /// What is asked for next.
    queue: VecDeque<(Request, Vec<Waiter>)>,
}

struct Held {
    page: Page,
    used: Cell<u64>,
}

/// Who waits for a page.
pub(super) enum Waiter {
    /// A seat, with the generation that it had.
    Seat(SeatId, u16),
    /// A conversation.
    Conversation(Rc<Wait>),
}

/// A conversation's wait for a page: a future of it.
#[derive(Default)]
pub(crate) struct Wait {
    outcome: RefCell<Option<io::Result<()>>>,
    waker: RefCell<Option<Waker>>,
}

impl Wait {
    fn end(&self, outcome: io::Result<()>) {
        *self.outcome.borrow_mut() = Some(outcome);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Whether the page came, or why it didn't.
    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        match self.outcome.borrow_mut().take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                *self.waker.borrow_mut() = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Shelf {
    pub(super) fn new(core: usize, pager: Pager) -> Shelf {
        Shelf {
            core,
            pager,
            held: FxHashMap::default(),
            bytes: 0,
            uses: Cell::new(0),
            asked: FxHashMap::default(),
            queue: VecDeque::new(),
        }
    }

    /// What is here of a volume.
    pub(super) fn of<'s>(&'s self, volume: &'s Volume) -> OfVolume<'s> {
        OfVolume { shelf: self, volume }
    }

    fn get(&self, key: Key) -> Option<&Page> {
        let held = self.held.get(&key)?;
        self.uses.set(self.uses.get() + 1);
        held.used.set(self.uses.get());
        Some(&held.page)
    }

    /// The bytes of the file's page around `at`, from there on.
    fn bytes_at(&self, owner: u64, sheet: Sheet, at: u64) -> Option<&[u8]> {
        let start = page_start(at);
        self.get(Key { owner, sheet, start })?.bytes().get((at - start) as usize..)
    }

    /// The bytes of a checkpoint from `at` on, as far as they are here in one piece; none if they aren't here.
    pub(super) fn snapshot(&self, snapshot: &Snapshot, at: u64) -> Option<&[u8]> {
        self.bytes_at(snapshot.number, Sheet::Snapshot, at)
    }

    /// Asks for a piece of a volume's segments, of which `seal` says whether it is still written.
    pub(super) fn want(&mut self, volume: &Arc<Volume>, piece: Piece, seal: Seal, waiter: Option<Waiter>) {
        let (sheet, start) = match piece {
            Piece::Bytes { segment, at } => (Sheet::Segment(segment), page_start(at)),
            // If it is here, then with too few entries: it grows.
            Piece::Index { segment, .. } => (Sheet::Index(segment), 0),
        };
        let key = Key { owner: volume.number, sheet, start };
        self.ask(Request { key, source: Source::Volume(Arc::clone(volume), seal) }, waiter);
    }

    /// A segment of the volume was sealed: its index has postings now.
    pub(super) fn sealed(&mut self, volume: &Volume, segment: u64) {
        self.forget(Key { owner: volume.number, sheet: Sheet::Index(segment), start: 0 });
    }

    /// Asks for the bytes of a checkpoint around `at`.
    pub(super) fn want_snapshot(&mut self, snapshot: &Arc<Snapshot>, at: u64, waiter: Waiter) {
        let key = Key { owner: snapshot.number, sheet: Sheet::Snapshot, start: page_start(at) };
        self.ask(Request { key, source: Source::Snapshot(Arc::clone(snapshot)) }, Some(waiter));
    }

    /// Whether a piece of a volume is here or asked for.
    pub(super) fn expects(&self, volume: &Volume, segment: u64, at: u64) -> bool {
        let key = Key { owner: volume.number, sheet: Sheet::Segment(segment), start: page_start(at) };
        self.held.contains_key(&key) || self.asked.contains_key(&key) || self.asked.len() >= ASKED_MAX
    }

    /// Whether something was asked for that isn't here yet.
    pub(super) fn is_waiting(&self) -> bool {
        !self.asked.is_empty()
    }

    fn ask(&mut self, request: Request, waiter: Option<Waiter>) {
        if let Some(waiters) = self.asked.get_mut(&request.key) {
            return waiters.extend(waiter);
        }
        if let Some((_, waiters)) = self.queue.iter_mut().find(|(queued, _)| queued.key == request.key) {
            return waiters.extend(waiter);
        }
        self.queue.push_back((request, waiter.into_iter().collect()));
        self.ask_next();
    }

    fn ask_next(&mut self) {
        while self.asked.len() < ASKED_MAX
            && let Some((request, waiters)) = self.queue.pop_front()
        {
            self.asked.insert(request.key, waiters);
            self.pager.ask(self.core, request);
        }
    }

    /// A page has come, or not. Returns the seats that waited for it; conversations go on by themselves.
    pub(super) fn arrive(&mut self, key: Key, page: io::Result<Page>) -> Vec<(SeatId, u16)> {
        let waiters = self.asked.remove(&key).unwrap_or_default();
        let outcome = match page {
            Ok(page) => {
                self.hold(key, page);
                Ok(())
            }
            Err(error) => Err(error),
        };
        self.ask_next();
        let mut seats = Vec::new();
        for waiter in waiters {
            match waiter {
                Waiter::Seat(id, generation) => seats.push((id, generation)),
                Waiter::Conversation(wait) => wait.end(match &outcome {
                    Ok(()) => Ok(()),
                    Err(error) => Err(error.kind().into()),
                }),
            }
        }
        seats
    }

    fn hold(&mut self, key: Key, page: Page) {
        let bytes = page.bytes().len() as u64;
        while self.bytes + bytes > SHELF_BYTES
            && let Some(oldest) = self.held.iter().min_by_key(|(_, held)| held.used.get()).map(|(key, _)| *key)
        {
            self.forget(oldest);
        }
        self.uses.set(self.uses.get() + 1);
        let before = self.held.insert(key, Held { page, used: Cell::new(self.uses.get()) });
        self.bytes += bytes;
        self.bytes -= before.map_or(0, |held| held.page.bytes().len() as u64);
    }

    fn forget(&mut self, key: Key) {
        if let Some(held) = self.held.remove(&key) {
            self.bytes -= held.page.bytes().len() as u64;
        }
    }

    /// Lets go of a volume's pages: of its segments before the one that begins with `first`, or of all of them.
    pub(super) fn let_go(&mut self, volume: &Volume, first: u64) {
        let is_gone = |key: &Key| match key.sheet {
            Sheet::Segment(segment) | Sheet::Index(segment) => key.owner == volume.number && segment < first,
            Sheet::Snapshot => false,
        };
        let gone: Vec<Key> = self.held.keys().copied().filter(is_gone).collect();
        gone.into_iter().for_each(|key| self.forget(key));
    }
}

fn page_start(at: u64) -> u64 {
    at - at % PAGE_BYTES
}

/// What a shelf has of a volume.
#[derive(Clone, Copy)]
pub(super) struct OfVolume<'s> {
    shelf: &'s Shelf,
    volume: &'s Volume,
}

impl view::Shelf for OfVolume<'_> {
    fn bytes(&self, segment: u64, at: u64) -> Option<&[u8]> {
        self.shelf.bytes_at(self.volume.number, Sheet::Segment(segment), at)
    }

    fn index(&self, segment: u64) -> Option<Index<'_>> {
        let page = self.shelf.get(Key { owner: self.volume.number, sheet: Sheet::Index(segment), start: 0 })?;
        Index::open(page.bytes()).ok()
    }
}
