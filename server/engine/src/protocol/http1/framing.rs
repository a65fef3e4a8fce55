//! What a request's fields say about the message itself: whom it is for, where its body ends, what becomes of the connection.
//!
//! Refused is whatever two readers could frame differently: two lengths, a length beside chunks, chunks that aren't the
//! last coding, two hosts. Invariant: there is at most one way in which the body's end is known.

use crate::protocol::field;

use super::HeadError;
use super::target::{Target, is_authority};

/// The version of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: no chunks, no 100, closed unless asked otherwise.
    Http10,
    /// HTTP/1.1
    Http11,
}

/// How the end of a request's body is known (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    Empty,
    /// `Content-Length`: so many bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// What becomes of a connection after an answer (RFC 9112, section 9.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// It stays open, as HTTP/1.1 assumes unless told otherwise.
    Keep,
    /// It stays open, and the HTTP/1.0 client that asked for it must be told.
    KeepTold,
    /// It is closed.
    Close,
}

/// What the fields say about the message itself rather than about its content.
pub(super) struct Facts<'a> {
    hosts: usize,
    host: &'a [u8],
    lengths: usize,
    length: u64,
    codings: Codings,
    closes: bool,
    keeps: bool,
    expects: bool,
    expects_unknown: bool,
}

impl<'a> Facts<'a> {
    pub(super) fn gather(fields: &[httparse::Header<'a>]) -> Result<Facts<'a>, HeadError> {
        let mut facts = Facts {
            hosts: 0,
            host: b"",
            lengths: 0,
            length: 0,
            codings: Codings::None,
            closes: false,
            keeps: false,
            expects: false,
            expects_unknown: false,
        };
        for field in fields {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            if is("host") {
                facts.hosts += 1;
                facts.host = field.value;
            } else if is("content-length") {
                facts.lengths += 1;
                facts.length = decimal(field.value)?;
            } else if is("transfer-encoding") {
                facts.codings = field::split(field.value, b',').fold(facts.codings, Codings::then);
            } else if is("connection") {
                facts.closes |= field::elements(field.value).any(|token| token.eq_ignore_ascii_case(b"close"));
                facts.keeps |= field::elements(field.value).any(|token| token.eq_ignore_ascii_case(b"keep-alive"));
            } else if is("expect") {
                let mut tokens = field::elements(field.value);
                facts.expects = true;
                facts.expects_unknown |= !tokens.all(|token| token.eq_ignore_ascii_case(b"100-continue"));
            }
        }
        Ok(facts)
    }

    pub(super) fn check_host(&self, version: Version, target: &Target<'_>) -> Result<(), HeadError> {
        let hosts_min = match version {
            Version::Http10 => 0,
            Version::Http11 => 1,
        };
        match (hosts_min..=1).contains(&self.hosts) && is_authority(self.host) {
            true if self.hosts == 0 || target.is_of(self.host) => Ok(()),
            true => Err(HeadError::OtherHost),
            false => Err(HeadError::Host),
        }
    }

    pub(super) fn framing(&self, version: Version) -> Result<Framing, HeadError> {
        match (self.lengths, self.codings) {
            (0, Codings::None) => Ok(Framing::Empty),
            (1, Codings::None) => Ok(Framing::Length(self.length)),
            (0, Codings::Chunked) if version == Version::Http11 => Ok(Framing::Chunked),
            (0, Codings::Unknown) if version == Version::Http11 => Err(HeadError::Coding),
            (0, Codings::Chunked | Codings::Unknown | Codings::Misplaced) => Err(HeadError::Chunked),
            (_, Codings::None) => Err(HeadError::Length),
            (_, Codings::Chunked | Codings::Unknown | Codings::Misplaced) => Err(HeadError::Ambiguous),
        }
    }

    pub(super) fn connection(&self, version: Version) -> Connection {
        match version {
            _ if self.closes => Connection::Close,
            Version::Http11 => Connection::Keep,
            Version::Http10 if self.keeps => Connection::KeepTold,
            Version::Http10 => Connection::Close,
        }
    }

    /// The length that is told, whether or not a body follows.
    pub(super) fn length(&self) -> Option<u64> {
        (self.lengths > 0).then_some(self.length)
    }

    pub(super) fn expects_continue(&self) -> Result<bool, HeadError> {
        match self.expects_unknown {
            true => Err(HeadError::Expectation),
            false => Ok(self.expects),
        }
    }
}

/// The transfer codings of a request, taken in one after the other (RFC 9112, section 6.1).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Codings {
    /// None named.
    None,
    /// `chunked` and nothing else.
    Chunked,
    /// One that Fantail doesn't know; chunked may follow.
    Unknown,
    /// Something after chunked, or an empty element.
    Misplaced,
}

impl Codings {
    fn then(self, coding: &[u8]) -> Codings {
        let is_chunked = coding.eq_ignore_ascii_case(b"chunked");
        match self {
            _ if coding.is_empty() => Codings::Misplaced,
            Codings::None if is_chunked => Codings::Chunked,
            Codings::None | Codings::Unknown => Codings::Unknown,
            Codings::Chunked | Codings::Misplaced => Codings::Misplaced,
        }
    }
}

fn decimal(value: &[u8]) -> Result<u64, HeadError> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(HeadError::Length);
    }
    str::from_utf8(value).ok().and_then(|digits| digits.parse().ok()).ok_or(HeadError::Length)
}
