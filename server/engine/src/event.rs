//! An event's one encoding: the bytes that are on disk, in memory and on every socket.
//!
//! ```text
//! id: k3f9q2-1042\n                                    position: epoch-sequence, canonical
//! event: patch\n
//! data: [{"op":"add","path":"/messages/123",…}]\n      one line: neither \n nor \r in the data
//! \n
//! ```
//!
//! Version 1; the manifest carries it for the whole log. Invariant: [`decode`] accepts exactly what [`encode`] writes,
//! so that the bytes of a frame and its meaning can't drift apart. What the data say is no business of this file.

use std::io::Write;

use memchr::{memchr, memchr2};

use crate::position::Position;

/// What every frame begins with.
pub(crate) const ID: &[u8] = b"id: ";
const PATCH: &[u8] = b"\nevent: patch\ndata: ";
const END: &[u8] = b"\n\n";

/// Bytes of a position as text at most: six of the epoch, a hyphen, 20 digits.
const POSITION_BYTES_MAX: usize = 6 + 1 + 20;

/// Bytes that a frame has beyond its data at most: what to add when a frame's room is reckoned.
pub const FRAME_OVERHEAD_BYTES_MAX: usize = ID.len() + POSITION_BYTES_MAX + PATCH.len() + END.len();

/// Appends the frame of the event at `position` to `out`; `data` is a JSON Patch on one line.
///
/// # Panics
/// If `data` holds a line's end: the frame would end inside it.
pub fn encode(out: &mut Vec<u8>, position: Position, data: &[u8]) {
    assert!(memchr2(b'\n', b'\r', data).is_none(), "an event's data are one line");
    out.reserve(FRAME_OVERHEAD_BYTES_MAX + data.len());
    out.extend_from_slice(ID);
    write!(out, "{}-", position.epoch).expect("memory takes every write");
    push_decimal(out, position.sequence);
    out.extend_from_slice(PATCH);
    out.extend_from_slice(data);
    out.extend_from_slice(END);
}

/// Appends `number` in decimal digits, without the formatter: each event has one.
pub(crate) fn push_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut from = digits.len();
    loop {
        from -= 1;
        digits[from] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[from..]);
}

/// A frame, read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// The event's position.
    pub position: Position,
    /// What is after `data: `, without the line's end.
    pub data: &'a [u8],
    /// Bytes of the frame, up to and with the blank line.
    pub length: usize,
}

/// The frame at the start of `bytes`, or none: what is there isn't one, or isn't whole.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Frame<'_>> {
    let (position, after) = position(bytes)?;
    let rest = after.strip_prefix(PATCH)?;
    let data = &rest[..memchr2(b'\n', b'\r', rest)?];
    let length = bytes.len() - rest.len() + data.len() + END.len();
    rest[data.len()..].starts_with(END).then_some(Frame { position, data, length })
}

/// The sequence of the event whose frame begins at the start of `bytes`; none if no frame does, or not so much of it is there.
#[must_use]
pub fn sequence(bytes: &[u8]) -> Option<u64> {
    position(bytes).map(|(position, _)| position.sequence)
}

/// The position that the frame at the start of `bytes` has, and what follows it there.
fn position(bytes: &[u8]) -> Option<(Position, &[u8])> {
    let rest = bytes.strip_prefix(ID)?;
    let id = &rest[..memchr(b'\n', &rest[..rest.len().min(POSITION_BYTES_MAX + 1)])?];
    let position = std::str::from_utf8(id).ok()?.parse().ok()?;
    Some((position, &rest[id.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Epoch;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(bits: u32, sequence: u64, data in "[^\r\n]{0,200}", after: Vec<u8>) {
            let position = Position { epoch: Epoch::from_bits(bits), sequence };
            let mut bytes = Vec::new();
            encode(&mut bytes, position, data.as_bytes());
            let length = bytes.len();
            prop_assert!(length <= FRAME_OVERHEAD_BYTES_MAX + data.len());
            for cut in 0..length {
                prop_assert_eq!(decode(&bytes[..cut]), None);
            }
            bytes.extend(after);
            prop_assert_eq!(decode(&bytes), Some(Frame { position, data: data.as_bytes(), length }));
            prop_assert_eq!(super::sequence(&bytes), Some(sequence));
        }

        #[test]
        fn what_is_decoded_is_what_encode_writes(at in 0usize..70, byte: u8) {
            let mut bytes = Vec::new();
            encode(&mut bytes, Position { epoch: Epoch::from_bits(7), sequence: 1042 }, b"[{\"op\":\"remove\"}]");
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Some(frame) = decode(&bytes) {
                let mut again = Vec::new();
                encode(&mut again, frame.position, frame.data);
                prop_assert_eq!(again, &bytes[..frame.length]);
            }
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, mut framed: Vec<u8>) {
            prop_assert_eq!(decode(&bytes), None);
            framed.splice(0..0, *b"id: 000001-1\nevent: patch\ndata: ");
            let _ = decode(&framed);
        }
    }

    #[test]
    fn a_frame_is_the_text_of_the_wire_contract() {
        let mut bytes = Vec::new();
        encode(&mut bytes, "k3f9q2-1042".parse().expect("a position"), b"[]");
        assert_eq!(bytes, b"id: k3f9q2-1042\nevent: patch\ndata: []\n\n");
    }

    #[test]
    fn near_misses_are_no_frames() {
        for text in [
            "id:k3f9q2-1\nevent: patch\ndata: []\n\n",
            "id: k3f9q2-01\nevent: patch\ndata: []\n\n",
            "id: k3f9q2-1\r\nevent: patch\ndata: []\n\n",
            "id: k3f9q2-1\nevent: position\ndata: []\n\n",
            "id: k3f9q2-1\nevent: patch\ndata:[]\n\n",
            "id: k3f9q2-1\nevent: patch\ndata: [\r]\n\n",
            "id: k3f9q2-1\nevent: patch\ndata: []\ndata: []\n\n",
            "\nid: k3f9q2-1\nevent: patch\ndata: []\n\n",
        ] {
            assert_eq!(decode(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    #[should_panic = "one line"]
    fn data_of_two_lines_are_our_fault() {
        encode(&mut Vec::new(), Position::ORIGIN, b"[\n]");
    }
}
