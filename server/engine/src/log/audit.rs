//! An audit: what of a stream's files is wrong, as functions over their bytes.
//!
//! Nothing here mends. Recovery takes what it can use and cuts or passes over the rest; an audit says of every byte whether
//! it is what the log makes it. Invariant: in files that nobody appends to, every changed, missing or added byte is found,
//! but for the hashes of an event that changed nothing in an index that isn't sealed: its frame doesn't say which document
//! it was about.

use memchr::memchr;

use crate::limits::KEY_LINE_BYTES_MAX;
use crate::log::checkpoint::{Checkpoint, CheckpointError};
use crate::log::index::{self, Entry, Form};
use crate::log::keys::{self, Record};
use crate::log::manifest::{Epochs, ManifestError};
use crate::log::segment::{Reason, Verdict};
use crate::position::Position;

/// Whether a file may be appended to while it is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// By nobody.
    Settled,
    /// By a server: its last bytes may be the beginning of what is being written.
    Growing,
}

/// The first thing that is wrong with a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Bytes from the file's start up to which it is right.
    pub offset: u64,
    /// What is wrong there.
    pub wrong: Wrong,
}

/// What is wrong with a file.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Wrong {
    /// A segment has something else than the next group.
    #[error("{0}")]
    Group(Reason),
    /// A segment doesn't begin with the event after the last one of the segment before, or after a checkpoint's.
    #[error("events are missing: the log goes on with event {found} instead of {expected}")]
    Gap {
        /// The first event that is missing.
        expected: u64,
        /// The event that is there.
        found: u64,
    },
    /// An index has another entry than its segment has an event.
    #[error("the entry of event {0} isn't what the segment says")]
    Entry(u64),
    /// An index ends before the entry of this event.
    #[error("the entries from event {0} on are missing")]
    Short(u64),
    /// An index goes on behind the segment's last event.
    #[error("there are entries of events that the segment doesn't have")]
    Surplus,
    /// The postings or the footer of a sealed index are missing or wrong.
    #[error("the postings aren't those of the entries")]
    Postings,
    /// A line of idempotency keys is torn or damaged, or out of order.
    #[error("a line is torn or damaged")]
    Key,
    /// An idempotency key is of an event that the segment doesn't have.
    #[error("a key is of event {0}, which the segment doesn't have")]
    KeyOfNothing(u64),
    /// A checkpoint isn't whole.
    #[error("{0}")]
    Checkpoint(CheckpointError),
    /// A checkpoint is of another position than its name and the log say.
    #[error("it is of position {0}, which isn't one of this log and its name")]
    Place(Position),
    /// The manifest can't be believed.
    #[error("{0}")]
    Manifest(ManifestError),
}

/// What is wrong with a segment, given what recovery makes of its bytes. For one that others follow, that is
/// [`Verdict::sealed`].
#[must_use]
pub fn segment(verdict: &Verdict, ending: Ending) -> Option<Finding> {
    match (verdict, ending) {
        (Verdict::Whole, Ending::Settled | Ending::Growing) => None,
        (Verdict::Cut(loss), Ending::Growing) if loss.reason == Reason::Torn => None,
        (Verdict::Cut(loss) | Verdict::Damage(loss), Ending::Settled | Ending::Growing) => {
            Some(Finding { offset: loss.offset, wrong: Wrong::Group(loss.reason) })
        }
    }
}

/// What is wrong with the index `found` of a segment that begins with the event `first` and has these `entries`.
///
/// An entry without hashes, of an event that changed nothing, may have any in `found`. An index that is appended to is
/// compared as far as both reach: a group and its entries are written side by side. Memory: the index once more.
#[must_use]
pub fn index(found: &[u8], first: u64, entries: &[Entry], form: Form, ending: Ending) -> Option<Finding> {
    let mut entries = entries.to_vec();
    for (entry, bytes) in entries.iter_mut().zip(found.as_chunks::<{ Entry::BYTES }>().0) {
        if (entry.collection, entry.document) == (0, 0) {
            let Entry { collection, document, .. } = Entry::decode(bytes);
            *entry = Entry { collection, document, ..*entry };
        }
    }
    let entries_bytes = entries.len() * Entry::BYTES;
    let expected = index::encode(&entries, form);
    let differs = found.iter().zip(&expected).position(|(found, expected)| found != expected);
    let offset = match (differs, ending) {
        (Some(at), Ending::Settled | Ending::Growing) => at,
        (None, Ending::Growing) => return None,
        (None, Ending::Settled) if found.len() == expected.len() => return None,
        (None, Ending::Settled) => found.len().min(expected.len()),
    };
    let sequence = first + (offset / Entry::BYTES) as u64;
    let wrong = match form {
        Form::Open | Form::Sealed if offset < entries_bytes && offset == found.len() => Wrong::Short(sequence),
        Form::Open | Form::Sealed if offset < entries_bytes => Wrong::Entry(sequence),
        Form::Open => Wrong::Surplus,
        Form::Sealed => Wrong::Postings,
    };
    Some(Finding { offset: offset as u64, wrong })
}

/// What is wrong with the idempotency keys `found` of a segment that has the events from `first` to `last`.
///
/// Keys are durable before their events, so a file that is appended to may have some of events that aren't there yet.
#[must_use]
pub fn keys(found: &[u8], first: u64, last: u64, ending: Ending) -> Option<Finding> {
    let last = match ending {
        Ending::Settled => last,
        Ending::Growing => u64::MAX,
    };
    let mut records = keys::read(found, last);
    let mut offset = records.kept_bytes();
    while let Some(Record { sequence, .. }) = records.next() {
        if sequence < first {
            return Some(Finding { offset, wrong: Wrong::KeyOfNothing(sequence) });
        }
        offset = records.kept_bytes();
    }
    let rest = &found[offset as usize..];
    let end = memchr(b'\n', &rest[..rest.len().min(KEY_LINE_BYTES_MAX)]);
    match end.and_then(|end| Record::decode(&rest[..=end])) {
        _ if rest.is_empty() => None,
        None if end.is_none() && rest.len() < KEY_LINE_BYTES_MAX && ending == Ending::Growing => None,
        Some(record) if record.sequence > last => Some(Finding { offset, wrong: Wrong::KeyOfNothing(record.sequence) }),
        Some(_) | None => Some(Finding { offset, wrong: Wrong::Key }),
    }
}

/// What is wrong with a whole checkpoint whose name has this `number`, of a log whose last event is `last`.
#[must_use]
pub fn checkpoint(checkpoint: &Checkpoint, number: u64, epochs: &Epochs, last: u64) -> Option<Finding> {
    let Position { epoch, sequence } = checkpoint.position;
    let is_right = sequence == number && sequence <= last && epoch == epochs.at(sequence);
    let wrong = Wrong::Place(checkpoint.position);
    (!is_right).then_some(Finding { offset: checkpoint.closing.start, wrong })
}

impl From<CheckpointError> for Finding {
    fn from(error: CheckpointError) -> Finding {
        let offset = match error {
            CheckpointError::Newer(_) | CheckpointError::End | CheckpointError::Checksum => 0,
            CheckpointError::Event { offset } | CheckpointError::Extent { offset } => offset,
        };
        Finding { offset, wrong: Wrong::Checkpoint(error) }
    }
}

impl From<ManifestError> for Finding {
    fn from(error: ManifestError) -> Finding {
        Finding { offset: 0, wrong: Wrong::Manifest(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::segment::Loss;
    use crate::topic::Place;
    use proptest::prelude::*;

    const BOTH: [Ending; 2] = [Ending::Settled, Ending::Growing];

    /// Extents next to each other.
    fn entries(hashes: &[(u64, u64)]) -> Vec<Entry> {
        (0..)
            .zip(hashes)
            .map(|(at, &(collection, document))| Entry { offset: 40 * at, length: 40, collection, document })
            .collect()
    }

    fn record(sequence: u64) -> Vec<u8> {
        let place = Place::parse("/messages/1").expect("a place");
        let record = Record { key: 7, fingerprint: 8, sequence, unix_ms: 9, status: 201, place };
        let mut line = Vec::new();
        record.encode(&mut line);
        line
    }

    #[test]
    fn a_torn_tail_is_no_fault_while_it_grows() {
        let loss = |reason| Loss { offset: 5, bytes: 1, reason };
        let torn = Verdict::Cut(loss(Reason::Torn));
        assert_eq!(segment(&torn, Ending::Growing), None);
        assert_eq!(segment(&torn, Ending::Settled).map(|finding| finding.offset), Some(5));
        for ending in BOTH {
            assert_eq!(segment(&Verdict::Whole, ending), None);
            assert!(segment(&torn.clone().sealed(), ending).is_some());
            assert!(segment(&Verdict::Cut(loss(Reason::Large)), ending).is_some());
        }
    }

    #[test]
    fn an_index_that_grows_is_compared_as_far_as_both_reach() {
        let all = entries(&[(1, 2), (1, 3), (1, 2)]);
        let bytes = index::encode(&all, Form::Open);
        for cut in 0..=bytes.len() {
            let finding = index(&bytes[..cut], 9, &all, Form::Open, Ending::Settled);
            let short = Finding { offset: cut as u64, wrong: Wrong::Short(9 + cut as u64 / 24) };
            assert_eq!(finding, (cut < bytes.len()).then_some(short));
            assert_eq!(index(&bytes[..cut], 9, &all, Form::Open, Ending::Growing), None);
            for known in 0..=all.len() {
                assert_eq!(index(&bytes[..cut], 9, &all[..known], Form::Open, Ending::Growing), None);
            }
        }
        assert_eq!(
            index(&bytes, 9, &all[..2], Form::Open, Ending::Settled),
            Some(Finding { offset: 48, wrong: Wrong::Surplus })
        );
        assert_eq!(
            index(&bytes, 9, &all, Form::Sealed, Ending::Settled),
            Some(Finding { offset: 72, wrong: Wrong::Postings })
        );
        // The server may be sealing it.
        let sealed = index::encode(&all, Form::Sealed);
        assert_eq!(index(&sealed[..80], 9, &all, Form::Open, Ending::Growing), None);
    }

    #[test]
    fn an_event_that_changed_nothing_may_be_about_anything() {
        let (known, other) = (entries(&[(1, 2), (0, 0)]), entries(&[(1, 2), (5, 6)]));
        for form in [Form::Open, Form::Sealed] {
            for found in [&known, &other] {
                assert_eq!(index(&index::encode(found, form), 1, &known, form, Ending::Settled), None);
            }
            let moved = entries(&[(1, 2), (1, 2), (5, 6)]).split_off(1);
            assert!(index(&index::encode(&moved, form), 1, &known, form, Ending::Settled).is_some());
        }
    }

    #[test]
    fn keys_are_of_the_segments_events() {
        let lines = [record(5), record(7)].concat();
        let line = lines.len() as u64 / 2;
        let at = |offset, wrong| Some(Finding { offset, wrong });
        for ending in BOTH {
            assert_eq!(keys(b"", 5, 4, ending), None);
            assert_eq!(keys(&lines, 5, 7, ending), None);
            assert_eq!(keys(&lines, 6, 7, ending), at(0, Wrong::KeyOfNothing(5)));
            assert_eq!(keys(&[record(7), record(5)].concat(), 5, 7, ending), at(line, Wrong::Key));
            assert_eq!(keys(&[&lines[..], b"x\n"].concat(), 5, 7, ending), at(2 * line, Wrong::Key));
        }
        assert_eq!(keys(&lines, 5, 6, Ending::Settled), at(line, Wrong::KeyOfNothing(7)));
        assert_eq!(keys(&lines, 5, 6, Ending::Growing), None);
        assert_eq!(keys(&lines[..lines.len() - 1], 5, 7, Ending::Settled), at(line, Wrong::Key));
        assert_eq!(keys(&lines[..lines.len() - 1], 5, 7, Ending::Growing), None);
    }

    proptest! {
        #[test]
        fn every_flipped_bit_is_found(
            hashes in prop::collection::vec((1u64..4, 1u64..9), 1..20),
            at: prop::sample::Index,
            bit in 0u8..8,
        ) {
            let all = entries(&hashes);
            for form in [Form::Open, Form::Sealed] {
                let mut bytes = index::encode(&all, form);
                prop_assert_eq!(index(&bytes, 1, &all, form, Ending::Settled), None);
                let at = at.index(bytes.len());
                bytes[at] ^= 1u8 << bit;
                let finding = index(&bytes, 1, &all, form, Ending::Settled).expect("a finding");
                prop_assert_eq!(finding.offset, at as u64);
            }
            let mut lines = [record(1), record(2), record(3)].concat();
            let at = at.index(lines.len());
            lines[at] ^= 1u8 << bit;
            let finding = keys(&lines, 1, 3, Ending::Settled).expect("a finding");
            prop_assert_eq!(finding.offset, (at / record(1).len() * record(1).len()) as u64);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, first: u32, last: u32, count in 0usize..9) {
            let (first, last) = (u64::from(first), u64::from(last));
            for ending in BOTH {
                let _ = keys(&bytes, first, last, ending);
                for form in [Form::Open, Form::Sealed] {
                    let _ = index(&bytes, first, &entries(&vec![(0, 0); count]), form, ending);
                }
            }
        }
    }
}
