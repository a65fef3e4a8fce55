//! A response's head as an origin sends it, read where it lies.
//!
//! Refused is what two readers could frame differently (two lengths, a length beside chunks, codings other than chunked), line
//! ends other than CRLF, and heads over the bounds of requests' heads. Invariant: there is one way in which the body's end is
//! known, and a response that has no body by its status or its request's method never gets one.

use std::fmt;
use std::mem::MaybeUninit;

use memchr::{memchr, memchr_iter};

use super::framing::{Connection, Facts, Framing, Version};
use super::passing;
use super::request::fields;
use super::{HeadError, Method};
use crate::limits::{HEAD_BYTES_MAX, HEAD_FIELDS_MAX};

/// What [`parse_answer`] made of the bytes so far.
#[derive(Debug, Clone, Copy)]
pub enum ParsedAnswer<'a> {
    /// A whole head.
    Complete {
        /// The head, borrowed from the bytes.
        answer: Answer<'a>,
        /// Where in the bytes the body begins, or the next response.
        length: usize,
    },
    /// A beginning, shorter than [`HEAD_BYTES_MAX`].
    Partial,
}

/// How the end of a response's body is known (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerBody {
    /// As that of a request's.
    Framed(Framing),
    /// By the end of the connection.
    UntilClose,
}

/// A response's head: a view into the bytes that were parsed.
#[derive(Clone, Copy)]
pub struct Answer<'a> {
    /// The status, 100 to 999.
    pub status: u16,
    /// The reason phrase; it may be empty.
    pub reason: &'a str,
    /// How the body's end is known.
    pub body: AnswerBody,
    /// What `Content-Length` says, whether or not a body follows.
    pub length: Option<u64>,
    /// Whether it carries an instruction to hold the connection or to go on elsewhere.
    pub is_instruction: bool,
    connection: Connection,
    /// The field lines, each with its CRLF, without the empty line.
    pub(super) lines: &'a [u8],
}

/// Reads the head of a response to a request by `method` at the start of `bytes`; what follows it isn't looked at.
///
/// # Errors
/// What is wrong with it. The connection is to be closed.
pub fn parse_answer(bytes: &[u8], method: Method) -> Result<ParsedAnswer<'_>, AnswerError> {
    let seen = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    // The parser would pass over empty lines, and where the fields begin would be another place.
    if matches!(seen.first(), Some(b'\r' | b'\n')) {
        return Err(AnswerError::Malformed);
    }
    for line_feed in memchr_iter(b'\n', seen) {
        if !seen[..line_feed].ends_with(b"\r") {
            return Err(AnswerError::Malformed);
        }
        if line_feed > 2 && seen[..line_feed - 1].ends_with(b"\r\n") {
            break;
        }
    }
    let mut scratch = [const { MaybeUninit::uninit() }; HEAD_FIELDS_MAX];
    let mut head = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut head, seen, &mut scratch) {
        Ok(httparse::Status::Complete(length)) => {
            Ok(ParsedAnswer::Complete { answer: Answer::read(&head, &seen[..length], method)?, length })
        }
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => Ok(ParsedAnswer::Partial),
        Ok(httparse::Status::Partial) => Err(AnswerError::Long),
        Err(httparse::Error::TooManyHeaders) => Err(AnswerError::Long),
        Err(_) => Err(AnswerError::Malformed),
    }
}

impl<'a> Answer<'a> {
    fn read(head: &httparse::Response<'_, 'a>, bytes: &'a [u8], method: Method) -> Result<Answer<'a>, AnswerError> {
        let (Some(status @ 100..), Some(minor)) = (head.code, head.version) else { return Err(AnswerError::Malformed) };
        let version = match minor {
            0 => Version::Http10,
            _ => Version::Http11,
        };
        let facts = Facts::gather(head.headers)?;
        let has_none = method == Method::Head || matches!(status, 100..200 | 204 | 304);
        let body = match facts.framing(version)? {
            _ if has_none => AnswerBody::Framed(Framing::Empty),
            Framing::Empty => AnswerBody::UntilClose,
            framing @ (Framing::Length(_) | Framing::Chunked) => AnswerBody::Framed(framing),
        };
        let connection = match body {
            AnswerBody::UntilClose => Connection::Close,
            AnswerBody::Framed(_) => facts.connection(version),
        };
        let line = memchr(b'\n', bytes).map_or(bytes.len(), |line_feed| line_feed + 1);
        let lines = bytes.get(line..bytes.len() - "\r\n".len()).unwrap_or_default();
        Ok(Answer {
            status,
            reason: head.reason.unwrap_or_default(),
            body,
            length: facts.length(),
            is_instruction: head.headers.iter().any(|field| passing::instructs(field.name.as_bytes(), field.value)),
            connection,
            lines,
        })
    }

    /// All fields in their order, each line's name and value.
    pub fn all(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        fields(self.lines)
    }

    /// The values of all fields named `name`, one for each line, in their order.
    pub fn fields<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.all().filter(move |(other, _)| other.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// Whether another request may follow on the connection, once the body has ended.
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        self.connection != Connection::Close
    }
}

impl fmt::Debug for Answer<'_> {
    /// Fields are left out: they may carry credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}", self.status, self.reason, self.body)
    }
}

/// Why a response's head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It isn't HTTP/1.1, or a line ends otherwise than with CRLF.
    #[error("the origin's response isn't HTTP/1.1")]
    Malformed,
    /// It is longer than [`HEAD_BYTES_MAX`], or has more fields than [`HEAD_FIELDS_MAX`].
    #[error("the head of the origin's response is longer than {HEAD_BYTES_MAX} bytes or {HEAD_FIELDS_MAX} fields")]
    Long,
    /// Where its body ends is told in two ways, or in one that isn't known here.
    #[error("the end of the origin's response can't be known: {0}")]
    Framing(HeadError),
}

impl From<HeadError> for AnswerError {
    fn from(error: HeadError) -> AnswerError {
        AnswerError::Framing(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::fixture::{self, escape};
    use proptest::prelude::*;

    const FIXTURES: &str = include_str!("../../../../../fixtures/responses/heads.txt");

    /// The input's first line names the request's method.
    fn split(case: &fixture::Case) -> (Method, Vec<u8>) {
        let (first, rest) = case.lines.split_first().expect("a case says the method");
        let method = match first.as_slice() {
            b"HEAD" => Method::Head,
            _ => Method::Get,
        };
        (method, rest.concat())
    }

    fn verdict(bytes: &[u8], method: Method) -> String {
        let (answer, length) = match parse_answer(bytes, method) {
            Err(error) => return format!("refused: {error}"),
            Ok(ParsedAnswer::Partial) => return "partial".to_owned(),
            Ok(ParsedAnswer::Complete { answer, length }) => (answer, length),
        };
        let mut text = format!("{answer:?} then={:?}", answer.connection);
        if answer.is_instruction {
            text += " instruction";
        }
        for value in answer.fields("x") {
            text += &format!(" x={}", escape(value));
        }
        if length < bytes.len() {
            text += &format!(" rest={}", escape(&bytes[length..]));
        }
        text
    }

    #[test]
    fn heads_get_their_verdict() {
        fixture::check(FIXTURES, |case| {
            let (method, bytes) = split(case);
            verdict(&bytes, method)
        });
    }

    #[test]
    fn a_cut_head_is_partial_or_judged_like_the_whole() {
        for case in fixture::cases(FIXTURES) {
            let (method, bytes) = split(&case);
            let whole = verdict(&bytes, method);
            for cut in 0..bytes.len() {
                let verdict = verdict(&bytes[..cut], method);
                let is_same =
                    whole.starts_with(&verdict) || verdict.starts_with("refused") == whole.starts_with("refused");
                assert!(verdict == "partial" || is_same, "{case} cut at {cut}: {verdict}");
            }
        }
    }

    #[test]
    fn bounds_are_exact() {
        let with_bytes = |bytes: usize| {
            let start = "HTTP/1.1 200 OK\r\nX: ";
            format!("{start}{}\r\n\r\n", "a".repeat(bytes - start.len() - 4))
        };
        assert!(parse_answer(with_bytes(HEAD_BYTES_MAX).as_bytes(), Method::Get).is_ok());
        assert_eq!(
            parse_answer(with_bytes(HEAD_BYTES_MAX + 1).as_bytes(), Method::Get).unwrap_err(),
            AnswerError::Long
        );
        let with_fields = |fields: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: a\r\n".repeat(fields));
        assert!(parse_answer(with_fields(HEAD_FIELDS_MAX).as_bytes(), Method::Get).is_ok());
        assert_eq!(
            parse_answer(with_fields(HEAD_FIELDS_MAX + 1).as_bytes(), Method::Get).unwrap_err(),
            AnswerError::Long
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, pieces in prop::collection::vec("HTTP/1.1 |200 OK\r\n|\r\n|A: b\r\n|[ -~]{0,4}", 0..9)) {
            let _ = verdict(&bytes, Method::Get);
            let _ = verdict(pieces.concat().as_bytes(), Method::Head);
        }
    }
}
