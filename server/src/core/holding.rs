//! What conversations ask of the channels: where a hold begins, a seat for it, and the next item for those that wait themselves.
//!
//! ```text
//! subscription ── begin_hold ──► At ── its bytes, if it is behind ──► hold ──► a seat ── take_recalled ──► conversation::hold
//!                     └────────► Gap: the next link                  └──► attend, for those whose bytes or whose answer is their own
//! ```

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use fantail_engine::grip::ResponseItem;
use rustc_hash::FxHashMap;

use super::channels::{Begun, ChannelAnswer, ChannelQuestion, Published};
use super::nudge::Nudge;
use super::question::Answer;
use super::{Asked, Core, Letter, Stage, Ticket};
use crate::audience::{Asking, Held, Item, Log, Mark, Reach, Recalled, Subscription, Terms};
use crate::conversation::hold;

/// Where a hold begins.
#[derive(Debug)]
pub(crate) enum Beginning {
    /// At this place of the log, once the client has what these items before it bring, in order.
    At { mark: Mark, first: Vec<Arc<Item>> },
    /// Nowhere: on these channels of the subscription, by index, the client and the edge don't know the same. The next link is to
    /// be asked; if it says the same again, the hold may begin with these channels adrift.
    Gap(Vec<usize>),
}

/// A connection that is a conversation again: one of a bounded number, until this is dropped.
pub(crate) struct Returned {
    core: Rc<Core>,
}

impl Drop for Returned {
    fn drop(&mut self) {
        self.core.audience.borrow_mut().recall_ended();
        self.core.nudge.ring();
    }
}

/// What an attendant awaits, to be counted among those whom an item reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Awaits {
    /// A response.
    Response,
    /// Bytes of its own making.
    Stream,
}

/// A conversation that waits for items of channels itself, from a place of the log on.
pub(crate) struct Attendant {
    core: Rc<Core>,
    place: Rc<Place>,
    /// What it was told up to.
    mark: Mark,
}

/// What the core knows of an attendant.
struct Place {
    subscription: Rc<Subscription>,
    awaits: Awaits,
    nudge: Nudge,
    /// Whether it is to ask its origin anew.
    is_recalled: Cell<bool>,
}

/// The attendants of a core, by the hash of each of their channels.
#[derive(Default)]
pub(super) struct Attendance {
    places: FxHashMap<u64, Vec<Rc<Place>>>,
}

impl Attendance {
    /// How many there are; one of several channels counts for each.
    pub(super) fn len(&self) -> usize {
        self.places.values().map(Vec::len).sum()
    }

    /// All who wait for a response ask their origins anew. Those of several channels count once.
    fn recall(&self, reach: &mut Reach) {
        let waiting = self.places.values().flatten().filter(|place| place.awaits == Awaits::Response);
        for place in waiting {
            reach.responses += u64::from(!place.is_recalled.replace(true));
            place.nudge.ring();
        }
    }

    /// Wakes those who wait for an item.
    fn announce(&self, item: &Item, reach: &mut Reach) {
        for place in self.places.get(&item.hash).into_iter().flatten() {
            place.nudge.ring();
            match (place.awaits, item.response()) {
                (Awaits::Response, Some(ResponseItem::Send { .. })) if place.subscription.admits_response(item) => {
                    reach.responses += 1;
                }
                (Awaits::Stream, _) if item.length > 0 && place.subscription.admits(item) => reach.streams += 1,
                (Awaits::Response | Awaits::Stream, _) => {}
            }
        }
    }
}

impl Attendant {
    /// The next item of its channels, of whichever format and with whatever screen; none if some of them are forgotten, as it was
    /// too slow, or if it is to ask its origin anew.
    pub(crate) async fn next(&mut self) -> Option<Arc<Item>> {
        loop {
            if self.place.is_recalled.get() {
                return None;
            }
            {
                let audience = self.core.audience.borrow();
                let subscription = &self.place.subscription;
                let mut items = audience.items().since(self.mark)?;
                let found = items.find(|item| subscription.channel(item.hash).is_some()).map(Arc::clone);
                self.mark = found.as_ref().map_or(self.mark.max(audience.items().end()), |item| item.end());
                if found.is_some() {
                    return found;
                }
            }
            self.place.nudge.rung().await;
        }
    }

    /// Up to where it was told.
    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }
}

impl Drop for Attendant {
    fn drop(&mut self) {
        let mut attendance = self.core.attendance.borrow_mut();
        for followed in &self.place.subscription.channels {
            if let Some(places) = attendance.places.get_mut(&followed.hash) {
                places.retain(|place| !Rc::ptr_eq(place, &self.place));
                if places.is_empty() {
                    attendance.places.remove(&followed.hash);
                }
            }
        }
    }
}

impl Core {
    /// Asks the home of the channels, by letter even on its own core: so whatever it said before was heard before.
    fn ask_channels(self: &Rc<Core>, question: ChannelQuestion) -> Asked {
        let ticket = self.tickets.borrow_mut().insert(Ticket::Open(None));
        self.cores.boxes[0].post(Letter::Channels { from: self.number, ticket, question });
        Asked { core: Rc::clone(self), ticket: Some(ticket) }
    }

    /// Publishes items; resolves when all cores have them.
    pub(crate) async fn publish(self: &Rc<Core>, items: Vec<fantail_engine::grip::Item>) -> Published {
        published(self.ask_channels(ChannelQuestion::Publish(items)).await)
    }

    /// Asks the next links of all that is held; resolves when all cores have begun to.
    pub(crate) async fn recover_held(self: &Rc<Core>) -> Published {
        published(self.ask_channels(ChannelQuestion::Recover).await)
    }

    /// Where a hold begins whose client has everything up to the ids of `last`, in the order of the subscription's channels. On
    /// channels without one it begins at `from`, where the client was held before, or else with what comes.
    pub(crate) async fn begin_hold(
        self: &Rc<Core>,
        subscription: &Subscription,
        last: &[Option<Arc<str>>],
        from: Option<Mark>,
    ) -> Beginning {
        let channels = subscription.channels.iter().zip(last);
        let channels = channels.map(|(followed, last)| (Arc::clone(&followed.name), last.clone())).collect();
        let Answer::Channels(ChannelAnswer::Begun(begun, end)) =
            self.ask_channels(ChannelQuestion::Begin(channels)).await
        else {
            unreachable!("the channels say where a hold begins")
        };
        let gaps = begun.iter().enumerate().filter(|(_, begun)| **begun == Begun::Gap);
        let gaps: Vec<usize> = gaps.map(|(index, _)| index).collect();
        if !gaps.is_empty() {
            return Beginning::Gap(gaps);
        }
        let start = |(begun, last): (&Begun, &Option<Arc<str>>)| match (begun, last) {
            // What the client was served up to isn't sent again, whatever the origin says.
            (Begun::With(sequence), _) => from.map_or(*sequence, |from| from.sequence.max(*sequence)),
            (Begun::End | Begun::Gap, Some(_)) => end.sequence,
            (Begun::End | Begun::Gap, None) => from.map_or(end.sequence, |from| from.sequence),
        };
        let starts: Vec<u64> = begun.iter().zip(last).map(start).collect();
        match self.audience.borrow().items().align(subscription, &starts, end) {
            Some((mark, first)) => Beginning::At { mark, first },
            None => Beginning::Gap((0..starts.len()).collect()),
        }
    }

    /// The log of the channels, for [`Core::copy`].
    pub(crate) fn channel_log(&self) -> Log<'static> {
        self.audience.borrow().channel_log()
    }

    /// Terms that all who have equal ones share.
    pub(crate) fn share_terms(&self, terms: Terms) -> Rc<Terms> {
        self.audience.borrow_mut().share(terms)
    }

    /// Hands a connection that an origin holds to the audience. It comes back, if it does, to [`hold::resume`].
    pub(crate) fn hold(&self, socket: OwnedFd, held: Held) {
        if self.stage.get() == Stage::Ending {
            return;
        }
        if let Err(error) = self.audience.borrow_mut().hold(socket, held) {
            tracing::debug!(%error, "no seat could be given to a held connection; it is closed");
        }
        self.nudge.ring();
    }

    /// Waits for items of channels from `mark` on: what it awaits is counted among those whom an item reaches.
    pub(crate) fn attend(self: &Rc<Core>, subscription: &Rc<Subscription>, awaits: Awaits, mark: Mark) -> Attendant {
        let (subscription, nudge) = (Rc::clone(subscription), Nudge::default());
        let place = Rc::new(Place { subscription, awaits, nudge, is_recalled: Cell::new(false) });
        let mut attendance = self.attendance.borrow_mut();
        for followed in &place.subscription.channels {
            attendance.places.entry(followed.hash).or_default().push(Rc::clone(&place));
        }
        Attendant { core: Rc::clone(self), place, mark }
    }

    /// The next link of these says something new: they become conversations, that ask for themselves.
    pub(crate) fn recall_all(&self, asking: &Asking) {
        self.audience.borrow_mut().recall_all(asking);
        self.nudge.ring();
    }

    /// These items were released.
    pub(super) fn release(&self, items: &[Arc<Item>]) -> Reach {
        let mut reach = self.audience.borrow_mut().release(items);
        let attendance = self.attendance.borrow();
        items.iter().for_each(|item| attendance.announce(item, &mut reach));
        reach
    }

    /// Everything that is held and can ask its origin does so.
    pub(super) fn recover(&self) -> Reach {
        let mut reach = self.audience.borrow_mut().recover();
        self.attendance.borrow().recall(&mut reach);
        reach
    }

    /// Begins the conversations of those who came back from the audience, and tells origins what they want to know.
    pub(super) fn take_returned(self: &Rc<Core>) {
        let (recalled, asking, departed) = {
            let mut audience = self.audience.borrow_mut();
            (audience.take_recalled(), audience.take_asking(), audience.take_departed())
        };
        for recalled in recalled {
            self.take_back(recalled);
        }
        if self.stage.get() == Stage::Ending {
            return;
        }
        asking.into_iter().for_each(|asking| hold::ask(self, asking));
        departed.into_iter().for_each(|gone| hold::departed(self, gone));
    }

    fn take_back(self: &Rc<Core>, recalled: Recalled) {
        let returned = Returned { core: Rc::clone(self) };
        match self.stage.get() {
            Stage::Open | Stage::Closing => hold::resume(self, recalled, returned),
            // It is closed, as all others are.
            Stage::Ending => {}
        }
    }
}

fn published(answer: Answer) -> Published {
    let Answer::Channels(ChannelAnswer::Published(published)) = answer else {
        unreachable!("what is published is answered with whom it reached")
    };
    published
}
