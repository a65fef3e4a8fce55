//! A segment of a log, `<first-sequence>.sse`, the files beside it, and what recovery keeps of one.
//!
//! ```text
//! 00000000000000001043.sse            group │ group │ …      the events from 1043 on; a valid text/event-stream
//! 00000000000000001043.idx            where each of them lies (index.rs)
//! 00000000000000001043.keys           idempotency keys of writes among them (keys.rs)
//! 00000000000000001042.snapshot.sse   the value after event 1042 (checkpoint.rs)
//! └─ 20 digits ──────┘
//! ```
//!
//! There is nothing between groups, before the first or after the last: the version is the manifest's. Invariants: a
//! group never spans segments; sequences are gapless from the one in the name; each event has the epoch that the
//! manifest lists for its sequence. Recovery believes a prefix of whole groups and nothing after it: behind the first
//! byte that isn't one lies either a torn tail (no whole group follows: cut it) or damage (one follows: refuse writes,
//! name the place).

mod check;

use std::ops::ControlFlow;

use memchr::memmem;

use crate::event::{self, Frame};
use crate::log::group::{self, Close, Fault, Group, GroupError, Run};
use crate::log::index::Entry;
use crate::log::line;
use crate::log::manifest::Epochs;
use crate::position::{Epoch, Position};

pub use self::check::Check;

/// Digits of the sequence in a file's name: as many as the largest one has, so that names sort as numbers do.
const NAME_DIGITS: usize = 20;

/// What a file in a stream's folder is, beside the manifest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// `.sse`: the groups themselves; the number is the first event's sequence.
    Log,
    /// `.idx`: the index of the segment with the same number.
    Index,
    /// `.keys`: the idempotency keys of the segment with the same number.
    Keys,
    /// `.snapshot.sse`: a checkpoint; the number is the sequence of the last event that it reflects.
    Checkpoint,
}

impl Kind {
    fn suffix(self) -> &'static str {
        match self {
            Kind::Log => ".sse",
            Kind::Index => ".idx",
            Kind::Keys => ".keys",
            Kind::Checkpoint => ".snapshot.sse",
        }
    }
}

/// The name of the file of this kind and number.
#[must_use]
pub fn name(sequence: u64, kind: Kind) -> String {
    format!("{sequence:0NAME_DIGITS$}{}", kind.suffix())
}

/// The number and the kind that [`name`] made this name of; none for any other name.
#[must_use]
pub fn parse_name(name: &str) -> Option<(u64, Kind)> {
    let (digits, suffix) = name.split_at_checked(NAME_DIGITS)?;
    let kind =
        [Kind::Log, Kind::Index, Kind::Keys, Kind::Checkpoint].into_iter().find(|kind| kind.suffix() == suffix)?;
    let significant = digits.trim_start_matches('0');
    let sequence = if significant.is_empty() { Some(0) } else { line::decimal(significant.as_bytes()) };
    sequence.map(|sequence| (sequence, kind))
}

/// What recovery found in a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// Bytes from the segment's start that are whole groups in order: what to keep and to believe.
    pub kept_bytes: u64,
    /// The position of the last event kept, or none: the segment has no event.
    pub last: Option<Position>,
    /// Where the last group kept begins: its first byte, and the sequence of its first event. None without one.
    pub last_group: Option<(u64, u64)>,
    /// When the last group kept was committed, in milliseconds since 1970; 0 without one.
    pub last_unix_ms: u64,
    /// The index of the events kept: the segment's `.idx`, rebuilt.
    pub entries: Vec<Entry>,
    /// What follows the bytes kept.
    pub verdict: Verdict,
}

/// What follows the groups that recovery kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nothing.
    Whole,
    /// A tail without any whole group: to be cut, under a new epoch. In any but the newest segment it is damage,
    /// because whole groups follow in the next one: see [`Verdict::sealed`].
    Cut(Loss),
    /// Something that can't be read, and whole groups behind it: the stream refuses writes, the file stays as it is.
    Damage(Loss),
}

impl Verdict {
    /// The verdict on a segment that others follow.
    #[must_use]
    pub fn sealed(self) -> Verdict {
        match self {
            Verdict::Whole => Verdict::Whole,
            Verdict::Cut(loss) | Verdict::Damage(loss) => Verdict::Damage(loss),
        }
    }
}

/// Bytes of a segment that aren't believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Loss {
    /// Where they begin: the end of the last whole group.
    pub offset: u64,
    /// How many there are, up to the segment's end.
    pub bytes: u64,
    /// Why the first of them isn't believed.
    pub reason: Reason,
}

/// Why a group isn't believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Reason {
    /// It isn't whole.
    #[error("a group isn't whole")]
    Torn,
    /// It is no group.
    #[error("a group is bad {offset} bytes from its start: {fault}")]
    Bad {
        /// Bytes from the group's start up to which frames were read.
        offset: usize,
        /// What is wrong there.
        fault: Fault,
    },
    /// A whole group that doesn't begin where the one before it, or the file's name, says.
    #[error("a group begins with event {found} instead of {expected}")]
    Sequence {
        /// The sequence that it should begin with.
        expected: u64,
        /// The sequence that it begins with.
        found: u64,
    },
    /// A whole group with an event of an epoch that the manifest doesn't list for it.
    #[error("event {} has epoch {} instead of {expected}", found.sequence, found.epoch)]
    Epoch {
        /// The epoch that the event should have.
        expected: Epoch,
        /// The position that it has.
        found: Position,
    },
    /// A whole group that lies beyond the offsets that an index can hold.
    #[error("the segment is larger than an index can say")]
    Large,
    /// A whole group with an event that the caller couldn't make use of.
    #[error("event {0} can't be applied")]
    Refused(u64),
}

/// Reads a segment from its start: calls `on_event` for every event of every whole group, in order, and says what to
/// keep.
///
/// `on_event` folds the event and returns the hashes of its collection's and its document's path, for the index; `None`
/// says that it can't be applied, which is damage: this event's group isn't kept (though events of it were passed).
/// Events that the caller has in a checkpoint already are passed like all others.
///
/// Each byte is looked at a fixed number of times, whatever the bytes are. Memory: one [`Entry`] per event.
pub fn recover(
    bytes: &[u8],
    first_sequence: u64,
    epochs: &Epochs,
    mut on_event: impl FnMut(&Frame<'_>) -> Option<(u64, u64)>,
) -> Recovered {
    let mut kept = Recovered {
        kept_bytes: 0,
        last: None,
        last_group: None,
        last_unix_ms: 0,
        entries: Vec::new(),
        verdict: Verdict::Whole,
    };
    let mut next_sequence = first_sequence;
    loop {
        let at = kept.kept_bytes as usize;
        let loss = |reason| Loss { offset: at as u64, bytes: (bytes.len() - at) as u64, reason };
        let torn_or_bad = |reason| match whole_group_follows(&bytes[at..]) {
            true => Verdict::Damage(loss(reason)),
            false => Verdict::Cut(loss(reason)),
        };
        let group = match group::read(&bytes[at..]) {
            Ok(group) => group,
            Err(GroupError::Empty) => return kept,
            Err(GroupError::Torn) => {
                kept.verdict = torn_or_bad(Reason::Torn);
                return kept;
            }
            Err(GroupError::Bad { offset, fault }) => {
                kept.verdict = torn_or_bad(Reason::Bad { offset, fault });
                return kept;
            }
        };
        let entries_before = kept.entries.len();
        if let Err(reason) = keep(&group, at, next_sequence, epochs, &mut on_event, &mut kept) {
            kept.entries.truncate(entries_before);
            kept.verdict = Verdict::Damage(loss(reason));
            return kept;
        }
        kept.last_group = Some((kept.kept_bytes, group.first));
        kept.kept_bytes += group.bytes.len() as u64;
        kept.last = Some(Position { epoch: group.epoch, sequence: group.last });
        kept.last_unix_ms = group.unix_ms;
        next_sequence = group.last.saturating_add(1);
    }
}

/// Passes on the events of a whole group that stands where it should, and indexes them.
fn keep(
    group: &Group<'_>,
    at: usize,
    expected: u64,
    epochs: &Epochs,
    on_event: &mut impl FnMut(&Frame<'_>) -> Option<(u64, u64)>,
    kept: &mut Recovered,
) -> Result<(), Reason> {
    if let Some(reason) = misplaced(group, expected, epochs) {
        return Err(reason);
    }
    if u32::try_from(at + group.bytes.len()).is_err() {
        return Err(Reason::Large);
    }
    for (offset, length, frame) in group.frames() {
        let (collection, document) = on_event(&frame).ok_or(Reason::Refused(frame.position.sequence))?;
        kept.entries.push(Entry { offset: (at + offset) as u32, length: length as u32, collection, document });
    }
    Ok(())
}

/// Why a whole group doesn't stand where it should, if so.
fn misplaced(group: &Group<'_>, expected: u64, epochs: &Epochs) -> Option<Reason> {
    if group.first != expected {
        return Some(Reason::Sequence { expected, found: group.first });
    }
    [group.first, group.last].into_iter().find_map(|sequence| {
        let expected = epochs.at(sequence);
        let found = Position { epoch: group.epoch, sequence };
        (group.epoch != expected).then_some(Reason::Epoch { expected, found })
    })
}

/// The group at the start of `bytes`, which is to begin with the event `expected`; none at the segment's end.
///
/// # Errors
/// Why what is there isn't that group.
pub fn next<'a>(bytes: &'a [u8], expected: u64, epochs: &Epochs) -> Result<Option<Group<'a>>, Reason> {
    match group::read(bytes) {
        Ok(group) => misplaced(&group, expected, epochs).map_or(Ok(Some(group)), Err),
        Err(GroupError::Empty) => Ok(None),
        Err(GroupError::Torn) => Err(Reason::Torn),
        Err(GroupError::Bad { offset, fault }) => Err(Reason::Bad { offset, fault }),
    }
}

/// Whether a whole group begins anywhere in `bytes`, which begin with none.
///
/// A group is recognised by its own frames and closing line, even if the group before it lost its closing line or the
/// line's end. Runs of frames don't overlap and each is read at most three times, so the work is linear.
fn whole_group_follows(bytes: &[u8]) -> bool {
    let mut at = 0;
    let found = std::iter::from_fn(|| {
        at += memmem::find(bytes.get(at..)?, event::ID)?;
        let run = Run::read(&bytes[at..]);
        let start = at;
        at += run.length.max(event::ID.len());
        Some((start, run))
    })
    .try_for_each(|(start, run)| match closes(&bytes[start..], run) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// Whether the last frames of the run at the start of `bytes` are a whole group together with the line behind them.
fn closes(bytes: &[u8], run: Run) -> bool {
    let Some(close) = Close::read(&bytes[run.length..]) else { return false };
    let mut start = 0;
    while let Some(frame) = event::decode(&bytes[start..])
        && frame.position.sequence < close.first
    {
        start += frame.length;
    }
    start < run.length && group::read(&bytes[start..]).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::group::tests::group;
    use proptest::prelude::*;
    use std::fmt::Write;

    /// Collection and document of an event in the fixtures: two hashes of its data, which needn't be JSON here.
    fn hashes(frame: &Frame<'_>) -> Option<(u64, u64)> {
        (frame.data != b"refused").then_some((frame.data.len() as u64, u64::from(crc32c::crc32c(frame.data))))
    }

    fn epochs(text: &str) -> Epochs {
        let mut epochs: Option<Epochs> = None;
        for line in text.lines().filter_map(|line| line.strip_prefix("epoch ")) {
            let (epoch, first) = line.split_once(' ').expect("epoch and first sequence");
            let (epoch, first) = (epoch.parse().expect("an epoch"), first.parse().expect("a sequence"));
            match &mut epochs {
                None => epochs = Some(Epochs::new(epoch)),
                Some(epochs) => epochs.push(epoch, first).expect("a later epoch"),
            }
        }
        epochs.expect("an epoch")
    }

    /// The verdict of a fixture, as text.
    fn told(recovered: &Recovered, events: &[(Position, usize)]) -> String {
        let mut text = String::new();
        let last = recovered.last.map_or("none".to_string(), |last| last.to_string());
        let (kept, events_kept) = (recovered.kept_bytes, recovered.entries.len());
        writeln!(text, "kept {kept} bytes, {events_kept} events, last {last} at {}", recovered.last_unix_ms).unwrap();
        for (entry, (position, data)) in recovered.entries.iter().zip(events) {
            writeln!(text, "{position} at {}, extent {}, data {data}", entry.offset, entry.length).unwrap();
        }
        match &recovered.verdict {
            Verdict::Whole => text.push_str("whole\n"),
            Verdict::Cut(loss) => {
                writeln!(text, "cut {} bytes at {}: {}", loss.bytes, loss.offset, loss.reason).unwrap()
            }
            Verdict::Damage(loss) => writeln!(text, "damage at {}: {}", loss.offset, loss.reason).unwrap(),
        }
        text
    }

    /// A fixture is: what it shows, epochs and the first sequence; `----`; the log; `----`; the verdict. `<end>` ends a
    /// log before its line does, `<nul>` is a zero byte.
    fn check(file: &str, fixture: &str) {
        let mut parts = fixture.splitn(3, "----\n");
        let mut part = || parts.next().unwrap_or_else(|| panic!("{file} has three parts"));
        let (head, log, verdict) = (part(), part(), part());
        let log = log.replace("<end>\n", "").replace("<nul>", "\0");
        let first = head.lines().find_map(|line| line.strip_prefix("first ")).expect("a first sequence");
        let mut events = Vec::new();
        let recovered = recover(log.as_bytes(), first.parse().expect("a sequence"), &epochs(head), |frame| {
            events.push((frame.position, frame.data.len()));
            hashes(frame)
        });
        assert_eq!(told(&recovered, &events), verdict, "{file}");
    }

    macro_rules! fixtures {
        ($($name:ident),* $(,)?) => { $(
            #[test]
            fn $name() {
                let file = concat!("fixtures/logs/", stringify!($name), ".txt");
                check(file, include_str!(concat!("../../../../fixtures/logs/", stringify!($name), ".txt")));
            }
        )* };
    }

    fixtures!(
        whole,
        empty,
        torn_in_a_frame,
        torn_in_a_closing_line,
        torn_without_a_closing_line,
        torn_by_zeros,
        bad_last_group,
        bad_group_before_a_whole_one,
        lost_closing_line,
        lost_end_of_a_closing_line,
        missing_group,
        repeated_group,
        foreign_epoch,
        another_file,
        epochs_meet,
        a_group_in_the_data,
        refused_event,
    );

    /// Four groups of five events in all, and where each group ends.
    fn log() -> (Vec<u8>, Vec<usize>) {
        let groups = [
            group(1, 10, &["[1]"], 5),
            group(1, 11, &["[]", "[22]"], 6),
            group(2, 13, &["[333]"], 7),
            group(2, 14, &["[id: 000002-9]", "[:c 1-1 1 00000000]"], 8),
        ];
        let mut ends = vec![0];
        for group in &groups {
            ends.push(ends[ends.len() - 1] + group.len());
        }
        (groups.concat(), ends)
    }

    fn two_epochs() -> Epochs {
        let mut epochs = Epochs::new(Epoch::from_bits(1));
        epochs.push(Epoch::from_bits(2), 13).expect("a later epoch");
        epochs
    }

    #[test]
    fn torn_anywhere_exactly_the_groups_before_are_kept() {
        let (bytes, ends) = log();
        for cut in 0..=bytes.len() {
            let recovered = recover(&bytes[..cut], 10, &two_epochs(), hashes);
            let kept = *ends.iter().rfind(|&&end| end <= cut).expect("0 is an end");
            assert_eq!(recovered.kept_bytes, kept as u64, "cut at {cut}");
            let loss = Loss { offset: kept as u64, bytes: (cut - kept) as u64, reason: Reason::Torn };
            let verdict = if kept == cut { Verdict::Whole } else { Verdict::Cut(loss) };
            assert_eq!(recovered.verdict, verdict, "cut at {cut}");
        }
    }

    #[test]
    fn every_flipped_bit_is_found_where_it_is() {
        let (bytes, ends) = log();
        let last = ends[ends.len() - 2];
        for at in 0..bytes.len() {
            let offset = *ends.iter().rfind(|&&end| end <= at).expect("0 is an end");
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let recovered = recover(&flipped, 10, &two_epochs(), hashes);
                assert_eq!(recovered.kept_bytes, offset as u64, "byte {at}, bit {bit}");
                match recovered.verdict {
                    Verdict::Damage(loss) => assert!(at < last && loss.offset == offset as u64, "byte {at}, bit {bit}"),
                    Verdict::Cut(loss) => assert!(at >= last && loss.offset == offset as u64, "byte {at}, bit {bit}"),
                    Verdict::Whole => panic!("byte {at}, bit {bit}"),
                }
            }
        }
    }

    /// Checks a sealed segment that comes in pieces of so many bytes.
    fn checked(bytes: &[u8], piece: usize) -> Result<(), Loss> {
        let (mut check, mut left) = (Check::new(10), Vec::new());
        for piece in bytes.chunks(piece) {
            left.extend_from_slice(piece);
            let used = check.feed(&left)?;
            left.drain(..used);
        }
        check.end(&left)
    }

    #[test]
    fn in_pieces_a_segment_is_whole_or_damaged_at_the_same_place() {
        let (bytes, ends) = log();
        for piece in [1, 7, 64, bytes.len()] {
            assert_eq!(checked(&bytes, piece), Ok(()), "pieces of {piece}");
            for at in (0..bytes.len()).step_by(3) {
                let offset = *ends.iter().rfind(|&&end| end <= at).expect("0 is an end");
                let mut flipped = bytes.clone();
                flipped[at] ^= 1;
                assert_eq!(checked(&flipped, piece).map_err(|loss| loss.offset), Err(offset as u64), "byte {at}");
                if !ends.contains(&at) {
                    assert_eq!(
                        checked(&bytes[..at], piece).map_err(|loss| loss.reason),
                        Err(Reason::Torn),
                        "cut at {at}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_lost_range_is_found_where_it_begins() {
        let (bytes, ends) = log();
        for from in 0..bytes.len() {
            for to in from + 1..=bytes.len() {
                let left = [&bytes[..from], &bytes[to..]].concat();
                let recovered = recover(&left, 10, &two_epochs(), hashes);
                // Where bytes repeat, the same log is left by losing a later range.
                let repeated = bytes[from..].iter().zip(&bytes[to..]).take_while(|(a, b)| a == b).count();
                let (from, to) = (from + repeated, to + repeated);
                let kept = *ends.iter().rfind(|&&end| end <= from).expect("0 is an end");
                assert_eq!(recovered.kept_bytes, kept as u64, "{from}..{to}");
                let follows = left.ends_with(&bytes[ends[ends.len() - 2]..]) || to <= ends[ends.len() - 2];
                match recovered.verdict {
                    Verdict::Whole => assert!(to == bytes.len() && ends.contains(&from), "{from}..{to}"),
                    Verdict::Damage(_) => assert!(follows, "{from}..{to}"),
                    Verdict::Cut(_) => assert!(!follows, "{from}..{to}"),
                }
            }
        }
    }

    #[test]
    fn in_a_sealed_segment_a_torn_tail_is_damage() {
        let loss = Loss { offset: 3, bytes: 4, reason: Reason::Torn };
        assert_eq!(Verdict::Cut(loss).sealed(), Verdict::Damage(loss));
        assert_eq!(Verdict::Damage(loss).sealed(), Verdict::Damage(loss));
        assert_eq!(Verdict::Whole.sealed(), Verdict::Whole);
    }

    /// Megabytes that are almost groups, in the ways that make a careless search quadratic: this test is over at once
    /// or never.
    #[test]
    fn the_search_for_a_later_group_is_linear() {
        let mut frames = Vec::new();
        for sequence in 1..60_000 {
            event::encode(&mut frames, Position { epoch: Epoch::from_bits(1), sequence }, b"[]");
        }
        let heads = b"id: 000001-1\nevent: patch\ndata: ".repeat(60_000);
        let closes = b"id: 000001-1\nevent: patch\ndata: []\n\n:c 1-1 5 00000000\n".repeat(40_000);
        let ids = b"id: id: id: id: ".repeat(200_000);
        let long = [&frames[..], b":c 1-59999 5 00000000\n"].concat();
        let lines = b":c 1-1 5 00000000\n".repeat(100_000);
        for bytes in [&frames, &heads, &closes, &ids, &long, &lines] {
            let recovered = recover(&[b"?\n", &bytes[..]].concat(), 1, &two_epochs(), hashes);
            assert!(matches!(recovered.verdict, Verdict::Cut(_)) && recovered.kept_bytes == 0);
            let recovered = recover(bytes, 1, &two_epochs(), hashes);
            assert!(matches!(recovered.verdict, Verdict::Cut(_)) && recovered.kept_bytes == 0);
        }
    }

    #[test]
    fn names_are_read_back_and_no_others() {
        for kind in [Kind::Log, Kind::Index, Kind::Keys, Kind::Checkpoint] {
            for sequence in [0, 1, 1043, u64::MAX] {
                assert_eq!(parse_name(&name(sequence, kind)), Some((sequence, kind)));
            }
        }
        assert_eq!(name(1043, Kind::Checkpoint), "00000000000000001043.snapshot.sse");
        for other in [
            "",
            "1043.sse",
            "00000000000000001043",
            "00000000000000001043.sse.tmp",
            "000000000000000001043.sse",
            "99999999999999999999.sse",
            "+0000000000000001043.sse",
            "0000000000000000104é.sse",
            "manifest",
        ] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_what_is_kept_is_kept_again(
            pieces in prop::collection::vec(0usize..8, 0..16),
            noise: Vec<u8>,
            first in 9u64..12,
        ) {
            let (whole, ends) = log();
            let mut bytes = Vec::new();
            for piece in pieces {
                match piece {
                    0..4 => bytes.extend_from_slice(&whole[ends[piece]..ends[piece + 1]]),
                    4 => bytes.extend_from_slice(&noise),
                    5 => bytes.extend_from_slice(b"id: 000001-10\nevent: patch\ndata: []\n\n"),
                    6 => bytes.extend_from_slice(b":c 10-10 5 00000000\n"),
                    _ => bytes.truncate(bytes.len() / 2),
                }
            }
            let recovered = recover(&bytes, first, &two_epochs(), hashes);
            let again = recover(&bytes[..recovered.kept_bytes as usize], first, &two_epochs(), hashes);
            prop_assert_eq!(&again.verdict, &Verdict::Whole);
            prop_assert_eq!(&again.entries, &recovered.entries);
            let mut end = 0;
            for entry in &recovered.entries {
                prop_assert_eq!(entry.offset, end);
                end += entry.length;
            }
            prop_assert_eq!(u64::from(end), recovered.kept_bytes);
        }

        #[test]
        fn no_name_panics(text: String) {
            let _ = parse_name(&text);
        }
    }
}
