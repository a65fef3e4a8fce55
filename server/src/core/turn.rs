//! The turn: the task of a core that moves letters, groups and the audience, and lets the conversations run between.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fantail_engine::protocol::sse;
use monoio::net::UnixStream;

use super::letter::Letter;
use super::question::Answer;
use super::{Core, Stage, clock};
use crate::limits::{BREATH_STEPS, BREATH_TIME, FAN_OUT_TIME, FAN_OUT_TIME_MAX, LETTERS_TIME};
use crate::{memory, origin};

impl Core {
    /// Runs the turn until the server ends; `open` counts the cores that still have conversations.
    ///
    /// # Errors
    /// If the eventfd can't be watched.
    pub(crate) async fn run(self: &Rc<Core>, open: &AtomicUsize) -> io::Result<()> {
        monoio::spawn(listen_for_letters(Rc::clone(self), pollable(self.cores.boxes[self.number].eventfd())?));
        monoio::spawn(tick(Rc::clone(self)));
        for service in self.services.all() {
            monoio::spawn(origin::check(Rc::clone(service)));
        }
        let mut breath = Breath::new()?;
        let mut has_reported = false;
        loop {
            let mut is_due = self.take_letters();
            self.home.borrow_mut().publish();
            // Answers to what just became durable: they go out before the audience takes its quantum, and before the next
            // group is closed, so that whoever was answered and writes again is in it.
            is_due |= self.take_letters();
            let mut time = FAN_OUT_TIME;
            if is_due || self.home.borrow().is_due() || self.audience.borrow().is_due() {
                // Neither may starve the other: the fan-out gets as long as the conversations had.
                time = breath.taken(self).await?.clamp(FAN_OUT_TIME, FAN_OUT_TIME_MAX);
            }
            self.home.borrow_mut().persist_touched();
            is_due |= self.home.borrow().is_due();
            self.make_way();
            is_due |= self.audience.borrow_mut().turn(time);
            self.take_returned();
            self.take_links();
            if is_due {
                self.make_way();
            }
            if self.stage.get() == Stage::Closing && self.conversations.get() == 0 && !has_reported {
                has_reported = true;
                open.fetch_sub(1, Ordering::Release);
            }
            if self.stage.get() == Stage::Ending && self.is_over() {
                self.home.borrow_mut().close();
                let (counts, disk) = (self.audience.borrow().counts(), self.home.borrow().disk_counts());
                tracing::info!(core = self.number, ?counts, ?disk, "its listeners are gone");
                return Ok(());
            }
            let letters = &self.cores.boxes[self.number];
            if !is_due && letters.may_sleep() {
                self.nudge.rung().await;
                letters.wake();
            }
        }
    }

    /// Lets run who writes groups and maps pages: it may have been given this CPU, and a core that is busy gives it up only when
    /// it must.
    fn make_way(&self) {
        if self.home.borrow().is_writing() || self.audience.borrow().awaits_pages() {
            thread::yield_now();
        }
    }

    fn is_over(&self) -> bool {
        let home = self.home.borrow();
        let letters = &self.cores.boxes[self.number];
        !home.is_busy() && letters.is_empty() && self.audience.borrow().seated() == 0
    }

    /// Handles the letters that are there; true if some are left for the next turn.
    pub(super) fn take_letters(&self) -> bool {
        let letters = &self.cores.boxes[self.number];
        let begun = Instant::now();
        while begun.elapsed() < LETTERS_TIME {
            let Some(letter) = letters.take() else { return false };
            match letter {
                Letter::Question { from, ticket, question } => {
                    if let Some(answer) = self.home.borrow_mut().ask(from, ticket, question) {
                        self.cores.boxes[from].post(Letter::Answer { ticket, answer });
                    }
                }
                Letter::Survey { from, ticket, scrutiny } => {
                    let answer = Answer::Survey(Box::new(self.survey(scrutiny)));
                    self.cores.boxes[from].post(Letter::Answer { ticket, answer });
                }
                Letter::Answer { ticket, answer } => self.answered(ticket, answer),
                Letter::Watch { stream, view, volume } => self.audience.borrow_mut().watch(stream, view, volume),
                Letter::Unwatch { stream } => {
                    self.audience.borrow_mut().unwatch(&stream);
                    self.announce(&stream);
                }
                Letter::Block { stream, block } => self.audience.borrow_mut().add_block(&stream, block),
                Letter::Segment { stream, segment } => self.audience.borrow_mut().add_segment(&stream, segment),
                Letter::Retained { stream, first } => self.audience.borrow_mut().retain(&stream, first),
                Letter::Page(paged) => {
                    if let Some((volume, segment)) = self.audience.borrow_mut().add_page(paged) {
                        // Whichever core is its home knows the volume.
                        self.cores.boxes.iter().for_each(|letters| letters.post(Letter::Damaged { volume, segment }));
                    }
                }
                Letter::Damaged { volume, segment } => self.home.borrow_mut().give_up(volume, segment),
                Letter::Published { stream, position, end } => {
                    self.audience.borrow_mut().publish(&stream, position, end);
                    self.announce(&stream);
                }
                Letter::Channels { from, ticket, question } => {
                    let channels = self.channels.as_ref().expect("they are at home on core 0");
                    if let Some(answer) = channels.borrow_mut().ask(from, ticket, question) {
                        self.cores.boxes[from].post(Letter::Answer { ticket, answer });
                    }
                }
                Letter::Link { from, ticket, request, since } => {
                    self.links.borrow_mut().arrived.push(((from, ticket), request, since));
                }
                Letter::Items { items, delivery } => {
                    self.has_news();
                    let reach = self.release(&items);
                    if let Some(delivery) = delivery {
                        self.cores.boxes[0].post(Letter::Reached { delivery, reach });
                    }
                }
                Letter::Recover { delivery } => {
                    self.has_news();
                    let reach = self.recover();
                    self.cores.boxes[0].post(Letter::Reached { delivery, reach });
                }
                Letter::Reached { delivery, reach } => {
                    let channels = self.channels.as_ref().expect("they are at home on core 0");
                    channels.borrow_mut().reached(delivery, reach);
                }
                Letter::Resolved(resolved) => self.services.resolved(&resolved),
                Letter::Errand(done) => self.home.borrow_mut().done(done),
                Letter::Close => self.close(),
                Letter::End => {
                    self.stage.set(Stage::Ending);
                    let mut words = Vec::new();
                    sse::retry(&mut words, clock::retry_ms());
                    self.audience.borrow_mut().farewell(&words);
                }
            }
        }
        true
    }
}

/// A duplicate of an eventfd, as something that the runtime can wait for.
fn pollable(eventfd: RawFd) -> io::Result<UnixStream> {
    // SAFETY: a plain system call; the descriptor is open while this runs, and the duplicate is ours.
    let fd = unsafe { libc::fcntl(eventfd, libc::F_DUPFD_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open and ours. It isn't a socket, but all that is asked of it is to be polled.
    UnixStream::from_std(unsafe { std::os::unix::net::UnixStream::from_raw_fd(fd) })
}

/// Lets the runtime submit and reap what its tasks have under way, and run them.
///
/// Yielding isn't enough: the runtime may come back to the turn before it has submitted anything. So this awaits an operation
/// of its own, which is always ready, and comes back behind everything that was asked of the kernel before it. If that brought
/// connections, requests or answers, their next steps are taken at once, too: accept, read, write, read again.
struct Breath {
    ready: UnixStream,
    /// The core's stirs when the last step was over.
    stirs: u64,
}

impl Breath {
    fn new() -> io::Result<Breath> {
        // SAFETY: a plain system call.
        let fd = unsafe { libc::eventfd(1, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and ours.
        let eventfd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Breath { ready: pollable(eventfd.as_raw_fd())?, stirs: 0 })
    }

    /// Returns how long it took.
    async fn taken(&mut self, core: &Core) -> io::Result<Duration> {
        let begun = Instant::now();
        for _ in 0..BREATH_STEPS {
            self.ready.readable(false).await?;
            let before = std::mem::replace(&mut self.stirs, core.stirs.get());
            if self.stirs == before || begun.elapsed() >= BREATH_TIME {
                break;
            }
        }
        Ok(begun.elapsed())
    }
}

/// Wakes the turn whenever the eventfd is rung.
async fn listen_for_letters(core: Rc<Core>, doorbell: UnixStream) {
    loop {
        if let Err(error) = doorbell.readable(false).await {
            panic!("the eventfd of core {} can't be watched: {error}", core.number);
        }
        let mut count = [0u8; 8];
        // SAFETY: eight bytes that live through the call. That it was read by nobody else is no matter.
        unsafe { libc::read(doorbell.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
        core.nudge.ring();
    }
}

/// Once a second: the audience's clock, and memory that a burst has left. Once a minute it says how things are, if anybody wants
/// to know.
async fn tick(core: Rc<Core>) {
    for second in 1u64.. {
        // Each core ticks at its own moment.
        monoio::time::sleep(Duration::from_millis(995 + u64::from(clock::jitter(10)))).await;
        core.audience.borrow_mut().tick();
        core.home.borrow_mut().tick();
        if let Some(channels) = &core.channels {
            channels.borrow_mut().tick();
        }
        core.services.tick();
        memory::give_back();
        if second.is_multiple_of(60) {
            let conversations = core.conversations.get();
            let (counts, disk) = (core.audience.borrow().counts(), core.home.borrow().disk_counts());
            tracing::debug!(core = core.number, conversations, ?counts, ?disk, "a minute");
        }
        core.nudge.ring();
    }
}
