//! What the server says to a follower besides the frames of a log, as `wire.md` has it.
//!
//! It refuses bytes in an id that browsers wouldn't send back everywhere. Invariant: every block ends with an empty line,
//! and everything else here with a line's end, so that any sequence of them is a valid stream.

use std::fmt::Display;

use crate::protocol::field;
use crate::protocol::http1::{Connection, Head};

/// The comment that goes out after silence. No empty line follows, since some clients show one as a message.
pub const HEARTBEAT: &[u8] = b":\n";

/// Appends the head of a stream's response. Its body ends when the connection does.
pub fn head(out: &mut Vec<u8>, date: &[u8]) {
    Head::new(out, 200, date)
        .field("Content-Type", "text/event-stream")
        .field("Cache-Control", "no-store, no-transform")
        .field("X-Accel-Buffering", "no")
        .field("Vary", "Accept")
        .connection(Connection::Close)
        .end();
}

/// Appends the line that says after how many milliseconds to come back. First in a stream, and alone a farewell.
pub fn retry(out: &mut Vec<u8>, ms: u32) {
    field::append(out, format_args!("retry: {ms}\n"), |_| true);
}

/// Appends the block that says where the follower stands: an id without a change.
///
/// `at` is a position, or several joined by `.`; other bytes than those of ids are left out, and panic in debug builds.
pub fn position(out: &mut Vec<u8>, at: impl Display) {
    out.extend_from_slice(b"id: ");
    field::append(out, at, is_id);
    out.extend_from_slice(b"\nevent: position\ndata: {}\n\n");
}

/// Appends the block that says why a cursor can't be served, and what the `earliest` position is that could be. It has no
/// id; `earliest` is restricted as in [`position`].
pub fn reset(out: &mut Vec<u8>, reason: Reset, earliest: impl Display) {
    out.extend_from_slice(b"event: reset\ndata: {\"reason\":\"");
    out.extend_from_slice(reason.name().as_bytes());
    out.extend_from_slice(b"\",\"earliest\":\"");
    field::append(out, earliest, is_id);
    out.extend_from_slice(b"\"}\n\n");
}

/// Why a cursor can't be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// The log no longer reaches back to it.
    Expired,
    /// Its epoch ended before it.
    Epoch,
    /// It lies beyond the last event.
    Ahead,
    /// It is none of this stream's positions.
    Unknown,
}

impl Reset {
    /// The reason as it is sent.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Reset::Expired => "expired",
            Reset::Epoch => "epoch",
            Reset::Ahead => "ahead",
            Reset::Unknown => "unknown",
        }
    }
}

/// Whether `byte` may stand in an id: what browsers send across origins in `Last-Event-ID` without a preflight.
fn is_id(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Position;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("a stream is text")
    }

    #[test]
    fn a_stream_opens_like_the_contract() {
        let opening = written(|out| {
            head(out, b"Sun, 06 Nov 1994 08:49:37 GMT");
            retry(out, 2000);
            position(out, "k3f9q2-1041");
        });
        assert_eq!(
            opening,
            "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/event-stream\r\n\
             Cache-Control: no-store, no-transform\r\nX-Accel-Buffering: no\r\nVary: Accept\r\nConnection: close\r\n\r\n\
             retry: 2000\nid: k3f9q2-1041\nevent: position\ndata: {}\n\n"
        );
    }

    #[test]
    fn a_reset_says_why_and_has_no_id() {
        for reason in [Reset::Expired, Reset::Epoch, Reset::Ahead, Reset::Unknown] {
            assert_eq!(
                written(|out| reset(out, reason, Position::ORIGIN)),
                format!("event: reset\ndata: {{\"reason\":\"{}\",\"earliest\":\"0-0\"}}\n\n", reason.name())
            );
        }
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "a value holds bytes that it can't")]
    fn an_id_with_a_line_end_is_our_fault() {
        position(&mut Vec::new(), "a\ndata: b");
    }
}
