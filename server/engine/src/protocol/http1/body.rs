//! A request's body, taken off the wire piece by piece (RFC 9112, sections 6 and 7).
//!
//! Refused are bodies over the caller's bound, chunks whose lines end otherwise than with CRLF, sizes over 64 bits, and
//! extensions or trailers over their bounds; extensions and trailers mean nothing here and are dropped.
//!
//! Invariant: what is appended, consumed and refused depends on the bytes alone, not on how they were cut.

use crate::limits::{CHUNK_EXTENSION_BYTES_MAX, HEAD_BYTES_MAX};
use crate::protocol::field::{is_text, is_token};

use super::Framing;

/// Hexadecimal digits of a chunk's size, leading zeros included: those of 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;

/// Reads one body of known [`Framing`].
#[derive(Debug)]
pub struct BodyReader {
    state: State,
    /// Bytes that the body may still grow by.
    room: usize,
    /// Bytes that extensions may still take.
    extension_room: usize,
    /// Bytes that trailers may still take.
    trailer_room: usize,
}

/// What [`BodyReader::feed`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fed {
    /// How much of the input belongs to the body; the rest is the next request.
    pub consumed: usize,
    /// Whether the body has ended.
    pub done: bool,
}

/// What is expected next. A size is that of the chunk whose first line is being read.
#[derive(Debug, Clone, Copy)]
enum State {
    /// So many bytes of a body with a length.
    Content(usize),
    /// Digits of a chunk's size.
    Size { size: u64, digits: u8 },
    /// More space before the semicolon of an extension.
    SpaceAfterSize { size: u64 },
    /// The rest of the extensions.
    Extension { size: u64 },
    /// The line feed after a chunk's size.
    SizeEnd { size: u64 },
    /// So many bytes of a chunk.
    Chunk(usize),
    /// The carriage return after a chunk.
    ChunkReturn,
    /// The line feed after a chunk.
    ChunkEnd,
    /// A trailer or the empty line.
    TrailerStart,
    /// The rest of a trailer.
    Trailer,
    /// The line feed after a trailer.
    TrailerEnd,
    /// The line feed of the empty line.
    End,
    /// Nothing: the body has ended.
    Done,
    /// Nothing: the body was refused.
    Refused(BodyError),
}

impl BodyReader {
    /// A reader for a body of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] if the length says so already; then there is no need to read or to send a 100.
    pub fn new(framing: Framing, bytes_max: usize) -> Result<BodyReader, BodyError> {
        let state = match framing {
            Framing::Empty | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Content(within(length, bytes_max)?),
            Framing::Chunked => State::Size { size: 0, digits: 0 },
        };
        Ok(BodyReader {
            state,
            room: bytes_max,
            extension_room: CHUNK_EXTENSION_BYTES_MAX,
            trailer_room: HEAD_BYTES_MAX,
        })
    }

    /// Whether the body has ended. True from the start if there is none.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Appends to `out` what `input` holds of the body, and stops where the body ends.
    ///
    /// # Errors
    /// What is wrong with the body; the same again if fed again. The connection is to be closed, and `out` holds a part of
    /// a body that must not be used.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Fed, BodyError> {
        let mut rest = input;
        while let (false, Some((&first, others))) = (self.is_done(), rest.split_first()) {
            let next = match self.state {
                State::Content(left) => {
                    let left = copy(left, &mut rest, out);
                    Ok(if left == 0 { State::Done } else { State::Content(left) })
                }
                State::Chunk(left) => {
                    let left = copy(left, &mut rest, out);
                    Ok(if left == 0 { State::ChunkReturn } else { State::Chunk(left) })
                }
                _ => {
                    rest = others;
                    self.step(first)
                }
            };
            self.state = next.unwrap_or_else(State::Refused);
            if let State::Refused(error) = self.state {
                return Err(error);
            }
        }
        Ok(Fed { consumed: input.len() - rest.len(), done: self.is_done() })
    }

    /// The state after one byte of what stands around the chunks.
    fn step(&mut self, byte: u8) -> Result<State, BodyError> {
        let is_space = matches!(byte, b' ' | b'\t');
        match self.state {
            State::Size { size, digits } => match (byte as char).to_digit(16) {
                Some(_) if digits == SIZE_DIGITS_MAX => Err(BodyError::Chunk),
                Some(digit) => Ok(State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 }),
                None if digits == 0 => Err(BodyError::Chunk),
                None if byte == b'\r' => Ok(State::SizeEnd { size }),
                None if is_space => self.extend(State::SpaceAfterSize { size }),
                None if byte == b';' => self.extend(State::Extension { size }),
                None => Err(BodyError::Chunk),
            },
            State::SpaceAfterSize { .. } if is_space => self.extend(self.state),
            State::SpaceAfterSize { size } if byte == b';' => self.extend(State::Extension { size }),
            State::Extension { size } if byte == b'\r' => Ok(State::SizeEnd { size }),
            State::Extension { .. } if is_text(byte) => self.extend(self.state),
            State::SizeEnd { size: 0 } if byte == b'\n' => Ok(State::TrailerStart),
            State::SizeEnd { size } if byte == b'\n' => {
                let size = within(size, self.room)?;
                self.room -= size;
                Ok(State::Chunk(size))
            }
            State::ChunkReturn if byte == b'\r' => Ok(State::ChunkEnd),
            State::ChunkEnd if byte == b'\n' => Ok(State::Size { size: 0, digits: 0 }),
            State::TrailerStart if byte == b'\r' => Ok(State::End),
            State::TrailerStart if is_token(byte) => self.trail(State::Trailer),
            State::Trailer if byte == b'\r' => self.trail(State::TrailerEnd),
            State::Trailer if is_text(byte) => self.trail(State::Trailer),
            State::TrailerEnd if byte == b'\n' => self.trail(State::TrailerStart),
            State::End if byte == b'\n' => Ok(State::Done),
            State::SpaceAfterSize { .. }
            | State::Extension { .. }
            | State::SizeEnd { .. }
            | State::ChunkReturn
            | State::ChunkEnd => Err(BodyError::Chunk),
            State::TrailerStart | State::Trailer | State::TrailerEnd | State::End => Err(BodyError::Trailer),
            State::Content(_) | State::Chunk(_) | State::Done => Ok(self.state),
            State::Refused(error) => Err(error),
        }
    }

    fn extend(&mut self, next: State) -> Result<State, BodyError> {
        self.extension_room = self.extension_room.checked_sub(1).ok_or(BodyError::Extensions)?;
        Ok(next)
    }

    fn trail(&mut self, next: State) -> Result<State, BodyError> {
        self.trailer_room = self.trailer_room.checked_sub(1).ok_or(BodyError::Trailers)?;
        Ok(next)
    }
}

/// Moves up to `left` bytes from `rest` to `out` and says how many are still to come.
fn copy(left: usize, rest: &mut &[u8], out: &mut Vec<u8>) -> usize {
    let (content, others) = rest.split_at(left.min(rest.len()));
    out.extend_from_slice(content);
    *rest = others;
    left - content.len()
}

fn within(bytes: u64, bytes_max: usize) -> Result<usize, BodyError> {
    usize::try_from(bytes).ok().filter(|bytes| *bytes <= bytes_max).ok_or(BodyError::TooLarge)
}

/// Why a body is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The body is larger than the bound that the reader was given.
    #[error("the body is too large")]
    TooLarge,
    /// A chunk's size isn't a hexadecimal number of 64 bits, or its lines don't end with CRLF.
    #[error("a chunk of the body is malformed")]
    Chunk,
    /// The extensions of all chunks are longer than [`CHUNK_EXTENSION_BYTES_MAX`].
    #[error("the chunk extensions are longer than {CHUNK_EXTENSION_BYTES_MAX} bytes")]
    Extensions,
    /// A trailer is folded, holds a control byte, or doesn't end with CRLF.
    #[error("a trailer is malformed")]
    Trailer,
    /// The trailers are longer than [`HEAD_BYTES_MAX`].
    #[error("the trailers are longer than {HEAD_BYTES_MAX} bytes")]
    Trailers,
}

impl BodyError {
    /// The status that answers the error.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            BodyError::Chunk | BodyError::Extensions | BodyError::Trailer => 400,
            BodyError::TooLarge => 413,
            BodyError::Trailers => 431,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::fixture::{self, escape};
    use proptest::prelude::*;

    const FIXTURES: &str = include_str!("../../../../../fixtures/requests/bodies.txt");
    const BYTES_MAX: usize = 32;

    /// Feeds the pieces and says all that can be seen from outside.
    fn verdict<'p>(framing: Framing, pieces: impl IntoIterator<Item = &'p [u8]>) -> String {
        let mut out = Vec::new();
        let mut reader = match BodyReader::new(framing, BYTES_MAX) {
            Ok(reader) => reader,
            Err(error) => return format!("{} {error}", error.status()),
        };
        let mut rest = Vec::new();
        for piece in pieces {
            match reader.feed(piece, &mut out) {
                Ok(fed) => {
                    assert_eq!(fed.done, reader.is_done());
                    assert!(fed.done || fed.consumed == piece.len());
                    rest.extend_from_slice(&piece[fed.consumed..]);
                }
                Err(error) => {
                    assert_eq!(reader.feed(b"0\r\n\r\n", &mut out), Err(error), "a refusal is final");
                    return format!("{} {error}", error.status());
                }
            }
            assert!(out.len() <= BYTES_MAX);
        }
        let mut text = format!("{} \"{}\"", if reader.is_done() { "done" } else { "partial" }, escape(&out));
        if !rest.is_empty() {
            text += &format!(" rest={}", escape(&rest));
        }
        text
    }

    /// The first line of a case names the framing, the others are the body.
    fn framing(case: &fixture::Case) -> (Framing, Vec<u8>) {
        let (first, body) = case.lines.split_first().expect("a case says its framing");
        let framing = match str::from_utf8(first).expect("the framing is text").split_once(' ') {
            Some(("length", bytes)) => Framing::Length(bytes.parse().expect("a length is a number")),
            _ if first == b"chunked" => Framing::Chunked,
            _ => Framing::Empty,
        };
        (framing, body.concat())
    }

    #[test]
    fn bodies_get_their_verdict() {
        fixture::check(FIXTURES, |case| {
            let (framing, body) = framing(case);
            verdict(framing, [&body[..]])
        });
    }

    #[test]
    fn cuts_change_nothing() {
        for case in fixture::cases(FIXTURES) {
            let (framing, body) = framing(&case);
            let whole = verdict(framing, [&body[..]]);
            for cut in 0..=body.len() {
                let (one, two) = body.split_at(cut);
                assert_eq!(verdict(framing, [one, two]), whole, "{case} cut at {cut}");
            }
            assert_eq!(verdict(framing, body.chunks(1)), whole, "{case} byte by byte");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_no_cut_matters(
            pieces in prop::collection::vec("[0-9a-fA-F]{1,2}\r\n|\r\n|0\r\n\r\n|;x|\r|\n|[ -~]{0,9}|\\PC{0,4}", 0..12),
        ) {
            let whole = pieces.concat();
            let cut = pieces.iter().map(|piece| piece.as_bytes());
            prop_assert_eq!(verdict(Framing::Chunked, cut), verdict(Framing::Chunked, [whole.as_bytes()]));
        }

        #[test]
        fn random_bytes_do_not_panic(bytes: Vec<u8>, length: u64) {
            let _ = verdict(Framing::Chunked, [&bytes[..]]);
            let _ = verdict(Framing::Length(length), [&bytes[..]]);
        }

        #[test]
        fn what_is_chunked_is_read_back(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..9), 0..4)) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            let mut out = Vec::new();
            let fed = BodyReader::new(Framing::Chunked, BYTES_MAX).expect("no length").feed(&wire, &mut out);
            prop_assert_eq!(fed, Ok(Fed { consumed: wire.len(), done: true }));
            prop_assert_eq!(out, chunks.concat());
        }
    }
}
