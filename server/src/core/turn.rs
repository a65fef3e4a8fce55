//! The turn: the task of a core that moves letters, groups and the audience, and lets the conversations run between.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use fantail_engine::protocol::sse;
use monoio::net::UnixStream;

use super::letter::Letter;
use super::{Core, Stage, clock};

/// How long a turn takes letters, before it looks at the disk and the audience again.
const LETTERS_TIME: Duration = Duration::from_millis(2);

impl Core {
    /// Runs the turn until the server ends; `open` counts the cores that still have conversations.
    ///
    /// # Errors
    /// If the eventfd can't be watched.
    pub(crate) async fn run(self: &Rc<Core>, open: &AtomicUsize) -> io::Result<()> {
        monoio::spawn(listen_for_letters(Rc::clone(self), self.doorbell()?));
        monoio::spawn(tick(Rc::clone(self)));
        let mut has_reported = false;
        loop {
            let mut is_due = self.take_letters();
            {
                let mut home = self.home.borrow_mut();
                home.turn();
                is_due |= home.is_due();
            }
            is_due |= self.audience.borrow_mut().turn();
            if self.stage.get() == Stage::Closing && self.conversations.get() == 0 && !has_reported {
                has_reported = true;
                open.fetch_sub(1, Ordering::Release);
            }
            if self.stage.get() == Stage::Ending && self.is_over() {
                self.home.borrow_mut().close();
                return Ok(());
            }
            match is_due {
                true => yield_now().await,
                false => self.nudge.rung().await,
            }
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
        letters.rearm();
        let begun = Instant::now();
        while begun.elapsed() < LETTERS_TIME {
            let Some(letter) = letters.take() else { return false };
            match letter {
                Letter::Question { from, ticket, question } => {
                    if let Some(answer) = self.home.borrow_mut().ask(from, ticket, question) {
                        self.cores.boxes[from].post(Letter::Answer { ticket, answer });
                    }
                }
                Letter::Answer { ticket, answer } => self.answered(ticket, answer),
                Letter::Watch { stream, view } => self.audience.borrow_mut().watch(stream, view),
                Letter::Block { stream, block } => self.audience.borrow_mut().add_block(&stream, block),
                Letter::Segment { stream, segment } => self.audience.borrow_mut().add_segment(&stream, segment),
                Letter::Published { stream, position } => {
                    self.audience.borrow_mut().publish(&stream, position);
                    self.announce(&stream);
                }
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

    /// The eventfd that letters and rings ring, as something that the runtime can wait for.
    fn doorbell(&self) -> io::Result<UnixStream> {
        // SAFETY: the letter box outlives the core, and the duplicate is ours.
        let fd = unsafe { libc::fcntl(self.cores.boxes[self.number].eventfd(), libc::F_DUPFD_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is open and ours. It isn't a socket, but all that is asked of it is to be polled.
        UnixStream::from_std(unsafe { std::os::unix::net::UnixStream::from_raw_fd(fd) })
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

/// Once a second: the date, and the audience's clock.
async fn tick(core: Rc<Core>) {
    loop {
        // Each core ticks at its own moment.
        monoio::time::sleep(Duration::from_millis(995 + u64::from(clock::jitter(10)))).await;
        core.set_date();
        core.audience.borrow_mut().tick();
        core.nudge.ring();
    }
}

/// Lets every other task of the core run once.
async fn yield_now() {
    let mut has_yielded = false;
    poll_fn(|context| match std::mem::replace(&mut has_yielded, true) {
        true => Poll::Ready(()),
        false => {
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}
