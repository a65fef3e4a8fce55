//! The conversations of a core that wait for their peers to say something: those that go when others need their place.
//!
//! One rests between requests, or its request's head is long in coming. Whoever has waited longest goes first; a head that has
//! begun only just isn't touched.

use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::time::Instant;

use crate::limits::SLOW_HEAD_TIME;

/// What a conversation waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Awaiting {
    /// The next request.
    Request,
    /// The rest of a head.
    Head,
}

/// Names a wait: from when on it may be ended, and a number of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Wait(Instant, u64);

/// See the module.
#[derive(Default)]
pub(super) struct Resting {
    sockets: BTreeMap<Wait, (RawFd, Awaiting)>,
    waits: u64,
}

impl Resting {
    /// The conversation on `socket` has waited `since` then, until [`Resting::remove`].
    pub(super) fn add(&mut self, socket: RawFd, awaiting: Awaiting, since: Instant) -> Wait {
        let wait = match awaiting {
            Awaiting::Request => Wait(since, self.waits),
            Awaiting::Head => Wait(since + SLOW_HEAD_TIME, self.waits),
        };
        self.waits += 1;
        self.sockets.insert(wait, (socket, awaiting));
        wait
    }

    pub(super) fn remove(&mut self, wait: Wait) {
        self.sockets.remove(&wait);
    }

    /// Takes out the one that has waited longest, if any has for long enough.
    pub(super) fn take_longest(&mut self) -> Option<RawFd> {
        let longest = self.sockets.first_entry().filter(|entry| entry.key().0 <= Instant::now())?;
        Some(longest.remove().0)
    }

    /// Takes out all that wait for another request.
    pub(super) fn take_idle(&mut self) -> Vec<RawFd> {
        let is_idle = |_: &Wait, (_, awaiting): &mut (RawFd, Awaiting)| *awaiting == Awaiting::Request;
        self.sockets.extract_if(.., is_idle).map(|(_, (socket, _))| socket).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn who_has_waited_longest_goes_first() {
        let mut resting = Resting::default();
        let now = Instant::now();
        let before = |ms| now.checked_sub(Duration::from_millis(ms)).expect("the host is up for long enough");
        resting.add(1, Awaiting::Request, before(500));
        resting.add(2, Awaiting::Head, before(900));
        resting.add(3, Awaiting::Head, before(1_700));
        let gone = resting.add(4, Awaiting::Request, before(2_000));
        resting.add(5, Awaiting::Request, before(600));
        resting.remove(gone);
        assert_eq!(
            [(); 4].map(|()| resting.take_longest()),
            [Some(3), Some(5), Some(1), None],
            "a head is given a second"
        );
        resting.add(6, Awaiting::Request, now);
        assert_eq!((resting.take_idle(), resting.take_idle()), (vec![6], vec![]));
    }
}
