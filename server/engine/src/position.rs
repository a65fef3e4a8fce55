//! Where something stands in a stream: `epoch-sequence`, as clients see it in `id:` and `Last-Event-ID`.
//!
//! A position is only text and numbers here; whether a stream can serve it is judged by [`crate::stream`].

use std::fmt;
use std::str::FromStr;

/// The alphabet of epochs: Crockford's base 32 in lower case, so that no digit is mistaken for a letter.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Names a log's birth or its last loss: 30 random bits, written as six base-32 characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(u32);

impl Epoch {
    /// The epoch of a stream that doesn't exist yet, written `0`.
    pub const NONE: Epoch = Epoch(u32::MAX);

    /// The epoch made of the low 30 bits of `bits`.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Epoch {
        Epoch(bits & 0x3fff_ffff)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Epoch::NONE {
            return f.write_str("0");
        }
        let mut text = [0u8; 6];
        for (index, byte) in text.iter_mut().enumerate() {
            *byte = ALPHABET[(self.0 >> (25 - 5 * index)) as usize & 31];
        }
        f.write_str(std::str::from_utf8(&text).expect("the alphabet is ASCII"))
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Epoch {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Epoch, PositionError> {
        if text == "0" {
            return Ok(Epoch::NONE);
        }
        if text.len() != 6 {
            return Err(PositionError);
        }
        text.bytes()
            .try_fold(0u32, |bits, byte| {
                let digit = ALPHABET.iter().position(|&letter| letter == byte)?;
                Some(bits << 5 | digit as u32)
            })
            .map(Epoch)
            .ok_or(PositionError)
    }
}

/// A place in a stream: after the event with this sequence, in this epoch of the stream's log.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// Which life of the log the sequence counts in.
    pub epoch: Epoch,
    /// How many events came before and with it; gapless within a stream, from 1.
    pub sequence: u64,
}

impl Position {
    /// `0-0`: before a stream exists.
    pub const ORIGIN: Position = Position { epoch: Epoch::NONE, sequence: 0 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.sequence)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Position, PositionError> {
        let (epoch, sequence) = text.split_once('-').ok_or(PositionError)?;
        let canonical =
            sequence.bytes().all(|byte| byte.is_ascii_digit()) && (sequence.len() == 1 || !sequence.starts_with('0'));
        if !canonical {
            return Err(PositionError);
        }
        let position = Position { epoch: epoch.parse()?, sequence: sequence.parse().map_err(|_| PositionError)? };
        match position.epoch == Epoch::NONE && position.sequence != 0 {
            true => Err(PositionError),
            false => Ok(position),
        }
    }
}

/// The text isn't a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a position of the form epoch-sequence")]
pub struct PositionError;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(bits: u32, sequence: u64) {
            let position = Position { epoch: Epoch::from_bits(bits), sequence };
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<Position>();
        }
    }

    #[test]
    fn only_the_canonical_text_is_a_position() {
        assert_eq!("0-0".parse(), Ok(Position::ORIGIN));
        for text in ["", "-", "0-1", "k3f9q2", "k3f9q2-", "k3f9q2-01", "k3f9q2-+1", "K3F9Q2-1", "k3f9q-1", "k3f9q2-1-1"]
        {
            assert_eq!(text.parse::<Position>(), Err(PositionError), "{text}");
        }
    }
}
