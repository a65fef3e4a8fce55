//! A core: everything that one thread owns. Its runtime runs the conversations; one task on it, the turn, does the rest.
//!
//! ```text
//! turn:   letters -> what the disk has done -> publish -> groups to the disk -> a breath -> one quantum of the audience
//! ```
//!
//! Cores share letter boxes and blocks of the log, whose bytes never change; nothing else.

pub(crate) mod clock;
pub(crate) mod following;
mod home;
mod letter;
pub(crate) mod question;
mod reader;
mod resident;
mod turn;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use fantail_engine::limits::SEVERAL_MAX;
use fantail_engine::log::manifest::Durability;
use fantail_engine::position::Position;
use fantail_engine::topic;
use rustc_hash::{FxHashMap, FxHashSet};
use slab::Slab;

use self::home::{Home, Rules, Totals};
use self::letter::{Letter, LetterBox};
use self::question::{Answer, Question};
use crate::audience::{Audience, Filter, Found, Start};
use crate::storage::clerk::{Clerk, Done};
use crate::storage::disk::Disk;
use crate::storage::recovery::Recovered;

/// What all cores are started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The data folder.
    pub data: PathBuf,
    /// When events may be shown.
    pub durability: Durability,
    /// Bytes at which a segment is sealed.
    pub segment_bytes: u64,
    /// Bytes of log since the last checkpoint below which none is written.
    pub checkpoint_bytes: u64,
    /// Bytes that all documents may take.
    pub documents_bytes: usize,
    /// Places in a tier of the audience.
    pub tier_slots: u32,
    /// Conversations per core.
    pub conversations_max: usize,
    /// Connections per core, seats included.
    pub connections_max: usize,
}

/// What the cores of one server share.
pub struct Cores {
    settings: Settings,
    boxes: Arc<[LetterBox]>,
    totals: Arc<Totals>,
}

impl Cores {
    /// The shared part of `count` cores that are yet to be started.
    ///
    /// # Errors
    /// If the system refuses an eventfd.
    pub fn new(settings: Settings, count: usize) -> io::Result<Cores> {
        let boxes: Vec<_> = (0..count).map(|_| LetterBox::new()).collect::<io::Result<_>>()?;
        Ok(Cores { settings, boxes: boxes.into(), totals: Arc::default() })
    }

    /// How many cores there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.boxes.len()
    }

    /// The core whose streams include `stream`: nothing on disk depends on it.
    #[must_use]
    pub fn home(&self, stream: &str) -> usize {
        (topic::hash(stream) % self.boxes.len() as u64) as usize
    }

    /// What the clerk calls when an errand is done.
    pub fn report(&self) -> impl Fn(usize, Done) + Send + 'static {
        let boxes = Arc::clone(&self.boxes);
        move |core, done| boxes[core].post(Letter::Errand(done))
    }

    /// Asks all cores to accept nothing more and to end their conversations.
    pub fn close(&self) {
        self.boxes.iter().for_each(|letters| letters.post(Letter::Close));
    }

    /// Asks all cores, when none has a conversation any more, to see their listeners off and end.
    pub fn end(&self) {
        self.boxes.iter().for_each(|letters| letters.post(Letter::End));
    }
}

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

/// See the module. Conversations hold it by `Rc`.
pub(crate) struct Core {
    pub(crate) number: usize,
    cores: Arc<Cores>,
    home: RefCell<Home>,
    audience: RefCell<Audience>,
    tickets: RefCell<Slab<Ticket>>,
    nudge: Nudge,
    pub(crate) stage: Cell<Stage>,
    /// Conversations under way.
    pub(crate) conversations: Cell<usize>,
    /// Those of them that follow several streams.
    several: RefCell<Severals>,
    /// Sockets whose conversations rest between requests.
    resting: RefCell<FxHashSet<RawFd>>,
    listener: Cell<Option<RawFd>>,
    /// `Date`, as of this second.
    date: RefCell<Vec<u8>>,
}

/// A question whose answer is awaited.
enum Ticket {
    Open(Option<Waker>),
    Answered(Answer),
}

/// Wakes the turn of this core from its own tasks.
#[derive(Default)]
struct Nudge {
    is_due: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Nudge {
    fn ring(&self) {
        self.is_due.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    async fn rung(&self) {
        poll_fn(|context| {
            if self.is_due.replace(false) {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// A place among the conversations that follow several streams: rung when one of its streams is published or the core
/// closes, given back when it is dropped.
pub(crate) struct Several {
    core: Rc<Core>,
    streams: Vec<Arc<str>>,
    nudge: Rc<Nudge>,
}

impl Several {
    /// Resolves once something was published since it last did.
    pub(crate) async fn rung(&self) {
        self.nudge.rung().await;
    }
}

impl Drop for Several {
    fn drop(&mut self) {
        let mut several = self.core.several.borrow_mut();
        for stream in &self.streams {
            if let Some(nudges) = several.nudges.get_mut(stream) {
                nudges.retain(|nudge| !Rc::ptr_eq(nudge, &self.nudge));
                if nudges.is_empty() {
                    several.nudges.remove(stream);
                }
            }
        }
        several.count -= 1;
    }
}

/// The conversations that follow several streams, by stream.
#[derive(Default)]
struct Severals {
    nudges: FxHashMap<Arc<str>, Vec<Rc<Nudge>>>,
    count: usize,
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
    ) -> io::Result<Rc<Core>> {
        let eventfd = cores.boxes[number].eventfd();
        let settings = &cores.settings;
        let rules = Rules {
            core: number,
            data: settings.data.clone(),
            durability: settings.durability,
            segment_bytes: settings.segment_bytes,
            checkpoint_bytes: settings.checkpoint_bytes,
            documents_bytes: settings.documents_bytes,
        };
        let disk = Disk::new(settings.durability, eventfd)?;
        let boxes = Arc::clone(&cores.boxes);
        let home = Home::new(rules, recovered, Arc::clone(&cores.totals), disk, clerk, boxes);
        let audience = Audience::new(settings.tier_slots, eventfd)?;
        let core = Core {
            number,
            home: RefCell::new(home),
            audience: RefCell::new(audience),
            tickets: RefCell::default(),
            nudge: Nudge::default(),
            stage: Cell::new(Stage::Open),
            conversations: Cell::new(0),
            several: RefCell::default(),
            resting: RefCell::default(),
            listener: Cell::new(None),
            date: RefCell::default(),
            cores,
        };
        core.set_date();
        Ok(Rc::new(core))
    }

    /// How the server was started.
    pub(crate) fn settings(&self) -> &Settings {
        &self.cores.settings
    }

    /// Asks the stream's home, on whichever core that is, and awaits the answer.
    pub(crate) async fn ask(&self, question: Question) -> Answer {
        let home = self.cores.home(question.stream());
        let ticket = self.tickets.borrow_mut().insert(Ticket::Open(None));
        if home == self.number {
            let answer = self.home.borrow_mut().ask(self.number, ticket, question);
            // The turn has news of what was asked: a group to write, a letter to a listener.
            self.nudge.ring();
            if let Some(answer) = answer {
                self.tickets.borrow_mut().remove(ticket);
                return answer;
            }
        } else {
            self.cores.boxes[home].post(Letter::Question { from: self.number, ticket, question });
        }
        poll_fn(|context| {
            let mut tickets = self.tickets.borrow_mut();
            match &mut tickets[ticket] {
                Ticket::Open(waker) => {
                    *waker = Some(context.waker().clone());
                    Poll::Pending
                }
                Ticket::Answered(_) => match tickets.remove(ticket) {
                    Ticket::Answered(answer) => Poll::Ready(answer),
                    Ticket::Open(_) => unreachable!("matched just now"),
                },
            }
        })
        .await
    }

    fn answered(&self, ticket: usize, answer: Answer) {
        let before = std::mem::replace(&mut self.tickets.borrow_mut()[ticket], Ticket::Answered(answer));
        if let Ticket::Open(Some(waker)) = before {
            waker.wake();
        }
    }

    /// Hands a connection that has been answered to the audience.
    pub(crate) fn seat(&self, socket: OwnedFd, stream: &str, filter: Filter, start: Start) {
        // What the home said of the stream lies in the letter box, if no turn has been since.
        self.take_letters();
        if self.stage.get() == Stage::Ending {
            return;
        }
        if let Err(error) = self.audience.borrow_mut().seat(socket, stream, filter, start) {
            tracing::warn!(%error, "no seat could be given; the follower is closed");
        }
        self.nudge.ring();
    }

    /// A place among the conversations that follow several streams, if there is one.
    pub(crate) fn follow_several<'s>(self: &Rc<Core>, streams: impl Iterator<Item = &'s str>) -> Option<Several> {
        let mut several = self.several.borrow_mut();
        if several.count == SEVERAL_MAX {
            return None;
        }
        several.count += 1;
        let (streams, nudge): (Vec<Arc<str>>, _) = (streams.map(Arc::from).collect(), Rc::<Nudge>::default());
        for stream in &streams {
            several.nudges.entry(Arc::clone(stream)).or_default().push(Rc::clone(&nudge));
        }
        Some(Several { core: Rc::clone(self), streams, nudge })
    }

    /// Wakes the conversations that follow this stream among several.
    fn announce(&self, stream: &str) {
        if let Some(nudges) = self.several.borrow().nudges.get(stream) {
            nudges.iter().for_each(|nudge| nudge.ring());
        }
    }

    /// How far this core shows a stream; none before it watches it.
    pub(crate) fn shown(&self, stream: &str) -> Option<(u64, Position)> {
        self.audience.borrow().shown(stream)
    }

    /// See [`Audience::find`].
    pub(crate) fn find(&self, stream: &str, filter: &Filter, cursor: u64) -> io::Result<Found> {
        self.audience.borrow().find(stream, filter, cursor)
    }

    /// See [`Audience::copy`].
    pub(crate) fn copy(&self, stream: &str, from: u64, to: u64, out: &mut Vec<u8>) -> io::Result<()> {
        self.audience.borrow().copy(stream, from, to, out)
    }

    /// Notes whether the conversation on `socket` rests between requests.
    pub(crate) fn rests(&self, socket: RawFd, is_resting: bool) {
        match is_resting {
            true => self.resting.borrow_mut().insert(socket),
            false => self.resting.borrow_mut().remove(&socket),
        };
    }

    /// Notes the core's listener.
    pub(crate) fn accepts(&self, listener: RawFd) {
        self.listener.set(Some(listener));
    }

    /// Whether no further conversation may begin but to say so.
    pub(crate) fn has_too_many_conversations(&self) -> bool {
        self.conversations.get() >= self.settings().conversations_max
    }

    /// Whether no further connection may be seated; the conversation that asks is one of them.
    pub(crate) fn has_too_many_connections(&self) -> bool {
        self.conversations.get() + self.audience.borrow().seated() > self.settings().connections_max
    }

    /// Ends one of the conversations that rest, to make room for another.
    pub(crate) fn dismiss_one_at_rest(&self) {
        let mut resting = self.resting.borrow_mut();
        if let Some(socket) = resting.iter().next().copied() {
            resting.remove(&socket);
            end_reading(socket);
        }
    }

    /// Accepts nothing more, and ends the conversations that rest: reads and accepts under way come to their end.
    fn close(&self) {
        self.stage.set(Stage::Closing);
        self.several.borrow().nudges.values().flatten().for_each(|nudge| nudge.ring());
        self.resting.borrow_mut().drain().chain(self.listener.take()).for_each(end_reading);
    }

    /// A conversation has ended.
    pub(crate) fn conversation_ended(&self) {
        self.conversations.set(self.conversations.get() - 1);
        self.nudge.ring();
    }

    /// The value of `Date` (RFC 9110, section 5.6.7).
    pub(crate) fn date(&self) -> std::cell::Ref<'_, Vec<u8>> {
        self.date.borrow()
    }

    fn set_date(&self) {
        *self.date.borrow_mut() = httpdate::fmt_http_date(std::time::SystemTime::now()).into_bytes();
    }
}

/// Brings a read or an accept that is under way to its end.
fn end_reading(socket: RawFd) {
    // SAFETY: a plain system call on a descriptor that its conversation, or the task that accepts, holds open. That the peer
    // is gone already is no matter.
    unsafe { libc::shutdown(socket, libc::SHUT_RD) };
}
