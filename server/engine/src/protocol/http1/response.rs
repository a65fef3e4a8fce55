//! A response's head, appended to the bytes that go out (RFC 9112, section 4).
//!
//! It refuses line ends inside a field: nothing that a value holds can begin another field or end the head.

use std::fmt::Display;

use crate::protocol::field::{self, is_text, is_token};

use super::Connection;

/// The interim answer to a request that [expects it](super::Request::expects_continue) (RFC 9110, section 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A response's head in the making. It is written as it is described, without an allocation besides that of `out`:
///
/// ```
/// # use fantail_engine::protocol::http1::{Connection, Head};
/// # let (mut out, date, body) = (Vec::new(), b"Sun, 06 Nov 1994 08:49:37 GMT", b"{}");
/// Head::new(&mut out, 200, date)
///     .field("Content-Type", "application/json")
///     .field("ETag", format_args!("\"{}\"", "f3a9"))
///     .content_length(body.len())
///     .connection(Connection::Close)
///     .end();
/// out.extend_from_slice(body);
/// # assert_eq!(String::from_utf8(out).unwrap(), "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
/// # Content-Type: application/json\r\nETag: \"f3a9\"\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
/// ```
#[must_use = "a head ends with end()"]
#[derive(Debug)]
pub struct Head<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> Head<'o> {
    /// Begins with the status line and `Date`, which is what the caller's clock says as RFC 9110, section 5.6.7, writes it.
    pub fn new(out: &'o mut Vec<u8>, status: u16, date: &[u8]) -> Head<'o> {
        debug_assert!((100..=999).contains(&status), "a status has three digits");
        field::append(out, format_args!("HTTP/1.1 {status} {}", reason(status)), is_text);
        out.extend_from_slice(b"\r\nDate: ");
        out.extend(date.iter().filter(|byte| is_text(**byte)));
        out.extend_from_slice(b"\r\n");
        Head { out }
    }

    /// Adds a field. Control bytes except the tab are left out of its value; in debug builds they panic.
    pub fn field(self, name: &'static str, value: impl Display) -> Head<'o> {
        debug_assert!(!name.is_empty() && name.bytes().all(is_token), "a field's name is a token");
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b": ");
        field::append(self.out, value, is_text);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Adds `Content-Length`. A 204 or a 1xx has none; a 304 and an answer to `HEAD` may (RFC 9110, section 8.6).
    pub fn content_length(self, bytes: usize) -> Head<'o> {
        self.field("Content-Length", bytes)
    }

    /// Adds what the client must be told about the connection, if anything.
    pub fn connection(self, connection: Connection) -> Head<'o> {
        match connection {
            Connection::Keep => self,
            Connection::KeepTold => self.field("Connection", "keep-alive"),
            Connection::Close => self.field("Connection", "close"),
        }
    }

    /// Ends the head; what is appended next is the body.
    pub fn end(self) {
        self.out.extend_from_slice(b"\r\n");
    }
}

/// The reason phrase of `status`; empty for one that Fantail never sends.
#[must_use]
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_told_only_what_it_would_not_assume() {
        let told = |connection| {
            let mut out = Vec::new();
            Head::new(&mut out, 204, b"now").connection(connection).end();
            String::from_utf8(out).expect("a head is text")
        };
        assert_eq!(told(Connection::Keep), "HTTP/1.1 204 No Content\r\nDate: now\r\n\r\n");
        assert!(told(Connection::KeepTold).ends_with("\r\nConnection: keep-alive\r\n\r\n"));
        assert!(told(Connection::Close).ends_with("\r\nConnection: close\r\n\r\n"));
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "a value holds bytes that it can't")]
    fn a_line_end_in_a_value_is_our_fault() {
        Head::new(&mut Vec::new(), 200, b"now").field("Location", "/a\r\nSet-Cookie: b").end();
    }

    #[test]
    fn our_own_heads_are_well_formed() {
        let mut out = Vec::new();
        Head::new(&mut out, 200, b"now\r\nX: y").field("A", "b\tc").field("Empty", "").content_length(3).end();
        let mut fields = [httparse::EMPTY_HEADER; 8];
        let mut response = httparse::Response::new(&mut fields);
        let parsed = response.parse(&out).expect("a head that others can read");
        assert_eq!(parsed, httparse::Status::Complete(out.len()));
        let names = response.headers.iter().map(|field| field.name).collect::<Vec<_>>();
        assert_eq!(names, ["Date", "A", "Empty", "Content-Length"]);
    }
}
