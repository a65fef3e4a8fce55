//! What travels between cores: questions to a stream's home, answers, and news of its log.
//!
//! A queue holds at most as many questions per conversation as it begins writes at once, one answer per question and one letter per errand of a stream; and
//! one per group that is published, at most one per turn of the home and stream, each of which waits for the disk. A core
//! takes all of them before it does anything else, for two milliseconds at a time; so the queue needs no bound of its own.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::queue::SegQueue;
use fantail_engine::log::block::Block;
use fantail_engine::log::view::{Span, View};
use fantail_engine::position::Position;

use super::channels::ChannelQuestion;
use super::links::LinkRequest;
use super::question::{Answer, Question};
use crate::audience::{Item, Reach, Scrutiny};
use crate::origin::Resolved;
use crate::storage::clerk::Done;
use crate::storage::pages::{Paged, Volume};

/// One message to a core.
pub(super) enum Letter {
    /// A conversation on core `from` wants something of a stream whose home is here.
    Question { from: usize, ticket: usize, question: Question },
    /// A conversation on core `from` wants to know how this core is.
    Survey { from: usize, ticket: usize, scrutiny: Scrutiny },
    /// The answer to a question of this core.
    Answer { ticket: usize, answer: Answer },
    /// This core will have listeners of a stream: everything about its log follows.
    Watch { stream: Arc<str>, view: View, volume: Arc<Volume> },
    /// The stream was never written and others want its place, or it is deleted: its followers may come back.
    Unwatch { stream: Arc<str> },
    /// The log has a new block.
    Block { stream: Arc<str>, block: Arc<Block> },
    /// The log has a new segment.
    Segment { stream: Arc<str>, segment: Span },
    /// The log's events before this one aren't retained any more.
    Retained { stream: Arc<str>, first: u64 },
    /// A segment of a stream whose home is here is damaged.
    Damaged { volume: u64, segment: u64 },
    /// The log may be shown up to this position, which ends at this offset.
    Published { stream: Arc<str>, position: Position, end: u64 },
    /// A conversation on core `from` wants something of the channels, whose home is here.
    Channels { from: usize, ticket: usize, question: ChannelQuestion },
    /// A conversation on core `from` asks a next link whose home is here; the answer mustn't be older than `since`.
    Link { from: usize, ticket: usize, request: Arc<LinkRequest>, since: u64 },
    /// These items of channels were released; the delivery is to be told whom they reached.
    Items { items: Arc<[Arc<Item>]>, delivery: Option<u64> },
    /// Whatever is held and can ask its origin is to do so; the delivery is to be told how many.
    Recover { delivery: u64 },
    /// Whom a delivery reached on a core.
    Reached { delivery: u64, reach: Reach },
    /// A name of origins has these addresses.
    Resolved(Resolved),
    /// An errand of this core is done.
    Errand(Done),
    /// A page that this core asked for.
    Page(Paged),
    /// Accept nothing more, and let the conversations come to their end.
    Close,
    /// No core has a conversation any more: make everything durable, see the listeners off, and end.
    End,
}

/// A core's letter box.
pub(super) struct LetterBox {
    letters: SegQueue<Letter>,
    eventfd: OwnedFd,
    /// Whether the core looks before it sleeps, or was rung: nobody needs to ring.
    is_awake: AtomicBool,
}

impl LetterBox {
    pub(super) fn new() -> io::Result<LetterBox> {
        // SAFETY: a plain system call.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and ours.
        let eventfd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(LetterBox { letters: SegQueue::new(), eventfd, is_awake: AtomicBool::new(false) })
    }

    /// What the rings of the core ring as well.
    pub(super) fn eventfd(&self) -> RawFd {
        self.eventfd.as_raw_fd()
    }

    pub(super) fn post(&self, letter: Letter) {
        self.letters.push(letter);
        if !self.is_awake.swap(true, Ordering::AcqRel) {
            let one = 1u64.to_ne_bytes();
            // SAFETY: eight bytes that live through the call. It fails only if the counter is full: then it is rung.
            unsafe { libc::write(self.eventfd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        }
    }

    /// From now on, a letter rings: the core may sleep. False if there is one already. A swap, so that what was posted before
    /// it is seen in the queue afterwards.
    pub(super) fn may_sleep(&self) -> bool {
        self.is_awake.swap(false, Ordering::AcqRel);
        self.letters.is_empty()
    }

    /// From now on, no letter rings: the core looks before it sleeps again.
    pub(super) fn wake(&self) {
        self.is_awake.store(true, Ordering::Release);
    }

    pub(super) fn take(&self) -> Option<Letter> {
        self.letters.pop()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }
}
