//! A core: everything that one thread owns. Its runtime runs the conversations; one task on it, the turn, does the rest.
//!
//! ```text
//! turn:   letters -> what the disk has done -> publish -> a breath -> groups to the disk -> one quantum of the audience
//! ```
//!
//! Cores share letter boxes, blocks of the log, whose bytes never change, and two sums.

pub(crate) mod channels;
pub(crate) mod clock;
mod cores;
pub(crate) mod following;
pub(crate) mod holding;
mod home;
mod letter;
pub(crate) mod links;
mod mirroring;
mod nudge;
pub(crate) mod partings;
pub(crate) mod question;
mod reader;
mod resident;
mod resting;
mod several;
pub(crate) mod signature;
pub(crate) mod survey;
mod turn;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::os::fd::{OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Instant, SystemTime};

use fantail_engine::log::filter::Filter;
use fantail_engine::log::view::{Found, Unread};
use fantail_engine::position::Position;
use slab::Slab;

use self::channels::Channels;
pub use self::cores::{Cores, Settings};
use self::following::Cursor;
use self::holding::Attendance;
use self::home::Home;
use self::letter::Letter;
use self::links::Links;
use self::nudge::Nudge;
use self::partings::Partings;
use self::question::{Answer, Question};
pub(crate) use self::resting::Awaiting;
use self::resting::{Resting, Wait};
use self::several::Severals;
use self::signature::Signature;
use self::survey::Talk;
use crate::audience::{Audience, Log, Start, Wait as Arrival};
use crate::limits::{ADMIN_CONVERSATIONS_MAX, CONTROL_CONVERSATIONS_MAX};
use crate::origin::Services;
use crate::ring::Refused;
use crate::storage::clerk::Clerk;
use crate::storage::disk::Disk;
use crate::storage::pages::Pager;
use crate::storage::recovery::Recovered;
use crate::storage::snapshot::Snapshot;

/// How far a core is on its way out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// It serves.
    Open,
    /// It ends its conversations.
    Closing,
    /// It sees its listeners off.
    Ending,
}

/// How a connection was accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Welcome {
    Open,
    /// Only to be told that the server is full.
    Full,
    /// On the admin listener.
    Admin,
    /// On the control listener.
    Control,
}

/// See the module. Conversations hold it by `Rc`.
pub(crate) struct Core {
    pub(crate) number: usize,
    cores: Arc<Cores>,
    home: RefCell<Home>,
    audience: RefCell<Audience>,
    /// The home of the channels: on core 0 only.
    channels: Option<RefCell<Channels>>,
    /// The conversations that wait for items of channels.
    attendance: RefCell<Attendance>,
    pub(crate) services: Services,
    /// The next links whose home it is.
    links: RefCell<Links>,
    /// See [`Core::news_us`].
    news_us: Cell<u64>,
    /// Clients that have left, of which origins are to be told.
    partings: RefCell<Partings>,
    signature: Signature,
    tickets: RefCell<Slab<Ticket>>,
    nudge: Nudge,
    pub(crate) stage: Cell<Stage>,
    /// Conversations under way.
    pub(crate) conversations: Cell<usize>,
    /// Those of them that are only told that the server is full.
    refused: Cell<usize>,
    /// Those of them that the admin listener accepted.
    admins: Cell<usize>,
    /// Those of them that the control listener accepted.
    controls: Cell<usize>,
    /// Those of them that follow several streams.
    several: RefCell<Severals>,
    /// Those of them that wait for their peers.
    resting: RefCell<Resting>,
    /// What has given a conversation its next step, so far: a connection that was accepted, a read, an answer.
    stirs: Cell<u64>,
    talk: Cell<Talk>,
    listeners: RefCell<Vec<RawFd>>,
    /// `Date`, and the second since 1970 that it tells.
    date: RefCell<(u64, Vec<u8>)>,
}

/// A question that was asked.
enum Ticket {
    Open(Option<Waker>),
    Answered(Answer),
    /// Nobody waits for the answer any more.
    Forgotten,
}

/// An answer that is under way: a future of it.
pub(crate) struct Asked {
    core: Rc<Core>,
    /// None once the answer was taken.
    ticket: Option<usize>,
}

impl Future for Asked {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Asked>, context: &mut Context<'_>) -> Poll<Answer> {
        let ticket = self.ticket.expect("an answer is taken once");
        let mut tickets = self.core.tickets.borrow_mut();
        if let Ticket::Open(waker) = &mut tickets[ticket] {
            *waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        let Ticket::Answered(answer) = tickets.remove(ticket) else { unreachable!("who waits hasn't forgotten") };
        drop(tickets);
        self.ticket = None;
        Poll::Ready(answer)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut tickets = self.core.tickets.borrow_mut();
        match &mut tickets[ticket] {
            Ticket::Answered(_) => drop(tickets.remove(ticket)),
            open => *open = Ticket::Forgotten,
        }
    }
}

impl Core {
    /// A core on the thread that calls this, with the streams whose home it is.
    ///
    /// # Errors
    /// If the kernel refuses a ring.
    pub(crate) fn new(
        cores: Arc<Cores>,
        number: usize,
        recovered: Vec<Recovered>,
        clerk: Clerk,
        pager: Pager,
    ) -> Result<Rc<Core>, Refused> {
        let eventfd = cores.boxes[number].eventfd();
        let settings = &cores.settings;
        let disk = Disk::new(settings.policy.durability, eventfd)?;
        let boxes = Arc::clone(&cores.boxes);
        let home = Home::new(number, settings.clone(), recovered, Arc::clone(&cores.totals), disk, clerk, boxes);
        let mut audience = Audience::new(number, settings.tier_slots, eventfd, settings.disconnect, pager)?;
        audience.watch_channels();
        let channels = (number == 0).then(|| RefCell::new(Channels::new(Arc::clone(&cores.boxes))));
        let core = Core {
            number,
            home: RefCell::new(home),
            audience: RefCell::new(audience),
            channels,
            attendance: RefCell::default(),
            services: Services::new(&settings.routes, settings.trust.as_ref()),
            links: RefCell::default(),
            news_us: Cell::new(0),
            partings: RefCell::default(),
            signature: Signature::new(settings.signer.clone()),
            tickets: RefCell::default(),
            nudge: Nudge::default(),
            stage: Cell::new(Stage::Open),
            conversations: Cell::new(0),
            refused: Cell::new(0),
            admins: Cell::new(0),
            controls: Cell::new(0),
            several: RefCell::default(),
            resting: RefCell::default(),
            stirs: Cell::new(0),
            talk: Cell::default(),
            listeners: RefCell::default(),
            date: RefCell::default(),
            cores,
        };
        Ok(Rc::new(core))
    }

    /// How the server was started.
    pub(crate) fn settings(&self) -> &Settings {
        &self.cores.settings
    }

    /// What all cores share.
    pub(crate) fn cores(&self) -> &Cores {
        &self.cores
    }

    /// Asks the stream's home, on whichever core that is. Questions of one task to one home are answered for in their order.
    pub(crate) fn ask(self: &Rc<Core>, question: Question) -> Asked {
        let home = self.cores.home(question.stream());
        let ticket = self.tickets.borrow_mut().insert(Ticket::Open(None));
        if home == self.number {
            let answer = self.home.borrow_mut().ask(self.number, ticket, question);
            // The turn has news of what was asked: a group to write, a letter to a listener.
            self.nudge.ring();
            if let Some(answer) = answer {
                self.answered(ticket, answer);
            }
        } else {
            self.cores.boxes[home].post(Letter::Question { from: self.number, ticket, question });
        }
        Asked { core: Rc::clone(self), ticket: Some(ticket) }
    }

    fn answered(&self, ticket: usize, answer: Answer) {
        self.stirs.set(self.stirs.get() + 1);
        let mut tickets = self.tickets.borrow_mut();
        match std::mem::replace(&mut tickets[ticket], Ticket::Answered(answer)) {
            Ticket::Open(waker) => drop(waker.map(Waker::wake)),
            Ticket::Forgotten => drop(tickets.remove(ticket)),
            Ticket::Answered(_) => unreachable!("a question has one answer"),
        }
    }

    /// Hands a connection that has been answered to the audience.
    pub(crate) fn seat(&self, socket: OwnedFd, log: Log<'_>, filter: Filter, start: Start) {
        self.look_for(log.stream);
        if self.stage.get() == Stage::Ending {
            return;
        }
        match self.audience.borrow_mut().seat(socket, log, filter, start) {
            Ok(()) => {}
            // The stream was deleted while its follower was answered: it comes back.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, "no seat could be given; the follower is closed"),
        }
        self.nudge.ring();
    }

    /// Takes letters until the stream is watched: what its home said of it lies in the letter box, if no turn has been since.
    pub(crate) fn look_for(&self, stream: &str) {
        let mut has_more = true;
        while has_more && !self.audience.borrow().watches(stream) {
            has_more = self.take_letters();
        }
    }

    /// How far this core shows a stream; none before it watches it.
    pub(crate) fn shown(&self, log: Log<'_>) -> Option<(u64, Position)> {
        self.audience.borrow().shown(log)
    }

    /// The first event after `cursor` that passes the filter, of what this core shows of the stream.
    ///
    /// # Errors
    /// `NotFound` if the stream isn't watched or that part of it isn't retained, or why it can't be read.
    pub(crate) async fn find(&self, log: Log<'_>, filter: &Filter, cursor: u64) -> io::Result<Found> {
        self.look(log, |audience| audience.find(log, filter, cursor)).await
    }

    /// The bytes of the stream's log in `from..to`, where an event was found.
    ///
    /// # Errors
    /// As [`Core::find`].
    pub(crate) async fn copy(&self, log: Log<'_>, from: u64, to: u64) -> io::Result<Vec<u8>> {
        self.look(log, |audience| {
            let mut bytes = Vec::with_capacity((to - from) as usize);
            audience.copy(log, from, to, &mut bytes).map(|()| bytes)
        })
        .await
    }

    /// Offset of the stream's log at which a follower goes on.
    ///
    /// # Errors
    /// As [`Core::find`].
    pub(crate) async fn locate(&self, log: Log<'_>, cursor: Cursor) -> io::Result<u64> {
        match cursor {
            Cursor::At(offset) => Ok(offset),
            Cursor::After(sequence) => self.look(log, |audience| audience.offset_after(log, sequence)).await,
        }
    }

    /// Looks at a stream's log until what is looked at is in memory.
    async fn look<T>(&self, log: Log<'_>, look: impl Fn(&Audience) -> Result<T, Unread>) -> io::Result<T> {
        loop {
            let looked = look(&self.audience.borrow());
            match looked {
                Ok(seen) => return Ok(seen),
                Err(Unread::Missing(piece)) => {
                    let arrival = Rc::<Arrival>::default();
                    self.audience.borrow_mut().await_piece(log, piece, Rc::clone(&arrival));
                    poll_fn(|context| arrival.poll(context)).await?;
                }
                Err(Unread::Gone) => return Err(io::ErrorKind::NotFound.into()),
                Err(Unread::Refuted(_)) => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    /// Some of the bytes of a checkpoint in `range`, from its beginning on.
    ///
    /// # Errors
    /// Why they can't be read.
    pub(crate) async fn read_snapshot(&self, snapshot: &Arc<Snapshot>, range: Range<u64>) -> io::Result<Vec<u8>> {
        loop {
            let arrival = Rc::<Arrival>::default();
            let read = self.audience.borrow_mut().snapshot(snapshot, range.clone(), &arrival);
            match read {
                Some(bytes) => return Ok(bytes),
                None => poll_fn(|context| arrival.poll(context)).await?,
            }
        }
    }

    /// Notes that the conversation on `socket` waits for its peer since then, until [`Core::goes_on`] with what this returns.
    pub(crate) fn rests(&self, socket: RawFd, awaiting: Awaiting, since: Instant) -> Wait {
        self.resting.borrow_mut().add(socket, awaiting, since)
    }

    /// See [`Core::rests`]. The peer may have said something.
    pub(crate) fn goes_on(&self, wait: Wait) {
        self.stirs.set(self.stirs.get() + 1);
        self.resting.borrow_mut().remove(wait);
    }

    /// Notes a listener of the core.
    pub(crate) fn accepts(&self, listener: RawFd) {
        self.listeners.borrow_mut().push(listener);
    }

    /// Whether no further conversation may begin on such a listener, of those that are for few.
    pub(crate) fn has_too_many_of(&self, welcome: Welcome) -> bool {
        match welcome {
            Welcome::Admin => self.admins.get() >= ADMIN_CONVERSATIONS_MAX,
            Welcome::Control => self.controls.get() >= CONTROL_CONVERSATIONS_MAX,
            Welcome::Open | Welcome::Full => self.has_too_many_conversations(),
        }
    }

    /// Whether no further conversation may begin but to say so.
    pub(crate) fn has_too_many_conversations(&self) -> bool {
        self.conversations.get() >= self.settings().conversations_max
    }

    /// Whether no further connection may be let in.
    pub(crate) fn has_too_many_connections(&self) -> bool {
        let others = self.refused.get() + self.admins.get() + self.controls.get();
        let conversations = self.conversations.get() - others;
        conversations + self.audience.borrow().seated() >= self.settings().connections_max
    }

    /// A conversation begins.
    pub(crate) fn conversation_begun(&self, welcome: Welcome) {
        self.conversations.set(self.conversations.get() + 1);
        self.stirs.set(self.stirs.get() + 1);
        self.refused.set(self.refused.get() + usize::from(welcome == Welcome::Full));
        self.admins.set(self.admins.get() + usize::from(welcome == Welcome::Admin));
        self.controls.set(self.controls.get() + usize::from(welcome == Welcome::Control));
        self.has_accepted(welcome);
    }

    /// A connection is a conversation again.
    pub(crate) fn conversation_resumed(&self) {
        self.conversations.set(self.conversations.get() + 1);
    }

    /// Such a conversation has ended, or its connection is held again.
    pub(crate) fn resumed_conversation_ended(&self) {
        self.conversations.set(self.conversations.get() - 1);
        self.nudge.ring();
    }

    /// Ends the conversation that has waited longest for its peer, to make room for another.
    pub(crate) fn dismiss_one_at_rest(&self) {
        if let Some(socket) = self.resting.borrow_mut().take_longest() {
            end_reading(socket);
        }
    }

    /// Accepts nothing more, and ends the conversations that rest: reads and accepts under way come to their end.
    fn close(&self) {
        self.stage.set(Stage::Closing);
        self.several.borrow().nudges.values().flatten().for_each(|nudge| nudge.ring());
        let idle = self.resting.borrow_mut().take_idle();
        idle.into_iter().chain(self.listeners.take()).for_each(end_reading);
    }

    /// A conversation has ended.
    pub(crate) fn conversation_ended(&self, welcome: Welcome) {
        self.conversations.set(self.conversations.get() - 1);
        self.refused.set(self.refused.get() - usize::from(welcome == Welcome::Full));
        self.admins.set(self.admins.get() - usize::from(welcome == Welcome::Admin));
        self.controls.set(self.controls.get() - usize::from(welcome == Welcome::Control));
        self.nudge.ring();
    }

    /// Something goes on that is awaited, as a conversation is, before the server ends; until this is dropped.
    pub(crate) fn detain(self: &Rc<Core>) -> Detained {
        self.conversations.set(self.conversations.get() + 1);
        Detained(Rc::clone(self))
    }

    /// The value of `Date` (RFC 9110, section 5.6.7).
    pub(crate) fn date(&self) -> std::cell::Ref<'_, Vec<u8>> {
        let second = clock::unix_ms() / 1000;
        if self.date.borrow().0 != second {
            *self.date.borrow_mut() = (second, httpdate::fmt_http_date(SystemTime::now()).into_bytes());
        }
        std::cell::Ref::map(self.date.borrow(), |(_, date)| date)
    }
}

/// See [`Core::detain`].
pub(crate) struct Detained(Rc<Core>);

impl Drop for Detained {
    fn drop(&mut self) {
        self.0.conversations.set(self.0.conversations.get() - 1);
        self.0.nudge.ring();
    }
}

/// Brings a read or an accept that is under way to its end.
fn end_reading(socket: RawFd) {
    // SAFETY: a plain system call on a descriptor that its conversation, or the task that accepts, holds open. That the peer
    // is gone already is no matter.
    unsafe { libc::shutdown(socket, libc::SHUT_RD) };
}
