//! In which order the states of documents may be committed that several requests have seen at once.
//!
//! An origin carries writes out in an order that nobody else knows: of two that are under way together, the one that is answered
//! last isn't the one that was done last. So the state that an answer tells counts only if nothing else was under way at the document
//! since the request was sent. Otherwise the document is read anew, one read at a time, each begun after the answers that it
//! stands for; as the origin shows its states in their order, so are they committed. Nobody's write waits for another's.
//!
//! Invariant: while a document is read in turn, nothing but that read changes it here.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::limits::{MIRROR_KNOWN_MAX, MIRROR_RECENT_MAX};
use crate::topic::{Place, hash};

/// When something began.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Moment(u64);

/// See the module. Of one stream; `W` is who waits for a turn.
pub struct Turns<W> {
    now: u64,
    /// Since when requests are under way.
    under_way: BTreeSet<u64>,
    /// When documents have changed since the oldest of them, by the hash of their path.
    changed: HashMap<u64, u64>,
    /// Up to when it was forgotten which have: any may.
    forgotten: u64,
    busy: HashMap<Box<str>, Busy<W>>,
    /// Hashes of the paths of documents and whole collections that were seen since the start.
    known: HashSet<u64>,
}

/// A document that something is under way at.
struct Busy<W> {
    writes: usize,
    /// Those that the read under way stands for besides the one who reads; none if nobody does.
    reading: Option<Vec<W>>,
    /// Those that wait for the next read.
    waiting: Vec<W>,
}

impl<W> Default for Busy<W> {
    fn default() -> Busy<W> {
        Busy { writes: 0, reading: None, waiting: Vec::new() }
    }
}

impl<W> Default for Turns<W> {
    fn default() -> Turns<W> {
        Turns {
            now: 0,
            under_way: BTreeSet::new(),
            changed: HashMap::new(),
            forgotten: 0,
            busy: HashMap::new(),
            known: HashSet::new(),
        }
    }
}

impl<W> Turns<W> {
    /// A request is about to be sent that may change the document `place`, or one of the collection, or that looks at them.
    pub fn begin(&mut self, written: Option<&Place>) -> Moment {
        self.now += 1;
        self.under_way.insert(self.now);
        if let Some(place) = written {
            self.busy.entry(place.path().into()).or_default().writes += 1;
        }
        Moment(self.now)
    }

    /// The write that began then, at the same place, is over. Whether the state of the document `seen` that it has told counts.
    pub fn end(&mut self, moment: Moment, written: Option<&Place>, seen: &Place) -> bool {
        if let Some(place) = written {
            if let Some(busy) = self.busy.get_mut(place.path()) {
                busy.writes -= 1;
            }
            self.tidy(place);
        }
        let counts = self.counts(moment, seen);
        self.leave(moment);
        counts
    }

    /// Whether the state of a document counts that was told to who began then and is yet to leave: nothing else is under way at the
    /// document, nor was since.
    #[must_use]
    pub fn counts(&self, moment: Moment, place: &Place) -> bool {
        let changed = self.changed.get(&hash(place.path())).copied().unwrap_or(self.forgotten);
        changed < moment.0 && !self.busy.contains_key(place.path())
    }

    /// What began then, and wrote no document that has a name, is over.
    pub fn leave(&mut self, moment: Moment) {
        self.under_way.remove(&moment.0);
        if self.under_way.is_empty() {
            self.changed.clear();
        }
    }

    /// A state of the document was committed.
    pub fn has_changed(&mut self, place: &Place) {
        self.now += 1;
        if !self.under_way.is_empty() {
            if self.changed.len() >= MIRROR_RECENT_MAX {
                self.changed.clear();
                self.forgotten = self.now;
            }
            self.changed.insert(hash(place.path()), self.now);
        }
        self.know(place);
    }

    /// Whether it is the turn of `who` to read the document. If not, another read stands for this one: see [`Turns::has_read`].
    pub fn read(&mut self, place: &Place, who: W) -> bool {
        let busy = self.busy.entry(place.path().into()).or_default();
        if busy.reading.is_some() {
            busy.waiting.push(who);
            return false;
        }
        busy.reading = Some(Vec::new());
        true
    }

    /// The document was read, or can't be. Returns those that the read stood for, and whose turn it is now.
    pub fn has_read(&mut self, place: &Place) -> (Vec<W>, Option<W>) {
        let Some(busy) = self.busy.get_mut(place.path()) else { return (Vec::new(), None) };
        let done = busy.reading.take().unwrap_or_default();
        let mut waiting = std::mem::take(&mut busy.waiting).into_iter();
        let next = waiting.next();
        if next.is_some() {
            busy.reading = Some(waiting.collect());
        }
        self.tidy(place);
        (done, next)
    }

    /// Whether the document or collection was seen, and all that became of it since.
    #[must_use]
    pub fn knows(&self, place: &Place) -> bool {
        self.known.contains(&hash(place.path())) || self.known.contains(&hash(place.collection()))
    }

    /// The document, or the whole collection, was seen.
    pub fn know(&mut self, place: &Place) {
        if self.known.len() >= MIRROR_KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(hash(place.path()));
    }

    /// The document or collection isn't what was seen any more, and nobody knows what it is.
    pub fn doubt(&mut self, place: &Place) {
        self.known.remove(&hash(place.path()));
        self.known.remove(&hash(place.collection()));
    }

    /// Nobody knows anything any more of what was seen.
    pub fn doubt_all(&mut self) {
        self.known.clear();
    }

    /// Whether nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.under_way.is_empty() && self.busy.is_empty()
    }

    /// Whether there is nothing to remember.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.is_idle() && self.known.is_empty()
    }

    fn tidy(&mut self, place: &Place) {
        let is_over = |busy: &Busy<W>| busy.writes == 0 && busy.reading.is_none();
        if self.busy.get(place.path()).is_some_and(is_over) {
            self.busy.remove(place.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::Mount;
    use proptest::prelude::*;

    fn place(path: &str) -> Place {
        Mount::new(None, "/").place(path).expect("a path")
    }

    #[test]
    fn a_write_alone_counts() {
        let (mut turns, one) = (Turns::<u8>::default(), place("/m/1"));
        let moment = turns.begin(Some(&one));
        assert!(turns.end(moment, Some(&one), &one) && turns.is_idle());
        turns.has_changed(&one);
        assert!(turns.knows(&one) && !turns.knows(&place("/m")) && !turns.knows(&place("/m/2")));
        turns.doubt(&one);
        assert!(turns.is_blank());
        turns.know(&place("/m"));
        assert!(turns.knows(&one));
    }

    #[test]
    fn of_two_together_neither_counts_and_one_read_stands_for_both() {
        let (mut turns, one) = (Turns::default(), place("/m/1"));
        let (first, second) = (turns.begin(Some(&one)), turns.begin(Some(&one)));
        assert!(!turns.end(first, Some(&one), &one), "the other may have been done before");
        assert!(turns.read(&one, 1));
        assert!(!turns.end(second, Some(&one), &one) && !turns.read(&one, 2) && !turns.read(&one, 3));
        turns.has_changed(&one);
        assert_eq!(turns.has_read(&one), (vec![], Some(2)), "the read began before the second was answered");
        assert_eq!(turns.has_read(&one), (vec![3], None));
        assert!(turns.is_idle());
    }

    #[test]
    fn what_was_created_does_not_count_if_it_changed_meanwhile() {
        let (mut turns, one) = (Turns::<u8>::default(), place("/m/1"));
        let created = turns.begin(None);
        let changed = turns.begin(Some(&one));
        assert!(turns.end(changed, Some(&one), &one));
        turns.has_changed(&one);
        assert!(!turns.end(created, None, &one));
    }

    #[test]
    fn what_was_forgotten_counts_against() {
        let (mut turns, one) = (Turns::<u8>::default(), place("/m/one"));
        let early = turns.begin(None);
        for n in 0..=MIRROR_RECENT_MAX {
            turns.has_changed(&place(&format!("/m/{n}")));
        }
        assert!(!turns.counts(early, &one));
        let late = turns.begin(None);
        assert!(turns.counts(late, &one));
    }

    /// An origin with one document, whose states are numbers that grow.
    #[derive(Default)]
    struct Model {
        turns: Turns<()>,
        state: u64,
        committed: u64,
        requests: Vec<Request>,
        /// Who reads, and what they have seen.
        reading: Option<Option<u64>>,
    }

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Kind {
        Write,
        Create,
        Look,
    }

    struct Request {
        kind: Kind,
        moment: Moment,
        told: Option<u64>,
    }

    impl Model {
        fn begin(&mut self, kind: Kind) {
            let moment = self.turns.begin(Some(&place("/m/1")).filter(|_| kind == Kind::Write));
            self.requests.push(Request { kind, moment, told: None });
        }

        fn commit(&mut self, state: u64) {
            assert!(state >= self.committed, "{state} after {}", self.committed);
            self.committed = state;
            self.turns.has_changed(&place("/m/1"));
        }

        /// A request goes one step further: it is carried out, or answered.
        fn step(&mut self, chosen: usize) {
            let at = chosen % self.requests.len();
            let request = &mut self.requests[at];
            let Some(told) = request.told else {
                self.state += u64::from(request.kind != Kind::Look);
                request.told = Some(self.state);
                return;
            };
            let (one, Request { kind, moment, .. }) = (place("/m/1"), self.requests.swap_remove(at));
            let counts = match kind {
                Kind::Write => self.turns.end(moment, Some(&one), &one),
                Kind::Create => self.turns.end(moment, None, &one),
                Kind::Look => self.turns.counts(moment, &one),
            };
            if counts {
                self.commit(told);
            }
            match kind {
                Kind::Look => self.turns.leave(moment),
                Kind::Write | Kind::Create => {
                    if !counts && self.turns.read(&one, ()) {
                        self.reading = Some(None);
                    }
                }
            }
        }

        fn read(&mut self) {
            match self.reading {
                None => {}
                Some(None) => self.reading = Some(Some(self.state)),
                Some(Some(state)) => {
                    self.commit(state);
                    self.reading = self.turns.has_read(&place("/m/1")).1.map(|()| None);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn states_are_committed_in_their_order(steps in prop::collection::vec((0u8..8, 0usize..8), 0..200)) {
            let mut model = Model::default();
            for (kind, chosen) in steps {
                match kind {
                    0 => model.begin(Kind::Write),
                    1 => model.begin(Kind::Create),
                    2 => model.begin(Kind::Look),
                    3..6 if !model.requests.is_empty() => model.step(chosen),
                    _ => model.read(),
                }
            }
            while !model.requests.is_empty() {
                model.step(0);
            }
            while model.reading.is_some() {
                model.read();
            }
            prop_assert!(model.turns.is_idle());
            prop_assert_eq!(model.committed, model.state);
        }
    }
}
