//! An HTTP/1.1 client that sends what it is given and shows what it got, byte for byte.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::PATIENCE;

pub(crate) struct Client {
    pub(crate) socket: TcpStream,
    /// Bytes that were read and belong to the next answer.
    input: Vec<u8>,
}

#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The head as it was sent, without the empty line.
    pub(crate) head: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Client {
        Client::try_connect(address).expect("the server accepts")
    }

    pub(crate) fn try_connect(address: SocketAddr) -> io::Result<Client> {
        TcpStream::connect(address).map(Client::on)
    }

    pub(crate) fn on(socket: TcpStream) -> Client {
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        socket.set_nodelay(true).expect("a socket");
        Client { socket, input: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).expect("the server reads");
    }

    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.socket.write_all(bytes.as_ref())
    }

    /// Sends as far as the server takes it: one that has answered already may not.
    pub(crate) fn send_some(&mut self, bytes: impl AsRef<[u8]>) {
        drop(self.socket.write_all(bytes.as_ref()));
    }

    /// One request and its answer. A body, even an empty one of POST, PUT or PATCH, gets a length.
    #[track_caller]
    pub(crate) fn ask(&mut self, method: &str, target: &str, fields: &[(&str, &str)], body: &str) -> Answer {
        self.send(request(method, target, fields, body.as_bytes()));
        self.answer(method)
    }

    /// Reads the next answer to a request by this method.
    #[track_caller]
    pub(crate) fn answer(&mut self, method: &str) -> Answer {
        self.try_answer(method).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same of a server that may be killed meanwhile. Bytes that no server of ours sends fail the test all the same.
    pub(crate) fn try_answer(&mut self, method: &str) -> io::Result<Answer> {
        loop {
            let end = self.input.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                let head: Vec<u8> = self.input.drain(..end + 4).collect();
                return self.finish(method, String::from_utf8(head[..end].to_vec()).expect("a head is text"));
            }
            if self.read()? == 0 {
                return Err(self.ended("before an answer"));
            }
        }
    }

    fn ended(&self, when: &str) -> io::Error {
        let rest = String::from_utf8_lossy(&self.input);
        io::Error::new(ErrorKind::UnexpectedEof, format!("the connection ended {when}: {rest:?}"))
    }

    fn finish(&mut self, method: &str, head: String) -> io::Result<Answer> {
        let mut lines = head.split("\r\n");
        let status = lines.next().expect("a status line");
        assert!(status.starts_with("HTTP/1.1 "), "{status}");
        let status = status[9..12].parse().expect("a status");
        let fields = lines.map(|line| line.split_once(": ").unwrap_or_else(|| panic!("not a field: {line}")));
        let fields: Vec<_> = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut answer = Answer { status, head: head.clone(), fields, body: Vec::new() };
        if method == "HEAD" || matches!(status, 100..200 | 204 | 304) {
            return Ok(answer);
        }
        if answer.field("Transfer-Encoding").is_some() {
            answer.body = self.chunks()?;
            return Ok(answer);
        }
        match answer.field("Content-Length") {
            Some(length) => {
                let length: usize = length.parse().expect("a length");
                while self.input.len() < length {
                    if self.read()? == 0 {
                        return Err(self.ended("in a body"));
                    }
                }
                answer.body = self.input.drain(..length).collect();
            }
            None => {
                // A stream that was to be refused would go on for ever.
                let deadline = std::time::Instant::now() + PATIENCE;
                while self.read()? > 0 {
                    assert!(std::time::Instant::now() < deadline, "a body without end:\n{head}");
                }
                answer.body = std::mem::take(&mut self.input);
            }
        }
        Ok(answer)
    }

    /// Reads a body in chunks, without trailers.
    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = self.input.windows(2).position(|window| window == b"\r\n");
            let size = end.map(|end| {
                let size = str::from_utf8(&self.input[..end]).expect("a size is text");
                (end + 2, usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("not a size: {size:?}")))
            });
            match size {
                Some((start, size)) if self.input.len() >= start + size + 2 => {
                    body.extend_from_slice(&self.input[start..start + size]);
                    assert_eq!(&self.input[start + size..start + size + 2], b"\r\n", "a chunk ends with its line");
                    self.input.drain(..start + size + 2);
                    if size == 0 {
                        return Ok(body);
                    }
                }
                _ if self.read()? == 0 => return Err(self.ended("in a chunk")),
                _ => {}
            }
        }
    }

    fn read(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 16 * 1024];
        loop {
            match self.socket.read(&mut chunk) {
                Ok(count) => {
                    self.input.extend_from_slice(&chunk[..count]);
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let rest = String::from_utf8_lossy(&self.input);
                    return Err(io::Error::new(error.kind(), format!("{error} after {rest:?}")));
                }
            }
        }
    }

    /// All that comes until the connection ends, what was read before included.
    pub(crate) fn body_to_end(&mut self) -> io::Result<Vec<u8>> {
        while self.read()? > 0 {}
        Ok(std::mem::take(&mut self.input))
    }

    /// That the server closes, cleanly, and says nothing more.
    pub(crate) fn expect_closed(&mut self) {
        let read = self.read().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read, 0, "more came: {:?}", String::from_utf8_lossy(&self.input));
        assert!(self.input.is_empty(), "more came: {:?}", String::from_utf8_lossy(&self.input));
    }
}

/// Connects with a receive buffer of a few kilobytes.
pub(crate) fn connect_narrow(address: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a socket");
    socket.connect(&address.into()).expect("the server accepts");
    socket.into()
}

/// Closes by a reset: what is under way in either direction is thrown away.
pub(crate) fn reset(socket: TcpStream) {
    socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).expect("a socket");
}

/// The bytes of a request.
pub(crate) fn request(method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {target} HTTP/1.1\r\nHost: test\r\n").into_bytes();
    for (name, value) in fields {
        bytes.extend(format!("{name}: {value}\r\n").into_bytes());
    }
    if !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
        bytes.extend(format!("Content-Length: {}\r\n", body.len()).into_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

impl Answer {
    /// The value of a field that comes at most once.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} comes twice:\n{}", self.head);
        value
    }

    /// The value of a field that must be there.
    #[track_caller]
    pub(crate) fn needs(&self, name: &str) -> &str {
        self.field(name).unwrap_or_else(|| panic!("{name} is missing:\n{}\n{}", self.head, self.text()))
    }

    /// The position that the answer reflects.
    #[track_caller]
    pub(crate) fn position(&self) -> &str {
        self.needs("Last-Event-ID")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}:\n{}\n{}", self.head, self.text()))
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "\n{}\n{}", self.head, self.text());
        self
    }

    #[track_caller]
    pub(crate) fn expect_one_of(self, statuses: &[u16]) -> Answer {
        assert!(statuses.contains(&self.status), "not {statuses:?}:\n{}\n{}", self.head, self.text());
        self
    }

    /// That it is a whole problem document of this status.
    #[track_caller]
    pub(crate) fn problem(self, status: u16) -> Value {
        let answer = self.expect(status);
        assert_eq!(answer.needs("Content-Type"), "application/problem+json");
        let problem = answer.json();
        assert_eq!(problem["status"], status, "{problem}");
        for member in ["type", "title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member} of {problem}");
        }
        problem
    }
}
