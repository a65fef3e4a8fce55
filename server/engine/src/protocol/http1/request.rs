//! A request's head, read where it lies: the request line and the fields.
//!
//! Refused are heads over the bounds of `limits.rs` and all that could be read in two ways: line ends other than CRLF,
//! folded fields, space around names, and what `target.rs` and `framing.rs` refuse.
//!
//! Invariant: the verdict is that of the first byte at fault. So a head that arrives in pieces is refused for the same
//! reason as one that arrives whole, and no later byte can change a verdict.

use std::fmt;
use std::mem::MaybeUninit;

use memchr::{memchr, memchr_iter};

use crate::limits::{EMPTY_LINES_MAX, HEAD_BYTES_MAX, HEAD_FIELDS_MAX, TARGET_BYTES_MAX};
use crate::protocol::field;

use super::framing::{Connection, Facts, Framing, Version};
use super::target::split_target;

/// What [`parse`] made of the bytes so far.
#[derive(Debug, Clone, Copy)]
pub enum Parsed<'a> {
    /// A whole head.
    Complete {
        /// The head, borrowed from the bytes.
        request: Request<'a>,
        /// Where in the bytes the body begins, or the next request if there is no body.
        length: usize,
    },
    /// A beginning to which more bytes must be read. It is shorter than [`HEAD_BYTES_MAX`], so a buffer of that size
    /// always has room for them.
    Partial,
}

/// Reads the head of a request (RFC 9112, sections 2 to 7) at the start of `bytes`; what follows it isn't looked at.
///
/// # Errors
/// The first thing at fault in byte order; once the head is whole also its target, host, framing or expectation.
/// The connection is to be closed after the answer, as nobody knows where the next request begins.
pub fn parse(bytes: &[u8]) -> Result<Parsed<'_>, HeadError> {
    let Some(skipped) = skip_empty_lines(bytes)? else { return Ok(Parsed::Partial) };
    let (seen, beyond) = sight(&bytes[skipped..], HEAD_BYTES_MAX - skipped);
    let mut fields = [const { MaybeUninit::uninit() }; HEAD_FIELDS_MAX];
    let mut head = httparse::Request::new(&mut []);
    match head.parse_with_uninit_headers(seen, &mut fields) {
        Ok(httparse::Status::Complete(length)) => {
            Ok(Parsed::Complete { request: Request::read(&head, &seen[..length])?, length: skipped + length })
        }
        Ok(httparse::Status::Partial) => beyond.map_or(Ok(Parsed::Partial), Err),
        Err(error) => Err(HeadError::of(error, &head, seen)),
    }
}

/// A request's head: a view into the bytes that were parsed, a hundred bytes itself whatever the number of fields.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The method as far as it is known here.
    pub method: Method,
    /// The method as it was sent; for [`Method::Other`] its only name.
    pub method_text: &'a str,
    /// The target's path, still percent-encoded. It starts with `/`, or is `*`, which only `OPTIONS` may ask for. Of an
    /// absolute target (RFC 9112, section 3.2.2) it is the path alone.
    pub path: &'a str,
    /// What follows the target's first `?`, still encoded.
    pub query: Option<&'a str>,
    /// The version that the client speaks.
    pub version: Version,
    /// The field lines, each with its CRLF, without the empty line.
    pub(super) lines: &'a [u8],
    framing: Framing,
    connection: Connection,
    expects_continue: bool,
}

impl<'a> Request<'a> {
    fn read(head: &httparse::Request<'_, 'a>, bytes: &'a [u8]) -> Result<Request<'a>, HeadError> {
        let (Some(method_text), Some(target), Some(minor)) = (head.method, head.path, head.version) else {
            return Err(HeadError::RequestLine);
        };
        let method = Method::from_text(method_text);
        let version = match minor {
            0 => Version::Http10,
            _ => Version::Http11,
        };
        let target_length = target.len();
        let target = split_target(method, target)?;
        let facts = Facts::gather(head.headers)?;
        facts.check_host(version, &target)?;
        let framing = facts.framing(version)?;
        let has_body = !matches!(framing, Framing::Empty | Framing::Length(0));
        let fields_start = method_text.len() + target_length + " HTTP/1.1\r\n".len() + 1;
        Ok(Request {
            method,
            method_text,
            path: target.path,
            query: target.query,
            version,
            lines: bytes.get(fields_start..bytes.len() - "\r\n".len()).unwrap_or_default(),
            framing,
            connection: facts.connection(version),
            expects_continue: facts.expects_continue()? && version == Version::Http11 && has_body,
        })
    }

    /// The value of the first field named `name`, without regard to case; trimmed, without control bytes except tabs.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'a [u8]> {
        self.fields(name).next()
    }

    /// The values of all fields named `name`, one for each line, in their order.
    pub fn fields<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.all().filter(move |(other, _)| other.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// The elements of the list that all fields named `name` make together (RFC 9110, section 5.3).
    pub fn list<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.fields(name).flat_map(field::elements)
    }

    /// How the body's end is known; ambiguity was refused when the head was parsed.
    #[must_use]
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// What is to become of the connection after the answer, if it is up to the client.
    #[must_use]
    pub fn connection(&self) -> Connection {
        self.connection
    }

    /// Whether the client wants to send another request on the same connection (RFC 9112, section 9.3).
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        self.connection != Connection::Close
    }

    /// Whether the client waits for [`CONTINUE`](super::CONTINUE) before it sends its body (RFC 9110, section 10.1.1).
    /// Never true without a body, nor in HTTP/1.0.
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// All fields in their order, each line's name and value.
    pub fn all(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        fields(self.lines)
    }
}

/// The fields of lines that were parsed before, each with its CRLF.
pub(super) fn fields(mut lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let end = memchr(b'\r', lines)?;
        let colon = memchr(b':', &lines[..end])?;
        let (name, value) = (&lines[..colon], field::trim(&lines[colon + 1..end]));
        lines = lines.get(end + "\r\n".len()..).unwrap_or_default();
        Some((name, value))
    })
}

impl fmt::Debug for Request<'_> {
    /// Fields and query are left out: they may carry credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}", self.method_text, self.path, self.version)
    }
}

/// The methods that Fantail may answer (RFC 9110, section 9; RFC 5789; `SUBSCRIBE` as in `wire.md`). They are
/// case-sensitive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
    /// `OPTIONS`
    Options,
    /// `SUBSCRIBE`
    Subscribe,
    /// Any other token.
    Other,
}

impl Method {
    fn from_text(text: &str) -> Method {
        match text {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "PATCH" => Method::Patch,
            "DELETE" => Method::Delete,
            "OPTIONS" => Method::Options,
            "SUBSCRIBE" => Method::Subscribe,
            _ => Method::Other,
        }
    }
}

/// Where the request line begins, or `None` if that isn't seen yet.
fn skip_empty_lines(bytes: &[u8]) -> Result<Option<usize>, HeadError> {
    let mut skipped = 0;
    loop {
        let may_skip = skipped < EMPTY_LINES_MAX * "\r\n".len();
        match &bytes[skipped..] {
            [] => return Ok(None),
            [b'\r'] if may_skip => return Ok(None),
            [b'\r', b'\n', ..] if may_skip => skipped += "\r\n".len(),
            [b'\r' | b'\n', ..] => return Err(HeadError::LineEnd),
            [_, ..] => return Ok(Some(skipped)),
        }
    }
}

/// The part of `bytes` that may be parsed, and what is wrong if a head doesn't end within it. `None` means that nothing
/// is wrong yet.
fn sight(bytes: &[u8], bytes_max: usize) -> (&[u8], Option<HeadError>) {
    let (mut seen, mut beyond) = match bytes.get(..bytes_max) {
        Some(all) => (all, Some(HeadError::HeadLong)),
        None => (bytes, None),
    };
    for line_feed in memchr_iter(b'\n', seen) {
        let lines = &seen[..=line_feed];
        if !lines.ends_with(b"\r\n") {
            (seen, beyond) = (&seen[..line_feed], Some(HeadError::LineEnd));
            break;
        }
        if lines.ends_with(b"\r\n\r\n") {
            (seen, beyond) = (lines, None);
            break;
        }
    }
    let target = memchr(b' ', seen).map_or(seen.len(), |space| space + 1);
    match seen.get(..target + TARGET_BYTES_MAX + 1) {
        Some(line) if memchr(b' ', &line[target..]).is_none() => (line, Some(HeadError::TargetLong)),
        _ => (seen, beyond),
    }
}

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Method, target and version aren't tokens with one space between them.
    #[error("the request line is malformed")]
    RequestLine,
    /// A line ends otherwise than with CRLF, or too many empty ones come first.
    #[error("a line of the head doesn't end with CRLF, or the request begins with empty lines")]
    LineEnd,
    /// A field is folded, has space around its name, or holds a control byte.
    #[error("a field is malformed")]
    Field,
    /// The target isn't visible ASCII in origin, absolute or (for `OPTIONS`) asterisk form.
    #[error("the target is neither a path nor an absolute http URL, in visible ASCII without a fragment")]
    Target,
    /// `Host` is missing in HTTP/1.1, repeated, or no host.
    #[error("Host is missing, repeated or malformed")]
    Host,
    /// `Host` isn't the authority of an absolute target.
    #[error("Host isn't the host of the target")]
    OtherHost,
    /// `Content-Length` is repeated, or isn't a decimal number of 64 bits.
    #[error("Content-Length isn't one decimal number")]
    Length,
    /// `Content-Length` and `Transfer-Encoding` are both there.
    #[error("Content-Length and Transfer-Encoding exclude each other")]
    Ambiguous,
    /// `chunked` isn't the last transfer coding, is named twice, or comes with HTTP/1.0.
    #[error("chunked isn't the last transfer coding, is repeated, or comes with HTTP/1.0")]
    Chunked,
    /// The target is longer than [`TARGET_BYTES_MAX`].
    #[error("the target is longer than {TARGET_BYTES_MAX} bytes")]
    TargetLong,
    /// There is an expectation other than `100-continue`.
    #[error("the only expectation that can be met is 100-continue")]
    Expectation,
    /// The head is longer than [`HEAD_BYTES_MAX`].
    #[error("the head is longer than {HEAD_BYTES_MAX} bytes")]
    HeadLong,
    /// The head has more than [`HEAD_FIELDS_MAX`] fields.
    #[error("the head has more than {HEAD_FIELDS_MAX} fields")]
    FieldsMany,
    /// The body has a transfer coding other than `chunked`.
    #[error("the only known transfer coding is chunked")]
    Coding,
    /// The version is neither 1.0 nor 1.1; no other 1.x was ever made.
    #[error("the version is neither HTTP/1.0 nor HTTP/1.1")]
    Version,
}

impl HeadError {
    /// The status that answers the error.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            HeadError::RequestLine
            | HeadError::LineEnd
            | HeadError::Field
            | HeadError::Target
            | HeadError::Host
            | HeadError::OtherHost
            | HeadError::Length
            | HeadError::Ambiguous
            | HeadError::Chunked => 400,
            HeadError::TargetLong => 414,
            HeadError::Expectation => 417,
            HeadError::HeadLong | HeadError::FieldsMany => 431,
            HeadError::Coding => 501,
            HeadError::Version => 505,
        }
    }

    fn of(error: httparse::Error, head: &httparse::Request<'_, '_>, seen: &[u8]) -> HeadError {
        match error {
            httparse::Error::TooManyHeaders => HeadError::FieldsMany,
            httparse::Error::HeaderName | httparse::Error::HeaderValue => HeadError::Field,
            httparse::Error::NewLine => HeadError::LineEnd,
            httparse::Error::Token | httparse::Error::Status => HeadError::RequestLine,
            httparse::Error::Version => {
                let version = head.method.unwrap_or_default().len() + head.path.unwrap_or_default().len() + 2;
                match seen.get(version..).unwrap_or_default() {
                    [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9', ..] => HeadError::Version,
                    [b'H', b'T', b'T', b'P', b'/', b'0' | b'2'..=b'9', ..] => HeadError::Version,
                    _ => HeadError::RequestLine,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::fixture::{self, escape};
    use proptest::prelude::*;

    const FIXTURES: &str = include_str!("../../../../../fixtures/requests/heads.txt");

    fn verdict(bytes: &[u8]) -> String {
        let (request, length) = match parse(bytes) {
            Err(error) => return format!("{} {error}", error.status()),
            Ok(Parsed::Partial) => return "partial".to_owned(),
            Ok(Parsed::Complete { request, length }) => (request, length),
        };
        let mut text = format!("{:?} path={}", request.method, request.path);
        if request.method == Method::Other {
            text += &format!(" method={}", request.method_text);
        }
        if let Some(query) = request.query {
            text += &format!(" query={query}");
        }
        text += &format!(" {:?} body={:?} then={:?}", request.version, request.framing(), request.connection());
        if request.expects_continue() {
            text += " expects=continue";
        }
        for value in request.fields("x") {
            text += &format!(" x={}", escape(value));
        }
        for element in request.list("l") {
            text += &format!(" l={}", escape(element));
        }
        if length < bytes.len() {
            text += &format!(" rest={}", escape(&bytes[length..]));
        }
        text
    }

    #[test]
    fn heads_get_their_verdict() {
        fixture::check(FIXTURES, |case| verdict(&case.input));
    }

    #[test]
    fn a_cut_head_is_partial_or_judged_like_the_whole() {
        for case in fixture::cases(FIXTURES) {
            let whole = parse(&case.input);
            for cut in 0..case.input.len() {
                match (parse(&case.input[..cut]), &whole) {
                    (Ok(Parsed::Partial), _) => assert!(cut < HEAD_BYTES_MAX, "{case} cut at {cut}"),
                    (Ok(Parsed::Complete { length: cut_length, .. }), Ok(Parsed::Complete { length, .. })) => {
                        assert!(cut_length == *length && *length <= cut, "{case} cut at {cut}");
                    }
                    (Err(cut_error), Err(error)) => assert_eq!(cut_error, *error, "{case} cut at {cut}"),
                    (other, _) => panic!("{case} cut at {cut}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn bounds_are_exact() {
        let with_target = |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(bytes - 1));
        assert!(parse(with_target(TARGET_BYTES_MAX).as_bytes()).is_ok());
        assert_eq!(parse(with_target(TARGET_BYTES_MAX + 1).as_bytes()).unwrap_err(), HeadError::TargetLong);

        let with_bytes = |bytes: usize| {
            let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
            format!("{start}{}\r\n\r\n", "a".repeat(bytes - start.len() - 4))
        };
        assert!(parse(with_bytes(HEAD_BYTES_MAX).as_bytes()).is_ok());
        assert_eq!(parse(with_bytes(HEAD_BYTES_MAX + 1).as_bytes()).unwrap_err(), HeadError::HeadLong);
        assert_eq!(
            parse(&with_bytes(HEAD_BYTES_MAX + 1).as_bytes()[..HEAD_BYTES_MAX]).unwrap_err(),
            HeadError::HeadLong
        );

        let with_fields = |fields: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: a\r\n".repeat(fields - 1));
        assert!(parse(with_fields(HEAD_FIELDS_MAX).as_bytes()).is_ok());
        assert_eq!(parse(with_fields(HEAD_FIELDS_MAX + 1).as_bytes()).unwrap_err(), HeadError::FieldsMany);
    }

    /// Pieces of which requests, good and bad, are made.
    fn soup() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(vec![
            "GET ",
            "OPTIONS ",
            "/",
            "*",
            "http://a",
            "?q",
            "#",
            " HTTP/1.1\r\n",
            " HTTP/1.0\r\n",
            " HTTP/2.0\r\n",
            "\r\n",
            "\n",
            "\r",
            " ",
            "\t",
            ":",
            ",",
            "\0",
            "é",
            "Host: a\r\n",
            "Content-Length: 1",
            "Transfer-Encoding: chunked",
            "Connection: close",
            "Expect: 100-continue",
            "gzip",
            "x: \"",
            "GET / HTTP/1.1\r\nHost: a\r\n",
            "\r\n\r\n",
        ]);
        prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = verdict(&bytes);
        }

        #[test]
        fn later_bytes_change_no_verdict(bytes in soup()) {
            let mut judged = None;
            for cut in 0..=bytes.len() {
                let verdict = match parse(&bytes[..cut]) {
                    Ok(Parsed::Partial) => None,
                    Ok(Parsed::Complete { length, .. }) => Some(Ok(length)),
                    Err(error) => Some(Err(error)),
                };
                prop_assert!(judged.is_none() || verdict == judged, "{verdict:?} after {judged:?} at {cut}");
                judged = verdict;
            }
        }

        #[test]
        fn a_head_that_ends_is_judged(bytes in soup()) {
            let ended = [b"x".as_slice(), &bytes, b"\r\n\r\n"].concat();
            prop_assert!(!matches!(parse(&ended), Ok(Parsed::Partial)));
        }

        #[test]
        fn the_view_of_the_fields_is_what_was_parsed(
            fields in prop::collection::vec(("[a-zA-Z!~-]{1,8}", "[ \t]{0,3}[!-~:]{0,6}[ \t:a-z]{0,6}"), 0..20),
        ) {
            let lines = fields.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect::<String>();
            let head = format!("GET / HTTP/1.0\r\n{lines}\r\n");
            let mut scratch = [httparse::EMPTY_HEADER; HEAD_FIELDS_MAX];
            let mut parsed = httparse::Request::new(&mut scratch);
            prop_assert!(parsed.parse(head.as_bytes()).is_ok());
            if let Ok(Parsed::Complete { request, .. }) = parse(head.as_bytes()) {
                let seen = request.all().collect::<Vec<_>>();
                let expected = parsed.headers.iter().map(|field| (field.name.as_bytes(), field.value));
                prop_assert_eq!(seen, expected.collect::<Vec<_>>());
            }
        }
    }
}
