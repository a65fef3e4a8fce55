//! The order of what is published on each channel.
//!
//! An item that names the one before it (`prev-id`) waits for that one, five seconds at most; an id that comes again is a
//! duplicate. So items leave in an order that readers can rely on, or with the mark that they don't: a *gap*. Who must not
//! miss anything (a hold that is *tracked*) goes back to the origin at a gap; everybody else just gets the item.
//!
//! Invariant: on one channel, whoever has seen the item that the channel's tail names has seen all items of its run up to
//! there. A run ends at a gap and at nothing else.

mod recent;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hasher;
use std::sync::Arc;

use siphasher::sip128::{Hasher128, SipHasher13};

use super::item::Item;
use crate::limits::{
    CHANNEL_IDLE_MS, CHANNEL_WAITING_MAX, CHANNELS_MAX, ITEM_PLACES_MAX, ITEM_SEEN_MS, ITEM_WAIT_MS, ITEMS_SEEN_MAX,
    WAITING_BYTES_MAX,
};
use recent::Recent;

/// What is known of all channels, at their home. Times are milliseconds of any clock that doesn't go back.
pub struct Channels {
    known: HashMap<Arc<str>, Channel>,
    /// Channels by the stamp of their last use.
    used: BTreeMap<u64, Arc<str>>,
    /// Counts uses, runs and tickets.
    count: u64,
    /// When ids came, for as long as they make duplicates.
    seen: Recent<u64>,
    /// Where items end in the log.
    places: Recent<Place>,
    /// Items that wait: until when, their tickets, and their channels.
    due: BTreeSet<(u64, u64, Arc<str>)>,
    waiting_bytes: usize,
    /// Tracked channels that had to be forgotten, and nobody was told yet.
    forgotten: Vec<(Arc<str>, Option<Box<str>>)>,
}

// Channels for which something waits aren't forgotten; so many can't be all that are known.
const _: () = assert!(CHANNELS_MAX * size_of::<Item>() > WAITING_BYTES_MAX);

/// What is known of one channel.
struct Channel {
    stamp: u64,
    used_ms: u64,
    /// Whether a hold began here that is tracked.
    tracked: Tracked,
    /// The last item in the channel's order, if it has an id: what the next one has to name.
    last: Option<Box<str>>,
    /// The last item that left, in order or not, or what a hold has seen on a channel of which nothing was known.
    tail: Option<Box<str>>,
    run: u64,
    /// In the order in which they came.
    waiting: Vec<Waiting>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tracked {
    Never,
    Once,
}

struct Waiting {
    due_ms: u64,
    ticket: u64,
    item: Item,
}

#[derive(Clone, Copy)]
struct Place {
    run: u64,
    end: u64,
}

/// What leaves, in this order.
#[derive(Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one is alive at a time, and nearly all are items")]
pub enum Release {
    /// An item.
    Item {
        /// The item.
        item: Item,
        /// Whether it follows what left before on its channel.
        continuity: Continuity,
    },
    /// A channel isn't known any more: who is tracked on it goes back to the origin.
    Forgotten {
        /// The channel's name.
        channel: Arc<str>,
        /// The last item of it that left.
        after: Option<Box<str>>,
    },
}

/// Whether an item follows what left before on its channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Continuity {
    /// It names the item before it.
    Follows,
    /// It doesn't, or nothing is known of what was before. Who is tracked doesn't get it.
    Gap {
        /// The last item that left before, as tracked holds tell the origin.
        after: Option<Box<str>>,
    },
}

/// What becomes of an item that is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// It has left, and others may have left after it.
    Released,
    /// It waits for the item before it. Others may have left instead, if there were too many.
    Waits,
    /// Its id came before, not long ago; it is dropped.
    Duplicate,
}

/// Where a hold begins that is tracked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// At the end of the log: the client has everything.
    End,
    /// At this offset of the log: what follows there on the channel follows what the client has.
    Behind(u64),
    /// Nowhere: the client and the channel don't know the same. The origin is to be asked once more; if it says the same
    /// again, the hold may begin at the end of the log, but the channel's next item is a gap for it.
    Gap,
}

impl Default for Channels {
    fn default() -> Channels {
        Channels::new()
    }
}

impl Channels {
    /// No channel is known.
    #[must_use]
    pub fn new() -> Channels {
        Channels {
            known: HashMap::new(),
            used: BTreeMap::new(),
            count: 0,
            seen: Recent::new(ITEMS_SEEN_MAX),
            places: Recent::new(ITEM_PLACES_MAX),
            due: BTreeSet::new(),
            waiting_bytes: 0,
            forgotten: Vec::new(),
        }
    }

    /// Takes an item. What leaves, if anything does, is given to `release` in order, which says where the log ends then.
    pub fn offer(&mut self, item: Item, now_ms: u64, release: &mut impl FnMut(Release) -> u64) -> Offered {
        self.tell_forgotten(release);
        self.seen.forget_while(|at| at.saturating_add(ITEM_SEEN_MS) <= now_ms);
        if let Some(id) = &item.id
            && !self.seen.insert_new(key(&item.channel, id), now_ms)
        {
            return Offered::Duplicate;
        }
        let name = self.touch(&item.channel, now_ms);
        // Each round lets at least one item go that waits.
        while !self.follows(&name, &item) {
            let Some(crowded) = self.crowded(&name, item.weight()) else {
                self.wait(name, item, now_ms);
                return Offered::Waits;
            };
            self.give_up(crowded, release);
        }
        self.release(&name, item, release);
        Offered::Released
    }

    /// Lets the items go that have waited long enough, and forgets what nobody has used for long. To be called when
    /// [`Channels::next_due`] says so, and now and then; later is no harm but to those who wait.
    pub fn due(&mut self, now_ms: u64, release: &mut impl FnMut(Release) -> u64) {
        self.tell_forgotten(release);
        while let Some(first) = self.due.first()
            && first.0 <= now_ms
        {
            let first = first.clone();
            self.give_up((first.1, first.2), release);
        }
        self.forget_idle(now_ms);
    }

    /// When [`Channels::due`] lets something go, if ever without another item; 0 means at once.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        match self.forgotten.is_empty() {
            true => self.due.first().map(|(due_ms, ..)| *due_ms),
            false => Some(0),
        }
    }

    /// Where a hold begins whose client has everything up to the item `prev_id` of this channel; `end` is where the log ends.
    ///
    /// On a channel of which nothing is known, the hold is believed: what is published next has to follow it.
    pub fn begin(&mut self, channel: &str, prev_id: &str, end: u64, now_ms: u64) -> Begin {
        let name = self.touch(channel, now_ms);
        self.count += 1;
        let known = self.known.get_mut(&name).expect("a channel that is touched is known");
        known.tracked = Tracked::Once;
        match &known.tail {
            Some(tail) if **tail == *prev_id => Begin::End,
            Some(_) => match self.places.value(key(channel, prev_id)) {
                Some(place) if place.run == known.run => Begin::Behind(place.end),
                Some(_) | None => Begin::Gap,
            },
            None => {
                (known.tail, known.run) = (Some(prev_id.into()), self.count);
                self.places.insert(key(channel, prev_id), Place { run: self.count, end });
                Begin::End
            }
        }
    }

    /// Tells that the log before `start` is gone: no hold begins there.
    pub fn forget_before(&mut self, start: u64) {
        self.places.forget_while(|place| place.end < start);
    }

    /// The channels that are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The items that wait, of all channels.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.due.len()
    }

    /// Makes a channel the most recently used one, and known.
    fn touch(&mut self, channel: &str, now_ms: u64) -> Arc<str> {
        self.count += 1;
        let (stamp, used_ms) = (self.count, now_ms);
        if let Some((name, known)) = self.known.get_key_value(channel) {
            let (name, before) = (Arc::clone(name), known.stamp);
            self.used.remove(&before);
            let known = self.known.get_mut(channel).expect("it was there a moment ago");
            (known.stamp, known.used_ms) = (stamp, used_ms);
            self.used.insert(stamp, Arc::clone(&name));
            return name;
        }
        if self.known.len() == CHANNELS_MAX {
            self.forget_oldest();
        }
        let name = Arc::<str>::from(channel);
        let (tracked, run) = (Tracked::Never, stamp);
        let known = Channel { stamp, used_ms, tracked, last: None, tail: None, run, waiting: Vec::new() };
        self.known.insert(Arc::clone(&name), known);
        self.used.insert(stamp, Arc::clone(&name));
        name
    }

    fn channel(&mut self, name: &str) -> &mut Channel {
        self.known.get_mut(name).expect("a channel that is used is known")
    }

    /// Whether an item may leave at once.
    fn follows(&mut self, name: &str, item: &Item) -> bool {
        match (&self.channel(name).last, &item.prev_id) {
            (Some(last), Some(prev_id)) => item.no_seq || last == prev_id,
            (None, _) | (_, None) => true,
        }
    }

    /// The item that no longer waits so that one of `weight` can.
    fn crowded(&self, name: &str, weight: usize) -> Option<(u64, Arc<str>)> {
        let (arc, channel) = self.known.get_key_value(name).expect("a channel that is used is known");
        if channel.waiting.len() == CHANNEL_WAITING_MAX {
            return Some((channel.waiting[0].ticket, Arc::clone(arc)));
        }
        let (_, ticket, name) = self.due.first()?;
        (self.waiting_bytes + weight > WAITING_BYTES_MAX).then(|| (*ticket, Arc::clone(name)))
    }

    fn wait(&mut self, name: Arc<str>, item: Item, now_ms: u64) {
        self.count += 1;
        let (due_ms, ticket) = (now_ms.saturating_add(ITEM_WAIT_MS), self.count);
        self.waiting_bytes += item.weight();
        self.channel(&name).waiting.push(Waiting { due_ms, ticket, item });
        self.due.insert((due_ms, ticket, name));
    }

    /// Takes the item at `at` from those of the channel that wait.
    fn take(&mut self, name: &Arc<str>, at: usize) -> Item {
        let Waiting { due_ms, ticket, item } = self.channel(name).waiting.remove(at);
        self.due.remove(&(due_ms, ticket, Arc::clone(name)));
        self.waiting_bytes -= item.weight();
        item
    }

    /// Lets an item go though the one before it didn't come. If that one waits too, it goes first, and so on: as much as can
    /// be in order is.
    fn give_up(&mut self, (ticket, name): (u64, Arc<str>), release: &mut impl FnMut(Release) -> u64) {
        let waiting = &self.channel(&name).waiting;
        let mut at = waiting.iter().position(|one| one.ticket == ticket).expect("what is due waits");
        // Ids that name each other in a circle would lead around for ever.
        for _ in 0..waiting.len() {
            let prev_id = &waiting[at].item.prev_id;
            match waiting.iter().position(|one| one.item.id.is_some() && one.item.id == *prev_id) {
                Some(before) => at = before,
                None => break,
            }
        }
        let item = self.take(&name, at);
        self.release(&name, item, release);
    }

    /// Lets an item go, and those that waited for it.
    fn release(&mut self, name: &Arc<str>, item: Item, release: &mut impl FnMut(Release) -> u64) {
        let mut next = Some(item);
        while let Some(item) = next {
            let in_order = !item.no_seq;
            self.count += 1;
            let count = self.count;
            let channel = self.channel(name);
            let continuity = match &channel.tail {
                Some(tail) if item.prev_id.as_ref() == Some(tail) => Continuity::Follows,
                Some(_) | None => {
                    channel.run = count;
                    Continuity::Gap { after: channel.tail.take() }
                }
            };
            channel.tail = item.id.clone();
            if in_order {
                channel.last = item.id.clone();
            }
            let (run, id) = (channel.run, item.id.clone());
            let end = release(Release::Item { item, continuity });
            if let Some(id) = id {
                self.places.insert(key(name, &id), Place { run, end });
            }
            next = in_order.then(|| self.successor(name)).flatten().map(|at| self.take(name, at));
        }
    }

    /// The item that waits for the last one in order.
    fn successor(&mut self, name: &str) -> Option<usize> {
        let channel = self.channel(name);
        let last = channel.last.as_ref()?;
        channel.waiting.iter().position(|one| one.item.prev_id.as_ref() == Some(last))
    }

    /// Forgets the channel that was used least recently among those for which nothing waits.
    fn forget_oldest(&mut self) {
        let is_quiet = |name: &&Arc<str>| self.known[*name].waiting.is_empty();
        if let Some(name) = self.used.values().find(is_quiet).cloned() {
            self.forget(&name);
        }
    }

    fn forget(&mut self, name: &Arc<str>) {
        let channel = self.known.remove(name).expect("a channel that is used is known");
        self.used.remove(&channel.stamp);
        match channel.tracked {
            Tracked::Once => self.forgotten.push((Arc::clone(name), channel.tail)),
            Tracked::Never => {}
        }
    }

    /// Forgets channels that nobody has used for long; those that are tracked count as used.
    fn forget_idle(&mut self, now_ms: u64) {
        while let Some((_, name)) = self.used.first_key_value()
            && self.known[name].used_ms.saturating_add(CHANNEL_IDLE_MS) <= now_ms
        {
            let name = Arc::clone(name);
            match self.known[&name].tracked {
                Tracked::Once => drop(self.touch(&name, now_ms)),
                Tracked::Never => self.forget(&name),
            }
        }
    }

    fn tell_forgotten(&mut self, release: &mut impl FnMut(Release) -> u64) {
        for (channel, after) in self.forgotten.drain(..) {
            release(Release::Forgotten { channel, after });
        }
    }
}

/// What an id on a channel is known by: 128 bits, so that two are never taken for the same.
fn key(channel: &str, id: &str) -> u128 {
    let mut hasher = SipHasher13::new();
    hasher.write(channel.as_bytes());
    // A byte that no text has.
    hasher.write_u8(0xff);
    hasher.write(id.as_bytes());
    hasher.finish128().as_u128()
}

#[cfg(test)]
mod tests;
