//! What of a message passes from one connection to the next (RFC 9110, section 7.6), written as the head that goes on.
//!
//! Fields that belong to a connection stay there, those that `Connection` names included; where a message ends is said anew; who
//! the client is, too. A client's `Grip-*` never reaches an origin, and an origin's never a client. Invariant: a head that is
//! written has one way in which its body's end is known.
//!
//! No `Via` is added to requests, although RFC 9110 wants it: servers as common as nginx send whoever names a proxy there
//! nothing compressed.

use std::io::Write;

use serde::Serialize;

use super::answer::Answer;
use super::framing::{Connection, Framing, Version};
use super::request::{Request, fields};
use crate::protocol::accept::{self, Form};
use crate::protocol::field;

/// Fields that are added, and those that are taken away before; names in lower case.
#[derive(Clone, Copy, Default, Debug)]
pub struct Rules<'a> {
    /// Names and values.
    pub add: &'a [(String, String)],
    /// Names.
    pub remove: &'a [String],
}

impl Rules<'_> {
    fn removes(&self, name: &[u8]) -> bool {
        self.remove.iter().any(|own| is_same(name, own.as_bytes()))
    }

    fn adds(&self, name: &[u8]) -> bool {
        self.add.iter().any(|(own, _)| is_same(name, own.as_bytes()))
    }

    /// Whether they say what becomes of a field.
    fn concern(&self, name: &str) -> bool {
        self.adds(name.as_bytes()) || self.removes(name.as_bytes())
    }

    fn write(&self, out: &mut Vec<u8>) {
        for (name, value) in self.add {
            line(out, name.as_bytes(), value.as_bytes());
        }
    }
}

/// What becomes of `Forwarded` and `X-Forwarded-*` that a client sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Forwarding {
    /// Nothing: who is connected is the client.
    Replace,
    /// They are kept and added to: whoever is connected is a proxy of ours, and says who the client is.
    Append,
}

/// What an origin is told besides what the client says.
#[derive(Clone, Copy, Debug)]
pub struct Onward<'a> {
    /// The address of who is connected, as text.
    pub peer: &'a str,
    /// What becomes of what it says of others.
    pub forwarding: Forwarding,
    /// The host for requests without one, which HTTP/1.0 allows.
    pub host: &'a str,
    /// What the route adds and takes away.
    pub rules: Rules<'a>,
}

/// Another protocol that a client may go on with on its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Upgrade {
    /// None, or one that isn't passed on: `h2c` would carry requests past everything that is decided here.
    None,
    /// `websocket`
    WebSocket,
}

/// Which protocol the client asks to go on with.
#[must_use]
pub fn upgrade(request: &Request<'_>) -> Upgrade {
    let says = |name, wanted: &str| request.list(name).any(|token| token.eq_ignore_ascii_case(wanted.as_bytes()));
    let is_bare = request.version == Version::Http11 && request.framing() == Framing::Empty;
    match is_bare && says("Upgrade", "websocket") && says("Connection", "upgrade") {
        true => Upgrade::WebSocket,
        false => Upgrade::None,
    }
}

/// Appends the head of the request as it goes on to an origin, but for the empty line that ends it.
pub fn write_request(out: &mut Vec<u8>, request: &Request<'_>, onward: &Onward<'_>) {
    out.extend_from_slice(request.method_text.as_bytes());
    out.push(b' ');
    out.extend_from_slice(request.path.as_bytes());
    if let Some(query) = request.query {
        out.push(b'?');
        out.extend_from_slice(query.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let host = request.field("Host").unwrap_or(onward.host.as_bytes());
    if !onward.rules.adds(b"host") {
        line(out, b"Host", host);
    }
    let named = Named::of(request.lines);
    // What is published goes behind what the origin says, as it is: that may not be compressed.
    let wants_events = accept::choose(request.fields("Accept")) == Some(Form::Events);
    for (name, value) in request.all() {
        let passes = match kind(name) {
            Kind::EndToEnd if wants_events => !name.eq_ignore_ascii_case(b"Accept-Encoding"),
            Kind::EndToEnd | Kind::Date => true,
            Kind::Connection | Kind::Length | Kind::Host | Kind::Expect | Kind::Grip => false,
            // Appended to below.
            Kind::ForwardedFor | Kind::Forwarded => false,
            Kind::ForwardedOther => {
                onward.forwarding == Forwarding::Append && !name.contains(&b'_') && !onward.rules.adds(name)
            }
        };
        if passes && !named.has(name) && !onward.rules.removes(name) {
            line(out, name, value);
        }
    }
    match request.framing() {
        Framing::Empty => {}
        Framing::Length(bytes) => line_of(out, format_args!("Content-Length: {bytes}")),
        Framing::Chunked => line(out, b"Transfer-Encoding", b"chunked"),
    }
    if request.expects_continue() {
        line(out, b"Expect", b"100-continue");
    }
    match upgrade(request) {
        Upgrade::None => {}
        Upgrade::WebSocket => out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    }
    forward(out, request, host, onward);
    onward.rules.write(out);
}

/// Says who the client is, but for what the route's rules say of that.
fn forward(out: &mut Vec<u8>, request: &Request<'_>, host: &[u8], onward: &Onward<'_>) {
    let is_ours = |name| !onward.rules.concern(name);
    let said = |name| request.fields(name).filter(|_| onward.forwarding == Forwarding::Append);
    if is_ours("X-Forwarded-For") {
        out.extend_from_slice(b"X-Forwarded-For: ");
        join(out, said("X-Forwarded-For"));
        out.extend_from_slice(onward.peer.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    if is_ours("X-Forwarded-Proto") && said("X-Forwarded-Proto").next().is_none() {
        line(out, b"X-Forwarded-Proto", b"http");
    }
    if is_ours("X-Forwarded-Host") && said("X-Forwarded-Host").next().is_none() {
        line(out, b"X-Forwarded-Host", host);
    }
    if is_ours("Forwarded") {
        out.extend_from_slice(b"Forwarded: ");
        join(out, said("Forwarded"));
        out.extend_from_slice(if onward.peer.contains(':') { b"for=\"[" } else { b"for=" });
        out.extend_from_slice(onward.peer.as_bytes());
        out.extend_from_slice(if onward.peer.contains(':') { b"]\";host=\"" } else { b";host=\"" });
        out.extend_from_slice(host);
        out.extend_from_slice(b"\";proto=http\r\n");
    }
}

/// The elements before the one that is added.
fn join<'v>(out: &mut Vec<u8>, values: impl Iterator<Item = &'v [u8]>) {
    for value in values.filter(|value| !value.is_empty()) {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
}

/// How a response's body goes on to the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// There is none; a length that is told is that of another answer.
    Bare,
    /// So many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
    /// Until the connection ends.
    UntilClose,
    /// An interim response, after which another one comes.
    Interim,
    /// No message any more: both sides go on with another protocol.
    Switched,
}

/// Appends the head of the response as it goes on to the client. `date` is for a response that has none.
pub fn write_answer(
    out: &mut Vec<u8>,
    answer: &Answer<'_>,
    shape: Shape,
    then: Connection,
    date: &[u8],
    rules: Rules<'_>,
) {
    line_of(out, format_args!("HTTP/1.1 {} {}", answer.status, answer.reason));
    let named = Named::of(answer.lines);
    let mut has_date = shape == Shape::Interim;
    for (name, value) in answer.all() {
        let passes = match kind(name) {
            Kind::EndToEnd | Kind::Expect | Kind::Host => true,
            Kind::ForwardedFor | Kind::Forwarded | Kind::ForwardedOther => true,
            Kind::Date => {
                has_date = true;
                true
            }
            Kind::Connection | Kind::Length | Kind::Grip => false,
        };
        if passes && !named.has(name) && !rules.removes(name) {
            line(out, name, value);
        }
    }
    if !has_date {
        line(out, b"Date", date);
    }
    match (shape, answer.length) {
        (Shape::Length(bytes), _) => line_of(out, format_args!("Content-Length: {bytes}")),
        // Neither has a length by definition (RFC 9110, section 8.6).
        (Shape::Bare, Some(bytes)) if answer.status != 204 => line_of(out, format_args!("Content-Length: {bytes}")),
        (Shape::Chunked, _) => line(out, b"Transfer-Encoding", b"chunked"),
        (Shape::Switched, _) => out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
        (Shape::Bare | Shape::UntilClose | Shape::Interim, _) => {}
    }
    rules.write(out);
    match (shape, then) {
        (Shape::Interim | Shape::Switched, _) | (_, Connection::Keep) => {}
        (_, Connection::KeepTold) => line(out, b"Connection", b"keep-alive"),
        (_, Connection::Close) => line(out, b"Connection", b"close"),
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends content as one chunk; empty content is nothing, as it would be the last chunk.
pub fn chunk(out: &mut Vec<u8>, content: &[u8]) {
    if !content.is_empty() {
        line_of(out, format_args!("{:x}", content.len()));
        out.extend_from_slice(content);
        out.extend_from_slice(b"\r\n");
    }
}

/// The fields of a request that go on with a read of what it named, of `head` as [`write_request`] made it: who asks, and not what
/// was sent or in which form an answer was wanted. Each has its line's end.
#[must_use]
pub fn fields_to_read(head: &[u8]) -> Vec<u8> {
    let start = memchr::memchr(b'\n', head).map_or(head.len(), |line_feed| line_feed + 1);
    let mut out = Vec::with_capacity(head.len());
    for (name, value) in fields(&head[start..]).filter(|(name, _)| !is_of_one_request(name)) {
        line(&mut out, name, value);
    }
    out
}

/// What a request asks for whose head we wrote: its target, and the host that it names. A client's head within the bounds may go on
/// as one beyond them, so that such a head isn't parsed again.
#[must_use]
pub fn target_and_host(head: &[u8]) -> (&str, &str) {
    let (line, lines) = head.split_at(memchr::memchr(b'\n', head).map_or(head.len(), |line_feed| line_feed + 1));
    let target = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let host = fields(lines).find(|(name, _)| name.eq_ignore_ascii_case(b"host")).map_or(&b""[..], |(_, value)| value);
    let text = |bytes| str::from_utf8(bytes).unwrap_or_default();
    (text(target), text(host))
}

/// Whether a field is about what is sent, about conditions on it, or about the form of its answer.
fn is_of_one_request(name: &[u8]) -> bool {
    let begins = |text: &str| name.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text.as_bytes()));
    let is = |text: &str| name.eq_ignore_ascii_case(text.as_bytes());
    ["content-", "if-", "accept", "x-http-method", "sec-websocket-"].iter().any(|text| begins(text))
        || ["transfer-encoding", "connection", "upgrade", "expect", "range", "prefer", "te"].iter().any(|text| is(text))
        || ["idempotency-key", "last-event-id", "x-method-override"].iter().any(|text| is(text))
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn line_of(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("memory takes all");
    out.extend_from_slice(b"\r\n");
}

/// The fields that `Connection` names: they belong to the connection, too. Holds the lines if there are any but the usual ones.
struct Named<'a>(Option<&'a [u8]>);

impl<'a> Named<'a> {
    fn of(lines: &'a [u8]) -> Named<'a> {
        let is_usual = |token: &[u8]| {
            let is = |text: &str| token.eq_ignore_ascii_case(text.as_bytes());
            is("close") || is("keep-alive") || is("upgrade")
        };
        Named(Some(lines).filter(|lines| !tokens(lines).all(is_usual)))
    }

    fn has(&self, name: &[u8]) -> bool {
        self.0.is_some_and(|lines| tokens(lines).any(|token| token.eq_ignore_ascii_case(name)))
    }
}

/// What `Connection` says.
fn tokens(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    let values = fields(lines).filter(|(name, _)| name.eq_ignore_ascii_case(b"connection"));
    values.flat_map(|(_, value)| field::elements(value))
}

/// What a field is about, as far as it matters to who passes it on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The message's content and what surrounds it.
    EndToEnd,
    /// One connection: hop by hop.
    Connection,
    Length,
    Host,
    Date,
    Expect,
    Grip,
    Forwarded,
    ForwardedFor,
    ForwardedOther,
}

/// Whether two names are the same to an origin that has fields as variables (RFC 3875): `_` is `-` there.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let fold = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    one.len() == other.len() && one.iter().map(fold).eq(other.iter().map(fold))
}

fn kind(name: &[u8]) -> Kind {
    let is = |text: &str| is_same(name, text.as_bytes());
    match name.len() {
        2 if is("te") => Kind::Connection,
        4 if is("host") => Kind::Host,
        4 if is("date") => Kind::Date,
        6 if is("expect") => Kind::Expect,
        7 if is("trailer") || is("upgrade") => Kind::Connection,
        9 if is("forwarded") => Kind::Forwarded,
        10 if is("connection") || is("keep-alive") => Kind::Connection,
        14 if is("content-length") => Kind::Length,
        15 if is("x-forwarded-for") => Kind::ForwardedFor,
        16 if is("proxy-connection") => Kind::Connection,
        17 if is("transfer-encoding") => Kind::Connection,
        18 if is("proxy-authenticate") => Kind::Connection,
        19 if is("proxy-authorization") => Kind::Connection,
        16.. if is_same(&name[..12], b"x-forwarded-") => Kind::ForwardedOther,
        _ if is_grip(name) => Kind::Grip,
        _ => Kind::EndToEnd,
    }
}

/// Whether a field is about one connection, or about where a message ends on it.
#[must_use]
pub fn is_hop_by_hop(name: &[u8]) -> bool {
    match kind(name) {
        Kind::Connection | Kind::Length => true,
        Kind::EndToEnd | Kind::Host | Kind::Date | Kind::Expect | Kind::Grip => false,
        Kind::Forwarded | Kind::ForwardedFor | Kind::ForwardedOther => false,
    }
}

/// Whether a field is between an edge and its origin only.
#[must_use]
pub fn is_grip(name: &[u8]) -> bool {
    name.get(..5).is_some_and(|start| is_same(start, b"grip-"))
}

/// Whether a response with this field is an instruction.
pub(super) fn instructs(name: &[u8], value: &[u8]) -> bool {
    match name.len() {
        9 => name.eq_ignore_ascii_case(b"grip-hold") || name.eq_ignore_ascii_case(b"grip-link"),
        12 if name.eq_ignore_ascii_case(b"content-type") => {
            let media = field::split(value, b';').next().unwrap_or_default();
            media.eq_ignore_ascii_case(b"application/grip-instruct")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::HEAD_FIELDS_MAX;
    use crate::protocol::http1::{Method, Parsed, ParsedAnswer, parse, parse_answer};

    const ONWARD: Onward<'_> = Onward {
        peer: "192.0.2.1",
        forwarding: Forwarding::Replace,
        host: "origin",
        rules: Rules { add: &[], remove: &[] },
    };

    /// The head that goes on, of a request with these lines, without what is said of the client.
    fn onward(lines: &str, onward: &Onward<'_>) -> String {
        let bytes = format!("{}\r\n\r\n", lines.replace('\n', "\r\n"));
        let Ok(Parsed::Complete { request, .. }) = parse(bytes.as_bytes()) else { panic!("{lines}") };
        let mut out = Vec::new();
        write_request(&mut out, &request, onward);
        let text = String::from_utf8(out).expect("a head is text").replace("\r\n", "\n");
        let is_said = |line: &&str| !line.to_ascii_lowercase().contains("forwarded");
        text.lines().filter(is_said).collect::<Vec<_>>().join("\n")
    }

    fn to_client(head: &str, method: Method, shape: Shape, then: Connection, rules: Rules<'_>) -> String {
        let bytes = format!("{}\r\n\r\n", head.replace('\n', "\r\n"));
        let Ok(ParsedAnswer::Complete { answer, .. }) = parse_answer(bytes.as_bytes(), method) else {
            panic!("{head}")
        };
        let mut out = Vec::new();
        write_answer(&mut out, &answer, shape, then, b"now", rules);
        String::from_utf8(out).expect("a head is text").replace("\r\n", "\n").trim_end().to_owned()
    }

    #[test]
    fn events_are_not_asked_for_compressed() {
        let asked = |accept: &str| {
            onward(&format!("GET / HTTP/1.1\nHost: x\nAccept: {accept}\nAccept-Encoding: gzip"), &ONWARD)
        };
        assert!(!asked("text/event-stream").contains("gzip"));
        assert!(asked("text/html, */*").contains("gzip"));
    }

    #[test]
    fn a_read_says_who_asks_and_not_what_was_sent() {
        let head = b"PATCH /m/7?x HTTP/1.1\r\nHost: h\r\nCookie: a=1\r\nContent-Type: b\r\nContent-Length: 2\r\nIf-Match: c\r\n\
            Accept-Encoding: gzip\r\nX-HTTP-Method-Override: DELETE\r\nAuthorization: d\r\nIdempotency-Key: e\r\nX-Key: f\r\n\r\n";
        let fields = fields_to_read(head);
        assert_eq!(fields, b"Host: h\r\nCookie: a=1\r\nAuthorization: d\r\nX-Key: f\r\n");
    }

    #[test]
    fn a_head_that_was_written_tells_what_it_asks_whatever_its_length() {
        let given = format!("GET /a?b=c HTTP/1.1\r\nHost: x:80\r\n{}\r\n", "A: b\r\n".repeat(HEAD_FIELDS_MAX - 1));
        let Ok(Parsed::Complete { request, .. }) = parse(given.as_bytes()) else { panic!("it is within the bounds") };
        let asked = |rules| {
            let mut head = Vec::new();
            write_request(&mut head, &request, &Onward { rules, ..ONWARD });
            head.extend_from_slice(b"\r\n");
            assert!(parse(&head).is_err(), "what is added takes it beyond them");
            let (target, host) = target_and_host(&head);
            (target.to_owned(), host.to_owned())
        };
        assert_eq!(asked(Rules::default()), ("/a?b=c".to_owned(), "x:80".to_owned()));
        let add = [("host".to_owned(), "a/b".to_owned())];
        assert_eq!(asked(Rules { add: &add, remove: &[] }), ("/a?b=c".to_owned(), "a/b".to_owned()));
    }

    #[test]
    fn what_belongs_to_the_connection_stays_there() {
        let given = "GET /a?b=c HTTP/1.1\nHost: x\nConnection: close, X-Mine\nKeep-Alive: 5\nProxy-Connection: x\nTE: trailers\n\
                     Trailer: y\nUpgrade: h2c\nX-Mine: 1\nAccept: */*\nProxy-Authorization: Basic x\nCookie: a\nCookie: b";
        assert_eq!(onward(given, &ONWARD), "GET /a?b=c HTTP/1.1\nHost: x\nAccept: */*\nCookie: a\nCookie: b");
    }

    #[test]
    fn the_end_of_the_body_is_said_anew() {
        let given = "POST / HTTP/1.1\nHost: x\ncontent-length: 3\nExpect: 100-continue";
        assert_eq!(onward(given, &ONWARD), "POST / HTTP/1.1\nHost: x\nContent-Length: 3\nExpect: 100-continue");
        let given = "POST / HTTP/1.1\nHost: x\ntransfer-encoding: Chunked";
        assert_eq!(onward(given, &ONWARD), "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked");
        assert_eq!(onward("DELETE / HTTP/1.0", &ONWARD), "DELETE / HTTP/1.1\nHost: origin");
    }

    #[test]
    fn a_client_does_not_speak_grip() {
        let given = "GET / HTTP/1.1\nHost: x\nGrip-Sig: forged\ngrip-last: ch; last-id=1\nGrip: kept\nGrip-: x";
        assert_eq!(onward(given, &ONWARD), "GET / HTTP/1.1\nHost: x\nGrip: kept");
    }

    #[test]
    fn a_websocket_goes_on_and_nothing_else_does() {
        let given =
            "GET / HTTP/1.1\nHost: x\nConnection: keep-alive, Upgrade\nUpgrade: WebSocket\nSec-WebSocket-Key: k";
        assert_eq!(
            onward(given, &ONWARD),
            "GET / HTTP/1.1\nHost: x\nSec-WebSocket-Key: k\nConnection: Upgrade\nUpgrade: websocket"
        );
        let given = "GET / HTTP/1.1\nHost: x\nConnection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: x";
        assert_eq!(onward(given, &ONWARD), "GET / HTTP/1.1\nHost: x");
    }

    #[test]
    fn an_origin_is_told_who_the_client_is() {
        let text = |lines: &str, onward: &Onward<'_>| {
            let bytes = format!("GET / HTTP/1.1\r\nHost: x:80\r\n{lines}\r\n");
            let Ok(Parsed::Complete { request, .. }) = parse(bytes.as_bytes()) else { panic!("{lines}") };
            let mut out = Vec::new();
            write_request(&mut out, &request, onward);
            String::from_utf8(out).expect("a head is text").replace("\r\n", "\n")
        };
        let said = "X-Forwarded-For: 10.0.0.1\r\nx-forwarded-for: 10.0.0.2\r\nX-Forwarded-Proto: https\r\n\
                    X-Forwarded-Port: 443\r\nForwarded: for=10.0.0.1\r\n";
        assert_eq!(
            text(said, &ONWARD),
            "GET / HTTP/1.1\nHost: x:80\nX-Forwarded-For: 192.0.2.1\nX-Forwarded-Proto: http\nX-Forwarded-Host: x:80\n\
             Forwarded: for=192.0.2.1;host=\"x:80\";proto=http\n"
        );
        let onward = Onward { forwarding: Forwarding::Append, peer: "::1", ..ONWARD };
        assert_eq!(
            text(said, &onward),
            "GET / HTTP/1.1\nHost: x:80\nX-Forwarded-Proto: https\nX-Forwarded-Port: 443\n\
             X-Forwarded-For: 10.0.0.1, 10.0.0.2, ::1\nX-Forwarded-Host: x:80\n\
             Forwarded: for=10.0.0.1, for=\"[::1]\";host=\"x:80\";proto=http\n"
        );
    }

    #[test]
    fn rules_say_who_the_client_is_in_our_place() {
        let given = "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-Proto: ftp\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Port: 1\r\n\r\n";
        let Ok(Parsed::Complete { request, .. }) = parse(given.as_bytes()) else { panic!("a request") };
        let add = [("x-forwarded-proto".to_owned(), "https".to_owned())];
        let remove = ["forwarded".to_owned(), "x-forwarded-host".to_owned(), "x-forwarded-port".to_owned()];
        for (forwarding, addresses) in [(Forwarding::Replace, ""), (Forwarding::Append, "10.0.0.1, ")] {
            let mut out = Vec::new();
            let rules = Rules { add: &add, remove: &remove };
            write_request(&mut out, &request, &Onward { rules, forwarding, ..ONWARD });
            let expected = format!(
                "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {addresses}192.0.2.1\r\nx-forwarded-proto: https\r\n"
            );
            assert_eq!(String::from_utf8(out), Ok(expected));
        }
    }

    #[test]
    fn a_name_with_underscores_is_no_other_name() {
        let given = "GET / HTTP/1.1\nHost: x\nGrip_Sig: forged\nX_Forwarded_For: 10.0.0.1\nX-Forwarded_Proto: https\nContent_Length: 5\n\
                     Transfer_Encoding: chunked\nX_Debug: 1\nX_Mine: 1";
        let remove = ["x-debug".to_owned()];
        for forwarding in [Forwarding::Replace, Forwarding::Append] {
            let rules = Rules { add: &[], remove: &remove };
            let onward = Onward { forwarding, rules, ..ONWARD };
            let bytes = format!("{}\r\n\r\n", given.replace('\n', "\r\n"));
            let Ok(Parsed::Complete { request, .. }) = parse(bytes.as_bytes()) else { panic!("a request") };
            let mut out = Vec::new();
            write_request(&mut out, &request, &onward);
            assert_eq!(
                String::from_utf8(out).expect("a head is text").replace("\r\n", "\n"),
                "GET / HTTP/1.1\nHost: x\nX_Mine: 1\nX-Forwarded-For: 192.0.2.1\nX-Forwarded-Proto: http\n\
                 X-Forwarded-Host: x\nForwarded: for=192.0.2.1;host=\"x\";proto=http\n"
            );
        }
    }

    #[test]
    fn rules_take_away_and_then_add() {
        let add = [("host".to_owned(), "api".to_owned()), ("x-edge".to_owned(), "1".to_owned())];
        let remove = ["x-debug".to_owned(), "x-edge".to_owned()];
        let rules = Rules { add: &add, remove: &remove };
        let given = "GET / HTTP/1.1\nHost: x\nX-Debug: 1\nX-Edge: forged\nA: b";
        assert_eq!(onward(given, &Onward { rules, ..ONWARD }), "GET / HTTP/1.1\nA: b\nhost: api\nx-edge: 1");
        let head = "HTTP/1.1 200 OK\nDate: then\nX-Debug: 1\nContent-Length: 2";
        assert_eq!(
            to_client(head, Method::Get, Shape::Length(2), Connection::Keep, rules),
            "HTTP/1.1 200 OK\nDate: then\nContent-Length: 2\nhost: api\nx-edge: 1"
        );
    }

    #[test]
    fn responses_are_framed_for_the_client() {
        let none = Rules::default();
        let head = "HTTP/1.1 200 OK\nServer: o\nConnection: X-Mine\nX-Mine: 1\nKeep-Alive: timeout=5\nTransfer-Encoding: chunked\n\
                    Trailer: t\nGrip-Foo: bar\nDate: then";
        for (shape, then, end) in [
            (Shape::Chunked, Connection::Keep, "\nTransfer-Encoding: chunked"),
            (Shape::UntilClose, Connection::Close, "\nConnection: close"),
            (Shape::Length(7), Connection::KeepTold, "\nContent-Length: 7\nConnection: keep-alive"),
        ] {
            let expected = format!("HTTP/1.1 200 OK\nServer: o\nDate: then{end}");
            assert_eq!(to_client(head, Method::Get, shape, then, none), expected);
        }
        let bare = |head, method| to_client(head, method, Shape::Bare, Connection::Keep, none);
        assert_eq!(
            bare("HTTP/1.1 200 OK\nContent-Length: 7", Method::Head),
            "HTTP/1.1 200 OK\nDate: now\nContent-Length: 7"
        );
        assert_eq!(
            bare("HTTP/1.1 204 No Content\nContent-Length: 7", Method::Get),
            "HTTP/1.1 204 No Content\nDate: now"
        );
        let head = "HTTP/1.1 103 Early Hints\nLink: x";
        assert_eq!(to_client(head, Method::Get, Shape::Interim, Connection::Close, none), head);
        let head = "HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: Upgrade\nDate: d";
        assert_eq!(
            to_client(head, Method::Get, Shape::Switched, Connection::Keep, none),
            "HTTP/1.1 101 Switching Protocols\nDate: d\nConnection: Upgrade\nUpgrade: websocket"
        );
    }

    #[test]
    fn empty_content_is_no_chunk() {
        let mut out = Vec::new();
        chunk(&mut out, b"");
        chunk(&mut out, &[b'x'; 26]);
        assert_eq!(out, [b"1a\r\n".as_slice(), &[b'x'; 26], b"\r\n"].concat());
    }
}
