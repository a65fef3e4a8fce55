//! Seats that an origin holds, on channels: their log is followed as a stream's is, and an item may do more than bring bytes.
//!
//! All channels are one log, in memory only. What its tail doesn't have any more can't be had: whoever is to read it is shown
//! out, and comes back to the origin.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use fantail_engine::grip::StreamItem;
use fantail_engine::log::filter::Filter;
use fantail_engine::log::tail::Blocks;
use fantail_engine::log::view::{Step, Unread, View};
use fantail_engine::position::Position;

use super::followers::Followers;
use super::holds::{Ending, EndingKind, Hold, NOBODY, Terms, Why};
use super::items::{Item, Items, Mark};
use super::quantum::{After, Budget, LOOK_BYTES, SEARCH_BYTES};
use super::seat::{Kind, SeatId, State};
use super::subscriptions::{LastIds, Subscription, Tracking};
use super::{Audience, Log, heat};
use crate::limits::SEND_BYTES;
use crate::storage::pages::Volume;

/// What the log of all channels is called. No stream is called so: a name holds no slash.
pub const CHANNELS: &str = "/channels";

/// Whom an item reached on a core.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Reach {
    /// Held streams that get it, or are ended by it.
    pub streams: u64,
    /// Requests that it answered.
    pub responses: u64,
    /// Connections that ask their origin because of it.
    pub recalls: u64,
}

impl Reach {
    /// Adds another core's.
    pub fn add(&mut self, other: Reach) {
        self.streams += other.streams;
        self.responses += other.responses;
        self.recalls += other.recalls;
    }
}

/// A hold that begins.
#[derive(Debug)]
pub struct Held {
    /// What the connection is held with.
    pub hold: Hold,
    /// The ids that the origin began from, in the order of the subscription; none of untracked channels.
    pub last: Box<[Option<Arc<str>>]>,
    /// The place from which on it is sent items.
    pub mark: Mark,
    /// Bytes that the client has sent unasked so far.
    pub unasked: usize,
}

impl Audience {
    /// Begins to watch the channels, of which nothing was published yet.
    pub fn watch_channels(&mut self) {
        let view = View {
            published: 0,
            blocks: Blocks::default(),
            segments: std::collections::VecDeque::new(),
            position: Position::ORIGIN,
        };
        let volume = Volume::new(std::path::Path::new("").into());
        self.channels = volume.number;
        self.watch(CHANNELS.into(), view, volume);
    }

    /// The log of the channels.
    #[must_use]
    pub fn channel_log(&self) -> Log<'static> {
        Log { stream: CHANNELS, volume: self.channels }
    }

    /// The newest items of the channels.
    #[must_use]
    pub fn items(&self) -> &Items {
        &self.items
    }

    /// Takes over a connection that an origin holds: from now on it only listens.
    ///
    /// # Errors
    /// `NotFound` if what it is to be sent isn't there any more, or as [`Audience::seat`]; the socket is closed.
    pub fn hold(&mut self, socket: OwnedFd, held: Held) -> io::Result<()> {
        let Held { hold, mut last, mark, unasked } = held;
        let view = self.view(self.channel_log()).map_err(|_| io::ErrorKind::NotFound)?;
        let ending = self.ending_since(mark, &hold, &mut last).map_err(|_| io::ErrorKind::NotFound)?;
        let id = self.install(socket)?;
        let subscription = Rc::clone(&hold.terms.subscription);
        let number = match self.subscriptions.find(&subscription) {
            Some(number) => {
                let row = self.subscriptions.get_mut(number);
                // Its followers may have left while there was something to send to them.
                if row.first == NOBODY {
                    row.last = last;
                }
                number
            }
            None => {
                let followers = self.followers.vacant_key() as u32;
                let watched = &mut self.watched[view.0 as usize];
                let filter = filter(&subscription);
                let number = self.subscriptions.insert(subscription, followers, last);
                watched.insert(&filter, followers);
                self.followers.insert(Followers::new(view, filter, number, watched.view.published));
                number
            }
        };
        let followers = self.subscriptions.get(number).followers;
        self.watched[view.0 as usize].seats += 1;
        self.followers[followers as usize].members += 1;
        let row = self.holds.insert(hold, id, number, &mut self.subscriptions);
        self.holds[row].ending = ending;
        let now = self.heartbeat.now();
        let seat = self.tiers[id.tier()].seat(id.slot());
        seat.hold = row;
        seat.followers = followers;
        seat.sent = now;
        seat.state = State::Behind;
        seat.cursor = mark.offset;
        seat.drained = unasked as u16;
        self.begin(id);
        self.wind(id);
        Ok(())
    }

    /// What ends a hold among the items from `mark` on, which this core was told of before it was seated; moves `last` on to the
    /// newest of them.
    fn ending_since(&self, mark: Mark, hold: &Hold, last: &mut LastIds) -> Result<Option<Rc<Ending>>, Unread> {
        let mut first = None;
        for item in self.items.since(mark).ok_or(Unread::Gone)? {
            let Some((index, followed)) = hold.terms.subscription.channel(item.hash) else { continue };
            first = first.or_else(|| {
                let ending = ending(item, &hold.terms.subscription, followed.tracking, last);
                ending.filter(|ending| concerns(ending, hold))
            });
            if followed.tracking.has_ids() {
                last[index].clone_from(&item.id);
            }
        }
        Ok(first)
    }

    /// Terms that are equal to these and that all who have equal ones share.
    pub fn share(&mut self, terms: Terms) -> Rc<Terms> {
        self.holds.share(terms)
    }

    /// These items were released, and their bytes are in the tail: whoever follows their channels gets them, or ends.
    pub fn release(&mut self, items: &[Arc<Item>]) -> Reach {
        let mut reach = Reach::default();
        let Some(&view) = self.streams.get(CHANNELS) else { return reach };
        let mut concerned = Vec::new();
        for item in items {
            let watched = &mut self.watched[view.0 as usize];
            watched.view.published = item.end().offset;
            self.items.push(Arc::clone(item), watched.view.blocks.start().unwrap_or(0));
            concerned.extend(watched.followers_of(item.hash));
            for followers in concerned.drain(..) {
                self.release_to(followers, item, &mut reach);
            }
        }
        reach
    }

    /// What one item means to those who follow a subscription that has its channel.
    fn release_to(&mut self, id: u32, item: &Arc<Item>, reach: &mut Reach) {
        let followers = &mut self.followers[id as usize];
        let number = followers.subscription;
        let row = self.subscriptions.get_mut(number);
        let Some((index, followed)) = row.subscription.channel(item.hash) else { return };
        let ending = ending(item, &row.subscription, followed.tracking, &row.last);
        if followed.tracking.has_ids() {
            row.last[index].clone_from(&item.id);
        }
        if let Some(ending) = ending {
            return self.end(number, &ending, reach);
        }
        if item.length == 0 || !row.subscription.admits(item) {
            return;
        }
        reach.streams += u64::from(followers.members);
        if followers.live.is_empty() {
            return;
        }
        match followers.extend(item.mark.offset, item.mark.offset, item.length) {
            true => heat(&mut self.hot, id, followers),
            false => self.demote(id),
        }
    }

    /// The operator wants all holds that have a next link to ask it.
    pub fn recover(&mut self) -> Reach {
        let mut reach = Reach::default();
        let mark = self.items.end();
        let all: Vec<(u32, Rc<Ending>)> = self
            .subscriptions
            .iter()
            .map(|(number, row)| (number, Ending::recall(mark, Why::Recover, &row.last)))
            .collect();
        all.iter().for_each(|(number, ending)| self.end(*number, ending, &mut reach));
        reach
    }

    /// The holds of a subscription end there, if that concerns them: each once it was sent what lies before. One that was to
    /// be recalled and is closed now is closed where it would have been recalled.
    fn end(&mut self, number: u32, ending: &Rc<Ending>, reach: &mut Reach) {
        let mut at = self.subscriptions.get(number).first;
        // The subscription is gone with its last hold.
        while at != NOBODY {
            let row = &mut self.holds[at];
            let (seat, after) = (row.seat, row.after);
            if concerns(ending, &row.hold) {
                match (&row.ending, &ending.kind) {
                    (None, _) => row.ending = Some(Rc::clone(ending)),
                    (Some(before), EndingKind::Close) => row.ending = Some(Ending::close(before.mark)),
                    (Some(_), EndingKind::Recall(..)) => {}
                }
                match ending.kind {
                    EndingKind::Close => reach.streams += 1,
                    EndingKind::Recall(..) => reach.recalls += 1,
                }
                self.approach_end(seat);
            }
            at = after;
        }
    }

    /// A hold ends there, unless it ends before.
    pub(super) fn end_one(&mut self, id: SeatId, ending: Rc<Ending>) {
        let hold = self.tiers[id.tier()].seat(id.slot()).hold;
        self.holds[hold].ending.get_or_insert(ending);
        self.approach_end(id);
    }

    /// A live seat whose end was set leaves if it has everything, else it reads on alone.
    fn approach_end(&mut self, id: SeatId) {
        let seat = *self.tiers[id.tier()].seat(id.slot());
        match seat.state {
            State::Live => match self.followers[seat.followers as usize].run(seat.cursor) {
                Some((from, _)) => {
                    self.tiers[id.tier()].seat(id.slot()).cursor = from;
                    self.fall_behind(id);
                }
                None => self.finish(id),
            },
            // They come to it.
            State::Behind | State::Stalled => {}
            State::Free | State::Recalled | State::Returning | State::Leaving | State::Closing => {}
        }
    }

    /// The next item for a seat that walks alone; it joins the live ones if there is none.
    pub(super) fn read_items(&mut self, id: SeatId, budget: &mut Budget) -> Result<After, Unread> {
        let seat = *self.tiers[id.tier()].seat(id.slot());
        let ending = self.holds[seat.hold].ending.as_ref().map_or(u64::MAX, |ending| ending.mark.offset);
        let followers = &self.followers[seat.followers as usize];
        let watched = &self.watched[followers.view.0 as usize];
        let subscription = &self.subscriptions.get(followers.subscription).subscription;
        let mut cursor = seat.cursor;
        while cursor < ending && !budget.is_spent() {
            match watched.view.step(&followers.filter, cursor, SEND_BYTES, &self.shelf.of(&watched.volume))? {
                Step::Run(at, _) if at >= ending => cursor = ending,
                Step::Run(at, bytes) => {
                    budget.look((at - cursor) / SEARCH_BYTES);
                    let item = self.items.at(at).ok_or(Unread::Gone)?;
                    if !subscription.admits(item) {
                        budget.look(LOOK_BYTES);
                        cursor = item.end().offset;
                        continue;
                    }
                    let tier = &mut self.tiers[id.tier()];
                    let seat = tier.seat(id.slot());
                    seat.cursor = at + bytes.len() as u64;
                    seat.sent = self.heartbeat.now();
                    tier.send(Kind::Send, id.slot(), bytes);
                    self.counts.sent(bytes);
                    budget.spend(bytes.len() as u64);
                    return Ok(After::Again);
                }
                Step::Skip(to) => {
                    budget.look((to - cursor) / SEARCH_BYTES);
                    cursor = to.min(ending);
                }
                Step::Done => {
                    budget.look(LOOK_BYTES);
                    self.tiers[id.tier()].seat(id.slot()).cursor = cursor;
                    self.come_live(id);
                    return Ok(After::Enough);
                }
            }
        }
        self.tiers[id.tier()].seat(id.slot()).cursor = cursor;
        if cursor < ending {
            return Ok(After::Again);
        }
        budget.look(LOOK_BYTES);
        self.finish(id);
        Ok(After::Enough)
    }

    /// The seat has come to its end.
    pub(super) fn finish(&mut self, id: SeatId) {
        let hold = self.tiers[id.tier()].seat(id.slot()).hold;
        match self.holds[hold].ending.as_ref().map(|ending| &ending.kind) {
            Some(EndingKind::Recall(..)) => self.recall(id),
            Some(EndingKind::Close) | None => self.leave(id),
        }
    }
}

/// What ends those who follow an item's channel so, if they have a next link to ask where that is needed.
fn ending(item: &Item, subscription: &Subscription, tracking: Tracking, last: &LastIds) -> Option<Rc<Ending>> {
    let mark = item.mark;
    if tracking.misses(item) {
        return Some(Ending::recall(mark, Why::Gap, last));
    }
    match item.stream()? {
        StreamItem::Send { .. } | StreamItem::Refresh => None,
        // Filters decide about closing, too: who parts one user publishes to a channel of many.
        StreamItem::Close => subscription.admits(item).then(|| Ending::close(mark)),
        // Behind it: whoever goes on there isn't told of it again.
        StreamItem::Hint => Some(Ending::recall(item.end(), Why::Hint, last)),
    }
}

/// Whether such an ending is this hold's: who has nowhere to ask stays, unless something is missing.
fn concerns(ending: &Ending, hold: &Hold) -> bool {
    match ending.kind {
        EndingKind::Close | EndingKind::Recall(Why::Gap, _) => true,
        EndingKind::Recall(Why::Hint | Why::Recover | Why::Link, _) => hold.next.is_some(),
    }
}

/// The events of these channels.
fn filter(subscription: &Subscription) -> Filter {
    let mut paths: Vec<u64> = subscription.channels.iter().map(|followed| followed.hash).collect();
    paths.sort_unstable();
    paths.dedup();
    // Also for one: several subscriptions may be of the same channel.
    Filter::Paths(paths.into())
}
