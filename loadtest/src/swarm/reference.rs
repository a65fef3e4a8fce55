//! What all followers of a lone topic are sent, parsed once: whoever receives the same bytes from the same place of it has received
//! the same frames. Comparing is some ten times cheaper than parsing, so that one core can check millions of frames a second.
//!
//! Invariant: it holds whole frames and the beginning of one more, byte for byte as some follower received them; a follower
//! whose bytes differ in any way goes back to a parser of its own.

use std::collections::VecDeque;

use fantail_engine::event;
use fantail_engine::position::Position;
use memchr::memmem::Finder;

use super::members::{Members, Moment};

/// Bytes that are kept; twice as many when the rest is forgotten, and one frame more.
const BYTES: usize = 8 * 1024 * 1024;

/// Bytes of a frame that is waited for: a document of the server's largest size, escaped at its worst.
pub(crate) const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A frame, as its parsing found it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    start: u64,
    end: u64,
    /// Its `id:`.
    pub(crate) position: Position,
    /// The topic's counter.
    pub(crate) counter: Option<u64>,
    /// When it was meant to be published.
    pub(crate) moment: Moment,
}

/// See the module. Offsets count from where the first follower joined.
pub(crate) struct Reference {
    /// The sequence before the first frame that it ever held.
    origin: u64,
    base: u64,
    /// The position of the frame that ends at `base`, if that isn't the beginning.
    forgotten: Option<Position>,
    bytes: Vec<u8>,
    frames: VecDeque<Entry>,
    blank: Finder<'static>,
}

impl Reference {
    /// What comes after the event with this sequence.
    pub(crate) fn after(origin: u64) -> Reference {
        let blank = Finder::new(b"\n\n");
        Reference { origin, base: 0, forgotten: None, bytes: Vec::new(), frames: VecDeque::new(), blank }
    }

    /// The offset at which the frame after `sequence` begins, if that is known.
    pub(crate) fn join(&self, sequence: u64) -> Option<u64> {
        let index = self.frames.partition_point(|frame| frame.position.sequence <= sequence);
        let first = self.forgotten.map_or(self.origin, |position| position.sequence);
        let before = index.checked_sub(1).map_or(first, |index| self.frames[index].position.sequence);
        if before != sequence {
            return None;
        }
        match self.frames.get(index) {
            Some(next) => Some(next.start),
            None => self.next_start(),
        }
    }

    /// Whether `bytes` are what comes at the offset `at`; those beyond what is known are believed if they are frames.
    pub(crate) fn takes(&mut self, at: u64, bytes: &[u8], members: &Members) -> bool {
        let from = (at - self.base) as usize;
        let known = (self.bytes.len() - from).min(bytes.len());
        self.bytes[from..from + known] == bytes[..known] && self.extend(&bytes[known..], members)
    }

    /// The frames that end after `from`, up to `to`.
    pub(crate) fn frames(&self, from: u64, to: u64) -> impl Iterator<Item = &Entry> {
        let first = self.frames.partition_point(|frame| frame.end <= from);
        self.frames.range(first..).take_while(move |frame| frame.end <= to)
    }

    /// What a follower at `at` has received since the end of its last frame.
    pub(crate) fn unfinished(&self, at: u64) -> &[u8] {
        let frames = self.frames.partition_point(|frame| frame.end <= at);
        let end = frames.checked_sub(1).map_or(self.base, |index| self.frames[index].end);
        &self.bytes[(end - self.base) as usize..(at - self.base) as usize]
    }

    /// The position of the last whole frame before `at`, if there ever was one.
    pub(crate) fn last(&self, at: u64) -> Option<Position> {
        let frames = self.frames.partition_point(|frame| frame.end <= at);
        frames.checked_sub(1).map_or(self.forgotten, |index| Some(self.frames[index].position))
    }

    /// The offset before which it should be forgotten, if it has grown too long.
    pub(crate) fn excess(&self) -> Option<u64> {
        if self.bytes.len() < 2 * BYTES {
            return None;
        }
        let cut = self.base + (self.bytes.len() - BYTES) as u64;
        self.frames.iter().map(|frame| frame.end).take_while(|end| *end <= cut).last()
    }

    /// Forgets what is before `cut`, a frame's end. Nobody may stand there any more.
    pub(crate) fn forget(&mut self, cut: u64) {
        self.bytes.drain(..(cut - self.base) as usize);
        self.base = cut;
        while let Some(frame) = self.frames.pop_front_if(|frame| frame.end <= cut) {
            self.forgotten = Some(frame.position);
        }
    }

    /// Where the frame after the last whole one begins: comments may come before it.
    fn next_start(&self) -> Option<u64> {
        let mut at = self.parsed();
        while self.bytes.get(at) == Some(&b':') {
            at += memchr::memchr(b'\n', &self.bytes[at..])? + 1;
        }
        Some(self.base + at as u64)
    }

    /// Up to where there are whole frames: an index of `bytes`.
    fn parsed(&self) -> usize {
        self.frames.back().map_or(0, |frame| (frame.end - self.base) as usize)
    }

    /// Adds bytes; takes them back if they are anything but frames and comments.
    fn extend(&mut self, bytes: &[u8], members: &Members) -> bool {
        let (length, count) = (self.bytes.len(), self.frames.len());
        self.bytes.extend_from_slice(bytes);
        // The end of a block may have begun with the last byte that was there.
        let mut search = self.parsed().max(length.saturating_sub(1));
        while let Some(found) = self.blank.find(&self.bytes[search..]) {
            let start = self.next_start().map(|start| (start - self.base) as usize);
            let frame = start.and_then(|start| Some((start, event::decode(&self.bytes[start..search + found + 2])?)));
            let Some((start, frame)) = frame else { return self.take_back(length, count) };
            let entry = Entry {
                start: self.base + start as u64,
                end: self.base + (start + frame.length) as u64,
                position: frame.position,
                counter: members.counter(frame.data),
                moment: members.moment(frame.data),
            };
            self.frames.push_back(entry);
            search = self.parsed();
        }
        match self.next_start() {
            // Anything else, like the beginning of a position block, would stay there, and nobody else's bytes would fit.
            Some(start) if !is_begun_frame(&self.bytes[(start - self.base) as usize..]) => {
                self.take_back(length, count)
            }
            _ => true,
        }
    }

    fn take_back(&mut self, bytes: usize, frames: usize) -> bool {
        self.bytes.truncate(bytes);
        self.frames.truncate(frames);
        false
    }
}

/// Whether more bytes could make a frame of these.
fn is_begun_frame(bytes: &[u8]) -> bool {
    let begins =
        |bytes: &[u8], with: &[u8]| bytes[..bytes.len().min(with.len())] == with[..bytes.len().min(with.len())];
    let id = bytes.len().min(64);
    match memchr::memchr(b'\n', &bytes[..id]) {
        None => bytes.len() < 64 && begins(bytes, b"id: "),
        Some(end) => {
            bytes.len() <= FRAME_BYTES_MAX
                && begins(bytes, b"id: ")
                && begins(&bytes[end + 1..], b"event: patch\ndata: ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fantail_engine::position::Epoch;

    fn log(sequences: std::ops::RangeInclusive<u64>) -> Vec<u8> {
        let mut log = Vec::new();
        for sequence in sequences {
            let position = Position { epoch: Epoch::from_bits(7), sequence };
            event::encode(&mut log, position, format!("[{{\"n\":{sequence},\"t\":5}}]").as_bytes());
            log.extend_from_slice(b":c 1-1 0 0\n");
        }
        log
    }

    #[test]
    fn the_same_bytes_are_the_same_frames_wherever_they_are_cut() {
        let (members, bytes) = (Members::new(None, None), log(5..=9));
        for cut in 0..=bytes.len() {
            for other in [0, bytes.len() / 3, bytes.len()] {
                let mut reference = Reference::after(4);
                assert_eq!(reference.join(4), Some(0));
                assert_eq!(reference.join(5), None);
                assert!(reference.takes(0, &bytes[..cut], &members));
                assert!(reference.takes(0, &bytes[..other], &members));
                assert!(reference.takes(cut as u64, &bytes[cut..], &members));
                let seen = |from, to| reference.frames(from, to).filter_map(|frame| frame.counter).collect::<Vec<_>>();
                assert_eq!(seen(0, bytes.len() as u64), [5, 6, 7, 8, 9]);
                assert_eq!([seen(0, cut as u64), seen(cut as u64, bytes.len() as u64)].concat(), [5, 6, 7, 8, 9]);
                let start = reference.join(7).expect("a boundary") as usize;
                assert_eq!(bytes[start..], log(8..=9));
                let begun = reference.unfinished(cut as u64);
                assert!(bytes[..cut].ends_with(begun) && !begun[..begun.len().min(3)].starts_with(b"id:\n"));
            }
        }
    }

    #[test]
    fn bytes_that_differ_are_not_taken() {
        let (members, bytes) = (Members::new(None, None), log(1..=3));
        let mut reference = Reference::after(0);
        assert!(reference.takes(0, &bytes[..bytes.len() / 2], &members));
        let mut wrong = bytes.clone();
        wrong[5] ^= 1;
        assert!(!reference.takes(0, &wrong, &members), "another byte");
        assert!(!reference.takes(0, &[&bytes[..bytes.len() - 1], b"event: reset\ndata: {}\n\n"].concat(), &members));
        assert!(reference.takes(0, &bytes, &members), "what was refused left nothing behind");
        let end = bytes.len() as u64;
        for begun in ["id: 00000a-7\nevent: posi", "retry: 1", "event", "id: 00000a-7\ndata", &"id: ".repeat(20)] {
            assert!(!reference.takes(end, begun.as_bytes(), &members), "{begun} is no frame");
        }
        let endless = [b"id: 00000a-4\nevent: patch\ndata: ".to_vec(), vec![b'x'; FRAME_BYTES_MAX]].concat();
        assert!(!reference.takes(end, &endless, &members), "there is a bound");
        let next = log(4..=4);
        for cut in 0..next.len() {
            let mut reference = Reference::after(3);
            assert!(reference.takes(0, &next[..cut], &members), "{}", String::from_utf8_lossy(&next[..cut]));
        }
    }

    #[test]
    fn what_nobody_needs_is_forgotten() {
        let members = Members::new(None, None);
        let mut reference = Reference::after(0);
        let (mut at, mut sequence) = (0, 0);
        while reference.excess().is_none() {
            let bytes = log(sequence + 1..=sequence + 1000);
            assert!(reference.takes(at, &bytes, &members));
            (at, sequence) = (at + bytes.len() as u64, sequence + 1000);
        }
        let cut = reference.excess().expect("it is long");
        reference.forget(cut);
        assert!(reference.bytes.len() <= BYTES + 1000);
        let first = reference.frames(cut, at).next().expect("frames are left").position.sequence;
        assert_eq!((reference.join(first - 2), reference.join(first - 1).is_some()), (None, true));
        assert_eq!(reference.last(cut).map(|position| position.sequence), Some(first - 1));
        assert_eq!(reference.frames(cut, at).count() as u64, sequence - first + 1);
        assert!(reference.takes(at, &log(sequence + 1..=sequence + 1), &members));
    }
}
