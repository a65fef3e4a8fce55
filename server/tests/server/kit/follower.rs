//! A follower: the raw bytes of a stream, block by block.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use serde_json::Value;

use super::{Answer, Client, PATIENCE, Server, fold, request};

/// One block of a stream, and the comments and `retry:` that came with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Block {
    /// Exactly as it came, the empty line included.
    pub(crate) raw: String,
    /// The id of this very block.
    pub(crate) id: Option<String>,
    pub(crate) event: String,
    pub(crate) data: String,
    pub(crate) retry: Option<u64>,
    pub(crate) comments: Vec<String>,
}

pub(crate) struct Follower {
    pub(crate) head: Answer,
    socket: TcpStream,
    input: Vec<u8>,
    has_ended: bool,
}

impl Follower {
    /// Subscribes, and expects 200 and the head of a stream.
    #[track_caller]
    pub(crate) fn start(address: SocketAddr, target: &str, fields: &[(&str, &str)]) -> Follower {
        Follower::by(address, "SUBSCRIBE", target, fields)
    }

    /// The same by another method.
    #[track_caller]
    pub(crate) fn by(address: SocketAddr, method: &str, target: &str, fields: &[(&str, &str)]) -> Follower {
        Follower::try_by(address, method, target, fields).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same of a server that may be killed meanwhile. An answer that is no stream fails the test all the same.
    #[track_caller]
    pub(crate) fn try_by(
        address: SocketAddr,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
    ) -> io::Result<Follower> {
        let mut client = Client::try_connect(address)?;
        client.try_send(request(method, target, fields, b""))?;
        Follower::try_on(client.socket)
    }

    /// A follower on a connection whose request was sent.
    #[track_caller]
    pub(crate) fn on(socket: TcpStream) -> Follower {
        Follower::try_on(socket).unwrap_or_else(|error| panic!("{error}"))
    }

    #[track_caller]
    fn try_on(socket: TcpStream) -> io::Result<Follower> {
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let head = Answer { status: 0, head: String::new(), fields: Vec::new(), body: Vec::new() };
        let mut follower = Follower { head, socket, input: Vec::new(), has_ended: false };
        let end = loop {
            match follower.input.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(end) => break end,
                None if follower.try_read()? => {}
                None => return Err(follower.ended("in the head")),
            }
        };
        let head: Vec<u8> = follower.input.drain(..end + 4).collect();
        let head = String::from_utf8(head[..end].to_vec()).expect("a head is text");
        let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
        follower.head.fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        follower.head.status = head[9..12].parse().expect("a status");
        follower.head.head = head;
        if follower.head.status != 200 {
            while follower.try_read()? {}
        }
        assert_eq!(follower.head.status, 200, "{}\n{}", follower.head.head, String::from_utf8_lossy(&follower.input));
        assert_eq!(follower.head.needs("Content-Type"), "text/event-stream");
        Ok(follower)
    }

    fn ended(&self, when: &str) -> io::Error {
        let rest = String::from_utf8_lossy(&self.input);
        io::Error::new(ErrorKind::UnexpectedEof, format!("the stream ended {when}: {rest:?}"))
    }

    /// The next block that isn't there yet after `PATIENCE` fails the test.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Block {
        self.try_next().unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same of a server that may be killed meanwhile.
    #[track_caller]
    pub(crate) fn try_next(&mut self) -> io::Result<Block> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(end) = memchr::memmem::find(&self.input, b"\n\n") {
                let raw: Vec<u8> = self.input.drain(..end + 2).collect();
                return Ok(Block::read(String::from_utf8(raw).expect("a stream is UTF-8")));
            }
            assert!(Instant::now() < deadline, "no block came");
            if !self.try_read()? {
                return Err(self.ended("with"));
            }
        }
    }

    /// The first block, which must be a `position`; returns its id.
    #[track_caller]
    pub(crate) fn opening(&mut self) -> String {
        let block = self.next();
        assert_eq!((block.event.as_str(), block.data.as_str()), ("position", "{}"), "{block:?}");
        assert!(block.retry.is_some(), "{block:?}");
        block.id.expect("a position has an id")
    }

    /// The next block, which must be a `patch` with an id; returns the id and the operations.
    #[track_caller]
    pub(crate) fn patch(&mut self) -> (String, Value) {
        let block = self.next();
        assert_eq!(block.event, "patch", "{block:?}");
        let data = serde_json::from_str(&block.data).unwrap_or_else(|error| panic!("{error}: {block:?}"));
        (block.id.unwrap_or_else(|| panic!("no id: {}", block.raw)), data)
    }

    /// Folds a snapshot, up to the `position` that closes it; returns the value and the position.
    #[track_caller]
    pub(crate) fn snapshot(&mut self) -> (Value, String) {
        let mut value = Value::Null;
        let mut is_first = true;
        loop {
            let block = self.next();
            match block.event.as_str() {
                "patch" => {
                    assert_eq!(block.id, None, "nothing in a snapshot has an id: {}", block.raw);
                    if is_first {
                        let operations: Value = serde_json::from_str(&block.data).expect("operations");
                        assert_eq!((&operations[0]["op"], &operations[0]["path"]), (&"replace".into(), &"".into()));
                        is_first = false;
                    }
                    fold(&mut value, &block.data);
                }
                "position" => {
                    assert!(!is_first, "a snapshot begins with the root");
                    return (value, block.id.expect("a position has an id"));
                }
                other => panic!("{other} in a snapshot: {}", block.raw),
            }
        }
    }

    /// Folds what comes until the stream is at `position`, and returns how many events it took.
    #[track_caller]
    pub(crate) fn fold_until(&mut self, value: &mut Value, position: &str) -> u64 {
        let mut count = 0;
        loop {
            let block = self.next();
            assert_eq!(block.event, "patch", "{}", block.raw);
            fold(value, &block.data);
            count += 1;
            if block.id.as_deref() == Some(position) {
                return count;
            }
        }
    }

    /// Folds what comes to a follower of `target` until it is where the server is: what it got includes the last event
    /// that concerns it.
    #[track_caller]
    pub(crate) fn fold_rest(&mut self, value: &mut Value, target: &str, server: &Server) {
        let page = server.json(&format!("{target}?history=0-0&limit=1000"));
        let last = page["events"].as_array().and_then(|events| events.last()).expect("history")["id"].clone();
        let deadline = Instant::now() + PATIENCE;
        while *value != server.json(&format!("{target}?as=map")) {
            assert!(Instant::now() < deadline, "not there yet");
            let (id, operations) = self.patch();
            fold(value, &operations.to_string());
            if last == id.as_str() {
                return;
            }
        }
    }

    /// The next bytes, which are no block.
    #[track_caller]
    pub(crate) fn bytes(&mut self, count: usize) -> String {
        while self.input.len() < count {
            assert!(self.read(), "the stream ended");
        }
        String::from_utf8(self.input.drain(..count).collect()).expect("a stream is UTF-8")
    }

    /// That the server closes, with whatever else it sends, cleanly or by a reset.
    pub(crate) fn expect_gone(&mut self) {
        let mut chunk = [0; 1024];
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.socket.read(&mut chunk) {
                Ok(0) => return,
                // One that stays is sent a sign of life now and then.
                Ok(_) => assert!(Instant::now() < deadline, "it wasn't closed"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                    return;
                }
            }
        }
    }

    /// The next block of a stream that may end instead.
    #[track_caller]
    pub(crate) fn rest_block(&mut self) -> Option<Block> {
        while memchr::memmem::find(&self.input, b"\n\n").is_none() {
            if !self.read() {
                return None;
            }
        }
        Some(self.next())
    }

    pub(crate) fn shut_write_side(&self) {
        self.socket.shutdown(std::net::Shutdown::Write).expect("a socket");
    }

    /// Reads until the server ends the stream; returns what was left.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> String {
        while self.read() {}
        String::from_utf8(std::mem::take(&mut self.input)).expect("a stream is UTF-8")
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        drop(self.socket.write_all(bytes));
    }

    #[track_caller]
    fn read(&mut self) -> bool {
        self.try_read().unwrap_or_else(|error| panic!("{error} after {:?}", String::from_utf8_lossy(&self.input)))
    }

    fn try_read(&mut self) -> io::Result<bool> {
        if self.has_ended {
            return Ok(false);
        }
        let mut chunk = [0; 64 * 1024];
        match self.socket.read(&mut chunk) {
            Ok(0) => self.has_ended = true,
            Ok(count) => self.input.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(!self.has_ended)
    }
}

impl Block {
    fn read(raw: String) -> Block {
        let mut block = Block { event: "message".into(), ..Block::default() };
        for line in raw.lines().filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "" => block.comments.push(line.to_owned()),
                "id" => block.id = Some(value.to_owned()),
                "event" => block.event = value.to_owned(),
                "data" => {
                    assert!(block.data.is_empty(), "two data lines: {raw}");
                    block.data = value.to_owned();
                }
                "retry" => block.retry = Some(value.parse().expect("milliseconds")),
                other => panic!("an unknown field {other}: {raw}"),
            }
        }
        block.raw = raw;
        block
    }
}
