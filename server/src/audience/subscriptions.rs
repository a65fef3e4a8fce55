//! What the held seats of a core follow, each combination of channels and filters once.
//!
//! A row belongs to one [`Followers`](super::followers::Followers), and knows what they don't: which of their channels are
//! tracked, the id up to which those were told, and which rows of the table of holds are theirs.

use std::rc::Rc;
use std::sync::Arc;

use fantail_engine::grip::Screen;
use rustc_hash::FxHashMap;
use slab::Slab;

use super::holds::NOBODY;
use super::items::{Continuity, Item};

/// The channels that a connection is held for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Subscription {
    /// At least one, in the order of the instruction.
    pub channels: Box<[Followed]>,
    /// Which items of them are let through.
    pub screen: Screen,
}

/// A channel that a connection is held for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Followed {
    /// Its name.
    pub name: Arc<str>,
    /// [`fantail_engine::topic::hash`] of it.
    pub hash: u64,
    /// Whether the origin counts on it that nothing is missing.
    pub tracking: Tracking,
}

/// Whether a channel is followed by the ids of its items.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Tracking {
    /// A gap is answered from the next link.
    Tracked,
    /// The same, and the channel knows nothing of the id that the origin began from, however often it is asked: the next item is a
    /// gap, whatever it follows.
    Adrift,
    /// Items come as they come.
    Untracked,
}

impl Tracking {
    /// Whether something is missing before an item, for those who follow its channel so.
    #[must_use]
    pub fn misses(self, item: &Item) -> bool {
        match self {
            Tracking::Tracked => item.continuity == Continuity::Gap,
            Tracking::Adrift => true,
            Tracking::Untracked => false,
        }
    }

    /// Whether the ids of the channel's items are kept.
    pub(super) fn has_ids(self) -> bool {
        match self {
            Tracking::Tracked | Tracking::Adrift => true,
            Tracking::Untracked => false,
        }
    }
}

impl Subscription {
    /// The channel of an item, if it is one of these.
    #[must_use]
    pub fn channel(&self, hash: u64) -> Option<(usize, &Followed)> {
        self.channels.iter().enumerate().find(|(_, followed)| followed.hash == hash)
    }

    /// Whether the item's content is for those who follow these channels.
    #[must_use]
    pub fn admits(&self, item: &Item) -> bool {
        self.screen.admits(item.hash, &item.label)
    }
}

/// The id of the last item, per channel of a subscription; those of untracked channels stay unknown.
pub(super) type LastIds = Box<[Option<Arc<str>>]>;

pub(super) struct Row {
    pub(super) subscription: Rc<Subscription>,
    /// The followers whose row this is.
    pub(super) followers: u32,
    /// The first of the holds of these followers that may still be sent something, or [`NOBODY`].
    pub(super) first: u32,
    /// As of the last item that this core was told of.
    pub(super) last: LastIds,
}

/// See the module.
#[derive(Default)]
pub(super) struct Subscriptions {
    rows: Slab<Row>,
    numbers: FxHashMap<Rc<Subscription>, u32>,
}

impl Subscriptions {
    pub(super) fn get(&self, number: u32) -> &Row {
        &self.rows[number as usize]
    }

    pub(super) fn get_mut(&mut self, number: u32) -> &mut Row {
        &mut self.rows[number as usize]
    }

    /// The number of a subscription that somebody has here.
    pub(super) fn find(&self, subscription: &Subscription) -> Option<u32> {
        self.numbers.get(subscription).copied()
    }

    /// Adds a subscription that nobody has yet, and that of `followers`.
    pub(super) fn insert(&mut self, subscription: Rc<Subscription>, followers: u32, last: LastIds) -> u32 {
        let row = Row { subscription: Rc::clone(&subscription), followers, first: NOBODY, last };
        let number = self.rows.insert(row) as u32;
        self.numbers.insert(subscription, number);
        number
    }

    /// Nobody has it any more.
    pub(super) fn remove(&mut self, number: u32) {
        let row = self.rows.remove(number as usize);
        self.numbers.remove(&row.subscription);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Row)> {
        self.rows.iter().map(|(number, row)| (number as u32, row))
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
}
