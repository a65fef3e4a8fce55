//! The connections of a core that only listen: rows in tables, not tasks.
//!
//! A seat is sent what lies between its cursor and what is published. Live seats of a topic get each event in passes over
//! their followers' list; a seat that is behind walks the log on its own until it is live; a seat whose socket is full
//! waits for the kernel to say that it drained. Memory doesn't grow with how slow any of them is.
//!
//! Invariant: at most one send of a seat is in flight, and all sends have completed when an enter returns; so between
//! quanta every cursor says exactly what the kernel has taken.

mod census;
mod channels;
mod chimes;
mod departure;
mod followers;
mod heartbeat;
mod history;
mod holds;
mod items;
mod quantum;
mod queue;
mod recall;
mod seat;
mod shelf;
mod subscriptions;
#[cfg(test)]
mod tests;
mod tier;
mod watched;

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;

use fantail_engine::log::block::Block;
use fantail_engine::log::filter::Filter;
use fantail_engine::log::view::{Span, View};
use fantail_engine::position::Position;
use rustc_hash::FxHashMap;
use slab::Slab;

pub use self::census::{Listening, Scrutiny};
pub use self::channels::{CHANNELS, Held, Reach};
pub use self::chimes::Asking;
use self::chimes::Chimes;
use self::followers::{Followers, UNSUBSCRIBED};
pub use self::history::Log;
use self::holds::Holds;
pub use self::holds::{Hold, Recalled, Terms, Why};

pub use self::items::{Continuity, Item, Items, Mark};
use self::queue::{Queue, Reads};
use self::recall::Recalls;
use self::seat::{Kind, SeatId, State, TIERS_MAX, armed};
use self::shelf::Shelf;
pub(crate) use self::shelf::Wait;
use self::subscriptions::Subscriptions;
pub use self::subscriptions::{Followed, Subscription, Tracking};
use self::tier::{Completion, Tier};
use self::watched::{ViewId, Watched};
use crate::limits::UNASKED_BYTES_MAX;
use crate::ring::Refused;
use crate::storage::pages::{Pager, Volume};
use crate::storage::snapshot::Snapshot;

/// Where a new seat begins to read.
pub struct Start {
    /// Offset in the log, at a frame's boundary.
    pub cursor: u64,
    /// What it reads before.
    pub snapshot: Option<Reading>,
    /// Bytes that it has sent unasked so far.
    pub unasked: usize,
}

/// The parts of a checkpoint that a seat reads before the log.
pub struct Reading {
    /// The checkpoint.
    pub snapshot: Arc<Snapshot>,
    /// Its parts, in the order of sending.
    pub parts: VecDeque<Range<u64>>,
}

/// What an audience has seen since its start, and how it is now.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Seats that are taken now.
    pub seated: usize,
    /// Those of them whose socket is full now.
    pub stalled: usize,
    /// Those of them that an origin holds.
    pub held: usize,
    /// Seats ever taken.
    pub seatings: u64,
    /// Times that a socket was full, or took only a part.
    pub stalls: u64,
    /// Seats that were left: by a peer that went, was rude or couldn't be served, and at the end.
    pub departures: u64,
    /// Those of them that were at what isn't retained any more.
    pub expired: u64,
    /// Seats that became conversations again.
    pub recalls: u64,
    /// Sends of the log's and of checkpoints' bytes.
    pub sends: u64,
    /// Bytes of them that the kernel took.
    pub sent_bytes: u64,
}

impl Counts {
    /// Notes a send that is about to be made: what the kernel doesn't take of it comes off again.
    fn sent(&mut self, bytes: &[u8]) {
        self.sends += 1;
        self.sent_bytes += bytes.len() as u64;
    }
}

/// When it is noticed that a listener has gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disconnect {
    /// At once: the kernel holds a poll for each seat, some 250 bytes.
    Instant,
    /// When the next frame can't be sent, or the next heartbeat looks.
    Heartbeat,
}

/// See the module.
pub struct Audience {
    tiers: Vec<Tier>,
    slots: u32,
    eventfd: RawFd,
    disconnect: Disconnect,
    streams: FxHashMap<Arc<str>, ViewId>,
    watched: Slab<Watched>,
    followers: Slab<Followers>,
    /// Followers with live seats that have something to get.
    hot: VecDeque<u32>,
    /// Seats that walk the log on their own.
    behind: Queue,
    snapshots: FxHashMap<SeatId, (Reading, u64)>,
    shelf: Shelf,
    completions: Vec<Completion>,
    heartbeat: heartbeat::Heartbeat,
    /// The number of the volume that stands for the log of the channels.
    channels: u64,
    items: Items,
    subscriptions: Subscriptions,
    holds: Holds,
    chimes: Chimes,
    /// Next links that are due.
    asking: Vec<Asking>,
    recalls: Recalls,
    counts: Counts,
}

impl Audience {
    /// The audience of core `core`, whose tiers have `slots` places each and wake `eventfd`, that notices departures as
    /// `disconnect` says, and asks `pager` for what is behind the tail.
    ///
    /// # Errors
    /// If the kernel refuses a ring: see [`crate::ring::Ring::open`].
    pub fn new(
        core: usize,
        slots: u32,
        eventfd: RawFd,
        disconnect: Disconnect,
        pager: Pager,
    ) -> Result<Audience, Refused> {
        Ok(Audience {
            tiers: vec![Tier::open(slots, eventfd)?],
            slots,
            eventfd,
            disconnect,
            streams: FxHashMap::default(),
            watched: Slab::new(),
            followers: Slab::new(),
            hot: VecDeque::new(),
            behind: Queue::default(),
            snapshots: FxHashMap::default(),
            shelf: Shelf::new(core, pager),
            completions: Vec::new(),
            heartbeat: heartbeat::Heartbeat::default(),
            channels: u64::MAX,
            items: Items::default(),
            subscriptions: Subscriptions::default(),
            holds: Holds::default(),
            chimes: Chimes::default(),
            asking: Vec::new(),
            recalls: Recalls::default(),
            counts: Counts::default(),
        })
    }

    /// Seats that are taken, those on their way out included.
    #[must_use]
    pub fn seated(&self) -> usize {
        self.counts.seated
    }

    /// What it has seen.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts { held: self.holds.len(), ..self.counts }
    }

    /// Begins to watch a stream; from then on the other calls about it are expected in the log's order.
    pub fn watch(&mut self, stream: Arc<str>, view: View, volume: Arc<Volume>) {
        let id = ViewId(self.watched.insert(Watched::new(view, volume)) as u32);
        self.streams.insert(stream, id);
    }

    /// Nothing more is told of a stream, that was never written or is deleted: whoever follows it is shown out, and comes
    /// back.
    pub fn unwatch(&mut self, stream: &str) {
        let Some(view) = self.streams.remove(stream) else { return };
        let followers = &mut self.followers;
        self.hot.retain(|id| {
            let followers = &mut followers[*id as usize];
            followers.is_hot &= followers.view != view;
            followers.is_hot
        });
        // Those of several topics come once for each.
        let mut gone: Vec<u32> =
            self.watched[view.0 as usize].all().filter(|id| self.followers[*id as usize].members == 0).collect();
        gone.sort_unstable();
        gone.dedup();
        gone.into_iter().for_each(|id| self.forget_if_empty(id));
        let watched = &self.watched[view.0 as usize];
        let has_followers = !watched.is_empty();
        for index in (0..self.tiers.len()).filter(|_| has_followers) {
            for slot in self.taken_slots(index) {
                let seat = self.tiers[index].seat(slot);
                if self.followers[seat.followers as usize].view == view {
                    self.leave(SeatId::new(index, slot));
                }
            }
        }
        let watched = self.watched.remove(view.0 as usize);
        debug_assert!(watched.is_empty(), "all seats have left, and none of their followers is hot");
        self.shelf.let_go(&watched.volume, u64::MAX);
    }

    /// The slots of a tier whose seats aren't on their way out.
    fn taken_slots(&self, tier: usize) -> Vec<u32> {
        let is_taken = |seat: &seat::Seat| matches!(seat.state, State::Live | State::Behind | State::Stalled);
        let slots = self.tiers[tier].seats().iter().enumerate().filter(|(_, seat)| is_taken(seat));
        slots.map(|(slot, _)| slot as u32).collect()
    }

    /// The log has a new block.
    pub fn add_block(&mut self, stream: &str, block: Arc<Block>) {
        if let Some(id) = self.streams.get(stream) {
            self.watched[id.0 as usize].view.blocks.push(block);
        }
    }

    /// The log has a new segment.
    pub fn add_segment(&mut self, stream: &str, segment: Span) {
        if let Some(id) = self.streams.get(stream) {
            let Watched { view, volume, .. } = &mut self.watched[id.0 as usize];
            if let Some(sealed) = view.segments.back() {
                self.shelf.sealed(volume, sealed.first);
            }
            view.add_segment(segment);
        }
    }

    /// The log's events before `first` aren't retained any more. Seats that are to read them are shown out when they come to
    /// it, or when the heartbeat looks at them.
    pub fn retain(&mut self, stream: &str, first: u64) {
        if let Some(id) = self.streams.get(stream) {
            let Watched { view, volume, .. } = &mut self.watched[id.0 as usize];
            view.retain(first);
            self.shelf.let_go(volume, first);
        }
    }

    /// The log may be shown up to `position`, which ends at offset `end`: the live seats of the topics concerned will get it.
    pub fn publish(&mut self, stream: &str, position: Position, end: u64) {
        let Some(&id) = self.streams.get(stream) else { return };
        let watched = &mut self.watched[id.0 as usize];
        watched.view.position = position;
        let (seen, to) = (std::mem::replace(&mut watched.view.published, end), end);
        if seen == to {
            return;
        }
        if let Some(whole) = watched.whole {
            let followers = &mut self.followers[whole as usize];
            if !followers.is_hot {
                followers.base = seen;
            }
            followers.target = to;
            heat(&mut self.hot, whole, followers);
        }
        if !watched.is_filtered() {
            return;
        }
        let mut overflown = Vec::new();
        match watched.view.blocks.extents(seen, to) {
            Some(extents) => {
                for extent in extents {
                    for concerned in watched.concerned(extent) {
                        let followers = &mut self.followers[concerned as usize];
                        if followers.live.is_empty() {
                            continue;
                        }
                        match followers.extend(seen, extent.start, extent.length) {
                            true => heat(&mut self.hot, concerned, followers),
                            false => overflown.push(concerned),
                        }
                    }
                }
            }
            // This core slept through more than the tail holds: its seats read the segments.
            None => overflown.extend(watched.filtered()),
        }
        for followers in overflown {
            self.demote(followers);
        }
    }

    /// Whether seats wait for bytes that could be sent now.
    #[must_use]
    pub fn is_due(&self) -> bool {
        !self.hot.is_empty()
            || !self.behind.is_empty()
            || self.heartbeat.is_due()
            || self.chimes.is_due()
            || self.recalls.is_due()
    }

    /// Takes over a connection that has been answered: from now on it only listens.
    ///
    /// # Errors
    /// `NotFound` if the log isn't watched (any more), or why the kernel can't install the socket or open another tier; the
    /// socket is closed.
    pub fn seat(&mut self, socket: OwnedFd, log: Log<'_>, filter: Filter, start: Start) -> io::Result<()> {
        let view = self.view(log).map_err(|_| io::ErrorKind::NotFound)?;
        let id = self.install(socket)?;
        let followers = self.join(view, filter);
        let now = self.heartbeat.now();
        let seat = self.tiers[id.tier()].seat(id.slot());
        seat.followers = followers;
        seat.sent = now;
        seat.state = State::Behind;
        seat.cursor = start.cursor;
        seat.drained = start.unasked as u16;
        if let Some(mut reading) = start.snapshot {
            seat.in_snapshot = true;
            let part = reading.parts.pop_front().unwrap_or(0..0);
            seat.cursor = part.start;
            reading.parts.push_front(part);
            self.snapshots.insert(id, (reading, start.cursor));
        }
        self.begin(id);
        Ok(())
    }

    /// A free place for the socket, in another tier if the others are full.
    fn install(&mut self, socket: OwnedFd) -> io::Result<SeatId> {
        let tier = match self.tiers.iter().position(|tier| !tier.is_full()) {
            Some(tier) => tier,
            None if self.tiers.len() == TIERS_MAX => return Err(io::ErrorKind::QuotaExceeded.into()),
            None => {
                self.tiers.push(Tier::open(self.slots, self.eventfd).map_err(io::Error::other)?);
                tracing::debug!(tiers = self.tiers.len(), "the audience opened another tier");
                self.tiers.len() - 1
            }
        };
        let slot = self.tiers[tier].install(socket)?;
        Ok(SeatId::new(tier, slot))
    }

    /// The seat was set up: it takes its turn.
    fn begin(&mut self, id: SeatId) {
        self.expect_departure(id);
        self.await_turn(id);
        self.counts.seated += 1;
        self.counts.seatings += 1;
    }

    fn join(&mut self, view: ViewId, filter: Filter) -> u32 {
        let watched = &mut self.watched[view.0 as usize];
        watched.seats += 1;
        let known = watched.find(&filter, |id| self.followers[id as usize].filter == filter);
        let id = known.unwrap_or_else(|| {
            let id = self.followers.vacant_key() as u32;
            watched.insert(&filter, id);
            self.followers.insert(Followers::new(view, filter, UNSUBSCRIBED, watched.view.published));
            id
        });
        self.followers[id as usize].members += 1;
        id
    }

    fn part(&mut self, id: u32) {
        let followers = &mut self.followers[id as usize];
        followers.members -= 1;
        self.watched[followers.view.0 as usize].seats -= 1;
        self.forget_if_empty(id);
    }

    /// Hot followers are forgotten when their turn comes.
    fn forget_if_empty(&mut self, id: u32) {
        let followers = &self.followers[id as usize];
        if followers.members > 0 || followers.is_hot {
            return;
        }
        self.watched[followers.view.0 as usize].remove(&followers.filter, id);
        let followers = self.followers.remove(id as usize);
        if followers.subscription != UNSUBSCRIBED {
            self.subscriptions.remove(followers.subscription);
        }
    }

    fn complete(&mut self, tier: usize, Completion { tag, result }: Completion) {
        let id = SeatId::new(tier, tag.slot);
        let seat = self.tiers[tier].seat(tag.slot);
        if seat.generation != tag.generation {
            return;
        }
        match tag.kind {
            Kind::Send => {
                // Only what wasn't sent whole gets here. The cursor was moved as if it had been.
                let unsent = u64::from(tag.length) - result.max(0) as u64;
                seat.cursor -= unsent;
                self.counts.sent_bytes -= unsent;
                match result {
                    _ if matches!(seat.state, State::Leaving | State::Closing) => {}
                    0.. => self.stall(id),
                    _ if result == -libc::EAGAIN => self.stall(id),
                    _ => self.leave(id),
                }
            }
            Kind::Private => match (seat.state, result) {
                (State::Leaving | State::Closing, _) => {}
                (_, result) if result == -libc::EAGAIN => {}
                _ => self.leave(id),
            },
            Kind::Readable => {
                seat.armed &= !armed::READABLE;
                let gone = libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR;
                match seat.state {
                    State::Leaving => self.close_if_unarmed(id),
                    State::Returning => self.unpolled(id),
                    _ if result < 0 || result & i32::from(gone) != 0 => self.leave(id),
                    _ => self.tiers[tier].drain(tag.slot),
                }
            }
            Kind::Drain => {
                if matches!(seat.state, State::Returning | State::Leaving | State::Closing) {
                    return;
                }
                seat.drained = seat.drained.saturating_add(result.max(0) as u16);
                match result {
                    _ if result == -libc::EAGAIN => self.expect_departure(id),
                    1.. if usize::from(seat.drained) <= UNASKED_BYTES_MAX => self.expect_departure(id),
                    _ => self.leave(id),
                }
            }
            Kind::Writable => {
                seat.armed &= !armed::WRITABLE;
                match seat.state {
                    State::Leaving => self.close_if_unarmed(id),
                    _ if result < 0 => self.leave(id),
                    _ => {
                        self.counts.stalled -= 1;
                        seat.state = State::Behind;
                        self.await_turn(id);
                    }
                }
            }
            // A failure means that the peer is gone, and the polls say so.
            Kind::Shutdown => {
                seat.armed &= !armed::SHUTDOWN;
                self.close_if_unarmed(id);
            }
            Kind::Close => {
                assert!(result >= 0, "the slot of a seat couldn't be closed: errno {}", -result);
                self.tiers[tier].release(tag.slot);
                self.counts.seated -= 1;
            }
            // The poll itself says that it is gone.
            Kind::Unpoll => {}
            Kind::Install => self.returned(id, result),
        }
    }

    /// Notices when the seat's peer goes, or says what nobody asked for.
    fn expect_departure(&mut self, id: SeatId) {
        match self.disconnect {
            Disconnect::Instant => {}
            Disconnect::Heartbeat => return,
        }
        let tier = &mut self.tiers[id.tier()];
        tier.seat(id.slot()).armed |= armed::READABLE;
        tier.poll(Kind::Readable, id.slot(), libc::POLLIN | libc::POLLRDHUP);
    }

    /// The socket is full: the seat gets nothing until it drains, and then everything at once.
    fn stall(&mut self, id: SeatId) {
        self.rise(id);
        let tier = &mut self.tiers[id.tier()];
        let seat = tier.seat(id.slot());
        seat.state = State::Stalled;
        self.counts.stalled += 1;
        self.counts.stalls += 1;
        seat.armed |= armed::WRITABLE;
        tier.poll(Kind::Writable, id.slot(), libc::POLLOUT);
    }

    /// Takes a seat from the live ones, if it is there.
    fn rise(&mut self, id: SeatId) {
        let seat = *self.tiers[id.tier()].seat(id.slot());
        if seat.state != State::Live {
            return;
        }
        let followers = &mut self.followers[seat.followers as usize];
        for place in followers.remove(seat.place) {
            if let Some(&moved) = followers.live.get(place as usize) {
                self.tiers[moved.tier()].seat(moved.slot()).place = place;
            }
        }
    }

    /// A live seat that lags too far walks the log on its own.
    fn fall_behind(&mut self, id: SeatId) {
        self.rise(id);
        self.tiers[id.tier()].seat(id.slot()).state = State::Behind;
        self.await_turn(id);
    }

    /// A seat that is behind takes its place among those that wait for their turn.
    fn await_turn(&mut self, id: SeatId) {
        let seat = self.tiers[id.tier()].seat(id.slot());
        let view = &self.watched[self.followers[seat.followers as usize].view.0 as usize].view;
        let reads = match !seat.in_snapshot && view.is_in_tail(seat.cursor) {
            true => Reads::Tail,
            false => Reads::History,
        };
        self.behind.push((id, seat.generation), reads);
    }

    /// Sends all live seats of some followers to walk the log on their own.
    fn demote(&mut self, id: u32) {
        let followers = &mut self.followers[id as usize];
        let (base, live) = (followers.base, std::mem::take(&mut followers.live));
        followers.settle(self.watched[followers.view.0 as usize].view.published);
        for id in live {
            let seat = self.tiers[id.tier()].seat(id.slot());
            seat.cursor = seat.cursor.max(base);
            seat.state = State::Behind;
            self.await_turn(id);
        }
    }
}

fn heat(hot: &mut VecDeque<u32>, id: u32, followers: &mut Followers) {
    if followers.live.is_empty() {
        return;
    }
    followers.restart();
    if !followers.is_hot {
        followers.is_hot = true;
        followers.is_unfinished = false;
        hot.push_back(id);
    }
}
