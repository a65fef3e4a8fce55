//! The side table of seats that an origin holds: what each is held with, and how it ends.
//!
//! A row costs nothing while nothing is published. What is the same for many is shared: the terms of the hold, its
//! subscription, the data of its keep-alive; a row's own are its links and what its client is called.
//!
//! Invariant: a hold that has an ending is sent what lies before it and nothing else; then it is closed, or comes back as a
//! [`Recalled`].

use std::ops::{Index, IndexMut};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use fantail_engine::grip::KeepAlive;
use rustc_hash::FxHashSet;
use slab::Slab;

use super::items::Mark;
use super::seat::SeatId;
use super::subscriptions::{LastIds, Subscription, Subscriptions};

/// What a connection is held with: it goes into the audience with the socket, and comes back with it.
#[derive(Clone, Debug)]
pub struct Hold {
    /// What is the same for many.
    pub terms: Rc<Terms>,
    /// Where what comes next is asked for: an absolute URI.
    pub next: Option<Rc<str>>,
    /// What is told when the client has gone: an absolute URI.
    pub gone: Option<Rc<str>>,
}

/// What an origin's instruction says of a hold, and which origin that is. Equal ones are to be one and the same, see
/// [`super::Audience::share`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Terms {
    /// What is followed.
    pub subscription: Rc<Subscription>,
    /// What is sent to show that the connection lives.
    pub keep_alive: Option<Rc<KeepAlive>>,
    /// Seconds after which the next link is asked although nothing was missed.
    pub link_seconds: Option<u32>,
    /// The number of the route, and the host that the client named.
    pub route: usize,
    /// The `Host` of the client's request.
    pub host: Box<str>,
}

/// Why a seat became a conversation again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// Something is missing on a tracked channel.
    Gap,
    /// An item said that something is new.
    Hint,
    /// The operator asked for it.
    Recover,
    /// The next link's answer differs from what is held.
    Link,
}

/// A connection that is a conversation again; all that lies before `mark` was sent on it.
#[derive(Debug)]
pub struct Recalled {
    /// The socket, at an item's boundary.
    pub socket: OwnedFd,
    /// What it was held with.
    pub hold: Hold,
    /// How far it was served.
    pub mark: Mark,
    /// The id of the last item of each channel before `mark`, in the order of the subscription; none of untracked ones.
    pub last: Rc<[Option<Arc<str>>]>,
    /// Why.
    pub why: Why,
}

/// How the seats of one subscription end, shared by all of them.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) mark: Mark,
    pub(super) kind: EndingKind,
}

#[derive(Debug)]
pub(super) enum EndingKind {
    Close,
    Recall(Why, Rc<[Option<Arc<str>>]>),
}

impl Ending {
    pub(super) fn recall(mark: Mark, why: Why, last: &LastIds) -> Rc<Ending> {
        Rc::new(Ending { mark, kind: EndingKind::Recall(why, last.iter().cloned().collect()) })
    }

    pub(super) fn close(mark: Mark) -> Rc<Ending> {
        Rc::new(Ending { mark, kind: EndingKind::Close })
    }
}

/// Terms below which none are looked for that nobody has: they cost less than the look.
const TERMS_SWEPT_MIN: usize = 64;

/// Names no hold.
pub(super) const NOBODY: u32 = u32::MAX;

pub(super) struct Row {
    pub(super) hold: Hold,
    pub(super) seat: SeatId,
    /// Its neighbours among the holds of its subscription.
    before: u32,
    pub(super) after: u32,
    pub(super) ending: Option<Rc<Ending>>,
}

const _: () =
    assert!(std::mem::size_of::<Row>() <= 72, "of the 200 bytes that a held seat may take, most are its links'");

/// See the module.
#[derive(Default)]
pub(super) struct Holds {
    rows: Slab<Row>,
    /// The terms of those that are held, and perhaps of some that were.
    terms: FxHashSet<Rc<Terms>>,
    /// How many there may be before those that nobody has are looked for.
    terms_max: usize,
}

impl Index<u32> for Holds {
    type Output = Row;

    fn index(&self, number: u32) -> &Row {
        &self.rows[number as usize]
    }
}

impl IndexMut<u32> for Holds {
    fn index_mut(&mut self, number: u32) -> &mut Row {
        &mut self.rows[number as usize]
    }
}

impl Holds {
    /// Bytes of a row in the table.
    #[cfg(test)]
    pub(super) const ROW_BYTES: usize = size_of::<Option<Row>>();

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// See [`super::Audience::share`].
    pub(super) fn share(&mut self, terms: Terms) -> Rc<Terms> {
        if let Some(shared) = self.terms.get(&terms) {
            return Rc::clone(shared);
        }
        if self.terms.len() >= self.terms_max {
            self.terms.retain(|terms| Rc::strong_count(terms) > 1);
            self.terms_max = TERMS_SWEPT_MIN.max(2 * self.terms.len());
        }
        let shared = Rc::new(terms);
        self.terms.insert(Rc::clone(&shared));
        shared
    }

    /// Adds a hold of the subscription `number`.
    pub(super) fn insert(&mut self, hold: Hold, seat: SeatId, number: u32, subscriptions: &mut Subscriptions) -> u32 {
        let first = &mut subscriptions.get_mut(number).first;
        let added = self.rows.insert(Row { hold, seat, before: NOBODY, after: *first, ending: None }) as u32;
        if *first != NOBODY {
            self[*first].before = added;
        }
        *first = added;
        added
    }

    /// Takes a hold from those of the subscription `number`: nothing published concerns it any more.
    pub(super) fn unlink(&mut self, hold: u32, number: u32, subscriptions: &mut Subscriptions) {
        let Row { before, after, .. } = self[hold];
        match before {
            NOBODY => subscriptions.get_mut(number).first = after,
            before => self[before].after = after,
        }
        if after != NOBODY {
            self[after].before = before;
        }
        (self[hold].before, self[hold].after) = (NOBODY, NOBODY);
    }

    /// Takes out a hold that was unlinked.
    pub(super) fn remove(&mut self, hold: u32) -> Row {
        self.rows.remove(hold as usize)
    }
}
