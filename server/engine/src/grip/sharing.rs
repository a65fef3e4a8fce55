//! Requests that many clients have in common: made once for all who ask the same at about the same time.
//!
//! Who asks while the request is under way waits for its answer; an answer that may be had later is kept for a moment. Time is
//! a parameter, in microseconds of any clock that doesn't go back.
//!
//! Invariant: nobody is given an answer to a request that was begun before the time since which it has to be new.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Requests under way, and answers that are kept.
#[derive(Debug)]
pub struct Sharing<K, A, W> {
    entries: HashMap<K, Entry<A, W>>,
    /// What is kept, in the order in which it was answered. One that was replaced stands here twice, and its first place
    /// means nothing.
    order: VecDeque<(K, u64)>,
    bytes: usize,
    bytes_max: usize,
    kept_us: u64,
}

#[derive(Debug)]
enum Entry<A, W> {
    UnderWay {
        begun: u64,
        waiters: Vec<W>,
        /// Those for whom the request was begun too early.
        later: Vec<W>,
    },
    Kept {
        begun: u64,
        answered: u64,
        answer: A,
        weight: usize,
    },
}

/// What becomes of who asks.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked<A, W> {
    /// The answer is there.
    Kept(A, W),
    /// A request is under way, or will be.
    Waits,
    /// The request is to be made now.
    First,
}

/// Who may have an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Those who have waited for it.
    Waiting,
    /// Whoever asks soon, too; it takes so many bytes meanwhile.
    Later(usize),
}

/// Who gets an answer that has come, and what is next.
#[derive(Debug, PartialEq, Eq)]
pub struct Answered<W> {
    /// Those who have waited for it.
    pub waiters: Vec<W>,
    /// Whether the request is to be made again at once, for others.
    pub again: bool,
}

impl<K: Hash + Eq + Clone, A: Clone, W> Sharing<K, A, W> {
    /// Nothing is under way. Answers are kept for `kept_us`, and no more than `bytes_max` of them.
    #[must_use]
    pub fn new(kept_us: u64, bytes_max: usize) -> Sharing<K, A, W> {
        Sharing { entries: HashMap::new(), order: VecDeque::new(), bytes: 0, bytes_max, kept_us }
    }

    /// Somebody asks; the request that answers mustn't have begun before `since`.
    pub fn ask(&mut self, key: &K, since: u64, waiter: W, now: u64) -> Asked<A, W> {
        self.forget_old(now);
        match self.entries.get_mut(key) {
            Some(Entry::Kept { begun, answer, .. }) if *begun >= since => Asked::Kept(answer.clone(), waiter),
            Some(Entry::UnderWay { begun, waiters, later }) => {
                match *begun >= since {
                    true => waiters.push(waiter),
                    false => later.push(waiter),
                }
                Asked::Waits
            }
            Some(Entry::Kept { .. }) | None => {
                self.forget(key);
                let entry = Entry::UnderWay { begun: now, waiters: vec![waiter], later: Vec::new() };
                self.entries.insert(key.clone(), entry);
                Asked::First
            }
        }
    }

    /// The answer to a request that was to be made.
    ///
    /// # Panics
    /// If no such request is under way.
    pub fn answered(&mut self, key: &K, answer: A, audience: Audience, now: u64) -> Answered<W> {
        let Some(Entry::UnderWay { begun, waiters, later }) = self.entries.remove(key) else {
            panic!("what is answered was asked");
        };
        let again = !later.is_empty();
        match audience {
            _ if again => {
                let entry = Entry::UnderWay { begun: now, waiters: later, later: Vec::new() };
                self.entries.insert(key.clone(), entry);
            }
            Audience::Later(weight) if weight <= self.bytes_max => {
                self.bytes += weight;
                self.order.push_back((key.clone(), now));
                self.entries.insert(key.clone(), Entry::Kept { begun, answered: now, answer, weight });
                self.forget_old(now);
            }
            Audience::Later(_) | Audience::Waiting => {}
        }
        Answered { waiters, again }
    }

    /// Forgets what was kept for long enough, and the oldest of what is too much.
    pub fn forget_old(&mut self, now: u64) {
        while let Some((key, answered)) = self.order.front()
            && (answered.saturating_add(self.kept_us) <= now || self.bytes > self.bytes_max)
        {
            let key = key.clone();
            let answered = *answered;
            self.order.pop_front();
            let is_it = |entry: &Entry<A, W>| matches!(entry, Entry::Kept { answered: at, .. } if *at == answered);
            if self.entries.get(&key).is_some_and(is_it) {
                self.forget(&key);
            }
        }
    }

    /// The bytes of what is kept.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn forget(&mut self, key: &K) {
        if let Some(Entry::Kept { weight, .. }) = self.entries.remove(key) {
            self.bytes -= weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sharing() -> Sharing<&'static str, u8, char> {
        Sharing::new(100, 10)
    }

    #[test]
    fn who_asks_meanwhile_waits_and_who_asks_soon_is_given_what_is_kept() {
        let mut sharing = sharing();
        assert_eq!(sharing.ask(&"a", 0, 'x', 10), Asked::First);
        assert_eq!(sharing.ask(&"a", 0, 'y', 20), Asked::Waits);
        assert_eq!(sharing.ask(&"b", 0, 'z', 20), Asked::First);
        let answered = sharing.answered(&"a", 1, Audience::Later(5), 30);
        assert_eq!(answered, Answered { waiters: vec!['x', 'y'], again: false });
        assert_eq!(sharing.ask(&"a", 10, 'u', 129), Asked::Kept(1, 'u'));
        assert_eq!(sharing.ask(&"a", 0, 'u', 130), Asked::First);
        assert_eq!(sharing.bytes(), 0);
    }

    #[test]
    fn an_answer_for_those_who_waited_is_for_nobody_else() {
        let mut sharing = sharing();
        sharing.ask(&"a", 0, 'x', 10);
        sharing.answered(&"a", 1, Audience::Waiting, 11);
        assert_eq!(sharing.ask(&"a", 0, 'y', 12), Asked::First);
    }

    #[test]
    fn what_was_begun_too_early_is_asked_again() {
        let mut sharing = sharing();
        sharing.ask(&"a", 0, 'x', 10);
        assert_eq!(sharing.ask(&"a", 11, 'y', 11), Asked::Waits);
        assert_eq!(sharing.ask(&"a", 10, 'z', 12), Asked::Waits);
        let answered = sharing.answered(&"a", 1, Audience::Later(5), 13);
        assert_eq!(answered, Answered { waiters: vec!['x', 'z'], again: true });
        // The second request was begun at 13.
        assert_eq!(sharing.ask(&"a", 13, 'w', 14), Asked::Waits);
        let answered = sharing.answered(&"a", 2, Audience::Later(5), 15);
        assert_eq!(answered, Answered { waiters: vec!['y', 'w'], again: false });
        assert_eq!(sharing.ask(&"a", 14, 'v', 16), Asked::First);
        assert_eq!(sharing.bytes(), 0);
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        let mut sharing = sharing();
        for (key, weight) in [("a", 4), ("b", 4), ("c", 4), ("d", 11)] {
            sharing.ask(&key, 0, 'x', 1);
            sharing.answered(&key, 1, Audience::Later(weight), 2);
        }
        assert_eq!(sharing.bytes(), 8);
        assert_eq!(sharing.ask(&"a", 0, 'x', 3), Asked::First);
        assert_eq!(sharing.ask(&"b", 0, 'x', 3), Asked::Kept(1, 'x'));
        assert_eq!(sharing.ask(&"c", 0, 'x', 3), Asked::Kept(1, 'x'));
        assert_eq!(sharing.ask(&"d", 0, 'x', 3), Asked::First);
    }

    #[test]
    fn an_old_place_in_the_order_forgets_nothing_newer() {
        let mut sharing = sharing();
        sharing.ask(&"a", 0, 'x', 0);
        sharing.answered(&"a", 1, Audience::Later(5), 1);
        // Too old for this one, so that it is asked anew.
        assert_eq!(sharing.ask(&"a", 50, 'x', 50), Asked::First);
        sharing.answered(&"a", 2, Audience::Later(5), 51);
        assert_eq!(sharing.ask(&"a", 0, 'x', 120), Asked::Kept(2, 'x'));
    }
}
