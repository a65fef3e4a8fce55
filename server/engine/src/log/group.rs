//! A group: the frames that one commit makes durable together, and the comment line that closes them.
//!
//! ```text
//! id: k3f9q2-1041\nevent: patch\ndata: […]\n\n          ┐ frames, one after the other, sequences gapless,
//! id: k3f9q2-1042\nevent: patch\ndata: […]\n\n          ┘ at least one
//! :c 1041-1042 1795218566123 9f2ac01b\n                 first-last, time of the commit in Unix ms, CRC32C
//! └──────── covered by the CRC ─────┘
//! ```
//!
//! The CRC covers the group from its first byte through the space before the CRC. No blank line follows: the next group
//! begins at once. Version 1; the manifest carries it. Invariants: a data line holds no line's end, so a group ends at
//! its first line that begins with `:c `; the closing line belongs to the extent of the frame before it; all frames are
//! of one epoch, because epochs are opened between commits.

use memchr::{memchr, memmem, memrchr};

use crate::event::{self, Frame, push_decimal};
use crate::log::line;
use crate::position::{Epoch, Position};

const CLOSE: &[u8] = b":c ";

/// Bytes of a closing line at most: what to add when a group's room is reckoned.
pub const CLOSE_BYTES_MAX: usize = CLOSE.len() + 20 + 1 + 20 + 1 + 20 + 1 + line::CHECKSUM_BYTES;

/// Closes a group: appends the line with the sequences of its `first` and `last` event and the time of its commit.
///
/// `group` holds the frames of exactly these events and nothing before them.
///
/// # Panics
/// If there is no event, or `last` is before `first`.
pub fn seal(group: &mut Vec<u8>, first: u64, last: u64, unix_ms: u64) {
    assert!(!group.is_empty() && 0 < first && first <= last, "a group has at least one event");
    group.reserve(CLOSE_BYTES_MAX);
    group.extend_from_slice(CLOSE);
    push_decimal(group, first);
    group.push(b'-');
    push_decimal(group, last);
    group.push(b' ');
    push_decimal(group, unix_ms);
    group.push(b' ');
    let crc = crc32c::crc32c(group);
    line::push_checksum(group, crc);
}

/// A whole group, as [`read`] found it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Group<'a> {
    /// All its bytes, with the closing line.
    pub bytes: &'a [u8],
    /// The epoch of all its events.
    pub epoch: Epoch,
    /// Sequence of its first event.
    pub first: u64,
    /// Sequence of its last event.
    pub last: u64,
    /// When it was committed, in milliseconds since 1970.
    pub unix_ms: u64,
}

impl<'a> Group<'a> {
    /// The frames, each with its offset in the group and the length of its extent: up to the next frame, so that the
    /// last one's includes the closing line.
    pub fn frames(&self) -> impl Iterator<Item = (usize, usize, Frame<'a>)> + use<'a> {
        let (bytes, last, mut at) = (self.bytes, self.last, 0);
        std::iter::from_fn(move || {
            let frame = event::decode(&bytes[at..])?;
            let offset = at;
            let length = if frame.position.sequence == last { bytes.len() - at } else { frame.length };
            at += length;
            Some((offset, length, frame))
        })
    }
}

/// Reads the group at the start of `bytes`: frames decode, they are of one epoch, sequences are gapless, the closing
/// line names them and its checksum is right. One pass, no allocation; no more than the group is looked at if it is
/// whole.
///
/// # Errors
/// There is nothing, or not all of a group yet, or something that no further bytes could make a group.
pub fn read(bytes: &[u8]) -> Result<Group<'_>, GroupError> {
    if bytes.is_empty() {
        return Err(GroupError::Empty);
    }
    let run = Run::read(bytes);
    let rest = &bytes[run.length..];
    let bad = |fault| GroupError::Bad { offset: run.length, fault };
    let Some(close) = Close::read(rest) else {
        return Err(match fault(rest) {
            None => GroupError::Torn,
            Some(fault) => bad(fault),
        });
    };
    let group = &bytes[..run.length + close.length];
    if line::checked(group).is_none() {
        return Err(bad(Fault::Checksum));
    }
    if (run.first, run.last) != (close.first, close.last) || run.first == 0 {
        return Err(bad(Fault::Span));
    }
    Ok(Group { bytes: group, epoch: run.epoch, first: run.first, last: run.last, unix_ms: close.unix_ms })
}

/// When the group was committed whose closing line ends `bytes`, in milliseconds since 1970; none if no such line does. Nothing
/// is verified.
#[must_use]
pub fn closed_at(bytes: &[u8]) -> Option<u64> {
    let text = bytes.strip_suffix(b"\n")?;
    let from = text.len().saturating_sub(CLOSE_BYTES_MAX);
    let line = memrchr(b'\n', &text[from..]).map(|at| from + at + 1)?;
    Close::read(&bytes[line..]).map(|close| close.unix_ms)
}

/// What is wrong with `rest`, where neither a frame that continues the run nor a closing line is; none if it could
/// become one of them.
fn fault(rest: &[u8]) -> Option<Fault> {
    if event::decode(rest).is_some() {
        return Some(Fault::Sequence);
    }
    if rest.starts_with(CLOSE) {
        let line = &rest[..rest.len().min(CLOSE_BYTES_MAX)];
        return (line.len() == CLOSE_BYTES_MAX || memchr(b'\n', line).is_some()).then_some(Fault::Close);
    }
    let later = memmem::find(rest, b"\n:c ")? + 1;
    memchr(b'\n', &rest[later..]).map(|_| Fault::Frame)
}

/// Frames in a row, of one epoch, whose sequences are gapless.
#[derive(Clone, Copy)]
pub(super) struct Run {
    epoch: Epoch,
    /// Sequence of the first frame; 0 without one.
    pub(super) first: u64,
    /// Sequence of the last frame; 0 without one.
    pub(super) last: u64,
    /// Bytes of all frames.
    pub(super) length: usize,
}

impl Run {
    /// The longest run at the start of `bytes`, possibly none.
    pub(super) fn read(bytes: &[u8]) -> Run {
        let Some(frame) = event::decode(bytes) else { return Run { epoch: Epoch::NONE, first: 0, last: 0, length: 0 } };
        let Position { epoch, sequence: first } = frame.position;
        let mut run = Run { epoch, first, last: first, length: frame.length };
        while let Some(frame) = event::decode(&bytes[run.length..])
            && frame.position.epoch == epoch
            && Some(frame.position.sequence) == run.last.checked_add(1)
        {
            run.last += 1;
            run.length += frame.length;
        }
        run
    }
}

/// What a closing line says; its checksum isn't looked at here.
#[derive(Clone, Copy)]
pub(super) struct Close {
    /// Sequence of the first event that it closes.
    pub(super) first: u64,
    last: u64,
    unix_ms: u64,
    length: usize,
}

impl Close {
    /// The closing line at the start of `bytes`, if it is whole and well-formed.
    pub(super) fn read(bytes: &[u8]) -> Option<Close> {
        let rest = bytes.strip_prefix(CLOSE)?;
        let text = &rest[..memchr(b'\n', &rest[..rest.len().min(CLOSE_BYTES_MAX)])?];
        let mut fields = text.split(|&byte| byte == b' ');
        let mut span = fields.next()?.split(|&byte| byte == b'-');
        let first = line::decimal(span.next()?)?;
        let last = line::decimal(span.next()?)?;
        let unix_ms = line::decimal(fields.next()?)?;
        line::hex(fields.next()?, 8)?;
        (span.next().is_none() && fields.next().is_none()).then(|| Close {
            first,
            last,
            unix_ms,
            length: CLOSE.len() + text.len() + 1,
        })
    }
}

/// Why there is no group at the start of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// No byte at all: the log ends here.
    #[error("there is nothing")]
    Empty,
    /// What is there could be the beginning of a group, but it isn't whole.
    #[error("a group isn't whole")]
    Torn,
    /// What is there is no group, whatever may follow.
    #[error("a group is bad {offset} bytes from its start: {fault}")]
    Bad {
        /// Bytes from the group's start up to which frames were read.
        offset: usize,
        /// What is wrong there.
        fault: Fault,
    },
}

/// What makes a group bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Neither a frame nor a closing line.
    #[error("neither a frame nor a closing line")]
    Frame,
    /// A frame that doesn't continue the sequence of the one before it, or is of another epoch.
    #[error("a frame doesn't continue the one before it")]
    Sequence,
    /// A closing line that isn't well-formed.
    #[error("a malformed closing line")]
    Close,
    /// A closing line that names other events than the frames before it, or has none before it.
    #[error("the closing line names other events")]
    Span,
    /// The checksum isn't that of the bytes.
    #[error("the checksum is wrong")]
    Checksum,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in crate::log) fn group(epoch: u32, first: u64, data: &[&str], unix_ms: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (sequence, data) in (first..).zip(data) {
            event::encode(&mut bytes, Position { epoch: Epoch::from_bits(epoch), sequence }, data.as_bytes());
        }
        seal(&mut bytes, first, first + data.len() as u64 - 1, unix_ms);
        bytes
    }

    #[test]
    fn a_group_is_read_back_with_its_extents() {
        let bytes = group(1, 41, &["[]", "[{\"op\":\"remove\",\"path\":\"/a/b\"}]"], 1_795_218_566_123);
        let read = read(&bytes).expect("a whole group");
        assert_eq!((read.first, read.last, read.unix_ms), (41, 42, 1_795_218_566_123));
        assert_eq!(closed_at(&bytes), Some(1_795_218_566_123));
        assert_eq!((closed_at(&bytes[..bytes.len() - 1]), closed_at(b""), closed_at(b"id: 1\n")), (None, None, None));
        let extents: Vec<_> = read.frames().map(|(offset, length, frame)| (offset, length, frame.data.len())).collect();
        assert_eq!(extents, [(0, 37, 2), (37, bytes.len() - 37, 31)]);
    }

    #[test]
    fn cut_anywhere_it_is_torn_and_nothing_else() {
        let bytes = group(1, 41, &["[]", "[\":c 1-2 3 00000000\"]"], 5);
        assert_eq!(read(b""), Err(GroupError::Empty));
        for cut in 1..bytes.len() {
            assert_eq!(read(&bytes[..cut]), Err(GroupError::Torn), "cut at {cut}");
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let bytes = group(1, 41, &["[]", "[1]"], 5);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(read(&flipped).is_err(), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn each_fault_has_its_name() {
        let whole = group(1, 41, &["[]", "[]"], 5);
        let (frames, close) = whole.split_at(2 * 37);
        let fault = |bytes: &[u8]| match read(bytes) {
            Err(GroupError::Bad { offset, fault }) => Some((offset, fault)),
            Ok(_) | Err(GroupError::Empty | GroupError::Torn) => None,
        };
        let closed = |first, last| {
            let mut bytes = frames.to_vec();
            seal(&mut bytes, first, last, 5);
            bytes
        };
        assert_eq!(fault(&closed(41, 43)), Some((74, Fault::Span)));
        assert_eq!(fault(&closed(40, 42)), Some((74, Fault::Span)));
        assert_eq!(fault(close), Some((0, Fault::Checksum)));
        assert_eq!(fault(&[&frames[..37], &frames[..37], close].concat()), Some((37, Fault::Sequence)));
        assert_eq!(fault(&[frames, b"data: x\n\n", close].concat()), Some((74, Fault::Frame)));
        assert_eq!(fault(&[frames, b":c 41-42\n"].concat()), Some((74, Fault::Close)));
        assert_eq!(fault(&[frames, b":c ", &[b'1'; 100][..]].concat()), Some((74, Fault::Close)));
        let mut zero = Vec::new();
        event::encode(&mut zero, Position { epoch: Epoch::from_bits(1), sequence: 0 }, b"[]");
        zero.extend_from_slice(b":c 0-0 5 ");
        let crc = crc32c::crc32c(&zero);
        line::push_checksum(&mut zero, crc);
        assert_eq!(fault(&zero), Some((36, Fault::Span)));
    }

    proptest! {
        #[test]
        fn groups_in_a_row_are_read_one_by_one(
            epoch: u32,
            first in 1..u64::MAX - 10,
            unix_ms: u64,
            data in prop::collection::vec("[^\r\n]{0,40}", 1..6),
            after: Vec<u8>,
        ) {
            let data: Vec<&str> = data.iter().map(String::as_str).collect();
            let mut bytes = group(epoch, first, &data, unix_ms);
            let length = bytes.len();
            bytes.extend(after);
            let read = read(&bytes).expect("a whole group");
            prop_assert_eq!((read.bytes.len(), read.first, read.unix_ms), (length, first, unix_ms));
            let mut end = 0;
            for ((offset, length, frame), (sequence, data)) in read.frames().zip((first..).zip(&data)) {
                prop_assert_eq!((offset, frame.position.sequence, frame.data), (end, sequence, data.as_bytes()));
                end += length;
            }
            prop_assert_eq!(end, length);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, pieces in prop::collection::vec(0usize..6, 0..12)) {
            prop_assert!(read(&bytes).is_err());
            let pieces: Vec<&[u8]> = pieces.iter().map(|&piece| [
                &b"id: 000001-1\nevent: patch\ndata: []\n\n"[..],
                b"id: 000001-18446744073709551615\nevent: patch\ndata: \n\n",
                b":c 1-1 5 00000000\n", b":c ", b"\n", b"id: ",
            ][piece]).collect();
            let _ = read(&pieces.concat());
        }
    }
}
