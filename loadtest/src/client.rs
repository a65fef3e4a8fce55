//! A connection that asks: requests queued, sent in one go, and their answers read in order. It is liberal in what it takes
//! for an answer, since it isn't the answers that are tested: with a length, in chunks, or up to the connection's end. It
//! refuses an event stream, which has no end.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use fantail_engine::protocol::http1::{BodyReader, Framing};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_platform_verifier::ConfigVerifierExt;
use socket2::SockRef;

use crate::target::{Scheme, Target};

/// How long something is awaited if nothing else is said.
const ANSWER: Duration = Duration::from_secs(30);

/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Fields of an answer's head.
const FIELDS_MAX: usize = 64;

/// A connection that is opened when it is first needed, and again when the server closed it between two requests.
pub(crate) struct Client {
    target: Target,
    /// How long a connection, a send and an answer are awaited.
    patience: Duration,
    /// Requests to be sent, one after the other.
    queue: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
    stream: Option<Stream>,
    /// What was received and not yet read.
    received: Vec<u8>,
}

impl Client {
    /// A client that hasn't connected.
    pub(crate) fn new(target: &Target) -> Client {
        Client {
            target: target.clone(),
            patience: ANSWER,
            queue: Vec::new(),
            ends: Vec::new(),
            stream: None,
            received: Vec::new(),
        }
    }

    /// The same with another patience.
    pub(crate) fn waiting(self, patience: Duration) -> Client {
        Client { patience, ..self }
    }

    /// Queues a request, head and body.
    pub(crate) fn queue(&mut self, request: &str) {
        self.queue.extend_from_slice(request.as_bytes());
        self.ends.push(self.queue.len());
    }

    /// Sends what is queued in one go, reads the answers and calls `on` with the status of each as it comes. After an
    /// error, which is the last call, nothing is known of the requests that weren't answered.
    pub(crate) fn send(&mut self, mut on: impl FnMut(io::Result<u16>)) {
        let (queue, ends) = (std::mem::take(&mut self.queue), std::mem::take(&mut self.ends));
        let (mut answered, mut from) = (0, 0);
        while answered < ends.len() {
            // A server that closes after an answer hasn't read what was sent behind that one (RFC 9112, section 9.6).
            let closed = self.exchange(&queue[from..], ends.len() - answered, |status| {
                from = ends[answered];
                answered += 1;
                on(Ok(status));
            });
            if let Err(error) = closed {
                return on(Err(error));
            }
        }
    }

    /// Sends `requests` and reads up to `count` answers: fewer if the server says with one that it closes.
    fn exchange(&mut self, requests: &[u8], count: usize, mut on: impl FnMut(u16)) -> io::Result<()> {
        let mut stream = match self.stream.take().filter(Stream::is_open) {
            Some(stream) => stream,
            None => self.connect()?,
        };
        stream.write_all(requests)?;
        stream.flush()?;
        for _ in 0..count {
            let (status, keeps) = self.answer(&mut stream)?;
            on(status);
            if !keeps {
                return Ok(());
            }
        }
        self.stream = Some(stream);
        Ok(())
    }

    fn connect(&mut self) -> io::Result<Stream> {
        let stream = TcpStream::connect_timeout(&self.target.address, self.patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_write_timeout(Some(self.patience))?;
        self.received.clear();
        match self.target.scheme {
            Scheme::Http => Ok(Stream::Plain(stream)),
            Scheme::Https => {
                // What the host trusts; SSL_CERT_FILE names others.
                let config = ClientConfig::with_platform_verifier().map_err(io::Error::other)?;
                let name = ServerName::try_from(self.target.host().to_owned()).map_err(io::Error::other)?;
                let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
                Ok(Stream::Tls(Box::new(StreamOwned::new(connection, stream))))
            }
        }
    }

    /// The status of the next answer, and whether the connection stays.
    fn answer(&mut self, stream: &mut Stream) -> io::Result<(u16, bool)> {
        loop {
            let head = loop {
                if let Some(head) = head(&self.received)? {
                    break head;
                }
                if self.received.len() > HEAD_BYTES_MAX {
                    return Err(io::Error::other("an answer's head without an end"));
                }
                if !self.fill(stream)? {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            };
            self.received.drain(..head.length);
            if head.status >= 200 {
                let framing = head.body;
                self.pass_over(stream, framing)?;
                return Ok((head.status, head.keeps && framing.is_some()));
            }
        }
    }

    /// Reads a body and forgets it; one that isn't framed ends with the connection.
    fn pass_over(&mut self, stream: &mut Stream, framing: Option<Framing>) -> io::Result<()> {
        let Some(framing) = framing else {
            while self.fill(stream)? {
                self.received.clear();
            }
            return Ok(());
        };
        let mut body = BodyReader::new(framing, usize::MAX).map_err(io::Error::other)?;
        let mut content = Vec::new();
        loop {
            let fed = body.feed(&self.received, &mut content).map_err(io::Error::other)?;
            self.received.drain(..fed.consumed);
            content.clear();
            if fed.done {
                return Ok(());
            }
            if !self.fill(stream)? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Receives more; false if nothing more will come.
    fn fill(&mut self, stream: &mut Stream) -> io::Result<bool> {
        let mut bytes = [0; 16 * 1024];
        let length = stream.read(&mut bytes)?;
        self.received.extend_from_slice(&bytes[..length]);
        Ok(length > 0)
    }
}

/// A connection's socket, and what is between it and the requests.
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// Whether a connection on which no answer is awaited can be used: a server may close those that are idle, or say before
    /// it does that it will. Below TLS it may also say other things.
    fn is_open(&self) -> bool {
        let peek = |stream: &TcpStream| {
            SockRef::from(stream).recv_with_flags(&mut [MaybeUninit::uninit()], libc::MSG_PEEK | libc::MSG_DONTWAIT)
        };
        let is_quiet = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
        match self {
            Stream::Plain(stream) => peek(stream).is_err_and(is_quiet),
            Stream::Tls(stream) => peek(&stream.sock).map_or_else(is_quiet, |length| length > 0),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.read(bytes),
            Stream::Tls(stream) => stream.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}

/// An answer's head, as far as it matters to a client.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    length: usize,
    /// How the body's end is known; nothing if it is the connection's.
    body: Option<Framing>,
    keeps: bool,
}

fn head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = response.parse(bytes).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let field = |name: &str| {
        let found = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        found.and_then(|field| std::str::from_utf8(field.value).ok())
    };
    if field("content-type").is_some_and(|kind| kind.starts_with("text/event-stream")) {
        return Err(io::Error::other("an event stream instead of an answer that ends"));
    }
    let status = response.code.unwrap_or(0);
    let body = match (status, field("transfer-encoding"), field("content-length").map(str::parse)) {
        (..200 | 204 | 304, _, _) => Some(Framing::Empty),
        (_, Some(coding), _) if coding.eq_ignore_ascii_case("chunked") => Some(Framing::Chunked),
        (_, None, Some(Ok(length))) => Some(Framing::Length(length)),
        (_, None, Some(Err(_))) => return Err(io::Error::other("an answer whose content-length is no number")),
        (_, Some(_) | None, _) => None,
    };
    let asks = |what: &str| field("connection").is_some_and(|value| value.eq_ignore_ascii_case(what));
    let keeps = match response.version {
        Some(0) => asks("keep-alive"),
        _ => !asks("close"),
    };
    Ok(Some(Head { status, length, body, keeps }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_where_it_ends() {
        for (fields, status, body, keeps) in [
            ("HTTP/1.1 201 Created\r\nContent-Length: 7", 201, Some(Framing::Length(7)), true),
            ("HTTP/1.1 202 Accepted\r\ntransfer-encoding: Chunked", 202, Some(Framing::Chunked), true),
            ("HTTP/1.1 204 No Content\r\nConnection: close", 204, Some(Framing::Empty), false),
            ("HTTP/1.1 200 OK", 200, None, true),
            ("HTTP/1.0 200 OK\r\nContent-Length: 0", 200, Some(Framing::Length(0)), false),
            ("HTTP/1.1 100 Continue", 100, Some(Framing::Empty), true),
        ] {
            let bytes = format!("{fields}\r\n\r\nHTTP");
            let found = head(bytes.as_bytes()).expect("a head");
            assert_eq!(found, Some(Head { status, length: bytes.len() - 4, body, keeps }), "{fields}");
            assert_eq!(head(&bytes.as_bytes()[..fields.len()]).expect("a part of a head"), None);
        }
        for field in ["Content-Length: many", "Content-Type: text/event-stream"] {
            assert!(head(format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n").as_bytes()).is_err(), "{field}");
        }
    }
}
