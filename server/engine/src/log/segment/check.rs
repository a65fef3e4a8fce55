//! Whether a sealed segment is whole, read in pieces, so that nobody needs all of it in memory.

use super::{Loss, Reason};
use crate::log::group::{self, GroupError};

/// Sees that a sealed segment is whole, in pieces: groups with the right checksums, whose sequences are gapless. What its
/// events say isn't looked at.
#[derive(Debug)]
pub struct Check {
    /// Bytes of the groups so far.
    offset: u64,
    next_sequence: u64,
}

impl Check {
    /// A check of the segment that begins with the event `first`.
    #[must_use]
    pub fn new(first: u64) -> Check {
        Check { offset: 0, next_sequence: first }
    }

    /// Looks at the whole groups at the start of `bytes`, which follow those of the last call, and returns how many bytes they
    /// are. What is left comes again, with more behind it.
    ///
    /// # Errors
    /// Where the segment is damaged.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<usize, Loss> {
        let mut at = 0;
        loop {
            let group = match group::read(&bytes[at..]) {
                Ok(group) => group,
                Err(GroupError::Empty | GroupError::Torn) => return Ok(at),
                Err(GroupError::Bad { offset, fault }) => {
                    return Err(self.loss(&bytes[at..], Reason::Bad { offset, fault }));
                }
            };
            if group.first != self.next_sequence {
                let reason = Reason::Sequence { expected: self.next_sequence, found: group.first };
                return Err(self.loss(&bytes[at..], reason));
            }
            self.next_sequence = group.last + 1;
            self.offset += group.bytes.len() as u64;
            at += group.bytes.len();
        }
    }

    /// The segment ends with `bytes`, which follow the groups of the last call.
    ///
    /// # Errors
    /// If they aren't whole groups.
    pub fn end(mut self, bytes: &[u8]) -> Result<(), Loss> {
        match self.feed(bytes)? {
            used if used == bytes.len() => Ok(()),
            used => Err(self.loss(&bytes[used..], Reason::Torn)),
        }
    }

    fn loss(&self, rest: &[u8], reason: Reason) -> Loss {
        Loss { offset: self.offset, bytes: rest.len() as u64, reason }
    }
}
